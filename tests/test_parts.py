"""Marginals and conditionals of mixtures."""

import itertools

import numpy as np
import pytest
from scipy import stats

import expfam_em as ef
from expfam_em import families

KINDS = ["full", "tied", "diag", "spherical", "known"]
D = 4
CHOICES = [[0], [3], [1, 2], [2, 0], [0, 1, 3]]
PI = np.array([0.5, 0.3, 0.2])
RNG = np.random.default_rng(4)
MEANS = RNG.normal(0, 3, (3, D))
ROWS = RNG.normal(1.0, [1, 2, 3, 4], (40, D))
DEEP = 1e-11
"""Relative error of a density that went through inverses of covariances with conditions up to 1e2."""


def covariances(kind):
    """Covariances of three components as the family takes them, and as matrices."""
    root = np.random.default_rng(5).normal(size=(3, D, D))
    full = root @ root.transpose(0, 2, 1) + np.eye(D)
    if kind == "full":
        return full, full
    if kind == "tied":
        shared = np.repeat(full[:1], 3, axis=0)
        return shared, shared
    if kind == "diag":
        values = np.einsum("kii->ki", full)
        return values, values[:, :, None] * np.eye(D)
    values = np.full(3, 2.5) if kind == "known" else np.array([0.5, 2.0, 5.0])
    return values, values[:, None, None] * np.eye(D)


@pytest.fixture(params=itertools.product(KINDS, [False, True]), ids=lambda p: p[0] + ("-bound" if p[1] else ""))
def gaussian(request):
    """A mixture and its covariance matrices."""
    kind, bound = request.param
    family = families.KnownCovariance(2.5) if kind == "known" else families.Gaussian(kind)
    if bound:
        family = family.bind([(ROWS, None)])
    packed, matrices = covariances(kind)
    return ef.Mixture(family, PI, family.from_moments(MEANS, packed)), matrices


@pytest.fixture
def bernoulli():
    probabilities = RNG.uniform(0.05, 0.95, (3, D))
    return ef.Mixture(families.Bernoulli(), PI, families.Bernoulli().to_natural(probabilities)), probabilities


def densities(means, matrices, X):
    """p(x|k), (n, K)."""
    return np.column_stack(
        [np.atleast_1d(stats.multivariate_normal.pdf(X, m, c)) for m, c in zip(means, matrices, strict=True)]
    )  # fmt: skip


@pytest.mark.parametrize("columns", CHOICES, ids=str)
def test_marginal_of_normals(gaussian, columns):
    mixture, matrices = gaussian
    part = mixture.marginal(columns)
    expected = densities(MEANS[:, columns], matrices[:, columns][:, :, columns], ROWS[:, columns]) @ PI
    assert np.exp(part.log_density(ROWS[:, columns])) == pytest.approx(expected, rel=DEEP)
    assert np.array_equal(part.weights, PI)


@pytest.mark.parametrize("columns", CHOICES, ids=str)
def test_conditional_of_normals(gaussian, columns):
    mixture, matrices = gaussian
    rest = [j for j in range(D) if j not in columns]
    for row in ROWS[:5]:
        part = mixture.conditional(columns, row[columns])
        means, covs = [], []
        for mean, cov in zip(MEANS, matrices, strict=True):
            gain = cov[np.ix_(rest, columns)] @ np.linalg.inv(cov[np.ix_(columns, columns)])
            means.append(mean[rest] + gain @ (row[columns] - mean[columns]))
            covs.append(cov[np.ix_(rest, rest)] - gain @ cov[np.ix_(columns, rest)])
        weights = PI * densities(MEANS[:, columns], matrices[:, columns][:, :, columns], row[columns])[0]
        weights /= weights.sum()
        assert part.weights == pytest.approx(weights, rel=DEEP)
        expected = densities(means, covs, ROWS[:, rest]) @ weights
        assert np.exp(part.log_density(ROWS[:, rest])) == pytest.approx(expected, rel=10 * DEEP)


@pytest.mark.parametrize("columns", CHOICES, ids=str)
def test_marginal_of_bernoullis(bernoulli, columns):
    mixture, probabilities = bernoulli
    part = mixture.marginal(columns)
    rest = [j for j in range(D) if j not in columns]
    for here in itertools.product([0.0, 1.0], repeat=len(columns)):
        total = 0.0
        for other in itertools.product([0.0, 1.0], repeat=len(rest)):
            x = np.empty(D)
            x[columns], x[rest] = here, other
            total += PI @ stats.bernoulli.pmf(x, probabilities).prod(axis=1)
        assert np.exp(part.log_density(np.array([here])))[0] == pytest.approx(total, rel=1e-13)


@pytest.mark.parametrize("columns", CHOICES, ids=str)
def test_conditional_of_bernoullis(bernoulli, columns):
    mixture, probabilities = bernoulli
    rest = [j for j in range(D) if j not in columns]
    for here in itertools.product([0.0, 1.0], repeat=len(columns)):
        part = mixture.conditional(columns, here)
        joint = {}
        for other in itertools.product([0.0, 1.0], repeat=len(rest)):
            x = np.empty(D)
            x[columns], x[rest] = here, other
            joint[other] = PI @ stats.bernoulli.pmf(x, probabilities).prod(axis=1)
        for other, value in joint.items():
            found = np.exp(part.log_density(np.array([other])))[0]
            assert found == pytest.approx(value / sum(joint.values()), rel=1e-13)


