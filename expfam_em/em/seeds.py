"""Rows drawn to be the first components, in a way that sees weights and divergences, not repetitions."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from expfam_em.em.informed import Certain, certain_rows
from expfam_em.em.sample import ordered_sample
from expfam_em.estep.plan import n_statistics
from expfam_em.family import checked
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.binding import is_solved_numerically
from expfam_em.family.optional import for_seeds, is_incomplete, kinds, place
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.grid import ENTRY_WORK
from expfam_em.rows.threads import cached_property
from expfam_em.values.statistics import ExpectedStatistics

SEEDING_ROWS = 5_000
SEEDING_ROWS_NUMERIC = 500
SEEDING_ROWS_EACH = 10
"""Seeds are drawn from at most this many rows, or as many for each component if that is more, themselves drawn by
weight; from fewer where η is solved numerically."""

SEEDING_ENTRIES = 2_000_000
"""Most entries of the statistics of these rows held at a time (or `SEEDING_ROWS_EACH` rows for each component)."""

APPROACHES = 12
"""How often a seed outside the parameter space is pulled towards the mean; a pull covers 3/4 of the distance left."""

FARTHEST = float(np.finfo(np.float64).max)
"""Divergence of rows that differ by more than float64 can say."""

MAPPED_ENTRIES = 1 << 17
"""Entries of statistics mapped to natural parameters at a time, as the mapping may need several times their memory;
also entries of CSR rows made dense at a time."""


OUTLIERS = 0.1
"""Share of the row weight, farthest from all seeds, that may be outliers."""


class Seeding:
    """Seeds for each component, from the family it belongs to."""

    def __init__(self, family: ExponentialFamily, rows, n_components, rng):
        self.family, self.n_components = family, n_components
        self.kinds = []
        for kind, of in kinds(family, n_components):
            possible = rows if len(of) == n_components else _possible(kind, rows)  # all rows are of the support
            certain = certain_rows(kind, possible, of)
            self.kinds.append((Seeds(for_seeds(kind), possible, len(of), rng, certain), of))

    def draw(self, data_set, spread=True) -> np.ndarray:
        """Return natural parameters (B, K, p) of rows of each data set in ``data_set`` (B,); see `Seeds.draw`."""
        return self._placed(data_set, [seeds.draw(data_set, len(of), spread) for seeds, of in self.kinds])

    def of_rows(self, pick) -> np.ndarray:
        """Return natural parameters (K, p) of rows of the first data set: ``pick(X, weight, n)`` returns which."""
        parts = []
        for seeds, of in self.kinds:
            rows = slice(seeds.starts[0], seeds.starts[1])
            parts.append(seeds.natural(pick(seeds.X[rows], seeds.weight[rows], len(of)))[None])
        return self._placed([0], parts)[0]

    def prior(self, data_set) -> ExpectedStatistics | None:
        """The smoothing as a prior of every run, which keeps hard assignment away from the boundary."""
        parts = [seeds.prior_sums(data_set, len(of)) for seeds, of in self.kinds]
        counts = np.zeros((len(data_set), self.n_components))
        for seeds, of in self.kinds:
            counts[:, of] = seeds.family.seed_smoothing
        if not counts.any():
            return None
        sums = self._placed(data_set, parts)
        return ExpectedStatistics(counts, sums, np.zeros(len(data_set)), family=self.family)

    def _placed(self, data_set, parts):
        flat = [part.reshape(math.prod(part.shape[:2]), part.shape[2]) for part in parts]
        return place(self.family, len(data_set) * self.n_components, flat).reshape(len(data_set), self.n_components, -1)


def _possible(family, rows):
    """Return the rows with weight 0 for each row that the family cannot have produced."""
    work = ENTRY_WORK * rows.n_features
    if rows.is_sparse or not rows.reduce(functools.partial(_impossible, family), work):
        return rows
    possible = rows.derive(functools.partial(_absent_if_impossible, family), work)
    if family.n_parameters(1) == 0:
        return rows  # there is nothing to draw: it gets the weight that the rows leave it, which may be 0
    if not np.all(possible.total_weights > 0):
        raise ValueError(f"no row is possible under {family!r}, so that its components have nowhere to start")
    return possible


def _impossible(family, chunk) -> int:
    """Count a chunk that has impossible rows."""
    return 0 if checked.supports(family, chunk.X).all() else 1


def _absent_if_impossible(family, chunk):
    weight = np.ones(len(chunk.X)) if chunk.weight is None else chunk.weight
    return chunk._replace(weight=np.where(checked.supports(family, chunk.X), weight, 0.0))


def most_seeding_rows(family: ExponentialFamily, p: int, n_components: int) -> int:
    """Return from how many rows of p statistics the seeds of a family are drawn at most."""
    if is_solved_numerically(family):
        return SEEDING_ROWS_NUMERIC
    fewest = SEEDING_ROWS_EACH * n_components
    return min(max(SEEDING_ROWS, fewest), max(SEEDING_ENTRIES // max(p, 1), fewest))


class Seeds:
    """Single rows as components.

    Rows are ordered by a random projection, so that equal rows are neighbours, and drawn by cumulative weight:
    a row of weight 2 and the same row given twice are then the same thing, draw by draw.
    """

    def __init__(self, family: ExponentialFamily, rows, n_components, rng, certain: Certain | None = None):
        self.family, self.rng, self.certain = family, rng, certain
        self._numeric = is_solved_numerically(family)
        most = most_seeding_rows(family, n_statistics(family, rows), n_components)
        self.X, self.weight, self.starts = ordered_sample(rows, rng, most)
        if isinstance(self.X, CSRBlock):
            T, exposure = self.X.matrix, checked.exposure(family, self.X)
            parts = [slice(*ends) for ends in itertools.pairwise(self.starts.tolist())]
            sums = np.array([T[part].T @ self.weight[part] for part in parts])
        else:
            T, exposure = checked.statistics(family, self.X)
            sums = np.add.reduceat(self.weight[:, None] * T, self.starts[:-1])
        self.exposure = np.ones(len(self.weight)) if exposure is None else exposure
        self.mean = sums / np.add.reduceat(self.weight * self.exposure, self.starts[:-1])[:, None]
        if is_incomplete(family):
            self.mean = family.typical(self.mean)
        self._held = None if isinstance(self.X, CSRBlock) else self._seeds(T, np.arange(len(T)))

    def _seeds(self, T, which):
        mean = self.mean if len(self.mean) == 1 else self._mean_of(which)
        return checked.seeds(self.family, T / self.exposure[which, None], mean)

    def expectation(self, which) -> np.ndarray:
        """Return the rows of a slice or an index array as expectation parameters; CSR rows are made so when asked."""
        if self._held is not None:
            return self._held[which]
        which = np.arange(len(self.weight))[which]
        return self._seeds(checked.statistics(self.family, self.X[which])[0], which)

    def prior_sums(self, data_set, n_components) -> np.ndarray:
        """Statistics of the ν pseudo-rows of every component, (B, K, p)."""
        return self.family.seed_smoothing * np.repeat(self.mean[data_set][:, None], n_components, axis=1)

    def natural(self, chosen) -> np.ndarray:
        """Return natural parameters of rows, (m, p); a row that no component can be like moves towards the mean."""
        return self._inside(self.expectation(chosen), np.arange(len(self.weight))[chosen])

    def _inside(self, m, which) -> np.ndarray:
        """Return natural parameters of expectation parameters of the data sets of some rows, (m, p)."""
        eta = self._solved(m, which)
        for _ in range(APPROACHES):
            outside = ~np.isfinite(checked.log_partition(self.family, eta))
            if not outside.any():
                return eta
            mean = self._mean_of(which)
            with np.errstate(all="ignore"):  # a row may be too far from an origin for float64
                m = np.where(outside[:, None], mean + (m - mean) / 4, m)
            eta[outside] = self._solved(m[outside], which[outside])
        raise ValueError(
            f"the rows give no finite natural parameters of {self.family!r}: are all of them equal, or is a column "
            "constant, or so nearly constant that T does not tell (see families.Centred)?"
        )

    def _solved(self, m, which) -> np.ndarray:
        """Return η of expectation parameters close to some rows, NaN where there is none."""
        with np.errstate(all="ignore"):
            if checked.is_default(self.family.to_natural):
                return checked.solve_natural(self.family, m, self._mean_of(which, self._centre), lenient=True)
            try:
                return np.array(checked.to_natural(self.family, m))
            except ValueError:
                if not self._numeric:
                    raise
                return np.full_like(m, np.nan)  # a part has no solution

    @cached_property
    def _centre(self) -> np.ndarray:
        """Natural parameters of the mean of each data set, (D, p)."""
        return checked.solve_natural(self.family, self.mean)

    def _mean_of(self, which, values=None) -> np.ndarray:
        """Return the mean, or another value, of the data set that each row is of."""
        values = self.mean if values is None else values
        return values[np.searchsorted(self.starts, which, side="right") - 1]

    def draw(self, data_set, n_components, spread=True) -> np.ndarray:
        """Return natural parameters (B, K, p) of rows of each data set in ``data_set`` (B,).

        Rows are drawn by weight, or ("spread") by weight times divergence from the nearest of those already drawn. A
        component that rows are known to belong to is at their mean.
        """
        rows = [slice(self.starts[i], self.starts[i + 1]) for i in data_set]
        one = self._spread_out if spread else lambda rows, K, near: self._by(self.weight[rows], rows, K - len(near))
        known, at_mean = self._at_certain_rows(n_components)
        chosen = np.concatenate(
            [one(here, n_components, at_mean[at][known[at]]) for at, here in zip(data_set, rows, strict=True)]
        )
        found, known = at_mean[data_set], known[data_set]
        found[~known] = self.natural(chosen) if len(chosen) else np.empty((0, found.shape[2]))
        return found

    def _at_certain_rows(self, n_components):
        """Return which components rows are known to belong to, (D, K), and natural parameters there, (D, K, p)."""
        D, p = self.mean.shape
        known, natural = np.zeros((D, n_components), bool), np.zeros((D, n_components, p))
        if self.certain is None:
            return known, natural
        known = self.certain.exposures > 0
        which = self.starts[:-1][np.nonzero(known)[0]]  # some row of each data set
        if len(which):
            mean = self.certain.sums[known] / self.certain.exposures[known][:, None]
            at = checked.seeds(self.family, mean, self.mean if len(self.mean) == 1 else self._mean_of(which))
            natural[known] = self._inside(at, which)
        return known, natural

    def _spread_out(self, rows, n_components, near):
        """Return rows far from one another, and from components (m, p) that there are already."""
        weight = self.weight[rows]
        weight = np.ldexp(weight, -np.frexp(weight.sum())[1])  # exact; sums of divergences then stay in range
        chosen = np.empty(0, np.int64) if len(near) else self._by(weight, rows, 1)
        first = (near, self._partition(near)) if len(near) else self._candidates(chosen)
        closest = self._divergence_from(rows, *first).min(axis=1)
        trials = 2 + int(np.log(n_components))
        for _ in range(len(chosen) + len(near), n_components):
            candidates = self._by(weight * self._bounded(weight, closest), rows, trials)
            reach = np.minimum(closest[:, None], self._divergence_from(rows, *self._candidates(candidates)))
            best = int(np.argmin(weight @ reach))
            chosen = np.append(chosen, candidates[best])
            closest = reach[:, best]
        return chosen

    def _bounded(self, weight, closest):
        """Return divergences; of an incomplete family, outliers are no more likely than the rows before them."""
        if not is_incomplete(self.family):
            return closest
        order = np.argsort(closest, kind="stable")
        cumulative = np.cumsum(weight[order])
        return np.minimum(closest, closest[order[np.searchsorted(cumulative, (1 - OUTLIERS) * cumulative[-1])]])

    def _by(self, mass, rows, size):
        cumulative = np.cumsum(mass)
        if not cumulative[-1] > 0:  # fewer distinct rows than components
            cumulative = np.cumsum(self.weight[rows])
        at = np.searchsorted(cumulative, self.rng.random(size) * cumulative[-1], side="right")
        return rows.start + np.minimum(at, len(mass) - 1)

    @cached_property
    def _mapped(self) -> tuple[np.ndarray, np.ndarray] | None:
        """η and A of all rows as components; None where these are not held, or A is not asked for."""
        if self._held is None or is_incomplete(self.family):
            return None
        eta = np.concatenate([self.natural(rows) for rows in self._lots()])
        return eta, np.concatenate([checked.log_partition(self.family, eta[rows]) for rows in self._lots()])

    def _candidates(self, chosen):
        """Return η (m, p) of rows as components, and A (m,) where it is asked for."""
        if self._mapped is not None:
            return self._mapped[0][chosen], self._mapped[1][chosen]
        eta = self.natural(chosen)
        return eta, self._partition(eta)

    def _partition(self, eta):
        """Return A, (m, p) -> (m,); None for an incomplete family, of which log-densities are taken."""
        return None if is_incomplete(self.family) else checked.log_partition(self.family, eta)

    def _divergence_from(self, rows, eta, partition):
        """KL(row as a component ‖ candidate) = φ(m) − ⟨η, m⟩ + A(η) with φ(m) = ⟨η_m, m⟩ − A(η_m), (n, candidates).

        Of an incomplete family, what the row loses of its log-density: where tails are heavy, that grows slowly.
        """
        if is_incomplete(self.family):
            return np.maximum(self._own[rows, None] - self.family.log_density(self.X[rows], eta), 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            if self._held is not None:
                products = self._held[rows] @ eta.T
            else:
                parts = [slice(at, min(at + self._step, rows.stop)) for at in range(rows.start, rows.stop, self._step)]
                products = np.concatenate([self.expectation(part) @ eta.T for part in parts])
        far = self._own[rows, None] - (products - partition)
        far[np.isnan(far)] = np.inf
        return np.minimum(np.maximum(far, 0.0), FARTHEST)

    @property
    def _step(self):
        return max(4, MAPPED_ENTRIES // max(self.mean.shape[1], 1))

    def _lots(self):
        """Return slices of all rows that are mapped together."""
        return [slice(first, first + self._step) for first in range(0, len(self.weight), self._step)]

    @cached_property
    def _own(self):
        """φ of each row, or its log-density under itself as a component, (n,)."""
        if self._mapped is not None:
            eta, partition = self._mapped
            return np.asarray(np.sum(self._held * eta, axis=1) - partition)
        own = np.empty(len(self.weight))
        for rows in self._lots():
            eta = self.natural(rows)
            if is_incomplete(self.family):
                own[rows] = self.family.paired_log_density(self.X[rows], eta)
                continue
            own[rows] = np.sum(self.expectation(rows) * eta, axis=1) - checked.log_partition(self.family, eta)
        return own
