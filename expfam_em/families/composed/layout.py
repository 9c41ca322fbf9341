"""Families made of other families, side by side: what of T, η and the frames belongs to which."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from expfam_em.family import checked
from expfam_em.family.kernel_form import Monomials, OwnFrames


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

    def own_frames(self, parts, lots, of_component) -> OwnFrames | None:
        """Return frames of single components of the whole, if a part has such frames, from those of the parts.

        ``of_component`` (K, parts) says for each part which of its components is that of the whole, −1 for none.
        """
        K = len(of_component)
        own = np.full((K, len(parts)), -1)
        for j, lot in enumerate(lots):
            if lot is not None:
                has = of_component[:, j] >= 0
                own[has, j] = lot.frame[of_component[has, j]]
        which = np.flatnonzero((own >= 0).any(axis=1))
        if not len(which):
            return None
        shared = self.monomials(parts)
        shift = np.tile(shared.shift, (len(which), 1))
        diagonal = all(lot is None or lot.whitener.shape[1] == 1 for lot in lots)
        scale = shared.inverse_scale
        whitener = np.tile(scale[None] if diagonal else np.diag(scale), (len(which), 1, 1))
        for j, lot in enumerate(lots):
            if lot is None:
                continue
            rows, here = np.flatnonzero(own[which, j] >= 0), self.columns[j]
            frame = own[which[rows], j]
            shift[rows[:, None], here] = lot.shift[frame]
            if diagonal:
                whitener[rows[:, None], 0, here] = lot.whitener[frame, 0]
            elif lot.whitener.shape[1] == 1:
                whitener[rows[:, None], here, here] = lot.whitener[frame, 0]
            else:
                whitener[rows[:, None, None], here[:, None], here] = lot.whitener[frame]
        frame = np.full(K, -1)
        frame[which] = np.arange(len(which))
        return OwnFrames(frame, shift, whitener)


def monomials_of(family, n_features) -> Monomials:
    """Return the monomials of a family, of the columns that `kernel_form.table` returns."""
    form = family.kernel_form(n_features)
    if form is not None:
        return form.monomials
    if checked.exposure(family, np.ones((1, n_features))) is not None:
        raise ValueError(f"{family!r} has an exposure, which cannot be combined with other families")
    return Monomials.identity(checked.n_statistics(family, n_features))
