"""Frames of pandas and polars: a family for each column, names and labels in every answer, and families by name."""

import pickle
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import expfam_em as ef
from expfam_em import families
from expfam_em.plots import plot_clusters
from tests.cases import CASES

RNG = np.random.default_rng(3)
N = 120
FIRST = np.arange(N) < 40
TABLE = {
    "change": np.where(FIRST, -3.0, 2.0) + RNG.normal(size=N),
    "income": np.exp(np.where(FIRST, 9.0, 10.0) + 0.3 * RNG.normal(size=N)),
    "visits": RNG.poisson(np.where(FIRST, 1.0, 6.0)),
    "smokes": RNG.random(N) < 0.4,
    "port": np.where(FIRST, "S", RNG.choice(list("CQS"), N)),
    "size": np.where(FIRST, "small", RNG.choice(["small", "large"], N)),
}
SIZES = ["small", "large"]
INFERRED = (
    "Product([(Gaussian('diag'), ['change']), (LogNormal('diag'), ['income']), (Poisson(), ['visits']), "
    "(Bernoulli(), ['smokes']), (Categorical(), ['port', 'size'])])"
)


def pandas_frame():
    return pd.DataFrame(TABLE | {"size": pd.Categorical(TABLE["size"], SIZES)})


def polars_frame():
    return pl.DataFrame(TABLE | {"size": pl.Series(TABLE["size"], dtype=pl.Enum(SIZES))})


FRAMES = {"pandas": pandas_frame(), "polars": polars_frame()}
CODES = np.column_stack([
    TABLE["change"], TABLE["income"], TABLE["visits"], TABLE["smokes"],
    np.searchsorted(list("CQS"), TABLE["port"]), TABLE["size"] == "large",
]).astype(float)  # fmt: skip


@pytest.fixture(params=FRAMES)
def frame(request):
    return FRAMES[request.param]


def auto(n_components=2):
    return ef.ExponentialFamilyMixture("auto", n_components, random_state=0, tol=1e-10)


# ---- a family for each column ---------------------------------------------------------------------------------------


def test_columns_get_families_by_what_they_hold(frame):
    product = families.Product.infer(frame)
    assert repr(product) == INFERRED
    again = eval(INFERRED, vars(families))
    assert repr(again) == INFERRED
    assert again.names == product.names == tuple(TABLE)


@pytest.mark.parametrize(
    ("values", "family"),
    [
        ([0, 1, 1, 0], "Bernoulli()"),
        ([0.0, 1.0, np.nan], "Bernoulli()"),
        ([True, False, None], "Bernoulli()"),
        ([0, 3, 5], "Poisson()"),
        ([1, 3, np.nan], "Poisson()"),
        ([1990, 2003, 2020], "LogNormal('diag')"),
        ([0.5, 2.0, 1.5], "LogNormal('diag')"),
        ([0.0, 2.0, 1.5], "Gaussian('diag')"),
        ([0.0, 2.0, 0.0, 1.5], "ZeroInflated(LogNormal('diag'))"),
        ([0.0, 2.0, 0.0, 1.5, -1.0], "Gaussian('diag')"),
        ([0.0, 2.0, np.nan, 0.0, *np.arange(1.5, 40.0)], "Gaussian('diag')"),
        ([-1, 0, 4], "Gaussian('diag')"),
        (["a", "b", None], "Categorical()"),
    ],
)
def test_the_rule_of_each_kind_of_value(values, family):
    for frame in (pd.DataFrame({"x": values}), pl.DataFrame({"x": values}, strict=False)):
        if isinstance(values[0], (str, bool)) and isinstance(frame, pl.DataFrame):
            frame = pl.DataFrame({"x": values})
        assert repr(families.Product.infer(frame)) == f"Product([({family}, ['x'])])"
    if not isinstance(values[0], (str, bool)):
        assert repr(families.Product.infer(np.array(values)[:, None])) == f"Product([({family}, [0])])"


