"""The laws of a family: each takes what is examined and returns a sentence if the family breaks it, else None."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
from scipy import sparse

from expfam_em.checking import parameters
from expfam_em.checking.subject import ALONE, NUMERIC, LeftOutError, Subject, defines, frozen, show
from expfam_em.checking.support import possible
from expfam_em.family import checked
from expfam_em.family.alike import constants, equal
from expfam_em.family.base import ExponentialFamily
from expfam_em.rows.csr import CSRBlock

DRAWS = 10_000
ERRORS = 5  # standard errors that a mean over samples may be off: 6e-7 of all means are further away

# ---- rows ----------------------------------------------------------------------------------------------------------


def binding(subject: Subject):
    """``bind`` returns the same kind of family."""
    if type(subject.family) is not type(subject.plain):
        return f"bind returned {subject.family!r}: it must return a family of the same class"
    return "bind changed X: it must only read it" if subject.bind_changed_rows else None


def unchanged_rows(subject: Subject):
    """Methods that take X leave it as it was."""
    for method in ("sufficient_statistics", "log_base_measure", "exposure", "check_support"):
        given = subject.X.copy()
        try:
            getattr(subject.family, method)(given)
        except ValueError:
            if method != "check_support":  # a refusal is for a later law
                raise
        if not np.array_equal(given, subject.X):
            row, column = np.argwhere(given != subject.X)[0]
            return (
                f"{method} changed X[{row}, {column}] from {subject.X[row, column]:.6g} to {given[row, column]:.6g}: "
                "it must compute into a new array"
            )
    return None


def shapes_of_rows(subject: Subject):
    """T is (n, p), log h and e are (n,)."""
    family, widths = subject.family, set()
    for n in (subject.n, subject.n - 1, 2, 1):
        X = frozen(subject.X[:n])
        T = np.asarray(family.sufficient_statistics(X))
        if T.ndim != 2 or len(T) != n:
            looks = T.ndim == 2 and T.shape[1] == n
            hint = ": it is transposed" if looks else ": one row of statistics for each row of X"
            return f"sufficient_statistics returned shape {T.shape} for {n} rows; it must be (n, p) = ({n}, p){hint}"
        widths.add(T.shape[1])
        for name, values in (("log_base_measure", family.log_base_measure(X)), ("exposure", family.exposure(X))):
            if values is not None and np.shape(values) != (n,):
                return f"{name} returned shape {np.shape(values)} for {n} rows; it must be one number per row, ({n},)"
    if len(widths) > 1:
        return (
            f"sufficient_statistics returned {' and '.join(map(str, sorted(widths)))} columns for different numbers of "
            "rows: p must not depend on n (the result may be transposed)"
        )
    subject.note = f"p = {widths.pop()}"
    return None


def rows_on_their_own(subject: Subject):
    """T, log h and e of a row do not depend on the rows beside it."""
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
            with np.errstate(all="ignore"):
                off = np.abs(part - whole[cut]) / np.where(size > 0, size, 1.0)
            off = np.where(part == whole[cut], 0.0, off)
            if not np.all(off <= ALONE):
                row = int(np.argwhere(~(off <= ALONE))[0][0])
                return (
                    f"{method} gives {show(part[row])} for a row among {len(part)} rows and {show(whole[cut][row])} "
                    f"for the same row among {subject.n}: it must depend on nothing but the row (a mean or a rank over "
                    "rows may be hidden in it)"
                )
            worst = max(worst, off.max())
    subject.note = f"equal up to {worst:.1g} of their size"
    return None


def exposure_is_positive(subject: Subject):
    """e(x) > 0."""
    exposure = subject.family.exposure(frozen(subject.X))
    if exposure is None:
        raise LeftOutError("e is 1")
    row = int(np.argmin(exposure))
    if not exposure[row] > 0:
        return f"exposure is {exposure[row]:.6g} for row {row}, {show(subject.X[row])}: it must be positive"
    subject.note = f"from {np.min(exposure):.3g} to {np.max(exposure):.3g}"
    return None


def rows_are_possible(subject: Subject):
    """``check_support`` and ``supports`` accept the rows, and T and log h of them are finite."""
    try:
        subject.family.check_support(frozen(subject.X))
    except ValueError as error:
        return f"check_support refuses rows of X, which were said to be possible: {error}"
    accepted = subject.family.supports(frozen(subject.X))
    if np.shape(accepted) != (subject.n,) or not np.all(accepted):
        return f"supports returned {show(accepted)} for rows that check_support accepts: it must be True for each, (n,)"
    T, _, log_h = subject.statistics
    for name, values in (("sufficient_statistics", T), ("log_base_measure", log_h[:, None])):
        if not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values).all(axis=1)))
            return (
                f"{name} is {show(values[row])} for row {row}, {show(subject.X[row])}, which check_support accepts: it "
                "must be finite there, or check_support must refuse the row"
            )
    if not np.ptp(T, axis=0).any():
        return f"all rows of X have the same T, {show(T[0])}: give rows that differ, so that η can be estimated"
    return None


# ---- what else a family may say ------------------------------------------------------------------------------------


def unchanged_arguments(subject: Subject):
    """Methods that take parameters leave them as they were."""
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
            return f"{method} changed its argument: it must compute into a new array"
    return None


def unchanged_family(subject: Subject):
    """No method changes the family, for threads share it."""
    for one, before, name in (
        (subject.plain, subject.before, "family"), (subject.family, subject.bound_before, "bound family"),
    ):  # fmt: skip
        now = constants(one)
        changed = [key for key in {**before, **now} if not equal(before.get(key), now.get(key))]
        if changed:
            names = ", ".join(changed)
            return f"calling its methods changed attributes of the {name} ({names}), which threads share"
    return None


def named_parameters(subject: Subject):
    """``parameters`` returns a dict of arrays, one entry for each component."""
    for K in (1, len(subject.natural)):
        found = subject.family.parameters(np.array(subject.natural[:K]))
        if not isinstance(found, dict):
            return f"parameters returned {type(found).__name__}; it must be a dict of arrays by name"
        for name, value in found.items():
            shape = np.shape(value)
            if not subject.family.coupled and (not shape or shape[0] != K):
                return (
                    f"parameters returned {name!r} of shape {shape} for {K} components: its first axis must be the "
                    "components, (K, ...)"
                )
    most, counted = len(subject.natural) * subject.natural.shape[1], subject.family.n_parameters(len(subject.natural))
    if counted is not None and not 0 <= counted <= most:
        return (
            f"n_parameters is {counted!r} for {len(subject.natural)} components of {subject.natural.shape[1]} natural "
            f"parameters each: it must be a number from 0 to {most}, or None"
        )
    subject.note = ", ".join(found)
    return None


def names_lead_back(subject: Subject):
    """``from_parameters`` is the inverse of ``parameters``, if the family has its own."""
    family = subject.family
    if not defines(family, "from_parameters"):
        raise LeftOutError("from_parameters is not defined")
    natural = subject.natural
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
        return f"from_parameters returned shape {back.shape} for {natural.shape}: it must be (K, p)"
    off = np.array([subject.same_densities(one[None], other[None]) for one, other in zip(natural, back, strict=True)])
    if not np.all(off <= 1):
        k = int(np.argmin(off <= 1))
        of_each = {name: np.asarray(value) for name, value in named.items() if np.shape(value)[:1] == natural.shape[:1]}
        shown = ", ".join(f"{name} = {show(value[k])}" for name, value in of_each.items())
        return (
            f"parameters says {shown} at η = {show(natural[k])}, and from_parameters gives η = {show(back[k])} for "
            "it, which is another density: the two must be inverse to each other"
        )
    subject.note = f"densities come back, to {off.max():.1g} of what is allowed"
    return None


def _names_are_later(kind) -> bool:
    """Whether a class names its parameters below the class that defines the way back from the names."""

    def order(*methods):
        return min(at for at, base in enumerate(kind.__mro__) if any(method in vars(base) for method in methods))

    return order("parameters", "parameters_of") < order("from_parameters", "natural_from")


def entropies(subject: Subject):
    """``entropy`` is −E[log p], if the family has its own."""
    if not defines(subject.family, "entropy"):
        raise LeftOutError("entropy is the default, of A and expected_log_base_measure")
    family, natural = subject.family, subject.natural
    found, expected = family.entropy(natural), ExponentialFamily.entropy(family, natural)
    if found is None or expected is None:
        raise LeftOutError("there is no formula for E[log h] to compare it with")
    off = np.abs(found - expected) / (1 + np.abs(expected))
    if not np.all(off <= NUMERIC):
        k = int(np.argmax(~(off <= NUMERIC)))
        return (
            f"entropy of η = {show(natural[k])} is {found[k]:.6g}, and A(η) − ⟨η, ∇A(η)⟩ − E[log h] is "
            f"{expected[k]:.6g}: they must be equal"
        )
    return None


def densities(subject: Subject):
    """``log_density`` is ⟨η, T⟩ − e A + log h, if the family has its own."""
    if not defines(subject.family, "log_density"):
        raise LeftOutError("log_density is the default")
    found = subject.family.log_density(frozen(subject.X), subject.natural)
    expected = ExponentialFamily.log_density(subject.family, frozen(subject.X), subject.natural)
    off = np.abs(found - expected) / (1 + np.abs(expected))
    if not np.all(off <= NUMERIC):
        row, k = np.unravel_index(np.argmax(~(off <= NUMERIC)), off.shape)
        return (
            f"log_density of row {row} is {found[row, k]:.6g} for η = {show(subject.natural[k])}, and ⟨η, T⟩ − e A + "
            f"log h is {expected[row, k]:.6g}: they must be equal"
        )
    return None


def monomials_are_statistics(subject: Subject):
    """``kernel_form`` builds the T of ``sufficient_statistics``."""
    form = subject.family.kernel_form(subject.d)
    if form is None:
        raise LeftOutError("kernel_form is None")
    X = frozen(subject.X)
    T, built = subject.statistics[0], form.monomials.evaluate(X if form.columns is None else form.columns(X))
    if built.shape != T.shape or not np.allclose(built, T, rtol=ALONE, atol=ALONE * np.abs(T).max()):
        column = 0 if built.shape != T.shape else int(np.argmax(np.abs(built - T).max(axis=0)))
        return (
            f"kernel_form builds {show(built[0])} for row 0 and sufficient_statistics {show(T[0])}: they must be "
            f"equal, and column {column} is not"
        )
    return None


def zeros_are_kept(subject: Subject):
    """``sparse`` is "entries" or "rows": T(x) = x, and zeros add nothing to log h."""
    if subject.family.sparse not in ("entries", "rows"):
        raise LeftOutError("sparse is not 'entries' or 'rows'")
    fewer = np.where(subject.rng.random(subject.X.shape) < 0.5, subject.X, 0.0)
    for X in (subject.X, np.concatenate([subject.X[:1], fewer[possible(subject.family, fewer)]])):
        try:
            checked.check_sparse(subject.family, CSRBlock.of(sparse.csr_array(X)))
        except ValueError as error:
            return str(error)
    return None


def samples(subject: Subject):
    """``sample`` draws from the density, with the generator it is given."""
    family = subject.family
    if not defines(family, "sample"):
        raise LeftOutError("sample is not defined")
    eta, shape = subject.natural[0], (50, subject.d)
    untouched = pickle.dumps(np.random.get_state())  # noqa: NPY002 - what a sampler may draw from by mistake
    drawn = [np.asarray(family.sample(np.array(eta), 50, np.random.default_rng(seed))) for seed in (1, 1)]
    if any(rows.shape != shape for rows in drawn):
        return f"sample returned shape {drawn[0].shape} for n = 50; it must be (n, d) = {shape}"
    if pickle.dumps(np.random.get_state()) != untouched:  # noqa: NPY002
        return "sample draws from NumPy's global state: it must draw from the rng it is given only"
    if not np.array_equal(drawn[0], drawn[1]):
        return "sample gives other rows for two generators of the same seed: it must draw from the rng it is given only"
    worst, before = 0.0, drawn[0]
    for k in (0, 0, 1):
        rows = np.asarray(family.sample(np.array(subject.natural[k]), DRAWS, subject.rng), float)
        if np.array_equal(rows, before) and np.ptp(rows) > 0:
            return "sample gives the same rows with every rng: it must draw from the rng it is given"
        before = rows
        try:
            family.check_support(rows)
        except ValueError as error:
            return f"sample draws rows that check_support refuses: {error}"
        found = _moments_of(subject, rows, k)
        if isinstance(found, str):
            return found
        worst = max(worst, found)
    subject.note = f"means and variances of T within {worst:.1f} standard errors"
    return None


def _moments_of(subject, rows, k):
    """Return by how many standard errors sampled moments of T are off, or the sentence if they are too many."""
    T, exposure = checked.statistics(subject.family, rows)
    exposure = np.ones(len(rows)) if exposure is None else exposure
    expected = np.asarray(subject.family.to_expectation(subject.natural[k : k + 1]))[0]
    spread = subject.curvature[k]
    Z = T - exposure[:, None] * expected
    worst = 0.0
    for name, values, deviation in (
        ("mean", Z, spread * np.sqrt(exposure.mean())), ("variance", Z**2 - exposure[:, None] * spread**2, 0.0),
    ):  # fmt: skip
        # rare large values make the mean of few skewed: Bernstein's inequality adds a term for the largest one
        error = np.maximum(values.std(axis=0), deviation) / np.sqrt(len(rows))
        error = (
            error + ERRORS * np.abs(values).max(axis=0) / (3 * len(rows)) + NUMERIC * spread ** (1 + (name != "mean"))
        )
        off = np.abs(values.mean(axis=0)) / np.where(error > 0, error, 1.0)
        off[~np.isfinite(off)] = 0.0  # where A could not be differenced
        j = int(np.argmax(off))
        if off[j] > ERRORS:
            target = (expected if name == "mean" else spread**2)[j] * exposure.mean()
            return (
                f"the {name} of statistic {j} over {len(rows)} samples at η = {show(subject.natural[k])} is "
                f"{target + values[:, j].mean():.6g}, {off[j]:.0f} standard errors from {target:.6g}, which is "
                f"{'∇A' if name == 'mean' else '∇²A'}: check the scale in sample{_or_partition(subject)}"
            )
        worst = max(worst, off[j])
    return worst


def _or_partition(subject):
    try:
        known = any(not moments.trouble for _, _, moments in subject.integrals[1])
    except LeftOutError:
        known = False
    return "" if known else ", and log_partition and log_base_measure, whose integral was not taken"


LAWS: dict[str, Callable[[Subject], str | None]] = {
    "bind returns the same kind of family": binding,
    "X is not changed": unchanged_rows,
    "T is (n, p), log h and e are (n,)": shapes_of_rows,
    "T, log h and e of a row are its own": rows_on_their_own,
    "e is positive": exposure_is_positive,
    "rows of X are possible": rows_are_possible,
    "A is (K,)": parameters.shape_of_partition,
    "parameters are not changed": unchanged_arguments,
    "A is convex": parameters.convexity,
    "A is finite in a convex region only": parameters.space,
    "to_expectation is ∇A": parameters.expectation_is_gradient,
    "∇A is the mean of T": parameters.mean_of_statistics,
    "the density integrates to 1": parameters.mass,
    "expected_log_base_measure is E[log h]": parameters.mean_of_log_base,
    "the mappings are inverse": parameters.mappings_are_inverse,
    "the M-step is the maximum": parameters.step_is_a_maximum,
    "divergences are not negative": parameters.divergences,
    "parameters have one entry for each component": named_parameters,
    "from_parameters inverts parameters": names_lead_back,
    "entropy is −E[log p]": entropies,
    "log_density is that of T and A": densities,
    "kernel_form builds T": monomials_are_statistics,
    "zeros are kept": zeros_are_kept,
    "sample draws from the density": samples,
    "the family is not changed": unchanged_family,
}
"""Name and function of each law, the basic ones first, because those after them would fail for the same reason."""
