"""Mixtures whose components belong to different families, against textbook EM with SciPy's densities."""

import re

import numpy as np
import pytest
from scipy import stats

import expfam_em as ef
from expfam_em import families
from tests import oracle
from tests.own_families import gamma_estimate

INITS = ["k-means++", "kmeans", "random", "random_from_data"]
MIXED = families.Componentwise([(families.Gaussian("full"), 1), (families.Gamma(), 1)])
NOISY = families.Componentwise([(families.Gaussian("full", variance_floor=0.0), 2), (families.Uniform(), 1)])
PI = np.array([0.5, 0.5])
RNG = np.random.default_rng(0)


def line(n=200, seed=0):
    """Normal rows, some of them negative, and rows of a Gamma density."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(-1, 1, (n // 2, 1)), rng.gamma(9, 0.7, (n - n // 2, 1))])


def plane(distance=9.0, seed=0):
    """Two clusters and noise, with labels."""
    rng = np.random.default_rng(seed)
    clusters = [rng.normal(size=(100, 2)), rng.normal(size=(150, 2)) @ [[1.0, 0.3], [0.0, 0.6]] + [distance, 0]]
    noise = rng.uniform([-distance, -10], [2 * distance, 10], (60, 2))
    return np.concatenate([*clusters, noise]), np.repeat([0, 1, 2], [100, 150, 60])


class OnTheLine:
    """A normal and a Gamma component, as the textbook EM takes them: they know their place."""

    def log_density(self, X, theta):
        kind, values = theta
        return (
            stats.norm.logpdf(X[:, 0], *values)
            if kind == "normal"
            else stats.gamma.logpdf(X[:, 0], values[0], scale=1 / values[1])
        )

    def estimate_all(self, X, R):
        r, s = R.T
        mean = r @ X[:, 0] / r.sum()
        width = np.sqrt(r @ (X[:, 0] - mean) ** 2 / r.sum())
        here = s > 0
        return [("normal", (mean, width)), ("gamma", gamma_estimate(X[here, 0], s[here]))]


def start_on_the_line(X):
    R = np.column_stack([np.where(X[:, 0] > 2, 0.2, 0.9), np.where(X[:, 0] > 2, 0.8, 0.1)])
    R[X[:, 0] <= 0] = [1.0, 0.0]
    family = MIXED.bind([(X, None)])
    T = family.sufficient_statistics(X)
    start = ef.Mixture(family, PI, family.maximize(R.sum(axis=0), R.T @ T))
    return start, OnTheLine().estimate_all(X, R)


# ---- against the textbook ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_textbook_em(temperature, weighted):
    X = line()
    w = np.random.default_rng(1).uniform(0.2, 3, len(X)) if weighted else None
    start, thetas = start_on_the_line(X)
    steps = oracle.run(OnTheLine(), X, PI, thetas, 8, temperature=temperature, w=w)
    result = ef.fit(start, X, w, max_iter=8, tol=0, temperature=temperature)
    # 8 steps, in each of which the shape of the Gamma density is searched for
    assert result.bounds == pytest.approx([step.bound for step in steps], rel=1e-10)
    assert result.mixture.weights == pytest.approx(steps[-1].weights, rel=1e-8)


def test_log_density_is_that_of_each_family():
    X = line()
    model = ef.ExponentialFamilyMixture(MIXED, 2, random_state=0, max_iter=2000).fit(X)
    p = model.parameters_
    mean, variance = p["gaussian_means"][0, 0], p["gaussian_covariances"][0, 0, 0]
    normal = stats.norm.logpdf(X[:, 0], mean, np.sqrt(variance))
    shape, rate = (
        value.ravel()[0] for name, value in p.items() if name.startswith("gamma_") and name[6:] in ("shapes", "rates")
    )
    gamma = stats.gamma.logpdf(X[:, 0], shape, scale=1 / rate)
    mixture = model.mixture_
    found = mixture.family.log_density(X, mixture.natural)
    assert found[:, 0] == pytest.approx(normal, rel=1e-11, abs=1e-11)
    assert np.array_equal(np.isneginf(found[:, 1]), X[:, 0] <= 0)
    assert found[X[:, 0] > 0, 1] == pytest.approx(gamma[X[:, 0] > 0], rel=1e-11, abs=1e-11)
    total = np.logaddexp(normal + np.log(model.weights_[0]), gamma + np.log(model.weights_[1]))
    assert model.score_samples(X) == pytest.approx(total, rel=1e-11, abs=1e-11)
    assert np.all(model.predict_proba(X)[X[:, 0] <= 0] == [1.0, 0.0])


def test_clusters_in_noise_are_recovered():
    X, label = plane(12.0)
    model = ef.ExponentialFamilyMixture(NOISY, 3, n_init=5, random_state=0).fit(X)
    found = model.predict(X)
    # noise within a cluster cannot be told from it
    assert np.mean(found[label == 2] == 2) > 0.85
    assert np.mean(found[label < 2] < 2) > 0.97
    low, high = X.min(axis=0), X.max(axis=0)
    assert np.array_equal(model.parameters_["uniform_low"], [low])
    densities = [
        w * stats.multivariate_normal.pdf(X, m, c)
        for w, m, c in zip(
            model.weights_, model.parameters_["gaussian_means"], model.parameters_["gaussian_covariances"], strict=False
        )
    ]
    expected = np.log(sum(densities) + model.weights_[2] / np.prod(high - low))
    assert model.score_samples(X) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("case", ["line", "plane", "far"])
def test_the_bound_never_falls_from_any_start(init, case):
    X, family = (line(), MIXED) if case == "line" else (plane(9.0 if case == "plane" else 1e7)[0], NOISY)
    K = len(family.of_component)
    model = ef.ExponentialFamilyMixture(family, K, init=init, n_init=4, random_state=1, max_iter=3000, tol=1e-8).fit(X)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-12)  # rounding of a mean below 20
    best = ef.ExponentialFamilyMixture(
        family, K, init=(X[:, 0] > 2).astype(int) if K == 2 else plane()[1], max_iter=3000, tol=1e-8
    ).fit(X)
    assert model.lower_bound_ == pytest.approx(best.lower_bound_, abs=1e-4)  # of steps of less than 1e-8


def test_rows_given_to_a_family_that_cannot_have_produced_them_do_not_count():
    X = np.array([[-2.0], [-1.0], [0.5], [1.0], [3.0], [4.5]])
    R = np.column_stack([np.full(6, 0.5), np.full(6, 0.5)])
    model = ef.ExponentialFamilyMixture(MIXED, 2, init=R, max_iter=0).fit(X)
    expected = gamma_estimate(X[2:, 0], np.full(4, 0.5))
    p = model.parameters_
    assert [p["gamma_shapes"][0, 0], p["gamma_rates"][0, 0]] == pytest.approx(expected, rel=1e-9)
    assert p["gaussian_means"][0] == pytest.approx(X.mean(axis=0), rel=1e-14)


# ---- frames and stacks ---------------------------------------------------------------------------------------------


def test_clusters_far_apart_keep_their_covariances():
    X, label = plane(1e7)
    model = ef.ExponentialFamilyMixture(NOISY, 3, init=label).fit(X)
    for k in range(2):
        here = X[label == k]
        # noise between clusters 1e7 apart has a density of 1e-9 of theirs, and one of 1e-8 of the rows is theirs
        covariance = np.cov((here - here[0]).T, bias=True)
        assert model.parameters_["gaussian_covariances"][k] == pytest.approx(covariance, rel=1e-5, abs=1e-5)
        exact = model.predict_proba(X)[:, k]
        mean = exact @ (X - here[0]) / exact.sum()
        Z = X - here[0] - mean
        covariance = (Z * exact[:, None]).T @ Z / exact.sum()
        assert model.parameters_["gaussian_covariances"][k] == pytest.approx(covariance, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("init", INITS)
def test_priors_and_restarts_with_frames_of_single_components(init):
    X, _ = plane(1e7)
    plain = families.Gaussian("full", variance_floor=0.0)
    sums = np.zeros((3, 8))
    sums[:2, [0, 1, 5, 6, 7]] = 0.5 * plain.sufficient_statistics(X).mean(
        axis=0
    )  # the uniform part and log h of both are in between
    prior = ef.ExpectedStatistics(np.array([0.5, 0.5, 0.0]), sums)
    how = {"prior": prior, "random_state": 0, "max_iter": 3000, "tol": 1e-10}
    several = ef.ExponentialFamilyMixture(NOISY, 3, init=init, n_init=4, **how).fit(X)
    one = ef.ExponentialFamilyMixture(NOISY, 3, init=several.mixture_, **how).fit(X)
    assert one.lower_bound_ == pytest.approx(several.lower_bound_, abs=1e-5)


def test_natural_parameters_of_another_number_of_components_are_refused():
    X, label = plane()
    mixture = ef.ExponentialFamilyMixture(NOISY, 3, init=label).fit(X).mixture_
    with pytest.raises(ValueError, match=r"natural parameters of 2 components; .* has 3 components, in order"):
        mixture.family.log_partition(mixture.natural[:2])


def test_stacks_are_many_fits():
    lots = [plane(seed=seed)[0] for seed in range(3)]
    boxed = families.Componentwise([(families.Gaussian("full"), 2), (families.Uniform(-30, 30), 1)])
    template = ef.ExponentialFamilyMixture(boxed, 3, n_init=6, random_state=0, tol=1e-9, max_iter=3000)
    for one, X in zip(ef.fit_many(template, lots), lots, strict=True):
        alone = ef.ExponentialFamilyMixture(boxed, 3, n_init=6, random_state=1, tol=1e-9, max_iter=3000).fit(X)
        assert one.lower_bound_ == pytest.approx(alone.lower_bound_, abs=1e-5)


# ---- in use --------------------------------------------------------------------------------------------------------


def test_weights_are_repeated_rows():
    X = line()
    start, _ = start_on_the_line(X)
    times = np.random.default_rng(1).integers(0, 3, len(X))
    weighted = ef.fit(start, X, times.astype(float), max_iter=5, tol=0)
    repeated = ef.fit(start, np.repeat(X, times, axis=0), max_iter=5, tol=0)
    assert weighted.bounds == pytest.approx(repeated.bounds, rel=1e-12)


@pytest.mark.parametrize("family", [MIXED, NOISY], ids=repr)
def test_same_bits_from_a_file_and_two_threads(family, tmp_path):
    X = line() if family is MIXED else plane()[0]
    K = len(family.of_component)

    def fitted(n_jobs):
        return ef.ExponentialFamilyMixture(family, K, n_init=3, random_state=0, max_iter=2000, n_jobs=n_jobs).fit(X)

    model = fitted(1)
    model.save(tmp_path / "model")
    expected = model.score_samples(X)
    assert np.array_equal(ef.load(tmp_path / "model").score_samples(X), expected)
    assert np.array_equal(fitted(2).score_samples(X), expected)


def test_samples_come_from_the_families():
    model = ef.ExponentialFamilyMixture(MIXED, 2, random_state=0, max_iter=2000).fit(line())
    X, labels = model.mixture_.sample(4000, 0)
    p = model.parameters_
    normal = stats.norm(p["gaussian_means"][0, 0], np.sqrt(p["gaussian_covariances"][0, 0, 0]))
    gamma = stats.gamma(p["gamma_shapes"][0, 0], scale=1 / p["gamma_rates"][0, 0])
    for k, law in enumerate((normal, gamma)):
        assert stats.kstest(X[labels == k, 0], law.cdf).pvalue > 1e-4  # at a fixed seed


def test_a_mixture_as_a_start_and_warm_start():
    X, label = plane()
    first = ef.ExponentialFamilyMixture(NOISY, 3, init=label, warm_start=True).fit(X)
    again = ef.ExponentialFamilyMixture(NOISY, 3, init=first.mixture_).fit(X)
    assert again.lower_bound_ >= first.lower_bound_ - 1e-12
    bound = first.lower_bound_
    assert first.fit(X).lower_bound_ >= bound - 1e-12


@pytest.mark.parametrize("columns", [[0], [1]])
@pytest.mark.parametrize("distance", [9.0, 1e7])
def test_density_is_marginal_times_conditional(columns, distance):
    X, label = plane(distance)
    mixture = ef.ExponentialFamilyMixture(NOISY, 3, init=label).fit(X).mixture_
    rest = [1 - columns[0]]
    marginal = mixture.marginal(columns)
    for row in X[::40]:
        conditional = mixture.conditional(columns, row[columns])
        found = marginal.log_density(row[None, columns]) + conditional.log_density(row[None, rest])
        # x of 1e7 is known to 2e-9 of a standard deviation
        assert found == pytest.approx(mixture.log_density(row[None]), rel=1e-11 if distance < 10 else 1e-7)


def test_free_parameters():
    X, label = plane()
    model = ef.ExponentialFamilyMixture(NOISY, 3, init=label).fit(X)
    assert model.mixture_.n_parameters == 2 * 5 + 0 + 2
    tied = families.Componentwise([(families.Gaussian("tied"), 2), (families.Uniform(), 1)])
    model = ef.ExponentialFamilyMixture(tied, 3, init=label).fit(X)
    assert model.mixture_.n_parameters == 2 * 2 + 3 + 2


def test_heavy_tails_beside_light_ones():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-9, 1, (200, 1)), rng.standard_t(2, (200, 1)) + 9])
    family = families.Componentwise([(families.Gaussian("full"), 1), (families.StudentT(), 1)])
    model = ef.ExponentialFamilyMixture(family, 2, init=np.repeat([0, 1], 200), max_iter=3000, tol=1e-10).fit(X)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-12)
    p = model.parameters_
    normal = stats.norm.logpdf(X[:, 0], p["gaussian_means"][0, 0], np.sqrt(p["gaussian_covariances"][0, 0, 0]))
    scale = np.sqrt(p["studentt_scales"][0, 0, 0])
    heavy = stats.t.logpdf(X[:, 0], p["studentt_degrees_of_freedom"][0], p["studentt_means"][0, 0], scale)
    total = np.logaddexp(*(np.column_stack([normal, heavy]) + np.log(model.weights_)).T)
    assert model.score_samples(X) == pytest.approx(total, rel=1e-11)
    assert 1 < p["studentt_degrees_of_freedom"][0] < 4


# ---- errors ---------------------------------------------------------------------------------------------------------

G = families.Gaussian("full")


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([], ValueError, "at least one family"),
        ([(G, 0)], ValueError, "has 0 components; it must be a whole number from 1"),
        ([(G, 1.5)], ValueError, "whole number"),
        ([(families.Uniform, 1)], TypeError, "a part is the class Uniform: give an instance of it, Uniform()"),
        ([(NOISY, 1)], TypeError, "can only stand by itself"),
    ],
)  # fmt: skip
def test_parts_that_make_no_sense(parts, error, message):
    with pytest.raises(error, match=re.escape(message)):
        families.Componentwise(parts)


def test_rows_that_no_component_can_have_produced():
    family = families.Componentwise([(families.Gamma(), 1), (families.Uniform(-1, 1), 1)])
    X = np.array([[0.5], [2.0], [-0.5], [-3.0]])
    with pytest.raises(ValueError, match=r"no component of .* can have produced row 3, \[-3\.0\]"):
        ef.ExponentialFamilyMixture(family, 2).fit(X)


def test_a_family_that_can_have_produced_no_row():
    with pytest.raises(ValueError, match=r"no row is possible under Gamma\(\)"):
        ef.ExponentialFamilyMixture(MIXED, 2).fit(-1 - RNG.random((20, 1)))


def test_the_number_of_components_has_to_agree():
    with pytest.raises(ValueError, match="natural parameters of 3 components"):
        ef.ExponentialFamilyMixture(MIXED, 3).fit(line())


def test_the_number_of_columns_is_found_by_bind():
    with pytest.raises(ValueError, match="does not know the number of columns yet: call bind first"):
        NOISY.log_partition(np.zeros((3, 7)))


# ---- the constant density -------------------------------------------------------------------------------------------


def test_one_number_is_a_corner_for_all_columns():
    X = RNG.uniform(-1, 1, (50, 3))
    box = families.Uniform(-2, 3).bind([(X, None)])
    assert box.log_density(X, np.zeros((1, 1))) == pytest.approx(-3 * np.log(5), rel=1e-15)
    assert box.entropy(np.zeros((1, 1))) == pytest.approx(3 * np.log(5), rel=1e-15)
    assert box.sample(np.zeros(0), 5, np.random.default_rng(0)).shape == (5, 3)
    assert np.isneginf(box.log_density(np.full((1, 3), 3.5), np.zeros((1, 1))))


def test_corners_of_the_rows_that_count():
    X = np.concatenate([RNG.uniform(-1, 1, (50, 2)), [[99.0, 99.0]]])
    model = ef.ExponentialFamilyMixture(families.Uniform(), 1).fit(X, sample_weight=np.append(np.ones(50), 0.0))
    box = model.mixture_.family
    assert np.array_equal(box.low, X[:50].min(axis=0))
    assert np.array_equal(box.high, X[:50].max(axis=0))
    half = families.Uniform(low=-7).bind([(X[:50], None)])
    assert np.array_equal(half.high, X[:50].max(axis=0))
    assert half.low == -7


@pytest.mark.parametrize(("low", "high"), [(1, 1), ([0, 2], [1, 1]), (0, np.inf), (np.nan, 1)], ids=str)
def test_a_box_without_volume_is_refused(low, high):
    with pytest.raises(ValueError, match="its length must be positive and finite"):
        families.Uniform(low, high)
