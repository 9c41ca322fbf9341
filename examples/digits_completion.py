"""
The bottom half of a digit, given the top
=========================================

Note 002. A mixture of products of Bernoullis is fitted to images of digits. Given the top half of an image that it
has not seen, it says how probable each bottom half is, p(x_bottom | x_top); the bottom can be expected, or drawn.
"""

import numpy as np
from _common import binary_digits, save, side_by_side, table

import expfam_em as ef

TOP, BOTTOM = np.arange(32), np.arange(32, 64)  # rows of 8 pixels
X, shown = binary_digits()
train, test = X[:1400], X[1400:]
top, bottom = test[:, TOP], test[:, BOTTOM]
# half a dot of either colour for each prototype and pixel: no probability is exactly 0 or 1
prior = ef.ExpectedStatistics(np.full(40, 1.0), np.full((40, 64), 0.5))
mixture = ef.BernoulliMixture(40, prior=prior, random_state=0).fit(train).mixture_

expected = mixture.conditional_mean(TOP, top)
drawn = mixture.complete(TOP, top, rng=0)[:, BOTTOM]
given_top = mixture.conditional_log_density(TOP, top, bottom)
without = mixture.marginal(BOTTOM).log_density(bottom)
assert np.allclose(given_top, mixture.log_density(test) - mixture.marginal(TOP).log_density(top))
table(
    f"{len(test)} digits that were not fitted: log-probability of the bottom, per image",
    ["without the top", "given the top"], [[f"{without.mean():.4f}", f"{given_top.mean():.4f}"]],
)  # fmt: skip
average = np.tile(train[:, BOTTOM].mean(axis=0) > 0.5, (len(test), 1))
completions = {"the average digit": average, "expected, over 1/2": expected > 0.5, "drawn": drawn}
right = {name: np.mean(completion == bottom) for name, completion in completions.items()}
table("Pixels of the bottom that are right", ["completion", "share"], [[k, f"{v:.1%}"] for k, v in right.items()])
assert given_top.mean() > without.mean() + 1
assert right["expected, over 1/2"] > right["drawn"] > right["the average digit"]

# %%
# The first image of each digit: as it is, what is given, what is expected, what was drawn.
first = [int(np.flatnonzero(shown[1400:] == digit)[0]) for digit in range(10)]
bottoms = {"original": bottom, "given": np.full(bottom.shape, np.nan), "expected": expected, "drawn": drawn}
figure, axes = side_by_side(10, 4.5, rows=4)
fact = f"From the top half alone, {right['expected, over 1/2']:.0%} of the pixels of the bottom half are right"
figure.suptitle(fact, x=0.01, ha="left", fontsize="medium")
for (name, below), row in zip(bottoms.items(), axes.reshape(4, 10), strict=True):
    for i, ax in zip(first, row, strict=True):
        ax.set_facecolor("#DCE6F0")  # what is not given
        ax.imshow(np.concatenate([top[i].astype(float), below[i]]).reshape(8, 8), cmap="Greys", vmin=0, vmax=1)
        ax.axhline(3.5, color="#0072B2", linewidth=1)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)
save(figure, "digits_completion")
