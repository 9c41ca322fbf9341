"""How a fit ends, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from expfam_em.rows.typing import Array, Mask
from expfam_em.values.mixture import Mixture


class CollapsedError(ValueError):
    """A component has too few or too equal observations to have finite natural parameters.

    Attributes
    ----------
    before : Mixture, optional
        What the M-step started from.
    outside : (K,) bool, optional
        Which components have collapsed.
    """

    before: Mixture | None = None
    outside: Mask | None = None


class Status(Enum):
    """How a fit ended; the value is the sentence for the user."""

    CONVERGED = "What is left to gain, or the last change of the bound or the parameters, is less than tol."
    MAX_ITER = "max_iter steps were made without reaching tol: raise max_iter, or tol, or start elsewhere."
    BEHIND = "Another start was ahead, by more than this one seemed able to gain."
    GIVEN = "The parameters were set; no fit has been made."
    STREAM = "The rows came batch by batch, and each was seen once."
    STOPPED = "A callback ended the fit."
    INTERRUPTED = "Ctrl-C ended the fit after its last finished step."
    BOUND_FELL = (
        "The bound fell although an EM step cannot lower it: the mappings, log_partition and sufficient_statistics "
        "of the family contradict one another."
    )


@dataclass(frozen=True)
class FitResult:
    """What a fit returns.

    Attributes
    ----------
    mixture : Mixture
        The last parameters (the last good ones after BOUND_FELL).
    bounds : (n_iter + 1,)
        The bound at the start and after each step; ``bounds[-1]`` belongs to ``mixture``.
    half_bounds : (n_iter,)
        The bound after each M-step and before the next E-step, with the responsibilities still the old ones: between
        ``bounds[i]`` and ``bounds[i + 1]`` by Jensen's inequality, if the M-step maximises Q and nothing else. Cut to
        that range for families with limits of shapes, whose M-steps do more.
    log_priors : (n_iter + 1,)
        Log-prior at the same parameters; 0 without one. ``bounds + log_priors`` never falls at constant temperature.
    status : Status
        How the fit has ended.
    n_iter : int
        Steps made, each an E-step and an M-step.
    total_weight : float
        Σ of the row weights.
    fall : float
        By how much the bound fell; 0 unless the status is BOUND_FELL.
    notes : tuple of str
        What was done with components that collapsed on the way, as sentences.
    """

    mixture: Mixture
    bounds: Array
    half_bounds: Array
    log_priors: Array
    status: Status
    n_iter: int
    total_weight: float
    fall: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def bound(self) -> float:
        """The bound at the parameters returned."""
        return float(self.bounds[-1])

    @property
    def objective(self) -> float:
        """The bound plus the log-prior at the parameters returned: what a fit maximises."""
        return float(self.bounds[-1] + self.log_priors[-1])

    @property
    def ended_early(self) -> bool:
        """Whether somebody ended the fit: a callback, or Ctrl-C."""
        return self.status in (Status.STOPPED, Status.INTERRUPTED)

    @property
    def converged(self) -> bool:
        """Whether tol was reached."""
        return self.status is Status.CONVERGED
