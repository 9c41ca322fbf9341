"""An estimator has one fitted state: what is set is used by every method, and nothing can be set beside it."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone

import expfam_em as ef

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(0, 1, (80, 2)), RNG.normal(6, 1, (120, 2))])
BITS = (RNG.random((150, 4)) < 0.4).astype(float)
F = ef.families


def fitted(name):
    if name == "KMeans":
        return ef.KMeans(2, random_state=0).fit(X), X
    if name == "Bernoulli":
        return ef.BernoulliMixture(2, random_state=0).fit(BITS), BITS
    if name == "Poisson":
        return ef.ExponentialFamilyMixture(F.Poisson(), 2, random_state=0).fit(np.abs(X).round()), np.abs(X).round()
    return ef.GaussianMixture(2, covariance_type=name, random_state=0).fit(X), X


NAMES = ["full", "tied", "diag", "spherical", "VEV", "Bernoulli", "Poisson", "KMeans"]


def as_loaded(model, tmp_path):
    model.save(tmp_path / "model")
    return ef.load(tmp_path / "model")


COPIES = {
    "fitted": lambda model, path: model,
    "pickled": lambda model, path: pickle.loads(pickle.dumps(model)),
    "copied": lambda model, path: copy.deepcopy(model),
    "loaded": as_loaded,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", NAMES)
def test_no_fitted_attribute_can_be_changed_beside_the_others(name, how, tmp_path):
    model, rows = fitted(name)
    model = COPIES[how](model, tmp_path)
    before = model.predict(rows), model.score(rows)
    for attribute in [key for key in vars(model) if key.endswith("_") and key not in ("mixture_", "n_features_in_")]:
        kept = attribute == "labels_"  # of the rows, and no parameter
        with pytest.raises(AttributeError, match=rf"{attribute} follows from mixture_ .*Mixture\.of"):
            setattr(model, attribute, getattr(model, attribute))
        if isinstance(value := getattr(model, attribute), np.ndarray) and not kept:
            with pytest.raises(ValueError, match="read-only"):
                value *= 100
    assert np.array_equal(model.predict(rows), before[0])
    assert model.score(rows) == before[1]


@pytest.mark.parametrize("name", NAMES)
def test_another_mixture_is_used_by_every_method_and_by_files(name, tmp_path):
    model, rows = fitted(name)
    turned = model.mixture_.components([1, 0])
    labels, score = model.predict(rows), model.score(rows)
    model.mixture_ = turned
    for each in (model, as_loaded(model, tmp_path), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(each.predict(rows), 1 - labels)
        assert each.score(rows) == pytest.approx(score, rel=1e-12)
        for key, value in each.mixture_.parameters.items():
            assert value == pytest.approx(turned.parameters[key], rel=1e-12)
    if name == "KMeans":
        assert np.array_equal(model.transform(rows).argmin(axis=1), 1 - labels)
        assert not hasattr(model, "labels_")
    else:
        assert np.array_equal(model.predict_proba(rows).argmax(axis=1), 1 - labels)
        assert model.weights_ == pytest.approx(turned.weights, rel=1e-12)
        assert (model.converged_, model.n_iter_, model.status_) == (False, 0, ef.Status.GIVEN.value)
        again = model.set_params(warm_start=True).fit(rows)
        assert np.mean(again.predict(rows) == 1 - labels) > 0.95


def test_parameters_are_restored_in_one_line():
    old, _ = fitted("full")
    model = ef.GaussianMixture(2)
    model.mixture_ = ef.Mixture.of(F.Gaussian(), old.weights_, means=old.means_, covariances=old.covariances_)
    assert model.score(X) == pytest.approx(old.score(X), rel=1e-12)
    assert model.means_ == pytest.approx(old.means_, rel=1e-12)
    assert model.precisions_cholesky_ == pytest.approx(old.precisions_cholesky_, rel=1e-9)
    centres = ef.KMeans(2)
    centres.mixture_ = ef.Mixture.of(F.KnownCovariance(), [0.5, 0.5], means=old.means_)
    assert np.array_equal(centres.predict(X), ((X[:, None] - old.means_) ** 2).sum(axis=2).argmin(axis=1))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("full", ef.Mixture.of(F.Gaussian("diag"), [0.5, 0.5], means=[[0, 0], [1, 1]], covariances=np.ones((2, 2)))),
        ("full", ef.Mixture.of(F.Gaussian(), [1.0], means=[[0, 0]], covariances=[np.eye(2)])),
        ("full", ef.Mixture.of(F.Gaussian(), [0.5, 0.5], means=[[0], [1]], covariances=[[[1.0]], [[1.0]]])),
        ("Poisson", ef.Mixture.of(F.Exponential(), [0.5, 0.5], rates=[[1.0, 1.0], [2.0, 2.0]])),
        ("KMeans", ef.Mixture.of(F.Gaussian(), [0.5, 0.5], means=[[0, 0], [1, 1]], covariances=[np.eye(2)] * 2)),
        ("KMeans", ef.Mixture.of(F.KnownCovariance(), [0.5, 0.5], means=[[0], [1]])),
    ],
)  # fmt: skip
def test_another_kind_of_mixture_is_refused_and_nothing_changes(name, wrong):
    model, rows = fitted(name)
    before = model.score(rows)
    with pytest.raises(ValueError, match="mixture_ is set to"):
        model.mixture_ = wrong
    with pytest.raises(TypeError, match="it must be a Mixture"):
        model.mixture_ = model.mixture_.parameters
    assert model.score(rows) == before


class Counting(ef.KMeans):
    """A subclass with attributes of its own."""

    def fit(self, X, y=None, **how):
        super().fit(X, **how)
        self.counts_ = np.bincount(self.labels_)
        return self


def test_subclasses_keep_attributes_of_their_own():
    model = Counting(2, random_state=0).fit(X).fit(X)
    model.counts_ += 1
    again = pickle.loads(pickle.dumps(model))
    again.counts_ += 1
    assert np.array_equal(again.counts_, model.counts_ + 1)
    labels = model.fit_predict(X)
    labels[labels == 1] = -1
    assert model.labels_.min() == 0


@pytest.mark.parametrize("attribute", ["means_", "weights_", "covariances_", "parameters_"])
def test_nothing_can_be_set_before_a_fit_either(attribute):
    with pytest.raises(AttributeError, match=r"Mixture\.of"):
        setattr(ef.GaussianMixture(2), attribute, 1)


def test_a_bernoulli_mixture_of_set_parameters_predicts():
    old, rows = fitted("Bernoulli")
    for binarize, data in (("auto", rows), (0.5, 3 * rows - 1)):
        new = ef.BernoulliMixture(2, binarize=binarize)
        new.mixture_ = old.mixture_
        assert np.array_equal(new.predict(data), old.predict(rows))
        assert new.n_features_in_ == 4


LABELS = np.eye(3)[np.arange(60) % 3]
NESTED = F.Product([(F.Product([(F.Gaussian(), [0]), (F.Poisson(), [1])]), [0, 1]), (F.Categorical(), [2])])


@pytest.mark.parametrize(
    ("family", "rows"),
    [
        (F.OneHot([2, 3]), np.hstack([np.eye(2)[np.arange(60) % 2], LABELS])),
        (F.Wishart(), np.array([np.cov(RNG.normal(size=(2, 8))).ravel() for _ in range(60)])),
        (F.Product([(F.Gaussian(), [0]), (F.Gaussian(), [1, 2])]), RNG.normal(size=(60, 3))),
        (NESTED, np.column_stack([RNG.normal(size=60), RNG.poisson(4, 60), np.arange(60) % 3])),
    ],
)
def test_a_new_estimator_of_a_set_mixture_knows_the_columns_of_its_rows(family, rows, tmp_path):
    old = ef.ExponentialFamilyMixture(family, 1, random_state=0).fit(rows)
    new = ef.ExponentialFamilyMixture(family, 1)
    new.mixture_ = old.mixture_
    assert new.n_features_in_ == rows.shape[1]
    assert np.array_equal(as_loaded(new, tmp_path).score_samples(rows), old.score_samples(rows))


class Unsampled(ef.families.Gaussian):
    """A family of one's own that draws nothing."""

    def sample(self, natural, n, rng):
        raise NotImplementedError


