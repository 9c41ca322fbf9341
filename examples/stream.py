"""
Rows that a function makes
==========================

Rows that a function makes, batch by batch, whenever they are needed: they are never all there.
"""

import numpy as np
from _common import never_falls, output_folder, table

import expfam_em as ef

SENSORS = 20


def readings():
    """Yield what each sensor has measured: (m, 2) numbers, and how much each counts."""
    for sensor in range(SENSORS):
        rng = np.random.default_rng(sensor)
        m = int(rng.integers(500, 1500))
        warm = rng.random(m) < 0.4
        X = rng.normal(np.where(warm, 25.0, 12.0)[:, None], [2.0, 3.0], (m, 2))
        yield X, np.full(m, 1.0 + sensor % 2)


def main():
    out = output_folder()
    model = ef.GaussianMixture(2, tol=1e-9, random_state=0).fit(readings).reorder()
    rows = [[f"{w:.3f}", *(f"{m:.2f}" for m in mean)] for w, mean in zip(model.weights_, model.means_, strict=True)]
    table(f"Readings of {SENSORS} sensors", ["weight", "first", "second"], rows)
    assert never_falls(model.lower_bounds_)
    assert abs(model.weights_[1] - 0.4) < 0.02

    model.predict_proba(readings, out=out / "warm.npy")
    written = np.load(out / "warm.npy", mmap_mode="r")
    print(f"{len(written)} rows have been written to {out / 'warm.npy'}")
    X = np.concatenate([X for X, _ in readings()])
    assert np.array_equal(written, model.predict_proba(X))


if __name__ == "__main__":
    main()
