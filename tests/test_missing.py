"""Missing values: exact for every family that has marginals of columns, against oracles that go row by row."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma, logsumexp

import expfam_em as ef
from expfam_em import families
from expfam_em.em.starts import INITS
from tests.all_families import NAMES
from tests.cases import CASES
from tests.covariance_models import MODELS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAN = np.nan
WITHOUT = {"Dirichlet", "Multinomial", "OneHot", "VonMisesFisher", "Wishart"}
"""Families for which a missing value has no meaning, or one that is not known."""


def punched(X, share=0.3, seed=0):
    """Rows with NaN at random, among them one of which nothing is left, and one that is complete."""
    X = np.array(X, np.float64)
    X[np.random.default_rng(seed).random(X.shape) < share] = NAN
    X[3] = NAN
    return X


def of_cases():
    """A mixture of every family of the table that takes missing values, and rows in two or more columns."""
    rng = np.random.default_rng(5)
    for case in CASES:
        X = np.concatenate([case.draw(theta, 15, rng) for theta in case.components])
        family, natural = case.family, case.naturals(case.components)
        if X.shape[1] > 1 and not ef.ExponentialFamilyMixture(family).__sklearn_tags__().input_tags.allow_nan:
            continue
        if X.shape[1] == 1:
            family = families.Product([(family, [1]), (families.Poisson(), [0])])
            family = family.bind([(np.column_stack([np.ones(len(X)), X]), None)]) if case.frame is None else family
            natural = family.combine([natural, np.log([[1.0], [5.0], [20.0]])])
            X = np.column_stack([rng.poisson(5, len(X)), X])
        yield case.name, ef.Mixture(family, [0.5, 0.3, 0.2], natural), X
    weights, d = [0.2, 0.5, 0.3], 4
    means, A = 3 * rng.normal(size=(3, d)), rng.normal(size=(3, d, d))
    covariances = A @ A.transpose(0, 2, 1) + np.eye(d)
    shapes = {"full": covariances, "diag": np.einsum("kii->ki", covariances), "spherical": covariances[:, 0, 0]}
    for kind, its in shapes.items():
        for name, family, far in [("Gaussian", families.Gaussian(kind), 0), ("far", families.Gaussian(kind), 1e5)]:
            family = family.bind([(far + means * [[1], [20], [400]], None)])
            mixture = ef.Mixture.of(family, weights, means=far + means * [[1], [20], [400]], covariances=its)
            yield f"{name}-{kind}-{d}", mixture, mixture.sample(40, rng)[0]
    mixture = ef.Mixture.of(families.LogNormal(), weights, log_means=means / 3, log_covariances=covariances)
    yield "LogNormal-4", mixture, mixture.sample(40, rng)[0]
    far = ef.Mixture.of(families.Gamma().bind([(1 + 1e-7 * rng.random((9, 2)), None)]), [0.5, 0.5],
                        shapes=[[1e9, 1e8], [1e10, 1e9]], rates=[[1e9, 1e8], [0.9e10, 2e9]])  # fmt: skip
    yield "Gamma-narrow", far, far.sample(40, rng)[0]
    counts = ef.Mixture.of(families.Poisson(), [0.5, 0.5], rates=[[1e9, 3.0], [1.0001e9, 4.0]])
    yield "Poisson-large", counts, counts.sample(40, rng)[0]


MIXTURES = [pytest.param(mixture, X, id=name) for name, mixture, X in of_cases()]


def by_marginal(mixture, X):
    """log p(x_observed) and responsibilities, row by row."""
    out = []
    for x in X:
        columns = np.flatnonzero(~np.isnan(x))
        score = mixture.log_weights
        if len(columns):
            part = mixture.marginal(columns)
            score = part.log_weights + part.family.log_density(x[None, columns], part.natural)[0]
        out.append(score)
    scores = np.array(out)
    top = logsumexp(scores, axis=1)
    return top, np.exp(scores - top[:, None])


@pytest.mark.parametrize(("mixture", "X"), MIXTURES)
def test_densities_are_those_of_the_marginals(mixture, X):
    Y = punched(X)
    log_density, R = by_marginal(mixture, Y)
    size = 1 + np.abs(log_density).max()
    assert_allclose(mixture.log_density(Y), log_density, rtol=0, atol=1e-9 * size)
    assert_allclose(mixture.responsibilities(Y), R, rtol=0, atol=1e-8)
    assert_allclose(mixture.responsibilities(Y[3:4]), mixture.weights[None])
    statistics = ef.accumulate(mixture, Y)
    assert_allclose(statistics.bound, log_density.sum(), rtol=1e-9)
    assert_allclose(statistics.counts, R.sum(axis=0), rtol=1e-8)


@pytest.mark.parametrize(("mixture", "X"), MIXTURES)
def test_the_gradient_of_the_observed_likelihood_is_that_of_expected_complete_data(mixture, X):
    """Fisher's identity: ∂ log p(x_o)/∂η_k = Σ r (E[T|x_o] − ∇A(η_k))."""
    Y = punched(X)
    statistics = ef.accumulate(mixture, Y)
    gradient = statistics.sums - statistics.counts[:, None] * mixture.expectation
    information = mixture.family.fisher_information(mixture.natural)
    rng = np.random.default_rng(1)
    for _ in range(3):
        way = rng.normal(size=mixture.natural.shape) * np.abs(mixture.natural)
        # a step of one thousandth of a standard error of one row: the next term of the series is 1e-6 of this one
        h = 1e-3 / np.sqrt(np.einsum("kp,kpq,kq", way, information, way))
        found = []
        for step in (h, -h):
            moved = ef.Mixture.unchecked(mixture.family, mixture.weights, mixture.natural + step * way)
            found.append(moved.log_density(Y).sum())
        size = np.sqrt(statistics.counts.sum()) / 1e3  # of the change of log p of all rows in such a step
        assert abs((found[0] - found[1]) / 2 - h * np.sum(way * gradient)) <= 1e-4 * size


