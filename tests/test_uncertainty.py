"""Standard errors: the curvature of the log-likelihood, R's numbers, closed forms, and what must be refused."""

import re
import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.special import logit
from scipy.stats import multivariate_normal, norm
from sklearn.exceptions import ConvergenceWarning

import expfam_em as ef
from expfam_em import families
from tests.cases import CASES
from tests.covariance_models import MODELS, matrices, problem
from tests.row_sources import ListRows

TIGHT = {"tol": 1e-14, "max_iter": 20_000, "acceleration": "auto"}


def drawn(case, n=150, seed=0):
    """Rows of two components with weights, and the fit to them that starts at the truth."""
    rng, n = np.random.default_rng(seed), 50 if case.numeric else n  # mappings without formulas take long
    thetas = case.components[:2]
    X = np.concatenate([case.draw(theta, n, rng) for theta in thetas])
    weight = rng.integers(1, 4, len(X)).astype(float)
    family = case.family.bind([(X, weight)])
    start = ef.Mixture(case.family, [0.5, 0.5], case.naturals(thetas)).in_family(family)
    how = TIGHT | ({"tol": 1e-10} if case.numeric else {})
    return ef.fit(start, X, weight, **how).mixture, X, weight


def moved(mixture, errors, along):
    """The mixture whose named parameters have moved along a vector of all numbers."""
    flat = np.concatenate([np.ravel(value) for value in errors.estimates.values()]) + along
    ends = np.cumsum([value.size for value in errors.estimates.values()])[:-1]
    parts = zip(errors.estimates.items(), np.split(flat, ends), strict=True)
    named = {name: part.reshape(value.shape) for (name, value), part in parts}
    weights = named.pop("weights")
    for name in list(named):
        if name.endswith("probabilities") and name.removesuffix("probabilities") + "means" in named:
            del named[name]  # it follows from the means
        elif name.endswith("directions"):
            named[name] /= np.linalg.norm(named[name], axis=-1, keepdims=True)
    return ef.Mixture.of(mixture.family, weights, **named)


def second_derivative(function, step=0.05):
    """f″(0), with an error of order step⁴."""
    there = {times: function(times * step) for times in (-2, -1, 0, 1, 2)}
    return (16 * (there[1] + there[-1]) - (there[2] + there[-2]) - 30 * there[0]) / (12 * step**2)


def check_curvature(log_likelihood, errors, tolerance, n_directions=4):
    """With C = F Fᵀ the inverse of the information, log L falls by |z|²/2 along F z, for any z."""
    rng = np.random.default_rng(0)
    for z in rng.standard_normal((n_directions, errors.factor.shape[1])):
        along = errors.factor @ (z / np.linalg.norm(z))
        assert second_derivative(lambda s, along=along: log_likelihood(s * along)) == pytest.approx(-1, abs=tolerance)


SHARES = ("weights", "probabilities", "shares")
POSITIVE = (
    "rates", "shapes", "scales", "exponents", "alphas", "betas", "concentrations", "degrees_of_freedom", "covariances",
)  # fmt: skip
OTHER_NAMES = ("means", "locations", "low", "high", "expectation")
EIGHT_ERRORS = 1 - 2 * norm.sf(8)


def check_intervals(errors):
    """Intervals of eight standard errors lie where the names say that their numbers do, and about the estimates."""
    for row in errors.rows(EIGHT_ERRORS):
        name, at, least, most = row["parameter"], row["index"], -np.inf, np.inf
        if name.endswith((*SHARES, "directions")):
            least, most = -1.0 * name.endswith("directions"), 1.0
        elif name.endswith(POSITIVE) and (len(at) < 2 or at[-1] == at[-2]):
            least = 0.0
        else:
            assert name.endswith((*OTHER_NAMES, *POSITIVE))
        assert least <= row["lower"] <= row["estimate"] <= row["upper"] <= most, row


def test_intervals_of_few_rows_lie_in_the_range():
    X = np.array([[1.0, 0.3], [0.0, 0.1], [0.0, 2.0], [0.0, 0.2]])
    family = families.Product([(families.Bernoulli(), [0]), (families.Gamma(), [1])])
    errors = ef.standard_errors(ef.ExponentialFamilyMixture(family, 1, **TIGHT).fit(X), X)
    check_intervals(errors)
    with np.errstate(invalid="ignore"):
        below = [name for name, value in errors.estimates.items() if np.any(value - 1.96 * errors[name] < 0)]
    assert below == ["bernoulli_probabilities", "gamma_shapes", "gamma_rates"]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_they_are_the_curvature_of_the_log_likelihood(case):
    mixture, X, weight = drawn(case)
    errors = ef.standard_errors(mixture, X, weight)
    assert errors.factor.shape[1] == mixture.n_parameters
    assert not errors.left_out
    check_intervals(errors)
    check_intervals(errors)
    # step⁴ times the sixth derivative, which falls with n, is below 3e-6; values of log L of 1e3 have 1e-13/step² of it
    n_directions = 1 if case.numeric else 4
    check_curvature(lambda along: weight @ moved(mixture, errors, along).log_density(X), errors, 5e-6, n_directions)


