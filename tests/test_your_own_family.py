"""A family of T and A alone, without another line, has all that the package offers to any family."""

import inspect
import textwrap
from functools import cache

import numpy as np
import pytest
from scipy import sparse

import expfam_em as ef
from tests import own_families as own
from tests.case import frozen
from tests.profiles import share

FAMILIES = {
    "Exponential": (own.Exponential(), [[-4.0], [-0.2]]),
    "Gamma": (own.Gamma(), [[1.0, -4.0], [29.0, -3.0]]),
    "Normal": (own.Normal(), [[0.0, -0.5], [8.0, -0.5]]),
    "Geometric": (own.Geometric(), [[np.log(0.2)], [np.log(0.95)]]),
    "LogSeries": (own.LogSeries(), [[np.log(0.3)], [np.log(0.98)]]),
    "Share": (own.Share(), [[1.0, 20.0], [20.0, 1.0]]),
}
N = 600
MANY = share(400, fewest=20)
"""Steps of fits that need not converge."""

unfinished = pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")


@cache
def sampled(name):
    """A mixture of two components of a family, and rows of it, (N, 1), from the generic sampler."""
    family, natural = FAMILIES[name]
    mixture = ef.Mixture(family, [0.4, 0.6], natural)
    return mixture, frozen(mixture.sample(N, rng=0)[0])


@cache
def plain(name):
    """The fit that many tests look at."""
    return fitted(*sampled(name))


@pytest.fixture(params=FAMILIES)
def name(request):
    return request.param


@pytest.fixture
def truth(name):
    return sampled(name)[0]


@pytest.fixture
def X(name):
    return sampled(name)[1]


def fitted(truth, X, weight=None, **how):
    how = {"random_state": 0, "max_iter": 1000} | how
    return ef.ExponentialFamilyMixture(truth.family, 2, **how).fit(X, sample_weight=weight)


def test_the_components_are_found_again(truth, X):
    m = fitted(truth, X, n_init=3)
    # the likelihood of the truth cannot be higher than the largest
    assert m.score(X) >= truth.log_density(X).mean() - 1e-9
    assert np.all(np.diff(m.lower_bounds_) >= -1e-12 * N)
    agree = np.mean(m.predict(X) == np.argmax(truth.responsibilities(X), axis=1))
    assert max(agree, 1 - agree) > 0.85


@pytest.mark.parametrize("temperature", [0.0, [1.2, 1.1, 1.0], [2.0, 0.5, 0.0]])  # 4 merges the components
def test_hard_and_annealed_assignment(truth, X, temperature):
    m = fitted(truth, X, temperature=temperature, tol=1e-4)
    assert m.converged_
    assert len(np.unique(m.predict(X))) == 2


def test_row_weights_are_repetitions(truth, X):
    times = np.random.default_rng(1).integers(0, 3, N)
    one, other = fitted(truth, X, times.astype(float)), fitted(truth, np.repeat(X, times, axis=0))
    assert one.lower_bound_ == pytest.approx(other.lower_bound_, rel=1e-6)


def test_a_prior_pulls_to_its_mean(truth, X):
    mean = np.mean(truth.family.sufficient_statistics(X), axis=0)
    prior = ef.ExpectedStatistics(np.full(2, 1e9), np.tile(1e9 * mean, (2, 1)))
    m = fitted(truth, X, prior=prior, concentration=2.0)
    # the rows weigh N/1e9 = 6e-7 beside the prior
    assert m.expectation_parameters_ == pytest.approx(np.tile(mean, (2, 1)), rel=1e-4)


def test_restarts_never_end_below_one_start(name, truth, X):
    assert fitted(truth, X, n_init=share(8)).lower_bound_ >= plain(name).lower_bound_ - 1e-6


@unfinished
@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random", "random_from_data"])
def test_every_start(truth, X, init):
    assert np.isfinite(fitted(truth, X, init=init, max_iter=MANY).lower_bound_)


def test_divergence_entropy_and_fisher_information(truth):
    eta = truth.natural
    distance = ef.component_divergences(truth).value
    assert np.all(distance[[0, 1], [1, 0]] > 0)
    assert np.all(np.diag(distance) == 0)
    information = truth.family.fisher_information(eta)
    T = truth.family.sufficient_statistics(truth.family.sample(eta[0], 20_000, np.random.default_rng(2)))
    scale = np.sqrt(np.diag(information[0]))
    # the covariance of 20,000 draws: five standard errors, a fourth moment of up to 9 (exponential T)
    assert np.abs((np.cov(T.T) - information[0]) / np.outer(scale, scale)).max() < 5 * np.sqrt(9 / 20_000)
    estimate = ef.entropy(truth, rng=3)
    assert abs(estimate.value + truth.log_density(truth.sample(40_000, 4)[0]).mean()) < 8 * estimate.standard_error


