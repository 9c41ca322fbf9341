"""What the scripts that make a page from the code have in common."""

from __future__ import annotations

from pathlib import Path


def write_or_check(page: Path, text: str, script: str, arguments: list[str]) -> int:
    """Write a page and return 0; with ``--check``, say instead whether it is up to date, and return 1 if not."""
    if "--check" in arguments:
        current = page.exists() and page.read_text(encoding="utf-8") == text
        print(f"{page.name} is up to date" if current else f"{page.name} is out of date: run python docs/{script}")
        return 0 if current else 1
    page.write_text(text, encoding="utf-8")
    return 0
