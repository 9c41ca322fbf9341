"""Starts of mixtures under constraints: component k of a constraint is component k of the mixture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from expfam_em.em.starts import Starts
from expfam_em.em.state import chosen, into_model
from expfam_em.em.steps import estimate, expected_statistics
from expfam_em.estep.plan import Pass
from expfam_em.family.optional import Framed, components, frames_of, in_order_of, kinds
from expfam_em.rows.typing import Integers
from expfam_em.values.mixture import Mixture


def held(starts: Starts, pass_: Pass, data_set: Integers, *, in_any_order: bool) -> Starts:
    """Return starts of the family without its constraints as starts under them.

    Components that were drawn stand where the constraint changes them least: the divergence from what it makes of each
    of them in each place is smallest in sum (Hungarian method). An M-step under the constraint follows, because they
    may differ in nothing but what the constraint makes the same.

    Parameters
    ----------
    starts : Starts
    pass_ : Pass
        Of the family with its constraints.
    data_set : (B,) int
        Data set of each run asked for.
    in_any_order : bool
        Whether components were drawn; those that the user gives stay where and as they are, as far as they can.
    """
    family, drawn = pass_.family, starts.mixture
    if not family._constraints() or not len(starts.runs):
        return starts
    order = np.arange(drawn.weights.size).reshape(drawn.weights.shape)
    if not in_any_order:
        return starts._replace(mixture=into_model(_of(drawn, family, order)))
    if any(constraint.tells_components for constraint in family._constraints()):
        mixture = _of(drawn, family, order)
        orders = np.array([_best_order(mixture[run : run + 1]) for run in range(len(drawn.weights))])
        order = orders + drawn.n_components * np.arange(len(orders))[:, None]
    free, placed = _of(drawn, family._under(None), order), _of(drawn, family, order)
    statistics = expected_statistics(replace(pass_, family=free.family), free, 1.0, data_set[starts.runs])
    found = estimate(replace(statistics, family=placed.family), placed, weights="fixed")
    fine = np.asarray(np.isfinite(found.log_partition).all(axis=1))
    return starts._replace(mixture=found if fine.all() else chosen(fine, found, into_model(placed)))


def _of(drawn: Mixture, family: Any, order: Integers) -> Mixture:
    """Return the components of a stack in an order (B, K), counted through the stack, as those of a family."""
    family = in_order_of(family, drawn.family)
    if isinstance(family, Framed):
        family = family.with_frames(frames_of(components(drawn.family, order.ravel())))
    flat = order.ravel()
    weights, natural = drawn.weights.ravel()[flat].reshape(order.shape), drawn.flat_natural[flat]
    return Mixture.unchecked(family, weights, natural.reshape(*order.shape, -1))


def _best_order(mixture: Mixture) -> Integers:
    """Return in which order the components of a stack of one mixture are changed least by the constraint, (K,)."""
    K, family = mixture.n_components, mixture.family
    lots = [np.arange(K)[of] for _, of in kinds(family, K)]  # families of components keep theirs
    cost = np.full((K, K), np.inf)
    for turn in range(max(map(len, lots))):
        order = np.arange(K)
        for lot in lots:
            order[lot] = np.roll(lot, -turn)
        placed = _of(mixture, family, order[None])
        with np.errstate(all="ignore"):
            changed = into_model(placed)
            cost[np.arange(K), order] = changed.family.divergence(placed.flat_natural, changed.flat_natural)
    largest = 1e6 + 2 * np.max(cost, where=np.isfinite(cost), initial=0.0)
    _, order = linear_sum_assignment(np.where(np.isfinite(cost), cost, largest * K))
    return np.asarray(order)
