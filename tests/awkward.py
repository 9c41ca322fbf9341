"""Generated awkward fits: every estimator and family with rows, weights and settings that go wrong elsewhere.

``python -m tests.awkward 3000`` fits the cases 0, ..., 2999 and prints what each fault was and how often it occurred.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

import expfam_em as ef
from expfam_em import families as f
from expfam_em.family.support import OutsideSupportError

EPS = float(np.finfo(float).eps)

# What rows of each domain look like: from standard normal numbers Z (n, d) to rows of the domain.
DOMAINS = {
    "real": lambda Z: Z,
    "positive": lambda Z: np.exp(np.clip(Z, -300, 300)),
    "share": lambda Z: np.clip(1 / (1 + np.exp(-np.clip(Z, -30, 30))), 1e-12, 1 - 1e-12),
    "count": lambda Z: np.floor(np.abs(np.clip(Z, -1e9, 1e9)) * 3),
    "bit": lambda Z: (Z > 0).astype(float),
    "code": lambda Z: np.floor(np.abs(np.clip(Z, -3, 3))),
    "angle": lambda Z: np.arctan2(np.sin(np.clip(Z, -1e9, 1e9)), np.cos(np.clip(Z, -1e9, 1e9))),
    "trials": lambda Z: np.clip(np.floor(np.abs(Z) * 2), 0, 5),
    "composition": lambda Z: compositions(np.column_stack([Z, Z[:, ::-1]])),
    "direction": lambda Z: directions(np.column_stack([Z, np.ones(len(Z))])),
    "one hot": lambda Z: np.eye(4)[np.floor(np.abs(np.clip(Z[:, 0], -3, 3))).astype(int)],
    "shots": lambda Z: shots(Z),
    "above": lambda Z: 1 + np.abs(Z),
    "zeros": lambda Z: np.where(Z > 0.5, np.floor(np.abs(np.clip(Z, -1e9, 1e9)) * 3), 0.0),
    "exposed": lambda Z: np.column_stack([np.floor(np.abs(np.clip(Z[:, 0], -1e9, 1e9))), 0.5 + (Z[:, 0] > 0)]),
    "from one": lambda Z: 1 + np.floor(np.abs(np.clip(Z[:, :1], -1e9, 1e9)) * 3),
    "interval": lambda Z: np.column_stack([Z[:, 0], Z[:, 0] + np.where(Z[:, -1] > 0, np.abs(Z[:, 0]), 0.0)]),
    "mixed": lambda Z: np.column_stack([Z[:, 0], np.floor(np.abs(np.clip(Z[:, -1], -3, 3)))]),
    "matrix": lambda Z: matrices(Z),
}


def compositions(Z):
    E = np.exp(np.clip(Z - Z.max(axis=1, keepdims=True), -25, 0))
    return E / E.sum(axis=1, keepdims=True)


def directions(Z):
    Z = Z / np.abs(Z).max(axis=1, keepdims=True)
    return Z / np.sqrt((Z**2).sum(axis=1, keepdims=True))


def shots(Z):
    first = np.clip(np.floor(np.abs(Z[:, :1]) * 2), 0, 4)
    return np.column_stack([first, 4 - first])


def matrices(Z):
    A = np.clip(np.column_stack([Z[:, 0], Z[:, -1], Z[:, 0]]), -1e3, 1e3)
    a, b, c = 1 + A[:, 0] ** 2, 0.1 * np.tanh(A[:, 1]), 1 + A[:, 2] ** 2
    return np.column_stack([a, b, b, c])


FAMILIES = {
    "Bernoulli": (f.Bernoulli, "bit"),
    "Beta": (f.Beta, "share"),
    "Binomial": (lambda: f.Binomial(5), "trials"),
    "Categorical": (f.Categorical, "code"),
    "Censored": (lambda: f.Censored(f.Gaussian()), "interval"),
    "Componentwise": (lambda: f.Componentwise([(f.Gaussian("full"), 1), (f.Uniform(), 1)]), "real"),
    "Componentwise tails": (lambda: f.Componentwise([(f.Gaussian("diag"), 1), (f.Laplace(), 1)]), "real"),
    "Dirichlet": (f.Dirichlet, "composition"),
    "Exposed": (lambda: f.Exposed(f.Poisson()), "exposed"),
    "Exponential": (f.Exponential, "positive"),
    "Gamma": (f.Gamma, "positive"),
    "GammaPoisson": (f.GammaPoisson, "count"),
    "Geometric": (f.Geometric, "count"),
    "HalfNormal": (f.HalfNormal, "positive"),
    "InverseGamma": (f.InverseGamma, "positive"),
    "InverseGaussian": (f.InverseGaussian, "positive"),
    "KnownCovariance": (f.KnownCovariance, "real"),
    "Laplace": (f.Laplace, "real"),
    "LogNormal": (f.LogNormal, "positive"),
    "Maxwell": (f.Maxwell, "positive"),
    "Multinomial": (lambda: f.Multinomial(4), "shots"),
    "NegativeBinomial": (lambda: f.NegativeBinomial(2.0), "count"),
    "OneHot": (lambda: f.OneHot(4), "one hot"),
    "Pareto": (lambda: f.Pareto(1.0), "above"),
    "Poisson": (f.Poisson, "count"),
    "Product": (lambda: f.Product([(f.Gaussian("full"), [0]), (f.Categorical(), [1])]), "mixed"),
    "Rayleigh": (f.Rayleigh, "positive"),
    "StudentT": (f.StudentT, "real"),
    "StudentT 1 diag": (lambda: f.StudentT(1.0, "diag"), "real"),
    "Truncated": (lambda: f.Truncated(f.Poisson(), low=1), "from one"),
    "Uniform": (f.Uniform, "real"),
    "VonMises": (f.VonMises, "angle"),
    "VonMisesFisher": (f.VonMisesFisher, "direction"),
    "FreeWeibull": (f.FreeWeibull, "positive"),
    "Weibull": (lambda: f.Weibull(1.5), "positive"),
    "Wishart": (f.Wishart, "matrix"),
    "ZeroInflated GammaPoisson": (lambda: f.ZeroInflated(f.GammaPoisson()), "zeros"),
    "ZeroInflated": (lambda: f.ZeroInflated(f.Poisson()), "zeros"),
}
COVARIANCES = [
    "full", "tied", "diag", "spherical", "EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV",
    "VEV", "EVV", "VVV",
]  # fmt: skip

# Awkward rows, from normal ones Z (n, d) and a generator.
ROWS = {
    "normal": lambda Z, g: Z,
    "few": lambda Z, g: Z[:3],
    "one row": lambda Z, g: Z[:1],
    "equal": lambda Z, g: np.repeat(Z[:1], len(Z), axis=0),
    "two points": lambda Z, g: Z[g.integers(0, min(2, len(Z)), len(Z))],
    "repeated": lambda Z, g: np.repeat(Z[: max(len(Z) // 5, 1)], 5, axis=0),
    "far row": lambda Z, g: np.concatenate([Z, np.full((1, Z.shape[1]), 1e8)]),
    "very far row": lambda Z, g: np.concatenate([Z, np.full((1, Z.shape[1]), 1e12)]),
    "tiny": lambda Z, g: Z * 1e-150,
    "huge": lambda Z, g: Z * 1e150,
    "shifted": lambda Z, g: Z * 1e-3 + 1e6,
    "constant column": lambda Z, g: np.column_stack([np.full(len(Z), Z[0, 0]), Z[:, 1:]]),
    "collinear": lambda Z, g: Z[:, :1] * np.arange(1, Z.shape[1] + 1),
    "scales": lambda Z, g: Z * 10.0 ** np.linspace(-8, 8, Z.shape[1]),
    "heavy": lambda Z, g: Z / np.abs(g.normal(size=(len(Z), 1))) ** 3,
    "two clusters and a point": lambda Z, g: np.concatenate(
        [Z[: len(Z) // 2] * 0.01, Z[len(Z) // 2 :] * 0.01 + 5, [20 + Z[0]]]
    ),
    "point mass": lambda Z, g: np.where(g.random((len(Z), 1)) < 0.5, 0.0, Z),
    "wide": lambda Z, g: g.normal(size=(6, 9)),
}
WEIGHTS = {
    "none": lambda n, g: None,
    "counts": lambda n, g: g.integers(0, 4, n).astype(float) + (np.arange(n) == 0),
    "one heavy": lambda n, g: np.where(np.arange(n) == 0, 1e6, 1.0),
    "tiny": lambda n, g: np.full(n, 1e-12),
    "spread": lambda n, g: 10.0 ** g.uniform(-12, 12, n),
    "mostly 0": lambda n, g: (np.arange(n) < max(n // 8, 1)).astype(float),
}
LAYOUTS = {
    "C": lambda X: X,
    "Fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "read-only": lambda X: as_read_only(X),
    "float32": lambda X: X.astype(np.float32),
    "CSR": sparse.csr_array,
    "CSC": sparse.csc_matrix,
    "list": lambda X: X.tolist(),
}
REFUSALS: Counter[str] = Counter()
TEMPERATURES = [1.0, 1.0, 1.0, 0.0, 0.3, 4.0, 1e-30, 1.0, 0.0, (8.0, 2.0, 1.0)]


def as_read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def one_of(g, table):
    names = list(table)
    return names[g.integers(len(names))]


class Awkward:
    """The case of a seed: an estimator, rows, row weights, and the words that say what they are."""

    def __init__(self, seed):
        g = np.random.default_rng(seed)
        n, d = int(g.integers(4, 60)), int(g.integers(1, 5))
        kind, weights, layout = one_of(g, ROWS), one_of(g, WEIGHTS), one_of(g, LAYOUTS)
        if layout in ("CSR", "CSC") and g.random() < 0.6:  # most families need dense rows
            layout = "C"
        Z = ROWS[kind](g.normal(size=(n, d)) + 4 * g.integers(0, 3, (n, 1)), g)
        self.model, domain, name = self.drawn(g, seed)
        with np.errstate(all="ignore"):
            X = DOMAINS[domain](Z)
            if layout == "float32":
                X = np.clip(X, -1e38, 1e38)
            self.X = LAYOUTS[layout](X)
        self.weights = WEIGHTS[weights](len(X), g)
        self.words = f"{seed}: {name}, rows {kind} {X.shape}, weights {weights}, {layout}, {self.model}"

    def drawn(self, g, seed):
        """Return an estimator, the domain of its rows and its name."""
        K = int(g.choice([1, 2, 3, 7]))
        temperature = TEMPERATURES[g.integers(len(TEMPERATURES))]
        n_init = int(g.choice([1, 1, 3]))
        shared = {"random_state": seed, "n_init": n_init, "max_iter": 40}
        which = g.integers(8)
        if which == 0:
            kind = COVARIANCES[g.integers(len(COVARIANCES))]
            init = ["kmeans", "k-means++", "random", "random_from_data"][g.integers(4)]
            reg = [1e-6, 0.0][g.integers(2)]
            made = ef.GaussianMixture(
                K, covariance_type=kind, reg_covar=reg, init_params=init, temperature=temperature, **shared
            )
            return made, "real", "GaussianMixture"
        if which == 1:
            return ef.KMeans(K, algorithm=["lloyd", "elkan"][int(K > 1) * g.integers(2)], **shared), "real", "KMeans"
        if which == 2:
            return ef.BernoulliMixture(K, temperature=temperature, **shared), "bit", "BernoulliMixture"
        settings = {
            "temperature": temperature,
            "init": ["k-means++", "random"][g.integers(2)],
            "weights": ["free", "free", "equal"][g.integers(3)],
            **shared,
        }
        if which == 3:
            kind = COVARIANCES[g.integers(len(COVARIANCES))]
            make = [f.Gaussian, f.Gaussian, f.LogNormal][g.integers(3)]
            domain = "positive" if make is f.LogNormal else "real"
            return ef.ExponentialFamilyMixture(make(kind), K, **settings), domain, make.__name__
        name = one_of(g, FAMILIES)
        make, domain = FAMILIES[name]
        K = 2 if "Componentwise" in name else K
        return ef.ExponentialFamilyMixture(make(), K, **settings), domain, name

    def fault(self):
        """Return what is wrong with the fit of this case, "" if nothing is; a documented error is not wrong."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.simplefilter("ignore", UserWarning)
                self.model.fit(self.X, sample_weight=self.weights)
        except (ValueError, TypeError) as error:
            REFUSALS[str(error)[:70]] += 1
            return undocumented(error)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if self.weights is not None:  # rows that do not count may lie outside the support that is found
            seen = np.flatnonzero(self.weights)
            self.X = [self.X[i] for i in seen] if isinstance(self.X, list) else self.X[seen]
            self.weights = self.weights[seen]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return self.wrong()
        except Exception as error:
            return f"after the fit, {type(error).__name__}: {error}"

    def wrong(self):
        """Return what is wrong with a fitted model."""
        return wrong_attributes(self.model) or (
            self.wrong_clusters() if isinstance(self.model, ef.KMeans) else self.wrong_mixture()
        )

    def wrong_clusters(self):
        labels = self.model.predict(self.X)
        if not np.all((labels >= 0) & (labels < len(self.model.cluster_centers_))):
            return "labels outside 0, ..., K - 1"
        return "" if np.all(np.isfinite(self.model.transform(self.X))) else "distances are not finite"

    def wrong_mixture(self):
        model = self.model
        scores = model.score_samples(self.X)
        if not np.all(np.isfinite(scores)):
            return "scores of the rows are not finite"
        R = model.predict_proba(self.X)
        if not np.all((R >= 0) & (R <= 1)) or not np.allclose(R.sum(axis=1), 1, atol=1e-12):
            return "responsibilities do not sum to 1"
        if not np.isfinite(model.bic(self.X)):
            return "BIC is not finite"
        bounds = np.asarray(model.lower_bounds_)
        if np.isscalar(model.temperature) and np.any(np.diff(bounds) < -1e-6 * (1 + np.abs(bounds[1:]))):
            return "the bound falls"
        if model.temperature == 1.0:
            mean = np.average(scores, weights=self.weights)
            if abs(mean - model.lower_bound_) > 1e-6 * (1 + np.abs(scores).max()):
                return f"score {mean} differs from lower_bound_ {model.lower_bound_}"
        return ""


