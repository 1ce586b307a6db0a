"""An event loop whose time is virtual: waiting costs nothing, and a seed decides in which order things happen."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any


class NothingHappens(RuntimeError):
    """Every task waits for something that no timer will bring."""


class _NoInput(selectors.BaseSelector):
    """Nothing ever arrives from outside: asking for input until a time takes the clock there."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        self._advance = advance
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._keys[fileobj] = key = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise NothingHappens("expected a timer, was none")
        self._advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs timers in their order without waiting for them."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_NoInput(self._pass))

    def _pass(self, seconds: float) -> None:
        self._now_s += max(0.0, seconds)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now_s


def run_virtual(main: Coroutine[Any, Any, None]) -> float:
    """Runs a coroutine to its end, cancels what is left, and returns the virtual seconds that passed."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main)
        return runner.get_loop().time()
