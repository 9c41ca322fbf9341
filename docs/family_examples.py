"""What `families.py` shows of each family and no code can know: rows to fit, and densities to draw."""

from __future__ import annotations

from dataclasses import dataclass, field

KINDS = {
    "Labels": ["Bernoulli", "Categorical", "OneHot"],
    "Counts": ["Poisson", "Binomial", "Geometric", "NegativeBinomial", "GammaPoisson", "Multinomial"],
    "Real numbers": ["Gaussian", "KnownCovariance", "StudentT", "Laplace", "FreeLaplace", "Uniform"],
    "Positive numbers": [
        "Exponential", "Gamma", "InverseGamma", "InverseGaussian", "Weibull", "FreeWeibull", "LogNormal", "HalfNormal",
        "Rayleigh", "Maxwell", "Pareto",
    ],
    "Shares": ["Beta", "Dirichlet"],
    "Directions": ["VonMises", "VonMisesFisher"],
    "Matrices": ["Wishart"],
    "Made of others": ["Product", "Componentwise", "ZeroInflated", "Truncated", "Censored", "Exposed"],
}  # fmt: skip
"""Families by what they describe, in the order of the page."""


@dataclass(frozen=True)
class Example:
    """Rows of several kinds and the family, in Python, and what to draw.

    Attributes
    ----------
    rows, family : str
    drawn : list
        Natural parameters of densities, or a family, in Python, and its natural parameters.
    between : (float, float), optional
        The x of the picture; samples are drawn without it.
    fit : str, optional
        The family to fit, if it is not this one.
    n_components : int
    """

    rows: str
    family: str
    drawn: list = field(default_factory=list)
    between: tuple[float, float] | None = None
    fit: str | None = None
    n_components: int = 2


def two(one, other):
    """Return rows of one kind followed by rows of another."""
    return f"np.concatenate([{one}, {other}])"