def test_a_family_that_draws_nothing_can_be_set_and_saved(tmp_path):
    ef.register(Unsampled)
    old = ef.ExponentialFamilyMixture(Unsampled(), 2, random_state=0).fit(X)
    new = ef.ExponentialFamilyMixture(Unsampled(), 2)
    new.mixture_ = old.mixture_
    assert np.array_equal(as_loaded(new, tmp_path).predict(X), old.predict(X))


def test_other_components_or_another_model_can_be_set_after_their_parameters():
    model, _ = fitted("full")
    one = model.mixture_.components([0])
    model.set_params(n_components=1).mixture_ = one
    assert model.means_.shape == (1, 2)
    model.set_params(n_components=2, covariance_type="diag")
    model.mixture_ = ef.Mixture.of(F.Gaussian("diag"), [0.5, 0.5], means=[[0, 0], [6, 6]], covariances=np.ones((2, 2)))
    assert model.covariances_.shape == (2, 2)
    with pytest.raises(ValueError, match="a stack of 2 mixtures"):
        model.mixture_ = ef.Mixture.stack([model.mixture_] * 2)


@pytest.mark.parametrize("K", range(2, 12))
def test_weights_of_float32_rows_can_be_written_down_and_read(K):
    rows = RNG.normal(size=(400, 2)).astype(np.float32)
    old = ef.GaussianMixture(K, random_state=0, max_iter=500).fit(rows)
    new = ef.GaussianMixture(K)
    new.mixture_ = ef.Mixture.of(F.Gaussian(), old.weights_, means=old.means_, covariances=old.covariances_)
    assert new.score(rows) == pytest.approx(old.score(rows), rel=1e-4)


