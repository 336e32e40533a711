"""Sphinx: the manual, from the pages in this folder. ``make docs`` builds it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import seism

project = "Seism"
author = "The Seism authors"
release = version = seism.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
# Links in pages are those that GitHub has: #anchors of headings, made the same way.
myst_heading_anchors = 4
# A block without a language is a picture or a transcript.
highlight_language = "none"
nitpicky = True
# Types in signatures are mypy's to check; the standard library's pages are not here to be linked.
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
html_title = f"Seism {release}"
html_show_copyright = False
