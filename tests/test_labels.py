"""Labels, allowed components and prior probabilities of rows, against textbook formulas that go row by row."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse, stats
from scipy.special import logsumexp, softmax
from sklearn import discriminant_analysis, naive_bayes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import expfam_em as ef
from expfam_em import families
from tests.cases import CASES
from tests.covariance_models import MODELS
from tests.problems import PI, problem_of, same

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CENTRES = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
INITS = ["kmeans", "k-means++", "random", "random_from_data", "ward", "kmeans_scaled", "unequal", "mixed"]
FREE = -1


def clusters(n=60, seed=0):
    """Rows of three normal clusters that overlap, and the cluster of each."""
    z = np.random.default_rng(seed).integers(0, 3, 3 * n)
    return CENTRES[z] + np.random.default_rng(seed + 1).normal(size=(3 * n, 2)) * [[1.0, 0.7]], z


def some_of(z, share=0.2, seed=2):
    return np.where(np.random.default_rng(seed).random(len(z)) < share, z, FREE)


def what_is_known(z, kind, seed=5):
    """Arguments of ``fit`` and log q (n, K) of rows whose components are z."""
    rng, n = np.random.default_rng(seed), len(z)
    log_q, known = np.zeros((n, 3)), {}
    if "labels" in kind:
        known["y"] = some_of(z)
        log_q[known["y"] != FREE] = np.where(np.eye(3) > 0, 0.0, -np.inf)[known["y"][known["y"] != FREE]]
    if "allowed" in kind:
        known["allowed"] = (rng.random((n, 3)) < 0.6) | (np.arange(3) == z[:, None])
        log_q[~known["allowed"]] = -np.inf
    if "prior" in kind:
        known["log_prior"] = rng.normal(0, 2, (n, 3))
        known["log_prior"][rng.random((n, 3)) < 0.1] = -np.inf
        known["log_prior"][np.arange(n), z] = 0.3
        log_q = log_q + known["log_prior"]
    return known, log_q


def fit(family, X, known, weight=None, **how):
    how = {"tol": 0, "n_jobs": 2, "random_state": 0} | how
    return ef.ExponentialFamilyMixture(family, 3, labelled="y" in known, **how).fit(X, sample_weight=weight, **known)


# ---- one step, row by row ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["labels, allowed", "labels, allowed, prior"])
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_a_step_is_that_of_known_responsibilities(case, kind):
    problem = problem_of(case, "whole")
    X, w, start = problem.X, problem.w, problem.start
    z = start.responsibilities(X).argmax(axis=1)
    known, log_q = what_is_known(z, kind)
    score = np.column_stack([case.log_density(X, theta) for theta in problem.thetas]) + np.log(PI) + log_q
    R = w[:, None] * softmax(score, axis=1)
    found = fit(case.family, X, known, w, init=start, max_iter=1)
    expected = ef.Mixture(case.family, R.sum(axis=0) / w.sum(), case.naturals(case.estimate_all(X, R)))
    same(found.mixture_, expected, 1e-8)
    after = found.mixture_.family.log_density(X, found.mixture_.natural) + found.mixture_.log_weights + log_q
    assert found.lower_bound_ == pytest.approx(np.average(logsumexp(after, axis=1), weights=w), rel=1e-9, abs=1e-9)


# ---- the bound, for all kinds of rows and passes -------------------------------------------------------------------


def special(name):
    """A family, rows of it, and the component of each row."""
    rng, n = np.random.default_rng(3), 240
    z = rng.integers(0, 3, n)
    counts = rng.poisson(np.array([[1, 5, 2, 0.5], [6, 1, 2, 0.5], [2, 2, 9, 4]])[z]).astype(float)
    normal = CENTRES[z] * 2 + rng.normal(size=(n, 2))
    if name == "Bernoulli of codes":
        z = rng.integers(0, 3, 4000)
        return families.Bernoulli(), (rng.random((4000, 16)) < rng.random((3, 16))[z]).astype(np.uint8), z
    made = {
        "sparse": lambda: (families.Poisson(), sparse.csr_array(counts)),
        "sparse with exposure": lambda: (families.Multinomial(), sparse.csr_array(np.maximum(counts, [1, 0, 0, 0]))),
        "float32": lambda: (families.Gaussian("full"), normal.astype(np.float32)),
        "far": lambda: (families.Gaussian("full"), normal + 1e6 * CENTRES[z]),
        "StudentT": lambda: (families.StudentT(4.0), normal),
        "GammaPoisson": lambda: (families.GammaPoisson(), counts),
        "narrow Gamma": lambda: (families.Gamma(), 1 + 1e-7 * rng.gamma(5, 1, (n, 1)) + 1e-5 * z[:, None]),
        "Product": lambda: (families.Product([(families.Gaussian("tied"), [0, 1]), (families.Poisson(), [2, 3])]),
                            np.column_stack([normal, counts[:, :2]])),
        "Componentwise": lambda: (families.Componentwise(
            [(families.Gaussian("full"), 2), (families.Uniform(), 1)]), normal),
        "tied": lambda: (families.Gaussian("tied"), normal),
        "missing": lambda: (families.Gaussian("full"), np.where(rng.random((n, 2)) < 0.2, np.nan, normal)),
        "missing counts": lambda: (families.Poisson(), np.where(rng.random((n, 4)) < 0.2, np.nan, counts)),
    }  # fmt: skip
    return (*made[name](), z)


SPECIAL = [
    "sparse", "sparse with exposure", "float32", "far", "StudentT", "GammaPoisson", "narrow Gamma", "Product",
    "Componentwise", "tied", "missing", "missing counts", "Bernoulli of codes",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["labels", "labels, allowed, prior"])
@pytest.mark.parametrize("name", SPECIAL)
def test_the_bound_is_the_likelihood_with_what_is_known(name, kind):
    family, X, z = special(name)
    known, log_q = what_is_known(z, kind)
    weight = np.random.default_rng(8).integers(0, 3, len(z)).astype(float)
    model = fit(family, X, known, weight, max_iter=15, tol=1e-9, n_init=2)
    mixture = model.mixture_
    bounds = np.array(model.lower_bounds_)
    # a bound is rounded like the log-densities of rows, whose statistics are as large as the squares of the rows
    assert np.all(np.diff(bounds) > -1e-9 * (1 + np.abs(bounds).max()))
    if name.startswith("missing"):  # responsibilities and the density of what is observed say what each component's is
        score = np.log(mixture.responsibilities(X)) + mixture.log_density(X)[:, None] + log_q
    else:
        rows = X.toarray() if sparse.issparse(X) else X
        score = mixture.family.log_density(np.asarray(rows, float), mixture.natural) + mixture.log_weights + log_q
    assert model.lower_bound_ == pytest.approx(np.average(logsumexp(score, axis=1), weights=weight), rel=1e-7)
    counts = weight @ softmax(score, axis=1)
    assert_allclose(model.weights_, counts / counts.sum(), atol=0.05)  # nearly at a fixed point


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
def test_temperatures_divide_log_priors_like_log_weights(temperature):
    X, z = clusters()
    known, log_q = what_is_known(z, "labels, allowed, prior")
    start = ef.Mixture.of(families.Poisson(), [0.5, 0.3, 0.2], rates=1.0 + CENTRES)
    X = np.floor(np.abs(X))
    score = stats.poisson.logpmf(X[:, None], 1.0 + CENTRES).sum(axis=2) + np.log([0.5, 0.3, 0.2]) + log_q
    R = softmax(score / temperature, axis=1) if temperature else np.eye(3)[score.argmax(axis=1)]
    found = fit(families.Poisson(), X, known, init=start, max_iter=1, temperature=temperature)
    assert_allclose(found.weights_, R.mean(axis=0), rtol=1e-12)
    assert_allclose(found.parameters_["rates"], (R.T @ X) / R.sum(axis=0)[:, None], rtol=1e-12)


# ---- whole fits ----------------------------------------------------------------------------------------------------


def textbook(X, log_q, means, steps):
    """EM for normal mixtures, row by row, from means and unit covariances."""
    weights, covariances = np.full(3, 1 / 3), np.array([np.eye(2)] * 3)
    for _ in range(steps):
        densities = [stats.multivariate_normal(m, c).logpdf(X) for m, c in zip(means, covariances, strict=True)]
        R = softmax(np.array(densities).T + np.log(weights) + log_q, axis=1)
        weights, means = R.mean(axis=0), (R.T @ X) / R.sum(axis=0)[:, None]
        covariances = np.array([(r[:, None] * (X - m)).T @ (X - m) / r.sum() for r, m in zip(R.T, means, strict=True)])
    return weights, means, covariances


@pytest.mark.parametrize("kind", ["labels", "labels, allowed", "labels, prior"])
def test_a_fit_of_some_labels_is_that_of_the_textbook(kind):
    X, z = clusters(40)
    X += 0.7 * CENTRES[z]
    known, log_q = what_is_known(z, kind)
    weights, means, covariances = textbook(X, log_q, CENTRES, 100)
    for how in ({"acceleration": None}, {"acceleration": "auto"}):
        model = ef.GaussianMixture(
            3, reg_covar=0, tol=1e-12, max_iter=500, labelled=True, random_state=0, n_init=2, **how
        ).fit(X, **known)
        assert_allclose(model.weights_, weights, atol=1e-5)
        assert_allclose(model.means_, means, atol=1e-5)
        assert_allclose(model.covariances_, covariances, atol=1e-5)


class Quadratic:
    """Discriminant analysis with the covariances of maximum likelihood; scikit-learn's divide by n or by n − 1."""

    def __init__(self, X, z):
        self.means_ = np.array([X[z == k].mean(axis=0) for k in np.unique(z)])
        self.covariance_ = np.array([np.cov(X[z == k].T, bias=True) for k in np.unique(z)])
        self.shares = np.bincount(z) / len(z)

    def predict_proba(self, X):
        thetas = zip(self.means_, self.covariance_, strict=True)
        density = self.shares * np.column_stack([stats.multivariate_normal.pdf(X, *theta) for theta in thetas])
        return density / density.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)


