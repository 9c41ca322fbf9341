"""The driver: the loop of E-steps and M-steps. It knows iteration and no family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from expfam_em.em.steps import (
    CollapsedError,
    accumulate,
    check_concentration,
    collapse,
    estimate_refined,
    expected_gain,
    expected_statistics,
    log_prior,
    maximize,
    with_family,
)
from expfam_em.estep.plan import plan
from expfam_em.estep.reduce import check_support
from expfam_em.family.optional import score_rounding, shared, translate_expectation
from expfam_em.rows.memory import as_rows
from expfam_em.rows.threads import single_threaded_blas
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

__all__ = ["CollapsedError", "FitResult", "Status", "accumulate", "fit", "fit_all", "maximize"]


HEAD_START = 20
"""Steps before a run may be called behind others."""

PATIENCE = 1000.0
"""How much more than extrapolation says a run behind others is allowed to gain."""


class Status(Enum):
    """How a fit ended; the value is the sentence for the user."""

    CONVERGED = "The last step changed the bound, or the parameters, by less than tol."
    MAX_ITER = "max_iter steps were made without reaching tol: raise max_iter, or tol, or start elsewhere."
    BEHIND = "Another start was ahead, by more than this one seemed able to gain."
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
        ``bounds[i]`` and ``bounds[i + 1]`` by Jensen's inequality, if the M-step maximises Q and nothing else.
    log_priors : (n_iter + 1,)
        Log-prior at the same parameters; 0 without one. ``bounds + log_priors`` never falls at constant temperature.
    status : Status
    n_iter : int
        Steps made, each an E-step and an M-step.
    total_weight : float
        Σ of the row weights.
    fall : float
        By how much the bound fell; 0 unless the status is BOUND_FELL.
    """

    mixture: Mixture
    bounds: np.ndarray
    half_bounds: np.ndarray
    log_priors: np.ndarray
    status: Status
    n_iter: int
    total_weight: float
    fall: float = 0.0

    @property
    def bound(self) -> float:
        """The bound at the parameters returned."""
        return float(self.bounds[-1])

    @property
    def converged(self) -> bool:
        """Whether tol was reached."""
        return self.status is Status.CONVERGED


def fit(
    mixture: Mixture,
    X,
    sample_weight=None,
    *,
    max_iter: int = 100,
    tol: float = 1e-6,
    temperature: float | Sequence[float] = 1.0,
    prior: ExpectedStatistics | None = None,
    concentration=1.0,
    weights: str = "free",
    stop: str = "bound",
    n_jobs: int | None = None,
    callback: Callable[[int, Mixture, float], None] | None = None,
) -> FitResult:
    """Run EM from a mixture until it converges or max_iter steps are made.

    Parameters
    ----------
    mixture : Mixture
        Where to start; its family should be bound to the rows.
    X : (n, d) array, sparse matrix or rows
    sample_weight : (n,), optional
    max_iter : int ≥ 0
    tol : float ≥ 0
        For stop="bound": change of bound plus log-prior per unit of row weight; 0 makes exactly max_iter steps.
        For stop="parameters": Euclidean norm of the change of the weights and expectation parameters; 0 stops when
        nothing changes at all.
    temperature : float ≥ 0, or a sequence of them
        One per step, the last one staying; convergence is tested once it is reached.
    prior, concentration, weights
        See `maximize`.
    stop : {"bound", "parameters"}
    n_jobs : int, optional
        Threads; all cores if None. The result does not depend on it.
    callback : callable(step, mixture, bound), optional

    Returns
    -------
    FitResult

    Raises
    ------
    ValueError
        If a row is outside the family's support, a component collapses, an argument is out of range, or the bound is
        not a number.
    """
    rows = as_rows(X, sample_weight, n_jobs)
    if rows is not X:  # who hands over rows has checked them
        check_support(mixture.family, rows)
    pass_ = plan(mixture.family, rows, mixture.n_components)
    [result] = fit_all(
        Mixture(mixture.family, mixture.weights[None], mixture.natural[None]), pass_,
        max_iter=max_iter, tol=tol, temperature=temperature, prior=prior, concentration=concentration,
        weights=weights, stop=stop, callback=callback and (lambda _, *reported: callback(*reported)),
    )  # fmt: skip
    if isinstance(result, CollapsedError):
        raise result
    return result


