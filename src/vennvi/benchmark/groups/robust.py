"""The recommended model with its defaults, on all data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vennvi.benchmark._group import Group, Member
from vennvi.benchmark._target import Reading, Reference, Target
from vennvi.benchmark.experiments.brca import BRCA
from vennvi.benchmark.experiments.citeseq_types import CITESEQ_TYPES
from vennvi.benchmark.experiments.cll import CLL
from vennvi.benchmark.experiments.gp import EVEN, GP, WIGGLY
from vennvi.benchmark.experiments.multiome_types import MULTIOME_TYPES
from vennvi.benchmark.experiments.shuffled import SHUFFLED

_REAL = ("VennVI", "MMVAEPlusPlus", "PCA+CCA")
_ALL = Reference()
_CCA = "PCA+CCA"

#: Recovery of the shared factor, by private features of the views.
_GP = {"20/100": 0.98, "250/100": 0.98, "1000/100": 0.98, "1000/1000": 0.96}
#: IGHV from the joint latents, by genes without it.
_CLL = {"50": 0.95, "500": 0.93, "2000": 0.92}
_BRCA = ("100", "500", "2000")
_SMALL, _LARGE = "5+5+5", "10+10+10"


def _synthetic(experiment: str, condition: str, latents: str, recovery: float | Reference) -> Iterator[Target]:
    where = (experiment, condition, latents)
    shared = Reading("shared", "shared factor", "knn_r2")
    private = Reading("private", "own private factor", "knn_r2")
    contamination = Reading("shared", "private factors", "knn_r2")
    leak = Reading("private", "shared factor", "knn_r2", above_null=True)
    yield Target(*where, "shared factor from the shared latents (R²)", shared, "≥", (recovery,))
    yield Target(*where, "private factors from their private latents (R², mean)", private, "≥", (0.95,))
    yield Target(*where, "contamination: a private factor from the shared latents (R²)", contamination, "≤", (0.05,))
    yield Target(*where, "leak: shared factor from private latents (R² above no information)", leak, "≤", (0.05,))


def _cll(condition: str, joint: float) -> Iterator[Target]:
    def ighv(space: str) -> Reading:
        return Reading(space, "IGHV", "auc_test")

    where = ("cll", condition, _SMALL)
    yield Target(*where, "IGHV from the joint shared latents (AUC)", ighv("shared"), "≥", (joint,))
    yield Target(*where, "IGHV from the shared latents of mRNA (AUC)", ighv("shared:mrna"), "≥", (Reference((_CCA,)),))
    for view in ("mrna", "methylation"):
        yield Target(*where, f"IGHV from private {view} (AUC)", ighv(f"private:{view}"), "≤", (0.65,))


def _brca(condition: str) -> Iterator[Target]:
    where = ("brca", condition, _SMALL)
    status, subtype = Reading("shared", "ER_status", "auc_test"), Reading("shared", "PAM50", "accuracy_test")
    yield Target(*where, "ER status from the joint shared latents (AUC)", status, "≥", (_ALL,))
    yield Target(*where, "PAM50 from the joint shared latents (accuracy)", subtype, "≥", (_ALL,))


def _cells(experiment: str, modalities: Mapping[str, str], joint: float | None = None) -> Iterator[Target]:
    where = (experiment, "4000", "15+10+10")
    types = Reading("shared", "cell_type", "accuracy_test")
    alone = [Reference(("PCA",), -0.01, f"shared:{m}") for m in modalities]
    quantity = "cell type from the joint shared latents (accuracy)"
    yield Target(*where, quantity, types, "≥", (_ALL, *alone))
    if joint is not None:
        yield Target(*where, quantity, types, "≥", (joint,))
    purity = Reading("shared", "cell_type", "purity_test")
    torn = "neighbours of the same type in the joint shared space"
    yield Target(*where, torn, purity, "≥", (Reference(("MMVAEPlusPlus",)),))
    yield Target(*where, "FOSCTTM", Reading("shared", "other views", "foscttm_test"), "≤", (0.13,))
    private = Reading("private:rna", "cell_type", "accuracy_test")
    yield Target(*where, "cell type from private RNA (accuracy)", private, "≤", (0.50,))
    for modality, title in modalities.items():
        depth = Reading("shared", f"log depth of {modality}", "linear_r2_test")
        yield Target(*where, f"log {title} depth from the joint shared latents (R²)", depth, "≤", (0.20,))
    for source, other in ((s, o) for s in modalities for o in modalities if s != o):
        crossed = Reading(f"predict:{source}", f"data:{other}", "deviance_explained_test")
        title = f"deviance of {modalities[other]} explained from {modalities[source]}"
        yield Target(*where, title, crossed, "≥", (_ALL,))


def _null() -> Iterator[Target]:
    p = Reading("shared", "other views", "signal_test_p", over=0.05)
    quantity = "shuffled pairs: runs with p > .05 of the test of a shared signal"
    yield Target("gp-shuffled", "shuffled", _SMALL, quantity, p, "≥", (0.95,))


ROBUST = Group(
    name="robust",
    title="Does VennVI, with its defaults, keep what is shared and only that, on all data?",
    subject="VennVI",
    members=(
        Member(GP, tuple(_GP), (_SMALL, _LARGE), _REAL),
        Member(WIGGLY, ("100/100",), (_SMALL,), _REAL),
        Member(EVEN, ("100/100",), (_SMALL,), _REAL),
        Member(SHUFFLED, ("shuffled",), (_SMALL,), ("VennVI", "PCA+CCA")),
        Member(CLL, tuple(_CLL), (_SMALL,), _REAL),
        Member(BRCA, _BRCA, (_SMALL,), _REAL),
        Member(MULTIOME_TYPES, ("4000",), ("15+10+10",), MULTIOME_TYPES.models),
        Member(CITESEQ_TYPES, ("4000",), ("15+10+10",), CITESEQ_TYPES.models),
    ),
    targets=(
        *(t for size in (_SMALL, _LARGE) for name, least in _GP.items() for t in _synthetic("gp", name, size, least)),
        *_synthetic("gp-wiggly", "100/100", _SMALL, Reference((_CCA,), 0.03)),
        *_synthetic("gp-even", "100/100", _SMALL, Reference((_CCA,), 0.02)),
        *_null(),
        *(target for name, joint in _CLL.items() for target in _cll(name, joint)),
        *(target for name in _BRCA for target in _brca(name)),
        *_cells("multiome-types", {"rna": "RNA", "atac": "ATAC"}, joint=0.83),
        *_cells("citeseq-types", {"rna": "RNA", "protein": "protein"}),
    ),
    notes=(
        "Latent sizes are set by the experiments; everything else is the models' default. All labels and depths are read on "
        "held-out samples; recovery, contamination and leak are cross-validated over all samples. Every experiment has a "
        "report of its own in the folder of its name."
    ),
)
