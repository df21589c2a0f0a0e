"""Factor scores of features: what moves when a latent dimension moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from mudata import MuData
from numpy.typing import NDArray
from torch import Tensor

from vennvi.explain._blocks import OWN
from vennvi.explain._sensitivity import mean_derivatives
from vennvi.model._latents import _check_space
from vennvi.model._passes import PassesMixin


class FeatureScoresMixin(PassesMixin):
    """Sensitivity of every feature to every latent dimension."""

    @torch.inference_mode()
    def feature_scores(
        self,
        space: Literal["shared", "private"],
        modality: str,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        scale: Literal["unit", "sd"] = "unit",
        max_cells: int | None = 1000,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> pd.DataFrame:
        r"""What moves when a latent dimension moves: the counterpart of loadings.

        .. math:: w_{jk} = \frac{1}{n} \sum_i \frac{\partial}{\partial z_k} E[x_{ij} \mid z_i, c_i]

        at the cells' own posterior means :math:`z_i = (s_i, p_i)`, by exact directional derivatives of the decoder.
        Signed, and in the data's units a unit of the latent dimension (whose prior has variance 1): counts of a cell of
        median depth, the probability of a 1, or whatever the real values are. The covariates are held at the cell's
        own values. For a linear decoder these are its loadings.

        Parameters
        ----------
        space
            ``"shared"`` or ``"private"``: whose dimensions.
        modality
            Whose features.
        mdata, indices
            Cells to average over; by default those held out in training (validation and test), or all where there are
            none and in another MuData than the one trained on.
        scale
            ``"unit"``, or ``"sd"`` to multiply by the standard deviation of the dimension over the cells: then a
            dimension that the model does not use scores nothing.
        max_cells
            Average over a random choice of this many of the cells, or over all with ``None``.
        batch_size
            Cells in a minibatch.
        seed
            Seed of that choice.

        Returns
        -------
        Data frame of features by latent dimensions, numbered as the columns of :meth:`get_latent_representation`. NaN
        if no cell has the modality. Its ``attrs["score"]`` says what a score is, for :func:`vennvi.pl.feature_scores`.

        Raises
        ------
        ValueError
            For an unknown space, modality or scale, and if ``indices`` chooses no cell.

        Examples
        --------
        >>> import vennvi
        >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
        >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata)
        >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
        >>> model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
        >>> scores = model.feature_scores("shared", "atac")
        >>> scores.shape, scores.columns.tolist()
        ((50, 3), [0, 1, 2])
        >>> top = scores[0].abs().nlargest(5).index  # the peaks that shared dimension 0 moves most
        """
        _check_space(space, modality)
        self._check_modality("modality", modality)  # type: ignore[attr-defined]
        if scale not in ("unit", "sd"):
            raise ValueError(f"`scale` is {scale!r}: choose 'unit' or 'sd'.")
        if max_cells is not None and max_cells < 1:
            raise ValueError(f"`max_cells` is {max_cells}: it must be at least 1, or None.")
        cells = self._cells_to_read(mdata, indices)
        latents, _ = self._first_pass(mdata, cells, batch_size, {modality: ()}, totals=False)
        found = latents[modality]
        has = torch.nonzero(found.sets[OWN]).squeeze(-1)
        z = torch.cat([found.shared, found.private], dim=-1)
        n_shared = self.module.n_shared
        dimensions = range(n_shared) if space == "shared" else range(n_shared, z.shape[1])
        used = z[has][:, list(dimensions)].cpu().double().numpy()
        if max_cells is not None and len(has) > max_cells:
            chosen = np.random.default_rng(seed).choice(len(has), max_cells, replace=False)
            has = has[torch.as_tensor(np.sort(chosen), device=has.device)]
        likelihood = self.module.likelihood(modality)

        def decode(z: Tensor, covariates: Tensor | None) -> Tensor:
            size = torch.ones((len(z), 1), device=z.device)
            return likelihood.expected(self.module.decode(modality, z, covariates), size)

        def batches() -> Iterator[tuple[Tensor, Tensor | None]]:
            for rows in has.split(batch_size or 128):
                yield z[rows], None if found.covariates is None else found.covariates[rows]

        scores = mean_derivatives(decode, batches() if len(has) else [], dimensions, likelihood.n_features)
        if scale == "sd":
            scores = scores * torch.as_tensor(used.std(0) if len(used) else np.nan)
        columns = pd.RangeIndex(len(dimensions), name=f"{space} dimension")
        table = pd.DataFrame(scores.numpy(), index=pd.Index(self._var_names(modality)), columns=columns)  # type: ignore[attr-defined]
        table.attrs["score"] = f"change per {'unit' if scale == 'unit' else 's.d.'} of the dimension"
        return table
