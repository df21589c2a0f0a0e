"""Attribution to features: what the encoder reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from mudata import MuData
from numpy.typing import NDArray
from torch import Tensor

from vennvi._sparse import to_dense
from vennvi.explain._attribution import (
    AttributionSums,
    first_layer,
    integrated_gradients,
    remaining_layers,
    require_captum,
)
from vennvi.model._latents import _check_space
from vennvi.model._passes import PassesMixin
from vennvi.nn import Encoder


class FeatureAttributionsMixin(PassesMixin):
    """Integrated gradients of every latent dimension with respect to every feature."""

    def feature_attributions(
        self,
        space: Literal["shared", "private"],
        modality: str,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        statistic: Literal["sd", "mean"] = "sd",
        baseline: Literal["mean", "zeros"] = "mean",
        n_steps: int = 32,
        max_cells: int | None = 1000,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> pd.DataFrame:
        r"""Which features the encoder reads: integrated gradients of a cell's latents, as captum computes them.

        .. math:: a_{ijk} = (x_{ij} - b_j) \int_0^1 \frac{\partial \mu_k}{\partial x_j}\big(b + t (x_i - b)\big) \, dt,
                  \qquad \sum_j a_{ijk} = \mu_k(x_i) - \mu_k(b)

        where :math:`x_i` is what the encoder reads of a cell (the logarithm of normalised counts, or standardised real
        values), and :math:`\mu_k` the posterior mean of a latent dimension that this modality *alone* infers, as
        ``get_latent_representation(space=space, modality=modality)`` returns it. Covariates are held at the cell's own.
        The counterpart of :meth:`feature_scores`, which say what the *decoder* makes of a dimension: of many features
        that say the same, an encoder may read one. Needs captum: ``pip install 'vennvi[explain]'``.

        Parameters
        ----------
        space
            ``"shared"`` or ``"private"``: whose dimensions.
        modality
            Whose features, and encoder.
        mdata, indices
            Cells to sum up; by default those held out in training (validation and test), or all where there are none and
            in another MuData than the one trained on.
        statistic
            ``"sd"``: by how much the feature moves the dimension from cell to cell, the standard deviation of
            :math:`a_{ijk}` over cells, with the sign of its covariance with :math:`x_{ij}`; for a linear encoder the
            weight times the feature's standard deviation. ``"mean"``: the mean of :math:`a_{ijk}` over cells, for
            ``indices`` of one group of cells: what sets it apart from the baseline. Its sum over features is how far the
            group's mean latent is from that of the baseline.
        baseline
            Where the way to a cell starts: at the ``"mean"`` of the encoder's input over all cells of the MuData, or at
            ``"zeros"``, which is no counts, or of real values the mean of the data that the model was made with.
        n_steps
            Points on the way.
        max_cells
            Read a random choice of this many cells, for the baseline too, or all with ``None``.
        batch_size
            Cells in a minibatch; each is made dense.
        seed
            Seed of that choice.

        Returns
        -------
        Data frame of features by latent dimensions, as :meth:`feature_scores` has them, in units of the latent
        dimension. NaN if no cell has the modality.

        Raises
        ------
        ImportError
            If captum is not installed.
        ValueError
            For an unknown space, modality, statistic or baseline, and if ``indices`` chooses no cell.

        References
        ----------
        Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.

        Examples
        --------
        >>> import vennvi
        >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
        >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata)
        >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
        >>> model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
        >>> read = model.feature_attributions("shared", "atac")
        >>> read.shape, read.columns.tolist()
        ((50, 3), [0, 1, 2])
        >>> t_cells = (mdata.obs["cell_type"] == mdata.obs["cell_type"].iloc[0]).to_numpy()
        >>> why = model.feature_attributions("shared", "rna", indices=t_cells, statistic="mean")
        """
        _check_space(space, modality)
        self._check_modality("modality", modality)  # type: ignore[attr-defined]
        for name, value, choices in (
            ("statistic", statistic, ("sd", "mean")),
            ("baseline", baseline, ("mean", "zeros")),
        ):
            if value not in choices:
                raise ValueError(f"`{name}` is {value!r}: choose {choices[0]!r} or {choices[1]!r}.")
        for name, number in (("n_steps", n_steps), ("max_cells", max_cells)):
            if number is not None and number < 1:
                raise ValueError(
                    f"`{name}` is {number}: it must be at least 1{', or None' if name == 'max_cells' else ''}."
                )
        require_captum("attribution to features")
        cells = self._cells_to_read(mdata, indices)
        data = self.adata if mdata is None else mdata  # type: ignore[attr-defined]
        n_features = self.module.likelihood(modality).n_features
        start = torch.zeros(n_features, device=self.device)  # type: ignore[attr-defined]
        if baseline == "mean":
            total, n = torch.zeros(n_features, dtype=torch.float64), 0
            for x, _ in self._encoder_inputs(modality, mdata, np.arange(data.n_obs), max_cells, batch_size, seed):
                total, n = total + x.sum(0, dtype=torch.float64).cpu(), n + len(x)
            start = (total / max(n, 1)).to(start)
        private = space == "private"
        encoder: Encoder = self.module.encoders[modality]  # type: ignore[assignment]
        layer = first_layer(encoder, private=private)

        def mean_latents(read: Tensor, covariates: Tensor | None) -> Tensor:
            posterior = remaining_layers(encoder, read, covariates, private=private)
            if private:
                return posterior.loc
            here = {modality: read.new_ones(len(read), 1)}
            return self.module.fuse({modality: posterior}, here, [modality]).loc

        n_latent = self.module.n_private[modality] if private else self.module.n_shared
        sums = AttributionSums(n_features, n_latent)
        for x, covariates in self._encoder_inputs(modality, mdata, cells, max_cells, batch_size, seed):
            attributions = (
                integrated_gradients(mean_latents, *layer, x, start, covariates, k, n_steps) for k in range(n_latent)
            )
            sums.add(x - start, attributions)
        values = sums.mean() if statistic == "mean" else sums.signed_sd()
        columns = pd.RangeIndex(n_latent, name=f"{space} dimension")
        table = pd.DataFrame(values.numpy(), index=pd.Index(self._var_names(modality)), columns=columns)  # type: ignore[attr-defined]
        table.attrs["score"] = f"attribution ({'mean' if statistic == 'mean' else 's.d.'} over cells)"
        return table

    def _encoder_inputs(
        self,
        modality: str,
        mdata: MuData | None,
        cells: NDArray[np.int64],
        max_cells: int | None,
        batch_size: int | None,
        seed: int,
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """What the encoder of a modality reads of the cells that have it, dense, and the covariates it reads."""
        data = self._validate_anndata(mdata)  # type: ignore[attr-defined]
        cells = cells[self._presence(data, modality)[cells]]  # type: ignore[attr-defined]
        if max_cells is not None and len(cells) > max_cells:
            cells = np.sort(np.random.default_rng(seed).choice(cells, max_cells, replace=False))
        self.module.eval()
        likelihood = self.module.likelihood(modality)
        for batch in self._make_data_loader(adata=data, indices=cells, batch_size=batch_size):  # type: ignore[attr-defined]
            tensors = {key: value.to(self.device) for key, value in batch.items()}  # type: ignore[attr-defined]
            inputs = self.module._get_inference_input(tensors)
            x = inputs["x"][modality]
            size = likelihood.size(x, inputs["size_factor"][modality])
            has = inputs["mask"][modality].squeeze(-1) > 0
            covariates = inputs["covariates"] if self.module.encode_covariates else None
            with torch.no_grad():
                dense = to_dense(likelihood.encoder_input(x, size))[has]
            yield dense, None if covariates is None else covariates[has]
