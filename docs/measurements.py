"""The measurements quoted in docs/design.md: run ``python docs/measurements.py``; it prints ratios, not seconds."""

import time

import numpy as np

import expfam_em as ef
from expfam_em.family.kernel_form import Monomials
from expfam_em.kernels import block_rows
from expfam_em.kernels import em as kernel
from expfam_em.kernels.elementwise import exp_nonpositive, log_positive
from expfam_em.kernels.jit import EXACT, inner
from expfam_em.kernels.matmul import PANEL, TILE, add_product, product_transposed, round_up
from expfam_em.rows import threads

RNG = np.random.default_rng(0)


def ratio(slow, fast, repeats=9):
    """Print-ready ratio of the best times, the two taking turns, after one call of each."""
    best = [np.inf, np.inf]
    for repeat in range(repeats + 1):
        for i, function in enumerate((slow, fast)):
            start = time.perf_counter()
            function()
            if repeat:
                best[i] = min(best[i], time.perf_counter() - start)
    return f"{best[0] / best[1]:.2f}"


def problem(n, d, K):
    X = RNG.normal(size=(n, d)) + 3 * RNG.integers(0, K, size=(n, 1))
    natural = ef.families.Gaussian().from_moments(RNG.normal(size=(K, d)) * 3, np.array([np.eye(d)] * K))
    return X, ef.Mixture(ef.families.Gaussian(), np.full(K, 1 / K), natural)


def one_pass(em_rows, X, mixture, monomials=None, natural=None):
    """Return a call of the kernel over all rows, in this thread alone."""
    monomials = mixture.family.kernel_form(X.shape[1]).monomials if monomials is None else monomials
    natural = mixture.natural if natural is None else natural
    offset, block = mixture.log_weights - mixture.log_partition, block_rows(natural.shape[1], len(natural))
    (K, p), items = natural.shape, np.array([[0, len(X), 0, 0]])
    frames = *monomials, np.full((1, K), -1), np.empty((0, X.shape[1])), np.empty((0, 0, 0))
    outputs = np.zeros((1, K)), np.zeros((1, K, p)), np.zeros(1), np.empty((0, 0)), np.empty(0), np.empty(0, np.int64)
    parameters = natural[None], offset[None], np.zeros(1)
    return lambda: em_rows(X, items, *frames, *parameters, np.empty(0), 1.0, False, block, *outputs)


def all_of_T_at_once(X, items, shift, scale, products, frame, own, whitener, natural, *others):
    """The same pass with T in one part; `partition` cuts it into parts that the L2 cache can hold."""
    parts, rows = np.array([[0, natural.shape[2], 0, len(products)]]), (X, *kernel._NOTHING[1:])
    *settings, counts, sums, bounds, responsibilities, evidence, labels = others
    kernel._em_rows(
        rows, items, shift, scale, products, parts, frame, own, whitener, kernel.padded(natural), *settings,
        kernel.NO_OFFSET, kernel.NO_GROUP, counts, sums, bounds, responsibilities, evidence, labels,
    )  # fmt: skip


@inner(EXACT)
def products_in_registers(natural, T, S, sums):
    """The two matrix products of a block as the pass makes them; T has rows to complete the last tile."""
    S[:] = 0.0
    add_product(natural, 0, T, natural.shape[1], False, S)
    product_transposed(S, T, natural.shape[1], False, sums, 0)


@inner(EXACT)
def products_by_blas(natural, T, S, sums):
    """The same products as two calls of BLAS."""
    T = T[: natural.shape[1]]
    np.dot(natural, T, S)
    np.dot(S, T.T, sums)


@inner(EXACT)
def polynomial_exp(x, out):
    """e^x as the pass makes it."""
    for i in range(x.size):
        out[i] = exp_nonpositive(x[i])


@inner(EXACT)
def library_exp(x, out):
    """The same from the C library."""
    for i in range(x.size):
        out[i] = np.exp(x[i])


