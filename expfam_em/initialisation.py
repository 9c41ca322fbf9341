"""Where to start: from what the user gives, or drawn from the rows in a way that sees weights, not repetitions."""

from __future__ import annotations

import functools

import numpy as np

from expfam_em import em, steps
from expfam_em.family import ExponentialFamily
from expfam_em.mixture import Mixture
from expfam_em.statistics import ExpectedStatistics

INITS = ("k-means++", "kmeans", "random", "random_from_data")
SEEDING_ROWS = 20_000
SEEDING_ROWS_NUMERIC = 500
"""Seeds are drawn from at most this many rows, themselves drawn by weight; fewer where η is solved numerically."""

SEEDING_NUMBERS = 2_000_000
"""Statistics of these rows held at a time, at most (or 20 rows for each component)."""

HARD_STEPS = 25


def check(family, rows) -> None:
    """Raise the family's ValueError if a row that carries weight is outside its support."""
    X = rows.X
    if rows.sample_weight is not None and not np.all(present := rows.sample_weight > 0):
        # a present row stands in for each absent one, so that an error counts the rows as the user does
        X = X[np.where(present, np.arange(len(X)), np.argmax(present))]
    family.check_support(X)


def initialise(family, rows, n_components, init="k-means++", rng=None, *, weights="free", prior=None) -> Mixture:
    """Return a mixture of a bound family to start EM from.

    Parameters
    ----------
    family : ExponentialFamily
        Bound to the rows.
    rows : ArrayRows
    n_components : int
    init : str, Mixture, (n, K) responsibilities or (n,) labels
        "k-means++": rows far from one another in the family's own divergence. "kmeans": the same, followed by hard
        assignment in that divergence. "random": random responsibilities. "random_from_data": random rows.
    rng : numpy Generator or seed
    weights, prior
        As in `em.maximize`.

    Raises
    ------
    ValueError
        If ``init`` has a name, shape or values that make no sense.
    """
    if isinstance(init, Mixture):
        return _given_mixture(init, family, n_components)
    if not isinstance(init, str):
        given = _as_responsibilities(init, len(rows), n_components)
        return from_responsibilities(family, rows, given, n_components, weights, prior)
    rng = np.random.default_rng(rng)
    if init == "random":
        responsibilities = rng.dirichlet(np.ones(n_components), len(rows))
        return from_responsibilities(family, rows, responsibilities, n_components, weights, prior)
    if init not in INITS:
        raise ValueError(f"init is {init!r}; it must be one of {', '.join(INITS)}, a Mixture, responsibilities, labels")
    seeds = Seeds(family, rows, n_components, rng)
    equal = np.full(n_components, 1 / n_components)
    start = Mixture(family, equal, seeds.draw(n_components, spread=init != "random_from_data"))
    if init != "kmeans":
        return start
    smoothing = seeds.prior(n_components)
    hard = em.fit(start, rows, max_iter=HARD_STEPS, tol=1e-4, temperature=0.0, weights="equal", prior=smoothing)

    def again(mixture):
        return steps.accumulate(mixture, rows, temperature=0.0)

    # half a row more for each component, so that an empty one is not lost
    smoothing = steps.in_frames(smoothing, family, hard.mixture.family)
    return _maximum(again(hard.mixture), hard.mixture, again, smoothing, concentration=1.5, weights=weights)


def _given_mixture(mixture, family, n_components):
    if type(mixture.family) is not type(family):
        raise ValueError(f"init is a mixture of {mixture.family!r}, but a mixture of {family!r} is to be fitted")
    if mixture.n_components != n_components:
        raise ValueError(f"init has {mixture.n_components} components, but n_components is {n_components}")
    return mixture.in_family(family.adopt(mixture.family))


def _as_responsibilities(init, n, n_components):
    init = np.asarray(init)
    if init.ndim == 1 and len(init) == n and np.issubdtype(init.dtype, np.integer):
        if init.min() < 0 or init.max() >= n_components:
            raise ValueError(f"labels must lie in 0..{n_components - 1}, not {init.min()}..{init.max()}")
        return init
    if init.shape != (n, n_components):
        raise ValueError(
            f"init has shape {init.shape} and dtype {init.dtype}; responsibilities must be ({n}, {n_components}), "
            f"labels ({n},) whole numbers"
        )
    if not (np.all(init >= 0) and np.allclose(init.sum(axis=1), 1)):
        raise ValueError("responsibilities must be non-negative and sum to 1 in every row")
    return np.asarray(init, np.float64)


def from_responsibilities(family, rows, responsibilities, n_components, weights="free", prior=None) -> Mixture:
    """Return the M-step of given responsibilities (n, K) or labels (n,)."""
    K = n_components

    def chunk(where):
        given = responsibilities[where]
        return np.eye(K)[given] if given.ndim == 1 else given

    p = family.statistics_and_exposure(rows.X[:1])[0].shape[1]

    def statistics_in(family):
        return rows.given_statistics(family, p, chunk, K)

    statistics = statistics_in(family)
    pooled = Mixture(family, np.full(K, 1 / K), np.repeat(_pooled(family, statistics), K, axis=0))
    return _maximum(statistics, pooled, lambda mixture: statistics_in(mixture.family), prior, weights=weights)