def incomplete_and_composed():
    rng, n = np.random.default_rng(1), 300
    two = np.repeat([0, 1], n)
    t = rng.standard_t(5, (2 * n, 2)) + 4.0 * two[:, None]
    normal = rng.normal(size=(2 * n, 2)) * [1, 0.5] + 3.0 * two[:, None]
    counts = np.where(two, rng.negative_binomial(6, 0.2, 2 * n), rng.negative_binomial(3, 0.5, 2 * n)).astype(float)
    zeros = np.column_stack([np.where(rng.random(2 * n) < 0.3, 0, rng.poisson(4, 2 * n)), normal[:, 0]])
    kinds = rng.integers(0, 3, 2 * n).astype(float)
    Gaussian, Product = families.Gaussian, families.Product
    return {
        "t": (families.StudentT(), t),
        "t, 5 degrees": (families.StudentT(5.0, "diag"), t),
        "t, spherical": (families.StudentT(covariance_type="spherical"), t),
        "GammaPoisson": (families.GammaPoisson(), counts[:, None]),
        "LogNormal": (families.LogNormal(), np.exp(normal)),
        "Product": (Product([(Gaussian("tied"), [0, 1]), (families.GammaPoisson(), [2])]), np.c_[normal, counts]),
        "Product, labels": (Product([(Gaussian("full"), [0, 1]), (families.Categorical(), [2])]), np.c_[normal, kinds]),
        "Product, zeros": (Product([(families.ZeroInflated(families.Poisson()), [0]), (Gaussian(), [1])]), zeros),
        "Componentwise": (families.Componentwise([(families.StudentT(), 1), (Gaussian("diag"), 1)]), t),
        "noise": (families.Componentwise([(Gaussian(), 1), (families.Uniform(), 1)]), normal),
    }


OTHERS = incomplete_and_composed()


@pytest.mark.parametrize("name", OTHERS)
def test_incomplete_and_composed_families(name):
    family, X = OTHERS[name]
    mixture = ef.ExponentialFamilyMixture(family, 2, random_state=0, **TIGHT).fit(X).mixture_
    errors = ef.standard_errors(mixture, X)
    assert errors.factor.shape[1] == mixture.n_parameters
    assert not errors.left_out
    constant = {name for name, value in errors.items() if not value.any()}
    assert constant == {name for name in errors if name.endswith(("low", "high", "levels"))} | (
        {"degrees_of_freedom"} if family.__class__.__name__ == "StudentT" and family.degrees_of_freedom else set()
    )
    check_intervals(errors)
    check_intervals(errors)
    # EM of these families stops by the rounding of E[T | x], about 1e-6 standard errors off
    check_curvature(lambda along: moved(mixture, errors, along).log_density(X).sum(), errors, 1e-5)


# ---- covariance models: volumes, shapes and angles of two-dimensional normal densities -------------------------------


def rotation(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def unpacked(model, t, K):
    """Weights, means and covariances of log-odds, means, log-volumes, log-shapes and angles, shared by letter."""
    parts, at = [], 3 * K - 1
    for letter in model:
        size = {"I": 0, "E": 1, "V": K}[letter]
        parts.append(np.broadcast_to(t[at : at + size] if size else 0.0, K))
        at += size
    odds = np.exp(np.append(t[: K - 1], 0.0))
    roots = [rotation(a) @ np.diag(np.exp([v + s, v - s])) for v, s, a in zip(*parts, strict=True)]
    return odds / odds.sum(), t[K - 1 : 3 * K - 1].reshape(K, 2), np.array([R @ R.T for R in roots])


def packed(model, weights, means, covariances):
    """The inverse of `unpacked`."""
    values, vectors = np.linalg.eigh(covariances)
    logs = np.log(values)
    volume, shape = logs.sum(axis=1) / 4, (logs[:, 1] - logs[:, 0]) / 4
    angle = np.arctan2(vectors[:, 1, 1], vectors[:, 0, 1])
    if model[2] == "E":  # the same axes: the longer one may be the other
        turned = np.round((angle - angle[0]) / (np.pi / 2)).astype(int)
        shape, angle = np.where(turned % 2, -shape, shape), angle - turned * np.pi / 2
    if model[2] == "I":
        shape = (np.log(covariances[:, 0, 0]) - np.log(covariances[:, 1, 1])) / 4
    parts = [
        part[: {"I": 0, "E": 1, "V": None}[letter]] for letter, part in zip(model, (volume, shape, angle), strict=True)
    ]
    return np.concatenate([np.log(weights[:-1] / weights[-1]), means.ravel(), *parts])


@pytest.mark.parametrize("model", MODELS)
def test_covariance_models(model):
    X, weight, _ = problem(4, 2, 2, spread=1.5)
    fit = ef.GaussianMixture(2, covariance_type=model, reg_covar=0, random_state=0, **TIGHT)
    mixture = fit.fit(X, sample_weight=weight).mixture_
    errors = ef.standard_errors(fit, X, weight)
    assert errors.factor.shape[1] == mixture.n_parameters

    def numbers(t):
        weights, means, covariances = unpacked(model, t, 2)
        return np.concatenate([weights, means.ravel(), covariances.ravel()])

    def log_likelihood(t):
        parts = zip(*unpacked(model, t, 2), strict=True)
        joint = [np.log(w) + multivariate_normal.logpdf(X, m, c) for w, m, c in parts]
        return weight @ np.logaddexp(*joint)

    means, covariances = mixture.parameters["means"], matrices(model, mixture.parameters["covariances"], 2, 2)
    at = packed(model, mixture.weights, means, covariances)
    assert np.allclose(unpacked(model, at, 2)[2], covariances, rtol=1e-7, atol=1e-7)
    slopes = np.array([(numbers(at + 1e-5 * e) - numbers(at - 1e-5 * e)) / 2e-5 for e in np.eye(len(at))]).T
    factor = np.concatenate([
        errors.factor[:6],  # mixing weights and means
        np.stack([matrices(model, column, 2, 2).ravel() for column in of_covariances(errors)], axis=1),
    ])  # fmt: skip
    solved, *_ = np.linalg.lstsq(slopes, factor, rcond=None)
    # no direction leaves the model, up to the distance of the fit from its maximum
    assert np.abs(slopes @ solved - factor).max() < 1e-6 * np.abs(factor).max()
    rng = np.random.default_rng(0)
    for z in rng.standard_normal((4, factor.shape[1])):
        along = solved @ (z / np.linalg.norm(z))
        curvature = second_derivative(lambda s, along=along: log_likelihood(at + s * along))
        assert curvature == pytest.approx(-1, abs=1e-5)  # slow fits stop about 1e-6 standard errors off


def of_covariances(errors):
    """Each column of the factor as an array like the covariances."""
    shape = errors.estimates["covariances"].shape
    return [column[6:].reshape(shape) for column in errors.factor.T]


# ---- R's numbers -----------------------------------------------------------------------------------------------------

DEATHS, DAYS = np.arange(10.0)[:, None], np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1.0])
"""Deaths per day in The Times (Hasselblad 1969)."""

