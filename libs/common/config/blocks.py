"""What a parameter file may say: one block of human units each, every number with its bound."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from libs.common.config.fields import (
    Amount,
    Block,
    Dust,
    Id,
    InnerShare,
    Move,
    Number,
    PositiveNumber,
    PositiveShare,
    PublicKey,
    Rate,
    Ratio,
    Seconds,
    Share,
    SignedNumber,
    SignedRate,
    SignedShare,
    Symbol,
    Text,
    within,
)
from libs.common.config.instrument_blocks import InstrumentBlock
from libs.common.config.option_blocks import OptionRiskBlock, SurfaceBlock

UNITS_MAX = 2**62
NUMERAIRE = "USD"  # worth 1
PROFILE_SAMPLES_MAX = 1_000  # what the state of a volatility profile may keep


class AssetBlock(Block):
    """An asset; `largest_supply` in whole coins proves that balances fit."""

    id: Id
    symbol: Symbol
    decimals: Annotated[int, Field(ge=0, le=12)]
    price_instrument: Symbol | None = None
    largest_supply: Amount

    @model_validator(mode="after")
    def _fits(self) -> AssetBlock:
        if Decimal(self.largest_supply) * 10**self.decimals >= UNITS_MAX:
            raise ValueError(f"expected largest_supply x 10^decimals below 2^62, was {self.largest_supply}")
        return self


class VenueBlock(Block):
    """A venue."""

    id: Id
    name: Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]*$", max_length=32)]
    instruments: list[Symbol]
    taker_fee: Share


class PoolBlock(Block):
    """A lending pool."""

    asset: Symbol
    optimal_utilisation: InnerShare
    base_rate: Rate
    slope_below: Rate
    slope_above: Rate
    reserve_factor: Share
    overdraft_penalty: Rate
    dust: Dust


class AssetRiskBlock(Block):
    """Scan ranges and liquidity of one underlying."""

    asset: Symbol
    sigma: PositiveNumber
    initial_z: PositiveNumber
    initial_horizon_s: Seconds
    maintenance_z: PositiveNumber
    maintenance_horizon_s: Seconds
    half_spread: Share
    impact: Number
    daily_volume_usd: Annotated[int, Field(ge=1, le=10**15)]
    participation: Share | None = None
    house_notional_usd: Annotated[int, Field(ge=0, le=10**15)] = 0

    @model_validator(mode="after")
    def _ordered(self) -> AssetRiskBlock:
        initial = float(self.initial_z) * self.initial_horizon_s**0.5
        maintenance = float(self.maintenance_z) * self.maintenance_horizon_s**0.5
        if maintenance > initial:
            raise ValueError(f"expected the maintenance range of {self.asset} not above its initial range")
        return self


class ProfileBlock(Block):
    """A volatility profile: how an underlying's volatility follows its price."""

    asset: Symbol
    floor: PositiveNumber
    stressed: PositiveNumber
    stressed_weight: Annotated[Text, within("0.25", "1", digits=6)]  # at least a quarter: EU 153/2013, article 28(1)(b)
    ceiling: PositiveNumber
    fast_half_life_s: Seconds
    slow_half_life_s: Seconds
    realised_window_s: Seconds
    sample_every_s: Seconds
    fall_half_life_s: Seconds
    notice_s: Seconds
    maintenance_rise_per_hour: PositiveShare

    @model_validator(mode="after")
    def _ordered(self) -> ProfileBlock:
        highest = max(Decimal(self.floor), Decimal(self.stressed))
        if Decimal(self.ceiling) < highest:
            raise ValueError(f"expected a ceiling of at least {highest}, was {self.ceiling}")
        if self.slow_half_life_s < self.fast_half_life_s:
            raise ValueError(f"expected slow_half_life_s from {self.fast_half_life_s}, was {self.slow_half_life_s}")
        longest = max(self.realised_window_s, self.notice_s)
        if not self.sample_every_s <= self.realised_window_s or longest > PROFILE_SAMPLES_MAX * self.sample_every_s:
            words = f"expected 1 to {PROFILE_SAMPLES_MAX} samples in window and notice"
            raise ValueError(f"{words}, was sample_every_s {self.sample_every_s}")
        return self


