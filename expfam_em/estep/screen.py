"""Bounds of scores that cost less than the scores: which components can matter to a row at all.

The score of a component is a quadratic function of z, offset + ⟨a, z⟩ − ½ zᵀPz, with its peak at m = P⁻¹a. Let y = Gz
be a few coordinates. Over all z with the same y the score is at most peak − ½ (y − Gm)ᵀ M (y − Gm) for any M with
P − GᵀMG ≥ 0; the largest such M is (G P⁻¹ Gᵀ)⁻¹. The rows of G are those directions in which the means differ most,
measured by the mean of all P, so that the bound sees most of the distance between a row and a mean.

Nothing is taken from the computed M and m but that P − GᵀMG has a Cholesky root, and that the residual a − Pm is what
rounding leaves. Let ε = 2⁻⁵³, c = d² + p + 64 and R = max |P| + max |M| |G|², in Frobenius norms. The rounding of a
score, of its bound, of the root and of the residual are sums of at most c terms each, whose absolute values add up to
less than 2R (|z|² + |m|²) + |peak| + |offset|. So all of them together are below

    slack = 2⁵ c ε (R (|z|² + max |m|²) + max |peak| + max |offset| + 2⁶),

where 2⁶ stands for the rounding of the cut, which is below 2⁶ itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LESS = 1 - 2.0**-10
"""M is taken so much smaller than it might be that P − GᵀMG is positive definite."""
HOPELESS = 0.15
"""Share of components that matter, at a typical row, from which on bounds cost more than they save."""
TYPICAL = 32
"""Components at most of which typical rows are looked at with the bounds themselves."""


class Screen(NamedTuple):
    """Bounds of the scores of a stack of mixtures, as `bound_scores` takes them.

    Attributes
    ----------
    cut : (B, K)
        How far above the largest score of a row, at temperature 1, one begins to count.
    projection : (B, m padded, d)
    coefficients : (B, K padded, q)
    slack : (B, 2)
        Infinite for a mixture without bounds.
    pairs : (q − m − 1, 3) int64
    """

    cut: np.ndarray
    projection: np.ndarray
    coefficients: np.ndarray
    slack: np.ndarray
    pairs: np.ndarray

    @classmethod
    def of(cls, monomials, scores, cut) -> Screen:
        """Return the bounds of all mixtures that promise something."""
        B, K, _ = scores.natural.shape
        d = len(monomials.shift)
        m = min(K - 1, max(min(d // 2, 16), d // 3))
        i, j = np.triu_indices(m)
        pairs = np.column_stack([i, j, m + 1 + np.arange(len(i))])
        found = cls(
            cut, np.zeros((B, m + -m % 4, d)), np.zeros((B, K + -K % 4, m + 1 + len(i))), np.full((B, 2), np.inf), pairs
        )
        for b in range(B):
            with np.errstate(all="ignore"):
                bounds = _bounds(monomials.products, scores.natural[b], scores.offset[b], cut[b], m)
            if bounds is not None:
                G, M, centre, peak, found.slack[b] = bounds
                linear = (M @ centre[:, :, None])[:, :, 0]
                found.projection[b, :m] = G
                found.coefficients[b, :K, :m] = linear
                found.coefficients[b, :K, m] = peak - 0.5 * np.sum(linear * centre, axis=1)
                found.coefficients[b, :K, m + 1 :] = -M[:, i, j] * np.where(i == j, 0.5, 1.0)
        return found


def is_quadratic(monomials) -> bool:
    """Whether the statistics are z and all its products, one after another."""
    d, products = len(monomials.shift), monomials.products
    return len(products) == d * (d + 1) // 2 and np.array_equal(products[:, 2], d + np.arange(len(products)))


def _bounds(products, natural, offset, cut, m):
    """Return G, M, Gm, peaks and the slack of a mixture; None if they promise nothing."""
    K, p = natural.shape
    d = p - len(products)
    P = np.zeros((K, d, d))
    i, j = products[:, 0], products[:, 1]
    P[:, i, j] = P[:, j, i] = -natural[:, d:]
    P[:, range(d), range(d)] *= 2
    try:
        mean = np.linalg.solve(P, natural[:, :d, None])[:, :, 0]
        peak = offset + 0.5 * np.sum(natural[:, :d] * mean, axis=1)
        root = np.linalg.cholesky(P.mean(axis=0))
        alike = (mean - mean.mean(axis=0)) @ root
        length = np.sum(alike**2, axis=1)
        square = np.maximum(length[:, None] + length - 2 * alike @ alike.T, 0.0)
        if not _promises(square, d, peak, d, cut):  # not even if all had the same P, by all coordinates
            return None
        G = np.linalg.svd(alike, full_matrices=False)[2][:m] @ root.T
        M, centre = LESS * np.linalg.inv(G @ np.linalg.solve(P, G.T)), mean @ G.T
        some = np.arange(0, K, -(-K // TYPICAL))
        difference = centre[some] - centre[:, None]  # of component j from k, (k, j, m)
        if not _promises(np.sum(difference @ M * difference, axis=2).T, m, peak, d, cut, some):
            return None
        np.linalg.cholesky(P - G.T @ M @ G)
    except np.linalg.LinAlgError:
        return None
    R = np.sqrt(np.sum(P**2, axis=(1, 2)).max()) + np.sqrt(np.sum(M**2, axis=(1, 2)).max()) * np.sum(G**2)
    c = (d * d + p + 64) * 2.0**-48
    slack = c * R, c * (R * np.sum(mean**2, axis=1).max() + np.abs(peak).max() + np.abs(offset).max() + 64)
    return (G, M, centre, peak, slack) if slack[1] < 1 else None


def _promises(square, m, peak, d, cut, some=slice(None)) -> bool:
    """Whether few components can matter to the rows of each component, half a standard deviation from typical ones.

    ``square``, (j, k), are squared distances of the mean of j as the bound of k sees them, by m coordinates; j are some
    of the components.
    """
    highest = peak - 0.5 * (square - np.sqrt(square) + m)
    lowest = peak[some] - 0.5 * (d + np.sqrt(0.5 * d))
    return bool(np.mean(highest >= lowest[:, None] + cut) < HOPELESS)
