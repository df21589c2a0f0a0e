"""Normalised expression: what the decoder expects at one depth, with the shared or the private part held fixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd
import torch
from mudata import MuData
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from torch import Tensor

from vennvi.data._dataset import cell_positions
from vennvi.likelihoods import Columns
from vennvi.model._validate import check_library_size

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE

#: Which latents vary between cells: all of them, or only one part, the other held at its mean.
Space = Literal["all", "shared", "private"]


class ExpressionMixin:
    """Expected values of a modality, made comparable between cells."""

    module: SharedPrivateVAE
    modalities: tuple[str, ...]
    registry: dict

    @torch.inference_mode()
    def get_normalized_expression(
        self,
        modality: str,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        space: Space = "all",
        transform_batch: str | Sequence[str] | None = None,
        library_size: float | Literal["observed"] | None = None,
        n_samples: int = 1,
        give_mean: bool = True,
        var_names: Sequence[str] | None = None,
        batch_size: int | None = None,
        return_numpy: bool = False,
        return_mean: bool = True,
    ) -> pd.DataFrame | NDArray[np.float32]:
        r"""Expected values of a modality at one depth and, if asked for, in one batch.

        .. math:: E[x_{im} \mid s_i, p_{im}, c, r = 1], \qquad
                  \text{or with } p_{im} \to \bar p_m \;(\texttt{space="shared"}),
                  \quad s_i \to \bar s \;(\texttt{space="private"})

        The means :math:`\bar p_m, \bar s` are of the posterior means of all cells of ``mdata`` that have the modality. Of
        accessibility these are the probabilities (``"bernoulli"``) or rates of fragments.

        Parameters
        ----------
        modality
            Modality to describe.
        mdata, indices
            Cells to describe; by default all that the model was set up with.
        space
            ``"all"``; ``"shared"`` for what differs in the part that the modalities agree on, the private latents held at
            their mean; ``"private"`` for the other part.
        transform_batch
            Batch to show all cells in, or several to average over; by default each cell's own.
        library_size
            Total count (or size factor, if the model was set up with them) to show all cells at: by default the median
            of those that the model was made with; ``"observed"`` for each cell's own.
        n_samples
            Number of draws of the latents that are averaged; more than one means ``give_mean=False``.
        give_mean
            Whether to decode the posterior means.
        var_names
            Features to return; all by default.
        batch_size
            Cells in a minibatch.
        return_numpy
            Whether to return an array instead of a data frame.
        return_mean
            Whether to average the ``n_samples`` draws.

        Returns
        -------
        Expected values in the data's units, cells by features; cells that lack the modality are rows of NaN. For several
        samples with ``return_mean=False`` an array of shape ``(n_samples, n_cells, n_features)``.

        Raises
        ------
        ValueError
            For an unknown modality, space, batch or feature.

        Examples
        --------
        >>> import vennvi
        >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
        >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata, batch_key="batch")
        >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
        >>> model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
        >>> expression = model.get_normalized_expression("rna", space="shared", library_size=10_000)
        >>> expression.shape, round(expression.iloc[0].sum())
        ((100, 20), 10000)
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        self._check_modality("modality", modality)  # type: ignore[attr-defined]
        if n_samples < 1:
            raise ValueError(f"`n_samples` is {n_samples}: it must be at least 1.")
        check_library_size(library_size, observed=True)
        names, columns = self._target_columns(modality, var_names)  # type: ignore[attr-defined]
        codes = self._batch_codes(transform_batch)
        fixed = self._fixed_latents(modality, mdata, space, batch_size)
        give_mean = give_mean and n_samples == 1
        chunks = [
            chunk.cpu()
            for chunk in self._expression(
                modality,
                mdata,
                indices,
                fixed,
                codes,
                library_size,
                n_samples,
                give_mean,
                columns,
                batch_size,
                return_mean,
            )
        ]
        n_kept = 1 if return_mean else n_samples
        values = torch.cat(chunks, dim=1).numpy() if chunks else np.empty((n_kept, 0, len(names)), dtype=np.float32)
        if n_kept > 1:
            return values
        values = values[0]
        if return_numpy:
            return values
        adata = self._validate_anndata(mdata)  # type: ignore[attr-defined]
        obs_names = adata.obs_names[cell_positions(adata.n_obs, indices)]
        return pd.DataFrame(values, index=obs_names, columns=names)

    def _expression(
        self,
        modality: str,
        mdata: MuData | None,
        indices: Sequence[int] | NDArray | None,
        fixed: dict[str, Tensor],
        batch_codes: Sequence[int | None],
        library_size: float | Literal["observed"] | None,
        n_samples: int,
        give_mean: bool,
        columns: Columns,
        batch_size: int | None,
        average: bool = True,
    ) -> Iterator[Tensor]:
        """Expected values by minibatch, ``(1, n, n_columns)``; ``fixed`` holds the latents that do not vary.

        Unless ``average``, each draw is one of its own: ``(n_samples, n, n_columns)``.
        """
        likelihood = self.module.likelihood(modality)
        for q_unimodal, q_private, mask, given in self._posteriors(mdata, indices, batch_size):  # type: ignore[attr-defined]
            own = given["size"][modality]
            size = own if library_size == "observed" else torch.ones_like(own)
            if library_size not in (None, "observed") and likelihood.use_size:
                size = torch.full_like(own, float(library_size)) / likelihood.size_reference
            values: list[Tensor] = []
            for _ in range(n_samples):
                q = q_private[modality]
                now: dict[str, Tensor] = {
                    "shared": self._joint(q_unimodal, mask, give_mean).nan_to_num(0.0),  # type: ignore[attr-defined]
                    "private": q.loc if give_mean else q.sample(),
                } | fixed
                latents = torch.cat([now[part].expand(len(own), -1) for part in ("shared", "private")], dim=-1)
                value: Tensor | float = 0.0
                for code in batch_codes:
                    covariates = given["covariates"] if code is None else self._in_batch(given, code)
                    outputs = self.module.decode(modality, latents, covariates, columns)
                    value = value + likelihood.expected(outputs, size, columns) / len(batch_codes)
                if average and values:  # many draws of all features would not fit in memory
                    value = values.pop() + value
                values.append(value)  # type: ignore[arg-type]
            drawn = torch.stack(values) / (n_samples if average else 1)
            yield drawn.masked_fill(mask[modality] == 0, torch.nan)

    def _fixed_latents(
        self, modality: str, mdata: MuData | None, space: Space, batch_size: int | None
    ) -> dict[str, Tensor]:
        """Mean of the latents that ``space`` leaves out, over the cells that have the modality, ``(1, n_latent)``."""
        if space not in get_args(Space):
            raise ValueError(f"`space` is {space!r}: choose 'all', 'shared' or 'private'.")
        if space == "all":
            return {}
        name = "private" if space == "shared" else "shared"
        adata = self._validate_anndata(mdata)  # type: ignore[attr-defined]
        cells = np.flatnonzero(self._presence(adata, modality))  # type: ignore[attr-defined]
        n_latent = self.module.n_private[modality] if name == "private" else self.module.n_shared
        total, n = torch.zeros(1, n_latent, device=self.device), 0.0  # type: ignore[attr-defined]
        for q_unimodal, q_private, mask, _ in self._posteriors(mdata, cells, batch_size):  # type: ignore[attr-defined]
            mean = q_private[modality].loc if name == "private" else self._joint(q_unimodal, mask, True)  # type: ignore[attr-defined]
            total = total + torch.where(mask[modality] > 0, mean, 0.0).sum(0, keepdim=True)
            n += float(mask[modality].sum())
        return {name: total / max(n, 1.0)}

    def _batch_codes(self, batches: str | Sequence[str] | None) -> list[int | None]:
        if batches is None:
            return [None]
        if self.registry["setup_args"].get("batch_key") is None:
            raise ValueError(
                "`transform_batch` needs a model that was set up with a `batch_key`: this one knows no batches."
            )
        known = list(
            self.registry["field_registries"][REGISTRY_KEYS.BATCH_KEY]["state_registry"]["categorical_mapping"]
        )
        wanted = (
            [batches]
            if isinstance(batches, str) or not isinstance(batches, Sequence | np.ndarray | pd.Index | pd.Series)
            else list(batches)
        )
        if not wanted:
            raise ValueError("`transform_batch` is empty: name batches, or None for each cell's own.")
        if unknown := [batch for batch in wanted if batch not in known]:
            batches = [value.item() if isinstance(value, np.generic) else value for value in known]
            raise ValueError(
                f"`transform_batch` names {', '.join(map(repr, unknown))}; the batches are {', '.join(map(repr, batches))}."
            )
        return [known.index(batch) for batch in wanted]

    def _in_batch(self, given: dict[str, Tensor], code: int) -> Tensor | None:
        """Covariates of a minibatch as if all its cells were of one batch."""
        batch = torch.full_like(given[REGISTRY_KEYS.BATCH_KEY], code)
        return self.module.covariates({**given, REGISTRY_KEYS.BATCH_KEY: batch})
