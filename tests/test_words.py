"""Counts of words: mixtures with smoothing by name, documents without words, and spherical k-means of sparse rows."""

import numpy as np
import pytest
from scipy import sparse, stats
from scipy.special import gammaln, logsumexp, xlogy
from sklearn.preprocessing import normalize

import expfam_em as ef
from expfam_em import families

RNG = np.random.default_rng(5)
K, D, N = 3, 40, 90
TOPICS = RNG.dirichlet(np.full(D, 0.1), K)
TOPIC = np.arange(N) % K
COUNTS = np.array([RNG.multinomial(20, TOPICS[k]) for k in TOPIC])
COUNTS[[5, 61]] = 0
WORDY = COUNTS.sum(axis=1) > 0
KINDS = {"dense": COUNTS, "sparse": sparse.csr_array(COUNTS)}
ALPHAS = {"laplace": 1.0, "jeffreys": 0.5, "perks": 1 / D, 0: 0.0, 0.3: 0.3}


def textbook(smoothing, steps=300):
    """EM of a mixture of multinomials in plain NumPy, from the true topics: weights and probabilities."""
    X, weights, p = COUNTS[WORDY], np.full(K, 1 / K), (TOPICS + 1e-9) / (TOPICS + 1e-9).sum(axis=1, keepdims=True)
    for _ in range(steps):
        with np.errstate(divide="ignore"):
            scores = np.log(weights) + np.where(
                p > 0, X[:, None] * np.log(np.maximum(p, 1e-300)), -1e3 * X[:, None]
            ).sum(2)
        r = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
        S = r.T @ X + ALPHAS[smoothing]
        weights, p = r.mean(axis=0), S / S.sum(axis=1, keepdims=True)
    return weights, p


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("smoothing", ALPHAS)
def test_the_fit_is_that_of_a_textbook(kind, smoothing):
    X = KINDS[kind]
    start = ef.Mixture.of("multinomial", np.full(K, 1 / K), probabilities=TOPICS)
    model = ef.MultinomialMixture(K, smoothing=smoothing, init=start, tol=1e-12).fit(X)
    weights, p = textbook(smoothing)
    assert np.allclose(model.weights_, weights, atol=1e-7)
    assert np.allclose(model.probabilities_, p, atol=1e-7)
    assert (model.probabilities_ == 0).any() == (smoothing == 0)
    log_p = xlogy(COUNTS[:, None], p).sum(axis=2)
    log_h = gammaln(COUNTS.sum(axis=1) + 1) - gammaln(COUNTS + 1).sum(axis=1)
    expected = logsumexp(np.log(weights) + log_p, axis=1) + log_h
    assert np.allclose(model.score_samples(X), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_without_words_says_nothing(kind):
    X = KINDS[kind]
    model = ef.MultinomialMixture(K, random_state=0).fit(X)
    without = ef.MultinomialMixture(K, random_state=0).fit(X[WORDY])
    assert np.allclose(model.probabilities_, without.probabilities_, rtol=1e-12)
    assert np.allclose(model.weights_, without.weights_, rtol=1e-12)
    assert np.allclose(model.predict_proba(X)[~WORDY], model.weights_, rtol=1e-12)
    assert np.allclose(model.score_samples(X)[~WORDY], 0, atol=1e-12)
    weighted = ef.MultinomialMixture(K, random_state=0).fit(X, sample_weight=np.full(N, 2.0))
    assert np.allclose(weighted.weights_, model.weights_, rtol=1e-9)
    streamed = ef.MultinomialMixture(K, random_state=0).partial_fit(X[:50]).partial_fit(X[50:])
    assert np.allclose(np.sort(streamed.weights_), np.sort(model.weights_), atol=1e-6)
    one, other = ef.fit_many(
        ef.MultinomialMixture(2, random_state=0), [X[:45], X[45:]], sample_weight=[np.ones(45)] * 2
    )
    assert np.allclose(one.probabilities_.sum(axis=1), 1)
    assert np.isfinite(other.score(X))


def test_what_cannot_be_fitted_is_said(tmp_path):
    with pytest.raises(ValueError, match="no row has a count"):
        ef.MultinomialMixture(2).fit(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"Multinomial needs whole numbers from 0; column 1 holds 0\.5"):
        ef.MultinomialMixture(2).fit([[1, 0.5], [2, 1]])
    with pytest.raises(ValueError, match=r"'smoothing' parameter .*'laplace'.*Got 'lidstone'"):
        ef.MultinomialMixture(2, smoothing="lidstone").fit(COUNTS)
    with pytest.raises(ValueError, match="row 5 has none"):  # the weights of rows in files are not ours
        ef.MultinomialMixture(2).fit(ef.rows_from(lambda: iter([COUNTS])))
    with pytest.raises(ValueError, match="row 5 has none"):
        ef.ExponentialFamilyMixture("multinomial", 2).fit(COUNTS)
    model = ef.MultinomialMixture(2, random_state=0).fit(COUNTS)
    model.save(tmp_path / "words.efm")
    assert np.array_equal(ef.load(tmp_path / "words.efm").predict_proba(COUNTS), model.predict_proba(COUNTS))


# ---- spherical k-means ----------------------------------------------------------------------------------------------

TFIDF = normalize(COUNTS[WORDY] * np.log(1 + N / (1 + (COUNTS > 0).sum(axis=0))))
START = TFIDF[[0, 4, 8]]


def spherical_k_means():
    """Labels and centres from START, by the textbook."""
    centres = START
    for _ in range(50):
        labels = np.argmax(TFIDF @ centres.T, axis=1)
        centres = normalize(np.array([TFIDF[labels == k].sum(axis=0) for k in range(K)]))
    return labels, centres


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("concentration", [1.0, 50.0])
def test_known_concentrations_at_temperature_0_are_spherical_k_means(kind, concentration):
    family = families.VonMisesFisher(concentration)
    start = ef.Mixture.of(family, np.full(K, 1 / K), directions=START)
    model = ef.ExponentialFamilyMixture(family, K, temperature=0.0, weights="equal", init=start, guard=False)
    labels, centres = spherical_k_means()
    assert np.array_equal(model.fit(kind(TFIDF)).predict(kind(TFIDF)), labels)
    assert np.allclose(model.parameters_["directions"], centres, atol=1e-12)
    assert model.parameters_["concentrations"] == pytest.approx(concentration, rel=1e-12)
    assert np.diff(model.lower_bounds_).min() >= -1e-12


@pytest.mark.parametrize("temperature", [1.0, 0.0])
@pytest.mark.parametrize("concentration", [1.0, 5.0, 50.0])
def test_fits_with_known_concentrations_start_at_these(concentration, temperature):
    rng = np.random.default_rng(1)
    U = normalize(rng.normal(size=(60, 3)) + np.repeat([[2.0], [0.0]], 30, axis=0))
    family = families.VonMisesFisher(concentration)
    one = ef.ExponentialFamilyMixture(family, 1, random_state=0, temperature=temperature).fit(U)
    law = stats.vonmises_fisher(normalize(U.sum(axis=0, keepdims=True))[0], concentration)
    assert one.score(U) == pytest.approx(law.logpdf(U).mean(), rel=1e-12)
    for k in (2, 3):
        model = ef.ExponentialFamilyMixture(family, k, random_state=0, temperature=temperature, guard=False).fit(U)
        assert np.linalg.norm(model.natural_parameters_, axis=1) == pytest.approx(concentration, rel=1e-12)
        assert np.diff(model.lower_bounds_).min(initial=0.0) >= -1e-12


def test_a_known_concentration_counts_directions_only_and_leads_back():
    family = families.VonMisesFisher(7)
    model = ef.ExponentialFamilyMixture(family, 2, random_state=0).fit(TFIDF)
    assert model.mixture_.n_parameters == 1 + 2 * (D - 1)
    again = ef.Mixture.of(family, model.weights_, **model.parameters_)
    assert np.allclose(again.natural, model.mixture_.in_family(family).natural, atol=1e-10)
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    with pytest.raises(ValueError, match=r"concentrations is 3\.0 for component 0; it must be 7"):
        ef.Mixture.of(family, [1.0], directions=START[:1], concentrations=[3.0])
    for wrong in (0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="it must be positive and finite, or None"):
            families.VonMisesFisher(wrong)
    free = ef.ExponentialFamilyMixture("von-mises-fisher", 1, tol=1e-12).fit(TFIDF)
    known = families.VonMisesFisher(free.parameters_["concentrations"][0])
    fixed = ef.ExponentialFamilyMixture(known, 1).fit(TFIDF)
    assert fixed.score(TFIDF) == pytest.approx(free.score(TFIDF), rel=1e-12)
    assert eval(repr(family), vars(families)).concentration == 7
