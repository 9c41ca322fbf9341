"""Offsets of single rows: what is known of a row's component before it is seen, as one more term of its scores."""

import numpy as np
import pytest
from scipy import sparse
from scipy.special import logsumexp

import expfam_em as ef
from expfam_em.em.steps import expected_statistics
from expfam_em.estep.plan import plan
from expfam_em.estep.scores import Outputs
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.memory import ArrayRows

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(3.0, (700, 4)).astype(float)
K = 3
FAMILIES = {
    "Poisson": (ef.families.Poisson(), COUNTS),
    "sparse Poisson": (ef.families.Poisson(), sparse.csr_array(COUNTS)),
    "Bernoulli": (ef.families.Bernoulli(), (RNG.random((700, 30)) < 0.3).astype(np.uint8)),
    "Gaussian": (ef.families.Gaussian("full"), RNG.normal(size=(700, 2)) + 1e4 * RNG.integers(0, 3, 700)[:, None]),
    "Gamma": (ef.families.Gamma(), RNG.gamma(2.0, 1.0, (700, 2))),
    "StudentT": (ef.families.StudentT(4.0), RNG.normal(size=(700, 2))),
}


def mixture_of(family, X):
    dense = X.toarray() if sparse.issparse(X) else X
    return ef.ExponentialFamilyMixture(family, K, max_iter=2, tol=0, random_state=0).fit(dense).mixture_


def rows_of(X, offset, weight=None):
    return ArrayRows(CSRBlock.of(X) if sparse.issparse(X) else X, weight, 2, offset=offset)


@pytest.mark.filterwarnings("ignore:Best performing init")
@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("group", [None, [1, 0, 0]], ids=["each its own", "groups"])
@pytest.mark.parametrize("name", FAMILIES)
def test_offsets_are_added_to_the_scores(name, group, temperature):
    family, X = FAMILIES[name]
    mixture, columns = mixture_of(family, X), K if group is None else 2
    offset = RNG.normal(0, 2, (700, columns))
    offset[5] = -np.inf
    offset[5, 1] = 0.0  # the row is known to be of one component, or of one group
    weight = RNG.integers(0, 3, 700).astype(float)
    dense = X.toarray() if sparse.issparse(X) else X
    joint = mixture.family.log_density(dense, mixture.natural) + mixture.log_weights
    joint = joint + offset[:, np.arange(K) if group is None else group]
    if temperature:
        evidence = temperature * logsumexp(joint / temperature, axis=1)
        R = np.exp((joint - evidence[:, None]) / temperature)
    else:
        evidence, R = joint.max(axis=1), np.eye(K)[joint.argmax(axis=1)]
    pass_ = plan(mixture.family, rows_of(X, offset, weight), K)
    scores = mixture.scores._replace(group=None if group is None else np.array(group))
    found = pass_.sums(scores, temperature)
    assert found.counts[0] == pytest.approx(weight @ R, rel=1e-9)
    assert found.bounds[0] == pytest.approx(weight @ evidence, rel=1e-9)
    out = Outputs(responsibilities=np.empty((700, K)))
    pass_.write(scores, out, temperature)
    assert out.responsibilities == pytest.approx(R, abs=1e-9)
    alone = Outputs(labels=np.empty(700, np.int64))
    pass_.write(scores, alone, temperature)
    assert np.all(R[np.arange(700), alone.labels] >= R.max(axis=1) - 1e-9)


@pytest.mark.filterwarnings("ignore:Best performing init")
@pytest.mark.parametrize("name", FAMILIES)
def test_offsets_of_zero_change_no_bit(name):
    family, X = FAMILIES[name]
    mixture = mixture_of(family, X)
    if name == "Bernoulli":  # by the pass over bits there are no offsets
        return
    one, two = (
        expected_statistics(plan(mixture.family, rows_of(X, offset), K), mixture)
        for offset in (None, np.zeros((700, K)))
    )
    assert np.array_equal(one.counts, two.counts)
    assert np.array_equal(one.sums, two.sums)
    assert one.bound == two.bound
