"""Dirichlet densities about an origin m, shares that sum to 1: α = size · m + δ is large, its share close to m.

Shares are along the last axis, and g_j = log(x_j/m_j). Terms of the size of α have cancelled.
"""

import numpy as np

from expfam_em.families.special.gamma import LOG_2PI, above_rounding, log1p_less, log_minus_digamma, stirling_error

SHARE_STEPS = 40
"""Most steps of the inverse; each is shorter by the distance of the mean from the origin."""

SHARES_SOLVED = 1e-15
"""Relative change of Σα after which the next one is rounding."""

LARGE_TOTAL = 1e3
"""Σα from which this inverse is taken: rows that differ more have digits enough in T itself."""


def _parts(size, delta, m):
    """Return α, Σα and the share of α less m."""
    moved = delta.sum(axis=-1, keepdims=True)
    total = size * m.sum(axis=-1, keepdims=True) + moved
    return size * m + delta, total, (delta - m * moved) / total


def partition(size, delta, m):
    """Return log B(α) − Σ α_j log m_j, ∞ outside the space, (…, 1), (…, d), (…, d) -> (…)."""
    alpha, total, shift = _parts(size, delta, m)
    divergence = -np.sum(alpha * log1p_less(-shift * total / alpha), axis=-1)
    each = stirling_error(alpha) - 0.5 * np.log(alpha)
    total = total[..., 0]
    value = divergence + each.sum(axis=-1) + 0.5 * np.log(total) - stirling_error(total)
    return np.where((alpha > 0).all(axis=-1), value + 0.5 * (alpha.shape[-1] - 1) * LOG_2PI, np.inf)


def means(size, delta, m):
    """Return E[g], (…, d), and E[Σ m_j g_j], (…)."""
    alpha, total, shift = _parts(size, delta, m)
    each, whole = log_minus_digamma(alpha), log_minus_digamma(total)
    curved = np.sum(m * (log1p_less(shift / m) - each), axis=-1) + whole[..., 0]
    return np.log1p(shift / m) - each + whole, curved


def from_means(g, curved, m):
    """Return Σα, (…, 1), and z, (…, d), with α_j = Σα m_j e^{z_j}, of E[g] and E[Σ m_j g_j]; NaN if there are none."""
    z, curved = g, curved[..., None]
    total, spread = np.ones_like(curved), np.full_like(curved, (g.shape[-1] - 1) / 2)
    done = np.zeros(curved.shape, bool)
    for _ in range(SHARE_STEPS):
        of_mean = -np.sum(m * log1p_less(np.expm1(z)), axis=-1, keepdims=True)  # Σ m (e^z − 1 − z)
        new = total * (spread / above_rounding(-curved - of_mean, curved, of_mean))
        before, total = total, np.where(done, total, new)  # each ends where it would alone
        each, whole = log_minus_digamma(total * m * np.exp(z)), log_minus_digamma(total)
        spread, z = np.sum(m * each, axis=-1, keepdims=True) - whole, np.where(done, z, g + each - whole)
        done |= ~(np.abs(total - before) > SHARES_SOLVED * total)
        if done.all():
            break
    return total, z