PATTERNS = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], [0, 1], indexing="ij")).reshape(4, -1).T.astype(float)
STOUFFER = np.array([42, 23, 6, 25, 6, 24, 7, 38, 1, 4, 1, 6, 2, 9, 2, 20.0])
"""Answers to four questions (Stouffer and Toby 1951)."""


def test_poisson_mixture_of_hasselblad():
    """R: Newton's method to a gradient of 0, then sqrt(diag(solve(numDeriv::hessian(nll, par))))."""
    fit = ef.ExponentialFamilyMixture(families.Poisson(), 2, random_state=0, **TIGHT).fit(DEATHS, sample_weight=DAYS)
    errors = ef.standard_errors(fit.reorder("rates"), DEATHS, DAYS)
    found = [errors["weights"][0], *errors["rates"].ravel()]
    assert found == pytest.approx([0.194684298182385, 0.350029711358944, 0.250478269536758], rel=1e-6)
    scores = ef.standard_errors(fit, DEATHS, DAYS, kind="scores")  # the outer product of scores, computed apart
    assert [scores["weights"][0], *scores["rates"].ravel()] == pytest.approx([0.2063149, 0.3696163, 0.2654547], 1e-5)


def test_latent_classes_of_stouffer_and_toby():
    """R: poLCA(cbind(A, B, C, D) ~ 1, values, nclass=2, nrep=10, tol=1e-12), whose errors are those of the scores."""
    fit = ef.ExponentialFamilyMixture(families.Categorical(), 2, random_state=0, **TIGHT)
    fit.fit(PATTERNS, sample_weight=STOUFFER).reorder()
    assert fit.lower_bound_ * 216 == pytest.approx(-504.467670118368, abs=1e-8)
    errors = ef.standard_errors(fit, PATTERNS, STOUFFER, kind="scores")
    assert errors["weights"] == pytest.approx([0.0561425992920635] * 2, rel=1e-6)
    expected = [
        [0.0393000527189844, 0.048945798199993, 0.048209429565639, 0.0379071815594745],
        [0.0253930577521451, 0.0649142038091142, 0.0641753195580639, 0.0928788875843622],
    ]
    assert np.allclose(errors["probabilities"], np.array(expected)[:, :, None], rtol=2e-6, atol=0)


def test_bootstrap_of_old_faithful(faithful):
    """R: summary(MclustBootstrap(Mclust(faithful, 2, "VVV"), nboot=999, type="bs"), what="se")."""
    fit = ef.GaussianMixture(2, random_state=0, tol=1e-7, max_iter=999).fit(faithful).reorder()
    found = ef.bootstrap(fit, faithful, n_replicates=200, random_state=0)
    expected = {
        "weights": [0.0288728880704464] * 2,
        "means": [[0.0335436412902959, 0.466983925713042], [0.0289591747967275, 0.586495597633023]],
    }
    for name, value in expected.items():  # both are drawn: errors of 1/√(2 · 200) and 1/√(2 · 999), together 5.5 %
        assert np.allclose(found[name], value, rtol=4 * 0.055, atol=0)
    low, high = found.intervals(0.9)["means"]
    assert np.all((low < fit.means_) & (fit.means_ < high))


def test_zero_inflated_articles():
    """R: sqrt(diag(vcov(pscl::zeroinfl(art ~ 1 | 1, bioChemists)))), of the probability and of the rate."""
    articles = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 19.0])[:, None]
    people = np.array([275, 246, 178, 84, 67, 27, 17, 12, 1, 2, 1, 1, 2, 1, 1.0])
    fit = ef.ExponentialFamilyMixture(families.ZeroInflated(families.Poisson()), random_state=0, **TIGHT)
    errors = ef.standard_errors(fit.fit(articles, sample_weight=people), articles, people)
    assert errors["zero_shares"][0] == pytest.approx(0.0185029, abs=1e-7)
    assert errors["rates"][0, 0] == pytest.approx(0.0641856, abs=1e-7)


# ---- closed forms and equal answers ----------------------------------------------------------------------------------


