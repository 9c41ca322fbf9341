"""The debugging tool for families: no false alarms, and every planted fault found by the law it breaks."""

import contextlib
import pickle
import time
import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.special import comb

import expfam_em as ef
from expfam_em.checking.integrals import Density, integrate
from expfam_em.checking.laws import LAWS
from expfam_em.checking.subject import Subject
from expfam_em.checking.support import Axis
from tests import faulty_families as faulty
from tests import own_families as own
from tests.cases import CASES
from tests.faulty_families import FAULTS

MASS = "the density integrates to 1"
WITH_TRUE_ALARM = (own.Gamma,)  # its log|Γ| is finite outside the space: this is one of the faults


UNDECIDED = "it is undecided whether ∇A is the mean of T and the density integrates to 1"


@contextlib.contextmanager
def said_if_undecided(may_be):
    """What cannot be decided is warned of, where it may be; everywhere else a warning is an error."""
    with warnings.catch_warnings():
        if may_be:
            warnings.filterwarnings("ignore", f".*{UNDECIDED}")
        yield


def rows_of(case, n, seed=3):
    rng = np.random.default_rng(seed)
    return np.concatenate([case.draw(theta, n, rng) for theta in case.components])


@pytest.mark.parametrize("case", [case for case in CASES if not isinstance(case.family, WITH_TRUE_ALARM)], ids=str)
@pytest.mark.parametrize("n", [4, 40])
def test_no_false_alarm(case, n):
    with said_if_undecided(rows_of(case, n).shape[1] > 2):
        report = ef.check_family(case.family, rows_of(case, n))
    assert set(report.checked) | set(report.left_out) == set(LAWS)
    if rows_of(case, n).shape[1] <= 2:
        assert {MASS, "∇A is the mean of T"} <= set(report.checked)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault.family).__name__)
def test_a_fault_is_named_by_the_law_it_breaks(fault):
    X = np.array(fault.X)
    with pytest.raises(ef.FamilyError, match=fault.words) as caught:
        ef.check_family(fault.family, X)
    assert caught.value.law == fault.law
    sentence = str(caught.value)
    assert sentence.startswith(f"{fault.family!r} breaks a law ({fault.law}): ")
    assert "could not be checked" not in sentence
    assert "\n" not in sentence
    assert np.array_equal(X, fault.X)


def test_every_law_has_a_fault():
    assert {fault.law for fault in FAULTS} == set(LAWS)


@pytest.mark.parametrize("family", [faulty.Waves(), faulty.Gamma()], ids=repr)
def test_the_families_that_faults_are_made_of_have_none(family):
    assert MASS in ef.check_family(family, faulty.WAVES).checked


def test_any_seed_does():
    for seed in range(8):
        X = np.random.default_rng(seed).rayleigh(1.0 + seed, (30, 1))
        ef.check_family(faulty.Waves(), X, random_state=seed)


def test_a_method_that_raises_is_named_with_what_it_raised():
    class Typo(own.Exponential):
        def sufficient_statistics(self, X):
            return X.colums

    with pytest.raises(ef.FamilyError, match=r"AttributeError was raised: .*colums"):
        ef.check_family(Typo(), faulty.WAITS)


