"""Rows of whole numbers that repeat, as distinct rows with weights: the same likelihood from fewer rows.

A row is packed into as few whole numbers as hold it, by positional notation with one digit per column. Packing is one
to one, so equal numbers are equal rows, nothing is approximate, and ascending numbers are rows in lexicographic order.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

PACKED_ROWS = 10_000
"""Below this many rows a pass takes less than the work around it."""

DISTINCT_SHARE = 0.5
"""Share of distinct rows up to which they are used: finding them costs one or two passes."""

WORD_LIMIT = 2.0**52
"""Products of digits are summed in float64, exactly up to here."""

PACKED_ENTRIES, LONG_ROW_ENTRIES = 1 << 16, 1 << 9
"""Entries looked at together, which stay in the L2 cache, and entries of one long row."""


class Packing(NamedTuple):
    """Positional notation for rows: the digit of column j is x_j − low_j, below width_j.

    Attributes
    ----------
    low, width, place : (d,) float64
        Smallest value, number of values and place value of each column.
    words : list of slices
        The columns that share a word.
    """

    low: np.ndarray
    width: np.ndarray
    place: np.ndarray
    words: list[slice]

    @classmethod
    def of(cls, X) -> Packing | None:
        """Return the notation for the rows of X, or None if a value is no whole number of moderate size."""
        if (extremes := _extremes(X)) is None:
            return None
        low, high = extremes
        if not (np.all(low > -WORD_LIMIT) and np.all(high < WORD_LIMIT) and np.all(high - low < WORD_LIMIT)):
            return None
        width, ends, size = high - low + 1, [], 1.0
        for j, values in enumerate(width):
            if size * values > WORD_LIMIT:
                ends.append(j)
                size = 1.0
            size *= values
        words = [slice(a, b) for a, b in zip([0, *ends], [*ends, len(width)], strict=True)]
        # the first column of a word is the most significant
        place = [np.cumprod(np.append(1.0, width[word][:0:-1]))[::-1] for word in words]
        return cls(low, width, np.concatenate(place), words)

    def pack(self, X) -> np.ndarray:
        """Return the words of each row, (n, d) -> (W, n) int64."""
        out = np.empty((len(self.words), len(X)), np.int64)
        for rows in _blocks(X):
            digits = X[rows] - self.low
            for word, columns in zip(out, self.words, strict=True):
                word[rows] = digits[:, columns] @ self.place[columns]
        return out

    def unpack(self, words, dtype) -> np.ndarray:
        """Return the rows that words stand for, (W, u) -> (u, d)."""
        out = np.empty((words.shape[1], len(self.low)), dtype)
        for word, columns in zip(words, self.words, strict=True):
            for j in range(columns.start, columns.stop):
                out[:, j] = word // int(self.place[j]) % int(self.width[j]) + self.low[j]
        return out


def distinct(X, sample_weight=None) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the distinct rows of X with their weights, or None where using them would not pay.

    Parameters
    ----------
    X : (n, d) array of numbers or bool
    sample_weight : (n,) float64, optional
        Non-negative. Whole numbers are added exactly, others in the order of the rows.

    Returns
    -------
    X_unique : (u, d)
        Of the dtype of X, in lexicographic order, so that the order of the rows of X does not matter; without rows
        whose weights are all 0.
    weight : (u,) float64
        Sum of the weights of the rows that are equal; their number without ``sample_weight``.
    """
    n = len(X)
    if n < PACKED_ROWS or not _promising(X) or (packing := Packing.of(X)) is None:
        return None
    words = packing.pack(X)
    span = math.prod(packing.width) if len(words) == 1 else math.inf
    found = _tabulate(words[0], int(span), sample_weight) if span <= 4 * n else _sort(words, sample_weight)
    if found is None:
        return None
    unique, weight = found
    return packing.unpack(unique, X.dtype), weight


def _blocks(X):
    step = max(1, PACKED_ENTRIES // X.shape[1])
    return (slice(first, first + step) for first in range(0, len(X), step))


def _extremes(X):
    """Return the smallest and largest value of each column, (d,) and (d,), or None if one is no whole number."""
    d = X.shape[1]
    if X.dtype.kind == "b":
        return np.zeros(d), np.ones(d)
    low, high = np.full(d, np.inf), np.full(d, -np.inf)
    abreast = max(1, LONG_ROW_ENTRIES // d) if X.flags.c_contiguous else 1
    for rows in _blocks(X):
        part = X[rows]
        if X.dtype.kind == "f" and np.any(np.floor(part) != part):
            return None
        # NumPy reduces long rows much faster than many short ones: take several rows side by side as one
        even = len(part) // abreast * abreast
        for piece in (part[:even].reshape(-1, abreast * d), part[even:]):
            if len(piece):
                np.minimum(low, piece.min(axis=0).reshape(-1, d).min(axis=0), out=low)
                np.maximum(high, piece.max(axis=0).reshape(-1, d).max(axis=0), out=high)
    return low, high


def _promising(X) -> bool:
    """Say whether a sample has so many equal pairs that at most about half of all rows can be distinct.

    If every row is there m times, a pair of rows is equal with probability (m − 1)/(n − 1): 4√n rows have about
    8 (m − 1) equal pairs.
    """
    n = len(X)
    if X.dtype.kind == "f":
        head = np.asarray(X[:64])
        if not np.array_equal(np.floor(head), head):
            return False
    size = min(n, 4 * math.isqrt(n))
    sample = X[np.sort(np.random.default_rng(0).choice(n, size, replace=False))]
    if (packing := Packing.of(sample)) is None:
        return False
    key = np.sort(_key(packing.pack(sample)))
    counts = np.diff(np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1], [True]])))
    return np.sum(counts * (counts - 1)) / 2 >= 4


def _key(words):
    """Return one number for each row, (W, n) -> (n,): the word itself, or a hash of several."""
    if len(words) == 1:
        return words[0]
    key = np.zeros(words.shape[1], np.uint64)
    for word in words:
        key ^= word.view(np.uint64)
        key *= np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


def _tabulate(word, span, sample_weight):
    """Return the distinct words (1, u) and their weights from a table of all possible words."""
    table = np.bincount(word, sample_weight, minlength=span)
    unique = np.flatnonzero(table)
    if len(unique) > DISTINCT_SHARE * len(word):
        return None
    return unique[None], table[unique].astype(np.float64)


def _sort(words, sample_weight):
    """Return the distinct words (W, u) in ascending order and their weights."""
    n = words.shape[1]
    if len(words) == 1 and sample_weight is None:
        unique, counts = np.unique(words[0], return_counts=True)
        return None if len(unique) > DISTINCT_SHARE * n else (unique[None], counts.astype(np.float64))
    key = _key(words)
    order = np.argsort(key)
    new = _changes(key[None], order)
    if np.count_nonzero(new) > DISTINCT_SHARE * n:
        return None
    if len(words) > 1 and not np.array_equal(new, _changes(words, order)):  # two rows share a hash
        order = np.lexsort(words[::-1])
        new = _changes(words, order)
    group = np.empty(n, np.int64)
    group[order] = np.cumsum(new) - 1
    weight = np.bincount(group, sample_weight).astype(np.float64)
    unique = words[:, order[new]]
    ascending = np.lexsort(unique[::-1])
    ascending = ascending[weight[ascending] > 0]
    return unique[:, ascending], weight[ascending]


def _changes(words, order):
    """Say which rows differ from the one before in this order, (n,); the first does."""
    new = np.zeros(len(order), bool)
    new[0] = True
    for word in words:
        ordered = word[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    return new