def two_poissons(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = np.concatenate([rng.poisson(2, (n, 2)), rng.poisson([9, 5], (n, 2))]).astype(float)
    fit = ef.ExponentialFamilyMixture(families.Poisson(), 2, random_state=0, **TIGHT)
    return fit, X


def test_one_component_of_robust_errors():
    rng = np.random.default_rng(0)
    X = rng.negative_binomial(2, 0.3, (300, 1)).astype(float)  # not Poisson
    weight = rng.integers(1, 4, 300).astype(float)
    fit = ef.ExponentialFamilyMixture(families.Poisson()).fit(X, sample_weight=weight)
    found = {kind: ef.standard_errors(fit, X, weight, kind=kind)["rates"][0, 0] for kind in
             ("information", "scores", "robust", "survey")}  # fmt: skip
    n, rate = weight.sum(), np.average(X[:, 0], weights=weight)
    squares = (X[:, 0] - rate) ** 2
    assert found == pytest.approx({
        "information": np.sqrt(rate / n),
        "scores": rate / np.sqrt(weight @ squares),
        "robust": np.sqrt(weight @ squares) / n,
        "survey": np.sqrt(weight**2 @ squares) / n,
    }, rel=1e-8)  # fmt: skip


def test_posterior_and_known_weights():
    fit, X = two_poissons()
    fit.set_params(prior=ef.ExpectedStatistics([3.0, 3.0], [[12.0, 12.0]] * 2), concentration=4.0).fit(X)
    errors, mixture, prior = ef.standard_errors(fit, X), fit.mixture_, fit.prior
    assert errors.distance < 1e-5  # the maximum is that of the posterior density

    def log_posterior(along):
        there = moved(mixture, errors, along)
        pseudo = np.sum(prior.sums * there.natural) - prior.counts @ there.log_partition
        return there.log_density(X).sum() + pseudo + 3.0 * there.log_weights.sum()

    check_curvature(log_posterior, errors, 2e-6)
    known = ef.ExponentialFamilyMixture(families.Poisson(), 2, weights="equal", random_state=0, **TIGHT).fit(X)
    assert np.array_equal(ef.standard_errors(known, X)["weights"], [0, 0])
    assert np.all(ef.standard_errors(known, X)["rates"] > 0)


def test_same_errors_of_the_same_rows():
    fit, X = two_poissons()
    weight = np.random.default_rng(1).integers(0, 3, len(X)).astype(float)
    mixture = fit.fit(X, sample_weight=weight).mixture_
    expected = {kind: ef.standard_errors(mixture, X, weight, kind=kind) for kind in ("information", "robust")}
    times = weight.astype(int)
    for kind, errors in expected.items():
        others = [
            ef.standard_errors(mixture, np.repeat(X, times, axis=0), kind=kind),
            ef.standard_errors(mixture, sparse.csr_array(X), weight, kind=kind),
            ef.standard_errors(mixture, X.astype(np.float32), weight, kind=kind),
            ef.standard_errors(mixture, ListRows.of(X, weight, [100, 101, 300]), kind=kind),
            ef.standard_errors(fit, X, weight, kind=kind),
        ]
        for other in others:
            assert np.allclose(other["rates"], errors["rates"], rtol=1e-8, atol=0)
    assert np.array_equal(
        ef.standard_errors(mixture, X, weight, n_jobs=1).factor, ef.standard_errors(mixture, X, weight, n_jobs=2).factor
    )


def test_components_far_away_in_frames_of_their_own():
    rng = np.random.default_rng(0)
    near = np.concatenate([rng.normal(size=(200, 2)), rng.normal(size=(300, 2)) * [0.5, 2] + [4, 4]])
    far = near + 1e6 * (np.arange(500) >= 200)[:, None]
    errors = []
    for X in (near + 1e3 * (np.arange(500) >= 200)[:, None], far):
        fit = ef.GaussianMixture(2, random_state=0, reg_covar=0).fit(X).reorder()
        errors.append(ef.standard_errors(fit, X))
    for name, value in errors[0].items():
        assert np.allclose(errors[1][name], value, rtol=1e-6, atol=1e-9)  # rows are rounded to 1e-10 there
    variance = np.var(near[200:], axis=0)
    assert np.allclose(errors[0]["means"][0], np.sqrt(variance / 300), rtol=1e-6, atol=0)


# ---- what is known of the components of rows -------------------------------------------------------------------------


def rows_of(name, n=150):
    """A family of two components, rows of it in three columns at most, and their components."""
    rng = np.random.default_rng(4)
    z = np.repeat([0, 1], n)
    normal = rng.normal(size=(2 * n, 2)) * [1, 0.5] + 2.0 * z[:, None]
    counts = rng.poisson(np.array([[2, 5], [5, 3]])[z]).astype(float)
    rows = {
        "Gaussian": (families.Gaussian("full"), normal),
        "tied": (families.Gaussian("tied"), normal),
        "missing": (families.Gaussian("diag"), np.where(rng.random(normal.shape) < 0.2, np.nan, normal)),
        "StudentT": (families.StudentT(5.0), rng.standard_t(5, normal.shape) + 2.0 * z[:, None]),
        "sparse": (families.Poisson(), sparse.csr_array(counts)),
        "Bernoulli": (families.Bernoulli(), (rng.random((2 * n, 6)) < np.array([[0.3], [0.7]])[z]).astype(float)),
        "noise": (families.Componentwise([(families.Gaussian("diag"), 1), (families.Uniform(), 1)]), normal),
    }
    return (*rows[name], z)


def what_is_known(z, kind):
    """Arguments of ``fit``, and log q (n, K)."""
    rng, n = np.random.default_rng(6), len(z)
    known, log_q = {}, np.zeros((n, 2))
    if "y" in kind:
        known["y"] = np.where(rng.random(n) < 0.3, z, -1)
        log_q[(known["y"][:, None] != -1) & (known["y"][:, None] != np.arange(2))] = -np.inf
    if "allowed" in kind:
        known["allowed"] = (rng.random((n, 2)) < 0.7) | (np.arange(2) == z[:, None])
        log_q[~known["allowed"]] = -np.inf
    if "log_prior" in kind:
        known["log_prior"] = rng.normal(size=(n, 2))
        log_q = log_q + known["log_prior"]
    return known, log_q


@pytest.mark.parametrize("kind", ["y", "allowed", "y, log_prior"])
@pytest.mark.parametrize("name", ["Gaussian", "tied", "missing", "StudentT", "sparse", "Bernoulli", "noise"])
def test_what_is_known_of_rows_is_in_the_likelihood(name, kind):
    family, X, z = rows_of(name)
    known, log_q = what_is_known(z, kind)
    weight = np.random.default_rng(2).integers(0, 3, len(z)).astype(float)
    fit = ef.ExponentialFamilyMixture(family, 2, labelled="y" in known, guard=False, random_state=0, **TIGHT)
    mixture = fit.fit(X, sample_weight=weight, **known).mixture_
    errors = ef.standard_errors(fit, X, weight, **known)
    assert errors.factor.shape[1] == mixture.n_parameters
    assert not errors.left_out
    assert np.allclose(ef.standard_errors(mixture, X, weight, **known).factor, errors.factor, rtol=1e-6, atol=1e-10)

    def by_row(there):
        """log Σ_k π_k q_nk p(x_n|η_k), from densities of single components."""
        each = [there.components([k]).log_density(X) for k in range(2)]
        return np.logaddexp(*(np.log(w) + one + q for w, one, q in zip(there.weights, each, log_q.T, strict=True)))

    check_curvature(lambda along: weight @ by_row(moved(mixture, errors, along)), errors, 1e-5)
    scores = ef.standard_errors(fit, X, weight, kind="scores", **known)
    step, (q, _) = 1e-4, scores.factor.T.shape
    slopes = np.array([
        (by_row(moved(mixture, errors, step * f)) - by_row(moved(mixture, errors, -step * f))) / (2 * step)
        for f in scores.factor.T
    ])  # fmt: skip
    assert np.allclose((weight * slopes) @ slopes.T, np.eye(q), atol=1e-4)
    summary = fit.summary(X, weight, **known)
    assert summary.log_likelihood == pytest.approx(weight @ by_row(mixture), rel=1e-12)
    assert np.array_equal(summary.errors.factor, errors.factor)


def test_errors_of_discriminant_analysis():
    """With all labels known, they are those of each class alone."""
    _, X, z = rows_of("Gaussian")
    fit = ef.GaussianMixture(2, labelled=True, reg_covar=0).fit(X, z)
    errors, sizes = ef.standard_errors(fit, X, y=z), np.bincount(z)
    assert errors.missing == pytest.approx(0, abs=1e-9)
    variances = np.array([np.var(X[z == k], axis=0) for k in range(2)])
    assert np.allclose(errors["means"], np.sqrt(variances / sizes[:, None]), rtol=1e-7, atol=0)
    assert np.allclose(errors["weights"], np.sqrt(0.25 / len(z)), rtol=1e-7, atol=0)
    summary = fit.summary(X, y=z)
    assert summary.icl == summary.bic  # nothing is uncertain


def test_bootstrap_of_labelled_rows():
    _, X, z = rows_of("missing")
    known, _ = what_is_known(z, "y, allowed")
    fit = ef.GaussianMixture(2, covariance_type="diag", labelled=True, random_state=0, tol=1e-6).fit(X, **known)
    errors = ef.standard_errors(fit, X, **known)
    for draws in ("nonparametric", "weighted"):
        found = ef.bootstrap(fit, X, n_replicates=60, draws=draws, random_state=0, **known)
        # of 60 draws: a relative error of 1/√120, and twice that beside asymptotic errors
        assert np.allclose(found["means"], errors["means"], rtol=4 / np.sqrt(120), atol=0)
    with pytest.raises(ValueError, match="nothing is known of the components of drawn rows"):
        ef.bootstrap(fit, X, draws="parametric", **known)


def test_what_is_known_is_that_of_the_fit():
    _, X, z = rows_of("Gaussian")
    fit = ef.GaussianMixture(2, random_state=0, tol=1e-10, max_iter=999).fit(X)
    with pytest.raises(ValueError, match="rows of which nothing else was known"):
        ef.standard_errors(fit, X, y=z)
    fit.set_params(labelled=True).fit(X, z)
    with pytest.raises(ValueError, match="y is not given"):
        ef.standard_errors(fit, X, log_prior=np.zeros((len(X), 2)))
    with pytest.raises(ValueError, match="labels must be 0 to 1"):
        ef.standard_errors(fit, X, y=z + 1)
    with pytest.raises(ValueError, match="needs all rows in memory"):
        ef.standard_errors(fit.mixture_, ListRows.of(X, None, [100, 200]), y=z)


# ---- what has no standard error --------------------------------------------------------------------------------------


def test_edges_are_left_out_by_name():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (400, 4)).astype(float)
    X[:200, 0], X[:200, 1] = 1, 0
    # columns that tell the components: the likelihood then falls from the edge
    X[:, 2:] = rng.random((400, 2)) < np.where(np.arange(400) < 200, 0.95, 0.05)[:, None]
    fit = ef.BernoulliMixture(2, init=np.repeat([0, 1], 200), tol=1e-14, max_iter=5000).fit(X)
    errors = ef.standard_errors(fit, X)
    at_edge = (fit.probabilities_ < 1e-9) | (fit.probabilities_ > 1 - 1e-9)
    assert at_edge.sum() == 2
    assert np.array_equal(np.isnan(errors["probabilities"]), at_edge)
    k = int(np.argmax(at_edge.any(axis=1)))
    assert errors.left_out == (
        f"Without a standard error, at the edge of what is possible: probabilities[{k}, 0], probabilities[{k}, 1].",
        "Left out as if they were known: 2 of 9 free parameters.",
    )
    assert errors.left_out[0] in str(fit.summary(X))
    assert "–" in str(errors)
    # those that are left are as if the two probabilities were known
    check_curvature(lambda along: moved(fit.mixture_, errors, np.nan_to_num(along)).log_density(X).sum(),
                    errors_of_the_rest(errors), 2e-6)  # fmt: skip


