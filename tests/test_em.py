"""Laws of the driver, over the table of cases × temperatures × row weights × chunks of rows."""

import functools
import itertools

import numpy as np
import pytest
from scipy import sparse
from scipy.special import xlog1py, xlogy

import expfam_em as ef
from expfam_em import families
from expfam_em.estep import dense
from expfam_em.rows import grid
from tests import oracle
from tests import own_families as own
from tests.case import EPS
from tests.cases import CASES
from tests.problems import BY_NAME, PI, assert_close, problem_of, same
from tests.profiles import WHOLE, share

TEMPERATURES = [1.0, 0.5, 2.0, 0.0]
WEIGHTS = ["none", "random", "whole"]

every_family = pytest.mark.parametrize("case", CASES, ids=str)
STEPS, LAST = share(25, fewest=8), share(5, fewest=3)
FEW_STEPS = {"max_iter": share(10, fewest=5), "tol": 0}
SETTLED = 1e-7 if share(WHOLE) == WHOLE else 1e-5
"""How far apart the parameters of two steps are at what counts as a fixed point."""

every_temperature = pytest.mark.parametrize("temperature", TEMPERATURES)


# ---- the bound, and the textbook -----------------------------------------------------------------------------------


@every_family
@every_temperature
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("with_prior", [False, True], ids=["", "prior"])
def test_the_smallest_step_of_the_bound_is_not_negative(case, temperature, weights, with_prior):
    problem = problem_of(case, weights)
    prior = {"prior": problem.prior(), "concentration": np.array([1.5, 2.0, 3.0])} if with_prior else {}
    result = ef.fit(problem.start, problem.X, problem.w, temperature=temperature, max_iter=STEPS, tol=0, **prior)
    total = result.bounds + result.log_priors
    assert result.status is ef.Status.MAX_ITER
    assert np.diff(total).min() >= -1e-9 * np.abs(result.bounds).max()
    if not with_prior:
        # Jensen: the M-step raises the bound at the old responsibilities, the E-step raises it further
        slack = 1e-9 * np.abs(result.bounds).max()
        assert np.all(result.half_bounds >= result.bounds[:-1] - slack)
        assert np.all(result.half_bounds <= result.bounds[1:] + slack)


@every_family
@every_temperature
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("with_prior", [False, True], ids=["", "prior"])
def test_every_step_is_the_textbooks(case, temperature, weights, with_prior, monkeypatch):
    problem = problem_of(case, weights)
    alpha = np.array([1.5, 2.0, 3.0])
    ours = {"prior": problem.prior(), "concentration": alpha} if with_prior else {}
    theirs = {"pseudo": problem.pseudo, "concentration": alpha} if with_prior else {}
    path = oracle.run(
        case, problem.X, PI, problem.thetas, LAST, temperature=temperature, w=problem.w, **theirs
    )  # fmt: skip
    # rounding, EPS times a condition of up to 1e3, grows by less than 4 in each step; solved mappings have 1e-10
    relative = {steps: (1e-10 if case.numeric else 1e3 * EPS) * 4.0**steps for steps in (1, 2, LAST)}
    for work, rows in ((grid.CHUNK_WORK, grid.FEWEST_ROWS), (1, 16)):  # one chunk of rows, or many
        monkeypatch.setattr(grid, "CHUNK_WORK", work)
        monkeypatch.setattr(grid, "FEWEST_ROWS", rows)
        seen = {}
        found = ef.fit(
            problem.start, problem.X, problem.w, temperature=temperature, max_iter=LAST, tol=0,
            callbacks=[lambda state, seen=seen: seen.update({state.n_iter: state.mixture[0]})], **ours,
        )  # fmt: skip
        for step in relative:
            expected = ef.Mixture(case.family, path[step].weights, case.naturals(path[step].thetas))
            same(seen[step], expected, relative[step])
        assert found.bounds == pytest.approx([step.bound for step in path], rel=relative[LAST])
        assert found.bounds[:2] == pytest.approx([step.bound for step in path[:2]], rel=relative[1])
        # the log-prior is known up to a constant
        priors = np.array([step.log_prior for step in path])
        size = 1 + np.abs(priors).max() + np.abs(found.log_priors).max()
        assert np.diff(found.log_priors) == pytest.approx(np.diff(priors), abs=relative[LAST] * size)


