"""Rows of 0s and 1s, kept besides as codes of four columns each: an E-step of a quarter of the operations."""

from __future__ import annotations

import math

import numpy as np

from expfam_em.estep.dense import Outputs, Scores
from expfam_em.estep.memory import ArrayRows
from expfam_em.kernels import patterns as kernel
from expfam_em.rows.csr import CSRBlock
from expfam_em.values.statistics import ExpectedStatistics

LEAST_NUMBERS, LEAST_COLUMNS = 50_000, 8
"""Numbers of X and columns below which there is nothing to gain."""

LEAST_ROWS = 500
"""Rows of a data set below which its table takes longer than what it saves."""

TABLE_NUMBERS = 1 << 16
"""Numbers of a table, half a megabyte, that the L2 cache holds."""

STACK_NUMBERS = 1 << 23
"""Numbers of the tables of a stack, 64 MB, that are made at a time."""

FIRST_ROWS = 64
"""Rows that are looked at before all others are."""


class PatternRows(ArrayRows):
    """Rows in memory that hold 0 and 1 only, with the patterns of every four columns.

    For families with other statistics than the columns themselves they are rows like any others.

    Parameters
    ----------
    rows : ArrayRows
        Dense; X is shared, not copied.
    codes : (n + 7, ⌈d/4⌉) uint8
        As the kernel takes them.
    """

    def __init__(self, rows, codes):
        super().__init__(rows.X, rows.sample_weight, rows.n_jobs, np.diff(rows.starts))
        self.codes = codes

    @classmethod
    def of(cls, rows, family, n_components) -> PatternRows | None:
        """Return the rows with their patterns, or None if X has other values, or mixtures gain nothing by it."""
        if isinstance(rows.X, CSRBlock) or not pays(rows, n_components) or not is_identity(family, rows.n_features):
            return None
        codes = _codes(rows)
        return None if codes is None else cls(rows, codes)

    def expected_statistics(self, mixture, temperature=1.0, data=None, totals=None, table=None) -> ExpectedStatistics:
        """Return the expected statistics of the rows under a mixture, with a bound that leaves out log h."""
        d, K = self.n_features, mixture.n_components
        # the wrong number of parameters is for those who would raise the error
        if mixture.natural.shape[-1] != d or not is_identity(mixture.family, d):
            return super().expected_statistics(mixture, temperature, data, totals, table)
        B = math.prod(mixture.weights.shape[:-1])
        data = np.zeros(B, np.int64) if data is None else data
        at_a_time = max(1, STACK_NUMBERS // kernel.table_size(d, K))
        if B > at_a_time:
            parts = (slice(first, first + at_a_time) for first in range(0, B, at_a_time))
            return ExpectedStatistics.concatenate(
                [self.expected_statistics(mixture[part], temperature, data[part]) for part in parts]
            )
        out = self._statistics(Scores.of(mixture), float(temperature), data)
        stack = ExpectedStatistics(out.counts, out.sums, out.bounds, family=mixture.family)
        return stack if mixture.weights.ndim == 2 else stack[0]

    def _statistics(self, scores, temperature, data) -> Outputs:
        B, K, d = scores.natural.shape
        tables, offset, level = kernel.tabulate(scores.natural), scores.offset, scores.level
        weight = np.empty(0) if self.sample_weight is None else self.sample_weight

        def task(items, n_slots):
            out = Outputs.of_sums(n_slots, K, d)
            kernel.em_patterns(
                self.codes, items, tables, offset, level, weight, temperature, out.counts, out.sums, out.bounds
            )  # fmt: skip
            return out

        return self._merged(task, self.tasks(data, K * (d + 8)), B, K, d)


def pays(rows, n_components) -> bool:
    """Whether rows are enough, and their tables small enough, for passes that add up patterns to be faster."""
    d = rows.n_features
    enough = rows.X.size >= LEAST_NUMBERS and d >= LEAST_COLUMNS and len(rows) >= LEAST_ROWS * rows.n_data
    return enough and n_components > 1 and kernel.table_size(d, n_components) <= TABLE_NUMBERS


def is_identity(family, n_features) -> bool:
    """Whether T(x) = x in the kernel, for all components alike."""
    monomials = family.monomials(n_features)
    if monomials is None or len(monomials.products) or monomials.own is not None:
        return False
    return bool((monomials.shift == 0).all() and (monomials.inverse_scale == 1).all())


def _codes(rows):
    """Return the codes of the rows; None if a value is neither 0 nor 1."""
    n, d = rows.X.shape
    codes = np.zeros((n + kernel.ROWS - 1, -(-d // kernel.BITS)), np.uint8)

    def write(X, where):
        ones = X == 1
        if not np.all(ones | (X == 0)):
            return False
        kernel.pack(ones, codes[where])
        return True

    first = slice(0, min(n, FIRST_ROWS))
    binary = write(rows.X[first], first) and all(rows.map(lambda X, weight, where: write(X, where), 16 * d))
    return codes if binary else None
