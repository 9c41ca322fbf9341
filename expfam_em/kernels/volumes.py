"""The volumes of components whose covariances are alike up to them: Newton's method, mixture by mixture."""

import numpy as np
from numba import types

from expfam_em.kernels.jit import EXACT, array, entry, inner
from expfam_em.kernels.matrices import factorise

NEWTON_STEPS = 100
"""Most steps of a mixture."""

SETTLED = 1e-26
"""Gain of a step, per row, at which to stop: parameters are then good to its square root."""

QUADRATIC = 1e-13
"""Expected gain of a step of Newton's method, per row, after which the next one is rounding."""

SHORTEST = 1e-6
"""Share of a step below which it is not halved any more."""

VALUE_ROUNDING = 4 * np.finfo(np.float64).eps
"""What of a difference of values may be rounding, as a share of them."""


@inner(EXACT)
def evaluate(mass, roots, C, half, traces, shares):
    """Return log |C| for C = Σ_k m_k R_k R_kᵀ; write the entries of P_k = C^(−½) m_k R_k R_kᵀ C^(−½) and tr P_k.

    Roots are (K, m, b, b), of m blocks on the diagonal, and so are P_k, as rows.
    """
    K, m, b = roots.shape[0], roots.shape[1], roots.shape[2]
    log_volume = 0.0
    for k in range(K):
        traces[k] = 0.0
    for block in range(m):
        for i in range(b):
            for j in range(i + 1):
                total = 0.0
                for k in range(K):
                    square = 0.0
                    for c in range(b):
                        square += roots[k, block, i, c] * roots[k, block, j, c]
                    total += mass[k] * square
                C[i, j] = total
        factorise(C)
        for i in range(b):
            log_volume += 2.0 * np.log(C[i, i])
        for k in range(K):
            for c in range(b):
                for i in range(b):
                    value = roots[k, block, i, c]
                    for j in range(i):
                        value -= C[i, j] * half[j, c]
                    half[i, c] = value / C[i, i]
            for i in range(b):
                for j in range(b):
                    square = 0.0
                    for c in range(b):
                        square += half[i, c] * half[j, c]
                    shares[k, (block * b + i) * b + j] = mass[k] * square
                traces[k] += shares[k, (block * b + i) * b + i]
    return log_volume


@inner(EXACT)
def newton_step(shares, traces, parts, d, curvature, step):
    """Write the step of Newton's method in √n_k log λ_k, (K,); return what it gains to first order.

    Parts (K, e) are divided by √n_k.
    """
    K = len(shares)
    for k in range(K):
        root = np.sqrt(shares[k])  # by itself: a product of two shares may be 0
        for e in range(parts.shape[1]):
            parts[k, e] /= root
        for j in range(k + 1):
            value = 0.0
            for e in range(parts.shape[1]):
                value += parts[k, e] * parts[j, e]
            # λ is free up to a factor that C takes back; the ridge is for components that share no direction at all
            curvature[k, j] = root * np.sqrt(shares[j]) - value + (traces[k] / shares[k] + 1e-14 * d if k == j else 0.0)
    steep = factorise(curvature)
    gain = 0.0
    for k in range(K):
        value = (traces[k] - d * shares[k]) / np.sqrt(shares[k])
        if steep:
            for j in range(k):
                value -= curvature[k, j] * step[j]
            value /= curvature[k, k]
        step[k] = value
        gain += value * value
    if steep:
        for k in range(K - 1, -1, -1):
            for j in range(k + 1, K):
                step[k] -= curvature[j, k] * step[j]
            step[k] /= curvature[k, k]
    return gain


@entry(types.void, array(2), array(5), array(2, writable=True))
def log_volumes(shares, roots, out):
    """Write the log λ (B, K) that minimise log |C(λ)| + d Σ_k n_k log λ_k with C(λ) = Σ_k n_k S_k/λ_k.

    This is convex in log λ, so Newton's method finds the minimum wherever it starts. Few rows have as much to say about
    their own volume as many, for steps are in √n_k log λ_k.

    Parameters
    ----------
    shares : (B, K), of rows, n_k
    roots : (B, K, m, b, b), roots of the covariances S_k, in m blocks on the diagonal
    out : (B, K)
    """
    B, K, m, b = roots.shape[0], roots.shape[1], roots.shape[2], roots.shape[3]
    d = m * b
    C, half, curvature = np.empty((b, b)), np.empty((b, b)), np.empty((K, K))
    traces, step, mass, there, parts = np.empty(K), np.empty(K), np.empty(K), np.empty(K), np.empty((K, m * b * b))
    for at in range(B):
        gain, length, value = np.inf, 0.0, np.inf
        for k in range(K):
            out[at, k], step[k] = 0.0, 0.0
        for iteration in range(NEWTON_STEPS + 2):
            longest = length
            while True:
                new = 0.0
                for k in range(K):
                    there[k] = out[at, k] + length * step[k] / np.sqrt(shares[at, k])
                    mass[k] = shares[at, k] * np.exp(-there[k])
                    new += d * shares[at, k] * there[k]
                new += evaluate(mass, roots[at], C, half, traces, parts)
                if not (new > value - 0.1 * length * gain + VALUE_ROUNDING * (abs(value) + d) and length > SHORTEST):
                    break
                length /= 2
            for k in range(K):  # at first what is best where C stays as it is
                out[at, k] = there[k] if iteration > 0 else np.log(traces[k] / (d * shares[at, k]))
            if iteration == 0:
                continue
            value = new
            if longest > 0.0 and not (gain > QUADRATIC or length < 1.0):
                break
            gain = newton_step(shares[at], traces, parts, d, curvature, step)
            if not gain > SETTLED:
                break
            length = 1.0