@every_family
def test_the_exponential_family_m_step_is_the_mean_of_the_statistics(case):
    problem = problem_of(case, "random")
    R = problem.w[:, None] * problem.start.responsibilities(problem.X)
    statistics = ef.accumulate(problem.start, problem.X, problem.w)
    T, e = case.family.sufficient_statistics(problem.X), case.exposures(problem.X)
    assert statistics.counts == pytest.approx(R.sum(axis=0), rel=1e-13)
    assert_close(statistics.sums, R.T @ T, 1e-13)
    assert statistics.exposures == pytest.approx(R.T @ e, rel=1e-13)
    mixture = ef.maximize(statistics, problem.start)
    if case.estimate_together is None:
        assert_close(mixture.expectation, (R.T @ T) / (R.T @ e)[:, None], 1e-10 if case.numeric else 1e-11)
    assert mixture.weights == pytest.approx(R.sum(axis=0) / R.sum(), rel=1e-13)


# ---- sums over rows ------------------------------------------------------------------------------------------------


@every_family
@every_temperature
def test_any_partition_of_the_rows_gives_the_same_statistics(case, temperature, monkeypatch):
    monkeypatch.setattr(dense, "STATISTICS_BLOCK", 1)
    problem = problem_of(case, "random", sizes=(500, 300, 200))
    whole = ef.accumulate(problem.start, problem.X, problem.w, temperature=temperature)
    for cuts in ([1, 2, 3], [500], [64, 128, 700]):
        parts = [
            ef.accumulate(problem.start, X, w, temperature=temperature)
            for X, w in zip(np.split(problem.X, cuts), np.split(problem.w, cuts), strict=True)
        ]
        total = sum(parts[1:], parts[0])
        # sums of 1000 rows in another order
        assert total.counts == pytest.approx(whole.counts, rel=1e-13)
        assert total.exposures == pytest.approx(whole.exposures, rel=1e-13)
        assert_close(total.sums, whole.sums, 1e-12)
        assert total.bound == pytest.approx(whole.bound, rel=1e-12)


@every_family
@every_temperature
def test_any_number_of_threads_gives_the_same_bits(case, temperature, many_chunks):
    problem = problem_of(case, "random")
    serial, *others = (
        ef.accumulate(problem.start, problem.X, problem.w, temperature=temperature, n_jobs=n) for n in (1, 2, 3, -1)
    )
    for other in others:
        assert np.array_equal(other.counts, serial.counts)
        assert np.array_equal(other.sums, serial.sums)
        assert np.array_equal(other.exposures, serial.exposures)
        assert other.bound == serial.bound


@functools.cache
def fitted_with_whole_weights(name, temperature):
    """A fit to rows of weights 0, 1, 2 and 3."""
    problem = problem_of(BY_NAME[name], "whole")
    return ef.fit(problem.start, problem.X, problem.w, temperature=temperature, **FEW_STEPS)


@every_family
@every_temperature
def test_a_whole_weight_is_a_repeated_row(case, temperature):
    problem, weighted = problem_of(case, "whole"), fitted_with_whole_weights(case.name, temperature)
    X = np.repeat(problem.X, problem.w.astype(int), axis=0)
    repeated = ef.fit(problem.start, X, temperature=temperature, **FEW_STEPS)
    same(weighted.mixture, repeated.mixture, 1e-7)
    assert weighted.bounds == pytest.approx(repeated.bounds, rel=1e-7)
    assert weighted.total_weight == repeated.total_weight


@every_family
@every_temperature
def test_a_weight_of_zero_is_an_absent_row(case, temperature):
    problem, weighted = problem_of(case, "whole"), fitted_with_whole_weights(case.name, temperature)
    there = problem.w > 0
    absent = ef.fit(problem.start, problem.X[there], problem.w[there], temperature=temperature, **FEW_STEPS)
    same(weighted.mixture, absent.mixture, 1e-7)
    assert weighted.bounds == pytest.approx(absent.bounds, rel=1e-10)


