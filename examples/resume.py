"""
A fit that goes on where it stood
=================================

A fit that ends in the middle, by Ctrl-C or because the machine does, and one that goes on where it stood.
"""

import tempfile
from pathlib import Path

import numpy as np
from _common import output_folder, table

import expfam_em as ef


def main():
    output_folder()
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(centre, 1.5, (500, 2)) for centre in (0, 2, 5)])
    model = ef.GaussianMixture(3, n_init=4, max_iter=60, tol=0, random_state=0)
    whole = ef.GaussianMixture(3, n_init=4, max_iter=60, tol=0, random_state=0)
    whole.fit(X, callbacks=[lambda state: state.n_iter == 60])

    def ctrl_c(state):
        if state.n_iter == 25:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        path, steps = Path(folder) / "fit.ckpt", []
        try:
            model.fit(X, checkpoint=path, callbacks=[ctrl_c])
        except KeyboardInterrupt:  # the estimator has the last finished step, and the file says how to go on
            rows = [["interrupted", model.n_iter_, model.lower_bound_, path.exists(), model.status_]]
        model.fit(X, checkpoint=path, callbacks=[lambda s: steps.append(s.n_iter), lambda s: s.n_iter == 60])
        rows.append(["gone on", model.n_iter_, model.lower_bound_, path.exists(), f"It began at step {steps[0]}."])
    table("Three Gaussians, 1500 rows", ["fit", "steps", "bound per row", "file", "status"], rows)

    assert steps[0] == 26
    assert np.array_equal(model.means_, whole.means_)
    assert model.lower_bounds_ == whole.lower_bounds_


if __name__ == "__main__":
    main()
