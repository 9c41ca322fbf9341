"""Entropies and divergences, against quadrature, SciPy and draws; Fisher information against the covariance of T."""

import numpy as np
import pytest
from scipy import integrate, stats

import expfam_em as ef
from expfam_em import families
from tests import own_families
from tests.problems import BY_NAME

MANY = 5
"""Standard errors that an estimate may be off at a fixed seed."""


def normals(means, widths, weights=None):
    family = families.Gaussian("diag")
    natural = family.from_moments(np.array(means, float)[:, None], np.array(widths, float)[:, None] ** 2)
    K = len(means)
    return ef.Mixture(family, np.full(K, 1 / K) if weights is None else weights, natural)


def kl_of_normals(m, s, n, t):
    return np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5


def integral(function):
    """∫ over the line, of functions that are negligible beyond ±60."""
    return integrate.quad(function, -60, 60, limit=500, points=[-5, 0, 5], epsabs=1e-11)[0]


# ---- closed forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_entropy_and_fisher_information_by_quadrature(name):
    case = BY_NAME[name]
    for theta in case.components:
        natural = case.natural(theta)[None]
        X, w = case.nodes(theta)
        log_p = case.log_density(X, theta)
        mass = w * np.exp(log_p)
        closed = case.family.entropy(natural)
        if closed is not None:
            expected = -np.sum(mass[mass > 0] * log_p[mass > 0])
            assert closed[0] == pytest.approx(expected, rel=1e-6, abs=1e-6)  # the nodes' own error
        _, covariance = case.moments(theta)
        size = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        found = case.family.fisher_information(natural)[0]
        # second differences of A, or differences of ∇A, and the nodes' own error
        assert np.all(abs(found - covariance) <= 1e-4 * size + 1e-8)