def test_a_row_of_weight_zero_may_be_impossible():
    X, w = np.array([[1.0], [2.0], [-5.0]]), np.array([1.0, 1.0, 0.0])
    start = ef.Mixture(own.Rayleigh(), [0.5, 0.5], [[-1.0], [-0.1]])
    with np.errstate(invalid="ignore"):  # the logarithm of −5 in the test's own log h
        found = ef.fit(start, X, w, max_iter=3, tol=0)
    assert found.bounds == pytest.approx(ef.fit(start, X[:2], max_iter=3, tol=0).bounds, rel=1e-14)


# ---- fixed points and symmetries -----------------------------------------------------------------------------------


@every_family
@every_temperature
@pytest.mark.parametrize("weights", WEIGHTS)
def test_one_component_has_its_estimate_in_one_step(case, temperature, weights):
    problem = problem_of(case, weights)
    w = np.ones(len(problem.X)) if problem.w is None else problem.w
    start = ef.Mixture(case.family, [1.0], problem.start.natural[:1])
    found = ef.fit(start, problem.X, problem.w, temperature=temperature, max_iter=1, tol=0)
    theta = case.estimate_all(problem.X, w[:, None])[0]
    assert_close(found.mixture.natural, case.natural(theta)[None], 1e-10 if case.numeric else 1e-11)
    there = w > 0
    assert found.bound == pytest.approx(w[there] @ case.log_density(problem.X[there], theta), rel=1e-11)


@every_family
@every_temperature
def test_a_fitted_point_is_a_fixed_point(case, temperature):
    problem = problem_of(case)
    fitted = ef.fit(problem.start, problem.X, temperature=temperature, max_iter=10_000, tol=SETTLED, stop="parameters")
    assert fitted.status is ef.Status.CONVERGED
    again = ef.fit(fitted.mixture, problem.X, temperature=temperature, max_iter=1, tol=0)
    # steps of a linearly convergent map shrink, so the next one is below tol too
    assert np.linalg.norm(again.mixture.expectation - fitted.mixture.expectation) <= SETTLED
    assert np.linalg.norm(again.mixture.weights - fitted.mixture.weights) <= 1.5 * SETTLED


@every_family
@every_temperature
def test_permuting_components_permutes_the_fit(case, temperature):
    problem = problem_of(case, "random")
    order = [2, 0, 1]
    permuted = ef.Mixture(case.family, PI[order], problem.start.natural[order])
    options = {"temperature": temperature, "max_iter": 6, "tol": 0}
    plain = ef.fit(problem.start, problem.X, problem.w, **options)
    other = ef.fit(permuted, problem.X, problem.w, **options)
    expected = ef.Mixture(case.family, plain.mixture.weights[order], plain.mixture.natural[order])
    same(other.mixture, expected, 1e-7 if case.numeric else 1e-9)
    assert other.bounds == pytest.approx(plain.bounds, rel=1e-10)


# ---- temperature ---------------------------------------------------------------------------------------------------

# Bregman divergences d(T(x), μ) up to what depends on x alone (Banerjee et al. 2005, table 1), of theta
DIVERGENCES = {
    "Gaussian-known-2": lambda X, theta: np.sum((X - theta[0]) ** 2, axis=1) / 2,
    "Bernoulli": lambda X, p: -np.sum(xlogy(X, p) + xlog1py(1 - X, -p), axis=1),
    "Poisson": lambda X, rate: np.sum(rate - X * np.log(rate), axis=1),
    "Rayleigh": lambda X, s: np.sum(X**2 / (2 * s**2) + np.log(s**2), axis=1),
    "Exponential": lambda X, rate: np.sum(X * rate - np.log(rate), axis=1),
    "Geometric": lambda X, p: -np.sum(np.log(p) + X * np.log1p(-p), axis=1),
}


