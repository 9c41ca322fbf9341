"""Conditional means, densities and draws of many rows at once, against `Mixture.conditional` row by row."""

import itertools

import numpy as np
import pytest
from scipy import stats

import expfam_em as ef
from expfam_em import families
from tests.all_families import NAMES
from tests.cases import CASES
from tests.covariance_models import MODELS

RNG = np.random.default_rng(12)
DEEP = 1e-11
"""Relative error of what went through inverses of covariances with conditions up to 1e2."""
WITHOUT_MEAN = {"VonMises"}
WITHOUT_PARTS = {
    "Censored", "Dirichlet", "Exposed", "Multinomial", "OneHot", "Truncated", "VonMisesFisher", "Wishart",
    "ZeroInflated",
}  # fmt: skip


def roots(d, K=3):
    root = RNG.normal(size=(K, d, d))
    return root @ root.transpose(0, 2, 1) + np.eye(d)


def beside_a_count(case):
    """A mixture of the components of a case, of one column, beside a Poisson column that says which it is."""
    family = families.Product([(case.family, [1]), (families.Poisson(), [0])])
    return family, family.combine([case.naturals(case.components), np.log([[1.0], [5.0], [20.0]])])


def of_cases():
    """Mixtures of every family of the table that has parts, with rows to be given."""
    for case in CASES:
        if not hasattr(type(case.family), "mean") or type(case.family).mean is ef.ExponentialFamily.mean:
            continue
        X = np.concatenate([case.draw(theta, 4, RNG) for theta in case.components])
        family, natural = case.family, case.naturals(case.components)
        if X.shape[1] == 1:
            family, natural = beside_a_count(case)
            X = np.column_stack([RNG.poisson(5, len(X)), X])
        yield case.name, ef.Mixture(family, [0.5, 0.3, 0.2], natural), X


def of(name, family, X=None, **parameters):
    mixture = ef.Mixture.of(family, [0.5, 0.3, 0.2], **parameters)
    return name, mixture, mixture.sample(12, 0)[0] if X is None else X


def others():
    means, cov = RNG.normal(0, 2, (3, 4)), roots(4)
    for name in MODELS:
        yield name, ef.GaussianMixture(3, covariance_type=name, random_state=0, tol=1).fit(
            RNG.normal(size=(60, 4)) + 3 * RNG.integers(3, size=(60, 1))
        ).mixture_, RNG.normal(0, 3, (6, 4))  # fmt: skip
    shapes = {"full": cov, "diag": np.einsum("kii->ki", cov), "spherical": cov[:, 0, 0]}
    for (kind, scales), degrees in itertools.product(shapes.items(), (None, 3.0)):
        free = {"degrees_of_freedom": [0.5, 3.0, 40.0]} if degrees is None else {}
        yield of(f"StudentT-{kind}-{degrees}", families.StudentT(degrees, kind), means=means, scales=scales, **free)
    for kind, covariances in shapes.items():
        yield of(f"LogNormal-{kind}", families.LogNormal(kind), log_means=means / 4, log_covariances=covariances / 9)
    yield of("GammaPoisson", families.GammaPoisson(), shapes=np.full((3, 4), 2.0), means=np.exp(means))
    yield of("FreeLaplace", families.FreeLaplace(), locations=means, scales=np.exp(means / 3))
    yield of("FreeWeibull", families.FreeWeibull(), shapes=np.exp(means / 9), scales=np.exp(means / 3))
    yield of("Uniform", families.Uniform(-1, [1, 2, 3, 4]), low=np.full((3, 4), -1), high=np.tile([1, 2, 3, 4], (3, 1)))
    student, normal, log = families.StudentT(), families.Gaussian(), families.LogNormal()
    mixed = families.Product(
        [(student, [4, 0]), (normal, [1, 5]), (families.Categorical(3), [2]), (log, [3, 7]), (families.Poisson(), [6])]
    )
    yield of(
        "Product", mixed, studentt_means=means[:, :2], studentt_scales=cov[:, :2, :2],
        studentt_degrees_of_freedom=[1.0, 5.0, 30.0], gaussian_means=means[:, 2:], gaussian_covariances=cov[:, 2:, 2:],
        categorical_probabilities=[[[0.2, 0.3, 0.5]], [[1, 0, 0]], [[0.1, 0.8, 0.1]]], poisson_rates=[[1.0], [4], [9]],
        lognormal_log_means=means[:, :2] / 4, lognormal_log_covariances=cov[:, :2, :2] / 9,
    )  # fmt: skip
    apart = families.Componentwise([(normal, 1), (student, 1), (families.Uniform(-20, 20), 1)])
    yield of(
        "Componentwise", apart.bind([(np.zeros((1, 4)), None)]), gaussian_means=means[:1], gaussian_covariances=cov[:1],
        studentt_means=means[1:2], studentt_scales=cov[1:2], studentt_degrees_of_freedom=[3.0],
        uniform_low=np.full((1, 4), -20), uniform_high=np.full((1, 4), 20),
    )  # fmt: skip


