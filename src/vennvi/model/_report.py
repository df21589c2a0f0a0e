"""A report of a trained model, for a pipeline or a collaborator."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from matplotlib.colors import is_color_like
from mudata import MuData
from numpy.typing import NDArray

from vennvi import pl
from vennvi._files import atomic_path, check_writable
from vennvi.metrics import reliability
from vennvi.metrics._arrays import without_rounding
from vennvi.model._held_out import held_out_cells, n_training_cells, obs_column, training_cells
from vennvi.model._report_features import feature_sections
from vennvi.report import Section, image, render

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE

_PACKAGES = ("vennvi", "scvi-tools", "torch", "lightning", "anndata", "mudata", "scanpy", "numpy", "pandas")
_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
_MAX_FEATURES, _MAX_CELLS = 200, 300  # of the coverage


class ReportMixin:
    """The report."""

    module: SharedPrivateVAE
    modalities: tuple[str, ...]

    def report(
        self,
        mdata: MuData | None = None,
        path: Path | str = "report.html",
        labels: str | Sequence[str] = (),
        models: Sequence[Any] = (),
        umap: bool = True,
        max_cells: int = 2000,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> Path:
        """Write one HTML file about the model: summary, verdicts, figures, tables, settings and versions.

        It holds its images and asks nothing of the network, so that it can be e-mailed; scores are of held-out cells. What
        there are no cells for (a model trained on all of them) is left out, and the report says so. Labels and batches
        have scanpy's colours where ``.uns`` has them.

        To be quick, it reads ``max_cells`` held-out cells at most; coverage is of up to 200 features and 300 cells; features
        are tested for what they share (:meth:`shared_features`) on so many of the cells that cells times features stay
        below 2²⁵, but on 200 at least, and the 20 best of each modality are shown.

        Parameters
        ----------
        mdata
            New data to report on; by default the model's own.
        path
            File to write; it is replaced as a whole, or not at all.
        labels
            Columns of ``mdata.obs`` to look for in the latent spaces.
        models
            The same model trained with other seeds, to report on stability.
        umap
            Whether to draw UMAPs of the latent spaces, which takes some seconds.
        max_cells
            Cells that all scores and UMAPs are made of, at most.
        batch_size
            Cells in a minibatch.
        seed
            Seed of all random choices.

        Returns
        -------
        The path of the file.

        Raises
        ------
        KeyError
            If a label is not a column of ``mdata.obs``.
        ValueError
            If there are no data, or the path does not end in ``.html``.
        OSError
            If the file cannot be written.
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        data = self.adata if mdata is None else mdata  # type: ignore[attr-defined]
        if data is None:
            raise ValueError("This model has no MuData of its own: pass `mdata` to report on.")
        if Path(path).suffix not in (".html", ".htm"):
            raise ValueError(f"`path` is {str(path)!r}: give the report the ending .html.")
        check_writable(path)
        names = [labels] if isinstance(labels, str) else list(labels)
        for name in names:
            obs_column(data, name, "labels")
        own = data is self.adata and len(training_cells(self)) > 0  # type: ignore[attr-defined]
        try:
            cells = held_out_cells(self, data, None, "report on held-out cells")
        except ValueError as error:
            sections = [self._summary(data, None), Section("Held-out cells", text=str(error))]
        else:
            rng = np.random.default_rng(seed)
            chosen = cells if len(cells) <= max_cells else np.sort(rng.choice(cells, max_cells, replace=False))
            diagnosis = self.diagnose(data, names, models, max_cells, batch_size, seed)  # type: ignore[attr-defined]
            sections = [
                self._summary(data, cells if own else None),
                Section(
                    "Findings",
                    text="What was found on held-out cells, and what to do about it.",
                    verdicts=diagnosis.verdicts,
                ),
            ]
            if len(self.modalities) > 1:
                sections.append(self._signal_section(data, chosen, batch_size, seed))
            sections.append(
                Section(
                    "What is read from which space",
                    text="AUC of labels and R² of numbers, by probes on each latent space. What is shared should be read "
                    "from the shared spaces, and depth and batch from none.",
                    images=(image(pl.probe_matrix(diagnosis.table), "Heat map of latent spaces by targets"),)
                    if _has_probes(diagnosis.table)
                    else (),
                    tables={"All measurements": diagnosis.table},
                    folded=True,
                )
            )
            sections += feature_sections(self, data, chosen, batch_size, seed)
            if umap:
                sections.append(self._umap_section(data, chosen, names, batch_size, seed))
            sections.append(self._coverage_section(data, chosen, seed))
            sections += self._label_section(data, chosen, batch_size)
        sections += [*self._training_section(), self._settings()]
        title = f"{type(self).__name__} of {', '.join(self.modalities)}"
        with atomic_path(path) as part:
            part.write_text(render(title, sections), encoding="utf-8")
        return Path(path)

    # ------------------------------------------------------------------------------------------------- sections
    def _summary(self, data: MuData, held_out: NDArray | None) -> Section:
        module = self.module
        rows = [
            {
                "modality": m,
                "cells": int(self._presence(data, m).sum()),  # type: ignore[attr-defined]
                "features": module.likelihood(m).n_features,
                "likelihood": type(module.likelihood(m)).__name__.removesuffix("Likelihood"),
                "depth as offset": "yes" if module.likelihood(m).use_size else "no",
                "private dimensions": module.n_private[m],
            }
            for m in self.modalities
        ]
        split = (
            f"trained on {len(training_cells(self)):,}, {len(held_out):,} held out"
            if held_out is not None
            else f"the model was trained on {n_training_cells(self):,} cells"
        )
        epochs = len(next(iter(self.history.values()))) if self.history else 0  # type: ignore[attr-defined]
        text = f"{data.n_obs:,} cells ({split}); {module.n_shared} shared dimensions; {epochs} epochs."
        return Section("Data and model", text=text, tables={"Modalities": pd.DataFrame(rows)})

    def _signal_section(self, data: MuData, cells: NDArray, batch_size: int | None, seed: int) -> Section:
        title = "Do the modalities share a signal"
        try:
            signal = self.shared_signal_test(mdata=data, indices=cells, batch_size=batch_size, seed=seed)  # type: ignore[attr-defined]
        except ValueError as error:  # too few cells have two modalities
            return Section(title, text=str(error))
        return Section(
            title,
            text="Agreement of what each modality alone infers of the shared latents, against shuffled pairs.",
            images=(image(pl.alignment_null(signal), "Observed agreement over that of shuffled pairs"),),
            tables={"Pairs of modalities": signal.pairs, "Shared dimensions": signal.dimensions},
            folded=True,
        )

    def _umap_section(
        self, data: MuData, cells: NDArray, labels: Sequence[str], batch_size: int | None, seed: int
    ) -> Section:
        key = self.registry["setup_args"].get("batch_key")  # type: ignore[attr-defined]
        names = dict.fromkeys([*labels, *([key] if key is not None and key in data.obs else [])])
        colors: dict[str, Any] = {name: _all_categories(data.obs[name]).iloc[cells] for name in names}
        palette = {name: found for name in names if (found := _palette(data, name)) is not None}
        if not colors:
            colors["cells"] = np.full(len(cells), "cell", dtype=object)
        latents = {"shared": self.get_latent_representation(data, cells, batch_size=batch_size)}  # type: ignore[attr-defined]
        for m in self.modalities:
            if self.module.n_private[m]:
                latents[f"private {m}"] = self.get_latent_representation(  # type: ignore[attr-defined]
                    data, cells, space="private", modality=m, batch_size=batch_size
                )
        figure = pl.spaces({name: _umap(z, seed) for name, z in latents.items()}, colors, palette=palette)
        return Section(
            "The latent spaces",
            text="UMAPs of held-out cells. Distances between groups far apart mean little in such a map.",
            images=(image(figure, "UMAPs of the shared and of each private space"),),
        )

    def _coverage_section(self, data: MuData, cells: NDArray, seed: int) -> Section:
        rng = np.random.default_rng(seed)
        if len(cells) > _MAX_CELLS:
            cells = np.sort(rng.choice(cells, _MAX_CELLS, replace=False))
        tables = []
        for m in self.modalities:
            names = pd.Index(self._var_names(m))  # type: ignore[attr-defined]
            names = names[~names.duplicated(keep=False)]  # what has another's name cannot be asked for by it
            if len(names) > _MAX_FEATURES:
                names = names[np.sort(rng.choice(len(names), _MAX_FEATURES, replace=False))]
            tables.append(
                self.predictive_coverage(m, levels=_LEVELS, mdata=data, indices=cells, n_samples=99, var_names=names)  # type: ignore[attr-defined]
            )
        table = pd.concat(tables, ignore_index=True)
        return Section(
            "Predicting one modality from the others",
            text="Whether the intervals of a prediction hold what they promise: on the diagonal they do, below it they are too "
            f"narrow. Up to {_MAX_FEATURES} features and {_MAX_CELLS} held-out cells, drawn at random.",
            images=(image(pl.coverage(table), "Coverage of predictive intervals against their level"),),
            tables={"Coverage": table},
            folded=True,
        )

    def _label_section(self, data: MuData, cells: NDArray, batch_size: int | None) -> list[Section]:
        key = self.registry["setup_args"].get("labels_key")  # type: ignore[attr-defined]
        if self.module.classifier is None or key not in data.obs:
            return []
        known = {str(label): label for label in self.label_categories}  # type: ignore[attr-defined]
        truth = np.array([known.get(str(value)) for value in data.obs[key].to_numpy()[cells]], dtype=object)
        if all(label is None for label in truth):
            return []
        scores = {
            name: reliability(
                self.predict_labels(data, cells, batch_size=batch_size, calibrated=calibrated)[1],  # type: ignore[attr-defined]
                truth,
            )
            for name, calibrated in (("as trained", False), ("calibrated", True))
        }
        accuracy = scores["calibrated"].accuracy
        return [
            Section(
                "Predicted labels",
                text=f"{accuracy:.0%} of held-out cells get the right {key}. On the diagonal, the predicted probability is the "
                "frequency with which it is right. The calibration was fitted to held-out cells, these among them.",
                images=(image(pl.reliability(scores), "Reliability diagram of predicted labels"),),
            )
        ]

    def _training_section(self) -> list[Section]:
        if not self.history:  # type: ignore[attr-defined]
            return []
        figure = pl.training_curves(self.history)  # type: ignore[attr-defined]
        validated = any(name == "validation_loss" or name.endswith("_validation") for name in self.history)  # type: ignore[attr-defined]
        how = "training cells solid, validation cells dashed" if validated else "training cells"
        text = f"Every term of the loss by epoch; {how}."
        return [Section("Training", text=text, images=(image(figure, "Training curves by term"),))]

    def _settings(self) -> Section:
        parameters: dict[str, Any] = {}
        for group in self.init_params_.values():  # type: ignore[attr-defined]
            parameters |= {
                name: value for name, value in group.items() if not isinstance(value, dict) or name not in ("kwargs",)
            }
        setup = self.registry["setup_args"]  # type: ignore[attr-defined]
        versions = {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}
        tables = {
            "Model": _settings_table(parameters),
            "Setup": _settings_table({k: v for k, v in setup.items() if v is not None}),
            "Versions": _settings_table(versions),
        }
        return Section("Settings and versions", tables=tables, folded=True)


