"""The command line: ``vennvi demo``, ``vennvi fit``, ``vennvi convert``, ``vennvi report`` and ``vennvi benchmark``."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from mudata import MuData

app = typer.Typer(
    help="What do your omics share, and what is private to each?", no_args_is_help=True, add_completion=False
)
console = Console()


class ModelName(StrEnum):
    """Models by the name of their class."""

    VennVI = "VennVI"
    MVAE = "MVAE"
    MoPoEVAE = "MoPoEVAE"
    MMVAE = "MMVAE"
    MMVAEPlusPlus = "MMVAEPlusPlus"


def _quiet() -> None:
    """Keep the libraries' chatter out of a terminal: what is vennvi's to say remains."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    for name in ("lightning.pytorch", "lightning.fabric", "scvi"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("scvi.vennvi").setLevel(logging.INFO)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for demo.h5mu and demo.png.")] = Path("demo"),
    cells: Annotated[int, typer.Option(min=50, help="Cells to simulate.")] = 1500,
    max_epochs: Annotated[int, typer.Option(min=1, help="Passes over the training cells.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Seed of simulation and training.")] = 0,
) -> None:
    """Simulate a multiome, learn its shared and private latents, draw them and say what was recovered."""
    _quiet()
    import torch  # torch and scvi-tools take seconds to import: not for `vennvi --help`

    from vennvi._demo import run_demo

    torch.set_num_threads(1)  # matrices this small gain nothing from more, and lose much on a busy machine

    start = time.perf_counter()
    recovered = run_demo(out, n_obs=cells, max_epochs=max_epochs, seed=seed)
    table = Table(title="What each latent space recovers of the truth, on held-out cells")
    table.add_column("latent space")
    for factor in recovered:
        table.add_column(f"{factor} ({'accuracy' if factor == 'cell type' else 'R²'})", justify="right")
    for space, row in recovered.iterrows():
        table.add_row(str(space), *(f"{value:.2f}" for value in row))
    console.print(table)
    console.print(
        "No information reads about -0.15 (R²) and 0.20 (accuracy of five types); 1 is the best there is.\n"
        f"Wrote {out / 'demo.h5mu'} and {out / 'demo.png'} in {time.perf_counter() - start:.0f} s."
    )


