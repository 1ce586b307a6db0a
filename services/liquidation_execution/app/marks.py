"""The marks as last published, and whether they may be acted on."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping

from ballast.events.v1 import market_pb2
from libs.common.ids import InstrumentId
from libs.common.units import Price
from libs.common.validity import Action, ValidityClass, permits

_HISTORY_FRAMES = 64  # so far back is known what the mark was when a venue showed its book
_SILENCE_SECONDS_MAX = 1.0  # heartbeats come every 250 ms; without them every mark is stale here


def _new_history() -> deque[tuple[int, int, Price]]:
    return deque(maxlen=_HISTORY_FRAMES)


class Marks:
    """Fold of the marks log.

    Args:
        monotonic: wall seconds that never fall.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._heard = monotonic() - _SILENCE_SECONDS_MAX
        self._prices: dict[InstrumentId, Price] = {}
        self._validity: dict[InstrumentId, ValidityClass] = {}
        # By instrument: sequence and run time of the frames that moved its mark.
        self._history: defaultdict[InstrumentId, deque[tuple[int, int, Price]]] = defaultdict(_new_history)
        self.run_time_ns = 0
        self.sequence = 0

    @property
    def prices(self) -> Mapping[InstrumentId, Price]:
        """Mark prices by instrument."""
        return self._prices

    @property
    def is_silent(self) -> bool:
        """No frame came for too long."""
        return self._monotonic() - self._heard > _SILENCE_SECONDS_MAX

    def apply(self, *, sequence: int, run_time_ns: int, body: market_pb2.MarksBody) -> None:
        """Folds one accepted frame."""
        self.sequence, self.run_time_ns, self._heard = sequence, run_time_ns, self._monotonic()
        for instrument, price, validity in zip(body.instrument, body.mark_price, body.validity, strict=True):
            key = InstrumentId(instrument)
            self._prices[key], self._validity[key] = Price(price), ValidityClass(validity)
            self._history[key].append((sequence, run_time_ns, Price(price)))

    def at(self, instrument: InstrumentId, run_time_ns: int) -> Price | None:
        """The mark in force at a run time of the recent past; None when that is forgotten."""
        history = self._history.get(instrument, ())
        return next((price for _, since_ns, price in reversed(history) if since_ns <= run_time_ns), None)

    def cited(self, instrument: InstrumentId, sequence: int) -> Price | None:
        """The mark in force at a frame that a margin cites; None when that is forgotten."""
        history = self._history.get(instrument, ())
        return next((price for since, _, price in reversed(history) if since <= sequence), None)

    def usable(self, instrument: InstrumentId) -> Price | None:
        """The mark an order of an episode may be planned on (I9); None when there is none."""
        validity = self._validity.get(instrument, ValidityClass.STALE)
        return self._prices.get(instrument) if permits(validity, Action.LIQUIDATION) and not self.is_silent else None
