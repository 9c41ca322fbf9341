"""A set of fits whose bits tell whether a change of the code has changed results.

Before a change: ``python -m tests.frozen_fits write before.npz``; after it: ``python -m tests.frozen_fits compare
before.npz``. Both have to run on the same machine. Only public names are used, so that everything below them can move.
"""

import argparse
import copy
import sys
import warnings

import numpy as np
from scipy import sparse
from sklearn import datasets

import expfam_em as ef
from tests.cases import CASES

MODELS = ("full", "tied", "diag", "spherical", "EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE",
          "EEV", "VEV", "EVV", "VVV")  # fmt: skip
SHORT = {"max_iter": 15, "tol": 0.0, "random_state": 0}


def case_rows(case, n=150):
    """Rows of the three components of a case, by draws that do not depend on this package."""
    rng = np.random.default_rng(7)
    return np.concatenate([np.asarray(case.draw(theta, n, rng), np.float64) for theta in case.components])


def clusters(n, d, K, seed=0, apart=3.0):
    """Rows of overlapping normal clusters of different widths."""
    rng = np.random.default_rng(seed)
    means = apart * rng.normal(size=(K, d))
    roots = np.eye(d) + 0.4 * rng.normal(size=(K, d, d))
    label = rng.integers(K, size=n)
    return means[label] + np.einsum("nij,nj->ni", roots[label], rng.normal(size=(n, d)))


