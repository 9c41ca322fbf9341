"""What is said of one row is what is said of it among others, however rows are given; bad rows are refused as ever."""

import copy
import pickle

import numpy as np
import pytest

import expfam_em as ef

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(0, 1, (60, 3)), RNG.normal(5, 2, (40, 3))])
MODELS = {
    "full": lambda: ef.GaussianMixture(3, random_state=0),
    "diag": lambda: ef.GaussianMixture(3, covariance_type="diag", random_state=0),
    "Poisson": lambda: ef.ExponentialFamilyMixture(ef.families.Poisson(), 3, random_state=0),
    "Gamma": lambda: ef.ExponentialFamilyMixture(ef.families.Gamma(), 2, random_state=0),
    "StudentT": lambda: ef.ExponentialFamilyMixture(ef.families.StudentT(), 2, random_state=0),
    "Bernoulli": lambda: ef.BernoulliMixture(3, binarize=1.0, random_state=0),
    "noise": lambda: ef.GaussianMixture(2, noise="uniform", random_state=0),
    "hard": lambda: ef.GaussianMixture(3, temperature=0.0, random_state=0),
    "KMeans": lambda: ef.KMeans(3, random_state=0),
}


def rows_of(name):
    return {"Poisson": np.abs(X).round(), "Gamma": np.abs(X) + 0.1}.get(name, X)


def told(model, rows):
    methods = (
        ["predict", "transform"] if isinstance(model, ef.KMeans) else ["predict", "predict_proba", "score_samples"]
    )
    return [getattr(model, method)(rows) for method in methods]


@pytest.mark.parametrize("name", MODELS)
def test_a_row_alone_a_list_and_an_array_are_told_the_same(name):
    rows = rows_of(name)
    model = MODELS[name]().fit(rows)
    whole = told(model, rows)
    for one, other in zip(whole, told(model, rows.tolist()), strict=True):
        assert np.array_equal(one, other)
    for one, many in zip(whole, told(model, np.tile(rows, (4, 1))), strict=True):  # too many for one thread at once
        assert np.array_equal(np.concatenate([one] * 4), many)
    for i in (0, 70):
        for one, alone in zip(whole, told(model, rows[i : i + 1]), strict=True):
            assert np.array_equal(one[i], alone[0])
    if not isinstance(model, ef.KMeans):
        assert np.array_equal(whole[0] % whole[1].shape[1], whole[1].argmax(axis=1))  # the noise, −1, comes last


@pytest.mark.parametrize("name", ["full", "KMeans"])
@pytest.mark.parametrize("bad", [X[:0], X[0], X[:, :2], X.astype(complex), [[1.0, np.inf, 0.0]]])
def test_rows_of_another_kind_are_refused_in_the_same_words(name, bad):
    model = MODELS[name]().fit(X)
    with pytest.raises((ValueError, TypeError)) as as_given:
        model.predict(np.asarray(bad))
    with pytest.raises((ValueError, TypeError)) as checked:
        model._validated(np.asarray(bad), reset=False)
    assert str(as_given.value) == str(checked.value)


def test_numbers_whose_sum_overflows_are_no_reason_to_refuse():
    model = ef.ExponentialFamilyMixture("poisson", 1).fit(np.ones((9, 200), np.float32))
    assert model.predict(np.full((1, 200), 3e36, np.float32)) == [0]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("full", [1e200, 0.0, 0.0]), ("Poisson", [1.0, -1.0, 0.0]), ("Gamma", [1.0, 1.0, 0.0]),
        ("StudentT", [1e300, 0.0, 0.0]),
    ],
)  # fmt: skip
def test_an_impossible_row_is_refused_in_the_words_for_many(name, row):
    rows = rows_of(name)
    model = MODELS[name]().fit(rows)
    for method in ("predict", "predict_proba"):
        errors = []
        for before in (rows[:2], np.tile(rows, (4, 1))):
            with pytest.raises(ValueError, match=f"row {len(before)}") as error:
                getattr(model, method)(np.vstack([before, row]))
            errors.append(str(error.value).replace(f"row {len(before)}", "row n"))
        assert errors[0] == errors[1]


@pytest.mark.parametrize("name", ["full", "KMeans"])
@pytest.mark.parametrize("n_jobs", [0, "2"])
def test_threads_that_make_no_sense_are_refused_for_one_row_too(name, n_jobs):
    model = MODELS[name]().fit(X).set_params(n_jobs=n_jobs)
    with pytest.raises((ValueError, TypeError)):
        model.predict(X[:1])


