"""Is shared shared and private private: the leakage report of a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from mudata import MuData
from numpy.typing import NDArray
from scipy import sparse
from scvi import REGISTRY_KEYS
from sklearn.decomposition import PCA

from vennvi._keys import data_key
from vennvi._sparse import is_sparse
from vennvi.metrics import Diagnosis, diagnose
from vennvi.metrics._arrays import without_rounding
from vennvi.model._gather import lean_csr
from vennvi.model._held_out import held_out_cells, obs_column, training_cells

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE

_N_COMPONENTS = 20


class DiagnoseMixin:
    """The leakage report."""

    module: SharedPrivateVAE
    modalities: tuple[str, ...]

    def diagnose(
        self,
        mdata: MuData | None = None,
        labels: str | Sequence[str] = (),
        models: Sequence[Any] = (),
        max_cells: int = 2000,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> Diagnosis:
        """Report whether shared is shared and private is private, on held-out cells.

        Alignment of what the modalities infer alone, leakage into private spaces, what labels and covariates (the batch,
        each modality's log depth) can be read from which space, the dimensions in use, and the agreement with other runs:
        a table, and a sentence for each finding that says what to do next. See :func:`vennvi.metrics.diagnose` for what is
        measured and for the thresholds.

        Probes are fitted on cells that the model was trained on and read on the others. In new data, on none of which the
        model was trained, they are fitted on a random half and read on the other.

        Parameters
        ----------
        mdata
            New data to report on; by default the model's own.
        labels
            Columns of ``mdata.obs``: categories, or numbers such as a known factor.
        models
            The same model trained with other seeds on the same data, to report on stability.
        max_cells
            Cells to fit on, and cells to read on, at most; a random choice of more.
        batch_size
            Cells in a minibatch.
        seed
            Seed of all random choices.

        Returns
        -------
        :class:`~vennvi.metrics.Diagnosis`: ``table`` and ``verdicts``; printing it prints the latter.

        Raises
        ------
        ValueError
            If the model was trained on all cells and no new data are given, other models have other modalities, or
            ``max_cells`` is less than 1.
        KeyError
            If a label is not a column of ``mdata.obs``.

        Examples
        --------
        >>> import vennvi
        >>> mdata = vennvi.data.simulate_multiome(n_obs=300, n_genes=30, n_peaks=50)
        >>> vennvi.MMVAEPlusPlus.setup_mudata(mdata, batch_key="batch")
        >>> model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
        >>> model.train(max_epochs=1, train_size=0.7, accelerator="cpu", enable_progress_bar=False)
        >>> report = model.diagnose(labels=["cell_type"])
        >>> report.table["topic"].unique().tolist()
        ['alignment', 'leakage', 'probe', 'covariate', 'activity']
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        if max_cells < 1:
            raise ValueError(f"`max_cells` is {max_cells}: it must be at least 1.")
        data = self.adata if mdata is None else mdata  # type: ignore[attr-defined]
        rng = np.random.default_rng(seed)
        test = held_out_cells(self, mdata, None, "diagnose it")
        train = training_cells(self)
        if data is not self.adata or not len(train):  # type: ignore[attr-defined]
            order = rng.permutation(test)
            train, test = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
        train, test = (_at_most(cells, max_cells, rng) for cells in (train, test))
        names = [labels] if isinstance(labels, str) else list(labels)
        known = {name: _label_values(self._known_labels(data, name)) for name in names}
        cells = np.concatenate([train, test])
        rows = np.arange(len(cells))
        fitted, read = rows[: len(train)], rows[len(train) :]
        for other in models:
            if tuple(other.modalities) != tuple(self.modalities):
                raise ValueError(
                    f"`models` holds one of modalities {', '.join(other.modalities)}: expected {', '.join(self.modalities)}."
                )
        spaces = self._gather_spaces(data, cells, len(train), batch_size)
        others = []
        for other in models:
            theirs = other._gather_spaces(data, cells, len(train), batch_size, spaces_only=True)
            others.append({"shared": theirs["joint"]} | {f"private {m}": z for m, z in theirs["private"].items()})
        return diagnose(
            spaces["unimodal"],
            spaces["joint"],
            spaces["private"],
            fitted,
            read,
            components=spaces["components"],
            labels={name: values[cells] for name, values in known.items()},
            covariates=spaces["covariates"],
            kl=spaces["kl"],
            others=others,
            seed=seed,
        )

    def _known_labels(self, mdata: MuData, name: str) -> pd.Series:
        """Column of labels, missing where the setup says that the label is not known: the unlabelled are no class."""
        column, setup = obs_column(mdata, name, "labels"), self.registry["setup_args"]  # type: ignore[attr-defined]
        unlabelled = setup.get("unlabeled_category")
        if name != setup.get("labels_key") or unlabelled is None:
            return column
        return column.where([pd.isna(value) or value != unlabelled for value in column])

    @torch.inference_mode()
    def _gather_spaces(
        self, mdata: MuData, cells: NDArray, n_train: int, batch_size: int | None, *, spaces_only: bool = False
    ) -> dict[str, Any]:
        """Posterior means of all spaces with data components, covariates and KL terms of the same cells, in one pass.

        Modalities with private spaces of no dimension have none.
        """
        module = self.module
        parts: dict[tuple[str, str], list] = {}
        for q_unimodal, q_private, mask, given in self._posteriors(mdata, cells, batch_size):  # type: ignore[attr-defined]
            now: dict[tuple[str, str], Any] = {("joint", ""): self._joint(q_unimodal, mask, True)}  # type: ignore[attr-defined]
            for m in self.modalities:
                q_shared = module.fuse(q_unimodal, mask, [m])
                for name, q in (("unimodal", q_shared), ("private", q_private[m])):
                    now[name, m] = q.loc.masked_fill(mask[m] == 0, torch.nan)
                    kl = 0.5 * (q.loc.square() + q.scale.square() - 1) - q.scale.log()
                    now[f"kl {name}", m] = kl.masked_fill(mask[m] == 0, torch.nan)
                size = given["size"][m]
                no_depth = (mask[m] == 0) | module.likelihood(m).is_empty(size)
                now["log_depth", m] = size.log().masked_fill(no_depth, torch.nan)
            now["batch", ""] = given[REGISTRY_KEYS.BATCH_KEY]
            for key, value in now.items():
                parts.setdefault(key, []).append(value.cpu().numpy())
            if not spaces_only:
                for m in self.modalities:
                    encoded = module.likelihood(m).encoder_input(given[data_key(m)], given["size"][m])
                    parts.setdefault(("input", m), []).append(_as_array(encoded.cpu()))
        whole = {k: np.concatenate(chunks) for k, chunks in parts.items() if k[0] != "input"}
        spaces: dict[str, Any] = {
            "joint": whole["joint", ""],
            "unimodal": {m: whole["unimodal", m] for m in self.modalities},
            "private": {m: whole["private", m] for m in self.modalities if module.n_private[m]},
        }
        if spaces_only:
            return spaces
        spaces["components"] = {
            m: _components(parts["input", m], ~np.isnan(whole["unimodal", m]).any(axis=1), n_train)
            for m in self.modalities
        }
        kl = {
            key: _informative(values, whole[key[0].removeprefix("kl "), key[1]])[n_train:]
            for key, values in whole.items()
            if key[0].startswith("kl ")
        }
        measured = {"shared": np.concatenate([kl["kl unimodal", m] for m in self.modalities])}
        measured |= {f"private {m}": kl["kl private", m] for m in spaces["private"]}
        spaces["kl"] = {
            name: np.nanmean(values, axis=0, dtype=np.float64)
            for name, values in measured.items()
            if not np.isnan(values).all()
        }
        covariates: dict[str, Any] = {}
        if module.n_batch > 1:
            covariates["batch"] = whole["batch", ""].ravel().astype(int).astype(str).astype(object)
        for m in self.modalities:
            depth = whole["log_depth", m].ravel()
            if np.isfinite(depth).any() and np.nanstd(depth) > 0:
                covariates[f"log depth of {m}"] = depth
        spaces["covariates"] = covariates
        return spaces


def _at_most(cells: NDArray, n: int, rng: np.random.Generator) -> NDArray:
    return cells if len(cells) <= n else np.sort(rng.choice(cells, n, replace=False))


def _informative(kl: NDArray, mean: NDArray) -> NDArray:
    """KL of dimensions that say different things of different cells; of one that says the same of all, zero."""
    latents = without_rounding(mean.astype(np.float64))
    constant = np.fmax.reduce(latents, axis=0) <= np.fmin.reduce(latents, axis=0)
    return np.where(constant & ~np.isnan(kl), 0.0, kl)


def _label_values(column: pd.Series) -> NDArray:
    """Numbers as they are, infinite ones as missing, anything else as objects with missing values."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(values), values, np.nan)
    return column.astype(object).to_numpy()


def _as_array(x: torch.Tensor) -> NDArray[np.float64] | sparse.csr_array:
    return lean_csr(x) if is_sparse(x) else x.numpy().astype(np.float64)


def _components(chunks: list, present: NDArray[np.bool_], n_train: int) -> NDArray:
    """Principal components of a modality, found on its training rows; NaN rows where it is absent."""
    x = sparse.vstack(chunks).tocsr() if sparse.issparse(chunks[0]) else np.concatenate(chunks)
    rows = np.flatnonzero(present)
    fitted = rows[rows < n_train]
    n = min(_N_COMPONENTS, len(fitted) - 1, x.shape[1] - 1)
    if n < 1:
        return np.full((len(present), 1), np.nan)
    solver = "arpack" if sparse.issparse(x) else "auto"
    pca = PCA(n, svd_solver=solver, random_state=0).fit(x[fitted])
    components = np.full((len(present), n), np.nan)
    components[rows] = pca.transform(x[rows])
    return components
