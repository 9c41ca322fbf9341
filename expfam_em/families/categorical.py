"""Labels, as numbers or as indicators, and counts of labels."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, logsumexp

from expfam_em.families.conjugates import OfShares
from expfam_em.families.special.deviance import LARGE_COUNT, deviance, log_root
from expfam_em.family import named
from expfam_em.family.alike import alike
from expfam_em.family.base import NATURAL_LIMIT, ExponentialFamily
from expfam_em.family.conditionals import Conditionals
from expfam_em.family.conjugate import Conjugate, Conjugated
from expfam_em.family.entries import Entry
from expfam_em.family.kernel_form import KernelForm, Monomials
from expfam_em.family.missing import Marginals, MissingValues, of_columns
from expfam_em.family.optional import Cancelling, OfKnownWidth, OfLabels, Translated
from expfam_em.family.summaries import Width
from expfam_em.family.support import require, require_rows
from expfam_em.rows.columns import Column
from expfam_em.rows.csr import CSRBlock, observations, row_sums
from expfam_em.rows.typing import Array, Block, Integers, Mask

ABSENT = -NATURAL_LIMIT * (1 - 1e-12)
"""Log-probability down to which η was cut: that of an estimate of 0."""

SHARES_TOLERANCE = 1e-6
"""By how much the sum of shares may miss 1."""

SHOWN_LABELS = 8
"""Labels of a column that are shown; of more, the first and the last ones are."""

OfColumn = int | tuple[int, ...]
"""The levels of a column: how many labels there are from 0, or which ones, in ascending order."""


@dataclass(frozen=True)
class Occurring:
    """The labels of each column that occur in some rows, in ascending order."""

    labels: tuple[np.ndarray, ...]

    def __add__(self, other: Occurring) -> Occurring:
        return Occurring(tuple(map(np.union1d, self.labels, other.labels)))


@dataclass(frozen=True)
class Filled:
    """Which columns have an entry that is not 0 in some rows, (d,) bool, and the largest sum of a row."""

    columns: np.ndarray
    largest: float

    @classmethod
    def of(cls, X: Any) -> Filled:
        largest = float(row_sums(X).max(initial=0.0))
        if not isinstance(X, CSRBlock):
            return cls(np.any(np.asarray(X) != 0, axis=0), largest)
        columns = np.zeros(X.shape[1], bool)
        columns[X.columns[X.values != 0]] = True
        return cls(columns, largest)

    def __add__(self, other: Filled) -> Filled:
        return Filled(self.columns | other.columns, max(self.largest, other.largest))


class _Labels(Translated, Conjugated):
    """Densities of variables with levels: a natural parameter for every level, A(η) = Σ_j log Σ_l e^{η_jl}, h(x) = 1.

    η is determined up to a number added to all of a variable: without one for the first level, its probability would be
    what the others leave of 1, and lose its digits where it is small.
    """

    sparse = "never"
    bounded = True

    levels: int | tuple[OfColumn, ...] | None

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
        padded = np.zeros((*natural.shape[:-1], len(packing.sizes), max(packing.sizes)))
        padded[..., packing.column, packing.level] = np.where(log_p <= ABSENT, 0.0, np.exp(log_p))
        return {"probabilities": padded}

    def from_parameters(self, **given: ArrayLike) -> Array:
        self._check_known()
        axes, levels = ("variable", "level"), self.levels
        sizes = {"level": levels} if isinstance(levels, int) else {}
        if isinstance(levels, tuple):
            sizes = {"variable": len(levels), "level": max(_packing(levels).sizes)}
        known = {"probabilities": named.SHARE._replace(axes=axes)}
        arrays, used = named.read(self, given, known, (("probabilities",),), sizes=sizes)
        padded = used["probabilities"]
        packing = _packing(levels if isinstance(levels, tuple) else (levels,) * padded.shape[1])
        beyond = np.arange(padded.shape[2]) >= np.array(packing.sizes)[:, None]
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
        return n_components * sum(size - 1 for size in _packing(self.levels).sizes)

    def translate(self, natural: Array, target: Any) -> Array:
        """Return the same natural parameters.

        Raises
        ------
        ValueError
            If the levels of ``target`` are others.
        """
        if not alike(self, target):
            raise ValueError(
                f"parameters of {self!r} are given for {target!r}, whose levels are others: give Categorical(levels) "
                "the levels of both"
            )
        return natural

    def translate_expectation(self, expectation: Array, target: Any) -> Array:
        return expectation

    def conjugate(self) -> Conjugate:
        return OfShares(self, lambda p: self._pack(p).starts)

    def _labels_of(self, columns: Sequence[Column]) -> dict[tuple[int, int], tuple[str, str]]:
        """Return the column and the level of each probability, by its variable and its number among them."""
        raise NotImplementedError

    def _entries(self, name: str, shape: tuple[int, ...], columns: Sequence[Column], n_components: int) -> Any:
        found = np.full(shape, None, object)
        for at, entry in self._labels_of(columns).items() if name == "probabilities" else ():
            for k in range(shape[0]):
                found[(k, *at)] = Entry(k, *entry, low=0.0, high=1.0)
        return found

    def __repr__(self) -> str:
        levels = "" if self.levels is None else self.levels
        if isinstance(levels, tuple):
            levels = f"[{', '.join(str(one) if isinstance(one, int) else f'[{_listed(one)}]' for one in levels)}]"
        return f"{type(self).__name__}({levels})"


class Categorical(_Labels, MissingValues, OfLabels):
    """Product of columns of labels: T(x) = (x_j = l)_l, A(η) = Σ_j log Σ_l e^{η_jl}, h(x) = 1, η_jl = log p_jl.

    Labels are whole numbers from 0, and the levels of a column are those that occur in it. Probabilities stand in
    ascending order of the labels, which are the parameter ``levels``; it is −1 where a column has fewer than others.
    η is determined up to a number added to all of a column; ``to_natural`` returns the one with A = 0. Parameters stand
    column after column, so p = Σ_j L_j.

    A label that is not among the levels has density 0. The estimators refuse rows that have one, unless ``unseen``
    says otherwise. In cross-validation a label may be missing from the rows of a fit and not from those that it is
    scored on: give ``levels``, so that all fits have the same ones. Levels that are given are all counted; one that no
    row has gets the probability 0, as η = −700.

    Parameters
    ----------
    levels : int ≥ 2, or list of them or of lists of labels, optional
        Number of labels L of every column, or of each, which are then 0, …, L − 1; or the labels of each column, as in
        ``[[1, 2, 3], [0, 99]]``. By default ``bind`` takes the labels that occur in each column.
    unseen : {"error", "zero"}
        Whether a label that is not among the levels is an error where a fitted mixture is applied to rows, or has
        density 0: ``score_samples`` is −∞ there, and responsibilities follow from the other columns.

    Raises
    ------
    ValueError
        If a number of levels is no whole number from 2, a label is no whole number from 0 or is given twice, or
        ``unseen`` is something else.
    """

    incidental = ("unseen",)
    unseen: Literal["error", "zero"] = "error"

    def __init__(
        self,
        levels: int | Sequence[int | Sequence[int]] | None = None,
        unseen: Literal["error", "zero"] = "error",
    ) -> None:
        self.levels = None if levels is None else _checked_levels(levels, of_labels=True)
        if unseen not in ("error", "zero"):
            raise ValueError(f"unseen is {unseen!r}; it must be 'error' or 'zero'")
        self.unseen = unseen

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        return Occurring(tuple(map(np.unique, np.asarray(X).T))) if self.levels is None else Width(X.shape[1])

    def bound(self, summary: Any) -> Self:
        """Return a copy with the levels of each column: the labels that occur, if they are not given."""
        if self.levels is not None:
            return self.replace(levels=self._variables(summary.n_features).levels)
        if any(not len(labels) for labels in summary.labels):
            raise ValueError(f"no row is possible under {self!r}: there are no levels to be found")
        return self.replace(levels=tuple(_of_column(labels.tolist()) for labels in summary.labels))

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
        T, (level, known) = np.zeros((len(X), len(packing.column))), packing.levels_of(X)
        level += np.arange(len(X))[:, None] * T.shape[1] + packing.starts
        T.ravel()[level[known]] = 1  # an absent row may hold anything
        return T

    def label_columns(self, n_columns: int) -> list[str | None]:
        return [self.unseen] * n_columns

    def _labels_of(self, columns: Sequence[Column]) -> dict[tuple[int, int], tuple[str, str]]:
        labels = self._variables(len(columns)).padded_labels
        return {(j, i): (columns[j].name, columns[j].level(labels[j, i])) for j, i in np.argwhere(labels >= 0)}

    def log_base_measure(self, X: Block) -> Array:
        X = np.asarray(X)
        _, known = self._variables(X.shape[1]).levels_of(X)
        return np.where(known.all(axis=1), 0.0, -np.inf)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return np.zeros(len(natural))

    def parameters(self, natural: Array) -> dict[str, Array]:
        found = super().parameters(natural)
        shape = found["probabilities"].shape
        labels = self._pack(np.shape(natural)[-1]).padded_labels
        return {**found, "levels": np.broadcast_to(labels, shape).copy()}

    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return log-probabilities; ``levels``, which are constants, may be left out.

        Raises
        ------
        ValueError
            If they are given and are not those of the family, (K, J, L), −1 where a column has fewer.
        """
        labels = given.pop("levels", None)
        natural = super().from_parameters(**given)
        known = self.parameters(natural)["levels"]
        text = labels is not None and np.asarray(labels).dtype.kind not in "biuf"  # the names of coded levels
        if not (labels is None or text or np.array_equal(labels, known) or np.array_equal(labels, known[0])):
            raise ValueError(f"levels is {labels!r}; they must be those of {self!r}, or be left out")
        return natural

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        labels = self._pack(len(natural)).padded_labels
        return labels[np.arange(len(labels)), self._drawn_labels(natural, n, rng)]

    def check_support(self, X: Block) -> None:
        X = np.asarray(X)
        if X.dtype == np.bool_:
            X = X.view(np.uint8)
        if self.levels is None or self.unseen == "zero":
            with np.errstate(invalid="ignore"):
                whole = (X >= 0) & (X == np.floor(X)) & (X < np.inf)
            require(whole, X, "Categorical needs whole numbers from 0")
            return
        packing = self._variables(X.shape[1])
        _, fine = packing.levels_of(X)
        if not np.all(fine):
            level = packing.levels[np.argwhere(~fine)[0, 1]]
            which = (
                f"whole numbers from 0 to {level - 1}"
                if isinstance(level, int)
                else f"one of the labels {_listed(level)}"
            )
            require(fine, X, f"Categorical needs {which}")

    # ---- parts of an observation ----------------------------------------------------------------------------

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        packing = self._pack(natural.shape[-1])
        levels = tuple(packing.levels[column] for column in columns)
        at = np.concatenate([packing.starts[c] + np.arange(packing.sizes[c]) for c in columns])
        return self.replace(levels=levels), natural[..., at]

    def conditionals(self, natural: Array, columns: Integers) -> Conditionals:
        levels = self._pack(natural.shape[-1]).levels
        return Conditionals(*self.marginal(natural, np.setdiff1d(np.arange(len(levels)), columns)))

    def observed(self, natural: Array) -> Marginals:
        partition, variable = self._log_normalisers(natural)
        return of_columns(self, natural, partition, self.to_expectation(natural), variable)

    def observed_log_base(self, X: Block, present: Mask) -> Array:
        _, known = self._variables(X.shape[1]).levels_of(X)
        return np.where((known | ~present).all(axis=1), 0.0, -np.inf)

    def mean(self, natural: Array) -> Array:
        """Return the means of the labels as numbers, (K, d): of the labels 0 and 1, the probability of 1."""
        found = self.parameters(natural)
        return np.sum(found["probabilities"] * found["levels"], axis=-1)


