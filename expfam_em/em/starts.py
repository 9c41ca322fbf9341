"""Where to start: from what the user gives, or drawn from the rows in a way that sees weights, not repetitions."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from expfam_em.em import loop, steps
from expfam_em.em.options import Options
from expfam_em.em.result import CollapsedError
from expfam_em.em.seeds import Seeding
from expfam_em.estep.plan import n_statistics, single_pass
from expfam_em.estep.reduce import GivenStep, Labelled, drawn, rows_given
from expfam_em.estep.scores import Scores
from expfam_em.family import checked
from expfam_em.family.optional import Framed, components, in_order_of, is_incomplete
from expfam_em.rows.memory import count
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

INITS = ("k-means++", "kmeans", "random", "random_from_data")
HARD_STEPS = 25

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


def initialise_all(pass_, data_set, n_components, init, rng=None, *, weights="free", prior=None) -> Starts:
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
        assignment in that divergence. "random": random responsibilities. "random_from_data": random rows.
    rng : numpy Generator or seed
    weights, prior
        As in `maximize`.

    Raises
    ------
    ValueError
        If ``init`` has a name, shape or values that make no sense.
    """
    family, rows, B, K = pass_.family, pass_.rows, len(data_set), n_components
    if isinstance(init, Mixture):
        return _all_of(_repeated(_given_mixture(init, family, K), B))
    n_groups = B // rows.n_data
    if not isinstance(init, str):
        given = _as_responsibilities(init, count(rows), K)
        groups = getattr(rows, "groups", None)
        one = functools.partial(rows_given, given if groups is None else given[groups.order], K)
        return from_responsibilities(pass_, [one] * n_groups, K, weights, prior)
    rng = np.random.default_rng(rng)
    if init == "random":
        given = [functools.partial(drawn, int(seed), K) for seed in rng.integers(2**63, size=n_groups)]
        return from_responsibilities(pass_, given, K, weights, prior)
    if init not in INITS:
        raise ValueError(f"init is {init!r}; it must be one of {', '.join(INITS)}, a Mixture, responsibilities, labels")
    seeds = Seeding(family, rows, K, rng)
    natural = seeds.draw(data_set, spread=init != "random_from_data")
    start = Mixture(family, np.full((B, K), 1 / K), natural)
    return _all_of(start) if init != "kmeans" else _hardened(start, pass_, data_set, seeds, weights)


def _hardened(start, pass_, data_set, seeds, weights) -> Starts:
    """Return the maximum after some steps of hard assignment."""
    smoothing = seeds.prior(data_set)
    options = Options(max_iter=HARD_STEPS, tol=1e-4, temperature=0.0, weights="equal", prior=smoothing)
    results = loop.fit_all(start, pass_, data_set, options)
    collapsed = {b: result for b, result in enumerate(results) if isinstance(result, CollapsedError)}
    runs = np.setdiff1d(np.arange(len(results)), list(collapsed))
    if not len(runs):
        return Starts(start[:0], runs, collapsed)
    hard = Mixture.stack([results[b].mixture for b in runs])

    def again(mixture):
        return steps.expected_statistics(pass_, mixture, 0.0, data_set[runs])

    # half a row more for each component, so that an empty one is not lost
    smoothing = None if smoothing is None else smoothing[runs]
    found = _maximum(again(hard), hard, again, smoothing, concentration=1.5, weights=weights)
    return Starts(found.mixture, runs[found.runs], collapsed | {int(runs[b]): e for b, e in found.collapsed.items()})


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
    errors = {int(b): steps.collapse(mixture.family, statistics[int(b)], outside[b]) for b in np.flatnonzero(lost)}
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
