"""Where to start: from what the user gives, or drawn from the rows in a way that sees weights, not repetitions."""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from expfam_em.em import labels, loop, steps
from expfam_em.em.informed import as_known, in_known_order, is_known, keeps_values, labels_in_known_order, some_rows
from expfam_em.em.labels import Axes
from expfam_em.em.options import Options
from expfam_em.em.result import CollapsedError
from expfam_em.em.sample import distinct_sample
from expfam_em.em.seeds import SEEDING_ENTRIES, SEEDING_ROWS, SEEDING_ROWS_EACH, Seeding
from expfam_em.estep.plan import n_statistics, plan, single_pass
from expfam_em.estep.reduce import GivenStep, Labelled, drawn, rows_given
from expfam_em.estep.scores import Scores
from expfam_em.family import checked
from expfam_em.family.optional import Framed, components, in_order_of, is_incomplete
from expfam_em.rows.memory import ArrayRows, count
from expfam_em.rows.threads import cached_property
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

HARD_STEPS = 25

CANDIDATES = 6
"""How many candidates a mixed start has for each run."""

ROUNDS = ((5, 3), (5, 1))
"""Steps of EM that the candidates of a mixed start make, and how many of the best for each run go on after them."""

GUESS_STEPS = 12
"""M-steps with given responsibilities of an incomplete family, whose first one is about a guess: a scale that is much
too large is halved in its logarithm by each."""


class Starts(NamedTuple):
    """Where runs start.

    Attributes
    ----------
    mixture : Mixture
        Stack of those that can be started from.
    runs : (B′,) int
        Their places among the B runs asked for.
    collapsed : dict of int to CollapsedError
        The places of the others, and why.
    """

    mixture: Mixture
    runs: np.ndarray
    collapsed: dict


