"""Families of which a part is not observed: t densities and Gamma-Poisson counts, against SciPy."""

import warnings

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats
from scipy.special import digamma

import expfam_em as ef
from expfam_em import families
from tests.case import numbers
from tests.profiles import share

STEPS = share(300, fewest=60)
KINDS = ["full", "diag", "spherical"]
DEGREES = [0.3, 1.0, 2.5, 30.0, 1e3, 1e6]
ROOT = np.array([[1.3, 0.0, 0.0], [0.4, 0.8, 0.0], [-0.5, 0.2, 2.0]])
INITS = ["k-means++", "kmeans", "random", "random_from_data"]


def scale_of(kind, d):
    """A scale matrix, and as the family takes it."""
    full = (ROOT @ ROOT.T)[:d, :d]
    if kind == "full":
        return full, full
    if kind == "diag":
        return np.diag(np.diag(full)), np.diag(full)
    return 1.7 * np.eye(d), np.array(1.7)


def student(kind, d, degrees, mean=0.5, family=None):
    """A t family and natural parameters of one component, (1, p), with what SciPy calls it."""
    matrix, packed = scale_of(kind, d)
    family = families.StudentT(covariance_type=kind) if family is None else family
    of_normal = family.normal.from_moments(np.full((1, d), mean), packed[None])
    inside, covariance = family._form.moments(of_normal)
    natural = family._packed(inside, covariance, np.full(1, float(degrees)))
    return family, natural, stats.multivariate_t(np.full(d, mean), matrix, df=degrees)


def t_rows(seed=0, n=120, d=2):
    rng = np.random.default_rng(seed)
    return rng.standard_t(3, (n, d)) @ ROOT[:d, :d].T + 1


# ---- t densities: the law ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("degrees", DEGREES)
@pytest.mark.parametrize("bound", [False, True])
def test_density_of_t(kind, d, degrees, bound):
    family = families.StudentT(covariance_type=kind)
    if bound:
        family = family.bind([(5 + 3 * np.random.default_rng(0).normal(size=(50, d)), None)])
    family, natural, law = student(kind, d, degrees, family=family)
    X = np.concatenate([np.random.default_rng(1).normal(size=(20, d)), np.full((1, d), 40.0), np.full((1, d), -1e8)])
    with mpmath.workdps(40):
        nu, k = mpmath.mpf(degrees), mpmath.mpf(d)
        constant = mpmath.loggamma((nu + k) / 2) - mpmath.loggamma(nu / 2) - k / 2 * mpmath.log(nu * mpmath.pi)
        constant -= mpmath.log(mpmath.mpf(float(np.linalg.det(law.shape)))) / 2
        squares = np.einsum("ni,ij,nj->n", X - 0.5, np.linalg.inv(law.shape), X - 0.5)
        expected = [float(constant - (nu + k) / 2 * mpmath.log1p(mpmath.mpf(s) / nu)) for s in squares]
    # squares come from an inverse of condition 10, and ν/2 log(1 + δ²/ν) turns their error into one of the density
    assert family.log_density(X, natural)[:, 0] == pytest.approx(expected, rel=1e-12, abs=1e-13)
    if degrees <= 1e3:  # SciPy subtracts log Γ of large numbers
        assert family.log_density(X, natural)[:, 0] == pytest.approx(law.logpdf(X), rel=1e-11)


def test_many_degrees_of_freedom_are_a_normal_density():
    family, natural, law = student("full", 3, 1e12)
    X = np.random.default_rng(0).normal(size=(30, 3))
    expected = stats.multivariate_normal.logpdf(X, law.loc, law.shape)
    assert family.log_density(X, natural)[:, 0] == pytest.approx(expected, rel=1e-11)  # the difference is about δ⁴/ν


