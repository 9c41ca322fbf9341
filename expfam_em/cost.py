"""What a fit will cost in seconds and bytes on this machine, measured on a few rows."""

from __future__ import annotations

import copy
import functools
import math
import operator
import sys
import time
import tracemalloc
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse

from expfam_em.em.options import Options
from expfam_em.em.ranks import BINS, SPREAD_CELLS, in_equal_bins, most_collected
from expfam_em.em.sample import SORTED_ROWS
from expfam_em.em.seeds import most_seeding_rows
from expfam_em.em.starts import initialise_all
from expfam_em.em.state import Problem, begin, em_step
from expfam_em.estep.dense import Dense
from expfam_em.estep.grouped import with_groups
from expfam_em.estep.plan import TABLE_ENTRIES, n_statistics, plan, single_pass
from expfam_em.estep.reduce import check_support
from expfam_em.families import Product
from expfam_em.family import checked
from expfam_em.family.alike import fingerprint
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.binding import bind
from expfam_em.family.kernel_form import needs_table, table
from expfam_em.family.registry import family_of
from expfam_em.rows.csr import project
from expfam_em.rows.grid import MOST_ROWS, rows_per_chunk
from expfam_em.rows.memory import ArrayRows, as_rows
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Observations

DRAWN_ROWS = 1 << 12
"""Rows that are looked at first."""

SAMPLE_ENTRIES = 1 << 21
"""Most entries of a sample, 16 MB."""

SAMPLE_SECONDS, MOST_SAMPLE_SECONDS = 0.03, 0.3
"""How long a pass over a sample should take, and how long it may take for every thread to have a chunk."""

MOST_GUESS_SECONDS = 2.0
"""How long a kind of rows is tried: of a family given by T and A alone, η may be searched for a minute in vain."""

KEYS_BYTES, BIN_ARRAYS = 32, 5
"""Bytes of the keys of a row that is collected to draw seeds, and arrays with all bins that are held then."""

FEW_ROWS = 16
"""Rows of a step that is all M-step."""

SETTLING_STEPS = 3
"""Steps before one is timed: the first M-steps of a family solved numerically take longer."""

CLOCK = time.perf_counter if sys.platform == "win32" else time.process_time
"""Seconds of all threads, in which other programs that run meanwhile do not count. Windows counts them in 1/64 s."""

Draw = Callable[[int], Any]

KINDS: tuple[Callable[[np.random.Generator, int, int], Array], ...] = (
    lambda rng, n, d: rng.uniform(0.01, 0.99, (n, d)),
    lambda rng, n, d: np.minimum(rng.poisson(3.0, (n, d)), 8.0),
    lambda rng, n, d: rng.binomial(1, 0.4, (n, d)).astype(float),
    lambda rng, n, d: 1.0 + rng.gamma(2.0, size=(n, d)),
    lambda rng, n, d: 1.0 + np.minimum(rng.poisson(3.0, (n, d)), 7.0),
    lambda rng, n, d: rng.dirichlet(np.full(d, 2.0), n),
    lambda rng, n, d: _unit(rng.normal(size=(n, d)) + 1.0),
    lambda rng, n, d: np.sort(rng.gamma(2.0, size=(n, d)), axis=1),
    lambda rng, n, d: _definite(rng, n, d),
)
"""Rows of many supports, of which a family is given the first that it can be fitted to. Rows in the first are numbers,
positive numbers and shares."""


