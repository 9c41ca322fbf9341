"""Mixtures of any exponential family."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import check_array

from expfam_em.em.bayes import WeightsPrior
from expfam_em.em.options import Acceleration, Stop
from expfam_em.estimators.base import BaseMixture, Prior
from expfam_em.estimators.shell import in_our_words
from expfam_em.families.composed.product import Product
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.constraints import Bounds, Fixed, Tied
from expfam_em.family.missing import takes_missing
from expfam_em.family.registry import family_of
from expfam_em.rows.columns import check_table, is_frame
from expfam_em.rows.protocol import is_rows
from expfam_em.rows.typing import RandomState
from expfam_em.saving.files import saved
from expfam_em.sources.open import is_source
from expfam_em.values.mixture import Mixture

AUTO = "auto"
"""The family of each column is chosen by its values."""


def inferred_family(X: Any) -> Product:
    """Return a product with a family for each column of a frame or an array.

    Raises
    ------
    ValueError
        If X is no such table, or a column tells no family.
    """
    if is_rows(X) or is_source(X):
        raise ValueError(
            f"the family 'auto' looks at a frame or an array in memory, and X is {type(X).__name__}: read it first, as "
            "by pandas.read_csv or pyarrow's to_pandas(), or give a family"
        )
    if sparse.issparse(X):
        raise ValueError("the family 'auto' takes a frame or an array, and X is sparse: give a family")
    check_table(X)
    with in_our_words("the family 'auto'"):
        return Product.infer(X if is_frame(X) else check_array(X, dtype=np.float64, ensure_all_finite="allow-nan"))


@saved
class ExponentialFamilyMixture(BaseMixture):
    """Mixture of an exponential family, fitted by EM.

    Parameters
    ----------
    family : ExponentialFamily or str
        Your own, or one of `expfam_em.families`, or its name in any spelling: "poisson", "gamma-poisson". "auto": one
        for each column of the rows, as `Product.infer` chooses it.
    n_components : int ≥ 1
        Number of components K.
    temperature : float ≥ 0, or a sequence of them
        1 is EM, 0 hard assignment; a sequence anneals, one value per step.
    tol : float ≥ 0
        What may be left to gain, per unit of row weight: tol · n in log-likelihood, 0.01 for a million rows at the
        default. 0 makes exactly max_iter steps. See ``stop``.
    max_iter : int ≥ 0
        Most steps of EM of a start.
    n_init : int ≥ 1
        Starts; the best fit is kept.
    init : str, Mixture, responsibilities (n, K) or labels (n,)
        "auto": "mixed" if ``n_init`` > 1, else "k-means++". "mixed": the best of starts of every kind after a few
        steps of EM. "k-means++": rows far from one another in the family's own divergence. "kmeans": the same, followed
        by hard assignment in that divergence. "random": random responsibilities. "random_from_data": random rows.
        "kmeans_raw", "kmeans_scaled", "kmeans_whitened": labels by k-means of columns as they are, of variance 1, or of
        variance 1 in every direction. "ward": labels by Ward's hierarchical clustering of half of the rows, whitened.
        "unequal": labels by balls of very different size around rows.
    prior : ExpectedStatistics, "weak" or "mclust", optional
        Conjugate prior: pseudo-counts and sums of statistics of x, or what `accumulate` has returned. "weak": one
        pseudo-row of the mean statistics of all rows for each component. "mclust": of `Gaussian`, mclust's default.
    concentration : float > 0 or (K,)
        Dirichlet parameter of the prior on the mixing weights, or the concentration of a Dirichlet process.
    weights : {"free", "equal", "fixed"}
        Mixing weights: estimated, all 1/K, or kept as they start.
    stop : {"maximum", "bound", "parameters"}
        What ``tol`` is compared with: an estimate of what is left to gain; what the last step has gained, as in
        scikit-learn; or how far the parameters have moved. The first two are per unit of row weight.
    acceleration : {"auto"}, optional
        "auto" goes further than EM where past steps tell that it gains more. It needs fewer steps, each one E-step, and
        never lowers the bound, but may end at another maximum. None is EM itself. At temperature 0 both are the same.
    guard : bool
        Whether the best start without a spurious component is kept: one that does not predict rows it has not seen,
        at the resolution in which they are recorded. If there is none, the best start is kept with a warning.
    collapse : {"error", "keep", "drop", "repair"}
        What becomes of a component that collapses: its start fails, which is an error only if every start does; or it
        stays as it was, goes on with weight 0, or begins again at a row that the others fit badly. See `fit`.
    fixed : dict of str to array, optional
        Named parameters that are held: (K, …) arrays, NaN is free, such as ``{"means": …}``; "weights" are the mixing
        weights. Component k of an array is component k of the fit. See `constrain`.
    tied : sequence of str, or dict of str to (K,) factors
        Named parameters that all components have in common, or up to factors.
    bounds : dict of str to (low, high), optional
        Bounds of named parameters.
    noise : {"uniform"}, optional
        One more component, the last, for rows of no cluster: uniform on the box of the rows. `predict` gives it the
        label −1, ``parameters_`` have its box as "noise_low" and "noise_high".
    labelled : bool
        Whether y of `fit` holds the component of each row, −1 where it is unknown. Otherwise y is ignored.
    random_state : int, RandomState, Generator, optional
        What starts are drawn with; a number makes the fit repeatable.
    n_jobs : int, optional
        Threads, all cores by default. Results do not depend on it.
    warm_start : bool
        Continue from the last fit.
    verbose : int
        Above 0, the first step, every ``verbose_interval`` steps and the last one are said. On a terminal a bar appears
        after 5 s, if tqdm is installed.
    verbose_interval : int ≥ 1
        Steps from one line to the next.
    bayesian : bool
        Estimate a posterior of all parameters by variational Bayes, for which K is the largest number of components:
        those that the rows do not call for keep hardly any weight. Fitted attributes then belong to the mixture of the
        posterior means, and bounds are bounds of the log evidence. Steps are those of variational Bayes, whatever
        ``acceleration`` says. ``prior`` must be proper; by default it is one pseudo-observation like the mean of all
        rows for each component.
    weights_prior : {"process", "dirichlet"}
        With ``bayesian``: a Dirichlet process (stick breaking), or a Dirichlet density.

    Attributes
    ----------
    family_ : ExponentialFamily
        What family="auto" has chosen.
    levels_ : dict of str to tuple
        If there are columns of labels, the labels of each, whose numbers in this order are its codes.
    mixture_ : Mixture
    weights_ : (K,)
    natural_parameters_, expectation_parameters_ : (K, p)
    parameters_ : dict of named arrays
    lower_bound_ : float
        Bound per unit of row weight, at the parameters returned.
    lower_bounds_ : list of float
        The same after each step.
    start_bounds_ : (n_init,)
        The same at the end of each start: of one that was left behind, where it stopped; −∞ for one that failed. One
        number after a warm start.
    support_ : (K,)
        How much each component adds to the log-likelihood of rows that it has not seen; ∞ where there is nothing to
        guard, NaN without ``guard``.
    sound_ : bool or None
        Whether no component is spurious; None without ``guard``.
    n_iter_ : int
    converged_ : bool
    status_ : str
        How the fit ended, as a sentence, and which components are spurious.
    posterior_ : ExpectedStatistics
        With ``bayesian``: the rows that each component is expected to have, (K,), as ``counts``, and the parameters
        ``sums`` χ (K, p) and ``exposures`` ν (K,) of the conjugate posterior, both with the prior. NaN after
        ``mixture_`` has been set.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> X = np.concatenate([np.arange(5.0), np.arange(20.0, 25.0)])[:, None]
    >>> ef.ExponentialFamilyMixture(ef.families.Poisson(), 2, random_state=0).fit(X).predict([[1.0], [22.0]]).tolist()
    [0, 1]
    """

    _parameter_constraints: dict[str, Any] = {
        **BaseMixture._parameter_constraints,
        "family": "no_validation",  # `family_of` says more of it
    }

    family_: ExponentialFamily

    def __init__(
        self,
        family: ExponentialFamily | str,
        n_components: int = 1,
        *,
        temperature: float | Sequence[float] = 1.0,
        tol: float = 1e-8,
        max_iter: int = 500,
        n_init: int = 1,
        init: str | Mixture | ArrayLike = "auto",
        prior: Prior = None,
        concentration: ArrayLike = 1.0,
        weights: Literal["free", "equal", "fixed"] = "free",
        stop: Stop = "maximum",
        acceleration: Acceleration = "auto",
        guard: bool = True,
        collapse: Literal["error", "keep", "drop", "repair"] = "error",
        fixed: Fixed | None = None,
        tied: Tied = (),
        bounds: Bounds | None = None,
        noise: Literal["uniform"] | None = None,
        labelled: bool = False,
        random_state: RandomState = None,
        n_jobs: int | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        bayesian: bool = False,
        weights_prior: WeightsPrior = "process",
    ) -> None:
        self.family = family
        self.n_components = n_components
        self.temperature = temperature
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init = init
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
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.bayesian = bayesian
        self.weights_prior = weights_prior

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        family = None
        with contextlib.suppress(TypeError, ValueError):  # of a family that `fit` refuses
            family = self._plain()
        tags.input_tags.sparse = getattr(family, "sparse", None) in ("entries", "rows")
        tags.input_tags.allow_nan = family is None or takes_missing(family)
        return tags

    def _plain(self) -> ExponentialFamily:
        """Return the family without constraints and noise.

        Raises
        ------
        TypeError, ValueError
            If it is no family, there is none of the name, or it is not chosen yet.
        """
        if self.family != AUTO:
            return family_of(self.family)
        if (found := self.__dict__.get("family_")) is None:
            raise ValueError("family is 'auto', which fit chooses by its rows: call fit first, or give a family")
        return found

    def _make_family(self) -> ExponentialFamily:
        return self._whole(self._plain())

    def _names_of_columns(self) -> tuple[str, ...] | None:
        return getattr(self._plain(), "names", None)

    def _validated(self, X: Any, reset: bool = True) -> Any:
        if reset:
            self.__dict__.pop("family_", None)
        if reset and self.family == AUTO:
            self.__dict__["family_"] = inferred_family(X)
        return super()._validated(X, reset)
