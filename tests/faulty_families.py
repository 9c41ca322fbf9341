"""Families with one fault each, the rows to find it on, and the law and words that must name it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln

import expfam_em as ef
from expfam_em.families import KernelForm, Monomials
from tests import own_families as own

RNG = np.random.default_rng(7)
WAVES = RNG.rayleigh(2.0, (60, 1))
TWO_WAVES = RNG.rayleigh([1.0, 4.0], (60, 2))
HEIGHTS = RNG.normal(3.0, 2.0, (60, 1))
COUNTS = RNG.poisson(4.0, (60, 1)).astype(float)
TWO_COUNTS = RNG.poisson([4.0, 2.0], (60, 2)).astype(float)
WAITS = RNG.gamma(0.8, 2.0, (60, 1))
TIMES = np.column_stack([RNG.poisson(5.0, 60), RNG.uniform(0.5, 3, 60)])


class Waves(own.Rayleigh):
    """Rayleigh with everything it may have."""

    def to_expectation(self, natural):
        return -1 / natural

    def parameters(self, natural):
        return {"scales": np.sqrt(-0.5 / natural)}

    def sample(self, natural, n, rng):
        return rng.rayleigh(np.sqrt(-0.5 / natural), (n, len(natural)))

    def expected_log_base_measure(self, natural):
        # the mean of log x is log σ + (log 2 − γ)/2
        return 0.5 * (np.log(-1 / natural) - np.euler_gamma).sum(axis=1)


class Gamma(own.Gamma):
    """Gamma whose A is not finite outside the space."""

    def log_partition(self, natural):
        return np.where(natural[:, 0] > -1, super().log_partition(natural), np.inf)


class ConcavePartition(Waves):
    def log_partition(self, natural):
        return np.log(-2 * natural).sum(axis=1)


class WrongSignOfStatistic(own.Exponential):
    def sufficient_statistics(self, X):
        return -X

    def check_support(self, X):
        if not np.all(X >= 0):
            raise ValueError("X must not be negative")

    def to_natural(self, expectation):
        return -1 / np.abs(expectation)


class ForgottenBaseMeasure(Waves):
    log_base_measure = ef.ExponentialFamily.log_base_measure
    expected_log_base_measure = ef.ExponentialFamily.expected_log_base_measure


class ForgottenFactorial(ef.families.Poisson):
    def log_base_of(self, x):
        return None


class SwappedStatistics(own.Normal):
    def sufficient_statistics(self, X):
        return super().sufficient_statistics(X)[:, ::-1]


class SwappedWithMapping(SwappedStatistics):
    def to_natural(self, expectation):
        square, mean = expectation.T
        return np.column_stack([mean, -0.5 * np.ones(len(mean))]) / (square - mean**2)[:, None]


class ConstantInPartition(Waves):
    def log_partition(self, natural):
        return super().log_partition(natural) + 0.1


class ConstantInPartitionWithoutSupport(own.Exponential):
    def log_partition(self, natural):
        return super().log_partition(natural) + 0.1


class ConstantInBaseMeasure(own.Normal):
    def log_base_measure(self, X):
        return np.full(len(X), -0.5 * np.log(np.pi))


class Transposed(Waves):
    def sufficient_statistics(self, X):
        return (X**2).T


class WrongInverse(Waves):
    def to_natural(self, expectation):
        return -0.3 / expectation


class WrongExpectation(Waves):
    def to_expectation(self, natural):
        return -1.1 / natural


class WrongDefaultInverse(own.Exponential):
    def to_expectation(self, natural):
        return -2 / natural


class ChangesRows(Waves):
    def sufficient_statistics(self, X):
        X **= 2
        return X


class ChangesParameters(Waves):
    def to_expectation(self, natural):
        np.negative(natural, out=natural)
        return 1 / natural


class Centred(own.Normal):
    def sufficient_statistics(self, X):
        return super().sufficient_statistics(X - X.mean(axis=0))


class WrongScaleOfSamples(Waves):
    def sample(self, natural, n, rng):
        return 1.1 * super().sample(natural, n, rng)


class WrongVarianceOfSamples(ef.families.KnownCovariance):
    def sample(self, natural, n, rng):
        mean = self.parameters(natural[None])["means"][0]
        return mean + 1.2 * (super().sample(natural, n, rng) - mean)


class OwnGenerator(Waves):
    def sample(self, natural, n, rng):
        return super().sample(natural, n, np.random.default_rng())


class SeededGenerator(Waves):
    def sample(self, natural, n, rng):
        return super().sample(natural, n, np.random.default_rng(0))


class GlobalGenerator(Waves):
    def sample(self, natural, n, rng):
        return super().sample(natural, n, np.random)


class TransposedSamples(Waves):
    def sample(self, natural, n, rng):
        return super().sample(natural, n, rng).T


class SamplesOutside(Waves):
    def sample(self, natural, n, rng):
        return -super().sample(natural, n, rng)


class FiniteOutside(own.Gamma):
    pass


class RefusesRows(Waves):
    def check_support(self, X):
        if not np.all(X > 1):
            raise ValueError("Rayleigh needs numbers above 1")


class InfiniteInside(Waves):
    def log_base_measure(self, X):
        return np.where(X[:, 0] > 2, super().log_base_measure(X), -np.inf)


class ParametersOfAll(Waves):
    def parameters(self, natural):
        return {"scales": np.sqrt(-0.5 / natural).T}


class ParametersInAList(Waves):
    def parameters(self, natural):
        return [np.sqrt(-0.5 / natural)]


class SumsComponents(Waves):
    def log_partition(self, natural):
        return -np.log(-2 * natural).sum(axis=0)


class MixesComponents(Waves):
    def log_partition(self, natural):
        return -np.log(-2 * natural).sum(axis=1) + np.ptp(natural)


class KeepsNoZeros(Waves):
    sparse = "entries"


class ZeroHasBaseMeasure(ef.families.Poisson):
    def log_base_of(self, x):
        return -gammaln(x + 1) + np.log(2) * (x == 0)

    def log_partition_of(self, log_rate):
        return np.log(np.exp(np.exp(log_rate)) + 1)

    def expectation_of(self, log_rate):
        return (np.exp(log_rate) / (1 + np.exp(-np.exp(log_rate))),)

    def to_natural(self, expectation):
        return ef.ExponentialFamily.to_natural(self, expectation)

    sample = ef.ExponentialFamily.sample

    def parameters_of(self, log_rate):
        return {"rates": np.exp(log_rate)}


class NegativeExposure(own.PoissonExposure):
    def exposure(self, X):
        return 1 - X[:, 1]


class WrongExposure(own.PoissonExposure):
    def exposure(self, X):
        return 2 * X[:, 1]


class Remembers(Waves):
    def log_partition(self, natural):
        self.last = np.array(natural)
        return super().log_partition(natural)


class BoundToAnother(Waves):
    def bind(self, blocks):
        return own.Rayleigh()


class WrongMonomials(own.Normal):
    def kernel_form(self, n_features):
        return KernelForm(Monomials(np.zeros(1), np.full(1, 2.0), np.array([[0, 0, 1]])))


class WrongStep(Waves):
    coupled = False

    def maximize(self, counts, sums):
        return self.to_natural(sums / (counts[:, None] + 1))


class WrongCoupledStep(Waves):
    def maximize(self, counts, sums):
        return self.to_natural(3 * sums / counts[:, None])


class WrongMeanOfBase(Waves):
    def expected_log_base_measure(self, natural):
        return 0.5 * np.log(-1 / natural).sum(axis=1)


class WrongDivergence(Waves):
    def divergence(self, natural, other):
        return -super().divergence(natural, other)


class Hole(Waves):
    def log_partition(self, natural):
        return np.where(np.abs(natural[:, 0] + 0.13) < 0.004, np.nan, super().log_partition(natural))


class OwnEntropy(own.Rayleigh):
    """Entropy without that of log h."""

    def expected_log_base_measure(self, natural):
        return 0.5 * np.sum(np.log(-1 / natural) - np.euler_gamma, axis=1)

    def entropy(self, natural):
        return self.log_partition(natural) + natural.shape[1]


class OwnDensity(own.Rayleigh):
    """Log-density without log h."""

    def log_density(self, X, natural):
        return np.asarray(X) ** 2 @ natural.T - self.log_partition(natural)


class SupportsNothing(own.Rayleigh):
    """No row is possible."""

    def supports(self, X):
        return np.zeros(len(X), bool)


class WrongWayBack(Waves):
    """The way back from the names forgets a factor."""

    def from_parameters(self, scales):
        return -1 / np.asarray(scales) ** 2


class WayBackToOneNumber(Waves):
    """The way back from the names loses the axis of statistics."""

    def from_parameters(self, scales):
        return -0.5 / np.asarray(scales)[:, 0] ** 2


class CountsBackwards(own.Rayleigh):
    """A negative number of parameters."""

    def n_parameters(self, n_components):
        return -3


class Fault(NamedTuple):
    """What is wrong, on which rows it is looked for, the law it breaks and words of the sentence."""

    family: Any
    X: np.ndarray
    law: str
    words: str


FAULTS = [
    Fault(ConcavePartition(), WAVES, "A is convex", "not convex.*check its signs"),
    Fault(Hole(), WAVES, "A is convex", "is nan at η = .*where it is finite"),
    Fault(WrongSignOfStatistic(), WAITS, "∇A is the mean of T", "differ in sign only|diverges.*signs"),
    Fault(ForgottenBaseMeasure(), WAVES, "∇A is the mean of T", "log_base_measure .there is none: is h.x. = 1"),
    Fault(ForgottenFactorial(), COUNTS, "∇A is the mean of T", "diverges at η = .*check log_base_measure"),
    Fault(
        SwappedStatistics(),
        HEIGHTS,
        "∇A is the mean of T",
        "the order and the signs of the statistics|not in the same order",
    ),
    Fault(
        SwappedWithMapping(),
        HEIGHTS,
        "∇A is the mean of T",
        "the order and the signs of the statistics|not in the same order",
    ),
    Fault(ConstantInPartition(), WAVES, "the density integrates to 1", r"0\.904837 = e\^-0\.1 .*subtract 0\.1 from"),
    Fault(ConstantInPartition(), TWO_WAVES, "the density integrates to 1", r"0\.904837 = e\^-0\.1"),
    Fault(ConstantInPartitionWithoutSupport(), WAITS, "the density integrates to 1", r"0 < x.*0\.904837 = e\^-0\.1"),
    Fault(ConstantInBaseMeasure(), HEIGHTS, "the density integrates to 1", r"subtract 0\.346574 from log_base_measure"),
    Fault(WrongExposure(), TIMES, "∇A is the mean of T", "the mean of T under the density"),
    Fault(Transposed(), TWO_WAVES, "T is (n, p), log h and e are (n,)", r"\(2, 60\) for 60 rows.*transposed"),
    Fault(Transposed(), TWO_WAVES[:2].repeat(2, 0), "T is (n, p), log h and e are (n,)", "transposed"),
    Fault(WrongInverse(), WAVES, "the mappings are inverse", "to_natural is not the inverse of ∇A"),
    Fault(WrongExpectation(), WAVES, "to_expectation is ∇A", "to_expectation is wrong"),
    Fault(WrongDefaultInverse(), WAITS, "to_expectation is ∇A", "to_expectation is wrong"),
    Fault(ChangesRows(), WAVES, "X is not changed", r"sufficient_statistics changed X\[0, 0\] from"),
    Fault(ChangesParameters(), WAVES, "parameters are not changed", "to_expectation changed its argument"),
    Fault(Centred(), HEIGHTS, "T, log h and e of a row are its own", "nothing but the row"),
    Fault(WrongScaleOfSamples(), WAVES, "sample draws from the density", "mean of statistic 0 .*the scale in sample"),
    Fault(WrongVarianceOfSamples(), HEIGHTS, "sample draws from the density", "variance of statistic 0"),
    Fault(OwnGenerator(), WAVES, "sample draws from the density", "other rows for two generators of the same seed"),
    Fault(SeededGenerator(), WAVES, "sample draws from the density", "the same rows with every rng"),
    Fault(GlobalGenerator(), WAVES, "sample draws from the density", "NumPy's global state"),
    Fault(TransposedSamples(), WAVES, "sample draws from the density", r"shape \(1, 50\) for n = 50"),
    Fault(SamplesOutside(), WAVES, "sample draws from the density", "check_support refuses: Rayleigh needs"),
    Fault(FiniteOutside(), WAITS, "A is finite in a convex region only", r"np.where\(a > 0, ..., np.inf\)"),
    Fault(RefusesRows(), WAVES, "rows of X are possible", "check_support refuses rows of X.*numbers above 1"),
    Fault(InfiniteInside(), WAVES, "rows of X are possible", "log_base_measure is .-inf. for row"),
    Fault(ParametersOfAll(), TWO_WAVES, "parameters have one entry for each component", "'scales' of shape"),
    Fault(ParametersInAList(), WAVES, "parameters have one entry for each component", "returned list"),
    Fault(SumsComponents(), WAVES, "A is (K,)", r"\(1, 1\)|sum over axis 1"),
    Fault(MixesComponents(), WAVES, "A is (K,)", "among other rows"),
    Fault(KeepsNoZeros(), WAVES, "zeros are kept", "T.x. is not x"),
    Fault(ZeroHasBaseMeasure(), COUNTS, "zeros are kept", "log h of a row is not the sum over its entries"),
    Fault(NegativeExposure(), TIMES, "e is positive", "exposure is -.*must be positive"),
    Fault(Remembers(), WAVES, "the family is not changed", r"attributes of the family \(last\)"),
    Fault(BoundToAnother(), WAVES, "bind returns the same kind of family", "of the same class"),
    Fault(WrongMonomials(), HEIGHTS, "kernel_form builds T", "they must be equal"),
    Fault(OwnEntropy(), WAVES, "entropy is −E[log p]", "entropy of η = .* they must be equal"),
    Fault(OwnDensity(), WAVES, "log_density is that of T and A", "log_density of row 0 is .* they must be equal"),
    Fault(SupportsNothing(), WAVES, "rows of X are possible", "supports returned .*False"),
    Fault(CountsBackwards(), WAVES, "parameters have one entry for each component", "n_parameters is -3"),
    Fault(WrongWayBack(), WAVES, "from_parameters inverts parameters", r"says scales = .* gives η = .*another density"),
    Fault(WayBackToOneNumber(), WAVES, "from_parameters inverts parameters", r"shape \(\d,\) for .* must be \(K, p\)"),
    Fault(WrongStep(), WAVES, "the M-step is the maximum", "they must agree unless coupled"),
    Fault(WrongCoupledStep(), WAVES, "the M-step is the maximum", "if all components were equal"),
    Fault(WrongMeanOfBase(), WAVES, "expected_log_base_measure is E[log h]", "but the mean of log h"),
    Fault(WrongDivergence(), WAVES, "divergences are not negative", "it must be ≥ 0"),
]
