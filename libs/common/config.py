"""Loads a parameter set: YAML blocks in human units, validated whole, hashed, turned into plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from libs.common import parameters as p
from libs.common.errors import ConfigurationError
from libs.common.ids import AssetId, InstrumentId, VenueId
from libs.common.units import SECOND_NS, MalformedNumber, Lots, Ppm, Rate12, UnixNs, to_scaled, to_units

Decimals = Annotated[str, StringConstraints(pattern=r"^-?\d+(\.\d+)?$")]
Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]+(-[A-Z0-9]+)*$", max_length=32)]
Id = Annotated[int, Field(ge=1, le=2047)]
Seconds = Annotated[int, Field(ge=1, le=366 * 86_400)]
UNITS_MAX = 2**62


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AssetBlock(_Block):
    """An asset; `largest_supply` in whole coins proves that balances fit."""

    id: Id
    symbol: Symbol
    decimals: Annotated[int, Field(ge=0, le=12)]
    price_instrument: Symbol | None = None
    largest_supply: Decimals

    @model_validator(mode="after")
    def _fits(self) -> AssetBlock:
        if int(self.largest_supply.split(".")[0]) * 10**self.decimals >= UNITS_MAX:
            raise ValueError(f"expected largest_supply x 10^decimals below 2^62, was {self.largest_supply}")
        return self


class InstrumentBlock(_Block):
    """An instrument; `lot` in base assets, or face in quote for inverse perps."""

    id: Id
    symbol: Symbol
    kind: Annotated[str, StringConstraints(pattern="^(spot|linear_perp|inverse_perp)$")]
    underlying: Symbol
    quote: Symbol
    lot: Decimals
    tick: Decimals
    lowest_price: Decimals
    highest_price: Decimals
    max_order_lots: Annotated[int, Field(ge=1, le=2**40)]


class VenueBlock(_Block):
    """A venue."""

    id: Id
    name: Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]*$", max_length=32)]
    instruments: list[Symbol]
    taker_fee: Decimals


class PoolBlock(_Block):
    """A lending pool."""

    asset: Symbol
    optimal_utilisation: Decimals
    base_rate: Decimals
    slope_below: Decimals
    slope_above: Decimals
    reserve_factor: Decimals
    overdraft_penalty: Decimals
    dust: Decimals


class AssetRiskBlock(_Block):
    """Scan ranges and liquidity of one underlying."""

    asset: Symbol
    sigma: Decimals
    initial_z: Decimals
    initial_horizon_s: Seconds
    maintenance_z: Decimals
    maintenance_horizon_s: Seconds
    half_spread: Decimals
    impact: Decimals
    daily_volume_usd: Annotated[int, Field(ge=1, le=10**15)]

    @model_validator(mode="after")
    def _ordered(self) -> AssetRiskBlock:
        initial = float(self.initial_z) * self.initial_horizon_s**0.5
        maintenance = float(self.maintenance_z) * self.maintenance_horizon_s**0.5
        if maintenance > initial:
            raise ValueError(f"expected the maintenance range of {self.asset} not above its initial range")
        return self


class StressBlock(_Block):
    """A named joint move."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    moves: dict[Symbol, Decimals]


class MarginBlock(_Block):
    """The house margin."""

    blend: Decimals
    initial_over_maintenance: Decimals
    grid: list[Decimals]
    withdrawal_notional: Decimals
    assets: list[AssetRiskBlock]
    stresses: list[StressBlock]

    @model_validator(mode="after")
    def _sane(self) -> MarginBlock:
        if float(self.initial_over_maintenance) < 1.1:
            raise ValueError(f"expected initial_over_maintenance >= 1.1, was {self.initial_over_maintenance}")
        if not 0 <= float(self.blend) <= 1:
            raise ValueError(f"expected blend in 0 .. 1, was {self.blend}")
        points = [float(point) for point in self.grid]
        if points != sorted(points) or points[0] != -1 or points[-1] != 1 or 0 not in points:
            raise ValueError(f"expected grid sorted from -1 to 1 with 0, was {self.grid}")
        return self


class PricesBlock(_Block):
    """The price guard."""

    band: Decimals
    max_age_s: Seconds
    slow_per_10min: Decimals


class LedgerBlock(_Block):
    """Bounds of the ledger."""

    verdict_validity_s: Seconds
    send_by_s: Seconds
    open_orders_max: Annotated[int, Field(ge=1, le=10_000)]
    accounts_per_entity_max: Annotated[int, Field(ge=1, le=60_000)]
    key_horizon_s: Seconds
    client_keys_max: Annotated[int, Field(ge=1, le=1_000_000)]
    session_outcomes: Annotated[int, Field(ge=16, le=65_536)]
    liquidation_fee: Decimals
    index_step_max: Decimals
    step_orders_max: Annotated[int, Field(ge=1, le=32)]


class LiquidationBlock(_Block):
    """How episodes are worked off."""

    target: Decimals
    participation: Decimals
    collar: Decimals
    steps_max: Annotated[int, Field(ge=1, le=10_000)]


