"""Variational Bayes: bounds beside the exact evidence, scikit-learn's results, planted components, every family."""

import itertools

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import betaln, digamma, gammaln, logsumexp, multigammaln
from sklearn.mixture import BayesianGaussianMixture

import expfam_em as ef
from expfam_em.em.bayes import WEIGHTS
from expfam_em.family import mappings
from expfam_em.family.conjugate import conjugate_of
from tests.cases import CASES

pytestmark = pytest.mark.filterwarnings("ignore:.*did not converge")

F = ef.families
TYPES = ("full", "tied", "diag", "spherical")
PROCESS = {"process": "dirichlet_process", "dirichlet": "dirichlet_distribution"}
SOLVED = [case for case in CASES if not case.numeric]
NUMERIC = [case for case in CASES if case.name == "Rayleigh"]
"""One family of T and A alone: what it has not is told by differences of differences, which takes long."""

INCOMPLETE = {
    "StudentT": (F.StudentT(), "normal"), "GammaPoisson": (F.GammaPoisson(), "counts"),
    "FreeLaplace": (F.FreeLaplace(), "normal"), "FreeWeibull": (F.FreeWeibull(), "positive"),
    "ZeroInflated": (F.ZeroInflated(F.Poisson()), "counts"), "Censored": (F.Censored(F.Exponential()), "intervals"),
    "Exposed": (F.Exposed(F.GammaPoisson()), "positive"),
}  # fmt: skip


def rows_of(kind, n=40):
    rng = np.random.default_rng(5)
    if kind == "counts":
        return rng.poisson(4, (n, 2)).astype(float)
    if kind == "intervals":
        return np.sort(rng.exponential(size=(n, 2)))
    return rng.integers(1, 9, (n, 2)).astype(float) if kind == "positive" else rng.normal(size=(n, 2))


def one_component(family, X, prior, **how):
    """The bound of one component, which is the log evidence: its posterior is exact."""
    model = ef.ExponentialFamilyMixture(family, 1, bayesian=True, weights_prior="dirichlet", prior=prior, **how)
    return model.fit(X).lower_bound_ * len(X)


# ---- the evidence, by formulas that know nothing of the package ----------------------------------------------


def of_bernoulli(X, chi, nu):
    hits, n = X.sum(axis=0), len(X)
    return np.sum(betaln(chi + hits, nu - chi + n - hits) - betaln(chi, nu - chi))


def of_poisson(X, chi, nu):
    each = [stats.nbinom.logpmf(x, chi + before, (nu + i) / (nu + i + 1)) for i, (x, before) in enumerate(_before(X))]
    return np.sum(each)


def of_exponential(X, chi, nu):
    each = [
        stats.lomax.logpdf(x, nu + 1 + i, scale=chi + before) for i, (x, before) in enumerate(_before(X))
    ]  # the rate has a Gamma density of shape ν + 1
    return np.sum(each)


def of_geometric(X, chi, nu):
    failures, n = X.sum(axis=0), len(X)
    return np.sum(betaln(chi + failures, nu + 1 + n) - betaln(chi, nu + 1))


def of_categorical(X, chi, nu):
    """One variable of three levels, by its predictive probabilities."""
    chi, total = chi.copy(), 0.0
    for label in X[:, 0].astype(int):
        total += np.log(chi[label] / chi.sum())
        chi[label] += 1
    return total


def of_known(X, chi, nu):
    """ε = 1.7: rows of one column are normal, and have one error in common."""
    n, d = X.shape
    covariance = 1.7 * (np.eye(n) + np.ones((n, n)) / nu)
    return sum(stats.multivariate_normal.logpdf(X[:, j], np.full(n, chi[j] / nu), covariance) for j in range(d))


def of_exposed(X, chi, nu):
    counts, exposure = X[:, :-1], X[:, -1:]
    after = nu + np.cumsum(exposure, axis=0)
    before = chi + np.cumsum(counts, axis=0) - counts
    return np.sum(stats.nbinom.logpmf(counts, before, (after - exposure) / after))