@given(half=numbers(1e-3, 5e7))
def test_partition_function_of_the_scale(half):
    family, natural, law = student("full", 1, 2 * half, mean=0.0)
    with mpmath.workdps(40):
        a = mpmath.mpf(float(natural[0, -1]))
        exact = float(mpmath.loggamma(a) - a * mpmath.log(a) + a + mpmath.log(float(law.shape[0, 0])) / 2)
    assert family.log_partition(natural)[0] == pytest.approx(exact, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_mappings_of_t_are_inverse_and_the_gradient_is_that_of_complete_data(kind):
    family, natural, _ = student(kind, 2, 3.5)
    m = family.to_expectation(natural)
    assert family.to_natural(m) == pytest.approx(natural, rel=1e-11)
    # E of T = (u z, u zzᵀ, u, log u − u + 1) by draws of u and z
    rng, n = np.random.default_rng(0), 200_000
    u = rng.gamma(3.5 / 2, 2 / 3.5, n)
    z = 0.5 + rng.multivariate_normal(np.zeros(2), scale_of(kind, 2)[0], n) / np.sqrt(u)[:, None]
    of_normal = family.normal.sufficient_statistics(z) * u[:, None]
    T = np.column_stack([of_normal, u, np.log(u) - u + 1])
    assert np.all(abs(T.mean(axis=0) - m[0]) <= 5 * T.std(axis=0) / np.sqrt(n))


# ---- t densities: the fit --------------------------------------------------------------------------------------------


def fitted(family, X, K=1, **how):
    how = {"max_iter": 20_000, "tol": 1e-13, "random_state": 0} | how
    return ef.ExponentialFamilyMixture(family, K, **how).fit(X)


def test_steps_are_those_of_the_textbook():
    X = np.concatenate([t_rows(0), t_rows(1) + 4])
    start = ef.ExponentialFamilyMixture(families.StudentT(), 2, random_state=0, max_iter=0).fit(X).mixture_
    p, weights = start.parameters, start.weights
    means, scales, degrees = p["means"], p["scales"], p["degrees_of_freedom"]
    for step in range(1, 4):
        laws = [stats.multivariate_t(m, s, df=nu) for m, s, nu in zip(means, scales, degrees, strict=True)]
        R = weights * np.column_stack([law.pdf(X) for law in laws])
        R /= R.sum(axis=1, keepdims=True)
        weights = R.mean(axis=0)
        for k in range(2):
            r, nu = R[:, k], degrees[k]
            squares = np.einsum("ni,ij,nj->n", X - means[k], np.linalg.inv(scales[k]), X - means[k])
            u, log_u = (nu + 2) / (nu + squares), digamma((nu + 2) / 2) - np.log((nu + squares) / 2)
            means[k] = (r * u) @ X / (r @ u)
            Z = X - means[k]
            scales[k] = (Z * (r * u)[:, None]).T @ Z / r.sum()
            excess = -1 - r @ (log_u - u) / r.sum()
            degrees[k] = optimize.brentq(lambda v, e=excess: np.log(v / 2) - digamma(v / 2) - e, 1e-2, 1e6)
        found = ef.fit(start, X, max_iter=step, tol=0).mixture
        assert found.weights == pytest.approx(weights, rel=1e-10)
        assert found.parameters["means"] == pytest.approx(means, rel=1e-9)
        assert found.parameters["scales"] == pytest.approx(scales, rel=1e-9, abs=1e-9)
        assert found.parameters["degrees_of_freedom"] == pytest.approx(degrees, rel=1e-8)  # of a search


def test_steps_of_counts_are_those_of_the_textbook():
    X = np.random.default_rng(0).negative_binomial(2, 0.25, (200, 1)).astype(float)
    r, m = 1.0, 9.0
    start = ef.Mixture(families.GammaPoisson(), [1.0], shape_and_mean([r], [m]))
    for step in range(1, 5):
        rate = r / m
        rates, log_rates = (X + r) / (1 + rate), digamma(X + r) - np.log(1 + rate)
        m, excess = X.mean(), np.log(rates.mean()) - log_rates.mean()
        r = optimize.brentq(lambda a, e=excess: np.log(a) - digamma(a) - e, 1e-2, 1e6)
        p = ef.fit(start, X, max_iter=step, tol=0).mixture.parameters
        assert [p["shapes"][0, 0], p["means"][0, 0]] == pytest.approx([r, m], rel=1e-9)  # of a search


@pytest.mark.parametrize("degrees", [None, 2.0, 7.0])
@pytest.mark.parametrize("kind", KINDS)
def test_one_component_is_the_maximum_of_the_likelihood(kind, degrees):
    X = t_rows()
    model = fitted(families.StudentT(degrees, kind), X)

    def loss(packed):
        if kind == "full":
            root = np.array([[np.exp(packed[2]), 0], [packed[4], np.exp(packed[3])]])
        elif kind == "diag":
            root = np.diag(np.exp(packed[2:4]))
        else:
            root = np.exp(packed[2]) * np.eye(2)
        nu = np.exp(packed[-1]) if degrees is None else degrees
        return -stats.multivariate_t.logpdf(X, packed[:2], root @ root.T, df=nu).mean()

    found = optimize.minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-7})
    assert model.lower_bound_ == pytest.approx(-found.fun, abs=1e-9)  # tol is 1e-13 a step
    p = model.parameters_
    assert p["means"][0] == pytest.approx(found.x[:2], abs=1e-3)  # the root of the tolerance of the bound
    nu = np.exp(found.x[-1]) if degrees is None else degrees
    assert p["degrees_of_freedom"][0] == pytest.approx(nu, rel=1e-2 if degrees is None else 1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degrees", [None, 3.0])
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
def test_the_bound_never_falls(kind, degrees, temperature):
    X = np.concatenate([t_rows(0), t_rows(1) + 4])
    start = ef.ExponentialFamilyMixture(families.StudentT(degrees, kind), 2, random_state=0, max_iter=0).fit(X).mixture_
    result = ef.fit(start, X, max_iter=STEPS, tol=0, temperature=temperature)
    assert result.n_iter == STEPS
    assert np.all(np.diff(result.bounds) >= -1e-13 * abs(result.bounds[-1]))
    assert np.all(result.half_bounds >= result.bounds[:-1] - 1e-12 * abs(result.bounds[-1]))
    assert np.all(result.bounds[1:] >= result.half_bounds - 1e-12 * abs(result.bounds[-1]))


def test_outliers_leave_the_clusters_as_they_are():
    X = np.concatenate([t_rows(0, 300) - 10, t_rows(1, 300) + 10])
    clean = fitted(families.StudentT(3.0), X, 2, tol=1e-10, init=np.repeat([0, 1], 300))
    X = np.concatenate([X, [[1e6, 1e6]]])
    dirty = fitted(families.StudentT(3.0), X, 2, tol=1e-10, init=clean.mixture_)
    means = [np.sort(m.parameters_["means"][:, 0]) for m in (clean, dirty)]
    assert means[1] == pytest.approx(means[0], abs=0.05)


def test_the_bound_never_falls_beside_outliers():
    X = np.concatenate([t_rows(0), [[1e6, -1e6]]])
    result = ef.fit(fitted(families.StudentT(), X, max_iter=0).mixture_, X, max_iter=300, tol=0)
    # the frame is 1e5 times as wide as the cluster: covariances have lost half of their digits
    assert np.all(np.diff(result.bounds) >= -1e-7 * abs(result.bounds[-1]))


def test_a_normal_sample_has_many_degrees_of_freedom():
    X = np.random.default_rng(0).uniform(-1, 1, (400, 2))  # tails lighter than normal ones
    how = {"tol": 1e-9, "max_iter": 500}
    heavy, normal = fitted(families.StudentT(1e7), X, **how), fitted(families.Gaussian("full"), X, **how)
    assert heavy.lower_bound_ == pytest.approx(normal.lower_bound_, abs=1e-6)
    assert heavy.parameters_["scales"] == pytest.approx(normal.parameters_["covariances"], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    "family",
    [
        families.StudentT(),
        families.StudentT(4.0, "diag"),
        families.GammaPoisson(),
        families.FreeLaplace(),
        families.FreeWeibull(),
    ],
    ids=repr,
)
def test_weights_are_repeated_rows(family):
    rng = np.random.default_rng(0)
    X = rng.negative_binomial(2, 0.3, (100, 2)) if isinstance(family, families.GammaPoisson) else t_rows(n=100)
    X = np.exp(X / 4) if isinstance(family, families.FreeWeibull) else X
    times = rng.integers(0, 4, 100)
    start = ef.ExponentialFamilyMixture(family, 2, random_state=0, max_iter=0).fit(X).mixture_
    weighted = ef.fit(start, X, times.astype(float), max_iter=10, tol=0)
    repeated = ef.fit(start, np.repeat(X, times, axis=0), max_iter=10, tol=0)
    assert weighted.bounds == pytest.approx(repeated.bounds, rel=1e-12)
    one = ef.fit(start, np.tile(X, (200, 1)), max_iter=2, tol=0, n_jobs=1)
    two = ef.fit(start, np.tile(X, (200, 1)), max_iter=2, tol=0, n_jobs=2)
    assert np.array_equal(one.mixture.natural, two.mixture.natural)


@given(shift=numbers(-50, 50), size=numbers(0.01, 100))
def test_another_frame_is_the_same_density(shift, size):
    X = t_rows()
    family, natural, law = student("full", 2, 3.0)
    bound = family.bind([(X * size + shift, None)])
    there = family.translate(natural, bound)
    moved = ef.Mixture(bound, [1.0], there)
    assert moved.log_density(X) == pytest.approx(law.logpdf(X), rel=1e-10)
    back = bound.translate(there, family)
    assert back == pytest.approx(natural, rel=1e-8, abs=1e-8)  # η₁ is a difference of the shifts over the width
    m = family.to_expectation(natural)
    assert family.translate_expectation(m, bound) == pytest.approx(bound.to_expectation(there), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [[0], [2, 0]], ids=str)
def test_marginals_of_t(kind, columns):
    family, natural, law = student(kind, 3, 2.5)
    part = ef.Mixture(family, [1.0], natural).marginal(columns)
    X = np.random.default_rng(0).normal(size=(10, len(columns)))
    expected = stats.multivariate_t.logpdf(X, law.loc[columns], law.shape[np.ix_(columns, columns)], df=2.5)
    assert part.log_density(X) == pytest.approx(np.ravel(expected), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_t(kind):
    family, natural, law = student(kind, 2, 3.0)
    X = family.sample(natural[0], 4000, np.random.default_rng(0))
    squares = np.einsum("ni,ij,nj->n", X - 0.5, np.linalg.inv(law.shape), X - 0.5)
    assert stats.kstest(squares / 2, stats.f(2, 3.0).cdf).pvalue > 1e-4  # at a fixed seed


@pytest.mark.parametrize("init", INITS)
def test_every_start_finds_clear_clusters_of_t(init, tmp_path):
    X = np.concatenate([t_rows(0), t_rows(1) + 60])
    model = fitted(families.StudentT(), X, 2, init=init, n_init=3, tol=1e-10)
    best = fitted(families.StudentT(), X, 2, init=np.repeat([0, 1], 120), tol=1e-10)
    assert model.lower_bound_ == pytest.approx(best.lower_bound_, abs=1e-6)
    assert model.mixture_.n_parameters == 2 * (2 + 3 + 1) + 1
    model.save(tmp_path / "model")
    assert np.array_equal(ef.load(tmp_path / "model").score_samples(X), model.score_samples(X))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"degrees_of_freedom": 0}, "must be positive and finite, or None"),
        ({"degrees_of_freedom": np.inf}, "must be positive and finite, or None"),
        ({"covariance_type": "tied"}, "must be one of full"),
    ],
)
def test_arguments_of_t_that_make_no_sense(how, message):
    with pytest.raises(ValueError, match=message):
        families.StudentT(**how)


