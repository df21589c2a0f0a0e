"""Synthetic views driven by one shared and one private factor each, drawn from Gaussian processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray
from scipy.linalg import cholesky
from scipy.spatial.distance import cdist

_JITTER = 1e-6


def simulate_gp(
    n_obs: int = 1000,
    n_private_features: Mapping[str, int] = MappingProxyType({"view1": 100, "view2": 100}),
    *,
    n_shared_features: int = 10,
    n_shared: int = 2,
    n_private: int = 2,
    length_scale: float = 1.0,
    noise: float = 0.15,
    even_views: Sequence[str] = (),
    missing: Mapping[str, float] | None = None,
    seed: int = 0,
) -> MuData:
    r"""Real-valued views of which a few features follow a shared factor and many follow a private one.

    .. math::

        s_i &\sim \mathcal{U}[-2, 2]^{d_s}, \qquad p^m_i \sim \mathcal{U}[-2, 2]^{d_p} \\
        f_j &\sim \mathcal{GP}(0, k), \qquad k(u, v) = \exp\left(-\lVert u - v \rVert^2 / 2 \ell^2\right) \\
        x^m_{ij} &= z\left(f_j(s_i)\right) + \sigma \varepsilon_{ij} \quad \text{or} \quad
        z\left(f_j(p^m_i)\right) + \sigma \varepsilon_{ij}, \qquad \varepsilon_{ij} \sim \mathcal{N}(0, 1)

    where :math:`z` standardises a feature over all observations, before the noise is added. Every feature has its
    own draw :math:`f_j`. The label is :math:`y_i = [s_{i1} > 0]`.

    The factors and the shared features of a view are the same for every number of private features, so a sweep over
    ``n_private_features`` with one seed changes nothing but the private part and the noise.

    Parameters
    ----------
    n_obs
        Number of observations, counted before any are removed by ``missing`` (each stays in at least one view).
    n_private_features
        Number of features that each view's private factor drives, by name of the view. The names are the views.
    n_shared_features
        Number of features that the shared factor drives, in every view.
    n_shared
        Dimensions of the shared factor.
    n_private
        Dimensions of each private factor.
    length_scale
        Length-scale of the kernel, in units of the factors, which span 4. Smaller is more wiggly.
    noise
        Standard deviation of the noise; the noiseless features have standard deviation 1.
    even_views
        Views whose shared features are functions of :math:`|s_i|` (element by element) instead of :math:`s_i`, so
        that their dependence on the other views is not linear.
    missing
        Fraction of the observations absent from a view, by name of the view. No observation is absent from all.
    seed
        Seed of the random numbers.

    Returns
    -------
    :class:`~mudata.MuData` with one modality per view, ``X`` dense float32 (observations x features), the shared
    features first, and the truth in

    - ``mdata.obsm["true_shared"]``, ``mdata[view].obsm["true_private"]``: the factors, observations x dimensions;
    - ``mdata.obs["y"]``: ``"negative"`` or ``"positive"``;
    - ``mdata[view].var["factor"]``: ``"shared"`` or ``"private"``.

    With ``missing``, the rows are in the order in which mudata joins the views.

    Raises
    ------
    ValueError
        If a size, a scale, a fraction or the name of a view is impossible.

    References
    ----------
    Märtens and Yau, "Disentangling shared and private latent factors in multimodal variational autoencoders", Machine
    Learning in Computational Biology, 2023.

    Examples
    --------
    >>> from vennvi.data import simulate_gp
    >>> mdata = simulate_gp(n_obs=50, n_private_features={"rna": 20, "protein": 5})
    >>> mdata["rna"].shape, mdata["protein"].shape
    ((50, 30), (50, 15))
    >>> mdata.obsm["true_shared"].shape, mdata["rna"].obsm["true_private"].shape
    ((50, 2), (50, 2))
    """
    even_views = (even_views,) if isinstance(even_views, str) else tuple(even_views)
    _check_arguments(n_obs, n_private_features, n_shared_features, n_shared, n_private, length_scale, noise, even_views)
    shared_rng, missing_rng, *view_rngs = np.random.default_rng(seed).spawn(2 + len(n_private_features))
    present = draw_present(missing_rng, n_obs, tuple(n_private_features), missing)

    shared = shared_rng.uniform(-2.0, 2.0, size=(n_obs, n_shared))
    root = {False: _kernel_root(shared, length_scale)}
    if even_views:
        root[True] = _kernel_root(np.abs(shared), length_scale)

    views = {}
    for (view, n_own), rng in zip(n_private_features.items(), view_rngs, strict=True):
        private = rng.uniform(-2.0, 2.0, size=(n_obs, n_private))
        driven = [root[view in even_views] @ rng.standard_normal((n_obs, n_shared_features))]
        if n_own:
            driven.append(_kernel_root(private, length_scale) @ rng.standard_normal((n_obs, n_own)))
        features = np.concatenate(driven, axis=1)  # (n_obs, n_shared_features + n_own)
        features = (features - features.mean(axis=0)) / features.std(axis=0)
        features += noise * rng.standard_normal(features.shape)
        views[view] = AnnData(
            X=features.astype(np.float32),
            obs=pd.DataFrame(index=cell_names(n_obs)),
            var=feature_frame(f"{view}_feature", n_shared_features, n_own),
            obsm={"true_private": private},
        )

    positive = shared[:, 0] > 0
    y = pd.Categorical(np.where(positive, "positive", "negative"), categories=["negative", "positive"])
    obs = pd.DataFrame({"y": y}, index=cell_names(n_obs))
    return assemble(views, present, obs, shared)


def cell_names(n_obs: int) -> list[str]:
    """Names of the observations: ``cell0``, ``cell1``, and so on."""
    return [f"cell{i}" for i in range(n_obs)]


def feature_frame(prefix: str, n_shared: int, n_private: int) -> pd.DataFrame:
    """``var`` of a simulated modality: names, and which factor drives each feature (the shared ones first)."""
    factor = pd.Categorical(["shared"] * n_shared + ["private"] * n_private, categories=["shared", "private"])
    return pd.DataFrame({"factor": factor}, index=[f"{prefix}{j}" for j in range(n_shared + n_private)])


def draw_present(
    rng: np.random.Generator, n_obs: int, modalities: Sequence[str], missing: Mapping[str, float] | None
) -> dict[str, NDArray[np.intp]]:
    """Rows present in each modality, ascending: exactly the asked number absent, no row absent from all.

    Every row is first promised to one modality, in proportion to the rows that the modality keeps; a modality's
    absent rows are then drawn from those promised to the others.
    """
    missing = dict(missing or {})
    check_names("missing", missing, modalities)
    for modality, fraction in missing.items():
        if not 0 <= fraction < 1:
            raise ValueError(f"missing[{modality!r}] is a fraction of the observations in [0, 1), not {fraction}.")
    n_absent = np.array([round(missing.get(modality, 0.0) * n_obs) for modality in modalities])
    n_kept = n_obs - n_absent
    if n_kept.min() < 1:
        raise ValueError(f"missing={missing} leaves no observation in a modality: lower it or raise n_obs.")
    if n_kept.sum() < n_obs:
        raise ValueError(
            f"missing={missing} leaves observations without any modality: the fractions kept must sum to 1 or more."
        )

    quota = n_obs * n_kept // n_kept.sum()
    for m in np.argsort(quota - n_kept)[: n_obs - quota.sum()]:  # the remainder, where there is most room
        quota[m] += 1
    promised = rng.permutation(np.repeat(np.arange(len(modalities)), quota))
    present = {}
    for m, modality in enumerate(modalities):
        absent = rng.choice(np.flatnonzero(promised != m), size=n_absent[m], replace=False)
        present[modality] = np.setdiff1d(np.arange(n_obs), absent)
    return present


def assemble(
    modalities: Mapping[str, AnnData],
    present: Mapping[str, NDArray[np.intp]],
    obs: pd.DataFrame,
    shared: NDArray[np.floating],
) -> MuData:
    """Join complete modalities into a MuData, keeping of each the rows present, and add the global annotation."""
    complete = {name: len(present[name]) == adata.n_obs for name, adata in modalities.items()}
    kept = {name: adata if complete[name] else adata[present[name]].copy() for name, adata in modalities.items()}
    mdata = MuData(kept)
    rows = obs.index.get_indexer(mdata.obs_names)
    for key, column in obs.iloc[rows].items():
        mdata.obs[key] = column
    mdata.obsm["true_shared"] = shared[rows]
    return mdata


def check_names(argument: str, names: Iterable[str], modalities: Sequence[str]) -> None:
    """Raise if an argument names a modality that is not simulated."""
    unknown = [name for name in names if name not in modalities]
    if unknown:
        raise ValueError(f"{argument} names {unknown}, but the modalities are {list(modalities)}.")


def check_at_least(minimum: int, **values: int) -> None:
    """Raise if a number of things is not an integer of at least ``minimum``."""
    for name, value in values.items():
        if not isinstance(value, int | np.integer) or value < minimum:
            raise ValueError(f"{name} must be an integer of at least {minimum}, not {value!r}.")


def check_scale(*, zero: bool, **values: float) -> None:
    """Raise if a scale is not finite and positive (or zero, if that is allowed)."""
    for name, value in values.items():
        if not np.isfinite(value) or value < 0 or (value == 0 and not zero):
            raise ValueError(f"{name} must be finite and {'not negative' if zero else 'positive'}, not {value!r}.")


def _check_arguments(
    n_obs: int,
    n_private_features: Mapping[str, int],
    n_shared_features: int,
    n_shared: int,
    n_private: int,
    length_scale: float,
    noise: float,
    even_views: Sequence[str],
) -> None:
    if not isinstance(n_private_features, Mapping) or not n_private_features:
        raise ValueError(
            f'n_private_features is keyed by view, such as {{"view1": 100, "view2": 100}}, not {n_private_features!r}.'
        )
    check_at_least(2, n_obs=n_obs)
    check_at_least(1, n_shared=n_shared, n_private=n_private)
    check_at_least(0, n_shared_features=n_shared_features)
    for view, n_own in n_private_features.items():
        check_at_least(0, **{f"n_private_features[{view!r}]": n_own})
        if n_shared_features + n_own == 0:
            raise ValueError(f"View {view!r} has no features: raise n_shared_features or n_private_features[{view!r}].")
    check_scale(zero=False, length_scale=length_scale)
    check_scale(zero=True, noise=noise)
    check_names("even_views", even_views, tuple(n_private_features))


def _kernel_root(factor: NDArray[np.floating], length_scale: float) -> NDArray[np.floating]:
    """Lower Cholesky factor of the RBF kernel over a factor's values, (n_obs, n_obs)."""
    kernel = cdist(factor, factor, "sqeuclidean")
    kernel *= -0.5 / length_scale**2
    np.exp(kernel, out=kernel)
    kernel[np.diag_indices_from(kernel)] += _JITTER
    return cholesky(kernel, lower=True, overwrite_a=True)
