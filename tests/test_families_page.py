"""The page of families says what the code says, has every family, and its pictures are there and light."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from expfam_em.families.gaussian.models import MODELS
from tests import all_families

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "families.md").read_text(encoding="utf-8")


@pytest.fixture
def families(monkeypatch):
    """The script, as a module."""
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("families")


def test_the_page_is_up_to_date(families):
    assert families.page() == PAGE, "run python docs/families.py"


def test_the_script_says_whether_the_page_is_up_to_date(families, tmp_path, monkeypatch, capsys):
    run = subprocess.run(
        [sys.executable, "-W", "error", str(DOCS / "families.py"), "--check"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    old = tmp_path / "families.md"
    old.write_text(PAGE.replace("Product of Poisson columns", "Product of columns"), encoding="utf-8")
    monkeypatch.setattr(families, "PAGE", old)
    assert families.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().out


def section(name):
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", all_families.NAMES)
def test_every_family_has_a_section_an_example_and_a_picture(name):
    assert PAGE.count(f"\n## {name}\n") == 1
    text = section(name)
    assert f"[{name}](#{name.lower()})" in PAGE
    assert "```python\nX = " in text
    assert re.search(r"\| parameters \| `\w+`", text)
    assert f"(images/families/{name}.png)" in text


@pytest.mark.parametrize("name", dict.fromkeys(model.name for model in MODELS.values()))
def test_every_covariance_model_has_a_row(name):
    [row] = re.findall(rf"^\| `{name}` \|.*$", section("Gaussian"), re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert [int(cell) for cell in cells[3:5]] == [MODELS[name].n_parameters(3, 2), MODELS[name].n_parameters(3, 10)]
    for alias in MODELS:
        assert (f"`{alias}`" == cells[2]) == (alias != name and MODELS[alias] is MODELS[name])


def test_what_is_said_of_some_families():
    assert "| η from E[T] | by iteration |" in section("Gamma")
    assert "| η from E[T] | by a formula |" in section("Weibull")
    assert "| entropy | from samples |" in section("StudentT")
    assert "| entropy | by a formula |" in section("Dirichlet")
    assert "| parts of a row | marginals |" in section("StudentT")
    assert "| parts of a row | none |" in section("Wishart")
    assert "| sparse rows | yes |" in section("Bernoulli")
    assert "| sparse rows | no |" in section("Gamma")
    assert "| x | positive numbers, rows that sum to 1 |" in section("Dirichlet")
    assert "\n    T(x) = (log x, x)\n    A(η) = Σ log Γ(a) − a log b\n" in section("Gamma")


def test_pictures_are_those_of_the_page_and_light():
    shown = set(re.findall(r"\(images/families/(\w+\.png)\)", PAGE))
    found = {path.name: path for path in (DOCS / "images/families").iterdir()}
    assert set(found) == shown
    for path in found.values():
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size < 30_000


def test_the_short_list_of_the_front_page_has_every_family():
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8").partition("## Families\n")[2].partition("\n## ")[0]
    assert [name for name in all_families.NAMES if f"`{name}`" not in text] == []
