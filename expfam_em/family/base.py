"""The one abstract class: a family is its sufficient statistics T, its log-partition A, and what follows from them."""

from __future__ import annotations

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.family import checked, mappings, named, sampling
from expfam_em.family.conditionals import Conditionals
from expfam_em.family.constraints import Constraint
from expfam_em.family.entries import by_shape
from expfam_em.family.kernel_form import KernelForm
from expfam_em.family.summaries import summary_of
from expfam_em.family.support import accepted
from expfam_em.rows.columns import Column
from expfam_em.rows.csr import CSRBlock, observations
from expfam_em.rows.protocol import Blocks
from expfam_em.rows.typing import Array, Block, Integers, Mask

NATURAL_LIMIT = 700.0
"""Natural parameters of a boundary estimate (a probability of 0 or 1) stay within ± this, so that exp is finite."""


class ExponentialFamily(ABC):
    """Densities p(x|η) = h(x) exp(⟨η, T(x)⟩ − e(x) A(η)), with exposure e = 1 unless the family says otherwise.

    ``sufficient_statistics`` and ``log_partition`` are enough. Everything else has a default that works and may be
    overridden to be faster. A family holds structural constants (levels, a coordinate frame) but never data or
    fitted numbers, and its methods never change it.

    In every method K counts components, d columns of X and p statistics.
    """

    regularized: bool = False
    """Whether the M-step adds something to the estimate, so that the bound alone may fall."""

    seed_smoothing: float = 0.5
    """ν: as a seed, a row's statistics are averaged with ν pseudo-rows of the mean of all rows, because one row alone
    is often on the boundary of the expectation space (a variance of 0, a probability of 1); 0 where it never is."""

    bounded: bool = False
    """Whether p(x) ≤ 1, as of counts and labels: no component can then be spurious by its height alone."""

    samples_alike: bool = True
    """Whether drawn rows are seen as the rows of a fit are; they are not where these are intervals, or counts over
    several times."""

    ranges: Mapping[str, named.Parameter] = MappingProxyType({})
    """What named parameters have to be, and between which ends they lie; any number where nothing is said."""

    incidental: tuple[str, ...] = ()
    """Names of the attributes that do not change the densities: they say in which coordinates the family is, how it is
    estimated, or what is counted."""

    constraint: Constraint | None = None
    """What named parameters of K components have to be, for the M-step; see `constrain`."""

    sparse: str | None = None
    """Whether sparse rows are accepted, for which T(x) = x, every column is treated alike, and a zero adds nothing to
    log h. "entries": ``log_base_measure`` and ``check_support`` see the stored entries as rows of one column, (nnz, 1),
    and there is no exposure. "rows": they and ``exposure`` take a `CSRBlock` as well as an array, because they are
    about whole rows (`row_sums` adds up either). "never": they are refused. None: as entries, where the rows at hand
    show that it is right."""

    # ---- what a family says ---------------------------------------------------------------------------------

    @abstractmethod
    def sufficient_statistics(self, X: Block) -> Array:
        """Return T(x) of each row, (n, d) -> (n, p)."""

    @abstractmethod
    def log_partition(self, natural: Array) -> Array:
        """Return A(η), (K, p) -> (K,); not finite outside the natural-parameter space."""

    @checked.default
    def log_base_measure(self, X: Block) -> Array:
        """Return log h(x) of each row, (n, d) -> (n,); 0 by default."""
        return np.zeros(len(X))

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        """Return E[log h(x)], (K, p) -> (K,); None, the default where h is not 1, if there is no formula for it."""
        return np.zeros(len(natural)) if checked.is_default(self.log_base_measure) else None

    @checked.default
    def exposure(self, X: Block) -> Array | None:
        """Return e(x), the size of each observation (trials, time at risk), (n,), or None where it is always 1."""
        return None

    def check_support(self, X: Block) -> None:  # noqa: B027 - every row is possible unless a family says otherwise
        """Raise a ValueError that names a column and a value if a row of X is impossible under every η."""

    @checked.default
    def to_expectation(self, natural: Array) -> Array:
        """Return ∇A(η) = E[T], (K, p) -> (K, p); by default from differences of A."""
        return mappings.gradient(functools.partial(checked.log_partition, self), np.asarray(natural, np.float64))

    @checked.default
    def to_natural(self, expectation: Array) -> Array:
        """Return the η with ∇A(η) = m, (K, p) -> (K, p); by default from Newton's method on ⟨η, m⟩ − A(η)."""
        return checked.solve_natural(self, expectation)

    @checked.default
    def maximize(self, counts: Array, sums: Array) -> Array:
        """Return the M-step's η, (K,), (K, p) -> (K, p); families that couple components override it."""
        return checked.to_natural(self, sums / counts[:, None])

    @property
    def coupled(self) -> bool:
        """Whether the M-step of one component depends on the others; assumed of a family that defines ``maximize``."""
        return not checked.is_default(self.maximize)

    @checked.default
    def parameters(self, natural: Array) -> dict[str, Array]:
        """Return the named parameters people know the family by."""
        return {"expectation": checked.to_expectation(self, np.asarray(natural, np.float64))}

    def edges(self, natural: Array) -> dict[str, Mask]:
        """Return which components are at an edge of the parameter space, (K,), by a name for each edge.

        Such an edge is a limit that parameters cannot pass, as a floor under variances, or the law that a family has in
        the limit of a shape. None by default.
        """
        return {}

    @checked.named_by_subclass
    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return the natural parameters that have these named parameters: the inverse of `parameters`.

        Each family has the names that its ``parameters`` reports. A name is not needed if it follows from others or
        is a constant of the family; where it is given all the same, it must agree with them to six digits. A value on
        the boundary, such as a probability of 0, gives the same finite η as in ``to_natural``. A family with a frame
        takes parameters in the coordinates of x and returns η in the frame that all components share.

        Parameters
        ----------
        **given : array_like
            Arrays with a leading axis of components, (K, …), as ``parameters`` returns them. One component may be
            given without that axis if its shapes can be read in no other way. The default, where ``parameters`` is
            the default too, takes ``expectation``, (K, p) or (p,).

        Returns
        -------
        natural : (K, p) array

        Raises
        ------
        NotImplementedError
            If the family names its parameters but does not define the way back.
        TypeError
            If a name is unknown or missing, or a value is no array of numbers.
        ValueError
            If shapes do not fit one another, or a value is NaN or outside the space of its parameter.

        Examples
        --------
        >>> from expfam_em import families
        >>> families.Poisson().from_parameters(rates=[[1.0], [0.0]])
        array([[   0.],
               [-700.]])
        """
        if type(self).parameters is not ExponentialFamily.parameters:
            raise NotImplementedError(
                f"{type(self).__name__} has no way from named to natural parameters: define "
                "from_parameters(self, **named)"
            )
        return checked.to_natural(self, named.expectation(self, given))

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        """Return n rows drawn from one component, (p,) -> (n, d), with ``rng`` a numpy Generator.

        By default from the density of one column, numerically.
        """

        def log_density(x: Array) -> Array:
            return self.log_density(x[:, None], natural)[:, 0]

        try:
            with np.errstate(all="ignore"):  # the number may be impossible: only the shapes matter
                log_density(np.ones(1))
        except Exception as error:  # a family that needs more columns than one may raise anything
            raise NotImplementedError(
                f"{type(self).__name__} cannot be sampled: define sample(self, natural, n, rng), for rows have more "
                "than one column"
            ) from error
        return sampling.draw(log_density, lambda x: checked.supports(self, x[:, None]), n, rng, type(self).__name__)[
            :, None
        ]

    def seed(self, expectation: Array, mean: Array) -> Array:
        """Return single rows' T as expectation parameters inside their space, (m, p), given the T̄ of all rows, (1, p).

        By default each is averaged with ν = ``seed_smoothing`` pseudo-rows of the mean.
        """
        return (expectation + self.seed_smoothing * mean) / (1 + self.seed_smoothing)

    @property
    def _summary_constants(self) -> tuple[Any, ...] | None:
        """What ``summary`` depends on besides the rows: families with the same method share it where this is equal."""
        return None

    @checked.default
    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        """Return what `bound` has to know of some rows, a value with ``+``; None, the default, if it is nothing.

        Parameters
        ----------
        X : (n, d) array
            Rows that carry weight, maybe none; CSR rows are made dense, unless ``sparse`` is "rows".
        sample_weight : (n,), or None
        """
        return

    def bound(self, summary: Any) -> Self:
        """Return a copy that holds the structural constants that follow from the summary of all rows."""
        return self

    @checked.default
    def bind(self, blocks: Blocks) -> ExponentialFamily:
        """Return a copy that holds the structural constants found in one pass over ``(X, sample_weight)`` blocks.

        It is `bound` to the sum of the `summary` of each. A family may define ``bind`` instead of these two, but is
        then bound in one process, to rows in memory.
        """
        found = None if checked.is_default(self.summary) else summary_of(self, blocks)
        return self if found is None else checked.family_from(self, "bound", found)

    def n_parameters(self, n_components: int) -> int | None:
        """Return the number of free parameters of K components; None, the default, stands for K · p."""
        return None

    def kernel_form(self, n_features: int) -> KernelForm | None:
        """Return how the kernel makes T by itself, asked once per fit; None, the default, evaluates T in NumPy."""
        return None

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        """Return the family and natural parameters of the chosen columns alone."""
        raise NotImplementedError(f"{type(self).__name__} has no marginals: define marginal(self, natural, columns)")

    def conditional(self, natural: Array, columns: Integers, values: Array) -> tuple[ExponentialFamily, Array]:
        """Return the family and natural parameters of the other columns, given the values of these."""
        found = self.conditionals(natural, columns)
        if found.move is not None:
            raise NotImplementedError(
                f"{type(self).__name__} has conditionals that depend on values: define conditional(self, natural, "
                "columns, values)"
            )
        return found.family, found.natural

    def conditionals(self, natural: Array, columns: Integers) -> Conditionals:
        """Return what the other columns of many rows follow, as a function of the values of these."""
        raise NotImplementedError(
            f"{type(self).__name__} has no conditionals: define conditional(self, natural, columns, values)"
        )

    def mean(self, natural: Array) -> Array:
        """Return E[x] of each component, (K, p) -> (K, d)."""
        raise NotImplementedError(f"{type(self).__name__} has no formula for E[x]: define mean(self, natural)")

    # ---- derived once, for all ------------------------------------------------------------------------------

    def supports(self, X: Block) -> Mask:
        """Return which rows are possible, (n,)."""
        return accepted(self.check_support, np.asarray(X))

    def log_density(self, X: Block, natural: Array) -> Array:
        """Return log p(x|η_k) = ⟨η_k, T(x)⟩ − e(x) A(η_k) + log h(x), (n, K)."""
        rows = observations(X)
        log_h = checked.log_base_measure(self, rows)
        if isinstance(rows, CSRBlock):
            T, exposure = rows.matrix, checked.exposure(self, rows)
        else:
            T, exposure = checked.statistics(self, rows)
        natural = np.atleast_2d(natural)
        partition = checked.log_partition(self, natural)
        if exposure is not None:
            partition = exposure[:, None] * partition
        return T @ natural.T - partition + log_h[:, None]

    def divergence(self, natural: Array, other: Array) -> Array:
        """Return KL(p(·|η) ‖ p(·|η′)) = A(η′) − A(η) − ⟨η′ − η, ∇A(η)⟩, row by row, (K,).

        This is the Bregman divergence of A (Banerjee et al. 2005, eq. 5), so it holds for every family.
        """
        natural, other = np.atleast_2d(natural), np.atleast_2d(other)
        change = checked.log_partition(self, other) - checked.log_partition(self, natural)
        return change - np.sum((other - natural) * checked.to_expectation(self, natural), axis=1)

    def fisher_information(self, natural: Array) -> Array:
        """Return ∇²A(η), the covariance of T and the Fisher information of η, (K, p) -> (K, p, p)."""
        natural = np.atleast_2d(np.asarray(natural, np.float64))
        size = mappings.scales(functools.partial(checked.log_partition, self), natural)
        return mappings.hessian(self.to_expectation, natural, size)

    def entropy(self, natural: Array) -> Array | None:
        """Return −E[log p(x|η)] = A(η) − ⟨η, ∇A(η)⟩ − E[log h], (K,); None if E[log h] has no formula."""
        natural = np.atleast_2d(natural)
        base = checked.expected_log_base_measure(self, natural)
        if base is None:
            return None
        return (
            checked.log_partition(self, natural)
            - np.sum(natural * checked.to_expectation(self, natural), axis=1)
            - base
        )

    def replace(self, **constants: Any) -> Self:
        """Return a copy with some structural constants replaced."""
        other = copy.copy(self)
        vars(other).update(constants)
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _ranges(self) -> Mapping[str, named.Parameter]:
        """Return ``ranges``, or what follows from the constants of the family instead."""
        return self.ranges

    def _entries(self, name: str, shape: tuple[int, ...], columns: Sequence[Column], n_components: int) -> Any:
        """Return what each number of a named parameter is of, an `Entry`, or None for what is no estimate."""
        return by_shape(shape, columns, n_components, self._ranges().get(name))

    def _own_log_prior(self, natural: Array) -> tuple[Array, Array] | None:
        """Return a log-prior that is the family's own, (K,), and its slope, (K, p); None if there is none."""
        return None

    def _without_own_prior(self) -> Self:
        """Return the family without it."""
        return self

    # ---- constraints on named parameters ----------------------------------------------------------------------

    _curved: bool = False
    """Whether ``from_parameters`` reaches only a part of the natural parameters."""

    def _under(self, constraint: Constraint | None) -> Self:
        """Return the family with a constraint, or without any."""
        return self if constraint is None and self.constraint is None else self.replace(constraint=constraint)

    def _constraints(self) -> list[Constraint]:
        """Return the constraints that the M-step, or that of a part, is under."""
        return [] if self.constraint is None else [self.constraint]

    def _blocks(self, n_statistics: int) -> Integers:
        """Return groups of natural parameters, as rows of indices, that A and ``parameters`` do not combine."""
        return np.arange(n_statistics)[None]

    def _maximize_constrained(self, counts: Array, sums: Array, previous: Array | None) -> Array:
        """Return the M-step's η under the constraint, (K,), (K, p) -> (K, p)."""
        from expfam_em.family import restricted  # it asks families, and knows this class

        return restricted.maximize(self, counts, sums, previous)

    def _n_removed(self, natural: Array) -> int:
        """Return how many free parameters of these components, (K, p), the constraint takes away."""
        from expfam_em.family import restricted

        return restricted.n_removed(self, natural)
