"""The M-step of Gaussians whose means or covariances are fixed, in common or bounded: means and covariances in turn.

Given the covariances, the means of largest likelihood minimise Σ_k N_k (μ_k − m_k)ᵀ Λ_k (μ_k − m_k), m_k the mean of
the rows, which is least squares under the constraints. Given the means, the covariances are those of the rows about
them, C_k + (m_k − μ_k)(m_k − μ_k)ᵀ, and then what the covariance type makes of them. Each raises the likelihood (ECM,
Meng and Rubin 1993). Means are those of x less the shift of the component's frame, so that no digits are lost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import lsq_linear

from expfam_em.family import checked
from expfam_em.family.constraints import Entries
from expfam_em.rows.typing import Array

MOST_TURNS = 200
"""Most rounds of means and covariances."""

GAINED_BY_ROUND = 1e-13
"""Gain of a round, per row, after which the next one is rounding."""


class Places(NamedTuple):
    """The frames of K components, shifts (K, d), roots and their inverses, and the means of the rows in x − shift."""

    form: Any
    shift: Array
    root: Array
    inverse: Array
    mean: Array


def maximize(family: Any, counts: Array, sums: Array, previous: Array | None) -> Array:
    """Return the natural parameters (K, p) of largest likelihood under the family's constraint; see `constrain`."""
    form, free = family._form, family._under(None)
    mean, covariance = form.central(sums / counts[:, None])
    K, d = mean.shape
    coordinates = family._coordinates(d)
    shift, root = coordinates.of_each(K)
    identity = np.broadcast_to(form.root_of_scale(np.ones(d)), root.shape)
    places = Places(form, shift, root, form.divide(root, identity), form.times(root, mean))
    of_means, of_covariances = _entries(family, K, d)
    now = covariance if previous is None else form.moments(previous)[1]
    best, value = None, 0.0
    for _ in range(MOST_TURNS):
        centre = places.mean if of_means is None else _means(of_means, places, form.transform(now, root), counts)
        step = mean if of_means is None else form.solve(root, centre)
        about = form.expectation(mean - step, covariance)
        about[:, :d] = 0.0
        now = form.central(about)[1]
        if of_covariances is None:
            before = None if previous is None else previous[None]
            now = free._fitted(counts[None], now, coordinates, before)
        else:
            now = _covariances(free, of_covariances, places, now, counts)
        natural = free._natural(step, now)
        gained = np.sum(natural * sums) - counts @ checked.log_partition(free, natural) - value
        if best is not None and not gained > 0:
            break
        best, value = natural, value + gained
        if of_means is None or _is_settled(of_means, of_covariances) or not gained > GAINED_BY_ROUND * counts.sum():
            break
    return np.asarray(best)


def _entries(family: Any, K: int, d: int) -> tuple[Entries | None, Entries | None]:
    """Return the constraints on means and covariances, once they make sense."""
    means, covariances = family.moment_names
    shape = {"full": (K, d, d), "diag": (K, d), "spherical": (K,)}[family._model.free]
    found = family.constraint.entries(family, {means: (K, d), covariances: shape})
    if covariances in found:
        if family.coupled:
            raise ValueError(
                f"{covariances} of {family._under(None)!r} have something in common already; constrain those of a free "
                "covariance type: full, diag or spherical"
            )
        e = found[covariances]
        whole = e.held.reshape(K, -1)
        if family._model.free == "full" and _has_bounds(e):
            raise ValueError(f"bounds of {covariances} of type full have no meaning; take diag or spherical")
        if family._model.free == "full" and np.any(whole.any(axis=1) != whole.all(axis=1)):
            raise ValueError(f"fixed {covariances} of type full must be given whole, or all NaN, in each component")
        if family._model.free != "full" and np.any(e.fixed <= 0):
            raise ValueError(f"fixed {covariances} has {e.fixed[e.fixed <= 0][0]}; variances must be positive")
        if family._model.free == "full" and np.isfinite(e.fixed).any():
            given = e.fixed[np.isfinite(e.fixed).all(axis=(1, 2))]
            if not (np.allclose(given, given.swapaxes(1, 2)) and np.all(np.linalg.eigvalsh(given) > 0)):
                raise ValueError(f"fixed {covariances} must be symmetric and positive definite")
    return found.get(means), found.get(covariances)


