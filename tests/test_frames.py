"""Components that move, shrink, swap or vanish: what was known of them a step ago must not cost accuracy."""

import numpy as np
import pytest

import expfam_em as ef
from tests import centred
from tests import normals as rows_of
from tests.case import EPS
from tests.normals import CLOSE, KINDS, blurred, clusters, error_of, estimate, fitted, reference, row_weights

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),  # a few steps are the question
    pytest.mark.skipif(not centred.EXTENDED, reason="long double is not wider than float64 here"),
]
each_kind = pytest.mark.parametrize("kind", KINDS)
each_estimator = pytest.mark.parametrize("generic", [False, True], ids=["GaussianMixture", "generic"])


def precisions(kind, K, d, precision):
    """Spherical precisions in the shape of a covariance type."""
    shape = {"full": (K, 1, 1), "tied": (), "diag": (K, 1), "spherical": (K,)}[kind]
    part = {"full": np.eye(d), "tied": np.eye(d), "diag": np.ones(d), "spherical": 1.0}[kind]
    return precision * np.ones(shape) * part


def round_start(weights, means, precision):
    """The reference's start with spherical covariances."""
    K, d = np.shape(means)
    return centred.from_parameters(weights, means, np.repeat(np.eye(d)[None] / precision, K, axis=0))


def given(kind, means, precision):
    K, d = np.shape(means)
    return {
        "weights_init": np.full(K, 1 / K), "means_init": means, "precisions_init": precisions(kind, K, d, precision)
    }  # fmt: skip


# ---- components that move ------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("far", [1e2, 1e4, 1e6, 1e8], ids="{:.0e}".format)
def test_a_component_that_starts_far_from_every_row(far, steps, kind):
    X, _ = clusters([[0.0, 0.0]])
    means = np.array([[far, -far]])
    model = fitted(kind, X, 1, max_iter=steps, **given(kind, means, 1.0))
    # one component has every row, so every step gives the covariance of the rows, the first one too
    assert error_of(model, estimate(X, np.zeros(len(X), int), kind), kind) <= CLOSE


@each_kind
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("distance", [1e2, 1e4, 1e6, 1e8], ids="{:.0e}".format)
def test_two_components_that_change_places(distance, steps, kind):
    # each start lies beyond the cluster of the other component, which takes it, for it is nearer: both move by two
    # distances or more
    X, labels = clusters([[0.0, 0.0], [distance, 0.0]])
    means = np.array([[3 * distance, 0.0], [-2 * distance, 0.0]])
    model = fitted(kind, X, 2, max_iter=steps, **given(kind, means, 1.0))
    assert error_of(model, estimate(X, 1 - labels, kind), kind) <= CLOSE


@each_kind
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 30])
def test_a_component_that_shrinks_from_broad_to_tiny(steps, kind):
    # a cluster of 1e-5 among the rows of one of width 1, both starting as broad as everything; the pooled covariance of
    # "tied" stays broad
    X, labels = clusters([[0.0, 0.0], [1.0, 2.0]])
    X[labels == 1] = (X[labels == 1] - [1.0, 2.0]) * 1e-5 + [1.0, 2.0]
    R = blurred(labels, 0.5)
    model = fitted(kind, X, 2, init=R, max_iter=steps)
    # between the two widths, a row's responsibility depends on quadratic forms of up to 1e3: 1e3 ε of error for each
    assert error_of(model, reference(X, R, kind, steps), kind) <= CLOSE


@each_kind
@pytest.mark.parametrize("ratio", [1e-2, 1e-4, 1e-6, 1e-8], ids="{:.0e}".format)
def test_a_tiny_component_inside_a_broad_one(ratio, kind):
    X, labels = clusters([[0.0, 0.0], [3.0, -2.0], [3.0, -2.0]])
    tiny = labels == 2
    X[tiny] = (X[tiny] - [3.0, -2.0]) * ratio + [3.0, -2.0]
    R = np.eye(3)[labels]
    R[~tiny, :2] = blurred(labels[~tiny], 0.2)
    model = fitted(kind, X, 3, init=R, max_iter=3)
    assert error_of(model, reference(X, R, kind, 3), kind) <= CLOSE


@each_kind
def test_a_chain_of_scales(kind):
    # widths and distances grow by a hundred from cluster to cluster: no shared coordinates suit two of them
    widths = 100.0 ** np.arange(5)
    rng = np.random.default_rng(7)
    labels = rng.permutation(np.repeat(np.arange(5), 60))
    X = widths[labels, None] * (rng.standard_normal((300, 2)) + 20.0)
    model = fitted(kind, X, 5, init=labels)
    assert error_of(model, reference(X, labels, kind, 5), kind) <= CLOSE


