"""The same numbers as scikit-learn, step by step from the same start."""

import numpy as np
import pytest
from sklearn import cluster, mixture

import expfam_em as ef

# Both sides sum the same n terms in another order and invert the same covariances by other routes: ε · n · cond(Σ) of
# relative error per step at worst, 2e-16 · 400 · 1e3 here, and EM contracts towards the fixed point instead of
# amplifying. 1e-8 leaves room for that over 100 steps and for nothing else.
CLOSE = {"rtol": 1e-8, "atol": 1e-8}
STEPS = [1, 2, 10, 100]
TYPES = ["full", "tied", "diag", "spherical"]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # max_iter is the question


@pytest.fixture(params=["iris", "blobs", "offset"])
def data(request):
    if request.param == "offset":
        return request.getfixturevalue("blobs") * [1.0, 10.0, 0.1] + [100.0, -1000.0, 5.0]
    return request.getfixturevalue(request.param)


def start_of(X, kind, K=3):
    """Weights, means and precisions that a mixture of K may start from."""
    rng = np.random.default_rng(0)
    spread = X.var(axis=0)
    precisions = {
        "full": np.repeat(np.diag(1 / spread)[None], K, axis=0),
        "tied": np.diag(1 / spread),
        "diag": np.repeat(1 / spread[None], K, axis=0),
        "spherical": np.full(K, 1 / spread.mean()),
    }[kind]
    weights = np.arange(1.0, K + 1)
    return {
        "weights_init": weights / weights.sum(),
        "means_init": X[rng.choice(len(X), K, replace=False)],
        "precisions_init": precisions,
    }


def both(X, kind, **parameters):
    args = {"n_components": 3, "covariance_type": kind, "random_state": 0} | parameters
    return ef.GaussianMixture(**args).fit(X), mixture.GaussianMixture(**args).fit(X)


# ---- Gaussian mixtures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("kind", TYPES)
def test_gaussian_mixture_after_some_steps(data, kind, steps):
    ours, theirs = both(data, kind, **start_of(data, kind), tol=0, max_iter=steps)
    assert ours.n_iter_ == theirs.n_iter_ == steps
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), **CLOSE, err_msg=name)
    np.testing.assert_allclose(ours.score_samples(data), theirs.score_samples(data), **CLOSE)
    np.testing.assert_allclose(ours.predict_proba(data), theirs.predict_proba(data), **CLOSE)
    assert ours.lower_bound_ == pytest.approx(theirs.score(data), rel=1e-8)
    for step in (step for step in STEPS if 2 <= step <= steps):  # theirs are bounds before a step, ours after it
        _, then = both(data, kind, **start_of(data, kind), tol=0, max_iter=step)
        assert ours.lower_bounds_[step - 2] == pytest.approx(then.lower_bound_, rel=1e-8)


@pytest.mark.parametrize("kind", TYPES)
def test_a_converged_fit_is_the_same(data, kind):
    ours, theirs = both(data, kind, **start_of(data, kind), tol=1e-10, max_iter=5000)
    assert ours.converged_
    # A stop at a change below 1e-10 of a bound that gains a factor ρ per step leaves 1e-10·ρ/(1 − ρ) to gain, here
    # below 1e-7 for both; parameters depend on the square root of it.
    assert ours.score(data) == pytest.approx(theirs.score(data), abs=1e-7)
    np.testing.assert_allclose(ours.predict_proba(data), theirs.predict_proba(data), atol=1e-3)


@pytest.mark.parametrize("kind", TYPES)
def test_methods_agree_at_the_same_parameters(data, kind):
    theirs = mixture.GaussianMixture(3, covariance_type=kind, random_state=0, max_iter=500).fit(data)
    given = {"weights_init": theirs.weights_, "means_init": theirs.means_, "precisions_init": theirs.precisions_}
    ours = ef.GaussianMixture(3, covariance_type=kind, max_iter=0, **given).fit(data)
    elsewhere = data[::3] + 0.1 * data.std(axis=0)
    for X in (data, elsewhere):
        np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), **CLOSE)
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), **CLOSE)
        assert np.array_equal(ours.predict(X), theirs.predict(X))
        assert ours.score(X) == pytest.approx(theirs.score(X), rel=1e-10)
        assert ours.aic(X) == pytest.approx(theirs.aic(X), rel=1e-10)
        assert ours.bic(X) == pytest.approx(theirs.bic(X), rel=1e-10)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), **CLOSE, err_msg=name)


