"""Differential expression and accessibility between groups of cells, by scvi-tools' Bayesian test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
import torch
from mudata import MuData
from numpy.typing import NDArray
from scipy import sparse
from scvi.data import AnnDataManager
from scvi.model.base._de_core import _de_core

from vennvi._keys import data_key
from vennvi.data._dataset import cell_positions, obs_rows
from vennvi.likelihoods import Likelihood, NormalLikelihood
from vennvi.model._expression import Space
from vennvi.model._seeded import seeded

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE

#: Effects smaller than this are none, by what the effect is measured in: log2 fold changes, probabilities, sd.
SMALLEST_EFFECT = {
    "log2 fold change": 0.25,
    "difference of probabilities": 0.05,
    "difference in sd": 0.25,
    "other": 0.25,  # a function of the user's: scvi-tools' default
}

_SCALE_ENTRIES = 2**26  # sampled values of a group


@dataclass
class ModalityManager:
    """What scvi-tools' test reads of a manager, for the cells that have one modality; nothing of the user's is written."""

    manager: AnnDataManager
    modality: str
    adata: ad.AnnData
    rows: NDArray[np.int64]

    def get_from_registry(self, key: str) -> Any:
        """Data of the modality, rows as in ``adata``; there is no other."""
        data = self.manager.get_from_registry(data_key(self.modality))
        return (data.tocsr() if sparse.issparse(data) else data)[self.rows]

    def get_state_registry(self, key: str) -> Any:
        """State of one field."""
        return self.manager.get_state_registry(key)


class DifferentialMixin:
    """Differential expression and accessibility."""

    module: SharedPrivateVAE

    @torch.inference_mode()
    def differential_expression(
        self,
        groupby: str | None = None,
        group1: str | Sequence[str] | None = None,
        group2: str | None = None,
        modality: str | None = None,
        space: Space = "all",
        mdata: MuData | None = None,
        idx1: Sequence[int] | NDArray | str | None = None,
        idx2: Sequence[int] | NDArray | str | None = None,
        mode: Literal["vanilla", "change"] = "change",
        delta: float | None = None,
        all_stats: bool = True,
        batch_correction: bool = False,
        batchid1: Sequence[str] | None = None,
        batchid2: Sequence[str] | None = None,
        fdr_target: float = 0.05,
        batch_size: int | None = None,
        silent: bool = True,
        seed: int = 0,
        **kwargs,
    ) -> pd.DataFrame:
        r"""Test which features of a modality differ between groups of cells, by scvi-tools' Bayesian test.

        .. math:: P(|r| \ge \delta \mid x), \qquad r = \log_2 \frac{\mu_1 + \varepsilon}{\mu_2 + \varepsilon}
                  \;\text{(counts)}, \quad \mu_1 - \mu_2 \;\text{(0/1)}, \quad (\mu_1 - \mu_2) / \sigma \;\text{(real values)}

        with :math:`\mu_g` the normalised expression of a random cell of group :math:`g` under a draw from its posterior
        (Lopez et al. 2018; Boyeau et al. 2019). ``space`` asks the question of one part only: ``"shared"`` holds the
        private latents at their mean, "what differs in the part that the modalities agree on"; ``"private"`` the shared
        ones.

        Parameters
        ----------
        groupby
            Column of ``mdata.obs`` (or of the modality's own obs) with the groups.
        group1, group2
            Groups to compare; by default every group against the rest, to which cells without a group belong.
        modality
            Modality to test, such as ``"rna"``, or ``"atac"`` for accessibility.
        space
            ``"all"``, ``"shared"`` or ``"private"``: which latents vary.
        mdata
            Data to test on; by default the model's own.
        idx1, idx2
            Cells of the two groups instead of ``groupby``: positions, masks, or queries of ``mdata.obs``; by default
            ``idx2`` is all other cells.
        mode
            ``"change"`` as above, or ``"vanilla"``: the Bayes factor of :math:`\mu_1 > \mu_2`.
        delta
            Smallest effect that counts; by default 0.25 (log2 fold change, or sd) or 0.05 (probability).
        all_stats
            Whether to add the raw means and, but for real values, the fractions of cells that are not zero.
        batch_correction
            Whether to compare within the same (decoded) batches instead of each cell's own.
        batchid1, batchid2
            Batches to decode the groups in; all by default.
        fdr_target
            Expected false discovery rate of ``is_de_fdr_*``.
        batch_size
            Cells in a minibatch.
        silent
            Whether to hide the progress bar.
        seed
            Seed of the choice of cells and of the draws.
        **kwargs
            Passed to scvi-tools' ``DifferentialComputation.get_bayes_factors``, for example ``n_samples_overall``,
            ``pseudocounts`` or ``change_fn``, another effect than the above, ``"log-fold"`` or a function.

        Returns
        -------
        One row a feature and comparison, the surest first, with scvi-tools' columns: ``proba_de``, ``bayes_factor``,
        ``scale1`` and ``scale2`` (mean normalised expression), ``lfc_mean``, ``lfc_median``, ``lfc_std`` (``effect_*``
        where the effect is not a fold change), ``is_de_fdr_<fdr_target>``; with ``groupby``, ``comparison``,
        ``group1`` and ``group2`` too.

        Raises
        ------
        ValueError
            Without a modality, without groups, for an unknown modality or space, for a group without a cell that has
            the modality, and for log fold changes of real values.
        KeyError
            If ``groupby`` is no column.

        Examples
        --------
        >>> import vennvi
        >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
        >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata)
        >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
        >>> model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
        >>> table = model.differential_expression(
        ...     "cell_type", "type0", modality="rna", space="shared", n_samples_overall=200
        ... )
        >>> len(table), table["comparison"].iloc[0]
        (20, 'type0 vs Rest')
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        if modality is None:
            raise ValueError(f"Name the `modality` to test: {', '.join(self.modalities)}.")  # type: ignore[attr-defined]
        self._check_modality("modality", modality)  # type: ignore[attr-defined]
        if (groupby is None) == (idx1 is None):
            raise ValueError("Name the groups by `groupby`, or their cells by `idx1` (and `idx2`); one of the two.")
        data = self._validate_anndata(mdata)  # type: ignore[attr-defined]
        present = self._presence(data, modality)  # type: ignore[attr-defined]
        own = self.get_anndata_manager(data, required=True)  # type: ignore[attr-defined]
        if not present.any():
            raise ValueError(f"No cell of these data has modality {modality!r}.")
        manager = _modality_manager(own, data, modality, groupby, present)
        if groupby is not None:
            group1, group2 = _names(group1), _names(group2)  # type: ignore[assignment]
            _check_groups(manager.adata.obs[groupby], groupby, modality, group1, group2)
        cells = np.flatnonzero(present)
        likelihood = self.module.likelihood(modality)
        effect, change_fn = _effect(likelihood)
        if (asked := kwargs.get("change_fn")) == "log-fold" and isinstance(likelihood, NormalLikelihood):
            raise ValueError(
                f"Modality {modality!r} has real values, which have no fold changes: leave `change_fn` out for differences in sd."
            )
        if asked is not None:
            effect, change_fn = ("log2 fold change" if asked == "log-fold" else "other"), None
        if delta is None:
            delta = SMALLEST_EFFECT[effect]
        if mode == "change" and change_fn is not None:
            kwargs = {"change_fn": change_fn, "pseudocounts": 0.0, **kwargs}
        names = self._var_names(modality)  # type: ignore[attr-defined]
        if len(set(names)) < len(names):
            raise ValueError(
                f"Modality {modality!r} has variables of one name: call `mdata[{modality!r}].var_names_make_unique()` before "
                "setting up and training."
            )
        kwargs.setdefault("n_samples_overall", int(np.clip(_SCALE_ENTRIES // len(names), 500, 5000)))
        fixed = self._fixed_latents(modality, data, space, batch_size)  # type: ignore[attr-defined]
        rng = np.random.default_rng(seed)

        def samples(_, indices, transform_batch, n_samples_overall) -> NDArray[np.float32]:
            """Normalised expression of random cells, each under one draw from its posterior."""
            chosen = cells[rng.choice(np.asarray(indices), n_samples_overall)]
            codes = self._batch_codes(transform_batch)  # type: ignore[attr-defined]
            chunks = self._expression(  # type: ignore[attr-defined]
                modality, data, chosen, fixed, codes, None, 1, False, slice(None), batch_size
            )
            return torch.cat([chunk[0].cpu() for chunk in chunks]).numpy()

        with seeded(seed, self.device):  # type: ignore[attr-defined]
            table = _de_core(
                manager,
                samples,
                None,
                groupby,
                group1,
                group2,
                _in_modality(idx1, data.n_obs, cells),
                _in_modality(idx2, data.n_obs, cells, _in_modality(idx1, data.n_obs, cells), manager.adata.obs),
                all_stats,
                _raw_properties(likelihood),
                names,
                mode,
                batchid1,
                batchid2,
                delta,
                batch_correction,
                fdr_target,
                silent,
                **kwargs,
            )
        if effect != "log2 fold change":
            table = table.rename(columns=lambda name: name.replace("lfc_", "effect_", 1))
        return table


def _names(groups: object) -> list[str] | str | None:
    """Groups by name, which need not be strings in the data."""
    if groups is None or isinstance(groups, str):
        return groups
    return [str(name) for name in groups] if isinstance(groups, Iterable) else str(groups)


def _check_groups(column: pd.Series, groupby: str, modality: str, *groups: str | Iterable[str] | None) -> None:
    """Raise a ValueError for a group that no cell with the modality is in."""
    there = set(column.dropna())
    if not there:
        raise ValueError(f"No cell with modality {modality!r} is in any group of {groupby!r}: all values are missing.")
    asked = [name for group in groups if group is not None for name in ([group] if isinstance(group, str) else group)]
    if absent := [name for name in asked if str(name) not in there]:
        raise ValueError(
            f"No cell with modality {modality!r} is in group {', '.join(map(repr, absent))} of {groupby!r}; there are "
            f"{', '.join(sorted(there))}."
        )


def _modality_manager(
    manager: AnnDataManager, mdata: MuData, modality: str, groupby: str | None, present: NDArray[np.bool_]
) -> ModalityManager:
    rows = obs_rows(mdata, modality)
    obs = mdata.obs[present].copy()
    if groupby is not None and groupby not in obs:
        if groupby not in mdata[modality].obs:
            raise KeyError(f"`groupby` names {groupby!r}, which is in neither mdata.obs nor mdata[{modality!r}].obs.")
        obs[groupby] = mdata[modality].obs[groupby].to_numpy()[rows[present]]
    if groupby is not None and not all(isinstance(name, str) for name in obs[groupby].dropna().unique()):
        obs[groupby] = obs[groupby].astype(str).where(obs[groupby].notna()).astype(object)
    if groupby is not None and isinstance(obs[groupby].dtype, pd.CategoricalDtype):
        obs[groupby] = obs[groupby].cat.remove_unused_categories()  # a group without a cell cannot be compared
    return ModalityManager(manager, modality, ad.AnnData(obs=obs), rows[present])


def _in_modality(
    chosen, n_obs: int, cells: NDArray[np.int64], rest_of: NDArray | str | None = None, obs: pd.DataFrame | None = None
) -> NDArray[np.bool_] | str | None:
    """Mask over the cells of a modality; a query stays one. With ``rest_of`` by default its complement."""
    if isinstance(chosen, str):
        return chosen
    if chosen is None:
        if rest_of is None:
            return None
        if isinstance(rest_of, str):
            return ~obs.index.isin(obs.query(rest_of).index)  # type: ignore[union-attr]
        return ~rest_of
    mask = np.zeros(n_obs, dtype=bool)
    mask[cell_positions(n_obs, chosen)] = True
    return mask[cells]


def _effect(likelihood: Likelihood) -> tuple[str, Callable | None]:
    """What an effect is measured in, and how (``None``: scvi-tools' log2 fold change)."""
    if isinstance(likelihood, NormalLikelihood):
        sd = likelihood.sd.cpu().numpy()
        return "difference in sd", lambda first, second, pseudocounts: (first - second) / sd
    if "counts" in likelihood.fits:
        return "log2 fold change", None
    return "difference of probabilities", lambda first, second, pseudocounts: first - second


def _raw_properties(likelihood: Likelihood) -> Callable[[ModalityManager, NDArray, NDArray], dict[str, NDArray]]:
    real = isinstance(likelihood, NormalLikelihood)

    def properties(manager: ModalityManager, idx1: NDArray, idx2: NDArray) -> dict[str, NDArray]:
        data = manager.get_from_registry(data_key(manager.modality))
        found = {f"raw_mean{k}": _column_means(data[idx]) for k, idx in ((1, idx1), (2, idx2))}
        if not real:
            found |= {f"non_zeros_proportion{k}": _column_means(data[idx], True) for k, idx in ((1, idx1), (2, idx2))}
        return found

    return properties


def _column_means(x: Any, non_zero: bool = False) -> NDArray[np.float64]:
    """Mean of each column, or its fraction that is not zero; missing entries left out."""
    if sparse.issparse(x):
        return np.asarray((x != 0 if non_zero else x).mean(axis=0), dtype=np.float64).ravel()
    values = np.asarray(x, dtype=np.float64)
    observed = ~np.isnan(values)
    counted = np.where(observed, (values != 0) if non_zero else values, 0.0).sum(axis=0)
    n = observed.sum(axis=0)
    return np.divide(counted, n, out=np.full(values.shape[1], np.nan), where=n > 0)
