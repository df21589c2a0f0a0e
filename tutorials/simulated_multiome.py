# %% [markdown]
# # Shared and private latents of a multiome
#
# Simulated RNA and ATAC counts, so that the answer is known: cell types are in a factor that both modalities share, and
# a stronger programme of its own moves most features of each.

# %%
import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
import scvi

import vennvi

scvi.settings.seed = 0
mdata = vennvi.data.simulate_multiome(n_obs=800, n_genes=200, n_peaks=600)
mdata

# %% [markdown]
# Counts need no normalisation: depth enters the likelihood as an offset. A fifth of the cells is held out.

# %%
vennvi.VennVI.setup_mudata(mdata, batch_key="batch")
model = vennvi.VennVI(mdata, n_shared=5, n_private=5, likelihoods={"rna": "nb", "atac": "poisson"})
model.train(max_epochs=60, train_size=0.8, accelerator="cpu", plan_kwargs={"lr": 2e-3}, enable_progress_bar=False)
model.history["elbo_train"].plot()

# %% [markdown]
# The latents go into the MuData, where scanpy finds them.

# %%
model.write_latents(mdata)
for data, latents in [(mdata, "X_shared"), (mdata["rna"], "X_private"), (mdata["atac"], "X_private")]:
    sc.pp.neighbors(data, use_rep=latents)
    sc.tl.umap(data)
figure = vennvi.pl.spaces(
    {"shared": mdata.obsm["X_umap"]} | {f"private {m}": mdata[m].obsm["X_umap"] for m in mdata.mod},
    {"cell type": mdata.obs["cell_type"]} | {f"{m} programme": mdata[m].obsm["true_private"][:, 0] for m in mdata.mod},
)

# %% [markdown]
# What does each space hold? The probe matrix reads every quantity from every space, on held-out cells. The cell type
# belongs in the shared space; what the private RNA space knows of it is a leak.

# %%
spaces = {"shared": mdata.obsm["X_shared"]} | {f"private {m}": mdata[m].obsm["X_private"] for m in mdata.mod}
targets = {"cell type": mdata.obs["cell_type"]} | {f"{m} programme": mdata[m].obsm["true_private"] for m in mdata.mod}
matrix = vennvi.metrics.probe_matrix(spaces, targets, model.train_indices, model.validation_indices)
print(matrix.pivot_table(index="space", columns=["target", "metric"], values="value").round(2))

# %% [markdown]
# The ATAC of held-out cells, predicted from their RNA alone, in counts.

# %%
predicted = model.predict("atac", source="rna", indices=model.validation_indices)
observed = mdata["atac"].X[model.validation_indices]
explained = vennvi.metrics.deviance_explained(observed, predicted.to_numpy())
shared_peaks = (mdata["atac"].var["factor"] == "shared").to_numpy()
of_shared, of_others = (np.nanmean(explained.per_feature[peaks]) for peaks in (shared_peaks, ~shared_peaks))
print(f"deviance explained: {of_shared:.3f} of peaks that the shared factor drives, {of_others:.3f} of the others")
print("(0 is what a peak's mean says; peaks that no held-out cell has are left out)")
plt.close("all")
