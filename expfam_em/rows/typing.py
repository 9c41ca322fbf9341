"""Names for the types of arguments and results."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]
"""Natural parameters, statistics and everything else that is made in float64."""

Floats: TypeAlias = NDArray[np.floating[Any]]
"""Results of estimators: float32 where X was, float64 otherwise."""

Block: TypeAlias = NDArray[Any]
"""Rows of X, (n, d), whose entries may be of any type of number."""

Integers: TypeAlias = NDArray[np.int64]
"""Labels, indices of components and of columns."""

Mask: TypeAlias = NDArray[np.bool_]
"""Which rows or components are meant."""

Seed: TypeAlias = int | np.random.SeedSequence | np.random.BitGenerator | np.random.Generator | None
"""What `numpy.random.default_rng` takes."""

RandomState: TypeAlias = int | np.random.RandomState | np.random.Generator | None
"""What estimators take as ``random_state``."""


class SparseMatrix(Protocol):
    """A sparse matrix or array of SciPy."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of rows and columns."""

    def tocsr(self) -> Any:
        """Return the same in CSR format."""


Observations: TypeAlias = ArrayLike | SparseMatrix
"""Rows of X, (n, d), as users give them."""