def test_a_floor_under_variances():
    X = np.random.default_rng(0).normal(size=(100, 2)) + np.repeat([[0, 0], [9, 9]], 50, axis=0)
    X[50:, 1] = 9
    family = families.Gaussian("diag", variance_floor=1e-4)
    fit = ef.ExponentialFamilyMixture(family, 2, init=np.repeat([0, 1], 50)).fit(X)
    errors = ef.standard_errors(fit, X)
    variances = fit.parameters_["covariances"]
    assert np.array_equal(np.isnan(errors["covariances"]), [[False, False], [False, True]])
    assert np.allclose(errors["means"], np.sqrt(variances / 50), rtol=1e-6, atol=0)
    assert errors.left_out[-1] == "Components at an edge: 1 at variance_floor."


def errors_of_the_rest(errors):
    return ef.StandardErrors(errors.estimates, np.nan_to_num(errors.factor))


def test_infinite_degrees_of_freedom_leave_normal_components():
    X = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    fit = ef.ExponentialFamilyMixture(families.StudentT(), random_state=0).fit(X)
    normal = ef.standard_errors(ef.GaussianMixture(reg_covar=0).fit(X), X)
    errors = ef.standard_errors(fit, X)
    assert np.isnan(errors["degrees_of_freedom"]).all()
    assert np.allclose(errors["scales"], normal["covariances"], rtol=1e-6, atol=0)
    assert np.allclose(errors["means"], normal["means"], rtol=1e-6, atol=0)


