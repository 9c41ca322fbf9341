"""The kernels of common axes and of missing columns, compiled or not, beside SciPy."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import expfam_em as ef
from expfam_em.families import Gaussian
from expfam_em.families.gaussian.models import MODELS
from expfam_em.families.gaussian.packing import Triangle, root_of
from expfam_em.families.special.linalg import are_above, cholesky, invert, solve_lower
from expfam_em.kernels.recursion import two_loops


def rows(n=16, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * np.linspace(1, 2, d)
    X[: n // 2] += 6
    return X


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("floor", [0.0, 0.5])
@pytest.mark.parametrize("name", ["EVE", "VVE", "EVI", "EVV"])
def test_models_with_axes_or_a_volume_in_common(name, floor):
    X, labels = rows(), np.repeat([0, 1], 8)
    family = Gaussian(name, variance_floor=floor) if floor else Gaussian(name)
    model = ef.ExponentialFamilyMixture(family, 2, init=labels, max_iter=3, tol=0, guard=False, acceleration=None)
    one, other = model.fit(X).parameters_["covariances"]
    assert np.diff(model.lower_bounds_).min() >= -1e-12
    if name.endswith("E"):
        assert one @ other == pytest.approx(other @ one, rel=1e-6, abs=1e-9)
    if name.startswith("E") and not floor:
        one, other = (np.diag(value) if value.ndim == 1 else value for value in (one, other))
        assert np.linalg.det(one) == pytest.approx(np.linalg.det(other), rel=1e-8)


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("name", ["full", "tied"])
def test_columns_that_are_missing(name):
    X, labels = rows(), np.repeat([0, 1], 8)
    gaps = np.random.default_rng(1).random(X.shape) < 0.3
    gaps[0], gaps[:, 0] = [True, True, True], gaps[:, 0] & (np.arange(16) % 3 == 0)
    X[gaps] = np.nan
    family = Gaussian(name)
    model = ef.ExponentialFamilyMixture(family, 2, init=labels, max_iter=3, tol=0, guard=False, acceleration=None).fit(
        X
    )
    assert np.diff(model.lower_bounds_).min() >= -1e-12
    means, covariances = model.parameters_["means"], model.parameters_["covariances"]
    covariances = np.broadcast_to(covariances, (2, 3, 3))
    for x, found in zip(X, model.score_samples(X), strict=True):
        seen = np.flatnonzero(~np.isnan(x))
        logs = [0.0, 0.0]
        if len(seen):
            laws = [
                stats.multivariate_normal(m[seen], C[np.ix_(seen, seen)])
                for m, C in zip(means, covariances, strict=True)
            ]
            logs = [law.logpdf(x[seen]) for law in laws]
        assert found == pytest.approx(logsumexp(logs, b=model.weights_), rel=1e-9, abs=1e-12)


def positive(d, n=4, seed=0):
    factor = np.random.default_rng(seed).normal(size=(n, d, 2 * d)) * np.linspace(1, 3, d)[:, None]
    return factor @ factor.transpose(0, 2, 1) / d


@pytest.mark.parametrize("d", [1, 2, 5])
def test_matrices_are_factored_solved_and_inverted(d):
    S, right = positive(d), np.random.default_rng(1).normal(size=(4, d, 3))
    assert cholesky(S) == pytest.approx(np.linalg.cholesky(S), rel=1e-12, abs=1e-12)
    assert solve_lower(cholesky(S), right) == pytest.approx(np.linalg.solve(np.linalg.cholesky(S), right), rel=1e-11)
    inverse, log_det = invert(S)
    assert inverse == pytest.approx(np.linalg.inv(S), rel=1e-11)
    assert np.array_equal(inverse, inverse.transpose(0, 2, 1))
    assert log_det == pytest.approx(np.linalg.slogdet(S)[1], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    "wrong", [-np.eye(2), [[1, 2], [2, 1]], [[1, np.nan], [np.nan, 1]], [[1, np.inf], [np.inf, 1]]]
)
def test_a_matrix_that_is_not_positive_definite_is_not_a_number_and_leaves_others_alone(wrong):
    S = np.stack([np.eye(2), wrong, 4 * np.eye(2)])
    for found in (cholesky(S), invert(S)[0], solve_lower(cholesky(S), np.eye(2))):
        assert np.isnan(found[1]).all()
        assert np.isfinite(found[[0, 2]]).all()
    natural = Triangle()._pack(np.ones((3, 2)), -0.5 * S, 2.0)
    assert np.array_equal(Triangle().log_partition(natural) == np.inf, [False, True, False])
    assert np.isnan(Triangle().moments(natural)[0][1]).all()


@pytest.mark.parametrize("d", [1, 2, 5])
def test_variances_are_above_a_floor_for_certain_only_if_they_are(d):
    S = positive(d)
    least = np.linalg.eigvalsh(S).min()
    assert are_above(S, 1e-3 * least)
    assert not are_above(S, least)
    assert not are_above(np.concatenate([S, -S]), 0.0)
    assert not are_above(np.ones((1, d, d)), 0.0) or d == 1


def test_two_loops_are_the_update_of_broyden_fletcher_goldfarb_and_shanno():
    rng, m, q = np.random.default_rng(6), 3, 4
    curvature, inverse = (
        positive(q, 2, 7),
        positive(q, 2, 8),
    )  # that of the function, and the first guess of its inverse
    s, gradient = rng.normal(size=(2, m, q)), rng.normal(size=(2, q))
    y = s @ curvature
    pairs = 1 / np.sum(s * y, axis=2)
    pairs[1, -1] = 0.0  # a run with one pair less
    steps = np.einsum("lij,lj->li", inverse, gradient)
    two_loops(s, y, y @ inverse, pairs, gradient.copy(), steps, np.empty(m))
    for run, n_pairs in enumerate([3, 2]):
        H = inverse[run]
        for i in reversed(range(n_pairs)):  # the oldest first
            left = np.eye(q) - np.outer(s[run, i], y[run, i]) * pairs[run, i]
            H = left @ H @ left.T + np.outer(s[run, i], s[run, i]) * pairs[run, i]
        assert steps[run] == pytest.approx(H @ gradient[run], rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("d", [1, 2, 4])
def test_normal_densities_have_the_moments_and_the_volume_of_their_parameters(d):
    form, means, S = Triangle(), np.random.default_rng(2).normal(size=(4, d)), positive(d)
    natural = form.natural(means, S)
    X = np.random.default_rng(3).normal(size=(3, d))
    T = np.concatenate([X, (X[:, :, None] * X[:, None, :])[:, *np.triu_indices(d)]], axis=1)
    logs = T @ natural.T - form.log_partition(natural) - 0.5 * d * np.log(2 * np.pi)
    for k in range(4):
        assert logs[:, k] == pytest.approx(
            np.atleast_1d(stats.multivariate_normal(means[k], S[k]).logpdf(X)), rel=1e-11
        )
    assert form.moments(natural)[0] == pytest.approx(means, rel=1e-10, abs=1e-12)
    assert form.moments(natural)[1] == pytest.approx(S, rel=1e-10)
    root = root_of(form, natural)
    assert np.array_equal(root, np.tril(root))
    assert root == pytest.approx(np.linalg.cholesky(S), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("name", ["VEI", "VEE", "VEV"])
def test_no_other_volumes_are_likelier(name):
    """log |C| + d Σ n log λ is least where tr C⁻¹ S_k / (d λ_k) is 1: no derivative is left."""
    d, shares = 3, np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    S = np.stack([positive(d, 3, seed) * [[[1.0]], [[9.0]], [[0.1]]] for seed in (4, 5)])
    roots = np.sqrt(np.einsum("bkii->bki", S)) if name == "VEI" else np.linalg.cholesky(S)
    found = MODELS[name].nearest(shares, roots)
    Sigma = found[..., None] ** 2 * np.eye(d) if name == "VEI" else found @ np.swapaxes(found, 2, 3)
    assert np.einsum("bkij,bkji->bk", np.linalg.inv(Sigma), S) == pytest.approx(d, rel=1e-9)
    shapes = Sigma / np.linalg.det(Sigma)[..., None, None] ** (1 / d)
    spectra = np.linalg.eigvalsh(shapes)
    assert spectra == pytest.approx(np.broadcast_to(spectra[:, :1], spectra.shape), rel=1e-9)
