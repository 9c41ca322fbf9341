"""Estimates and densities against centred arithmetic in extended precision, wherever the rows lie."""

import math

import numpy as np
import pytest

import expfam_em as ef
from tests import centred
from tests import normals as rows_of
from tests.case import EPS
from tests.normals import CLOSE, KINDS, SHAPES, blurred, clusters, error_of, estimate, fitted, reference, row_weights

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),  # a few steps are the question
    pytest.mark.skipif(not centred.EXTENDED, reason="long double is not wider than float64 here"),
]
DISTANCES = [1e2, 1e4, 1e6, 1e8]
STEPS = 5

each_kind = pytest.mark.parametrize("kind", KINDS)
each_distance = pytest.mark.parametrize("distance", DISTANCES, ids="{:.0e}".format)
each_estimator = pytest.mark.parametrize("generic", [False, True], ids=["GaussianMixture", "generic"])


def neighbours(K, d, gap=3.0):
    """K centres on a line, each ``gap`` standard deviations from the next, (K, d)."""
    return gap * np.arange(K)[:, None] * rows_of.direction(d)


def parameters(X, labels, kind):
    """Weights, means and precisions to start from that are exactly the same numbers in any precision."""
    K, d = labels.max() + 1, X.shape[1]
    precision = np.eye(d) / 4 + np.full((d, d), 1 / 64)
    given = {"full": np.repeat(precision[None], K, axis=0), "tied": precision}
    given |= {"diag": np.full((K, d), 0.25), "spherical": np.full(K, 0.25)}
    means = np.array([X[labels == k][0] for k in range(K)])
    inverse = np.linalg.inv(precision) if kind in ("full", "tied") else 4 * np.eye(d)
    start = centred.from_parameters(np.full(K, 1 / K), means, np.repeat(inverse[None], K, axis=0))
    return {"weights_init": np.full(K, 1 / K), "means_init": means, "precisions_init": given[kind]}, start


# ---- the reference itself ------------------------------------------------------------------------------------------


def test_the_reference_density_is_that_of_mpmath():
    X, labels = clusters([[0.0, 0.0], [2.0, 1.0], [1e8, -1e8]])
    normals = estimate(X, labels, "full")
    found = centred.log_density(X[::20], normals)
    assert np.abs(found - centred.mp_log_density(X[::20], normals)).max() <= 1e-14


def test_the_reference_estimate_is_numpys():
    X, labels = clusters([[0.0, 0.0], [5.0, 1.0]])
    normals = estimate(X, labels, "full")
    for k in range(2):
        assert normals.means[k] == pytest.approx(X[labels == k].mean(axis=0), rel=1e-13)
        assert normals.covariances[k] == pytest.approx(np.cov(X[labels == k].T, bias=True), rel=1e-13)


# ---- far from zero -------------------------------------------------------------------------------------------------


@each_estimator
@each_kind
@each_distance
def test_overlapping_clusters_far_from_zero(distance, kind, generic):
    worst = 0.0
    for K, d in SHAPES:
        X, labels = clusters(neighbours(K, d) + distance * np.sign(rows_of.direction(d)))
        R = blurred(labels)
        model = fitted(kind, X, K, init=R, max_iter=STEPS, generic=generic)
        worst = max(worst, error_of(model, reference(X, R, kind, STEPS), kind))
    assert worst <= CLOSE


@each_kind
@each_distance
def test_from_given_parameters_far_from_zero(distance, kind):
    worst = 0.0
    for K, d in SHAPES:
        X, labels = clusters(neighbours(K, d) + distance)
        given, start = parameters(X, labels, kind)
        model = fitted(kind, X, K, max_iter=STEPS, **given)
        worst = max(worst, error_of(model, centred.run(X, start, STEPS, kind), kind))
    assert worst <= CLOSE


@each_kind
@each_distance
def test_weighted_rows_far_from_zero(distance, kind):
    X, labels = clusters(neighbours(3, 2) - distance)
    R, w = blurred(labels), row_weights(len(X))
    model = fitted(kind, X, 3, w, init=R, max_iter=STEPS)
    assert error_of(model, reference(X, R, kind, STEPS, w), kind) <= CLOSE


