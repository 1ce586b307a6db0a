"""The functions of libs/options/normal.py in machine code: the same source, so the same bits."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import TypeVar, cast

import numba
import numpy as np

from libs.options import normal
from libs.options.normal import INVERSE_SQRT_2PI
from services.risk_evaluation.domain.arrays import F8

__all__ = [
    "INVERSE_SQRT_2PI", "compiled", "exp", "exp_each", "log", "log_each", "machine", "normal_cdf", "normal_density",
    "upper_tail",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """The function in machine code: strict IEEE arithmetic, no fused or reordered operation, cached on disk."""
    return cast(F, numba.njit(cache=True, fastmath=False, error_model="numpy", nogil=True)(function))


def machine(function: F, **calls: object) -> F:
    """A plain function in machine code, calling these instead of the plain ones that it names."""
    plain = cast(FunctionType, function)
    bound = FunctionType(plain.__code__, {**plain.__globals__, **calls}, plain.__name__, plain.__defaults__)
    bound.__module__, bound.__qualname__ = plain.__module__, plain.__qualname__
    return cast(F, compiled(bound))


exp = machine(normal.exp)
log = machine(normal.log)
upper_tail = machine(normal.upper_tail)
normal_cdf = machine(normal.normal_cdf, exp=exp, upper_tail=upper_tail)
normal_density = machine(normal.normal_density, exp=exp)


@compiled
def exp_each(x: F8) -> F8:
    """e^x of each element of a vector."""
    out = np.empty(x.shape[0])
    for i in range(x.shape[0]):
        out[i] = exp(x[i])
    return out


@compiled
def log_each(x: F8) -> F8:
    """ln x of each element of a vector."""
    out = np.empty(x.shape[0])
    for i in range(x.shape[0]):
        out[i] = log(x[i])
    return out
