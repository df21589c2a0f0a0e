"""Which features of a modality another one predicts, with error control."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from mudata import MuData
from numpy.typing import NDArray

from vennvi.explain._blocks import PAIRED, ModalityLatents
from vennvi.explain._deviance import ExplainedDeviance
from vennvi.explain._pairing import pairing_p_values, permutations_within, q_values
from vennvi.likelihoods import BernoulliLikelihood, Columns
from vennvi.model._held_out import held_out_cells, obs_column
from vennvi.model._passes import PassesMixin

#: Numbers of a cells-by-features block that are held at once; wider modalities are read in several passes.
_BLOCK = 1 << 25


class SharedFeaturesMixin(PassesMixin):
    """Test of every feature for what it shares with other modalities."""

    @torch.inference_mode()
    def shared_features(
        self,
        target: str,
        source: str | Sequence[str] | None = None,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        n_permutations: int = 1000,
        within: str | None = None,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> pd.DataFrame:
        r"""Which features of a modality follow another one, on held-out cells.

        The target is predicted from the shared latents that the sources infer, as :meth:`predict` does. Explained is

        .. math:: D_j = 1 - \sum_i d(x_{ij}, \hat x_{ij}) \big/ \sum_i d(x_{ij}, \hat x^0_{ij})

        (as ``"cross"`` in :meth:`variance_explained`), and the p-value asks whether the predictions belong to *their*
        cells: it compares their covariance with the data with that after shuffling which cell gets which prediction,
        among cells of the same batch and categorical covariates that have the same sources. The model is not trained
        again. Counts are compared as shares of the cell's total: where a shared programme moves the total, the shares of all
        features move, and features that have nothing to do with it are found as well. Give ``size_factor_key`` to set the
        depth apart from the total. The q-value is Benjamini and Hochberg's: of the features with ``q_value <= 0.05``, 5 % or fewer are
        expected to be false.

        Parameters
        ----------
        target
            Modality whose features are tested.
        source
            Modality or modalities that predict it; by default all others.
        mdata, indices
            Cells to test on, which the model must not have been trained on; by default its validation and test cells.
        n_permutations
            Number of permutations; the smallest p-value is ``1 / (1 + n_permutations)``. For :math:`k` discoveries
            among :math:`F` features at 5 %, at least :math:`20 F / k` are needed.
        within
            Column of ``mdata.obs``, such as the cell type or the donor: shuffle among cells with the same value only,
            which asks what is shared beyond it.
        batch_size
            Cells in a minibatch.
        seed
            Seed of the permutations.

        Returns
        -------
        A data frame with one row a feature: ``explained``, ``p_value``, ``q_value``, ``measure`` (``"R2"`` or
        ``"deviance"``) and ``n_cells`` (cells that have the target and a source). A feature that does not vary over
        them has NaN and is not counted as a test.

        Raises
        ------
        ValueError
            If the model was trained on all cells and no others are given; if the target is among the sources or a name
            is unknown; if fewer than two cells have both.
        KeyError
            If ``within`` is not a column of ``mdata.obs``.

        References
        ----------
        Benjamini and Hochberg, "Controlling the false discovery rate", J R Stat Soc B 57, 1995.

        Examples
        --------
        >>> import vennvi
        >>> mdata = vennvi.data.simulate_multiome(n_obs=200, n_genes=30, n_peaks=50)
        >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata, batch_key="batch")
        >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
        >>> model.train(max_epochs=1, train_size=0.5, accelerator="cpu", enable_progress_bar=False)
        >>> table = model.shared_features("atac", source="rna", n_permutations=99)
        >>> table.shape, list(table.columns)
        ((50, 5), ['explained', 'p_value', 'q_value', 'measure', 'n_cells'])
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        self._check_modality("target", target)  # type: ignore[attr-defined]
        if len(self.modalities) < 2:
            raise ValueError("This model has one modality: to predict its features takes another one.")
        sources = self._others(target) if source is None else self._sources(source)  # type: ignore[attr-defined]
        if target in sources or not sources:
            raise ValueError(f"`source` must name modalities other than the target {target!r}.")
        if n_permutations < 1:
            raise ValueError(f"`n_permutations` is {n_permutations}: it must be at least 1.")
        cells = held_out_cells(self, mdata, indices, "test its features")
        data = self.adata if mdata is None else mdata  # type: ignore[attr-defined]
        alike = [self._presence(data, m)[cells] for m in sources]  # type: ignore[attr-defined]
        if within is not None:
            alike.append(obs_column(data, within, "within").to_numpy()[cells])

        likelihood = self.module.likelihood(target)
        latents, totals = self._first_pass(mdata, cells, batch_size, {target: sources})
        z, paired = latents[target], latents[target].sets[PAIRED]
        kept = paired.cpu().numpy()
        if kept.sum() < 2:
            raise ValueError(f"{kept.sum()} cells have both {target!r} and {' or '.join(map(repr, sources))}.")
        groups = self._strata(z, alike)[kept]
        permutations = permutations_within(groups, n_permutations, seed)
        size = z.size.squeeze(-1).cpu().numpy()[kept]
        explained = ExplainedDeviance(likelihood, totals[target], z.sizes)
        binary = isinstance(likelihood, BernoulliLikelihood)
        width = max(1, _BLOCK // int(kept.sum()))
        p_values = []
        for start in range(0, likelihood.n_features, width):
            columns = slice(start, start + width)
            x, link = np.empty((2, int(kept.sum()), len(range(likelihood.n_features)[columns])), dtype=np.float32)
            filled = 0
            for rows, batch in self._data_batches(mdata, cells, batch_size, [target]):
                if start == 0:
                    outputs = self._cross_outputs(target, z, rows, slice(None), fixed=False)
                    explained.start(batch[target], z.size[rows], z.sets[:, rows])
                    explained.add("cross", likelihood.expected(outputs, z.size[rows]))
                outputs = self._cross_outputs(target, z, rows, columns, fixed=True)
                even = likelihood.expected(outputs, torch.ones_like(z.size[rows]), columns)
                now = slice(filled, filled + int(paired[rows].sum()))
                x[now] = batch[target][paired[rows]][:, columns].cpu().numpy()
                link[now] = likelihood.link(even[paired[rows]]).cpu().numpy()
                filled = now.stop
            p_values.append(pairing_p_values(x, link, size, permutations, binary=binary))
        values = explained.per_feature("cross", PAIRED)
        p = np.where(np.isnan(values), np.nan, np.concatenate(p_values))
        return pd.DataFrame(
            {
                "explained": values,
                "p_value": p,
                "q_value": q_values(p),
                "measure": likelihood.measure,
                "n_cells": int(kept.sum()),
            },
            index=pd.Index(self._var_names(target)),  # type: ignore[attr-defined]
        )

    def _cross_outputs(
        self, target: str, z: ModalityLatents, rows: slice, columns: Columns, *, fixed: bool
    ) -> torch.Tensor:
        """Decoder outputs for some features, from the sources' shared latents; ``fixed``: continuous covariates held at their mean."""
        c = None if z.covariates is None else z.covariates[rows]
        if fixed and self.module.n_continuous_cov and c is not None and z.covariates is not None:
            continuous = slice(c.shape[1] - self.module.n_continuous_cov, None)
            c = c.clone()
            c[:, continuous] = z.covariates[:, continuous].mean(0)
        private = torch.zeros_like(z.private[rows])
        return self.module.decode(target, torch.cat([z.cross[rows], private], dim=-1), c, columns)  # type: ignore[index]

    def _strata(self, z: ModalityLatents, alike: Sequence[NDArray]) -> NDArray[np.int64]:
        """Group of each cell, ``(n_cells,)``: combinations of batch, categorical covariates and what else must be ``alike``."""
        codes = [pd.factorize(pd.Series(values), use_na_sentinel=False)[0] for values in alike]
        if z.covariates is not None:
            n_categories = z.covariates.shape[1] - self.module.n_continuous_cov
            codes += list(z.covariates[:, :n_categories].cpu().numpy().astype(np.int64).T)
        return np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)[1].ravel()
