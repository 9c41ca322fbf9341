"""Rows in arrays that are read slice by slice: memory maps, HDF5, Zarr; and in columns by name, as in frames."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from expfam_em.sources.batches import Batch, BatchRows, SizedRows
from expfam_em.sources.parquet import arrow_column, check_columns

FEWEST_READ = 1 << 15
"""Rows that are read at a time at least, where an array is stored in smaller pieces."""


def array_rows(array: Any, columns: Sequence[int] | None, weight: Any, n_jobs: int | None) -> SizedRows:
    """Return the rows of anything with a shape, a dtype and slices.

    Raises
    ------
    ValueError
        If it is no matrix of numbers with a row, or there is not a weight for each row.
    """
    if len(array.shape) != 2 or 0 in array.shape:
        raise ValueError(f"the array has shape {array.shape}; it must be (n, d), with at least one row and one column")
    n, d = array.shape
    if columns is not None and not all(isinstance(j, (int, np.integer)) and 0 <= j < d for j in columns):
        raise ValueError(f"columns is {columns!r}; those of an array have the numbers 0 to {d - 1}")
    if weight is not None:
        weight = weight if hasattr(weight, "shape") else np.asarray(weight)
        if weight.shape != (n,):
            raise ValueError(f"weight has shape {weight.shape}; the array has {n} rows, so it must be ({n},)")
    batches = functools.partial(_slices, array, None if columns is None else list(columns), weight)
    return SizedRows(
        n, batches, [array.dtype], d if columns is None else len(columns), weight is not None, None, n_jobs
    )


def _slices(array: Any, columns: list[int] | None, weight: Any, size: int) -> Iterator[Batch]:
    """Yield slices: those that the array is stored in, or chunks where it is stored in one piece."""
    stored = (getattr(array, "shards", None) or getattr(array, "chunks", None) or (size,))[0]
    step = stored * -(-FEWEST_READ // stored) if stored < FEWEST_READ <= size else stored
    for first in range(0, array.shape[0], step):
        X = array[first : first + step]
        # a memory map is read here, and not by the threads that compute
        X = np.array(X) if isinstance(array, np.ndarray) else np.asarray(X)
        w = None if weight is None else np.asarray(weight[first : first + step])
        yield Batch(X if columns is None else X[:, columns], w, fresh=True)


def column_rows(table: Any, columns: Sequence[str] | None, weight: Any, n_jobs: int | None) -> SizedRows:
    """Return the rows of a frame, a dict of arrays or a group of HDF5 or Zarr arrays: of columns by name.

    Raises
    ------
    ValueError
        If a column is not there, or has another length.
    """
    names = [name for name in table if not isinstance(weight, str) or name != weight]
    names = names if columns is None else list(columns)
    check_columns(list(table), [*names, *([weight] if isinstance(weight, str) else [])], type(table).__name__)
    arrays = [_sliceable(table[name]) for name in names]
    first = arrays[0] if arrays else np.empty(0)
    weights = _sliceable(table[weight]) if isinstance(weight, str) else None if weight is None else np.asarray(weight)
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
    for one in function():
        names = columns if columns is not None else _names_of(one)
        names = None if names is None else [name for name in names if name != weight]
        head = _batch_of(one, names, weight, 0)
        d = len(head.X) if isinstance(head.X, list) else head.X.shape[-1]
        batches = functools.partial(_converted, function, names, weight)
        return BatchRows(batches, head.dtypes, d, head.weight is not None, names, n_jobs)
    raise ValueError(f"{function!r} returned no batch of rows")


def _converted(function: Any, names: list[str] | None, weight: str | None, size: int) -> Iterator[Batch]:
    row = 0
    for one in function():
        batch = _batch_of(one, names, weight, row)
        yield batch
        row += len(batch)


def _names_of(batch: Any) -> list[str] | None:
    """Return the names of the columns of a batch; None if they have none."""
    if hasattr(batch, "schema"):
        return list(batch.schema.names)
    return list(batch) if hasattr(batch, "keys") else None


def _batch_of(one: Any, names: Sequence[str] | None, weight: str | None, row: int) -> Batch:
    """Return an array, a pair of an array and weights, a frame, a dict or a record batch as a batch."""
    where = f"the batch at row {row}"
    if names is None:
        X, w = one if isinstance(one, tuple) else (one, None)
        X = np.asarray(X)
        if X.ndim != 2 or X.dtype.kind not in "biuf":
            raise ValueError(f"{where} has shape {X.shape} and dtype {X.dtype}; it must be an array of numbers, (m, d)")
        return Batch(X, w)
    if (known := _names_of(one)) is None:
        raise ValueError(f"{where} is {type(one).__name__}, without names of columns; {list(names)} are asked for")
    wanted = [*names, *([] if weight is None else [weight])]
    check_columns(known, wanted, where)
    if hasattr(one, "schema"):
        found = [arrow_column(one, name, row, where) for name in wanted]
    else:
        found = [np.asarray(_sliceable(one[name])) for name in wanted]
    return Batch(found[: len(names)], None if weight is None else found[-1])
