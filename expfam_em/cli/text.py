"""Text files of rows: what separates the cells, which line holds the names, and the numbers."""

from __future__ import annotations

import codecs
import csv
import math
import re
import statistics
import tempfile
import warnings
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

import numpy as np

from expfam_em.cli.files import File, Temporary

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
SEPARATOR_WORDS = {"tab": "\t", r"\t": "\t", "blank": " ", "space": " "}
"""What --separator takes for characters that are hard to type."""

SAMPLE_LINES, FEWEST_LINES, SAMPLE_CHARACTERS = 50, 3, 1 << 16
"""Lines that are looked at to find the separator; lines in any case, and characters from which on those are enough."""

BLOCK_LINES, FEWEST_BYTES, MOST_BYTES = 1000, 1 << 20, 1 << 30
"""Lines, and limits in bytes, of what pyarrow reads at once: its time grows with the blocks times the columns."""

MISSING_CELLS = {"", "nan", "na", "n/a", "<na>", "#n/a", "null", "none", "?", ".", "-"}
"""What people write into an empty cell of a column of numbers, in lower case."""

MISSING_LABELS = {"", "NaN", "nan", "NA", "N/A", "n/a", "<NA>", "#N/A", "NULL", "null", "None"}
"""What is no label in a column of labels, as in pandas; "none", "-" and the like may well be one."""

BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}
"""Cells of a column that has true and false in it, in lower case."""

SHOWN_CHARACTERS = 40
"""Characters shown of a cell that is no number."""


@dataclass(frozen=True)
class TextFile:
    """Rows of cells in a text.

    Attributes
    ----------
    file : File
        Where blanks separate the cells, there is one between two cells.
    coding : str
    separator : str
    skip : int
        Lines before the first row.
    names : list of str
        1, 2, … where the file has no names; empty for row names in front.
    named : bool
    booleans : set of int
        Columns of true and false.
    """

    file: File
    coding: str
    separator: str
    skip: int
    names: list[str]
    named: bool
    booleans: set[int]

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Give the line, counted from 1, and the cells of each row."""
        line = self.skip
        with open(self.file.path, encoding=self.coding, errors="replace", newline="") as opened:
            try:
                for at, cells in _split(islice(opened, self.skip, None), self.separator, strict=True):
                    line = self.skip + at
                    yield line, cells
            except csv.Error:
                raise ValueError(
                    f"{self.file.name}, below line {line}: a quote is not closed, or text follows it; double quotes in "
                    "cells"
                ) from None

    def place(self, row: int) -> str:
        """Return how to name a row, which is counted from 0."""
        line, _ = next(islice(self.rows(), row, None))
        return f"{self.file.name}, line {line}: row {row + 1}"

    def labels(self, chosen: list[int]) -> dict[int, list[str | None]]:
        """Return columns as labels, None where a cell is missing."""
        known: dict[str, str | None] = dict.fromkeys(MISSING_LABELS)  # one object for each label, however many rows
        found: dict[int, list[str | None]] = {i: [] for i in chosen}
        for _, cells in self._cells():
            for i, labels in found.items():
                labels.append(known.setdefault(cells[i], cells[i]))
        return found

    def text_columns(self, chosen: list[int]) -> list[int]:
        """Return those of the columns that have a cell which is there and no number."""
        found: set[int] = set()
        for _, cells in self._cells():
            found |= {i for i in chosen if i not in found and not _may_be_number(cells[i])}
            if len(found) == len(chosen):
                break
        return [i for i in chosen if i in found]

    def _cells(self) -> Iterator[tuple[str, list[str]]]:
        """Give the place and the cells of each row, all of which have the same length."""
        for row, (line, cells) in enumerate(self.rows(), 1):
            place = f"{self.file.name}, line {line}: row {row}"
            if len(cells) != len(self.names):
                raise ValueError(f"{place} has {len(cells)} cells; the first line has {len(self.names)}")
            yield place, cells

    def read(self, chosen: list[int], missing: bool = False) -> np.ndarray:
        """Return columns as numbers, (n, columns), on the disk; missing cells as NaN if they are allowed.

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
            # what is not finite may be missing or infinite, and a quote that is not closed may have swallowed lines
            if np.isinf(X).any() if missing else not np.isfinite(X).all():
                break
            quoted, lines = _counted(self.file.path)
            if quoted and len(X) != lines - self.skip:
                break
            self._check_mark(decimal)
            return X
        return self._read_cells(chosen, missing)  # slower, but it can say what is wrong where

    def _read_at_once(self, pyarrow, chosen, decimal) -> np.ndarray:
        numbers = [str(i) for i in range(len(self.names))]  # several columns may have one name
        types = {numbers[i]: pyarrow.bool_() if i in self.booleans else pyarrow.float64() for i in chosen}
        with open(self.file.path, "rb") as opened:
            opened.readline()
            block = max(FEWEST_BYTES, BLOCK_LINES * len(opened.readline()))
        reader = pyarrow.csv.open_csv(
            self.file.path,
            pyarrow.csv.ReadOptions(
                skip_rows=self.skip, column_names=numbers,
                block_size=min(block, self.file.path.stat().st_size + 1, MOST_BYTES),
            ),
            pyarrow.csv.ParseOptions(delimiter=self.separator, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                include_columns=list(types), column_types=types, decimal_point=decimal,
                null_values=sorted({form(word) for word in MISSING_CELLS for form in (str, str.upper, str.title)}),
            ),
        )  # fmt: skip
        with reader, tempfile.TemporaryFile() as raw:
            n = 0
            for batch in reader:
                columns = [column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False) for column in batch.columns]
                raw.write(np.column_stack(columns).tobytes())
                n += batch.num_rows
            raw.flush()
            return np.memmap(raw, np.float64, "r", shape=(n, len(chosen))) if n else np.empty((0, len(chosen)))

    def _read_cells(self, chosen, missing) -> np.ndarray:
        numbers, marks = array("d"), {}
        for row, (place, cells) in enumerate(self._cells(), 1):
            for i in chosen:
                number = BOOLEANS.get(cells[i].lower(), math.nan) if i in self.booleans else as_number(cells[i])
                if not math.isfinite(number) and not (missing and cells[i].lower() in MISSING_CELLS):
                    first = row == 1 and not self.named
                    raise bad_cell(place, self.names[i], cells[i], "; give --header if these are names" * first)
                numbers.append(number)
            for mark in ".,":
                if mark not in marks and (found := [c for c in (cells[i] for i in chosen) if mark in c and len(c) > 1]):
                    marks[mark] = found[0]
            if len(marks) == 2:
                raise ValueError(
                    f"{place}: the file mixes decimal marks, {marks['.']!r} and {marks[',']!r}; write all "
                    "numbers with one mark"
                )
        self._check_mark(*marks)
        return np.frombuffer(numbers, np.float64).reshape(-1, len(chosen))

    def _check_mark(self, *marks):
        """Say that commas are decimal marks, unless each may group thousands: then nobody can tell."""
        if "," not in marks:
            return
        quote = '"[+-]?' if self.separator == "," else ""
        telling = re.compile(quote + r"\d+,(\d{1,2}|\d{4,})(?!\d)|" + quote + r"(?<!\d)0,\d")
        with open(self.file.path, encoding="latin-1", newline="") as lines:
            told = any(telling.search(line) for line in lines)
        if not told:
            raise ValueError(
                f"{self.file.name}: cannot tell whether commas are decimal marks or group digits, as in 1,234; write "
                "numbers with a decimal point and without groups"
            )
        warnings.warn(f"{self.file.name}: commas are read as decimal marks", stacklevel=2)


