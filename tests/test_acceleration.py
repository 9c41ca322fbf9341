"""The quasi-Newton acceleration of EM: as good as EM step by step, in fewer passes, for every family."""

import pickle

import numpy as np
import pytest
from sklearn import datasets

import expfam_em as ef
from expfam_em.em.loop import run
from expfam_em.em.options import Options
from expfam_em.em.state import Problem, begin
from expfam_em.estep.plan import plan
from expfam_em.rows.memory import as_rows
from tests.cases import CASES

DEATHS = np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1.0])
"""Days with 0, ..., 9 deaths (Hasselblad 1969)."""


def rows_of(case, seed=0, n=40):
    rng = np.random.default_rng(seed)
    return np.concatenate([np.asarray(case.draw(theta, n, rng), float) for theta in case.components])


def objective(result):
    return result.bounds + result.log_priors


def fits(case, **options):
    """Fit three components to rows of a case, from the same start, without and with acceleration."""
    X = rows_of(case)
    model = ef.ExponentialFamilyMixture(case.family, 3, random_state=0, max_iter=0, **options.pop("start", {}))
    with np.errstate(all="ignore"):
        start = model.fit(X).mixture_
    return [ef.fit(start, X, acceleration=a, **options) for a in (None, "auto")], len(X)


def test_hasselblad_takes_at_most_20_passes():
    """Plain EM takes 2,113 (Hasselblad 1969, the start 0.5, 1, 3) to a step of 1e-7."""
    points = []

    def watch(state):
        points.append(np.append(state.mixture.weights[0, 0], np.exp(state.mixture.natural.ravel())))
        return len(points) > 1 and 0 < np.linalg.norm(points[-1] - points[-2]) < 1e-7

    start = ef.Mixture.of(ef.families.Poisson(), [0.5, 0.5], rates=[[1.0], [3.0]])
    ef.fit(start, np.arange(10.0)[:, None], DEATHS, max_iter=5000, tol=0, acceleration="auto", callbacks=[watch])
    assert len(points) <= 20
    np.testing.assert_allclose(points[-1], [0.3598854, 1.2560951, 2.6634044], atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_no_step_lowers_the_bound_and_the_end_is_no_lower_than_that_of_em(case):
    (em, fast), n = fits(case, max_iter=60, tol=1e-7)
    slack = 1e-10 * np.abs(fast.bound)
    assert np.all(np.diff(objective(fast)) >= -slack)
    assert np.all(fast.half_bounds >= fast.bounds[:-1] - slack)
    assert np.all(fast.bounds[1:] >= fast.half_bounds - slack)
    assert fast.bound >= em.bound - 1e-5 * n
    assert fast.n_iter <= max(em.n_iter + 2, 1.5 * em.n_iter)  # beside a saddle it may turn the other way


def overlapping(n=200, d=2):
    rng = np.random.default_rng(1)
    return np.concatenate([rng.normal(size=(n, d)), rng.normal(1.5, 1, (n, d)), rng.normal(-1, 2, (n, d))])


KINDS = [ef.families.Gaussian(kind) for kind in ("full", "diag", "tied", "VEE")]
KINDS += [ef.families.Gaussian(reg_covar=1e-3), ef.families.StudentT(), ef.families.Product([(KINDS[0], [0, 1])])]


@pytest.mark.parametrize("family", KINDS, ids=repr)
@pytest.mark.parametrize("how", [{}, {"concentration": 3.0}, {"weights": "equal"}, {"weights": "fixed"}], ids=str)
def test_fewer_passes_to_a_maximum_no_lower(family, how):
    X = overlapping()
    model = ef.ExponentialFamilyMixture(family, 3, random_state=0, max_iter=0)
    with np.errstate(all="ignore"):
        start = model.fit(X).mixture_
    em, fast = (ef.fit(start, X, acceleration=a, max_iter=400, tol=1e-8, **how) for a in (None, "auto"))
    assert objective(fast)[-1] >= objective(em)[-1] - 1e-3
    assert fast.n_iter < 0.7 * em.n_iter + 3  # of EM: two gains that tell that it is slow, and a first pair
    if how.get("weights"):
        assert np.array_equal(fast.mixture.weights, em.mixture.weights)


def test_clusters_far_apart_and_of_other_widths():
    """Frames of single components change on the way, and pairs of steps are in one frame only."""
    X = overlapping()
    X = np.concatenate([X, 1e-3 * X + 1e6])
    groups = np.repeat(np.arange(6), 200)
    start = ef.ExponentialFamilyMixture(ef.families.Gaussian(), 6, init=groups, max_iter=0).fit(X).mixture_
    em, fast = (ef.fit(start, X, acceleration=a, max_iter=2000, tol=1e-8) for a in (None, "auto"))
    assert fast.converged
    assert fast.bound >= em.bound - 1e-3
    assert np.all(np.diff(fast.bounds) >= -1e-10 * np.abs(fast.bound))
    assert fast.n_iter < 0.4 * em.n_iter


def test_a_fit_that_em_ends_quickly_is_that_of_em():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(150, 2)), rng.normal(4, 1, (150, 2))])
    how = {"init": np.repeat([0, 1], 150), "tol": 1e-8}
    em, fast = (
        ef.ExponentialFamilyMixture(ef.families.Gaussian(), 2, acceleration=a, **how).fit(X) for a in (None, "auto")
    )
    assert fast.n_iter_ == em.n_iter_
    assert np.array_equal(fast.natural_parameters_, em.natural_parameters_)


