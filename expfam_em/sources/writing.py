"""What is said of each row, written to a file in the order of the rows, a chunk at a time."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from expfam_em.rows.helpers import away_from_signals
from expfam_em.rows.protocol import Chunk, Rows
from expfam_em.rows.typing import Block
from expfam_em.sources.parquet import import_pyarrow

Out: TypeAlias = str | os.PathLike[str]
"""Path of a file to write."""


def write_by_row(
    path: Out, names: Sequence[str], rows: Rows, n_rows: int,
    function: Callable[[Chunk], Block], work: float,
) -> None:  # fmt: skip
    """Write what a function says of the rows of each chunk, an array (m,) or (m, len(names)).

    Nothing is left behind if it fails.

    Parameters
    ----------
    path : path
        To a .npy or a .parquet file, which is replaced.
    names : list of str
        Of the columns of a .parquet file.
    rows : Rows
        That are read by this process.
    n_rows : int
    function : callable (Chunk) -> array
    work : float
        See `Rows.reduce`.

    Raises
    ------
    ValueError
        If the path has another suffix, or is that of no file.
    """
    path = Path(path)
    if path.suffix not in (".npy", ".parquet"):
        raise ValueError(f"out is {str(path)!r}; its suffix must be .npy or .parquet")
    if path.is_dir() or not path.parent.is_dir():
        what = "it is a folder" if path.is_dir() else "there is no such folder"
        raise ValueError(f"out is {str(path)!r}: {what}; give the path of a file in a folder that is there")
    away_from_signals(functools.partial(_write, path, list(names), rows, n_rows, function, work))


def _write(
    path: Path, names: list[str], rows: Rows, n_rows: int, function: Callable[[Chunk], Block], work: float,
    is_wanted: Callable[[], bool],
) -> None:  # fmt: skip
    part = path.with_name(f".{path.name}.part")
    file: Any = (_Npy if path.suffix == ".npy" else _Parquet)(part, names, n_rows)

    def put(first: int, block: Block) -> int:
        if not is_wanted():
            raise KeyboardInterrupt
        file.put(first, block)
        return 0

    try:
        if hasattr(rows, "each"):  # other processes have the rows, but this one has the file
            for first, block in rows.each(function, work):
                put(first, block)
        else:
            rows.reduce(lambda chunk: put(chunk.first, function(chunk)), work)
        file.close()
        os.replace(part, path)
    finally:
        file.close()
        part.unlink(missing_ok=True)


class _Npy:
    """An array in a file, of which any rows can be written."""

    def __init__(self, path: Path, names: list[str], n_rows: int) -> None:
        self.path, self.n, self.lock = path, n_rows, threading.Lock()
        self.array: Any = None

    def put(self, first: int, block: Block) -> None:
        with self.lock:
            if self.array is None:
                shape = (self.n, *block.shape[1:])
                self.array = np.lib.format.open_memmap(self.path, "w+", block.dtype, shape)
        self.array[first : first + len(block)] = block

    def close(self) -> None:
        if self.array is not None:
            self.array.flush()
        self.array = None


class _Parquet:
    """Columns in a file, which are written in order; few blocks wait for their turn, since chunks come in order."""

    def __init__(self, path: Path, names: list[str], n_rows: int) -> None:
        self.arrow, self.path, self.names, self.lock = import_pyarrow(), path, names, threading.Lock()
        self.next, self.waiting = 0, dict[int, Block]()
        self.file: Any = None

    def put(self, first: int, block: Block) -> None:
        with self.lock:
            self.waiting[first] = block
            while self.next in self.waiting:
                turn = self.waiting.pop(self.next)
                self._write(turn)
                self.next += len(turn)

    def _write(self, block: Block) -> None:
        columns = [np.ascontiguousarray(column) for column in block.reshape(len(block), -1).T]
        table = self.arrow.table(dict(zip(self.names, columns, strict=True)))
        if self.file is None:
            self.file = self.arrow.parquet.ParquetWriter(self.path, table.schema)
        self.file.write_table(table)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
