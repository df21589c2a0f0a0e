"""The command line: ``vennvi demo``, ``vennvi fit``, ``vennvi convert``, ``vennvi report`` and ``vennvi benchmark``."""

from __future__ import annotations

import logging
import pickle
import sys
import time
import warnings
from contextlib import redirect_stdout
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zipfile import BadZipFile

import typer
from rich.console import Console
from rich.table import Table

from vennvi._cli_names import columns, columns_of, home_and_column, pairs
from vennvi._terminal import SYSTEM, explained, say, session

if TYPE_CHECKING:
    from mudata import MuData

app = typer.Typer(
    help="What do your omics share, and what is private to each?", no_args_is_help=True, add_completion=False
)
_MOST_SEEDS = 2**32 - 1
_SEED = typer.Option(min=0, max=_MOST_SEEDS, help="Seed of all random choices.")
_LAYER = typer.Option(help="MODALITY or MODALITY=LAYER to use; all modalities by default.")
_BATCH = typer.Option(help="Column of batches, or MODALITY:COLUMN.")
_LABELS = typer.Option(help="Column of labels, or MODALITY:COLUMN: makes the model supervised.")
_UNLABELED = typer.Option(help="Label that means not known.")
_SIZE_FACTOR = typer.Option(help="MODALITY=COLUMN of its size factors.")
_CATEGORICAL = typer.Option(help="Column of a categorical covariate.")
_CONTINUOUS = typer.Option(help="Column of a continuous covariate.")


class ModelName(StrEnum):
    """Models by the name of their class."""

    VennVI = "VennVI"
    MVAE = "MVAE"
    MoPoEVAE = "MoPoEVAE"
    MMVAE = "MMVAE"
    MMVAEPlusPlus = "MMVAEPlusPlus"


def _above_zero(value: float) -> float:
    if value <= 0:
        raise typer.BadParameter(f"{value} is not above 0.")
    return value


def _say_version(asked: bool) -> None:
    if asked:
        say(f"vennvi {version('vennvi')}")
        raise typer.Exit


@app.callback()
def main(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version, and nothing else.")
    ] = False,
) -> None:
    """Options of no command."""


@app.command()
@session()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for demo.h5mu and demo.png.")] = Path("demo"),
    cells: Annotated[int, typer.Option(min=100, help="Cells to simulate.")] = 1500,
    max_epochs: Annotated[int, typer.Option(min=1, help="Passes over the training cells.")] = 60,
    seed: Annotated[int, _SEED] = 0,
) -> None:
    """Simulate a multiome, learn its shared and private latents, draw them and say what was recovered."""
    import torch

    from vennvi._demo import run_demo
    from vennvi._files import check_writable

    torch.set_num_threads(1)  # matrices this small gain nothing from more, and lose much on a busy machine

    start = time.perf_counter()
    with explained(*SYSTEM):
        check_writable(out / "demo.h5mu")
    with redirect_stdout(sys.stderr):  # what scvi-tools says of an interruption is no result
        recovered = run_demo(out, n_obs=cells, max_epochs=max_epochs, seed=seed)
    table = Table(title="What each latent space recovers of the truth, on held-out cells")
    table.add_column("latent space")
    for factor in recovered:
        table.add_column(f"{factor} ({'accuracy' if factor == 'cell type' else 'R²'})", justify="right")
    for space, row in recovered.iterrows():
        table.add_row(str(space), *(f"{value:.2f}" for value in row))
    Console().print(table)
    say("No information reads about -0.15 (R²) and 0.20 (accuracy of five types); 1 is the best there is.")
    say(f"Wrote {out / 'demo.h5mu'} and {out / 'demo.png'} in {time.perf_counter() - start:.0f} s.")


