"""A mixture has the bits that it has alone, wherever arrays lie in memory, and sums have those of other processors."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numba import njit

import expfam_em as ef
from expfam_em.em.loop import fit_all
from expfam_em.em.options import Options
from expfam_em.em.starts import initialise_all
from expfam_em.estep.plan import plan
from expfam_em.families.gaussian.coordinates import frames_at
from expfam_em.families.gaussian.models import MODELS
from expfam_em.families.special.linalg import apply
from expfam_em.kernels.sums import product, scale_and_add, weighted_sum
from expfam_em.kernels.vectors import LANES
from expfam_em.rows.memory import ArrayRows
from tests.cases import CASES
from tests.frozen_fits import case_rows, clusters

script = importlib.util.spec_from_file_location("bits", Path(__file__).parents[1] / "docs" / "bits.py")
bits = importlib.util.module_from_spec(script)
script.loader.exec_module(bits)

FAMILIES = ("Poisson", "Gamma", "VonMises", "Dirichlet", "Wishart", "Beta")
LAYOUTS = (np.ascontiguousarray, np.asfortranarray, lambda X: np.repeat(X, 2, axis=1)[:, ::2])


def numbers(result):
    """All that a fit returns, as bytes."""
    mixture = result.mixture
    return [array.tobytes() for array in (mixture.weights, mixture.natural, mixture.log_partition, result.bounds)]


def check_stack(family, data, K, steps=4):
    """Fit a stack of two mixtures to each data set, and each of them alone to rows that lie in memory in other ways."""
    family, options = family.bind(ArrayRows(np.concatenate(data))), Options(steps, 0.0)
    sets = np.repeat(np.arange(len(data)), 2)
    drawn = [initialise_all(plan(family, ArrayRows(X), K), np.zeros(2, int), K, "random_from_data", 5) for X in data]
    starts = [of.mixture[run] for of in drawn for run in range(2)]
    rows, stack = ArrayRows(np.concatenate(data), None, 1, [len(X) for X in data]), ef.Mixture.stack(starts)
    together = fit_all(stack, plan(stack.family, rows, K), sets, options)
    for at, (start, which) in enumerate(zip(starts, sets, strict=True)):
        one, X = ef.Mixture.stack([start]), LAYOUTS[at % len(LAYOUTS)](data[which])
        [alone] = fit_all(one, plan(one.family, ArrayRows(X), K), None, options)
        assert numbers(alone) == numbers(together[at])


@pytest.mark.parametrize("name", sorted(set(MODELS)))
def test_a_covariance_model_in_a_stack_has_the_bits_that_it_has_alone(name):
    flat = clusters(50, 3, 3, seed=2)
    if not MODELS[name].tied:  # whose components have frames of their own, or none in the stack has
        flat[:, 2] = 0.0  # fewer dimensions than columns: which axes are turned differs between the mixtures
    family = ef.families.Gaussian(name, reg_covar=1e-6)
    check_stack(family, [clusters(120, 3, 3, seed=1), clusters(90, 3, 3, seed=3)[:, ::-1] * 5, flat], 3)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_in_a_stack_has_the_bits_that_it_has_alone(name):
    [case, *_] = [case for case in CASES if case.name.startswith(name)]
    X = np.random.default_rng(0).permutation(case_rows(case, 40))
    check_stack(case.family, [X, X[:50], X[30:]], 2)


def test_frames_of_others_leave_the_bits_of_a_mixture_in_the_shared_frame():
    near, far = clusters(150, 4, 2, seed=1), clusters(150, 4, 2, seed=2)
    far[::2] = 1e6 + 1e-3 * far[::2]
    family = ef.families.Gaussian("full", reg_covar=1e-9).bind(ArrayRows(near))
    starts = [
        ef.Mixture.of(family, [0.5, 0.5], means=X[:2], covariances=[np.cov(Y.T) for Y in (X[::2], X[1::2])])
        for X in (near, far)
    ]
    stack, rows = ef.Mixture.stack(starts), ArrayRows(np.concatenate([near, far]), None, 1, [150, 150])
    one, options = ef.Mixture.stack(starts[:1]), Options(4, 0.0)
    together = fit_all(stack, plan(stack.family, rows, 2), np.arange(2), options)
    [alone] = fit_all(one, plan(one.family, ArrayRows(near), 2), None, options)
    assert together[1].mixture.family.frames is not None
    assert numbers(alone)[0] == numbers(together[0])[0]
    assert np.array_equal(alone.bounds, together[0].bounds)


@pytest.mark.parametrize("d", [1, 3, 9, 40])
def test_products_do_not_depend_on_how_arrays_lie_in_memory(d):
    rng = np.random.default_rng(d)
    matrices, vectors = rng.normal(size=(5, d, d)), rng.normal(size=(5, d))
    turned = np.asfortranarray(matrices), np.asfortranarray(vectors)
    spread = np.moveaxis(np.ascontiguousarray(np.moveaxis(matrices, 0, 2)), 2, 0), np.repeat(vectors, 2, axis=1)[:, ::2]
    expected = apply(matrices, vectors)
    assert np.array_equal(apply(*turned), expected)
    assert np.array_equal(apply(*spread), expected)
    assert np.array_equal(np.concatenate([apply(matrices[k : k + 1], vectors[k : k + 1]) for k in range(5)]), expected)


def test_each_component_has_a_frame_of_adjacent_entries():
    family = ef.families.Gaussian("full").bind(ArrayRows(clusters(50, 3, 1)))
    frames = frames_at(np.array([True, False]), np.zeros((2, 3)), np.broadcast_to(np.eye(3), (2, 3, 3)))
    for part in family.with_frames(frames)._coordinates(3).of_each(2):
        assert part.flags.c_contiguous


# ---- sums in lanes -------------------------------------------------------------------------------------------------


@njit
def njit_product(x, y):
    return product(x, y)


@njit
def njit_weighted(weight, x):
    return weighted_sum(weight, x)


@njit
def njit_scale_and_add(S, factor, counts):
    scale_and_add(S, factor, counts)


def in_lanes(terms):
    """The sum of terms by the order that the module states, in scalars of NumPy."""
    whole, side = len(terms) // LANES * LANES, 4 * LANES
    lanes = np.zeros(side)
    first = whole // side * side
    for start in range(0, first, side):
        lanes += terms[start : start + side]
    for start in range(first, whole, LANES):
        lanes[:LANES] += terms[start : start + LANES]
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    total = lanes[0]
    for term in terms[whole:]:
        total += term
    return total


@pytest.mark.parametrize("n", [0, 1, 7, 8, 31, 32, 33, 72, 333])
def test_sums_are_made_in_the_order_that_is_stated(n):
    rng = np.random.default_rng(n)
    # products of whole numbers of 26 bits are exact, so that nothing depends on where they are rounded
    x, y = (rng.integers(1, 2**26, n) * 2.0 ** rng.integers(-40, 40, n) for _ in range(2))
    assert njit_product(x, y) == in_lanes(x * y)
    assert njit_weighted(x, y) == in_lanes(x * y)
    S, counts = np.array([[*x, 7.0], [*y, 7.0]]), np.array([0.0, 1.0, 5.0])
    njit_scale_and_add(S, y, counts[:2])
    assert counts.tolist() == [in_lanes(x * y), 1 + in_lanes(y * y), 5]
    assert np.array_equal(S, [[*x * y, 7], [*y * y, 7]])


def test_a_row_of_weight_zero_is_absent_from_a_sum():
    weight, x = np.ones(41), np.ones(41)
    weight[[3, 40]], x[[3, 40]] = 0.0, -np.inf
    assert njit_weighted(weight, x) == 39


def test_a_pass_has_the_same_bits_compiled_for_another_processor():
    some = ["dense, full, 2 columns", "own frames, full, weights"]  # whose tiles have other shapes there
    assert bits.elsewhere(bits.TARGETS["haswell"], some) == bits.digests(some)
