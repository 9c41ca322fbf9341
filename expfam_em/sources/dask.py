"""Rows in Dask arrays and frames: each pass is a task for each few parts of them, on a cluster or in threads."""

from __future__ import annotations

import bisect
import contextlib
import copy
import functools
import itertools
import math
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, NamedTuple

import numpy as np

from expfam_em.rows.csr import CSRBlock, observations
from expfam_em.rows.grid import CHUNK_WORK, ENTRY_WORK, Tree, rows_per_chunk
from expfam_em.rows.parts import chunks_of, part_bounds, sum_part
from expfam_em.rows.protocol import Chunk, V
from expfam_em.rows.source import RowSource, as_weights, in_row_order, weight_of
from expfam_em.rows.threads import cached_property, thread_count, undisturbed
from expfam_em.sources.arrays import check_array
from expfam_em.sources.batches import common_dtype
from expfam_em.sources.parquet import check_columns

PARTS_PER_THREAD = 4
"""Parts of the rows for each thread of a cluster at least, so that none waits long for the last one."""

TASK_WORK = 1000 * CHUNK_WORK
"""Multiply-adds, half a second, up to which parts of one worker are one task; dearer ones may go to an idle worker."""

FAN = 8
"""Sums that a worker adds to one, where there are more than twice as many: the caller then holds few of them."""

SENT_BYTES = 1 << 20
"""Bytes up to which a function is sent with each task, all of them together; a larger one is sent to one worker, which
the others ask for it."""

GLANCE = 5.0
"""Seconds between two looks at whether a cluster has workers, and at which of them has which part."""


class ClusterLostError(ConnectionError):
    """A cluster that rows were on does not answer any more, or has no workers that live long enough."""


