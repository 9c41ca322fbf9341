"""Numbers that others have published, or that can be worked out by hand."""

import numpy as np
import pytest

import expfam_em as ef

PRINTED = 1.000001 * 0.5  # half a unit of the last digit that is printed

CARCINOMA = (
    "1111111:34 1111211:2 1211111:6 1211112:1 1211211:4 1211212:5 2111111:2 2121212:1 2211111:2 2211112:1 2211211:2 "
    "2211212:7 2211222:1 2212112:1 2212212:2 2212222:3 2221212:13 2221222:5 2222212:10 2222222:16"
)
"""Agresti (2002), table 13.1: what seven pathologists said of 118 slides, 1 no and 2 yes, and how often."""

DEATHS = np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1])
"""Hasselblad (1969): days with 0, 1, …, 9 death notices of women over 80 in The Times."""


def log_likelihood(fit, X, sample_weight=None):
    total = len(X) if sample_weight is None else np.sum(sample_weight)
    return fit.score(X, sample_weight=sample_weight) * total


# ---- Gaussians -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("K", "kind", "expected", "bic"),
    [(2, "full", -1130.263960, -2322.192), (3, "tied", -1126.315928, -2314.296)],
)  # fmt: skip
def test_old_faithful(faithful, K, kind, expected, bic):
    fit = ef.GaussianMixture(
        K, covariance_type=kind, reg_covar=0, tol=1e-12, max_iter=2000, n_init=4, init_params="random_from_data",
        random_state=0,
    ).fit(faithful)  # fmt: skip
    assert fit.converged_
    assert log_likelihood(fit, faithful) == pytest.approx(expected, abs=PRINTED * 1e-6)
    assert -fit.bic(faithful) == pytest.approx(bic, abs=PRINTED * 1e-3)  # in the sign of mclust


def test_old_faithful_waiting_times_alone(faithful):
    X = faithful[:, 1:]
    fit = ef.GaussianMixture(2, covariance_type="tied", reg_covar=0, tol=1e-13, max_iter=5000, random_state=0).fit(X)
    order = np.argsort(fit.means_[:, 0])
    # mixtools stops at a change of 1e-8 of the total: its last printed digit of the means is one too high
    assert fit.weights_[order] == pytest.approx([0.36085, 0.63915], abs=PRINTED * 1e-5)
    assert fit.means_[order, 0] == pytest.approx([54.61364, 80.09031], abs=1.5e-5)
    assert np.sqrt(fit.covariances_[0, 0]) == pytest.approx(5.86909, abs=PRINTED * 1e-5)
    assert log_likelihood(fit, X) == pytest.approx(-1034.0018, abs=PRINTED * 1e-4)


def test_iris_in_two_free_components(iris):
    fit = ef.GaussianMixture(2, reg_covar=0, tol=1e-12, max_iter=2000, random_state=0).fit(iris)
    assert log_likelihood(fit, iris) == pytest.approx(-214.354704, abs=PRINTED * 1e-6)


@pytest.mark.parametrize("init", ["kmeans", "k-means++"])
def test_iris_in_three_free_components_without_the_spurious_optimum(iris, init):
    fit = ef.GaussianMixture(
        3, reg_covar=0, tol=1e-9, max_iter=2000, n_init=10, init_params=init, random_state=0
    ).fit(iris)  # fmt: skip
    assert log_likelihood(fit, iris) == pytest.approx(-180.1855, abs=PRINTED * 1e-4)
    assert fit.weights_.min() * len(iris) > 40