def _is_settled(e: Entries, of_covariances: Entries | None) -> bool:
    """Whether means do not depend on covariances: those of a component are all fixed, or all free."""
    return _is_whole(e) or (of_covariances is not None and bool(np.isfinite(of_covariances.fixed).all()))


def _is_whole(e: Entries) -> bool:
    """Whether the means of each component are all fixed or all free, and none has a bound or is in common."""
    fixed = np.isfinite(e.fixed)
    if np.isfinite(e.factor).any() or _has_bounds(e):
        return False
    return bool(np.all(fixed.any(axis=1) == fixed.all(axis=1)))


def _has_bounds(e: Entries) -> bool:
    return bool(np.isfinite([e.low, e.high]).any())


def _means(e: Entries, places: Places, covariance: Array, counts: Array) -> Array:
    """Return the means of largest likelihood given covariances, in x − shift, (K, d)."""
    fixed, tied = np.isfinite(e.fixed), np.isfinite(e.factor)
    start = np.where(fixed, e.fixed - places.shift, places.mean)
    if _is_whole(e):
        return start
    K, d = start.shape
    columns, low, high = [], [], []
    offset = np.where(fixed, start, 0.0)
    for j in range(d):
        for k in np.flatnonzero(~fixed[:, j] & ~tied[:, j]):
            columns.append((np.array([k]), j, np.ones(1)))
            low.append(e.low[k, j] - places.shift[k, j])
            high.append(e.high[k, j] - places.shift[k, j])
        if len(of := np.flatnonzero(tied[:, j])):
            # the common value is looked for near where it is: μ_k = f_k (θ + a) with a the shift of the first
            about = places.shift[of[0], j] / e.factor[of[0], j]
            offset[of, j] = e.factor[of, j] * about - places.shift[of, j]
            columns.append((of, j, e.factor[of, j]))
            low.append(np.max(e.low[of, j] / e.factor[of, j]) - about)
            high.append(np.min(e.high[of, j] / e.factor[of, j]) - about)
    roots, weight = places.form.root(covariance), np.sqrt(counts)[:, None]
    A = np.empty((K * d, len(columns)))
    for at, (of, j, factor) in enumerate(columns):
        change = np.zeros((K, d))
        change[of, j] = factor
        A[:, at] = (weight * places.form.solve(roots, change)).ravel()
    b = (weight * places.form.solve(roots, places.mean - offset)).ravel()
    size = np.linalg.norm(A, axis=0)
    if np.isfinite([low, high]).any():
        found = lsq_linear(A / size, b, (low * size, high * size), method="bvls", tol=1e-15).x / size
    else:
        found = np.linalg.lstsq(A / size, b, rcond=None)[0] / size
    for (of, j, factor), value in zip(columns, found, strict=True):
        offset[of, j] += factor * value
    return offset


def _covariances(family: Any, e: Entries, places: Places, about: Array, counts: Array) -> Array:
    """Return the covariances of largest likelihood given means, in the frames, from those of the rows about these."""
    form, coordinates = places.form, family._coordinates(places.mean.shape[1])
    fixed, factor, low, high = (form.given(part) for part in e)
    seen, tied = form.transform(about, places.root), np.isfinite(factor)
    if tied.any():
        over = np.where(tied, seen / np.where(tied, factor, 1.0), 0.0)
        mass = counts.reshape(-1, *[1] * (seen.ndim - 1)) * tied
        with np.errstate(invalid="ignore"):
            common = np.sum(mass * over, axis=0) / mass.sum(axis=0)
        about = form.transform(np.where(tied, factor * common, seen), places.inverse)
    if family.reg_covar:
        about = family._regularised(about, coordinates)
    if np.isfinite(fixed).any() or np.isfinite([low, high]).any():
        seen = form.transform(about, places.root)
        held = np.clip(np.where(np.isfinite(fixed), fixed, seen), low, high)
        changed = (held != seen).reshape(len(seen), -1).any(axis=1).reshape(-1, *[1] * (seen.ndim - 1))
        about = np.where(changed, form.transform(held, places.inverse), about)
    return about
