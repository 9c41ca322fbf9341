"""What becomes of a run in which a component collapses: it may begin again, without it or with it elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from expfam_em.em.options import Options
from expfam_em.em.result import CollapsedError, FitResult
from expfam_em.em.seeds import Seeding
from expfam_em.family.optional import components, shared, stacked
from expfam_em.rows.memory import of_data
from expfam_em.rows.protocol import Rows
from expfam_em.rows.typing import Array, Integers
from expfam_em.values.evaluate import evaluate
from expfam_em.values.mixture import Mixture

REPAIRS = 3
"""How often components of one run are put elsewhere before it counts as collapsed."""

WORST_SHARE = 0.5
"""Share of the weight of an average component that the worst-fitted rows make up, of which one is taken."""

Results = list[FitResult | CollapsedError]


def mend(
    results: Results, rows: Rows, data_set: Integers, options: Options, go_on: Callable[[Integers, Mixture], Results]
) -> Results:
    """Return results in which collapsed runs have begun again, as ``options.collapse`` says.

    Parameters
    ----------
    results : list of B
    rows, data_set, options
        Those of the runs.
    go_on : callable(which, start) -> results
        Runs EM for some of the runs from a stack of mixtures.
    """
    attempts = {"drop": np.inf, "repair": REPAIRS}.get(options.collapse, 0)
    results, made = list(results), 0
    told: dict[int, tuple[str, ...]] = dict.fromkeys(range(len(results)), ())
    while made < attempts and not any(getattr(r, "ended_early", False) for r in results):
        again = {at: _start(it, rows, data_set[at], options, made) for at, it in enumerate(results)}
        starts = {at: start for at, start in again.items() if start is not None}
        if not starts:
            break
        for at in starts:
            told[at] = (*told[at], _sentence(cast(CollapsedError, results[at]), options.collapse))
        which = np.array(list(starts))
        for at, one in zip(which, go_on(which, _stack(list(starts.values()))), strict=True):
            results[at] = one
        made += 1
    return [
        replace(it, notes=(*told[at], *it.notes)) if isinstance(it, FitResult) and told[at] else it
        for at, it in enumerate(results)
    ]


def _stack(mixtures: Sequence[Mixture]) -> Mixture:
    """Return mixtures as a stack, which may have weights of 0."""
    family = stacked([mixture.family for mixture in mixtures], mixtures[0].n_components)
    weights, natural = (np.stack([getattr(m, name) for m in mixtures]) for name in ("weights", "natural"))
    return Mixture.unchecked(family, weights, natural)


def _start(
    result: FitResult | CollapsedError, rows: Rows, data_set: int, options: Options, made: int
) -> Mixture | None:
    """Return where a run begins again; None if it has not collapsed, or has no component left."""
    if not isinstance(result, CollapsedError) or result.before is None or result.outside is None:
        return None
    before, outside = result.before, result.outside
    left = np.where(outside, 0.0, before.weights)
    if not left.any():
        return None
    rest = Mixture.unchecked(before.family, left / left.sum(), before.natural)
    if options.collapse == "drop":
        return rest
    here = of_data(rows, [data_set])
    seeds = Seeding(shared(before.family), here, before.n_components, np.random.default_rng(0))
    natural = seeds.of_rows(functools.partial(_worst, rest, made))
    K = before.n_components
    pick = np.where(outside, K, 0) + np.arange(K)
    family = components(stacked([before.family, shared(before.family)], K), pick)
    weights = before.weights
    if options.weights == "free":
        weights = np.where(outside, WORST_SHARE / K, rest.weights * (1 - WORST_SHARE / K * outside.sum()))
    return Mixture.unchecked(family, weights, np.concatenate([before.natural, natural])[pick])


def _worst(rest: Mixture, made: int, X: Array, weight: Array, n: int) -> Integers:
    """Return n of the rows that the other components fit worst; after ``made`` attempts, of those fitted better."""
    density = evaluate(rest.family, rest.scores, X, log_density=True).log_density
    order = np.argsort(density, kind="stable")
    share = np.cumsum(weight[order]) / weight.sum()
    level = WORST_SHARE / rest.n_components * (made + (np.arange(n) + 0.5) / n)
    return order[np.minimum(np.searchsorted(share, level), len(order) - 1)]


def _sentence(error: CollapsedError, policy: str) -> str:
    """Return what was done with the components of a run that collapsed."""
    which = np.flatnonzero(np.asarray(error.outside))
    done = "was left out, with weight 0" if policy == "drop" else "began again at rows that the others fit badly"
    name = f"Component{'s' * (len(which) > 1)} {', '.join(map(str, which))}"
    return f"{name} collapsed and {done if len(which) == 1 else done.replace('was', 'were')}."
