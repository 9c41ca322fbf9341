"""Where a fit ends: known maxima, priors, exposures, and families that contradict themselves."""

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import log_ndtr

import expfam_em as ef
from expfam_em import families
from tests import oracle
from tests import own_families as own
from tests.case import EPS
from tests.problems import BY_NAME, Problem, assert_close

# ---- families that contradict themselves ---------------------------------------------------------------------------


class WrongSign(families.KnownCovariance):
    """Means of the wrong sign."""

    def maximize(self, counts, sums):
        return super().maximize(counts, -sums)


class Swapped(families.Poisson):
    """The rates of the two columns exchanged."""

    def maximize(self, counts, sums):
        return super().maximize(counts, sums[:, ::-1])


class HalfStep(own.Rayleigh):
    """η of half the size it should have."""

    def to_natural(self, expectation):
        return -0.5 / expectation


FAULTS = [
    pytest.param(WrongSign(), "Gaussian-known-2", id="sign"),
    pytest.param(Swapped(), "Poisson", id="swapped"),
    pytest.param(HalfStep(), "Rayleigh", id="half"),
]


@pytest.mark.parametrize(("family", "name"), FAULTS)
def test_a_planted_fault_is_found(family, name):
    problem = Problem(BY_NAME[name])
    good = ef.fit(problem.start, problem.X, max_iter=50, tol=1e-8).mixture
    start = ef.Mixture(family, good.weights, good.natural)
    result = ef.fit(start, problem.X)
    assert result.status is ef.Status.BOUND_FELL
    assert result.fall > 0
    assert not result.converged
    assert len(result.bounds) == result.n_iter + 1
    assert result.bound == ef.accumulate(result.mixture, problem.X).bound  # the last good parameters
    with pytest.raises(ValueError, match="The bound fell although an EM step cannot lower it"):
        ef.ExponentialFamilyMixture(family, 3, init=start).fit(problem.X)


# ---- maxima --------------------------------------------------------------------------------------------------------


def unpack(name, free):
    """Weights and parameters of two components from a free vector."""
    if name == "Normal-bare":
        thetas = [(free[1 + 2 * k : 2 + 2 * k], np.exp(free[2 + 2 * k]).reshape(1, 1)) for k in range(2)]
    elif name == "Geometric-bare":
        thetas = [1 / (1 + np.exp(-part)) for part in np.split(free[1:], 2)]
    else:
        thetas = [np.exp(part) for part in np.split(free[1:], 2)]
    return np.array([1.0, np.exp(-free[0])]) / (1 + np.exp(-free[0])), thetas


MAXIMA = {  # true components, a start for the optimiser
    "Normal-bare": [0.0, -1.0, 0.0, 6.0, 0.0],
    "Gamma-bare": [0.0, np.log(3), np.log(4), np.log(15), np.log(2)],
    "Exponential-bare": [0.0, np.log(8), np.log(0.4)],
    "Geometric-bare": [0.0, 0.4, -2.0],
}


@pytest.mark.parametrize("name", MAXIMA)
def test_a_family_from_t_and_a_alone_reaches_the_maximum_of_the_likelihood(name):
    case = BY_NAME[name]
    rng = np.random.default_rng(11)
    X = np.concatenate([case.draw(theta, 150, rng) for theta in case.components[:2]])

    def negative(free):
        weights, thetas = unpack(name, free)
        return -oracle.bound(oracle.scores(case, X, weights, thetas), 1.0, np.ones(len(X)))

    found = optimize.minimize(negative, MAXIMA[name], method="BFGS", options={"gtol": 1e-5})
    weights, thetas = unpack(name, np.array(MAXIMA[name]))
    start = ef.Mixture(case.family, weights, case.naturals(thetas))
    fitted = ef.fit(start, X, max_iter=2000, tol=1e-12)
    assert fitted.status is ef.Status.CONVERGED
    # a gradient of 1e-5 leaves the maximum 1e-10/curvature away, a step of tol·n = 3e-10 at rate ρ that over 1 − ρ
    assert fitted.bound == pytest.approx(-found.fun, abs=1e-6)
    weights, thetas = unpack(name, found.x)
    # the likelihood is flat there: parameters are the square root of 1e-6 away at most
    assert fitted.mixture.weights == pytest.approx(weights, abs=1e-3)
    assert_close(fitted.mixture.natural, case.naturals(thetas), 1e-3)


