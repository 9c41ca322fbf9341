"""Files of rows, text, NumPy or Parquet, by the names of their columns; what is wrong is said by row and column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from expfam_em.cli.files import File
from expfam_em.cli.text import bad_cell, import_pyarrow, open_text
from expfam_em.rows.columns import listed
from expfam_em.sources import rows_from
from expfam_em.sources.parquet import MissingError, data_names, numpy_dtype, parquet_rows

UNNAMED = re.compile(r"Unnamed: 0(\.\d+)*|__index_level_\d+__")
"""Names that pandas gives to row names which have none."""

ROW_NAMES = "row_names"
"""How row names without a name are called here."""

FEWEST_COUNTED = 10
"""Rows of a column without a name that are taken for a count; fewer numbers may count by chance."""

READ_ROWS = 1 << 16
"""Rows that are read at a time."""


@dataclass(frozen=True)
class Table:
    """A file of rows: the names of its columns, and a way to read some of them.

    Attributes
    ----------
    name : str
        Of the file.
    names : list of str
        1, 2, … where the file has no names.
    named : bool
        Whether the file has names.
    read : callable(column numbers, weighted, missing) -> Rows, or None without rows
        The last column is that of the weights if they are weighted; missing cells become NaN if they are allowed.
    place : callable(row) -> str
        How to name a row, which is counted from 0.
    row_names : list of str
        Names of the columns that hold the names of rows, and are no part of the data unless asked for.
    text_columns : callable(column numbers) -> column numbers
        Those that hold text.
    labels : callable(column numbers) -> dict of column number to labels (n,)
        What pandas makes categories of; None is a missing one.
    """

    name: str
    names: list[str]
    named: bool
    read: Callable[[list[int], bool, bool], Any]
    place: Callable[[int], str]
    row_names: list[str]
    text_columns: Callable[[list[int]], list[int]] = field(default=lambda chosen: [])
    labels: Callable[[list[int]], dict[int, Any]] = field(default=lambda chosen: {})

    @property
    def data_names(self) -> list[str]:
        """Names of the columns without those of row names."""
        return [name for name in self.names if name not in self.row_names]

    def rows(self, names: list[str], weight: str | None = None, missing: bool = False) -> Any:
        """Return the columns of these names, and a column of weights, as rows that are read a few at a time.

        Raises
        ------
        ValueError
            For a name that no column or several columns have, and for a file without rows; of a text also for a cell
            that is missing, not finite or no number.
        """
        # read together, because all have the same decimal mark
        return self._with_rows(self.read(self._places_of(names, weight), weight is not None, missing))

    def _with_rows(self, rows: Any) -> Any:
        if rows is None or not len(rows):
            raise ValueError(f"{self.name} has no rows{' below its header' if self.named else ''}")
        return rows

    def _places_of(self, names: list[str], weight: str | None = None) -> list[int]:
        counts, wanted = Counter(self.names), [*names, *([] if weight is None else [weight])]
        for name in wanted:
            if counts[name] != 1:
                what = "names must differ, but several columns are" if counts[name] else "no column is"
                raise ValueError(f"{self.name}: {what} named {name!r}; the columns are {listed(self.names)}")
        if not names:
            raise ValueError(f"{self.name}: no column is left to read")
        return [self.names.index(name) for name in wanted]

    def mixed_rows(
        self, names: list[str], weight: str | None, missing: bool, labelled: list[str] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Return rows as `rows` does, with codes in the columns of labels, and the categories of these by name.

        Labels are the columns that hold text, unless they are given by name as ``labelled``.
        """
        wanted = [*names, *([] if weight is None else [weight])]
        places = self._places_of(names, weight)
        text = self.text_columns(places[: len(names)]) if labelled is None else [self.names.index(n) for n in labelled]
        if not text:
            return self.rows(names, weight, missing), {}
        pandas = import_pandas()
        found = {i: pandas.Categorical(column) for i, column in self.labels(text).items()}
        X = np.empty((len(found[text[0]]), len(wanted)))
        for j, i in enumerate(places):
            if i in found:
                X[:, j] = np.where(found[i].codes < 0, np.nan, found[i].codes)
        if at := [j for j, i in enumerate(places) if i not in found]:
            numbers = [wanted[j] for j in at]
            X[:, at] = self.in_memory(self.rows(numbers, None, missing), numbers, missing)[0]
        rows = self._with_rows(_of_array(X, list(range(len(wanted))), weight is not None))
        return rows, {self.names[i]: column.dtype for i, column in found.items()}

    def in_memory(self, rows: Any, names: list[str], missing: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """Return rows as an array, row after row, and their weights.

        Raises
        ------
        ValueError
            For a value that is missing or not finite.
        """
        X, weight = np.empty((len(rows), len(names)), rows.dtype), np.empty(len(rows))
        try:
            for chunk in rows.chunks(READ_ROWS):
                here = slice(chunk.first, chunk.first + len(chunk.X))
                X[here] = chunk.X
                weight[here] = 1.0 if chunk.weight is None else chunk.weight
        except MissingError as error:
            raise self.missing(error) from None
        if X.dtype.kind == "f" and (bad := np.isinf(X) if missing else ~np.isfinite(X)).any():
            row, column = np.argwhere(bad)[0]
            value = X[row, column]
            raise bad_cell(self.place(row), names[column], "" if np.isnan(value) else str(value))
        return X, None if chunk.weight is None else weight

    def missing(self, error: MissingError) -> ValueError:
        """Return the error of a cell of Parquet that is missing; of a folder, the file is named."""
        inside = error.where.startswith(f"{self.name}/")
        return bad_cell(f"{error.where}: row {error.row + 1}" if inside else self.place(error.row), error.column)


def open_table(file: File, separator: str | None = None, header: bool | None = None) -> Table:
    """Look at a file without making numbers of its rows yet.

    Raises
    ------
    ValueError
        If it holds no table of numbers.
    ImportError
        For Parquet without pyarrow.
    """
    if not file.kind:
        text = open_text(file, separator, header)

        def read(chosen, weighted, missing):
            return _of_array(X := text.read(chosen, missing), list(range(X.shape[1])), weighted)

        table = _table(file, text.names, text.named, read, text.place)
        return replace(table, text_columns=text.text_columns, labels=text.labels)
    if separator is not None or header is not None:
        raise ValueError(f"{file.name} is no text file; leave out --separator and --header")
    return _open_npy(file) if file.kind == ".npy" else _open_parquet(file)


def _of_array(X, columns, weighted) -> Any:
    if not len(X):
        return None
    return rows_from(X, columns[:-1], X[:, columns[-1]]) if weighted else rows_from(X, columns)


def _table(file, names, named, read, place=None, index=()) -> Table:
    """Return a table; its row names are the columns without a name, and those of ``index``."""
    unnamed = [i for i, name in enumerate(names) if not name]
    names = list(names)
    for count, i in enumerate(unnamed, 1):
        names[i] = ROW_NAMES if count == 1 else f"{ROW_NAMES}_{count}"
    found = [name for i, name in enumerate(names) if i in unnamed or name in index or UNNAMED.fullmatch(name)]
    row_names = found if len(found) < len(names) else []
    return Table(file.name, names, named, read, place or (lambda row: f"{file.name}: row {row + 1}"), row_names)


def counting_columns(rows: Any) -> list[int]:
    """Return the columns that are 0, 1, 2, … or 1, 2, 3, …, and long enough for that to be no chance."""
    found, first = list(range(rows.n_features)) if len(rows) >= FEWEST_COUNTED else [], None
    with suppress(MissingError):  # whoever reads the rows says so
        for chunk in rows.chunks(READ_ROWS) if found else ():
            first = np.array(chunk.X[0], float) if first is None else first
            counts = chunk.first + np.arange(len(chunk.X))
            found = [j for j in found if first[j] in (0, 1) and np.array_equal(chunk.X[:, j], first[j] + counts)]
            if not found:
                break
        return found
    return []


# ---- NumPy and Parquet --------------------------------------------------------------------------------------


def _open_npy(file) -> Table:
    try:
        found = np.load(file.path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{file.name} is not a NumPy file of numbers: {error}") from None
    if found.ndim not in (1, 2) or found.dtype.kind not in "biuf":
        raise ValueError(f"{file.name} does not hold a table of numbers, (n, d)")
    X = found[:, None] if found.ndim == 1 else found
    names = [str(i + 1) for i in range(X.shape[1])]
    return _table(file, names, False, lambda chosen, weighted, missing: _of_array(X, chosen, weighted))


def _open_parquet(file) -> Table:
    arrow = import_pyarrow()
    paths = sorted(file.path.rglob("*.parquet")) if file.path.is_dir() else [file.path]
    try:
        schema = arrow.parquet.read_schema(paths[0])
    except ValueError as error:
        raise ValueError(f"{file.name} is not a Parquet file: {error}") from None
    names = schema.names

    def read(chosen, weighted, missing):
        wanted = [names[i] for i in chosen]
        for name in wanted:
            if numpy_dtype(schema.field(name).type).kind not in "biuf":
                files = map(arrow.parquet.ParquetFile, paths)
                rows = (row for one in files for row in one.iter_batches(1, columns=[name]) if len(row))
                if (first := next(rows, None)) is None:
                    return None
                raise bad_cell(f"{file.name}: row 1", name, str(first.column(0)[0].as_py()))
        if not missing:
            return parquet_rows(file.path, wanted[: len(wanted) - weighted], wanted[-1] if weighted else None, None)
        columns = arrow.parquet.read_table(file.path, columns=wanted).columns
        X = np.column_stack([column.cast("float64").to_numpy() for column in columns])
        return _of_array(X, list(range(len(wanted))), weighted)

    def text_columns(chosen):
        known = arrow.types.is_dictionary, arrow.types.is_string, arrow.types.is_large_string
        return [i for i in chosen if any(is_text(schema.field(names[i]).type) for is_text in known)]

    def labels(chosen):
        found = arrow.parquet.read_table(file.path, columns=[names[i] for i in chosen])
        return {i: found.column(names[i]).to_pandas() for i in chosen}

    table = _table(file, names, True, read, index=set(names) - set(data_names(schema)))
    return replace(table, text_columns=text_columns, labels=labels)


def import_pandas() -> Any:
    """Return pandas, which makes frames of columns of text."""
    try:
        import pandas
    except ImportError:
        raise ImportError('columns of text need pandas: pip install "expfam_em[cli]"') from None
    return pandas
