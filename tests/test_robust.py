"""Rows that lie far out: they move neither floors under variances nor the starts of families with heavy tails."""

import numpy as np
import pytest
from scipy import optimize, stats

import expfam_em as ef
from expfam_em import families

KINDS = ["full", "diag", "spherical"]


def fitted(family, X, K=1, **how):
    return ef.ExponentialFamilyMixture(family, K, **({"random_state": 0} | how)).fit(X)


def with_outlier(far, n=400):
    return np.append(np.random.default_rng(0).normal(size=n), far)[:, None]


@pytest.mark.parametrize("far", [1e4, 1e7, 1e10, -1e14])
@pytest.mark.parametrize("kind", KINDS)
def test_an_outlier_leaves_the_scale_of_t_as_it_is(far, kind):
    X = with_outlier(far)
    model = fitted(families.StudentT(covariance_type=kind), X, tol=1e-11, max_iter=2000)

    def loss(packed):
        return -stats.t.logpdf(X[:, 0], np.exp(packed[2]), packed[0], np.exp(packed[1])).mean()

    found = optimize.minimize(loss, [0.0, 0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-13})
    assert model.lower_bound_ == pytest.approx(-found.fun, abs=1e-7)  # a root of the tolerance of the step
    assert model.parameters_["scales"].ravel()[0] == pytest.approx(np.exp(2 * found.x[1]), rel=1e-3)
    assert model.mixture_.edges == {}


def test_heavier_tails_than_those_of_cauchy_are_fitted_as_well_as_by_the_truth():
    X = stats.t.rvs(0.5, size=5000, random_state=1)[:, None]
    model = fitted(families.StudentT(), X)
    assert model.lower_bound_ >= stats.t.logpdf(X[:, 0], 0.5).mean()


@pytest.mark.parametrize("far", [1e4, 1e9, 1e13])
def test_uniform_noise_leaves_the_variance_beside_it_as_it_is(far):
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.normal(size=900), rng.uniform(-far, far, 100)])[:, None]
    family = families.Componentwise([(families.Gaussian(), 1), (families.Uniform(), 1)])
    assert fitted(family, X, 2).parameters_["gaussian_covariances"].ravel() == pytest.approx([1.0], rel=0.1)


@pytest.mark.parametrize("make", [
    lambda floor: families.Gaussian("full", variance_floor=floor),
    lambda floor: families.Gaussian("spherical", variance_floor=floor),
    lambda floor: families.StudentT(5.0, "diag", variance_floor=floor),
    lambda floor: families.Componentwise([(families.StudentT(5.0, variance_floor=floor), 2)]),
    lambda floor: families.Product([(families.Gaussian(variance_floor=floor), [0])]),
    lambda floor: families.LogNormal(variance_floor=floor),
])  # fmt: skip
def test_components_at_the_floor_are_named_and_the_user_sets_it(make):
    X = np.exp(np.append(np.random.default_rng(0).normal(size=60), np.full(20, 3.5)))[:, None]
    labels = np.repeat([0, 1], [60, 20])
    for floor in (1e-8, 1e-4):
        model = fitted(make(floor), X, 2, init=labels, tol=1e-3)
        [(edge, which)] = model.mixture_.edges.items()
        assert edge.endswith("at variance_floor")
        assert which == (1,)
        assert model.status_.endswith(f" Component 1 is {edge}.")
        name = next(name for name in model.parameters_ if name.endswith(("covariances", "scales")))
        variance = model.parameters_[name].ravel()[1]
        bulk = np.log(X[:60]) if "log" in name else X[:60]
        # the densest quarter of a log-normal sample is about a third as wide as all of it, and far from normal
        assert 0.02 * floor < variance / bulk.var() < 2 * floor


def test_the_floor_does_not_depend_on_order_or_repetition_or_an_outlier():
    X = np.random.default_rng(0).normal(size=(300, 2)) * [1e-3, 1e3] + 7
    family = families.Gaussian()
    width = family.bind([(X, None)]).width
    assert np.array_equal(family.bind([(X[::-1], None)]).width, width)
    assert np.array_equal(family.bind([(X[:50], None), (np.repeat(X[50:], 3, axis=0), None)]).width, width)
    assert np.array_equal(family.bind([(X, np.arange(1.0, 301.0))]).width, width)
    assert np.array_equal(family.bind([(np.append(X, [[1e150, -1e30]], axis=0) / 2, None)]).width, width / 2)
    assert np.all((width / [1e-3, 1e3] > 0.3) & (width / [1e-3, 1e3] < 3))


@pytest.mark.parametrize("digits", [2, 15])
def test_the_floor_of_many_rows_does_not_depend_on_order_and_finds_rare_values(digits):
    X = np.random.default_rng(0).normal(size=(20_000, 3)).round(digits) * [1e-3, 1.0, 1e3] + [0.0, -1e6, 7.0]
    family = families.StudentT()
    width = family.bind([(X, None)]).normal.width
    for parts in ([X[::-1]], [X[np.argsort(X[:, 0])]], [X[:1], X[1:9000], X[9000:]], [X, X]):
        assert np.array_equal(family.bind([(part, None) for part in parts]).normal.width, width)
    assert np.all((width / [1e-3, 1.0, 1e3] > 0.3) & (width / [1e-3, 1.0, 1e3] < 3))
    few = np.append(np.full(5000, 7.0), [[0.0, -0.0, 8.0]])[:, None]  # two values that come late: the gap of 1 is found
    assert family.bind([(few, None)]).normal.width == pytest.approx(1 / 0.637, rel=0.42)  # a power of two


# ---- starts ----------------------------------------------------------------------------------------------------------


def clusters_of_t(degrees, centres, n, seed=0):
    """Rows of t densities about centres (K, d), and the mean log-density under their mixture."""
    rng, d = np.random.default_rng(seed), len(centres[0])
    noise = rng.normal(size=(len(centres), n, d)) / np.sqrt(rng.chisquare(degrees, (len(centres), n, 1)) / degrees)
    X = np.concatenate(np.asarray(centres, float)[:, None] + noise)
    laws = [stats.multivariate_t(centre, np.eye(d), df=degrees) for centre in centres]
    return X, np.log(np.mean([law.pdf(X) for law in laws], axis=0)).mean()


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random", "random_from_data", "labels"])
@pytest.mark.parametrize("family", [families.StudentT(), families.StudentT(1.0)], ids=repr)
def test_every_start_finds_two_clusters_of_cauchy(init, family):
    X, truth = clusters_of_t(1.0, [[0.0], [30.0]], 400)
    for seed in range(2):
        start = np.repeat([0, 1], 400) if init == "labels" else init
        assert fitted(family, X, 2, init=start, random_state=seed).lower_bound_ >= truth


@pytest.mark.parametrize("make", [
    lambda: families.StudentT(), lambda: families.StudentT(covariance_type="diag"),
    lambda: families.Componentwise([(families.StudentT(), 3)]),
    lambda: families.Product([(families.StudentT(), [0, 1])]),
])  # fmt: skip
@pytest.mark.parametrize("far", [None, 1e10])
def test_clusters_of_cauchy_in_the_plane(make, far):
    X, truth = clusters_of_t(1.0, [[0, 0], [20, 0], [0, 20]], 200)
    if far is not None:
        X = np.append(X, [[far, -far]], axis=0)
        laws = [stats.multivariate_t(centre, np.eye(2), df=1.0) for centre in ([0, 0], [20, 0], [0, 20])]
        truth = np.log(np.mean([law.pdf(X) for law in laws], axis=0)).mean()
    assert fitted(make(), X, 3).lower_bound_ >= truth