@pytest.mark.parametrize(
    ("family", "natural", "law"),
    [
        (families.Poisson(), [[np.log(3.0)]], stats.poisson(3)),
        (families.Gaussian("full"), [[0.4, -0.5]], stats.norm(0.4, 1)),
        (families.Exponential(), [[-2.0]], stats.expon(scale=0.5)),
        (families.Beta(), None, stats.beta(2.5, 4)),
        (families.Gamma(), None, stats.gamma(3, scale=0.5)),
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_entropy_is_that_of_scipy(family, natural, law):
    if natural is None:
        X = law.ppf((np.arange(200_000) + 0.5) / 200_000)[:, None]
        natural = family.to_natural(family.sufficient_statistics(X).mean(axis=0)[None])
    found = family.entropy(np.array(natural))
    assert found[0] == pytest.approx(float(law.entropy()), rel=1e-4)  # of the grid that stands for the law


@pytest.mark.parametrize("family", [families.StudentT(), families.GammaPoisson()], ids=repr)
def test_incomplete_families_have_no_formula(family):
    X = np.random.default_rng(0).negative_binomial(3, 0.3, (200, 1)).astype(float)
    mixture = ef.ExponentialFamilyMixture(family, 1, tol=1e-4).fit(X).mixture_
    assert family.entropy(mixture.natural) is None
    estimate = ef.entropy(mixture, 20_000, 0)
    p = mixture.parameters
    if isinstance(family, families.StudentT):
        exact = stats.t(p["degrees_of_freedom"][0], scale=np.sqrt(p["scales"][0, 0, 0])).entropy()
    else:
        exact = stats.nbinom(p["shapes"][0, 0], p["probabilities"][0, 0]).entropy()
    assert abs(estimate.value - exact) <= MANY * estimate.standard_error


# ---- mixtures -------------------------------------------------------------------------------------------------------

PAIR = normals([-1.0, 2.0], [0.7, 1.5], [0.3, 0.7])
OTHER = normals([0.0, 1.0, 4.0], [2.0, 1.0, 1.0])


def log_p(mixture, x):
    return float(mixture.log_density(np.array([[x]]))[0])


def test_entropy_of_a_mixture_by_quadrature():
    exact = integral(lambda x: -np.exp(log_p(PAIR, x)) * log_p(PAIR, x))
    estimate = ef.entropy(PAIR, 20_000, 0)
    assert abs(estimate.value - exact) <= MANY * estimate.standard_error
    assert 0 < estimate.standard_error < 0.02


def test_divergence_of_mixtures_by_quadrature():
    exact = integral(lambda x: np.exp(log_p(PAIR, x)) * (log_p(PAIR, x) - log_p(OTHER, x)))
    estimate = ef.divergence(PAIR, OTHER, 20_000, 0)
    assert abs(estimate.value - exact) <= MANY * estimate.standard_error
    assert 0 < estimate.standard_error < 0.02


@pytest.mark.parametrize(
    "function", [lambda rng: ef.entropy(PAIR, 200, rng), lambda rng: ef.divergence(PAIR, OTHER, 200, rng)]
)
def test_the_standard_error_is_the_spread_of_repetitions(function):
    rng = np.random.default_rng(0)
    runs = [function(rng) for _ in range(400)]
    spread = np.std([run.value for run in runs], ddof=1)
    # the spread of 400 has a standard error of 3.5%, and more for skewed values
    assert np.sqrt(np.mean([run.standard_error**2 for run in runs])) == pytest.approx(spread, rel=0.2)


def test_one_component_has_closed_forms():
    one, other = normals([1.0], [2.0]), normals([0.0], [0.5])
    other = ef.Mixture(one.family, [1.0], other.natural)
    value, error = ef.entropy(one)
    assert value == pytest.approx(stats.norm(1, 2).entropy(), rel=1e-14)
    assert error == 0
    value, error = ef.divergence(one, other)
    assert value == pytest.approx(kl_of_normals(1.0, 2.0, 0.0, 0.5), rel=1e-13)
    assert error == 0
    different = ef.divergence(one, normals([0.0], [0.5]), 20_000, 0)
    assert abs(different.value - value) <= MANY * different.standard_error
    full = families.Gaussian("full")
    unlike = ef.Mixture(full, [1.0], full.from_moments(np.zeros((1, 1)), np.full((1, 1, 1), 0.25)))
    drawn = ef.divergence(one, unlike, 20_000, 0)
    assert abs(drawn.value - value) <= MANY * drawn.standard_error
    assert drawn.standard_error > 0


class Scaled(families.Poisson):
    """Has a constant that cannot be pickled."""

    def __init__(self, function):
        self.function = function


@pytest.mark.parametrize(
    "make",
    [families.Poisson, lambda: Scaled(abs), lambda: families.Binomial(9)],
    ids=["Poisson", "Scaled", "Binomial"],
)
def test_families_that_are_made_twice_are_the_same(make):
    found = ef.divergence(*(ef.Mixture(make(), [1.0], [[eta]]) for eta in (1.0, 0.0)))
    assert found.standard_error == 0
    assert found.value == pytest.approx(make().divergence([[1.0]], [[0.0]])[0], rel=1e-14)


def test_families_with_other_constants_are_not_the_same():
    pairs = [(families.Binomial(9), families.Binomial(10)), (Scaled(lambda x: x), Scaled(lambda x: x + 1))]
    for one, other in pairs:
        found = ef.divergence(ef.Mixture(one, [1.0], [[1.0]]), ef.Mixture(other, [1.0], [[0.0]]), 2000, 0)
        assert found.standard_error > 0


def test_entropies_and_divergences_of_components():
    means, widths = np.array([0.0, 1.0, 5.0]), np.array([1.0, 2.0, 0.5])
    mixture = normals(means, widths)
    assert ef.component_entropies(mixture).value == pytest.approx(stats.norm(means, widths).entropy(), rel=1e-13)
    expected = kl_of_normals(means[:, None], widths[:, None], means, widths)
    found = ef.component_divergences(mixture)
    assert found.value == pytest.approx(expected, rel=1e-12, abs=1e-13)
    assert np.all(found.standard_error == 0)


def test_components_with_frames_of_their_own():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], 60)
    X = rng.normal(size=(180, 2)) * (1 + label[:, None]) + 1e6 * label[:, None]
    family = families.Gaussian("full", variance_floor=0.0)
    model = ef.ExponentialFamilyMixture(family, 3, init=label).fit(X)
    assert model.mixture_.family.frames is not None
    C = model.parameters_["covariances"]
    exact = [stats.multivariate_normal(np.zeros(2), c).entropy() for c in C]
    assert ef.component_entropies(model.mixture_).value == pytest.approx(exact, rel=1e-10)
    found = ef.component_divergences(model.mixture_, 4000, 0)
    M = model.parameters_["means"]
    for j in range(3):
        for k in range(3):
            P, d = np.linalg.inv(C[k]), M[k] - M[j]
            kl = 0.5 * (np.trace(P @ C[j]) - 2 + d @ P @ d - np.linalg.slogdet(P @ C[j])[1])
            # x of 1e6 is known to 1e-10 of a standard deviation, and distances are about 1e6 of them
            assert abs(found.value[j, k] - kl) <= MANY * found.standard_error[j, k] + 1e-9 * kl + 1e-12