@each_kind
@each_distance
def test_a_converged_fit_far_from_zero(distance, kind):
    X, labels = clusters(neighbours(2, 3, 6.0) + distance)
    model = fitted(kind, X, 2, init=labels, tol=1e-6, max_iter=200)
    assert model.converged_
    assert error_of(model, reference(X, labels, kind, model.n_iter_), kind) <= CLOSE


# ---- far from one another ------------------------------------------------------------------------------------------


def separated(K, d, distance):
    """Clusters ``distance`` apart, the first near zero."""
    X, labels = clusters(distance * np.arange(K)[:, None] * rows_of.direction(d))
    return X, labels


@each_estimator
@each_kind
@each_distance
def test_clusters_far_apart_from_their_labels(distance, kind, generic):
    worst = 0.0
    for K, d in SHAPES:
        X, labels = separated(K, d, distance)
        model = fitted(kind, X, K, init=labels, max_iter=STEPS, generic=generic)
        worst = max(worst, error_of(model, reference(X, labels, kind, STEPS), kind))
    assert worst <= CLOSE


@each_kind
@each_distance
def test_clusters_far_apart_without_a_step(distance, kind):
    worst = 0.0
    for K, d in SHAPES:
        X, labels = separated(K, d, distance)
        model = fitted(kind, X, K, init=np.eye(K)[labels], max_iter=0)
        worst = max(worst, error_of(model, estimate(X, labels, kind), kind))
    assert worst <= CLOSE


@each_kind
@each_distance
def test_clusters_far_apart_from_given_parameters(distance, kind):
    worst = 0.0
    for K, d in SHAPES:
        X, labels = separated(K, d, distance)
        given, start = parameters(X, labels, kind)
        model = fitted(kind, X, K, max_iter=STEPS, **given)
        worst = max(worst, error_of(model, centred.run(X, start, STEPS, kind), kind))
    assert worst <= CLOSE


def renamed(model, X, labels):
    """The labels in the order of the model's components, by nearest mean."""
    means = model.parameters_["means"]
    truth = np.array([X[labels == k].mean(axis=0) for k in range(labels.max() + 1)])
    nearest = np.linalg.norm(truth[:, None] - means, axis=2).argmin(axis=1)
    assert len(set(nearest.tolist())) == len(truth), "a cluster was not found"
    return nearest[labels]


@each_kind
@each_distance
def test_clusters_far_apart_are_found_by_k_means(distance, kind):
    worst = 0.0
    for K, d in SHAPES:
        X, labels = separated(K, d, distance)
        model = fitted(kind, X, K, tol=1e-3, max_iter=100)
        normals = reference(X, renamed(model, X, labels), kind, model.n_iter_)
        worst = max(worst, error_of(model, normals, kind))
    assert worst <= CLOSE


# Between such a start and the clusters, covariances as wide as the distance are passed. Their condition is its square,
# so only those that know no correlation can pass through them at any distance.
reachable = pytest.mark.parametrize(
    ("kind", "distance"),
    [(kind, distance) for kind in KINDS for distance in DISTANCES if distance <= 1e4 or kind in ("diag", "spherical")],
)


@each_estimator
@reachable
def test_clusters_far_apart_are_found_by_spread_rows(kind, distance, generic):
    X, labels = separated(2, 3, distance)
    init = {"init": "k-means++"} if generic else {"init_params": "k-means++"}
    model = fitted(kind, X, 2, tol=1e-9, max_iter=100, generic=generic, **init)
    assert error_of(model, reference(X, renamed(model, X, labels), kind, 20), kind) <= CLOSE


@reachable
def test_clusters_far_apart_from_blurred_responsibilities(kind, distance):
    X, labels = separated(2, 3, distance)
    model = fitted(kind, X, 2, init=blurred(labels), max_iter=20)
    assert error_of(model, reference(X, labels, kind, 20), kind) <= CLOSE


