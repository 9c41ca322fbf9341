"""Stacks of symmetric matrices; some may not be positive definite."""

import numpy as np
from scipy.linalg import lapack

BATCHED = 32
"""Size below which NumPy's general solver for stacks beats one call of LAPACK's triangular solver for each matrix."""

SYMMETRY = 1e-8
"""How far mirrored entries may be apart, relative to the largest of the matrix."""

SURELY_POSITIVE = 1e-10
"""Least eigenvalue, as a share of their sum, that no rounding of a Cholesky factor accounts for."""


def cholesky(matrices) -> np.ndarray:
    """Lower Cholesky factors, (K, d, d); NaN for a matrix that is not positive definite."""
    return _each(np.linalg.cholesky, matrices.shape, matrices)


def are_above(matrices, floor) -> bool:
    """Whether all eigenvalues of C (K, d, d) or diagonals (K, d) are certain to be above a floor.

    The least one is at least |C| ((d − 1)/tr C)^(d − 1): the product of the others is at most that of their mean.
    """
    if matrices.ndim == 2:
        return bool(np.all(matrices > 2 * floor))
    d, trace = matrices.shape[-1], np.einsum("kii->k", matrices)
    with np.errstate(all="ignore"):
        log_volume = 2 * np.log(np.einsum("kii->ki", cholesky(matrices))).sum(axis=1)  # NaN if it has no factor
        least = np.exp(log_volume - (d - 1) * np.log(trace / max(d - 1, 1)))
    return bool(np.all(least > SURELY_POSITIVE * trace + 2 * d * floor))


def _each(function, shape, *stacks) -> np.ndarray:
    """Return a function of stacks of matrices, of a shape; NaN for each matrix of which LAPACK finds no result."""
    try:
        return function(*stacks)
    except np.linalg.LinAlgError:
        n = shape[0]
        if n == 1:
            return np.full(shape, np.nan)
        # halves, because those that fail are few, or lie together
        halves = [slice(0, n // 2), slice(n // 2, n)]
        sizes = [n // 2, n - n // 2]
        return np.concatenate([
            _each(function, (size, *shape[1:]), *(stack[half] for stack in stacks))
            for half, size in zip(halves, sizes, strict=True)
        ])  # fmt: skip


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
    right = np.broadcast_to(right, (len(factors), *right.shape[-2:]))
    if factors.shape[-1] < BATCHED:
        return _each(np.linalg.solve, right.shape, factors, right)
    # the transposes are in the order of LAPACK, which leaves B as it is where L has a zero on its diagonal
    solved = [lapack.dtrtrs(L.T, B, lower=0, trans=1) for L, B in zip(factors, right, strict=True)]
    return np.stack([np.full(B.shape, np.nan) if info else B for B, info in solved])


def invert(matrices) -> tuple[np.ndarray, np.ndarray]:
    """Inverses of symmetric positive definite matrices and the logarithms of their determinants."""
    factor = cholesky(matrices)
    root = np.where(np.isnan(factor), np.nan, 0.0)
    fine = np.isfinite(factor).all(axis=(1, 2))
    if fine.any():
        root[fine] = solve_lower(factor[fine], np.eye(matrices.shape[-1]))
    log_det = 2 * np.log(np.einsum("kii->ki", factor)).sum(axis=1)
    return np.swapaxes(root, 1, 2) @ root, log_det
