"""Statistics, priors and mixtures say in which coordinates they are, and what is made of them is right in any."""

import numpy as np
import pytest
from scipy.special import digamma, gammaln

import expfam_em as ef

Gaussian = ef.families.Gaussian


def two_clusters(seed, n=400, apart=1e6):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 1, (n, 1)), rng.normal(apart, 1, (n, 1))])


def gaussian(X, K, **how):
    return ef.GaussianMixture(K, reg_covar=0.0, random_state=0, **how).fit(X)


def moments(mixture):
    order = np.argsort(mixture.parameters["means"][:, 0])
    return mixture.parameters["means"][order], mixture.parameters["covariances"][order]


def test_statistics_under_two_mixtures_add_up():
    # m1 is a step further, on other rows: its components have other coordinates
    X, Y = two_clusters(0), 0.5 + two_clusters(1)
    m0 = gaussian(X, 2).mixture_
    m1 = ef.maximize(ef.accumulate(m0, Y), m0)
    m1 = ef.fit(m1, Y, max_iter=1, tol=0).mixture
    total = ef.accumulate(m0, X) + ef.accumulate(m1, Y)
    for previous in (m0, m1):
        means, covariances = moments(ef.maximize(total, previous))
        near = np.concatenate([rows[rows[:, 0] < 5e5] for rows in (X, Y)])
        far = np.concatenate([rows[rows[:, 0] > 5e5] for rows in (X, Y)])
        for k, rows in enumerate((near, far)):
            assert means[k] == pytest.approx(rows.mean(axis=0), rel=1e-15, abs=1e-12)
            assert covariances[k, 0, 0] == pytest.approx(rows.var(), rel=1e-9)
    turned = ef.accumulate(m1, Y) + ef.accumulate(m0, X)
    assert moments(ef.maximize(turned, m0))[1] == pytest.approx(covariances, rel=1e-9)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_frames_of_single_components_lie_row_after_row(covariance_type):
    X = np.random.default_rng(0).normal(np.repeat([[0, 0], [1e6, 0]], 200, axis=0))
    mixture = gaussian(X, 2, covariance_type=covariance_type).mixture_
    assert mixture.family.frames is not None
    assert all(values.flags.c_contiguous for values in mixture.family._coordinates(2).of_each(2))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "VEV"])
def test_a_prior_of_another_fit_is_as_good_as_its_rows(covariance_type):
    rng = np.random.default_rng(0)
    X, Y = rng.normal([10, 0], 2, (300, 2)), rng.normal([12, 1e5], 2, (500, 2))
    old = gaussian(X, 1, covariance_type=covariance_type)
    new = gaussian(Y, 1, covariance_type=covariance_type, prior=ef.accumulate(old.mixture_, X))
    both = gaussian(np.concatenate([X, Y]), 1, covariance_type=covariance_type)
    assert new.means_ == pytest.approx(both.means_, rel=1e-12)
    assert new.covariances_ == pytest.approx(both.covariances_, rel=1e-9)


def test_a_prior_of_another_fit_in_figures():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(10, 2, (500, 1)), rng.normal(12, 2, (400, 1))
    rows = np.concatenate([X, Y])
    model = gaussian(Y, 1, prior=ef.accumulate(gaussian(X, 1).mixture_, X))
    assert model.means_[0, 0] == pytest.approx(rows.mean(), rel=1e-12)
    assert model.covariances_[0, 0, 0] == pytest.approx(rows.var(), rel=1e-12)


PRODUCT = ef.families.Product([(Gaussian("full"), [0, 1]), (ef.families.Gamma(), [2])])
NOISE = ef.families.Componentwise([(Gaussian("diag"), 1), (ef.families.Uniform(-1e9, 1e9), 1)])


def mixed(seed, centre):
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.normal(centre, 1, (200, 2)), rng.gamma(3, 2, 200)])


def test_statistics_of_products_and_of_components_of_different_families_add_up():
    for family, K, make in ((PRODUCT, 1, mixed), (NOISE, 2, lambda s, c: mixed(s, c)[:, :2])):
        X, Y = make(0, 0.0), make(1, 1e5)
        m0, m1 = (ef.ExponentialFamilyMixture(family, K, random_state=0).fit(rows).mixture_ for rows in (X, Y))
        found = ef.maximize(ef.accumulate(m0, X) + ef.accumulate(m1, Y), m1).parameters["gaussian_means"][0]
        assert found == pytest.approx(np.concatenate([X, Y])[:, :2].mean(axis=0), rel=1e-6)