# ---- counts ---------------------------------------------------------------------------------------------------------


def shape_and_mean(shape, mean):
    """Natural parameters (1, 3 d)."""
    return np.concatenate([shape, -np.asarray(shape) / mean, np.zeros(len(shape))])[None]


@given(shape=numbers(1e-3, 1e7), mean=numbers(1e-3, 1e5), x=st.integers(0, 10**6))
def test_density_of_counts(shape, mean, x):
    found = families.GammaPoisson().log_density(np.array([[float(x)]]), shape_and_mean([shape], [mean]))[0, 0]
    with mpmath.workdps(50):
        r, m, k = mpmath.mpf(shape), mpmath.mpf(mean), mpmath.mpf(x)
        exact = mpmath.loggamma(k + r) - mpmath.loggamma(r) - mpmath.loggamma(k + 1)
        exact += r * mpmath.log(r / (r + m)) + k * mpmath.log(m / (r + m))
        terms = abs(r * mpmath.log(r / (r + m))) + abs(k * mpmath.log(m / (r + m)))
    # two terms of this size and the logarithm of a binomial of theirs may cancel
    assert abs(found - float(exact)) <= 1e-14 * float(terms) * 10 + 1e-12


def test_density_of_counts_is_that_of_scipy():
    X = np.arange(50.0)[:, None]
    found = families.GammaPoisson().log_density(X, shape_and_mean([2.5], [7.0]))[:, 0]
    assert found == pytest.approx(stats.nbinom.logpmf(X[:, 0], 2.5, 2.5 / 9.5), rel=1e-12)
    p = families.GammaPoisson().parameters(shape_and_mean([2.5], [7.0]))
    assert [p["shapes"][0, 0], p["means"][0, 0], p["probabilities"][0, 0]] == pytest.approx([2.5, 7.0, 2.5 / 9.5])