def _before(X):
    return zip(X, np.cumsum(X, axis=0) - X, strict=True)


EVIDENCE = {
    "Bernoulli": (F.Bernoulli(), lambda g: g.random((30, 2)) < 0.3, [0.4, 1.1], 2.0, of_bernoulli),
    "Poisson": (F.Poisson(), lambda g: g.poisson(3, (30, 2)), [2.5, 0.7], 1.5, of_poisson),
    "Exponential": (F.Exponential(), lambda g: g.exponential(3, (30, 2)), [2.5, 0.7], 1.5, of_exponential),
    "Geometric": (F.Geometric(), lambda g: g.geometric(0.3, (30, 2)) - 1, [2.5, 0.7], 1.5, of_geometric),
    "Categorical": (F.Categorical(3), lambda g: g.integers(0, 3, (30, 1)), [0.5, 1.0, 2.0], 3.5, of_categorical),
    "Exposed": (
        F.Exposed(F.Poisson()),
        lambda g: np.column_stack([g.poisson(3, (30, 2)), g.uniform(0.2, 2, 30)]),
        [2.5, 0.7],
        1.5,
        of_exposed,
    ),
    "Known": (F.KnownCovariance(1.7), lambda g: g.normal(2, 1, (30, 2)), [0.3, 0.2], 0.7, of_known),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_the_bound_of_one_component_is_the_log_evidence(name):
    family, draw, chi, nu, exact = EVIDENCE[name]
    X = np.asarray(draw(np.random.default_rng(0)), float)
    bound = one_component(family, X, ef.ExpectedStatistics([nu], [chi]))
    assert bound == pytest.approx(exact(X, np.array(chi), nu), rel=1e-11)


def student(X, freedom, mean, beta, scatter):
    """Log evidence of rows under a normal-Wishart prior, row by row: each is multivariate t given those before."""
    d, total = X.shape[1], 0.0
    for x in X:
        dof = freedom - d + 1
        total += stats.multivariate_t.logpdf(x, mean, scatter * (beta + 1) / (beta * dof), df=dof)
        step = x - mean
        scatter = scatter + beta / (beta + 1) * np.outer(step, step)
        mean, beta, freedom = (beta * mean + x) / (beta + 1), beta + 1, freedom + 1
    return total


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("far", [0.0, 1e6])
def test_the_bound_of_one_gaussian_is_a_product_of_t_densities(kind, far):
    X = np.random.default_rng(1).normal(size=(25, 2)) @ np.array([[1.0, 0.4], [0.0, 0.7]])
    mean, beta, freedom = np.array([0.3, -0.2]), 0.6, 3.5
    matrix = {"diag": np.diag([1.3, 0.8])}.get(kind, np.array([[1.3, 0.2], [0.2, 0.8]]))
    given = {"diag": np.diag(matrix), "spherical": 0.9}.get(kind, matrix)
    model = ef.BayesianGaussianMixture(
        1, covariance_type=kind, weight_concentration_prior_type="dirichlet_distribution", mean_prior=mean + far,
        mean_precision_prior=beta, degrees_of_freedom_prior=freedom, covariance_prior=given, reg_covar=0,
    ).fit(X + far)  # fmt: skip
    if kind in ("full", "tied"):
        exact = student(X, freedom, mean, beta, matrix)
    elif kind == "diag":
        exact = sum(
            student(X[:, [j]], freedom, mean[[j]], beta, matrix[[j]][:, [j]]) for j in range(2)
        )  # each precision has a Gamma density of shape ν/2
    else:  # one precision of shape ν d/2 and rate d c/2
        n, d, mu = *X.shape, X.mean(axis=0)
        after = d * 0.9 + np.sum((X - mu) ** 2) + n * beta / (n + beta) * np.sum((mu - mean) ** 2)
        half, more = freedom * d / 2, (freedom + n) * d / 2
        exact = gammaln(more) - gammaln(half) + half * np.log(d * 0.9 / 2) - more * np.log(after / 2)
        exact += 0.5 * d * np.log(beta / (beta + n)) - 0.5 * n * d * np.log(2 * np.pi)
    # rows at 1e6 are rounded by 1e-10 of their width
    assert model.lower_bound_ * len(X) == pytest.approx(exact, rel=1e-11 if far == 0 else 1e-8)


def test_laplaces_method_is_close_to_quadrature():
    """Of a Gamma density the error of log B is 0.1 at ν = 8, and falls with ν; differences of it are smaller."""
    X = np.random.default_rng(2).gamma(3.0, 0.5, (60, 1))
    T, nu = np.column_stack([np.log(X), X]), 8.0
    chi = nu * np.array([np.mean(T[:, 0]) - 0.3, np.mean(T[:, 1])])

    def log_volume(chi, nu):
        """∫ da db exp(χ₁ a − χ₂ b − ν (log Γ(a) − a log b)), b by hand."""

        def log_of_shape(a):
            return chi[0] * a - nu * gammaln(a) + gammaln(nu * a + 1) - (nu * a + 1) * np.log(chi[1])

        grid = np.linspace(1e-6, 60, 20001)
        values = log_of_shape(grid)
        return np.log(integrate.simpson(np.exp(values - values.max()), x=grid)) + values.max()

    exact = log_volume(chi + T.sum(axis=0), nu + len(X)) - log_volume(chi, nu) - np.sum(np.log(X))
    bound = one_component(F.Gamma(), X, ef.ExpectedStatistics([nu], [chi]))
    assert abs(bound - exact) < 0.15
    assert abs(bound - exact) > 1e-6  # it is not exact


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_bound_is_below_the_evidence_summed_over_all_labels(weights):
    X, alpha, K = np.array([[0.0], [1.0], [7.0], [9.0], [0.0]]), 0.8, 2
    chi, nu = np.array([2.0]), 1.0
    total = []
    for labels in itertools.product(range(K), repeat=len(X)):
        counts = np.bincount(labels, minlength=K)
        if weights == "dirichlet":
            value = gammaln(K * alpha) - gammaln(K * alpha + len(X)) + np.sum(gammaln(alpha + counts) - gammaln(alpha))
        else:  # E[Π v (1 − v)] over the sticks, the last of which leaves something too
            after = np.cumsum(counts[::-1])[::-1] - counts
            value = np.sum(betaln(1 + counts, alpha + after) - betaln(1, alpha))
        total.append(value + sum(of_poisson(X[np.array(labels) == k], chi, nu) for k in range(K)))
    prior = ef.ExpectedStatistics(np.full(K, nu), np.tile(chi, (K, 1)))
    model = ef.ExponentialFamilyMixture(
        F.Poisson(), K, bayesian=True, weights_prior=weights, concentration=alpha, prior=prior, n_init=5, tol=1e-12,
        random_state=0,
    ).fit(X)  # fmt: skip
    gap = logsumexp(total) - model.lower_bound_ * len(X)
    assert 0 < gap < 1.5  # log K! of it is that components can be numbered in K! ways


# ---- every family --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SOLVED + NUMERIC, ids=repr)
def test_no_step_lowers_the_bound(case):
    rng = np.random.default_rng(3)
    X = np.concatenate([case.draw(theta, 12, rng) for theta in case.components])
    for temperature in (1.0, 0.0, 2.5):
        model = ef.ExponentialFamilyMixture(
            case.family, 3, bayesian=True, tol=0, max_iter=4, temperature=temperature, random_state=0
        ).fit(X)  # fmt: skip
        bounds = np.array(model.lower_bounds_)
        assert np.all(np.diff(bounds) >= -1e-12 * np.abs(bounds[1:]))
        assert np.isfinite(model.score_samples(X)).all()
        assert model.posterior_.counts.sum() == pytest.approx(len(X), rel=1e-12)


@pytest.mark.parametrize("case", SOLVED, ids=repr)
def test_the_expectations_are_the_gradient_of_the_log_partition(case):
    rng = np.random.default_rng(4)
    X = np.concatenate([case.draw(theta, 12, rng) for theta in case.components])
    fitted = ef.ExponentialFamilyMixture(case.family, 2, bayesian=True, max_iter=1, random_state=0)
    posterior = fitted.fit(X).posterior_
    conjugate = conjugate_of(posterior.family)
    packed = np.column_stack([posterior.sums, posterior.exposures])
    if conjugate.coupled:
        found = conjugate.to_expectation(packed)
        step = 1e-5 * np.abs(packed)
        for at in np.ndindex(packed.shape):
            moved = [packed + sign * step * (np.indices(packed.shape) == np.reshape(at, (2, 1, 1))).all(axis=0)
                     for sign in (1, -1)]  # fmt: skip
            up, down = (conjugate.log_partition(one).sum() for one in moved)
            assert found[at] == pytest.approx((up - down) / (2 * step[at]), rel=1e-5, abs=1e-6 * np.abs(found).max())
        return
    numeric = mappings.gradient(conjugate.log_partition, packed)
    size = np.abs(numeric).max(axis=1, keepdims=True)
    assert np.all(np.abs(conjugate.to_expectation(packed) - numeric) <= 1e-7 * size)


@pytest.mark.parametrize("case", NUMERIC, ids=repr)
def test_without_frames_the_mixture_that_stands_for_a_posterior_is_made_once(case, monkeypatch):
    """Its numeric mapping is needed at the end alone, and not at every step."""
    X, asked = case.draw(case.components[0], 40, np.random.default_rng(5)), []
    prior = type(conjugate_of(case.family))
    point = prior.point
    monkeypatch.setattr(prior, "point", lambda self, natural: asked.append(1) or point(self, natural))
    ef.ExponentialFamilyMixture(case.family, 2, bayesian=True, random_state=0, tol=0, max_iter=5).fit(X)
    assert len(asked) == 1


@pytest.mark.parametrize("name", INCOMPLETE)
def test_incomplete_families_say_that_they_have_no_conjugate_prior(name):
    family, kind = INCOMPLETE[name]
    with pytest.raises(ValueError, match="observes only a part of each observation"):
        ef.ExponentialFamilyMixture(family, 2, bayesian=True).fit(rows_of(kind))


def test_what_has_no_meaning_is_refused():
    X = rows_of("normal")
    with pytest.raises(ValueError, match="covariances are constrained"):
        ef.ExponentialFamilyMixture(F.Gaussian("VEV"), 2, bayesian=True).fit(X)
    with pytest.raises(ValueError, match="give 'free'"):
        ef.ExponentialFamilyMixture(F.Gaussian(), 2, bayesian=True, weights="equal").fit(X)
    prior = ef.ExpectedStatistics(np.ones(2), np.zeros((2, 5)))
    with pytest.raises(ValueError, match="is no density"):
        ef.ExponentialFamilyMixture(F.Gaussian(), 2, bayesian=True, prior=prior).fit(X)
    with pytest.raises(ValueError, match="'full covariance_prior' should be symmetric"):
        ef.BayesianGaussianMixture(2, covariance_prior=[[1.0, 2.0], [0.0, 1.0]]).fit(X)
    with pytest.raises(ValueError, match="'diag covariance_prior' should be positive"):
        ef.BayesianGaussianMixture(2, covariance_type="diag", covariance_prior=[1.0, 0.0]).fit(X)
    for name in ("weak", "mclust"):
        with pytest.raises(ValueError, match=f"prior='{name}' is of components of one family"):
            ef.ExponentialFamilyMixture(F.Gaussian(), 2, prior=name, noise="uniform").fit(X)
    held = {"fixed": {"means": [[0, 0], [np.nan, np.nan]]}, "tied": ("means",), "bounds": {"means": (0, 1)},
            "noise": "uniform"}  # fmt: skip
    for name, value in held.items():
        with pytest.raises(ValueError, match=f"goes without {name}"):
            ef.ExponentialFamilyMixture(F.Gaussian(), 2, bayesian=True, **{name: value}).fit(X)
    with pytest.raises(ValueError, match="lower_bound_"):
        ef.BayesianGaussianMixture(2).fit(X).bic(X)
    fitted = ef.BayesianGaussianMixture(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="posterior_ says how sure"):
        ef.standard_errors(fitted, X)
    with pytest.raises(ValueError, match="names components by number"):
        fitted.reorder([1, 0])


# ---- scikit-learn --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", PROCESS)
@pytest.mark.parametrize("kind", ["full", "tied"])
def test_the_posterior_is_that_of_scikit_learn(kind, weights):
    rng = np.random.default_rng(6)
    X = np.concatenate([rng.normal(0, 1, (80, 2)), rng.normal(3, 0.7, (60, 2))])
    K = 3 if kind == "full" else 1  # it estimates a tied precision of several components by another rule
    how = {"n_components": K, "covariance_type": kind, "weight_concentration_prior_type": PROCESS[weights],
           "tol": 1e-8, "max_iter": 2000, "reg_covar": 0}  # fmt: skip
    labels = ((X[:, 0] > 1.5) + (X[:, 1] > 3)).astype(int) % K
    theirs = BayesianGaussianMixture(**how, init_params="random", random_state=0)
    theirs._initialize_parameters = lambda X, rng, xp=None: theirs._initialize(X, np.eye(K)[labels])
    theirs.fit(X)
    ours = ef.BayesianGaussianMixture(**how, init=labels).fit(X)
    assert ours.converged_
    # both stop about 1e-8 before the maximum of the bound, which is flat along weights
    names = ("weights_", "means_", "covariances_", "mean_precision_", "degrees_of_freedom_", "mean_prior_",
             "covariance_prior_", "precisions_cholesky_")  # fmt: skip
    for name in names:
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(ours.weight_concentration_, theirs.weight_concentration_, atol=1e-3)


def textbook(X, labels, alpha, weights, n_steps):
    """Bounds and E[π] of Gaussians with scikit-learn's priors, as in Bishop (2006), 10.2, with entropies of SciPy's."""
    n, d = X.shape
    K, m0, W0 = labels.max() + 1, X.mean(axis=0), np.linalg.inv(np.cov(X.T))
    r, bounds = np.eye(K)[labels], []
    for _ in range(n_steps):
        N = r.sum(axis=0)
        if weights == "process":
            a, b = 1 + N, alpha + np.array([N[k + 1 :].sum() for k in range(K)])
            log_v, log_rest = digamma(a) - digamma(a + b), digamma(b) - digamma(a + b)
            log_pi = np.array([log_v[k] + log_rest[:k].sum() for k in range(K)])
            pi = np.array([np.prod((b / (a + b))[:k]) * a[k] / (a + b)[k] for k in range(K)])
            own = sum((alpha - 1) * log_rest + np.log(alpha) + stats.beta(a, b).entropy())
        else:
            pi, log_pi = alpha + N, digamma(alpha + N) - digamma(np.sum(alpha + N))
            own = stats.dirichlet(pi).entropy() + (alpha - 1) * log_pi.sum() + gammaln(K * alpha) - K * gammaln(alpha)
        score, beta, nu = np.empty((n, K)), 1 + N, d + N
        for k in range(K):
            m = (m0 + r[:, k] @ X) / beta[k]
            scatter = np.outer(m0 - m, m0 - m) + (r[:, k, None] * (X - m)).T @ (X - m)
            q = stats.wishart(nu[k], np.linalg.inv(np.linalg.inv(W0) + scatter))
            log_det = digamma((nu[k] - np.arange(d)) / 2).sum() + d * np.log(2) + np.linalg.slogdet(q.scale)[1]
            far = np.sum((X - m) @ q.scale * (X - m), axis=1)
            score[:, k] = log_pi[k] + (log_det - d * np.log(2 * np.pi) - d / beta[k] - nu[k] * far) / 2
            log_p = -np.linalg.slogdet(W0)[1] * d / 2 - d * d / 2 * np.log(2) - multigammaln(d / 2, d) - log_det / 2
            own += q.entropy() + log_p - nu[k] * np.trace(np.linalg.inv(W0) @ q.scale) / 2
            own += (d * np.log(1 / beta[k]) - d / beta[k] - nu[k] * (m - m0) @ q.scale @ (m - m0) + d) / 2
        bounds.append(own + logsumexp(score, axis=1).sum())
        r = np.exp(score - logsumexp(score, axis=1, keepdims=True))
    return np.array(bounds), pi / pi.sum()


@pytest.mark.parametrize("weights", PROCESS)
def test_the_bounds_of_all_steps_are_those_of_a_textbook(weights):
    rng = np.random.default_rng(6)
    X = np.concatenate([rng.normal(0, 1, (80, 2)), rng.normal(3, 0.7, (60, 2))])
    small_first = np.digitize(-X[:, 0], [-3, -1.5])
    ends = []
    for labels in (small_first, 2 - small_first):
        bounds, pi = textbook(X, labels, 0.5, weights, 40)
        how = {"weight_concentration_prior_type": PROCESS[weights], "weight_concentration_prior": 0.5}
        ours = ef.BayesianGaussianMixture(3, **how, reg_covar=0, init=labels, tol=0, max_iter=39).fit(X)
        np.testing.assert_allclose(np.array(ours.lower_bounds_) * len(X), bounds[1:], rtol=1e-12)
        np.testing.assert_allclose(ours.weights_, pi, rtol=1e-9, atol=1e-12)
        ends.append(bounds[-1])
    unlike = np.ptp(ends)
    # sticks are broken in an order, so another order of the same clusters is another maximum
    assert unlike > 0.1 if weights == "process" else unlike < 1e-6


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_a_process_has_its_largest_component_first(alpha):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [20, 60, 200])
    X = rng.poisson(np.array([[2.0, 20.0], [10.0, 3.0], [30.0, 30.0]])[labels]).astype(float)
    how = {"bayesian": True, "concentration": alpha, "random_state": 0, "max_iter": 1000}
    orders = list(itertools.permutations(range(3)))
    fits = [ef.ExponentialFamilyMixture(F.Poisson(), 3, init=np.array(order)[labels], **how).fit(X) for order in orders]
    for fit in fits:
        np.testing.assert_allclose(fit.posterior_.counts, [200, 60, 20], atol=2)
        assert np.diff(fit.lower_bounds_).min() >= 0
    assert np.ptp([fit.lower_bound_ for fit in fits]) < 1e-6
    prior = ef.ExpectedStatistics(np.arange(1.0, 4), np.outer(np.arange(1.0, 4), [10, 10]))  # each component its own
    own = ef.ExponentialFamilyMixture(F.Poisson(), 3, init=labels, prior=prior, **how).fit(X).posterior_
    np.testing.assert_allclose(own.counts, [200, 60, 20], atol=2)
    np.testing.assert_allclose(own.exposures, prior.counts + own.counts, rtol=1e-12)
    np.testing.assert_allclose((own.sums - prior.sums).sum(axis=0), X.sum(axis=0), rtol=1e-12)