def test_steps_do_not_depend_on_units():
    """η of Gamma rows is a shape and a rate, and only the rate has a unit."""
    rng = np.random.default_rng(0)
    X, groups = rng.gamma([[2.0]] * 200 + [[6.0]] * 200), np.repeat([0, 1], 200)
    steps = {}
    for unit, acceleration in ((1.0, None), (1.0, "auto"), (1e10, "auto"), (1e-10, "auto")):
        how = {"init": groups, "acceleration": acceleration, "max_iter": 2000}
        steps[unit, acceleration] = ef.ExponentialFamilyMixture(ef.families.Gamma(), 2, **how).fit(unit * X).n_iter_
    em, *fast = steps.values()
    assert max(fast) < em / 4


def test_probabilities_at_0_and_1_do_not_make_it_slow():
    """An M-step moves η of a probability of 1 by hundreds and back, which tells nothing of the others."""
    X = datasets.load_digits().data[:300] >= 8
    steps = {}
    for acceleration in (None, "auto"):
        how = {"acceleration": acceleration, "tol": 1e-8, "max_iter": 1000}
        fits = [ef.BernoulliMixture(8, random_state=seed, **how).fit(X) for seed in range(5)]
        steps[acceleration] = sum(fit.n_iter_ for fit in fits)
    assert steps["auto"] < steps[None]


@pytest.mark.parametrize("temperature", [0.0, [4.0, 2.0, 1.0, 0.0]])
def test_hard_assignment_is_not_accelerated(temperature):
    X = overlapping()
    one, other = (
        ef.ExponentialFamilyMixture(
            ef.families.Gaussian(), 3, random_state=0, temperature=temperature, acceleration=a
        ).fit(X)
        for a in (None, "auto")
    )
    assert np.array_equal(one.natural_parameters_, other.natural_parameters_)
    assert one.n_iter_ == other.n_iter_


@pytest.mark.parametrize("family", [KINDS[0], KINDS[2], ef.families.Poisson()], ids=repr)
def test_runs_in_lock_step_are_as_alone(family):
    X = np.floor(np.abs(overlapping())) + 1e3 * (np.arange(600) < 300)[:, None]
    how = {"random_state": 0, "acceleration": "auto", "tol": 1e-7}
    alone = [ef.ExponentialFamilyMixture(family, 2, **how).fit(rows) for rows in (X, X[:400])]
    for one, other in zip(alone, ef.fit_many(ef.ExponentialFamilyMixture(family, 2, **how), [X, X[:400]]), strict=True):
        assert one.lower_bound_ == pytest.approx(other.lower_bound_, rel=1e-9)
        assert one.converged_
        assert other.converged_


def test_an_accelerated_fit_can_be_kept_and_goes_on():
    rows = as_rows(overlapping())
    start = ef.ExponentialFamilyMixture(ef.families.Gaussian(), 3, random_state=0, max_iter=0).fit(rows.X).mixture_
    problem = Problem(
        plan(start.family, rows, 3), np.zeros(1, int), Options(max_iter=60, tol=1e-9, acceleration="auto")
    )
    kept = []
    stack = ef.Mixture.stack([start])
    [whole] = run(problem, begin(problem, stack), callbacks=[lambda state: kept.append(pickle.dumps(state))])
    [again] = run(problem, pickle.loads(kept[len(kept) // 2]))
    assert np.array_equal(again.bounds, whole.bounds)
