"""A family and rows under examination, and what several laws need of them."""

from __future__ import annotations

import functools

import numpy as np

from expfam_em.checking.integrals import DIVERGES, Density, Moments, integrate
from expfam_em.checking.support import possible, regions
from expfam_em.family import checked, mappings
from expfam_em.family.alike import snapshot
from expfam_em.family.base import ExponentialFamily
from expfam_em.rows.memory import as_rows
from expfam_em.rows.threads import cached_property

EXAMINED_ROWS = 1000  # rows that are looked at; bind sees all of them
POINTS = 5  # weightings of the rows, each the M-step of a component
NUMERIC = 1e-6  # mappings solved or differenced from A promise 1e-10; the factor allows for badly scaled statistics
SUM_ROUNDING = 1e-13  # of a sum, relative to its terms
ALONE = 1e-12  # relative: a product of matrices may round differently with the number of rows
MASS = 1e-6  # by which an integral may differ from 1; its own error is about 1e-7 at worst


class LeftOutError(Exception):
    """A law that cannot be checked on this family or these rows."""


def frozen(values):
    """Return a copy that raises when written to."""
    out = np.array(values)
    out.flags.writeable = False
    return out


def show(values) -> str:
    """Return numbers for a message."""
    return np.array2string(np.asarray(values), precision=6, threshold=8, edgeitems=3, max_line_width=10_000)


def defines(family, method) -> bool:
    """Whether a family has its own version of a method."""
    return getattr(type(family), method) is not getattr(ExponentialFamily, method)


