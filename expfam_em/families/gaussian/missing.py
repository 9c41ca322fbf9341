"""Gaussian components of the observed columns of rows, in the frame that all components share or in their own.

A component with the frame z = R⁻¹ (x − a) has for the columns o the frame R_o⁻¹ (x_o − a_o), where R_o is the triangular
factor of the rows o of R. These coordinates are some of a rotation of z; the others belong to what is missing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from expfam_em.families.gaussian.packing import Constant, Sphere, Triangle
from expfam_em.families.special.linalg import solve_lower
from expfam_em.family.frames import Frames
from expfam_em.family.missing import Observed, masked
from expfam_em.kernels.marginals import complete, marginals
from expfam_em.rows.typing import Array, Integers, Mask


def observed(family: Any, natural: Array, which: Integers, present: Mask) -> Observed:
    """Return components of the observed columns of a `Gaussian`; see `MissingValues.observed`."""
    coordinates = family._coordinates(present.shape[1])
    frames = None if family.frames is None else coordinates.own(len(natural)).take(which.ravel())
    family = family.with_frames(None)  # those of single components are told by what is found
    of_form = _of_triangle if type(family._form) is Triangle else _of_columns
    return of_form(family, natural, which, present, frames, np.log(coordinates.scale))


def _of_columns(family, natural, which, present, frames, log_scale) -> Observed:
    """Return components whose covariances are diagonal."""
    form, (mean, covariance), d = family._form, family._form.moments(natural), present.shape[1]
    is_sphere = isinstance(form, Sphere) and not isinstance(form, Constant)
    partition = 0.5 * (mean**2 / covariance + (0.0 if isinstance(form, Constant) else np.log(covariance)))
    mask = np.tile(present, (1, natural.shape[1] // d))
    if is_sphere:
        mask = np.column_stack([mask, np.ones(len(mask), bool)])
    found = masked(family, natural, which, present, mask, partition, form.expectation(mean, covariance))
    if is_sphere:  # Σ z² is that of the columns present, for the z of the others are 0
        squares, of_columns = (covariance + mean**2)[which], found.complete

        def with_squares(counts: Array, sums: Array) -> Array:
            out = of_columns(counts, sums)
            out[:, :, d] += counts * np.where(present[:, None], 0.0, squares).sum(axis=2)
            return out

        found = found._replace(complete=with_squares)
    if frames is None:
        return found
    own, here = frames["own"][:, None], np.repeat(present, which.shape[1], axis=0)
    volume = np.log(np.where(own, frames["root"], 1.0)) - np.where(own, log_scale, 0.0)
    whitener = np.where(here, frames["whitener"][:, 0], 0.0)[:, None]
    return found._replace(
        family=family.with_frames(Frames(frames.arrays | {"whitener": whitener})),
        log_partition=found.log_partition + np.where(here, volume, 0.0).sum(axis=1).reshape(which.shape),
    )


def _of_triangle(family, natural, which, present, frames, log_scale) -> Observed:
    """Return components with any covariances."""
    form, (P, K), p = family._form, which.shape, natural.shape[1]
    of, linear, precision = which.ravel(), *form.linear_and_precision(natural)
    partition, turned = form.log_partition(natural)[of], None
    if frames is not None:
        turned = _turned(frames, np.repeat(present, K, axis=0), log_scale)
        Q, partition = turned.rotation, partition + turned.log_volume
        linear, precision = np.einsum("eij,ej->ei", Q, linear[of]), Q @ precision[of] @ np.swapaxes(Q, 1, 2)
        family, of = family.with_frames(turned.frames), np.arange(P * K)
    arrays = *map(np.ascontiguousarray, (linear, precision, of, present)), K
    eta, missed = np.empty((P * K, p)), np.empty(P * K)
    marginals(*arrays, eta, missed)
    log_partition = np.where(present.any(axis=1)[:, None], (partition - missed).reshape(P, K), 0.0)

    def completed(counts: Array, sums: Array) -> Array:
        out = np.empty((P * K, p))
        complete(*arrays, counts.ravel(), sums.reshape(-1, p), out)
        if turned is not None:
            back = np.swapaxes(turned.rotation, 1, 2)
            first, second = form.linear_and_second(out)
            out = form.packed(np.einsum("eij,ej->ei", back, first), back @ second @ turned.rotation)
        return out.reshape(P, K, p)

    return Observed(family, eta.reshape(P, K, p), log_partition, completed)


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
