"""What the documents show runs, what they link to exists, and every example ends well."""

import doctest
import importlib.util
import pkgutil
import re
import runpy
import sys
from pathlib import Path
from urllib.parse import unquote

import matplotlib.pyplot as plt
import pytest

import expfam_em as ef

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if not path.name.startswith("_"))
ENGINES = {"ray_fit.py": "ray", "spark_fit.py": "pyspark"}
"""Examples of packages that the tests do not need: run where these are installed."""
RUNNABLE = [path for path in EXAMPLES if path.name not in ENGINES or importlib.util.find_spec(ENGINES[path.name])]
MODULES = [name for _, name, _ in pkgutil.walk_packages(ef.__path__, "expfam_em.") if "__main__" not in name]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LONGEST = {"README.md": 120, "CONTRIBUTING.md": 60}


def named(path):
    return str(path.relative_to(ROOT))


def python_of(page):
    """The python blocks of a page as one program in which every line keeps its number."""
    text = page.read_text(encoding="utf-8")
    program = [""] * text.count("\n")
    for block in FENCE.finditer(text):
        if block[1] == "python":
            first = text.count("\n", 0, block.start(2))
            for offset, line in enumerate(block[2].splitlines()):
                program[first + offset] = line
    return "\n".join(program)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_python_of_a_page_runs_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = python_of(page)
    module = type(sys)("page")  # classes that a page defines are looked up in their module when they are saved
    monkeypatch.setitem(sys.modules, "page", module)
    exec(compile(program, str(page), "exec"), vars(module))


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module):
    results = doctest.testmod(importlib.import_module(module))
    assert results.failed == 0


def test_the_page_of_families_says_what_rows_windows_and_intervals_are():
    text = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    overview = [line.split(" | ") for line in text.splitlines() if line.startswith("| [")]
    assert len(overview) > 30
    assert not [row[0] for row in overview if row[2] == "none"]
    assert not [row[0] for row in overview if "None" in row[1]]
    sections = {part.split("\n", 1)[0]: part.splitlines() for part in text.split("\n## ")[1:]}
    assert "| x | numbers of the family, from low to high |" in sections["Truncated"]
    assert "| η from E[T] | by iteration |" in sections["Truncated"]
    assert "| entropy | by quadrature |" in sections["Truncated"]
    assert "| entropy | by a formula |" in sections["Gamma"]
    assert "| x | low and high, with a number of the family from one to the other |" in sections["Censored"]
    assert "| x | counts of the family, and a positive exposure in the last column |" in sections["Exposed"]


def test_every_estimator_shows_an_example():
    for name in ("GaussianMixture", "BernoulliMixture", "KMeans", "ExponentialFamilyMixture"):
        assert doctest.DocTestFinder(recurse=False).find(getattr(ef, name), name)[0].examples


@pytest.mark.parametrize("example", RUNNABLE, ids=named)
def test_every_example_runs_and_writes_only_to_its_folder(example, tmp_path, monkeypatch, capsys):
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    monkeypatch.syspath_prepend(example.parent)
    monkeypatch.setattr(sys, "argv", [str(example), str(tmp_path / "out")])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    with plt.rc_context({"backend": "Agg"}):
        runpy.run_path(str(example), run_name="__main__")
        plt.close("all")
    said = capsys.readouterr()
    assert said.out.strip()
    assert not said.err
    assert not list(cwd.iterdir())
    for picture in (tmp_path / "out").glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_every_example_is_listed():
    listed = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES if f"({path.name})" not in listed] == []


def test_every_example_is_short_and_has_a_title():
    for path in EXAMPLES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 60 or path.name == "demo.py"
        if path.name not in ("dask_fit.py", *ENGINES):  # these are not pages
            _, title, underline, *_ = text.splitlines()
            assert underline == "=" * len(title)


def test_the_protocol_takes_few_lines_on_any_engine():
    for name in ("dask_fit.py", *ENGINES):
        text = (ROOT / "examples" / name).read_text(encoding="utf-8")
        compile(text, name, "exec")
        assert len(text.splitlines()) <= 40


@pytest.mark.parametrize("name", LONGEST)
def test_short_documents_stay_short(name):
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= LONGEST[name]


def anchors_of(page):
    """The anchors of the headings, as they are made from their words."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*?)#*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_inside_the_project_lead_somewhere(page):
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = unquote(target).partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (anchor and anchor not in anchors_of(there)):
            broken.append(target)
    assert not broken
