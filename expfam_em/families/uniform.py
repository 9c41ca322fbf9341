"""A constant density over a box, as the background that other components stand out from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.families.conjugates import OfNothing
from expfam_em.family import named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.conditionals import Conditionals
from expfam_em.family.conjugate import Conjugate, Conjugated
from expfam_em.family.missing import Marginals, MissingValues, Observed
from expfam_em.family.support import require
from expfam_em.rows.typing import Array, Block, Integers, Mask


@dataclass(frozen=True)
class Corners:
    """Least and greatest entry of each column of some rows, infinite if there are none."""

    low: np.ndarray
    high: np.ndarray

    def __add__(self, other: Corners) -> Corners:
        return Corners(np.minimum(self.low, other.low), np.maximum(self.high, other.high))


class Uniform(MissingValues, Conjugated):
    """Constant density on a box: T(x) = 0, A = 0, h(x) = 1/volume inside and 0 outside; nothing is estimated.

    Parameters
    ----------
    low, high : float or (d,), optional
        Corners of the box; those of the rows by default, found by ``bind``.

    Raises
    ------
    ValueError
        If a side of the box is not positive and finite.
    """

    seed_smoothing = 0.0
    sparse = "never"

    def __init__(self, low: ArrayLike | None = None, high: ArrayLike | None = None) -> None:
        self.low = None if low is None else np.array(low, np.float64)
        self.high = None if high is None else np.array(high, np.float64)
        if self.low is None or self.high is None:
            return
        for column, (start, end) in enumerate(np.broadcast(*np.atleast_1d(self.low, self.high))):
            if not 0 < end - start < np.inf:
                raise ValueError(
                    f"side {column} of the box goes from {start} to {end}; its length must be positive and finite"
                )

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        if not len(X):
            return Corners(np.full(X.shape[1], np.inf), np.full(X.shape[1], -np.inf))
        return Corners(X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64))

    def bound(self, summary: Any) -> Any:
        low, high = summary.low, summary.high
        if self.low is not None and self.high is not None:  # one number stands for all columns
            return Uniform(np.broadcast_to(self.low, low.shape), np.broadcast_to(self.high, low.shape))
        if np.any(low > high):
            raise ValueError(f"no row is possible under {self!r}: there are no corners to be found")
        return Uniform(low if self.low is None else self.low, high if self.high is None else self.high)

    def sufficient_statistics(self, X: Block) -> Array:
        return np.zeros((len(X), 1))

    def log_partition(self, natural: Array) -> Array:
        return np.zeros(len(natural))

    def log_base_measure(self, X: Block) -> Array:
        low, high = self._box()
        volume = np.log(np.broadcast_to(high - low, X.shape[1:])).sum()
        return np.where(np.all((X >= low) & (X <= high), axis=1), -volume, -np.inf)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        low, high = self._box()
        return np.full(len(natural), -np.log(high - low).sum())

    def _box(self) -> tuple[Array, Array]:
        if self.low is None or self.high is None:
            raise ValueError("the box of a Uniform is not known: call bind, or give low and high")
        return self.low, self.high

    def n_parameters(self, n_components: int) -> int:
        return 0

    def to_expectation(self, natural: Array) -> Array:
        return np.zeros_like(natural)

    def to_natural(self, expectation: Array) -> Array:
        return np.zeros_like(expectation)

    def parameters(self, natural: Array) -> dict[str, Array]:
        low, high = self._box()
        return {"low": np.tile(low, (len(natural), 1)), "high": np.tile(high, (len(natural), 1))}

    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return η = 0 of each component, or of one if the corners, which are constants, are left out."""
        corners = self._box()
        sizes = {"column": max(side.size for side in corners)} if any(side.ndim for side in corners) else {}
        arrays, used = named.read(self, given, {"low": named.FINITE, "high": named.FINITE}, ((),), sizes=sizes)
        K = len(next(iter(arrays.values()))) if arrays else 1
        return named.finished(self, np.zeros((K, 1)), arrays, used)

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        low, high = self._box()
        return rng.uniform(low, high, (n, max(low.size, high.size)))

    def check_support(self, X: Block) -> None:
        if self.low is not None and self.high is not None:
            require((X >= self.low) & (X <= self.high), X, f"Uniform needs numbers from {self.low} to {self.high}")

    def supports(self, X: Block) -> Mask:
        low, high = (-np.inf, np.inf) if self.low is None or self.high is None else (self.low, self.high)
        return np.all((X >= low) & (X <= high), axis=1)

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        return Uniform(*(side if side.ndim == 0 else side[columns] for side in self._box())), natural

    def conditionals(self, natural: Array, columns: Integers) -> Conditionals:
        low, high = self._box()
        return Conditionals(*self.marginal(natural, np.setdiff1d(np.arange(max(low.size, high.size)), columns)))

    def observed(self, natural: Array) -> Marginals:
        return lambda which, present: Observed(
            self, natural[which], np.zeros(which.shape), lambda counts, sums: sums
        )  # fmt: skip

    def observed_log_base(self, X: Block, present: Mask) -> Array:
        low, high = self._box()
        inside = ((X >= low) & (X <= high)) | ~present
        return np.where(inside.all(axis=1), -np.where(present, np.log(high - low), 0.0).sum(axis=1), -np.inf)

    def mean(self, natural: Array) -> Array:
        low, high = self._box()
        return np.tile(0.5 * low + 0.5 * high, (len(natural), 1))

    def conjugate(self) -> Conjugate:
        return OfNothing(self)

    def __repr__(self) -> str:
        given = [(name, getattr(self, name)) for name in ("low", "high") if getattr(self, name) is not None]
        return f"Uniform({', '.join(f'{name}={value}' for name, value in given)})"