# ---- families of which densities tell what is observed --------------------------------------------------------------


def of_densities():
    """Mixtures of incomplete families and of components of different families, in four columns."""
    rng, weights, d = np.random.default_rng(6), [0.2, 0.5, 0.3], 4
    A, near = rng.normal(size=(3, d, d)), 3 * rng.normal(size=(3, d))
    scales, positive = A @ A.transpose(0, 2, 1) + np.eye(d), 1 + rng.gamma(2, 1, (3, d))
    of_kind = {"full": scales, "diag": np.einsum("kii->ki", scales), "spherical": scales[:, 0, 0]}
    places = {"near": near, "far": 1e5 + near * [[1], [20], [400]]}
    for (kind, its), (where, means) in itertools.product(of_kind.items(), places.items()):
        family = families.StudentT(covariance_type=kind).bind([(means, None)])
        named = {"means": means, "scales": its, "degrees_of_freedom": [3.0, 8.0, 50.0]}
        yield f"StudentT {kind} {where}", ef.Mixture.of(family, weights, **named)
    shares = [0.3, 0.5, 0.1]
    inflated = {
        "Poisson": (families.Poisson(), {"rates": positive}),
        "Gamma": (families.Gamma(), {"shapes": positive, "rates": positive[::-1]}),
        "GammaPoisson": (families.GammaPoisson(), {"shapes": positive, "means": positive[::-1]}),
        "StudentT": (families.StudentT(4.0), {"means": near, "scales": scales}),
    }
    for name, (family, named) in inflated.items():
        family = families.ZeroInflated(family).bind([(positive, None)])
        yield f"ZeroInflated {name}", ef.Mixture.of(family, weights, zero_shares=shares, **named)
    normal = {"gaussian_means": near[2:], "gaussian_covariances": of_kind["diag"][2:]}
    kinds = {
        "noise": ((families.Gaussian(), 2), (families.Uniform(-15, 15), 1),
                  {"gaussian_means": near[:2], "gaussian_covariances": scales[:2]}),
        "heavy tails": ((families.StudentT(), 2), (families.Gaussian("diag"), 1), normal | {
            "studentt_means": near[:2], "studentt_scales": scales[:2], "studentt_degrees_of_freedom": [3.0, 9.0]}),
        "round": ((families.Gaussian("spherical"), 2), (families.StudentT(covariance_type="spherical"), 1), {
            "gaussian_means": near[:2], "gaussian_covariances": [1.0, 2.0],
            "studentt_means": near[2:], "studentt_scales": [1.5], "studentt_degrees_of_freedom": [5.0]}),
        "positive": ((families.Gamma(), 2), (families.Gaussian("diag"), 1), normal | {
            "gamma_shapes": positive[:2], "gamma_rates": positive[1:]}),
    }  # fmt: skip
    for name, (one, other, named) in kinds.items():
        yield f"Componentwise {name}", ef.Mixture.of(families.Componentwise([one, other]).bind([(near, None)]), weights,
                                                     **named)  # fmt: skip
    parts = [(families.StudentT(), [0, 1]), (families.Gaussian(), [2]), (families.GammaPoisson(), [3])]
    apart = np.array([[0.0, 0.0], [1e4, 3.0], [5.0, 1e4]])
    family = families.Product(parts).bind([(np.column_stack([apart, apart[:, 0], [1, 4, 9]]), None)])
    yield "Product", ef.Mixture.of(
        family, weights, studentt_means=apart, studentt_scales=scales[:, :2, :2], studentt_degrees_of_freedom=[3, 5, 9],
        gaussian_means=apart[:, :1], gaussian_covariances=scales[:, 2:3, 2:3],
        gammapoisson_shapes=positive[:, :1], gammapoisson_means=positive[:, 1:2],
    )  # fmt: skip


