"""Positive definite matrices."""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.families.gaussian.packing import pairs
from expfam_em.families.special import gamma
from expfam_em.families.special.linalg import SYMMETRY, check_positive_definite, cholesky, eigh, invert, solve_lower
from expfam_em.family import named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.centred import Centred
from expfam_em.family.support import require_rows
from expfam_em.rows.typing import Array, Block


class _Matrices(ExponentialFamily):
    """Positive definite matrices, by T and A themselves."""

    ranges = {"degrees_of_freedom": named.POSITIVE._replace(axes=()), "scales": named.MATRIX}

    def sufficient_statistics(self, X: Block) -> Array:
        matrices = _matrices(X)
        i, j = pairs(matrices.shape[1])
        return np.column_stack([_log_det(matrices), matrices[:, i, j]])

    def log_partition(self, natural: Array) -> Array:
        q = _order(natural.shape[1])
        half = _half(natural, q)
        # log |Σ⁻¹/2|
        log_det = invert(-_unpacked(natural, 0.5))[1]
        return gamma.log_multigamma(half, q) - half * log_det

    def log_base_measure(self, X: Block) -> Array:
        matrices = _matrices(X)
        return -0.5 * (matrices.shape[1] + 1) * _log_det(matrices)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return -0.5 * (_order(natural.shape[1]) + 1) * self.to_expectation(natural)[:, 0]

    def to_expectation(self, natural: Array) -> Array:
        q = _order(natural.shape[1])
        half = _half(natural, q)
        doubled, log_det = invert(-_unpacked(natural, 0.5))  # 2 Σ
        log_mean = q * np.log(half) - log_det  # log |E[X]|
        log_mean -= gamma.log_minus_multidigamma(half - (q - 1) / 2, q)
        i, j = pairs(q)
        return np.column_stack([log_mean, half[:, None] * doubled[:, i, j]])

    def to_natural(self, expectation: Array) -> Array:
        q = _order(expectation.shape[1])
        i, j = pairs(q)
        with np.errstate(all="ignore"):
            inverse, log_det = invert(_unpacked(expectation, 1.0))
            half = gamma.inverse_log_minus_multidigamma(log_det - expectation[:, 0], q) + (q - 1) / 2
            packed = -half[:, None] * inverse[:, i, j] * np.where(i == j, 1.0, 2.0)
            return np.column_stack([half, packed])

    def parameters(self, natural: Array) -> dict[str, Array]:
        scales = invert(-2 * _unpacked(natural, 0.5))[0]
        return {"degrees_of_freedom": 2 * natural[..., 0], "scales": scales}

    def from_parameters(self, **given: ArrayLike) -> Array:
        arrays, used = named.read(self, given, self.ranges, (tuple(self.ranges),))
        scales, freedom = check_positive_definite("scales", used["scales"]), used["degrees_of_freedom"]
        q = scales.shape[1]
        must_be = f"above {q - 1}, because scales is {q} × {q}"
        named.check_values("degrees_of_freedom", freedom, lambda nu: nu > q - 1, must_be, ("component",))
        i, j = pairs(q)
        packed = -0.5 * invert(scales)[0][:, i, j] * np.where(i == j, 1.0, 2.0)
        return named.finished(self, np.column_stack([freedom / 2, packed]), arrays, used)

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        """Draw L A Aᵀ Lᵀ, Σ = L Lᵀ, with A lower triangular and independent entries (Bartlett 1933).

        With degrees of freedom close to q − 1, some are so nearly singular that float64 makes them singular.
        """
        known = self.parameters(natural[None])
        scale, freedom = known["scales"][0], known["degrees_of_freedom"][0]
        q = len(scale)
        A = np.zeros((n, q, q))
        lower = np.tril_indices(q, -1)
        A[:, *lower] = rng.standard_normal((n, len(lower[0])))
        A[:, np.arange(q), np.arange(q)] = np.sqrt(rng.chisquare(freedom - np.arange(q), (n, q)))
        root = cholesky(scale[None])[0] @ A
        X = root @ np.swapaxes(root, 1, 2)
        return ((X + np.swapaxes(X, 1, 2)) / 2).reshape(n, q * q)

    def check_support(self, X: Block) -> None:
        matrices = _matrices(X)
        if not len(matrices):
            return
        with np.errstate(invalid="ignore"):
            apart = np.abs(matrices - np.swapaxes(matrices, 1, 2))
            fine = np.all(apart <= SYMMETRY * np.abs(matrices).max(axis=(1, 2), keepdims=True), axis=(1, 2))
        require_rows(fine, "Wishart needs symmetric matrices; that of row {row} is not")
        fine = np.isfinite(cholesky(matrices)).all(axis=(1, 2))
        require_rows(fine, "Wishart needs positive definite matrices; that of row {row} is not")


