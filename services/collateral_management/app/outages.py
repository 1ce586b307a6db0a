"""Notices when the house stood still: no marks for too long, or commands that waited too long to be handled."""

from __future__ import annotations


class Outages:
    """What one owner of a partition has seen.

    Args:
        longest_s: wall time from which a silence or a wait is an outage.
    """

    def __init__(self, *, longest_s: float) -> None:
        self._longest_s = longest_s
        self._alive_at_s: float | None = None  # when the marks were last seen alive; before that it cannot tell
        self.at_ns = 0  # run time of the last one noticed

    def notice(self, *, now_s: float, now_ns: int, alive: bool, waited_s: float) -> bool:
        """Whether an outage has just ended: the marks beat again, or the commands that waited are here.

        Args:
            alive: the marks beat now.
            waited_s: how long the oldest of the commands that are here has waited.
        """
        silent_s = now_s - self._alive_at_s if alive and self._alive_at_s is not None else 0.0
        if alive:
            self._alive_at_s = now_s
        if max(silent_s, waited_s) < self._longest_s:
            return False
        self.at_ns = now_ns
        return True
