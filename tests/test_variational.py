"""The bound for any responsibilities, its gap, and Q: the decomposition behind EM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import expfam_em as ef
from tests import oracle
from tests.cases import CASES
from tests.problems import BY_NAME, PI, problem_of
from tests.profiles import SAME, draws

every_family = pytest.mark.parametrize("case", CASES, ids=str)
drawn = draws(8, **SAME)


def direct(case, X, weights, thetas, q, w):
    """Q and the entropy of q, by their definitions."""
    joint = oracle.scores(case, X, weights, thetas)
    entropy = -np.sum(np.where(q > 0, q * np.log(np.where(q > 0, q, 1)), 0), axis=1)
    return np.sum(w[:, None] * q * joint), w @ entropy


def distributions(data, n):
    """Rows of all kinds: flat, peaked, with zeros, one-hot."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    q = rng.dirichlet(np.full(3, data.draw(st.sampled_from([0.01, 0.3, 1.0, 10.0]))), n)
    q[: n // 4] = np.eye(3)[rng.integers(0, 3, n // 4)]
    return q / q.sum(axis=1, keepdims=True)


@every_family
@pytest.mark.parametrize("weights", ["none", "whole"])
@drawn
@given(data=st.data())
def test_the_log_likelihood_is_the_bound_plus_the_gap(case, weights, data):
    problem = problem_of(case, weights, sizes=(30, 20, 10))
    X, w = problem.X, np.ones(60) if problem.w is None else problem.w
    q = distributions(data, len(X))
    log_likelihood = w @ problem.start.log_density(X)
    bound = ef.lower_bound(problem.start, X, q, problem.w)
    gap = ef.gap(problem.start, X, q, problem.w)
    Q, entropy = direct(case, X, PI, problem.thetas, q, w)
    # sums of 180 terms, the far ones with log-densities of −1e4
    size = 1e-12 * (np.abs(w @ (q * oracle.scores(case, X, PI, problem.thetas))).sum() + abs(log_likelihood))
    assert ef.expected_log_likelihood(problem.start, X, q, problem.w) == pytest.approx(Q, abs=size)
    assert bound == pytest.approx(Q + entropy, abs=size)
    assert bound <= log_likelihood + size
    assert gap >= 0
    if np.isfinite(gap):  # a responsibility below 1e-200 is 0, and q may be positive there
        assert gap == pytest.approx(log_likelihood - bound, abs=size)


@every_family
def test_the_gap_closes_at_the_posterior(case):
    problem = problem_of(case, "random")
    r = problem.start.responsibilities(problem.X)
    log_likelihood = problem.w @ problem.start.log_density(problem.X)
    assert 0 <= ef.gap(problem.start, problem.X, r, problem.w) <= 1e-12 * len(problem.X)
    assert ef.lower_bound(problem.start, problem.X, r, problem.w) == pytest.approx(log_likelihood, rel=1e-12)


@every_family
def test_em_raises_q_and_the_likelihood_by_no_less(case):
    problem = problem_of(case, "random")
    X, w, old = problem.X, problem.w, problem.start
    new = ef.maximize(ef.accumulate(old, X, w), old)
    q = old.responsibilities(X)
    rise_of_q = ef.expected_log_likelihood(new, X, q, w) - ef.expected_log_likelihood(old, X, q, w)
    rise = w @ (new.log_density(X) - old.log_density(X))
    slack = 1e-11 * abs(w @ old.log_density(X))
    assert rise_of_q >= -slack
    assert rise >= rise_of_q - slack
    # what is left is the gap of the old responsibilities under the new parameters
    assert rise - rise_of_q == pytest.approx(ef.gap(new, X, q, w), abs=slack)


@every_family
def test_the_m_step_is_the_maximum_of_q(case):
    problem = problem_of(case, "random")
    old = problem.start
    new = ef.maximize(ef.accumulate(old, problem.X, problem.w), old)
    q = old.responsibilities(problem.X)
    top = ef.expected_log_likelihood(new, problem.X, q, problem.w)
    rng = np.random.default_rng(0)
    for _ in range(5):
        if case.estimate_together is None:
            natural = new.natural * (1 + 1e-3 * rng.standard_normal(new.natural.shape))
        else:  # what components share must stay shared
            natural = np.concatenate(
                [
                    new.natural[:, :2] * (1 + 1e-3 * rng.standard_normal((3, 2))),
                    new.natural[:, 2:] * (1 + 1e-3 * rng.standard_normal(3)),
                ],
                axis=1,
            )
        weights = new.weights * (1 + 1e-2 * rng.standard_normal(3))
        other = ef.Mixture(case.family, weights / weights.sum(), natural)
        assert ef.expected_log_likelihood(other, problem.X, q, problem.w) < top


def test_half_bounds_are_lower_bounds_at_the_old_responsibilities():
    problem = problem_of(BY_NAME["Gaussian-full-2"], "random")
    before = ef.fit(problem.start, problem.X, problem.w, max_iter=2, tol=0)
    after = ef.fit(problem.start, problem.X, problem.w, max_iter=3, tol=0)
    q = before.mixture.responsibilities(problem.X)
    expected = ef.lower_bound(after.mixture, problem.X, q, problem.w)
    assert after.half_bounds[2] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("q", "message"),
    [
        (np.ones((3, 2)) / 2, "q has shape"),
        (np.ones((60, 3)), "must be non-negative and sum to 1"),
        (np.tile([-1.0, 1.0, 1.0], (60, 1)), "must be non-negative and sum to 1"),
        (np.full((60, 3), np.nan), "must be non-negative and sum to 1"),
    ],
    ids=["shape", "sum", "negative", "nan"],
)
@pytest.mark.parametrize("function", [ef.lower_bound, ef.gap, ef.expected_log_likelihood])
def test_rows_that_are_no_distributions_are_refused(function, q, message):
    problem = problem_of(BY_NAME["Poisson"], sizes=(30, 20, 10))
    with pytest.raises(ValueError, match=message):
        function(problem.start, problem.X, q)
