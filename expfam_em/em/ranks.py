"""Rows drawn at equal distances in an order of all rows, found without a number per row in memory."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from expfam_em.rows.csr import CSRBlock, project
from expfam_em.rows.protocol import Chunk, Rows
from expfam_em.rows.typing import Array, Floats, Integers

BINS = 1 << 18
"""Bins in which row weights are counted at a time: two megabytes."""

COLLECTED_ENTRIES = 1 << 22
"""Entries of X, 32 MB, that are collected at most, or `COLLECTED_ROWS` rows for each rank that is looked for."""

COLLECTED_ROWS = 16


@dataclass(frozen=True)
class Extremes:
    """Least and greatest key, how many rows are present, and the number behind that of the last one."""

    low: float
    high: float
    present: int
    end: int

    def __add__(self, other: Extremes) -> Extremes:
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Extremes(low, high, self.present + other.present, max(self.end, other.end))


@dataclass(frozen=True)
class Counted:
    """Row weight, rows, least and greatest key of each bin; the last two are empty where nobody asked for them."""

    weight: np.ndarray
    rows: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __add__(self, other: Counted) -> Counted:
        weight, low, high = (
            self.weight + other.weight,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )
        counted_twice = self.rows is not self.weight or other.rows is not other.weight
        return Counted(weight, self.rows + other.rows if counted_twice else weight, low, high)


@dataclass(frozen=True)
class Collected:
    """Rows that were looked for: lists of bins, numbers, keys, weights and rows by chunk, or one array of each."""

    bin: Any
    number: Any
    key: Any
    weight: Any
    X: Any

    def __add__(self, other: Collected) -> Collected:
        return Collected(*(one + two for one, two in zip(vars(self).values(), vars(other).values(), strict=True)))

    def in_order(self) -> Collected:
        """Return one array of each, ordered by key, and by number where keys are equal."""
        *by_row, X = vars(self).values()
        whole = CSRBlock.concatenate(X) if isinstance(X[0], CSRBlock) else np.concatenate(X)
        of_bin, number, key, weight = (np.concatenate(parts) for parts in by_row)
        order = np.lexsort((number, key))
        return Collected(of_bin[order], number[order], key[order], weight[order], whole[order])


class Level(NamedTuple):
    """Intervals of rows that are neighbours in the order, each cut into bins.

    Attributes
    ----------
    low, high : (m,)
        Least and greatest key in each interval; or row number, where all keys are equal.
    by_number : (m,) bool
        Whether it is the number.
    before : (m,)
        Weight of all rows in front of the interval.
    start : (m + 1,) int
        First bin of each interval, and how many there are.
    inner : (bins,) int, or None
        Interval of the next level that each bin is; −1 for none.
    """

    low: np.ndarray
    high: np.ndarray
    by_number: np.ndarray
    before: np.ndarray
    start: np.ndarray
    inner: Any = None

    @property
    def n_bins(self) -> int:
        """Bins of all intervals."""
        return int(self.start[-1])

    def bins(self, interval: Any, key: Floats, number: Any) -> np.ndarray:
        """Return the bins of some rows, given the interval that each lies in; later rows lie in no lower one."""
        if self.by_number.all() or not self.by_number.any():
            x = number if self.by_number[0] else key
        else:
            x = np.where(self.by_number[interval], number, key)
        per, low = np.diff(self.start), self.low / 2  # keys may span more than float64 holds
        half = self.high / 2 - low
        share = x / 2 - low[interval]
        share /= np.where(half > 0, half, np.inf)[interval]
        share *= per[interval]
        np.clip(share, 0, (per - 1)[interval], out=share)
        return self.start[interval] + share.astype(np.int64)


def extremes(direction: Array, chunk: Chunk) -> Extremes:
    """Return the extremes of the rows of a chunk that carry weight."""
    _, _, number, key = _present(direction, chunk)
    end = int(number[-1]) + 1 if len(number) else 0
    return Extremes(key.min(initial=np.inf), key.max(initial=-np.inf), len(number), end)


def counted_chunk(direction: Array, levels: list[Level], chunk: Chunk) -> Counted:
    """Return what the bins of the last level hold of a chunk."""
    _, weight, number, key = _present(direction, chunk)
    which, of_bin = _found(levels, key, number)
    low = high = np.empty(0)
    if len(levels) > 1:  # the first bins can do without, and these two take time
        low, high = _extremes_of(of_bin, key[which], levels[-1].n_bins)
    mass = np.bincount(of_bin, weight[which], levels[-1].n_bins)
    rows = mass if chunk.weight is None else np.bincount(of_bin, minlength=len(mass))
    return Counted(mass, rows, low, high)


def _extremes_of(of_bin: Integers, key: Floats, n_bins: int) -> Any:
    """Return the least and the greatest key of each bin, ±∞ for none."""
    low, high = np.full(n_bins, np.inf), np.full(n_bins, -np.inf)
    low[of_bin] = high[of_bin] = key  # some key: most bins have a single one where this is asked for
    others = np.flatnonzero(low[of_bin] != key)
    np.minimum.at(low, of_bin[others], key[others])
    np.maximum.at(high, of_bin[others], key[others])
    return low, high


def collected_chunk(direction: Array, levels: list[Level], chunk: Chunk) -> Collected:
    """Return the rows of a chunk that lie in a wanted bin of the last level, or all that carry weight, in bin 0."""
    X, weight, number, key = _present(direction, chunk)
    of_bin = np.zeros(len(key), np.int64)
    if levels:
        which, of_bin = _found(levels, key, number)
        wanted = np.flatnonzero(levels[-1].inner[of_bin] >= 0)
        which, of_bin = wanted if isinstance(which, slice) else which[wanted], of_bin[wanted]
        X, weight, number, key = X[which], weight[which], number[which], key[which]
    # a copy of the rows in row order, so that the larger array they come from can be freed
    X = X if isinstance(X, CSRBlock) else np.array(X, order="C")
    return Collected([of_bin], [number], [key], [weight], [X])


def _present(direction: Array, chunk: Chunk) -> Any:
    """Return X, weights, numbers and keys of the rows of a chunk that carry weight."""
    X, weight, number = chunk.X, chunk.weight, chunk.first + np.arange(len(chunk.X))
    weight = np.ones(len(number)) if weight is None else weight
    if not (some := weight > 0).all():
        X, weight, number = X[some], weight[some], number[some]
    return X, weight, number, project(X, direction)


def _found(levels: list[Level], key: Floats, number: Any) -> Any:
    """Return which rows lie in an interval of the last level, and their bins there."""
    of_bin = levels[0].bins(0, key, number)
    which: slice | np.ndarray = slice(None)  # all of them, and nothing is copied
    for outer, level in itertools.pairwise(levels):
        interval = outer.inner[of_bin]
        kept = np.flatnonzero(interval >= 0)
        which, interval = kept if isinstance(which, slice) else which[kept], interval[kept]
        of_bin = level.bins(interval, key[which], number[which])
    return which, of_bin


# ---- passes over all rows ------------------------------------------------------------------------------------------


def selected(rows: Rows, direction: Array, keys: Extremes, levels_of: Callable) -> Any:
    """Return the rows that reach given cumulative weights, each once, and how many of these each reaches.

    Rows are ordered by a projection, and by their numbers where that is equal. Their weights are counted in bins. Bins
    that are reached are cut into bins again until they hold few enough rows to be collected.

    Parameters
    ----------
    rows : Rows
    direction : (d,)
    keys : Extremes
    levels_of : callable (weight of all rows) -> (m,)
        The cumulative weights, ascending.

    Returns
    -------
    X, times, total
        Rows in order, how many of the weights each reaches, and the weight of all rows.
    """
    work, one = 8 * rows.n_features, np.ones(1)
    levels = [Level(keys.low * one, keys.high * one, one == 0, 0 * one, np.array([0, BINS]))]
    counted = rows.reduce(functools.partial(counted_chunk, direction, levels), work)
    reached = _cumulative(levels[-1], counted)
    at = levels_of(reached[-1])
    of_bin, total = _reaching(levels[-1], counted, reached, at, np.zeros(len(at), np.int64)), reached[-1]
    enough = max(COLLECTED_ENTRIES // rows.n_features, COLLECTED_ROWS * len(at))
    while True:
        wanted, interval, ranks = np.unique(of_bin, return_inverse=True, return_counts=True)
        inner = np.full(levels[-1].n_bins, -1, np.int32)
        inner[wanted] = np.arange(len(wanted))
        levels[-1] = levels[-1]._replace(inner=inner)
        before = reached - counted.weight
        if counted.rows[wanted].sum() <= enough:
            break
        levels.append(_cut(levels[-1], counted, before, wanted, ranks, keys.end))
        counted = rows.reduce(functools.partial(counted_chunk, direction, levels), work)
        reached = _cumulative(levels[-1], counted)
        of_bin = _reaching(levels[-1], counted, reached, at, interval)
    found = rows.reduce(functools.partial(collected_chunk, direction, levels), work).in_order()
    picked, times = np.unique(_places(found, before, at, of_bin), return_counts=True)
    return found.X[picked], times, total


def _cumulative(level: Level, counted: Counted) -> np.ndarray:
    """Return the weight of all rows up to the end of each bin."""
    within = np.cumsum(counted.weight)
    earlier = np.append(0.0, within)[level.start[:-1]]
    return within + np.repeat(level.before - earlier, np.diff(level.start))


def _reaching(level: Level, counted: Counted, reached: Floats, at: Floats, interval: Any) -> np.ndarray:
    """Return the bin that holds the row of each cumulative weight, given the interval that it lies in."""
    filled = np.flatnonzero(counted.weight > 0)
    # sums that are rounded in another order may point just beyond the interval
    first, last = np.searchsorted(filled, level.start[interval]), np.searchsorted(filled, level.start[interval + 1]) - 1
    return filled[np.clip(np.searchsorted(reached[filled], at, side="right"), first, last)]


def _cut(level: Level, counted: Counted, before: Floats, wanted: Integers, ranks: Integers, end: int) -> Level:
    """Return wanted bins as the intervals of a further level; those whose keys are equal are cut by row number.

    An interval has bins in proportion to the ranks that are looked for in it, at least two.
    """
    outer = np.searchsorted(level.start, wanted, side="right") - 1
    place, per = wanted - level.start[outer], np.diff(level.start)[outer]
    by_number = level.by_number[outer]
    low, high = level.low[outer], level.high[outer]
    start, stop = place / per, (place + 1) / per
    low, high = low * (1 - start) + high * start, low * (1 - stop) + high * stop
    if len(counted.low):
        equal = ~by_number & (counted.low[wanted] == counted.high[wanted])
        low = np.where(by_number, low, np.where(equal, 0.0, counted.low[wanted]))
        high = np.where(by_number, high, np.where(equal, float(end), counted.high[wanted]))
        by_number = by_number | equal
    sizes = 2 + BINS * ranks // ranks.sum()
    return Level(low, high, by_number, before[wanted], np.append(0, np.cumsum(sizes)))


def _places(found: Collected, before: Floats, at: Floats, of_bin: Integers) -> np.ndarray:
    """Return which of the collected rows, in order, reaches each cumulative weight."""
    bins = found.bin
    first = np.flatnonzero(np.concatenate([[True], bins[1:] != bins[:-1]]))
    within = np.cumsum(found.weight)
    earlier = np.repeat(within[first] - found.weight[first], np.diff(np.append(first, len(bins))))
    reached = before[bins] + (within - earlier)
    # sums that are rounded in another order may point just beyond the bin
    return np.clip(
        np.searchsorted(reached, at, side="right"),
        np.searchsorted(bins, of_bin),
        np.searchsorted(bins, of_bin, side="right") - 1,
    )