def test_components_of_different_families():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(150, 1)), rng.gamma(9, 1, (150, 1))])
    family = families.Componentwise(
        [(families.Gaussian("full"), 1), (families.Gamma(), 1), (families.Uniform(-50, 50), 1)]
    )
    mixture = ef.ExponentialFamilyMixture(family, 3, random_state=0, max_iter=50, tol=1e-3).fit(X).mixture_
    p = mixture.parameters
    normal = stats.norm(p["gaussian_means"][0, 0], np.sqrt(p["gaussian_covariances"][0, 0, 0]))
    gamma = stats.gamma(p["gamma_shapes"][0, 0], scale=1 / p["gamma_rates"][0, 0])
    exact = [normal.entropy(), gamma.entropy(), np.log(100)]
    assert ef.component_entropies(mixture).value == pytest.approx(exact, rel=1e-10)
    found = ef.component_divergences(mixture, 5000, 0)
    assert np.array_equal(np.diag(found.value), np.zeros(3))
    assert found.value[0, 1] == np.inf  # half of the normal rows are negative
    assert found.value[2, 1] == np.inf
    kl = -normal.entropy() + np.log(100)
    assert abs(found.value[0, 2] - kl) <= MANY * found.standard_error[0, 2]
    kl = integrate.quad(lambda x: gamma.pdf(x) * (gamma.logpdf(x) - normal.logpdf(x)), 0, 60)[0]
    assert abs(found.value[1, 0] - kl) <= MANY * found.standard_error[1, 0]
    information = mixture.family.fisher_information(mixture.natural)
    for k, part, of in mixture.family._parts(3):
        at = mixture.family._layout.statistics[k]
        assert information[of[0]][np.ix_(at, at)] == pytest.approx(
            part.fisher_information(mixture.natural[[k]][:, at])[0]
        )
        rest = np.setdiff1d(np.arange(information.shape[1]), at)
        assert np.all(information[of[0]][rest] == 0)


def test_a_row_that_is_impossible_is_infinitely_far():
    far = ef.divergence(normals([0.0], [1.0]), ef.Mixture(families.Exponential(), [1.0], [[-1.0]]), 100, 0)
    assert far == (np.inf, 0)
    back = ef.divergence(ef.Mixture(families.Exponential(), [1.0], [[-1.0]]), normals([0.0], [1.0]), 50_000, 0)
    exact = -1 + 0.5 * np.log(2 * np.pi) + 0.5 * 2  # −h + E[x²]/2 + ½ log 2π for E[x²] = 2
    assert abs(back.value - exact) <= MANY * back.standard_error


def test_a_family_of_t_and_a_alone():
    mixture = ef.Mixture(own_families.Normal(), [1.0], [[0.0, -0.5]])
    estimate = ef.entropy(mixture, 5000, 0)
    assert abs(estimate.value - stats.norm.entropy()) <= MANY * estimate.standard_error


def test_the_same_seed_gives_the_same_estimate():
    one, two = (ef.divergence(PAIR, OTHER, 500, 3) for _ in range(2))
    assert one == two
    assert one != ef.divergence(PAIR, OTHER, 500, 4)


def test_one_draw_has_no_standard_error():
    with pytest.raises(ValueError, match="n is 1; at least 2 rows are needed"):
        ef.entropy(PAIR, 1)