@each_kind
@each_distance
def test_weighted_clusters_far_apart(distance, kind):
    X, labels = separated(3, 2, distance)
    w = row_weights(len(X))
    model = fitted(kind, X, 3, w, init=labels, max_iter=STEPS)
    assert error_of(model, reference(X, labels, kind, STEPS, w), kind) <= CLOSE


@each_estimator
@each_kind
@each_distance
def test_overlapping_pairs_far_apart(distance, kind, generic):
    worst = 0.0
    for d in (1, 3):
        pair = neighbours(2, d)
        X, labels = clusters(np.concatenate([pair, pair + distance]))
        R = blurred(labels, 0.0)
        for half in (labels < 2, labels >= 2):  # blurred within its pair only
            columns = np.unique(labels[half])
            R[np.ix_(half, columns)] = blurred(labels[half] - columns[0])
        model = fitted(kind, X, 4, init=R, max_iter=STEPS, generic=generic)
        worst = max(worst, error_of(model, reference(X, R, kind, STEPS), kind))
    assert worst <= CLOSE


@each_kind
def test_accuracy_does_not_depend_on_which_components_are_far(kind):
    # whatever decides that a component needs care is crossed somewhere in this sweep, at another place for each of them
    errors = {}
    for distance in 10 ** np.linspace(0, 5, 41):
        X, labels = clusters(distance * np.array([[0.0], [1.0], [3.0]]) * rows_of.direction(2))
        R = blurred(labels, 0.1)
        model = fitted(kind, X, 3, init=R, max_iter=STEPS)
        errors[float(distance)] = error_of(model, reference(X, R, kind, STEPS), kind)
        # tolerance: Σ over n rows of rounding of log-densities near 1
        assert np.diff(model.lower_bounds_).min() >= -1e-12
    worst = max(errors, key=errors.get)
    assert errors[worst] <= CLOSE, f"at distance {worst:.3g}"


@each_kind
def test_accuracy_does_not_depend_on_how_far_zero_is(kind):
    errors = {}
    for distance in 10 ** np.linspace(0, 5, 41):
        X, labels = clusters(neighbours(2, 2) + distance)
        R = blurred(labels)
        model = fitted(kind, X, 2, init=R, max_iter=STEPS)
        errors[float(distance)] = error_of(model, reference(X, R, kind, STEPS), kind)
    worst = max(errors, key=errors.get)
    assert errors[worst] <= CLOSE, f"at distance {worst:.3g}"


# ---- ill-conditioned covariances -----------------------------------------------------------------------------------

each_condition = pytest.mark.parametrize("condition", [1e3, 1e6, 1e9, 1e12], ids="{:.0e}".format)


def flat_clusters(kind, K, d, condition, gap):
    """Clusters a gap apart whose standard deviations fall from 1 to condition^(−½) in oblique directions, and labels.

    Those of "tied" share their directions.
    """
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.repeat(np.arange(K), 80))
    axes = [np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(K)]
    Z = rng.standard_normal((80 * K, d)) * condition ** (-np.linspace(0, 0.5, d))
    for k in range(K):
        Z[labels == k] = Z[labels == k] @ axes[0 if kind == "tied" else k].T
    return Z + gap * labels[:, None] * rows_of.direction(d), labels


def within(d, normals):
    """2 d ε cond: entries rounded to ε/2 alone change the smallest variance by up to (ε/2) √d cond of itself.

    A factor of 4 √d is left for the sums over rows; the reference in float64 uses a third of it at most.
    """
    return 2 * d * EPS * max(np.linalg.cond(S) for S in normals.covariances.astype(np.float64))


@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("gap", [0.0, 1e2, 1e6], ids="{:.0e}".format)
@each_condition
def test_flat_clusters(condition, gap, kind):
    for d in (2, 4):
        K = 2 if gap else 1
        X, labels = flat_clusters(kind, K, d, condition, gap)
        model = fitted(kind, X, K, init=labels, max_iter=STEPS)
        normals = reference(X, labels, kind, STEPS)
        assert rows_of.whitened_error(model, normals, kind) <= within(d, normals)


