"""Our models, and the peers that they are timed beside, each trained through its own public API."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from inspect import signature
from typing import Any

import numpy as np
import scvi
import torch

import vennvi
from vennvi.benchmark._data import CannotRun
from vennvi.benchmark.adapters._base import require
from vennvi.benchmark.speed._bare import train_bare
from vennvi.benchmark.speed._contestant import Architecture, Contestant, Job
from vennvi.benchmark.speed._hooks import LightningHooks
from vennvi.benchmark.speed._variants import PLAIN, VARIANTS, Variant

#: Hidden width of every contestant.
N_HIDDEN = 128


def train_ours(job: Job, class_name: str, variant: Variant = PLAIN) -> None:
    """One of vennvi's models, trained plainly or in one of the other ways."""
    model_class, workload = getattr(vennvi, class_name), job.workload
    if absent := set(variant.fraction) - set(workload.modalities):
        raise CannotRun(f"The workload has no modality {', '.join(sorted(absent))}.")
    if variant.fraction and "feature_fraction" not in signature(model_class.train).parameters:
        raise CannotRun(f"{class_name}.train has no argument feature_fraction in this version of vennvi.")
    scvi.settings.seed = 0
    model_class.setup_mudata(job.data)
    model = model_class(
        job.data,
        n_shared=workload.n_shared,
        n_private=workload.n_private,
        n_hidden=N_HIDDEN,
        likelihoods={name: modality.likelihood for name, modality in workload.modalities.items()},
    )
    model.train(**_lightning(job), **variant.train_kwargs)


def train_multivi(job: Job) -> None:
    """scvi-tools' MULTIVI with its defaults, but for the hidden width and the latent size, without validation."""
    _require_kinds(job, "MULTIVI", ("counts", "binary"))
    rna, atac = job.workload.modalities
    scvi.settings.seed = 0
    scvi.model.MULTIVI.setup_mudata(job.data, modalities={"rna_layer": rna, "atac_layer": atac})
    model = scvi.model.MULTIVI(
        job.data,
        n_genes=job.data[rna].n_vars,
        n_regions=job.data[atac].n_vars,
        n_hidden=N_HIDDEN,
        n_latent=job.workload.n_shared,
    )
    model.train(**_lightning(job))


def train_totalvi(job: Job) -> None:
    """scvi-tools' TOTALVI with its defaults, but for hidden width, batch size and latent size, without validation."""
    _require_kinds(job, "TOTALVI", ("counts", "protein"))
    rna, protein = job.workload.modalities
    scvi.settings.seed = 0
    scvi.model.TOTALVI.setup_mudata(job.data, modalities={"rna_layer": rna, "protein_layer": protein})
    model = scvi.model.TOTALVI(
        job.data, n_latent=job.workload.n_shared, n_hidden=N_HIDDEN, empirical_protein_background_prior=False
    )
    # its plan reduces the learning rate on plateaus of the validation loss, which there is none of
    model.train(**_lightning(job), reduce_lr_on_plateau=False)


def train_by_hand(job: Job) -> None:
    """MMVAE++ as a bare PyTorch loop."""
    _require_kinds(job, "The bare loop", ("real",) * len(job.workload.modalities))
    torch.manual_seed(0)
    on_gpu = job.accelerator in ("gpu", "cuda") or (job.accelerator == "auto" and torch.cuda.is_available())
    train_bare(
        {name: torch.as_tensor(np.asarray(job.data[name].X)) for name in job.workload.modalities},
        n_shared=job.workload.n_shared,
        n_private=job.workload.n_private,
        n_epochs=job.n_epochs,
        batch_size=job.workload.batch_size,
        device="cuda" if on_gpu else "cpu",
        hooks=job.hooks,
    )


