"""How long to wait before the next attempt to connect."""

from __future__ import annotations

from random import Random

FIRST_S = 0.1
LONGEST_S = 2.0


class Backoff:
    """Doubles from FIRST_S to LONGEST_S, with jitter so that venues do not come back at one moment."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._next_s = FIRST_S

    def reset(self) -> None:
        """Starts over: the connection worked."""
        self._next_s = FIRST_S

    def next_s(self) -> float:
        """Seconds to wait now."""
        wait_s, self._next_s = self._next_s, min(LONGEST_S, 2 * self._next_s)
        return wait_s * (0.5 + self._random.random() / 2)
