"""Components with a frame of their own: statistics of z = W(x − a), made where they are needed and never stored as T.

The frame of a component far from the others, or much narrower than they are, is about that component. Its scores and
sums then lose nothing to cancellation. In such a frame a Gaussian is nearly standard normal, so most of its
natural parameters are 0 and are skipped; its second moments are one product Z diag(r) Zᵀ.
"""

import numpy as np

from expfam_em.kernels._jit import EXACT, SUMS, inner

SMALL = 96  # up to this many entries of a matrix a BLAS call costs more than the product itself
PANEL = 48  # rows of a triangular matrix multiplied at a time, without the zeros to their right


@inner(EXACT)
def whiten(rows_last, shift, whitener, difference, Z):
    """Z = whitener (x − shift) for x the columns of rows_last; a whitener of one row is a diagonal."""
    d, rows = Z.shape
    diagonal = whitener.shape[0] == 1
    for j in range(d):
        scale = whitener[0, j] if diagonal else 1.0
        out = Z[j] if diagonal else difference[j]
        source, a = rows_last[j], shift[j]
        for i in range(rows):
            out[i] = (source[i] - a) * scale
    if diagonal:
        return
    if d * d <= SMALL:
        for a in range(d):
            out = Z[a]
            for i in range(rows):
                out[i] = whitener[a, 0] * difference[0, i]
            for b in range(1, a + 1):
                for i in range(rows):
                    out[i] += whitener[a, b] * difference[b, i]
        return
    for a in range(0, d, PANEL):
        end = min(a + PANEL, d)
        np.dot(np.ascontiguousarray(whitener[a:end, :end]), difference[:end], Z[a:end])


@inner(EXACT)
def score_own(natural, products, Z, out):
    """Write ⟨natural, T(z)⟩ of each row to out, leaving out the statistics whose natural parameter is 0."""
    d, rows = Z.shape
    for i in range(rows):
        out[i] = 0.0
    for j in range(d):
        value = natural[j]
        if value != 0.0:
            for i in range(rows):
                out[i] += value * Z[j, i]
    for q in range(products.shape[0]):
        value = natural[products[q, 2]]
        if value != 0.0:
            a, b = Z[products[q, 0]], Z[products[q, 1]]
            for i in range(rows):
                out[i] += value * (a[i] * b[i])


@inner(EXACT)
def present_rows(r, Z, present, weighted):
    """Write the columns of Z with r > 0 to ``present``, times r to ``weighted``; return their number."""
    d, rows = Z.shape
    n = 0
    for i in range(rows):
        n += 1 if r[i] > 0.0 else 0
    for j in range(d):
        here, times, source = present[j * n : (j + 1) * n], weighted[j * n : (j + 1) * n], Z[j]
        if n == rows:
            for i in range(rows):
                here[i] = source[i]
                times[i] = source[i] * r[i]
        else:
            at = 0
            for i in range(rows):
                if r[i] > 0.0:
                    here[at] = source[i]
                    times[at] = source[i] * r[i]
                    at += 1
    return n


@inner(SUMS)
def collect_own(r, products, Z, present_memory, weighted_memory, gram, second, sums):
    """Add Σ r T(z) to sums, from the rows with r > 0 only."""
    d = Z.shape[0]
    n = present_rows(r, Z, present_memory, weighted_memory)
    if n == 0:
        return
    present, weighted = present_memory[: d * n].reshape(d, n), weighted_memory[: d * n].reshape(d, n)
    for j in range(d):
        total = 0.0
        for i in range(n):
            total += weighted[j, i]
        sums[j] += total
    if products.shape[0] <= max(d, SMALL):
        for q in range(products.shape[0]):
            a, b = weighted[products[q, 0]], present[products[q, 1]]
            total = 0.0
            for i in range(n):
                total += a[i] * b[i]
            sums[products[q, 2]] += total
        return
    for a in range(0, d, PANEL):  # the upper triangle, in panels
        end = min(a + PANEL, d)
        panel = gram[: (end - a) * (d - a)].reshape(end - a, d - a)
        np.dot(weighted[a:end], present[a:].T, panel)
        for i in range(end - a):
            for j in range(d - a):
                second[a + i, a + j] = panel[i, j]
    for q in range(products.shape[0]):
        i, j = products[q, 0], products[q, 1]
        sums[products[q, 2]] += second[min(i, j), max(i, j)]
