"""Maxima and standard errors that are known from elsewhere, found again: ``python docs/published.py``."""

from __future__ import annotations

from importlib.metadata import distribution

import numpy as np
from sklearn import cluster, datasets, mixture

import expfam_em as ef
from expfam_em import families as f

EXACT = {"tol": 1e-13, "max_iter": 5000, "random_state": 0, "acceleration": "auto", "n_jobs": 1}


def deaths() -> None:
    """Print the maximum and the standard errors of days with 0, 1, … deaths (Hasselblad 1969)."""
    X, days = np.arange(10.0)[:, None], np.array([162.0, 267, 271, 185, 111, 61, 27, 8, 3, 1])
    model = ef.ExponentialFamilyMixture(f.Poisson(), 2, **EXACT).fit(X, sample_weight=days).reorder("rates")
    errors = ef.standard_errors(model, X, days)
    found = model.weights_[0], *model.parameters_["rates"].ravel()
    of_each = errors["weights"][0], *errors["rates"].ravel()
    print("two Poisson rates, deaths: weight and rates", *(f"{value:.7f}" for value in found))
    print("  their standard errors", *(f"{value:.7f}" for value in of_each))


def faithful_rows() -> np.ndarray:
    """Return Old Faithful, (272, 2), from plotnine's package."""
    path = distribution("plotnine").locate_file("plotnine/data/faithful.csv")
    return np.loadtxt(path, delimiter=",", skiprows=1)


def bayes() -> None:
    """Print weights of variational Bayes beside those of scikit-learn, from its k-means, numbered in two ways."""
    X = faithful_rows()
    labels = cluster.KMeans(4, n_init=1, random_state=np.random.RandomState(0)).fit(X).labels_
    by_size = np.argsort(np.argsort(-np.bincount(labels)))[labels]
    for prior in ("dirichlet_process", "dirichlet_distribution"):
        how = {"weight_concentration_prior_type": prior, "tol": 1e-12, "max_iter": 5000, "random_state": 0}
        theirs = mixture.BayesianGaussianMixture(n_components=4, **how).fit(X).weights_
        for numbered, start in (("as there", labels), ("by size", by_size)):
            ours = ef.BayesianGaussianMixture(4, **how, init=start).fit(X)
            away, bound = np.abs(np.sort(ours.weights_) - np.sort(theirs)).max(), ours.lower_bound_ * len(X)
            print(f"{prior}, clusters numbered {numbered}: weights {ours.weights_.round(4)}, bound {bound:.4f},")
            print(f"  no more than {away:.0e} from scikit-learn's")


def maxima() -> None:
    """Print log-likelihoods beside those that other programs have found."""
    faithful = faithful_rows()
    waiting, iris = faithful[:, 1:], datasets.load_iris().data
    teeth = np.repeat(np.arange(9.0), [172, 73, 96, 80, 95, 83, 85, 65, 48])[:, None]
    for name, family, X, K, known in (
        ("Weibull, waiting times", f.FreeWeibull(), waiting, 2, -1040.2106),
        ("zero-inflated negative binomial, teeth", f.ZeroInflated(f.GammaPoisson()), teeth, 1, -1756.8033),
        ("VVV, iris", f.Gaussian("VVV"), iris, 3, -180.1855),
        ("VVV, Old Faithful", f.Gaussian("VVV"), faithful, 3, -1114.440),
    ):
        model = ef.ExponentialFamilyMixture(family, K, n_init=10 if K > 1 else 1, **EXACT).fit(X)
        print(f"{name}, {K}: {model.lower_bound_ * len(X):.4f} where {known} is known")


if __name__ == "__main__":
    deaths()
    maxima()
    bayes()
