"""Families whose columns belong together: what the table of laws cannot say."""

import mpmath
import numpy as np
import pytest
from scipy import stats

import expfam_em as ef
from expfam_em.families import Categorical, Dirichlet, Multinomial, OneHot, VonMises, VonMisesFisher, Wishart
from tests.case import EPS
from tests.cases_vectors import VECTOR_CASES

every_case = pytest.mark.parametrize("case", VECTOR_CASES, ids=str)


def mp(value):
    return mpmath.mpf(float(value))


def log_partition(family, natural):
    """A(η), which need not be finite."""
    with np.errstate(all="ignore"):
        return family.log_partition(natural)


def spd(q, rng):
    root = rng.standard_normal((q, q + 2))
    return root @ root.T


# ---- labels --------------------------------------------------------------------------------------------------------


def test_levels_are_found_in_one_pass():
    X = np.array([[0.0, 0, 3], [2, 0, 1], [9, 1, 1]])
    model = ef.ExponentialFamilyMixture(Categorical(), 1).fit(X, sample_weight=[1.0, 2, 0])
    assert model.mixture_.family.levels == ((0, 2), (0,), (1, 3))
    assert Categorical().bind([(X[:1], None), (X[1:], None)]).levels == ((0, 2, 9), 2, (1, 3))
    assert Categorical(4).bind([(X, None)]).levels == (4, 4, 4)


def test_a_family_without_levels_says_what_it_needs():
    for call in ("sufficient_statistics", "log_partition"):
        with pytest.raises(ValueError, match="give levels, or call bind"):
            getattr(Categorical(), call)(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="levels for 2 columns; the rows have 3"):
        Categorical([2, 3]).check_support(np.zeros((1, 3)))
    assert Categorical().check_support(np.array([[0.0, 1000]])) is None
    with pytest.raises(ValueError, match=r"Categorical needs whole numbers from 0; column 1 holds 0.5 \(row 0\)"):
        Categorical().check_support(np.array([[0.0, 0.5]]))


@pytest.mark.parametrize(
    "levels", [1, 0, True, 2.5, "3", [], [2, 1], [2.0, 3.0], [[2, 2]], [[0.5, 1]], [[]], [[[2, 3]]], [[np.nan]], ["ab"]]
)
def test_impossible_levels_are_refused(levels):
    with pytest.raises(ValueError, match="must be a whole number from 2, or a list"):
        Categorical(levels)
    with pytest.raises(ValueError, match="must be a whole number from 2, or a list"):
        OneHot(levels)


def test_constants_are_shown():
    shown = [Categorical(), Categorical(3), Categorical([2, 3]), OneHot(3), OneHot([2, 3])]
    assert repr(shown) == "[Categorical(), Categorical(3), Categorical([2, 3]), OneHot(3), OneHot([2, 3])]"
    assert repr([Multinomial(), Multinomial(5), Wishart()]) == "[Multinomial(), Multinomial(trials=5), Wishart()]"


def test_statistics_are_indicators_for_every_type_of_numbers():
    X = np.array([[0, 1, 3], [2, 0, 0], [1, 1, 2]])
    expected = [[1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 0, 1, 1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 1, 0, 0, 1, 0]]
    for dtype in (np.float64, np.float32, np.int64, np.uint8, np.int8):
        assert np.array_equal(Categorical([3, 2, 4]).sufficient_statistics(X.astype(dtype)), expected)
    assert np.array_equal(Categorical(2).sufficient_statistics(X == 2)[:, 1::2], X == 2)
    assert Categorical(2).check_support(X == 2) is None


def test_an_absent_row_leaves_the_others_alone():
    X = np.array([[1.0, 1], [7, -3], [np.nan, 1e300], [0, 2]])
    T = Categorical([2, 3]).sufficient_statistics(X)
    assert np.array_equal(T[[0, 3]], [[0, 1, 0, 1, 0], [1, 0, 0, 0, 1]])
    model = ef.ExponentialFamilyMixture(Categorical([2, 3])).fit(X[[0, 1, 3, 3]], sample_weight=[1.0, 0, 1, 0])
    assert model.parameters_["probabilities"][0].tolist() == [[0.5, 0.5, 0], [0, 0.5, 0.5]]


