"""Passes of the E-step as tests ask for them, beside the ones that a plan chooses."""

import functools

import numpy as np

from expfam_em.em.steps import expected_statistics
from expfam_em.estep.plan import Pass, n_statistics, single_pass
from expfam_em.estep.reduce import GivenStep, rows_given
from expfam_em.estep.scores import Scores
from expfam_em.rows.memory import ArrayRows
from expfam_em.values.evaluate import evaluate


def pass_of(family, rows):
    """The plain pass of a family over rows, without log h."""
    return Pass(family, rows, single_pass(family, rows), np.zeros(rows.n_data))


def dense_statistics(X, mixture, temperature=1.0, weight=None, sizes=None, data=None, n_jobs=1):
    """Expected statistics by the plain pass, with a bound that leaves out log h."""
    rows = ArrayRows(X, weight, n_jobs, sizes)
    return expected_statistics(pass_of(mixture.family, rows), mixture, temperature, data)


def outputs(mixture, X, **wanted):
    """What a mixture says of each row, the log-density if nothing is asked for."""
    return evaluate(mixture.family, mixture.scores, X, **{"log_density": True, **wanted})


def given_statistics(family, rows, q):
    """Sums under given responsibilities (n, K), of the one data set."""
    given, none = functools.partial(rows_given, q, q.shape[1]), Scores.none(1, q.shape[1], n_statistics(family, rows))
    step = GivenStep(single_pass(family, rows), none, [given], 1)
    return rows.reduce(step, 100)
