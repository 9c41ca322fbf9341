"""What a user writes, with annotations: `test_typing` has it checked by mypy, and runs it."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

import expfam_em as ef
from expfam_em.plots import plot_bound, plot_clusters, plot_prototypes

Array = NDArray[np.float64]


@ef.register
class Lengths(ef.ExponentialFamily):
    """Rayleigh columns: T(x) = x², A(η) = −Σ log(−2η), h(x) = Π x."""

    def sufficient_statistics(self, X: Array) -> Array:
        return X**2

    def log_partition(self, natural: Array) -> Array:
        value: Array = -np.log(-2 * natural).sum(axis=1)
        return value

    def log_base_measure(self, X: Array) -> Array:
        value: Array = np.log(X).sum(axis=1)
        return value

    def parameters(self, natural: Array) -> dict[str, Array]:
        return {"scales": np.sqrt(-0.5 / natural)}

    def kernel_form(self, n_features: int) -> ef.families.KernelForm | None:
        return None


class Spikes(ef.families.IndependentColumns):
    """Exponential columns, said of single numbers."""

    needs = "numbers from 0"

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return (x,)

    def log_partition_of(self, negative_rate: Array) -> Array:
        return -np.log(-negative_rate)

    def expectation_of(self, negative_rate: Array) -> tuple[Array, ...]:
        return (-1 / negative_rate,)

    def natural_of(self, mean: Array) -> tuple[Array, ...]:
        return (-1 / mean,)

    def parameters_of(self, negative_rate: Array) -> dict[str, Array]:
        return {"rates": -negative_rate}

    def natural_from(self, rates: Array) -> tuple[Array, ...]:
        return (-rates,)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Array:
        (negative_rate,) = natural
        return np.asarray(rng.standard_exponential(size) / -negative_rate, np.float64)


def normal_clusters(X: Array, folder: Path) -> float:
    """Fit, use, draw, save and load a Gaussian mixture."""
    model = ef.GaussianMixture(n_components=2, covariance_type="diag", random_state=0).fit(X)
    labels: NDArray[np.int64] = model.predict(X)
    shares = model.predict_proba(X)
    rows, of_rows = model.sample(10)
    plot_clusters(X, shares, mixture=model.mixture_, names=["x", "y"]).set_title("two clusters")
    plot_bound(model)
    path = folder / "model.efm"
    model.save(path)
    again: ef.GaussianMixture = ef.load(path)
    assert (again.predict(X) == labels).all()
    assert len(rows) == len(of_rows) == 10
    merged = ef.merge_components(model.mixture_, X)
    print(merged.clusters(1), model.means_ + model.weights_[:, None], model.lower_bounds_[-1])
    return model.bic(X) + model.aic(X) + model.icl(X) + model.score(X)


def own_families(X: Array) -> float:
    """Fit families of one's own, and step through EM by hand."""
    model = ef.ExponentialFamilyMixture(Lengths(), 2, random_state=0).fit(X, sample_weight=np.ones(len(X)))
    ef.check_family(Lengths(), X)
    ef.ExponentialFamilyMixture(Spikes(), 2, max_iter=500, random_state=0).fit(X)
    mixture = model.mixture_
    statistics = ef.accumulate(mixture, X) + 0.5 * ef.accumulate(mixture, X[:10])
    nearer = ef.maximize(statistics, mixture, concentration=2.0)
    result = ef.fit(nearer, X, tol=1e-8, weights="equal")
    plot_bound(result)
    between = ef.divergence(mixture, result.mixture, rng=0)
    bound = ef.lower_bound(mixture, X, mixture.responsibilities(X))
    assert result.status is ef.Status.CONVERGED
    return float(between.value) + bound + float(ef.entropy(mixture, rng=0).standard_error)


def from_names() -> ef.Mixture:
    """Make mixtures from named parameters, and priors."""
    prior = ef.ExpectedStatistics([1.0, 1.0], [[2.0], [9.0]])
    X = np.random.default_rng(0).poisson([[2.0], [9.0]] * 20).astype(float)
    ef.ExponentialFamilyMixture(ef.families.Poisson(), 2, prior=prior, random_state=0).fit(X)
    waves = ef.Mixture.of(ef.families.Poisson(), [0.25, 0.75], rates=[[1.0], [6.0]])
    pairs = ef.families.Product([(ef.families.Gaussian("full"), [0, 1]), (ef.families.Categorical(), [2])])
    assert pairs.families[0].n_parameters(2) is None
    return ef.Mixture(waves.family, [0.5, 0.5], waves.natural)


def others(X: Array) -> None:
    """Fit the other estimators, one or many at a time."""
    centres = ef.KMeans(2, random_state=0).fit(X)
    print(centres.inertia_, centres.transform(X).min(axis=1), centres.cluster_centers_)
    binary = ef.BernoulliMixture(n_components=2, random_state=0).fit(X > X.mean(axis=0))
    plot_prototypes(binary.probabilities_, (1, 2), weights=binary.weights_)
    models = ef.fit_many(ef.GaussianMixture(2, random_state=0), [X, X + 1])
    print([model.means_ for model in models])


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    lengths = np.concatenate([rng.rayleigh(1.0, (100, 2)), rng.rayleigh(8.0, (100, 2))])
    with TemporaryDirectory() as name:
        normal_clusters(lengths, Path(name))
    own_families(lengths[:, :1])
    others(lengths)
    print(from_names().parameters["rates"])
