"""The same Gaussian mixture in every library: the same rows, the same start, the same number of iterations."""

import functools
import math
import time
from dataclasses import dataclass

import numpy as np
from harness import programs
from harness.machine import THREADS
from harness.timing import Fit, Time, best_of
from scipy.special import logsumexp, softmax

from sections.settings import DATA

EVALUATED = 20_000
"""Rows on which the parameters that libraries return are compared."""
MATTERS = 2.0**-60
"""Responsibility from which on a component matters to a row."""


@dataclass(frozen=True)
class Case:
    """Rows, columns, components, kind of covariance, the two numbers of iterations that are timed, and the setting."""

    n: int
    d: int
    K: int
    kind: str = "full"
    iterations: tuple = (2, 6)
    setting: str = "separated"

    def __str__(self):
        return f"{self.n:,} × {self.d}, K = {self.K}, {self.kind}"

    @property
    def statistics(self):
        """The number p of packed statistics of a full covariance."""
        return self.d + self.d * (self.d + 1) // 2


@functools.lru_cache(maxsize=1)
def problem(case):
    """Return rows and a start: weights, means, and the variance v of covariances v·I."""
    X, means, variance = DATA[case.setting](case.n, case.d, case.K)
    return X, (np.full(case.K, 1 / case.K), means, variance)


def isotropic(case, value):
    """Return value·I for each component, in the form that the kind of covariance has."""
    shape = {"full": (case.K, 1, 1), "tied": (1, 1), "diag": (case.K, 1), "spherical": (case.K,)}[case.kind]
    unit = np.eye(case.d) if case.kind in ("full", "tied") else np.ones(case.d if case.kind == "diag" else 1)
    return value * (np.ones(shape) * unit)


def _start(case):
    weights, means, variance = problem(case)[1]
    return weights, means, isotropic(case, variance)


@functools.lru_cache(maxsize=1)
def tensors(case):
    """Return the problem as torch tensors of float64."""
    import torch

    torch.set_num_threads(THREADS)
    torch.set_default_dtype(torch.float64)
    return torch.from_numpy(problem(case)[0]), tuple(map(torch.from_numpy, _start(case)))


def _estimator(cls, case, iterations, **more):
    X, (weights, means, variance) = problem(case)
    model = cls(
        case.K, covariance_type=case.kind, tol=0, reg_covar=0, max_iter=iterations, weights_init=weights,
        means_init=means, precisions_init=isotropic(case, 1 / variance), **more,
    ).fit(X)  # fmt: skip
    return Fit((model.weights_, model.means_, model.covariances_), model)


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
    return Fit((model.weights_, model.means_, model.covariances_), model)


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
    return Fit((model.priors, np.array([part.means.numpy() for part in parts]), fitted), model)


def _of_kind(case, covariances):
    """Return full covariances of all components in the form that the kind has."""
    full = np.reshape(covariances, (case.K, case.d, case.d))
    diagonals = np.einsum("kii->ki", full)
    return {"full": full, "tied": full[0], "diag": diagonals, "spherical": diagonals[:, 0]}[case.kind]


def _program(program, case, start, *arguments):
    time, numbers = programs.run(program, programs.stored(problem, case), start, *arguments)
    weights, means, covariances = np.split(numbers, np.cumsum([case.K, case.K * case.d]))
    return Fit((weights, means.reshape(case.K, case.d), _of_kind(case, covariances)), None, time)


def armadillo(case, iterations):
    if case.kind not in ("full", "diag"):
        raise NotImplementedError("full and diagonal covariances only")
    return _program("armadillo", case, problem(case)[1], case.kind, case.n, case.d, case.K, iterations)


def mclust(case, iterations):
    more = case.n, case.d, case.K, case.kind, iterations
    return _program("mclust", case, problem(case)[1], "mclust_normal", *more)


def flexmix(case, iterations):
    if case.kind not in ("full", "diag"):
        raise NotImplementedError("full and diagonal covariances only")
    more = case.n, case.d, case.K, case.kind, iterations
    return _program("flexmix", case, (responsibilities(case),), "flexmix_normal", *more)


@functools.lru_cache(maxsize=1)
def responsibilities(case):
    """Return the responsibilities at the start, which are what flexmix can be given."""
    return softmax(scores(problem(case)[0], case, _start(case)), axis=1)


