"""Do the modalities share anything: a test on held-out cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from mudata import MuData
from numpy.typing import NDArray

from vennvi.metrics import SharedSignal, shared_signal
from vennvi.model._held_out import held_out_cells, obs_column

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE


class SharedSignalMixin:
    """A permutation test of what a trained model calls shared."""

    module: SharedPrivateVAE
    modalities: tuple[str, ...]

    def shared_signal_test(
        self,
        n_permutations: int = 1000,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        within: str | None = None,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> SharedSignal:
        r"""Test on held-out cells whether the modalities share a signal, overall and in every shared dimension.

        .. math:: T = \sum_j \max(r_j, 0)^2, \qquad
                  r_j = \operatorname{cor}_i\!\left(E[s_j \mid x_{ia}], E[s_j \mid x_{ib}]\right)

        with :math:`i` the held-out cells and :math:`a, b` two modalities, each encoding the cell alone. :math:`T` reads
        as the number of shared dimensions that they agree on. The null shuffles the cells of every modality among the
        held-out ones; the model is not trained again. It says that the modalities are dependent, not through what:
        depth and batches count as well, unless ``within`` keeps to them.

        Parameters
        ----------
        n_permutations
            Number of permutations; the smallest p-value is ``1 / (1 + n_permutations)``.
        mdata, indices
            Cells to test on, which the model must not have been trained on; by default its validation and test cells.
        within
            Column of ``mdata.obs``, such as the batch: shuffle among cells with the same value only, so that what
            differs between the groups is no signal.
        batch_size
            Cells in a minibatch.
        seed
            Seed of the permutations.

        Returns
        -------
        :class:`~vennvi.metrics.SharedSignal`: statistic, p-value and null overall, a table of the pairs of modalities,
        and a table of the shared dimensions with their q-values.

        Raises
        ------
        ValueError
            If the model was trained on all cells and no others are given, or has one modality only.
        KeyError
            If ``within`` is not a column of ``mdata.obs``.

        Examples
        --------
        >>> import vennvi
        >>> mdata = vennvi.data.simulate_multiome(n_obs=200, n_genes=30, n_peaks=50)
        >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata, batch_key="batch")
        >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
        >>> model.train(max_epochs=1, train_size=0.5, accelerator="cpu", enable_progress_bar=False)
        >>> test = model.shared_signal_test(n_permutations=99, within="batch")
        >>> len(test.null), test.pairs["n_obs"].tolist(), list(test.dimensions)
        (99, [100], ['correlation', 'null_95', 'p_value', 'q_value'])
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        if len(self.modalities) < 2:
            raise ValueError("This model has one modality: a shared signal needs two.")
        cells = held_out_cells(self, mdata, indices, "test the shared signal")
        data = self.adata if mdata is None else mdata  # type: ignore[attr-defined]
        groups = None if within is None else obs_column(data, within, "within").to_numpy()[cells]
        return shared_signal(
            self._unimodal_shared(mdata, cells, batch_size), n_permutations=n_permutations, groups=groups, seed=seed
        )

    @torch.inference_mode()
    def _unimodal_shared(
        self, mdata: MuData | None, indices: Sequence[int] | NDArray | None, batch_size: int | None
    ) -> dict[str, NDArray[np.float32]]:
        """Means of the shared latents that each modality alone infers, in one pass; NaN rows where it is absent."""
        chunks: dict[str, list[NDArray]] = {m: [] for m in self.modalities}
        for q_unimodal, _, mask, _ in self._posteriors(mdata, indices, batch_size):  # type: ignore[attr-defined]
            for m in self.modalities:
                mean = self.module.fuse(q_unimodal, mask, [m]).loc
                chunks[m].append(mean.masked_fill(mask[m] == 0, torch.nan).cpu().numpy())
        return {m: np.concatenate(parts) for m, parts in chunks.items()}
