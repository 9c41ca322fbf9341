"""What is known of the components of single rows before a fit: labels, allowed components, prior probabilities."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.rows.caller import warn_caller
from expfam_em.rows.memory import ArrayRows, not_in_memory
from expfam_em.rows.protocol import is_rows
from expfam_em.rows.typing import Array, Block, Floats, Integers, Mask

UNKNOWN = -1
"""Label of a row of which no component is known."""

ROWS_KNOWN = "The components of some rows were given."
"""What the status of a fit says, so that nobody takes it for one of rows alone."""


class Given(NamedTuple):
    """What a caller says of the components of rows; none of it by default.

    Attributes
    ----------
    y : (n,) int, optional
        Component of each row; −1 where it is unknown.
    allowed : (n, K) bool, optional
        Components that each row may belong to.
    log_prior : (n, K), optional
        Added to the scores; −∞ for a component that the row cannot belong to.
    """

    y: Any = None
    allowed: ArrayLike | None = None
    log_prior: ArrayLike | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in self)

    def take(self, order: Integers) -> Given:
        """Return what is said of rows in another order."""
        return Given(*(None if value is None else np.asarray(value)[order] for value in self))


class Known(NamedTuple):
    """What is known of the rows of a fit.

    Attributes
    ----------
    allowed : (n, K) bool, or None
        Components that each row may belong to; None if all.
    log_prior : (n, K) float64, or None
        Finite numbers that are added to the scores.
    """

    allowed: Mask | None = None
    log_prior: Floats | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in self)


def check_given(given: Given, labelled: bool, was_known: bool) -> None:
    """Raise a ValueError unless what is said of rows is of the kind that a model was fitted with.

    Parameters
    ----------
    given : Given
    labelled : bool
        Whether a fit of the model heeds y.
    was_known : bool
        Whether the fit was given something.
    """
    if was_known and not given:
        raise ValueError(
            "the model was fitted with labels, allowed components or prior probabilities of rows, which X does not "
            "tell: give y, allowed and log_prior as in the fit"
        )
    if given and not was_known:
        raise ValueError(
            "the model was fitted to rows of which nothing else was known, so its parameters are not at the maximum of "
            "the likelihood with y, allowed or log_prior: leave these out, or fit with them"
        )
    if (given.y is not None) != labelled:
        raise ValueError(
            f"labelled is {labelled}, and y is {'not ' * (given.y is None)}given: give it if, and only if, the fit "
            "heeded it"
        )


def saying_known(fitted: dict[str, Any], known: bool) -> dict[str, Any]:
    """Return fitted attributes whose status says that the components of some rows were given, if they were."""
    return fitted | {"status_": f"{fitted['status_']} {ROWS_KNOWN}"} if known else fitted


def known_of(given: Given, rows: Any, n_components: int, weight: Array | None) -> Known:
    """Return what is known of rows, (n, d) in memory; of others nothing can be. See `known_rows`."""
    if not given:
        return Known()
    if is_rows(rows) and not isinstance(rows, ArrayRows):
        raise not_in_memory("what is known of the components of rows (y, allowed, log_prior)")
    return known_rows(given, n_components, len(rows), weight)


def known_rows(given: Given, n_components: int, n: int, weight: Array | None) -> Known:
    """Return what is known of rows.

    Parameters
    ----------
    given : Given
    n_components, n : int
    weight : (n,), optional
        Of the rows; what is known of a row of weight 0 does not count.

    Raises
    ------
    ValueError
        If shapes or values make no sense, a row is left without a component, or a component without rows.
    """
    y, allowed, log_prior = given
    masks: list[Mask] = []
    prior = None
    if y is not None:
        masks.append(allowed_by(checked_labels(y, n, n_components), n_components))
    if allowed is not None:
        mask = _by_component("allowed", allowed, n, n_components)
        if mask.dtype != np.bool_:
            raise ValueError(f"allowed has dtype {mask.dtype}; it must be bool: True where a row may be of a component")
        masks.append(mask)
    if log_prior is not None:
        prior = _by_component("log_prior", log_prior, n, n_components).astype(np.float64)
        if (odd := np.isnan(prior) | (prior == np.inf)).any():
            row, k = np.argwhere(odd)[0]
            raise ValueError(
                f"log_prior of row {row} and component {k} is {prior[row, k]}; it must be the logarithm of a prior "
                "probability: a finite number, or −∞ where the row cannot belong to the component"
            )
        masks.append(prior > -np.inf)
        prior[np.isneginf(prior)] = 0.0
    return Known(_agreed(masks, weight), prior)


def _agreed(masks: list[Mask], weight: Array | None) -> Mask | None:
    """Return which components are allowed by all masks, (n, K); None if all are."""
    if not masks:
        return None
    found = np.logical_and.reduce(masks)
    if weight is not None:
        found |= (weight == 0)[:, None]  # such a row is absent
    if (nowhere := ~found.any(axis=1)).any():
        row = int(np.argmax(nowhere))
        what = "has no component that it may belong to"
        if len(masks) > 1:
            what = "has no component that y, allowed and log_prior all let it belong to"
        raise ValueError(f"row {row} {what}: allow one, or leave the row out")
    present = found if weight is None else found[weight > 0]
    if (nobody := ~present.any(axis=0)).any():
        raise ValueError(
            f"no row may belong to component {int(np.argmax(nobody))}: fit fewer components, or leave the component of "
            f"some rows open, with label {UNKNOWN}"
        )
    return None if found.all() else found


def allowed_by(labels: Integers, n_components: int) -> Mask:
    """Return which components rows may belong to by their labels, (n, K)."""
    found: Mask = (labels[:, None] == np.arange(n_components)) | (labels[:, None] == UNKNOWN)
    return found


def checked_labels(y: Any, n: int, n_components: int) -> Integers:
    """Return labels once they are whole numbers, those of components or −1, (n,)."""
    found = np.asarray(y)
    if found.shape != (n,):
        raise ValueError(f"y has shape {found.shape}; it must be ({n},), the component of each row")
    if found.dtype.kind not in "iuf" or not np.all(found == np.floor(found)):
        raise ValueError(
            f"y has dtype {found.dtype}; labels must be whole numbers, 0 to {n_components - 1}, and {UNKNOWN} where "
            "the component is unknown. sklearn.preprocessing.LabelEncoder makes numbers of names"
        )
    if (odd := (found < UNKNOWN) | (found >= n_components)).any():
        row = int(np.argmax(odd))
        raise ValueError(
            f"y of row {row} is {found[row]}; labels must be 0 to {n_components - 1}, the numbers of the components, "
            f"or {UNKNOWN} where the component is unknown"
        )
    return found.astype(np.int64)


def _by_component(name: str, value: ArrayLike, n: int, n_components: int) -> Block:
    found = np.asarray(value)
    if found.shape != (n, n_components):
        raise ValueError(f"{name} has shape {found.shape}; it must be ({n}, {n_components}), rows by components")
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {found.dtype}; it must hold numbers")
    return found


def warn_if_labels(y: object, n_components: int) -> None:
    """Warn if a y that is ignored looks like labels of which some are unknown."""
    found = np.asarray(y)
    if found.ndim != 1 or found.dtype.kind not in "if" or not len(found) or not (found == UNKNOWN).any():
        return
    known = found[found != UNKNOWN]
    if len(known) and np.isin(known, np.arange(n_components)).all():
        warn_caller(
            f"y is ignored, although it looks like labels with {UNKNOWN} for unknown ones: labelled=True of the "
            "estimator takes it as the components of the rows",
            UserWarning,
        )
