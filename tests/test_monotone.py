"""The log-likelihood never falls: many random problems, up to two hundred steps of each."""

import functools
import itertools

import numpy as np
import pytest

import expfam_em as ef
from expfam_em.em.loop import CollapsedError, fit_all
from expfam_em.em.options import Options
from expfam_em.em.starts import from_responsibilities
from expfam_em.estep.plan import plan
from expfam_em.estep.reduce import rows_given
from expfam_em.rows.memory import ArrayRows
from tests.profiles import share

TOGETHER = share(28)  # data sets that are fitted in lock step: 28 for each family, K and d are 1,008 problems
STEPS = share(200, fewest=60)
COLLAPSED = 0.05  # share of problems in which a component may end on too few rows

FAMILIES = {
    **{f"Gaussian-{kind}": ef.families.Gaussian(kind) for kind in ("full", "tied", "diag", "spherical")},
    "Bernoulli": ef.families.Bernoulli(),
    "Poisson": ef.families.Poisson(),
}


def rows(name, rng, labels, d):
    """Rows of clusters that may overlap, coincide or be far apart, of which some sizes are small."""
    n, K = len(labels), labels.max() + 1
    if name == "Bernoulli":
        return (rng.random((n, 4 * d)) < rng.beta(0.5, 0.5, (K, 4 * d))[labels]).astype(float)
    if name == "Poisson":
        return rng.poisson(rng.gamma(0.5, 10, (K, d))[labels] + 0.1).astype(float)
    centres, widths = 10 ** rng.uniform(-1, 3) * rng.standard_normal((K, d)), 10 ** rng.uniform(-1, 1, (K, d))
    return centres[labels] + widths[labels] * rng.standard_normal((n, d)) @ rng.uniform(-1, 1, (d, d))


def start(rng, labels, K):
    """Responsibilities that know nothing, little or nearly all of the labels."""
    known = rng.choice([0.0, 0.5, 0.9])
    return known * np.eye(K)[labels] + (1 - known) * rng.dirichlet(np.full(K, 10 ** rng.uniform(-1, 1)), len(labels))


def fitted(name, seed, K, d):
    """The results of some random problems, without those in which a component has collapsed."""
    rng = np.random.default_rng([seed, K, d])
    labels = [rng.permutation(np.arange(n) % K) for n in rng.integers(50, 101, TOGETHER)]
    X = np.concatenate([rows(name, rng, of_one, d) for of_one in labels])
    if name.startswith("Gaussian"):
        X += 10 ** rng.uniform(0, 6)
    weight = rng.uniform(0.1, 3, len(X)) if rng.random() < 0.3 else None
    data = ArrayRows(X, weight, n_jobs=1, sizes=[len(of_one) for of_one in labels])
    given = np.concatenate([start(rng, of_one, K) for of_one in labels])
    pass_ = plan(FAMILIES[name].bind(data), data, K)
    starts = from_responsibilities(pass_, [functools.partial(rows_given, given, K)], K)
    results = fit_all(starts.mixture, pass_, starts.runs, Options(STEPS, 0.0))
    sound = (result for result in results if not isinstance(result, CollapsedError))
    return [result for result in sound if not collapsed(name, result.mixture)]


def collapsed(name, mixture):
    """Whether a component has ended on rows of a plane.

    The variance across it is then the family's floor, which is ε of the others: the rounding of their covariances moves
    it, and with it the log-likelihood, by some per cent.
    """
    if name != "Gaussian-full":
        return False
    family = mixture.family
    in_frame = mixture.parameters["covariances"] / np.outer(family.scale, family.scale)
    return np.linalg.eigvalsh(in_frame).min() < 10 * family.variance_floor


@pytest.mark.parametrize("name", FAMILIES)
def test_the_log_likelihood_never_falls(name):
    shapes = list(itertools.product((2, 3), (1, 2, 3)))
    finished = [result for K, d in shapes for result in fitted(name, list(FAMILIES).index(name), K, d)]
    assert len(finished) >= (1 - COLLAPSED) * TOGETHER * len(shapes)
    falls = [result.fall + max(0.0, -np.diff(result.bounds).min()) for result in finished]
    # the bound is a sum of n log-densities near 10, each good to ten roundings of its terms: 2e-14 a row at most
    tolerance = np.array([1e-12 * result.total_weight for result in finished])
    worst = int(np.argmax(falls / tolerance))
    assert falls[worst] <= tolerance[worst], f"problem {worst}"
    assert all(result.n_iter == STEPS for result in finished)