def fit_all(
    start: Mixture,
    pass_,
    data=None,
    *,
    max_iter: int = 100,
    tol: float = 1e-6,
    temperature: float | Sequence[float] = 1.0,
    prior: ExpectedStatistics | None = None,
    concentration=1.0,
    weights: str = "free",
    stop: str = "bound",
    fill: Callable | None = None,
    drop: bool = False,
    callback: Callable[[int, int, Mixture, float], None] | None = None,
) -> list[FitResult | CollapsedError]:
    """Run EM from every mixture of a stack, in lock step.

    What a step costs apart from its arithmetic is then paid once for all of them.

    Parameters
    ----------
    start : Mixture
        A stack of B mixtures of a family bound to the rows.
    pass_ : Pass
        Of the family over the rows.
    data : (B,) int, optional
        Data set of each mixture, if the rows are several; the first by default.
    fill : callable (statistics, mixture, temperature) -> the same two, optional
        Moves components that have lost all their rows, before an M-step; what it returns is what it was given if
        nothing is moved.
    drop : bool
        Whether to leave runs that are behind others on the same data set.
    callback : callable(run, step, mixture, bound), optional
    max_iter, tol, temperature, prior, concentration, weights, stop
        See `fit`.

    Returns
    -------
    results : list of FitResult, or of the CollapsedError of a run that ended in one
    """
    schedule = _schedule(temperature)
    check_concentration(concentration, start.n_components)
    if not (max_iter >= 0 and tol >= 0):
        raise ValueError(f"max_iter is {max_iter!r} and tol {tol!r}; neither may be negative")
    if prior is not None and np.any(prior.exposures < 0):
        raise ValueError(f"prior has counts {prior.exposures}; pseudo-observations cannot be fewer than none")
    if stop not in ("bound", "parameters"):
        raise ValueError(f"stop is {stop!r}; it must be 'bound' or 'parameters'")
    if weights == "equal":
        start = Mixture(start.family, np.full(start.weights.shape, 1 / start.n_components), start.natural)
    data = np.zeros(len(start.weights), np.int64) if data is None else np.asarray(data)
    with single_threaded_blas():
        runs = _Runs(start, pass_, data, schedule, prior, fill, {"concentration": concentration, "weights": weights})
        for step in range(1, max_iter + 1):
            if not len(runs.live):
                break
            runs.step(step, tol, stop, callback)
            if drop and step >= len(schedule) + HEAD_START:
                runs.drop(step)
        return runs.finish()


