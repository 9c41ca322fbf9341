"""What a user writes, with annotations: `test_typing` has it checked by mypy and pyright, and runs it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

import expfam_em as ef
from expfam_em.plots import (
    plot_bound,
    plot_clusters,
    plot_criteria,
    plot_profiles,
    plot_prototypes,
    plot_responsibilities,
    plot_restarts,
    plot_uncertainty,
)

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

    def from_parameters(self, scales: ArrayLike) -> Array:
        return np.asarray(-0.5 / np.atleast_2d(scales) ** 2, np.float64)

    def check_support(self, X: Array) -> None:
        if not np.all(X > 0):
            raise ValueError(f"lengths are positive; the least is {X.min()}")

    def to_expectation(self, natural: Array) -> Array:
        return -1 / natural

    def to_natural(self, expectation: Array) -> Array:
        return -1 / expectation

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        value: Array = (0.5 * (-np.log(-natural) - np.euler_gamma)).sum(axis=1)
        return value

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        return rng.rayleigh(self.parameters(natural)["scales"], (n, len(natural)))

    def mean(self, natural: Array) -> Array:
        value: Array = np.sqrt(np.pi / 2) * self.parameters(natural)["scales"]
        return value

    def marginal(self, natural: Array, columns: NDArray[np.int64]) -> tuple[ef.ExponentialFamily, Array]:
        return self, natural[:, columns]

    def n_parameters(self, n_components: int) -> int | None:
        return None

    def kernel_form(self, n_features: int) -> ef.families.KernelForm | None:
        return None


@dataclass(frozen=True)
class Least:
    """What `Shifted` has to know of all rows."""

    value: float

    def __add__(self, other: "Least") -> "Least":
        return Least(min(self.value, other.value))


class Shifted(ef.ExponentialFamily):
    """Exponential times behind the least of all rows."""

    start = 0.0

    def sufficient_statistics(self, X: Array) -> Array:
        return np.maximum(X - self.start, 0.0)

    def log_partition(self, natural: Array) -> Array:
        value: Array = -np.log(-natural).sum(axis=1)
        return value

    def summary(self, X: Array, sample_weight: Array | None) -> Any:
        return Least(float(X.min()))

    def bound(self, summary: Any) -> Self:
        return self.replace(start=summary.value)


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
    plot_clusters(X, shares, mixture=model.mixture_, names=["x", "y"]).set_xlim(0, 30)
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
    shifted = ef.ExponentialFamilyMixture(Shifted(), 1).fit(X + 5.0)
    assert shifted.mixture_.family != Shifted()
    assert np.allclose(Lengths().parameters(Lengths().from_parameters(scales=[[2.0]]))["scales"], 2.0)
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


def frames() -> str:
    """Give columns by name, and take tables with names."""
    rng = np.random.default_rng(0)
    old = np.arange(200) % 2
    frame = pl.DataFrame(
        {
            "length": rng.normal(2.0 + 3.0 * old),
            "visits": rng.poisson(1.0 + 6.0 * old),
            "colour": np.where(rng.random(200) < 0.2 + 0.6 * old, "red", "blue"),
        }
    )
    family = ef.families.Product.infer(frame, {"visits": "poisson", "length": ef.families.Gaussian("diag")})
    model = ef.ExponentialFamilyMixture(family, 2, random_state=0).fit(frame)
    also = ef.ExponentialFamilyMixture("auto", 2, random_state=0).set_output(transform="polars").fit(frame)
    table: pl.DataFrame = also.to_frame(frame, level=0.9)
    summary: ef.Summary = model.summary(frame)
    if summary.errors is not None:
        print(summary.errors.errors["weights"], summary.errors.intervals(0.9)["weights"][0])
    print(summary, table.columns, summary.bic + summary.icl, also.parameters_, also.feature_names_in_)
    model.plot(frame)
    plot_profiles(model, frame)
    return f"{len(table)} estimates of {len(frame)} rows"


def choice(X: Array) -> int:
    """Choose a number of components, and draw how sure the choice is."""
    found = ef.select(X, ["EII", "VVV", ef.families.Exponential()], range(1, 3), criterion="icl", random_state=0)
    best: ef.ExponentialFamilyMixture = found.best_
    records: list[dict[str, Any]] = list(found.records)
    axes = found.plot("bic")
    plot_criteria(found, ax=axes).set_ylim(bottom=0)
    best.plot(X, columns=[0])
    plot_responsibilities(best, X)
    plot_uncertainty(best, X)
    plot_restarts(ef.GaussianMixture(2, n_init=3, random_state=0).fit(X))
    print(found, found.values("bic").shape, found["EII", 2].weights_, records[0]["bic"])
    errors: ef.StandardErrors = ef.standard_errors(best, X)
    drawn: ef.Bootstrap = ef.bootstrap(best, X, 5, random_state=0)
    print(errors["weights"], errors.intervals()["means"], drawn["weights"], drawn.replicates.shape)
    return best.n_components


def elsewhere(X: Array, folder: Path) -> None:
    """Fit rows of files and of batches."""

    def batches() -> Iterator[Array]:
        yield X[:100]
        yield X[100:]

    np.save(folder / "rows.npy", X)
    one = ef.GaussianMixture(2, random_state=0).fit(ef.rows_from(batches))
    other = ef.GaussianMixture(2, random_state=0).fit(ef.rows_from(folder / "rows.npy", weight=np.ones(len(X))))
    labels: NDArray[np.int64] = other.predict(folder / "rows.npy")
    other.score_samples(X, out=folder / "scores.npy")
    assert (labels == one.predict(X)).all()


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    lengths = np.concatenate([rng.rayleigh(1.0, (100, 2)), rng.rayleigh(8.0, (100, 2))])
    with TemporaryDirectory() as name:
        normal_clusters(lengths, Path(name))
        elsewhere(lengths, Path(name))
    own_families(lengths[:, :1])
    others(lengths)
    choice(lengths)
    print(frames())
    print(from_names().parameters["rates"])
