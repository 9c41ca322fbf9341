"""Rows with more zeros than their family has, against SciPy and the likelihood itself."""

import numpy as np
import pytest
from scipy import optimize, sparse, stats

import expfam_em as ef
from expfam_em import families
from expfam_em.families import Poisson, ZeroInflated

SHARES, RATES = np.array([0.3, 0.05]), np.array([[2.0, 0.5], [9.0, 4.0]])
INITS = ["k-means++", "kmeans", "random", "random_from_data"]


def natural_of(family, shares, expectation):
    """η of components with shares of zeros whose other rows have this E[T]."""
    shares = np.asarray(shares)[:, None]
    return family.to_natural(np.concatenate([shares, 1 - shares, (1 - shares) * expectation], axis=1))


def inflated():
    family = ZeroInflated(Poisson())
    return ef.Mixture(family, [0.6, 0.4], natural_of(family, SHARES, RATES))


def rows(n=400, seed=0):
    return inflated().sample(n, np.random.default_rng(seed))[0]


def textbook(X, share, logpmf):
    """log(ρ [x = 0] + (1 − ρ) p₀(x))."""
    zero = np.all(X == 0, axis=1)
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.where(zero, np.log(share), -np.inf), np.log1p(-share) + logpmf)


def poisson(X, rate):
    return stats.poisson.logpmf(X, rate).sum(axis=1)


# ---- the law -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 1e-12, 0.3, 0.999])
@pytest.mark.parametrize("rate", [1e-6, 0.7, 300.0, 1e15])
def test_density(share, rate):
    family = ZeroInflated(Poisson())
    natural = natural_of(family, [share], np.full((1, 2), rate))
    X = np.array([[0, 0], [0, 1], [3, 0], [2, 280], [1000, 1000]], float)
    expected = textbook(X, share, poisson(X, rate))
    assert family.log_density(X, natural)[:, 0] == pytest.approx(expected, rel=1e-12, abs=1e-13)
    found = family.parameters(natural)
    assert found["zero_shares"] == pytest.approx([share], rel=1e-12)
    assert found["rates"] == pytest.approx(np.full((1, 2), rate), rel=1e-12)


def test_amounts_of_which_none_is_0_but_those_added():
    family = ZeroInflated(families.Gamma())
    of_gamma = np.array([[2.0, -0.5]])
    natural = natural_of(family, [0.4], families.Gamma().to_expectation(of_gamma))
    X = np.array([[0.0], [0.1], [5.0]])
    expected = [np.log(0.4), *(np.log(0.6) + stats.gamma.logpdf([0.1, 5.0], 2.0, scale=2.0))]
    assert family.log_density(X, natural)[:, 0] == pytest.approx(expected, rel=1e-12)
    drawn = ef.Mixture(family, [1.0], natural).sample(4000, np.random.default_rng(1))[0]
    fitted = ef.ExponentialFamilyMixture(family, 1, random_state=0).fit(drawn)
    assert fitted.parameters_["zero_shares"] == pytest.approx([np.mean(drawn == 0)], rel=1e-12)
    shape, _, scale = stats.gamma.fit(drawn[drawn > 0], floc=0)
    assert fitted.parameters_["shapes"][0] == pytest.approx([shape], rel=1e-4)  # SciPy stops at 1e-5 or so
    assert 1 / fitted.parameters_["rates"][0] == pytest.approx([scale], rel=1e-4)


@pytest.mark.parametrize("size", [1e-2, 1.0, 1e2])
@pytest.mark.parametrize(
    "family", [families.Exponential(), families.HalfNormal(), families.Gaussian(), families.Laplace(), families.Gamma()]
)
def test_no_density_claims_zeros_whatever_the_unit(family, size):
    rng = np.random.default_rng(2)
    X = size * rng.exponential(1.0, (500, 1)) * (rng.random((500, 1)) > 0.4)
    model = ef.ExponentialFamilyMixture(ZeroInflated(family), 1).fit(X)
    assert model.parameters_["zero_shares"] == pytest.approx([np.mean(X == 0)], rel=1e-9)
    alone = ef.ExponentialFamilyMixture(family, 1).fit(X[X[:, 0] > 0])
    for name, value in alone.parameters_.items():
        assert model.parameters_[name] == pytest.approx(value, rel=1e-7), name


