"""Laws of EM over rows that come in batches, over the table of cases."""

import itertools
import pickle

import numpy as np
import pytest
from scipy import sparse

import expfam_em as ef
from tests.case import EPS
from tests.cases import CASES
from tests.problems import problem_of, same

every_family = pytest.mark.parametrize("case", CASES, ids=str)
families = ef.families


def whole(n):
    """All rows at once, of which nothing is forgotten."""
    return ef.StepSize(warm_up=1, batch_size=n)


# ---- the steps -----------------------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("weights", ["none", "random"])
def test_one_batch_of_all_rows_is_a_step_of_em(case, weights):
    problem = problem_of(case, weights)
    options = {"prior": problem.prior(), "concentration": np.array([1.5, 2.0, 3.0])}
    found = ef.Stream.of(problem.start, whole(len(problem.X)), **options).after(problem.X, problem.w)
    statistics = ef.accumulate(problem.start, problem.X, problem.w)
    # statistics are divided by n and multiplied by it, some ulps; a solver of T and A alone ends within its tolerance
    same(found.mixture, ef.maximize(statistics, problem.start, **options), 1e-7 if case.numeric else 1e-11)
    assert np.isclose(found.mean_bound, statistics.bound / statistics.counts.sum(), rtol=1e-12)


@every_family
def test_with_a_step_size_of_one_each_pass_is_a_step_of_em(case):
    problem = problem_of(case)
    stream = ef.Stream.of(problem.start, ef.StepSize(kappa=0, warm_up=1, batch_size=len(problem.X)))
    by_em = problem.start
    for _ in range(3):
        stream = stream.after(problem.X)
        by_em = ef.maximize(ef.accumulate(by_em, problem.X), by_em)
        # each step carries the error of those before: EM does not enlarge it near the maximum
        same(stream.running, by_em, 1e-6 if case.numeric else 1e-10)


@every_family
def test_incremental_em_never_falls_and_stays_where_em_ends(case):
    problem = problem_of(case)
    blocks = np.array_split(problem.X, 3)
    found = ef.fit_incremental(problem.start, blocks, max_iter=3, tol=0)
    by_em = ef.fit(problem.start, problem.X, max_iter=30, tol=1e-9)
    n, slack = len(problem.X), 1e-9 * np.abs(by_em.bounds).max()
    assert len(found.bounds) == 4
    assert np.diff(found.bounds).min() >= -slack
    assert np.isclose(found.bounds[0], by_em.bounds[0], rtol=1e-10)
    # bounds with old responsibilities are below those with new ones
    assert found.bound <= ef.accumulate(found.mixture, problem.X).bound + slack
    again = ef.fit_incremental(by_em.mixture, blocks, max_iter=1, tol=0)
    assert again.bound >= by_em.bound - slack
    if by_em.converged:  # what is left to gain is an estimate, taken ten times as large here
        assert again.bound <= by_em.bound + 10 * 1e-9 * n + slack


@pytest.mark.parametrize("name", ["Poisson", "Gaussian-full-2", "Bernoulli"])
def test_incremental_em_ends_where_em_does(name):
    problem = problem_of(next(case for case in CASES if case.name == name))
    options = {"max_iter": 2000, "tol": 1e-10}
    found = ef.fit_incremental(problem.start, np.array_split(problem.X, 4), **options)
    by_em = ef.fit(problem.start, problem.X, **options)
    assert found.converged
    assert found.n_iter <= by_em.n_iter
    # both have tol · n left to gain, by an estimate that is taken ten times as large here
    assert abs(found.bound - by_em.bound) <= 2 * 10 * 1e-10 * len(problem.X)


