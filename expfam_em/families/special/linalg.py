"""Stacks of symmetric matrices, of which some may not be positive definite."""

import numpy as np
from scipy.linalg import lapack

BATCHED = 32
"""Size below which NumPy's general solver for stacks beats one call of LAPACK's triangular solver for each matrix."""


def cholesky(matrices) -> np.ndarray:
    """Lower Cholesky factors, (K, d, d); NaN for a matrix that is not positive definite."""
    try:
        return np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        out = np.full(matrices.shape, np.nan)
        for k, matrix in enumerate(matrices):
            try:
                out[k] = np.linalg.cholesky(matrix)
            except np.linalg.LinAlgError:
                continue  # stays NaN
        return out


def solve_lower(factors, right) -> np.ndarray:
    """L⁻¹ B for lower triangular L (K, d, d) and B (K, d, m)."""
    right = np.broadcast_to(right, (len(factors), *right.shape[-2:]))
    if factors.shape[-1] < BATCHED:
        return np.linalg.solve(factors, right)
    # the transposes are in the order of LAPACK
    return np.stack([lapack.dtrtrs(L.T, B, lower=0, trans=1)[0] for L, B in zip(factors, right, strict=True)])


def invert(matrices) -> tuple[np.ndarray, np.ndarray]:
    """Inverses of symmetric positive definite matrices and the logarithms of their determinants."""
    factor = cholesky(matrices)
    root = np.where(np.isnan(factor), np.nan, 0.0)
    fine = np.isfinite(factor).all(axis=(1, 2))
    if fine.any():
        root[fine] = solve_lower(factor[fine], np.eye(matrices.shape[-1]))
    log_det = 2 * np.log(np.einsum("kii->ki", factor)).sum(axis=1)
    return np.swapaxes(root, 1, 2) @ root, log_det
