"""
k-means as the limit of EM
==========================

Notes 000, 001, 002. k-means is EM with Σ = εI and equal weights as ε → 0, and so as the temperature → 0. The expected
log-likelihood itself diverges; ε times it tends to −J/2.
"""

import numpy as np
from _common import faithful, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import PALETTE

START = np.array([[-1.0, 0.0], [1.0, 0.0]])
EPSILONS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.007, 0.005, 0.003, 0.001, 1e-4)
SETTINGS = {"weights": "equal", "stop": "parameters", "tol": 1e-12, "max_iter": 2000}


def soft(X, epsilon, temperature=1.0):
    """EM to the end with Σ = εI and equal weights."""
    family = ef.families.KnownCovariance(variance=epsilon)
    start = ef.Mixture(family, [0.5, 0.5], family.from_moments(START, np.ones(2)))
    return ef.fit(start, X, temperature=temperature, **SETTINGS).mixture


X = faithful(standardised=True)
hard = ef.KMeans(2, init=START, tol=0).fit(X)
numbers = []
for epsilon in EPSILONS:
    mixture, cooled = soft(X, epsilon), soft(X, 1.0, temperature=epsilon)
    r = mixture.responsibilities(X)
    numbers.append([
        np.abs(r - np.eye(2)[hard.labels_]).max(),
        np.abs(mixture.parameters["means"] - hard.cluster_centers_).max(),
        epsilon * ef.expected_log_likelihood(mixture, X, r),
        np.abs(r - cooled.responsibilities(X, temperature=epsilon)).max(),
    ])  # fmt: skip
off_r, off_centres, scaled, off_cooled = np.transpose(numbers)
rows = [[f"{epsilon:g}", *(f"{value:.6g}" for value in row)] for epsilon, row in zip(EPSILONS, numbers, strict=True)]
headers = ["ε", "max |r − r of k-means|", "max |μ − μ of k-means|", "ε E[ln p]", "|r − r at temperature ε|"]
table(f"Old Faithful, standardised, K = 2; k-means ends at −J/2 = −{hard.inertia_ / 2:.5f}", headers, rows)
assert max(off_r[-1], off_centres[-1]) < 1e-12
assert off_cooled.max() < 1e-6
assert np.isclose(scaled[-1], -hard.inertia_ / 2, rtol=0.01)

zero = ef.fit(soft(X, 1.0), X, temperature=0.0, weights="equal", stop="parameters", tol=0).mixture
at_zero = np.abs(zero.parameters["means"] - hard.cluster_centers_).max()
print(f"\nat temperature 0 the centres differ from those of k-means by {at_zero:.1e}")
assert at_zero < 1e-12

figure, axes = side_by_side(2, 3.8)
for ax, values, what, colour in zip(axes, (off_r, off_centres), ("r", "μ"), PALETTE, strict=False):
    shown = np.maximum(values[:-1], 1e-16)  # what is exactly 0 is drawn at the rounding of a number near 1
    ax.loglog(EPSILONS[:-1], shown, color=colour, marker="o", markersize=4)
    ax.set(xlabel="ε (variance of every component), sd²", ylabel=f"largest |{what} − {what} of k-means|")
save(figure, "epsilon_limit")
