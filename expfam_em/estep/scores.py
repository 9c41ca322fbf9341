"""What an E-step is given and what it fills: the whole interface between Python and the kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from expfam_em.family import optional
from expfam_em.rows.protocol import Chunk

COLDEST, HOTTEST = 1e-100, 1e100
"""Temperatures besides 0: scores are divided by one, and the result must be a number."""


def check_temperature(temperature: Any, *, single: bool = False) -> np.ndarray:
    """Return temperatures as an array (m,), once each is 0 or a number between the extremes; ``single`` for one alone.

    Raises
    ------
    ValueError
        If one is not, or there is none.
    """
    if type(temperature) is float and (temperature == 0 or COLDEST <= temperature <= HOTTEST):  # as in every step
        return np.array([temperature])
    try:
        found = np.array(temperature, np.float64, ndmin=1)
        fine = found.ndim == 1 and len(found) and np.all((found == 0) | ((found >= COLDEST) & (found <= HOTTEST)))
    except (TypeError, ValueError):
        fine = False
    if not fine:
        raise ValueError(
            f"temperature is {temperature!r}; it must be one or more finite numbers ≥ 0: 0, or from {COLDEST:g} to "
            f"{HOTTEST:g}"
        )
    if single and np.ndim(temperature):
        raise ValueError(f"temperature is {temperature!r}; it must be one number, not one for each step")
    return found


class Scores(NamedTuple):
    """What the scores of a stack of mixtures are made of: s_k = ⟨η_k, T(x)⟩ − e(x) A(η_k) + log π_k.

    They need not be those of one mixture: E[η], E[A] and E[log π] under a posterior are scores too.

    Attributes
    ----------
    natural : (B, K, p)
    log_partition, log_weights : (B, K)
    family : ExponentialFamily, optional
        The family in the coordinates of ``natural``, where components have coordinates of their own.
    group : (K,) int64, optional
        Column of the rows' offsets that each component takes; its own number by default.
    excess : (B, K), optional
        By how much ``log_partition`` is above A of ``natural``, as E[A] is above A(E[η]); nothing by default.
    """

    natural: np.ndarray
    log_partition: np.ndarray
    log_weights: np.ndarray
    family: Any = None
    group: np.ndarray | None = None
    excess: np.ndarray | None = None

    @property
    def groups(self) -> np.ndarray:
        """Column of the rows' offsets that each component takes, (K,)."""
        return np.arange(self.natural.shape[1]) if self.group is None else np.ascontiguousarray(self.group, np.int64)

    @classmethod
    def none(cls, n_mixtures: int, n_components: int, n_statistics: int, family: Any = None) -> Scores:
        """Return scores of 0, for passes in which responsibilities are given."""
        nothing = np.zeros((n_mixtures, n_components))
        return cls(np.zeros((n_mixtures, n_components, n_statistics)), nothing, nothing, family)

    @property
    def are_none(self) -> bool:
        """Whether they are those of `Scores.none`: there are no parameters yet."""
        return not self.natural.any()

    @property
    def offset(self) -> np.ndarray:
        """log π_k − A(η_k), relative to the largest π: equal weights round nothing, equal distances stay equal."""
        return (self.log_weights - self.level[:, None]) - self.log_partition

    @property
    def level(self) -> np.ndarray:
        """Largest log π of each mixture."""
        return self.log_weights.max(axis=1)

    def with_exposure(self) -> Scores:
        """Return the exposure as one more statistic, −e, whose natural parameter is A."""
        natural = np.concatenate([self.natural, self.log_partition[:, :, None]], axis=2)
        return self._replace(natural=natural, log_partition=np.zeros_like(self.log_partition))

    def without(self, n_common: int) -> Scores:
        """Return the scores less what all components have in common."""
        return self._replace(natural=np.ascontiguousarray(self.natural[:, :, : self.natural.shape[2] - n_common]))

    def of(self, mixtures: Any) -> Scores:
        """Return the scores of some mixtures; their components keep the coordinates that they have."""
        if len(mixtures) == len(self.natural):
            return self
        return self._replace(
            natural=self.natural[mixtures], log_partition=self.log_partition[mixtures],
            log_weights=self.log_weights[mixtures], excess=None if self.excess is None else self.excess[mixtures],
        )  # fmt: skip


def cancels(family: Any, scores: Scores) -> bool:
    """Whether the E-step takes log-densities of components, with log h, because their scores lack digits."""
    known = family if scores.family is None else scores.family
    return optional.cancels(known, scores.natural.reshape(-1, scores.natural.shape[2]))


