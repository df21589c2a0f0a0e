"""Seconds to a quality on held-out data: whole trainings of growing length, each read when it is done."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vennvi.benchmark._data import CannotRun
from vennvi.benchmark._evaluate import evaluate
from vennvi.benchmark._experiment import Cell, Experiment
from vennvi.benchmark._results import versions, write_frame
from vennvi.benchmark._run import _threads
from vennvi.benchmark.adapters import Latents, Model, get_model
from vennvi.benchmark.adapters._vennvi import VennviAdapter
from vennvi.benchmark.experiments.citeseq_types import CITESEQ_TYPES
from vennvi.benchmark.experiments.gp import GP
from vennvi.benchmark.experiments.multiome_types import MULTIOME_TYPES
from vennvi.benchmark.speed._machine import describe_machine
from vennvi.benchmark.speed._race import _environment
from vennvi.benchmark.speed._variants import Variant, variant_of
from vennvi.benchmark.speed._worker import silence

COLUMNS = (
    "task", "model", "epochs", "seed", "status", "seconds", "value", "reason", "date", "versions", "machine"
)  # fmt: skip


@dataclass(frozen=True)
class QualityTask:
    """What is trained, how long, and what is read.

    Parameters
    ----------
    name, title
        In results and tables.
    experiment, condition, latents
        The data and latent sizes of one experiment.
    reading
        Space, target and metric among the rows of :func:`vennvi.benchmark._evaluate.evaluate`.
    level
        What the reading is to reach; ``None`` where models are compared at equal epochs.
    models
        Names of the models, also those trained in other ways (:data:`~._variants.VARIANTS`).
    epochs
        Lengths of the trainings.
    n_seeds
        Seeds of data, split and initialisation.
    """

    name: str
    title: str
    experiment: Experiment
    condition: str
    latents: Latents
    reading: tuple[str, str, str]
    models: tuple[str, ...]
    epochs: tuple[int, ...]
    level: float | None = None
    n_seeds: int = 3
    quick_epochs: tuple[int, ...] = field(default=(2,))

    def seconds(self, rows: pd.DataFrame, model: str) -> float:
        """Least seconds of a length of training whose median over seeds reaches the level; NaN if none does, or one failed."""
        if self._failed(rows, model):
            return np.nan
        own = self._of(rows, model).groupby("epochs")[["seconds", "value"]].median()
        reached = own[own["value"] >= (np.inf if self.level is None else self.level)]
        return float(reached["seconds"].min()) if len(reached) else np.nan

    def deviance_ratio(self, rows: pd.DataFrame, model: str) -> float:
        """Held-out deviance of a model that is trained in another way over the plain one's, at the longest training.

        The median over seeds; NaN if a training failed.
        """
        names = (variant_of(model)[0], model)
        if any(self._failed(rows, name) for name in names):
            return np.nan
        plain, other = (self._of(rows, name).set_index(["epochs", "seed"])["value"] for name in names)
        ratio = ((1 - other) / (1 - plain)).dropna()
        if ratio.empty:
            return np.nan
        return float(ratio.xs(max(ratio.index.get_level_values("epochs")), level="epochs").median())

    def _failed(self, rows: pd.DataFrame, model: str) -> bool:
        own = (rows["task"] == self.name) & (rows["model"] == model)
        return bool((own & (rows["status"] == "failed")).any())

    def _of(self, rows: pd.DataFrame, model: str) -> pd.DataFrame:
        return rows[(rows["task"] == self.name) & (rows["model"] == model) & (rows["status"] == "ok")]


#: A task, and the epochs, seed and model of one of its trainings.
Training = tuple[QualityTask, int, int, str]

RECOVERED = QualityTask(
    name="gp-recovery",
    title="shared factor recovered with R² .95 (gp 250/100, latents 5+5+5)",
    experiment=GP,
    condition="250/100",
    latents=Latents(5, 5),
    reading=("shared", "shared factor", "knn_r2"),
    level=0.95,
    models=("VennVI", "MMVAEPlusPlus", "multivae-MMVAEPlus"),
    epochs=(5, 10, 20, 40, 100),
)
EQUAL = QualityTask(
    name="peaks-from-genes",
    title="deviance of peaks predicted from genes, held out (multiome-types, latents 15+10+10)",
    experiment=MULTIOME_TYPES,
    condition="4000",
    latents=Latents(15, 10),
    reading=("predict:rna", "data:atac", "deviance_explained_test"),
    models=tuple(f"{m}{way}" for m in ("MMVAEPlusPlus", "VennVI") for way in ("", "-quarter", "-bf16")),
    epochs=(20,),
)


def _types(experiment: Experiment, what: str, level: float, peer: str, epochs: tuple[int, ...]) -> QualityTask:
    """Cell types told apart from the joint shared latents, beside the peer for such data."""
    return QualityTask(
        name=f"{what.lower().replace(' + ', '-')}-types",
        title=f"cell types of {what} told apart with accuracy {f'{level:.2f}'.lstrip('0')}, held out ({experiment.name}, latents 15+10+10)",
        experiment=experiment,
        condition="4000",
        latents=Latents(15, 10),
        reading=("shared", "cell_type", "accuracy_test"),
        level=level,
        models=("VennVI", "VennVI-bf16", "MMVAEPlusPlus", peer),
        epochs=epochs,
        n_seeds=2,
    )


RNA_ATAC_TYPES = _types(MULTIOME_TYPES, "RNA + ATAC", 0.75, "MULTIVI", (5, 20, 60))
RNA_PROTEIN_TYPES = _types(CITESEQ_TYPES, "RNA + protein", 0.98, "TOTALVI", (5, 20))
#: All of them.
TASKS = (RECOVERED, EQUAL, RNA_ATAC_TYPES, RNA_PROTEIN_TYPES)


def model_of(name: str) -> Model:
    """Model of the other benchmarks, or one of ours that is trained in another way."""
    plain, variant = variant_of(name)
    model = get_model(plain)
    if variant is None:
        return model
    return Model(name, f"{model.label}, {variant.label}", _Trained(plain, variant), model.color)


@dataclass(frozen=True)
class _Trained:
    """The adapter of our models with other arguments of ``train``."""

    class_name: str
    variant: Variant

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train and read; see :class:`~vennvi.benchmark.adapters.Adapter`."""
        return VennviAdapter(self.class_name, train_kwargs=self.variant.train_kwargs).fit(*args, **kwargs)


