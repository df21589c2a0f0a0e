"""What a report is made of: sections with text, verdicts, tables and images."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from io import BytesIO

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_DPI = 192  # two dots a pixel of the page


@dataclass(frozen=True)
class Image:
    """A figure inlined into the page."""

    source: str
    """PNG as a ``data:`` address."""
    alt: str
    """What it shows, for those who cannot see it."""
    width: int
    """Width in pixels of the page."""


@dataclass(frozen=True)
class Section:
    """One heading of the report and what is below it."""

    title: str
    text: str = ""
    """A plain sentence or two: what is seen, and how it is read."""
    verdicts: tuple[str, ...] = ()
    """Sentences that start with ``"ok: "`` or ``"check: "``."""
    images: tuple[Image, ...] = ()
    folded_images: dict[str, Image] = field(default_factory=dict)
    """Images by caption that are closed at first."""
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Tables by caption."""
    folded: bool = False
    """Whether the tables are closed at first."""


def image(drawn: Figure | Axes, alt: str) -> Image:
    """Turn a matplotlib figure (or that of some axes) into an image for the page, and close it."""
    figure = drawn.get_figure(root=True) if isinstance(drawn, Axes) else drawn
    assert isinstance(figure, Figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight", pil_kwargs={"optimize": True})
    plt.close(figure)
    png = buffer.getvalue()
    width = int.from_bytes(png[16:20], "big")  # of the PNG's header
    return Image(f"data:image/png;base64,{b64encode(png).decode()}", alt, round(width * 96 / _DPI))
