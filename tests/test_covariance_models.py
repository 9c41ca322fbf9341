"""The M-step of the fourteen covariance models: maxima, what components have in common, and the bound."""

import numpy as np
import pytest
from scipy import optimize

import expfam_em as ef
from expfam_em.families import Gaussian
from tests.covariance_models import (
    MODELS,
    OPEN,
    check_structure,
    like,
    loss,
    m_step,
    matrices,
    problem,
    scatters,
    start_moments,
)
from tests.profiles import share

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # a few steps are the question

STEPS = share(200, fewest=60)

each_model = pytest.mark.parametrize("name", MODELS)

# ---- the parametrisation, from the letters -------------------------------------------------------------------------


def sizes(name, K, d):
    """How many free numbers say volume, shape and orientation."""
    many = {"I": 0, "E": 1, "V": K}
    return [n * many[letter] for letter, n in zip(name, (1, d - 1, d * (d - 1) // 2), strict=True)]


def rotation(angles, d):
    """A product of rotations in all planes."""
    D, planes = np.eye(d), zip(*np.triu_indices(d, 1), strict=True)
    for angle, (i, j) in zip(angles, planes, strict=True):
        turn = np.eye(d)
        turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        D = D @ turn
    return D


def of_model(name, free, K, d):
    """Σ_k = λ_k D_k A_k D_kᵀ of free numbers, (K, d, d)."""
    volume, shape, orientation = np.split(free, np.cumsum(sizes(name, K, d))[:-1])

    def each(values, letter, size):
        return np.zeros((K, size)) if letter == "I" else np.broadcast_to(values.reshape(-1, size), (K, size))

    out = []
    for v, s, o in zip(
        each(volume, name[0], 1), each(shape, name[1], d - 1), each(orientation, name[2], d * (d - 1) // 2), strict=True
    ):
        D = rotation(o, d)
        out.append(np.exp(v[0]) * (D * np.exp(np.append(s, -s.sum()))) @ D.T)
    return np.array(out)


def lowest(name, counts, S, starts):
    """The least loss that a general optimiser reaches from several starts."""
    K, d = S.shape[:2]
    rng = np.random.default_rng(0)

    def objective(free):
        return loss(counts, S, of_model(name, free, K, d))

    return min(
        optimize.minimize(objective, rng.normal(0, 0.8, sum(sizes(name, K, d))), method="BFGS").fun
        for _ in range(starts)
    )


# ---- maxima --------------------------------------------------------------------------------------------------------


def started(name, X, w, seed):
    model = ef.ExponentialFamilyMixture(Gaussian(name), 3, max_iter=0, random_state=seed)
    return model.fit(X, sample_weight=w).mixture_


@each_model
@pytest.mark.parametrize(("K", "d", "seed"), [(2, 2, 0), (3, 2, 1), (2, 3, 2)])
def test_the_m_step_is_the_maximum(name, K, d, seed):
    X, w, R = problem(seed, K, d)
    counts, S, found = m_step(name, X, w, R, d)
    reached = loss(counts, S, found)
    best = lowest(name, counts, S, share(12))
    # BFGS stops at a gradient of 1e-5: its loss is 1e-10/curvature too high, and never lower
    assert best - 1e-7 <= reached <= best + 1e-9


@each_model
@pytest.mark.parametrize("seed", range(4))
def test_the_m_step_is_stationary(name, seed):
    K, d = 3, 3
    X, w, R = problem(seed, K, d)
    counts, S, found = m_step(name, X, w, R, d)
    volume, shape, orientation = name
    # Σ + t E stays in the model to first order for all of these E, so the slope of the loss along them is 0
    ways = []
    groups = {"E": [range(K)], "V": [[k] for k in range(K)], "I": []}
    values, axes = np.linalg.eigh(found)
    if volume != "I":
        ways += [{k: found[k] for k in group} for group in groups[volume]]
    if like(name) == "diag":
        axes = np.repeat(np.eye(d)[None], K, axis=0)
        values = np.einsum("kii->ki", found)
    if orientation == "E" or (orientation == "V" and shape == "E"):
        axes, values = aligned(name, found)
    for group in groups[shape]:
        for j in range(d - 1):
            tilt = np.zeros(d)
            tilt[[j, d - 1]] = 1, -1
            ways.append({k: (axes[k] * (tilt * values[k])) @ axes[k].T for k in group})
    for group in groups[orientation]:
        for i, j in zip(*np.triu_indices(d, 1), strict=True):
            skew = np.zeros((d, d))
            skew[i, j], skew[j, i] = 1, -1
            ways.append({k: skew @ found[k] - found[k] @ skew for k in group})
    assert ways
    P = np.linalg.inv(found)
    for way in ways:
        slope = sum(counts[k] * np.trace(P[k] @ E @ (np.eye(d) - P[k] @ S[k])) for k, E in way.items())
        size = sum(counts[k] * np.linalg.norm(P[k] @ E) * np.linalg.norm(P[k] @ S[k]) for k, E in way.items())
        assert abs(slope) <= 1e-10 * size


def aligned(name, found):
    """Axes and variances along them, the same axis of each component in the same place."""
    K = len(found)
    if name[2] == "V":
        values, axes = np.linalg.eigh(found)
        return axes, values
    axes = np.linalg.eigh(np.tensordot(1 / np.einsum("kii->k", found) * np.arange(1, K + 1), found, 1))[1]
    return np.repeat(axes[None], K, axis=0), np.einsum("ij,kil,lj->kj", axes, found, axes)


@pytest.mark.parametrize("name", OPEN)
def test_regularisation_comes_before_the_constraint(name):
    X, w, R = problem(18, 3, 2)
    counts, S, _ = m_step(name, X, w, R, 2)
    found = m_step(name, X, w, R, 2, reg_covar=0.5)[2]
    check_structure(name, found)
    best = lowest(name, counts, S + 0.5 * np.eye(2), 6)
    assert loss(counts, S + 0.5 * np.eye(2), found) <= best + 1e-9


# ---- structure -----------------------------------------------------------------------------------------------------


@each_model
@pytest.mark.parametrize(("K", "d"), [(2, 2), (3, 4), (5, 3), (3, 1), (12, 6), (2, 40)])
def test_what_the_name_says_is_equal_is_equal(name, K, d):
    X, w, R = problem(K, K, d)
    check_structure(name, m_step(name, X, w, R, d)[2])


@each_model
def test_one_component_is_free(name):
    X, w, R = problem(3, 1, 3)
    one = m_step(name, X, w, R, 3)[2]
    assert one == pytest.approx(m_step(like(name), X, w, R, 3)[2], rel=1e-12, abs=1e-13)


@each_model
def test_models_of_one_column_are_equal_or_free(name):
    X, w, R = problem(4, 3, 1)
    found = m_step(name, X, w, R, 1)[2]
    assert found == pytest.approx(m_step("VVV" if name[0] == "V" else "EEE", X, w, R, 1)[2], rel=1e-12)


@pytest.mark.parametrize(("name", "other"), [("EEE", "tied"), ("VVV", "full"), ("VVI", "diag"), ("VII", "spherical")])
def test_other_names_of_the_same_model(name, other, iris):
    found, expected = (
        ef.GaussianMixture(3, covariance_type=kind, random_state=0).fit(iris) for kind in (name, other)
    )  # fmt: skip
    assert np.array_equal(found.covariances_, expected.covariances_)
    assert found.lower_bounds_ == expected.lower_bounds_
    assert found.mixture_.n_parameters == expected.mixture_.n_parameters


def test_each_letter_that_is_freed_fits_better():
    X, w, R = problem(7, 3, 3)
    at = {name: loss(*m_step(name, X, w, R, 3)) for name in MODELS}
    freer = {"I": "EV", "E": "V", "V": ""}
    for name in MODELS:
        for place, letter in enumerate(name):
            for other in freer[letter]:
                wider = name[:place] + other + name[place + 1 :]
                if wider in at:
                    assert at[wider] < at[name]


# ---- the bound -----------------------------------------------------------------------------------------------------


@each_model
@pytest.mark.parametrize(("K", "d", "seed"), [(2, 2, 10), (4, 3, 11), (3, 5, 12)])
def test_the_bound_never_falls(name, K, d, seed):
    X, w, _ = problem(seed, K, d, spread=0.6)
    model = ef.ExponentialFamilyMixture(
        Gaussian(name), K, tol=0, max_iter=STEPS, n_init=3 if d < 5 else 1, random_state=seed
    ).fit(X, sample_weight=w)
    bounds = np.array(model.lower_bounds_)
    assert len(bounds) == STEPS or model.status_ == ef.Status.BEHIND.value
    assert np.diff(bounds).min() >= -1e-12 * max(1, np.abs(bounds).max())
    check_structure(name, matrices(name, model.parameters_["covariances"], K, d))


@each_model
@pytest.mark.parametrize("seed", range(3))
def test_every_half_step_gains(name, seed):
    X, w, _ = problem(20 + seed, 3, 3, spread=0.5)
    result = ef.fit(started(name, X, w, seed), X, w, max_iter=share(60, fewest=20), tol=0)
    assert result.status is ef.Status.MAX_ITER
    allowed = 1e-12 * np.abs(result.bounds).max()
    assert np.all(result.half_bounds >= result.bounds[:-1] - allowed)
    assert np.all(result.bounds[1:] >= result.half_bounds - allowed)


@pytest.mark.parametrize("name", ["EVE", "VVE"])
def test_a_start_in_another_optimum_is_not_left_for_a_worse_one(name):
    for seed in range(30):
        K, d = 4, 4
        X, w, R = problem(50 + seed, K, d)
        family = Gaussian(name).bind([(X, w)])
        r = w[:, None] * R
        counts, sums = r.sum(axis=0), r.T @ family.sufficient_statistics(X)
        S = scatters(X, r)[2]
        axes = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]
        variances = np.einsum("ij,kil,lj->kj", axes, S, axes)
        if name == "EVE":
            variances /= np.exp(np.log(variances).mean(axis=1, keepdims=True))
        before = (axes * variances[:, None, :]) @ axes.T
        previous = family.from_moments(scatters(X, r)[1], before)
        found = family.parameters(family.maximize(counts, sums, previous))["covariances"]
        assert loss(counts, S, found) <= loss(counts, S, before) + 1e-12
        # what is found from itself is itself
        again = family.maximize(counts, sums, family.from_moments(scatters(X, r)[1], found))
        assert loss(counts, S, family.parameters(again)["covariances"]) <= loss(counts, S, found) + 1e-13


@pytest.mark.parametrize(("name", "seed"), [("EVE", 20), ("VVE", 26)])
def test_the_previous_parameters_may_be_near_a_better_optimum_than_others(name, seed):
    rng = np.random.default_rng(seed)
    K, d = 4, 4
    axes = [np.linalg.qr(rng.standard_normal((d, d)))[0] * 10 ** rng.uniform(-1, 1, d) for _ in range(K)]
    S = np.array([A @ A.T for A in axes])
    counts = rng.uniform(1, 5, K)
    common = np.linalg.qr(rng.standard_normal((d, d)))[0]
    variances = np.einsum("ij,kil,lj->kj", common, S, common)
    if name == "EVE":
        variances /= np.exp(np.log(variances).mean(axis=1, keepdims=True))
    family = Gaussian(name)
    means = np.zeros((K, d))
    previous = family.from_moments(means, (common * variances[:, None, :]) @ common.T)
    sums = counts[:, None] * family.to_expectation(family.from_moments(means, S))
    alone, continued = (
        loss(counts, S, family.parameters(family.maximize(counts, sums, start))["covariances"])
        for start in (None, previous)
    )
    assert continued < alone - 0.01
    # and it is stayed with, step after step
    for _ in range(3):
        previous = family.maximize(counts, sums, previous)
        assert loss(counts, S, family.parameters(previous)["covariances"]) <= continued + 1e-12


@pytest.mark.parametrize("name", ["EVE", "VVE"])
@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_a_step_without_a_search_is_no_worse_than_the_previous_parameters(name, floor):
    for seed in range(10):
        K, d = 3, 4
        X, w, R = problem(70 + seed, K, d)
        family = Gaussian(name, variance_floor=floor).bind([(X, w)])
        r = w[:, None] * R
        counts, sums = r.sum(axis=0), r.T @ family.sufficient_statistics(X)
        S = scatters(X, r)[2]
        other = R[:, [1, 2, 0]] * w[:, None]  # members of the model, about other rows
        previous = family.maximize(other.sum(axis=0), other.T @ family.sufficient_statistics(X))
        one, best = (
            family.parameters(family.maximize_stack(counts[None], sums[None], previous[None], search)[0])["covariances"]
            for search in (False, True)
        )
        before = loss(counts, S, family.parameters(previous)["covariances"])
        assert loss(counts, S, best) - 1e-9 <= loss(counts, S, one) <= before


WITH_FLOOR = ["EEI", "VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV"]


@pytest.mark.parametrize("name", WITH_FLOOR)
def test_the_m_step_is_the_maximum_above_the_floor(name):
    K, d = 2, 2
    X, w, R = problem(40, K, d)
    unit = np.outer(*2 * [Gaussian(name).bind([(X, w)]).width])
    floor = 1.5 * np.linalg.eigvalsh(m_step(name, X, w, R, d, variance_floor=0.0)[2] / unit).min()
    counts, S, found = m_step(name, X, w, R, d, variance_floor=floor)
    check_structure(name, found)
    assert np.linalg.eigvalsh(found / unit).min() == pytest.approx(floor, rel=1e-12)  # some direction is held up by it
    rng, reached = np.random.default_rng(0), loss(counts, S, found)

    def variances(free):
        return np.linalg.eigvalsh(of_model(name, free, K, d) / unit).ravel()

    best = min(
        optimize.minimize(
            lambda free: loss(counts, S, of_model(name, free, K, d)), rng.normal(0, 0.8, sum(sizes(name, K, d))),
            method="SLSQP", constraints={"type": "ineq", "fun": lambda free: variances(free) - floor},
            options={"maxiter": 200, "ftol": 1e-11},
        ).fun
        for _ in range(2)
    )  # fmt: skip
    # SLSQP may break a constraint by 1e-8 of its size, which gains as much
    assert best - 1e-6 <= reached <= best + 1e-7


@pytest.mark.parametrize("name", OPEN)
def test_a_stack_of_mixtures_is_maximised_mixture_by_mixture(name):
    datasets, weights, _ = zip(*(problem(seed, 3, 2) for seed in range(30, 33)), strict=True)
    model = ef.ExponentialFamilyMixture(Gaussian(name), 3, tol=0, random_state=0, acceleration=None)
    starts, ends = (ef.fit_many(model.set_params(max_iter=n), datasets, weights) for n in (0, 7))
    for start, end, X, w in zip(starts, ends, datasets, weights, strict=True):
        alone = ef.fit(start.mixture_, X, w, max_iter=7, tol=0).mixture.parameters
        assert end.parameters_["means"] == pytest.approx(alone["means"], rel=1e-10, abs=1e-10)
        assert end.parameters_["covariances"] == pytest.approx(alone["covariances"], rel=1e-10, abs=1e-10)


# ---- degenerate components -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_component_of_equal_rows(name):
    X, _, _ = problem(13, 2, 2)
    X[:10] = X[0]
    labels = np.r_[np.zeros(10, int), 1 + np.arange(len(X) - 10) % 2]
    start = {"init": labels, "max_iter": 3, "tol": 0}
    if name in ("EII", "EEI", "EEE", "EEV"):  # pooled variances are positive
        model = ef.GaussianMixture(3, covariance_type=name, reg_covar=0, **start).fit(X)
        check_structure(name, matrices(name, model.covariances_, 3, 2))
        return
    model = ef.GaussianMixture(3, covariance_type=name, reg_covar=1e-6, **start).fit(X)
    assert np.isfinite(model.covariances_).all()
    check_structure(name, matrices(name, model.covariances_, 3, 2), 1e-8)
    floored = ef.ExponentialFamilyMixture(Gaussian(name), 3, **start).fit(X)
    assert np.isfinite(floored.parameters_["covariances"]).all()


@pytest.mark.parametrize("name", MODELS)
def test_an_empty_component(name):
    X, _, R = problem(14, 2, 2)
    R = np.column_stack([R, np.zeros(len(X))])
    K, d = 3, 2
    family = Gaussian(name).bind([(X, None)])
    natural = family.from_moments(*start_moments(name, X, K, d))
    start = ef.Mixture(family, np.full(K, 1 / K), natural)
    statistics = ef.ExpectedStatistics(R.sum(axis=0), R.T @ family.sufficient_statistics(X))
    found = ef.maximize(statistics, start)
    covariances = matrices(name, found.parameters["covariances"], K, d)
    two = m_step(name, X, np.ones(len(X)), R[:, :2], d)[2]
    assert covariances[:2] == pytest.approx(two, rel=1e-9, abs=1e-10)
    check_structure(name, covariances)


# ---- numbers of parameters -----------------------------------------------------------------------------------------

FORMULAS = {  # of covariances, as in Celeux & Govaert (1995), table 1
    "EII": lambda K, d: 1,
    "VII": lambda K, d: K,
    "EEI": lambda K, d: d,
    "VEI": lambda K, d: K + d - 1,
    "EVI": lambda K, d: 1 + K * (d - 1),
    "VVI": lambda K, d: K * d,
    "EEE": lambda K, d: d * (d + 1) // 2,
    "VEE": lambda K, d: K + (d + 2) * (d - 1) // 2,
    "EVE": lambda K, d: 1 + (d + 2 * K) * (d - 1) // 2,
    "VVE": lambda K, d: K + (d + 2 * K) * (d - 1) // 2,
    "EEV": lambda K, d: 1 + (d - 1) + K * d * (d - 1) // 2,
    "VEV": lambda K, d: K + (d - 1) + K * d * (d - 1) // 2,
    "EVV": lambda K, d: 1 + K * (d * (d + 1) // 2 - 1),
    "VVV": lambda K, d: K * d * (d + 1) // 2,
}


@each_model
@pytest.mark.parametrize(("K", "d"), [(1, 1), (1, 3), (3, 1), (2, 2), (4, 5)])
def test_free_parameters(name, K, d):
    X, _, _ = problem(15, K, d)
    family = Gaussian(name).bind([(X, None)])
    natural = family.from_moments(*start_moments(name, X, K, d))
    mixture = ef.Mixture(family, np.full(K, 1 / K), natural)
    assert mixture.n_parameters == K - 1 + K * d + FORMULAS[name](K, d)
