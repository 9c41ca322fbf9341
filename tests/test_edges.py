"""Limits of shapes, in which a family is another one: fits reach them, leave them, and say so."""

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from scipy import stats

import expfam_em as ef
from expfam_em import families

RNG = np.random.default_rng(0)
COUNTS = {
    "equal": np.full((60, 1), 4.0),
    "three numbers": np.tile([3.0, 4.0, 5.0], 20)[:, None],
    "binomial": RNG.binomial(8, 0.5, (300, 2)).astype(float),
    "poisson": RNG.poisson(4, (300, 1)).astype(float),
    "poisson, the other side": np.random.default_rng(4).poisson(4, (1000, 1)).astype(float),
}
NUMBERS = {
    "uniform": np.linspace(0, 1, 300)[:, None],
    "plane": RNG.uniform(-1, 1, (300, 2)) @ [[1e3, 5.0], [0.0, 1e-2]] + 1e3,
    "normal": RNG.normal(size=(300, 2)),
    "normal, the other side": np.random.default_rng(3).normal(size=(1000, 2)),
}
GAMMA_POISSON, STUDENT, ZEROS = families.GammaPoisson, families.StudentT, families.ZeroInflated


def fitted(family, X, K=1, **how):
    return ef.ExponentialFamilyMixture(family, K, **({"random_state": 0} | how)).fit(X)