def discriminant_cases():
    X, z = clusters()
    quadratic = Quadratic(X, z)
    linear = discriminant_analysis.LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(X, z)
    bayes = naive_bayes.GaussianNB(var_smoothing=0).fit(X, z)
    return {
        "full": (quadratic, quadratic.covariance_),
        "tied": (linear, linear.covariance_),
        "diag": (bayes, bayes.var_),
    }


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_all_labels_known_is_discriminant_analysis(kind, init):
    X, z = clusters()
    peer, covariances = discriminant_cases()[kind]
    model = ef.GaussianMixture(3, covariance_type=kind, reg_covar=0, init_params=init, labelled=True, random_state=1)
    model.fit(X, z)
    assert model.converged_
    assert model.n_iter_ <= 2
    assert_allclose(model.means_, peer.theta_ if kind == "diag" else peer.means_, rtol=1e-12, atol=1e-12)
    assert_allclose(model.weights_, np.bincount(z) / len(z), rtol=1e-12)
    assert_allclose(model.covariances_, covariances, rtol=1e-10, atol=1e-12)
    new = np.random.default_rng(9).normal(1, 2, (50, 2))
    assert_allclose(model.predict_proba(new), peer.predict_proba(new), rtol=1e-8, atol=1e-12)
    assert np.array_equal(model.predict(new), peer.predict(new))


