"""How sphinx makes the pages: ``make docs`` writes them to out/docs."""

import re
import shutil
from pathlib import Path

import matplotlib as mpl
from sphinx_gallery.scrapers import figure_rst

import expfam_em

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
LISTED = re.findall(r"\((\w+\.py)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"))
"""The examples in their order: that of the lecture notes."""

PICTURES = EXAMPLES / "out"
"""Where examples write their pictures."""

OUTSIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "gallery/index.rst",
}
"""Pages outside of this folder, and the pages here that stand for them."""


class InOrder:
    """Sort examples as the list of examples has them."""

    def __init__(self, _folder):
        pass

    def __call__(self, name):
        return LISTED.index(name)


def pictures_of(_block, block_vars, gallery_conf):
    """Take the pictures that a block of an example has written into the page."""
    taken = []
    for written in sorted(PICTURES.glob("*.png")):
        place = Path(next(block_vars["image_path_iterator"]))
        shutil.move(written, place)
        taken.append(str(place))
    return figure_rst(taken, gallery_conf["src_dir"])


def give_folder(_gallery_conf, _block_vars):
    """Name the folder of pictures as the argument of an example."""
    return [PICTURES.name]


def write_plainly(_gallery_conf, _script):
    """Let matplotlib write files, whatever an example has set."""
    mpl.rcdefaults()


def stay_inside(_app, name, text):
    """Show pages outside of this folder as pages of it, and let links lead there."""
    for outside, inside in OUTSIDE.items():
        if inside == f"{name}.md":
            page = (HERE.parent / outside).read_text(encoding="utf-8")
            text[0] = re.sub(r"\]\((?!\w+:|#)", "](../", page).replace("](../docs/", "](")
        text[0] = text[0].replace(f"](../{outside}", f"]({inside}")


def keep_bars(_app, _what, _name, _object, _options, lines):
    """Let the bars of p(x|η) in docstrings be bars, where reStructuredText would see a substitution."""
    for i, line in enumerate(lines):
        parts = re.split(r"(`+[^`]*`+)", line)
        lines[i] = "".join(part if part.startswith("`") else part.replace("|", r"\|") for part in parts)


def setup(app):
    """Register what is done to the text of each page."""
    app.connect("source-read", stay_inside)
    app.connect("autodoc-process-docstring", keep_bars)


project, author, copyright = "expfam_em", "the expfam_em developers", "the expfam_em developers"
version = release = expfam_em.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
default_role = "literal"
autosummary_imported_members = True
numpydoc_class_members_toctree = False
exclude_patterns = ["benchmarks/notes.md"]
autodoc_typehints = "none"  # shapes are in the docstrings
suppress_warnings = ["config.cache"]  # functions above are settings
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

sphinx_gallery_conf = {
    "examples_dirs": str(EXAMPLES),
    "gallery_dirs": "gallery",
    "filename_pattern": ".py",
    "ignore_pattern": r"_common|ray_fit|spark_fit|dask_fit",
    "within_subsection_order": InOrder,
    "image_scrapers": (pictures_of,),
    "reset_argv": give_folder,
    "reset_modules": (write_plainly,),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "capture_repr": (),
    "show_signature": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "expfam_em"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 7,
    "footer_start": ["copyright"],
    "footer_end": [],
}
