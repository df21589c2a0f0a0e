# %% [markdown]
# # What four assays of leukaemia patients share
#
# 200 patients with chronic lymphocytic leukaemia: gene expression, methylation, drug response and mutations, each of
# them measured in a part of the patients (Dietrich et al. 2018). MOFA's published analysis found IGHV status in its first
# factor and trisomy 12 in its second (Argelaguet et al. 2018). Do they come out here?
#
# The file is `cll.h5mu` in the folder that the environment variable `VENNVI_DATA` names.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import mudata
import numpy as np
import pandas as pd
import scvi
from scipy.stats import mannwhitneyu

import vennvi

scvi.settings.seed = 0
mdata = mudata.read_h5mu(Path(os.environ.get("VENNVI_DATA", ".")) / "cll.h5mu")
mdata

# %% [markdown]
# No patient needs to have every assay, and entries may be missing. With 200 patients and 9,627 features the shared
# latents are read off canonical variates, or the encoders memorise who is who. A quarter of the patients
# is held out, and every number below is theirs.

# %%
vennvi.VennVI.setup_mudata(mdata)
model = vennvi.VennVI(mdata, n_shared=5, n_private=5)
model.train(max_epochs=200, batch_size=32, train_size=0.75, accelerator="cpu", enable_progress_bar=False)

# %% [markdown]
# What the shared and the private latents explain of each assay. Mutations are rare, and a model of 150 patients is too
# sure of them: less than nothing is explained of the others'.

# %%
table = model.variance_explained()
blocks = table[table["dimension"].isna()].pivot(index="modality", columns="block", values="alone").astype(float)
print(blocks.round(3))
vennvi.pl.variance_blocks(table)
vennvi.pl.variance_explained(table)

# %% [markdown]
# Which dimension knows the two known drivers? AUC of single dimensions, joint and from each assay alone, in held-out
# patients. (The mutations hold both as columns: see the other assays.)

# %%
held_out = model.validation_indices
drivers = {"IGHV": mdata.obs["IGHV"] == "mutated", "trisomy12": mdata.obs["trisomy12"] == "present"}


def auc(latents: np.ndarray, driver: str, cells: np.ndarray) -> list[float]:
    """AUC of every latent dimension, whichever its sign."""
    known = mdata.obs[driver].notna().to_numpy()[cells] & ~np.isnan(latents).any(axis=1)
    truth = drivers[driver].to_numpy()[cells][known]
    if len(np.unique(truth)) < 2:
        return [np.nan] * latents.shape[1]
    pairs_won = mannwhitneyu(latents[known][truth], latents[known][~truth], method="asymptotic").statistic
    scores = pairs_won / (truth.sum() * (~truth).sum())
    return np.maximum(scores, 1 - scores).tolist()


spaces = {"shared": model.get_latent_representation(indices=held_out)}
for m in model.modalities:
    spaces[f"shared, {m} alone"] = model.get_latent_representation(indices=held_out, modality=m)
for m in model.modalities:
    spaces[f"private {m}"] = model.get_latent_representation(indices=held_out, space="private", modality=m)
found = pd.DataFrame(
    {(driver, d): [auc(z, driver, held_out)[d] for z in spaces.values()] for driver in drivers for d in range(5)},
    index=list(spaces),
)
print(found.round(2).to_string())
best = {driver: int(found.loc["shared", driver].argmax()) for driver in drivers}
print(best)

# %% [markdown]
# The best of twenty private dimensions is above 0.5 by chance, too: the same after shuffling the patients.

# %%
private = np.hstack([z for name, z in spaces.items() if name.startswith("private")])
private[np.isnan(private)] = np.random.default_rng(0).normal(size=np.isnan(private).sum())
rng = np.random.default_rng(0)
for driver in drivers:
    shuffled = [max(auc(rng.permutation(private), driver, held_out)) for _ in range(200)]
    own = found.loc[[name for name in spaces if name.startswith("private")], driver].to_numpy().max()
    print(
        f"{driver}: best private dimension {own:.2f}, shuffled {np.mean(shuffled):.2f} (95 %: {np.quantile(shuffled, 0.95):.2f})"
    )

# %% [markdown]
# The features that carry these two dimensions: what moves with each, in the units of the assay.

# %%
for driver, dimension in best.items():
    for m in ("mutations", "drugs", "mrna"):
        scores = model.feature_scores("shared", m, scale="sd")[dimension]
        top = scores.loc[scores.abs().nlargest(5).index].round(3)
        print(f"{driver} (shared {dimension}), {m}: " + ", ".join(f"{name} {value:+}" for name, value in top.items()))
vennvi.pl.feature_scores(model.feature_scores("shared", "mutations", scale="sd"))

# %% [markdown]
# And, with error control, the features of each assay that the *other* assays predict.

# %%
shared = {m: model.shared_features(m) for m in model.modalities}
for m, features in shared.items():
    discoveries = features[features["q_value"] <= 0.05].sort_values("explained", ascending=False)
    print(f"{m}: {len(discoveries)} of {features['p_value'].notna().sum()} features; ", end="")
    print(", ".join(f"{name} {value:.2f}" for name, value in discoveries["explained"].head(5).items()))
print(shared["mutations"].sort_values("p_value").head(5).round(3))
model.write_variance_explained(mdata)
vennvi.pl.shared_private(mdata["drugs"].var)
plt.close("all")