class StressBlock(Block):
    """A named joint move; `vol` of volatilities, as a share of their range."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    moves: dict[Symbol, Move]
    vol: SignedNumber = "0"


class DefaultRiskBlock(Block):
    """How default is judged."""

    jumps_a_year: Annotated[Text, within("0", "1000", digits=6)]
    jump_mean: SignedShare
    jump_sigma: Share
    correlation: SignedShare
    participation: PositiveShare
    least_liquidation_s: Seconds
    paths: Annotated[int, Field(ge=64, le=65_536)]
    steps: Annotated[int, Field(ge=1, le=1_024)]


class MarginBlock(Block):
    """The house margin."""

    blend: Share
    initial_over_maintenance: Annotated[Text, within("1.1", "10", digits=6)]
    grid: Annotated[list[SignedShare], Field(min_length=3, max_length=101)]
    withdrawal_notional: Share
    assets: list[AssetRiskBlock]
    stresses: list[StressBlock]
    profiles: list[ProfileBlock] = Field(default_factory=list)
    options: OptionRiskBlock | None = None
    default_risk: DefaultRiskBlock | None = None

    @model_validator(mode="after")
    def _sane(self) -> MarginBlock:
        points = [Decimal(point) for point in self.grid]
        if points != sorted(set(points)) or points[0] != -1 or points[-1] != 1 or 0 not in points:
            raise ValueError(f"expected grid sorted from -1 to 1 with 0, was {self.grid}")
        return self


class PricesBlock(Block):
    """The price guard."""

    band: PositiveShare
    max_age_s: Seconds
    slow_per_10min: PositiveShare


class LedgerBlock(Block):
    """Bounds of the ledger."""

    verdict_validity_s: Seconds
    send_by_s: Seconds
    open_orders_max: Annotated[int, Field(ge=1, le=10_000)]
    accounts_per_entity_max: Annotated[int, Field(ge=1, le=60_000)]
    key_horizon_s: Seconds
    client_keys_max: Annotated[int, Field(ge=1, le=1_000_000)]
    session_outcomes: Annotated[int, Field(ge=16, le=65_536)]
    liquidation_fee: Share
    index_step_max: PositiveShare
    step_orders_max: Annotated[int, Field(ge=1, le=32)]
    command_window_s: Seconds
    commands_per_window_max: Annotated[int, Field(ge=1, le=10**9)]
    notary_keys: Annotated[list[PublicKey], Field(max_length=16, default_factory=list)]


class OutflowBlock(Block):
    """How much of an asset may leave, floors in whole coins."""

    asset: Symbol
    hour_share: Share
    hour_floor: Amount
    day_share: Share
    day_floor: Amount


class GuardsBlock(Block):
    """What keeps assets in when something is wrong."""

    outage_s: Seconds
    gate_after_outage_s: Seconds
    gate_after_negative_s: Seconds
    outflows: list[OutflowBlock]


class LiquidationBlock(Block):
    """How episodes are worked off."""

    target: Ratio
    participation: PositiveShare
    collar: InnerShare
    steps_max: Annotated[int, Field(ge=1, le=10_000)]
    taker_leverage_max: Annotated[int, Field(ge=1, le=100)] = 5


class ScheduleBlock(Block):
    """When periodic things happen."""

    interest_every_s: Seconds
    funding_every_s: Seconds
    funding_rate: SignedRate
    settle_every_s: Seconds


class PrincipalBlock(Block):
    """A named principal with a role other than client."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    role: Annotated[str, StringConstraints(pattern="^(custodian|service|operator|liquidity_provider)$")]


class ConfigBlock(Block):
    """The whole parameter set."""

    partitions: Annotated[int, Field(ge=1, le=1024)]
    genesis_s: Annotated[int, Field(ge=0, le=4_102_444_800)]
    assets: Annotated[list[AssetBlock], Field(min_length=1)]
    instruments: list[InstrumentBlock]
    venues: list[VenueBlock]
    pools: list[PoolBlock]
    margin: MarginBlock
    prices: PricesBlock
    ledger: LedgerBlock
    guards: GuardsBlock
    liquidation: LiquidationBlock
    schedule: ScheduleBlock
    principals: list[PrincipalBlock]
    surfaces: list[SurfaceBlock]

    @model_validator(mode="after")
    def _names_each_once(self) -> ConfigBlock:
        _unique("asset", [a.id for a in self.assets], [a.symbol for a in self.assets])
        _unique("instrument", [i.id for i in self.instruments], [i.symbol for i in self.instruments])
        _unique("venue", [v.id for v in self.venues], [v.name for v in self.venues])
        _unique("pool", [b.asset for b in self.pools])
        _unique("margin asset", [r.asset for r in self.margin.assets])
        _unique("stress", [s.name for s in self.margin.stresses])
        _unique("volatility profile", [one.asset for one in self.margin.profiles])
        _unique("principal", [one.id for one in self.principals])
        _unique("surface", [one.asset for one in self.surfaces])
        _unique("outflow asset", [one.asset for one in self.guards.outflows])
        return self

    @model_validator(mode="after")
    def _resolves(self) -> ConfigBlock:
        assets, instruments = {a.symbol for a in self.assets}, {i.symbol for i in self.instruments}
        wanted = [(i.underlying, assets) for i in self.instruments] + [(i.quote, assets) for i in self.instruments]
        wanted += [(a.price_instrument, instruments) for a in self.assets if a.price_instrument]
        wanted += [(s, instruments) for v in self.venues for s in v.instruments]
        wanted += [(one.asset, assets) for one in self.guards.outflows]
        wanted += [(b.asset, assets) for b in self.pools] + [(r.asset, assets) for r in self.margin.assets]
        wanted += [(s, assets) for stress in self.margin.stresses for s in stress.moves]
        wanted += [(one.asset, assets) for one in self.margin.profiles] + [(one.asset, assets) for one in self.surfaces]
        for symbol, known in wanted:
            if symbol not in known:
                raise ValueError(f"expected a declared symbol, was {symbol}")
        return self

    @model_validator(mode="after")
    def _prices_and_judges_every_asset(self) -> ConfigBlock:
        spot = {i.symbol: i.underlying for i in self.instruments if i.kind == "spot"}
        judged = {r.asset for r in self.margin.assets}
        for asset in self.assets:
            if asset.symbol == NUMERAIRE:
                continue
            if spot.get(asset.price_instrument or "") != asset.symbol:  # without one it would be worth a dollar a coin
                raise ValueError(f"expected a spot instrument as price of {asset.symbol}, was {asset.price_instrument}")
            if asset.symbol not in judged:
                raise ValueError(f"expected a margin block of {asset.symbol}, found none")
        for profile in self.margin.profiles:
            if profile.asset not in judged:
                raise ValueError(f"expected a margin block of {profile.asset}, found none")
        return self


def _unique(what: str, *columns: list[Any]) -> None:
    for column in columns:
        for one in column:
            if column.count(one) > 1:
                raise ValueError(f"expected each {what} once, was {one} twice")
