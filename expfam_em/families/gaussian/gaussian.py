"""Multivariate normal densities, in a coordinate frame that keeps their natural parameters well conditioned."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.families.gaussian import constrained, packing
from expfam_em.families.gaussian.bulk import Values, widths
from expfam_em.families.gaussian.conjugate import NormalWishart
from expfam_em.families.gaussian.framed import FramedNormal
from expfam_em.families.gaussian.missing import observed, observed_statistics, sums_of_observed
from expfam_em.families.gaussian.models import MODELS
from expfam_em.families.gaussian.packing import pairs
from expfam_em.families.special.gamma import LOG_2PI
from expfam_em.family import named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.conditionals import Conditionals
from expfam_em.family.conjugate import Conjugate, Conjugated
from expfam_em.family.kernel_form import KernelForm, Monomials
from expfam_em.family.missing import Marginals, MissingValues
from expfam_em.family.optional import InStacks, in_own_frames
from expfam_em.rows.typing import Array, Block, Integers, Mask

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical", *(name for name in MODELS if name.isupper()))
SHRINKAGE = 0.01
"""κ of mclust's default prior."""
NARROWEST = 1e-5
"""Share of the widest column's width that the common unit of the floor is never below, so that roots have digits."""

MOMENT_ENTRIES = 1 << 17
"""Entries of X that are read at a time, a megabyte: deviations are then taken of what is still in cache."""


