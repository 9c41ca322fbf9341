"""Jitted code: numba and NumPy only."""

from expfam_em.kernels.em import NO_OFFSET, block_rows, em_rows, padded
from expfam_em.kernels.few import em_few

__all__ = ["NO_OFFSET", "block_rows", "em_few", "em_rows", "padded"]
