"""Gaussian mixtures by variational Bayes, with scikit-learn's names."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval, StrOptions

from expfam_em.em.bayes import WEIGHTS, BayesResult, Model, WeightsPrior, mean_statistics
from expfam_em.em.options import Options
from expfam_em.em.watching import Callback
from expfam_em.estep.plan import Pass
from expfam_em.estimators.gaussian import GaussianMixture
from expfam_em.families.gaussian.conjugate import NormalWishart
from expfam_em.families.gaussian.framed import coordinates_of
from expfam_em.families.gaussian.gaussian import Gaussian
from expfam_em.family.optional import shared
from expfam_em.rows.typing import Array, Floats, Integers, RandomState
from expfam_em.saving.files import saved
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

PRIOR_TYPES: dict[str, WeightsPrior] = {"dirichlet_process": "process", "dirichlet_distribution": "dirichlet"}


@saved
class BayesianGaussianMixture(GaussianMixture):
    """Gaussian mixture by variational Bayes, with the parameters, attributes and defaults of scikit-learn's.

    Components that the rows do not call for keep hardly any weight, so ``n_components`` is the largest number of them.
    Predictions, densities and samples are those of the mixture of ``weights_``, ``means_`` and ``covariances_``.

    Parameters
    ----------
    n_components : int ≥ 1
        Number of components K.
    covariance_type : {"full", "tied", "diag", "spherical"}
        What the covariances have in common.
    tol : float ≥ 0
        Change of the bound of all rows together per step at which to stop; 0 makes exactly max_iter steps.
    reg_covar : float ≥ 0
        Added to the diagonal of ``covariance_prior``, in units of x²: no covariance is then singular.
    max_iter : int ≥ 0
        Most steps of EM of a start.
    n_init : int ≥ 1
        Starts; the best fit is kept.
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}
        Which responsibilities a start begins with; see `GaussianMixture`.
    weight_concentration_prior_type : {"dirichlet_process", "dirichlet_distribution"}
        Prior of the weights: of infinitely many components by stick breaking, or of K.
    weight_concentration_prior : float > 0, optional
        α of the prior of the weights; 1/K by default. The smaller it is, the fewer components are used.
    mean_precision_prior : float > 0, optional
        β₀: a mean has the prior precision β₀ Λ; 1 by default.
    mean_prior : (d,) array-like, optional
        Prior mean of the means; the mean of the rows by default.
    degrees_of_freedom_prior : float > d − 1, optional
        ν₀ of the Wishart prior of precisions; d by default.
    covariance_prior : float or array-like, optional
        W₀⁻¹ of the Wishart prior: (d, d) for "full" and "tied", (d,) for "diag", a number for "spherical"; by default
        the covariance of the rows.
    random_state : int, RandomState, Generator, optional
        What starts are drawn with; a number makes the fit repeatable.
    warm_start : bool
        Continue from the last posterior.
    verbose : int
        Above 0, the first step, every ``verbose_interval`` steps and the last one are said. On a terminal a bar appears
        after 5 s, if tqdm is installed.
    verbose_interval : int ≥ 1
        Steps from one line to the next.
    init : str, Mixture, responsibilities or labels, optional
        Used instead of ``init_params`` when given.
    temperature, stop, n_jobs
        See `ExponentialFamilyMixture`.

    Attributes
    ----------
    weights_ : (K,)
        E[π].
    means_ : (K, d)
        E[μ].
    covariances_, precisions_, precisions_cholesky_
        E[Λ] and its inverse, in the shapes of `GaussianMixture`.
    weight_concentration_ : (K,), or two of them
        Parameters of the posterior of the weights; of a Dirichlet process those of the Beta density of each v.
    mean_precision_ : (K,)
        β.
    degrees_of_freedom_ : (K,), or float if tied
        ν of the Wishart density of each precision.
    weight_concentration_prior_, mean_precision_prior_, mean_prior_, degrees_of_freedom_prior_, covariance_prior_
        The priors in use.
    posterior_, converged_, n_iter_, lower_bound_, lower_bounds_, start_bounds_, mixture_, parameters_,
    natural_parameters_, expectation_parameters_
        See `ExponentialFamilyMixture`.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [4, 2], [12, 4], [10, 7]])
    >>> model = ef.BayesianGaussianMixture(n_components=2, random_state=2).fit(X)
    >>> sorted(model.weights_.round(2).tolist())
    [0.32, 0.68]
    """

    _parameter_constraints: dict[str, Any] = {
        **GaussianMixture._parameter_constraints,
        "covariance_type": [StrOptions({"full", "tied", "diag", "spherical"})],
        "weight_concentration_prior_type": [StrOptions(set(PRIOR_TYPES))],
        "weight_concentration_prior": [None, Interval(Real, 0.0, None, closed="neither")],
        "mean_precision_prior": [None, Interval(Real, 0.0, None, closed="neither")],
        "mean_prior": [None, "array-like"],
        "degrees_of_freedom_prior": [None, Interval(Real, 0.0, None, closed="neither")],
        "covariance_prior": [None, "array-like", Interval(Real, 0.0, None, closed="neither")],
    }

    # what a Gaussian mixture can be given besides has no place beside these priors
    weights_init = means_init = precisions_init = prior = acceleration = None
    weights, bayesian = "free", True
    _merges = False  # the posterior is the one that scikit-learn's steps lead to

    weight_concentration_: Any
    mean_precision_: Floats
    degrees_of_freedom_: Any
    weight_concentration_prior_: float
    mean_precision_prior_: float
    mean_prior_: Floats
    degrees_of_freedom_prior_: float
    covariance_prior_: Any

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: Literal["full", "tied", "diag", "spherical"] = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: Literal["kmeans", "k-means++", "random", "random_from_data"] = "kmeans",
        weight_concentration_prior_type: Literal["dirichlet_process", "dirichlet_distribution"] = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: ArrayLike | None = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: ArrayLike | None = None,
        random_state: RandomState = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        init: str | Mixture | ArrayLike | None = None,
        temperature: float | Sequence[float] = 1.0,
        stop: Literal["bound", "parameters"] = "bound",
        n_jobs: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.init = init
        self.temperature = temperature
        self.stop = stop
        self.n_jobs = n_jobs

    def _make_family(self) -> Gaussian:
        return Gaussian(self.covariance_type)

    # ---- the prior -------------------------------------------------------------------------------------------

    @property
    def concentration(self) -> float:  # type: ignore[override]
        """α of the prior of the weights."""
        alpha = self.weight_concentration_prior
        return 1.0 / self.n_components if alpha is None else alpha

    @property
    def weights_prior(self) -> WeightsPrior:  # type: ignore[override]
        """`weight_concentration_prior_type` by the name that `ExponentialFamilyMixture` has for it."""
        return PRIOR_TYPES[self.weight_concentration_prior_type]

    @property
    def _beta(self) -> float:
        return 1.0 if self.mean_precision_prior is None else self.mean_precision_prior

    @property
    def _sharing(self) -> int:
        """How many components have one Wishart density in common."""
        return self.n_components if self.covariance_type == "tied" else 1

    def _freedom(self, d: int) -> float:
        if (freedom := self.degrees_of_freedom_prior) is None:
            return float(d)
        if not freedom > d - 1:
            raise ValueError(
                f"The parameter 'degrees_of_freedom_prior' should be greater than {d - 1}, but got {freedom:.3f}."
            )
        return float(freedom)

    def _model(self, family: Any) -> Model | None:
        conjugate = functools.partial(NormalWishart, extra=self._extra(len(family.shift)))
        return replace(super()._model(family), conjugate=conjugate)  # type: ignore[type-var]

    def _extra(self, d: int) -> float:
        """Return by how much the degrees of freedom of a Wishart density are more than ν of its components."""
        return self._freedom(d) - self._sharing * self._beta

    def _default_prior(self, pass_: Pass, data_set: Integers) -> ExpectedStatistics:
        family: Any = shared(pass_.family)
        form, K, d = family._form, self.n_components, pass_.rows.n_features
        in_frame, total, _ = mean_statistics(pass_)
        coordinates = coordinates_of(family, d)
        means, covariances = coordinates.out_of(*form.central(in_frame))
        unbiased = np.where(total > 1, total / np.where(total > 1, total - 1, 1.0), 1.0)
        covariances = covariances * unbiased.reshape(-1, *[1] * (covariances.ndim - 1))
        if (given := self._checked("means", self.mean_prior, (d,))) is not None:
            means = np.broadcast_to(given, means.shape)
        if (given := self._given_covariance(d)) is not None:
            covariances = np.broadcast_to(form.given(given[None]), covariances.shape)
        covariances = (covariances + form.square(form.root_of_scale(self._added(d)))) / (self._beta * self._sharing)
        expectation = form.expectation(*coordinates.into_shared(means, covariances))
        sums = self._beta * np.repeat(expectation[:, None], K, axis=1)
        counts = np.full(sums.shape[:2], self._beta)
        return ExpectedStatistics(counts, sums, np.zeros(len(sums)), family=family)[data_set]

    def _added(self, d: int) -> Array:
        """Return the standard deviations that are added to those of the prior, (d,)."""
        return np.full(d, np.sqrt(self.reg_covar))

    def _given_covariance(self, d: int) -> Array | None:
        shape = {"full": (d, d), "tied": (d, d), "diag": (d,)}.get(self.covariance_type, ())
        if self.covariance_type == "spherical":
            given = None if self.covariance_prior is None else np.array(self.covariance_prior, np.float64)
            if given is not None and (given.ndim or not 0 < given < np.inf):
                raise ValueError(f"covariance_prior is {given}; of spherical components it is one positive number")
            return given
        name = f"{self.covariance_type} covariance_prior"
        if (given := self._checked(name, self.covariance_prior, shape)) is not None:
            self._check_precisions(given, name)
        return given

    # ---- the fit ---------------------------------------------------------------------------------------------

    def _followed(
        self, start: Mixture, pass_: Pass, runs: Integers, data_set: Integers, options: Options,
        callbacks: Sequence[Callback], model: Model,
    ) -> list[Any]:  # fmt: skip
        if self.stop == "bound":
            options = replace(options, tol=options.tol / pass_.rows.total_weights.max())
        return super()._followed(start, pass_, runs, data_set, options, callbacks, model)

    def _of_posterior(self, result: Any) -> dict[str, Any]:
        found = super()._of_posterior(result)
        posterior, family = found["posterior_"], result.mixture.family
        prior = result.prior if isinstance(result, BayesResult) else replace(posterior, family=shared(family))
        form = family._form
        d = form.n_features(posterior.sums.shape[1])
        degrees = NormalWishart(family, self._extra(d)).degrees_of_freedom(posterior.exposures, d)
        means, covariances = coordinates_of(prior.family, d).out_of(*form.central(prior.expectation[:1]))
        added = form.square(form.root_of_scale(self._added(d)))
        [covariance] = form.shown(covariances * (self._beta * self._sharing) - added)
        concentration = WEIGHTS[self.weights_prior](self.concentration).parameters(posterior.counts)
        return {
            **found,
            "weight_concentration_": concentration if len(concentration) > 1 else concentration[0],
            "mean_precision_": posterior.exposures.copy(),
            "degrees_of_freedom_": float(degrees[0]) if self.covariance_type == "tied" else degrees,
            "weight_concentration_prior_": float(self.concentration),
            "mean_precision_prior_": float(self._beta),
            "mean_prior_": means[0],
            "degrees_of_freedom_prior_": self._freedom(d),
            "covariance_prior_": float(covariance) if self.covariance_type == "spherical" else covariance,
        }