def test_counts_of_one_component_are_the_maximum_of_the_likelihood():
    X = np.random.default_rng(0).negative_binomial(2, 0.25, (300, 1))
    model = fitted(families.GammaPoisson(), X)

    def loss(packed):
        r, m = np.exp(packed)
        return -stats.nbinom.logpmf(X[:, 0], r, r / (r + m)).mean()

    found = optimize.minimize(loss, [0.0, 0.0], method="BFGS", options={"gtol": 1e-8})
    assert model.lower_bound_ == pytest.approx(-found.fun, abs=1e-9)  # tol is 1e-13 a step
    assert model.parameters_["shapes"][0, 0] == pytest.approx(np.exp(found.x[0]), rel=1e-3)
    assert model.parameters_["means"][0, 0] == pytest.approx(X.mean(), rel=1e-6)


@pytest.mark.parametrize("X", [
    np.full((50, 1), 3.0),
    np.zeros((50, 1)),
    np.random.default_rng(1).poisson(0.05, (500, 1)),
    np.random.default_rng(2).binomial(10, 0.7, (300, 1)),
    np.random.default_rng(3).negative_binomial(1, 1 / 1.05, (800, 1)),
    np.column_stack([np.random.default_rng(4).negative_binomial(2, 0.1, 200), np.zeros(200)]),
], ids=["equal", "zeros", "few", "fewer variance than Poisson", "rare", "a column of zeros"])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
def test_means_are_those_of_the_counts_after_two_steps(X):
    model = ef.ExponentialFamilyMixture(families.GammaPoisson(), 1, max_iter=2, acceleration=None).fit(X)
    assert model.parameters_["means"][0] == pytest.approx(X.mean(axis=0), rel=1e-12, abs=1e-150)
    assert model.mixture_.n_parameters == 2 * X.shape[1]