class Subject:
    """A family, rows, and what several laws need of them."""

    def __init__(self, family, X, rng):
        self.plain, self.rng = family, rng
        self.before = snapshot(family)
        self.all_rows = X
        self.X = X if len(X) <= EXAMINED_ROWS else X[np.sort(rng.choice(len(X), EXAMINED_ROWS, replace=False))]
        self.n, self.d = self.X.shape

    @cached_property
    def family(self):
        """The family bound to all rows, as estimators use it."""
        given = self.all_rows.copy()
        family = self.plain.bind(as_rows(given))
        self.bind_changed_rows = not np.array_equal(given, self.all_rows)
        self.bound_before = snapshot(family)
        return family

    @cached_property
    def statistics(self):
        """T, e and log h of the rows, once their shapes have been checked."""
        T, exposure = checked.statistics(self.family, self.X)
        return T, np.ones(self.n) if exposure is None else exposure, checked.log_base_measure(self.family, self.X)

    @cached_property
    def weights(self):
        """Weightings of the rows, (POINTS, n): all are positive, so that means stay inside the expectation space."""
        return np.concatenate([np.ones((1, self.n)), self.rng.exponential(size=(POINTS - 1, self.n)) ** 1.5])

    @cached_property
    def expectation(self):
        """Means of T over weighted rows, and on the way to seeds at two rows, (POINTS + 2, p)."""
        T, exposure, _ = self.statistics
        means = (self.weights @ T) / (self.weights @ exposure)[:, None]
        rows = self.rng.choice(self.n, 2)
        seeds = self.family.seed(T[rows] / exposure[rows, None], means[:1])
        # not all rows are means of a density
        near = means[0] + (np.asarray(seeds, float).reshape(2, -1) - means[0]) / 4
        return np.concatenate([means, near])

    @cached_property
    def solved(self):
        """``to_natural`` of the means, those with a finite A, and what was wrong with it, or None."""
        try:
            natural = np.asarray(self.family.to_natural(self.expectation.copy()))
        except Exception as error:
            return None, f"it raised {type(error).__name__}: {error}"
        if natural.shape != self.expectation.shape:
            return None, f"it returned shape {natural.shape} for {self.expectation.shape}: it must be (K, p)"
        fine = np.isfinite(natural).all(axis=1) & np.isfinite(self.A(natural))
        if fine.all():
            return natural, None
        at = int(np.argmin(fine))
        return natural[fine] if fine.sum() > 1 else None, (
            f"for m = {show(self.expectation[at])}, a mean of T over rows of X, it returned η = {show(natural[at])}, "
            f"where log_partition is {self.A(natural[at : at + 1])[0]}"
        )

    @cached_property
    def natural(self):
        """Natural parameters to test at, (K, p): of the means, and some a fraction of a standard deviation away."""
        # where to_natural is the default, A alone may do even if the slope that it is given is wrong
        natural = self.solved[0] if defines(self.family, "to_natural") else None
        if natural is None:
            try:
                natural = mappings.inverse_gradient(self.A, self.expectation[:POINTS], name=repr(self.plain))
            except ValueError:  # where Newton's method finds nothing, any points with a finite A do
                natural = mappings.candidates(self.A, self.expectation.shape[1], repr(self.plain))[:POINTS]
        size = mappings.scales(self.A, natural[:2])
        near = natural[:2] + self.rng.uniform(-1, 1, (2, natural.shape[1])) * size / np.sqrt(natural.shape[1])
        return np.concatenate([natural, near[np.isfinite(self.A(near))]])

    def A(self, natural):
        """Return the log-partition, (K,)."""
        return checked.log_partition(self.family, natural)

    @cached_property
    def slope(self):
        """∇A from A alone."""
        return mappings.gradient(self.A, self.natural)

    def spread(self, natural):
        """Return about the standard deviations of T, (K, p), from the steps over which A bends."""
        return np.sqrt(mappings.CURVATURE) / mappings.scales(self.A, natural)

    @cached_property
    def curvature(self):
        """Standard deviations of T for e = 1, √diag ∇²A, from differences of ∇A."""
        size = mappings.scales(self.A, self.natural)
        own = defines(self.family, "to_expectation")
        mean = self.family.to_expectation if own else functools.partial(mappings.gradient, self.A)
        H = mappings.hessian(mean, self.natural, size)
        return np.sqrt(np.clip(np.einsum("kii->ki", H), 0, None))

    # ---- integrals ------------------------------------------------------------------------------------------

    @cached_property
    def of_integrals(self):
        """The subject whose integrals are taken: one column, where the density of a row is the product of those."""
        if self.d <= 2:
            return self
        try:
            one = Subject(self.plain, self.all_rows[:, [0]], np.random.default_rng(0))
            return one if self.is_product_of_columns(one) else self
        except Exception:  # a family of more columns may raise anything for one of them
            return self

    def is_product_of_columns(self, one) -> bool:
        """Whether T of a row is that of its columns, each alone, and log h and A are sums over them."""
        family, n_each = one.family, one.statistics[0].shape[1]
        if one.family.exposure(one.X) is not None or self.statistics[0].shape[1] != self.d * n_each:
            return False
        each = [checked.statistics(family, self.X[:, [j]])[0] for j in range(self.d)]
        log_h = sum(checked.log_base_measure(family, self.X[:, [j]]) for j in range(self.d))
        packed = np.arange(self.d * n_each)
        for columns in (packed.reshape(n_each, self.d).T, packed.reshape(self.d, n_each)):
            if all(np.allclose(self.statistics[0][:, at], T, ALONE, 0) for at, T in zip(columns, each, strict=True)):
                A = sum(checked.log_partition(family, self.natural[:, at]) for at in columns)
                return bool(
                    np.allclose(log_h, self.statistics[2], NUMERIC) and np.allclose(A, self.A(self.natural), NUMERIC)
                )
        return False

    @cached_property
    def free(self):
        """Columns that vary while the exposure stays; all of them, in a plane, if none does."""
        if self.family.exposure(self.X) is None:
            return list(range(self.d))
        moved = (self.X + step for step in np.eye(self.d))
        return [j for j, X in enumerate(moved) if np.array_equal(self.family.exposure(X), self.statistics[1])]

    @cached_property
    def flat(self):
        """Directions in which the rows do not vary, (c, d)."""
        _, sizes, directions = np.linalg.svd(self.X - self.X.mean(axis=0), full_matrices=False)
        return directions[sizes <= 1e-9 * sizes[0]] if self.n > self.d else directions[:0]

    def beside_plane_is_possible(self):
        """Whether a step of 1 out of the plane in which rows of whole numbers lie leads to a possible row."""
        steps = np.eye(self.d)[np.abs(self.flat).max(axis=0) > 1e-9]
        return any(possible(self.family, self.X + sign * step).any() for step in steps for sign in (-1, 1))

    @cached_property
    def integrals(self) -> tuple[str, list[tuple[int, np.ndarray, Moments]]]:
        """Over what was integrated, and for some points their number, the row with the exposure and the moments."""
        free, plane = self.free, None
        flat, whole = self.flat, bool(np.all(self.X == np.floor(self.X)))
        if not free or len(flat):
            if not whole:
                raise LeftOutError("the rows of X lie in a plane, or every column changes the exposure")
            if len(flat) and self.beside_plane_is_possible():
                if not defines(self.family, "check_support"):
                    raise LeftOutError("the rows of X lie in a plane, and check_support does not say whether all do")
                flat = flat[:0]
            if not free or len(flat):
                free, plane = list(range(self.d)), flat.T
        elif len(free) > 1 and np.ptp(np.linalg.norm(self.X, axis=1)) <= 1e-9 * np.abs(self.X).max() and not whole:
            raise LeftOutError("the rows of X lie on a sphere")
        elif len(free) > 2 and not whole:
            raise LeftOutError(f"X has {len(free)} columns, and integrals are taken over one or two")
        order = np.argsort(self.statistics[1], kind="stable")
        rows = [self.X[order[-1]], self.X[order[0]]]
        points = [0, 1, len(self.natural) - 1][: len(self.natural)]
        tried = []
        for axes in regions(self.family, self.X, rows[0], free, plane is not None):
            found = []
            for turn, k in enumerate(points):
                row = rows[turn % 2]
                density = Density(self.family, self.natural[k], row, free, plane)
                found.append((k, row, integrate(density, axes, self.X[:, free], self.weights[k if k < POINTS else 0])))
            tried.append((" and ".join(dict.fromkeys(map(str, axes))), found))
            troubles, off, lost = self.doubts(found)
            if not (off or lost) and DIVERGES not in troubles and (not troubles or len(tried) == 1):
                return tried[-1]
        if not tried:
            raise LeftOutError("the possible rows are not all rows between two ends in each column")
        return self.least_doubtful(tried)

    def fine_integrals(self):
        """Return the numbers of points, rows and moments of the integrals that were taken."""
        over, found = self.integrals
        if fine := [entry for entry in found if not entry[2].trouble]:
            return fine
        raise LeftOutError(f"over {over}, {found[0][2].trouble}")

    def least_doubtful(self, tried):
        """Return the region that belongs to the density, if that can be told: the means are right, or the first one."""
        doubts = [self.doubts(found) for _, found in tried]
        fine = [at for at, (troubles, off, _) in enumerate(doubts) if not troubles and not off]
        if fine:
            return tried[min(fine, key=lambda at: doubts[at][2])]
        unresolved = [at for at, (troubles, _, _) in enumerate(doubts) if troubles - {DIVERGES}]
        if DIVERGES in doubts[0][0] and unresolved:
            raise LeftOutError(f"over {tried[unresolved[0]][0]}, {min(doubts[unresolved[0]][0] - {DIVERGES})}")
        return tried[0]

    def doubts(self, found):
        """Return what speaks against a region: what went wrong, means off ∇A, a mass that is not 1."""
        fine = [entry for entry in found if not entry[2].trouble]
        off = max((self.off_slope(*entry) for entry in fine), default=0.0)
        lost = max((abs(moments.log_mass) / self.allowed_mass(moments) for _, _, moments in fine), default=0.0)
        return {entry[2].trouble for entry in found} - {""}, off if off > 1 else 0, lost if lost > 1 else 0

    def off_slope(self, k, row, moments):
        """Return the largest |E[T] − e ∇A|, in units of what is allowed."""
        expected = self.exposure_of(row) * self.slope[k]
        allowed = NUMERIC * (np.abs(expected) + moments.deviation) + SUM_ROUNDING * moments.size * moments.deviation
        off = np.abs(moments.mean - expected) / np.where(allowed > 0, allowed, 1.0)
        return float(np.nan_to_num(off, nan=0.0).max())

    def allowed_mass(self, moments):
        """Return by how much log ∫ p may differ from 0."""
        return MASS + SUM_ROUNDING * moments.size

    def exposure_of(self, row):
        """Return e of one row."""
        size = self.family.exposure(row[None])
        return 1.0 if size is None else float(size[0])

    def same_densities(self, one, other):
        """Return by how much log-densities of rows of X differ under two η, in units of what is allowed, (K,)."""
        T, exposure, _ = self.statistics
        shift = T @ (one - other).T - exposure[:, None] * (self.A(one) - self.A(other))
        size = np.abs(T) @ (np.abs(one) + np.abs(other)).T + exposure[:, None] * (np.abs(self.A(one)) + 1)
        # an η off by NUMERIC standard deviations moves log p of a row z deviations away by NUMERIC · z
        return np.max(np.abs(shift) / (10 * NUMERIC + 1e3 * SUM_ROUNDING * size), axis=0)
