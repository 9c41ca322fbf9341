"""Families of independent columns, in what the laws over the table of families do not reach: edges and constants."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import expfam_em as ef
from expfam_em.families import (
    Beta,
    Binomial,
    Exponential,
    Gamma,
    Geometric,
    HalfNormal,
    InverseGamma,
    InverseGaussian,
    Laplace,
    Maxwell,
    NegativeBinomial,
    Pareto,
    Poisson,
    Rayleigh,
    Weibull,
)  # fmt: skip
from tests.case import EPS, numbers
from tests.cases_columns import COLUMN_CASES
from tests.profiles import drawn

mpf = mpmath.mpf
SHAPES = 10.0 ** np.linspace(-8, 8, 17)


def mps(*values):
    return [mpf(float(value)) for value in values]


def log_partition(family, natural):
    """A(η), which need not be finite."""
    with np.errstate(all="ignore"):
        return family.log_partition(natural)


# ---- mappings at the edges of the space ----------------------------------------------------------------------------


def one_natural(value):
    return np.array([[float(value)]])


TINY_TO_HUGE = [1e-100, 1e-8, 0.3, 1.0, 7.0, 1e8, 1e100]
PROBABILITIES_DOWN = [1e-300, 1e-16, 1e-8, 1e-3, 0.3, 0.999]
EDGES = [
    # family, natural parameters, ∇A in mpmath, the condition number of η as a function of ∇A(η)
    *(
        (family, [[-rate] for rate in TINY_TO_HUGE], lambda e: [-1 / e[0]], lambda e: 1)
        for family in (Exponential(), Weibull(0.3), Pareto(2.0), Laplace(-1.0), Rayleigh())
    ),
    (Maxwell(), [[-rate] for rate in TINY_TO_HUGE], lambda e: [-mpf(3) / 2 / e[0]], lambda e: 1),
    (HalfNormal(), [[-rate] for rate in TINY_TO_HUGE], lambda e: [-mpf(1) / 2 / e[0]], lambda e: 1),
    (
        Geometric(), [[float(np.log1p(-p))] for p in PROBABILITIES_DOWN] + [[-36.8], [-690.0]],
        lambda e: [mpmath.exp(e[0]) / -mpmath.expm1(e[0])], lambda e: 1,
    ),
    *(
        (
            NegativeBinomial(r), [[float(np.log1p(-p))] for p in PROBABILITIES_DOWN] + [[-36.8], [-600.0]],
            lambda e, r=r: [r * mpmath.exp(e[0]) / -mpmath.expm1(e[0])], lambda e: 1,
        )
        for r in (1e-8, 2.5, 1e8)
    ),
    (
        Binomial(5), [[float(np.log(p))] for p in PROBABILITIES_DOWN] + [[12.0], [36.0]],
        lambda e: [5 / (1 + mpmath.exp(-e[0]))], lambda e: (1 + np.exp(e[0])) / min(1, abs(e[0])),
    ),
    (
        Gamma(), [[a, -b] for a in SHAPES[::2] for b in (1e-100, 1.0, 1e8)],
        lambda e: [mpmath.psi(0, e[0]) - mpmath.log(-e[1]), -e[0] / e[1]],
        lambda e: (1 + e[0]) * (1 + abs(np.log(-e[1])) + abs(np.log(e[0]))),
    ),
    (
        InverseGamma(), [[-a, -b] for a in SHAPES[::2] for b in (1e-100, 1.0, 1e8)],
        lambda e: [mpmath.log(-e[1]) - mpmath.psi(0, -e[0]), e[0] / e[1]],
        lambda e: (1 - e[0]) * (1 + abs(np.log(-e[1])) + abs(np.log(-e[0]))),
    ),
    (
        InverseGaussian(), [[-shape / 2 / mean / mean, -shape / 2] for shape in (1e-60, 1e-8, 1.0, 1e5, 1e60)
                            for mean in (1e-60, 1e-3, 1.0, 1e3, 1e60) if 1e-121 < shape / mean < 1e6],
        lambda e: [mpmath.sqrt(e[1] / e[0]), mpmath.sqrt(e[0] / e[1]) - 1 / (2 * e[1])],
        lambda e: 1 + np.sqrt(-e[0]) * np.sqrt(-e[1]),
    ),
    (
        Beta(), [[a, b] for a in SHAPES[::2] for b in SHAPES[::2] if a + b < 1e9],
        lambda e: [mpmath.psi(0, x) - mpmath.psi(0, e[0] + e[1]) for x in e], lambda e: 1 + e[0] + e[1],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("family", "naturals", "gradient", "condition"), EDGES, ids=lambda x: repr(x)[:24])
def test_mappings_are_exact_at_the_edges(family, naturals, gradient, condition):
    for eta in naturals:
        exact = [float(value) for value in gradient(mps(*eta))]
        found = family.to_expectation(np.array([eta]))[0]
        # where log x is a statistic, its mean is a difference: ψ(a) − log b
        absolute = abs(np.log(np.abs(eta))).max() if isinstance(family, Gamma) else 0.0
        assert np.all(np.abs(found - exact) <= 16 * EPS * (np.abs(exact) + absolute)), eta
        back = family.to_natural(found[None])[0]
        allowed = 64 * EPS * condition(eta)
        if allowed < 0.01:
            assert np.all(np.abs(back - eta) <= allowed * np.abs(eta)), (eta, back)
        assert np.isfinite(log_partition(family, back[None])).all()


NO_SOLUTION = [
    *((family, [[-1.0], [0.0], [np.nan]]) for family in (
        Exponential(), Weibull(2), Rayleigh(), Maxwell(), HalfNormal(), Pareto(1), Laplace(0),
    )),
    (Geometric(), [[np.nan], [np.inf]]), (NegativeBinomial(2), [[np.nan], [np.inf]]), (Binomial(2), [[np.nan]]),
    (Gamma(), [[1.0, 0.5], [0.0, 1.0], [0.0, -1.0], [0.0, np.nan]]),
    (InverseGamma(), [[-1.0, 0.5], [0.0, 1.0], [0.0, -1.0], [np.nan, 1.0]]),
    (InverseGaussian(), [[2.0, 0.25], [2.0, 0.5], [-1.0, -1.0], [np.nan, 1.0]]),
    (Beta(), [[-0.1, -0.1], [1.0, -1.0], [0.0, -1.0], [np.nan, -1.0]]),
]  # fmt: skip


@pytest.mark.parametrize(("family", "expectations"), NO_SOLUTION, ids=str)
def test_expectations_outside_their_space_give_no_component(family, expectations):
    natural = family.to_natural(np.array(expectations))
    assert not np.isfinite(log_partition(family, natural)).any()


@pytest.mark.parametrize("family", [Gamma(), InverseGamma(), InverseGaussian(), Beta()], ids=str)
@drawn
@given(x=numbers(1e-6, 1 - 1e-6), n=st.integers(1, 100))
def test_rows_that_are_all_alike_give_no_component(family, x, n):
    # and not one of a width made of rounding errors
    T = family.sufficient_statistics(np.full((n, 1), x))
    natural = family.maximize(np.array([float(n)]), T.sum(axis=0)[None])
    assert not np.isfinite(log_partition(family, natural)).any()


OUTSIDE = [
    *((case.family, [[1.0], [0.0]]) for case in COLUMN_CASES if case.family.order == 1 and case.name != "Binomial"),
    (Gamma(), [[0.0, -1.0], [-0.5, -1.0], [1.0, 0.0], [1.0, 1.0]]),
    (InverseGamma(), [[0.0, -1.0], [0.5, -1.0], [-1.0, 0.0], [-1.0, 1.0]]),
    (InverseGaussian(), [[1.0, -1.0], [-1.0, 0.0], [-1.0, 1.0]]),
    (Beta(), [[0.0, 1.0], [1.0, -0.5], [-0.5, -0.5]]),
]


@pytest.mark.parametrize(("family", "naturals"), OUTSIDE, ids=str)
def test_no_partition_is_finite_outside_the_natural_space(family, naturals):
    assert not np.isfinite(log_partition(family, np.array(naturals))).any()
    family.to_expectation(np.array(naturals))  # no warning


@pytest.mark.parametrize(
    ("family", "means", "probabilities"),
    [
        (Binomial(4), [0.0, 4.0, 4 + 1e-15, 1e-320, 1.0], [0.0, 1.0, 1.0, 0.0, 0.25]),
        (Geometric(), [0.0, 1e-310, 3.0, 1e300], [1.0, 1.0, 0.25, 1e-300]),
        (NegativeBinomial(2.0), [0.0, 1e-310, 6.0, 1e300], [1.0, 1.0, 0.25, 2e-300]),
    ],
    ids=str,
)
def test_boundary_estimates_are_finite_and_reported_exactly(family, means, probabilities):
    natural = family.to_natural(np.array([means]))
    assert np.all(np.abs(natural) <= 700)
    assert np.isfinite(family.log_partition(natural)).all()
    found = family.parameters(natural)["probabilities"]
    assert found == pytest.approx(np.array([probabilities]), rel=16 * EPS)
    exact = np.isin(probabilities, [0.0, 1.0])
    assert np.array_equal(found[0, exact], np.array(probabilities)[exact])


def test_a_single_failure_among_many_trials_is_not_rounded_away():
    n, mean = 1e12 + 1, 1e12
    assert Binomial(n).to_natural(one_natural(mean)) == pytest.approx(np.log(mean), rel=4 * EPS)


def test_the_mean_of_no_failures_is_exactly_zero():
    family = NegativeBinomial(2.0)
    assert family.parameters(family.to_natural(np.zeros((1, 1))))["means"] == 0


# ---- densities in the tails ----------------------------------------------------------------------------------------


def mp_density(family, x, theta):
    """log p(x), from the densities as textbooks give them."""
    x, *theta = mps(x, *theta)
    log, lg = mpmath.log, mpmath.loggamma
    if isinstance(family, Binomial):
        n = mpf(family.n)
        return (
            lg(n + 1) - lg(x + 1) - lg(n - x + 1)
            + x * log(theta[0]) + (n - x) * mpmath.log1p(-theta[0])
        )  # fmt: skip
    if isinstance(family, NegativeBinomial):
        r = mpf(family.r)
        return lg(x + r) - lg(r) - lg(x + 1) + r * log(theta[0]) + x * mpmath.log1p(-theta[0])
    if isinstance(family, InverseGaussian):
        mean, shape = theta
        return (log(shape / (2 * mpmath.pi)) - 3 * log(x)) / 2 - shape * (x - mean) ** 2 / (2 * mean**2 * x)
    if isinstance(family, InverseGamma):
        a, b = theta
        return a * log(b) - lg(a) - (a + 1) * log(x) - b / x
    if isinstance(family, Gamma):
        a, b = theta
        return a * log(b) - lg(a) + (a - 1) * log(x) - b * x
    if isinstance(family, Beta):
        a, b = theta
        return lg(a + b) - lg(a) - lg(b) + (a - 1) * log(x) + (b - 1) * mpmath.log1p(-x)
    if isinstance(family, Pareto):
        return log(theta[0]) + theta[0] * log(mpf(family.minimum)) - (theta[0] + 1) * log(x)
    if isinstance(family, Maxwell):
        return log(2 / mpmath.pi) / 2 + 2 * log(x) - 3 * log(theta[0]) - (x / theta[0]) ** 2 / 2
    assert isinstance(family, Weibull)
    k = mpf(family.shape)
    return log(k / theta[0]) + (k - 1) * log(x / theta[0]) - (x / theta[0]) ** k


@pytest.mark.parametrize(
    ("family", "natural", "theta", "xs"),
    [
        (Binomial(1e12), np.log(1e-6) - np.log1p(-1e-6), [1e-6], [0.0, 1e6, 3e6, 1e11, 1e12]),
        (NegativeBinomial(1e10), np.log1p(-0.5), [0.5], [0.0, 5.0, 1e10, 1e12]),
        (NegativeBinomial(1e-9), np.log1p(-0.001), [0.001], [0.0, 1.0, 17.0, 1e6]),
        (InverseGaussian(), [-2.0, -0.5], [0.5, 1.0], [1e-100, 1e-3, 0.5, 1e3, 1e200]),
        (InverseGamma(), [-3.0, -2.0], [3.0, 2.0], [1e-100, 1e-3, 1.0, 1e200]),
        (Gamma(), [1e-8, -1e-3], [1e-8, 1e-3], [1e-300, 1e-3, 1.0, 1e8]),
        (Gamma(), [3.0, -2.0], [3.0, 2.0], [1e-300, 1e-3, 1.0, 1e200]),
        (Beta(), [1e-8, 3.0], [1e-8, 3.0], [1e-300, 1e-3, 0.5, 1 - EPS]),
        (Beta(), [1e8, 0.5], [1e8, 0.5], [1e-3, 0.5, 1 - 1e-8, 1 - EPS]),
        (Pareto(0.1), -1e14, [1e14], [0.1, np.nextafter(0.1, 1), 0.1 * (1 + 1e-12), 0.3]),
        (Maxwell(), -0.5, [1.0], [1e-150, 1e-3, 1.0, 1e100]),
        (Weibull(7.0), -1.0, [1.0], [1e-100, 1e-3, 1.0, 1e40]),
    ],
    ids=str,
)
def test_densities_are_exact_in_the_tails(family, natural, theta, xs):
    natural = np.atleast_2d(natural).astype(float)
    X = np.array(xs)[:, None]
    family.check_support(X)
    found = family.log_density(X, natural)[:, 0]
    T = np.abs(family.sufficient_statistics(X) @ np.abs(natural.T))[:, 0]
    size = T + np.abs(family.log_partition(natural)) + np.abs(family.log_base_measure(X)) + 1
    for x, value, allowed in zip(xs, found, 16 * EPS * size, strict=True):
        assert abs(float(mpf(float(value)) - mp_density(family, x, theta))) <= allowed, x


def test_impossible_counts_have_no_density():
    with np.errstate(all="ignore"):
        assert np.all(Binomial(3).log_base_measure(np.array([[4.0], [-1.0], [0.5]])) == -np.inf)
        assert np.all(NegativeBinomial(3).log_base_measure(np.array([[-1.0], [0.5]])) == -np.inf)


# ---- E[log h] ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", COLUMN_CASES, ids=str)
@drawn
@given(data=st.data())
def test_the_expected_base_measure_is_its_mean(case, data):
    theta = data.draw(case.thetas)
    X, w = case.nodes(theta)
    mass, log_h = w * np.exp(case.log_density(X, theta)), case.family.log_base_measure(X)
    mean = mass @ log_h
    spread = np.sqrt(mass @ (log_h - mean) ** 2)
    found = case.family.expected_log_base_measure(case.natural(theta)[None])
    assert found.shape == (1,)
    assert abs(found[0] - mean) <= 1e-11 * (1 + abs(mean) + spread)


@pytest.mark.parametrize("z", [1e-300, 1e-8, 0.5, 1.9, 2.0, 2.1, 10.0, 1e3, 1e100])
def test_e1_without_overflow_tells_the_mean_logarithm_of_inverse_gaussian_columns(z):
    # z = 2λ/μ with μ = 1
    found = InverseGaussian().expected_log_base_of(*np.array([[-z / 4], [-z / 4]]))[0]
    z = mpf(z)
    scaled = mpmath.exp(z) * mpmath.e1(z) if z < 1e4 else 1 / z
    assert found == pytest.approx(float(1.5 * scaled - mpmath.log(2 * mpmath.pi) / 2), rel=8 * EPS)


def lattice_mean(log_base, eta, log_partition, low, high):
    total = mpf(0)
    for x in range(int(low), int(high) + 1):
        value = log_base(x)
        total += mpmath.exp(value + eta * x - log_partition) * value
    return total


@pytest.mark.parametrize("rate", [1e-300, 1e-5, 0.3, 3.0, 40.0, 1999.0, 2001.0])
def test_mean_of_log_factorials_of_poisson_counts(rate):
    found = Poisson().expected_log_base_measure(one_natural(np.log(rate)))[0]
    low, high = max(0, rate - 14 * rate**0.5 - 20), rate + 14 * rate**0.5 + 60
    with mpmath.workdps(30):
        exact = lattice_mean(lambda x: -mpmath.loggamma(x + 1), mpmath.log(mpf(rate)), mpf(rate), low, high)
    assert found == pytest.approx(float(exact), rel=1e-13, abs=1e-300)


@pytest.mark.parametrize("rate", [1e5, 1e10, 1e17])
def test_mean_of_log_factorials_of_many_counts(rate):
    found = Poisson().expected_log_base_measure(one_natural(np.log(rate)))[0]
    # Taylor's series about the mean with the central moments of a Poisson density
    m = mpf(rate)
    moments = {2: m, 3: m, 4: m + 3 * m**2, 5: m + 10 * m**2, 6: m + 25 * m**2 + 15 * m**3}
    exact = -mpmath.loggamma(m + 1) - sum(
        mpmath.psi(k - 1, m + 1) * moment / mpmath.factorial(k) for k, moment in moments.items()
    )
    assert found == pytest.approx(float(exact), rel=1e-13)


@pytest.mark.parametrize("n", [1, 2, 300, 5000])
@pytest.mark.parametrize("p", [1e-12, 0.1, 0.5, 0.999])
def test_mean_of_log_binomial_coefficients(n, p):
    eta = float(np.log(p) - np.log1p(-p))
    found = Binomial(n).expected_log_base_measure(one_natural(eta))[0]
    spread = 14 * (n * p * (1 - p)) ** 0.5 + 30
    with mpmath.workdps(30):
        log_partition = n * mpmath.log1p(mpmath.exp(mpf(eta)))
        low, high = max(0, n * p - spread), min(n, n * p + spread)
        exact = lattice_mean(lambda x: mpmath.log(mpmath.binomial(n, x)), mpf(eta), log_partition, low, high)
    assert found == pytest.approx(float(exact), rel=1e-13, abs=1e-300)


# terms fall by e⁻ᵗ from one to the next for t = log(1 + r/mean): few enough to be summed exactly
NEGATIVE_BINOMIALS = [
    (r, mean) for r in (1e-8, 0.3, 2.5, 1e3, 1e8) for mean in (1e-5, 1.0, 80.0) if np.log1p(r / mean) > 0.0025
]


@pytest.mark.parametrize(("r", "mean"), NEGATIVE_BINOMIALS)
def test_mean_of_log_negative_binomial_coefficients(r, mean):
    eta = float(-np.log1p(r / mean))
    found = NegativeBinomial(r).expected_log_base_measure(one_natural(eta))[0]
    tail = 50 / abs(eta)
    with mpmath.workdps(30):
        rm, spread = mpf(r), 14 * (mean + mean**2 / r) ** 0.5
        exact = lattice_mean(
            lambda x: mpmath.loggamma(x + rm) - mpmath.loggamma(rm) - mpmath.loggamma(x + 1),
            mpf(eta), -rm * mpmath.log(-mpmath.expm1(mpf(eta))), max(0, mean - spread), mean + spread + tail + 60,
        )  # fmt: skip
    assert found == pytest.approx(float(exact), rel=1e-13)


@pytest.mark.parametrize("mean", [1e3, 1e6, 1e12, 1e100])
def test_mean_of_log_coefficients_of_long_tails(mean):
    # h(x) = x + 1 for r = 2
    found = NegativeBinomial(2).expected_log_base_measure(one_natural(-np.log1p(2 / mean)))[0]
    with mpmath.workdps(150 if mean > 1e50 else 40):
        p = 2 / (2 + mpf(mean))
        small = -mpmath.log1p(-p)

        # Li₋₁(e^(−ε)) and its derivative by the order, by the series of Γ(1 − s) ε^(s − 1) + Σ ζ(s − k) (−ε)ᵏ/k!
        def li(s):
            return mpmath.gamma(1 - s) * small ** (s - 1) + sum(
                mpmath.zeta(s - k) * (-small) ** k / mpmath.factorial(k) for k in range(12)
            )

        # Σ p² qˣ (x + 1) log(x + 1) = −(p²/q) ∂Li_s(q)/∂s at s = −1
        exact = -(p**2) / mpmath.exp(-small) * mpmath.diff(li, -1)
    assert found == pytest.approx(float(exact), rel=1e-12)


# ---- draws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "natural"),
    [
        (Gamma(), [1e-8, -1e8]), (InverseGamma(), [-1e-8, -1.0]), (Beta(), [1e-8, 1e-8]), (Beta(), [1e8, 1e-8]),
        (Weibull(0.001), [-1.0]), (Pareto(1.0), [-1e-8]), (HalfNormal(), [-1e300]),
        (InverseGaussian(), [-1e-12, -1e-3]), (InverseGaussian(), [-1e8, -1e8]),
        (Geometric(), [-1e-300]), (Geometric(), [-700.0]), (Binomial(9), [700.0]),
        (NegativeBinomial(1e-8), [-1e-3]), (NegativeBinomial(3), [-700.0]), (Exponential(), [-1e-300]),
    ],
    ids=str,
)  # fmt: skip
def test_draws_of_extreme_densities_are_in_the_support(family, natural):
    rows = family.sample(np.array(natural), 1000, np.random.default_rng(0))
    assert rows.shape == (1000, 1)
    family.check_support(rows)


# ---- constants -----------------------------------------------------------------------------------------------------

WITH_CONSTANTS = [
    (Binomial, "n", [3, 20], "4"), (NegativeBinomial, "r", [0.5, 4.0], "0.25"), (Weibull, "shape", [0.5, 2.0], "2"),
    (Pareto, "minimum", [0.5, 2.0], "2"), (Laplace, "location", [-1.0, 2.0], "0"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "values", "shown"), WITH_CONSTANTS)
def test_constants_are_shown_and_kept(kind, name, values, shown):
    assert repr(kind(float(shown))) == repr(kind(**{name: float(shown)})) == f"{kind.__name__}({name}={shown})"
    family = kind(values)
    assert repr(family) == f"{kind.__name__}({name}=[{', '.join(f'{value:g}' for value in values)}])"
    values_of = np.array(values, float)
    family = kind(values_of)
    values_of[0] = 7.0
    assert getattr(family, name)[0] == values[0]
    with pytest.raises(ValueError, match="read-only"):
        getattr(family, name)[0] = 7.0


@pytest.mark.parametrize(("kind", "name", "values", "shown"), WITH_CONSTANTS)
def test_columns_with_constants_of_their_own_are_single_columns_side_by_side(kind, name, values, shown):
    both, singles = kind(values), [kind(value) for value in values]
    case = next(case for case in COLUMN_CASES if type(case.family) is kind)
    thetas = [np.ravel(theta)[:1] for theta in case.components[:2]]
    with np.errstate(divide="ignore"):
        natural = np.concatenate([case.natural(theta) for theta in thetas])
    rng = np.random.default_rng(1)
    X = both.sample(natural, 50, rng)
    both.check_support(X)
    one_by_one = [single.log_density(X[:, [j]], natural[None, [j]]) for j, single in enumerate(singles)]
    assert both.log_density(X, natural[None]) == pytest.approx(sum(one_by_one), rel=16 * EPS)
    means = [float(single.to_expectation(natural[None, [j]])[0, 0]) for j, single in enumerate(singles)]
    assert both.to_expectation(natural[None])[0] == pytest.approx(means, rel=4 * EPS)
    assert both.to_natural(np.array([means]))[0] == pytest.approx(natural, rel=16 * EPS)
    expected = [single.expected_log_base_measure(natural[None, [j]])[0] for j, single in enumerate(singles)]
    assert both.expected_log_base_measure(natural[None])[0] == pytest.approx(sum(expected), rel=16 * EPS)
    for columns in ([1], [1, 0], np.array([0])):
        part, eta = both.marginal(natural[None], columns)
        assert np.array_equal(getattr(part, name), np.array(values, float)[columns])
        assert part.log_density(X[:, columns], eta)[:, 0] == pytest.approx(
            sum(one_by_one[j][:, 0] for j in columns), rel=16 * EPS
        )
    rest, eta = both.conditional(natural[None], [0], X[0, :1])
    assert rest.log_density(X[:, 1:], eta) == pytest.approx(one_by_one[1], rel=16 * EPS)
    with pytest.raises(ValueError, match=f"has {name} for 2 columns; X has 3") as caught:
        both.check_support(np.ones((4, 3)))
    assert str(caught.value) == f"{both!r} has {name} for 2 columns; X has 3"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Weibull(shape=-1), "shape is -1; it must be positive"),
        (lambda: Weibull(shape=[1.0, 0.0]), r"shape is \[1.0, 0.0\]; it must be positive"),
        (lambda: Pareto(0), "minimum is 0; it must be positive"),
        (lambda: Laplace(np.inf), "location is inf; it must be a finite number"),
        (lambda: Binomial(2.5), "n is 2.5; it must be a whole number of at least 1"),
        (lambda: Binomial(0), "n is 0; it must be a whole number of at least 1"),
        (lambda: Binomial([[1]]), r"n is \[\[1\]\]; it must be a whole number"),
        (lambda: NegativeBinomial(np.nan), "r is nan; it must be positive"),
        (lambda: NegativeBinomial(np.inf), "r is inf; it must be positive"),
    ],
)
def test_constants_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("kind", "values"), [(Binomial, [3, 20]), (NegativeBinomial, [0.5, 4.0])])
def test_zeros_are_kept_where_columns_are_alike(kind, values):
    assert kind(values[0]).sparse == "entries"
    assert kind(values).sparse == "never"
    # a zero adds nothing to log h
    assert kind(values).log_base_measure(np.zeros((1, 2)))[0] == 0


@drawn
@given(p=numbers(0.01, 0.99))
def test_special_cases_agree(p):
    eta, x = one_natural(np.log1p(-p)), np.arange(30.0)[:, None]
    allowed = 64 * EPS * (1 + 30 * abs(float(eta[0, 0])))
    assert NegativeBinomial(1).log_density(x, eta) == pytest.approx(Geometric().log_density(x, eta), abs=allowed)
    bits, odds = np.array([[0.0], [1.0]]), one_natural(np.log(p) - np.log1p(-p))
    bernoulli = ef.families.Bernoulli().log_density(bits, odds)
    assert Binomial(1).log_density(bits, odds) == pytest.approx(bernoulli, abs=allowed)
    x, rate = x + 0.5, -p * np.ones((1, 1))
    exponential = Exponential().log_density(x, rate)
    assert Weibull(1).log_density(x, rate) == pytest.approx(exponential, abs=allowed)
    assert Gamma().log_density(x, np.array([[1.0, -p]])) == pytest.approx(exponential, abs=1e-13)
    assert Rayleigh().log_density(x, rate) == pytest.approx(Weibull(2).log_density(x, rate), rel=1e-13)
    uniform = Beta().log_density(x / 31, np.array([[1.0, 1.0]]))
    assert uniform == pytest.approx(0, abs=64 * EPS)


# ---- fits ----------------------------------------------------------------------------------------------------------

APART = [
    (Binomial([20, 12]), [-1.5], [1.5]), (Geometric(), [np.log(0.3)], [np.log(0.97)]),
    (NegativeBinomial([3.0, 5.0]), [np.log(0.3)], [np.log(0.95)]), (Exponential(), [-5.0], [-0.05]),
    (Gamma(), [8.0, -8.0], [30.0, -3.0]), (InverseGamma(), [-8.0, -8.0], [-30.0, -300.0]),
    (Weibull([2.0, 1.5]), [-1.0], [-0.001]), (Rayleigh(), [-0.5], [-0.002]), (Maxwell(), [-0.5], [-0.002]),
    (HalfNormal(), [-0.5], [-0.0005]), (InverseGaussian(), [-5.0, -5.0], [-0.5, -50.0]),
    (Pareto([2.0, 3.0]), [-20.0], [-0.5]), (Laplace([1.0, -1.0]), [-10.0], [-0.05]), (Beta(), [4.0, 30.0], [30.0, 5.0]),
]  # fmt: skip


@pytest.mark.parametrize(("family", "one", "other"), APART, ids=str)
def test_two_components_are_found_again(family, one, other):
    rng = np.random.default_rng(2)
    natural = np.array([np.repeat(one, 2), np.repeat(other, 2)])
    X = np.concatenate([family.sample(natural[0], 1500, rng), family.sample(natural[1], 2500, rng)])
    weight = rng.integers(0, 3, len(X))
    weighted = ef.ExponentialFamilyMixture(family, 2, tol=1e-9, n_init=2, random_state=0).fit(X, sample_weight=weight)
    order = np.argsort(weighted.weights_)
    assert weighted.weights_[order] == pytest.approx([0.375, 0.625], abs=0.03)
    for name, true in family.parameters(natural).items():
        assert weighted.parameters_[name][order] == pytest.approx(true, rel=0.15)
    repeated = ef.ExponentialFamilyMixture(family, 2, tol=1e-9, init=weighted.mixture_).fit(
        np.repeat(X, weight, axis=0)
    )
    for name, value in weighted.parameters_.items():
        assert repeated.parameters_[name] == pytest.approx(value, rel=1e-3)
    hard = ef.ExponentialFamilyMixture(family, 2, temperature=0, random_state=0).fit(X)
    assert np.isfinite(hard.score(X))