class OneHot(_Labels):
    """Labels as columns of indicators, variable after variable: T(x) = x, A(η) = Σ_j log Σ_l e^{η_jl}, h(x) = 1.

    Rows are 0 but for one 1 among the columns of each variable, and may be sparse; otherwise this is `Categorical`.
    A column without any 1 has probability 0 and is not counted as a parameter.

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
    incidental = ("n_empty",)

    n_empty: int | None = None
    """Number of columns without any 1, once it is known."""

    def __init__(self, levels: int | Sequence[int]) -> None:
        self.levels: int | tuple[OfColumn, ...] = _checked_levels(levels)

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        return Filled.of(X)

    def bound(self, summary: Any) -> Self:
        """Return a copy with the levels of each variable, and the number of those that nobody has."""
        filled = summary.columns
        return self.replace(levels=self._variables(len(filled)).levels, n_empty=int(np.sum(~filled)))

    def n_parameters(self, n_components: int) -> int:
        return super().n_parameters(n_components) - n_components * (self.n_empty or 0)

    def _variables(self, n_columns: int) -> _Packing:
        packing = self._pack(n_columns)
        if len(packing.column) != n_columns:
            raise ValueError(f"{self!r} has {len(packing.column)} columns of indicators; the rows have {n_columns}")
        return packing

    def _labels_of(self, columns: Sequence[Column]) -> dict[tuple[int, int], tuple[str, str]]:
        packing = self._variables(len(columns))
        places = zip(packing.column.tolist(), packing.level.tolist(), columns, strict=True)
        return {(j, i): (column.name, "") for j, i, column in places}

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
            require_rows(
                ~wrong,
                f"OneHot needs one 1 among the {packing.sizes[variable]} columns of each variable; row {{row}} has "
                f"{dense[variable]:.0f} in those of variable {variable}, from column {packing.starts[variable]}",
            )


class Multinomial(OfKnownWidth, Cancelling, Conjugated):
    """Counts x of e = Σ_j x_j trials: T(x) = x, e(x) = Σ_j x_j, A(η) = log Σ_j e^{η_j}, h(x) = e!/Π x_j!.

    η is determined up to a number added to all of it, so that T(x) = x; ``to_natural`` returns η_j = log p_j, where
    A = 0. The number of trials of a row is known and no observation. ``expected_log_base_measure`` is that of one
    trial. Counts of some columns are multinomial given their sum only, so there are no marginals of this kind. A column
    without any count has probability 0 and is not counted as a parameter.

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
    bounded = True
    incidental = ("n_empty", "many", "empty")

    n_empty: int | None = None
    """Number of columns without any count, once it is known."""

    empty: Literal["error", "possible"] = "error"
    """What rows without a count are: their density is 1, but a fit must give them the weight 0, for they have no e."""

    ranges = {"probabilities": named.SHARE}

    def __init__(self, trials: SupportsIndex = 1) -> None:
        if isinstance(trials, bool) or not isinstance(trials, Integral) or trials < 1:
            raise ValueError(f"trials is {trials!r}; it must be a whole number from 1")
        self.trials = int(trials)
        self.many: bool | None = None  # whether rows have so many trials that digits of log h matter, once it is known

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        return Filled.of(X)

    def bound(self, summary: Any) -> Self:
        """Return a copy that knows the number of columns, of those without a count, and whether trials are many."""
        n_empty, many = int(np.sum(~summary.columns)), summary.largest > LARGE_COUNT
        return self.replace(n_features=len(summary.columns), n_empty=n_empty, many=many)

    def cancels(self, natural: Array) -> bool:
        return self.many is not False  # nobody knows before `bind`: then the rows say

    def log_density(self, X: Block | CSRBlock, natural: Array) -> Array:
        if not np.any(row_sums(observations(X)) > LARGE_COUNT):
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
        sizes = self._known_sizes()
        arrays, used = named.read(self, given, self.ranges, (tuple(self.ranges),), sizes=sizes, least=2)
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
        if self.empty == "error":
            require_rows(row_sums(X) > 0, "Multinomial needs a count in every row; row {row} has none")

    def _n_free(self, n_features: int) -> int:
        return n_features - 1 - (self.n_empty or 0)

    def conjugate(self) -> Conjugate:
        return OfShares(self, lambda p: np.zeros(1, np.int64))

    def __repr__(self) -> str:
        return f"Multinomial(trials={self.trials})" if self.trials > 1 else "Multinomial()"


