"""The report: its structure by an HTML parser, and what a browser makes of it."""

from __future__ import annotations

import base64
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from toy import toy_mudata
from typer.testing import CliRunner

import vennvi
from vennvi import MMVAEPlusPlus, pl
from vennvi.cli import app
from vennvi.model._report_features import feature_sections
from vennvi.pl._palette import PALETTE
from vennvi.report import Section, render

PNG = b"\x89PNG\r\n"
VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """Headings, images, tables and addresses; complains of tags that are not closed in turn."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.images: list[dict] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attributes)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        self.ids += [attributes["id"]] if "id" in attributes else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        self.words.append(data)


def _model(mdata, train_size=0.6, **setup):
    MMVAEPlusPlus.setup_mudata(mdata, **setup)
    model = MMVAEPlusPlus(mdata, n_shared=3, n_private=2, n_hidden=16)
    model.train(max_epochs=2, train_size=train_size, accelerator="cpu")
    return model


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    mdata = vennvi.data.simulate_multiome(n_obs=250, n_genes=30, n_peaks=60)
    model = _model(mdata, batch_key="batch", labels_key="cell_type")
    path = model.report(mdata, tmp_path_factory.mktemp("report") / "report.html", labels=["cell_type"], umap=False)
    return model, path


def test_sections_images_and_nothing_from_outside(written):
    text = written[1].read_text(encoding="utf-8")
    page = Page(text)
    assert page.headings == [
        "Data and model", "Findings", "Do the modalities share a signal", "What is read from which space",
        "What the latents explain", "Which features are shared", "Features of the shared dimensions",
        "Features of the private dimensions", "Predicting one modality from the others", "Predicted labels", "Training",
        "Settings and versions",
    ]  # fmt: skip
    assert len(page.images) == 13
    for image in page.images:
        assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")).startswith(PNG)
        assert image["alt"]
        assert (
            int.from_bytes(base64.b64decode(image["src"].partition(",")[2])[16:20], "big")
            >= 2 * int(image["width"]) - 1
        )
    for address in page.addresses:
        assert address.startswith(("data:", "#"))
        if address.startswith("#"):
            assert address[1:] in page.ids
    for outside in ("http://", "https://", "@import", "url(", "<script"):
        assert outside not in text
    assert 'name="viewport"' in text


def test_findings_settings_and_versions_are_there(written):
    model, path = written
    words = "".join(Page(path.read_text(encoding="utf-8")).words)
    for verdict in model.diagnose(labels=["cell_type"]).verdicts:
        assert verdict.partition(": ")[2] in words
    for expected in ("n_shared", "batch_key", vennvi.__version__, "250 cells (trained on 150, 100 held out)"):
        assert expected in words


def test_the_most_shared_features_are_those_of_the_test(written):
    model, path = written
    words = Page(path.read_text(encoding="utf-8")).words
    for m in ("rna", "atac"):
        found = model.shared_features(m)
        n_found = (found["q_value"] <= 0.05).sum()
        start = (
            f"{m} from the others: {n_found} of {found['q_value'].notna().sum()} features with q ≤ 0.05 on 100 cells"
        )
        (at,) = [i for i, word in enumerate(words) if word.startswith(start)]
        shown = [word for word in words[at:] if word in found.index][:20]
        assert sorted(found.loc[shown, "q_value"]) == sorted(found["q_value"].nsmallest(20))


def test_tests_of_features_read_no_more_cells_than_they_should(written, monkeypatch):
    model, _ = written
    monkeypatch.setattr("vennvi.model._report_features.MOST_TESTED", 40 * 60)
    monkeypatch.setattr("vennvi.model._report_features.LEAST_CELLS", 30)
    cells = np.sort(np.r_[model.validation_indices, model.test_indices])
    sections = {section.title: section for section in feature_sections(model, model.adata, cells)}
    captions = list(sections["Which features are shared"].tables)
    assert [re.search(r"on (\d+) cells", caption)[1] for caption in captions] == ["80", "40"]


def test_validation_cells_are_spoken_of_if_there_are_curves(written, tmp_path):
    def words(path):
        return "".join(Page(path.read_text(encoding="utf-8")).words)

    assert "training cells solid" not in words(written[1])
    mdata = toy_mudata(2)
    MMVAEPlusPlus.setup_mudata(mdata)
    model = MMVAEPlusPlus(mdata, n_shared=2, n_private=1, n_hidden=8)
    model.train(max_epochs=2, train_size=0.6, accelerator="cpu", check_val_every_n_epoch=1)
    path = model.report(path=tmp_path / "report.html", umap=False)
    assert "training cells solid, validation cells dashed" in words(path)


def test_colours_and_order_of_scanpy(written, monkeypatch):
    model, _ = written
    mdata = model.adata.copy()
    order = sorted(mdata.obs["cell_type"].unique(), reverse=True)
    mdata.obs["cell_type"] = pd.Categorical(mdata.obs["cell_type"].astype(str), categories=order)
    mdata.uns["cell_type_colors"] = [f"#{k}0{k}0{k}0" for k in range(len(order))]
    mdata.obs["rna:phase"] = pd.Categorical(np.where(np.arange(mdata.n_obs) % 2, "S", "G1"))
    mdata["rna"].uns["phase_colors"] = np.array(["#aa0000", "#00aa00"])
    mdata.uns["batch_colors"] = ["#123456"]  # too few
    figures = []
    draw = pl.spaces
    monkeypatch.setattr("vennvi.model._report._umap", lambda latent, seed: latent[:, :2])
    monkeypatch.setattr(pl, "spaces", lambda *args, **kwargs: figures.append(draw(*args, **kwargs)) or figures[0])
    model._umap_section(mdata, np.arange(0, 250, 2), ["cell_type", "rna:phase"], None, 0)
    columns = {ax.get_title(): ax for ax in figures[0].axes[:3]}
    assert list(columns) == ["cell_type", "rna:phase", "batch"]
    legends = [ax.get_legend() for ax in figures[0].axes[-3:]]
    assert [text.get_text() for text in legends[0].get_texts()] == order
    for legend, colors in zip(legends, (mdata.uns["cell_type_colors"], ["#aa0000"], PALETTE), strict=True):
        handles = [handle.get_color() for handle in legend.legend_handles]
        assert handles == list(colors)[: len(handles)]
    phase = {to_hex(color) for color in columns["rna:phase"].collections[0].get_facecolors()}
    assert phase == {"#aa0000"}  # every other cell


@pytest.mark.parametrize("dtype", ["category", object])
def test_colours_are_those_of_all_categories(written, monkeypatch, dtype):
    """Also if the cells that are drawn are of some of them only."""
    model, _ = written
    mdata = model.adata.copy()
    mdata.obs["ty"] = pd.Series(["a", *["b", "c"] * 124, "b"], index=mdata.obs_names, dtype=dtype)
    mdata.uns["ty_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    given = {}
    monkeypatch.setattr("vennvi.model._report._umap", lambda latent, seed: latent[:, :2])
    draw = pl.spaces
    monkeypatch.setattr(pl, "spaces", lambda *args, **kwargs: given.setdefault("figure", draw(*args, **kwargs)))
    model._umap_section(mdata, np.arange(1, 250), ["ty"], None, 0)
    drawn = given["figure"].axes[0].collections[0].get_facecolors()
    assert {to_hex(color) for color in drawn} == {"#00ff00", "#0000ff"}


def test_labels_of_another_type_are_those_of_the_setup(tmp_path):
    mdata = toy_mudata(2)
    mdata.obs["ty"] = pd.Categorical(np.where(mdata.obs["label"] == "high", "1", "2"))
    model = _model(mdata, labels_key="ty")
    new = toy_mudata(2, seed=1)
    new.obs["ty"] = np.where(new.obs["label"] == "high", 1, 2)  # as read from a table
    page = Page(model.report(new, tmp_path / "report.html", umap=False).read_text(encoding="utf-8"))
    assert "Predicted labels" in page.headings
    assert "get the right ty" in " ".join(page.words)


def test_a_report_with_a_seed_is_the_same_again(written, tmp_path):
    model, _ = written
    first, second = (model.report(path=tmp_path / f"{i}.html", umap=False, seed=1).read_text() for i in range(2))
    assert first == second


def test_texts_are_escaped():
    table = pd.DataFrame({"<b>": ["a & <i>"], "x": [0.123456]})
    page = render("<t>", [Section("<h>", "<p>", ("check: <v>",), tables={"<c>": table})])
    for raw in ("<t>", "<v>", "<c>", "<i>"):
        assert raw not in page
    assert "0.123" in page
    assert "0.1234" not in page


def test_a_failed_report_leaves_the_old_one(written, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr("vennvi.model._report.render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        written[0].report(path=path, umap=False)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "old"


def test_trained_on_all_cells_says_so(tmp_path):
    model = _model(toy_mudata(), train_size=1.0)
    page = Page(model.report(path=tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.headings == ["Data and model", "Held-out cells", "Training", "Settings and versions"]
    assert any("train_size=0.8" in word for word in page.words)


@pytest.mark.parametrize(
    "umap", [pytest.param(False, id="no-umaps"), pytest.param(True, id="umaps", marks=pytest.mark.slow)]
)
def test_absent_cells_and_three_modalities(tmp_path, umap):
    model = _model(toy_mudata(absent=True, missing_entries=True, permuted=True), batch_key="batch")
    with pytest.raises(KeyError, match="labels"):
        model.report(path=tmp_path / "report.html", labels=["nowhere"])
    with pytest.raises(ValueError, match=r"data.h5mu'?: give the report the ending .html"):
        model.report(path="data.h5mu")
    page = Page(model.report(path=tmp_path / "report.html", labels="label", umap=umap).read_text(encoding="utf-8"))
    assert ("The latent spaces" in page.headings) == umap
    assert "Predicted labels" not in page.headings


@pytest.mark.parametrize("lacking", ["pairs", "a modality", "unique names"])
def test_data_that_lack_something_are_reported_on(lacking, tmp_path):
    mdata = toy_mudata(2)
    if lacking == "unique names":
        names = mdata["rna"].var_names.to_numpy().astype(object)
        names[1] = names[0]
        mdata["rna"].var_names = names
    model = _model(mdata)
    new = toy_mudata(2, seed=1)
    if lacking == "pairs":
        new = type(new)({"rna": new["rna"][:33].copy(), "atac": new["atac"][27:].copy()})
    elif lacking == "a modality":
        new = type(new)({"rna": new["rna"].copy()})
    else:
        new["rna"].var_names = mdata["rna"].var_names
    page = Page(model.report(new, tmp_path / "report.html", umap=False).read_text(encoding="utf-8"))
    assert "Do the modalities share a signal" in page.headings
    assert ("No two modalities have 10 observations in common." in " ".join(page.words)) == (lacking != "unique names")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_command(tmp_path):
    mdata = toy_mudata(2)
    _model(mdata, batch_key="batch").save(tmp_path / "model")
    mdata.write(tmp_path / "data.h5mu")
    arguments = ["report", tmp_path / "model", tmp_path / "data.h5mu", tmp_path / "report.html", "--no-umap"]
    for more in ([], ["--new-data", "--label", "label"]):
        result = CliRunner().invoke(app, [str(a) for a in (*arguments, *more)])
        assert result.exit_code == 0, result.output
        assert "Findings" in Page((tmp_path / "report.html").read_text(encoding="utf-8")).headings
    result = CliRunner().invoke(app, [str(a) for a in (*arguments, "--label", "nowhere")])
    assert result.exit_code == 2
    assert "'nowhere'" in result.output


@pytest.fixture(scope="module")
def written_of_four(tmp_path_factory):
    model = _model(toy_mudata(4, absent=True), batch_key="batch")
    return model, model.report(path=tmp_path_factory.mktemp("report") / "report.html", labels="label")


@pytest.mark.slow
@pytest.mark.parametrize(("fixture", "n_images"), [("written", 13), ("written_of_four", 19)])
def test_in_a_browser(request, fixture, n_images):
    """No console message, no request, every image drawn, and nothing wider than a phone."""
    address = request.getfixturevalue(fixture)[1].as_uri()
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as p:
        try:
            browser = p.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(
                f"no browser: `playwright install chromium`, or install chromium ({error.message.splitlines()[0]})"
            )
        for width in (390, 1200):
            page = browser.new_page(viewport={"width": width, "height": 800})
            said, asked = [], []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(address)
            assert said == []
            assert [url for url in asked if not url.startswith("data:")] == [address]
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            right = page.evaluate("[...document.images].map(i => i.getBoundingClientRect().right)")
            assert 0 < max(right) <= width
            drawn = page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
            assert len(drawn) == n_images
            assert all(drawn)
        browser.close()
