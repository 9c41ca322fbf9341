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
def eliminate(h, precision, missing, m, L, W, v):
    """L Lᵀ = Λ_mm, W = L⁻¹ Λ_m·, v = L⁻¹ h_m for m missing columns; return what A of these depends on."""
    d, value = h.shape[0], 0.0
    for a in range(m):
        i = missing[a]
        for j in range(d):
            W[a, j] = precision[i, j]
        v[a] = h[i]
        for b in range(a):
            factor = W[b, i]  # L[a, b], for Λ is symmetric
            for j in range(d):
                W[a, j] -= factor * W[b, j]
            v[a] -= factor * v[b]
            L[a, b] = factor
        L[a, a] = np.sqrt(W[a, i])
        inverse = 1.0 / L[a, a]
        for j in range(d):
            W[a, j] *= inverse
        v[a] *= inverse
        value += 0.5 * v[a] * v[a] - np.log(L[a, a])
    return value


@inner(EXACT)
def split(present, missing):
    """Write the numbers of the missing columns; return how many there are."""
    m = 0
    for i in range(present.shape[0]):
        missing[m] = i
        m += 0 if present[i] else 1
    return m


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
    L, W, v, missing, row = np.empty((d, d)), np.empty((d, d)), np.empty(d), np.empty(d, np.int64), np.empty(d)
    for e in range(which.shape[0]):
        here = present[e // per_pattern]
        m = split(here, missing)
        h, P, out = linear[which[e]], precision[which[e]], natural[e]
        missed[e] = eliminate(h, P, missing, m, L, W, v)
        at = d
        for i in range(d):
            value = h[i]
            for a in range(m):
                value -= W[a, i] * v[a]
            out[i] = value if here[i] else 0.0
            if not here[i]:
                out[at : at + d - i] = 0.0
                at += d - i
                continue
            for j in range(i, d):
                row[j] = -P[i, j]
            for a in range(m):
                factor = W[a, i]
                for j in range(i, d):
                    row[j] += factor * W[a, j]
            row[i] *= 0.5
            for j in range(i, d):
                out[at] = row[j] if here[j] else 0.0
                at += 1


@inner(EXACT)
def back_substitute(L, W, v, m, gain, mean, covariance):
    """gain = −Λ_mm⁻¹ Λ_m·, mean = Λ_mm⁻¹ h_m, covariance = Λ_mm⁻¹, from the factors of `eliminate`."""
    d = W.shape[1]
    for a in range(m - 1, -1, -1):
        inverse = 1.0 / L[a, a]
        for j in range(d):
            gain[a, j] = -W[a, j]
        mean[a] = v[a]
        for b in range(m):
            covariance[a, b] = 0.0
        for c in range(a + 1, m):
            factor = L[c, a]
            for j in range(d):
                gain[a, j] -= factor * gain[c, j]
            mean[a] -= factor * mean[c]
            for b in range(m):
                covariance[a, b] -= factor * covariance[c, b]
        for j in range(d):
            gain[a, j] *= inverse
        mean[a] *= inverse
        covariance[a, a] += 1.0
        for b in range(m):
            covariance[a, b] *= inverse
    # that was L⁻ᵀ; times L⁻¹ it is symmetric
    for a in range(m):
        for b in range(a, m):
            total = 0.0
            for c in range(b, m):
                total += covariance[a, c] * covariance[b, c]
            covariance[a, b] = covariance[b, a] = total


@inner(EXACT)
def unpack_present(packed, present, second):
    """second = z zᵀ of the columns present, 0 elsewhere."""
    d = present.shape[0]
    at = d
    for i in range(d):
        for j in range(i, d):
            second[i, j] = second[j, i] = packed[at] if present[i] and present[j] else 0.0
            at += 1


@entry(
    types.void,
    array(2), array(3), array(1, types.int64), array(2, types.boolean), types.int64, array(1), array(2),
    array(2, writable=True),
)  # fmt: skip
def complete(linear, precision, which, present, per_pattern, counts, sums, out):
    """Fill the expected sums of all statistics, (E, p), from the counts (E,) and sums (E, p) of those observed."""
    d = linear.shape[1]
    L, W, v, missing = np.empty((d, d)), np.empty((d, d)), np.empty(d), np.empty(d, np.int64)
    gain, mean, covariance = np.empty((d, d)), np.empty(d), np.empty((d, d))
    first, second = np.empty(d), np.empty((d, d))
    for e in range(which.shape[0]):
        here = present[e // per_pattern]
        m = split(here, missing)
        if m == 0:
            out[e] = sums[e]
            continue
        eliminate(linear[which[e]], precision[which[e]], missing, m, L, W, v)
        back_substitute(L, W, v, m, gain, mean, covariance)
        unpack_present(sums[e], here, second)
        for j in range(d):
            first[j] = sums[e, j] if here[j] else 0.0
        for a in range(m):
            i = missing[a]
            for b in range(m):
                gain[a, missing[b]] = 0.0
            total = counts[e] * mean[a]
            for j in range(d):
                total += gain[a, j] * first[j]
            row = second[i]  # Σ r x̂_i x_j of the columns present
            for j in range(d):
                row[j] = mean[a] * first[j]
            for k in range(d):
                if here[k]:
                    factor = gain[a, k]
                    for j in range(d):
                        row[j] += factor * second[k, j]
            out[e, i] = total
        for a in range(m):
            i = missing[a]
            for b in range(a, m):
                total = counts[e] * covariance[a, b] + mean[b] * out[e, i]
                for k in range(d):
                    if here[k]:
                        total += gain[b, k] * second[i, k]
                W[a, b] = total
        for a in range(m):
            i = missing[a]
            for j in range(d):
                if here[j]:
                    second[j, i] = second[i, j]
            for b in range(a, m):
                second[i, missing[b]] = second[missing[b], i] = W[a, b]
        at = d
        for i in range(d):
            if here[i]:
                out[e, i] = first[i]
            for j in range(i, d):
                out[e, at] = second[i, j]
                at += 1