def test_criteria_count_the_parameters(name, truth, X):
    m = plain(name)
    free = truth.natural.size + 1
    assert m.bic(X) == pytest.approx(-2 * N * m.score(X) + free * np.log(N))
    assert m.aic(X) == pytest.approx(-2 * N * m.score(X) + 2 * free)
    assert m.icl(X) >= m.bic(X)


def test_sampling_clustering_and_merging(name, X):
    m = plain(name)
    rows, labels = m.sample(50)
    assert rows.shape == (50, 1)
    assert set(labels) <= {0, 1}
    assert m.predict_proba(X).sum(axis=1) == pytest.approx(1)
    assert ef.merge_components(m.mixture_, X).clusters(1).tolist() == [0, 0]


@unfinished
def test_products_and_components_of_other_families(truth, X):
    product = ef.families.Product([(truth.family, [0]), (ef.families.Gaussian(), [1])])
    both = np.column_stack([X, np.random.default_rng(5).normal(size=N)])
    m = ef.ExponentialFamilyMixture(product, 2, random_state=0, max_iter=MANY).fit(both)
    assert np.all(np.diff(m.lower_bounds_) >= -1e-12 * N)
    beside_noise = ef.families.Componentwise([(truth.family, 2), (ef.families.Uniform(), 1)])
    m = ef.ExponentialFamilyMixture(beside_noise, 3, random_state=0, max_iter=2 * MANY, tol=1e-5).fit(X)
    assert np.all(np.diff(m.lower_bounds_) >= -1e-12 * N)
    assert m.mixture_.n_parameters == truth.natural.size + 2


def test_many_fits_at_once(truth, X):
    parts = [X[:200], X[200:]]
    one = ef.ExponentialFamilyMixture(truth.family, 2, init=truth, max_iter=1000)
    for found, part in zip(ef.fit_many(one, parts), parts, strict=True):
        alone = ef.ExponentialFamilyMixture(truth.family, 2, init=truth, max_iter=1000).fit(part)
        assert found.lower_bound_ == pytest.approx(alone.lower_bound_, rel=1e-9)


def test_saving(name, truth, X, tmp_path):
    kind = ef.register(type(f"Own{name}", (type(truth.family),), {}))  # some have names that come with the package
    m = ef.ExponentialFamilyMixture(kind(), 2, init=plain(name).predict(X), max_iter=0).fit(X)
    m.save(tmp_path / "model.efm")
    assert np.array_equal(ef.load(tmp_path / "model.efm").predict_proba(X), m.predict_proba(X))


@unfinished
def test_any_number_of_threads_gives_the_same_bits(truth, X):
    one, two = (fitted(truth, np.tile(X, (50, 1)), n_jobs=n, max_iter=5, tol=0.0) for n in (1, 2))
    assert np.array_equal(one.natural_parameters_, two.natural_parameters_)


@unfinished
def test_sparse_rows_where_T_keeps_zeros():
    X = np.random.default_rng(6).geometric(0.6, (300, 5)) - 1.0

    class Counts(ef.ExponentialFamily):
        def sufficient_statistics(self, X):
            return X

        def log_partition(self, natural):
            return -np.log(-np.expm1(natural)).sum(axis=1)

    one, other = (
        ef.ExponentialFamilyMixture(Counts(), 2, random_state=0, max_iter=20, tol=0.0, guard=False).fit(rows)
        for rows in (X, sparse.csr_array(X))
    )
    assert other.lower_bound_ == pytest.approx(one.lower_bound_, rel=1e-12)


def test_a_family_of_code_that_is_in_no_module():
    """As from exec: its functions have no module."""
    code = inspect.getsource(own.Rayleigh)
    namespace = {"np": np, "ExponentialFamily": ef.ExponentialFamily, "ef": ef}
    exec(textwrap.dedent(code), namespace)
    X = np.random.default_rng(0).rayleigh(2.0, (50, 1))
    mixture = [ef.ExponentialFamilyMixture(kind(), 1).fit(X) for kind in (namespace["Rayleigh"], own.Rayleigh)]
    assert mixture[0].lower_bound_ == mixture[1].lower_bound_