COUNTS = (0, 20)
EXAMPLES = {
    "Bernoulli": Example(
        "(rng.random((400, 6)) < np.repeat([[0.2], [0.8]], 200, axis=0)).astype(float)",
        "ef.families.Bernoulli()", [[-2.2], [0.4]], (0, 1),
    ),
    "Categorical": Example(
        two("rng.choice(4, (200, 3), p=[0.7, 0.1, 0.1, 0.1])", "rng.choice(4, (200, 3), p=[0.1, 0.1, 0.4, 0.4])"),
        "ef.families.Categorical()",
    ),
    "OneHot": Example(
        "np.eye(3)[" + two("rng.choice(3, 200, p=[0.8, 0.1, 0.1])", "rng.choice(3, 200, p=[0.1, 0.1, 0.8])") + "]",
        "ef.families.OneHot(3)",
    ),
    "Poisson": Example(
        two("rng.poisson(2, (300, 1))", "rng.poisson(11, (300, 1))"),
        "ef.families.Poisson()", [[0.0], [1.4], [2.4]], COUNTS,
    ),
    "Binomial": Example(
        two("rng.binomial(20, 0.2, (300, 1))", "rng.binomial(20, 0.7, (300, 1))"),
        "ef.families.Binomial(20)", [[-2.2], [0.0], [1.4]], COUNTS,
    ),
    "Geometric": Example(
        two("rng.geometric(0.6, (300, 1)) - 1", "rng.geometric(0.05, (300, 1)) - 1"),
        "ef.families.Geometric()", [[-0.9], [-0.35], [-0.1]], COUNTS,
    ),
    "NegativeBinomial": Example(
        two("rng.negative_binomial(3, 0.7, (300, 1))", "rng.negative_binomial(3, 0.15, (300, 1))"),
        "ef.families.NegativeBinomial(3)", [[-1.2], [-0.5], [-0.25]], COUNTS,
    ),
    "GammaPoisson": Example(
        two("rng.negative_binomial(2, 0.5, (300, 1))", "rng.negative_binomial(20, 0.4, (300, 1))"),
        "ef.families.GammaPoisson()", [[1.0, -0.5, 0.0], [6.0, -1.0, 0.0], [60.0, -5.0, 0.0]], COUNTS,
    ),
    "Multinomial": Example(
        two("rng.multinomial(30, [0.6, 0.3, 0.1], 200)", "rng.multinomial(30, [0.1, 0.3, 0.6], 200)"),
        "ef.families.Multinomial(trials=30)", [[-0.5, -1.2, -2.3], [-2.3, -1.2, -0.5], [-1.9, -0.4, -1.9]],
    ),
    "Gaussian": Example(
        two("rng.normal([0, 0], [1, 2], (200, 2))", "rng.normal([5, 3], [2, 1], (200, 2))"),
        "ef.families.Gaussian()",
    ),
    "KnownCovariance": Example(
        two("rng.normal(0, 1, (300, 2))", "rng.normal(4, 1, (300, 2))"),
        "ef.families.KnownCovariance()", [[-2.0], [0.0], [3.0]], (-6, 6),
    ),
    "StudentT": Example(
        two("rng.standard_t(3, (300, 1))", "9 + rng.standard_t(20, (300, 1))"),
        "ef.families.StudentT()", [[0, -0.5, 0, 0.5], [0, -0.5, 0, 1.5], [0, -0.5, 0, 25.0]], (-6, 6),
    ),
    "Laplace": Example(
        two("rng.laplace(0, 0.5, (300, 1))", "rng.laplace(0, 5, (300, 1))"),
        "ef.families.Laplace()", [[-2.0], [-1.0], [-0.4]], (-6, 6),
    ),
    "FreeLaplace": Example(
        two("rng.laplace([0, 0], [0.5, 2], (300, 2))", "rng.laplace([5, 5], [2, 0.5], (300, 2))"),
        "ef.families.FreeLaplace()", [[m, -rate, *[0] * 32] for m, rate in ((-3, 2.0), (0, 1.0), (2, 0.4))], (-6, 6),
    ),
    "Uniform": Example(
        two("rng.normal(0, 0.5, (300, 2))", "rng.uniform(-6, 6, (100, 2))"),
        "ef.families.Uniform()",
        [(f"ef.families.Uniform({sides})", [0.0]) for sides in ("0, 1", "0.5, 2.5", "-1, 3")], (-1.5, 3.5),
        fit="ef.families.Componentwise([(ef.families.Gaussian(), 1), (ef.families.Uniform(), 1)])",
    ),
    "Exponential": Example(
        two("rng.exponential(1, (300, 1))", "rng.exponential(20, (300, 1))"),
        "ef.families.Exponential()", [[-2.0], [-1.0], [-0.4]], (0, 5),
    ),
    "Gamma": Example(
        two("rng.gamma(2, 1, (300, 1))", "rng.gamma(40, 0.3, (300, 1))"),
        "ef.families.Gamma()", [[2.0, -2.0], [3.0, -1.0], [30.0, -5.0]], (0, 10),
    ),
    "InverseGamma": Example(
        two("1 / rng.gamma(3, 1, (300, 1))", "50 / rng.gamma(5, 1, (300, 1))"),
        "ef.families.InverseGamma()", [[-3.0, -1.0], [-3.0, -4.0], [-20.0, -60.0]], (0, 5),
    ),
    "InverseGaussian": Example(
        two("rng.wald(1, 2, (300, 1))", "rng.wald(15, 90, (300, 1))"),
        "ef.families.InverseGaussian()", [[-0.5, -0.5], [-4.0, -4.0], [-4.0, -36.0]], (0, 5),
    ),
    "Weibull": Example(
        two("rng.weibull(2, (300, 1))", "8 * rng.weibull(2, (300, 1))"),
        "ef.families.Weibull(2)", [[-1.0], [-0.25], [-0.08]], (0, 8),
    ),
    "FreeWeibull": Example(
        two("2 * rng.weibull(1.5, (300, 1))", "9 * rng.weibull(6, (300, 1))"),
        "ef.families.FreeWeibull()", [[0.8, 0.0, *[0] * 4], [1.5, 0.7, *[0] * 4], [5.0, 1.4, *[0] * 4]], (0, 8),
    ),
    "LogNormal": Example(
        two("rng.lognormal(0, 0.5, (300, 1))", "rng.lognormal(3, 0.5, (300, 1))"),
        "ef.families.LogNormal()", [[0.0, -2.0], [0.0, -0.5], [20.0, -10.0]], (0, 5),
    ),
    "HalfNormal": Example(
        two("np.abs(rng.normal(0, 1, (300, 1)))", "np.abs(rng.normal(0, 9, (300, 1)))"),
        "ef.families.HalfNormal()", [[-2.0], [-0.5], [-0.1]], (0, 5),
    ),
    "Rayleigh": Example(
        two("rng.rayleigh(1, (300, 1))", "rng.rayleigh(6, (300, 1))"),
        "ef.families.Rayleigh()", [[-2.0], [-0.5], [-0.15]], (0, 6),
    ),
    "Maxwell": Example(
        "np.linalg.norm(" + two("rng.normal(0, 1, (300, 3))", "rng.normal(0, 5, (300, 3))") + ", axis=1)[:, None]",
        "ef.families.Maxwell()", [[-2.0], [-0.5], [-0.15]], (0, 6),
    ),
    "Pareto": Example(
        two("1 + rng.pareto(8, (300, 1))", "1 + rng.pareto(1, (300, 1))"),
        "ef.families.Pareto(minimum=1)", [[-4.0], [-2.0], [-0.8]], (0.8, 4),
    ),
    "Beta": Example(
        two("rng.beta(2, 8, (300, 1))", "rng.beta(15, 5, (300, 1))"),
        "ef.families.Beta()", [[2.0, 8.0], [2.0, 2.0], [15.0, 5.0]], (0, 1),
    ),
    "Dirichlet": Example(
        two("rng.dirichlet([8, 2, 2], 200)", "rng.dirichlet([1, 4, 9], 200)"),
        "ef.families.Dirichlet()", [[14.0, 3.0, 3.0], [2.0, 9.0, 2.0], [3.0, 4.0, 20.0]],
    ),
    "VonMises": Example(
        two("rng.vonmises(0, 2, (300, 1))", "rng.vonmises(3, 9, (300, 1))"),
        "ef.families.VonMises()", [[1.0, 0.0], [-1.5, 3.7], [-4.0, -9.2]],
    ),
    "VonMisesFisher": Example(
        "rng.normal(np.repeat([[3, 0, 0], [0, 2, 2]], 200, axis=0))\nX = X / np.linalg.norm(X, axis=1, keepdims=True)",
        "ef.families.VonMisesFisher()", [[2.0, -5.0, 6.0], [14.0, 4.0, 30.0], [-60.0, 10.0, 90.0]],
    ),
    "Wishart": Example(
        "rng.normal(size=(400, 2, 5)) * np.repeat([1, 4], 200)[:, None, None]\n"
        "X = (X @ np.swapaxes(X, 1, 2)).reshape(400, 4)",
        "ef.families.Wishart()", [[6.0, -1.0, 1.4, -1.0], [25.0, -1.5, 0.0, -8.0]],
    ),
    "Product": Example(
        "np.column_stack([rng.normal([[0], [5]], 1, (2, 200)).ravel(), rng.poisson([[3], [9]], (2, 200)).ravel()])",
        "ef.families.Product([(ef.families.Gaussian(), [0]), (ef.families.Poisson(), [1])])",
    ),
    "Componentwise": Example(
        "rng.normal(np.repeat([[0], [5]], 200, axis=0), 0.7, (400, 2))\n"
        "X = np.concatenate([X, rng.uniform(-4, 9, (80, 2))])",
        "ef.families.Componentwise([(ef.families.Gaussian(), 2), (ef.families.Uniform(), 1)])",
        n_components=3,
    ),
    "ZeroInflated": Example(
        two("rng.poisson(3, (300, 1)) * (rng.random((300, 1)) > 0.4)", "rng.poisson(12, (300, 1))"),
        "ef.families.ZeroInflated(ef.families.Poisson())",
        [[2.0, 0.0, 0.7], [4.6, 0.0, 1.8], [9.0, 0.0, 2.4]], COUNTS,
    ),
    "Truncated": Example(
        two("rng.normal(2, 2, (300, 1))", "rng.normal(8, 1, (300, 1))") + "\nX = X[X[:, 0] > 0]",
        "ef.families.Truncated(ef.families.Gaussian(), low=0)", [[0.0, -0.125], [2.0, -0.5], [-1.0, -0.5]], (-1, 6),
    ),
    "Censored": Example(
        "np.concatenate([2 * rng.weibull(1.5, 300), 9 * rng.weibull(6, 300)])\n"
        "X = ef.families.Censored.rows(np.minimum(X, 9), np.where(X < 9, X, np.inf))",
        "ef.families.Censored(ef.families.FreeWeibull())", [],
    ),
    "Exposed": Example(
        "rng.uniform(1, 9, 600)\n"
        "X = np.column_stack([rng.poisson(np.repeat([1, 4], 300) * X), X])",
        "ef.families.Exposed(ef.families.Poisson())", [],
    ),
}  # fmt: skip