@dataclass(frozen=True)
class Cost:
    """What a fit will cost.

    Attributes
    ----------
    e_step, m_step : float
        Seconds of each E-step, in proportion to n, and of each M-step, with all else that a step costs however few rows
        there are; of all runs together.
    start : float
        Seconds before the first step: checks, constants of the family, tables and starts.
    n_steps : int
        Steps of the fit.
    bytes : int
        Memory beyond the data at the most.
    """

    e_step: float
    m_step: float
    start: float
    n_steps: int
    bytes: int

    @property
    def seconds_per_step(self) -> float:
        """Seconds of one step of all runs."""
        return self.e_step + self.m_step

    @property
    def seconds(self) -> float:
        """Seconds of the fit: the start, with a first E-step, and ``n_steps`` steps."""
        return self.start + self.e_step + self.n_steps * self.seconds_per_step

    def __str__(self) -> str:
        return (
            f"about {_seconds(self.seconds_per_step)} a step, {_seconds(self.seconds)} for {self.n_steps} steps, "
            f"{_bytes(self.bytes)} beyond the data"
        )


@dataclass(frozen=True)
class Rates:
    """What has been measured, for each row and however few there are; bytes that come and go are those of a thread."""

    e_step: float
    m_step: float
    start: tuple[float, float]
    held: tuple[float, float]
    passing: tuple[float, float]


@undisturbed
def estimated_cost(
    family: ExponentialFamily | str,
    n: int,
    d: int,
    n_components: int,
    *,
    X: Observations | None = None,
    dtype: DTypeLike = np.float64,
    n_init: int = 1,
    n_steps: int | None = None,
    n_jobs: int | None = None,
) -> Cost:
    """Return what a fit will cost on this machine, from passes over a few rows that take some tenths of a second.

    For a family given by T and A alone it may take some seconds more to guess rows: up to 2 s for each of ten kinds.

    Seconds are a + b n: the work of a row is that of the rows measured, all different. Equal rows that a fit counts
    once make it cheaper, and so do runs that end early. Seconds are those of the processor, divided by the threads for
    the E-step: other programs make a fit slower than that. A step is surer than a start and than memory, which may
    differ by a third. The start is "k-means++", or "mixed" if there are several runs;
    `GaussianMixture` by default makes up to 25 steps of k-means instead. What ``guard`` of an estimator takes after the
    last step is not counted, as long as some steps. Measurements are kept as long as Python runs.

    Parameters
    ----------
    family : ExponentialFamily, or the name of one
        Your own, or one of `expfam_em.families`.
    n, d, n_components : int ≥ 1
        Rows, columns and components.
    X : (m, d) array or sparse matrix, optional
        Rows like those to be fitted, with as many zeros or missing values. By default they are guessed: the first of
        some kinds that the family takes, without missing values.
    dtype : numpy dtype
        float64 or float32; that of dense rows.
    n_init : int ≥ 1
        Runs, all of which make their steps together.
    n_steps : int, optional
        Steps of the fit; 100 by default, the most that a fit makes by default.
    n_jobs : int, optional
        Threads; all cores by default.

    Returns
    -------
    Cost

    Raises
    ------
    ValueError
        If a number is out of range, no rows can be guessed, or the family cannot be fitted to X.

    Examples
    --------
    >>> import expfam_em as ef
    >>> cost = ef.estimated_cost(ef.families.Poisson(), 1_000_000, 8, 4, n_jobs=1)
    >>> str(cost).startswith("about ")
    True
    """
    known: ExponentialFamily = family_of(family)
    steps = 100 if n_steps is None else n_steps
    sizes = {"n": n, "d": d, "n_components": n_components, "n_init": n_init, "n_steps": steps + 1}
    for name, value in sizes.items():
        if operator.index(value) < 1:
            raise ValueError(f"{name} is {value - (name == 'n_steps')!r}; it is too small a number")
    if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype is {dtype!r}; it must be float64 or float32")
    with np.errstate(all="ignore"):  # of rows that a family does not say that it refuses
        draw = guessed(known, d, n_components) if X is None else _repeated(X, d)
        return _cost(known, lambda m: draw(m).astype(dtype), X is None, n, n_components, n_init, steps, n_jobs)


