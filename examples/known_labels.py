"""
Labels give parameters, parameters give labels
==============================================

Note 001, the chicken and the egg: labels give the parameters, parameters give the labels.
"""

import numpy as np
from _common import output_folder, save, side_by_side, table
from scipy.special import expit

import expfam_em as ef
from expfam_em.plots import plot_clusters


def m_step(X, init):
    """The parameters that labels or responsibilities give, without any further step."""
    return ef.GaussianMixture(2, init=init, max_iter=0, reg_covar=0).fit(X)


def main():
    folder = output_folder()
    family = ef.families.Gaussian("full")
    true = ef.Mixture(family, [0.5, 0.5], family.from_moments(np.array([[-2.0], [2.0]]), np.ones((2, 1, 1))))
    X, labels = true.sample(400, rng=0)
    x = X[:, 0]

    hard = m_step(X, labels)
    rows = []
    for k in range(2):
        mine = x[labels == k]
        numbers = hard.means_[k, 0], mine.mean(), hard.covariances_[k].item(), mine.var()
        rows.append([k, *(f"{number:.6f}" for number in numbers)])
        assert np.isclose(hard.means_[k, 0], mine.mean())
        assert np.isclose(hard.covariances_[k].item(), mine.var())
    headers = ["component", "μ", "mean of its rows", "σ²", "variance of its rows"]
    table("Known labels: means and variances of the rows with each label", headers, rows)

    r = true.responsibilities(X)
    soft = m_step(X, r)
    rows = []
    for k in range(2):
        mean = np.average(x, weights=r[:, k])
        variance = np.average((x - mean) ** 2, weights=r[:, k])
        numbers = soft.means_[k, 0], mean, soft.covariances_[k].item(), variance
        rows.append([k, *(f"{number:.6f}" for number in numbers)])
        assert np.isclose(soft.means_[k, 0], mean)
        assert np.isclose(soft.covariances_[k].item(), variance)
    headers = ["component", "μ", "weighted mean", "σ²", "weighted variance"]
    table("Unknown labels: the same, weighted by p(t = k|x)", headers, rows)

    at = np.array([-4.0, -2, -1, -0.5, 0, 0.5, 1, 2, 4])
    posterior = true.responsibilities(at[:, None])[:, 0]
    bayes = expit(-4 * at)  # log odds of N(−2, 1) and N(2, 1) with equal weights: −4x
    table(
        "Known components N(−2, 1) and N(2, 1): p(t = 1|x) by Bayes' rule", ["x", "responsibility", "1 / (1 + exp 4x)"],
        [[value, f"{p:.8f}", f"{q:.8f}"] for value, p, q in zip(at, posterior, bayes, strict=True)],
    )  # fmt: skip
    assert np.allclose(posterior, bayes)

    figure, axes = side_by_side(2, 3.8, sharey=True)
    for ax, given, mixture, title in zip(
        axes, (np.eye(2)[labels], r), (hard.mixture_, true),
        ("Given the labels: each component fits its own rows", "Given the components: rows between them are shared"),
        strict=True,
    ):  # fmt: skip
        plot_clusters(X, given, mixture=mixture, names=["x"], ax=ax)
        ax.set_title(title, loc="left", fontsize="medium")
    save(figure, "known_labels", folder)


if __name__ == "__main__":
    main()
