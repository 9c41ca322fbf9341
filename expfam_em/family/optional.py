"""What only some families can do: a family that can is a subclass of the class that says how it is asked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self, TypeGuard

import numpy as np

from expfam_em.family import checked
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.frames import Frames
from expfam_em.family.kernel_form import OwnFrames
from expfam_em.family.summaries import Width
from expfam_em.rows.typing import Array, Block, Integers, Mask

TOGETHER = 16
"""Rows of which log-densities under one another are computed at a time, where each under its own is wanted."""


class Translated(ExponentialFamily):
    """Families whose natural parameters mean something else under other constants, such as a frame or levels."""

    @abstractmethod
    def translate(self, natural: Array, target: Any) -> Array:
        """Return natural parameters of this family as those of ``target``, the same family in other coordinates."""

    @abstractmethod
    def translate_expectation(self, expectation: Array, target: Any) -> Array:
        """Return expectation parameters of this family as those of ``target``."""


class Framed(Translated):
    """Families whose components may have coordinates of their own, so that no digits are lost far from the others.

    A family with ``frames`` stands for their components in order: each method then takes exactly their rows. Natural
    and expectation parameters are in these coordinates; x, named parameters and densities are not.
    """

    coordinates: tuple[str, ...] = ()
    """Names of those ``incidental`` attributes that do not change estimates either."""

    @property
    def frames(self) -> Frames | None:
        """Coordinates of single components; None if all are in the shared ones."""
        return None

    def with_frames(self, frames: Frames | None) -> Self:
        """Return the family with other coordinates of its components; None has the shared ones only."""
        return self

    def choose_frames(self, natural: Array, expectation: Array) -> tuple[Frames | None, Array] | None:
        """Return better frames of the components and natural parameters (K, p) in them; None if there are none.

        ``expectation`` are expectation parameters (K, p) close to those of ``natural``, already known to the caller.
        A of ``natural`` is finite.
        """
        return None

    def rescue_frames(self, natural: Array, expectation: Array, proper: Mask) -> Frames | None:
        """Return frames in which statistics with this mean (K, p) keep their digits; None if they do already.

        ``natural`` is what the statistics give in the frames they are in. It is not finite if all digits are lost.
        ``proper`` (K,) says where its A is finite.
        """
        return None

    def flat(self, natural: Array) -> Mask:
        """Return which components (K,) have so little variance in some direction that rounding outweighs a step."""
        return np.zeros(len(natural), bool)

    def kernel_frames(self) -> OwnFrames | None:
        """Return the frames of single components as the kernel takes them."""
        return None

    def sums(self, X: Block, responsibilities: Array) -> Array:
        """Return Σ_n r_nk T(x_n) for each component in its coordinates, (n, d), (n, K) -> (K, p)."""
        return responsibilities.T @ checked.statistics(self, X)[0]

    @property
    def score_rounding(self) -> float:
        """By how much the rounding of rows changes scores, in units of ε, where frames magnify it."""
        return 0.0


class FramedBy(Framed):
    """Families whose components have the coordinates that another family gives them, which is an attribute."""

    framed_by: str
    """The name of the attribute."""

    its_natural: slice
    """Where its natural parameters are among those of the whole."""

    def flat(self, natural: Array) -> Mask:
        return flat(getattr(self, self.framed_by), natural[:, self.its_natural])

    @property
    def frames(self) -> Frames | None:
        return frames_of(getattr(self, self.framed_by))

    def with_frames(self, frames: Frames | None) -> Self:
        family = getattr(self, self.framed_by)
        if frames is self.frames or not isinstance(family, Framed):
            return self
        return self.replace(**{self.framed_by: family.with_frames(frames)})

    @property
    def score_rounding(self) -> float:
        return score_rounding(getattr(self, self.framed_by))


class Cancelling(ExponentialFamily):
    """Families with parameters at which ⟨η, T⟩ − e A + log h lacks digits that their ``log_density`` has."""

    @abstractmethod
    def cancels(self, natural: Array) -> bool:
        """Return whether these components, (K, p), have such parameters; the E-step then asks ``log_density``."""


class Incomplete(ExponentialFamily):
    """Families that observe only a part of each observation.

    The E-step takes E[T|x] of each component, `complete`, and `log_density` is that of what is observed, while A, the
    mappings and the M-step are those of the complete data. ``sufficient_statistics`` is a guess that needs no
    parameters, for the start; log h belongs to `log_density`.
    """

    incomplete: bool = True
    """Whether this one is; a family made of others is if one of them is."""

    @abstractmethod
    def complete(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        """Return Σ_n r_nk E[T|x_n, η_k] of rows, (n, d), (K, p), (n, K) -> (K, p)."""

    def guess(self, X: Block, responsibilities: Array) -> Array:
        """Return Σ_n r_nk T(x_n) of the guess that needs no parameters, (n, d), (n, K) -> (K, p)."""
        return responsibilities.T @ checked.statistics(self, X)[0]

    def paired_log_density(self, X: Block, natural: Array) -> Array:
        """Return log p(x_n|η_n) of rows, each under parameters of its own, (n, d), (n, p) -> (n,)."""
        parts = [slice(first, first + TOGETHER) for first in range(0, len(X), TOGETHER)]
        return np.concatenate([np.diagonal(checked.log_density(self, X[part], natural[part])) for part in parts])

    has_limits: bool = False
    """Whether a shape has a limit in which the density is that of another family, such as the normal one of t."""

    def edge_sums(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        """Return what `at_edges` has to know of rows, packed like T, (n, d), (K, p), (n, K) -> (K, p)."""
        return np.zeros_like(natural)

    knows_observed_limits: bool = False
    """Whether `observed_edge_sums` is there: limits are then reached where values are missing, too."""

    def observed_edge_sums(self, X: Block, natural: Array, responsibilities: Array, present: Mask) -> Array:
        """Return what `edge_sums` would be of rows that have some columns in common, (d,), if they had all."""
        raise NotImplementedError

    def at_edges(self, natural: Array, counts: Array, sums: Array) -> Array:
        """Return natural parameters with each shape in its limit, or out of it again, that is likely to be better so.

        They are taken if the bound rises by it. ``sums`` (K, p) are the sums of `edge_sums` under ``natural``.
        """
        return natural

    def for_intervals(self) -> Self:
        """Return the family for numbers of which only intervals may be known."""
        return self

    def typical(self, mean: Array) -> Array:
        """Return the mean of T(x), (D, p), without the rows that a component about all rows should not follow."""
        return mean


class InStacks(ExponentialFamily):
    """Families that may be coupled, and whose M-step then takes the components of a whole stack of mixtures at once."""

    @property
    def searches(self) -> bool:
        """Whether the expected log-likelihood may have several maxima, among which the M-step looks for the best."""
        return False

    @abstractmethod
    def maximize_stack(
        self, counts: Array, sums: Array, previous: Array | None = None, search: bool = True
    ) -> Array:  # fmt: skip
        """Return the M-step's η of B mixtures, (B, K), (B, K, p) -> (B, K, p); see `maximize`.

        Where the expected log-likelihood has several maxima, the best one that is found is returned. Without ``search``
        the result may be any that is no worse than ``previous``.
        """


class OverTime(ExponentialFamily):
    """Families of counts that say what counts are over other times than 1."""

    @abstractmethod
    def log_density_over(self, exposure: Array, X: Block, natural: Array) -> Array:
        """Return log p(x|η_k) of counts over times, (n, 1), (n, d), (K, p) -> (n, K)."""

    def complete_over(self, exposure: Array, X: Block, natural: Array, responsibilities: Array) -> Array:
        """Return what `Incomplete.complete` does, of counts over times (n, 1)."""
        raise NotImplementedError


class Seeded(ExponentialFamily):
    """Families whose seeds are drawn under a simpler law of the same natural parameters."""

    @abstractmethod
    def for_seeds(self) -> ExponentialFamily:
        """Return the family of that law; its rows are the same."""


class OfKnownWidth(ExponentialFamily):
    """Families that count their parameters once ``bind`` has found the number of columns."""

    n_features: int | None = None

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        return Width(X.shape[1])

    def bound(self, summary: Any) -> Self:
        """Return a copy that knows the number of columns, by which parameters are counted."""
        return self.replace(n_features=summary.n_features)

    def n_parameters(self, n_components: int) -> int:
        if self.n_features is None:
            name = type(self).__name__
            raise ValueError(f"{name} counts its parameters once the number of columns is known: call bind first")
        return n_components * self._n_free(self.n_features)

    @abstractmethod
    def _n_free(self, n_features: int) -> int:
        """Return the number of free parameters of one component."""

    def _known_sizes(self) -> dict[str, int]:
        """Return the sizes of axes of named parameters that are known."""
        return {} if self.n_features is None else {"column": self.n_features}


class OfLabels(ExponentialFamily):
    """Families that take labels as whole numbers in some columns."""

    @abstractmethod
    def label_columns(self, n_columns: int) -> list[str | None]:
        """Return for each column None, or what becomes of labels that are not known: "error" or "zero"."""


def label_columns(family: ExponentialFamily, n_columns: int) -> list[str | None]:
    """Return for each column what becomes of labels that are not known; None where it is one of numbers."""
    return family.label_columns(n_columns) if isinstance(family, OfLabels) else [None] * n_columns


class OfComponents(ExponentialFamily):
    """Families whose components belong to a family each."""

    of_component: Integers
    """Which family each component belongs to, by number."""

    @abstractmethod
    def _parts(self, n: int) -> Sequence[Any]:
        """Return those of the families that n components belong to: each with ``family``, and its components ``of``."""

    @abstractmethod
    def _join(self, n: int, found: Sequence[Array]) -> Array:
        """Return natural parameters (n, p) from those of the components of each of these families."""


class PartlyBounded(ExponentialFamily):
    """Families of which some natural parameters may belong to densities that are at most 1."""

    @abstractmethod
    def bounded_natural(self, natural: Array) -> Mask:
        """Return which natural parameters, (K, p), these are."""


def bounded_natural(family: ExponentialFamily, natural: Array) -> Mask:
    """Return which natural parameters, (K, p), belong to densities that are at most 1, as those of counts."""
    if isinstance(family, PartlyBounded):
        return family.bounded_natural(natural)
    return np.full(natural.shape, family.bounded)


class UpToLargest(ExponentialFamily):
    """Families of which some statistics have a largest value, or that are made of such families."""

    @abstractmethod
    def left_of_largest(self, natural: Array) -> Array:
        """Return what E[T] leaves to the largest T, with all digits, (K, p) -> (K, p); ∞ where T has no largest."""


def left_of_largest(family: ExponentialFamily, natural: Array) -> Array:
    """Return what E[T] leaves to the largest T, (K, p); ∞ where a family knows of no largest one."""
    return family.left_of_largest(natural) if isinstance(family, UpToLargest) else np.full(natural.shape, np.inf)


def cancels(family: ExponentialFamily, natural: Array) -> bool:
    """Whether the E-step of these components, (K, p), takes log-densities because their scores lack digits."""
    if not isinstance(family, Cancelling):
        return False
    with np.errstate(all="ignore"):  # where responsibilities are given, η is 0
        return family.cancels(natural)


def is_incomplete(family: ExponentialFamily) -> TypeGuard[Incomplete]:
    """Whether the E-step of a family takes E[T|x] of each component."""
    return isinstance(family, Incomplete) and family.incomplete


def is_coupled(family: ExponentialFamily) -> bool:
    """Whether the M-step of one component depends on the others, or on which one it is."""
    return family.coupled or bool(family._constraints())


def at_edges_of(family: ExponentialFamily, natural: Array, counts: Array, sums: Array) -> Array:
    """Return what `Incomplete.at_edges` says; the parameters as they are for a family without limits, or held."""
    has_limits = is_incomplete(family) and not family._constraints()
    return family.at_edges(natural, counts, sums) if has_limits else natural  # type: ignore[attr-defined]


def sums_of(family: ExponentialFamily, X: Block, responsibilities: Array, natural: Array | None = None) -> Array:
    """Return Σ_n r_nk E[T|x_n, η_k], (K, p), each component in its coordinates; without η, of the guess of T."""
    if isinstance(family, Incomplete):
        axes = {"K": responsibilities.shape[1], "p": None if natural is None else natural.shape[1]}
        if natural is None:
            return checked.asked(family, "guess", axes, X, responsibilities)
        return checked.asked(family, "complete", axes, X, natural, responsibilities)
    if isinstance(family, Framed):
        return family.sums(X, responsibilities)
    return responsibilities.T @ checked.statistics(family, X)[0]


def edge_sums_of(family: ExponentialFamily, X: Block, responsibilities: Array, natural: Array) -> Array:
    """Return what `Incomplete.at_edges` has to know of rows, (K, p); 0 for a family that has no limits."""
    return family.edge_sums(X, natural, responsibilities) if is_incomplete(family) else np.zeros_like(natural)


def for_seeds(family: ExponentialFamily) -> ExponentialFamily:
    """Return the family under which seeds are drawn."""
    return family.for_seeds() if isinstance(family, Seeded) else family


def frames_of(family: ExponentialFamily) -> Frames | None:
    """Return the coordinates of single components, if a family has some."""
    return family.frames if isinstance(family, Framed) else None


def kernel_frames(family: ExponentialFamily) -> OwnFrames | None:
    """Return the frames of single components as the kernel takes them, if there are some."""
    return family.kernel_frames() if isinstance(family, Framed) else None


def flat(family: ExponentialFamily, natural: Array) -> Mask:
    """Return which components (K,) have so little variance in some direction that rounding outweighs a step."""
    return family.flat(natural) if isinstance(family, Framed) else np.zeros(len(natural), bool)


def shared(family: ExponentialFamily) -> ExponentialFamily:
    """Return the family in coordinates that all components share, for any number of components."""
    return family.with_frames(None) if isinstance(family, Framed) else family


def components(family: ExponentialFamily, index: Any) -> ExponentialFamily:
    """Return the family of some components, in the order of an index array."""
    frames = frames_of(family)
    if isinstance(family, OfComponents):
        index = np.asarray(index)
        of = np.resize(family.of_component, max(len(family.of_component), 1 + index.max(initial=0)))
        family = family.replace(of_component=of[index])
    return family.with_frames(frames.take(index)) if isinstance(family, Framed) and frames is not None else family


def stacked(families: Sequence[Any], n_components: int) -> ExponentialFamily:
    """Return the family of the components of several families of one kind, ``n_components`` of each."""
    first = families[0]
    if not isinstance(first, Framed):
        return first
    return first.with_frames(Frames.concatenate([frames_of(family) for family in families], n_components))


def score_rounding(family: ExponentialFamily) -> float:
    """By how much the rounding of rows changes scores, in units of ε, where frames magnify it."""
    return family.score_rounding if isinstance(family, Framed) else 0.0


def translate(family: ExponentialFamily, natural: Array, target: Any) -> Array:
    """Return natural parameters of a family as those of ``target``, the same family in other coordinates."""
    return family.translate(natural, target) if isinstance(family, Translated) else natural


def translate_expectation(family: ExponentialFamily, expectation: Array, target: Any) -> Array:
    """Return expectation parameters of a family as those of ``target``, the same family in other coordinates."""
    if family is target or not isinstance(family, Translated):
        return expectation
    return family.translate_expectation(expectation, target)


def in_own_frames(family: Framed, natural: Array) -> Array:
    """Return natural parameters in the coordinates of a family, given those in which all components share one frame.

    Raises
    ------
    ValueError
        If the family has frames for another number of components.
    """
    if family.frames is None:
        return natural
    if len(family.frames) != len(natural):
        raise ValueError(
            f"parameters of {len(natural)} components are given to {family!r}, which has coordinates of its own for "
            f"{len(family.frames)}: take Mixture.of(family, weights, ...), which finds others"
        )
    return translate(shared(family), natural, family)


def kinds(family: ExponentialFamily, n_components: int) -> list:
    """Return the families of the components, each with the numbers of those that belong to it."""
    if isinstance(family, OfComponents):
        return [(part.family, part.of) for part in family._parts(n_components)]
    return [(family, np.arange(n_components))]


def place(family: ExponentialFamily, n_components: int, parts: Sequence[Array]) -> Array:
    """Return natural parameters (K, p) from those of the components of each kind."""
    return family._join(n_components, parts) if isinstance(family, OfComponents) else parts[0]


def in_order_of(family: ExponentialFamily, other: Any) -> ExponentialFamily:
    """Return a family with its components in the order that those of another one of its kind have."""
    return family.replace(of_component=other.of_component) if isinstance(family, OfComponents) else family


def same_order(one: ExponentialFamily, other: ExponentialFamily) -> bool:
    """Whether the components of two families of one kind belong to the same families."""
    if not (isinstance(one, OfComponents) and isinstance(other, OfComponents)):
        return True
    return np.array_equal(_period(one.of_component), _period(other.of_component))


def _period(of_component: Integers) -> Integers:
    """Return which families the components of one mixture belong to, given those of several alike."""
    of, K = of_component, len(of_component)
    return next(of[:n] for n in range(1, K + 1) if K % n == 0 and np.array_equal(np.resize(of[:n], K), of))
