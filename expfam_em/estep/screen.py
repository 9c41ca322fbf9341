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

A component may have a frame of its own, w = W(z − s), in which its score has a precision Q; then P = WᵀQW and
m = s + W⁻¹Q⁻¹a. The terms of its score and of P add up to less with |W|² |Q| for |P|, and |m|² + |s|² for |m|².
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from expfam_em.family.kernel_form import Monomials
from expfam_em.rows.typing import Array, Integers

LESS = 1 - 2.0**-10
"""M is taken so much smaller than it might be that P − GᵀMG is positive definite."""
HOPELESS, HOPELESS_OWN = 0.15, 0.4
"""Share of components that matter, at a typical row, from which on bounds cost more than they save; in frames of their
own, scores cost more."""
TYPICAL = 32
"""Components at most of which typical rows are looked at, one by one."""


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
    def of(cls, monomials, scores, cut, own) -> Screen:
        """Return the bounds of all mixtures that promise something.

        ``own`` are the frames of single components, as the kernel takes them: places (B, K), shifts and whiteners.
        """
        B, K, _ = scores.natural.shape
        d = len(monomials.shift)
        m = min(K - 1, max(min(d // 2, 16), d // 3))
        i, j = np.triu_indices(m)
        pairs = np.column_stack([i, j, m + 1 + np.arange(len(i))])
        found = cls(
            cut, np.zeros((B, m + -m % 4, d)), np.zeros((B, K + -K % 4, m + 1 + len(i))), np.full((B, 2), np.inf), pairs
        )
        for b in range(B):
            place = own.frame[b]
            alone = bool(np.all(place >= 0))
            hopeless = HOPELESS_OWN if alone else HOPELESS
            try:
                with np.errstate(all="ignore"):
                    if alone and not _lie_apart(place, own, scores.offset[b], cut[b]):
                        continue
                    peaks = Peaks.of(monomials, scores.natural[b], scores.offset[b])
                    peaks = peaks.out_of(monomials, place, own.shift, own.whitener)
                    bounds = _bounds(peaks, scores.natural.shape[2], scores.offset[b], cut[b], m, hopeless)
            except np.linalg.LinAlgError:
                continue
            if bounds is not None:
                G, M, centre, peak, found.slack[b] = bounds
                linear = (M @ centre[:, :, None])[:, :, 0]
                found.projection[b, :m] = G
                found.coefficients[b, :K, :m] = linear
                found.coefficients[b, :K, m] = peak - 0.5 * np.sum(linear * centre, axis=1)
                found.coefficients[b, :K, m + 1 :] = -M[:, i, j] * np.where(i == j, 0.5, 1.0)
        return found


class Peaks(NamedTuple):
    """Scores of K components, peak − ½ (z − mean)ᵀ P (z − mean).

    Attributes
    ----------
    P : (K, d, d)
    mean : (K, d)
    peak : (K,)
    size, far : float
        What stands for max |P| and max |m|² where rounding is bounded.
    """

    P: Array
    mean: Array
    peak: Array
    size: float
    far: float

    @classmethod
    def of(cls, monomials: Monomials, natural: Array, offset: Array) -> Self:
        """Return them from natural parameters (K, p) and offsets (K,), in the coordinates that these have."""
        d, products = len(monomials.shift), monomials.products
        i, j = products[:, 0], products[:, 1]
        P = np.zeros((len(natural), d, d))
        P[:, i, j] = P[:, j, i] = -natural[:, d:]
        P[:, range(d), range(d)] *= 2
        mean = np.asarray(np.linalg.solve(P, natural[:, :d, None])[:, :, 0])
        peak = offset + 0.5 * np.sum(natural[:, :d] * mean, axis=1)
        return cls(P, mean, peak, np.sqrt(_squares(P).max()), np.sum(mean**2, axis=1).max())

    def out_of(self, monomials: Monomials, place: Integers, shift: Array, whitener: Array) -> Self:
        """Return them in the frame that all share, of components some of which are in frames of their own."""
        at = np.flatnonzero(place >= 0)
        if not len(at):
            return self
        W, s = whitener[place[at]], (shift[place[at]] - monomials.shift) * monomials.inverse_scale
        W = W / monomials.inverse_scale
        P, mean, Q = self.P.copy(), self.mean.copy(), self.P[at]
        P[at] = W.transpose(0, 2, 1) @ Q @ W
        mean[at] = s + np.linalg.solve(W, mean[at][:, :, None])[:, :, 0]
        size = max(self.size, np.max(_squares(W) * np.sqrt(_squares(Q))))
        far = max(np.sum(mean**2, axis=1).max(), np.sum(s**2, axis=1).max())
        return self._replace(P=P, mean=mean, size=size, far=2 * far)


def _squares(matrices: Array) -> Array:
    """Return the squared Frobenius norms of matrices (m, d, d), (m,)."""
    return np.asarray(np.sum(matrices**2, axis=(1, 2)))


def is_quadratic(monomials) -> bool:
    """Whether the statistics are z and all its products, one after another."""
    d, products = len(monomials.shift), monomials.products
    return len(products) == d * (d + 1) // 2 and np.array_equal(products[:, 2], d + np.arange(len(products)))


def _bounds(peaks: Peaks, p, offset, cut, m, hopeless):
    """Return G, M, Gm, peaks and the slack of a mixture of p statistics; None if they promise nothing.

    Raises
    ------
    LinAlgError
        If rounding has the last word on a precision.
    """
    P, mean, peak, size, far = peaks
    K, d = mean.shape
    root = np.linalg.cholesky(P.mean(axis=0))
    alike = (mean - mean.mean(axis=0)) @ root
    length = np.sum(alike**2, axis=1)
    square = np.maximum(length[:, None] + length - 2 * alike @ alike.T, 0.0)
    if not _promises(square, d, peak, d, cut, hopeless):  # not even if all had the same P, by all coordinates
        return None
    G = np.linalg.svd(alike, full_matrices=False)[2][:m] @ root.T
    M, centre = LESS * np.linalg.inv(G @ np.linalg.solve(P, G.T[None])), mean @ G.T
    some = _some(K)
    difference = centre[some] - centre[:, None]  # of component j from k, (k, j, m)
    if not _promises(np.sum(difference @ M * difference, axis=2).T, m, peak, d, cut, hopeless, some):
        return None
    np.linalg.cholesky(P - G.T @ M @ G)
    R = size + np.sqrt(_squares(M).max()) * np.sum(G**2)
    c = (d * d + p + 64) * 2.0**-48
    slack = c * R, c * (R * far + np.abs(peak).max() + np.abs(offset).max() + 64)
    return (G, M, centre, peak, slack) if slack[1] < 1 else None


def _lie_apart(place, own, offset, cut) -> bool:
    """Whether few components can matter, if each is the standard normal density in its own frame, as it nearly is."""
    shift, whitener = own.shift[place], own.whitener[place]
    d, some = shift.shape[1], _some(len(place))
    apart = (shift[some] - shift[:, None]) @ np.swapaxes(whitener, 1, 2)
    return _promises(np.sum(apart**2, axis=2).T, d, offset, d, cut, HOPELESS_OWN, some)


def _some(n_components) -> Integers:
    """Return the components at whose typical rows the others are looked at."""
    return np.arange(0, n_components, -(-n_components // TYPICAL))


def _promises(square, m, peak, d, cut, hopeless, some=slice(None)) -> bool:
    """Whether few components can matter to the rows of each component, half a standard deviation from typical ones.

    ``square``, (j, k), are squared distances of the mean of j as the bound of k sees them, by m coordinates; j are some
    of the components.
    """
    highest = peak - 0.5 * (square - np.sqrt(square) + m)
    lowest = peak[some] - 0.5 * (d + np.sqrt(0.5 * d))
    return bool(np.mean(highest >= lowest[:, None] + cut) < hopeless)
