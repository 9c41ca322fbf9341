"""Jitted code: numba and NumPy only."""

from expfam_em.kernels.em import block_rows, em_rows, padded

__all__ = ["block_rows", "em_rows", "padded"]
