"""Draw the figures of the gallery from small simulated data: python docs/make_gallery.py [name ...]."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scvi

import vennvi
from vennvi._demo import add_umaps

FOLDER = Path(__file__).parent / "_static" / "gallery"


@cache
def multiome():
    """Trained model of simulated RNA and ATAC, with explained fractions in ``.var``."""
    scvi.settings.seed = 0
    mdata = vennvi.data.simulate_multiome(n_obs=1500, n_genes=150, n_peaks=300, atac_density=0.2)
    vennvi.MMVAEPlusPlus.setup_mudata(mdata, batch_key="batch")
    likelihoods = {"rna": "nb", "atac": "poisson"}
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=4, n_private=4, likelihoods=likelihoods, n_canonical=10)
    model.train(
        max_epochs=60, train_size=0.7, accelerator="cpu", plan_kwargs={"lr": 5e-3}, enable_progress_bar=False,
        check_val_every_n_epoch=1,
    )  # fmt: skip
    model.write_variance_explained()
    return model


def variance_explained():
    return vennvi.pl.variance_explained(multiome().variance_explained()).figure


def variance_blocks():
    return vennvi.pl.variance_blocks(multiome().variance_explained(dimensions=False)).figure


def shared_private():
    return vennvi.pl.shared_private(multiome().adata["rna"].var, measure="deviance").figure


def feature_scores():
    return vennvi.pl.feature_scores(multiome().feature_scores("shared", "rna", scale="sd"))


def spaces():
    """UMAPs of held-out cells, coloured by the cell types and by a true private factor."""
    model = multiome()
    model.write_latents(model.adata)
    mdata = model.adata[model.validation_indices[:300]].copy()
    add_umaps(mdata, seed=0)
    embeddings = {"shared": mdata.obsm["X_umap"]} | {f"private {m}": mdata[m].obsm["X_umap"] for m in mdata.mod}
    colors = {"cell type": mdata.obs["cell_type"], "RNA programme": mdata["rna"].obsm["true_private"][:, 0]}
    return vennvi.pl.spaces(embeddings, colors, point_size=3.5, panel_size=1.9)


def alignment_null():
    return vennvi.pl.alignment_null(multiome().shared_signal_test()).figure


def training_curves():
    return vennvi.pl.training_curves(multiome().history)


def probe_matrix():
    return vennvi.pl.probe_matrix(multiome().diagnose(labels=["cell_type"]).table).figure


def coverage():
    levels = np.linspace(0.1, 0.95, 9)
    pairs = [("rna", "atac"), ("rna", "rna"), ("atac", "rna"), ("atac", "atac")]
    tables = [multiome().predictive_coverage(target, source, levels=levels) for target, source in pairs]
    return vennvi.pl.coverage(pd.concat(tables)).figure


def reliability():
    """Labels of cells that neither the training nor the calibration has seen."""
    scvi.settings.seed = 0
    everyone = vennvi.data.simulate_multiome(n_obs=2000, n_genes=150, n_peaks=300, atac_density=0.2, type_spread=0.5)
    mdata, new = everyone[:1200].copy(), everyone[1200:].copy()
    vennvi.MMVAEPlusPlus.setup_mudata(mdata, labels_key="cell_type")
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=4, n_private=4, likelihoods={"rna": "nb", "atac": "poisson"})
    model.train(max_epochs=60, train_size=0.7, accelerator="cpu", plan_kwargs={"lr": 5e-3}, enable_progress_bar=False)
    scores = {
        name: vennvi.metrics.reliability(model.predict_labels(new, calibrated=calibrated)[1], new.obs["cell_type"])
        for name, calibrated in (("as trained", False), ("calibrated", True))
    }
    return vennvi.pl.reliability(scores).figure


def benchmark_sweep():
    """The benchmark's own results on the paper's simulated views."""
    results = pd.read_csv(Path(__file__).parent / "results" / "gp" / "summary.csv")
    scores = {
        ("shared", "y", "auc_test"): "AUC of y from shared",
        ("private", "shared factor", "knn_r2"): "R² of the shared factor from private",
    }
    whole_sweep = ["VennVI", "MMVAEPlusPlus", "MMVAE", "MoPoEVAE", "MVAE", "PCA+CCA"]
    results = results[results["latents"].isin(["2+2+2", "5+5+5"]) & results["model"].isin(whole_sweep)]
    return vennvi.pl.benchmark_sweep(results, scores, xlabel="private features of the two views")


#: What draws each image.
FIGURES: dict[str, Callable] = {
    "spaces": spaces,
    "variance_explained": variance_explained,
    "variance_blocks": variance_blocks,
    "shared_private": shared_private,
    "feature_scores": feature_scores,
    "alignment_null": alignment_null,
    "training_curves": training_curves,
    "probe_matrix": probe_matrix,
    "coverage": coverage,
    "reliability": reliability,
    "benchmark_sweep": benchmark_sweep,
}

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or FIGURES:
        figure = FIGURES[name]()
        figure.savefig(FOLDER / f"{name}.png", dpi=200, bbox_inches="tight", pil_kwargs={"optimize": True})
        plt.close(figure)
        print(FOLDER / f"{name}.png")
