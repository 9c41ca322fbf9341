"""Normal densities of some columns from natural parameters of all, and what the sums over these say of the others.

A component has h and Λ with log-density ⟨h, z⟩ − ½ zᵀ Λ z − A. Integrating out the missing columns m leaves those that
are present: Λ_oo − Λ_om Λ_mm⁻¹ Λ_mo, h_o − Λ_om Λ_mm⁻¹ h_m, and A less that of the columns m. The cost is that of the
factor of Λ_mm, so a pattern that lacks one column of ten costs a hundred multiply-adds. Statistics and natural
parameters are packed as z, and then z_i z_j for i ≤ j.
"""

import numpy as np
from numba import types

from expfam_em.kernels.jit import EXACT, array, entry, inner


@inner(EXACT)
def eliminate(h, precision, missing, L, W, v):
    """L Lᵀ = Λ_mm, W = L⁻¹ Λ_m·, v = L⁻¹ h_m; return A of the missing columns, less its constant."""
    d, value = h.shape[0], 0.0
    for a in range(missing.shape[0]):
        i = missing[a]
        for b in range(a + 1):
            rest = precision[i, missing[b]]
            for c in range(b):
                rest -= L[a, c] * L[b, c]
            L[a, b] = np.sqrt(rest) if a == b else rest / L[b, b]
        for j in range(d):
            rest = precision[i, j]
            for c in range(a):
                rest -= L[a, c] * W[c, j]
            W[a, j] = rest / L[a, a]
        rest = h[i]
        for c in range(a):
            rest -= L[a, c] * v[c]
        v[a] = rest / L[a, a]
        value += 0.5 * v[a] * v[a] - np.log(L[a, a])
    return value


@entry(
    types.void,
    array(2), array(3), array(1, types.int64), array(2, types.boolean), types.int64,
    array(2, writable=True), array(1, writable=True),
)  # fmt: skip
def marginals(linear, precision, which, present, per_pattern, natural, missed):
    """Fill natural parameters (E, p) with those of the columns present, 0 elsewhere, and A of the others, (E,).

    Entry e is of component which[e] and of pattern e // per_pattern.
    """
    d = linear.shape[1]
    L, W, v = np.empty((d, d)), np.empty((d, d)), np.empty(d)
    for e in range(which.shape[0]):
        here = present[e // per_pattern]
        missing = np.flatnonzero(~here)
        m = missing.shape[0]
        h, P, out = linear[which[e]], precision[which[e]], natural[e]
        missed[e] = eliminate(h, P, missing, L, W, v)
        at = d
        for i in range(d):
            value = h[i]
            for a in range(m):
                value -= W[a, i] * v[a]
            out[i] = value if here[i] else 0.0
            for j in range(i, d):
                if here[i] and here[j]:
                    value = P[i, j]
                    for a in range(m):
                        value -= W[a, i] * W[a, j]
                    out[at] = -0.5 * value if i == j else -value
                else:
                    out[at] = 0.0
                at += 1


@inner(EXACT)
def back_substitute(L, W, v, m, gain, mean, covariance):
    """gain = −Λ_mm⁻¹ Λ_m·, mean = Λ_mm⁻¹ h_m, covariance = Λ_mm⁻¹, from the factors of `eliminate`."""
    for a in range(m - 1, -1, -1):
        inverse = 1.0 / L[a, a]
        for j in range(W.shape[1]):
            rest = -W[a, j]
            for c in range(a + 1, m):
                rest -= L[c, a] * gain[c, j]
            gain[a, j] = rest * inverse
        rest = v[a]
        for c in range(a + 1, m):
            rest -= L[c, a] * mean[c]
        mean[a] = rest * inverse
    for b in range(m):  # column b of L⁻¹, then of L⁻ᵀ L⁻¹
        for a in range(m):
            rest = 1.0 if a == b else 0.0
            for c in range(b, a):
                rest -= L[a, c] * covariance[c, b]
            covariance[a, b] = rest / L[a, a] if a >= b else 0.0
        for a in range(m - 1, -1, -1):
            rest = covariance[a, b]
            for c in range(a + 1, m):
                rest -= L[c, a] * covariance[c, b]
            covariance[a, b] = rest / L[a, a]


@entry(
    types.void,
    array(2), array(3), array(1, types.int64), array(2, types.boolean), types.int64, array(1), array(2),
    array(2, writable=True),
)  # fmt: skip
def complete(linear, precision, which, present, per_pattern, counts, sums, out):
    """Fill the expected sums of all statistics, (E, p), from the counts (E,) and sums (E, p) of those observed."""
    d = linear.shape[1]
    L, W, v = np.empty((d, d)), np.empty((d, d)), np.empty(d)
    gain, mean, covariance, second = np.empty((d, d)), np.empty(d), np.empty((d, d)), np.empty((d, d))
    for e in range(which.shape[0]):
        here = present[e // per_pattern]
        missing, shown = np.flatnonzero(~here), np.flatnonzero(here)
        m, first = missing.shape[0], out[e]
        eliminate(linear[which[e]], precision[which[e]], missing, L, W, v)
        back_substitute(L, W, v, m, gain, mean, covariance)
        at = d
        for i in range(d):
            first[i] = sums[e, i]
            for j in range(i, d):
                second[i, j] = second[j, i] = sums[e, at]
                at += 1
        for a in range(m):
            i = missing[a]
            first[i] = counts[e] * mean[a]
            for j in shown:
                first[i] += gain[a, j] * sums[e, j]
                value = mean[a] * sums[e, j]
                for k in shown:
                    value += gain[a, k] * second[k, j]
                second[i, j] = second[j, i] = value
        for a in range(m):
            for b in range(a + 1):
                i, j = missing[a], missing[b]
                value = counts[e] * covariance[a, b] + mean[b] * first[i]
                for k in shown:
                    value += gain[b, k] * second[i, k]
                second[i, j] = second[j, i] = value
        at = d
        for i in range(d):
            for j in range(i, d):
                first[at] = second[i, j]
                at += 1
