"""What a family's methods return is looked at: an error names the class, the method, what came and what should have."""

import numpy as np
import pytest

import expfam_em as ef
from expfam_em.families import KernelForm, Monomials
from tests import own_families as own

X = np.concatenate([np.random.default_rng(0).rayleigh(scale, (30, 3)) for scale in (1, 5)])
ETA = np.array([[-1.0] * 3, [-0.1] * 3])
HALVES = [0.5, 0.5]


class Waves(own.Rayleigh):
    """Rayleigh with every method that a family may have."""

    coupled = False

    def expected_log_base_measure(self, natural):
        return 0.5 * (np.log(-1 / natural) - np.euler_gamma).sum(axis=1)

    def exposure(self, X):
        return np.ones(len(X))

    def to_expectation(self, natural):
        return -1 / natural

    def maximize(self, counts, sums):
        return -counts[:, None] / sums

    def parameters(self, natural):
        return {"scales": np.sqrt(-0.5 / natural)}

    def from_parameters(self, scales):
        return -0.5 / np.asarray(scales) ** 2

    def sample(self, natural, n, rng):
        return rng.rayleigh(np.sqrt(-0.5 / natural), (n, len(natural)))

    def summary(self, X, sample_weight):
        return len(X)

    def n_parameters(self, n_components):
        return 3 * n_components

    def marginal(self, natural, columns):
        return Waves(), natural[:, columns]

    def conditional(self, natural, columns, values):
        return Waves(), np.delete(natural, columns, axis=1)


def fit(family):
    ef.ExponentialFamilyMixture(family, 2, random_state=0, max_iter=2, tol=1e9).fit(X)


def mixture(family):
    return ef.Mixture(family, HALVES, ETA)


def one(family):
    return ef.Mixture(family, [1.0], ETA[:1])


def product(family):
    type(family).exposure = ef.ExponentialFamily.exposure  # a part has none
    both = ef.families.Product([(family, [0, 1]), (ef.families.Gaussian("diag"), [2])])
    return ef.ExponentialFamilyMixture(both, 2, random_state=0, max_iter=2, tol=1e9).fit(X)


USES = {
    "sufficient_statistics": [fit, lambda family: ef.accumulate(mixture(family), X)],
    "log_partition": [fit, mixture, product],
    "log_base_measure": [fit, lambda family: mixture(family).log_density(X)],
    "expected_log_base_measure": [lambda family: ef.entropy(one(family))],
    "exposure": [fit, lambda family: mixture(family).responsibilities(X)],
    "to_expectation": [lambda family: mixture(family).expectation],
    "to_natural": [fit],
    "seed": [fit],
    "maximize": [fit, lambda family: ef.maximize(ef.accumulate(mixture(family), X), mixture(family))],
    "from_parameters": [lambda family: ef.Mixture.of(family, HALVES, scales=ETA**2)],
    "sample": [lambda family: mixture(family).sample(20, rng=0)],
    "supports": [lambda family: ef.divergence(mixture(Waves()), mixture(family))],
    "log_density": [lambda family: ef.lower_bound(mixture(family), X, np.full((60, 2), 0.5))],
    "divergence": [lambda family: ef.component_divergences(mixture(family))],
    "entropy": [lambda family: ef.entropy(one(family))],
}
NONE_IS_FINE = ("exposure", "expected_log_base_measure", "entropy")
ONE_ROW = ("expected_log_base_measure", "entropy")
FAULTS = {
    "None": lambda value: None,
    "a number": lambda value: 1.0,
    "the first": lambda value: value[:1],
    "none": lambda value: value[:0],
    "twice": lambda value: np.concatenate([value, value]),
    "an axis more": lambda value: value[..., None],
    "texts": lambda value: value.astype(str),
    "objects": lambda value: np.full(value.shape, None),
    "complex": lambda value: value + 1j,
    "a dict": lambda value: {},
    "ragged": lambda value: [[1], [1, 2]],
}


def faulty(method, change):
    """Return Waves with a method whose answer is changed."""

    def changed(self, *arguments, **named):
        return change(getattr(super(kind, self), method)(*arguments, **named))

    kind = type("Faulty", (Waves,), {method: changed})
    return kind()


@pytest.mark.parametrize("method", USES)
def test_an_answer_of_another_shape_or_kind_is_named(method):
    for name, change in FAULTS.items():
        if (name == "None" and method in NONE_IS_FINE) or (name == "the first" and method in ONE_ROW):
            continue
        for use in USES[method]:
            with pytest.raises(
                ValueError, match=rf"Faulty\.{method} returned .*; it must return .* of shape \(.*, here \("
            ):
                use(faulty(method, change))