def test_mappings_are_inverse_and_the_gradient_that_of_complete_data():
    family, natural = ZeroInflated(Poisson()), inflated().natural
    expectation = family.to_expectation(natural)
    assert family.to_natural(expectation) == pytest.approx(natural, rel=1e-12)
    step = 1e-5 * np.eye(4)
    for k in range(2):
        by_difference = (family.log_partition(natural[k] + step) - family.log_partition(natural[k] - step)) / 2e-5
        assert expectation[k] == pytest.approx(by_difference, rel=1e-8)


def test_samples():
    mixture = inflated()
    X = mixture.sample(200_000, np.random.default_rng(3))[0]
    zero, expected = np.mean(np.all(X == 0, axis=1)), np.exp(mixture.log_density(np.zeros((1, 2))))[0]
    assert abs(zero - expected) < 5 * np.sqrt(expected / len(X))
    mean = mixture.weights @ ((1 - SHARES)[:, None] * RATES)
    assert np.all(np.abs(X.mean(axis=0) - mean) < 5 * X.std(axis=0) / np.sqrt(len(X)))


# ---- fitting -------------------------------------------------------------------------------------------------------


def test_steps_are_those_of_the_textbook():
    X, mixture = rows(), inflated()
    weights, shares, rates = np.array([0.5, 0.5]), np.array([0.2, 0.2]), np.array([[1.0, 1.0], [5.0, 5.0]])
    found = ef.Mixture(mixture.family, weights, natural_of(mixture.family, shares, rates))
    for _ in range(5):
        log_p = np.column_stack([textbook(X, s, poisson(X, r)) for s, r in zip(shares, rates, strict=True)])
        joint = weights * np.exp(log_p)
        r = joint / joint.sum(axis=1, keepdims=True)
        b = r * np.where(np.all(X == 0, axis=1)[:, None], shares / np.exp(log_p), 0.0)
        weights, shares = r.mean(axis=0), b.sum(axis=0) / r.sum(axis=0)
        rates = (r - b).T @ X / (r - b).sum(axis=0)[:, None]
        found = ef.fit(found, X, max_iter=1, tol=0).mixture
        assert found.weights == pytest.approx(weights, rel=1e-12)
        assert found.parameters["zero_shares"] == pytest.approx(shares, rel=1e-11)
        assert found.parameters["rates"] == pytest.approx(rates, rel=1e-11)


def test_one_component_is_the_maximum_of_the_likelihood():
    X = rows(600, 4)

    def negative(free):
        return -textbook(X, 1 / (1 + np.exp(-free[0])), poisson(X, np.exp(free[1:]))).sum()

    best = optimize.minimize(negative, [0.0, 1.0, 1.0], method="BFGS", options={"gtol": 1e-6})
    model = ef.ExponentialFamilyMixture(ZeroInflated(Poisson()), 1, tol=1e-13, max_iter=2000).fit(X)
    assert model.score(X) * len(X) == pytest.approx(-best.fun, abs=1e-7)
    assert model.parameters_["rates"][0] == pytest.approx(np.exp(best.x[1:]), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 3.0])
def test_the_bound_never_falls(temperature):
    bounds = ef.fit(inflated(), rows(), temperature=temperature, max_iter=50, tol=0).bounds
    assert np.all(np.diff(bounds) >= -1e-12 * len(rows()) * np.abs(bounds[0]))


@pytest.mark.parametrize("init", INITS)
def test_every_start_finds_clear_clusters(init, tmp_path):
    family = ZeroInflated(Poisson())
    truth = ef.Mixture(family, [0.5, 0.5], natural_of(family, [0.5, 0.01], np.array([[40.0, 2.0], [3.0, 60.0]])))
    X, labels = truth.sample(500, np.random.default_rng(6))
    model = ef.ExponentialFamilyMixture(family, 2, init=init, n_init=3, random_state=0).fit(X)
    order = np.argsort(model.parameters_["rates"][:, 1])
    assert model.parameters_["rates"][order] == pytest.approx(truth.parameters["rates"], rel=0.1)
    nonzero = np.any(X > 0, axis=1)
    assert np.mean(order[labels[nonzero]] == model.predict(X[nonzero])) > 0.99
    # which component a zero row is of, nothing tells: only their share in all is to be found
    assert model.weights_ @ model.parameters_["zero_shares"] == pytest.approx(1 - nonzero.mean(), rel=1e-6)
    model.save(tmp_path / "zeros.efm")
    assert np.array_equal(ef.load(tmp_path / "zeros.efm").predict_proba(X), model.predict_proba(X))
    assert model.mixture_.n_parameters == 1 + 2 * 3


