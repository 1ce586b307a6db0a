"""Machine code kept on disk: strict arithmetic, and a name that changes with everything the code was made from.

Numba looks at one source file alone when it takes machine code from disk; what that file calls may have changed since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """The function in machine code: IEEE arithmetic as written, nothing fused or reordered, cached on disk.

    It may not make arrays: counting references costs more than a margin.
    """
    return _made(function, forceinline=False)


def inlined(function: F) -> F:
    """The same, put into whatever calls it: passing a score of arrays costs as much as a margin."""
    return _made(function, forceinline=True)


def _made(function: F, *, forceinline: bool) -> F:
    function.__qualname__ = f"{function.__qualname__}_{digest(function)}"
    options = {"cache": True, "fastmath": False, "error_model": "numpy", "nogil": True, "_nrt": False}
    return cast(F, cast(Any, njit)(**options, forceinline=forceinline)(function))


def digest(function: Any) -> str:
    """Of the function's code, of the constants it names, and of all the functions it calls."""
    total = hashlib.sha256()
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        plain = waiting.pop()
        if id(plain) in seen:
            continue
        seen.add(id(plain))
        for code in _codes(plain.__code__):
            constants = [each for each in code.co_consts if not isinstance(each, CodeType)]
            total.update(code.co_code + repr((constants, code.co_names, code.co_varnames)).encode())
            for name in code.co_names:
                value = plain.__globals__.get(name)
                value = getattr(value, "py_func", getattr(value, "_defn", value))
                if isinstance(value, FunctionType):
                    waiting.append(value)
                elif isinstance(value, int | float | str | tuple):
                    total.update(repr((name, value)).encode())
    return total.hexdigest()[:16]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)
