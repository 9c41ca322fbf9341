"""The pass that asks a family for densities and statistics of each component, in NumPy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from expfam_em.estep.scores import Kernel, Outputs, Scores
from expfam_em.family import checked
from expfam_em.family.optional import components, sums_of
from expfam_em.rows.protocol import Chunk

STATISTICS_BLOCK = 1 << 16
"""Entries of T evaluated in NumPy at a time: half a megabyte stays in the L2 cache."""


@dataclass(frozen=True)
class IncompletePass(Kernel):
    """The pass of a family that observes only a part of each observation, or whose scores cancel.

    Attributes
    ----------
    of_rows : callable(family, X, responsibilities, η or None) -> (K, p)
        What is added up: `sums_of`, or `edge_sums_of`.
    density : callable(family, X, η) -> (n, K)
        Log-densities of the components.
    """

    of_rows: Callable = sums_of
    density: Callable = checked.log_density

    def adding(self, of_rows: Callable) -> IncompletePass:
        """Return the pass that adds up something else."""
        return replace(self, of_rows=of_rows)

    def prepared(self, scores: Scores, temperature=1.0, given=False):
        family = self.family if scores.family is None else scores.family
        K, p = scores.natural.shape[1:]
        group = scores.groups
        step, temperature = max(64, STATISTICS_BLOCK // (K + p)), float(temperature)
        guessed = given and scores.are_none

        def run(chunk: Chunk, items, out: Outputs):
            for start, stop, mixture, slot in items.tolist():
                here: Any = components(family, np.arange(mixture * K, (mixture + 1) * K))
                natural, log_weights = scores.natural[mixture], scores.log_weights[mixture]
                at = None if guessed else natural
                for first in range(start, stop, step):
                    rows = slice(first, min(first + step, stop))
                    X = np.asarray(chunk.X[rows])
                    if given:
                        R, top = out.responsibilities[rows], np.zeros(len(X))
                    else:
                        score = self.density(here, X, natural) + log_weights
                        if scores.excess is not None:
                            exposure = checked.exposure(here, X)
                            score -= scores.excess[mixture] * (1.0 if exposure is None else exposure[:, None])
                        if chunk.offset is not None:
                            score += chunk.offset[rows][:, group]
                        R, top = _written(score, temperature, out.rows(rows))
                    if out.sums.size:
                        weight = None if chunk.weight is None else chunk.weight[rows]
                        summed = functools.partial(self.of_rows, here, natural=at)
                        _add(here, summed, X, weight, R, top, out, slot)
                    elif out.bounds.size:
                        with np.errstate(all="ignore"):  # who asks looks whether it is a number
                            out.bounds[slot] += top.sum()

        return run


def _written(score, temperature, out: Outputs):
    """Fill the outputs by row; return the responsibilities and τ logsumexp(scores/τ)."""
    R, top, labels = _assigned(score, temperature)
    for output, value in ((out.evidence, top), (out.responsibilities, R), (out.labels, labels)):
        if output.size:
            output[:] = value
    return R, top


def _add(family, summed, X, weight, R, top, out: Outputs, slot) -> None:
    """Add up some rows, without those of weight 0."""
    if weight is not None:
        present = weight > 0
        X, R, top = X[present], R[present] * weight[present, None], top[present] * weight[present]
    out.counts[slot] += R.sum(axis=0)
    out.sums[slot] += summed(X, R)
    if (exposure := checked.exposure(family, X)) is not None:
        out.exposures[slot] += exposure @ R
    if out.bounds.size:
        out.bounds[slot] += top.sum()


def _assigned(score, temperature):
    """Return the responsibilities (n, K), τ logsumexp(scores/τ) (n,) and the labels (n,)."""
    top, labels, of_label = score.max(axis=1), np.argmax(score, axis=1), np.eye(score.shape[1])
    if temperature == 0:
        return of_label[labels], top, labels
    with np.errstate(invalid="ignore"):
        R = np.exp((score - top[:, None]) / temperature)
    R[np.isinf(top)] = of_label[labels[np.isinf(top)]]  # every score is infinite
    total = R.sum(axis=1)
    return R / total[:, None], top + temperature * np.log(total), labels