def test_what_has_no_errors_says_so():
    rng = np.random.default_rng(0)
    X, times = rng.poisson(3, (200, 1)).astype(float), rng.exponential(1, (200, 1))
    same = ef.Mixture.of(families.Exponential(), [0.5, 0.5], rates=[[1 / times.mean()]] * 2)
    with pytest.raises(ValueError, match="components 0, 1, as where components coincide"):
        ef.standard_errors(same, times)
    for family in (families.FreeLaplace(), families.FreeWeibull()):
        why = r"has no information of complete data \(.* its statistics go with the component\): take ef\.bootstrap"
        with pytest.raises(ValueError, match=why):
            ef.standard_errors(ef.ExponentialFamilyMixture(family).fit(times), times)
    hard = ef.ExponentialFamilyMixture(families.Poisson(), 2, temperature=[1, 0], random_state=0).fit(X)
    with pytest.raises(ValueError, match="temperature 0, where the bound is no log-likelihood"):
        ef.standard_errors(hard, X)
    with pytest.raises(ValueError, match="kind is 'sandwich'; it must be one of"):
        ef.standard_errors(hard, X, kind="sandwich")
    with pytest.raises(TypeError, match="it must be a Mixture, or a fitted estimator"):
        ef.standard_errors(ef.KMeans(2, n_init=1).fit(X), X)
    with pytest.raises(ValueError, match="level is 95"):
        ef.standard_errors(ef.Mixture.of(families.Poisson(), [1.0], rates=[[X.mean()]]), X).intervals(95)
    binomial = rng.binomial(4, 0.5, (200, 1)).astype(float)  # of less variance than Poisson counts
    limit = ef.ExponentialFamilyMixture(families.GammaPoisson().bind([(binomial, None)]))
    limit.mixture_ = ef.Mixture.of(limit.family, [1.0], shapes=[[np.inf]], means=[[binomial.mean()]])
    with pytest.raises(ValueError, match="at an edge: 0 Poisson in a column, of infinite shape"):
        ef.standard_errors(limit, binomial)
    assert "No standard errors: the likelihood is flat" in str(limit.summary(binomial))


