"""What estimators ask of rows that are not in memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from expfam_em.analysis.criteria import Sharpness
from expfam_em.em.ranks import spread_chunk
from expfam_em.estep.look import LookedRows
from expfam_em.estep.reduce import Refusal, Tell, log_base_chunk, refusal_chunk
from expfam_em.family import checked
from expfam_em.family.binding import needs_blocks
from expfam_em.family.summaries import summary_chunk
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.grid import ENTRY_WORK
from expfam_em.rows.memory import not_in_memory
from expfam_em.rows.protocol import Chunk, is_rows
from expfam_em.rows.source import in_row_order
from expfam_em.rows.typing import Array

ROWS_READ = 1 << 15
"""Rows of a source that are taken at a time where they are read once."""


def in_dtype(rows: Any, dtypes: tuple[Any, ...]) -> Any:
    """Return rows in one of these dtypes, the first of them where theirs is another.

    Raises
    ------
    ValueError
        If they are no numbers.
    """
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"the rows have dtype {rows.dtype}; they must be numbers")
    return rows if rows.dtype in dtypes else rows.derive(functools.partial(_cast, dtypes[0]), rows.n_features)


def looked_at(rows: Any, family: Any, fitting: bool = False) -> Any:
    """Return rows that have been read once, so that it is known whether all are finite and possible under a family.

    For a fit, it is also known what the family has to know of all of them, and where they lie.

    Raises
    ------
    ValueError
        If an entry is NaN or infinite.
    """
    look = functools.partial(not_finite_chunk, getattr(rows, "columns", None))
    functions: list[Any] = [look] if rows.dtype.kind == "f" else []
    functions.append(functools.partial(refusal_chunk, family))
    to_bind = fitting and needs_blocks(family)  # which iterates over the rows themselves, where that is possible
    if fitting and not to_bind:
        asked = log_base_chunk if checked.is_default(family.summary) else summary_chunk
        functions += [functools.partial(asked, family), spread_chunk]
    found = LookedRows(rows, tuple(functions), ENTRY_WORK * rows.n_features)
    if isinstance(finite := found.known[0][1], Refusal) and finite.error is not None:
        raise finite.error
    return rows if to_bind else found


def read_once(rows: Any, size: int = ROWS_READ) -> Iterator[Chunk]:
    """Yield rows in order, so many at a time, once it is known that all of these are finite.

    Raises
    ------
    ValueError
        If an entry is NaN or infinite, or rows do not come in order, as on a cluster.
    """
    if not hasattr(rows, "chunks"):
        raise not_in_memory("partial_fit")
    for chunk in rows.chunks(size):
        refuse_not_finite(getattr(rows, "columns", None), chunk)
        yield in_row_order(chunk)


def refuse_not_finite(names: Any, chunk: Chunk) -> None:
    """Raise the error for the first entry of a chunk that is no finite number."""
    if (error := not_finite_chunk(names, chunk).error) is not None:
        raise error


def not_finite_chunk(names: Any, chunk: Chunk) -> Refusal:
    """Return the error for the first entry of a chunk that is no finite number."""
    X = chunk.X
    values = X.values if isinstance(X, CSRBlock) else X
    if (finite := np.isfinite(values)).all():
        return Refusal(np.inf, None)
    at = np.argwhere(~finite)[0]
    row, column = X.place(int(at[0])) if isinstance(X, CSRBlock) else map(int, at)
    row, value = chunk.first + row, values[tuple(at)]
    name = column if names is None else repr(str(names[column]))
    what = "is missing (NaN): rows with missing values must be in memory" if np.isnan(value) else f"is {value}"
    return Refusal(row, ValueError(f"column {name} of row {row} {what}; give finite numbers"))


def _cast(dtype: Any, chunk: Chunk) -> Chunk:
    X = chunk.X
    if isinstance(X, CSRBlock):  # of all entries that it shares with others, its own
        return chunk._replace(X=CSRBlock(X.values.astype(dtype), X.columns, X.indptr - X.indptr[0], X.shape[1]))
    return chunk._replace(X=X.astype(dtype))


def sharpness_chunk(tell: Tell, chunk: Chunk) -> Array:
    """Return the entropy and the classification term of a chunk, (2,); see `Sharpness`."""
    [(_, (_, responsibilities, _))] = tell(chunk).chunks
    return np.array(Sharpness.of(responsibilities, chunk.weight)[:2])


def weights_in(rows: Any, weight: Array | None) -> Array | None:
    """Return the weights of rows in memory, or those of others in sum, (1,)."""
    return rows.total_weights if is_rows(rows) else weight


def set_or_check_columns(estimator: Any, rows: Any, reset: bool) -> None:
    """Take number and names of the columns of a fit, or compare those of other rows with them.

    Raises
    ------
    ValueError
        If they are others.
    """
    d, names = rows.n_features, getattr(rows, "columns", None)
    if reset:
        estimator.n_features_in_ = d
        estimator.__dict__.pop("feature_names_in_", None)
        if names is not None:
            estimator.feature_names_in_ = np.array(list(names), object)
        return
    if d != estimator.n_features_in_:
        raise ValueError(
            f"X has {d} features, but {type(estimator).__name__} is expecting {estimator.n_features_in_} features as "
            "input"
        )
    fitted = getattr(estimator, "feature_names_in_", None)
    if names is not None and fitted is not None and list(names) != list(fitted):
        raise ValueError(f"the rows have the columns {list(names)}; the model was fitted to {list(fitted)}, in order")
