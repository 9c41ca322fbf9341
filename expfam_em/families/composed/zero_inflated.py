"""Counts or amounts with more zeros than their family has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit

from expfam_em.families.composed.parts import family_argument
from expfam_em.families.composed.zeros_observed import ZerosObserved, is_zero, posterior
from expfam_em.family import checked, named
from expfam_em.family.base import NATURAL_LIMIT, ExponentialFamily
from expfam_em.family.binding import Composed, Parts, Viewed, needs_blocks, rows_where
from expfam_em.family.entries import MIXING_WEIGHT, by_shape
from expfam_em.family.frames import Frames
from expfam_em.family.optional import (
    Framed,
    FramedBy,
    Incomplete,
    at_edges_of,
    edge_sums_of,
    is_coupled,
    is_incomplete,
    sums_of,
    translate,
    translate_expectation,
)
from expfam_em.rows.columns import Column
from expfam_em.rows.protocol import Blocks
from expfam_em.rows.typing import Array, Block, Mask

LEAST_ODDS = -0.99 * NATURAL_LIMIT
"""log(ρ/(1 − ρ)) up to which ρ is 0."""


@dataclass(frozen=True)
class Others:
    """The summary of the rows that are not 0, or of all of them where there are no others."""

    some: bool
    parts: Parts

    def __add__(self, other: Others) -> Others:
        if self.some == other.some:
            return Others(self.some, self.parts + other.parts)
        return self if self.some else other


class ZeroInflated(ZerosObserved, Composed, FramedBy, Incomplete):
    """Rows that are 0 with probability ρ and otherwise follow a family: p(x) = ρ [x = 0] + (1 − ρ) p₀(x).

    Whether a zero row is one of these, b = 1, is not observed. The complete data are (x, b): T = (b, 1 − b,
    (1 − b) T₀(x)), η = (log(ρ/(1 − ρ)), −A₀(η₀), η₀) and A(η) = log(e^η₁ + e^(η₂ + A₀(η₀))). The E-step takes E[b|x]
    (Lambert 1992). As b + (1 − b) = 1, one of the first two coordinates could be done without; with both, ρ keeps its
    digits however large A₀ is. The probability belongs to whole rows: a `Product` of several such families has one for
    each of its parts.

    Beside a density, which gives single numbers no probability, every row of zeros is one of these, b = 1. A family
    that accepts 0.5 somewhere is taken for a density; counts of your own need a ``check_support``.

    Parameters
    ----------
    family : ExponentialFamily
        Of the other rows, such as ``Poisson()`` or ``GammaPoisson()``.

    Raises
    ------
    TypeError
        If it is no family of rows, or is zero-inflated itself.
    """

    family: Any
    _curved = True
    sparse, framed_by, its_natural = "never", "family", slice(2, None)

    def __init__(self, family: ExponentialFamily | str) -> None:
        family = family_argument(family)
        if isinstance(family, ZeroInflated):
            raise TypeError(f"{family!r} cannot be zero-inflated: inflate the families that it is made of")
        self.family = family
        self.is_density: bool | None = None
        self.n_features: int | None = None

    def _possible(self, X):
        """Return which rows may be of the family, (n,)."""
        is_density = _is_density(self.family, X.shape[1]) if self.is_density is None else self.is_density
        return self.family.supports(X) & ~is_zero(X) if is_density else self.family.supports(X)

    def _odds(self, natural):
        """Return log(ρ/(1 − ρ)), (K,), −∞ where no zeros are added, and η₀."""
        natural = np.atleast_2d(natural)
        log_odds = natural[:, 0] - self._of_others(natural)
        return np.where(log_odds > LEAST_ODDS, log_odds, -np.inf), natural[:, 2:]

    def _of_others(self, natural):
        """Return η₂ + A₀(η₀), (K,), which is 0 but for rounding where the parameters are of one of these."""
        return natural[:, 1] + checked.log_partition(self.family, natural[:, 2:])

    def _views(self) -> list[tuple[ExponentialFamily, Callable]]:
        return [(self.family, rows_where(_is_other))]

    def _with_parts(self, families: list, n_features: int | None) -> Any:
        [family] = families
        is_density = None if n_features is None else _is_density(family, n_features)
        return self.replace(family=family, n_features=n_features, is_density=is_density)

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        if _is_other(X).any():
            return Others(True, super().summary(X, sample_weight))
        of_family = None if needs_blocks(self.family) else self.family.summary(X, sample_weight)
        return Others(False, Parts(X.shape[1], (of_family,)))

    def bound(self, summary: Any) -> Self:
        return super().bound(summary.parts)

    @checked.default
    def bind(self, blocks: Blocks) -> ExponentialFamily:
        if needs_blocks(self.family) and not any(len(X) for X, _ in Viewed(blocks, rows_where(_is_other))):
            return ExponentialFamily.bind(self._with_parts([self.family.bind(blocks)], None), blocks)
        return super().bind(blocks)

    def sufficient_statistics(self, X: Block) -> Array:
        possible = self._possible(X)
        share = np.where(possible, 0.5, 1.0) * is_zero(X)  # a zero row may be of either kind
        return np.column_stack([share, 1 - share, (1 - share)[:, None] * self._of_family(X, possible)])

    def _of_family(self, X, possible):
        """Return T₀ of rows, 0 for those that the family cannot have produced."""
        T, exposure = checked.statistics(self.family, X[possible] if possible.any() else np.ones_like(X))
        if exposure is not None:
            raise ValueError(f"{self.family!r} has an exposure, which a share of zeros has not")
        out = np.zeros((len(X), T.shape[1]))
        out[possible] = T[: np.sum(possible)]
        return out

    def log_partition(self, natural: Array) -> Array:
        return np.logaddexp(natural[:, 0], self._of_others(natural))

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return None  # that of the complete data would say nothing about x

    @property
    def bounded(self) -> bool:  # type: ignore[override]
        return self.family.bounded

    @property
    def samples_alike(self) -> bool:  # type: ignore[override]
        return self.family.samples_alike

    @property
    def has_limits(self) -> bool:  # type: ignore[override]
        return self._may_lack_zeros or (is_incomplete(self.family) and self.family.has_limits)

    @property
    def _may_lack_zeros(self) -> bool:
        return self.is_density is False and self.n_features is not None

    def edge_sums(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        X = np.asarray(X)
        if is_incomplete(self.family):
            [possible, _, rest], of_family = self._shares(X, natural), self._odds(natural)[1]
            others = np.where(possible[:, None], responsibilities * rest, 0.0)
            sums = edge_sums_of(self.family, self._stand_in(X, possible), others, of_family)
            return np.column_stack([responsibilities.T @ is_zero(X), others.sum(axis=0), sums])
        of_family = self._of_family(X, self._possible(X))
        return responsibilities.T @ np.column_stack([is_zero(X), _is_other(X), of_family])

    def at_edges(self, natural: Array, counts: Array, sums: Array) -> Array:
        log_odds, of_family = self._odds(natural)
        if is_incomplete(self.family):
            of_all = at_edges_of(self.family, of_family, sums[:, 1], sums[:, 2:])
            natural = self._with_odds(log_odds, of_all, self.family)
        else:
            of_all = checked.next_natural(self.family, counts, sums[:, 2:], of_family)
        if not self._may_lack_zeros:
            return natural
        # no zeros are added where η₀ of all rows makes enough of them; where it nearly does, steps are slow
        made, in_limit = self._zeros_of(of_all), np.isneginf(log_odds)
        share = np.maximum((sums[:, 0] / counts - made) / (1 - made), 0.0)
        moved = (in_limit & (share > 0)) | (~in_limit & (share < expit(log_odds) / 2))
        return np.where(moved[:, None], self._joined(share, 1 - share, of_all), natural)

    def _zeros_of(self, of_family):
        """Return the probability of a row of zeros under the family, (K,)."""
        row = np.zeros((1, self.n_features or 0))
        return np.exp(self._log_density_of_family(row, of_family, self._possible(row))[0])

    def edges(self, natural: Array) -> dict[str, Mask]:
        log_odds, of_family = self._odds(natural)
        return {"without added zeros": np.isneginf(log_odds), **self.family.edges(of_family)}

    def to_expectation(self, natural: Array) -> Array:
        log_odds, of_family = self._odds(natural)
        share, others = expit(log_odds)[:, None], expit(-log_odds)[:, None]
        return np.concatenate([share, others, others * checked.to_expectation(self.family, of_family)], axis=1)

    def to_natural(self, expectation: Array) -> Array:
        share, others = np.maximum(expectation[:, :2].T, 0.0)
        return self._joined(share, others, checked.to_natural(self.family, expectation[:, 2:] / others[:, None]))

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        share, others = np.maximum(sums[:, :2].T, 0.0)
        of_family = None if previous is None else previous[:, 2:]
        return self._joined(share, others, checked.next_natural(self.family, others, sums[:, 2:], of_family))

    @property
    def coupled(self) -> bool:
        return is_coupled(self.family)

    def _joined(self, share, others, of_family):
        with np.errstate(divide="ignore", invalid="ignore"):
            log_odds = np.log(share) - np.log(others)
        return self._with_odds(log_odds, of_family, self.family)

    def _with_odds(self, log_odds, of_family, family):
        """Return η of log(ρ/(1 − ρ)), (K,), and η₀ in the coordinates of a family."""
        log_odds = np.clip(log_odds, -NATURAL_LIMIT, NATURAL_LIMIT)
        return np.column_stack([log_odds, -checked.log_partition(family, of_family), of_family])

    def seed(self, expectation: Array, mean: Array) -> Array:
        mean = np.broadcast_to(mean, expectation.shape)
        if np.any(mean[:, 0] >= 1):
            raise ValueError(f"every row is 0, which {self.family!r} never is: nothing tells its parameters")
        of_mean = mean[:, 2:] / mean[:, 1:2]
        others = expectation[:, 1:2]
        # a row that is certainly one of the zeros says nothing of the others
        of_row = np.where(others > 0, expectation[:, 2:] / np.where(others > 0, others, 1.0), of_mean)
        shares = 0.5 * (expectation[:, :2] + mean[:, :2])
        return np.concatenate([shares, shares[:, 1:] * checked.seeds(self.family, of_row, of_mean)], axis=1)

    def _log_density_of_family(self, X, of_family, possible):
        out = np.full((len(X), len(of_family)), -np.inf)
        out[possible] = checked.log_density(self.family, X[possible], of_family)
        return out

    def log_density(self, X: Block, natural: Array) -> Array:
        X, (log_odds, of_family) = np.asarray(X), self._odds(natural)
        inside = log_expit(-log_odds) + self._log_density_of_family(X, of_family, self._possible(X))
        return np.where(is_zero(X)[:, None], np.logaddexp(log_expit(log_odds), inside), inside)

    def complete(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        return self._sums(np.asarray(X), responsibilities, *self._shares(X, natural), self._odds(natural)[1])

    def _shares(self, X: Any, natural: Any) -> tuple[Any, Any, Any]:
        """Return which rows may be of the family, (n,), E[b|x] and 1 − E[b|x], (n, K)."""
        X, (log_odds, of_family) = np.asarray(X), self._odds(natural)
        possible = self._possible(X)
        of_others = self._log_density_of_family(X, of_family, possible)
        return possible, *posterior(is_zero(X)[:, None], log_odds, of_others)

    def guess(self, X: Block, responsibilities: Array) -> Array:
        possible = self._possible(X)
        share = (np.where(possible, 0.5, 1.0) * is_zero(X))[:, None]
        return self._sums(np.asarray(X), responsibilities, possible, share, 1 - share)

    def _sums(self, X, responsibilities, possible, share, rest, of_family=None):
        """Return Σ r (b, 1 − b, (1 − b) T₀) of rows, each component in its coordinates.

        ``share`` and ``rest`` are E[b|x] and 1 − E[b|x], (n, K) or (n, 1); T₀ is E[T₀|x] under η₀, or its guess.
        """
        others = np.where(possible[:, None], responsibilities * rest, 0.0)
        sums = sums_of(self.family, self._stand_in(X, possible), others, of_family)
        return np.column_stack([np.sum(responsibilities * share, axis=0), np.sum(others, axis=0), sums])

    def _stand_in(self, X, possible):
        """Return rows with a possible one in the place of each that is not."""
        at = np.where(possible, np.arange(len(X)), np.argmax(possible))
        return X[at] if possible.any() else np.ones_like(X)

    # ---- frames: those of the family of the other rows ------------------------------------------------------

    def choose_frames(self, natural: Array, expectation: Array) -> tuple[Frames | None, Array] | None:
        if not isinstance(self.family, Framed):
            return None
        log_odds, of_family = self._odds(natural)
        found = self.family.choose_frames(of_family, expectation[:, 2:] / expectation[:, 1:2])
        if found is None:
            return None
        frames, moved = found
        return frames, self._with_odds(log_odds, moved, self.family.with_frames(frames))

    def rescue_frames(self, natural: Array, expectation: Array, proper: Mask) -> Frames | None:
        if not isinstance(self.family, Framed):
            return None
        mean = expectation[:, 2:] / expectation[:, 1:2]
        return self.family.rescue_frames(self._odds(natural)[1], mean, proper)

    def parameters(self, natural: Array) -> dict[str, Array]:
        log_odds, of_family = self._odds(natural)
        return {"zero_shares": expit(log_odds), **checked.parameters(self.family, of_family)}

    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return the natural parameters of zero_shares (K,) and of the names of the family of the other rows."""
        own = {name: value for name, value in given.items() if name == "zero_shares"}
        others = {name: value for name, value in given.items() if name not in own}
        of_family = self.family.from_parameters(**others)
        known = {"zero_shares": MIXING_WEIGHT}
        sizes = {"component": len(of_family)} if others else {}
        arrays, used = named.read(self, own, known, (tuple(known),), sizes=sizes)
        # a family that needs no names says the same of every component
        of_family = np.broadcast_to(of_family, (len(used["zero_shares"]), of_family.shape[1]))
        shares = np.minimum(used["zero_shares"], 1.0)
        natural = self._joined(shares, 1 - shares, of_family)
        return named.finished(self, natural, arrays, used)

    def _entries(self, name: str, shape: tuple[int, ...], columns: Sequence[Column], n_components: int) -> Any:
        if name == "zero_shares":
            return by_shape(shape, columns, n_components, MIXING_WEIGHT)
        return self.family._entries(name, shape, columns, n_components)

    def n_parameters(self, n_components: int) -> int:
        counted = checked.n_parameters(self.family, n_components)
        if counted is None:
            if self.n_features is None:
                raise ValueError(f"{self!r} counts its parameters once the number of columns is known: call bind first")
            counted = n_components * self._of_family(np.ones((1, self.n_features)), np.ones(1, bool)).shape[1]
        return counted + n_components

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        [log_odds], [of_family] = self._odds(natural)
        X = checked.sample(self.family, of_family, n, rng)
        return np.where(rng.random((n, 1)) < expit(log_odds), 0.0, X)

    def supports(self, X: Block) -> Mask:
        return checked.supports(self.family, X) | is_zero(X)

    def check_support(self, X: Block) -> None:
        checked.check_present(self.family, X, ~is_zero(X))

    def translate(self, natural: Array, target: Any) -> Array:
        log_odds, of_family = self._odds(natural)
        moved = translate(self.family, of_family, target.family)
        if moved is of_family:  # A is the same; the user's family may not know its constants yet
            return np.asarray(natural)
        return self._with_odds(log_odds, moved, target.family)

    def translate_expectation(self, expectation: Array, target: Any) -> Array:
        others = expectation[:, 1:2]
        moved = translate_expectation(self.family, expectation[:, 2:] / others, target.family)
        return np.concatenate([expectation[:, :2], moved * others], axis=1)

    def __repr__(self) -> str:
        return f"ZeroInflated({self.family!r})"


def _is_other(X):
    return ~is_zero(X)


def _is_density(family, n_features) -> bool:
    """Whether a family accepts 0.5 in some column."""
    probes = np.concatenate([np.full((1, n_features), 0.5), 1.0 - 0.5 * np.eye(n_features)])
    return bool(family.supports(probes).any())