@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("gap", [0.0, 1e2, 1e6], ids="{:.0e}".format)
@each_condition
def test_entries_of_flat_covariances(condition, gap, kind):
    # Where the labels are certain, the entries are sums that no division by a small variance has touched: they are as
    # good as those of round clusters.
    worst = 0.0
    for d in (2, 4):
        K = 2 if gap else 1
        X, labels = flat_clusters(kind, K, d, condition, gap)
        model = fitted(kind, X, K, init=labels, max_iter=STEPS)
        worst = max(worst, error_of(model, reference(X, labels, kind, STEPS), kind))
    assert worst <= CLOSE


@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6], ids="{:.0e}".format)
@each_condition
def test_flat_clusters_that_overlap(condition, offset, kind):
    for d in (2, 4):
        X, labels = flat_clusters("tied", 2, d, condition, 0.0)
        # as far apart as twice a standard deviation of the direction in which they lie
        X[labels == 1] += 2 * np.linalg.cholesky(np.cov(X[labels == 0].T)) @ rows_of.direction(d)
        X += offset
        R = blurred(labels, 0.1)
        model = fitted(kind, X, 2, init=R, max_iter=STEPS)
        normals = reference(X, R, kind, STEPS)
        # an error of a density is one of its responsibilities, which the steps hand on, and contract
        assert rows_of.whitened_error(model, normals, kind) <= within(d, normals)


@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("gap", [0.0, 30.0], ids="{:.0e}".format)
def test_accuracy_does_not_depend_on_how_flat_clusters_are(gap, kind):
    ratios = {}
    for condition in 10 ** np.linspace(0, 12, 37):
        K = 2 if gap else 1
        X, labels = flat_clusters(kind, K, 3, condition, gap)
        model = fitted(kind, X, K, init=labels, max_iter=STEPS)
        normals = reference(X, labels, kind, STEPS)
        # clusters 30 σ apart may share a frame, as they may in the sweep over separations: 1e-12 is asked there
        limit = max(within(3, normals), CLOSE if gap else 0.0)
        ratios[float(condition)] = rows_of.whitened_error(model, normals, kind) / limit
    worst = max(ratios, key=ratios.get)
    assert ratios[worst] <= 1, f"at condition {worst:.3g}"


# ---- densities -----------------------------------------------------------------------------------------------------
# The parameters that a fit holds are not those it reports: at 1e6 σ from zero, means_ in float64 is off by 1e-10 σ, and
# with it a log-density at 5 σ by 5e-10. So densities are compared with those of the reference fit, whose parameters
# never were rounded in these coordinates; this asks of the fit that its own were not either.


def density_error(model, X, normals, every=7):
    return np.abs(model.score_samples(X[::every]) - centred.mp_log_density(X[::every], normals)).max()


@each_estimator
@each_kind
@pytest.mark.parametrize("distance", [1.0, 1e2, 1e4, 1e6], ids="{:.0e}".format)
def test_log_densities_far_from_zero(distance, kind, generic):
    X, labels = clusters(neighbours(3, 2) + distance)
    R = blurred(labels)
    model = fitted(kind, X, 3, init=R, max_iter=STEPS, generic=generic)
    assert density_error(model, X, reference(X, R, kind, STEPS)) <= 1e-9


@each_kind
@pytest.mark.parametrize("distance", [1e2, 1e4, 1e6], ids="{:.0e}".format)
def test_log_densities_of_clusters_far_apart(distance, kind):
    X, labels = separated(3, 2, distance)
    model = fitted(kind, X, 3, init=labels, max_iter=STEPS)
    normals = reference(X, labels, kind, STEPS)
    assert density_error(model, X, normals) <= 1e-9
    # the mean of 1e-9 at most
    assert model.score(X) == pytest.approx(float(centred.log_density(X, normals).mean()), abs=1e-9)
    assert model.lower_bound_ == pytest.approx(float(centred.log_density(X, normals).mean()), abs=1e-9)