def train_multivae(job: Job) -> None:
    """MMVAE+ of the package multivae on Gaussian views, set up as in the other benchmarks (:mod:`vennvi.benchmark.adapters`).

    Its loop calls nobody around a single step: hooks are not called.
    """
    _require_kinds(job, "multivae's MMVAE+", ("real",) * len(job.workload.modalities))
    require("multivae", package="multivae", model="multivae's MMVAE+")
    from vennvi.benchmark.adapters import Latents, Settings
    from vennvi.benchmark.adapters._multivae import MultivaeAdapter, _silence

    adapter, workload = MultivaeAdapter("MMVAEPlus"), job.workload
    views = {}
    for name in workload.modalities:
        x = torch.as_tensor(np.asarray(job.data[name].X))
        views[name] = (x - x.mean(0)) / x.std(0).clamp_min(1e-6)
    settings = Settings(job.n_epochs, batch_size=workload.batch_size, accelerator=job.accelerator)
    with _silence():
        torch.manual_seed(0)
        model = adapter._model(views, Latents(workload.n_shared, workload.n_private))
        adapter._train(model, views, settings, seed=0)


def _lightning(job: Job) -> dict[str, Any]:
    """What every scvi-tools model is trained with: all cells in every epoch, none held out."""
    return {
        "max_epochs": job.n_epochs,
        "batch_size": job.workload.batch_size,
        "train_size": 1.0,
        "early_stopping": False,
        "accelerator": job.accelerator,
        "devices": 1,
        "enable_progress_bar": False,
        "callbacks": [] if job.hooks is None else [LightningHooks(job.hooks)],
    }


def _require_kinds(job: Job, model: str, kinds: tuple[str, ...]) -> None:
    held = tuple(modality.kind for modality in job.workload.modalities.values())
    if held != kinds:
        raise CannotRun(f"{model} is timed on {', '.join(kinds)}; this workload holds {', '.join(held)}.")


_MMVAE = Architecture()
#: Fifteen groups of cells, as in the workloads of counts, make some fourteen variates agree (as SNARE-seq and CITE-seq do).
_VENNVI = Architecture(n_canonical=50, n_in_use=14, aligned=True)
_COLORS = {
    "MMVAEPlusPlus": ("#D55E00", {"quarter": "#E69F00", "bf16": "#DDCC77", "compiled": "#CC6677"}),
    "VennVI": ("#661100", {"quarter": "#AA4499", "bf16": "#999933", "compiled": "#888888"}),
}


def _ours(class_name: str, label: str, architecture: Architecture) -> Iterator[Contestant]:
    """A model of ours, trained plainly and in all other ways."""
    color, others = _COLORS[class_name]
    yield Contestant(class_name, label, train_ours, {"class_name": class_name}, architecture, color)
    for variant in VARIANTS:
        yield Contestant(
            f"{class_name}-{variant.suffix}",
            f"{label}, {variant.label}",
            train_ours,
            {"class_name": class_name, "variant": variant},
            dataclasses.replace(
                architecture, fraction=variant.fraction, in_single="precision" not in variant.train_kwargs
            ),
            others[variant.suffix],
        )


#: The contestants by name.
CONTESTANTS: dict[str, Contestant] = {
    contestant.name: contestant
    for contestant in (
        *_ours("MMVAEPlusPlus", "MMVAE++", _MMVAE),
        *_ours("VennVI", "VennVI", _VENNVI),
        Contestant("MULTIVI", "MULTIVI", train_multivi, color="#882255"),
        Contestant("TOTALVI", "TOTALVI", train_totalvi, color="#332288"),
        Contestant("bare", "MMVAE++, bare PyTorch", train_by_hand, architecture=_MMVAE, color="#000000"),
        Contestant("multivae-MMVAEPlus", "MMVAE+ (multivae)", train_multivae, color="#56B4E9"),
    )
}


def get_contestant(name: str) -> Contestant:
    """Contestant by name, whatever the case.

    Raises
    ------
    ValueError
        If there is none; the message lists the names.

    Examples
    --------
    >>> get_contestant("multivi").label
    'MULTIVI'
    """
    by_folded = {known.casefold(): contestant for known, contestant in CONTESTANTS.items()}
    try:
        return by_folded[name.strip().casefold()]
    except KeyError:
        raise ValueError(f"There is no contestant {name!r}; they are {', '.join(CONTESTANTS)}.") from None