def test_t_and_a_alone_agree_with_the_closed_form():
    case = BY_NAME["Normal-bare"]
    rng = np.random.default_rng(12)
    X = np.concatenate([case.draw(theta, 100, rng) for theta in case.components[:2]])
    natural = case.naturals(case.components[:2])
    options = {"max_iter": 30, "tol": 0}
    alone = ef.fit(ef.Mixture(case.family, [0.4, 0.6], natural), X, **options)
    closed = ef.fit(ef.Mixture(families.Gaussian("full"), [0.4, 0.6], natural), X, **options)
    assert_close(alone.mixture.natural, closed.mixture.natural, 1e-8)
    assert alone.bounds == pytest.approx(closed.bounds, rel=1e-10)


@pytest.mark.parametrize("name", MAXIMA)
def test_the_estimator_fits_a_family_from_t_and_a_alone(name):
    case = BY_NAME[name]
    rng = np.random.default_rng(13)
    X = np.concatenate([case.draw(theta, 150, rng) for theta in case.components[:2]])
    model = ef.ExponentialFamilyMixture(case.family, 2, tol=1e-9, max_iter=2000, random_state=0).fit(X)
    start = ef.Mixture(case.family, [0.5, 0.5], case.naturals(case.components[:2]))
    known = ef.fit(start, X, tol=1e-9, max_iter=2000)
    # both stop where a step gains less than 1e-9 a row
    assert model.lower_bound_ == pytest.approx(known.bound / len(X), abs=1e-6)


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3, 1e6])
def test_the_unit_of_the_rows_changes_the_unit_of_the_fit(unit):
    case = BY_NAME["Exponential"]
    X = np.concatenate([case.draw(theta, 100, np.random.default_rng(14)) for theta in case.components[:2]])
    natural = case.naturals(case.components[:2])
    plain = ef.fit(ef.Mixture(case.family, [0.5, 0.5], natural), X, max_iter=20, tol=0)
    scaled = ef.fit(ef.Mixture(case.family, [0.5, 0.5], natural / unit), unit * X, max_iter=20, tol=0)
    # mappings solved to 1e-10 in each of 20 steps
    assert scaled.mixture.natural * unit == pytest.approx(plain.mixture.natural, rel=1e-8)
    assert scaled.bounds + len(X) * np.log(unit) == pytest.approx(plain.bounds, rel=1e-8)
    fitted = ef.ExponentialFamilyMixture(case.family, 1).fit(unit * X)
    assert fitted.natural_parameters_[0, 0] == pytest.approx(-1 / (unit * X.mean()), rel=1e-9)


# ---- priors --------------------------------------------------------------------------------------------------------

# family, rows, ν, χ, the posterior mode by its textbook formula
X01 = np.array([[1.0, 0], [1, 0], [0, 0], [1, 1]])  # column sums 3 and 1
MODES = {
    "beta": (families.Bernoulli(), X01, 3.0, [1.0, 2.0], np.array([3 + 1, 1 + 2]) / (4 + 3), "probabilities"),
    "gamma": (families.Poisson(), 3 * X01, 2.0, [5.0, 0.5], np.array([9 + 5, 3 + 0.5]) / (4 + 2), "rates"),
}


@pytest.mark.parametrize("name", MODES)
def test_a_conjugate_prior_gives_the_posterior_mode(name):
    family, X, nu, chi, mode, parameter = MODES[name]
    start = ef.Mixture(family, [1.0], np.zeros((1, 2)))
    result = ef.fit(start, X, prior=ef.ExpectedStatistics([nu], [chi]), max_iter=1, tol=0)
    assert result.mixture.parameters[parameter][0] == pytest.approx(mode, rel=1e-14)
    eta = result.mixture.natural[0]
    expected = np.array(chi) @ eta - nu * family.log_partition(eta[None])[0]
    assert result.log_priors[-1] == pytest.approx(expected, rel=1e-14)


def test_a_normal_prior_gives_the_posterior_mode_of_mean_and_variance():
    X = np.array([[1.0], [2.0], [4.0], [7.0]])
    nu, mean, variance = 3.0, -1.0, 2.0
    prior = ef.ExpectedStatistics([nu], [[nu * mean, nu * (variance + mean**2)]])
    found = ef.fit(ef.Mixture(families.Gaussian("full"), [1.0], [[0.0, -0.5]]), X, prior=prior, max_iter=1, tol=0)
    expected_mean = (X.sum() + nu * mean) / (4 + nu)
    scatter = np.sum((X - expected_mean) ** 2) + nu * (variance + (mean - expected_mean) ** 2)
    assert found.mixture.parameters["means"][0, 0] == pytest.approx(expected_mean, rel=1e-14)
    assert found.mixture.parameters["covariances"][0, 0, 0] == pytest.approx(scatter / (4 + nu), rel=1e-13)


