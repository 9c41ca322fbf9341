"""Independent columns whose densities have known numbers beside their parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.families.columns import IndependentColumns
from expfam_em.rows.typing import Array, Block


def constant(name: str, value: ArrayLike | None, fine: Callable[[Array], Any], must_be: str) -> Any:
    """Return a known number as a float, or one for each column as a read-only array (d,).

    Raises
    ------
    ValueError
        If ``fine`` is not true of each, a function of arrays; ``must_be`` says what it asks for.
    """
    number = np.array(value, np.float64)
    if number.ndim > 1 or not np.all(np.isfinite(number) & fine(number)):
        raise ValueError(f"{name} is {value!r}; it must be {must_be}, for all columns or for each, (d,)")
    if number.ndim == 0:
        return float(number)
    number.flags.writeable = False
    return number


class ColumnsWithConstants(IndependentColumns):
    """Independent columns with ``constants``, which are named where the family is shown."""

    def check_support(self, X: Block) -> None:
        for name in self.constants:
            value = np.asarray(getattr(self, name))
            if value.ndim and len(value) != np.shape(X)[1]:
                raise ValueError(f"{self!r} has {name} for {len(value)} columns; X has {np.shape(X)[1]}")
        super().check_support(X)

    def __repr__(self) -> str:
        shown = (f"{name}={_shown(getattr(self, name))}" for name in self.constants)
        return f"{type(self).__name__}({', '.join(shown)})"


def _shown(value: Any) -> str:
    """Return 2 for 2.0 and [2, 0.5] for an array."""
    if np.ndim(value):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(float(value)).removesuffix(".0")