def _checked_levels(levels: Any, of_labels: bool = False) -> int | tuple[OfColumn, ...]:
    """Return numbers of levels, or labels where these may be given, as a family keeps them."""
    try:
        if not isinstance(levels, Iterable):
            return _number(levels)
        found = tuple(_labels(one) if of_labels and isinstance(one, Iterable) else _number(one) for one in levels)
        if not found:
            raise ValueError("nothing")
    except (TypeError, ValueError) as error:
        labels = ", or the labels of each column, as in [[1, 2, 3], [0, 99]]" if of_labels else ""
        raise ValueError(
            f"levels is {levels!r}; it must be a whole number from 2, or a list with one for each column{labels}"
        ) from error
    return found


def _number(levels: Any) -> int:
    if isinstance(levels, bool) or not isinstance(levels, Integral) or levels < 2:
        raise ValueError("no number of levels")
    return int(levels)


def _labels(labels: Any) -> OfColumn:
    values = np.array(labels, np.float64)
    possible = (values >= 0) & (values % 1 == 0)
    if values.ndim != 1 or not len(values) or not possible.all() or len(np.unique(values)) < len(values):
        raise ValueError("no labels")
    return _of_column(values.tolist())


def _of_column(labels: Iterable[float]) -> OfColumn:
    """Return different labels as a family keeps them; from 0 on without a gap, their number says which they are."""
    found = tuple(sorted(map(int, labels)))
    return len(found) if len(found) > 1 and found == tuple(range(len(found))) else found


