"""The pages that scripts make say what the code says, and leave nothing public out; pictures are there and light."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import expfam_em as ef
from expfam_em import plots
from expfam_em.families.gaussian.models import MODELS
from tests import all_families

DOCS = Path(__file__).parent.parent / "docs"
SCRIPTS = ("api", "families")
API, FAMILIES = ((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in SCRIPTS)


@pytest.fixture(params=SCRIPTS)
def script(request, monkeypatch):
    """A script, as a module."""
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module(request.param)


def section(page, name):
    return page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_the_page_is_up_to_date(script):
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.page() == page, f"run python docs/{script.__name__}.py"


def test_the_script_says_whether_the_page_is_up_to_date(script, tmp_path, monkeypatch, capsys):
    run = subprocess.run(
        [sys.executable, "-W", "error", str(DOCS / f"{script.__name__}.py"), "--check"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    page, old = script.PAGE.read_text(encoding="utf-8"), tmp_path / script.PAGE.name
    old.write_text(page.replace("Product of Poisson columns", "Product of columns"), encoding="utf-8")
    monkeypatch.setattr(script, "PAGE", old)
    assert script.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().out


def test_the_script_writes_the_page(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    script = importlib.import_module("api")
    monkeypatch.setattr(script, "PAGE", tmp_path / "api.md")
    assert script.main([]) == 0
    assert script.PAGE.read_text(encoding="utf-8") == API


# ---- the page of the API ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in ef.__all__ if name != "families"])
def test_every_name_of_the_package_has_a_place(name):
    assert API.count(f"\n### {name}\n") + section(API, "Functions").count(f"\n| `{name}(") == 1


def test_every_name_is_shown_in_full():
    listed = (DOCS / "names.rst").read_text(encoding="utf-8").split()
    pictures = [name for name in plots.__all__ if name.startswith("plot_")]
    for name in {*ef.__all__, *ef.families.__all__, *pictures} - {"families"}:
        assert name in listed


def test_every_family_and_command_has_a_row():
    for name in all_families.NAMES:
        assert f"| [{name}](families.md#{name.lower()})" in API
    for name in set(ef.families.__all__) - {*all_families.NAMES, "row_sums"}:
        assert f"\n### {name}\n" in API
    for name in (
        "fit", "predict", "score", "sample", "select", "plot", "summary", "families", "check-family"
    ):  # fmt: skip
        assert f"| `expfam-em {name}` |" in API


def test_members_for_the_driver_are_left_out():
    for name in ("unchecked", "reframed", "flat_natural", "repeated", "replace"):
        assert f"`{name}" not in API


# ---- the page of families -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", all_families.NAMES)
def test_every_family_has_a_section_an_example_and_a_picture(name):
    assert FAMILIES.count(f"\n## {name}\n") == 1
    text = section(FAMILIES, name)
    assert f"[{name}](#{name.lower()})" in FAMILIES
    assert "```python\nX = " in text
    assert re.search(r"\| parameters \| `\w+`", text)
    assert f"(images/families/{name}.png)" in text


@pytest.mark.parametrize("name", dict.fromkeys(model.name for model in MODELS.values()))
def test_every_covariance_model_has_a_row(name):
    [row] = re.findall(rf"^\| `{name}` \|.*$", section(FAMILIES, "Gaussian"), re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert [int(cell) for cell in cells[3:5]] == [MODELS[name].n_parameters(3, 2), MODELS[name].n_parameters(3, 10)]
    for alias in MODELS:
        assert (f"`{alias}`" == cells[2]) == (alias != name and MODELS[alias] is MODELS[name])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Gamma", "| η from E[T] | by iteration |"),
        ("Weibull", "| η from E[T] | by a formula |"),
        ("StudentT", "| entropy | from samples |"),
        ("Dirichlet", "| entropy | by a formula |"),
        ("StudentT", "| parts of a row | marginals and conditionals |"),
        ("Wishart", "| parts of a row | none |"),
        ("Bernoulli", "| sparse rows | yes |"),
        ("Gamma", "| sparse rows | no |"),
        ("Dirichlet", "| x | positive numbers, rows that sum to 1 |"),
        ("Gamma", "    T(x) = (log x, x)\n    A(η) = Σ log Γ(a) − a log b"),
    ],
)
def test_what_is_said_of_some_families(name, line):
    assert f"\n{line}\n" in section(FAMILIES, name)


def test_pictures_are_those_of_the_page_and_light():
    shown = set(re.findall(r"\(images/families/(\w+\.png)\)", FAMILIES))
    found = {path.name: path for path in (DOCS / "images/families").iterdir()}
    assert set(found) == shown
    for path in found.values():
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size < 30_000


def test_the_short_list_of_the_front_page_has_every_family():
    text = section((DOCS.parent / "README.md").read_text(encoding="utf-8"), "Families")
    assert [name for name in all_families.NAMES if f"`{name}`" not in text] == []
