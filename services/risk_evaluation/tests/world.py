"""A small parameter set of round numbers, and short ways to build books in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from libs.common.ids import AssetId, InstrumentId, VenueId, account_id
from libs.common.parameters import (
    Asset,
    AssetRisk,
    Instrument,
    InstrumentKind,
    JointStress,
    LedgerRules,
    LiquidationRules,
    MarginModel,
    Parameters,
    PriceGuard,
    Schedule,
    Venue,
)
from libs.common.units import Lots, Ppm, Rate12, UnixNs
from libs.common.validity import ValidityClass
from services.risk_evaluation.domain.columns import Column, Columns, OpenOrder
from services.risk_evaluation.domain.grid import ScenarioSet
from services.risk_evaluation.domain.margin import Margins, evaluate
from services.risk_evaluation.domain.model import Model, assemble, build_model
from services.risk_evaluation.domain.prices import Mark, Prices, funded, price_book

USD, BTC, ETH, USDC = 1, 2, 3, 4
BTC_SPOT, ETH_SPOT, USDC_SPOT, BTC_PERP, ETH_PERP, BTC_INVERSE, BTC_USDC_PERP = 1, 2, 3, 11, 12, 21, 31
DOLLAR = 1_000_000  # 10^-6 USD, and units of USD and USDC
COIN = 100_000_000  # units of BTC and ETH


def _asset(number: int, symbol: str, decimals: int, price: int | None) -> Asset:
    return Asset(AssetId(number), symbol, decimals, None if price is None else InstrumentId(price))


def _instrument(number: int, symbol: str, kind: InstrumentKind, base: int, quote: int) -> Instrument:
    inverse = kind is InstrumentKind.INVERSE_PERP
    lot = 0 if inverse else (DOLLAR if base == USDC else COIN)
    return Instrument(
        id=InstrumentId(number),
        symbol=symbol,
        kind=kind,
        underlying=AssetId(base),
        quote=AssetId(quote),
        settlement=AssetId(base if inverse else quote),
        base_units_per_lot=lot,
        price_exponent=-4 if base == USDC else 0,
        c_num=10**10 if inverse else (DOLLAR // 10**4 if base == USDC else DOLLAR),
        c_den=1,
        max_order_lots=Lots(10**9),
        max_price=10**9,
    )


def risk(asset: int, **changes: int) -> AssetRisk:
    """Scan parameters of an asset: no liquidity cost unless said."""
    base = AssetRisk(
        asset=AssetId(asset),
        sigma=Ppm(1_000_000),
        initial_z=Ppm(2_330_000),
        initial_horizon_s=86_400,
        maintenance_z=Ppm(2_330_000),
        maintenance_horizon_s=21_600,
        half_spread=Ppm(0),
        impact=Ppm(0),
        daily_volume_usd=1_000_000_000,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def parameters(
    *risks: AssetRisk, blend: int = 500_000, rho: int = 1_100_000, stresses: tuple[JointStress, ...] = ()
) -> Parameters:
    """The parameter set, with the given risks and blend."""
    spot, linear = InstrumentKind.SPOT, InstrumentKind.LINEAR_PERP
    return Parameters(
        partitions=4,
        assets=(
            _asset(USD, "USD", 6, None),
            _asset(BTC, "BTC", 8, BTC_SPOT),
            _asset(ETH, "ETH", 8, ETH_SPOT),
            _asset(USDC, "USDC", 6, USDC_SPOT),
        ),
        instruments=(
            _instrument(BTC_SPOT, "BTC-USD", spot, BTC, USD),
            _instrument(ETH_SPOT, "ETH-USD", spot, ETH, USD),
            _instrument(USDC_SPOT, "USDC-USD", spot, USDC, USD),
            _instrument(BTC_PERP, "BTC-USD-PERP", linear, BTC, USD),
            _instrument(ETH_PERP, "ETH-USD-PERP", linear, ETH, USD),
            _instrument(BTC_INVERSE, "BTC-USD-INV", InstrumentKind.INVERSE_PERP, BTC, USD),
            _instrument(BTC_USDC_PERP, "BTC-USDC-PERP", linear, BTC, USDC),
        ),
        venues=(Venue(VenueId(1), "north", (), Ppm(500)),),
        pools=(),
        margin=MarginModel(
            blend=Ppm(blend),
            initial_over_maintenance=Ppm(rho),
            grid=tuple(Ppm(point) for point in (-1_000_000, -500_000, 0, 500_000, 1_000_000)),
            withdrawal_notional=Ppm(200_000),
            assets=risks or (risk(BTC), risk(ETH)),
            stresses=stresses,
        ),
        prices=PriceGuard(Ppm(100_000), 600 * 10**9, Ppm(10_000)),
        ledger=LedgerRules(
            verdict_validity_ns=2 * 10**9,
            send_by_ns=600 * 10**9,
            open_orders_max=64,
            accounts_per_entity_max=256,
            key_horizon_ns=86_400 * 10**9,
            client_keys_max=100,
            session_outcomes=4096,
            liquidation_fee=Ppm(5_000),
            index_step_max=Ppm(50_000),
            step_orders_max=32,
            command_window_ns=10**9,
            commands_per_window_max=10_000,
            notary_keys=(),
        ),
        liquidation=LiquidationRules(Ppm(1_050_000), Ppm(500_000), Ppm(50_000), 200),
        schedule=Schedule(3_600 * 10**9, 28_800 * 10**9, Rate12(0), 86_400 * 10**9),
        principals=(),
        genesis_ns=UnixNs(0),
    )


def model_of(*risks: AssetRisk, **options: int) -> Model:
    """The model of that parameter set."""
    return build_model(parameters(*risks, **options))  # type: ignore[arg-type]


def moves(*rows: dict[int, float]) -> ScenarioSet:
    """Scenarios given by asset."""
    order = (USD, BTC, ETH, USDC)
    array = np.array([[row.get(asset, 0.0) for asset in order] for row in rows], dtype=np.float64).reshape(-1, 4)
    return ScenarioSet(tuple(str(row) for row in rows), array)


def with_scenarios(base: Parameters, initial: ScenarioSet, maintenance: ScenarioSet | None = None) -> Model:
    """A model under scenarios written by hand, without stresses."""
    return assemble(base, initial=initial, maintenance=maintenance or initial, stresses=moves())


def marks(*, slow: Mapping[int, int] | None = None, validity: ValidityClass = ValidityClass.VALID,
          **prices: int) -> dict[int, Mark]:  # fmt: skip
    """Marks of everything priced off `btc` and `eth`, in whole dollars; USDC in 10^-4."""
    btc, eth, usdc = prices.get("btc", 60_000), prices.get("eth", 3_000), prices.get("usdc", 10_000)
    found = {BTC_SPOT: btc, BTC_PERP: btc, BTC_INVERSE: btc, BTC_USDC_PERP: btc, ETH_SPOT: eth, ETH_PERP: eth}
    found[USDC_SPOT] = usdc
    return {key: Mark(price, (slow or {}).get(key, price), validity) for key, price in found.items()}


def account(entity: int = 1, sub: int = 0) -> int:
    """A client's account."""
    return account_id(partition=0, entity=entity, sub=sub)