@app.command()
@session()
def fit(
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="MuData to read (.h5mu).")],
    target: Annotated[Path, typer.Argument(help="Where to write it with its latents (.h5mu).")],
    model: Annotated[ModelName, typer.Option(help="Model to train.")] = ModelName.VennVI,
    layer: Annotated[list[str] | None, _LAYER] = None,
    likelihood: Annotated[
        list[str] | None,
        typer.Option(help="MODALITY=LIKELIHOOD: normal, bernoulli, poisson, nb or zinb; by default by the data."),
    ] = None,
    batch_key: Annotated[str | None, _BATCH] = None,
    labels_key: Annotated[str | None, _LABELS] = None,
    unlabeled_category: Annotated[str | None, _UNLABELED] = None,
    size_factor: Annotated[list[str] | None, _SIZE_FACTOR] = None,
    categorical: Annotated[list[str] | None, _CATEGORICAL] = None,
    continuous: Annotated[list[str] | None, _CONTINUOUS] = None,
    n_shared: Annotated[
        int | None, typer.Option(min=1, help="Shared latent dimensions; by default the model's.")
    ] = None,
    n_private: Annotated[
        int | None, typer.Option(min=0, help="Private latent dimensions of each modality; by default the model's.")
    ] = None,
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the cells; by default 400 up to 20,000 cells, fewer beyond.")
    ] = None,
    lr: Annotated[float, typer.Option(callback=_above_zero, help="Learning rate of Adam.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="Cells in a minibatch.")] = 128,
    seed: Annotated[int, _SEED] = 0,
    key_suffix: Annotated[str, typer.Option(help="Appended to the keys X_shared and X_private.")] = "",
    save: Annotated[Path | None, typer.Option(help="Folder to save the trained model in.")] = None,
) -> None:
    """Train a model on a MuData file and write the file with its latents in .obsm."""
    _ending(target, ".h5mu")
    if save is not None and save.exists():
        raise typer.BadParameter(f"{save} exists already.", param_hint="--save")
    if save is not None and _overlap(save, target):
        raise typer.BadParameter(
            f"the model needs a folder of its own, and the MuData is written to {target}.", param_hint="--save"
        )
    if "/" in key_suffix:
        raise typer.BadParameter("keys with a slash cannot be written to a file.", param_hint="--key-suffix")
    known = _columns_of(source)
    layers = pairs("layer", layer, known, needs_value=False)
    likelihoods = pairs("likelihood", likelihood, known)
    setup = _setup(known, batch_key, labels_key, unlabeled_category, size_factor, categorical, continuous)
    import scvi

    import vennvi
    from vennvi._files import atomic_folder, atomic_path, check_writable
    from vennvi.data._mudata_file import compression_of, restore_scvi_marks, scvi_marks

    scvi.settings.seed = seed
    cls = getattr(vennvi, model.value)
    with explained(*SYSTEM):
        for path in (target, save):
            if path is not None:
                check_writable(path)
        mdata = _read(source)
        marks = scvi_marks(mdata)
        cls.setup_mudata(mdata, layers=layers or None, **setup)
        given = {"n_shared": n_shared, "n_private": n_private}
        sizes = {name: size for name, size in given.items() if size is not None}
        trained = cls(mdata, likelihoods=likelihoods, **sizes)
    with explained():
        try:
            with redirect_stdout(sys.stderr):
                trained.train(
                    max_epochs=max_epochs,
                    batch_size=batch_size,
                    plan_kwargs={"lr": lr},
                    enable_progress_bar=sys.stderr.isatty(),
                )
        except FloatingPointError as error:
            raise typer.BadParameter(str(error), param_hint="--lr") from error
        trained.write_latents(mdata, key_suffix=key_suffix)
    if save is not None:  # first: it is small, and what took long to make
        with explained(*SYSTEM, RuntimeError), atomic_folder(save) as folder:
            trained.save(folder, overwrite=True)
    said = f"the trained model is in {save}; " if save is not None else ""
    with explained(*SYSTEM, RuntimeError, of=said), atomic_path(target) as path:
        restore_scvi_marks(mdata, marks)
        mdata.write(path, compression=compression_of(source))
    say(f"Wrote {target}: X_shared{key_suffix}, and X_shared{key_suffix} and X_private{key_suffix} of each modality.")
    if save is not None:
        say(f"Saved the model in {save}.")


@app.command()
@session()
def convert(
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="MuData to read (.h5mu).")],
    target: Annotated[Path, typer.Argument(help="Collection to write (a folder, .zarr).")],
    layer: Annotated[list[str] | None, _LAYER] = None,
    batch_key: Annotated[str | None, _BATCH] = None,
    labels_key: Annotated[str | None, _LABELS] = None,
    unlabeled_category: Annotated[str | None, _UNLABELED] = None,
    size_factor: Annotated[list[str] | None, _SIZE_FACTOR] = None,
    categorical: Annotated[list[str] | None, _CATEGORICAL] = None,
    continuous: Annotated[list[str] | None, _CONTINUOUS] = None,
    shuffle: Annotated[bool, typer.Option(help="Write the cells in random order.")] = False,
    seed: Annotated[int, _SEED] = 0,
    cells_per_dataset: Annotated[int, typer.Option(min=1, help="Cells in memory at a time.")] = 32_768,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a MuData file as a collection that models train from straight off the disk."""
    from vennvi.data import write_collection

    logging.getLogger("scvi.vennvi").setLevel(logging.WARNING)
    if target.exists() and not overwrite:
        raise typer.BadParameter(
            f"{target} exists already: choose another name, or pass --overwrite.", param_hint="TARGET"
        )
    known = _columns_of(source)
    layers = pairs("layer", layer, known, needs_value=False)
    setup = _setup(known, batch_key, labels_key, unlabeled_category, size_factor, categorical, continuous)
    with explained(*SYSTEM):
        path = write_collection(
            source,
            target,
            layers=layers or None,
            shuffle=shuffle,
            seed=seed,
            cells_per_dataset=cells_per_dataset,
            overwrite=overwrite,
            **setup,
        )
    say(f"Wrote {path}: pass it to vennvi.data.AnnbatchMuDataModule.")


@app.command()
@session()
def report(
    model: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a saved model.")],
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Its MuData (.h5mu).")],
    target: Annotated[Path, typer.Argument(help="Where to write the report (.html).")] = Path("report.html"),
    label: Annotated[
        list[str] | None, typer.Option(help="Column of .obs, or MODALITY:COLUMN, to look for in the latent spaces.")
    ] = None,
    new_data: Annotated[bool, typer.Option("--new-data", help="The model was not trained on these cells.")] = False,
    umap: Annotated[bool, typer.Option(help="Draw UMAPs of the latent spaces.")] = True,
    max_cells: Annotated[int, typer.Option(min=20, help="Cells that scores and UMAPs are made of, at most.")] = 2000,
    seed: Annotated[int, _SEED] = 0,
) -> None:
    """Write one HTML file about a trained model: findings, figures, settings."""
    _ending(target, ".html", ".htm")
    known = _columns_of(source)
    import scvi
    from scvi.model.base import BaseModelClass

    import vennvi
    from vennvi._files import check_writable

    scvi.settings.seed = seed
    broken = (RuntimeError, EOFError, pickle.UnpicklingError, BadZipFile)  # a file of the model that is cut off
    with explained(*SYSTEM):
        check_writable(target)
    with explained(*SYSTEM, *broken, of=f"{model} cannot be read as a saved model: "):
        registry = BaseModelClass.load_registry(str(model))
    with explained(*SYSTEM):
        name = registry["model_name"]
        if name not in list(ModelName):
            raise ValueError(f"{model} holds a model of class {name}, which is not one of vennvi's.")
        missing = [m for m in registry["setup_args"]["layers"] if m not in known]
        if missing and not new_data:
            raise ValueError(
                f"{source} has no modality {', '.join(map(repr, missing))}, which the model was trained on: pass --new-data if "
                "these are other cells."
            )
        mdata = _read(source)
        for key in label or ():
            home, column = home_and_column(key, known)
            if home is not None and key not in mdata.obs:
                mdata.obs[key] = mdata[home].obs[column].reindex(mdata.obs_names)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Save path contains no saved anndata")
            trained = getattr(vennvi, name).load(model, adata=None if new_data else mdata)
        path = trained.report(
            mdata if new_data else None, target, labels=label or (), umap=umap, max_cells=max_cells, seed=seed
        )
    say(f"Wrote {path}.")


def _setup(known, batch_key, labels_key, unlabeled_category, size_factor, categorical, continuous) -> dict:
    """Arguments of ``setup_mudata`` but the layers."""
    named = {
        "batch_key": batch_key,
        "labels_key": labels_key,
        "categorical_covariate_keys": categorical,
        "continuous_covariate_keys": continuous,
    }
    factors = pairs("size-factor", size_factor, known)
    return columns(named, known) | {"unlabeled_category": unlabeled_category, "size_factor_key": factors or None}


def _columns_of(source: Path) -> dict[str, set[str]]:
    """Columns of the modalities of what must be a MuData file."""
    from vennvi.data._lazy import check_h5mu

    with explained(*SYSTEM):
        check_h5mu(source)
        return columns_of(source)


def _read(source: Path) -> MuData:
    """A MuData file."""
    import mudata

    try:
        return mudata.read_h5mu(source)
    except Exception as error:
        raise ValueError(f"{source} cannot be read: {error}") from error


def _overlap(folder: Path, file: Path) -> bool:
    """Whether one is the other, or lies in it."""
    one, other = folder.resolve(), file.resolve()
    return one == other or one in other.parents or other in one.parents


def _ending(target: Path, *endings: str) -> None:
    """Refuse another ending: that of the input, say, which would be overwritten."""
    if target.suffix not in endings:
        what = "MuData" if ".h5mu" in endings else "report"
        raise typer.BadParameter(f"{target} is to be a {what}: give it the ending {endings[0]}.", param_hint="TARGET")


def _mount_benchmark() -> None:
    from vennvi.benchmark.cli import app as benchmark

    app.add_typer(benchmark, name="benchmark", help="Rerun the experiments of the documentation.")


_mount_benchmark()
