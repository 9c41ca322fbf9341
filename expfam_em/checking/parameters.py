"""Laws of the log-partition and of the mappings between parameters."""

from __future__ import annotations

import numpy as np

from expfam_em.checking.integrals import DIVERGES
from expfam_em.checking.subject import ALONE, NUMERIC, ROUNDING, LeftOutError, Subject, defines, show
from expfam_em.family import mappings

CONVEX = 1e-10  # of the values of A: rounding of a chord
ALONG = np.arange(1, 32) / 32
RAYS = 24
LENGTHS = 2.0 ** np.arange(-1, 12)
"""Of a ray, in steps over which A bends by 0.1. Further out, a boundary passed by rounding would raise false alarms."""


# ---- the log-partition ---------------------------------------------------------------------------------------------


def shape_of_partition(subject: Subject):
    """A is (K,), each number from its own row of η."""
    p = subject.statistics[0].shape[1]
    for K in (1, 2, p + 3):
        shape = np.shape(subject.family.log_partition(np.array(-np.ones((K, p)))))
        if shape != (K,):
            return (
                f"log_partition returned shape {shape} for natural parameters of shape {(K, p)}; it must be {(K,)}: "
                "sum over axis 1, the statistics of one component"
            )
    natural = subject.natural
    together, alone = subject.A(natural), np.concatenate([subject.A(row[None]) for row in natural])
    if not np.allclose(together, alone, rtol=ALONE, atol=ALONE):
        k = int(np.argmax(np.abs(together - alone)))
        return (
            f"log_partition of η = {show(natural[k])} is {alone[k]:.10g} alone and {together[k]:.10g} among other "
            "rows: it must depend on nothing but its row (sum over axis 1)"
        )
    return None


def _bent(subject, starts, ends):
    """Return the first of some chords on which A is not convex or not finite, and where; and the largest excess."""
    points = (1 - ALONG[:, None, None]) * starts + ALONG[:, None, None] * ends
    values = subject.A(points.reshape(-1, points.shape[-1])).reshape(points.shape[:2])
    first, last = subject.A(starts), subject.A(ends)
    with np.errstate(all="ignore"):
        chord = (1 - ALONG[:, None]) * first + ALONG[:, None] * last
        excess = (values - chord) / (1 + np.abs(first) + np.abs(last))
    bad = ~(excess <= CONVEX)
    if not bad.any():
        return None, float(excess.max(initial=-np.inf))
    bad = bad.any(axis=0)
    # an undefined value says more than a bent one
    k = int(np.flatnonzero(bad)[np.argmin(np.isfinite(values[:, bad]).all(axis=0))])
    order = np.where(np.isfinite(values[:, k]), excess[:, k], np.inf)
    t = int(np.argmax(order))
    return (starts[k], ends[k], points[t, k], values[t, k], chord[t, k]), np.inf


def convexity(subject: Subject):
    """A is finite and convex around and between natural parameters made from X."""
    natural = subject.natural
    i, j = np.triu_indices(len(natural), 1)
    size = mappings.scales(subject.A, natural[:2])
    shift = np.concatenate([np.eye(natural.shape[1])[:RAYS], _directions(subject, RAYS)])[:, None, :] * size
    low, high = (natural[:2] - shift).reshape(-1, natural.shape[1]), (natural[:2] + shift).reshape(-1, natural.shape[1])
    inside = np.isfinite(subject.A(low)) & np.isfinite(subject.A(high))
    starts, ends = np.concatenate([natural[i], low[inside]]), np.concatenate([natural[j], high[inside]])
    found, excess = _bent(subject, starts, ends)
    if found is None:
        subject.note = f"on {len(starts)} chords; nearest to one at {-excess:.1g} of the size of A below it"
        return None
    start, end, point, value, chord = found
    if not np.isfinite(value):
        return (
            f"log_partition is {value} at η = {show(point)}, between {show(start)} and {show(end)}, where it is "
            "finite: the natural-parameter space is convex"
        )
    return (
        f"log_partition is not convex: at η = {show(point)} it is {value:.6g}, above the chord from {show(start)} to "
        f"{show(end)}, which is there at {chord:.6g}; check its signs"
    )


