"""Rows in a window, rows known up to an interval, and counts over different times, against SciPy and mpmath."""

import mpmath
import numpy as np
import pytest
from scipy import optimize, stats

import expfam_em as ef
from expfam_em import families as f
from expfam_em.families import Censored, Exposed, Truncated
from expfam_em.family import intervals

pytestmark = pytest.mark.filterwarnings("ignore:.*did not converge")

INF = np.inf


def fitted(family, X, K=1, **how):
    how = {"tol": 1e-11, "max_iter": 1000, "random_state": 0, **how}
    return ef.ExponentialFamilyMixture(family, K, **how).fit(X)


def fabric_faults():
    """Faults in 32 rolls of fabric, and their lengths in metres (Bissell 1972; ``fabricfault`` of flexmix)."""
    lengths = [
        551, 651, 832, 375, 715, 868, 271, 630, 491, 372, 645, 441, 895, 458, 642, 492, 543, 842, 905, 542, 522, 122,
        657, 170, 738, 371, 735, 749, 495, 716, 952, 417,
    ]  # fmt: skip
    faults = [
        6, 4, 17, 9, 14, 8, 5, 7, 7, 7, 6, 8, 28, 4, 10, 4, 8, 9, 23, 9, 6, 1, 9, 4, 9, 14, 17, 10, 7, 3, 9, 2,
    ]  # fmt: skip
    return np.column_stack([faults, lengths]).astype(float)


# ---- probabilities of intervals, and expectations in them ----------------------------------------------------------

LAWS = [
    (f.Gaussian(), {"means": [[2.0]], "covariances": [[[9.0]]]}, lambda x: mpmath.npdf(x, 2, 3), -INF),
    (f.LogNormal(), {"log_means": [[0.5]], "log_covariances": [[[0.25]]]}, None, 0),
    (f.Exponential(), {"rates": [[3.0]]}, lambda x: 3 * mpmath.exp(-3 * x), 0),
    (f.HalfNormal(), {"scales": [[2.0]]}, lambda x: 2 * mpmath.npdf(x, 0, 2), 0),
    (f.Rayleigh(), {"scales": [[2.0]]}, lambda x: x / 4 * mpmath.exp(-(x**2) / 8), 0),
    (f.Weibull(0.7), {"scales": [[2.0]]}, None, 0),
    (f.Gamma(), {"shapes": [[0.3]], "rates": [[2.0]]}, None, 0),
    (f.InverseGamma(), {"shapes": [[2.5]], "scales": [[2.0]]}, None, 0),
    (f.InverseGaussian(), {"means": [[1.5]], "shapes": [[2.0]]}, None, 0),
    (f.Laplace(1.0), {"scales": [[0.5]]}, lambda x: mpmath.exp(-2 * abs(x - 1)), -INF),
    (f.Pareto(2.0), {"exponents": [[1.5]]}, None, 2),
    (f.StudentT(3.0), {"means": [[1.0]], "scales": [[[4.0]]]}, None, -INF),
    (f.FreeWeibull(), {"shapes": [[1.7]], "scales": [[2.0]]}, None, 0),
]  # fmt: skip
SCIPY = {
    "LogNormal": stats.lognorm(0.5, scale=np.exp(0.5)),
    "Weibull": stats.weibull_min(0.7, scale=2),
    "Gamma": stats.gamma(0.3, scale=0.5),
    "InverseGamma": stats.invgamma(2.5, scale=2),
    "InverseGaussian": stats.invgauss(0.75, scale=2),
    "Pareto": stats.pareto(1.5, scale=2),
    "StudentT": stats.t(3, 1, 2),
    "FreeWeibull": stats.weibull_min(1.7, scale=2),
    "Gaussian": stats.norm(2, 3),
    "Exponential": stats.expon(scale=1 / 3),
    "HalfNormal": stats.halfnorm(scale=2),
    "Rayleigh": stats.rayleigh(scale=2),
    "Laplace": stats.laplace(1, 0.5),
}