class Wishart(Centred, _Matrices):
    """Density of symmetric positive definite q × q matrices X, flattened to rows of q² columns.

    T(X) = (log |X|, x_ij for i ≤ j), A(η) = (ν/2) (q log 2 + log |Σ|) + log Γ_q(ν/2), h(X) = |X|^{−(q + 1)/2},
    η = (ν/2, −½ Σ⁻¹), off-diagonal entries of the latter twice, with ν > q − 1 degrees of freedom, and E[X] = ν Σ.
    The order q is told by the number of columns. The density is with respect to the entries x_ij, i ≤ j.
    """

    # about M = L Lᵀ, T̃ is log |I + U| − tr U for U = L⁻¹ (X − M) L⁻ᵀ, and the entries of X − M

    def spread(self, expectation: Array, place: Array) -> Array:
        return (_log_det(_matrices(place)) - expectation[:, 0])[:, None]

    def middle(self, expectation: Array) -> Array:
        return _unpacked(expectation, 1.0).reshape(len(expectation), -1)

    def recombination(self, origin: Array) -> Array:
        inverse = invert(_matrices(origin))[0]
        q = inverse.shape[1]
        i, j = pairs(q)
        out = np.tile(np.eye(1 + len(i)), (len(inverse), 1, 1))
        out[:, 0, 1:] = -inverse[:, i, j] * np.where(i == j, 1.0, 2.0)
        return out

    def statistics_about(self, X: Array, origin: Array) -> Array:
        step = _matrices(X - origin)
        i, j = pairs(step.shape[1])
        R = _roots(np.atleast_2d(origin))[1]
        return np.column_stack([_curved(R @ step @ np.swapaxes(R, 1, 2)), step[:, i, j]])

    def partition_about(self, natural: Array, origin: Array) -> Array:
        half, W = self._near(natural, origin)
        q = W.shape[1]
        below = np.arange(q) / 2
        # of each log Γ(a − i/2), what is left once a log a − a is taken from it
        lower = half[:, None] - below
        each = half[:, None] * gamma.log1p_less(-below / half[:, None]) - (below + 0.5) * np.log(lower)
        each += gamma.stirling_error(lower) + 0.5 * gamma.LOG_2PI
        value = q * (q - 1) / 4 * gamma.LOG_PI + each.sum(axis=1) - half * _curved(-W)
        return np.where(eigh(W)[0].max(axis=1) < 1, value, np.nan)

    def _near(self, natural: Array, origin: Array) -> tuple[Array, Array]:
        """Return a = ν/2, and W for which ½ Σ⁻¹ is a L⁻ᵀ (I − W) L⁻¹."""
        L = _roots(origin)[0]
        half = _half(natural, L.shape[1])
        return half, np.swapaxes(L, 1, 2) @ _unpacked(natural, 0.5) @ L / half[:, None, None]

    def expectation_about(self, natural: Array, origin: Array) -> Array:
        half, W = self._near(natural, origin)
        q, L = W.shape[1], _roots(origin)[0]
        V = np.linalg.solve(np.eye(q) - W, W)
        step, (i, j) = L @ ((V + np.swapaxes(V, 1, 2)) / 2) @ np.swapaxes(L, 1, 2), pairs(q)
        curved = _curved(V) - gamma.log_minus_multidigamma(half - (q - 1) / 2, q)
        return np.column_stack([curved, step[:, i, j]])

    def natural_about(self, expectation: Array, origin: Array) -> Array:
        R = _roots(origin)[1]
        q, transposed = R.shape[1], np.swapaxes(R, 1, 2)
        V = R @ _unpacked(expectation, 1.0) @ transposed
        of_mean, (i, j) = _curved(V), pairs(q)
        excess = gamma.above_rounding(of_mean - expectation[:, 0], of_mean, expectation[:, 0])
        half = gamma.inverse_log_minus_multidigamma(excess, q) + (q - 1) / 2
        W = np.linalg.solve(np.eye(q) + V, V)
        tilt = half[:, None, None] * (transposed @ ((W + np.swapaxes(W, 1, 2)) / 2) @ R)
        return np.column_stack([half, tilt[:, i, j] * np.where(i == j, 1.0, 2.0)])


def _roots(origin: Array) -> tuple[Array, Array]:
    """Return L with M = L Lᵀ, and L⁻¹, for origins M, (K, q²) -> (K, q, q)."""
    L = cholesky(_matrices(origin))
    return L, solve_lower(L, np.eye(L.shape[1]))


def _curved(U: Any) -> Array:
    """Return log |I + U| − tr U of symmetric matrices, (n, q, q) -> (n,)."""
    return gamma.log1p_less(eigh(U)[0]).sum(axis=1)


def _matrices(X: Block) -> np.ndarray:
    """Return rows as matrices, (n, q²) -> (n, q, q)."""
    X = np.asarray(X, np.float64)
    q = isqrt(X.shape[1])
    if q * q != X.shape[1]:
        raise ValueError(f"Wishart needs rows that are q × q matrices, of q² columns; {X.shape[1]} is no square")
    return X.reshape(len(X), q, q)


def _order(n_statistics: int) -> int:
    """Return q, given that p = 1 + q(q + 1)/2."""
    return round((np.sqrt(8 * n_statistics - 7) - 1) / 2)


def _half(natural: Array, q: int) -> Array:
    """Return ν/2, NaN outside the space."""
    half = np.asarray(natural, np.float64)[:, 0]
    return np.where(half > (q - 1) / 2, half, np.nan)


def _unpacked(packed: Array, off_diagonal: float) -> np.ndarray:
    """Return the symmetric matrices behind the first number, (K, p) -> (K, q, q)."""
    q = _order(packed.shape[-1])
    i, j = pairs(q)
    matrix = np.empty((*packed.shape[:-1], q, q))
    matrix[..., i, j] = matrix[..., j, i] = packed[..., 1:] * np.where(i == j, 1.0, off_diagonal)
    return matrix


def _log_det(matrices: Array) -> np.ndarray:
    """Return log |X|, NaN where it is not positive, (n, q, q) -> (n,)."""
    with np.errstate(all="ignore"):  # an absent row may hold anything
        sign, value = np.linalg.slogdet(matrices)
    return np.where(sign > 0, value, np.nan)
