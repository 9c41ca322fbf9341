"""Conjugate priors by name, made of the rows."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from expfam_em.estep.plan import Pass, n_statistics, single_pass
from expfam_em.estep.reduce import GivenStep, drawn
from expfam_em.estep.scores import Scores
from expfam_em.family.optional import is_incomplete, shared
from expfam_em.rows.typing import Integers
from expfam_em.values.statistics import ExpectedStatistics

NAMES = ("weak", "mclust")

IMPOSSIBLY_LARGE = 1e100
"""Mean of a statistic that only rows have which are impossible for a family."""


def named_prior(name: str, pass_: Pass, data_set: Integers, n_components: int) -> tuple[Pass, ExpectedStatistics]:
    """Return the prior of each of B runs, (B, K), and the pass of the family under it.

    "weak" is one pseudo-row of the mean of T of all rows for each component, χ_k = T̄ and ν_k = 1: the unit information
    prior (Kass and Wasserman 1995). "mclust" is what `Gaussian.default_prior` says.

    Parameters
    ----------
    name : {"weak", "mclust"}
    pass_ : Pass
    data_set : (B,) int
        Data set of each run, from which its prior is made.
    n_components : int

    Raises
    ------
    ValueError
        If the family has no such prior.
    """
    family: Any = shared(pass_.family)
    if is_incomplete(family):
        raise ValueError(
            f"prior is {name!r}, but {family!r} observes only a part of its statistics, so no prior can be made of the "
            "rows; give an ExpectedStatistics, or None"
        )
    if getattr(pass_.rows, "groups", None) is not None:
        raise ValueError(
            f"prior is {name!r}, which is made of whole rows, but values of X are missing; give an ExpectedStatistics"
        )
    found = _of_all(pass_, family)
    if np.any(np.abs(found.sums) > IMPOSSIBLY_LARGE * found.counts[..., None]):
        raise ValueError(f"prior is {name!r}, but some rows are impossible for one of the families of {family!r}")
    K, mean = n_components, found.sums / found.counts[..., None]
    counts, exposures = np.ones(found.counts.shape), found.exposures / found.counts
    if name == "mclust":
        ask = getattr(family, "default_prior", None)
        if ask is None or family._constraints():
            raise ValueError(
                f"prior is 'mclust', which is one of normal densities without constraints or noise; {family!r} has none"
            )
        family, nu, mean = ask(found.counts[:, 0], mean[:, 0], K)
        counts, exposures, mean = nu * counts, nu * exposures, mean[:, None]
    counts, exposures = (np.repeat(value[data_set], K, axis=1) for value in (counts, exposures))
    sums = np.repeat(mean[data_set], K, axis=1) * counts[..., None]
    prior = ExpectedStatistics(counts, sums, np.zeros(len(data_set)), exposures, family)
    return (pass_ if name == "weak" else replace(pass_, family=family)), prior


def _of_all(pass_: Pass, family: Any) -> ExpectedStatistics:
    """Return the counts and sums of all rows of each data set, (D, 1), (D, 1, p)."""
    rows, kernel = pass_.rows, single_pass(family, pass_.rows)
    p = n_statistics(family, rows)
    ones = functools.partial(drawn, 0, 1)
    step = GivenStep(kernel, Scores.none(rows.n_data, 1, p, family), [ones], rows.n_data)
    _, counts, sums, bounds, exposures = rows.reduce(step, kernel.work(1, p))
    return ExpectedStatistics(counts, sums, bounds, exposures if exposures.any() else counts, family)
