"""A T that turns out to be columns and products of two of them: the kernel then makes it, though nobody said so.

One row of numbers that have nothing in common tells what each statistic could be. T of every row then has to be that,
to the last bit: a T that is something else in a single row is evaluated in NumPy, as every other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from expfam_em.estep.incomplete import STATISTICS_BLOCK
from expfam_em.estep.scores import Outputs, Scores
from expfam_em.family import checked
from expfam_em.family.kernel_form import KernelForm, Monomials
from expfam_em.rows.memory import ArrayRows
from expfam_em.rows.protocol import Chunk, Rows

MOST_MULTIPLIED = 256
"""Columns of which products are tried, 33,000 of them."""


class Picked(NamedTuple):
    """Statistics as multiples of those that the kernel makes; several may be multiples of the same one.

    Attributes
    ----------
    n_made : int
        Number of statistics q that the kernel makes.
    at : (p,) int64
        Which of them each statistic is a multiple of.
    multiple : (p,) float64
        Powers of 2, or their negatives: a product with one is not rounded.
    """

    n_made: int
    at: np.ndarray
    multiple: np.ndarray

    def scores(self, scores: Scores) -> Scores:
        """Return the scores with natural parameters of what the kernel makes, (B, K, q)."""
        natural = np.zeros((self.n_made, *scores.natural.shape[:2]))
        np.add.at(natural, self.at, (scores.natural * self.multiple).transpose(2, 0, 1))
        return scores._replace(natural=np.ascontiguousarray(natural.transpose(1, 2, 0)))

    def summed(self, kernel: Callable[..., None]) -> Callable[..., None]:
        """Return the pass that adds up the statistics, given one that adds up what the kernel makes."""

        def run(X: Any, weight: Any, offset: Any, items: Any, out: Outputs) -> None:
            sums = np.zeros((*out.sums.shape[:2], self.n_made)) if out.sums.size else out.sums
            kernel(X, weight, offset, items, out._replace(sums=sums))
            if out.sums.size:
                np.add(out.sums, sums[:, :, self.at] * self.multiple, out=out.sums)

        return run


class Found(NamedTuple):
    """What T is made of.

    Attributes
    ----------
    factors : (p, 2) int64
        The columns that each statistic is the product of; −1 instead of a second one.
    multiple : (p,) float64
    """

    factors: np.ndarray
    multiple: np.ndarray

    def evaluate(self, X: np.ndarray) -> np.ndarray:
        """Return what T then is, (n, d) -> (n, p)."""
        first, second = self.factors.T
        X = np.asarray(X, np.float64)
        T = X[:, first]
        np.multiply(T, X[:, second], out=T, where=second >= 0)
        return T if (self.multiple == 1).all() else T * self.multiple

    def form(self, d: int) -> tuple[KernelForm, Picked | None]:
        """Return how the kernel makes the statistics, each product once, and which of these are wanted."""
        first, second = self.factors.T
        is_product = second >= 0
        code, begin, of_code = np.unique((first * d + second)[is_product], return_index=True, return_inverse=True)
        order = np.argsort(begin)  # in the order of T
        pairs = np.stack([*np.divmod(code[order], d), d + np.arange(len(code))], axis=1)
        at = first.copy()
        at[is_product] = d + np.argsort(order)[of_code]
        form = KernelForm(Monomials.identity(d)._replace(products=pairs))
        q = form.monomials.n_statistics
        as_made = np.array_equal(at, np.arange(q)) and np.all(self.multiple == 1)
        return form, None if as_made else Picked(q, at, self.multiple)


def found_form(family: Any, rows: Rows) -> tuple[KernelForm | None, Picked | None]:
    """Return how the kernel makes T of these rows, and what T picks of it; no form if it cannot, or not with less.

    T is asked for all rows that carry weight, some at a time. Of rows that are not in memory nothing is found.
    """
    found = _guess(family, rows) if isinstance(rows, ArrayRows) else None
    if found is None:
        return None, None
    form, picked = found.form(rows.n_features)
    p = len(found.multiple)
    if form.monomials.n_statistics > p or rows.reduce(functools.partial(_differing, family, found), 8 * p):
        return None, None
    return form, picked


def _guess(family: Any, rows: ArrayRows) -> Found | None:
    """Return what T is made of in a row of random numbers; None if that cannot be told."""
    d, kind = rows.n_features, rows.dtype
    x = np.random.default_rng(0).uniform(0.25, 0.75, (1, d)).astype(kind if kind.kind == "f" else np.float64)
    try:
        T, exposure = checked.statistics(family, x)
    except Exception:  # the row may be an impossible one, for which T may raise anything
        return None
    if exposure is not None or not np.isfinite(T).all():
        return None
    factors = np.stack([np.arange(d), np.full(d, -1)], axis=1)
    values = x[0].astype(np.float64)
    if not np.isin(T, values).all() and d <= MOST_MULTIPLIED:
        one, two = np.triu_indices(d)
        factors = np.concatenate([factors, np.stack([one, two], axis=1)])
        values = np.concatenate([values, values[one] * values[two]])
    (size, power), (wanted, power_wanted) = np.frexp(values), np.frexp(T[0])
    order = np.argsort(size)
    at = order[np.minimum(np.searchsorted(size[order], np.abs(wanted)), len(order) - 1)]
    if not np.array_equal(size[at], np.abs(wanted)):
        return None
    return Found(factors[at], np.ldexp(np.sign(wanted), power_wanted - power[at]))


def _differing(family: Any, found: Found, chunk: Chunk) -> int:
    """Return how many blocks of a chunk have a row with weight and another T, or have exposures."""
    step, differing = max(16, STATISTICS_BLOCK // len(found.multiple)), 0
    for first in range(0, len(chunk.X), step):
        X: Any = chunk.X[first : first + step]
        if chunk.weight is not None:
            X = X[chunk.weight[first : first + step] > 0]
        if len(X):
            T, exposure = checked.statistics(family, X)
            differing += exposure is not None or not np.array_equal(T, found.evaluate(X))
    return differing
