"""Hierarchical clustering by the likelihood of Gaussian clusters with covariances of their own (Fraley 1998).

Each step joins the two clusters by which Σ_k n_k log(|W_k/n_k| + (tr(W_k) + α)/n_k) grows least, for the scatter W_k of
cluster k. The trace and α, a variance of all rows, stand for clusters of too few rows to have a volume.
"""

import numpy as np
from numba import types

from expfam_em.kernels.jit import EXACT, array, entry, inner


@inner(EXACT)
def loss_of(n, scatter, variance, factor):
    """n log(|W/n| + (tr(W) + α)/n) of the lower triangle of a scatter; without volume where rows are few."""
    p, total, log_volume = scatter.shape[0], 0.0, 0.0
    for i in range(p):
        total += scatter[i, i]
    total = (total + variance) / n
    if n <= p:
        return n * np.log(total)
    for i in range(p):
        for j in range(i + 1):
            rest = scatter[i, j] / n
            for m in range(j):
                rest -= factor[i, m] * factor[j, m]
            if i > j:
                factor[i, j] = rest / factor[j, j]
            elif rest > 0:
                factor[i, i] = np.sqrt(rest)
                log_volume += np.log(rest)
            else:
                return n * np.log(total)
    if log_volume < np.log(total):  # of many columns the volume may be less than float64 holds
        return n * (np.log(total) + np.log1p(np.exp(log_volume) / total))
    return n * (log_volume + np.log1p(total * np.exp(-log_volume)))


@inner(EXACT)
def loss_of_both(a, b, n, means, scatters, variance, joined, factor):
    """Write the scatter of two clusters together, and return its loss."""
    share = n[a] * n[b] / (n[a] + n[b])
    for i in range(means.shape[1]):
        for j in range(i + 1):
            step = (means[a, i] - means[b, i]) * (means[a, j] - means[b, j])
            joined[i, j] = scatters[a, i, j] + scatters[b, i, j] + share * step
    return loss_of(n[a] + n[b], joined, variance, factor)


@inner(EXACT)
def find_nearest(a, growth, alive, nearest, least):
    """Find the cluster before cluster ``a`` with which the loss grows least."""
    least[a] = np.inf
    for b in range(a):
        if alive[b] and growth[a, b] < least[a]:
            least[a], nearest[a] = growth[a, b], b


@entry(types.void, array(2), array(1), types.float64, array(2, types.int64, writable=True))
def agglomerate(points, weight, variance, joins):
    """Write which two clusters are joined in each step, the first into the second, which has the lower number.

    Parameters
    ----------
    points : (m, p)
    weight : (m,)
    variance : float > 0
        α.
    joins : (m − 1, 2) int64
    """
    m, p = points.shape
    n, means, scatters, own = weight.copy(), points.copy(), np.zeros((m, p, p)), np.empty(m)
    growth, alive, nearest, least = np.full((m, m), np.inf), np.ones(m, np.bool_), np.zeros(m, np.int64), np.empty(m)
    joined, factor = np.empty((p, p)), np.empty((p, p))
    for a in range(m):
        own[a] = loss_of(n[a], scatters[a], variance, factor)
        for b in range(a):
            growth[a, b] = loss_of_both(a, b, n, means, scatters, variance, joined, factor) - own[a] - own[b]
        find_nearest(a, growth, alive, nearest, least)
    for step in range(m - 1):
        a = 0
        for c in range(1, m):
            if alive[c] and least[c] <= least[a]:  # of pairs that are alike the last one
                a = c
        b = nearest[a]
        joins[step, 0], joins[step, 1] = a, b
        own[b] = loss_of_both(a, b, n, means, scatters, variance, joined, factor)
        for i in range(p):
            means[b, i] = (n[a] * means[a, i] + n[b] * means[b, i]) / (n[a] + n[b])
            for j in range(i + 1):
                scatters[b, i, j] = joined[i, j]
        n[b] += n[a]
        alive[a], least[a] = False, np.inf
        for c in range(m):
            if alive[c] and c != b:
                both = loss_of_both(c, b, n, means, scatters, variance, joined, factor) - own[c] - own[b]
                growth[max(b, c), min(b, c)] = both
        for c in range(b, m):
            if not alive[c]:
                continue
            if c == b or nearest[c] == a or nearest[c] == b:
                find_nearest(c, growth, alive, nearest, least)
            elif growth[c, b] < least[c]:
                least[c], nearest[c] = growth[c, b], b
