"""Points at which a process can be told to die or to stand still, so that a test chooses the worst moment."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum


class Failpoint(StrEnum):
    """Moments in the life of an owner."""

    ACKNOWLEDGED = "acknowledged"  # the broker has a frame, this process has not read it back
    READ_BACK = "read_back"  # a frame is read back accepted, nobody here has been told
    CHECKPOINT = "checkpoint"  # a batch of a checkpoint's items is written, its head is not
    HEAD = "head"  # a checkpoint's head is written, what it makes obsolete is not removed


_ONE = f"({'|'.join(Failpoint)}):([1-9][0-9]{{0,8}}):(kill|stop)"
PLAN = f"^$|^{_ONE}(,{_ONE})*$"


class Failpoints:
    """Acts when a point is reached for the given time.

    Args:
        plan: as `read_back:17:kill,checkpoint:2:stop`: at the 17th frame read back, and in the second batch; "" never.
        act: kills or stops the process at once, by that word.
    """

    def __init__(self, plan: str = "", *, act: Callable[[str], None] | None = None) -> None:
        self._act = act
        self._left = {Failpoint(point): int(count) for point, count, _ in re.findall(_ONE, plan)}
        self._deeds = {Failpoint(point): deed for point, _, deed in re.findall(_ONE, plan)}

    def reach(self, point: Failpoint) -> None:
        """The process is there."""
        left = self._left.get(point)
        if left is None:
            return
        self._left[point] = left - 1
        if left == 1 and self._act is not None:
            self._act(self._deeds[point])
