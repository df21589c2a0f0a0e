"""The models: each is its table of terms (see :mod:`vennvi.objectives` for the loss) and its defaults."""

from __future__ import annotations

from collections.abc import Mapping

from mudata import MuData

from vennvi.model._base import SharedPrivateModel
from vennvi.objectives import CrossPrivate, mmvae, mmvae_plus_plus, mopoe, mvae


class MVAE(SharedPrivateModel):
    r"""Multimodal VAE: the shared latent is inferred by a product of experts.

    .. math:: q(s \mid x) \propto N(s; 0, I) \prod_m N(s; \mu_m(x_m), \sigma_m^2(x_m))

    All present modalities together reconstruct each of them, and each modality alone reconstructs itself (Wu & Goodman
    2018, with private latents as in Märtens & Yau 2024, arXiv:2403.06338). Loses the shared signal once private
    variation dominates; it is here to be compared with.
    """

    _objective = staticmethod(mvae)


class MoPoEVAE(SharedPrivateModel):
    r"""Mixture of products of experts: every non-empty subset of modalities infers the shared latent.

    .. math:: q_S(s \mid x) \propto N(s; 0, I) \prod_{m \in S} N(s; \mu_m(x_m), \sigma_m^2(x_m)), \qquad
              \emptyset \ne S \subseteq \{1, \dots, M\}

    Each of the :math:`2^M - 1` subsets reconstructs every modality, zeros standing for the private latents that it does
    not hold (Sutter et al. 2021, with private latents as in Märtens & Yau 2024, arXiv:2403.06338). Up to eight
    modalities.
    """

    _objective = staticmethod(mopoe)


class MMVAE(SharedPrivateModel):
    r"""Mixture of experts: each modality infers the shared latent alone and reconstructs all of them from it.

    .. math:: q(s \mid x) = \frac{1}{M} \sum_m N(s; \mu_m(x_m), \sigma_m^2(x_m))

    (Shi et al. 2019, with private latents as in Märtens & Yau 2024, arXiv:2403.06338.)
    """

    _objective = staticmethod(mmvae)


class MMVAEPlusPlus(SharedPrivateModel):
    r"""MMVAE whose shared latent learns from cross-modal reconstruction only.

    .. math:: \log p(x_m \mid \bar s, p_m) \text{ with } \bar s = \operatorname{stopgrad}(s),\; s, p_m \sim q(\cdot \mid x_m)
              \quad\text{(self)}, \qquad \log p(x_m \mid s, 0),\; s \sim q(s \mid x_k),\; k \ne m \quad\text{(cross)}

    A modality's own reconstruction teaches its decoder and its private latent, but sends no gradient into the shared
    latent, which therefore keeps what predicts the *other* modalities (Märtens & Yau 2024, arXiv:2403.06338).

    Examples
    --------
    >>> import vennvi
    >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
    >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata, batch_key="batch")
    >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
    >>> model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    >>> model.write_latents(mdata)
    >>> mdata.obsm["X_shared"].shape, mdata["rna"].obsm["X_private"].shape
    ((100, 3), (100, 2))
    >>> model.predict("atac", source="rna").shape
    (100, 50)
    """

    _objective = staticmethod(mmvae_plus_plus)


class VennVI(MMVAEPlusPlus):
    r"""The recommended model: MMVAE++ that keeps the shared signal when private variation dominates.

    The loss of MMVAE++ (:mod:`vennvi.objectives`), with four additions, each an argument of every model:

    .. math:: \mathcal L = \mathcal L_\text{MMVAE++} + \lambda \sum_{a < b} \text{InfoNCE}_\tau(s_a, s_b)
              + \beta\, (\gamma - 1) \sum_m KL[q(p_m \mid x_m)]

    - the shared posterior of a modality reads canonical variates of all modalities (``n_canonical=50``), each shrunk by
      its agreement on held-out cells, instead of the whole modality;
    - its private encoder reads what these variates leave of the data (``residual_private=True``);
    - draws of the shared latents of one cell must find each other (``alignment_weight=50``, ``alignment_scale=1``,
      :func:`~vennvi.penalties.info_nce`);
    - the private spaces pay more for what they hold (``private_kl_weight=4``).

    Examples
    --------
    >>> import vennvi
    >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
    >>> vennvi.VennVI.setup_mudata(mdata, batch_key="batch")
    >>> model = vennvi.VennVI(mdata, n_shared=3, n_private=2)
    >>> model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    >>> model.get_latent_representation().shape
    (100, 3)
    """

    def __init__(
        self,
        adata: MuData | None = None,
        registry: dict | None = None,
        n_shared: int = 15,
        n_private: int | Mapping[str, int] = 10,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float = 0.0,
        likelihoods: Mapping[str, str] | None = None,
        use_observed_lib_size: bool | Mapping[str, bool] | None = None,
        modality_weights: Mapping[str, float] | None = None,
        encode_covariates: bool = False,
        classification_weight: float = 100.0,
        cross_private: CrossPrivate = "zeros",
        alignment_weight: float = 50.0,
        alignment_scale: float = 1.0,
        private_kl_weight: float = 4.0,
        n_canonical: int = 50,
        residual_private: bool = True,
    ):
        super().__init__(
            adata,
            registry,
            n_shared=n_shared,
            n_private=n_private,
            n_hidden=n_hidden,
            n_layers=n_layers,
            dropout_rate=dropout_rate,
            likelihoods=likelihoods,
            use_observed_lib_size=use_observed_lib_size,
            modality_weights=modality_weights,
            encode_covariates=encode_covariates,
            classification_weight=classification_weight,
            cross_private=cross_private,
            alignment_weight=alignment_weight,
            alignment_scale=alignment_scale,
            private_kl_weight=private_kl_weight,
            n_canonical=n_canonical,
            residual_private=residual_private,
        )
