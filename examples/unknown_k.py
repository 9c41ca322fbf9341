"""
K that is not given: a Dirichlet process
========================================

Note 004. With a Dirichlet process on the weights one fit says how many of the ten components that are allowed are
used.
"""

import numpy as np
from _common import faithful, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import PALETTE, plot_clusters

rng = np.random.default_rng(0)
z = rng.choice(3, 600, p=[0.4, 0.35, 0.25])
means = np.array([[2.0, 20.0], [10.0, 3.0], [30.0, 30.0]])[z]
chances = np.array([[0.9] * 5 + [0.1] * 5, [0.1] * 5 + [0.9] * 5, [0.1, 0.9] * 5])[z]
planted = [
    (ef.families.Gaussian(), np.array([[0, 0], [5, 0], [2, 5]])[z] + rng.normal(size=(600, 2))),
    (ef.families.Bernoulli(), (rng.random((600, 10)) < chances).astype(float)),
    (ef.families.Poisson(), rng.poisson(means).astype(float)),
    (ef.families.Gamma(), rng.gamma(means, np.array([[1.0, 2.0], [3.0, 1.0], [1.0, 1.0]])[z])),
]
rows, settings = [], {"bayesian": True, "concentration": 0.1, "max_iter": 2000}
for family, X in planted:
    for prior in ("process", "dirichlet"):
        fits = [
            ef.ExponentialFamilyMixture(family, 10, weights_prior=prior, random_state=seed, **settings).fit(X)
            for seed in range(5)
        ]
        used = [int(np.sum(fit.posterior_.counts > 1)) for fit in fits]
        largest = np.sort(fits[-1].weights_)[:-5:-1].round(3)
        rows.append([type(family).__name__, prior, ", ".join(map(str, used)), largest])
        assert used.count(3) >= 4
headers = ["family", "prior of weights", "used, from 5 starts", "largest weights of the last"]
table("600 rows of 3 components, at most 10 allowed: how many are used", headers, rows)

# %%
# Old Faithful: the concentration α says beforehand how many components to expect. EM uses all that it is given.
X = faithful(standardised=True)
how = {"n_init": 5, "max_iter": 2000, "tol": 1e-6, "random_state": 0}
em = ef.GaussianMixture(10, **how).fit(X)
bayes = {a: ef.BayesianGaussianMixture(10, weight_concentration_prior=a, **how).fit(X) for a in (0.01, 1.0, 100.0)}
rows = [[f"{a:g}", int(np.sum(b.posterior_.counts > 1)), f"{b.lower_bound_ * len(X):.2f}"] for a, b in bayes.items()]
table("Old Faithful, a Dirichlet process of concentration α", ["α", "used", "bound of the log evidence"], rows)
assert all(np.diff(fit.lower_bounds_).min() > -1e-9 for fit in bayes.values())

figure, axes = side_by_side(3, 3.8, 11)
names = ("eruption, standardised", "waiting, standardised")
for ax, fit, title, colour in zip(axes, (em, bayes[1.0]), ("EM", "variational Bayes"), PALETTE, strict=False):
    order = np.argsort(-fit.weights_)
    order = order[fit.weights_[order] > 1 / len(X)]
    used = fit.mixture_.components(order)
    plot_clusters(X, used.responsibilities(X), mixture=used, names=names, ax=ax)
    ax.set_title(f"{title} uses {len(order)} of ten", loc="left", fontsize="medium")
    axes[2].plot(np.arange(1, 11), np.sort(fit.weights_)[::-1], "o-", color=colour, label=title)
axes[2].set(xlabel="component, by weight", ylabel="mixing weight", xticks=range(1, 11))
axes[2].legend(frameon=False)
save(figure, "unknown_k")
