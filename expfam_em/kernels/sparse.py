"""The EM pass over CSR rows, for T(x) = x: work and memory follow the entries that are stored.

A row is a handful of entries, so the work is a gather and a scatter of K contiguous numbers for each: the natural
parameters and the sums are held as (d, K), and the scores of a block are made row by row and then turned over for
the loops that the dense pass has too. Everything is linear in the entries: explicit zeros add nothing, the order
within a row does not matter, and an entry given twice counts as the sum of its values.
"""

import numpy as np
from numba import types

from expfam_em.kernels.em import NO_GROUP, NO_OFFSET, add_offsets, assign, block_weights, weigh, write_rows
from expfam_em.kernels.jit import EXACT, array, entry, inner

SPARSE_ROWS = 72  # in a block: nine cache lines; a power of two would put a column of scores into few sets of L1


@inner(EXACT)
def score_entries(data, indices, indptr, first, weight, table, exposure, partition, R):
    """R[i] = Σ_j x_ij table[j] − e_i A of row first + i, A only if there are e; a row of weight 0 counts as empty."""
    rows, K = R.shape
    for i in range(rows):
        out = R[i]
        for k in range(K):
            out[k] = 0.0
        if weight[i] == 0.0:
            continue
        if exposure.size > 0:
            for k in range(K):
                out[k] = -exposure[first + i] * partition[k]
        for q in range(indptr[first + i], indptr[first + i + 1]):
            value, natural = np.float64(data[q]), table[indices[q]]
            for k in range(K):
                out[k] += value * natural[k]


@inner(EXACT)
def collect_entries(data, indices, indptr, first, weight, R, sums):
    """Add R[i] x_ij to sums[j]; R holds weighted responsibilities, and a row of weight 0 is absent."""
    rows, K = R.shape
    for i in range(rows):
        if weight[i] == 0.0:  # its x may be infinite, and 0 · ∞ would stay
            continue
        responsibility = R[i]
        for q in range(indptr[first + i], indptr[first + i + 1]):
            value, out = np.float64(data[q]), sums[indices[q]]
            for k in range(K):
                out[k] += value * responsibility[k]


@inner(EXACT)
def collect_exposures(exposure, first, weight, S, exposures):
    """Add Σ_i S[k, i] e_i to the exposure of each component; S holds weighted responsibilities."""
    K, rows = S.shape
    for k in range(K):
        total = 0.0
        for i in range(rows):
            if weight[i] > 0.0:
                total += S[k, i] * exposure[first + i]
        exposures[k] += total


@inner(EXACT)
def collect_labelled(data, indices, indptr, first, weight, label, sums):
    """Add x_ij to the sum of the component that has the whole row: one number for each entry instead of K."""
    for i in range(weight.shape[0]):
        if weight[i] == 0.0:
            continue
        for q in range(indptr[first + i], indptr[first + i + 1]):
            sums[indices[q], label[i]] += np.float64(data[q]) * weight[i]


def _em_sparse(
    data, indices, indptr, start, stop, table, exposure, partition, offset, level, sample_weight, temperature, block,
    row_offset, group, counts, sums, exposures, responsibilities, evidence, labels,
):  # fmt: skip
    """One EM pass over the CSR rows start ≤ n < stop; every output of length 0 is left out.

    A scale of the columns needs no argument: with T(x) = s ∘ x, s multiplies the table before and the sums after.

    Parameters
    ----------
    data : (nnz,) array of float64, float32 or uint8
    indices, indptr : (nnz,) int32, (n + 1,) int64
    table : (d, K) natural parameters, one row per column of X
    exposure, partition : (n,) e of each row and (K,) A, or empty where every e is 1
    offset, level : (K,) log π − A, or log π where there are exposures, less a number common to all, and that number
    sample_weight : (n,) or empty
    temperature : 1 soft, 0 hard
    block : rows handled at a time
    row_offset, group : (n, G) or empty, (K,) int64: row_offset[n, group[k]] is added to the score of component k
    counts, sums, exposures : (K,), (d, K), (K,) expected statistics, added to
    responsibilities, evidence, labels : (n, K), (n,), (n,) outputs by row

    Returns
    -------
    bound : Σ sample_weight · τ logsumexp(scores/τ), without log h
    """
    K = offset.shape[0]
    soft_wanted, labels_wanted = sums.size > 0 or responsibilities.size > 0, labels.size > 0
    bound = 0.0
    R_memory, S_memory = np.empty((block, K)), np.empty(K * block)
    top_memory, factor_memory = np.empty(block), np.empty(block)
    weight_memory, label_memory = np.ones(block), np.zeros(block, np.int64)
    for first in range(start, stop, block):
        rows = min(block, stop - first)
        R, S = R_memory[:rows], S_memory[: K * rows].reshape(K, rows)
        top, factor = top_memory[:rows], factor_memory[:rows]
        weight, label = weight_memory[:rows], label_memory[:rows]
        block_weights(sample_weight, first, weight)
        score_entries(data, indices, indptr, first, weight, table, exposure, partition, R)
        for i in range(rows):
            for k in range(K):
                S[k, i] = R[i, k]
        if row_offset.size > 0:
            add_offsets(row_offset, group, first, rows, S)
        bound += assign(
            S, offset, level, weight, temperature, soft_wanted, labels_wanted, top, factor, label
        )  # fmt: skip
        write_rows(S, factor, top, label, first, responsibilities, evidence, labels)
        if sums.size > 0:
            weigh(S, factor, weight, counts)
            if exposure.size > 0:
                collect_exposures(exposure, first, weight, S, exposures)
            if temperature > 0.0:
                for i in range(rows):
                    for k in range(K):
                        R[i, k] = S[k, i]
                collect_entries(data, indices, indptr, first, weight, R, sums)
            else:
                collect_labelled(data, indices, indptr, first, weight, label, sums)
    return bound


_COMPILED = {
    element.name: entry(
        types.float64, array(1, element), array(1, types.int32), array(1, types.int64), types.int64, types.int64,
        array(2), array(1), array(1), array(1), types.float64, array(1), types.float64, types.int64, array(2),
        array(1, types.int64), *(array(ndim, writable=True) for ndim in (1, 2, 1, 2, 1)),
        array(1, types.int64, writable=True),
    )(_em_sparse)
    for element in (types.float64, types.float32, types.uint8)
}  # fmt: skip


def em_sparse(data, *arguments, row_offset=NO_OFFSET, group=NO_GROUP):
    """Run the pass compiled for the dtype of the entries; see `_em_sparse`."""
    data = data.view(np.uint8) if data.dtype == np.bool_ else data  # the same bytes, and one compilation less
    return _COMPILED[data.dtype.name](data, *arguments[:12], row_offset, group, *arguments[12:])
