"""Shares that sum to 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from expfam_em.families.special import draws, gamma, shares
from expfam_em.family import named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.centred import Centred
from expfam_em.family.support import require, require_rows
from expfam_em.rows.typing import Array, Block, Integers

SUM_TOLERANCE = 1e-6
"""How far the sum of a row may be from 1, which is more than shares in single precision are."""

LOG_RANGE = (-45.0, 45.0)
"""Where log Σα is looked for."""

TOTAL_STEPS, CLOSE_LOG_TOTAL = 100, 1e-3
"""Most steps for log Σα, and the step after which all α_j are close."""

ALPHA_STEPS, LAST_STEP = 12, 1e-9
"""Most steps for all α_j, and the relative length of one after which the next one is rounding."""


class _Shares(ExponentialFamily):
    """Shares, by T and A themselves."""

    ranges = {"alphas": named.POSITIVE}

    def sufficient_statistics(self, X: Block) -> Array:
        return _logarithms(X)

    def log_partition(self, natural: Array) -> Array:
        alpha = np.asarray(natural, np.float64)
        total, others = alpha.sum(axis=1), _others(alpha)
        # also where the share is close to 0
        log_share = np.where(alpha > others, -np.log1p(others / alpha), np.log(alpha / total[:, None]))
        # Stirling's formula for each, whose terms −α would cancel in the sum; log α is NaN outside the space
        each = alpha * log_share - 0.5 * np.log(alpha) + gamma.stirling_error(alpha)
        constant = 0.5 * (alpha.shape[1] - 1) * gamma.LOG_2PI
        return each.sum(axis=1) + 0.5 * np.log(total) - gamma.stirling_error(total) + constant

    def log_base_measure(self, X: Block) -> Array:
        return -_logarithms(X).sum(axis=1)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return -self.to_expectation(natural).sum(axis=1)

    def to_expectation(self, natural: Array) -> Array:
        alpha = np.where(np.asarray(natural) > 0, natural, np.nan)
        return -gamma.digamma_difference(alpha, _others(alpha))

    def to_natural(self, expectation: Array) -> Array:
        return _inverse(np.asarray(expectation, np.float64))

    def parameters(self, natural: Array) -> dict[str, Array]:
        return {"alphas": np.array(natural)}

    def from_parameters(self, **given: ArrayLike) -> Array:
        arrays, used = named.read(self, given, self.ranges, (("alphas",),), least=2)
        return named.finished(self, used["alphas"], arrays, used)

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        log_g = draws.log_gamma(natural, (n, len(natural)), rng)
        X = np.exp(log_g - log_g.max(axis=1, keepdims=True))
        return np.maximum(X / X.sum(axis=1, keepdims=True), draws.SMALLEST)

    def check_support(self, X: Block) -> None:
        X = np.asarray(X, np.float64)
        if X.shape[1] < 2:
            raise ValueError(f"Dirichlet needs rows of at least 2 columns, not {X.shape[1]}")
        with np.errstate(invalid="ignore"):
            require((X > 0) & (X < np.inf), X, "Dirichlet needs positive numbers")
        total, sentence = X.sum(axis=1), "Dirichlet needs rows that sum to 1; row {row} sums to {value}"
        require_rows(np.abs(total - 1) <= SUM_TOLERANCE, sentence, total)


class Dirichlet(Centred, _Shares):
    """Density of shares: T(x) = log x, A(η) = Σ log Γ(α_j) − log Γ(Σα), h(x) = Π 1/x_j, η = α > 0.

    Rows are positive and sum to 1; the density is with respect to all columns but one. Some columns of such rows are
    no shares of anything, so there are no marginals of this kind.
    """

    # with g_j = log(x_j/m_j), T̃ is Σ m_j g_j, divided by what the largest m_j leaves, and g of all the others

    def spread(self, expectation: Array, place: Array) -> Array:
        return -np.sum(place * (expectation - np.log(place)), axis=1, keepdims=True) / _rest(place)

    def middle(self, expectation: Array) -> Array:
        powers = np.exp(expectation - expectation.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def recombination(self, origin: Array) -> Array:
        K, d = origin.shape
        order = _largest_first(origin)
        out = np.zeros((K, d, d))
        out[np.arange(K)[:, None], np.arange(d), order] = 1.0
        out[:, 0] = origin / _rest(origin)
        return out

    def statistics_about(self, X: Array, origin: Array) -> Array:
        origin = np.broadcast_to(origin, X.shape)
        step = (X - origin) / origin
        T = np.take_along_axis(np.log1p(step), _largest_first(origin), axis=1)
        # of a row that sums to 1; what its sum misses is rounding
        T[:, :1] = np.sum(origin * gamma.log1p_less(step), axis=1, keepdims=True) / _rest(origin)
        return T

    def _near(self, natural: Array, origin: Array) -> tuple[Array, Array, Array]:
        """Return α as `shares` takes it."""
        delta = np.zeros_like(natural)
        np.put_along_axis(delta, _largest_first(origin)[:, 1:], natural[:, 1:], axis=1)
        return natural[:, :1] / _rest(origin), delta, origin

    def partition_about(self, natural: Array, origin: Array) -> Array:
        return shares.partition(*self._near(natural, origin))

    def expectation_about(self, natural: Array, origin: Array) -> Array:
        g, curved = shares.means(*self._near(natural, origin))
        out = np.take_along_axis(g, _largest_first(origin), axis=1)
        out[:, 0] = curved / _rest(origin)[:, 0]
        return out

    def natural_about(self, expectation: Array, origin: Array) -> Array:
        order, rest = _largest_first(origin), _rest(origin)
        g, m = np.zeros_like(expectation), np.take_along_axis(origin, order, axis=1)
        curved = expectation[:, 0] * rest[:, 0]
        of_largest = (curved - np.sum(m[:, 1:] * expectation[:, 1:], axis=1)) / m[:, 0]
        np.put_along_axis(g, order, np.column_stack([of_largest, expectation[:, 1:]]), axis=1)
        total, z = shares.from_means(g, curved, origin)
        z = np.take_along_axis(z, order, axis=1)
        size = total * np.exp(z[:, :1])
        out = np.column_stack([size * rest, size * m[:, 1:] * np.expm1(z[:, 1:] - z[:, :1])])
        wide = ~(total[:, 0] > shares.LARGE_TOTAL)
        if wide.any():  # rows that differ much have digits enough in T itself
            alpha = np.take_along_axis(_inverse(np.log(origin[wide]) + g[wide]), order[wide], axis=1)
            size = alpha[:, :1] / m[wide, :1]
            out[wide] = np.column_stack([size * rest[wide], alpha[:, 1:] - size * m[wide, 1:]])
        return out


def _logarithms(X: Block) -> Array:
    with np.errstate(all="ignore"):  # an absent row may hold anything
        return np.log(np.ascontiguousarray(X, np.float64))  # the last bit of NumPy's logarithm depends on strides


def _largest_first(origin: Array) -> Integers:
    """Return the numbers of the columns, (…, d), that of the largest share first and the others in order."""
    return np.argsort(-(origin == origin.max(axis=-1, keepdims=True)).astype(np.int8), axis=-1, kind="stable")


def _rest(origin: Array) -> Array:
    """Return what the largest share leaves, (…, 1)."""
    order = _largest_first(origin)
    return np.take_along_axis(origin, order[..., 1:], axis=-1).sum(axis=-1, keepdims=True)


def _others(alpha: Array) -> Array:
    """Return Σα − α_j, in which the largest does not drown the rest, (K, d)."""
    at = np.arange(len(alpha)), np.argmax(alpha, axis=1)
    rest = np.array(alpha)
    rest[at] = 0
    others = alpha.sum(axis=1, keepdims=True) - alpha
    others[at] = rest.sum(axis=1)
    return others


def _inverse(expectation: Array) -> Array:
    """Return the α with ψ(α_j) − ψ(Σα) = m_j; NaN where Σ e^{m_j} < 1 does not hold.

    Given Σα, each α_j is an inverse digamma (Minka 2000), so one number is looked for, by Newton's method between
    bounds. What is left are Newton's steps for all α_j at once.
    """
    with np.errstate(all="ignore"):
        # 1 − Σ e^m; only the largest e^m is close to 1
        at = np.arange(len(expectation)), np.argmax(expectation, axis=1)
        shares = np.exp(expectation)
        shares[at] = 0
        room = -np.expm1(expectation[at]) - shares.sum(axis=1)
        possible = np.isfinite(expectation).all(axis=1) & (room > 0)
        m = np.where(possible[:, None], expectation, -2 * np.log(expectation.shape[1] + 1))
        alpha = _by_total(m, np.where(possible, room, 0.5))
        done = np.zeros((len(m), 1), bool)  # a row ends where it would alone
        for _ in range(ALPHA_STEPS):
            step = _newton_step(m, alpha)
            alpha = np.where(done, alpha, np.where(step > -0.5 * alpha, alpha + step, alpha / 2))
            done |= np.all(np.abs(step) <= LAST_STEP * alpha, axis=1, keepdims=True)
            if done.all():
                break
        return np.where(possible[:, None], alpha, np.nan)


def _by_total(m: Array, room: Array) -> Array:
    """Return α, nearly, from the root of log Σ_j ψ⁻¹(m_j + ψ(t)) − log t as a function of log t."""
    d = m.shape[1]
    low, high = np.full(len(m), LOG_RANGE[0]), np.full(len(m), LOG_RANGE[1])
    # for large t, 1 − Σ e^m ≈ (d − 1)/(2t); for small t, m_j ≈ 1/t − 1/α_j
    at = np.clip(np.log((d - 1) / (2 * room)) - np.log1p(np.maximum(0, -m.max(axis=1))), *LOG_RANGE)
    done = np.zeros(len(m), bool)
    for _ in range(TOTAL_STEPS):
        total = np.exp(at)
        alpha = gamma.inverse_digamma(m + digamma(total)[:, None])
        share = alpha.sum(axis=1) / total
        low, high = np.where(share > 1, at, low), np.where(share > 1, high, at)
        # dα_j/dt = ψ′(t)/ψ′(α_j)
        slope = (gamma.trigamma(total)[:, None] / gamma.trigamma(alpha)).sum(axis=1) / share - 1
        step = -np.log(share) / slope
        inside = (at + step > low) & (at + step < high)
        following = np.where(done, at, np.where(inside, at + step, (low + high) / 2))
        moved, at = np.abs(following - at), following
        done |= moved < CLOSE_LOG_TOTAL
        if done.all():
            break
    return gamma.inverse_digamma(m + digamma(np.exp(at))[:, None])


def _newton_step(m: Array, alpha: Array) -> Array:
    """Return Newton's step for ⟨α, m⟩ − A(α): ∇²A = diag(q) − z, whose inverse is that of Sherman and Morrison."""
    others = _others(alpha)
    residual = m + gamma.digamma_difference(alpha, others)
    q, z = gamma.trigamma(alpha), gamma.trigamma(alpha.sum(axis=1))
    # 1/z − Σ 1/q = Σ_{j≠i} … − (z − q_i)/(z q_i), i the largest: the difference of the two is taken first
    at = np.arange(len(alpha)), np.argmax(alpha, axis=1)
    inverse = 1 / q
    rest = np.array(inverse)
    rest[at] = 0
    left = gamma.trigamma_difference(alpha[at], others[at]) / (z * q[at]) - rest.sum(axis=1)
    shift = (residual * inverse).sum(axis=1) / left
    return (residual + shift[:, None]) * inverse
