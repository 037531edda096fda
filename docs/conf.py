"""Settings of the documentation site: `sphinx-build -W --keep-going -b html docs build/docs`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import rdquant

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

project = "rdquant"
author = "The rdquant developers"
copyright = "the rdquant developers, Apache-2.0"
release = version = rdquant.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "code_breaks", "site_pages"]
exclude_patterns = ["_ext", "reference/api/summary.txt"]
html_theme = "furo"
html_title = f"rdquant {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["benchmarks.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "a11y-high-contrast-light"  # contrast of 4.5:1 and more

smartquotes = False  # options have two hyphens, and quoted words are often what a program reads
# Names in backticks link where they are known and stay literals where not.
default_role = "py:obj"
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
toc_object_entries = False
autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # `site_pages` writes signatures as the sources have them
napoleon_custom_sections = [("Fields", "params_style")]
napoleon_use_rtype = False

myst_enable_extensions = ["deflist", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "build" / "notebooks")
nb_execution_timeout = 180
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # no script from elsewhere
# Without PyTorch the notebook on training keeps the outputs that are stored in it.
nb_execution_excludepatterns = [] if importlib.util.find_spec("torch") else ["tutorials/05-*"]
