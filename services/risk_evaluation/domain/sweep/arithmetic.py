"""Plain arithmetic of lanes, so that a formula reads and rounds as it does for one number."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import overload

from services.risk_evaluation.domain.sweep.lanes import LanesType, Machine, machine

_INT64 = ir.IntType(64)
_MANTISSA_BITS, _EXPONENT_BIAS = 52, 1023


def spread(builder: Any, value: Any, count: int) -> Any:
    """A number in every lane."""
    kind = ir.VectorType(ir.DoubleType(), count)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    nowhere = ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), nowhere)


def _operation(name: str) -> Machine:
    def define(typing: Any, a: Any, b: Any) -> Any:
        kind = a if isinstance(a, LanesType) else b
        signature = kind(
            a if isinstance(a, LanesType) else types.float64, b if isinstance(b, LanesType) else types.float64
        )

        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            both = [
                value if isinstance(of, LanesType) else spread(builder, value, kind.count)
                for of, value in zip(signature.args, arguments, strict=True)
            ]
            return getattr(builder, name)(*both)

        return signature, build

    return machine(define)


_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE = (_operation(name) for name in ("fadd", "fsub", "fmul", "fdiv"))


def _overloaded(of: Callable[..., Any], one: Machine) -> None:
    def choose(a: Any, b: Any) -> Any:
        if isinstance(a, LanesType) or isinstance(b, LanesType):
            return lambda a, b: one(a, b)
        return None

    choose.__annotations__.clear()  # numba compares signatures with those of what it is given back
    overload(of)(choose)


_overloaded(operator.add, _ADD)
_overloaded(operator.sub, _SUBTRACT)
_overloaded(operator.mul, _MULTIPLY)
_overloaded(operator.truediv, _DIVIDE)


def _one_to_one(name: str) -> Machine:
    def define(typing: Any, a: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector = arguments[0].type
            kind = ir.FunctionType(vector, [vector])
            insert: Machine = cgutils.get_or_insert_function
            function = insert(builder.module, kind, f"llvm.{name}.v{a.count}f64")
            return builder.call(function, arguments)

        return a(a), build

    return machine(define)


floors: Machine = _one_to_one("floor")  # each lane rounded down to a whole number
absolutes: Machine = _one_to_one("fabs")


@machine
def powers_of_two(typing: Any, a: Any) -> Any:
    """2^lane of whole lanes in -1022 .. 1023."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.VectorType(_INT64, a.count)
        whole = builder.fptosi(arguments[0], kind)
        biased = builder.add(whole, ir.Constant(kind, [_EXPONENT_BIAS] * a.count))
        return builder.bitcast(builder.shl(biased, ir.Constant(kind, [_MANTISSA_BITS] * a.count)), arguments[0].type)

    return a(a), build


@machine
def where_above(typing: Any, a: Any, bound: Any, above: Any, otherwise: Any) -> Any:
    """Lane by lane: `above` where `a` exceeds the bound, else `otherwise`."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, bound, above, otherwise = arguments
        return builder.select(builder.fcmp_ordered(">", lanes, spread(builder, bound, a.count)), above, otherwise)

    return a(a, types.float64, above, otherwise), build


@machine
def any_above(typing: Any, a: Any, bound: Any) -> Any:
    """Whether some lane exceeds the bound."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        same = builder.fcmp_ordered(">", arguments[0], spread(builder, arguments[1], a.count))
        mask = builder.bitcast(same, ir.IntType(a.count))
        return builder.icmp_unsigned("!=", mask, ir.Constant(mask.type, 0))

    return types.boolean(a, types.float64), build


@machine
def all_above(typing: Any, a: Any, bound: Any) -> Any:
    """Whether every lane exceeds the bound; what is no number does not."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        same = builder.fcmp_ordered(">", arguments[0], spread(builder, arguments[1], a.count))
        mask = builder.bitcast(same, ir.IntType(a.count))
        return builder.icmp_unsigned("==", mask, ir.Constant(mask.type, 2**a.count - 1))

    return types.boolean(a, types.float64), build


@machine
def keep(typing: Any, array: Any, offset: Any, lanes: Any) -> Any:
    """Writes lanes to an array whose elements lie side by side; nothing checks that there is room."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), arguments[2].type.as_pointer())
        builder.store(arguments[2], place, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), build
