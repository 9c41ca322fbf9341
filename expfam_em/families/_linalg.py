"""Stacks of symmetric matrices, of which some may not be positive definite."""

import numpy as np


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


def invert(matrices) -> tuple[np.ndarray, np.ndarray]:
    """Inverses of symmetric positive definite matrices and the logarithms of their determinants."""
    factor = cholesky(matrices)
    identity = np.broadcast_to(np.eye(matrices.shape[-1]), matrices.shape)
    root = np.where(np.isnan(factor), np.nan, 0.0)
    fine = np.isfinite(factor).all(axis=(1, 2))
    if fine.any():
        root[fine] = np.linalg.solve(factor[fine], identity[fine])
    log_det = 2 * np.log(np.einsum("kii->ki", factor)).sum(axis=1)
    return np.einsum("kji,kjl->kil", root, root), log_det
