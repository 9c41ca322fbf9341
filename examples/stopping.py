"""
Two rules for where a fit ends
==============================

Notes 003 and 004: stop when the log-likelihood settles, or when the parameters do.
"""

import numpy as np
from _common import never_falls, output_folder, table

import expfam_em as ef


def main():
    output_folder()
    rng = np.random.default_rng(0)
    # clusters that overlap: the likelihood is flat along a ridge, where parameters still move
    X = np.concatenate([rng.normal(0.0, 1.0, 400), rng.normal(2.0, 1.0, 400)])[:, None]
    start = {"means_init": [[-1.0], [1.0]], "weights_init": [0.5, 0.5], "precisions_init": [[[1.0]], [[1.0]]]}

    def fit(stop, tol, max_iter=20_000):
        return ef.GaussianMixture(2, **start, stop=stop, tol=tol, max_iter=max_iter, reg_covar=0).fit(X)

    end = fit("parameters", 1e-10)
    rows, iterations = [], {"bound": [], "parameters": []}
    for stop in iterations:
        for tol in (1e-3, 1e-5, 1e-7):
            result = fit(stop, tol)
            iterations[stop].append(result.n_iter_)
            short = end.lower_bound_ - result.lower_bound_
            off = np.abs(result.means_ - end.means_).max()
            rows.append([stop, f"{tol:.0e}", result.n_iter_, f"{short:.2e}", f"{off:.2e}"])
            assert result.converged_
            assert never_falls(result.lower_bounds_)
    headers = ["stop", "tol", "iterations", "log-likelihood per row to go", "means to go"]
    table("Two Gaussians two standard deviations apart, 800 rows", headers, rows)

    for steps in iterations.values():
        assert steps == sorted(steps)
    # the change of the likelihood is of second order in that of the parameters: for one tol, this rule stops earlier
    assert all(bound < parameters for bound, parameters in zip(*iterations.values(), strict=True))


if __name__ == "__main__":
    main()
