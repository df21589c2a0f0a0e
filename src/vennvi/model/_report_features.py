"""Sections of the report about what the latents explain, and of which features."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from mudata import MuData
from numpy.typing import NDArray

from vennvi import pl
from vennvi._keys import EXPLAINED
from vennvi.explain._deviance import ExplainedDeviance
from vennvi.explain._table import feature_columns, variance_table
from vennvi.report import Image, Section, image

#: Cells times features of a test of features, and the least cells all the same: it takes seconds.
MOST_TESTED, LEAST_CELLS = 1 << 25, 200
_TOP = 20


def feature_sections(
    model, data: MuData, cells: NDArray, batch_size: int | None = None, seed: int = 0
) -> list[Section]:
    """What the latents explain of modalities and features, which features are shared, and what each dimension moves."""
    explained = model._explained_deviance(data, cells, batch_size, dimensions=True)
    tested = [_tested(model, data, m, cells, batch_size, seed) for m in model.modalities]
    shared = Section(
        "Features of the shared dimensions",
        text="What moves in each modality when a shared dimension moves by one standard deviation.",
        images=tuple(_scores(model, "shared", data, cells, batch_size, seed).values()),
    )
    private = Section(
        "Features of the private dimensions",
        text="What moves in a modality when one of its private dimensions moves by one standard deviation.",
        folded_images=_scores(model, "private", data, cells, batch_size, seed),
    )
    return [
        _blocks_section(model, explained),
        _scatter_section(model, explained, dict(filter(None, tested))),
        shared,
        *([private] if private.folded_images else []),
    ]


def _blocks_section(model, explained: Mapping[str, ExplainedDeviance]) -> Section:
    module, cross = model.module, len(model.modalities) > 1
    table = variance_table(
        explained, module.n_shared, module.n_private, covariates=module.n_covariates > 0, cross=cross, dimensions=True
    )
    return Section(
        "What the latents explain",
        text="Fraction of each modality's variance or deviance that the shared and the private latents explain.",
        images=(
            image(pl.variance_blocks(table), "Stacked bars of what each block of latents explains"),
            image(pl.variance_explained(table), "Heat map of what each latent dimension explains"),
        ),
        tables={"By block and dimension": table},
        folded=True,
    )


def _scatter_section(model, explained: Mapping[str, ExplainedDeviance], tables: dict[str, pd.DataFrame]) -> Section:
    cross = len(model.modalities) > 1
    others = "the other modalities" if cross else "the shared latents"
    images = []
    for m, sums in explained.items():
        columns = {f"{EXPLAINED}_{name}": values for name, values in feature_columns(sums, cross=cross).items()}
        ax = pl.shared_private(
            pd.DataFrame(columns, index=model._var_names(m)),
            shared="r2_cross" if cross else "r2_shared",
            measure=sums.likelihood.measure,
        )
        ax.set_title(m, fontsize=10)
        images.append(
            image(ax, f"Features of {m} by what {others} explain of them, and by what its private latents do")
        )
    text = f"A point is a feature: high if {others} explain it, to the right if the private latents do."
    if tables:
        text += (
            " The tables have those that a permutation test is surest the others predict: of all with q ≤ 0.05, 5 % or "
            "fewer are expected to be false."
        )
    return Section("Which features are shared", text=text, images=tuple(images), tables=tables, folded=True)


def n_tested(model, modality: str) -> int:
    """Number of cells, at most, that a modality's features are tested on."""
    return max(LEAST_CELLS, MOST_TESTED // model.module.likelihood(modality).n_features)


def _tested(
    model, data: MuData, m: str, cells: NDArray, batch_size: int | None, seed: int
) -> tuple[str, pd.DataFrame] | None:
    """Caption and table of the most shared features; nothing where too few cells have the modality and another."""
    if len(model.modalities) == 1:
        return None
    others = np.any([model._presence(data, other)[cells] for other in model.modalities if other != m], axis=0)
    cells = cells[model._presence(data, m)[cells] & others]
    if len(cells) < 2:
        return None
    if len(cells) > (most := n_tested(model, m)):
        cells = np.sort(np.random.default_rng(seed).choice(cells, most, replace=False))
    found = model.shared_features(m, mdata=data, indices=cells, batch_size=batch_size, seed=seed)
    top = found.sort_values(["q_value", "explained"], ascending=[True, False]).head(_TOP)
    n_found, n_tests = int((found["q_value"] <= 0.05).sum()), int(found["q_value"].notna().sum())
    measure = found["measure"].iloc[0].replace("R2", "R²")
    caption = (
        f"{m} from the others: {n_found:,} of {n_tests:,} features with q ≤ 0.05 on {len(cells):,} cells"
        f"{f'; the first {_TOP}' if len(found) > _TOP else ''} (explained: {measure})"
    )
    return caption, top[["explained", "p_value", "q_value"]]


def _scores(model, space: str, data: MuData, cells: NDArray, batch_size: int | None, seed: int) -> dict[str, Image]:
    """Image of the scores of each modality's features, of those that have such dimensions."""
    images = {}
    for m in model.modalities:
        if space == "shared" or model.module.n_private[m]:
            scores = model.feature_scores(space, m, data, cells, scale="sd", batch_size=batch_size, seed=seed)
            figure = pl.feature_scores(scores)
            title = ": ".join(filter(None, (m, figure.get_suptitle())))
            figure.suptitle(title, fontsize=10, x=0.01, ha="left")
            images[m] = image(figure, f"Features of {m} that each {space} dimension moves most")
    return images