def test_student_t_and_zero_inflation_translate_too():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(0, 1, (300, 2)), rng.normal(1e3, 1, (300, 2))
    m0, m1 = (ef.ExponentialFamilyMixture(ef.families.StudentT(5.0), 1).fit(rows).mixture_ for rows in (X, Y))
    one, two = ef.accumulate(m0, X), ef.accumulate(m1, Y)
    there = two.in_coordinates_of(m0.family)
    assert there.in_coordinates_of(m1.family).sums == pytest.approx(two.sums, rel=1e-9, abs=1e-6)
    assert (one + two).counts == pytest.approx([600])


def test_what_cannot_be_added():
    X = np.random.default_rng(0).normal(size=(50, 2))
    full, tied = (gaussian(X, 1, covariance_type=kind).mixture_ for kind in ("full", "tied"))
    statistics = ef.accumulate(full, X)
    with pytest.raises(ValueError, match=r"statistics of Gaussian\('tied'\) cannot be used for Gaussian\('full'\)"):
        statistics + ef.accumulate(tied, X)
    with pytest.raises(ValueError, match="only one of two statistics says in which coordinates it is"):
        statistics + ef.ExpectedStatistics(statistics.counts, statistics.sums)
    with pytest.raises(ValueError, match="another family"):
        ef.maximize(ef.accumulate(tied, X), full)
    rates = ef.Mixture(ef.families.Poisson(), [1.0], [[0.5]])
    handmade = ef.ExpectedStatistics([2.0], [[3.0]])  # a family that has one set of coordinates needs no telling
    assert (ef.accumulate(rates, [[1.0], [2.0]]) + handmade).sums.tolist() == [[6.0]]


def test_divergence_of_products_has_its_closed_form_whatever_rows_they_were_fitted_on():
    X, Y = mixed(0, 0.0), mixed(1, 3.0)
    p, q = (ef.ExponentialFamilyMixture(PRODUCT, 1).fit(rows).mixture_ for rows in (X, Y))
    found = ef.divergence(p, q)
    assert found.standard_error == 0
    assert found.value == pytest.approx(ef.divergence(p, q, rng=0, n=10).value, rel=1e-12)
    m, S, n, V = (mix.parameters[f"gaussian_{name}"][0] for mix in (p, q) for name in ("means", "covariances"))
    normal = 0.5 * (np.trace(np.linalg.solve(V, S)) + (n - m) @ np.linalg.solve(V, n - m) - 2)
    normal += 0.5 * (np.linalg.slogdet(V)[1] - np.linalg.slogdet(S)[1])
    (a, b), (c, d) = ((mix.parameters["gamma_shapes"].item(), mix.parameters["gamma_rates"].item()) for mix in (p, q))
    gamma = (a - c) * digamma(a) - gammaln(a) + gammaln(c) + c * (np.log(b) - np.log(d)) + a * (d - b) / b
    assert found.value == pytest.approx(normal + gamma, rel=1e-9)


# ---- mixtures of known parameters -----------------------------------------------------------------------------------


def known(family, weights, means, covariances):
    return ef.Mixture(family, weights, family.from_moments(np.array(means), np.array(covariances)))


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical", "VVV", "VII"])
def test_two_normals_far_from_the_origin(covariance_type):
    family = Gaussian(covariance_type)
    one = {"full": [[[1.0]]] * 2, "VVV": [[[1.0]]] * 2, "diag": [[1.0]] * 2}.get(covariance_type, [1.0] * 2)
    mixture = known(family, [0.5, 0.5], [[1.7e9], [1.7e9 + 10]], one)
    X = np.array([[1.7e9], [1.7e9 + 10]])
    assert mixture.log_density(X) == pytest.approx([-1.612086, -1.612086], abs=1e-6)
    assert mixture.responsibilities(X) == pytest.approx(np.eye(2), abs=1e-12)
    assert mixture.parameters["means"] == pytest.approx(X, rel=1e-15)
    assert ef.component_entropies(mixture).value == pytest.approx([0.5 * np.log(2 * np.pi * np.e)] * 2, rel=1e-12)
    assert ef.component_divergences(mixture).value == pytest.approx(np.array([[0, 50], [50, 0]]), rel=1e-6)