def parts_of_a_block(K, p):
    """Return calls that make the products, and the exponentials, of one block of rows: by a library, and by us."""
    rows, tiled = round_up(block_rows(p, K), PANEL), round_up(K, TILE)
    natural, T, S = RNG.normal(size=(tiled, p)), RNG.normal(size=(p + TILE, rows)), np.empty((tiled, rows))
    x = -10 * RNG.random(K * rows)
    y = np.empty_like(x)

    def often(function, *arguments):
        return lambda: [function(*arguments) for _ in range(20)]

    by_blas = often(products_by_blas, natural, T, S, np.empty((tiled, p)))
    in_registers = often(products_in_registers, natural, T, S, np.empty((tiled, p + TILE)))
    return (by_blas, in_registers), (often(library_exp, x, y), often(polynomial_exp, x, y))


@inner(EXACT)
def rows_first(
    X, items, shift, scale, products, frame, own, whitener, naturals, offsets, level, w, tau, given, block, N, S_,
    bounds, r, e, labels,
):  # fmt: skip
    """The same pass with the statistics of a block stored as (b, p) and the scores as (b, K)."""
    natural, offset, counts, sums, (start, stop) = naturals[0], offsets[0], N[0], S_[0], items[0, :2]
    (K, p), d = natural.shape, X.shape[1]
    bound, eta = 0.0, np.ascontiguousarray(natural.T)
    T_memory, S_memory, scratch = np.empty((block, p)), np.empty((block, K)), np.empty((K, p))
    for first in range(start, stop, block):
        rows = min(block, stop - first)
        T, S = T_memory[:rows], S_memory[:rows]
        for i in range(rows):
            for j in range(d):
                T[i, j] = (X[first + i, j] - shift[j]) * scale[j]
            for q in range(products.shape[0]):
                T[i, products[q, 2]] = T[i, products[q, 0]] * T[i, products[q, 1]]
        np.dot(T, eta, S)
        for i in range(rows):
            top, total = -np.inf, 0.0
            for k in range(K):
                S[i, k] += offset[k]
                top = max(top, S[i, k])
            for k in range(K):
                S[i, k] = exp_nonpositive(S[i, k] - top)
                total += S[i, k]
            bound += top + log_positive(total)
            for k in range(K):
                S[i, k] /= total
                counts[k] += S[i, k]
        np.dot(S.T, T, scratch)
        sums += scratch
    bounds[0] += bound


def all_products(d, natural):
    """Return Monomials with all d² products, and natural parameters that give the same scores."""
    i, j = np.divmod(np.arange(d * d), d)
    packed = np.empty((d, d), np.int64)
    upper = np.triu_indices(d)
    packed[upper] = packed.T[upper] = np.arange(len(upper[0]))
    second = natural[:, d:][:, packed.ravel()] * np.where(i == j, 1.0, 0.5)
    monomials = Monomials(np.zeros(d), np.ones(d), np.column_stack([i, j, d + np.arange(d * d)]))
    return monomials, np.ascontiguousarray(np.hstack([natural[:, :d], second]))


class InNumPy(ef.families.Gaussian):
    def kernel_form(self, n_features):
        return None

    def sufficient_statistics(self, X):
        i, j = np.triu_indices(X.shape[1])
        return np.hstack([X, X[:, i] * X[:, j]])


def digits(distance):
    """Return the relative error of the covariance of normal data at this distance, without and with a frame."""
    X = RNG.normal(size=(10_000, 2)) + distance
    errors = []
    for family in (ef.families.Gaussian(variance_floor=0), ef.families.Gaussian().bind([(X, None)])):
        mean = family.sufficient_statistics(X).mean(axis=0, keepdims=True)
        errors.append(np.abs(family.to_moments(family.to_natural(mean))[1][0] - np.cov(X.T, bias=True)).max())
    return f"{errors[0]:.0e} without a frame, {errors[1]:.0e} with one"


