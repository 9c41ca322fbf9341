"""Steps that the M-step does not make: to the limit of a shape, which it never reaches, and to another maximum."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np

from expfam_em.em.state import Problem, State, chosen, either, em_step, move, put
from expfam_em.em.steps import estimate_refined, expected_gain
from expfam_em.estep.grouped import Grouped
from expfam_em.family import checked
from expfam_em.family.missing import observed_edge_sums_of
from expfam_em.family.optional import (
    InStacks,
    at_edges_of,
    bounded_natural,
    edge_sums_of,
    is_coupled,
    is_incomplete,
    left_of_largest,
)
from expfam_em.rows.typing import Array, Mask
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

FIRST_TRIAL = 4
"""Steps after which limits are tried first; again whenever the number has doubled, and where a run would end."""

VANISHED = 1e-8
"""What a mean leaves to an end of its range, as a share of what that of all rows leaves, below which gains of a step no
longer tell that it grows."""

GROWS = 1e-3
"""By which share a step makes it larger where the likelihood rises with it."""

LIFTED = (0.1, 0.01, 1e-3, 1e-4)
"""What it becomes then, as such a share: the first of these that raises the bound."""

LITTLE = 1e-10
"""Gain of a search, as a share of the bound, after which a run ends all the same."""


class End(NamedTuple):
    """An end of the range of means.

    Attributes
    ----------
    sign : int
        1 for the lower end, −1 for the upper one: what is left to it is proportional to exp(± η).
    unseen : float
        What is left, as a share of what the mean of all rows leaves, of which sums may not tell any more: at the lower
        end responsibilities vanish with it, at the upper one it is rounded away.
    left : callable(stack of mixtures) -> (L, K, p)
        What means leave to the end.
    """

    sign: int
    unseen: float
    left: Callable[[Mixture], Array]


def _left_of_largest(mixture: Mixture) -> Array:
    return left_of_largest(mixture.family, mixture.flat_natural).reshape(mixture.natural.shape)


ENDS_OF_MEANS = End(1, 1e-30, lambda mixture: mixture.expectation), End(-1, 1e-10, _left_of_largest)


def _left(mixture: Mixture, statistics: ExpectedStatistics, end: End) -> tuple[Array, Array, Array]:
    """Return what means leave to an end of their range, (L, K, p), where it is, and what that of all rows leaves."""
    left = end.left(mixture)
    with np.errstate(all="ignore"):
        at_end = mixture.expectation - end.sign * left
        of_all = statistics.sums.sum(axis=1) / statistics.exposures.sum(axis=1)[:, None]
        return left, at_end, end.sign * (of_all[:, None] - at_end)


def at_ends(mixture: Mixture, statistics: ExpectedStatistics) -> Mask | None:
    """Return which natural parameters have means at an end of their range, (L, K, p); None where none can have.

    The likelihood no longer tells of them. An M-step moves them by what is rounded: of a probability of 1 − 2⁻⁵³ by
    hundreds, to the limit of η and back.
    """
    family = mixture.family
    if is_incomplete(family) or is_coupled(family):
        return None
    bounded = bounded_natural(family, mixture.flat_natural).reshape(mixture.natural.shape)
    if not bounded.any():
        return None
    found = np.zeros(bounded.shape, bool)
    for end in ENDS_OF_MEANS:
        left, _, of_all = _left(mixture, statistics, end)
        with np.errstate(invalid="ignore"):
            found |= (left <= VANISHED * of_all) & np.isfinite(left)
    return found & bounded


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
        return _lifted(problem, found) if is_time else found
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
    family: Any = state.mixture.family
    if isinstance(problem.pass_.kernel, Grouped) and not family.knows_observed_limits:
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
    """Return the state with probabilities and rates off 0, and probabilities off 1, where the bound is higher there.

    They leave 0 geometrically, from 1e-300 in hundreds of steps that gain nothing, so that runs end before. A run may
    have come too close to 0 in a long step, or while other parameters were elsewhere. What is left of 1 is rounded away
    below 1e-16, and no step brings it back.
    """
    family = state.mixture.family
    if not state.done.any() or is_incomplete(family) or is_coupled(family):
        return state
    return functools.reduce(functools.partial(_off, problem), ENDS_OF_MEANS, state)


def _off(problem: Problem, state: State, end: End) -> State:
    """Return the state with means off an end of their range where the bound is higher there."""
    mixture, family, shape = state.mixture, state.mixture.family, state.mixture.natural.shape
    here, free = state, bounded_natural(family, mixture.flat_natural).reshape(shape) & state.done[:, None, None]
    if not free.any():
        return state
    left, at_end, of_all = _left(mixture, state.statistics, end)
    with np.errstate(all="ignore"):
        hidden = (left < end.unseen * of_all) & (left > 0) & free
        if hidden.any():  # near the end what is left is proportional to exp(± η)
            change = end.sign * (np.log(end.unseen * of_all) - np.log(left))
            here = _tried(problem, state, mixture.natural + np.where(hidden, change, 0.0))
            left = end.left(here.mixture)
        seen = end.sign * (here.statistics.sums / here.statistics.exposures[..., None] - at_end)
        grows = (left < VANISHED * of_all) & (seen > (1 + GROWS) * left) & free
        change = end.sign * (np.log(of_all) - np.log(left))
    change = here.mixture.natural - mixture.natural + np.where(grows, change, 0.0)
    for share in LIFTED:
        natural = mixture.natural + np.where(grows, change + end.sign * np.log(share), 0.0)
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
    in_groups = isinstance(pass_.kernel, Grouped)
    pass_ = replace(pass_, kernel=pass_.kernel.adding(observed_edge_sums_of if in_groups else edge_sums_of))
    found = pass_.sums(mixture.scores, state.temperature, problem.data_set[state.run])
    sums = found.sums.reshape(mixture.flat_natural.shape)
    with np.errstate(all="ignore"):
        natural = at_edges_of(family, mixture.flat_natural, found.counts.ravel(), sums)
        fine = np.isfinite(natural).all(axis=1) & np.isfinite(checked.log_partition(family, natural))
    natural = np.where(fine[:, None], natural, mixture.flat_natural)
    return None if np.array_equal(natural, mixture.flat_natural) else natural.reshape(mixture.natural.shape)
