"""A mixture as a frozen value, and the EM pass of one array of rows under it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from expfam_em.family import ExponentialFamily, Monomials
from expfam_em.kernels import block_rows, em_rows
from expfam_em.statistics import ExpectedStatistics

STATISTICS_BLOCK = 1 << 16
"""Numbers of T evaluated in NumPy at a time: half a megabyte stays in the L2 cache."""

KERNEL_DTYPES = (np.float64, np.float32, np.uint8, np.bool_)
NOTHING_1D, NOTHING_2D, NO_LABELS = np.empty(0), np.empty((0, 0)), np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Mixture:
    """p(x) = Σ_k π_k p(x|η_k).

    Parameters
    ----------
    family : ExponentialFamily
    weights : (K,)
        Mixing weights, non-negative, summing to 1.
    natural : (K, p)
        Natural parameters, each with a finite log-partition.

    Raises
    ------
    ValueError
        If the shapes disagree, the weights are no distribution, or A(η_k) is not finite.
    """

    family: ExponentialFamily
    weights: np.ndarray
    natural: np.ndarray

    def __post_init__(self):
        weights, natural = np.array(self.weights, np.float64), np.array(self.natural, np.float64, ndmin=2, order="C")
        if weights.ndim != 1 or natural.ndim != 2 or len(weights) != len(natural):
            raise ValueError(
                f"weights have shape {weights.shape} and natural {natural.shape}: they must be (K,) and (K, p)"
            )
        if not (np.all(weights >= 0) and abs(weights.sum() - 1) <= 1e-8):
            raise ValueError(f"mixing weights must be non-negative and sum to 1, not {weights} (sum {weights.sum()!r})")
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "natural", natural)
        outside = ~np.isfinite(self.log_partition)
        if outside.any():
            k = int(np.argmax(outside))
            raise ValueError(
                f"component {k} is outside the natural-parameter space of {self.family!r}: "
                f"log_partition({natural[k]}) is {self.log_partition[k]}"
            )
        weights.flags.writeable = natural.flags.writeable = False

    @property
    def n_components(self) -> int:
        """K."""
        return len(self.weights)

    @cached_property
    def log_partition(self) -> np.ndarray:
        """A(η_k), (K,)."""
        return self.family.evaluate_log_partition(self.natural)

    @cached_property
    def expectation(self) -> np.ndarray:
        """∇A(η_k), (K, p)."""
        return self.family.to_expectation(self.natural)

    @cached_property
    def log_weights(self) -> np.ndarray:
        """log π_k, −∞ for a weight of 0, (K,)."""
        with np.errstate(divide="ignore"):
            return np.log(self.weights)

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The named parameters of the components."""
        return self.family.parameters(self.natural)

    @property
    def n_parameters(self) -> int:
        """Free parameters: those of the components and K − 1 mixing weights."""
        of_components = self.family.n_parameters(self.n_components)
        return (self.natural.size if of_components is None else of_components) + self.n_components - 1

    def in_family(self, family: ExponentialFamily) -> Mixture:
        """Return the same mixture with the same kind of family, bound otherwise."""
        return Mixture(family, self.weights, self.family.change_frame(self.natural, family))

    # ---- observations ---------------------------------------------------------------------------------------

    def log_density(self, X) -> np.ndarray:
        """Return log p(x) of each row, (n,)."""
        return self.evaluate(X)[0]

    def responsibilities(self, X) -> np.ndarray:
        """Return r_nk = p(k|x_n), (n, K)."""
        return self.evaluate(X)[1]

    def evaluate(self, X, temperature=1.0) -> tuple[np.ndarray, np.ndarray]:
        """Return τ logsumexp(scores/τ) + log h, (n,), and the responsibilities, (n, K), of each row."""
        X = np.asarray(X)
        evidence, responsibilities = np.empty(len(X)), np.empty((len(X), self.n_components))
        run_rows(self, X, temperature=temperature, evidence=evidence, responsibilities=responsibilities)
        return evidence + self.family.checked_log_base_measure(X), responsibilities

    def sample(self, n, rng=None) -> tuple[np.ndarray, np.ndarray]:
        """Return n rows, component by component, and the labels they were drawn with."""
        rng = np.random.default_rng(rng)
        sizes = rng.multinomial(n, self.weights / self.weights.sum())
        rows = [self.family.sample(eta, size, rng) for eta, size in zip(self.natural, sizes, strict=True)]
        return np.concatenate(rows), np.repeat(np.arange(self.n_components), sizes)

    # ---- parts of an observation ----------------------------------------------------------------------------

    def marginal(self, columns) -> Mixture:
        """Return the mixture of the chosen columns alone, p(x_columns)."""
        return Mixture(*_with_weights(self.weights, self.family.marginal(self.natural, _indices(columns))))

    def conditional(self, columns, values) -> Mixture:
        """Return the mixture of the other columns given the values of these, p(x_rest | x_columns = values)."""
        columns, values = _indices(columns), np.atleast_1d(np.asarray(values, np.float64))
        if values.shape != columns.shape:
            raise ValueError(f"{columns.size} columns are given {values.size} values: one value for each is needed")
        weights = self.marginal(columns).responsibilities(values[None])[0]
        rest = self.family.conditional(self.natural, columns, values)
        return Mixture(*_with_weights(weights / weights.sum(), rest))