def _directions(subject, count):
    directions = np.random.default_rng(0).standard_normal((count, subject.natural.shape[1]))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def space(subject: Subject):
    """A is finite in a convex region only."""
    origin = subject.natural[:1]
    size = mappings.scales(subject.A, origin)
    axes = np.eye(origin.shape[1])[:RAYS]
    rays = np.concatenate([axes, -axes, _directions(subject, RAYS)]) * size
    far = (origin + LENGTHS[:, None, None] * rays).reshape(-1, origin.shape[1])
    far = far[np.isfinite(subject.A(far))]
    found, _ = _bent(subject, np.broadcast_to(origin, far.shape), far)
    if found is None:
        subject.note = f"{len(far)} of {len(LENGTHS) * len(rays)} points far away are inside"
        return None
    start, end, point, value, chord = found
    return (
        f"log_partition is finite at η = {show(end)}, but on the way there from η = {show(start)}, made from X, it is "
        f"{value:.6g} at {show(point)}, not below the chord at {chord:.6g}: where the space ends it must not be "
        "finite, as log|Γ(a)| (gammaln) is for a < 0; write np.where(a > 0, ..., np.inf)"
    )


# ---- mappings ------------------------------------------------------------------------------------------------------


def expectation_is_gradient(subject: Subject):
    """``to_expectation`` is ∇A."""
    natural, slope = subject.natural, subject.slope
    if not defines(subject.family, "to_expectation"):
        raise LeftOutError("to_expectation is the default, differences of A")
    if not np.isfinite(slope).all():
        raise LeftOutError("A could not be differenced")
    mean = np.asarray(subject.family.to_expectation(np.array(natural)))
    if mean.shape != natural.shape:
        return f"to_expectation returned shape {mean.shape} for {natural.shape}: it must be (K, p)"
    # an expectation near 0 is known in units of its statistic's spread
    spread = np.sqrt(mappings.CURVATURE) / mappings.scales(subject.A, natural)
    rounding = ROUNDING * np.abs(subject.A(natural))[:, None] * spread
    off = np.abs(mean - slope) / (NUMERIC * (np.abs(slope) + spread) + rounding)
    if not np.all(off <= 1):
        k = int(np.argwhere(~(off <= 1))[0][0])
        return (
            f"to_expectation gives {show(mean[k])} at η = {show(natural[k])}, but the differences of log_partition "
            f"give ∇A(η) = {show(slope[k])}{_which(subject, k, mean)}"
        )
    subject.note = f"off by {off.max() * NUMERIC:.1g} of its size"
    return None


def _which(subject, k, mean):
    """Say which of the two is the mean of T, if that is known."""
    try:
        _, found = subject.integrals
    except Exception:
        return ": one of the two is wrong"
    if any(at == k and not moments.trouble and subject.off_slope(k, row, moments) <= 1 for at, row, moments in found):
        return ", which is also the mean of T under the density: to_expectation is wrong"
    return ": one of the two is wrong"


def mean_of_statistics(subject: Subject):
    """∇A is the mean of T under the density h exp(⟨η, T⟩ − e A)."""
    over, found = subject.integrals
    for k, _, moments in found:
        if moments.trouble == DIVERGES:
            return (
                f"the integral of h exp(⟨η, T⟩) over {over} diverges at η = {show(subject.natural[k])}, where "
                f"log_partition is finite: check log_base_measure{_forgotten(subject)}, the order and the signs of the "
                "statistics against η, and check_support"
            )
    if all(moments.trouble for _, _, moments in found):
        raise LeftOutError(f"over {over}, {found[0][2].trouble}")
    worst = 0.0
    for k, row, moments in found:
        if moments.trouble:
            continue
        off = subject.off_slope(k, row, moments)
        if off > 1:
            expected = subject.exposure_of(row) * subject.slope[k]
            return (
                f"the mean of T under the density h exp(⟨η, T⟩) over {over} is {show(moments.mean)} at η = "
                f"{show(subject.natural[k])}, but log_partition has the gradient e ∇A(η) = {show(expected)}: "
                f"{_suspects(subject, moments, expected)}"
            )
        worst = max(worst, off)
    subject.note = f"over {over}, off by {worst * NUMERIC:.1g} of its size"
    return None


