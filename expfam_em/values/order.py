"""In which order components stand, and how those of two mixtures go together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from expfam_em.family import checked
from expfam_em.family.alike import alike
from expfam_em.family.optional import components, kinds, translate
from expfam_em.rows.typing import Array, Integers
from expfam_em.values.mixture import Mixture

APART = 1e100
"""Distance of components that have nothing in common."""


def order(mixture: Mixture, by: str | ArrayLike = "weights") -> Integers:
    """Return the components, (K,), in an order; those that belong to different families keep their places.

    Parameters
    ----------
    mixture : Mixture
    by : str, or (K,) int
        "weights": the largest first, and of equal ones the one of smaller parameters. The name of a parameter: the
        smallest first, compared number by number. Whole numbers: the order itself.

    Raises
    ------
    ValueError
        If it is none of these, or not each component has the parameter.
    """
    K, names = mixture.n_components, mixture.parameters
    if not isinstance(by, str):
        found = np.asarray(by)
        if found.dtype.kind not in "iu" or not np.array_equal(np.sort(found, axis=None), np.arange(K)):
            raise ValueError(f"by is {by!r}; as an order it must hold each of 0, …, {K - 1} once")
        if any(not np.array_equal(np.sort(found[of]), of) for _, of in kinds(mixture.family, K)):
            raise ValueError(f"by is {by!r}, which gives places to components of another family of {mixture.family!r}")
        return found
    own = {name: np.reshape(value, (K, -1)) for name, value in names.items() if np.shape(value)[:1] == (K,)}
    if by != "weights" and by not in own:
        raise ValueError(f"by is {by!r}; it must be one of {', '.join(map(repr, ['weights', *own]))}, or an order")
    keys = [-mixture.weights[:, None], *own.values()] if by == "weights" else [own[by]]
    ranks = np.lexsort(np.concatenate(keys, axis=1).T[::-1])
    found = np.empty(K, np.int64)
    for _, of in kinds(mixture.family, K):
        found[of] = ranks[np.isin(ranks, of)]
    return found


def match(mixture: Mixture, other: Mixture) -> Integers:
    """Return which component of a mixture goes with each one of another, (K,).

    The pairs have the least sum of Bhattacharyya distances ½A(η) + ½A(η′) − A(½(η + η′)), which are those of the
    complete data where a part of them is not observed.

    Raises
    ------
    ValueError
        If the families differ, or the numbers of components.
    """
    if not alike(mixture.family, other.family):
        raise ValueError(f"components of {mixture.family!r} cannot go with those of {other.family!r}")
    K = mixture.n_components
    if other.n_components != K:
        raise ValueError(f"{K} components cannot go with {other.n_components} others one by one")
    found = np.empty(K, np.int64)
    for _, of in kinds(mixture.family, K):
        distances = np.stack([_distances(mixture, of, other, k) for k in of])
        with np.errstate(all="ignore"):
            usual = np.isfinite(distances) & (distances < APART)
        found[of] = of[linear_sum_assignment(np.where(usual, distances, APART))[1]]
    return found


def _distances(mixture: Mixture, of: Integers, other: Mixture, k: int) -> Array:
    """Return the distances of some components from the k-th of another mixture, in its coordinates."""
    there = components(other.family, np.full(len(of), k))
    with np.errstate(all="ignore"):
        natural = translate(components(mixture.family, of), mixture.natural[of], there)
        middle = checked.log_partition(there, (natural + other.natural[k]) / 2)
        return (checked.log_partition(there, natural) + other.log_partition[k]) / 2 - middle
