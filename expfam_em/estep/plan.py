"""Which pass serves a family over some rows, and what it keeps from one E-step to the next."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from expfam_em.estep.bits import CODE_STACK_ENTRIES, CODE_TABLE_ENTRIES, Bits, coded
from expfam_em.estep.dense import Dense, check_width, table_of
from expfam_em.estep.found import found_form
from expfam_em.estep.grouped import Grouped, refilled
from expfam_em.estep.incomplete import IncompletePass
from expfam_em.estep.look import Later, LookedRows
from expfam_em.estep.masked import Masked
from expfam_em.estep.reduce import ByRow, EStep, OfData, as_given, log_base_chunk, write_chunk
from expfam_em.estep.scores import Kernel, Outputs, Scores, Sums, cancels, check_temperature
from expfam_em.estep.sparse import Sparse
from expfam_em.family import checked
from expfam_em.family.kernel_form import form_of, needs_table, table
from expfam_em.family.optional import frames_of, is_incomplete, shared
from expfam_em.family.support import ImpossibleRowError
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.grid import ENTRY_WORK
from expfam_em.rows.memory import ArrayRows
from expfam_em.rows.protocol import Chunk, Rows

TABLE_ENTRIES = 1 << 25
"""Entries of T, 256 MB, that are kept for the length of a fit where the kernel cannot make them itself."""

MOST_CODED = CODE_STACK_ENTRIES // CODE_TABLE_ENTRIES
"""Groups of rows up to which a table of codes is made for each."""


@dataclass(frozen=True)
class Pass:
    """A family over rows: tables that do not depend on the parameters, and the kernel that computes the rest.

    Attributes
    ----------
    family : ExponentialFamily
        In the coordinates that all components share.
    rows : Rows
        With the tables that the kernel takes.
    kernel : Dense, Sparse, Bits, IncompletePass, Masked or Grouped
    log_base : (D,), or Later
        Σ sample_weight · log h over each data set.
    totals : (D, p), or Later, optional
        Σ sample_weight · T over each data set, where all components have some statistics in common.
    """

    family: Any
    rows: Rows
    kernel: Kernel
    log_base: np.ndarray | Later
    totals: np.ndarray | Later | None = None

    memory: ClassVar[None] = None
    """What it remembers of earlier E-steps: nothing."""

    def sums(self, scores: Scores, temperature=1.0, data_set=None) -> Sums:
        """Return counts, sums and bounds, with log h, of every mixture of a stack.

        Parameters
        ----------
        scores : Scores
        temperature : float ≥ 0
        data_set : (B,) int, optional
            Data set of each mixture; the first by default.
        """
        self.check_width(scores)
        check_temperature(temperature, single=True)
        B = len(scores.natural)
        data_set = np.zeros(B, np.int64) if data_set is None else np.asarray(data_set)
        kernel = self.kernel
        if kernel.n_common and frames_of(scores.family) is not None:
            kernel = replace(kernel, n_common=0)  # components have nothing in common in coordinates of their own
        at_a_time = kernel.most_mixtures(scores)
        lots = [np.arange(first, min(first + at_a_time, B)) for first in range(0, B, at_a_time)]
        found = [self._reduced(kernel, scores.of(lot), temperature, data_set[lot]) for lot in lots]
        parts = zip(*found, strict=True)
        _, counts, sums, bounds, exposures = (part[0] if len(part) == 1 else np.concatenate(part) for part in parts)
        if kernel.n_common:
            sums, bounds = self._with_common(kernel, scores, counts, sums, bounds, data_set)
        if not exposures.any():
            exposures = counts
        if not cancels(self.family, scores):
            log_base = self.log_base.value.values if isinstance(self.log_base, Later) else self.log_base
            bounds = bounds + log_base[data_set]
        return Sums(np.arange(B), counts, sums, bounds, exposures)

    def check_width(self, scores: Scores) -> None:
        """Raise a ValueError unless the rows have the statistics that a mixture has natural parameters for."""
        d, kernel = self.rows.n_features, self.kernel
        kernel = getattr(kernel, "inner", kernel)
        if isinstance(kernel, Dense):
            if (p := kernel.n_statistics) is not None:
                check_width(p, scores, d, self.family)
        elif not isinstance(kernel, IncompletePass):
            check_width(d, scores, d, self.family)

    def _reduced(self, kernel, scores, temperature, data_set) -> Sums:
        _, K, p = scores.natural.shape
        work = kernel.work(K, p)
        rows, threads = self.rows, 1
        if isinstance(rows, ArrayRows) and rows.n_jobs > 1 and rows.n_data == 1 and len(rows.tasks(work)) < rows.n_jobs:
            threads = rows.n_jobs
        found = self.rows.reduce(EStep(kernel, scores, temperature, data_set, threads), work)
        lot = kernel.shrunk(scores, found.counts) if isinstance(kernel, Dense) else ()
        if len(lot):
            step = EStep(replace(kernel, exact=True), scores.of(lot), temperature, data_set[lot], threads)
            for whole, part in zip(list(found)[1:], list(self.rows.reduce(step, work))[1:], strict=True):
                whole[lot] = part
        return found

    def _with_common(self, kernel, scores, counts, sums, bounds, data_set):
        """Return sums and bounds with the statistics that all components have in common."""
        totals: Any = self.totals.value.sums[:, 0] if isinstance(self.totals, Later) else self.totals
        first = scores.natural.shape[2] - kernel.n_common
        totals = totals[data_set, first:]
        common = kernel.form.share(counts, sums, totals)
        bounds = bounds + np.sum(scores.natural[:, 0, first:] * totals, axis=1)
        return np.concatenate([sums, common], axis=2), bounds

    def write(self, scores: Scores, out: Outputs, temperature=1.0, far=False) -> None:
        """Fill outputs by row, under the mixture of its data set for each row; without log h, rows in memory only.

        Where ``far`` rows may come, those that no component can be like are no error.
        """
        write(self.rows, self.by_row(scores, temperature), out, far)

    def by_row(self, scores: Scores, temperature=1.0) -> ByRow:
        """Return what fills outputs by row, prepared for any rows of as many columns that the kernel serves."""
        self.check_width(scores)
        check_temperature(temperature, single=True)
        return ByRow(self.kernel, scores, temperature)


def write(rows: Rows, by_row: ByRow, out: Outputs, far=False) -> None:
    """Fill outputs by row; see `Pass.write`."""
    fill = by_row.fill if far else by_row.fill_checked
    try:
        rows.reduce(functools.partial(write_chunk, fill, out), by_row.work)
    except ImpossibleRowError as error:
        raise as_given(error, rows) from None


def n_statistics(family, rows: Rows) -> int:
    """Return the number of statistics p of the rows."""
    if isinstance(rows, ArrayRows):  # a row that there is, which no family can refuse
        return checked.statistics(family, rows.X[:1])[0].shape[1]
    return checked.n_statistics(family, rows.n_features, rows.dtype)


def plan(family, rows: Rows, n_components=1, *, once=False) -> Pass:
    """Return the pass of a family over rows.

    Parameters
    ----------
    family : ExponentialFamily
        Bound to the rows.
    rows : Rows
    n_components : int
    once : bool
        Whether there will be a single E-step: what pays for many of them, tables, codes of bits and sums that never
        change, is then not made.
    """
    family, kernel = shared(family), single_pass(family, rows)
    if isinstance(kernel, Grouped):
        rows = refilled(family, rows)
    if once:
        return Pass(family, rows, kernel, total_log_base(family, rows))
    if isinstance(kernel, Dense):
        kernel = kernel.sparing(n_components, rows)
    totals, inner = None, getattr(kernel, "inner", kernel)
    if isinstance(inner, Sparse):
        if checked.exposure(family, CSRBlock.empty(rows.n_features, rows.dtype)) is not None:
            rows = rows.derive(functools.partial(with_exposure, family), ENTRY_WORK * rows.n_features)
    elif isinstance(inner, Dense):
        whole, n_groups = not isinstance(kernel, Grouped), len(kernel.allowed) if isinstance(kernel, Masked) else 1
        if whole and inner.form is None:
            form, picked = found_form(family, rows)
            inner = replace(inner, form=form, picked=picked)
        codes = whole and n_groups <= MOST_CODED
        if codes and (with_bits := coded(rows, inner.form, n_components)) is not None:
            rows, inner = with_bits, Bits(family)
        elif needs_table(inner.form) and isinstance(rows, ArrayRows):
            rows = with_table(family, inner.form, rows)
        if whole:
            kernel = replace(kernel, inner=inner) if isinstance(kernel, Masked) else inner
    complete = isinstance(inner, Dense) and not isinstance(kernel, Grouped)
    if complete and inner.form is not None and (n_common := inner.form.n_common):
        totals, kernel = totals_of(inner, rows, n_statistics(family, rows)), replace(kernel, n_common=n_common)
    return Pass(family, rows, kernel, total_log_base(family, rows), totals)


def single_pass(family, rows: Rows):
    """Return the kernel of a family for rows as they are.

    Raises
    ------
    TypeError, ValueError
        If the rows are sparse and the family cannot take them.
    """
    family = shared(family)
    kernel = _pass_of_chunks(family, rows)
    if not isinstance(rows, ArrayRows) or rows.groups is None:
        return kernel
    if rows.groups.present is None:
        return Masked(family, inner=kernel, allowed=rows.groups.allowed)
    return Grouped(family, inner=kernel)


def _pass_of_chunks(family, rows: Rows):
    if rows.is_sparse:
        if isinstance(rows, ArrayRows):  # elsewhere, where log h of a chunk is asked for
            checked.check_sparse(family, rows.X)
        else:
            checked.refuse_sparse(family)
        return Sparse(family)
    if is_incomplete(family):
        return IncompletePass(family)
    return Dense(family, form=form_of(family, rows.n_features))


def with_exposure(family, chunk: Chunk) -> Chunk:
    """Return CSR rows with their exposures beside them, (m, 1)."""
    exposure = checked.exposure(family, chunk.X)
    return chunk._replace(table=exposure[:, None])  # type: ignore[index]


def with_table(family, form, rows: ArrayRows) -> ArrayRows:
    """Return rows with what the kernel takes instead of X beside them; as they are if that would be too large."""
    width = table(family, form, rows.X[:1]).shape[1]
    if len(rows) * width > TABLE_ENTRIES:
        return rows
    return rows.derive(functools.partial(table_chunk, family, form), 8 * width)


def table_chunk(family, form, chunk: Chunk) -> Chunk:
    """Return a chunk with its table."""
    T = table_of(family, form, chunk.X).astype(np.float64, copy=False)
    if form is None:
        checked.check_statistics(family, T, chunk.weight, chunk.first)
    return chunk._replace(table=T)


def totals_of(kernel, rows: Rows, p) -> np.ndarray | Later:
    """Return Σ sample_weight · T over each data set, (D, p): the sums of one component."""
    step = EStep(kernel, Scores.none(rows.n_data, 1, p), data_set=np.arange(rows.n_data))
    return rows.later(step, p) if isinstance(rows, LookedRows) else rows.reduce(step, p).sums[:, 0]


def total_log_base(family, rows: Rows) -> np.ndarray | Later:
    """Return Σ sample_weight · log h(x) over each data set, (D,)."""
    function, work = functools.partial(log_base_chunk, family), ENTRY_WORK * rows.n_features
    if isinstance(rows, LookedRows):
        return rows.later(function, work)
    try:
        found: OfData = rows.reduce(function, work)
    except ImpossibleRowError as error:
        raise as_given(error, rows) from None
    return found.values