def test_weights_are_repeated_rows():
    X = rows(80)
    times = np.random.default_rng(0).integers(0, 4, len(X))
    one = ef.accumulate(inflated(), X, times.astype(float))
    other = ef.accumulate(inflated(), np.repeat(X, times, axis=0))
    assert one.sums == pytest.approx(other.sums, rel=1e-12)
    assert one.bound == pytest.approx(other.bound, rel=1e-12)


def test_parameters_are_counted_once_the_columns_are_known():
    with pytest.raises(ValueError, match="call bind first"):
        ZeroInflated(Poisson()).n_parameters(4)
    assert ZeroInflated(Poisson()).bind([(rows(), None)]).n_parameters(4) == 4 * 3
    assert ZeroInflated(families.Gaussian("tied")).bind([(rows(), None)]).n_parameters(4) == 4 + 4 * 2 + 3


@pytest.mark.parametrize("rate", [1e9, 1e12, 1e15])
def test_the_share_of_zeros_keeps_its_digits_beside_large_counts(rate):
    X = np.concatenate([np.zeros(30), stats.poisson(rate).rvs(70, random_state=0)])[:, None]
    model = ef.ExponentialFamilyMixture(ZeroInflated(Poisson()), 1).fit(X)
    assert model.parameters_["zero_shares"] == pytest.approx([0.3], rel=1e-14)
    assert model.parameters_["rates"] == pytest.approx(X[30:].mean(keepdims=True), rel=1e-14)


def test_the_share_of_zeros_keeps_its_digits_beside_narrow_amounts():
    amounts = 1000 + 1e-3 * np.random.default_rng(0).normal(size=(70, 1))
    X = np.concatenate([np.zeros((30, 1)), amounts])
    model = ef.ExponentialFamilyMixture(ZeroInflated(families.Gamma()), 1).fit(X)
    alone = ef.ExponentialFamilyMixture(families.Gamma(), 1).fit(amounts)
    assert model.parameters_["zero_shares"] == pytest.approx([0.3], rel=1e-14)
    expected = 30 * np.log(0.3) + 70 * np.log(0.7) + alone.score(amounts) * 70
    assert model.score(X) * 100 == pytest.approx(expected, rel=1e-12)
    named = {"zero_shares": [0.3], **alone.parameters_}
    again = ef.Mixture.of(ZeroInflated(families.Gamma()), [1.0], **named)
    assert again.log_density(X).sum() == pytest.approx(expected, rel=1e-9)


def test_a_part_of_a_product():
    rng = np.random.default_rng(8)
    group = rng.integers(0, 2, 600)
    counts = np.where(rng.random(600) < 0.4, 0, rng.poisson(np.array([3.0, 20.0])[group]))
    X = np.column_stack([counts, rng.normal(4.0 * group, 1.0)])
    family = ef.families.Product([(ZeroInflated(Poisson()), [0]), (families.Gaussian(), [1])])
    model = ef.ExponentialFamilyMixture(family, 2, n_init=3, random_state=0, tol=1e-8).fit(X)
    labels = model.predict(X)
    assert max(np.mean(labels == group), np.mean(labels != group)) > 0.97


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
def test_a_frame_of_the_family_inside_changes_nothing():
    family, X = ZeroInflated(families.Gaussian("diag")), np.random.default_rng(9).normal(1e4, 3.0, (200, 2))
    X[::5] = 0
    model = ef.ExponentialFamilyMixture(family, 1, max_iter=60, tol=0).fit(X)
    assert model.parameters_["zero_shares"] == pytest.approx([0.2], rel=1e-12)
    others = X[np.any(X != 0, axis=1)]
    assert model.parameters_["means"][0] == pytest.approx(others.mean(axis=0), rel=1e-12)
    assert model.parameters_["covariances"][0] == pytest.approx(others.var(axis=0), rel=1e-10)


def test_components_can_be_merged():
    model = ef.ExponentialFamilyMixture(ZeroInflated(Poisson()), 3, random_state=0, max_iter=500).fit(rows())
    assert len(ef.merge_components(model.mixture_, rows()).entropies) == 3


# ---- families that have unobserved parts of their own --------------------------------------------------------------


