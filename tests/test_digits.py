"""Rows and components that are narrow for their distance from 0, and counts of which log p is a small difference."""

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from scipy import sparse

import expfam_em as ef
from expfam_em import families
from tests.case import EPS

N = 40
SPREADS = [1e-3, 1e-5, 3e-8, 1e-10]


def rows_of(name, spread, place=0, seed=0):
    """Rows of a family that are close together, at one of two places."""
    z = np.random.default_rng([seed, place]).standard_normal((N, 3))
    if name == "VonMisesFisher":
        X = np.array([[0.48, 0.6, 0.64], [-0.8, 0.6, 0.0]])[place] + spread * z
        return X / np.linalg.norm(X, axis=1, keepdims=True)
    if name == "Dirichlet":
        X = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])[place] * (1 + spread * z)
        return X / X.sum(axis=1, keepdims=True)
    if name == "Wishart":
        L = np.array([[[1.0, 0.0], [0.5, 2.0]], [[3.0, 0.0], [-1.0, 1.0]]])[place]
        steps = np.array([[z[:, 0], z[:, 1]], [z[:, 1], z[:, 2]]]).transpose(2, 0, 1)
        X = L @ (np.eye(2) + spread * steps) @ L.T
        return ((X + X.transpose(0, 2, 1)) / 2).reshape(N, 4)
    if name == "VonMises":
        return np.array([-1.3278, 2.0])[place] + spread * z[:, :1]
    if name == "Beta":
        return np.array([0.3, 0.8])[place] * (1 + spread * z[:, :1])
    return np.array([1000.0, 500.0])[place] * (1 + spread * z[:, :1])


# ---- the largest mean log-likelihood of rows, with 50 digits ---------------------------------------------------------


def gamma_maximum(x):
    mean, log_mean = sum(x) / N, sum(map(mpmath.log, x)) / N
    excess = mpmath.log(mean) - log_mean
    a = mpmath.findroot(lambda a: (mpmath.log(a) - mpmath.digamma(a)) / excess - 1, 1 / (2 * excess))
    return (a - 1) * log_mean - a - mpmath.loggamma(a) + a * mpmath.log(a / mean)


def inverse_gamma_maximum(x):
    # 1/x has a Gamma density, and log |dy/dx| = −2 log x
    return gamma_maximum([1 / value for value in x]) - 2 * sum(map(mpmath.log, x)) / N


def inverse_gaussian_maximum(x):
    mean = sum(x) / N
    shape = 1 / (sum(1 / value for value in x) / N - 1 / mean)
    log_mean = sum(map(mpmath.log, x)) / N
    return (mpmath.log(shape / (2 * mpmath.pi)) - 3 * log_mean - 1) / 2


def von_mises_maximum(x):
    cosine, sine = sum(map(mpmath.cos, x)) / N, sum(map(mpmath.sin, x)) / N
    R = mpmath.sqrt(cosine**2 + sine**2)

    def scaled(order, kappa):  # e^−κ √(2πκ) I(κ), the series for large κ
        total = term = mpf(1)
        for k in range(1, 12):
            term *= -(4 * order**2 - (2 * k - 1) ** 2) / (8 * k * kappa)
            total += term
        return total

    kappa = mpmath.findroot(lambda k: (1 - scaled(1, k) / scaled(0, k)) / (1 - R) - 1, 1 / (2 * (1 - R)))
    return kappa * (R - 1) - mpmath.log(scaled(0, kappa)) + mpmath.log(kappa / (2 * mpmath.pi)) / 2


def von_mises_fisher_maximum(X):
    unit = [[value / mpmath.sqrt(sum(v * v for v in x)) for value in x] for x in X]
    R = mpmath.sqrt(sum((sum(column) / N) ** 2 for column in zip(*unit, strict=True)))
    kappa = 1 / (1 - R)  # of coth κ − 1/κ = R, up to e^−2κ
    return kappa * (R - 1) + mpmath.log(kappa / (2 * mpmath.pi))


def dirichlet_maximum(X):
    shares = [[value / sum(x) for value in x] for x in X]
    log_means = [sum(map(mpmath.log, column)) / N for column in zip(*shares, strict=True)]
    d = len(log_means)
    room = 1 - sum(map(mpmath.exp, log_means))
    start = [mpmath.exp(m) * (d - 1) / (2 * room) for m in log_means]

    def residual(*alpha):
        return [
            (mpmath.digamma(a) - mpmath.digamma(sum(alpha)) - m) / room for a, m in zip(alpha, log_means, strict=True)
        ]

    alpha = list(mpmath.findroot(residual, start, tol=1e-20, maxsteps=30)) if d > 1 else start
    value = mpmath.loggamma(sum(alpha)) - sum(map(mpmath.loggamma, alpha))
    return value + sum((a - 1) * m for a, m in zip(alpha, log_means, strict=True))