@every_family
def test_temperature_zero_is_bregman_hard_clustering(case):
    problem = problem_of(case)
    divergence = DIVERGENCES.get(case.name, lambda X, theta: -case.log_density(X, theta))
    thetas = problem.thetas
    for _ in range(6):
        distance = np.column_stack([divergence(problem.X, theta) for theta in thetas])
        thetas = oracle.estimate_present(case, problem.X, np.eye(3)[distance.argmin(axis=1)], thetas)
    found = ef.fit(problem.start, problem.X, temperature=0, weights="equal", max_iter=6, tol=0)
    assert_close(found.mixture.natural, case.naturals(thetas), 1e-8 if case.numeric else 1e-10)
    assert np.array_equal(found.mixture.weights, np.full(3, 1 / 3))


def spheres(epsilon, means):
    family = families.KnownCovariance(variance=epsilon)
    return ef.Mixture(family, np.full(len(means), 1 / len(means)), means / epsilon)


def test_soft_assignment_tends_to_k_means_as_the_variance_falls():
    rng = np.random.default_rng(5)
    X = np.concatenate([rng.normal(centre, 1, (60, 2)) for centre in ([0, 0], [3, 0], [0, 3])])
    means = X[[0, 60, 120]]
    options = {"weights": "equal", "max_iter": 15, "tol": 0}
    hard = ef.fit(spheres(1.0, means), X, temperature=0, **options).mixture.parameters["means"]
    distance = []
    for epsilon in (4.0, 1.0, 1e-2, 1e-4, 1e-6):
        soft = ef.fit(spheres(epsilon, means), X, **options)
        distance.append(np.abs(soft.mixture.parameters["means"] - hard).max())
    assert np.all(np.diff(distance) <= 1e-12)
    assert distance[0] > 0.1
    assert distance[-1] <= 1e-12


@pytest.mark.parametrize("temperature", [0.1, 0.5, 3.0])
def test_a_temperature_is_a_variance(temperature):
    problem = problem_of(BY_NAME["Gaussian-known-2"])
    means = problem.start.parameters["means"]
    options = {"weights": "equal", "max_iter": 8, "tol": 0}
    tempered = ef.fit(spheres(1.0, means), problem.X, temperature=temperature, **options)
    wide = ef.fit(spheres(temperature, means), problem.X, **options)
    assert_close(tempered.mixture.parameters["means"], wide.mixture.parameters["means"], 1e-11)