@pytest.mark.parametrize(
    ("rows", "deviation", "digits"),
    [
        ([10000001, 10000003, 10000002], 1.0, 15),
        ([1.2, *[1.1, 1.3] * 500], 0.1, 15),
        ([1000000.2, *[1000000.1, 1000000.3] * 500], 0.1, 9.4),
        ([10000000.2, *[10000000.1, 10000000.3] * 500], 0.1, 8.2),
    ],
    ids=["NumAcc1", "NumAcc2", "NumAcc3", "NumAcc4"],
)
def test_standard_deviations_of_nist(rows, deviation, digits):
    X = np.array(rows)[:, None]
    fit = ef.GaussianMixture(1, reg_covar=0).fit(X)
    found = np.sqrt(fit.covariances_[0, 0, 0] * len(X) / (len(X) - 1))
    assert abs(found - deviation) / deviation < 10.0**-digits


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_one_gaussian_by_hand(kind):
    line = np.array([1.0, 3, 4, 5, 6, 7, 9])[:, None]
    cross = np.array([(3.0, 5), (7, 5), (5, 3), (5, 7), (5, 5), (5, 5)])
    for X, mean, variance in ((line, 5, 6), (cross, 5, 4 / 3)):
        fit = ef.GaussianMixture(1, covariance_type=kind, reg_covar=0).fit(X)
        assert fit.means_ == pytest.approx(np.full((1, X.shape[1]), mean), rel=1e-14)
        covariance = {"full": np.eye(X.shape[1])[None], "tied": np.eye(X.shape[1])}.get(kind, np.ones((1, X.shape[1])))
        expected = variance * (np.ones(1) if kind == "spherical" else covariance)
        assert fit.covariances_ == pytest.approx(expected, rel=1e-14, abs=1e-14)


@pytest.mark.parametrize(("variance", "expected"), [(1.0, 0.5), (100.0, 0.005)])
def test_divergence_of_gaussians_one_apart(variance, expected):
    family = ef.families.Gaussian("full")
    natural = family.from_moments(np.array([[0.0], [1.0]]), np.full((2, 1, 1), variance))
    assert family.divergence(natural[0], natural[1]) == pytest.approx([expected], rel=1e-13)


# ---- counts and classes --------------------------------------------------------------------------------------------


def deaths(**parameters):
    family = ef.families.Poisson()
    start = ef.Mixture(family, [0.5, 0.5], np.log([[1.0], [3.0]]))
    model = ef.ExponentialFamilyMixture(
        family, 2, init=start, stop="parameters", max_iter=10_000, acceleration=None, **parameters
    )
    return model.fit(np.arange(10.0)[:, None], sample_weight=DEATHS)


def test_death_notices():
    fit = deaths(tol=1e-13)
    assert fit.weights_ == pytest.approx([0.3598854, 1 - 0.3598854], abs=PRINTED * 1e-7)
    assert fit.parameters_["rates"].ravel() == pytest.approx([1.2560951, 2.6634044], abs=PRINTED * 1e-7)
    found = log_likelihood(fit, np.arange(10.0)[:, None], DEATHS)
    assert found == pytest.approx(-1989.945859883, abs=PRINTED * 1e-9)


def test_death_notices_take_as_many_steps_as_published():
    # the published count is that of ‖(Δp, Δλ₁, Δλ₂)‖ < 1e-7: the two mixing weights are one free parameter
    assert deaths(tol=1e-7).n_iter_ == 2113


@pytest.mark.parametrize(("K", "expected"), [(1, -524.4648), (2, -317.2568), (3, -293.7050), (4, -289.2858)])
def test_latent_classes_of_carcinoma(K, expected):
    patterns, times = zip(*(pattern.split(":") for pattern in CARCINOMA.split()), strict=True)
    X, times = np.array([[int(c) - 1 for c in pattern] for pattern in patterns]), np.array(times, float)
    fit = ef.BernoulliMixture(K, n_init=10, tol=1e-9, max_iter=5000, random_state=0).fit(X, sample_weight=times)
    # printed with four digits, the last of which depends on where the peer stopped: −289.28585 is printed −289.2858
    assert log_likelihood(fit, X, times) == pytest.approx(expected, abs=1e-4)
    rows = np.repeat(X, times.astype(int), axis=0)
    again = ef.BernoulliMixture(K, init=fit.mixture_, max_iter=3, tol=0)
    with pytest.warns(match="did not converge"):
        again.fit(rows)
    # three steps more gain less than three times tol per row
    assert log_likelihood(again, rows) == pytest.approx(log_likelihood(fit, X, times), abs=3e-9 * len(rows))
