"""The search for the nearest centres: labels of exact arithmetic, by any strategy, in any state, on any threads."""

import numpy as np
import pytest
from numba import config

import expfam_em as ef
from expfam_em.em.steps import expected_statistics
from expfam_em.estep import nearest
from expfam_em.estep.nearest import NearestPass, is_nearest_centre
from expfam_em.families import KnownCovariance
from expfam_em.families.gaussian.known import in_frame_units
from expfam_em.kernels import nearest as kernel
from expfam_em.kernels.tiles import GROUP_CENTRES, WIDTH
from expfam_em.rows.memory import ArrayRows, as_rows
from expfam_em.values.evaluate import evaluate
from tests.passes import dense_statistics

STRATEGIES = ["panels", "rows", "fast", "once"]
DIMENSIONS = [1, 2, 3, 4, 5, 16, 33, 130]
N, TURNS = (150, 20) if config.DISABLE_JIT else (700, 200)  # rows are many panels, and a last one that is not full


def nearest_of(X, weight=None, n_jobs=None, strategy="auto"):
    rows = ArrayRows(X, weight, n_jobs)
    return NearestPass(in_frame_units(KnownCovariance().bind(rows)), rows, strategy)


def rows_of(X, weight=None, strategy="auto", monkeypatch=None, n_jobs=1):
    if strategy == "fast":  # the fastest centres are looked at apart, however few there are
        monkeypatch.setattr(nearest, "FAST_WORK", 0)
        strategy = "rows"
    return nearest_of(X, weight, n_jobs, strategy)


def mixture_of(X, centres, weight=None):
    """The centres as a mixture for which the driver may be asked, in the frame of X."""
    family = in_frame_units(KnownCovariance().bind(as_rows(X, weight)))
    K = len(centres)
    return ef.Mixture(family, np.full(K, 1 / K), family.from_moments(np.asarray(centres, np.float64), np.ones(K)))


def exact_scores(mixture, X):
    """Scores and |z|² to 64 bits."""
    shift, inverse_scale = mixture.family.kernel_form(X.shape[1]).monomials[:2]
    z = (X.astype(np.longdouble) - shift) * inverse_scale
    natural = mixture.natural.astype(np.longdouble)
    return z @ natural.T - 0.5 * np.sum(natural**2, axis=1), np.sum(z**2, axis=1)


def check_labels(labels, mixture, X):
    """Each label is the nearest centre, or one that float64 cannot tell from it; the first of equal ones."""
    scores, q = exact_scores(mixture, X)
    slope, level = nearest._error(X.shape[1], np.max(np.sum(mixture.natural**2, axis=1)), 2.0**-53, 2.0**-1074)
    best = scores.max(axis=1)
    assert labels.dtype == np.int32
    assert np.all(best - scores[np.arange(len(X)), labels] <= 2 * (slope * q + level))
    clear = np.sum(scores >= (best - 2 * (slope * q + level))[:, None], axis=1) == 1
    assert np.array_equal(labels[clear], scores.argmax(axis=1)[clear])
    return clear.mean()


def check_statistics(statistics, mixture, X, labels, weight):
    w = np.ones(len(X)) if weight is None else weight
    shift, inverse_scale = mixture.family.kernel_form(X.shape[1]).monomials[:2]
    T = (X.astype(np.float64) - shift) * inverse_scale
    K = mixture.n_components
    sums = np.zeros(mixture.natural.shape)
    np.add.at(sums, labels, w[:, None] * T)
    size = np.abs(T * w[:, None]).sum(axis=0)
    assert np.all(np.abs(statistics.counts - np.bincount(labels, w, K)) <= 1e-13 * w.sum())
    assert np.all(np.abs(statistics.sums - sums) <= 1e-13 * size)
    scores = T @ mixture.natural.T - mixture.log_partition - np.log(K)
    bound = np.sum(w * scores[np.arange(len(X)), labels])
    assert statistics.bound == pytest.approx(bound, rel=1e-11, abs=1e-11 * np.sum(w[:, None] * np.abs(scores)))


