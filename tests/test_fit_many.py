"""Many fits in lock step are the fits one by one."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

import expfam_em as ef
from expfam_em import families
from expfam_em.em import loop
from expfam_em.em.options import Options
from expfam_em.em.starts import initialise_all
from expfam_em.estep.plan import plan
from expfam_em.families import Product
from expfam_em.family.optional import shared
from expfam_em.rows.memory import ArrayRows
from tests.own_families import Rayleigh

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
SIZES = [60, 35, 200, 41, 90]


def normal_rows(n, d=2, offset=0.0):
    return np.concatenate([RNG.normal(-2, 1, (n // 2, d)), RNG.normal(3, 1, (n - n // 2, d))]) + offset


KINDS = {
    **{
        kind: (lambda kind=kind: ef.GaussianMixture(2, covariance_type=kind, tol=0, max_iter=15), normal_rows)
        for kind in ("full", "tied", "diag", "spherical")
    },
    "generic": (
        lambda: ef.ExponentialFamilyMixture(ef.families.Gaussian(), 2, tol=0, max_iter=15, acceleration=None),
        normal_rows,
    ),
    "bernoulli": (
        lambda: ef.BernoulliMixture(2, tol=0, max_iter=15, acceleration=None),
        lambda n: (RNG.random((n, 6)) < np.repeat([0.2, 0.8], [n // 2, n - n // 2])[:, None]).astype(float),
    ),
    "rayleigh": (
        lambda: ef.ExponentialFamilyMixture(Rayleigh(), 2, tol=0, max_iter=15, acceleration=None),
        lambda n: RNG.rayleigh(np.repeat([1.0, 6.0], [n // 2, n - n // 2])[:, None]),
    ),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind, **parameters):
    make, rows = KINDS[kind]
    return make().set_params(**parameters), [rows(n) for n in SIZES]


@each_kind
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_every_fit_is_the_fit_alone(kind, weighted, n_jobs):
    """The starts are drawn together, so each data set is followed alone from the start it was given."""
    model, data = made(kind, max_iter=0, random_state=3, n_jobs=n_jobs)
    weights = [RNG.uniform(0, 2, n) for n in SIZES] if weighted else None
    starts = ef.fit_many(model, data, weights)
    ends = ef.fit_many(model.set_params(max_iter=15), data, weights)
    for at, (start, end) in enumerate(zip(starts, ends, strict=True)):
        w = None if weights is None else weights[at]
        alone = ef.fit(start.mixture_, data[at], w, max_iter=15, tol=0)
        total = SIZES[at] if w is None else w.sum()
        assert end.n_iter_ == 15
        assert end.lower_bounds_ == pytest.approx(alone.bounds[1:] / total, rel=1e-11)
        same = alone.mixture.in_family(shared(end.mixture_.family))
        assert same.weights == pytest.approx(end.weights_, rel=1e-9)
        for name, value in end.parameters_.items():
            assert value == pytest.approx(same.parameters[name], rel=1e-8, abs=1e-9), name
        assert end.score(data[at], sample_weight=w) == pytest.approx(end.lower_bound_, rel=1e-11)


@each_kind
def test_the_fits_of_separate_calls_are_as_good(kind):
    model, data = made(kind, max_iter=300, tol=1e-8, n_init=5, random_state=0)
    for X, one in zip(data, ef.fit_many(model, data), strict=True):
        assert one.lower_bound_ == pytest.approx(type(one)(**one.get_params()).fit(X).lower_bound_, abs=1e-4)


def test_any_number_of_threads_gives_the_same_bits():
    data = [normal_rows(400, 3) for _ in range(70)]
    fits = [ef.fit_many(ef.GaussianMixture(2, random_state=0, n_jobs=n), data) for n in (1, 2, 4)]
    for others in fits[1:]:
        for one, other in zip(fits[0], others, strict=True):
            assert np.array_equal(one.covariances_, other.covariances_)
            assert one.lower_bounds_ == other.lower_bounds_


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_data_sets_far_apart_lose_no_digits(covariance_type):
    data = [normal_rows(50, 2, offset) for offset in (0.0, 1e4, -1e6)]
    model = ef.GaussianMixture(1, covariance_type=covariance_type, reg_covar=0)
    for X, one in zip(data, ef.fit_many(model, data), strict=True):
        # a covariance of rows rounded at 1e6: both see the same rows
        assert one.covariances_ == pytest.approx(model.fit(X).covariances_, rel=1e-12, abs=1e-12)


def test_units_of_their_own_lose_no_digits():
    data = [normal_rows(50, 2, offset) for offset in (0.0, 300.0, -900.0)]  # each has the unit 2, all together have 512
    model = ef.ExponentialFamilyMixture(families.Gaussian("full"), 1)
    for X, one in zip(data, ef.fit_many(model, data), strict=True):
        assert one.parameters_["covariances"][0] == pytest.approx(np.cov(X.T, bias=True), rel=1e-12)
        assert one.lower_bound_ == pytest.approx(model.fit(X).lower_bound_, rel=1e-12)


def test_an_array_of_data_sets_and_what_is_left_alone():
    X = np.stack([normal_rows(30) for _ in range(4)])
    X.flags.writeable = False
    model = ef.GaussianMixture(2, random_state=0)
    fits = ef.fit_many(model, X)
    assert len(fits) == 4
    assert not hasattr(model, "mixture_")
    assert {type(one) for one in fits} == {ef.GaussianMixture}
    assert fits[0].get_params() == model.get_params()
    assert np.array_equal(fits[2].predict(X[2]), ef.fit_many(model, X)[2].predict(X[2]))


REFUSED = [
    (lambda: ef.GaussianMixture(2), [], "datasets is empty"),
    (lambda: ef.GaussianMixture(2), [np.ones((5, 2)), np.ones((5, 3))], "data set 1 has shape"),
    (lambda: ef.GaussianMixture(2), [np.ones(5)], "data set 0 has shape"),
    (
        lambda: ef.GaussianMixture(4),
        [np.ones((5, 2)), np.ones((3, 2))],
        "data set 1: Expected n_samples >= n_components",
    ),
    (lambda: ef.GaussianMixture(2, init=np.zeros(5, int)), [np.ones((5, 2))], "belong to one data set"),
    (lambda: ef.GaussianMixture(2, reg_covar=0), [normal_rows(9), np.ones((5, 2))], "data set 1: "),
    (lambda: ef.GaussianMixture(2), [normal_rows(9), np.full((5, 2), np.inf)], "data set 1: Input X contains infinity"),
]


@pytest.mark.parametrize(("make", "data", "words"), REFUSED, ids=[words for *_, words in REFUSED])
def test_what_is_refused(make, data, words):
    with pytest.raises(ValueError, match=words):
        ef.fit_many(make(), data)
    with pytest.raises(TypeError, match="must be a mixture"):
        ef.fit_many(ef.KMeans(2), [normal_rows(9)])


def test_what_cannot_be_fitted_is_named_and_the_rest_is_kept():
    flat, nan, few = np.ones((5, 2)), np.array([[0.0, np.nan], [1, np.nan], [3, np.nan]]), np.zeros((1, 2))
    good = [normal_rows(40 + at) for at in range(5)]
    data = [good[0], flat, good[1], good[2], nan, few, good[3], good[4], good[0]]
    weights = [np.ones(len(X)) for X in data]
    weights[8] = np.zeros(40)
    model, steps = ef.GaussianMixture(2, reg_covar=0, random_state=0), []
    with pytest.raises(ef.FitManyError, match=r"^data set 1: .* \(4 of 9 cannot be fitted: 1, 4, 5, 8\)") as caught:
        ef.fit_many(model, [pd.DataFrame(X, columns=["a", "b"]) for X in data], weights, callbacks=[steps.append])
    error = caught.value
    assert steps
    assert sorted(error.errors) == [1, 4, 5, 8]
    words = {
        1: "is a column constant",
        4: "holds nothing but NaN",
        5: "n_samples = 1",
        8: "Sample weights must contain",
    }
    for at, said in words.items():
        assert said in str(error.errors[at])
        assert error.fitted[at] is None
    for at in (0, 2, 3, 6, 7):
        alone = ef.GaussianMixture(2, reg_covar=0, random_state=0).fit(data[at])
        assert error.fitted[at].lower_bound_ == pytest.approx(alone.lower_bound_, abs=1e-3)
        assert error.fitted[at].feature_names_in_.tolist() == ["a", "b"]
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    with pytest.raises(ef.FitManyError, match=r"^data set 0: Poisson needs whole numbers") as caught:
        ef.fit_many(ef.ExponentialFamilyMixture(ef.families.Poisson(), 1), [-flat, flat])
    assert [one is None for one in caught.value.fitted] == [True, False]
    assert "The others are fitted" in str(caught.value)


def test_callbacks_see_the_fits_of_data_sets_that_are_fitted_one_by_one():
    seen = []
    ef.fit_many(ef.GaussianMixture(1), [normal_rows(40), 1e-6 * normal_rows(40)], callbacks=[seen.append])
    assert len(seen) >= 2


WEIGHTS = [
    ([np.ones(9)], "1 arrays for 2 data sets"),
    ([np.ones(9), np.ones(8)], "data set 1 has 9 rows, but its weights have shape"),
    ([np.ones(9), np.zeros(9)], "data set 1: Sample weights must contain"),
]


@pytest.mark.parametrize(("weights", "words"), WEIGHTS, ids=[words for _, words in WEIGHTS])
def test_weights_that_are_refused(weights, words):
    with pytest.raises(ValueError, match=words):
        ef.fit_many(ef.GaussianMixture(1), [normal_rows(9), normal_rows(9)], weights)


def test_sparse_and_dense_data_sets_do_not_mix():
    with pytest.raises(TypeError, match="data set 1 is sparse and data set 0 is not"):
        ef.fit_many(ef.BernoulliMixture(1), [np.eye(4), sparse.csr_array(np.eye(4))])
    with pytest.raises(TypeError, match=r"X is a sparse matrix, but .* needs dense rows"):
        ef.fit_many(ef.GaussianMixture(1), [sparse.csr_array(np.eye(4))])
    with pytest.raises(ValueError, match="data set 1 has shape"):
        ef.fit_many(ef.BernoulliMixture(1), [sparse.csr_array(np.eye(4)), sparse.csr_array(np.eye(5))])
    with pytest.raises(ValueError, match="data set 1: Expected n_samples >= n_components"):
        ef.fit_many(ef.BernoulliMixture(2), [sparse.csr_array(np.eye(4)), sparse.csr_array(np.eye(4)[:1])])


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "family", [ef.families.Bernoulli(), ef.families.Poisson(), ef.families.Multinomial()], ids=repr
)
def test_sparse_data_sets_are_fitted_as_the_dense_ones_are(family, weighted):
    rng = np.random.default_rng(1)
    rates = rng.gamma(0.4, 0.5, (3, 30))
    dense = [rng.poisson(rates[rng.integers(0, 3, n)]).astype(float) for n in SIZES]
    dense = [np.minimum(X, 1) if isinstance(family, ef.families.Bernoulli) else X for X in dense]
    for X in dense:
        X[:, 0] = 1
    weights = [rng.uniform(0.1, 2, n) for n in SIZES] if weighted else None
    # η of a share that is 1 but for rounding jumps, which EM does not notice and the memory of an acceleration does;
    # rounding would choose one of two starts that end at the same maximum, and whether the last step is made
    how = {"max_iter": 20, "tol": 0, "concentration": 1.5, "acceleration": None}
    model = ef.ExponentialFamilyMixture(family, 3, random_state=0, **how)
    expected = ef.fit_many(model, dense, weights)
    found = ef.fit_many(model, [sparse.coo_array(X) for X in dense], weights)
    assert [one.status_ for one in found] == [one.status_ for one in expected]
    for one, other, X in zip(found, expected, dense, strict=True):
        assert one.lower_bounds_ == pytest.approx(other.lower_bounds_, rel=1e-12)
        assert one.expectation_parameters_ == pytest.approx(other.expectation_parameters_, rel=1e-9, abs=1e-12)
        assert np.array_equal(one.predict(sparse.csr_array(X)), other.predict(X))


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_data_sets_of_different_sizes_are_fitted_as_well(scale):
    X = normal_rows(200) * [1.0, 5.0]
    one, other = ef.fit_many(ef.GaussianMixture(2, reg_covar=0, random_state=0, n_init=3, tol=1e-9), [X, scale * X])
    assert other.lower_bound_ + 2 * np.log(scale) == pytest.approx(one.lower_bound_, abs=1e-4)
    assert one.lower_bound_ == pytest.approx(ef.GaussianMixture(2, n_init=3, tol=1e-9).fit(X).lower_bound_, abs=1e-3)


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
def test_fits_that_did_not_converge_are_counted():
    model, data = made("full")
    with pytest.warns(ConvergenceWarning, match="5 of 5 fits did not converge"):
        ef.fit_many(model, data)


# ---- starts that are left --------------------------------------------------------------------------------------------


def many_starts(rows, K, runs=12, seed=0):
    family = ef.families.Gaussian("diag").bind(rows)
    return initialise_all(plan(family, rows, K), np.zeros(runs, int), K, "random_from_data", seed).mixture


def test_a_start_is_left_only_when_another_is_ahead():
    rows = ArrayRows(np.concatenate([RNG.normal(c, 0.5, (80, 2)) for c in ([0, 0], [4, 0], [0, 4], [5, 5], [9, 1])]))
    start, long = many_starts(rows, 5), Options(300, 1e-9)
    every = loop.fit_all(start, plan(start.family, rows, start.n_components), None, long)
    some = loop.fit_all(start, plan(start.family, rows, start.n_components), None, long, drop=True)
    left = [at for at, result in enumerate(some) if result.status is ef.Status.BEHIND]
    assert left
    assert sum(result.n_iter for result in some) < 0.8 * sum(result.n_iter for result in every)
    lead = max(result.bound for result in some)
    assert lead == pytest.approx(max(result.bound for result in every), rel=1e-9)
    for at, result in enumerate(some):
        assert np.array_equal(result.bounds, every[at].bounds[: len(result.bounds)]) or result.bounds == pytest.approx(
            every[at].bounds[: len(result.bounds)], rel=1e-12
        )
        assert (at in left) == (len(result.bounds) < len(every[at].bounds))
        assert at not in left or result.bound < lead


def test_equal_starts_are_all_followed_to_the_end():
    rows = ArrayRows(normal_rows(100))
    one = many_starts(rows, 2, runs=1)
    start = ef.Mixture.stack([one[0]] * 3)
    results = loop.fit_all(start, plan(start.family, rows, start.n_components), None, Options(50, 0.0), drop=True)
    assert [result.n_iter for result in results] == [50] * 3
    assert len({result.bound for result in results}) == 1


def test_starts_left_behind_one_that_collapses_begin_again():
    # a component shrinks onto three equal rows, with the highest bound on the way
    for seed in range(8, 14):
        rng = np.random.default_rng(seed)
        X = np.concatenate([rng.normal(0, 1, (40, 2)), rng.normal(4, 1, (40, 2)), [rng.normal(2, 3, 2)] * 3])
        model = ef.GaussianMixture(
            3, reg_covar=0, n_init=10, tol=1e-8, max_iter=5000, init_params="random_from_data", random_state=seed
        ).fit(X)  # fmt: skip
        assert model.converged_, model.status_


class OnlyWide(ef.GaussianMixture):
    """Counts a start as singular if one of its covariances is narrow, as the last Cholesky factor may find it."""

    def _attributes(self, named, stack):
        arrays = super()._attributes(named, stack)
        narrow = np.linalg.det(named["covariances"]).min(axis=1) < 0.02
        return arrays | {"means_": np.where(narrow[:, None, None], np.nan, arrays["means_"])}


def test_a_start_that_fails_at_the_very_end_gives_way_to_the_next_best():
    rng = np.random.default_rng(5)
    X = np.concatenate([rng.normal(0, 1, (60, 2)), rng.normal(4, 1, (60, 2)), rng.normal([2, -3], 0.2, (30, 2))])
    options = {"reg_covar": 0, "n_init": 10, "init_params": "random_from_data", "random_state": 0, "max_iter": 500}
    free, wide = ef.GaussianMixture(3, **options).fit(X), OnlyWide(3, **options).fit(X)
    assert np.linalg.det(free.covariances_).min() < 0.02 < np.linalg.det(wide.covariances_).min()
    [both] = ef.fit_many(OnlyWide(3, **options), [X])
    assert np.linalg.det(both.covariances_).min() > 0.02
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        OnlyWide(3, **options | {"n_init": 1}, init=free.mixture_).fit(X)


def test_data_sets_of_a_generator_and_of_frames():
    frames = [pd.DataFrame(normal_rows(60 + at)[:, :2], columns=["width", "height"]) for at in range(3)]
    model = ef.GaussianMixture(2, random_state=0, max_iter=500)
    for fits in (ef.fit_many(model, frames), ef.fit_many(model, (frame for frame in frames))):
        assert [fit.feature_names_in_.tolist() for fit in fits] == [["width", "height"]] * 3
        for fit, frame in zip(fits, frames, strict=True):
            assert np.isfinite(fit.score(frame))
            with pytest.raises(ValueError, match="feature names should match"):
                fit.predict(frame[["height", "width"]])
    with pytest.raises(ValueError, match=r"data set 1 has the columns \['height', 'width'\] and data set 0"):
        ef.fit_many(model, [frames[0], frames[1][["height", "width"]]])
    with pytest.raises(ValueError, match="data set 1 has the columns None"):
        ef.fit_many(model, [frames[0], frames[1].to_numpy()])
    counted = pd.DataFrame(frames[0].to_numpy())  # its names only count the columns, as those of an array do
    assert len(ef.fit_many(model, [counted, frames[1].to_numpy()])) == 2
    with pytest.raises(ValueError, match=r"data set 1 has the columns \[1, 0\] and data set 0 None"):
        ef.fit_many(model, [counted, counted[[1, 0]]])
    wide = pd.DataFrame(np.ones((3, 300)), columns=[f"c{i}" for i in range(300)])
    turned = wide[["c0", "c2", "c1", *wide.columns[3:]]]
    with pytest.raises(ValueError, match=r"data set 1 has the columns \['c2', 'c1'\] and data set 0 \['c1', 'c2'\];"):
        ef.fit_many(model, [wide, turned])
    with pytest.raises(ValueError, match="datasets is empty"):
        ef.fit_many(model, iter(()))


# ---- constants that a family finds in the rows ----------------------------------------------------------------------


class Above(families.Exponential):
    """x − least, exponential; the least entry of all rows is found by ``bind``, or from a summary."""

    least = None

    def summary(self, X, sample_weight):
        return -X.min(axis=0, initial=1e9)  # summaries are added: −1e9 stands for no rows

    def bound(self, summary):
        return self.replace(least=float(-summary.min()))

    def _above(self, X):
        return np.asarray(X) - self.least + 1.0

    def sufficient_statistics(self, X):
        return super().sufficient_statistics(self._above(X))

    def kernel_form(self, n_features):
        return None


class AboveByBlocks(Above):
    """The same, by ``bind`` alone."""

    summary, bound = families.Exponential.summary, families.Exponential.bound

    def bind(self, blocks):
        return self.replace(least=float(min(X.min() for X, _ in blocks)))


def labels(codes, n=60):
    return RNG.choice(codes, (n, 2)).astype(float)


def with_constant(value, n=60):
    return np.column_stack([normal_rows(n, 1), np.full(n, value)])


WIDE, TALL = normal_rows(60, 2) * [3, 1], 5 + normal_rows(50, 2)
COUNTS = [np.column_stack([RNG.poisson(3, (50, 2)) + 1.0, column]) for column in (np.zeros(50), np.ones(50))]
LABELS = [labels([0, 1]), labels([1, 2, 7]), labels([0, 1], 50)]
NONZERO = [np.where(RNG.random((90, 1)) < 0.3, 0.0, RNG.choice(codes, (90, 1))) for codes in ([3, 5], [4, 5, 9])]
FOUND = {
    "a box": (families.Uniform(), 1, [WIDE, TALL]),
    "a box of a part": (Product([(families.Uniform(), [0]), (families.Gaussian("full"), [1])]), 2, [WIDE, TALL]),
    "noise": (families.Componentwise([(families.Gaussian("full"), 1), (families.Uniform(), 1)]), 2, [WIDE, TALL]),
    "levels": (families.Categorical(), 1, LABELS),
    "levels of a part": (Product([(families.Categorical(), [1]), (families.Poisson(), [0])]), 1, LABELS),
    "levels of those not zero": (families.ZeroInflated(families.Categorical()), 1, NONZERO),
    "levels of a family": (families.Componentwise([(families.Categorical(), 1)]), 1, LABELS),
    "empty columns of indicators": (families.OneHot(3), 1, [np.eye(3)[[0, 1] * 20], np.eye(3)[[0, 1, 2] * 20]]),
    "empty columns of counts": (families.Multinomial(), 1, COUNTS),
    "the unit of a constant column": (families.Gaussian("full"), 1, [with_constant(0.0), with_constant(50.0)]),
    "the floor of variances": (families.Gaussian("diag"), 1, [with_constant(2.0), 1e3 + 100 * with_constant(1.0)]),
    "the floor of logarithms": (families.LogNormal("diag"), 1, [np.exp(with_constant(v)) for v in (0.0, 9.0)]),
    "of your own": (Above(), 1, [abs(WIDE), 3 + abs(TALL)]),
    "of your own, by blocks": (AboveByBlocks(), 1, [abs(WIDE), 3 + abs(TALL)]),
    "of your own, in a part": (Product([(AboveByBlocks(), [1])]), 1, [abs(WIDE), 3 + abs(TALL)]),
}


@pytest.mark.parametrize(("family", "K", "data"), FOUND.values(), ids=FOUND)
@pytest.mark.parametrize("weighted", [False, True])
def test_constants_are_those_of_each_data_set(family, K, data, weighted):
    model = ef.ExponentialFamilyMixture(family, K, random_state=0, max_iter=3000, tol=1e-9)
    weights = [RNG.integers(0, 3, len(X)).astype(float) for X in data] if weighted else [None] * len(data)
    for X, weight, one in zip(data, weights, ef.fit_many(model, data, weights if weighted else None), strict=True):
        alone = model.fit(X, sample_weight=weight)
        assert one.lower_bound_ == pytest.approx(alone.lower_bound_, rel=1e-12)
        assert one.bic(X, weight) == pytest.approx(alone.bic(X, weight), rel=1e-12)
        for name, value in alone.parameters_.items():
            assert one.parameters_[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_data_sets_with_the_same_constants_go_in_lock_step():
    data = [labels([0, 1]), labels([1, 2, 7]), labels([0, 1], 50), labels([2, 1, 7])]
    model = ef.ExponentialFamilyMixture(families.Categorical(), 2, n_init=2, random_state=0, tol=0, max_iter=1)
    seen = []
    with pytest.warns(UserWarning, match="did not converge"):
        ef.fit_many(model, data, callbacks=[lambda state: seen.append(state.run.tolist())])
    assert seen == [[0, 2, 4, 6], [1, 3, 5, 7]]  # one number for each start of each data set, as of all


def test_whether_rows_are_binary_is_asked_of_each_data_set():
    binary, grey = (RNG.random((200, 5)) < 0.3).astype(float), RNG.random((4, 5))
    model = ef.BernoulliMixture(1)
    with pytest.warns(UserWarning, match="X is not binary"):
        first, second = ef.fit_many(model, [binary, grey])
    assert first.threshold_ is None
    assert second.threshold_ == 0
    assert first.probabilities_ == pytest.approx(binary.mean(axis=0)[None], rel=1e-12)
    assert np.all(second.probabilities_ == 1)
