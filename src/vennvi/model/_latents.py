"""Latent spaces: reading them, and writing them into a MuData."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from mudata import MuData
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from torch import Tensor
from torch.distributions import Normal

from vennvi._keys import OBSM_PRIVATE, OBSM_SHARED
from vennvi.data._dataset import cell_positions, obs_rows, presence
from vennvi.fusion import gaussian, mean_of_experts, product_of_experts, sample_mixture, variance_of_mixture
from vennvi.model._same_setup import check_same_setup

if TYPE_CHECKING:
    from vennvi.data._data_module import AnnbatchMuDataModule
    from vennvi.module import SharedPrivateVAE


class LatentsMixin:
    """Latent representations of cells."""

    module: SharedPrivateVAE
    modalities: tuple[str, ...]

    @torch.inference_mode()
    def get_latent_representation(
        self,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        space: Literal["shared", "private"] = "shared",
        modality: str | None = None,
        give_mean: bool = True,
        n_samples: int = 1,
        batch_size: int | None = None,
        joint: Literal["mean", "precision"] = "mean",
        dataloader: Iterable[Mapping[str, Tensor]] | None = None,
        return_dist: bool = False,
    ) -> NDArray[np.float32] | tuple[NDArray[np.float32], NDArray[np.float32]]:
        r"""Latent representation of cells.

        The joint shared latent of MVAE and MoPoEVAE is the product of the present modalities' Gaussians and the prior;
        that of the others is the mean of the present modalities' means, as in the paper:

        .. math:: \mu = \frac{\sum_m \tau_m \mu_m}{1 + \sum_m \tau_m}
                  \quad\text{or}\quad \mu = \frac{1}{M} \sum_m \mu_m, \qquad \tau_m = \sigma_m^{-2}

        Parameters
        ----------
        mdata
            MuData organised as the one the model was set up with; that one by default.
        indices
            Cells to represent, as positions in ``mdata``; all by default.
        space
            ``"shared"`` or ``"private"``.
        modality
            For ``space="shared"``: what that modality alone infers; ``None`` for the joint one. For
            ``space="private"``: the modality whose private space it is.
        give_mean
            Whether to return the posterior mean, or else samples.
        n_samples
            Number of samples if ``give_mean=False``.
        batch_size
            Cells in a minibatch.
        joint
            How a mixture's modalities join: ``"mean"`` as above, or ``"precision"``, weighted by their precision,
            :math:`\mu = \sum_m \tau_m \mu_m / \sum_m \tau_m`. A product has its own weights.
        dataloader
            Minibatches to read instead of ``mdata``.
        return_dist
            Whether to return the variances too, :math:`\sigma^2`. Those of a mixture hold what its modalities disagree on,
            :math:`\frac{1}{M} \sum_m (\sigma_m^2 + \mu_m^2) - \mu^2`.

        Returns
        -------
        Array of shape ``(n_cells, n_latent)``, or ``(n_samples, n_cells, n_latent)`` for more than one sample, in the
        order of ``mdata.obs_names`` (or of ``indices``); with ``return_dist`` two arrays, means and variances. Cells that
        lack the modality (for the joint space: all of them) are rows of NaN.

        Raises
        ------
        ValueError
            For an unknown space, modality or ``joint``, for a private space without a modality, and for samples with
            ``return_dist``.
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        _check_space(space, modality)
        if joint not in ("mean", "precision"):
            raise ValueError(f"`joint` is {joint!r}: choose 'mean' or 'precision'.")
        if modality is not None:
            self._check_modality("modality", modality)  # type: ignore[attr-defined]
        if n_samples < 1:
            raise ValueError(f"`n_samples` is {n_samples}: it must be at least 1.")
        if return_dist and (not give_mean or n_samples > 1):
            raise ValueError(
                "`return_dist` returns means and variances: it excludes `give_mean=False` and `n_samples`."
            )
        n_arrays = 2 if return_dist else 1 if give_mean else n_samples
        chunks = []
        for q_unimodal, q_private, mask, _ in self._posteriors(mdata, indices, batch_size, dataloader):
            if return_dist:
                arrays = list(self._moments(q_unimodal, q_private, mask, space, modality, joint))
            else:
                arrays = [
                    self._represent(q_unimodal, q_private, mask, space, modality, give_mean, joint)
                    for _ in range(n_arrays)
                ]
            chunks.append(torch.stack(arrays).cpu())
        if not chunks:
            n_latent = self.module.n_shared if space == "shared" else self.module.n_private[modality]  # type: ignore[index]
            chunks = [torch.empty(n_arrays, 0, n_latent)]
        latents = torch.cat(chunks, dim=1).numpy()
        if return_dist:
            return latents[0], latents[1]
        return latents[0] if n_arrays == 1 else latents

    def _batches(
        self, mdata: MuData | None, indices: Sequence[int] | NDArray | None, batch_size: int | None
    ) -> Iterable[Mapping[str, Tensor]]:
        """Minibatches of a MuData, or of what the model was trained on, be that in memory or on disk."""
        on_disk = getattr(self, "_datamodule", None)
        if mdata is None and self.adata is None and on_disk is not None:  # type: ignore[attr-defined]
            return on_disk.inference_dataloader(indices, batch_size)
        mdata = self._validate_anndata(mdata)  # type: ignore[attr-defined]
        indices = None if indices is None else cell_positions(mdata.n_obs, indices)
        return self._make_data_loader(adata=mdata, indices=indices, batch_size=batch_size)  # type: ignore[attr-defined]

    def _minibatches(
        self,
        mdata: MuData | None,
        indices: Sequence[int] | NDArray | None,
        batch_size: int | None,
        dataloader: Iterable[Mapping[str, Tensor]] | None = None,
    ) -> Iterator[dict[str, Tensor]]:
        """Minibatches of a MuData or a data loader, on the model's device; the module is in evaluation mode."""
        if dataloader is None:
            dataloader = self._batches(mdata, indices, batch_size)
        elif mdata is not None or indices is not None:
            raise ValueError("`dataloader` says which cells to read: pass it without `mdata` and `indices`.")
        elif (registry := getattr(dataloader, "registry", None)) is not None:
            check_same_setup(self.registry, registry, "dataloader", but=[REGISTRY_KEYS.LABELS_KEY])  # type: ignore[attr-defined]
        self.module.eval()
        for batch in dataloader:
            yield {key: value.to(self.device) for key, value in batch.items()}  # type: ignore[attr-defined]

    def _posteriors(
        self,
        mdata: MuData | None,
        indices: Sequence[int] | NDArray | None,
        batch_size: int | None,
        dataloader: Iterable[Mapping[str, Tensor]] | None = None,
    ) -> Iterator[tuple[dict[str, Normal], dict[str, Normal], dict[str, Tensor], dict]]:
        """Gaussians of the shared and private latents and presence masks, by modality, minibatch by minibatch."""
        module = self.module
        for tensors in self._minibatches(mdata, indices, batch_size, dataloader):
            inputs = module._get_inference_input(tensors)
            size = {m: module.likelihood(m).size(x, inputs["size_factor"][m]) for m, x in inputs["x"].items()}
            q_unimodal, q_private = module.encode(inputs["x"], size, inputs["covariates"])
            yield q_unimodal, q_private, inputs["mask"], {"size": size, "covariates": inputs["covariates"], **tensors}

    def _represent(self, q_unimodal, q_private, mask, space, modality, give_mean, joint) -> Tensor:
        if space == "private":
            q = q_private[modality]
        elif modality is not None:
            q = self.module.fuse(q_unimodal, mask, [modality])
        else:
            return self._joint(q_unimodal, mask, give_mean, joint)
        return (q.loc if give_mean else q.sample()).masked_fill(mask[modality] == 0, torch.nan)

    def _moments(self, q_unimodal, q_private, mask, space, modality, joint) -> tuple[Tensor, Tensor]:
        """Means and variances of a latent."""
        mean = self._represent(q_unimodal, q_private, mask, space, modality, True, joint)
        if modality is not None:
            q = q_private[modality] if space == "private" else self.module.fuse(q_unimodal, mask, [modality])
            return mean, q.scale.square().masked_fill(mask[modality] == 0, torch.nan)
        loc, scale, masks = self._stacked(q_unimodal, mask, self.modalities)
        if self.module.objective.fusion == "mixture" and joint == "mean":
            return mean, variance_of_mixture(loc, scale, masks)
        q = product_of_experts(loc, scale, masks, prior=self.module.objective.fusion == "product")
        return mean, q.scale.square().masked_fill(masks.sum(0) == 0, torch.nan)

    @staticmethod
    def _stacked(q_unimodal, mask, modalities: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Locations, scales and masks of some modalities, each ``(n_modalities, n, ...)``."""
        loc, scale = (torch.stack([getattr(q_unimodal[m], part) for m in modalities]) for part in ("loc", "scale"))
        return loc, scale, torch.stack([mask[m] for m in modalities])

    def _presence(self, data: MuData | AnnbatchMuDataModule, modality: str) -> NDArray[np.bool_]:
        """Whether each cell of some data, organised as the model's, has a modality; shape ``(n_obs,)``."""
        if not isinstance(data, MuData):
            return data.presence(modality)
        if modality not in data.mod:
            return np.zeros(data.n_obs, dtype=bool)
        return presence(data, modality, self.registry["setup_args"]["layers"][modality])  # type: ignore[attr-defined]

    def _joint(self, q_unimodal, mask, give_mean, joint="mean", modalities: Sequence[str] | None = None) -> Tensor:
        """Joint shared latent of some modalities (all by default); NaN where a cell has none of them."""
        loc, scale, masks = self._stacked(q_unimodal, mask, modalities or self.modalities)
        if self.module.objective.fusion == "mixture" and joint == "mean":
            return mean_of_experts(loc, masks) if give_mean else sample_mixture(loc, scale, masks)
        q = product_of_experts(loc, scale, masks, prior=self.module.objective.fusion == "product")
        nobody = masks.sum(0) == 0
        if not give_mean:
            q = gaussian(q.loc.nan_to_num(0.0), q.scale.nan_to_num(1.0, posinf=1.0))
        return (q.loc if give_mean else q.sample()).masked_fill(nobody, torch.nan)

    def write_latents(self, mdata: MuData | None = None, key_suffix: str = "", batch_size: int | None = None) -> None:
        """Write every latent space into a MuData, in its own row order.

        Writes ``mdata.obsm["X_shared"]`` (joint) and, for each modality, ``mdata[m].obsm["X_shared"]`` (what it alone
        infers) and ``mdata[m].obsm["X_private"]``; nothing else is changed. All latents are computed before the first
        is written.

        Parameters
        ----------
        mdata
            MuData organised as the one the model was set up with; that one by default.
        key_suffix
            Appended to the three keys.
        batch_size
            Cells in a minibatch.

        Raises
        ------
        ValueError
            If ``mdata`` is a view: what is written into a view is lost with it; for a slash in ``key_suffix``.
        """
        if "/" in key_suffix:
            raise ValueError(f"`key_suffix` is {key_suffix!r}: keys with a slash cannot be written to a file.")
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        mdata = self.adata if mdata is None else mdata  # type: ignore[attr-defined]
        if mdata is None:
            raise ValueError("This model has no MuData of its own: pass the one to write the latents into.")
        if mdata.is_view:
            raise ValueError("This MuData is a view: call `.copy()` on it first, what is written into a view is lost.")
        spaces: Mapping[str, list[Tensor]] = {"joint": []} | {
            f"{kind} {m}": [] for m in self.modalities for kind in ("shared", "private")
        }
        with torch.inference_mode():
            for q_unimodal, q_private, mask, _ in self._posteriors(mdata, None, batch_size):
                spaces["joint"].append(self._joint(q_unimodal, mask, True).cpu())
                for m in self.modalities:
                    absent = mask[m] == 0
                    shared = self.module.fuse(q_unimodal, mask, [m]).loc
                    spaces[f"shared {m}"].append(shared.masked_fill(absent, torch.nan).cpu())
                    spaces[f"private {m}"].append(q_private[m].loc.masked_fill(absent, torch.nan).cpu())
        arrays = {name: torch.cat(chunks).numpy() for name, chunks in spaces.items()}
        mdata.obsm[OBSM_SHARED + key_suffix] = arrays["joint"]
        for m in (m for m in self.modalities if m in mdata.mod):
            rows = obs_rows(mdata, m)
            cells = np.flatnonzero(rows >= 0)
            for kind, key in (("shared", OBSM_SHARED), ("private", OBSM_PRIVATE)):
                array = np.empty((mdata[m].n_obs, arrays[f"{kind} {m}"].shape[1]), dtype=np.float32)
                array[rows[cells]] = arrays[f"{kind} {m}"][cells]
                mdata[m].obsm[key + key_suffix] = array


def _check_space(space: str, modality: str | None) -> None:
    if space not in ("shared", "private"):
        raise ValueError(f"`space` is {space!r}: choose 'shared' or 'private'.")
    if space == "private" and modality is None:
        raise ValueError("`space='private'` needs `modality`: every modality has a private space of its own.")
