"""The pass over dense rows: T is made by the kernel, or taken from a table of what was evaluated in NumPy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from expfam_em.estep.found import Picked
from expfam_em.estep.incomplete import STATISTICS_BLOCK, IncompletePass
from expfam_em.estep.scores import Kernel, Outputs, Scores, cancels
from expfam_em.estep.screen import Screen, is_quadratic
from expfam_em.family import checked
from expfam_em.family.kernel_form import KernelForm, Monomials, OwnFrames, needs_table, table
from expfam_em.family.optional import kernel_frames
from expfam_em.kernels import NO_OFFSET, block_rows, em_few, em_rows, padded, rank_block, rank_rows, rows_of
from expfam_em.rows.protocol import Chunk, Rows

KERNEL_DTYPES = (np.float64, np.float32, np.uint8, np.bool_)

UNCOUNTED = -60 * float(np.log(2))
"""Logarithm of the share of its mixing weight below which a responsibility need not count.

All that is left out of a component is then below 2⁻⁶⁰ π_k W for rows of weight W: 2⁻⁵⁰ of its count, unless that is
below 2⁻¹⁰ π_k W. `Pass` then counts everything.
"""
SHRUNK = 2.0**-10
"""A count that is below this share of π_k W, for its E-step left out what might matter to it."""
SCREENED_COMPONENTS, SCREENED_STATISTICS = 7, 96
"""From so many components and statistics on it can pay to find out which components matter to a row."""
SCREENED_ROWS, SCREENED_ENTRIES = 20_000, 1e6
"""Rows, and entries of X, from which on the cost of that, a pass over some hundred rows, is lost in a pass."""


@dataclass(frozen=True)
class Dense(Kernel):
    """The pass of a family over dense rows.

    Attributes
    ----------
    form : KernelForm or None
        What the family says of its kernel, asked once, or what was found of its T.
    picked : Picked, optional
        What T is of the statistics that the kernel makes; these themselves by default.
    exact : bool
        Whether responsibilities count however small they are; see `UNCOUNTED`. Whoever says no looks at the counts.
    """

    form: KernelForm | None = None
    picked: Picked | None = None
    exact: bool = True

    @property
    def n_statistics(self) -> int | None:
        """Number of statistics p; None where only T itself tells."""
        if self.form is None:
            return None
        return self.form.monomials.n_statistics if self.picked is None else len(self.picked.at)

    @property
    def takes_any_order(self) -> bool:
        return self.form is not None and not needs_table(self.form)

    def sparing(self, n_components, rows: Rows) -> Dense:
        """Return the kernel that leaves out what does not count, where that may pay; as it is elsewhere."""
        if self.form is None or self.picked is not None or n_components < SCREENED_COMPONENTS:
            return self
        d, p = rows.n_features, self.form.monomials.n_statistics
        if p < SCREENED_STATISTICS or not is_quadratic(self.form.monomials):
            return self
        return replace(self, exact=bool(np.min(rows.total_weights) < max(SCREENED_ROWS, SCREENED_ENTRIES / d)))

    def screens(self, scores: Scores) -> bool:
        """Whether scores and responsibilities that do not count may be left out."""
        return not self.exact and scores.excess is None

    def shrunk(self, scores: Scores, counts) -> np.ndarray:
        """Return the mixtures of which a component counts so little that what was left out may matter to it."""
        if not self.screens(scores):
            return np.empty(0, np.int64)
        expected = np.exp(scores.log_weights) * counts.sum(axis=1, keepdims=True)
        return np.flatnonzero(np.any((counts < SHRUNK * expected) & (expected > 0), axis=1))

    def prepared(self, scores: Scores, temperature=1.0, given=False):
        if cancels(self.family, scores):
            return IncompletePass(self.family).prepared(scores, temperature, given)
        how = float(temperature), given
        if self.form is None:
            return _evaluated(self, _of_table(self.family, scores, how))
        monomials = self.form.monomials
        if self.n_common:
            scores, monomials = scores.without(self.n_common), monomials.without(self.n_common)
        of_kernel = scores if self.picked is None else self.picked.scores(scores)
        own = frames_of_kernel(monomials, of_kernel)
        fixed = _fixed(monomials, of_kernel, own)
        kernel = _kernel(fixed, own.frame, of_kernel, *how)
        if self.screens(scores) and not given:
            screen = Screen.of(monomials, scores, scores.log_weights + UNCOUNTED, own)
            kernel = _screened(screen, fixed, float(temperature), kernel)
        if self.picked is not None:
            kernel = self.picked.summed(kernel)
        if not needs_table(self.form):
            return lambda chunk, items, out: kernel(chunk.X, chunk.weight, chunk.offset, items, out)
        return _evaluated(self, kernel)


def check_width(n_statistics, scores, n_features, family) -> None:
    """Raise a ValueError unless a mixture has natural parameters for so many statistics."""
    if n_statistics != scores.natural.shape[2]:
        raise ValueError(
            f"rows of {n_features} columns have {n_statistics} statistics under {family!r}; the mixture has natural "
            f"parameters for {scores.natural.shape[2]}: give rows of the columns it was made for"
        )


def check_own(own: OwnFrames, n_components, n_features, family) -> None:
    """Raise a ValueError unless every component has a frame that is there, and is one for so many columns."""
    frame, shift, whitener = own
    d, F = n_features, len(shift)
    shapes = shift.shape == (F, d) and whitener.shape in ((F, d, d), (F, 1, d))
    if not (shapes and frame.shape == (n_components,) and np.all((frame >= -1) & (frame < F))):
        raise ValueError(
            f"coordinates of single components of {family!r} have shapes {frame.shape}, {shift.shape} and "
            f"{whitener.shape}; {n_components} components need frames of {d} columns that are there"
        )


def frames_of_kernel(monomials: Monomials, scores: Scores) -> OwnFrames:
    """Return the frames of single components as the kernel takes them, one place for each component of each mixture."""
    B, K, _ = scores.natural.shape
    d, own = len(monomials.shift), kernel_frames(scores.family)
    if own is None:
        return OwnFrames(np.full((B, K), -1), np.empty((0, d)), np.empty((0, 0, 0)))
    check_own(own, B * K, d, scores.family)
    return own._replace(frame=np.ascontiguousarray(own.frame.reshape(B, K)))


def _fixed(monomials: Monomials, scores: Scores, own: OwnFrames) -> tuple[np.ndarray, ...]:
    """Return what a kernel takes of a stack of mixtures: what does not depend on the rows."""
    frame, shift, whitener = own
    whitener = padded(whitener) if whitener.shape[1] > 1 else whitener
    return *monomials, frame, shift, whitener, padded(scores.natural), scores.offset, scores.level


def _kernel(fixed, frame: np.ndarray, scores: Scores, temperature, given):
    """Return ``run(X, weight, offset, items, out)``, from what `_fixed` returns."""
    _, K, p = scores.natural.shape
    n_own = (frame >= 0).sum(axis=1)
    sizes = set(n_own.tolist())
    nothing, group = np.empty(0), scores.groups

    def run(X, weight, offset, items, out):
        X = X if X.dtype in KERNEL_DTYPES else X.astype(np.float64)
        weight = nothing if weight is None else weight
        offset = NO_OFFSET if offset is None else np.ascontiguousarray(offset, np.float64)
        few = max(len(X), 1)  # room for more rows than there are would be cleared for nothing
        for many in sizes:  # each mixture in blocks of the size that it would have alone
            em_rows(
                X, items if len(sizes) == 1 else items[n_own[items[:, 2]] == many], *fixed, weight, temperature, given,
                min(block_rows(p, K, many * X.shape[1]), few), out.counts, out.sums, out.bounds, out.responsibilities,
                out.evidence, out.labels, row_offset=offset, group=group,
            )  # fmt: skip

    block = rank_block(p, K)
    return _ranked(fixed, block, run) if temperature == 0 and block and sizes == {0} and not given else run


def _ranked(fixed, block: int, kernel):
    """Return the pass at temperature 0 that finds labels and highest scores, where nothing else is wanted, faster."""
    shift, inverse_scale, products, *_, natural, offset, level = fixed

    def run(X, weight, row_offset, items, out):
        if out.sums.size or out.responsibilities.size or weight is not None or row_offset is not None:
            kernel(X, weight, row_offset, items, out)
            return
        X = X if X.dtype in KERNEL_DTYPES else X.astype(np.float64)
        rank_rows(
            rows_of(X), items, shift, inverse_scale, products, natural, offset, level, min(block, max(len(X), 1)),
            out.bounds, out.evidence, out.labels,
        )  # fmt: skip

    return run


def _screened(screen: Screen, fixed, temperature, kernel):
    """Return the pass that takes rows to which few components matter by themselves, as far as there are any."""
    promising = np.isfinite(screen.slack[:, 0])
    if not promising.any():
        return kernel

    def run(X, weight, offset, items, out):
        if offset is None and out.sums.size and X.dtype in KERNEL_DTYPES:
            some = promising[items[:, 2]]
            left = em_few(
                X, items[some], *fixed, np.empty(0) if weight is None else weight, temperature, screen, out.counts,
                out.sums, out.bounds,
            )  # fmt: skip
            items = np.concatenate([items[~some], left])
        if len(items):
            kernel(X, weight, offset, items, out)

    return run


def _of_table(family, scores: Scores, how):
    """Return ``run(T, weight, offset, items, out)`` for T, (n, p), or T and −e, (n, p + 1)."""
    p, kept = scores.natural.shape[2], {}

    def run(T, weight, offset, items, out):
        width = T.shape[1]
        if width not in kept:
            exposed = width == p + 1
            check_width(width - exposed, scores, "as many", family)
            monomials, of_kernel = Monomials.identity(width), scores.with_exposure() if exposed else scores
            own = frames_of_kernel(monomials, of_kernel._replace(family=None))
            kernel = _kernel(_fixed(monomials, of_kernel, own), own.frame, of_kernel, *how)
            kept[width] = _exposed(kernel) if exposed else kernel
        kept[width](T, weight, offset, items, out)

    return run


def _evaluated(dense: Dense, kernel):
    """Return the pass over a table beside the rows, or over what is evaluated of them."""

    def run(chunk: Chunk, items, out: Outputs):
        # for all of the chunk, so that sums are rounded as they are where T is kept
        T = chunk.table
        if T is None:
            T = table_of(dense.family, dense.form, chunk.X)
            if out.sums.size and dense.form is None:
                checked.check_statistics(dense.family, T, chunk.weight, chunk.first)
        kernel(T, chunk.weight, chunk.offset, items, out)

    return run


def table_of(family, form, X) -> np.ndarray:
    """Return what the kernel takes instead of X, evaluated some rows at a time and kept column after column."""
    head = table(family, form, X[:256])
    T = np.empty((head.shape[1], len(X)), head.dtype).T
    T[:256] = head
    step = max(256, STATISTICS_BLOCK // max(head.shape[1], 1))
    for first in range(256, len(X), step):
        part = table(family, form, X[first : first + step])
        if part.shape[1] != T.shape[1]:
            raise ValueError(
                f"{family!r} has {T.shape[1]} statistics for the first rows and {part.shape[1]} from row {first} of "
                "the same chunk on: every row must have as many"
            )
        T[first : first + step] = part
    return T


def _exposed(kernel):
    """Return the pass with the last statistic, −e, added to the exposures and not to the sums."""

    def wider(T, weight, offset, items, out):
        slots, K, p = out.sums.shape
        sums = np.zeros((slots, K, p + 1)) if out.sums.size else out.sums
        kernel(T, weight, offset, items, out._replace(sums=sums))
        if out.sums.size:
            np.add(out.sums, sums[:, :, :p], out=out.sums)
            np.subtract(out.exposures, sums[:, :, p], out=out.exposures)

    return wider
