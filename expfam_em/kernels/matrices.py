"""Stacks of small symmetric matrices, one after another: none depends on another, or on the processor.

A matrix that is not positive definite, or not finite, gives NaN. Only lower triangles are read. Loops are written out,
for they compile in a fraction of the time that expressions of arrays take.
"""

import numpy as np
from numba import types

from expfam_em.kernels.jit import EXACT, array, entry, inner


@inner(EXACT)
def factorise(A):
    """Make A its lower Cholesky factor; NaN, and False is returned, where there is none."""
    d = A.shape[0]
    fine = True
    for k in range(d):
        pivot = A[k, k]
        fine &= 0.0 < pivot < np.inf  # what is not finite elsewhere comes to a later pivot
        root = np.sqrt(pivot) if fine else np.nan
        A[k, k] = root
        for i in range(k + 1, d):
            A[i, k] /= root
            A[k, i] = A[i, k]  # in a row, for the loop over j
        for i in range(k + 1, d):
            factor = A[i, k]
            for j in range(k + 1, i + 1):
                A[i, j] -= factor * A[k, j]
    for k in range(d):
        for i in range(k + 1, d):
            A[k, i] = 0.0 if fine else np.nan
        for i in range(k + 1):
            if not fine:
                A[k, i] = np.nan
    return fine


@inner(EXACT)
def invert(A, inverse, half):
    """Make A its factor L and ``half`` L⁻¹, and write A⁻¹; return log |A|. All are NaN where A is not positive."""
    d = A.shape[0]
    factorise(A)
    log_det = 0.0
    for i in range(d):
        log_det += np.log(A[i, i])
        for c in range(d):
            half[i, c] = 1.0 if i == c else 0.0
            inverse[i, c] = 0.0
        for j in range(i):
            factor = A[i, j]
            for c in range(j + 1):
                half[i, c] -= factor * half[j, c]
        for c in range(i + 1):
            half[i, c] /= A[i, i]
    for r in range(d):
        for i in range(r + 1):
            factor = half[r, i]
            for j in range(i + 1):
                inverse[i, j] += factor * half[r, j]
    for i in range(d):
        for j in range(i):
            inverse[j, i] = inverse[i, j]
    return 2.0 * log_det


@entry(types.boolean, array(3, writable=True))
def factors(matrices):
    """Make matrices (K, d, d) their lower Cholesky factors; return whether all have one."""
    fine = True
    for k in range(matrices.shape[0]):
        fine &= factorise(matrices[k])
    return fine


@entry(types.void, array(3), array(3, writable=True))
def substitutes(factors, right):
    """Make B (K, d, m) L⁻¹ B, for factors L; NaN where an L is singular."""
    d, m = right.shape[1], right.shape[2]
    for k in range(factors.shape[0]):
        singular = False
        for i in range(d):
            singular |= factors[k, i, i] == 0.0
        for i in range(d):
            pivot = np.nan if singular else factors[k, i, i]
            for j in range(i):
                factor = factors[k, i, j]
                for c in range(m):
                    right[k, i, c] -= factor * right[k, j, c]
            for c in range(m):
                right[k, i, c] /= pivot


@entry(types.void, array(3, writable=True), array(3, writable=True), array(1, writable=True))
def inverses(matrices, inverse, log_det):
    """Write inverses (K, d, d) and log-determinants (K,) of matrices, which are not kept."""
    half = np.empty(matrices.shape[1:])
    for k in range(matrices.shape[0]):
        log_det[k] = invert(matrices[k], inverse[k], half)


@entry(types.void, array(2), array(1, writable=True), array(2, writable=True), array(3, writable=True))
def from_natural(natural, log_partition, mean, covariance):
    """Write A (K,), or means (K, d) and covariances (K, d, d), of natural parameters; of length 0 is left out.

    These are Λ m, and −½ Λ with twice what is off the diagonal, the upper triangle row by row, of means m and
    precisions Λ. A is ½ mᵀ Λ m − ½ log |Λ|, ∞ where Λ is no precision.
    """
    d = mean.shape[1]
    A, half = np.empty((d, d)), np.empty((d, d))
    for k in range(natural.shape[0]):
        at = d
        for i in range(d):
            for j in range(i, d):
                A[j, i] = -2.0 * natural[k, at] if i == j else -natural[k, at]
                at += 1
        if mean.shape[0] > 0:
            invert(A, covariance[k], half)
            for i in range(d):
                total = 0.0
                for j in range(d):
                    total += covariance[k, i, j] * natural[k, j]
                mean[k, i] = total
        if log_partition.shape[0] > 0:
            value = 0.0 if factorise(A) else np.inf
            for i in range(d):
                z = natural[k, i]
                for j in range(i):
                    z -= A[i, j] * half[0, j]
                half[0, i] = z / A[i, i]
                if value < np.inf:
                    value += 0.5 * half[0, i] * half[0, i] - np.log(A[i, i])
            log_partition[k] = value


@entry(types.void, array(2), array(3), array(2, writable=True))
def to_natural(mean, covariance, natural):
    """Write natural parameters (K, p) of means (K, d) and covariances (K, d, d); see `from_natural`."""
    d = mean.shape[1]
    A, precision, half = np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    for k in range(mean.shape[0]):
        for i in range(d):
            for j in range(d):
                A[i, j] = covariance[k, i, j]
        invert(A, precision, half)
        at = d
        for i in range(d):
            total = 0.0
            for j in range(d):
                total += precision[i, j] * mean[k, j]
            natural[k, i] = total
            for j in range(i, d):
                natural[k, at] = -0.5 * precision[i, j] if i == j else -precision[i, j]
                at += 1


@entry(types.boolean, array(2), array(2), array(1, types.int64), types.float64)
def keeps_digits(expectation, natural, squares, limit):
    """Return whether m² + C ≤ limit · C and Λ (m² + C) ≤ limit for all means m, variances C and precisions Λ.

    ``squares`` (d,) says where the second moments, and −½ Λ, are in a row (K, p).
    """
    for k in range(expectation.shape[0]):
        for j in range(squares.shape[0]):
            mean = expectation[k, j]
            variance = expectation[k, squares[j]] - mean * mean
            second = variance + mean * mean
            if not (second <= limit * variance and -2.0 * natural[k, squares[j]] * second <= limit):
                return False
    return True


@entry(types.boolean, array(3), types.float64, types.float64)
def all_above(matrices, share, floor):
    """Return whether |C| ((d − 1)/tr C)^(d − 1) of each matrix C is above a share of tr C and a floor."""
    d = matrices.shape[1]
    A = np.empty((d, d))
    for k in range(matrices.shape[0]):
        trace = 0.0
        for i in range(d):
            for j in range(i + 1):
                A[i, j] = matrices[k, i, j]
            trace += A[i, i]
        if not factorise(A):
            return False
        log_least = -(d - 1) * np.log(trace / (d - 1)) if d > 1 else 0.0
        for i in range(d):
            log_least += 2.0 * np.log(A[i, i])
        if not np.exp(log_least) > share * trace + floor:
            return False
    return True
