"""Draws the pictures of docs/pictures.md: ``python docs/pictures.py``."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # pictures go to files
from plotnine.data import diamonds
from sklearn.datasets import load_iris

import expfam_em as ef

IMAGES = Path(__file__).parent / "images"


def main() -> None:
    """Draw iris in pairs of columns, and profiles of diamonds."""
    iris = load_iris(as_frame=True).data
    pairs = ef.GaussianMixture(3, n_init=5, random_state=0).fit(iris).plot(iris)
    pairs[0, 0].figure.savefig(IMAGES / "pairs.png", dpi=80)
    some = diamonds.sample(2000, random_state=0)[["carat", "price", "depth", "cut", "color"]]
    profiles = ef.ExponentialFamilyMixture("auto", 4, random_state=0).fit(some).plot(some)
    profiles.figure.savefig(IMAGES / "profiles.png", dpi=80)


if __name__ == "__main__":
    main()
