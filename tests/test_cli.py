"""The command line, end to end on small data."""

from __future__ import annotations

import mudata
import numpy as np
import pytest
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
        (["--lr", "1e30", "--max-epochs", "2"], "loss is not finite"),
    ],
)
def test_fit_refuses_before_writing(run, tmp_path, arguments, words):
    toy_mudata(2).write(tmp_path / "in.h5mu")
    target = tmp_path / "out.h5mu"
    result = run("fit", tmp_path / "in.h5mu", target, *(a.format(target=target) for a in arguments))
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "out.h5mu").exists()


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
