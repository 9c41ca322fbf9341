"""Rows whose groups of columns follow different families, independently within a component."""

from __future__ import annotations

import functools
import operator
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
from expfam_em.family.binding import Composed
from expfam_em.family.frames import Frames
from expfam_em.family.kernel_form import KernelForm, OwnFrames, needs_table, table
from expfam_em.family.optional import (
    Framed,
    Incomplete,
    frames_of,
    is_incomplete,
    kernel_frames,
    score_rounding,
    translate,
    translate_expectation,
)
from expfam_em.family.support import ImpossibleRowError, OutsideSupportError
from expfam_em.rows.typing import Array, Block, Integers, Mask


def _columns(columns, X, weight):
    return X[:, columns], weight


class Product(Composed, Framed, Incomplete):
    """Product of the densities of groups of columns: T is that of all groups, A(η) = Σ_j A_j(η_j), h(x) = Π h_j(x_j).

    Parameters
    ----------
    parts : list of (ExponentialFamily, columns)
        Each family with the columns it describes: whole numbers, in any order. No column may occur twice; columns
        that do not occur are ignored. A part may be a Product itself, of the columns counted within the part.

    The named parameters of a part carry the name of its family in front: "gaussian_means".

    Raises
    ------
    TypeError, ValueError
        If a part is no family, or the columns are none, occur twice or are no whole numbers from 0.
    """

    sparse = "never"
    incidental = ("regularized",)

    def __init__(self, parts: Iterable[tuple[ExponentialFamily, ArrayLike]]) -> None:
        pairs = [(family, np.atleast_1d(columns)) for family, columns in parts]
        for family, columns in pairs:
            check_family_argument(family)
            if columns.ndim != 1 or not len(columns) or not np.issubdtype(columns.dtype, np.integer):
                raise ValueError(f"{family!r} has columns {columns.tolist()}; they must be one or more whole numbers")
        every = np.concatenate([columns for _, columns in pairs]) if pairs else np.empty(0, int)
        if not len(every) or every.min() < 0 or len(np.unique(every)) < len(every):
            raise ValueError(f"the parts have columns {every.tolist()}; each must be given once, counted from 0")
        self.families = [family for family, _ in pairs]
        self.columns_of = [columns.astype(np.int64) for _, columns in pairs]
        self.regularized = any(family.regularized for family in self.families)
        self.incomplete = any(map(is_incomplete, self.families))
        self.n_features: int | None = None

    # ---- the parts ------------------------------------------------------------------------------------------

    @property
    def _least_width(self) -> int:
        return 1 + max(int(columns.max()) for columns in self.columns_of)

    @property
    def _width(self) -> int:
        """Number of columns of X, as far as it is known; those behind the last that is used may be left out."""
        return self._least_width if self.n_features is None else max(self.n_features, self._least_width)

    def _pairs(self):
        return zip(self.families, self.columns_of, strict=True)

    @functools.cached_property
    def _layout(self) -> Layout:
        return Layout.of(self._monomials(), self.columns_of if self._takes_X else None)

    @functools.cached_property
    def _takes_X(self) -> bool:
        """Whether the kernel takes X as it is: no part evaluates anything, and no column is left out."""
        every = np.concatenate(self.columns_of)
        evaluated = any(needs_table(family.kernel_form(len(columns))) for family, columns in self._pairs())
        return not evaluated and len(every) == every.max() + 1

    def _monomials(self):
        return [monomials_of(family, len(columns)) for family, columns in self._pairs()]

    def split(self, packed: Array) -> list[Array]:
        """Return η or E[T] of each part, given those of the whole, (…, p) -> list of (…, p_j)."""
        return [packed[..., at] for at in self._layout.statistics]

    def combine(self, parts: Sequence[Array]) -> Array:
        """Return η or E[T] of the whole, given those of each part."""
        out = np.empty((*parts[0].shape[:-1], self._layout.n_statistics))
        for at, part in zip(self._layout.statistics, parts, strict=True):
            out[..., at] = part
        return out

    def _each(self, function, *packed):
        """Return [function(family of a part, its share of each array)]."""
        return [function(family, *part) for family, *part in zip(self.families, *map(self.split, packed), strict=True)]

    # ---- the family -----------------------------------------------------------------------------------------

    @property
    def coupled(self) -> bool:
        return any(family.coupled for family in self.families)

    def views(self) -> list[tuple[ExponentialFamily, Callable]]:
        return [(family, functools.partial(_columns, columns)) for family, columns in self._pairs()]

    def with_parts(self, families: list, n_features: int | None) -> Any:
        product = Product(list(zip(families, self.columns_of, strict=True)))
        product.n_features = n_features
        return product

    def kernel_form(self, n_features: int) -> KernelForm | None:
        try:
            monomials = self._layout.monomials(self._monomials())
        except ValueError:
            if self.n_features is not None:
                raise
            return None  # a part does not know its statistics before it is bound
        takes_X = self._takes_X and n_features == self._layout.n_columns
        return KernelForm(monomials, columns=None if takes_X else self._columns)

    def kernel_frames(self) -> OwnFrames | None:
        lots = [kernel_frames(family) for family in self.families]
        K = max((len(lot.frame) for lot in lots if lot is not None), default=0)
        return self._layout.own_frames(self._monomials(), lots, np.arange(K)[:, None] + [0] * len(lots))

    def _columns(self, X):
        self._check_width(X)
        if self._takes_X:  # in the order of X, which only has more columns
            return X[:, : self._layout.n_columns]
        forms = ((family, family.kernel_form(len(columns)), columns) for family, columns in self._pairs())
        return np.concatenate([table(family, form, X[:, columns]) for family, form, columns in forms], axis=1)

    def _check_width(self, X):
        if X.shape[1] < self._least_width:
            raise ValueError(f"X has {X.shape[1]} columns; {self!r} needs at least {self._least_width}")

    def sufficient_statistics(self, X: Block) -> Array:
        self._check_width(X)
        return self.combine([checked.statistics(family, X[:, columns])[0] for family, columns in self._pairs()])

    def log_partition(self, natural: Array) -> Array:
        return sum(self._each(lambda family, eta: checked.log_partition(family, eta), natural), np.zeros(()))

    def log_base_measure(self, X: Block) -> Array:
        self._check_width(X)
        if self.incomplete:
            return np.zeros(len(X))  # it belongs to the density of what is observed
        bases = (checked.log_base_measure(family, X[:, columns]) for family, columns in self._pairs())
        return sum(bases, np.zeros(()))

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        values = self._each(lambda family, eta: family.expected_log_base_measure(eta), natural)
        return None if any(value is None for value in values) else sum(values)

    def log_density(self, X: Block, natural: Array) -> Array:
        X, natural = np.asarray(X), np.atleast_2d(natural)
        self._check_width(X)
        parts = zip(self.families, self.columns_of, self.split(natural), strict=True)
        densities = (family.log_density(X[:, columns], eta) for family, columns, eta in parts)
        return sum(densities, np.zeros(()))

    def complete(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        X, parts = np.asarray(X), []
        for family, columns, eta in zip(self.families, self.columns_of, self.split(natural), strict=True):
            here = X[:, columns]
            if is_incomplete(family):
                parts.append(family.complete(here, eta, responsibilities))
            else:
                parts.append(responsibilities.T @ checked.statistics(family, here)[0])
        return self.combine(parts)

    def check_support(self, X: Block) -> None:
        self._check_width(X)
        for family, columns in self._pairs():
            try:
                checked.check_rows(family, X[:, columns])
            except OutsideSupportError as error:
                raise OutsideSupportError(error.needs, int(columns[error.column]), error.value, error.row) from None
            except ImpossibleRowError as error:  # of a family that counts the columns in its own way
                raise ImpossibleRowError(f"in columns {columns.tolist()}: {error.sentence}", error.row) from error
            except ValueError as error:
                raise ValueError(f"in columns {columns.tolist()}: {error}") from error

    def to_expectation(self, natural: Array) -> Array:
        return self.combine(self._each(lambda family, eta: family.to_expectation(eta), natural))

    def to_natural(self, expectation: Array) -> Array:
        return self.combine(self._each(lambda family, m: family.to_natural(m), expectation))

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        if previous is None:
            return self.combine(self._each(lambda family, S: family.maximize(counts, S), sums))

        def one(family, *both):
            return checked.next_natural(family, counts, *both)

        return self.combine(self._each(one, sums, previous))

    def seed(self, expectation: Array, mean: Array) -> Array:
        return self.combine(self._each(lambda family, *m: family.seed(*m), expectation, mean))

    def parameters(self, natural: Array) -> dict[str, Array]:
        found = self._each(lambda family, eta: family.parameters(eta), natural)
        of_part = zip(labels_of(self.families), found, strict=True)
        return {f"{label}_{name}": value for label, part in of_part for name, value in part.items()}

    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return the natural parameters of those of the parts, whose names have the label of the part in front."""
        labels = labels_of(self.families)
        parts = named.of_parts(self, labels, given)
        etas = [named.from_part(*each) for each in zip(labels, self.families, parts, strict=True)]
        sizes = {f"{label}_…": len(eta) for label, eta, part in zip(labels, etas, parts, strict=True) if part}
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{name} has {size}" for name, size in sizes.items())
            raise ValueError(f"all parts must have the same number of components; {shown}")
        # a part that needs no names says the same of every component
        K = max(sizes.values(), default=1)
        return self.combine([np.broadcast_to(eta, (K, eta.shape[1])) for eta in etas])

    def n_parameters(self, n_components: int) -> int:
        counted = [family.n_parameters(n_components) for family in self.families]
        sizes = [n_components * len(at) for at in self._layout.statistics]
        return sum(size if count is None else count for count, size in zip(counted, sizes, strict=True))

    def supports(self, X: Block) -> Mask:
        return np.all([family.supports(X[:, columns]) for family, columns in self._pairs()], axis=0)

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        out = np.zeros((n, self._width))
        for family, columns, eta in zip(self.families, self.columns_of, self.split(natural), strict=True):
            out[:, columns] = family.sample(eta, n, rng)
        return out

    # ---- frames ---------------------------------------------------------------------------------------------

    @property
    def frames(self) -> Frames | None:
        return Frames.of_parts([frames_of(family) for family in self.families])

    @property
    def score_rounding(self) -> float:
        return max(score_rounding(family) for family in self.families)

    def with_frames(self, frames: Frames | None) -> Self:
        parts = [None if frames is None else frames.part(j) for j in range(len(self.families))]
        families = framed(self.families, parts)
        return self if all(map(operator.is_, families, self.families)) else self.replace(families=families)

    def choose_frames(self, natural: Array, expectation: Array) -> tuple[Frames | None, Array] | None:
        if self.incomplete:  # statistics are made here, in the shared frame
            return None
        found = self._each(choose_each, natural, expectation)
        if all(part is None for part in found):
            return None
        kept = [(frames_of(family), eta) for family, eta in zip(self.families, self.split(natural), strict=True)]
        pairs = [old if new is None else new for old, new in zip(kept, found, strict=True)]
        return Frames.of_parts([frames for frames, _ in pairs]), self.combine([eta for _, eta in pairs])

    def rescue_frames(self, natural: Array, expectation: Array) -> Frames | None:
        if self.incomplete:
            return None
        found = self._each(rescue_each, natural, expectation)
        if all(frames is None for frames in found):
            return None
        pairs = zip(self.families, found, strict=True)
        return Frames.of_parts([frames_of(family) if new is None else new for family, new in pairs])

    def translate(self, natural: Array, target: Any) -> Array:
        return self._translated(natural, target, translate)

    def translate_expectation(self, expectation: Array, target: Any) -> Array:
        return self._translated(expectation, target, translate_expectation)

    def _translated(self, packed, target, function):
        # the user's family may not know yet how many statistics it has
        known = self if self.n_features is not None else target
        parts = zip(self.families, known.split(packed), target.families, strict=True)
        return known.combine([function(family, part, to) for family, part, to in parts])

    # ---- parts of an observation ----------------------------------------------------------------------------

    def _some(self, natural, keep, of_part) -> tuple[Product, np.ndarray]:
        """Return the product of what remains of each part; its columns are numbered in the order of ``keep``."""
        place = {int(column): i for i, column in enumerate(keep)}
        pairs, etas = [], []
        for family, columns, eta in zip(self.families, self.columns_of, self.split(natural), strict=True):
            inside = [i for i, column in enumerate(columns) if int(column) in place]
            if not inside:
                continue
            part, its = (family, eta) if inside == list(range(len(columns))) else of_part(family, eta, columns, inside)
            pairs.append((part, [place[int(columns[i])] for i in inside]))
            etas.append(its)
        if not pairs:
            raise ValueError(f"no part of {self!r} describes any of the columns {[int(c) for c in keep]}")
        product = Product(pairs)
        product.n_features = None if self.n_features is None else len(keep)
        return product, product.combine(etas)

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        def of_part(family, eta, mine, inside):
            return family.marginal(eta, np.array(inside))

        return self._some(natural, columns, of_part)

    def conditional(self, natural: Array, columns: Integers, values: Array) -> tuple[ExponentialFamily, Array]:
        given = dict(zip(np.asarray(columns).tolist(), values, strict=True))
        rest = [column for column in range(self._width) if column not in given]  # unused ones keep their place

        def of_part(family, eta, mine, inside):
            known = np.setdiff1d(np.arange(len(mine)), inside)
            return family.conditional(eta, known, np.array([given[int(mine[i])] for i in known]))

        return self._some(natural, rest, of_part)

    def __repr__(self) -> str:
        parts = ", ".join(f"({family!r}, {columns.tolist()})" for family, columns in self._pairs())
        return f"Product([{parts}])"
