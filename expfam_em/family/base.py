"""The one abstract class: a family is its sufficient statistics T, its log-partition A, and what follows from them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

from expfam_em.family import mappings, named, sampling, sparse
from expfam_em.family.kernel_form import Monomials
from expfam_em.family.support import accepted, check_exposure
from expfam_em.rows import csr
from expfam_em.rows.csr import CSRBlock

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

    keeps_zeros: bool | None = None
    """Whether sparse rows are accepted: T(x) = x, every column is treated alike, and a zero adds nothing to log h.
    None: where the rows at hand show that it is so.

    ``log_base_measure`` and ``check_support`` then see the stored entries as rows of one column, (nnz, 1), and there
    is no exposure, unless the family ``takes_csr``."""

    takes_csr: bool = False
    """Whether ``exposure``, ``log_base_measure`` and ``check_support`` take a `CSRBlock` as well as an array, because
    they are about whole rows; `csr.row_sums` adds up either."""

    # ---- what a family says ---------------------------------------------------------------------------------

    @abstractmethod
    def sufficient_statistics(self, X):
        """Return T(x) of each row, (n, d) -> (n, p)."""

    @abstractmethod
    def log_partition(self, natural):
        """Return A(η), (K, p) -> (K,); not finite outside the natural-parameter space."""

    def log_base_measure(self, X):
        """Return log h(x) of each row, (n, d) -> (n,); 0 by default."""
        return np.zeros(len(X))

    def expected_log_base_measure(self, natural):
        """Return E[log h(x)], (K, p) -> (K,); None, the default where h is not 1, if there is no formula for it."""
        constant = type(self).log_base_measure is ExponentialFamily.log_base_measure
        return np.zeros(len(natural)) if constant else None

    def exposure(self, X) -> np.ndarray | None:
        """Return e(x), the size of each observation (trials, time at risk), (n,), or None where it is always 1."""
        return None

    def check_support(self, X) -> None:  # noqa: B027 - every row is possible unless a family says otherwise
        """Raise a ValueError that names a column and a value if a row of X is impossible under every η."""

    def to_expectation(self, natural):
        """Return ∇A(η) = E[T], (K, p) -> (K, p); by default from differences of A."""
        return mappings.gradient(self.evaluate_log_partition, np.asarray(natural, np.float64))

    def to_natural(self, expectation):
        """Return the η with ∇A(η) = m, (K, p) -> (K, p); by default from Newton's method on ⟨η, m⟩ − A(η)."""
        return self.solve_natural(expectation)

    def maximize(self, counts, sums):
        """Return the M-step's η, (K,), (K, p) -> (K, p); families that couple components override it."""
        return self.to_natural(sums / counts[:, None])

    incomplete: bool = False
    """Whether a part of each observation is not observed: the E-step then takes E[T|x] of each component, `complete`,
    and `log_density` that of what is observed, while A, the mappings and the M-step are those of the complete data.
    ``sufficient_statistics`` is a guess that needs no parameters, for the start; log h belongs to `log_density`."""

    def complete(self, X, natural, responsibilities):
        """Return Σ_n r_nk E[T|x_n, η_k] of rows, (n, d), (K, p), (n, K) -> (K, p), if the family is incomplete."""
        raise NotImplementedError(f"{type(self).__name__} is incomplete: define complete(X, natural, responsibilities)")

    def guess(self, X, responsibilities) -> np.ndarray:
        """Return Σ_n r_nk T(x_n) of the guess that needs no parameters, (n, d), (n, K) -> (K, p)."""
        return responsibilities.T @ self.statistics_and_exposure(X)[0]

    @property
    def coupled(self) -> bool:
        """Whether the M-step of one component depends on the others; assumed of a family that defines ``maximize``."""
        return type(self).maximize is not ExponentialFamily.maximize

    @property
    def continues(self) -> bool:
        """Whether ``maximize(counts, sums, previous)`` takes the natural parameters (K, p) to start from as well."""
        return False

    def parameters(self, natural) -> dict[str, np.ndarray]:
        """Return the named parameters people know the family by."""
        return {"expectation": self.to_expectation(natural)}

    def from_parameters(self, **given) -> np.ndarray:
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
        return np.asarray(self.to_natural(named.expectation(self, given)))

    def sample(self, natural, n, rng):
        """Return n rows drawn from one component, (p,) -> (n, d), with ``rng`` a numpy Generator.

        By default from the density of one column, numerically.
        """

        def log_density(x):
            return self.log_density(x[:, None], natural)[:, 0]

        try:
            with np.errstate(all="ignore"):  # the number may be impossible: only the shapes matter
                log_density(np.ones(1))
        except Exception as error:  # whatever a family raises for rows of one column, when it needs more
            raise NotImplementedError(
                f"{type(self).__name__} cannot be sampled: define sample(self, natural, n, rng), for rows have more "
                "than one column"
            ) from error
        return sampling.draw(log_density, lambda x: self.supports(x[:, None]), n, rng, type(self).__name__)[:, None]

    def seed(self, expectation, mean):
        """Return single rows' T as expectation parameters inside their space, (m, p), given the T̄ of all rows, (1, p).

        By default each is averaged with ν = ``seed_smoothing`` pseudo-rows of the mean.
        """
        return (expectation + self.seed_smoothing * mean) / (1 + self.seed_smoothing)

    def bind(self, blocks) -> ExponentialFamily:
        """Return a copy that holds the structural constants found in one pass over ``(X, sample_weight)`` blocks."""
        return self

    def change_frame(self, natural, target):
        """Return natural parameters of this family as those of ``target``, the same family otherwise bound."""
        return natural

    def change_frame_of_expectation(self, expectation, target):
        """Return expectation parameters of this family as those of ``target``, the same family otherwise bound."""
        return expectation

    # Components may be given coordinates of their own, so that no digits are lost far from the shared frame. A family
    # that does so stands for its components in order: each method then takes exactly their rows.

    def reframe(self, natural, expectation) -> tuple[ExponentialFamily, np.ndarray]:
        """Return the family in the frames that suit its components best, and the natural parameters in them.

        ``expectation`` are expectation parameters (K, p) close to those of ``natural``, already known to the caller.
        """
        return self, natural

    def refine(self, natural, expectation) -> ExponentialFamily | None:
        """Return the family in frames in which statistics with this mean (K, p) keep their digits; None if they do.

        ``natural`` is what they give in the frames they are in, not finite if all digits are lost.
        """
        return None

    def components(self, index) -> ExponentialFamily:
        """Return the family of some components, in the order of an index array."""
        return self

    @property
    def score_rounding(self) -> float:
        """By how much the rounding of rows changes their scores, in units of ε, where frames magnify it."""
        return 0.0

    def join(self, families, n_components) -> ExponentialFamily:
        """Return the family of the components of several families of this kind, ``n_components`` of each."""
        return self

    def shared(self) -> ExponentialFamily:
        """Return the family in the frame shared by all components, whatever their number."""
        return self

    def adopt(self, other) -> ExponentialFamily:
        """Return this family with the frames that components have in another one of its kind."""
        return self

    # Components may also belong to families of their own.

    def kinds(self, n_components) -> list:
        """Return the families of the components, each with the numbers of those that belong to it."""
        return [(self, np.arange(n_components))]

    def place(self, n_components, parts) -> np.ndarray:
        """Return natural parameters (K, p) from those of the components of each kind."""
        return parts[0]

    @property
    def n_common(self) -> int:
        """Number of statistics, the last ones, whose natural parameters are the same for all components.

        They say nothing about responsibilities, so only their sum over all rows is needed, and once.
        """
        return 0

    def share_common(self, counts, sums, totals) -> np.ndarray:
        """Divide the totals (B, c) of the common statistics among components (B, K), given their other sums.

        Only the sum over components matters to the M-step; each should be an expectation the component may have.
        """
        raise NotImplementedError(f"{type(self).__name__} has n_common > 0: define share_common(counts, sums, totals)")

    def n_parameters(self, n_components) -> int | None:
        """Return the number of free parameters of K components; None, the default, stands for K · p."""
        return None

    def monomials(self, n_features) -> Monomials | None:
        """Return T as products of columns, if it is, so that the kernel builds it; None evaluates T in NumPy."""
        return None

    def columns(self, X):
        """Return the columns that the monomials are products of, (n, d) -> (n, c), whatever the frames: X itself."""
        return X

    def marginal(self, natural, columns):
        """Return the family and natural parameters of the chosen columns alone."""
        raise NotImplementedError(f"{type(self).__name__} has no marginals: define marginal(self, natural, columns)")

    def conditional(self, natural, columns, values):
        """Return the family and natural parameters of the other columns, given the values of these."""
        raise NotImplementedError(
            f"{type(self).__name__} has no conditionals: define conditional(self, natural, columns, values)"
        )

    # ---- derived once, for all ------------------------------------------------------------------------------

    def evaluate_log_partition(self, natural) -> np.ndarray:
        """Return A(η) without floating-point warnings; not finite outside the space."""
        with np.errstate(all="ignore"):
            value = np.asarray(self.log_partition(natural))
        if value.shape != (len(natural),):
            raise ValueError(
                f"{type(self).__name__}.log_partition returned shape {value.shape} for {len(natural)} rows of natural "
                "parameters: it must be one number per row, (K,)"
            )
        return value

    def solve_natural(self, expectation, start=None, *, lenient=False) -> np.ndarray:
        """Solve ∇A(η) = m numerically, from ``start`` (K, p) if given; if ``lenient``, from nowhere else, or NaN.

        Raises
        ------
        ValueError
            If no η with a finite A is found to start from.
        """
        gradient = None if type(self).to_expectation is ExponentialFamily.to_expectation else self.to_expectation
        return mappings.inverse_gradient(
            self.evaluate_log_partition, np.asarray(expectation, np.float64), gradient, start,
            type(self).__name__, lenient=lenient,
        )  # fmt: skip

    def continue_from(self, counts, sums, previous) -> np.ndarray:
        """Return the M-step's η, found from the last one's, ``previous`` (K, p), where it has to be searched for."""
        kind = type(self)
        if kind.to_natural is ExponentialFamily.to_natural and kind.maximize is ExponentialFamily.maximize:
            return self._solved_from(sums / counts[:, None], previous)
        maximize: Any = self.maximize
        return np.asarray(maximize(counts, sums, previous) if self.continues else maximize(counts, sums))

    def _solved_from(self, expectation, previous):
        """Return η, NaN for components that have none unless none has: other starts may go on."""
        try:
            return self.solve_natural(expectation, previous)
        except ValueError:
            found = self.solve_natural(expectation, previous, lenient=True)
            if not np.isfinite(found).all(axis=1).any():
                raise
            return found

    def checked_log_base_measure(self, X) -> np.ndarray:
        """Return log h (n,) as float64, checked for shape; X may be a block of CSR rows."""
        if isinstance(X, CSRBlock):
            sparse.check_keeps_zeros(self, X)
            if type(self).log_base_measure is ExponentialFamily.log_base_measure:
                return np.zeros(len(X))
            return sparse.log_base_measure(self, X)
        with np.errstate(all="ignore"):  # impossible rows have log h = −∞
            value = np.asarray(self.log_base_measure(X), np.float64)
        if value.shape != (len(X),):
            raise ValueError(
                f"{type(self).__name__}.log_base_measure returned shape {value.shape} for {len(X)} rows: it must be "
                "one number per row, (n,)"
            )
        return value

    def check_rows(self, X) -> None:
        """Raise a ValueError that names a column, a value and a row if a row is impossible; X may be CSR rows."""
        if isinstance(X, CSRBlock):
            sparse.check_rows(self, X)
        else:
            self.check_support(X)
        check_exposure(self.checked_exposure(X), type(self).__name__)

    def statistics_and_exposure(self, X) -> tuple[np.ndarray, np.ndarray | None]:
        """Return T (n, p) as float64, checked for shape, and e (n,), None where it is 1."""
        X = np.asarray(X).view()
        X.flags.writeable = False  # T is no place to change the observations
        with np.errstate(all="ignore"):  # absent rows may hold anything
            T = np.asarray(self.sufficient_statistics(X), np.float64)
        if T.ndim != 2 or len(T) != len(X):
            raise ValueError(
                f"{type(self).__name__}.sufficient_statistics returned shape {T.shape} for {len(X)} rows: "
                "it must return one row of statistics per row of X, (n, p)"
            )
        return T, self.checked_exposure(X)

    def checked_exposure(self, X) -> np.ndarray | None:
        """Return e (n,) as float64, checked for shape, NaN where it is not positive, None where it is always 1.

        X may be a block of CSR rows.
        """
        with np.errstate(all="ignore"):
            exposure = self.exposure(X) if self.takes_csr or not isinstance(X, CSRBlock) else None
        if exposure is None:
            return None
        exposure = np.asarray(exposure, np.float64)
        if exposure.shape != (len(X),):
            raise ValueError(
                f"{type(self).__name__}.exposure returned shape {exposure.shape} for {len(X)} rows: it must be one "
                "number per row, (n,)"
            )
        return np.where(exposure > 0, exposure, np.nan)

    def supports(self, X) -> np.ndarray:
        """Return which rows are possible, (n,)."""
        return accepted(self.check_support, np.asarray(X))

    def evaluates(self, n_features) -> bool:
        """Whether something of T has to be evaluated in NumPy before the kernel can begin."""
        return self.monomials(n_features) is None or type(self).columns is not ExponentialFamily.columns

    def evaluate(self, X) -> np.ndarray:
        """Return what the kernel takes instead of X, (n, c): its columns or T, and, where there is one, −e."""
        if self.monomials(X.shape[1]) is not None:
            return self.columns(X)
        T, exposure = self.statistics_and_exposure(X)
        return T if exposure is None else np.column_stack([T, -exposure])

    def log_density(self, X, natural) -> np.ndarray:
        """Return log p(x|η_k) = ⟨η_k, T(x)⟩ − e(x) A(η_k) + log h(x), (n, K)."""
        X = csr.observations(X)
        log_h = self.checked_log_base_measure(X)
        sparse = isinstance(X, CSRBlock)
        T, exposure = (X.matrix, self.checked_exposure(X)) if sparse else self.statistics_and_exposure(X)
        natural = np.atleast_2d(natural)
        partition = self.evaluate_log_partition(natural)
        if exposure is not None:
            partition = exposure[:, None] * partition
        return T @ natural.T - partition + log_h[:, None]

    def divergence(self, natural, other) -> np.ndarray:
        """Return KL(p(·|η) ‖ p(·|η′)) = A(η′) − A(η) − ⟨η′ − η, ∇A(η)⟩, row by row, (K,).

        This is the Bregman divergence of A (Banerjee et al. 2005, eq. 5), so it holds for every family.
        """
        natural, other = np.atleast_2d(natural), np.atleast_2d(other)
        change = self.evaluate_log_partition(other) - self.evaluate_log_partition(natural)
        return change - np.sum((other - natural) * self.to_expectation(natural), axis=1)

    def fisher_information(self, natural) -> np.ndarray:
        """Return ∇²A(η), the covariance of T and the Fisher information of η, (K, p) -> (K, p, p)."""
        natural, family = np.atleast_2d(np.asarray(natural, np.float64)), self.shared()  # frames add constants to A
        return mappings.hessian(family.to_expectation, natural, mappings.scales(family.evaluate_log_partition, natural))

    def entropy(self, natural) -> np.ndarray | None:
        """Return −E[log p(x|η)] = A(η) − ⟨η, ∇A(η)⟩ − E[log h], (K,); None if E[log h] has no formula."""
        natural = np.atleast_2d(natural)
        base = self.expected_log_base_measure(natural)
        if base is None:
            return None
        return self.evaluate_log_partition(natural) - np.sum(natural * self.to_expectation(natural), axis=1) - base

    def replace(self, **constants) -> Self:
        """Return a copy with some structural constants replaced."""
        other = copy.copy(self)
        vars(other).update(constants)
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