@pytest.mark.parametrize("acceleration", [None, "auto"])
def test_zeros_beside_negative_binomial_counts(acceleration):
    # zeroinfl(Begin ~ 1, dist = "negbin") of pscl 1.5.5 on flexmix's dmft, R 4.2.2: -1756.8033
    times = np.array([172, 73, 96, 80, 95, 83, 85, 65, 48], float)
    family = ZeroInflated(families.GammaPoisson())
    X = np.arange(len(times))[:, None]
    model = ef.ExponentialFamilyMixture(family, 1, tol=1e-12, max_iter=2000, acceleration=acceleration)
    model.fit(X, sample_weight=times)
    assert model.score(X, sample_weight=times) * times.sum() == pytest.approx(-1756.8033, abs=1e-4)
    assert np.diff(model.lower_bounds_).min() >= -1e-12
    assert model.mixture_.n_parameters == 3
    share, shape, p = (model.parameters_[name].ravel() for name in ("zero_shares", "shapes", "probabilities"))
    assert model.score_samples(X) == pytest.approx(textbook(X, share, stats.nbinom.logpmf(X[:, 0], shape, p)), rel=1e-9)


@pytest.mark.parametrize(
    ("family", "names"),
    [
        (families.FreeWeibull(), ["shapes", "scales"]),
        (families.FreeLaplace(), ["locations", "scales"]),
        (families.StudentT(4.0), ["means", "scales"]),
    ],
    ids=repr,
)
def test_zeros_beside_densities_with_unobserved_parts(family, names):
    amounts = np.random.default_rng(3).weibull(2, (201, 1))  # of an even number, the median is not one number
    X = np.concatenate([amounts, np.zeros((50, 1))])
    how = {"tol": 1e-12, "max_iter": 500, "acceleration": None}
    one = ef.ExponentialFamilyMixture(ZeroInflated(family), 1, **how).fit(X)
    other = ef.ExponentialFamilyMixture(family, 1, **how).fit(amounts)
    assert one.parameters_["zero_shares"] == pytest.approx([50 / 251], rel=1e-13)
    for name in names:
        assert one.parameters_[name] == pytest.approx(other.parameters_[name], rel=1e-5)
    expected = 50 * np.log(50 / 251) + 201 * np.log(201 / 251) + 201 * other.score(amounts)
    assert one.score(X) * 251 == pytest.approx(expected, abs=1e-6)


def test_counts_without_added_zeros_are_negative_binomial_or_poisson():
    X = np.random.default_rng(0).negative_binomial(2, 0.3, (300, 1))
    X = X[X[:, 0] != 0]
    one = ef.ExponentialFamilyMixture(ZeroInflated(families.GammaPoisson()), 1, max_iter=1000, tol=1e-10).fit(X)
    other = ef.ExponentialFamilyMixture(families.GammaPoisson(), 1, max_iter=1000, tol=1e-10).fit(X)
    assert one.parameters_["zero_shares"].tolist() == [0.0]
    assert one.lower_bound_ == pytest.approx(other.lower_bound_, abs=1e-9)


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_rows_of_neither_kind_are_refused():
    with pytest.raises(ValueError, match=r"Poisson needs whole numbers from 0; column 1 holds -1.0 \(row 2\)"):
        ef.ExponentialFamilyMixture(ZeroInflated(Poisson()), 1).fit([[0, 0], [1, 2], [3, -1.0]])
    with pytest.raises(ValueError, match=r"Gamma needs positive numbers; column 0 holds 0.0 \(row 1\)"):
        ef.ExponentialFamilyMixture(ZeroInflated(families.Gamma()), 1).fit([[0, 0], [0, 2.0]])


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (3, "must be an ExponentialFamily"),
        (ZeroInflated(Poisson()), "inflate the families that it is made of"),
        (families.Componentwise([(Poisson(), 2)]), "can only stand by itself"),
    ],
)
def test_families_that_cannot_be_inflated(family, message):
    with pytest.raises(TypeError, match=message):
        ZeroInflated(family)


def test_sparse_rows_are_refused():
    with pytest.raises(TypeError, match="needs dense rows"):
        ef.ExponentialFamilyMixture(ZeroInflated(Poisson()), 1).fit(sparse.csr_array(rows()))


def test_only_zeros_leave_the_family_without_rows():
    with pytest.raises(ValueError, match=r"every row is 0, which Gamma\(\) never is"):
        ef.ExponentialFamilyMixture(ZeroInflated(families.Gamma()), 1).fit(np.zeros((10, 1)))