def test_a_prior_on_rates_moves_the_means():
    X = np.random.default_rng(0).negative_binomial(3, 0.3, (60, 1)).astype(float)
    start = ef.ExponentialFamilyMixture(families.GammaPoisson(), 1, max_iter=3, tol=0)
    with pytest.warns(UserWarning, match="did not converge"):
        start = start.fit(X).mixture_
    away = start.family.to_expectation(np.array([[4.0, -4.0 / 30, 0.0]]))
    for size in (1e-3, 20.0, 1e6):
        prior = ef.ExpectedStatistics(np.array([size]), size * away)
        result = ef.fit(start, X, max_iter=share(3000, fewest=300), tol=0, prior=prior)
        total = result.bounds + result.log_priors
        assert np.all(np.diff(total) >= -1e-12 * np.abs(total[1:]))
    assert result.mixture.parameters["means"] == pytest.approx(30.0, rel=1e-3)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
def test_the_bound_of_counts_never_falls(temperature):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.negative_binomial(2, 0.3, (100, 2)), rng.poisson(30, (100, 2))])
    start = ef.ExponentialFamilyMixture(families.GammaPoisson(), 2, random_state=0, max_iter=0).fit(X).mixture_
    result = ef.fit(start, X, max_iter=STEPS, tol=0, temperature=temperature)
    assert np.all(np.diff(result.bounds) >= -1e-13 * abs(result.bounds[-1]))
    # the terms of A, r log r, are larger by far than the bound for the shape of Poisson counts
    assert np.all(result.half_bounds >= result.bounds[:-1] - 1e-10 * abs(result.bounds[-1]))


