"""The small world with options on BTC and ETH, a dated future, and surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from libs.common.ids import AssetId, InstrumentId
from libs.common.option_parameters import OptionRisk, Tail
from libs.common.parameters import Instrument, InstrumentKind, OptionType, Parameters
from libs.common.units import YEAR_NS, Lots, Ppm, UnixNs
from libs.common.validity import ValidityClass
from libs.options.svi import SviSlice
from services.risk_evaluation.domain.margin import Margins, evaluate
from services.risk_evaluation.domain.prices import Mark, Prices, funded, price_book
from services.risk_evaluation.domain.surfaces import Smile, VolatilitySurface
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_PERP,
    COIN,
    ETH,
    USD,
    USDC,
    Book,
    marks,
    parameters,
    risk,
)

CALL, PUT, COIN_CALL, COIN_PUT, FAR_CALL, ETH_CALL, USDC_CALL, FUTURE = range(101, 109)
OPTIONS = (CALL, PUT, COIN_CALL, COIN_PUT, FAR_CALL, ETH_CALL, USDC_CALL)
MADE_AT = 10 * YEAR_NS
NEAR, FAR = MADE_AT + YEAR_NS // 12, MADE_AT + YEAR_NS // 4
RISK = OptionRisk(
    vol_grid=(Ppm(-1_000_000), Ppm(0), Ppm(1_000_000)),
    vol_up=Ppm(450_000),
    vol_down=Ppm(300_000),
    short_power=Ppm(300_000),
    long_power=Ppm(130_000),
    floor_days=1,
    skew_cap=Ppm(100_000),
    skew_width=Ppm(1_000_000),
    tails=(Tail(Ppm(-2_000_000), Ppm(350_000)), Tail(Ppm(2_000_000), Ppm(350_000))),
    naked_short=Ppm(5_000),
    basis=Ppm(2_000),
    confidence_from=Ppm(10_000),
    confidence=Ppm(1_000_000),
)


def _option(number: int, kind: OptionType, strike: int, expiry: int, *, base: int = BTC, coin: bool = False,
            quote: int = USD) -> Instrument:  # fmt: skip
    settlement = base if coin else quote
    decimals = 8 if coin else 6
    exponent = -4 if coin else -2
    return Instrument(
        id=InstrumentId(number),
        symbol=f"OPTION-{number}",
        kind=InstrumentKind.COIN_OPTION if coin else InstrumentKind.LINEAR_OPTION,
        underlying=AssetId(base),
        quote=AssetId(quote),
        settlement=AssetId(settlement),
        base_units_per_lot=COIN,
        price_exponent=exponent,
        c_num=10 ** (decimals + exponent),
        c_den=1,
        max_order_lots=Lots(10**6),
        max_price=10**9,
        expiry_ns=UnixNs(expiry),
        option=kind,
        strike=strike,
        settlement_exponent=0,
    )


def option_parameters(*, option_risk: OptionRisk = RISK, impact: int = 50_000) -> Parameters:
    """The small set with options, and what trading costs."""
    call, put = OptionType.CALL, OptionType.PUT
    base = parameters(
        risk(BTC, half_spread=1_000, impact=impact),
        risk(ETH, sigma=1_300_000, half_spread=1_500, impact=impact, daily_volume_usd=400_000_000),
        risk(USDC, sigma=50_000),
    )
    perp = next(one for one in base.instruments if one.id == BTC_PERP)
    more = (
        _option(CALL, call, 60_000, NEAR),
        _option(PUT, put, 55_000, NEAR),
        _option(COIN_CALL, call, 65_000, NEAR, coin=True),
        _option(COIN_PUT, put, 50_000, FAR, coin=True),
        _option(FAR_CALL, call, 60_000, FAR),
        _option(ETH_CALL, call, 3_000, NEAR, base=ETH),
        _option(USDC_CALL, call, 60_000, NEAR, quote=USDC),
        replace(perp, id=InstrumentId(FUTURE), symbol="BTC-FUTURE", expiry_ns=UnixNs(FAR)),
    )
    margin = replace(base.margin, options=option_risk)
    return replace(base, instruments=(*base.instruments, *more), margin=margin)


def surface(*, vol: float = 0.8, validity: ValidityClass = ValidityClass.VALID, spot: int = 60_000,
            expiries: tuple[int, ...] = (NEAR, FAR)) -> VolatilitySurface:  # fmt: skip
    """A surface with a smile around one volatility."""
    smiles = []
    for expiry in expiries:
        years = (expiry - MADE_AT) / YEAR_NS
        level = vol * vol * years
        svi = SviSlice(a=0.8 * level, b=0.4 * level, rho=-0.2, m=0.0, sigma=0.5, forward=1.0, years=years)
        smiles.append(Smile(expiry, spot, 0, svi))
    return VolatilitySurface(MADE_AT, validity, tuple(smiles))


def surfaces(*, btc: int = 60_000, eth: int = 3_000, vol: float = 0.8) -> dict[int, VolatilitySurface]:
    """Surfaces at these prices."""
    return {BTC: surface(vol=vol, spot=btc), ETH: surface(vol=vol, spot=eth)}


@dataclass(frozen=True, slots=True)
class Market:
    """Marks and surfaces."""

    marks: Mapping[int, Mark]
    surfaces: Mapping[int, VolatilitySurface]

    def prices(self, book: Book) -> Prices:
        """Prices of the partition."""
        return funded(price_book(book.model, self.marks, self.surfaces), book.columns.funding)

    def margins(self, book: Book) -> Margins:
        """Margins of every account."""
        return evaluate(book.model, self.prices(book), book.columns.all_rows())


def market(*, btc: int = 60_000, eth: int = 3_000, vol: float = 0.8) -> Market:
    """Marks at these prices, the future's at spot, and surfaces around one volatility."""
    spot = marks(btc=btc, eth=eth)
    return Market({**spot, FUTURE: spot[BTC_PERP]}, surfaces(btc=btc, eth=eth, vol=vol))
