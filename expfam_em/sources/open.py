"""What a user may give as rows."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from expfam_em.rows.protocol import Rows, is_rows
from expfam_em.sources.arrays import array_rows, column_rows, stream_rows
from expfam_em.sources.batches import BatchRows
from expfam_em.sources.dask import DaskRows
from expfam_em.sources.parquet import parquet_rows

Source: TypeAlias = Rows | os.PathLike[str] | Callable[[], Iterable[Any]]
"""Rows that are read a few at a time; also a path as text, and anything with shape, dtype and slices."""

SUFFIXES = (".npy", ".parquet", ".pq", ".h5", ".hdf5", ".zarr")


def rows_from(
    source: Any, columns: Sequence[str] | Sequence[int] | None = None, weight: Any = None, n_jobs: int | None = None
) -> Rows:
    """Return rows that are read a few at a time in each pass, wherever they are.

    A fit to them has the bits of a fit to the array of the same rows, in any order of batches, row groups or pieces.

    Parameters
    ----------
    source : path, array, frame, or function
        A .npy file; a Parquet file or a folder of them, read in the order of their paths; an HDF5 file or a Zarr folder
        with one matrix. Anything with ``shape``, ``dtype`` and slices, such as a memory map, an HDF5 dataset or a Zarr
        array. A frame, a dict, or a group of HDF5 or Zarr arrays, of columns (n,) by name. An Arrow table or dataset.
        A Dask array or frame; see `DaskRows`.
        A function without arguments that returns an iterator of batches: arrays (m, d), pairs of an array and weights
        (m,), frames, dicts or record batches; it is called once for each pass, and must return the same rows.
    columns : list of str, or of int for an array, optional
        Those to take, in this order; by default all but the weights.
    weight : str, or array of shape (n,), optional
        Column of the row weights, or the weights: finite and ≥ 0.
    n_jobs : int, optional
        Threads that compute, beside one that reads; all cores if None.

    Returns
    -------
    Rows
        What ``fit``, ``predict`` and `ef.fit` take as X.

    Raises
    ------
    ValueError
        If the source is of no known kind, has no rows, or columns are not there or hold no numbers.
    ImportError
        If a package is missing that reads the files.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> def batches():
    ...     for seed in range(3):
    ...         yield np.random.default_rng(seed).poisson(4.0, (1000, 2))
    >>> rows = ef.rows_from(batches)
    >>> ef.ExponentialFamilyMixture(ef.families.Poisson()).fit(rows).parameters_["rates"].round(1).tolist()
    [[4.0, 4.0]]
    """
    if is_rows(source):
        if columns is not None or weight is not None:
            raise ValueError("columns and weight are given beside rows, which have their own")
        return source
    if isinstance(columns, str):
        raise ValueError(f"columns is {columns!r}; give a list of names, [{columns!r}]")
    chosen = None if columns is None else [c.item() if isinstance(c, np.generic) else c for c in columns]
    if hasattr(source, "__dask_graph__") and callable(source):  # of dask.delayed; it claims to have every attribute
        raise TypeError(
            "a Delayed of dask does not say what it is before it is computed: give dask.array.from_delayed or "
            "dask.dataframe.from_delayed of it, or what .compute() returns"
        )
    if hasattr(source, "__dask_graph__"):
        return DaskRows(source, None, chosen, weight, n_jobs=n_jobs)
    if weight is None or isinstance(weight, str):
        return _opened(source, chosen, weight, n_jobs)
    return _opened(source, chosen, None, n_jobs).weighed(weight)


def _opened(source: Any, columns: Any, weight: str | None, n_jobs: int | None) -> BatchRows:
    """Return the rows of a source of any kind; their weights are one of its columns."""
    if isinstance(source, (str, os.PathLike)):
        return _of_path(Path(source), columns, weight, n_jobs)
    if hasattr(source, "to_batches"):
        return stream_rows(source.to_batches, columns, weight, n_jobs)
    if hasattr(source, "schema") and hasattr(source, "num_rows"):  # a record batch
        return stream_rows(functools.partial(iter, [source]), columns, weight, n_jobs)
    if hasattr(source, "keys") and getattr(source, "ndim", 2) == 2:
        return column_rows(source, columns, weight, n_jobs)
    if hasattr(source, "tocsr"):
        raise ValueError("a sparse matrix is in memory: give it to fit and predict themselves, or batches of rows")
    if hasattr(source, "shape") and hasattr(source, "dtype"):
        return array_rows(source, columns, weight, n_jobs)
    if callable(source):
        return stream_rows(source, columns, weight, n_jobs)
    what = (
        "an iterator, which can be read once only: give the function that makes it"
        if hasattr(source, "__next__")
        else "no such thing"
    )
    raise ValueError(f"{type(source).__name__} is {what}. Rows come from a path, an array, a frame or a function")


def is_source(X: Any) -> bool:
    """Whether X is something that `rows_from` reads and scikit-learn would not, or not without all of it in memory."""
    if isinstance(X, (np.ndarray, np.generic)) or is_rows(X):
        return False
    if isinstance(X, (str, os.PathLike)) or hasattr(X, "__next__") or (callable(X) and not hasattr(X, "shape")):
        return True
    return type(X).__module__.split(".")[0] in ("dask", "dask_expr", "h5py", "zarr", "pyarrow")


def _of_path(path: Path, columns: Any, weight: str | None, n_jobs: int | None) -> BatchRows:
    kind = path.suffix.lower()
    if not path.exists():
        raise ValueError(f"{path} does not exist; give a file ({', '.join(SUFFIXES)}) or a folder of .parquet files")
    if kind == ".npy":
        return array_rows(_memory_map(path), columns, weight, n_jobs)
    if kind in (".parquet", ".pq") or (path.is_dir() and kind != ".zarr"):
        return parquet_rows(path, columns, weight, n_jobs)
    if kind == ".zarr":
        import zarr

        try:
            group = zarr.open(path, mode="r")
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"{path} is no Zarr folder that can be read: {error}") from None
        return _of_group(path, group, columns, weight, n_jobs)
    if kind in (".h5", ".hdf5"):
        import h5py

        try:
            file = h5py.File(path, "r")
            if weight is None and _matrix_of(_arrays_of(file), columns) is not None:
                file.close()  # each piece of a matrix is read once in a pass
                file = h5py.File(path, "r", rdcc_nbytes=0)
        except OSError as error:
            raise ValueError(f"{path} is no HDF5 file that can be read: {error}") from None
        return _of_group(path, file, columns, weight, n_jobs)
    raise ValueError(
        f"{path} is no file of a known kind; these are {', '.join(SUFFIXES)}, and folders of .parquet files. Of text, "
        "give pandas.read_csv(path), or, if it is too large, lambda: pandas.read_csv(path, chunksize=100_000)"
    )


def _memory_map(path: Path) -> Any:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, IsADirectoryError) as error:
        raise ValueError(f"{path} is not a NumPy file of numbers: {error}") from None


def _of_group(path: Path, group: Any, columns: Any, weight: str | None, n_jobs: int | None) -> BatchRows:
    """Return the rows of the one matrix of a file, or of its columns by name."""
    if hasattr(group, "shape"):
        return array_rows(group, columns, weight, n_jobs)
    arrays = _arrays_of(group)
    if (matrix := _matrix_of(arrays, columns)) is not None:
        if weight is not None and weight not in arrays:
            raise ValueError(f"{path} has no array {weight!r} of weights; it has {', '.join(arrays)}")
        rows = array_rows(matrix, columns, None, n_jobs)
        return rows if weight is None else rows.weighed(arrays[weight])
    n_matrices = sum(len(array.shape) == 2 for array in arrays.values())
    if not arrays or (n_matrices and not _are_names(columns, arrays)):
        raise ValueError(
            f"{path} has {n_matrices} matrices among {', '.join(arrays) or 'nothing'}: open it and give one of them"
        )
    return column_rows(arrays, columns, weight, n_jobs)


def _arrays_of(group: Any) -> dict[str, Any]:
    return {name: group[name] for name in group if hasattr(group[name], "shape")}


def _are_names(columns: Any, arrays: dict[str, Any]) -> bool:
    return columns is not None and all(name in arrays for name in columns)


def _matrix_of(arrays: dict[str, Any], columns: Any) -> Any:
    """Return the one matrix among the arrays of a file; None if there are others, or columns are arrays by name."""
    matrices = [array for array in arrays.values() if len(array.shape) == 2]
    return matrices[0] if len(matrices) == 1 and not _are_names(columns, arrays) else None
