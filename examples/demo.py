"""
Four mixtures in one command
============================

Four mixtures in one command: a geyser, handwritten digits, a photograph, and a family of your own.
"""

import numpy as np
from _common import (
    MINUTES,
    binary_digits,
    faithful,
    never_falls,
    output_folder,
    photograph,
    save,
    side_by_side,
    table,
    trace_table,
)

import expfam_em as ef
from expfam_em.plots import plot_clusters, plot_prototypes


class Rayleigh(ef.ExponentialFamily):
    """Rayleigh: T(x) = x², A(η) = −Σ log(−2η), h(x) = Π x. The density of wave heights in one sea state."""

    def sufficient_statistics(self, X):
        return X**2

    def log_partition(self, natural):
        return -np.log(-2 * natural).sum(axis=1)

    def log_base_measure(self, X):
        return np.log(X).sum(axis=1)

    def to_natural(self, expectation):
        return -1 / expectation


def geyser(folder):
    X = faithful()
    fit = ef.GaussianMixture(2, tol=1e-8, reg_covar=0, init_params="random_from_data", random_state=1).fit(X)
    trace_table("Old Faithful, 272 eruptions: GaussianMixture(2)", fit.lower_bounds_)
    rows = zip(fit.weights_, *fit.means_.T, strict=True)
    table("Its components", ["weight", *MINUTES], [[f"{value:.3f}" for value in row] for row in rows])
    figure, (ax,) = side_by_side(1, 4.4, 6)
    plot_clusters(X, fit.predict_proba(X), mixture=fit.mixture_, names=MINUTES, ax=ax)
    assert never_falls(fit.lower_bounds_)
    return save(figure, "demo_geyser", folder)


def digits(folder):
    X, _ = binary_digits()
    fit = ef.BernoulliMixture(20, random_state=0, max_iter=1000).fit(X)
    trace_table("1,797 binary digits of 8×8 pixels: BernoulliMixture(20)", fit.lower_bounds_)
    order = np.argsort(-fit.weights_)
    figure, axes = side_by_side(10, 2.75, rows=2)
    figure.suptitle("20 prototypes found without labels: darker means ink is more probable", x=0.01, ha="left")
    plot_prototypes(fit.probabilities_[order], (8, 8), fit.weights_[order], axes)
    assert never_falls(fit.lower_bounds_)
    return save(figure, "demo_digits", folder)


def colours(folder):
    image = photograph()
    pixels = image.reshape(-1, 3).astype(np.float32)
    figure, axes = side_by_side(4, 2.05)
    axes[0].imshow(image)
    axes[0].set_title("all colours", loc="left", fontsize="medium")
    rows = []
    for ax, K in zip(axes[1:], (2, 4, 16), strict=True):
        fit = ef.KMeans(K, random_state=0).fit(pixels)
        error = np.sqrt(fit.inertia_ / pixels.size)
        rows.append([K, fit.n_iter_, f"{fit.inertia_:.4g}", f"{error:.1f}"])
        ax.imshow(fit.cluster_centers_[fit.labels_].reshape(image.shape).round().astype(np.uint8))
        ax.set_title(f"{K} colours: off by {error:.0f} of 255", loc="left", fontsize="medium")
    for ax in axes:
        ax.set_axis_off()
    table(
        f"A photograph of {len(pixels):,} pixels: KMeans(K)",
        ["K", "iterations", "distortion J", "root mean square error"], rows,
    )  # fmt: skip
    errors = [float(row[-1]) for row in rows]
    assert errors == sorted(errors, reverse=True)
    return save(figure, "demo_photograph", folder)


def waves(folder):
    rng = np.random.default_rng(0)
    heights = np.concatenate([rng.rayleigh(0.5, 1500), rng.rayleigh(2.0, 500)])[:, None]
    fit = ef.ExponentialFamilyMixture(Rayleigh(), 2, tol=1e-8, random_state=0).fit(heights)
    trace_table("2,000 wave heights of two sea states: your own Rayleigh family", fit.lower_bounds_)
    scale = np.sqrt(fit.expectation_parameters_[:, 0] / 2)  # E[x²] = 2 σ²
    order = np.argsort(scale)
    drawn = ((0.75, 0.5), (0.25, 2.0))
    rows = [[f"{fit.weights_[k]:.3f}", w, f"{scale[k]:.3f}", s] for k, (w, s) in zip(order, drawn, strict=True)]
    table("Its components", ["weight", "drawn with", "scale, m", "drawn with"], rows)
    figure, (ax,) = side_by_side(1, 4.2, 6)
    plot_clusters(heights, fit.predict_proba(heights), mixture=fit.mixture_, names=["wave height, m"], ax=ax)
    assert never_falls(fit.lower_bounds_)
    assert np.allclose(scale[order], [0.5, 2.0], rtol=0.05)
    return save(figure, "demo_waves", folder)


def main():
    folder = output_folder()
    written = [job(folder) for job in (geyser, digits, colours, waves)]
    print("\nFour mixtures fitted by one driver. Pictures:", *(f"  {path}" for path in written), sep="\n")
    assert all(path.stat().st_size > 0 for path in written)


if __name__ == "__main__":
    main()