@app.command()
def fit(
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="MuData to read (.h5mu).")],
    target: Annotated[Path, typer.Argument(help="Where to write it with its latents (.h5mu).")],
    model: Annotated[ModelName, typer.Option(help="Model to train.")] = ModelName.VennVI,
    layer: Annotated[list[str] | None, typer.Option(help="MODALITY or MODALITY=LAYER to use; all by default.")] = None,
    likelihood: Annotated[list[str] | None, typer.Option(help="MODALITY=LIKELIHOOD, e.g. atac=poisson.")] = None,
    batch_key: Annotated[str | None, typer.Option(help="Column of batches.")] = None,
    labels_key: Annotated[str | None, typer.Option(help="Column of labels: makes the model supervised.")] = None,
    unlabeled_category: Annotated[str | None, typer.Option(help="Label that means not known.")] = None,
    n_shared: Annotated[int | None, typer.Option(min=1, help="By default the model's.")] = None,
    n_private: Annotated[int | None, typer.Option(min=0, help="By default the model's.")] = None,
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the cells; fewer the more there are.")
    ] = None,
    lr: Annotated[float, typer.Option(min=0.0)] = 1e-3,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    key_suffix: Annotated[str, typer.Option(help="Appended to the keys X_shared and X_private.")] = "",
    save: Annotated[Path | None, typer.Option(help="Folder to save the trained model in.")] = None,
) -> None:
    """Train a model on a MuData file and write the file with its latents in .obsm."""
    _quiet()
    layers = _pairs("layer", layer, needs_value=False)
    likelihoods = _pairs("likelihood", likelihood)
    _h5mu_only(target)
    if save is not None and save.exists():
        raise typer.BadParameter(f"{save} exists already.", param_hint="--save")
    if save is not None and save.resolve() == target.resolve():
        raise typer.BadParameter(
            "the model needs a folder of its own, and the MuData is written there.", param_hint="--save"
        )
    if "/" in key_suffix:
        raise typer.BadParameter("keys with a slash cannot be written to a file.", param_hint="--key-suffix")
    import scvi

    import vennvi
    from vennvi._files import atomic_path, check_writable

    scvi.settings.seed = seed
    cls = getattr(vennvi, model.value)
    with _errors_of_the_user():
        check_writable(target)
        if save is not None:
            check_writable(save)
        mdata = _read(source)
        cls.setup_mudata(
            mdata,
            layers=layers or None,
            batch_key=batch_key,
            labels_key=labels_key,
            unlabeled_category=unlabeled_category,
        )
        given = {"n_shared": n_shared, "n_private": n_private}
        sizes = {name: size for name, size in given.items() if size is not None}
        trained = cls(mdata, likelihoods=likelihoods, **sizes)
    try:
        trained.train(max_epochs=max_epochs, batch_size=batch_size, plan_kwargs={"lr": lr})
    except FloatingPointError as error:
        raise typer.BadParameter(str(error), param_hint="--lr") from error
    trained.write_latents(mdata, key_suffix=key_suffix)
    with atomic_path(target) as path:
        mdata.write(path)
    if save is not None:
        trained.save(save)
    console.print(
        f"Wrote {target}: X_shared{key_suffix}, and X_shared{key_suffix} and X_private{key_suffix} of each modality."
    )


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="MuData to read (.h5mu).")],
    target: Annotated[Path, typer.Argument(help="Collection to write (a folder, .zarr).")],
    layer: Annotated[list[str] | None, typer.Option(help="MODALITY or MODALITY=LAYER to use; all by default.")] = None,
    batch_key: Annotated[str | None, typer.Option(help="Column of batches.")] = None,
    labels_key: Annotated[str | None, typer.Option(help="Column of labels: makes the models supervised.")] = None,
    unlabeled_category: Annotated[str | None, typer.Option(help="Label that means not known.")] = None,
    size_factor: Annotated[list[str] | None, typer.Option(help="MODALITY=COLUMN of its size factors.")] = None,
    categorical: Annotated[list[str] | None, typer.Option(help="Column of a categorical covariate.")] = None,
    continuous: Annotated[list[str] | None, typer.Option(help="Column of a continuous covariate.")] = None,
    shuffle: Annotated[bool, typer.Option(help="Write the cells in random order.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order.")] = 0,
    cells_per_dataset: Annotated[int, typer.Option(min=1, help="Cells in memory at a time.")] = 32_768,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a MuData file as a collection that models train from straight off the disk."""
    _quiet()
    layers = _pairs("layer", layer, needs_value=False)
    size_factors = _pairs("size-factor", size_factor)
    from vennvi.data import write_collection

    logging.getLogger("scvi.vennvi").setLevel(logging.WARNING)
    if target.exists() and not overwrite:
        raise typer.BadParameter(
            f"{target} exists already: choose another name, or pass --overwrite.", param_hint="TARGET"
        )
    with _errors_of_the_user():
        path = write_collection(
            source,
            target,
            layers=layers or None,
            batch_key=batch_key,
            labels_key=labels_key,
            unlabeled_category=unlabeled_category,
            size_factor_key=size_factors or None,
            categorical_covariate_keys=categorical,
            continuous_covariate_keys=continuous,
            shuffle=shuffle,
            seed=seed,
            cells_per_dataset=cells_per_dataset,
            overwrite=overwrite,
        )
    console.print(f"Wrote {path}: pass it to vennvi.data.AnnbatchMuDataModule.")


@app.command()
def report(
    model: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a saved model.")],
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Its MuData (.h5mu).")],
    target: Annotated[Path, typer.Argument(help="Where to write the report (.html).")] = Path("report.html"),
    label: Annotated[list[str] | None, typer.Option(help="Column of .obs to look for in the latent spaces.")] = None,
    new_data: Annotated[bool, typer.Option("--new-data", help="The model was not trained on these cells.")] = False,
    umap: Annotated[bool, typer.Option(help="Draw UMAPs of the latent spaces.")] = True,
    max_cells: Annotated[int, typer.Option(min=20, help="Cells that scores and UMAPs are made of, at most.")] = 2000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write one HTML file about a trained model: findings, figures, settings."""
    _quiet()
    import scvi
    from scvi.model.base import BaseModelClass

    import vennvi
    from vennvi._files import check_writable

    scvi.settings.seed = seed
    with _errors_of_the_user():
        check_writable(target)
        name = BaseModelClass.load_registry(str(model))["model_name"]
        if name not in list(ModelName):
            raise ValueError(f"{model} holds a model of class {name}, which is not one of vennvi's.")
        mdata = _read(source)
        cls = getattr(vennvi, name)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Save path contains no saved anndata")
            trained = cls.load(model, adata=None if new_data else mdata)
        path = trained.report(
            mdata if new_data else None, target, labels=label or (), umap=umap, max_cells=max_cells, seed=seed
        )
    console.print(f"Wrote {path}.")


@contextmanager
def _errors_of_the_user() -> Iterator[None]:
    """What is wrong with the input, which the message names, is said without a traceback; the exit status is 2."""
    try:
        yield
    except (ImportError, KeyError, OSError, TypeError, ValueError) as error:
        said = str(error) if isinstance(error, OSError) or not error.args else str(error.args[0])
        console.print("[red]Error:[/red]", escape(said), highlight=False)
        raise typer.Exit(2) from None


def _read(source: Path) -> MuData:
    """A MuData file."""
    import mudata

    from vennvi.data._lazy import check_h5mu

    check_h5mu(source)
    return mudata.read_h5mu(source)


def _h5mu_only(target: Path) -> None:
    if target.suffix != ".h5mu":
        raise typer.BadParameter(f"{target} is to be a MuData: give it the ending .h5mu.", param_hint="TARGET")


def _pairs(option: str, given: list[str] | None, *, needs_value: bool = True) -> dict:
    """``["rna=counts", "atac"]`` to ``{"rna": "counts", "atac": None}``."""
    pairs: dict[str, str | None] = {}
    for text in given or []:
        modality, _, value = text.partition("=")
        if modality in pairs:
            raise typer.BadParameter(f"{modality!r} comes twice.", param_hint=f"--{option}")
        if needs_value and not value:
            raise typer.BadParameter(f"{text!r} is not MODALITY=VALUE.", param_hint=f"--{option}")
        pairs[modality] = value or None
    return pairs


def _mount_benchmark() -> None:
    from vennvi.benchmark.cli import app as benchmark

    app.add_typer(benchmark, name="benchmark", help="Rerun the experiments of the documentation.")


_mount_benchmark()
