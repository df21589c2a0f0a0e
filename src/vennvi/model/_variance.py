"""Variance explained by every block of latents, and by every dimension."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from mudata import MuData
from numpy.typing import NDArray

from vennvi._keys import EXPLAINED
from vennvi.explain._deviance import ExplainedDeviance
from vennvi.explain._table import feature_columns, variance_table
from vennvi.model._passes import PassesMixin


class VarianceMixin(PassesMixin):
    """How much of each modality the shared and the private latents explain."""

    def variance_explained(
        self,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        dimensions: bool = True,
        batch_size: int | None = None,
    ) -> pd.DataFrame:
        r"""Fraction of each modality that each block of latents, and each latent dimension, explains.

        With :math:`\hat x(B)` the decoder's prediction when the latents in :math:`B` are the cell's own posterior means
        and all others are held at their mean over the cells,

        .. math::

            D(B) = 1 - \frac{\sum_{ij} d(x_{ij}, \hat x_{ij}(B))}{\sum_{ij} d(x_{ij}, \hat x^0_{ij})}, \qquad
            \text{alone}(B) = D(B), \qquad \text{incremental}(B) = D(\text{all}) - D(\text{all but } B)

        :math:`d` is the squared error for real-valued data, so that :math:`D` is R², and otherwise the likelihood's
        deviance (see :func:`vennvi.metrics.deviance_explained`). The null model :math:`\hat x^0` knows each feature's
        mean and each cell's depth: knowing the depth explains nothing. The parts need not sum to the whole (see the
        user guide).

        Parameters
        ----------
        mdata, indices
            Cells to read; by default those held out in training (validation and test), or all where there are none and
            in another MuData than the one trained on.
        dimensions
            Whether to go through the latent dimensions one by one, which decodes twice for each.
        batch_size
            Cells in a minibatch.

        Returns
        -------
        A data frame with one row for each modality and block, and for each dimension, with the columns

        - ``modality``;
        - ``block``: ``"shared"`` (the joint shared latents), ``"cross"`` (the shared latents that the *other* modalities
          infer, with zeros for the private ones, as :meth:`predict` does), ``"private"``, ``"covariates"`` (if there are
          any; the others hold them at the cell's own values) and ``"all"``;
        - ``dimension``: number of the latent dimension, ``<NA>`` for a whole block;
        - ``alone`` and ``incremental`` as above. Of ``"cross"``, the increment is over the private latents; of
          ``"all"``, over latents that are all at their means. A single dimension's ``alone`` is what it adds to those;
        - ``measure``: ``"R2"`` or ``"deviance"``;
        - ``n_cells``: cells that have the modality (for ``"cross"``, and another one too).

        Raises
        ------
        ValueError
            If ``indices`` chooses no cell.

        Examples
        --------
        >>> import vennvi
        >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
        >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata)
        >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
        >>> model.train(max_epochs=1, train_size=0.7, accelerator="cpu", enable_progress_bar=False)
        >>> table = model.variance_explained()
        >>> table.query("dimension.isna()")[["modality", "block", "measure", "n_cells"]]
           modality    block   measure  n_cells
        0       rna   shared  deviance       30
        1       rna    cross  deviance       30
        2       rna  private  deviance       30
        3       rna      all  deviance       30
        9      atac   shared  deviance       30
        10     atac    cross  deviance       30
        11     atac  private  deviance       30
        12     atac      all  deviance       30
        """
        explained = self._explained_deviance(mdata, indices, batch_size, dimensions=dimensions)
        return variance_table(
            explained,
            self.module.n_shared,
            self.module.n_private,
            covariates=self.module.n_covariates > 0,
            cross=len(self.modalities) > 1,
            dimensions=dimensions,
        )

    def write_variance_explained(
        self,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        key_suffix: str = "",
        batch_size: int | None = None,
    ) -> None:
        """Write the explained fraction of each feature into the modalities' ``.var``.

        Writes ``r2_shared``, ``r2_cross``, ``r2_private`` and ``r2_total``, the column ``alone`` of
        :meth:`variance_explained` (for ``"all"`` the total) feature by feature: R² for real-valued data, the fraction
        of deviance explained for counts and 0/1 data. NaN where a feature does not vary over the cells. With one
        modality there is no ``r2_cross``. All values are computed before the first is written.

        Parameters
        ----------
        mdata
            MuData to write into, and to read unless it is the one trained on, of which the held-out cells are read;
            that one by default.
        indices
            Cells to read, as in :meth:`variance_explained`.
        key_suffix
            Appended to the four names.
        batch_size
            Cells in a minibatch.

        Raises
        ------
        ValueError
            If ``mdata`` is a view: what is written into a view is lost with it.
        """
        target = self.adata if mdata is None else mdata  # type: ignore[attr-defined]
        if target is not None and target.is_view:
            raise ValueError("This MuData is a view: call `.copy()` on it first, what is written into a view is lost.")
        explained = self._explained_deviance(mdata, indices, batch_size, dimensions=False)
        columns = {m: feature_columns(sums, cross=len(self.modalities) > 1) for m, sums in explained.items()}
        for m in (m for m in self.modalities if m in target.mod):
            for name, values in columns[m].items():
                target[m].var[f"{EXPLAINED}_{name}{key_suffix}"] = values

    @torch.inference_mode()
    def _explained_deviance(
        self,
        mdata: MuData | None,
        indices: Sequence[int] | NDArray | None,
        batch_size: int | None,
        *,
        dimensions: bool,
    ) -> dict[str, ExplainedDeviance]:
        """Deviances of all blocks, by modality."""
        cells = self._cells_to_read(mdata, indices)
        latents, totals = self._first_pass(mdata, cells, batch_size, {m: self._others(m) for m in self.modalities})
        explained = {
            m: ExplainedDeviance(self.module.likelihood(m), totals[m], latents[m].sizes) for m in self.modalities
        }
        for rows, data in self._data_batches(mdata, cells, batch_size, self.modalities):
            for m, x in data.items():
                size, sums = latents[m].size[rows], explained[m]
                sums.start(x, size, latents[m].sets[:, rows])
                for name, z, covariates in latents[m].blocks(rows, dimensions=dimensions):
                    outputs = self.module.decode(m, z, covariates)
                    sums.add(name, self.module.likelihood(m).expected(outputs, size))
        return explained
