"""Rows drawn by weight from an order in which equal rows are neighbours, without a number per row in memory."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.memory import ArrayRows
from expfam_em.rows.protocol import Chunk

BINS = 1 << 18
"""Intervals of the projection in which row weights are counted before rows are looked for: two megabytes."""

SORTED_ROWS = 1 << 17
"""Rows in memory up to which all keys are sorted, which gives the same rows."""


def ordered_sample(rows, rng, most):
    """Return at most ``most`` rows of each data set, ordered by a projection, their weights, and where each begins.

    Rows are ordered by a random projection, so that equal rows are neighbours, and drawn at equal distances of
    cumulative weight: a row of weight 2 and the same row given twice are then the same thing.

    Parameters
    ----------
    rows : Rows
    rng : numpy Generator
    most : int
    """
    direction = rng.standard_normal(rows.n_features)
    if isinstance(rows, ArrayRows) and (rows.n_data > 1 or rows.is_sparse or len(rows) <= SORTED_ROWS):
        return _sorted(rows, direction, rng, most)
    keys = rows.reduce(functools.partial(_extremes, direction), 8 * rows.n_features)
    if keys.present <= most:
        found = rows.reduce(functools.partial(_collected, direction, None), 8 * rows.n_features).concatenated()
        order = np.lexsort((found.number, found.key))
        return found.X[order], found.weight[order], np.array([0, len(order)])
    return _selected(rows, direction, keys, rng, most)


# ---- in memory: all keys are sorted ----------------------------------------------------------------------------


def _sorted(rows, direction, rng, most):
    keys = np.empty(len(rows))

    def write(chunk: Chunk) -> int:
        keys[chunk.first : chunk.first + len(chunk.X)] = project(chunk.X, direction)
        return 0

    rows.reduce(write, 8 * rows.n_features)
    weight = np.ones(len(keys)) if rows.sample_weight is None else rows.sample_weight
    if rows.n_data == 1:
        order = np.argsort(keys, kind="stable")
    else:
        order = np.lexsort((keys, np.repeat(np.arange(rows.n_data), np.diff(rows.starts))))
    order = order[weight[order] > 0]
    starts = _starts_of(order, rows)
    if np.all(np.diff(starts) <= most):
        return rows.X[order], weight[order], starts
    parts = [_thinned(order[starts[i] : starts[i + 1]], weight, rng, most) for i in range(rows.n_data)]
    chosen, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return rows.X[chosen], weights, np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])])


def _starts_of(order, rows):
    """Return where the rows of each data set begin among rows ordered by data set."""
    counts = np.bincount(np.searchsorted(rows.starts, order, side="right") - 1, minlength=rows.n_data)
    return np.concatenate([[0], np.cumsum(counts)])


def _thinned(order, weight, rng, most):
    """Return at most ``most`` of some rows, drawn by weight at equal distances, and the weights they stand for."""
    if len(order) <= most:
        return order, weight[order]
    cumulative = np.cumsum(weight[order])
    at = _levels(cumulative[-1], rng, most)
    picked, times = np.unique(np.searchsorted(cumulative, at, side="right"), return_counts=True)
    return order[picked], times * (cumulative[-1] / most)


def _levels(total, rng, most) -> np.ndarray:
    """Return the cumulative weights at which rows are drawn."""
    # the last may be rounded to the total, which no row lies beyond
    return np.minimum((np.arange(most) + rng.random()) / most * total, np.nextafter(total, 0.0))


# ---- anywhere: the rows of given ranks, in three passes ----------------------------------------------------------


class Extremes(NamedTuple):
    """Least and greatest key, and how many rows are present."""

    low: float
    high: float
    present: int

    def __add__(self, other: Extremes) -> Extremes:  # type: ignore[override]
        return Extremes(min(self.low, other.low), max(self.high, other.high), self.present + other.present)


class Collected(NamedTuple):
    """Rows that were looked for, chunk by chunk: their numbers, keys, weights and themselves."""

    number: list
    key: list
    weight: list
    X: list

    def __add__(self, other: Collected) -> Collected:  # type: ignore[override]
        return Collected(*(one + two for one, two in zip(self, other, strict=True)))

    def concatenated(self) -> Collected:
        """Return one array of each."""
        number, key, weight = (np.concatenate(parts) for parts in self[:3])
        X = CSRBlock.concatenate(self.X) if isinstance(self.X[0], CSRBlock) else np.concatenate(self.X)
        return Collected(number, key, weight, X)  # type: ignore[arg-type]


def _present(chunk: Chunk):
    """Return X, weights and numbers of the rows of a chunk that carry weight."""
    number = chunk.first + np.arange(len(chunk.X))
    if chunk.weight is None:
        return chunk.X, np.ones(len(number)), number
    some = chunk.weight > 0
    return (chunk.X, chunk.weight, number) if some.all() else (chunk.X[some], chunk.weight[some], number[some])


def _extremes(direction, chunk: Chunk) -> Extremes:
    X, _, number = _present(chunk)
    key = project(X, direction)
    return Extremes(key.min(initial=np.inf), key.max(initial=-np.inf), len(number))


def _bins_of(key, keys: Extremes) -> np.ndarray:
    """Return the interval that each key lies in; greater keys lie in no lower one."""
    half = keys.high / 2 - keys.low / 2  # of keys that span more than float64 holds
    share = (key / 2 - keys.low / 2) / half if half > 0 else np.zeros(len(key))
    return np.minimum(share * BINS, BINS - 1).astype(np.int64)


def _counted(direction, keys, chunk: Chunk) -> np.ndarray:
    X, weight, _ = _present(chunk)
    return np.bincount(_bins_of(project(X, direction), keys), weight, BINS)


def _collected(direction, wanted, chunk: Chunk) -> Collected:
    """Return the rows of a chunk whose keys lie in wanted intervals, (keys, mask); all of them if None."""
    X, weight, number = _present(chunk)
    key = project(X, direction)
    if wanted is not None:
        keys, mask = wanted
        which = np.flatnonzero(mask[_bins_of(key, keys)])
        X, weight, number, key = X[which], weight[which], number[which], key[which]
    return Collected([number], [key], [weight], [X if isinstance(X, CSRBlock) else np.ascontiguousarray(X)])


def _selected(rows, direction, keys, rng, most):
    """Return what `_sorted` does of one data set, from rows of the intervals that hold a wanted rank only."""
    work = 8 * rows.n_features
    counted = rows.reduce(functools.partial(_counted, direction, keys), work)
    cumulative = np.cumsum(counted)
    at = _levels(cumulative[-1], rng, most)
    of = np.searchsorted(cumulative, at, side="right")
    mask = np.zeros(BINS, bool)
    mask[of] = True
    found = rows.reduce(functools.partial(_collected, direction, (keys, mask)), work).concatenated()
    order = np.lexsort((found.number, found.key))
    bins, weight = _bins_of(found.key[order], keys), found.weight[order]
    # cumulative weight of each row: that of all intervals before its own, and of its own up to it
    first = np.flatnonzero(np.concatenate([[True], bins[1:] != bins[:-1]]))
    within = np.cumsum(weight)
    before = np.repeat(within[first] - weight[first], np.diff(np.append(first, len(bins))))
    reached = (cumulative - counted)[bins] + (within - before)
    # sums that are rounded in another order may point just beyond the interval
    first_of, last_of = np.searchsorted(bins, of), np.searchsorted(bins, of, side="right") - 1
    place = np.clip(np.searchsorted(reached, at, side="right"), first_of, last_of)
    picked, times = np.unique(place, return_counts=True)
    chosen = order[picked]
    return found.X[chosen], times * (cumulative[-1] / most), np.array([0, len(chosen)])


def project(X, direction) -> np.ndarray:
    """Return X · direction added column by column: equal rows get equal keys, which a BLAS product does not promise."""
    if isinstance(X, CSRBlock):
        return X.project(direction)
    key = np.zeros(len(X))
    for column, coefficient in zip(np.asarray(X).T, direction, strict=True):
        key += column * coefficient
    return key
