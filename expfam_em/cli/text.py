"""Text files of rows: their coding, what separates the cells, which line holds the names, and the numbers."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import math
import re
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

import numpy as np

OPENERS: dict[str, Callable] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

CODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # begins with the mark of UTF-16, which is therefore behind it
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Codings by the mark at the start of a file."""

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
SEPARATOR_WORDS = {"tab": "\t", r"\t": "\t", "blank": " ", "space": " "}
"""What --separator takes for characters that are hard to type."""

SAMPLE_LINES, FEWEST_LINES, SAMPLE_CHARACTERS = 50, 3, 1 << 16
"""Lines that are looked at to find the separator; lines in any case, and characters from which on those are enough."""

BLOCK_LINES, FEWEST_BYTES, MOST_BYTES = 1000, 1 << 20, 1 << 30
"""Lines, and limits in bytes, of what pyarrow reads at once: its time grows with the blocks times the columns."""

MISSING_CELLS = {"", "nan", "na", "n/a", "<na>", "#n/a", "null", "none", "?", ".", "-"}
"""What people write into an empty cell, in lower case."""

SHOWN_CHARACTERS = 40
"""Characters shown of a cell that is no number."""


@dataclass(frozen=True)
class TextFile:
    """Rows of cells in a text.

    Attributes
    ----------
    path : Path
    data : bytes
        The text in UTF-8. Where blanks separate the cells, there is one between two cells.
    separator : str
    skip : int
        Lines before the first row.
    names : list of str
        1, 2, … where the file has no names; empty for row names in front.
    named : bool
    """

    path: Path
    data: bytes
    separator: str
    skip: int
    names: list[str]
    named: bool

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Give the line, counted from 1, and the cells of each row."""
        line, lines = self.skip, islice(io.StringIO(self.data.decode(), newline=""), self.skip, None)
        try:
            for at, cells in _split(lines, self.separator, strict=True):
                line = self.skip + at
                yield line, cells
        except csv.Error:
            raise ValueError(
                f"{self.path}, below line {line}: a quote is not closed, or text follows it; double quotes in cells"
            ) from None

    def place(self, row: int) -> str:
        """Return how to name a row, which is counted from 0."""
        line, _ = next(islice(self.rows(), row, None))
        return f"{self.path}, line {line}: row {row + 1}"

    def read(self, chosen: list[int]) -> np.ndarray:
        """Return columns as numbers, (n, columns).

        Raises
        ------
        ValueError
            For a cell that is missing, no number or not finite, and for a row of another length.
        """
        pyarrow = import_pyarrow()
        for decimal in ".,":
            try:
                X = self._read_at_once(pyarrow, chosen, decimal)
            except pyarrow.ArrowInvalid:
                continue
            lines = self.data.count(b"\n") + (not self.data.endswith(b"\n"))
            if not np.isfinite(X).all() or (b'"' in self.data and len(X) != lines - self.skip):
                break  # a quote that is not closed may have swallowed lines
            self._check_mark(decimal)
            return X
        return self._read_cells(chosen)  # slower, but it can say what is wrong where

    def _read_at_once(self, pyarrow, chosen, decimal) -> np.ndarray:
        numbers = [str(i) for i in range(len(self.names))]  # several columns may have one name
        wanted = [numbers[i] for i in chosen]
        second = self.data.find(b"\n") + 1
        block = max(FEWEST_BYTES, BLOCK_LINES * (self.data.find(b"\n", second) + 1 - second))
        table = pyarrow.csv.read_csv(
            pyarrow.BufferReader(self.data),
            pyarrow.csv.ReadOptions(
                skip_rows=self.skip, column_names=numbers, block_size=min(block, len(self.data) + 1, MOST_BYTES)
            ),
            pyarrow.csv.ParseOptions(delimiter=self.separator, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                include_columns=wanted, column_types=dict.fromkeys(wanted, pyarrow.float64()), decimal_point=decimal
            ),
        )
        return np.column_stack([column.to_numpy() for column in table.columns])

    def _read_cells(self, chosen) -> np.ndarray:
        rows, marks = [], {}
        for row, (line, cells) in enumerate(self.rows(), 1):
            place = f"{self.path}, line {line}: row {row}"
            if len(cells) != len(self.names):
                raise ValueError(f"{place} has {len(cells)} cells; the first line has {len(self.names)}")
            numbers = [as_number(cells[i]) for i in chosen]
            if not all(map(math.isfinite, numbers)):
                i = next(i for i, number in zip(chosen, numbers, strict=True) if not math.isfinite(number))
                first = row == 1 and not self.named
                raise bad_cell(place, self.names[i], cells[i], "; give --header if these are names" * first)
            for mark in ".,":
                if mark not in marks and (found := [cells[i] for i in chosen if mark in cells[i]]):
                    marks[mark] = found[0]
            if len(marks) == 2:
                raise ValueError(
                    f"{place}: the file mixes decimal marks, {marks['.']!r} and {marks[',']!r}; write all "
                    "numbers with one mark"
                )
            rows.append(numbers)
        self._check_mark(*marks)
        return np.array(rows, np.float64).reshape(-1, len(chosen))

    def _check_mark(self, *marks):
        """Say that commas are decimal marks, unless each may group thousands: then nobody can tell."""
        if "," not in marks:
            return
        quote = b'"[+-]?' if self.separator == "," else b""
        if not re.search(quote + rb"\d+,(\d{1,2}|\d{4,})(?!\d)|" + quote + rb"(?<!\d)0,\d", self.data):
            raise ValueError(
                f"{self.path}: cannot tell whether commas are decimal marks or group digits, as in 1,234; write "
                "numbers with a decimal point and without groups"
            )
        warnings.warn(f"{self.path}: commas are read as decimal marks", stacklevel=2)


def open_text(path: Path, separator: str | None = None, header: bool | None = None) -> TextFile:
    """Return a text file with its separator and its header, which are found unless they are given.

    Raises
    ------
    ValueError
        If the file is empty or no text, or its separator is no character or cannot be told.
    """
    csv.field_size_limit(MOST_BYTES)  # a cell of text may be longer than the limit of 131,072
    data = _decoded(path)
    lines, before = _first_lines(data)
    comments = [line.lstrip("# ") for line in lines[:before] if line.strip()]
    lines = lines[before:] or comments[-1:]
    if not lines:
        raise ValueError(f"{path} is empty")
    separator = _find_separator(path, lines) if separator is None else SEPARATOR_WORDS.get(separator, separator)
    if len(separator) != 1:
        raise ValueError(f"the separator is {separator!r}; it must be one character, or tab or blank")
    if separator == " ":
        data = b"\n".join(b" ".join(line.split()) for line in data.splitlines())
    rows = list(_split(lines, separator))
    width = _width([cells for _, cells in rows])
    first, body = rows[0][1], [cells for _, cells in rows[1:]]
    if named := _is_header(path, first, body, width) if header is None else header:
        before = before + (rows[1][0] - 1 if body else len(lines))
    elif header is None and comments and len(last := next(_split(comments[-1:], separator))[1]) == width:
        first, named = last, True  # np.savetxt writes its header so
    names = [str(i + 1) for i in range(len(first))]
    if named:
        short = len(first) == width - 1 and not any(_is_fraction(cells[0]) for cells in body)
        first = [""] * short + [first[0].removeprefix("#").lstrip(), *first[1:]]
        unnamed = len(list(takewhile(lambda name: not name, first)))
        names = [name or ("" if i < unnamed else str(i + 1)) for i, name in enumerate(first)]
    return TextFile(path, data, separator, before, names, named)


def _decoded(path) -> bytes:
    """Return a text in UTF-8, without a mark."""
    try:
        with OPENERS.get(path.suffix.lower(), open)(path, "rb") as file:
            data = file.read()
    except (gzip.BadGzipFile, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}") from None
    coding = next((coding for mark, coding in CODINGS.items() if data.startswith(mark)), None)
    if coding is None and b"\0" in data[:SAMPLE_CHARACTERS]:
        raise ValueError(f"{path} is no text: it has zero bytes; give text in UTF-8, .npy or .parquet")
    try:
        text = data.decode(coding or "utf-8")
    except UnicodeDecodeError as error:
        if coding is not None:
            raise ValueError(f"{path} is no text: it begins as {coding}, but {error}") from None
        warnings.warn(f"{path} is not in UTF-8; the names of columns are read as Latin-1", stacklevel=2)
        return data.decode("latin-1").encode()
    return data if coding is None else text.encode()


def _first_lines(data) -> tuple[list[str], int]:
    """Return the first lines, and how many of them are blank or comments before all others."""
    lines: list[str] = []
    before = size = 0
    for line in io.TextIOWrapper(io.BytesIO(data), "utf-8", newline=""):
        lines.append(line)
        if before == len(lines) - 1 and (not line.strip() or line.startswith("#")):
            before += 1
            continue
        size += len(line)
        if len(lines) - before >= (SAMPLE_LINES if size < SAMPLE_CHARACTERS else FEWEST_LINES):
            break
    return lines, before


# ---- what the first lines tell ------------------------------------------------------------------------------


def _find_separator(path, lines) -> str:
    """Return what splits the first lines into rows of one length and into most numbers."""
    found = {}
    for separator in SEPARATORS:
        rows = [cells for _, cells in _split(lines, separator)]
        first, body, width = rows[0], rows[1:] or rows, _width(rows)
        cells = [cell for row in body if len(row) == width for cell in row if width > 1 or "," not in cell]
        filled = sum(cell.lower() in MISSING_CELLS or not math.isnan(as_number(cell)) for cell in cells)
        share = filled / sum(map(len, body)) if width - 1 <= len(first) <= width else 0.0
        found[separator] = (share > 0 and len(first) >= width, share, len(first))  # a name for each column, rather
    separator = max(found, key=found.__getitem__)
    below = [line for line in lines[1:] if line.strip()]
    if found[","][2] == 1 and any("," in line for line in below) and not any(map(math.isnan, map(as_number, below))):
        raise ValueError(
            f"{path}: cannot tell whether commas separate cells or are decimal marks; give --separator ',', or "
            "--separator ';' if they are decimal marks"
        )
    return separator


def _width(rows) -> int:
    return statistics.mode(map(len, rows[1:] or rows))


def _is_header(path, first, body, width) -> bool:
    """Whether the first line holds names: no cell of it is a number, but for names that count the columns."""
    if all(math.isnan(as_number(cell)) for cell in first):
        return any(first)
    if len(first) < width:
        return False
    unnamed = len(list(takewhile(lambda cell: not cell, first)))
    if unnamed and all(cell.isdecimal() for cell in first[unnamed:]):
        return len(set(first[unnamed:])) == len(first) - unnamed  # a data frame whose columns are counted
    if width == 1 or first != [str(i) for i in range(width)]:
        return False
    named = width > 2 or any(_is_fraction(cell) for row in body for cell in row)
    words, other = ("the names of the columns", "--no-header") if named else ("a row", "--header")
    warnings.warn(f"{path}: the first line counts the columns and is read as {words}; else give {other}", stacklevel=2)
    return named


# ---- cells --------------------------------------------------------------------------------------------------


def _split(lines: Iterable[str], separator: str, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Give the line, counted from 1, and the cells of each line that is not blank."""
    if separator == " ":
        lines = (" ".join(line.split()) for line in lines)
    line, reader = 0, csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=strict)
    for row in reader:
        cells = [cell.strip() for cell in row]
        if len(cells) > 1 or any(cells):
            yield line + 1, cells
        line = reader.line_num