@pytest.mark.parametrize("kind", TYPES)
def test_defaults_find_the_same_clusters(blobs, kind):
    ours, theirs = both(blobs, kind)
    # the k-means starts differ, and with tol=1e-3 so does where each stops: what is the same is the partition
    assert ours.score(blobs) == pytest.approx(theirs.score(blobs), abs=1e-2)
    table = np.zeros((3, 3))
    np.add.at(table, (ours.predict(blobs), theirs.predict(blobs)), 1)
    assert table.max(axis=1).sum() >= 0.97 * len(blobs)


@pytest.mark.parametrize("kind", TYPES)
def test_weights_are_repetitions_for_scikit_learn_too(data, kind):
    times = np.random.default_rng(3).integers(0, 4, len(data))
    args = start_of(data, kind) | {"n_components": 3, "covariance_type": kind, "tol": 0, "max_iter": 10}
    ours = ef.GaussianMixture(**args).fit(data, sample_weight=times)
    repeated = np.repeat(data, times, axis=0)
    theirs = mixture.GaussianMixture(**args).fit(repeated)
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), **CLOSE, err_msg=name)
    assert ours.lower_bound_ == pytest.approx(theirs.score(repeated), rel=1e-8)
    assert ours.score(data, sample_weight=times) == pytest.approx(theirs.score(repeated), rel=1e-8)
    assert ours.aic(data, sample_weight=times) == pytest.approx(theirs.aic(repeated), rel=1e-8)
    assert ours.bic(data, sample_weight=times) == pytest.approx(theirs.bic(repeated), rel=1e-8)


@pytest.mark.parametrize("kind", TYPES)
def test_float32_rows_lose_only_their_own_rounding(data, kind):
    rounded = data.astype(np.float32)
    args = start_of(data, kind) | {"n_components": 3, "covariance_type": kind, "tol": 0, "max_iter": 10}
    single = ef.GaussianMixture(**args).fit(rounded)
    double = ef.GaussianMixture(**args).fit(rounded.astype(np.float64))
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(single, name).dtype == np.float32, name
        assert getattr(double, name).dtype == np.float64, name
    assert single.predict_proba(rounded).dtype == single.score_samples(rounded).dtype == np.float32
    error = np.abs(single.covariances_ - double.covariances_)
    assert error.max() <= 1e-6 * np.abs(double.covariances_).max()
    np.testing.assert_allclose(single.means_, double.means_, rtol=1e-6)


def test_partial_starts_are_completed(blobs):
    given = start_of(blobs, "full")
    for name, value in given.items():
        fit = ef.GaussianMixture(3, max_iter=0, random_state=0, **{name: value}).fit(blobs)
        attribute = {"weights_init": "weights_", "means_init": "means_", "precisions_init": "precisions_"}[name]
        np.testing.assert_allclose(getattr(fit, attribute), value, **CLOSE)


# ---- k-means -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("K", [2, 5, 12])
def test_k_means_after_some_steps(data, K, steps, weighted):
    rng = np.random.default_rng(K)
    centres = data[rng.choice(len(data), K, replace=False)]
    # off the grid of the iris data, where many rows are equally far from two others and rounding would decide
    centres = centres + 0.01 * data.std(axis=0) * rng.standard_normal(centres.shape)
    weight = rng.uniform(0.1, 3.0, len(data)) if weighted else None
    args = {"init": centres, "n_init": 1, "max_iter": steps, "tol": 0}
    theirs = cluster.KMeans(K, **args).fit(data, sample_weight=weight)
    ours = ef.KMeans(K, **args).fit(data, sample_weight=weight)
    assert np.array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, **CLOSE)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-8)
    assert np.array_equal(ours.predict(data), theirs.predict(data))
    np.testing.assert_allclose(ours.transform(data), theirs.transform(data), rtol=1e-8, atol=1e-6 * np.abs(data).max())
    assert ours.score(data) == pytest.approx(theirs.score(data), rel=1e-8)


@pytest.mark.parametrize("tol", [1e-4, 1e-2, 0.3])
def test_k_means_stops_where_scikit_learn_stops(data, tol):
    rng = np.random.default_rng(2)
    centres = data[rng.choice(len(data), 6, replace=False)] + 0.01 * data.std(axis=0) * rng.standard_normal((6, 1))
    ours, theirs = (kind(6, init=centres, n_init=1, tol=tol).fit(data) for kind in (ef.KMeans, cluster.KMeans))
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, **CLOSE)


def test_k_means_default_is_as_good(blobs):
    ours = ef.KMeans(3, random_state=0, n_init=5).fit(blobs)
    theirs = cluster.KMeans(3, random_state=0, n_init=5).fit(blobs)
    # both stop once the centres move by less than 1 % of the spread of the columns (tol=1e-4 of its square)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-3)
