"""Sections to one HTML page that asks nothing of the network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vennvi.report._content import Section


def render(title: str, sections: Sequence[Section]) -> str:
    """Page with a heading for each section; everything it shows is in it.

    Examples
    --------
    >>> page = render("My <model>", [Section("Cells", text="1 < 2")])
    >>> "My &lt;model&gt;" in page, "1 &lt; 2" in page, page.count("<h2")
    (True, True, 1)
    """
    environment = Environment(
        loader=PackageLoader("vennvi.report", "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["table"] = _table
    return environment.get_template("report.html.j2").render(title=title, sections=sections)


def _table(frame: pd.DataFrame) -> Markup:
    """HTML of a table, its texts escaped, its numbers short and to the right."""
    shown = frame.copy()
    for j, name in enumerate(shown.columns):
        if pd.api.types.is_float_dtype(frame.iloc[:, j]):
            shown[name] = [_short(value) for value in frame.iloc[:, j]]
    named = frame.index.name is not None or not isinstance(frame.index, pd.RangeIndex)
    return Markup(shown.to_html(index=named, border=0, na_rep="", justify="left", classes="table"))


def _short(value: float) -> str:
    if not np.isfinite(value):
        return ""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.3g}"