def open_text(file: File, separator: str | None = None, header: bool | None = None) -> TextFile:
    """Return a text file with its separator and its header, which are found unless they are given.

    Raises
    ------
    ValueError
        If the file is empty or no text, or its separator is no character or cannot be told.
    """
    csv.field_size_limit(MOST_BYTES)  # a cell of text may be longer than the limit of 131,072
    coding = _coding(file)
    lines, before = _first_lines(file, coding)
    comments = [line.lstrip("# ") for line in lines[:before] if line.strip()]
    lines = lines[before:] or comments[-1:]
    if not lines:
        raise ValueError(f"{file.name} is empty")
    given, separator = separator, SEPARATOR_WORDS.get(separator or "", separator)
    separator = _find_separator(file.name, lines) if separator is None else separator
    if len(separator) != 1:
        raise ValueError(f"the separator is {separator!r}; it must be one character, or tab or blank")
    rows = list(_split(lines, separator))
    width = _width([cells for _, cells in rows])
    first, body = rows[0][1], [cells for _, cells in rows[1:]]
    if named := _is_header(file.name, first, body, width) if header is None else header:
        before = before + (rows[1][0] - 1 if body else len(lines))
    elif header is None and comments and len(last := next(_split(comments[-1:], separator))[1]) == width:
        first, named = last, True  # np.savetxt writes its header so
    names = [str(i + 1) for i in range(len(first))]
    if named:
        short = len(first) == width - 1 and not any(_is_fraction(cells[0]) for cells in body)
        first = [""] * short + [first[0].removeprefix("#").lstrip(), *first[1:]]
        unnamed = len(list(takewhile(lambda name: not name, first)))
        names = [name or ("" if i < unnamed else str(i + 1)) for i, name in enumerate(first)]
    else:
        body = [first, *body]
        _say_if_decimal(file.name, lines, given, separator)
    booleans = {i for cells in body for i, cell in enumerate(cells) if _is_boolean(cell)}
    file = _squeezed(file, coding) if separator == " " else file
    return TextFile(file, coding, separator, before, names, named, booleans)


def _coding(file: File) -> str:
    """Return the coding of a text: UTF-8, or Latin-1, in which all bytes are characters."""
    with open(file.path, "rb") as opened:
        head = opened.read(SAMPLE_CHARACTERS)
    if b"\0" in head:
        raise ValueError(f"{file.name} is no text: it has zero bytes; give text in UTF-8, .npy or .parquet")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        warnings.warn(
            f"{file.name} is not in UTF-8; the names of columns, and labels, are read as Latin-1", stacklevel=2
        )
        return "latin-1"
    return "utf-8-sig"


