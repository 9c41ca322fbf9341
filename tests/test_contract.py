"""What every family must satisfy, over the table of cases."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import expfam_em as ef
from expfam_em import families
from tests.case import EPS, frozen
from tests.cases import CASES
from tests.profiles import drawn, swept

RNG = np.random.default_rng(0)
SAMPLED = [
    case
    for case in CASES
    if type(case.family).sample is not ef.ExponentialFamily.sample
    or case.draw(case.components[0], 1, RNG).shape[1] == 1
]
NAMED = [case for case in CASES if case.named is not None]
EXTREME = [pytest.param(case, eta, id=f"{case}-{i}") for case in CASES for i, eta in enumerate(case.extremes)]

every_family = pytest.mark.parametrize("case", CASES, ids=str)


def numeric_error(case):
    """Relative error of mappings solved from A alone: what the package promises, 1e-10."""
    return 1e-10 if case.numeric else 0.0


def log_partition(family, natural):
    """A(η), which need not be finite."""
    with np.errstate(all="ignore"):
        return family.log_partition(natural)


def terms(case, X, eta):
    """What is added up to log p(x): the rounding of a sum is relative to the sizes of its terms."""
    T, e = case.family.sufficient_statistics(X), case.exposures(X)
    partition = np.abs(log_partition(case.family, eta[None]))[0]
    return np.abs(T) @ np.abs(eta) + e * partition + np.abs(case.family.log_base_measure(X)) + 1


@every_family
@swept
@given(data=st.data())
def test_log_density_is_scipys(case, data):
    theta, X = data.draw(case.thetas), data.draw(case.rows)
    eta = case.natural(theta)
    found = case.family.log_density(X, eta[None])[:, 0]
    # η comes from an inverse in the test, with error EPS · condition, as does SciPy's density
    allowed = 16 * EPS * case.condition(theta) * terms(case, X, eta)
    assert np.all(np.abs(found - case.log_density(X, theta)) <= allowed)


@every_family
@drawn
@given(data=st.data())
def test_density_integrates_to_one(case, data):
    theta = data.draw(case.thetas)
    X, w = case.nodes(theta)
    eta = case.natural(theta)
    log_p = case.family.log_density(X, eta[None])[:, 0]
    mass = w * np.exp(log_p)
    # every term carries the rounding of its exponent; 1e-12 is the quadrature's own error
    allowed = 1e-12 + 16 * EPS * case.condition(theta) * np.sum(mass * terms(case, X, eta))
    assert abs(mass.sum() - 1) <= allowed


@every_family
@drawn
@given(data=st.data())
def test_to_expectation_is_the_gradient_of_log_partition(case, data):
    theta = data.draw(case.thetas)
    eta = case.natural(theta)
    mean, fisher = case.moments(theta)
    found = case.family.to_expectation(eta[None])[0]
    allowed = 32 * EPS * (np.abs(fisher) @ np.abs(eta) * case.condition(theta) + np.abs(mean))
    size = np.abs(mean) + np.sqrt(np.diag(fisher))
    assert np.all(np.abs(found - case.mp_gradient(eta)) <= allowed + numeric_error(case) * size)
    # and it is E[T]: the quadrature's error is 1e-12
    assert np.all(np.abs(found - mean) <= allowed + (1e-11 + numeric_error(case)) * size)


@every_family
@swept
@given(data=st.data())
def test_mappings_invert_each_other(case, data):
    theta = data.draw(case.thetas)
    eta = case.natural(theta)
    mean, fisher = case.moments(theta)
    inverse = np.abs(case.inverse(fisher))
    # m known to EPS |m| determines η to |∇²A⁻¹| EPS |m|, and the other way round
    relative = 32 * EPS * case.condition(theta) + numeric_error(case)
    size = np.abs(mean) + np.sqrt(np.diag(fisher))
    back = case.family.to_natural(case.family.to_expectation(eta[None]))[0]
    assert np.all(np.abs(back - eta) <= relative * (inverse @ size + inverse @ np.abs(fisher) @ np.abs(eta)))
    forth = case.family.to_expectation(case.family.to_natural(mean[None]))[0]
    assert np.all(np.abs(forth - mean) <= relative * (np.abs(fisher) @ (inverse @ size + np.abs(eta)) + size))


@every_family
@swept
@given(data=st.data())
def test_log_partition_is_convex(case, data):
    eta = case.naturals([data.draw(case.thetas), data.draw(case.thetas)])
    ends, middle = case.family.log_partition(eta), case.family.log_partition(eta.mean(axis=0)[None])
    assert middle[0] <= ends.mean() + 16 * EPS * (np.abs(ends).sum() + 1)


@every_family
@drawn
@given(data=st.data())
def test_divergence_is_the_integral_of_the_log_ratio(case, data):
    one, other = data.draw(case.thetas), data.draw(case.thetas)
    eta = case.naturals([one, other])
    found = case.family.divergence(eta[:1], eta[1:])[0]
    X, w = case.nodes(one)
    log_p, log_q = case.log_density(X, one), case.log_density(X, other)
    mass = w * np.exp(log_p)
    here = mass > 1e-300  # where SciPy's log_q is −∞ the mass is 0
    expected = mass[here] @ (log_p - log_q)[here]
    # A, A′ and ⟨η′ − η, m⟩ cancel; the nodes give E[T] to 1e-12 of its size
    mean, fisher = case.moments(one)
    size = np.abs(case.family.log_partition(eta)).sum() + np.abs(eta[1] - eta[0]) @ (
        np.abs(mean) + np.diag(fisher) ** 0.5
    )
    allowed = 16 * EPS * max(case.condition(one), case.condition(other)) * size
    assert abs(found - expected) <= allowed + (1e-11 + numeric_error(case)) * (size + 1)
    assert found >= -allowed - numeric_error(case) * size
    assert case.family.divergence(eta, eta) == pytest.approx(0, abs=0)


@pytest.mark.parametrize(("variance", "expected"), [(1.0, 0.5), (100.0, 0.005)])
def test_divergence_of_two_normals(variance, expected):
    for family in (families.Gaussian("full"), families.KnownCovariance(variance=variance)):
        covariances = np.full((1, 1, 1), variance) if family.covariance_type == "full" else np.full(1, variance)
        zero, one = (family.from_moments(np.array([[mean]]), covariances) for mean in (0.0, 1.0))
        assert family.divergence(zero, one)[0] == pytest.approx(expected, rel=8 * EPS)


@pytest.mark.parametrize("case", SAMPLED, ids=str)
def test_sample_has_the_moments_of_the_density(case):
    n = 20_000
    for theta in case.components:
        rows = case.family.sample(case.natural(theta), n, np.random.default_rng(7))
        case.family.check_support(rows)
        mean, fisher = case.moments(theta)
        T = case.family.sufficient_statistics(rows)
        assert rows.shape[0] == n
        assert np.all(np.abs(T.mean(axis=0) - mean) <= 5 * np.sqrt(np.diag(fisher) / n))
        # the covariances too; their standard error is estimated from the rows
        Z = T - mean
        squares = Z[:, :, None] * Z[:, None, :]
        assert np.all(np.abs(squares.mean(axis=0) - fisher) <= 5 * squares.std(axis=0) / np.sqrt(n) + 16 * EPS)


def test_a_family_of_several_columns_without_sample_says_what_to_define():
    case = next(case for case in CASES if case not in SAMPLED)
    with pytest.raises(NotImplementedError, match=r"cannot be sampled: define sample\(self, natural, n, rng\)"):
        case.family.sample(case.natural(case.components[0]), 1, np.random.default_rng(0))


@every_family
@drawn
@given(data=st.data())
def test_rows_of_the_support_are_accepted(case, data):
    assert case.family.check_support(data.draw(case.rows)) is None


@pytest.mark.parametrize(
    ("case", "rows", "message"), [(case, *row) for case in CASES for row in case.outside], ids=lambda x: str(x)[:20]
)
def test_rows_outside_the_support_are_named(case, rows, message):
    with pytest.raises(ValueError, match="needs") as caught:
        case.family.check_support(np.array(rows, float))
    assert str(caught.value) == message


@pytest.mark.parametrize(("case", "eta"), EXTREME)
def test_extreme_parameters_are_finite_and_right(case, eta):
    partition = float(case.mp_partition([mpmath.mpf(float(value)) for value in eta]))
    gradient = case.mp_gradient(eta)
    # A is the value at an η rounded in proportion to its largest entry (a Cholesky factor is stable in that sense);
    # what matters is its absolute error, against a log-density of the order of 1
    allowed = 64 * EPS * (np.abs(gradient).sum() * np.abs(eta).max() + abs(partition) + 1)
    assert abs(case.family.log_partition(eta[None])[0] - partition) <= allowed
    with np.errstate(all="ignore"):
        found = case.family.to_expectation(eta[None])[0]
        back = case.family.to_natural(found[None])[0]
    assert np.all(np.isfinite(found))
    assert np.all(np.isfinite(back))
    assert np.all(np.isfinite(log_partition(case.family, back[None])))


@pytest.mark.parametrize(
    ("family", "expectation", "name"),
    [
        (families.Bernoulli(), [[0.0, 1.0, 0.25]], "probabilities"),
        (families.Poisson(), [[0.0, 1.0, 1e13]], "rates"),
        (families.Poisson(), [[0.0, 0.0, 1e-300]], "rates"),
    ],
    ids=str,
)
def test_boundary_estimates_have_finite_natural_parameters(family, expectation, name):
    expectation = np.array(expectation)
    natural = family.to_natural(expectation)
    assert np.all(np.abs(natural) <= 700)
    assert np.all(np.isfinite(family.log_partition(natural)))
    named = family.parameters(natural)[name]
    exact = (expectation == 0) | (expectation == 1)
    assert np.array_equal(named[exact], expectation[exact])
    # η is rounded by EPS |η|, and η ↦ rate has relative slope 1
    assert named == pytest.approx(expectation, rel=EPS * 700)


@pytest.mark.parametrize("case", NAMED, ids=str)
@drawn
@given(data=st.data())
def test_named_parameters_are_those_the_natural_ones_were_made_from(case, data):
    theta = data.draw(case.thetas)
    for name, value in case.family.parameters(case.natural(theta)[None]).items():
        found = value if np.shape(value) == np.shape(case.named(theta)[name]) else value[0]
        # means are Σ(Λμ), shifted by the frame: the error is relative to the largest entry
        size = np.abs(case.named(theta)[name]).max() + (20 if name == "means" else 0)
        allowed = 64 * EPS * case.condition(theta) * size
        assert np.all(np.abs(found - case.named(theta)[name]) <= allowed)


@every_family
@pytest.mark.parametrize("K", [1, 3])
def test_number_of_parameters(case, K):
    p = len(case.natural(case.components[0]))
    if case.name.startswith("Gaussian-tied") and case.frame is None:
        with pytest.raises(ValueError, match="call bind first"):
            case.family.n_parameters(K)
        return
    found = case.family.n_parameters(K)
    expected = K * p if case.n_parameters is None else case.n_parameters(K)
    assert (K * p if found is None else found) == expected


@every_family
def test_no_method_changes_its_arguments_or_the_family(case):
    before = {name: np.copy(value) for name, value in vars(case.family).items()}
    X = frozen(case.draw(case.components[0], 5, np.random.default_rng(0)))
    natural = frozen(case.naturals(case.components))
    family = case.family
    expectation = frozen(family.to_expectation(natural))
    family.to_natural(expectation)
    family.maximize(frozen([1.0, 2.0, 3.0]), frozen(np.array([[1.0], [2], [3]]) * expectation))
    family.check_support(X)
    family.log_density(X, natural)
    family.divergence(natural, natural)
    family.parameters(natural)
    bound = family.bind([(X, None)])
    if hasattr(family, "translate"):
        family.translate(natural, bound)
        family.translate_expectation(expectation, bound)
    assert vars(family).keys() == before.keys()
    assert all(np.array_equal(value, before[name], equal_nan=False) for name, value in vars(family).items())


@every_family
@drawn
@given(data=st.data())
def test_rows_grouped_in_any_way_give_the_same_statistics(case, data):
    X = data.draw(case.rows)
    at = data.draw(st.integers(0, len(X)))
    T, log_h = case.family.sufficient_statistics(X), case.family.log_base_measure(X)
    for cut in (slice(0, at), slice(at, len(X)), slice(None, None, -1)):
        rows = X[cut].copy()  # NumPy's logarithm of rows that lie backwards in memory may differ in its last bit
        part = case.family.sufficient_statistics(rows)
        assert part.shape == T[cut].shape
        assert np.array_equal(part, T[cut])
        assert np.array_equal(case.family.log_base_measure(rows), log_h[cut])


@pytest.mark.parametrize("case", [case for case in CASES if case.frame], ids=str)
def test_a_frame_changes_the_coordinates_and_not_the_density(case):
    plain = case.family.replace(shift=None, scale=None)
    natural = case.naturals(case.components)
    there = case.family.translate(natural, plain)
    X = case.draw(case.components[0], 50, np.random.default_rng(0))
    worst = max(case.condition(theta) for theta in case.components)
    size = max(terms(case, X, eta).max() for eta in natural)
    assert case.family.log_density(X, natural) == pytest.approx(
        plain.log_density(X, there), abs=64 * EPS * worst * size * 10
    )
    assert plain.translate(there, case.family) == pytest.approx(natural, rel=1e-12, abs=1e-12)
    expectation = case.family.to_expectation(natural)
    assert case.family.translate_expectation(expectation, plain) == pytest.approx(
        plain.to_expectation(there), rel=1e-12, abs=1e-12
    )


@pytest.mark.parametrize("kind", ["full", "spherical"])
def test_the_frame_is_about_the_weighted_mean_and_spread(kind):
    rng = np.random.default_rng(1)
    X, w = rng.normal([1e3, -1.0], [1e-2, 5.0], (500, 2)), rng.integers(0, 4, 500)
    weighted = families.Gaussian(kind).bind([(X[w > 0], w[w > 0])])
    repeated = families.Gaussian(kind).bind([(np.repeat(X, w, axis=0), None)])
    Y = np.repeat(X, w, axis=0)
    spread = Y.std(axis=0) if kind == "full" else np.full(2, np.sqrt(Y.var(axis=0).mean()))
    for family in (weighted, repeated):
        # the deviations are 1e5 times smaller than the values they come from
        assert family.column_variance == pytest.approx(Y.var(axis=0), rel=1e5 * 16 * EPS)
        # both are rounded: the scale to a power of two, the shift to 1/64 of it
        assert np.all(np.abs(np.log2(family.scale / spread)) <= 0.5)
        assert np.all(np.frexp(family.scale)[0] == 0.5)
        assert np.all(np.abs(family.shift - Y.mean(axis=0)) <= family.scale / 128 * (1 + 1e-9))