def test_arrays_of_a_copied_mixture_stay_read_only():
    mixture = copy.deepcopy(fitted("full")[0].mixture_)
    with pytest.raises(ValueError, match="read-only"):
        mixture.natural[:] = 0


def arrays_in(value, known):
    """Yield the arrays that can be reached from a value."""
    if id(value) in known:
        return
    known.append(id(value))
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        yield from (array for one in value.values() for array in arrays_in(one, known))
    elif isinstance(value, (list, tuple)):
        yield from (array for one in value for array in arrays_in(one, known))
    elif type(value).__module__.startswith("expfam_em"):
        yield from arrays_in(vars(value), known)


def far_apart():
    """Components that have frames of their own."""
    rows = np.concatenate([RNG.normal(0, 1e-3, (60, 2)), RNG.normal(1e4, 1, (60, 2))])
    return ef.GaussianMixture(2, reg_covar=0, random_state=0).fit(rows)


MADE = {
    "full": lambda: fitted("full")[0],
    "frames": far_apart,
    "student": lambda: ef.ExponentialFamilyMixture(F.StudentT(), 2, random_state=0).fit(X),
    "product": lambda: ef.ExponentialFamilyMixture(
        F.Product([(F.Gaussian(), [0]), (F.Uniform(low=[-9.0], high=[99.0]), [1])]), 2, random_state=0
    ).fit(X),
    "KMeans": lambda: fitted("KMeans")[0],
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", MADE)
def test_no_array_inside_the_mixture_can_be_changed(name, how, tmp_path):
    mixture = COPIES[how](MADE[name](), tmp_path).mixture_
    derived = [mixture.log_partition, mixture.expectation, mixture.log_weights]
    found = [*derived, *arrays_in(mixture, [])]
    assert len(found) >= 5
    assert not any(array.flags.writeable for array in found)
    assert name != "frames" or mixture.family.frames is not None


@pytest.mark.parametrize("name", ["full", "Poisson", "KMeans"])
def test_fitted_dicts_and_lists_are_copies(name):
    model, _ = fitted(name)
    for attribute in {"parameters_", "lower_bounds_", "distortions_"} & vars(model).keys():
        before = repr(getattr(model, attribute))
        copied = getattr(model, attribute)
        copied.clear()
        assert repr(getattr(model, attribute)) == before
        assert not hasattr(clone(model), attribute)
        with pytest.raises(AttributeError, match=f"no {attribute} yet: call fit first"):
            getattr(clone(model), attribute)
    if name == "KMeans":
        assert model.distortions_[-1] == model.inertia_
    else:
        with pytest.raises(ValueError, match="read-only"):
            next(iter(model.parameters_.values()))[:] = 0


@pytest.mark.parametrize("name", ["full", "KMeans"])
def test_a_fitted_attribute_cannot_be_deleted(name):
    model, rows = fitted(name)
    for attribute in ("mixture_", "n_iter_"):
        with pytest.raises(AttributeError, match=f"{attribute} cannot be deleted, .* set mixture_, .*clone"):
            delattr(model, attribute)
    assert model.predict(rows).shape == (len(rows),)
    model.own_ = 1
    del model.own_
    assert not hasattr(model, "own_")