@pytest.mark.parametrize("name", ["full", "Poisson", "KMeans"])
def test_a_call_for_one_row_touches_no_setting(name, monkeypatch):
    model = MODELS[name]().fit(rows_of(name))
    before = told(model, rows_of(name)[:1])[:1]

    def refuses(*arguments):
        raise AssertionError("BLAS is held for one row")

    monkeypatch.setattr("expfam_em.rows.threads._enter", refuses)
    with np.errstate(all="raise"):
        assert np.array_equal(model.predict(rows_of(name)[:1]), before[0])
    with pytest.raises(AssertionError, match="BLAS"):
        model.predict(rows_of(name)[:1].tolist())


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda X: X[::-1], lambda X: np.repeat(X, 2, axis=1)[:, ::2]])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("columns", [1, 2, 3, 5, 20])
def test_nearest_centres_do_not_depend_on_layout_or_number_of_rows(layout, dtype, columns):
    rows = np.tile(X, 7)[:, :columns].round(1).astype(dtype)  # distances that are equal but for rounding
    model = ef.KMeans(5, random_state=0, max_iter=1).fit(rows)
    given = layout(rows)
    labels = model.predict(given)
    squares = ((given[:, None].astype(float) - model.cluster_centers_.astype(float)) ** 2).sum(axis=2)
    # a score is rounded by some units of the squares of its terms, all below 100 a column
    assert np.all(squares[np.arange(len(given)), labels] - squares.min(axis=1) <= 1e-12 * 100 * columns)
    assert labels.dtype == np.int32
    assert np.array_equal(labels, model.predict(np.concatenate([given] * 3))[: len(given)])
    assert np.array_equal(labels, model.predict(given.tolist() if dtype is np.float64 else given.copy()))


@pytest.mark.parametrize("columns", [3, 5])
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_model_that_is_copied_after_a_prediction_predicts(again, columns):
    rows = np.tile(X, 2)[:, :columns]
    for model in (ef.KMeans(8, random_state=0), ef.GaussianMixture(3, random_state=0)):
        labels = model.fit(rows).predict(rows[:9])
        other = again(model)
        assert np.array_equal(other.predict(rows[:9]), labels)
        assert np.array_equal(model.predict(rows[:9]), labels)


@pytest.mark.parametrize("columns", [3, 5])
@pytest.mark.parametrize("n", [1, 300])
def test_predictions_do_not_depend_on_how_errors_are_handled(n, columns):
    rows = np.tile(X, (4, 2))[:n, :columns]
    model = ef.KMeans(8, random_state=0).fit(np.tile(X, 2)[:, :columns])
    labels, score = model.predict(rows), model.score(rows)
    with np.errstate(all="raise"):
        assert np.array_equal(model.predict(rows), labels)
        assert model.score(rows) == score


def test_labels_of_components_in_frames_of_their_own():
    rows = np.concatenate([X * 1e-4, X + 1e6, X * 1e-4 + 0.001])
    model = ef.GaussianMixture(3, random_state=0, n_init=3).fit(rows)
    assert model.mixture_.family.frames is not None
    for some in (rows, rows[:200]):
        assert np.array_equal(model.predict(some), model.predict_proba(some).argmax(axis=1))


def test_names_of_columns_are_still_asked_for():
    pandas = pytest.importorskip("pandas")
    model = ef.GaussianMixture(2, random_state=0).fit(pandas.DataFrame(X, columns=["a", "b", "c"]))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X[:1])


class Counted(ef.families.Poisson):
    """Poisson, that notes of how many rows it is asked for samples."""

    def sample(self, natural, n, rng):
        self.asked.append(int(n))
        return super().sample(natural, n, rng)


@pytest.mark.parametrize("n", [0, 1, 50])
def test_components_that_no_row_is_drawn_from_are_not_asked(n):
    family = Counted()
    family.asked = []
    mixture = ef.Mixture(family, np.array([0.0, 0.7, 0.0, 0.3]), np.log([[1.0], [2.0], [3.0], [400.0]]))
    rows, labels = mixture.sample(n, 1)
    sizes = np.random.default_rng(1).multinomial(n, mixture.weights)
    assert family.asked == ([size for size in sizes if size] or [0])
    assert rows.shape == (n, 1)
    assert np.array_equal(labels, np.repeat(np.arange(4), sizes))
    assert np.all((rows[:, 0] > 100) == (labels == 3))
