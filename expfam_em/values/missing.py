"""Missing values filled in: by their means given what is observed, or by draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from expfam_em.rows.groups import as_words
from expfam_em.rows.typing import Array, Integers

if TYPE_CHECKING:
    from expfam_em.values.mixture import Mixture


def means(mixture: Mixture, X: Array) -> Array:
    """Return rows (n, d) with E[x_missing | x_observed] in place of each NaN."""
    out = np.array(X)
    for rows, gaps, shown in _patterns(X):
        if len(shown):
            found = mixture.conditional_mean(shown, X[np.ix_(rows, shown)])
        else:
            found = (mixture.weights @ mixture.family.mean(mixture.natural))[None, gaps]
        out[np.ix_(rows, gaps)] = found
    return out


def draws(mixture: Mixture, X: Array, n: int, rng: np.random.Generator) -> Array:
    """Return n times the rows, (n, rows, d), with draws of x_missing given x_observed in place of each NaN."""
    out = np.tile(X, (n, 1, 1))
    for rows, gaps, shown in _patterns(X):
        if len(shown):
            found = mixture.complete(shown, np.tile(X[np.ix_(rows, shown)], (n, 1)), rng)
        else:
            found = rng.permutation(mixture.sample(n * len(rows), rng)[0])
        out[:, rows[:, None], gaps] = found[:, gaps].reshape(n, len(rows), len(gaps))
    return out


def _patterns(X: Array) -> Iterator[tuple[Integers, Integers, Integers]]:
    """Yield the rows that miss the same values, which columns they miss, and which not."""
    some = np.flatnonzero(np.isnan(X).any(axis=1))
    missing = np.isnan(X[some])
    _, of_row = np.unique(as_words(np.packbits(missing, axis=1)), return_inverse=True)
    order = np.argsort(of_row, kind="stable")
    begins = np.flatnonzero(np.diff(of_row[order], prepend=-1))
    for lot in np.split(order, begins[1:]) if len(some) else ():
        gaps = missing[lot[0]]
        yield some[lot], np.flatnonzero(gaps), np.flatnonzero(~gaps)


FILLED: dict[str, Callable[..., Any]] = {
    "mean": lambda mixture, X, rng: means(mixture, X),
    "draw": lambda mixture, X, rng: draws(mixture, X, 1, rng)[0],
}
"""Ways to fill in what is missing."""
