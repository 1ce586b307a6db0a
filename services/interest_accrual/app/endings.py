"""Closes instruments that have ended, at the published settlement price, and carries on what goes over many accounts.

The home partition of an instrument decides on the published price; the others get what it has journalled. A command
over many accounts is sent again when the journal shows that its batch is done, and after a while when it does not.
"""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, lifecycle_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.parameters import Instrument
from services.interest_accrual.app.view import View

RESEND_SECONDS = 5.0

_Commands = list[tuple[int, commands_pb2.Command]]  # with their partitions


class Endings:
    """Process manager of endings; all of it can be lost at any time."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._asked: dict[tuple[int, int, int], tuple[int, float]] = {}  # kind, instrument, partition -> batches, when

    def due(self, instrument: Instrument, *, now_s: float) -> _Commands:
        """What to send now about an instrument, each with its partition."""
        found = self._settling(instrument, now_s)
        if instrument.closes_ns:
            found += self._closing(instrument, now_s)
        return found

    def _closing(self, instrument: Instrument, now_s: float) -> _Commands:
        home = self._view.home(instrument.id)
        decided = self._view.partitions[home].listings.get(instrument.id)
        published = self._view.settlements.get(instrument.id)
        found: _Commands = []
        for number, partition in enumerate(self._view.partitions):
            one = lifecycle_pb2.CloseInstrument(instrument=instrument.id)
            if decided is not None:
                listing, sequence = decided
                one.price, one.mark_sequence = listing.price, listing.mark_sequence
                one.home_sequence = 0 if number == home else sequence
            elif number == home and published is not None:
                one.price, one.mark_sequence = published
            else:
                continue
            sweep = partition.sweeps.get((kinds.SWEEP_KIND_CLOSING, instrument.id))
            is_over = sweep is None and instrument.id in partition.listings
            key = (kinds.SWEEP_KIND_CLOSING, instrument.id, number)
            if not is_over and self._is_due(key, 0 if sweep is None else sweep.batches, now_s):
                found.append((number, commands_pb2.Command(close_instrument=one)))
        return found

    def _settling(self, instrument: Instrument, now_s: float) -> _Commands:
        found: _Commands = []
        for number, partition in enumerate(self._view.partitions):
            sweep = partition.sweeps.get((kinds.SWEEP_KIND_SETTLEMENT, instrument.id))
            key = (kinds.SWEEP_KIND_SETTLEMENT, instrument.id, number)
            if sweep is not None and self._is_due(key, sweep.batches, now_s):
                one = commands_pb2.SettleVariation(
                    instrument=instrument.id, tick=sweep.tick, price=sweep.price, mark_sequence=sweep.mark_sequence
                )
                found.append((number, commands_pb2.Command(settle_variation=one)))
        return found

    def _is_due(self, key: tuple[int, int, int], batches: int, now_s: float) -> bool:
        asked = self._asked.get(key)
        if asked is not None and asked[0] == batches and now_s - asked[1] < RESEND_SECONDS:
            return False
        self._asked[key] = (batches, now_s)
        return True
