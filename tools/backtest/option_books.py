"""Books with options: a ladder of strikes around the price of each start, and who is long and short of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from libs.common.ids import InstrumentId
from libs.common.parameters import Instrument, InstrumentKind, OptionType, Parameters
from libs.common.units import SECOND_NS, UnixNs
from services.risk_evaluation.domain.arrays import F8
from tools.backtest.books import Holding, Leg

DAY_NS = 86_400 * SECOND_NS
SIZES_USD = (100_000.0, 1_000_000.0)
_FIRST_ID = 10_000
_A_LADDER = 100


@dataclass(frozen=True, slots=True)
class Rung:
    """One option of the ladder: days to expiry, type, and its strike as a share of the price."""

    days: int
    option: OptionType
    strike: float
    is_in_coins: bool = False


_PUT, _CALL = OptionType.PUT, OptionType.CALL
LADDER: dict[str, Rung] = {
    "put 100": Rung(30, _PUT, 1.0),
    "call 100": Rung(30, _CALL, 1.0),
    "put 90": Rung(30, _PUT, 0.9),
    "put 80": Rung(30, _PUT, 0.8),
    "call 110": Rung(30, _CALL, 1.1),
    "week put 90": Rung(7, _PUT, 0.9),
    "week put 80": Rung(7, _PUT, 0.8),
    "week call 110": Rung(7, _CALL, 1.1),
    "coin call 110": Rung(30, _CALL, 1.1, is_in_coins=True),
}
# Coins and perpetuals, then options, as multiples of the book's size; sold below 0.
BOOKS: dict[str, tuple[float, float, dict[str, float]]] = {
    "short straddle": (0.0, 0.0, {"put 100": -1.0, "call 100": -1.0}),
    "long straddle": (0.0, 0.0, {"put 100": 1.0, "call 100": 1.0}),
    "short week strangle": (0.0, 0.0, {"week put 90": -1.0, "week call 110": -1.0}),
    "short week put": (0.0, 0.0, {"week put 80": -1.0}),
    "covered call": (1.0, 0.0, {"call 110": -1.0}),
    "protected perpetual": (0.0, 1.0, {"put 90": 1.0}),
    "put spread": (0.0, 0.0, {"put 100": -1.0, "put 80": 1.0}),
    "short coin call": (0.0, 0.0, {"coin call 110": -1.0}),
}


def option_population(parameters: Parameters) -> tuple[Holding, ...]:
    """The entities; an underlying without a surface has none, and without coin-settled options none of these."""
    return tuple(_population(parameters))


def with_ladder(parameters: Parameters, prices: F8, *, now_ns: int) -> Parameters:
    """The parameters with the ladder at these prices instead of the declared options."""
    ladder = [
        option
        for at, risk in enumerate(parameters.margin.assets)
        for name in LADDER
        if (option := _option(parameters, at, name, price=float(prices[at]), now_ns=now_ns)) is not None
    ]
    kept = [one for one in parameters.instruments if not one.is_paid_up]
    return replace(parameters, instruments=(*kept, *ladder))


def _population(parameters: Parameters) -> Iterator[Holding]:
    count = len(parameters.margin.assets)
    symbols = {one.id: one.symbol for one in parameters.assets}
    for at, risk in enumerate(parameters.margin.assets):
        for name, (coins, perpetuals, options) in BOOKS.items():
            if any(_template(parameters, at, LADDER[rung]) is None for rung in options):
                continue
            for usd in SIZES_USD:
                yield Holding(
                    f"{name} {symbols[risk.asset]}",
                    tuple(coins * usd if one == at else 0.0 for one in range(count)),
                    tuple(perpetuals * usd if one == at else 0.0 for one in range(count)),
                    (0.0,) * count,
                    tuple(Leg(_id(at, rung), share * usd) for rung, share in options.items()),
                )


def _id(at: int, name: str) -> InstrumentId:
    return InstrumentId(_FIRST_ID + at * _A_LADDER + list(LADDER).index(name))


def _template(parameters: Parameters, at: int, rung: Rung) -> Instrument | None:
    """A declared option on that underlying, settled alike: lots, ticks and settlement are its own."""
    asset = parameters.margin.assets[at].asset
    if asset not in {rule.asset for rule in parameters.surfaces}:
        return None
    kind = InstrumentKind.COIN_OPTION if rung.is_in_coins else InstrumentKind.LINEAR_OPTION
    return next((one for one in parameters.instruments if one.kind is kind and one.underlying == asset), None)


def _option(parameters: Parameters, at: int, name: str, *, price: float, now_ns: int) -> Instrument | None:
    rung = LADDER[name]
    template = _template(parameters, at, rung)
    if template is None:
        return None
    return replace(
        template,
        id=_id(at, name),
        symbol=f"{template.symbol} {name}",
        option=rung.option,
        strike=max(1, round(price * rung.strike * 10.0**-template.settlement_exponent)),
        expiry_ns=UnixNs(now_ns + rung.days * DAY_NS),
    )