def as_number(text: str) -> float:
    """Return a number with a decimal point or comma; NaN if the text is none."""
    try:  # Python reads an underscore as part of a number; nobody else does
        return math.nan if "_" in text else float(text.replace(",", "."))
    except ValueError:
        return math.nan


def _is_fraction(text) -> bool:
    return not as_number(text).is_integer() and not math.isnan(as_number(text))


def bad_cell(place: str, name: str, text: str = "", hint: str = "") -> ValueError:
    """Return the error of a cell that is missing, no number or not finite."""
    where, shown = f"{place}, column {name!r}", text[:SHOWN_CHARACTERS] + "…" * (len(text) > SHOWN_CHARACTERS)
    if text.lower() in MISSING_CELLS:
        what = f"{f' ({text!r})' if text else ''} is missing; remove such rows, fill them in"
    elif math.isinf(as_number(text)):
        what = f" holds {shown!r}, which is not finite; remove such rows, change the value"
    else:
        what = f" holds {shown!r}, which is not a number; change it"
    return ValueError(f"{where}{what}, or leave the column out with --columns{hint}")


def import_pyarrow():
    """Return pyarrow with its readers, which few commands need and which take long to import."""
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise ImportError('text and Parquet files need pyarrow: pip install "expfam_em[cli]"') from None
    return pyarrow