def test_all_labels_of_binary_rows_known_is_naive_bayes():
    z = np.random.default_rng(0).integers(0, 3, 5000)  # as many as would be coded or found to repeat
    X = np.random.default_rng(1).random((5000, 12)) < np.random.default_rng(2).uniform(0.1, 0.9, (3, 12))[z]
    peer = naive_bayes.BernoulliNB(alpha=0, force_alpha=True).fit(X, z)
    for rows in (X, X.astype(float), sparse.csr_array(X.astype(float))):
        model = ef.BernoulliMixture(3, labelled=True, random_state=0).fit(rows, z)
        assert_allclose(model.probabilities_, np.exp(peer.feature_log_prob_), rtol=1e-12)
        assert_allclose(model.predict_proba(rows), peer.predict_proba(X), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_covariance_model_takes_labels(model):
    X, z = clusters()
    fitted = ef.GaussianMixture(3, covariance_type=model, reg_covar=0, labelled=True, random_state=0).fit(X, z)
    given = ef.GaussianMixture(3, covariance_type=model, reg_covar=0, init=z, random_state=0, max_iter=0).fit(X)
    assert_allclose(fitted.means_, given.means_, rtol=1e-12, atol=1e-12)
    assert_allclose(fitted.covariances_, given.covariances_, rtol=1e-4, atol=1e-6)  # some are solved step by step


# ---- starts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("kind", ["one label of two clusters", "allowed", "prior"])
def test_components_have_the_numbers_of_the_labels(kind, init, n_init):
    X, z = clusters()
    X, z = X + 5 * CENTRES[z], (z + 1) % 3
    known = {}
    if kind == "allowed":  # every row may be of two components
        known["allowed"] = np.arange(3) != ((z + 1 + np.arange(len(z)) % 2) % 3)[:, None]
    elif kind == "prior":
        known["log_prior"] = np.where(np.arange(3) == z[:, None], 0.5, 0.0)
    else:
        known["y"] = np.full(len(z), FREE)
        known["y"][[np.flatnonzero(z == 2)[0], np.flatnonzero(z == 0)[0]]] = 2, 0
    for seed in range(3):
        model = ef.GaussianMixture(3, init_params=init, n_init=n_init, labelled="y" in known, random_state=seed,
                                   max_iter=300).fit(X, **known)  # fmt: skip
        if init in ("kmeans", "k-means++", "ward", "mixed"):  # others may start where EM ends elsewhere
            assert np.array_equal(model.predict(X), z)


@pytest.mark.parametrize(
    "kind", ["labels", "prior", "missing, labels", "missing, prior", "sparse, labels", "sparse, prior"]
)
def test_starts_of_many_rows_see_few_labels(kind):
    """Of 6,000 rows 20 have labels; mixed starts look at 5,000."""
    z = np.random.default_rng(0).integers(0, 3, 6000)
    X = np.random.default_rng(1).poisson(np.array([[1, 9, 1], [9, 1, 1], [1, 1, 9]])[z]).astype(float)
    known = {"y": np.where(np.arange(6000) < 20, z, FREE)}
    if "prior" in kind:
        known = {"log_prior": np.where((np.arange(3) == z[:, None]) & (np.arange(6000) < 200)[:, None], 1.0, 0.0)}
    if "missing" in kind:
        X[np.arange(6000) % 7 == 3, 1] = np.nan
    rows = sparse.csr_array(X) if "sparse" in kind else X
    for init in ("mixed", "k-means++", "kmeans", "random"):
        model = fit(families.Poisson(), rows, known, init=init, tol=1e-6, max_iter=100)
        assert init == "random" or np.mean(model.predict(rows) == z) > 0.9


def test_components_of_different_families_have_the_numbers_of_the_labels():
    X, z = clusters()
    X = np.concatenate([X + 6 * CENTRES[z], np.random.default_rng(0).uniform(-10, 30, (30, 2))])
    y = np.concatenate([np.where(np.arange(len(z)) % 4, FREE, z), np.full(30, FREE)])
    y[-10:] = 3
    family = families.Componentwise([(families.Gaussian("full"), 3), (families.Uniform(), 1)])
    model = ef.ExponentialFamilyMixture(family, 4, labelled=True, random_state=0).fit(X, y)
    assert np.mean(model.predict(X)[:-30] == z) > 0.95


# ---- with what else an estimator may be asked ----------------------------------------------------------------------


def far_clusters():
    X, z = clusters(100)
    return X + 2 * CENTRES[z], z, some_of(z)


@pytest.mark.parametrize("kind", ["labels", "prior", "missing, labels", "rounded, labels"])
def test_the_guard_knows_what_is_known(kind):
    X, z, y = far_clusters()
    X = X.round(1) if "rounded" in kind else X
    X[np.arange(len(X)) % 5 == 1, 0] = np.nan if "missing" in kind else 0.1
    known = {"log_prior": np.where(np.arange(3) == z[:, None], 3.0, 0.0)} if kind == "prior" else {"y": y}
    model = fit(families.Gaussian("full"), X, known, n_init=3, tol=1e-6, guard=True)
    assert model.sound_
    assert np.all(model.support_ > np.log(len(X)))
    one = fit(families.Gaussian("full"), X, {"y": z}, tol=1e-6, guard=True)  # all rows are of one component
    assert one.sound_


def test_noise_is_the_label_behind_those_of_the_components():
    X, z, y = far_clusters()
    X = np.concatenate([X, np.random.default_rng(0).uniform(-20, 20, (40, 2))])
    y = np.concatenate([y, np.full(37, FREE), [3, 3, 3]])
    prior = np.where(np.arange(4) == np.concatenate([z, np.full(40, 3)])[:, None], 3.0, 0.0)
    for init in ("auto", "ward"):
        for known in ({"y": y}, {"log_prior": prior}):
            model = fit(families.Gaussian("full"), X, known, noise="uniform", init=init, n_init=3, tol=1e-6)
            assert np.mean(model.predict(X[: len(z)]) == z) > 0.95


def test_a_posterior_counts_labels():
    X, z, _ = far_clusters()
    model = fit(families.Gaussian("full"), X, {"y": z}, bayesian=True, tol=1e-6)
    assert_allclose(model.posterior_.counts, np.bincount(z))


def test_components_with_fixed_parameters_keep_the_numbers_of_the_labels():
    X, z, y = far_clusters()
    means = np.full((3, 2), np.nan)
    means[1] = 9.0, 0.0
    model = fit(families.Gaussian("full"), X, {"y": y}, fixed={"means": means}, tol=1e-6)
    assert np.array_equal(model.predict(X), z)
    assert_allclose(model.parameters_["means"][1], means[1], atol=1e-12)


# ---- what stays as it is -------------------------------------------------------------------------------------------


def test_nothing_known_changes_no_bit():
    X, _ = clusters()
    plain = ef.GaussianMixture(3, random_state=0).fit(X)
    for known in ({"y": np.full(len(X), FREE)}, {"allowed": np.ones((len(X), 3), bool)}):
        model = ef.GaussianMixture(3, random_state=0, labelled="y" in known).fit(X, **known)
        assert np.array_equal(model.means_, plain.means_)
        assert model.status_ == plain.status_


def test_results_do_not_depend_on_threads_or_on_how_a_row_is_counted():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 3, 9000)
    X, y = CENTRES[z] * 2 + rng.normal(size=(9000, 2)), some_of(z)
    one, two = (
        ef.GaussianMixture(3, random_state=0, labelled=True, n_jobs=n_jobs).fit(X, y).means_ for n_jobs in (1, 2)
    )
    assert np.array_equal(one, two)
    X, y, weight = X[:300], y[:300], rng.integers(0, 3, 300)
    y[weight == 0] = 1  # does not count
    how = {"n_components": 3, "labelled": True, "random_state": 0, "init_params": "k-means++"}
    weighted = ef.GaussianMixture(**how).fit(X, y, weight)
    repeated = ef.GaussianMixture(**how).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_allclose(weighted.means_, repeated.means_, rtol=1e-9)


