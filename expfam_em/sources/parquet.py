"""Rows in Parquet files, decoded a batch at a time, whatever their row groups."""

from __future__ import annotations

import bisect
import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expfam_em.sources.batches import Batch, SizedRows

DECODED_ROWS = 1 << 17
"""Rows that are decoded at a time where a row group is too long to be decoded whole."""

WHOLE_BYTES = 1 << 26
"""Most bytes of a row group that is decoded whole, a column after another, which takes 5 to 13 % less of a pass."""


class MissingError(ValueError):
    """A value that is missing in a column of rows that are read a few at a time."""

    def __init__(self, where: str, column: str, row: int) -> None:
        super().__init__(where, column, row)
        self.where, self.column, self.row = where, column, row

    def __str__(self) -> str:
        return (
            f"{self.where}: column {self.column!r} of row {self.row} is missing: rows with missing values must be in "
            "memory, as NaN, or in a frame"
        )


def parquet_rows(path: Path, columns: Sequence[str] | None, weight: str | None, n_jobs: int | None) -> SizedRows:
    """Return the rows of a Parquet file, or of those in a folder, ordered by their paths.

    Raises
    ------
    ImportError
        Without pyarrow.
    ValueError
        If there is no such file, a column is not there, or files have different columns.
    """
    parquet = import_pyarrow().parquet
    paths = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not paths:
        raise ValueError(f"{path} is a folder without a .parquet file")
    ends, schema = [0], None
    for one in paths:
        try:
            with parquet.ParquetFile(one, pre_buffer=False) as file:
                here = file.schema_arrow
                ends.append(ends[-1] + file.metadata.num_rows)
        except (import_pyarrow().ArrowInvalid, FileNotFoundError) as error:
            raise ValueError(f"{one} is no Parquet file that can be read: {error}") from None
        schema = here if schema is None else schema
        asked = data_names(schema) if columns is None else columns
        check_columns(here.names, [*asked, *([] if weight is None else [weight])], str(one))
    assert schema is not None
    names = [name for name in asked if name != weight]
    dtypes = [numpy_dtype(schema.field(name).type) for name in names]
    batches, stamp = functools.partial(_batches, paths, ends, names, weight), functools.partial(_stamp, paths)
    return SizedRows(ends[-1], batches, dtypes, len(names), weight is not None, names, n_jobs, stamp=stamp)


def _stamp(paths: list[Path]) -> list[tuple[int, ...]]:
    """Return what is another once a file has been written to or replaced."""
    return [(found.st_ino, found.st_size, found.st_mtime_ns) for found in map(os.stat, paths)]


def _batches(
    paths: list[Path], ends: list[int], names: list[str], weight: str | None, size: int, first: int = 0
) -> Iterator[Batch]:
    parquet, wanted = import_pyarrow().parquet, [*names, *([] if weight is None else [weight])]
    for path, begin, end in zip(paths, ends, ends[1:], strict=False):
        if end <= max(first, begin):
            continue
        with parquet.ParquetFile(path, pre_buffer=False, memory_map=True) as file:
            lengths = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            starts = [0, *itertools.accumulate(lengths)]
            skip = max(first - begin, 0)
            group = bisect.bisect_right(starts, skip) - 1
            start, groups, columns = starts[group], range(group, len(lengths)), list(dict.fromkeys(wanted))
            for batch in _decoded(file, groups, columns):
                if (rest := batch.slice(min(max(skip - start, 0), batch.num_rows))).num_rows:
                    at = start + batch.num_rows - rest.num_rows
                    found = [arrow_column(rest, name, at, str(path)) for name in wanted]
                    yield Batch(found[: len(names)], None if weight is None else found[-1])
                start += batch.num_rows


def _decoded(file: Any, groups: Iterable[int], columns: list[str]) -> Iterator[Any]:
    """Yield the record batches of some row groups, none of which has rows of two."""
    for group in groups:
        if 8 * len(columns) * file.metadata.row_group(group).num_rows > WHOLE_BYTES:
            yield from file.iter_batches(DECODED_ROWS, row_groups=[group], columns=columns, use_threads=False)
        else:
            found = {name: file.read_row_group(group, [name], use_threads=False).column(0) for name in columns}
            yield from import_pyarrow().table(found).to_batches()


def arrow_column(batch: Any, name: str, row: int, where: str) -> np.ndarray:
    """Return a column of a record batch, which begins at some row, as an array of numbers.

    Raises
    ------
    MissingError
        If a value is missing.
    """
    column = batch.column(name)
    if column.null_count:
        raise MissingError(where, name, row + column.is_null().index(True).as_py())
    if import_pyarrow().types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if import_pyarrow().types.is_decimal(column.type):
        column = column.cast("float64")
    return np.asarray(column.to_numpy(zero_copy_only=False))


def data_names(schema: Any) -> list[str]:
    """Return the names of columns, without those in which pandas has stored the index of a frame."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in schema.names if name not in index]


def numpy_dtype(kind: Any) -> Any:
    """Return the dtype of an Arrow type; that of objects where it is none of numbers."""
    kind = kind.value_type if import_pyarrow().types.is_dictionary(kind) else kind
    try:
        return np.dtype(np.float64 if import_pyarrow().types.is_decimal(kind) else kind.to_pandas_dtype())
    except (NotImplementedError, TypeError):
        return np.dtype(object)


def check_columns(names: Sequence[str], wanted: Sequence[str], where: str) -> None:
    """Raise a ValueError unless each wanted column is there once."""
    for name in wanted:
        if (times := list(names).count(name)) != 1:
            what = "no column is" if not times else "several columns are"
            raise ValueError(f"{where}: {what} named {name!r}; the columns are {', '.join(map(str, names))}")


def import_pyarrow() -> Any:
    """Return pyarrow with its Parquet reader, or say how to install it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install 'expfam_em[files]'") from error
    return pyarrow
