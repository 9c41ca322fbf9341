"""Errors about impossible rows count rows as the user does, whatever weights they have."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse

import expfam_em as ef
from expfam_em import families
from expfam_em.families import Poisson
from tests.cases import CASES
from tests.own_families import Gamma, Rayleigh


@given(
    bad=st.lists(st.booleans(), min_size=1, max_size=8),
    present=st.lists(st.booleans(), min_size=8, max_size=8),
    kind=st.sampled_from(["dense", "sparse"]),
)
def test_the_first_impossible_row_that_carries_weight_is_named(bad, present, kind):
    bad, present = np.array(bad), np.array(present[: len(bad)])
    X = np.where(bad, -1.0, 2.0)[:, None] * np.ones(3)
    rows, start = sparse.csr_array(X) if kind == "sparse" else X, ef.Mixture(Poisson(), [1.0], np.zeros((1, 3)))
    assume(np.any(present))
    if np.any(bad & present):
        message = rf"column 0 holds -1.0 \(row {np.argmax(bad & present)}\)"
        with pytest.raises(ValueError, match=message):
            ef.fit(start, rows, present.astype(float))
    else:
        assert ef.fit(start, rows, present.astype(float)).mixture.parameters["rates"] == pytest.approx(2, rel=1e-14)


def test_a_fit_of_a_mixture_checks_its_rows():
    start = ef.Mixture(Poisson(), [1.0], np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"Poisson needs whole numbers from 0; column 1 holds -1.0 \(row 1\)"):
        ef.fit(start, np.array([[1, 2], [3, -1.0]]))
    with pytest.raises(ValueError, match=r"Rayleigh needs positive numbers; column 0 holds 0.0 \(row 2\)"):
        ef.fit(ef.Mixture(Rayleigh(), [1.0], -np.ones((1, 1))), np.array([[1.0], [2], [0]]))


@pytest.mark.parametrize("K", [1, 2, 7])
@pytest.mark.parametrize("family", [Poisson(), Rayleigh()], ids=repr)
def test_of_a_row_that_misses_its_number_nothing_is_said(family, K):
    natural = np.linspace(-2, -1, K)[:, None]
    mixture = ef.Mixture(family, np.full(K, 1 / K), natural)
    X = np.ones((300, 1))
    X[::3] = np.nan
    assert mixture.responsibilities(X)[::3] == pytest.approx(np.tile(mixture.weights, (100, 1)))
    assert mixture.log_density(X)[::3] == pytest.approx(np.zeros(100), abs=1e-15)
    assert mixture.responsibilities(X)[1].sum() == pytest.approx(1)
    known, of_all = ef.accumulate(mixture, X[~np.isnan(X[:, 0])]), ef.accumulate(mixture, X)
    assert of_all.bound == pytest.approx(known.bound, rel=1e-12)
    assert of_all.counts == pytest.approx(known.counts + 100 * mixture.weights, rel=1e-12)


class Logs(Gamma):
    """T(x) = (log x, x), without a check of the rows."""

    def check_support(self, X):
        pass


def test_statistics_that_are_no_numbers_are_named():
    X = np.random.default_rng(0).gamma(2, 3, (50, 1))
    X[7] = -1
    with pytest.raises(
        ValueError, match=r"Logs.sufficient_statistics returned NaN for x in row 7: .* or check_support refuse the row"
    ):
        ef.ExponentialFamilyMixture(Logs(), 1).fit(X)
    present = np.ones(50)
    present[7] = 0
    found = ef.ExponentialFamilyMixture(Logs(), 1).fit(X, sample_weight=present)
    assert found.expectation_parameters_[0, 1] == pytest.approx(np.delete(X, 7).mean(), rel=1e-9)


class Rate(ef.ExponentialFamily):
    """Counts in column 0 over the time in column 1."""

    def sufficient_statistics(self, X):
        return X[:, :1]

    def exposure(self, X):
        return X[:, 1]

    def log_partition(self, natural):
        return np.exp(natural[:, 0])

    def to_natural(self, expectation):
        return np.log(expectation)


def test_absent_rows_need_no_exposure():
    rng = np.random.default_rng(0)
    time = rng.uniform(1, 20, 60)
    X = np.column_stack([rng.poisson(3 * time), time])
    X[20, 1] = 0
    present = np.ones(60)
    present[20] = 0
    for K in (1, 2):
        model = ef.ExponentialFamilyMixture(Rate(), K, random_state=0, max_iter=500, tol=1e-6)
        found, expected = model.fit(X, sample_weight=present).score_samples(X[:20]), model.fit(np.delete(X, 20, axis=0))
        assert found == pytest.approx(expected.score_samples(X[:20]), rel=1e-6)
    with pytest.raises(ValueError, match=r"Rate needs rows with a positive exposure; .*\(row 20\)"):
        ef.ExponentialFamilyMixture(Rate(), 1).fit(X)


@pytest.mark.parametrize(
    ("family", "x"),
    [
        *[(family, 0.5) for family in (families.Gamma(), families.Beta(), families.InverseGaussian())],
        *[(family, 0.5) for family in (families.VonMises(), families.Laplace(0.5), families.Pareto(0.5))],
        *[(family, 0.0) for family in (families.Exponential(), families.HalfNormal())],
    ],
    ids=repr,
)
@pytest.mark.parametrize("K", [1, 2])
def test_rows_that_are_all_equal_are_refused_in_a_sentence(family, x, K):
    with pytest.raises(ValueError, match=r"the rows give no finite natural parameters of .*: are all of them equal"):
        ef.ExponentialFamilyMixture(family, K).fit(np.full((30, 2), x))


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_rows_are_possible_or_not_whatever_the_others_are(case):
    X = np.array(case.draw(case.components[0], 40, np.random.default_rng(0)), np.float64)
    X[1::4, -1] *= -1
    X[2::4, 0] += 0.5
    X[3::8, 0] = -2.5
    alone = [bool(case.family.supports(row[None])[0]) for row in X]
    assert case.family.supports(X).tolist() == alone


def test_a_row_that_meets_one_condition_may_fail_the_next():
    indefinite, askew, fine = [1.0, 2, 2, 1], [1.0, 0.5, 0, 1], [1.0, 0.5, 0.5, 1]
    assert families.Wishart().supports(np.array([indefinite, askew, fine])).tolist() == [False, False, True]


def test_every_condition_is_looked_at_once_for_all_rows(monkeypatch):
    asked, check = [], families.Wishart.check_support
    monkeypatch.setattr(families.Wishart, "check_support", lambda self, X: asked.append(len(X)) or check(self, X))
    X = np.random.default_rng(0).normal(size=(300, 4))
    X[::2, 2] = X[::2, 1]
    definite = np.linalg.eigvalsh(X.reshape(-1, 2, 2)).min(axis=1) > 0
    assert np.array_equal(families.Wishart().supports(X), definite & (X[:, 1] == X[:, 2]))
    assert len(asked) == 3
