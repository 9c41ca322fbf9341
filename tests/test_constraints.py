"""Constraints on named parameters, a component for noise, and priors by name."""

import functools

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize
from scipy.stats import gamma, multivariate_normal, norm, poisson
from sklearn.datasets import load_iris

import expfam_em as ef
from expfam_em.family import restricted
from tests.cases import CASES

NAN = np.nan
F = ef.families
SLOW = {"Gamma-bare", "Share-bare", "Normal-bare", "LogSeries-bare"}
"""Families with A alone, of which no more is to be learnt than of the others."""


@functools.cache
def two_clusters(offset=0.0):
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0, 1, (200, 2)), rng.normal(4, [1, 2], (100, 2))]) + offset


@functools.cache
def counts():
    rng = np.random.default_rng(1)
    return np.concatenate([rng.poisson(2, (150, 2)), rng.poisson(8, (150, 2))]).astype(float)


def fit(family, K, X, n_init=1, **options):
    """Fit to the last digits, accelerated, and see that bound plus log-prior never falls."""
    model = ef.ExponentialFamilyMixture(
        family, K, n_init=n_init, random_state=0, tol=1e-12, max_iter=3000, acceleration="auto", **options
    )
    values = []
    model.fit(X, callbacks=[lambda state: values.append(state.bounds + state.log_priors)])
    if n_init == 1:
        steps = np.diff(np.concatenate(values))
        assert np.all(steps >= -1e-10 * abs(values[-1]))
    return model


def pairs():
    """Every named parameter of every family with an axis of components."""
    for case in CASES:
        if case.name in SLOW or case.frame is not None:
            continue
        natural = case.naturals(case.components)
        for name, value in case.family.parameters(natural).items():
            if np.shape(value)[:1] == (len(natural),) and np.size(value):
                yield pytest.param(case, name, id=f"{case.name}-{name}")


def constraints_on(name, value):
    """A constraint of each kind that the parameters of a case satisfy but for the tied ones, and how to see it."""
    first = np.full(value.shape, NAN)
    first[0] = value[0]
    yield {"fixed": {name: first}}, lambda found: (found[0], value[0])
    yield {"tied": (name,)}, lambda found: (found, np.broadcast_to(found[0], found.shape))
    yield {"bounds": {name: (None, value.max())}}, lambda found: (np.maximum(found, value.max()), value.max())


@pytest.mark.parametrize(("case", "name"), list(pairs()))
def test_an_m_step_of_any_family_keeps_any_named_parameter_and_climbs(case, name):
    natural, family = case.naturals(case.components), case.family
    value = np.asarray(family.parameters(natural)[name], float)
    rng = np.random.default_rng(0)
    X = np.concatenate([case.draw(theta, 20, rng) for theta in case.components])
    for constraint, seen in constraints_on(name, value):
        held = ef.constrain(family, **constraint)
        if case.name.startswith("Gaussian-full") and name == "covariances" and "bounds" in constraint:
            with pytest.raises(ValueError, match="have no meaning"):
                ef.fit(ef.Mixture(held, np.full(3, 1 / 3), natural), X)
            continue
        start = ef.fit(ef.Mixture(held, np.full(3, 1 / 3), natural), X, max_iter=0).mixture  # under the constraint
        statistics = ef.accumulate(start, X)
        after = ef.maximize(statistics, start)
        found, expected = seen(np.asarray(after.parameters[name], float))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(value).max() + 1e-15)
        bound = float(statistics.bound)
        assert float(ef.accumulate(after, X).bound) >= bound - 1e-11 * abs(bound)


# ---- against other ways to the maximum ---------------------------------------------------------------------------


def test_tied_rates_in_a_ratio_are_at_the_maximum():
    X = counts()
    model = fit(F.Poisson(), 2, X, tied={"rates": [1.0, 4.0]})

    def minus(theta):
        share = 1 / (1 + np.exp(-theta[0]))
        logs = [poisson.logpmf(X, f * np.exp(theta[1:])).sum(axis=1) for f in (1, 4)]
        return -np.logaddexp(np.log(share) + logs[0], np.log(1 - share) + logs[1]).sum()

    best = minimize(minus, [0.0, 0.5, 0.5], method="BFGS", options={"gtol": 1e-6})
    rates = model.parameters_["rates"]
    np.testing.assert_allclose(rates[1], 4 * rates[0], rtol=1e-13)
    np.testing.assert_allclose(rates[0], np.exp(best.x[1:]), rtol=1e-6)  # that of the search
    assert model.lower_bound_ * len(X) >= -best.fun - 1e-8
    assert model.mixture_.n_parameters == 3