def _indices(columns) -> np.ndarray:
    columns = np.atleast_1d(columns)
    if columns.dtype == np.bool_:
        columns = np.flatnonzero(columns)
    if not len(columns) or not np.issubdtype(columns.dtype, np.integer):
        raise ValueError(f"columns are {columns.tolist()}; at least one whole number, or a boolean mask, is needed")
    if len(np.unique(columns)) < len(columns) or np.any(columns < 0):
        raise ValueError(f"columns are {columns.tolist()}; they must be different and counted from 0")
    return columns


def _with_weights(weights, part):
    family, natural = part
    return family, weights, natural


def run_rows(
    mixture, X, sample_weight=None, temperature=1.0, *,
    counts=NOTHING_1D, sums=NOTHING_2D, responsibilities=NOTHING_2D, evidence=NOTHING_1D, labels=NO_LABELS,
) -> tuple[float, np.ndarray | None]:  # fmt: skip
    """Run the kernel over all rows of X, filling the outputs given.

    Parameters
    ----------
    mixture : Mixture
    X : (n, d)
    sample_weight : (n,), optional
    temperature : float ≥ 0
    counts, sums : (K,), (K, p)
        Added to.
    responsibilities, evidence, labels : (n, K), (n,), (n,)
        Written to.

    Returns
    -------
    bound : float
        Without log h.
    exposures : (K,)
        Σ r e; None where every exposure is 1.
    """
    weight = NOTHING_1D if sample_weight is None else sample_weight
    natural = mixture.natural
    # relative to the largest weight, so that equal weights round nothing and equal distances stay equal scores
    level = mixture.log_weights.max()
    offset = (mixture.log_weights - level) - mixture.log_partition

    def run(X, monomials, rows, natural, offset, sums):
        block = block_rows(natural.shape[1], len(natural))
        bound = em_rows(
            X, 0, len(X), *monomials, natural, offset, weight[rows], float(temperature), block,
            counts, sums, responsibilities[rows], evidence[rows], labels[rows],
        )  # fmt: skip
        evidence[rows] += level
        return bound + level * (weight[rows].sum() if len(weight) else len(X))

    def check_width(n_statistics):
        if n_statistics != natural.shape[1]:
            raise ValueError(
                f"rows of {X.shape[1]} columns have {n_statistics} statistics under {mixture.family!r}; the mixture "
                f"has natural parameters for {natural.shape[1]}: give rows of the columns it was made for"
            )

    if (monomials := mixture.family.monomials(X.shape[1])) is not None:
        check_width(monomials.n_statistics)
        X = X if X.dtype in KERNEL_DTYPES else X.astype(np.float64)
        return run(X, monomials, slice(None), natural, offset, sums), None
    bound, exposures = 0.0, None
    identity = Monomials.identity(natural.shape[1])
    step = max(256, STATISTICS_BLOCK // natural.shape[1])
    for first in range(0, len(X), step):
        rows = slice(first, min(first + step, len(X)))
        T, exposure = mixture.family.statistics_and_exposure(X[rows])
        check_width(T.shape[1])
        if exposure is None:
            bound += run(T, identity, rows, natural, offset, sums)
            continue
        # the exposure is one more statistic, −e, whose natural parameter is A
        wider = np.zeros((sums.shape[0], sums.shape[1] + 1)) if sums.size else sums
        bound += run(
            np.column_stack([T, -exposure]), Monomials.identity(natural.shape[1] + 1), rows,
            np.column_stack([natural, mixture.log_partition]), mixture.log_weights - level, wider,
        )  # fmt: skip
        if sums.size:
            sums += wider[:, :-1]
            exposures = -wider[:, -1] + (0.0 if exposures is None else exposures)
    return bound, exposures


def expected_statistics(mixture, X, sample_weight=None, temperature=1.0) -> ExpectedStatistics:
    """Return the expected statistics of the rows of X, with a bound that leaves out log h."""
    counts, sums = np.zeros(mixture.n_components), np.zeros(mixture.natural.shape)
    bound, exposures = run_rows(mixture, X, sample_weight, temperature, counts=counts, sums=sums)
    return ExpectedStatistics(counts, sums, bound, exposures)
