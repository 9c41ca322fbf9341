"""The driver: the loop of E-steps and M-steps. It knows iteration and no family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.em.result import CollapsedError, FitResult, Status
from expfam_em.em.state import Ended, Problem, State, begin, step
from expfam_em.em.steps import accumulate, check_concentration, maximize
from expfam_em.estep.plan import Pass, plan
from expfam_em.estep.reduce import check_support
from expfam_em.rows.memory import as_rows
from expfam_em.rows.protocol import Rows
from expfam_em.rows.threads import single_threaded_blas
from expfam_em.rows.typing import Mask, Observations
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

__all__ = ["CollapsedError", "FitResult", "Status", "accumulate", "fit", "fit_all", "maximize"]

HEAD_START = 20
"""Steps before a run may be called behind others."""

PATIENCE = 1000.0
"""How much more than extrapolation says a run behind others is allowed to gain."""


def fit(
    mixture: Mixture,
    X: Observations | Rows,
    sample_weight: ArrayLike | None = None,
    *,
    max_iter: int = 100,
    tol: float = 1e-6,
    temperature: float | Sequence[float] = 1.0,
    prior: ExpectedStatistics | None = None,
    concentration: ArrayLike = 1.0,
    weights: Literal["free", "equal", "fixed"] = "free",
    stop: Literal["bound", "parameters"] = "bound",
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
    pass_: Pass,
    data: ArrayLike | None = None,
    *,
    max_iter: int = 100,
    tol: float = 1e-6,
    temperature: float | Sequence[float] = 1.0,
    prior: ExpectedStatistics | None = None,
    concentration: ArrayLike = 1.0,
    weights: Literal["free", "equal", "fixed"] = "free",
    stop: Literal["bound", "parameters"] = "bound",
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
    _check_options(max_iter, tol, prior, stop)
    if weights == "equal":
        start = Mixture(start.family, np.full(start.weights.shape, 1 / start.n_components), start.natural)
    data = np.zeros(len(start.weights), np.int64) if data is None else np.asarray(data)
    problem = Problem.of(
        pass_, data, schedule, prior, tol=tol, stop=stop, fill=fill,
        m_step={"concentration": concentration, "weights": weights},
    )  # fmt: skip
    with single_threaded_blas():
        record = _Record(problem, len(start.weights))
        state = begin(problem, start)
        record.add(state)
        while len(state.run) and state.n_iter < max_iter:
            moved, ended = step(problem, state)
            record.end(ended, state.n_iter)
            record.add(moved)
            if callback is not None:
                for at in range(len(moved.run)):
                    callback(int(moved.run[at]), moved.n_iter, moved.mixture[at], float(moved.bounds[at]))
            state = record.ended(moved, moved.done, Status.CONVERGED)
            if drop and state.n_iter >= len(schedule) + HEAD_START:
                state = record.ended(state, record.behind(state), Status.BEHIND)
        record.ended(state, np.ones(len(state.run), bool), Status.MAX_ITER)
        return record.results


def _check_options(max_iter: int, tol: float, prior: ExpectedStatistics | None, stop: str) -> None:
    if not (max_iter >= 0 and tol >= 0):
        raise ValueError(f"max_iter is {max_iter!r} and tol {tol!r}; neither may be negative")
    if prior is not None and np.any(prior.exposures < 0):
        raise ValueError(f"prior has counts {prior.exposures}; pseudo-observations cannot be fewer than none")
    if stop not in ("bound", "parameters"):
        raise ValueError(f"stop is {stop!r}; it must be 'bound' or 'parameters'")


class _Record:
    """What is kept of the runs of a problem: their bounds at every step, the best so far, and how they ended."""

    def __init__(self, problem: Problem, n_runs: int) -> None:
        self.problem = problem
        self.results: list[Any] = [None] * n_runs
        self.trace: list[np.ndarray] = []
        self.lead = np.full(problem.pass_.rows.n_data, -np.inf)

    def add(self, state: State) -> None:
        """Keep the bounds of a state."""
        row = np.full((3, len(self.results)), np.nan)
        row[:, state.run] = state.bounds, state.half_bounds, state.log_priors
        self.trace.append(row)
        if state.n_iter:
            np.maximum.at(self.lead, self.problem.data[state.run], state.best)

    def end(self, ended: list[Ended], n_iter: int) -> None:
        """Keep how a step has ended some runs."""
        for one in ended:
            if one.error is not None:
                self.results[one.run] = one.error
            else:
                assert one.mixture is not None
                self.results[one.run] = self._result(one.run, one.mixture, one.status, n_iter, one.fall)

    def ended(self, state: State, which: Mask, status: Status) -> State:
        """Keep the results of some runs, a mask, and return the state of the others."""
        for at in np.flatnonzero(which):
            run = int(state.run[at])
            self.results[run] = self._result(run, state.mixture[int(at)], status, state.n_iter)
        return state.take(~which)

    def behind(self, state: State) -> np.ndarray:
        """Return the runs that cannot be expected to come up to the best one on the same data set, (L,) bool.

        EM converges linearly: from gains g₁, g₂ the rest is about g₂/(1 − g₂/g₁) (Aitken). That is too little for a
        run that still crosses a plateau, so `PATIENCE` times as much is allowed.
        """
        if len(state.run) < 2:
            return np.zeros(len(state.run), bool)
        gains, before = state.gains.T
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.clip(np.where(before > 0, gains / before, 0.0), 0.0, 0.98)
        reach = state.bounds + state.log_priors + PATIENCE * np.maximum(gains, 0.0) / (1 - rate)
        lead = self.lead[self.problem.data[state.run]]
        return (reach < lead) & (state.best < lead)

    def _result(self, run: int, mixture: Mixture, status: Status, n_iter: int, fall: float = 0.0) -> FitResult:
        trace = np.array([row[:, run] for row in self.trace[: n_iter + 1]])
        total = float(self.problem.pass_.rows.total_weights[self.problem.data[run]])
        return FitResult(mixture, trace[:, 0], trace[1:, 1], trace[:, 2], status, n_iter, total, fall)


def _schedule(temperature: float | Sequence[float]) -> list[float]:
    schedule = np.atleast_1d(np.asarray(temperature, np.float64)).tolist()
    if not schedule or np.ndim(schedule) != 1 or not all(value >= 0 and np.isfinite(value) for value in schedule):
        raise ValueError(f"temperature is {temperature!r}; it must be one or more finite numbers ≥ 0")
    return schedule
