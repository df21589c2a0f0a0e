"""Numbers of the page "Diagnose": python docs/measure_quality.py [folder of real data]."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import mudata
import numpy as np
import pandas as pd
import scvi

import vennvi

LEVELS = (0.5, 0.9)


def train(mdata, n_latent: int, max_epochs: int, cls=vennvi.MMVAEPlusPlus, **kwargs):
    setup = {k: kwargs.pop(k) for k in ("labels_key",) if k in kwargs}
    scvi.settings.seed = 0
    cls.setup_mudata(mdata, **setup)
    model = cls(mdata, n_shared=n_latent, n_private=n_latent, **kwargs)
    model.train(
        max_epochs=max_epochs, train_size=0.7, accelerator="cpu", plan_kwargs={"lr": 2e-3}, enable_progress_bar=False
    )
    return model


def simulated(seed: int):
    yield (
        "gp (normal)",
        vennvi.data.simulate_gp(n_obs=1000, n_private_features={"view1": 20, "view2": 20}, seed=seed),
        {"n_latent": 3, "max_epochs": 150},
    )
    yield (
        "multiome (nb, poisson)",
        vennvi.data.simulate_multiome(n_obs=1000, n_genes=150, n_peaks=300, atac_density=0.2, seed=seed),
        {"n_latent": 4, "max_epochs": 60, "likelihoods": {"rna": "nb", "atac": "poisson"}},
    )


def real(folder: Path):
    for name, max_epochs in (("cll", 200), ("pbmc10k_citeseq", 20)):
        mdata = mudata.read_h5mu(folder / f"{name}.h5mu")
        if name == "pbmc10k_citeseq":
            mdata = mdata[np.random.default_rng(0).permutation(mdata.n_obs)[:2500]].copy()
        yield name, mdata, {"n_latent": 10, "max_epochs": max_epochs}


def coverage(model, n_features: int = 100, cells=None) -> pd.DataFrame:
    """Coverage of intervals as learned, and scaled on (other) held-out cells."""
    tables = []
    for target in model.modalities:
        names = model.get_var_names()[target][:n_features]
        own = [] if len(model.modalities) == 1 else [target]
        for source in (None, *own):
            for intervals, calibrated in (("as learned", False), ("calibrated", True)):
                arguments = {"indices": cells, "n_samples": 99, "var_names": names, "calibrated": calibrated}
                table = model.predictive_coverage(target, source, LEVELS, **arguments)
                tables.append(table.assign(intervals=intervals))
    columns = ["intervals", "level"]
    return pd.concat(tables).pivot_table(index=["target", "source"], columns=columns, values="coverage", sort=False)


def calibration_of_the_test(n_runs: int = 2000) -> pd.Series:
    """Fraction of p-values at or below each level, of independent latents."""
    rng = np.random.default_rng(0)
    p_values = np.array(
        [
            vennvi.metrics.shared_signal(
                dict(zip(("a", "b"), rng.normal(size=(2, 60, 10)), strict=True)),
                n_permutations=199,
                seed=int(rng.integers(2**31)),
            ).p_value
            for _ in range(n_runs)
        ]
    )
    return pd.Series({level: np.mean(p_values <= level) for level in (0.01, 0.05, 0.1, 0.5)})


def labels() -> pd.DataFrame:
    """Calibration error on cells that neither training nor calibration has seen."""
    rows = []
    for seed in range(3):
        everyone = vennvi.data.simulate_multiome(
            n_obs=2000, n_genes=150, n_peaks=300, atac_density=0.2, type_spread=0.5, seed=seed
        )
        mdata, new = everyone[:1200].copy(), everyone[1200:].copy()
        model = train(mdata, 4, 60, labels_key="cell_type", likelihoods={"rna": "nb", "atac": "poisson"})
        for modality in (None, *model.modalities):
            score = {
                name: vennvi.metrics.reliability(
                    model.predict_labels(new, modality=modality, calibrated=calibrated)[1], new.obs["cell_type"]
                )
                for name, calibrated in (("as trained", False), ("calibrated", True))
            }
            rows.append(
                {"from": modality or "joint", "accuracy": score["calibrated"].accuracy}
                | {name: s.ece for name, s in score.items()}
            )
    return pd.DataFrame(rows).groupby("from", sort=False).mean()


def leak() -> pd.Series:
    """R² of what the private RNA space knows, by what is fitted on training cells and within held-out ones."""
    mdata = vennvi.data.simulate_multiome(n_obs=1500, n_genes=300, n_peaks=1000)
    scvi.settings.seed = 0
    vennvi.MMVAEPlusPlus.setup_mudata(mdata, batch_key="batch")
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=5, n_private=5, likelihoods={"rna": "nb", "atac": "poisson"})
    model.train(max_epochs=40, train_size=0.8, accelerator="cpu", plan_kwargs={"lr": 2e-3}, enable_progress_bar=False)
    private = model.get_latent_representation(space="private", modality="rna")
    truth = vennvi.metrics.predictability(
        private, mdata.obsm["true_shared"], np.sort(model.train_indices), np.sort(model.validation_indices)
    )
    table = model.diagnose().table
    rows = table[(table["space"] == "private rna") & (table["target"] == "shared")].set_index("metric")["value"]
    return pd.concat([pd.Series({"true shared factor": truth.ridge}), rows])


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print("p-values of the shared signal test without a signal, fraction at or below:")
    print(calibration_of_the_test().round(3).to_string(), "\n")
    for name, mdata, settings in simulated(0):
        model = train(mdata, cls=vennvi.VennVI, **settings)
        print(f"{name}: p {model.shared_signal_test().p_value:.3f}\n{coverage(model).round(2).to_string()}\n")
    print(f"what private rna knows of the shared latents, R²\n{leak().round(2).to_string()}\n")
    print(f"calibration error of labels\n{labels().round(2).to_string()}\n")
    if len(sys.argv) > 1:
        for name, mdata, settings in real(Path(sys.argv[1])):
            model = train(mdata, cls=vennvi.VennVI, **settings)
            print(f"{name}: p {model.shared_signal_test().p_value:.3f}\n{coverage(model).round(2).to_string()}")
            print(f"on training cells\n{coverage(model, cells=model.train_indices).round(2).to_string()}\n")
        name, mdata, settings = next(iter(real(Path(sys.argv[1]))))
        model = train(mdata, cls=vennvi.VennVI, **settings | {"max_epochs": 30})
        print(f"{name}, 30 epochs\n{coverage(model).round(2).to_string()}")