def test_incremental_em_knows_priors_weights_and_sparse_blocks():
    rng = np.random.default_rng(5)
    X = rng.poisson([[1.0, 6.0, 2.0], [5.0, 2.0, 2.0]], (500, 2, 3)).reshape(-1, 3).astype(float)
    weights = rng.integers(0, 3, len(X)).astype(float)
    start = ef.Mixture.of(families.Poisson(), [0.5, 0.5], rates=[[2, 3, 2], [3, 2.5, 2]])
    prior = ef.ExpectedStatistics(np.full(2, 3.0), np.full((2, 3), 4.0))
    options = {"prior": prior, "concentration": 2.0, "max_iter": 500, "tol": 1e-11}
    blocks = [sparse.csr_array(part) for part in np.array_split(X, 8)]
    found = ef.fit_incremental(start, blocks, np.array_split(weights, 8), **options)
    by_em = ef.fit(start, X, weights, **options)
    assert found.n_iter < by_em.n_iter
    assert np.isclose(found.objective, by_em.objective, rtol=1e-10)
    with pytest.raises(ValueError, match="0 blocks"):
        ef.fit_incremental(start, [])
    with pytest.raises(ValueError, match="weights of 1"):
        ef.fit_incremental(start, blocks, [weights])
    with pytest.raises(ValueError, match="seen again"):
        ef.fit_incremental(start, blocks, collapse="drop")


# ---- digits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("widths", [1e2, 1e3, 1e5])
def test_statistics_keep_their_digits_far_from_the_shared_frame(widths):
    rng = np.random.default_rng(1)
    centres = np.array([[0.0, 0.0], [widths, -widths]])
    X = (centres[:, None] + rng.standard_normal((2, 2500, 2))).transpose(1, 0, 2).reshape(-1, 2)
    family = families.Gaussian("full").bind([(X, None)])
    start = ef.Mixture.of(family, [0.5, 0.5], means=centres + 0.1, covariances=[2 * np.eye(2)] * 2)
    stream = ef.Stream.of(start, ef.StepSize(kappa=0.6, warm_up=1, batch_size=100)).after(X)
    # the same recursion about the centres themselves, which rows and batches of whole clusters allow
    mean, square, averages = np.zeros((2, 2)), np.zeros((2, 2, 2)), [np.zeros((2, 2)), np.zeros((2, 2, 2))]
    for t, at in enumerate(range(0, len(X), 100)):
        Z = (X[at : at + 100].reshape(-1, 2, 2) - centres).transpose(1, 0, 2)
        gamma, rho = (t + 2.0) ** -0.6 if t else 1.0, min(1.0, 3 / (max(t, 1) + 2))
        mean = mean + gamma * (Z.mean(axis=1) - mean)
        square = square + gamma * (np.einsum("kni,knj->kij", Z, Z) / 50 - square)
        averages = [old + rho * (new - old) for old, new in zip(averages, (mean, square), strict=True)]
    expected = averages[1] - np.einsum("ki,kj->kij", *[averages[0]] * 2)
    found = stream.mixture.parameters["covariances"]
    # sums of 50 numbers near 1 have some ulps, which a weighted mean over batches does not add up. A frame that both
    # components share would lose widths² ε = 2e-6 at 1e5
    assert np.abs(found - expected).max() <= 100 * EPS


# ---- streams -------------------------------------------------------------------------------------------------------


def two_clusters(n, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=n)
    return rng.normal(0, 1, (n, 2)) + np.array([[0.0, 0.0], [4.0, 2.0]])[label] + shift


SMALL = ef.StepSize(warm_up=2, batch_size=100)


def test_it_does_not_matter_how_rows_are_cut_into_calls():
    X = two_clusters(1330)
    weights = np.random.default_rng(1).integers(0, 3, len(X)).astype(float)
    weights[:30] = 1.0  # a call with no weight at all is an error
    models = [ef.GaussianMixture(2, random_state=0) for _ in range(2)]
    for model, sizes in zip(models, ([1] * 30 + [270, 31, 999], [1330]), strict=True):
        for start, stop in itertools.pairwise(np.cumsum([0, *sizes])):
            model.partial_fit(X[start:stop], sample_weight=weights[start:stop], step=SMALL)
    model, kept = models[1], (X[weights > 0], weights[weights > 0])
    assert np.array_equal(models[0].mixture_.natural, model.mixture_.natural)
    first = ef.GaussianMixture(2, random_state=0).fit(kept[0][:200], sample_weight=kept[1][:200])
    full = len(kept[0]) // 100 * 100
    expected = ef.Stream.of(first.mixture_, SMALL).after(kept[0][:full], kept[1][:full])
    same(model.mixture_, expected.mixture, 1e-10)  # the estimator looks at all of the first rows at once
    assert model.n_iter_ == full // 100
    assert np.isclose(model.lower_bound_, expected.mean_bound, rtol=1e-10)
    assert not model.converged_
    assert model.status_ == ef.Status.STREAM.value