BY_DENSITY = [pytest.param(mixture, id=name) for name, mixture in of_densities()]


@pytest.mark.parametrize("mixture", BY_DENSITY)
def test_what_densities_tell_is_exact(mixture):
    """Densities are those of marginals, and the gradient along parameters is that of Fisher's identity."""
    X = mixture.sample(50, np.random.default_rng(1))[0]
    Y = punched(X)
    log_density, R = by_marginal(mixture, Y)
    # where components have coordinates of their own, marginals lack the digits that common ones lack, 1e4² ulps
    size = 1e-9 if mixture.family.__class__ is not families.Product else 1e-7
    assert_allclose(mixture.log_density(Y), log_density, rtol=0, atol=size * (1 + np.abs(log_density).max()))
    assert_allclose(mixture.responsibilities(Y), R, rtol=0, atol=1e-8)
    statistics = ef.accumulate(mixture, Y)
    assert_allclose(statistics.bound, mixture.log_density(Y).sum(), rtol=1e-12)
    gradient = statistics.sums - statistics.counts[:, None] * mixture.expectation
    fixed = "low", "high", "probabilities", *(["degrees_of_freedom"] if "4" in repr(mixture.family) else [])
    named = {name: value for name, value in mixture.parameters.items() if not name.endswith(fixed)}
    rng = np.random.default_rng(2)
    for _ in range(3):
        ways = {name: 0.3 * rng.normal(size=np.shape(v)) * _size(name, v) for name, v in named.items()}
        ways = {name: (way + np.swapaxes(way, -1, -2)) / 2 if way.ndim == 3 else way for name, way in ways.items()}
        up, down = (
            ef.Mixture.of(mixture.family, mixture.weights, **{name: v + h * ways[name] for name, v in named.items()})
            .in_family(mixture.family) for h in (1e-4, -1e-4)
        )  # fmt: skip
        change = (up.log_density(Y) - down.log_density(Y)).sum()
        # third derivatives are of the size of the first ones, in steps of 3e-5 of the parameters
        assert change == pytest.approx(np.sum((up.natural - down.natural) * gradient), rel=1e-5, abs=1e-7)


def _size(name, value):
    """By how much to move parameters: places by 1, all others by their size."""
    is_place = name.endswith("means") and "poisson" not in name
    return np.ones_like(value) if is_place and (np.min(value) < 0 or np.max(value) > 1e3) else np.abs(value)


