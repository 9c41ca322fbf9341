"""
The bottom half of a digit, given the top
=========================================

Note 002: a mixture of products of Bernoullis completes the bottom half of digits, p(x_bottom | x_top).
"""

import numpy as np
from _common import binary_digits, output_folder, save, side_by_side, table

import expfam_em as ef

TOP = np.arange(32)
"""The upper four of eight rows of pixels; the other columns are the bottom."""


def main():
    folder = output_folder()
    X, shown = binary_digits()
    train, test = X[:1400], X[1400:]
    bottom = test[:, 32:]
    # half a dot of either colour for each prototype and pixel: no probability is exactly 0 or 1
    prior = ef.ExpectedStatistics(np.full(40, 1.0), np.full((40, 64), 0.5))
    mixture = ef.BernoulliMixture(40, prior=prior, random_state=0).fit(train).mixture_

    expected = mixture.conditional_mean(TOP, test[:, :32])
    drawn = mixture.complete(TOP, test[:, :32], rng=0)[:, 32:]
    log_given_top = mixture.conditional_log_density(TOP, test[:, :32], bottom)

    # the same number by the definition of a conditional
    by_definition = mixture.log_density(test) - mixture.marginal(TOP).log_density(test[:, :32])
    assert np.allclose(log_given_top, by_definition)
    average = np.tile(train[:, 32:].mean(axis=0), (len(test), 1))
    unconditional = mixture.marginal(np.arange(32, 64)).log_density(bottom)
    right = {
        "the average digit": np.mean((average > 0.5) == bottom),
        "expected, over 1/2": np.mean((expected > 0.5) == bottom),
        "drawn": np.mean(drawn == bottom),
    }
    table(
        f"{len(test)} digits that were not fitted: log-probability of the bottom, per image",
        ["without the top", "given the top"],
        [[f"{unconditional.mean():.4f}", f"{log_given_top.mean():.4f}"]],
    )  # fmt: skip
    table("Pixels of the bottom that are right", ["completion", "share"], [[k, f"{v:.1%}"] for k, v in right.items()])
    assert log_given_top.mean() > unconditional.mean() + 1
    assert right["expected, over 1/2"] > right["drawn"] > right["the average digit"]

    first = [int(np.flatnonzero(shown[1400:] == digit)[0]) for digit in range(10)]
    tops = test[first, :32].astype(float)
    pictures = {
        "original": test[first].astype(float),
        "given": np.hstack([tops, np.full((10, 32), np.nan)]),
        "expected": np.hstack([tops, expected[first]]),
        "drawn": np.hstack([tops, drawn[first]]),
    }
    figure, axes = side_by_side(10, 4.5, rows=4)
    fact = f"From the top half alone, {right['expected, over 1/2']:.0%} of the pixels of the bottom half are right"
    figure.suptitle(fact, x=0.01, ha="left", fontsize="medium")
    for (name, images), row in zip(pictures.items(), axes.reshape(4, 10), strict=True):
        for image, ax in zip(images, row, strict=True):
            ax.set_facecolor("#DCE6F0")  # what is not given
            ax.imshow(image.reshape(8, 8), cmap="Greys", vmin=0, vmax=1)
            ax.axhline(3.5, color="#0072B2", linewidth=1)
            ax.set_xticks([])
            ax.set_yticks([])
        row[0].set_ylabel(name)
    save(figure, "digits_completion", folder)


if __name__ == "__main__":
    main()
