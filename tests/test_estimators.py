"""What a user types: every name of the contract, and the laws that fits obey."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import entr
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import expfam_em as ef
from expfam_em import families
from expfam_em.em.starts import initialise_all
from expfam_em.estep.plan import plan
from expfam_em.rows.memory import ArrayRows
from tests.own_families import Exponential, Rayleigh

RNG = np.random.default_rng(5)
WAVES = np.concatenate([RNG.rayleigh(1, (200, 2)), RNG.rayleigh(5, (300, 2))])
BINARY = (RNG.random((300, 6)) < RNG.choice([0.15, 0.85], (3, 6))[RNG.integers(0, 3, 300)]).astype(float)
COUNTS = RNG.poisson(RNG.choice([2.0, 9.0], (300, 1)), (300, 2)).astype(float)
NORMAL = RNG.normal(size=(300, 2)) * [1, 3] + RNG.choice([0.0, 6.0], (300, 1))
WEIGHT = RNG.uniform(0.2, 2.0, 300)
for _array in (WAVES, BINARY, COUNTS, NORMAL, WEIGHT):
    _array.flags.writeable = False

MODELS = {
    "gaussian": (lambda **p: ef.GaussianMixture(**{"n_components": 2} | p), NORMAL),
    "tied": (lambda **p: ef.GaussianMixture(**{"n_components": 2, "covariance_type": "tied"} | p), NORMAL),
    "bernoulli": (lambda **p: ef.BernoulliMixture(**{"n_components": 3} | p), BINARY),
    "poisson": (lambda **p: ef.ExponentialFamilyMixture(families.Poisson(), **{"n_components": 2} | p), COUNTS),
    "rayleigh": (lambda **p: ef.ExponentialFamilyMixture(Rayleigh(), **{"n_components": 2} | p), WAVES[:300]),
    "exponential": (lambda **p: ef.ExponentialFamilyMixture(Exponential(), **{"n_components": 2} | p), WAVES[:300, :1]),
}
NAMED = {
    "gaussian": {"means", "covariances"},
    "tied": {"means", "covariances"},
    "bernoulli": {"probabilities"},
    "poisson": {"rates"},
    "rayleigh": {"expectation"},
    "exponential": {"expectation"},
}
SAMPLED = {"gaussian", "tied", "bernoulli", "poisson", "exponential"}
"""The others have several columns, and no sample of their own."""

each_model = pytest.mark.parametrize("name", MODELS)
unfinished = pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")


def make(name, **parameters):
    return MODELS[name][0](**{"random_state": 0} | parameters)


def rows_of(name):
    return MODELS[name][1]


def start_of(name):
    """What the parameter is called that names the kind of start."""
    return "init_params" if name in ("gaussian", "tied") else "init"


def fitted_state(model):
    """The numbers of a fit, as bytes, by name."""
    out = {name: value for name, value in vars(model).items() if name.endswith("_")}
    if "mixture_" in out:
        out["mixture_"] = (out["mixture_"].weights, out["mixture_"].natural)
    return {name: pickle.dumps(np.array(value) if isinstance(value, list) else value) for name, value in out.items()}


# ---- the contract --------------------------------------------------------------------------------------------------


@each_model
def test_every_name_of_the_contract(name, tmp_path):
    X, K = rows_of(name), make(name).n_components
    m = make(name).fit(X, sample_weight=WEIGHT)
    p = m.natural_parameters_.shape[1]
    assert m.weights_.shape == (K,)
    assert m.natural_parameters_.shape == m.expectation_parameters_.shape == (K, p)
    assert m.parameters_.keys() == NAMED[name]
    assert isinstance(m.mixture_, ef.Mixture)
    assert isinstance(m.lower_bound_, float)
    assert len(m.lower_bounds_) == m.n_iter_ >= 1
    assert m.lower_bounds_[-1] == m.lower_bound_
    assert m.converged_ is True
    assert m.n_features_in_ == X.shape[1]
    assert m.predict(X).shape == m.score_samples(X).shape == (len(X),)
    assert m.predict_proba(X).shape == (len(X), K)
    assert m.predict_proba(X).sum(axis=1) == pytest.approx(np.ones(len(X)), abs=1e-15 * K)
    assert np.array_equal(m.predict(X), m.predict_proba(X).argmax(axis=1))
    for score in (m.score(X), m.aic(X), m.bic(X), m.icl(X)):
        assert isinstance(score, float)
    assert m.score(X) == pytest.approx(m.score_samples(X).mean(), rel=1e-13)
    assert np.array_equal(make(name).fit_predict(X, sample_weight=WEIGHT), m.predict(X))


@each_model
def test_natural_and_expectation_parameters_are_those_of_the_family(name):
    m = make(name).fit(rows_of(name))
    family = m._make_family()
    assert family.to_expectation(m.natural_parameters_) == pytest.approx(m.expectation_parameters_, rel=1e-6, abs=1e-9)
    density = np.exp(family.log_density(rows_of(name), m.natural_parameters_)) @ m.weights_
    assert np.log(density) == pytest.approx(m.score_samples(rows_of(name)), rel=1e-9, abs=1e-9)


def test_a_family_of_ones_own_from_t_and_a():
    m = ef.ExponentialFamilyMixture(Rayleigh(), n_components=2, tol=1e-10, random_state=0)
    w = RNG.integers(1, 4, len(WAVES))
    m.fit(WAVES, sample_weight=w)
    order = np.argsort(m.expectation_parameters_[:, 0])
    # 500 rows: σ̂ has a relative standard error of 1/√(4·200) = 3.5 %, a weight one of √(.4·.6/500) = 2 %; four of them
    assert np.sqrt(m.expectation_parameters_[order] / 2) == pytest.approx(np.array([[1.0, 1], [5, 5]]), rel=0.16)
    assert m.weights_[order] == pytest.approx([0.4, 0.6], abs=0.1)
    repeated = ef.ExponentialFamilyMixture(Rayleigh(), 2, tol=1e-10, init=m.mixture_).fit(np.repeat(WAVES, w, axis=0))
    assert repeated.natural_parameters_ == pytest.approx(m.natural_parameters_, rel=1e-4)


def test_components_named_by_scikit_learn_and_by_us():
    g = ef.GaussianMixture(2, random_state=0).fit(NORMAL)
    assert np.array_equal(g.means_, g.parameters_["means"])
    assert np.array_equal(g.covariances_, g.parameters_["covariances"])
    assert g.precisions_ @ g.covariances_ == pytest.approx(np.repeat(np.eye(2)[None], 2, axis=0), abs=1e-12)
    b = ef.BernoulliMixture(3, random_state=0).fit(BINARY)
    assert b.probabilities_.shape == (3, 6)
    assert np.array_equal(b.probabilities_, b.parameters_["probabilities"])


# ---- what a fit obeys ----------------------------------------------------------------------------------------------


@each_model
def test_the_lower_bound_belongs_to_the_parameters_returned(name):
    X = rows_of(name)
    m = make(name).fit(X, sample_weight=WEIGHT)
    assert m.lower_bound_ == pytest.approx(m.score(X, sample_weight=WEIGHT), rel=1e-12)
    again = make(name, init=m.mixture_, max_iter=0).fit(X)
    assert again.lower_bound_ == pytest.approx(m.score(X), rel=1e-12)
    assert again.n_iter_ == 0
    assert again.lower_bounds_ == []


@unfinished
@each_model
@pytest.mark.parametrize("steps", [1, 7, 30])
def test_without_tolerance_a_fit_takes_all_its_steps_and_never_falls(name, steps):
    regular = {"reg_covar": 0} if name in ("gaussian", "tied") else {}
    m = make(name, tol=0, max_iter=steps, **regular).fit(rows_of(name), sample_weight=WEIGHT)
    assert m.n_iter_ == len(m.lower_bounds_) == steps
    assert not m.converged_
    assert np.all(np.diff(m.lower_bounds_) >= -1e-12 * np.abs(m.lower_bound_))


def test_an_unfinished_fit_says_so():
    with pytest.warns(ConvergenceWarning, match="did not converge") as caught:
        make("poisson", tol=0, max_iter=2).fit(COUNTS)
    assert caught[0].filename == __file__


@unfinished
@each_model
def test_the_best_of_several_starts_is_kept(name):
    args = {"tol": 0, "max_iter": 2, "acceleration": None, start_of(name): "random_from_data"}
    together = make(name, n_init=3, random_state=np.random.default_rng(4), **args).fit(rows_of(name))
    rows = ArrayRows(np.asarray(rows_of(name), np.float64))
    family = together._make_family().bind(rows)
    pass_, rng = plan(family, rows, together.n_components), np.random.default_rng(4)
    starts = initialise_all(pass_, np.zeros(3, int), together.n_components, "random_from_data", rng)
    alone = [ef.fit(starts.mixture[run], rows, tol=0, max_iter=2).bound / len(rows) for run in range(3)]
    assert len(set(alone)) == 3
    assert together.lower_bound_ == pytest.approx(max(alone), rel=1e-13)


@unfinished
@each_model
def test_warm_starts_continue(name):
    X = rows_of(name)
    whole = make(name, tol=0, max_iter=12, acceleration=None).fit(X)
    warm = make(name, tol=0, max_iter=5, acceleration=None, warm_start=True).fit(X)
    warm.set_params(max_iter=7).fit(X)
    assert warm.lower_bound_ == pytest.approx(whole.lower_bound_, rel=1e-12)
    assert warm.weights_ == pytest.approx(whole.weights_, rel=1e-9)
    assert warm.n_iter_ == 7
    other = warm.set_params(n_components=4)
    with pytest.raises(ValueError, match="n_components is 4"):
        other.fit(X)


@unfinished
@each_model
def test_a_random_state_gives_one_result_on_any_number_of_threads(name, many_chunks):
    X = np.repeat(rows_of(name), 10, axis=0)
    args = {"max_iter": 5, "tol": 0, "n_init": 2, start_of(name): "random_from_data"}
    states = [fitted_state(make(name, n_jobs=jobs, **args).fit(X)) for jobs in (1, 2, 4, None, 1)]
    assert all(state == states[0] for state in states)
    other = fitted_state(make(name, random_state=1, **args).fit(X))
    assert other["lower_bounds_"] != states[0]["lower_bounds_"]
    m1, m4 = (make(name, n_jobs=jobs, max_iter=5).fit(X) for jobs in (1, 4))
    assert np.array_equal(m1.predict_proba(X), m4.predict_proba(X))
    assert np.array_equal(m1.score_samples(X), m4.score_samples(X))


@each_model
def test_every_kind_of_random_state(name):
    X = rows_of(name)
    by_seed = make(name, random_state=7).fit(X)
    for state in (np.random.RandomState(7), 7):
        assert make(name, random_state=state).fit(X).lower_bound_ == by_seed.lower_bound_
    one, two = (make(name, random_state=np.random.default_rng(7)).fit(X) for _ in range(2))
    assert one.lower_bound_ == two.lower_bound_


@each_model
def test_the_random_state_of_the_caller_is_left_alone(name):
    def caller():
        return pickle.dumps(np.random.get_state())  # noqa: NPY002 - the global state is the question

    before = caller()
    for state in (None, 3):
        m = make(name, random_state=state, n_init=2).fit(rows_of(name))
        if name in SAMPLED:
            m.sample(5)
        ef.KMeans(3, random_state=state).fit(NORMAL)
    assert caller() == before


@each_model
def test_starts_from_what_the_user_gives(name):
    X, K = rows_of(name), make(name).n_components
    fit = make(name).fit(X)
    r, labels = fit.predict_proba(X), fit.predict(X)
    for init in (fit.mixture_, r, r.tolist(), labels, labels.tolist(), pd.Series(labels)):
        again = make(name, init=init).fit(X)
        assert again.score(X) >= fit.score(X) - 0.05
    assert len(again.weights_) == K


def test_the_lower_index_wins_a_tie():
    family = families.Bernoulli()
    same = ef.Mixture(family, np.full(3, 1 / 3), np.zeros((3, 6)))
    m = ef.BernoulliMixture(3, init=same, max_iter=0).fit(BINARY)
    assert not m.predict(BINARY).any()
    assert m.predict_proba(BINARY) == pytest.approx(np.full((300, 3), 1 / 3), rel=1e-15)


@unfinished
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_a_component_without_observations_stays_where_it_is(kind):
    one_has_all = np.repeat([[1.0, 0.0]], len(NORMAL), axis=0)
    fits = [
        ef.GaussianMixture(2, covariance_type=kind, init=one_has_all, tol=0, max_iter=n, reg_covar=0.1).fit(NORMAL)
        for n in (1, 50)
    ]
    assert fits[0].weights_.tolist() == fits[1].weights_.tolist() == [1, 0]
    assert fits[0].means_ == pytest.approx(fits[1].means_, rel=1e-12)
    assert fits[0].covariances_ == pytest.approx(fits[1].covariances_, rel=1e-12)


# ---- criteria and samples ------------------------------------------------------------------------------------------


@each_model
def test_criteria(name):
    X, K = rows_of(name), make(name).n_components
    m = make(name).fit(X)
    free = {"gaussian": K * 5, "tied": K * 2 + 3, "bernoulli": K * 6, "poisson": K * 2, "rayleigh": K * 2}.get(name, K)
    free += K - 1
    deviance = -2 * m.score_samples(X).sum()
    assert m.aic(X) == pytest.approx(deviance + 2 * free, rel=1e-12)
    assert m.bic(X) == pytest.approx(deviance + free * np.log(len(X)), rel=1e-12)
    assert m.icl(X) == pytest.approx(m.bic(X) + 2 * entr(m.predict_proba(X)).sum(), rel=1e-12)
    times = RNG.integers(0, 3, len(X))
    repeated = np.repeat(X, times, axis=0)
    for criterion in ("aic", "bic", "icl", "score"):
        weighted = getattr(m, criterion)(X, sample_weight=times)
        assert weighted == pytest.approx(getattr(m, criterion)(repeated), rel=1e-12), criterion


@each_model
def test_samples(name):
    m = make(name).fit(rows_of(name))
    if name not in SAMPLED:
        with pytest.raises(NotImplementedError, match="define sample"):
            m.sample(3)
        return
    X, y = m.sample(500)
    assert X.shape == (500, m.n_features_in_)
    assert y.shape == (500,)
    assert np.issubdtype(y.dtype, np.integer)
    assert set(y) <= set(range(m.n_components))
    assert m.sample()[0].shape == (1, m.n_features_in_)
    assert np.isfinite(m.score(X))
    assert np.array_equal(m.sample(20)[0], m.sample(20)[0])  # random_state is a number
    # labels are those the rows were drawn with: rows of a component have its mean, within 5 standard errors
    T = m.mixture_.family.sufficient_statistics(X)
    for k in range(m.n_components):
        part = T[y == k]
        error = 5 * part.std(axis=0) / np.sqrt(len(part))
        assert np.all(np.abs(part.mean(axis=0) - m.mixture_.expectation[k]) <= error + 1e-12)


# ---- a guest among scikit-learn's ----------------------------------------------------------------------------------


@each_model
def test_clone_parameters_and_pickle(name):
    X = rows_of(name)
    model = make(name, tol=1e-4, n_init=2)
    assert model.get_params()["n_init"] == 2
    copied = clone(model)
    assert copied.get_params(deep=False).keys() == model.get_params(deep=False).keys()
    assert not hasattr(copied.fit(X), "nonsense_")
    assert model.set_params(n_components=1) is model
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(nonsense=1)
    back = pickle.loads(pickle.dumps(copied))
    assert np.array_equal(back.score_samples(X), copied.score_samples(X))
    assert type(copied).__name__ in repr(copied)


def test_named_columns_are_remembered_and_checked():
    frame = pd.DataFrame(NORMAL, columns=["here", "there"])
    for model in (ef.GaussianMixture(2, random_state=0), ef.KMeans(2, random_state=0)):
        model.fit(frame, sample_weight=pd.Series(WEIGHT))
        assert model.feature_names_in_.tolist() == ["here", "there"]
        plain = clone(model).fit(NORMAL, sample_weight=WEIGHT)
        assert np.array_equal(model.predict(frame), plain.predict(NORMAL))
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(frame[["there", "here"]])


def test_pipelines_and_searches():
    pipe = make_pipeline(StandardScaler(), ef.GaussianMixture(2, random_state=0)).fit(NORMAL)
    assert pipe.predict(NORMAL).shape == (300,)
    search = GridSearchCV(ef.GaussianMixture(random_state=0), {"n_components": [1, 2]}, cv=3).fit(NORMAL)
    assert search.best_params_ == {"n_components": 2}
    search = GridSearchCV(ef.KMeans(random_state=0), {"n_clusters": [1, 2]}, cv=3).fit(NORMAL)
    assert search.best_params_ == {"n_clusters": 2}
    assert make_pipeline(ef.KMeans(2, random_state=0), StandardScaler()).fit_transform(NORMAL).shape == (300, 2)


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "list": lambda X: X.tolist(),
    "big-endian": lambda X: X.astype(">f8"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@each_model
def test_the_layout_of_the_rows_does_not_matter(name, layout):
    X = rows_of(name)
    plain, other = make(name, max_iter=500).fit(X), make(name, max_iter=500).fit(LAYOUTS[layout](X))
    assert other.lower_bound_ == pytest.approx(plain.lower_bound_, rel=1e-12)
    assert np.array_equal(other.predict(LAYOUTS[layout](X)), plain.predict(X))
    assert plain.score_samples(LAYOUTS[layout](X)) == pytest.approx(plain.score_samples(X), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64, np.int8, bool])
def test_binary_rows_of_any_type(dtype):
    plain = make("bernoulli").fit(BINARY)
    X = BINARY.astype(dtype)
    other = make("bernoulli").fit(X)
    assert np.array_equal(other.predict(X), plain.predict(BINARY))
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    assert other.probabilities_ == pytest.approx(plain.probabilities_, rel=tolerance)
    assert np.array_equal(plain.predict(X), plain.predict(BINARY))
    assert plain.score_samples(X).dtype == (np.float32 if dtype == np.float32 else np.float64)


def test_verbose_fits_tell_their_progress(capsys):
    make("poisson", verbose=1, verbose_interval=2).fit(COUNTS)
    assert "start 0, iteration 2: mean bound" in capsys.readouterr().out
    make("poisson").fit(COUNTS)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_attributes_of_float32_rows_hold_numbers_beyond_float32(kind, scale):
    rows = (scale * np.concatenate([NORMAL, NORMAL + 9])).astype(np.float32)
    found, expected = (
        ef.GaussianMixture(2, covariance_type=kind, reg_covar=0, random_state=0).fit(each)
        for each in (rows, rows.astype(np.float64))
    )
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        # float32 keeps seven digits
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-5, abs=0)
    assert found.means_.dtype == np.float32
    assert (found.covariances_.dtype == np.float32) == (scale == 1)


# ---- row weights in criteria -----------------------------------------------------------------------------------------


def test_effective_sample_size():
    w = np.random.default_rng(0).exponential(size=50)
    expected = 1 / np.sum((w / w.sum()) ** 2)
    for unit in (1.0, 1e-200, 1e200):
        assert ef.effective_sample_size(unit * w) == pytest.approx(expected, rel=1e-14)
    assert ef.effective_sample_size(np.append(w, 0.0)) == ef.effective_sample_size(w)
    assert ef.effective_sample_size([3] * 7) == 7
    for wrong in ([0.0, 0.0], [], [1.0, -1.0], [np.nan], [[1.0]], [np.inf, 1.0]):
        with pytest.raises(ValueError, match="it must be one finite number"):
            ef.effective_sample_size(wrong)


@pytest.mark.parametrize("name", ["aic", "bic", "icl"])
@pytest.mark.parametrize("shape", ["equal", "uneven", "one of 1"])
def test_criteria_warn_once_of_weights_that_count_no_rows(name, shape):
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.normal(-4, 1, (150, 1)), rng.normal(4, 1, (150, 1))])
    weight = {"equal": np.ones(300), "uneven": rng.exponential(size=300) ** 3, "one of 1": np.full(300, 0.1)}[shape]
    weight = weight if shape == "one of 1" else weight / weight.sum()
    weight[0] = 1.0 if shape == "one of 1" else weight[0]
    fits = [ef.GaussianMixture(K, random_state=0).fit(X, sample_weight=weight) for K in (1, 2, 5)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = getattr(fits[0], name)(X, sample_weight=weight)
    assert [each.category for each in caught] == [UndefinedMetricWarning]
    assert caught[0].filename == __file__
    assert np.isfinite(value)
    # what the message offers is silent, and chooses as it should
    size = ef.effective_sample_size(weight)
    offered = weight * size / weight.sum()
    values = [getattr(fit, name)(X, sample_weight=offered) for fit in fits]
    m, score = fits[1].mixture_.n_parameters, fits[1].score(X, sample_weight=weight)
    penalty = {"aic": 2 * m, "bic": m * np.log(size)}
    if name in penalty:
        assert values[1] == pytest.approx(-2 * size * score + penalty[name], rel=1e-12)
    if shape == "equal":
        assert values[1] == min(values)


@pytest.mark.parametrize(
    "weight", [np.array([1, 0, 2, 3]), np.full(4, 1.0), np.array([0.5, 1.5, 0.2, 2.0]), np.full(4, 1 - 1e-9)]
)
def test_criteria_do_not_warn_of_frequencies(weight):
    X = np.array([[0.0], [1.0], [2.0], [4.0]])
    model = ef.GaussianMixture(1).fit(X, sample_weight=weight)
    assert np.isfinite([model.aic(X, weight), model.bic(X, weight), model.icl(X, weight)]).all()


# ---- what each start has reached -------------------------------------------------------------------------------------


def test_every_start_leaves_its_bound():
    X = np.concatenate([np.random.default_rng(2).normal(c, 0.5, (30, 2)) for c in (0, 3, 7, 12)])
    model = ef.GaussianMixture(4, n_init=5, init="random_from_data", random_state=0).fit(X)
    assert model.start_bounds_.shape == (5,)
    assert model.start_bounds_.max() == model.lower_bound_
    with pytest.raises(ValueError, match="read-only"):
        model.start_bounds_[0] = 0
    with pytest.raises(AttributeError, match="follows from mixture_"):
        model.start_bounds_ = np.zeros(5)
    one = ef.GaussianMixture(4, random_state=0).fit(X)
    assert one.start_bounds_.tolist() == [one.lower_bound_]
    again = one.set_params(warm_start=True, n_init=3).fit(X)
    assert again.start_bounds_.tolist() == [again.lower_bound_]
    again.mixture_ = model.mixture_
    assert np.isnan(again.start_bounds_).tolist() == [True]


def test_a_start_that_fails_has_reached_nothing():
    # a row far away makes a component of its own, which collapses, in the starts that find it
    X = np.array([[0.0], [0.1], [0.2], [0.35], [0.5], [0.55], [9.0]])
    model = ef.GaussianMixture(2, n_init=40, init="random_from_data", reg_covar=0, random_state=0).fit(X)
    failed = np.isneginf(model.start_bounds_)
    assert 0 < failed.sum() < 40
    assert model.start_bounds_.max() == model.lower_bound_


def test_each_of_many_fits_has_the_bounds_of_its_starts():
    data = np.random.default_rng(3).normal(size=(3, 40, 2)) + 4 * (np.arange(40) % 3)[:, None]
    for one in ef.fit_many(ef.GaussianMixture(3, n_init=4, init="random_from_data", random_state=0), data):
        assert one.start_bounds_.shape == (4,)
        assert one.start_bounds_.max() == one.lower_bound_


OF_ANY_SCALE = (
    "Exponential", "Gamma", "InverseGamma", "InverseGaussian", "Rayleigh", "Maxwell", "HalfNormal", "LogNormal",
    "StudentT", "Laplace", "Gaussian", "KnownCovariance", "Uniform",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e20, 1e37])
@pytest.mark.parametrize("name", OF_ANY_SCALE)
def test_every_family_holds_what_it_finds_in_float32_rows(name, scale):
    rows = (scale * (0.1 + np.abs(np.concatenate([NORMAL, NORMAL + 9])))).astype(np.float32)
    found, expected = (
        ef.ExponentialFamilyMixture(getattr(families, name)(), 2, random_state=0, max_iter=3, tol=0).fit(X)
        for X in (rows, rows.astype(np.float64))
    )
    for key, value in expected.parameters_.items():
        # float32 keeps seven digits
        assert found.parameters_[key] == pytest.approx(value, rel=1e-6, abs=0 if np.ndim(value) < 3 else np.max(value))
    assert found.score(rows) == pytest.approx(expected.score(rows.astype(np.float64)), rel=1e-6)
    assert np.isfinite(found.score_samples(rows)).all()


def test_log_densities_beyond_float32_are_float64():
    model = ef.GaussianMixture(1).fit(NORMAL.astype(np.float32))
    far = np.full((1, NORMAL.shape[1]), 1e25, np.float32)
    assert np.isfinite(model.score_samples(far)).all()
    assert model.score_samples(far)[0] == pytest.approx(model.score(far), rel=1e-12)
    assert model.score_samples(far)[0] < np.finfo(np.float32).min