# ---- planted components --------------------------------------------------------------------------------------


def planted(name):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), [230, 190, 180])
    if name == "Bernoulli":
        p = np.array([[0.9] * 5 + [0.1] * 5, [0.1] * 5 + [0.9] * 5, [0.1, 0.9] * 5])
        return F.Bernoulli(), (rng.random((600, 10)) < p[labels]).astype(float)
    means = np.array([[2.0, 20.0], [10.0, 3.0], [30.0, 30.0]])
    if name == "Poisson":
        return F.Poisson(), rng.poisson(means[labels]).astype(float)
    return F.Gamma(), rng.gamma(means[labels], np.array([[1.0, 2.0], [3.0, 1.0], [1.0, 1.0]])[labels])


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", ["Bernoulli", "Poisson", "Gamma"])
def test_three_of_ten_components_survive(name, weights):
    family, X = planted(name)
    model = ef.ExponentialFamilyMixture(
        family, 10, bayesian=True, weights_prior=weights, concentration=0.1, n_init=2, max_iter=1000, random_state=0
    ).fit(X)  # fmt: skip
    alive = model.posterior_.counts > 1
    assert alive.sum() == 3
    np.testing.assert_allclose(np.sort(model.posterior_.counts[alive]), [180, 190, 230], atol=15)
    assert model.weights_[~alive].max() < 0.01


