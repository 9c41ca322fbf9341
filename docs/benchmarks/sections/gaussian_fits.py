"""The same Gaussian mixture in every library: the same rows, the same start, the same number of iterations."""

import functools
import math
import time
from dataclasses import dataclass

import numpy as np
from harness.machine import THREADS
from harness.workers import best_of

EVALUATED = 20_000
"""Rows on which the parameters that libraries return are compared."""


@dataclass(frozen=True)
class Case:
    """Rows, columns, components, kind of covariance, and the two numbers of iterations whose difference is timed."""

    n: int
    d: int
    K: int
    kind: str = "full"
    iterations: tuple = (2, 6)

    def __str__(self):
        return f"{self.n:,} × {self.d}, K = {self.K}, {self.kind}"

    @property
    def statistics(self):
        """The number p of packed statistics of a full covariance."""
        return self.d + self.d * (self.d + 1) // 2


@functools.lru_cache(maxsize=1)
def problem(case):
    """Return rows and a start (weights, means, covariances): centres 2·N(0, I), covariances I."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((case.K, case.d))
    X = rng.standard_normal((case.n, case.d))
    X += centres[rng.integers(case.K, size=case.n)]
    means = centres + 0.5 * rng.standard_normal((case.K, case.d))
    eye = np.eye(case.d)
    covariances = {
        "full": np.tile(eye, (case.K, 1, 1)), "tied": eye, "diag": np.ones((case.K, case.d)),
        "spherical": np.ones(case.K),
    }[case.kind]  # fmt: skip
    return X, (np.full(case.K, 1 / case.K), means, covariances)


@functools.lru_cache(maxsize=1)
def tensors(case):
    """Return the problem as torch tensors of float64."""
    import torch

    torch.set_num_threads(THREADS)
    torch.set_default_dtype(torch.float64)
    X, start = problem(case)
    return torch.from_numpy(X), tuple(map(torch.from_numpy, start))


def _estimator(cls, case, iterations, **more):
    X, (weights, means, covariances) = problem(case)
    model = cls(
        case.K, covariance_type=case.kind, tol=0, reg_covar=0, max_iter=iterations, weights_init=weights,
        means_init=means, precisions_init=covariances, **more,
    ).fit(X)  # fmt: skip
    return model, (model.weights_, model.means_, model.covariances_)


def ours(case, iterations):
    import expfam_em as ef

    return _estimator(ef.GaussianMixture, case, iterations, n_jobs=THREADS)


def sklearn(case, iterations):
    from sklearn.mixture import GaussianMixture

    return _estimator(GaussianMixture, case, iterations)


def tgmm(case, iterations):
    from tgmm import GaussianMixture

    X, (weights, means, covariances) = tensors(case)
    model = GaussianMixture(
        n_components=case.K, n_features=case.d, covariance_type=case.kind, tol=1e-300, reg_covar=0.0,
        max_iter=iterations, init_weights=weights, init_means=means, init_covariances=covariances, device="cpu",
    ).fit(X)  # fmt: skip
    return model, (model.weights_, model.means_, model.covariances_)


def pomegranate(case, iterations):
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    if case.kind == "tied":
        raise NotImplementedError("no tied covariances")
    X, (weights, means, covariances) = tensors(case)
    kind = {"spherical": "sphere"}.get(case.kind, case.kind)
    if kind == "sphere":  # it takes one variance only as a vector of equal ones
        covariances = covariances[:, None].expand(case.K, case.d)
    parts = [Normal(m.clone(), c.clone(), kind, check_data=False) for m, c in zip(means, covariances, strict=True)]
    model = GeneralMixtureModel(parts, weights.clone(), max_iter=iterations, tol=-math.inf, check_data=False).fit(X)
    covs = [part.covs.numpy() for part in parts]
    fitted = np.array([c[0] for c in covs] if kind == "sphere" else covs)
    return model, (model.priors, np.array([part.means.numpy() for part in parts]), fitted)


FITS = {"ours": ours, "sklearn": sklearn, "tgmm": tgmm, "pomegranate": pomegranate}


def seconds(library, case, iterations):
    """Return the seconds of a fit of so many iterations."""
    return best_of(lambda: FITS[library](case, iterations))


def parameters(library, case, iterations):
    """Return weights, means and covariances after so many iterations, as arrays; it warms up as well."""
    return tuple(np.asarray(value) for value in FITS[library](case, iterations)[1])


def zero_share(library, case, iterations):
    """Return the share of the responsibilities that are exactly 0."""
    model, _ = FITS[library](case, iterations)
    return float(np.mean(model.predict_proba(problem(case)[0][:EVALUATED]) == 0))


def log_likelihood(case, fitted):
    """Return the mean log-likelihood of the first rows, by NumPy, from centred rows."""
    weights, means, covariances = fitted
    X = problem(case)[0][:EVALUATED]
    scores = np.empty((len(X), case.K))
    for k in range(case.K):
        root = np.linalg.cholesky(_matrix(case, covariances, k))
        whitened = np.linalg.solve(root, (X - means[k]).T)
        scores[:, k] = math.log(weights[k]) - np.log(np.diag(root)).sum() - 0.5 * np.sum(whitened**2, axis=0)
    top = scores.max(axis=1)
    total = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return float(total.mean() - 0.5 * case.d * math.log(2 * math.pi))


def distance(one, other):
    """Return the largest difference of weights, means and covariances, all of them of order 1."""
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in zip(one, other, strict=True))


def _matrix(case, covariances, k):
    if case.kind == "tied":
        return covariances
    return covariances[k] if case.kind == "full" else np.eye(case.d) * covariances[k]


def gemm_seconds(library, case, repeats=3):
    """Return the seconds of the two products of one iteration alone, (K, p)(p, n) and (K, n)(n, p).

    Streamed over blocks of rows that are used again and again; the fastest of three sizes of block, each with two
    threads inside a product and with two products side by side.
    """
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_limits

    best = math.inf
    with ThreadPoolExecutor(THREADS) as pool:
        for rows in (512, 2048, 8192):
            rows = min(rows, case.n // THREADS)
            for limit, shares in ((THREADS, 1), (1, THREADS)):
                streams = [_Stream(case, rows, case.n // shares) for _ in range(shares)]
                with threadpool_limits(limit):
                    for _ in range(repeats):
                        start = time.perf_counter()
                        list(pool.map(_Stream.run, streams))
                        best = min(best, time.perf_counter() - start)
    return best


class _Stream:
    """The two products over so many rows, from memory that stays the same."""

    def __init__(self, case, rows, n):
        rng = np.random.default_rng(0)
        self.count = max(1, round(n / rows))
        self.natural = rng.standard_normal((case.K, case.statistics))
        self.T = rng.standard_normal((case.statistics, rows))
        self.scores, self.sums = np.empty((case.K, rows)), np.empty((case.K, case.statistics))

    def run(self):
        for _ in range(self.count):
            np.matmul(self.natural, self.T, out=self.scores)
            np.matmul(self.scores, self.T.T, out=self.sums)
