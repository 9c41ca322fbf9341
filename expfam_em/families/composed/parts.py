"""What families made of several others have in common: each part is asked about its share of the statistics."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.families.composed.layout import Layout
from expfam_em.families.conjugates import OfFamilies
from expfam_em.family import checked
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.binding import Composed
from expfam_em.family.conjugate import Conjugate, Conjugated
from expfam_em.family.constraints import Constraint
from expfam_em.family.frames import Frames
from expfam_em.family.kernel_form import Monomials, OwnFrames
from expfam_em.family.optional import (
    Cancelling,
    Framed,
    Incomplete,
    OfComponents,
    PartlyBounded,
    Seeded,
    UpToLargest,
    at_edges_of,
    bounded_natural,
    cancels,
    edge_sums_of,
    flat,
    for_seeds,
    frames_of,
    is_incomplete,
    kernel_frames,
    left_of_largest,
    score_rounding,
    shared,
    sums_of,
    translate,
    translate_expectation,
)
from expfam_em.family.registry import family_of
from expfam_em.rows.columns import Column
from expfam_em.rows.typing import Array, Block, Mask


class OfAnother(Composed):
    """Families whose rows are seen otherwise than those of another family, which is an attribute.

    A, the mappings, the M-step and named parameters are those of the other, unless a subclass says more.
    """

    family: Any

    def _with_parts(self, families: list, n_features: int | None) -> Any:
        return self.replace(family=families[0])

    def log_partition(self, natural: Array) -> Array:
        return checked.log_partition(self.family, natural)

    def to_expectation(self, natural: Array) -> Array:
        return checked.to_expectation(self.family, natural)

    def to_natural(self, expectation: Array) -> Array:
        return checked.to_natural(self.family, expectation)

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        return checked.next_natural(self.family, counts, sums, previous)

    @property
    def coupled(self) -> bool:
        return bool(self.family.coupled)

    def n_parameters(self, n_components: int) -> int | None:
        return checked.n_parameters(self.family, n_components)

    def seed(self, expectation: Array, mean: Array) -> Array:
        return checked.seeds(self.family, expectation, mean)

    def edges(self, natural: Array) -> dict[str, Mask]:
        return self.family.edges(natural)

    def parameters(self, natural: Array) -> dict[str, Array]:
        return checked.parameters(self.family, natural)

    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return the natural parameters of the names that the family itself has."""
        return self.family.from_parameters(**given)

    def _entries(self, name: str, shape: tuple[int, ...], columns: Sequence[Column], n_components: int) -> Any:
        return self.family._entries(name, shape, columns, n_components)


class Part(NamedTuple):
    """One of the families that another is made of, and which components of the whole it describes."""

    number: int
    family: ExponentialFamily
    of: Any  # a slice, or (k,) int


