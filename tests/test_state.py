"""Where runs stand is a value: it can be kept, changed between steps and gone on from."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

import expfam_em as ef
from expfam_em.em.loop import fit_all, run
from expfam_em.em.options import Options
from expfam_em.em.starts import initialise_all
from expfam_em.em.state import TRACE_BLOCK, Problem, Trace, begin, improve, move, step
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
        return step(problem, pickle.loads(kept[-1]))

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

    expected = fit_all(start, problem.pass_, problem.data, problem.options)
    found = fit_all(start, problem.pass_, problem.data, problem.options, step=mine)
    assert all(map(same, found, expected))


@pytest.mark.parametrize("name", ["Poisson", "Gaussian-full-2"])
def test_a_longer_step_is_gone_on_from(name):
    """As an acceleration would make it: η of before and after the M-step are in the same frames."""
    [case] = [case for case in CASES if repr(case) == name]
    problem, start = problem_of(case)
    problem = replace(problem, options=Options(200, 1e-10))

    def longer(problem, state):
        state, after = improve(problem, state)
        if not len(state.run):
            return state
        natural = after.natural + 0.3 * (after.natural - state.mixture.natural)
        trial = move(problem, state, ef.Mixture(after.family, after.weights, natural))
        return trial if np.all(trial.gains[:, 0] >= 0) else move(problem, state, after)

    expected, found = run(problem, begin(problem, start)), run(problem, begin(problem, start), step=longer)
    for one, other in zip(found, expected, strict=True):
        assert one.bound >= other.bound - 1e-6 * abs(other.bound)
        assert np.all(np.diff(one.bounds) >= -1e-12 * abs(other.bound))


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
    ef.KMeans(3, random_state=0).fit(X, callbacks=[lambda state: centres.append(state.mixture[0].parameters["means"])])
    assert len(centres) == ef.KMeans(3, random_state=0).fit(X).n_iter_


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