def _first_lines(file: File, coding: str) -> tuple[list[str], int]:
    """Return the first lines, and how many of them are blank or comments before all others."""
    lines: list[str] = []
    before = size = 0
    with open(file.path, encoding=coding, errors="replace", newline="") as opened:
        for line in opened:
            lines.append(line)
            if before == len(lines) - 1 and (not line.strip() or line.startswith("#")):
                before += 1
                continue
            size += len(line)
            if len(lines) - before >= (SAMPLE_LINES if size < SAMPLE_CHARACTERS else FEWEST_LINES):
                break
    return lines, before


def _squeezed(file: File, coding: str) -> File:
    """Return a file with one blank between two cells."""
    held = Temporary()
    with open(file.path, encoding=coding, errors="replace") as lines, open(held.path, "wb") as copy:
        for line in lines:
            copy.write(f"{' '.join(line.split())}\n".encode(coding.removesuffix("-sig"), "replace"))
    return File(held.path, file.name, "", (held, file.held))


def _counted(path: Path) -> tuple[bool, int]:
    """Return whether a file has quotes, and how many lines."""
    quoted, lines, block = False, 0, b"\n"
    with open(path, "rb") as opened:
        while more := opened.read(1 << 20):
            block, lines, quoted = more, lines + more.count(b"\n"), quoted or b'"' in more
    return quoted, lines + (not block.endswith(b"\n"))


# ---- what the first lines tell ------------------------------------------------------------------------------


def _find_separator(name, lines) -> str:
    """Return what splits the first lines into rows of one length and into most numbers."""
    found = {}
    for separator in SEPARATORS:
        rows = [cells for _, cells in _split(lines, separator)]
        first, body, width = rows[0], rows[1:] or rows, _width(rows)
        cells = [cell for row in body if len(row) == width for cell in row if width > 1 or "," not in cell]
        filled = sum(map(_may_be_number, cells))
        share = filled / sum(map(len, body)) if width - 1 <= len(first) <= width else 0.0
        found[separator] = (share > 0 and len(first) >= width, share, len(first))  # a name for each column, rather
    separator = max(found, key=found.__getitem__)
    below = [line for line in lines[1:] if line.strip()]
    if found[","][2] == 1 and any("," in line for line in below) and not any(map(math.isnan, map(as_number, below))):
        raise ValueError(
            f"{name}: cannot tell whether commas separate cells or are decimal marks; give --separator ',', or "
            "--separator ';' if they are decimal marks"
        )
    return separator


def _say_if_decimal(name, lines, given, separator):
    """Say that a line such as 1,5 is read as two cells, where nobody has said so."""
    if given is None and separator == "," and all(re.fullmatch(r"\s*[+-]?\d+,\d+\s*", line) for line in lines):
        first = lines[0].strip()
        warnings.warn(
            f"{name}: {first} is read as two cells; give --separator ';' if commas are decimal marks, or ',' if not",
            stacklevel=3,
        )


def _width(rows) -> int:
    return statistics.mode(map(len, rows[1:] or rows))


def _is_header(name, first, body, width) -> bool:
    """Whether the first line holds names: no cell of it is a number, but for names that count the columns."""
    if not any(map(_is_value, first)):
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
    warnings.warn(f"{name}: the first line counts the columns and is read as {words}; else give {other}", stacklevel=2)
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


def _is_boolean(text) -> bool:
    return text.lower() in ("true", "false")


def _is_value(text) -> bool:
    return _is_boolean(text) or not math.isnan(as_number(text))


def _may_be_number(text) -> bool:
    return text.lower() in MISSING_CELLS or _is_value(text)


def _is_fraction(text) -> bool:
    return not as_number(text).is_integer() and not math.isnan(as_number(text))


class TextCellError(ValueError):
    """A cell that holds text where a number is expected."""


def bad_cell(place: str, name: str, text: str = "", hint: str = "") -> ValueError:
    """Return the error of a cell that is missing, no number or not finite."""
    where, shown = f"{place}, column {name!r}", text[:SHOWN_CHARACTERS] + "…" * (len(text) > SHOWN_CHARACTERS)
    if text.lower() in MISSING_CELLS:
        what = f"{f' ({text!r})' if text else ''} is missing; remove such rows, fill them in, give --missing"
    elif math.isinf(as_number(text)):
        what = f" holds {shown!r}, which is not finite; remove such rows, change the value"
    else:
        what = f" holds {shown!r}, which is not a number; change it"
    kind = TextCellError if math.isnan(as_number(text)) and text.lower() not in MISSING_CELLS else ValueError
    return kind(f"{where}{what}, or leave the column out with --columns{hint}")


def import_pyarrow():
    """Return pyarrow with its readers, which few commands need and which take long to import."""
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise ImportError('text and Parquet files need pyarrow: pip install "expfam_em[cli]"') from None
    return pyarrow
