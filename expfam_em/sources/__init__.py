"""Rows in files, in frames and in batches."""

from expfam_em.sources.open import rows_from

__all__ = ["rows_from"]