class Outputs(NamedTuple):
    """What a pass fills; an array of length 0 is left out.

    Attributes
    ----------
    counts, sums, bounds : (slots, K), (slots, K, p), (slots,)
        Added to. The bounds leave out log h.
    exposures : (slots, K)
        Added to; left alone where every exposure is 1.
    responsibilities, evidence, labels : (n, K), (n,), (n,)
        Written to.
    """

    counts: np.ndarray = np.empty((0, 0))
    sums: np.ndarray = np.empty((0, 0, 0))
    bounds: np.ndarray = np.empty(0)
    exposures: np.ndarray = np.empty((0, 0))
    responsibilities: np.ndarray = np.empty((0, 0))
    evidence: np.ndarray = np.empty(0)
    labels: np.ndarray = np.empty(0, np.int64)

    @classmethod
    def of_sums(cls, slots, n_components, n_statistics, by_statistic=False, **by_row) -> Outputs:
        """Return zeros for the sums of some slots; ``by_statistic`` lays them out as (p, K), as for CSR rows."""
        counts = np.zeros((slots, n_components))
        if by_statistic:
            sums = np.zeros((slots, n_statistics, n_components)).transpose(0, 2, 1)
        else:
            sums = np.zeros((slots, n_components, n_statistics))
        return cls(counts, sums, np.zeros(slots), np.zeros_like(counts), **by_row)

    def rows(self, where) -> Outputs:
        """Return the outputs with those by row cut to a slice of the rows."""
        return self._replace(
            responsibilities=self.responsibilities[where], evidence=self.evidence[where], labels=self.labels[where]
        )  # fmt: skip


@dataclass(frozen=True)
class ByIndex:
    """Arrays with an entry for each of some data sets, or mixtures of a stack; ``+`` adds those of the same one.

    Attributes
    ----------
    which : (m,) int64
        The data sets or mixtures, in ascending order.
    """

    which: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(vars(self).values())

    def __add__(self, other: Self) -> Self:
        pairs = list(zip(self, other, strict=True))[1:]
        if self.which is other.which or np.array_equal(self.which, other.which):
            return type(self)(self.which, *(one + two for one, two in pairs))
        which = np.union1d(self.which, other.which)
        mine, its = np.searchsorted(which, self.which), np.searchsorted(which, other.which)
        found = [np.zeros((len(which), *one.shape[1:])) for one, _ in pairs]
        for out, (one, two) in zip(found, pairs, strict=True):
            out[mine] = one
            out[its] += two
        return type(self)(which, *found)


@dataclass(frozen=True)
class Sums(ByIndex):
    """Counts (m, K), sums (m, K, p), bounds (m,) and exposures (m, K) of some mixtures of a stack."""

    counts: np.ndarray
    sums: np.ndarray
    bounds: np.ndarray
    exposures: np.ndarray


@dataclass(frozen=True)
class Kernel(ABC):
    """What serves a family over chunks of rows of one kind.

    Attributes
    ----------
    family : ExponentialFamily
        In the coordinates that all components share.
    n_common : int
        Statistics at the end that are left out, because all components have the same natural parameters for them.
    """

    family: Any
    n_common: int = 0

    by_statistic: ClassVar[bool] = False
    """Whether sums are laid out by statistic, as for CSR rows."""

    @property
    def takes_any_order(self) -> bool:
        """Whether the sums of a chunk have the same bits in whatever order its entries lie in memory."""
        return False

    def n_sums(self, n_statistics) -> int:
        """Return the number of statistics that are summed."""
        return n_statistics - self.n_common

    def work(self, n_components, n_statistics) -> float:
        """Return the multiply-adds that a row costs, on which the grid of chunks depends; see `Rows.reduce`."""
        return n_components * (self.n_sums(n_statistics) + 8)

    def most_mixtures(self, scores: Scores) -> int:
        """Return how many mixtures of a stack to take at a time: all of them by default."""
        return len(scores.natural)

    @abstractmethod
    def prepared(self, scores: Scores, temperature=1.0, given=False) -> Callable[[Chunk, np.ndarray, Outputs], None]:
        """Return ``run(chunk, items, out)``, which fills the outputs from ranges of rows of a chunk.

        Items are (start, stop, mixture of the stack, slot of the outputs), (m, 4) int64. ``given`` says that the
        responsibilities are given and only sums are wanted.
        """