class Source:
    """What starts are drawn from.

    Parameters
    ----------
    pass_ : Pass
        Of a family bound to the rows.
    n_components : int
    rng : numpy Generator
    """

    def __init__(self, pass_, n_components, rng):
        self.pass_, self.n_components, self.rng = pass_, n_components, rng

    @cached_property
    def seeds(self) -> Seeding:
        """Rows to draw components from."""
        return Seeding(self.pass_.family, self.pass_.rows, self.n_components, self.rng)

    @cached_property
    def axes(self) -> list[Axes]:
        """Coordinates of the rows of each data set, which are in memory."""
        rows = self.pass_.rows
        parts = (slice(*ends) for ends in itertools.pairwise(rows.starts.tolist()))
        weight = np.ones(len(rows)) if rows.sample_weight is None else rows.sample_weight
        return [Axes.of(self.pass_.family, rows.X[part], weight[part]) for part in parts]

    def sampled(self) -> Source:
        """Return the same of at most some thousand distinct rows of each data set, in memory.

        Where values are missing, all rows stay if there are several data sets, or if some rows alone would leave too
        few values of a column.
        """
        family, rows, K = self.pass_.family, self.pass_.rows, self.n_components
        fewest = SEEDING_ROWS_EACH * K
        most = min(max(SEEDING_ROWS, fewest), max(SEEDING_ENTRIES // rows.n_features, fewest))
        if is_known(rows):
            return Source(plan(family, some_rows(rows, most), K), K, self.rng)
        if getattr(rows, "groups", None) is not None:  # values are missing
            some = rows if rows.n_data > 1 else some_rows(rows, most)
            keeps = some is not rows and keeps_values(some, rows, fewest)
            return Source(plan(family, some, K), K, self.rng) if keeps else self
        X, weight, sizes = distinct_sample(rows, self.rng, most)
        sample = ArrayRows(X, weight, getattr(rows, "n_jobs", 1), sizes)
        return Source(plan(family, sample, K), K, self.rng)


def initialise_all(pass_, data_set, n_components, init, rng=None, *, options=Options()) -> Starts:  # noqa: B008 - frozen
    """Return the starts of B runs, each on a data set ``data_set`` (B,), all drawn at once.

    Parameters
    ----------
    pass_ : Pass
        Of a family bound to the rows.
    data_set : (B,) int
        One data set after another, again and again.
    n_components : int
    init : str, Mixture, (n, K) responsibilities or (n,) labels
        "k-means++": rows far from one another in the family's own divergence. "kmeans": the same, followed by hard
        assignment in that divergence. "random": random responsibilities. "random_from_data": random rows. The
        others begin at the M-step of labels: "kmeans_raw", "kmeans_scaled", "kmeans_whitened": k-means of columns as
        they are, of variance 1, or of variance 1 in every direction. "ward": Ward's hierarchical clustering of half
        of the rows, whitened. "unequal": balls of very different size around rows. "mixed": the best of all these,
        but "kmeans", after a few steps of EM.
    rng : numpy Generator or seed
    options : Options
        Of the runs that start there.

    Raises
    ------
    ValueError
        If ``init`` has a name, shape or values that make no sense.
    """
    family, rows, B, K = pass_.family, pass_.rows, len(data_set), n_components
    if isinstance(init, Mixture):
        return _all_of(_repeated(_given_mixture(init, family, K), B))
    if not isinstance(init, str):
        given = _as_responsibilities(init, count(rows), K)
        groups = getattr(rows, "groups", None)
        one = functools.partial(rows_given, given if groups is None else given[groups.order], K)
        return from_responsibilities(pass_, [one] * (B // rows.n_data), K, options.weights, options.prior)
    if init not in BY_NAME:
        raise ValueError(f"init is {init!r}; it must be one of {', '.join(INITS)}, a Mixture, responsibilities, labels")
    source = Source(pass_, K, np.random.default_rng(rng))
    return BY_NAME[init](source.sampled() if init in OF_A_SAMPLE else source, np.asarray(data_set), options)


def _of_rows(source, data_set, options, spread=True) -> Starts:
    """Return rows as components."""
    natural = in_known_order(source.pass_, source.seeds.draw(data_set, spread))
    return _all_of(Mixture(source.pass_.family, np.full(natural.shape[:2], 1 / source.n_components), natural))


def _at_random(source, data_set, options) -> Starts:
    """Return the M-step of random responsibilities."""
    keys = source.rng.integers(2**63, size=len(data_set) // source.pass_.rows.n_data)
    given = [as_known(functools.partial(drawn, int(key), source.n_components), source.pass_.rows) for key in keys]
    return from_responsibilities(source.pass_, given, source.n_components, options.weights, options.prior)


def _hardened(source, data_set, options) -> Starts:
    """Return the maximum after some steps of hard assignment, which begin at rows far from one another."""
    pass_, start, smoothing = source.pass_, _of_rows(source, data_set, options).mixture, source.seeds.prior(data_set)
    hard_steps = Options(HARD_STEPS, 1e-4, temperature=0.0, weights="equal", prior=smoothing, stop="bound")
    results = loop.fit_all(start, pass_, data_set, hard_steps)
    collapsed = {b: result for b, result in enumerate(results) if isinstance(result, CollapsedError)}
    runs = np.setdiff1d(np.arange(len(results)), list(collapsed))
    if not len(runs):
        return Starts(start[:0], runs, collapsed)
    hard = Mixture.stack([results[b].mixture for b in runs])

    def again(mixture):
        return steps.expected_statistics(pass_, mixture, 0.0, data_set[runs])

    # half a row more for each component, so that an empty one is not lost
    smoothing = None if smoothing is None else smoothing[runs]
    found = _maximum(again(hard), hard, again, smoothing, concentration=1.5, weights=options.weights)
    return Starts(found.mixture, runs[found.runs], collapsed | {int(runs[b]): e for b, e in found.collapsed.items()})


def _labelled(source, data_set, options, label, coordinates) -> Starts:
    """Return the M-step of labels that a function finds for rows in some coordinates."""
    pass_, K, rng, given = source.pass_, source.n_components, source.rng, []
    for _ in range(len(data_set) // pass_.rows.n_data):
        found = [label(axes.in_coordinates(coordinates), axes.weight, K, rng) for axes in source.axes]
        in_order = labels_in_known_order(pass_.family, pass_.rows, np.concatenate(found), K)
        given.append(as_known(functools.partial(rows_given, in_order, K), pass_.rows))
    # a component of few rows is kept from the edge of the parameter space, which EM would not leave
    prior = source.seeds.prior(data_set) if options.prior is None else options.prior
    return from_responsibilities(pass_, given, K, options.weights, prior)


def _mixed(source, data_set, options) -> Starts:
    """Return the best of starts of every kind after a few steps of EM."""
    D = source.pass_.rows.n_data
    n_runs = len(data_set) // D
    dealt = collections.Counter(itertools.islice(itertools.cycle(MENU), max(len(MENU), CANDIDATES * n_runs)))
    lots = [BY_NAME[name](source, np.tile(np.arange(D), times), options) for name, times in dealt.items()]
    return best_after_few_steps(lots, source.pass_, options, n_runs)


def best_after_few_steps(lots, pass_, options, n_runs, rounds=ROUNDS) -> Starts:
    """Return the best starts for each data set after a few steps of EM (emEM: Biernacki, Celeux and Govaert 2003).

    Parameters
    ----------
    lots : list of Starts
        Candidates, in each one data set after another, again and again.
    pass_ : Pass
    options : Options
    n_runs : int
        How many are wanted for each data set; there may be fewer candidates.
    rounds : sequence of (int, int)
        Steps, and how many of the best for each run go on after them.
    """
    D = pass_.rows.n_data
    errors = {run % D: error for lot in lots for run, error in lot.collapsed.items()}
    mixtures = [lot.mixture[at] for lot in lots for at in range(len(lot.runs))]
    of = np.concatenate([lot.runs % D for lot in lots])
    for n_steps, kept in rounds if mixtures else ():
        how = replace(options, max_iter=n_steps, tol=0.0, temperature=float(options.schedule[-1]), acceleration=None)
        results = loop.fit_all(Mixture.stack(mixtures), pass_, of, how)
        errors |= {int(d): one for d, one in zip(of, results, strict=True) if isinstance(one, CollapsedError)}
        best, rank = _best(results, of, kept * n_runs)
        best, rank = best[order := np.argsort(rank * D + of[best])], rank[order]
        mixtures, of, runs = [results[at].mixture for at in best], of[best], rank * D + of[best]
        if not mixtures:
            break
    if not mixtures:
        return Starts(lots[0].mixture[:0], np.empty(0, np.int64), {run: errors[run % D] for run in range(n_runs * D)})
    left = [int(run) for run in np.setdiff1d(np.arange(n_runs * D), runs) if run % D in errors]
    return Starts(Mixture.stack(mixtures), runs, {run: errors[run % D] for run in left})


def _best(results, of, most):
    """Return the places of at most ``most`` of the best results on each data set, and their ranks there."""
    reached = np.array([np.nan if isinstance(one, CollapsedError) else one.objective for one in results])
    order = np.lexsort((-reached, of))
    order = order[~np.isnan(reached[order])]
    rank = np.arange(len(order)) - np.searchsorted(of[order], of[order])
    return order[rank < most], rank[rank < most]


BY_NAME: dict[str, Callable[..., Starts]] = {
    "k-means++": _of_rows,
    "kmeans": _hardened,
    "random": _at_random,
    "random_from_data": functools.partial(_of_rows, spread=False),
    "kmeans_raw": functools.partial(_labelled, label=labels.k_means, coordinates="raw"),
    "kmeans_scaled": functools.partial(_labelled, label=labels.k_means, coordinates="scaled"),
    "kmeans_whitened": functools.partial(_labelled, label=labels.k_means, coordinates="whitened"),
    "ward": functools.partial(_labelled, label=labels.hierarchical, coordinates="whitened"),
    "unequal": functools.partial(_labelled, label=labels.unequal, coordinates="scaled"),
    "mixed": _mixed,
}
"""Functions (source, data sets, options) by the name of ``init``."""

INITS = tuple(BY_NAME)
OF_A_SAMPLE = ("kmeans_raw", "kmeans_scaled", "kmeans_whitened", "ward", "unequal", "mixed")
"""Those that look at some thousand distinct rows only."""

MENU = (
    "kmeans_scaled", "kmeans_whitened", "random_from_data", "unequal", "random", "k-means++", "kmeans_scaled", "ward",
    "random_from_data", "kmeans_raw",
)  # fmt: skip
"""What a mixed start deals its candidates from; what found the best maxima of real data most often is there twice."""


def _all_of(mixture) -> Starts:
    return Starts(mixture, np.arange(len(mixture.weights)), {})


def _repeated(mixture, times) -> Mixture:
    """Return a stack of the same mixture."""
    of = np.tile(np.arange(mixture.n_components), times)
    weights, natural = np.tile(mixture.weights, (times, 1)), np.tile(mixture.natural, (times, 1, 1))
    return Mixture.unchecked(components(mixture.family, of), weights, natural)


def _given_mixture(mixture, family, n_components):
    if type(mixture.family) is not type(family):
        raise ValueError(f"init is a mixture of {mixture.family!r}, but a mixture of {family!r} is to be fitted")
    if mixture.n_components != n_components:
        raise ValueError(f"init has {mixture.n_components} components, but n_components is {n_components}")
    in_order = in_order_of(family, mixture.family)
    return mixture.in_family(in_order.with_frames(mixture.family.frames) if isinstance(in_order, Framed) else in_order)


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
    if not (init.min() >= 0 and np.allclose(init.sum(axis=1), 1)):
        raise ValueError("responsibilities must be non-negative and sum to 1 in every row")
    return init


def from_labels_of(centres, pass_, n_components, weights="free", prior=None) -> Starts:
    """Return the M-step of the labels that each mixture of a stack gives to its rows by highest score.

    ``centres`` is a stack of mixtures of another family, one for each run.
    """
    labelling, D = single_pass(centres.family, pass_.rows), pass_.rows.n_data
    groups = [slice(first, first + D) for first in range(0, len(centres.weights), D)]
    given = [Labelled(labelling, centres[group].scores) for group in groups]
    return from_responsibilities(pass_, given, n_components, weights, prior)


def from_responsibilities(pass_, given, n_components, weights="free", prior=None) -> Starts:
    """Return the M-step of given responsibilities; see `GivenStep` for ``given``, a function for each group of runs."""
    family, rows, B, K = pass_.family, pass_.rows, len(given) * pass_.rows.n_data, n_components
    p, kernel = n_statistics(family, rows), single_pass(family, rows)

    def statistics_in(family, scores=None):
        scores = Scores.none(B, K, p, family) if scores is None else scores
        step = GivenStep(kernel, scores, given, rows.n_data)
        _, counts, sums, bounds, exposures = rows.reduce(step, kernel.work(K, p))
        return ExpectedStatistics(counts, sums, bounds, exposures if exposures.any() else counts, family)

    statistics = statistics_in(family)
    start = Mixture(family, np.full((B, K), 1 / K), _pooled(family, statistics))
    found = _maximum(statistics, start, lambda mixture: statistics_in(mixture.family), prior, weights=weights)
    if not is_incomplete(family):
        return found

    def completed(mixture):
        return statistics_in(mixture.family, mixture.scores)

    for _ in range(GUESS_STEPS):
        if found.collapsed:
            break
        found = _maximum(completed(found.mixture), found.mixture, completed, prior, weights=weights)
    return found


def _maximum(statistics, mixture, again, prior, **how) -> Starts:
    """Return the M-step of statistics, which ``again(mixture)`` computes in other frames if they lose digits."""
    if prior is not None and prior.counts.ndim == 1:
        prior = prior.repeated(len(mixture.weights))
    prior = steps.with_family(prior, mixture.family)
    statistics, mixture, found = steps.estimate_refined(statistics, mixture, again, prior=prior, **how)
    outside = ~np.isfinite(found.log_partition)
    lost = outside.any(axis=1)
    errors = {int(b): steps.collapse(mixture[int(b)], statistics[int(b)], outside[b]) for b in np.flatnonzero(lost)}
    runs = np.flatnonzero(~lost)
    return Starts(found[runs].reframed() if len(runs) else found[:0], runs, errors)


def _pooled(family, statistics):
    """Natural parameters of components about all the rows of each run, (B, K, p); another run's if there are none."""
    shape = statistics.sums.shape
    exposures = np.repeat(statistics.exposures.sum(axis=1), shape[1])
    sums = np.repeat(statistics.sums.sum(axis=1), shape[1], axis=0)
    mean = sums / exposures[:, None]

    def means():
        """Without correlations, which are perfect where clusters are far apart."""
        return checked.to_natural(family, checked.seeds(family, mean, mean))

    def summed():
        """With what the M-step adds."""
        return checked.next_natural(family, exposures, sums)

    for estimate in (means, summed):
        with np.errstate(all="ignore"):
            natural = np.array(estimate())
        finite = np.isfinite(checked.log_partition(family, natural)).reshape(shape[:2]).all(axis=1)
        natural = natural.reshape(shape)
        if finite.any():
            natural[~finite] = natural[np.argmax(finite)]
            return natural
    raise ValueError(f"the rows as a whole give no finite natural parameters of {family!r}: is a column constant?")