def _listed(labels: Sequence[int]) -> str:
    shown = [str(label) for label in labels]
    if len(shown) > SHOWN_LABELS:
        shown[SHOWN_LABELS // 2 : -SHOWN_LABELS // 2] = ["…"]
    return ", ".join(shown)


MOST_LEVELS = 1 << 26
"""Levels of all columns: one row of statistics of so many takes half a gigabyte."""


class _Packing:
    """How statistics are arranged: the first of each column of labels, and the column and level of each."""

    def __init__(self, levels: tuple[OfColumn, ...]) -> None:
        self.levels = levels
        self.sizes = tuple(one if isinstance(one, int) else len(one) for one in levels)
        if (total := sum(self.sizes)) > MOST_LEVELS:
            at = int(np.argmax(self.sizes))
            raise ValueError(
                f"column {at} has {self.sizes[at]} levels, and all columns {total}: at most {MOST_LEVELS} are "
                "possible, as each is a statistic"
            )
        sizes = np.array(self.sizes, np.int64)
        self.starts = np.cumsum(sizes) - sizes
        self.column = np.repeat(np.arange(len(levels)), sizes)
        self.level = np.arange(len(self.column)) - self.starts[self.column]
        self._counted = np.array([one if isinstance(one, int) else 0 for one in levels])
        self._coded = np.flatnonzero(self._counted == 0)
        self.padded_labels = np.full((len(levels), max(self.sizes)), -1.0)
        """Labels of each column, (J, L), −1 where a column has fewer."""
        for labels, one in zip(self.padded_labels, levels, strict=True):
            labels[: len(one) if isinstance(one, tuple) else one] = range(one) if isinstance(one, int) else one

    def levels_of(self, X: Block) -> tuple[Integers, Mask]:
        """Return the level of each label, and whether its column has that label, (n, J) each."""
        with np.errstate(invalid="ignore"):
            known = (X >= 0) & (X < self._counted)
        level = np.where(known, X, 0).astype(np.int64)
        known &= level == X
        for column in self._coded:
            labels, x = self.padded_labels[column, : self.sizes[column]], X[:, column]
            at = np.minimum(np.searchsorted(labels, x), len(labels) - 1)
            level[:, column], known[:, column] = at, labels[at] == x
        return level, known


_packing = functools.lru_cache(64)(_Packing)  # the arrangement is asked for at every step
