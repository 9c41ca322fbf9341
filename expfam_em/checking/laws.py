"""The laws of a family: each takes what is examined, returns a note or None, and raises an error if it is broken."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
from scipy import sparse

from expfam_em.checking.integrals import DIVERGES
from expfam_em.checking.subject import ALONE, NUMERIC, SUM_ROUNDING, LeftOutError, Subject, defines, frozen, show
from expfam_em.checking.support import possible
from expfam_em.family import checked, mappings
from expfam_em.family.alike import constants, equal
from expfam_em.family.base import ExponentialFamily
from expfam_em.rows.csr import CSRBlock

SAMPLED_ROWS = 10_000
STANDARD_ERRORS = 5  # that a mean over samples may be off: 6e-7 of all means are further away
CONVEX = 1e-10  # of the values of A: rounding of a chord
ALONG = np.arange(1, 32) / 32
RAYS = 24
RAY_LENGTHS = 2.0 ** np.arange(-1, 12)
"""Of a ray, in steps over which A bends by 0.1. Further out, a boundary passed by rounding would raise false alarms."""

LAWS: dict[str, Callable[[Subject], str | None]] = {}
"""Name and function of each law, the basic ones first, because those after them would fail for the same reason."""


class BrokenLawError(Exception):
    """What came instead of what a law promises, as a sentence."""


def law(name: str) -> Callable:
    """Enter a function as the next law; a decorator."""

    def enter(function):
        LAWS[name] = function
        return function

    return enter


def first_above(off, allowed=1.0) -> tuple[int, ...] | None:
    """Return where the first entry is that is not at most what is allowed, NaN among them; None if there is none."""
    bad = np.argwhere(~(np.asarray(off) <= allowed))
    return tuple(bad[0].tolist()) if len(bad) else None


# ---- rows ----------------------------------------------------------------------------------------------------------


@law("bind returns the same kind of family")
def _binding(subject):
    if type(subject.family) is not type(subject.plain):
        raise BrokenLawError(f"bind returned {subject.family!r}: it must return a family of the same class")
    if subject.bind_changed_rows:
        raise BrokenLawError("bind changed X: it must only read it")


@law("X is not changed")
def _unchanged_rows(subject):
    for method in ("sufficient_statistics", "log_base_measure", "exposure", "check_support"):
        given = subject.X.copy()
        try:
            getattr(subject.family, method)(given)
        except ValueError:
            if method != "check_support":  # a refusal is for a later law
                raise
        if not np.array_equal(given, subject.X):
            row, column = np.argwhere(given != subject.X)[0]
            raise BrokenLawError(
                f"{method} changed X[{row}, {column}] from {subject.X[row, column]:.6g} to {given[row, column]:.6g}: "
                "it must compute into a new array"
            )


@law("T is (n, p), log h and e are (n,)")
def _shapes_of_rows(subject):
    family, widths = subject.family, set()
    for n in (subject.n, subject.n - 1, 2, 1):
        X = frozen(subject.X[:n])
        T = np.asarray(family.sufficient_statistics(X))
        if T.ndim != 2 or len(T) != n:
            looks = T.ndim == 2 and T.shape[1] == n
            hint = ": it is transposed" if looks else ": one row of statistics for each row of X"
            raise BrokenLawError(
                f"sufficient_statistics returned shape {T.shape} for {n} rows; it must be (n, p) = ({n}, p){hint}"
            )
        widths.add(T.shape[1])
        for name, values in (("log_base_measure", family.log_base_measure(X)), ("exposure", family.exposure(X))):
            if values is not None and np.shape(values) != (n,):
                raise BrokenLawError(
                    f"{name} returned shape {np.shape(values)} for {n} rows; it must be one number per row, ({n},)"
                )
    if len(widths) > 1:
        raise BrokenLawError(
            f"sufficient_statistics returned {' and '.join(map(str, sorted(widths)))} columns for different numbers of "
            "rows: p must not depend on n (the result may be transposed)"
        )
    return f"p = {widths.pop()}"


@law("rows of X are possible")
def _rows_are_possible(subject):
    try:
        subject.family.check_support(frozen(subject.X))
    except ValueError as error:
        raise BrokenLawError(f"check_support refuses rows of X, which were said to be possible: {error}") from error
    accepted = subject.family.supports(frozen(subject.X))
    if np.shape(accepted) != (subject.n,) or not np.all(accepted):
        raise BrokenLawError(
            f"supports returned {show(accepted)} for rows that check_support accepts: it must be True for each, (n,)"
        )
    T, _, log_h = subject.statistics
    for name, values in (("sufficient_statistics", T), ("log_base_measure", log_h[:, None])):
        if not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values).all(axis=1)))
            raise BrokenLawError(
                f"{name} is {show(values[row])} for row {row}, {show(subject.X[row])}, which check_support accepts: it "
                "must be finite there, or check_support must refuse the row"
            )
    if not np.ptp(T, axis=0).any():
        raise BrokenLawError(
            f"all rows of X have the same T, {show(T[0])}: give rows that differ, so that η can be estimated"
        )


@law("T, log h and e of a row are its own")
def _rows_on_their_own(subject):
    worst = 0.0
    for method in ("sufficient_statistics", "log_base_measure", "exposure"):
        call = getattr(subject.family, method)
        whole = call(frozen(subject.X))
        if whole is None:
            continue
        whole = np.asarray(whole, float)
        size = np.abs(whole).max(axis=0)
        for cut in (slice(0, 1), slice(0, 2), slice(subject.n // 3, None), slice(None, None, -1)):
            part = np.asarray(call(frozen(subject.X[cut])), float)
            off = np.abs(part - whole[cut]) / np.where(size > 0, size, 1.0)
            off = np.where(part == whole[cut], 0.0, off)
            if (at := first_above(off, ALONE)) is not None:
                raise BrokenLawError(
                    f"{method} gives {show(part[at[0]])} for a row among {len(part)} rows and "
                    f"{show(whole[cut][at[0]])} for the same row among {subject.n}: it must depend on nothing but the "
                    "row (a mean or a rank over rows may be hidden in it)"
                )
            worst = max(worst, off.max())
    return f"equal up to {worst:.1g} of their size"


@law("e is positive")
def _exposure_is_positive(subject):
    exposure = subject.family.exposure(frozen(subject.X))
    if exposure is None:
        raise LeftOutError("e is 1")
    row = int(np.argmin(exposure))
    if not exposure[row] > 0:
        raise BrokenLawError(
            f"exposure is {exposure[row]:.6g} for row {row}, {show(subject.X[row])}: it must be positive"
        )
    return f"from {np.min(exposure):.3g} to {np.max(exposure):.3g}"


# ---- the log-partition ---------------------------------------------------------------------------------------------


@law("A is (K,)")
def _shape_of_partition(subject):
    p = subject.statistics[0].shape[1]
    for K in (1, 2, p + 3):
        shape = np.shape(subject.family.log_partition(np.array(-np.ones((K, p)))))
        if shape != (K,):
            raise BrokenLawError(
                f"log_partition returned shape {shape} for natural parameters of shape {(K, p)}; it must be {(K,)}: "
                "sum over axis 1, the statistics of one component"
            )
    natural = subject.natural
    together, alone = subject.A(natural), np.concatenate([subject.A(row[None]) for row in natural])
    if not np.allclose(together, alone, rtol=ALONE, atol=ALONE):
        k = int(np.argmax(np.abs(together - alone)))
        raise BrokenLawError(
            f"log_partition of η = {show(natural[k])} is {alone[k]:.10g} alone and {together[k]:.10g} among other "
            "rows: it must depend on nothing but its row (sum over axis 1)"
        )


@law("parameters are not changed")
def _unchanged_arguments(subject):
    for method, values in (
        ("log_partition", subject.natural), ("to_expectation", subject.natural), ("to_natural", subject.expectation),
        ("parameters", subject.natural), ("expected_log_base_measure", subject.natural),
    ):  # fmt: skip
        if not defines(subject.family, method):
            continue
        given = np.array(values)
        try:
            getattr(subject.family, method)(given)
        except Exception:  # what is wrong with the method itself is for a later law
            continue
        if not np.array_equal(given, values):
            raise BrokenLawError(f"{method} changed its argument: it must compute into a new array")


def _bent(subject, starts, ends):
    """Return the first of some chords on which A is not convex or not finite, and where; and the largest excess."""
    points = (1 - ALONG[:, None, None]) * starts + ALONG[:, None, None] * ends
    values = subject.A(points.reshape(-1, points.shape[-1])).reshape(points.shape[:2])
    first, last = subject.A(starts), subject.A(ends)
    chord = (1 - ALONG[:, None]) * first + ALONG[:, None] * last
    excess = (values - chord) / (1 + np.abs(first) + np.abs(last))
    bad = np.any(~(excess <= CONVEX), axis=0)
    if not bad.any():
        return None, float(excess.max(initial=-np.inf))
    # an undefined value says more than a bent one
    k = int(np.flatnonzero(bad)[np.argmin(np.isfinite(values[:, bad]).all(axis=0))])
    t = int(np.argmax(np.where(np.isfinite(values[:, k]), excess[:, k], np.inf)))
    return (starts[k], ends[k], points[t, k], values[t, k], chord[t, k]), np.inf


def _directions(subject):
    directions = np.random.default_rng(0).standard_normal((RAYS, subject.natural.shape[1]))
    return np.eye(directions.shape[1])[:RAYS], directions / np.linalg.norm(directions, axis=1, keepdims=True)


@law("A is convex")
def _convexity(subject):
    natural = subject.natural
    i, j = np.triu_indices(len(natural), 1)
    shift = np.concatenate(_directions(subject))[:, None, :] * mappings.scales(subject.A, natural[:2])
    low, high = ((natural[:2] + sign * shift).reshape(-1, natural.shape[1]) for sign in (-1, 1))
    inside = np.isfinite(subject.A(low)) & np.isfinite(subject.A(high))
    starts, ends = np.concatenate([natural[i], low[inside]]), np.concatenate([natural[j], high[inside]])
    found, excess = _bent(subject, starts, ends)
    if found is None:
        return f"on {len(starts)} chords; nearest to one at {-excess:.1g} of the size of A below it"
    start, end, point, value, chord = found
    if not np.isfinite(value):
        raise BrokenLawError(
            f"log_partition is {value} at η = {show(point)}, between {show(start)} and {show(end)}, where it is "
            "finite: the natural-parameter space is convex"
        )
    raise BrokenLawError(
        f"log_partition is not convex: at η = {show(point)} it is {value:.6g}, above the chord from {show(start)} to "
        f"{show(end)}, which is there at {chord:.6g}; check its signs"
    )


@law("A is finite in a convex region only")
def _space(subject):
    origin = subject.natural[:1]
    axes, others = _directions(subject)
    rays = np.concatenate([axes, -axes, others]) * mappings.scales(subject.A, origin)
    far = (origin + RAY_LENGTHS[:, None, None] * rays).reshape(-1, origin.shape[1])
    far = far[np.isfinite(subject.A(far))]
    found, _ = _bent(subject, np.broadcast_to(origin, far.shape), far)
    if found is None:
        return f"{len(far)} of {len(RAY_LENGTHS) * len(rays)} points far away are inside"
    start, end, point, value, chord = found
    raise BrokenLawError(
        f"log_partition is finite at η = {show(end)}, but on the way there from η = {show(start)}, made from X, it is "
        f"{value:.6g} at {show(point)}, not below the chord at {chord:.6g}: where the space ends it must not be "
        "finite, as log|Γ(a)| (gammaln) is for a < 0; write np.where(a > 0, ..., np.inf)"
    )


# ---- mappings ------------------------------------------------------------------------------------------------------


@law("to_expectation is ∇A")
def _expectation_is_gradient(subject):
    natural, slope = subject.natural, subject.slope
    if not defines(subject.family, "to_expectation"):
        raise LeftOutError("to_expectation is the default, differences of A")
    if not np.isfinite(slope).all():
        raise LeftOutError("A could not be differenced")
    mean = np.asarray(subject.family.to_expectation(np.array(natural)))
    if mean.shape != natural.shape:
        raise BrokenLawError(f"to_expectation returned shape {mean.shape} for {natural.shape}: it must be (K, p)")
    # an expectation near 0 is known in units of its statistic's spread
    spread = subject.spread(natural)
    rounding = SUM_ROUNDING * np.abs(subject.A(natural))[:, None] * spread
    off = np.abs(mean - slope) / (NUMERIC * (np.abs(slope) + spread) + rounding)
    if (at := first_above(off)) is not None:
        k = at[0]
        raise BrokenLawError(
            f"to_expectation gives {show(mean[k])} at η = {show(natural[k])}, but the differences of log_partition "
            f"give ∇A(η) = {show(slope[k])}{_which(subject, k)}"
        )
    return f"off by {off.max() * NUMERIC:.1g} of its size"


def _which(subject, k):
    """Say which of the two is the mean of T, if that is known."""
    try:
        _, found = subject.integrals
    except LeftOutError:
        found = []
    if any(at == k and not moments.trouble and subject.off_slope(k, row, moments) <= 1 for at, row, moments in found):
        return ", which is also the mean of T under the density: to_expectation is wrong"
    return ": one of the two is wrong"


@law("∇A is the mean of T")
def _mean_of_statistics(subject):
    subject = subject.of_integrals
    over, found = subject.integrals
    for k, _, moments in found:
        if moments.trouble == DIVERGES:
            raise BrokenLawError(
                f"the integral of h exp(⟨η, T⟩) over {over} diverges at η = {show(subject.natural[k])}, where "
                f"log_partition is finite: check log_base_measure{_forgotten(subject)}, the order and the signs of the "
                "statistics against η, and check_support"
            )
    worst = 0.0
    for k, row, moments in subject.fine_integrals():
        off = subject.off_slope(k, row, moments)
        if off > 1:
            expected = subject.exposure_of(row) * subject.slope[k]
            raise BrokenLawError(
                f"the mean of T under the density h exp(⟨η, T⟩) over {over} is {show(moments.mean)} at η = "
                f"{show(subject.natural[k])}, but log_partition has the gradient e ∇A(η) = {show(expected)}: "
                f"{_suspects(subject, moments, expected)}"
            )
        worst = max(worst, off)
    return f"over {over}, off by {worst * NUMERIC:.1g} of its size"


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


@law("the density integrates to 1")
def _mass(subject):
    subject = subject.of_integrals
    over, fine = subject.integrals[0], subject.fine_integrals()
    k, row, worst = max(fine, key=lambda entry: abs(entry[2].log_mass) / subject.allowed_mass(entry[2]))
    off = worst.log_mass
    if abs(off) <= subject.allowed_mass(worst):
        return f"over {over}, to {np.exp(off):.12g}"
    missing = "by other factors at other η, so check log_partition and log_base_measure"
    if len(fine) > 1 and np.ptp([moments.log_mass for _, _, moments in fine]) <= 1e-3 * abs(off):
        more, of_a, less, of_h = ("add", "to", "subtract", "from") if off > 0 else ("subtract", "from", "add", "to")
        missing = (
            f"A or log h is off by a constant: {more} {abs(off) / subject.exposure_of(row):.6g} {of_a} log_partition, "
            f"or {less} {abs(off):.6g} {of_h} log_base_measure"
        )
    raise BrokenLawError(
        f"over {over}, at η = {show(subject.natural[k])}, the density integrates to {np.exp(off):.6g} = "
        f"e^{off:.6g} instead of 1: {missing}"
    )


@law("expected_log_base_measure is E[log h]")
def _mean_of_log_base(subject):
    given = subject.family.expected_log_base_measure(np.array(subject.natural))
    if given is None:
        raise LeftOutError("there is no formula for E[log h]")
    given = np.asarray(given)
    if given.shape != (len(subject.natural),):
        raise BrokenLawError(
            f"expected_log_base_measure returned shape {given.shape}; it must be one number per row of η, (K,)"
        )
    over, found = subject.integrals
    fine = [(k, moments) for k, row, moments in found if not moments.trouble and subject.exposure_of(row) == 1]
    if not fine:
        raise LeftOutError(f"nothing was integrated over {over} where e is 1")
    for k, moments in fine:
        allowed = NUMERIC * (1 + abs(moments.log_base)) + SUM_ROUNDING * moments.size
        if not abs(given[k] - moments.log_base) <= allowed:
            raise BrokenLawError(
                f"expected_log_base_measure is {given[k]:.8g} at η = {show(subject.natural[k])}, but the mean of log h "
                f"under the density is {moments.log_base:.8g}"
            )


@law("the mappings are inverse")
def _mappings_are_inverse(subject):
    natural, trouble = subject.solved
    if trouble is not None:
        raise BrokenLawError(
            f"to_natural fails: {trouble}; if X has many rows, not all alike, check to_natural, or, if that is the "
            "default, log_partition: its signs, its domain and the order of its statistics"
        )
    family, m = subject.family, subject.expectation
    back = np.asarray(family.to_expectation(np.array(natural)))
    spread = subject.spread(natural)
    off = np.abs(back - m) / (NUMERIC * (np.abs(m) + spread) + 1e3 * SUM_ROUNDING * np.abs(natural) * spread**2)
    if (at := first_above(off)) is not None:
        k = at[0]
        raise BrokenLawError(
            f"for m = {show(m[k])} to_natural gives η = {show(natural[k])}, but to_expectation(η) is {show(back[k])} "
            "instead of m: to_natural is not the inverse of ∇A"
        )
    there = np.asarray(family.to_natural(family.to_expectation(np.array(subject.natural))))
    if not subject.same_densities(subject.natural, there).max() <= 1:
        k = int(np.argmax(subject.same_densities(subject.natural, there)))
        raise BrokenLawError(
            f"to_natural(to_expectation(η)) is {show(there[k])} for η = {show(subject.natural[k])}, which is another "
            "density: to_natural is not the inverse of ∇A"
        )
    return f"m comes back up to {off.max() * NUMERIC:.1g} of its size"


@law("the M-step is the maximum")
def _step_is_a_maximum(subject):
    family, m = subject.family, subject.expectation
    if family.regularized:
        raise LeftOutError("the M-step is regularized")
    counts = np.linspace(1.5, 4.0, len(m))
    sums = counts[:, None] * m
    given = np.array(sums)
    found = np.asarray(family.maximize(counts.copy(), given))
    if not np.array_equal(given, sums):
        raise BrokenLawError("maximize changed its sums: it must compute into a new array")
    if found.shape != m.shape or not np.isfinite(subject.A(found)).all():
        raise BrokenLawError(
            f"maximize returned shape {found.shape} for sums of shape {m.shape}, or an η without a finite A"
        )
    if not family.coupled and not subject.same_densities(found, alone := subject.solved[0]).max() <= 1:
        raise BrokenLawError(
            f"maximize(counts, sums) gives η = {show(found[0])} and to_natural(sums / counts) {show(alone[0])}, "
            "another density: they must agree unless coupled is True"
        )

    def value(eta):
        return np.sum(sums * eta, axis=1) - counts * subject.A(np.broadcast_to(eta, m.shape))

    size = np.abs(sums * found).sum() + (counts * np.abs(subject.A(found))).sum() + 1
    together = np.asarray(family.to_natural((sums.sum(axis=0) / counts.sum())[None]))
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
        gain = value(rival) - value(found)
        gain = np.nansum(gain) if family.coupled else np.nanmax(gain)
        if gain > NUMERIC + 1e3 * SUM_ROUNDING * size:
            raise BrokenLawError(
                f"Σ counts (⟨η, m⟩ − A(η)) is higher by {gain:.3g} {where} than at what maximize returns: the M-step "
                "is not the maximum"
            )


@law("divergences are not negative")
def _divergences(subject):
    natural = subject.natural
    i, j = (axis.ravel() for axis in np.indices((len(natural), len(natural))))
    found = subject.family.divergence(natural[i], natural[j])
    A, mean = subject.A(natural), np.abs(subject.family.to_expectation(natural))
    change = np.abs(natural[j] - natural[i]) * (mean + subject.spread(natural))[i]
    allowed = NUMERIC * (1 + np.abs(A[i]) + np.abs(A[j]) + np.sum(change, axis=1))
    bad = ~((found >= -allowed) & ((i != j) | (np.abs(found) <= allowed)))
    if bad.any():
        k = int(np.argmax(bad))
        raise BrokenLawError(
            f"divergence from η = {show(natural[i[k]])} to {show(natural[j[k]])} is {found[k]:.6g}: it must be ≥ 0, "
            "and 0 from a density to itself"
        )


# ---- what else a family may say ------------------------------------------------------------------------------------


@law("parameters have one entry for each component")
def _named_parameters(subject):
    family, natural = subject.family, subject.natural
    for K in (1, len(natural)):
        found = family.parameters(np.array(natural[:K]))
        if not isinstance(found, dict):
            raise BrokenLawError(f"parameters returned {type(found).__name__}; it must be a dict of arrays by name")
        for name, value in found.items():
            if not family.coupled and np.shape(value)[:1] != (K,):
                raise BrokenLawError(
                    f"parameters returned {name!r} of shape {np.shape(value)} for {K} components: its first axis must "
                    "be the components, (K, ...)"
                )
    counted = family.n_parameters(len(natural))
    if counted is not None and not 0 <= counted <= natural.size:
        raise BrokenLawError(
            f"n_parameters is {counted!r} for {len(natural)} components of {natural.shape[1]} natural parameters each: "
            f"it must be a number from 0 to {natural.size}, or None"
        )
    return ", ".join(found)


@law("from_parameters inverts parameters")
def _names_lead_back(subject):
    family, natural = subject.family, subject.natural
    if not defines(family, "from_parameters"):
        raise LeftOutError("from_parameters is not defined")
    if family.coupled:  # components have something in common, which only the M-step brings about
        counts, m = np.linspace(1.5, 4.0, len(subject.expectation)), subject.expectation
        natural = np.asarray(family.maximize(counts, counts[:, None] * m))
    named = family.parameters(np.array(natural))
    try:
        back = np.asarray(family.from_parameters(**named))
    except NotImplementedError as reason:  # of a part that does not define it
        raise LeftOutError(str(reason)) from reason
    except TypeError as error:
        if not _names_are_later(type(family)):
            raise
        raise LeftOutError(f"parameters has names of its own, and from_parameters is inherited: {error}") from error
    if back.shape != natural.shape:
        raise BrokenLawError(f"from_parameters returned shape {back.shape} for {natural.shape}: it must be (K, p)")
    off = subject.same_densities(natural, back)
    if (at := first_above(off)) is not None:
        k = at[0]
        of_each = {name: np.asarray(value) for name, value in named.items() if np.shape(value)[:1] == natural.shape[:1]}
        shown = ", ".join(f"{name} = {show(value[k])}" for name, value in of_each.items())
        raise BrokenLawError(
            f"parameters says {shown} at η = {show(natural[k])}, and from_parameters gives η = {show(back[k])} for "
            "it, which is another density: the two must be inverse to each other"
        )
    return f"densities come back, to {off.max():.1g} of what is allowed"


def _names_are_later(kind) -> bool:
    """Whether a class names its parameters below the class that defines the way back from the names."""

    def order(*methods):
        return min(at for at, base in enumerate(kind.__mro__) if any(method in vars(base) for method in methods))

    return order("parameters", "parameters_of") < order("from_parameters", "natural_from")


@law("entropy is −E[log p]")
def _entropies(subject):
    if not defines(subject.family, "entropy"):
        raise LeftOutError("entropy is the default, of A and expected_log_base_measure")
    family, natural = subject.family, subject.natural
    found, expected = family.entropy(natural), ExponentialFamily.entropy(family, natural)
    if found is None or expected is None:
        raise LeftOutError("there is no formula for E[log h] to compare it with")
    if (at := first_above(np.abs(found - expected) / (1 + np.abs(expected)), NUMERIC)) is not None:
        raise BrokenLawError(
            f"entropy of η = {show(natural[at[0]])} is {found[at]:.6g}, and A(η) − ⟨η, ∇A(η)⟩ − E[log h] is "
            f"{expected[at]:.6g}: they must be equal"
        )


@law("log_density is that of T and A")
def _densities(subject):
    if not defines(subject.family, "log_density"):
        raise LeftOutError("log_density is the default")
    found = subject.family.log_density(frozen(subject.X), subject.natural)
    expected = ExponentialFamily.log_density(subject.family, frozen(subject.X), subject.natural)
    if (at := first_above(np.abs(found - expected) / (1 + np.abs(expected)), NUMERIC)) is not None:
        raise BrokenLawError(
            f"log_density of row {at[0]} is {found[at]:.6g} for η = {show(subject.natural[at[1]])}, and ⟨η, T⟩ − e A + "
            f"log h is {expected[at]:.6g}: they must be equal"
        )


@law("kernel_form builds T")
def _monomials_are_statistics(subject):
    form = subject.family.kernel_form(subject.d)
    if form is None:
        raise LeftOutError("kernel_form is None")
    X = frozen(subject.X)
    T, built = subject.statistics[0], form.monomials.evaluate(X if form.columns is None else form.columns(X))
    if built.shape != T.shape or not np.allclose(built, T, rtol=ALONE, atol=ALONE * np.abs(T).max()):
        column = 0 if built.shape != T.shape else int(np.argmax(np.abs(built - T).max(axis=0)))
        raise BrokenLawError(
            f"kernel_form builds {show(built[0])} for row 0 and sufficient_statistics {show(T[0])}: they must be "
            f"equal, and column {column} is not"
        )


@law("zeros are kept")
def _zeros_are_kept(subject):
    """T(x) = x, and zeros add nothing to log h, as ``sparse`` says."""
    if subject.family.sparse not in ("entries", "rows"):
        raise LeftOutError("sparse is not 'entries' or 'rows'")
    fewer = np.where(subject.rng.random(subject.X.shape) < 0.5, subject.X, 0.0)
    for X in (subject.X, np.concatenate([subject.X[:1], fewer[possible(subject.family, fewer)]])):
        try:
            checked.check_sparse(subject.family, CSRBlock.of(sparse.csr_array(X)))
        except ValueError as error:
            raise BrokenLawError(str(error)) from error


@law("sample draws from the density")
def _samples(subject):
    family = subject.family
    if not defines(family, "sample"):
        raise LeftOutError("sample is not defined")
    eta, shape = subject.natural[0], (50, subject.d)
    untouched = pickle.dumps(np.random.get_state())  # noqa: NPY002 - what a sampler may draw from by mistake
    drawn = [np.asarray(family.sample(np.array(eta), 50, np.random.default_rng(seed))) for seed in (1, 1)]
    if any(rows.shape != shape for rows in drawn):
        raise BrokenLawError(f"sample returned shape {drawn[0].shape} for n = 50; it must be (n, d) = {shape}")
    if pickle.dumps(np.random.get_state()) != untouched:  # noqa: NPY002
        raise BrokenLawError("sample draws from NumPy's global state: it must draw from the rng it is given only")
    if not np.array_equal(drawn[0], drawn[1]):
        raise BrokenLawError(
            "sample gives other rows for two generators of the same seed: it must draw from the rng it is given only"
        )
    worst, before = 0.0, drawn[0]
    for k in (0, 0, 1):
        rows = np.asarray(family.sample(np.array(subject.natural[k]), SAMPLED_ROWS, subject.rng), float)
        if np.array_equal(rows, before) and np.ptp(rows) > 0:
            raise BrokenLawError("sample gives the same rows with every rng: it must draw from the rng it is given")
        before = rows
        try:
            family.check_support(rows)
        except ValueError as error:
            raise BrokenLawError(f"sample draws rows that check_support refuses: {error}") from error
        worst = max(worst, _off_moments(subject, rows, k))
    return f"means and variances of T within {worst:.1f} standard errors"


def _off_moments(subject, rows, k) -> float:
    """Return by how many standard errors sampled moments of T are off, if they are not too many."""
    T, exposure = checked.statistics(subject.family, rows)
    exposure = np.ones(len(rows)) if exposure is None else exposure
    expected = np.asarray(subject.family.to_expectation(subject.natural[k : k + 1]))[0]
    spread, worst = subject.curvature[k], 0.0
    Z = T - exposure[:, None] * expected
    for name, symbol, values, target, rounding, deviation in (
        ("mean", "∇A", Z, expected, spread, spread * np.sqrt(exposure.mean())),
        ("variance", "∇²A", Z**2 - exposure[:, None] * spread**2, spread**2, spread**2, 0.0),
    ):
        # rare large values make the mean of few skewed: Bernstein's inequality adds a term for the largest one
        error = np.maximum(values.std(axis=0), deviation) / np.sqrt(len(rows))
        error = error + STANDARD_ERRORS * np.abs(values).max(axis=0) / (3 * len(rows)) + NUMERIC * rounding
        off = np.abs(values.mean(axis=0)) / np.where(error > 0, error, 1.0)
        off[~np.isfinite(off)] = 0.0  # where A could not be differenced
        j = int(np.argmax(off))
        if off[j] > STANDARD_ERRORS:
            wanted = target[j] * exposure.mean()
            raise BrokenLawError(
                f"the {name} of statistic {j} over {len(rows)} samples at η = {show(subject.natural[k])} is "
                f"{wanted + values[:, j].mean():.6g}, {off[j]:.0f} standard errors from {wanted:.6g}, which is "
                f"{symbol}: check the scale in sample{_or_partition(subject)}"
            )
        worst = max(worst, off[j])
    return worst


def _or_partition(subject):
    try:
        subject.of_integrals.fine_integrals()
    except LeftOutError:
        return ", and log_partition and log_base_measure, whose integral was not taken"
    return ""


@law("the family is not changed")
def _unchanged_family(subject):
    for one, before, name in (
        (subject.plain, subject.before, "family"), (subject.family, subject.bound_before, "bound family"),
    ):  # fmt: skip
        now = constants(one)
        changed = [key for key in {**before, **now} if not equal(before.get(key), now.get(key))]
        if changed:
            names = ", ".join(changed)
            raise BrokenLawError(f"calling its methods changed attributes of the {name} ({names}), which threads share")
