"""What the kernel is given of a family, as data: statistics that are products of columns in a frame."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from expfam_em.family import checked

if TYPE_CHECKING:
    from expfam_em.family.base import ExponentialFamily


@functools.lru_cache(64)
def _n_statistics(d: int, products_bytes: bytes) -> int:
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
        Of the columns that the kernel is given.
    products : (q, 3) int64
        Rows (i, j, target): z_i z_j is added to statistic ``target``; targets ascend from d without gaps.
    """

    shift: np.ndarray
    inverse_scale: np.ndarray
    products: np.ndarray

    @classmethod
    def identity(cls, n_features: int) -> Monomials:
        """T(x) = x."""
        return cls(np.zeros(n_features), np.ones(n_features), np.empty((0, 3), np.int64))

    @property
    def n_statistics(self) -> int:
        """Number of statistics p; a ValueError if the list of products makes no sense."""
        return _n_statistics(len(self.shift), self.products.tobytes())

    def without(self, n_common: int) -> Monomials:
        """Return the list without the last statistics."""
        return self._replace(products=self.products[self.products[:, 2] < self.n_statistics - n_common])

    def evaluate(self, X: Any) -> np.ndarray:
        """T of the rows of X, (n, d) -> (n, p), as the kernel computes it in the shared frame."""
        Z = (np.asarray(X, np.float64) - self.shift) * self.inverse_scale
        d = Z.shape[1]
        out = np.zeros((len(Z), self.n_statistics))
        out[:, :d] = Z
        for i, j, target in self.products:
            out[:, target] += Z[:, i] * Z[:, j]
        return out


class KernelForm(NamedTuple):
    """How the kernel makes the statistics of a family by itself.

    Attributes
    ----------
    monomials : Monomials
        T as columns, shifted and scaled, followed by products of two of them.
    columns : callable, (n, d) -> (n, c), optional
        The columns that the monomials are made of, where they are not those of X.
    n_common : int
        Number of statistics, the last ones, whose natural parameters are the same for all components. They say nothing
        about responsibilities, so only their sum over all rows is needed, and once.
    share : callable (counts (B, K), sums (B, K, p − c), totals (B, c)) -> (B, K, c), optional
        Divides the totals of the common statistics among components, given their other sums. Only the sum over
        components matters to the M-step; each share should be an expectation that the component may have.
    """

    monomials: Monomials
    columns: Callable | None = None
    n_common: int = 0
    share: Callable | None = None

    @property
    def is_identity(self) -> bool:
        """Whether T(x) = x."""
        shift, inverse_scale, products = self.monomials
        plain = self.columns is None and not len(products)
        return plain and bool((shift == 0).all() and (inverse_scale == 1).all())


def form_of(family: ExponentialFamily, n_features: int) -> KernelForm | None:
    """Return what a family says of its kernel, once the kernel can trust it.

    Raises
    ------
    ValueError
        If it is no form for rows of so many columns.
    """
    form = checked.told(family, "kernel_form", n_features)
    if form is None:
        return None
    at = f"{type(family).__name__}.kernel_form"
    if not (isinstance(form, KernelForm) and isinstance(form.monomials, Monomials)):
        raise ValueError(
            f"{at} returned {form!r:.80}; it must return a KernelForm, or None to have T evaluated in NumPy"
        )
    shift, _, products = found = [np.asarray(value) for value in form.monomials]
    d = n_features if form.columns is None else shift.size
    wanted = [(d,), (d,), (len(products) if products.ndim else 0, 3)]
    kinds = [value.dtype.kind in ("iu" if value is products else "biuf") for value in found]
    if [value.shape for value in found] != wanted or not all(kinds):
        shapes = ", ".join(f"{value.shape} of {value.dtype}" for value in found)
        raise ValueError(
            f"{at} returned monomials with shift, inverse_scale and products of shapes {shapes}; for rows of "
            f"{n_features} columns they must be numbers of shapes ({d},), ({d},) and whole numbers of shape (q, 3)"
        )
    kinds_of = np.float64, np.float64, np.int64
    arrays = [np.ascontiguousarray(value, kind) for value, kind in zip(found, kinds_of, strict=True)]
    return form._replace(monomials=Monomials(*arrays))


def table(family: ExponentialFamily, form: KernelForm | None, X: Any) -> np.ndarray:
    """Return what the kernel takes instead of X, (n, c): columns, or T and, where there is an exposure e, −e."""
    if form is not None:
        if form.columns is None:
            return X
        columns = np.asarray(form.columns(X))
        if columns.shape != (wanted := (len(X), len(form.monomials.shift))):
            raise ValueError(
                f"columns of {type(family).__name__}.kernel_form returned shape {columns.shape}; it must be {wanted}"
            )
        return columns
    T, exposure = checked.statistics(family, X)
    return T if exposure is None else np.column_stack([T, -exposure])


def needs_table(form: KernelForm | None) -> bool:
    """Whether something of T has to be evaluated in NumPy before the kernel can begin."""
    return form is None or form.columns is not None