@pytest.mark.parametrize(("family", "named", "density", "start"), LAWS, ids=lambda it: type(it).__name__)
def test_probabilities_of_intervals(family, named, density, start):
    law, [eta] = SCIPY[type(family).__name__], family.from_parameters(**named)
    ends = law.ppf([0.0, 0.1, 0.45, 0.9, 1 - 1e-9, 1.0])
    low, high = np.array([ends[0], ends[1], ends[2], ends[3], ends[4], ends[0]]), ends[[5, 2, 3, 5, 5, 1]]
    found = intervals.nodes(family, eta, low, high)
    expected = np.where(low > law.median(), law.sf(low) - law.sf(high), law.cdf(high) - law.cdf(low))
    assert np.exp(found.log_mass) == pytest.approx(expected, rel=1e-11)
    assert found.weight.sum(axis=1) == pytest.approx(np.ones(6), rel=1e-14)
    if density is not None:  # E[x] in three of the intervals
        for j in (1, 2, 3):
            points = (
                [low[j], mpmath.mpf(law.median()), high[j]] if low[j] < law.median() < high[j] else [low[j], high[j]]
            )
            total, mean = mpmath.quad(density, points), mpmath.quad(lambda x: x * density(x), points)
            assert found.weight[j] @ found.x[j] == pytest.approx(float(mean / total), rel=1e-12)


def test_far_tails_and_narrow_intervals_keep_their_digits():
    family = f.Gaussian()
    [eta] = family.from_parameters(means=[[0.0]], covariances=[[[1.0]]])
    low, high = np.array([40.0, -INF, 8.0, 1000.0]), np.array([INF, -200.0, 8.0 + 2**-30, 1000.0001])
    found = intervals.nodes(family, eta, low, high)
    with mpmath.workdps(60):
        for j, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            a, b = max(mpmath.mpf(a), -300), min(mpmath.mpf(b), 1100)
            sign = 1 if a > 0 else -1
            mass = abs(mpmath.erfc(sign * a / mpmath.sqrt(2)) - mpmath.erfc(sign * b / mpmath.sqrt(2))) / 2
            mean = (mpmath.npdf(a) - mpmath.npdf(b)) / mass
            assert found.log_mass[j] == pytest.approx(float(mpmath.log(mass)), rel=1e-14)
            assert found.weight[j] @ found.x[j] == pytest.approx(float(mean), rel=1e-14)


@pytest.mark.parametrize(
    ("family", "named", "law"),
    [
        (f.Poisson(), {"rates": [[30.0]]}, stats.poisson(30)),
        (f.Geometric(), {"probabilities": [[0.2]]}, stats.geom(0.2, loc=-1)),
        (f.Binomial(12), {"probabilities": [[0.3]]}, stats.binom(12, 0.3)),
        (f.NegativeBinomial(2.5), {"probabilities": [[0.3]]}, stats.nbinom(2.5, 0.3)),
        (f.GammaPoisson(), {"shapes": [[2.5]], "probabilities": [[0.3]]}, stats.nbinom(2.5, 0.3)),
        (f.Poisson(), {"rates": [[1e12]]}, stats.norm(1e12, 1e6)),
    ],
)
def test_probabilities_of_counts(family, named, law):
    [eta] = family.from_parameters(**named)
    low, high = np.array([0.0, 3.0, 5.2, 4.0, 60.0]), np.array([INF, 8.0, 5.9, 4.0, INF])
    if named.get("rates") == [[1e12]]:  # the normal law and that of counts differ by the skewness
        low, high = np.array([0.0, 1e12]), np.array([INF, 1e12 + 3e6])
        found = np.exp(intervals.nodes(family, eta, low, high).log_mass)
        assert found == pytest.approx([1, law.cdf(1e12 + 3e6) - 0.5], abs=1e-6)
        return
    found = intervals.nodes(family, eta, low, high)
    x = np.arange(3000)
    inside = (x >= low[:, None]) & (x <= high[:, None])
    p = np.where(inside, law.pmf(x), 0.0)
    with np.errstate(divide="ignore"):
        assert found.log_mass == pytest.approx(np.log(p.sum(axis=1)), rel=1e-10, abs=1e-13)
    [some] = np.where(p.sum(axis=1) > 0)
    assert np.sum(found.weight * found.x, axis=1)[some] == pytest.approx((p @ x)[some] / p.sum(axis=1)[some], rel=1e-10)


# ---- rows in a window ----------------------------------------------------------------------------------------------


