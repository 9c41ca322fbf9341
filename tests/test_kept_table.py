"""Statistics of rows that are kept between steps, and those that are evaluated anew, give the same fits."""

import numpy as np
import pytest

import expfam_em as ef
from expfam_em.estep import plan
from tests.test_componentwise import MIXED, NOISY, line, plane
from tests.test_product import LAYOUTS, Problem


@pytest.fixture(params=LAYOUTS, ids=str)
def problem(request):
    return Problem(LAYOUTS[request.param])


def test_of_a_product_the_kept_table_changes_no_bit(monkeypatch, problem):
    kept = ef.fit(problem.start(), problem.X, max_iter=4, tol=0)
    monkeypatch.setattr(plan, "TABLE_ENTRIES", 0)
    again = ef.fit(problem.start(), problem.X, max_iter=4, tol=0)
    assert np.array_equal(kept.bounds, again.bounds)
    assert np.array_equal(kept.mixture.natural, again.mixture.natural)


def test_of_many_rows_the_kept_table_changes_the_order_of_a_sum_at_most(monkeypatch, problem):
    X = np.tile(problem.X, (250, 1))
    kept = ef.fit(problem.start(), X, max_iter=2, tol=0)
    monkeypatch.setattr(plan, "TABLE_ENTRIES", 0)
    again = ef.fit(problem.start(), X, max_iter=2, tol=0)
    assert kept.bounds == pytest.approx(again.bounds, rel=1e-13)


@pytest.mark.parametrize("family", [MIXED, NOISY], ids=repr)
def test_of_families_for_each_component_the_kept_table_changes_no_bit(family, monkeypatch):
    X, K = line() if family is MIXED else plane()[0], len(family.of_component)
    model = ef.ExponentialFamilyMixture(family, K, n_init=3, random_state=0, max_iter=2000)
    kept = model.fit(X).score_samples(X)
    monkeypatch.setattr(plan, "TABLE_ENTRIES", 0)
    assert np.array_equal(model.fit(X).score_samples(X), kept)