@pytest.mark.parametrize("alpha", [1.0, 2.5, [1.0, 4.0, 2.0], [0.5, 1.0, 1.0]])
def test_a_dirichlet_prior_gives_the_posterior_mode_of_the_weights(alpha):
    problem = Problem(BY_NAME["Poisson"])
    counts = ef.accumulate(problem.start, problem.X).counts
    found = ef.maximize(ef.accumulate(problem.start, problem.X), problem.start, concentration=alpha)
    mass = counts + np.broadcast_to(alpha, 3) - 1
    assert found.weights == pytest.approx(mass / mass.sum(), rel=1e-14)


def test_a_prior_holds_an_empty_component():
    problem = Problem(BY_NAME["Poisson"])
    start = ef.Mixture(problem.case.family, problem.start.weights, problem.start.natural[[0, 1, 0]])
    result = ef.fit(start, problem.X, temperature=0, prior=problem.prior(), max_iter=1, tol=0, weights="equal")
    assert result.mixture.parameters["rates"][2] == pytest.approx(problem.X[:6].mean(axis=0), rel=1e-13)


# ---- exposure ------------------------------------------------------------------------------------------------------


def test_exposure_is_the_rate_per_unit():
    rng = np.random.default_rng(2)
    e = rng.uniform(0.2, 9, 200)
    X = np.column_stack([rng.poisson(np.where(np.arange(200) < 120, 2.0, 11.0) * e), e])
    w = rng.uniform(0, 2, 200)
    rates, pi = np.array([1.0, 8.0]), np.array([0.5, 0.5])
    result = ef.fit(ef.Mixture(own.PoissonExposure(), pi, np.log(rates)[:, None]), X, w, max_iter=8, tol=0)
    case = BY_NAME["Poisson-exposure"]
    for _ in range(8):
        R = w[:, None] * oracle.responsibilities(oracle.scores(case, X, pi, rates), 1.0)
        rates, pi = R.T @ X[:, 0] / (R.T @ e), R.sum(axis=0) / w.sum()
    assert np.exp(result.mixture.natural[:, 0]) == pytest.approx(rates, rel=1e-11)
    assert result.mixture.weights == pytest.approx(pi, rel=1e-11)
    log_p = result.mixture.log_density(X)
    assert log_p == pytest.approx(np.logaddexp(*oracle.scores(case, X, pi, rates).T), rel=1e-10)


# ---- expected statistics -------------------------------------------------------------------------------------------


def test_the_algebra_of_expected_statistics():
    rng = np.random.default_rng(0)
    a, b, c = (ef.ExpectedStatistics(rng.random(2), rng.random((2, 3)), rng.random(), rng.random(2)) for _ in range(3))

    def fields(value):
        return np.concatenate([value.counts, value.sums.ravel(), [value.bound], value.exposures])

    zero = a * 0
    assert np.array_equal(fields(a + b), fields(a) + fields(b))
    assert np.array_equal(fields(a + b), fields(b + a))
    assert fields((a + b) + c) == pytest.approx(fields(a + (b + c)), rel=4 * EPS)
    assert np.array_equal(fields(a + zero), fields(a))
    assert np.array_equal(fields(2 * a), fields(a + a))
    assert np.array_equal(fields(a * 0.3), fields(0.3 * a))
    assert fields((a + b) * 0.3) == pytest.approx(fields(a * 0.3 + b * 0.3), rel=4 * EPS)
    assert a.expectation == pytest.approx(a.sums / a.exposures[:, None], rel=EPS)
    assert np.all(np.isnan(zero.expectation))
    assert np.array_equal(ef.ExpectedStatistics([2.0], [[1.0]]).exposures, [2.0])


@pytest.mark.parametrize("other", [1.0, None, "x", np.ones(2)], ids=str)
def test_statistics_add_to_statistics_only(other):
    with pytest.raises(TypeError):
        ef.ExpectedStatistics([1.0], [[1.0]]) + other


def test_statistics_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="cannot add sums of shape"):
        ef.ExpectedStatistics([1.0], [[1.0]]) + ef.ExpectedStatistics([1.0], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="they must be"):
        ef.ExpectedStatistics([1.0, 2.0], [[1.0]])
    with pytest.raises(TypeError):
        ef.ExpectedStatistics([1.0], [[1.0]]) * "2"


def test_online_em_over_a_whole_sweep_is_em():
    problem = Problem(BY_NAME["Gaussian-full-2"])
    new = ef.accumulate(problem.start, problem.X)
    old = ef.ExpectedStatistics(np.ones(3), np.ones_like(new.sums), family=new.family)
    mixed = (1 - 1.0) * old + 1.0 * new
    found, expected = ef.maximize(mixed, problem.start), ef.maximize(new, problem.start)
    assert np.array_equal(found.natural, expected.natural)