# ---- the ways of the estimators ------------------------------------------------------------------------------


def test_weights_are_repetitions_and_sparse_rows_are_rows():
    from scipy import sparse

    _, X = planted("Poisson")
    X, weight = X[::6], np.tile([1.0, 2.0], 50)
    how = {"bayesian": True, "random_state": 0, "tol": 0, "max_iter": 10}
    start = ef.Mixture.of(F.Poisson(), [0.5, 0.5], rates=[[3.0, 15.0], [20.0, 20.0]])

    def bound(X, **more):
        return ef.ExponentialFamilyMixture(F.Poisson(), 2, init=start, **how).fit(X, **more).lower_bound_

    weighted = bound(X, sample_weight=weight)
    assert weighted == pytest.approx(bound(np.repeat(X, weight.astype(int), axis=0)), rel=1e-12)
    assert weighted == pytest.approx(bound(sparse.csr_matrix(X), sample_weight=weight), rel=1e-12)
    assert weighted == pytest.approx(bound(X.astype(np.float32), sample_weight=weight), rel=1e-12)


@pytest.mark.parametrize("kind", TYPES)
def test_a_warm_start_goes_on_where_the_fit_stood(kind):
    X = np.concatenate([rows_of("normal"), rows_of("normal") * 0.5 + 3])
    how = {"covariance_type": kind, "random_state": 0, "tol": 0}
    whole = ef.BayesianGaussianMixture(3, max_iter=9, **how)
    parts = ef.BayesianGaussianMixture(3, max_iter=4, warm_start=True, **how)
    whole.fit(X)
    parts.fit(X)
    bounds = parts.lower_bounds_
    parts.set_params(max_iter=5).fit(X)
    np.testing.assert_allclose(bounds + parts.lower_bounds_, whole.lower_bounds_, rtol=1e-10)


