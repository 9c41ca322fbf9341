"""
A family of your own
====================

Note 004. A family is T and A; its M-step is a weighted average of T: ∇A(η_k) = (1/N_k) Σ_n γ_nk T(x_n).
"""

import numpy as np
from _common import never_falls, save, side_by_side, table, trace_table

import expfam_em as ef
from expfam_em.plots import plot_bound, plot_clusters


# region family
class Rayleigh(ef.ExponentialFamily):
    """T(x) = x², A(η) = −log(−2η), h(x) = x. Nothing else: the mappings are solved from A."""

    def sufficient_statistics(self, X):
        return X**2

    def log_partition(self, natural):
        return -np.log(-2 * natural).sum(axis=1)

    def log_base_measure(self, X):
        return np.log(X).sum(axis=1)


# endregion

X = np.random.default_rng(0).rayleigh(np.repeat([1.0, 4.0], [600, 400]))[:, None]
fit = ef.ExponentialFamilyMixture(Rayleigh(), 2, tol=1e-10, max_iter=2000, random_state=0).fit(X)
trace_table("1,000 values of two Rayleigh densities, from T and A alone", fit.lower_bounds_)
assert never_falls(fit.lower_bounds_)

T, r = X**2, fit.predict_proba(X)  # one more M-step, by hand: ∇A(η) = −1/η
averages = r.T @ T / r.sum(axis=0)[:, None]
after = ef.maximize(ef.accumulate(fit.mixture_, X), fit.mixture_)
rows = np.column_stack([after.weights, after.natural, -1 / after.natural, averages]).round(6).tolist()
table("M-step", ["π", "η", "∇A(η)", "Σ γ T / N"], rows)
assert np.allclose(-1 / after.natural, averages, rtol=1e-7)
figure, (left, right) = side_by_side(2, 3.9)
plot_clusters(X, r, mixture=fit.mixture_, names=["x"], ax=left)
plot_bound(fit, right)
save(figure, "own_family")


# %%
# A mapping that contradicts A is noticed, because the bound falls.
class Wrong(Rayleigh):
    def to_natural(self, expectation):
        return -2 / expectation


try:
    ef.ExponentialFamilyMixture(Wrong(), 2, random_state=0).fit(X)
except ValueError as error:
    said = str(error)
print(said)
assert "bound fell" in said
