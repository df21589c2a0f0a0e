"""Synthetic RNA and ATAC counts with cell types in a shared factor and dominant private programmes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse import csc_matrix, csr_matrix, hstack
from scipy.spatial.distance import cdist

from vennvi.data._simulate_gp import (
    assemble,
    cell_names,
    check_at_least,
    check_scale,
    draw_present,
    feature_frame,
)

Array = NDArray[np.floating]

_BLOCK = 1000  # features whose dense means are held at once


def simulate_multiome(
    n_obs: int = 1000,
    n_genes: int = 500,
    n_peaks: int = 2000,
    n_cell_types: int = 5,
    n_batches: int = 2,
    *,
    n_shared: int = 2,
    n_private: int = 2,
    shared_fraction: float = 0.2,
    shared_effect: float = 1.0,
    private_effect: float = 1.0,
    batch_effect: float = 0.3,
    type_spread: float = 0.25,
    depth_sd: float = 0.4,
    rna_mean: float = 1.0,
    rna_dispersion: float = 5.0,
    atac_density: float = 0.05,
    missing: Mapping[str, float] | None = None,
    seed: int = 0,
) -> MuData:
    r"""RNA and ATAC counts of which most features follow a private factor of their modality.

    A log-linear model, the same for both modalities :math:`m`; cell :math:`i` has type :math:`t_i` and batch
    :math:`b_i`:

    .. math::

        s_i &\propto c_{t_i} + \tau \varepsilon_i, \qquad \varepsilon_i \sim \mathcal{N}(0, I) \\
        p^m_i &\sim \mathcal{U}[-\sqrt 3, \sqrt 3]^{d_p} \\
        \eta^m_{ij} &= a_j^\top s_i + g_{j b_i} \ \text{(shared feature)} \quad \text{or} \quad
        a_j^\top p^m_i + g_{j b_i} \ \text{(private feature)} \\
        \log \mu^m_{ij} &= \log l^m_i + \log r_j + \eta^m_{ij} - \log \tfrac{1}{n} \textstyle\sum_k e^{\eta^m_{kj}} \\
        x^{rna}_{ij} &\sim \mathrm{NB}\left(\mu_{ij}, \theta\right), \quad
        \mathrm{Var} = \mu_{ij} + \mu_{ij}^2 / \theta, \qquad x^{atac}_{ij} \sim \mathrm{Poisson}(\mu_{ij})

    The type centroids :math:`c_t` are spread over a cube of half-width 1; the types, and the batches independently
    of them, are of equal size; each dimension of :math:`s` is standardised, and those of :math:`p^m` have mean 0 and
    variance 1. A feature's loadings :math:`a_j` point in a random direction with length ``shared_effect`` or
    ``private_effect``, which is the standard deviation of its log mean over the cells; its batch effects are
    :math:`g_{jb} \sim \mathcal{N}(0, \sigma_b^2)`. The size factors :math:`l^m_i` are log-normal with mean 1,
    independent of everything else and between the modalities. The rate :math:`r_j` is the mean count of a feature at
    size factor 1, log-normal over the features.

    By default four features of five are private at the same strength, so the private programmes carry four times
    the variance that the shared factor does, and they come first in a principal component analysis.

    Parameters
    ----------
    n_obs
        Number of cells, counted before any are removed by ``missing`` (each stays in at least one modality).
    n_genes
        Number of features of ``"rna"``.
    n_peaks
        Number of features of ``"atac"``.
    n_cell_types
        Number of cell types, the centroids of the shared factor.
    n_batches
        Number of batches.
    n_shared
        Dimensions of the shared factor.
    n_private
        Dimensions of each private factor.
    shared_fraction
        Fraction of a modality's features that the shared factor drives; its private factor drives the others.
    shared_effect, private_effect
        Standard deviation of the log mean of a shared, of a private feature.
    batch_effect
        Standard deviation :math:`\sigma_b` of the batch effects on the log mean.
    type_spread
        Standard deviation :math:`\tau` within a cell type; the centroids lie in a cube of half-width 1.
    depth_sd
        Standard deviation of the log size factors.
    rna_mean
        Mean of the rates of the genes: counts per gene and cell.
    rna_dispersion
        Inverse dispersion :math:`\theta` of the negative binomial.
    atac_density
        Expected fraction of non-zero entries of ``"atac"``.
    missing
        Fraction of the cells absent from a modality, such as ``{"atac": 0.1}``. No cell is absent from both.
    seed
        Seed of the random numbers.

    Returns
    -------
    :class:`~mudata.MuData` with modalities ``"rna"`` and ``"atac"``, counts in ``X`` (CSR, float32, cells x
    features), the shared features first, and the truth in

    - ``mdata.obs["cell_type"]``, ``mdata.obs["batch"]``: categorical;
    - ``mdata.obsm["true_shared"]``, ``mdata[m].obsm["true_private"]``: the factors, cells x dimensions;
    - ``mdata[m].obs["size_factor"]``: :math:`l^m_i`;
    - ``mdata[m].var["factor"]`` (``"shared"`` or ``"private"``) and ``mdata[m].var["rate"]``: :math:`r_j`;
    - ``mdata[m].varm["true_loadings"]``: features x (shared, then private dimensions), zero where not driven;
    - ``mdata[m].varm["true_batch_effect"]``: features x batches.

    With ``missing``, the rows are in the order in which mudata joins the modalities.

    Raises
    ------
    ValueError
        If a size, a scale or a fraction is impossible.

    Examples
    --------
    >>> from vennvi.data import simulate_multiome
    >>> mdata = simulate_multiome(n_obs=100, n_genes=20, n_peaks=50, n_cell_types=3, missing={"atac": 0.1})
    >>> mdata["rna"].shape, mdata["atac"].shape
    ((100, 20), (90, 50))
    >>> list(mdata.obs["cell_type"].cat.categories)
    ['type0', 'type1', 'type2']
    """
    check_at_least(1, n_genes=n_genes, n_peaks=n_peaks, n_cell_types=n_cell_types, n_batches=n_batches)
    check_at_least(1, n_shared=n_shared, n_private=n_private)
    check_at_least(max(2, n_cell_types, n_batches), n_obs=n_obs)
    check_scale(zero=True, shared_effect=shared_effect, private_effect=private_effect, batch_effect=batch_effect)
    check_scale(zero=True, depth_sd=depth_sd)
    check_scale(zero=n_cell_types > 1, type_spread=type_spread)
    check_scale(zero=False, rna_mean=rna_mean, rna_dispersion=rna_dispersion)
    if not 0 <= shared_fraction <= 1:
        raise ValueError(f"shared_fraction must be between 0 and 1, not {shared_fraction!r}.")
    if not 0 < atac_density < 1:
        raise ValueError(f"atac_density must be above 0 and below 1, not {atac_density!r}.")

    cell_rng, missing_rng, rna_rng, atac_rng = np.random.default_rng(seed).spawn(4)
    present = draw_present(missing_rng, n_obs, ("rna", "atac"), missing)
    cell_type = cell_rng.permutation(np.arange(n_obs) % n_cell_types)
    batch = cell_rng.permutation(np.arange(n_obs) % n_batches)
    shared = _shared_factor(cell_rng, cell_type, n_cell_types, n_shared, type_spread)

    modalities = {}
    for modality, feature, n_features, rng in (
        ("rna", "gene", n_genes, rna_rng),
        ("atac", "peak", n_peaks, atac_rng),
    ):
        private = rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), size=(n_obs, n_private))
        size_factor = rng.lognormal(-0.5 * depth_sd**2, depth_sd, size=n_obs)
        n_driven = round(shared_fraction * n_features)
        loadings = np.zeros((n_features, n_shared + n_private))
        loadings[:n_driven, :n_shared] = _directions(rng, n_driven, n_shared, shared_effect)
        loadings[n_driven:, n_shared:] = _directions(rng, n_features - n_driven, n_private, private_effect)
        batch_effects = rng.normal(0.0, batch_effect, size=(n_features, n_batches))
        spread = rng.lognormal(0.0, 1.0 if modality == "rna" else 0.5, size=n_features)

        factors = np.concatenate([shared, private], axis=1)  # (n_obs, n_shared + n_private)
        relative = _RelativeMean(factors, loadings, batch, batch_effects, size_factor)
        if modality == "rna":
            rate = rna_mean * spread / spread.mean()
            counts = _draw_counts(relative, rate, partial(_negative_binomial, rng, rna_dispersion))
        else:
            rate = spread * _scale_for_density(relative, spread, atac_density)
            counts = _draw_counts(relative, rate, rng.poisson)

        var = feature_frame(feature, n_driven, n_features - n_driven)
        var["rate"] = rate
        modalities[modality] = AnnData(
            X=counts,
            obs=pd.DataFrame({"size_factor": size_factor}, index=cell_names(n_obs)),
            var=var,
            obsm={"true_private": private},
            varm={"true_loadings": loadings, "true_batch_effect": batch_effects},
        )

    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical.from_codes(cell_type, [f"type{t}" for t in range(n_cell_types)]),
            "batch": pd.Categorical.from_codes(batch, [f"batch{b}" for b in range(n_batches)]),
        },
        index=cell_names(n_obs),
    )
    return assemble(modalities, present, obs, shared)


@dataclass(frozen=True)
class _RelativeMean:
    """Means of some features relative to their rates: l_i exp(eta_ij) / mean_k exp(eta_kj)."""

    factors: Array  # (n_obs, dimensions)
    loadings: Array  # (n_features, dimensions)
    batch: NDArray[np.integer]  # (n_obs,)
    batch_effects: Array  # (n_features, n_batches)
    size_factor: Array  # (n_obs,)

    def __call__(self, features: slice) -> Array:
        """Means of a slice of the features, (n_obs, features)."""
        eta = self.factors @ self.loadings[features].T + self.batch_effects[features].T[self.batch]
        mean = np.exp(eta)
        return self.size_factor[:, None] * mean / mean.mean(axis=0)


def _shared_factor(
    rng: np.random.Generator, cell_type: NDArray[np.integer], n_cell_types: int, n_shared: int, type_spread: float
) -> Array:
    """Standardised coordinates of the cells around the centroids of their types, (n_obs, n_shared)."""
    candidates = rng.uniform(-1.0, 1.0, size=(1000, n_shared))
    centroids = candidates[np.argmax(np.abs(candidates).sum(axis=1))][None]
    while len(centroids) < n_cell_types:  # the candidate farthest from the centroids so far
        farthest = cdist(candidates, centroids).min(axis=1).argmax()
        centroids = np.concatenate([centroids, candidates[[farthest]]])
    shared = centroids[cell_type] + type_spread * rng.standard_normal((len(cell_type), n_shared))
    return (shared - shared.mean(axis=0)) / shared.std(axis=0)


def _directions(rng: np.random.Generator, n: int, n_dimensions: int, length: float) -> Array:
    """Random directions of one length, (n, n_dimensions)."""
    vectors = rng.standard_normal((n, n_dimensions))
    return length * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _negative_binomial(rng: np.random.Generator, dispersion: float, mean: Array) -> NDArray[np.integer]:
    """Negative binomial counts of variance mean + mean² / dispersion, as a gamma mixture of Poissons."""
    return rng.poisson(mean * rng.gamma(dispersion, 1.0 / dispersion, size=mean.shape))


def _scale_for_density(relative: _RelativeMean, rate: Array, density: float) -> float:
    """Factor on the rates at which the expected fraction of non-zero Poisson counts is ``density``."""
    step = max(1, len(rate) // 500)  # some hundreds of features are enough to tell
    mean = relative(slice(None, None, step)) * rate[::step]

    def excess(log_scale: float) -> float:
        return -np.expm1(-np.exp(log_scale) * mean).mean() - density

    return float(np.exp(brentq(excess, -20.0, 20.0)))


def _draw_counts(relative: _RelativeMean, rate: Array, sample: Callable[[Array], NDArray[np.integer]]) -> csr_matrix:
    """All features' counts, drawn block by block, (n_obs, n_features)."""
    blocks = []
    for start in range(0, len(rate), _BLOCK):
        features = slice(start, start + _BLOCK)
        blocks.append(csc_matrix(sample(relative(features) * rate[features]), dtype=np.float32))
    return csr_matrix(hstack(blocks, format="csr"))
