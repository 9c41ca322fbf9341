"""Rows in arrays that are read slice by slice: memory maps, HDF5, Zarr; and in columns by name, as in frames."""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from expfam_em.sources.batches import Batch, BatchRows, SizedRows
from expfam_em.sources.parquet import arrow_column, check_columns, data_names

FEWEST_READ = 1 << 15
"""Rows that are read at a time at least, where an array is stored in smaller pieces."""


class UnnamedError(ValueError):
    """Raised where columns are asked for by name, and rows have no names of columns."""


def array_rows(array: Any, columns: Sequence[Any] | None, weight: str | None, n_jobs: int | None) -> SizedRows:
    """Return the rows of anything with a shape, a dtype and slices.

    Raises
    ------
    ValueError
        If it is no matrix of numbers with a row, or has no such columns.
    """
    check_array(array.shape, columns, weight)
    n, d = array.shape
    batches = functools.partial(_slices, array, columns)
    return SizedRows(n, batches, [array.dtype], d if columns is None else len(columns), False, None, n_jobs)


def check_array(shape: tuple[Any, ...], columns: Sequence[Any] | None, weight: Any) -> None:
    """Raise a ValueError unless an array is a matrix with a row, has such columns, and ``weight`` is no name."""
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"the array has shape {shape}; it must be (n, d), with at least one row and one column")
    n, d = shape
    if isinstance(weight, str):
        raise UnnamedError(f"weight is {weight!r}, and the columns of an array have no names: give the weights, ({n},)")
    if columns is not None and not all(isinstance(j, (int, np.integer)) and 0 <= j < d for j in columns):
        raise UnnamedError(f"columns is {columns!r}; those of an array have the numbers 0 to {d - 1}")