def t_step(X, w, weights, means, scales, degrees):
    """One step of EM for mixtures of t densities with missing values, row by row (Liu & Rubin 1995)."""
    (n, d), K = X.shape, len(weights)
    R, U, logs = np.zeros((n, K)), np.zeros((n, K)), np.zeros((n, K))
    hats, rest, bound = np.zeros((K, n, d)), np.zeros((K, n, d, d)), 0.0
    for i, x in enumerate(X):
        o, m = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
        score = np.log(weights)
        for k, (mean, scale, nu) in enumerate(zip(means, scales, degrees, strict=True)):
            of_seen, apart = scale[np.ix_(o, o)], x[o] - mean[o]
            if len(o):
                score[k] += stats.multivariate_t.logpdf(x[o], mean[o], of_seen, df=nu)
            gain = np.linalg.solve(of_seen, scale[np.ix_(o, m)]).T
            square = apart @ np.linalg.solve(of_seen, apart)
            U[i, k] = (nu + len(o)) / (nu + square)
            logs[i, k] = digamma((nu + len(o)) / 2) - np.log((nu + square) / 2)
            hats[k, i, o], hats[k, i, m] = x[o], mean[m] + gain @ apart
            rest[k, i][np.ix_(m, m)] = scale[np.ix_(m, m)] - gain @ scale[np.ix_(o, m)]
        bound += w[i] * logsumexp(score)
        R[i] = w[i] * np.exp(score - logsumexp(score))
    counts, W = R.sum(axis=0), R * U
    means = np.einsum("nk,knd->kd", W, hats) / W.sum(axis=0)[:, None]
    apart = hats - means[:, None]
    second = np.einsum("nk,kni,knj->kij", W, apart, apart) + np.einsum("nk,knij->kij", R, rest)
    values = np.sum(R * (logs - U + 1), axis=0) / counts
    degrees = [2 * brentq(lambda h, v=v: digamma(h) - np.log(h) - v, 1e-3, 1e7) for v in values]
    return bound, counts / counts.sum(), means, second / counts[:, None, None], np.array(degrees)


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_fits_of_t_densities_are_those_of_the_textbook(far):
    rng, w = np.random.default_rng(0), np.arange(90) % 3 + 0.5
    X = rng.standard_t(4, (90, 3)) @ [[1, 0.8, 0], [0, 1, 0.4], [0, 0, 1]] + (3 + far) * (np.arange(90) > 50)[:, None]
    X = punched(X, 0.25)
    state = np.array([0.5, 0.5]), np.array([[0.0] * 3, [3 + far] * 3]), np.tile(np.eye(3), (2, 1, 1)), np.array([5, 8])
    names = "means", "scales", "degrees_of_freedom"
    start = ef.Mixture.of(families.StudentT(), state[0], **dict(zip(names, state[1:], strict=True)))
    found = ef.fit(start, X, w, max_iter=5, tol=0)
    for bound in found.bounds[:-1]:
        expected, *state = t_step(X, w, *state)
        assert_allclose(bound, expected, rtol=1e-12 if far == 0 else 1e-10)  # the textbook's means are rounded to 1e-10
    for name, expected in zip(names, state[1:], strict=True):
        assert_allclose(found.mixture.parameters[name], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["t", "round t", "zeros", "positive zeros", "noise", "t and noise", "product"])
def test_fits_by_densities_rise_to_maxima(name):
    X = clusters()
    X[::9] *= 4
    counts = np.round(np.abs(X)) * (np.arange(len(X)) % 4 > 0)[:, None]
    Product, t = families.Product, families.StudentT
    family, rows = {
        "t": (t(), X),
        "round t": (t(covariance_type="spherical"), X),
        "zeros": (families.ZeroInflated(families.Poisson()), counts),
        "positive zeros": (families.ZeroInflated(families.Gamma()), np.where(counts > 0, counts + 0.5, 0.0)),
        "noise": (families.Componentwise([(families.Gaussian(), 2), (families.Uniform(), 1)]), X),
        "t and noise": (families.Componentwise([(t(), 2), (families.Uniform(), 1)]), X),
        "product": (Product([(t(), [0, 1]), (families.GammaPoisson(), [2])]), np.c_[X[:, :2], counts[:, 0]]),
    }[name]  # fmt: skip
    K, start = 2, (np.arange(len(X)) >= 80).astype(int)
    if "noise" in name:
        K, start[::9] = 3, 2
    rows = punched(rows, 0.2)
    if name == "positive zeros":
        rows[~np.isnan(rows).all(axis=1) & (np.nan_to_num(rows) == 0).all(axis=1)] = 0.0
        rows[((rows == 0).any(axis=1)) & (np.nan_to_num(rows) > 0).any(axis=1)] = 1.0
    for how in ({}, {"acceleration": "auto", "n_jobs": 2}):
        how |= {"init": start, "max_iter": 20, "tol": 0, "guard": False}
        model = ef.ExponentialFamilyMixture(family, K, **how).fit(rows)
        assert np.all(np.diff(model.lower_bounds_[3:]) >= -1e-12)
        assert_allclose(model.score(rows), model.lower_bound_, rtol=1e-12)
        assert_allclose(model.score_samples(rows), by_marginal(model.mixture_, rows)[0], rtol=1e-8, atol=1e-10)
    filled = model.impute(rows, "draw")
    assert np.isfinite(filled).all()
    assert np.array_equal(filled[~np.isnan(rows)], rows[~np.isnan(rows)])


