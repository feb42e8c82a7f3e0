"""The site: this folder's pages, and what the program says of itself. ``make docs`` builds it."""

import sys
from pathlib import Path

import cifarlab

sys.path.insert(0, str(Path(__file__).parent / "_site"))
project, author = "cifarlab", "cifarlab's authors"
project_copyright = "the authors of cifarlab; Apache-2.0"
version = release = cifarlab.__version__
extensions = [f"sphinx.ext.{name}" for name in ("autodoc", "napoleon", "viewcode")]
extensions += ["myst_nb", "made_pages"]
exclude_patterns = ["_site", "reports/findings.md"]  # findings.md: reports.md has it
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3  # as a forge does

nb_execution_mode = "off"  # a test runs the notebook; the site shows what it left
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # they would come from another host

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as they are written, not what they are
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
autodoc_default_options = {"exclude-members": "model_config"}  # pydantic's
napoleon_numpy_docstring = False
toc_object_entries_show_parents = "hide"
nitpicky = True
# types of other packages, and of ours that are not public
nitpick_ignore_regex = [("py:.*", r"(?!cifarlab\.[A-Za-z_]+$).*")]

html_theme = "pydata_sphinx_theme"
html_title = "cifarlab"
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_sidebars = {page: [] for page in ("index", "first-hour", "api", "search")}
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": True,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
