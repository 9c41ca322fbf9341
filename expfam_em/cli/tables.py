"""Rows in files, text, NumPy or Parquet, as numbers; what is wrong with them is said by file, row, column and text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expfam_em.cli.text import bad_cell, import_pyarrow, open_text

UNNAMED = re.compile(r"Unnamed: 0(\.\d+)*|__index_level_\d+__")
"""Names that pandas gives to row names which have none."""

ROW_NAMES = "row_names"
"""How row names without a name are called here."""

FEWEST_COUNTED = 10
"""Rows of a column without a name that are taken for a count; fewer numbers may count by chance."""

LISTED = 20
"""Names of columns listed in an error."""


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
    place : callable(row) -> str
        How to name a row, which is counted from 0.
    row_names : list of str
        Names of the columns that hold the names of rows, and are no part of the data unless asked for.
    """

    path: Path
    names: list[str]
    named: bool
    read: Callable[[list[int]], np.ndarray]
    place: Callable[[int], str]
    row_names: list[str]

    @property
    def data_names(self) -> list[str]:
        """Names of the columns without those of row names."""
        return [name for name in self.names if name not in self.row_names]

    def columns(self, names: list[str]) -> np.ndarray:
        """Return the columns of these names, (n, d).

        Raises
        ------
        ValueError
            For a name that no column or several columns have, for a cell that is missing, not finite or no number, and
            for a file without rows.
        """
        counts, position = Counter(self.names), {name: i for i, name in enumerate(self.names)}
        for name in names:
            if counts[name] != 1:
                what = "names must differ, but several columns are" if name in position else "no column is"
                more = f", … ({len(self.names)})" if len(self.names) > LISTED else ""
                known = ", ".join(self.names[:LISTED]) + more
                raise ValueError(f"{self.path}: {what} named {name!r}; the columns are {known}")
        if not names:
            raise ValueError(f"{self.path}: no column is left to read")
        # row after row, so that the last digits of a fit do not depend on where its rows come from
        X = np.ascontiguousarray(self.read([position[name] for name in names]))
        if not len(X):
            raise ValueError(f"{self.path} has no rows{' below its header' if self.named else ''}")
        if X.dtype.kind == "f" and not np.isfinite(X).all():
            row, column = np.argwhere(~np.isfinite(X))[0]
            value = X[row, column]
            raise bad_cell(self.place(row), names[column], "" if np.isnan(value) else str(value))
        return X


def open_table(path: Path, separator: str | None = None, header: bool | None = None) -> Table:
    """Look at a file without making numbers of its rows yet; the suffix says what it is, and anything else is text.

    Raises
    ------
    ValueError
        If it holds no table of numbers.
    ImportError
        For Parquet without pyarrow.
    """
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".parquet", ".pq"):
        text = open_text(path, separator, header)
        return _table(path, text.names, text.named, text.read, text.place)
    if separator is not None or header is not None:
        raise ValueError(f"{path} is no text file; leave out --separator and --header")
    return _open_npy(path) if suffix == ".npy" else _open_parquet(path)


def _table(path, names, named, read, place=None, index=()) -> Table:
    """Return a table; its row names are the columns without a name, and those of ``index``."""
    unnamed = [i for i, name in enumerate(names) if not name]
    names = list(names)
    for count, i in enumerate(unnamed, 1):
        names[i] = ROW_NAMES if count == 1 else f"{ROW_NAMES}_{count}"
    found = [name for i, name in enumerate(names) if i in unnamed or name in index or UNNAMED.fullmatch(name)]
    row_names = found if len(found) < len(names) else []
    return Table(path, names, named, read, place or (lambda row: f"{path}: row {row + 1}"), row_names)


def counting_columns(X: np.ndarray) -> list[int]:
    """Return the columns that are 0, 1, 2, … or 1, 2, 3, …, and long enough for that to be no chance."""
    if len(X) < FEWEST_COUNTED:
        return []
    rows = np.arange(len(X))
    likely = np.flatnonzero(np.isin(X[0], (0, 1)) & (X[-1] - X[0].astype(float) == rows[-1]))
    return [int(j) for j in likely if np.array_equal(X[:, j], X[0, j] + rows)]


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
    return _table(path, [str(i + 1) for i in range(array.shape[1])], False, lambda chosen: array[:, chosen])


def _open_parquet(path) -> Table:
    parquet = import_pyarrow().parquet
    with open(path, "rb") as file:
        try:
            schema = parquet.read_schema(file)
            index = (schema.pandas_metadata or {}).get("index_columns", [])
        except ValueError as error:
            raise ValueError(f"{path} is not a Parquet file: {error}") from None
    names = schema.names

    def read(chosen):
        with parquet.ParquetFile(path) as file:
            X, start = np.empty((file.metadata.num_rows, len(chosen))), 0
            # some rows at a time: less is held beside the result, and the time of a call grows with all columns
            for batch in file.iter_batches(columns=[names[i] for i in chosen]):
                for j, i in enumerate(chosen):
                    column = batch.column(names[i])
                    X[start : start + len(column), j] = _parquet_column(path, column, names[i], start)
                start += batch.num_rows
            return X

    return _table(path, names, True, read, index=index)


def _parquet_column(path, column, name, start) -> np.ndarray:
    if column.null_count:
        raise bad_cell(f"{path}: row {start + column.is_null().index(True).as_py() + 1}", name)
    types = import_pyarrow().types
    values = (column.cast("float64") if types.is_decimal(column.type) else column).to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "biuf":
        raise bad_cell(f"{path}: row {start + 1}", name, str(column[0].as_py()))
    return values
