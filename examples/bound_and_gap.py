"""
Jensen's bound, its gap, and the staircase of EM
================================================

Note 001. Σ_n Σ_k q_nk log(p(x_n, k)/q_nk) is below log p(X) for any q, and the gap is Σ_n KL(q_n ‖ p(t|x_n)): one
divergence for each row. It is never negative. EM raises the bound in every half-step.
"""

import numpy as np
from _common import faithful, never_falls, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import plot_bound

rng = np.random.default_rng(0)
X = faithful(standardised=True)
means, covariances = [[-1.5, 1.0], [1.5, -1.0]], [np.eye(2)] * 2
start = ef.Mixture.of(ef.families.Gaussian(), [0.5, 0.5], means=means, covariances=covariances)
log_likelihood = start.log_density(X).sum()
posterior = start.responsibilities(X)
candidates = {
    "random": rng.dirichlet(np.ones(2), len(X)),
    "half and half": np.full((len(X), 2), 0.5),
    "hard labels": np.eye(2)[posterior.argmax(axis=1)],
    "half-way to p(t|x)": (posterior + 0.5) / 2,
    "p(t|x)": posterior,
}
rows = []
for name, q in candidates.items():
    bound, gap = ef.lower_bound(start, X, q), ef.gap(start, X, q)
    rows.append([name, f"{bound:.6f}", f"{gap:.6f}", f"{bound + gap:.6f}"])
    assert gap >= 0
    assert np.isclose(bound + gap, log_likelihood)
table(f"log p(X) = {log_likelihood:.6f}, for any q", ["q", "bound", "gap Σ KL", "bound + gap"], rows)
assert np.isclose(gap, 0)

# %%
# The M-step raises the bound and thereby opens a gap; the E-step closes it.
result = ef.fit(start, X, tol=0, max_iter=30)
rows = []
for i in (0, 1, 2, 5, 10, 20, 29):
    before, between, after = result.bounds[i], result.half_bounds[i], result.bounds[i + 1]
    rows.append([i + 1, *(f"{value:.6f}" for value in (before, between, after, after - between))])
headers = ["iteration", "log-likelihood", "bound after M-step", "after E-step", "gap the M-step opened"]
table("EM, half-step by half-step", headers, rows)
staircase = np.append(np.column_stack([result.bounds[:-1], result.half_bounds]).ravel(), result.bounds[-1])
assert never_falls(staircase)
first = ef.fit(start, X, tol=0, max_iter=1)
assert np.isclose(first.bounds[1] - first.half_bounds[0], ef.gap(first.mixture, X, posterior))

figure, axes = side_by_side(2, 4.2)
plot_bound(result, axes[0])
plot_bound(ef.fit(ef.fit(start, X, tol=0, max_iter=2).mixture, X, tol=0, max_iter=10), axes[1])
axes[1].set_title("From the third iteration on: every half-step goes up", loc="left", fontsize="medium")
axes[1].set_xlabel("iteration, counted from the third")
save(figure, "bound_and_gap")
