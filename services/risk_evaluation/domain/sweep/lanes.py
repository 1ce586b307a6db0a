"""Vectors of floats as numba values: a lane a scenario, so that no width of a machine reorders a sum (I8).

LLVM's own vector types are used rather than loops it may or may not vectorise: accumulators stay in registers. The
number of lanes is part of the type; a kernel learns it from the length of a tuple, `shape(16)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, register_model

from services.risk_evaluation.domain.arrays import F8

F = TypeVar("F", bound=Callable[..., object])
Machine = Callable[..., Any]
FOLD = 8
LINE_BYTES = 64
_INT32 = ir.IntType(32)


def machine(function: F) -> Machine:
    """What numba puts LLVM's instructions in for."""
    return cast(Machine, intrinsic(function))


def shape(lanes: int) -> tuple[int, ...]:
    """What tells a kernel a number of lanes."""
    return (0,) * lanes


def aligned(count: int) -> F8:
    """Zeros that begin at a cache line, so that no row of lanes lies over one more line than it must."""
    raw = np.zeros(count + LINE_BYTES // 8)
    skip = (-raw.ctypes.data // 8) % (LINE_BYTES // 8)
    return raw[skip : skip + count]


class LanesType(types.Type):
    """So many float64 side by side."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Lanes({count})")


class LanesModel(models.PrimitiveModel):
    """Lanes are one LLVM vector."""

    def __init__(self, manager: Any, kind: LanesType) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.DoubleType(), kind.count))  # type: ignore[no-untyped-call]


register_model(LanesType)(LanesModel)


def _pick(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INT32, len(lanes)), lanes))


def _of(builder: Any, a: Any, lanes: list[int]) -> Any:
    return _pick(builder, a, ir.Constant(a.type, ir.Undefined), lanes)


def _splat(builder: Any, value: Any, count: int) -> Any:
    empty = ir.Constant(ir.VectorType(ir.DoubleType(), count), ir.Undefined)
    return _of(builder, builder.insert_element(empty, value, ir.Constant(_INT32, 0)), [0] * count)


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _zeros(kind: Any) -> Any:
    return ir.Constant(kind, [0.0] * kind.count)


def _fold(builder: Any, value: Any, count: int) -> Any:
    parts = [_of(builder, value, list(range(at, at + FOLD))) for at in range(0, count, FOLD)]
    while len(parts) > 1:
        parts = [_larger(builder, *parts[at : at + 2]) if at + 1 < len(parts) else parts[at]
                 for at in range(0, len(parts), 2)]  # fmt: skip
    return parts[0]


def _contiguous(array: Any) -> None:
    if array.layout != "C":
        raise TypingError(f"expected an array whose elements lie side by side, was {array}")


@machine
def zeros(typing: Any, shape: Any) -> Any:
    """Lanes of 0."""
    kind = LanesType(shape.count)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _zeros(context.get_value_type(kind))

    return kind(shape), build


@machine
def load(typing: Any, array: Any, offset: Any, shape: Any) -> Any:
    """Lanes from an array of floats; nothing checks that they are there."""
    _contiguous(array)
    kind = LanesType(shape.count)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        vector = context.get_value_type(kind).as_pointer()
        loaded = builder.load(builder.bitcast(builder.gep(data, [arguments[1]]), vector))
        loaded.align = 8
        return loaded

    return kind(array, types.intp, shape), build


@machine
def at(typing: Any, array: Any, index: Any) -> Any:
    """Element of an array; the index is neither checked nor wrapped around."""
    _contiguous(array)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return context.unpack_value(builder, signature.args[0].dtype, builder.gep(data, [arguments[1]]))

    return array.dtype(array, types.intp), build


@machine
def fetch(typing: Any, array: Any, index: Any) -> Any:
    """Asks for the cache line of an element, ahead of its use."""
    _contiguous(array)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, _INT32, _INT32, _INT32])
        insert = cast(Machine, cgutils.get_or_insert_function)
        function = insert(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, *(ir.Constant(_INT32, each) for each in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), build


@machine
def times(typing: Any, lanes: Any, factor: Any) -> Any:
    """Each lane by the same factor."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fmul(arguments[0], _splat(builder, arguments[1], lanes.count))

    return lanes(lanes, types.float64), build


@machine
def plus(typing: Any, a: Any, b: Any) -> Any:
    """Sums lane by lane."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(arguments[0], arguments[1])

    return a(a, a), build


@machine
def minus(typing: Any, a: Any, b: Any) -> Any:
    """Differences lane by lane."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fsub(arguments[0], arguments[1])

    return a(a, a), build


@machine
def larger(typing: Any, a: Any, b: Any) -> Any:
    """The larger of two, lane by lane."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _larger(builder, arguments[0], arguments[1])

    return a(a, a), build


@machine
def gains(typing: Any, a: Any) -> Any:
    """max(lane, 0)."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _larger(builder, arguments[0], _zeros(arguments[0].type))

    return a(a), build


@machine
def sizes(typing: Any, a: Any) -> Any:
    """|lane|."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        negated = builder.fsub(ir.Constant(arguments[0].type, [-0.0] * a.count), arguments[0])
        return _larger(builder, arguments[0], negated)

    return a(a), build


@machine
def largest(typing: Any, a: Any) -> Any:
    """The largest of all lanes; their number is a multiple of eight."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = _fold(builder, arguments[0], a.count)
        for half in (4, 2, 1):
            value = _larger(builder, value, _of(builder, value, [lane ^ half for lane in range(FOLD)]))
        return builder.extract_element(value, ir.Constant(_INT32, 0))

    return types.float64(a), build


@machine
def worst_pair(typing: Any, a: Any, b: Any) -> Any:
    """Four lanes: twice the largest of a, twice the largest of b; half the work of finding them apart."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, y = _fold(builder, arguments[0], a.count), _fold(builder, arguments[1], b.count)
        low = _pick(builder, x, y, [0, 1, 2, 3, 8, 9, 10, 11])
        both = _larger(builder, low, _pick(builder, x, y, [4, 5, 6, 7, 12, 13, 14, 15]))
        four = _larger(builder, _of(builder, both, [0, 1, 4, 5]), _of(builder, both, [2, 3, 6, 7]))
        return _larger(builder, four, _of(builder, four, [1, 0, 3, 2]))

    return LanesType(4)(a, b), build


@machine
def larger_of_pairs(typing: Any, a: Any) -> Any:
    """Four lanes: twice the larger of the first two, twice that of the last two."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _larger(builder, arguments[0], _of(builder, arguments[0], [1, 0, 3, 2]))

    return a(a), build


@machine
def lane(typing: Any, lanes: Any, number: Any) -> Any:
    """One lane."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.extract_element(arguments[0], arguments[1])

    return types.float64(lanes, types.intp), build


@machine
def first_equal(typing: Any, lanes: Any, value: Any) -> Any:
    """Number of the first lane that equals a value, which one does."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        same = builder.fcmp_ordered("==", arguments[0], _splat(builder, arguments[1], lanes.count))
        mask = builder.zext(builder.bitcast(same, ir.IntType(lanes.count)), ir.IntType(64))
        return builder.cttz(mask, ir.Constant(ir.IntType(1), 0))

    return types.int64(lanes, types.float64), build
