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


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work where a fit may keep how far it is."""
    monkeypatch.chdir(tmp_path)


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
    return np.where(GAPS[:, : X.shape[1]], np.nan, X)


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
    "log_prior": given(log_prior=np.where(ALLOWED, 0.0, -2.0)),
    "source": rows(lambda X: ef.rows_from(lambda: (X[at : at + 16] for at in range(0, X.shape[0], 16)))),
    "checkpoint": given(checkpoint="fit.checkpoint", checkpoint_every=0.0),
    "n_jobs": setting(n_jobs=2),
    "mclust's prior": setting(prior="mclust"),
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
    "source": ("source", "rows that are read"),
    "mclust's prior": ("mclust",),
}


ORDER = sorted(FEATURES, key=lambda name: (name == "source") - (name in ("missing values", "sparse")))
"""What becomes of the rows first, and where they come from last."""


def applied(family, X, names):
    case = Case(family, X)
    for name in sorted(names, key=ORDER.index):
        FEATURES[name](case)
    return case


def fit_or_refusal(family, X, names, **how):
    """Return the case, its fit and "", or the case, None and the error, which must name one of the features."""
    case = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that is short, or has few rows
        try:
            case = applied(family, X, names)
            case.how.update(how)
            model = ef.ExponentialFamilyMixture(case.family, 2, **case.how)
            model.fit(case.X, **case.data)
            if case.how.get("warm_start"):
                model.fit(case.X, **case.data)
        except (ValueError, TypeError) as error:
            refused = str(error)
            assert any(word in refused for name in names for word in WORDS.get(name, (name,))), refused
            return case, None, refused
    return case, model, ""


def check(case, model, names, tmp_path):
    """Check what every fit promises."""
    assert np.isfinite(model.lower_bound_)
    bounds = np.array(model.lower_bounds_)
    if "temperature" not in names:
        with_priors = {"prior", "mclust's prior", "concentration", "fixed"} & set(names)
        assert with_priors or np.diff(bounds).min(initial=0.0) >= -1e-9 * (1 + abs(bounds[0]))
    assert model.weights_.sum() == pytest.approx(1.0, rel=1e-6)
    R = model.predict_proba(case.X)
    assert np.isfinite(R).all()
    assert R.sum(axis=1) == pytest.approx(np.ones(len(R)), rel=1e-5)
    assert set(model.predict(case.X)) <= {-1, 0, 1}
    model.save(tmp_path / "model.efm")
    assert np.array_equal(ef.load(tmp_path / "model.efm").predict_proba(case.X), R)


@pytest.mark.parametrize("pair", list(itertools.combinations(FEATURES, 2)), ids=" and ".join)
@pytest.mark.parametrize(
    ("family", "X"), [(families.Gaussian("diag"), REAL), (families.Poisson(), COUNTS)], ids=["Gaussian", "Poisson"]
)
def test_two_features_go_together_or_an_error_says_which_do_not(family, X, pair, tmp_path):
    case, model, refused = fit_or_refusal(family, X, pair)
    if not refused:
        check(case, model, pair, tmp_path)


FAMILIES = {
    "Gaussian full": (families.Gaussian(), REAL),
    "Gaussian VEE": (families.Gaussian("VEE"), REAL),
    "StudentT": (families.StudentT(), REAL),
    "LogNormal": (families.LogNormal(), np.exp(REAL)),
    "Gamma": (families.Gamma(), 1 + np.abs(REAL)),
    "Bernoulli": (families.Bernoulli(), (COUNTS > 4).astype(float)),
    "Categorical": (families.Categorical(3), COUNTS % 3),
    "GammaPoisson": (families.GammaPoisson(), COUNTS),
    "VonMises": (families.VonMises(), 0.3 * REAL),
    "ZeroInflated": (families.ZeroInflated(families.Poisson()), COUNTS * (COUNTS > 1)),
    "Product": (families.Product([(families.Gaussian(), [0]), (families.Poisson(), [1])]),
                np.column_stack([REAL[:, 0], COUNTS[:, 1]])),
}  # fmt: skip


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_feature_goes_with_a_family_or_an_error_says_that_it_does_not(name, feature, tmp_path):
    case, model, refused = fit_or_refusal(*FAMILIES[name], [feature], max_iter=5)
    if not refused:
        check(case, model, [feature], tmp_path)


def of_rows(case):
    """What is given of the rows, which is not where a fit keeps how far it is."""
    return {name: value for name, value in case.data.items() if not name.startswith("checkpoint")}


ACTIONS = {
    "standard_errors": lambda model, case: ef.standard_errors(model, case.X, **of_rows(case))["weights"],
    "bic": lambda model, case: model.bic(case.X),
    "icl": lambda model, case: model.icl(case.X),
    "reorder": lambda model, case: model.reorder(np.arange(len(model.weights_))).weights_,
    "match": lambda model, case: model.match(model.mixture_).weights_,
    "sample": lambda model, case: model.sample(5)[0],
    "impute": lambda model, case: model.impute(case.X),
    "merge_components": lambda model, case: ef.merge_components(model, case.X).entropies,
    "select": lambda model, case: [
        ef.select(case.X, [case.family], [1, 2], **{"n_init": 2} | case.how | case.data).best_.bic(case.X)
    ],
    "bootstrap": lambda model, case: ef.bootstrap(model, case.X, **of_rows(case), n_replicates=2, random_state=0)[
        "weights"
    ],
}
"""What is done with a fit, or with its arguments; each gives numbers."""

REFUSED = {
    ("hard", "standard_errors"): "temperature 0",
    ("tied", "standard_errors"): "components coincide",  # the means are all that tells them
    ("bayesian", "standard_errors"): "bayesian=False",
    ("bayesian", "bic"): "bayesian=False",
    ("bayesian", "icl"): "bayesian=False",
    ("bayesian", "select"): "bayesian is given to select",
    ("warm_start", "select"): "warm_start is given to select",
    ("labels", "select"): "labelled is given to select",
    ("allowed", "select"): "allowed is given to select",
    ("log_prior", "select"): "log_prior is given to select",
    ("checkpoint", "select"): "checkpoint is given to select",
    ("fixed", "select"): "fixed",  # of two components
    ("sparse", "impute"): "nothing is missing",
    ("bayesian", "bootstrap"): "bayesian=False",
    ("source", "bootstrap"): "in memory",
    ("source", "impute"): "in memory",
    ("source", "merge_components"): "in memory",
    ("source", "select"): "in memory",
}


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize(
    ("family", "X"), [(families.Gaussian("diag"), REAL), (families.Poisson(), COUNTS)], ids=["Gaussian", "Poisson"]
)
@pytest.mark.filterwarnings("ignore:.*did not converge", "ignore:.*max_iter")
def test_what_follows_a_fit_goes_with_a_feature_or_an_error_says_why_not(family, X, feature):
    case, model, refused = fit_or_refusal(family, X, [feature], max_iter=10)
    for action, done in {} if refused else ACTIONS.items():
        if words := REFUSED.get((feature, action)):
            with pytest.raises((ValueError, TypeError), match=words):
                done(model, case)
        else:
            found = done(model, case)
            assert np.isfinite(found.toarray() if sparse.issparse(found) else np.asarray(found, float)).all(), action
