"""Fits of the fourteen covariance models: frames, references, and the estimator."""

import functools
import re

import mpmath
import numpy as np
import pytest

import expfam_em as ef
from expfam_em.em.loop import fit_all
from expfam_em.em.options import Options
from expfam_em.em.starts import from_responsibilities
from expfam_em.estep.plan import plan
from expfam_em.estep.reduce import rows_given
from expfam_em.families import Gaussian
from expfam_em.family.binding import bind
from expfam_em.rows.memory import ArrayRows
from tests.covariance_models import (
    MODELS,
    OPEN,
    check_structure,
    like,
    m_step,
    matrices,
    problem,
    start_moments,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # a few steps are the question

each_model = pytest.mark.parametrize("name", MODELS)

# ---- frames --------------------------------------------------------------------------------------------------------


def moved(name, X, R, scale=1.0, offset=0.0, steps=4):
    """Covariances after some steps on rows moved and scaled, in the units before."""
    K = R.shape[1]
    model = ef.GaussianMixture(K, covariance_type=name, reg_covar=0, init=R, tol=0, max_iter=steps)
    model.fit(X * scale + offset)
    return model, model.parameters_["means"], matrices(name, model.parameters_["covariances"], K, X.shape[1])


@each_model
@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_an_offset_changes_nothing(name, offset):
    X, _, R = problem(5, 3, 3)
    X = np.round(X * 2.0**20) / 2.0**20  # exact when moved
    _, means, found = moved(name, X, R)
    _, there, other = moved(name, X, R, offset=offset)
    assert other == pytest.approx(found, rel=1e-9, abs=1e-10)
    assert there - offset == pytest.approx(means, abs=1e-8)


@each_model
@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_the_unit_changes_nothing(name, unit):
    X, _, R = problem(6, 3, 3)
    _, _, found = moved(name, X, R)
    assert moved(name, X, R, scale=unit)[2] / unit**2 == pytest.approx(found, rel=1e-9, abs=1e-10)


@each_model
@pytest.mark.parametrize("apart", [1e3, 1e6])
def test_components_far_apart_have_frames_of_their_own_and_the_same_model(name, apart):
    K, d = 3, 3
    X, _, R = problem(8, K, d, spread=0)
    labels = R.argmax(axis=1)
    certain = np.eye(K)[labels]
    X = np.round(X * 2.0**20) / 2.0**20
    centres = apart * np.arange(K)[:, None] * np.array([1.0, -1.0, 1.0])
    model, _, found = moved(name, X + centres[labels], certain, steps=2)
    assert model.mixture_.family.frames is not None
    check_structure(name, found)
    expected = m_step(name, X, np.ones(len(X)), certain, d, variance_floor=0.0)[2]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("name", OPEN)
def test_columns_of_all_scales_share_shapes_in_units_of_x(name):
    K, d, scale = 3, 3, np.array([1e-3, 1.0, 1e3])
    X, _, R = problem(9, K, d)
    if name.endswith("II"):
        scale = np.ones(d)
    X = X * scale
    found = m_step(name, X, np.ones(len(X)), R, d, variance_floor=0.0)[2]
    exact = [mpmath.eigsy(mpmath.matrix(matrix.tolist())) for matrix in found]
    values = np.array([[float(v) for v in mpmath.matrix(e[0])] for e in exact])
    shapes = values / np.exp(np.log(values).mean(axis=1, keepdims=True))
    # singular values of roots of condition 1e6 are good to 1e6 ε
    if name[1] == "E":
        assert shapes == pytest.approx(np.repeat(shapes[:1], K, axis=0), rel=1e-9)
    if name[0] == "E":
        volumes = np.log(values).sum(axis=1)
        assert volumes == pytest.approx(np.full(K, volumes[0]), abs=1e-9)
    if name[2] == "E":
        axes = exact[0][1]
        for matrix in found:
            seen = axes.T * mpmath.matrix(matrix.tolist()) * axes
            for i, j in zip(*np.triu_indices(d, 1), strict=True):
                assert abs(seen[int(i), int(j)]) <= 1e-9 * mpmath.sqrt(seen[int(i), int(i)] * seen[int(j), int(j)])
    # without a frame there is no scale at all, and the same is found
    plain = Gaussian(name)
    Z = X - X.mean(axis=0)
    natural = plain.maximize(R.sum(axis=0), R.T @ plain.sufficient_statistics(Z))
    other = matrices(name, plain.parameters(natural)["covariances"], K, d)
    assert found / np.outer(scale, scale) == pytest.approx(other / np.outer(scale, scale), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize(("seed", "same"), [(1, False), (2, False), (2, True)])
def test_the_bound_never_falls_where_clusters_are_as_thin_as_rounding(name, seed, same):
    rng = np.random.default_rng(seed)
    K, d = 3, 3
    axes = [np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(K)]
    widths = np.array([1.0, 1e-3, 1e-6])
    X = np.concatenate([
        (rng.standard_normal((60, d)) * widths * (1 + k)) @ axes[0 if same else k].T + 3 * rng.standard_normal(d)
        for k in range(K)
    ])  # fmt: skip
    model = ef.ExponentialFamilyMixture(
        Gaussian(name, variance_floor=0.0), K, tol=0, max_iter=30, random_state=seed
    ).fit(X)  # fmt: skip
    bounds = np.array(model.lower_bounds_)
    # scores of rows that are rounded to 1e-16 of a centre at 3, in units of 1e-6
    assert np.diff(bounds).min() >= -1e-11 * np.abs(bounds).max()


# ---- references ----------------------------------------------------------------------------------------------------

MCLUST = {  # BIC of two components of iris as mclust prints it, which stops at a relative change of 1e-5
    "EII": -1123.4117, "VII": -1012.2352, "EEI": -1042.9679, "VEI": -956.2823, "EVI": -1007.3082, "VVI": -857.5515,
    "EEE": -688.0972, "VEE": -656.3270, "EEV": -644.5997, "VEV": -561.7285, "EVV": -658.3306, "VVV": -574.0178,
}  # fmt: skip


@pytest.mark.parametrize("name", MCLUST)
def test_iris_in_two_components(name, iris):
    model = ef.GaussianMixture(2, covariance_type=name, reg_covar=0, tol=1e-11, max_iter=5000, random_state=0)
    bic = -model.fit(iris).bic(iris)
    assert MCLUST[name] - 1e-4 <= bic <= MCLUST[name] + 1e-3
    if name == "VEV":
        assert model.score(iris) * len(iris) == pytest.approx(-215.7259, abs=1.5e-4)


# ---- the estimator -------------------------------------------------------------------------------------------------


@each_model
def test_the_estimator(name, iris, tmp_path):
    model = ef.GaussianMixture(3, covariance_type=name, random_state=0, n_init=2).fit(iris)
    K, d = 3, 4
    shape = {"full": (K, d, d), "diag": (K, d), "spherical": (K,)}[like(name)]
    assert model.covariances_.shape == ((d, d) if name == "EEE" else shape)
    C = matrices(name, model.covariances_, K, d)
    assert matrices(name, model.precisions_, K, d) == pytest.approx(np.linalg.inv(C), rel=1e-8, abs=1e-8)
    assert np.bincount(model.predict(iris), minlength=3).min() > 20
    assert model.predict_proba(iris).sum(axis=1) == pytest.approx(np.ones(len(iris)))
    rows, labels = model.sample(4000)
    assert rows.shape == (4000, d)
    for k in range(K):
        spread = np.sqrt(np.diag(C[k]) / np.sum(labels == k))
        assert np.all(np.abs(rows[labels == k].mean(axis=0) - model.means_[k]) < 5 * spread)
    assert model.bic(iris) > model.aic(iris)
    check_structure(name, C, 1e-9)
    model.save(tmp_path / "model")
    assert np.array_equal(ef.load(tmp_path / "model").score_samples(iris), model.score_samples(iris))


@each_model
def test_given_precisions_are_brought_into_the_model(name, iris):
    rng = np.random.default_rng(3)
    K, d = 3, 4
    A = rng.standard_normal((K, d, 2 * d))
    full = A @ A.transpose(0, 2, 1)
    precisions = {"full": full, "diag": np.einsum("kii->ki", full), "spherical": np.array([1.0, 2.0, 5.0])}[like(name)]
    if name == "EEE":
        precisions = precisions[0]
    given = {"precisions_init": precisions, "means_init": iris[[0, 60, 120]]}
    for weights in (None, [0.2, 0.3, 0.5], [0.0, 0.5, 0.5]):
        model = ef.GaussianMixture(
            K, covariance_type=name, reg_covar=0, tol=0, max_iter=20, weights_init=weights, random_state=0, **given
        ).fit(iris)
        assert np.diff(model.lower_bounds_).min() >= -1e-12
        start = model.set_params(max_iter=0).fit(iris)
        check_structure(name, matrices(name, start.covariances_, K, d))
        # what is in the model already is taken as it is
        given_back = ef.GaussianMixture(
            K, covariance_type=name, max_iter=0, weights_init=weights, means_init=given["means_init"],
            precisions_init=start.precisions_,
        ).fit(iris)  # fmt: skip
        assert given_back.covariances_ == pytest.approx(start.covariances_, rel=1e-9, abs=1e-9)
    with pytest.raises(ValueError, match=f"The parameter '{name} precision' should have the shape"):
        ef.GaussianMixture(K, covariance_type=name, precisions_init=np.ones((2, 2, 2))).fit(iris)
    with pytest.raises(ValueError, match=f"'{name} precision' should be"):
        ef.GaussianMixture(K, covariance_type=name, precisions_init=-precisions).fit(iris)


def test_an_unknown_type_is_answered_as_scikit_learn_does_with_every_type_there_is(iris):
    from sklearn.mixture import GaussianMixture

    for kind in ("VEW", "vev", "", None, "fixed"):
        around, listed = [], []
        for estimator in (GaussianMixture(covariance_type=kind), ef.GaussianMixture(covariance_type=kind)):
            with pytest.raises(ValueError, match="covariance_type") as error:
                estimator.fit(iris)
            before, types, after = re.split(r"[{}]", str(error.value))
            around.append((before, after))
            listed.append({*re.findall(r"'(\w+)'", types)})
        assert around[0] == around[1]
        assert listed[0] < listed[1] == {"full", "tied", "diag", "spherical", *MODELS}
    with pytest.raises(ValueError, match="VEW"):
        Gaussian("VEW")


@pytest.mark.parametrize("name", OPEN)
def test_parts_of_an_observation(name, iris):
    model = ef.GaussianMixture(3, covariance_type=name, random_state=0).fit(iris)
    K, d = 3, 4
    C = matrices(name, model.covariances_, K, d)
    part = model.mixture_.marginal([0, 2])
    assert part.family.covariance_type == (name if name == "EEE" else like(name))
    at = np.ix_(range(K), [0, 2], [0, 2])
    assert matrices(name, part.parameters["covariances"], K, 2) == pytest.approx(C[at], rel=1e-9, abs=1e-12)
    rest = model.mixture_.conditional([1], [3.0])
    # p(x) = p(x₁) p(the rest | x₁)
    rows = iris[:5].copy()
    rows[:, 1] = 3.0
    together = model.mixture_.marginal([1]).log_density(rows[:, [1]]) + rest.log_density(rows[:, [0, 2, 3]])
    assert together == pytest.approx(model.score_samples(rows), rel=1e-9)


@pytest.mark.parametrize("name", OPEN)
def test_a_mixture_goes_on_in_another_frame(name, iris):
    first = ef.GaussianMixture(3, covariance_type=name, random_state=0, tol=1e-4, reg_covar=0).fit(iris)
    moved_rows = iris[20:]
    again = ef.GaussianMixture(3, covariance_type=name, init=first.mixture_, tol=0, max_iter=5, reg_covar=0)
    again.fit(moved_rows)
    start = first.score(moved_rows)
    assert again.lower_bounds_[0] >= start - 1e-12
    assert np.diff(again.lower_bounds_).min() >= -1e-12


@pytest.mark.parametrize("name", OPEN)
def test_a_prior_counts_as_rows(name):
    X, _, R = problem(16, 3, 2)
    family = Gaussian(name).bind([(X, None)])
    T = family.sufficient_statistics(X)
    half = len(X) // 2
    statistics, prior = (
        ef.ExpectedStatistics(R[at].sum(axis=0), R[at].T @ T[at]) for at in (slice(half), slice(half, None))
    )
    start = ef.Mixture(family, np.full(3, 1 / 3), family.from_moments(*start_moments(name, X, 3, 2)))
    found = ef.maximize(statistics, start, prior=prior).natural
    assert found == pytest.approx(ef.maximize(statistics + prior, start).natural, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", OPEN)
def test_hard_assignment(name, iris):
    model = ef.GaussianMixture(3, covariance_type=name, temperature=0, reg_covar=0, random_state=0).fit(iris)
    assert model.converged_
    labels = np.eye(3)[model.predict(iris)]
    again = m_step(name, iris, np.ones(len(iris)), labels, 4, variance_floor=0.0)[2]
    assert matrices(name, model.covariances_, 3, 4) == pytest.approx(again, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", OPEN)
def test_row_weights_are_repetitions(name):
    X, _, R = problem(17, 2, 3)
    times = 1 + np.arange(len(X)) % 3
    weighted = m_step(name, X, times.astype(float), R, 3)[2]
    repeated = m_step(name, np.repeat(X, times, axis=0), np.ones(times.sum()), np.repeat(R, times, axis=0), 3)[2]
    assert weighted == pytest.approx(repeated, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("name", ["EVE", "VVE"])
def test_a_run_does_not_depend_on_those_beside_it(name):
    """Where one run would end, other axes are tried in it alone."""
    X = np.random.default_rng(0).normal(size=(60, 3)) * [1, 2, 4] + np.repeat([[0, 0, 0], [5, 1, 0]], 30, axis=0)
    rows = ArrayRows(X)
    family = bind(Gaussian(name), rows)
    pass_ = plan(family, rows, 2)
    given = [np.random.default_rng(seed).dirichlet(np.ones(2) / 3, len(X)) for seed in range(4)]
    start = from_responsibilities(pass_, [functools.partial(rows_given, R, 2) for R in given], 2).mixture
    how = Options(max_iter=300, tol=1e-7, acceleration="auto")
    together = fit_all(start, pass_, options=how)
    assert len({result.n_iter for result in together}) > 1
    for at, result in enumerate(together):
        [alone] = fit_all(start[at : at + 1], pass_, options=how)
        assert alone.n_iter == result.n_iter
        np.testing.assert_allclose(alone.bounds, result.bounds, rtol=1e-9)