def test_a_tied_shape_of_gamma_is_at_the_maximum():
    rng = np.random.default_rng(2)
    X = np.concatenate([rng.gamma(3, 1, 150), rng.gamma(3, 5, 150)])[:, None]
    model = fit(F.Gamma(), 2, X, tied=("shapes",))

    def minus(theta):
        share, shape, *rates = 1 / (1 + np.exp(-theta[0])), *np.exp(theta[1:])
        logs = [gamma.logpdf(X[:, 0], shape, scale=1 / rate) for rate in rates]
        return -np.logaddexp(np.log(share) + logs[0], np.log(1 - share) + logs[1]).sum()

    best = minimize(minus, [0.0, 1.0, 0.0, -1.5], method="BFGS")
    assert model.lower_bound_ * len(X) >= -best.fun - 1e-7
    shape = model.parameters_["shapes"]
    np.testing.assert_allclose(shape, np.exp(best.x[1]), rtol=1e-4)
    assert model.mixture_.n_parameters == 4


@pytest.mark.parametrize("family", [F.Poisson(), F.Gamma(), F.Bernoulli()], ids=repr)
def test_what_is_free_is_counted_at_the_parameters_themselves(family, monkeypatch):
    named = {"Poisson": {"rates"}, "Gamma": {"shapes", "rates"}, "Bernoulli": {"probabilities"}}[type(family).__name__]
    held, seen = ef.constrain(family, tied=(min(named),)), []
    values = {name: [[0.3, 0.6], [0.3, 0.6]] for name in named}
    mixture = ef.Mixture.of(held, [0.5, 0.5], **values)
    slopes = restricted._Search.slopes
    monkeypatch.setattr(restricted._Search, "slopes", lambda self, at: seen.append(self.start) or slopes(self, at))
    assert mixture.n_parameters == 2 * len(named) * 2 + 1 - 2
    [start] = seen  # the M-step of the statistics of the search
    np.testing.assert_allclose(start, mixture.natural, rtol=1e-9)


def test_tied_covariances_are_the_tied_covariance_type():
    X = two_clusters()
    for kind, same in (("full", "tied"), ("diag", "EEI"), ("spherical", "EII")):
        held = fit(F.Gaussian(kind), 2, X, tied=("covariances",))
        model = fit(F.Gaussian(same), 2, X)
        assert held.lower_bound_ == pytest.approx(model.lower_bound_, rel=1e-12)
        assert held.mixture_.n_parameters == model.mixture_.n_parameters


def minus_normal(X, unpack):
    def minus(theta):
        share, means, covariances = unpack(theta)
        logs = [multivariate_normal.logpdf(X, *each) for each in zip(means, covariances, strict=True)]
        return -np.logaddexp(np.log(share) + logs[0], np.log(1 - share) + logs[1]).sum()

    return minus


def covariance(theta):
    root = np.array([[np.exp(theta[0]), 0], [theta[1], np.exp(theta[2])]])
    return root @ root.T


@pytest.mark.parametrize("kind", ["means", "half", "tied", "covariances"])
def test_normal_constraints_are_at_the_maximum(kind):
    X, one = two_clusters(), np.array([[1.0, 0.3], [0.3, 2.0]])
    constraint, start, unpack = {
        "means": (
            {"fixed": {"means": [[0, 0], [NAN, NAN]]}}, [1.0, 4, 4, 0, 0, 0, 0, 0, 0],
            lambda t: ([[0, 0], t[1:3]], [covariance(t[3:6]), covariance(t[6:])]),
        ),
        "half": (
            {"fixed": {"means": [[0, NAN], [NAN, NAN]]}}, [1.0, 0, 4, 4, 0, 0, 0, 0, 0, 0],
            lambda t: ([[0, t[1]], t[2:4]], [covariance(t[4:7]), covariance(t[7:])]),
        ),
        "tied": (
            {"tied": ("means",)}, [0.0, 1, 1, 0, 0, 0, 1, 0, 1],
            lambda t: ([t[1:3], t[1:3]], [covariance(t[3:6]), covariance(t[6:])]),
        ),
        "covariances": (
            {"fixed": {"covariances": [one, np.full((2, 2), NAN)]}}, [1.0, 0, 0, 4, 4, 0, 0, 0],
            lambda t: ([t[1:3], t[3:5]], [one, covariance(t[5:])]),
        ),
    }[kind]  # fmt: skip
    model = fit(F.Gaussian("full"), 2, X, n_init=10, **constraint)
    minus = minus_normal(X, lambda t: (1 / (1 + np.exp(-t[0])), *unpack(t)))
    best = minimize(minus, start, method="BFGS")
    assert model.lower_bound_ * len(X) >= -best.fun - 1e-6
    assert model.mixture_.n_parameters == len(start)