def _forgotten(subject):
    return "" if defines(subject.family, "log_base_measure") else " (there is none: is h(x) = 1?)"


def _suspects(subject, moments, expected):
    allowed = 1e-4 * (np.abs(expected) + moments.deviation)
    if np.all(np.abs(moments.mean - expected) <= allowed):
        return "they differ by little, so log_partition or log_base_measure may be approximate only"
    if len(expected) > 1 and np.all(np.abs(np.sort(moments.mean) - np.sort(expected)) <= allowed):
        return "these are the same numbers in another order, so the statistics and η are not in the same order"
    if np.all(np.abs(np.abs(moments.mean) - np.abs(expected)) <= allowed):
        return "these differ in sign only, so check the signs of the statistics and of η"
    return (
        f"log_partition belongs to another T or h; check log_base_measure{_forgotten(subject)}, the order and the "
        "signs of the statistics against η, and log_partition"
    )


def mass(subject: Subject):
    """The density integrates to 1."""
    over, found = subject.integrals
    fine = [entry for entry in found if not entry[2].trouble]
    if not fine:
        raise LeftOutError(f"over {over}, {found[0][2].trouble}")
    k, row, worst = max(fine, key=lambda entry: abs(entry[2].log_mass) / subject.allowed_mass(entry[2]))
    off = worst.log_mass
    if abs(off) > subject.allowed_mass(worst):
        e = subject.exposure_of(row)
        apart = np.ptp([moments.log_mass for _, _, moments in fine])
        constant = len(fine) > 1 and apart <= 1e-3 * abs(off)
        more, less = ("add", "subtract") if off > 0 else ("subtract", "add")
        of_a, of_h = ("to", "from") if off > 0 else ("from", "to")
        missing = (
            f"A or log h is off by a constant: {more} {abs(off) / e:.6g} {of_a} log_partition, or {less} "
            f"{abs(off):.6g} {of_h} log_base_measure"
            if constant
            else "by other factors at other η, so check log_partition and log_base_measure"
        )
        return (
            f"over {over}, at η = {show(subject.natural[k])}, the density integrates to {np.exp(off):.6g} = "
            f"e^{off:.6g} instead of 1: {missing}"
        )
    subject.note = f"over {over}, to {np.exp(off):.12g}"
    return None


def mean_of_log_base(subject: Subject):
    """``expected_log_base_measure`` is E[log h]."""
    given = subject.family.expected_log_base_measure(np.array(subject.natural))
    if given is None:
        raise LeftOutError("there is no formula for E[log h]")
    given = np.asarray(given)
    if given.shape != (len(subject.natural),):
        return f"expected_log_base_measure returned shape {given.shape}; it must be one number per row of η, (K,)"
    over, found = subject.integrals
    fine = [(k, moments) for k, row, moments in found if not moments.trouble and subject.exposure_of(row) == 1]
    if not fine:
        raise LeftOutError(f"nothing was integrated over {over} where e is 1")
    for k, moments in fine:
        allowed = NUMERIC * (1 + abs(moments.log_base)) + ROUNDING * moments.size
        if not abs(given[k] - moments.log_base) <= allowed:
            return (
                f"expected_log_base_measure is {given[k]:.8g} at η = {show(subject.natural[k])}, but the mean of log h "
                f"under the density is {moments.log_base:.8g}"
            )
    return None


def mappings_are_inverse(subject: Subject):
    """∇A(to_natural(m)) = m, and to_natural(to_expectation(η)) is η or another name of the same density."""
    natural, trouble = subject.solved
    if trouble is not None:
        return (
            f"to_natural fails: {trouble}; if X has many rows, not all alike, check to_natural, or, if that is the "
            "default, log_partition: its signs, its domain and the order of its statistics"
        )
    family, m = subject.family, subject.expectation
    back = np.asarray(family.to_expectation(np.array(natural)))
    spread = np.sqrt(mappings.CURVATURE) / mappings.scales(subject.A, natural)
    size = np.abs(m) + spread
    off = np.abs(back - m) / (NUMERIC * size + 1e3 * ROUNDING * np.abs(natural) * spread**2)
    if not np.all(off <= 1):
        k = int(np.argwhere(~(off <= 1))[0][0])
        return (
            f"for m = {show(m[k])} to_natural gives η = {show(natural[k])}, but to_expectation(η) is {show(back[k])} "
            "instead of m: to_natural is not the inverse of ∇A"
        )
    there = np.asarray(family.to_natural(family.to_expectation(np.array(subject.natural))))
    moved = subject.same_densities(subject.natural, there)
    if not moved <= 1:
        k = int(
            np.argmax([subject.same_densities(a[None], b[None]) for a, b in zip(subject.natural, there, strict=True)])
        )
        return (
            f"to_natural(to_expectation(η)) is {show(there[k])} for η = {show(subject.natural[k])}, which is another "
            "density: to_natural is not the inverse of ∇A"
        )
    subject.note = f"m comes back up to {off.max() * NUMERIC:.1g} of its size"
    return None


