"""The cost of a fit before it begins: laws of the model, families of all cases."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy import sparse

import expfam_em as ef
from tests import own_families as own
from tests.cases import CASES

F = ef.families
SLOW = {"Gamma-bare", "LogSeries-bare", "Share-bare", "Exponential-bare", "Geometric-bare", "Normal-bare"}
"""Families of which everything is solved numerically: some seconds each."""


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Measure little, for nothing here depends on how exact times are."""
    from expfam_em import cost

    monkeypatch.setattr(cost, "SAMPLE_ENTRIES", 1 << 12)
    monkeypatch.setattr(cost, "DRAWN_ROWS", 1 << 7)
    monkeypatch.setattr(cost, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(cost, "MOST_SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(cost, "_KEPT", {})


def sound(cost):
    values = cost.e_step, cost.m_step, cost.seconds_per_step, cost.seconds, cost.bytes
    return all(math.isfinite(value) and value > 0 for value in values)


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in SLOW], ids=repr)
def test_every_family_has_a_cost(case):
    d = case.draw(case.components[0], 1, np.random.default_rng(0)).shape[1]
    assert sound(ef.estimated_cost(case.family, 1000, d, len(case.components), n_jobs=1))


COMPOSED = {
    "Product": (F.Product([(F.Gaussian(), [0, 2]), (F.Poisson(), [1]), (F.Dirichlet(), [3, 4])]), 5),
    "Componentwise": (F.Componentwise([(F.Gaussian(), 1), (F.Uniform(), 1)]), 2),
    "ZeroInflated": (F.ZeroInflated(F.Poisson()), 1),
    "Truncated": (F.Truncated(F.Gaussian(), low=0.0), 1),
    "Censored": (F.Censored(F.Exponential()), 2),
    "StudentT": (F.StudentT(5.0), 2),
}


@pytest.mark.parametrize(("family", "d"), COMPOSED.values(), ids=COMPOSED)
def test_families_made_of_others_have_a_cost(family, d):
    assert sound(ef.estimated_cost(family, 1000, d, 2, n_jobs=1))


def test_seconds_are_a_line_in_n_and_in_steps():
    one, two = (ef.estimated_cost(F.Poisson(), n, 3, 2, n_jobs=1) for n in (10**6, 2 * 10**6))
    assert two.e_step == 2 * one.e_step
    assert two.m_step == one.m_step
    assert two.start >= one.start
    assert two.bytes >= one.bytes
    few, many = (ef.estimated_cost(F.Poisson(), 10**6, 3, 2, n_jobs=1, n_steps=steps) for steps in (0, 10))
    assert few.seconds == few.start + few.e_step
    # the last digit: one product and two sums
    assert many.seconds - few.seconds == pytest.approx(10 * many.seconds_per_step, rel=1e-12)
    assert ef.estimated_cost(F.Poisson(), 10**6, 3, 2, n_jobs=1) == one
    assert one.n_steps == 100


def test_a_family_is_not_taken_for_one_whose_place_in_memory_it_has(monkeypatch):
    class Scaled(F.Poisson):
        def __init__(self, scale):
            self.scale = scale

    from expfam_em import cost

    measured, measure = [], cost._measured
    monkeypatch.setattr(cost, "_measured", lambda *args: measured.append(args[0].scale(1.0)) or measure(*args))
    for factor in (2.0, 3.0, 4.0, 5.0):
        ef.estimated_cost(Scaled(lambda x, factor=factor: factor * x), 1000, 2, 2, n_jobs=1)
    assert measured == [2.0, 3.0, 4.0, 5.0]


def test_threads_that_have_no_chunk_cost_and_save_nothing():
    cost = [ef.estimated_cost(F.Gaussian(), 100, 2, 2, n_jobs=n_jobs) for n_jobs in (1, 2, 64)]
    assert cost[0] == cost[1] == cost[2]


def test_runs_multiply_the_e_step(monkeypatch):
    monkeypatch.setattr(ef.cost, "CLOCK", iter(np.arange(0.0, 1e6)).__next__)  # every call takes one second
    one, four = (ef.estimated_cost(F.Poisson(), 10**6, 3, 2, n_jobs=1, n_init=n_init) for n_init in (1, 4))
    assert four.e_step == 4 * one.e_step


