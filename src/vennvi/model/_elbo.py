"""The evidence lower bound of cells, and its reconstruction terms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from mudata import MuData
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from scvi.module.base import LossOutput
from torch import Tensor

from vennvi._keys import mask_key, reconstruction_name

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE


class ElboMixin:
    """What the model's objective is on any cells."""

    module: SharedPrivateVAE
    modalities: tuple[str, ...]

    @torch.inference_mode()
    def get_elbo(
        self,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        batch_size: int | None = None,
        dataloader: Iterable[Mapping[str, Tensor]] | None = None,
        return_mean: bool = True,
    ) -> float | NDArray[np.float32]:
        r"""Evidence lower bound of cells, each term by one draw of the latents: higher is better, as in scvi-tools.

        .. math:: \mathrm{ELBO}_i = \sum_S \Big[\sum_m w_m \log p(x_{im} \mid s_{iS}, p_{im}, c_i)
                  - \mathrm{KL}[q(s_i \mid x_{iS})] - \lambda \sum_{m \in S} \mathrm{KL}[q(p_{im} \mid x_{im})]\Big]

        The sums run over the rows of the model's table, as far as the cell has their modalities; :math:`w_m` are the
        ``modality_weights``, :math:`\lambda` is ``private_kl_weight``, and the KL weight is 1. It is minus the curve
        ``elbo_validation``, up to the draws, and says which of two trainings of a model fits better. Models with other
        tables, likelihoods or data are not compared by it.

        Parameters
        ----------
        mdata, indices
            Cells to read; by default all that the model was set up with. For the held-out ones,
            ``indices=model.validation_indices``.
        batch_size
            Cells in a minibatch.
        dataloader
            Minibatches to read instead of ``mdata``.
        return_mean
            Whether to return the mean over the cells that have any modality, or else the value of each cell.

        Returns
        -------
        A number, or an array of shape ``(n_cells,)``, NaN where a cell has no modality.

        Raises
        ------
        ValueError
            If ``dataloader`` comes with ``mdata`` or ``indices``, or there is no data.

        Examples
        --------
        >>> import vennvi
        >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
        >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata)
        >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
        >>> model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
        >>> model.get_elbo(indices=model.validation_indices) < 0, model.get_elbo(return_mean=False).shape
        (True, (100,))
        """
        found = [
            torch.where(
                torch.stack(list(mask.values())).sum(0).squeeze(-1) > 0,
                -sum([*output.reconstruction_loss.values(), *output.kl_local.values()]),
                torch.nan,
            )
            for mask, output in self._losses(mdata, indices, batch_size, dataloader)
        ]
        elbo = _joined(found)
        return _mean(elbo) if return_mean else elbo

    @torch.inference_mode()
    def get_reconstruction_error(
        self,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        batch_size: int | None = None,
        dataloader: Iterable[Mapping[str, Tensor]] | None = None,
        return_mean: bool = True,
    ) -> dict[str, float] | dict[str, NDArray[np.float32]]:
        r"""Negative log-likelihood of cells, term by term, by one draw of the latents: lower is better.

        .. math:: -w_m \log p(x_{im} \mid s_{iS}, p_{im}, c_i)

        Parameters
        ----------
        mdata, indices, batch_size, dataloader
            Cells to read, as in :meth:`get_elbo`.
        return_mean
            Whether to return the mean over the cells that have the term's modalities, or else the value of each cell.

        Returns
        -------
        By term, named as in ``model.history``: ``"reconstruction_rna_to_atac"`` is how badly the shared latents of ``rna``
        explain ``atac``. A number, or an array of shape ``(n_cells,)``, NaN for cells that do not count for the term.

        Raises
        ------
        ValueError
            As :meth:`get_elbo`.

        Examples
        --------
        >>> import vennvi
        >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
        >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata)
        >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
        >>> model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
        >>> sorted(model.get_reconstruction_error())[:2]
        ['reconstruction_atac_to_atac', 'reconstruction_atac_to_rna']
        """
        terms = {
            reconstruction_name(term.expert.modalities, m): (term.expert, m)
            for m in self.modalities
            for term in self.module.objective.terms_for(m)
        }
        found: dict[str, list[Tensor]] = {name: [] for name in terms}
        for mask, output in self._losses(mdata, indices, batch_size, dataloader):
            for name, (expert, target) in terms.items():
                counted = self.module.presence(mask, expert) * mask[target].squeeze(-1) > 0
                found[name].append(torch.where(counted, output.reconstruction_loss[name], torch.nan))
        errors = {name: _joined(values) for name, values in found.items()}
        return {name: _mean(values) for name, values in errors.items()} if return_mean else errors

    def _losses(self, mdata, indices, batch_size, dataloader) -> Iterator[tuple[dict[str, Tensor], LossOutput]]:
        """Presence masks and loss of each minibatch."""
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        for tensors in self._minibatches(mdata, indices, batch_size, dataloader):  # type: ignore[attr-defined]
            if self.module.classifier is not None:  # labels take no part, and a loader may have none
                n_cells = len(tensors[mask_key(self.modalities[0])])
                unlabelled = torch.full((n_cells, 1), float(self.module.n_labels), device=self.device)  # type: ignore[attr-defined]
                tensors = tensors | {REGISTRY_KEYS.LABELS_KEY: unlabelled}
            inference, _, output = self.module(tensors)
            yield inference["mask"], output


def _joined(values: Sequence[Tensor]) -> NDArray[np.float32]:
    return torch.cat([v.cpu() for v in values]).numpy() if values else np.empty(0, dtype=np.float32)


def _mean(values: NDArray[np.float32]) -> float:
    counted = values[~np.isnan(values)]
    return float(counted.mean(dtype=np.float64)) if len(counted) else np.nan
