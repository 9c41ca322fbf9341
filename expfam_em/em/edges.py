"""Steps that the M-step does not make: to the limit of a shape, which it never reaches, and to another maximum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np

from expfam_em.em.state import Problem, State, chosen, either, em_step, move, put
from expfam_em.em.steps import estimate_refined, expected_gain
from expfam_em.estep.grouped import Grouped
from expfam_em.family import checked
from expfam_em.family.optional import InStacks, at_edges_of, edge_sums_of, is_coupled, is_incomplete
from expfam_em.values.mixture import Mixture

FIRST_TRIAL = 4
"""Steps after which limits are tried first; again whenever the number has doubled, and where a run would end."""

VANISHED = 1e-8
"""Mean of a statistic, as a share of that of all rows, below which gains of a step no longer tell that it grows."""

UNSEEN = 1e-30
"""Such a share of which sums may not tell any more: responsibilities vanish with it."""

GROWS = 1e-3
"""By which share a step makes such a mean larger where the likelihood rises with it."""

LIFTED = (0.1, 0.01, 1e-3, 1e-4)
"""What the mean becomes then, as a share of that of all rows: the first of these that raises the bound."""

LITTLE = 1e-10
"""Gain of a search, as a share of the bound, after which a run ends all the same."""


def step_to_edges(problem: Problem, state: State, step: Callable[[Problem, State], State] = em_step) -> State:
    """Return the state after a step, and with shapes in their limits where the bound is higher there.

    And at another maximum of the expected log-likelihood, where M-steps have only gone on from the last parameters.
    """
    found, family = step(problem, state), state.mixture.family
    if not len(found.run):
        return found
    known, n_iter = found, found.n_iter
    is_due = n_iter >= FIRST_TRIAL and n_iter & (n_iter - 1) == 0
    is_time = (found.done.any() or is_due) and n_iter >= len(problem.options.schedule)
    if is_time and isinstance(family, InStacks) and family.searches:
        which = np.ones(len(found.run), bool) if is_due else found.done
        of_some = _searched(problem, found.take(which))
        return of_some if which.all() else put(which, of_some, found)
    if not (is_incomplete(family) and family.has_limits):
        return _lifted(problem, found) if is_time and found.done.any() and family.bounded else found
    if is_time:
        found = _best(problem, found)
    # By Jensen's inequality bounds after the M-step are between those before and after the step, where the M-step
    # maximises Q, the expected log-likelihood of complete data. Near a limit it maximises the likelihood instead, and Q
    # may fall.
    before = state.bounds[np.isin(state.run, found.run)]
    half_bounds = np.clip(known.half_bounds, before, np.maximum(found.bounds, before))
    return found._replace(half_bounds=half_bounds)


def _best(problem: Problem, state: State) -> State:
    """Return the state with the shapes that raise the bound: of all components, or of one where a run would end."""
    if isinstance(problem.pass_.kernel, Grouped):  # sums of observed values alone do not add up to moments of columns
        return state
    beyond = _at_edges(problem, state)
    if beyond is None:
        return state
    changed, done, K = np.any(beyond != state.mixture.natural, axis=2), state.done, beyond.shape[1]
    alone = [changed & (np.arange(K) == k) & done[:, None] for k in range(K)]
    free = np.ones(len(done), bool)
    for which in (changed, *(alone if changed.sum() > 1 else ())):
        which = which & free[:, None]
        if not which.any():
            continue
        natural = np.where(which[:, :, None], beyond, state.mixture.natural)
        tried = _tried(problem, state, natural)
        better = which.any(axis=1) & (tried.gains[:, 0] > 0)
        if better.any():
            state, free = _taken(state, tried, better), free & ~better
    return state


def _lifted(problem: Problem, state: State) -> State:
    """Return the state with probabilities and rates off 0 where the bound is higher there.

    They leave 0 geometrically, from 1e-300 in hundreds of steps that gain nothing, so that runs end before. A run may
    have come too close to 0 in a long step, or while other parameters were elsewhere.
    """
    mixture, family, done = state.mixture, state.mixture.family, state.done[:, None, None]
    if is_incomplete(family) or is_coupled(family):
        return state
    here = state
    with np.errstate(all="ignore"):
        of_all = state.statistics.sums.sum(axis=1) / state.statistics.exposures.sum(axis=1)[:, None]
        of_all = of_all[:, None]
        hidden = (mixture.expectation < UNSEEN * of_all) & (mixture.expectation > 0) & done
        if hidden.any():  # near 0 the mean is proportional to exp(η)
            raised = mixture.natural + np.where(hidden, np.log(UNSEEN * of_all) - np.log(mixture.expectation), 0.0)
            here = _tried(problem, state, raised)
        mean = here.mixture.expectation
        seen = here.statistics.sums / here.statistics.exposures[..., None]
        grows = (mean < VANISHED * of_all) & (seen > (1 + GROWS) * mean) & done
        change = here.mixture.natural - mixture.natural + np.where(grows, np.log(of_all) - np.log(mean), 0.0)
    for share in LIFTED:
        natural = mixture.natural + np.where(grows, change + np.log(share), 0.0)
        fine = np.isfinite(checked.log_partition(family, natural.reshape(mixture.flat_natural.shape)))
        grows &= fine.reshape(*grows.shape[:2], 1)
        if not grows.any():
            break
        tried = _tried(problem, state, np.where(grows, natural, mixture.natural))
        better = grows.any(axis=(1, 2)) & (tried.gains[:, 0] > 0)
        if better.any():
            state, grows = _taken(state, tried, better), grows & ~better[:, None, None]
    return state


def _searched(problem: Problem, state: State) -> State:
    """Return the state with the M-step of a thorough search where the bound is higher there.

    A run goes on after one that gains more than steps at which runs end.
    """
    options, run, prior = problem.options, state.run, problem.prior_of(state.run)
    statistics, before, after = estimate_refined(
        state.statistics, state.mixture, lambda mixture: problem.accumulate(mixture, run, state.temperature),
        prior=prior, concentration=options.concentration, weights=options.weights,
    )  # fmt: skip
    refined = state._replace(statistics=statistics, mixture=before)
    statistics = statistics if prior is None else statistics + prior
    better = expected_gain(statistics, before, after) > 0
    if not better.any():
        return state
    tried = move(problem, refined, chosen(better, after, before))
    gain = tried.gains[:, 0]
    better &= gain > 0
    least = np.maximum(options.tol * problem.totals(run) * (options.stop == "bound"), LITTLE * np.abs(state.bounds))
    return _taken(state, tried, better)._replace(done=state.done & ~(better & (gain > least)))


def _tried(problem: Problem, state: State, natural: np.ndarray) -> State:
    """Return the state with other natural parameters, in the same coordinates."""
    mixture = Mixture.unchecked(state.mixture.family, state.mixture.weights, natural)
    return move(problem, state, mixture, reframe=np.zeros(len(natural), bool))


def _taken(state: State, tried: State, better: np.ndarray) -> State:
    """Return the state with what was tried where it is better: a part of the same step, after which runs go on."""
    gains = np.column_stack([state.gains[:, 0] + tried.gains[:, 0], state.gains[:, 1:]])
    whole = tried._replace(
        gains=gains, half_bounds=state.half_bounds, done=np.zeros(len(better), bool), fell=np.zeros(len(better), bool)
    )  # fmt: skip
    memory = None if state.memory is None else state.memory.forgotten(better)
    return either(better, whole, state)._replace(memory=memory)


def _at_edges(problem: Problem, state: State) -> np.ndarray | None:
    """Return natural parameters with shapes in their limits, or out of them again, (L, K, p); None if none is."""
    mixture, family = state.mixture, cast(Any, state.mixture.family)
    pass_: Any = problem.pass_
    pass_ = replace(pass_, kernel=pass_.kernel.adding(edge_sums_of))
    found = pass_.sums(mixture.scores, state.temperature, problem.data_set[state.run])
    sums = found.sums.reshape(mixture.flat_natural.shape)
    with np.errstate(all="ignore"):
        natural = at_edges_of(family, mixture.flat_natural, found.counts.ravel(), sums)
        fine = np.isfinite(natural).all(axis=1) & np.isfinite(checked.log_partition(family, natural))
    natural = np.where(fine[:, None], natural, mixture.flat_natural)
    return None if np.array_equal(natural, mixture.flat_natural) else natural.reshape(mixture.natural.shape)
