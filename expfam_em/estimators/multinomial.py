"""Mixtures of multinomial distributions: topics of documents, one for each."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval, StrOptions

from expfam_em.em.known import Known
from expfam_em.em.options import Acceleration, Stop
from expfam_em.em.watching import Callback
from expfam_em.estep.reduce import check_support
from expfam_em.estimators.base import BaseMixture
from expfam_em.families.categorical import Multinomial
from expfam_em.rows.csr import row_sums
from expfam_em.rows.protocol import is_rows
from expfam_em.rows.typing import Array, Floats, RandomState
from expfam_em.saving.files import saved
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

SMOOTHINGS = {"laplace": lambda d: 1.0, "jeffreys": lambda d: 0.5, "perks": lambda d: 1 / d}
"""Pseudo-counts of each of d words, by name."""

NOT_TAKEN = ("prior", "fixed", "tied", "bounds", "noise", "bayesian", "weights_prior", "collapse")
"""Parameters of other mixtures."""


@saved
class MultinomialMixture(BaseMixture):
    """Mixture of multinomial distributions, for counts of words in documents and the like.

    Each row is a document, each column a word; a component is a distribution over words. How long a document is says
    nothing of its component.

    Parameters
    ----------
    n_components : int ≥ 1
        Number of components K.
    smoothing : {"laplace", "jeffreys", "perks"} or float ≥ 0
        Pseudo-counts α that each word is given in each component: 1, 1/2, 1/d for d words, or a number, as ``alpha`` of
        scikit-learn's MultinomialNB. Probabilities are (N_kj + α)/(N_k + α d), and none is 0. 0 is the maximum of the
        likelihood, under which a document with a word that a component has not seen cannot belong to it.
    temperature, tol, max_iter, n_init, init, concentration, weights, stop, acceleration, guard, labelled,
    random_state, n_jobs, warm_start, verbose, verbose_interval
        See `ExponentialFamilyMixture`.

    Attributes
    ----------
    weights_ : (K,)
    probabilities_ : (K, d)
        Of each word in each component.
    mixture_, parameters_, natural_parameters_, expectation_parameters_, lower_bound_, lower_bounds_, start_bounds_,
    support_, sound_, n_iter_, converged_, status_
        See `ExponentialFamilyMixture`.

    Notes
    -----
    A document without any word says nothing: a fit leaves it out, its responsibilities are the mixing weights, and its
    log-density is 0. Among rows that are read from files it is an error.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> words = np.array([[4, 1, 0, 0], [3, 2, 0, 0], [0, 0, 2, 5], [0, 0, 1, 3], [0, 0, 0, 0]])
    >>> model = ef.MultinomialMixture(2, random_state=0).fit(words)
    >>> sorted(model.probabilities_[:, 0].round(3).tolist())
    [0.067, 0.571]
    """

    _parameter_constraints: dict[str, Any] = {
        **{name: kinds for name, kinds in BaseMixture._parameter_constraints.items() if name not in NOT_TAKEN},
        "smoothing": [StrOptions(set(SMOOTHINGS)), Interval(Real, 0, None, closed="left")],
    }

    probabilities_: Floats

    def __init__(
        self,
        n_components: int = 1,
        *,
        smoothing: Literal["laplace", "jeffreys", "perks"] | float = "laplace",
        temperature: float | Sequence[float] = 1.0,
        tol: float = 1e-8,
        max_iter: int = 500,
        n_init: int = 1,
        init: str | Mixture | ArrayLike = "auto",
        concentration: ArrayLike = 1.0,
        weights: Literal["free", "equal", "fixed"] = "free",
        stop: Stop = "maximum",
        acceleration: Acceleration = "auto",
        guard: bool = True,
        labelled: bool = False,
        random_state: RandomState = None,
        n_jobs: int | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.smoothing = smoothing
        self.temperature = temperature
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init = init
        self.concentration = concentration
        self.weights = weights
        self.stop = stop
        self.acceleration = acceleration
        self.guard = guard
        self.labelled = labelled
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    @property
    def prior(self) -> ExpectedStatistics | None:  # type: ignore[override]
        """The pseudo-counts as a conjugate prior; None if there are none."""
        d, K = self.n_features_in_, self.n_components
        alpha = SMOOTHINGS[self.smoothing](d) if isinstance(self.smoothing, str) else float(self.smoothing)
        if not alpha:
            return None
        return ExpectedStatistics(np.zeros(K), np.full((K, d), alpha), exposures=np.full(K, alpha * d))

    def _make_family(self) -> Multinomial:
        return Multinomial().replace(empty="possible")

    def _weights_of(self, X: Any, weight: Array | None) -> Array | None:
        empty = row_sums(X) == 0
        if empty.all():
            raise ValueError("no row has a count: there is nothing to fit")
        return np.where(empty, 0.0, 1.0 if weight is None else weight) if empty.any() else weight

    def _fit_each(
        self, X: Any, weight: Array | None, sizes: Sequence[int] | None, callbacks: Sequence[Callback],
        known: Known = Known(),  # noqa: B008 - a tuple
    ) -> list[dict[str, Any] | ValueError]:  # fmt: skip
        if is_rows(X):
            check_support(Multinomial(), X)  # where rows without a count are an error: their weights are elsewhere
        return super()._fit_each(X, weight, sizes, callbacks, known)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.positive_only = True
        tags.input_tags.allow_nan = False
        return tags

    def _attributes(self, named: dict[str, Array], stack: Mixture) -> dict[str, Array]:
        return {"probabilities_": named["probabilities"]}
