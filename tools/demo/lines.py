"""The run as plain lines, for logs and pipes: what happened, and every two seconds how things stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tools.demo.panels import duration, moment
from tools.demo.view import STATE_WORDS, STATES, View

BURST_MAX = 8  # happenings told one by one between two looks


class PlainLines:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._told = 0
        self._provenance = ""

    def status(self, view: View) -> Iterator[str]:
        """How things stand; before it which prices are recorded and which bridged, when that has changed."""
        if view.provenance and view.provenance != self._provenance:
            self._provenance = view.provenance
            yield f"prices: {view.provenance}"
        yield status_line(view)

    def news(self, view: View) -> Iterator[str]:
        """A line for each thing that happened since the last call; of a burst the first ones and a count."""
        new = [one for one in view.happenings if one.number > self._told]
        self._told = new[-1].number if new else self._told
        for one in new[:BURST_MAX]:
            yield f"{moment(one.run_time_ns)}  {one.text}" if one.run_time_ns else one.text
        if len(new) > BURST_MAX:
            kinds = Counter(one.kind.value for one in new[BURST_MAX:])
            more = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            yield f"{moment(new[-1].run_time_ns)}  and {len(new) - BURST_MAX} more: {more}"


def status_line(view: View) -> str:
    """How things stand, on one line."""
    clock = view.clock
    spots = [row for row in view.marks if row.symbol.count("-") == 1]
    prices = " ".join(
        f"{row.symbol.partition('-')[0]} {row.price:,.{row.digits}f}"
        + (f" ({row.change:+.1%})" if row.change is not None else "")
        for row in spots
    )
    states = " ".join(
        f"{STATE_WORDS[state]} {view.accounts_by_state[state]:,}"
        for state in STATES
        if state < len(view.accounts_by_state)
    )
    episodes = f"episodes {len(view.episodes)} open {view.closed_healthy} healthy {view.closed_emptied} emptied"
    parts = [
        moment(clock.run_time_ns) if clock.run_time_ns else "not begun",
        f"{clock.progress:.0%}",
        prices,
        states,
        f"calls {view.calls:,}",
        episodes,
        f"fills {view.slippage.fills + view.episode_slippage.fills:,}",
        *(f"{one.underlying} vol {one.vol:.0%}, options of {one.holders:,}" for one in view.options),
        f"bad debt {view.bad_debt_in_all:,.0f} USD",
    ]
    if clock.held_seconds:
        parts.append(f"held {duration(clock.held_in_all)}")
    if clock.held_reason:
        parts.append(f"({clock.held_reason})")
    unready = [row.name for row in view.services if row.is_ready is False]
    if unready:
        parts.append(f"not ready: {', '.join(unready)}")
    return " | ".join(part for part in parts if part)
