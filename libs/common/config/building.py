"""Turns validated blocks into the plain values of `libs.common.parameters`."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from math import gcd

from libs.common import parameters as p
from libs.common.config.blocks import (
    UNITS_MAX,
    AssetBlock,
    ConfigBlock,
    DefaultRiskBlock,
    GuardsBlock,
    MarginBlock,
    OutflowBlock,
    PoolBlock,
    ProfileBlock,
)
from libs.common.config.instrument_blocks import InstrumentBlock
from libs.common.config.packages import LOTS_AT_ONCE, with_legs
from libs.common.default_parameters import STILL, DefaultRules
from libs.common.errors import ConfigurationError
from libs.common.ids import AssetId, InstrumentId, VenueId
from libs.common.option_parameters import NO_OPTION_RISK
from libs.common.units import SECOND_NS, Lots, MalformedNumber, Ppm, Rate12, Units, UnixNs, mul_div_up, to_scaled


def _scaled(where: str, text: str, exponent: int) -> int:
    try:
        return to_scaled(text, exponent)
    except MalformedNumber as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _ppm(text: str) -> Ppm:
    return Ppm(to_scaled(text, -6))


def _rate(text: str) -> Rate12:
    return Rate12(to_scaled(text, -12))


def build(block: ConfigBlock) -> p.Parameters:
    """The parameter set of a validated block. Raises ConfigurationError naming what does not fit its scale."""
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
        instruments=tuple(_instruments(block.instruments, assets)),
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
            command_window_ns=ledger.command_window_s * SECOND_NS,
            commands_per_window_max=ledger.commands_per_window_max,
            notary_keys=tuple(bytes.fromhex(one) for one in ledger.notary_keys),
        ),
        liquidation=p.LiquidationRules(
            _ppm(block.liquidation.target),
            _ppm(block.liquidation.participation),
            _ppm(block.liquidation.collar),
            block.liquidation.steps_max,
            block.liquidation.taker_leverage_max,
        ),
        schedule=p.Schedule(
            schedule.interest_every_s * SECOND_NS,
            schedule.funding_every_s * SECOND_NS,
            _rate(schedule.funding_rate),
            schedule.settle_every_s * SECOND_NS,
        ),
        principals=tuple(p.PrincipalRule(one.id, one.role) for one in block.principals),
        genesis_ns=UnixNs(block.genesis_s * SECOND_NS),
        guards=_guards(block.guards, assets),
        surfaces=tuple(one.built(asset_ids[one.asset]) for one in block.surfaces),
    )


def _guards(block: GuardsBlock, assets: dict[str, AssetBlock]) -> p.GuardRules:
    def floor(one: OutflowBlock, text: str) -> Units:
        return Units(_scaled(f"{one.asset} outflow: floor", text, -assets[one.asset].decimals))

    return p.GuardRules(
        outage_ns=block.outage_s * SECOND_NS,
        gate_after_outage_ns=block.gate_after_outage_s * SECOND_NS,
        gate_after_negative_ns=block.gate_after_negative_s * SECOND_NS,
        outflows=tuple(
            p.OutflowRule(
                AssetId(assets[one.asset].id),
                _ppm(one.hour_share),
                floor(one, one.hour_floor),
                _ppm(one.day_share),
                floor(one, one.day_floor),
            )
            for one in block.outflows
        ),
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
            Units(_scaled(f"{one.asset} pool: dust", one.dust, -asset.decimals)),
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
                _ppm(r.participation or "0"),
                r.house_notional_usd,
            )
            for r in block.assets
        ),
        stresses=tuple(
            p.JointStress(s.name, tuple((asset_ids[a], _ppm(move)) for a, move in sorted(s.moves.items())), _ppm(s.vol))
            for s in block.stresses
        ),
        profiles=tuple(_profile(one, asset_ids) for one in block.profiles),
        options=block.options.built() if block.options else NO_OPTION_RISK,
        default_rules=_default_rules(block.default_risk) if block.default_risk else STILL,
    )


def _default_rules(block: DefaultRiskBlock) -> DefaultRules:
    return DefaultRules(
        jumps_a_year=_ppm(block.jumps_a_year),
        jump_mean=_ppm(block.jump_mean),
        jump_sigma=_ppm(block.jump_sigma),
        correlation=_ppm(block.correlation),
        participation=_ppm(block.participation),
        least_liquidation_ns=block.least_liquidation_s * SECOND_NS,
        paths=block.paths,
        steps=block.steps,
    )


def _profile(one: ProfileBlock, asset_ids: dict[str, AssetId]) -> p.VolatilityProfile:
    return p.VolatilityProfile(
        asset=asset_ids[one.asset],
        floor=_ppm(one.floor),
        stressed=_ppm(one.stressed),
        stressed_weight=_ppm(one.stressed_weight),
        ceiling=_ppm(one.ceiling),
        fast_half_life_ns=one.fast_half_life_s * SECOND_NS,
        slow_half_life_ns=one.slow_half_life_s * SECOND_NS,
        realised_window_ns=one.realised_window_s * SECOND_NS,
        sample_every_ns=one.sample_every_s * SECOND_NS,
        fall_half_life_ns=one.fall_half_life_s * SECOND_NS,
        notice_ns=one.notice_s * SECOND_NS,
        maintenance_rise_per_hour=_ppm(one.maintenance_rise_per_hour),
    )


def _instruments(blocks: list[InstrumentBlock], assets: dict[str, AssetBlock]) -> Iterable[p.Instrument]:
    listed = {one.symbol: _instrument(one, assets, blocks) for one in blocks}
    for at, one in enumerate(blocks):
        yield with_legs(listed[one.symbol], one, path=f"instruments.{at}", listed=listed, assets=assets)


def _instrument(one: InstrumentBlock, assets: dict[str, AssetBlock], listed: list[InstrumentBlock]) -> p.Instrument:
    kind = p.InstrumentKind[one.kind.upper().replace("_FUTURE", "_PERP")]
    base, quote = assets[one.underlying], assets[one.quote]
    exponent = _exponent(one)
    highest = _scaled(f"{one.symbol}: highest_price", one.highest_price, exponent)
    lowest = _scaled(f"{one.symbol}: lowest_price", one.lowest_price, exponent)
    paid_up = one.option is not None or kind is p.InstrumentKind.PACKAGE
    if lowest < 10_000 and not paid_up:  # an option may be worth nothing at all
        raise ConfigurationError(f"{one.symbol}: expected tick at most 1 bp of lowest_price, was {one.tick}")
    inverse = kind is p.InstrumentKind.INVERSE_PERP
    settlement_exponent = _exponent(_price_of(one, base, listed)) if paid_up else exponent
    strike = _scaled(f"{one.symbol}: strike", one.strike, settlement_exponent) if one.strike else 0
    if kind is p.InstrumentKind.LINEAR_OPTION:  # a put may be worth its whole strike
        finer, coarser = max(0, settlement_exponent - exponent), max(0, exponent - settlement_exponent)
        highest = max(highest, mul_div_up(strike, 10**finer, 10**coarser))
    base_units, c_num, c_den = _ratio(one, kind, base, quote, exponent)
    lots, worth = LOTS_AT_ONCE * one.max_order_lots, Fraction(c_num, c_den)
    if lots * (worth / lowest if inverse else worth * highest) >= UNITS_MAX:
        raise ConfigurationError(
            f"{one.symbol}: max_order_lots: expected {LOTS_AT_ONCE} such orders below 2^62, was {one.max_order_lots}"
        )
    return p.Instrument(
        id=InstrumentId(one.id),
        symbol=one.symbol,
        kind=kind,
        underlying=AssetId(base.id),
        quote=AssetId(quote.id),
        settlement=AssetId(base.id if inverse or kind is p.InstrumentKind.COIN_OPTION else quote.id),
        base_units_per_lot=base_units,
        price_exponent=exponent,
        c_num=c_num,
        c_den=c_den,
        max_order_lots=Lots(one.max_order_lots),
        max_price=highest,
        clearing=p.Clearing[one.clearing.upper()],
        delivery=p.Delivery[one.delivery.upper()],
        expiry_ns=UnixNs((one.expiry_s or 0) * SECOND_NS),
        delisted_ns=UnixNs((one.delisted_s or 0) * SECOND_NS),
        option=p.OptionType[one.option.upper()] if one.option else None,
        strike=strike,
        settlement_exponent=settlement_exponent,
    )


def _ratio(
    one: InstrumentBlock, kind: p.InstrumentKind, base: AssetBlock, quote: AssetBlock, exponent: int
) -> tuple[int, int, int]:
    """Base units of a lot, and c as numerator and denominator without a common factor."""
    if kind is p.InstrumentKind.DIGITAL_OPTION:  # what a lot pays, times a price that is a share of it
        base_units, c_num, c_den = 0, _scaled(f"{one.symbol}: lot", one.lot, -quote.decimals), 10**-exponent
    elif kind is p.InstrumentKind.INVERSE_PERP:  # face/price coins a lot: face·10^decimals·10^-exponent/p units
        face = _scaled(f"{one.symbol}: lot", one.lot, -quote.decimals)
        base_units, c_num, c_den = 0, face * 10**base.decimals * 10**-exponent, 10**quote.decimals
    else:  # lot·10^-base decimals coins x p·10^exponent quote-coins x 10^quote decimals
        base_units = _scaled(f"{one.symbol}: lot", one.lot, -base.decimals)
        paid_in = base if kind is p.InstrumentKind.COIN_OPTION else quote
        c_num, c_den = base_units * 10**paid_in.decimals, 10 ** (base.decimals - exponent)
    shrink = gcd(c_num, c_den)
    return base_units, c_num // shrink, c_den // shrink


def _price_of(one: InstrumentBlock, base: AssetBlock, listed: list[InstrumentBlock]) -> InstrumentBlock:
    found = next((spot for spot in listed if spot.symbol == base.price_instrument), None)
    if found is None or found.quote != one.quote:  # strike and settlement price are in its steps
        raise ConfigurationError(f"{one.symbol}: expected a price of {base.symbol} in {one.quote}, found none")
    return found


def _exponent(one: InstrumentBlock) -> int:
    exponent = -len(one.tick.partition(".")[2])
    if to_scaled(one.tick, exponent) != 1:
        raise ConfigurationError(f"{one.symbol}: tick: expected a power of ten not above 1, was {one.tick}")
    return exponent
