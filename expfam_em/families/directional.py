"""Directions: independent angles, and unit vectors."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from expfam_em.families.columns import CentredColumns
from expfam_em.families.special.bessel import (
    inverse_ratio,
    inverse_ratio_gap,
    log_bessel,
    ratio_gap,
    ratio_over_x,
)
from expfam_em.families.special.gamma import LOG_2PI, LOG_PI, above_rounding
from expfam_em.family import named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.centred import Centred
from expfam_em.family.kernel_form import KernelForm, Monomials
from expfam_em.family.optional import OfKnownWidth
from expfam_em.family.summaries import Width
from expfam_em.family.support import require_rows
from expfam_em.rows.csr import CSRBlock, row_sums
from expfam_em.rows.typing import Array, Block

LENGTH_TOLERANCE = 1e-6
"""How far the length of a row may be from 1."""


class VonMises(CentredColumns):
    """Product of von Mises columns: T(x) = (cos x, sin x), A(η) = Σ log(2π I₀(κ)), h(x) = 1, η = κ (cos μ, sin μ).

    x are angles in radians, any real number; κ = |η|.
    """

    needs = "finite angles"
    ranges = {"concentrations": named.FROM_0}

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return np.cos(x), np.sin(x)

    def log_partition_of(self, along: Array, across: Array) -> Array:
        return LOG_2PI + log_bessel(0.0, np.hypot(along, across))

    def expectation_of(self, along: Array, across: Array) -> tuple[Array, ...]:
        scale = ratio_over_x(0.0, np.hypot(along, across))
        return along * scale, across * scale

    def natural_of(self, cosine: Array, sine: Array) -> tuple[Array, ...]:
        # division by ρ/κ and not by ρ, which may be 0
        scale = ratio_over_x(0.0, inverse_ratio(0.0, np.hypot(cosine, sine)))
        return cosine / scale, sine / scale

    def middle_of(self, cosine: Array, sine: Array, /) -> Array:
        return np.arctan2(sine, cosine)

    def recombined(self, origin: Array) -> Any:
        return (np.cos(origin), np.sin(origin)), (-np.sin(origin), np.cos(origin))

    def statistics_near(self, x: Array, origin: Array) -> tuple[Array, Array]:
        turn = x - origin
        return -2 * np.sin(turn / 2) ** 2, np.sin(turn)

    def log_partition_near(self, origin: Array, along: Array, across: Array, /) -> Array:
        kappa = np.hypot(along, across)
        return LOG_2PI + log_bessel(0.0, kappa, scaled=True) + _beyond(kappa, along, across**2)

    def expectation_near(self, origin: Array, along: Array, across: Array, /) -> tuple[Array, Array]:
        kappa = np.hypot(along, across)
        scale = ratio_over_x(0.0, kappa)
        return -ratio_gap(0.0, kappa) - scale * _beyond(kappa, along, across**2), across * scale

    def natural_near(self, origin: Array, curved: Array, sine: Array, /) -> tuple[Array, Array]:
        gap = _gap(curved, sine**2)
        scale = inverse_ratio_gap(0.0, gap) / (1 - gap)
        return scale * (1 + curved), scale * sine

    def parameters_of(self, along: Array, across: Array) -> dict[str, Array]:
        return {"locations": np.arctan2(across, along), "concentrations": np.hypot(along, across)}

    def natural_from(self, locations: Array, concentrations: Array) -> tuple[Array, ...]:
        return concentrations * np.cos(locations), concentrations * np.sin(locations)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        known = self.parameters_of(*natural)
        return rng.vonmises(known["locations"], known["concentrations"], size)


class _Directions(ExponentialFamily):
    """Unit vectors, by T and A themselves."""

    sparse = "rows"
    concentration: float | None = None

    ranges = {
        "directions": named.Parameter(low=-1.0, high=1.0), "concentrations": named.FROM_0._replace(axes=()),
    }  # fmt: skip

    def sufficient_statistics(self, X: Block) -> Array:
        return np.asarray(X, np.float64)

    def kernel_form(self, n_features: int) -> KernelForm | None:
        return KernelForm(Monomials.identity(n_features))

    def log_partition(self, natural: Array) -> Array:
        d = natural.shape[1]
        return _log_area(d) + log_bessel(d / 2 - 1, _length(natural))

    def to_expectation(self, natural: Array) -> Array:
        return natural * ratio_over_x(natural.shape[1] / 2 - 1, _length(natural))[:, None]

    def to_natural(self, expectation: Array) -> Array:
        order = expectation.shape[1] / 2 - 1
        with np.errstate(all="ignore"):
            scale = ratio_over_x(order, inverse_ratio(order, _length(expectation)))
            return expectation / scale[:, None]

    def parameters(self, natural: Array) -> dict[str, Array]:
        length = _length(natural)
        return {
            "directions": natural / np.where(length > 0, length, 1.0)[..., None],
            "concentrations": length,
        }

    def from_parameters(self, **given: ArrayLike) -> Array:
        constant = self.concentration
        arrays, used = named.read(self, given, self.ranges, (tuple(self.ranges)[: 1 if constant else 2],), least=2)
        directions = used["directions"]
        concentrations = used["concentrations"] if constant is None else np.full(len(directions), constant)
        length = _length(directions)
        fine = (np.abs(length - 1) <= LENGTH_TOLERANCE) | ((length == 0) & (concentrations == 0))
        if not fine.all():
            k = int(np.argmin(fine))
            raise ValueError(f"directions has length {length[k]:.9g} for component {k}; its length must be 1")
        natural = directions * (concentrations / np.where(length > 0, length, 1.0))[:, None]
        return named.finished(self, natural, arrays, used)

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        """Draw by the rejection method of Wood (1994), about the first axis, and reflect that onto the direction."""
        d, kappa = len(natural), float(_length(natural))
        gap = _draw_gaps(kappa, d, n, rng)
        rows = np.empty((n, d))
        side = rng.standard_normal((n, d - 1))
        rows[:, 1:] = side / np.linalg.norm(side, axis=1, keepdims=True) * np.sqrt(gap * (2 - gap))[:, None]
        rows[:, 0] = 1 - gap
        if kappa > 0:
            # the reflection that takes −sign times the first axis to μ, whose normal is never short
            normal = natural / kappa
            sign = 1.0 if normal[0] >= 0 else -1.0
            normal[0] += sign
            rows[:, 0] *= -sign
            rows -= np.outer(rows @ normal, normal * (2 / (normal @ normal)))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def check_support(self, X: Block | CSRBlock) -> None:
        if X.shape[1] < 2:
            raise ValueError(f"VonMisesFisher needs rows of at least 2 columns, not {X.shape[1]}")
        sparse = isinstance(X, CSRBlock)
        length = np.sqrt(row_sums(X, np.square)) if sparse else _length(np.asarray(X, np.float64))
        sentence = "VonMisesFisher needs rows of length 1; row {row} has length {value}"
        require_rows(np.abs(length - 1) <= LENGTH_TOLERANCE, sentence, length)


class VonMisesFisher(Centred, OfKnownWidth, _Directions):
    """Density of unit vectors: T(x) = x, A(η) = log((2π)^{d/2} I_{d/2−1}(κ) / κ^{d/2−1}), h(x) = 1, η = κ μ.

    κ = |η|. At κ = 0 there is no direction; ``parameters`` then says 0. Rows may be sparse.

    Parameters
    ----------
    concentration : float > 0, optional
        κ, where it is known and the same for all components; by default it is estimated for each. Components then
        differ in their directions only. At temperature 0 and with equal weights this is spherical k-means: each row
        belongs to the component with the largest cosine, whatever κ is.

    Raises
    ------
    ValueError
        If the concentration is not positive and finite.
    """

    def __init__(self, concentration: float | None = None) -> None:
        if concentration is None:
            return
        if not 0 < concentration < np.inf:
            raise ValueError(f"concentration is {concentration!r}; it must be positive and finite, or None")
        self.concentration = float(concentration)

    @property
    def coupled(self) -> bool:
        return self.concentration is not None  # only the M-step keeps the length of η

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        found = self.to_natural(sums / counts[:, None])
        if self.concentration is None or previous is None:
            return found
        return np.where(np.isfinite(found), found, previous)

    def to_natural(self, expectation: Array) -> Array:
        if self.concentration is None:
            return super().to_natural(expectation)
        with np.errstate(all="ignore"):  # without a mean there is no direction
            return self._mapped(self._along, self._along_about, expectation)

    def _along(self, vectors: Array) -> Array:
        """Return vectors of the length κ in these directions."""
        return vectors * (self.concentration / _length(vectors))[:, None]

    def _along_about(self, expectation: Array, origin: Array) -> Array:
        return self._along(np.column_stack([1 + expectation[:, 0], expectation[:, 1:]]))

    def summary(self, X: Any, sample_weight: Array | None) -> Any:
        found = super().summary(X, sample_weight)
        return Width(X.shape[1]) if found is None and self.concentration is not None else found

    def bound(self, summary: Any) -> Self:
        if isinstance(summary, Width):  # of sparse rows
            return self.replace(n_features=summary.n_features)
        found = super().bound(summary)
        return found if self.concentration is None else found.replace(n_features=len(summary.sums))

    def n_parameters(self, n_components: int) -> int | None:  # type: ignore[override]
        return None if self.concentration is None else super().n_parameters(n_components)

    def _n_free(self, n_features: int) -> int:
        return n_features - 1

    def __repr__(self) -> str:
        return "VonMisesFisher()" if self.concentration is None else f"VonMisesFisher({self.concentration:g})"

    def spread(self, expectation: Array, place: Array) -> Array:
        return 1 - _length(expectation)[:, None]

    def middle(self, expectation: Array) -> Array:
        return expectation / _length(expectation)[:, None]

    def recombination(self, origin: Array) -> Array:
        every = np.repeat(np.eye(origin.shape[1])[None], len(origin), axis=0)
        return np.stack([_reflected(rows, x) for rows, x in zip(every, origin, strict=True)])

    def _recombine(self, values: Array, origin: Array, *, transposed: bool = False, inverse: bool = False) -> Array:
        return _reflected(values, origin)  # M is its own inverse, and symmetric

    def statistics_about(self, X: Array, origin: Array) -> Array:
        T = _reflected(X - origin, origin)
        square = np.sum(T[:, 1:] ** 2, axis=1)
        near = (T[:, 0] > -1) & (square < 1)
        # of a row of length 1; what its length misses is rounding
        T[:, 0] = np.where(near, -square / (1 + np.sqrt(np.maximum(1 - square, 0))), T[:, 0])
        return T

    def partition_about(self, natural: Array, origin: Array) -> Array:
        d, kappa, across = natural.shape[1], _length(natural), np.sum(natural[:, 1:] ** 2, axis=1)
        scaled = log_bessel(d / 2 - 1, kappa, scaled=True)
        return _log_area(d) + scaled + _beyond(kappa, natural[:, 0], across)

    def expectation_about(self, natural: Array, origin: Array) -> Array:
        order, kappa, across = natural.shape[1] / 2 - 1, _length(natural), np.sum(natural[:, 1:] ** 2, axis=1)
        scale = ratio_over_x(order, kappa)
        along = -ratio_gap(order, kappa) - scale * _beyond(kappa, natural[:, 0], across)
        return np.column_stack([along, natural[:, 1:] * scale[:, None]])

    def natural_about(self, expectation: Array, origin: Array) -> Array:
        gap = _gap(expectation[:, 0], np.sum(expectation[:, 1:] ** 2, axis=1))
        scale = inverse_ratio_gap(expectation.shape[1] / 2 - 1, gap) / (1 - gap)
        return scale[:, None] * np.column_stack([1 + expectation[:, 0], expectation[:, 1:]])


def _log_area(d: int) -> float:
    """Return the logarithm of the area of the unit sphere, A(0)."""
    return float(np.log(2.0) + d / 2 * LOG_PI - gammaln(d / 2))


def _reflected(rows: Array, origin: Array) -> Array:
    """Return rows (n, d) after the reflection, up to the sign, that takes an origin, (d,) or (n, d), to e₁."""
    normal = np.array(np.broadcast_to(origin, rows.shape))
    sign = np.where(normal[:, :1] >= 0, 1.0, -1.0)
    normal[:, :1] += sign
    share = np.sum(normal * rows, axis=1, keepdims=True) / np.sum(normal**2, axis=1, keepdims=True)
    return -sign * (rows - 2 * share * normal)


def _beyond(kappa: Array, along: Array, across: Array) -> Array:
    """Return κ − η₁, for across = κ² − η₁²."""
    return np.where(along > 0, across / (kappa + along), kappa - along)


def _gap(curved: Array, across: Array) -> Array:
    """Return 1 − |E[T]| for E[T] = (1 + curved, …), the rest with the square ``across``; NaN where it is rounding."""
    twice = 2 * curved + curved**2
    length = np.hypot(1 + curved, np.sqrt(across))
    return above_rounding(-(twice + across) / (1 + length), curved, across)


def _length(vectors: Array) -> np.ndarray:
    """Return lengths of vectors (..., d); their squares may be beyond the range of float64."""
    with np.errstate(all="ignore"):
        largest = np.abs(vectors).max(axis=-1)
        unit = np.where((largest > 1e-140) & (largest < 1e140), 1.0, np.where(largest > 0, largest, 1.0))
        return np.sqrt(np.sum((vectors / unit[..., None]) ** 2, axis=-1)) * unit


def _draw_gaps(kappa: float, d: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n values of 1 − ⟨μ, x⟩; Wood's algorithm in terms of this difference, which is small where κ is large."""
    m = d - 1
    b = m / (2 * kappa + np.hypot(2 * kappa, m))
    gap_0 = 2 * b / (1 + b)  # 1 − x₀
    gaps, have = np.empty(n), 0
    while have < n:
        z = rng.beta(m / 2, m / 2, n - have)
        gap = 2 * b * z / (1 - (1 - b) * z)
        # κ (w − x₀) + m log((1 − x₀ w)/(1 − x₀²)) ≥ log u
        excess = kappa * (gap_0 - gap) + m * np.log((gap_0 + gap - gap_0 * gap) / (gap_0 * (2 - gap_0)))
        kept = gap[excess >= np.log1p(-rng.random(len(z)))]
        gaps[have : have + len(kept)] = kept
        have += len(kept)
    return np.minimum(gaps, 2.0)