def test_noise_by_name_takes_missing_values():
    X = punched(clusters(), 0.2)
    model = ef.GaussianMixture(2, noise="uniform", random_state=0, tol=1e-6, max_iter=300).fit(X)
    assert_allclose(model.score(X), model.lower_bound_, rtol=1e-12)
    assert model.predict_proba(X).shape == (len(X), 3)


# ---- whole fits ----------------------------------------------------------------------------------------------------


def clusters(n=80, seed=0):
    """Rows of two correlated clusters in three columns."""
    rng = np.random.default_rng(seed)
    A = np.array([[1.0, 0.8, 0.0], [0.0, 1.0, 0.4], [0.0, 0.0, 1.0]])
    return np.concatenate([rng.normal(size=(n, 3)) @ A, rng.normal(4, 1, (n // 2, 3)) @ A.T])


def textbook_step(X, w, weights, means, covariances):
    """One step of EM for normal mixtures with missing values, row by row (Little & Rubin 2002, section 11.2)."""
    n, d, K = *X.shape, len(weights)
    R, hats, bound = np.zeros((n, K)), np.zeros((K, n, d)), 0.0
    rest = np.zeros((K, n, d, d))
    for i, x in enumerate(X):
        o, m = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
        score = np.log(weights)
        for k in range(K):
            if len(o):
                score[k] += stats.multivariate_normal.logpdf(x[o], means[k][o], covariances[k][np.ix_(o, o)])
            gain = np.linalg.solve(covariances[k][np.ix_(o, o)], covariances[k][np.ix_(o, m)]).T
            hats[k, i, o], hats[k, i, m] = x[o], means[k][m] + gain @ (x[o] - means[k][o])
            rest[k, i][np.ix_(m, m)] = covariances[k][np.ix_(m, m)] - gain @ covariances[k][np.ix_(o, m)]
        bound += w[i] * logsumexp(score)
        R[i] = w[i] * np.exp(score - logsumexp(score))
    counts = R.sum(axis=0)
    means = np.einsum("nk,knd->kd", R, hats) / counts[:, None]
    apart = hats - means[:, None]
    second = np.einsum("nk,kni,knj->kij", R, apart, apart) + np.einsum("nk,knij->kij", R, rest)
    return bound, counts / counts.sum(), means, second / counts[:, None, None]


def test_fits_are_those_of_the_textbook():
    X = punched(clusters())
    w = np.random.default_rng(1).integers(0, 4, len(X)).astype(float)
    state = np.array([0.5, 0.5]), np.array([[0.0, 0, 0], [3, 3, 3]]), np.tile(np.eye(3), (2, 1, 1))
    start = ef.Mixture.of(families.Gaussian(), state[0], means=state[1], covariances=state[2])
    found = ef.fit(start, X, w, max_iter=8, tol=0)
    for bound in found.bounds[:-1]:
        expected, *state = textbook_step(X, w, *state)
        assert_allclose(bound, expected, rtol=1e-12)
    named = found.mixture.parameters
    for value, expected in zip((found.mixture.weights, named["means"], named["covariances"]), state, strict=True):
        assert_allclose(value, expected, rtol=1e-10, atol=1e-12)
    assert np.all(found.bounds[:-1] <= found.half_bounds)
    assert np.all(found.half_bounds <= found.bounds[1:])


def test_a_monotone_pattern_gives_the_factored_regressions():
    """Where column 1 is missing only if column 2 is, p(x₀) p(x₁|x₀) p(x₂|x₀, x₁) are estimated from nested rows."""
    X = clusters(120)[:120]
    X[70:, 2], X[100:, 1] = NAN, NAN
    found = ef.GaussianMixture(1, tol=1e-15, max_iter=5000, reg_covar=0.0).fit(X)
    mean, covariance = X[:, :1].mean(axis=0), np.cov(X[:, 0], bias=True).reshape(1, 1)
    for j, n in ((1, 100), (2, 70)):
        design = np.column_stack([np.ones(n), X[:n, :j]])
        slope, *_ = np.linalg.lstsq(design, X[:n, j], rcond=None)
        left = np.mean((X[:n, j] - design @ slope) ** 2)
        cross = covariance @ slope[1:]
        mean = np.append(mean, slope[0] + slope[1:] @ mean)
        covariance = np.block([[covariance, cross[:, None]], [cross[None], np.array([[left + slope[1:] @ cross]])]])
    assert_allclose(found.means_[0], mean, rtol=0, atol=1e-6)
    assert_allclose(found.covariances_[0], covariance, rtol=0, atol=1e-6)


def test_far_from_zero_fits_are_the_same():
    X = punched(clusters())
    near = ef.GaussianMixture(2, random_state=0, tol=0, max_iter=30).fit(X)
    far = ef.GaussianMixture(2, random_state=0, tol=0, max_iter=30).fit(X + 2.0**30)
    assert_allclose(far.means_ - 2.0**30, near.means_, rtol=0, atol=1e-5)  # X itself is rounded to 2⁻²²
    assert_allclose(far.covariances_, near.covariances_, rtol=1e-5, atol=1e-5)


SETTINGS = {
    "plain": {},
    "weights": {"fit": {"sample_weight": np.arange(120) % 3}},
    "annealed": {"temperature": [3.0, 2.0, 1.0]},
    "hard": {"temperature": 0.0},
    "accelerated": {"acceleration": "auto"},
    "equal": {"weights": "equal"},
    "concentration": {"concentration": 3.0},
    "threads": {"n_jobs": 2, "n_init": 3},
    **{f"init-{init}": {"init": init} for init in INITS},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "family",
    [
        families.Gaussian(),
        families.Gaussian("diag"),
        families.Product([(families.Gaussian("tied"), [0, 2]), (families.Poisson(), [1])]),
    ],
    ids=["full", "diag", "product"],
)
def test_every_setting_takes_missing_values(family, setting):
    X = clusters()
    X[:, 1] = np.round(np.abs(X[:, 1]))
    X, (how, given) = punched(X), (dict(SETTINGS[setting]), {})
    given = how.pop("fit", {})
    model = ef.ExponentialFamilyMixture(family, 2, random_state=0, max_iter=40, tol=0, **how).fit(X, **given)
    steps = np.diff(model.lower_bounds_[3:])
    assert np.isfinite(model.score(X))
    assert setting == "concentration" or np.all(steps >= -1e-12)
    if setting not in ("hard", "weights"):
        assert_allclose(model.score(X), model.lower_bound_, rtol=1e-12)
    again = ef.ExponentialFamilyMixture(family, 2, random_state=0, max_iter=40, tol=0, **how | {"n_jobs": 1})
    assert np.array_equal(again.fit(X, **given).natural_parameters_, model.natural_parameters_)


@pytest.mark.parametrize("name", [*MODELS, "full", "tied", "diag", "spherical"])
def test_every_covariance_model_rises_to_a_maximum(name):
    X = punched(clusters(), 0.2)
    model = ef.GaussianMixture(2, covariance_type=name, random_state=0, tol=0, max_iter=25).fit(X)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    log_density, R = by_marginal(model.mixture_, X)
    assert_allclose(model.score_samples(X), log_density, rtol=1e-10, atol=1e-15)
    assert_allclose(model.predict_proba(X), R, atol=1e-10)
    assert_allclose(model.bic(X), model.mixture_.n_parameters * np.log(len(X)) - 2 * log_density.sum())


def test_complete_rows_are_what_they_were():
    X = clusters()
    fits = [ef.GaussianMixture(2, random_state=0).fit(rows) for rows in (X, np.concatenate([X, [[NAN] * 3]]))]
    assert_allclose(fits[0].score_samples(X), fits[0].score_samples(np.concatenate([X, [[NAN] * 3]]))[:-1], rtol=1e-15)
    assert_allclose(fits[1].means_, fits[0].means_, rtol=1e-2)


def test_rows_of_weight_2_are_rows_given_twice_and_order_does_not_matter():
    X = punched(clusters())
    start = ef.GaussianMixture(2, random_state=0, max_iter=1).fit(X).mixture_
    w = 1.0 + np.arange(len(X)) % 2
    fits = [
        ef.fit(start, rows, weight, max_iter=20).mixture.natural
        for rows, weight in ((X, w), (np.repeat(X, w.astype(int), axis=0), None), (X[::-1], w[::-1]))
    ]
    assert_allclose(fits[0], fits[1], rtol=1e-9, atol=1e-12)
    assert_allclose(fits[0], fits[2], rtol=1e-9, atol=1e-12)


def test_labels_and_responsibilities_to_start_from_are_those_of_their_rows():
    X, label = punched(clusters()), np.repeat([0, 1], [80, 40])
    fits = [ef.GaussianMixture(2, init=init, max_iter=0).fit(X) for init in (label, np.eye(2)[label])]
    assert_allclose(fits[0].weights_, [2 / 3, 1 / 3])
    assert_allclose(fits[0].means_, fits[1].means_)
    assert fits[0].means_[0].max() < 1 < 2 < fits[0].means_[1].min()


def test_float32_and_warm_starts():
    X = punched(clusters()).astype(np.float32)
    model = ef.GaussianMixture(2, random_state=0, warm_start=True, max_iter=3, tol=0).fit(X)
    assert model.means_.dtype == np.float32
    assert model.score_samples(X).dtype == np.float32
    before = model.lower_bound_
    assert model.fit(X).lower_bound_ > before
    assert_allclose(model.lower_bound_, model.score(X.astype(np.float64)), rtol=1e-12)


def test_many_fits_are_single_fits():
    lots = [punched(clusters(60, seed), seed=seed) for seed in range(3)]
    for family in (families.Gaussian(), families.Uniform()):
        model = ef.ExponentialFamilyMixture(family, 2, init="random_from_data", random_state=0, tol=0, max_iter=4)
        weights = [np.random.default_rng(seed).random(len(X)) for seed, X in enumerate(lots)]
        for one, X, w in zip(ef.fit_many(model, lots, weights), lots, weights, strict=True):
            assert_allclose(one.lower_bound_, one.score(X, sample_weight=w), rtol=1e-12)


def test_labels_counts_and_bits():
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=400)
    X = (rng.random((400, 6)) < np.where(label[:, None] == 1, 0.85, 0.15)).astype(float)
    Y = punched(X, 0.2)
    model = ef.BernoulliMixture(2, random_state=0).fit(Y)
    assert_allclose(np.sort(model.probabilities_.mean(axis=1)), [0.15, 0.85], atol=0.05)
    as_labels = ef.ExponentialFamilyMixture(families.Categorical(2), 2, init=model.predict(Y), random_state=0).fit(Y)
    assert_allclose(as_labels.score(Y), model.score(Y), rtol=1e-6)
    tripled = ef.BernoulliMixture(2, random_state=0, binarize=2).fit(3 * Y)
    assert_allclose(tripled.score(3 * Y), model.score(Y), rtol=1e-6)


def test_standard_errors_are_those_of_the_observed_likelihood():
    """Independent columns: the errors of mean and variance are those of the values observed of each."""
    X = np.random.default_rng(0).normal(size=(200, 2))
    X[:40, 1] = NAN
    model = ef.ExponentialFamilyMixture(families.Gaussian("diag"), 1, tol=1e-14, max_iter=500).fit(X)
    means, variances = model.parameters_["means"], model.parameters_["covariances"]
    for given in (model, model.mixture_):
        for kind in ("information", "scores"):
            found = ef.standard_errors(given, X, kind=kind)
            slack = 1e-4 if kind == "information" else 0.2  # the scores of 200 rows know the information to ten percent
            assert_allclose(found["means"], np.sqrt(variances / [200, 160]), rtol=slack)
            assert_allclose(found["covariances"], variances * np.sqrt(2 / np.array([200, 160])), rtol=2 * slack)
    assert means.shape == (1, 2)


# ---- filling in -----------------------------------------------------------------------------------------------------


def test_means_and_draws_of_what_is_missing():
    X = punched(clusters())
    model = ef.GaussianMixture(2, random_state=0).fit(X)
    filled, there = model.impute(X), ~np.isnan(X)
    assert np.array_equal(filled[there], X[there])
    assert not np.isnan(filled).any()
    assert_allclose(filled[3], model.weights_ @ model.means_)
    row = int(np.flatnonzero(there.sum(axis=1) == 2)[0])
    shown = np.flatnonzero(there[row])
    assert_allclose(filled[row, ~there[row]], model.mixture_.conditional_mean(shown, X[row : row + 1, shown])[0])
    draws = model.sample_missing(X, 2000)
    assert draws.shape == (2000, *X.shape)
    assert np.array_equal(draws[7][there], X[there])
    error = np.abs(draws.mean(axis=0) - filled) / (draws.std(axis=0) / np.sqrt(2000) + there)
    assert error.max() < 5.5  # the largest of 200 standard normal numbers, once in 10⁵ times
    assert np.array_equal(model.impute(X, "draw"), model.impute(X, "draw"))


def test_nothing_is_filled_into_complete_rows():
    X = clusters()
    model = ef.GaussianMixture(2, random_state=0).fit(X)
    assert np.array_equal(model.impute(X), X)
    assert np.array_equal(model.sample_missing(X, 2), [X, X])


def test_single_rows_are_predicted():
    model = ef.GaussianMixture(2, random_state=0).fit(punched(clusters()))
    row = np.array([[NAN, 4.0, NAN]])
    log_density, R = by_marginal(model.mixture_, row)
    assert_allclose(model.score_samples(row), log_density)
    assert_allclose(model.predict_proba(row), R)
    assert model.predict(row) == R.argmax()


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_what_has_no_meaning_is_refused():
    from scipy import sparse

    X = np.array([[0.6, 0.8, 0.0], [0.0, NAN, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    model = ef.ExponentialFamilyMixture(families.VonMisesFisher(), 1)
    with pytest.raises(ValueError, match=r"NaN in row 1, column 1, and a value in column 0.*VonMisesFisher"):
        model.fit(X)
    with pytest.raises(ValueError, match="column 2 of X holds nothing but NaN"):
        ef.GaussianMixture(1).fit(np.column_stack([X[[0, 2, 3], :2], [NAN] * 3]))
    with pytest.raises(ValueError, match=r"sparse X holds nan in column 1 \(row 1\)"):
        ef.BernoulliMixture(1).fit(sparse.csr_array(np.where(X > 0.5, 1.0, np.where(np.isnan(X), NAN, 0))))
    with pytest.raises(ValueError, match=r"column 1 holds -1.0 \(row 5\)"):
        ef.ExponentialFamilyMixture(families.Poisson(), 1).fit([[NAN, 2], [1, 2], [3, NAN], [1, NAN], [2, 2], [1, -1]])
    with pytest.raises(ValueError, match="infinity"):
        ef.GaussianMixture(1).fit([[NAN, 1.0], [1.0, np.inf], [2.0, 3.0]])
    with pytest.raises(ValueError, match="method is 'mode'"):
        ef.GaussianMixture(1).fit(clusters()).impute(clusters(), "mode")


def test_a_part_may_be_missing_as_a_whole():
    """A direction that is missing in all of its columns is none of the marginal."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    X = np.column_stack([X / np.linalg.norm(X, axis=1)[:, None], rng.poisson(3, 60)])
    X[::3, :3], X[1::6, 3] = NAN, NAN
    family = families.Product([(families.VonMisesFisher(), [0, 1, 2]), (families.Poisson(), [3])])
    model = ef.ExponentialFamilyMixture(family, 2, random_state=0).fit(X)
    assert_allclose(model.score(X), model.lower_bound_, rtol=1e-12)
    assert_allclose(model.score_samples(X), by_marginal(model.mixture_, X)[0], rtol=1e-10)
    one = ef.ExponentialFamilyMixture(family, 1).fit(X)
    assert_allclose(one.parameters_["poisson_rates"], [[np.nanmean(X[:, 3])]], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_tags_say_which_families_take_single_missing_values(name):
    kind = getattr(families, name)
    of_counts = dict.fromkeys(["ZeroInflated", "Censored", "Exposed", "Truncated"], (families.Poisson(),))
    arguments = {"Product": ([(families.Poisson(), [0])],), "Componentwise": ([(families.Poisson(), 1)],),
                 "Binomial": (3,), "NegativeBinomial": (2.0,), **of_counts}  # fmt: skip
    try:
        family = kind(*arguments.get(name, ()))
    except TypeError:
        family = kind(2)
    tags = ef.ExponentialFamilyMixture(family, 1).__sklearn_tags__()
    assert tags.input_tags.allow_nan == (name not in WITHOUT | {"Censored", "Exposed", "Truncated"})