def test_probabilities_of_zero_stay_zero():
    p = np.array([[[0.3, 0.7, 0], [1, 0, 0], [0, 0, 1.0]], [[0, 0.25, 0.75], [1e-10, 1 - 1e-10, 0], [0, 1, 0]]])
    family = Categorical(3)
    natural = family.to_natural(p.reshape(2, -1))
    assert np.all(np.abs(natural) <= 700)
    found = family.parameters(natural)["probabilities"]
    assert np.array_equal(found == 0, p == 0)
    assert np.array_equal(found == 1, p == 1)
    assert found == pytest.approx(p, rel=64 * EPS)  # log 1e-10 is 23, and has that many times the rounding of 1
    assert np.all(family.sample(natural[0], 1000, np.random.default_rng(0))[:, 1:] == [0, 2])
    X = np.array([[0.0, 0, 0], [0, 0, 2]])
    log_p = family.log_density(X, natural[:1])[:, 0]
    assert log_p[0] < -690
    assert log_p[1] == pytest.approx(np.log(0.3), rel=700 * EPS)


class LargestNumbers:
    """A generator of the number just below 1."""

    def random(self, shape):
        return np.full(shape, np.nextafter(1, 0))


def test_labels_of_probability_zero_are_not_drawn():
    rng = np.random.default_rng(0)
    for p in rng.dirichlet(np.ones(6), 200):
        natural = Categorical(7).to_natural(np.append(p, 0.0)[None])
        assert np.all(Categorical(7).sample(natural[0], 1, LargestNumbers()) == 5)


def test_a_rare_first_label_keeps_its_digits():
    X = np.repeat([[0.0], [1.0]], [1, 10**7], axis=0)
    found = ef.ExponentialFamilyMixture(Categorical()).fit(X, sample_weight=np.where(X[:, 0] == 0, 1e-9, 1.0))
    # 1e-16 of the rows: log 1e-16 is 37, and has that many times the rounding of 1
    assert found.parameters_["probabilities"][0, 0, 0] == pytest.approx(1e-9 / (10**7 + 1e-9), rel=64 * EPS)


def test_a_label_that_one_component_never_has():
    X = np.repeat([[0.0, 0], [1, 2], [2, 1]], [50, 30, 20], axis=0)
    model = ef.ExponentialFamilyMixture(Categorical(), 3, temperature=0, n_init=3, random_state=0).fit(X)
    assert model.lower_bound_ == pytest.approx(np.sum([p * np.log(p) for p in (0.5, 0.3, 0.2)]), rel=1e-12)
    assert set(model.parameters_["probabilities"].ravel()) == {0.0, 1.0}


@pytest.mark.parametrize("columns", [[1], [2, 0], [0, 1, 2]])
def test_marginals_and_conditionals_of_labels(columns):
    case = VECTOR_CASES[0]
    mixture = ef.Mixture(case.family, [0.2, 0.3, 0.5], case.naturals(case.components))
    X, _ = case.nodes(None)
    density = np.exp(mixture.log_density(X))
    part = mixture.marginal(columns)
    assert part.family.levels == tuple(case.family.levels[c] for c in columns)
    for row in np.unique(X[:, columns], axis=0):
        same = np.all(X[:, columns] == row, axis=1)
        assert np.exp(part.log_density(row[None])) == pytest.approx(density[same].sum(), rel=1e-13)
        rest = np.setdiff1d(np.arange(3), columns)
        if len(rest):
            given = mixture.conditional(columns, row)
            expected = density[same] / density[same].sum()
            assert np.exp(given.log_density(X[same][:, rest])) == pytest.approx(expected, rel=1e-13)


# ---- counts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trials", [0, -1, 1.0, True, "2"])
def test_impossible_trials_are_refused(trials):
    with pytest.raises(ValueError, match=r"trials is .*; it must be a whole number from 1"):
        Multinomial(trials)