def test_bounds_hold_where_they_are_reached_and_nowhere_else():
    X = two_clusters()
    model = fit(F.Gaussian("diag"), 2, X, bounds={"means": (None, 3.5), "covariances": (1.5, None)})

    def minus(theta):
        share, means, variances = 1 / (1 + np.exp(-theta[0])), theta[1:5].reshape(2, 2), theta[5:].reshape(2, 2)
        logs = norm.logpdf(X[:, None], means, np.sqrt(variances)).sum(axis=2) + np.log([share, 1 - share])
        return -np.logaddexp(*logs.T).sum()

    best = minimize(minus, [0, 0, 0, 3, 3, 2, 2, 2, 2], bounds=[(-5, 5)] + [(None, 3.5)] * 4 + [(1.5, None)] * 4)
    assert model.lower_bound_ * len(X) >= -best.fun - 1e-6
    assert model.parameters_["means"].max() == pytest.approx(3.5, rel=1e-14)
    assert model.parameters_["covariances"].min() == pytest.approx(1.5, rel=1e-14)
    rates = fit(F.Poisson(), 2, counts(), bounds={"rates": (3.0, 7.0)}).parameters_["rates"]
    np.testing.assert_allclose(np.sort(rates, axis=0), [[3, 3], [7, 7]], rtol=1e-13)


class Rayleigh(ef.ExponentialFamily):
    """T and A alone."""

    def sufficient_statistics(self, X):
        return X**2

    def log_partition(self, natural):
        return -np.log(-2 * natural).sum(axis=1)

    def log_base_measure(self, X):
        return np.log(X).sum(axis=1)


def test_a_family_of_ones_own_is_constrained_by_its_expectation():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.rayleigh(1, (100, 1)), rng.rayleigh(4, (100, 1))])
    start = ef.Mixture.of(F.Rayleigh(), [0.5, 0.5], scales=[[1.0], [4.0]])
    own = ef.Mixture(ef.constrain(Rayleigh(), tied={"expectation": [1.0, 16.0]}), start.weights, start.natural)
    same = ef.Mixture(ef.constrain(F.Rayleigh(), tied={"scales": [1.0, 4.0]}), start.weights, start.natural)
    model, same = (ef.fit(mixture, X, max_iter=2, tol=0) for mixture in (own, same))
    np.testing.assert_allclose(model.bounds, same.bounds, rtol=1e-12)
    assert model.mixture.n_parameters == same.mixture.n_parameters == 2


# ---- wherever mixtures are fitted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("acceleration", [None, "auto"])
@pytest.mark.parametrize("init", ["auto", "k-means++", "kmeans", "random"])
def test_component_k_of_the_constraint_is_component_k_of_the_fit(init, acceleration):
    far = np.random.default_rng(3).normal([-9, 5], 1, (100, 2))
    X = np.concatenate([two_clusters(), far])
    fixed = {"means": [[NAN, NAN], [0.0, 0.0], [-9.0, NAN]]}
    model = ef.GaussianMixture(
        3, fixed=fixed, init=init, n_init=5, random_state=0, tol=1e-8, max_iter=500, acceleration=acceleration
    ).fit(X)
    np.testing.assert_allclose(model.means_[1], 0, atol=1e-14)
    assert model.means_[2, 0] == pytest.approx(-9, rel=1e-15)
    np.testing.assert_allclose(model.means_[[0, 2], 1], [4.2, 5], atol=0.3)


def test_means_far_from_zero_keep_all_digits():
    near, far = (
        ef.GaussianMixture(
            2, fixed={"means": [[at, at], [NAN, NAN]]}, random_state=0, tol=1e-10, max_iter=500, reg_covar=0
        ).fit(two_clusters(at))
        for at in (0.0, 1e6)
    )
    np.testing.assert_array_equal(far.means_[0], [1e6, 1e6])
    np.testing.assert_allclose(far.covariances_, near.covariances_, rtol=1e-9)  # X itself is rounded by 1e-10


