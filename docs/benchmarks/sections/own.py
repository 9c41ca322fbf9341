"""Families of one's own beside the package's: the same normal densities, from T and A in NumPy."""

import numpy as np
from harness.machine import THREADS
from harness.store import at_most
from harness.timing import Timing, best_of
from harness.workers import Libraries

SHAPES = ((200_000, 16, 16), (1_000_000, 2, 3), (100_000, 8, 8), (20_000, 4, 4))
WHOLE = ((100_000, 8, 8), (20_000, 64, 8))
WITH_MAPPING, WITHOUT = 1.2, 2.0
STEPS = (1, 11)

HOW = """
Seconds per EM iteration of `ef.fit`: the difference of fits of 1 and 11 iterations from the same start, divided by 10.
`own` is the same density as a class that says T and A (and log h) in NumPy: T = (x, x²) for diagonal covariances, and
x and all of xxᵀ for full ones. `with to_natural` it also says the M-step; without it, the package solves for it.
"""


def families():
    """Return the families, (diagonal, diagonal with an M-step, full with one)."""
    import expfam_em as ef

    class Diagonal(ef.ExponentialFamily):
        def sufficient_statistics(self, X):
            return np.column_stack([X, X**2])

        def log_partition(self, natural):
            linear, square = np.split(natural, 2, axis=1)
            return (-(linear**2) / (4 * square) - 0.5 * np.log(-2 * square)).sum(axis=1)

        def log_base_measure(self, X):
            return np.full(len(X), -0.5 * X.shape[1] * np.log(2 * np.pi))

    class Mapped(Diagonal):
        def to_natural(self, expectation):
            mean, second = np.split(expectation, 2, axis=1)
            variance = second - mean**2
            return np.concatenate([mean / variance, -0.5 / variance], axis=1)

    class Whole(ef.ExponentialFamily):
        def sufficient_statistics(self, X):
            return np.column_stack([X, (X[:, :, None] * X[:, None, :]).reshape(len(X), -1)])

        def log_partition(self, natural):
            linear, square = self._split(natural)
            precision = -2 * square
            squared = np.einsum("ki,ki->k", linear, np.linalg.solve(precision, linear[:, :, None])[:, :, 0])
            return 0.5 * squared - 0.5 * np.linalg.slogdet(precision)[1]

        def log_base_measure(self, X):
            return np.full(len(X), -0.5 * X.shape[1] * np.log(2 * np.pi))

        def to_natural(self, expectation):
            mean, second = self._split(expectation)
            precision = np.linalg.inv(second - mean[:, :, None] * mean[:, None, :])
            linear = np.einsum("kij,kj->ki", precision, mean)
            return np.concatenate([linear, -0.5 * precision.reshape(len(mean), -1)], axis=1)

        def _split(self, values):
            d = round((np.sqrt(1 + 4 * values.shape[1]) - 1) / 2)
            return values[:, :d], values[:, d:].reshape(-1, d, d)

    return Diagonal(), Mapped(), Whole()


def start(kind, d, centres):
    """Return components of covariance I about centres, of a family of the package or of one's own."""
    import expfam_em as ef

    K = len(centres)
    diagonal, mapped, whole = families()
    if kind in ("diag", "full"):
        family = ef.families.Gaussian(kind)
        one = np.ones((K, d)) if kind == "diag" else np.broadcast_to(np.eye(d), (K, d, d))
        return ef.Mixture(family, np.full(K, 1 / K), family.from_moments(centres, one))
    family = {"own": diagonal, "own with to_natural": mapped, "own, xxᵀ": whole}[kind]
    square = np.full((K, d), -0.5) if kind != "own, xxᵀ" else np.tile(-0.5 * np.eye(d).ravel(), (K, 1))
    return ef.Mixture(family, np.full(K, 1 / K), np.concatenate([centres, square], axis=1))


def timed(_, kind, shape, iterations):
    import expfam_em as ef

    n, d, K = shape
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((K, d))
    X = rng.standard_normal((n, d)) + centres[rng.integers(K, size=n)]
    first = start(kind, d, centres)
    return best_of(lambda: ef.fit(first, X, max_iter=iterations, tol=0.0, n_jobs=THREADS), 0.3)


def row(libraries, shape, built_in, own):
    """Return seconds an iteration of the package's family and of one's own."""
    turns = {(kind, steps): ("ours", timed, kind, shape, steps) for kind in (built_in, own) for steps in STEPS}
    found = libraries.take_turns(turns, repeats=5)
    steps = STEPS[1] - STEPS[0]
    each = {kind: Timing.per_step(*(found[kind, n] for n in STEPS), steps) for kind in (built_in, own)}
    ratio = None if None in each.values() else each[own].seconds / each[built_in].seconds
    n, d, K = shape
    return {
        "case": f"{n:,} × {d}, K = {K}, {built_in}", "kind": own, "own": each[own] and each[own].seconds,
        "ours": each[built_in] and each[built_in].seconds, "over": ratio,
    }  # fmt: skip


def run(quick):
    with Libraries() as libraries:
        rows = [row(libraries, shape, "diag", kind) for shape in SHAPES for kind in ("own with to_natural", "own")]
        rows += [row(libraries, shape, "full", "own, xxᵀ") for shape in ([] if quick else WHOLE)]
    goals = [
        at_most(f"{one['kind']}, {one['case']}", one["over"], WITHOUT if one["kind"] == "own" else WITH_MAPPING)
        for one in rows
    ]
    columns = [
        ("case", "rows × columns", "text"), ("kind", "family", "text"), ("own", "own, s", "seconds"),
        ("ours", "the package's, s", "seconds"), ("over", "own over the package's", "times"),
    ]  # fmt: skip
    return {"title": "Families of one's own", "how": HOW, "columns": columns, "rows": rows, "targets": goals}