def test_rows_of_counts_may_have_any_sizes():
    rng = np.random.default_rng(0)
    p = np.array([0.2, 0.5, 0.3])
    X = rng.multinomial(rng.integers(1, 1000, 200), p).astype(float)
    family = Multinomial()
    natural = np.log(p)[None] + 3.0  # any multiple of 1 may be added
    expected = stats.multinomial.logpmf(X, X.sum(axis=1), p)
    assert family.log_density(X, natural)[:, 0] == pytest.approx(expected, abs=64 * EPS * 7e3)
    model = ef.ExponentialFamilyMixture(family).fit(X)
    assert model.parameters_["probabilities"][0] == pytest.approx(X.sum(axis=0) / X.sum(), rel=1e-13)
    assert np.all(family.replace(trials=17).sample(np.log(p), 5, rng).sum(axis=1) == 17)


def test_counts_that_never_occur():
    family = Multinomial()
    natural = family.to_natural(np.array([[0.0, 0.25, 0.75], [0, 1, 0]]))
    assert family.parameters(natural)["probabilities"] == pytest.approx(np.array([[0, 0.25, 0.75], [0, 1, 0]]), rel=EPS)
    assert np.array_equal(family.parameters(natural)["probabilities"] == 0, [[1, 0, 0], [1, 0, 1]])
    assert family.log_partition(natural) == pytest.approx(0, abs=2 * EPS)


def test_parameters_of_counts_are_counted_once_columns_are_known():
    with pytest.raises(ValueError, match="call bind first"):
        Multinomial().n_parameters(2)
    assert Multinomial().bind([(np.ones((3, 5)), None)]).n_parameters(2) == 8
    X = np.random.default_rng(0).multinomial(9, [0.2, 0.3, 0.5], 50)
    model = ef.ExponentialFamilyMixture(Multinomial(), 2, random_state=0).fit(X)
    assert model.mixture_.n_parameters == 2 * 2 + 1


def test_an_absent_row_of_counts_may_hold_nothing():
    X, w = np.array([[3.0, 1], [0, 0], [-2, 1], [5, 5]]), np.array([1.0, 0, 0, 1])
    model = ef.ExponentialFamilyMixture(Multinomial()).fit(X, sample_weight=w)
    assert model.parameters_["probabilities"][0] == pytest.approx(np.array([8, 6]) / 14, rel=4 * EPS)


# ---- labels as indicators ------------------------------------------------------------------------------------------


def indicators(labels, levels):
    parts = zip(labels.T, levels, strict=True)
    return np.concatenate([(x[:, None] == np.arange(size)).astype(float) for x, size in parts], axis=1)


def test_indicators_say_what_labels_say():
    levels, rng = [3, 2, 4, 2], np.random.default_rng(0)
    labels = np.stack([rng.integers(0, size, 200) for size in levels], axis=1)
    labels[:100] = labels[:100] // 2
    start = np.arange(200) // 100
    one = ef.ExponentialFamilyMixture(OneHot(levels), 2, init=start).fit(indicators(labels, levels))
    other = ef.ExponentialFamilyMixture(Categorical(levels), 2, init=start).fit(labels)
    assert one.lower_bound_ == pytest.approx(other.lower_bound_, rel=1e-12)
    assert one.bic(indicators(labels, levels)) == pytest.approx(other.bic(labels), rel=1e-12)
    assert one.parameters_["probabilities"] == pytest.approx(other.parameters_["probabilities"], rel=1e-9, abs=1e-12)


def test_the_levels_of_indicators_are_counted_once_columns_are_known():
    X = indicators(np.array([[0, 1], [2, 0]]), [3, 3])
    with pytest.raises(ValueError, match="call bind first"):
        OneHot(3).n_parameters(2)
    assert OneHot(3).bind([(X, None)]).levels == (3, 3)
    assert OneHot(3).bind([(X, None)]).n_parameters(2) == 4  # two of the columns of each variable have a 1
    assert OneHot(3).bind([]).levels == 3
    for family in (OneHot(4), OneHot([3, 2])):
        with pytest.raises(ValueError, match="columns of indicators; the rows have 6"):
            family.check_support(X)
    natural = OneHot(3).to_natural(np.array([[0.0, 0.25, 0.75, 1.0, 0, 0]]))
    expected = [[[0, 0.25, 0.75], [1, 0, 0]]]
    assert OneHot(3).parameters(natural)["probabilities"] == pytest.approx(np.array(expected), rel=4 * EPS)
    assert np.all(OneHot(3).check_support(OneHot(3).sample(natural[0], 50, np.random.default_rng(0))) is None)


