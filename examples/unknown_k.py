"""
K that is not given: a Dirichlet process
========================================

Note 004, K that is not given beforehand: a Dirichlet process on the weights, in one fit.
"""

import numpy as np
from _common import faithful, output_folder, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import PALETTE

LARGEST = 10
"""Components that a fit may use."""


def planted(name, n=600):
    """Rows of three components of a family, and the family."""
    rng = np.random.default_rng(0)
    z = rng.choice(3, n, p=[0.4, 0.35, 0.25])
    means = np.array([[2.0, 20.0], [10.0, 3.0], [30.0, 30.0]])
    if name == "Bernoulli":
        p = np.array([[0.9] * 5 + [0.1] * 5, [0.1] * 5 + [0.9] * 5, [0.1, 0.9] * 5])
        return ef.families.Bernoulli(), (rng.random((n, 10)) < p[z]).astype(float)
    if name == "Poisson":
        return ef.families.Poisson(), rng.poisson(means[z]).astype(float)
    if name == "Gamma":
        return ef.families.Gamma(), rng.gamma(means[z], np.array([[1.0, 2.0], [3.0, 1.0], [1.0, 1.0]])[z])
    centres = np.array([[0.0, 0.0], [5.0, 0.0], [2.0, 5.0]])
    return ef.families.Gaussian("full"), centres[z] + rng.normal(size=(n, 2))


def main():
    folder = output_folder()
    rows, of_all = [], []
    for name in ("Gaussian", "Bernoulli", "Poisson", "Gamma"):
        family, X = planted(name)
        for prior in ("process", "dirichlet"):
            used = []
            for seed in range(5):
                model = ef.ExponentialFamilyMixture(
                    family, LARGEST, bayesian=True, weights_prior=prior, concentration=0.1, max_iter=2000,
                    random_state=seed,
                ).fit(X)  # fmt: skip
                used.append(int(np.sum(model.posterior_.counts > 1)))
            largest = " ".join(f"{weight:.3f}" for weight in np.sort(model.weights_)[:-5:-1])
            rows.append([name, prior, ", ".join(map(str, used)), largest])
            of_all += used
            assert used.count(3) >= 4
    table(f"600 rows of 3 components, at most {LARGEST} allowed: how many are used",
          ["family", "prior of weights", "used, from 5 starts", "largest weights of the last"], rows)  # fmt: skip
    print(f"3 are left in {of_all.count(3)} of {len(of_all)} starts\n")

    X = faithful(standardised=True)
    alphas, fits, shown = (0.01, 1.0, 100.0), [], []
    for alpha in alphas:
        how = {"n_init": 5, "max_iter": 2000, "tol": 1e-6, "random_state": 0}
        model = ef.BayesianGaussianMixture(LARGEST, weight_concentration_prior=alpha, **how).fit(X)
        used, largest = int(np.sum(model.posterior_.counts > 1)), np.sort(model.weights_)[:-6:-1]
        fits.append(model)
        shown.append([f"{alpha:g}", used, f"{model.lower_bound_ * len(X):.2f}", " ".join(f"{w:.3f}" for w in largest)])
    headers = ["α", "used", "bound of the log evidence", "largest weights"]
    table("Old Faithful, a Dirichlet process of concentration α", headers, shown)
    for model in fits:
        assert np.diff(model.lower_bounds_).min() > -1e-9

    em = ef.GaussianMixture(LARGEST, n_init=5, max_iter=2000, random_state=0).fit(X)
    figure, axes = side_by_side(3, 3.8, 11)
    pairs = (em, "EM uses all ten components"), (fits[1], f"variational Bayes uses {shown[1][1]} of ten")
    for ax, (model, title) in zip(axes, pairs, strict=False):
        order = np.argsort(-model.weights_)
        ranks = np.argsort(order)
        colours = np.array(PALETTE)[ranks % len(PALETTE)]
        ax.scatter(*X.T, s=9, c=colours[model.predict(X)], alpha=0.7, linewidths=0)
        for k in order[model.weights_[order] > 1 / len(X)]:
            draw_ellipse(ax, model.means_[k], model.covariances_[k], colours[k])
        ax.set(xlim=(-2.6, 2.4), ylim=(-2.9, 2.6), xlabel="eruption, standardised", ylabel="waiting, standardised")
        ax.set_title(title, loc="left", fontsize="medium")
    for (model, _), colour, name, shift in zip(pairs, PALETTE, ("EM", "variational Bayes"), (-0.2, 0.2), strict=False):
        axes[2].bar(np.arange(1, LARGEST + 1) + shift, np.sort(model.weights_)[::-1], 0.4, color=colour, label=name)
    axes[2].set(xlabel="component, by weight", ylabel="mixing weight", xticks=range(1, LARGEST + 1))
    axes[2].legend(frameon=False)
    axes[2].set_title("mixing weights", loc="left", fontsize="medium")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    save(figure, "unknown_k", folder)


def draw_ellipse(ax, mean, covariance, colour):
    """Draw the ellipse at two standard deviations."""
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = 2 * np.linalg.cholesky(covariance) @ np.array([np.cos(angle), np.sin(angle)])
    ax.plot(*(mean[:, None] + circle), color=colour, linewidth=1.5)


if __name__ == "__main__":
    main()