@pytest.mark.parametrize("name", ["float32", "tied", "sparse", "StudentT"])
def test_groups_that_are_many_give_the_same(name, monkeypatch):
    family, X, z = special(name)
    known, _ = what_is_known(z, "labels, allowed")
    whole = fit(family, X, known, max_iter=5)
    monkeypatch.setattr("expfam_em.estep.masked.STACK_ENTRIES", 1)
    assert_allclose(fit(family, X, known, max_iter=5).natural_parameters_, whole.natural_parameters_, rtol=1e-10)


def test_labels_come_through_a_pipeline():
    X, z = clusters()
    pipeline = make_pipeline(FunctionTransformer(), ef.GaussianMixture(3, labelled=True, random_state=0)).fit(X, z)
    assert_allclose(pipeline[-1].means_, [X[z == k].mean(axis=0) for k in range(3)])
    assert ef.GaussianMixture(3, labelled=True).__sklearn_tags__().target_tags.required


def test_y_is_ignored_unless_it_is_said_to_be_labels():
    X, z = clusters()
    plain = ef.GaussianMixture(3, random_state=0).fit(X)
    assert np.array_equal(ef.GaussianMixture(3, random_state=0).fit(X, z).means_, plain.means_)
    with pytest.warns(UserWarning, match="y is ignored, although it looks like labels"):
        ef.GaussianMixture(3, random_state=0).fit(X, some_of(z))