PAIRS = [
    *[(GAMMA_POISSON(), families.Poisson(), X, name) for name, X in COUNTS.items()],
    *[(ZEROS(families.Poisson()), families.Poisson(), X, name) for name, X in COUNTS.items()],
    *[
        (STUDENT(covariance_type=kind), families.Gaussian(kind), X, f"{name} {kind}")
        for name, X in NUMBERS.items()
        for kind in ("full", "diag", "spherical")
    ],
    (families.Product([(GAMMA_POISSON(), [0]), (STUDENT(), [1])]),
     families.Product([(families.Poisson(), [0]), (families.Gaussian(), [1])]),
     np.column_stack([COUNTS["binomial"][:, 0], NUMBERS["uniform"][:, 0]]), "product"),
    (families.Componentwise([(STUDENT(), 1)]), families.Gaussian(), NUMBERS["plane"], "componentwise"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("family", "limit", "X"), [pair[:3] for pair in PAIRS], ids=[f"{p[0]!r} {p[3]}" for p in PAIRS]
)
@pytest.mark.parametrize("how", [{}, {"temperature": 0.0}, {"tol": 1e-3}], ids=str)
def test_a_model_is_not_below_the_one_it_contains(family, limit, X, how):
    model, inside = fitted(family, X, **how), fitted(limit, X)
    assert model.converged_
    assert model.n_iter_ < 100
    # what stops a fit that is not in the limit is less than a tenth of tol of its bound
    slack = 1e-12 * (1 + abs(inside.lower_bound_)) if model.mixture_.edges else how.get("tol", 1e-6) / 10
    assert model.lower_bound_ >= inside.lower_bound_ - slack


GAPS = [pair for pair in PAIRS if getattr(pair[0], "knows_observed_limits", False) and pair[2].shape[1] > 1]


@pytest.mark.parametrize(("family", "limit", "X"), [pair[:3] for pair in GAPS], ids=[f"{p[0]!r} {p[3]}" for p in GAPS])
def test_limits_are_reached_where_values_are_missing(family, limit, X):
    X = np.where(np.random.default_rng(2).random(X.shape) < 0.2, np.nan, X)
    model, inside = fitted(family, X), fitted(limit, X)
    assert model.converged_
    assert model.n_iter_ < 40  # of steps towards a limit that is not tried, there are 70 or more
    # what stops a fit that is not in the limit is less than tol of its bound, and so is what both may lack
    assert model.lower_bound_ >= inside.lower_bound_ - (1e-7 if model.mixture_.edges else 1e-6)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_squares_that_are_not_observed_count_as_normal_ones(kind):
    X, present = NUMBERS["normal"][:50], np.array([True, False])
    family = STUDENT(covariance_type=kind).bind([(X, None)])
    scales = {"full": [[[2.0, 0.5], [0.5, 1.0]]], "diag": [[2.0, 1.0]], "spherical": [1.5]}[kind]
    natural = ef.Mixture.of(family, [1.0], means=[[0.1, 0.2]], scales=scales, degrees_of_freedom=[50.0]).natural
    found = family.observed_edge_sums(X, natural, np.ones((50, 1)), present)[0]
    square = (X[:, 0] - 0.1) ** 2 / (1.5 if kind == "spherical" else 2.0)
    # the slope of log p(x₁) in 1/ν at the normal density is (δ⁴ − 2 (d + 2) δ² + d (d + 2))/4, with d = 1 here
    slope = np.mean(square**2 - 6 * square + 3)
    assert found[1] / 50 - 2 * 4 * (found[0] / 50) + 8 == pytest.approx(slope, rel=1e-10)
    assert family.observed_edge_sums(X, natural, np.ones((50, 1)), ~present & present)[0, :2] == pytest.approx(
        [100, 400]
    )


def test_limits_are_reached_and_named():
    model = fitted(GAMMA_POISSON(), COUNTS["three numbers"])
    assert model.parameters_["shapes"] == np.inf
    assert model.parameters_["means"] == pytest.approx(4.0, rel=1e-15)
    assert model.mixture_.edges == {"Poisson in a column, of infinite shape": (0,)}
    assert model.status_ == f"{ef.Status.CONVERGED.value} Component 0 is Poisson in a column, of infinite shape."
    assert model.mixture_.log_density([[2.0], [7.0]]) == pytest.approx(stats.poisson.logpmf([2, 7], 4), rel=1e-14)
    model = fitted(STUDENT(), X := NUMBERS["uniform"])
    assert model.parameters_["degrees_of_freedom"] == np.inf
    assert model.parameters_["scales"].ravel() == pytest.approx(X.var(), rel=1e-12)
    assert model.status_.endswith(" Component 0 is normal, of infinite degrees_of_freedom.")
    law = stats.norm(X.mean(), X.std())
    assert model.score_samples([[0.1], [30.0]]) == pytest.approx(law.logpdf([0.1, 30.0]), rel=1e-12)
    draws = model.sample(4000)[0][:, 0]
    assert stats.kstest(draws, law.cdf).pvalue > 1e-4  # of one fixed seed
    model = fitted(ZEROS(families.Poisson()), COUNTS["binomial"])
    assert model.parameters_["zero_shares"] == 0
    assert model.status_.endswith("Component 0 is without added zeros.")


@pytest.mark.parametrize("family", [GAMMA_POISSON(), STUDENT(), ZEROS(families.Poisson())], ids=repr)
def test_parameters_in_the_limit_go_there_and_back(family, tmp_path):
    X = NUMBERS["uniform"] if isinstance(family, STUDENT) else COUNTS["binomial"]
    model = fitted(family, X)
    again = ef.Mixture.of(family, [1.0], **model.parameters_)
    assert again.edges == model.mixture_.edges
    assert again.edges
    assert again.log_density(X) == pytest.approx(model.score_samples(X), rel=1e-13)
    model.save(tmp_path / "model")
    assert ef.load(tmp_path / "model").status_ == model.status_


def leaving():
    """Yield families in their limits with rows that are not of it."""
    rng = np.random.default_rng(1)
    counts, zeros = rng.negative_binomial(2, 0.2, (400, 1)), rng.random((400, 1)) < 0.2
    yield GAMMA_POISSON(), {"shapes": [[np.inf]], "means": [[5.0]]}, counts
    yield (
        STUDENT(),
        {"means": [[0.0]], "scales": [[[1.0]]], "degrees_of_freedom": [np.inf]},
        rng.standard_t(3, (400, 1)),
    )
    yield ZEROS(families.Poisson()), {"zero_shares": [0.0], "rates": [[2.0]]}, rng.poisson(2, (400, 1)) * ~zeros


@pytest.mark.parametrize(("family", "named", "X"), list(leaving()), ids=["counts", "t", "zeros"])
def test_limits_are_left_where_the_rows_are_not_of_them(family, named, X):
    X = X.astype(float)
    start = ef.Mixture.of(family.bind([(X, None)]), [1.0], **named)
    assert start.edges
    found, best = ef.fit(start, X, max_iter=2000, tol=1e-11), fitted(family, X, max_iter=2000, tol=1e-11)
    assert not found.mixture.edges
    assert found.converged
    assert found.bound / len(X) == pytest.approx(best.lower_bound_, abs=1e-8)
    assert np.all(np.diff(found.bounds) >= -1e-12 * abs(found.bound))


def test_components_and_columns_go_to_the_limit_by_themselves():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.binomial(10, 0.5, (300, 3)), 20 + rng.binomial(10, 0.5, (300, 3))]).astype(float)
    X[:, 2] = rng.negative_binomial(2, 0.1, 600)
    for weight in (None, rng.integers(0, 3, 600).astype(float)):
        model = ef.ExponentialFamilyMixture(GAMMA_POISSON(), 2, random_state=0).fit(X, sample_weight=weight)
        shapes = model.parameters_["shapes"]
        assert np.all(np.isinf(shapes[:, :2]))
        assert shapes[:, 2] == pytest.approx(2, rel=0.5)
    X = np.concatenate([rng.uniform(-1, 1, (300, 2)), 10 + rng.standard_t(2, (300, 2))])
    for rows in (X, X.astype(np.float32)):
        degrees = fitted(STUDENT(), rows, 2).parameters_["degrees_of_freedom"]
        assert np.isinf(degrees).sum() == 1
        assert degrees.min() == pytest.approx(2, rel=0.5)
    many = ef.fit_many(ef.ExponentialFamilyMixture(STUDENT(), 2, random_state=0), [X, X[::2], X[150:]])
    assert [np.isinf(one.parameters_["degrees_of_freedom"]).sum() for one in many] == [1, 1, 1]