def problem(seed, d, n=N, K=23):
    """Rows of overlapping clusters, with repetitions, far from the origin for some seeds, and K of them."""
    rng = np.random.default_rng(seed)
    X = 2.0 * rng.integers(-1, 2, (n, d)) + rng.normal(size=(n, d)) + [0.0, 1e6, -1e3][seed % 3]
    X[rng.random(n) < 0.2] = X[0]
    weight = None if seed % 2 else rng.integers(0, 3, n) * rng.random(n)
    return X.astype(np.float64 if seed % 4 < 2 else np.float32), weight, X[rng.choice(n, K, replace=False)], rng


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("seed", range(4))
def test_labels_are_those_of_exact_arithmetic(seed, strategy, d, monkeypatch):
    X, weight, centres, rng = problem(seed, d)
    rows = rows_of(X, weight, strategy, monkeypatch)
    mixture = mixture_of(X, centres, weight)
    for step in range(12):
        statistics = expected_statistics(rows, mixture, 0.0)
        labels = rows.labels(mixture.scores)
        assert check_labels(labels, mixture, X) > 0.5  # rows at two equal centres apart
        check_statistics(statistics, mixture, X, labels, weight)
        mixture = ef.maximize(statistics, mixture, weights="equal")
        if step == 7:  # a leap of one centre
            natural = mixture.natural.copy()
            natural[3] += rng.normal(size=d)
            mixture = ef.Mixture(mixture.family, mixture.weights, natural)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_lower_index_wins_every_tie(strategy, monkeypatch):
    sides = (7.0, 9.0, 3.0) if config.DISABLE_JIT else (21.0, 13.0, 3.0)
    lattice = np.stack(np.meshgrid(*map(np.arange, sides)), axis=-1).reshape(-1, 3)
    centres = np.random.default_rng(0).permutation(lattice)[:40]
    centres = np.concatenate([centres, centres[:9]])  # some twice
    distance = np.sum((lattice[:, None] - centres) ** 2, axis=2)  # whole numbers
    assert np.mean(np.sum(distance == distance.min(axis=1, keepdims=True), axis=1) > 1) > 0.2
    rows = rows_of(lattice, None, strategy, monkeypatch)
    for centres_now in (centres, centres[::-1], centres + np.array([0, 1, 0]), centres):
        distance = np.sum((lattice[:, None] - centres_now) ** 2, axis=2)
        mixture = mixture_of(lattice, centres_now)
        assert np.array_equal(rows.labels(mixture.scores), distance.argmin(axis=1))
        assert np.array_equal(
            rows.labels(mixture.scores), evaluate(mixture.family, mixture.scores, lattice, labels=True).labels
        )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("d", [2, 40])
def test_any_number_of_threads_gives_the_same_bits(strategy, d, many_chunks, monkeypatch):
    monkeypatch.setattr(nearest, "SERIAL_WORK", 0)
    X, weight, centres, _ = problem(0, d, n=9001)

    def run(n_jobs):
        rows, mixture, out = rows_of(X, weight, strategy, monkeypatch, n_jobs), mixture_of(X, centres, weight), []
        for _ in range(6):
            s = expected_statistics(rows, mixture, 0.0)
            labels = rows.labels(mixture.scores)
            loss = rows.inertia(centres, labels).hex()
            out += [s.counts.tobytes(), s.sums.tobytes(), float(s.bound).hex(), labels.tobytes(), loss]
            mixture = ef.maximize(s, mixture, weights="equal")
        return out

    one = run(1)
    assert run(2) == one
    assert run(4) == one


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_is_left_of_another_mixture(strategy, monkeypatch):
    X, weight, centres, rng = problem(2, 3)
    rows = rows_of(X, weight, strategy, monkeypatch)
    one, fewer = mixture_of(X, centres, weight), mixture_of(X, centres[:5], weight)
    far = mixture_of(X, centres + 100 * rng.normal(size=centres.shape), weight)
    for mixture in (one, far, one, fewer, one, fewer):
        fresh = rows_of(X, weight, strategy, monkeypatch)
        rows.labels((far if mixture is one else one).scores)  # labels for which nobody asks for the sums
        found, expected = (expected_statistics(r, mixture, 0.0) for r in (rows, fresh))
        assert np.array_equal(rows.labels(mixture.scores), fresh.labels(mixture.scores))
        check_labels(rows.labels(mixture.scores), mixture, X)
        assert found.sums == pytest.approx(expected.sums, rel=1e-13, abs=1e-12 * np.abs(expected.sums).max())
        assert found.bound == pytest.approx(expected.bound, rel=1e-12)


