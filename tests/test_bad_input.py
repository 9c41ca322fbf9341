"""What is wrong is refused with words that say what and where, and nothing half done is left behind."""

import datetime
import decimal
import functools
import itertools
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn import mixture
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import expfam_em as ef
from expfam_em import families
from tests import own_families as own

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4))
B = RNG.integers(0, 2, (30, 4)).astype(float)
COUNTS = RNG.poisson(3, (30, 4)).astype(float)
for _array in (X, B, COUNTS):
    _array.flags.writeable = False


def gaussian(**parameters):
    return ef.GaussianMixture(**{"n_components": 2, "random_state": 0, "tol": 0.1} | parameters)


def bernoulli(**parameters):
    return ef.BernoulliMixture(**{"n_components": 2, "random_state": 0, "tol": 0.1} | parameters)


def poisson(**parameters):
    args = {"n_components": 2, "random_state": 0, "tol": 0.1} | parameters
    return ef.ExponentialFamilyMixture(families.Poisson(), **args)


def kmeans(**parameters):
    return ef.KMeans(**{"n_clusters": 2, "random_state": 0} | parameters)


GOOD = {gaussian: X, bernoulli: B, poisson: COUNTS, kmeans: X}
METHODS = ["predict", "predict_proba", "score", "score_samples", "aic", "bic", "icl", "transform"]


def with_value(rows, value, row=3, column=2):
    out = np.array(rows)
    out[row, column] = value
    return out


# ---- rows ----------------------------------------------------------------------------------------------------------

DAYS = np.arange(40).astype("M8[D]")
NO_TABLES = {
    "a dict": ({"a": X[:, 0].tolist()}, "X is a dict; give a frame, such as pandas.DataFrame"),
    "a set": ({1.0, 2.0}, "X is a set; give a frame"),
    "fields": (np.zeros(5, [("a", float), ("b", float)]), "X is an array with fields: give a frame"),
    "not in memory": (
        pl.DataFrame({"a": [1.0, 2.0]}).lazy(),
        r"a LazyFrame, whose rows are not in memory: give X\.col",
    ),
    "dates": (DAYS.reshape(20, 2), r"X holds dates or times \(datetime64\[D\]\): give numbers"),
    "times": ((DAYS - DAYS[0]).reshape(20, 2), "X holds dates or times"),
    "a column of dates": (pd.DataFrame({"a": DAYS}), "column 'a' holds dates or times"),
    "a column of times": (pl.DataFrame({"a": [datetime.timedelta(1)] * 5}), "column 'a' holds dates or times"),
    "dates of polars": (pl.DataFrame({"a": [datetime.date(2020, 1, 1)] * 5}), "column 'a' holds dates or times"),
    "dates of Python": (
        pd.DataFrame({"a": [datetime.date(2020, 1, 1)] * 5}),
        "column 'a' holds values of the kind date",
    ),
    "periods": (pd.DataFrame({"a": pd.period_range("2020", periods=5, freq="D")}), "values of the kind Period"),
    "complex": (pd.DataFrame({"a": np.arange(5) + 1j, "b": 1.0}), "omplex"),
    "lists in cells": (pd.DataFrame({"a": [[1, 2]] * 5}), "column 'a' holds values of the kind list"),
    "rows of other lengths": ([[1, 2], [3]], "rows of different lengths"),
    "text": (
        np.array([[1, "a"], [2, "b"]], object),
        "X holds text, 'a', where numbers are expected: give numbers, or a fr",
    ),
    "a text file": (
        "rows.csv",
        "rows.csv does not exist|looks at a frame or an array in memory, and X is str: read it",
    ),
}