# ---- what cannot be ------------------------------------------------------------------------------------------------

Y = np.array([0, 1, 2, -1, -1, -1])
ALL = np.ones((6, 3), bool)
REFUSED = [
    ({"y": None}, "labelled is True, which requires y"),
    ({"y": Y[:5]}, r"y has shape \(5,\); it must be \(6,\)"),
    ({"y": Y + 1}, "y of row 2 is 3; labels must be 0 to 2"),
    ({"y": Y - 1}, "y of row 3 is -2"),
    ({"y": Y + 0.5}, "labels must be whole numbers"),
    ({"y": np.array(list("abcabc"))}, "LabelEncoder"),
    ({"y": np.array([0, 1, 0, 1, 0, 1])}, "no row may belong to component 2"),
    ({"allowed": ALL[:, :2]}, r"allowed has shape \(6, 2\); it must be \(6, 3\)"),
    ({"allowed": ALL.astype(float)}, "allowed has dtype float64; it must be bool"),
    ({"allowed": ALL & (np.arange(6) != 4)[:, None]}, "row 4 has no component that it may belong to"),
    ({"y": Y, "allowed": ALL & (np.arange(3) != 1)}, "row 1 has no component that y, allowed and log_prior all"),
    ({"log_prior": np.where(ALL, np.nan, 0)}, "log_prior of row 0 and component 0 is nan"),
    ({"log_prior": np.where(ALL, np.inf, 0)}, "log_prior of row 0 and component 0 is inf"),
    ({"log_prior": np.where(ALL, -np.inf, 0)}, "row 0 has no component"),
    ({"log_prior": np.zeros(6)}, r"log_prior has shape \(6,\)"),
]


