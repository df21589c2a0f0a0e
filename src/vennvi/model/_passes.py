"""Which cells an explanation is read on, and passes over them in minibatches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from mudata import MuData
from numpy.typing import NDArray
from torch import Tensor

from vennvi._keys import data_key, mask_key
from vennvi._sparse import is_sparse
from vennvi.explain._blocks import ModalityLatents
from vennvi.explain._deviance import FeatureTotals
from vennvi.model._held_out import held_out_cells

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE

logger = logging.getLogger("scvi.vennvi")


class PassesMixin:
    """What the explanations of a model have in common."""

    module: SharedPrivateVAE
    modalities: tuple[str, ...]

    def _cells_to_read(self, mdata: MuData | None, indices: Sequence[int] | NDArray | None) -> NDArray[np.int64]:
        """Positions of the cells to describe: those asked for, else the held-out ones, else all.

        Raises
        ------
        ValueError
            If no cell is left.
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        own = self.adata  # type: ignore[attr-defined]
        mine = own is not None and (mdata is None or mdata is own)
        splits = (self.validation_indices, self.test_indices)  # type: ignore[attr-defined]
        if mine and indices is None and not any(cells is not None and len(cells) for cells in splits):
            logger.warning("No cell was held out in training: what is read on the training cells flatters the model.")
            return np.arange(own.n_obs)
        return held_out_cells(self, mdata, indices, "explain it")

    @torch.inference_mode()
    def _first_pass(
        self,
        mdata: MuData | None,
        cells: NDArray[np.int64],
        batch_size: int | None,
        sources: Mapping[str, Sequence[str]],
        *,
        totals: bool = True,
    ) -> tuple[dict[str, ModalityLatents], dict[str, FeatureTotals]]:
        """Latents of the cells as each target sees them, and (with ``totals``) sums of each target's data.

        Parameters
        ----------
        mdata, cells, batch_size
            Cells to read.
        sources
            Modalities whose shared latents are the cross-modal ones, by target.
        totals
            Whether to read the data's sums.
        """
        whole: dict[str, dict[str, Tensor]] = {m: {} for m in sources}
        start = 0
        found = {m: FeatureTotals(2, self.module.likelihood(m).n_features) for m in sources} if totals else {}
        for q_unimodal, q_private, mask, given in self._posteriors(mdata, cells, batch_size):  # type: ignore[attr-defined]
            joint = self._joint(q_unimodal, mask, True).nan_to_num(0.0)  # type: ignore[attr-defined]
            present = {m: v.squeeze(-1) > 0 for m, v in mask.items()}
            for m, others in sources.items():
                has_other = torch.stack([present[o] for o in others] or [torch.zeros_like(present[m])]).any(0)
                now = {
                    "shared": joint,
                    "private": torch.where(mask[m] > 0, q_private[m].loc, 0.0),
                    "size": torch.where(mask[m] > 0, given["size"][m], 1.0),
                    "sets": torch.stack([present[m], present[m] & has_other], dim=1),
                }
                if others:
                    now["cross"] = self._joint(q_unimodal, mask, True, modalities=others).nan_to_num(0.0)  # type: ignore[attr-defined]
                if given["covariates"] is not None:
                    now["covariates"] = given["covariates"]
                for name, value in now.items():
                    if name not in whole[m]:  # once, before the large temporaries: memory stays flat
                        whole[m][name] = value.new_empty(len(cells), value.shape[1])
                    whole[m][name][start : start + len(value)] = value
                if totals:
                    found[m].add(_dense(given[data_key(m)]), now["size"], now["sets"].T)
            start += len(joint)
        latents = {
            m: ModalityLatents(
                shared=arrays["shared"],
                cross=arrays.get("cross"),
                private=arrays["private"],
                size=arrays["size"],
                covariates=arrays.get("covariates"),
                sets=arrays["sets"].T,
            )
            for m, arrays in whole.items()
        }
        return latents, found

    def _data_batches(
        self, mdata: MuData | None, cells: NDArray[np.int64], batch_size: int | None, modalities: Sequence[str]
    ) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """Rows (of ``cells``) and dense data by modality, missing entries and absent cells NaN; minibatch by minibatch."""
        mdata = self._validate_anndata(mdata)  # type: ignore[attr-defined]
        start = 0
        for batch in self._make_data_loader(adata=mdata, indices=cells, batch_size=batch_size):  # type: ignore[attr-defined]
            device = self.device  # type: ignore[attr-defined]
            n = len(batch[mask_key(modalities[0])])
            yield (
                slice(start, start + n),
                {m: _dense(batch[data_key(m)].to(device)) for m in modalities},
            )
            start += n

    def _others(self, modality: str) -> tuple[str, ...]:
        return tuple(m for m in self.modalities if m != modality)


def _dense(x: Tensor) -> Tensor:
    return x.to_dense() if is_sparse(x) else x