def test_a_normal_window_is_the_maximum_of_the_likelihood_of_truncnorm():
    rng = np.random.default_rng(0)
    x = rng.normal(1, 2, 1500)
    x = 1e3 + x[(x > 0) & (x < 4)]
    model = fitted(Truncated(f.Gaussian(), low=1e3, high=1e3 + 4), x[:, None])

    def minus(p):
        scale = np.exp(p[1])
        return stats.truncnorm.nnlf((-p[0] / scale, (4 - p[0]) / scale, p[0], scale), x - 1e3)

    best = optimize.minimize(minus, [1.5, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11})
    assert model.parameters_["means"][0, 0] - 1e3 == pytest.approx(best.x[0], abs=1e-5)
    assert model.parameters_["covariances"].ravel() == pytest.approx([np.exp(2 * best.x[1])], rel=1e-5)
    assert model.score(x[:, None]) * len(x) == pytest.approx(-best.fun, abs=1e-7)
    assert model.n_iter_ <= 3  # each M-step ends at its maximum


@pytest.mark.parametrize("how", [{}, {"temperature": 0.0}, {"init": "kmeans"}, {"init": "random"}], ids=str)
def test_counts_without_zeros(how):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.poisson(1.5, 400), rng.poisson(9, 300)]).astype(float)
    X, times = np.unique(x[x > 0], return_counts=True)
    model = ef.ExponentialFamilyMixture(
        Truncated(f.Poisson(), low=1), 2, tol=1e-11, max_iter=1000, random_state=0, **how
    ).fit(X[:, None], sample_weight=times.astype(float))
    assert np.diff(model.lower_bounds_).min(initial=0) >= -1e-12
    r = model.mixture_.responsibilities(X[:, None], how.get("temperature", 1.0)) * times[:, None]
    rates = model.parameters_["rates"][:, 0]
    means = X @ r / r.sum(axis=0)  # at the maximum E[x | x > 0] of each component is that of its rows
    assert rates / -np.expm1(-rates) == pytest.approx(means, rel=1e-4)
    weights, laws = model.weights_, [stats.poisson(rate) for rate in rates]
    textbook = np.log(sum(w * law.pmf(X) / law.sf(0) for w, law in zip(weights, laws, strict=True)))
    if how.get("temperature") != 0.0:
        assert model.score_samples(X[:, None]) == pytest.approx(textbook, rel=1e-12)


@pytest.mark.parametrize(
    ("family", "rows"),
    [
        (f.Gaussian(), stats.norm(3, 2)),
        (f.Gamma(), stats.gamma(3)),
        (f.Exponential(), stats.expon(0, 2)),
        (f.Poisson(), stats.poisson(4)),
    ],
)
def test_a_window_around_everything_is_the_family_itself(family, rows):
    X = np.asarray(rows.rvs((150, 1), random_state=0), float)
    for window in ({}, {"low": -1e6 if family.supports(np.array([[-1.0]]))[0] else 0.0, "high": 1e6}):
        one, other = fitted(Truncated(family, **window), X, 2, max_iter=20, tol=0), fitted(
            family, X, 2, max_iter=20, tol=0
        )  # fmt: skip
        assert one.lower_bounds_ == pytest.approx(other.lower_bounds_, abs=1e-9)


def test_a_window_without_a_maximum_ends_where_the_bound_no_longer_rises():
    X = np.linspace(0, 1, 101)[:, None] ** 0.7  # more rows at the upper end: no normal law has a finite maximum
    model = ef.ExponentialFamilyMixture(Truncated(f.Exponential(), low=0, high=1), 1, tol=0, max_iter=3).fit(X)
    assert np.diff(model.lower_bounds_).min(initial=0) >= -1e-12
    assert model.parameters_["rates"][0, 0] < 0.1  # three steps on the way to 0
    assert np.isnan(Truncated(f.Exponential(), low=0, high=1).to_natural(np.array([[0.6]]))).all()


