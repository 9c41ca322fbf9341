"""Conjugate priors by name, made of the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from expfam_em.em.steps import of_all_rows
from expfam_em.estep.plan import Pass
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
    if (groups := getattr(pass_.rows, "groups", None)) is not None and groups.present is not None:
        raise ValueError(
            f"prior is {name!r}, which is made of whole rows, but values of X are missing; give an ExpectedStatistics"
        )
    found = of_all_rows(pass_)
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