def test_the_choice_can_be_changed(frame):
    normal = families.Gaussian("full")
    found = families.Product.infer(frame, {"change": normal, "income": normal, "visits": "gamma_poisson", "port": None})
    assert repr(found) == (
        "Product([(Gaussian('full'), ['change', 'income']), (GammaPoisson(), ['visits']), (Bernoulli(), ['smokes']), "
        "(Categorical(), ['size'])])"
    )
    both = families.Product.infer(frame, {"income": "gaussian", "port": None, "size": None})
    assert both.families[0].covariance_type == "diag"  # by name, columns are independent of one another
    assert both.columns_of[0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("frame", "given", "words"),
    [
        (pd.DataFrame({"a": [1.0, 2.0]}), {"b": None}, "a family is given for 'b'"),
        (pd.DataFrame({"age": [1.0, 2.0]}), {"agee": None}, "did you mean 'age'?"),
        (pd.DataFrame({"a": [1.0, 2.0]}), {"a": None}, "no column is left"),
        (pd.DataFrame({"a": [1.0, 2.0]}), {"a": "gausian"}, "did you mean 'gaussian'?"),
        (pd.DataFrame({"a": [2.5, 2.5]}), {}, "column 'a' has 2.5 in every row"),
        (pd.DataFrame({"a": [np.nan, np.nan]}), {}, "column 'a' has no value"),
        (pd.DataFrame({"a": ["x", "x"]}), {}, "column 'a' has one label"),
        (pd.DataFrame({"a": ["x", "x"], "b": [1, 1]}), {}, "leave them out, Product.infer(X, {'a': None, 'b': None})"),
        (pd.DataFrame({"a": [f"row {i}" for i in range(50)]}), {}, "50 different labels in 50 rows, which name rows"),
        (pd.DataFrame({"a": pd.to_datetime(["2020-01-01", "2020-01-02"])}), {}, "column 'a' holds dates"),
        (pd.DataFrame({"a": [1, "x"]}), {}, "column 'a' holds values of several kinds, int and str"),
        (np.array(["a", "b"]), {}, "give a frame"),
        (pd.DataFrame(), {}, "X has no column"),
        (pl.DataFrame(), {}, "X has no column"),
        (pandas_frame().iloc[:0], {}, "X has no row (its columns are change, income"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_tells_no_family_is_said(frame, given, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        families.Product.infer(frame, given)


def test_amounts_of_which_many_are_0_are_fitted_as_such():
    rain = np.where(FIRST, 0.0, TABLE["income"])
    model = auto(n_components=1).fit(pd.DataFrame({"rain": rain, "change": TABLE["change"]}))
    assert model.parameters_["zeroinflated_zero_shares"].ravel() == pytest.approx([np.mean(FIRST)], rel=1e-9)
    logs = np.log(rain[~FIRST])
    assert model.parameters_["zeroinflated_log_means"].ravel() == pytest.approx([logs.mean()], rel=1e-9)


# ---- fits -----------------------------------------------------------------------------------------------------------


def test_a_frame_is_fitted_as_the_array_of_its_codes(frame):
    model = auto().fit(frame)
    assert repr(model.family_) == INFERRED
    assert model.levels_ == {"port": ("C", "Q", "S"), "size": ("small", "large")}
    assert model.feature_names_in_.tolist() == list(TABLE)
    plain = families.Product(
        [(family, at) for family, at in zip(model.family_.families, model.family_.columns_of, strict=True)]
    )
    other = ef.ExponentialFamilyMixture(plain, 2, random_state=0, tol=1e-10).fit(CODES)
    assert np.array_equal(model.predict_proba(frame), other.predict_proba(CODES))
    assert np.array_equal(model.score_samples(frame), other.score_samples(CODES))
    assert (model.predict(frame) == model.predict(frame)[0]).sum() in (40, 80)
    for criterion in ("aic", "bic", "icl"):
        assert getattr(model, criterion)(frame) == getattr(other, criterion)(CODES)


def test_labels_keep_their_codes_in_other_frames_and_in_files(frame, tmp_path):
    model = auto().fit(frame)
    model.save(tmp_path / "model.efm")
    loaded = ef.load(tmp_path / "model.efm")
    assert loaded.levels_ == model.levels_
    assert repr(loaded.family_) == INFERRED
    assert np.array_equal(loaded.parameters_["categorical_levels"], model.parameters_["categorical_levels"])
    some = frame[50:53]  # not every label occurs here
    for one in (loaded, pickle.loads(pickle.dumps(model))):
        assert np.array_equal(one.predict_proba(some), model.predict_proba(frame)[50:53])
    assert np.array_equal(model.predict_proba(FRAMES["pandas"]), model.predict_proba(FRAMES["polars"]))


def test_labels_that_are_missing_are_missing_values():
    frame = pandas_frame()
    frame.loc[3, "port"] = None
    frame.loc[4, "change"] = np.nan
    model, gaps = auto().fit(frame), CODES.copy()
    gaps[3, 4] = gaps[4, 0] = np.nan
    assert np.array_equal(model.predict_proba(frame), model.predict_proba(pl.from_dict({
        name: [None if value != value else value for value in frame[name].tolist()] for name in frame
    })))  # fmt: skip
    other = ef.ExponentialFamilyMixture(model.family_, 2, random_state=0, tol=1e-10).fit(gaps)
    assert np.array_equal(other.weights_, model.weights_)
    with pytest.raises(ValueError, match="column 'port' has missing labels, which have no mean"):
        model.impute(frame)
    filled = model.impute(frame, "draw")
    assert filled["port"].isin(list("CQS")).all()
    assert not filled["change"].isna().any()
    untouched = frame["port"].notna()
    assert filled["port"][untouched].tolist() == frame["port"][untouched].tolist()


def test_a_label_that_no_row_of_the_fit_has(frame):
    names = ["port", "visits"]
    strict = ef.ExponentialFamilyMixture(families.Product([("categorical", ["port"]), ("poisson", ["visits"])]), 2)
    strict.set_params(random_state=0).fit(frame)
    other = {"port": ["S", "X"], "visits": [1, 1]}
    other = type(frame)(other)
    with pytest.raises(ValueError, match=r"column 'port' holds 'X' \(row 1\).*its levels are 'C', 'Q', 'S'"):
        strict.predict(other)
    product = families.Product([(families.Categorical(unseen="zero"), ["port"]), (families.Poisson(), ["visits"])])
    lenient = ef.ExponentialFamilyMixture(product, 2, random_state=0).fit(frame[names])
    found = lenient.score_samples(other)
    assert np.isneginf(found).tolist() == [False, True]
    assert found[0] == strict.score_samples(other[:1])[0]


def test_columns_are_taken_by_name_in_any_order(frame):
    model = ef.ExponentialFamilyMixture(families.Product([("poisson", ["visits"]), ("bernoulli", ["smokes"])]), 2)
    model.set_params(random_state=0).fit(frame)
    assert model.feature_names_in_.tolist() == ["visits", "smokes"]
    turned = frame[["smokes", "size", "visits"]]
    assert np.array_equal(model.predict_proba(turned), model.predict_proba(frame))
    assert np.array_equal(model.fit(CODES[:, 2:4]).predict(CODES[:, 2:4]), model.predict(CODES[:, 2:4]))
    with pytest.raises(ValueError, match=r"no column is named 'smokes'; the columns of X are visits, size"):
        model.fit(frame[["visits", "size"]])


def test_errors_name_columns(frame):
    model = auto().fit(frame)
    bad = pandas_frame().assign(visits=np.where(np.arange(N) == 7, -1, TABLE["visits"]))
    with pytest.raises(ValueError, match=r"column 'visits' holds -1\.0 \(row 7\)"):
        model.predict(bad)
    with pytest.raises(ValueError, match=r"column 'visits' holds -1\.0 \(row 7\)"):
        ef.ExponentialFamilyMixture("poisson", 2).fit(bad[["visits", "smokes"]].astype(int))
    with pytest.raises(ValueError, match="column 'income' holds labels, such as 'much', where numbers are expected"):
        model.predict(pandas_frame().assign(income="much"))
    for estimator in (ef.GaussianMixture(2), ef.KMeans(2), ef.ExponentialFamilyMixture("poisson", 2)):
        with pytest.raises(ValueError, match="column 'port' holds labels, such as 'S'"):
            estimator.fit(frame)
        assert not hasattr(estimator, "levels_")
    some = pandas_frame().assign(size=pd.Categorical(np.resize(["small", "large"], N), [*SIZES, "huge"]))
    fitted = auto().fit(some)
    other = pandas_frame().assign(size=pd.Categorical(np.resize(["small", "huge"], N), [*SIZES, "huge"]))
    with pytest.raises(ValueError, match=r"column 'size' holds 'huge', coded as 2 \(row 1\)"):
        fitted.predict(other)


def test_a_fit_that_fails_leaves_the_model_as_it_was(frame):
    model = auto().fit(frame)
    before = model.predict_proba(frame)
    with pytest.raises(ValueError, match="in every row"):
        model.fit(pandas_frame().assign(income=1.0))
    assert np.array_equal(model.predict_proba(frame), before)


def test_the_family_follows_the_rows_of_each_fit():
    model = auto(n_components=1).fit(CODES[:, 2:4])
    assert repr(model.family_) == "Product([(Poisson(), [0]), (Bernoulli(), [1])])"
    assert repr(model.fit(CODES[:, :1]).family_) == "Product([(Gaussian('diag'), [0])])"
    assert not hasattr(clone(model), "family_")
    with pytest.raises(ValueError, match="family is 'auto', which fit chooses by its rows"):
        clone(model).mixture_ = model.mixture_
    twice = pandas_frame()[["port", "size"]].set_axis(["port", "port"], axis=1)
    with pytest.raises(ValueError, match="several columns are named 'port'"):
        model.fit(twice)
    with pytest.raises(ValueError, match=r"column 0 holds labels, and the columns are not called by text"):
        model.fit(pandas_frame()[["port", "size"]].set_axis([0, 1], axis=1))
    with pytest.raises(ValueError, match="X is sparse: give a family"):
        model.fit(sparse.csr_matrix(CODES))
    found = ef.likelihood_ratio_test(auto(n_components=1), CODES[:, 2:4], n_replicates=3, random_state=0)
    assert repr(found.null.family_) == "Product([(Poisson(), [0]), (Bernoulli(), [1])])"


# ---- answers by name ------------------------------------------------------------------------------------------------


def test_the_tidy_table_has_every_number_by_name(frame):
    model = auto().fit(frame)
    table = pd.DataFrame(model.to_frame(frame))
    assert list(table) == ["parameter", "component", "column", "level", "estimate", "standard_error", "lower", "upper"]
    rates = table[table["parameter"] == "poisson_rates"]
    assert rates["column"].unique().tolist() == ["visits"]
    assert rates["estimate"].tolist() == model.parameters_["poisson_rates"].ravel().tolist()
    shares = table[(table["parameter"] == "categorical_probabilities") & (table["component"] == 1)]
    assert (shares["column"] + shares["level"]).tolist() == ["portC", "portQ", "portS", "sizesmall", "sizelarge"]
    port = model.parameters_["categorical_probabilities"][1, 0]
    assert shares["estimate"].tolist()[:3] == port.tolist()
    errors = ef.standard_errors(model, frame)
    assert rates["standard_error"].tolist() == errors["poisson_rates"].ravel().tolist()
    assert rates["upper"].tolist() == errors.intervals()["poisson_rates"][1].ravel().tolist()
    printed = str(model.summary(frame))
    for words in ("poisson_rates[0, visits]", "categorical_probabilities[1, size: small]"):
        assert f"\n{words} " in printed
    levels = model.parameters_["categorical_levels"][0]
    assert levels.tolist() == [["C", "Q", "S"], ["small", "large", ""]]
    again = ef.Mixture.of(model.mixture_.family, model.weights_, **model.parameters_)
    assert np.allclose(again.natural, model.mixture_.natural, atol=1e-9)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_number_of_every_family_has_a_row(case):
    K = len(case.components)
    model = ef.ExponentialFamilyMixture(case.family, K)
    model.mixture_ = ef.Mixture(case.family, np.full(K, 1 / K), case.naturals(case.components))
    table = pd.DataFrame(model.to_frame())
    for k in range(K):
        for name, value in model.mixture_.components([k]).parameters.items():
            if name in ("covariances", "scales") and value.ndim > 1 and value.shape[-1] == value.shape[-2] > 1:
                value = value[..., *np.tril_indices(value.shape[-1])]  # symmetric: numbers are listed once
            rows = table[(table["parameter"] == name) & (table["component"] == k)]
            if name == "levels":
                assert not len(rows)
            elif name == "probabilities" and value.ndim == 3:  # those behind the last level of a column are 0
                assert rows["estimate"].sum() == pytest.approx(value.sum(), rel=1e-12)
                assert rows["level"].tolist() == [""] * len(rows) or rows["level"].str.isdigit().all()
            else:
                assert rows["estimate"].tolist() == pytest.approx(np.ravel(value).tolist(), rel=1e-9)
    assert table["estimate"].notna().all()


@pytest.mark.parametrize(("covariance_type", "n_rows"), [("full", 2 + 4 + 6), ("tied", 2 + 4 + 6), ("diag", 2 + 4 + 4)])
def test_what_components_share_is_said_of_each(covariance_type, n_rows):
    model = ef.GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(CODES[:, :2])
    table = pd.DataFrame(model.to_frame())
    assert len(table) == n_rows
    assert sorted(table["component"].unique()) == [0, 1]
    of_one = table[(table["parameter"] == "covariances") & (table["component"] == 1)]["estimate"].to_numpy()
    expected = model.covariances_ if covariance_type == "tied" else model.covariances_[1]
    assert np.array_equal(of_one, expected if covariance_type == "diag" else expected[np.tril_indices(2)])


def test_the_noise_is_component_minus_one():
    model = ef.GaussianMixture(2, noise="uniform", random_state=0).fit(CODES[:, :2])
    table = pd.DataFrame(model.to_frame())
    assert table[table["component"] == -1]["parameter"].tolist() == ["weights", *["noise_low"] * 2, *["noise_high"] * 2]
    assert table[table["parameter"] == "weights"]["estimate"].tolist() == model.weights_.tolist()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_answers_are_frames_of_the_library_that_is_asked_for(frame, library):
    model = auto().fit(frame).set_output(transform=library)
    kind = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[library]
    found = model.transform(frame)
    assert isinstance(found, kind)
    assert list(found.columns) == model.get_feature_names_out().tolist()
    assert list(found.columns) == ["exponentialfamilymixture0", "exponentialfamilymixture1"]
    assert np.array_equal(found.to_numpy(), model.predict_proba(frame))
    rows, labels = model.sample(20)
    assert isinstance(rows, kind)
    assert list(rows.columns) == list(TABLE)
    assert set(rows["port"].to_list()) <= set("CQS")
    assert np.isfinite(model.score_samples(rows)).all()
    assert isinstance(model.to_frame(), kind)
    assert len(labels) == 20


def test_a_mixture_is_a_step_of_a_pipeline():
    names = ["change", "income"]
    pipeline = make_pipeline(StandardScaler(), ef.GaussianMixture(2, random_state=0)).set_output(transform="pandas")
    found = pipeline.fit_transform(FRAMES["pandas"][names])
    assert list(found) == ["gaussianmixture0", "gaussianmixture1"]
    assert np.allclose(found.sum(axis=1), 1)


def test_plots_and_merging_take_a_fitted_model(frame):
    model = ef.GaussianMixture(3, random_state=0).fit(frame[["change", "income"]])
    ax = plot_clusters(model, frame[["change", "income"]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("change", "income")
    assert plot_clusters(ef.KMeans(2, random_state=0).fit(CODES[:, :2]), CODES[:, :2]).get_xlabel() == "column 0"
    plt.close("all")
    merged = ef.merge_components(model, frame[["change", "income"]])
    assert np.array_equal(merged.pairs, ef.merge_components(model.mixture_, CODES[:, :2]).pairs)
    binary = ef.BernoulliMixture(2, binarize=2.0, random_state=0).fit(CODES[:, :3])
    found = ef.merge_components(binary, CODES[:, :3])
    assert found.entropies[0] == ef.merge_components(binary.mixture_, CODES[:, :3] > 2.0).entropies[0]
    with pytest.raises(TypeError, match="mixture is of type ndarray"):
        ef.merge_components(CODES, CODES)


# ---- families by name -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling", ["GammaPoisson", "gamma-poisson", "gamma_poisson", "gammapoisson", "Gamma Poisson"]
)
def test_a_family_by_any_spelling_of_its_name(spelling):
    X = CODES[:, 2:3]
    found = ef.ExponentialFamilyMixture(spelling, 1, random_state=0).fit(X)
    other = ef.ExponentialFamilyMixture(families.GammaPoisson(), 1, random_state=0).fit(X)
    assert found.score(X) == other.score(X)
    assert found.get_params()["family"] == spelling


def test_names_that_are_no_family():
    X = CODES[:, 2:3]
    for name, words in (("poison", "did you mean 'poisson'?"), ("binomial", "needs n: give families.Binomial(n=…)")):
        with pytest.raises(ValueError, match=re.escape(words)):
            ef.ExponentialFamilyMixture(name, 2).fit(X)
        with pytest.raises(ValueError, match=re.escape(words)):
            ef.Mixture.of(name, [1.0])
    found = ef.select(X, ["poisson", "geometric", "VVV"], [1], random_state=0)
    assert found.models == ("poisson", "geometric", "VVV")
    for made, same in (
        (families.ZeroInflated("poisson"), families.ZeroInflated(families.Poisson())),
        (families.Truncated("gaussian", low=0), families.Truncated(families.Gaussian(), low=0)),
        (families.Exposed("poisson"), families.Exposed(families.Poisson())),
    ):
        assert repr(made) == repr(same)
    one = families.Componentwise([("poisson", 1), (families.Geometric(), 1)])
    assert repr(one) == "Componentwise([(Poisson(), 1), (Geometric(), 1)])"


TAKES_A_FAMILY = {
    "fit": lambda family: ef.ExponentialFamilyMixture(family, 2).fit(CODES),
    "partial_fit": lambda family: ef.ExponentialFamilyMixture(family, 2).partial_fit(CODES),
    "select": lambda family: ef.select(CODES, [family]),
    "select one": lambda family: ef.select(CODES, family),
    "Product": lambda family: families.Product([(family, [0])]),
    "infer": lambda family: families.Product.infer(CODES, {0: family}),
    "Componentwise": lambda family: families.Componentwise([(family, 2)]),
    "ZeroInflated": families.ZeroInflated,
    "Truncated": lambda family: families.Truncated(family, low=0),
    "Exposed": families.Exposed,
    "Mixture": lambda family: ef.Mixture(family, [1.0], [[0.0, 0.0]]),
    "Mixture.of": lambda family: ef.Mixture.of(family, [1.0], rates=1.0),
    "constrain": lambda family: ef.constrain(family, tied=["rates"]),
    "check_family": lambda family: ef.check_family(family, CODES),
    "estimated_cost": lambda family: ef.estimated_cost(family, 10, 2, 2),
}


@pytest.mark.parametrize("take", TAKES_A_FAMILY.values(), ids=TAKES_A_FAMILY)
def test_a_class_is_no_family_wherever_one_is_taken(take):
    for kind, call in ((families.Gamma, "Gamma()"), (families.Binomial, "Binomial(n=…)")):
        with pytest.raises(TypeError, match=re.escape(f"is the class {kind.__name__}: give an instance of it, {call}")):
            take(kind)
    with pytest.raises(TypeError, match="is 5; it must be an ExponentialFamily"):
        take(5)
    with pytest.raises(ValueError, match="did you mean 'poisson'"):
        take("poison")


FITTED = [
    lambda: ef.ExponentialFamilyMixture("gaussian", 2), lambda: ef.GaussianMixture(2), lambda: ef.BernoulliMixture(2),
    lambda: ef.KMeans(2), lambda: ef.MiniBatchKMeans(2),
]  # fmt: skip


@pytest.mark.parametrize("make", FITTED, ids=lambda make: type(make()).__name__)
def test_frames_that_are_no_tables_of_named_columns(make, frame):
    numbers = frame[["smokes", "visits"]]
    for bad, words in (
        (type(frame)(), "X has no column"), (numbers[:0], "X has no row (its columns are smokes, visits)"),
        (pd.DataFrame(CODES[:, 2:4], columns=["a", "a"]), "several columns are named 'a'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(words)):
            make().fit(bad)


def test_what_needs_rows_says_so():
    model = ef.GaussianMixture(1).fit(CODES[:, :2])
    for method in (model.summary, model.plot):
        with pytest.raises(TypeError, match=f"{method.__name__} needs X, .* a model keeps none"):
            method()


def test_a_constraint_takes_the_name_of_a_family():
    assert repr(ef.constrain("poisson", tied=["rates"])) == repr(ef.constrain(families.Poisson(), tied=["rates"]))


def test_models_of_a_frame_are_compared_by_the_families_of_its_columns(frame):
    found = ef.select(frame, "auto", [1, 2], random_state=0)
    assert found.models == ("auto",)
    assert repr(found.best_.family) == INFERRED
    assert found.best_.levels_["size"] == ("small", "large")
    assert found.best_.bic(frame) == pytest.approx(found.values().min(), rel=1e-12)


def test_completion_shows_public_names_only():
    for module in (ef, families):
        assert set(module.__all__) <= set(dir(module))
        assert [name for name in dir(module) if name not in module.__all__ and not name.startswith("__")] == []
