"""Families made of other families, side by side: what of T, η and the frames belongs to which."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from expfam_em.family import checked
from expfam_em.family.kernel_form import Monomials, OwnFrames, form_of


class Layout(NamedTuple):
    """Where the columns and statistics of the parts are among those of the whole.

    The kernel wants all columns z first and their products behind, so the statistics of a part are not in one piece.

    Attributes
    ----------
    columns : list of (c,) int
        Columns of the kernel that belong to each part.
    statistics : list of (p,) int
        Statistics of each part.
    products : (q, 3) int64
        See `Monomials`.
    n_columns, n_statistics : int
    """

    columns: list
    statistics: list
    products: np.ndarray
    n_columns: int
    n_statistics: int

    @classmethod
    def of(cls, monomials, columns=None) -> Layout:
        """Lay out parts with these monomials, whose columns come one after the other unless they are given."""
        sizes = [len(part.shift) for part in monomials]
        if columns is None:
            columns = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
        total, statistics, products = sum(sizes), [], []
        end = total
        for part, here in zip(monomials, columns, strict=True):
            at = np.concatenate([here, np.arange(end, end + part.n_statistics - len(here))]).astype(np.int64)
            products.append(np.column_stack([here[part.products[:, :2]], at[part.products[:, 2]]]))
            statistics.append(at)
            end += part.n_statistics - len(here)
        return cls(list(columns), statistics, np.ascontiguousarray(np.concatenate(products), np.int64), total, end)

    def monomials(self, parts) -> Monomials:
        """Return the monomials of the whole; ``parts`` are those of the parts as they are framed now."""
        shift, inverse_scale = np.zeros(self.n_columns), np.ones(self.n_columns)
        for part, here in zip(parts, self.columns, strict=True):
            shift[here], inverse_scale[here] = part.shift, part.inverse_scale
        return Monomials(shift, inverse_scale, self.products)

    def own_frames(self, monomials, lots, n_components) -> OwnFrames:
        """Return frames of single components of the whole.

        ``lots`` (number of a part, its components, their frames) are those of the parts that have some; ``monomials``
        are those of all parts as they are framed now.
        """
        own = np.zeros(n_components, bool)
        for _, of, lot in lots:
            own[of] |= lot.frame >= 0
        shared, frame = self.monomials(monomials), np.where(own, np.cumsum(own) - 1, -1)
        shift, scale = np.tile(shared.shift, (own.sum(), 1)), shared.inverse_scale
        diagonal = all(lot.whitener.shape[1] == 1 for _, _, lot in lots)
        whitener = np.tile(scale[None] if diagonal else np.diag(scale), (len(shift), 1, 1))
        for j, of, lot in lots:
            here, has = self.columns[j], lot.frame >= 0
            rows, its = frame[of][has], lot.frame[has]
            shift[rows[:, None], here] = lot.shift[its]
            # a diagonal one beside others that are not is written out
            full = lot.whitener[its] if diagonal or lot.whitener.shape[1] > 1 else lot.whitener[its] * np.eye(len(here))
            whitener[rows[:, None, None], [[0]] if diagonal else here[:, None], here] = full
        return OwnFrames(frame, shift, whitener)


def monomials_of(family, n_features) -> Monomials:
    """Return the monomials of a family, of the columns that `kernel_form.table` returns."""
    form = form_of(family, n_features)
    if form is not None:
        return form.monomials
    if checked.exposure(family, np.ones((1, n_features))) is not None:
        raise ValueError(f"{family!r} has an exposure, which cannot be combined with other families")
    return Monomials.identity(checked.n_statistics(family, n_features))
