"""The command line, end to end on small data."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import mudata
import numpy as np
import pytest
from lightning.pytorch.callbacks import LambdaCallback
from matplotlib.image import imread
from toy import toy_mudata
from typer.testing import CliRunner

import vennvi
from vennvi.cli import app

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.slow
def test_demo(run, tmp_path):
    result = run("demo", "--out", tmp_path, "--cells", 300, "--max-epochs", 3)
    assert result.exit_code == 0, result.output
    for words in ("private atac", "shared factor", "(accuracy)", "demo.h5mu"):
        assert words in result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo.h5mu", "demo.png"]
    mdata = mudata.read_h5mu(tmp_path / "demo.h5mu")
    assert mdata.obsm["X_shared"].shape == (300, 5)
    assert mdata.obsm["X_umap"].shape == mdata["rna"].obsm["X_umap"].shape == (300, 2)
    assert min(imread(tmp_path / "demo.png").shape[:2]) > 500


def test_fit(run, tmp_path):
    toy_mudata(3, absent=True).write(tmp_path / "in.h5mu")
    result = run(
        "fit", tmp_path / "in.h5mu", tmp_path / "out.h5mu", "--model", "MMVAE", "--layer", "rna", "--layer", "protein",
        "--likelihood", "rna=poisson", "--batch-key", "batch", "--n-shared", 3, "--n-private", 2, "--max-epochs", 2,
        "--key-suffix", "_x", "--save", tmp_path / "model",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    mdata = mudata.read_h5mu(tmp_path / "out.h5mu")
    assert mdata.obsm["X_shared_x"].shape == (60, 3)
    assert mdata["rna"].obsm["X_private_x"].shape == (mdata["rna"].n_obs, 2)
    assert "X_private_x" not in mdata["atac"].obsm
    model = vennvi.MMVAE.load(tmp_path / "model", adata=mdata)
    np.testing.assert_allclose(model.get_latent_representation(), mdata.obsm["X_shared_x"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch-key", "donor"], "`batch_key` names 'donor'"),
        (["--layer", "rna=counts"], "'rna' has no layer 'counts'"),
        (["--likelihood", "rna=bernoulli"], "'bernoulli' does not fit modality 'rna'"),
        (["--likelihood", "rna"], "MODALITY=VALUE"),
        (["--layer", "rna", "--layer", "rna"], "'rna' comes twice"),
        (["--key-suffix", "/a"], "slash"),
        (["--save", "/proc/none/model"], "/proc/none"),
        (["--save", "{target}"], "folder of its own"),
        (["--save", "{folder}"], "folder of its own"),
        (["--save", "{target}/model"], "folder of its own"),
        (["--lr", "1e30", "--max-epochs", "2"], "loss is not finite"),
        (["--lr", "0"], "0.0 is not above 0"),
        (["--seed", str(2**32)], "--seed"),
        (["--batch-key", "own"], "at the command line 'rna:own'"),
        (["--categorical", "rna:own", "--categorical", "sex"], "not all in one .obs"),
        (["--size-factor", "rna"], "MODALITY=VALUE"),
    ],
)
def test_fit_refuses_before_writing(run, tmp_path, arguments, words):
    mdata = toy_mudata(2)
    mdata["rna"].obs["own"] = mdata.obs["sex"].astype(str).to_numpy()
    mdata.write(tmp_path / "in.h5mu")
    target = tmp_path / "out.h5mu"
    given = [a.format(target=target, folder=tmp_path / "results") for a in arguments]
    out = tmp_path / "results" / "out.h5mu" if "{folder}" in arguments else target
    result = run("fit", tmp_path / "in.h5mu", out, *given)
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5mu"]


def test_fit_writes_the_same_for_the_same_seed_and_nothing_but_the_latents(run, tmp_path):
    mdata = toy_mudata(2)
    mdata.obs["_scvi_batch"], mdata["rna"].uns["_scvi_uuid"] = 7, "another model's"
    mdata["rna"].obs["own"] = mdata.obs["batch"].astype(str).to_numpy()
    mdata.write(tmp_path / "in.h5mu", compression="gzip")
    covariates = ["--batch-key", "rna:own", "--categorical", "sex", "--continuous", "age"]
    for out in ("one[red].h5mu", "two.h5mu"):
        result = run(
            "fit", tmp_path / "in.h5mu", tmp_path / out, "--max-epochs", 2, "--labels-key", "label", *covariates
        )
        assert result.exit_code == 0, result.output
        assert f"Wrote {tmp_path / out}: " in result.stdout
        assert result.stdout.count("\n") == 1, "what else there is to say goes to standard error"
    assert (tmp_path / "one[red].h5mu").read_bytes() == (tmp_path / "two.h5mu").read_bytes()
    before, after = (mudata.read_h5mu(tmp_path / name) for name in ("in.h5mu", "two.h5mu"))
    assert list(after.obs) == list(before.obs)
    assert (after.obs["_scvi_batch"] == 7).all()
    assert set(after.obsm) == {*before.obsm, "X_shared"}
    assert list(after.uns) == list(before.uns)
    for m in before.mod:
        assert list(after[m].obs) == list(before[m].obs)
        assert set(after[m].obsm) - set(before[m].obsm) == {"X_shared", "X_private"}
        assert dict(after[m].uns) == dict(before[m].uns)


def test_fit_passes_covariates_on(run, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(vennvi.MVAE, "train", lambda model, **_: seen.update(model.registry["setup_args"]))
    monkeypatch.setattr(vennvi.MVAE, "write_latents", lambda *_, **__: None)
    mdata = toy_mudata(2)
    mdata.mod["a=b:c"] = mdata.mod.pop("atac")
    mdata = mudata.MuData(dict(mdata.mod))
    mdata["a=b:c"].obs["lab"] = "x"
    mdata["rna"].obs["size"], mdata["rna"].layers["log=2"] = 1.5, mdata["rna"].X.copy()
    mdata.obs["a:x"] = 1.0
    mdata.write(tmp_path / "in.h5mu")
    result = run(
        "fit", tmp_path / "in.h5mu", tmp_path / "out.h5mu", "--model", "MVAE", "--layer", "a=b:c", "--layer", "rna=log=2",
        "--labels-key", "a=b:c:lab", "--size-factor", "rna=size", "--continuous", "a:x",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert seen["layers"] == {"a=b:c": None, "rna": "log=2"}
    assert (seen["labels_key"], seen["modalities"]) == ("lab", {"labels_key": "a=b:c"})
    assert (seen["size_factor_key"], seen["continuous_covariate_keys"]) == ({"rna": "size"}, ["a:x"])


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")]
)
def test_what_a_signal_ends_says_so(run, tmp_path, monkeypatch, number, status, word):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    ours = logging.getLogger("scvi.vennvi")
    logged = (ours.handlers, ours.level, ours.propagate)
    train = vennvi.VennVI.train
    kill = LambdaCallback(on_train_epoch_end=lambda *_: os.kill(os.getpid(), number))
    monkeypatch.setattr(vennvi.VennVI, "train", lambda model, **options: train(model, callbacks=[kill], **options))
    toy_mudata(2).write(tmp_path / "in.h5mu")
    (tmp_path / "out.h5mu").write_text("before")
    result = run("fit", tmp_path / "in.h5mu", tmp_path / "out.h5mu", "--save", tmp_path / "model", "--max-epochs", 50)
    assert result.exit_code == status
    assert f"{word}." in result.stderr
    assert not result.stdout
    assert (tmp_path / "out.h5mu").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5mu", "out.h5mu"]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert (ours.handlers, ours.level, ours.propagate) == logged


def test_a_full_disk_leaves_the_model(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("unable to extend file")

    toy_mudata(2).write(tmp_path / "in.h5mu")
    monkeypatch.setattr(mudata.MuData, "write", full)
    model = tmp_path / "results" / "model"
    result = run("fit", tmp_path / "in.h5mu", tmp_path / "results" / "out.h5mu", "--max-epochs", 1, "--save", model)
    assert result.exit_code == 2
    assert f"Error: the trained model is in {model}; unable to extend file" in result.stderr
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["model"]
    assert vennvi.VennVI.load(model, adata=False, accelerator="cpu").is_trained


@pytest.mark.parametrize(
    "bug",
    [
        lambda *_, **__: np.zeros(2).reshape(3),
        lambda *_, **__: {}["labels"],
        lambda *_, **__: Path("/none").read_bytes(),
    ],
    ids=range(3),
)
def test_bugs_keep_their_traceback(run, tmp_path, monkeypatch, bug):
    """Of a library, or as ``vennvi`` itself would have them."""
    monkeypatch.setitem(bug.__globals__, "__name__", "vennvi.module")
    monkeypatch.setattr(vennvi.VennVI, "train", bug)
    toy_mudata(2).write(tmp_path / "in.h5mu")
    result = run("fit", tmp_path / "in.h5mu", tmp_path / "out.h5mu")
    assert result.exit_code == 1
    assert isinstance(result.exception, ValueError | KeyError | OSError)


def test_the_version_is_said(run):
    assert run("--version").output.strip() == f"vennvi {vennvi.__version__}"


def test_convert(run, tmp_path):
    pytest.importorskip("annbatch", reason="the extra ondisk needs Python 3.12 or newer")
    toy_mudata(3, absent=True).write(tmp_path / "in.h5mu")
    arguments = ["convert", tmp_path / "in.h5mu", tmp_path / "out.zarr", "--layer", "rna", "--layer", "protein"]
    result = run(*arguments, "--batch-key", "donor")
    assert result.exit_code == 2
    assert "`batch_key` names 'donor'" in result.output
    result = run(*arguments, "--batch-key", "batch", "--categorical", "sex", "--continuous", "age", "--shuffle")
    assert result.exit_code == 0, result.output
    datamodule = vennvi.data.AnnbatchMuDataModule(tmp_path / "out.zarr")
    assert datamodule.modalities == ("rna", "protein")
    assert list(datamodule.obs) == ["batch", "sex", "age"]
    result = run(*arguments)
    assert result.exit_code == 2
    assert "exists already" in " ".join(result.output.split())


@pytest.mark.parametrize("command", ["fit", "convert", "report"])
def test_what_is_no_mudata_is_said_without_a_traceback(run, tmp_path, command):
    if command == "convert":
        pytest.importorskip("annbatch")
    source = tmp_path / "in.h5mu"
    given = [tmp_path / "model"] if command == "report" else []
    if command == "report":
        vennvi.MMVAE.setup_mudata(mdata := toy_mudata(2))
        model = vennvi.MMVAE(mdata, n_shared=2, n_private=2)
        model.train(1, accelerator="cpu", enable_progress_bar=False)
        model.save(tmp_path / "model")
    target = tmp_path / {"fit": "out.h5mu", "convert": "out.zarr", "report": "out.html"}[command]
    toy_mudata(2)["rna"].write(tmp_path / "one.h5ad")
    for content in (b"no", b"", (tmp_path / "one.h5ad").read_bytes()):
        source.write_bytes(content)
        result = run(command, *given, source, target)
        assert result.exit_code == 2, result.output
        assert "Error: " in result.output
        assert "in.h5mu" in result.output
        assert not target.exists()


def test_what_cannot_be_written_is_said_before_training(run, tmp_path, monkeypatch):
    monkeypatch.setattr(vennvi.VennVI, "train", None)
    toy_mudata(2).write(tmp_path / "in.h5mu")
    (tmp_path / "folder.h5mu").mkdir()
    for target, words in (("folder.h5mu", "is a folder"), ("in.h5mu/out.h5mu", "in.h5mu"), ("out.h5ad", ".h5mu")):
        result = run("fit", tmp_path / "in.h5mu", tmp_path / target)
        assert result.exit_code == 2, result.output
        assert words in result.output


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder of a model, and its MuData beside it, with a column in a modality alone."""
    folder = tmp_path_factory.mktemp("saved")
    mdata = toy_mudata(2)
    mdata["rna"].obs["own"] = mdata.obs["label"].astype(str).to_numpy()
    mdata.write(folder / "in.h5mu")
    vennvi.MMVAE.setup_mudata(mdata)
    model = vennvi.MMVAE(mdata, n_shared=2, n_private=2)
    model.train(1, train_size=0.5, accelerator="cpu", enable_progress_bar=False)
    model.save(folder / "model")
    return folder