def test_attributes_belong_to_the_rows_so_far():
    X = two_clusters(450)
    model = ef.GaussianMixture(2, random_state=0)
    assert not hasattr(model.partial_fit(X[:1], step=SMALL), "mixture_")
    model.partial_fit(X[1:150], step=SMALL)
    assert np.array_equal(model.means_, ef.GaussianMixture(2, random_state=0).fit(X[:150]).means_)
    before = model.means_
    model.partial_fit(X[150:420])
    assert model.n_iter_ == 4
    assert not np.array_equal(before, model.means_)
    before = model.means_
    assert np.array_equal(model.partial_fit(X[420:440]).means_, before)  # no batch is full
    again = pickle.loads(pickle.dumps(model)).partial_fit(X[440:]).partial_fit(X[:60])
    assert np.array_equal(again.means_, model.partial_fit(X[440:]).partial_fit(X[:60]).means_)
    assert np.isclose(model.weights_.sum(), 1)


def test_the_stream_goes_on_from_what_was_fitted_or_set():
    X, rest = two_clusters(300), two_clusters(500, 1)
    model = ef.GaussianMixture(2, random_state=0, warm_start=True).fit(X)
    expected = ef.Stream.of(model.mixture_, SMALL).after(rest)
    fitted = model.mixture_
    assert np.array_equal(model.partial_fit(rest, step=SMALL).mixture_.natural, expected.mixture.natural)
    assert np.array_equal(model.partial_fit(rest).mixture_.natural, expected.after(rest).mixture.natural)
    model.mixture_ = fitted
    assert np.array_equal(model.partial_fit(rest, step=SMALL).mixture_.natural, expected.mixture.natural)
    start = model.mixture_
    steps = ef.GaussianMixture(2, init=start).fit(np.concatenate([X, rest]))
    assert steps.lower_bound_ >= start.log_density(np.concatenate([X, rest])).mean()


@pytest.mark.parametrize(
    ("model", "draw"),
    [
        (ef.BernoulliMixture(2, random_state=0), lambda rng, p: (rng.random((900, 8)) < p).astype(float)),
        (ef.ExponentialFamilyMixture(families.Poisson(), 2, random_state=0), lambda rng, p: rng.poisson(6 * p) * 1.0),
    ],
    ids=["Bernoulli", "Poisson"],
)
def test_kinds_of_rows_lead_to_the_same_stream(model, draw):
    rng = np.random.default_rng(2)
    chances = np.where(rng.integers(2, size=900)[:, None] == 0, [0.9] * 4 + [0.1] * 4, [0.2] * 4 + [0.7] * 4)
    X = draw(rng, chances)

    def fitted(rows, **how):
        one = type(model)(**model.get_params()).set_params(**how)
        for at in (0, 350):
            one.partial_fit(rows[at : at + 350 + at], step=SMALL)
        return one

    dense = fitted(X)
    assert np.array_equal(fitted(X, n_jobs=3).mixture_.natural, dense.mixture_.natural)
    # sums of sparse rows are added in another order, and float32 holds small whole numbers exactly
    same(fitted(sparse.csr_array(X)).mixture_, dense.mixture_, 1e-9)
    single = fitted(X.astype(np.float32))
    assert single.weights_.dtype == np.float32
    same(single.mixture_, dense.mixture_, 1e-9)
    with pytest.raises(ValueError, match="some are dense"):
        dense.partial_fit(X[:20]).partial_fit(sparse.csr_array(X[:20]))