MIXTURES = [*of_cases(), *others()]


@pytest.mark.parametrize(("name", "mixture", "X"), MIXTURES, ids=[name for name, *_ in MIXTURES])
def test_many_rows_are_as_single_ones(name, mixture, X):
    d = X.shape[1]
    for columns in {(0,), (d - 1,), tuple(range(d - 1, 0, -1))}:
        rest = np.setdiff1d(np.arange(d), columns)
        V = X[:, list(columns)]
        has_mean = name not in WITHOUT_MEAN
        means = mixture.conditional_mean(columns, V) if has_mean else np.empty((len(X), len(rest)))
        densities = mixture.conditional_log_density(columns, V, X[:, rest])
        assert means.shape == (len(X), len(rest))
        for row, mean, density in zip(X, means, densities, strict=True):
            one = mixture.conditional(columns, row[list(columns)])
            if has_mean:
                expected = one.weights @ one.family.mean(one.natural)
                assert mean == pytest.approx(expected, rel=DEEP, abs=DEEP, nan_ok=True)
            assert density == pytest.approx(one.log_density(row[None, rest])[0], rel=DEEP, abs=DEEP)
            # p(x, y) = p(x) p(y|x)
            joint = mixture.log_density(row[None]) - mixture.marginal(columns).log_density(row[None, list(columns)])
            assert density == pytest.approx(joint[0], rel=DEEP, abs=DEEP)


def test_every_family_is_there_or_has_no_parts():
    there = {type(mixture.family).__name__ for _, mixture, _ in MIXTURES}
    there |= {type(part).__name__ for _, mixture, _ in MIXTURES for part in getattr(mixture.family, "families", [])}
    assert there | WITHOUT_PARTS | WITHOUT_MEAN | {"Rayleigh"} >= set(NAMES)


@pytest.mark.parametrize("case", [case for case in CASES if type(case.family).mean is not ef.ExponentialFamily.mean])
def test_the_mean_is_the_integral_of_x(case):
    if type(case.family).__name__ in WITHOUT_MEAN:
        with pytest.raises(NotImplementedError, match=r"no formula for E\[x\]"):
            case.family.mean(case.naturals(case.components))
        return
    for theta in case.components:
        X, w = case.nodes(theta)
        terms = (w * np.exp(case.log_density(X, theta)))[:, None] * X
        expected, rounding = terms.sum(axis=0), np.finfo(float).eps * len(X) * np.abs(terms).sum(axis=0)
        found = case.family.mean(case.naturals([theta]))[0]
        infinite = expected > 1e100  # the nodes end where x is 1e300
        assert np.array_equal(np.isinf(found), infinite)
        assert np.all((np.abs(found - expected) <= rounding + 1e-9 * np.abs(expected))[~infinite])


# ---- the edges -----------------------------------------------------------------------------------------------------


class Pair(ef.ExponentialFamily):
    """Two columns that are equal but for noise of a known size; conditionals of single rows only."""

    def sufficient_statistics(self, X):
        return X[:, :1]

    def log_base_measure(self, X):
        return stats.norm.logpdf(X[:, 0]) + stats.norm.logpdf(X[:, 1] - X[:, 0])

    def log_partition(self, natural):
        return 0.5 * natural[:, 0] ** 2

    def marginal(self, natural, columns):
        return families.KnownCovariance(), natural

    def conditional(self, natural, columns, values):
        return families.KnownCovariance(), np.full((len(natural), 1), values[0])


def test_a_family_with_conditionals_of_single_rows_is_asked_row_by_row():
    values = np.array([[0.5], [-1.0], [2.0]])
    for family, width in ((Pair(), 0), (families.Product([(Pair(), [0, 1]), (families.Poisson(), [2])]), 1)):
        natural = np.zeros((2, 1 + width))
        mixture = ef.Mixture(family, [0.5, 0.5], natural)
        assert mixture.conditional_mean([0], values)[:, 0] == pytest.approx(values[:, 0])
        rest = np.zeros((3, 1 + width))
        expected = stats.norm.logpdf(values[:, 0]) - width  # the count is 0
        assert mixture.conditional_log_density([0], values, rest) == pytest.approx(expected)
        assert mixture.complete([0], values, 0).shape == (3, 2 + width)


@pytest.fixture
def two():
    """Two lines far apart."""
    cov = [[[1.0, 0.5], [0.5, 1.0]]] * 2
    return ef.Mixture.of(families.Gaussian(), [0.5, 0.5], means=[[0.0, 0.0], [1e6, -1e6]], covariances=cov)