def test_estimates_that_are_no_maximum():
    fit, X = two_poissons()
    family, rates = families.Poisson(), fit.fit(X).parameters_["rates"]
    error = ef.standard_errors(fit, X)["rates"][0, 0]

    def at(times):
        return ef.Mixture.of(family, fit.weights_, rates=rates + times * error * np.array([[1, 0], [0, 0]]))

    with pytest.warns(UserWarning, match="standard errors away from the maximum") as caught:
        distance = ef.standard_errors(at(0.5), X).distance
    assert caught[0].filename == __file__
    fit.mixture_ = at(0.5)
    with pytest.warns(UserWarning, match="standard errors away from the maximum") as caught:
        fit.summary(X)
    assert caught[0].filename == __file__
    assert 0.4 < distance < 0.8  # others follow, so the whole ellipsoid is at least as far
    with pytest.raises(ValueError, match=r"give ef.fit stop='maximum', tol=1e-08, acceleration='auto'"):
        ef.standard_errors(at(3.0), X)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {},
            "fit with stop='maximum', tol=1e-08, acceleration='auto'; with warm_start=True, too, it goes on from here",
        ),
        ({"stop": "maximum", "tol": 1e-9, "max_iter": 2}, "fit with acceleration='auto'; with"),
        ({"stop": "maximum", "tol": 1e-9, "acceleration": "auto", "max_iter": 2}, "a larger max_iter than 2; with"),
    ],
)
def test_what_a_fit_is_told_that_ended_early_brings_it_to_the_maximum(given, said):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (300, 2)), rng.normal(2.5, 1, (200, 2))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = ef.GaussianMixture(2, random_state=0, **given).fit(X)
    with pytest.warns(UserWarning, match=re.escape(said)) as caught:
        model.summary(X)
    advice = dict(re.findall(r"(stop|tol|acceleration)='?([\w-]+)", str(caught[0].message)))
    model.set_params(
        **advice | ({"tol": float(advice["tol"])} if "tol" in advice else {}), max_iter=100, warm_start=True
    )
    assert ef.standard_errors(model.fit(X), X).distance < 0.01


def test_a_value_to_be_read():
    fit, X = two_poissons()
    errors = ef.standard_errors(fit.fit(X).reorder(), X)
    assert [*errors] == ["weights", "rates"]
    assert len(errors) == 2
    assert np.allclose(
        np.sqrt(np.diag(errors.covariance)), np.concatenate([errors["weights"], errors["rates"].ravel()])
    )
    assert 0 < errors.missing < 1
    row = errors.rows()[2]
    assert row["parameter"] == "rates"
    assert row["index"] == (0, 0)
    z = 1.959963984540054
    for row in errors.rows():
        lower, estimate, upper = (row[key] for key in ("lower", "estimate", "upper"))
        if row["parameter"] == "rates":
            ends, slope = np.log([lower, estimate, upper]), 1 / estimate
        else:
            ends, slope = logit([lower, estimate, upper]), 1 / (estimate * (1 - estimate))
        assert np.diff(ends) == pytest.approx(z * slope * row["standard_error"], rel=1e-9)
    lines = str(errors).splitlines()
    assert lines[0].startswith("parameter ")
    assert len({len(line) for line in lines}) == 1
    summary = fit.summary(X)
    assert (summary.bic, summary.aic, summary.icl) == (fit.bic(X), fit.aic(X), fit.icl(X))
    assert summary.log_likelihood == pytest.approx(fit.score(X) * len(X))
    assert f"{len(X)} rows of 2 columns, 2 components, 5 free parameters" in str(summary)
    weight = np.full(len(X), 0.25)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        summary = fit.summary(X, weight)
        assert len(caught) == 1
        criteria = fit.bic(X, weight), fit.aic(X, weight), fit.icl(X, weight)
    assert (summary.bic, summary.aic, summary.icl) == criteria


def test_rows_are_validated_once(monkeypatch):
    fit, X = two_poissons()
    fit.fit(X)
    X = X.astype(np.int32)  # of float64, a short look is enough
    seen, validated = [], ef.ExponentialFamilyMixture._validated
    monkeypatch.setattr(type(fit), "_validated", lambda *at, **how: seen.append(at) or validated(*at, **how))
    for ask in (fit.impute, fit.sample_missing, lambda X: ef.standard_errors(fit, X)):
        seen.clear()
        ask(X)
        assert len(seen) == 1


# ---- bootstrap -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", ["nonparametric", "parametric", "weighted"])
def test_bootstrap(draws):
    fit, X = two_poissons()
    fit.set_params(tol=1e-8).fit(X)
    found = ef.bootstrap(fit, X, n_replicates=200, draws=draws, random_state=0)
    assert found.replicates.shape == (200, 6)
    assert not found.left_out
    for name, value in ef.standard_errors(fit, X, kind="robust").items():
        assert np.allclose(found[name], value, rtol=4 / np.sqrt(2 * 200), atol=0)
    again = ef.bootstrap(fit, X, n_replicates=200, draws=draws, random_state=0)
    assert np.array_equal(again.replicates, found.replicates)


@pytest.mark.parametrize("draws", ["nonparametric", "parametric", "weighted"])
@pytest.mark.parametrize(
    "held", [{}, {"fixed": {"means": [[0.0, 0.0], [np.nan, np.nan]]}}, {"tied": ("covariances",)},
             {"bounds": {"means": (-3.0, 5.0)}}, {"fixed": {"weights": [0.4, 0.4, 0.2]}}]
)  # fmt: skip
def test_bootstrap_of_noise_keeps_what_is_held(held, draws):
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(80, 2)), rng.normal(size=(80, 2)) + 6, rng.uniform(-15, 15, (20, 2))])
    how, held = {"noise": "uniform", "random_state": 0, "tol": 1e-8} | held, {*held, *held.get("fixed", ())}
    for model in (ef.GaussianMixture(2, **how), ef.ExponentialFamilyMixture("gaussian", 2, **how)):
        found = ef.bootstrap(model.fit(X), X, n_replicates=5, draws=draws, random_state=0)
        assert not found.left_out
        low, high = found.intervals(0.999)["gaussian_means"]
        covariances = found["gaussian_covariances"]
        assert np.array_equal(covariances[0], covariances[1]) == ("tied" in held)
        assert (np.maximum(-low, high).max(axis=1).min() < 1e-12) == ("means" in held)
        assert (high.max() <= 5.0 + 1e-9) == ("bounds" in held)
        assert np.all(found["weights"] == 0.0) == ("weights" in held)


