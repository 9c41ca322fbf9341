"""The page of the API says what the code says, and leaves no public name out."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import expfam_em as ef
from tests import all_families

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "api.md").read_text(encoding="utf-8")


@pytest.fixture
def api(monkeypatch):
    """The script, as a module."""
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("api")


def test_the_page_is_up_to_date(api):
    assert api.page() == PAGE, "run python docs/api.py"


def test_the_script_says_whether_the_page_is_up_to_date(api, tmp_path, monkeypatch, capsys):
    run = subprocess.run(
        [sys.executable, "-W", "error", str(DOCS / "api.py"), "--check"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    old = tmp_path / "api.md"
    old.write_text(PAGE.replace("Run EM from a mixture", "Run EM"), encoding="utf-8")
    monkeypatch.setattr(api, "PAGE", old)
    assert api.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().out
    assert api.main([]) == 0
    assert old.read_text(encoding="utf-8") == PAGE


@pytest.mark.parametrize("name", [name for name in ef.__all__ if name != "families"])
def test_every_name_of_the_package_has_a_place(name):
    functions = PAGE.partition("\n## Functions\n")[2].partition("\n## ")[0]
    assert PAGE.count(f"\n### {name}\n") + functions.count(f"\n| `{name}(") == 1


def test_every_family_and_command_has_a_row():
    for name in all_families.NAMES:
        assert f"| [{name}](families.md#{name.lower()})" in PAGE
    for name in set(ef.families.__all__) - {*all_families.NAMES, "row_sums"}:
        assert f"\n### {name}\n" in PAGE
    for name in ("fit", "predict", "families"):
        assert f"| `expfam-em {name}` |" in PAGE


def test_members_for_the_driver_are_left_out():
    for name in ("unchecked", "reframed", "flat_natural", "repeated", "replace"):
        assert f"`{name}" not in PAGE
