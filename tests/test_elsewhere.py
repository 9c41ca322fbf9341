"""Estimators of rows that are not in memory: the bits of the array, and what is refused."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
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
ENDS = ([0, 7, 100, 291], [33], [])

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


FAR = [[0.0, 0.0, 0.0], [90.0, 0.0, 0.0], [-90.0, 0.0, 0.0], [0.0, 90.0, 0.0]]
K_MEANS = {
    "k-means++": ef.KMeans(3, random_state=0),
    "random": ef.KMeans(4, init="random", n_init=3, random_state=1),
    "clusters without rows": ef.KMeans(4, init=FAR, n_init=1, max_iter=3),
    "one": ef.KMeans(1, random_state=0),
    "kept": ef.KMeans(3, random_state=0, max_iter=1),
}
GROUPS = {"rows": X, "repeated": np.round(X / 3), "single": X.astype(np.float32)}


@pytest.mark.parametrize("rows", GROUPS)
@pytest.mark.parametrize("name", K_MEANS)
def test_k_means_finds_the_clusters_of_the_array(name, rows):
    """The array remembers its nearest centres, so that sums are rounded otherwise."""
    data, weight = GROUPS[rows], None if name == "random" else WEIGHT
    expected = clone(K_MEANS[name]).fit(data, sample_weight=weight)
    found = [clone(K_MEANS[name]).fit(kind.of(data, weight, ends)) for kind, ends in zip(SOURCES, ENDS, strict=True)]
    tolerance = 1e-6 if rows == "single" else 1e-12
    for one in found:
        same_fits(one, found[0])
        assert not hasattr(one, "labels_")
        assert one.n_iter_ == expected.n_iter_
        assert one.cluster_centers_ == pytest.approx(expected.cluster_centers_, rel=tolerance, abs=tolerance)
        assert one.cluster_centers_.dtype == data.dtype
        assert one.distortions_ == pytest.approx(expected.distortions_, rel=1e-9)
        assert one.inertia_ == pytest.approx(expected.inertia_, rel=tolerance)
        source = ListRows.of(data, None, [50])
        assert np.array_equal(one.predict(source), expected.labels_)
        assert one.transform(source) == pytest.approx(expected.transform(data), rel=1e-5, abs=1e-5)
        assert one.score(ListRows.of(data, weight, [3])) == pytest.approx(-expected.inertia_, rel=tolerance)


def test_k_means_of_a_path(tmp_path):
    np.save(tmp_path / "x.npy", X)
    one, other = (clone(K_MEANS["k-means++"]) for _ in range(2))
    assert np.array_equal(one.fit_predict(tmp_path / "x.npy"), other.fit_predict(X))
    distances = clone(one).fit_transform(str(tmp_path / "x.npy"))
    assert distances == pytest.approx(cdist(X, one.cluster_centers_), rel=1e-12)
    assert one.status_ == other.status_
    assert hasattr(one.fit(X), "labels_")
    assert not hasattr(one.fit(ListRows.of(X, None, [9])), "labels_")


def test_k_means_goes_on_from_a_checkpoint(tmp_path):
    rows, whole = ReadRows.of(X, WEIGHT, [9]), clone(K_MEANS["k-means++"])
    whole.fit(rows)
    model, kept = clone(whole), tmp_path / "fit.ckpt"

    def stopped(state):
        if state.n_iter == 1:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        model.fit(rows, callbacks=[stopped], checkpoint=kept, checkpoint_every=0)
    assert kept.exists()
    same_fits(model.fit(rows, checkpoint=kept), whole)


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
        (lambda m: ef.MiniBatchKMeans(3).fit(spoiled(0.0)), "MiniBatchKMeans needs all rows in memory"),
        (lambda m: ef.KMeans(3).fit(spoiled(np.nan)), "column 2 of row 77"),
        (lambda m: ef.KMeans(3).fit(X).predict(spoiled(np.nan)), "column 2 of row 77"),
        (lambda m: ef.KMeans(3).fit(ReadRows.of(X[:2], None, [])), "n_samples=2 should be >= n_clusters=3"),
        (lambda m: ef.KMeans(3, init=lambda X, K, random_state: X[:K]).fit(spoiled(0.0)), "a function as init needs"),
        (lambda m: ef.KMeans(3).fit(X).score(spoiled(0.0), sample_weight=WEIGHT), "beside rows that are not in memory"),
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