class ScheduleBlock(_Block):
    """When periodic things happen."""

    interest_every_s: Seconds
    funding_every_s: Seconds
    funding_rate: Decimals
    settle_every_s: Seconds


class PrincipalBlock(_Block):
    """A named principal with a role other than client."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    role: Annotated[str, StringConstraints(pattern="^(custodian|service)$")]


class ConfigBlock(_Block):
    """The whole parameter set."""

    partitions: Annotated[int, Field(ge=1, le=1024)]
    genesis_s: Annotated[int, Field(ge=0, le=4_102_444_800)]
    assets: list[AssetBlock]
    instruments: list[InstrumentBlock]
    venues: list[VenueBlock]
    pools: list[PoolBlock]
    margin: MarginBlock
    prices: PricesBlock
    ledger: LedgerBlock
    liquidation: LiquidationBlock
    schedule: ScheduleBlock
    principals: list[PrincipalBlock]

    @model_validator(mode="after")
    def _resolves(self) -> ConfigBlock:
        assets, instruments = {a.symbol for a in self.assets}, {i.symbol for i in self.instruments}
        _unique("asset", [a.id for a in self.assets], [a.symbol for a in self.assets])
        _unique("instrument", [i.id for i in self.instruments], [i.symbol for i in self.instruments])
        _unique("venue", [v.id for v in self.venues], [v.name for v in self.venues])
        wanted = [(i.underlying, assets) for i in self.instruments] + [(i.quote, assets) for i in self.instruments]
        wanted += [(a.price_instrument, instruments) for a in self.assets if a.price_instrument]
        wanted += [(s, instruments) for v in self.venues for s in v.instruments]
        wanted += [(b.asset, assets) for b in self.pools] + [(r.asset, assets) for r in self.margin.assets]
        wanted += [(s, assets) for stress in self.margin.stresses for s in stress.moves]
        for symbol, known in wanted:
            if symbol not in known:
                raise ValueError(f"expected a declared symbol, was {symbol}")
        return self


def _unique(what: str, *columns: list[Any]) -> None:
    for column in columns:
        for one in column:
            if column.count(one) > 1:
                raise ValueError(f"expected each {what} once, was {one} twice")


class LoadedParameters:
    """A parameter set with its identity: `.parameters`, `.canonical_json`, `.hash` (SHA-256 of it)."""

    __slots__ = ("canonical_json", "hash", "parameters")

    def __init__(self, canonical_json: str) -> None:
        block = _validated(json.loads(canonical_json), "parameter set")
        self.canonical_json = canonical_json
        self.hash = hashlib.sha256(canonical_json.encode()).digest()
        self.parameters = _build(block)


def load_parameters(directory: Path) -> LoadedParameters:
    """The parameter set of all `*.yaml` of a directory; each top-level key may stand in one file only.

    Raises:
        ConfigurationError: unreadable, unknown key, impossible value; names file or path and bound.
    """
    merged: dict[str, Any] = {}
    paths = sorted(directory.glob("*.yaml"))
    if not paths:
        raise ConfigurationError(f"expected *.yaml files in {directory}, found none")
    for path in paths:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigurationError(f"{path.name}: {error}") from error
        for key, value in (content or {}).items():
            if key in merged:
                raise ConfigurationError(f"{path.name}: expected {key} in one file only")
            merged[key] = value
    block = _validated(merged, str(directory.name))
    return LoadedParameters(json.dumps(block.model_dump(), sort_keys=True, separators=(",", ":")))


def _validated(content: dict[str, Any], where: str) -> ConfigBlock:
    try:
        return ConfigBlock.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{where}: {path}: {first['msg']} (was {str(first['input'])[:80]})") from error


def _ppm(text: str) -> Ppm:
    return Ppm(to_scaled(text, -6))


def _rate(text: str) -> Rate12:
    return Rate12(to_scaled(text, -12))


def _build(block: ConfigBlock) -> p.Parameters:
    try:
        return _parameters(block)
    except MalformedNumber as error:
        raise ConfigurationError(f"parameter set: {error}") from error


def _parameters(block: ConfigBlock) -> p.Parameters:
    assets = {a.symbol: a for a in block.assets}
    asset_ids = {a.symbol: AssetId(a.id) for a in block.assets}
    instrument_ids = {i.symbol: InstrumentId(i.id) for i in block.instruments}
    ledger, schedule = block.ledger, block.schedule
    return p.Parameters(
        partitions=block.partitions,
        assets=tuple(
            p.Asset(
                asset_ids[a.symbol],
                a.symbol,
                a.decimals,
                instrument_ids[a.price_instrument] if a.price_instrument else None,
            )
            for a in block.assets
        ),
        instruments=tuple(_instrument(one, assets) for one in block.instruments),
        venues=tuple(
            p.Venue(VenueId(v.id), v.name, tuple(instrument_ids[s] for s in v.instruments), _ppm(v.taker_fee))
            for v in block.venues
        ),
        pools=tuple(_pools(block.pools, assets)),
        margin=_margin(block.margin, asset_ids),
        prices=p.PriceGuard(
            _ppm(block.prices.band), block.prices.max_age_s * SECOND_NS, _ppm(block.prices.slow_per_10min)
        ),
        ledger=p.LedgerRules(
            verdict_validity_ns=ledger.verdict_validity_s * SECOND_NS,
            send_by_ns=ledger.send_by_s * SECOND_NS,
            open_orders_max=ledger.open_orders_max,
            accounts_per_entity_max=ledger.accounts_per_entity_max,
            key_horizon_ns=ledger.key_horizon_s * SECOND_NS,
            client_keys_max=ledger.client_keys_max,
            session_outcomes=ledger.session_outcomes,
            liquidation_fee=_ppm(ledger.liquidation_fee),
            index_step_max=_ppm(ledger.index_step_max),
            step_orders_max=ledger.step_orders_max,
        ),
        liquidation=p.LiquidationRules(
            _ppm(block.liquidation.target),
            _ppm(block.liquidation.participation),
            _ppm(block.liquidation.collar),
            block.liquidation.steps_max,
        ),
        schedule=p.Schedule(
            schedule.interest_every_s * SECOND_NS,
            schedule.funding_every_s * SECOND_NS,
            _rate(schedule.funding_rate),
            schedule.settle_every_s * SECOND_NS,
        ),
        principals=tuple(p.PrincipalRule(one.id, one.role) for one in block.principals),
        genesis_ns=UnixNs(block.genesis_s * SECOND_NS),
    )


def _pools(blocks: Iterable[PoolBlock], assets: dict[str, AssetBlock]) -> Iterable[p.Pool]:
    for one in blocks:
        asset = assets[one.asset]
        yield p.Pool(
            AssetId(asset.id),
            _ppm(one.optimal_utilisation),
            _rate(one.base_rate),
            _rate(one.slope_below),
            _rate(one.slope_above),
            _ppm(one.reserve_factor),
            _rate(one.overdraft_penalty),
            to_units(one.dust, asset.decimals),
        )


def _margin(block: MarginBlock, asset_ids: dict[str, AssetId]) -> p.MarginModel:
    return p.MarginModel(
        blend=_ppm(block.blend),
        initial_over_maintenance=_ppm(block.initial_over_maintenance),
        grid=tuple(_ppm(point) for point in block.grid),
        withdrawal_notional=_ppm(block.withdrawal_notional),
        assets=tuple(
            p.AssetRisk(
                asset_ids[r.asset],
                _ppm(r.sigma),
                _ppm(r.initial_z),
                r.initial_horizon_s,
                _ppm(r.maintenance_z),
                r.maintenance_horizon_s,
                _ppm(r.half_spread),
                _ppm(r.impact),
                r.daily_volume_usd,
            )
            for r in block.assets
        ),
        stresses=tuple(
            p.JointStress(s.name, tuple((asset_ids[a], _ppm(move)) for a, move in sorted(s.moves.items())))
            for s in block.stresses
        ),
    )


def _instrument(one: InstrumentBlock, assets: dict[str, AssetBlock]) -> p.Instrument:
    kind = p.InstrumentKind[one.kind.upper()]
    base, quote = assets[one.underlying], assets[one.quote]
    exponent = _exponent(one.tick)
    highest = to_scaled(one.highest_price, exponent)
    if to_scaled(one.lowest_price, exponent) < 10_000:
        raise ConfigurationError(f"{one.symbol}: expected tick at most 1 bp of lowest_price, was {one.tick}")
    inverse = kind is p.InstrumentKind.INVERSE_PERP
    if inverse:  # face quote-coins a lot; a lot is worth face/price coins = face·10^decimals·10^-exponent / p units
        base_units, c_num, c_den = 0, to_units(one.lot, quote.decimals), 10**quote.decimals
        c_num, c_den = c_num * 10**base.decimals * 10**-exponent, c_den
        c_num, c_den = (c_num // c_den, 1) if c_num % c_den == 0 else (c_num, c_den)
    else:  # lot·10^-base decimals coins x p·10^exponent quote-coins x 10^quote decimals
        base_units = to_units(one.lot, base.decimals)
        c_num, c_den = base_units * 10**quote.decimals, 10 ** (base.decimals - exponent)
        shrink = _gcd(c_num, c_den)
        c_num, c_den = c_num // shrink, c_den // shrink
    return p.Instrument(
        id=InstrumentId(one.id),
        symbol=one.symbol,
        kind=kind,
        underlying=AssetId(base.id),
        quote=AssetId(quote.id),
        settlement=AssetId(base.id if inverse else quote.id),
        base_units_per_lot=base_units,
        price_exponent=exponent,
        c_num=c_num,
        c_den=c_den,
        max_order_lots=Lots(one.max_order_lots),
        max_price=highest,
    )


def _gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a


def _exponent(tick: str) -> int:
    """Exponent of a tick that is a power of ten. Raises ConfigurationError otherwise."""
    digits = tick.partition(".")[2]
    exponent = -len(digits)
    if to_scaled(tick, exponent) != 1:
        raise ConfigurationError(f"expected tick a power of ten not above 1, was {tick}")
    return exponent