def test_what_a_window_says():
    family = Truncated(f.Gaussian(), low=0, high=4)
    eta = family.from_parameters(means=[[1.0], [-20.0]], covariances=[[[4.0]], [[1.0]]])
    assert family.to_natural(family.to_expectation(eta)) == pytest.approx(eta, rel=1e-6)
    law = stats.truncnorm(-0.5, 1.5, 1, 2)
    assert family.entropy(eta)[0] == pytest.approx(law.entropy(), rel=1e-10)
    assert family.mean(eta)[0, 0] == pytest.approx(law.mean(), rel=1e-10)
    assert family.fisher_information(eta)[0, 0, 0] == pytest.approx(law.var(), rel=1e-5)
    for k, its in enumerate([law, stats.truncnorm(20, 24, -20, 1)]):
        drawn = family.sample(eta[k], 2000, np.random.default_rng(0))
        assert drawn.min() >= 0
        assert drawn.max() <= 4
        assert stats.kstest(drawn[:, 0], its.cdf).pvalue > 1e-3
    assert repr(family) == "Truncated(Gaussian('full'), low=0, high=4)"


# ---- rows known up to an interval ----------------------------------------------------------------------------------


def waiting_times(n=250, seed=0):
    rng = np.random.default_rng(seed)
    times, ends = 4 * rng.weibull(1.5, n), rng.uniform(1, 6, n)
    return np.minimum(times, ends), times < ends


@pytest.mark.parametrize("acceleration", [None, "auto"])
def test_right_censored_waiting_times_of_free_shape(acceleration):
    y, seen = waiting_times()
    X = Censored.rows(y, np.where(seen, y, INF))
    model = fitted(Censored(f.FreeWeibull()), X, acceleration=acceleration)

    def minus(p):
        k, scale = np.exp(p)
        u = k * np.log(y / scale)
        return -np.mean(seen * (np.log(k) - np.log(y) + u) - np.exp(u))

    best = optimize.minimize(minus, [0.0, 1.0], tol=1e-10)
    shape, scale = (model.parameters_[name][0, 0] for name in ("shapes", "scales"))
    assert [shape, scale] == pytest.approx(np.exp(best.x), rel=1e-4)
    assert model.score(X) == pytest.approx(-best.fun, abs=1e-9)
    assert np.diff(model.lower_bounds_).min() >= -1e-12


CENSORED = [
    (f.Gaussian(), lambda p: stats.norm(p[0], np.exp(p[1])), [2.0, 0.5]),
    (f.LogNormal(), lambda p: stats.lognorm(np.exp(p[1]), scale=np.exp(p[0])), [0.5, -0.5]),
    (f.Exponential(), lambda p: stats.expon(scale=np.exp(p[0])), [1.0]),
    (f.Weibull(1.5), lambda p: stats.weibull_min(1.5, scale=np.exp(p[0])), [1.0]),
    (f.Gamma(), lambda p: stats.gamma(np.exp(p[0]), scale=np.exp(p[1])), [0.5, 0.0]),
    (f.StudentT(5.0), lambda p: stats.t(5, p[0], np.exp(p[1])), [2.0, 0.5]),
    (f.FreeWeibull(), lambda p: stats.weibull_min(np.exp(p[0]), scale=np.exp(p[1])), [0.5, 1.0]),
]


@pytest.mark.parametrize(("family", "law", "start"), CENSORED, ids=lambda it: type(it).__name__)
def test_intervals_of_all_kinds_are_fitted_to_the_maximum_of_their_likelihood(family, law, start):
    rng = np.random.default_rng(1)
    x = rng.gamma(3, 1, 60)
    low, high = x.copy(), x.copy()
    low[::3], high[::3] = np.floor(x[::3]), np.floor(x[::3]) + 1
    high[::5], low[1::5] = INF, 0.0  # right- and left-censored
    X = Censored.rows(low, high)
    exact = low == high

    def minus(p):
        its = law(p)
        with np.errstate(divide="ignore"):
            upper = its.cdf(low) > 0.5
            mass = np.where(upper, its.sf(low) - its.sf(high), its.cdf(high) - its.cdf(low))
            return -np.mean(np.where(exact, its.logpdf(x), np.log(mass)))

    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
    best = optimize.minimize(minus, start, method="Nelder-Mead", options=options)
    model = fitted(Censored(family), X, max_iter=300)
    assert model.score(X) == pytest.approx(-best.fun, abs=1e-8)
    assert np.diff(model.lower_bounds_).min(initial=0) >= -1e-10


