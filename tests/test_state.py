"""Where runs stand is a value: it can be kept, changed between steps and gone on from."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import expfam_em as ef
from expfam_em.em.loop import fit_all, run
from expfam_em.em.options import Options
from expfam_em.em.starts import initialise_all
from expfam_em.em.state import TRACE_BLOCK, Problem, Trace, begin, em_step, improve, move
from expfam_em.estep.plan import plan
from expfam_em.family.binding import bind
from expfam_em.rows.memory import as_rows
from tests.cases import CASES

STEPS = 6


def problem_of(case):
    """Return a problem with two runs of a case, and their starts."""
    X = np.concatenate([np.asarray(case.draw(theta, 60, np.random.default_rng(3)), float) for theta in case.components])
    family = case.family if case.frame is not None else bind(case.family, as_rows(X))
    K, data = len(getattr(family, "of_component", (0, 1))), np.zeros(2, np.int64)
    pass_ = plan(family, as_rows(X), K)
    start = initialise_all(pass_, data, K, "k-means++", np.random.default_rng(0)).mixture
    return Problem(pass_, data, Options(STEPS, 0.0, temperature=[2.0, 1.0])), start


def same(one, other):
    """Whether two results have the same bits."""
    if isinstance(one, ValueError):
        return str(one) == str(other)
    pairs = [(one.bounds, other.bounds), (one.half_bounds, other.half_bounds), (one.log_priors, other.log_priors)]
    pairs += [(one.mixture.natural, other.mixture.natural), (one.mixture.weights, other.mixture.weights)]
    return one.status is other.status and all(a.tobytes() == b.tobytes() for a, b in pairs)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_runs_go_on_from_a_file_with_the_same_bits(case):
    problem, start = problem_of(case)
    kept = []

    def kept_step(problem, state):
        kept.append(pickle.dumps(state))
        return em_step(problem, pickle.loads(kept[-1]))

    expected = run(problem, begin(problem, start))
    assert all(map(same, run(problem, begin(problem, start), step=kept_step), expected))
    for state in kept[1:3]:
        assert all(map(same, run(problem, pickle.loads(state)), expected))


def test_a_step_of_ones_own_that_does_nothing_is_the_driver():
    [case] = [case for case in CASES if repr(case) == "Gaussian-full-2"]
    problem, start = problem_of(case)

    def mine(problem, state):
        state, after = improve(problem, state)
        return move(problem, state, after) if len(state.run) else state

    expected = fit_all(start, problem.pass_, problem.data_set, problem.options)
    found = fit_all(start, problem.pass_, problem.data_set, problem.options, step=mine)
    assert all(map(same, found, expected))


@pytest.mark.parametrize("factor", [0.3, 1.5, 4.0])
@pytest.mark.parametrize("name", ["Poisson", "Gaussian-full-2"])
def test_a_longer_step_is_gone_on_from_or_taken_back(name, factor):
    """As an acceleration would make it: η of before and after the M-step are in the same frames."""
    [case] = [case for case in CASES if repr(case) == name]
    problem, start = problem_of(case)
    problem = replace(problem, options=Options(200, 1e-10))

    def longer(problem, state):
        state, after = improve(problem, state)
        if not len(state.run):
            return state
        natural = after.natural + factor * (after.natural - state.mixture.natural)
        trial = ef.Mixture.unchecked(after.family, after.weights, natural)
        if np.isfinite(trial.log_partition).all() and np.all((there := move(problem, state, trial)).gains[:, 0] >= 0):
            return there
        return move(problem, state, after)

    expected, found = run(problem, begin(problem, start)), run(problem, begin(problem, start), step=longer)
    for one, other in zip(found, expected, strict=True):
        assert one.status is not ef.Status.BOUND_FELL
        assert one.bound >= other.bound - 1e-6 * abs(other.bound)
        assert np.all(np.diff(one.bounds) >= -1e-12 * abs(other.bound))


def test_a_step_that_lowers_the_bound_ends_a_run_where_it_stood():
    [case] = [case for case in CASES if repr(case) == "Poisson"]
    problem, start = problem_of(case)
    problem = replace(problem, options=Options(50, 0.0))

    def back(problem, state):
        """The second run goes back to its start in the fourth step."""
        state, after = improve(problem, state)
        if state.n_iter == 3:
            natural = np.stack([after.natural[0], start.natural[1]])
            after = ef.Mixture.unchecked(after.family, after.weights, natural)
        return move(problem, state, after)

    one, other = run(problem, begin(problem, start), step=back)
    assert (one.status, one.n_iter, one.fall) == (ef.Status.MAX_ITER, 50, 0.0)
    assert (other.status, other.n_iter, len(other.bounds)) == (ef.Status.BOUND_FELL, 3, 4)
    [_, before] = run(replace(problem, options=Options(3, 0.0)), begin(problem, start))
    assert np.array_equal(other.mixture.natural, before.mixture.natural)
    assert other.fall > 0
    assert type(other.fall) is float


def test_a_state_that_a_callback_kept_is_gone_on_from():
    [case] = [case for case in CASES if repr(case) == "Poisson"]
    problem, start = problem_of(case)
    [ahead, _] = run(replace(problem, options=Options(2, 0.0)), begin(problem, start))
    start = ef.Mixture.stack([start[0], ahead.mixture])
    problem = replace(problem, options=Options(500, 1e-12))
    for drop in (False, True):
        kept = []
        expected = run(problem, begin(problem, start), callbacks=[kept.append], drop=drop)
        assert len({result.n_iter for result in expected}) > 1
        for state in kept:
            assert all(map(same, run(problem, state, drop=drop), expected))


def test_a_callback_sees_every_state_and_may_end_the_fit():
    X = np.random.default_rng(0).normal(size=(200, 2))
    seen = []
    model = ef.GaussianMixture(2, random_state=0, n_init=3, tol=0, max_iter=50)
    model.fit(X, callbacks=[seen.append, lambda state: state.n_iter == 4])
    assert [state.n_iter for state in seen] == [1, 2, 3, 4]
    assert (model.n_iter_, model.converged_, model.status_) == (4, False, ef.Status.STOPPED.value)
    best = np.argmax(seen[-1].mean_bounds)
    assert model.lower_bound_ == pytest.approx(seen[-1].mean_bounds[best], rel=1e-12)
    assert np.array_equal(model.mixture_.natural, seen[-1].mixture.natural[best])
    centres = []
    keep = [lambda state: centres.append(state.mixture[0].parameters["means"])]
    labels = ef.KMeans(3, random_state=0).fit_predict(X, callbacks=keep)
    assert len(centres) == ef.KMeans(3, random_state=0).fit(X).n_iter_
    assert np.array_equal(labels, ef.KMeans(3, random_state=0).fit(X).labels_)
    seen.clear()
    ef.KMeans(3, random_state=0, n_init=5).fit(X, callbacks=[lambda state: seen.append(state) or True])
    assert len(seen) == 1  # and no other start is made


@pytest.mark.parametrize("callbacks", [print, None, 3, ["print"]])
def test_callbacks_are_a_list_of_functions(callbacks):
    with pytest.raises(TypeError, match="it must be a list of functions"):
        ef.GaussianMixture(2).fit(np.arange(20.0)[:, None], callbacks=callbacks)


@pytest.mark.parametrize("answer", [1.0, "no", np.ones(3), None, np.False_])
def test_only_true_ends_a_fit(answer):
    X = np.random.default_rng(0).normal(size=(50, 1))
    model = ef.GaussianMixture(1, random_state=0).fit(X, callbacks=[lambda state: answer])
    assert model.converged_


def test_warnings_point_at_the_caller():
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = ef.GaussianMixture(2, max_iter=1, tol=0, random_state=0)
    grey = ef.BernoulliMixture(2, max_iter=1, tol=0, random_state=0)
    fits = [
        lambda: grey.fit(X), lambda: grey.fit_predict(X), lambda: ef.fit_many(grey, [X, X]),
        lambda: model.fit(X), lambda: model.fit_predict(X), lambda: ef.fit_many(model, [X, X]),
        lambda: ef.KMeans(3).fit(np.zeros((9, 1))), lambda: ef.KMeans(3).fit_transform(np.zeros((9, 1))),
    ]  # fmt: skip
    for fit in fits:
        with pytest.warns((ConvergenceWarning, UserWarning)) as caught:
            fit()
        assert {one.filename for one in caught} == {__file__}


def test_a_trace_is_a_value():
    numbers = np.random.default_rng(1).normal(size=(2 * TRACE_BLOCK + 3, 3, 4))
    trace, kept = Trace(), []
    for one in numbers:
        kept.append(trace)
        trace = trace.with_step(one)
    for at in (0, 1, TRACE_BLOCK - 1, TRACE_BLOCK, 2 * TRACE_BLOCK + 1):
        other = kept[at].with_step(np.zeros((3, 4)))
        assert np.array_equal(kept[at].of(2), numbers[:at, :, 2].T)
        assert np.array_equal(other.of(2)[:, :-1], numbers[:at, :, 2].T)
    assert np.array_equal(trace.of(1), numbers[:, :, 1].T)
