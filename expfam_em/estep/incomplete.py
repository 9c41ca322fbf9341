"""The pass of families whose statistics depend on the component, in NumPy."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from expfam_em.estep.dense import STATISTICS_BLOCK
from expfam_em.estep.scores import Kernel, Outputs, Scores
from expfam_em.family.optional import components
from expfam_em.rows.protocol import Chunk


@dataclass(frozen=True)
class IncompletePass(Kernel):
    """The pass of a family that observes only a part of each observation.

    Attributes
    ----------
    of_rows : str
        The method of the family that says what is added up: ``complete``, or ``edge_sums``.
    """

    of_rows: str = "complete"

    def prepared(self, scores: Scores, temperature=1.0, given=False):
        family = self.family if scores.family is None else scores.family
        K, p = scores.natural.shape[1:]
        group = scores.groups
        step, temperature = max(64, STATISTICS_BLOCK // (K + p)), float(temperature)
        guessed = given and not scores.natural.any()  # see `Scores.none`

        def run(chunk: Chunk, items, out: Outputs):
            for start, stop, mixture, slot in items.tolist():
                here: Any = components(family, np.arange(mixture * K, (mixture + 1) * K))
                natural, log_weights = scores.natural[mixture], scores.log_weights[mixture]
                of_rows = getattr(here, self.of_rows)
                summed = here.guess if guessed else functools.partial(_at, of_rows, natural)
                for first in range(start, stop, step):
                    rows = slice(first, min(first + step, stop))
                    X = chunk.X[rows]
                    if given:
                        R, top = out.responsibilities[rows], np.zeros(len(X))
                    else:
                        score = here.log_density(X, natural) + log_weights
                        if chunk.offset is not None:
                            score += chunk.offset[rows][:, group]
                        R, top = _written(score, temperature, out.rows(rows))
                    if out.sums.size:
                        weight = None if chunk.weight is None else chunk.weight[rows]
                        _add(summed, X, weight, R, top, out, slot)

        return run


def _written(score, temperature, out: Outputs):
    """Fill the outputs by row; return the responsibilities and τ logsumexp(scores/τ)."""
    R, top, labels = _assigned(score, temperature)
    for output, value in ((out.evidence, top), (out.responsibilities, R), (out.labels, labels)):
        if output.size:
            output[:] = value
    return R, top


def _at(of_rows, natural, X, R):
    return of_rows(X, natural, R)


def _add(summed, X, weight, R, top, out: Outputs, slot) -> None:
    """Add up some rows, without those of weight 0."""
    if weight is not None:
        present = weight > 0
        X, R, top = X[present], R[present] * weight[present, None], top[present] * weight[present]
    out.counts[slot] += R.sum(axis=0)
    out.sums[slot] += summed(X, R)
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