@pytest.mark.parametrize(("bad", "words"), NO_TABLES.values(), ids=list(NO_TABLES))
@pytest.mark.parametrize(
    "make", [gaussian, kmeans, lambda: ef.ExponentialFamilyMixture("auto", 2)], ids=["g", "k", "auto"]
)
def test_what_is_no_table_of_numbers_or_labels_is_said(make, bad, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make().fit(bad)


@pytest.mark.parametrize(
    "rows",
    [
        pl.DataFrame(X), pd.DataFrame(X).astype("Float64"), pd.DataFrame(X).astype("double[pyarrow]"), X.astype(object),
        pa.table(dict(zip("abcd", X.T, strict=True))), X.tolist(),
        pa.RecordBatch.from_pydict(dict(zip("abcd", X.T, strict=True))),
        pd.DataFrame(X).map(decimal.Decimal), np.ma.array(X), X.astype(np.longdouble), lambda: iter([X]),
    ],
    ids=lambda rows: f"{type(rows).__module__}.{type(rows).__name__}",
)  # fmt: skip
def test_rows_of_any_library_are_those_of_the_array(rows):
    np.testing.assert_array_equal(gaussian().fit(rows).means_, gaussian().fit(X).means_)


@pytest.mark.parametrize("bad", [DAYS[:30], "w", np.ones(30) + 1j], ids=["dates", "a name", "complex"])
def test_row_weights_that_are_no_numbers(bad):
    with pytest.raises(ValueError, match=r"sample_weight has dtype .*; give numbers, one for each row"):
        gaussian().fit(X, sample_weight=bad)
    mixture = gaussian().fit(X).mixture_
    with pytest.raises(ValueError, match=r"sample_weight has dtype .*; give numbers, one for each row"):
        ef.fit(mixture, X, bad)


@pytest.mark.parametrize("use", [ef.fit, ef.accumulate, ef.Mixture.log_density, ef.Mixture.responsibilities])
def test_a_mixture_refuses_what_is_no_number(use):
    mixture = ef.GaussianMixture(2, random_state=0, tol=0.1).fit(X[:, :2]).mixture_
    for rows, words in (
        (DAYS.reshape(20, 2), "holds dates or times"),
        (X[:, :2] + 1j, "Complex data not supported: give real"),
        ({"a": [1.0]}, "X is a dict"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            use(mixture, rows)
        with pytest.raises((ValueError, TypeError), match=words):
            mixture.conditional_mean([0], rows)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda model: model.sample("a"), "n_samples is 'a'; it must be a whole number"),
        (lambda model: model.sample(2.5), "n_samples is 2.5; it must be a whole number"),
        (lambda model: model.sample_missing(X, 1.5), "n_samples is 1.5; it must be a whole number"),
        (lambda model: model.reorder(3), r"by is 3; as an order it must hold each of 0, …, 1 once"),
        (lambda model: model.match(3), "of type int; it must be a Mixture, or a fitted estimator"),
        (lambda model: ef.families.Product.infer(X, ["a"]), r"families is \['a'\]; it must be a dict of columns"),
        (lambda model: families.Binomial("a"), "n is 'a'; it must be a whole number"),
        (lambda model: ef.likelihood_ratio_test(X, X), "estimator is of type ndarray; it must be a mixture"),
    ],
)
def test_arguments_of_another_type(use, words):
    with pytest.raises((ValueError, TypeError), match=words):
        use(gaussian().fit(X))


BAD_ROWS = [
    (lambda good: with_value(good, np.inf), "contains infinity"),
    (lambda good: with_value(good, -np.inf), "contains infinity"),
    (lambda good: good[:0], "minimum of 1 is required"),
    (lambda good: good[:, :0], "0 feature"),
    (lambda good: good[:, 0], "Expected 2D array, got 1D array"),
    (lambda good: good[None], "dim"),
    (lambda good: np.full(good.shape, "word"), "X holds text"),
    (lambda good: np.full(good.shape, 1j), "Complex data not supported"),
    (lambda good: None, "Expected 2D array, got scalar"),
]


OF_KMEANS = (lambda good: with_value(good, np.nan), "contains NaN, and KMeans needs complete rows")
"""For mixtures it is a value that is missing."""


@pytest.mark.parametrize(
    ("make", "bad"), [*itertools.product(GOOD, BAD_ROWS), (kmeans, OF_KMEANS)],
    ids=lambda one: getattr(one, "__name__", one[1] if isinstance(one, tuple) else None),
)  # fmt: skip
def test_rows_that_are_no_matrix_of_finite_numbers(make, bad):
    spoil, words = bad
    rows = spoil(GOOD[make])
    refused(make(), words, rows)
    fitted = make().fit(GOOD[make])
    before = pickle.dumps(fitted)
    for method in available(fitted):
        with pytest.raises((ValueError, TypeError), match=words):
            getattr(fitted, method)(rows)
    assert pickle.dumps(fitted) == before


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_more_components_than_rows(make):
    name = "n_clusters" if make is kmeans else "n_components"
    words = "n_samples=3 should be >= n_clusters=5" if make is kmeans else "n_components = 5, n_samples = 3"
    refused(make(**{name: 5}), words, GOOD[make][:3])


