"""Components that do not predict rows they have not seen, and components that collapse."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning

import expfam_em as ef
from expfam_em.em import support as guard
from expfam_em.em.loop import fit_all
from expfam_em.em.options import Options
from expfam_em.em.support import support
from expfam_em.estep.plan import plan
from expfam_em.rows.memory import as_rows
from tests.cases import CASES
from tests.problems import problem_of
from tests.row_sources import ListRows, ReadRows, ShuffledRows

F = ef.families
IRIS = datasets.load_iris().data
LONG = {"max_iter": 1000, "tol": 1e-8}


def mixture(K=2, family=None, **how):
    return ef.ExponentialFamilyMixture(F.Gaussian("full") if family is None else family, K, random_state=0, **how)


def two(n=(300, 60), d=2, apart=6.0, width=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(n[0], d)), rng.normal(apart, width, (n[1], d))])


# ---- iris: the optimum is known, and the highest bounds are of 4 rows or of one recorded value -----------------------


@pytest.mark.parametrize("seed", [0, 2])
def test_a_component_of_four_flowers_is_not_chosen(seed):
    model = mixture(3, n_init=40, init="k-means++", **LONG).set_params(random_state=seed).fit(IRIS)
    assert len(IRIS) * model.lower_bound_ == pytest.approx(-180.1855, abs=1e-3)
    assert model.sound_
    assert "higher bound" in model.status_
    assert "of 4.0 rows" in model.status_
    assert len(IRIS) * model.start_bounds_.max() > -156
    unguarded = mixture(3, n_init=40, init="k-means++", guard=False, **LONG).set_params(random_state=seed).fit(IRIS)
    assert len(IRIS) * unguarded.lower_bound_ > -156
    assert unguarded.sound_ is None
    assert np.isnan(unguarded.support_).all()


def test_a_component_of_one_recorded_value_is_told_from_its_flowers():
    start = np.where(IRIS[:, 3] == 0.2, 0, 1 + (IRIS[:, 3] > 0.8))
    with pytest.warns(ConvergenceWarning, match=r"Component 0, of 29\.0 rows, does not predict"):
        model = mixture(3, init=start, **LONG).fit(IRIS)
    assert len(IRIS) * model.lower_bound_ > 150
    assert model.sound_ is False
    assert model.support_[0] < 0 < model.support_[1:].min()
    rng = np.random.default_rng(0)
    unrounded = IRIS + rng.uniform(-0.05, 0.05, IRIS.shape) * np.array([1, 1, 1, 0])
    with warnings.catch_warnings():  # it is the rounding that tells: unseen rows have the same value
        warnings.simplefilter("ignore", ConvergenceWarning)
        rows = as_rows(unrounded)
        told = support(ef.Mixture.stack([model.mixture_]), rows)
    assert told.unseen[0, 0] < 0


# ---- what is there is kept ------------------------------------------------------------------------------------------

LINE = np.linspace(-2, 2, 100) + 0.01 * np.random.default_rng(5).normal(size=100)


def planted():
    rng = np.random.default_rng(1)
    for d in (2, 3, 4):
        for share, width in ((20, 1.0), (10, 1.0), (10, 0.1), (20, 0.05)):
            yield f"{share} rows of width {width}, {d} columns", two((1000 - share, share), d, 6.0, width)
    yield "10 narrow rows inside", two((990, 10), 4, 0.5, 0.05)
    wide = 2 * rng.normal(size=(300, 2))
    yield "an exact line", np.concatenate([wide, np.column_stack([LINE, 2 * LINE + 1])])
    near = np.column_stack([LINE, 2 * LINE + 1]) + 0.01 * rng.normal(size=(100, 2))
    yield "a line", np.concatenate([wide, near])
    constant = np.column_stack([rng.normal(5, 1, (100, 2)), np.full(100, 0.3)])
    yield "a constant column", np.concatenate([rng.normal(size=(300, 3)), constant])


@pytest.mark.parametrize("X", [pytest.param(X, id=name) for name, X in planted()])
def test_small_and_flat_clusters_are_kept(X):
    model = mixture(2, n_init=5).fit(X)
    assert model.sound_
    assert np.all(model.support_ > np.log(len(X)))


def test_rows_recorded_to_few_digits_are_kept():
    X = two((300, 100), 2, 6.0).round(1)
    assert mixture().fit(X).sound_
    assert mixture(family=F.Gaussian("diag")).fit(X.round(0)).sound_


@pytest.mark.parametrize("acceleration", [None, "auto"])
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_components_of_every_family_are_sound(case, acceleration):
    problem = problem_of(case, "whole")
    model = ef.ExponentialFamilyMixture(
        case.family, 3, init=problem.start, acceleration=acceleration, prior=problem.prior(), tol=1e-4
    )
    model.fit(problem.X, sample_weight=problem.w)
    assert model.sound_
    assert not np.isnan(model.support_).any()
    assert np.isposinf(model.support_).all() == case.family.bounded


# ---- the number itself -----------------------------------------------------------------------------------------------


def test_the_gain_is_that_of_the_formula():
    X = two((90, 40), 1)
    m = mixture(init=np.repeat([0, 1], [90, 40]), **LONG).fit(X)
    mean, sd = m.parameters_["means"][:, 0], np.sqrt(m.parameters_["covariances"][:, 0, 0])
    log_p = stats.norm.logpdf(X, mean, sd)
    r = np.exp(log_p + np.log(m.weights_))
    r /= r.sum(axis=1, keepdims=True)
    label = r.argmax(axis=1)
    fold = np.empty(len(X), int)
    for k in range(2):
        fold[label == k] = np.arange(np.sum(label == k)) % 20
    expected = np.zeros(2)
    for v in range(20):
        out, other = fold == v, fold != v
        N = r[other].sum(axis=0)
        mu = r[other].T @ X[other, 0] / N
        var = np.sum(r[other] * (X[other] - mu) ** 2, axis=0) / N
        unseen = stats.norm.logpdf(X[out], mu, np.sqrt(var)) + np.log(m.weights_)
        for k in range(2):
            rest = log_p[out, 1 - k]
            expected[k] += np.sum(np.logaddexp(unseen[:, k], np.log(m.weights_[1 - k]) + rest) - rest)
    assert m.support_ == pytest.approx(expected, rel=1e-7)


def test_a_row_of_weight_two_is_two_rows_and_small_weights_are_shares():
    X, w = two(), np.random.default_rng(3).integers(0, 4, 360).astype(float)
    start = mixture().fit(X).mixture_
    weighted = mixture(init=start).fit(X, sample_weight=w)
    repeated = mixture(init=start).fit(np.repeat(X, w.astype(int), axis=0))
    shares = mixture(init=start).fit(X, sample_weight=w / 1000)
    each = mixture(init=start).fit(X)
    thin = mixture(init=start).fit(X, sample_weight=np.full(len(X), 1 / 8))
    assert weighted.support_ == pytest.approx(repeated.support_, rel=1e-6)
    assert thin.support_ * 8 == pytest.approx(each.support_, rel=1e-6)
    assert shares.sound_


def test_a_data_set_among_others_has_the_gains_it_has_alone():
    sets = [two((80, 40), seed=seed).round(2) for seed in range(4)]
    start = mixture().fit(sets[0]).mixture_
    model = mixture(init=start)
    for one, X in zip(ef.fit_many(model, sets), sets, strict=True):
        assert one.support_ == pytest.approx(model.fit(X).support_, rel=1e-4)
        assert one.sound_


def test_rows_from_anywhere_have_the_same_gains(monkeypatch):
    monkeypatch.setattr(guard, "ROWS_EACH", 100)
    X, w = two((4000, 900)), np.random.default_rng(3).uniform(0.5, 2, 4900)
    stack = ef.Mixture.stack([mixture().fit(X, sample_weight=w).mixture_])
    expected = support(stack, as_rows(X, w))
    for kind in (ListRows, ShuffledRows, ReadRows):
        found = support(stack, kind.of(X, w, [700, 701, 3000]))
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, rel=1e-10)
    monkeypatch.undo()
    of_all = support(stack, as_rows(X, w))
    assert expected.unseen == pytest.approx(of_all.unseen, rel=0.15)  # 100 rows of each: 1/√100 and some


def test_float32_rows_and_hard_assignment():
    X = two()
    for how in ({"temperature": 0.0}, {"temperature": [4.0, 2.0, 1.0]}, {"weights": "equal"}, {"concentration": 2.0}):
        assert mixture(**how).fit(X).sound_
    assert mixture().fit(X.astype(np.float32)).support_ == pytest.approx(mixture().fit(X).support_, rel=1e-3)


def test_rows_may_miss_values():
    X = two((300, 60), 3)
    whole = mixture().fit(X).support_
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    model = mixture().fit(X)
    assert model.sound_
    assert model.support_ == pytest.approx(whole, rel=0.3)
    labels = np.where(IRIS[:, 3] == 0.2, 0, 1 + (IRIS[:, 3] > 0.8))
    gaps = IRIS.copy()
    gaps[::7, 0] = np.nan
    with pytest.warns(ConvergenceWarning, match="Component 0, of 29"):
        assert mixture(3, init=labels, **LONG).fit(gaps).support_[0] < 0


def test_a_column_may_be_observed_in_none_of_the_rows_that_are_asked_about(monkeypatch):
    monkeypatch.setattr(guard, "ROWS_EACH", 40)
    X = two((1000, 1000), 3).round(1)
    rare, family = np.random.default_rng(1).permutation(2000)[:12], F.Gaussian("diag")
    X[np.setdiff1d(np.arange(2000), rare[:6]), 1] = np.nan
    X[np.setdiff1d(np.arange(2000), rare[6:]), 2] = np.nan
    model = mixture(family=family).fit(X)
    assert model.sound_
    assert model.lower_bound_ == mixture(family=family, guard=False).fit(X).lower_bound_
    stack = ef.Mixture.stack([model.mixture_])
    X[rare[6:], 2] = np.nan  # the first column is recorded to one digit, whatever is known of the last
    assert guard.resolution(stack, X, np.zeros(1, np.int64))[0, [0, 2]] == pytest.approx([0.1, 0])


def test_counts_have_nothing_to_guard_and_parts_that_have_are_asked():
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (60, 5)).astype(float)
    assert np.isposinf(mixture(family=F.Poisson()).fit(counts).support_).all()
    # a count seen in one row alone has probability 0 without it, and is no reason to refuse a cluster
    X = np.column_stack([two((60, 30), 2), (np.arange(90) % 45)])
    family = F.Product([(F.Gaussian("full"), [0, 1]), (F.Categorical(45), [2])])
    model = mixture(family=family, init=np.repeat([0, 1], [60, 30])).fit(X)
    assert model.sound_
    assert np.isfinite(model.support_).all()


def test_one_component_and_no_step_are_never_spurious():
    X = two()
    assert mixture(1).fit(X).support_.tolist() == [np.inf]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mixture(max_iter=0).fit(X).sound_ is None


def test_gaussian_mixture_takes_the_guard_where_it_is_asked_for():
    X, start = IRIS, np.where(IRIS[:, 3] == 0.2, 0, 1 + (IRIS[:, 3] > 0.8))
    assert ef.GaussianMixture(3, init=start).fit(X).sound_ is None
    with pytest.warns(ConvergenceWarning, match="does not predict"):
        assert ef.GaussianMixture(3, init=start, guard=True).fit(X).sound_ is False


def test_many_fits_warn_once():
    start = np.repeat([0, 1, 2], 2)
    rng = np.random.default_rng(0)
    bad = [rng.normal(size=(40, 2)) for _ in range(3)]
    for X in bad:
        X[:3] = X[0] + 1e-4 * rng.normal(size=(3, 2))
    near = F.Gaussian("full").from_moments(np.array([[0.0, 0], bad[0][0]]), np.array([np.eye(2), 1e-7 * np.eye(2)]))
    model = mixture(init=ef.Mixture(F.Gaussian("full"), [0.9, 0.1], near))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fits = ef.fit_many(model, [bad[0], bad[0][::-1], start[:, None] * np.ones(2) + rng.normal(size=(6, 2))])
    assert [one.sound_ for one in fits][:2] == [False, False]
    assert sum("spurious" in str(each.message) for each in caught) == 1


# ---- components that collapse --------------------------------------------------------------------------------------

WAITS = np.concatenate([np.random.default_rng(0).gamma(a, 1, (60, 1)) for a in (3, 50)] + [np.full((3, 1), 200.0)])
SHAPES = {"shapes": [[3.0], [50.0], [1e4]], "rates": [[1.0], [1.0], [50.0]]}


def waiting(collapse, **how):
    start = ef.Mixture.of(F.Gamma(), [0.4, 0.4, 0.2], **SHAPES)
    return mixture(3, F.Gamma(), init=start, collapse=collapse, guard=False, max_iter=300, **how)


@pytest.mark.parametrize("acceleration", [None, "auto"])
def test_a_component_that_collapses_is_kept_or_dropped(acceleration):
    with pytest.raises(ValueError, match="component 2 has collapsed"):
        waiting("error", acceleration=acceleration).fit(WAITS)
    keeps = waiting("keep", acceleration=acceleration).fit(WAITS)
    assert keeps.parameters_["shapes"][2, 0] > 1e3
    assert keeps.weights_[2] == pytest.approx(3 / 123, rel=1e-6)
    assert np.all(np.diff(keeps.lower_bounds_) >= -1e-12)
    drops = waiting("drop", acceleration=acceleration).fit(WAITS)
    others = mixture(2, F.Gamma(), init=drops.mixture_.components([0, 1]), guard=False).fit(WAITS)
    assert drops.weights_[2] == 0
    assert "Component 2 collapsed and was left out" in drops.status_
    assert drops.lower_bound_ == pytest.approx(others.lower_bound_, abs=1e-6)


def test_a_component_that_collapses_is_repaired():
    rng = np.random.default_rng(2)
    X = np.concatenate([rng.gamma(a, 1, (60, 1)) for a in (3, 50, 200)])
    spike = float(X[-1, 0])
    start = ef.Mixture.of(F.Gamma(), [0.4, 0.4, 0.2], shapes=[[3], [50], [1e8]], rates=[[1], [0.5], [1e8 / spike]])
    with pytest.raises(ef.CollapsedError):
        ef.fit(start, X, max_iter=500)
    [note] = ef.fit(start, X, max_iter=500, collapse="repair").notes
    model = mixture(3, F.Gamma(), init=start, collapse="repair").fit(X)
    assert note == "Component 2 collapsed and began again at rows that the others fit badly."
    assert note in model.status_
    assert np.sort(model.weights_) == pytest.approx(np.full(3, 1 / 3), abs=0.02)


def test_a_policy_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="collapse is 'drop', which makes a weight 0, but weights is 'equal'"):
        mixture(collapse="drop", weights="equal").fit(two())
    with pytest.raises(ValueError, match="collapse is 'mend'"):
        ef.fit(mixture().fit(two()).mixture_, two(), collapse="mend")


class Refusing(F.Exponential):
    """Refuses a mean below 1 altogether, instead of giving no finite parameters."""

    def to_natural(self, expectation):
        if np.any(np.abs(expectation) < 1):
            raise ValueError("a mean below 1 is refused")
        return super().to_natural(expectation)


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random_from_data"])
def test_a_start_that_fails_leaves_the_others(init):
    model = mixture(3, F.Gamma(), n_init=20, init=init, guard=False, tol=1e-4).fit(WAITS)
    assert 0 < np.isneginf(model.start_bounds_).sum() < 20
    assert np.isfinite(model.lower_bound_)


def test_a_family_that_refuses_one_run_leaves_the_others():
    X = np.concatenate([np.random.default_rng(0).exponential(5, (80, 1)) + 1, np.full((20, 1), 0.1)])
    one = Refusing().from_parameters(rates=[[0.2], [9.0]]), Refusing().from_parameters(rates=[[0.2], [0.1]])
    stack = ef.Mixture.stack([ef.Mixture(Refusing(), [0.7, 0.3], natural) for natural in one])
    failed, fine = fit_all(stack, plan(Refusing(), as_rows(X), 2), options=Options(max_iter=50))
    assert isinstance(failed, ef.CollapsedError)
    assert np.isfinite(fine.bound)