class DaskRows:
    """The rows of a Dask collection, in parts that stay on the workers of a cluster; see `Rows`.

    A fit to them has the bits of a fit to the array of the same rows, whatever the chunks of the collection, the number
    of workers and the order in which they answer. A part is made by tasks. If a worker is lost, the scheduler has
    others make its parts again, and the fit goes on with the same bits.

    Parameters
    ----------
    source : dask array (n, d), dask frame, or RowSource
        Chunks of an array may be CSR matrices. A `RowSource` is pickled, and workers read from it.
    client : distributed.Client, optional
        Of the cluster; by default the one that is active. Without any, parts are made in each pass, by threads of this
        process or what else `dask.config` says, and few are held at a time.
    columns : list of str, or of int for an array, optional
        Those to take, in this order; by default all but the weights.
    weight : str, or dask array or array of shape (n,), optional
        Column of the row weights, or the weights: finite and ≥ 0.
    n_jobs : int, optional
        Threads without a client; all cores if None.
    patience : float
        Seconds without any worker after which there is an error.

    Attributes
    ----------
    columns : list of str, or None
        Names of the columns of a frame.

    Raises
    ------
    ImportError
        Without Dask.
    ValueError
        If the source is no matrix of numbers with a row, a column is not there, or weights are no numbers ≥ 0.
    ClusterLostError
        If the scheduler does not answer, or there are no workers; later also by each pass.

    Examples
    --------
    >>> import dask.array as da, expfam_em as ef
    >>> X = da.random.default_rng(0).normal(size=(1000, 2), chunks=(300, 2))
    >>> model = ef.GaussianMixture(2, random_state=0).fit(ef.DaskRows(X))
    >>> bool((model.weights_ == ef.GaussianMixture(2, random_state=0).fit(X.compute()).weights_).all())
    True
    """

    n_data = 1

    def __init__(
        self, source: Any, client: Any = None, columns: Sequence[Any] | None = None, weight: Any = None,
        *, n_jobs: int | None = None, patience: float = 300.0,
    ) -> None:  # fmt: skip
        self.n_jobs: int = thread_count(n_jobs)
        self._engine = engine = _engine(client, self.n_jobs, patience)
        if isinstance(source, RowSource):
            if columns is not None or weight is not None:
                raise ValueError("columns and weight are given beside rows, which have their own")
            self.columns, self._n, self._weighted = getattr(source, "columns", None), len(source), True
            self._of = source.n_features, source.dtype, source.is_sparse
            bounds = part_bounds(self._n, engine.n_parts)
            self._parts = engine.map(_read, bounds[:-1], bounds[1:], shared=source)
            return
        # of the class: any attribute of a Delayed is another Delayed
        is_frame = hasattr(type(source), "npartitions") and hasattr(type(source), "columns")
        blocks = (_of_frame if is_frame else _of_array)(source, columns, weight, engine)
        self.columns, self._n, self._weighted = blocks.names, sum(blocks.lengths), weight is not None
        self._of = blocks.n_features, blocks.dtype, blocks.is_sparse
        bounds = part_bounds(self._n, engine.n_parts)
        pieces = _pieces(blocks.X, blocks.lengths, bounds)
        weights = _pieces(*blocks.weight, bounds) if blocks.weight else [None] * len(pieces)
        how = _How(*self._of, blocks.names, weight if isinstance(weight, str) else None)
        self._parts = engine.map(_part, bounds[:-1], bounds[1:], pieces, weights, shared=how)

    def __len__(self) -> int:
        return self._n

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self._of[0]

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the rows."""
        return self._of[1]

    @property
    def is_sparse(self) -> bool:
        """Whether chunks hold CSR rows."""
        return self._of[2]

    @cached_property
    def total_weights(self) -> np.ndarray:
        """Σ of the row weights, (1,)."""
        found = self.reduce(weight_of, ENTRY_WORK * self.n_features) if self._weighted else self._n
        return np.array([float(found)])

    def reduce(self, function: Callable[[Chunk], V], work: float) -> V:
        """Return the sum of ``function(chunk)`` over all chunks; see `Rows`.

        Raises
        ------
        ClusterLostError
            If the cluster is lost.
        """
        lists = self._engine.lists(self._parts, int(TASK_WORK / (max(work, 1.0) * len(self)) * len(self._parts)))
        trees = self._engine.map(_summed, lists, [rows_per_chunk(work)] * len(lists), shared=function)
        while len(trees) > 2 * FAN:
            trees = self._engine.map(_joined, [trees[at : at + FAN] for at in range(0, len(trees), FAN)])
        return _joined(None, self._engine.gather(trees)).total()

    def each(self, function: Callable[[Chunk], Any], work: float) -> Iterator[tuple[int, Any]]:
        """Yield the number of the first row and ``function(chunk)`` of every chunk, in order, a few parts at a time."""
        size = rows_per_chunk(work)
        for at in range(0, len(self._parts), FAN):
            parts = self._parts[at : at + FAN]
            for found in self._engine.gather(self._engine.map(_listed, parts, [size] * len(parts), shared=function)):
                yield from found

    def derive(self, function: Callable[[Chunk], Chunk], work: float) -> DaskRows:
        """Return rows changed part by part, which stay on the workers of a cluster; see `Rows`."""
        out = copy.copy(self)
        vars(out).pop("total_weights", None)
        out._parts = self._engine.map(_changed, self._parts, shared=function)
        [(*out._of, out._weighted)] = self._engine.gather(self._engine.map(_look, out._parts[:1]))
        return out


# ---- collections -------------------------------------------------------------------------------------------------


class _Blocks(NamedTuple):
    """The pieces of a collection, as tasks."""

    X: list[Any]
    lengths: list[int]
    n_features: int
    dtype: np.dtype
    is_sparse: bool = False
    names: list[str] | None = None
    weight: tuple[list[Any], list[int]] | None = None
    """Pieces of weights, and how long they are, where they are not in a column."""


def _of_array(X: Any, columns: Sequence[int] | None, weight: Any, engine: Any) -> _Blocks:
    import dask.array as da

    if not isinstance(X, da.Array):
        raise ValueError(
            f"{type(X).__name__} is no Dask array or frame, nor a RowSource; dask.array.from_array(X, chunks=...) is "
            "an array"
        )
    check_array(X.shape, columns, weight)
    if np.isnan(X.shape[0]):
        raise ValueError("the array does not know how many rows its chunks have: call compute_chunk_sizes() first")
    if columns is not None:
        X = X[:, list(columns)]
    of_rows = None
    if weight is not None:
        w = weight if isinstance(weight, da.Array) else np.asarray(weight)
        if w.shape != X.shape[:1]:
            raise ValueError(f"weight has shape {w.shape}; the array has {len(X)} rows, so it must be ({len(X)},)")
        _check_weight(w.dtype)
        w = w if isinstance(w, da.Array) else da.from_array(w, chunks=(X.chunks[0],))
        of_rows = engine.made(w.to_delayed().tolist()), list(w.chunks[0])
    X = X.rechunk({1: -1})
    blocks, is_sparse = engine.made(X.to_delayed().ravel().tolist()), not isinstance(X._meta, np.ndarray)
    return _Blocks(blocks, list(X.chunks[0]), X.shape[1], common_dtype([X.dtype]), is_sparse, None, of_rows)


def _of_frame(frame: Any, columns: Sequence[str] | None, weight: Any, engine: Any) -> _Blocks:
    if frame.ndim != 2:
        raise ValueError(f"a {type(frame).__name__} is a column; give a frame, as in frame[[{frame.name!r}]]")
    if isinstance(columns, str):
        raise ValueError(f"columns is {columns!r}; give a list of names, [{columns!r}]")
    named = isinstance(weight, str)
    if weight is not None and not named:
        raise ValueError(f"weight is {type(weight).__name__}; it must be the name of a column of the frame")
    names = [name for name in frame.columns if name != weight] if columns is None else list(columns)
    check_columns(list(frame.columns), [*names, *([weight] if named else [])], type(frame).__name__)
    if named:
        _check_weight(*_dtypes(frame[[weight]]))
    wanted = frame[list(dict.fromkeys([*names, *([weight] if named else [])]))]
    blocks = engine.made(wanted.to_delayed())
    lengths = engine.gather(engine.map(_length, blocks))
    return _Blocks(blocks, lengths, len(names), common_dtype(_dtypes(frame[names]), names), False, names)


def _dtypes(frame: Any) -> list[Any]:
    """Return the dtypes of the columns of a frame, as arrays without missing values have them."""
    return [getattr(dtype, "numpy_dtype", dtype) for dtype in frame.dtypes]


def _check_weight(dtype: Any) -> None:
    if dtype.kind not in "biuf":
        raise ValueError(f"weight holds {dtype}; numbers are needed")


def _pieces(blocks: list[Any], lengths: list[int], bounds: list[int]) -> list[list[tuple[Any, int, int]]]:
    """Return of which blocks each part is made, and of which of their rows."""
    starts = [0, *itertools.accumulate(lengths)]
    out = []
    for first, stop in itertools.pairwise(bounds):
        here = range(bisect.bisect_right(starts, first) - 1, bisect.bisect_left(starts, stop))
        cut = ((i, max(first - starts[i], 0), min(stop - starts[i], lengths[i])) for i in here)
        out.append([(blocks[i], a, b) for i, a, b in cut if a < b])
    return out


# ---- tasks -------------------------------------------------------------------------------------------------------


def _length(_: None, block: Any) -> int:
    return len(block)


def _read(source: RowSource, first: int, stop: int) -> Chunk:
    """Return some rows of a source as a part."""
    return in_row_order(source.chunk(first, stop))


class _How(NamedTuple):
    """What the pieces of a collection should be like."""

    n_features: int
    dtype: np.dtype
    is_sparse: bool
    names: list[str] | None
    weight: str | None
    """The column of the weights, if it is one."""


def _part(how: _How, first: int, stop: int, pieces: Any, weights: Any) -> Chunk:
    """Return a part made of pieces of a collection.

    Raises
    ------
    ValueError
        If a piece is not what the collection says, or weights are no numbers ≥ 0.
    """
    what = f"the collection, asked for rows {first} to {stop},"
    if how.weight is not None:
        weights = [(block[[how.weight]], a, b) for block, a, b in pieces]
    blocks: list[Any] = []
    row = first
    for block, a, b in pieces:
        X = observations(_numbers(block if how.names is None else block[how.names], a, b, how.dtype, row))
        if (found := (X.shape[1], isinstance(X, CSRBlock))) != (how.n_features, how.is_sparse):
            raise ValueError(
                f"{what} returned {_words(*found)}, and says that it has {_words(how.n_features, how.is_sparse)}"
            )
        blocks.append(X)
        row += len(X)
    if row != stop:
        raise ValueError(f"{what} returned {row - first}: its chunks have other lengths than it says")
    if weights is not None:
        columns = [np.ravel(_numbers(block, a, b, np.dtype(np.float64), first)) for block, a, b in weights]
        weights = as_weights(np.concatenate(columns), stop - first, what)
    whole: Any = CSRBlock.concatenate(blocks) if how.is_sparse else np.ascontiguousarray(np.concatenate(blocks))
    return Chunk(whole, weights, first)


def _words(n_features: int, is_sparse: bool) -> str:
    return f"{'sparse' if is_sparse else 'dense'} rows of {n_features} columns"


def _numbers(block: Any, first: int, stop: int, dtype: np.dtype, row: int) -> Any:
    """Return rows of a block of a collection in a dtype; the first of them is a row of the whole.

    Raises
    ------
    ValueError
        If the dtype cannot hold what the block does.
    """
    named = hasattr(block, "iloc")
    held = common_dtype(_dtypes(block) if named else [block.dtype], list(block.columns) if named else None)
    if not np.can_cast(held, dtype):
        raise ValueError(
            f"the collection says that it holds {dtype}, and rows from {row} on are {held}, which that cannot hold: "
            "its meta is wrong"
        )
    if not named:
        if isinstance(block, np.ma.MaskedArray):
            raise ValueError("the array is masked: fill it, as in da.ma.filled(X.astype(float), np.nan)")
        return block[first:stop].astype(dtype, copy=False)
    block = block.iloc[first:stop]
    if dtype.kind not in "f" and (gaps := block.isna().to_numpy()).any():
        at, column = np.argwhere(gaps)[0]
        raise ValueError(
            f"column {block.columns[column]!r} of row {row + at} is missing: rows with missing values must be in memory"
        )
    gap = {"na_value": np.nan} if dtype.kind == "f" else {}  # some versions of pandas try to make a whole number of it
    return block.to_numpy(dtype=dtype, **gap)


def _summed(function: Callable[[Chunk], Any], parts: list[Chunk], size: int) -> Tree:
    return _joined(None, [sum_part(function, part, size) for part in parts])


def _listed(function: Callable[[Chunk], Any], part: Chunk, size: int) -> list[tuple[int, Any]]:
    return [(chunk.first, function(chunk)) for chunk in chunks_of(part, size)]


def _joined(_: None, trees: list[Tree]) -> Tree:
    return functools.reduce(Tree.__add__, trees)


@undisturbed
def _changed(function: Callable[[Chunk], Chunk], part: Chunk) -> Chunk:
    return function(part)


def _look(_: None, part: Chunk) -> tuple[int, np.dtype, bool, bool]:
    return part.X.shape[1], part.X.dtype, isinstance(part.X, CSRBlock), part.weight is not None


# ---- who does the tasks --------------------------------------------------------------------------------------------


def _engine(client: Any, n_jobs: int, patience: float) -> Any:
    """Return who does tasks: the cluster of a client, of the active one, or this process."""
    try:
        import dask.delayed  # noqa: F401
    except ImportError as error:
        raise ImportError("Dask collections need Dask: pip install 'expfam_em[dask]'") from error
    if client is None and (distributed := sys.modules.get("distributed")) is not None:
        with contextlib.suppress(ValueError):
            client = distributed.default_client()
    if client is None:
        return _Here(n_jobs)
    if not hasattr(client, "nthreads"):
        raise TypeError(f"client is {client!r}; it must be a distributed.Client")
    if client.asynchronous:
        raise ValueError("the client is asynchronous, and a fit waits for it: give a client made outside of coroutines")
    return _Cluster(client, patience)


class _Here:
    """Tasks of this process, or of what else `dask.config` says; nothing is kept between two passes."""

    n_parts = 1 << 40  # as many as there can be, since few are held at a time

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs

    def made(self, tasks: list[Any]) -> list[Any]:
        """Return tasks of a collection."""
        return tasks

    def lists(self, parts: list[Any], _most: int) -> list[list[Any]]:
        """Return parts one by one, so that few are held at a time."""
        return [[part] for part in parts]

    def map(self, function: Callable[..., Any], *arguments: Sequence[Any], shared: Any = None) -> list[Any]:
        """Return tasks ``function(shared, *one)`` for each one of the arguments."""
        import dask

        call = dask.delayed(functools.partial(function, shared), name=function.__name__, pure=False)
        return [call(*one) for one in zip(*arguments, strict=True)]

    def gather(self, tasks: list[Any]) -> list[Any]:
        """Return the results of tasks."""
        import dask

        return list(dask.compute(*tasks, num_workers=self.n_jobs))


class _Cluster:
    """Tasks of the workers of a cluster, which keep what is referred to here."""

    def __init__(self, client: Any, patience: float) -> None:
        self.client, self.patience = client, patience
        self._where: dict[Any, Sequence[str]] = {}
        self._looked = 0.0
        deadline = time.monotonic() + patience
        with self._named_errors():
            asked: list[Any] = []
            while not (threads := self._threads()):
                if time.monotonic() > deadline:
                    raise self._without_workers()
                # a cluster that adapts to what there is to do has workers once there is something
                asked = asked or [client.submit(bool, pure=False)]
                time.sleep(0.1)
        self.n_parts = PARTS_PER_THREAD * threads

    def made(self, tasks: list[Any]) -> list[Any]:
        """Return tasks of a collection, which begin."""
        with self._named_errors():
            return self.client.compute(tasks)

    def lists(self, parts: list[Any], most: int) -> list[list[Any]]:
        """Return parts in lists of at most so many, each of one worker, which has as many for each of its threads."""
        self._locate(parts)
        of_worker: dict[Any, list[Any]] = {}
        for part in parts:  # one that nobody has yet is alone
            of_worker.setdefault(next(iter(self._where[part.key]), part.key), []).append(part)
        out = []
        for worker, held in of_worker.items():
            threads = self._threads_of.get(worker, 1)
            n = min(len(held), threads * math.ceil(len(held) / (threads * max(most, 1))))
            out += [held[i * len(held) // n : (i + 1) * len(held) // n] for i in range(n)]
        return out

    def _locate(self, parts: list[Any]) -> None:
        """Ask which workers have which parts, unless that is known since a short while."""
        keys, now = [part.key for part in parts], time.monotonic()
        if now < self._looked + GLANCE and all(self._where.get(key) for key in keys):
            return
        with self._named_errors():
            self._threads()
            self._where = self._asked(self.client.sync, self.client.scheduler.who_has, keys=keys)
        self._looked = now

    def map(self, function: Callable[..., Any], *arguments: Sequence[Any], shared: Any = None) -> list[Any]:
        """Return tasks ``function(shared, *one)`` for each one of the arguments, which begin."""
        import cloudpickle

        call: Any = cloudpickle.dumps(functools.partial(function, shared))
        with self._named_errors(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            if len(call) * len(arguments[0]) > SENT_BYTES:
                call = self.client.submit(bytes, call, pure=False)
            # by position: Dask gives a large keyword argument one key for all calls, so that two of them are mixed up
            name = function.__name__.strip("_")
            return self.client.map(_call, [call] * len(arguments[0]), *arguments, key=name, pure=False)

    def gather(self, tasks: list[Any]) -> list[Any]:
        """Return the results of tasks, which are then forgotten.

        Raises
        ------
        ClusterLostError
            If the scheduler does not answer, there are no workers for long, or a task has killed some.
        """
        try:
            with self.client.as_current(), self._named_errors(), _apart():
                return self._gathered(tasks)
        finally:
            for task in tasks:  # a cycle of references would hold results on the workers for some time
                task.release()

    def _gathered(self, tasks: list[Any]) -> list[Any]:
        """Return the results of tasks, or raise the error of one."""
        self._wait(tasks)
        limit = self.patience
        while not any(task.status == "error" for task in tasks):
            try:
                return self.client.sync(self.client.gather, tasks, callback_timeout=limit)
            except TimeoutError:  # workers that held results are gone, or results are large
                self._wait(tasks)
                limit *= 2
        return self.client.gather(tasks)

    def _wait(self, tasks: list[Any]) -> None:
        """Wait until tasks have ended, as long as there are workers."""
        import distributed

        seen = time.monotonic()
        while True:
            try:
                distributed.wait(tasks, timeout=GLANCE)
                return
            except TimeoutError:
                if any(task.status == "error" for task in tasks):  # others may wait for ever for what has failed
                    return
                if self._threads():
                    seen = time.monotonic()
                elif time.monotonic() - seen > self.patience:
                    raise self._without_workers() from None

    def _threads(self) -> int:
        """Return the number of threads of the workers."""
        self._threads_of = self._asked(self.client.nthreads)
        return sum(self._threads_of.values())

    def _asked(self, question: Callable[..., Any], *what: Any, **more: Any) -> Any:
        """Return what the scheduler says, if it does within the time of our patience."""
        try:
            return question(*what, **more, callback_timeout=self.patience)
        except TimeoutError as error:
            raise ClusterLostError(f"the scheduler has not answered for {self.patience:g} s") from error

    def _without_workers(self) -> ClusterLostError:
        return ClusterLostError(f"the cluster has had no workers for {self.patience:g} s")

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Raise a ClusterLostError for what is not the fault of a task."""
        from distributed.comm import CommClosedError
        from distributed.scheduler import KilledWorker

        try:
            if self.client.status != "running":  # what it kept is lost, even if it connects again
                raise CommClosedError(f"the client is {self.client.status}")
            yield
        except KilledWorker as error:
            raise ClusterLostError(f"workers died again and again, so the cluster gave up: {error}") from error
        except ClusterLostError:
            raise
        except Exception as error:
            if isinstance(error, CancelledError) and self.client.status == "running":
                raise ClusterLostError(
                    "the cluster has been restarted, or what it kept of the rows was cancelled: make the rows again"
                ) from error
            if not isinstance(error, (CancelledError, CommClosedError)) and self.client.status == "running":
                raise
            raise ClusterLostError(
                f"the scheduler does not answer any more ({type(error).__name__}): connect to another cluster and fit "
                "again"
            ) from error


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Leave the threads of a worker to the tasks that the caller waits for, where it is itself a task of a worker."""
    import distributed

    try:
        distributed.secede()
    except (ValueError, KeyError, AttributeError):  # it is no task, or has left before
        yield
        return
    try:
        yield
    finally:
        distributed.rejoin()


def _call(call: bytes, *arguments: Any) -> Any:
    return _loaded(call)(*arguments)


@functools.lru_cache(maxsize=2)
def _loaded(call: bytes) -> Callable[..., Any]:
    """Return a function that has been sent; what it makes beforehand is made once for the tasks of a pass."""
    return pickle.loads(call)