def test_a_known_shape_has_no_limit():
    model = fitted(STUDENT(1e9), NUMBERS["uniform"])
    assert model.parameters_["degrees_of_freedom"] == 1e9
    assert model.mixture_.edges == {}


@mpmath.workdps(50)
@pytest.mark.parametrize(("mean", "shape"), [(1e9, 1e9), (1e12, 1e9), (1e12, 1e11), (1e4, 1e8)])
def test_a_large_shape_is_no_limit_where_the_mean_is_larger(mean, shape):
    family, eta = GAMMA_POISSON(), GAMMA_POISSON().from_parameters(shapes=[[shape]], means=[[mean]])
    assert family.parameters(eta)["shapes"] == pytest.approx(np.array([[shape]]), rel=1e-14)
    deviation = np.sqrt(mean + mean**2 / shape)
    x = np.floor(mean + deviation * np.array([[-3.0], [0.0], [3.0]]))
    p, found = 1 / (1 + mpf(mean) / mpf(shape)), family.log_density(x, eta)[:, 0]
    for value, count in zip(found, map(mpf, x[:, 0].tolist()), strict=True):
        choices = mpmath.loggamma(count + shape) - mpmath.loggamma(shape) - mpmath.loggamma(count + 1)
        assert value == pytest.approx(float(choices + shape * mpmath.log(p) + count * mpmath.log(1 - p)), abs=1e-8)


@pytest.mark.parametrize("shape", [1e9, 1e11])
def test_shapes_above_the_limit_of_small_counts_are_estimated_where_counts_are_large(shape):
    rng = np.random.default_rng(3)
    X = rng.poisson(1e12 * rng.gamma(shape, 1 / shape, (400, 1))).astype(float)
    model = ef.ExponentialFamilyMixture(GAMMA_POISSON(), 1).fit(X)
    # so many counts are all but normal: their likelihood is largest at their mean and variance
    assert model.lower_bound_ == pytest.approx(stats.norm.logpdf(X, X.mean(), X.std()).mean(), abs=1e-4)
    of_moments = X.mean() ** 2 / (X.var() - X.mean())
    assert model.parameters_["shapes"] == pytest.approx(np.array([[of_moments]]), rel=1e-2)
    assert model.mixture_.edges == {}


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize(("mean", "excess"), [(1e9, 0.0), (1e12, 0.0), (1e12, 1e-13), (1e15, 1e-13)])
@pytest.mark.parametrize("K", [1, 2])
def test_rounding_of_the_shapes_of_large_counts_lowers_no_bound(mean, excess, K):
    rng = np.random.default_rng(5)
    rates = mean * (1 + np.sqrt(excess) * rng.standard_normal((300, 1)))
    X = np.floor(rates + np.sqrt(mean) * rng.standard_normal((300, 1)))
    em: dict = {"max_iter": 60, "acceleration": None}  # step by step, both go the same way
    model, inside = (fitted(family, X, K, **em) for family in (GAMMA_POISSON(), families.Poisson()))
    assert model.lower_bound_ >= inside.lower_bound_ - 1e-3


# ---- probabilities and rates next to an end of their range -----------------------------------------------------------


