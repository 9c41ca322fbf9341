"""Rows in files, in frames and in batches."""

from expfam_em.sources.dask import ClusterLostError, DaskRows
from expfam_em.sources.open import rows_from

__all__ = ["ClusterLostError", "DaskRows", "rows_from"]