@pytest.mark.parametrize("model", [
    ef.BayesianGaussianMixture(3, covariance_type="tied", random_state=0),
    ef.BayesianGaussianMixture(3, covariance_type="spherical", random_state=0),
    ef.ExponentialFamilyMixture(F.Gaussian("diag"), 3, bayesian=True, random_state=0),
], ids=str)  # fmt: skip
def test_a_posterior_is_saved_and_a_mixture_that_is_set_has_none(model, tmp_path):
    X = np.concatenate([rows_of("normal"), rows_of("normal") + 4])
    model.fit(X).save(tmp_path / "model.efm")
    again = ef.load(tmp_path / "model.efm")
    np.testing.assert_array_equal(again.posterior_.sums, model.posterior_.sums)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    model.mixture_ = again.mixture_
    assert np.isnan(model.posterior_.counts).all()
    np.testing.assert_array_equal(model.means_ if hasattr(model, "means_") else 0.0, getattr(again, "means_", 0.0))


def test_many_fits_are_those_of_each():
    rng = np.random.default_rng(8)
    many = [rng.normal(size=(30, 2)) + 3 * (np.arange(30) % 2)[:, None] for _ in range(3)]
    model = ef.BayesianGaussianMixture(2, init_params="k-means++", random_state=0, max_iter=500, tol=1e-8)
    for one, X in zip(ef.fit_many(model, many), many, strict=True):
        alone = ef.BayesianGaussianMixture(2, init=one.mixture_, tol=1e-8, max_iter=500).fit(X)
        assert one.lower_bound_ == pytest.approx(alone.lower_bound_, rel=1e-9)
        np.testing.assert_allclose(one.mean_prior_, X.mean(axis=0), atol=1e-12)