def wrong_attributes(model):
    """Return which fitted attribute has a number that is not finite."""
    for name in vars(model):
        if not name.endswith("_") or name.startswith("_") or name in ("start_bounds_", "support_"):  # −∞ or ∞ at times
            continue
        value = getattr(model, name)
        if isinstance(value, (float, int, np.ndarray, list)):
            try:
                numbers = np.asarray(value, float)
            except (TypeError, ValueError):
                continue
            if not np.all(np.isfinite(numbers)):
                return f"{name} is not finite"
    return ""


def undocumented(error):
    """Return what an error lacks: it must be one of ours, in words, and must not blame a family of the package."""
    if isinstance(error, np.linalg.LinAlgError) or type(error) not in (
        ValueError,
        TypeError,
        ef.CollapsedError,
        OutsideSupportError,
    ):
        return f"{type(error).__name__}: {error}"
    text = str(error)
    blamed = any(word in text for word in ("contradict", "bound fell", "could not be broadcast", "zip()"))
    return f"{type(error).__name__}: {text}" if blamed or len(text) < 20 else ""


def main(first, last):
    faults, told = Counter(), Counter()
    for seed in range(first, last):
        case = Awkward(seed)
        fault = case.fault()
        if fault:
            kind = fault[:60]
            faults[kind] += 1
            told[kind] += 1
            if told[kind] <= 4:
                print(f"{case.words}\n    {fault[:300]}", flush=True)
    print(f"{sum(faults.values())} faults in {last - first} cases")
    for kind, number in faults.most_common():
        print(f"{number:6d}  {kind}")
    print(f"{sum(REFUSALS.values())} refusals")
    for kind, number in REFUSALS.most_common(40):
        print(f"{number:6d}  {kind}")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers if len(numbers) == 2 else [0, *numbers]))
