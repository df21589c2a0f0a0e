"""Training and latents from a collection on disk: the same as in memory, cell by cell and step by step."""

from __future__ import annotations

import gc
import tracemalloc

import mudata
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from scipy import sparse
from toy import N_OBS, toy_mudata

import vennvi
from vennvi.data._splitter import DataSplitter

annbatch = pytest.importorskip("annbatch", reason="the extra ondisk needs Python 3.12 or newer")

SETUP = {
    "batch_key": "batch",
    "labels_key": "partial_label",
    "unlabeled_category": "unknown",
    "categorical_covariate_keys": ["sex"],
    "continuous_covariate_keys": ["age"],
}
LAYERS = {
    "layers": {"rna": "counts", "protein": "raw"},
    "size_factor_key": {"rna": "depth"},
    "continuous_covariate_keys": ["age"],
}


def dense(x):
    x = torch.as_tensor(x)
    return (x if x.layout == torch.strided else x.to_dense()).numpy()


def toy():
    mdata = toy_mudata(3, absent=True, missing_entries=True, permuted=True)
    rng = np.random.default_rng(1)
    mdata["rna"].obs["depth"] = rng.uniform(0.5, 2, mdata["rna"].n_obs)
    mdata["rna"].layers["counts"] = mdata["rna"].X.copy()
    mdata["protein"].layers["raw"] = mdata["protein"].X.copy()
    return mdata


