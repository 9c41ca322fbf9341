"""Rows in files, CSV, NumPy or Parquet, as numbers; what is wrong with them is said by row, column and text."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MISSING_CELLS = {"", "nan", "na", "n/a", "null", "none", "?"}
"""What people write into an empty cell, in lower case."""


@dataclass(frozen=True)
class Table:
    """A file of rows: the names of its columns, and a way to get some of them as numbers.

    Attributes
    ----------
    path : Path
    names : list of str
        1, 2, … where the file has no names.
    named : bool
        Whether the file has names.
    read : callable(column numbers) -> (n, columns)
    """

    path: Path
    names: list[str]
    named: bool
    read: Callable[[list[int]], np.ndarray]

    def columns(self, names: list[str]) -> np.ndarray:
        """Return the columns of these names, (n, d).

        Raises
        ------
        ValueError
            For a name that no column or several columns have, and for a cell that is missing or no number.
        """
        counts, position = Counter(self.names), {name: i for i, name in enumerate(self.names)}
        for name in names:
            if counts[name] != 1:
                what = "several columns are" if name in self.names else "no column is"
                raise ValueError(f"{self.path}: {what} named {name!r}; the columns are {', '.join(self.names)}")
        if not names:
            raise ValueError(f"{self.path}: no column is left to read")
        # row after row, so that the last digits of a fit do not depend on where its rows come from
        X = np.ascontiguousarray(self.read([position[name] for name in names]))
        if X.dtype.kind == "f" and np.isnan(X).any():
            row, column = np.argwhere(np.isnan(X))[0]
            raise _bad_cell(self.path, row + 1, names[column])
        return X


def open_table(path: Path) -> Table:
    """Look at a file without reading its rows yet; the suffix says what it is, and anything else is CSV.

    Raises
    ------
    ValueError
        If it holds no table of numbers.
    ImportError
        For CSV and Parquet without pyarrow.
    """
    return {".npy": _open_npy, ".parquet": _open_parquet, ".pq": _open_parquet}.get(path.suffix, _open_csv)(path)


def _numbered(n_columns) -> list[str]:
    return [str(i + 1) for i in range(n_columns)]


def _bad_cell(path, row, name, text="", *, missing=True) -> ValueError:
    """Return the error of a cell that holds no number; rows are counted from 1."""
    place = f"{path}: row {row}, column {name!r}"
    if missing:
        return ValueError(f"{place}{f' ({text!r})' if text else ''} is missing; remove such rows or fill them in")
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    return ValueError(f"{place} holds {shown!r}, which is not a number")


# ---- NumPy and Parquet --------------------------------------------------------------------------------------


def _open_npy(path) -> Table:
    with open(path, "rb") as file:
        try:
            array = np.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{path} is not a NumPy file of numbers: {error}") from None
    if array.ndim not in (1, 2) or array.dtype.kind not in "biuf":
        raise ValueError(f"{path} does not hold a table of numbers, (n, d)")
    array = array[:, None] if array.ndim == 1 else array
    return Table(path, _numbered(array.shape[1]), False, lambda chosen: array[:, chosen])


def _pyarrow():
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise ImportError('CSV and Parquet files need pyarrow: pip install "expfam_em[cli]"') from None
    return pyarrow


def _open_parquet(path) -> Table:
    parquet = _pyarrow().parquet
    with open(path, "rb") as file:
        try:
            names = parquet.read_schema(file).names
        except ValueError as error:
            raise ValueError(f"{path} is not a Parquet file: {error}") from None

    def read(chosen):
        with parquet.ParquetFile(path) as file:
            X = np.empty((file.metadata.num_rows, len(chosen)))
            for j, name in enumerate(names[i] for i in chosen):  # one column at a time is held beside the result
                X[:, j] = _parquet_column(path, file.read(columns=[name]).column(name), name)
            return X

    return Table(path, names, True, read)


def _parquet_column(path, column, name) -> np.ndarray:
    if column.null_count:
        raise _bad_cell(path, column.is_null().index(True).as_py() + 1, name)
    values = column.to_numpy()
    if values.dtype.kind not in "biuf":
        raise _bad_cell(path, 1, name, str(column[0].as_py()) if len(column) else str(column.type), missing=False)
    return values


# ---- CSV ----------------------------------------------------------------------------------------------------


def _open_csv(path) -> Table:
    with _csv_file(path) as file:
        before, line = next(((i, line) for i, line in enumerate(file) if line.strip()), (0, None))
    if line is None:
        raise ValueError(f"{path} is empty")
    delimiter = max(",;\t", key=re.sub('"[^"]*"', "", line).count)
    cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
    named = any(cells) and not any(_is_number(cell) for cell in cells)
    names = _numbered(len(cells))
    if named:
        cells[0] = cells[0].removeprefix("#").lstrip()  # np.savetxt writes its header so
        names = [cell or number for cell, number in zip(cells, names, strict=True)]
    return Table(path, names, named, lambda chosen: _read_csv(path, delimiter, before, names, named, chosen))


def _csv_file(path):
    # bytes that are not UTF-8 end up in an error that names their cell
    return open(path, newline="", encoding="utf-8-sig", errors="replace")


def _read_csv(path, delimiter, before, names, named, chosen) -> np.ndarray:
    pyarrow = _pyarrow()
    numbered = _numbered(len(names))  # several columns may have one name
    wanted = [numbered[i] for i in chosen]
    try:
        table = pyarrow.csv.read_csv(
            path,
            pyarrow.csv.ReadOptions(skip_rows=before + named, column_names=numbered),
            pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pyarrow.float64())),
        )
        X = np.column_stack([column.to_numpy() for column in table.columns])
        if not np.isnan(X).any():
            return X
    except pyarrow.ArrowInvalid:
        pass
    # cell by cell: slower, but it can say what is wrong where
    rows = list(_csv_rows(path, delimiter, names, named, chosen))
    return np.array(rows, np.float64).reshape(-1, len(chosen))


def _csv_rows(path, delimiter, names, named, chosen) -> Iterator[list[float]]:
    with _csv_file(path) as file:
        rows = (row for row in csv.reader(file, delimiter=delimiter) if row)
        if named:
            next(rows)
        for number, row in enumerate(rows, 1):
            if len(row) != len(names):
                raise ValueError(f"{path}: row {number} has {len(row)} cells; the first line has {len(names)}")
            cells = [row[i].strip() for i in chosen]
            for i, text in zip(chosen, cells, strict=True):
                if (missing := text.lower() in MISSING_CELLS) or not _is_number(text):
                    raise _bad_cell(path, number, names[i], text, missing=missing)
            yield list(map(float, cells))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # a number to Python, but nowhere else
