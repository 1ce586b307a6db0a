"""The marks in force and the control sequence, as this worker has read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ballast.events.v1 import control_pb2, market_pb2
from libs.common.chain import AcceptedFrame
from libs.common.units import Ppm
from libs.common.validity import ValidityClass
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Mark, Prices, price_book
from services.risk_evaluation.domain.settlement import Settling, settling_of
from services.risk_evaluation.domain.surfaces import VolatilitySurface, surface_of
from services.risk_evaluation.domain.volatility import Sigmas, model_under

CLOSES_MAX = 500  # hours of an asset, as published


class Market:
    """Marks by instrument, and the prices that follow from them.

    Attributes:
        model: what accounts are judged by: the declared one at the volatilities of the last frame.
        levels: those volatilities by asset. closes: hourly, by asset: ends of hours and prices there, USD.
        sequence, run_time_ns: of the last marks frame, heartbeats included.
        received_wall_ns: when the last frame with rows was received.
        silent: no frame for a second of wall time: every price counts as STALE and nothing is decided.
    """

    def __init__(self, model: Model) -> None:
        self._declared = self.model = model
        self.levels: dict[int, Sigmas] = {}
        self.closes: dict[int, deque[tuple[int, float]]] = {}
        self._marks: dict[int, Mark] = {}
        self._settling: dict[int, Settling] = {}
        self._surfaces: dict[int, VolatilitySurface] = {}
        self._prices: Prices | None = None
        self.sequence = 0
        self.run_time_ns = 0
        self.received_wall_ns = 0
        self.silent = True

    def apply(self, frame: AcceptedFrame, *, received_wall_ns: int) -> bool:
        """Takes a frame; true when it has rows, false for a heartbeat."""
        body = market_pb2.MarksBody.FromString(frame.body)
        self.sequence, self.run_time_ns = frame.sequence, frame.run_time_ns
        self.silent = False
        if not body.instrument:
            return False
        if body.snapshot:
            self._marks.clear()
            self._settling.clear()
            self._surfaces.clear()
            self.closes.clear()
        self._take_levels(body)
        for row, instrument in enumerate(body.instrument):
            price = body.mark_price[row]
            slow = body.slow_price[row] if body.slow_price[row] > 0 else price
            self._marks[instrument] = Mark(price, slow, ValidityClass(body.validity[row]), body.confidence[row])
        self._settling.update(settlements_of(body))
        self._marks.update(settled(self._marks, self._settling))
        for each in body.price_history:
            known = self.closes.setdefault(each.asset, deque(maxlen=CLOSES_MAX))
            known.extend(zip(each.closed_at_ns, each.price, strict=True))
        self._surfaces.update((one.underlying, surface_of(one)) for one in body.surfaces)
        self.received_wall_ns = received_wall_ns
        self._prices = None
        return True

    def _take_levels(self, body: market_pb2.MarksBody) -> None:
        levels = {} if body.snapshot else dict(self.levels)
        levels.update(levels_of(body))
        if levels != self.levels:
            self.levels = levels
            self.model = model_under(self._declared.parameters, levels)

    @property
    def marks(self) -> Mapping[int, Mark]:
        """The marks in force."""
        return self._marks

    @property
    def surfaces(self) -> Mapping[int, VolatilitySurface]:
        """The surfaces in force."""
        return self._surfaces

    @property
    def is_known(self) -> bool:
        """Whether any mark is there."""
        return bool(self._marks)

    @property
    def prices(self) -> Prices:
        """Prices without funding."""
        if self._prices is None:
            self._prices = price_book(self.model, self._marks, self._surfaces)
        return self._prices

    def prices_under(self, model: Model) -> Prices:
        """The same marks as another model prices them, without funding."""
        return price_book(model, self._marks, self._surfaces)


def levels_of(body: market_pb2.MarksBody) -> dict[int, Sigmas]:
    """The volatilities that a frame of marks moves, by asset."""
    columns = zip(body.volatility_asset, body.initial_volatility, body.maintenance_volatility, strict=True)
    return {asset: Sigmas(Ppm(initial), Ppm(maintenance)) for asset, initial, maintenance in columns}


def settlements_of(body: market_pb2.MarksBody) -> dict[int, Settling]:
    """What a frame of marks makes known of settlement prices, by instrument."""
    found = {
        one.instrument: settling_of(
            price=one.price, known_ppm=one.known_ppm, covered_ns=one.covered_ns, is_final=one.is_final
        )
        for one in body.settlement_average
    }
    return {instrument: settling for instrument, settling in found.items() if settling is not None}


def settled(marks: Mapping[int, Mark], settling: Mapping[int, Settling]) -> dict[int, Mark]:
    """The marks of instruments whose settlement price is known in part; one without a mark gets one of no price."""
    none = Mark(0, 0, ValidityClass.STALE)
    return {one: replace(marks.get(one, none), settling=known) for one, known in settling.items()}


@dataclass(slots=True)
class Control:
    """The control log: its sequence and the parameter set in force."""

    sequence: int = 0
    active_hash: bytes = field(default=b"")

    def apply(self, frame: AcceptedFrame) -> None:
        """Takes a frame."""
        body = control_pb2.ControlBody.FromString(frame.body)
        self.sequence = frame.sequence
        if body.WhichOneof("control") == "activate_parameters":
            self.active_hash = body.activate_parameters.hash
