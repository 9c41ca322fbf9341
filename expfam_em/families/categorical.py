"""Labels, as numbers or as indicators, and counts of labels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, logsumexp

from expfam_em.families.special.deviance import LARGE_COUNT, deviance, log_root
from expfam_em.family import named
from expfam_em.family.base import NATURAL_LIMIT, ExponentialFamily
from expfam_em.family.conditionals import Conditionals
from expfam_em.family.kernel_form import KernelForm, Monomials
from expfam_em.family.optional import Cancelling, OfKnownWidth
from expfam_em.family.summaries import Width
from expfam_em.family.support import ImpossibleRowError, require, require_rows
from expfam_em.rows.csr import CSRBlock, observations, row_sums
from expfam_em.rows.typing import Array, Block, Floats, Integers

ABSENT = -NATURAL_LIMIT * (1 - 1e-12)
"""Log-probability down to which η was cut: that of an estimate of 0."""

SHARES_TOLERANCE = 1e-6
"""By how much the sum of shares may miss 1."""


@dataclass(frozen=True)
class Trials(Width):
    """The number of columns, and the largest number of trials."""

    largest: float

    def __add__(self, other: Trials) -> Trials:  # type: ignore[override]
        return Trials(self.n_features, max(self.largest, other.largest))


@dataclass(frozen=True)
class Largest:
    """Largest label of each column, at least 1."""

    labels: np.ndarray

    def __add__(self, other: Largest) -> Largest:
        return Largest(np.maximum(self.labels, other.labels))


class _Labels(ExponentialFamily):
    """Densities of variables with levels: a natural parameter for every level, A(η) = Σ_j log Σ_l e^{η_jl}, h(x) = 1.

    η is determined up to a number added to all of a variable: without one for the first level, its probability would be
    what the others leave of 1, and lose its digits where it is small.
    """

    sparse = "never"

    levels: int | tuple[int, ...] | None

    def summary(self, X: Array, sample_weight: Floats | None) -> Any:
        return Width(X.shape[1])

    def bound(self, summary: Any) -> Self:
        """Return a copy with the levels of each variable, by which parameters are counted."""
        return self.replace(levels=tuple(self._variables(summary.n_features).levels))

    def _variables(self, n_columns: int) -> _Packing:
        """Return the arrangement for rows of so many columns."""
        raise NotImplementedError

    def _pack(self, n_statistics: int) -> _Packing:
        """Return how p natural parameters are arranged."""
        self._check_known()
        if isinstance(self.levels, int):
            return _packing((self.levels,) * (n_statistics // self.levels))
        return _packing(self.levels)

    def _check_known(self) -> None:
        if self.levels is None:
            raise ValueError("Categorical does not know its levels: give levels, or call bind with rows")

    def _log_normalisers(self, natural: Array) -> tuple[Array, Integers]:
        """Return log Σ_l e^{η_jl} of each variable, (..., variables), and where each column belongs, (p,)."""
        packing = self._pack(natural.shape[-1])
        top = np.maximum.reduceat(natural, packing.starts, axis=-1)
        powers = np.exp(natural - top[..., packing.column])
        return top + np.log(np.add.reduceat(powers, packing.starts, axis=-1)), packing.column

    def log_partition(self, natural: Array) -> Array:
        return self._log_normalisers(np.asarray(natural, np.float64))[0].sum(axis=-1)

    def to_expectation(self, natural: Array) -> Array:
        natural = np.asarray(natural, np.float64)
        partition, variable = self._log_normalisers(natural)
        return np.exp(natural - partition[..., variable])

    def to_natural(self, expectation: Array) -> Array:
        m = np.asarray(expectation, np.float64)
        packing = self._pack(m.shape[-1])
        with np.errstate(all="ignore"):
            total = np.add.reduceat(m, packing.starts, axis=-1)
            total = np.where(np.abs(total - 1) <= SHARES_TOLERANCE, total, np.nan)
            return np.maximum(np.log(m / total[..., packing.column]), -NATURAL_LIMIT)

    def parameters(self, natural: Array) -> dict[str, Array]:
        natural = np.asarray(natural, np.float64)
        packing = self._pack(natural.shape[-1])
        partition, variable = self._log_normalisers(natural)
        log_p = natural - partition[..., variable]
        padded = np.zeros((*natural.shape[:-1], len(packing.levels), max(packing.levels)))
        padded[..., packing.column, packing.level] = np.where(log_p <= ABSENT, 0.0, np.exp(log_p))
        return {"probabilities": padded}

    def from_parameters(self, **given: ArrayLike) -> Array:
        self._check_known()
        axes, levels = ("variable", "level"), self.levels
        sizes = {"level": levels} if isinstance(levels, int) else {}
        if isinstance(levels, tuple):
            sizes = {"variable": len(levels), "level": max(levels)}
        known = {"probabilities": named.FROM_0._replace(axes=axes)}
        arrays, used = named.read(self, given, known, (("probabilities",),), sizes=sizes)
        padded = used["probabilities"]
        packing = _packing(levels if isinstance(levels, tuple) else (levels,) * padded.shape[1])
        beyond = np.arange(padded.shape[2]) >= np.array(packing.levels)[:, None]
        named.check_values(
            "probabilities", padded, lambda p: ~beyond | (p == 0), "0, because the column has fewer levels",
            ("component", *axes),
        )  # fmt: skip
        named.check_shares("probabilities", padded, ("component", "variable"), SHARES_TOLERANCE)
        return named.finished(self, self.to_natural(padded[:, packing.column, packing.level]), arrays, used)

    def _drawn_labels(self, natural: Array, n: int, rng: np.random.Generator) -> Integers:
        """Return labels (n, variables) drawn from one component."""
        p = self.parameters(natural)["probabilities"]
        below = np.cumsum(p, axis=1)
        below /= below[:, -1:]  # exactly 1 from the last possible level on
        return (rng.random((n, len(p)))[:, :, None] >= below).sum(axis=2)

    def n_parameters(self, n_components: int) -> int:
        if self.levels is None or isinstance(self.levels, int):
            name = type(self).__name__
            raise ValueError(f"{name} counts its parameters once the number of columns is known: call bind first")
        return n_components * sum(level - 1 for level in self.levels)

    def __repr__(self) -> str:
        shown = "" if self.levels is None else self.levels if isinstance(self.levels, int) else list(self.levels)
        return f"{type(self).__name__}({shown})"


class Categorical(_Labels):
    """Product of columns of labels 0, 1, …: T(x) = (x_j = l)_l, A(η) = Σ_j log Σ_l e^{η_jl}, h(x) = 1, η_jl = log p_jl.

    η is determined up to a number added to all of a column; ``to_natural`` returns the one with A = 0. Parameters stand
    column after column, so p = Σ_j L_j.

    Parameters
    ----------
    levels : int ≥ 2 or list of them, optional
        Number of labels L of every column, or of each; by default ``bind`` takes the largest label of each column.

    Raises
    ------
    ValueError
        If a number of levels is no whole number from 2.
    """

    def __init__(self, levels: int | Sequence[int] | None = None) -> None:
        self.levels = None if levels is None else _checked_levels(levels)

    def summary(self, X: Array, sample_weight: Floats | None) -> Any:
        if self.levels is not None:
            return super().summary(X, sample_weight)
        return Largest(np.asarray(X).max(axis=0, initial=1).astype(np.int64))

    def bound(self, summary: Any) -> Self:
        """Return a copy with the levels of each column: one more than the largest label, at least 2, if not given."""
        if self.levels is not None:
            return super().bound(summary)
        return self.replace(levels=tuple(int(label) + 1 for label in summary.labels))

    def _pack(self, n_statistics: int) -> _Packing:
        found = super()._pack(n_statistics)
        if len(found.column) != n_statistics:
            raise ValueError(
                f"{self!r} is given natural parameters for {n_statistics} levels; it needs one for each level of a "
                "column"
            )
        return found

    def _variables(self, n_columns: int) -> _Packing:
        self._check_known()
        packing = _packing((self.levels,) * n_columns if isinstance(self.levels, int) else self.levels)
        if len(packing.levels) != n_columns:
            raise ValueError(f"Categorical has levels for {len(packing.levels)} columns; the rows have {n_columns}")
        return packing

    def sufficient_statistics(self, X: Block) -> Array:
        X = np.asarray(X)
        packing = self._variables(X.shape[1])
        T = np.zeros((len(X), len(packing.column)))
        with np.errstate(invalid="ignore"):  # an absent row may hold anything
            present = (X >= 0) & (X < packing.levels)
        place = np.arange(len(X))[:, None] * T.shape[1] + packing.starts
        T.ravel()[place[present] + X[present].astype(np.int64)] = 1
        return T

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        return self._drawn_labels(natural, n, rng).astype(np.float64)

    def check_support(self, X: Block) -> None:
        X = np.asarray(X)
        if X.dtype == np.bool_:
            X = X.view(np.uint8)
        unknown = self.levels is None
        top = np.full(X.shape[1], np.inf) if unknown else np.array(self._variables(X.shape[1]).levels) - 1
        with np.errstate(invalid="ignore"):
            fine = (X >= 0) & (X == np.floor(X)) & (X <= top) & (X < np.inf)
        if not np.all(fine):
            column = np.argwhere(~fine)[0, 1]
            upto = "" if unknown else f" to {top[column]}"
            require(fine, X, f"Categorical needs whole numbers from 0{upto}")

    # ---- parts of an observation ----------------------------------------------------------------------------

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        packing = self._pack(natural.shape[-1])
        levels = tuple(packing.levels[column] for column in columns)
        at = np.concatenate([packing.starts[c] + np.arange(packing.levels[c]) for c in columns])
        return self.replace(levels=levels), natural[..., at]

    def conditionals(self, natural: Array, columns: Integers) -> Conditionals:
        levels = self._pack(natural.shape[-1]).levels
        return Conditionals(*self.marginal(natural, np.setdiff1d(np.arange(len(levels)), columns)))

    def mean(self, natural: Array) -> Array:
        """Return the means of the labels as numbers, (K, d): of two levels, the probability of the label 1."""
        probabilities = self.parameters(natural)["probabilities"]
        return probabilities @ np.arange(probabilities.shape[-1])


class OneHot(_Labels):
    """Labels as columns of indicators, variable after variable: T(x) = x, A(η) = Σ_j log Σ_l e^{η_jl}, h(x) = 1.

    Rows are 0 but for one 1 among the columns of each variable, and may be sparse; otherwise this is `Categorical`.

    Parameters
    ----------
    levels : int ≥ 2 or list of them
        Number of levels L of every variable, or of each.

    Raises
    ------
    ValueError
        If a number of levels is no whole number from 2.
    """

    sparse = "rows"

    def __init__(self, levels: int | Sequence[int]) -> None:
        self.levels: int | tuple[int, ...] = _checked_levels(levels)

    def _variables(self, n_columns: int) -> _Packing:
        packing = self._pack(n_columns)
        if len(packing.column) != n_columns:
            raise ValueError(f"{self!r} has {len(packing.column)} columns of indicators; the rows have {n_columns}")
        return packing

    def kernel_form(self, n_features: int) -> KernelForm | None:
        return KernelForm(Monomials.identity(n_features))

    def sufficient_statistics(self, X: Block) -> Array:
        return np.asarray(X, np.float64)

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        packing, labels = self._pack(len(natural)), self._drawn_labels(natural, n, rng)
        return (labels[:, packing.column] == packing.level).astype(np.float64)

    def check_support(self, X: Block | CSRBlock) -> None:
        X = X if isinstance(X, CSRBlock) else np.asarray(X)
        packing, x = self._variables(X.shape[1]), X.values if isinstance(X, CSRBlock) else X
        require((x == 0) | (x == 1), X, "OneHot needs 0 or 1")
        if isinstance(X, CSRBlock):
            wrong = row_sums(X) != len(packing.levels)
            if not wrong.any():  # then the ones, in the order of columns, have to be of one variable after the other
                variables = packing.column[X.columns[x == 1]].reshape(len(X), -1)
                wrong = np.any(variables != np.arange(len(packing.levels)), axis=1)
        else:
            wrong = np.any(np.add.reduceat(x, packing.starts, axis=1, dtype=np.float64) != 1, axis=1)
        if wrong.any():
            row = int(np.argmax(wrong))
            dense = np.add.reduceat(np.asarray(X[row : row + 1], np.float64)[0], packing.starts)
            variable = int(np.argmax(dense != 1))
            raise ImpossibleRowError(
                f"OneHot needs one 1 among the {packing.levels[variable]} columns of each variable; row {{row}} has "
                f"{dense[variable]:.0f} in those of variable {variable}, from column {packing.starts[variable]}",
                row,
            )


class Multinomial(OfKnownWidth, Cancelling):
    """Counts x of e = Σ_j x_j trials: T(x) = x, e(x) = Σ_j x_j, A(η) = log Σ_j e^{η_j}, h(x) = e!/Π x_j!.

    η is determined up to a number added to all of it, so that T(x) = x; ``to_natural`` returns η_j = log p_j, where
    A = 0. The number of trials of a row is known and no observation. ``expected_log_base_measure`` is that of one
    trial. Counts of some columns are multinomial given their sum only, so there are no marginals of this kind.

    Parameters
    ----------
    trials : int ≥ 1
        Number of trials of each row that ``sample`` draws.

    Raises
    ------
    ValueError
        If the number of trials is no whole number from 1.
    """

    sparse = "rows"

    def __init__(self, trials: SupportsIndex = 1) -> None:
        if isinstance(trials, bool) or not isinstance(trials, Integral) or trials < 1:
            raise ValueError(f"trials is {trials!r}; it must be a whole number from 1")
        self.trials = int(trials)
        self.many: bool | None = None  # whether rows have so many trials that digits of log h matter

    def summary(self, X: Array, sample_weight: Floats | None) -> Any:
        return Trials(X.shape[1], float(row_sums(X).max(initial=0.0)))

    def bound(self, summary: Any) -> Self:
        return super().bound(summary).replace(many=summary.largest > LARGE_COUNT or None)

    def cancels(self, natural: Array) -> bool:
        return bool(self.many)

    def log_density(self, X: Block | CSRBlock, natural: Array) -> Array:
        if not self.many:
            return super().log_density(X, natural)  # type: ignore[arg-type]
        x, shares = np.asarray(observations(X), np.float64), self.to_expectation(np.atleast_2d(natural))
        trials = x.sum(axis=1, keepdims=True)
        own = log_root(trials[:, 0]) - log_root(x).sum(axis=1)
        return np.stack([own - deviance(x, trials * p).sum(axis=1) for p in shares], axis=1)

    def sufficient_statistics(self, X: Block) -> Array:
        return np.asarray(X, np.float64)

    def exposure(self, X: Block | CSRBlock) -> Array | None:
        total = row_sums(X)
        return np.where(total > 0, total, 1.0)  # an absent row may hold anything

    def log_partition(self, natural: Array) -> Array:
        return logsumexp(natural, axis=-1)

    def log_base_measure(self, X: Block | CSRBlock) -> Array:
        return gammaln(row_sums(X) + 1) - row_sums(X, lambda x: gammaln(x + 1))

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return np.zeros(len(natural))

    def to_expectation(self, natural: Array) -> Array:
        powers = np.exp(natural - np.max(natural, axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    def to_natural(self, expectation: Array) -> Array:
        m = np.asarray(expectation, np.float64)
        with np.errstate(all="ignore"):
            total = m.sum(axis=-1, keepdims=True)
            total = np.where(np.abs(total - 1) <= SHARES_TOLERANCE, total, np.nan)
            return np.maximum(np.log(m / total), -NATURAL_LIMIT)

    def parameters(self, natural: Array) -> dict[str, Array]:
        natural = np.asarray(natural, np.float64)
        log_p = natural - logsumexp(natural, axis=-1, keepdims=True)
        return {"probabilities": np.where(log_p <= ABSENT, 0.0, self.to_expectation(natural))}

    def from_parameters(self, **given: ArrayLike) -> Array:
        known, sizes = {"probabilities": named.FROM_0}, self._known_sizes()
        arrays, used = named.read(self, given, known, (tuple(known),), sizes=sizes, least=2)
        named.check_shares("probabilities", used["probabilities"], ("component",), SHARES_TOLERANCE)
        return named.finished(self, self.to_natural(used["probabilities"]), arrays, used)

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        p = self.parameters(natural)["probabilities"]
        return rng.multinomial(self.trials, p / p.sum(), n).astype(np.float64)

    def check_support(self, X: Block | CSRBlock) -> None:
        X = X if isinstance(X, CSRBlock) else np.asarray(X)
        x = X.values if isinstance(X, CSRBlock) else X
        x = x.view(np.uint8) if x.dtype == np.bool_ else x
        with np.errstate(invalid="ignore"):
            require((x >= 0) & (x == np.floor(x)) & (x < np.inf), X, "Multinomial needs whole numbers from 0")
        require_rows(row_sums(X) > 0, "Multinomial needs a count in every row; row {row} has none")

    def _n_free(self, n_features: int) -> int:
        return n_features - 1

    def __repr__(self) -> str:
        return f"Multinomial(trials={self.trials})" if self.trials > 1 else "Multinomial()"


def _checked_levels(levels: int | Sequence[int]) -> int | tuple[int, ...]:
    of_columns = np.atleast_1d(np.asarray(levels))
    whole = isinstance(levels, Integral) or (of_columns.ndim == 1 and of_columns.dtype.kind in "iu")
    if isinstance(levels, bool) or not whole or not of_columns.size or of_columns.min() < 2:
        raise ValueError(f"levels is {levels!r}; it must be a whole number from 2, or a list with one for each column")
    return int(levels) if isinstance(levels, Integral) else tuple(int(level) for level in of_columns)


MOST_LEVELS = 1 << 26
"""Levels of all columns: one row of statistics of so many takes half a gigabyte."""


class _Packing:
    """How statistics are arranged: the first of each column of labels, and the column and level of each."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        if (total := sum(levels)) > MOST_LEVELS:
            at = int(np.argmax(levels))
            raise ValueError(
                f"column {at} has {levels[at]} levels, and all columns {total}: at most {MOST_LEVELS} are possible, as "
                "each is a statistic. Number the labels that occur from 0, as numpy.unique(x, return_inverse=True) does"
            )
        counts = np.array(levels, np.int64)
        self.levels: tuple[int, ...] = levels
        self.starts = np.cumsum(counts) - counts
        self.column = np.repeat(np.arange(len(levels)), counts)
        self.level = np.arange(len(self.column)) - self.starts[self.column]


_packing = functools.lru_cache(64)(_Packing)  # the arrangement is asked for at every step
