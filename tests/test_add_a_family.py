"""The family shown in docs/add_a_family.md is the one that the example runs."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_page_shows_the_example():
    page = (ROOT / "docs/add_a_family.md").read_text(encoding="utf-8")
    example = (ROOT / "examples/own_family.py").read_text(encoding="utf-8")
    marks = r"<!-- begin: examples/own_family\.py#family -->\n```python\n(.*?)```\n<!-- end -->"
    shown, run = (
        re.findall(marks, page, re.DOTALL),
        re.findall(r"# region family\n(.*?)# endregion", example, re.DOTALL),
    )
    assert len(shown) == len(run) == 1
    assert shown[0].strip() == run[0].strip()