MAXIMA = {
    "Gamma": lambda X: gamma_maximum([x[0] for x in X]),
    "InverseGamma": lambda X: inverse_gamma_maximum([x[0] for x in X]),
    "InverseGaussian": lambda X: inverse_gaussian_maximum([x[0] for x in X]),
    "VonMises": lambda X: von_mises_maximum([x[0] for x in X]),
    "VonMisesFisher": von_mises_fisher_maximum,
    "Beta": lambda X: dirichlet_maximum([[x[0], 1 - x[0]] for x in X]),
    "Dirichlet": dirichlet_maximum,
}
NARROW = [*MAXIMA, "Wishart"]


def fit_of(family, X, K=1, **how):
    return ef.ExponentialFamilyMixture(family, K, random_state=0, **how).fit(X)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("name", MAXIMA)
def test_rows_close_together_keep_their_digits(name, spread):
    X = rows_of(name, spread)
    model = fit_of(getattr(families, name)(), X)
    largest = float(MAXIMA[name]([[mpf(float(value)) for value in x] for x in X]))
    # what is left of a step x − x₀ of a row that misses length or sum 1 by ε: twice the relative error of the spread
    rounding = 8 * EPS / spread if name in ("VonMisesFisher", "Dirichlet") else 0
    assert abs(model.lower_bound_ - largest) <= 1e-12 + rounding
    assert model.lower_bound_ == pytest.approx(model.score(X), rel=0, abs=1e-13)


