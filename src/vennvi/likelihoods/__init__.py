r"""Likelihoods by name: what data fit, what the encoder reads, log-probability and mean.

Depth enters every count likelihood as an offset, and the encoders read counts normalised by it, so that no latent
needs to carry it. With :math:`r_i = \ell_i / \tilde\ell` the size factor of a cell over the median one, :math:`T` the
median total count and :math:`o_{ij}` the decoder's output:

============ =============================================================== =====================================
name         observation model                                               the encoder reads
============ =============================================================== =====================================
``normal``   :math:`(x_{ij} - \bar x_j) / \hat\sigma_j \sim N(o_{ij}, s_j^2)` :math:`(x_{ij} - \bar x_j) / \hat\sigma_j`
``bernoulli``:math:`\operatorname{logit} P(x_{ij} = 1) = o_{ij} + \log r_i`   :math:`\log(1 + x_{ij} / r_i)`
``poisson``  :math:`x_{ij} \sim \text{Poisson}(r_i e^{o_{ij}})`              :math:`\log(1 + x_{ij} / r_i)`
``nb``       :math:`x_{ij} \sim \text{NB}(r_i T \operatorname{softmax}(o_i)_j, \theta_j)`  as above
``zinb``     as ``nb``, zero-inflated with probability :math:`\operatorname{sigmoid}(o'_{ij})`  as above
============ =============================================================== =====================================

For dense ``bernoulli`` data without size factors (mutations, say) there is no depth: :math:`r_i = 1`.
"""

from __future__ import annotations

from vennvi.likelihoods._base import Columns, Likelihood, Target
from vennvi.likelihoods._bernoulli import BernoulliLikelihood
from vennvi.likelihoods._negative_binomial import NegativeBinomialLikelihood, ZeroInflatedNegativeBinomialLikelihood
from vennvi.likelihoods._normal import NOISE_SD_FLOOR, NormalLikelihood
from vennvi.likelihoods._poisson import PoissonLikelihood
from vennvi.likelihoods._resolve import DEFAULTS, LIKELIHOODS, name_of, resolve_likelihood

__all__ = [
    "DEFAULTS",
    "LIKELIHOODS",
    "NOISE_SD_FLOOR",
    "BernoulliLikelihood",
    "Columns",
    "Likelihood",
    "NegativeBinomialLikelihood",
    "NormalLikelihood",
    "PoissonLikelihood",
    "Target",
    "ZeroInflatedNegativeBinomialLikelihood",
    "name_of",
    "resolve_likelihood",
]
