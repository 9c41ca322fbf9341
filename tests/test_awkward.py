"""A sample of generated awkward fits; ``python -m tests.awkward 3000`` makes them all."""

import numpy as np
import pytest
from scipy import stats

import expfam_em as ef
from tests.awkward import Awkward


@pytest.mark.parametrize("seed", [*range(0, 3000, 50), 898])
def test_an_awkward_fit_is_finite_or_refused_in_words(seed):
    case = Awkward(seed)
    assert not (fault := case.fault()), f"{case.words}\n{fault}"


@pytest.mark.parametrize("far", [1e4, 1e8, 1e12])
def test_spheres_far_apart_keep_their_digits(far):
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [far, far]])
    X = np.repeat(centres, 50, axis=0) + rng.normal(size=(100, 2))
    model = ef.ExponentialFamilyMixture(ef.families.KnownCovariance(), 2, random_state=0).fit(X)
    means = np.array([X[:50].mean(axis=0), X[50:].mean(axis=0)])
    halves = [np.log(0.5) + stats.norm.logpdf(x, m).sum(axis=1) for x, m in zip((X[:50], X[50:]), means, strict=True)]
    # a mean is rounded to ε far, and a row is about one standard deviation from it
    tolerance = 1e-12 + 4 * np.finfo(float).eps * far
    assert model.score_samples(X) == pytest.approx(np.concatenate(halves), rel=tolerance, abs=tolerance)
    assert model.lower_bound_ == pytest.approx(np.mean(halves), rel=tolerance)
