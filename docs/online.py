"""How far one pass over a stream ends below EM of all rows: ``python docs/online.py [starts] [family ...]``.

A start is k-means++ and five steps of EM on the first 10,000 of 2,000,000 rows. EM of all rows begins there: 30 steps,
then accelerated ones until less than 1e-7 per row is left to gain. The table says by how much log-likelihoods per row
are below its end, in millionths: of the start, of `Stream` from there, of `partial_fit` from there, which first fits
the first 20,000 rows, and of three more steps of EM. Less than nothing is a better maximum.
"""

import sys
import time

import numpy as np

import expfam_em as ef

N, K, HEAD = 2_000_000, 8, 10_000


def gaussian(rng):
    """Correlated Gaussians in five columns."""
    means, roots = rng.normal(0, 2.2, (K, 5)), rng.normal(0, 0.5, (K, 5, 5)) + np.eye(5)
    label = rng.choice(K, N, p=rng.dirichlet(np.full(K, 3.0)))
    X = rng.standard_normal((N, 5))
    for k in range(K):
        X[label == k] = X[label == k] @ roots[k].T + means[k]
    return ef.families.Gaussian("full"), X


def poisson(rng):
    """Counts in ten columns."""
    rates, label = rng.gamma(2.0, 2.0, (K, 10)), rng.choice(K, N, p=rng.dirichlet(np.full(K, 3.0)))
    return ef.families.Poisson(), rng.poisson(rates[label]).astype(np.float64)


def bernoulli(rng):
    """Binary data in thirty columns."""
    chances, label = rng.beta(0.8, 0.8, (K, 30)), rng.choice(K, N, p=rng.dirichlet(np.full(K, 3.0)))
    return ef.families.Bernoulli(), (rng.random((N, 30), np.float32) < chances[label]).astype(np.uint8)


def mean_log_likelihood(mixture, X):
    """Return the mean log-likelihood of all rows."""
    return float(ef.accumulate(mixture, X).bound) / N


def compare(name, n_starts):
    """Print a line for each start."""
    plain, X = {"gaussian": gaussian, "poisson": poisson, "bernoulli": bernoulli}[name](np.random.default_rng(11))
    family, gaps = plain.bind([(X[:HEAD], None)]), []
    for seed in range(n_starts):
        drawn = ef.ExponentialFamilyMixture(plain, K, init="k-means++", random_state=seed, max_iter=0).fit(X[:HEAD])
        start = ef.fit(drawn.mixture_.in_family(family), X[:HEAD], max_iter=5, tol=0).mixture
        clock = time.process_time()
        stream = ef.Stream.of(start).after(X).mixture
        seconds = time.process_time() - clock
        fitted = ef.ExponentialFamilyMixture(plain, K, init=start, max_iter=1000).partial_fit(X).mixture_
        steps = ef.fit(start, X, max_iter=30, tol=0)
        batch = ef.fit(steps.mixture, X, max_iter=2000, tol=1e-7, acceleration="auto")
        assert batch.status is ef.Status.CONVERGED
        three = ef.fit(fitted, X, max_iter=3, tol=0)
        found = np.array([steps.bounds[0], N * mean_log_likelihood(stream, X), three.bounds[0], three.bound])
        gaps.append((batch.bound - found) / N)
        print(
            f"{name:10} {seed:5}",
            *(f"{1e6 * gap:12.1f}" for gap in gaps[-1]),
            f"{steps.n_iter + batch.n_iter:6} {seconds:8.1f}",
            flush=True,
        )
    noise = batch.mixture.n_parameters / (2 * N)
    for column, who in ((1, "Stream"), (2, "partial_fit"), (3, "and 3 steps")):
        ends = np.array(gaps)[:, column]
        print(f"{name}: {who}: {np.sum(ends <= 1e-4)} of {n_starts} within 1e-4, {np.sum(ends < -1e-4)} of them better")
    print(f"{name}: sampling noise is {1e6 * noise:.0f}", flush=True)


if __name__ == "__main__":
    heads = ("of the start", "Stream", "partial_fit", "and 3 steps")
    print(f"{'':10} {'start':>5}", *(f"{head:>12}" for head in heads), f"{'steps':>6} {'CPU s':>8}")
    for name in sys.argv[2:] or ("gaussian", "poisson", "bernoulli"):
        compare(name, int(sys.argv[1]) if len(sys.argv) > 1 else 20)