def test_labels_missing_values_and_options_are_heeded():
    X = two_clusters(800)
    y = np.where(np.arange(800) % 3 == 0, (X[:, 0] < 2).astype(int), -1)  # numbered against the order of any start
    model = ef.GaussianMixture(2, labelled=True, random_state=0).partial_fit(X, y, step=SMALL)
    assert model.means_[0, 0] > 3
    assert "were given" in model.status_
    with pytest.raises(ValueError, match="requires y"):
        model.partial_fit(X)
    holes = X.copy()
    holes[::5, 1] = np.nan
    expected = ef.Stream.of(model.mixture_, SMALL).after(holes)
    model = ef.GaussianMixture(2, random_state=0)
    model.mixture_ = expected.running
    assert np.isfinite(model.partial_fit(holes, step=SMALL).means_).all()
    held = ef.GaussianMixture(2, fixed={"means": [[0.0, 0.0], [np.nan, np.nan]]}, random_state=0)
    assert np.allclose(held.partial_fit(X, step=SMALL).means_[0], 0.0, atol=1e-12)
    prior = ef.ExpectedStatistics(np.full(2, 1e9), 1e9 * np.array([[1.0], [3.0]]))
    counts = np.random.default_rng(0).poisson(5.0, (600, 1)).astype(float)
    strong = ef.ExponentialFamilyMixture(families.Poisson(), 2, prior=prior, random_state=0, weights="equal")
    strong.partial_fit(counts, step=SMALL)
    # 600 rows against 1e9 pseudo-rows move a rate by less than 600 · 10/1e9
    assert np.allclose(np.sort(strong.parameters_["rates"].ravel()), [1, 3], atol=1e-5)
    assert strong.weights_.tolist() == [0.5, 0.5]


def test_rows_of_a_source_are_taken_as_they_are_read(tmp_path):
    X, weight = two_clusters(40_000), np.random.default_rng(1).integers(0, 3, 40_000).astype(float)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "weight.npy", weight)
    file = ef.rows_from(tmp_path / "x.npy", weight=np.load(tmp_path / "weight.npy", mmap_mode="r"))
    at_once, read = (ef.GaussianMixture(2, random_state=0) for _ in range(2))
    same(at_once.partial_fit(X, sample_weight=weight).mixture_, read.partial_fit(file).mixture_)
    X[35_000, 1] = np.nan
    np.save(tmp_path / "gap.npy", X)
    with pytest.raises(ValueError, match=r"column 1 of row 35000 is missing"):
        read.partial_fit(tmp_path / "gap.npy")
    same(at_once.mixture_, read.mixture_)
    labelled = ef.ExponentialFamilyMixture(ef.families.Gaussian(), 2, labelled=True)
    with pytest.raises(ValueError, match="with labels needs"):
        labelled.partial_fit(file, np.zeros(40_000, int))


def test_the_scale_of_weights_does_not_matter():
    X = two_clusters(700)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    models = [ef.GaussianMixture(2, random_state=0) for _ in range(2)]
    for model, scale in zip(models, (1.0, 0.25), strict=True):
        model.partial_fit(X, sample_weight=scale * weights, step=SMALL)
    assert np.array_equal(models[0].means_, models[1].means_)  # a power of two rounds nothing


def test_forgetting_follows_a_drift():
    start = ef.GaussianMixture(2, random_state=0).fit(two_clusters(2000)).mixture_
    remembers = ef.Stream.of(start, ef.StepSize(batch_size=100))
    forgets = ef.Stream.of(start, ef.StepSize(batch_size=100, memory=1000))
    speed, n = 2e-4, 12_000
    for at in range(0, n, 400):
        X = two_clusters(400, at, shift=speed * at)
        remembers, forgets = remembers.after(X), forgets.after(X)
    lag = [speed * n - stream.mixture.parameters["means"][:, 0].min() for stream in (remembers, forgets)]
    # the mean age of the statistics is memory, 1000 rows; more where responsibilities lag, too
    assert 0.5 * speed * 1000 < lag[1] < 2 * speed * 1000
    assert lag[0] > 2 * lag[1]


