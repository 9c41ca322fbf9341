"""Gaussian mixtures with scikit-learn's names."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions

from expfam_em.em.options import Acceleration, Options, Stop
from expfam_em.em.result import CollapsedError, FitResult
from expfam_em.em.starts import INITS, Starts, from_labels_of, initialise_all
from expfam_em.estep.plan import Pass, plan
from expfam_em.estimators.base import ANY_INIT, BaseMixture, Prior
from expfam_em.families.gaussian.gaussian import Gaussian
from expfam_em.families.gaussian.known import KnownCovariance, in_frame_units
from expfam_em.families.gaussian.models import MODELS
from expfam_em.families.special.linalg import cholesky, invert, solve_lower
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.binding import bind
from expfam_em.family.constraints import Bounds, Fixed, Tied
from expfam_em.rows.typing import Array, Floats, Integers, RandomState
from expfam_em.saving.files import saved
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

COLLAPSED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance "
    "caused by singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or "
    "scale the input data."
)


@saved
class GaussianMixture(BaseMixture):
    """Gaussian mixture with the parameters, attributes and defaults of scikit-learn's, and row weights.

    Parameters
    ----------
    n_components : int ≥ 1
        Number of components K.
    covariance_type : {"full", "tied", "diag", "spherical"}, or a model such as "VEV"
        See `Gaussian` for the fourteen models.
    tol : float ≥ 0
        Change of the mean bound per step at which to stop; 0 makes exactly max_iter steps. A small change is not yet a
        maximum: stop="maximum", tol=1e-8, acceleration="auto" ends there.
    reg_covar : float ≥ 0
        Added to the diagonal of the covariances, in units of x².
    max_iter : int ≥ 0
        Most steps of EM of a start.
    n_init : int ≥ 1
        Starts; the best fit is kept.
    init_params : {"kmeans", "k-means++", "random", "random_from_data", "mixed", ...}
        "kmeans" is k-means of the rows as they are. "mixed", which finds the best maximum more often, and the others
        are those of ``init`` in `ExponentialFamilyMixture`.
    weights_init, means_init, precisions_init : array-like, optional
        Parameters to start from; what is missing comes from ``init_params``.
    random_state : int, RandomState, Generator, optional
        What starts are drawn with; a number makes the fit repeatable.
    warm_start : bool
        Continue from the last fit.
    verbose : int
        Above 0, the first step, every ``verbose_interval`` steps and the last one are said. On a terminal a bar appears
        after 5 s, if tqdm is installed.
    verbose_interval : int ≥ 1
        Steps from one line to the next.
    init : str, Mixture, responsibilities or labels, optional
        Used instead of ``init_params`` when given.
    temperature, prior, concentration, weights, stop, acceleration, guard, collapse
        See `ExponentialFamilyMixture`.
    fixed, tied, bounds, noise, labelled, n_jobs
        See `ExponentialFamilyMixture`.

    Attributes
    ----------
    weights_ : (K,)
    means_ : (K, d)
    covariances_, precisions_, precisions_cholesky_
        (K, d, d), tied and EEE (d, d), diag and ??I (K, d), spherical and ?II (K,).
    converged_, n_iter_, lower_bound_, lower_bounds_, start_bounds_, support_, sound_, mixture_, parameters_,
    natural_parameters_, expectation_parameters_
        See `ExponentialFamilyMixture`.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> X = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    >>> ef.GaussianMixture(2, random_state=0).fit(X).means_.round(3).ravel().tolist()
    [1.0, 11.0]
    """

    _parameter_constraints: dict[str, Any] = {
        **BaseMixture._parameter_constraints,
        "covariance_type": [StrOptions(set(MODELS))],
        "reg_covar": [Interval(Real, 0, None, closed="left")],
        "init_params": [StrOptions(set(INITS))],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", None],
        "init": [*ANY_INIT, None],
    }

    means_: Floats
    covariances_: Floats
    precisions_: Floats
    precisions_cholesky_: Floats

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: RandomState = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        init: str | Mixture | ArrayLike | None = None,
        temperature: float | Sequence[float] = 1.0,
        prior: Prior = None,
        concentration: ArrayLike = 1.0,
        weights: Literal["free", "equal", "fixed"] = "free",
        stop: Stop = "bound",
        acceleration: Acceleration = None,
        guard: bool = False,
        collapse: Literal["error", "keep", "drop", "repair"] = "error",
        fixed: Fixed | None = None,
        tied: Tied = (),
        bounds: Bounds | None = None,
        noise: Literal["uniform"] | None = None,
        labelled: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.init = init
        self.temperature = temperature
        self.prior = prior
        self.concentration = concentration
        self.weights = weights
        self.stop = stop
        self.acceleration = acceleration
        self.guard = guard
        self.collapse = collapse
        self.fixed = fixed
        self.tied = tied
        self.bounds = bounds
        self.noise = noise
        self.labelled = labelled
        self.n_jobs = n_jobs

    @property
    def _draws_components(self) -> bool:
        given = (self.weights_init, self.means_init, self.precisions_init)
        return super()._draws_components and all(value is None for value in given)

    @property
    def _init_in_use(self) -> Any:
        return self.init_params if self.init is None else super()._init_in_use

    @property
    def _packed_as(self) -> str:
        """The type of scikit-learn's whose arrays have the same shapes."""
        model = MODELS[self.covariance_type]
        return "tied" if model.name == "EEE" else model.free

    def _make_family(self) -> ExponentialFamily:
        return self._whole(Gaussian(self.covariance_type, variance_floor=0.0, reg_covar=self.reg_covar))

    def _failure(self, plain: ExponentialFamily, result: FitResult | CollapsedError) -> ValueError:
        # a bound falls for the same reason: the mappings are right, but a component is nearly singular
        return ValueError(COLLAPSED)

    def _starts(
        self, pass_: Pass, data_set: Integers, rng: np.random.Generator, prior: ExpectedStatistics | None
    ) -> Starts:
        family: Any = pass_.family
        weights, means, precisions = self._given(pass_.rows.n_features)
        covariances = None if precisions is None else self._covariances(precisions, weights)
        if weights is not None and means is not None and precisions is not None:
            given = Mixture(family, weights, family.from_moments(means, covariances))
            return initialise_all(pass_, data_set, self.n_components, given)
        init = self._init_in_use
        starts = self._drawn(pass_, data_set, init, rng, prior)
        if (weights is None and means is None and precisions is None) or not len(starts.runs):
            return starts
        drawn, runs = starts.mixture, len(starts.runs)
        of_drawn: Any = drawn.family
        drawn_means, drawn_covariances = of_drawn.to_moments(drawn.flat_natural)
        natural = family.from_moments(
            drawn_means if means is None else np.tile(means, (runs, 1)),
            drawn_covariances if covariances is None else np.concatenate([covariances] * runs),
        )
        weights = drawn.weights if weights is None else np.tile(weights, (runs, 1))
        return starts._replace(mixture=Mixture(family, weights, natural.reshape(drawn.natural.shape)))

    def _drawn(
        self, pass_: Pass, data_set: Integers, init: Any, rng: np.random.Generator, prior: ExpectedStatistics | None
    ) -> Starts:
        K = self.n_components
        if not isinstance(init, str) or init != "kmeans":
            return initialise_all(pass_, data_set, K, init, rng, options=self._options(prior))
        # as in scikit-learn, k-means of the observations themselves; its labels give the first estimates
        sphere = plan(in_frame_units(bind(KnownCovariance(), pass_.rows)), pass_.rows, K)
        centres = initialise_all(sphere, data_set, K, "kmeans", rng, options=Options(weights="equal")).mixture
        return from_labels_of(centres, pass_, K, self._weights_rule, prior)

    def _given(self, d: int) -> tuple[Array | None, Array | None, Array | None]:
        K = self.n_components
        weights = self._checked("weights", self.weights_init, (K,))
        if weights is not None:
            if np.any(weights < 0) or np.any(weights > 1):
                raise ValueError(
                    "The parameter 'weights' should be in the range [0, 1], but got max value "
                    f"{weights.min():.5f}, min value {weights.max():.5f}"
                )
            if not np.allclose(abs(1 - weights.sum()), 0, atol=1e-6):
                raise ValueError(
                    f"The parameter 'weights' should be normalized, but got sum(weights) = {weights.sum():.5f}"
                )
            weights = weights / weights.sum()
        means = self._checked("means", self.means_init, (K, d))
        shape = {"full": (K, d, d), "tied": (d, d), "diag": (K, d), "spherical": (K,)}[self._packed_as]
        precisions = self._checked(f"{self.covariance_type} precision", self.precisions_init, shape)
        if precisions is not None:
            self._check_precisions(precisions, f"{self.covariance_type} precision")
        return weights, means, precisions

    def _checked(self, name: str, value: ArrayLike | None, shape: tuple[int, ...]) -> Array | None:
        if value is None:
            return None
        array = check_array(value, dtype=np.float64, ensure_2d=False, allow_nd=True)
        if array.shape != shape:
            raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")
        return array

    def _check_precisions(self, precisions: Array, name: str) -> None:
        if self._packed_as in ("diag", "spherical"):
            if np.any(precisions <= 0):
                raise ValueError(f"'{name}' should be positive")
            return
        matrices = np.atleast_3d(precisions.T).T
        symmetric = np.allclose(matrices, matrices.transpose(0, 2, 1))
        if not symmetric or np.any(np.linalg.eigvalsh(matrices) <= 0):
            raise ValueError(f"'{name}' should be symmetric, positive-definite")

    def _covariances(self, precisions: Array, weights: Array | None) -> Array:
        """Return the covariances of the model nearest to those given; the first step then does not lower the bound."""
        weights = np.full(self.n_components, 1.0) if weights is None else np.maximum(weights, np.finfo(float).tiny)
        return MODELS[self.covariance_type].nearest_to(weights, self._inverted(precisions))

    def _inverted(self, precisions: Array) -> Array:
        if self._packed_as in ("diag", "spherical"):
            return 1 / precisions
        matrices = np.broadcast_to(precisions, (self.n_components, *precisions.shape[-2:]))
        return invert(matrices)[0]

    def _roots(self, covariances: Array, stack: Mixture) -> Array:
        """Return lower triangular roots of covariances, of the precisions, whose digits these may have lost."""
        if self.noise is not None:
            return cholesky(covariances.reshape(-1, *covariances.shape[-2:])).reshape(covariances.shape)
        family: Any = stack.family
        roots = family.to_roots(stack.flat_natural).reshape(*stack.weights.shape, *covariances.shape[-2:])
        return roots[:, 0] if self._packed_as == "tied" else roots

    def _attributes(self, named: dict[str, Array], stack: Mixture) -> dict[str, Array]:
        covariances = named["covariances"]
        if self._packed_as in ("diag", "spherical"):
            root = 1 / np.sqrt(covariances)
            precisions = root**2
        else:
            # the upper triangular U with precision U Uᵀ, as scikit-learn defines it
            roots = self._roots(covariances, stack)
            if not self.reg_covar:  # what has no inverse in units of x has collapsed
                factor = cholesky(covariances.reshape(-1, *covariances.shape[-2:])).reshape(covariances.shape)
                pivots = np.einsum("...ii->...i", factor).min(axis=-1)
                roots = np.where((pivots > 0)[..., None, None], roots, np.nan)
            eye = np.eye(roots.shape[-1])
            root = np.swapaxes(solve_lower(roots.reshape(-1, *eye.shape), eye).reshape(roots.shape), -1, -2)
            precisions = root @ np.swapaxes(root, -1, -2)
        return {
            "means_": named["means"],
            "covariances_": covariances,
            "precisions_cholesky_": root,
            "precisions_": precisions,
        }