class OfParts(Composed, Framed, Cancelling, Incomplete, PartlyBounded, UpToLargest, Conjugated, Seeded):
    """Families made of others, whose statistics stand side by side as a `Layout` says.

    Each part describes all components, or, where a subclass says so by `_parts`, some of them. A is the sum of A of the
    parts that describe a component, and all mappings are those of the parts. There may be more statistics behind those
    of the parts: log h of each part.
    """

    sparse = "never"
    incidental: tuple[str, ...] = ("regularized",)

    families: list[ExponentialFamily]
    n_features: int | None
    """Number of columns of X, once it is known."""

    def _take(self, families: list[ExponentialFamily]) -> None:
        """Take the parts, for any number of columns."""
        self.families, self.n_features = families, None
        self.regularized = any(family.regularized for family in families)
        self.bounded = all(family.bounded for family in families)
        self.incomplete = any(map(is_incomplete, families))
        limits = [family for family in families if is_incomplete(family) and family.has_limits]
        self.has_limits = bool(limits)
        self.knows_observed_limits = all(family.knows_observed_limits for family in limits)

    @property
    def samples_alike(self) -> bool:  # type: ignore[override]
        return all(family.samples_alike for family in self.families)

    def for_seeds(self) -> ExponentialFamily:
        families = [for_seeds(family) for family in self.families]
        return self if all(map(operator.is_, families, self.families)) else self._with_parts(families, self.n_features)

    @property
    @abstractmethod
    def _layout(self) -> Layout:
        """Where the statistics of the parts are among those of the whole."""

    @abstractmethod
    def _monomials(self) -> list[Monomials]:
        """Return the monomials of the parts as they are framed now."""

    def _parts(self, n: int) -> list[Part]:
        """Return the parts that n components have."""
        return [Part(j, family, slice(None)) for j, family in enumerate(self.families)]

    def _join(self, n: int, found: Sequence[Array], log_h: float = 1.0) -> Array:
        """Return η or E[T] of n components, (n, p), from those of their parts.

        Where log h of a part is a statistic too, ``log_h`` is its natural parameter, 1, or 0 among expectations.
        """
        out = np.zeros((n, self._layout.n_statistics))
        for part, values in zip(self._parts(n), found, strict=True):
            out[np.arange(n)[part.of, None], self._layout.statistics[part.number]] = values
        return out

    def _total(self, n: int, found: Sequence[Array]) -> Array:
        """Return A or E[log h] of n components, (n,), from those of their parts."""
        out = np.zeros(n, np.result_type(*found))
        for part, values in zip(self._parts(n), found, strict=True):
            out[part.of] += values
        return out

    def _of_possible(self, expectation: Array) -> Array:
        """Return the mean of T over the rows that are possible under the family of their component."""
        return expectation

    def _each(self, function: Callable, *packed: Array) -> list:
        """Return [function(part, its share of each array)]."""
        at = self._layout.statistics
        parts = self._parts(len(packed[0]))
        return [function(part, *(array[part.of][:, at[part.number]] for array in packed)) for part in parts]

    def _map(self, function: Callable, *packed: Array, log_h: float = 1.0) -> Array:
        """Return η or E[T] of the whole from what a function makes of those of each part."""
        return self._join(len(packed[0]), self._each(function, *packed), log_h)

    # ---- the family -----------------------------------------------------------------------------------------

    def log_partition(self, natural: Array) -> Array:
        found = self._each(lambda part, eta: checked.log_partition(part.family, eta), natural)
        return self._total(len(natural), found)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        found = self._each(lambda part, eta: checked.expected_log_base_measure(part.family, eta), natural)
        return None if any(value is None for value in found) else self._total(len(natural), found)

    def to_expectation(self, natural: Array) -> Array:
        return self._map(lambda part, eta: checked.to_expectation(part.family, eta), natural, log_h=0.0)

    def to_natural(self, expectation: Array) -> Array:
        return self._map(lambda part, m: checked.to_natural(part.family, m), self._of_possible(expectation))

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        packed = (sums,) if previous is None else (sums, previous)
        return self._map(lambda part, *its: checked.next_natural(part.family, counts[part.of], *its), *packed)

    def edges(self, natural: Array) -> dict[str, Mask]:
        found: dict[str, Mask] = {}

        def one(part, eta):
            for name, which in part.family.edges(eta).items():
                found.setdefault(f"{labels[part.number]}: {name}", np.zeros(len(natural), bool))[part.of] = which

        labels = labels_of(self.families)
        self._each(one, natural)
        return found

    @abstractmethod
    def _summed(self, of_part: Callable, X: Block, responsibilities: Array, natural: Array | None = None) -> Array:
        """Return sums over rows, (K, p), from those of the parts, such as `sums_of` returns them."""

    def complete(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        return self._summed(sums_of, X, responsibilities, natural)

    def guess(self, X: Block, responsibilities: Array) -> Array:
        unframed = self.frames is None
        return super().guess(X, responsibilities) if unframed else self._summed(sums_of, X, responsibilities)

    def edge_sums(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        return self._summed(edge_sums_of, X, responsibilities, natural)

    def at_edges(self, natural: Array, counts: Array, sums: Array) -> Array:
        def one(part, eta, its):
            return at_edges_of(part.family, eta, counts[part.of], its)

        return self._map(one, natural, sums)

    def typical(self, mean: Array) -> Array:
        def one(part, m):
            return part.family.typical(m) if is_incomplete(part.family) else m

        return self._map(one, mean, log_h=0.0) if self.incomplete else mean

    def seed(self, expectation: Array, mean: Array) -> Array:
        means = self._of_possible(expectation), self._of_possible(mean)
        return self._map(lambda part, *its: checked.seeds(part.family, *its), *means, log_h=0.0)

    def parameters(self, natural: Array) -> dict[str, Array]:
        labels = labels_of(self.families)
        found = self._each(lambda part, eta: (labels[part.number], checked.parameters(part.family, eta)), natural)
        return {f"{label}_{name}": value for label, named in found for name, value in named.items()}

    def _part_of(self, name: str) -> tuple[int, str]:
        """Return the number of the part that a named parameter is of, and what the part calls it."""
        labels = labels_of(self.families)
        j = max((j for j in range(len(labels)) if name.startswith(f"{labels[j]}_")), key=lambda j: len(labels[j]))
        return j, name.removeprefix(f"{labels[j]}_")

    def bounded_natural(self, natural: Array) -> Mask:
        return self._map(lambda part, eta: bounded_natural(part.family, eta), natural, log_h=1.0) > 0

    def left_of_largest(self, natural: Array) -> Array:
        return self._map(lambda part, eta: left_of_largest(part.family, eta), natural, log_h=np.inf)

    def conjugate(self) -> Conjugate:
        return OfFamilies(self)

    # ---- constraints: those of the parts ----------------------------------------------------------------------

    def _under(self, constraint: Constraint | None) -> Self:
        labels, families = labels_of(self.families), list(self.families)
        names = [] if constraint is None else constraint.names
        for name in names:
            if not any(name.startswith(f"{label}_") for label in labels):
                raise ValueError(
                    f"{self!r} has no parameter {name!r} to constrain; names begin with the label of a part: "
                    f"{', '.join(f'{label}_…' for label in labels)}"
                )
        for j, label in enumerate(labels):
            mine = {name: name.removeprefix(f"{label}_") for name in names if name.startswith(f"{label}_")}
            if constraint is None or mine:
                families[j] = families[j]._under(None if constraint is None else constraint.some(mine))
        return self if all(map(operator.is_, families, self.families)) else self.replace(families=families)

    def _n_removed(self, natural: Array) -> int:
        return sum(self._each(lambda part, eta: part.family._n_removed(eta), natural))

    def cancels(self, natural: Array) -> bool:
        return any(self._each(lambda part, eta: cancels(part.family, eta), natural))

    # ---- frames: those of the parts -------------------------------------------------------------------------

    @property
    def frames(self) -> Frames | None:
        return Frames.of_parts([frames_of(family) for family in self.families])

    def _joined_frames(self, n: int, new: Mapping[int, Frames | None]) -> Frames | None:
        """Return the frames of n components: new ones of some parts, by number, and those that the others have."""
        lots: list[Frames | None] = [None] * len(self.families)
        for part in self._parts(n):
            if (lot := new.get(part.number, frames_of(part.family))) is not None:
                lots[part.number] = lot if len(lot) == n else lot.scattered(part.of, n)
        return Frames.of_parts(lots)

    @property
    def score_rounding(self) -> float:
        return max(score_rounding(family) for family in self.families)

    def flat(self, natural: Array) -> Mask:
        found = np.zeros(len(natural), bool)
        parts = self._parts(len(natural))
        for part, of_part in zip(parts, self._each(lambda part, eta: flat(part.family, eta), natural), strict=True):
            found[part.of] |= of_part
        return found

    def with_frames(self, frames: Frames | None) -> Self:
        families: list[Any] = [shared(family) for family in self.families]
        if frames is not None:
            for part in self._parts(len(frames)):
                if (its := frames.part(part.number)) is not None:
                    families[part.number] = families[part.number].with_frames(its.take(part.of))
        return self if all(map(operator.is_, families, self.families)) else self.replace(families=families)

    def kernel_frames(self) -> OwnFrames | None:
        if (frames := self.frames) is None:
            return None
        n = len(frames)
        parts = [(part.number, np.arange(n)[part.of], kernel_frames(part.family)) for part in self._parts(n)]
        return self._layout.own_frames(self._monomials(), [part for part in parts if part[2] is not None], n)

    def choose_frames(self, natural: Array, expectation: Array) -> tuple[Frames | None, Array] | None:
        new: dict[int, Frames | None] = {}

        def one(part, eta, m):
            found = part.family.choose_frames(eta, m) if isinstance(part.family, Framed) else None
            if found is not None:
                new[part.number], eta = found
            return eta

        etas = self._each(one, natural, self._of_possible(expectation))
        return (self._joined_frames(len(natural), new), self._join(len(natural), etas)) if new else None

    def rescue_frames(self, natural: Array, expectation: Array, proper: Mask) -> Frames | None:
        new: dict[int, Frames | None] = {}

        def one(part, eta, m):
            if not isinstance(part.family, Framed):
                return
            if (better := part.family.rescue_frames(eta, m, proper[part.of])) is not None:
                new[part.number] = better

        self._each(one, natural, self._of_possible(expectation))
        return self._joined_frames(len(natural), new) if new else None

    def translate(self, natural: Array, target: Any) -> Array:
        return self._translated(translate, natural, target, 1.0)

    def translate_expectation(self, expectation: Array, target: Any) -> Array:
        return self._translated(translate_expectation, expectation, target, 0.0)

    def _translated(self, function, packed, target, log_h):
        def one(part, share):
            return function(self.families[part.number], share, target.families[part.number])

        # the user's family may not know yet how many statistics it has
        known = self if self.n_features is not None else target
        return known._map(one, packed, log_h=log_h)


def labels_of(families) -> list[str]:
    """Return a name for each of several families, numbered where one occurs more than once."""
    names = [type(family).__name__.lower() for family in families]
    return [f"{name}{names[:i].count(name) + 1}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def pairs_of(parts: Any, what: str) -> list[tuple[Any, Any]]:
    """Return pairs of a family and what stands beside it, such as its columns.

    Raises
    ------
    TypeError
        If they are no pairs, or one of them has no family that can be a part.
    """
    try:
        pairs = [(family, beside) for family, beside in parts]
    except (TypeError, ValueError):
        raise TypeError(f"parts are {parts!r}; they must be pairs (family, {what})") from None
    return [(family_argument(family), beside) for family, beside in pairs]


def family_argument(family: Any) -> Any:
    """Return a family, or the one of a name; raise a TypeError unless it is an instance that can be a part."""
    family = family_of(family, "a part")
    if isinstance(family, OfComponents):
        raise TypeError(f"a part is {family!r}, which is a family for each component: it can only stand by itself")
    return family
