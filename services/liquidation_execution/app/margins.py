"""The latest published margin of an account, from the last frames of its partition."""

from __future__ import annotations

from collections import defaultdict, deque

from ballast.events.v1 import risk_pb2
from libs.common.units import Usd6
from libs.common.validity import ValidityClass
from services.liquidation_execution.domain.episodes import MarginRow

FRAMES_KEPT = 64  # rows come with the fold of the opening they belong to, or a little before it

Version = tuple[int, int, int]


class _Frame:
    __slots__ = ("frame", "rows", "version")

    def __init__(self, frame: risk_pb2.MarginFrame) -> None:
        self.frame = frame
        self.version = (frame.journal_sequence, frame.mark_sequence, frame.control_sequence)
        self.rows = {account: row for row, account in enumerate(frame.account)}


class MarginTable:
    """The last frames of every partition, newest last."""

    def __init__(self) -> None:
        self._frames: defaultdict[int, deque[_Frame]] = defaultdict(lambda: deque(maxlen=FRAMES_KEPT))

    def add(self, frame: risk_pb2.MarginFrame) -> bool:
        """Takes a frame; False when it is older than the newest one, as of a worker that was replaced."""
        frames, new = self._frames[frame.partition], _Frame(frame)
        if frames and new.version < frames[-1].version:
            return False
        if frame.full:
            frames.clear()
        frames.append(new)
        return True

    def row(self, partition: int, account: int) -> MarginRow | None:
        """The account's row in the newest frame that has it."""
        for one in reversed(self._frames.get(partition, ())):
            row = one.rows.get(account)
            if row is not None:
                return _row(one.frame, row)
        return None


def _row(frame: risk_pb2.MarginFrame, row: int) -> MarginRow:
    return MarginRow(
        journal_sequence=frame.journal_sequence,
        mark_sequence=frame.mark_sequence,
        control_sequence=frame.control_sequence,
        run_time_ns=frame.run_time_ns,
        equity=Usd6(frame.equity[row]),
        initial=Usd6(frame.initial_margin[row]),
        maintenance=Usd6(frame.maintenance_margin[row]),
        validity=ValidityClass(frame.validity[row]),
    )