class Gaussian(FramedNormal, InStacks, MissingValues, Conjugated):
    """Normal density: T(x) = (z, z zᵀ), A(η) = −¼ η₁ᵀ η₂⁻¹ η₁ − ½ log |−2 η₂|, h(x) = (2π)^(−d/2).

    z = (x − shift) / scale is the observation in the family's frame. The frame is the identity until ``bind`` sets
    it to the mean and spread of the data: xxᵀ loses ε·κ² of its digits at κ standard deviations from the origin.
    ``parameters`` and ``sample`` speak of x in every frame.

    Parameters
    ----------
    covariance_type : {"full", "tied", "diag", "spherical"}, or a model such as "VEV"
        Free; one for all components; diagonal; a multiple of the identity. Or one of the
        models Σ_k = λ_k D_k A_k D_kᵀ of Celeux & Govaert (1995), whose letters say of volume λ, shape A and
        orientation D if all components have the same (E), each its own (V), or the identity (I): EII, VII, EEI, VEI,
        EVI, VVI, EEE, VEE, EVE, VVE, EEV, VEV, EVV, VVV.
    variance_floor : float ≥ 0
        Smallest variance in any direction, as a multiple of the squared width of the columns, which `bind` finds: that
        of the densest quarter of their distinct values, so that no outlier moves it; one for all columns where
        axes or shapes are compared (EVE, VVE, EEV, VEV). The M-step is the maximum under
        this constraint, so the bound still never falls. `Mixture.edges` and ``status_`` name components at the floor.
    reg_covar : float ≥ 0
        Added to the diagonal of every covariance in the M-step (unit of x²).

    Raises
    ------
    ValueError
        For an unknown covariance type or a number out of its range.
    """

    prior_rows: float = 0.0
    """Pseudo-rows of a prior that lie at the mean of each component, and say something of its covariance alone."""

    moment_names = ("means", "covariances")
    """What ``parameters`` calls the means and covariances."""

    def __init__(
        self,
        covariance_type: str = "full",
        *,
        variance_floor: float = 1e-14,
        reg_covar: float = 0.0,
    ) -> None:
        if covariance_type not in COVARIANCE_TYPES:
            raise ValueError(f"covariance_type is {covariance_type!r}; it must be one of {', '.join(COVARIANCE_TYPES)}")
        if not (variance_floor >= 0 and reg_covar >= 0):
            raise ValueError(f"variance_floor={variance_floor!r}, reg_covar={reg_covar!r}: neither may be negative")
        self.covariance_type = covariance_type
        self.variance_floor = float(variance_floor)
        self.reg_covar = float(reg_covar)
        self.regularized = reg_covar > 0
        self.shift = self.scale = self.width = None
        self.column_variance: np.ndarray | None = None

    # ---- the frame ----------------------------------------------------------------------------------------

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        return moments_of(X, sample_weight, with_values=self.variance_floor > 0)

    @property
    def _summary_constants(self) -> tuple[Any, ...]:
        return (self.variance_floor > 0,)

    def bound(self, summary: Any) -> Self:
        """Return a copy whose frame is about the weighted mean and standard deviation of the columns."""
        mean, variance = summary.mean, checked_variance(summary.scatter / summary.total)
        spread, rounding = variance, (4 * np.finfo(float).eps * np.abs(mean)) ** 2
        if self._form.isotropic:  # one scale for all columns, so that distances do not change
            spread, rounding = (np.full_like(variance, values.mean()) for values in (spread, rounding))
        # a column without spread, up to the rounding of its mean, keeps its unit
        spread = np.where(spread > rounding, np.sqrt(spread), 1.0)
        # A power of two scales without rounding, and a mean with few digits leaves whole numbers exact: rows that are
        # equally far from two means then have equal scores.
        scale, width = power_of_two(spread), None
        if summary.values is not None:
            width = widths(summary.values)
            if self._form.isotropic:
                width = np.full_like(width, np.sqrt(np.mean(width**2)))
            elif self._model.of_one_unit:
                width = np.full_like(width, max(width.min(), NARROWEST * width.max()))
            width = power_of_two(width)
        shift = np.round(mean / scale * 64) / 64 * scale
        return self.replace(shift=shift, scale=scale, width=width, column_variance=variance)

    # ---- the family -----------------------------------------------------------------------------------------

    def _monomials(self, n_features) -> Monomials:
        """Return T as products of columns in the frame."""
        shift, scale = self._frame(n_features)
        return Monomials(shift, 1 / scale, self._form.products(n_features))

    def kernel_form(self, n_features: int) -> KernelForm:
        monomials = self._monomials(n_features)
        if not self._model.tied or self.frames is not None or self.shift is None:
            return KernelForm(monomials)
        return KernelForm(monomials, n_common=n_features * (n_features + 1) // 2, share=self._share_common)

    def _share_common(self, counts, sums, totals):
        """Return N_k (V + m_k m_kᵀ), packed, with V the pooled covariance: what the tied model says they are."""
        i, j = pairs(sums.shape[2])
        mean = sums / np.where(counts > 0, counts, 1.0)[:, :, None]
        outer = counts[:, :, None] * mean[:, :, i] * mean[:, :, j]
        pooled = (totals - outer.sum(axis=1)) / counts.sum(axis=1, keepdims=True)
        return counts[:, :, None] * pooled[:, None] + outer

    def sufficient_statistics(self, X: Block) -> Array:
        return self._monomials(X.shape[1]).evaluate(self._columns(X))

    def log_partition(self, natural: Array) -> Array:
        value = self._form.log_partition(natural)
        if self.frames is None:
            return value
        return value + self._coordinates(self._form.n_features(natural.shape[1])).log_volumes(len(natural))

    def log_base_measure(self, X: Block) -> Array:
        scale = self._frame(X.shape[1])[1]
        return np.full(len(X), -0.5 * X.shape[1] * LOG_2PI - np.log(scale).sum())

    def expected_log_base_measure(self, natural: Array) -> Array:
        d = self._form.n_features(natural.shape[1])
        return np.full(len(natural), -0.5 * d * LOG_2PI - np.log(self._frame(d)[1]).sum())

    def to_expectation(self, natural: Array) -> Array:
        return self._form.expectation(*self._form.moments(natural))

    def to_natural(self, expectation: Array) -> Array:
        return self._natural(*self._form.central(expectation))

    @property
    def searches(self) -> bool:
        return self._model.continues

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        return self.maximize_stack(counts[None], sums[None], None if previous is None else previous[None])[0]

    def maximize_stack(
        self, counts: Array, sums: Array, previous: Array | None = None, search: bool = True
    ) -> Array:  # fmt: skip
        mean, covariance = self._form.central((sums / counts[:, :, None]).reshape(-1, sums.shape[2]))
        covariance = self._fitted(counts, covariance, self._coordinates(mean.shape[1]), previous, search)
        return self._natural(mean, covariance).reshape(sums.shape)

    def _maximize_constrained(self, counts: Array, sums: Array, previous: Array | None) -> Array:
        return constrained.maximize(self, counts, sums, previous)

    def _fitted(self, counts, covariance, coordinates, previous, search=True):
        """Return the covariances of the M-step, given those of the rows about the means, of a stack, in the frames."""
        model = self._model
        if self.prior_rows:
            share = (counts / (counts + self.prior_rows)).reshape(-1, *[1] * (covariance.ndim - 1))
            counts, covariance = counts + self.prior_rows, covariance * share
        if model.tied:
            pooled = (
                np.matmul(counts[:, None], covariance.reshape(*counts.shape, -1)) / counts.sum(axis=1)[:, None, None]
            )
            covariance = np.repeat(pooled[:, 0], counts.shape[1], axis=0).reshape(covariance.shape)
        if self.reg_covar:
            covariance = self._regularised(covariance, coordinates)
        if model.constrain is not None:
            before = None
            if model.continues and previous is not None:
                before = packing.root_of(self._form, previous.reshape(-1, previous.shape[-1]))
            covariance = self._constrained(counts, covariance, coordinates, before, search)
        return covariance

    def _constrained(self, counts, covariance, coordinates, before, search):
        """Return covariances that satisfy the model, found in units of x or of its widths, the same for all."""
        form, unit = self._form, coordinates.width if coordinates.floor > 0 else np.ones_like(coordinates.scale)
        frames = coordinates.of_each(len(covariance))[1]
        frames = frames / (unit[:, None] if frames.ndim == 3 else unit)
        shape = (*counts.shape, *frames.shape[1:])
        roots = form.times_root(frames, form.root(covariance)).reshape(shape)
        before = None if before is None else form.times_root(frames, before).reshape(shape)
        found = self._model.nearest(counts, roots, coordinates.floor, before, search)
        factor = form.divide(frames, found.reshape(frames.shape))
        return packing.representable(factor) if factor.ndim == 3 else form.square(factor)

    def _regularised(self, covariance, coordinates):
        form, scale = self._form, coordinates.scale
        variances = (self.reg_covar / scale**2)[: covariance.shape[-1]]  # or one for all columns
        shared = covariance + form.root_of_scale(variances)
        if self.frames is None:
            return shared
        added = form.root_of_scale(np.full((len(covariance), len(scale)), np.sqrt(self.reg_covar)))
        whole = covariance + form.square(form.divide(coordinates.of_each(len(covariance))[1], added))
        return np.where(self.frames["own"].reshape(-1, *[1] * (covariance.ndim - 1)), whole, shared)

    def seed(self, expectation: Array, mean: Array) -> Array:
        """Return components at the rows, with the variances of the columns and no correlation."""
        form = self._form
        rows, _ = form.central(expectation)
        pooled = form.uncorrelated(form.central(mean)[1])
        if self.reg_covar:  # what the M-step adds makes components of a constant column, too
            with np.errstate(all="ignore"):
                natural = form.natural(np.zeros((len(pooled), rows.shape[1])), pooled)
            flat = ~np.isfinite(natural).all(axis=1)
            if flat.any():
                pooled[flat] = self._regularised(pooled[flat], self._coordinates(rows.shape[1]))
        return form.expectation(rows, np.broadcast_to(pooled, (len(rows), *pooled.shape[1:])))

    def parameters(self, natural: Array) -> dict[str, Array]:
        means, covariances = self.to_moments(natural)
        return {"means": means, "covariances": covariances[0] if self._model.tied else covariances}

    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return the natural parameters of means (K, d) and covariances.

        Covariances are (K, d, d), (K, d) or (K,), as the covariance type has them; tied types take the one matrix of
        all components, (d, d). Those of a constrained model must satisfy it to six digits.
        Where components have coordinates of their own, as after a fit, the result is in these; K is then given.
        """
        shared = self.with_frames(None)
        arrays, used = read_moments(self, shared, given)
        with np.errstate(all="ignore"):
            natural = shared.from_moments(*(used[name] for name in self.moment_names))
        return in_own_frames(self, named.finished(shared, natural, arrays, used))

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        [mean], [covariance] = self.to_moments(natural[None])
        return mean + self._form.draw(covariance, rng.standard_normal((n, len(mean))))

    def check_support(self, X: Block) -> None:
        return None  # every finite row is possible

    def _ranges(self) -> Mapping[str, named.Parameter]:
        return dict(zip(self.moment_names, (named.FINITE, self._model.parameter()), strict=True))

    def n_parameters(self, n_components: int) -> int | None:
        if not self.coupled:
            return None
        if self.shift is None:
            raise ValueError(f"{self!r} counts its parameters once its dimension is known: call bind first")
        d = len(self.shift)
        return n_components * d + self._model.n_parameters(n_components, d)

    # ---- priors ---------------------------------------------------------------------------------------------

    def default_prior(self, totals: Array, expectation: Array, n_components: int) -> tuple[Self, float, Array]:
        """Return mclust's default prior on K components, given E[T] over all rows of D data sets, (D,), (D, p).

        μ_k ~ N(x̄, Σ_k/κ) with κ = 0.01. Σ_k is inverse Wishart with ν = d + 2 degrees of freedom and scale
        S/K^(2/d), S the covariance of all rows; variances of diagonal and spherical types are inverse Gamma with shape
        ν/2 and scale (tr S/d)/K^(2/d)/2 (Fraley and Raftery 2007, section 3). The M-step is the mode of μ_k and Σ_k
        together, as in the paper.

        The paper has no M-step of VEI, EVI, EEV and VEV. These are those of mclust 6: each component has the scale, and
        the exponents of its code are not always those of a conjugate prior.

        Returns
        -------
        family : Gaussian
            With ``prior_rows`` c. The exponents of |Σ_k| of mean and covariance are those of κ + c rows.
        nu : float
            κ, the pseudo-rows of each component.
        expectation : (D, p)
            Mean of T of these.

        Raises
        ------
        ValueError
            If mclust has no prior for the covariance type.
        """
        means, covariances = self.to_moments(self.to_natural(expectation))
        d, K, nu = means.shape[1], n_components, means.shape[1] + 2.0
        name = self._model.name if d > 1 else "VVI" if self._model.name[0] == "V" else "EEI"
        exponents = {
            "VVV": nu + d + 2, "EEE": (nu + d + 1) / K + 1, "VVI": nu + 3, "EEI": (nu + 2) / K + 1,
            "VII": 1 + (nu + 2) / d, "EII": 1 + (nu + 2) / (d * K),
            "VEI": (nu + 3) / d, "EVI": (nu + 2) / K, "EEV": (nu + d + 2) / K, "VEV": 0.0,
        }  # fmt: skip
        if name not in exponents or type(self) is not Gaussian:
            raise ValueError(
                f"prior is 'mclust', and mclust has none for {self!r}: it has one for normal densities of type "
                f"{', '.join(exponents)}, and the names of these. Take prior='weak', or an ExpectedStatistics"
            )
        shape = (-1, *[1] * (covariances.ndim - 1))
        scale = covariances * (totals / (totals - 1)).reshape(shape) / K ** (2 / d)
        if self._model.free == "diag":
            scale = np.repeat(scale.mean(axis=1, keepdims=True), d, axis=1)
        if self._model.free == "spherical":
            scale = scale / d
        if name in ("EEE", "EEI", "EII"):  # of all components together
            scale = scale / K
        natural = self.from_moments(means, scale / SHRINKAGE)
        return self.replace(prior_rows=exponents[name] - SHRINKAGE), SHRINKAGE, self.to_expectation(natural)

    def _own_log_prior(self, natural: Array) -> tuple[Array, Array] | None:
        if not self.prior_rows:
            return None
        mean, covariance = self._form.moments(natural)
        half_log_volume = self.log_partition(natural) - 0.5 * np.sum(natural[:, : mean.shape[1]] * mean, axis=1)
        slope = self._form.expectation(np.zeros_like(mean), covariance)
        return -self.prior_rows * half_log_volume, -self.prior_rows * slope

    def _without_own_prior(self) -> Self:
        return self.replace(prior_rows=0.0) if self.prior_rows else self

    # ---- parts of an observation ----------------------------------------------------------------------------

    def _part(self, columns):
        # what components have in common they need not have in common in some of the columns
        kind = self.covariance_type if self._model.constrain is None else self._model.free
        known = {name: getattr(self, name) for name in ("shift", "scale", "width", "column_variance")}
        of_columns = {name: value if value is None else value[columns] for name, value in known.items()}
        return self.replace(covariance_type=kind, own_frames=None, **of_columns)

    def marginal(self, natural: Array, columns: Integers) -> tuple[Self, Array]:
        means, covariances = self.to_moments(natural)
        part = self._part(columns)
        return part, part.from_moments(means[:, columns], self._form.marginal(covariances, columns))

    def conditional(self, natural: Array, columns: Integers, values: Array) -> tuple[ExponentialFamily, Array]:
        part, means, covariances, shift = self.regression(natural, columns)
        return part, part.from_moments(means + shift(values[None])[0], covariances)

    def conditionals(self, natural: Array, columns: Integers) -> Conditionals:
        part, means, covariances, shift = self.regression(natural, columns)
        return Conditionals(part, part.from_moments(means, covariances), lambda values: (shift(values), None))

    def regression(self, natural: Array, columns: Integers) -> tuple[Self, Array, Array, Callable[[Array], Array]]:
        """Return the family, means and covariances of the other columns at the means of these, and what values shift.

        The function takes values (n, g) and returns by how much they move the means, (n, K, r).
        """
        means, covariances = self.to_moments(natural)
        rest = np.setdiff1d(np.arange(means.shape[1]), columns)
        # only the covariances depend on the type, and those of x|y do not depend on y: a tied family stays tied
        gain, left = self._form.regression(covariances, columns, rest)

        def shift(values: Array) -> Array:
            return np.matmul(values - means[:, None, columns], gain).transpose(1, 0, 2)

        return self._part(rest), means[:, rest], left, shift

    def mean(self, natural: Array) -> Array:
        return self.to_moments(natural)[0]

    # ---- missing values -----------------------------------------------------------------------------------

    def observed(self, natural: Array) -> Marginals:
        return observed(self, natural)

    def _log_base_by_column(self, X: Block) -> Array:
        """Return log h of each column, (n, d) or (d,)."""
        return -0.5 * LOG_2PI - np.log(self._frame(X.shape[1])[1])

    def observed_log_base(self, X: Block, present: Mask) -> Array:
        return np.where(present, self._log_base_by_column(X), 0.0).sum(axis=1)

    def observed_log_density(self, X: Block, natural: Array, present: Mask) -> Array:
        if self.frames is None:
            return super().observed_log_density(X, natural, present)
        K = len(natural)
        found = self.observed(natural)(np.arange(K)[None], present[None])
        out = np.tile(self.observed_log_base(X, np.broadcast_to(present, X.shape))[:, None], (1, K))
        for k, T in enumerate(observed_statistics(found.family, X, K)):
            out[:, k] += T @ found.natural[0, k] - found.log_partition[0, k]
        return out

    def observed_sums(self, X: Block, natural: Array, responsibilities: Array, present: Mask) -> Array:
        found = self.observed(natural)(np.arange(len(natural))[None], present[None])
        return found.complete(
            responsibilities.sum(axis=0)[None], sums_of_observed(found.family, X, responsibilities)[None]
        )[0]

    def filling(self, n_features: int) -> Array | None:
        return self._frame(n_features)[0] if self._form.isotropic else None

    def conjugate(self) -> Conjugate:
        """Return the normal-Wishart prior.

        Raises
        ------
        ValueError
            If components are tied by more than one covariance for all.
        """
        if self._model.constrain is not None:
            raise ValueError(
                f"{self!r} has no conjugate prior, because its covariances are constrained: take full, tied, diag or "
                "spherical ones"
            )
        return NormalWishart(self)

    def __repr__(self) -> str:
        extra = [f"reg_covar={self.reg_covar:g}"] if self.reg_covar else []
        return f"Gaussian({', '.join([repr(self.covariance_type), *extra])})"


def checked_variance(variance: Array) -> Array:
    """Return the variances of the columns, (d,), once all of them are finite."""
    if not np.isfinite(variance).all():
        column = int(np.argmin(np.isfinite(variance)))
        raise ValueError(f"the variance of column {column} is beyond the range of float64: divide X by its size")
    return variance


@dataclass(frozen=True)
class Moments:
    """Weight, weighted mean and weighted squared deviations from it of each column, for some rows.

    And a sample of the distinct values, where it is wanted.
    """

    total: float
    mean: np.ndarray
    scatter: np.ndarray
    values: Values | None = None

    @classmethod
    def of(cls, X, weight) -> Moments:
        """Return those of some rows, which are read once more for the deviations."""
        total = float(weight.sum())
        if total == 0:
            return cls(0.0, np.zeros(X.shape[1]), np.zeros(X.shape[1]))
        mean = weight @ X / total
        with np.errstate(over="ignore"):
            return cls(total, mean, weight @ (X - mean) ** 2)

    def __add__(self, other: Moments) -> Moments:
        if self.total == 0 or other.total == 0:
            return other if self.total == 0 else self
        total, step = self.total + other.total, other.mean - self.mean
        with np.errstate(over="ignore"):
            scatter = self.scatter + other.scatter + step**2 * (self.total * other.total / total)
        values = None if self.values is None or other.values is None else self.values + other.values
        return Moments(total, self.mean + step * (other.total / total), scatter, values)


def moments_of(X: Block, sample_weight: Array | None, *, with_values: bool) -> Moments:
    """Return the moments of rows (n, d), some of which are read at a time."""
    weight, step = np.ones(len(X)) if sample_weight is None else sample_weight, max(1, MOMENT_ENTRIES // X.shape[1])
    parts = (slice(first, first + step) for first in range(0, max(len(X), 1), step))
    # sums over columns are rounded otherwise in column order
    found = (Moments.of(np.ascontiguousarray(X[part], np.float64), weight[part]) for part in parts)
    return replace(functools.reduce(Moments.__add__, found), values=Values.of(X) if with_values else None)


def power_of_two(scale):
    """Return numbers rounded to powers of two, which scale without rounding."""
    return np.exp2(np.round(np.log2(scale)))


def read_moments(family, normal, given, constant=()):
    """Return named parameters as checked arrays, all and those that determine the density, as `named.read` does.

    Parameters
    ----------
    family : ExponentialFamily
        Named in messages.
    normal : Gaussian
        Whose means and covariances they are.
    given : mapping of str to array_like
    constant : collection of str
        What need not be given of what the family has.
    """
    model, known = normal._model, family._ranges()
    means, covariances, *_ = known
    sizes = {} if normal.shift is None else {"column": len(normal.shift)}
    arrays, used = named.read(
        family, given, known, (tuple(name for name in known if name not in constant),), sizes=sizes
    )
    # variances may have been raised to the floor
    slack = 0.0 if normal.scale is None else 2 * normal.variance_floor * np.max(normal.scale) ** 2
    if covariances in used:
        used[covariances] = model.checked(covariances, used[covariances], len(used[means]), slack)
    return arrays, used
