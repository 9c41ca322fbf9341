"""Expected sufficient statistics: the value that threads, blocks and priors add up."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ExpectedStatistics:
    """Counts N_k = Σ r_nk, sums S_k = Σ r_nk T(x_n) and the bound; ``+`` adds two, ``*`` scales one.

    A conjugate prior is one of these too: ``counts`` ν_k pseudo-observations whose statistics sum to ``sums`` χ_k.

    Parameters
    ----------
    counts : (K,)
    sums : (K, p)
    bound : float
        Σ τ logsumexp(scores/τ) + Σ log h, the log-likelihood at temperature 1; 0 for a prior.
    exposures : (K,), optional
        Σ r_nk e(x_n); equal to the counts where every observation has exposure 1.

    The statistics of a stack of B mixtures have a leading axis: (B, K), (B, K, p), (B,).
    """

    counts: np.ndarray
    sums: np.ndarray
    bound: Any = 0.0
    exposures: Any = None  # an array once constructed

    def __post_init__(self):
        counts, sums = np.asarray(self.counts, np.float64), np.asarray(self.sums, np.float64)
        exposures = counts if self.exposures is None else np.asarray(self.exposures, np.float64)
        if counts.ndim not in (1, 2) or sums.shape[:-1] != counts.shape or exposures.shape != counts.shape:
            raise ValueError(
                f"counts have shape {counts.shape}, sums {sums.shape}, exposures {exposures.shape}: "
                "they must be (K,), (K, p) and (K,)"
            )
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "sums", sums)
        object.__setattr__(self, "exposures", exposures)

    @classmethod
    def concatenate(cls, stacks) -> ExpectedStatistics:
        """Return stacks of statistics one after another as one stack."""
        parts = ((s.counts, s.sums, s.bound, s.exposures) for s in stacks)
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def repeated(self, times) -> ExpectedStatistics:
        """Return a stack of the same statistics."""
        bound = np.full(times, self.bound)
        return ExpectedStatistics(
            np.tile(self.counts, (times, 1)), np.tile(self.sums, (times, 1, 1)), bound,
            np.tile(self.exposures, (times, 1)),
        )  # fmt: skip

    @property
    def expectation(self) -> np.ndarray:
        """S_k / Σ r e, the right-hand side of the M-step, (K, p); NaN for a component without observations."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.sums / self.exposures[..., None]

    def __add__(self, other: ExpectedStatistics) -> ExpectedStatistics:
        if not isinstance(other, ExpectedStatistics):
            return NotImplemented
        if self.sums.shape != other.sums.shape:
            raise ValueError(f"cannot add sums of shape {other.sums.shape} to sums of shape {self.sums.shape}")
        return ExpectedStatistics(
            self.counts + other.counts,
            self.sums + other.sums,
            self.bound + other.bound,
            self.exposures + other.exposures,
        )

    def __mul__(self, factor) -> ExpectedStatistics:
        if not isinstance(factor, Real):
            return NotImplemented
        return ExpectedStatistics(
            self.counts * factor, self.sums * factor, self.bound * float(factor), self.exposures * factor
        )  # fmt: skip

    __rmul__ = __mul__

    def __getitem__(self, index) -> ExpectedStatistics:
        """Return the statistics of some mixtures of a stack."""
        return ExpectedStatistics(
            self.counts[index], self.sums[index], np.asarray(self.bound)[index], self.exposures[index]
        )  # fmt: skip
