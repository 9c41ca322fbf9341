"""Numbers drawn from a density that is only known up to its formula, against SciPy's laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammaln, xlogy

import expfam_em as ef
from tests import own_families
from tests.profiles import draws

SURE = 1e-4
"""Least p-value of a test at a fixed seed: each passes or fails for good."""


class LogNormal(ef.ExponentialFamily):
    """T = (log x, log² x) on the half line."""

    def sufficient_statistics(self, X):
        return np.column_stack([np.log(X[:, 0]), np.log(X[:, 0]) ** 2])

    def log_partition(self, natural):
        return own_families.Normal.log_partition(self, natural)

    def log_base_measure(self, X):
        return -0.5 * np.log(2 * np.pi) - np.log(X[:, 0])


class Beta(ef.ExponentialFamily):
    """T = (log x, log(1 − x)) between 0 and 1."""

    def sufficient_statistics(self, X):
        return np.column_stack([np.log(X[:, 0]), np.log(1 - X[:, 0])])

    def log_partition(self, natural):
        a, b = natural.T + 1
        return gammaln(a) + gammaln(b) - gammaln(a + b)


class Poisson(ef.ExponentialFamily):
    """T = x, which says itself that x is a whole number."""

    def sufficient_statistics(self, X):
        return X

    def log_partition(self, natural):
        return np.exp(natural[:, 0])

    def log_base_measure(self, X):
        return -gammaln(X[:, 0] + 1)

    def check_support(self, X):
        if not np.all((X >= 0) & (np.floor(X) == X)):
            raise ValueError("whole numbers from 0")


class Skellam(ef.ExponentialFamily):
    """Whole numbers on either side of 0: T = |x|, A = log((1 + e^η)/(1 − e^η))."""

    def sufficient_statistics(self, X):
        return np.abs(X)

    def log_partition(self, natural):
        return np.log1p(np.exp(natural[:, 0])) - np.log(-np.expm1(natural[:, 0]))

    def check_support(self, X):
        if not np.all(np.floor(X) == X):
            raise ValueError("whole numbers")


class Gamma(own_families.Gamma):
    """With its base measure, 1/x, in T."""

    def log_base_measure(self, X):
        return np.zeros(len(X))


CONTINUOUS = [
    ("normal", own_families.Normal(), [0.0, -0.5], stats.norm()),
    ("far and narrow", own_families.Normal(), [1e3 / 1e-2, -0.5 / 1e-2], stats.norm(1e3, 1e-1)),
    ("wide", own_families.Normal(), [0.0, -0.5e-10], stats.norm(0, 1e5)),
    ("exponential", own_families.Exponential(), [-3.0], stats.expon(scale=1 / 3)),
    ("exponential, tiny", own_families.Exponential(), [-1e9], stats.expon(scale=1e-9)),
    ("exponential, huge", own_families.Exponential(), [-1e-5], stats.expon(scale=1e5)),
    ("rayleigh", own_families.Rayleigh(), [-0.5], stats.rayleigh()),
    ("gamma with a pole", Gamma(), [-0.7, -2.0], stats.gamma(0.3, scale=0.5)),
    ("gamma", Gamma(), [49.0, -0.1], stats.gamma(50, scale=10)),
    ("log-normal", LogNormal(), [2.0, -0.5], stats.lognorm(1, scale=np.exp(2))),
    ("beta with two poles", Beta(), [-0.7, -0.4], stats.beta(0.3, 0.6)),
    ("beta", Beta(), [79.0, 4.0], stats.beta(80, 5)),
    ("uniform", Beta(), [0.0, 0.0], stats.uniform()),
]
DISCRETE = [
    ("poisson", Poisson(), [np.log(3.0)], stats.poisson(3)),
    ("poisson, rare", Poisson(), [np.log(0.01)], stats.poisson(0.01)),
    ("poisson, many", Poisson(), [np.log(4e4)], stats.poisson(4e4)),
    ("geometric", own_families.Geometric(), [np.log(0.8)], stats.geom(0.2, loc=-1)),
    ("either side of 0", Skellam(), [np.log(0.7)], None),
]


def by_name(cases):
    return pytest.mark.parametrize(("family", "natural", "law"), [c[1:] for c in cases], ids=[c[0] for c in cases])


@by_name(CONTINUOUS)
def test_continuous_numbers(family, natural, law):
    X = family.sample(np.array(natural), 3000, np.random.default_rng(0))
    assert X.shape == (3000, 1)
    assert stats.kstest(X[:, 0], law.cdf).pvalue > SURE


@by_name(CONTINUOUS)
def test_the_distribution_function_is_inverted(family, natural, law):
    # the mass is allowed an error of 1e-6, so the levels are too
    X = family.sample(np.array(natural), 3000, np.random.default_rng(0))
    assert np.abs(law.cdf(X[:, 0]) - np.random.default_rng(0).random(3000)).max() < 1e-6


@by_name(DISCRETE)
def test_whole_numbers(family, natural, law):
    X = family.sample(np.array(natural), 3000, np.random.default_rng(0))[:, 0]
    assert np.array_equal(X, np.floor(X))
    values = np.arange(X.min(), X.max() + 1)
    share = 0.7 ** np.abs(values) * 0.3 / 1.7 if law is None else law.pmf(values)
    # at least five expected in each bin, with what lies beyond in the last one
    bins = np.minimum((np.cumsum(share) * 300).astype(int), 299)
    seen = np.bincount(bins, [np.sum(value == X) for value in values], 300)
    expected = np.bincount(bins, share, 300)
    expected[-1] += 1 - expected.sum()
    here = expected * 3000 >= 5
    seen, expected = np.append(seen[here], seen[~here].sum()), np.append(expected[here], expected[~here].sum())
    seen, expected = (seen[:-1], expected[:-1]) if expected[-1] * 3000 < 1 else (seen, expected)
    assert stats.chisquare(seen, expected / expected.sum() * seen.sum()).pvalue > SURE


@by_name(CONTINUOUS + DISCRETE)
def test_only_the_generator_is_used(family, natural, law):
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state must stay as it is
    one, two = (family.sample(np.array(natural), 5, np.random.default_rng(7)) for _ in range(2))
    other = family.sample(np.array(natural), 5, np.random.default_rng(8))
    assert np.array_equal(one, two)
    assert len(np.unique(np.concatenate([one, other]))) > 1 or natural == [np.log(0.01)]
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@draws(30)
@given(ratio=st.floats(-1e3, 1e3), width=st.floats(1e-3, 1e3))
def test_moments_of_normal_numbers(ratio, width):
    mean = ratio * width
    natural = np.array([mean / width**2, -0.5 / width**2])
    X = own_families.Normal().sample(natural, 400, np.random.default_rng(0))[:, 0]
    Z = (X - mean) / width
    # the same 400 uniform numbers every time: their normal scores have mean −0.0, spread 1 within 5 standard errors
    assert abs(Z.mean()) < 5 / np.sqrt(400)
    assert abs(Z.std() - 1) < 5 / np.sqrt(800)


def test_no_rows():
    assert own_families.Normal().sample(np.array([0.0, -0.5]), 0, np.random.default_rng(0)).shape == (0, 1)


def test_a_mixture_of_a_family_without_a_sampler():
    mixture = ef.Mixture(own_families.Normal(), [0.3, 0.7], [[0.0, -0.5], [20.0, -0.5]])
    X, labels = mixture.sample(1000, 0)
    law = stats.norm(np.array([0.0, 20.0])[labels])
    assert stats.kstest(law.cdf(X[:, 0]), "uniform").pvalue > SURE


@pytest.mark.parametrize("factor", [0.0, 0.3, -0.3])
def test_a_density_that_does_not_integrate_to_1_is_refused(factor):
    class Wrong(ef.ExponentialFamily):
        def sufficient_statistics(self, X):
            return np.column_stack([X[:, 0], X[:, 0] ** 2])

        def log_partition(self, natural):
            return own_families.Normal.log_partition(self, natural) + factor

    with pytest.raises(
        NotImplementedError, match=r"Wrong cannot be sampled: .* define sample\(self, natural, n, rng\)"
    ):
        Wrong().sample(np.array([0.0, -0.5]), 5, np.random.default_rng(0))


class Given(ef.ExponentialFamily):
    """One density of a number, as it is given."""

    def __init__(self, log_density, accepts):
        self.density_of, self.accepts = log_density, accepts

    def sufficient_statistics(self, X):
        return np.zeros_like(X)

    def log_partition(self, natural):
        return np.zeros(len(natural))

    def log_base_measure(self, X):
        return self.density_of(X[:, 0])

    def check_support(self, X):
        if not np.all(self.accepts(X[:, 0])):
            raise ValueError("Given needs other numbers")


def drawn_from(log_density, accepts, n):
    return Given(log_density, accepts).sample(np.zeros(1), n, np.random.default_rng(0))[:, 0]


def test_a_density_that_is_nowhere_is_refused():
    with pytest.raises(NotImplementedError, match="Given cannot be sampled: its density was not found to sum"):
        drawn_from(lambda x: np.full(len(x), -np.inf), lambda x: np.ones(len(x), bool), 5)


@pytest.mark.parametrize("limits", [(3, 7), (-5, 0), (1000, 1003)], ids=str)
def test_a_bounded_lattice(limits):
    low, high = limits

    def accepts(x):
        return (x >= low) & (x <= high) & (np.floor(x) == x)

    def log_density(x):
        return np.full(len(x), -np.log(high - low + 1))

    X = drawn_from(log_density, accepts, 2000)
    seen = np.array([np.sum(value == X) for value in range(low, high + 1)])
    assert seen.sum() == 2000
    assert stats.chisquare(seen).pvalue > SURE


def test_binomial_numbers_that_say_where_they_are():
    def log_density(x):
        return gammaln(11) - gammaln(x + 1) - gammaln(11 - x) + xlogy(x, 0.3) + xlogy(10 - x, 0.7)

    def accepts(x):
        return (x >= 0) & (x <= 10) & (np.floor(x) == x)

    X = drawn_from(log_density, accepts, 3000)
    share = stats.binom.pmf(np.arange(11), 10, 0.3)
    seen = np.bincount(X.astype(int), minlength=11)
    assert (
        stats.chisquare(np.append(seen[:7], seen[7:].sum()), 3000 * np.append(share[:7], share[7:].sum())).pvalue > SURE
    )


@pytest.mark.parametrize(("low", "high"), [(2.0, 5.0), (2.5, 4.7), (-1.0, 1.0), (30.5, 41.0), (1e-2, 2e-2)])
def test_an_interval_wherever_it_lies(low, high):
    class Between(ef.ExponentialFamily):
        """T(x) = x between two numbers."""

        def sufficient_statistics(self, X):
            return X

        def log_partition(self, natural):
            eta = natural[:, 0]
            return eta * high + np.log(-np.expm1(-eta * (high - low)) / eta)

        def check_support(self, X):
            if not np.all((low <= X) & (high >= X)):
                raise ValueError("between two numbers")

    slope = 2 / (high - low)
    x = ef.Mixture(Between(), [1.0], [[slope]]).sample(2000, rng=0)[0][:, 0]
    assert low <= x.min() < x.max() <= high
    law = stats.truncexpon(b=2.0, loc=0, scale=1 / slope)
    assert stats.kstest(high - x, law.cdf).pvalue > 1e-3  # at a fixed seed


# ---- parameters at the ends of float64 -----------------------------------------------------------------------------

SIZES = (1e-300, 1e-100, 1e-3, 1.0, 1e3, 1e100, 1e300)
PAIRS = [(a, b) for a in SIZES for b in SIZES]
EXTREME = {
    "StudentT": [
        {"means": [[0.0]], "scales": [[[s]]], "degrees_of_freedom": [v]}
        for s in (1e-100, 1.0, 1e100)
        for v in (1e-8, 1e-3, 0.01, 1.0, 1e8)
    ],
    "LogNormal": [{"log_means": [[m]], "log_covariances": [[[s]]]} for m in (-1e5, 0.0, 1e5) for s in (1e-3, 1.0, 1e6)],
    "Poisson": [{"rates": [[a]]} for a in SIZES],
    "GammaPoisson": [{"shapes": [[a]], "means": [[b]]} for a, b in PAIRS if 1e-8 < a < 1e8],
    "Gamma": [{"shapes": [[a]], "rates": [[b]]} for a, b in PAIRS],
    "InverseGamma": [{"shapes": [[a]], "scales": [[b]]} for a, b in PAIRS],
    "InverseGaussian": [{"means": [[a]], "shapes": [[b]]} for a, b in PAIRS],
    "Beta": [{"alphas": [[a]], "betas": [[b]]} for a, b in PAIRS],
    "Exponential": [{"rates": [[a]]} for a in SIZES],
    "Rayleigh": [{"scales": [[a]]} for a in SIZES if 1e-150 < a < 1e150],
    "Laplace": [{"scales": [[a]]} for a in SIZES],
    "Dirichlet": [{"alphas": [[a, b, 1.0]]} for a, b in PAIRS],
}


@pytest.mark.parametrize("name", EXTREME)
def test_draws_of_extreme_parameters_are_finite_rows_of_the_family(name):
    family, made = getattr(ef.families, name)(), 0
    for parameters in EXTREME[name]:
        try:
            mixture = ef.Mixture.of(family, [1.0], **parameters)
        except ValueError:
            continue  # refused: there is nothing to draw
        X, _ = mixture.sample(300, 0)
        assert np.isfinite(X).all(), parameters
        assert family.supports(X).all(), parameters
        made += 1
    assert made >= len(EXTREME[name]) / 2


def t_of(degrees):
    return ef.Mixture.of(ef.families.StudentT(), [1.0], means=[[0.0]], scales=[[[1.0]]], degrees_of_freedom=[degrees])


@pytest.mark.parametrize("degrees", [0.02, 0.1, 1.0, 5.0, 1e6])
def test_a_student_t_of_few_degrees_of_freedom_has_its_heavy_tails(degrees):
    x = t_of(degrees).sample(4000, 1)[0].ravel()
    assert stats.kstest(x, stats.t(degrees).cdf).pvalue > SURE


def test_a_draw_beyond_float64_becomes_its_largest_number():
    x = t_of(1e-3).sample(4000, 1)[0].ravel()
    largest = np.finfo(float).max
    # P(|x| > t) of t densities is (√ν/t)^ν up to terms of ν²: half of all draws at t = 1.8e308
    expected = np.exp(1e-3 * (0.5 * np.log(1e-3) - np.log(largest)))
    assert np.mean(np.abs(x) == largest) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("family", "parameters", "law"),
    [
        # log g of small shapes a is −Exponential(a) + O(a): the draws themselves are far below float64
        ("Gamma", {"shapes": [[1e-3]], "rates": [[1e-250]]}, lambda x: np.exp(1e-3 * (np.log(x) + np.log(1e-250)))),
        ("InverseGamma", {"shapes": [[1e-3]], "scales": [[1e-250]]},
         lambda x: 1 - np.exp(1e-3 * (np.log(1e-250) - np.log(x)))),
        ("InverseGaussian", {"means": [[1e200]], "shapes": [[1e-200]]}, lambda x: stats.levy.cdf(x / 1e-200)),
        ("Poisson", {"rates": [[1e20]]}, lambda x: stats.norm.cdf((x - 1e20) / 1e10)),
    ],
)  # fmt: skip
def test_draws_follow_their_law_where_their_size_is_extreme(family, parameters, law):
    x = ef.Mixture.of(getattr(ef.families, family)(), [1.0], **parameters).sample(4000, 2)[0].ravel()
    inside = (x > 1e-300) & (x < 1e300)
    # draws beyond float64 are moved to its ends, where the law has a step: compare between them
    grid = np.quantile(x[inside], np.linspace(0.01, 0.99, 25))
    found = np.mean(x[:, None] <= grid, axis=0)
    assert inside.mean() > 0.2
    assert np.abs(found - law(grid)).max() < 1.95 / np.sqrt(len(x))  # Kolmogorov's quantile at 0.1 %