@pytest.mark.parametrize("columns", CHOICES, ids=str)
@pytest.mark.parametrize("which", ["normal", "bernoulli", "poisson"])
def test_a_density_is_its_marginal_times_its_conditional(which, columns):
    rng = np.random.default_rng(6)
    if which == "normal":
        family, X = families.Gaussian("full").bind([(ROWS, None)]), ROWS
        natural = family.from_moments(MEANS, covariances("full")[0])
    elif which == "bernoulli":
        family, X = families.Bernoulli(), rng.integers(0, 2, (10, D)).astype(float)
        natural = rng.normal(size=(3, D))
    else:
        family, X = families.Poisson(), rng.poisson(5, (10, D)).astype(float)
        natural = rng.normal(1, 0.5, (3, D))
    mixture = ef.Mixture(family, PI, natural)
    rest = [j for j in range(D) if j not in columns]
    for row in X[:10]:
        marginal = mixture.marginal(columns).log_density(row[None, columns])
        conditional = mixture.conditional(columns, row[columns]).log_density(row[None, rest])
        assert marginal + conditional == pytest.approx(mixture.log_density(row[None]), rel=DEEP, abs=DEEP)


def test_a_column_may_be_given_by_its_number(gaussian):
    mixture, _ = gaussian
    X = ROWS[:, :1]
    assert np.array_equal(mixture.marginal(0).log_density(X), mixture.marginal([0]).log_density(X))
    one, same = mixture.conditional(1, 0.5), mixture.conditional([1], [0.5])
    assert np.array_equal(one.natural, same.natural)


def test_marginals_of_marginals(gaussian):
    mixture, _ = gaussian
    direct, in_steps = mixture.marginal([3, 1]), mixture.marginal([1, 2, 3]).marginal([2, 0])
    assert in_steps.natural == pytest.approx(direct.natural, rel=1e-11, abs=1e-12)


def test_every_column_needs_its_value(gaussian):
    with pytest.raises(ValueError, match="2 columns are given 1 values: one value for each is needed"):
        gaussian[0].conditional([0, 1], [1.0])


@pytest.mark.parametrize("columns", CHOICES, ids=str)
def test_completed_rows_are_draws_from_the_conditional(gaussian, columns):
    mixture, _ = gaussian
    value = ROWS[0, columns]
    found = mixture.complete(columns, np.tile(value, (2000, 1)), rng=1)
    assert np.array_equal(found[:, columns], np.tile(value, (2000, 1)))
    others = np.setdiff1d(np.arange(D), columns)
    expected = mixture.conditional(columns, value).sample(20_000, np.random.default_rng(2))[0]
    error = np.sqrt(expected.var(axis=0) * (1 / 2000 + 1 / 20_000))
    assert np.all(np.abs(found[:, others].mean(axis=0) - expected.mean(axis=0)) < 5 * error)
    assert np.array_equal(found, mixture.complete(columns, np.tile(value, (2000, 1)), rng=1))


def test_rows_are_completed_one_by_one(bernoulli):
    mixture, _ = bernoulli
    columns = np.array([True, False, True, False])
    values = np.array([[0, 0], [0, 1], [1, 1]], float)
    found = mixture.complete(columns, values, rng=np.random.default_rng(0))
    assert np.array_equal(found[:, columns], values)
    assert found.shape == (3, D)
    assert np.isin(found, [0, 1]).all()


def test_completed_rows_of_a_table_of_mixed_columns():
    family = families.Product([(families.Gaussian(), [0, 2]), (families.Poisson(), [1])])
    moments = np.array([[0.0, 0.0, 1.0, 0.0, 1.0], [9.0, 9.0, 82.0, 81.0, 82.0]])
    rates = np.array([[2.0], [50.0]])
    natural = family.combine([families.Gaussian().to_natural(moments), families.Poisson().to_natural(rates)])
    assert [part.shape for part in family.split(natural)] == [(2, 5), (2, 1)]
    mixture = ef.Mixture(family, [0.5, 0.5], natural)
    found = mixture.complete([1], [[2.0], [50.0]], rng=0)
    assert found[:, 1].tolist() == [2, 50]
    assert np.abs(found[0, [0, 2]]).max() < 5 < found[1, [0, 2]].min()


def test_a_family_without_parts_says_what_to_define():
    class Plain(ef.ExponentialFamily):
        def sufficient_statistics(self, X):
            return X

        def log_partition(self, natural):
            return 0.5 * np.sum(natural**2, axis=1)

    mixture = ef.Mixture(Plain(), [1.0], [[0.0, 0.0]])
    with pytest.raises(NotImplementedError, match=r"Plain has no marginals: define marginal\(self, natural, columns\)"):
        mixture.marginal([0])
    with pytest.raises(NotImplementedError, match="Plain has no"):
        mixture.conditional([0], [1.0])


@pytest.mark.parametrize("value", [-3.0, 2.5, np.nan])
def test_values_that_are_impossible_are_refused(value):
    family = families.Product([(families.Poisson(), [0]), (families.Gaussian("diag"), [1])])
    mixture = ef.Mixture(family, [1.0], family.combine([np.zeros((1, 1)), np.array([[0.0, -0.5]])]))
    for function in (lambda: mixture.conditional([0], [value]), lambda: mixture.complete([0], [[value]])):
        with pytest.raises(ValueError, match="Poisson needs whole numbers from 0"):
            function()


def test_columns_that_are_not_there(gaussian):
    mixture, _ = gaussian
    for function in (
        lambda: mixture.marginal([17]), lambda: mixture.conditional([17], [0.0]), lambda: mixture.complete([17], [[0]]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"columns are \[17\], counted from 0; rows do not have as many"):
            function()
