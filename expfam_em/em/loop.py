"""The driver: the loop of E-steps and M-steps. It knows iteration and no family."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.em.belonging import belonging
from expfam_em.em.collapse import mend
from expfam_em.em.edges import step_to_edges
from expfam_em.em.keeping import EVERY, followed, has_ended, keeping
from expfam_em.em.options import Acceleration, Collapse, Options, Stop, Weights
from expfam_em.em.quasi_newton import quasi_newton_step
from expfam_em.em.result import CollapsedError, FitResult, Status
from expfam_em.em.state import Problem, State, em_step, end, end_fallen, recorded
from expfam_em.em.steps import accumulate, maximize, with_missing
from expfam_em.em.watching import Callback, Fitting, asks_to_stop, checked_callbacks, watched
from expfam_em.estep.plan import Pass, plan
from expfam_em.estep.reduce import check_support
from expfam_em.rows.memory import as_rows, count
from expfam_em.rows.protocol import Rows
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Integers, Observations
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

__all__ = ["CollapsedError", "FitResult", "Options", "Status", "accumulate", "fit", "fit_all", "maximize", "run"]

Step = Callable[[Problem, State], State]

HEAD_START = 20
"""Steps before a run may be called behind others."""

MORE_GAIN = 1000.0
"""How many times the gain that extrapolation predicts a run behind others is allowed."""


@undisturbed
def fit(
    mixture: Mixture,
    X: Observations | Rows,
    sample_weight: ArrayLike | None = None,
    *,
    max_iter: int = 100,
    tol: float = 1e-8,
    temperature: float | Sequence[float] = 1.0,
    prior: ExpectedStatistics | None = None,
    concentration: ArrayLike = 1.0,
    weights: Weights = "free",
    stop: Stop = "maximum",
    acceleration: Acceleration = None,
    collapse: Collapse = "error",
    n_jobs: int | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = EVERY,
) -> FitResult:
    """Run EM from a mixture until it converges or max_iter steps are made.

    Parameters
    ----------
    mixture : Mixture
        Where to start; its family should be bound to the rows.
    X : (n, d) array, sparse matrix or rows
        Rows.
    sample_weight : (n,), optional
        Row weights, 1 by default.
    max_iter : int ≥ 0
        Most steps of EM of a start.
    tol : float ≥ 0
        For stop="maximum": what is left to gain of bound plus log-prior, per unit of row weight. For stop="bound": its
        change in the last step, per unit of row weight. With both, 0 makes exactly max_iter steps.
        For stop="parameters": Euclidean norm of the change of the weights and expectation parameters; 0 stops when
        nothing changes at all.
    temperature : float ≥ 0, or a sequence of them
        One per step, the last one staying; convergence is tested once it is reached.
    prior, concentration, weights
        See `maximize`.
    stop : {"maximum", "bound", "parameters"}
        What ``tol`` is compared with. What is left to gain is estimated: by Aitken's rule from the gains of the last
        three steps, with acceleration from its model of the curvature; never less than the last gain.
    acceleration : {"auto"}, optional
        "auto" lets a step go further than EM where past steps tell that it gains more; see `quasi_newton_step`. Each
        step is one E-step, taken back or not. None is EM itself.
    collapse : {"error", "keep", "drop", "repair"}
        What becomes of a component whose M-step has no finite natural parameters. "error": the fit ends. "keep": it
        stays as it was, and the others go on. "drop": the fit begins again without it, from where the others are; its
        weight stays 0. "repair": the fit begins again with it at a row that the others fit badly, up to three times.
        Where all components collapse, or are coupled so that all do, the fit ends in any case. ``notes`` of the result
        say what was done.
    n_jobs : int, optional
        Threads; all cores if None. The result does not depend on it.
    callbacks : sequence of callable(State)
        Called after every step with where the fit stands: ``n_iter``, ``mixture`` (a stack of one), ``bounds``,
        ``mean_bounds`` and the other fields of `State`, whose arrays are read-only. The fit ends if one of them returns
        True. `Progress` is one that shows a bar.
    checkpoint : str or path, optional
        A file that says where the fit stands, until it has ended. If it is there already the fit goes on from it, to
        the same bits. See docs/checkpoints.md.
    checkpoint_every : float ≥ 0
        Seconds between two times that the file is written; 0 writes it after every step.

    Returns
    -------
    FitResult

    Raises
    ------
    ValueError
        If a row is outside the family's support, a component collapses, an argument is out of range, or the bound is
        not a number; if the checkpoint is that of another fit, or damaged.
    OSError
        If the checkpoint cannot be written when the fit begins.
    """
    if not isinstance(mixture, Mixture):
        raise TypeError(f"mixture is {mixture!r}; it must be a Mixture, from which the steps begin: see Mixture.of")
    rows = with_missing(mixture, as_rows(X, sample_weight, n_jobs))
    check_support(mixture.family, rows)
    pass_ = plan(mixture.family, rows, mixture.n_components)
    start = Mixture(mixture.family, mixture.weights[None], mixture.natural[None])
    options = Options(max_iter, tol, temperature, prior, concentration, weights, stop, acceleration, collapse)
    with keeping(checkpoint, checkpoint_every) as keeper:
        given = {each.name: getattr(options, each.name) for each in fields(options)}
        keeper.open(lambda: belonging({"the fit": "ef.fit", "mixture": mixture, **given}, rows))
        with watched(callbacks, lambda: Fitting.of(options, count(rows), rows.total_weights)) as told:
            [result] = fit_all(start, pass_, options=options, callbacks=told)
        has_ended()
    if isinstance(result, CollapsedError):
        raise result
    return result


@undisturbed
def fit_all(
    start: Mixture,
    pass_: Pass,
    data_set: ArrayLike | None = None,
    options: Options = Options(),  # noqa: B008 - frozen
    *,
    callbacks: Sequence[Callback] = (),
    drop: bool = False,
    step: Step | None = None,
) -> list[FitResult | CollapsedError]:
    """Run EM from every mixture of a stack, in lock step.

    What a step costs apart from its arithmetic is then paid once for all of them.

    Parameters
    ----------
    start : Mixture
        A stack of B mixtures of a family bound to the rows.
    pass_ : Pass
        Of the family over the rows.
    data_set : (B,) int, optional
        Data set of each mixture, if the rows are several; the first by default.
    options : Options
    callbacks, drop, step
        See `run`.

    Returns
    -------
    results : list of FitResult, or of the CollapsedError of a run that ended in one
    """
    callbacks = checked_callbacks(callbacks)
    data_set = np.zeros(len(start.weights), np.int64) if data_set is None else np.asarray(data_set)

    def go_on(which: Integers, start: Mixture) -> list[FitResult | CollapsedError]:
        prior = options.prior
        if prior is not None and prior.counts.ndim > 1:
            prior = prior[which]
        problem = Problem(pass_, data_set[which], replace(options, prior=prior))
        told = [functools.partial(_tell_of_runs, callback, which) for callback in callbacks]
        return followed(problem, start, functools.partial(run, problem, drop=drop, step=step), told)

    problem = Problem(pass_, data_set, options)
    results = followed(problem, start, functools.partial(run, problem, drop=drop, step=step), callbacks)
    return mend(results, pass_.rows, data_set, options, go_on)


def _tell_of_runs(callback: Callback, which: Integers, state: State) -> object:
    """Call a callback with the numbers of the runs among all, of which only some have begun again."""
    return callback(state._replace(run=which[state.run]).frozen())


@undisturbed
def run(
    problem: Problem, state: State, *, callbacks: Sequence[Callback] = (), drop: bool = False,
    step: Step | None = None,
) -> list[FitResult | CollapsedError]:  # fmt: skip
    """Go on from a state until every run has ended.

    Parameters
    ----------
    problem : Problem
    state : State
        From `begin`, or one that was kept.
    callbacks : sequence of callable(State)
        Called after every step in which runs are left; all of these end if one returns True.
    drop : bool
        Whether to leave runs that are behind others on the same data set.
    step : callable(Problem, State) -> State, optional
        One iteration of all runs; an acceleration is another one, made of `improve` and `move`.

    Returns
    -------
    results : list of FitResult, or of the CollapsedError of a run that ended in one
    """
    callbacks, stopped, step = checked_callbacks(callbacks), False, step or usual_step(problem.options)
    while True:
        if stopped:  # also where the same step reaches tol: whoever follows must know that nothing is to follow
            break
        state = end(problem, state, state.done, Status.CONVERGED)
        if drop and state.n_iter >= len(problem.options.schedule) + HEAD_START:
            state = end(problem, state, _behind(problem, state), Status.BEHIND)
        if not len(state.run) or state.n_iter >= problem.options.max_iter:
            break
        state = end_fallen(problem, state, recorded(problem, step(problem, state)))
        state = state.frozen() if callbacks else state
        stopped = bool(len(state.run)) and asks_to_stop(callbacks, state)
    status = Status.STOPPED if stopped else Status.MAX_ITER
    return cast(list, list(end(problem, state, np.ones(len(state.run), bool), status).results))


def usual_step(options: Options) -> Step:
    """Return a step of EM, or of its acceleration, and on to the edge of the parameter space where that is better."""
    inner = em_step if options.acceleration is None else quasi_newton_step
    return functools.partial(step_to_edges, step=inner)


def _behind(problem: Problem, state: State) -> np.ndarray:
    """Return the runs that cannot be expected to come up to the best one on the same data set, (L,) bool.

    EM converges linearly: from gains g₁, g₂ the rest is about g₂/(1 − g₂/g₁) (Aitken). That is too little for a run
    that still crosses a plateau, so `MORE_GAIN` times as much is allowed.
    """
    if len(state.run) < 2:
        return np.zeros(len(state.run), bool)
    gains, before, _ = state.gains.T
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.clip(np.where(before > 0, gains / before, 0.0), 0.0, 0.98)
    reach = state.bounds + state.log_priors + MORE_GAIN * np.maximum(gains, 0.0) / (1 - rate)
    lead = state.lead[problem.data_set[state.run]]
    return (reach < lead) & (state.best < lead)
