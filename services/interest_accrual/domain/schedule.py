"""Which ticks of a schedule are due: tick k stands at genesis + k x period of run time."""

from __future__ import annotations

from libs.common.units import UnixNs, mul_div_down


def last_due(*, genesis_ns: UnixNs, period_ns: int, now_ns: UnixNs) -> int:
    """Number of the last tick that is due, 0 before the first."""
    return max(0, mul_div_down(now_ns - genesis_ns, 1, period_ns))


def tick_time(tick: int, *, genesis_ns: UnixNs, period_ns: int) -> UnixNs:
    """Run time of a tick."""
    return UnixNs(genesis_ns + tick * period_ns)