def test_pieces_of_a_batch_forget_as_much_as_the_whole():
    X = two_clusters(1000)
    start = ef.GaussianMixture(2, random_state=0).fit(X).mixture_
    big = ef.Stream.of(start, ef.StepSize(kappa=0.5, warm_up=1, batch_size=500)).after(X)
    stream = ef.Stream.of(start, ef.StepSize(kappa=0.5, warm_up=1, batch_size=500)).after(X[:500])
    for at in range(500, 1000, 50):
        stream = stream.after(X[at : at + 50])
    assert np.isclose(stream.n_rows, 1000)
    # rows of the first batch keep the share Π (1 − γ_t)^(1/10) with t between 0.1 and 1, against 1 − γ_1
    assert np.abs(stream.running.weights - big.running.weights).max() < 0.02


@pytest.mark.parametrize(
    ("model", "how", "told"),
    [
        (ef.GaussianMixture(2, noise="uniform"), {}, "box of all rows"),
        (ef.GaussianMixture(2, collapse="drop"), {}, "seen again"),
        (ef.ExponentialFamilyMixture(families.Poisson(), 2), {"X": [[1.0], [0.5], [2.0]]}, "column 0 holds 0.5"),
        (ef.ExponentialFamilyMixture(families.Poisson(), 2), {"X": [[0.5]]}, "column 0 holds 0.5"),
    ],
)
def test_what_a_stream_cannot_do_is_said(model, how, told):
    with pytest.raises(ValueError, match=told):
        model.partial_fit(how.get("X", two_clusters(300)))
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize(
    "changed",
    [
        {"prior": "weak"}, {"temperature": 2.0}, {"weights": "equal"}, {"concentration": 3.0}, {"reg_covar": 0.1},
        {"covariance_type": "diag"}, {"fixed": {"means": np.zeros((2, 2))}}, {"collapse": "keep"}, {"n_components": 3},
    ],
    ids=str,
)  # fmt: skip
def test_a_stream_goes_on_under_the_parameters_it_began_with(changed):
    step = ef.StepSize(batch_size=50, warm_up=2)
    model = ef.GaussianMixture(2, random_state=0).partial_fit(two_clusters(300), step=step)
    before = model.get_params()
    model.set_params(**changed)
    with pytest.raises(ValueError, match=f"({next(iter(changed))}|family) (was|is) .*clone"):
        model.partial_fit(two_clusters(300))
    model.set_params(**before | {"max_iter": 7}).partial_fit(two_clusters(300))
    assert model.n_iter_ == 12


NO_STEPS = {
    "whole warm_up": (lambda: ef.StepSize(warm_up=1.5), TypeError),
    "whole batch_size": (lambda: ef.StepSize(batch_size=2.5), TypeError),
    "t0": (lambda: ef.StepSize(t0=np.inf), ValueError),
    "StepSize": (lambda: ef.GaussianMixture(2).partial_fit(two_clusters(9), step=0.5), TypeError),
    "StepSize of a stream": (lambda: ef.Stream.of(EVEN, 0.5), TypeError),
    "mixture": (lambda: ef.Stream.of(ef.GaussianMixture(2)), TypeError),
    "stack": (lambda: ef.Stream.of(ef.Mixture(EVEN.family, EVEN.weights[None], EVEN.natural[None])), ValueError),
}
EVEN = ef.Mixture.of(families.Poisson(), [0.5, 0.5], rates=[[1.0], [2.0]])


@pytest.mark.parametrize("name", NO_STEPS)
def test_what_is_no_step_and_no_mixture_is_refused(name):
    make, error = NO_STEPS[name]
    with pytest.raises(error):
        make()