SUPPORT = [
    (bernoulli, 0.5, "Bernoulli needs 0 or 1; column 2 holds 0.5 (row 3)"),
    (bernoulli, -1.0, "Bernoulli needs 0 or 1; column 2 holds -1.0 (row 3)"),
    (poisson, 0.5, "Poisson needs whole numbers from 0; column 2 holds 0.5 (row 3)"),
    (poisson, -2.0, "Poisson needs whole numbers from 0; column 2 holds -2.0 (row 3)"),
]


@pytest.mark.parametrize(("make", "value", "words"), SUPPORT)
def test_values_outside_the_support_are_named(make, value, words):
    rows = with_value(GOOD[make], value)
    words = words.replace("(", r"\(").replace(")", r"\)")
    refused(make(), words, rows)
    refused(make(**({"binarize": None} if make is bernoulli else {})), words, rows)
    fitted = make().fit(GOOD[make])
    for method in available(fitted):
        with pytest.raises(ValueError, match=words):
            getattr(fitted, method)(rows)


def test_data_with_a_mistake_in_them_are_not_made_binary():
    spoiled = B.copy()
    spoiled[:8, 0] = 0.3
    refused(bernoulli(), "column 0 holds 0.3", spoiled)
    with pytest.warns(UserWarning, match="X is not binary"):
        assert bernoulli().fit(X).threshold_ == 0.0
    assert bernoulli(binarize=0.25).fit(X).threshold_ == 0.25
    refused(bernoulli(binarize=None), "Bernoulli needs 0 or 1", X)


# ---- row weights ---------------------------------------------------------------------------------------------------

BAD_WEIGHTS = [
    (np.where(np.arange(30) == 3, -1.0, 1.0), "[Nn]egative"),
    (np.zeros(30), "zero|positive|sum"),
    (np.ones(29), "inconsistent|shape"),
    (np.ones((30, 2)), "1D array or scalar"),
    (np.where(np.arange(30) == 3, np.nan, 1.0), "NaN"),
    (np.where(np.arange(30) == 3, np.inf, 1.0), "infinity"),
    (np.full(30, "word"), "sample_weight has dtype <U4"),
]


@pytest.mark.parametrize("bad", BAD_WEIGHTS, ids=lambda bad: bad[1])
@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_row_weights(make, bad):
    weight, words = bad
    refused(make(), words, GOOD[make], sample_weight=weight)
    fitted = make().fit(GOOD[make])
    with pytest.raises(ValueError, match=words):
        fitted.score(GOOD[make], sample_weight=weight)


# ---- before fitting, and with other columns ------------------------------------------------------------------------


def available(model):
    return [method for method in METHODS if hasattr(model, method)]


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_nothing_works_before_fitting(make):
    for method in available(make()):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(make(), method)(GOOD[make])
    if make is not kmeans:
        with pytest.raises(NotFittedError, match="not fitted yet"):
            make().sample(3)


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_another_number_of_columns(make):
    fitted = make().fit(GOOD[make])
    for method in available(fitted):
        with pytest.raises(ValueError, match=r"X has 3 features, but .* is expecting 4 features"):
            getattr(fitted, method)(GOOD[make][:, :3])


# in a process of its own: the kernel checks no bounds, so a missing check would write outside its memory
COLUMNS = """
import numpy as np, expfam_em as ef
for family in (ef.families.Bernoulli(), ef.families.Poisson(), ef.families.KnownCovariance()):
    mixture = ef.Mixture(family, [0.5, 0.5], np.zeros((2, 3)))
    for X in (np.ones((50, 4)), np.ones((50, 2)), np.ones((500, 4000))):
        for call in (mixture.log_density, mixture.responsibilities, lambda X: ef.accumulate(mixture, X),
                     lambda X: ef.fit(mixture, X)):
            try:
                call(X)
            except ValueError:
                continue
            raise SystemExit(f"{call} took {X.shape[1]} columns for 3")
"""


