"""Responsibilities that are negligible, and scores that cannot matter: results are those of the whole computation.

The file also passes with NUMBA_DISABLE_JIT=1.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import expfam_em as ef
from expfam_em.estep import dense
from expfam_em.estep.plan import plan
from expfam_em.estep.screen import Screen
from expfam_em.families.gaussian.packing import Triangle
from expfam_em.kernels import em_few
from expfam_em.kernels.vectors import jit_is_off
from expfam_em.rows.memory import ArrayRows

CLOSE = 1e-12 if jit_is_off else 1e-14
"""Compiled, scores have the same bits whether they are made for all rows or for some; NumPy has an order of its own."""
NAMES = ("counts", "sums", "bounds")


@pytest.fixture(autouse=True)
def taken(monkeypatch):
    """The numbers of rows that were taken because few components matter to them; no shape is too small for that."""
    monkeypatch.setattr(dense, "SCREENED_ROWS", 0)
    monkeypatch.setattr(dense, "SCREENED_ENTRIES", 0)
    taken = []

    def counted(X, items, *arguments):
        left = em_few(X, items, *arguments)
        taken.append(int(np.sum(items[:, 1] - items[:, 0]) - np.sum(left[:, 1] - left[:, 0])))
        return left

    monkeypatch.setattr(dense, "em_few", counted)
    return taken


def clusters(n, d, K, spread, seed=0, shapes=0.3):
    """Rows of clusters that lie ``spread`` apart in each column, and the mixture of their true parameters."""
    rng = np.random.default_rng(seed)
    centres, labels = spread * rng.normal(size=(K, d)), rng.integers(K, size=n)
    roots = np.eye(d) + shapes * rng.normal(size=(K, d, d)) / d**0.5
    X = centres[labels] + np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(n, d)))
    return X, mixture_of(X, np.full(K, 1 / K), centres, roots @ roots.transpose(0, 2, 1))


def mixture_of(X, weights, means, covariances):
    family = ef.families.Gaussian("full").bind(ArrayRows(X))
    return ef.Mixture.of(family, weights, means=means, covariances=covariances)


def in_frames(mixture, which):
    """The mixture with some components, by a slice, in frames of their own; none without one."""
    if which is None:
        return mixture
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Triangle, "widest_shared", 0)
        every = mixture.reframed().family.frames
    here = np.arange(len(every))[which]
    return mixture.in_family(mixture.family.with_frames(every.take(here).scattered(here, len(every))))


def beside(X, mixture, far):
    """The mixture with its third component moved next to the second, and only those rows that are far from both."""
    means = np.array(mixture.parameters["means"])
    X = X[np.linalg.norm(X - means[2], axis=1) > 8]
    means[2] = means[1] + far / means.shape[1] ** 0.5
    return X, mixture_of(X, mixture.weights, means, np.tile(np.eye(means.shape[1]), (len(means), 1, 1)))


def sums_of(X, mixture, weight=None, temperature=1.0, exact=False, n_jobs=1):
    """Counts, sums and bounds of a pass, from all responsibilities if ``exact``."""
    at = plan(mixture.family, ArrayRows(X, weight, n_jobs), mixture.n_components)
    at = replace(at, kernel=replace(at.kernel, exact=True)) if exact else at
    return at.sums(mixture.scores, temperature)


def check(found, expected):
    """Compare sums with those that leave out nothing: each component for itself, relative to its largest sum."""
    assert found.counts == pytest.approx(expected.counts, rel=CLOSE, abs=1e-300)
    scale = np.abs(expected.sums).max(axis=2, keepdims=True)
    assert np.all(np.abs(found.sums - expected.sums) <= CLOSE * scale)
    assert found.bounds == pytest.approx(expected.bounds, rel=CLOSE)


CASES = [
    pytest.param(16, 12, 6.0, True, id="far"), pytest.param(16, 12, 0.3, False, id="overlapping"),
    pytest.param(13, 7, 8.0, True, id="least"), pytest.param(15, 9, 1.0, False, id="touching"),
    pytest.param(40, 8, 3.0, True, id="statistics in parts"), pytest.param(17, 33, 6.0, True, id="many"),
]  # fmt: skip


OWN = [pytest.param(None, id="shared"), pytest.param(slice(None), id="own"), pytest.param(slice(1, None, 2), id="both")]
"""Which components have frames of their own."""


@pytest.mark.parametrize(("d", "K", "spread", "few"), CASES)
@pytest.mark.parametrize(
    ("temperature", "weighted", "own"),
    [
        (1.0, False, None), (1.2, True, None), (1e-100, False, None), (0.0, True, None),
        (1.0, True, slice(None)), (1.2, False, slice(1, None, 2)),
    ],
)  # fmt: skip
def test_sums_are_those_of_all_responsibilities(d, K, spread, few, temperature, weighted, own, taken):
    X, mixture = clusters(500, d, K, spread)
    mixture = in_frames(mixture, own)
    weight = np.random.default_rng(1).integers(0, 3, len(X)) * 0.7 if weighted else None
    found = sums_of(X, mixture, weight, temperature)
    if own != slice(None) or few:  # in their own frames, more components are few
        assert sum(taken) == few * len(X)
    check(found, sums_of(X, mixture, weight, temperature, exact=True))


def test_a_hot_pass_takes_no_rows(taken):
    X, mixture = clusters(500, 16, 12, 6.0)
    check(sums_of(X, mixture, temperature=1e100), sums_of(X, mixture, temperature=1e100, exact=True))
    assert sum(taken) == 0


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("n", [1, 7, 31, 32, 33, 65, 129, 511, 513])
def test_any_number_of_rows(n, own, taken):
    X, mixture = clusters(600, 14, 9, 8.0)
    mixture = in_frames(mixture, own)
    check(sums_of(X[:n], mixture), sums_of(X[:n], mixture, exact=True))
    assert sum(taken) == n


def test_from_a_block_to_which_many_components_matter_rows_are_left(taken):
    X, mixture = clusters(2000, 16, 12, 6.0)
    means, covariances = (np.array(mixture.parameters[name]) for name in ("means", "covariances"))
    distance = np.linalg.norm(X - means[0], axis=1)
    X = X[np.argsort(-distance, kind="stable")]
    means[1], means[2] = means[0] + 0.1, means[0] - 0.1
    mixture = mixture_of(X, mixture.weights, means, covariances)
    check(sums_of(X, mixture), sums_of(X, mixture, exact=True))
    assert 1000 < sum(taken) < np.sum(distance > 20)


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("d", [13, 16, 30])
def test_bounds_are_above_the_scores_and_of_use(d, seed, own):
    X, mixture = clusters(300, d, 16, 8.0, seed)
    means, covariances = (np.array(mixture.parameters[name]) for name in ("means", "covariances"))
    mixture = in_frames(mixture, own)
    monomials, scores = mixture.family.kernel_form(d).monomials, mixture.scores
    screen = Screen.of(monomials, scores, np.full((1, 16), -40.0), dense.frames_of_kernel(monomials, scores))
    Z = (X - monomials.shift) * monomials.inverse_scale
    m = screen.coefficients.shape[2] - len(screen.pairs) - 1
    Y = Z @ screen.projection[0, :m].T
    terms = np.column_stack([Y, np.ones(len(X)), Y[:, screen.pairs[:, 0]] * Y[:, screen.pairs[:, 1]]])
    bound = terms @ screen.coefficients[0, :16].T + scores.level
    densities = [stats.multivariate_normal.logpdf(X, *theta) for theta in zip(means, covariances, strict=True)]
    # scores are of z, and leave out log h
    constant = 0.5 * d * np.log(2 * np.pi) - np.log(monomials.inverse_scale).sum()
    exact = np.log(1 / 16) + np.column_stack(densities) + constant
    slack = screen.slack[0, 0] * np.sum(Z**2, axis=1, keepdims=True) + screen.slack[0, 1]
    assert np.all(slack < 0.01)
    assert np.all(bound >= exact - slack)
    assert np.mean(bound >= exact.max(axis=1, keepdims=True) - 40) < 1.3 / 16


@pytest.mark.parametrize("far", [5.0, 9.0, 14.0, 40.0])
def test_a_component_that_nearly_vanishes_keeps_all_digits(far):
    X, moved = beside(*clusters(600, 14, 12, 6.0, seed=3), far)
    exact = sums_of(X, moved, exact=True)
    assert exact.counts[0, 2] < 20
    check(sums_of(X, moved), exact)


def test_a_tiny_mixing_weight_counts_from_the_first_step_on():
    X, mixture = clusters(600, 14, 12, 6.0)
    weights = np.array([1e-40, *np.full(11, (1 - 1e-40) / 11)])
    mixture = mixture_of(X, weights, *(mixture.parameters[name] for name in ("means", "covariances")))
    check(sums_of(X, mixture), sums_of(X, mixture, exact=True))


def test_a_mixing_weight_of_0_is_no_obstacle():
    X, mixture = clusters(600, 14, 12, 6.0)
    scores = mixture.scores
    weights = scores.log_weights.copy()
    weights[0, 3] = -np.inf
    at = plan(mixture.family, ArrayRows(X), 12)
    found = at.sums(scores._replace(log_weights=weights))
    check(found, replace(at, kernel=replace(at.kernel, exact=True)).sums(scores._replace(log_weights=weights)))
    assert found.counts[0, 3] == 0


def test_mixtures_of_a_stack_are_taken_one_by_one():
    X, mixture = clusters(600, 14, 12, 6.0, seed=3)
    X, moved = beside(X, mixture, 12)
    _, close = clusters(600, 14, 12, 0.3, seed=4)
    close = mixture_of(X, close.weights, *(close.parameters[name] for name in ("means", "covariances")))
    again = mixture_of(X, mixture.weights, *(mixture.parameters[name] for name in ("means", "covariances")))
    lot = (again, close, moved, again)
    found = sums_of(X, ef.Mixture.stack(lot))
    for b, one in enumerate(lot):
        alone = sums_of(X, one)
        for name in NAMES:
            assert np.array_equal(getattr(found, name)[b], getattr(alone, name)[0])


def test_frames_of_other_mixtures_of_a_stack_change_no_bits(taken):
    X, mixture = clusters(2000, 40, 8, 3.0)
    lot = [in_frames(mixture, own) for own in (slice(None), None, slice(1, None, 2))]
    found = sums_of(X, ef.Mixture.stack(lot))
    assert sum(taken) == len(lot) * len(X)
    for b, one in enumerate(lot):
        alone = sums_of(X, one)
        for name in NAMES:
            assert np.array_equal(getattr(found, name)[b], getattr(alone, name)[0])


@pytest.mark.parametrize("value", [1e200, 1e308, np.inf, -np.inf, np.nan])
def test_a_row_that_is_nowhere_is_left(value, taken):
    X, mixture = clusters(600, 14, 12, 6.0)
    X[:300] = X[0]
    X[400, 3] = value
    with np.errstate(all="ignore"):
        found, expected = sums_of(X, mixture), sums_of(X, mixture, exact=True)
    assert sum(taken) <= 400
    for name in NAMES:
        assert np.array_equal(np.isfinite(getattr(found, name)), np.isfinite(getattr(expected, name)))
    check(sums_of(X[:400], mixture), sums_of(X[:400], mixture, exact=True))


@pytest.mark.parametrize("own", OWN)
def test_rows_of_weight_0_may_hold_anything(own, taken):
    X, mixture = clusters(600, 14, 12, 6.0)
    mixture = in_frames(mixture, own)
    weight = np.ones(600)
    X[::7], weight[::7] = np.inf, 0.0
    found = sums_of(X, mixture, weight)
    assert sum(taken) == 600
    check(found, sums_of(np.delete(X, np.s_[::7], axis=0), mixture, exact=True))


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_threads_and_the_order_in_memory_change_no_bits(dtype, own, taken):
    X, mixture = clusters(5000, 16, 8, 8.0)
    X = np.clip(X + 128, 0, 255).astype(dtype) if dtype == np.uint8 else X.astype(dtype)
    if dtype == np.uint8:
        mixture = mixture_of(X, mixture.weights, mixture.parameters["means"] + 128, mixture.parameters["covariances"])
    mixture = in_frames(mixture, own)
    first = sums_of(X, mixture)
    assert sum(taken) == len(X)
    check(first, sums_of(X, mixture, exact=True))
    for rows, n_jobs in ((X, 2), (X, 4), (np.asfortranarray(X), 1), (np.repeat(X, 2, axis=1)[:, ::2], 3)):
        again = sums_of(rows, mixture, n_jobs=n_jobs)
        for name in NAMES:
            assert np.array_equal(getattr(first, name), getattr(again, name))


def test_rows_with_offsets_are_left(taken):
    X, mixture = clusters(600, 16, 8, 8.0)
    offset = np.random.default_rng(0).exponential(300, (len(X), 8))
    at = plan(mixture.family, ArrayRows(X, None, 1, offset=offset), 8)
    found, expected = (replace(at, kernel=replace(at.kernel, exact=exact)).sums(mixture.scores) for exact in (0, 1))
    check(found, expected)
    assert sum(taken) == 0
    assert np.any(np.abs(found.counts - sums_of(X, mixture).counts) > 10)


def test_a_fit_is_that_of_the_whole_computation(taken, monkeypatch):
    X, mixture = clusters(700, 13, 7, 8.0)
    how = {"n_components": 7, "means_init": mixture.parameters["means"] + 1, "tol": 1e-12}
    found = ef.GaussianMixture(**how).fit(X)
    assert sum(taken) > len(X)
    monkeypatch.setattr(dense, "SCREENED_ROWS", np.inf)
    expected = ef.GaussianMixture(**how).fit(X)
    assert found.lower_bound_ == pytest.approx(expected.lower_bound_, rel=CLOSE)
    assert found.means_ == pytest.approx(expected.means_, rel=1e-11, abs=1e-11)