def test_components_far_from_one_another_keep_their_digits():
    """A narrow prior lets components be far narrower than they are apart."""
    rng = np.random.default_rng(9)
    noise, far = rng.integers(-512, 513, (200, 1)) / 256, np.repeat([0.0, 2.0**24], 100)[:, None]
    how = {"mean_precision_prior": 2.0**-60, "covariance_prior": [[1.0]], "reg_covar": 0, "tol": 1e-9,
           "weight_concentration_prior_type": "dirichlet_distribution"}  # fmt: skip
    model = ef.BayesianGaussianMixture(2, init=np.repeat([0, 1], 100), mean_prior=[2.0**23], **how).fit(noise + far)
    means, scatter = model.means_.ravel(), model.covariances_.ravel() * model.degrees_of_freedom_
    for k, rows in enumerate((noise[:100], noise[100:])):
        pull = 2.0**-60 * 100 / (100 + 2.0**-60) * (2.0**23) ** 2
        assert means[k] - far[100 * k, 0] == pytest.approx(rows.mean(), rel=1e-6)
        assert scatter[k] == pytest.approx(1 + np.sum((rows - rows.mean()) ** 2) + pull, rel=1e-7)


def test_missing_values_have_the_bound_of_their_expectations():
    """One column in all rows, and one in half of them: independent columns then have evidences of their own."""
    rng = np.random.default_rng(10)
    X = rng.poisson([2.0, 5.0], (40, 2)).astype(float)
    chi, nu, gaps = np.array([2.0, 3.0]), 1.5, X.copy()
    gaps[::2, 1] = np.nan
    model = ef.ExponentialFamilyMixture(
        F.Poisson(), 1, bayesian=True, weights_prior="dirichlet", tol=1e-14, max_iter=3000,
        prior=ef.ExpectedStatistics([nu], [chi]),
    ).fit(gaps)  # fmt: skip
    bounds = np.array(model.lower_bounds_)
    assert np.all(np.diff(bounds) > -1e-13)
    # one ν serves all columns, so that rows with gaps count as their expectations do: the bound is below the evidence
    exact = of_poisson(X[:, :1], chi[:1], nu) + of_poisson(X[1::2, 1:], chi[1:], nu)
    assert exact - 3 < model.lower_bound_ * len(X) < exact


@pytest.mark.parametrize("kind", TYPES)
def test_missing_values_never_lower_the_bound(kind):
    X = np.concatenate([rows_of("normal"), rows_of("normal") + 4])
    X[::7, 0] = np.nan
    model = ef.BayesianGaussianMixture(3, covariance_type=kind, random_state=0, tol=1e-8, max_iter=200).fit(X)
    assert np.diff(model.lower_bounds_).min(initial=0.0) > -1e-13
    assert np.isfinite(model.score(X))


def test_a_constant_column_and_a_level_that_nobody_has_are_taken():
    X = np.column_stack([np.ones(40), np.zeros(40), np.arange(40) % 2]).astype(float)
    model = ef.BernoulliMixture(3, bayesian=True, random_state=0).fit(X)
    assert np.all((model.probabilities_ > 0) & (model.probabilities_ < 1))
    assert np.isfinite(ef.BayesianGaussianMixture(2, random_state=0).fit(X).lower_bound_)