def test_a_panel_of_two_clusters_drifts_with_the_faster():
    X = np.repeat([[0.0], [10.0]], WIDTH // 2, axis=0)
    rows = nearest_of(X, strategy="panels")
    for centres, label in (([[0.0], [10], [16]], 1), ([[0.0], [6.5], [12.5]], 2)):
        assert rows.labels(mixture_of(X, centres).scores).tolist() == [0] * (WIDTH // 2) + [label] * (WIDTH // 2)


def test_other_mixtures_take_the_plain_path():
    X, weight, centres, _ = problem(0, 3)
    hard, plain = mixture_of(X, centres, weight), ArrayRows(X, weight)
    rows = NearestPass(hard.family, plain)
    unequal = ef.Mixture(hard.family, np.arange(1, 24) / 276, hard.natural)
    other_scale = ef.Mixture(hard.family.replace(variance=0.5), hard.weights, hard.natural)
    for mixture, temperature in ((hard, 1.0), (unequal, 0.0), (other_scale, 0.0)):
        assert temperature or not is_nearest_centre(mixture.scores, plain)
        found = expected_statistics(rows, mixture, temperature)
        expected = dense_statistics(X, mixture, temperature, weight)
        assert np.array_equal(found.counts, expected.counts)
        assert np.array_equal(found.sums, expected.sums)
        assert found.bound == expected.bound
    with pytest.raises(ValueError, match="strategy is 'best'"):
        nearest_of(X, strategy="best")


@pytest.mark.parametrize("d", [1, 2, 7, 64, 300])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_the_derived_bounds_hold(d, size):
    """Scores in float32 are within E of those to 64 bits, and a gap is never larger than the true one."""
    rng = np.random.default_rng(d)
    for K in (1, 2, 3 * GROUP_CENTRES + 1):
        z = rng.normal(size=(WIDTH, d)) * rng.choice([1e-3, 1, 1, 1, 30], WIDTH)[:, None]
        c = size * rng.normal(size=(K, d)) + rng.normal(size=d)
        c[0] = z[0] if K > 1 else c[0]
        groups, offsets = nearest._groups(K, d)
        for k in range(K):
            groups[k // GROUP_CENTRES, :, k % GROUP_CENTRES] = c[k]
            offsets[k // GROUP_CENTRES, k % GROUP_CENTRES] = -0.5 * np.sum(c[k] ** 2)
        top, second, gap = (np.empty(WIDTH, np.float32) for _ in range(3))
        label = np.empty(WIDTH, np.int32)
        panel = np.ascontiguousarray(z.T, np.float32)
        error = nearest._error(d, np.max(np.sum(c**2, axis=1)), 2.0**-24, 2.0**-149).astype(np.float32)
        kernel.rank(panel, 0, groups, offsets, top, second, label)
        with np.errstate(invalid="ignore"):  # of one centre, there is no second
            kernel.measure(panel, 0, d, error, top, second, gap)
        z, c = z.astype(np.longdouble), c.astype(np.longdouble)
        scores = np.sort(z @ c.T - 0.5 * np.sum(c**2, axis=1), axis=1)
        bound = error[0] * np.sum(z**2, axis=1) + error[1]
        assert np.all(np.abs(top - scores[:, -1]) <= bound)
        assert np.all(bound <= 1e-7 * (d + 20) * np.maximum(np.sum(z**2, axis=1), np.max(np.sum(c**2, axis=1))))
        if K == 1:
            continue
        assert np.all(np.abs(second - scores[:, -2]) <= bound)
        distance = np.sort(np.sqrt(np.sum((z[:, None] - c) ** 2, axis=2)), axis=1)
        assert np.all(gap <= distance[:, 1] - distance[:, 0])
        proven = gap > 0
        assert np.array_equal(label[proven], np.argmin(np.sum((z[:, None] - c) ** 2, axis=2), axis=1)[proven])
        assert proven[0]  # the row at a centre, for one, is beyond doubt
        # and not much smaller either, where neither rounding nor the bound on D₁ + D₂ matters
        assert size != 1 or np.median(gap / (distance[:, 1] - distance[:, 0])) > 0.5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_that_float32_cannot_hold(strategy, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    X[0], X[1], X[2] = 1e60, -1e45, 1e-60
    weight = np.ones(300)
    weight[:2] = 0
    rows = rows_of(X, weight, strategy, monkeypatch)
    for factors in ([1e-59, 1e-44], [1e-59, 1.0]):  # then a centre, too
        mixture = mixture_of(X, X[:20] * [*([f] for f in factors), *[[1]] * 18], weight)
        assert np.array_equal(rows.labels(mixture.scores), exact_scores(mixture, X)[0].argmax(axis=1))
        assert np.isfinite(expected_statistics(rows, mixture, 0.0).sums).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "read-only"])
@pytest.mark.parametrize("d", [2, 17])
def test_any_layout(layout, dtype, d):
    X, _, centres, _ = problem(1, d)
    X = X.astype(dtype)
    given = {
        "C": X,
        "F": np.asfortranarray(X),
        "strided": np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
        "read-only": X,
    }[layout]
    given.flags.writeable = layout != "read-only"
    models = [ef.KMeans(len(centres), init=centres, tol=0).fit(x) for x in (X, given)]
    assert np.array_equal(models[0].labels_, models[1].labels_)
    assert models[0].cluster_centers_.tobytes() == models[1].cluster_centers_.tobytes()
    assert np.array_equal(models[1].predict(given), models[1].labels_)


def test_sums_do_not_drift():
    """Rows that change their label back and forth leave no trace."""
    X, weight, centres, _ = problem(0, 3)
    rows, one, two = nearest_of(X, weight), *(mixture_of(X, c, weight) for c in (centres, centres[::-1] + 0.3))
    first = expected_statistics(rows, one, 0.0)
    for _ in range(TURNS):
        expected_statistics(rows, two, 0.0)
        last = expected_statistics(rows, one, 0.0)
    assert np.all(np.abs(last.sums - first.sums) <= 2.0**-52 * np.abs(first.sums))
    assert np.all(np.abs(last.counts - first.counts) <= 2.0**-52 * first.counts)


def test_inertia():
    X, weight, centres, _ = problem(4, 5)  # around 1e6
    rows, labels = nearest_of(X, weight), np.arange(len(X), dtype=np.int32) % 23
    loss = weight @ np.sum((X.astype(np.longdouble) - centres[labels]) ** 2, axis=1)
    assert rows.inertia(centres, labels) == pytest.approx(float(loss), rel=1e-14)


@pytest.mark.parametrize("d", [2, 6])
def test_without_a_copy_the_clusters_are_the_same(d):
    X, weight, centres, _ = problem(0, d)
    one, two = (ef.KMeans(23, init=centres, tol=0, copy_x=c).fit(X, sample_weight=weight) for c in (True, False))
    assert np.array_equal(one.labels_, two.labels_)
    assert one.cluster_centers_.tobytes() == two.cluster_centers_.tobytes()
    assert one.inertia_ == two.inertia_
