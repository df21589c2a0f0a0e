"""One self-contained HTML file about a trained model."""

from vennvi.report._content import Image, Section, image
from vennvi.report._render import render

__all__ = ["Image", "Section", "image", "render"]
