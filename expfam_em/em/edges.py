"""Steps to the edge of the parameter space: the limit of a shape, which M-steps approach for ever and never reach."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from expfam_em.em.state import Problem, State, improve, move
from expfam_em.family import checked
from expfam_em.family.optional import edge_sums_of, is_incomplete
from expfam_em.rows.typing import Mask
from expfam_em.values.mixture import Mixture

FIRST_TRIAL = 4
"""Steps after which limits are tried first; again whenever the number has doubled, and where a run would end."""


def step_to_edges(problem: Problem, state: State) -> State:
    """Return the state after an M-step and an E-step, with shapes in their limits where the bound is higher there."""
    state, after = improve(problem, state)
    if not len(state.run):
        return state
    moved, family = move(problem, state, after), after.family
    n_iter = moved.n_iter
    if not (is_incomplete(family) and family.has_limits):
        return moved
    half_bounds, found = moved.half_bounds, moved
    if moved.done.any() or (n_iter >= FIRST_TRIAL and n_iter & (n_iter - 1) == 0):
        beyond = _at_edges(problem, state, after)
        found = moved if beyond is None else _best(problem, state, after, moved, beyond)
    return _between(state, half_bounds, found)


def _between(state: State, half_bounds: np.ndarray, found: State) -> State:
    """Return the state with bounds after the M-step that lie between those before and after the step.

    They do by Jensen's inequality where the M-step maximises Q, the expected log-likelihood of complete data. Near a
    limit it maximises the likelihood instead, and Q, in which what is not observed is nearly certain, may fall.
    """
    half_bounds = np.clip(half_bounds, state.bounds, np.maximum(found.bounds, state.bounds))
    if np.array_equal(half_bounds, found.half_bounds):
        return found
    numbers = np.full((3, len(found.results)), np.nan)
    numbers[:, found.run] = found.bounds, half_bounds, found.log_priors
    return found._replace(half_bounds=half_bounds, trace=state.trace.with_step(numbers))


def _best(problem: Problem, state: State, after: Mixture, moved: State, beyond: Mixture) -> State:
    """Return the state with the shapes that raise the bound: of all components, or of one where a run would end."""
    changed = np.any(beyond.natural != after.natural, axis=2)
    chosen, found, before = np.zeros_like(changed), None, moved.bounds + moved.log_priors

    def trial_of(which: Mask) -> State:
        natural = np.where(which[:, :, None], beyond.natural, after.natural)
        return move(problem, state, _with_natural(after, natural))

    alone = [changed & (np.arange(changed.shape[1]) == k) & moved.done[:, None] for k in range(changed.shape[1])]
    for which in (changed, *(alone if changed.sum() > 1 else ())):
        which = which & ~chosen.any(axis=1, keepdims=True)
        if not which.any():
            continue
        trial = trial_of(which)
        better = which & (trial.bounds + trial.log_priors > before)[:, None]
        if better.any():
            found = trial if not chosen.any() and np.array_equal(better, which) else None
            chosen |= better
    if not chosen.any():
        return moved
    found = trial_of(chosen) if found is None else found
    return found._replace(done=found.done & ~chosen.any(axis=1))  # what the others make of it is not known yet


def _at_edges(problem: Problem, state: State, mixture: Mixture) -> Mixture | None:
    """Return the mixtures with shapes in their limits, or out of them again; None if there is nothing to try."""
    family: Any = mixture.family
    pass_ = replace(problem.pass_, kernel=replace(problem.pass_.kernel, of_rows=edge_sums_of))
    found = pass_.sums(mixture.scores, state.temperature, problem.data_set[state.run])
    sums = found.sums.reshape(mixture.flat_natural.shape)
    with np.errstate(all="ignore"):
        natural = family.at_edges(mixture.flat_natural, found.counts.ravel(), sums)
        fine = np.isfinite(natural).all(axis=1) & np.isfinite(checked.log_partition(family, natural))
    natural = np.where(fine[:, None], natural, mixture.flat_natural)
    same = np.array_equal(natural, mixture.flat_natural)
    return None if same else _with_natural(mixture, natural.reshape(mixture.natural.shape))


def _with_natural(mixture: Mixture, natural: np.ndarray) -> Mixture:
    return Mixture.unchecked(mixture.family, mixture.weights, natural)