@each_kind
def test_a_fit_continued_on_rows_that_have_moved(kind):
    X, _ = clusters([[0.0, 0.0]])
    model = fitted(kind, X, 1, warm_start=True, max_iter=3)
    for shift in (1e3, 1e6, -1e8):
        moved = X + shift
        model.set_params(max_iter=1).fit(moved)
        assert error_of(model, estimate(moved, np.zeros(len(X), int), kind), kind) <= CLOSE


@each_kind
def test_a_fit_continued_in_several_calls_is_one_fit(kind):
    X, labels = clusters([[0.0, 0.0], [1e6, 0.0], [1e6 + 3.0, 2.0]])
    R = np.eye(3)[labels]
    R[labels > 0, 1:] = blurred(labels[labels > 0] - 1)
    model = fitted(kind, X, 3, init=R, max_iter=2, warm_start=True)
    for _ in range(3):
        model.fit(X)
    assert error_of(model, reference(X, R, kind, 8), kind) <= CLOSE


# ---- few rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["diag", "spherical", "tied"])
@pytest.mark.parametrize("far", [1e3, 1e6, 1e8], ids="{:.0e}".format)
def test_a_pair_of_outliers_is_a_component_of_two(far, kind):
    X, labels = clusters([[0.0, 0.0]])
    X = np.concatenate([X, [[far, far], [far + 0.5, far - 0.25]]])
    labels = np.append(labels, [1, 1])
    model = fitted(kind, X, 2, init=labels)
    normals = reference(X, labels, kind, 5)
    assert error_of(model, normals, kind) <= CLOSE
    if kind == "diag":
        assert model.covariances_[1] == pytest.approx([0.0625, 0.015625], rel=CLOSE)


@each_kind
@pytest.mark.parametrize("far", [0.1, 1e3 + 0.1, 1e6 + 0.1, 1e8 + 0.1], ids="{:.0e}".format)
def test_a_cluster_of_equal_rows_has_no_covariance(far, kind):
    X, labels = clusters([[0.0, 0.0], [far, -far]])
    X[labels == 1] = [far, -far]
    if kind == "tied":  # half of the pooled covariance remains
        model = fitted(kind, X, 2, init=labels, max_iter=1)
        assert np.all(np.linalg.eigvalsh(model.covariances_) > 0)
        return
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        fitted(kind, X, 2, init=labels, max_iter=20)


@each_kind
@pytest.mark.parametrize("far", [20.1, 1e3 + 0.1, 1e6 + 0.1, 1e8 + 0.1], ids="{:.0e}".format)
def test_a_cluster_of_equal_rows_has_the_regularisation_for_a_covariance(far, kind):
    X, labels = clusters([[0.0, 0.0], [far, -far]])
    X[labels == 1] = [far, -far]
    model = ef.GaussianMixture(2, covariance_type=kind, reg_covar=1e-6, init=labels, tol=0, max_iter=3).fit(X)
    expected = estimate(X, labels, kind).covariances + 1e-6 * np.eye(2)
    error = np.abs(rows_of.covariances_of(model, kind) - expected).max(axis=(1, 2))
    size = expected.max(axis=(1, 2))
    # a mean of equal rows that is off by one rounding adds (ε far)² = 5e-16 at most
    assert np.all(error <= CLOSE * size + (EPS * far) ** 2)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
@pytest.mark.parametrize("far", [0.1, 1e3 + 0.1, 1e6 + 0.1], ids="{:.0e}".format)
def test_a_cluster_of_equal_rows_has_the_variance_floor(far, kind):
    X, labels = clusters([[0.0, 0.0], [far, -far]])
    X[labels == 1] = [far, -far]
    model = ef.ExponentialFamilyMixture(ef.families.Gaussian(kind), 2, init=labels, tol=0, max_iter=20).fit(X)
    variances = np.linalg.eigvalsh(rows_of.covariances_of(model, kind)[1])
    # 1e-14 of the squared width of the other cluster, in which most of the distinct values are, however far it is; a
    # quarter of a normal sample and powers of two give that width within a factor of three
    assert np.all((variances >= 1e-14 / 9) & (variances <= 9e-14))
    assert model.mixture_.edges == {"at variance_floor": (1,)}
    assert model.status_.endswith("Component 1 is at variance_floor.")
    bounds = np.array(model.lower_bounds_)
    assert np.diff(bounds).min() >= -1e-12


