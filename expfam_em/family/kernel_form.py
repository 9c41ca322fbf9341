"""Statistics that the kernel can make itself, as data: products of columns in a frame."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np


@functools.lru_cache(64)
def _n_statistics(d, products_bytes) -> int:
    """Check a list of products, once, and return the number of statistics."""
    products = np.frombuffer(products_bytes, np.int64).reshape(-1, 3)
    if not len(products):
        return d
    columns, targets = products[:, :2], products[:, 2]
    steps = np.diff(targets)
    ascending = targets[0] == d and np.all((steps == 0) | (steps == 1))
    if columns.min() < 0 or columns.max() >= d or not ascending:
        raise ValueError(
            f"Monomials have products {products.tolist()}; they must multiply columns below {d}, into targets "
            f"that ascend from {d} without gaps, for the first {d} statistics are the columns themselves"
        )
    return 1 + int(targets[-1])


class OwnFrames(NamedTuple):
    """Coordinates z = whitener (x − shift) of single components, for those that the shared frame does not suit.

    Attributes
    ----------
    frame : (K,) int64
        Row of ``shift`` and ``whitener`` that belongs to each component; −1 is the shared frame.
    shift : (F, d)
    whitener : (F, d, d) lower triangular, or (F, 1, d), the diagonals of diagonal ones
    """

    frame: np.ndarray
    shift: np.ndarray
    whitener: np.ndarray


class Monomials(NamedTuple):
    """A T that the kernel can build itself: z = (x − shift) · inverse_scale, then sums of products of columns of z.

    Attributes
    ----------
    shift, inverse_scale : (d,) float64
    products : (q, 3) int64
        Rows (i, j, target): z_i z_j is added to statistic ``target``; targets ascend from d without gaps.
    own : OwnFrames, optional
        Components whose statistics are made of other z.
    """

    shift: np.ndarray
    inverse_scale: np.ndarray
    products: np.ndarray
    own: OwnFrames | None = None

    @classmethod
    def identity(cls, n_features: int) -> Monomials:
        """T(x) = x."""
        return cls(np.zeros(n_features), np.ones(n_features), np.empty((0, 3), np.int64))

    @property
    def n_statistics(self) -> int:
        """Number of statistics p; a ValueError if the list of products makes no sense."""
        return _n_statistics(len(self.shift), self.products.tobytes())

    def without(self, n_common) -> Monomials:
        """Return the list without the last statistics."""
        return self._replace(products=self.products[self.products[:, 2] < self.n_statistics - n_common])

    def evaluate(self, X) -> np.ndarray:
        """T of the rows of X, (n, d) -> (n, p), as the kernel computes it in the shared frame."""
        Z = (np.asarray(X, np.float64) - self.shift) * self.inverse_scale
        d = Z.shape[1]
        out = np.zeros((len(Z), self.n_statistics))
        out[:, :d] = Z
        for i, j, target in self.products:
            out[:, target] += Z[:, i] * Z[:, j]
        return out