def test_rows_that_are_all_observed_are_the_family_itself():
    x = np.random.default_rng(0).gamma(3, 2, (120, 1))
    for family in (f.Gaussian(), f.Gamma(), f.FreeWeibull()):
        how = {"init": (x[:, 0] > 6).astype(int), "tol": 1e-10}
        one, other = fitted(Censored(family), np.repeat(x, 2, axis=1), 2, **how), fitted(family, x, 2, **how)
        assert one.lower_bound_ == pytest.approx(other.lower_bound_, abs=1e-7)


@pytest.mark.parametrize("how", [{"temperature": 0.0}, {"temperature": 0.5}, {"init": "kmeans"}, {"init": "random"}])
def test_intervals_in_mixtures(how):
    x = np.concatenate([np.random.default_rng(0).normal(mean, 1.5, 80) for mean in (4, 24)])
    X = np.column_stack([np.floor(x), np.where(x < 24, np.floor(x) + 1, 40)])
    model = ef.ExponentialFamilyMixture(Censored(f.Gaussian()), 2, tol=1e-7, max_iter=100, random_state=0, **how)
    model.fit(X)
    assert np.diff(model.lower_bounds_).min(initial=0) >= -1e-10
    assert sorted(model.parameters_["means"].ravel()) == pytest.approx([4, 24], abs=1.5)


def test_weights_float32_many_and_products_of_intervals():
    y, seen = waiting_times(60)
    X = Censored.rows(y, np.where(seen, y, INF))
    weights = np.arange(60) % 3.0
    family = Censored(f.FreeWeibull())
    one = fitted(family, X, tol=0, max_iter=5).mixture_
    weighted = ef.fit(one, X, weights, max_iter=3, tol=0)
    repeated = ef.fit(one, np.repeat(X, weights.astype(int), axis=0), max_iter=3, tol=0)
    assert weighted.mixture.natural == pytest.approx(repeated.mixture.natural, rel=1e-10)
    single = fitted(family, X.astype(np.float32), tol=0, max_iter=5).mixture_
    assert single.natural == pytest.approx(one.natural, rel=1e-5)
    [many] = ef.fit_many(ef.ExponentialFamilyMixture(family, 1, random_state=0, tol=0, max_iter=5), [X])
    assert many.mixture_.natural == pytest.approx(one.natural, rel=1e-12)
    rng = np.random.default_rng(0)
    both = np.column_stack([X, rng.normal(size=60), 1.0 + rng.poisson(2, 60)])
    product = f.Product([(family, [0, 1]), (f.Gaussian(), [2]), (Truncated(f.Poisson(), low=1), [3])])
    model = fitted(product, both, 2, max_iter=15, tol=0)
    assert np.diff(model.lower_bounds_).min() >= -1e-10
    assert model.mixture_.n_parameters == 1 + 2 * (2 + 2 + 1)


def test_counts_up_to_intervals():
    rng = np.random.default_rng(0)
    x = rng.negative_binomial(3, 0.3, 150).astype(float)
    low, high = np.where(x > 8, 9, x), np.where(x > 8, INF, x)
    for family, law in ((f.Poisson(), None), (f.GammaPoisson(), stats.nbinom)):
        model = fitted(Censored(family), Censored.rows(low, high), max_iter=400)
        assert np.diff(model.lower_bounds_).min() >= -1e-10
        if law is not None:

            def minus(p):
                its = stats.nbinom(*p)
                return -np.sum(np.where(low == high, its.logpmf(x), its.logsf(8)))

            best = optimize.minimize(minus, [2, 0.4], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-10})
            assert model.score(Censored.rows(low, high)) * 150 == pytest.approx(-best.fun, abs=1e-5)


# ---- counts over different times -----------------------------------------------------------------------------------