@pytest.mark.parametrize(("known", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(known, message):
    X = np.arange(12.0).reshape(6, 2)
    with pytest.raises(ValueError, match=message):
        ef.GaussianMixture(3, labelled="y" in known).fit(X, **known)


def test_rows_of_a_component_without_weight_are_refused():
    X, z = clusters()
    start = ef.Mixture.of(families.Gaussian("full"), [0.5, 0.5, 0.0], means=CENTRES, covariances=[np.eye(2)] * 3)
    with pytest.raises(ValueError, match=r"only allowed in component\(s\) 2, of mixing weight 0"):
        fit(families.Gaussian("full"), X, {"y": z}, init=start, weights="fixed", max_iter=5)


def test_rows_that_no_allowed_family_can_produce_are_refused():
    X, y = np.array([[3.0], [1.0], [-2.0], [2.0], [-1.0]]), np.array([1, 0, 0, FREE, FREE])
    family = families.Componentwise([(families.Exponential(), 1), (families.Gaussian(), 1)])
    with pytest.raises(
        ValueError, match=r"row 2 may only belong to component\(s\) 0, which are of families that cannot"
    ):
        ef.ExponentialFamilyMixture(family, 2, labelled=True).fit(X, y)
    y[2] = 1
    assert ef.ExponentialFamilyMixture(family, 2, labelled=True, random_state=0).fit(X, y).predict(X)[2] == 1


def test_what_takes_rows_without_labels_says_so(tmp_path):
    X, z = clusters()
    model = ef.GaussianMixture(3, labelled=True, random_state=0).fit(X, z)
    with pytest.raises(ValueError, match="fitted with labels"):
        ef.standard_errors(model, X)
    with pytest.raises(ValueError, match="fitted with labels"):
        ef.standard_errors(model.reorder(), X)
    assert "fitted with labels" in str(model.summary(X))
    model.save(tmp_path / "model.efm")
    with pytest.raises(ValueError, match="fitted with labels"):
        ef.standard_errors(ef.load(tmp_path / "model.efm"), X)
    with pytest.raises(ValueError, match="fitted with labels"):
        ef.bootstrap(model, X)
    with pytest.raises(ValueError, match="data sets come without labels"):
        ef.fit_many(ef.GaussianMixture(3, labelled=True), [X, X])