@pytest.mark.parametrize(
    ("method", "use"),
    [
        ("sufficient_statistics", fit), ("sufficient_statistics", USES["sufficient_statistics"][1]),
        ("log_base_measure", fit), ("to_expectation", fit), ("sample", USES["sample"][0]),
        ("expected_log_base_measure", USES["entropy"][0]), ("entropy", USES["entropy"][0]),
        ("divergence", USES["divergence"][0]),
    ],
)  # fmt: skip
def test_a_nan_is_named(method, use):
    with pytest.raises(ValueError, match=rf"Faulty\.{method} returned NaN for .* in row \d"):
        use(faulty(method, lambda value: value * np.nan))


def test_absent_rows_may_have_statistics_that_are_no_numbers():
    family = faulty("sufficient_statistics", lambda value: np.where(value > 50, np.nan, value))
    weight = (X**2 <= 50).all(axis=1).astype(float)
    assert 0 < weight.sum() < len(X)
    assert np.isfinite(ef.accumulate(mixture(family), X, weight).sums).all()


OTHERS = {
    "parameters": (fit, [None, [1], *({"scales": it} for it in (None, np.ones((1, 3)), np.array(["a", "b"])))]),
    "n_parameters": (lambda family: mixture(family).n_parameters, [1.5, -1, "3", True]),
    "bound": (fit, [None, 1.0, own.Rayleigh()]),
    "bind": (fit, [None, 1.0, own.Rayleigh()]),
    "marginal": (lambda family: mixture(family).marginal([0]), [None, 1.0, (Waves(),), (Waves(), ETA[:1]), (1, ETA)]),
    "conditional": (lambda family: mixture(family).conditional([0], [1.0]), [None, 1.0, (Waves(), ETA[0]), (1, ETA)]),
    "kernel_form": (
        fit,
        [
            1.0,
            Monomials.identity(3),
            KernelForm(Monomials.identity(2)),  # the kernel would leave out a column
            KernelForm(Monomials.identity(4)),  # the kernel would read beyond the rows
            KernelForm(Monomials(np.zeros(3), np.ones(2), np.empty((0, 3), np.int64))),
            KernelForm(Monomials(np.zeros(3), np.ones(3), np.empty((0, 2), np.int64))),
            KernelForm(Monomials(np.zeros(3), np.ones(3), np.array([[0, 0, 3.0]]))),
            KernelForm(Monomials.identity(3), columns=lambda X: X[:, :2]),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("method", OTHERS)
def test_other_answers_are_named(method):
    use, answers = OTHERS[method]
    for answer in answers:
        with pytest.raises(ValueError, match=rf"Faulty\.{method} returned"):
            use(faulty(method, lambda value, answer=answer: answer))


def test_samples_have_as_many_columns_as_the_rows_of_the_fit():
    model = ef.ExponentialFamilyMixture(faulty("sample", lambda rows: rows[:, :2]), 2, random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"Faulty\.sample returned shape \(5, 2\); .* \(n, d\), here \(5, 3\)"):
        model.sample(5)


@pytest.mark.parametrize("method", [*USES, *OTHERS, "check_support"])
def test_an_error_of_a_method_has_a_note_that_names_it(method):
    def fails(value):
        raise RuntimeError("boom")

    use = (USES | {name: [use] for name, (use, _) in OTHERS.items()}).get(method, [fit])[0]
    with pytest.raises(RuntimeError, match="boom") as caught:
        use(faulty(method, fails))
    assert f"raised by Faulty.{method}" in caught.value.__notes__[0]


def test_the_part_of_a_product_is_named():
    with pytest.raises(ValueError, match=r"Faulty\.log_partition returned shape \(60,\) of complex128"):
        product(faulty("log_partition", lambda value: value + 1j))
    with pytest.raises(ValueError, match=r"Faulty\.sufficient_statistics returned None"):
        product(faulty("sufficient_statistics", lambda value: None))


@pytest.mark.parametrize(
    "as_kind", [lambda a: a.astype(np.longdouble), lambda a: a.astype(np.float32), np.ndarray.tolist]
)
def test_numbers_of_every_kind_are_taken(as_kind):
    class Kinds(Waves):
        def log_partition(self, natural):
            return as_kind(super().log_partition(natural))

        def parameters(self, natural):
            return {"scales": as_kind(super().parameters(natural)["scales"])}

    found, wanted = (ef.ExponentialFamilyMixture(kind(), 2, random_state=0, tol=1e-2).fit(X) for kind in (Kinds, Waves))
    assert type(found.parameters_["scales"]) is np.ndarray
    assert np.allclose(found.parameters_["scales"], wanted.parameters_["scales"], rtol=1e-4)
