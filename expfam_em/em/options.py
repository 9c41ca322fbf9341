"""What a user chooses of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.estep.scores import check_temperature
from expfam_em.rows.threads import cached_property
from expfam_em.values.statistics import ExpectedStatistics

Weights = Literal["free", "equal", "fixed"]
Stop = Literal["maximum", "bound", "parameters"]
Acceleration = Literal["auto"] | None
Collapse = Literal["error", "keep", "drop", "repair"]


@dataclass(frozen=True, eq=False)
class Options:
    """How EM is run; `fit` explains each field.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    max_iter: int = 100
    tol: float = 1e-8
    temperature: float | Sequence[float] = 1.0
    prior: ExpectedStatistics | None = None
    concentration: ArrayLike = 1.0
    weights: Weights = "free"
    stop: Stop = "maximum"
    acceleration: Acceleration = None
    collapse: Collapse = "error"

    def __post_init__(self) -> None:
        if not (self.max_iter >= 0 and self.tol >= 0):
            raise ValueError(f"max_iter is {self.max_iter!r} and tol {self.tol!r}; neither may be negative")
        if self.prior is not None:
            check_prior(self.prior)
        if self.stop not in ("maximum", "bound", "parameters"):
            raise ValueError(f"stop is {self.stop!r}; it must be 'maximum', 'bound' or 'parameters'")
        if self.weights not in ("free", "equal", "fixed"):
            raise ValueError(f"weights is {self.weights!r}; it must be 'free', 'equal' or 'fixed'")
        if self.acceleration not in ("auto", None):
            raise ValueError(f"acceleration is {self.acceleration!r}; it must be 'auto' or None")
        if self.collapse not in ("error", "keep", "drop", "repair"):
            raise ValueError(f"collapse is {self.collapse!r}; it must be 'error', 'keep', 'drop' or 'repair'")
        if self.collapse == "drop" and not (self.weights == "free" and np.all(np.asarray(self.concentration) <= 1)):
            raise ValueError(
                f"collapse is 'drop', which makes a weight 0, but weights is {self.weights!r} and concentration "
                f"{self.concentration!r}: it needs weights='free' and a concentration of at most 1"
            )
        check_temperature(self.temperature)

    @cached_property
    def schedule(self) -> np.ndarray:
        """Temperature of each step, the last one staying, (m,)."""
        return np.array(self.temperature, np.float64, ndmin=1)

    def temperature_at(self, n_iter: int) -> float:
        """Return the temperature after so many steps."""
        return float(self.schedule[min(n_iter, len(self.schedule) - 1)])


def check_prior(prior: ExpectedStatistics) -> None:
    """Raise a ValueError unless a prior has finite sums, and finite counts of pseudo-observations that are ≥ 0."""
    if np.any(prior.exposures < 0):
        raise ValueError(f"prior has counts {prior.exposures}; pseudo-observations cannot be fewer than none")
    if not (np.isfinite(prior.exposures).all() and np.isfinite(prior.sums).all()):
        raise ValueError(f"prior has counts {prior.exposures} and sums {prior.sums}; they must be finite")