def test_samples_of_counts():
    X = families.GammaPoisson().sample(shape_and_mean([2.5], [7.0])[0], 5000, np.random.default_rng(0))[:, 0]
    seen = np.bincount(np.minimum(X, 25).astype(int), minlength=26)
    law = stats.nbinom(2.5, 2.5 / 9.5)
    expected = np.append(law.pmf(np.arange(25)), law.sf(24)) * 5000
    assert stats.chisquare(seen, expected).pvalue > 1e-4  # at a fixed seed


@pytest.mark.parametrize("init", INITS)
def test_every_start_finds_clear_clusters_of_counts(init):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.negative_binomial(5, 0.5, (100, 2)), rng.negative_binomial(9, 0.05, (100, 2))])
    model = fitted(families.GammaPoisson(), X, 2, init=init, n_init=3, tol=1e-9)
    best = fitted(families.GammaPoisson(), X, 2, init=np.repeat([0, 1], 100), tol=1e-9)
    assert model.lower_bound_ == pytest.approx(best.lower_bound_, abs=1e-4)


def test_counts_outside_the_support_are_refused():
    with pytest.raises(ValueError, match=r"GammaPoisson needs whole numbers from 0; column 0 holds 0\.5"):
        fitted(families.GammaPoisson(), np.array([[1.0], [0.5]]))


# ---- any of them ----------------------------------------------------------------------------------------------------


def test_responsibilities_are_those_of_what_is_observed():
    X = np.concatenate([t_rows(0), t_rows(1) + 4])
    model = fitted(families.StudentT(), X, 2, tol=1e-6)
    p = model.parameters_
    scores = np.column_stack([
        np.log(w) + stats.multivariate_t.logpdf(X, m, s, df=nu)
        for w, m, s, nu in zip(model.weights_, p["means"], p["scales"], p["degrees_of_freedom"], strict=True)
    ])  # fmt: skip
    total = np.logaddexp(*scores.T)
    assert model.score_samples(X) == pytest.approx(total, rel=1e-11)
    assert model.predict_proba(X) == pytest.approx(np.exp(scores - total[:, None]), abs=1e-10)
    assert np.array_equal(model.predict(X), scores.argmax(axis=1))