def binary(n, d, K, seed=0):
    """Rows of K classes of 0s and 1s."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.05, 0.95, (K, d))
    return (rng.random((n, d)) < p[rng.integers(K, size=n)]).astype(np.uint8)


def weights_of(n, seed=3):
    """Row weights, some of them 0."""
    return np.random.default_rng(seed).integers(0, 4, n) * 0.75


def problems():
    """Yield (name, estimator, X, sample_weight)."""
    for case in CASES:
        X = case_rows(case)
        K = 2 + (len(X) % 2) if "Componentwise" not in case.name else None
        K = getattr(case.family, "of_component", np.zeros(3)).size if K is None else 3
        mixture = ef.ExponentialFamilyMixture(case.family, K, **SHORT)
        yield f"family/{case.name}", mixture, X, None
        yield f"family/{case.name}/weights", mixture, X, weights_of(len(X))
        yield f"family/{case.name}/hard", copy.copy(mixture).set_params(temperature=0.0), X, None
        yield f"family/{case.name}/starts", copy.copy(mixture).set_params(n_init=3, init="kmeans"), X, None
    three, wide = clusters(2000, 3, 4), clusters(30_000, 6, 5, seed=1)
    for kind in MODELS:
        gaussian = ef.GaussianMixture(4, covariance_type=kind, **SHORT)
        yield f"gaussian/{kind}", gaussian, three, None
        yield f"gaussian/{kind}/weights", gaussian, three, weights_of(len(three))
        yield f"gaussian/{kind}/unregularised", copy.copy(gaussian).set_params(reg_covar=0.0), three, None
        far = np.concatenate([clusters(300, 2, 1, seed=s) * w + c for s, (c, w) in enumerate(((0, 1), (1e6, 1e-2)))])
        yield f"gaussian/{kind}/far", copy.copy(gaussian).set_params(n_components=2, reg_covar=0.0), far, None
        whole = np.round(three * 4)
        yield f"gaussian/{kind}/single", gaussian, three.astype(np.float32), None
        yield f"gaussian/{kind}/whole", copy.copy(gaussian).set_params(n_init=2), whole, None
    for kind in ("full", "tied", "diag", "spherical"):
        gaussian = ef.GaussianMixture(5, covariance_type=kind, **SHORT)
        yield f"gaussian/{kind}/long", gaussian, wide, None
        yield f"gaussian/{kind}/long/weights", gaussian, wide, weights_of(len(wide))
        for init in ("k-means++", "random", "random_from_data"):
            yield (
                f"gaussian/{kind}/{init}",
                copy.copy(gaussian).set_params(init_params=init, n_init=4),
                wide[:3000],
                None,
            )
    yield "gaussian/annealed", ef.GaussianMixture(4, temperature=[4.0, 2.0, 1.5, 1.0], **SHORT), three, None
    yield "gaussian/converged", ef.GaussianMixture(4, tol=1e-6, max_iter=1000, random_state=0, n_init=5), three, None
    yield "gaussian/parameters", ef.GaussianMixture(4, stop="parameters", max_iter=500, random_state=0), three, None
    yield "gaussian/equal", ef.GaussianMixture(4, weights="equal", concentration=2.0, **SHORT), three, None
    yield "gaussian/columns", ef.GaussianMixture(4, **SHORT), np.asfortranarray(three), None
    bits, few = binary(4000, 20, 3), binary(3000, 6, 3, seed=2)
    bernoulli = ef.BernoulliMixture(3, **SHORT)
    for name, X in (("bits", bits), ("few", few), ("bool", bits.astype(bool)), ("double", bits.astype(float)),
                    ("sparse", sparse.csr_array(bits.astype(float))), ("long", binary(20_000, 9, 3))):  # fmt: skip
        yield f"bernoulli/{name}", bernoulli, X, None
        yield f"bernoulli/{name}/weights", bernoulli, X, weights_of(X.shape[0])
    yield "bernoulli/thresholds", ef.BernoulliMixture(3, binarize=0.5, **SHORT), clusters(2000, 8, 3), None
    counts = np.random.default_rng(5).poisson(
        np.repeat([[0.2, 1, 3, 0.1, 0.3]], 900, 0) * np.repeat([1, 4, 9], 300)[:, None]
    )
    for family in (ef.families.Poisson(), ef.families.Multinomial(), ef.families.Bernoulli()):
        X = (
            np.minimum(counts, 1)
            if isinstance(family, ef.families.Bernoulli)
            else counts + (counts.sum(1) == 0)[:, None]
        )
        mixture = ef.ExponentialFamilyMixture(family, 3, **SHORT)
        yield f"sparse/{type(family).__name__}", mixture, sparse.csr_array(X.astype(float)), None
        yield f"sparse/{type(family).__name__}/weights", mixture, sparse.csr_array(X.astype(float)), weights_of(len(X))
    digits = datasets.load_digits().data
    for name, X, K in (("plane", clusters(5000, 2, 6), 6), ("wide", clusters(3000, 20, 30), 30), ("digits", digits, 10),
                       ("single", clusters(4000, 3, 5).astype(np.float32), 5), ("many", clusters(3000, 64, 20), 520),
                       ("sparse", sparse.csr_array(digits), 10)):  # fmt: skip
        yield f"kmeans/{name}", ef.KMeans(K, random_state=0, n_init=2), X, None
        yield f"kmeans/{name}/weights", ef.KMeans(K, random_state=0), X, weights_of(X.shape[0])
    iris = datasets.load_iris().data
    table = np.column_stack([iris, (iris[:, :2] > [5.8, 3]).astype(float)])
    parts = [(ef.families.Gaussian("full"), [0, 2]), (ef.families.Gamma(), [1, 3]), (ef.families.Bernoulli(), [4, 5])]
    yield "product", ef.ExponentialFamilyMixture(ef.families.Product(parts), 3, **SHORT), table, None
    noise = ef.families.Componentwise([(ef.families.Gaussian("full"), 3), (ef.families.Uniform(), 1)])
    yield "noise", ef.ExponentialFamilyMixture(noise, 4, **SHORT), iris, None
    heavy = ef.families.Componentwise([(ef.families.StudentT(), 2), (ef.families.Gaussian("diag"), 1)])
    yield "heavy", ef.ExponentialFamilyMixture(heavy, 3, **SHORT), iris, None


def many():
    """Yield (name, estimator, data sets, weights) for fits in lock step."""
    rows = [clusters(80 + 7 * i, 2, 2, seed=i) for i in range(30)]
    yield "many/gaussian", ef.GaussianMixture(2, n_init=2, **SHORT), rows, None
    yield "many/gaussian/weights", ef.GaussianMixture(2, **SHORT), rows, [weights_of(len(X)) for X in rows]
    yield "many/tied", ef.GaussianMixture(2, covariance_type="tied", **SHORT), rows, None
    yield "many/VEV", ef.GaussianMixture(2, covariance_type="VEV", **SHORT), rows, None
    yield "many/bernoulli", ef.BernoulliMixture(2, **SHORT), [binary(60 + i, 5, 2, seed=i) for i in range(20)], None
    yield "many/bits", ef.BernoulliMixture(2, **SHORT), [binary(700, 12, 2, seed=i) for i in range(9)], None
    sparse_rows = [sparse.csr_array(binary(60 + i, 5, 2, seed=i).astype(float)) for i in range(9)]
    yield "many/sparse", ef.BernoulliMixture(2, **SHORT), sparse_rows, None
    positive = [np.exp(X) for X in rows[:8]]
    yield "many/gamma", ef.ExponentialFamilyMixture(ef.families.Gamma(), 2, **SHORT), positive, None
    yield "many/long", ef.GaussianMixture(2, **SHORT), [clusters(9000, 3, 2, seed=i) for i in range(3)], None


ATTRIBUTES = ("weights_", "natural_parameters_", "expectation_parameters_", "lower_bound_", "lower_bounds_", "n_iter_",
              "cluster_centers_", "labels_", "inertia_", "distortions_")  # fmt: skip


def results_of(model, X):
    """Return everything that a fitted model says, as arrays by name."""
    found = {name: np.asarray(getattr(model, name)) for name in ATTRIBUTES if hasattr(model, name)}
    found |= {f"parameters_/{name}": value for name, value in getattr(model, "parameters_", {}).items()}
    for method in ("predict", "predict_proba", "score_samples", "transform"):
        if hasattr(model, method):
            found[method] = np.asarray(getattr(model, method)(X))
    return found


def run(only=""):
    """Return the arrays of all fits, or the words of the error, by name."""
    found = {}

    def keep(name, make, X):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results = results_of(make(), X)
        except (ValueError, NotImplementedError) as error:
            results = {"error": np.array(str(error))}
        found.update({f"{name}:{key}": value for key, value in results.items()})

    for name, estimator, X, weight in problems():
        if only in name:
            fit = copy.deepcopy(estimator).fit
            keep(name, lambda fit=fit, X=X, weight=weight: fit(X, sample_weight=weight), X)
    for name, estimator, rows, weights in many():
        if only in name:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted = ef.fit_many(estimator, rows, weights)
            for at, (model, X) in enumerate(zip(fitted, rows, strict=True)):
                keep(f"{name}/{at}", lambda model=model: model, X)
    return found


def difference(one, other):
    """Return the largest difference relative to the largest entry; infinite for other shapes or places of NaN."""
    if one.shape != other.shape or one.dtype.kind != other.dtype.kind:
        return np.inf
    if one.dtype.kind not in "fc":
        return 0.0 if np.array_equal(one, other) else np.inf
    if not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return np.inf
    fine = np.isfinite(one)
    gap = np.abs(one - other)[fine].max(initial=0.0)
    return 0.0 if gap == 0 else gap / max(np.abs(one[fine]).max(initial=0.0), 1e-300)


def compare(before, after, tolerance):
    """Print what differs; return whether something does by more than the tolerance."""
    missing = set(before) ^ set(after)
    gaps = {name: difference(before[name], after[name]) for name in before if name in after}
    changed = {name: gap for name, gap in gaps.items() if gap > 0}
    worst = sorted(changed, key=changed.get, reverse=True)
    for name in worst[:60]:
        print(f"{changed[name]:10.2e}  {name}")
        if name.endswith(":error"):
            print(f"            {before[name]}\n            {after[name]}")
    for name in sorted(missing)[:40]:
        print(f"   missing  {name} {'before' if name in after else 'after'}")
    print(f"{len(gaps)} arrays: {len(changed)} differ, {sum(gap > tolerance for gap in changed.values())} by more than "
          f"{tolerance:g}; {len(missing)} are on one side only")  # fmt: skip
    return bool(missing) or any(gap > tolerance for gap in changed.values())


def main():
    """Write the results to a file, or compare them with one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("write", "compare"))
    parser.add_argument("file")
    parser.add_argument("--only", default="", help="part of the names of the fits to run")
    parser.add_argument("--tolerance", type=float, default=0.0, help="relative difference that is let pass")
    options = parser.parse_args()
    found = run(options.only)
    if options.action == "write":
        np.savez_compressed(options.file, **found)
        print(f"{len(found)} arrays")
        return
    with np.load(options.file) as file:
        before = {name: file[name] for name in file.files if options.only in name.split(":")[0]}
    sys.exit(compare(before, found, options.tolerance))


if __name__ == "__main__":
    main()
