"""
A family of your own
====================

Note 004: a family is T and A; its M-step is a weighted average of T, ∇A(η_k) = (1/N_k) Σ_n γ_nk T(x_n).
"""

import numpy as np
from _common import never_falls, output_folder, save, side_by_side, table, trace_table

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


class ClosedForm(Rayleigh):
    """The same with ∇A(η) = −1/η inverted by hand, which is faster and gives the same fit."""

    def to_natural(self, expectation):
        return -1 / expectation


class Wrong(Rayleigh):
    """A mapping that does not belong to A: the driver notices, for the bound falls."""

    def to_natural(self, expectation):
        return -2 / expectation


def fitted(family, X):
    return ef.ExponentialFamilyMixture(family, 2, tol=1e-10, max_iter=2000, random_state=0).fit(X)


def main():
    folder = output_folder()
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.rayleigh(1.0, 600), rng.rayleigh(4.0, 400)])[:, None]
    fit = fitted(Rayleigh(), X)
    trace_table("1,000 values of two Rayleigh densities, from T and A alone", fit.lower_bounds_)

    # one more step by hand
    T, r = X**2, fit.predict_proba(X)
    averages = r.T @ T / r.sum(axis=0)[:, None]
    after = ef.maximize(ef.accumulate(fit.mixture_, X), fit.mixture_)
    exact = -1 / after.natural  # ∇A(η) for A(η) = −log(−2η)
    numbers = np.column_stack([after.weights, after.natural, exact, averages])
    rows = [[name, *(f"{value:.6f}" for value in row)] for name, row in zip("ab", numbers, strict=True)]
    headers = ["component", "π", "η", "∇A(η)", "Σ γ T / N"]
    table("M-step: the expectation parameters are the weighted averages of T", headers, rows)
    assert np.allclose(exact, averages, rtol=1e-7)
    assert np.allclose(after.expectation, averages, rtol=1e-5)  # ∇A from differences
    assert never_falls(fit.lower_bounds_)

    closed = fitted(ClosedForm(), X)
    table(
        "With the mapping in closed form", ["family", "log-likelihood per row"],
        [["T and A", f"{fit.lower_bound_:.9f}"], ["and (∇A)⁻¹", f"{closed.lower_bound_:.9f}"]],
    )  # fmt: skip
    assert np.isclose(fit.lower_bound_, closed.lower_bound_, rtol=1e-8)
    scale = np.sort(np.sqrt(fit.expectation_parameters_[:, 0] / 2))
    assert np.allclose(scale, [1, 4], rtol=0.1)

    refused = ""
    try:
        fitted(Wrong(), X)
    except ValueError as error:
        refused = str(error)
    print(f"\na family with a wrong mapping is refused: {refused}")
    assert "bound fell" in refused

    figure, axes = side_by_side(2, 3.9)
    plot_clusters(X, r, mixture=fit.mixture_, names=["x"], ax=axes[0])
    axes[0].set_title("A family of one's own, drawn like any other", loc="left", fontsize="medium")
    plot_bound(fit, axes[1])
    save(figure, "own_family", folder)


if __name__ == "__main__":
    main()