@pytest.mark.parametrize("schedule", [[4.0, 2.0, 1.0], [3.0, 1.0, 0.5], [2.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
def test_a_schedule_ends_at_its_last_temperature(schedule):
    problem = problem_of(BY_NAME["Gaussian-full-2"])
    result = ef.fit(problem.start, problem.X, temperature=schedule, max_iter=200, tol=1e6)
    assert result.converged
    assert result.n_iter >= len(schedule) - 1
    at = [ef.accumulate(problem.start, problem.X, temperature=schedule[0]).bound, None]
    at[1] = ef.accumulate(result.mixture, problem.X, temperature=schedule[-1]).bound
    assert result.bounds[[0, -1]] == pytest.approx(at, rel=1e-14)
    fine = ef.fit(problem.start, problem.X, temperature=schedule, max_iter=500, tol=1e-12)
    steady = ef.fit(fine.mixture, problem.X, temperature=schedule[-1], max_iter=1, tol=0)
    assert steady.bound == pytest.approx(fine.bound, rel=1e-10)


# ---- the loop ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 7, 60])
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_tol_zero_makes_exactly_max_iter_steps(steps, temperature):
    problem = problem_of(BY_NAME["Poisson"])
    seen = []
    result = ef.fit(
        problem.start, problem.X, max_iter=steps, tol=0, temperature=temperature,
        callbacks=[lambda state: seen.append((state.n_iter, state.bounds[0]))],
    )  # fmt: skip
    assert result.n_iter == steps
    assert result.status is ef.Status.MAX_ITER
    assert (len(result.bounds), len(result.half_bounds), len(result.log_priors)) == (steps + 1, steps, steps + 1)
    assert seen == list(zip(range(1, steps + 1), result.bounds[1:], strict=True))
    assert result.bound == ef.accumulate(result.mixture, problem.X, temperature=temperature).bound


def test_stopping_by_the_bound_or_by_the_parameters():
    problem = problem_of(BY_NAME["Poisson"])
    path = [ef.fit(problem.start, problem.X, max_iter=steps, tol=0) for steps in range(40)]
    gains = np.diff(path[-1].bounds) / len(problem.X)
    for tol in (1e-2, 1e-4):
        by_bound = ef.fit(problem.start, problem.X, tol=tol, stop="bound")
        assert by_bound.n_iter == 1 + np.argmax(np.abs(gains) < tol)
        by_parameters = ef.fit(problem.start, problem.X, tol=tol, stop="parameters")
        moves = [
            max(
                np.abs(after.mixture.expectation - before.mixture.expectation).max(),
                np.abs(after.mixture.weights - before.mixture.weights).max(),
            )
            for before, after in itertools.pairwise(path)
        ]
        # the norm lies between the largest change and √(6 + 3) times it
        assert (
            1 + np.argmax(np.array(moves) <= tol) <= by_parameters.n_iter <= 1 + np.argmax(np.array(moves) <= tol / 3)
        )
    settled = ef.fit(problem.start, problem.X, tol=0, stop="parameters", temperature=0, max_iter=100)
    assert settled.converged  # hard assignment reaches a point that nothing changes
    with pytest.raises(ValueError, match="stop is 'gradient'; it must be 'maximum', 'bound' or 'parameters'"):
        ef.fit(problem.start, problem.X, stop="gradient")


@pytest.mark.parametrize("temperature", [-1.0, [], [1.0, np.nan], np.inf, 5e-309, 1e-320, 1e308, "hot", [[1.0]], None])
@pytest.mark.parametrize("rows", [np.asarray, sparse.csr_array])
def test_a_temperature_out_of_range_is_refused(temperature, rows):
    problem = problem_of(BY_NAME["Poisson"])
    calls = [
        lambda X: ef.fit(problem.start, X, temperature=temperature),
        lambda X: ef.accumulate(problem.start, X, temperature=temperature),
        lambda X: problem.start.responsibilities(X, temperature),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"temperature is .* it must be one or more finite numbers"):
            call(rows(problem.X))


@pytest.mark.parametrize("temperature", [1e-100, 1e100])
def test_extreme_temperatures_are_hard_and_flat(temperature):
    problem = problem_of(BY_NAME["Poisson"])
    K = problem.start.n_components
    r = problem.start.responsibilities(problem.X, temperature)
    hard = problem.start.responsibilities(problem.X, 0.0)
    assert r == pytest.approx(hard if temperature < 1 else np.full_like(hard, 1 / K), rel=1e-15)
    assert np.isfinite(ef.accumulate(problem.start, problem.X, temperature=temperature).bound)


@pytest.mark.parametrize("case", [case for case in CASES if case.estimate_together is None], ids=str)
def test_an_empty_component_keeps_its_parameters(case):
    problem = problem_of(case)
    # all rows of the first component, and a copy of its parameters that the lower index always beats
    natural = problem.start.natural[[0, 1, 0]]
    result = ef.fit(ef.Mixture(case.family, np.full(3, 1 / 3), natural), problem.X, temperature=0, max_iter=3, tol=0)
    # a family with an M-step of its own takes the parameters through ∇A and back
    own_m_step = type(case.family).maximize is not ef.ExponentialFamily.maximize
    assert_close(result.mixture.natural[2:], natural[2:], 1e-12 if own_m_step else 0)
    assert result.mixture.weights[2] == 0
    assert np.all(np.isfinite(result.bounds))


@pytest.mark.parametrize("case", [case for case in CASES if case.estimate_together is not None], ids=str)
def test_an_empty_tied_component_keeps_its_mean(case):
    problem = problem_of(case)
    start = ef.Mixture(case.family, np.full(3, 1 / 3), problem.start.natural[[0, 1, 0]])
    result = ef.fit(start, problem.X, temperature=0, max_iter=3, tol=0)
    assert_close(result.mixture.parameters["means"][2:], start.parameters["means"][2:], 1e-12)
