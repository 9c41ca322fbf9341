"""Textbook EM for normal mixtures in extended precision, with centred two-pass covariances.

A mean is kept in two parts, a float64 origin near it and a remainder: x − origin is exact for the rows of the component
itself, while a mean in one extended number would be off by 1e-11 σ at 1e8 σ from zero.
"""

from dataclasses import dataclass

import mpmath
import numpy as np

LONG = np.longdouble
EXTENDED = bool(np.finfo(LONG).eps < 2e-19)  # elsewhere long double is float64 and no reference


@dataclass(frozen=True)
class Normals:
    """K weighted normal densities with means ``origins + remainders``, (K, d), and covariances (K, d, d)."""

    weights: np.ndarray
    origins: np.ndarray
    remainders: np.ndarray
    covariances: np.ndarray

    @property
    def means(self):
        return self.origins.astype(LONG) + self.remainders


def cholesky(matrices):
    """Lower Cholesky factors, (K, d, d), in the precision of the matrices."""
    L = np.zeros_like(matrices)
    for j in range(matrices.shape[-1]):
        rest = matrices[:, j:, j] - np.einsum("kil,kl->ki", L[:, j:, :j], L[:, j, :j])
        L[:, j:, j] = rest / np.sqrt(rest[:, :1])
    return L


def solve(L, D):
    """Z with L Zᵀ = Dᵀ for one lower triangular L, (n, d)."""
    Z = np.empty_like(D)
    for j in range(len(L)):
        Z[:, j] = (D[:, j] - Z[:, :j] @ L[j, :j]) / L[j, j]
    return Z


def scores(X, normals):
    """log π_k + log N(x|μ_k, Σ_k), (n, K)."""
    L = cholesky(normals.covariances)
    out = np.empty((len(X), len(L)), L.dtype)
    for k, factor in enumerate(L):
        Z = solve(factor, (X.astype(L.dtype) - normals.origins[k]) - normals.remainders[k])
        out[:, k] = -0.5 * np.sum(Z**2, axis=1) - np.log(np.diag(factor)).sum()
    with np.errstate(divide="ignore"):
        return out + np.log(normals.weights) - X.shape[1] * np.log(2 * np.arccos(LONG(-1)).astype(L.dtype)) / 2


def log_sum_exp(S):
    top = S.max(axis=1, keepdims=True)
    return top + np.log(np.exp(S - top).sum(axis=1, keepdims=True))


def log_density(X, normals):
    """log p(x), (n,)."""
    return log_sum_exp(scores(X, normals))[:, 0]


def responsibilities(X, normals):
    """p(k|x), (n, K)."""
    S = scores(X, normals)
    return np.exp(S - log_sum_exp(S))


def of_kind(kind, covariances, counts):
    """The covariances of largest likelihood of a type, given the free ones, all (K, d, d)."""
    d = covariances.shape[-1]
    if kind == "tied":
        pooled = np.einsum("k,kij->ij", counts, covariances) / counts.sum()
        return np.broadcast_to(pooled, covariances.shape)
    if kind == "diag":
        return covariances * np.eye(d, dtype=covariances.dtype)
    if kind == "spherical":
        mean = np.einsum("kii->k", covariances) / d
        return mean[:, None, None] * np.eye(d, dtype=covariances.dtype)
    return covariances


def estimate(X, R, kind, number=LONG):
    """The M-step of weighted responsibilities (n, K): first the means, then the products about them."""
    R = R.astype(number)
    counts = R.sum(axis=0)
    origins, remainders, covariances = [], [], []
    for r, count in zip(R.T, counts, strict=True):
        start = X[np.argmax(r)]
        origin = (start + r @ (X.astype(number) - start) / count).astype(np.float64)
        D = X.astype(number) - origin
        remainder = r @ D / count
        D = D - remainder
        origins.append(origin)
        remainders.append(remainder)
        covariances.append((D * r[:, None]).T @ D / count)
    covariances = of_kind(kind, np.array(covariances), counts)
    return Normals(counts / counts.sum(), np.array(origins), np.array(remainders), covariances)


def from_parameters(weights, means, covariances, number=LONG):
    """Normals with the parameters given, covariances (K, d, d)."""
    means = np.asarray(means, np.float64)
    return Normals(
        np.asarray(weights, number), means, np.zeros_like(means, number), np.asarray(covariances, number)
    )  # fmt: skip


def run(X, start, steps, kind, w=None, number=LONG):
    """The normals after some EM steps from others."""
    w = np.ones((len(X), 1), number) if w is None else np.asarray(w)[:, None].astype(number)
    for _ in range(steps):
        start = estimate(X, w * responsibilities(X, start), kind, number)
    return start


def as_mp(value):
    """The number in mpmath, exactly."""
    high = np.float64(value)
    return mpmath.mpf(float(high)) + mpmath.mpf(float(LONG(value) - high))


def mp_log_density(X, normals):
    """log p(x) in mpmath, (n,)."""
    d = X.shape[1]
    components = []
    for weight, mean, covariance in zip(normals.weights, normals.means, normals.covariances, strict=True):
        S = mpmath.matrix([[as_mp(v) for v in row] for row in covariance])
        constant = mpmath.log(as_mp(weight)) - (d * mpmath.log(2 * mpmath.pi) + mpmath.log(mpmath.det(S))) / 2
        components.append((constant, S**-1, mean))
    return np.array([float(mp_log_density_of_row(x, normals, components)) for x in X])


def mp_log_density_of_row(x, normals, components):
    terms = []
    for k, (constant, P, _) in enumerate(components):
        pairs = zip(x, normals.origins[k], normals.remainders[k], strict=True)
        z = mpmath.matrix([mpmath.mpf(float(v)) - mpmath.mpf(float(o)) - as_mp(r) for v, o, r in pairs])
        terms.append(constant - (z.T * P * z)[0] / 2)
    top = max(terms)
    return top + mpmath.log(sum(mpmath.exp(t - top) for t in terms))