def step_is_a_maximum(subject: Subject):
    """The M-step maximises Σ counts (⟨η, m⟩ − A(η))."""
    family = subject.family
    if family.regularized:
        raise LeftOutError("the M-step is regularized")
    m = subject.expectation
    counts = np.linspace(1.5, 4.0, len(m))
    sums = counts[:, None] * m
    given = np.array(sums)
    found = np.asarray(family.maximize(counts.copy(), given))
    if not np.array_equal(given, sums):
        return "maximize changed its sums: it must compute into a new array"
    if found.shape != m.shape or not np.isfinite(subject.A(found)).all():
        return f"maximize returned shape {found.shape} for sums of shape {m.shape}, or an η without a finite A"
    if not family.coupled:
        alone = subject.solved[0]
        if not subject.same_densities(found, alone) <= 1:
            return (
                f"maximize(counts, sums) gives η = {show(found[0])} and to_natural(sums / counts) {show(alone[0])}, "
                "another density: they must agree unless coupled is True"
            )
    together = np.asarray(family.to_natural((sums.sum(axis=0) / counts.sum())[None]))

    def value(eta):
        return np.sum(sums * eta, axis=1) - counts * subject.A(np.broadcast_to(eta, m.shape))

    size = np.abs(sums * found).sum() + (counts * np.abs(subject.A(found))).sum() + 1
    rivals = [("if all components were equal", together)]
    if family.coupled:  # η nearby may break what components have in common, but what maximize returns cannot
        for share in (0.3, 0.1, 0.03, 0.01, 0.3, 0.1, 0.03, 0.01):
            moved = (1 - share) * m + share * m[subject.rng.permutation(len(m))]
            other = np.asarray(family.maximize(counts, counts[:, None] * moved))
            rivals.append(("at what maximize returns for means nearby", other))
    else:
        step = mappings.scales(subject.A, found)
        draws = subject.rng.uniform(-1, 1, (6, *m.shape)) / np.sqrt(m.shape[1])
        rivals += [("at an η nearby", found + draw * step) for draw in draws]
    for where, rival in rivals:
        there = value(rival)
        gain = there - value(found)
        gain = np.nansum(gain) if family.coupled else np.nanmax(gain)
        if gain > NUMERIC + 1e3 * ROUNDING * size:
            return (
                f"Σ counts (⟨η, m⟩ − A(η)) is higher by {gain:.3g} {where} than at what maximize returns: the M-step "
                "is not the maximum"
            )
    return None


def divergences(subject: Subject):
    """KL divergences are not negative, and 0 from a density to itself."""
    natural = subject.natural
    i, j = (axis.ravel() for axis in np.indices((len(natural), len(natural))))
    found = subject.family.divergence(natural[i], natural[j])
    A, mean = subject.A(natural), np.abs(subject.family.to_expectation(natural))
    spread = np.sqrt(mappings.CURVATURE) / mappings.scales(subject.A, natural)
    size = np.abs(A[i]) + np.abs(A[j]) + np.sum(np.abs(natural[j] - natural[i]) * (mean + spread)[i], axis=1)
    allowed = NUMERIC * (1 + size)
    bad = ~((found >= -allowed) & ((i != j) | (np.abs(found) <= allowed)))
    if bad.any():
        k = int(np.argmax(bad))
        return (
            f"divergence from η = {show(natural[i[k]])} to {show(natural[j[k]])} is {found[k]:.6g}: it must be ≥ 0, "
            "and 0 from a density to itself"
        )
    return None