def _settings_table(values: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame({"setting": list(values), "value": [str(value) for value in values.values()]})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _all_categories(column: pd.Series) -> pd.Series:
    """What is no number as categories, before cells are left out: colours are in their order."""
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return column if numeric else column.astype("category")


def _palette(mdata: MuData, key: str) -> list[str] | None:
    """Colours that scanpy keeps for the categories of a column, global or pulled from a modality (``"rna:type"``)."""
    modality, _, column = key.partition(":")
    found = mdata.uns.get(f"{key}_colors")
    if found is None and modality in mdata.mod:
        found = mdata[modality].uns.get(f"{column}_colors")
    if found is None or len(found) < len(mdata.obs[key].astype("category").cat.categories):
        return None
    return [str(color) for color in found] if all(map(is_color_like, found)) else None


def _has_probes(table: pd.DataFrame) -> bool:
    return bool(table["topic"].isin(("probe", "covariate")).any())


def _umap(latent: NDArray, seed: int) -> NDArray:
    """Two-dimensional embedding of the rows without NaN; the others are NaN. Too few rows, or all the same, are drawn as they are."""
    present = ~np.isnan(latent).any(axis=1)
    latent = without_rounding(latent)
    embedding = np.full((len(latent), 2), np.nan)
    if present.sum() < 20 or not np.ptp(latent[present], axis=0).any():
        embedding[present] = np.c_[latent[present], np.zeros((present.sum(), 1))][:, :2]
        return embedding
    adata = ad.AnnData(obsm={"z": latent[present]}, obs=pd.DataFrame(index=np.arange(present.sum()).astype(str)))
    sc.pp.neighbors(adata, use_rep="z", random_state=seed)
    sc.tl.umap(adata, random_state=seed)
    embedding[present] = adata.obsm["X_umap"]
    return embedding