def test_a_kept_table_counts_as_memory(monkeypatch):
    monkeypatch.setattr("expfam_em.cost.DRAWN_ROWS", 1 << 14)  # enough for a table to be more than what else is held
    n, d = 10**6, 4
    plain, tabled = (ef.estimated_cost(family, n, d, 2, n_jobs=1) for family in (F.Gaussian("diag"), F.Gamma()))
    assert tabled.bytes - plain.bytes > 0.9 * 8 * 2 * d * n
    beyond = ef.estimated_cost(F.Gamma(), 10 * n, d, 2, n_jobs=1)  # too large to be kept
    assert beyond.bytes < tabled.bytes


@pytest.mark.parametrize("d", [2, 12])
def test_memory_of_the_rows_that_seeds_are_drawn_from(d):
    from expfam_em import cost
    from expfam_em.em.sample import ordered_sample
    from expfam_em.rows.memory import ArrayRows

    rows, K = ArrayRows(np.random.default_rng(0).normal(size=(400_000, d)), None, 1), 3
    few = ArrayRows(rows.X[:4096], None, 1)
    estimate = cost._bytes_of_sample(F.Gaussian("diag"), few, len(rows), K, 2 * d)
    _, _, peak = cost._traced(lambda: ordered_sample(rows, np.random.default_rng(1), 5000))
    assert 0.7 < estimate / peak < 1.3
    assert cost._bytes_of_sample(F.Gaussian("diag"), few, 100_000, K, 2 * d) == 0


def test_float32_and_rows_that_are_given():
    X = sparse.csr_array(sparse.random(200, 50, 0.1, "csr", None, np.random.default_rng(0)))
    X.data[:] = 1
    dense = ef.estimated_cost(F.Bernoulli(), 10**5, 50, 3, n_jobs=1, dtype=np.float32)
    assert sound(dense)
    assert sound(ef.estimated_cost(F.Bernoulli(), 10**5, 50, 3, X=X, n_jobs=1))
    gaps = np.random.default_rng(0).normal(size=(100, 3))
    gaps[::3, 1] = np.nan
    assert sound(ef.estimated_cost(F.Gaussian(), 10**5, 3, 2, X=gaps, n_jobs=1))


def test_tracing_of_a_user_goes_on():
    tracemalloc.start()
    try:
        ef.estimated_cost(F.Poisson(), 1000, 2, 2, n_jobs=1)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    ef.estimated_cost(F.Poisson(), 1000, 3, 2, n_jobs=1)
    assert not tracemalloc.is_tracing()


def test_what_is_printed():
    cost = ef.Cost(e_step=0.11, m_step=0.01, start=0.5, n_steps=100, bytes=35_200_000)
    assert str(cost) == "about 120 ms a step, 13 s for 100 steps, 35 MB beyond the data"
    assert str(ef.Cost(100.0, 20.0, 0, 50, 999)).startswith("about 2.0 min a step, 1.7 h for 50 steps, 999 bytes ")


WRONG = {
    "n is 0": {"n": 0},
    "d is -1": {"d": -1},
    "n_components is 0": {"n_components": 0},
    "n_init is 0": {"n_init": 0},
    "n_steps is -1": {"n_steps": -1},
    "dtype is <class 'int'>": {"dtype": int},
    "X has shape (5, 3); it must have some rows of d = 2 columns": {"X": np.ones((5, 3))},
    "no rows of 2 columns could be guessed that Wishart() takes: give some as X": {"family": F.Wishart()},
}


@pytest.mark.parametrize(("message", "given"), WRONG.items(), ids=WRONG)
def test_what_makes_no_sense_is_refused(message, given):
    sizes = {"family": F.Gaussian(), "n": 100, "d": 2, "n_components": 2} | given
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(").replace(")", r"\)")):
        ef.estimated_cost(**sizes)


@pytest.mark.parametrize("family", [own.Geometric(), own.PoissonExposure()], ids=repr)
def test_rows_are_guessed_for_no_longer_than_said(family, monkeypatch):
    """η of two columns is searched for in vain, since A knows one; a family may raise anything for rows of another."""
    monkeypatch.setattr(ef.cost, "MOST_GUESS_SECONDS", 0.01)
    d = 2 if isinstance(family, own.Geometric) else 1
    with pytest.raises(ValueError, match="give some as X") as error:
        ef.estimated_cost(family, 1000, d, 2, n_jobs=1)
    assert isinstance(error.value.__cause__, TimeoutError if d == 2 else IndexError)