def test_bootstrap_with_missing_values():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    X[rng.random(400) < 0.6, 1] = np.nan
    fit = ef.GaussianMixture(covariance_type="diag", random_state=0, tol=1e-10).fit(X)
    errors = ef.standard_errors(fit, X)
    for draws in ("nonparametric", "weighted"):
        found = ef.bootstrap(fit, X, n_replicates=200, draws=draws, random_state=0)
        for name in ("means", "covariances"):
            assert np.allclose(found[name], errors[name], rtol=4 / np.sqrt(2 * 200), atol=0)
    with pytest.raises(ValueError, match="missing values, NaN, and drawn rows would have none: take draws="):
        ef.bootstrap(fit, X, draws="parametric")
    with pytest.raises(ValueError, match="missing values, NaN, and drawn rows would have none: compare the fits"):
        ef.likelihood_ratio_test(ef.GaussianMixture(), X)


def test_bootstrap_of_rows_under_a_threshold():
    X = 3.0 * np.random.default_rng(0).integers(0, 2, (400, 2))
    model, how = ef.BernoulliMixture(1, binarize=2.0), {"n_replicates": 20, "random_state": 0}
    assert np.allclose(ef.bootstrap(model.fit(X), X, **how).replicates[:, 1:], 0.5, atol=0.15)
    assert np.std(ef.likelihood_ratio_test(model.set_params(random_state=0), X, **how).replicates)


def test_draws_that_would_not_be_seen_as_the_rows_are():
    rng = np.random.default_rng(0)
    ends, counts = np.sort(rng.normal(size=(50, 2))), np.column_stack([rng.poisson(3.0, 50), rng.uniform(1, 2, 50)])
    both, beside = np.column_stack([ends, counts]), np.column_stack([counts, ends])
    censored, exposed = families.Censored(families.Gaussian()), families.Exposed(families.GammaPoisson())
    for family, X in (
        (censored, ends),
        (exposed, counts),
        (families.ZeroInflated(exposed), counts),
        (families.Product([(censored, [0, 1]), (exposed, [2, 3])]), both),
        (families.Product([(families.Poisson(), [0]), (families.Exponential(), [1]), (censored, [2, 3])]), beside),
    ):
        model = ef.ExponentialFamilyMixture(family, max_iter=20, random_state=0, tol=1e-2).fit(X)
        with pytest.raises(ValueError, match="seen in another way than drawn rows would be: take draws="):
            ef.bootstrap(model, X, draws="parametric")
        with pytest.raises(ValueError, match="seen in another way than drawn rows would be: compare the fits"):
            ef.likelihood_ratio_test(model, X)


def test_bootstrap_keeps_constants_and_counts_failures():
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((60, 2)) < 0.95, rng.integers(0, 2, (60, 2)), 2).astype(float)  # 2 is rare
    fit = ef.ExponentialFamilyMixture(families.Categorical(), random_state=0).fit(labels)
    found = ef.bootstrap(fit, labels, n_replicates=50, random_state=0)
    shares = fit.parameters_["probabilities"]
    assert np.allclose(found["probabilities"], np.sqrt(shares * (1 - shares) / 60), rtol=4 / np.sqrt(100), atol=0)
    few = np.append(rng.normal(size=20), [9.0, 9.1, 9.3])[:, None]  # drawn without two of the last three, it collapses
    fit = ef.GaussianMixture(2, reg_covar=0, random_state=0, tol=1e-8).fit(few).reorder()
    found = ef.bootstrap(fit, few, n_replicates=40, random_state=0)
    failed = 40 - len(found.replicates)
    assert failed
    assert found.left_out == (f"{failed} of 40 drawn data sets could not be fitted.",)
    with pytest.raises(ValueError, match="20 of 20 drawn data sets could not be fitted"):
        ef.bootstrap(fit, few[-1:].repeat(3, axis=0), n_replicates=20, random_state=0)
    counts = np.column_stack([rng.binomial(5, 0.4, 100), np.full(100, 5)]).astype(float)
    counts[:, 1] -= counts[:, 0]
    sized = ef.ExponentialFamilyMixture(families.Multinomial()).fit(counts)
    with pytest.raises(ValueError, match="sizes of their own"):
        ef.bootstrap(sized, counts, draws="parametric")
    with pytest.raises(ValueError, match="draws is 'jackknife'"):
        ef.bootstrap(sized, counts, draws="jackknife")
    with pytest.raises(ValueError, match="n_replicates is 1"):
        ef.bootstrap(sized, counts, n_replicates=1)


def test_symmetric_matrices_are_printed_once():
    X = np.random.default_rng(0).normal(size=(100, 2))
    for kind in ("full", "tied"):
        model = ef.GaussianMixture(1, covariance_type=kind, random_state=0).fit(X)
        found = ef.standard_errors(model, X)
        printed = [line.split("  ")[0] for line in str(found).splitlines() if line.startswith("covariances")]
        assert len(printed) == 3
        assert sum(row["parameter"] == "covariances" for row in found.rows()) == 3
        assert len(model.to_frame(X)) == len(model.to_frame()) == 1 + 2 + 3
        hard = ef.ExponentialFamilyMixture(families.Gaussian(kind), 2, temperature=0, random_state=0).fit(X)
        text = str(hard.summary(X))
        assert "No standard errors" in text
        assert text.count("\ncovariances") == (6 if kind == "full" else 3)
