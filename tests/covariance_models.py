"""Rows for the covariance models, their M-steps, and what their names promise."""

import numpy as np

from expfam_em.families import Gaussian
from tests import normals as rows_of

MODELS = ["EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"]
FREE = {"VII": "spherical", "VVI": "diag", "VVV": "full"}
OPEN = [name for name in MODELS if name not in FREE]


def like(name):
    """The free type whose covariances have the same shape."""
    if name.islower():
        return name
    return "spherical" if name.endswith("II") else "diag" if name.endswith("I") else "full"


def matrices(name, covariances, K, d):
    """Covariances of a model as matrices (K, d, d)."""
    if like(name) == "diag":
        return covariances[:, :, None] * np.eye(d)
    if like(name) == "spherical":
        return covariances[:, None, None] * np.eye(d)
    return np.broadcast_to(covariances, (K, d, d))


def problem(seed, K, d, spread=1.0):
    """Weighted rows of clusters of all volumes, shapes and orientations, and responsibilities."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), 30 + 15 * np.arange(K))
    roots = [np.linalg.qr(rng.standard_normal((d, d)))[0] * np.exp(rng.normal(0, 0.7, d)) for _ in range(K)]
    centres = spread * 2 * rng.standard_normal((K, d))
    X = np.concatenate([rng.standard_normal((np.sum(labels == k), d)) @ roots[k].T + centres[k] for k in range(K)])
    return X, rng.uniform(0.2, 2.0, len(X)), rows_of.blurred(labels, seed=seed)


def scatters(X, r):
    """Counts (K,), means and covariances of the weighted responsibilities."""
    counts = r.sum(axis=0)
    means = (r.T @ X) / counts[:, None]
    return counts, means, np.array([
        (X - m).T @ ((X - m) * c[:, None]) / c.sum() for m, c in zip(means, r.T, strict=True)
    ])  # fmt: skip


def loss(counts, S, Sigma):
    """Σ_k n_k (log |Σ_k| + tr Σ_k⁻¹ S_k) per unit of weight: minus twice the expected log-likelihood."""
    terms = np.linalg.slogdet(Sigma)[1] + np.einsum("kij,kji->k", np.linalg.inv(Sigma), S)
    return counts @ terms / counts.sum()


def m_step(name, X, w, R, d, **options):
    """Counts, free covariances, and those of one M-step of the family."""
    family = Gaussian(name, **options).bind([(X, w)])
    r = w[:, None] * R
    K = R.shape[1]
    T = family.sufficient_statistics(X)
    counts, _, S = scatters(X, r)
    natural = family.maximize(counts, r.T @ T)
    return counts, S, matrices(name, family.parameters(natural)["covariances"], K, d)


def check_structure(name, found, tolerance=1e-10):
    """Assert that volumes, shapes and orientations are equal where the name says so."""
    d = found.shape[1]
    log_volumes = np.linalg.slogdet(found)[1] / d
    if name[0] == "E":
        assert np.ptp(log_volumes) <= tolerance
    shapes = np.linalg.eigvalsh(found) / np.exp(log_volumes)[:, None]
    if name[1] == "E":
        assert np.max(np.abs(shapes / shapes[0] - 1)) <= tolerance
    elif name[1] == "I":
        assert np.max(np.abs(shapes - 1)) <= tolerance
    s = np.sqrt(np.einsum("kii->ki", found))
    scaled = found / (s[:, :, None] * s[:, None, :])
    if name[2] == "I":
        assert np.max(np.abs(scaled - np.eye(d))) <= tolerance
    elif name[2] == "E":  # covariances with common axes commute
        sizes = np.linalg.norm(found, axis=(1, 2))
        for a, x in zip(found, sizes, strict=True):
            for b, y in zip(found, sizes, strict=True):
                assert np.max(np.abs(a @ b - b @ a)) <= tolerance * x * y


def start_moments(name, X, K, d):
    """Means among the rows, and unit covariances."""
    unit = {"full": np.eye(d), "diag": np.ones(d), "spherical": np.array(1.0)}[like(name)]
    return X[:K], np.repeat(unit[None], K, axis=0)
