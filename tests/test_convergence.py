"""What ends a fit: little left to gain, a small gain, or parameters that stay."""

import numpy as np
import pytest
from sklearn import datasets

import expfam_em as ef
from expfam_em import families
from expfam_em.em.state import left_to_gain

NEAR = 0.01
"""Log-likelihood, of all rows, that the defaults may leave below a maximum."""

IRIS = datasets.load_iris().data
RNG = np.random.default_rng(0)
ANGLES = np.concatenate([RNG.vonmises(0, 3, (150, 1)), RNG.vonmises(2, 1, (150, 1))])
COUNTS = RNG.negative_binomial(1, np.where(np.arange(300) % 3, 0.2, 0.5)[:, None])
MIXED = np.column_stack([IRIS[:, 0], RNG.poisson(IRIS[:, 2])])
MODELS = {
    "VVV": (families.Gaussian("VVV"), IRIS, 3),
    "EEE": (families.Gaussian("EEE"), IRIS, 3),
    "t": (families.StudentT(), IRIS, 2),
    "von Mises": (families.VonMises(), ANGLES, 2),
    "negative binomial": (families.GammaPoisson(), COUNTS, 2),
    "gamma": (families.Gamma(), IRIS, 2),
    "mixed": (families.Product([(families.Gaussian(), [0]), (families.Poisson(), [1])]), MIXED, 2),
}


@pytest.mark.parametrize("acceleration", ["auto", None])
@pytest.mark.parametrize("name", MODELS)
def test_a_fit_ends_at_its_maximum(name, acceleration):
    family, X, K = MODELS[name]
    how = {"random_state": 0, "acceleration": acceleration, "max_iter": 20_000}
    model = ef.ExponentialFamilyMixture(family, K, **how).fit(X)
    end = ef.fit(model.mixture_, X, tol=1e-13, max_iter=2000, acceleration="auto")
    assert model.converged_
    assert end.bound - model.lower_bound_ * len(X) < NEAR


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.99])
def test_what_is_left_of_a_geometric_series(rate):
    gains = 3.0 * rate ** np.arange(2, -1, -1)
    rest = 3.0 * np.sum(rate ** np.arange(3, 5000))
    assert left_to_gain(gains[None]) == pytest.approx([rest], rel=1e-12)
    assert left_to_gain(gains[None, ::-1]) == [np.inf]  # gains that grow promise anything
    assert left_to_gain(np.array([[1.0, np.inf, np.inf]])) == [np.inf]  # one gain says nothing
    assert left_to_gain(np.zeros((1, 3))) == [0.0]


def test_gains_of_one_step_end_a_fit_no_later():
    for family, X, K in MODELS.values():
        start = ef.ExponentialFamilyMixture(family, K, random_state=0, max_iter=0).fit(X).mixture_
        steps = [ef.fit(start, X, tol=1e-5, max_iter=500, stop=stop).n_iter for stop in ("bound", "maximum")]
        assert steps[0] <= steps[1]


def test_who_is_accelerated_and_stops_where():
    for model in (ef.ExponentialFamilyMixture(families.Poisson()), ef.BernoulliMixture()):
        assert (model.acceleration, model.stop, model.tol) == ("auto", "maximum", 1e-8)
    assert (ef.GaussianMixture().acceleration, ef.GaussianMixture().stop) == (None, "bound")


def test_a_component_in_its_limit_does_not_make_the_bound_fall():
    """M-steps in the limit of a shape do not raise Q, so that it says nothing of what EM is certain to gain."""
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.negative_binomial(1.4, [0.35, 0.6], (150, 2)), rng.binomial(6, [0.5, 0.8], (250, 2))])
    model = ef.ExponentialFamilyMixture(families.GammaPoisson(), 2, random_state=0).fit(X)
    assert model.mixture_.edges
    assert np.diff(model.lower_bounds_).min() >= -1e-12


def test_gains_of_rounding_promise_nothing():
    """Such gains go up and down for ever: read as a series that grows, they would keep a fit from its end."""
    up, down = np.array([[1e-12, -1e-12, 0.0]]), np.array([[-1e-12, 0.0, 1e-12]])
    assert left_to_gain(up) == [np.inf]
    assert left_to_gain(np.concatenate([up, down]), np.array([2e-12, 2e-12])).tolist() == [0.0, 0.0]
    assert left_to_gain(np.array([[1e-3, 2e-3, 4e-3]]), 2e-12) == pytest.approx([1e-3])
    assert left_to_gain(np.array([[4e-13, 2e-13, 1e-13]]), 2e-12) == [np.inf]  # a saddle is left
