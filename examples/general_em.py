"""
The M-step maximises Q
======================

Note 002, the general EM algorithm. The E-step finds p(Z|X, θ_old), the M-step maximises Q(θ, θ_old) = E[log p(X,
Z|θ)]. The log-likelihood gains at least as much as Q.
"""

import numpy as np
from _common import binary_digits, faithful, table

import expfam_em as ef


def em_by_hand(name, mixture, X, steps):
    """E-step, Q, M-step, Q; return the last mixture."""
    trace = []
    for _ in range(steps):
        r = mixture.responsibilities(X)  # E-step: p(Z|X, θ_old)
        new = ef.maximize(ef.accumulate(mixture, X), mixture)  # M-step: argmax of Q(θ, θ_old)
        q_old, q_new = ef.expected_log_likelihood(mixture, X, r), ef.expected_log_likelihood(new, X, r)
        trace.append([q_old, q_new, q_new - q_old, (new.log_density(X) - mixture.log_density(X)).sum()])
        mixture = new
    headers = ["step", "Q(θ_old, θ_old)", "Q(θ_new, θ_old)", "gain of Q", "gain of log p(X)"]
    table(name, headers, [[i + 1, *(f"{value:.6f}" for value in row)] for i, row in enumerate(trace)])
    _, _, q_gain, gain = np.transpose(trace)
    rounding = 1e-10 * np.abs(trace).max()
    assert q_gain.min() >= -rounding
    # log p(X) = Q + entropy + gap: the entropy stays, and the gap can only open, so log p gains at least as much
    assert np.all(gain >= q_gain - rounding)
    return mixture


X = faithful(standardised=True)
gaussian = ef.families.Gaussian()
at = {"means": [[-1.5, 1.0], [1.5, -1.0]], "covariances": [np.eye(2)] * 2}
mixture = em_by_hand("Old Faithful, two Gaussians", ef.Mixture.of(gaussian, [0.5, 0.5], **at), X, 10)

# %%
# No other parameters do better under the same responsibilities.
r = mixture.responsibilities(X)
best = ef.maximize(ef.accumulate(mixture, X), mixture)
top, rng, lower = ef.expected_log_likelihood(best, X, r), np.random.default_rng(0), []
means, covariances = best.parameters["means"], best.parameters["covariances"]
for _ in range(100):
    nearby = means + 0.05 * rng.normal(size=means.shape)
    other = ef.Mixture.of(gaussian, best.weights, means=nearby, covariances=covariances)
    lower.append(ef.expected_log_likelihood(other, X, r))
print(f"Q at its maximum: {top:.6f}; the best of 100 parameters nearby: {max(lower):.6f}")
assert max(lower) < top

# %%
digits, _ = binary_digits()
chances = np.clip(digits[np.random.default_rng(0).choice(len(digits), 10, replace=False)], 0.25, 0.75)
start = ef.Mixture.of(ef.families.Bernoulli(), np.full(10, 0.1), probabilities=chances)
em_by_hand("Binary digits, ten products of Bernoullis", start, digits, 5)