def _cost(
    family: ExponentialFamily, draw: Draw, guessed: bool, n: int, n_components: int, n_init: int, steps: int,
    n_jobs: int | None,
) -> Cost:  # fmt: skip
    """Return what a fit to rows like those drawn will cost."""
    few = _rows(family, draw(DRAWN_ROWS), n_jobs)
    check_support(family, few)
    bound = bind(family, few)
    kernel = single_pass(bound, few)
    p = n_statistics(bound, few)
    tabled = isinstance(kernel, Dense) and needs_table(kernel.form)
    kept = not tabled or n * table(bound, kernel.form, few.X[:1]).shape[1] <= TABLE_ENTRIES
    chunk = rows_per_chunk(kernel.work(n_components, p))
    threads = min(few.n_jobs, max(1, math.ceil(n / chunk) * n_init))
    measure = functools.partial(_measured, family, draw, few.n_features, n_components, n_init, threads, chunk, kept)
    if guessed:
        key = fingerprint(family), few.n_features, n_components, n_init, few.dtype.str, threads, kept
        _, rates = _KEPT[key] if key in _KEPT else _KEPT.setdefault(key, (family, measure()))
    else:
        rates = measure()
    of_thread = rates.passing[0] * min(n, MOST_ROWS) + rates.passing[1]
    of_caller = max(of_thread, _bytes_of_sample(bound, few, n, n_components, p))
    # memory that a thread has used stays its own
    size = rates.held[0] * n + rates.held[1] + of_caller + (threads - 1) * of_thread
    start = rates.start[0] * n + rates.start[1]
    return Cost(rates.e_step * n * n_init, rates.m_step, start, steps, math.ceil(size))


_KEPT: dict[Hashable, tuple[ExponentialFamily, Rates]] = {}
"""Measurements, each with its family, which stays alive: its fingerprint may hold addresses of what it is made of."""


# ---- rows ----------------------------------------------------------------------------------------------------


def guessed(family: ExponentialFamily, d: int, n_components: int = 1) -> Draw:
    """Return a function that draws rows, m -> (m, d), to which so many components of a family can be fitted.

    Raises
    ------
    ValueError
        If the family takes none of the kinds that are tried.
    """
    if isinstance(family, Product):
        return _side_by_side(family, d)
    natural = np.zeros(d)  # of the families of labels, whose supports only they know
    kinds = (*KINDS, lambda rng, n, d: family.sample(natural, n, rng))
    why: Exception | None = None
    for kind in kinds:
        try:
            rows = kind(np.random.default_rng(0), DRAWN_ROWS, d)
            check_support(family, as_rows(rows, None, 1))
            few = as_rows(rows[: FEW_ROWS + 2 * n_components], None, 1)
            _, state = _started(_in_time(family), few, K=n_components, kept=False)
        except Exception as error:  # a family of the user's may raise anything where rows are none of its own
            why = why or error
        else:
            if state is not None and np.isfinite(state.bounds).all():
                return functools.partial(_drawn, kind, d)
    raise ValueError(f"no rows of {d} columns could be guessed that {family!r} takes: give some as X") from why


def _in_time(family: ExponentialFamily) -> ExponentialFamily:
    """Return a family of which η is searched for some seconds from now only, if it has to be searched for."""
    if not checked.is_default(family.to_natural):
        return family
    end, hurried = time.perf_counter() + MOST_GUESS_SECONDS, copy.copy(family)

    def log_partition(natural: Array) -> Array:
        if time.perf_counter() > end:
            raise TimeoutError(f"no natural parameters were found in {MOST_GUESS_SECONDS} s")
        return family.log_partition(natural)

    vars(hurried)["log_partition"] = log_partition
    return hurried


def _drawn(kind: Callable[[np.random.Generator, int, int], Array], d: int, m: int) -> Array:
    return kind(np.random.default_rng(0), m, d)


def _unit(X: Array) -> Array:
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def _definite(rng: np.random.Generator, n: int, d: int) -> Array:
    """Return positive definite matrices, row by row, if d is a square; a ValueError if not."""
    q = math.isqrt(d)
    if q * q != d:
        raise ValueError(f"{d} columns are no square matrix")
    roots = rng.normal(size=(n, q, q + 2))
    return (roots @ roots.transpose(0, 2, 1)).reshape(n, d)