# ---- weights -------------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("distance", [10.0, 1e4, 1e6], ids="{:.0e}".format)
def test_a_component_of_weight_zero_disturbs_no_other(distance, kind):
    X, _ = clusters([[0.0, 0.0], [distance, 0.0]])
    means = np.array([[0.0, 0.0], [distance, 0.0], [-5 * distance, distance]])
    start = given(kind, means, 0.5) | {"weights_init": np.array([0.5, 0.5, 0.0])}
    model = fitted(kind, X, 3, **start)
    assert model.weights_[2] == 0
    without = fitted(kind, X, 2, **given(kind, means[:2], 0.5))
    assert model.parameters_["means"][:2] == pytest.approx(without.parameters_["means"], rel=CLOSE)
    found, expected = rows_of.covariances_of(model, kind)[:2], rows_of.covariances_of(without, kind)
    assert np.abs(found - expected).max() <= CLOSE * np.abs(expected).max()
    # and it stays where it was
    assert model.parameters_["means"][2] == pytest.approx(means[2], rel=CLOSE)
    if kind != "tied":
        assert rows_of.covariances_of(model, kind)[2] == pytest.approx(2 * np.eye(2), rel=CLOSE, abs=CLOSE)
    normals = centred.run(X, round_start(np.full(2, 0.5), means[:2], 0.5), 5, kind)
    assert np.abs(model.score_samples(X) - centred.log_density(X, normals)).max() <= 1e-9


@each_kind
@pytest.mark.parametrize("rest", [0.0, 1e-100, 1e-12], ids="{:.0e}".format)
def test_all_weight_on_one_cluster_of_two_far_apart(rest, kind):
    X, labels = clusters([[0.0, 0.0], [1e6, -1e6]])
    w = np.where(labels == 0, 1.0, rest)
    model = fitted(kind, X, 1, w, max_iter=2)
    # the reference itself has ε (1e12 · 1e-12) of rounding at most
    assert error_of(model, reference(X, np.zeros(len(X), int), kind, 2, w), kind) <= CLOSE


@each_kind
@pytest.mark.parametrize("scale", [1e-100, 1e-8, 1e8, 1e100], ids="{:.0e}".format)
def test_the_unit_of_row_weights_changes_nothing(scale, kind):
    X, labels = clusters([[0.0, 0.0], [3e2, 0.0], [1e6, 1e6]])
    w = row_weights(len(X))
    model = fitted(kind, X, 3, scale * w, init=labels)
    assert error_of(model, reference(X, labels, kind, 5, w), kind) <= CLOSE


@each_kind
def test_a_row_of_weight_zero_far_from_everything_is_absent(kind):
    X, labels = clusters([[0.0, 0.0], [5.0, 1.0]])
    R = blurred(labels)
    here = reference(X, R, kind, 5)
    X = np.concatenate([[[1e150, -1e150]], X])
    w = np.append(0.0, np.ones(len(X) - 1))
    model = fitted(kind, X, 2, w, init=np.concatenate([[[1.0, 0.0]], R]))
    assert error_of(model, here, kind) <= CLOSE


# ---- ill-conditioned and far ---------------------------------------------------------------------------------------


