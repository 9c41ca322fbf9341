"""Where runs of EM stand, as a value, and the step from one state to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from expfam_em.em.result import CollapsedError, Status
from expfam_em.em.steps import collapse, estimate_refined, expected_gain, expected_statistics, log_prior, with_family
from expfam_em.family.optional import score_rounding, shared, translate_expectation
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics


@dataclass(frozen=True)
class Problem:
    """What stays the same through all steps of a fit.

    Attributes
    ----------
    pass_ : Pass
        Of the family over the rows.
    data : (B,) int
        Data set of each run.
    schedule : list of float
        Temperature of each step, the last one staying.
    tol : float
    stop : {"bound", "parameters"}
        What ``tol`` refers to.
    prior : ExpectedStatistics, optional
        Of every run, a stack.
    m_step : dict
        ``concentration`` and ``weights`` of `maximize`.
    fill : callable, optional
        See `fit_all`.
    """

    pass_: Any
    data: np.ndarray
    schedule: list[float]
    tol: float = 0.0
    stop: str = "bound"
    prior: ExpectedStatistics | None = None
    m_step: dict = field(default_factory=dict)
    fill: Callable | None = None

    @classmethod
    def of(cls, pass_, data, schedule, prior=None, **rest) -> Problem:
        """Return a problem whose prior, given for one run or for each, says in which coordinates it is."""
        if prior is not None:
            prior = with_family(prior.repeated(len(data)) if prior.counts.ndim == 1 else prior, shared(pass_.family))
        return cls(pass_, data, schedule, prior=prior, **rest)

    def prior_of(self, run) -> ExpectedStatistics | None:
        """Return the prior of some runs."""
        return None if self.prior is None else self.prior[run]

    def accumulate(self, mixture, run, temperature) -> ExpectedStatistics:
        """Return the expected statistics of some runs: their E-step."""
        return expected_statistics(self.pass_, mixture, temperature, self.data[run])

    def log_prior(self, mixture, run) -> np.ndarray:
        """Return the log-prior of some runs, (L,)."""
        return log_prior(mixture, self.prior_of(run), self.m_step.get("concentration", 1.0))


class State(NamedTuple):
    """Where the runs stand that have not ended.

    Attributes
    ----------
    run : (L,) int
        Their places among all runs.
    mixture : Mixture
        A stack of theirs.
    statistics : ExpectedStatistics
        Under these mixtures, at this temperature.
    bounds, log_priors : (L,)
        Bound and log-prior of these mixtures.
    half_bounds : (L,)
        Bound after the last M-step, with the responsibilities of before; NaN at the start.
    gains : (L, 2)
        What the last two steps have gained, the last one first.
    best : (L,)
        Highest bound plus log-prior so far.
    done : (L,) bool
        Whether the last step reached ``tol``.
    temperature : float
    n_iter : int
        Steps made.
    """

    run: np.ndarray
    mixture: Mixture
    statistics: ExpectedStatistics
    bounds: np.ndarray
    log_priors: np.ndarray
    half_bounds: np.ndarray
    gains: np.ndarray
    best: np.ndarray
    done: np.ndarray
    temperature: float
    n_iter: int

    def take(self, which) -> State:
        """Return the state of some runs, by a mask or an index array."""
        if np.asarray(which).dtype == np.bool_ and which.all():
            return self
        kept: dict[str, Any] = {
            name: getattr(self, name)[which] for name in self._fields[:-2]
        }  # not the last two numbers
        return self._replace(**kept)


class Ended(NamedTuple):
    """A run that a step has ended: with an error, or with a bound that fell, at the last good parameters."""

    run: int
    error: CollapsedError | None = None
    mixture: Mixture | None = None
    status: Status = Status.BOUND_FELL
    fall: float = 0.0


def begin(problem: Problem, start: Mixture) -> State:
    """Return the state of runs that begin at a stack of mixtures: their first E-step."""
    run, mixture, temperature = np.arange(len(start.weights)), start.reframed(), problem.schedule[0]
    statistics = problem.accumulate(mixture, run, temperature)
    bounds, log_priors = _numbers(statistics, problem), problem.log_prior(mixture, run)
    unknown = np.full(len(run), np.nan)
    gains, done = np.full((len(run), 2), np.inf), np.zeros(len(run), bool)
    return State(
        run, mixture, statistics, bounds, log_priors, unknown, gains, bounds + log_priors, done, temperature, 0
    )  # fmt: skip


def step(problem: Problem, state: State) -> tuple[State, list[Ended]]:
    """Return the state after an M-step and an E-step of every run, and the runs that have ended otherwise than well."""
    was, run = state.temperature, state.run
    statistics, mixture = state.statistics, state.mixture
    if problem.fill is not None:
        statistics, mixture = problem.fill(statistics, mixture, was)
    filled = mixture is not state.mixture
    statistics, before, after = estimate_refined(
        statistics, mixture, lambda moved: problem.accumulate(moved, run, was), prior=problem.prior_of(run),
        **problem.m_step,
    )  # fmt: skip
    ended, kept = _collapsed(run, before, statistics, after)
    if not kept.all():
        state, run = state.take(kept), run[kept]
        if not len(run):
            return state, ended
        statistics, before, after = statistics[kept], before[kept], after[kept]
    half_bounds = statistics.bound + expected_gain(statistics, before, after)
    prior = problem.prior_of(run)
    near = statistics if prior is None else statistics + prior
    mixture = after.reframed(near.expectation)
    temperature = problem.schedule[min(state.n_iter + 1, len(problem.schedule) - 1)]
    statistics = problem.accumulate(mixture, run, temperature)
    bounds, log_priors = _numbers(statistics, problem), problem.log_prior(mixture, run)
    gain = bounds + log_priors - state.bounds - state.log_priors
    fell = _fallen(gain, temperature == was, near, before, after)
    ended += [Ended(int(run[at]), None, before[int(at)], fall=-gain[at]) for at in np.flatnonzero(fell)]
    settled = temperature == was and state.n_iter + 2 >= len(problem.schedule) and not filled
    done = _small(problem, run, gain, before, after) if settled else np.zeros(len(run), bool)
    moved = State(
        run, mixture, statistics, bounds, log_priors, half_bounds, np.stack([gain, state.gains[:, 0]], axis=1),
        np.maximum(state.best, bounds + log_priors), done, temperature, state.n_iter + 1,
    )  # fmt: skip
    return moved.take(~fell), ended


def _collapsed(run, before, statistics, after) -> tuple[list[Ended], np.ndarray]:
    """Return the runs in which a component has no finite parameters, and a mask of the other runs."""
    outside = ~np.isfinite(after.log_partition)
    lost = outside.any(axis=1)
    errors = (collapse(before.family, statistics[int(at)], outside[at]) for at in np.flatnonzero(lost))
    return [Ended(int(run[at]), error) for at, error in zip(np.flatnonzero(lost), errors, strict=True)], ~lost


def _fallen(gain, same_temperature, statistics, before, after) -> np.ndarray:
    """Return which bounds have fallen by more than rounding, though nothing but the parameters has changed, (L,)."""
    same_model = same_temperature & np.all((after.weights > 0) == (before.weights > 0), axis=1)
    fell = same_model & (gain < 0) & (not before.family.regularized)
    return fell & (gain < -_rounding(statistics, before)) if fell.any() else fell


def _small(problem, run, gain, before, after) -> np.ndarray:
    """Return which runs have changed by less than tol, (L,)."""
    if problem.stop == "bound":
        total = problem.pass_.rows.total_weights[problem.data[run]]
        return np.abs(gain) < problem.tol * total
    return _distance(before, after, shared(before.family)) <= problem.tol


def _distance(before, after, base) -> np.ndarray:
    """Return the norm of the change; ½ Σ Δπ² is Δπ₁² for two components, whose weights are one free parameter."""
    shape = (-1, after.natural.shape[2])
    old, new = (translate_expectation(m.family, m.expectation.reshape(shape), base) for m in (before, after))
    moved = np.sum((new - old).reshape(after.natural.shape) ** 2, axis=(1, 2))
    return np.sqrt(0.5 * np.sum((after.weights - before.weights) ** 2, axis=1) + moved)


def _numbers(statistics, problem) -> np.ndarray:
    """Return the bounds, −∞ for one that is not a number.

    Raises
    ------
    ValueError
        If none is.
    """
    bounds = np.asarray(statistics.bound)
    if np.isnan(bounds).all():
        raise ValueError(
            f"the bound is not a number: is a row outside the support of {shared(problem.pass_.family)!r} (it may "
            "define check_support), or is its log_partition or log_base_measure wrong?"
        )
    return np.where(np.isnan(bounds), -np.inf, bounds)


def _rounding(statistics, mixture) -> np.ndarray:
    """Return how far rounding may move the bound: the terms ⟨η, S⟩ cancel, and each carries its own error."""
    terms = np.abs(statistics.sums * mixture.natural).sum(axis=(-2, -1))
    terms += np.abs(statistics.exposures * mixture.log_partition).sum(axis=-1) + statistics.counts.sum(axis=-1)
    terms += statistics.counts.sum(axis=-1) * score_rounding(mixture.family)
    return 1e-10 * np.abs(statistics.bound) + 64 * np.finfo(float).eps * terms
