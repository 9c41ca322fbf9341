"""What estimators make of constraints by name, and of a component for noise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from expfam_em.em.held import held
from expfam_em.em.informed import is_known, of_first
from expfam_em.em.starts import Starts, initialise_all
from expfam_em.estep.plan import Pass, plan
from expfam_em.families.composed.componentwise import Componentwise
from expfam_em.families.composed.parts import labels_of
from expfam_em.families.uniform import Uniform
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.binding import bind
from expfam_em.family.constraints import constrain
from expfam_em.family.optional import frames_of, translate
from expfam_em.rows.memory import first_row
from expfam_em.rows.typing import Array, Integers
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

if TYPE_CHECKING:
    from expfam_em.estimators.base import BaseMixture

TOWARDS_MIDDLE = 1e-3
"""How far a row is moved towards the middle of the box, column by column, to see whether its family has a density."""


def constrained_and_noise(family: ExponentialFamily, estimator: BaseMixture) -> ExponentialFamily:
    """Return a family under the constraints of an estimator, and with its noise as one more component.

    Raises
    ------
    ValueError
        If the mixing weights are held in two ways, or the family is under constraints already.
    """
    fixed = dict(estimator.fixed or {})
    weights = fixed.pop("weights", None)
    if weights is not None and estimator.weights != "free":
        raise ValueError(f"weights is {estimator.weights!r}, and fixed has weights too; give one of the two")
    if "weights" in estimator.tied:
        raise ValueError("tied has 'weights'; give weights='equal' instead")
    if fixed or estimator.tied or estimator.bounds:
        if family._constraints():
            raise ValueError(
                f"{family!r} has constraints of its own, which fixed, tied and bounds would replace: give all of them "
                "to `constrain`, or to the estimator"
            )
        family = constrain(family, fixed=fixed, tied=estimator.tied, bounds=estimator.bounds)
    if estimator.noise is None:
        return family
    return Componentwise([(family, estimator.n_components), (Uniform(), 1)])


def _check_density(family: ExponentialFamily, row: Array, box: Any) -> None:
    """Raise a ValueError unless rows beside one, (1, d), are possible too, in every direction: it has a density."""
    aside = TOWARDS_MIDDLE / np.arange(2, 2 + row.shape[1]) * (0.5 * (box.low + box.high) - row)
    if not family.supports(row + aside)[0]:
        raise ValueError(
            f"noise='uniform' is a density on the box of the rows; {family!r} has none there with which it could be "
            "compared, because it gives probabilities to single rows, or ties columns to one another"
        )


def starts_of(
    estimator: BaseMixture, pass_: Pass, data_set: Integers, rng: np.random.Generator, prior: ExpectedStatistics | None
) -> Starts:
    """Return the starts of an estimator: under its constraints, with its fixed weights and its noise."""
    whole = pass_.family
    free = replace(pass_, family=whole._under(None))
    if estimator.noise is None:
        # that of each run says nothing of other starts, from which runs are chosen
        found = estimator._starts(free, data_set, rng, None if prior is None or prior.counts.ndim > 1 else prior)
    elif isinstance(estimator._init_in_use, Mixture):
        found = initialise_all(free, data_set, estimator._n_all, estimator._init_in_use)
    else:
        _check_density(whole.families[0], np.asarray(first_row(pass_.rows), np.float64), whole.families[1])
        rows = of_first(pass_.rows, estimator.n_components)
        clusters = bind(whole.families[0]._under(None), rows)
        alone = estimator._starts(plan(clusters, rows, estimator.n_components), data_set, rng, None)
        found = _with_noise(alone, free.family) if len(alone.runs) else alone
    found = held(found, pass_, data_set, in_any_order=estimator._draws_components and not is_known(pass_.rows))
    if "weights" not in (estimator.fixed or {}) or not len(found.runs):
        return found
    weights = np.broadcast_to(_checked_weights(estimator), found.mixture.weights.shape)
    return found._replace(mixture=Mixture.unchecked(found.mixture.family, weights.copy(), found.mixture.natural))


def _with_noise(starts: Starts, whole: Any) -> Starts:
    """Return starts with one more component for noise, which has as large a weight as the others have on average."""
    drawn, (B, K) = starts.mixture, starts.mixture.weights.shape
    n = B * (K + 1)
    if (frames := frames_of(drawn.family)) is not None:
        whole = whole.with_frames(whole._joined_frames(n, {0: frames}))
    natural = translate(drawn.family, drawn.flat_natural, whole.families[0])
    of_noise = np.zeros((B, len(whole._layout.statistics[1])))
    natural = whole._join(n, [natural, of_noise]).reshape(B, K + 1, -1)
    weights = np.concatenate([drawn.weights * (K / (K + 1)), np.full((B, 1), 1 / (K + 1))], axis=1)
    return starts._replace(mixture=Mixture.unchecked(whole, weights, natural))


def _checked_weights(estimator: BaseMixture) -> Array:
    """Return the mixing weights that are fixed, (K,)."""
    given: Any = (estimator.fixed or {})["weights"]
    weights = np.array(given, np.float64)
    fine = weights.shape == (estimator._n_all,) and np.all(weights >= 0) and abs(weights.sum() - 1) <= 1e-6
    if not fine:  # NaN is not ≥ 0
        raise ValueError(
            f"fixed weights are {given!r}; they must be {estimator._n_all} numbers from 0 that add up to 1, all "
            "of them fixed or none"
        )
    return weights / weights.sum()


def with_names_of_noise(named: dict[str, Any], family: Any, noise: str | None) -> dict[str, Any]:
    """Return named parameters as they are called without noise, and those of the noise behind them."""
    if noise is None:
        return named
    labels = [f"{label}_" for label in labels_of(family.families)]
    return {
        name.removeprefix(labels[0]) if name.startswith(labels[0]) else f"noise_{name.removeprefix(labels[1])}": value
        for name, value in named.items()
    }
