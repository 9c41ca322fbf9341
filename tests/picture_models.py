"""Pictures of models whose parameters are given, so that nothing but the drawing can change them.

``python -m tests.picture_models FOLDER`` draws them all, as tests/images has them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot

import expfam_em as ef
from expfam_em import families, plots

STYLE = {
    "font.family": "DejaVu Sans",  # which matplotlib brings along
    "text.hinting": "none",
    "figure.dpi": 48,
    "savefig.dpi": 48,
}


def given(family: Any, weights: Any, estimator: Any = None, **parameters: Any) -> Any:
    """Return an estimator with these parameters, which nobody has fitted, and rows drawn from it."""
    mixture = ef.Mixture.of(family, weights, **parameters)
    model = ef.ExponentialFamilyMixture(family, len(weights)) if estimator is None else estimator
    model.mixture_ = mixture
    return model, mixture.sample(120, rng=0)[0]


def normal(d: int) -> Any:
    """Return a mixture of two normal densities of d columns, and rows."""
    means = np.stack([np.zeros(d), 4.0 - np.arange(d)])
    covariances = np.stack([np.eye(d) + 0.5, np.diag(0.5 + np.arange(d))])
    return given(families.Gaussian("full"), [0.6, 0.4], means=means, covariances=covariances)


def ellipses() -> None:
    """Two columns: rows in mixed colours and the ellipses of a Gaussian mixture."""
    model, X = normal(2)
    model.plot(X)


def densities() -> None:
    """One column: a histogram with the density and its components."""
    model, X = given(families.Gamma(), [0.5, 0.5], shapes=[[2.0], [30.0]], rates=[[2.0], [5.0]])
    model.plot(X)


def contours() -> None:
    """Two columns that are not normal: contours of the density."""
    model, X = given("poisson", [0.4, 0.6], rates=[[2.0, 9.0], [8.0, 3.0]])
    model.plot(X)


def pairs() -> None:
    """Three columns: every pair of them."""
    model, X = normal(3)
    model.plot(X)


def profiles() -> None:
    """0/1 columns: how often each is 1 in each component."""
    shares = np.array([[0.9, 0.8, 0.1, 0.5], [0.1, 0.3, 0.7, 0.6], [0.5, 0.1, 0.2, 0.95]])
    model, X = given("bernoulli", [0.5, 0.3, 0.2], probabilities=shares)
    model.plot(X)


def responsibilities() -> None:
    """How sure the components of rows are."""
    model, X = normal(2)
    plots.plot_responsibilities(model, X)


PICTURES: dict[str, Callable[[], None]] = {
    draw.__name__: draw for draw in (ellipses, densities, contours, pairs, profiles, responsibilities)
}


def drawn(name: str, path: Path) -> None:
    """Draw a picture into a file."""
    with matplotlib.rc_context(STYLE):
        PICTURES[name]()
        figure = pyplot.gcf()
        figure.set_layout_engine("none")
        for ax in figure.axes:  # text, whose size is not that of every version of matplotlib, moves nothing
            ax.set_position(ax.get_subplotspec().get_position(figure))
            ax.set(title="", xlabel="", ylabel="")
            ax.set_title("", loc="left")
            ax.tick_params(labelbottom=False, labelleft=False, labeltop=False, labelright=False)
            for text in list(ax.texts):
                text.remove()
        figure.savefig(path, metadata={"Software": None})
        pyplot.close("all")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for each in PICTURES:
        drawn(each, folder / f"{each}.png")
