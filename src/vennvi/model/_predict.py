"""Predicting one modality from any others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from mudata import MuData
from numpy.typing import NDArray

from vennvi.data._dataset import cell_positions
from vennvi.likelihoods import Columns
from vennvi.model._predictive import Prediction, check_levels
from vennvi.model._validate import check_library_size
from vennvi.objectives import CrossPrivate

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE


class PredictMixin:
    """Expected values of a modality."""

    module: SharedPrivateVAE
    modalities: tuple[str, ...]

    @torch.inference_mode()
    def predict(
        self,
        target: str,
        source: str | Sequence[str] | None = None,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        n_samples: int | None = None,
        give_mean: bool = True,
        var_names: Sequence[str] | None = None,
        library_size: float | None = None,
        batch_size: int | None = None,
        return_numpy: bool = False,
        return_intervals: float | Sequence[float] | None = None,
        calibrated: bool = True,
    ) -> pd.DataFrame | NDArray[np.float32] | Prediction:
        r"""Predict a modality from the shared latents of any set of modalities.

        .. math:: \hat x_{im} = E[x_{im} \mid s_i, p_{im}, c_i], \qquad s_i \sim q(s \mid x_{i,\text{source}})

        where :math:`p_{im}` comes from :math:`q(p_m \mid x_{im})` if the target is among the sources (and the cell has
        it), and otherwise is what the model's table says: zeros, or a draw from the prior.

        Parameters
        ----------
        target
            Modality to predict.
        source
            Modality or modalities to predict it from; all by default. Cross-modal if the target is not among them.
        mdata, indices
            Cells to predict; by default all those that the model was set up with.
        n_samples
            Number of draws, 1 by default and 200 for intervals; more than one means ``give_mean=False``.
        give_mean
            Whether to decode the posterior means (and the mean of the prior); otherwise the predictions of
            ``n_samples`` draws are averaged.
        var_names
            Features to return; all by default.
        library_size
            For counts: total count (or size factor, if the model was set up with them) to predict for. By default a
            cell's own, and where the cell lacks the target the median of those that the model was made with.
        batch_size
            Cells in a minibatch.
        return_numpy
            Whether to return an array instead of a data frame.
        return_intervals
            Levels, such as ``(0.5, 0.9)``, of central intervals to return beside mean and sd. They hold everything that
            is not known: the shared latents and the target's own private latents are drawn from their posterior, the
            private latents of a target that is predicted from other modalities from their *prior*, and the observation
            from the likelihood. Those of counts end at whole numbers and hold more, for rare counts much more. Name
            ``var_names``, where many features times cells would not fit in memory.
        calibrated
            Whether to scale the deviations from the mean of real-valued features so that they are as large as the errors
            on held-out cells (validation and test split, at least 20, at most 500 of them): one factor for each feature,
            target and set of sources, fitted when first asked for and kept until the model is trained further. A held-out
            cell's own factor comes from the other half of the held-out cells. Without effect on counts and 0/1 data.

        Returns
        -------
        Expected values in the data's units (for ``"bernoulli"`` the probability of a 1), cells by features. Cells that
        have none of the sources are rows of NaN. With ``return_intervals`` a :class:`~vennvi.model.Prediction`: tables
        ``mean`` and ``sd``, and ``lower[level]`` and ``upper[level]``.

        Raises
        ------
        ValueError
            For an unknown target or source modality, unknown ``var_names``, levels that are not between 0 and 1, and too
            few samples to see the ends of the intervals.

        Examples
        --------
        >>> import vennvi
        >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
        >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata)
        >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
        >>> model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
        >>> genes = model.predict("rna", source="atac", n_samples=50, return_intervals=[0.5, 0.9])
        >>> genes.mean.shape, genes.levels
        ((100, 20), (0.5, 0.9))
        >>> bool((genes.lower[0.9] <= genes.lower[0.5]).all(axis=None))
        True
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        self._check_modality("target", target)  # type: ignore[attr-defined]
        sources = self._sources(source)
        if n_samples is not None and n_samples < 1:
            raise ValueError(f"`n_samples` is {n_samples}: it must be at least 1.")
        check_library_size(library_size)
        names, columns = self._target_columns(target, var_names)
        if return_intervals is not None:
            levels, n_draws = check_levels(return_intervals, n_samples)
            if return_numpy:
                raise ValueError("`return_numpy` and `return_intervals` exclude each other: intervals come as tables.")
            adata = self._validate_anndata(mdata)  # type: ignore[attr-defined]
            obs_names = adata.obs_names[cell_positions(adata.n_obs, indices)]
            return self._predict_intervals(  # type: ignore[attr-defined]
                target,
                sources,
                mdata,
                indices,
                n_draws,
                columns,
                names,
                obs_names,
                library_size,
                levels,
                batch_size,
                calibrated,
            )
        repeats = n_samples or 1
        give_mean = give_mean and repeats == 1
        likelihood = self.module.likelihood(target)
        chunks = []
        for q_unimodal, q_private, mask, given in self._posteriors(mdata, indices, batch_size):  # type: ignore[attr-defined]
            size = self._predicted_size(target, mask, given, library_size)
            total: torch.Tensor | float = 0.0
            for _ in range(repeats):
                absent = "zeros" if give_mean else self.module.cross_private
                outputs = self._decode_draw(
                    target, sources, q_unimodal, q_private, mask, given, give_mean, absent, columns
                )
                total = total + likelihood.expected(outputs, size, columns)
            chunks.append((total / repeats).cpu())  # type: ignore[union-attr]
        values = torch.cat(chunks).numpy() if chunks else np.empty((0, len(names)), dtype=np.float32)
        if return_numpy:
            return values
        adata = self._validate_anndata(mdata)  # type: ignore[attr-defined]
        obs_names = adata.obs_names[cell_positions(adata.n_obs, indices)]
        return pd.DataFrame(values, index=obs_names, columns=names)

    def _predicted_size(self, target: str, mask, given, library_size: float | None) -> torch.Tensor:
        """Depth to predict for, ``(n, 1)``: the one asked for, else the cell's own, else the median."""
        likelihood = self.module.likelihood(target)
        size = torch.where(mask[target] > 0, given["size"][target], 1.0)
        if library_size is not None and likelihood.use_size:
            size = torch.full_like(size, float(library_size)) / likelihood.size_reference
        return size

    def _decode_draw(
        self,
        target,
        sources,
        q_unimodal,
        q_private,
        mask,
        given,
        give_mean: bool,
        absent: CrossPrivate,
        columns: Columns,
    ) -> torch.Tensor:
        """Decoder outputs of the target for means or one draw of the latents, as far as they decide about some features.

        ``absent`` says what stands for the private latent of a target that is not among the sources.
        """
        s = self._joint(q_unimodal, mask, give_mean, modalities=sources)  # type: ignore[attr-defined]
        p = self.module.absent_private(target, s, absent)
        if target in sources:
            own = q_private[target].loc if give_mean else q_private[target].sample()
            p = torch.where(mask[target] > 0, own, p)
        return self.module.decode(target, torch.cat([s, p], dim=-1), given["covariates"], columns)

    def _target_columns(self, target: str, var_names: Sequence[str] | None) -> tuple[NDArray, Columns]:
        """Names of the wanted features and their positions."""
        names = self._var_names(target)  # type: ignore[attr-defined]
        columns = _columns(names, var_names, target)
        return names[columns], columns

    def _sources(self, source: str | Sequence[str] | None) -> tuple[str, ...]:
        if source is None:
            return self.modalities
        sources = (source,) if isinstance(source, str) else tuple(dict.fromkeys(source))
        for m in sources:
            self._check_modality("source", m)  # type: ignore[attr-defined]
        if not sources:
            raise ValueError("`source` is empty: name at least one modality, or None for all.")
        return sources


def _columns(names: NDArray, wanted: Sequence[str] | None, modality: str) -> Columns:
    if wanted is None:
        return slice(None)
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    index = pd.Index(names)
    if len(twice := index[index.duplicated()].intersection(wanted)):
        raise ValueError(
            f"Modality {modality!r} has several variables {twice[0]!r}: call `mdata[{modality!r}].var_names_make_unique()` "
            "before setting up and training."
        )
    once = np.flatnonzero(~index.duplicated())
    positions = index[once].get_indexer(wanted)
    if (positions < 0).any():
        unknown = [name for name, position in zip(wanted, positions, strict=True) if position < 0]
        raise ValueError(f"Modality {modality!r} has no variables {', '.join(map(repr, unknown[:5]))}.")
    return once[positions]