# ---- shares --------------------------------------------------------------------------------------------------------


def dirichlet_condition(alpha):
    """How much the inverse magnifies rounding of m, for each α_j relative to itself."""
    a = [mp(value) for value in alpha]
    fisher = mpmath.diag([mpmath.psi(1, value) for value in a]) - mpmath.psi(1, sum(a)) * mpmath.ones(len(a))
    inverse = fisher**-1
    m = [mpmath.psi(0, value) - mpmath.psi(0, sum(a)) for value in a]
    size = [sum(abs(inverse[i, j] * m[j]) for j in range(len(a))) for i in range(len(a))]
    return np.array([float(s / v) for s, v in zip(size, a, strict=True)]), np.array([float(value) for value in m])


@pytest.mark.parametrize("seed", range(40))
def test_dirichlet_mappings_from_tiny_to_huge(seed):
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.uniform(-6, 8, 2)) if seed % 2 else (-6, 8)
    alpha = 10.0 ** rng.uniform(low, high, rng.integers(2, 6))
    condition, m = dirichlet_condition(alpha)
    family = Dirichlet()
    assert np.all(np.abs(family.to_expectation(alpha[None])[0] / m - 1) <= 8 * EPS)
    assert np.all(np.abs(family.to_natural(m[None])[0] / alpha - 1) <= 8 * EPS * (1 + condition))
    a = [mp(value) for value in alpha]
    partition = sum(mpmath.loggamma(value) for value in a) - mpmath.loggamma(sum(a))
    assert abs(family.log_partition(alpha[None])[0] - float(partition)) <= 32 * EPS * (abs(float(partition)) + 1)


def test_dirichlet_components_are_solved_together_as_apart():
    rng = np.random.default_rng(0)
    m = Dirichlet().to_expectation(10.0 ** rng.uniform(-3, 5, (30, 4)))
    apart = np.concatenate([Dirichlet().to_natural(row[None]) for row in m])
    assert Dirichlet().to_natural(m) == pytest.approx(apart, rel=1e-9)


def test_samples_of_tiny_alphas_are_possible_rows():
    family = Dirichlet()
    X = family.sample(np.array([1e-6, 1e-3, 1e-2]), 2000, np.random.default_rng(0))
    assert family.check_support(X) is None
    # nearly all of each row is in one column, in proportion to α
    share = np.array([1e-6, 1e-3, 1e-2]) / (1e-6 + 1e-3 + 1e-2)
    assert np.all(np.abs(X.mean(axis=0) - share) <= 5 * np.sqrt(share * (1 - share) / 2000))


def test_shares_in_one_column_are_refused():
    with pytest.raises(ValueError, match="at least 2 columns, not 1"):
        Dirichlet().check_support(np.ones((3, 1)))


