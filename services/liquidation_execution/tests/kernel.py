"""A small margin kernel and markets to test against: what risk does, in a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from libs.common.config import load_parameters
from libs.common.ids import AccountId, InstrumentId
from libs.common.parameters import InstrumentKind, Parameters
from libs.common.units import PPM, Lots, Price, Usd6, mul_div_down, mul_div_up
from services.liquidation_execution.domain.catalogue import Catalogue, catalogue_of, notional, usd6
from services.liquidation_execution.domain.holdings import Holdings, reducible
from services.liquidation_execution.domain.planner import Evaluation, Plan, Problem, plan
from services.liquidation_execution.domain.router import Shown, ladder
from services.liquidation_execution.domain.slices import Candidate, Line, Margin

REPOSITORY = Path(__file__).resolve().parents[3]
USD, BTC, ETH, LTC = 1, 2, 3, 4
BTC_USD, ETH_USD, LTC_USD, BTC_PERP, ETH_PERP, LTC_PERP, BTC_INV = 1, 2, 3, 11, 12, 13, 21
NORTH, SOUTH = 1, 2
COIN = 10**8
DOLLAR = 10**6

MAINTENANCE = {BTC: 120_000, ETH: 150_000, LTC: 200_000}  # ppm of net notional an underlying
GROSS = 10_000  # ppm of gross notional: what liquidity add-ons do
INITIAL = 1_600_000  # ppm of maintenance


def parameters() -> Parameters:
    """The repository's own parameter set."""
    return load_parameters(REPOSITORY / "config").parameters


CATALOGUE: Catalogue = catalogue_of(parameters())
MARKS = {
    InstrumentId(one.id): Price({BTC: 15_000, ETH: 700, LTC: 250}[one.underlying] * 10**-one.price_exponent)
    for one in CATALOGUE.parameters.instruments
}


@dataclass
class Account:
    """Units of cash (negative is debt) and lots with their variation in settlement units."""

    cash: dict[int, int]
    lots: dict[int, int] = field(default_factory=dict)
    variation: dict[int, int] = field(default_factory=dict)

    def copy(self) -> Account:
        return Account(dict(self.cash), dict(self.lots), dict(self.variation))

    def open(self, instrument: int, lots: int, *, price: int | None = None) -> Account:
        """The account with a position opened at a price, the mark if none is given."""
        one = self.copy()
        one.trade(instrument, lots, price or MARKS[InstrumentId(instrument)], 0)
        return one

    def trade(self, instrument_id: int, lots: int, price: int, fee_units: int) -> None:
        instrument = CATALOGUE.instruments[instrument_id]
        self.cash[instrument.settlement] = self.cash.get(instrument.settlement, 0) - fee_units
        if instrument.kind is InstrumentKind.SPOT:
            base = lots * instrument.base_units_per_lot
            self.cash[instrument.underlying] = self.cash.get(instrument.underlying, 0) + base
            self.cash[instrument.quote] = self.cash.get(instrument.quote, 0) - mul_div_up(
                lots * price, instrument.c_num, instrument.c_den
            )
            return
        self.lots[instrument_id] = self.lots.get(instrument_id, 0) + lots
        delta = -_lot_value(instrument_id, lots, price)
        self.variation[instrument_id] = self.variation.get(instrument_id, 0) + delta

    def holdings(self) -> Holdings:
        return Holdings(
            AccountId(1 << 16),
            {one: lots for one, lots in self.lots.items() if lots},
            {one: units for one, units in self.cash.items() if units > 0},
            {one: -units for one, units in self.cash.items() if units < 0},
            {},
        )

    def margin(self) -> Margin:
        """Equity and requirements: net notional an underlying, and a part of gross."""
        equity, net, gross = 0, dict.fromkeys(MAINTENANCE, 0), 0
        for asset, units in self.cash.items():
            value = _signed_usd6(asset, units)
            equity += value
            if asset != USD:
                net[asset] += value
                gross += abs(value)
        for one, lots in self.lots.items():
            instrument = CATALOGUE.instruments[one]
            mark = MARKS[InstrumentId(one)]
            equity += _signed_usd6(instrument.settlement, _lot_value(one, lots, mark) + self.variation[one])
            value = notional(CATALOGUE, instrument, lots=abs(lots), marks=MARKS)
            net[instrument.underlying] += value if lots > 0 else -value
            gross += value
        maintenance = mul_div_up(gross, GROSS, PPM)
        maintenance += sum(mul_div_up(abs(value), MAINTENANCE[asset], PPM) for asset, value in net.items())
        return Margin(Usd6(equity), Usd6(mul_div_up(maintenance, INITIAL, PPM)), Usd6(maintenance))


def _lot_value(instrument_id: int, lots: int, price: int) -> int:
    instrument = CATALOGUE.instruments[instrument_id]
    if instrument.kind is InstrumentKind.INVERSE_PERP:
        return -mul_div_up(lots * instrument.c_num, 1, instrument.c_den * price)
    return mul_div_down(lots * price, instrument.c_num, instrument.c_den)


def _signed_usd6(asset: int, units: int) -> int:
    value = usd6(CATALOGUE, asset=asset, units=abs(units), marks=MARKS)
    return value if units >= 0 else -value


def after(account: Account, candidate: Candidate) -> Account:
    """The account with a candidate's trades filled as expected."""
    one = account.copy()
    for trade in candidate:
        one.trade(trade.instrument, trade.lots, trade.price, trade.fee_units)
    return one


def evaluate(account: Account, candidates: Sequence[Candidate]) -> Evaluation:
    """What risk answers."""
    return Evaluation(account.margin(), tuple(after(account, one).margin() for one in candidates))


def book(mark: int, *, lots: int, step_ppm: int = 500, levels: int = 20) -> dict[int, tuple[tuple[Price, Lots], ...]]:
    """Levels by direction: the same lots every `step_ppm` away from the mark."""
    return {
        direction: tuple(
            (Price(mul_div_down(mark, PPM + direction * step_ppm * level, PPM)), Lots(lots))
            for level in range(1, levels + 1)
        )
        for direction in (1, -1)
    }


def problem(account: Account, *, lots: int = 4_000, claimed: int = 0, step_ppm: int = 500) -> Problem:
    """Lines of the account on venues that show `lots` a level; 0 shows nothing."""
    rules = CATALOGUE.parameters
    lines = []
    for one in reducible(account.holdings(), CATALOGUE):
        mark = MARKS[InstrumentId(one.instrument.id)]
        levels = book(mark, lots=lots, step_ppm=step_ppm)[one.direction] if lots else ()
        shown = [
            Shown(venue.id, venue.taker_fee, levels, Lots(claimed)) for venue in CATALOGUE.venues_of[one.instrument.id]
        ]
        offers = ladder(
            one.instrument,
            one.direction,
            mark=mark,
            shown=shown,
            rules=rules.liquidation,
            liquidation_fee=rules.ledger.liquidation_fee,
        )
        lines.append(Line(one, offers, notional(CATALOGUE, one.instrument, lots=one.lots, marks=MARKS)))
    return Problem(tuple(lines), rules.liquidation)


def planned(account: Account, asked: Problem, batches: list[Sequence[Candidate]] | None = None) -> tuple[Plan, int]:
    """The plan, and the round trips it took; `batches` gets what was asked in each."""
    asking, trips = plan(asked), 0
    try:
        wanted = next(asking)
        while True:
            trips += 1
            if batches is not None:
                batches.append(wanted)
            wanted = asking.send(evaluate(account, wanted))
    except StopIteration as stop:
        return stop.value, trips
