"""The report: its structure by an HTML parser, and what a browser makes of it."""

from __future__ import annotations

import base64
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
from toy import toy_mudata
from typer.testing import CliRunner

import vennvi
from vennvi import MMVAEPlusPlus
from vennvi.cli import app
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
        "What the latents explain", "Features of the shared dimensions", "Predicting one modality from the others",
        "Predicted labels", "Training", "Settings and versions",
    ]  # fmt: skip
    assert len(page.images) == 9
    for image in page.images:
        assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")).startswith(PNG)
        assert image["alt"]
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
    page = Page(model.report(path=tmp_path / "report.html", labels="label", umap=umap).read_text(encoding="utf-8"))
    assert ("The latent spaces" in page.headings) == umap
    assert "Predicted labels" not in page.headings


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


@pytest.mark.slow
def test_in_a_browser(written):
    """No console message, no request, every image drawn, and nothing wider than a phone."""
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
            page.goto(written[1].as_uri())
            assert said == []
            assert [url for url in asked if not url.startswith("data:")] == [written[1].as_uri()]
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            drawn = page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
            assert len(drawn) == 9
            assert all(drawn)
        browser.close()