def test_a_prior_is_complete_pseudo_rows():
    X = t_rows()
    family = families.StudentT().bind([(X, None)])
    start = ef.ExponentialFamilyMixture(families.StudentT(), 1, max_iter=0).fit(X).mixture_
    prior = ef.ExpectedStatistics(np.array([50.0]), 50 * family.to_expectation(start.natural))
    result = ef.fit(start, X, max_iter=200, tol=0, prior=prior)
    total = result.bounds + result.log_priors
    assert np.all(np.diff(total) >= -1e-12 * abs(total[-1]))
    strong = ef.fit(start, X, max_iter=200, tol=0, prior=1e6 * prior).mixture
    # 120 rows among 5e7 pseudo-rows
    assert strong.in_family(start.family).natural == pytest.approx(start.natural, rel=1e-4, abs=1e-4)


def test_an_incomplete_family_has_to_be_completed():
    class Hidden(families.Incomplete):
        def sufficient_statistics(self, X):
            return X

        def log_partition(self, natural):
            return np.zeros(len(natural))

    with pytest.raises(TypeError, match=r"abstract method '?complete"):
        Hidden()


@pytest.mark.parametrize("family", [families.StudentT(), families.GammaPoisson(), families.FreeLaplace()], ids=repr)
def test_absent_rows_may_be_anything(family):
    X = np.random.default_rng(0).negative_binomial(3, 0.3, (60, 1)).astype(float)
    start = ef.ExponentialFamilyMixture(family, 2, random_state=0, max_iter=0).fit(X).mixture_
    other = np.concatenate([X[:30], [[-1e200]], X[30:]])
    w = np.insert(np.ones(60), 30, 0.0)
    with np.errstate(all="ignore"):  # of a row that does not count
        found = ef.fit(start, other, w, max_iter=5, tol=0)
    assert found.bounds == pytest.approx(ef.fit(start, X, max_iter=5, tol=0).bounds, rel=1e-13)


# ---- Laplace columns whose medians are estimated -------------------------------------------------------------------


def weighted_median(x, w):
    """A value with at most half of the weight on either side."""
    order = np.argsort(x)
    return x[order][np.searchsorted(np.cumsum(w[order]), w.sum() / 2)]


LAPLACE_ROWS = {
    "continuous": np.random.default_rng(8).laplace(3, 2, (301, 2)),
    "whole": np.random.default_rng(8).laplace(3, 2, (300, 2)).round(),
    "far": np.random.default_rng(8).laplace(3, 2, (301, 2)) + 1e8,
    "small": np.random.default_rng(8).laplace(3, 2, (301, 2)) * 1e-9,
    "beside outliers": np.append(np.random.default_rng(8).laplace(3, 2, (100, 2)), np.full((20, 2), 1e6), axis=0),
}


