"""Entropies and divergences of mixtures and of their components, in closed form where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from expfam_em.family import checked
from expfam_em.family.alike import alike
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.optional import frames_of, is_incomplete, kinds
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Block, Seed
from expfam_em.values.mixture import Mixture, mixture_of

DRAWS = 10_000


class Estimate(NamedTuple):
    """A value and its standard error, which is 0 where the value has a formula.

    Attributes
    ----------
    value, standard_error : float or array
    """

    value: Array
    standard_error: Array

    def __repr__(self) -> str:
        if not np.any(self.standard_error):
            return _rounded(self.value)
        if np.ndim(self.value) == 0:
            return f"{self.value:.6g} ± {self.standard_error:.2g}"
        return f"{_rounded(self.value)}\nstandard errors\n{_rounded(self.standard_error)}"


def _rounded(values: Array) -> str:
    return f"{values:.6g}" if np.ndim(values) == 0 else np.array2string(np.asarray(values), precision=5)


@undisturbed
def entropy(mixture: Mixture, n: int = DRAWS, rng: Seed = None) -> Estimate:
    """Return H = −E[log p(x)] in nats, from n rows drawn from the mixture; exactly if it has one component.

    Parameters
    ----------
    mixture : Mixture
        The mixture, as in ``model.mixture_``.
    n : int ≥ 2
        Rows to draw.
    rng : numpy Generator or seed
        What rows are drawn with where there is no formula; a number makes the result repeatable.

    Raises
    ------
    ValueError
        If n is below 2.
    NotImplementedError
        If the family can be neither sampled nor integrated.
    """
    mixture = mixture_of(mixture)
    if mixture.n_components == 1:
        closed = checked.told(mixture.family, "entropy", mixture.natural)
        if closed is not None:
            return Estimate(checked.of_components(mixture.family, "entropy", closed, mixture.natural)[0], np.zeros(()))
    return _mean_of(lambda X: -mixture.log_density(X), mixture, n, rng)


@undisturbed
def divergence(mixture: Mixture, other: Mixture, n: int = DRAWS, rng: Seed = None) -> Estimate:
    """Return KL(p ‖ q) = E_p[log p(x) − log q(x)] in nats of two mixtures of rows alike; exactly for single components.

    Parameters
    ----------
    mixture, other : Mixture
        p and q; their families may differ.
    n : int ≥ 2
        Rows to draw from p.
    rng : numpy Generator or seed
        What rows are drawn with where there is no formula; a number makes the result repeatable.

    Raises
    ------
    ValueError
        If n is below 2.
    """
    mixture, other = mixture_of(mixture), mixture_of(other)
    alone = mixture.n_components == other.n_components == 1
    if alone and alike(mixture.family, other.family) and not is_incomplete(mixture.family):
        other = other.in_family(mixture.family)  # where p is, so that no digits of it are lost
        return Estimate(_divergences(mixture.family, mixture.natural, other.natural)[0], np.zeros(()))
    return _mean_of(lambda X: mixture.log_density(X) - _log_density(other, X), mixture, n, rng)


@undisturbed
def component_entropies(mixture: Mixture, n: int = DRAWS, rng: Seed = None) -> Estimate:
    """Return the entropy of every component, (K,).

    Parameters
    ----------
    mixture : Mixture
        The mixture, as in ``model.mixture_``.
    n : int
        Draws, where there is no formula.
    rng : int or numpy Generator, optional
        What rows are drawn with; a number makes the result repeatable.
    """
    mixture, rng = mixture_of(mixture), np.random.default_rng(rng)
    return _stacked([entropy(mixture.components(k), n, rng) for k in range(mixture.n_components)])


@undisturbed
def component_divergences(mixture: Mixture, n: int = DRAWS, rng: Seed = None) -> Estimate:
    """Return KL(p_j ‖ p_k) of every pair of components, (K, K).

    A(η_k) − A(η_j) − ⟨η_k − η_j, ∇A(η_j)⟩ where all have densities of one family in one frame, from draws elsewhere.

    Parameters
    ----------
    mixture : Mixture
        The mixture, as in ``model.mixture_``.
    n : int
        Draws, where there is no formula.
    rng : int or numpy Generator, optional
        What rows are drawn with; a number makes the result repeatable.
    """
    mixture, rng = mixture_of(mixture), np.random.default_rng(rng)
    K = mixture.n_components
    if _alike(mixture.family, K):
        j, k = np.repeat(np.arange(K), K), np.tile(np.arange(K), K)
        value = _divergences(mixture.family, mixture.natural[j], mixture.natural[k]).reshape(K, K)
        np.fill_diagonal(value, 0.0)
        return Estimate(value, np.zeros((K, K)))
    parts = [mixture.components(k) for k in range(K)]
    rows = [_stacked([divergence(one, other, n, rng) for other in parts]) for one in parts]
    return _stacked(rows)


def _divergences(family: ExponentialFamily, natural: Array, other: Array) -> Array:
    return checked.of_components(family, "divergence", checked.told(family, "divergence", natural, other), natural)


def _alike(family: ExponentialFamily, n_components: int) -> bool:
    """Whether components differ in nothing but η, so that their divergence is that of A."""
    return not is_incomplete(family) and len(kinds(family, n_components)) == 1 and frames_of(family) is None


def _log_density(mixture: Mixture, X: Block) -> Array:
    """Return log p(x), −∞ for rows that are impossible."""
    out, possible = np.full(len(X), -np.inf), checked.supports(mixture.family, X)
    if possible.any():
        out[possible] = mixture.log_density(X[possible])
    return out


def _mean_of(function: Callable[[Block], Array], mixture: Mixture, n: int, rng: Seed) -> Estimate:
    if n < 2:
        raise ValueError(f"n is {n!r}; at least 2 rows are needed for a standard error")
    values = function(mixture.sample(n, rng)[0])
    if np.isposinf(values).any():  # a row that is impossible under q
        return Estimate(np.array(np.inf), np.zeros(()))
    return Estimate(values.mean(), values.std(ddof=1) / np.sqrt(n))


def _stacked(estimates: Iterable[Estimate]) -> Estimate:
    return Estimate(*(np.stack(arrays) for arrays in zip(*estimates, strict=True)))
