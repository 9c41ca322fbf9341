"""Rows drawn by weight from an order in which equal rows are neighbours, without a number per row in memory."""

from __future__ import annotations

import functools

import numpy as np

from expfam_em.em import ranks
from expfam_em.rows.csr import CSRBlock, project
from expfam_em.rows.memory import ArrayRows
from expfam_em.rows.protocol import Chunk

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
    return _selected(rows, direction, rng, most)


def distinct_sample(rows, rng, most):
    """Return at most ``most`` rows of each data set, equal ones as one, their weights, and how many each has."""
    X, weight, starts = ordered_sample(rows, rng, most)
    M = X.matrix if isinstance(X, CSRBlock) else X
    other = M[1:] != M[:-1]
    new = np.append(True, np.diff(other.indptr) > 0 if isinstance(X, CSRBlock) else other.any(axis=1))
    new[starts[:-1]] = True
    first = np.flatnonzero(new)
    sizes = np.diff(np.searchsorted(first, starts))
    return X[first], np.add.reduceat(weight, first), sizes


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


# ---- anywhere: rows of given ranks are selected ------------------------------------------------------------------


def _selected(rows, direction, rng, most):
    work = 8 * rows.n_features
    spread = rows.reduce(ranks.spread_chunk, work)
    if spread.present <= most:
        found, order = rows.reduce(functools.partial(ranks.collected_chunk, direction, []), work).in_order()
        return found.rows_at(order), found.weight, np.array([0, len(found.weight)])
    X, times, total = ranks.selected(rows, direction, spread, most, lambda total: _levels(total, rng, most))
    return X, times * (total / most), np.array([0, len(times)])