@pytest.mark.parametrize("name", LAPLACE_ROWS)
@pytest.mark.parametrize("weighted", [False, True])
def test_one_laplace_component_is_about_the_weighted_median(name, weighted):
    X = LAPLACE_ROWS[name]
    w = np.random.default_rng(9).exponential(size=len(X)) if weighted else np.ones(len(X))
    model = ef.ExponentialFamilyMixture(families.FreeLaplace(), 1, tol=1e-13, max_iter=300).fit(X, sample_weight=w)
    for j, x in enumerate(X.T):
        scale = w @ np.abs(x - weighted_median(x, w)) / w.sum()
        found, about = model.parameters_["scales"][0, j], model.parameters_["locations"][0, j]
        assert found == pytest.approx(scale, rel=1e-9)
        assert found == pytest.approx(w @ np.abs(x - about) / w.sum(), rel=1e-9)
        if weighted:  # else every number between the two rows in the middle is a median
            assert abs(about - weighted_median(x, w)) <= 4e-9 * scale + 4 * np.spacing(abs(about))
    density = stats.laplace.logpdf(X, model.parameters_["locations"], model.parameters_["scales"]).sum(axis=1)
    assert model.score_samples(X) == pytest.approx(density, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
def test_steps_of_laplace_components_end_where_weighted_medians_do(temperature):
    rng = np.random.default_rng(10)
    X = np.concatenate([rng.laplace(0, 1, (400, 1)), rng.laplace(6, 2, (200, 1))])
    model = ef.ExponentialFamilyMixture(
        families.FreeLaplace(), 2, temperature=temperature, tol=1e-12, max_iter=2000, random_state=0
    ).fit(X)  # fmt: skip
    assert np.diff(model.lower_bounds_).min() >= -1e-12
    r = model.mixture_.responsibilities(X, temperature)
    for k, about in enumerate(model.parameters_["locations"][:, 0]):
        best = r[:, k] @ np.abs(X[:, 0] - weighted_median(X[:, 0], r[:, k]))
        assert r[:, k] @ np.abs(X[:, 0] - about) == pytest.approx(best, rel=1e-8)


def test_what_a_free_laplace_family_says():
    family = families.FreeLaplace()
    eta = family.from_parameters(locations=[[1.0, -2.0], [0.5, 3.0]], scales=[[2.0, 0.5], [1.0, 4.0]])
    assert family.to_natural(family.to_expectation(eta)) == pytest.approx(eta)
    assert family.bind([(LAPLACE_ROWS["whole"], None)]).n_parameters(3) == 12
    x = np.linspace(-80, 80, 2_000_001)
    p, q = stats.laplace(1, 2), stats.laplace(0.5, 1)
    one, other = (family.from_parameters(locations=[[law.args[0]]], scales=[[law.args[1]]]) for law in (p, q))
    exact = integrate.trapezoid(p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), x)
    assert family.divergence(one, other)[0] == pytest.approx(exact, rel=1e-6)
    with pytest.raises(NotImplementedError, match="no Fisher information"):
        family.fisher_information(eta)
    with pytest.raises(ValueError, match="counts its parameters once"):
        family.n_parameters(1)


def test_statistics_about_other_medians_are_refused():
    X = LAPLACE_ROWS["continuous"]
    fits = [ef.ExponentialFamilyMixture(families.FreeLaplace(), 1, max_iter=n, tol=0) for n in (1, 2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are not to converge
        one, other = (fit.fit(X).mixture_ for fit in fits)
    with pytest.raises(ValueError, match="there is no prior for it"):
        ef.maximize(ef.accumulate(one, X) + ef.accumulate(other, X), other)
    prior = ef.accumulate(one, X[:5])
    with pytest.raises(ValueError, match="there is no prior for it"):
        ef.ExponentialFamilyMixture(families.FreeLaplace(), 1, prior=prior).fit(X)


@pytest.mark.parametrize(
    ("family", "parameters"),
    [
        (ef.families.StudentT(covariance_type="full"), {"scales": [np.eye(2), 4 * np.eye(2)] * 10}),
        (ef.families.StudentT(covariance_type="diag"), {"scales": [[1.0, 3.0], [0.5, 2.0]] * 10}),
        (ef.families.StudentT(covariance_type="spherical"), {"scales": [1.0, 3.0] * 10}),
        (ef.families.GammaPoisson(), {"shapes": [[2.0, np.inf], [np.inf, 0.5]] * 10}),
    ],
)
def test_rows_under_parameters_of_their_own_have_the_density_under_these(family, parameters):
    rng = np.random.default_rng(3)
    if "scales" in parameters:
        parameters = parameters | {"degrees_of_freedom": [3.0, np.inf] * 10}
    mixture = ef.Mixture.of(family, np.full(20, 0.05), means=rng.uniform(1, 4, (20, 2)), **parameters)
    X, natural = rng.poisson(3.0, (20, 2)).astype(float), mixture.natural
    paired = mixture.family.paired_log_density(X, natural)
    np.testing.assert_allclose(paired, np.diagonal(mixture.family.log_density(X, natural)), rtol=1e-13)
