"""Components merged into clusters, against all pairs tried one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import xlogy

import expfam_em as ef
from expfam_em import families


def entropy(R, w):
    """Σ w H in nats."""
    return -np.sum(w[:, None] * xlogy(R, R))


def by_hand(R, w):
    """Pairs, entropies and joined weights when every pair is tried at each step."""
    pairs, entropies, joined = [], [entropy(R, w)], [0.0]
    while R.shape[1] > 1:
        tries = {}
        for i, j in itertools.combinations(range(R.shape[1]), 2):
            merged = np.delete(R, j, axis=1)
            merged[:, i] = R[:, i] + R[:, j]
            tries[i, j] = entropy(merged, w), merged
        i, j = min(tries, key=lambda pair: tries[pair][0])
        joined.append(joined[-1] + w @ (R[:, i] + R[:, j]))
        R = tries[i, j][1]
        pairs.append((i, j))
        entropies.append(entropy(R, w))
    return pairs, entropies, joined


def rows(seed, K=5, n=150, spread=2.0):
    """A mixture of normals that overlap, and rows of it."""
    rng = np.random.default_rng(seed)
    family = families.Gaussian("diag")
    means = rng.normal(0, spread, (K, 2))
    mixture = ef.Mixture(
        family, rng.dirichlet(np.full(K, 5.0)), family.from_moments(means, rng.uniform(0.3, 1.5, (K, 2)))
    )
    return mixture, mixture.sample(n, rng)[0]


@given(seed=st.integers(0, 10**6), weighted=st.booleans(), K=st.integers(1, 6))
def test_merging_tries_all_pairs(seed, weighted, K):
    mixture, X = rows(seed, K)
    w = (
        np.random.default_rng(seed).integers(0, 4, len(X)).astype(float) + (np.arange(len(X)) == 0)
        if weighted
        else None
    )
    found = ef.merge_components(mixture, X, w)
    pairs, entropies, joined = by_hand(mixture.responsibilities(X), np.ones(len(X)) if w is None else w)
    assert found.pairs.shape == (K - 1, 2)
    assert found.pairs.tolist() == [list(pair) for pair in pairs]
    # sums of n numbers below 1
    assert found.entropies == pytest.approx(entropies, abs=1e-10)
    assert found.joined == pytest.approx(joined, rel=1e-12)
    assert np.all(np.diff(found.entropies) <= 1e-10)
    assert abs(found.entropies[-1]) <= 1e-10


def test_weights_are_repeated_rows():
    mixture, X = rows(0)
    times = np.random.default_rng(1).integers(0, 4, len(X))
    weighted = ef.merge_components(mixture, X, times.astype(float))
    repeated = ef.merge_components(mixture, np.repeat(X, times, axis=0))
    assert np.array_equal(weighted.pairs, repeated.pairs)
    assert weighted.entropies == pytest.approx(repeated.entropies, rel=1e-12, abs=1e-10)
    assert weighted.joined == pytest.approx(repeated.joined, rel=1e-12)


def test_clusters_follow_the_pairs():
    mixture, X = rows(3, K=6)
    found = ef.merge_components(mixture, X)
    groups = [{k} for k in range(6)]
    for step, (i, j) in enumerate([(0, 0), *found.pairs.tolist()]):
        if step:
            groups[i] |= groups.pop(j)
        cluster = found.clusters(6 - step)
        assert [{int(k) for k in np.flatnonzero(cluster == c)} for c in range(6 - step)] == groups
        R = found.combine(mixture.responsibilities(X), 6 - step)
        assert R.shape == (len(X), 6 - step)
        assert R.sum(axis=1) == pytest.approx(1, rel=1e-14)
        assert entropy(np.minimum(R, 1), np.ones(len(X))) == pytest.approx(found.entropies[step], abs=1e-10)


def test_halves_of_one_cluster_are_merged_first():
    rng = np.random.default_rng(0)
    cross = [rng.normal(size=(200, 2)) * [3.0, 0.3], rng.normal(size=(200, 2)) * [0.3, 3.0]]
    X = np.concatenate([*cross, rng.normal([25.0, 0.0], 1.0, (200, 2))])
    model = ef.ExponentialFamilyMixture(families.Gaussian("full"), 3, init=np.repeat([0, 1, 2], 200)).fit(X)
    found = ef.merge_components(model.mixture_, X)
    assert found.pairs[0].tolist() == [0, 1]
    assert found.clusters(2).tolist() == [0, 0, 1]
    assert found.entropies[1] < 1e-6 < found.entropies[0]
    assert found.joined[1] == pytest.approx(400, rel=1e-6)


def test_ties_go_to_the_lower_components():
    mixture = ef.Mixture(families.Poisson(), np.full(4, 0.25), np.zeros((4, 1)))
    found = ef.merge_components(mixture, np.arange(5.0)[:, None])
    # all have the same parameters: any pair lowers the entropy alike, and then the larger two do by more
    assert found.pairs[0].tolist() == [0, 1]
    assert found.entropies[0] == pytest.approx(5 * np.log(4), rel=1e-13)


def test_threads_and_sparse_rows_do_not_matter():
    mixture = ef.Mixture(families.Poisson(), [0.3, 0.3, 0.4], np.log([[1.0, 0.1], [2.0, 0.2], [0.1, 5.0]]))
    X = np.random.default_rng(0).poisson(1.0, (5000, 2)).astype(float)
    one, two = (ef.merge_components(mixture, X, n_jobs=n) for n in (1, 2))
    assert np.array_equal(one.entropies, two.entropies)
    of_csr = ef.merge_components(mixture, sparse.csr_array(X))
    assert np.array_equal(of_csr.pairs, one.pairs)
    assert of_csr.entropies == pytest.approx(one.entropies, rel=1e-11, abs=1e-9)


@pytest.mark.parametrize("n_clusters", [0, 6, -1])
def test_a_number_of_clusters_that_makes_no_sense(n_clusters):
    mixture, X = rows(0)
    with pytest.raises(ValueError, match=f"n_clusters is {n_clusters}; it must be a whole number from 1 to 5"):
        ef.merge_components(mixture, X).clusters(n_clusters)
