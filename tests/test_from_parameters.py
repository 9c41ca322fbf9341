"""Named parameters lead back to the natural ones, and what cannot be meant is refused with the reason."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import expfam_em as ef
from expfam_em import families
from tests import own_families as own
from tests.case import EPS, frozen
from tests.cases import CASES
from tests.covariance_models import MODELS
from tests.test_contract import EXTREME, drawn

NAMED = [case for case in CASES if case.named is not None]
BARE = [case for case in CASES if case.named is None]
NAMED_EXTREME = [param for param in EXTREME if param.values[0].named is not None]


# ---- the law -------------------------------------------------------------------------------------------------------


def covariance_condition(case, eta):
    """The condition of the covariance, or scale matrix, of natural parameters."""
    named = case.family.parameters(eta[None])
    matrix = named["covariances" if "covariances" in named else "scales"]
    matrix = matrix if matrix.ndim == 2 and case.name.startswith("Gaussian-tied") else matrix[0]
    return np.linalg.cond(matrix) if np.ndim(matrix) == 2 else 1.0


def allowed(case, eta):
    """By how much η may change on the way to the names and back, in units of EPS: (p,).

    Every name is rounded relatively, and so is every step between: what is left is how η answers to that.
    """
    name = case.name
    with np.errstate(over="ignore"):
        if name in ("Bernoulli", "Binomial"):  # dη/dp = 1/(p (1 − p)), p known to EPS p, and e^η to EPS |η|
            return 2 + np.exp(eta) + np.abs(eta)
        if name == "Geometric":  # dη/dp = −1/(1 − p), and 1 − p = e^η
            return np.exp(-eta) + np.abs(eta)
        if name == "NegativeBinomial":  # dη/d log m = 1 − e^η for the mean m; e^η is known to EPS |η|
            return (2 + np.abs(eta)) * -np.expm1(eta)
    if name == "Poisson":  # exp magnifies by |η|, which log takes back
        return 2 + np.abs(eta)
    if name in ("Categorical", "OneHot", "Multinomial"):  # the same, once the largest η has been subtracted
        return np.full(len(eta), 2 + np.abs(eta).max())
    if name == "Weibull":  # the exponents −1/k and −k are rounded: powers change by EPS |log|
        return np.abs(eta) * (1 + np.abs(np.log(-eta)))
    if name.startswith("VonMises"):  # an angle, or a unit vector, is rounded by EPS: η moves across itself
        return np.full(len(eta), 2 * np.linalg.norm(eta))
    if name.startswith("Gaussian") or name == "Wishart":  # two inverses, and means in the frame before Λμ
        size = np.abs(eta).max()
        if name.startswith("Gaussian"):
            mean = case.family.parameters(eta[None])["means"]
            shift, scale = case.family._frame(mean.shape[1])
            if name.startswith("Gaussian-known"):  # the precision is no part of η
                size = max(size, np.max(scale**2) / case.family.variance)
            size = size * (1 + np.max((np.abs(mean) + np.abs(shift)) / scale))
        return np.full(len(eta), size * covariance_condition(case, eta))
    return np.abs(eta)  # products and quotients of the names


def as_told_apart(case, eta):
    """η as far as it says something: up to a number for each variable, and no lower than −700."""
    if case.name in ("Categorical", "OneHot", "Multinomial"):
        parts = [eta] if case.name == "Multinomial" else np.split(eta, [3, 5])
        return np.concatenate([np.maximum(part - np.logaddexp.reduce(part), -700) for part in parts])
    return eta


def assert_leads_back(case, eta):
    named = case.family.parameters(frozen(eta[None]))
    given_names = {name: frozen(value) for name, value in named.items()}
    back = case.family.from_parameters(**given_names)
    assert back.shape == (1, len(eta))
    assert back.dtype == np.float64
    assert not any(np.shares_memory(back, value) for value in given_names.values())
    expected = as_told_apart(case, eta)
    with np.errstate(invalid="ignore"):
        assert np.all(np.abs(back[0] - expected) <= 32 * EPS * allowed(case, eta))
    return named, back


@pytest.mark.parametrize("case", NAMED, ids=str)
@drawn
@given(data=st.data())
def test_names_lead_back_to_natural_parameters(case, data):
    assert_leads_back(case, case.natural(data.draw(case.thetas)))


@pytest.mark.parametrize(("case", "eta"), NAMED_EXTREME)
def test_names_lead_back_at_the_extremes(case, eta):
    named, back = assert_leads_back(case, eta)
    # where η answers too strongly to a name, such as a probability close to 1, the names still come back: exp
    # magnifies the rounding of η by |η| ≤ 700, an inverse by its condition
    matrices = case.name.startswith("Gaussian") or case.name == "Wishart"
    relative = 64 * EPS * (covariance_condition(case, eta) if matrices else 1 + min(np.abs(eta).max(), 700))
    for name, value in case.family.parameters(back).items():
        assert value == pytest.approx(named[name], rel=relative, abs=relative * np.abs(named[name]).max())


@pytest.mark.parametrize("case", NAMED, ids=str)
def test_all_components_at_once_are_as_each_alone(case):
    family = case.family
    natural = case.naturals(case.components)
    named = family.parameters(natural)
    tied = getattr(family, "covariance_type", None) == "tied"
    together = family.from_parameters(**named)
    for k in range(3):
        alone = {
            name: value if tied and name == "covariances" else value[k : k + 1] for name, value in named.items()
        }  # fmt: skip
        # inverses of a stack may round otherwise than one alone
        assert together[k] == pytest.approx(family.from_parameters(**alone)[0], rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("case", BARE, ids=str)
def test_without_names_the_expectation_leads_back(case):
    natural = case.naturals(case.components)
    named = case.family.parameters(natural)
    back = case.family.from_parameters(**named)
    # what the numeric mappings promise, 1e-10 of the size of E[T] and of its spread
    assert case.family.to_expectation(back) == pytest.approx(named["expectation"], rel=1e-9)
    one = case.family.from_parameters(expectation=named["expectation"][0])
    assert one.shape == (1, natural.shape[1])
    with pytest.raises(TypeError, match=r"has no parameter 'expectations' \(did you mean 'expectation'"):
        case.family.from_parameters(expectations=[1.0])
    with pytest.raises(ValueError, match="expectation is nan for component 0, statistic 0; it must be finite"):
        case.family.from_parameters(expectation=np.full(natural.shape[1], np.nan))


# ---- families that the table has not -------------------------------------------------------------------------------

RNG = np.random.default_rng(5)
REAL = RNG.normal([0.0, 5.0], [1.0, 3.0], (60, 2)) + 4 * RNG.integers(0, 2, (60, 1))
COUNTS = RNG.poisson([2.0, 9.0], (60, 2)).astype(float)
MIXED = np.column_stack([REAL, COUNTS[:, :1], RNG.integers(0, 3, 60)])

OTHERS = [
    *((families.Gaussian(name), REAL) for name in MODELS),
    *((families.StudentT(degrees, kind), REAL) for degrees in (None, 5.0) for kind in ("full", "diag", "spherical")),
    *((families.LogNormal(kind), np.exp(REAL / 4)) for kind in ("full", "tied", "diag")),
    (families.GammaPoisson(), COUNTS),
    (families.FreeLaplace(), REAL),
    (families.FreeWeibull(), np.exp(REAL / 4)),
    (families.Truncated(families.Gaussian(), low=-1.0), REAL[REAL[:, :1].ravel() > -1, :1]),
    (families.Censored(families.FreeWeibull()), np.exp(np.repeat(REAL[:, :1], 2, axis=1) / 4)),
    (families.Exposed(families.GammaPoisson()), np.column_stack([COUNTS, np.ones(60)])),
    (families.ZeroInflated(families.Poisson()), COUNTS * RNG.integers(0, 2, (60, 1))),
    (families.ZeroInflated(families.Gamma()), (COUNTS + 1) * RNG.integers(0, 2, (60, 1))),
    (
        families.Product(
            [(families.Gaussian("full"), [1, 0]), (families.Poisson(), [2]), (families.Categorical(), [3])]
        ),
        MIXED,
    ),
    (
        families.Product(
            [
                (families.StudentT(), [0]),
                (families.Gaussian("tied"), [1]),
                (families.ZeroInflated(families.Poisson()), [2]),
            ]
        ),
        MIXED,
    ),
    (families.Product([(own.Normal(), [0]), (own.Normal(), [1])]), MIXED),
    (families.Product([(families.Product([(families.Gaussian(), [0, 1])]), [0, 1]), (families.Poisson(), [2])]), MIXED),
    (families.Componentwise([(families.Gaussian(), 2), (families.Uniform(), 1)]), REAL),
    (families.Componentwise([(families.Gaussian("tied"), 1), (families.Gaussian("diag"), 2)]), REAL),
    (families.Uniform(), REAL),
]  # fmt: skip


@pytest.mark.parametrize(("family", "X"), OTHERS, ids=lambda value: repr(value)[:40])
def test_names_of_fitted_mixtures_lead_back(family, X):
    # one step of each, from responsibilities: components satisfy what they have in common
    model = ef.ExponentialFamilyMixture(family, 3, random_state=0, max_iter=3, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three steps do not converge
        mixture = model.fit(X).mixture_
    back = ef.Mixture.of(family.bind([(X, None)]), mixture.weights, **model.parameters_)
    expected = mixture.family.log_density(X, mixture.natural)
    # terms of a score are up to (distance/deviation)² times larger than it in the shared frame, some hundreds here
    assert back.family.log_density(X, back.natural) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    again = back.parameters
    assert again.keys() == model.parameters_.keys()
    for name, value in model.parameters_.items():
        assert again[name] == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_natural_parameters_are_in_the_frames_of_the_family():
    X = np.concatenate([RNG.normal(0, 1, (50, 2)), RNG.normal(1e6, 1, (50, 2))])
    model = ef.GaussianMixture(2, random_state=0).fit(X)
    family = model.mixture_.family
    assert family.frames is not None
    found = family.parameters(family.from_parameters(**model.parameters_))
    # on the way means are rounded in the shared frame, whose scale is about 1e6; covariances lose nothing
    assert found["means"] == pytest.approx(model.means_, abs=16 * EPS * 1e6)
    assert found["covariances"] == pytest.approx(model.covariances_, rel=64 * EPS, abs=64 * EPS)
    plain = families.Gaussian().bind([(X, None)]).replace(shift=family.shift, scale=family.scale)
    found = plain.parameters(plain.from_parameters(**model.parameters_))
    assert found["means"] == pytest.approx(model.means_, abs=16 * EPS * 1e6)


# ---- boundaries ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "named", "natural"),
    [
        (families.Bernoulli(), {"probabilities": [[0.0, 1.0, 0.5, 1 + 2 * EPS]]}, [[-700.0, 700, 0, 700]]),
        (families.Binomial(3), {"probabilities": [[0.0, 1.0]]}, [[-700.0, 700]]),
        (families.Geometric(), {"probabilities": [[1.0]]}, [[-700.0]]),
        (families.NegativeBinomial(2.0), {"probabilities": [[1.0]]}, [[-700.0]]),
        (families.NegativeBinomial(2.0), {"means": [[0.0]]}, [[-700.0]]),
        (families.Poisson(), {"rates": [[0.0, 1.0]]}, [[-700.0, 0]]),
        (families.Multinomial(), {"probabilities": [[0.0, 1.0]]}, [[-700.0, 0]]),
        (families.Categorical([2, 3]), {"probabilities": [[[0, 1, 0], [1, 0, 0]]]}, [[-700.0, 0, 0, -700, -700]]),
        (families.OneHot(2), {"probabilities": [[[0.0, 1.0]]]}, [[-700.0, 0]]),
        (families.ZeroInflated(families.Poisson()), {"zero_shares": [0.0], "rates": [[1.0]]}, [[-700.0, -1, 0]]),
        (families.VonMises(), {"locations": [[2.0]], "concentrations": [[0.0]]}, [[0.0, 0]]),
        (families.VonMisesFisher(), {"directions": [[0.0, 0]], "concentrations": [0.0]}, [[0.0, 0]]),
    ],
    ids=repr,
)
def test_boundary_values_have_finite_natural_parameters(family, named, natural):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = family.from_parameters(**named)
    assert np.array_equal(found, natural)
    for name, value in family.parameters(found).items():
        if name in named and name != "locations":  # without concentration there is no location
            assert np.array_equal(value, np.minimum(named[name], 1.0))


def test_counts_that_are_all_0_have_a_mean_of_nearly_0():
    for known in ({"means": [[0.0]]}, {"probabilities": [[1.0]]}):
        found = families.GammaPoisson().from_parameters(shapes=[[2.0]], **known)
        assert found.tolist() == [[2.0, -2e200, 0.0]]  # as the M-step has it


# ---- names that are not needed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "named", "more"),
    [
        (families.NegativeBinomial(2.0), {"means": [[3.0]]}, {"probabilities": [[0.4]]}),
        (families.GammaPoisson(), {"shapes": [[2.0]], "means": [[3.0]]}, {"probabilities": [[0.4]]}),
        (families.GammaPoisson(), {"shapes": [[2.0]], "probabilities": [[0.4]]}, {"means": [[3.0]]}),
        (families.KnownCovariance(variance=2.0), {"means": [[1.0, 3.0]]}, {"covariances": [2.0]}),
        (families.StudentT(4.0), {"means": [[1.0]], "scales": [[[2.0]]]}, {"degrees_of_freedom": [4.0]}),
        (families.Uniform(0.0, [2.0, 3.0]), {}, {"low": [[0.0, 0.0]], "high": [[2.0, 3.0]]}),
    ],
    ids=repr,
)
def test_names_that_follow_from_others_may_be_left_out_but_must_agree(family, named, more):
    expected = family.from_parameters(**named)
    assert family.from_parameters(**named, **more) == pytest.approx(expected, rel=4 * EPS)
    for name, value in more.items():
        wrong = {**more, name: np.asarray(value) * 1.001 + 1e-3}
        with pytest.raises(ValueError, match=r"which follows from .*, or be left out"):
            family.from_parameters(**named, **wrong)


# ---- what is refused -----------------------------------------------------------------------------------------------

POISSON, FULL, TIED, DIAG = (
    families.Poisson(),
    families.Gaussian(),
    families.Gaussian("tied"),
    families.Gaussian("diag"),
)
TWO = families.Product([(DIAG, [0, 1]), (POISSON, [2])])
SIDES = families.Componentwise([(POISSON, 2), (families.Geometric(), 1)]).bind([(COUNTS[:, :1], None)])
ONE_OF_EACH = {"gaussian_means": [[0, 1]], "gaussian_covariances": [[1, 1]], "poisson_rates": [[3.0]]}

REFUSED = [
    (POISSON, {"rate": 1.0}, TypeError,
     "Poisson() has no parameter 'rate' (did you mean 'rates'?); it needs rates, and was given rate"),
    (POISSON, {}, TypeError, "Poisson() needs rates; it was given nothing, and rates is missing"),
    (FULL, {"means": [[0.0]]}, TypeError,
     "Gaussian('full') needs means and covariances; it was given means, and covariances is missing"),
    (families.GammaPoisson(), {"shapes": [[1.0]]}, TypeError,
     "GammaPoisson() needs shapes and means or shapes and probabilities; it was given shapes, and means is missing"),
    (families.LogNormal(), {"means": [[0.0]], "log_covariances": [[[1.0]]]}, TypeError,
     "LogNormal('full') has no parameter 'means' (did you mean 'log_means'?); it needs log_means and log_covariances, "
     "and was given means and log_covariances"),
    (POISSON, {"rates": "many"}, TypeError,
     "rates is 'many'; it must be an array of numbers, with rows of the same length"),
    (POISSON, {"rates": None}, TypeError,
     "rates is None; it must be an array of numbers, with rows of the same length"),
    (POISSON, {"rates": [[1, 2], [3]]}, TypeError,
     "rates is [[1, 2], [3]]; it must be an array of numbers, with rows of the same length"),
    (POISSON, {"rates": [1.0, 2.0]}, ValueError,
     "rates has shape (2,), which may be 2 components or 2 columns; it must be (K, d): (2, 1) for 2 components of one "
     "column, (1, 2) for one component of 2 columns"),
    (POISSON, {"rates": np.ones((1, 2, 3))}, ValueError,
     "rates has shape (1, 2, 3); it must be (K, d), with an entry for each of the K components"),
    (POISSON, {"rates": np.ones((0, 2))}, ValueError, "rates has shape (0, 2); it must be (K, d) with some entries"),
    (POISSON, {"rates": [[1.0, -2.0]]}, ValueError,
     "rates is -2.0 for component 0, column 1; it must be 0 or positive, and finite"),
    (POISSON, {"rates": [[1.0], [np.nan]]}, ValueError,
     "rates is nan for component 1, column 0; it must be 0 or positive, and finite"),
    (families.Bernoulli(), {"probabilities": [[1.1]]}, ValueError,
     "probabilities is 1.1 for component 0, column 0; it must be from 0 to 1"),
    (families.Geometric(), {"probabilities": [[0.0]]}, ValueError,
     "probabilities is 0.0 for component 0, column 0; it must be above 0 and at most 1"),
    (families.Gamma(), {"shapes": [[1.0], [2.0]], "rates": [[1.0]]}, ValueError,
     "rates has shape (1, 1); it must be (K, d) = (2, 1), because shapes has shape (2, 1)"),
    (families.Gamma(), {"shapes": [[0.0]], "rates": [[1.0]]}, ValueError,
     "shapes is 0.0 for component 0, column 0; it must be positive and finite"),
    (families.Binomial([3, 4]), {"probabilities": [[0.5]]}, ValueError,
     "probabilities has shape (1, 1); it must be (K, d) = (1, 2), because Binomial(n=[3, 4]) has 2 columns"),
    (FULL.bind([(REAL, None)]), {"means": [[1.0]], "covariances": [[[1.0]]]}, ValueError,
     "means has shape (1, 1); it must be (K, d) = (1, 2), because Gaussian('full') has 2 columns"),
    (FULL, {"means": [[0, 0], [1, 1]], "covariances": [np.eye(2)]}, ValueError,
     "covariances has shape (1, 2, 2); it must be (K, d, d) = (2, 2, 2), because means has shape (2, 2)"),
    (FULL, {"means": [[0, 0]], "covariances": [[[1.0, 2.0], [2.0, 1.0]]]}, ValueError,
     "covariances of component 0 must be positive definite; its smallest eigenvalue is -1"),
    (TIED, {"means": [[0, 0]], "covariances": [[1.0, 2.0], [2.0, 1.0]]}, ValueError,
     "covariances must be positive definite; its smallest eigenvalue is -1"),
    (FULL, {"means": [[0, 0]], "covariances": [[[1.0, 0.5], [0.4, 1.0]]]}, ValueError,
     "covariances of component 0 must be symmetric; its entries 0, 1 and 1, 0 are 0.5 and 0.4"),
    (FULL, {"means": [[0, 0]], "covariances": [[[1.0, np.inf], [0.4, 1.0]]]}, ValueError,
     "covariances is inf for component 0, row 0, column 1; it must be finite"),
    (TIED, {"means": [[0, 0]], "covariances": [np.eye(2)]}, ValueError,
     "covariances has shape (1, 2, 2); it must be (d, d), one for all components"),
    (DIAG, {"means": [0, 1], "covariances": [1, 1]}, ValueError,
     "means has shape (2,), which may be 2 components or 2 columns; it must be (K, d): (2, 1) for 2 components of one "
     "column, (1, 2) for one component of 2 columns"),
    (families.Gaussian("VII"), {"means": [[0, 0]], "covariances": [-1.0]}, ValueError,
     "covariances is -1.0 for component 0; it must be positive and finite"),
    (families.Gaussian("EII"), {"means": [[0, 0], [1, 1]], "covariances": [1.0, 4.0]}, ValueError,
     "covariances must be as the model EII has them; that of component 0 differs from the nearest one of the model by "
     "1.5 of its size"),
    (families.Categorical([2, 3]), {"probabilities": [[[0.5, 0.4, 0.1], [0.1, 0.2, 0.7]]]}, ValueError,
     "probabilities is 0.1 for component 0, column 0, level 2; it must be 0, because the column has fewer levels"),
    (families.Categorical([2, 3]), {"probabilities": [[[0.5, 0.4, 0.0], [0.1, 0.2, 0.7]]]}, ValueError,
     "probabilities add up to 0.9 for component 0, column 0; they must add up to 1"),
    (families.Categorical(3), {"probabilities": [[0.5, 0.4, 0.1], [0.1, 0.2, 0.7]]}, ValueError,
     "probabilities has shape (2, 3), which may be 2 components or 2 columns; it must be (K, J, L): (2, 1, 3) for 2 "
     "components of one column, (1, 2, 3) for one component of 2 columns"),
    (families.Multinomial(), {"probabilities": [[0.5, 0.4]]}, ValueError,
     "probabilities add up to 0.9 for component 0; they must add up to 1"),
    (families.Dirichlet(), {"alphas": [[1.0]]}, ValueError,
     "alphas has shape (1, 1); Dirichlet() needs at least 2 columns"),
    (families.VonMisesFisher(), {"directions": [[1, 1]], "concentrations": [3.0]}, ValueError,
     "directions has length 1.41421356 for component 0; its length must be 1"),
    (families.Wishart(), {"degrees_of_freedom": [1.0], "scales": [np.eye(2)]}, ValueError,
     "degrees_of_freedom is 1.0 for component 0; it must be above 1, because scales is 2 × 2"),
    (families.Weibull(1.7), {"scales": [[1e-300]]}, ValueError,
     "Weibull(shape=1.7) has no finite natural parameters for the scales of component 0: they are too near to the end "
     "of their space, or too large or too small for float64"),
    (families.Uniform(0, 1), {"low": [[0.5]]}, ValueError,
     "low is 0.5 for component 0; it must be 0, which follows from Uniform(low=0.0, high=1.0), or be left out"),
    (families.ZeroInflated(POISSON), {"zero_shares": [0.5], "rates": [[1.0], [2.0]]}, ValueError,
     "zero_shares has shape (1,); it must be (K,) = (2,), because ZeroInflated(Poisson()) has 2 components"),
    (TWO, {**ONE_OF_EACH, "means": 1.0}, TypeError,
     f"{TWO!r} has no parameter 'means'; names begin with the label of a part: gaussian_…, poisson_…"),
    (TWO, {"gausian_means": 1.0}, TypeError,
     f"{TWO!r} has no parameter 'gausian_means' (did you mean 'gaussian_means'?); names begin with the label of a "
     "part: gaussian_…, poisson_…"),
    (TWO, {"gaussian_means": [[0, 1]], "gaussian_covariances": [[1, 1]]}, TypeError,
     "poisson_…: Poisson() needs rates; it was given nothing, and rates is missing"),
    (TWO, {**ONE_OF_EACH, "poisson_rates": [[1.0], [2.0]]}, ValueError,
     "all parts must have the same number of components; gaussian_… has 1, poisson_… has 2"),
    (SIDES, {"poisson_rates": [[1.0]], "geometric_probabilities": [[0.5]]}, ValueError,
     f"poisson_… has 1 components; {SIDES!r} has 2 of this part"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "named", "error", "message"), REFUSED, ids=lambda value: repr(value)[:30])
def test_what_cannot_be_meant_is_refused(family, named, error, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error) as caught:
            family.from_parameters(**named)
    assert str(caught.value) == message


# ---- one component, without its axis -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "short", "whole"),
    [
        (POISSON, {"rates": 2}, {"rates": [[2]]}),
        (POISSON, {"rates": [2]}, {"rates": [[2]]}),
        (families.Binomial([3, 4]), {"probabilities": [0.5, 0.2]}, {"probabilities": [[0.5, 0.2]]}),
        (FULL, {"means": 1, "covariances": 2}, {"means": [[1]], "covariances": [[[2]]]}),
        (FULL, {"means": [1, 3], "covariances": np.eye(2)}, {"means": [[1, 3]], "covariances": [np.eye(2)]}),
        (TIED, {"means": [1, 3], "covariances": np.eye(2)}, {"means": [[1, 3]], "covariances": np.eye(2)}),
        (families.Gaussian("VII"), {"means": [1, 3], "covariances": 2}, {"means": [[1, 3]], "covariances": [2]}),
        (
            DIAG.bind([(REAL, None)]),
            {"means": [1, 3], "covariances": [1, 2]},
            {"means": [[1, 3]], "covariances": [[1, 2]]},
        ),
        (families.Dirichlet(), {"alphas": [1, 2]}, {"alphas": [[1, 2]]}),
        (
            families.Categorical([2, 2]),
            {"probabilities": np.full((2, 2), 0.5)},
            {"probabilities": np.full((1, 2, 2), 0.5)},
        ),
        (
            families.VonMisesFisher(),
            {"directions": [0, 1], "concentrations": 3},
            {"directions": [[0, 1]], "concentrations": [3]},
        ),
        (TWO, {**ONE_OF_EACH, "poisson_rates": 3}, ONE_OF_EACH),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_the_axis_of_one_component_may_be_left_out_where_that_is_the_only_reading(family, short, whole):
    assert np.array_equal(family.from_parameters(**short), family.from_parameters(**whole))


def test_parts_that_need_no_names_are_the_same_in_every_component():
    family = families.Product([(POISSON, [0]), (families.Uniform(0, 1), [1])])
    assert family.from_parameters(poisson_rates=[[1.0], [2.0]])[:, 1].tolist() == [0.0, 0.0]
    family = families.Componentwise([(POISSON, 1), (families.Uniform(0, 9), 2)]).bind([(COUNTS[:, :1], None)])
    assert family.from_parameters(poisson_rates=[[1.0]]).shape[0] == 3
    family = families.ZeroInflated(families.Uniform(1, 2))
    assert family.from_parameters(zero_shares=[0.5, 0.5]).tolist() == [[0.0, 0.0, 0.0]] * 2


# ---- families of strangers -----------------------------------------------------------------------------------------


class Waves(own.Rayleigh):
    def parameters(self, natural):
        return {"scales": np.sqrt(-0.5 / natural)}


class Waits(families.IndependentColumns):
    """Columns of positive numbers with T(x) = x, and names one way."""

    def statistics_of(self, x):
        return (x,)

    def log_partition_of(self, negative_rate):
        return -np.log(-negative_rate)

    def expectation_of(self, negative_rate):
        return (-1 / negative_rate,)

    def natural_of(self, mean):
        return (-1 / mean,)

    def parameters_of(self, negative_rate):
        return {"means": -1 / negative_rate}

    def draw_of(self, natural, size, rng):
        return rng.exponential(-1 / natural[0], size)

    def possible(self, x):
        return x > 0


class BothWays(Waits):
    def natural_from(self, means):
        return (-1 / means,)


class OfAnyNames(Waits):
    ranges = {"means": families.Exponential.ranges["rates"]}

    def natural_from(self, **named):
        return (-1 / named["means"],)


class WithDefault(Waits):
    def natural_from(self, means, unit=1.0):
        return (-unit / means,)


class Renamed(families.Poisson):
    def parameters(self, natural):
        return {"intensities": np.exp(natural)}


@pytest.mark.parametrize(
    ("family", "words"),
    [(Waves(), r"define from_parameters\(self, \*\*named\)"), (Waits(), r"define natural_from\(self, \*\*named\)")],
    ids=repr,
)
def test_a_family_without_the_way_back_says_what_to_define(family, words):
    with pytest.raises(NotImplementedError, match=words):
        family.from_parameters(**family.parameters(np.array([[-1.0]])))
    whole = families.Product([(family, [0]), (POISSON, [1])])
    with pytest.raises(NotImplementedError, match=words):
        whole.from_parameters(**whole.parameters(np.array([[-1.0, 1.0]])))
    report = ef.check_family(
        family, RNG.exponential(2.0, (40, 1)) if isinstance(family, Waits) else np.abs(REAL[:, :1])
    )
    assert "from_parameters inverts parameters" in report.left_out


def test_columns_of_a_stranger_need_one_method_for_the_way_back():
    for family in (BothWays(), OfAnyNames(), WithDefault()):
        assert family.from_parameters(means=[[2.0, 4.0]]).tolist() == [[-0.5, -0.25]]
        with pytest.raises(TypeError, match="needs means; it was given nothing"):
            family.from_parameters()
    with pytest.raises(ValueError, match=r"means is -1\.0 for component 0, column 0; it must be positive and finite"):
        OfAnyNames().from_parameters(means=[[-1.0]])
    with pytest.raises(ValueError, match=r"BothWays.. has no finite natural parameters for the means of component 1"):
        BothWays().from_parameters(means=[[1.0], [-1.0]])
    report = ef.check_family(BothWays(), RNG.exponential(2.0, (40, 1)))
    assert "from_parameters inverts parameters" in report.checked


def test_names_of_a_subclass_that_the_inherited_way_back_does_not_know_are_no_fault():
    report = ef.check_family(Renamed(), COUNTS[:, :1])
    assert "parameters has names of its own" in report.left_out["from_parameters inverts parameters"]