def test_a_mixture_refuses_rows_of_another_number_of_columns():
    run = subprocess.run([sys.executable, "-c", COLUMNS], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("n", [0, -1])
def test_samples_of_nothing(n):
    with pytest.raises(ValueError, match="at least one sample"):
        gaussian().fit(X).sample(n)


# ---- parameters ----------------------------------------------------------------------------------------------------

OTHER = ef.Mixture(families.Poisson(), [0.5, 0.5], np.zeros((2, 4)))
THREE = ef.Mixture(families.Bernoulli(), np.full(3, 1 / 3), np.zeros((3, 4)))
WIDE = ef.Mixture(families.Bernoulli(), [0.5, 0.5], np.zeros((2, 5)))
UNEVEN = np.full((30, 2), 0.4)
LONG = np.full((31, 2), 0.5)
PRIOR = ef.ExpectedStatistics(np.ones(3), np.ones((3, 4)))
NARROW_PRIOR = ef.ExpectedStatistics(np.ones(2), np.ones((2, 3)))

BAD_PARAMETERS = [
    *((make, {name: value}, f"The '{name}' parameter")
      for make in (gaussian, bernoulli, poisson)
      for name, values in {
          "n_components": [0, -1, 1.5, "abc", None], "tol": [-1, "abc", np.nan], "max_iter": [-1, 2.5],
          "n_init": [0, "2"], "temperature": [-1, "abc"], "stop": ["later"], "weights": ["equals"],
          "concentration": [0, -1.0], "acceleration": ["warp"], "random_state": ["abc", -1], "n_jobs": ["all"],
          "warm_start": ["yes"], "prior": [1.0], "verbose_interval": [0],
      }.items()
      for value in values),
    *((make, {"init": "nonsense"}, "The 'init' parameter") for make in (gaussian, bernoulli, poisson, kmeans)),
    (gaussian, {"covariance_type": "round"}, "The 'covariance_type' parameter"),
    *((gaussian, {"covariance_type": "vvv"}, repr(name)) for name in ("VVV", "EII", "full", "spherical")),
    (gaussian, {"reg_covar": -1}, "The 'reg_covar' parameter"),
    (gaussian, {"init_params": "nonsense"}, "The 'init_params' parameter"),
    (bernoulli, {"binarize": "yes"}, "The 'binarize' parameter"),
    *((kmeans, {name: value}, f"The '{name}' parameter")
      for name, value in [("n_clusters", 0), ("n_clusters", "abc"), ("n_init", 0), ("n_init", "some"),
                          ("max_iter", 0), ("tol", -1), ("algorithm", "guess"), ("random_state", "abc")]),
    (kmeans, {"init": X[:3]}, r"shape of the initial centers \(3, 4\) does not match the number of clusters 2"),
    (kmeans, {"init": X[:2, :3]}, r"shape of the initial centers \(2, 3\) does not match the number of features"),
    (kmeans, {"init": with_value(X[:2], np.nan, 1)}, "NaN"),
    (kmeans, {"init": lambda X, k, random_state: X[:3]}, "does not match the number of clusters 2"),
    *((make, {"n_jobs": 0}, "n_jobs is 0") for make in GOOD),
    *((bernoulli, {"temperature": t}, "temperature is") for t in ([1.0, -1.0], [], [np.inf], [np.nan])),
    (bernoulli, {"concentration": [1.0, -1.0]}, "concentration"),
    (bernoulli, {"concentration": [1.0, 1.0, 1.0]}, "concentration"),
    (bernoulli, {"init": OTHER}, r"init is a mixture of Poisson\(\), but a mixture of Bernoulli\(\) is to be fitted"),
    (bernoulli, {"init": THREE}, "init has 3 components, but n_components is 2"),
    (bernoulli, {"init": WIDE}, "columns|features|statistics"),
    (bernoulli, {"init": UNEVEN}, "sum to 1"),
    (bernoulli, {"init": LONG}, r"init has shape \(31, 2\).*must be \(30, 2\)"),
    (bernoulli, {"init": -UNEVEN}, "non-negative"),
    (bernoulli, {"init": np.full((30, 2), np.nan)}, "responsibilities"),
    (bernoulli, {"init": np.full(30, 0.5).tolist()}, "whole numbers"),
    (bernoulli, {"init": np.full(30, 2)}, r"labels must lie in 0\.\.1, not 2\.\.2"),
    (bernoulli, {"init": np.full(30, -1)}, r"labels must lie in 0\.\.1"),
    (bernoulli, {"init": np.full(30, 0.5)}, "whole numbers"),
    (bernoulli, {"init": np.zeros(29, int)}, "shape"),
    (bernoulli, {"prior": PRIOR}, "prior has 3 components; this mixture has 2"),
    (bernoulli, {"prior": NARROW_PRIOR}, r"prior has sums of shape \(2, 3\); this mixture needs \(2, 4\)"),
]  # fmt: skip


def described(value):
    return value if isinstance(value, str) else None if isinstance(value, dict) else value.__name__


@pytest.mark.parametrize(("make", "parameters", "words"), BAD_PARAMETERS, ids=described)
def test_parameters(make, parameters, words):
    refused(make(**parameters), words, GOOD[make])


EYES = np.repeat(np.eye(4)[None], 2, axis=0)
LOPSIDED = EYES + np.triu(np.full((4, 4), 0.1), 1)

BAD_STARTS = [
    ({"weights_init": [0.5, 0.5, 0.0]}, r"The parameter 'weights' should have the shape of \(2,\), but got \(3,\)"),
    ({"weights_init": [-0.5, 1.5]}, r"The parameter 'weights' should be in the range \[0, 1\]"),
    ({"weights_init": [0.5, 0.4]}, "The parameter 'weights' should be normalized, but got sum"),
    ({"means_init": np.zeros((2, 3))}, r"The parameter 'means' should have the shape of \(2, 4\), but got \(2, 3\)"),
    ({"means_init": np.full((2, 4), np.nan)}, "NaN"),
    ({"precisions_init": np.eye(4)}, r"The parameter 'full precision' should have the shape of \(2, 4, 4\)"),
    ({"precisions_init": -EYES}, "'full precision' should be symmetric, positive-definite"),
    ({"precisions_init": LOPSIDED}, "'full precision' should be symmetric, positive-definite"),
    ({"covariance_type": "tied", "precisions_init": EYES}, "The parameter 'tied precision' should have the shape"),
    ({"covariance_type": "tied", "precisions_init": -np.eye(4)}, "'tied precision' should be symmetric, pos"),
    ({"covariance_type": "diag", "precisions_init": -np.ones((2, 4))}, "'diag precision' should be positive"),
    ({"covariance_type": "spherical", "precisions_init": np.zeros(2)}, "'spherical precision' should be positive"),
    ({"covariance_type": "spherical", "precisions_init": np.ones(3)}, "'spherical precision' should have the shape"),
]


@pytest.mark.parametrize(("parameters", "words"), BAD_STARTS, ids=described)
def test_starts_of_gaussian_mixtures_in_the_words_of_scikit_learn(parameters, words):
    refused(gaussian(**parameters), words, X)


def test_a_collapsed_component_in_the_words_of_scikit_learn():
    rows = np.concatenate([X, np.full((5, 4), 9.0)])
    refused(gaussian(reg_covar=0), "ill-defined empirical covariance .* increase reg_covar", rows)


@pytest.mark.parametrize("d", [1, 5, 40])  # small matrices and large ones are solved by other routines
@pytest.mark.parametrize("covariance_type", ["tied", "EEE", "full", "VEE", "EVV", "VVE", "diag", "spherical"])
def test_rows_of_two_points_collapse_in_the_words_of_scikit_learn(covariance_type, d):
    rows = np.repeat([[1.0], [0.0]], 5, axis=0) * np.ones(d)
    model = ef.GaussianMixture(6, covariance_type=covariance_type, reg_covar=0, random_state=0)
    refused(model, "ill-defined empirical covariance", rows)
    fitted = model.set_params(reg_covar=1e-6).fit(rows)
    assert np.isfinite(fitted.covariances_).all()


@pytest.mark.parametrize(("covariance_type", "d"), [("VEE", 1), ("EVV", 2)])
def test_components_of_one_row_collapse_in_the_words_of_scikit_learn(covariance_type, d):
    rows = np.random.default_rng(0).normal(size=(12, d))
    model = ef.GaussianMixture(12, covariance_type=covariance_type, reg_covar=0, random_state=0, max_iter=30)
    refused(model, "ill-defined empirical covariance", rows)


# ---- nothing half done ---------------------------------------------------------------------------------------------


def refused(model, words, rows, **weights):
    """Assert that a fit is refused with these words, leaves nothing on a new model and an old fit as it was."""
    with pytest.raises((ValueError, TypeError), match=words):
        model.fit(rows, **weights)
    assert not [name for name in vars(model) if name.endswith("_") and not name.startswith("_")]
    make = next(make for make in GOOD if type(make()) is type(model))
    old = make().fit(GOOD[make])
    state, labels = pickle.dumps(old), old.predict(GOOD[make])
    parameters = old.get_params(deep=False)
    old.set_params(**model.get_params(deep=False))
    with pytest.raises((ValueError, TypeError), match=words):
        old.fit(rows, **weights)
    old.set_params(**parameters)
    assert pickle.dumps(old) == state
    assert np.array_equal(old.predict(GOOD[make]), labels)


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_a_refused_fit_of_other_columns_leaves_the_number_of_columns(make):
    fitted = make().fit(GOOD[make])
    narrow = GOOD[make][:1, :2]
    with pytest.raises(ValueError, match="n_samples"):
        fitted.fit(narrow)
    assert fitted.n_features_in_ == 4
    fitted.predict(GOOD[make])


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_arrays_given_are_never_changed(make):
    weight = RNG.uniform(0.5, 1, 30)
    rows = GOOD[make].copy()
    before = rows.copy(), weight.copy()
    rows.flags.writeable = weight.flags.writeable = False
    model = make().fit(rows, sample_weight=weight)
    for method in available(model):
        getattr(model, method)(rows)
    assert np.array_equal(rows, before[0])
    assert np.array_equal(weight, before[1])


def test_starts_given_are_never_changed():
    values = {"weights_init": np.array([0.3, 0.7]), "means_init": X[:2].copy(), "precisions_init": EYES.copy()}
    before = {name: value.copy() for name, value in values.items()}
    for value in values.values():
        value.flags.writeable = False
    gaussian(**values).fit(X)
    r = np.full((30, 2), [0.2, 0.8])
    r.flags.writeable = False
    gaussian(init=r).fit(X)
    kmeans(init=values["means_init"]).fit(X)
    assert all(np.array_equal(values[name], before[name]) for name in values)


@pytest.mark.parametrize("variance", [0.0, -1.0, np.nan, np.inf, "1", None, np.array([1.0, 2.0]), 1j])
def test_a_known_variance_is_one_finite_positive_number(variance):
    with pytest.raises(ValueError, match="it must be a finite positive number"):
        ef.families.KnownCovariance(variance)
    assert "1.23456789" in repr(ef.families.KnownCovariance(1.23456789))


MEDDLERS = ["sufficient_statistics", "log_base_measure", "check_support", "exposure", "bind", "summary"]


@pytest.mark.parametrize("method", MEDDLERS)
def test_a_family_that_writes_into_the_rows_is_told_so_and_they_stay(method):
    class Meddler(ef.families.Poisson):
        def sufficient_statistics(self, X):
            return X + 0.0

    def meddle(self, X, *more):
        for block in X if method == "bind" else [X]:
            rows = block[0] if method == "bind" else block
            rows += 1.0

    setattr(Meddler, method, meddle)
    X = np.random.default_rng(0).poisson(3.0, (60, 2)).astype(float)
    before = X.copy()
    with pytest.raises(ValueError, match="read-only"):
        ef.ExponentialFamilyMixture(Meddler(), 2, random_state=0).fit(X)
    assert np.array_equal(X, before)


DEGENERATE = {
    "a constant column": np.column_stack([np.random.default_rng(0).normal(size=60), np.full(60, 3.0)]),
    "equal rows": np.ones((30, 2)),
    "two rows": np.repeat([[0.0, 0.0], [1.0, 1.0]], 20, axis=0),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of scikit-learn, for equal rows
@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("name", DEGENERATE)
def test_rows_that_only_reg_covar_makes_a_density_of_are_fitted_from_every_start(name, kind, init):
    X = DEGENERATE[name]
    ours = ef.GaussianMixture(2, covariance_type=kind, init_params=init, random_state=0).fit(X)
    assert np.isfinite(ours.means_).all()
    if name == "equal rows":
        theirs = mixture.GaussianMixture(2, covariance_type=kind, init_params=init, random_state=0).fit(X)
        assert ours.score(X) == pytest.approx(theirs.score(X), rel=1e-9)


@pytest.mark.parametrize("weight", [None, np.ones(100)])
def test_a_row_of_density_0_is_named(weight):
    class Rayleigh(own.Rayleigh):
        """As in the README, without a word about which rows are possible."""

        check_support = ef.ExponentialFamily.check_support

    X = np.random.default_rng(0).rayleigh(2, (100, 1))
    X[7] = 0
    with pytest.raises(ValueError, match=r"log h of row 7 is −∞ under Rayleigh"):
        ef.ExponentialFamilyMixture(Rayleigh(), 2, random_state=0).fit(X, sample_weight=weight)
    absent = np.where(np.arange(100) == 7, 0.0, 1.0)
    model = ef.ExponentialFamilyMixture(Rayleigh(), 2, random_state=0, max_iter=3, tol=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, sample_weight=absent)
    assert model.score_samples(X)[7] == -np.inf
    allowed = np.ones((100, 2), bool)
    allowed[::2, 1] = False  # rows 1, 3, ... come after these; row 7 is the fourth of them
    with pytest.raises(ValueError, match=r"log h of row 7 is −∞ under Rayleigh"):
        ef.ExponentialFamilyMixture(Rayleigh(), 2, random_state=0).fit(X, sample_weight=weight, allowed=allowed)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "VEV"])
