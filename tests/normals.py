"""Rows of normal clusters, the estimators under test, and how far their results are from a centred reference."""

import numpy as np

import expfam_em as ef
from tests import centred
from tests.case import EPS

KINDS = ["full", "tied", "diag", "spherical"]
SHAPES = [(2, 1), (3, 2), (2, 3), (3, 5), (6, 6)]  # components, columns; the last is large enough for BLAS
SIZES = (70, 50, 40, 60)

# The reference in float64 instead of long double errs by at most 4e-15 in the problems of these tests: ten roundings
# in a sum of a hundred products, which EM hands on and contracts. 1e-12 leaves a factor of 300 for sums in another
# order and for the way to an answer, and is far below what a square of a distance in units of the width would lose:
# ε κ² = 2e-12 at κ = 100.
CLOSE = 1e-12


def direction(d):
    """A direction that no column is alone in."""
    u = np.cos(1.0 + np.arange(d))
    return u / np.linalg.norm(u)


def noise(n, d, rng):
    """Centred normal rows with correlated columns and variances near 1."""
    root = np.diag(rng.uniform(0.7, 1.4, d)) + np.tril(rng.uniform(-0.5, 0.5, (d, d)), -1)
    return rng.standard_normal((n, d)) @ root.T


def clusters(centres, seed=0):
    """Rows around centres (K, d), and their labels; the rows are rounded to float64 before anyone sees them."""
    rng = np.random.default_rng(seed)
    centres = np.asarray(centres, np.float64)
    sizes = [SIZES[k % len(SIZES)] for k in range(len(centres))]
    labels = np.repeat(np.arange(len(centres)), sizes)
    X = np.concatenate([noise(n, centres.shape[1], rng) for n in sizes]) + centres[labels]
    order = rng.permutation(len(X))
    return X[order], labels[order]


def blurred(labels, share=0.25, seed=1):
    """Responsibilities (n, K) that know the labels but for a share."""
    K = labels.max() + 1
    return (1 - share) * np.eye(K)[labels] + share * np.random.default_rng(seed).dirichlet(np.ones(K), len(labels))


def row_weights(n, seed=2):
    """Weights of which a tenth is 0."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.1, 3.0, n) * (rng.random(n) > 0.1)


def fitted(kind, X, K, w=None, generic=False, **parameters):
    """Fit by EM itself, without regularisation; ``generic`` is the estimator of any family."""
    parameters = {"tol": 0, "max_iter": 5, "random_state": 0, "acceleration": None} | parameters
    if generic:
        model = ef.ExponentialFamilyMixture(ef.families.Gaussian(kind, variance_floor=0.0), K, **parameters)
    else:
        model = ef.GaussianMixture(K, covariance_type=kind, reg_covar=0.0, **parameters)
    return model.fit(X, sample_weight=w)


def estimate(X, R, kind, w=None):
    """The reference M-step of responsibilities or labels."""
    R = np.eye(R.max() + 1)[R] if R.ndim == 1 else R
    return centred.estimate(X, R if w is None else w[:, None] * R, kind)


def reference(X, R, kind, steps, w=None):
    """The reference fit from responsibilities or labels."""
    return centred.run(X, estimate(X, R, kind, w), steps, kind, w)


def matrices(covariances, K, d):
    """Covariances of any type as (K, d, d)."""
    covariances = np.asarray(covariances)
    if covariances.shape == (K,):
        return covariances[:, None, None] * np.eye(d)
    if covariances.shape == (K, d) and (K, d) != (d, d):
        return covariances[:, :, None] * np.eye(d)
    return np.broadcast_to(covariances, (K, d, d))


def covariances_of(model, kind):
    """The covariances of a fitted estimator, (K, d, d)."""
    found = model.parameters_["covariances"]
    K, d = model.parameters_["means"].shape
    if kind == "diag":
        return found[:, :, None] * np.eye(d)
    return matrices(found, K, d)


def spread(normals):
    """Standard deviations (K, d)."""
    return np.sqrt(np.einsum("kii->ki", normals.covariances))


def covariance_error(model, normals, kind):
    """Largest error of a covariance in units of its two standard deviations."""
    s = spread(normals)
    error = np.abs(covariances_of(model, kind) - normals.covariances)
    return float((error / (s[:, :, None] * s[:, None, :])).max())


def mean_error(model, normals):
    """Largest error of a mean in standard deviations, beyond the rounding of means that are far from 0."""
    error = np.abs((model.parameters_["means"] - normals.origins) - normals.remainders)
    return float(((error - EPS * np.abs(normals.origins)) / spread(normals)).max())


def error_of(model, normals, kind):
    """Largest error of weights, means and covariances."""
    weights = float(np.abs(model.weights_ - normals.weights).max())
    return max(weights, mean_error(model, normals), covariance_error(model, normals, kind))


def whitened_error(model, normals, kind):
    """Largest relative error of a variance in any direction: the spectral norm of L⁻¹ (Σ̂ − Σ) L⁻ᵀ."""
    worst = 0.0
    for L, found, true in zip(
        centred.cholesky(normals.covariances), covariances_of(model, kind), normals.covariances, strict=True
    ):
        half = centred.solve(L, found - true)  # rows solved: (L⁻¹ E)ᵀ, E symmetric
        worst = max(worst, np.linalg.norm(centred.solve(L, half.T).astype(np.float64), 2))
    return float(worst)
