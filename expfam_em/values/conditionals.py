"""What a mixture says of the other columns of many rows, given some: means, densities, draws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import logsumexp

from expfam_em.family.base import ExponentialFamily
from expfam_em.family.conditionals import Conditionals
from expfam_em.family.optional import components
from expfam_em.rows.grid import rows_per_chunk
from expfam_em.rows.typing import Array, Integers


def of_blocks(
    family: ExponentialFamily, natural: Array, columns: Integers, values: Array
) -> Iterator[tuple[slice, Conditionals]]:
    """Yield ranges of the rows of values (n, g) and the conditionals that hold for them.

    A family that defines only `conditional` is asked row by row.
    """
    n, (K, p) = len(values), natural.shape
    try:
        found = family.conditionals(natural, columns)
    except NotImplementedError:
        for at, row in enumerate(values):
            yield slice(at, at + 1), Conditionals(*family.conditional(natural, columns, row))
        return
    step = rows_per_chunk(K * p)
    for first in range(0, n, step):
        yield slice(first, min(first + step, n)), found


def mean(found: Conditionals, responsibilities: Array, values: Array) -> Array:
    """Return Σ_k r_nk E[y|x_n, η_k] of the other columns y of each row, (n, r)."""
    means = found.mean(values)
    if not np.isfinite(means).all():  # 0 · ∞ of a component that is not there
        means = np.where(responsibilities[:, :, None] > 0, means, 0.0)
    return np.matmul(responsibilities[:, None], means)[:, 0] if len(means) > 1 else responsibilities @ means[0]


def log_density(found: Conditionals, log_weights: Array, values: Array, rest: Array) -> Array:
    """Return log Σ_k w_nk p(y_n|x_n, η_k) / Σ_k w_nk of the other columns y of each row, (n,)."""
    log_weights = log_weights - log_weights.max(axis=1, keepdims=True)  # far from all, they are huge and nearly equal
    return logsumexp(log_weights + _of_components(found, values, rest), axis=1) - logsumexp(log_weights, axis=1)


def _of_components(found: Conditionals, values: Array, rest: Array) -> Array:
    """Return log p(y|x, η_k), (n, K)."""
    if found.move is None:
        return found.family.log_density(rest, found.natural)
    shape = len(rest), len(found.natural), rest.shape[1]
    shift, scale = (np.broadcast_to(each, shape) for each in found.moved(values))
    out = np.empty(shape[:2])
    for k in range(shape[1]):
        z, family = (rest - shift[:, k]) / scale[:, k], components(found.family, [k])
        out[:, k] = family.log_density(z, found.natural[k : k + 1])[:, 0] - np.log(scale[:, k]).sum(axis=1)
    return out


def draw(found: Conditionals, responsibilities: Array, values: Array, rng: np.random.Generator) -> Array:
    """Return a draw of the other columns of each row, (n, r)."""
    below = np.cumsum(responsibilities, axis=1)
    labels = (rng.random(len(below))[:, None] * below[:, -1:] >= below).sum(axis=1)
    shift, scale = found.moved(values)
    rows, drawn = [], []
    for k in range(below.shape[1]):
        at = np.flatnonzero(labels == k)
        z = components(found.family, [k]).sample(found.natural[k], len(at), rng)
        moved = [np.broadcast_to(each, (len(values), below.shape[1], z.shape[1]))[at, k] for each in (shift, scale)]
        rows.append(at)
        drawn.append(moved[0] + moved[1] * z)
    return np.concatenate(drawn)[np.argsort(np.concatenate(rows), kind="stable")]