def _slices(array: Any, columns: Sequence[int] | None, size: int) -> Iterator[Batch]:
    """Yield slices: those that the array is stored in, or chunks where it is stored in one piece."""
    stored = (getattr(array, "shards", None) or getattr(array, "chunks", None) or (size,))[0]
    step = stored * -(-FEWEST_READ // stored) if stored < FEWEST_READ <= size else stored
    in_memory = isinstance(array, np.ndarray)
    for first in range(0, array.shape[0], step):
        X = np.asarray(array[first : first + step])
        # a memory map is read where it is copied to a chunk, which is not left to the threads that compute
        yield Batch(X if columns is None else X[:, columns], fresh=columns is not None or not in_memory)


def column_rows(table: Any, columns: Sequence[str] | None, weight: str | None, n_jobs: int | None) -> SizedRows:
    """Return the rows of a frame, a dict of arrays or a group of HDF5 or Zarr arrays: of columns by name.

    Raises
    ------
    ValueError
        If a column is not there, or has another length.
    """
    names = [name for name in table if name != weight] if columns is None else list(columns)
    check_columns(list(table), [*names, *([] if weight is None else [weight])], type(table).__name__)
    arrays = [_sliceable(table[name]) for name in names]
    first = arrays[0] if arrays else np.empty(0)
    weights = None if weight is None else _sliceable(table[weight])
    for name, array in zip([*names, "weight"], [*arrays, first if weights is None else weights], strict=True):
        if arrays and (array.shape != (len(first),) or not len(array)):
            raise ValueError(
                f"column {name!r} has shape {array.shape}; all must be (n,), and the first has {len(first)}"
            )
    dtypes = [array.dtype for array in arrays]
    batches = functools.partial(_beside, arrays, weights)
    return SizedRows(len(first), batches, dtypes, len(names), weights is not None, [str(n) for n in names], n_jobs)


def _sliceable(column: Any) -> Any:
    """Return a column of a frame as an array, and anything with slices as it is."""
    return (
        column.to_numpy() if hasattr(column, "to_numpy") else column if hasattr(column, "shape") else np.asarray(column)
    )


def _beside(arrays: list[Any], weight: Any, size: int) -> Iterator[Batch]:
    for first in range(0, len(arrays[0]), size):
        rows = slice(first, first + size)
        yield Batch([np.asarray(one[rows]) for one in arrays], None if weight is None else np.asarray(weight[rows]))


def stream_rows(function: Any, columns: Sequence[str] | None, weight: str | None, n_jobs: int | None) -> BatchRows:
    """Return the rows of the batches of an iterator that a function returns, again and again.

    Raises
    ------
    ValueError
        If the first batch makes no sense, or there is none.
    """
    for one in _iterated(function):
        names = columns if columns is not None else _names_of(_pair(one, 0)[0])
        names = None if names is None else [name for name in names if name != weight]
        head = _batch_of(one, names, weight, 0)
        d = len(head.X) if isinstance(head.X, list) else head.X.shape[-1]
        batches = functools.partial(_converted, function, names, weight)
        rows = BatchRows(batches, head.dtypes, d, head.weight is not None, names, n_jobs)
        rows.compare(head)
        return rows
    raise ValueError(f"{function!r} returned no batch of rows")


def _iterated(function: Any) -> Iterator[Any]:
    if not hasattr(found := function(), "__iter__"):
        raise ValueError(f"{function!r} returned {type(found).__name__}; it must return an iterator of batches")
    try:
        for one in found:  # noqa: UP028 - yield from would close an iterator that is given twice, which is said
            yield one
    finally:
        if hasattr(found, "close") and not isinstance(found, Generator):  # a reader of a file, as of pandas.read_csv
            found.close()


def _converted(function: Any, names: list[str] | None, weight: str | None, size: int) -> Iterator[Batch]:
    row = 0
    for one in _iterated(function):
        batch = _batch_of(one, names, weight, row)
        yield batch
        row += len(batch)


def _names_of(batch: Any) -> list[str] | None:
    """Return the names of the columns of a batch; None if they have none."""
    if hasattr(batch, "schema"):
        return data_names(batch.schema)
    return list(batch) if hasattr(batch, "keys") else None


def _pair(one: Any, row: int) -> tuple[Any, Any]:
    """Return rows and their weights, None where they have none."""
    if not isinstance(one, tuple):
        return one, None
    if len(one) != 2:
        raise ValueError(f"the batch at row {row} is a tuple of {len(one)}; it must be one of rows and their weights")
    return one


def _batch_of(one: Any, names: Sequence[str] | None, weight: str | None, row: int) -> Batch:
    """Return an array, a pair of an array and weights, a frame, a dict or a record batch as a batch."""
    where, (X, w) = f"the batch at row {row}", _pair(one, row)
    known, wanted = _names_of(X), [*(names or ()), *([] if weight is None else [weight])]
    if known is None and wanted:
        raise UnnamedError(f"{where} is {type(X).__name__}, without names of columns; {wanted} are asked for")
    if sparse.issparse(X):
        raise ValueError(f"{where} is sparse; batches are dense: convert them, or fit a sparse matrix of all rows")
    if known is None:
        X = np.asarray(X)
        if X.ndim != 2 or X.dtype.kind not in "biuf":
            raise ValueError(f"{where} has shape {X.shape} and dtype {X.dtype}; it must be an array of numbers, (m, d)")
        return Batch(X, w)
    if names is None:
        raise ValueError(f"{where} has the columns {', '.join(map(str, known))}, and those before have no names")
    if w is not None and weight is not None:
        raise ValueError(f"{where} has weights beside its column {weight!r} of weights: give either")
    schema = getattr(X, "schema", None)
    check_columns(known if schema is None else schema.names, wanted, where)
    if schema is not None:
        found = [arrow_column(X, name, row, where) for name in wanted]
    else:
        found = [np.asarray(_sliceable(X[name])) for name in wanted]
    if any(column.shape != (found[0].size,) for column in found):
        shapes = ", ".join(str(column.shape) for column in found)
        raise ValueError(f"{where} has columns of shapes {shapes}; all must be (m,)")
    return Batch(found[: len(names)], w if weight is None else found[-1])
