"""Mass and moments of a density by summation and quadrature, over one or two columns of a row.

Columns are mapped to the real line (asinh, log, logit), where the mass is found and whitened. There trapezoids converge
exponentially for smooth densities, singular ends and polynomial tails included, and coarser ones tell the error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from expfam_em.checking.support import possible
from expfam_em.family import checked

MAX_TABLE_ENTRIES = 1 << 24  # nodes times statistics that are held at a time
MAX_NODES = 1 << 19
ATTEMPTS = 14
REACH, STEP = 12.0, 0.125  # of the trapezoids, in standard deviations of the mapped columns
GROWTH = 1.6
AT_EDGE = 1e-10  # share of the mass on the outermost nodes below which no more of it is expected beyond them
AT_LIMIT = 1e-7  # the same on the last unit of u before x rounds to an end: about as much may lie beyond it
RESOLVED = 5e-7  # difference to twice the step; at a kink three times the error, much more where all is smooth
NEXT_TO_0, NOT_FALLEN = 1e-200, 0.1
"""A number beside an end at 0, and the share of the largest term that is left there of an integral without an end."""

DIVERGES, COARSE, TOO_LARGE = (
    "it diverges",
    "its nodes do not resolve the density",
    "there are too many rows to sum over",
)


class Moments(NamedTuple):
    """What was found under one density: ``trouble`` is "" or why there is nothing."""

    trouble: str
    log_mass: float = np.nan
    mean: np.ndarray = np.empty(0)
    deviation: np.ndarray = np.empty(0)
    log_base: float = np.nan
    size: float = 0.0


class Density:
    """log p(x|η) as a function of some columns of a row.

    With ``plane``, directions (d, c) in which rows never vary, only possible rows of the same exposure in that plane
    count.
    """

    def __init__(self, family, natural, row, free, plane=None):
        self.family, self.natural, self.row, self.free, self.plane = family, natural, row, free, plane
        self.partition = checked.log_partition(family, natural[None])[0]
        size = family.exposure(row[None])
        self.exposure = 1.0 if size is None else float(size[0])

    def counted(self, rows):
        """Return which rows belong to the sum."""
        if self.plane is None:
            return np.ones(len(rows), bool)
        off = np.abs((rows - self.row) @ self.plane)
        keep = np.all(off <= 1e-9 * (1 + np.abs(rows).max(axis=1, keepdims=True)), axis=1)
        size = self.family.exposure(rows)
        if size is not None:
            keep &= np.abs(size - self.exposure) <= 1e-12 * self.exposure
        keep[keep] = possible(self.family, rows[keep])
        return keep

    def evaluate(self, values):
        """Return log p, T, log h and the size of the terms that are added; log p is −∞ where it is undefined."""
        rows = np.tile(self.row, (len(values), 1))
        rows[:, self.free] = values
        keep = self.counted(rows)
        some = rows[keep] if keep.any() else self.row[None]
        T, log_h = checked.statistics(self.family, some)[0], checked.log_base_measure(self.family, some)
        log_p, all_T, all_h = np.full(len(rows), -np.inf), np.zeros((len(rows), T.shape[1])), np.zeros(len(rows))
        if keep.any():
            total = T @ self.natural - self.exposure * self.partition + log_h
            log_p[keep], all_T[keep], all_h[keep] = np.where(np.isnan(total), -np.inf, total), T, log_h
        size = np.abs(all_T) @ np.abs(self.natural) + np.abs(self.exposure * self.partition) + np.abs(all_h)
        return log_p, all_T, all_h, size


class _Nodes:
    """A grid over some axes, and where on it the mass was found last."""

    def __init__(self, axes, rows, weight):
        self.axes = axes
        self.smooth = [j for j, axis in enumerate(axes) if not axis.whole]
        self.reach, self.step = REACH, STEP * max(1, len(self.smooth))
        weight = weight / weight.sum()
        self.scale_to(rows, weight)
        U = [self.axes[j].to_line(rows[:, j], self.centre[j], self.scale[j]) for j in self.smooth]
        # rows may lie on an end
        self.place(np.clip(np.reshape(U, (-1, len(rows))).T, -30, 30), weight, np.full(len(self.smooth), 1e-2))

    def scale_to(self, rows, weight):
        """Set the centre and the scale of columns by weighted quantiles, which do not suffer from long tails."""
        self.middle = weight @ rows
        self.spread = np.sqrt(weight @ (rows - self.middle) ** 2)
        order = np.argsort(rows, axis=0)
        below = np.cumsum(weight[order], axis=0)
        at = [np.argmax(below >= share, axis=0) for share in (0.16, 0.5, 0.84)]
        low, self.centre, high = np.take_along_axis(np.take_along_axis(rows, order, 0), np.array(at), 0)
        self.scale = np.where(high > low, (high - low) / 2, np.where(self.spread > 0, self.spread, 1.0))

    def relocate(self, x, U, share):
        """Centre the grid on the mass found on its nodes; whether it has moved."""
        before = np.concatenate([self.middle / self.scale, self.mu, np.diag(self.root)])
        here = share > 0
        if np.isfinite(x[here]).all():
            x, U, share, scale = x[here], U[here].copy(), share[here], self.scale
            self.scale_to(x, share)
            for i, j in enumerate(self.smooth):
                if any(self.axes[j].ends):
                    self.scale[j] = scale[j]  # another one would only shift u
                else:
                    U[:, i] = self.axes[j].to_line(x[:, j], self.centre[j], self.scale[j])
            self.place(U, share, 0.3 * self.step * np.diag(self.root))
        after = np.concatenate([self.middle / self.scale, self.mu, np.diag(self.root)])
        return not np.allclose(after, before, rtol=0.1, atol=0.1)

    def place(self, U, weight, least):
        """Whiten the mapped columns, given points of them with weights."""
        self.mu = weight @ U
        covariance = (U - self.mu).T @ ((U - self.mu) * weight[:, None])
        self.root = np.linalg.cholesky(covariance + np.diag(least**2 + 1e-12 * np.diag(covariance)))

    def axis_nodes(self, reach, step):
        """Return integer positions on each axis, and of those the first and the last ones that are no end."""
        positions: list[np.ndarray] = []
        edges: list[tuple[float, float]] = []
        half = 8 * int(np.ceil(reach / step / 8))
        for j, axis in enumerate(self.axes):
            if not axis.whole:
                positions.append(np.arange(-half, half + 1))
                edges.append((-half, half))
                continue
            width = reach * self.spread[j] + 20 * reach / REACH
            low, high = max(axis.low, np.floor(self.middle[j] - width)), min(axis.high, np.ceil(self.middle[j] + width))
            positions.append(np.arange(low, high + 1) if high - low < MAX_NODES else np.empty(MAX_NODES + 1))
            edges.append((low if low > axis.low else np.nan, high if high < axis.high else np.nan))
        return positions, edges

    def grid(self, reach, step):
        """Return x, u, log weights, positions, and which nodes are at the edge and which close to an end; or None."""
        positions, edges = self.axis_nodes(reach, step)
        if np.prod([float(len(axis)) for axis in positions]) > (MAX_NODES if len(self.axes) < 3 else MAX_NODES / 8):
            return None
        at = np.stack(np.meshgrid(*positions, indexing="ij"), axis=-1).reshape(-1, len(self.axes)).astype(float)
        edge = np.any([(at[:, j] == low) | (at[:, j] == high) for j, (low, high) in enumerate(edges)], axis=0)
        x, log_weight, close = at.copy(), np.zeros(len(at)), np.zeros(len(at), bool)
        U = self.mu + step * at[:, self.smooth] @ self.root.T
        for i, j in enumerate(self.smooth):
            x[:, j], slope = self.axes[j].from_line(U[:, i], self.centre[j], self.scale[j])
            axis, (low, high) = self.axes[j], self.axes[j].limits()
            last = max(1.0, 2 * step * self.root[i].sum())
            below, above = U[:, i] < low + last, U[:, i] > high - last
            close |= (below & axis.ends[0]) | (above & axis.ends[1])
            edge |= (below & ~axis.ends[0]) | (above & ~axis.ends[1])
            outside = (U[:, i] < low) | (U[:, i] > high) | (x[:, j] <= axis.low) | (x[:, j] >= axis.high)
            log_weight += np.where(outside, -np.inf, slope + np.log(step * self.root[i, i]))
        return x, U, log_weight, at[:, self.smooth], edge, close


@np.errstate(all="ignore")
def integrate(density, axes, rows, weight) -> Moments:
    """Return the mass and moments of a density over axes; weighted rows say where to look first."""
    nodes = _Nodes(axes, rows, weight)
    reach, step = nodes.reach, nodes.step
    for _ in range(8):
        if (grid := nodes.grid(2 * reach, 4 * step)) is None:
            break
        top, share = _shares(density.evaluate(grid[0])[0], grid[2])
        if not np.isfinite(top) or not nodes.relocate(grid[0], grid[1], share / share.sum()):
            break
    trouble = ""
    for _ in range(ATTEMPTS):
        grid = nodes.grid(reach, step)
        if grid is None or len(grid[0]) * len(density.natural) > MAX_TABLE_ENTRIES:
            break
        found, trouble = _summed(density, grid)
        if found is not None:
            return found
        if trouble == COARSE:
            step /= 2
        else:
            reach *= GROWTH
    return Moments(trouble or TOO_LARGE)


def _shares(log_p, log_weight):
    """Return the largest term of the integral and the others as shares of it."""
    log_p = np.where(log_weight > -np.inf, log_p + log_weight, -np.inf)
    top = log_p.max()
    return top, np.exp(log_p - top)


def _summed(density, grid):
    """Return moments and "", or None and why the grid does not do."""
    x, _, log_weight, at, edge, close = grid
    log_p, T, log_h, size = density.evaluate(x)
    top, share = _shares(log_p, log_weight)
    if np.isposinf(top):
        return None, DIVERGES
    if top == -np.inf:
        return None, "the density is 0 wherever it was evaluated"
    total, here, largest = share.sum(), share > 0, int(np.argmax(share))
    share, T, log_h, size, at = share[here] / total, T[here], log_h[here], size[here], at[here]
    mean, deviation = _moments(share, T)
    log_base = float(share @ log_h)
    spread = np.maximum(deviation, 1e-12 * np.abs(mean))  # of a constant, the deviation is rounding
    spread = np.append(spread, max(_moments(share, log_h[:, None])[1][0], 1e-6 * (1 + abs(log_base))))
    Z = np.column_stack([T - mean, log_h - log_base]) / np.where(spread > 0, spread, 1.0)
    reached = share * (1 + np.abs(Z).max(axis=1))
    if reached[edge[here]].sum() > AT_EDGE or reached[close[here]].sum() > AT_LIMIT:
        # in steps of log x, what does not fall on a way of hundreds of them has no finite sum
        level = close[here] & (np.abs(x[here]) < NEXT_TO_0).any(axis=1) & (share > NOT_FALLEN * share.max())
        return None, DIVERGES if edge[largest] or level.any() else "mass is left far away, or close to an end"
    drift = [_drift(share, Z, at, times) for times in (2, 4, 8)]
    # trapezoids of a smooth density square their error when the step is halved, at a kink they divide it by 4 on
    # average; that two steps agree may be chance, three do not
    smooth = drift[0] ** 2 < RESOLVED / 10 and drift[0] <= 2 * drift[1] ** 2 and drift[1] <= 2 * drift[2] ** 2
    if not smooth and (drift[0] > RESOLVED or drift[1] > 16 * RESOLVED):
        return None, COARSE
    return Moments("", float(top + np.log(total)), mean, deviation, log_base, float(share @ size)), ""


def _moments(share, T):
    mean = share @ T
    return mean, np.sqrt(share @ (T - mean) ** 2)


def _drift(share, Z, at, times):
    """Return by how much the mass and the standardised means change if the step is a few times longer."""
    fewer = np.all(at % times == 0, axis=1)
    share = share[fewer] * float(times) ** at.shape[1]
    return max(abs(share.sum() - 1), np.abs(share @ Z[fewer]).max())