def test_one_component_far_away_and_narrow():
    mixture = known(Gaussian("full"), [1.0], [[1e8]], [[[1.0]]])
    assert mixture.log_density([[1e8], [1e8 + 1]]) == pytest.approx(
        -0.5 * np.log(2 * np.pi) - np.array([0, 0.5]), abs=1e-7
    )
    logs = known(ef.families.LogNormal("full"), [1.0], [[20.0]], [[[1e-16]]])
    x = np.exp(20.0)
    expected = -np.log(x) - 0.5 * np.log(2 * np.pi) - np.log(1e-8)
    assert logs.log_density([[x]]) == pytest.approx(expected, abs=1e-6)
    parts = ef.families.Product([(Gaussian("full"), [0]), (Gaussian("diag"), [1])])
    far = ef.Mixture(parts, [1.0], [[1e8, 1e8, -0.5, -0.5]])
    assert far.log_density([[1e8, 1e8]]) == pytest.approx(-np.log(2 * np.pi), abs=1e-6)


def test_a_mixture_of_known_parameters_is_saved_and_started_from(tmp_path):
    X = two_clusters(3, n=60, apart=1e8)
    start = known(Gaussian("full"), [0.5, 0.5], [[0.0], [1e8]], [[[1.0]], [[1.0]]])
    model = gaussian(X, 2, init=start, prior=ef.accumulate(start, X))
    assert model.covariances_.ravel() == pytest.approx([X[:60].var(), X[60:].var()], rel=1e-6)
    model.save(tmp_path / "model.efm")
    again = ef.load(tmp_path / "model.efm")
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(again.prior.in_coordinates_of(model.mixture_.family).sums,
                          model.prior.in_coordinates_of(model.mixture_.family).sums)  # fmt: skip
    assert np.array_equal(again.init.log_density(X), start.log_density(X))


def test_components_can_be_taken_in_any_order():
    X = two_clusters(4)
    mixture = gaussian(X, 2).mixture_
    turned, alone = mixture.components([1, 0]), mixture.components(1)
    assert turned.log_density(X) == pytest.approx(mixture.log_density(X), rel=1e-12)
    assert alone.weights == [1.0]
    assert alone.parameters["means"] == pytest.approx(mixture.parameters["means"][[1]], rel=1e-15)


F = ef.families
FAR = np.concatenate([np.random.default_rng(4).normal(at, 1, (300, 2)) for at in (0, 1e6)])


@pytest.mark.parametrize(
    "family",
    [
        F.Gaussian(), F.Gaussian("tied"), F.Gaussian("VVI"), F.Gaussian("spherical"), F.StudentT(), F.StudentT(3.0),
        F.Product([(F.Gaussian(), [0]), (F.Gaussian("diag"), [1])]), F.Componentwise([(F.Gaussian(), 2)]),
    ],
    ids=repr,
)  # fmt: skip
def test_named_parameters_of_a_fit_are_read_in_the_coordinates_of_its_family(family):
    model = ef.ExponentialFamilyMixture(family, 2, random_state=0).fit(FAR)
    fitted, mixture = model.mixture_.family, model.mixture_
    natural = fitted.from_parameters(**mixture.parameters)
    for again in (ef.Mixture.of(fitted, mixture.weights, **mixture.parameters),
                  ef.Mixture(fitted, mixture.weights, natural)):  # fmt: skip
        # covariances of widths 1 are exact to EPS, means of 1e6 to 1e6 EPS of a width, and both enter squared
        assert again.log_density(FAR) == pytest.approx(mixture.log_density(FAR), rel=1e-8)


def test_named_parameters_of_another_number_of_components_are_refused_or_find_frames():
    model = ef.GaussianMixture(2, random_state=0).fit(FAR)
    named = {name: value[:1] for name, value in model.mixture_.parameters.items()}
    with pytest.raises(ValueError, match="parameters of 1 components are given to Gaussian"):
        model.mixture_.family.from_parameters(**named)
    one = ef.Mixture.of(model.mixture_.family, [1.0], **named)
    at = named["means"][0]
    expected = -np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(named["covariances"][0])[1]
    assert one.log_density(at[None])[0] == pytest.approx(expected, rel=1e-12)
