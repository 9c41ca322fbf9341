"""Expectations over the whole numbers from 0, of functions and densities that are smooth between them."""

from __future__ import annotations

import functools

import numpy as np

NODES = 32
"""Nodes per block; as many as the smallest block has numbers, so that its sum is exact."""

LARGEST_BLOCK = 40
"""Binary logarithm of the size from which on sums over a block are integrals to rounding."""

NODES_OF_ALL = 16
OWN_RULE_FROM = 2000.0
"""Variance of a Poisson density, or its like, from which on NODES_OF_ALL nodes suffice for the whole of it."""


def expected_log_base(log_base, natural, log_partition, mean, curvature=0.0):
    """Return E[log h(x)] of densities h(x) exp(ηx − A(η)) with mean m and variance m + c m², elementwise.

    Parameters
    ----------
    log_base : callable
        log h, of arrays (·, *shape of ``natural``), at numbers between whole ones as well.
    natural, log_partition, mean : arrays of one shape
    curvature : number or array
        c: 0 for Poisson counts, 1/r for negative binomial ones, −1/n for binomial ones.
    """
    natural, log_partition, mean, curvature = np.broadcast_arrays(natural, log_partition, mean, curvature)
    with np.errstate(all="ignore"):
        large = np.minimum(mean, 1 / np.abs(curvature)) >= OWN_RULE_FROM
        whole = _by_own_rule(log_base, np.where(large, mean, 2 * OWN_RULE_FROM), np.where(large, curvature, 0.0))
        summed = _by_blocks(log_base, natural, log_partition, mean, curvature, ~large)
        return np.where(large, whole, summed)


def _by_own_rule(log_base, mean, curvature):
    """Return E[log h] by Gauss's rule of the density itself, which needs no values of it.

    The orthogonal polynomials of a variance function V(m) = m + c m² have recurrence coefficients m + j V′(m) and
    j (1 + (j − 1) c) V(m) (Morris 1982).
    """
    j = np.arange(NODES_OF_ALL).reshape(-1, *[1] * mean.ndim)
    variance = mean * (1 + curvature * mean)
    # in standard deviations from the mean
    diagonal = j * (1 + 2 * curvature * mean) / np.sqrt(variance)
    nodes, weights = _gauss(diagonal, (j * (1 + (j - 1) * curvature))[1:])
    return np.sum(weights * log_base(mean + np.sqrt(variance) * nodes), axis=0)


def _by_blocks(log_base, natural, log_partition, mean, curvature, wanted):
    """Return E[log h] by sums over blocks of 32, 64, 128, … numbers, as long as the density bends little in them."""
    deviation = np.sqrt(mean * (1 + curvature * mean))
    tail = np.where(curvature > 0, -1 / natural, 0.0)  # the length by which the tail falls to 1/e
    start = np.where(wanted, np.maximum(np.floor(mean - 12 * deviation - 60), 0.0), np.inf)
    end = mean + 12 * deviation + 45 * tail + 60
    widest = np.maximum(2 * deviation, tail)
    total, mass = np.zeros(mean.shape), np.zeros(mean.shape)
    nodes, weights = _rules_of_blocks()
    while np.any(active := start <= end):
        size = np.floor(np.log2(np.clip(np.minimum(start, widest), NODES, None)))
        size = np.where(active, size, np.log2(NODES))
        rule, width = np.minimum(size, LARGEST_BLOCK).astype(int) - int(np.log2(NODES)), 2.0**size
        x = np.where(active, start, 0.0) + (width - 1) / 2 + width * np.moveaxis(nodes[rule], -1, 0)
        log_h = log_base(x)
        share = np.moveaxis(weights[rule], -1, 0) * width * np.exp(log_h + natural * x - log_partition)
        fine = active & (share > 0)  # not beyond the last number that may occur
        total += np.sum(np.where(fine, share * log_h, 0.0), axis=0)
        mass += np.sum(np.where(fine, share, 0.0), axis=0)
        start = np.where(active, start + width, np.inf)
    return total / mass


@functools.cache
def _rules_of_blocks():
    """Return nodes, in units of the block from its middle, and weights for the sum over 2^5, 2^6, … numbers."""
    size = 2.0 ** np.arange(np.log2(NODES), LARGEST_BLOCK + 1)
    j = np.arange(1, NODES)[:, None]
    nodes, weights = _gauss(np.zeros((NODES, len(size))), j**2 * (1 - (j / size) ** 2) / (4 * (4 * j**2 - 1)))
    # of the smallest block the numbers themselves, unrounded
    nodes[:, 0], weights[:, 0] = (np.arange(NODES) - (NODES - 1) / 2) / NODES, 1 / NODES
    return nodes.T, weights.T


def _gauss(diagonal, squares):
    """Return the nodes and weights (J, …) of Gauss's rule, from recurrence coefficients (J, …) and (J − 1, …)."""
    J, shape = len(diagonal), diagonal.shape[1:]
    matrix = np.zeros((*shape, J, J))
    at = np.arange(J)
    matrix[..., at, at] = np.moveaxis(diagonal, 0, -1)
    matrix[..., at[1:], at[:-1]] = np.moveaxis(np.sqrt(np.broadcast_to(squares, (J - 1, *shape))), 0, -1)
    nodes, vectors = np.linalg.eigh(matrix)  # reads the lower triangle
    return np.moveaxis(nodes, -1, 0), np.moveaxis(vectors[..., 0, :] ** 2, -1, 0)
