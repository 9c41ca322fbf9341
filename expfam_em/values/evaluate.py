"""What a mixture says of single rows: densities, responsibilities, labels."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from expfam_em.estep.grouped import log_base, possible_row, refilled, with_groups
from expfam_em.estep.plan import Pass, single_pass, write
from expfam_em.estep.reduce import ByRow, Tell
from expfam_em.estep.scores import Outputs, Scores, cancels, check_temperature
from expfam_em.family.base import ExponentialFamily
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.grid import ENTRY_WORK
from expfam_em.rows.memory import ArrayRows, as_rows
from expfam_em.rows.protocol import Chunk, Rows, is_rows
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Integers, Observations


class Evaluated(NamedTuple):
    """What was asked for of each row; the rest has length 0.

    Attributes
    ----------
    log_density, responsibilities, labels : (n,), (n, K), (n,) int64
        log p(x) (at another temperature τ logsumexp(scores/τ) + log h), r_nk, and the component of highest score.
    """

    log_density: Array
    responsibilities: Array
    labels: Integers


@undisturbed
def evaluate(
    family: ExponentialFamily,
    scores: Scores,
    X: Observations | CSRBlock | Rows,
    *,
    temperature: float = 1.0,
    n_jobs: int | None = None,
    log_density: bool = False,
    responsibilities: bool = False,
    labels: bool = False,
    far: bool = False,
    kept: dict[tuple[int, float | str], Any] | None = None,
) -> Evaluated:
    """Return what is asked for of each row of X, an array, a sparse matrix or rows.

    A row in memory that no component can be like is an error, unless ``far`` rows may come: its log-density is then −∞
    and its responsibilities are NaN. What is prepared for complete rows of so many columns is ``kept`` for the next
    call with the same family and scores.
    """
    rows: Any = refilled(family, observed_rows(family, scores.natural[0], X, n_jobs))
    if not isinstance(rows, ArrayRows):
        tell = telling(family, scores, rows, temperature, (log_density, responsibilities, labels))
        return Evaluated(*rows.reduce(tell, tell.work).joined())
    n, K = len(rows), scores.natural.shape[1]
    out = Outputs(
        evidence=np.empty(n if log_density else 0),
        responsibilities=np.empty((n if responsibilities else 0, K)),
        labels=np.empty(n if labels else 0, np.int64),
    )
    if labels and not (log_density or responsibilities) and type(temperature) is float and temperature == 1.0:
        temperature = 0.0  # labels are the same at all temperatures, and at this one nobody needs exp
    write(rows, _prepared(family, scores, rows, temperature, kept), out, far)
    if log_density and not cancels(family, scores):
        rows.reduce(functools.partial(_add_log_base, family, out.evidence), ENTRY_WORK * rows.n_features)
    found = Evaluated(out.evidence, out.responsibilities, out.labels)
    if (groups := getattr(rows, "groups", None)) is None:
        return found
    return Evaluated(*map(groups.as_before, found))


def _prepared(
    family: ExponentialFamily, scores: Scores, rows: ArrayRows, temperature: float,
    kept: dict[tuple[int, float | str], Any] | None,
) -> ByRow:  # fmt: skip
    """Return what fills outputs by row, if possible the one that is kept."""
    alike = rows.groups is None and not rows.is_sparse and type(temperature) is float and temperature in (0.0, 1.0)
    if kept is None or not alike:
        return Pass(family, rows, single_pass(family, rows), np.zeros(1)).by_row(scores, temperature)
    if (key := (rows.n_features, temperature)) not in kept:
        kept[key] = _prepared(family, scores, rows, temperature, None)
    return kept[key]


def telling(
    family: ExponentialFamily, scores: Scores, rows: Rows, temperature: float, wanted: tuple[bool, bool, bool]
) -> Tell:
    """Return a function of chunks of rows, that tells log p, responsibilities and labels, or those that are wanted."""
    check_temperature(temperature, single=True)
    kernel = single_pass(family, rows)
    Pass(family, rows, kernel, np.zeros(1)).check_width(scores)
    return Tell(kernel, scores, temperature, wanted)


@undisturbed
def teller_of_few(family: ExponentialFamily, scores: Scores, n_features: int, what: str) -> Tell | None:
    """Return a function of chunks of complete dense rows that tells one field of `Evaluated`.

    It is for few rows: kernels do all of it, in one thread and without BLAS. None where code of a family is asked, or
    of somebody else's.
    """
    if not type(family).__module__.startswith("expfam_em.") or cancels(family, scores):
        return None
    rows = ArrayRows(np.empty((1, n_features)), None, 1)
    wanted: Any = tuple(what == name for name in Evaluated._fields)
    tell = telling(family, scores, rows, 0.0 if what == "labels" else 1.0, wanted)
    return tell if tell.kernel.takes_any_order else None


def observed_rows(family: ExponentialFamily, natural: Array, X: Any, n_jobs: int | None = None) -> Any:
    """Return X as rows, in groups by which values are missing, NaN, in them; rows in groups are returned as they are.

    What is missing is filled with what components with these parameters (K, p) may have.
    """
    rows = X if is_rows(X) else as_rows(X, None, n_jobs)
    return with_groups(family, rows, functools.partial(possible_row, family, natural))


def _add_log_base(family: ExponentialFamily, evidence: Array, chunk: Chunk) -> int:
    evidence[chunk.first : chunk.first + len(chunk.X)] += log_base(family, chunk)
    return 0
