"""Draws of the data themselves from what a model predicts, in the shape that scvi-tools' posterior predictive checks read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import sparse
import torch
from mudata import MuData
from numpy.typing import NDArray

from vennvi.likelihoods import NormalLikelihood
from vennvi.model._validate import check_library_size

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE


class PosteriorSampleMixin:
    """Draws of data."""

    module: SharedPrivateVAE
    modalities: tuple[str, ...]

    @torch.inference_mode()
    def posterior_predictive_sample(
        self,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        n_samples: int = 1,
        target: str | Sequence[str] | None = None,
        source: str | Sequence[str] | None = None,
        var_names: Sequence[str] | None = None,
        library_size: float | None = None,
        batch_size: int | None = None,
    ) -> dict[str, sparse.GCXS | NDArray[np.float32]]:
        r"""Draw data from the posterior predictive distribution.

        .. math:: \hat x_{im} \sim p(x_m \mid s_i, p_{im}, c_i), \qquad s_i \sim q(s \mid x_{i,\text{source}}), \quad
                  p_{im} \sim q(p_m \mid x_{im}) \;\text{or}\; p(p_m)

        The private latents are drawn from the posterior if the target is among the sources and the cell has it, otherwise
        from the prior. These are the draws that ``predict(..., return_intervals=..., calibrated=False)`` summarises.
        :class:`scvi.criticism.PosteriorPredictiveCheck` compares them with the data, where every cell has the modality and
        its rows are in the order of ``mdata.obs``.

        Parameters
        ----------
        mdata, indices
            Cells to draw for; by default all that the model was set up with.
        n_samples
            Draws for each cell.
        target
            Modality or modalities to draw; all by default.
        source
            Modality or modalities whose latents to draw from; all by default.
        var_names
            Features to draw, of a single ``target``; all by default.
        library_size
            As for :meth:`predict`.
        batch_size
            Cells in a minibatch.

        Returns
        -------
        By modality, draws in the data's units of shape ``(n_cells, n_features, n_samples)``, or ``(n_cells, n_features)`` for
        one: sparse (:class:`sparse.GCXS`) of counts and 0/1 data, an array of real values. Cells that have none of the
        sources are rows of NaN.

        Raises
        ------
        ValueError
            For an unknown modality or feature, ``var_names`` of several targets, and fewer than one sample.

        Examples
        --------
        >>> import vennvi
        >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
        >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata)
        >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
        >>> model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
        >>> draws = model.posterior_predictive_sample(n_samples=3)
        >>> {m: x.shape for m, x in draws.items()}
        {'rna': (100, 20, 3), 'atac': (100, 50, 3)}
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        targets = self.modalities if target is None else (target,) if isinstance(target, str) else tuple(target)
        for m in targets:
            self._check_modality("target", m)  # type: ignore[attr-defined]
        sources = self._sources(source)  # type: ignore[attr-defined]
        check_library_size(library_size)
        if n_samples < 1:
            raise ValueError(f"`n_samples` is {n_samples}: it must be at least 1.")
        if var_names is not None and len(targets) != 1:
            raise ValueError("`var_names` are features of one modality: name it as `target`.")
        found = {}
        for m in targets:
            names, columns = self._target_columns(m, var_names)  # type: ignore[attr-defined]
            is_dense = isinstance(self.module.likelihood(m), NormalLikelihood)
            chunks = [_as_drawn(np.empty((n_samples, 0, len(names)), dtype=np.float32), is_dense)]
            chunks += [
                _as_drawn(draws.cpu().numpy(), is_dense)
                for draws, *_ in self._predictive_draws(  # type: ignore[attr-defined]
                    m, sources, mdata, indices, n_samples, columns, len(names), library_size, batch_size
                )
            ]
            joined = np.concatenate(chunks) if is_dense else sparse.concatenate(chunks, compressed_axes=(0,))
            found[m] = joined if n_samples > 1 else joined[..., 0]
        return found


def _as_drawn(draws: NDArray[np.float32], is_dense: bool) -> sparse.GCXS | NDArray[np.float32]:
    """Draws ``(n_samples, n, n_features)`` as ``(n, n_features, n_samples)``, sparse unless told otherwise."""
    turned = np.ascontiguousarray(draws.transpose(1, 2, 0))
    return turned if is_dense else sparse.GCXS.from_numpy(turned, compressed_axes=(0,))