# ---- directions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 3, 10, 1000])
@pytest.mark.parametrize("kappa", [1e-300, 1e-5, 3.0, 200.0, 1e8])
def test_directional_partitions_and_mappings(d, kappa):
    rng = np.random.default_rng(d)
    mu = rng.standard_normal(d)
    mu /= np.linalg.norm(mu)
    natural = (kappa * mu)[None]
    x, nu = mp(kappa), mp(d) / 2 - 1
    bessel = mpmath.besseli(nu, x) / x**nu if kappa > 1e-20 else 1 / (mp(2) ** nu * mpmath.gamma(nu + 1))
    expected = float(mpmath.log((2 * mpmath.pi) ** (nu + 1) * bessel))
    family = VonMisesFisher()
    assert family.log_partition(natural)[0] == pytest.approx(expected, rel=64 * EPS)
    assert family.parameters(natural)["concentrations"] == pytest.approx(kappa, rel=16 * EPS, abs=0)
    mean = family.to_expectation(natural)
    back = family.to_natural(mean)
    length = np.linalg.norm(mean)
    assert np.all(np.abs(back - natural) <= 16 * EPS * (1 + 1 / (1 - length)) * kappa)
    if d == 2:
        assert VonMises().log_partition(natural)[0] == pytest.approx(expected, rel=64 * EPS)
        assert VonMises().to_expectation(natural) == pytest.approx(mean, rel=8 * EPS)
        assert VonMises().to_natural(mean) == pytest.approx(back, rel=16 * EPS * (1 + 1 / (1 - length)))


def test_no_direction_at_all():
    zero = np.zeros((1, 3))
    for family in (VonMisesFisher(), VonMises()):
        columns = zero if isinstance(family, VonMisesFisher) else np.zeros((1, 2))
        assert np.array_equal(family.to_expectation(columns), columns)
        assert np.array_equal(family.to_natural(columns), columns)
        assert all(np.all(value == 0) for value in family.parameters(columns).values())
    X = VonMisesFisher().sample(zero[0], 20_000, np.random.default_rng(0))
    assert np.all(np.abs(X.mean(axis=0)) <= 5 / np.sqrt(3 * 20_000))
    assert VonMisesFisher().log_partition(zero)[0] == pytest.approx(np.log(4 * np.pi), rel=4 * EPS)


@pytest.mark.parametrize(("d", "kappa"), [(2, 5.0), (3, 1e-3), (20, 30.0), (50, 1e8), (1000, 1.0)])
def test_samples_of_directions(d, kappa):
    rng = np.random.default_rng(1)
    mu = rng.standard_normal(d)
    mu /= np.linalg.norm(mu)
    family, n = VonMisesFisher(), 5000
    for direction in (mu, np.eye(d)[0], -np.eye(d)[0]):
        X = family.sample(kappa * direction, n, rng)
        assert family.check_support(X) is None
        # 1 − ⟨μ, x⟩ = |x − μ|²/2, without cancellation
        gap = np.sum((X - direction) ** 2, axis=1) / 2
        ratio = mpmath.besseli(mp(d) / 2, kappa) / mpmath.besseli(mp(d) / 2 - 1, kappa)
        assert abs(gap.mean() - float(1 - ratio)) <= 5 * gap.std() / np.sqrt(n)


def test_angles_are_read_modulo_a_turn():
    X = np.array([[0.5], [0.5 + 2 * np.pi], [0.5 - 40 * np.pi]])
    density = VonMises().log_density(X, np.array([[2.0, 1.0]]))
    assert density == pytest.approx(density[0, 0], rel=1e-13)
    assert density[0, 0] == pytest.approx(stats.vonmises.logpdf(0.5, np.sqrt(5), np.arctan2(1, 2)), rel=1e-13)


def test_marginals_of_angles():
    natural = np.array([[1.0, 2.0, 3.0, 4.0]])
    family, part = VonMises().marginal(natural, np.array([1]))
    assert isinstance(family, VonMises)
    assert np.array_equal(part, [[2.0, 4.0]])
    assert np.array_equal(family.conditional(natural, np.array([1]), np.zeros(1))[1], [[1.0, 3.0]])


# ---- matrices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [1, 2, 3, 6])
def test_wishart_densities_are_scipys(q):
    rng = np.random.default_rng(q)
    S, nu = spd(q, rng), q + 1.7
    X = np.stack([spd(q, rng) * 10.0 ** rng.uniform(-3, 3) for _ in range(10)]).reshape(10, -1)
    i, j = np.triu_indices(q)
    P = np.linalg.inv(S)
    natural = np.concatenate([[nu / 2], -0.5 * P[i, j] * np.where(i == j, 1, 2)])[None]
    expected = [stats.wishart.logpdf(row.reshape(q, q), nu, S) for row in X]
    size = np.abs(Wishart().sufficient_statistics(X)) @ np.abs(natural[0]) + np.abs(expected)
    found = Wishart().log_density(X, natural)[:, 0]
    assert np.all(np.abs(found - expected) <= 32 * EPS * np.linalg.cond(S) * size)
    named = Wishart().parameters(natural)
    assert named["degrees_of_freedom"] == pytest.approx(nu, rel=EPS)
    assert named["scales"][0] == pytest.approx(S, rel=1e-11)


