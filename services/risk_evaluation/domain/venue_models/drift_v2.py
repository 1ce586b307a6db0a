"""Drift v2: cross margin over spot and perps with weights that shrink and grow with size."""

from __future__ import annotations

from dataclasses import dataclass

from libs.common.units import mul_div_down
from services.risk_evaluation.domain.venue_models.arithmetic import value_away
from services.risk_evaluation.domain.venue_models.drift_weights import (
    ONE,
    MarginType,
    by_type,
    margin_ratio,
    size_weight,
    spot_asset_weight,
    spot_liability_weight,
)
from services.risk_evaluation.domain.venue_models.parameters import bounded, by_name, children, named, pick
from services.risk_evaluation.domain.venue_models.requirement import Check, Demand

QUOTE_ONE = 1_000_000  # prices and values are 10^-6 USD
PERP_DECIMALS = 9
_VALUE_MAX = 1e30
_WEIGHT_MAX = 100 * ONE


@dataclass(frozen=True, slots=True)
class SpotMarket:
    """Rules of a coin, weights in 10^-4, size factor in 10^-6.

    Args:
        scale_start: 10^-6 USD of all deposits above which the initial asset weight shrinks; 0 for never.
    """

    name: str = named()
    decimals: int = bounded(0, 18)
    asset_initial: int = bounded(0, ONE)
    asset_maintenance: int = bounded(0, ONE)
    liability_initial: int = bounded(0, _WEIGHT_MAX)
    liability_maintenance: int = bounded(0, _WEIGHT_MAX)
    imf_factor: int = bounded(0, QUOTE_ONE, default=0)
    scale_start: int = bounded(0, _VALUE_MAX, default=0)


