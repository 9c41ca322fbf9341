"""Rows whose groups of columns follow different families, independently within a component."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.families.composed.inferred import inferred
from expfam_em.families.composed.layout import Layout, monomials_of
from expfam_em.families.composed.parts import OfParts, labels_of, pairs_of
from expfam_em.family import checked, named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.conditionals import Conditionals, Lot, joined
from expfam_em.family.frames import Frames
from expfam_em.family.kernel_form import KernelForm, Monomials, form_of, needs_table, table
from expfam_em.family.missing import (
    Marginals,
    MissingValues,
    Observed,
    filling_of,
    is_by_density,
    log_base_of,
    log_density_of,
    marginals_of,
    observed_edge_sums_of,
    observed_sums_of,
    together,
    usable_of,
)
from expfam_em.family.optional import OfLabels, frames_of, is_coupled, label_columns
from expfam_em.family.support import ImpossibleRowError, OutsideSupportError
from expfam_em.rows.columns import Column
from expfam_em.rows.threads import cached_property
from expfam_em.rows.typing import Array, Block, Integers, Mask


class Product(OfParts, MissingValues, OfLabels):
    """Product of the densities of groups of columns: T is that of all groups, A(η) = Σ_j A_j(η_j), h(x) = Π h_j(x_j).

    Parameters
    ----------
    parts : list of (ExponentialFamily or name, columns)
        Each family with the columns it describes: whole numbers, in any order, or names. No column may occur twice;
        columns that do not occur are ignored. A part may be a Product itself, of the columns counted within the part.
        Of columns with names, estimators take those from frames, whatever their order; an array must have these
        columns, in the order of ``names``. A family may be given by its name, such as "poisson".

    Attributes
    ----------
    names : tuple of str, or None
        The names of the columns in order, if they are given by name.

    The named parameters of a part carry the name of its family in front: "gaussian_means".

    Raises
    ------
    TypeError, ValueError
        If a part is no family, or the columns are none, occur twice or are no whole numbers from 0.

    Examples
    --------
    >>> from expfam_em import families
    >>> families.Product([("poisson", ["visits"]), (families.Gaussian("full"), ["height", "weight"])]).names
    ('visits', 'height', 'weight')
    """

    incidental: tuple[str, ...] = (*OfParts.incidental, "names")

    names: tuple[str, ...] | None = None

    def __init__(self, parts: Iterable[tuple[ExponentialFamily | str, ArrayLike]]) -> None:
        pairs = [(family, np.atleast_1d(columns)) for family, columns in pairs_of(parts, "columns")]
        pairs, names = _numbered(pairs)
        for family, columns in pairs:
            if columns.ndim != 1 or not len(columns) or not np.issubdtype(columns.dtype, np.integer):
                raise ValueError(f"{family!r} has columns {columns.tolist()}; they must be one or more whole numbers")
        every = np.concatenate([columns for _, columns in pairs]) if pairs else np.empty(0, int)
        if not len(every) or every.min() < 0 or len(np.unique(every)) < len(every):
            raise ValueError(f"the parts have columns {every.tolist()}; each must be given once, counted from 0")
        self._take([family for family, _ in pairs])
        self.columns_of = [columns.astype(np.int64) for _, columns in pairs]
        if names:
            self.names = names

    @classmethod
    def infer(cls, X: Any, families: Mapping[Any, ExponentialFamily | str | None] | None = None) -> Product:
        """Return a product with a family for each column of a frame, by its dtype and values; printed, it says which.

        Labels, text or categories: `Categorical`. 0 and 1, or booleans: `Bernoulli`. Whole numbers from 0 or 1 on:
        `Poisson`. Other numbers: `LogNormal` if all are positive, `ZeroInflated` of it if 5 % or more are 0 and the
        others positive, else `Gaussian`. Columns are independent within a component. Write the product yourself, by
        names of columns, where some are not.

        Parameters
        ----------
        X : frame of pandas, polars or alike; or (n, d) array
            Missing values do not matter.
        families : dict of column to family, optional
            Those of some columns, as a family, by name, or None for a column that is left out. Columns that are given
            the same family, as one object, belong to one part.

        Raises
        ------
        ValueError
            If a column has one value only, dates, or so many labels that they name rows; or is not there.

        Examples
        --------
        >>> import numpy as np, pandas as pd
        >>> from expfam_em import families
        >>> frame = pd.DataFrame({"height": [1.71, 1.62, 1.85], "visits": [0, 2, 5], "smokes": [True, False, True]})
        >>> families.Product.infer(frame, {"height": "gaussian"})
        Product([(Gaussian('diag'), ['height']), (Poisson(), ['visits']), (Bernoulli(), ['smokes'])])
        """
        pairs, names = inferred(X, {} if families is None else families)
        product = cls(pairs)
        product.names = names
        return product

    # ---- the parts ------------------------------------------------------------------------------------------

    @property
    def _least_width(self) -> int:
        return 1 + max(int(columns.max()) for columns in self.columns_of)

    @property
    def _width(self) -> int:
        """Number of columns of X, as far as it is known; those behind the last that is used may be left out."""
        return self._least_width if self.n_features is None else max(self.n_features, self._least_width)

    def _seen(self, X):
        """Return each family with the columns of X that it describes, copied as they are asked for."""
        if X.shape[1] < self._least_width:
            raise ValueError(f"X has {X.shape[1]} columns; {self!r} needs at least {self._least_width}")
        return ((family, X[:, columns]) for family, columns in self._pairs())

    def _pairs(self):
        return zip(self.families, self.columns_of, strict=True)

    @cached_property
    def _layout(self) -> Layout:
        return Layout.of(self._monomials(), self.columns_of if self._takes_X else None)

    @cached_property
    def _takes_X(self) -> bool:
        """Whether the kernel takes X as it is: no part evaluates anything, and no column is left out."""
        every = np.concatenate(self.columns_of)
        evaluated = any(needs_table(form_of(family, len(columns))) for family, columns in self._pairs())
        return not evaluated and len(every) == every.max() + 1

    def _monomials(self) -> list[Monomials]:
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

    def _views(self) -> list[tuple[ExponentialFamily, Callable]]:
        return [(family, _view_of(columns)) for family, columns in self._pairs()]

    def _with_parts(self, families: list, n_features: int | None) -> Any:
        product = Product(list(zip(families, self.columns_of, strict=True)))
        product.n_features = n_features
        return product if self.names is None else product.replace(names=self.names)

    def label_columns(self, n_columns: int) -> list[str | None]:
        found: list[str | None] = [None] * max(n_columns, self._least_width)
        for family, columns in self._pairs():
            for column, unseen in zip(columns, label_columns(family, len(columns)), strict=True):
                found[column] = unseen
        return found[:n_columns]

    def _entries(self, name: str, shape: tuple[int, ...], columns: Sequence[Column], n_components: int) -> Any:
        j, name = self._part_of(name)
        return self.families[j]._entries(name, shape, [columns[at] for at in self.columns_of[j]], n_components)

    # ---- the family -----------------------------------------------------------------------------------------

    @property
    def coupled(self) -> bool:
        return any(is_coupled(family) for family in self.families)

    def kernel_form(self, n_features: int) -> KernelForm | None:
        try:
            monomials = self._layout.monomials(self._monomials())
        except ValueError:
            if self.n_features is not None:
                raise
            return None  # a part does not know its statistics before it is bound
        takes_X = self._takes_X and n_features == self._layout.n_columns
        return KernelForm(monomials, columns=None if takes_X else self._columns)

    def _columns(self, X):
        parts = self._seen(X)
        if self._takes_X:  # in the order of X, which only has more columns
            return X[:, : self._layout.n_columns]
        return np.concatenate([table(family, form_of(family, x.shape[1]), x) for family, x in parts], axis=1)

    def sufficient_statistics(self, X: Block) -> Array:
        return self.combine([checked.statistics(family, x)[0] for family, x in self._seen(X)])

    def log_base_measure(self, X: Block) -> Array:
        parts = self._seen(X)
        if self.incomplete:
            return np.zeros(len(X))  # it belongs to the density of what is observed
        return sum((checked.log_base_measure(family, x) for family, x in parts), np.zeros(()))

    def log_density(self, X: Block, natural: Array) -> Array:
        parts = zip(self._seen(np.asarray(X)), self.split(np.atleast_2d(natural)), strict=True)
        return sum((checked.log_density(family, x, eta) for (family, x), eta in parts), np.zeros(()))

    def _summed(self, of_part: Callable, X: Block, responsibilities: Array, natural: Array | None = None) -> Array:
        etas = [None] * len(self.families) if natural is None else self.split(natural)
        parts = zip(self._seen(np.asarray(X)), etas, strict=True)
        return self.combine([of_part(family, x, responsibilities, eta) for (family, x), eta in parts])

    def check_support(self, X: Block) -> None:
        for (family, x), columns in zip(self._seen(X), self.columns_of, strict=True):
            try:
                checked.check_rows(family, x)
            except OutsideSupportError as error:
                raise OutsideSupportError(error.needs, int(columns[error.column]), error.value, error.row) from None
            except ImpossibleRowError as error:  # of a family that counts the columns in its own way
                raise ImpossibleRowError(f"in columns {columns.tolist()}: {error.sentence}", error.row) from error
            except ValueError as error:
                raise ValueError(f"in columns {columns.tolist()}: {error}") from error

    def supports(self, X: Block) -> Mask:
        return np.all([family.supports(X[:, columns]) for family, columns in self._pairs()], axis=0)

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
        counted = [checked.n_parameters(family, n_components) for family in self.families]
        sizes = [n_components * len(at) for at in self._layout.statistics]
        return sum(size if count is None else count for count, size in zip(counted, sizes, strict=True))

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        out = np.zeros((n, self._width))
        for family, columns, eta in zip(self.families, self.columns_of, self.split(natural), strict=True):
            out[:, columns] = checked.sample(family, eta, n, rng, len(columns))
        return out

    # ---- parts of an observation ----------------------------------------------------------------------------

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        return self._some(natural, columns, lambda family, eta, mine, inside: family.marginal(eta, np.array(inside)))

    def conditional(self, natural: Array, columns: Integers, values: Array) -> tuple[ExponentialFamily, Array]:
        def of_part(family, eta, known, at, rest):
            return family.conditional(eta, known, values[at])

        return self._given(natural, columns, of_part)

    def conditionals(self, natural: Array, columns: Integers) -> Conditionals:
        lots: list[Lot] = []

        def of_part(family, eta, known, at, rest):
            lots.append(Lot(family.conditionals(eta, known), columns=rest, given=at))
            return lots[-1].conditionals[:2]

        product, eta = self._given(natural, columns, of_part)
        return Conditionals(product, eta, joined(lots, len(natural), self._width - len(columns)))

    def _given(self, natural, columns, of_part):
        """Return the product of the other columns, of what a function makes of each part that is given some of them.

        The function takes the family, its parameters, which of its columns are given, where these are among
        ``columns``, and where its other ones are among the rest.
        """
        place = {int(column): i for i, column in enumerate(columns)}
        rest = [column for column in range(self._width) if column not in place]  # unused ones keep their place

        def one(family, eta, mine, inside):
            known = np.setdiff1d(np.arange(len(mine)), inside)
            at = np.array([place[int(column)] for column in mine[known]])
            return of_part(family, eta, known, at, np.searchsorted(rest, mine[inside]))

        return self._some(natural, rest, one)

    def mean(self, natural: Array) -> Array:
        """Return E[x] of each component, (K, d); NaN of columns that no part describes."""
        out = np.full((len(natural), self._width), np.nan)
        for (family, columns), eta in zip(self._pairs(), self.split(natural), strict=True):
            out[:, columns] = family.mean(eta)
        return out

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
        if self.names is not None and max(keep, default=-1) < len(self.names):
            product.names = tuple(self.names[int(column)] for column in keep)
        return product, product.combine(etas)

    # ---- missing values -------------------------------------------------------------------------------------

    def observed(self, natural: Array) -> Marginals:
        parts = zip(self._pairs(), self.split(natural), strict=True)
        of_parts = [(marginals_of(family, eta), columns) for (family, columns), eta in parts]

        def whole(which: Integers, present: Mask) -> Observed:
            found = [of_part(which, present[:, columns]) for of_part, columns in of_parts]

            def complete(counts: Array, sums: Array) -> Array:
                return self.combine([its.complete(counts, s) for its, s in zip(found, self.split(sums), strict=True)])

            family = self.with_frames(Frames.of_parts([frames_of(its.family) for its in found]))
            partition = np.sum([its.log_partition for its in found], axis=0)
            return Observed(family, self.combine([its.natural for its in found]), partition, complete)

        return whole

    def observed_log_base(self, X: Block, present: Mask) -> Array:
        if self.incomplete:
            return np.zeros(len(X))  # it belongs to the density of what is observed
        return np.sum([log_base_of(family, X[:, at], present[:, at]) for family, at in self._pairs()], axis=0)

    def observed_log_density(self, X: Block, natural: Array, present: Mask) -> Array:
        parts = zip(self._pairs(), self.split(natural), strict=True)
        return np.sum([log_density_of(family, X[:, at], eta, present[at]) for (family, at), eta in parts], axis=0)

    def observed_sums(self, X: Block, natural: Array, responsibilities: Array, present: Mask) -> Array:
        parts = zip(self._pairs(), self.split(natural), strict=True)
        return self.combine([
            observed_sums_of(present[at], family, X[:, at], responsibilities, eta) for (family, at), eta in parts
        ])  # fmt: skip

    def observed_edge_sums(self, X: Block, natural: Array, responsibilities: Array, present: Mask) -> Array:
        parts = zip(self._pairs(), self.split(natural), strict=True)
        return self.combine([
            observed_edge_sums_of(present[at], family, X[:, at], responsibilities, eta) for (family, at), eta in parts
        ])  # fmt: skip

    @property
    def by_density(self) -> bool:  # type: ignore[override]
        return any(map(is_by_density, self.families))

    def usable(self, X: Block) -> Mask:
        out = np.ones(X.shape, bool)
        for family, at in self._pairs():
            out[:, at] &= usable_of(family, X[:, at])
        return out

    def filling(self, n_features: int) -> Array:
        out = np.full(n_features, np.nan)
        for family, at in self._pairs():
            out[at] = filling_of(family, len(at))
        return out

    def together(self, n_features: int) -> list[Integers]:
        lots = [at[lot] for family, at in self._pairs() for lot in together(family, len(at))]
        return lots + list(np.setdiff1d(np.arange(n_features), np.concatenate(self.columns_of))[:, None])

    def __repr__(self) -> str:
        names = self.names
        called = [columns.tolist() if names is None else [names[at] for at in columns] for columns in self.columns_of]
        parts = ", ".join(f"({family!r}, {columns})" for family, columns in zip(self.families, called, strict=True))
        return f"Product([{parts}])"


def _numbered(pairs: list[tuple[Any, Array]]) -> tuple[list[tuple[Any, Array]], tuple[str, ...]]:
    """Return families with the numbers of their columns, and the names of all columns if these are given by name."""
    named_ones = [columns.dtype.kind in "OUT" and all(isinstance(c, str) for c in columns) for _, columns in pairs]
    if not any(named_ones):
        return pairs, ()
    if not all(named_ones):
        shown = [columns.tolist() for _, columns in pairs]
        raise ValueError(f"the parts have columns {shown}; give all of them by name, or all by number")
    names = tuple(dict.fromkeys(str(name) for _, columns in pairs for name in columns))
    place = {name: at for at, name in enumerate(names)}
    found = [(family, np.array([place[str(name)] for name in columns])) for family, columns in pairs]
    if len(names) < sum(len(columns) for _, columns in pairs):
        shown = [name for _, columns in pairs for name in columns.tolist()]
        raise ValueError(f"the parts have columns {shown}; each must be given once")
    return found, names


def _view_of(columns) -> Callable:
    """Return the view of some columns."""
    return lambda X, weight: (X[:, columns], weight)