def test_report_reads_columns_of_a_modality(run, saved, tmp_path):
    target = tmp_path / "report.html"
    result = run(
        "report", saved / "model", saved / "in.h5mu", target, "--label", "rna:own", "--no-umap", "--max-cells", 30
    )
    assert result.exit_code == 0, result.output
    assert "rna:own" in target.read_text(encoding="utf-8")


def test_report_overwrites_no_data_and_says_what_is_wrong(run, saved, tmp_path):
    source = saved / "in.h5mu"
    before = source.read_bytes()
    result = run("report", saved / "model", source, source)
    assert result.exit_code == 2
    assert "give it the ending .html" in " ".join(result.output.replace("│", " ").split())
    assert source.read_bytes() == before
    mudata.MuData({"rna": toy_mudata(2)["rna"]}).write(tmp_path / "rna.h5mu")
    result = run("report", saved / "model", tmp_path / "rna.h5mu", tmp_path / "report.html")
    assert result.exit_code == 2
    assert "has no modality 'atac'" in result.stderr
    assert "pass --new-data" in result.stderr
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.pt").write_bytes((saved / "model" / "model.pt").read_bytes()[:5000])
    result = run("report", tmp_path / "broken", source, tmp_path / "report.html")
    assert result.exit_code == 2
    assert "broken cannot be read as a saved model" in result.stderr
    assert not (tmp_path / "report.html").exists()
