"""All cell types of a single-cell data set: a random part of its cells, and what is read of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from mudata import MuData
from numpy.typing import NDArray

from vennvi.benchmark._experiment import Headline
from vennvi.benchmark.experiments._select import split

#: Cells of a type, among those drawn, for it to be a class of the label.
MIN_CELLS = 15


@dataclass(frozen=True)
class Drawn:
    """Cells of a published data set, and the split of them."""

    names: NDArray
    labels: NDArray[np.object_]
    """Cell type; ``None`` where it is unassigned or too rare."""
    train: NDArray[np.intp]
    test: NDArray[np.intp]


def draw_cells(published: MuData, n_cells: int, *, unassigned: str, seed: int) -> Drawn:
    """Random cells, whatever their type; 75 % train, stratified by the label (cells without one are a stratum too)."""
    rows = np.sort(np.random.default_rng(seed).choice(published.n_obs, n_cells, replace=False))
    types = published.obs["cell_type"].astype(str).iloc[rows]
    n_of_type = types.value_counts()
    usable = n_of_type.index[n_of_type >= MIN_CELLS].difference([unassigned])
    labels = np.array(types, dtype=object)
    labels[~types.isin(usable).to_numpy()] = None
    train, test = split(labels.astype(str), 0.25, seed)
    return Drawn(published.obs_names[rows].to_numpy(), labels, train, test)


def headlines(titles: Mapping[str, str]) -> tuple[Headline, ...]:
    """What is read of two modalities, given how each is written, for example ``{"rna": "RNA", "atac": "ATAC"}``."""
    joint = Headline(
        "shared",
        "cell_type",
        "accuracy_test",
        "Accuracy of the cell type from the joint shared latents, held out",
        True,
    )
    purity = Headline(
        "shared", "cell_type", "purity_test", "Neighbours of the same type in the joint shared space, held out", True
    )
    alone = [
        Headline(
            f"shared:{m}",
            "cell_type",
            "accuracy_test",
            f"Accuracy of the cell type from the shared latents of {title} alone",
            True,
        )
        for m, title in titles.items()
    ]
    private = [
        Headline(
            f"private:{m}",
            "cell_type",
            "accuracy_test",
            f"Accuracy of the cell type from the private latents of {title}",
            m == "rna",
        )
        for m, title in titles.items()
    ]
    aligned = Headline(
        "shared",
        "other views",
        "foscttm_test",
        "FOSCTTM of the unimodal shared latents, held out (lower is better)",
        True,
        0.5,
    )
    depth = [
        Headline(
            "shared",
            f"log depth of {m}",
            "linear_r2_test",
            f"R² of log {title} depth from the joint shared latents, held out",
            True,
        )
        for m, title in titles.items()
    ]
    crossed = [
        Headline(
            f"predict:{source}",
            f"data:{target}",
            "deviance_explained_test",
            f"Deviance of {titles[target]} explained from {titles[source]}, held out",
        )
        for source in titles
        for target in titles
        if source != target
    ]
    return (joint, purity, *alone, *private, aligned, *depth, *crossed)
