"""Gaussian components of the observed columns of rows, in the frame that all components share or in their own.

A component with the frame z = R⁻¹ (x − a) has for the columns o the frame R_o⁻¹ (x_o − a_o), where R_o is the
triangular factor of the rows o of R. These coordinates are some of a rotation of z; the others belong to what is
missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from expfam_em.families.gaussian.framed import plain
from expfam_em.families.gaussian.packing import Constant, Triangle
from expfam_em.families.special.linalg import apply, solve_lower
from expfam_em.family.frames import Frames
from expfam_em.family.missing import Marginals, Observed, of_columns
from expfam_em.kernels.marginals import complete, marginals
from expfam_em.rows.typing import Array, Block, Integers, Mask


def observed(family: Any, natural: Array) -> Marginals:
    """Return components (C, p) of a `Gaussian`; see `MissingValues.observed`."""
    one = _of_triangle if type(family._form) is Triangle else _of_diagonal
    return one(family.with_frames(None), family.frames, natural)  # the frames are told by what is found


def observed_statistics(family: Any, X: Block, n_components: int) -> Iterator[Array]:
    """Yield T of rows of observed columns, (n, p), in the frame of each component that `Observed` has told."""
    T, (shift, scale) = plain(family._form, X.shape[1]), family._frame(X.shape[1])
    columns = np.asarray(family._columns(X), np.float64)
    for k in range(n_components):
        frames = None if family.frames is None else family.frames.take([k])
        if frames is None:
            Z = (columns - shift) / scale
        else:  # of what is missing, the whitener has zeros and the root has not
            Z, whitener = columns - frames["shift"][0], frames["whitener"][0]
            Z = Z * whitener[0] if len(whitener) == 1 else Z @ whitener.T
        yield T.evaluate(Z)


def sums_of_observed(family: Any, X: Block, responsibilities: Array) -> Array:
    """Return Σ_n r_nk T(x_n) of the observed columns of rows, (K, p), each component in its frame."""
    if family.frames is None:
        return np.asarray(responsibilities.T @ family.sufficient_statistics(np.asarray(X)))
    each = observed_statistics(family, X, responsibilities.shape[1])
    return np.stack([r @ T for r, T in zip(responsibilities.T, each, strict=True)])


def _of_diagonal(family: Any, frames: Frames | None, natural: Array) -> Marginals:
    form, (C, p) = family._form, natural.shape
    mean, covariance = form.moments(natural)
    d = mean.shape[1]
    partition = 0.5 * (mean**2 / covariance + (0.0 if isinstance(form, Constant) else np.log(covariance)))
    if frames is not None:
        own = family.with_frames(frames)._coordinates(d).own(C)["own"][:, None]  # once they are those of C
        partition = partition + np.log(np.where(own, frames["root"] / family._frame(d)[1], 1.0))
    has_sum = int(form.isotropic and p > d)  # Σ z² over the columns present, for the z of the others are 0
    squares, column = covariance + mean**2, np.arange(p) % (d + has_sum)
    partition = np.column_stack([partition, np.zeros((C, has_sum))])
    columns = of_columns(family, natural, partition, form.expectation(mean, covariance), column)

    def observed(which: Integers, present: Mask) -> Observed:
        found = columns(which, np.column_stack([present, np.ones((len(present), has_sum), bool)]))
        its = None if frames is None else frames.take(which.ravel())
        if its is not None:
            whitener = its["whitener"] * np.repeat(present, which.shape[1], axis=0)[:, None]
            found = found._replace(family=family.with_frames(Frames(its.arrays | {"whitener": whitener})))
        if not has_sum:
            return found

        def complete(counts: Array, sums: Array) -> Array:
            out = found.complete(counts, sums)
            out[:, :, d] += counts * np.where(present[:, None], 0.0, squares[which]).sum(axis=2)
            return out

        return found._replace(complete=complete)

    return observed


def _of_triangle(family: Any, frames: Frames | None, natural: Array) -> Marginals:
    form, p, partition = family._form, natural.shape[1], family._form.log_partition(natural)
    unpack, pack = form._unpack, form._pack
    linear_of, matrix = unpack(natural, 0.5)
    of_all = np.ascontiguousarray(linear_of), -2 * matrix

    def observed(which: Integers, present: Mask) -> Observed:
        (P, K), of, (linear, precision) = which.shape, which.ravel(), of_all
        value, family_of, turned = partition[of], family, None
        if frames is not None and (its := frames.take(of)) is not None:
            turned = _turned(its, np.repeat(present, K, axis=0), np.log(family._frame(present.shape[1])[1]))
            Q, value = turned.rotation, value + turned.log_volume
            linear, precision = apply(Q, linear[of]), Q @ precision[of] @ np.swapaxes(Q, 1, 2)
            family_of, of = family.with_frames(turned.frames), np.arange(P * K)
        arrays = linear, precision, np.ascontiguousarray(of), np.ascontiguousarray(present), K
        eta, missed = np.empty((P * K, p)), np.empty(P * K)
        marginals(*arrays, eta, missed)
        log_partition = np.where(np.any(present, axis=1, keepdims=True), (value - missed).reshape(P, K), 0.0)

        def completed(counts: Array, sums: Array) -> Array:
            out = np.empty((P * K, p))
            complete(*arrays, counts.ravel(), np.ascontiguousarray(sums).reshape(-1, p), out)
            if turned is not None:
                back = np.swapaxes(turned.rotation, 1, 2)
                first, second = unpack(out, 1.0)
                out = pack(apply(back, first), back @ second @ turned.rotation, 1.0)
            return out.reshape(P, K, p)

        return Observed(family_of, eta.reshape(P, K, p), log_partition, completed)

    return observed


class Turned(NamedTuple):
    """Frames of the observed columns, (E, …), and the rotations of z to them, of which missing columns have the rest.

    ``log_volume`` (E,) is by how much A of a component is larger in its frame than in the shared one.
    """

    frames: Frames
    rotation: np.ndarray
    log_volume: np.ndarray


def _turned(frames: Frames, present: Mask, log_scale: Array) -> Turned:
    own, (E, d) = np.flatnonzero(frames["own"]), present.shape
    here = present[own]
    order = np.argsort(~here, axis=1, kind="stable")  # the columns present, and then the others
    rows = np.take_along_axis(frames["root"][own], order[:, :, None], axis=1)
    axes, upper = np.linalg.qr(np.swapaxes(rows, 1, 2))
    sign = np.where(np.einsum("eii->ei", upper) < 0, -1.0, 1.0)
    lead = np.arange(d) < here.sum(axis=1)[:, None]  # rows of the factor that belong to the columns present
    factor = np.swapaxes(upper * sign[:, :, None], 1, 2)
    factor = np.where(lead[:, :, None] & lead[:, None], factor, np.eye(d))
    inverse = np.where(lead[:, :, None] & lead[:, None], solve_lower(factor, np.eye(d)), 0.0)
    each = np.arange(len(own))[:, None]
    rotation, whitener, volume = np.tile(np.eye(d), (E, 1, 1)), np.array(frames["whitener"]), np.zeros(E)
    turned, scaled = np.empty_like(axes), np.zeros_like(axes)
    turned[each, order] = np.swapaxes(axes * sign[:, None], 1, 2)
    scaled[each[:, :, None], order[:, :, None], order[:, None]] = inverse
    rotation[own], whitener[own] = turned, scaled
    volume[own] = np.log(np.einsum("eii->ei", factor)).sum(axis=1) - np.where(here, log_scale, 0.0).sum(axis=1)
    return Turned(Frames(frames.arrays | {"whitener": whitener}), rotation, volume)