def rare(name, n=600):
    """A family, rows of two components of which the first seldom has what its first statistic counts, and a start."""
    rng = np.random.default_rng(0)
    first = np.arange(n) < n // 2
    share = np.where(first[:, None], [0.2, 0.1, 0.1, 0.1, 0.8, 0.9], [0.5, 0.9, 0.9, 0.8, 0.1, 0.2])
    bits = rng.random((n, 6)) < share
    if name == "Bernoulli":
        return families.Bernoulli(), bits.astype(float)
    if name == "Binomial":
        return families.Binomial([1, 1, 3, 1, 2, 1]), bits * [1.0, 1, 3, 1, 2, 1]
    if name == "Product":
        heights = rng.normal(4.0 * first, 1.0)
        parts = [(families.Bernoulli(), list(range(6))), (families.Gaussian(), [6])]
        return families.Product(parts), np.column_stack([bits, heights])
    if name == "Categorical":
        return families.Categorical(), 1.0 - bits  # label 0 is the rare one
    if name == "Multinomial":
        shares = np.where(first[:, None], [0.1, 0.4, 0.5], [0.3, 0.6, 0.1])
        return families.Multinomial(), np.array([rng.multinomial(8, share) for share in shares]).astype(float)
    return families.Poisson(), rng.poisson(np.where(first[:, None], [0.3, 9.0], [1.0, 2.5])).astype(float)


LOWER = ("Bernoulli", "Binomial", "Product", "Categorical", "Multinomial", "Poisson")


@pytest.mark.parametrize("acceleration", [None, "auto"])
@pytest.mark.parametrize(
    ("name", "sign"), [(name, -1) for name in LOWER] + [(name, 1) for name in ("Bernoulli", "Binomial", "Product")]
)
def test_a_mean_next_to_an_end_of_its_range_leaves_it_where_the_likelihood_rises(name, sign, acceleration):
    family, X = rare(name)
    if sign > 0:
        X[:, 0] = 1 - X[:, 0]
    start = ef.ExponentialFamilyMixture(family, 2, init=(np.arange(600) >= 300).astype(int), tol=1e-10, max_iter=9999)
    best = start.fit(X)
    natural = best.mixture_.natural.copy()
    natural[0, 0] = sign * 690.0
    at_end = ef.Mixture(best.mixture_.family, best.weights_, natural)
    found = ef.fit(at_end, X, tol=1e-6, max_iter=2000, acceleration=acceleration)
    assert found.converged
    # of slow steps, whose gains halve, the rule leaves about as much as the last one has gained, tol of each row
    assert found.bound == pytest.approx(best.lower_bound_ * len(X), abs=2e-6 * len(X))
    assert found.mixture.expectation[0, 0] == pytest.approx(best.mixture_.expectation[0, 0], rel=0.01)
    assert np.all(np.diff(found.bounds) >= -1e-9)


def test_a_mean_of_0_stays_where_the_likelihood_falls():
    X = rare("Poisson")[1]
    X[:300, 0] = 0
    init = (np.arange(600) >= 300).astype(int)
    model = ef.ExponentialFamilyMixture(families.Poisson(), 2, init=init, tol=1e-10, max_iter=500).fit(X)
    statistics = ef.accumulate(model.mixture_, X)
    rates = model.parameters_["rates"]
    assert rates[0, 0] < 1e-8 or statistics.sums[0, 0] == pytest.approx(statistics.counts[0] * rates[0, 0], rel=1e-2)


def test_a_probability_of_1_stays_where_every_row_of_the_component_has_it():
    X = rare("Bernoulli")[1]
    X[:300, 0], X[300:, 0] = 1, 0
    X[300:350, 0] = 1
    init = (np.arange(600) >= 300).astype(int)
    model = ef.ExponentialFamilyMixture(families.Bernoulli(), 2, init=init, tol=1e-10, max_iter=500).fit(X)
    found = ef.accumulate(model.mixture_, X)
    # the derivative of the likelihood along 1 − p, from the responsibilities of rows that have 0, is not positive there
    probabilities, others = model.parameters_["probabilities"], found.counts[0] - found.sums[0, 0]
    assert probabilities[0, 0] == 1 or others == pytest.approx(found.counts[0] * (1 - probabilities[0, 0]), rel=1e-2)


@mpmath.workdps(30)
@pytest.mark.parametrize("log_odds", [-690.0, -3.0, 2.0, 40.0, 690.0])
def test_what_a_probability_leaves_of_1_keeps_its_digits(log_odds):
    for n in (1.0, 7.0):
        family = families.Binomial(n)
        left = float(n / (1 + mpmath.exp(mpf(log_odds))))
        assert family.left_of_largest(np.array([[log_odds]])) == pytest.approx(left, rel=1e-14)
        both = families.Product([(families.Poisson(), [0]), (family, [1])]).left_of_largest(np.array([[1.0, log_odds]]))
        assert both[0, 0] == np.inf
        assert both[0, 1] == pytest.approx(left, rel=1e-14)
