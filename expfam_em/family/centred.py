"""Families whose statistics can be taken about an origin, so that rows close to one another keep their digits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.family import checked
from expfam_em.family.frames import Frames
from expfam_em.family.kernel_form import KernelForm
from expfam_em.family.optional import Cancelling, Framed, in_own_frames, shared
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.typing import Array, Block, Integers, Mask

NARROW_SPREAD = 5e-5
"""Curved statistic, half a squared relative spread, below which components are taken about an origin: a spread of 1 %
costs four digits of a variance that is left over from T."""

FARTHEST_SHARED = 1e3
"""How much farther, in squares, the origin may be from a component than its rows are."""

FARTHEST_OWN = 4.0
"""The same for an origin that was chosen for the component: beyond, it is chosen again."""

SAME_PLACE = (4 * float(np.finfo(float).eps)) ** 2
"""Curved statistic of two places that differ by no more than their rounding."""


@dataclass(frozen=True)
class MeanStatistics:
    """Weight of some rows and the sums of their T."""

    total: float
    sums: np.ndarray

    def __add__(self, other: MeanStatistics) -> MeanStatistics:
        return MeanStatistics(self.total + other.total, self.sums + other.sums)


class Centred(Framed, Cancelling):
    """Families with statistics T̃(x) = M(x₀) (T(x) − T(x₀)) about an origin x₀, computed from x − x₀ without T.

    Where rows are close together, every T(x) is nearly the same, and nearly on a line: what tells their spread are the
    last digits. The first of T̃, the curved ones, are negative and of second order in x − x₀, the others of first
    order, so that all of them keep their digits. Natural parameters are η̃ with η = M(x₀)ᵀ η̃, and A is
    Ã(η̃) = A(η) − ⟨η̃, M(x₀) T(x₀)⟩.

    ``bind`` finds an origin for all components if the rows as a whole are close together. A component gets an origin
    of its own if it is narrow, and not close to that one. A subclass stands before the class of its T and A.
    """

    origin: np.ndarray | None = None
    """The origin (d,) that all components share; None for T itself."""

    incidental = coordinates = ("origin", "own_frames")

    # ---- what a family says -----------------------------------------------------------------------------------

    @abstractmethod
    def middle(self, expectation: Array) -> Array:
        """Return rows (K, d) that are in the middle of those with a mean of T, (K, p)."""

    @abstractmethod
    def spread(self, expectation: Array, place: Array) -> Array:
        """Return minus the curved of T̃ about places (K, d), given the mean of T, (K, p) -> (K, c).

        They are about half a squared relative spread. Narrow components have none of its digits here.
        """

    @abstractmethod
    def recombination(self, origin: Array) -> Array:
        """Return M(x₀), (K, d) -> (K, p, p)."""

    def _recombine(self, values: Array, origin: Array, *, transposed: bool = False, inverse: bool = False) -> Array:
        """Return M(x₀) v, or Mᵀ v, M⁻¹ v, M⁻ᵀ v, (K, p), (K, d) -> (K, p)."""
        M = self.recombination(origin)
        M = np.swapaxes(M, 1, 2) if transposed else M
        column = values[:, :, None]
        return np.asarray(np.linalg.solve(M, column) if inverse else M @ column)[:, :, 0]

    @abstractmethod
    def statistics_about(self, X: Array, origin: Array) -> Array:
        """Return T̃(x) about an origin (d,), or about that of each row (n, d), (n, d) -> (n, p)."""

    @abstractmethod
    def partition_about(self, natural: Array, origin: Array) -> Array:
        """Return Ã(η̃), (K, p), (K, d) -> (K,)."""

    @abstractmethod
    def expectation_about(self, natural: Array, origin: Array) -> Array:
        """Return E[T̃], (K, p), (K, d) -> (K, p)."""

    @abstractmethod
    def natural_about(self, expectation: Array, origin: Array) -> Array:
        """Return η̃ of E[T̃], (K, p), (K, d) -> (K, p); NaN where there is none."""

    # ---- origins ----------------------------------------------------------------------------------------------

    @property
    def frames(self) -> Frames | None:
        return vars(self).get("own_frames")  # most families have no such attribute

    def with_frames(self, frames: Frames | None) -> Self:
        return self if frames is self.frames else self.replace(own_frames=frames)

    @property
    def _is_plain(self) -> bool:
        return self.origin is None and self.frames is None

    @property
    def _plain(self) -> Self:
        """The family of T itself."""
        return self if self._is_plain else self.replace(origin=None, own_frames=None)

    def _lots(self, n: int) -> list[tuple[Any, Array | None]]:
        """Return lots of n components with their origins, (k, d), None for those of T itself."""
        of_all = None if self.origin is None else np.broadcast_to(self.origin, (n, len(self.origin)))
        if self.frames is None:
            return [(slice(None), of_all)]
        if len(self.frames) != n:
            raise ValueError(
                f"natural parameters of {n} components, but {self!r} has coordinates for {len(self.frames)}, in order: "
                "take some components of the mixture with mixture.components(index)"
            )
        own, others = np.flatnonzero(self.frames["own"]), np.flatnonzero(~self.frames["own"])
        lots = [(own, self.frames["origin"][own]), (others, None if of_all is None else of_all[others])]
        return [lot for lot in lots if len(lot[0])]

    def _origins(self, n: int) -> list[Array | None]:
        """Return the origin (1, d) of each of n components, or None."""
        out: list[Array | None] = [None] * n
        for of, origins in self._lots(n):
            for at, k in enumerate(np.arange(n)[of]):
                out[k] = None if origins is None else origins[at : at + 1]
        return out

    def _mapped(self, plain: Callable, about: Callable, packed: Array) -> Array:
        """Return what one of two functions says of parameters: of T itself, or of those about an origin."""
        packed = np.asarray(packed)
        if self._is_plain:
            return plain(packed)
        flat = packed.reshape(-1, packed.shape[-1])
        lots = self._lots(len(flat))
        with np.errstate(all="ignore"):
            found = [plain(flat[of]) if origins is None else about(flat[of], origins) for of, origins in lots]
        out = np.empty((len(flat), *np.shape(found[0])[1:]))
        for (of, _), values in zip(lots, found, strict=True):
            out[of] = values
        return out.reshape(*packed.shape[:-1], *out.shape[1:])

    def _statistics_at(self, origin: Array) -> Array:
        """Return T of origins, (K, d) -> (K, p)."""
        return checked.statistics(self._plain, origin)[0]

    def _as_plain(self, natural: Array) -> Array:
        """Return η of η̃, of any shape (…, p)."""
        return self._mapped(
            lambda eta: eta, lambda eta, origin: self._recombine(eta, origin, transposed=True), natural
        )  # fmt: skip

    def translate(self, natural: Array, target: Any) -> Array:
        if self._alike(target):
            return natural
        plain, out = self._as_plain(natural), np.array(natural)
        for at, here, there in self._ways(target, len(out)):
            if there is None:
                out[at] = plain[at]
            else:
                moved = self._recombine(plain[at], there, transposed=True, inverse=True)
                out[at] = moved if here is None else np.where(_same(here, there), out[at], moved)
        return out

    def translate_expectation(self, expectation: Array, target: Any) -> Array:
        if self._alike(target):
            return expectation
        out = np.array(expectation)
        for at, here, there in self._ways(target, len(out)):
            step = out[at] if here is None else self._recombine(out[at], here, inverse=True)
            if there is None:
                out[at] = step if here is None else step + self._statistics_at(here)
            elif here is None:
                out[at] = self._recombine(step - self._statistics_at(there), there)
            else:
                moved = self._recombine(step, there) + self.statistics_about(here, there)
                out[at] = np.where(_same(here, there), out[at], moved)
        return out

    def _ways(self, target: Any, n: int) -> Iterator[tuple[Any, Array | None, Array | None]]:
        """Yield lots of n components with their origins here and in another family, (k, d), or None."""
        everything = np.arange(n)
        for of, here in self._lots(n):
            for of_target, there in target._lots(n):
                mine, its = everything[of], everything[of_target]
                at = np.intersect1d(mine, its)
                if len(at):
                    yield (
                        at, None if here is None else here[np.searchsorted(mine, at)],
                        None if there is None else there[np.searchsorted(its, at)],
                    )  # fmt: skip

    def _alike(self, target: Any) -> bool:
        one, other = (family.origin for family in (self, target))
        same = one is other or (one is not None and other is not None and np.array_equal(one, other))
        return same and self.frames is target.frames

    def _places(self, expectation: Array) -> tuple[Array, Array]:
        """Return the middle of each component, (K, d), and how far its rows are from it, (K, c)."""
        plain = self.translate_expectation(expectation, self._plain)
        place = np.asarray(self.middle(plain), np.float64)
        spread = self.spread(plain, place)
        framed = np.concatenate(
            [np.arange(len(place))[of] for of, origin in self._lots(len(place)) if origin is not None] or [[]]
        )
        if len(framed):  # there it has its digits
            there = self.with_frames(Frames({"own": np.ones(len(place), bool), "origin": place}))
            at = framed.astype(np.int64)
            spread[at] = -self.translate_expectation(expectation, there)[at, : spread.shape[1]]
        return place, spread

    def _suits(self, origin: Array | None, place: Array, spread: Array, factor: float) -> Mask:
        """Return whether an origin (d,) or (K, d), or None, suits components at places with such a spread, (K,)."""
        if origin is None:
            return np.all(spread >= NARROW_SPREAD, axis=1)
        distance = -self.statistics_about(np.broadcast_to(origin, place.shape), place)[:, : spread.shape[1]]
        return np.all((distance <= factor * spread) | (distance <= SAME_PLACE), axis=1)

    def choose_frames(self, natural: Array, expectation: Array) -> tuple[Frames | None, Array] | None:
        place, spread = self._places(expectation)
        wanted = ~self._suits(self.origin, place, spread, FARTHEST_SHARED) & np.isfinite(place).all(axis=1)
        if not wanted.any():
            return None if self.frames is None else (None, self.translate(natural, self.with_frames(None)))
        if self.frames is not None:
            own, origin = self.frames["own"], self.frames["origin"]
            kept = own & self._suits(np.where(own[:, None], origin, place), place, spread, FARTHEST_OWN)
            place = np.where(kept[:, None], origin, place)
            if np.array_equal(wanted, own) and kept[own].all():
                return None
        target = self.with_frames(_frames(wanted, place))
        return target.frames, self.translate(natural, target)

    def rescue_frames(self, natural: Array, expectation: Array, proper: Mask) -> Frames | None:
        place, spread = self._places(expectation)
        own = np.zeros(len(place), bool) if self.frames is None else self.frames["own"]
        lost = ~self._suits(self.origin, place, spread, FARTHEST_SHARED)
        if self.frames is not None:
            origin = np.where(own[:, None], self.frames["origin"], place)
            lost = np.where(own, ~self._suits(origin, place, spread, FARTHEST_SHARED), lost)
            place = np.where((own & ~lost)[:, None], origin, place)
        lost &= np.isfinite(place).all(axis=1)
        return _frames(own | lost, place) if lost.any() else None

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        if isinstance(X, CSRBlock):
            return None  # there T is x
        T = checked.statistics(self._plain, X)[0]
        weight = np.ones(len(T)) if sample_weight is None else sample_weight
        return MeanStatistics(float(weight.sum()), weight @ T)

    def bound(self, summary: Any) -> Self:
        """Return a copy with an origin in the middle of the rows, if they are close together."""
        if not summary.total > 0:
            return self._plain
        with np.errstate(all="ignore"):
            place, spread = self._plain._places(summary.sums[None] / summary.total)
            close = not self._suits(None, place, spread, FARTHEST_SHARED)[0] and np.isfinite(place).all()
        return self.replace(origin=place[0] if close else None, own_frames=None)

    # ---- the family -------------------------------------------------------------------------------------------

    def sufficient_statistics(self, X: Block) -> Array:
        if self.origin is None:
            return super().sufficient_statistics(X)  # type: ignore[safe-super]
        with np.errstate(all="ignore"):
            return self.statistics_about(np.ascontiguousarray(X, np.float64), self.origin)

    def kernel_form(self, n_features: int) -> KernelForm | None:
        return super().kernel_form(n_features) if self.origin is None else None

    def log_partition(self, natural: Array) -> Array:
        return self._mapped(super().log_partition, self.partition_about, natural)  # type: ignore[safe-super]

    def to_expectation(self, natural: Array) -> Array:
        return self._mapped(super().to_expectation, self.expectation_about, natural)

    def to_natural(self, expectation: Array) -> Array:
        return self._mapped(super().to_natural, self.natural_about, expectation)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        if self._is_plain:
            return super().expected_log_base_measure(natural)
        return self._plain.expected_log_base_measure(self._as_plain(natural))

    def cancels(self, natural: Array) -> bool:
        return self.frames is not None

    def log_density(self, X: Block, natural: Array) -> Array:
        if self.frames is None:
            return super().log_density(X, natural)
        X, natural = np.asarray(X), np.atleast_2d(natural)
        partition, log_h = checked.log_partition(self, natural), checked.log_base_measure(self, X)
        with np.errstate(all="ignore"):  # a row that is too far from an origin for float64 has no density there
            scores = [T @ eta for T, eta in zip(self._tables(X, len(natural)), natural, strict=True)]
            value = np.stack(scores, axis=1) - partition + log_h[:, None]
        return np.where(np.isnan(value) & ~np.isnan(log_h)[:, None], -np.inf, value)

    def sums(self, X: Block, responsibilities: Array) -> Array:
        if self.frames is None:
            return super().sums(X, responsibilities)
        tables = self._tables(np.asarray(X), responsibilities.shape[1])
        return np.stack([r @ _of_present(T, r) for T, r in zip(tables, responsibilities.T, strict=True)])

    def _tables(self, X: Array, n_components: int) -> Iterator[Array]:
        """Yield the statistics of rows as each component takes them, (n, p)."""
        common = self.with_frames(None)
        for k in range(n_components):
            family = self.replace(origin=self.frames["origin"][k]) if self.frames["own"][k] else common  # type: ignore[index]
            yield checked.statistics(family, X)[0]

    def fisher_information(self, natural: Array) -> Array:
        if self.frames is None:
            return super().fisher_information(natural)
        natural = np.atleast_2d(np.asarray(natural, np.float64))
        alone = [
            self.replace(own_frames=None, origin=None if origin is None else origin[0]).fisher_information(natural[k])
            for k, origin in enumerate(self._origins(len(natural)))
        ]
        return np.concatenate(alone)

    # ---- as users know it -------------------------------------------------------------------------------------

    def parameters(self, natural: Array) -> dict[str, Array]:
        if self._is_plain:
            return super().parameters(natural)
        return self._plain.parameters(self._as_plain(natural))

    def from_parameters(self, **given: ArrayLike) -> Array:
        if self._is_plain:
            return super().from_parameters(**given)
        return in_own_frames(self, self._plain.translate(self._plain.from_parameters(**given), shared(self)))

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        if self._is_plain:
            return super().sample(natural, n, rng)
        return self._plain.sample(self._as_plain(natural[None])[0], n, rng)

    def marginal(self, natural: Array, columns: Integers) -> Any:
        if self._is_plain:
            return super().marginal(natural, columns)
        return self._plain.marginal(self._as_plain(natural), columns)


def _of_present(T: Array, r: Array) -> Array:
    """Return T with 0 for rows of weight 0 that are too far from an origin for float64."""
    return T if np.isfinite(T).all() else np.where((r > 0)[:, None], T, 0.0)


def _same(here: Array, there: Array) -> Mask:
    """Return which origins are the same, (k, 1)."""
    return np.all(here == there, axis=1, keepdims=True)


def _frames(own: Mask, origin: Array) -> Frames:
    return Frames({"own": own, "origin": np.where(own[:, None], origin, 0.0)})