@each_kind
def test_log_densities_at_the_parameters_reported(kind):
    # at 1e3 σ from zero the means reported are off by 1e-13 σ
    X, labels = clusters(neighbours(3, 2) + 1e3)
    model = fitted(kind, X, 3, init=blurred(labels))
    d, K = 2, 3
    covariances = rows_of.covariances_of(model, kind)
    assert covariances.shape == (K, d, d)
    normals = centred.from_parameters(model.weights_, model.means_, covariances)
    # precisions and densities from the same float64 covariance
    assert density_error(model, X, normals) <= 1e-9


@pytest.mark.parametrize("kind", ["full", "tied"])
@each_condition
def test_log_densities_of_flat_clusters(condition, kind):
    d = 3
    X, labels = flat_clusters(kind, 1, d, condition, 0.0)
    model = fitted(kind, X, 1, init=labels, max_iter=2)
    normals = reference(X, labels, kind, 2)
    # log p = −½ (zᵀ z + log |Σ|): a relative error e of Σ⁻¹ changes it by ½ (|z|² + d) e, and |z|² < 20 here
    assert density_error(model, X, normals) <= 0.5 * (20 + d) * within(d, normals)


@each_kind
def test_responsibilities_far_from_zero(kind):
    X, labels = clusters(neighbours(3, 2) + 1e6)
    R = blurred(labels)
    model = fitted(kind, X, 3, init=R, max_iter=STEPS)
    normals = reference(X, R, kind, STEPS)
    # as for covariances, times the slope of a responsibility in a log-density, which is at most ¼
    assert np.abs(model.predict_proba(X) - centred.responsibilities(X, normals)).max() <= 1e-10


# ---- certified numbers ---------------------------------------------------------------------------------------------


def alternating(first, low, high):
    """1001 numbers of the published rule."""
    return np.array([first] + [low, high] * 500)


NIST = {
    "NumAcc1": (np.array([10000001.0, 10000003.0, 10000002.0]), 10000002.0, 1.0, 15.0),
    "NumAcc2": (alternating(1.2, 1.1, 1.3), 1.2, 0.1, 15.0),
    "NumAcc3": (alternating(1000000.2, 1000000.1, 1000000.3), 1000000.2, 0.1, 9.4),
    "NumAcc4": (alternating(10000000.2, 10000000.1, 10000000.3), 10000000.2, 0.1, 8.2),
}


def log_relative_error(found, certified):
    error = abs(found - certified) / certified
    return -math.log10(error) if error else math.inf


@each_estimator
@each_kind
@pytest.mark.parametrize("name", NIST)
def test_numbers_certified_by_nist(name, kind, generic):
    x, mean, deviation, digits = NIST[name]
    model = fitted(kind, x[:, None], 1, generic=generic, max_iter=2)
    n = len(x)
    variance = float(np.ravel(model.parameters_["covariances"])[0]) * n / (n - 1)
    assert log_relative_error(math.sqrt(variance), deviation) >= digits
    assert log_relative_error(float(model.parameters_["means"][0, 0]), mean) >= 14


# ---- units ---------------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("unit", [1e-100, 1e-30, 1e-8, 1e-3, 1e3, 1e8, 1e30, 1e100], ids="{:.0e}".format)
def test_the_unit_of_the_columns_changes_the_unit_of_the_fit(unit, kind):
    X, _ = clusters([[0.0, 0.0], [6.0, 1.0], [-3.0, 7.0]])
    plain, other = (
        ef.ExponentialFamilyMixture(ef.families.Gaussian(kind), 3, random_state=0).fit(s * X) for s in (1.0, unit)
    )
    assert other.n_iter_ == plain.n_iter_
    # a decimal unit rounds the rows by ε anew; EM at the defaults hands that on in some ten steps
    close = {"rtol": 1e-8, "atol": 1e-8}
    np.testing.assert_allclose(other.weights_, plain.weights_, **close)
    np.testing.assert_allclose(other.parameters_["means"] / unit, plain.parameters_["means"], **close)
    np.testing.assert_allclose(other.parameters_["covariances"] / unit**2, plain.parameters_["covariances"], **close)
    assert other.lower_bound_ + 2 * np.log(unit) == pytest.approx(plain.lower_bound_, abs=1e-8)
    np.testing.assert_allclose(other.predict_proba(unit * X), plain.predict_proba(X), **close)


