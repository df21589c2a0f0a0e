"""Configuration of the documentation."""

from __future__ import annotations

import os
from importlib.metadata import version as installed_version

project = "vennvi"
author = "The vennvi developers"
copyright = author
version = release = installed_version("vennvi")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
]
if "READTHEDOCS" in os.environ:  # reads the inventories of other projects: needs the network
    extensions.append("sphinx.ext.intersphinx")
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", None),
    "anndata": ("https://anndata.readthedocs.io/en/stable", None),
    "mudata": ("https://mudata.readthedocs.io/stable", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "pandas": ("https://pandas.pydata.org/docs", None),
    "scvi": ("https://docs.scvi-tools.org/en/stable", None),
    "torch": ("https://docs.pytorch.org/docs/stable", None),
}

templates_path = ["_templates"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature is enough: types live in annotations
numpydoc_show_class_members = False

html_theme = "sphinx_book_theme"
html_title = "vennvi"
html_theme_options = {"repository_url": "https://github.com/vennvi/vennvi", "use_repository_button": True}
html_copy_source = False
html_static_path = ["_static"]
