"""Files as the command line is given them: pipes and packed files become plain files, which can be read again."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import os
import shutil
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

OPENERS: dict[str, Callable] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

FIRST_BYTES = {
    b"PAR1": ".parquet", b"\x93NUMPY": ".npy", b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ": ".xz",
}  # fmt: skip
"""What the first bytes of a file say that it is."""

SUFFIXES_KNOWN = {".pq": ".parquet", **{kind: kind for kind in FIRST_BYTES.values()}}

CODINGS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins with the mark of UTF-16, which is therefore behind it
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Codings, other than UTF-8, by the mark at the start of a text."""

STANDARD = Path("-")
"""How the standard input and the standard output are called."""


@dataclass(frozen=True)
class File:
    """A file that can be opened more than once.

    Attributes
    ----------
    path : Path
    name : str
        What the user calls it.
    kind : str
        ".npy" or ".parquet"; "" is text, in UTF-8 or, byte by byte, in Latin-1.
    held : object
        Temporary files, which are deleted with this object.
    """

    path: Path
    name: str
    kind: str
    held: Any = None


class Temporary:
    """A file that is deleted with this object."""

    def __init__(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix="expfam-em-")
        os.close(descriptor)
        self.path = Path(name)
        weakref.finalize(self, self.path.unlink, missing_ok=True)


def open_file(path: Path) -> File:
    """Return a file, or a copy of what can be read only once.

    Raises
    ------
    ValueError
        If it cannot be unpacked, or is no text in the coding that its first bytes promise.
    """
    name = "the standard input" if path == STANDARD else str(path)
    if path != STANDARD and path.is_dir() and any(path.rglob("*.parquet")):
        return File(path, name, ".parquet")
    file = File(path, name, "")
    if path == STANDARD or not (path.is_file() or path.is_dir() or not path.exists()):
        with sys.stdin.buffer if path == STANDARD else open(path, "rb") as source:
            file = _copied(source, name)
    with open(file.path, "rb") as opened:
        head = opened.read(8)
    kind = next((kind for magic, kind in FIRST_BYTES.items() if head.startswith(magic)), "")
    kind = kind or SUFFIXES_KNOWN.get(path.suffix.lower(), "")
    if kind in OPENERS:
        return _unpacked(file, OPENERS[kind])
    coding = None if kind else next((coding for mark, coding in CODINGS.items() if head.startswith(mark)), None)
    return File(file.path, name, kind, file.held) if coding is None else _recoded(file, coding)


def _copied(source: BinaryIO, name: str) -> File:
    held = Temporary()
    with open(held.path, "wb") as copy:
        shutil.copyfileobj(source, copy)
    return File(held.path, name, "", held)


def _unpacked(file: File, opener: Callable) -> File:
    try:
        with opener(file.path, "rb") as source:
            copy = _copied(source, file.name)
    except (lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{file.name} cannot be unpacked: {error}") from None
    inside = open_file(copy.path)
    return File(inside.path, file.name, inside.kind, (copy.held, inside.held))


def _recoded(file: File, coding: str) -> File:
    held = Temporary()
    try:
        with open(file.path, encoding=coding, newline="") as source, open(held.path, "wb") as copy:
            while text := source.read(1 << 20):
                copy.write(text.encode())
    except UnicodeError as error:
        raise ValueError(f"{file.name} is no text: it begins as {coding}, but {error}") from None
    return File(held.path, file.name, "", held)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give the path to write a file to; it takes its place once it is complete, or goes to the standard output."""
    if path == STANDARD:
        with tempfile.TemporaryDirectory() as folder:
            yield (whole := Path(folder) / "out")
            with open(whole, "rb") as source:
                shutil.copyfileobj(source, sys.stdout.buffer)
        return
    if path.exists() and not path.is_file():  # a pipe, or /dev/null
        yield path
        return
    part = path.with_name(f".{path.name}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