class _Runs:
    """Mixtures on their way, in lock step.

    Attributes
    ----------
    live : (L,) int
        The runs that have not ended, by their place in the stack given.
    mixture : Mixture
        Stack of the live ones.
    statistics : ExpectedStatistics
        Theirs, under ``mixture``.
    bounds, priors : (L,)
        Bound and log-prior of ``mixture``.
    gains : (2, L)
        What the last two steps have gained, the last one first.
    best, lead : (L,), (D,)
        Highest bound plus log-prior so far of each run, and of any run on each data set.
    """

    def __init__(self, start, pass_, data, schedule, prior, fill, m_step):
        self.pass_, self.data, self.schedule, self.m_step, self.fill = pass_, data, schedule, m_step, fill
        self.base = shared(start.family)
        one_for_all = prior is not None and prior.counts.ndim == 1
        self.prior = with_family(prior.repeated(len(data)) if one_for_all else prior, self.base)
        self.total = pass_.rows.total_weights
        self.live = np.arange(len(start.weights))
        self.results: list = [None] * len(self.live)
        self.trace: list = []
        self.mixture, self.temperature = start.reframed(), schedule[0]
        self.statistics = self._accumulate(self.mixture)
        self.bounds, self.priors = self._checked_bounds(), self._log_prior(self.mixture)
        self.gains, self.best = np.full((2, len(self.live)), np.inf), self.bounds + self.priors
        self.lead = np.full(pass_.rows.n_data, -np.inf)
        self._record(np.full(len(self.live), np.nan))

    def step(self, step, tol, stop, callback):
        """Make one M-step and one E-step of every live run, and end those that are done."""
        was, found = self.temperature, self.mixture
        if self.fill is not None:
            self.statistics, self.mixture = self.fill(self.statistics, found, was)
        revived = self.mixture is not found
        after = self._maximize()
        if after is None:
            return
        before = self.mixture
        halves = self.statistics.bound + expected_gain(self.statistics, before, after)
        prior = self._prior()
        near = self.statistics if prior is None else self.statistics + prior
        self.mixture = after.reframed(near.expectation)
        self.temperature = self.schedule[min(step, len(self.schedule) - 1)]
        self.statistics = self._accumulate(self.mixture)
        bounds, priors = self._checked_bounds(), self._log_prior(self.mixture)
        gain = bounds + priors - self.bounds - self.priors
        same_model = (self.temperature == was) & np.all((after.weights > 0) == (before.weights > 0), axis=1)
        fell = same_model & (gain < 0) & (not before.family.regularized)
        if fell.any():
            fell &= gain < -_rounding(near, before)
        for at in np.flatnonzero(fell):
            self._end(at, before[int(at)], Status.BOUND_FELL, step - 1, -gain[at])
        self.bounds, self.priors, self.gains = bounds, priors, np.stack([gain, self.gains[0]])
        self.best = np.maximum(self.best, bounds + priors)
        np.maximum.at(self.lead, self.data[self.live], self.best)
        self._record(halves, where=~fell)
        if callback is not None:
            for at in np.flatnonzero(~fell):
                callback(int(self.live[at]), step, self.mixture[int(at)], float(bounds[at]))
        done = fell
        if self.temperature == was and step + 1 >= len(self.schedule) and not revived:
            total = self.total[self.data[self.live]]
            small = abs(gain) < tol * total if stop == "bound" else self._distance(before, after) <= tol
            for at in np.flatnonzero(small & ~fell):
                self._end(at, self.mixture[int(at)], Status.CONVERGED, step)
            done = fell | small
        self._keep(~done)

    def drop(self, step):
        """Leave the runs that cannot be expected to come up to the best one on the same data set.

        EM converges linearly: from gains g₁, g₂ the rest is about g₂/(1 − g₂/g₁) (Aitken). That is too little for a
        run that still crosses a plateau, so `PATIENCE` times as much is allowed.
        """
        if len(self.live) < 2:
            return
        gains, before = self.gains
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.clip(np.where(before > 0, gains / before, 0.0), 0.0, 0.98)
        reach = self.bounds + self.priors + PATIENCE * np.maximum(gains, 0.0) / (1 - rate)
        lead = self.lead[self.data[self.live]]
        behind = (reach < lead) & (self.best < lead)
        for at in np.flatnonzero(behind):
            self._end(at, self.mixture[int(at)], Status.BEHIND, step)
        self._keep(~behind)

    def finish(self) -> list:
        """End the runs that are still live and return the results of all."""
        steps = len(self.trace) - 1
        for at in range(len(self.live)):
            self._end(at, self.mixture[at], Status.MAX_ITER, steps)
        return self.results

    # ---- the parts of a step --------------------------------------------------------------------------------

    def _accumulate(self, mixture):
        data = self.data[self.live]
        return expected_statistics(self.pass_, mixture, self.temperature, data)

    def _maximize(self):
        """Return the stack after the M-step, without the runs that have collapsed."""
        self.statistics, self.mixture, after = estimate_refined(
            self.statistics, self.mixture, self._accumulate, prior=self._prior(), **self.m_step
        )  # fmt: skip
        outside = ~np.isfinite(after.log_partition)
        if (collapsed := outside.any(axis=1)).any():
            for at in np.flatnonzero(collapsed):
                error = collapse(self.mixture.family, self.statistics[int(at)], outside[at])
                self.results[self.live[at]] = error
            self._keep(~collapsed)
            after = after[~collapsed] if len(self.live) else None
        return after

    def _keep(self, which):
        if which.all():
            return
        self.live, self.bounds, self.priors = self.live[which], self.bounds[which], self.priors[which]
        self.gains, self.best = self.gains[:, which], self.best[which]
        if len(self.live):
            self.mixture, self.statistics = self.mixture[which], self.statistics[which]

    def _prior(self):
        """Return the prior of every live run."""
        return None if self.prior is None else self.prior[self.live]

    def _log_prior(self, mixture):
        return log_prior(mixture, self._prior(), self.m_step["concentration"])

    def _distance(self, before, after):
        """Return the norm of the change; ½ Σ Δπ² is Δπ₁² for two components, whose weights are one free parameter."""
        shape = (-1, after.natural.shape[2])
        old, new = (
            translate_expectation(m.family, m.expectation.reshape(shape), self.base) for m in (before, after)
        )  # fmt: skip
        moved = np.sum((new - old).reshape(after.natural.shape) ** 2, axis=(1, 2))
        return np.sqrt(0.5 * np.sum((after.weights - before.weights) ** 2, axis=1) + moved)

    def _checked_bounds(self):
        bounds = np.asarray(self.statistics.bound)
        if np.isnan(bounds).all():
            raise ValueError(
                f"the bound is not a number: is a row outside the support of {self.base!r} (it may define "
                "check_support), or is its log_partition or log_base_measure wrong?"
            )
        return np.where(np.isnan(bounds), -np.inf, bounds)

    # ---- what is kept of a run ------------------------------------------------------------------------------

    def _record(self, halves, where=slice(None)):
        row = np.full((3, len(self.results)), np.nan)
        row[:, self.live[where]] = self.bounds[where], halves[where], self.priors[where]
        self.trace.append(row)

    def _end(self, at, mixture, status, n_iter, fall=0.0):
        run = int(self.live[at])
        trace = np.array([row[:, run] for row in self.trace[: n_iter + 1]])
        self.results[run] = FitResult(
            mixture, trace[:, 0], trace[1:, 1], trace[:, 2], status, n_iter, float(self.total[self.data[run]]), fall
        )  # fmt: skip


def _schedule(temperature) -> list[float]:
    schedule = np.atleast_1d(np.asarray(temperature, np.float64)).tolist()
    if not schedule or np.ndim(schedule) != 1 or not all(value >= 0 and np.isfinite(value) for value in schedule):
        raise ValueError(f"temperature is {temperature!r}; it must be one or more finite numbers ≥ 0")
    return schedule


def _rounding(statistics, mixture):
    """Return how far rounding may move the bound: the terms ⟨η, S⟩ cancel, and each carries its own error."""
    terms = np.abs(statistics.sums * mixture.natural).sum(axis=(-2, -1))
    terms += np.abs(statistics.exposures * mixture.log_partition).sum(axis=-1) + statistics.counts.sum(axis=-1)
    terms += statistics.counts.sum(axis=-1) * score_rounding(mixture.family)
    return 1e-10 * np.abs(statistics.bound) + 64 * np.finfo(float).eps * terms
