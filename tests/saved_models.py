"""Saved models that later versions must still load: ``python -m tests.saved_models`` writes those of this format.

They are written once, when the format gets a new version or a model joins them, and never again.
"""

import json
import warnings
from pathlib import Path

import numpy as np

import expfam_em as ef
from expfam_em.saving import files

FOLDER = Path(__file__).parent / "data" / "saved"
F = ef.families


def models():
    """Yield (name, fitted estimator, rows) of every estimator, and of families with attributes of every kind."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (40, 2)), rng.normal(4, 2, (30, 2))])
    far = np.concatenate([X[:40], 1e6 + 1e-2 * X[40:]])
    counts = np.concatenate([rng.poisson(1, (40, 2)), rng.poisson(7, (30, 2))]).astype(float)
    bits = (counts > 2).astype(float)
    how = {"random_state": 0, "max_iter": 20, "tol": 0}

    def of(family, **more):
        return ef.ExponentialFamilyMixture(family, 2, **how | more)

    start = ef.Mixture.of(F.Poisson(), [0.5, 0.5], rates=[[1.0, 2.0], [6.0, 7.0]])
    prior = ef.ExpectedStatistics([1.0, 2.0], [[3.0, 3.0], [20.0, 20.0]])
    table = F.Product([(F.Gaussian("diag"), [0]), (F.Gamma(), [1]), (F.Bernoulli(), [2]), (F.Categorical(), [3])])
    mixed = np.column_stack([X[:, 0], np.abs(X[:, 1]) + 0.1, bits[:, 0], counts[:, 1] % 3])
    yield "gaussian", ef.GaussianMixture(2, **how).fit(X), X
    yield "gaussian_far", ef.GaussianMixture(2, reg_covar=0, **how).fit(far), far
    yield "gaussian_float32", ef.GaussianMixture(2, covariance_type="VVE", **how).fit(X.astype(np.float32)), X
    yield "bayesian", ef.BayesianGaussianMixture(3, **how).fit(X), X
    yield "bernoulli", ef.BernoulliMixture(2, **how).fit(bits), bits
    yield "k_means", ef.KMeans(3, random_state=0).fit(X), X
    yield "mini_batch", ef.MiniBatchKMeans(3, random_state=0).fit(X), X
    yield "poisson", of(F.Poisson(), prior=prior, init=start, temperature=(2.0, 1.0)).fit(counts), counts
    yield "multinomial", ef.MultinomialMixture(2, smoothing="jeffreys", **how).fit(counts), counts
    yield "auto", of("auto").fit(mixed), mixed
    yield "variational", of(F.Poisson(), bayesian=True).fit(counts), counts
    yield "product", of(table).fit(mixed), mixed
    yield "noise", of(F.Gaussian(), noise="uniform").fit(X), X
    yield "student", of(F.StudentT()).fit(X), X
    yield "constrained", of(F.Gaussian("diag"), fixed={"means": [[0, 0], [4, np.nan]]}).fit(X), X
    yield "truncated", of(F.Truncated(F.Gaussian(), low=0)).fit(np.abs(X[:, :1])), np.abs(X[:, :1])


def said(model, X):
    """Return what a model says of rows, as lists."""
    found = {"predict": model.predict(X).tolist()}
    if isinstance(model, ef.KMeans):
        return found | {"cluster_centers_": model.cluster_centers_.tolist(), "score": float(model.score(X))}
    named = {f"parameters_/{name}": np.asarray(value).tolist() for name, value in model.parameters_.items()}
    of_rows = {"score_samples": model.score_samples(X).tolist(), "lower_bound_": float(model.lower_bound_)}
    return found | of_rows | {"weights_": model.weights_.tolist(), "status_": model.status_} | named


def main():
    """Write the models of the present format that are not there yet, with what they say of some rows."""
    folder = FOLDER / f"format_{files.VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    said_before = folder / "expected.json"
    expected = json.loads(said_before.read_text(encoding="utf-8")) if said_before.exists() else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, model, X in models():
            if name in expected:
                continue
            model.save(folder / f"{name}.efm")
            rows = X[::7]
            expected[name] = {"estimator": type(model).__name__, "X": rows.tolist(), **said(model, rows)}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
