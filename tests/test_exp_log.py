"""The vectorised exp and log within two units of the last place, over their whole range, compiled or not."""

import mpmath
import numpy as np
import pytest
from numba import config, njit

from expfam_em.kernels.em import exp_nonpositive, log_positive
from tests import centred

pytestmark = pytest.mark.skipif(not centred.EXTENDED, reason="long double is not wider than float64 here")
POINTS = 3_000 if config.DISABLE_JIT else 1_000_000
LOG_FLUSH = -460.0  # below, e^x is 0
TINY, HUGE = np.finfo(float).tiny, np.finfo(float).max
LN2 = np.log(centred.LONG(2))


@njit
def exp_each(x, out):
    for i in range(len(x)):
        out[i] = exp_nonpositive(x[i])


@njit
def log_each(x, out):
    for i in range(len(x)):
        out[i] = log_positive(x[i])


def applied(each, x):
    out = np.empty_like(x)
    each(x, out)
    return out


def ulps(found, exact):
    """Errors in units of the last place of the exact value (the smaller unit, at a power of two)."""
    rounded = exact.astype(np.float64)
    unit = np.spacing(np.abs(np.where(np.abs(rounded) > np.abs(exact), np.nextafter(rounded, 0), rounded)))
    return np.abs(found.astype(centred.LONG) - exact) / unit


def bits(low, high, n):
    """Floats from low to high, equally far from one another in their bit patterns, each moved at random by less."""
    a, b = (int(np.float64(v).view(np.int64)) for v in (low, high))
    at = np.linspace(a, b, n, endpoint=False).astype(np.int64)
    moved = np.random.default_rng(n).integers(0, max((b - a) // n, 1), n)
    return np.clip(at + moved, a, b).view(np.float64)


def around(x, reach=4):
    """Each number and its neighbours on both sides."""
    x = np.asarray(x, np.float64)
    return np.unique((x.view(np.int64)[:, None] + np.arange(-reach, reach + 1)).view(np.float64))


def exp_points():
    halves = -((np.arange(0, 664)[:, None] + [0.0, 0.5]) * LN2).ravel().astype(np.float64)
    groups = [
        -bits(5e-324, -LOG_FLUSH, POINTS),
        np.random.default_rng(0).uniform(LOG_FLUSH, 0, POINTS),
        around(halves[halves < 0]),  # where the reduced argument is 0, and where the reduction changes over
        around(-(2.0 ** np.arange(-1022, 9))),
        -np.arange(461.0),
        np.array([0.0, -0.0, -5e-324, -TINY, LOG_FLUSH, np.nextafter(LOG_FLUSH, 0)]),
    ]
    x = np.concatenate(groups)
    return x[(x >= LOG_FLUSH) & (x <= 0)]


def log_points():
    powers = 2.0 ** np.arange(-1022, 1024)
    rng = np.random.default_rng(1)
    groups = [
        bits(TINY, HUGE, POINTS),
        bits(0.5, 2.0, POINTS),
        around(powers[1:]),
        around(powers[1:] * np.sqrt(0.5)),  # where the reduction changes over
        1 + rng.choice([-1, 1], POINTS // 10) * 2.0 ** rng.uniform(-53, -1, POINTS // 10),
        around(1 + np.outer([-1, 1], 2.0 ** -np.arange(1.0, 53)).ravel()),
        np.arange(1.0, 2000),  # sums of exponentials of which the largest is 1
        np.array([TINY, np.nextafter(TINY, 1), HUGE, 1.0]),
    ]
    x = np.concatenate(groups)
    return x[(x >= TINY) & np.isfinite(x)]


def test_long_double_is_a_reference():
    # 64 bits of mantissa: its own error, below an ulp of its own, is 2⁻¹¹ ulp of float64
    rng = np.random.default_rng(2)
    x = -(10 ** rng.uniform(-10, 2.66, 300))
    y = 10 ** rng.uniform(-300, 300, 300)
    for points, function, true in ((x, np.exp, mpmath.exp), (y, np.log, mpmath.log)):
        for point, found in zip(points, function(points.astype(centred.LONG)), strict=True):
            exact = true(mpmath.mpf(float(point)))
            assert abs(centred.as_mp(found) - exact) <= 2.0**-62 * abs(exact)


def test_exp_over_its_whole_range():
    x = exp_points()
    error = ulps(applied(exp_each, x), np.exp(x.astype(centred.LONG)))
    assert error.max() <= 2, f"at {x[error.argmax()]!r}"


def test_log_over_its_whole_range():
    x = log_points()
    x = x[x != 1]
    error = ulps(applied(log_each, x), np.log(x.astype(centred.LONG)))
    assert error.max() <= 2, f"at {x[error.argmax()]!r}"


def test_exact_values():
    assert np.array_equal(applied(exp_each, np.array([0.0, -0.0])), [1.0, 1.0])
    assert applied(log_each, np.ones(1))[0] == 0
    below = np.array([np.nextafter(LOG_FLUSH, -np.inf), -745.0, -1e5, -1e308, -np.inf])
    assert np.array_equal(applied(exp_each, below), np.zeros(5))


def test_the_hardest_points_against_mpmath():
    for each, points, reference, true in (
        (exp_each, exp_points(), np.exp, mpmath.exp),
        (log_each, log_points(), np.log, mpmath.log),
    ):
        x = points[points != 1]
        error = ulps(applied(each, x), reference(x.astype(centred.LONG)))
        worst = x[np.argsort(error)[-50:]]
        for point, found in zip(worst, applied(each, worst), strict=True):
            exact = true(mpmath.mpf(float(point)))
            assert abs(mpmath.mpf(float(found)) - exact) <= 2 * np.spacing(abs(float(exact)))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 8, 9, 15, 17, 31, 33, 64, 67])
def test_a_number_has_one_value_wherever_it_stands(length):
    # loops are vectorised but for their last rows; blocks of another size must not change a bit
    for each, x in (
        (exp_each, np.random.default_rng(3).uniform(-50, 0, 200)),
        (log_each, np.random.default_rng(4).uniform(1, 9, 200)),
    ):
        whole = applied(each, x)
        parts = [applied(each, x[first : first + length].copy()) for first in range(0, 200, length)]
        assert np.array_equal(np.concatenate(parts), whole)


def test_neither_ever_steps_back():
    # two neighbours two ulps off in opposite ways could; over steps of 64 ulps of the result nothing can
    x = np.linspace(LOG_FLUSH, 0, POINTS // 10)
    assert np.all(np.diff(applied(exp_each, x)) > 0)
    y = np.exp(np.linspace(np.log(TINY) + 1, np.log(HUGE) - 1, POINTS // 10))
    assert np.all(np.diff(applied(log_each, y)) > 0)