def test_a_failed_call_leaves_the_stream_as_it_was():
    X = np.random.default_rng(0).poisson([[1.0], [9.0]], (300, 2, 1)).reshape(-1, 1).astype(float)
    model = ef.ExponentialFamilyMixture(families.Poisson(), 2, random_state=0).partial_fit(X, step=SMALL)
    before = model.mixture_
    bad = np.concatenate([X[:250], [[-1.0]]])
    with pytest.raises(ValueError, match="row 250"):
        model.partial_fit(bad)
    assert model.mixture_ is before
    with pytest.raises(ValueError, match="n_components is 3"):
        model.set_params(n_components=3).partial_fit(X)
    assert not hasattr(ef.BayesianGaussianMixture(2), "partial_fit")
    for values in ({"kappa": 1.5}, {"t0": -1.0}, {"warm_up": 0}, {"batch_size": 0}, {"memory": 100}):
        with pytest.raises(ValueError, match=next(iter(values))):
            ef.StepSize(**values)


# ---- k-means -------------------------------------------------------------------------------------------------------


def blobs(n, d, K, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 8, (K, d))[rng.integers(K, size=n)] + rng.standard_normal((n, d))


@pytest.mark.parametrize(("n", "d", "K"), [(20_000, 2, 5), (20_000, 10, 8)])
def test_small_batches_end_near_k_means_of_all_rows(n, d, K):
    X = blobs(n, d, K)
    start = X[:K]
    found = ef.MiniBatchKMeans(K, init=start, n_init=1, random_state=0).fit(X)
    # from the same optimum: the noise of a mean over m ≥ 10,000 rows raises J by about K/m of itself
    near = ef.KMeans(K, init=found.cluster_centers_, n_init=1).fit(X)
    assert near.inertia_ <= found.inertia_ <= near.inertia_ * (1 + 4 * K / 10_000)
    assert np.isclose(found.inertia_, -found.score(X), rtol=1e-12)
    assert np.array_equal(found.labels_, found.predict(X))
    assert found.n_iter_ == -(-found.n_steps_ * 1024 // n)


def test_small_batches_of_sparse_weighted_and_single_rows():
    X = np.maximum(blobs(3000, 4, 3), 0.0)
    weights = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    how = {"init": X[:3], "n_init": 1, "batch_size": 200, "random_state": 0}
    dense = ef.MiniBatchKMeans(3, **how).fit(X, sample_weight=weights)
    other = ef.MiniBatchKMeans(3, **how, n_jobs=3).fit(X, sample_weight=4 * weights)
    assert np.array_equal(dense.cluster_centers_, other.cluster_centers_)
    as_csr = ef.MiniBatchKMeans(3, **how).fit(sparse.csr_array(X), sample_weight=weights)
    assert np.allclose(as_csr.cluster_centers_, dense.cluster_centers_, rtol=1e-9, atol=1e-9)
    single = ef.MiniBatchKMeans(3, **how).fit(X.astype(np.float32), sample_weight=weights)
    assert single.cluster_centers_.dtype == np.float32
    # rows of float32 differ by 30 · 6e-8 from those of float64, and few labels by that
    assert np.allclose(single.cluster_centers_, dense.cluster_centers_, atol=1e-3)


def test_batches_of_k_means_may_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr("expfam_em.estimators.mini_batch.ROWS_READ", 900)
    X, weight = blobs(4200, 3, 4), np.random.default_rng(1).integers(0, 3, 4200).astype(float)
    weight[1000:2000] = 0  # the second thousand
    np.save(tmp_path / "x.npy", X)
    by_hand, read = (ef.MiniBatchKMeans(4, random_state=0, batch_size=500) for _ in range(2))
    for first in (0, 2000, 3000, 4000):
        some = slice(first, first + 1000)
        by_hand.partial_fit(X[some], sample_weight=weight[some])
    read.partial_fit(ef.rows_from(tmp_path / "x.npy", weight=weight))
    assert np.array_equal(read.cluster_centers_, by_hand.cluster_centers_)
    assert read.n_steps_ == by_hand.n_steps_
    assert not hasattr(read, "labels_")
    assert np.array_equal(read.predict(tmp_path / "x.npy"), read.predict(X))
    # of the rows before they moved the centres, which they do by little
    assert read.inertia_ == pytest.approx(-read.score(X, sample_weight=weight), rel=0.1)
    before = read.cluster_centers_
    X[3500, 1] = np.nan
    np.save(tmp_path / "gap.npy", X)
    with pytest.raises(ValueError, match=r"column 1 of row 3500 is missing"):
        read.partial_fit(tmp_path / "gap.npy")
    assert np.array_equal(before, read.cluster_centers_)


def test_batches_of_k_means_may_be_given_one_by_one():
    X = blobs(4000, 3, 4)
    model = ef.MiniBatchKMeans(4, random_state=0, batch_size=500)
    with pytest.raises(ValueError, match="should be >= n_clusters"):
        model.partial_fit(X[:3])
    for at in range(0, len(X), 500):
        model.partial_fit(X[at : at + 500])
        assert np.array_equal(model.labels_, model.predict(X[at : at + 500]))
    assert model.n_steps_ == 8
    with pytest.raises(ValueError, match="those before were dense"):
        model.partial_fit(sparse.csr_array(X[:500]))
    again = pickle.loads(pickle.dumps(model)).partial_fit(X[:500])
    assert np.array_equal(again.cluster_centers_, model.partial_fit(X[:500]).cluster_centers_)
    near = ef.KMeans(4, init=model.cluster_centers_, n_init=1).fit(X)
    assert -model.score(X) <= near.inertia_ * (1 + 4 * 4 / 2000)
    fitted = ef.MiniBatchKMeans(4, random_state=0).fit(X)
    before = fitted.cluster_centers_
    # three rows among the thousand of a batch: γ ≤ 2^-0.6 · 3/1024 of a step to them, 30 away at most
    assert np.abs(fitted.partial_fit(X[:3]).cluster_centers_ - before).max() < 3 * 30 * 3 / 1024
    with pytest.raises(ValueError, match="takes no callbacks"):
        fitted.fit(X, callbacks=[print])
    with pytest.raises(ValueError, match="takes no checkpoint"):
        fitted.fit(X, checkpoint="file")
    unlabelled = ef.MiniBatchKMeans(4, random_state=0, batch_size=500, compute_labels=False).fit(X)
    assert not hasattr(unlabelled, "labels_")
    assert np.isclose(unlabelled.inertia_, -unlabelled.score(X), rtol=0.1)  # of batches: one in √n


def test_a_cluster_that_starts_far_away_gets_rows():
    X = blobs(2000, 2, 3)
    found = ef.MiniBatchKMeans(3, init=np.array([[0, 0], [1e3, 1e3], [1.1e3, 1e3]]), n_init=1, random_state=0).fit(X)
    assert np.bincount(found.labels_, minlength=3).min() > 100


@pytest.mark.parametrize("ratio", [1.0, 5.0, 1e9])
def test_the_largest_cluster_is_never_put_elsewhere(ratio):
    found = ef.MiniBatchKMeans(3, reassignment_ratio=ratio, max_iter=3, batch_size=100, random_state=0)
    assert np.isfinite(found.fit(blobs(500, 2, 3)).cluster_centers_).all()


def test_what_belongs_to_other_rows_or_clusters_is_not_kept():
    X = blobs(500, 2, 3)
    model = ef.MiniBatchKMeans(3, random_state=0).fit(X)
    assert not hasattr(model.set_params(compute_labels=False).fit(X[:50]), "labels_")
    with pytest.raises(ValueError, match="n_clusters is 4, and was 3"):
        model.set_params(n_clusters=4).partial_fit(X)
    with pytest.raises(TypeError, match="must be a list of functions"):
        model.fit(X, callbacks=None)


def test_absent_rows_are_no_passes():
    X, weight = blobs(300, 2, 3), np.repeat([1.0, 0.0], [200, 100])
    one, other = (
        ef.MiniBatchKMeans(3, batch_size=40, random_state=0),
        ef.MiniBatchKMeans(3, batch_size=40, random_state=0),
    )
    assert one.fit(X, sample_weight=weight).n_iter_ == other.fit(X[:200]).n_iter_