def _maximum(statistics, mixture, again, prior, **how) -> Mixture:
    """Return the M-step of statistics, which ``again(mixture)`` computes in other frames if they lose digits."""
    statistics, mixture, prior, _ = steps.estimate_refined(statistics, mixture, again, prior=prior, **how)
    return steps.maximize(statistics, mixture, prior=prior, **how).reframed()


def hard_labels(mixture, rows) -> np.ndarray:
    """Return the component with the highest score of each row, (n,)."""
    return em.evaluate(mixture, rows, log_density=False, labels=True)[0]


def _pooled(family, statistics):
    """Natural parameters of one component about all the rows, (1, p)."""
    exposures, sums = statistics.exposures.sum(keepdims=True), statistics.sums.sum(axis=0, keepdims=True)
    mean = sums / exposures[:, None]
    # without correlations, which are perfect where clusters are far apart; with what the M-step adds, if it must be
    for estimate in (lambda: family.to_natural(family.seed(mean, mean)), lambda: family.maximize(exposures, sums)):
        with np.errstate(all="ignore"):
            natural = np.asarray(estimate())
        if np.isfinite(family.evaluate_log_partition(natural)).all():
            return natural
    raise ValueError(f"the rows as a whole give no finite natural parameters of {family!r}: is a column constant?")


class Seeds:
    """Single rows as components.

    Rows are ordered by a random projection, so that equal rows are neighbours, and drawn by cumulative weight:
    a row of weight 2 and the same row given twice are then the same thing, draw by draw.
    """

    def __init__(self, family: ExponentialFamily, rows, n_components, rng):
        self.family, self.rng = family, rng
        numeric = type(family).to_natural is ExponentialFamily.to_natural
        p = family.statistics_and_exposure(rows.X[:1])[0].shape[1]
        most = min(SEEDING_ROWS_NUMERIC if numeric else SEEDING_ROWS, max(SEEDING_NUMBERS // p, 20 * n_components))
        X, weight = _ordered_sample(rows, rng, most)
        self.weight = weight
        T, exposure = family.statistics_and_exposure(X)
        exposure = np.ones(len(T)) if exposure is None else exposure
        self.mean = (weight @ T / (weight @ exposure))[None]
        self.expectation = family.seed(T / exposure[:, None], self.mean)

    def prior(self, n_components) -> ExpectedStatistics | None:
        """The smoothing as a prior, which keeps hard assignment away from the boundary."""
        if not (nu := self.family.seed_smoothing):
            return None
        return ExpectedStatistics(np.full(n_components, nu), nu * np.repeat(self.mean, n_components, axis=0))

    def natural(self, chosen):
        with np.errstate(all="ignore"):
            return np.asarray(self.family.to_natural(self.expectation[chosen]))

    def draw(self, n_components, spread=True) -> np.ndarray:
        """Return natural parameters (K, p) of rows drawn by weight, or by weight times divergence from the nearest."""
        chosen = self._by(self.weight, 1)
        if not spread:
            return self.natural(self._by(self.weight, n_components))
        closest = self._divergence(chosen)[:, 0]
        trials = 2 + int(np.log(n_components))
        for _ in range(1, n_components):
            candidates = self._by(self.weight * closest, trials)
            reach = np.minimum(closest[:, None], self._divergence(candidates))
            best = int(np.argmin(self.weight @ reach))
            chosen = np.append(chosen, candidates[best])
            closest = reach[:, best]
        return self.natural(chosen)

    def _by(self, mass, size):
        cumulative = np.cumsum(mass)
        if not cumulative[-1] > 0:  # fewer distinct rows than components
            cumulative = np.cumsum(self.weight)
        at = np.searchsorted(cumulative, self.rng.random(size) * cumulative[-1], side="right")
        return np.minimum(at, len(mass) - 1)

    def _divergence(self, chosen):
        """KL(row as a component ‖ candidate) = φ(m) − ⟨η, m⟩ + A(η) with φ(m) = ⟨η_m, m⟩ − A(η_m), (n, candidates)."""
        eta = self.natural(chosen)
        score = self.expectation @ eta.T - self.family.evaluate_log_partition(eta)
        return np.maximum(self._own[:, None] - score, 0.0)

    @functools.cached_property
    def _own(self):
        eta = self.natural(slice(None))
        return np.sum(self.expectation * eta, axis=1) - self.family.evaluate_log_partition(eta)


def _ordered_sample(rows, rng, most):
    """Return at most ``most`` rows that carry weight, ordered by a projection, and their weights."""
    direction = rng.standard_normal(rows.n_features)
    keys = np.concatenate(rows.map(lambda X, weight, where: _project(X, direction), 8 * rows.n_features))
    weight = np.ones(len(keys)) if rows.sample_weight is None else rows.sample_weight
    order = np.argsort(keys, kind="stable")
    order = order[weight[order] > 0]
    if len(order) <= most:
        return np.asarray(rows.X[order]), weight[order]
    cumulative = np.cumsum(weight[order])
    at = (np.arange(most) + rng.random()) / most * cumulative[-1]
    picked, times = np.unique(np.searchsorted(cumulative, at, side="right"), return_counts=True)
    return np.asarray(rows.X[order[picked]]), times * (cumulative[-1] / most)


def _project(X, direction):
    """X · direction added column by column: equal rows get equal keys, which a BLAS product does not promise."""
    key = np.zeros(len(X))
    for column, coefficient in zip(np.asarray(X).T, direction, strict=True):
        key += column * coefficient
    return key