def test_far_from_all_components_no_digit_is_lost(two):
    # given x₀ a component says y ~ N(x₀/2, 3/4), however unlikely x₀ is
    x = np.array([[-1e8], [-1e3], [30.0]])
    y = x / 2 + [[1.0], [2.0], [0.0]]
    assert two.conditional_mean([0], x) == pytest.approx(x / 2, rel=1e-15)
    expected = stats.norm.logpdf(y[:, 0] - x[:, 0] / 2, scale=np.sqrt(0.75))
    error = 8 * np.finfo(float).eps * np.abs(x[:, 0])  # y and its mean are rounded; a score changes by 4/3 · 2 of that
    assert np.all(np.abs(two.conditional_log_density([0], x, y) - expected) <= error)


def test_a_component_of_a_tiny_share_may_explain_the_rest():
    # the second component has e^−800 of the first one's density of x₀, and e^5000 times its density of y
    means = [[0, 0], [40, 100]]
    mixture = ef.Mixture.of(families.Gaussian("diag"), [0.5, 0.5], means=means, covariances=np.ones((2, 2)))
    [found] = mixture.conditional_log_density([0], [[0.0]], [[100.0]])
    assert found == pytest.approx(-800 + stats.norm.logpdf(0), rel=1e-13)


def test_rows_of_density_zero_are_named(two):
    values = np.array([[0.0], [1e200], [1.0]])
    functions = (
        lambda: two.conditional_mean([0], values), lambda: two.complete([0], values),
        lambda: two.conditional_log_density([0], values, values), lambda: two.conditional([0], values[1]),
    )  # fmt: skip
    for function in functions:
        with pytest.raises(ValueError, match=r"row [01] is so far from every component of Gaussian\('full'\)"):
            function()


def test_what_is_refused(two):
    counts = ef.Mixture.of(families.Poisson(), [1.0], rates=[[1.0, 2.0]])
    nan = [[0.0], [np.nan]]
    refusals = [
        (r"values has nan in row 1, column 0: it must be finite", lambda: two.conditional_mean([0], nan)),
        (r"rest has nan in row 1, column 0", lambda: two.conditional_log_density([0], [[0], [0]], nan)),
        (r"rest has 2 columns; it must have those", lambda: two.conditional_log_density([0], [[0]], [[0, 0]])),
        (r"rest has shape \(1, 1\); it must be \(2, ", lambda: two.conditional_log_density([0], [[0], [1]], [0])),
        (r"values have shape \(1, 2\); they must be \(n, 1\)", lambda: two.conditional_mean([0], [[0, 0]])),
        (r"values have shape \(0, 1\)", lambda: two.complete([0], np.empty((0, 1)))),
        (r"columns are \[17\], counted from 0", lambda: two.conditional_mean([17], [[0]])),
        (r"Poisson needs whole numbers from 0", lambda: counts.conditional_mean([0], [[0.5]])),
        (r"Poisson needs whole numbers from 0", lambda: counts.conditional_log_density([0], [[1]], [[0.5]])),
    ]
    for message, function in refusals:
        with pytest.raises(ValueError, match=message):
            function()


def test_an_infinite_mean_of_an_absent_component_is_no_nan():
    tails = families.Product([(families.Poisson(), [0]), (families.Pareto(1.0), [1])])
    mixture = ef.Mixture.of(tails, [0.5, 0.5], poisson_rates=[[1e-3], [1e3]], pareto_exponents=[[0.5], [3.0]])
    assert mixture.conditional_mean([0], [[1000.0], [0.0]]).tolist() == [[1.5], [np.inf]]


def test_no_bit_depends_on_other_rows(two):
    x = np.random.default_rng(3).normal(0, 1, (40_000, 1))
    whole = two.conditional_mean([0], x)
    assert np.array_equal(whole[20_000:], two.conditional_mean([0], x[20_000:]))


@pytest.mark.parametrize("name", ["StudentT-full-None", "LogNormal-full", "Product", "Componentwise"])
def test_draws_follow_the_conditional(name):
    [(mixture, X)] = [each for label, *each in MIXTURES if label == name]
    columns, n = np.array([0, 3]), 4000
    found = mixture.complete(columns, np.tile(X[1, columns], (n, 1)), 0)
    assert np.array_equal(found[:, columns], np.tile(X[1, columns], (n, 1)))
    expected = mixture.conditional(columns, X[1, columns]).sample(n, 1)[0]
    rest = np.setdiff1d(np.arange(X.shape[1]), columns)
    for ours, theirs in zip(found[:, rest].T, expected.T, strict=True):
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-4


def test_a_stack_has_no_parts():
    one = ef.Mixture.of(ef.families.Gaussian(), [1.0], means=[[0, 0]], covariances=[np.eye(2)])
    stack = ef.Mixture.stack([one, one])
    for part in (lambda: stack.marginal([0]), lambda: stack.conditional([0], [1]), lambda: stack.complete([0], [[1]])):
        with pytest.raises(ValueError, match=r"a stack of 2 mixtures; take one of them"):
            part()