def test_faults_in_fabric():
    X = fabric_faults()
    faults, lengths = X.T
    one = fitted(Exposed(f.Poisson()), X)
    assert one.parameters_["rates"][0, 0] == pytest.approx(faults.sum() / lengths.sum(), rel=1e-14)
    assert one.score(X) * 32 == pytest.approx(stats.poisson.logpmf(faults, one.parameters_["rates"] * lengths).sum())
    two = fitted(Exposed(f.Poisson()), X, 2, n_init=5)

    def minus(p):
        w, laws = 1 / (1 + np.exp(-p[0])), [stats.poisson(np.exp(p[k]) * lengths) for k in (1, 2)]
        return -np.sum(np.log(w * laws[0].pmf(faults) + (1 - w) * laws[1].pmf(faults)))

    best = optimize.minimize(minus, [1, -4.5, -3.7], tol=1e-9)
    assert two.score(X) * 32 == pytest.approx(-best.fun, abs=1e-7)

    def minus_negative_binomial(p):
        shape, mean = np.exp(p[0]), np.exp(p[1]) * lengths
        return -stats.nbinom.logpmf(faults, shape, shape / (shape + mean)).sum()

    best = optimize.minimize(minus_negative_binomial, [1, -4], tol=1e-9)
    model = fitted(Exposed(f.GammaPoisson()), X)
    assert model.score(X) * 32 == pytest.approx(-best.fun, abs=1e-7)
    assert [model.parameters_[name][0, 0] for name in ("shapes", "means")] == pytest.approx(np.exp(best.x), rel=1e-3)
    assert np.diff(model.lower_bounds_).min() >= -1e-12


@pytest.mark.parametrize("family", [f.Poisson(), f.GammaPoisson()], ids=repr)
def test_an_exposure_of_1_is_the_family_itself(family):
    x = np.random.default_rng(0).negative_binomial(2, 0.3, (100, 2)).astype(float)
    mixture = fitted(family, x, 2, max_iter=3, tol=0).mixture_
    X = np.column_stack([x, np.ones(100)])
    exposed = ef.Mixture(Exposed(mixture.family), mixture.weights, mixture.natural)
    assert exposed.log_density(X) == pytest.approx(mixture.log_density(x), rel=1e-12)
    assert ef.accumulate(exposed, X).sums == pytest.approx(ef.accumulate(mixture, x).sums, rel=1e-12)
    if not exposed.family.incomplete:
        ef.check_family(Exposed(family), np.column_stack([x, np.resize([0.5, 1.0, 2.0], 100)]))


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Truncated(f.FreeWeibull(), low=1), "unobserved parts"),
        (lambda: Truncated(f.Gaussian("tied"), low=1), "shares parameters among components"),
        (lambda: Truncated(f.Exponential(), high=-1), "no number that Exponential"),
        (lambda: Truncated(f.Poisson(), low=1.2, high=1.8), "no number that Poisson"),
        (lambda: Censored(f.Dirichlet()), "needs at least|not a family of one column|accepts none"),
        (lambda: Censored(f.ZeroInflated(f.Poisson())), "made of others"),
        (lambda: Censored(f.VonMises()), "angles"),
        (lambda: Censored(f.Uniform(0, 1)), "nothing is estimated"),
        (lambda: Exposed(f.Geometric()), "take Poisson"),
    ],
)
def test_families_that_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("family", "row", "message"),
    [
        (Truncated(f.Gaussian(), low=0), [-1.0], r"numbers from low = 0\.0 to high = None; column 0 holds -1\.0"),
        (Censored(f.Gaussian()), [2.0, 1.0], r"low ≤ high; low is 2\.0 \(row 2\)"),
        (Censored(f.Exponential()), [-2.0, -1.0], r"lies in the interval from -2\.0 \(row 2\)"),
        (Censored(f.Exponential()), [-2.0, -2.0], r"Exponential needs numbers from 0; column 0 holds -2\.0 \(row 2\)"),
        (Censored(f.Poisson()), [1.2, 1.8], r"lies in the interval from 1\.2 \(row 2\)"),
        (Exposed(f.Poisson()), [3.0, 0.0], r"positive exposures in the last column; column 1 holds 0\.0 \(row 2\)"),
    ],
)
def test_rows_that_are_refused(family, row, message):
    X = np.array([[1.0] * len(row), [2.0] * len(row), row])
    with pytest.raises(ValueError, match=message):
        ef.ExponentialFamilyMixture(family, 1).fit(X)


def test_saved_and_loaded(tmp_path):
    y, seen = waiting_times(40)
    for family, X in (
        (Censored(f.FreeWeibull()), Censored.rows(y, np.where(seen, y, INF))),
        (Truncated(f.Gaussian(), low=0), y[:, None]),
        (Exposed(f.GammaPoisson()), fabric_faults()),
    ):
        model = fitted(family, X, max_iter=3, tol=0)
        model.save(tmp_path / "model.npz")
        again = ef.load(tmp_path / "model.npz")
        assert np.array_equal(again.score_samples(X), model.score_samples(X))
