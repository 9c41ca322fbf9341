"""What families of independent columns have in common."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.family import checked, missing, named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.centred import Centred
from expfam_em.family.conditionals import Conditionals
from expfam_em.family.frames import Frames
from expfam_em.family.kernel_form import KernelForm, Monomials
from expfam_em.family.missing import Marginals, MissingValues
from expfam_em.family.support import require
from expfam_em.rows.typing import Array, Block, Integers, Mask


class IndependentColumns(MissingValues):
    """Product over the columns of a row of densities of one number, each column with parameters of its own.

    A subclass describes one number x, in functions of arrays of any shape, elementwise: ``of_one`` has the
    ``order`` statistics t₁(x), t₂(x), …, and natural and expectation parameters come and go as as many arrays. Rows are
    packed statistic by statistic: (t₁ of all columns, t₂ of all columns, …), so p = order · d.
    """

    order = 1
    """Number of statistics of one x."""

    needs = ""
    """What x has to be, as the end of "Poisson needs …"; empty if every finite x is possible."""

    is_identity = False
    """Whether the one statistic is t(x) = x."""

    constants: tuple[str, ...] = ()
    """Names of the attributes that are known numbers, one for all columns or one for each, (d,)."""

    determined_by: tuple[tuple[str, ...], ...] = ()
    """Sets of names; each set alone is enough for ``natural_from``. The best set comes first.

    Empty: the arguments of ``natural_from`` that have no default.
    """

    # ---- what a family says of one number --------------------------------------------------------------------

    @abstractmethod
    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        """Return t₁(x), t₂(x), …"""

    @abstractmethod
    @checked.named_by_subclass
    def log_partition_of(self, *natural: Array) -> Array:
        """Return A(η₁, η₂, …); not finite outside the natural-parameter space."""

    @abstractmethod
    @checked.named_by_subclass
    def expectation_of(self, *natural: Array) -> tuple[Array, ...]:
        """Return E[t₁], E[t₂], …"""

    @abstractmethod
    @checked.named_by_subclass
    def natural_of(self, *expectation: Array) -> tuple[Array, ...]:
        """Return η₁, η₂, …"""

    @abstractmethod
    @checked.named_by_subclass
    def parameters_of(self, *natural: Array) -> dict[str, Array]:
        """Return the named parameters."""

    @checked.named_by_subclass
    def natural_from(self, *_: Array, **named: Array) -> tuple[Array, ...]:
        """Return η₁, η₂, … of named parameters, the inverse of ``parameters_of``.

        The names are those of the arguments, or of ``ranges`` where there is only ``**``. `from_parameters` checks the
        values before.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no way from named to natural parameters: define natural_from(self, **named)"
        )

    @abstractmethod
    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        """Return numbers of shape ``size``, drawn with natural parameters that broadcast to it."""

    def log_base_of(self, x: Array) -> Array | None:
        """Return log h(x); None where it is 0."""
        return None

    @checked.named_by_subclass
    def expected_log_base_of(self, *natural: Array) -> Array | None:
        """Return E[log h(x)]; None if it has no formula."""
        return None

    @checked.named_by_subclass
    def mean_of(self, *natural: Array) -> Array:
        """Return E[x]; that of t(x) = x by default."""
        if not self.is_identity:
            raise NotImplementedError(f"{type(self).__name__} has no formula for E[x]: define mean_of(self, *natural)")
        return self.expectation_of(*natural)[0]

    def possible(self, x: Array) -> Mask:
        """Return whether each x may occur."""
        return np.isfinite(x)

    # ---- the family ------------------------------------------------------------------------------------------

    def _split(self, packed: Array) -> np.ndarray:
        """Return (..., p) as ``order`` arrays (..., d)."""
        packed = np.asarray(packed, np.float64)
        d = packed.shape[-1] // self.order
        parts = packed.reshape(*packed.shape[:-1], self.order, d)
        return parts.transpose(parts.ndim - 2, *range(parts.ndim - 2), parts.ndim - 1)

    def sufficient_statistics(self, X: Block) -> Array:
        with np.errstate(all="ignore"):  # an absent row may hold anything; the last bit may depend on strides
            return np.concatenate(self.statistics_of(np.ascontiguousarray(X, np.float64)), axis=1)

    def kernel_form(self, n_features: int) -> KernelForm | None:
        return KernelForm(Monomials.identity(n_features)) if self.is_identity else None

    def log_partition(self, natural: Array) -> Array:
        with np.errstate(all="ignore"):
            return self.log_partition_of(*self._split(natural)).sum(axis=-1)

    def log_base_measure(self, X: Block) -> Array:
        with np.errstate(all="ignore"):
            value = self.log_base_of(np.ascontiguousarray(X, np.float64))
            return np.zeros(len(X)) if value is None else value.sum(axis=1)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        with np.errstate(all="ignore"):
            if type(self).log_base_of is IndependentColumns.log_base_of:
                return np.zeros(len(natural))
            value = self.expected_log_base_of(*self._split(natural))
            return None if value is None else value.sum(axis=-1)

    def to_expectation(self, natural: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.concatenate(self.expectation_of(*self._split(natural)), axis=-1)

    def to_natural(self, expectation: Array) -> Array:
        with np.errstate(all="ignore"):  # a mean on the boundary of its space may have no finite η
            return np.concatenate(self.natural_of(*self._split(expectation)), axis=-1)

    def mean(self, natural: Array) -> Array:
        with np.errstate(all="ignore"):
            return self.mean_of(*self._split(natural))

    def parameters(self, natural: Array) -> dict[str, Array]:
        with np.errstate(all="ignore"):
            return self.parameters_of(*self._split(natural))

    def from_parameters(self, **given: ArrayLike) -> Array:
        if type(self).natural_from is IndependentColumns.natural_from:
            self.natural_from()  # raises, and says what to define
        known, needed = self._names()
        parameters = {name: self.ranges.get(name, named.FINITE) for name in known}
        sets = self.determined_by or (tuple(needed),)
        arrays, used = named.read(self, given, parameters, sets, sizes=self._known_sizes())
        with np.errstate(all="ignore"):  # a value on the boundary of its space may have no finite η
            natural = np.concatenate(self.natural_from(**used), axis=-1)
        return named.finished(self, natural, arrays, used)

    def _names(self) -> tuple[list[str], list[str]]:
        """Return the names that ``natural_from`` takes, and those without a default; ``ranges`` has those of **."""
        arguments = inspect.signature(self.natural_from).parameters.values()
        explicit = [argument for argument in arguments if argument.kind is not argument.VAR_KEYWORD]
        needed = [argument.name for argument in explicit if argument.default is argument.empty]
        if len(explicit) < len(arguments):
            return list(self.ranges), list(self.ranges)
        return [argument.name for argument in explicit], needed

    def _known_sizes(self) -> dict[str, int]:
        """Return the number of columns, if there is a constant for each."""
        widths = [len(value) for name in self.constants if np.ndim(value := getattr(self, name))]
        return {"column": widths[0]} if widths else {}

    def _blocks(self, n_statistics: int) -> Integers:
        return np.arange(n_statistics).reshape(self.order, -1).T

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        with np.errstate(all="ignore"):
            natural = self._split(natural)
            return np.asarray(self.draw_of(natural, (n, natural.shape[-1]), rng), np.float64)

    def check_support(self, X: Block) -> None:
        for name in self.constants:
            value = np.asarray(getattr(self, name))
            if value.ndim and len(value) != np.shape(X)[1]:
                raise ValueError(f"{self!r} has {name} for {len(value)} columns; X has {np.shape(X)[1]}")
        with np.errstate(all="ignore"):
            require(self.possible(np.asarray(X)), X, f"{type(self).__name__} needs {self.needs}")

    def supports(self, X: Block) -> Mask:
        with np.errstate(all="ignore"):
            return np.all(self.possible(np.asarray(X)), axis=1)

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        of_columns = {name: np.asarray(getattr(self, name)) for name in self.constants}
        part = self.replace(**{name: value[columns] for name, value in of_columns.items() if value.ndim})
        return part, np.concatenate(list(self._split(natural)[..., columns]), axis=-1)

    def conditionals(self, natural: Array, columns: Integers) -> Conditionals:
        rest = np.setdiff1d(np.arange(natural.shape[-1] // self.order), columns)
        return Conditionals(*self.marginal(natural, rest))

    # ---- missing values --------------------------------------------------------------------------------------

    @property
    def takes_missing(self) -> bool:
        # a subclass may have densities in which columns are not independent
        of_rows = "sufficient_statistics", "log_partition", "log_base_measure", "exposure", "log_density", "maximize"
        return all(checked.is_ours(self, name) for name in of_rows)

    def _partition_by_column(self, natural: Array) -> Array:
        """Return A of each column, (K, p) -> (K, d)."""
        return self.log_partition_of(*self._split(natural))

    def observed(self, natural: Array) -> Marginals:
        with np.errstate(all="ignore"):
            partition, mean = self._partition_by_column(natural), self.to_expectation(natural)
        return missing.of_columns(self, natural, partition, mean, np.tile(np.arange(partition.shape[1]), self.order))

    def observed_log_base(self, X: Block, present: Mask) -> Array:
        with np.errstate(all="ignore"):
            value = self.log_base_of(np.ascontiguousarray(X, np.float64))
            return np.zeros(len(X)) if value is None else np.where(present, value, 0.0).sum(axis=1)

    def __repr__(self) -> str:
        shown = (f"{name}={_shown(getattr(self, name))}" for name in self.constants)
        return f"{type(self).__name__}({', '.join(shown)})"


class CentredColumns(Centred, IndependentColumns):
    """Independent columns of two statistics that have a form about an origin; see `Centred`.

    The first of t̃ is of second order. Methods take numbers and origins of one shape, or of shapes that broadcast.
    """

    order = 2

    @abstractmethod
    def middle_of(self, first: Array, second: Array, /) -> Array:
        """Return a number in the middle of those with these means of t₁ and t₂."""

    @abstractmethod
    def recombined(self, origin: Array) -> tuple[tuple[ArrayLike, ArrayLike], tuple[ArrayLike, ArrayLike]]:
        """Return M(x₀), row by row."""

    @abstractmethod
    def statistics_near(self, x: Array, origin: Array) -> tuple[Array, Array]:
        """Return t̃₁(x), t̃₂(x)."""

    @abstractmethod
    def log_partition_near(self, origin: Array, first: Array, second: Array, /) -> Array:
        """Return Ã(η̃₁, η̃₂)."""

    @abstractmethod
    def expectation_near(self, origin: Array, first: Array, second: Array, /) -> tuple[Array, Array]:
        """Return E[t̃₁], E[t̃₂]."""

    @abstractmethod
    def natural_near(self, origin: Array, first: Array, second: Array, /) -> tuple[Array, Array]:
        """Return η̃₁, η̃₂; NaN where the numbers do not differ."""

    def _partition_by_column(self, natural: Array) -> Array:
        def about(eta: Array, origin: Array) -> Array:
            return self.log_partition_near(origin, *self._split(eta))

        return self._mapped(super()._partition_by_column, about, natural)

    def observed_log_density(self, X: Block, natural: Array, present: Mask) -> Array:
        if self._is_plain or not present.any():
            return super().observed_log_density(X, natural, present)
        columns, frames = np.flatnonzero(present), self.frames
        part, _ = self._plain.marginal(natural, columns)
        if frames is not None:
            frames = Frames({"own": frames["own"], "origin": frames["origin"][:, columns]})
        part = part.replace(origin=None if self.origin is None else self.origin[columns], own_frames=frames)
        eta = np.concatenate(list(self._split(natural)[..., columns]), axis=-1)
        return checked.log_density(part, X[:, columns], eta)

    def conditionals(self, natural: Array, columns: Integers) -> Conditionals:
        if self._is_plain:
            return super().conditionals(natural, columns)
        return self._plain.conditionals(self._as_plain(natural), columns)

    def mean(self, natural: Array) -> Array:
        if self._is_plain:
            return super().mean(natural)
        return self._plain.mean(self._as_plain(natural))

    def spread(self, expectation: Array, place: Array) -> Array:
        first, second = self._split(expectation) - np.stack(self.statistics_of(place))
        (of_first, of_second), _ = self.recombined(place)
        return -(of_first * first + of_second * second)

    def middle(self, expectation: Array) -> Array:
        first, second = self._split(expectation)
        return self.middle_of(first, second)

    def recombination(self, origin: Array) -> Array:
        K, d = origin.shape
        out, at = np.zeros((K, 2, d, 2, d)), np.arange(d)
        for i, row in enumerate(self.recombined(origin)):
            for j, entries in enumerate(row):
                out[:, i, at, j, at] = entries
        return out.reshape(K, 2 * d, 2 * d)

    def statistics_about(self, X: Array, origin: Array) -> Array:
        return np.concatenate(self.statistics_near(X, origin), axis=1)

    def partition_about(self, natural: Array, origin: Array) -> Array:
        first, second = self._split(natural)
        return self.log_partition_near(origin, first, second).sum(axis=-1)

    def expectation_about(self, natural: Array, origin: Array) -> Array:
        first, second = self._split(natural)
        return np.concatenate(self.expectation_near(origin, first, second), axis=-1)

    def natural_about(self, expectation: Array, origin: Array) -> Array:
        first, second = self._split(expectation)
        return np.concatenate(self.natural_near(origin, first, second), axis=-1)


def constant(name: str, value: ArrayLike | None, fine: Callable[[Array], Any], must_be: str) -> Any:
    """Return a known number as a float, or one for each column as a read-only array (d,).

    Raises
    ------
    ValueError
        If ``fine`` is not true of each, a function of arrays; ``must_be`` says what it asks for.
    """
    try:
        number = np.array(value, np.float64)
    except (TypeError, ValueError):
        number = np.array(np.nan)
    if number.ndim > 1 or not np.all(np.isfinite(number) & fine(number)):
        raise ValueError(f"{name} is {value!r}; it must be {must_be}, for all columns or for each, (d,)")
    if number.ndim == 0:
        return float(number)
    number.flags.writeable = False
    return number


def _shown(value: Any) -> str:
    """Return 2 for 2.0 and [2, 0.5] for an array."""
    if np.ndim(value):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(float(value)).removesuffix(".0")
