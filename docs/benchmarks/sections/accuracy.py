"""Accuracy far from the origin, against centred sums in long double, and NIST's four reference data sets."""

import math

import numpy as np
from harness.store import at_least, at_most
from harness.workers import Libraries

KINDS = ("full", "tied", "diag", "spherical")
POWERS = (2, 4, 6, 8)
NAMES = {"ours": "ours", "sklearn": "scikit-learn"}
WORST = 1e-6
"""Asked of ours at every distance; the rows themselves are given to 1e-8 σ at 1e8 σ."""

NIST = {
    "NumAcc1": ([10000001.0, 10000003.0, 10000002.0], 1.0, 15),
    "NumAcc2": ([1.2, *[1.1, 1.3] * 500], 0.1, 15),
    "NumAcc3": ([1000000.2, *[1000000.1, 1000000.3] * 500], 0.1, 9.4),
    "NumAcc4": ([10000000.2, *[10000000.1, 10000000.3] * 500], 0.1, 8.2),
}  # fmt: skip
PERFECT = 16.0
FAILED = 1.0

HOW = """
Relative error of the fitted covariances (largest entry of the difference over the largest entry) of two clusters of
2,000 × 3 rows and width σ = 1 after five iterations from their true parameters, reg_covar = 0. `offset`: 20 σ apart,
both at 10ᵏ σ from the origin; `separation`: at ±10ᵏ σ. No row has a responsibility other than 0 and 1 to 1e-40, so
the truth is the centred covariance of each cluster, summed in long double. `fails`: the fit raised an error or
returned a value that is no number; it counts as an error of 1.
"""


def problem(kind, where, power):
    """Return the rows of two clusters, one after the other, and the true means."""
    rng = np.random.default_rng(7)
    direction = np.array([1.0, -1.0, 0.5])
    far = 10.0**power
    centres = direction * far + np.array([[0.0], [20.0]]) if where == "offset" else np.outer([1, -1], direction * far)
    mixing = np.triu(np.full((3, 3), 0.5) + np.eye(3))
    return np.concatenate([rng.standard_normal((2000, 3)) @ mixing + centre for centre in centres]), centres


def reference(kind, X):
    """Return the covariances of the two halves, centred and summed in long double."""
    halves = [half.astype(np.longdouble) for half in np.split(X, 2)]
    full = np.array([(h - h.mean(axis=0)).T @ (h - h.mean(axis=0)) / len(h) for h in halves])
    if kind == "full":
        return full
    if kind == "tied":
        return full.mean(axis=0)
    variances = np.diagonal(full, axis1=1, axis2=2)
    return variances if kind == "diag" else variances.mean(axis=1)


def _class(library):
    if library == "ours":
        import expfam_em as ef

        return ef.GaussianMixture
    from sklearn.mixture import GaussianMixture

    return GaussianMixture


def error(library, kind, where, power):
    """Return the relative error, or None if the fit fails."""
    X, centres = problem(kind, where, power)
    eye = np.eye(3)
    precisions = {"full": np.array([eye, eye]), "tied": eye, "diag": np.ones((2, 3)), "spherical": np.ones(2)}[kind]
    start = {"weights_init": [0.5, 0.5], "means_init": centres, "precisions_init": precisions}
    try:
        model = _class(library)(2, covariance_type=kind, reg_covar=0, tol=0, max_iter=5, **start).fit(X)
    except ValueError:
        return None
    truth = reference(kind, X)
    found = float(np.max(np.abs(model.covariances_ - truth)) / np.max(np.abs(truth)))
    return found if math.isfinite(found) else None


def nist(library):
    """Return the log relative error of the standard deviation, {data set: digits}."""
    digits = {}
    for name, (values, deviation, _) in NIST.items():
        X = np.array(values)[:, None]
        try:
            variance = _class(library)(1, reg_covar=0).fit(X).covariances_[0, 0, 0] * len(X) / (len(X) - 1)
            off = abs(math.sqrt(max(variance, 0.0)) - deviation) / deviation
            digits[name] = PERFECT if off == 0 else min(PERFECT, -math.log10(off))
        except ValueError:
            digits[name] = None
    return digits


def run(quick):
    powers = POWERS[1::2] if quick else POWERS
    with Libraries() as libraries:
        rows = [row(libraries, kind, where, powers) for where in ("offset", "separation") for kind in KINDS]
        digits = {name: libraries.call(name, nist) for name in NAMES}
    columns = [
        ("case", "clusters", "text"),
        *((f"{name}_{p}", f"{label}, 1e{p} σ", "text") for p in powers for name, label in NAMES.items()),
    ]  # fmt: skip
    worst = [FAILED if value is None else value for line in rows for value in line["errors"]["ours"]]
    goals = [at_most("worst error of ours at any distance", max(worst), WORST)]
    goals += [
        at_least(f"{name}: correct digits of the standard deviation", digits["ours"][name], least)
        for name, (_, _, least) in NIST.items()
    ]
    result = {"title": "Accuracy", "how": HOW, "columns": columns, "rows": rows, "targets": goals}
    return result | {"after": nist_table(digits)}


def row(libraries, kind, where, powers):
    """Return the errors of both libraries for one kind of covariance."""
    errors = {name: [libraries.call(name, error, kind, where, p) for p in powers] for name in NAMES}
    cells = {
        f"{name}_{p}": "fails" if value is None else f"{value:.0e}"
        for name in NAMES
        for p, value in zip(powers, errors[name], strict=True)
    }
    return {"case": f"{where}, {kind}", "errors": errors} | cells


def nist_table(digits):
    from harness.report import table

    rows = [{"case": data} | {name: digits[name][data] for name in NAMES} for data in NIST]
    columns = [("case", "NIST StRD", "text"), *((name, f"{label}, digits", "number") for name, label in NAMES.items())]
    how = (
        "Correct digits of the standard deviation of NIST's univariate data (−log₁₀ of the relative error, at most "
        "16), one component, reg_covar = 0."
    )
    return [how, table(columns, rows)]