def test_every_way_to_fit_is_under_the_constraint():
    X, constraint = counts(), {"fixed": {"rates": [[2.0, NAN], [NAN, NAN]]}}
    model = ef.ExponentialFamilyMixture(F.Poisson(), 2, random_state=0, **constraint)
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    many = ef.fit_many(model, [X, X[::2], X + 1])
    hard = ef.ExponentialFamilyMixture(F.Poisson(), 2, random_state=0, temperature=0, **constraint).fit(X)
    weighted = ef.ExponentialFamilyMixture(F.Poisson(), 2, random_state=0, **constraint).fit(X, sample_weight=weight)
    repeated = ef.ExponentialFamilyMixture(F.Poisson(), 2, random_state=0, **constraint)
    repeated.fit(np.repeat(X, weight.astype(int), axis=0))
    for one in (*many, hard, weighted, model.fit(X.astype(np.float32))):
        assert one.parameters_["rates"][0, 0] == pytest.approx(2, rel=1e-7)
    assert weighted.lower_bound_ == pytest.approx(repeated.lower_bound_, rel=1e-6)
    assert model.fit(sparse.csr_array(X)).lower_bound_ == pytest.approx(many[0].lower_bound_, rel=1e-9)


def test_parts_are_constrained_by_their_names():
    X = np.column_stack([two_clusters(), counts()[:, 0]])
    family = F.Product([(F.Gaussian("diag"), [0, 1]), (F.Poisson(), [2])])
    free = fit(family, 2, X)
    held = fit(family, 2, X, fixed={"gaussian_means": [[0, 0], [NAN, NAN]]}, tied=("poisson_rates",))
    assert held.mixture_.n_parameters == free.mixture_.n_parameters - 3
    np.testing.assert_allclose(held.parameters_["gaussian_means"][0], 0, atol=1e-14)
    kinds = F.Componentwise([(F.Gaussian("full"), 2), (F.Uniform(), 1)])
    held = fit(kinds, 3, two_clusters(), fixed={"gaussian_means": [[0, 0], [NAN, NAN]]})
    np.testing.assert_allclose(held.parameters_["gaussian_means"][0], 0, atol=1e-14)


@pytest.mark.parametrize(
    ("family", "constraint"),
    [
        (F.StudentT(), {"tied": ("degrees_of_freedom",)}),
        (F.StudentT(), {"fixed": {"means": [[0, 0], [NAN, NAN]]}}),
        (F.GammaPoisson(), {"tied": ("shapes",)}),
        (F.GammaPoisson(), {"fixed": {"means": [[2, 2], [NAN, NAN]]}}),
        (F.ZeroInflated(F.Poisson()), {"tied": ("rates",)}),
    ],
)
def test_families_with_unobserved_parts_are_constrained(family, constraint):
    X = two_clusters() if isinstance(family, F.StudentT) else counts()
    model = ef.ExponentialFamilyMixture(family, 2, random_state=0, tol=0, **constraint)
    model.fit(X, callbacks=[lambda state: state.n_iter == 8])
    [name] = constraint.get("tied", constraint.get("fixed"))
    value = model.parameters_[name]
    expected = value[1] if "tied" in constraint else np.asarray(constraint["fixed"][name])[0]
    np.testing.assert_allclose(value[0], expected, rtol=1e-9, atol=1e-9)
    assert np.min(np.diff(model.lower_bounds_)) >= -1e-12


def test_files_keep_the_constraint(tmp_path):
    model = ef.GaussianMixture(2, fixed={"means": [[0, 0], [NAN, NAN]]}, noise="uniform", random_state=0)
    model.fit(two_clusters()).save(tmp_path / "m.efm")
    again = ef.load(tmp_path / "m.efm")
    assert again.mixture_.n_parameters == model.mixture_.n_parameters
    np.testing.assert_array_equal(again.predict_proba(two_clusters()), model.predict_proba(two_clusters()))


