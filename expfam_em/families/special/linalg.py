"""Stacks of symmetric matrices; some may not be positive definite."""

import numpy as np

from expfam_em.kernels import matrices as kernels

SYMMETRY = 1e-8
"""How far mirrored entries may be apart, relative to the largest of the matrix."""

SURELY_POSITIVE = 1e-10
"""Least eigenvalue, as a share of their sum, that no rounding of a Cholesky factor accounts for."""


def cholesky(matrices) -> np.ndarray:
    """Lower Cholesky factors, (K, d, d); NaN for a matrix that is not positive definite."""
    kernels.factors(found := np.array(matrices, np.float64, order="C"))
    return found


def are_above(matrices, floor) -> bool:
    """Whether all eigenvalues of C (K, d, d) or diagonals (K, d) are certain to be above a floor.

    The least one is at least |C| ((d − 1)/tr C)^(d − 1): the product of the others is at most that of their mean.
    """
    if matrices.ndim == 2:
        return bool(np.all(matrices > 2 * floor))
    return bool(kernels.all_above(np.ascontiguousarray(matrices), SURELY_POSITIVE, 2.0 * matrices.shape[-1] * floor))


def eigh(matrices) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (K, d), ascending, and eigenvectors (K, d, d); NaN for a matrix that is not finite."""
    fine = np.isfinite(matrices).all(axis=(1, 2))
    if fine.all():
        return np.linalg.eigh(matrices)
    values, vectors = np.full(matrices.shape[:2], np.nan), np.full(matrices.shape, np.nan)
    values[fine], vectors[fine] = np.linalg.eigh(matrices[fine])
    return values, vectors


def check_positive_definite(name, matrices, *, shared=False) -> np.ndarray:
    """Return matrices (K, d, d) made exactly symmetric; ``shared`` if they are one matrix for all components.

    Raises
    ------
    ValueError
        If one is not symmetric, up to rounding, or not positive definite.
    """
    matrices = np.asarray(matrices, np.float64)
    mirrored = np.swapaxes(matrices, 1, 2)
    apart = np.abs(matrices - mirrored) > SYMMETRY * np.abs(matrices).max(axis=(1, 2), keepdims=True)
    if apart.any():
        k, i, j = np.argwhere(apart)[0]
        where = "" if shared else f" of component {k}"
        raise ValueError(
            f"{name}{where} must be symmetric; its entries {i}, {j} and {j}, {i} are {matrices[k, i, j]!s} and "
            f"{matrices[k, j, i]!s}"
        )
    matrices = mirrored + (matrices - mirrored) / 2
    fine = np.isfinite(cholesky(matrices)).all(axis=(1, 2))
    if not fine.all():
        k = int(np.argmin(fine))
        where = "" if shared else f" of component {k}"
        least = np.linalg.eigvalsh(matrices[k])[0]
        raise ValueError(f"{name}{where} must be positive definite; its smallest eigenvalue is {least:.6g}")
    return matrices


def apply(matrices, vectors) -> np.ndarray:
    """M v of each, (K, d, d), (K, d) -> (K, d), with bits that do not depend on how arrays lie in memory."""
    return np.einsum("kij,kj->ki", np.ascontiguousarray(matrices), np.ascontiguousarray(vectors))


def solve_lower(factors, right) -> np.ndarray:
    """L⁻¹ B for lower triangular L (K, d, d) and B (K, d, m); NaN where an L is singular."""
    found = np.empty((len(factors), *right.shape[-2:]))
    found[:] = right
    kernels.substitutes(np.ascontiguousarray(factors), found)
    return found


def invert(matrices) -> tuple[np.ndarray, np.ndarray]:
    """Inverses of symmetric positive definite matrices and the logarithms of their determinants."""
    inverse, log_det = np.empty(matrices.shape), np.empty(len(matrices))
    kernels.inverses(np.array(matrices, np.float64, order="C"), inverse, log_det)
    return inverse, log_det
