"""Words of LLVM's own language, for the tiles of rows that LLVM does not find in a loop itself."""

from typing import Any, NamedTuple

from numba import config, types
from numba.core import cgutils, codegen

jit_is_off = bool(getattr(config, "DISABLE_JIT", False))
LANES = 8
"""Numbers that a sum adds side by side. It is the same for every machine, so that sums have the same bits on all."""


def _has_avx512():
    """Whether code is made for AVX-512. It decides the shapes of tiles, and the bits of nothing."""
    features = getattr(config, "CPU_FEATURES", None)
    return "+avx512f" in features if features is not None else bool(codegen.ll.get_host_cpu_features().get("avx512f"))


has_avx512 = _has_avx512()

ir = cgutils.ir
DOUBLE, SINGLE, INT32, INT64 = ir.DoubleType(), ir.FloatType(), ir.IntType(32), ir.IntType(64)


class Matrix(NamedTuple):
    """Pointer to the first number of an array, its shape, and bytes from one row to the next."""

    first: Any
    shape: list
    row_bytes: Any

    @property
    def width(self):
        """Length of the last axis."""
        return self.shape[-1]


def number(value):
    """Return a whole number."""
    return ir.Constant(INT64, value)


class Code:  # pragma: no cover - runs in the compiler
    """What writes the code of a tile; numbers and vectors are those of LLVM.

    Attributes
    ----------
    builder : llvmlite.ir.IRBuilder
    kind : llvmlite.ir.VectorType
        Of the vectors of the tile.
    """

    def __init__(self, builder, kind):
        self.builder, self.kind = builder, kind

    def at(self, pointer, *terms):
        """Return the pointer moved by a sum of numbers."""
        for term in terms:
            pointer = self.builder.gep(pointer, [number(term) if isinstance(term, int) else term])
        return pointer

    def times(self, *factors):
        """Return a product of whole numbers."""
        first, *others = (number(factor) if isinstance(factor, int) else factor for factor in factors)
        for other in others:
            first = self.builder.mul(first, other)
        return first

    def value(self, pointer, *terms):
        """Return the number at a pointer moved by a sum."""
        return self.builder.load(self.at(pointer, *terms))

    def load(self, pointer, offset, kind=None):
        """Return the vector that begins so many numbers behind a pointer."""
        kind = self.kind if kind is None else kind
        return self.builder.load(self.builder.bitcast(self.at(pointer, offset), kind.as_pointer()), align=4)

    def store(self, vector, pointer, offset):
        """Write a vector to where `load` would read it."""
        place = self.builder.bitcast(self.at(pointer, offset), vector.type.as_pointer())
        self.builder.store(vector, place, align=4)

    def splat(self, value):
        """Return a vector with the same value in each lane."""
        kind = ir.VectorType(value.type, self.kind.count)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(INT32, 0))
        return self.builder.shuffle_vector(
            first, first, ir.Constant(ir.VectorType(INT32, kind.count), [0] * kind.count)
        )

    def zero(self):
        """Return a vector of zeros."""
        return ir.Constant(self.kind, [0.0] * self.kind.count)

    def transposed(self, vectors):
        """Turn over as many vectors as they have lanes."""
        size, v = len(vectors), list(vectors)
        half, masks = size // 2, ir.VectorType(INT32, size)
        while half:  # swap the off-diagonal blocks, then within blocks of half the size
            low = ir.Constant(masks, [i if not i & half else size + i - half for i in range(size)])
            high = ir.Constant(masks, [i + half if not i & half else size + i for i in range(size)])
            for i in range(size):
                if not i & half:
                    v[i], v[i + half] = (self.builder.shuffle_vector(v[i], v[i + half], mask) for mask in (low, high))
            half //= 2
        return v

    def repeat(self, stop, step, begun, turn, start=None):
        """Let values pass ``turn(i, values)`` for i = start (0), start + step, … below stop, and return the last."""
        builder, start = self.builder, number(0) if start is None else start
        before, here, after = builder.block, builder.append_basic_block("turn"), builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed("<", start, stop), here, after)
        builder.position_at_end(here)
        i, values = builder.phi(INT64), [builder.phi(first.type) for first in begun]
        new = turn(i, values)
        following = builder.add(i, number(step))
        for value, first, last in zip([i, *values], [start, *begun], [following, *new], strict=True):
            value.add_incoming(first, before)
            value.add_incoming(last, here)
        builder.cbranch(builder.icmp_signed("<", following, stop), here, after)
        builder.position_at_end(after)
        found = [builder.phi(first.type) for first in begun]
        for value, first, last in zip(found, begun, new, strict=True):
            value.add_incoming(first, before)
            value.add_incoming(last, here)
        return found

    def fma(self, a, b, total):
        """Return a b + total, rounded once."""
        name = f"llvm.fma.v{self.kind.count}f{64 if self.kind.element == DOUBLE else 32}"
        kind = ir.FunctionType(self.kind, [self.kind] * 3)
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [a, b, total])

    def sum_products(self, stop, step, begun, factors):
        """Add Σ a_c b_v over a loop to vectors {(c, v): vector}; ``factors(i)`` returns the a_c and b_v of a turn."""

        def turn(i, totals):
            a, b = factors(i)
            return [self.fma(a[c], b[v], total) for (c, v), total in zip(begun, totals, strict=True)]

        return dict(zip(begun, self.repeat(stop, step, list(begun.values()), turn), strict=True))

    def fold(self, vectors):
        """Return the sum of all numbers in vectors: the second half is added to the first, and so on."""
        while len(vectors) > 1:
            half = len(vectors) // 2
            vectors = [self.builder.fadd(*pair) for pair in zip(vectors[:half], vectors[half:], strict=True)]
        [vector], size = vectors, self.kind.count
        while size > 1:
            size //= 2
            masks = ir.VectorType(INT32, size)
            low, high = (
                self.builder.shuffle_vector(vector, vector, ir.Constant(masks, [*range(first, first + size)]))
                for first in (0, size)
            )
            vector = self.builder.fadd(low, high)
        return self.builder.extract_element(vector, ir.Constant(INT32, 0))


def code_of(generate, kind, *argument_types, result=types.void):  # pragma: no cover - runs in the compiler
    """Return what an intrinsic returns: its signature, and what writes its code.

    ``generate(code, *arguments)`` is given a `Code` for vectors of a kind, and returns the result if there is one. An
    array is given as a `Matrix`.
    """

    def matrix(context, builder, kind, argument):
        if not isinstance(kind, types.Array):
            return argument
        array = context.make_array(kind)(context, builder, argument)
        shape = [builder.extract_value(array.shape, axis) for axis in range(kind.ndim)]
        return Matrix(array.data, shape, builder.extract_value(array.strides, 0))

    def generated(context, builder, signature, arguments):
        pairs = zip(signature.args, arguments, strict=True)
        value = generate(Code(builder, kind), *(matrix(context, builder, *pair) for pair in pairs))
        return context.get_dummy_value() if value is None else value

    return result(*argument_types), generated
