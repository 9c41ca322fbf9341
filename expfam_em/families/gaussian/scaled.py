"""t densities of which some columns are observed: these are t densities of as many degrees of freedom."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import digamma

from expfam_em.families.gaussian.missing import sums_of_observed
from expfam_em.family.missing import MissingByDensity, with_possible
from expfam_em.family.optional import sums_of
from expfam_em.rows.typing import Array, Block, Mask

LARGEST_DEGREES = 1e8
"""Stands for infinite degrees of freedom, the limit in which a t density is the normal one."""


class Scaled(MissingByDensity):
    """What `StudentT` says of some columns."""

    normal: Any
    _form: Any
    _log_density: Any

    def filling(self, n_features: int) -> Array | None:
        return self.normal.filling(n_features)

    def _observed_distances(self, X, natural, columns):
        """Return δ² of some columns of rows, (n, K), and roots of their scale matrices, both of x."""
        means, scales = self.normal.to_moments(natural[:, :-2])
        roots = self._form.root(self._form.given(self._form.marginal(scales, columns)))
        x = np.asarray(X, np.float64)[:, columns]
        places = zip(roots, means[:, columns], strict=True)
        return np.stack([np.sum(self._form.solve_rows(root, x - m) ** 2, axis=1) for root, m in places], axis=1), roots

    def observed_log_density(self, X: Block, natural: Array, present: Mask) -> Array:
        columns = np.flatnonzero(present)
        if not len(columns):
            return np.zeros((len(X), len(natural)))
        squares, roots = self._observed_distances(X, natural, columns)
        volumes = self._form.log_volume(roots, len(columns))
        return self._log_density(len(columns), squares, volumes, 2 * natural[:, -1])

    def observed_sums(self, X: Block, natural: Array, responsibilities: Array, present: Mask) -> Array:
        """Return Σ r E[T|x_o]: given x_o and u, what is missing is normal, of covariance Σ_{m|o}/u.

        E[u zzᵀ|x_o] is then E[u|x_o] times what it is for the normal density, but for Σ_{m|o}, which comes once.
        """
        columns, counts = np.flatnonzero(present), responsibilities.sum(axis=0)
        if not len(columns):
            return counts[:, None] * self.to_expectation(natural)
        K, of_normal = len(natural), natural[:, :-2]
        squares, _ = self._observed_distances(X, natural, columns)
        weighted, last = weighted_by_scales(responsibilities, squares, 2 * natural[:, -1], len(columns))
        total, found = weighted.sum(axis=0), self.normal.observed(of_normal)(np.arange(K)[None], present[None])
        sums = found.complete(total[None], sums_of_observed(found.family, X, weighted)[None])[0]
        centres = self.normal.to_moments(of_normal)[0]
        of_centres = sums_of_observed(found.family, with_possible(self, centres, natural, present), np.eye(K))[None]
        left = found.complete(np.ones((1, K)), of_centres)[0] - sums_of(self.normal, centres, np.eye(K))
        return np.column_stack([sums + (counts - total)[:, None] * left, total, last])

    knows_observed_limits = True

    def observed_edge_sums(self, X: Block, natural: Array, responsibilities: Array, present: Mask) -> Array:
        """Return Σ r δ² and Σ r δ⁴, with what a normal row would add to them in place of what is not observed.

        Where E[δ⁴] is then d (d + 2) the likelihood has no slope in 1/ν at the normal density.
        """
        columns, d, out = np.flatnonzero(present), len(present), np.zeros_like(natural)
        squares, g = np.zeros(responsibilities.shape), len(columns)
        if g:
            squares = self._observed_distances(X, natural, columns)[0]
        rest = d * (d + 2) - g * (g + 2)
        out[:, 0] = np.sum(responsibilities * (squares * (g + 2) + rest), axis=0) / (d + 2)
        out[:, 1] = np.sum(responsibilities * (squares**2 + rest), axis=0)
        return out


def weighted_by_scales(responsibilities: Array, squares: Array, degrees: Array, d: int) -> tuple[Array, Array]:
    """Return r E[u|x] of rows, (n, K), and Σ r E[log u − u + 1|x], (K,), given δ² of d columns, and ν."""
    in_limit = degrees >= LARGEST_DEGREES
    scale = np.where(in_limit, 1.0, (degrees + d) / (degrees + squares))
    log_scale = digamma((degrees + d) / 2) - np.log((degrees + np.where(in_limit, d, squares)) / 2)
    return responsibilities * scale, np.sum(responsibilities * (log_scale - scale + 1), axis=0)