def test_fixed_weights_are_kept_and_not_counted():
    X = two_clusters()
    model = ef.GaussianMixture(2, fixed={"weights": [0.5, 0.5]}, random_state=0, tol=1e-9, max_iter=500).fit(X)
    same = ef.GaussianMixture(2, weights="equal", random_state=0, tol=1e-9, max_iter=500).fit(X)
    np.testing.assert_array_equal(model.weights_, [0.5, 0.5])
    assert model.lower_bound_ == pytest.approx(same.lower_bound_, rel=1e-9)
    assert model.aic(X) == pytest.approx(-2 * len(X) * model.score(X) + 2 * 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed": {"rate": [[1, 1], [1, 1]]}}, "did you mean 'rates'"),
        ({"fixed": {"rates": [1, 1]}}, r"shape \(2,\); it must be \(2, 2\)"),
        ({"fixed": {"rates": [[-1, 1], [1, 1]]}}, "it must be 0 or positive"),
        ({"fixed": {"rates": [["a", 1], [1, 1]]}}, "must be an array of numbers"),
        ({"tied": {"rates": [1, 2, 3]}}, "3 factors; there are 2 components"),
        ({"tied": {"rates": [1, -2]}}, "positive numbers"),
        ({"fixed": {"rates": [[1, 1], [1, 1]]}, "tied": ("rates",)}, "both fixed and tied"),
        ({"bounds": {"rates": (3, 2)}}, "must not be above"),
        ({"bounds": {"rates": 3}}, "must be a pair"),
        ({"fixed": {"weights": [0.5, NAN]}}, "of them fixed or none"),
        ({"fixed": {"weights": [0.5, 0.5]}, "weights": "equal"}, "give one of the two"),
        ({"tied": ("weights",)}, "weights='equal'"),
        ({"noise": "uniform"}, "gives probabilities to single rows"),
        ({"prior": "mclust"}, "one of normal densities"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    model = ef.ExponentialFamilyMixture(F.Poisson(), 2, random_state=0, **options)
    with pytest.raises(ValueError, match=message):
        model.fit(counts())


# ---- noise --------------------------------------------------------------------------------------------------------


def test_noise_is_the_last_component_and_its_rows_have_the_label_minus_one():
    rng = np.random.default_rng(0)
    X = np.concatenate([two_clusters(), rng.uniform(-15, 15, (60, 2))])
    model = ef.GaussianMixture(2, noise="uniform", random_state=0, tol=1e-8, max_iter=500).fit(X)
    labels, share = model.predict(X), model.predict_proba(X)
    assert model.weights_.shape == (3,)
    assert share.shape == (len(X), 3)
    assert model.means_.shape == (2, 2)
    assert set(labels) == {-1, 0, 1}
    assert np.mean(labels[300:] == -1) > 0.85
    assert np.mean(labels[:300] == -1) < 0.05
    np.testing.assert_array_equal(labels == -1, share.argmax(axis=1) == 2)
    assert model.weights_[-1] == pytest.approx(0.16, abs=0.04)
    np.testing.assert_array_equal(model.parameters_["noise_low"][0], X.min(axis=0))
    assert model.mixture_.n_parameters == 2 * 5 + 2
    densities = [multivariate_normal.pdf(X, m, c) for m, c in zip(model.means_, model.covariances_, strict=True)]
    mixed = model.weights_ @ np.array([*densities, np.full(len(X), 1 / np.prod(np.ptp(X, axis=0)))])
    assert model.score(X) == pytest.approx(np.log(mixed).mean(), rel=1e-12)


# ---- priors by name -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical", "EEI", "EII"])
def test_mclust_prior_is_at_the_mode_of_the_paper(kind):
    X, K = two_clusters(), 2
    (n, d), mu = X.shape, X.mean(axis=0)
    model = ef.GaussianMixture(
        K, covariance_type=kind, prior="mclust", reg_covar=0, random_state=0, tol=1e-13, max_iter=3000,
        acceleration="auto",
    ).fit(X)  # fmt: skip
    R = model.predict_proba(X)
    N, mean = R.sum(axis=0), R.T @ X / R.sum(axis=0)[:, None]
    pulled = (0.01 * N / (0.01 + N))[:, None, None] * np.einsum("ki,kj->kij", mean - mu, mean - mu)
    W = np.array([(R[:, [k]] * (X - mean[k])).T @ (X - mean[k]) for k in range(K)]) + pulled
    scale, nu, D = np.cov(X.T) / K ** (2 / d), d + 2, np.einsum("kii->ki", W)
    one = np.trace(scale) / d
    expected = {
        "full": (scale + W) / (N + nu + d + 2)[:, None, None],
        "tied": (scale + W.sum(axis=0)) / (n + K + nu + d + 1),
        "diag": (one + D) / (N + nu + 3)[:, None],
        "spherical": (one + D.sum(axis=1)) / ((N + 1) * d + nu + 2),
        "EEI": np.tile((one + D.sum(axis=0)) / (n + K + nu + 2), (K, 1)),
        "EII": np.full(K, (one + D.sum()) / ((n + K) * d + nu + 2)),
    }[kind]
    np.testing.assert_allclose(model.covariances_, expected, rtol=1e-5)
    np.testing.assert_allclose(
        model.means_, (N[:, None] * mean + 0.01 * mu) / (N + 0.01)[:, None], rtol=1e-5, atol=1e-6
    )


MCLUST_PRIOR = {  # log-likelihood of three components of iris, and the first variance of the first of them
    "VII": (-384.478676216, 0.07491144134), "VEI": (-345.428590535, 0.12900893901),
    "EVI": (-342.253920065, 0.23423752673), "VVI": (-312.904087069, 0.11449592143),
    "EEE": (-257.739376609, 0.24413501676), "EEV": (-221.839294208, 0.237914833477),
    "VEV": (-198.486481441, 0.15449810902), "VVV": (-192.695283865, 0.104695083917),
}  # fmt: skip


@pytest.mark.parametrize("kind", MCLUST_PRIOR)
def test_mclust_prior_is_that_of_mclust(kind):
    """R, mclust 6.0.0: me(X, kind, z, prior=priorControl(), control=emControl(tol=c(1e-14, 1e-14)))."""
    X, start = load_iris().data, 0.7 * np.eye(3)[np.repeat(range(3), 50)] + 0.1
    model = ef.ExponentialFamilyMixture(
        F.Gaussian(kind, variance_floor=0), 3, init=start, prior="mclust", tol=1e-13, max_iter=9999, guard=False
    ).fit(X)
    log_likelihood, variance = MCLUST_PRIOR[kind]
    assert model.score(X) * len(X) == pytest.approx(log_likelihood, abs=1e-5)  # mclust's search for VEI ends 2e-6 off
    assert model.parameters_["covariances"].ravel()[0] == pytest.approx(variance, rel=1e-5)


@pytest.mark.parametrize("kind", ["EVV", "VVE", "full", "spherical", "EII"])
def test_mclust_prior_of_one_column_has_equal_or_free_variances(faithful, kind):
    """R, mclust 6.0.0: me(faithful$waiting, "E" or "V", ...) as above."""
    x = faithful[:, 1:]
    model = ef.ExponentialFamilyMixture(
        F.Gaussian(kind, variance_floor=0), 2, init=(x[:, 0] > 65).astype(int), prior="mclust", tol=1e-13, max_iter=9999
    ).fit(x)
    log_likelihood, variances = (
        (-1034.03364389, [33.65626084] * 2) if kind[0] == "E" else (-1034.09392245, [32.58932275, 33.54501157])
    )
    assert model.score(x) * len(x) == pytest.approx(log_likelihood, abs=1e-5)
    assert np.allclose(model.parameters_["covariances"].ravel(), variances, rtol=1e-6, atol=0)


def test_mclust_prior_of_other_models_is_refused():
    for kind in ("EVE", "VEE", "VVE", "EVV"):
        with pytest.raises(ValueError, match=r"mclust has none for Gaussian.*Take prior='weak'"):
            ef.GaussianMixture(2, covariance_type=kind, prior="mclust").fit(two_clusters())


def test_a_prior_by_name_beside_labels():
    """With all labels known, the M-step is that of the paper; missing values are refused."""
    X, y, d = two_clusters().copy(), np.repeat([0, 1], [200, 100]), 2
    model = ef.GaussianMixture(2, labelled=True, prior="mclust", reg_covar=0).fit(X, y)
    for k, size in enumerate((200, 100)):
        rows, mean = X[y == k], X.mean(axis=0)
        away = rows.mean(axis=0) - mean
        scatter = (size - 1) * np.cov(rows.T) + 0.01 * size / (size + 0.01) * np.outer(away, away)
        np.testing.assert_allclose(model.covariances_[k], (np.cov(X.T) / 2 + scatter) / (size + 2 * d + 4), rtol=1e-9)
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="values of X are missing"):
        model.fit(X, y)


def test_weak_prior_is_one_row_of_the_mean_for_each_component():
    X = counts().copy()
    X[:, 1] = 0
    X[0, 1] = 1
    model = fit(F.Poisson(), 2, X, prior="weak")
    R = model.predict_proba(X)
    expected = (R.T @ X + X.mean(axis=0)) / (R.sum(axis=0) + 1)[:, None]
    np.testing.assert_allclose(model.parameters_["rates"], expected, rtol=1e-5)
    assert model.parameters_["rates"].min() > 0
    one, other = ef.fit_many(ef.ExponentialFamilyMixture(F.Poisson(), 2, prior="weak", random_state=0), [X, X + 3])
    assert one.parameters_["rates"].max() < other.parameters_["rates"].max()
    with pytest.raises(ValueError, match="observes only a part"):
        ef.ExponentialFamilyMixture(F.StudentT(), 2, prior="weak").fit(two_clusters())


# ---- together with what else a fit is asked -----------------------------------------------------------------------


def test_standard_errors_are_those_under_the_constraint():
    X = counts()
    model = fit(F.Poisson(), 2, X, tied={"rates": [1.0, 4.0]})
    errors = ef.standard_errors(model, X)

    def minus(theta):
        logs = [poisson.logpmf(X, f * theta[1:]).sum(axis=1) for f in (1, 4)]
        return -np.logaddexp(np.log(theta[0]) + logs[0], np.log(1 - theta[0]) + logs[1]).sum()

    at, h = np.array([model.weights_[0], *model.parameters_["rates"][0]]), np.eye(3) * 1e-3
    information = [
        [sum(s * t * minus(at + s * a + t * b) for s in (1, -1) for t in (1, -1)) / 4e-6 for a in h] for b in h
    ]
    expected = np.sqrt(np.diag(np.linalg.inv(information)))
    found = np.array([errors["weights"][0], *errors["rates"][0]])
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # h² of the differences
    np.testing.assert_allclose(errors["rates"][1], 4 * errors["rates"][0], rtol=1e-6)


def test_a_family_may_be_under_constraints_before_an_estimator_gets_it():
    X, how = two_clusters(), {"n_components": 2, "random_state": 0}
    family = ef.constrain("gaussian", tied=("covariances",))
    expected = ef.ExponentialFamilyMixture("gaussian", tied=("covariances",), **how).fit(X)
    found = ef.ExponentialFamilyMixture(family, **how).fit(X)
    assert np.array_equal(found.mixture_.natural, expected.mixture_.natural)
    with pytest.raises(ValueError, match=r"constraints of its own, which fixed, tied and bounds would replace"):
        ef.ExponentialFamilyMixture(family, bounds={"means": (-1, 9)}, **how).fit(X)
    with pytest.raises(ValueError, match="bayesian=True goes without constraints of the family"):
        ef.ExponentialFamilyMixture(family, bayesian=True, **how).fit(X)


def test_components_that_a_constraint_names_stay_and_others_can_be_ordered():
    X = two_clusters()
    named = ef.GaussianMixture(2, fixed={"means": [[4, 4], [NAN, NAN]]}, random_state=0).fit(X)
    with pytest.raises(ValueError, match="constraints differ between components"):
        named.reorder([1, 0])
    tied = ef.GaussianMixture(2, tied=("covariances",), random_state=0).fit(X)
    before = tied.mixture_.n_parameters
    assert tied.reorder([1, 0]).mixture_.n_parameters == before == 8
    noisy = ef.GaussianMixture(2, noise="uniform", random_state=0).fit(X)
    assert noisy.reorder().weights_.shape == (3,)


def test_missing_values_go_with_constraints_but_not_with_what_is_made_of_whole_rows():
    X = two_clusters().copy()
    X[::7, 0] = NAN
    model = ef.GaussianMixture(2, fixed={"means": [[0, 0], [NAN, NAN]]}, random_state=0).fit(X)
    np.testing.assert_allclose(model.means_[0], 0, atol=1e-14)
    assert ef.GaussianMixture(2, noise="uniform", random_state=0).fit(X).weights_.shape == (3,)
    for prior in ("weak", "mclust"):
        with pytest.raises(ValueError, match="missing"):
            ef.GaussianMixture(2, prior=prior, random_state=0).fit(X)
