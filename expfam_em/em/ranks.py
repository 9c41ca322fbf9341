"""Rows drawn at equal distances in an order of all rows, found without a number per row in memory."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from expfam_em.rows.csr import CSRBlock, project
from expfam_em.rows.protocol import Chunk, Rows
from expfam_em.rows.typing import Array, Floats, Integers

BINS = 1 << 18
"""Bins in which row weights are counted at a time: two megabytes."""

COLLECTED_ENTRIES = 1 << 22
"""Entries of X, 32 MB, that are collected at most, or `COLLECTED_ROWS` rows for each rank that is looked for."""

COLLECTED_ROWS = 16

SPREAD_ROWS, SPREAD_CELLS = 1 << 12, 1 << 8
"""Rows that say in how many bins each of so many cells of equal length is cut."""


def row_keys(number: Any) -> NDArray[np.uint64]:
    """Return a key for each row number: those of the rows below any limit are evenly spread over all rows."""
    return np.multiply(number.astype(np.uint64), np.uint64(0x9E3779B97F4A7C15), dtype=np.uint64)


@dataclass(frozen=True)
class Spread:
    """Some rows from all over, which say where rows lie in any projection; ``+`` keeps those of the lowest keys.

    Attributes
    ----------
    X : (m, d) array or CSRBlock
    weight : (m,)
    key : (m,) uint64
        See `row_keys`.
    present : int
        How many rows carry weight.
    end : int
        The number behind that of the last of them.
    """

    X: Any
    weight: np.ndarray
    key: np.ndarray
    present: int
    end: int

    def __add__(self, other: Spread) -> Spread:
        X = [self.X, other.X]
        joined = CSRBlock.concatenate(X) if isinstance(self.X, CSRBlock) else np.concatenate(X)
        weight, key = np.concatenate([self.weight, other.weight]), np.concatenate([self.key, other.key])
        return Spread(joined, weight, key, self.present + other.present, max(self.end, other.end)).thinned()

    def thinned(self) -> Spread:
        """Return the same with no more rows than are wanted."""
        if len(self.key) <= SPREAD_ROWS:
            return self
        kept = np.sort(np.argpartition(self.key, SPREAD_ROWS)[:SPREAD_ROWS])
        return replace(self, X=self.X[kept], weight=self.weight[kept], key=self.key[kept])


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
    """Rows that were looked for, by chunk: bins, numbers, keys, weights and rows; or one array of each but the rows."""

    bin: Any
    number: Any
    key: Any
    weight: Any
    X: Any

    def __add__(self, other: Collected) -> Collected:
        return Collected(*(one + two for one, two in zip(vars(self).values(), vars(other).values(), strict=True)))

    def in_order(self) -> tuple[Collected, Integers]:
        """Return one array of each but the rows, by key, and by number where keys are equal; and the places of rows."""
        of_bin, number, key, weight = (np.concatenate(parts) for parts in list(vars(self).values())[:-1])
        order = np.lexsort((number, key))
        return Collected(of_bin[order], number[order], key[order], weight[order], self.X), order

    def rows_at(self, places: Integers) -> Any:
        """Return rows by their places among all; nothing is copied but these."""
        ascending = np.argsort(places, kind="stable")
        starts = np.cumsum([0, *map(len, self.X)])
        ends = np.searchsorted(places[ascending], starts)
        here = [ascending[a:b] for a, b in itertools.pairwise(ends)]
        taken = (X[places[at] - start] for X, at, start in zip(self.X, here, starts, strict=False))
        if isinstance(self.X[0], CSRBlock):
            return CSRBlock.concatenate(list(taken))[np.argsort(ascending)]
        out = np.empty((len(places), self.X[0].shape[1]), self.X[0].dtype)
        for at, rows in zip(here, taken, strict=True):
            out[at] = rows
        return out


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
        with np.errstate(over="ignore"):  # a row outside its interval may be beyond all bins
            share /= np.where(half > 0, half, np.inf)[interval]
            share *= per[interval]
        np.clip(share, 0, (per - 1)[interval], out=share)
        return self.start[interval] + share.astype(np.int64)


def spread_chunk(chunk: Chunk) -> Spread:
    """Return some rows from all over a chunk."""
    present = np.arange(len(chunk.X)) if chunk.weight is None else np.flatnonzero(chunk.weight > 0)
    key = row_keys(chunk.first + present)
    few = np.arange(0)
    if len(key) > 4 * SPREAD_ROWS:  # no more than are needed, and some
        few = np.flatnonzero(key < np.uint64(2 * SPREAD_ROWS / len(key) * 2.0**64))
    few = few if len(few) else np.arange(len(key))
    X, rows = chunk.X, present[few]
    X = X[rows] if isinstance(X, CSRBlock) else np.array(X[rows], order="C")
    weight = np.ones(len(rows)) if chunk.weight is None else chunk.weight[rows]
    end = chunk.first + int(present[-1]) + 1 if len(present) else 0
    return Spread(X, weight, key[few], len(present), end).thinned()


def counted_chunk(direction: Array, levels: list[Level], with_extremes: bool, chunk: Chunk) -> Counted:
    """Return what the bins of the last level hold of a chunk."""
    _, weight, number, key = _present(direction, chunk)
    which, of_bin = _found(levels, key, number)
    low = high = np.empty(0)
    if with_extremes:  # the first bins can do without, and these two take time
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


def selected(rows: Rows, direction: Array, spread: Spread, most: int, levels_of: Callable) -> Any:
    """Return the rows that reach given cumulative weights, each once, and how many of these each reaches.

    Rows are ordered by a projection, and by their numbers where that is equal. Their weights are counted in bins. Bins
    that are reached are cut into bins again until they hold few enough rows to be collected.

    Parameters
    ----------
    rows : Rows
    direction : (d,)
    spread : Spread
        Of the rows.
    most : int
        How many cumulative weights there are.
    levels_of : callable (weight of all rows) -> (most,)
        They, in ascending order.

    Returns
    -------
    X, times, total
        Rows in order, how many of the weights each reaches, and the weight of all rows.
    """
    work, enough = 8 * rows.n_features, most_collected(rows.n_features, most)
    levels = _first_levels(spread, direction, most, enough)
    counted = rows.reduce(functools.partial(counted_chunk, direction, levels, False), work)
    reached = np.cumsum(counted.weight)
    at, total = levels_of(reached[-1]), reached[-1]
    filled = np.flatnonzero(counted.weight > 0)
    of_bin = filled[np.searchsorted(reached[filled], at, side="right")]
    while True:
        wanted, interval, ranks = np.unique(of_bin, return_inverse=True, return_counts=True)
        inner = np.full(levels[-1].n_bins, -1, np.int32)
        inner[wanted] = np.arange(len(wanted))
        levels[-1] = levels[-1]._replace(inner=inner)
        before = reached - counted.weight
        if counted.rows[wanted].sum() <= enough:
            break
        levels.append(_cut(levels[-1], counted, before, wanted, ranks, spread.end))
        counted = rows.reduce(functools.partial(counted_chunk, direction, levels, True), work)
        reached = _cumulative(levels[-1], counted)
        of_bin = _reaching(levels[-1], counted, reached, at, interval)
    found, order = rows.reduce(functools.partial(collected_chunk, direction, levels), work).in_order()
    picked, times = np.unique(_places(found, before, at, of_bin), return_counts=True)
    return found.rows_at(order[picked]), times, total


def most_collected(n_features: int, most: int) -> int:
    """Return how many rows are collected at most where so many ranks are looked for."""
    return max(COLLECTED_ENTRIES // n_features, COLLECTED_ROWS * most)


def in_equal_bins(most: int, present: int, share: Array) -> float:
    """Return how many rows lie in bins that are reached, if bins have equal length, by the share of each cell."""
    return float(most * present * SPREAD_CELLS * np.sum(share**2) / BINS)


def _first_levels(spread: Spread, direction: Array, most: int, enough: int) -> list[Level]:
    """Return bins of equal length; or, where those would hold too many rows, such as hold about as many each.

    Rows beyond all that are in the spread belong to the first or the last bin.
    """
    key, one = project(spread.X, direction), np.ones(1)
    low, high = key.min() * one, key.max() * one
    cells = Level(low, high, one == 0, 0 * one, np.array([0, SPREAD_CELLS]), np.arange(SPREAD_CELLS, dtype=np.int32))
    mass = np.bincount(cells.bins(0, key, key), spread.weight, SPREAD_CELLS)
    share = mass / mass.sum()
    if in_equal_bins(most, spread.present, share) < enough / 2:
        return [cells._replace(start=np.array([0, BINS]), inner=None)]
    place = np.arange(SPREAD_CELLS)
    begin, end = (low * (1 - at / SPREAD_CELLS) + high * (at / SPREAD_CELLS) for at in (place, place + 1))
    sizes = 1 + (BINS * share).astype(np.int64)
    start = np.append(0, np.cumsum(sizes))
    return [cells, Level(begin, end, np.zeros(SPREAD_CELLS, bool), np.zeros(SPREAD_CELLS), start)]


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