@each_estimator
@each_kind
def test_columns_of_very_different_units(kind, generic):
    X, labels = clusters([[0.0, 0.0, 0.0], [6.0, 1.0, -2.0], [-3.0, 5.0, 2.0]])
    X = X * [1e-8, 1.0, 1e8]
    model = fitted(kind, X, 3, init=labels, generic=generic)
    normals = reference(X, labels, kind, STEPS)
    assert error_of(model, normals, kind) <= CLOSE


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_units_of_single_columns_change_nothing_else(kind):
    X, labels = clusters([[0.0, 0.0, 0.0], [4.0, 1.0, -2.0], [-3.0, 3.0, 2.0]])
    units = np.array([1e-8, 1.0, 1e8])
    plain, other = (
        ef.ExponentialFamilyMixture(ef.families.Gaussian(kind), 3, init=labels).fit(s * X) for s in (1.0, units)
    )
    assert other.n_iter_ == plain.n_iter_
    # rows rounded anew, as above
    np.testing.assert_allclose(other.predict_proba(units * X), plain.predict_proba(X), atol=1e-8)
    np.testing.assert_allclose(other.parameters_["means"] / units, plain.parameters_["means"], rtol=1e-8, atol=1e-8)


# ---- rows far from everything --------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("apart", [5.0, 1e4], ids="{:.0e}".format)
@pytest.mark.parametrize("far", [1e8, 1e12, 1e100], ids="{:.0e}".format)
def test_a_row_far_from_everything_belongs_to_the_nearest_component(far, apart, kind):
    X, labels = clusters(apart * np.array([[0.0, 0.0], [1.0, 0.2], [-0.3, 1.0]]))
    model = fitted(kind, X, 3, init=labels)
    angle = np.arange(0.1, 6.2, 0.37)
    rows = far * np.column_stack([np.cos(angle), np.sin(angle)])
    S = centred.scores(rows, reference(X, labels, kind, STEPS))
    first, second = np.sort(S, axis=1)[:, :-3:-1].T
    clear = first - second > 1e-13 * np.abs(first)  # what scores in float64 can tell apart
    assert clear.mean() > 0.8 or far > 1e12
    r, density = model.predict_proba(rows), model.score_samples(rows)
    assert np.array_equal(model.predict(rows)[clear], S.argmax(axis=1)[clear])
    assert np.array_equal(r.argmax(axis=1)[clear], S.argmax(axis=1)[clear])
    assert np.all(np.isfinite(density))
    # a quadratic form of d = 2 products, with parameters good to 1e-12
    np.testing.assert_allclose(density, S.max(axis=1).astype(float), rtol=1e-11)
    assert max(abs(math.fsum(row) - 1) for row in r) <= 4 * EPS


def test_a_thousand_classes_of_ten_thousand_binary_columns():
    rng = np.random.default_rng(0)
    K, d = 1000, 10_000
    natural = rng.normal(0, 2, (K, d))
    natural[:, :10] = rng.choice([-700.0, 700.0], (K, 10))  # probabilities of 0 and 1
    classes = rng.integers(0, K, 40)
    X = (rng.random((40, d)) < 1 / (1 + np.exp(-natural[classes]))).astype(np.uint8)
    mixture = ef.Mixture(ef.families.Bernoulli(), np.full(K, 1 / K), natural)
    density, r = mixture.log_density(X), mixture.responsibilities(X)
    assert np.all(np.isfinite(density))
    assert np.array_equal(r.argmax(axis=1), classes)
    assert max(abs(math.fsum(row) - 1) for row in r) <= 4 * EPS
    own = natural[classes]
    expected = np.sum(X * own - np.logaddexp(0, own), axis=1) - np.log(K)
    size = np.sum(np.abs(X * own) + np.logaddexp(0, own), axis=1)
    # d terms whose partial sums, at most ``size``, are rounded to ε/2 each: √d of that, for the errors are independent
    assert np.all(np.abs(density - expected) <= 0.5 * EPS * np.sqrt(d) * size)
    X[:, :10] = 1 - X[:, :10]  # every row is as good as impossible under every class
    density, r = mixture.log_density(X), mixture.responsibilities(X)
    assert np.all(np.isfinite(density))
    assert max(abs(math.fsum(row) - 1) for row in r) <= 4 * EPS


