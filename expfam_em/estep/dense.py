"""One pass of the kernel over rows: from a mixture, or a stack of them, to what the kernel is given as data."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from expfam_em.family import sparse
from expfam_em.family.kernel_form import Monomials, OwnFrames
from expfam_em.family.optional import Incomplete, components, is_incomplete
from expfam_em.kernels import block_rows, em_rows, padded
from expfam_em.kernels.sparse import BLOCK, em_sparse
from expfam_em.rows.csr import CSRBlock

STATISTICS_BLOCK = 1 << 16
"""Numbers of T evaluated in NumPy at a time: half a megabyte stays in the L2 cache."""

KERNEL_DTYPES = (np.float64, np.float32, np.uint8, np.bool_)


class Outputs(NamedTuple):
    """What a pass fills; an array of length 0 is left out.

    Attributes
    ----------
    counts, sums, bounds : (slots, K), (slots, K, p), (slots,)
        Added to. The bounds leave out log h.
    exposures : (slots, K)
        Added to; left alone where every exposure is 1.
    responsibilities, evidence, labels : (n, K), (n,), (n,)
        Written to.
    """

    counts: np.ndarray = np.empty((0, 0))
    sums: np.ndarray = np.empty((0, 0, 0))
    bounds: np.ndarray = np.empty(0)
    exposures: np.ndarray = np.empty((0, 0))
    responsibilities: np.ndarray = np.empty((0, 0))
    evidence: np.ndarray = np.empty(0)
    labels: np.ndarray = np.empty(0, np.int64)

    @classmethod
    def of_sums(cls, slots, n_components, n_statistics, by_statistic=False, **by_row) -> Outputs:
        """Return zeros for the sums of some slots; ``by_statistic`` lays them out as (p, K), as for CSR rows."""
        counts = np.zeros((slots, n_components))
        if by_statistic:
            sums = np.zeros((slots, n_statistics, n_components)).transpose(0, 2, 1)
        else:
            sums = np.zeros((slots, n_components, n_statistics))
        return cls(counts, sums, np.zeros(slots), np.zeros_like(counts), **by_row)


class Scores(NamedTuple):
    """What the scores of a stack are made of: s_k = ⟨η_k, T(x)⟩ − e(x) A(η_k) + log π_k.

    Attributes
    ----------
    natural : (B, K, p)
    log_partition, log_weights : (B, K)
    """

    natural: np.ndarray
    log_partition: np.ndarray
    log_weights: np.ndarray

    @classmethod
    def of(cls, mixture, by_statistic=False) -> Scores:
        """Take them from a mixture or a stack; ``by_statistic`` lays η out as (p, K), as it is used with CSR rows."""
        stack = (-1, *mixture.weights.shape[-1:])
        natural = mixture.natural.reshape(*stack, mixture.natural.shape[-1])
        if by_statistic:
            natural = np.ascontiguousarray(natural.transpose(0, 2, 1)).transpose(0, 2, 1)
        return cls(natural, mixture.log_partition.reshape(stack), mixture.log_weights.reshape(stack))

    @property
    def offset(self) -> np.ndarray:
        """log π_k − A(η_k), relative to the largest π: equal weights round nothing, equal distances stay equal."""
        return (self.log_weights - self.level[:, None]) - self.log_partition

    @property
    def level(self) -> np.ndarray:
        """Largest log π of each mixture."""
        return self.log_weights.max(axis=1)

    def with_exposure(self) -> Scores:
        """Return the exposure as one more statistic, −e, whose natural parameter is A."""
        natural = np.concatenate([self.natural, self.log_partition[:, :, None]], axis=2)
        return Scores(natural, np.zeros_like(self.log_partition), self.log_weights)

    def without(self, n_common) -> Scores:
        """Return the scores less what all components have in common."""
        natural = np.ascontiguousarray(self.natural[:, :, : self.natural.shape[2] - n_common])
        return self._replace(natural=natural)


def prepare(family, scores, X, sample_weight=None, temperature=1.0, *, given=False, n_common=0, table=None):
    """Return ``run(items, out)``, which runs the kernel over ranges of rows of X and fills the outputs.

    Parameters
    ----------
    family : ExponentialFamily
    scores : Scores
    X : (n, d) array or CSRBlock
    sample_weight : (n,), optional
    temperature : float ≥ 0
    given : bool
        Whether the responsibilities are given and only the sums wanted.
    n_common : int
        Statistics at the end to leave out, because all components have the same natural parameters for them.
    table : (n, c), optional
        What `family.evaluate` returns for X, or, for CSR rows, their exposures (n,), if known already.

    Returns
    -------
    run : callable
        Of items (m, 4) int64: start, stop, mixture of the stack, slot of the outputs; and of Outputs.
    """
    weight, temperature = np.empty(0) if sample_weight is None else sample_weight, float(temperature)
    if isinstance(X, CSRBlock):
        if family.keeps_zeros is None:
            sparse.check_keeps_zeros(family, X)
        else:
            sparse.refuse_unless_zeros_are_kept(family)
        _check_width(X.shape[1], scores, X, family)
        exposure = family.checked_exposure(X) if table is None else table
        return lambda items, out: _run_csr(X, exposure, scores, out, weight, temperature, items, given)
    if is_incomplete(family):
        return lambda items, out: _run_incomplete(family, scores, X, out, weight, temperature, items, given)
    monomials = family.monomials(X.shape[1])
    if monomials is not None:
        _check_width(monomials.n_statistics, scores, X, family)
        if n_common:
            scores, monomials = scores.without(n_common), monomials.without(n_common)
    if not family.evaluates(X.shape[1]):
        return _prepared(X, monomials, scores, weight, temperature, given)

    def prepared(table, weight):
        if monomials is not None:
            return _prepared(table, monomials, scores, weight, temperature, given)
        exposed = table.shape[1] == scores.natural.shape[2] + 1
        _check_width(table.shape[1] - exposed, scores, X, family)
        identity = Monomials.identity(table.shape[1])
        if not exposed:
            return _prepared(table, identity, scores, weight, temperature, given)
        return _exposed(_prepared(table, identity, scores.with_exposure(), weight, temperature, given))

    if table is not None:
        return prepared(table, weight)

    def run(items, out):
        step = max(256, STATISTICS_BLOCK // max(scores.natural.shape[2], 1))
        for first in range(int(items[:, 0].min()), int(items[:, 1].max()), step):
            rows = slice(first, min(first + step, len(X)))
            by_row = {name: getattr(out, name)[rows] for name in ("responsibilities", "evidence", "labels")}
            prepared(family.evaluate(X[rows]), weight[rows])(_within(items, rows), out._replace(**by_row))

    return run


def _exposed(run):
    """Return the pass with the last statistic, −e, added to the exposures and not to the sums."""

    def wider(items, out):
        slots, K, p = out.sums.shape
        sums = np.zeros((slots, K, p + 1)) if out.sums.size else out.sums
        run(items, out._replace(sums=sums))
        if out.sums.size:
            np.add(out.sums, sums[:, :, :p], out=out.sums)
            np.subtract(out.exposures, sums[:, :, p], out=out.exposures)

    return wider


def _prepared(X, monomials, scores, weight, temperature, given):
    B, K, p = scores.natural.shape
    shift, inverse_scale, products, own = monomials
    if own is None:
        own = OwnFrames(np.empty(0, np.int64), np.empty((0, len(shift))), np.empty((0, 0, 0)))
        frame = np.full((B, K), -1)
    else:
        frame = np.ascontiguousarray(own.frame.reshape(B, K))
    most_own = int((frame >= 0).sum(axis=1).max())
    X = X if X.dtype in KERNEL_DTYPES else X.astype(np.float64)
    arguments = (
        shift, inverse_scale, products, frame, own.shift, own.whitener, padded(scores.natural), scores.offset,
        scores.level, weight, temperature, given, block_rows(p, K, most_own * X.shape[1]),
    )  # fmt: skip

    def run(items, out):
        by_row = out.responsibilities, out.evidence, out.labels
        em_rows(X, items, *arguments, out.counts, out.sums, out.bounds, *by_row)

    return run


def _run_csr(X, exposure, scores, out, weight, temperature, items, given):
    """Run the kernel for T(x) = x over CSR rows; the sums are laid out by statistic."""
    nothing = np.empty(0), np.empty((0, 0)), np.empty(0)
    partition = scores.log_partition
    if exposure is None:
        exposure, partition = np.empty(0), np.empty((len(partition), 0))
    else:
        scores = scores._replace(log_partition=np.zeros_like(partition))
    for start, stop, mixture, slot in items.tolist():
        totals = (out.counts[slot], out.sums[slot].T, out.exposures[slot]) if out.sums.size else nothing
        if given:
            counts, sums, exposures = totals
            R = out.responsibilities[start:stop] * (weight[start:stop, None] if len(weight) else 1.0)
            counts += R.sum(axis=0)
            sums += X[start:stop].matrix.T @ R
            if len(exposure):
                exposures += exposure[start:stop] @ R
            continue
        bound = em_sparse(
            X.data, X.indices, X.indptr, start, stop, np.ascontiguousarray(scores.natural[mixture].T), exposure,
            partition[mixture], scores.offset[mixture], scores.level[mixture], weight, temperature, BLOCK, *totals,
            out.responsibilities, out.evidence, out.labels,
        )  # fmt: skip
        if out.bounds.size:
            out.bounds[slot] += bound


def _run_incomplete(family: Incomplete, scores, X, out, weight, temperature, items, given):
    """Make the E-step of a family whose statistics depend on the component, in NumPy."""
    K, p = scores.natural.shape[1:]
    step = max(64, STATISTICS_BLOCK // (K + p))
    for start, stop, mixture, slot in items.tolist():
        here: Any = components(family, np.arange(mixture * K, (mixture + 1) * K))
        natural, log_weights = scores.natural[mixture], scores.log_weights[mixture]
        for first in range(start, stop, step):
            rows = slice(first, min(first + step, stop))
            if given:
                R, top = out.responsibilities[rows], np.zeros(rows.stop - first)
            else:
                R, top, labels = _assigned(here.log_density(X[rows], natural) + log_weights, temperature)
                for output, value in ((out.evidence, top), (out.responsibilities, R), (out.labels, labels)):
                    if output.size:
                        output[rows] = value
            if out.sums.size:
                present = slice(None)
                if len(weight):
                    present = weight[rows] > 0
                    R, top = R[present] * weight[rows][present, None], top[present] * weight[rows][present]
                part = X[rows][present]
                out.counts[slot] += R.sum(axis=0)
                out.sums[slot] += here.guess(part, R) if given else here.complete(part, natural, R)
                if out.bounds.size:
                    out.bounds[slot] += top.sum()


def _assigned(score, temperature):
    """Return the responsibilities (n, K), τ logsumexp(scores/τ) (n,) and the labels (n,)."""
    top, labels, of_label = score.max(axis=1), np.argmax(score, axis=1), np.eye(score.shape[1])
    if temperature == 0:
        return of_label[labels], top, labels
    with np.errstate(invalid="ignore"):
        R = np.exp((score - top[:, None]) / temperature)
    R[np.isinf(top)] = of_label[labels[np.isinf(top)]]  # every score is infinite
    total = R.sum(axis=1)
    return R / total[:, None], top + temperature * np.log(total), labels


def _within(items, rows):
    """Return the parts of ranges of rows that lie within a slice, counted from its start."""
    start, stop = np.maximum(items[:, 0], rows.start), np.minimum(items[:, 1], rows.stop)
    inside = np.column_stack([start - rows.start, stop - rows.start, items[:, 2:]])
    return np.ascontiguousarray(inside[start < stop])


def _check_width(n_statistics, scores, X, family):
    if n_statistics != scores.natural.shape[2]:
        raise ValueError(
            f"rows of {X.shape[1]} columns have {n_statistics} statistics under {family!r}; the mixture has natural "
            f"parameters for {scores.natural.shape[2]}: give rows of the columns it was made for"
        )
