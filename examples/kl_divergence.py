"""
Divergences from the log-partition
==================================

Note 001. The Kullback-Leibler divergence of any family follows from its log-partition A alone: KL(η ‖ η′) = A(η′) −
A(η) − ⟨η′ − η, ∇A(η)⟩. Two Gaussians with means 1 apart have 0.5 at σ² = 1, and 0.005 at σ² = 100.
"""

import numpy as np
from _common import save, side_by_side, table
from scipy.integrate import quad
from scipy.stats import norm

import expfam_em as ef
from expfam_em.plots import PALETTE

gaussian = ef.families.Gaussian("full")


def normal(mean, variance):
    """The natural parameters of N(mean, variance)."""
    return gaussian.from_moments(np.array([[mean]]), np.array([[[variance]]]))


def by_integration(mean, variance, other_mean, other_variance):
    q, p = norm(mean, np.sqrt(variance)), norm(other_mean, np.sqrt(other_variance))
    return quad(lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), *q.interval(1 - 1e-15))[0]


rows = []
figure, axes = side_by_side(2, 3.4)
for ax, variance, expected in zip(axes, (1.0, 100.0), (0.5, 0.005), strict=True):
    value = gaussian.divergence(normal(0.0, variance), normal(1.0, variance)).item()
    numeric = by_integration(0.0, variance, 1.0, variance)
    rows.append([f"{variance:g}", f"{value:.6f}", f"{numeric:.6f}", expected])
    assert np.allclose([value, numeric], expected)
    x = np.linspace(-4, 4, 500) * np.sqrt(variance)
    for mean, colour in ((0, PALETTE[0]), (1, PALETTE[1])):
        ax.plot(x, norm(mean, np.sqrt(variance)).pdf(x), color=colour)
    ax.set_title(f"σ² = {variance:g}: KL = {value:g}", loc="left", fontsize="medium")
    ax.set(xlabel="x", ylabel="density", ylim=(0, None))
table("KL of two Gaussians with |μ₁ − μ₂| = 1", ["σ²", "from A", "by integration", "expected"], rows)
save(figure, "kl_divergence")

# %%
# It is no distance, and the formula is the same for other families.
there, back = (gaussian.divergence(normal(*a), normal(*b)).item() for a, b in (((0, 1), (1, 4)), ((1, 4), (0, 1))))
rates, p, q = np.array([[2.0], [5.0]]), 0.2, 0.7
poisson = ef.families.Poisson().divergence(np.log(rates[:1]), np.log(rates[1:])).item()
logits = np.log([[p / (1 - p)], [q / (1 - q)]])
bernoulli = ef.families.Bernoulli().divergence(logits[:1], logits[1:]).item()
found = [
    ("N(0, 1) ‖ N(1, 4)", there, by_integration(0, 1, 1, 4)),
    ("N(1, 4) ‖ N(0, 1)", back, by_integration(1, 4, 0, 1)),
    ("Poisson 2 ‖ 5", poisson, 2 * np.log(2 / 5) - 2 + 5),
    ("Bernoulli 0.2 ‖ 0.7", bernoulli, p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))),
]
table("KL", ["of", "from A", "expected"], [[name, f"{value:.6f}", f"{by:.6f}"] for name, value, by in found])
assert all(np.isclose(value, expected) for _, value, expected in found)