@pytest.fixture
def mdata():
    return toy()


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Written once; nothing changes it."""
    path = tmp_path_factory.mktemp("collection") / "toy.zarr"
    return vennvi.data.write_collection(toy(), path, cells_per_dataset=35, **SETUP)


@pytest.mark.parametrize(
    ("source", "setup"),
    [
        pytest.param("memory", LAYERS, id="memory"),
        pytest.param("backed", SETUP, id="backed"),
        pytest.param("path", LAYERS, id="path"),
    ],
)
def test_minibatches_are_those_of_memory(mdata, tmp_path, source, setup):
    """Whatever the order asked for: the same keys, dtypes, layouts and values."""
    mdata["protein"].X[3] = np.nan  # a cell with nothing measured lacks the modality
    mdata["protein"].layers["raw"] = mdata["protein"].X.copy()
    mdata.write(tmp_path / "toy.h5mu")
    data = {
        "memory": lambda: mdata,
        "backed": lambda: mudata.read_h5mu(tmp_path / "toy.h5mu", backed="r"),
        "path": lambda: str(tmp_path / "toy.h5mu"),
    }[source]()
    before = None if source == "path" else list(data.obs) + list(data.uns)
    path = vennvi.data.write_collection(data, tmp_path / "toy.zarr", cells_per_dataset=35, **setup)
    if source != "path":
        assert list(data.obs) + list(data.uns) == before
    if source == "backed":
        data.file.close()
    vennvi.MMVAE.setup_mudata(mdata, **setup)
    expected = vennvi.MMVAE._get_most_recent_anndata_manager(mdata).create_torch_dataset()
    datamodule = vennvi.data.AnnbatchMuDataModule(path)
    assert list(datamodule.obs_names) == list(mdata.obs_names)
    order = np.random.default_rng(0).permutation(N_OBS)[:50]
    loader = datamodule.inference_dataloader(order, batch_size=13)
    assert len(loader) == 4
    for k, found in enumerate(loader):
        batch = expected[order[13 * k : 13 * (k + 1)]]
        assert found.keys() == batch.keys()
        for key, x in batch.items():
            assert found[key].dtype == torch.as_tensor(x).dtype, key
            assert found[key].layout == getattr(x, "layout", torch.strided), key
            np.testing.assert_array_equal(dense(found[key]), dense(x), err_msg=key)


class SameOrder(DataSplitter):
    """Minibatches of a MuData in memory, in the order in which a data module on disk gives them."""

    on_disk: vennvi.data.AnnbatchMuDataModule

    def _batches(self, loader):
        dataset = self.adata_manager.create_torch_dataset()

        class Batches:
            def __iter__(self):
                loader.order.epoch, loader._n_started = loader._n_started, loader._n_started + 1
                for rows in loader.order.batches(N_OBS):
                    yield {key: torch.as_tensor(value) for key, value in dataset[rows].items()}

            def __len__(self):
                return len(loader)

        return Batches()

    def train_dataloader(self):
        return self._batches(self.on_disk.train_dataloader())

    def val_dataloader(self):
        return self._batches(self.on_disk.val_dataloader())


class SeedWhenTrainingStarts(Callback):
    def on_train_start(self, *_):
        torch.manual_seed(0)


@pytest.mark.parametrize("cls", [vennvi.MVAE, vennvi.MMVAEPlusPlus, vennvi.VennVI], ids=lambda cls: cls.__name__)
def test_training_is_that_of_memory(cls, mdata, collection, monkeypatch):
    """The same order of minibatches: the same curves and latents, canonical start included."""
    import scvi

    size = {"n_shared": 3, "n_private": 2, "n_hidden": 16}
    options = {"max_epochs": 3, "batch_size": 16, "check_val_every_n_epoch": 1, "accelerator": "cpu"}
    options |= {"enable_progress_bar": False, "callbacks": [SeedWhenTrainingStarts()]}
    indexing = [np.arange(13, N_OBS), np.arange(13)]
    scvi.settings.seed = 0
    datamodule = vennvi.data.AnnbatchMuDataModule(
        collection, batch_size=16, external_indexing=indexing, chunk_size=4, preload_nchunks=8
    )
    from_disk = cls(registry=datamodule.registry, **size)
    from_disk.train(datamodule=datamodule, **options)

    cls.setup_mudata(mdata, **SETUP)
    scvi.settings.seed = 0
    in_memory = cls(mdata, **size)
    monkeypatch.setattr(SameOrder, "on_disk", datamodule, raising=False)
    monkeypatch.setattr(cls, "_data_splitter_cls", SameOrder)
    in_memory.train(datasplitter_kwargs={"external_indexing": indexing}, **options)

    assert from_disk.history.keys() == in_memory.history.keys()
    assert "elbo_validation" in from_disk.history
    for name, curve in in_memory.history.items():
        np.testing.assert_allclose(
            from_disk.history[name].to_numpy(float), curve.to_numpy(float), rtol=1e-5, atol=1e-5, err_msg=name
        )
    np.testing.assert_array_equal(from_disk.train_indices, in_memory.train_indices)
    some = [5, 3, 41]
    for kwargs in ({}, {"modality": "rna"}, {"space": "private", "modality": "protein"}):
        expected = in_memory.get_latent_representation(**kwargs)
        np.testing.assert_allclose(from_disk.get_latent_representation(**kwargs), expected, rtol=1e-4, atol=1e-5)
        loader = datamodule.inference_dataloader(some, batch_size=2)
        found = from_disk.get_latent_representation(dataloader=loader, **kwargs)
        np.testing.assert_allclose(found, expected[some], rtol=1e-4, atol=1e-5)


def test_every_epoch_visits_every_cell_once_in_an_order_of_its_own(collection):
    datamodule = vennvi.data.AnnbatchMuDataModule(collection, batch_size=8, chunk_size=3, preload_nchunks=9, seed=1)
    datamodule.set_split(train_size=0.7, validation_size=0.2)
    parts = [datamodule.train_idx, datamodule.val_idx, datamodule.test_idx]
    assert [len(part) for part in parts] == [42, 12, 6]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(N_OBS))
    ages = datamodule.obs["age"].to_numpy()
    sampler, orders = datamodule.train_dataloader().order, []
    for epoch in (0, 1):
        loader = datamodule.train_dataloader()
        for sampler.epoch in range(epoch + 1):  # the last one is this epoch
            batches = list(loader)
        rows = list(sampler.batches(N_OBS))
        assert [len(batch) for batch in rows] == [8] * 5 + [2]
        np.testing.assert_array_equal(
            np.concatenate([batch["extra_continuous_covs"][:, 0] for batch in batches]), ages[np.concatenate(rows)]
        )
        orders.append(np.concatenate(rows))
    np.testing.assert_array_equal(np.sort(orders[0]), datamodule.train_idx)
    np.testing.assert_array_equal(np.sort(orders[1]), datamodule.train_idx)
    assert (orders[0] != orders[1]).any()


def test_processes_share_the_cells(collection, monkeypatch):
    from vennvi.data import _row_sampler

    datamodule = vennvi.data.AnnbatchMuDataModule(collection, batch_size=8, seed=1)
    seen = []
    for rank in range(3):
        monkeypatch.setattr(_row_sampler, "_world", lambda rank=rank: (rank, 3))
        loader = datamodule.train_dataloader()
        rows = [batch["extra_continuous_covs"] for batch in loader]
        assert len(rows) == len(loader) == 3
        seen.append(np.concatenate(list(loader.order.batches(N_OBS))))
        everyone = sum(len(batch["mask_rna"]) for batch in datamodule.inference_dataloader())
        assert everyone == N_OBS  # latents are of all cells in each process
    assert [len(part) for part in seen] == [20, 20, 20]
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(N_OBS))


def test_shuffled_collections_hold_the_same_cells(mdata, tmp_path):
    path = vennvi.data.write_collection(mdata, tmp_path / "toy.zarr", shuffle=True, cells_per_dataset=35, **SETUP)
    datamodule = vennvi.data.AnnbatchMuDataModule(path)
    order = mdata.obs_names.get_indexer(datamodule.obs_names)
    np.testing.assert_array_equal(np.sort(order), np.arange(N_OBS))
    assert (order != np.arange(N_OBS)).mean() > 0.8
    pd.testing.assert_series_equal(datamodule.obs["partial_label"], mdata.obs["partial_label"].iloc[order])
    vennvi.MMVAE.setup_mudata(mdata, **SETUP)
    expected = vennvi.MMVAE._get_most_recent_anndata_manager(mdata).create_torch_dataset()[order]
    found = next(iter(datamodule.inference_dataloader(batch_size=N_OBS)))
    for key, x in expected.items():
        np.testing.assert_array_equal(dense(found[key]), dense(x), err_msg=key)


def test_blocks_of_cells_without_a_modality(tmp_path):
    """A dataset in which nobody has a modality, sparse or dense; no validation cells."""
    whole = toy_mudata(3)
    mdata = mudata.MuData(
        {"atac": whole["atac"], "rna": whole["rna"][40:].copy(), "protein": whole["protein"][:20].copy()}
    )
    path = vennvi.data.write_collection(mdata, tmp_path / "toy.zarr", cells_per_dataset=20)
    datamodule = vennvi.data.AnnbatchMuDataModule(path, batch_size=16)
    for m in mdata.mod:
        np.testing.assert_array_equal(datamodule.presence(m), mdata.obs_names.isin(mdata[m].obs_names))
    model = vennvi.VennVI(registry=datamodule.registry, n_shared=3, n_private=2, n_hidden=16)
    model.train(max_epochs=1, train_size=1.0, datamodule=datamodule, accelerator="cpu", enable_progress_bar=False)
    lacking = np.isnan(model.get_latent_representation(space="private", modality="rna")).any(axis=1)
    np.testing.assert_array_equal(lacking, ~datamodule.presence("rna"))


def test_annbatch_reads_it(mdata, collection):
    import zarr

    for m in mdata.mod:
        loader = annbatch.Loader(batch_size=10, chunk_size=5, preload_nchunks=4, preload_to_gpu=False)
        loader.use_collection(annbatch.DatasetCollection(zarr.open_group(collection / "mod" / m, mode="r")))
        parts = [batch["X"] for batch in loader]
        x = np.concatenate([part.toarray() if sparse.issparse(part) else part for part in parts])
        raw = mdata[m].X.toarray() if sparse.issparse(mdata[m].X) else np.asarray(mdata[m].X)
        raw = pd.DataFrame(raw, index=mdata[m].obs_names).dropna(how="all").reindex(mdata.obs_names)
        np.testing.assert_array_equal(x, raw.where(raw.notna().any(axis=1), 0.0))
        assert list(loader.var.index) == list(mdata[m].var_names)


def test_a_model_from_disk_is_any_other_model(mdata, collection, tmp_path):
    """It is saved, loaded with and without a MuData, and takes new data."""
    datamodule = vennvi.data.AnnbatchMuDataModule(collection)
    model = vennvi.VennVI(registry=datamodule.registry, n_shared=3, n_private=2, n_hidden=16)
    model.train(max_epochs=2, datamodule=datamodule, accelerator="cpu", enable_progress_bar=False)
    latents = model.get_latent_representation()
    assert datamodule.train_size == datamodule.n_train / mdata.n_obs  # scvi-tools' MLflow logger reads both
    assert datamodule.data_loader_kwargs["batch_size"] == datamodule.batch_size
    assert model.get_elbo(return_mean=False).shape == (mdata.n_obs,)
    model.save(tmp_path / "model")
    without = vennvi.VennVI.load(tmp_path / "model", adata=False, accelerator="cpu")
    with pytest.raises(ValueError, match="has no MuData of its own"):
        without.get_latent_representation()
    found = without.get_latent_representation(dataloader=datamodule.inference_dataloader())
    np.testing.assert_allclose(found, latents, rtol=1e-5)
    np.testing.assert_allclose(without.get_latent_representation(mdata), latents, rtol=1e-4, atol=1e-5)
    loaded = vennvi.VennVI.load(tmp_path / "model", adata=mdata, accelerator="cpu")
    np.testing.assert_allclose(loaded.get_latent_representation(), latents, rtol=1e-4, atol=1e-5)
    assert list(loaded.predict("rna", "atac").columns) == list(mdata["rna"].var_names)


def test_a_model_from_disk_takes_no_query_for_its_own(mdata, collection):
    """It reads its own cells from disk, and trains on from there, whatever it was given meanwhile."""
    datamodule = vennvi.data.AnnbatchMuDataModule(collection)
    model = vennvi.MMVAEPlusPlus(registry=datamodule.registry, n_shared=3, n_private=2, n_hidden=16)
    options = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}
    model.train(datamodule=datamodule, **options)
    latents, query = model.get_latent_representation(), mdata[:40].copy()
    for _ in range(2):
        model.predict("rna", "atac", mdata=query)
        assert len(model.predictive_coverage("protein", mdata=query, n_samples=20))
        table = model.variance_explained(query)
        pd.testing.assert_frame_equal(table, model.variance_explained(query, indices=np.arange(40)))
    only = mudata.MuData({"rna": mdata["rna"]})
    only.obs = mdata.obs.loc[only.obs_names]
    expected = model.predict("atac", "rna", mdata=mdata, library_size=5)
    found = model.predict("atac", "rna", mdata=only, library_size=5)
    np.testing.assert_allclose(found, expected.loc[only.obs_names], rtol=1e-4, atol=1e-6)
    assert model.adata is None
    np.testing.assert_allclose(model.get_latent_representation(), latents, rtol=1e-5)
    with pytest.raises(ValueError, match="pass `datamodule`"):
        model.train(**options)
    model.train(datamodule=datamodule, **options)


def test_the_split_of_a_shuffled_collection_holds_for_its_mudata(mdata, tmp_path):
    path = vennvi.data.write_collection(mdata, tmp_path / "toy.zarr", shuffle=True, cells_per_dataset=35, **SETUP)
    datamodule = vennvi.data.AnnbatchMuDataModule(path)
    model = vennvi.MMVAE(registry=datamodule.registry, n_shared=3, n_private=2, n_hidden=16)
    model.train(max_epochs=1, train_size=0.6, datamodule=datamodule, accelerator="cpu", enable_progress_bar=False)
    model.save(tmp_path / "model")
    loaded = vennvi.MMVAE.load(tmp_path / "model", adata=mdata, accelerator="cpu")
    for split in ("train", "validation", "test"):
        rows, found = getattr(model, f"{split}_indices"), getattr(loaded, f"{split}_indices")
        assert list(mdata.obs_names[found]) == list(datamodule.obs_names[rows])


def _peak_of_reading(path) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        datamodule = vennvi.data.AnnbatchMuDataModule(path, batch_size=64, chunk_size=64, preload_nchunks=4)
        for _ in datamodule.train_dataloader():
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_cells(tmp_path, monkeypatch):
    """Writing reads some cells at a time; of reading, one cell more costs a tenth of its data at most."""
    from vennvi.data import _summary, _write_collection

    monkeypatch.setattr(_write_collection, "_READ", 250)
    monkeypatch.setattr(_summary, "_CHUNK", 250)
    reads, peaks, sizes = [], [], []
    take = _write_collection.MuDataset.__getitem__
    monkeypatch.setattr(
        _write_collection.MuDataset, "__getitem__", lambda self, rows: reads.append(len(rows)) or take(self, rows)
    )
    for n_obs in (500, 500, 2000):  # the first to warm up
        rng = np.random.default_rng(0)
        counts = sparse.csr_matrix(rng.poisson(1.0, size=(n_obs, 1000)).astype(np.float32))
        matrices = {"a": counts, "b": rng.random((n_obs, 300), dtype=np.float32)}
        names = {m: pd.DataFrame(index=[f"{m}{j}" for j in range(x.shape[1])]) for m, x in matrices.items()}
        mudata.MuData({m: mudata.AnnData(x, var=names[m]) for m, x in matrices.items()}).write(tmp_path / "data.h5mu")
        sizes.append(counts.data.nbytes + counts.indices.nbytes + matrices["b"].nbytes)
        path = vennvi.data.write_collection(
            tmp_path / "data.h5mu", tmp_path / "data.zarr", cells_per_dataset=500, overwrite=True
        )
        peaks.append(min(_peak_of_reading(path) for _ in range(3)))  # threads of other tests may allocate meanwhile
    assert sum(reads) == 500 + 500 + 2000
    assert max(reads) == 250
    assert peaks[2] - peaks[1] < 0.1 * (sizes[2] - sizes[1])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"batch_key": "donor"}, KeyError, "`batch_key` names 'donor'"),
        ({"layers": {"rna": "raw"}}, KeyError, "'rna' has no layer 'raw'"),
        ({"cells_per_dataset": 0}, ValueError, "`cells_per_dataset` is 0"),
        ({"batch_key": "day"}, TypeError, r"`batch_key`: 'day' holds dates.*mdata.obs\['day'\].astype\(str\)"),
        ({"categorical_covariate_keys": ["week"]}, TypeError, "'week' holds dates"),
    ],
)
def test_refuses_before_anything_is_written(mdata, tmp_path, change, error, words):
    mdata = mdata.copy()
    mdata.obs["day"] = pd.to_datetime("2024-01-01") + pd.to_timedelta(np.arange(mdata.n_obs) % 2, unit="D")
    mdata.obs["week"] = mdata.obs["day"].astype("category")
    with pytest.raises(error, match=words):
        vennvi.data.write_collection(mdata, tmp_path / "out" / "toy.zarr", **change)
    assert not list(tmp_path.rglob("*toy*"))


def test_refuses_what_is_no_mudata_and_what_exists(mdata, collection, tmp_path):
    with pytest.raises(TypeError, match="Expected a MuData or the path of one, got AnnData"):
        vennvi.data.write_collection(mdata["rna"], tmp_path / "x.zarr")
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.h5mu"):
        vennvi.data.write_collection(tmp_path / "none.h5mu", tmp_path / "x.zarr")
    (tmp_path / "text.h5mu").write_text("no")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        vennvi.data.write_collection(tmp_path / "text.h5mu", tmp_path / "x.zarr")
    mdata["rna"].write(tmp_path / "rna.h5ad")
    with pytest.raises(ValueError, match="is not a MuData"):
        vennvi.data.write_collection(tmp_path / "rna.h5ad", tmp_path / "x.zarr")
    with pytest.raises(FileExistsError, match="exists already"):
        vennvi.data.write_collection(mdata, collection)
    with pytest.raises(ValueError, match="is a view"):
        vennvi.data.write_collection(mdata[:5], tmp_path / "x.zarr")
    (tmp_path / "old.zarr").mkdir()
    mdata["protein"].X[0, 0] = np.inf
    with pytest.raises(ValueError, match="'protein' holds infinite"):
        vennvi.data.write_collection(mdata, tmp_path / "old.zarr", overwrite=True)
    assert sorted(path.name for path in tmp_path.glob("*.zarr")) == ["old.zarr"]  # as it was
    assert not list((tmp_path / "old.zarr").iterdir())


def test_parts_of_a_split_that_are_left_out_are_empty(collection):
    train, test = np.arange(0, N_OBS, 2), np.arange(1, N_OBS, 2)
    for given, sizes in (
        ([train, None, test], (len(train), 0, len(test))),
        ([train, test], (len(train), len(test), 0)),
        ([train], (len(train), 0, 0)),
    ):
        datamodule = vennvi.data.AnnbatchMuDataModule(collection, external_indexing=given)
        assert (datamodule.n_train, datamodule.n_val, len(datamodule.test_idx)) == sizes
        np.testing.assert_array_equal(datamodule.train_idx, train)


def test_refuses_what_does_not_belong_together(mdata, collection, tmp_path):
    Module, cls = vennvi.data.AnnbatchMuDataModule, vennvi.MMVAE
    with pytest.raises(FileNotFoundError, match="no folder"):
        Module(tmp_path / "none.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match="is not a collection of vennvi's"):
        Module(tmp_path / "empty.zarr")
    with pytest.raises(ValueError, match="`batch_size` is 0"):
        Module(collection, batch_size=0)
    with pytest.raises(IndexError):
        Module(collection, external_indexing=[[0, N_OBS]])
    with pytest.raises(ValueError, match="names a cell twice"):
        Module(collection, external_indexing=[[0, 1, 2], None, [2, 3]])
    with pytest.raises(ValueError, match="has 4 parts"):
        Module(collection, external_indexing=[[0], [1], [2], [3]])
    datamodule = Module(collection)
    with pytest.raises(ValueError, match="not more than 1 together"):
        datamodule.set_split(0.8, 0.3)
    options = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}
    model = cls(registry=datamodule.registry)
    with pytest.raises(ValueError, match="pass `datamodule`"):
        model.train(**options)
    with pytest.raises(ValueError, match=r"`datasplitter_kwargs` \(external_indexing\) are for data in memory"):
        model.train(datamodule=datamodule, datasplitter_kwargs={"external_indexing": [[0], None, [1]]}, **options)
    other = Module(vennvi.data.write_collection(mdata[:, mdata.var_names[1:]].copy(), tmp_path / "other.zarr"))
    with pytest.raises(ValueError, match="variables of modality 'rna'"):
        model.train(datamodule=other, **options)
    model.train(datamodule=datamodule, **options)
    with pytest.raises(ValueError, match="pass it without `mdata` and `indices`"):
        model.get_latent_representation(indices=[1], dataloader=datamodule.inference_dataloader())
    cls.setup_mudata(mdata, **SETUP)
    with pytest.raises(ValueError, match="for a model made without a MuData"):
        cls(mdata).train(datamodule=datamodule, **options)


@pytest.mark.parametrize("name", ["cells", "statistics", "a/b", "/absolute"])
def test_modalities_of_any_name(name, tmp_path):
    mdata = toy()
    mdata = mudata.MuData({name: mdata["rna"], "atac": mdata["atac"]})
    path = vennvi.data.write_collection(mdata, tmp_path / "in" / "toy.zarr", cells_per_dataset=35)
    assert [entry.name for entry in path.parent.iterdir()] == ["toy.zarr"]
    datamodule = vennvi.data.AnnbatchMuDataModule(path)
    batch = next(iter(datamodule.inference_dataloader(batch_size=N_OBS)))
    rows = np.asarray(mdata.obsmap[name]).ravel().astype(int)
    expected = np.zeros((N_OBS, mdata[name].n_vars))
    expected[rows > 0] = mdata[name].X.toarray()[rows[rows > 0] - 1]
    np.testing.assert_array_equal(dense(batch[f"X_{name}"]), expected)
    vennvi.MVAE(registry=datamodule.registry, n_shared=2, n_private=2).train(
        1, datamodule=datamodule, accelerator="cpu", enable_progress_bar=False
    )


def test_data_are_not_overwritten_by_their_collection(mdata, tmp_path):
    source = tmp_path / "folder" / "toy.h5mu"
    source.parent.mkdir()
    mdata.write(source)
    before = source.read_bytes()
    for out in (source, source.parent, tmp_path):
        with pytest.raises(FileExistsError, match="holds the data that are to be read"):
            vennvi.data.write_collection(source, out, overwrite=True)
    backed = mudata.read_h5mu(source, backed="r")
    with pytest.raises(FileExistsError, match="holds the data that are to be read"):
        vennvi.data.write_collection(backed, source.parent, overwrite=True)
    backed.file.close()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="is not a collection of vennvi's, so it is not overwritten"):
        vennvi.data.write_collection(source, tmp_path / "notes", overwrite=True)
    assert source.read_bytes() == before
    assert (tmp_path / "notes" / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("batches", "The categories of field 'batch'"),
        ("no batch", "The categories of field 'batch'"),
        ("variables", "The variables of modality 'rna'"),
        ("no atac", "has no modality 'atac'"),
        ("covariates", "'extra_continuous_covs'"),
    ],
)
def test_another_collection_has_to_be_set_up_alike(change, words, mdata, collection, tmp_path):
    model = vennvi.MMVAE(registry=vennvi.data.AnnbatchMuDataModule(collection).registry, n_shared=2, n_private=2)
    other, setup = toy(), dict(SETUP)
    if change == "batches":
        other.obs["batch"] = other.obs["batch"].cat.rename_categories({"a": "d"})
    elif change == "no batch":
        del setup["batch_key"]
    elif change == "variables":
        other.mod["rna"] = other["rna"][:, ::-1].copy()
        other.update()
    elif change == "no atac":
        setup["layers"] = ["rna", "protein"]
    else:
        setup["continuous_covariate_keys"] = ["age", "other"]
        other.obs["other"] = 1.0
    datamodule = vennvi.data.AnnbatchMuDataModule(vennvi.data.write_collection(other, tmp_path / "other.zarr", **setup))
    with pytest.raises(ValueError, match=f"(`datamodule`.*)?{words}"):
        model.train(1, datamodule=datamodule, accelerator="cpu")
    model.is_trained = True
    with pytest.raises(ValueError, match=words):
        model.get_latent_representation(dataloader=datamodule.inference_dataloader())


def test_someone_has_to_be_trained_on(collection):
    datamodule = vennvi.data.AnnbatchMuDataModule(collection, external_indexing=[None, np.arange(N_OBS)])
    model = vennvi.VennVI(registry=datamodule.registry, n_shared=2, n_private=2)
    with pytest.raises(ValueError, match="no cell to train on"):
        model.train(1, datamodule=datamodule, accelerator="cpu")
    with pytest.raises(ValueError, match="`batch_size` is 0"):
        datamodule.set_batch_size(0)
