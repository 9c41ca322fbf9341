"""Jitted code: numba and NumPy only."""

from expfam_em.kernels.em import NO_OFFSET, block_rows, em_rows, padded
from expfam_em.kernels.few import em_few
from expfam_em.kernels.load import rows_of
from expfam_em.kernels.rank import rank_block, rank_rows

__all__ = ["NO_OFFSET", "block_rows", "em_few", "em_rows", "padded", "rank_block", "rank_rows", "rows_of"]
