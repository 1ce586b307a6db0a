"""Domain parameters as plain values: what an asset, instrument, venue, pool or margin model is; `config` loads them."""

from __future__ import annotations

from dataclasses import dataclass, field

from libs.common.default_parameters import STILL, DefaultRules
from libs.common.ids import AssetId, InstrumentId, VenueId
from libs.common.instruments import Clearing as Clearing
from libs.common.instruments import Delivery as Delivery
from libs.common.instruments import Instrument as Instrument
from libs.common.instruments import InstrumentKind as InstrumentKind
from libs.common.instruments import Leg as Leg
from libs.common.instruments import OptionType as OptionType
from libs.common.option_parameters import NO_OPTION_RISK, OptionRisk, SurfaceRule
from libs.common.units import PPM, SECOND_NS, Ppm, Rate12, Units, UnixNs, mul_div_down

_STILL = Ppm(0)


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset.

    Args:
        decimals: units are 10^-decimals.
        price_instrument: spot instrument whose mark is its USD price; None for USD itself, worth 1.
    """

    id: AssetId
    symbol: str
    decimals: int
    price_instrument: InstrumentId | None


@dataclass(frozen=True, slots=True)
class Venue:
    """A venue and what it trades."""

    id: VenueId
    name: str
    instruments: tuple[InstrumentId, ...]
    taker_fee: Ppm


@dataclass(frozen=True, slots=True)
class Pool:
    """A lending pool: kinked rate curve (Aave v3 form), rates a year in 10^-12."""

    asset: AssetId
    optimal_utilisation: Ppm
    base_rate: Rate12
    slope_below: Rate12
    slope_above: Rate12
    reserve_factor: Ppm
    overdraft_penalty: Rate12
    dust: Units


@dataclass(frozen=True, slots=True)
class AssetRisk:
    """Scan ranges and liquidity of one underlying.

    Args:
        sigma: volatility a year.
        initial_z, initial_horizon_s: IM range is z·sigma·sqrt(horizon).
        maintenance_z, maintenance_horizon_s: the same for MM.
        half_spread: cost of crossing, on notional.
        impact: cost of liquidating one day's volume, on notional; scales with the square root of size.
        daily_volume_usd: whole USD a day.
        participation: share of the volume within the initial horizon that a liquidation can sell; a long position
            beyond it counts for nothing as collateral. 0: no bound.
        house_notional_usd: net position of the whole house; each dollar is charged as if this much were sold with it.
    """

    asset: AssetId
    sigma: Ppm
    initial_z: Ppm
    initial_horizon_s: int
    maintenance_z: Ppm
    maintenance_horizon_s: int
    half_spread: Ppm
    impact: Ppm
    daily_volume_usd: int
    participation: Ppm = _STILL
    house_notional_usd: int = 0


@dataclass(frozen=True, slots=True)
class JointStress:
    """A named move of several assets at once, in 10^-6 of their price; a floor of the scan.

    Args:
        vol: move of volatilities, share of their range.
    """

    name: str
    moves: tuple[tuple[AssetId, Ppm], ...]
    vol: Ppm = _STILL


@dataclass(frozen=True, slots=True)
class VolatilityProfile:
    """How an underlying's volatility follows its price; volatilities a year, times in ns.

    Args:
        floor: long-run volatility, never below it.
        stressed, stressed_weight: volatility of the worst period on record, and its share of the target.
        ceiling: never above it.
        fast_half_life_ns, slow_half_life_ns: of the two exponentially weighted measures; the larger one counts.
        realised_window_ns: of the evenly weighted measure, which counts too.
        sample_every_ns: least time between two prices that make a return.
        fall_half_life_ns: how slowly the volatility of new risk falls.
        notice_ns: how long a level stands for new risk before maintenance may follow it.
        maintenance_rise_per_hour: how fast maintenance follows at most, as a share of itself.
    """

    asset: AssetId
    floor: Ppm
    stressed: Ppm
    stressed_weight: Ppm
    ceiling: Ppm
    fast_half_life_ns: int
    slow_half_life_ns: int
    realised_window_ns: int
    sample_every_ns: int
    fall_half_life_ns: int
    notice_ns: int
    maintenance_rise_per_hour: Ppm


@dataclass(frozen=True, slots=True)
class MarginModel:
    """The house margin of docs/margin.md.

    Args:
        blend: λ, share of the joint worst case.
        initial_over_maintenance: ρ, at least 1.1.
        grid: spot moves as shares of the range, -1 .. 1, with 0.
        withdrawal_notional: share of net notional per underlying that must stay.
        profiles: how volatility follows prices; an asset without one keeps the sigma of its block.
        options: what is asked of options beyond moves of spot. default_rules: of the probability of default.
    """

    blend: Ppm
    initial_over_maintenance: Ppm
    grid: tuple[Ppm, ...]
    withdrawal_notional: Ppm
    assets: tuple[AssetRisk, ...]
    stresses: tuple[JointStress, ...]
    profiles: tuple[VolatilityProfile, ...] = ()
    options: OptionRisk = NO_OPTION_RISK
    default_rules: DefaultRules = STILL


@dataclass(frozen=True, slots=True)
class PriceGuard:
    """The interim guard of marks.

    Args:
        band: widest gap between two sources, on their middle.
        max_age_ns: source times older than that do not count.
        slow_per_10min: how fast the slow mark may follow.
    """

    band: Ppm
    max_age_ns: int
    slow_per_10min: Ppm


@dataclass(frozen=True, slots=True)
class LedgerRules:
    """Bounds and horizons of the ledger."""

    verdict_validity_ns: int
    send_by_ns: int
    open_orders_max: int
    accounts_per_entity_max: int
    key_horizon_ns: int
    client_keys_max: int
    session_outcomes: int
    liquidation_fee: Ppm
    index_step_max: Ppm
    step_orders_max: int
    command_window_ns: int
    commands_per_window_max: int
    notary_keys: tuple[bytes, ...]  # Ed25519 public keys whose signed heads count


@dataclass(frozen=True, slots=True)
class LiquidationRules:
    """How an episode is worked off.

    Args:
        target: b, equity aimed at over initial margin.
        participation: share of displayed depth one step may take.
        collar: worst price against the mark.
        steps_max: steps of one episode before a person is called.
        taker_leverage_max: worth of the position that a liquidity provider may have after a takeover, in multiples of
            what it has of the settlement asset.
    """

    target: Ppm
    participation: Ppm
    collar: Ppm
    steps_max: int
    taker_leverage_max: int = 5


@dataclass(frozen=True, slots=True)
class Schedule:
    """When periodic things happen, in run time."""

    interest_every_ns: int
    funding_every_ns: int
    funding_rate: Rate12  # a tick, the interest component of the funding rate
    settle_every_ns: int


@dataclass(frozen=True, slots=True)
class PrincipalRule:
    """A named principal with a role other than client: 'custodian', 'service', 'operator' or 'liquidity_provider'.

    A liquidity provider is a client that has agreed to take over positions.
    """

    id: str
    role: str


@dataclass(frozen=True, slots=True)
class OutflowRule:
    """How much of an asset may leave: the larger of a share of what the house holds and a floor, an hour and a day.

    Args:
        hour_floor, day_floor: units over all partitions.
    """

    asset: AssetId
    hour_share: Ppm
    hour_floor: Units
    day_share: Ppm
    day_floor: Units

    def limits(self, held: int) -> tuple[int, int]:
        """Units that may leave a house which holds this much, in an hour and in a day."""
        return (
            max(mul_div_down(max(0, held), self.hour_share, PPM), self.hour_floor),
            max(mul_div_down(max(0, held), self.day_share, PPM), self.day_floor),
        )

    def base(self, *, partitions: int) -> tuple[int, int]:
        """Units of the limits that each partition may let out without asking: an even part of half of the floor."""
        if partitions == 1:
            return (0, 0)
        return (mul_div_down(self.hour_floor, 1, 2 * partitions), mul_div_down(self.day_floor, 1, 2 * partitions))


@dataclass(frozen=True, slots=True)
class GuardRules:
    """What keeps assets in when something is wrong.

    Args:
        outage_ns: marks silent or commands waiting for so long, in wall time, is an outage.
        gate_after_outage_ns, gate_after_negative_ns: run time for which nothing leaves after an outage, and after an
            account was below zero.
        outflows: an asset without one has no limit.
    """

    outage_ns: int = 300 * SECOND_NS
    gate_after_outage_ns: int = 600 * SECOND_NS
    gate_after_negative_ns: int = 3600 * SECOND_NS
    outflows: tuple[OutflowRule, ...] = ()

    def outflow(self, asset: int) -> OutflowRule | None:
        """The limit of this asset."""
        return next((one for one in self.outflows if one.asset == asset), None)


@dataclass(frozen=True, slots=True)
class Parameters:
    """One whole, validated parameter set."""

    partitions: int
    assets: tuple[Asset, ...]
    instruments: tuple[Instrument, ...]
    venues: tuple[Venue, ...]
    pools: tuple[Pool, ...]
    margin: MarginModel
    prices: PriceGuard
    ledger: LedgerRules
    liquidation: LiquidationRules
    schedule: Schedule
    principals: tuple[PrincipalRule, ...]
    genesis_ns: UnixNs  # run time before which nothing happens
    guards: GuardRules = GuardRules()
    surfaces: tuple[SurfaceRule, ...] = ()

    _assets: dict[int, Asset] = field(init=False, repr=False, compare=False)
    _instruments: dict[int, Instrument] = field(init=False, repr=False, compare=False)
    _venues: dict[int, Venue] = field(init=False, repr=False, compare=False)
    _pools: dict[int, Pool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_assets", {one.id: one for one in self.assets})
        object.__setattr__(self, "_instruments", {one.id: one for one in self.instruments})
        object.__setattr__(self, "_venues", {one.id: one for one in self.venues})
        object.__setattr__(self, "_pools", {one.asset: one for one in self.pools})

    def asset(self, asset: int) -> Asset | None:
        """The asset of this id."""
        return self._assets.get(asset)

    def instrument(self, instrument: int) -> Instrument | None:
        """The instrument of this id."""
        return self._instruments.get(instrument)

    def venue(self, venue: int) -> Venue | None:
        """The venue of this id."""
        return self._venues.get(venue)

    def pool(self, asset: int) -> Pool | None:
        """The pool of this asset."""
        return self._pools.get(asset)