def mlpack(case, iterations):
    """Return no parameters: k-means chooses where it starts, as long for both numbers of iterations."""
    import mlpack as library

    if case.kind not in ("full", "diag"):
        raise NotImplementedError("full and diagonal covariances only")
    library.gmm_train(
        input_=problem(case)[0], gaussians=case.K, diagonal_covariance=case.kind == "diag", tolerance=1e-300, seed=1,
        max_iterations=iterations, kmeans_max_iterations=1,
    )  # fmt: skip
    return Fit(())


def mixle(case, iterations):
    from mixle.inference.estimation import optimize
    from mixle.stats import DiagonalGaussianDistribution, MixtureDistribution
    from mixle.stats.latent.gaussian_mixture import GaussianMixtureDistribution

    X, (weights, means, covariances) = problem(case)[0], _start(case)
    if case.kind == "full":
        start = GaussianMixtureDistribution(mu=means, sig2=covariances, w=weights)
    elif case.kind == "diag":
        pairs = zip(means, covariances, strict=True)
        start = MixtureDistribution([DiagonalGaussianDistribution(m, c) for m, c in pairs], weights)
    else:
        raise NotImplementedError("full and diagonal covariances only")
    steps = {"max_its": iterations, "delta": None, "monotone": False, "track_best": False}
    model = optimize(X, start.estimator(), prev_estimate=start, **steps)
    spread = np.array([part.covar for part in model.components])
    return Fit((np.asarray(model.w), np.array([part.mu for part in model.components]), spread), model)


FITS = {
    "ours": ours, "sklearn": sklearn, "tgmm": tgmm, "pomegranate": pomegranate, "armadillo": armadillo,
    "mlpack": mlpack, "mixle": mixle, "mclust": mclust, "flexmix": flexmix,
}  # fmt: skip


def timed(library, case, iterations):
    """Return the Time of a fit of so many iterations."""
    return best_of(lambda: FITS[library](case, iterations))


def parameters(library, case, iterations):
    """Return weights, means and covariances after so many iterations, as arrays; it warms up as well."""
    return tuple(np.asarray(value) for value in FITS[library](case, iterations).parameters)


def matter(library, case, iterations):
    """Return how many components matter to a row of the first ones, on average."""
    model = FITS[library](case, iterations).model
    return float(np.mean(np.sum(model.predict_proba(problem(case)[0][:EVALUATED]) > MATTERS, axis=1)))


def scores(X, case, fitted):
    """Return log(weight × density) of rows and components by NumPy, from centred rows."""
    weights, means, covariances = fitted
    found = np.empty((len(X), case.K))
    for k in range(case.K):
        root = np.linalg.cholesky(_matrix(case, covariances, k))
        whitened = np.linalg.solve(root, (X - means[k]).T)
        found[:, k] = math.log(weights[k]) - np.log(np.diag(root)).sum() - 0.5 * np.sum(whitened**2, axis=0)
    return found - 0.5 * case.d * math.log(2 * math.pi)


def log_likelihood(case, fitted):
    """Return the mean log-likelihood of the first rows."""
    return float(logsumexp(scores(problem(case)[0][:EVALUATED], case, fitted), axis=1).mean())


def distance(one, other):
    """Return the largest difference of weights, means and covariances, each relative to its largest entry or 1."""
    pairs = ((np.asarray(a), np.asarray(b)) for a, b in zip(one, other, strict=True))
    return max(float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1)) for a, b in pairs)


def _matrix(case, covariances, k):
    if case.kind == "tied":
        return covariances
    return covariances[k] if case.kind == "full" else np.eye(case.d) * covariances[k]


def gemm_timed(library, case, repeats=3):
    """Return the Time of the two products of one iteration alone, (K, p)(p, n) and (K, n)(n, p).

    Streamed over blocks of rows that are used again and again; the fastest of three sizes of block, each with two
    threads inside a product and with two products side by side.
    """
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_limits

    best = Time(math.inf, math.inf)
    with ThreadPoolExecutor(THREADS) as pool:
        for rows in (512, 2048, 8192):
            rows = min(rows, case.n // THREADS)
            for limit, shares in ((THREADS, 1), (1, THREADS)):
                streams = [_Stream(case, rows, case.n // shares) for _ in range(shares)]
                with threadpool_limits(limit):
                    for _ in range(repeats):
                        wall, cpu = time.perf_counter(), time.process_time()
                        list(pool.map(_Stream.run, streams))
                        best = min(best, Time(time.perf_counter() - wall, time.process_time() - cpu))
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
