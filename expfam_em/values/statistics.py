"""Expected sufficient statistics: what an E-step returns, what an M-step needs, and what a prior is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.family.alike import alike
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.optional import Framed, components, stacked, translate_expectation
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array


@dataclass(frozen=True, eq=False)
class ExpectedStatistics:
    """Counts N_k = Σ r_nk, sums S_k = Σ r_nk T(x_n) and the bound; ``+`` adds two, ``*`` scales one.

    A conjugate prior is one of these too: ``counts`` ν_k pseudo-observations whose statistics sum to ``sums`` χ_k.

    Parameters
    ----------
    counts : (K,)
        N_k.
    sums : (K, p)
        S_k.
    bound : float
        Σ τ logsumexp(scores/τ) + Σ log h, the log-likelihood at temperature 1; 0 for a prior.
    exposures : (K,), optional
        Σ r_nk e(x_n); equal to the counts where every observation has exposure 1.
    family : ExponentialFamily, optional
        The family whose T was summed, in the coordinates in which it was evaluated. Without it the sums are taken to be
        in the coordinates of whoever uses them: those of x for the prior of an estimator, those shared by all
        components of a mixture for `maximize` and `fit`.

    The statistics of a stack of B mixtures have a leading axis: (B, K), (B, K, p), (B,).
    """

    counts: Array
    sums: Array
    bound: Any = 0.0
    exposures: Any = None  # an array once constructed
    family: ExponentialFamily | None = None

    if TYPE_CHECKING:  # any array-like is taken; the fields are arrays once constructed

        def __init__(
            self,
            counts: ArrayLike,
            sums: ArrayLike,
            bound: ArrayLike = 0.0,
            exposures: ArrayLike | None = None,
            family: ExponentialFamily | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
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
    def concatenate(cls, stacks: Iterable[ExpectedStatistics]) -> ExpectedStatistics:
        """Return stacks of statistics one after another as one stack."""
        stacks = list(stacks)
        parts = ((s.counts, s.sums, s.bound, s.exposures) for s in stacks)
        sizes = {s.counts.size for s in stacks}
        families = [s.family for s in stacks]
        family = None if any(f is None for f in families) or len(sizes) > 1 else stacked(families, sizes.pop())
        counts, sums, bound, exposures = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return cls(counts, sums, bound, exposures, family)

    def repeated(self, times: int) -> ExpectedStatistics:
        """Return a stack of the same statistics."""
        of = np.tile(np.arange(len(self.counts)), times)
        return ExpectedStatistics(
            np.tile(self.counts, (times, 1)), np.tile(self.sums, (times, 1, 1)), np.full(times, self.bound),
            np.tile(self.exposures, (times, 1)), None if self.family is None else components(self.family, of),
        )  # fmt: skip

    @property
    @undisturbed
    def expectation(self) -> Array:
        """S_k / Σ r e, the right-hand side of the M-step, (K, p); NaN for a component without observations."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.sums / self.exposures[..., None]

    def in_coordinates_of(self, family: ExponentialFamily) -> ExpectedStatistics:
        """Return the same statistics in the coordinates of a family, which is that of the sums up to coordinates.

        Raises
        ------
        ValueError
            If it is another family.
        """
        if self.family is family or self.family is None:
            return replace(self, family=family)
        if not alike(self.family, family):
            raise ValueError(f"statistics of {self.family!r} cannot be used for {family!r}, another family")
        present = np.where(self.exposures > 0, self.exposures, 1.0)[..., None]
        mean = (self.sums / present).reshape(-1, self.sums.shape[-1])
        moved = translate_expectation(self.family, mean, family).reshape(self.sums.shape)
        return replace(self, sums=moved * self.exposures[..., None], family=family)

    def __add__(self, other: ExpectedStatistics) -> ExpectedStatistics:
        if not isinstance(other, ExpectedStatistics):
            return NotImplemented
        if self.sums.shape != other.sums.shape:
            raise ValueError(f"cannot add sums of shape {other.sums.shape} to sums of shape {self.sums.shape}")
        known = self.family or other.family
        if isinstance(known, Framed) and (self.family is None or other.family is None):
            raise ValueError(
                "only one of two statistics says in which coordinates it is: give the other one its family, as in "
                "ExpectedStatistics(counts, sums, family=family)"
            )
        there = other if known is None else other.in_coordinates_of(known)
        return ExpectedStatistics(
            self.counts + there.counts, self.sums + there.sums, self.bound + there.bound,
            self.exposures + there.exposures, known,
        )  # fmt: skip

    def __mul__(self, factor: float) -> ExpectedStatistics:
        if not isinstance(factor, Real):
            return NotImplemented
        return ExpectedStatistics(
            self.counts * factor, self.sums * factor, self.bound * float(factor), self.exposures * factor, self.family
        )  # fmt: skip

    __rmul__ = __mul__

    def __getitem__(self, index: Any) -> ExpectedStatistics:
        """Return the statistics of some mixtures of a stack."""
        family = self.family
        if family is not None:
            of = np.arange(self.counts.size).reshape(self.counts.shape)[index]
            family = components(family, of.ravel())
        return ExpectedStatistics(
            self.counts[index], self.sums[index], np.asarray(self.bound)[index], self.exposures[index], family
        )  # fmt: skip