def run_quality(
    trainings: Sequence[Training],
    out: Path,
    *,
    retry: bool = False,
    said: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Run what is missing of the trainings, one after another in a process of one thread; all rows in the folder."""
    folder = out / "quality"
    with _environment(1):
        pool = ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn"))
        with pool:
            for task, epochs, seed, name in trainings:
                path = folder / f"{task.name}__{name}__{epochs}__{seed}.csv"
                if path.exists() and not (retry and pd.read_csv(path)["status"].iloc[0] != "ok"):
                    continue
                said(f"{task.name}: {name}, {epochs} epochs, seed {seed}")
                try:
                    row = pool.submit(train_and_read, task, name, epochs, seed).result()
                except FileNotFoundError as error:  # no result: the next run tries again
                    warnings.warn(f"Left out: {name} at {task.name}. {error}", UserWarning, stacklevel=2)
                    continue
                write_frame(path, pd.DataFrame([row])[list(COLUMNS)])
    return read_quality(out)


def trainings_of(tasks: Sequence[QualityTask], models: Sequence[str] | None, *, quick: bool) -> Iterator[Training]:
    """Trainings of the tasks: seeds are the outer loop and models the inner one, so that neighbours in time are compared."""
    for task in tasks:
        for seed in range(1 if quick else task.n_seeds):
            for epochs in task.quick_epochs if quick else task.epochs:
                for name in task.models:
                    if models is None or name in models:
                        yield task, epochs, seed, name


def train_and_read(task: QualityTask, model: str, epochs: int, seed: int) -> Mapping[str, Any]:
    """One training, as a row; ``FileNotFoundError`` if the published data are not there."""
    experiment = task.experiment.restrict(max_epochs=epochs)
    cell = Cell(experiment.name, task.condition, model, task.latents, seed, supervised=False)
    seconds, value, status, reason = np.nan, np.nan, "ok", ""
    with silence(), _threads(1):
        try:
            seconds, value = _seconds_and_value(experiment, cell, task.reading)
        except CannotRun as error:
            status, reason = "cannot", str(error)
        except FileNotFoundError:
            raise
        except Exception as error:
            status, reason = "failed", " ".join(f"{type(error).__name__}: {error}".split())
    return {
        "task": task.name,
        "model": model,
        "epochs": epochs,
        "seed": seed,
        "status": status,
        "seconds": seconds,
        "value": value,
        "reason": reason,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
        "machine": describe_machine(),
    }


def _seconds_and_value(experiment: Experiment, cell: Cell, reading: tuple[str, str, str]) -> tuple[float, float]:
    import time

    data = experiment.build(seed=cell.seed, **experiment.condition(cell.condition).params)
    adapter = model_of(cell.model).adapter
    start = time.perf_counter()
    fit = adapter.fit(data, cell.latents, experiment.settings, seed=cell.seed, supervised=False)
    seconds = time.perf_counter() - start
    rows = evaluate(fit, data)
    space, target, metric = reading
    found = rows[(rows["space"] == space) & (rows["target"] == target) & (rows["metric"] == metric)]
    return seconds, float(found["value"].iloc[0])


def read_quality(out: Path) -> pd.DataFrame:
    """All rows in the folder."""
    frames = [
        pd.read_csv(path, keep_default_na=False, na_values={"seconds": ["", "nan"], "value": ["", "nan"]})
        for path in sorted((out / "quality").glob("*.csv"))
    ]
    if not frames:
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(frames, ignore_index=True).sort_values(["task", "epochs", "model", "seed"], ignore_index=True)