# ---- natural-parameter spaces with a boundary ----------------------------------------------------------------------


class Bivariate(ef.ExponentialFamily):
    """Normal density of two columns, one row of η after the other, and a real ∞ outside."""

    def sufficient_statistics(self, X):
        return np.column_stack([X, X[:, 0] ** 2, X[:, 0] * X[:, 1], X[:, 1] ** 2])

    def log_partition(self, natural):
        return np.array([self.of_one(*row) for row in natural])

    def of_one(self, u, v, a, b, c):
        a, b, c = -2 * a, -b, -2 * c
        determinant = a * c - b * b
        if not (a.real > 0 and determinant.real > 0):
            return np.inf
        return (c * u * u - 2 * b * u * v + a * v * v) / determinant / 2 - np.log(determinant) / 2


@pytest.mark.parametrize("seed", range(3))
def test_a_partition_that_is_a_real_infinity_outside(seed):
    X = np.random.default_rng(seed).normal(size=(200, 2)) @ [[1, 0.5], [0, 2]] + 1
    model = ef.ExponentialFamilyMixture(Bivariate(), 1).fit(X)
    normal = ef.GaussianMixture(1, reg_covar=0).fit(X)
    assert model.expectation_parameters_[0, :2] == pytest.approx(normal.means_[0], rel=1e-9)
    constant = np.log(2 * np.pi)  # log h is left out
    assert model.score(X) - constant == pytest.approx(normal.score(X), rel=1e-9)


class Cut(ef.ExponentialFamily):
    """Normal density cut off at 0: not every mean of (x, x²) is one of a density of the family."""

    def sufficient_statistics(self, X):
        return np.column_stack([X, X**2])

    def log_partition(self, natural):
        a, b = natural.T
        return -(a**2) / (4 * b) - 0.5 * np.log(-2 * b) + log_ndtr(a / np.sqrt(-2 * b)) + 0.5 * np.log(2 * np.pi)

    def check_support(self, X):
        if not np.all(X > 0):
            raise ValueError("Cut needs positive numbers")


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random", "random_from_data"])
def test_starts_of_a_family_that_single_rows_are_outside_of(init):
    rng = np.random.default_rng(0)
    X = np.abs(np.concatenate([rng.normal(1, 1, (200, 1)), rng.normal(9, 1, (200, 1))]))
    if init == "kmeans":  # wide components of few rows near 0 and few far away, as at other starts, are outside, too
        model = ef.ExponentialFamilyMixture(Cut(), 2, init=init, n_init=5, random_state=0, max_iter=500).fit(X)
        assert model.weights_ == pytest.approx([0.5, 0.5], abs=0.02)
    alone = ef.ExponentialFamilyMixture(Cut(), 1, init=init, random_state=0).fit(X[:200])
    found = optimize.minimize(
        lambda p: -stats.truncnorm.logpdf(X[:200, 0], -p[0] / np.exp(p[1]), np.inf, p[0], np.exp(p[1])).mean(),
        [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13},
    )  # fmt: skip
    assert alone.score(X[:200]) == pytest.approx(-found.fun, abs=1e-9)
    assert ef.check_family(Cut(), X[:200]).checked["the density integrates to 1"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_known_component_that_no_row_supports_gets_no_weight():
    X = np.random.default_rng(0).normal(0.015, 0.001, (200, 1))
    F = ef.families
    for order in ([(F.Gaussian(), 2), (F.Uniform(0, 5.8e-5), 1)], [(F.Uniform(0, 5.8e-5), 1), (F.Gaussian(), 2)]):
        mixture = ef.ExponentialFamilyMixture(F.Componentwise(order), 3, random_state=0).fit(X)
        alone = ef.ExponentialFamilyMixture(F.Gaussian(), 2, random_state=0).fit(X)
        assert np.sum(mixture.weights_ == 0) == 1
        assert mixture.score(X) > alone.score(X) - 0.05


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["full", "tied", "VEV", "VVE", "EEE"])
@pytest.mark.parametrize("seed", [1, 2])
def test_fewer_rows_than_columns_end_in_a_sentence_or_in_numbers(kind, seed):
    X = np.eye(12)[np.random.default_rng(seed).integers(12, size=10)]
    model = ef.ExponentialFamilyMixture(ef.families.Gaussian(kind), 3, random_state=0)
    try:
        model.fit(X)
    except ValueError as error:
        assert not isinstance(error, np.linalg.LinAlgError)  # noqa: PT017 - either is right
    else:
        assert np.isfinite(model.natural_parameters_).all()
