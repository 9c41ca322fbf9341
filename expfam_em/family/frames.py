"""Coordinates of single components, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expfam_em.rows.typing import Integers


@dataclass(frozen=True, eq=False)
class Frames:
    """What a family needs to know of the coordinates of each component: arrays with a leading component axis.

    The arrays are named by the family. ``own`` (C,) bool says which components have coordinates of their own; the
    rows of all arrays are 0 for the others, which are in the coordinates shared by all.

    A family that is made of others keeps the arrays of part j under names that begin with ``j/``.
    """

    arrays: dict[str, np.ndarray]

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> Frames | None:
        """Return frames, or None if no component has coordinates of its own."""
        own = [value for name, value in arrays.items() if name.rpartition("/")[2] == "own"]
        return cls(arrays) if any(value.any() for value in own) else None

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def take(self, index: Any) -> Frames | None:
        """Return the frames of some components, in the order of an index array."""
        return Frames.of({name: value[index] for name, value in self.arrays.items()})

    @staticmethod
    def concatenate(lots: Sequence[Frames | None], n_components: int) -> Frames | None:
        """Return the frames of several lots of ``n_components`` components, one lot after another."""
        like = {name: value for lot in lots if lot is not None for name, value in lot.arrays.items()}

        def rows(lot: Frames | None, name: str, value: np.ndarray) -> np.ndarray:
            known = None if lot is None else lot.arrays.get(name)
            return np.zeros((n_components, *value.shape[1:]), value.dtype) if known is None else known

        lots_of = {name: [rows(lot, name, value) for lot in lots] for name, value in like.items()}
        return Frames.of({name: np.concatenate(parts) for name, parts in lots_of.items()})

    @staticmethod
    def of_parts(parts: Sequence[Frames | None]) -> Frames | None:
        """Return the frames of the parts as those of the whole."""
        named = [(j, part.arrays) for j, part in enumerate(parts) if part is not None]
        return Frames.of({f"{j}/{name}": value for j, arrays in named for name, value in arrays.items()})

    def differ(self, other: Frames | None) -> np.ndarray:
        """Return which components have other coordinates than in ``other``, frames of as many, (C,) bool."""
        changed = np.zeros(len(self), bool)
        for name, value in self.arrays.items():
            known = 0 if other is None else other.arrays.get(name, 0)
            changed |= np.any((value != known).reshape(len(self), -1), axis=1)
        return changed

    def part(self, j: int) -> Frames | None:
        """Return the frames of part j."""
        start = f"{j}/"
        return Frames.of({
            name.removeprefix(start): value for name, value in self.arrays.items() if name.startswith(start)
        })  # fmt: skip

    def scattered(self, at: Integers, n_components: int) -> Frames:
        """Return the frames of ``n_components`` components, these standing at some places among them."""

        def spread(value: np.ndarray) -> np.ndarray:
            out = np.zeros((n_components, *value.shape[1:]), value.dtype)
            out[at] = value
            return out

        return Frames({name: spread(value) for name, value in self.arrays.items()})