@pytest.mark.parametrize("spread", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("name", NARROW)
def test_narrow_components_are_those_of_their_rows_alone(name, spread):
    family = getattr(families, name)()
    lots = [rows_of(name, spread, place) for place in (0, 1)]
    X, labels = np.concatenate(lots), np.repeat([0, 1], N)
    alone = [fit_of(family, lot) for lot in lots]
    expected = np.concatenate([model.score_samples(lot) for model, lot in zip(alone, lots, strict=True)]) - np.log(2)
    rounding = 8 * EPS / spread * 30  # of rows whose sum is not 1, at 5 standard deviations
    for init in ("k-means++", labels):
        model = fit_of(family, X, 2, init=init)
        assert np.abs(model.score_samples(X) - expected).max() <= 1e-12 + rounding * (name == "Dirichlet")
        assert model.lower_bound_ == pytest.approx(expected.mean(), rel=0, abs=1e-12 + rounding * (name == "Dirichlet"))
    # parameters are rounded to ε, a relative spread of the density away from where they were
    known = {name: np.concatenate([model.parameters_[name] for model in alone]) for name in alone[0].parameters_}
    mixture = ef.Mixture.of(family, [0.5, 0.5], **known)
    assert np.abs(mixture.log_density(X) - expected).max() <= 30 * 4 * EPS / spread


@pytest.mark.parametrize("name", NARROW)
def test_narrow_rows_in_composed_families(name, tmp_path):
    family = getattr(families, name)()
    lots = [rows_of(name, 1e-7, place) for place in (0, 1)]
    X, labels = np.concatenate(lots), np.repeat([0, 1], N)
    d = X.shape[1]
    far = np.random.default_rng(1).standard_normal((2 * N, 1)) + 2.0**20 * labels[:, None]
    product = families.Product([(families.Gaussian(), [0]), (family, np.arange(1, 1 + d))])
    whole, gaussian, alone = (
        fit_of(f, Y, 2, init=labels)
        for f, Y in ((product, np.hstack([far, X])), (families.Gaussian(), far), (family, X))
    )  # fmt: skip
    expected = alone.score_samples(X) + gaussian.score_samples(far) + np.log(2)
    assert np.abs(whole.score_samples(np.hstack([far, X])) - expected).max() <= 1e-9
    pair = fit_of(families.Componentwise([(family, 1), (getattr(families, name)(), 1)]), X, 2, init=labels)
    assert np.abs(pair.score_samples(X) - alone.score_samples(X)).max() <= 1e-9
    pair.save(tmp_path / "pair.efm")
    assert np.array_equal(ef.load(tmp_path / "pair.efm").score_samples(X), pair.score_samples(X))


@pytest.mark.parametrize("name", NARROW)
def test_equal_rows_are_refused_in_any_place(name):
    X = np.repeat(rows_of(name, 0.1)[:1], 9, axis=0)
    with pytest.raises(ValueError, match=r"equal|collapsed"):
        fit_of(getattr(families, name)(), X)


def test_statistics_about_different_origins_add_up():
    X = rows_of("Gamma", 1e-7)
    first, second = (fit_of(families.Gamma(), part).mixture_ for part in (X[::2], X[1::2]))
    sums = ef.accumulate(first, X[::2]) + ef.accumulate(second, X[1::2])
    assert ef.maximize(sums, first).log_density(X).mean() == pytest.approx(
        fit_of(families.Gamma(), X).score(X), abs=1e-8
    )


def test_weights_of_narrow_rows_are_repetitions():
    X = rows_of("VonMises", 1e-8)
    weight = np.arange(N) % 3.0
    weighted = ef.ExponentialFamilyMixture(
        families.VonMises()
    ).fit(X, sample_weight=weight)  # fmt: skip
    repeated = ef.ExponentialFamilyMixture(families.VonMises()).fit(np.repeat(X, weight.astype(int), axis=0))
    assert weighted.lower_bound_ == pytest.approx(repeated.lower_bound_, rel=0, abs=1e-7)


@pytest.mark.parametrize("as_rows", [np.asarray, sparse.csr_matrix])
def test_narrow_directions_as_sparse_rows(as_rows):
    lots = [rows_of("VonMisesFisher", 1e-6, place) for place in (0, 1)]
    X, labels = np.concatenate(lots), np.repeat([0, 1], N)
    expected = np.concatenate([fit_of(families.VonMisesFisher(), lot).score_samples(lot) for lot in lots]) - np.log(2)
    model = fit_of(families.VonMisesFisher(), as_rows(X), 2, init=labels)
    assert np.abs(model.score_samples(as_rows(X)) - expected).max() <= 1e-8


# ---- zeros beside rows that are far apart, or narrow ---------------------------------------------------------------


@pytest.mark.parametrize(
    "family", [families.Gaussian(), families.Gamma(), families.Product([(families.Gamma(), [0])])], ids=repr
)
def test_zeros_beside_components_that_need_coordinates_of_their_own(family):
    lots = [rows_of("Gamma", 1e-5, place) for place in (0, 1)]
    X, labels = np.concatenate([*lots, np.zeros((20, 1))]), np.repeat([0, 1, 0], [N, N, 20])
    model = fit_of(families.ZeroInflated(family), X, 2, init=labels, tol=1e-12)
    expected = np.concatenate([fit_of(family, lot).score_samples(lot) for lot in lots]) + np.log(N / len(X))
    assert np.abs(model.score_samples(X)[: 2 * N] - expected).max() <= 1e-7
    assert model.lower_bound_ == pytest.approx(model.score(X), rel=0, abs=1e-12)


# ---- large counts --------------------------------------------------------------------------------------------------


def log_factorial(x):
    return mpmath.loggamma(mpf(float(x)) + 1)


def poisson(x, eta):
    return sum(
        mpf(float(v)) * mpf(float(e)) - mpmath.exp(mpf(float(e))) - log_factorial(v)
        for v, e in zip(x, eta, strict=True)
    )


def binomial(n):
    def log_p(x, eta):
        return sum(
            log_factorial(n) - log_factorial(v) - log_factorial(n - v) + mpf(float(v)) * mpf(float(e))
            - mpf(n) * mpmath.log1p(mpmath.exp(mpf(float(e))))
            for v, e in zip(x, eta, strict=True)
        )  # fmt: skip

    return log_p


def negative_binomial(r):
    def log_p(x, eta):
        return sum(
            mpmath.loggamma(mpf(float(v)) + r) - mpmath.loggamma(r) - log_factorial(v) + mpf(float(v)) * mpf(float(e))
            + r * mpmath.log1p(-mpmath.exp(mpf(float(e))))
            for v, e in zip(x, eta, strict=True)
        )  # fmt: skip

    return log_p


def multinomial(x, eta):
    total = mpmath.log(sum(mpmath.exp(mpf(float(e))) for e in eta))
    terms = (mpf(float(v)) * (mpf(float(e)) - total) - log_factorial(v) for v, e in zip(x, eta, strict=True))
    return log_factorial(sum(x)) + sum(terms)


def counts_of(size):
    """Families, log-probabilities with 60 digits, and two lots of rows of counts of a size."""
    rng = np.random.default_rng(2)
    n, r, shares = 4 * size, size, ([0.2, 0.3, 0.5], [0.6, 0.3, 0.1])
    return [
        (families.Poisson(), poisson, [rng.poisson(k * size, (30, 2)) for k in (1, 2)]),
        (families.Binomial(n), binomial(n), [rng.binomial(int(n), p, (30, 2)) for p in (0.3, 0.6)]),
        (
            families.NegativeBinomial(r),
            negative_binomial(r),
            [rng.poisson(k * size * rng.gamma(r, 1 / r, (30, 2))) for k in (1, 2)],
        ),
        (families.Multinomial(), multinomial, [rng.multinomial(int(n), p, 30) for p in shares]),
    ]  # fmt: skip


@pytest.mark.parametrize("as_rows", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("size", [2e6, 6e12, 1e15])
def test_large_counts_keep_their_digits(size, which, as_rows):
    family, log_p, lots = counts_of(size)[which]
    X = np.concatenate(lots).astype(float)
    model = fit_of(family, as_rows(X), 2, init=np.repeat([0, 1], 30))
    found, eta = model.score_samples(as_rows(X)), model.natural_parameters_
    expected = [float(log_p(x, eta[k])) - np.log(2) for x, k in zip(X[::15], (0, 0, 1, 1), strict=True)]
    # η is rounded to ε log x, which moves the mean by ε √x log x standard deviations
    allowed = 1e-11 + 40 * EPS * np.sqrt(size) * np.log(size)
    assert np.abs(found[::15] - expected).max() <= allowed
    assert model.lower_bound_ == pytest.approx(found.mean(), rel=0, abs=1e-11)


@pytest.mark.parametrize("size", [4e6, 1e12, 1e15])
@pytest.mark.parametrize("as_rows", [np.asarray, sparse.csr_matrix])
def test_a_multinomial_density_that_was_never_fitted_keeps_the_digits_of_large_counts(size, as_rows):
    mixture = ef.Mixture.of(families.Multinomial(), [1.0], probabilities=[[0.25, 0.25, 0.5]])
    x = np.floor(np.array([[0.25, 0.25, 0.5]]) * size + np.sqrt(size) * np.array([[1.0, -2.0, 1.0]]))
    expected = float(
        log_factorial(x[0].sum())
        + sum(mpf(c) * mpmath.log(p) - log_factorial(c) for c, p in zip(x[0], (0.25, 0.25, 0.5), strict=True))
    )
    assert mixture.log_density(as_rows(x)) == pytest.approx([expected], rel=1e-11)
    assert mixture.family.log_density(x, mixture.natural)[:, 0] == pytest.approx([expected], rel=1e-11)
    assert ef.accumulate(mixture, as_rows(x)).bound == pytest.approx(expected, rel=1e-11)


def test_large_counts_in_composed_families():
    _, _, lots = counts_of(1e12)[0]
    X = np.concatenate(lots).astype(float)
    labels = np.repeat([0, 1], 30)
    alone = fit_of(families.Poisson(), X, 2, init=labels)
    product = fit_of(families.Product([(families.Poisson(), [0]), (families.Poisson(), [1])]), X, 2, init=labels)
    pair = fit_of(families.Componentwise([(families.Poisson(), 1), (families.Poisson(), 1)]), X, 2, init=labels)
    for model in (product, pair):
        assert np.abs(model.score_samples(X) - alone.score_samples(X)).max() <= 1e-11
        assert model.lower_bound_ == pytest.approx(alone.lower_bound_, rel=0, abs=1e-11)


def test_the_rates_of_large_counts_may_vary():
    family = families.GammaPoisson()
    [[shape, minus_rate, _]] = eta = family.from_parameters(shapes=[[3e7]], means=[[3e9]])
    X = 3e9 + 1e6 * np.arange(-3.0, 4.0)[:, None]
    shape, rate = mpf(float(shape)), -mpf(float(minus_rate))
    for x, found in zip(X[:, 0], family.log_density(X, eta)[:, 0], strict=True):
        expected = mpmath.loggamma(mpf(x) + shape) - mpmath.loggamma(shape) - log_factorial(x)
        expected += shape * mpmath.log(rate / (1 + rate)) - mpf(x) * mpmath.log1p(rate)
        assert abs(found - expected) <= 1e-10
