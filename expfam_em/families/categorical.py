"""Independent columns of labels."""

from __future__ import annotations

import functools
from numbers import Integral

import numpy as np

from expfam_em.families._support import require
from expfam_em.family import NATURAL_LIMIT, ExponentialFamily

ABSENT = -NATURAL_LIMIT * (1 - 1e-12)
"""Log-probability down to which η was cut: that of an estimate of 0."""

NONE_LEFT = 64 * np.finfo(float).eps
"""Share of the reference level that is rounding: 1 minus the shares of the others, each S/N."""

IMPOSSIBLE = 1e-6
"""By how much shares may exceed 1."""


class Categorical(ExponentialFamily):
    """Product of columns of labels 0, 1, …: T(x) = (x_j = l)_{l≥1}, A(η) = Σ_j log(1 + Σ_l e^{η_jl}), h(x) = 1.

    η_jl = log(p_jl / p_j0), column after column, so p = Σ_j (L_j − 1).

    Parameters
    ----------
    levels : int ≥ 2 or list of them, optional
        Number of labels L of every column, or of each; by default ``bind`` takes the largest label of each column.

    Raises
    ------
    ValueError
        If a number of levels is no whole number from 2.
    """

    def __init__(self, levels=None):
        if levels is not None:
            of_columns = np.atleast_1d(np.asarray(levels))
            whole = isinstance(levels, Integral) or (of_columns.ndim == 1 and of_columns.dtype.kind in "iu")
            if isinstance(levels, bool) or not whole or not of_columns.size or of_columns.min() < 2:
                raise ValueError(
                    f"levels is {levels!r}; it must be a whole number from 2, or a list with one for each column"
                )
            levels = int(levels) if isinstance(levels, Integral) else tuple(of_columns.tolist())
        self.levels: int | tuple[int, ...] | None = levels

    def bind(self, blocks):
        """Return a copy with one more level than the largest label of each column, at least 2."""
        if self.levels is not None:
            return self
        largest = np.ones((), np.int64)
        for X, _ in blocks:
            if len(X):
                largest = np.maximum(largest, np.asarray(X).max(axis=0).astype(np.int64))
        return self.replace(levels=tuple(int(label) + 1 for label in np.atleast_1d(largest)))

    # ---- how statistics are packed ------------------------------------------------------------------------

    def _levels(self, n_columns) -> np.ndarray:
        """Return the number of levels of each column, (d,)."""
        if self.levels is None:
            raise ValueError("Categorical does not know its levels: give levels, or call bind with rows")
        if isinstance(self.levels, int):
            return np.full(n_columns, self.levels)
        if len(self.levels) != n_columns:
            raise ValueError(f"Categorical has levels for {len(self.levels)} columns; the rows have {n_columns}")
        return np.array(self.levels)

    def _pack(self, n_statistics) -> _Packing:
        """Return how p natural parameters are arranged."""
        if self.levels is None:
            raise ValueError("Categorical does not know its levels: give levels, or call bind with rows")
        if isinstance(self.levels, int):
            return _packing((self.levels,) * (n_statistics // (self.levels - 1)))
        return _packing(self.levels)

    # ---- the family -----------------------------------------------------------------------------------------

    def sufficient_statistics(self, X):
        X = np.asarray(X)
        levels = self._levels(X.shape[1])
        before = np.cumsum(levels - 1) - levels  # where level 0 would be, which has no place of its own
        T = np.zeros((len(X), int((levels - 1).sum())))
        with np.errstate(invalid="ignore"):  # an absent row may hold anything
            present = (X > 0) & (X < levels)
        place = np.arange(len(X))[:, None] * T.shape[1] + before
        T.ravel()[place[present] + X[present].astype(np.int64)] = 1
        return T

    def _log_normalisers(self, natural):
        """Return A of each column, (..., d), and e^η and 1 over the largest of them, (..., p) and (..., d)."""
        packing = self._pack(natural.shape[-1])
        top = np.maximum(np.maximum.reduceat(natural, packing.starts, axis=-1), 0.0)
        powers = np.exp(natural - top[..., packing.column])
        rest = np.add.reduceat(powers, packing.starts, axis=-1)
        reference = np.exp(-top)
        # log1p where level 0 is the largest: the others may be tiny
        return top + np.where(top > 0, np.log(reference + rest), np.log1p(rest)), powers, reference, rest + reference

    def log_partition(self, natural):
        return self._log_normalisers(np.asarray(natural, np.float64))[0].sum(axis=-1)

    def to_expectation(self, natural):
        natural = np.asarray(natural, np.float64)
        _, powers, _, total = self._log_normalisers(natural)
        return powers / total[..., self._pack(natural.shape[-1]).column]

    def to_natural(self, expectation):
        m = np.asarray(expectation, np.float64)
        packing = self._pack(m.shape[-1])
        with np.errstate(all="ignore"):
            reference = 1 - np.add.reduceat(m, packing.starts, axis=-1)
            reference = np.where(reference > NONE_LEFT, reference, np.where(reference > -IMPOSSIBLE, 0.0, np.nan))
            log_p, log_reference = (np.maximum(np.log(p), -NATURAL_LIMIT) for p in (m, reference))
            return log_p - log_reference[..., packing.column]

    def parameters(self, natural):
        natural = np.asarray(natural, np.float64)
        packing = self._pack(natural.shape[-1])
        partition, powers, reference, total = self._log_normalisers(natural)
        log_p = natural - partition[..., packing.column]
        padded = np.zeros((*natural.shape[:-1], len(packing.levels), max(packing.levels)))
        padded[..., 0] = np.where(-partition <= ABSENT, 0.0, reference / total)
        padded[..., packing.column, packing.level] = np.where(
            log_p <= ABSENT, 0.0, powers / total[..., packing.column]
        )  # fmt: skip
        return {"probabilities": padded}

    def sample(self, natural, n, rng):
        p = self.parameters(natural)["probabilities"]
        below = np.cumsum(p, axis=1)
        below /= below[:, -1:]  # exactly 1 from the last possible level on
        u = rng.random((n, len(p)))
        return (u[:, :, None] >= below).sum(axis=2).astype(np.float64)

    def check_support(self, X):
        X = np.asarray(X)
        if X.dtype == np.bool_:
            X = X.view(np.uint8)
        unknown = self.levels is None
        top = np.full(X.shape[1], np.inf) if unknown else self._levels(X.shape[1]) - 1
        with np.errstate(invalid="ignore"):
            fine = (X >= 0) & (X == np.floor(X)) & (X <= top) & (X < np.inf)
        if not np.all(fine):
            column = np.argwhere(~fine)[0, 1]
            upto = "" if unknown else f" to {top[column]}"
            require(fine, X, f"Categorical needs whole numbers from 0{upto}")

    # ---- parts of an observation ----------------------------------------------------------------------------

    def marginal(self, natural, columns):
        packing = self._pack(natural.shape[-1])
        levels = tuple(packing.levels[column] for column in columns)
        at = np.concatenate([packing.starts[c] + np.arange(packing.levels[c] - 1) for c in columns])
        return self.replace(levels=levels), natural[..., at]

    def conditional(self, natural, columns, values):
        return self.marginal(natural, np.setdiff1d(np.arange(len(self._pack(natural.shape[-1]).levels)), columns))

    def __repr__(self):
        if self.levels is None:
            return "Categorical()"
        return f"Categorical({self.levels if isinstance(self.levels, int) else list(self.levels)})"


class _Packing:
    """How statistics are arranged: the first of each column, and the column and level of each."""

    def __init__(self, levels):
        counts = np.array(levels) - 1
        self.levels = levels
        self.starts = np.cumsum(counts) - counts
        self.column = np.repeat(np.arange(len(levels)), counts)
        self.level = np.arange(len(self.column)) - self.starts[self.column] + 1


@functools.lru_cache(64)
def _packing(levels) -> _Packing:
    """Keep the arrangement: it is asked for at every step."""
    return _Packing(levels)
