"""Directions: independent angles, and unit vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from expfam_em.families.columns import IndependentColumns
from expfam_em.families.special.bessel import inverse_ratio, log_bessel, ratio_over_x
from expfam_em.families.special.gamma import LOG_2PI, LOG_PI
from expfam_em.family import named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.kernel_form import KernelForm, Monomials
from expfam_em.family.support import require_rows
from expfam_em.rows.typing import Array, Block

LENGTH_TOLERANCE = 1e-6
"""How far the length of a row may be from 1."""


class VonMises(IndependentColumns):
    """Product of von Mises columns: T(x) = (cos x, sin x), A(η) = Σ log(2π I₀(κ)), h(x) = 1, η = κ (cos μ, sin μ).

    x are angles in radians, any real number; κ = |η|.
    """

    order = 2
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

    def parameters_of(self, along: Array, across: Array) -> dict[str, Array]:
        return {"locations": np.arctan2(across, along), "concentrations": np.hypot(along, across)}

    def natural_from(self, locations: Array, concentrations: Array) -> tuple[Array, ...]:
        return concentrations * np.cos(locations), concentrations * np.sin(locations)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        known = self.parameters_of(*natural)
        return rng.vonmises(known["locations"], known["concentrations"], size)


class VonMisesFisher(ExponentialFamily):
    """Density of unit vectors: T(x) = x, A(η) = log((2π)^{d/2} I_{d/2−1}(κ) / κ^{d/2−1}), h(x) = 1, η = κ μ.

    κ = |η|. At κ = 0 there is no direction; ``parameters`` then says 0.
    """

    def sufficient_statistics(self, X: Block) -> Array:
        return np.asarray(X, np.float64)

    def kernel_form(self, n_features: int) -> KernelForm | None:
        return KernelForm(Monomials.identity(n_features))

    def log_partition(self, natural: Array) -> Array:
        d = natural.shape[1]
        log_area = np.log(2.0) + d / 2 * LOG_PI - gammaln(d / 2)  # of the sphere, A(0)
        return log_area + log_bessel(d / 2 - 1, _length(natural))

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
        known = {"directions": named.FINITE, "concentrations": named.FROM_0._replace(axes=())}
        arrays, used = named.read(self, given, known, (tuple(known),), least=2)
        directions, concentrations = used["directions"], used["concentrations"]
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

    def check_support(self, X: Block) -> None:
        X = np.asarray(X, np.float64)
        if X.shape[1] < 2:
            raise ValueError(f"VonMisesFisher needs rows of at least 2 columns, not {X.shape[1]}")
        length, sentence = _length(X), "VonMisesFisher needs rows of length 1; row {row} has length {value}"
        require_rows(np.abs(length - 1) <= LENGTH_TOLERANCE, sentence, length)


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
