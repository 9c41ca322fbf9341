"""A mixture, or a stack of mixtures, as a frozen value."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.estep.scores import Scores
from expfam_em.family import checked
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.optional import Framed, components, frames_of, shared, stacked, translate
from expfam_em.family.registry import family_of
from expfam_em.rows.columns import check_table
from expfam_em.rows.csr import CSRBlock, observations
from expfam_em.rows.protocol import Chunk, is_rows
from expfam_em.rows.threads import cached_property, undisturbed
from expfam_em.rows.typing import Array, Block, Integers, Observations, Seed
from expfam_em.values import conditionals, missing
from expfam_em.values.evaluate import Evaluated, evaluate, teller_of_few

ROUNDED_WEIGHTS = 1e-6
"""By how much weights that were written down, or kept as float32, may miss 1 in their sum."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """p(x) = Σ_k π_k p(x|η_k).

    Parameters
    ----------
    family : ExponentialFamily
        Of all components.
    weights : (K,)
        Mixing weights, non-negative, summing to 1.
    natural : (K, p)
        Natural parameters, each with a finite log-partition.

    A component whose numbers say that it would lose digits gets coordinates of its own: ``natural`` and ``family`` are
    then in these, which `parameters`, densities and samples are not. `components` takes some of the components.

    A leading axis makes a stack of B mixtures of one family, for the driver: weights (B, K), natural (B, K, p).
    ``stack[b]`` is one of them.

    Raises
    ------
    ValueError
        If the shapes disagree, the weights are no distribution, or A(η_k) is not finite.
    """

    family: ExponentialFamily
    weights: Array
    natural: Array

    if TYPE_CHECKING:  # any array-like is taken; the fields are arrays once constructed

        def __init__(self, family: ExponentialFamily | str, weights: ArrayLike, natural: ArrayLike) -> None: ...

    def __post_init__(self) -> None:
        weights, natural = np.array(self.weights, np.float64), np.array(self.natural, np.float64, ndmin=2, order="C")
        if weights.ndim not in (1, 2) or natural.shape[:-1] != weights.shape:
            raise ValueError(
                f"weights have shape {weights.shape} and natural {natural.shape}: they must be (K,) and (K, p)"
            )
        if not (np.all(weights >= 0) and np.all(abs(weights.sum(axis=-1) - 1) <= 1e-8)):
            raise ValueError(
                f"mixing weights must be non-negative and sum to 1, not {weights} (sum {weights.sum():.9g})"
            )
        object.__setattr__(self, "family", family_of(self.family))
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "natural", natural)
        if not np.isfinite(self.log_partition).all():
            k = int(np.argmin(np.isfinite(self.log_partition)))
            raise ValueError(
                f"component {k % self.n_components} is outside the natural-parameter space of {self.family!r}: "
                f"log_partition({self.flat_natural[k]}) is {self.log_partition.ravel()[k]}"
            )
        weights.flags.writeable = natural.flags.writeable = False
        better = self  # a stack is for the driver, which does this itself
        if weights.ndim == 1 and frames_of(self.family) is None:
            better = self.reframed()
        if better is not self:
            vars(self).clear()  # also of what was derived in the frame before, such as the expectation
            vars(self).update(vars(better))

    @classmethod
    @undisturbed
    def of(cls, family: ExponentialFamily | str, weights: ArrayLike, **parameters: ArrayLike) -> Mixture:
        """Return a mixture from named parameters, as `parameters` gives them.

        Parameters
        ----------
        family : ExponentialFamily, or the name of one
        weights : (K,)
            Mixing weights.
        **parameters : (K, ...)
            Those of the family, such as ``means=…, covariances=…``; see `ExponentialFamily.from_parameters`.

        Raises
        ------
        ValueError, TypeError
            If a name or a shape is wrong, a value is impossible, or the weights are no distribution.
        NotImplementedError
            If the family is not made from named parameters.

        Examples
        --------
        >>> import expfam_em as ef
        >>> waves = ef.Mixture.of(ef.families.Poisson(), [0.25, 0.75], rates=[[1.0], [6.0]])
        >>> waves.parameters["rates"].round(12).tolist()
        [[1.0], [6.0]]
        """
        weights = np.asarray(weights, np.float64)
        if abs((total := weights.sum()) - 1) <= ROUNDED_WEIGHTS:
            weights = weights / total
        family = shared(family_of(family))  # coordinates that components of another mixture have suit these no better
        natural = checked.told(family, "from_parameters", **parameters)
        axes = {"K": np.size(weights), "p": None}
        return cls(family, weights, checked.answer(family, "from_parameters", natural, axes))

    @classmethod
    def stack(cls, mixtures: Sequence[Mixture]) -> Mixture:
        """Return mixtures of one family as a stack."""
        weights, natural = [m.weights for m in mixtures], [m.natural for m in mixtures]
        family = stacked([m.family for m in mixtures], mixtures[0].n_components)
        return cls(family, np.stack(weights), np.stack(natural))

    def __getitem__(self, index: Any) -> Mixture:
        """Return one mixture of a stack, or several as a stack."""
        of = np.arange(self.weights.size).reshape(self.weights.shape)[index]
        derived = {name: vars(self)[name][index] for name in ("log_partition", "log_weights") if name in vars(self)}
        family = components(self.family, of.ravel())
        return Mixture.unchecked(family, self.weights[index], self.natural[index], **derived)

    @classmethod
    def unchecked(cls, family: ExponentialFamily, weights: Array, natural: Array, **derived: Array) -> Mixture:
        """Return a mixture, or a stack, made of what needs no checks, and what is already known of it."""
        mixture, natural = object.__new__(cls), np.ascontiguousarray(natural)
        vars(mixture).update(family=family, weights=weights, natural=natural, **derived)
        weights.flags.writeable = natural.flags.writeable = False
        for array in derived.values():
            array.flags.writeable = False
        return mixture

    def _with_components(self, family: ExponentialFamily, natural: Array) -> Mixture | None:
        """Return a mixture with these weights and other components (B·K, p); None if one of them is not finite."""
        log_partition = checked.log_partition(family, natural).reshape(self.weights.shape)
        if not np.isfinite(log_partition).all():
            return None
        shaped = natural.reshape(self.natural.shape)
        return Mixture.unchecked(family, self.weights, shaped, log_partition=log_partition)

    def __getstate__(self) -> dict[str, Any]:
        return {"family": self.family, "weights": self.weights, "natural": self.natural}  # not what is derived

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.weights.flags.writeable = self.natural.flags.writeable = False

    @property
    def n_components(self) -> int:
        """K."""
        return self.weights.shape[-1]

    @property
    def flat_natural(self) -> Array:
        """Natural parameters of the components of all mixtures of the stack, (B·K, p)."""
        return self.natural.reshape(self.weights.size, self.natural.shape[-1])

    @cached_property
    def log_partition(self) -> Array:
        """A(η_k), (K,)."""
        return _kept(checked.log_partition(self.family, self.flat_natural).reshape(self.weights.shape))

    @cached_property
    @undisturbed
    def expectation(self) -> Array:
        """∇A(η_k), (K, p)."""
        return _kept(checked.to_expectation(self.family, self.flat_natural).reshape(self.natural.shape))

    @cached_property
    @undisturbed
    def log_weights(self) -> Array:
        """log π_k, −∞ for a weight of 0, (K,)."""
        with np.errstate(divide="ignore"):
            return _kept(np.log(self.weights))

    @property
    @undisturbed
    def parameters(self) -> dict[str, Array]:
        """The named parameters of the components."""
        return checked.parameters(self.family, self.natural)

    @property
    @undisturbed
    def edges(self) -> dict[str, tuple[int, ...]]:
        """Components at an edge of the parameter space, by the names that the family has for edges; none is left out.

        Such as {"at variance_floor": (0, 2)}: a floor under variances, or the limit of a shape.
        """
        with np.errstate(all="ignore"):
            found = self.family.edges(self.flat_natural)
        return {name: tuple(np.flatnonzero(which).tolist()) for name, which in found.items() if np.any(which)}

    @property
    @undisturbed
    def n_parameters(self) -> int:
        """Free parameters: those of the components and K − 1 mixing weights."""
        of_components = checked.n_parameters(self.family, self.n_components)
        free = self.natural.size if of_components is None else of_components
        return free - self.family._n_removed(self.natural) + self.n_components - 1

    @undisturbed
    def components(self, index: ArrayLike) -> Mixture:
        """Return the mixture of some components, in the order of an index array, with their weights rescaled."""
        index = np.atleast_1d(index)
        weights, family = self.weights[index], components(self.family, index)
        is_order = np.array_equal(np.sort(index), np.arange(self.n_components))
        if not is_order or any(constraint.tells_components for constraint in family._constraints()):
            family = family._under(None)  # the constraint is one of other components
        return Mixture(family, weights / weights.sum(), self.natural[index])

    @undisturbed
    def in_family(self, family: ExponentialFamily) -> Mixture:
        """Return the same mixture in the coordinates of a family, which is its own in others.

        Raises
        ------
        ValueError
            If a component is outside the natural-parameter space there.
        """
        if family is self.family:
            return self
        natural = translate(self.family, self.flat_natural, family)
        moved = self._with_components(family, natural)
        if moved is None:
            k = int(np.argmin(np.isfinite(checked.log_partition(family, natural))))
            raise ValueError(f"component {k} is outside the natural-parameter space of {family!r}")
        return moved

    @undisturbed
    def in_family_if_finite(self, family: ExponentialFamily) -> Mixture | None:
        """Return the same, or None if rounding takes a component out of the natural-parameter space."""
        with np.errstate(all="ignore"):
            natural = translate(self.family, self.flat_natural, family)
        return self._with_components(family, natural)

    @undisturbed
    def reframed(self, expectation: Array | None = None) -> Mixture:
        """Return the same mixture with its components in the frames that suit them best.

        ``expectation`` is used instead of this mixture's if something close to it is known already.
        """
        if not isinstance(self.family, Framed):
            return self
        if expectation is None:
            expectation = self.expectation
        elif not (finite := np.isfinite(expectation)).all():  # components without rows
            expectation = np.where(finite.all(axis=-1, keepdims=True), expectation, self.expectation)
        with np.errstate(all="ignore"):
            found = self.family.choose_frames(self.flat_natural, expectation.reshape(self.flat_natural.shape))
        if found is None:
            return self
        frames, natural = found
        return self._with_components(self.family.with_frames(frames), natural) or self

    # ---- observations ---------------------------------------------------------------------------------------

    @property
    def scores(self) -> Scores:
        """What the E-step takes of the mixture, or of a stack."""
        stack = (-1, self.n_components)
        return Scores(
            self.natural.reshape(*stack, self.natural.shape[-1]), self.log_partition.reshape(stack),
            self.log_weights.reshape(stack), self.family,
        )  # fmt: skip

    @cached_property
    def _prepared(self) -> dict[tuple[int, float | str], Any]:
        """What was prepared for complete rows, by the number of their columns and by what it is for.

        `evaluate` keeps what fills outputs at a temperature, and `_told_of_few` what tells of labels and so on.
        """
        return {}

    def _told_of_few(self, X: Block, what: str) -> Array | None:
        """Return one field of `Evaluated` for few complete rows; None if more has to be done than the kernel does.

        Errors are left to who is asked then: a row that is impossible gives None, too.
        """
        key = X.shape[1], what
        if key not in self._prepared:
            self._prepared[key] = teller_of_few(self.family, self.scores, *key)
        if (tell := self._prepared[key]) is None:
            return None
        try:
            checked.check_rows(self.family, X)
            [(_, told)] = tell(Chunk(X, None, 0)).chunks
        except ValueError:
            return None
        return told[Evaluated._fields.index(what)]

    @undisturbed
    def log_density(self, X: Observations | CSRBlock) -> Array:
        """Return log p(x) of each row, (n,)."""
        return self._evaluated(X, log_density=True).log_density

    @undisturbed
    def responsibilities(self, X: Observations | CSRBlock, temperature: float = 1.0) -> Array:
        """Return r_nk = p(k|x_n), or softmax(scores/τ) at another temperature τ ≥ 0, (n, K)."""
        return self._evaluated(X, responsibilities=True, temperature=temperature).responsibilities

    def _evaluated(self, X: Observations | CSRBlock, **wanted: Any) -> Evaluated:
        given: Any = X if is_rows(X) else observations(X)
        if not is_rows(X) and not len(given):
            return Evaluated(np.empty(0), np.empty((0, self.n_components)), np.empty(0, np.int64))
        return evaluate(self.family, self.scores, given, kept=self._prepared, **wanted)

    @undisturbed
    def sample(self, n: SupportsIndex, rng: Seed = None) -> tuple[Block, Integers]:
        """Return n rows, component by component, and the labels they were drawn with.

        A number that is drawn beyond the range of float64 becomes the nearest one in it.
        """
        rng = np.random.default_rng(rng)
        sizes = rng.multinomial(operator.index(n), self.weights / self.weights.sum())
        rows: list[Block] = []
        for k in np.flatnonzero(sizes) if sizes.any() else [0]:  # of none, for the number of columns
            d = rows[0].shape[1] if rows else None
            rows.append(checked.sample(components(self.family, [k]), self.natural[k], sizes[k], rng, d))
        return np.concatenate(rows), np.repeat(np.arange(self.n_components), sizes)

    # ---- parts of an observation ----------------------------------------------------------------------------

    @undisturbed
    def marginal(self, columns: ArrayLike) -> Mixture:
        """Return the mixture of the chosen columns alone, p(x_columns)."""
        columns = _indices(columns)
        if self.weights.ndim != 1:
            raise ValueError(f"this is a stack of {len(self.weights)} mixtures; take one of them, as in stack[0]")
        try:
            of_family = checked.some_columns(self.family, "marginal", self.natural, columns)
        except IndexError as error:
            raise ValueError(f"columns are {columns.tolist()}, counted from 0; rows do not have as many") from error
        return Mixture(*_with_weights(self.weights, of_family))

    @undisturbed
    def conditional(self, columns: ArrayLike, values: ArrayLike) -> Mixture:
        """Return the mixture of the other columns given the values of these, p(x_rest | x_columns = values)."""
        columns, values = _indices(columns), np.atleast_1d(np.asarray(values, np.float64))
        if values.shape != columns.shape:
            raise ValueError(f"{columns.size} columns are given {values.size} values: one value for each is needed")
        *_, [weights] = self._given(columns, values[None])
        rest = checked.some_columns(self.family, "conditional", self.natural, columns, values)
        return Mixture(*_with_weights(weights / weights.sum(), rest))

    @undisturbed
    def conditional_mean(self, columns: ArrayLike, values: ArrayLike) -> Array:
        """Return E[x_rest | x_columns = values] for each row of values.

        Parameters
        ----------
        columns : (g,) int or bool
        values : (n, g)

        Returns
        -------
        mean : (n, d − g)
            Of the other columns, in their order. The mean of a label is that of its number.

        Raises
        ------
        ValueError
            If a row is not finite, impossible, or of density 0.
        NotImplementedError
            If the family has no conditionals, or no formula for E[x].

        Examples
        --------
        >>> import expfam_em as ef
        >>> line = ef.Mixture.of(ef.families.Gaussian(), [1.0], means=[[0, 1]], covariances=[[[4, 2], [2, 2]]])
        >>> line.conditional_mean([0], [[0.0], [2.0]]).round(12).tolist()
        [[1.0], [2.0]]
        """
        columns, values, _, r = self._given(columns, values)
        blocks = conditionals.of_blocks(self.family, self.natural, columns, values)
        return np.concatenate([conditionals.mean(found, r[at], values[at]) for at, found in blocks])

    @undisturbed
    def conditional_log_density(self, columns: ArrayLike, values: ArrayLike, rest: ArrayLike) -> Array:
        """Return log p(x_rest | x_columns = values) for each row, (n,).

        Parameters
        ----------
        columns : (g,) int or bool
        values : (n, g)
        rest : (n, d − g)
            The other columns, in their order.

        Raises
        ------
        ValueError
            If a row is not finite, impossible, or of density 0 in the given columns.
        NotImplementedError
            If the family has no conditionals.
        """
        columns, values, marginal, _ = self._given(columns, values)
        rest = np.atleast_2d(np.asarray(rest, np.float64))
        if rest.ndim != 2 or len(rest) != len(values):
            raise ValueError(f"rest has shape {rest.shape}; it must be ({len(values)}, d − {len(columns)})")
        out = np.empty(len(values))
        with np.errstate(all="ignore"):  # a component may be impossible
            for at, found in conditionals.of_blocks(self.family, self.natural, columns, values):
                of_rest = Mixture(found.family, self.weights, found.natural)  # in the coordinates that suit it best
                if checked.n_statistics(of_rest.family, rest.shape[1]) != of_rest.natural.shape[1]:
                    raise ValueError(f"rest has {rest.shape[1]} columns; it must have those that are not in columns")
                _check_finite("rest", rest[at], of_rest.family, at.start)
                log_weights = self.log_weights + marginal.family.log_density(values[at], marginal.natural)
                found = found._replace(family=of_rest.family, natural=of_rest.natural)
                out[at] = conditionals.log_density(found, log_weights, values[at], rest[at])
        return out

    @undisturbed
    def complete(self, columns: ArrayLike, values: ArrayLike, rng: Seed = None) -> Array:
        """Return rows (n, d) that have these values (n, g) in some columns, and elsewhere draws from their conditional.

        Parameters
        ----------
        columns : (g,) int or bool
        values : (n, g)
        rng : numpy Generator or seed
        """
        rng, (columns, values, _, r) = np.random.default_rng(rng), self._given(columns, values)
        blocks = conditionals.of_blocks(self.family, self.natural, columns, values)
        drawn = np.concatenate([conditionals.draw(found, r[at], values[at], rng) for at, found in blocks])
        out = np.empty((len(values), len(columns) + drawn.shape[1]))
        out[:, columns] = values
        out[:, np.setdiff1d(np.arange(out.shape[1]), columns)] = drawn
        return out

    @undisturbed
    def impute(self, X: ArrayLike, method: Literal["mean", "draw"] = "mean", rng: Seed = None) -> Array:
        """Return rows (n, d) in which each missing value, NaN, is filled in given the values that are there.

        Parameters
        ----------
        X : (n, d)
        method : {"mean", "draw"}
            The mean of what is missing, or a draw of it. The mean of a label is that of its number.
        rng : numpy Generator or seed
            For draws.

        Raises
        ------
        ValueError
            If a row is impossible, or of density 0.
        NotImplementedError
            If the family has no conditionals, or no formula for E[x].

        Examples
        --------
        >>> import expfam_em as ef
        >>> line = ef.Mixture.of(ef.families.Gaussian(), [1.0], means=[[0, 1]], covariances=[[[4, 2], [2, 2]]])
        >>> line.impute([[2.0, float("nan")], [0.0, 3.0]]).round(12).tolist()
        [[2.0, 2.0], [0.0, 3.0]]
        """
        if method not in missing.FILLED:
            raise ValueError(f"method is {method!r}; it must be 'mean' or 'draw'")
        return missing.FILLED[method](self, _with_gaps(X), np.random.default_rng(rng))

    @undisturbed
    def sample_missing(self, X: ArrayLike, n: SupportsIndex = 1, rng: Seed = None) -> Array:
        """Return n times the rows, (n, rows, d), with draws of what is missing, NaN, given what is there.

        They are the data sets of multiple imputation at these parameters.
        """
        return missing.draws(self, _with_gaps(X), operator.index(n), np.random.default_rng(rng))

    @undisturbed
    def _given(self, columns: ArrayLike, values: ArrayLike) -> tuple[Integers, Array, Mixture, Array]:
        """Return columns and values (n, g), checked, the mixture of these columns, and its responsibilities (n, K)."""
        check_table(values)
        columns, values = _indices(columns), np.atleast_2d(np.asarray(values, np.float64))
        if values.ndim != 2 or values.shape[1] != len(columns) or not len(values):
            raise ValueError(
                f"values have shape {values.shape}; they must be (n, {len(columns)}), a row with a value for each of "
                "the columns"
            )
        marginal = self.marginal(columns)
        _check_finite("values", values, marginal.family)
        found = marginal._evaluated(values, responsibilities=True, log_density=True)
        if not (fine := np.isfinite(found.log_density)).all():
            row = int(np.argmin(fine))
            raise ValueError(
                f"row {row} of values, {values[row].tolist()}, has density 0 under every component: nothing can be "
                "said of the other columns given it"
            )
        return columns, values, marginal, found.responsibilities


def _with_gaps(X: ArrayLike) -> Array:
    rows = np.asarray(X, np.float64)
    if rows.ndim != 2:
        raise ValueError(f"X has shape {rows.shape}; it must be (n, d), one row for each observation")
    return rows


def _kept(array: Array) -> Array:
    """Return a new array, or a new view of one, that cannot be written to."""
    array.flags.writeable = False
    return array


def _indices(columns: ArrayLike) -> Integers:
    columns = np.atleast_1d(columns)
    if columns.dtype == np.bool_:
        columns = np.flatnonzero(columns)
    if not len(columns) or not np.issubdtype(columns.dtype, np.integer):
        raise ValueError(f"columns are {columns.tolist()}; at least one whole number, or a boolean mask, is needed")
    if len(np.unique(columns)) < len(columns) or np.any(columns < 0):
        raise ValueError(f"columns are {columns.tolist()}; they must be different and counted from 0")
    return columns


def _check_finite(name: str, rows: Array, family: ExponentialFamily, first: int = 0) -> None:
    """Raise a ValueError for the first row that is not finite, or impossible under a family."""
    checked.check_rows(family, rows)
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0].tolist()
        raise ValueError(f"{name} has {rows[row, column]} in row {first + row}, column {column}: it must be finite")


def _with_weights(weights: Array, part: tuple[ExponentialFamily, Array]) -> tuple[ExponentialFamily, Array, Array]:
    family, natural = part
    return family, weights, natural


def mixture_of(model: Any) -> Mixture:
    """Return a mixture, or that of a fitted estimator.

    Raises
    ------
    TypeError
        If it is neither.
    """
    found = model if isinstance(model, Mixture) else getattr(model, "mixture_", None)
    if not isinstance(found, Mixture):
        raise TypeError(
            f"mixture is of type {type(model).__name__}; it must be a Mixture, or a fitted estimator of one"
        )
    return found


def mixture_and_rows(model: Any, X: Any) -> tuple[Mixture, Any]:
    """Return a mixture and rows as they are, or that of a fitted estimator and the rows as its fit took them."""
    X = model._as_fitted(X) if hasattr(model, "_as_fitted") else X
    return mixture_of(model), X
