"""Components with a frame of their own: statistics of z = W(x − a), made where they are needed and never stored as T.

The frame of a component far from the others, or much narrower than they are, is about that component. Its scores and
sums then lose nothing to cancellation. In such a frame a Gaussian is nearly standard normal, so most of its
natural parameters are 0 and are skipped; its second moments are one product Z diag(r) Zᵀ.
"""

from expfam_em.kernels.jit import EXACT, inner
from expfam_em.kernels.matmul import add_product, aligned, product_transposed, round_up
from expfam_em.kernels.sums import add, add_products
from expfam_em.kernels.vectors import LANES


@inner(EXACT)
def whiten(rows_last, shift, whitener, difference, Z):
    """Z = whitener (x − shift) for x the columns of rows_last; a whitener of one row is a diagonal."""
    d, width = shift.shape[0], Z.shape[1]
    diagonal = whitener.shape[0] == 1
    for j in range(d):
        scale = whitener[0, j] if diagonal else 1.0
        out = Z[j] if diagonal else difference[j]
        source, a = rows_last[j], shift[j]
        for i in range(width):
            out[i] = (source[i] - a) * scale
    if not diagonal:
        Z[:] = 0.0
        add_product(whitener, 0, difference, d, True, Z)


@inner(EXACT)
def add_linear(natural, d, Z, out):
    """Add Σ_j natural_j z_j to out, four at a time, so that out is not read and written for each."""
    whole = d // 4 * 4
    for j in range(0, whole, 4):
        s, t, u, v = natural[j], natural[j + 1], natural[j + 2], natural[j + 3]
        if s != 0.0 or t != 0.0 or u != 0.0 or v != 0.0:
            for i in range(out.shape[0]):
                out[i] += (s * Z[j, i] + t * Z[j + 1, i]) + (u * Z[j + 2, i] + v * Z[j + 3, i])
    for j in range(whole, d):
        for i in range(out.shape[0]):
            out[i] += natural[j] * Z[j, i]


@inner(EXACT)
def score_own(natural, products, d, Z, out):
    """Write ⟨natural, T(z)⟩ of each row to out, leaving out products whose natural parameter is 0."""
    for i in range(out.shape[0]):
        out[i] = 0.0
    add_linear(natural, d, Z, out)
    before = -1
    for q in range(products.shape[0]):
        t = natural[products[q, 2]]
        if t == 0.0:
            continue
        if before < 0:
            before = q
            continue
        s, a, b, c, e = (
            natural[products[before, 2]],
            products[before, 0],
            products[before, 1],
            products[q, 0],
            products[q, 1],
        )
        for i in range(out.shape[0]):  # two at a time
            out[i] += s * (Z[a, i] * Z[b, i]) + t * (Z[c, i] * Z[e, i])
        before = -1
    if before >= 0:
        s, a, b = natural[products[before, 2]], products[before, 0], products[before, 1]
        for i in range(out.shape[0]):
            out[i] += s * (Z[a, i] * Z[b, i])


@inner(EXACT)
def count_present(r):
    """The number of rows with r > 0."""
    n = 0
    for i in range(r.shape[0]):
        n += 1 if r[i] > 0.0 else 0
    return n


@inner(EXACT)
def present_rows(r, d, n, Z, present, weighted):
    """Write the n columns of Z with r > 0 to ``present``, times r to ``weighted``, and complete them with 0."""
    rows, width = Z.shape[1], present.shape[1]
    for j in range(d):
        here, times, source = present[j], weighted[j], Z[j]
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
        for i in range(n, width):
            here[i] = times[i] = 0.0
    present[d:] = 0.0
    weighted[d:] = 0.0


@inner(EXACT)
def collect_own(r, products, d, Z, space, second, sums):
    """Add Σ r T(z) to sums, from the rows with r > 0 only."""
    n = count_present(r)
    if n == 0:
        return
    width = round_up(n, LANES)
    present, weighted = aligned(space[0], Z.shape[0], width), aligned(space[1], Z.shape[0], width)
    present_rows(r, d, n, Z, present, weighted)
    for j in range(d):
        sums[j] += add(weighted[j], width)
    if products.shape[0] <= d:
        for q in range(products.shape[0]):
            a, b = weighted[products[q, 0]], present[products[q, 1]]
            sums[products[q, 2]] += add_products(a, b, width)
        return
    product_transposed(weighted, present, d, True, second, 0)
    for q in range(products.shape[0]):
        i, j = products[q, 0], products[q, 1]
        sums[products[q, 2]] += second[min(i, j), max(i, j)]
