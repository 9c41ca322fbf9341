"""Estimators of rows that are not in memory: the bits of the array, and what is refused."""

import numpy as np
import pytest
from sklearn.base import clone

import expfam_em as ef
from tests.own_families import Rayleigh
from tests.row_sources import ListRows, ReadRows, ShuffledRows

pytestmark = pytest.mark.usefixtures("many_chunks")

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(0, 1, (150, 3)), RNG.normal(4, 1.5, (110, 3)), RNG.normal(-5, 0.5, (40, 3))])
X = X[RNG.permutation(300)]
WEIGHT = np.random.default_rng(1).integers(0, 3, 300) * 0.75
BITS = (X > 0).astype(np.uint8)
NORMAL = ef.families.Gaussian()

SOURCES = (ListRows, ShuffledRows, ReadRows)

ESTIMATORS = {
    "full": ef.GaussianMixture(3, random_state=0),
    "diag": ef.GaussianMixture(3, covariance_type="diag", n_init=3, random_state=0),
    "tied": ef.GaussianMixture(2, covariance_type="tied", init_params="k-means++", random_state=0),
    "VEV": ef.GaussianMixture(2, covariance_type="VEV", init_params="random_from_data", guard=True, random_state=0),
    "random": ef.GaussianMixture(2, init_params="random", random_state=0),
    "mixed": ef.ExponentialFamilyMixture(NORMAL, 3, n_init=3, random_state=0),
    "noise": ef.ExponentialFamilyMixture(ef.families.Gaussian("diag"), 2, noise="uniform", random_state=0),
    "repair": ef.ExponentialFamilyMixture(NORMAL, 4, collapse="repair", random_state=0),
    "drop": ef.ExponentialFamilyMixture(NORMAL, 4, init="random_from_data", collapse="drop", random_state=0),
    "prior": ef.ExponentialFamilyMixture(NORMAL, 3, prior="weak", random_state=0),
    "bayesian": ef.BayesianGaussianMixture(4, random_state=0),
    "annealed": ef.ExponentialFamilyMixture(NORMAL, 2, temperature=[4.0, 2.0, 1.0], random_state=0),
    "hard": ef.ExponentialFamilyMixture(ef.families.KnownCovariance(), 3, temperature=0.0, weights="equal",
                                        random_state=0),
    "binary": ef.BernoulliMixture(2, random_state=0),
}  # fmt: skip


def columns_of(name):
    return BITS if name == "binary" else X


def same_fits(one, other):
    """Assert that two fitted estimators have the same bits."""
    for name, value in vars(other).items():
        if name.endswith("_") and isinstance(value, np.ndarray | float | int | str | list):
            assert np.array_equal(getattr(one, name), value, equal_nan=np.asarray(value).dtype.kind == "f"), name


@pytest.mark.filterwarnings("ignore:Best performing")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fit_has_the_bits_of_the_array(name):
    source = SOURCES[len(name) % 3]
    data, weight = columns_of(name), WEIGHT if name in ("full", "mixed", "binary") else None
    rows = source.of(data, weight, [0, 7, 100, 291])
    one, other = clone(ESTIMATORS[name]).fit(rows), clone(ESTIMATORS[name]).fit(data, sample_weight=weight)
    same_fits(one, other)
    plain = source.of(data, None, [33])
    assert np.array_equal(one.predict(plain), other.predict(data))
    assert np.array_equal(one.predict_proba(plain), other.predict_proba(data))
    assert np.array_equal(one.score_samples(plain), other.score_samples(data))


def test_criteria_and_standard_errors_are_those_of_the_array():
    rows, model = ShuffledRows.of(X, WEIGHT, [9]), ef.GaussianMixture(2, tol=1e-12, max_iter=500, random_state=0)
    model.fit(X, sample_weight=WEIGHT)
    for name in ("score", "aic", "bic", "icl"):
        assert getattr(model, name)(rows) == pytest.approx(getattr(model, name)(X, sample_weight=WEIGHT), rel=1e-13)
    assert model.icl(rows, kind="classification") == pytest.approx(model.icl(X, WEIGHT, "classification"), rel=1e-13)
    assert str(model.summary(rows)) == str(model.summary(X, WEIGHT))


def test_a_family_with_bind_alone_is_looked_at_once():
    class Bounded(Rayleigh):
        def bind(self, blocks):
            return self.replace(largest=max(X.max() for X, _ in blocks))

    class CountedRows(ListRows):
        def reduce(self, function, work):
            n_reads.append(work)
            return super().reduce(function, work)

    n_reads, model = [], ef.ExponentialFamilyMixture(Bounded(), 2, random_state=0).fit(np.exp(X))
    assert np.array_equal(model.predict(CountedRows.of(np.exp(X), None, [9])), model.predict(np.exp(X)))
    assert len(n_reads) == 2


def spoiled(value):
    data = X.copy()
    data[77, 2] = value
    return ReadRows.of(data, None, [50])


@pytest.mark.parametrize(
    ("fit", "told"),
    [
        (lambda m: m.fit(spoiled(np.nan)), r"column 2 of row 77 is missing \(NaN\): rows with missing values must be"),
        (lambda m: m.fit(spoiled(np.inf)), "column 2 of row 77 is inf; give finite numbers"),
        (lambda m: m.fit(ReadRows.of(X[:2], None, [])), "n_components = 3, n_samples = 2"),
        (lambda m: m.fit(ReadRows.of(X, None, []), sample_weight=WEIGHT), "sample_weight is given beside rows"),
        (
            lambda m: m.fit(ReadRows.of(X, None, []), allowed=np.eye(300, 3) < 1),
            "log_prior\\) needs all rows in memory",
        ),
        (lambda m: m.fit(X).predict(ReadRows.of(BITS[:, :2], None, [])), "X has 2 features, but GaussianMixture is"),
        (lambda m: m.fit(X).predict(spoiled(np.nan)), "column 2 of row 77"),
        (lambda m: m.fit(X).impute(spoiled(np.nan)), "imputation of missing values needs all rows in memory"),
        (lambda m: ef.KMeans(3).fit(spoiled(0.0)), "KMeans needs all rows in memory"),
        (lambda m: ef.ExponentialFamilyMixture(ef.families.Gamma()).fit(spoiled(-1.0)), r"holds -0.\d* \(row 1\)"),
        (lambda m: ef.fit_many(m, [spoiled(0.0)]), "fit_many needs all rows in memory"),
        (lambda m: ef.select(spoiled(0.0)), "select needs all rows in memory"),
        (lambda m: ef.bootstrap(m.fit(X), spoiled(0.0)), "bootstrap needs all rows in memory"),
        (
            lambda m: ef.goodness_of_fit(ef.BernoulliMixture().fit(BITS), spoiled(0.0)),
            "goodness_of_fit needs all rows in memory",
        ),
        (lambda m: ef.likelihood_ratio_test(m, spoiled(0.0)), "likelihood_ratio_test needs all rows in memory"),
    ],
)
def test_what_makes_no_sense_is_refused(fit, told):
    with pytest.raises(ValueError, match=told):
        fit(ef.GaussianMixture(3, random_state=0))
