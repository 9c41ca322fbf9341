"""Multivariate normal densities, in a coordinate frame that keeps their natural parameters well conditioned."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.families.gaussian import packing
from expfam_em.families.gaussian.framed import FramedNormal, products_of
from expfam_em.families.gaussian.models import MODELS, Model
from expfam_em.families.special.linalg import check_positive_definite
from expfam_em.family import named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.kernel_form import KernelForm, Monomials
from expfam_em.rows.typing import Array, Block, Floats, Integers

LOG_2PI = float(np.log(2 * np.pi))
COVARIANCE_TYPES = ("full", "tied", "diag", "spherical", *(name for name in MODELS if name.isupper()))
PART_NUMBERS = 1 << 17
"""Numbers of X that are read at a time, a megabyte: deviations are then taken of what is still in cache."""


class Gaussian(FramedNormal):
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
        Smallest variance in any direction, as a multiple of the squared scale of the frame, which is the variance of
        the columns within a factor of two (so it acts once the family is bound). The M-step is the maximum under
        this constraint, so the bound still never falls.
    reg_covar : float ≥ 0
        Added to the diagonal of every covariance in the M-step (unit of x²).

    Raises
    ------
    ValueError
        For an unknown covariance type or a number out of its range.
    """

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
        self.shift: np.ndarray | None = None
        self.scale: np.ndarray | None = None
        self.column_variance: np.ndarray | None = None

    @property
    def tied(self) -> bool:
        """Whether all components share one covariance."""
        return self.covariance_type in ("tied", "EEE")

    @property
    def model(self) -> Model:
        """The covariance model."""
        return MODELS[self.covariance_type]

    @property
    def coupled(self) -> bool:
        return self.tied or self.model.constrain is not None

    @property
    def form(self) -> Any:
        """How second-order statistics are packed, in the coordinates of the frame."""
        return self.model.form

    # ---- the frame ----------------------------------------------------------------------------------------

    def summary(self, X: Array, sample_weight: Floats | None) -> Any:
        return functools.reduce(Moments.__add__, map(Moments.of, *_parts(X, sample_weight)))

    def bound(self, summary: Any) -> Self:
        """Return a copy whose frame is about the weighted mean and standard deviation of the columns."""
        mean, variance = summary.mean, summary.variance
        if not np.isfinite(variance).all():
            column = int(np.argmin(np.isfinite(variance)))
            raise ValueError(f"the variance of column {column} is beyond the range of float64: divide X by its size")
        spread, rounding = variance, (4 * np.finfo(float).eps * np.abs(mean)) ** 2
        if self.form.isotropic:  # one scale for all columns, so that distances do not change
            spread, rounding = (np.full_like(variance, values.mean()) for values in (spread, rounding))
        # a column without spread, up to the rounding of its mean, keeps its unit
        spread = np.where(spread > rounding, np.sqrt(spread), 1.0)
        # A power of two scales without rounding, and a mean with few digits leaves whole numbers exact: rows that are
        # equally far from two means then have equal scores.
        scale = np.exp2(np.round(np.log2(spread)))
        return self.replace(shift=np.round(mean / scale * 64) / 64 * scale, scale=scale, column_variance=variance)

    # ---- the family -----------------------------------------------------------------------------------------

    def _monomials(self, n_features) -> Monomials:
        """Return T as products of columns in the frame."""
        shift, scale = self.frame(n_features)
        return Monomials(shift, 1 / scale, products_of(self.form, n_features))

    def kernel_form(self, n_features: int) -> KernelForm:
        monomials = self._monomials(n_features)
        if not self.tied or self.frames is not None or self.shift is None:
            return KernelForm(monomials)
        return KernelForm(monomials, n_common=n_features * (n_features + 1) // 2, share=self._share_common)

    def _share_common(self, counts, sums, totals):
        """Return N_k (V + m_k m_kᵀ), packed, with V the pooled covariance: what the tied model says they are."""
        i, j = packing.pairs(sums.shape[2])
        mean = sums / np.where(counts > 0, counts, 1.0)[:, :, None]
        outer = counts[:, :, None] * mean[:, :, i] * mean[:, :, j]
        pooled = (totals - outer.sum(axis=1)) / counts.sum(axis=1, keepdims=True)
        return counts[:, :, None] * pooled[:, None] + outer

    def sufficient_statistics(self, X: Block) -> Array:
        return self._monomials(X.shape[1]).evaluate(self._columns(X))

    def log_partition(self, natural: Array) -> Array:
        value = self.form.log_partition(natural)
        return value if self.frames is None else value + self._log_volumes(len(natural))

    def log_base_measure(self, X: Block) -> Array:
        scale = self.frame(X.shape[1])[1]
        return np.full(len(X), -0.5 * X.shape[1] * LOG_2PI - np.log(scale).sum())

    def expected_log_base_measure(self, natural: Array) -> Array:
        d = self.form.n_features(natural.shape[1])
        return np.full(len(natural), -0.5 * d * LOG_2PI - np.log(self.frame(d)[1]).sum())

    def to_expectation(self, natural: Array) -> Array:
        return self.form.expectation(*self.form.moments(natural))

    def to_natural(self, expectation: Array) -> Array:
        mean, covariance = self.form.central(expectation)
        return self.form.natural(mean, self._floored(covariance))

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        mean, covariance = self.form.central(sums / counts[:, None])
        if self.tied:
            pooled = np.tensordot(counts, covariance, 1) / counts.sum()
            covariance = np.broadcast_to(pooled, covariance.shape)
        if self.reg_covar:
            covariance = self._regularised(covariance, mean.shape[1])
        if self.constrained:
            before = previous if self.model.continues else None
            covariance = self._constrained(counts, covariance, mean.shape[1], before)
        return self.form.natural(mean, self._floored(covariance))

    def _constrained(self, counts, covariance, d, previous):
        """Return covariances that satisfy the model, found in units of x, which all components have in common."""
        frames = self._frames(len(covariance), d)[1]
        if "V" in self.model.name[:2]:  # no volume, or no shape, can be said of a covariance of 0
            covariance = self._floored(covariance)
        before = None if previous is None else self.form.moments(previous)[1]
        roots, before = (
            None if inside is None else self.form.times_root(frames, self.form.root(inside))
            for inside in (covariance, before)
        )
        found = self.form.divide(frames, self.model.nearest(counts, roots, before))
        return self.form.transform(self.form.unit(covariance), found)

    def _regularised(self, covariance, d):
        if self.frames is None:
            return self.form.add_diagonal(covariance, self.reg_covar / self.frame(d)[1] ** 2)
        roots = self._frames(len(covariance), d)[1]
        added = self.form.root_of_scale(np.full((len(covariance), d), np.sqrt(self.reg_covar)))
        step = self.form.divide(roots, added)
        return covariance + self.form.transform(self.form.unit(covariance), step)

    def _floored(self, covariance):
        # without a frame there is no scale that a variance could be small against
        if self.scale is None or self.variance_floor == 0:
            return covariance
        if self.frames is None:
            return self.form.floor(covariance, self.variance_floor)
        d = len(self.scale)
        roots, shared = self._frames(len(covariance), d)[1], self.with_frames(None)._frames(len(covariance), d)[1]
        in_shared = self.form.transform(covariance, self.form.divide(shared, roots))
        floored = self.form.floor(in_shared, self.variance_floor)
        if floored is in_shared:
            return covariance
        raised = (floored != in_shared).reshape(len(covariance), -1).any(axis=1)
        # through a factor: the covariance in the shared frame may have a condition of 1/floor
        factor = self.form.factor_above(in_shared[raised], self.variance_floor)
        back = self.form.times_root(self.form.divide(roots, shared)[raised], factor)
        result = np.array(covariance)
        result[raised] = self.form.transform(self.form.unit(covariance[raised]), back)
        return result

    def seed(self, expectation: Array, mean: Array) -> Array:
        """Return components at the rows, with the variances of the columns and no correlation."""
        rows, _ = self.form.central(expectation)
        pooled = self.form.uncorrelated(self.form.central(mean)[1])
        return self.form.expectation(rows, np.broadcast_to(pooled, (len(rows), *pooled.shape[1:])))

    def parameters(self, natural: Array) -> dict[str, Array]:
        means, covariances = self.to_moments(natural)
        return {"means": means, "covariances": covariances[0] if self.tied else covariances}

    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return the natural parameters of means (K, d) and covariances, in the frame that all components share.

        Covariances are (K, d, d), (K, d) or (K,), as the covariance type has them; tied types take the one matrix of
        all components, (d, d). Those of a constrained model must satisfy it to six digits.
        Where components have coordinates of their own, the result is in those that all of them share.
        """
        return self._from_named(given, "means", "covariances")

    def _from_named(self, given, mean_name, covariance_name):
        family = self.with_frames(None)
        known = {mean_name: named.FINITE, covariance_name: self._covariance_parameter()}
        arrays, used = named.read(self, given, known, ((mean_name, covariance_name),), sizes=self._known_sizes())
        means = used[mean_name]
        covariances = self._checked_covariances(covariance_name, used[covariance_name], len(means))
        with np.errstate(all="ignore"):
            natural = family.from_moments(means, covariances)
        return named.finished(family, natural, arrays, used)

    def _known_sizes(self) -> dict[str, int]:
        return {} if self.shift is None else {"column": len(self.shift)}

    def _covariance_parameter(self) -> named.Parameter:
        """Return what covariances have to be; that matrices are positive definite is seen later."""
        free = self.model.free
        if free == "full":
            return named.Parameter(axes=("column", "column"), shared=self.tied)
        return named.POSITIVE._replace(axes=("column",) if free == "diag" else ())

    def _checked_covariances(self, name, covariances, n_components):
        """Return covariances of each component, positive definite and as the model has them."""
        if self.tied:
            [one] = check_positive_definite(name, covariances[None], shared=True)
            return np.broadcast_to(one, (n_components, *one.shape))
        if covariances.ndim == 3:
            covariances = check_positive_definite(name, covariances)
        if self.constrained:
            self._check_model(name, covariances)
        return covariances

    def _check_model(self, name, covariances):
        """Raise a ValueError unless the covariances of the model that are nearest to these are the same."""
        form, roots = self.form, self.form.root(covariances)
        nearest = self.model.nearest(np.ones(len(roots)), roots, roots)
        difference = np.abs(covariances - form.transform(form.unit(covariances), nearest))
        # an entry is measured by the deviations of its columns; variances may have been raised to the floor
        deviations = np.sqrt(covariances if covariances.ndim < 3 else np.einsum("kii->ki", covariances))
        sizes = deviations**2 if covariances.ndim < 3 else deviations[:, :, None] * deviations[:, None, :]
        floor = 0.0 if self.scale is None else 2 * self.variance_floor * np.max(self.scale) ** 2
        off = difference - floor > named.AGREE * sizes
        if off.any() or not np.isfinite(difference).all():
            k = int(np.argmax(off.reshape(len(off), -1).any(axis=1)))
            worst = np.max(difference[k] / sizes[k])
            raise ValueError(
                f"{name} must be as the model {self.covariance_type} has them; that of component {k} differs from the "
                f"nearest one of the model by {worst:.3g} of its size"
            )

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        means, covariances = self.to_moments(natural[None])
        return means[0] + self.form.draw(covariances[0], rng.standard_normal((n, means.shape[1])))

    def check_support(self, X: Block) -> None:
        return None  # every finite row is possible

    def n_parameters(self, n_components: int) -> int | None:
        if not self.coupled:
            return None
        if self.shift is None:
            raise ValueError(f"{self!r} counts its parameters once its dimension is known: call bind first")
        d = len(self.shift)
        return n_components * d + self.model.n_parameters(n_components, d)

    # ---- parts of an observation ----------------------------------------------------------------------------

    def _part(self, columns):
        # what components have in common they need not have in common in some of the columns
        part = self.replace(covariance_type=self.model.free) if self.constrained else self
        if self.shift is None or self.scale is None:
            return part.with_frames(None)
        variance = None if self.column_variance is None else self.column_variance[columns]
        return part.replace(
            shift=self.shift[columns], scale=self.scale[columns], column_variance=variance, own_frames=None
        )  # fmt: skip

    def marginal(self, natural: Array, columns: Integers) -> tuple[Self, Array]:
        means, covariances = self.to_moments(natural)
        part = self._part(columns)
        return part, part.from_moments(means[:, columns], self.form.marginal(covariances, columns))

    def conditional(self, natural: Array, columns: Integers, values: Array) -> tuple[ExponentialFamily, Array]:
        means, covariances = self.to_moments(natural)
        rest = np.setdiff1d(np.arange(means.shape[1]), columns)
        part = self._part(rest)
        # only the covariances depend on the type, and those of x|y do not depend on y: a tied family stays tied
        return part, part.from_moments(*self.form.conditional(means, covariances, columns, rest, values))

    def __repr__(self) -> str:
        extra = [f"reg_covar={self.reg_covar:g}"] if self.reg_covar else []
        return f"Gaussian({', '.join([repr(self.covariance_type), *extra])})"


@dataclass(frozen=True)
class Moments:
    """Weight, weighted mean and weighted squared deviations from it of each column, for some rows."""

    total: float
    mean: np.ndarray
    scatter: np.ndarray

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
        return Moments(total, self.mean + step * (other.total / total), scatter)

    @property
    def variance(self) -> np.ndarray:
        """Weighted variance of each column."""
        return self.scatter / self.total


def _parts(X, sample_weight):
    """Return X, in float64 and row order, and the weights of a few rows at a time: two iterators."""
    step = max(1, PART_NUMBERS // X.shape[1])
    parts = [slice(first, first + step) for first in range(0, max(len(X), 1), step)]
    weights = (np.ones(len(X[part])) if sample_weight is None else sample_weight[part] for part in parts)
    # sums over columns are rounded otherwise in column order
    return (np.ascontiguousarray(X[part], np.float64) for part in parts), weights