@dataclass(frozen=True, slots=True)
class PerpMarket:
    """Rules of a perp, ratios and weights in 10^-4, size factors in 10^-6."""

    name: str = named()
    ratio_initial: int = bounded(0, _WEIGHT_MAX)
    ratio_maintenance: int = bounded(0, _WEIGHT_MAX)
    imf_factor: int = bounded(0, QUOTE_ONE, default=0)
    pnl_weight_initial: int = bounded(0, ONE, default=ONE)
    pnl_weight_maintenance: int = bounded(0, ONE, default=ONE)
    pnl_imf_factor: int = bounded(0, QUOTE_ONE, default=0)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Markets, the coin that all is quoted in, and what each open order costs, 10^-6 USD."""

    quote: str = named()
    spot: tuple[SpotMarket, ...] = children(SpotMarket, at_most=1024)
    perps: tuple[PerpMarket, ...] = children(PerpMarket, at_most=1024)
    open_order: int = bounded(0, _VALUE_MAX, default=10_000)


@dataclass(frozen=True, slots=True)
class Price:
    """Oracle price and its average over five minutes, 10^-6 USD; strict pricing takes the worse of both."""

    now: int
    average: int | None = None

    def low(self, strict: bool) -> int:
        """Price of what is owned."""
        return min(self.now, self.average) if strict and self.average is not None else self.now

    def high(self, strict: bool) -> int:
        """Price of what is owed."""
        return max(self.now, self.average) if strict and self.average is not None else self.now


@dataclass(frozen=True, slots=True)
class SpotPosition:
    """Units of a coin, owed when negative, with the units its open bids would buy and its asks sell, both >= 0."""

    market: str
    amount: int
    price: Price
    bids: int = 0
    asks: int = 0
    open_orders: int = 0
    all_deposits: int = 0


@dataclass(frozen=True, slots=True)
class PerpPosition:
    """Base amount, 10^-9, long > 0, unrealised profit in 10^-6 USD, open orders as above."""

    market: str
    base: int
    pnl: int
    price: int
    bids: int = 0
    asks: int = 0
    open_orders: int = 0
    own_ratio: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """Positions, and the margin ratio (10^-4) that the account asks for itself at least; 0 for none."""

    spot: tuple[SpotPosition, ...] = ()
    perps: tuple[PerpPosition, ...] = ()
    own_ratio: int = 0


@dataclass(frozen=True, slots=True)
class Margin:
    """Weighted collateral and requirement, 10^-6 USD."""

    collateral: int
    requirement: int

    def plus(self, *, value: int, asset_weight: int, liability_weight: int) -> Margin:
        """With a value added: collateral when owned, requirement when owed, each at its weight."""
        if value >= 0:
            return Margin(self.collateral + mul_div_down(value, asset_weight, ONE), self.requirement)
        return Margin(self.collateral, self.requirement + mul_div_down(-value, liability_weight, ONE))


def account_margin(parameters: Parameters, account: Account, kind: MarginType, *, strict: bool = False) -> Margin:
    """Collateral and requirement. Raises ConfigurationError for a market without rules. Source: formulas.md D2."""
    spot = by_name(parameters.spot, "spot")
    perps = by_name(parameters.perps, "perps")
    total = Margin(0, 0)
    for at, one in enumerate(account.spot):
        total = _with_spot(parameters, total, pick(spot, one.market, f"spot[{at}].market"), one, account, kind, strict)
    for at, each in enumerate(account.perps):
        total = _with_perp(parameters, total, pick(perps, each.market, f"perps[{at}].market"), each, account, kind)
    return total


@dataclass(frozen=True, slots=True)
class _Filled:
    value: int  # of the coins then held
    orders: int  # what the fills paid or took in, quote
    asset_weight: int
    liability_weight: int

    def worth(self) -> int:
        weight = self.asset_weight if self.value >= 0 else self.liability_weight
        return mul_div_down(self.value, weight, ONE) + self.orders


def _with_spot(
    parameters: Parameters,
    total: Margin,
    market: SpotMarket,
    one: SpotPosition,
    account: Account,
    kind: MarginType,
    strict: bool,
) -> Margin:
    def filled(amount: int, paid: int) -> _Filled:
        price = one.price.low(strict) if amount >= 0 else one.price.high(strict)
        asset, liability = _spot_weights(market, one, amount, account, kind)
        if market.name == parameters.quote:
            liability = max(liability, ONE)
        return _Filled(value_away(amount, price, market.decimals), paid, asset, liability)

    # Either all bids are filled or all asks: the worse of the two counts, its proceeds or cost at full value.
    bids = filled(one.amount + one.bids, -value_away(one.bids, one.price.high(strict), market.decimals))
    asks = filled(one.amount - one.asks, value_away(one.asks, one.price.low(strict), market.decimals))
    worse = bids if bids.worth() <= asks.worth() else asks
    total = total.plus(
        value=worse.value, asset_weight=worse.asset_weight, liability_weight=worse.liability_weight
    ).plus(value=worse.orders, asset_weight=ONE, liability_weight=ONE)
    return Margin(total.collateral, total.requirement + one.open_orders * parameters.open_order)


def _spot_weights(
    market: SpotMarket, one: SpotPosition, amount: int, account: Account, kind: MarginType
) -> tuple[int, int]:
    asset = spot_asset_weight(
        size=abs(amount),
        decimals=market.decimals,
        imf_factor=market.imf_factor,
        initial=market.asset_initial,
        maintenance=market.asset_maintenance,
        kind=kind,
        all_deposits_value=value_away(one.all_deposits, one.price.now, market.decimals),
        scale_start=market.scale_start,
    )
    liability = spot_liability_weight(
        size=abs(amount),
        decimals=market.decimals,
        imf_factor=market.imf_factor,
        weight=by_type(market.liability_initial, market.liability_maintenance, kind),
    )
    if kind is MarginType.INITIAL and account.own_ratio and asset < ONE:
        asset = min(asset, max(0, ONE - account.own_ratio))
        liability = max(liability, ONE + account.own_ratio)
    return asset, liability


def _with_perp(
    parameters: Parameters, total: Margin, market: PerpMarket, one: PerpPosition, account: Account, kind: MarginType
) -> Margin:
    size = max(abs(one.base + one.bids), abs(one.base - one.asks))
    ratio = margin_ratio(
        size=size,
        imf_factor=market.imf_factor,
        ratio=by_type(market.ratio_initial, market.ratio_maintenance, kind),
    )
    if kind is MarginType.INITIAL:
        ratio = max(ratio, account.own_ratio, one.own_ratio)
    requirement = mul_div_down(value_away(size, one.price, PERP_DECIMALS), ratio, ONE)
    weight = size_weight(
        size=max(one.pnl, 0) * 1000,
        imf_factor=market.pnl_imf_factor,
        weight=by_type(market.pnl_weight_initial, market.pnl_weight_maintenance, kind),
    )
    profit = mul_div_down(one.pnl, weight, ONE) if one.pnl > 0 else one.pnl
    return Margin(total.collateral + profit, total.requirement + requirement + one.open_orders * parameters.open_order)


def demand(parameters: Parameters, account: Account) -> Demand:
    """What Drift asks of this account, strictly priced where new risk is asked for."""
    initial = account_margin(parameters, account, MarginType.INITIAL, strict=True)
    maintenance = account_margin(parameters, account, MarginType.MAINTENANCE)
    return Demand(
        initial=Check(has=initial.collateral / QUOTE_ONE, needs=initial.requirement / QUOTE_ONE),
        maintenance=Check(has=maintenance.collateral / QUOTE_ONE, needs=maintenance.requirement / QUOTE_ONE),
        parts={},
    )
