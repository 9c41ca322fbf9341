"""Products of families over groups of columns, against textbook EM with SciPy's densities."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import expfam_em as ef
from expfam_em import families
from tests import oracle, own_families
from tests.own_families import gamma_estimate

PI = np.array([0.6, 0.4])
ROUNDING = 1e-10
"""Relative error allowed after EM steps: each passes rounding of some 1e-14 on, and nothing here magnifies it a lot."""


class Part:
    """A family, its columns, and what SciPy says of it."""

    def __init__(self, family, columns, log_density, estimate, draw):
        self.family, self.columns, self.log_density = family, columns, log_density
        self.estimate, self.draw = estimate, draw


def normal_estimate(X, r):
    mean = r @ X / r.sum()
    return mean, (X - mean).T @ ((X - mean) * r[:, None]) / r.sum()


def gaussian(columns):
    return Part(
        families.Gaussian("full"), columns,
        lambda X, t: stats.multivariate_normal.logpdf(X, *t).reshape(len(X)),
        normal_estimate,
        lambda k, n, rng: rng.multivariate_normal(np.full(len(columns), 4.0 * k), np.eye(len(columns)) + 0.5, n),
    )  # fmt: skip


def poisson(columns):
    return Part(
        families.Poisson(), columns,
        lambda X, t: stats.poisson.logpmf(X, t).sum(axis=1),
        lambda X, r: r @ X / r.sum(),
        lambda k, n, rng: rng.poisson(2 + 5 * k, (n, len(columns))),
    )  # fmt: skip


def bernoulli(columns):
    return Part(
        families.Bernoulli(), columns,
        lambda X, t: stats.bernoulli.logpmf(X, t).sum(axis=1),
        lambda X, r: r @ X / r.sum(),
        lambda k, n, rng: rng.random((n, len(columns))) < 0.3 + 0.5 * k,
    )  # fmt: skip


def gamma(columns):
    return Part(
        families.Gamma(), columns,
        lambda X, t: stats.gamma.logpdf(X[:, 0], t[0], scale=1 / t[1]),
        lambda X, r: gamma_estimate(X[:, 0], r),
        lambda k, n, rng: rng.gamma(3 + 4 * k, 1.0, (n, 1)),
    )  # fmt: skip


def numeric(columns):
    """T and A only: both mappings are solved for."""
    return Part(
        own_families.Normal(), columns,
        lambda X, t: stats.multivariate_normal.logpdf(X, *t),
        normal_estimate,
        lambda k, n, rng: rng.normal(1.5 * k, 1.0, (n, 1)),
    )  # fmt: skip


LAYOUTS = {
    "kernel takes X": [gaussian([3, 1]), poisson([0]), bernoulli([2])],
    "T is evaluated": [gaussian([3, 0]), gamma([1]), poisson([2])],
    "unused columns": [poisson([4]), gaussian([2, 5])],
    "T is evaluated, unused columns": [gamma([3]), bernoulli([1, 0])],
    "one column each": [gaussian([2]), gaussian([0]), gaussian([1])],
    "numeric": [numeric([1]), gaussian([0])],
}
EXTRA = 2
"""Columns behind those that are described."""


class Problem:
    """A product with rows of it, and the interface that the textbook EM asks for."""

    def __init__(self, parts, n=160, seed=0):
        rng = np.random.default_rng(seed)
        self.parts, self.sizes = parts, (round(0.6 * n), n - round(0.6 * n))
        self.X = rng.normal(size=(n, 1 + max(max(p.columns) for p in parts) + EXTRA))
        for part in parts:
            self.X[:, part.columns] = np.concatenate([part.draw(k, m, rng) for k, m in enumerate(self.sizes)])
        label = np.repeat([0, 1], self.sizes)
        self.R = 0.7 * np.eye(2)[label] + 0.15
        self.w = rng.uniform(0.1, 3, n)
        self.plain = families.Product([(p.family, p.columns) for p in parts])
        self.family = self.plain.bind([(self.X, None)])
        self.thetas = self.estimate_all(self.X, self.R)

    def start(self):
        mean = self.R.T @ self.family.sufficient_statistics(self.X) / self.R.sum(axis=0)[:, None]
        return ef.Mixture(self.family, PI, self.family.to_natural(mean))

    def log_density(self, X, theta):
        return sum(p.log_density(X[:, p.columns], t) for p, t in zip(self.parts, theta, strict=True))

    def estimate_all(self, X, R):
        return [[p.estimate(X[:, p.columns], r) for p in self.parts] for r in R.T]


@pytest.fixture(params=LAYOUTS, ids=str)
def problem(request):
    return Problem(LAYOUTS[request.param])


def test_density_is_the_product_of_those_of_the_parts(problem):
    start = problem.start()
    expected = np.column_stack([problem.log_density(problem.X, theta) for theta in problem.thetas])
    found = problem.family.log_density(problem.X, start.natural)
    assert found == pytest.approx(expected, rel=ROUNDING, abs=ROUNDING)
    total = np.logaddexp(*(expected + np.log(PI)).T)
    assert start.log_density(problem.X) == pytest.approx(total, rel=ROUNDING, abs=ROUNDING)


def test_columns_behind_may_be_left_out_or_there(problem):
    start, d = problem.start(), problem.X.shape[1] - EXTRA
    short = problem.X[:, :d]
    assert start.log_density(short) == pytest.approx(start.log_density(problem.X), rel=1e-14, abs=1e-13)
    T = problem.family.sufficient_statistics
    assert np.array_equal(T(short), T(problem.X))


@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0, 3.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_textbook_em(problem, temperature, weighted):
    w = problem.w if weighted else None
    steps = oracle.run(problem, problem.X, PI, problem.thetas, 6, temperature=temperature, w=w)
    result = ef.fit(problem.start(), problem.X, w, max_iter=6, tol=0, temperature=temperature)
    bounds = [step.bound for step in steps]
    assert result.bounds == pytest.approx(bounds, rel=ROUNDING)
    assert result.mixture.weights == pytest.approx(steps[-1].weights, rel=1e-8)  # of 6 steps
    found = result.mixture.in_family(problem.family)
    expected = np.column_stack([problem.log_density(problem.X, theta) for theta in steps[-1].thetas])
    # densities of parameters that were searched for with an error of about 1e-9 at each step
    assert problem.family.log_density(problem.X, found.natural) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_weights_are_repeated_rows(problem):
    times = np.random.default_rng(1).integers(0, 4, len(problem.X))
    how = {"max_iter": 5, "tol": 0}
    weighted = ef.fit(problem.start(), problem.X, times.astype(float), **how)
    repeated = ef.fit(problem.start(), np.repeat(problem.X, times, axis=0), **how)
    assert weighted.bounds == pytest.approx(repeated.bounds, rel=1e-12)


def test_an_absent_row_may_be_anything(problem):
    X = np.concatenate([problem.X, np.full((1, problem.X.shape[1]), -1.5)])
    w = np.append(np.ones(len(problem.X)), 0.0)
    with np.errstate(all="ignore"):  # log of a negative number, of the row that does not count
        found = ef.fit(problem.start(), X, w, max_iter=5, tol=0)
    assert found.bounds == pytest.approx(ef.fit(problem.start(), problem.X, max_iter=5, tol=0).bounds, rel=1e-12)


def test_parameters_return(problem):
    natural = problem.start().natural
    again = problem.family.to_natural(problem.family.to_expectation(natural))
    assert again == pytest.approx(natural, rel=1e-6, abs=1e-6)  # the numeric part is solved to about this


def test_parameters_of_parts_are_named_after_their_family(problem):
    named = problem.start().parameters
    assert len(named) >= len(problem.parts)
    for part in problem.parts:
        assert any(name.startswith(type(part.family).__name__.lower()) for name in named)


def test_prior_is_pseudo_rows(problem):
    w0 = np.full(5, 0.4)
    T = problem.family.sufficient_statistics(problem.X[:5])
    prior = ef.ExpectedStatistics(np.full(2, w0.sum()), np.tile(w0 @ T, (2, 1)))
    steps = oracle.run(problem, problem.X, PI, problem.thetas, 5, pseudo=(problem.X[:5], w0), concentration=2.0)
    result = ef.fit(problem.start(), problem.X, max_iter=5, tol=0, prior=prior, concentration=2.0)
    assert result.bounds == pytest.approx([step.bound for step in steps], rel=1e-9)


def test_a_family_is_never_changed(problem):
    def state(family):
        return {key: repr(value) for key, value in vars(family).items() if key not in ("_layout", "_takes_X")}

    before, parts = state(problem.plain), [repr(vars(p.family)) for p in problem.parts]
    ef.ExponentialFamilyMixture(problem.plain, 2, random_state=0, max_iter=300, tol=1e-4).fit(problem.X)
    assert state(problem.plain) == before
    assert [repr(vars(p.family)) for p in problem.parts] == parts


def test_float32_whole_numbers_and_slices_of_memory(problem):
    X = np.round(problem.X)
    for part in problem.parts:
        if isinstance(part.family, families.Gamma):
            X[:, part.columns] += 1
    expected = ef.fit(problem.start(), X, max_iter=3, tol=0)
    for other in (X.astype(np.float32), X.astype(np.int64), np.asfortranarray(X)):
        assert np.array_equal(ef.fit(problem.start(), other, max_iter=3, tol=0).bounds, expected.bounds)


def test_threads_do_not_matter(problem):
    X = np.tile(problem.X, (150, 1))
    one, two = (ef.fit(problem.start(), X, max_iter=3, tol=0, n_jobs=n) for n in (1, 2))
    assert np.array_equal(one.bounds, two.bounds)
    assert np.array_equal(one.mixture.natural, two.mixture.natural)


def test_blocks_add_up_to_the_whole(problem):
    start = problem.start()
    whole = ef.accumulate(start, problem.X)
    halves = ef.accumulate(start, problem.X[:50]) + ef.accumulate(start, problem.X[50:])
    assert halves.sums == pytest.approx(whole.sums, rel=1e-12, abs=1e-11)
    assert halves.bound == pytest.approx(whole.bound, rel=1e-13)


def test_same_file_same_bits(problem, tmp_path):
    ef.register(own_families.Normal)
    model = ef.ExponentialFamilyMixture(problem.plain, 2, random_state=0, max_iter=300, tol=1e-4).fit(problem.X)
    model.save(tmp_path / "model")
    again = ef.load(tmp_path / "model")
    assert np.array_equal(model.score_samples(problem.X), again.score_samples(problem.X))
    assert repr(again.family) == repr(model.family)


def test_samples_are_of_the_parts(problem):
    mixture = problem.start()
    X, labels = mixture.sample(20_000, 0)
    T = problem.family.sufficient_statistics(X)
    for k in range(2):
        here = T[labels == k]
        error = here.std(axis=0) / np.sqrt(len(here))
        assert np.all(np.abs(here.mean(axis=0) - mixture.expectation[k]) <= 5 * error + 1e-12)
    used = [c for p in problem.parts for c in p.columns]
    assert np.all(np.delete(X, used, axis=1) == 0)


@pytest.mark.parametrize(
    "part", [gaussian([0, 1]), poisson([0, 1]), gamma([0]), numeric([0])], ids=lambda p: repr(p.family)
)
def test_a_product_of_one_part_is_the_part(part):
    problem = Problem([part])
    X = problem.X[:, : len(part.columns)]
    wide = ef.ExponentialFamilyMixture(families.Product([(part.family, part.columns)]), 2, random_state=0).fit(X)
    plain = ef.ExponentialFamilyMixture(part.family, 2, random_state=0).fit(X)
    assert wide.lower_bounds_ == pytest.approx(plain.lower_bounds_, rel=1e-12)
    for name, value in plain.parameters_.items():
        found = wide.parameters_[f"{type(part.family).__name__.lower()}_{name}"]
        assert found == pytest.approx(value, rel=1e-12, abs=1e-12)
    assert wide.mixture_.n_parameters == plain.mixture_.n_parameters


@given(order=st.permutations(range(4)), cut=st.integers(1, 3))
def test_the_order_of_columns_and_parts_does_not_matter(order, cut):
    problem = Problem([gaussian([0, 1]), poisson([2]), bernoulli([3])], 60)
    X = np.empty((60, 4))
    X[:, order] = problem.X[:, :4]
    parts = [(p.family, [order[c] for c in p.columns]) for p in problem.parts]
    moved = families.Product(parts[cut:] + parts[:cut]).bind([(X, None)])
    mean = problem.R.T @ moved.sufficient_statistics(X) / problem.R.sum(axis=0)[:, None]
    start = ef.Mixture(moved, PI, moved.to_natural(mean))
    found, expected = ef.fit(start, X, max_iter=3, tol=0), ef.fit(problem.start(), problem.X, max_iter=3, tol=0)
    assert found.bounds == pytest.approx(expected.bounds, rel=1e-12)


def test_a_product_of_products_is_the_product_of_all():
    problem = Problem(LAYOUTS["T is evaluated"])
    G, A, P = (p.family for p in problem.parts)
    inner = families.Product([(P, [0]), (G, [2, 1])])
    nested = families.Product([(A, [1]), (inner, [2, 0, 3])])  # columns 2, 0, 3 are 0, 1, 2 of the inner one
    X = problem.X
    flat = families.Product([(A, [1]), (P, [2]), (G, [3, 0])])
    one, other = (ef.ExponentialFamilyMixture(f, 2, init=problem.R, max_iter=20, tol=0) for f in (nested, flat))
    with pytest.warns(UserWarning, match="did not converge"):
        one.fit(X)
    with pytest.warns(UserWarning, match="did not converge"):
        other.fit(X)
    assert one.lower_bounds_ == pytest.approx(other.lower_bounds_, rel=1e-12)


# ---- frames ------------------------------------------------------------------------------------------------------


def test_clusters_far_away_and_far_apart_keep_their_covariances():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], [80, 120])
    Z = rng.normal(size=(200, 2)) @ np.array([[1.0, 0.0], [0.7, 0.5]])
    X = np.column_stack([rng.poisson(3 + 9 * label), Z + 1e8 * label[:, None] - 3e8, rng.random(200) < 0.5])
    # the floor is meant for one width: here it would be above that of the clusters
    normal = families.Gaussian("full", variance_floor=0.0)
    family = families.Product([(normal, [2, 1]), (families.Poisson(), [0]), (families.Bernoulli(), [3])])
    model = ef.ExponentialFamilyMixture(family, 2, random_state=0).fit(X)
    order = np.argsort(model.parameters_["gaussian_means"][:, 0])
    for k, at in enumerate(order):
        here = X[label == k][:, [2, 1]]
        covariance = np.cov((here - here[0]).T, bias=True)  # exact differences
        # the components do not overlap, so these are moments of the rows
        assert model.parameters_["gaussian_covariances"][at] == pytest.approx(covariance, rel=1e-12)
        means = model.parameters_["gaussian_means"][at]
        assert means == pytest.approx(here.mean(axis=0), rel=1e-15 * 4)


def test_own_frames_of_a_part_in_stacks_and_restarts():
    rng = np.random.default_rng(1)
    label = np.repeat([0, 1, 2], 60)
    X = np.column_stack([rng.normal(size=180) + 1e7 * label, rng.gamma(4 + 3 * label), rng.normal(size=180)])
    family = families.Product([(families.Gamma(), [1]), (families.Gaussian("diag"), [0, 2])])
    kept = ef.ExponentialFamilyMixture(family, 3, n_init=5, init="kmeans", random_state=0).fit(X)
    best = ef.ExponentialFamilyMixture(family, 3, init=label, random_state=0).fit(X)
    assert kept.lower_bound_ == pytest.approx(best.lower_bound_, rel=1e-9)
    again = ef.ExponentialFamilyMixture(family, 3, init=kept.mixture_).fit(X)
    assert again.lower_bound_ == pytest.approx(kept.lower_bound_, rel=1e-12)
    mixture = kept.mixture_
    direct = mixture.family.log_density(X, mixture.natural) + np.log(mixture.weights)
    assert mixture.log_density(X) == pytest.approx(np.logaddexp.reduce(direct, axis=1), rel=1e-10)
    one = mixture.marginal([0])
    expected = sum(
        w * stats.norm.pdf(X[:, 0], m[0], np.sqrt(c[0]))
        for w, m, c in zip(
            mixture.weights,
            mixture.parameters["gaussian_means"],
            mixture.parameters["gaussian_covariances"],
            strict=True,
        )
    )
    # x of 1e7 is known to 2e-9 of a standard deviation
    assert np.exp(one.log_density(X[:, :1])) == pytest.approx(expected, rel=1e-7)


def test_a_tied_part_counts_its_covariance_once():
    X = Problem([gaussian([0, 1]), poisson([2])]).X
    family = families.Product([(families.Gaussian("tied"), [0, 1]), (families.Poisson(), [2])])
    model = ef.ExponentialFamilyMixture(family, 3, random_state=0, n_init=2, max_iter=2000, tol=1e-7).fit(X)
    assert model.mixture_.n_parameters == 3 * 2 + 3 + 3 + 2
    R = model.predict_proba(X)
    means = R.T @ X[:, :2] / R.sum(axis=0)[:, None]
    covariance = sum((X[:, :2] - m).T @ ((X[:, :2] - m) * r[:, None]) for m, r in zip(means, R.T, strict=True)) / len(X)
    # a fixed point up to the last step: its change of the bound is below 1e-7, that of parameters about its root
    assert model.parameters_["gaussian_covariances"] == pytest.approx(covariance, rel=1e-2, abs=1e-2)


# ---- in use -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random", "random_from_data"])
def test_every_start_finds_clear_clusters(init):
    problem = Problem(LAYOUTS["T is evaluated"], n=300)
    problem.X[180:, 0] += 30
    model = ef.ExponentialFamilyMixture(problem.plain, 2, init=init, n_init=4, random_state=0).fit(problem.X)
    best = ef.ExponentialFamilyMixture(problem.plain, 2, init=problem.R).fit(problem.X)
    assert model.lower_bound_ == pytest.approx(best.lower_bound_, abs=1e-4)  # tol is 1e-6 a step


def test_warm_start_goes_on():
    problem = Problem(LAYOUTS["T is evaluated"])
    model = ef.ExponentialFamilyMixture(problem.plain, 2, init=problem.R, warm_start=True, max_iter=5, tol=0)
    straight = ef.ExponentialFamilyMixture(problem.plain, 2, init=problem.R, max_iter=10, tol=0)
    for one in (model, model, straight):
        with pytest.warns(UserWarning, match="did not converge"):
            one.fit(problem.X)
    assert model.lower_bound_ == pytest.approx(straight.lower_bound_, rel=1e-12)


def test_fit_many_is_many_fits():
    lots = [Problem(LAYOUTS["T is evaluated"], seed=seed).X for seed in range(3)]
    template = ef.ExponentialFamilyMixture(
        Problem(LAYOUTS["T is evaluated"]).plain, 2, n_init=8, random_state=0, tol=1e-9, max_iter=5000
    )
    for one, X in zip(ef.fit_many(template, lots), lots, strict=True):
        from sklearn.base import clone

        alone = clone(template).fit(X)
        assert one.lower_bound_ == pytest.approx(alone.lower_bound_, abs=1e-5)


def test_a_part_bound_from_data():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 4, 100), rng.normal(size=100)])
    family = families.Product([(families.Categorical(), [0]), (families.Gaussian("full"), [1])])
    model = ef.ExponentialFamilyMixture(family, 1, random_state=0).fit(X)
    shares = np.bincount(X[:, 0].astype(int)) / 100
    assert model.parameters_["categorical_probabilities"][0, 0] == pytest.approx(shares, rel=1e-12)
    expected = np.log(shares[X[:, 0].astype(int)]) + stats.norm.logpdf(X[:, 1], X[:, 1].mean(), X[:, 1].std())
    assert model.score_samples(X) == pytest.approx(expected, rel=1e-11)
    prior = ef.ExpectedStatistics(np.full(1, 8.0), [[2.0, 2.0, 2.0, 2.0, 0.0, 8.0]])
    # statistics are (columns of the kernel first): four levels, z, and then z²
    smoothed = ef.ExponentialFamilyMixture(family, 1, prior=prior).fit(X)
    expected = (np.bincount(X[:, 0].astype(int)) + 2) / 108
    assert smoothed.parameters_["categorical_probabilities"][0, 0] == pytest.approx(expected, rel=1e-12)


def test_incomplete_parts_are_completed():
    rng = np.random.default_rng(3)
    X = np.column_stack([rng.standard_t(3, 300), rng.poisson(3, 300)])
    family = families.Product([(families.Poisson(), [1]), (families.StudentT(), [0])])
    model = ef.ExponentialFamilyMixture(family, 1, tol=1e-12, max_iter=5000).fit(X)
    alone = ef.ExponentialFamilyMixture(families.StudentT(), 1, tol=1e-12, max_iter=5000).fit(X[:, :1])
    counts = ef.ExponentialFamilyMixture(families.Poisson(), 1).fit(X[:, 1:])
    assert model.lower_bound_ == pytest.approx(alone.lower_bound_ + counts.lower_bound_, rel=1e-9)
    degrees = alone.parameters_["degrees_of_freedom"]
    assert model.parameters_["studentt_degrees_of_freedom"] == pytest.approx(degrees, rel=1e-4)  # flat at the maximum
    two = ef.ExponentialFamilyMixture(family, 2, random_state=0, tol=0, max_iter=200)
    with pytest.warns(UserWarning, match="did not converge"):
        two.fit(X)
    assert np.all(np.diff(two.lower_bounds_) >= -1e-13)  # rounding of a mean of about −4


# ---- parts of an observation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [[0], [1], [3, 0], [2, 1], [0, 2, 3]], ids=str)
def test_density_is_marginal_times_conditional(columns):
    problem = Problem([gaussian([3, 1]), poisson([0]), bernoulli([2])])
    mixture = ef.fit(problem.start(), problem.X, max_iter=2, tol=0).mixture
    X = problem.X[:5, :4]
    rest = [c for c in range(4) if c not in columns]
    marginal = mixture.marginal(columns)
    for row in X:
        conditional = mixture.conditional(columns, row[columns])
        found = marginal.log_density(row[None, columns]) + conditional.log_density(row[None, rest])
        assert found == pytest.approx(mixture.log_density(row[None]), rel=1e-11)


def test_a_column_that_no_part_describes_keeps_its_place_in_conditionals():
    family = families.Product([(families.Poisson(), [0]), (families.Poisson(), [2])])
    mixture = ef.Mixture(family, [1.0], np.log([[2.0, 5.0]]))
    X = np.array([[1.0, 99.0, 4.0]])
    found = mixture.conditional([0], [1.0]).log_density(X[:, 1:])
    assert found == pytest.approx(stats.poisson.logpmf(4, 5), rel=1e-13)


# ---- errors -------------------------------------------------------------------------------------------------------

P, G = families.Poisson(), families.Gaussian("full")


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([(P, [0, 1]), (G, [1])], ValueError, "columns [0, 1, 1]; each must be given once"),
        ([], ValueError, "each must be given once"),
        ([(P, [-1])], ValueError, "counted from 0"),
        ([(P, [0.5])], ValueError, "whole numbers"),
        ([(P, [])], ValueError, "whole numbers"),
        ([(families.Poisson, [0])], TypeError, "a part is the class Poisson: give an instance of it, Poisson()"),
        ([(3, [0])], TypeError, "a part is 3"),
        ([P, G], TypeError, "they must be pairs (family, columns)"),
        ([("poison", [0])], ValueError, "did you mean 'poisson'?"),
        ([("binomial", [0])], ValueError, "needs n"),
        ([(P, ["a"]), (G, [1])], ValueError, "all of them by name, or all by number"),
        ([(P, ["a", "b"]), (G, ["b"])], ValueError, "each must be given once"),
        ([(families.Componentwise([(P, 1)]), [0])], TypeError, "can only stand by itself"),
    ],
)  # fmt: skip
def test_parts_that_make_no_sense(parts, error, message):
    with pytest.raises(error, match=re.escape(message)):
        families.Product(parts)


def test_values_outside_a_support_are_named_as_the_user_knows_them():
    X = np.column_stack([np.arange(6.0), np.arange(6.0), [1, 2, 3, 4, -5, 6]])
    X[:, 0] -= 3  # no Poisson here
    family = families.Product([(G, [0]), (P, [2])])
    with pytest.raises(ValueError, match=r"column 2 holds -5\.0 \(row 4\)"):
        ef.ExponentialFamilyMixture(family, 1).fit(X)
    nested = families.Product([(G, [0]), (families.Product([(P, [1])]), [1, 2])])
    with pytest.raises(ValueError, match=r"column 2 holds -5\.0 \(row 4\)"):
        ef.ExponentialFamilyMixture(nested, 1).fit(X)
    own = families.Product([(G, [0]), (own_families.Rayleigh(), [2])])
    with pytest.raises(ValueError, match=r"in columns \[2\]: Rayleigh needs positive numbers"):
        ef.ExponentialFamilyMixture(own, 1).fit(X)


def test_too_few_columns_and_sparse_rows():
    from scipy import sparse

    family = families.Product([(P, [0]), (P, [2])])
    with pytest.raises(ValueError, match=r"X has 2 columns; .* needs at least 3"):
        ef.ExponentialFamilyMixture(family, 1).fit(np.ones((5, 2)))
    with pytest.raises((TypeError, ValueError), match="Product"):
        ef.ExponentialFamilyMixture(family, 1).fit(sparse.csr_array(np.ones((5, 3))))


def test_a_part_with_an_exposure_is_refused():
    family = families.Product([(own_families.PoissonExposure(), [0, 1])])
    with pytest.raises(ValueError, match="has an exposure, which cannot be combined"):
        ef.ExponentialFamilyMixture(family, 1).fit(np.ones((5, 2)))


def test_unused_columns_behind_the_others_are_remembered():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=200), rng.normal(size=200), rng.poisson(3, 200), rng.normal(size=200)])
    family = families.Product([(families.Gaussian(), [0]), (families.Poisson(), [2])])
    model = ef.ExponentialFamilyMixture(family, 2, random_state=0, tol=1e-2).fit(X)
    drawn = model.sample(5)[0]
    assert drawn.shape == (5, 4)
    assert model.predict(drawn).shape == (5,)
    rest = model.mixture_.conditional([0], [0.3])
    assert rest.sample(3, rng=0)[0].shape == (3, 3)
    completed = model.mixture_.complete([2], [[3.0]], rng=0)
    assert completed.shape == (1, 4)
    assert completed[0, 2] == 3
    with pytest.raises(ValueError, match=r"describes any of the columns \[3\]"):
        model.mixture_.marginal([3])
