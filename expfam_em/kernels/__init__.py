"""Jitted code: numba and NumPy only."""

from expfam_em.kernels.em import NO_OFFSET, block_rows, em_rows, padded

__all__ = ["NO_OFFSET", "block_rows", "em_rows", "padded"]
