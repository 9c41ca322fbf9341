"""Standard errors from fits to drawn data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone

from expfam_em.analysis.uncertainty import StandardErrors, flattened
from expfam_em.em.known import Given
from expfam_em.estimators.base import BaseMixture
from expfam_em.estimators.generic import ExponentialFamilyMixture
from expfam_em.estimators.many import fits_or_none
from expfam_em.estimators.shell import generator, refuse_rows
from expfam_em.family import checked
from expfam_em.family.entries import entries_of
from expfam_em.family.optional import shared
from expfam_em.rows.csr import CSRBlock, has_missing
from expfam_em.rows.groups import with_gaps
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Observations, RandomState
from expfam_em.values.mixture import Mixture
from expfam_em.values.order import match

Draws = Literal["nonparametric", "parametric", "weighted"]

ENTRIES_AT_ONCE = 1 << 24
"""Entries of the data sets that are fitted together."""


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap(StandardErrors):
    """Standard errors from fits to drawn data sets, and these fits.

    Attributes
    ----------
    estimates, factor, left_out, distance, missing, entries
        See `StandardErrors`.
    replicates : (B, P)
        The estimates of each fit, with its components in the order of those of the model.
    """

    replicates: Array = None  # type: ignore[assignment]

    def intervals(self, level: float = 0.95) -> dict[str, tuple[Array, Array]]:
        """Return the quantiles of the replicates between which a share ``level`` of them lies, by name.

        Parameters
        ----------
        level : float in (0, 1)

        Raises
        ------
        ValueError
            If the level is no such share.
        """
        super().intervals(level)
        low, high = np.quantile(self.replicates, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        low, high = self._shaped(low), self._shaped(high)
        return {name: (low[name], high[name]) for name in low}


@undisturbed
def bootstrap(
    model: BaseMixture, X: Observations, sample_weight: ArrayLike | None = None, *, n_replicates: int = 200,
    draws: Draws = "nonparametric", random_state: RandomState = None, y: object = None,
    allowed: ArrayLike | None = None, log_prior: ArrayLike | None = None,
) -> Bootstrap:  # fmt: skip
    """Fit a mixture again to many drawn data sets, from the fitted one, and return how its parameters vary.

    Parameters
    ----------
    model : GaussianMixture, BernoulliMixture or ExponentialFamilyMixture
        Fitted; it is not changed.
    X : (n, d)
        The rows of the fit.
    sample_weight : (n,), optional
        Those of the fit: how often rows occur.
    n_replicates : int ≥ 2
        Data sets to draw.
    draws : {"nonparametric", "parametric", "weighted"}
        "nonparametric": rows of X with replacement (Efron 1979). "parametric": rows of the fitted mixture. "weighted":
        X with random weights, of a Dirichlet distribution, so that no row is without weight (the weighted likelihood
        bootstrap of Newton and Raftery 1994).
    random_state : int, RandomState, Generator, optional
        What the data sets are drawn with; a number makes the result repeatable.
    y, allowed, log_prior : optional
        What is known of the components of the rows, where the mixture was fitted with it. It goes with the drawn rows,
        which are then fitted one data set after another.

    Returns
    -------
    Bootstrap
        Standard errors as `standard_errors` gives them, with intervals from quantiles.

    Raises
    ------
    ValueError
        If parametric draws would not be seen as the rows of X are: these have missing values or sizes of their own, or
        the family is `Censored` or `Exposed`. If more than half of the fits fail, or an argument is out of range.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> X = np.random.default_rng(0).normal(size=(400, 1)) + np.repeat([-4.0, 4.0], 200)[:, None]
    >>> found = ef.bootstrap(ef.GaussianMixture(2, random_state=0).fit(X), X, random_state=0)
    >>> found["means"].round(2).tolist()
    [[0.07], [0.07]]
    """
    if draws not in get_args(Draws):
        raise ValueError(f"draws is {draws!r}; it must be one of {', '.join(map(repr, get_args(Draws)))}")
    if not isinstance(model, BaseMixture):
        raise TypeError(f"model is {model!r}; it must be a fitted mixture, such as GaussianMixture(2).fit(X)")
    if n_replicates < 2:
        raise ValueError(f"n_replicates is {n_replicates!r}; at least 2 are needed for a standard error")
    refuse_rows(X, "bootstrap")
    given = Given(y, allowed, log_prior)
    if given and draws == "parametric":
        raise ValueError("nothing is known of the components of drawn rows: take draws='nonparametric' or 'weighted'")
    mixture, fitted_to, _ = model._fitted_to(X, sample_weight, None, given)
    rows: Any = fitted_to  # in memory, as an estimator's are
    given = given if rows.groups is None else given.take(rows.groups.order)
    rng, weight = generator(random_state), rows.sample_weight
    weight = np.ones(len(rows)) if weight is None else weight
    block = with_gaps(rows)
    drawn = _drawn(mixture, block, weight, draws, rng)
    X = block.matrix if isinstance(block, CSRBlock) else block
    found: list[Mixture] = []
    at_once = max(1, int(ENTRIES_AT_ONCE // (len(weight) * rows.n_features)))
    for first in range(0, n_replicates, at_once):
        sets = [drawn(X) for _ in range(min(at_once, n_replicates - first))]
        lots: Any = None if sets[0][1] is None else [lot for _, lot in sets]
        fits = fits_or_none(_template(model), [one for one, _ in sets], lots, given)
        found += [one.mixture_ for one in fits if one is not None]
    estimates = {"weights": mixture.weights, **mixture.parameters}
    entries = entries_of(mixture.family, mixture.parameters, model._columns(), mixture.n_components)
    shapes = {name: np.shape(value) for name, value in estimates.items()}
    # what is known of rows names components by number
    numbers = _numbers(found if given else [one.components(match(one, mixture)) for one in found], shapes)
    return _summarised(estimates, numbers, n_replicates, entries)


def _drawn(
    mixture: Mixture, X: Any, weight: Array, draws: Draws, rng: np.random.Generator
) -> Callable[[Any], tuple[Any, Array | None]]:
    """Return a function of X that returns the rows and the weights of a data set."""
    total = weight.sum()
    if draws == "weighted":

        def dirichlet(X: Any) -> tuple[Any, Array]:
            raw = rng.standard_gamma(weight)
            return X, raw * (total / raw.sum())

        return dirichlet
    n = round(float(total))
    if draws == "nonparametric":
        return lambda X: (X, rng.multinomial(n, weight / total).astype(np.float64))
    check_drawn_alike(mixture, X, "take draws='nonparametric' or 'weighted'")
    return lambda X: (mixture.sample(n, rng)[0], None)


def check_drawn_alike(mixture: Mixture, X: Any, instead: str) -> None:
    """Raise a ValueError unless rows drawn from a mixture are seen as its rows X are.

    Parameters
    ----------
    mixture : Mixture
        The mixture, as in ``model.mixture_``.
    X : (n, d) array or CSRBlock
        Rows.
    instead : str
        What to do instead, the end of the sentence.
    """
    family = mixture.family
    if checked.exposure(family, X) is not None:
        raise ValueError(f"rows of {family!r} have sizes of their own, which drawn rows would not have: {instead}")
    if not family.samples_alike:
        raise ValueError(f"rows of {family!r} are seen in another way than drawn rows would be: {instead}")
    if has_missing(X):
        raise ValueError(f"X has missing values, NaN, and drawn rows would have none: {instead}")


def _template(model: BaseMixture) -> BaseMixture:
    """Return an estimator like the model that starts where it has ended."""
    template: BaseMixture = clone(model).set_params(init=model.mixture_, n_init=1, warm_start=False, verbose=0)
    given = template.get_params(deep=False)
    if "family" not in given and model.noise is None:
        return template
    family = shared(model.mixture_.family)  # with the constants that all rows together have, noise and constraints
    if "family" not in given:
        template = ExponentialFamilyMixture(family)
    weights = {name: value for name, value in (model.fixed or {}).items() if name == "weights"}
    held = {"fixed": weights or None, "tied": (), "bounds": None, "noise": None}
    of_family = template.get_params(deep=False)
    known = {name: value for name, value in given.items() if name in of_family}
    return template.set_params(**known | held | {"family": family, "n_components": model._n_all})


def _numbers(found: list[Mixture], shapes: dict[str, tuple[int, ...]]) -> Array:
    """Return the estimates of fits, (B, P); without those of other shapes."""
    out = []
    for there in found:
        named = {"weights": there.weights, **there.parameters}
        if {name: np.shape(value) for name, value in named.items()} == shapes:
            out.append(flattened(named))
    return np.array(out)


def _summarised(estimates: dict[str, Array], numbers: Array, n_replicates: int, entries: dict[str, Any]) -> Bootstrap:
    failed = n_replicates - len(numbers)
    if len(numbers) < max(2, n_replicates / 2):
        raise ValueError(
            f"{failed} of {n_replicates} drawn data sets could not be fitted: too few rows for so many components, or "
            "parameters that draws='weighted' would keep from an edge"
        )
    left_out = (f"{failed} of {n_replicates} drawn data sets could not be fitted.",) if failed else ()
    with np.errstate(invalid="ignore"):
        deviations = numbers - numbers.mean(axis=0)
    named = {name: np.asarray(value, np.float64) for name, value in estimates.items()}
    factor = deviations.T / np.sqrt(len(numbers) - 1)
    return Bootstrap(named, factor, left_out, entries=entries, replicates=numbers)