def _side_by_side(family: Product, d: int) -> Draw:
    """Return a function that draws the columns of each part."""
    parts = [
        (guessed(part, len(columns)), columns) for part, columns in zip(family.families, family.columns_of, strict=True)
    ]

    def draw(m: int) -> Array:
        out = np.zeros((m, d))
        for draw_part, columns in parts:
            out[:, columns] = draw_part(m)
        return out

    return draw


def _repeated(X: Any, d: int) -> Draw:
    """Return a function that gives as many of some rows as wanted, again and again."""
    X = X.tocsr() if sparse.issparse(X) else np.asarray(X)
    if X.ndim != 2 or X.shape[1] != d or not X.shape[0]:
        raise ValueError(f"X has shape {X.shape}; it must have some rows of d = {d} columns")
    return lambda m: X[np.arange(m) % X.shape[0]]


# ---- measuring -----------------------------------------------------------------------------------------------


def _measured(
    family: ExponentialFamily, draw: Draw, d: int, K: int, B: int, threads: int, chunk: int, kept: bool
) -> Rates:
    """Return the rates of a fit of B runs."""
    started = functools.partial(_started, family, K=K, kept=kept)
    few = _rows(family, draw(max(FEW_ROWS, 2 * K)), 1)
    problem, state = started(_rows(family, draw(max(DRAWN_ROWS // 2, 2 * K)), 1))
    short = replace(problem, pass_=plan(problem.pass_.family, few, K, once=not kept))
    for _ in range(SETTLING_STEPS):
        state = em_step(problem, state)
    m_step = _time(lambda: em_step(short, state))
    first = max(_time(lambda: em_step(problem, state)) - m_step, 1e-9) / len(problem.pass_.rows)
    m, used = _sample_size(first, d, chunk, threads)
    rows = _rows(family, draw(m), used)
    long = replace(problem, pass_=plan(problem.pass_.family, rows, K, once=not kept))
    busy = _time(lambda: em_step(long, state)) * (used if CLOCK is time.perf_counter else 1)
    e_step = max(busy - m_step, 1e-9) / (m - len(few))  # of all threads
    state = state.take(np.zeros(B, np.int64))
    of_all = _time(lambda: em_step(short, state)) - len(few) * B * e_step
    affordable = min(2 * MOST_ROWS, SAMPLE_ENTRIES // d, int(MOST_SAMPLE_SECONDS / (first * B)))
    most = max(4 * K, DRAWN_ROWS // 4, affordable)
    start, held, passing = _of_start(family, started, draw, B, threads, (max(2 * K, most // 4), most))
    return Rates(e_step / threads, max(of_all, 1e-9), start, held, passing)


def _bytes_of_sample(family: ExponentialFamily, rows: ArrayRows, n: int, K: int, p: int) -> float:
    """Return the bytes that come and go while seeds are drawn from more rows than are sorted; 0 for no more.

    Bins that hold a row which is drawn are collected, joined and put in order, beside some arrays with all bins.
    """
    if n <= SORTED_ROWS or rows.is_sparse:
        return 0.0
    most = most_seeding_rows(family, p, K)
    key = project(rows.X, np.random.default_rng(0).standard_normal(rows.n_features))
    share = np.histogram(key[np.isfinite(key)], SPREAD_CELLS)[0] / len(key)
    enough, of_equal_length = most_collected(rows.n_features, most), in_equal_bins(most, n, share)
    collected = min(n, enough, of_equal_length if of_equal_length < enough / 2 else most * n / BINS)
    width = rows.n_features * rows.dtype.itemsize + KEYS_BYTES
    return float(collected * (3 * width + 8) + BIN_ARRAYS * 8 * BINS)


def _rows(family: ExponentialFamily, X: Any, n_jobs: int | None) -> ArrayRows:
    """Return rows, in groups by what is missing in them."""
    return with_groups(family, as_rows(X, None, n_jobs))


def _started(
    family: ExponentialFamily, rows: ArrayRows, *, K: int, kept: bool, init: str = "random", B: int = 1
) -> Any:
    """Return a problem and its state after the first E-step, made as an estimator makes it."""
    check_support(family, rows)
    pass_ = plan(bind(family, rows), rows, K, once=not kept)
    data_set = np.zeros(B, np.int64)
    starts = initialise_all(pass_, data_set, K, init, 0)
    problem = Problem(pass_, data_set[: len(starts.runs)], Options())
    return problem, begin(problem, starts.mixture) if len(starts.runs) else None


def _sample_size(seconds_of_row: float, d: int, chunk: int, threads: int) -> tuple[int, int]:
    """Return how many rows to measure, and by how many threads: each has a chunk, if that is not too much."""
    most = max(SAMPLE_ENTRIES // d, chunk)
    wanted = max(FEW_ROWS, min(most, int(SAMPLE_SECONDS / seconds_of_row)))
    if chunk * seconds_of_row > MOST_SAMPLE_SECONDS:
        return max(wanted, DRAWN_ROWS // 2), 1
    used = min(threads, max(1, most // chunk))
    return chunk * used * max(1, min(wanted // chunk, most // (chunk * used))), used


def _of_start(
    family: ExponentialFamily, started: Callable[..., Any], draw: Draw, B: int, threads: int, sizes: tuple[int, int]
) -> Any:
    """Return seconds, bytes held and bytes that come and go of a start, each for a row and however few there are."""
    init, part = "k-means++" if B == 1 else "mixed", -(-sizes[1] // SORTED_ROWS)
    seconds, kept = [], []
    for m in sizes:
        made = functools.partial(started, _rows(family, draw(m), threads), init=init, B=B)
        chunk = functools.partial(started, _rows(family, draw(m // part), 1), init=init, B=B)
        took, *memory = _traced(chunk)
        seconds.append(took if part == 1 and took > MOST_SAMPLE_SECONDS else _time(made))
        kept.append(memory)
    of_memory = (sizes[0] // part, sizes[1] // part)
    return [
        _line(sizes, (seconds[0], seconds[1])),
        *(_line(of_memory, (low, high)) for low, high in zip(*kept, strict=True)),
    ]


def _line(at: tuple[int, int], values: tuple[float, float]) -> tuple[float, float]:
    """Return the slope and what is left at 0 of the line through two points, neither below 0."""
    slope = max(0.0, (values[1] - values[0]) / (at[1] - at[0]))
    return slope, max(0.0, values[0] - slope * at[0])


def _time(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes: the shortest of three, as long as these are short."""
    found: list[float] = []
    while not found or (len(found) < 3 and sum(found) < SAMPLE_SECONDS):
        start = CLOCK()
        function()
        found.append(CLOCK() - start)
    return min(found)


def _traced(function: Callable[[], object]) -> tuple[float, float, float]:
    """Return the seconds that a call takes, the bytes that its value holds, and those that came and went meanwhile."""
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        start = CLOCK()
        value = function()
        seconds = CLOCK() - start
        after, peak = tracemalloc.get_traced_memory()
        del value
    finally:
        if not traced:
            tracemalloc.stop()
    return seconds, float(after - before), float(peak - after)


# ---- words ---------------------------------------------------------------------------------------------------


def _seconds(value: float) -> str:
    return _in_units(value, {"h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6})


def _bytes(value: float) -> str:
    return _in_units(value, {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3, "bytes": 1.0})


def _in_units(value: float, units: dict[str, float]) -> str:
    """Return a number with two digits and the largest unit that it reaches."""
    unit, size = next((pair for pair in units.items() if value >= pair[1]), list(units.items())[-1])
    return f"{value / size:.{0 if value >= 10 * size else 1}f} {unit}"
