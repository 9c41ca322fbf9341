"""Mixtures whose components belong to different families: clusters and noise, light and heavy tails."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.families.composed.layout import (
    Layout,
    check_family_argument,
    choose_each,
    framed,
    labels_of,
    monomials_of,
    rescue_each,
)
from expfam_em.family import checked, named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.binding import Composed, rows_where
from expfam_em.family.frames import Frames
from expfam_em.family.kernel_form import KernelForm, Monomials, OwnFrames, table
from expfam_em.family.optional import (
    Framed,
    Incomplete,
    OfComponents,
    frames_of,
    is_incomplete,
    kernel_frames,
    score_rounding,
    translate,
    translate_expectation,
)
from expfam_em.family.support import ImpossibleRowError
from expfam_em.rows.typing import Array, Block, Integers, Mask

IMPOSSIBLE = -1e200
"""log h of a row that a family cannot have produced: finite, because it is multiplied by 0 for other families."""

TOO_LOW = 1e-150 * IMPOSSIBLE
"""Mean of log h that only impossible rows bring about."""


class Componentwise(Composed, Framed, Incomplete, OfComponents):
    """A family for each component: T is that of every family, and η_k is 0 for all but its own.

    The families have different base measures, so log h_j(x) is a statistic too, whose natural parameter is 1 for the
    components of family j and 0 for others. Components stand in the order of the parts.

    Parameters
    ----------
    parts : list of (ExponentialFamily, n_components)
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
    sparse = "never"
    incidental = ("own_frames", "of_component", "regularized")

    def __init__(self, parts: Iterable[tuple[ExponentialFamily, int]]) -> None:
        pairs = list(parts)
        for family, count in pairs:
            check_family_argument(family)
            if not (isinstance(count, (int, np.integer)) and count >= 1):
                raise ValueError(f"{family!r} has {count!r} components; it must be a whole number from 1")
        if not pairs:
            raise ValueError("there are no parts; at least one family is needed")
        self.families = [family for family, _ in pairs]
        self.of_component = np.repeat(np.arange(len(pairs)), [count for _, count in pairs])
        self.n_features: int | None = None
        self.regularized = any(family.regularized for family in self.families)
        self.incomplete = any(map(is_incomplete, self.families))

    # ---- which statistics and which components are whose -----------------------------------------------------

    @property
    def coupled(self) -> bool:
        return True  # components cannot be told from their statistics: they are maximised in their order

    @functools.cached_property
    def _layout(self) -> Layout:
        """The families one after the other, and then log h of each."""
        if self.n_features is None:
            raise ValueError(f"{self!r} does not know the number of columns yet: call bind first")
        return Layout.of(self._with_log_h())

    def _monomials(self):
        return [monomials_of(family, self.n_features) for family in self.families]

    def _kinds(self, n) -> np.ndarray:
        """Return the family of each of n components: those of one mixture, or of several one after another."""
        K = len(self.of_component)
        one = self.of_component[: math.gcd(n, K)]  # of a stack, n may be those of another number of mixtures
        if not np.array_equal(np.resize(one, K), self.of_component):
            raise ValueError(f"natural parameters of {n} components; {self!r} has {K} components, in order")
        return np.resize(one, n)

    @property
    def pattern(self) -> Integers:
        of, K = self.of_component, len(self.of_component)
        return next(of[:n] for n in range(1, K + 1) if K % n == 0 and np.array_equal(np.resize(of[:n], K), of))

    def _each(self, function, *packed):
        """Call function(family, components, its share of each array); return the results where there are any."""
        kinds, found = self._kinds(len(packed[0])), []
        for j, family in enumerate(self.families):
            of = np.flatnonzero(kinds == j)
            shares = [array[of][:, self._layout.statistics[j]] for array in packed]
            found.append(function(family, of, *shares) if len(of) else None)
        return found

    def _join(self, n, parts, own=1.0) -> np.ndarray:
        """Return packed parameters of n components from those of each family; ``own`` goes with its log h."""
        kinds, out = self._kinds(n), np.zeros((n, self._layout.n_statistics))
        for j, part in enumerate(parts):
            if part is not None:
                of = np.flatnonzero(kinds == j)
                out[of[:, None], self._layout.statistics[j]] = part
                out[of, self._layout.statistics[len(parts) + j]] = own
        return out

    def kinds(self, n_components: int) -> list[tuple[ExponentialFamily, Integers]]:
        kinds = self._kinds(n_components)
        return [(family, of) for j, family in enumerate(self.families) if len(of := np.flatnonzero(kinds == j))]

    def place(self, n_components: int, parts: Sequence[Array]) -> Array:
        present = iter(parts)
        here = set(self._kinds(n_components))
        return self._join(n_components, [next(present) if j in here else None for j in range(len(self.families))])

    # ---- the family -----------------------------------------------------------------------------------------

    def views(self) -> list[tuple[ExponentialFamily, Callable]]:
        return [(family, rows_where(family.supports)) for family in self.families]

    def with_parts(self, families: list, n_features: int | None) -> Any:
        counts = [int(np.sum(self.of_component == j)) for j in range(len(families))]
        other = Componentwise(list(zip(families, counts, strict=True)))
        other.n_features = n_features
        return other

    def kernel_form(self, n_features: int) -> KernelForm:
        if self.n_features is None:
            return self.replace(n_features=n_features).kernel_form(n_features)
        return KernelForm(self._layout.monomials(self._with_log_h()), columns=self._columns)

    def _with_log_h(self):
        return self._monomials() + [Monomials.identity(1)] * len(self.families)

    def kernel_frames(self) -> OwnFrames | None:
        rank = np.full((len(self.of_component), 2 * len(self.families)), -1)
        for j in range(len(self.families)):
            of = np.flatnonzero(self.of_component == j)
            rank[of, j] = np.arange(len(of))
        lots = [kernel_frames(family) for family in self.families] + [None] * len(self.families)
        return self._layout.own_frames(self._with_log_h(), lots, rank)

    def _columns(self, X):
        columns, bases = [], []
        for family in self.families:
            possible, log_h = _possible(family, X)
            with np.errstate(all="ignore"):
                here = np.asarray(table(family, family.kernel_form(X.shape[1]), X), np.float64)
            columns.append(np.where(possible[:, None], here, 0.0))
            bases.append(np.where(possible, log_h, IMPOSSIBLE)[:, None])
        return np.concatenate(columns + bases, axis=1)

    def sufficient_statistics(self, X: Block) -> Array:
        return self.kernel_form(X.shape[1]).monomials.evaluate(self._columns(X))

    def log_partition(self, natural: Array) -> Array:
        out = np.empty(len(natural))

        def one(family, of, eta):
            out[of] = checked.log_partition(family, eta)

        self._each(one, natural)
        return out

    def log_density(self, X: Block, natural: Array) -> Array:
        X, natural = np.asarray(X), np.atleast_2d(natural)
        out = np.full((len(X), len(natural)), -np.inf)

        def one(family, of, eta):
            possible = np.flatnonzero(_possible(family, X)[0])
            out[possible[:, None], of] = family.log_density(X[possible], eta)

        self._each(one, natural)
        return out

    def complete(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        X = np.asarray(X)

        def one(family, of, eta):
            possible = _possible(family, X)[0]
            here, R = X[possible], responsibilities[possible][:, of]
            if is_incomplete(family):
                return family.complete(here, eta, R)
            return R.T @ checked.statistics(family, here)[0]

        return self._join(len(natural), self._each(one, natural), 0.0)  # log h is in the density of what is observed

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        out = np.empty(len(natural))

        def one(family, of, eta):
            value = family.expected_log_base_measure(eta)
            out[of] = np.nan if value is None else value
            return value is None

        return None if any(self._each(one, natural)) else out

    def fisher_information(self, natural: Array) -> Array:
        natural = np.atleast_2d(np.asarray(natural, np.float64))
        out = np.zeros((*natural.shape, natural.shape[1]))
        found = self._each(lambda family, of, eta: (of, family.fisher_information(eta)), natural)
        for at, part in zip(self._layout.statistics, found, strict=False):
            if part is not None:
                out[part[0][:, None, None], at[:, None], at] = part[1]
        return out

    def supports(self, X: Block) -> Mask:
        return np.any([family.supports(X) for family, _ in self.kinds(len(self.of_component))], axis=0)

    def check_support(self, X: Block) -> None:
        possible = self.supports(X)
        if not possible.all():
            row = int(np.argmin(possible))
            values = np.asarray(X)[row].tolist()
            raise ImpossibleRowError(f"no component of {self!r} can have produced row {{row}}, {values}", row)

    def to_expectation(self, natural: Array) -> Array:
        return self._join(len(natural), self._each(lambda family, of, eta: family.to_expectation(eta), natural), 0.0)

    def _possible_counts(self, counts, sums) -> np.ndarray:
        """Return the counts of the rows that are possible under the family of their component.

        Only responsibilities that are given or drawn have others. Their T is 0, and log h says how many they are.
        """
        at = np.concatenate(self._layout.statistics[len(self.families) :])[self._kinds(len(sums))]
        log_h = sums[np.arange(len(sums)), at]
        return np.maximum(counts - np.where(log_h < TOO_LOW * counts, log_h / IMPOSSIBLE, 0.0), 0.0)

    def _of_possible(self, expectation) -> np.ndarray:
        """Return the mean of T over the rows that are possible."""
        return expectation / self._possible_counts(np.ones(len(expectation)), expectation)[:, None]

    def to_natural(self, expectation: Array) -> Array:
        mean = self._of_possible(expectation)
        return self._join(len(mean), self._each(lambda family, of, m: family.to_natural(m), mean))

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        counts = self._possible_counts(counts, sums)

        def one(family, of, S, *eta):
            return checked.next_natural(family, counts[of], S, *eta) if eta else family.maximize(counts[of], S)

        packed = (sums,) if previous is None else (sums, previous)
        return self._join(len(sums), self._each(one, *packed))

    def seed(self, expectation: Array, mean: Array) -> Array:
        expectation, mean = (self._of_possible(m) for m in (expectation, np.broadcast_to(mean, expectation.shape)))
        return self._join(len(mean), self._each(lambda family, of, *m: family.seed(*m), expectation, mean), 0.0)

    def parameters(self, natural: Array) -> dict[str, Array]:
        found = self._each(lambda family, of, eta: family.parameters(eta), natural)
        of_part = zip(labels_of(self.families), found, strict=True)
        return {f"{label}_{name}": value for label, part in of_part if part for name, value in part.items()}

    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return the natural parameters of those of the parts, whose names have the label of the part in front.

        Each part has as many components as belong to its family, in their order.
        """
        labels, sizes = labels_of(self.families), np.bincount(self.of_component, minlength=len(self.families))
        etas = []
        for label, family, part, size in zip(
            labels, self.families, named.of_parts(self, labels, given), sizes.tolist(), strict=True
        ):
            eta = named.from_part(label, family, part) if part or size else None
            if eta is not None and part and len(eta) != size:
                raise ValueError(f"{label}_… has {len(eta)} components; {self!r} has {size} of this part")
            # a part that needs no names says the same of every component
            etas.append(eta if eta is None or part else np.broadcast_to(eta, (size, eta.shape[1])))
        return self._join(len(self.of_component), etas)

    def n_parameters(self, n_components: int) -> int:
        sizes = np.bincount(self.of_component[:n_components], minlength=len(self.families)).tolist()
        parts = zip(self.families, self._layout.statistics, sizes, strict=False)
        counted = [(family.n_parameters(size), size * len(at)) for family, at, size in parts if size]
        return sum(every if free is None else free for free, every in counted)

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        [kind] = self._kinds(1)
        return self.families[kind].sample(natural[self._layout.statistics[kind]], n, rng)

    # ---- components and frames ------------------------------------------------------------------------------

    def components(self, index: Integers) -> Self:
        index = np.asarray(index)
        kinds = np.resize(self.of_component, max(len(self.of_component), 1 + index.max(initial=0)))
        chosen = self.replace(of_component=kinds[index])
        return chosen if self.frames is None else chosen.with_frames(self.frames.take(index))

    def in_order_of(self, other: Self) -> Self:
        return self.replace(of_component=other.of_component)

    @property
    def score_rounding(self) -> float:
        return max(score_rounding(family) for family in self.families)

    own_frames: Frames | None = None

    @property
    def frames(self) -> Frames | None:
        return self.own_frames

    def with_frames(self, frames: Frames | None) -> Self:
        if frames is self.frames:
            return self
        if frames is None:
            return self.replace(families=framed(self.families, [None] * len(self.families)), own_frames=None)
        kinds = self._kinds(len(frames))
        parts = [part and part.take(kinds == j) for j, part in enumerate(map(frames.part, range(len(self.families))))]
        return self.replace(families=framed(self.families, parts), own_frames=frames, of_component=kinds)

    def _of_each(self, n, parts):
        """Return the frames of n components from those of the components of each family."""
        kinds = self._kinds(n)
        at = [np.flatnonzero(kinds == j) for j in range(len(parts))]
        lots = [None if part is None else part.scattered(of, n) for of, part in zip(at, parts, strict=True)]
        return Frames.of_parts(lots)

    def choose_frames(self, natural: Array, expectation: Array) -> tuple[Frames | None, Array] | None:
        if self.incomplete:  # statistics are made here, in the shared frame
            return None
        expectation = self._of_possible(expectation)
        found = self._each(lambda family, of, *both: (choose_each(family, *both), both[0]), natural, expectation)
        if all(part is None or part[0] is None for part in found):
            return None
        lots = []
        for family, part in zip(self.families, found, strict=True):
            new, eta = (None, None) if part is None else part
            lots.append((frames_of(family), eta) if new is None else new)
        return self._of_each(len(natural), [lot for lot, _ in lots]), self._join(len(natural), [eta for _, eta in lots])

    def rescue_frames(self, natural: Array, expectation: Array) -> Frames | None:
        if self.incomplete:
            return None
        expectation = self._of_possible(expectation)
        found = self._each(lambda family, of, *both: rescue_each(family, *both), natural, expectation)
        if all(frames is None for frames in found):
            return None
        pairs = zip(self.families, found, strict=True)
        return self._of_each(len(natural), [frames_of(family) if new is None else new for family, new in pairs])

    def translate(self, natural: Array, target: Any) -> Array:
        return self._translated(natural, target, translate, 1.0)

    def translate_expectation(self, expectation: Array, target: Any) -> Array:
        return self._translated(expectation, target, translate_expectation, 0.0)

    def _translated(self, packed, target, function, own):
        known = self if self.n_features is not None else target  # the user's family is not bound
        to = dict(zip(map(id, known.families), zip(self.families, target.families, strict=True), strict=True))

        def one(family, of, part):
            source, aim = to[id(family)]
            return function(source, part, aim)

        return known._join(len(packed), known._each(one, packed), own)

    # ---- parts of an observation ----------------------------------------------------------------------------

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        return self._of_some(natural, len(columns), lambda family, eta: family.marginal(eta, columns))

    def conditional(self, natural: Array, columns: Integers, values: Array) -> tuple[ExponentialFamily, Array]:
        def given(family, eta):
            return family.conditional(eta, columns, values)

        return self._of_some(natural, (self.n_features or 0) - len(columns), given)

    def _of_some(self, natural, n_features, function):
        found = self._each(lambda family, of, eta: function(family, eta), natural)
        families = [family if part is None else part[0] for family, part in zip(self.families, found, strict=True)]
        part = Componentwise([(family, 1) for family in families])
        part.n_features, part.of_component = n_features, self._kinds(len(natural))
        return part, part._join(len(natural), [None if one is None else one[1] for one in found])

    def __repr__(self) -> str:
        sizes = np.bincount(self.of_component, minlength=len(self.families)).tolist()
        return f"Componentwise([{', '.join(f'({f!r}, {n})' for f, n in zip(self.families, sizes, strict=True))}])"


def _possible(family, X) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows a family can have produced, (n,), and log h of each row."""
    log_h = checked.log_base_measure(family, X)
    return family.supports(X) & np.isfinite(log_h), log_h
