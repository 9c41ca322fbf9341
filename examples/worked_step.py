"""
One E-step and one M-step by hand
=================================

Note 003. Two Gaussians, blue and red, and four rows. The responsibilities that the note prints are made up; these are
the true ones, beside the same numbers by hand.
"""

import numpy as np
from _common import save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import plot_clusters

X = np.array([[0.6, 1.6], [-1.3, 1.5], [-0.44, 0.4], [1.5, -1.5]])
PRIOR, MEANS = np.array([0.6, 0.4]), np.array([[-1.5, 1.5], [1.5, -1.0]])
start = ef.Mixture.of(ef.families.Gaussian(), PRIOR, means=MEANS, covariances=[np.eye(2)] * 2)

r = start.responsibilities(X)
joint = PRIOR * np.exp(-0.5 * np.sum((X[:, None] - MEANS) ** 2, axis=2))  # with Σ = I the constants cancel
by_hand = joint / joint.sum(axis=1, keepdims=True)
rows = [[*x, *(f"{value:.6f}" for value in (*of, hand))] for x, of, hand in zip(X, r, by_hand[:, 0], strict=True)]
table("E-step", ["x1", "x2", "P(blue|x)", "P(red|x)", "blue, by hand"], rows)
assert np.allclose(r, by_hand)
assert np.allclose(r[:, 0], [0.878731, 0.999407, 0.890948, 0.000210], atol=1e-6)

# %%
# M-step: N_k = Σ r, π_k = N_k/N, weighted means, weighted covariances.
statistics = ef.accumulate(start, X)
after = ef.maximize(statistics, start)
counts = r.sum(axis=0)
means = r.T @ X / counts[:, None]
offset = X[:, None] - means
covariances = np.einsum("nk,nki,nkj->kij", r, offset, offset) / counts[:, None, None]
rows = []
for k, name in enumerate(("blue", "red")):
    mean, covariance = (np.round(after.parameters[what][k], 4).tolist() for what in ("means", "covariances"))
    rows.append([name, f"{statistics.counts[k]:.6f}", f"{after.weights[k]:.6f}", mean, covariance])
table("M-step", ["cluster", "N", "π", "μ", "Σ"], rows)
assert np.allclose(after.weights, counts / 4)
assert np.allclose(after.parameters["means"], means)
assert np.allclose(after.parameters["covariances"], covariances)

before, now = start.log_density(X).sum(), after.log_density(X).sum()
print(f"\nlog-likelihood before the step {before:.4f}, after it {now:.4f}")
assert np.allclose([statistics.bound, before, now], [-13.0765, -13.0765, -9.1110], atol=1e-4)

figure, axes = side_by_side(2, 4.4, sharex=True, sharey=True)
titles = "E-step: rows take the colours of the components", "M-step: components move to their rows"
for mixture, ax, title in zip((start, after), axes, titles, strict=True):
    plot_clusters(X, r, mixture=mixture, names=["x1", "x2"], ax=ax)
    ax.set_title(title, loc="left", fontsize="medium")
save(figure, "worked_step")
