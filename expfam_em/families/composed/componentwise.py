"""Mixtures whose components belong to different families: clusters and noise, light and heavy tails."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.families.composed.layout import Layout, monomials_of
from expfam_em.families.composed.parts import OfParts, Part, labels_of, pairs_of
from expfam_em.family import checked, named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.binding import rows_where
from expfam_em.family.conditionals import Conditionals, Lot, joined
from expfam_em.family.frames import Frames
from expfam_em.family.kernel_form import KernelForm, Monomials, form_of, table
from expfam_em.family.missing import (
    MissingByDensity,
    log_density_of,
    observed_edge_sums_of,
    observed_sums_of,
    takes_missing,
    with_possible,
)
from expfam_em.family.optional import OfComponents, OfLabels, label_columns
from expfam_em.family.support import ImpossibleRowError
from expfam_em.rows.columns import Column
from expfam_em.rows.threads import cached_property
from expfam_em.rows.typing import Array, Block, Integers, Mask

IMPOSSIBLE = -1e200
"""log h of a row that a family cannot have produced: finite, because it is multiplied by 0 for other families."""

TOO_LOW = 1e-150 * IMPOSSIBLE
"""Mean of log h that only impossible rows bring about."""


class Componentwise(OfParts, OfComponents, OfLabels, MissingByDensity):
    """A family for each component: T is that of every family, and η_k is 0 for all but its own.

    The families have different base measures, so log h_j(x) is a statistic too, whose natural parameter is 1 for the
    components of family j and 0 for others. Components stand in the order of the parts.

    Parameters
    ----------
    parts : list of (ExponentialFamily or name, n_components)
        Each family with the number of components that belong to it.

    Raises
    ------
    TypeError, ValueError
        If a part is no family, or its number of components is not a whole number from 1.

    Examples
    --------
    >>> from expfam_em import families
    >>> families.Componentwise([(families.Gaussian("full"), 3), (families.Uniform(), 1)])
    Componentwise([(Gaussian('full'), 3), (Uniform(), 1)])
    """

    seed_smoothing = 0.0
    incidental: tuple[str, ...] = ("own_frames", "of_component", "regularized")

    def __init__(self, parts: Iterable[tuple[ExponentialFamily | str, int]]) -> None:
        pairs = pairs_of(parts, "number of components")
        for family, count in pairs:
            if not (isinstance(count, (int, np.integer)) and count >= 1):
                raise ValueError(f"{family!r} has {count!r} components; it must be a whole number from 1")
        if not pairs:
            raise ValueError("there are no parts; at least one family is needed")
        self._take([family for family, _ in pairs])
        self.of_component = np.repeat(np.arange(len(pairs)), [count for _, count in pairs])

    # ---- which statistics and which components are whose -----------------------------------------------------

    @property
    def coupled(self) -> bool:
        return True  # components cannot be told from their statistics: they are maximised in their order

    @cached_property
    def _layout(self) -> Layout:
        """The families one after the other, and then log h of each."""
        if self.n_features is None:
            raise ValueError(f"{self!r} does not know the number of columns yet: call bind first")
        return Layout.of(self._monomials())

    def _monomials(self) -> list[Monomials]:
        of_families = [monomials_of(family, self.n_features) for family in self.families]
        return of_families + [Monomials.identity(1)] * len(self.families)

    def _family_of(self, n) -> np.ndarray:
        """Return the family of each of n components: those of one mixture, or of several one after another."""
        K = len(self.of_component)
        if n == K:
            return self.of_component
        one = self.of_component[: math.gcd(n, K)]  # of a stack, n may be those of another number of mixtures
        if not np.array_equal(np.resize(one, K), self.of_component):
            raise ValueError(f"natural parameters of {n} components; {self!r} has {K} components, in order")
        return np.resize(one, n)

    def label_columns(self, n_columns: int) -> list[str | None]:
        of_families = [label_columns(family, n_columns) for family in self.families]
        return [next((one for one in each if one is not None), None) for each in zip(*of_families, strict=True)]

    def _entries(self, name: str, shape: tuple[int, ...], columns: Sequence[Column], n_components: int) -> Any:
        j, name = self._part_of(name)
        [of] = [part.of for part in self._parts(n_components) if part.number == j]
        found = self.families[j]._entries(name, shape, columns, len(of))
        for at in np.ndindex(shape):
            if (entry := found[at]) is not None and entry.component is not None:
                found[at] = entry._replace(component=int(of[entry.component]))
        return found

    def _sizes(self) -> list[int]:
        """Return how many components each family has."""
        return [int(np.sum(self.of_component == part)) for part in range(len(self.families))]

    def _parts(self, n: int) -> list[Part]:
        family_of = self._family_of(n)
        parts = [Part(j, family, np.flatnonzero(family_of == j)) for j, family in enumerate(self.families)]
        return [part for part in parts if len(part.of)]

    def _log_h(self, n):
        """Return where log h of the family of each of n components is, as an index of packed parameters."""
        return np.arange(n), np.concatenate(self._layout.statistics[len(self.families) :])[self._family_of(n)]

    def _join(self, n: int, found: Sequence[Array], log_h: float = 1.0) -> Array:
        out = super()._join(n, found)
        out[self._log_h(n)] = log_h
        return out

    @property
    def frames(self) -> Frames | None:
        return vars(self).get("own_frames")  # most families have no such attribute

    def with_frames(self, frames: Frames | None) -> Self:
        if frames is self.frames:
            return self
        of_component = self.of_component if frames is None else self._family_of(len(frames))
        return super().with_frames(frames).replace(own_frames=frames, of_component=of_component)

    def _views(self) -> list[tuple[ExponentialFamily, Callable]]:
        return [(family, rows_where(family.supports)) for family in self.families]

    def _with_parts(self, families: list, n_features: int | None) -> Any:
        other = Componentwise([(family, 1) for family in families])
        other.n_features, other.of_component = n_features, np.sort(self.of_component)
        return other

    # ---- the family -----------------------------------------------------------------------------------------

    def kernel_form(self, n_features: int) -> KernelForm:
        if self.n_features is None:
            return self.replace(n_features=n_features).kernel_form(n_features)
        return KernelForm(self._layout.monomials(self._monomials()), columns=self._columns)

    def _columns(self, X):
        columns, bases = [], []
        for family in self.families:
            possible, log_h = _possible(family, X)
            with np.errstate(all="ignore"):
                here = np.asarray(table(family, form_of(family, X.shape[1]), X), np.float64)
            columns.append(np.where(possible[:, None], here, 0.0))
            bases.append(np.where(possible, log_h, IMPOSSIBLE)[:, None])
        return np.concatenate(columns + bases, axis=1)

    def sufficient_statistics(self, X: Block) -> Array:
        return self.kernel_form(X.shape[1]).monomials.evaluate(self._columns(X))

    def log_density(self, X: Block, natural: Array) -> Array:
        X, natural = np.asarray(X), np.atleast_2d(natural)
        out = np.full((len(X), len(natural)), -np.inf)

        def one(part, eta):
            possible = np.flatnonzero(_possible(part.family, X)[0])
            out[possible[:, None], part.of] = checked.log_density(part.family, X[possible], eta)

        self._each(one, natural)
        return out

    def _summed(self, of_part: Callable, X: Block, responsibilities: Array, natural: Array | None = None) -> Array:
        X, K = np.asarray(X), responsibilities.shape[1]

        def one(part, eta):
            possible = _possible(part.family, X)[0]
            given = None if natural is None else eta
            return of_part(part.family, X[possible], responsibilities[possible][:, part.of], given)

        blank = np.empty((K, self._layout.n_statistics)) if natural is None else natural
        return self._map(one, blank, log_h=0.0)  # log h is in the density of what is observed

    def fisher_information(self, natural: Array) -> Array:
        natural = np.atleast_2d(np.asarray(natural, np.float64))
        out = np.zeros((*natural.shape, natural.shape[1]))

        def one(part, eta):
            at = self._layout.statistics[part.number]
            out[part.of[:, None, None], at[:, None], at] = part.family.fisher_information(eta)

        self._each(one, natural)
        return out

    def supports(self, X: Block) -> Mask:
        return np.any([self.families[j].supports(X) for j in np.unique(self.of_component)], axis=0)

    def check_support(self, X: Block) -> None:
        possible = self.supports(X)
        if not possible.all():
            row = int(np.argmin(possible))
            values = np.asarray(X)[row].tolist()
            raise ImpossibleRowError(f"no component of {self!r} can have produced row {{row}}, {values}", row)

    def _possible_counts(self, counts, sums) -> np.ndarray:
        """Return the counts of the rows that are possible under the family of their component.

        Only responsibilities that are given or drawn have others. Their T is 0, and log h says how many they are.
        """
        log_h = sums[self._log_h(len(sums))]
        return np.maximum(counts - np.where(log_h < TOO_LOW * counts, log_h / IMPOSSIBLE, 0.0), 0.0)

    def _of_possible(self, expectation: Array) -> Array:
        return expectation / self._possible_counts(np.ones(len(expectation)), expectation)[:, None]

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        return super().maximize(self._possible_counts(counts, sums), sums, previous)

    def seed(self, expectation: Array, mean: Array) -> Array:
        return super().seed(expectation, np.broadcast_to(mean, expectation.shape))

    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return the natural parameters of those of the parts, whose names have the label of the part in front.

        Each part has as many components as belong to its family, in their order.
        """
        labels = labels_of(self.families)
        named_of = named.of_parts(self, labels, given)
        etas = []
        for label, family, its, size in zip(labels, self.families, named_of, self._sizes(), strict=True):
            if not (its or size):
                continue
            eta = named.from_part(label, family, its)
            if its and len(eta) != size:
                raise ValueError(f"{label}_… has {len(eta)} components; {self!r} has {size} of this part")
            # a part that needs no names says the same of every component
            etas.append(eta if its else np.broadcast_to(eta, (size, eta.shape[1])))
        return self._join(len(self.of_component), etas)

    def n_parameters(self, n_components: int) -> int:
        first = self.replace(of_component=self.of_component[:n_components])
        parts = zip(self.families, self._layout.statistics, first._sizes(), strict=False)
        counted = [(checked.n_parameters(family, size), size * len(at)) for family, at, size in parts if size]
        return sum(every if free is None else free for free, every in counted)

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        [part] = self._parts(1)
        return checked.sample(part.family, natural[self._layout.statistics[part.number]], n, rng)

    # ---- parts of an observation ----------------------------------------------------------------------------

    @property
    def takes_missing(self) -> bool:
        return all(map(takes_missing, self.families))

    def _possible_rows(self, part: Part, eta: Array, X: Block, present: Mask) -> tuple[Integers, Block]:
        """Return the rows whose observed values a part can have produced, and these with others that it can."""
        columns = np.flatnonzero(present)
        possible = np.flatnonzero(_possible(part.family.marginal(eta, columns)[0], X[:, columns])[0])
        return possible, with_possible(part.family, X[possible], eta, present)

    def observed_log_density(self, X: Block, natural: Array, present: Mask) -> Array:
        if not present.any():
            return np.zeros((len(X), len(natural)))
        out = np.full((len(X), len(natural)), -np.inf)

        def one(part, eta):
            possible, rows = self._possible_rows(part, eta, X, present)
            out[possible[:, None], part.of] = log_density_of(part.family, rows, eta, present)

        self._each(one, natural)
        return out

    def observed_sums(self, X: Block, natural: Array, responsibilities: Array, present: Mask) -> Array:
        if not present.any():
            return responsibilities.sum(axis=0)[:, None] * self.to_expectation(natural)
        return self._observed(observed_sums_of, X, natural, responsibilities, present)

    def observed_edge_sums(self, X: Block, natural: Array, responsibilities: Array, present: Mask) -> Array:
        return self._observed(observed_edge_sums_of, X, natural, responsibilities, present)

    def _observed(self, of_part, X, natural, responsibilities, present):
        """Return sums over rows that have some columns in common, (K, p), from those of the parts."""

        def one(part, eta):
            every = np.arange(len(X)), X
            possible, rows = self._possible_rows(part, eta, X, present) if present.any() else every
            return of_part(present, part.family, rows, responsibilities[possible][:, part.of], eta)

        return self._map(one, natural, log_h=0.0)  # log h is in the density of what is observed

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        return self._of_some(natural, len(columns), lambda family, eta: family.marginal(eta, columns))

    def conditional(self, natural: Array, columns: Integers, values: Array) -> tuple[ExponentialFamily, Array]:
        def given(family, eta):
            return family.conditional(eta, columns, values)

        return self._of_some(natural, (self.n_features or 0) - len(columns), given)

    def conditionals(self, natural: Array, columns: Integers) -> Conditionals:
        n_features = (self.n_features or 0) - len(columns)
        lots: list[Lot] = []

        def given(family, eta):
            lots.append(Lot(family.conditionals(eta, columns), components=parts[len(lots)].of))
            return lots[-1].conditionals[:2]

        parts = self._parts(len(natural))
        family, eta = self._of_some(natural, n_features, given)
        return Conditionals(family, eta, joined(lots, len(natural), n_features))

    def mean(self, natural: Array) -> Array:
        found = self._each(lambda part, eta: (part.of, part.family.mean(eta)), natural)
        out = np.empty((len(natural), found[0][1].shape[1]))
        for of, mean in found:
            out[of] = mean
        return out

    def _of_some(self, natural, n_features, function):
        families, etas = list(self.families), []

        def one(part, eta):
            families[part.number], its = function(part.family, eta)
            etas.append(its)

        self._each(one, natural)
        other = self._with_parts(families, n_features)
        other.of_component = self._family_of(len(natural))
        return other, other._join(len(natural), etas)

    def __repr__(self) -> str:
        parts = ", ".join(f"({family!r}, {size})" for family, size in zip(self.families, self._sizes(), strict=True))
        return f"Componentwise([{parts}])"


def _possible(family, X) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows a family can have produced, (n,), and log h of each row."""
    log_h = checked.log_base_measure(family, X)
    return family.supports(X) & np.isfinite(log_h), log_h
