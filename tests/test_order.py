"""Components put in another order: labels, attributes and files follow, densities stay."""

import numpy as np
import pytest

import expfam_em as ef
from expfam_em import families
from tests.cases import CASES


def fitted(K=3, seed=0, **how):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(300, 2)) + np.repeat([[0, 0], [6, 0], [0, 8]], [60, 150, 90], axis=0)
    return ef.GaussianMixture(K, random_state=seed, **how).fit(X), X


@pytest.mark.parametrize("by", ["weights", "means", [2, 0, 1]])
def test_everything_follows(by, tmp_path):
    fit, X = fitted()
    before, kept = fit.mixture_, {name: getattr(fit, name) for name in ("lower_bound_", "n_iter_", "status_", "means_")}
    labels, covariances = fit.predict(X), fit.covariances_
    assert fit.reorder(by) is fit
    place = np.array([np.flatnonzero(np.all(fit.means_ == mean, axis=1))[0] for mean in kept.pop("means_")])
    assert np.array_equal(fit.predict(X), place[labels])
    assert np.array_equal(fit.covariances_[place], covariances)
    assert np.allclose(fit.mixture_.log_density(X), before.log_density(X), rtol=1e-13)
    for name, value in kept.items():
        assert getattr(fit, name) == value
    if by == "weights":
        assert np.all(np.diff(fit.weights_) < 0)
    elif by == "means":
        assert np.all(np.diff(fit.means_[:, 0]) > 0)
    else:
        assert np.array_equal(place[by], [0, 1, 2])
    fit.save(tmp_path / "m.efm")
    assert np.array_equal(ef.load(tmp_path / "m.efm").predict(X), fit.predict(X))


def test_sentences_about_edges_follow():
    X = np.concatenate([np.random.default_rng(0).normal(size=(50, 1)), np.full((30, 1), 9.0)])
    fit = ef.ExponentialFamilyMixture(families.Gaussian(variance_floor=0.01), 2, random_state=0).fit(X).reorder()
    assert "Component 1 is at variance_floor." in fit.status_
    assert "Component 0 is at variance_floor." in fit.reorder([1, 0]).status_


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_match_finds_the_components_again(case):
    start = ef.Mixture(case.family, [0.2, 0.5, 0.3], case.naturals(case.components))
    fit, other = (ef.ExponentialFamilyMixture(case.family, 3) for _ in range(2))
    fit.mixture_ = start
    nearly = start.components([2, 0, 1])
    other.mixture_ = nearly
    assert np.array_equal(other.match(fit).weights_, [0.2, 0.5, 0.3])
    assert np.allclose(other.natural_parameters_, fit.natural_parameters_)
    assert np.array_equal(fit.match(nearly).weights_, nearly.weights)


def test_match_of_components_in_frames_of_their_own():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 1)) + np.repeat([[-1e7], [0], [1e7]], 100, axis=0)
    one, other = (ef.GaussianMixture(3, random_state=seed).fit(X) for seed in (0, 1))
    other.reorder([1, 2, 0] if np.array_equal(one.means_.argsort(0), other.means_.argsort(0)) else [0, 1, 2])
    assert np.allclose(other.match(one).means_, one.means_)


def test_components_of_different_families_keep_their_places():
    family = families.Componentwise([(families.Gaussian(), 2), (families.Uniform([-5.0], [5.0]), 1)]).bind(
        [(np.zeros((1, 1)), None)]
    )
    fit = ef.ExponentialFamilyMixture(family, 3)
    named = {"gaussian_means": [[0.0], [3.0]], "gaussian_covariances": [[[1.0]], [[1.0]]]}
    fit.mixture_ = ef.Mixture.of(family, [0.1, 0.3, 0.6], **named)
    other = ef.ExponentialFamilyMixture(family, 3)
    other.mixture_ = fit.mixture_.components([1, 0, 2])
    assert np.array_equal(other.match(fit).weights_, [0.1, 0.3, 0.6])
    assert np.allclose(fit.reorder().weights_, [0.3, 0.1, 0.6])
    with pytest.raises(ValueError, match="components of another family"):
        fit.reorder([2, 1, 0])


def test_what_cannot_be_put_in_order():
    fit, X = fitted()
    for by in ("volumes", [0, 1], [0, 0, 1], [0.0, 1.0, 2.0]):
        with pytest.raises(ValueError, match="by is"):
            fit.reorder(by)
    tied, _ = fitted(covariance_type="tied")
    with pytest.raises(ValueError, match="by is 'covariances'; it must be one of 'weights', 'means', or an order"):
        tied.reorder("covariances")
    with pytest.raises(ValueError, match="3 components cannot go with 2 others"):
        fit.match(fitted(2)[0])
    with pytest.raises(ValueError, match="cannot go with those of"):
        fit.match(ef.ExponentialFamilyMixture(families.Poisson(), 3, random_state=0).fit(np.arange(9.0)[:, None]))
    uneven = ef.GaussianMixture(3, concentration=[1.0, 2.0, 3.0], random_state=0).fit(X)
    with pytest.raises(ValueError, match="prior or concentration differ between components"):
        uneven.reorder([2, 1, 0])
    before = uneven.means_
    assert np.array_equal(uneven.reorder([0, 1, 2]).means_, before)
