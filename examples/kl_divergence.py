"""
Divergences from the log-partition
==================================

Note 001: the Kullback-Leibler divergence of any family follows from its log-partition alone.
"""

import numpy as np
from _common import output_folder, save, side_by_side, table
from scipy.integrate import quad
from scipy.stats import norm

import expfam_em as ef
from expfam_em.plots import E_STEP, M_STEP


def divergence(family, one, other):
    """KL(one ‖ other) = A(η′) − A(η) − ⟨η′ − η, ∇A(η)⟩."""
    return family.divergence(one, other).item()


def normal(mean, variance):
    """The natural parameters of N(mean, variance)."""
    return ef.families.Gaussian("full").from_moments(np.array([[mean]]), np.array([[[variance]]]))


def by_integration(mean, variance, other_mean, other_variance):
    q, p = norm(mean, np.sqrt(variance)), norm(other_mean, np.sqrt(other_variance))
    reach = 12 * np.sqrt(variance)
    return quad(lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), mean - reach, mean + reach)[0]


def main():
    folder = output_folder()
    gaussian = ef.families.Gaussian("full")
    rows = []
    for variance, expected in ((1.0, 0.5), (100.0, 0.005)):
        fixed = ef.families.KnownCovariance(variance=variance)
        of_means = divergence(fixed, np.array([[0.0]]) / variance, np.array([[1.0]]) / variance)
        free = divergence(gaussian, normal(0.0, variance), normal(1.0, variance))
        numeric = by_integration(0.0, variance, 1.0, variance)
        rows.append([f"{variance:g}", f"{of_means:.6f}", f"{free:.6f}", f"{numeric:.6f}", expected])
        assert np.allclose([of_means, free, numeric], expected)
    headers = ["σ²", "known σ²", "free σ²", "by integration", "expected"]
    table("KL of two Gaussians with |μ₁ − μ₂| = 1", headers, rows)

    one, other = (0.0, 1.0), (1.0, 4.0)
    there, back = divergence(gaussian, normal(*one), normal(*other)), divergence(gaussian, normal(*other), normal(*one))
    same = divergence(gaussian, normal(*one), normal(*one))
    table(
        "It is no distance: N(0, 1) and N(1, 4)", ["KL(q ‖ p)", "KL(p ‖ q)", "KL(q ‖ q)"],
        [[f"{there:.6f}", f"{back:.6f}", f"{same:.6f}"]],
    )  # fmt: skip
    assert np.isclose(there, by_integration(*one, *other))
    assert np.isclose(back, by_integration(*other, *one))
    assert not np.isclose(there, back)
    assert np.isclose(same, 0)

    rates, chances = np.array([2.0, 5.0]), np.array([0.2, 0.7])
    poisson = divergence(ef.families.Poisson(), np.log(rates[:1, None]), np.log(rates[1:, None]))
    logit = np.log(chances / (1 - chances))
    bernoulli = divergence(ef.families.Bernoulli(), logit[:1, None], logit[1:, None])
    p, q = chances
    formulas = [
        rates[0] * np.log(rates[0] / rates[1]) - rates[0] + rates[1],
        p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)),
    ]
    table(
        "The same formula for other families", ["family", "from A", "textbook"],
        [["Poisson 2, 5", f"{poisson:.6f}", f"{formulas[0]:.6f}"],
         ["Bernoulli 0.2, 0.7", f"{bernoulli:.6f}", f"{formulas[1]:.6f}"]],
    )  # fmt: skip
    assert np.allclose([poisson, bernoulli], formulas)

    rng = np.random.default_rng(0)
    many = [divergence(gaussian, normal(a, b), normal(c, d)) for a, b, c, d in rng.uniform(0.1, 9, (1000, 4))]
    print(f"\nsmallest of 1,000 divergences between random Gaussians: {min(many):.6f}")
    assert min(many) >= -1e-12

    figure, axes = side_by_side(2, 3.4)
    for ax, variance, value in zip(axes, (1.0, 100.0), (row[1] for row in rows), strict=True):
        sd = np.sqrt(variance)
        x = np.linspace(-4 * sd, 4 * sd, 500)
        for mean, colour in ((0, E_STEP), (1, M_STEP)):
            ax.plot(x, norm(mean, sd).pdf(x), color=colour)
            side = {"ha": "right", "xytext": (-6, 0)} if mean == 0 else {"ha": "left", "xytext": (6, 0)}
            at = mean + (2 * mean - 1) * sd  # one standard deviation to the outside
            where = (at, norm(mean, sd).pdf(at))
            ax.annotate(f"N({mean}, {variance:g})", where, textcoords="offset points", color=colour, **side)
        ax.set_title(f"σ² = {variance:g}: KL = {float(value):g}", loc="left", fontsize="medium")
        ax.set_xlabel("x")
        ax.set_ylabel("density")
        ax.set_ylim(bottom=0)
        ax.spines[["top", "right"]].set_visible(False)
    save(figure, "kl_divergence", folder)


if __name__ == "__main__":
    main()
