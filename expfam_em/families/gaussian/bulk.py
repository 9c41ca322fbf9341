"""Where the bulk of a column is and how wide it is: what a few rows, however far away, do not change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expfam_em.rows.typing import Array, Block

SAMPLED = 256
"""Most distinct values of a column that are kept."""

FIRST_SORTED, MOST_SORTED, TABLE_BITS = 512, 1 << 15, 10
"""Keys that are looked at first, most at a time, and bits of a key that say where it is in a table of known ones."""

MULTIPLIER = 0x9E3779B97F4A7C15
"""The golden ratio in units of 2⁶⁴, odd: products with it, modulo 2⁶⁴, mix the bits of a number and can be undone."""

UNDONE = np.uint64(pow(MULTIPLIER, -1, 1 << 64))

NORMAL_HALF, NORMAL_QUARTER = 1.349, 0.637
"""Lengths of the shortest intervals that hold a half and a quarter of a standard normal density."""


@dataclass(frozen=True)
class Values:
    """A sample of the distinct values of each column of some rows; ``+`` is that of all of them.

    The values with the smallest mixed bits are kept (Bar-Yossef et al. 2002), so a sample depends neither on the order
    of rows nor on how often a value occurs.

    Attributes
    ----------
    keys : tuple of (m,) uint64 arrays
        The mixed bits of the values of each column, in ascending order.
    """

    keys: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, X: Block) -> Values:
        """Return the sample of rows (n, d)."""
        columns = (np.array(column, np.float64) + 0.0 for column in X.T)  # −0 is 0
        return cls(tuple(_least(column.view(np.uint64) * np.uint64(MULTIPLIER)) for column in columns))

    def __add__(self, other: Values) -> Values:
        pairs = zip(self.keys, other.keys, strict=True)
        return Values(tuple(_least(np.concatenate(pair)) for pair in pairs))

    def interval(self, parts: int) -> tuple[Array, Array]:
        """Return the ends of the shortest interval that holds one of so many parts of the values, (d,) and (d,)."""
        ends = [_shortest(np.sort((keys * UNDONE).view(np.float64)), parts) for keys in self.keys]
        low, high = np.array(ends).T
        return low, high


def _least(keys) -> np.ndarray:
    """Return the least distinct keys, in ascending order; most keys are seen not to be new by a look into a table."""
    found, end = np.unique(keys[:FIRST_SORTED])[:SAMPLED], FIRST_SORTED
    table = np.zeros(1 << TABLE_BITS, np.uint64)
    table[0] = ~table[0]  # empty: this key belongs to the last place, and 0 to the first
    while end < len(keys):
        first, end = end, end + min(end, MOST_SORTED)
        new = keys[first:end]
        if len(found) == SAMPLED:
            new = new[new < found[-1]]
        table[_slots(found)] = found
        new = new[table[_slots(new)] != new]
        if len(new):
            found = np.unique(np.concatenate([found, new]))[:SAMPLED]
    return found


def _slots(keys):
    return (keys >> np.uint64(64 - TABLE_BITS)).astype(np.intp)


def _shortest(values, parts):
    """Return the ends of the shortest interval of two values or more; NaN if there are none."""
    if not len(values):
        return np.nan, np.nan
    steps = min(max(1, (len(values) - 1) // parts), len(values) - 1)
    with np.errstate(over="ignore"):
        at = int(np.argmin(values[steps:] - values[: len(values) - steps]))
    return values[at], values[at + steps]


def widths(values: Values) -> Array:
    """Return how wide the densest quarter of the distinct values of each column is, as a standard deviation, (d,).

    It is not below the rounding of the values, and 1 where all are equal.
    """
    low, high = values.interval(4)
    rounding = 4 * np.finfo(float).eps * np.maximum(np.abs(low), np.abs(high))
    return np.where(high > low, np.maximum((high - low) / NORMAL_QUARTER, rounding), 1.0)


def middles(values: Values) -> tuple[Array, Array]:
    """Return the middle and the standard deviation of the densest half of the distinct values, (d,) and (d,)."""
    low, high = values.interval(2)
    return low + (high - low) / 2, np.where(high > low, (high - low) / NORMAL_HALF, 1.0)