@pytest.mark.parametrize(
    ("family", "X", "region"),
    [
        (ef.families.Bernoulli(), np.array([[0.0], [1], [1], [0]]), "0 ≤ whole x ≤ 1"),
        (ef.families.Poisson(), faulty.COUNTS, "0 ≤ whole x,"),
        (own.Geometric(), faulty.COUNTS, "0 ≤ whole x,"),
        (own.Exponential(), faulty.WAITS, "0 < x,"),  # nothing says that x is positive
        (own.Normal(), faulty.HEIGHTS, "all real x,"),
        (own.Normal(), np.round(faulty.HEIGHTS / 5), "all real x,"),  # whole numbers need not be counts
        (own.PoissonExposure(), faulty.TIMES, "all whole x,"),  # the other column is the exposure
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_region_of_integration_is_found(family, X, region):
    assert ef.check_family(family, X).checked[MASS].startswith(f"over {region}")


class Angles(ef.ExponentialFamily):
    """Von Mises: T(x) = (cos x, sin x), of period 2π."""

    def sufficient_statistics(self, X):
        return np.concatenate([np.cos(X), np.sin(X)], axis=1)

    def log_partition(self, natural):
        from scipy.special import i0e

        length = np.hypot(*natural.T)
        return np.log(2 * np.pi * i0e(length)) + length


def test_a_period_is_one_turn():
    X = np.random.default_rng(0).vonmises(2.0, 3.0, (50, 1))
    low, high = (float(part) for part in ef.check_family(Angles(), X).checked[MASS][5:].split(",")[0].split(" < x < "))
    assert high - low == pytest.approx(2 * np.pi, rel=1e-4)


class Directions(ef.ExponentialFamily):
    """T(x) = x of unit vectors in the plane: von Mises again, but on a circle."""

    def sufficient_statistics(self, X):
        return X

    log_partition = Angles.log_partition


def test_what_cannot_be_integrated_is_left_out():
    rng = np.random.default_rng(0)
    angles = rng.vonmises(2.0, 3.0, 50)
    with pytest.warns(UserWarning, match=UNDECIDED):
        report = ef.check_family(Directions(), np.column_stack([np.cos(angles), np.sin(angles)]))
    assert "sphere" in report.left_out[MASS]
    assert MASS in report.undecided
    assert repr(report).splitlines()[0].endswith(UNDECIDED)
    with pytest.warns(UserWarning, match=UNDECIDED):
        report = ef.check_family(ef.families.Gaussian("full"), rng.normal(size=(50, 3)))
    assert "3 columns" in report.left_out[MASS]
    with pytest.warns(UserWarning, match=UNDECIDED):
        report = ef.check_family(ef.families.Gaussian("diag"), np.column_stack([angles, 1 - angles]))
    assert "plane" in report.left_out[MASS]


def test_a_wrong_density_in_many_columns_is_found_by_its_samples():
    class Forgotten(faulty.Waves):
        log_base_measure = ef.ExponentialFamily.log_base_measure

        def sufficient_statistics(self, X):
            if X.shape[1] < 3:
                raise ValueError("waves in space")
            return super().sufficient_statistics(X)

        def log_partition(self, natural):
            return -0.7 * np.log(-2 * natural).sum(axis=1)

        def to_expectation(self, natural):
            return -0.7 / natural

        def to_natural(self, expectation):
            return -0.7 / expectation

    with pytest.raises(ef.FamilyError, match="check the scale in sample, and log_partition") as caught:
        ef.check_family(Forgotten(), np.random.default_rng(0).rayleigh(2.0, (50, 3)))
    assert caught.value.law == "sample draws from the density"


class Inverted(faulty.Waves):
    """The sign of log h is wrong: nothing integrates to anything."""

    def log_base_measure(self, X):
        return -np.log(X).sum(axis=1)


@pytest.mark.parametrize("n_columns", [1, 2, 4])
def test_a_density_without_a_mass_is_no_density(n_columns):
    X = np.random.default_rng(0).rayleigh(2.0, (50, n_columns))
    assert MASS in ef.check_family(faulty.Waves(), X).checked
    with pytest.raises(ef.FamilyError, match="diverges") as caught:
        ef.check_family(Inverted(), X)
    assert caught.value.law == "∇A is the mean of T"


def test_over_complete_statistics_are_no_fault():
    class Softmax(ef.ExponentialFamily):
        """One of three labels: T is the indicator of each, so that η is known up to a constant."""

        def sufficient_statistics(self, X):
            return (X == np.arange(3)).astype(float)

        def log_partition(self, natural):
            top = natural.max(axis=1, keepdims=True)
            return top[:, 0] + np.log(np.exp(natural - top).sum(axis=1))

        def to_natural(self, expectation):
            return np.log(expectation) + 5

        def check_support(self, X):
            if not np.all(np.isin(X, [0, 1, 2])):
                raise ValueError("labels are 0, 1 and 2")

    X = np.random.default_rng(0).integers(0, 3, (40, 1))
    assert ef.check_family(Softmax(), X).checked[MASS].startswith("over 0 ≤ whole x ≤ 2")


def test_report_lists_every_law():
    report = ef.check_family(faulty.Waves(), faulty.WAVES)
    text = repr(report)
    assert text.startswith(f"Waves() obeys {len(report.checked)} laws")
    assert "left out – kernel_form builds T: kernel_form is None" in text
    assert all(law in text for law in LAWS)


def test_neither_the_rows_nor_the_family_nor_global_state_is_changed():
    family, X = ef.families.Gaussian("full"), np.array(faulty.TWO_WAVES)
    before = pickle.dumps((vars(family), X, np.random.get_state()))  # noqa: NPY002
    ef.check_family(family, X)
    assert pickle.dumps((vars(family), X, np.random.get_state())) == before  # noqa: NPY002


def test_the_same_seed_gives_the_same_report():
    assert repr(ef.check_family(faulty.Waves(), faulty.WAVES)) == repr(ef.check_family(faulty.Waves(), faulty.WAVES))


def test_sparse_rows_are_rows():
    X = sparse.csr_array(faulty.TWO_COUNTS)
    assert "zeros are kept" in ef.check_family(ef.families.Poisson(), X).checked


@pytest.mark.parametrize(
    ("family", "X", "error", "words"),
    [
        (ef.families.Poisson, faulty.COUNTS, TypeError, "is the class Poisson: give an instance"),
        (ef.families.Poisson(), faulty.COUNTS[:, 0], ValueError, r"shape \(60,\)"),
        (ef.families.Poisson(), faulty.COUNTS[:2], ValueError, "at least 4 rows"),
        (ef.families.Poisson(), np.full((5, 1), np.nan), ValueError, "finite"),
    ],
)
def test_bad_arguments(family, X, error, words):
    with pytest.raises(error, match=words) as caught:
        ef.check_family(family, X)
    assert not isinstance(caught.value, ef.FamilyError)


def test_rows_that_are_all_alike_are_said_to_be_so():
    with pytest.raises(ef.FamilyError, match="all rows of X have the same T"):
        ef.check_family(own.Normal(), np.full((10, 1), 2.0))


def test_a_column_that_happens_to_be_constant_is_summed_over_as_well():
    X = np.column_stack([faulty.COUNTS, np.ones(60)])
    assert MASS in ef.check_family(ef.families.Poisson(), X).checked


def test_rows_of_one_sum_are_summed_over_where_all_have_it():
    class Pairs(ef.ExponentialFamily):
        """How often each side of a coin was seen in three throws."""

        def sufficient_statistics(self, X):
            return X[:, :1]

        def log_base_measure(self, X):
            return np.log(comb(3, X[:, 0]))

        def log_partition(self, natural):
            return 3 * np.logaddexp(0, natural[:, 0])

    class KnownPairs(Pairs):
        def check_support(self, X):
            if not (np.all(X >= 0) and np.all(X.sum(axis=1) == 3)):
                raise ValueError("sides of three throws")

    heads = np.random.default_rng(0).binomial(3, 0.6, 50)
    X = np.column_stack([heads, 3 - heads])
    assert MASS in ef.check_family(KnownPairs(), X).checked
    with pytest.warns(UserWarning, match=UNDECIDED):
        report = ef.check_family(Pairs(), X)
    assert "check_support does not say" in report.left_out[MASS]


def test_it_takes_seconds_at_most():
    start = time.process_time()
    ef.check_family(ef.families.Gaussian("full"), faulty.TWO_WAVES)
    assert time.process_time() - start < 5


# ---- quadrature ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "natural", "axis"),
    [
        (own.Normal(), [1e4, -5e5], Axis(-np.inf, np.inf, False)),  # narrow
        (own.Normal(), [1e-3, -1e-6], Axis(-np.inf, np.inf, False)),  # wide and far
        (faulty.Gamma(), [-0.9, -1.0], Axis(0.0, np.inf, False)),  # singular at 0
        (faulty.Gamma(), [500.0, -1.0], Axis(0.0, np.inf, False)),
        (own.Geometric(), [-1e-3], Axis(0.0, np.inf, True)),  # a long tail
    ],
    ids=str,
)
def test_mass_is_found_from_rows_elsewhere(family, natural, axis):
    X = np.array([[1.0], [2.0], [3.0], [7.0]])
    density = Density(family, np.array(natural), X[0], [0])
    moments = integrate(density, (axis,), X, np.ones(4))
    assert moments.trouble == ""
    assert moments.log_mass == pytest.approx(0, abs=1e-6)


def test_a_divergent_integral_is_called_so():
    X = np.array([[1.0], [2.0], [3.0], [7.0]])
    density = Density(own.Exponential(), np.array([-1.0]), X[0], [0])
    assert integrate(density, (Axis(-np.inf, np.inf, False),), X, np.ones(4)).trouble == "it diverges"


def test_a_subject_looks_at_some_of_many_rows():
    X = np.random.default_rng(0).rayleigh(2.0, (5000, 1))
    assert Subject(faulty.Waves(), X, np.random.default_rng(0)).n == 1000
    ef.check_family(faulty.Waves(), X)


@pytest.mark.parametrize("family", [ef.families.Gamma(), ef.families.LogNormal(), ef.families.Beta()], ids=repr)
def test_impossible_rows_are_said_before_what_follows_from_them(family):
    X = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(ef.FamilyError, match=r"rows of X are possible\).*column \d holds .*\(row \d+\)"):
        ef.check_family(family, X)
