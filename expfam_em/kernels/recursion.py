"""The two-loop recursion of L-BFGS, run by run."""

from numba import types

from expfam_em.kernels.jit import EXACT, array, entry, inner


@inner(EXACT)
def dot(one, other):
    """Return ⟨a, b⟩."""
    total = 0.0
    for i in range(one.shape[0]):
        total += one[i] * other[i]
    return total


@inner(EXACT)
def add_multiple(factor, one, out):
    """Add a multiple of one to out."""
    for i in range(out.shape[0]):
        out[i] += factor * one[i]


@entry(
    types.void, array(3), array(3), array(3), array(2), array(2, writable=True), array(2, writable=True),
    array(1, writable=True),
)  # fmt: skip
def two_loops(steps, gradients, em_steps, curvature, gradient, step, along):
    """Make ``step`` (L, q) the quasi-Newton step, of EM's own and the gradient, which is not kept (Nocedal 1980).

    Pairs (L, m, q) and their 1/⟨step, gradient⟩ (L, m) are the newest first; 0 where there is none. EM's step of the
    gradient that is left is carried along, so that it needs no matrix. ``along`` is room for m numbers.
    """
    for run in range(curvature.shape[0]):
        for i in range(curvature.shape[1]):
            along[i] = 0.0
            if curvature[run, i] != 0.0:
                along[i] = curvature[run, i] * dot(steps[run, i], gradient[run])
                add_multiple(-along[i], gradients[run, i], gradient[run])
                add_multiple(-along[i], em_steps[run, i], step[run])
        for i in range(curvature.shape[1] - 1, -1, -1):
            if curvature[run, i] != 0.0:
                back = curvature[run, i] * dot(gradients[run, i], step[run])
                add_multiple(along[i] - back, steps[run, i], step[run])