@pytest.mark.parametrize("q", [1, 3, 5])
@pytest.mark.parametrize("excess", [1e-6, 1.0, 1e3, 1e6])
def test_wishart_mappings_at_the_edges(q, excess):
    rng = np.random.default_rng(q)
    P = spd(q, rng)
    i, j = np.triu_indices(q)
    natural = np.concatenate([[(q - 1) / 2 + excess], -0.5 * P[i, j] * np.where(i == j, 1, 2)])[None]
    mean = Wishart().to_expectation(natural)
    back = Wishart().to_natural(mean)
    # log |E X| − E log |X| is q(q + 1)/(4 · excess) where that is large: the difference of two numbers
    size = np.abs(mean[0, 0]) + q * np.log(natural[0, 0] + 2)
    allowed = 64 * EPS * np.linalg.cond(P) * (1 + size * excess)
    assert np.all(np.abs(back - natural) <= allowed * np.abs(natural).max())


def test_samples_of_matrices():
    rng = np.random.default_rng(0)
    S, nu, n = spd(3, rng), 3.4, 20_000
    i, j = np.triu_indices(3)
    P = np.linalg.inv(S)
    natural = np.concatenate([[nu / 2], -0.5 * P[i, j] * np.where(i == j, 1, 2)])
    X = Wishart().sample(natural, n, rng)
    assert Wishart().check_support(X) is None
    T = Wishart().sufficient_statistics(X)
    mean = Wishart().to_expectation(natural[None])[0]
    assert np.all(np.abs(T.mean(axis=0) - mean) <= 5 * T.std(axis=0) / np.sqrt(n))
    assert mean[1:] == pytest.approx(nu * S[i, j], rel=1e-12)


def test_too_few_degrees_of_freedom_are_outside():
    natural = np.array([[0.5, -1.0, 0, -1], [0.6, 1.0, 0, -1], [0.6, -1, 0, -1]])
    assert np.isfinite(log_partition(Wishart(), natural)).tolist() == [False, False, True]


# ---- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "expectation"),
    [
        (Categorical(2), [[0.5, 0.6], [-0.1, 1.1], [np.nan, 0.1]]),
        (OneHot(2), [[0.5, 0.6], [-0.1, 1.1], [np.nan, 0.1]]),
        (Multinomial(), [[0.5, 0.6], [-0.1, 1.1], [np.nan, 0.1]]),
        (Dirichlet(), [[-0.1, -0.1], [0.5, -1], [-np.inf, -1], [np.nan, -1], [np.log(0.5), np.log(0.5)]]),
        (VonMises(), [[0.8, 0.7], [1.0, 0], [np.nan, 0]]),
        (VonMisesFisher(), [[0.8, 0.7, 0], [0, 1.0, 0], [np.nan, 0, 0]]),
        (Wishart(), [[1.0, 1, 0, 1], [-1, 1, 2, 1], [0, 1, 0, 1], [np.nan, 1, 0, 1], [-1, np.nan, 0, 1]]),
    ],
    ids=str,
)
def test_impossible_expectations_have_no_natural_parameters(family, expectation):
    natural = family.to_natural(np.array(expectation))
    assert not np.any(np.isfinite(log_partition(family, natural)))


def test_natural_parameters_outside_their_space_have_no_partition():
    assert not np.any(np.isfinite(log_partition(Dirichlet(), np.array([[1.0, 0], [-0.5, 2], [-0.5, -0.5]]))))
    assert not np.any(np.isfinite(log_partition(Wishart(), np.array([[0.4, -1, 0, -1], [-2.2, -1, 0, -1]]))))


