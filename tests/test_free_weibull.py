"""Weibull columns of free shape, against SciPy and the likelihood itself."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats

import expfam_em as ef
from expfam_em.families import FreeWeibull, Weibull

RIVERS = [
    735, 320, 325, 392, 524, 450, 1459, 135, 465, 600, 330, 336, 280, 315, 870, 906, 202, 329, 290, 1000, 600, 505,
    1450, 840, 1243, 890, 350, 407, 286, 280, 525, 720, 390, 250, 327, 230, 265, 850, 210, 630, 260, 230, 360, 730,
    600, 306, 390, 420, 291, 710, 340, 217, 281, 352, 259, 250, 470, 680, 570, 350, 300, 560, 900, 625, 332, 2348,
    1171, 3710, 2315, 2533, 780, 280, 410, 460, 260, 255, 431, 350, 760, 618, 338, 981, 1306, 500, 696, 605, 250,
    411, 1054, 735, 233, 435, 490, 310, 460, 383, 375, 1270, 545, 445, 1885, 380, 300, 380, 377, 425, 276, 210, 800,
    420, 350, 360, 538, 1100, 1205, 314, 237, 610, 360, 540, 1038, 424, 310, 300, 444, 301, 268, 620, 215, 652, 900,
    525, 246, 360, 529, 500, 720, 270, 430, 671, 1770,
]  # fmt: skip
"""Lengths of 141 rivers in miles: R's ``rivers`` (McNeil 1977)."""


def rows(n=300, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([2 * rng.weibull(1.5, (n, 2)), 9 * rng.weibull(6, (n // 2, 2))])


def fitted(X, K=1, **how):
    return ef.ExponentialFamilyMixture(
        FreeWeibull(), K, **{"tol": 1e-12, "max_iter": 3000, "random_state": 0, **how}
    ).fit(X)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("shape", [0.2, 1.0, 3.0, 500.0])
def test_one_component_is_the_maximum_of_the_likelihood(scale, shape):
    x = stats.weibull_min(shape).rvs(400, random_state=1)

    def minus_slope(k):  # of the profile of the likelihood, which is concave in k
        power = np.exp(k * np.log(x / x.max()))
        return power @ np.log(x) / power.sum() - 1 / k - np.log(x).mean()

    k = optimize.brentq(minus_slope, shape / 4, shape * 4, xtol=1e-13 * shape, rtol=1e-14)
    model = fitted(scale * x[:, None])
    assert model.parameters_["shapes"] == pytest.approx(np.array([[k]]), rel=1e-6)
    law = stats.weibull_min(k, scale=x.max() * np.mean((x / x.max()) ** k) ** (1 / k))
    expected = law.logpdf(x).sum() - len(x) * np.log(scale)
    assert model.score(scale * x[:, None]) * len(x) == pytest.approx(expected, abs=1e-8 * (1 + abs(expected)))
    assert model.n_iter_ <= 10  # close to the maximum its steps are Newton's


@pytest.mark.parametrize("acceleration", [None, "auto"])
def test_lengths_of_rivers(acceleration):
    # flexmix 2.3-18 with a driver for Weibull densities, R 4.2.2: logLik -997.8512
    X = np.array(RIVERS, float)[:, None]
    model = fitted(X, 2, n_init=3, acceleration=acceleration)
    assert model.score(X) * len(X) == pytest.approx(-997.8512, abs=1e-4)
    assert np.diff(model.lower_bounds_).min() >= -1e-12


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
def test_steps_end_where_the_weighted_likelihood_of_each_component_does(temperature):
    X = rows()[:, :1]
    model = fitted(X, 2, temperature=temperature)
    assert np.diff(model.lower_bounds_).min() >= -1e-12
    r = model.mixture_.responsibilities(X, temperature)
    for k in range(2):
        u = model.parameters_["shapes"][k, 0] * np.log(X[:, 0] / model.parameters_["scales"][k, 0])
        slopes = r[:, k] @ (np.exp(u) - 1), r[:, k] @ (1 + u - u * np.exp(u))
        assert np.abs(slopes) / r[:, k].sum() == pytest.approx([0, 0], abs=1e-5)


def test_of_known_shape_it_is_the_weibull_family():
    shapes, scales = np.array([[2.0, 2.0], [2.0, 2.0]]), np.array([[1.0, 3.0], [4.0, 0.5]])
    free = ef.Mixture.of(FreeWeibull(), [0.4, 0.6], shapes=shapes, scales=scales)
    known = ef.Mixture.of(Weibull(2.0), [0.4, 0.6], scales=scales)
    X = rows()
    assert free.log_density(X) == pytest.approx(known.log_density(X), rel=1e-12)
    assert free.family.mean(free.natural) == pytest.approx(known.family.mean(known.natural), rel=1e-14)
    drawn = free.sample(20_000, np.random.default_rng(0))[0]
    assert drawn.mean(axis=0) == pytest.approx(free.weights @ free.family.mean(free.natural), rel=0.03)


def test_what_the_family_says():
    family = FreeWeibull()
    eta = family.from_parameters(shapes=[[1.0, 2.0], [0.5, 3.0]], scales=[[2.0, 0.5], [1.0, 4.0]])
    assert family.to_natural(family.to_expectation(eta)) == pytest.approx(eta)
    assert family.parameters(eta)["shapes"].tolist() == [[1.0, 2.0], [0.5, 3.0]]
    assert family.bind([(rows(), None)]).n_parameters(3) == 12
    p, q = stats.weibull_min(1.5, scale=2), stats.weibull_min(2.5, scale=1.5)
    x = np.linspace(1e-6, 40, 400_001)
    one, other = (family.from_parameters(shapes=[[law.args[0]]], scales=[[law.kwds["scale"]]]) for law in (p, q))
    exact = integrate.trapezoid(p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), x)
    assert family.divergence(one, other)[0] == pytest.approx(exact, rel=1e-6)
    with pytest.raises(NotImplementedError, match="no Fisher information"):
        family.fisher_information(eta)
    with pytest.raises(ValueError, match="counts its parameters once"):
        family.n_parameters(1)
    with pytest.raises(ValueError, match=r"FreeWeibull needs positive numbers; column 0 holds 0\.0"):
        fitted(np.array([[0.0], [1.0]]))


def test_statistics_of_other_parameters_are_refused():
    X = rows()
    one = ef.ExponentialFamilyMixture(FreeWeibull(), 2, random_state=0, max_iter=0).fit(X).mixture_
    other = ef.fit(one, X, max_iter=2, tol=0).mixture
    with pytest.raises(ValueError, match="there is no prior for it"):
        ef.maximize(ef.accumulate(one, X) + ef.accumulate(other, X), other)
    with pytest.raises(ValueError, match="there is no prior for it"):
        ef.ExponentialFamilyMixture(FreeWeibull(), 2, prior=ef.accumulate(one, X[:5])).fit(X)


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
def test_equal_rows_and_rows_that_span_all_of_float64():
    with pytest.raises(ValueError, match="are all of them equal"):
        fitted(np.full((20, 1), 3.0))
    X = np.exp(np.random.default_rng(0).uniform(-700, 700, (200, 1)))
    model = fitted(X, 2)
    assert np.isfinite(model.score(X))
    assert np.diff(model.lower_bounds_).min() >= -1e-12
