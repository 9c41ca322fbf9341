"""
The M-step maximises Q
======================

Note 002, the general EM algorithm: the M-step maximises Q(θ, θ_old), and with it the log-likelihood rises.
"""

import numpy as np
from _common import binary_digits, faithful, output_folder, table

import expfam_em as ef


def em_by_hand(mixture, X, steps):
    """E-step, Q, M-step, Q, one row of numbers for each step."""
    rows = []
    for _ in range(steps):
        r = mixture.responsibilities(X)  # E-step: p(Z|X, θ_old)
        new = ef.maximize(ef.accumulate(mixture, X), mixture)  # M-step: argmax of Q(θ, θ_old)
        q_old, q_new = ef.expected_log_likelihood(mixture, X, r), ef.expected_log_likelihood(new, X, r)
        rows.append([q_old, q_new, mixture.log_density(X).sum(), new.log_density(X).sum()])
        mixture = new
    return np.array(rows), mixture


def show(name, trace):
    q_gain, gain = trace[:, 1] - trace[:, 0], trace[:, 3] - trace[:, 2]
    table(
        name, ["step", "Q(θ_old, θ_old)", "Q(θ_new, θ_old)", "gain of Q", "gain of log p(X)"],
        [[i + 1, *(f"{v:.6f}" for v in (*trace[i, :2], q_gain[i], gain[i]))] for i in range(len(trace))],
    )  # fmt: skip
    rounding = 1e-10 * np.abs(trace).max()
    assert q_gain.min() >= -rounding
    # log p(X) = Q + entropy + gap: the entropy stays, and the gap can only open, so log p gains at least as much
    assert np.all(gain >= q_gain - rounding)


def main():
    output_folder()
    X = faithful(standardised=True)
    gaussian = ef.families.Gaussian("full")
    start = ef.Mixture(
        gaussian, [0.5, 0.5], gaussian.from_moments(np.array([[-1.5, 1.0], [1.5, -1.0]]), np.array([np.eye(2)] * 2))
    )
    trace, mixture = em_by_hand(start, X, 10)
    show("Old Faithful, two Gaussians", trace)

    # no other parameters do better under the same responsibilities
    r = mixture.responsibilities(X)
    best = ef.maximize(ef.accumulate(mixture, X), mixture)
    top, rng = ef.expected_log_likelihood(best, X, r), np.random.default_rng(0)
    means, covariances = best.parameters["means"], best.parameters["covariances"]
    lower = []
    for _ in range(100):
        nearby = gaussian.from_moments(means + 0.05 * rng.normal(size=means.shape), covariances)
        lower.append(ef.expected_log_likelihood(ef.Mixture(gaussian, best.weights, nearby), X, r))
    print(f"\nQ at its maximum: {top:.6f}; the best of 100 parameters nearby: {max(lower):.6f}")
    assert max(lower) < top

    digits, _ = binary_digits()
    bernoulli = ef.families.Bernoulli()
    chances = np.clip(digits[np.random.default_rng(0).choice(len(digits), 10, replace=False)], 0.25, 0.75)
    trace, _ = em_by_hand(ef.Mixture(bernoulli, np.full(10, 0.1), bernoulli.to_natural(chances)), digits, 5)
    show("Binary digits, ten products of Bernoullis", trace)


if __name__ == "__main__":
    main()
