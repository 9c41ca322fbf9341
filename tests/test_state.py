"""Where runs stand is a value: it can be kept, changed between steps and gone on from."""

import pickle

import numpy as np
import pytest

import expfam_em as ef
from expfam_em.em.loop import fit_all
from expfam_em.em.starts import initialise_all
from expfam_em.em.state import Problem, begin, step
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
    return Problem.of(pass_, data, [2.0, 1.0], m_step={"concentration": 1.0, "weights": "free"}), start


def states_of(problem, start, between=lambda states: states[-1]):
    """Return the states of the steps of a problem, the first of which is its start."""
    states = [begin(problem, start)]
    while states[-1].n_iter < STEPS and len(states[-1].run):
        states.append(step(problem, between(states))[0])
    return states


def same(one, other):
    fields = ("run", "bounds", "log_priors", "half_bounds", "gains", "best", "done")
    pairs = [(getattr(one, name), getattr(other, name)) for name in fields]
    pairs += [(one.mixture.natural, other.mixture.natural), (one.mixture.weights, other.mixture.weights)]
    pairs += [(one.statistics.sums, other.statistics.sums), (one.statistics.counts, other.statistics.counts)]
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_runs_go_on_from_a_file_with_the_same_bits(case, tmp_path):
    problem, start = problem_of(case)

    def by_file(states):
        path = tmp_path / f"{states[-1].n_iter}.state"
        path.write_bytes(pickle.dumps(states[-1]))
        return pickle.loads(path.read_bytes())

    expected, found = states_of(problem, start), states_of(problem, start, by_file)
    assert len(expected) == len(found)
    assert all(map(same, expected, found))


def test_steps_by_hand_are_those_of_the_driver():
    [case] = [case for case in CASES if repr(case) == "Gaussian-full-2"]
    problem, start = problem_of(case)
    results = fit_all(start, problem.pass_, problem.data, max_iter=STEPS, tol=0, temperature=problem.schedule)
    states = states_of(problem, start)
    for run, result in enumerate(results):
        assert np.array_equal(result.bounds, [state.bounds[run] for state in states])
        assert np.array_equal(result.mixture.natural, states[-1].mixture.natural[run])


def test_a_change_between_steps_is_gone_on_from():
    """As an acceleration would make it: other parameters, and their E-step."""
    [case] = [case for case in CASES if repr(case) == "Poisson"]
    problem, start = problem_of(case)

    def longer(states):
        if len(states) < 3:
            return states[-1]
        before, state = (states[i].take(np.isin(states[i].run, states[-1].run)) for i in (-2, -1))
        natural = state.mixture.natural + 0.1 * (state.mixture.natural - before.mixture.natural)
        mixture = ef.Mixture(state.mixture.family, state.mixture.weights, natural)
        statistics = problem.accumulate(mixture, state.run, state.temperature)
        bounds = statistics.bound
        better = np.all(bounds >= state.bounds)
        return state._replace(mixture=mixture, statistics=statistics, bounds=bounds) if better else state

    expected, found = states_of(problem, start), states_of(problem, start, longer)
    assert np.all(found[-1].bounds >= expected[-1].bounds - 1e-9 * abs(expected[-1].bounds))
    assert np.all(np.diff([state.bounds for state in found[1:]], axis=0) >= -1e-9 * abs(expected[-1].bounds))