def test_a_fit_of_ten_thousand_binary_columns():
    rng = np.random.default_rng(1)
    classes = np.arange(60) % 20
    X = (rng.random((60, 10_000)) < rng.random((20, 10_000))[classes]).astype(np.uint8)
    model = ef.BernoulliMixture(20, init=classes, tol=0, max_iter=3).fit(X)
    means = np.array([X[classes == k].mean(axis=0) for k in range(20)])
    # every row is certain, so each probability is a mean of three zeros and ones
    np.testing.assert_allclose(model.probabilities_, means, atol=1e-15)
    assert np.isfinite(model.lower_bound_)


# ---- float32 -------------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("apart", [4.0, 1e3, 1e5], ids="{:.0e}".format)
@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4], ids="{:.0e}".format)
def test_float32_rows_are_fitted_as_the_float64_rows_they_equal(offset, apart, kind):
    X, labels = clusters([[0.0, 0.0], [apart, apart / 3]])
    X = (X + offset).astype(np.float32)
    single = fitted(kind, X, 2, init=labels)
    assert single.covariances_.dtype == np.float32
    normals = reference(X.astype(np.float64), labels, kind, STEPS)
    # 6e-8 is the rounding of the result to float32
    assert rows_of.covariance_error(single, normals, kind) <= 1e-6
    double = fitted(kind, X.astype(np.float64), 2, init=labels)
    assert rows_of.covariance_error(double, normals, kind) <= CLOSE
    assert np.all(np.einsum("kii->ki", rows_of.covariances_of(single, kind)) >= 0)


@each_kind
@pytest.mark.parametrize("offset", [1e5, 1e6, 1e7], ids="{:.0e}".format)
def test_float32_rows_of_few_values_have_no_negative_variance(offset, kind):
    X, labels = clusters([[0.0, 0.0], [40.0, 5.0]])
    X = (X + offset).astype(np.float32)  # 1e7 leaves whole numbers
    single = fitted(kind, X, 2, init=labels)
    covariances = rows_of.covariances_of(single, kind)
    assert np.all(np.linalg.eigvalsh(covariances) > 0)
    normals = reference(X.astype(np.float64), labels, kind, STEPS)
    assert rows_of.covariance_error(single, normals, kind) <= 1e-6


# ---- k-means -------------------------------------------------------------------------------------------------------


@each_distance
@pytest.mark.parametrize("shifted", [False, True], ids=["apart", "shifted"])
def test_k_means_far_away(distance, shifted):
    X, labels = clusters(neighbours(3, 2, 12.0) + distance) if shifted else separated(3, 2, distance)
    model = ef.KMeans(3, random_state=0).fit(X)
    table = np.zeros((3, 3))
    np.add.at(table, (labels, model.labels_), 1)
    assert np.count_nonzero(table) == 3
    normals = estimate(X, model.labels_, "full")
    assert np.abs(model.cluster_centers_ - normals.means).max() <= EPS * np.abs(X).max()
    inertia = float(np.sum(normals.weights * len(X) * np.einsum("kii->k", normals.covariances)))
    # centres rounded by u = ε|x| add n u² to the sum of squares, of the second order
    assert model.inertia_ == pytest.approx(inertia, rel=CLOSE)
    own = np.sqrt(np.sum((X - model.cluster_centers_[model.labels_]) ** 2, axis=1))
    # differences of rows and reported centres are exact to ε of either
    assert np.abs(model.transform(X).min(axis=1) - own).max() <= 1e-12 + 4 * EPS * np.abs(X).max()
