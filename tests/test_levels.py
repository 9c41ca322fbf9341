"""Levels of labels: those that occur, whatever their codes, are counted, kept, named, and asked for of new rows."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.model_selection import GridSearchCV, KFold

import expfam_em as ef
from expfam_em import families
from expfam_em.families import Categorical, Componentwise, Gaussian, Multinomial, OneHot, Product, Uniform, ZeroInflated


def ranks_of(n=150, sizes=(4, 3), seed=0):
    """Labels 0, 1, … of two classes, all of which occur."""
    rng = np.random.default_rng(seed)
    of_class = (rng.random(n) < 0.4).astype(int)
    shares = [[np.arange(1, size + 1) / np.arange(1, size + 1).sum(), np.full(size, 1 / size)] for size in sizes]
    columns = [[rng.choice(len(of[c]), p=of[c][::-1] if c else of[c]) for c in of_class] for of in shares]
    X = np.array(columns, float).T
    X[: max(sizes)] = np.minimum(np.arange(max(sizes))[:, None], np.array(sizes) - 1)
    return X


RANKS = ranks_of()
HALVES = np.arange(len(RANKS)) % 2
CODES = {
    "from 0": ([0, 1, 2, 3], [0, 1, 2]),
    "from 1": ([1, 2, 3, 4], [1, 2, 3]),
    "tens": ([10, 20, 30, 40], [0, 99, 100]),
    "a gap": ([0, 1, 2, 7], [0, 2, 3]),
    "large": ([0, 2, 2**40, 2**53], [5, 6, 7]),
}


def coded(ranks, codes):
    """Return the labels that stand for ranks."""
    return np.stack([np.array(of, float)[x.astype(int)] for x, of in zip(ranks.T, codes, strict=True)], axis=1)


def fitted(family, X, K=2, **options):
    options = {"init": HALVES, "tol": 1e-10, "max_iter": 2000, "acceleration": None} | options  # a ridge of maxima
    return ef.ExponentialFamilyMixture(family, K, **options).fit(X)


def textbook_em(ranks, sizes, K=2, steps=2000):
    """Return log-likelihood and shares of latent classes, by EM with loops over columns, from HALVES."""
    T = [np.eye(size)[x.astype(int)] for x, size in zip(ranks.T, sizes, strict=True)]
    r = np.eye(K)[HALVES]
    for _ in range(steps):
        weights, shares = r.mean(axis=0), [(r.T @ t) / r.sum(axis=0)[:, None] for t in T]
        p = weights * np.prod([t @ of.T for t, of in zip(T, shares, strict=True)], axis=0)
        r = p / p.sum(axis=1, keepdims=True)
    return np.log(p.sum(axis=1)).sum(), shares


@pytest.mark.parametrize("codes", CODES.values(), ids=CODES)
def test_codes_stand_for_their_ranks(codes, tmp_path):
    X = coded(RANKS, codes)
    model = fitted(Categorical(), X)
    log_likelihood, shares = textbook_em(RANKS, (4, 3))
    assert model.mixture_.n_parameters == 2 * (3 + 2) + 1
    assert model.bic(X) == pytest.approx(-2 * log_likelihood + 11 * np.log(len(X)), rel=1e-9)
    for column, expected in enumerate(shares):
        found = model.parameters_["probabilities"][:, column]
        assert found[:, : expected.shape[1]] == pytest.approx(expected, abs=1e-4)
        assert np.all(found[:, expected.shape[1] :] == 0)
    assert model.parameters_["levels"].tolist() == 2 * [[codes[0], [*codes[1], -1]]]
    on_ranks = fitted(Categorical(), RANKS)  # the same statistics, so the same bits
    assert np.array_equal(model.predict_proba(X), on_ranks.predict_proba(RANKS))
    assert model.lower_bounds_ == on_ranks.lower_bounds_
    drawn, _ = model.sample(200)
    assert [np.unique(x).tolist() for x in drawn.T] == list(codes)
    model.save(tmp_path / "model.efm")
    again = ef.load(tmp_path / "model.efm")
    assert again.mixture_.family.levels == model.mixture_.family.levels
    assert np.array_equal(again.score_samples(X), model.score_samples(X))
    assert np.array_equal(fitted(Categorical(codes), X).predict_proba(X), model.predict_proba(X))


def test_zero_and_99_are_two_levels():
    X = np.stack([np.repeat([10.0, 20, 30], 40), np.tile([0.0, 99], 60)], axis=1)
    X[:20] = [10, 0]
    assert fitted(Categorical(), X, init="k-means++", random_state=0).mixture_.n_parameters == 2 * (2 + 1) + 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8])
def test_rows_of_any_type_have_the_same_levels(dtype):
    X = coded(RANKS, CODES["tens"]).astype(dtype)
    model = fitted(Categorical(), X)
    assert model.mixture_.family.levels == ((10, 20, 30, 40), (0, 99, 100))
    assert model.predict(X).tolist() == fitted(Categorical(), RANKS).predict(RANKS).tolist()


def test_absent_rows_have_no_levels():
    X, weight = coded(RANKS, CODES["tens"]), np.ones(len(RANKS))
    weight[X[:, 0] == 40] = 0
    model = ef.ExponentialFamilyMixture(Categorical(), 2, init=HALVES).fit(X, sample_weight=weight)
    present = weight > 0
    alone = ef.ExponentialFamilyMixture(Categorical(), 2, init=HALVES[present]).fit(X[present])
    assert model.mixture_.family.levels == alone.mixture_.family.levels == ((10, 20, 30), (0, 99, 100))
    assert model.lower_bound_ == pytest.approx(alone.lower_bound_, rel=1e-12)


def test_a_column_with_one_label_says_nothing():
    X = np.column_stack([RANKS, np.full(len(RANKS), 7.0)])
    one, other = fitted(Categorical(), X), fitted(Categorical(), RANKS)
    assert one.mixture_.n_parameters == other.mixture_.n_parameters
    assert one.lower_bound_ == pytest.approx(other.lower_bound_, rel=1e-12)
    assert np.all(one.sample(20)[0][:, 2] == 7)
    assert repr(one.mixture_.family) == "Categorical([4, 3, [7]])"
    assert repr(Categorical([range(1, 40), [5]])) == "Categorical([[1, 2, 3, 4, …, 36, 37, 38, 39], [5]])"


# ---- families made of others ---------------------------------------------------------------------------------------


def test_levels_of_a_part():
    X = np.column_stack([coded(RANKS, CODES["tens"]), np.random.default_rng(1).normal(size=len(RANKS))])
    model = fitted(Product([(Categorical(), [0, 1]), (Gaussian("full"), [2])]), X)
    assert model.mixture_.n_parameters == 2 * (3 + 2 + 2) + 1
    assert model.parameters_["categorical_levels"][0, 1].tolist() == [0, 99, 100, -1]
    assert set(np.unique(model.sample(50)[0][:, 0])) <= {10, 20, 30, 40}
    with pytest.raises(ValueError, match=r"one of the labels 0, 99, 100; column 1 holds 7.0 \(row 0\)"):
        model.predict([[10.0, 7, 0]])


def test_levels_of_the_rows_that_are_not_zero():
    X = np.where(np.arange(60) % 3 == 0, 0.0, np.where(np.arange(60) % 4 == 0, 3.0, 5.0))[:, None]
    model = fitted(ZeroInflated(Categorical()), X, 1, init="k-means++", random_state=0)
    assert model.parameters_["levels"].tolist() == [[[3, 5]]]
    assert model.parameters_["zero_shares"] == pytest.approx([1 / 3], rel=1e-12)
    assert model.mixture_.n_parameters == 2


def test_levels_of_components_of_other_families():
    family = Componentwise([(Categorical(), 1), (families.Poisson(), 1)])
    X = np.repeat([2.0, 4, 6], 30)[:, None]
    model = fitted(family, X, init="k-means++", random_state=0, tol=1e-3)
    assert model.parameters_["categorical_levels"].tolist() == [[[2, 4, 6]]]
    assert model.mixture_.n_parameters == 2 + 1 + 1


def test_empty_columns_of_indicators_and_counts_are_not_counted():
    ranks = RANKS.astype(int)
    X = np.concatenate([np.eye(5)[ranks[:, 0]], np.eye(4)[ranks[:, 1] + 1]], axis=1)
    model, labels = fitted(OneHot([5, 4]), X), fitted(Categorical(), RANKS)
    assert model.mixture_.n_parameters == labels.mixture_.n_parameters == 11
    assert model.bic(X) == pytest.approx(labels.bic(RANKS), rel=1e-12)
    assert fitted(OneHot([5, 4]), sparse.csr_array(X)).mixture_.n_parameters == 11
    rows = np.concatenate([np.random.default_rng(0).poisson(3, (40, 3)) + 1.0, np.zeros((40, 2))], axis=1)
    for given in (rows, sparse.csr_array(rows)):
        options = {"init": "k-means++", "random_state": 0}
        assert fitted(Multinomial(), given, **options).mixture_.n_parameters == 2 * (3 - 1) + 1


# ---- rows with other labels ----------------------------------------------------------------------------------------


def test_an_unseen_label_is_an_error_or_has_density_0():
    X = coded(RANKS, CODES["from 1"])
    new = np.array([[9.0, 1], [2, 3]])
    strict, lenient = fitted(Categorical(), X), fitted(Categorical(unseen="zero"), X)
    for use in (strict.predict, strict.predict_proba, strict.score_samples, strict.score):
        with pytest.raises(ValueError, match=r"needs one of the labels 1, 2, 3, 4; column 0 holds 9.0 \(row 0\)"):
            use(new)
    assert np.array_equal(strict.mixture_.log_density(new), lenient.score_samples(new))
    assert lenient.score_samples(new)[0] == -np.inf
    assert lenient.score_samples(new)[1] == strict.score_samples(new[1:])[0]
    only_second = strict.mixture_.marginal([1]).responsibilities([[1.0]])
    assert lenient.predict_proba(new)[:1] == pytest.approx(only_second, rel=1e-12)
    with pytest.raises(ValueError, match=r"whole numbers from 0; column 0 holds 0.5"):
        lenient.predict([[0.5, 1]])
    with pytest.raises(ValueError, match="unseen is 'ignore'; it must be 'error' or 'zero'"):
        Categorical(unseen="ignore")


@pytest.mark.parametrize("unseen", ["error", "zero"])
def test_a_fit_refuses_labels_that_are_not_among_those_given(unseen):
    with pytest.raises(ValueError, match=r"row 3"):
        fitted(Categorical([3, 3], unseen), RANKS)


def test_cross_validation_over_folds_that_lack_a_label():
    X = coded(RANKS, CODES["from 1"])
    X[0, 0] = 8  # held out in one fold, and then unseen
    folds = KFold(3)

    def scores(family):
        model = ef.ExponentialFamilyMixture(family, 1, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn tells of the folds that fail
            search = GridSearchCV(model, {"n_components": [1, 2]}, cv=folds).fit(X)
        return np.array([search.cv_results_[f"split{i}_test_score"] for i in range(3)])

    assert np.isnan(scores(Categorical())[0]).all()
    assert np.isfinite(scores(Categorical([np.unique(x) for x in X.T]))).all()
    with_zero = scores(Categorical(unseen="zero"))
    assert np.all(with_zero[0] == -np.inf)
    assert np.isfinite(with_zero[1:]).all()


def test_a_start_or_a_prior_for_other_levels_is_refused():
    X, Y = coded(RANKS, CODES["from 1"]), RANKS
    model = fitted(Categorical(), X)
    statistics = ef.accumulate(model.mixture_, X)
    for options in ({"init": model.mixture_}, {"prior": statistics}):
        with pytest.raises(
            ValueError, match=r"Categorical\(\[\[1, 2, 3, 4\], \[1, 2, 3\]\]\) .* Categorical\(\[4, 3\]\)"
        ):
            fitted(Categorical(), Y, **options)
    with pytest.raises(ValueError, match="whose levels are others"):
        model.set_params(warm_start=True).fit(Y)
    part = Product([(Categorical(), [0, 1])])
    with pytest.raises(ValueError, match="whose levels are others"):
        fitted(part, Y, init=fitted(part, X).mixture_)
    with pytest.raises(ValueError, match="another family"):
        statistics + ef.accumulate(fitted(Categorical(), Y).mixture_, Y)
    assert fitted(Categorical(), X, init=model.mixture_).lower_bound_ >= model.lower_bound_


SETTABLE = {
    "labels": (Categorical(4), RANKS),
    "indicators": (OneHot(4), np.eye(4)[RANKS[:, 0].astype(int)]),
    "a box": (Uniform(0.0, 5.0), RANKS),
    "trials": (families.Binomial(4), RANKS),
}


@pytest.mark.parametrize(("family", "X"), SETTABLE.values(), ids=SETTABLE)
def test_a_number_that_stands_for_all_columns_is_that_of_each(family, X):
    model = fitted(family, X, 1, init="k-means++", random_state=0)
    before = model.score(X)
    model.mixture_ = model.mixture_
    assert model.score(X) == before


# ---- mixtures from parameters --------------------------------------------------------------------------------------


def test_mixtures_are_made_of_levels_that_are_given():
    family, shares = Categorical([[1, 2, 5], [0, 9]]), [[[0.2, 0.3, 0.5], [0.1, 0.9, 0]], [[0.6, 0.3, 0.1], [1, 0, 0]]]
    levels = [[1, 2, 5], [0, 9, -1]]
    mixture = ef.Mixture.of(family, [0.5, 0.5], probabilities=shares)
    assert mixture.log_density([[5.0, 9]]) == pytest.approx(np.log(0.5 * 0.5 * 0.9), rel=1e-12)
    assert mixture.parameters["levels"].tolist() == [levels, levels]
    again = ef.Mixture.of(family, [0.5, 0.5], **mixture.parameters)
    assert again.parameters["probabilities"] == pytest.approx(np.array(shares), rel=1e-12)
    assert ef.Mixture.of(family, [1.0], probabilities=shares[0], levels=levels).n_components == 1
    with pytest.raises(ValueError, match="they must be those of Categorical"):
        ef.Mixture.of(family, [0.5, 0.5], probabilities=shares, levels=[[1, 2, 6], [0, 9, -1]])
    assert mixture.marginal([1]).family.levels == ((0, 9),)
    given = mixture.conditional([1], [9.0])
    assert given.weights == pytest.approx([1, 0], abs=1e-12)
    assert given.log_density([[5.0]]) == pytest.approx(np.log(0.5), rel=1e-12)
    assert set(mixture.complete([1], [[9.0]] * 50, rng=0)[:, 0]) == {1, 2, 5}
    with pytest.raises(ValueError, match=r"one of the labels 0, 9; column 0 holds 1.0"):
        mixture.conditional([1], [1.0])


@pytest.mark.parametrize("codes", CODES.values(), ids=CODES)
def test_the_laws_of_a_family_hold_for_codes(codes):
    with warnings.catch_warnings():  # labels with gaps are no interval, over which the law of the mass could be summed
        warnings.filterwarnings("ignore", ".*it is undecided whether", UserWarning)
        ef.check_family(Categorical(), coded(RANKS, codes))


def test_means_are_those_of_the_labels():
    family, shares = Categorical([[1, 2, 3], [0, 99]]), [[[0.2, 0.3, 0.5], [0.9, 0.1, 0.0]]]
    mixture = ef.Mixture.of(family, [1.0], probabilities=shares)
    assert mixture.conditional_mean([1], [[0.0], [99.0]]) == pytest.approx(np.full((2, 1), 2.3), rel=1e-14)
    assert mixture.conditional_mean([0], [[3.0]]) == pytest.approx(np.array([[9.9]]), rel=1e-14)
    assert family.mean(mixture.natural) == pytest.approx(np.array([[2.3, 9.9]]), rel=1e-14)
