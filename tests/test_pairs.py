"""Every feature with every other: a fit that holds what it promises, or a ValueError that names one of the two."""

import itertools
import warnings

import numpy as np
import pytest
from scipy import sparse

import expfam_em as ef
from expfam_em import families

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1], [40, 30])
REAL = RNG.normal(size=(70, 2)) + 5 * LABELS[:, None]
COUNTS = RNG.poisson(np.where(LABELS[:, None], 9.0, 2.0), (70, 2)).astype(float)
GAPS = RNG.random((70, 2)) < 0.1
WEIGHTS = RNG.integers(1, 4, 70).astype(float)
KNOWN = np.where(np.arange(70) % 7 == 0, LABELS, -1)
ALLOWED = np.ones((70, 2), bool)
ALLOWED[:5, 1] = False


class Case:
    """What is fitted; features change it, one after the other."""

    def __init__(self, family, X):
        self.family, self.X = family, X
        self.named = next(iter(family.parameters(start_of(family, X))))
        self.how, self.data = {"max_iter": 40, "random_state": 0}, {}


def start_of(family, X):
    mean = family.sufficient_statistics(X).mean(axis=0, keepdims=True)
    return family.to_natural(np.repeat(mean, 2, axis=0))


def setting(**how):
    return lambda case: case.how.update(how)


def given(**data):
    return lambda case: case.data.update(data)


def rows(change):
    def apply(case):
        case.X = change(case.X)

    return apply


def held(name, value):
    """A constraint on the first named parameter of the family."""
    return lambda case: case.how.update({name: value(case.named)})


def with_gaps(X):
    if sparse.issparse(X):
        X = X.toarray()
    return np.where(GAPS, np.nan, X)


FEATURES = {
    "float32": rows(lambda X: X.astype(np.float32)),
    "missing values": rows(with_gaps),
    "sparse": rows(sparse.csr_array),
    "sample_weight": given(sample_weight=WEIGHTS),
    "labels": lambda case: (case.how.update(labelled=True), case.data.update(y=KNOWN)),
    "allowed": given(allowed=ALLOWED),
    "temperature": setting(temperature=[3.0, 2.0, 1.0]),
    "hard": setting(temperature=0.0),
    "prior": setting(prior="weak"),
    "concentration": setting(concentration=2.0),
    "equal weights": setting(weights="equal"),
    "fixed": held("fixed", lambda name: {name: np.array([[3.0, 3.0], [np.nan, np.nan]])}),
    "tied": held("tied", lambda name: (name,)),
    "bounds": held("bounds", lambda name: {name: (0.5, 20.0)}),
    "noise": setting(noise="uniform"),
    "EM itself": setting(acceleration=None, stop="bound", tol=1e-6),
    "starts": setting(n_init=3),
    "collapse": setting(collapse="repair"),
    "no guard": setting(guard=False),
    "bayesian": setting(bayesian=True),
    "warm_start": setting(warm_start=True),
}

WORDS = {  # what an error may call a feature by
    "missing values": ("NaN", "missing"),
    "sparse": ("sparse",),
    "labels": ("label", "allowed", " y "),
    "hard": ("temperature",),
    "equal weights": ("weights",),
    "fixed": ("fixed", "constrain"),
    "tied": ("tied", "constrain"),
    "bounds": ("bounds", "constrain"),
    "starts": ("n_init",),
    "bayesian": ("bayesian", "posterior", "conjugate"),
}


def applied(family, X, names):
    case = Case(family, X)
    for name in sorted(names, key=lambda name: name not in ("missing values", "sparse")):  # rows first
        FEATURES[name](case)
    return case


@pytest.mark.parametrize("pair", list(itertools.combinations(FEATURES, 2)), ids=" and ".join)
@pytest.mark.parametrize(
    ("family", "X"), [(families.Gaussian("diag"), REAL), (families.Poisson(), COUNTS)], ids=["Gaussian", "Poisson"]
)
def test_two_features_go_together_or_an_error_says_which_do_not(family, X, pair, tmp_path):
    case = applied(family, X, pair)
    model = ef.ExponentialFamilyMixture(case.family, 2, **case.how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that is short, or has few rows
        refused = ""
        try:
            model.fit(case.X, **case.data)
            if case.how.get("warm_start"):
                model.fit(case.X, **case.data)
        except (ValueError, TypeError) as error:
            refused = str(error)
    if refused:
        assert any(word in refused for name in pair for word in WORDS.get(name, (name,))), refused
        return
    assert np.isfinite(model.lower_bound_)
    bounds = np.array(model.lower_bounds_)
    if "temperature" not in pair:
        with_priors = {"prior", "concentration", "fixed"} & set(pair)
        assert with_priors or np.diff(bounds).min(initial=0.0) >= -1e-9 * (1 + abs(bounds[0]))
    assert model.weights_.sum() == pytest.approx(1.0, rel=1e-6)
    R = model.predict_proba(case.X)
    assert np.isfinite(R).all()
    assert R.sum(axis=1) == pytest.approx(np.ones(len(R)), rel=1e-5)
    assert set(model.predict(case.X)) <= {-1, 0, 1}
    model.save(tmp_path / "model.efm")
    assert np.array_equal(ef.load(tmp_path / "model.efm").predict_proba(case.X), R)
