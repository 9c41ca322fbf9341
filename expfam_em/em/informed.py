"""Starts that agree with what is known of single rows: which components they may belong to, and how probably."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax

from expfam_em.estep.plan import Pass, n_statistics, single_pass
from expfam_em.estep.reduce import GivenStep
from expfam_em.estep.scores import Outputs, Scores
from expfam_em.family import checked
from expfam_em.family.optional import components, kinds
from expfam_em.rows.memory import ArrayRows
from expfam_em.rows.protocol import Chunk


class Certain(NamedTuple):
    """Rows that can belong to one component only, as sums.

    Attributes
    ----------
    exposures : (D, K)
        Σ weight · e of the rows of each data set that belong to each component; 0 where there are none.
    sums : (D, K, p)
        Σ weight · T.
    """

    exposures: np.ndarray
    sums: np.ndarray


def certain_rows(family: Any, rows: Any, of: np.ndarray) -> Certain | None:
    """Return the rows that are known to belong to each of some components; None if nothing is known of rows.

    Parameters
    ----------
    family : ExponentialFamily
        Of these components, bound to the rows.
    rows : Rows
    of : (m,) int
        The numbers of the components.
    """
    if allowed_groups(rows) is None:
        return None
    # without a table, which may be that of another family
    rows = ArrayRows(rows.X, rows.sample_weight, rows.n_jobs, np.diff(rows.starts), groups=rows.groups)
    D, m, p, kernel = rows.n_data, len(of), n_statistics(family, rows), single_pass(family, rows)

    def responsibilities(chunk: Chunk) -> np.ndarray:
        allowed = chunk.groups.allowed_of_rows()
        return np.ascontiguousarray(allowed[:, of] * (allowed.sum(axis=1, keepdims=True) == 1), np.float64)

    step = GivenStep(kernel, Scores.none(D, m, p, family), [responsibilities], D)
    _, counts, sums, _, exposures = rows.reduce(step, kernel.work(m, p))
    return Certain(exposures if exposures.any() else counts, sums)


def allowed_groups(rows: Any) -> np.ndarray | None:
    """Return the components that each group of rows may belong to, (G, K) bool; None if nothing is known of them."""
    return getattr(getattr(rows, "groups", None), "allowed", None)


def is_known(rows: Any) -> bool:
    """Whether something is known of the components of rows."""
    return getattr(rows, "offset", None) is not None or allowed_groups(rows) is not None


def check_known(family: Any, rows: Any) -> None:
    """Raise a ValueError if all components that a row may belong to are of families that cannot produce it."""
    allowed = allowed_groups(rows)
    if allowed is None or len(parts := kinds(family, allowed.shape[1])) == 1:
        return
    X, may_be = np.asarray(rows.X), allowed[rows.groups.of_row]
    possible = np.zeros(len(X), bool) if rows.sample_weight is None else rows.sample_weight == 0
    for kind, of in parts:
        possible |= may_be[:, of].any(axis=1) & checked.supports(kind, X)
    if not possible.all():
        row = int(np.argmin(possible))
        raise ValueError(
            f"row {rows.groups.order[row]} may only belong to component(s) "
            f"{', '.join(map(str, np.flatnonzero(may_be[row])))}, which are of families that cannot produce it: allow "
            "others, or leave the row out"
        )


def as_known(given: Callable[[Chunk], np.ndarray], rows: Any) -> Callable[[Chunk], np.ndarray]:
    """Return a function like ``given``, of responsibilities (m, K) of a chunk, that agrees with what is known."""
    return functools.partial(_known_chunk, given) if is_known(rows) else given


def _known_chunk(given: Callable[[Chunk], np.ndarray], chunk: Chunk) -> np.ndarray:
    R, q = given(chunk), _before(chunk.offset, None if chunk.groups is None else chunk.groups.allowed_of_rows())
    both = R * q
    total = both.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(np.where(total > 0, both / np.where(total > 0, total, 1.0), q))


def _before(offset: Any, allowed: Any) -> np.ndarray:
    """Return the probabilities of components before rows are seen, (m, K), up to the mixing weights."""
    log_q: Any = np.zeros(allowed.shape) if offset is None else offset
    return softmax(log_q if allowed is None else np.where(allowed, log_q, -np.inf), axis=1)


def _of_rows(rows: Any) -> np.ndarray:
    """Return the probabilities of components before rows are seen, times row weights, (n, K)."""
    allowed = allowed_groups(rows)
    q = _before(rows.offset, None if allowed is None else allowed[rows.groups.of_row])
    return q if rows.sample_weight is None else q * rows.sample_weight[:, None]


def _places(agreement: np.ndarray, lots: list[np.ndarray]) -> np.ndarray:
    """Return which component each drawn one (K,) becomes, so that Σ agreement is largest within some lots of them."""
    place = np.arange(len(agreement))
    for lot in lots:
        drawn, into = linear_sum_assignment(agreement[np.ix_(lot, lot)], maximize=True)
        place[lot[drawn]] = lot[into]
    return place


def labels_in_known_order(family: Any, rows: Any, labels: np.ndarray, n_components: int) -> np.ndarray:
    """Return labels (n,) of clusters, numbered so that they agree best with what is known of rows."""
    if not is_known(rows):
        return labels
    lots = [of for _, of in kinds(family, n_components)]
    return _places(np.eye(n_components)[labels].T @ _of_rows(rows), lots)[labels]


def in_known_order(pass_: Any, natural: np.ndarray) -> np.ndarray:
    """Return drawn components (B, K, p) in the order that agrees best with what is known of rows.

    Components of which rows are certain stay where they are, for they start at these rows. The others change places
    so that Σ weight · r_nj · q_nk is as large as it can be, with r under the drawn components j and q_nk the
    probability of component k before the row is seen.
    """
    rows, K, family = pass_.rows, natural.shape[1], pass_.family
    if not is_known(rows):
        return natural
    groups, allowed = rows.groups, allowed_groups(rows)
    certain = np.zeros(K, bool) if allowed is None else allowed[allowed.sum(axis=1) == 1].any(axis=0)
    lots = [of[~certain[of]] for _, of in kinds(family, K)]
    if max(map(len, lots)) < 2:
        return natural
    groups = None if groups is None or groups.present is None else replace(groups, allowed=None)
    plain, q, found = ArrayRows(rows.X, None, rows.n_jobs, groups=groups), _of_rows(rows), natural.copy()
    kernel, out = single_pass(family, plain), Outputs(responsibilities=np.empty((len(rows), K)))
    for eta, into in zip(natural, found, strict=True):
        partition = checked.log_partition(family, eta)
        scores = Scores(eta[None], partition[None], np.zeros((1, K)), components(family, np.arange(K)))
        Pass(family, plain, kernel, np.zeros(1)).write(scores, out)
        into[_places(out.responsibilities.T @ q, lots)] = eta
    return found


def of_first(rows: Any, n_components: int) -> Any:
    """Return rows of which only what concerns the first components is known."""
    if not is_known(rows):
        return rows
    groups, offset, K = rows.groups, rows.offset, n_components
    if allowed_groups(rows) is not None:
        allowed = groups.allowed[:, :K]
        groups = replace(groups, allowed=allowed | ~allowed.any(axis=1, keepdims=True))
    offset = None if offset is None else offset[:, :K]
    return ArrayRows(rows.X, rows.sample_weight, rows.n_jobs, np.diff(rows.starts), offset=offset, groups=groups)


def some_rows(rows: Any, most: int) -> Any:
    """Return some thousand rows of one data set, in groups or with offsets, with the weights they stand for.

    They lie at equal distances in each group; a small group has more of its rows than its share.
    """
    n = len(rows)
    if n <= most:
        return rows
    of = np.zeros(n, np.int64) if rows.groups is None else rows.groups.of_row
    sizes = np.bincount(of)
    quota = np.minimum(sizes, np.maximum(-(-most * sizes // n), most // (4 * len(sizes))))[of]
    rank = np.arange(n) - np.searchsorted(of, of)
    kept = np.flatnonzero(rank * quota // sizes[of] != (rank - 1) * quota // sizes[of])
    weight = (sizes[of] / quota)[kept] * (1.0 if rows.sample_weight is None else rows.sample_weight[kept])
    offset = None if rows.offset is None else rows.offset[kept]
    groups = None if rows.groups is None else rows.groups.take(kept)
    return ArrayRows(rows.X[kept], weight, rows.n_jobs, offset=offset, groups=groups)


def keeps_values(some: Any, rows: Any, fewest: int) -> bool:
    """Whether some of the rows have ``fewest`` observed values of each column, or all that there are."""
    left, before = _n_observed(some), _n_observed(rows)
    return bool(np.all(left >= np.minimum(fewest, before)))


def _n_observed(rows: Any) -> np.ndarray:
    """Return how many values of each column are observed in rows that carry weight, (d,)."""
    of_row, present = rows.groups.of_row, rows.groups.present
    of_row = of_row if rows.sample_weight is None else of_row[rows.sample_weight > 0]
    return np.bincount(of_row, minlength=len(present)) @ present