def flat_and_far(kind, distance, n=120):
    """Two clusters of condition 1e12 whose thin directions differ (but for "tied"), and their labels."""
    rng = np.random.default_rng(8)
    labels = rng.permutation(np.repeat([0, 1], n // 2))
    turns = [0.3, 0.3 if kind == "tied" else 1.2]
    axes = np.array([[[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]] for t in turns])
    X = np.einsum("nij,nj->ni", axes[labels], rng.standard_normal((n, 2)) * [1.0, 1e-6])
    return X + distance * labels[:, None] * [1.0, 1.0], labels


@each_estimator
@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("distance", [1e2, 1e4, 1e6], ids="{:.0e}".format)
def test_a_condition_of_1e12_at_a_distance(distance, kind, generic):
    X, labels = flat_and_far(kind, distance)
    normals = reference(X, labels, kind, 5)
    model = fitted(kind, X, 2, init=labels, generic=generic)
    condition = max(np.linalg.cond(S) for S in normals.covariances.astype(np.float64))
    assert condition > 1e11
    # entries rounded to ε, in the direction of the smallest variance; see test_accuracy.within
    assert rows_of.whitened_error(model, normals, kind) <= 2 * 2 * EPS * condition
    assert error_of(model, normals, kind) <= CLOSE


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_crossing_blades_share_their_rows_as_in_the_reference(kind):
    # two clusters of condition 1e12 that cross: only rows near the crossing belong to both
    X, labels = flat_and_far(kind, 0.0)
    R = blurred(labels, 0.0)
    model = fitted(kind, X, 2, init=R, max_iter=2)
    normals = reference(X, R, kind, 2)
    # ε cond of the covariances in the thin direction, through responsibilities of slope ¼ |z|² < 5
    assert np.abs(model.predict_proba(X) - centred.responsibilities(X, normals)).max() <= 5 * 4 * EPS * 1e12


@each_estimator
@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("gap", [10.0, 1e3, 1e5], ids="{:.0e}".format)
def test_layers_that_only_their_thin_direction_separates(gap, kind, generic):
    # column by column the three overlap and are near their common mean; along the thin direction they are ``gap``
    # standard deviations apart
    rng = np.random.default_rng(9)
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    labels = rng.permutation(np.repeat(np.arange(3), 60))
    Z = rng.standard_normal((180, 3)) * [1.0, 0.5, 1e-5]
    Z[:, 2] += 1e-5 * gap * labels
    X = Z @ axes.T
    model = fitted(kind, X, 3, init=labels, generic=generic)
    normals = reference(X, labels, kind, 5)
    condition = max(np.linalg.cond(S) for S in normals.covariances.astype(np.float64))
    # entries rounded to ε, in the direction of the smallest variance; see test_accuracy.within
    assert rows_of.whitened_error(model, normals, kind) <= 2 * 3 * EPS * condition


# ---- the same mixture, elsewhere -----------------------------------------------------------------------------------


def far_model(kind="full"):
    X, labels = clusters([[0.0, 0.0], [1e6, 0.0], [1e6 + 3.0, 2.0]])
    R = np.eye(3)[labels]
    R[labels > 0, 1:] = blurred(labels[labels > 0] - 1)
    return X, fitted(kind, X, 3, init=R), reference(X, R, kind, 5)


@each_kind
def test_a_saved_model_keeps_what_float64_means_would_lose(kind, tmp_path):
    X, model, normals = far_model(kind)
    model.save(tmp_path / "far.efm")
    loaded = ef.load(tmp_path / "far.efm")
    assert np.array_equal(loaded.score_samples(X), model.score_samples(X))
    assert np.abs(loaded.score_samples(X) - centred.log_density(X, normals)).max() <= 1e-9


@each_kind
def test_a_mixture_given_as_a_start_is_the_same_mixture(kind):
    X, model, normals = far_model(kind)
    again = fitted(kind, X, 3, init=model.mixture_, max_iter=0)
    assert np.abs(again.score_samples(X) - centred.log_density(X, normals)).max() <= 1e-9
    assert error_of(again, normals, kind) <= CLOSE


@each_kind
def test_expectations_and_statistics_agree_wherever_they_are(kind):
    # an M-step of a mixture's own expected statistics has the means and covariances of the responsibilities
    X, model, normals = far_model(kind)
    statistics = ef.accumulate(model.mixture_, X)
    mixture = ef.maximize(statistics, model.mixture_)
    after = centred.run(X, normals, 1, kind)
    model.mixture_ = mixture
    assert error_of(model, after, kind) <= CLOSE


@each_kind
def test_statistics_of_parts_of_the_rows_add_up(kind):
    X, model, normals = far_model(kind)
    parts = [ef.accumulate(model.mixture_, part) for part in np.array_split(X, 5)]
    mixture = ef.maximize(sum(parts[1:], parts[0]), model.mixture_)
    model.mixture_ = mixture
    assert error_of(model, centred.run(X, normals, 1, kind), kind) <= CLOSE


@each_kind
def test_online_averages_of_statistics_are_averages_of_rows(kind):
    X, model, normals = far_model(kind)
    first, second = X[::2], X[1::2]
    parts = [ef.accumulate(model.mixture_, part) for part in (first, second)]
    mixture = ef.maximize(0.25 * parts[0] + 0.75 * parts[1], model.mixture_)
    model.mixture_ = mixture
    w = np.where(np.arange(len(X)) % 2 == 0, 0.25, 0.75)
    assert error_of(model, centred.run(X, normals, 1, kind, w), kind) <= CLOSE


def test_marginals_of_a_far_mixture():
    X, model, normals = far_model()
    found = model.mixture_.marginal([1]).log_density(X[:, 1:])
    part = centred.Normals(
        normals.weights, normals.origins[:, 1:], normals.remainders[:, 1:], normals.covariances[:, 1:, 1:]
    )  # fmt: skip
    assert np.abs(found - centred.log_density(X[:, 1:], part)).max() <= 1e-9
    found = model.mixture_.marginal([0]).log_density(X[:, :1])
    part = centred.Normals(
        normals.weights, normals.origins[:, :1], normals.remainders[:, :1], normals.covariances[:, :1, :1]
    )  # fmt: skip
    assert np.abs(found - centred.log_density(X[:, :1], part)).max() <= 1e-9


@each_kind
def test_samples_of_a_far_mixture_have_its_spread(kind):
    _, model, _ = far_model(kind)
    rows, labels = model.sample(6000)
    found = estimate(rows, labels, "full")
    # 2000 rows or so of each: a variance within 5 standard errors of √(2/1000)
    assert rows_of.covariance_error(model, found, kind) <= 5 * np.sqrt(2 / 1000)


LAYOUTS = {
    "F": np.asfortranarray,
    "strided rows": lambda X: np.repeat(X, 2, axis=0)[::2],
    "strided columns": lambda X: np.repeat(X, 3, axis=1)[:, ::3],
    "reversed": lambda X: X[::-1].copy()[::-1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_the_rows_changes_no_bit(layout):
    X, model, _ = far_model()
    found, expected = (ef.accumulate(model.mixture_, rows) for rows in (LAYOUTS[layout](X), X))
    assert np.array_equal(found.sums, expected.sums)
    assert np.array_equal(found.counts, expected.counts)
    assert found.bound == expected.bound


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@each_kind
def test_whole_numbers_of_any_type_give_the_same_bits(kind, dtype):
    rng = np.random.default_rng(10)
    labels = np.repeat([0, 1], 60)
    X = rng.integers(0, 4, (120, 2)) + 250 * labels[:, None]
    start = fitted(kind, X.astype(np.float64), 2, init=labels, max_iter=0).mixture_
    found, expected = (ef.fit(start, X.astype(t), max_iter=3, tol=0) for t in (dtype, np.float64))
    assert np.array_equal(found.mixture.natural, expected.mixture.natural)
    assert np.array_equal(found.bounds, expected.bounds)


# ---- other assignments ---------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("distance", [1e2, 1e4, 1e6, 1e8], ids="{:.0e}".format)
def test_hard_assignment_of_clusters_far_apart(distance, kind):
    X, labels = clusters([[0.0, 0.0], [distance, 0.0]])
    model = fitted(kind, X, 2, init=labels, temperature=0.0)
    assert error_of(model, estimate(X, labels, kind), kind) <= CLOSE


@each_kind
def test_annealing_far_from_zero(kind):
    X, labels = clusters([[1e6, 1e6], [1e6 + 3.0, 1e6 + 1.0]])
    R = blurred(labels)
    model = fitted(kind, X, 2, init=R, temperature=2.0, max_iter=3)
    normals = estimate(X, R, kind)
    for _ in range(3):
        S = centred.scores(X, normals) / 2
        normals = centred.estimate(X, np.exp(S - centred.log_sum_exp(S)), kind)
    assert error_of(model, normals, kind) <= CLOSE


@each_kind
def test_the_bound_never_falls_where_components_are_far_and_tiny(kind):
    # five hundred steps over which a component may be in its own coordinates or not: going to and fro between them
    # must not show in the bound
    for distance in (3.0, 10.0, 30.0, 100.0, 1e3):
        X, labels = clusters([[0.0, 0.0], [distance, 0.0], [distance + 2.0, 0.5]])
        R = np.eye(3)[labels]
        R[labels > 0, 1:] = blurred(labels[labels > 0] - 1, 0.6)
        model = fitted(kind, X, 3, init=R, max_iter=100)
        assert np.diff(model.lower_bounds_).min() >= -1e-12


@each_kind
def test_a_prior_of_pseudo_rows_far_from_one_another(kind):
    X, labels = clusters([[0.0, 0.0], [1e3, 0.0]])
    family = ef.families.Gaussian(kind)
    pseudo = np.array([[[1.0, 0.5], [-1.0, 0.0], [0.0, 1.0]], [[1001.0, 0.5], [999.0, 0.0], [1000.0, 1.0]]])
    sums = np.array([family.sufficient_statistics(rows).sum(axis=0) for rows in pseudo])
    prior = ef.ExpectedStatistics(np.full(2, 3.0), sums)
    model = fitted(kind, X, 2, init=labels, prior=prior, max_iter=3)
    rows, names = np.concatenate([X, *pseudo]), np.append(labels, [0, 0, 0, 1, 1, 1])
    normals = estimate(rows, names, kind)
    # sums of squares of 1e6 are known to ε; a component has 70 rows or 50, and the prior is 3
    assert rows_of.covariance_error(model, normals, kind) <= 8 * EPS * 1e6


def test_components_of_equal_rows_are_not_refined_for_ever():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.integers(0, 5, (300, 6)).astype(float), 3, axis=0)
    for seed in range(6):
        model = ef.GaussianMixture(
            3, covariance_type="diag", init="random_from_data", max_iter=30, tol=0, random_state=seed
        )  # fmt: skip
        model.fit(X)  # warnings are errors
        assert np.isfinite(model.lower_bounds_).all()


# ---- what else looks at components ---------------------------------------------------------------------------------


@each_kind
def test_bounds_of_a_far_mixture(kind):
    X, model, _ = far_model(kind)
    mixture, R = model.mixture_, model.predict_proba(X)
    total = mixture.log_density(X).sum()
    assert ef.lower_bound(mixture, X, R) == pytest.approx(total, abs=1e-9 * len(X))
    assert ef.gap(mixture, X, R) == pytest.approx(0, abs=1e-9 * len(X))
    density = mixture.family.log_density(X, mixture.natural) + mixture.log_weights
    assert np.logaddexp.reduce(density, axis=1) == pytest.approx(mixture.log_density(X), abs=1e-9)


@each_kind
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_parts_of_a_mixture_of_an_unbound_family(kind, offset):
    X, _ = clusters([[0.0, 0.0, 1.0], [1e4, 3.0, 0.0]])
    X += offset
    family = ef.families.Gaussian(kind)
    means = np.array([[offset, offset, 1 + offset], [1e4 + offset, 3 + offset, offset]])
    unit = {"full": np.eye(3), "tied": np.eye(3), "diag": np.ones(3), "spherical": np.array(1.0)}[kind]
    start = ef.Mixture(family, [0.5, 0.5], family.from_moments(means, np.stack([unit, unit])))
    mixture = ef.fit(start, X, max_iter=3, tol=0).mixture
    assert mixture.marginal([2, 1, 0]).log_density(X[:, ::-1]) == pytest.approx(mixture.log_density(X), abs=1e-8)
    given = mixture.conditional([0], [X[0, 0]]).log_density(X[:1, 1:])
    expected = mixture.log_density(X[:1]) - mixture.marginal([0]).log_density(X[:1, :1])
    assert given == pytest.approx(expected, abs=1e-8)


def test_some_components_of_a_far_mixture():
    X, model, _ = far_model()
    mixture, order = model.mixture_, [2, 0, 1]
    means = mixture.parameters["means"]
    with pytest.raises(ValueError, match=r"has coordinates for 3, in order"):
        ef.Mixture(mixture.family, [0.5, 0.5], mixture.natural[:2])
    turned = mixture.components(order)
    assert np.array_equal(turned.parameters["means"], means[order])
    assert turned.log_density(X) == pytest.approx(mixture.log_density(X), abs=1e-9)


class OwnMonomials(ef.families.Gaussian):
    """A Gaussian that does not hand its frames to the kernel."""

    def kernel_form(self, n_features):
        return None


def test_a_family_whose_monomials_have_no_frames_does_without():
    X, labels = clusters([[0.0, 0.0], [300.0, 0.0]])
    model = ef.ExponentialFamilyMixture(OwnMonomials(), 2, init=labels, max_iter=5, tol=0).fit(X)
    assert model.mixture_.family.frames is None
    assert error_of(model, reference(X, labels, "full", 5), "full") <= 1e-9


def test_wide_full_covariances_in_every_way():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (300, 100)), rng.normal(2, 1.5, (300, 100))])
    model = fitted("full", X, 2, init=np.repeat([0, 1], 300), max_iter=3)
    assert model.mixture_.family.frames["own"].all()
    normals = reference(X, np.repeat([0, 1], 300), "full", 3)
    assert error_of(model, normals, "full") <= CLOSE
    assert np.abs(model.score_samples(X) - centred.log_density(X, normals)).max() <= 1e-9
    assert ef.lower_bound(model.mixture_, X, model.predict_proba(X)) == pytest.approx(600 * model.score(X), rel=1e-12)
    assert model.sample(5)[0].shape == (5, 100)