def entropies():
    rng = np.random.default_rng(0)
    S = spd(3, rng)
    i, j = np.triu_indices(3)
    P = np.linalg.inv(S)
    p = np.array([0.2, 0.5, 0.3])
    alpha, mu = np.array([0.5, 3.0, 7.0]), np.array([2.0, -1, 2]) / 3
    wishart = np.concatenate([[2.6], -0.5 * P[i, j] * np.where(i == j, 1, 2)])
    return [
        (Categorical(3), np.log(p), stats.entropy(p)),
        (OneHot(3), np.concatenate([np.log(p), np.log(p) + 5]), 2 * stats.entropy(p)),
        (Multinomial(), np.log(p), stats.multinomial.entropy(1, p)),
        (Dirichlet(), alpha, stats.dirichlet.entropy(alpha)),
        (VonMises(), np.array([0.3, 4.0]), stats.vonmises(np.hypot(0.3, 4.0)).entropy()),
        (VonMisesFisher(), 4.0 * mu, stats.vonmises_fisher(mu, 4.0).entropy()),
        (Wishart(), wishart, stats.wishart.entropy(5.2, S)),
    ]


@pytest.mark.parametrize(("family", "natural", "expected"), entropies(), ids=[str(row[0]) for row in entropies()])
def test_entropies_are_scipys(family, natural, expected):
    natural = natural[None]
    cross = np.sum(natural * family.to_expectation(natural), axis=1)
    found = family.log_partition(natural) - cross - family.expected_log_base_measure(natural)
    assert found[0] == pytest.approx(float(expected), rel=1e-11)


@every_case
def test_every_row_is_a_seed_inside_the_space(case):
    rng = np.random.default_rng(0)
    X = np.concatenate([case.draw(theta, 100, rng) for theta in case.components])
    T, exposure = case.family.sufficient_statistics(X), case.family.exposure(X)
    T = T if exposure is None else T / exposure[:, None]
    seeds = case.family.to_natural(case.family.seed(T, T.mean(axis=0, keepdims=True)))
    assert np.all(np.isfinite(case.family.log_partition(seeds)))


@every_case
@pytest.mark.parametrize("how", [{}, {"temperature": 0}, {"n_init": 3}], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_two_components_are_found(case, how, weighted):
    rng = np.random.default_rng(0)
    thetas = case.components[:2]
    if isinstance(case.family, Categorical | OneHot):  # labels of three columns alone overlap more than the others
        thetas = [p**3 / (p**3).sum(axis=1, keepdims=True) for p in thetas]
    X = np.concatenate([case.draw(theta, 300, rng) for theta in thetas])
    weight = rng.integers(1, 4, len(X)) if weighted else None
    model = ef.ExponentialFamilyMixture(case.family, 2, random_state=0, **how).fit(X, sample_weight=weight)
    labels = model.predict(X)
    first = labels[:300].mean() > 0.5
    assert np.mean(labels == np.repeat([first, not first], 300)) > 0.95
    truth = ef.Mixture(case.family, [0.5, 0.5], case.naturals(thetas))
    if how.get("temperature") != 0:
        assert model.lower_bound_ > np.average(truth.log_density(X), weights=weight)


@pytest.mark.parametrize("family", [VonMises(), VonMisesFisher(), Dirichlet(), Wishart()], ids=str)
def test_components_on_one_value_have_collapsed(family):
    X = np.repeat([[0.6, 0.8, 0, 0], [0, 0, 0.6, 0.8]], 20, axis=0)
    if isinstance(family, Dirichlet):
        X = np.repeat([[0.125, 0.125, 0.25, 0.5], [0.5, 0.25, 0.125, 0.125]], 20, axis=0)
    if isinstance(family, Wishart):
        X = np.repeat([[1.0, 0.5, 0.5, 1], [8, 0, 0, 4]], 20, axis=0)
    with pytest.raises(ValueError, match="collapsed"):
        ef.ExponentialFamilyMixture(family, 2, temperature=0, random_state=0).fit(X)