class Book:
    """A columnar book with one-line changes."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.columns = Columns(model)

    def cash(self, asset: int, units: int, *, of: int | None = None) -> Book:
        """Sets cash."""
        return self.line(Column.CASH, asset, units, of=of)

    def line(self, column: Column, key: int, balance: int, *, of: int | None = None) -> Book:
        """Sets any line."""
        self.columns.set_line(account() if of is None else of, column, key, balance)
        return self

    def position(self, instrument: int, lots: int, variation: int, *, of: int | None = None) -> Book:
        """Sets lots and variation."""
        self.line(Column.LOTS, instrument, lots, of=of)
        return self.line(Column.VARIATION, instrument, variation, of=of)

    def order(self, number: int, instrument: int, lots: int, limit: int, *, of: int | None = None,
              reduce_only: bool = False, fee: float = 0.0) -> Book:  # fmt: skip
        """Adds a live order of signed lots."""
        order = OpenOrder(number, instrument, lots, limit, reduce_only, fee)
        self.columns.set_order(account() if of is None else of, order)
        return self

    def prices(self, at: Mapping[int, Mark]) -> Prices:
        """Prices of the partition."""
        return funded(price_book(self.model, at), self.columns.funding)

    def margins(self, at: Mapping[int, Mark]) -> Margins:
        """Margins of every account."""
        return evaluate(self.model, self.prices(at), self.columns.all_rows())
