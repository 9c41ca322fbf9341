"""The kernels of common axes and of missing columns, compiled or not, beside SciPy."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import expfam_em as ef
from expfam_em.families import Gaussian


def rows(n=16, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * np.linspace(1, 2, d)
    X[: n // 2] += 6
    return X


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("floor", [0.0, 0.5])
@pytest.mark.parametrize("name", ["EVE", "VVE", "EVI", "EVV"])
def test_models_with_axes_or_a_volume_in_common(name, floor):
    X, labels = rows(), np.repeat([0, 1], 8)
    family = Gaussian(name, variance_floor=floor) if floor else Gaussian(name)
    model = ef.ExponentialFamilyMixture(family, 2, init=labels, max_iter=3, tol=0, guard=False, acceleration=None)
    one, other = model.fit(X).parameters_["covariances"]
    assert np.diff(model.lower_bounds_).min() >= -1e-12
    if name.endswith("E"):
        assert one @ other == pytest.approx(other @ one, rel=1e-6, abs=1e-9)
    if name.startswith("E") and not floor:
        one, other = (np.diag(value) if value.ndim == 1 else value for value in (one, other))
        assert np.linalg.det(one) == pytest.approx(np.linalg.det(other), rel=1e-8)


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("name", ["full", "tied"])
def test_columns_that_are_missing(name):
    X, labels = rows(), np.repeat([0, 1], 8)
    gaps = np.random.default_rng(1).random(X.shape) < 0.3
    gaps[0], gaps[:, 0] = [True, True, True], gaps[:, 0] & (np.arange(16) % 3 == 0)
    X[gaps] = np.nan
    family = Gaussian(name)
    model = ef.ExponentialFamilyMixture(family, 2, init=labels, max_iter=3, tol=0, guard=False, acceleration=None).fit(
        X
    )
    assert np.diff(model.lower_bounds_).min() >= -1e-12
    means, covariances = model.parameters_["means"], model.parameters_["covariances"]
    covariances = np.broadcast_to(covariances, (2, 3, 3))
    for x, found in zip(X, model.score_samples(X), strict=True):
        seen = np.flatnonzero(~np.isnan(x))
        logs = [0.0, 0.0]
        if len(seen):
            laws = [
                stats.multivariate_normal(m[seen], C[np.ix_(seen, seen)])
                for m, C in zip(means, covariances, strict=True)
            ]
            logs = [law.logpdf(x[seen]) for law in laws]
        assert found == pytest.approx(logsumexp(logs, b=model.weights_), rel=1e-9, abs=1e-12)