@pytest.mark.parametrize("far", [1e160, -3e307])
def test_rows_whose_density_no_float_can_hold_are_named(covariance_type, far):
    X = np.random.default_rng(0).normal(size=(40, 2))
    model = ef.GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    rows = np.concatenate([X[:3], [[0.0, far]]])
    for method in (model.predict, model.predict_proba):
        with pytest.raises(ValueError, match=r"row 3 is so far from every component of Gaussian.*: leave it out"):
            method(rows)
        with pytest.raises(ValueError, match=r"row 3 is so far from every component of Gaussian.*: leave it out"):
            method(np.concatenate([[[np.nan, 0.0]], rows[1:]]))
    assert np.isfinite(model.predict_proba(X)).all()


def test_what_is_masked_is_missing():
    rng = np.random.default_rng(0)
    X, gone = rng.normal(size=(60, 2)), rng.random((60, 2)) < 0.1
    masked, gaps = np.ma.masked_array(X, gone), np.where(gone, np.nan, X)
    one, other = (ef.GaussianMixture(2, random_state=0).fit(rows) for rows in (masked, gaps))
    np.testing.assert_array_equal(one.means_, other.means_)
    np.testing.assert_array_equal(one.predict_proba(masked), other.predict_proba(gaps))
    np.testing.assert_array_equal(one.mixture_.log_density(masked), other.mixture_.log_density(gaps))
    counts = [
        ef.ExponentialFamilyMixture("poisson", random_state=0).fit(rows).parameters_["rates"]
        for rows in (np.ma.masked_array([[1], [3], [99]], [[0], [0], [1]]), [[1.0], [3.0], [np.nan]])
    ]
    np.testing.assert_array_equal(*counts)
    with pytest.raises(ValueError, match="NaN"):
        ef.KMeans(2).fit(masked)
    whole = np.ma.masked_array(X)
    np.testing.assert_array_equal(
        ef.KMeans(2, random_state=0).fit_predict(whole), ef.KMeans(2, random_state=0).fit_predict(X)
    )
    for fit in (ef.GaussianMixture(2).fit, functools.partial(ef.fit, one.mixture_)):
        with pytest.raises(ValueError, match="sample_weight has masked entries: give 0"):
            fit(X, sample_weight=np.ma.masked_array(np.ones(60), gone[:, 0]))