def kernels(n, d, K):
    X, mixture = problem(n, d, K)
    in_numpy = ef.Mixture(InNumPy(), mixture.weights, mixture.natural)
    here = one_pass(kernel.em_rows, X, mixture)
    others = {
        "rows first / rows last": one_pass(rows_first, X, mixture),
        "all d² products / triangle": one_pass(kernel.em_rows, X, mixture, *all_products(d, mixture.natural)),
        "all of T at once / in parts": one_pass(all_of_T_at_once, X, mixture),
        "T in NumPy / Monomials": lambda: ef.accumulate(in_numpy, X, n_jobs=1),
    }
    print(f"full covariance, d = {d}, K = {K}, p·K = {mixture.natural.size}")
    for name, other in others.items():
        print(f"    {name:30}", ratio(other, here))
    by_blas, by_library = parts_of_a_block(K, mixture.natural.shape[1])
    print(f"    {'alone: BLAS / in registers':30}", ratio(*by_blas))
    print(f"    {'alone: np.exp / polynomial exp':30}", ratio(*by_library))


def seconds_a_step(start, X, few=3, more=23, repeats=5):
    """Return the processor time of an EM iteration: the difference of two fits."""
    best = {few: np.inf, more: np.inf}
    for _ in range(repeats):
        for steps in best:
            begin = time.process_time()
            ef.fit(start, X, max_iter=steps, tol=0)
            best[steps] = min(best[steps], time.process_time() - begin)
    return (best[more] - best[few]) / (more - few)


def products(n, K):
    """Print what an iteration of a product takes, as a share of what its parts take one after the other."""
    parts = [(ef.families.Gaussian("full"), 6), (ef.families.Categorical([4] * 3), 3), (ef.families.Poisson(), 2)]
    labels, columns, starts = RNG.integers(0, K, n), [], []
    R = np.eye(K)[labels]
    X = np.column_stack([
        RNG.normal(size=(n, 6)) + labels[:, None], (RNG.integers(0, 4, (n, 3)) + labels[:, None]) % 4,
        RNG.poisson(3 + labels[:, None], (n, 2)),
    ]).astype(float)  # fmt: skip
    first = 0
    for family, d in parts:
        here = np.arange(first, first + d)
        T = family.sufficient_statistics(X[:, here])
        natural = family.to_natural(R.T @ T / R.sum(axis=0)[:, None])
        starts.append((ef.Mixture(family, np.full(K, 1 / K), natural), np.ascontiguousarray(X[:, here])))
        columns.append((family, here))
        first += d
    product = ef.families.Product(columns)
    T = product.sufficient_statistics(X)
    whole = ef.Mixture(product, np.full(K, 1 / K), product.to_natural(R.T @ T / R.sum(axis=0)[:, None]))
    apart = sum(seconds_a_step(start, rows) for start, rows in starts)
    print(f"product of three families, {n:,} rows, K = {K}: {seconds_a_step(whole, X) / apart:.2f} of its parts")


def chunks():
    X, mixture = problem(500_000, 8, 8)
    print("1 / 2 threads:", ratio(*(lambda jobs=jobs: ef.accumulate(mixture, X, n_jobs=jobs) for jobs in (1, 2))))
    results = [ef.accumulate(mixture, X, n_jobs=jobs) for jobs in (1, 2, 5)]
    print("same bits for 1, 2 and 5 threads:", all(np.array_equal(r.sums, results[0].sums) for r in results))


if __name__ == "__main__":
    for sizes in ((100_000, 2, 3), (50_000, 4, 6), (50_000, 8, 16), (20_000, 16, 16), (5_000, 64, 16)):
        threads.undisturbed(kernels)(*sizes)
    chunks()
    products(100_000, 8)
    for distance in (0, 1e3, 1e5, 1e7):
        print(f"error of the covariance of data of width 1 at {distance:g}:", digits(distance))
