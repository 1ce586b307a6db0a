"""dYdX v4: perps against one quote coin, margin fractions that grow with a market's open interest."""

from __future__ import annotations

from dataclasses import dataclass

from libs.common.units import mul_div_down, mul_div_up
from services.risk_evaluation.domain.venue_models.arithmetic import PPM, times_power_of_ten
from services.risk_evaluation.domain.venue_models.parameters import bounded, by_name, children, named, pick
from services.risk_evaluation.domain.venue_models.requirement import Check, Demand

QUOTE_RESOLUTION = 6  # one quote quantum is 10^-6 USD
_AMOUNT_MAX = 1e30


@dataclass(frozen=True, slots=True)
class Market:
    """Rules of one perpetual.

    Args:
        base_resolution: one base quantum is 10^base_resolution coins.
        price_exponent: a price p means p·10^price_exponent USD.
        initial_margin_ppm: of notional, while open interest is low.
        maintenance_fraction_ppm: of the unscaled initial margin.
        oi_lower_cap, oi_upper_cap: quote quanta of open interest between which the fraction rises to 1; 0: never.
    """

    name: str = named()
    base_resolution: int = bounded(-64, 64)
    price_exponent: int = bounded(-64, 64)
    initial_margin_ppm: int = bounded(0, PPM)
    maintenance_fraction_ppm: int = bounded(0, PPM)
    oi_lower_cap: int = bounded(0, _AMOUNT_MAX, default=0)
    oi_upper_cap: int = bounded(0, _AMOUNT_MAX, default=0)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Every market the account may hold."""

    markets: tuple[Market, ...] = children(Market, at_most=4096)


@dataclass(frozen=True, slots=True)
class Position:
    """A position at a price.

    Args:
        quantums: base quanta, long > 0.
        open_interest: base quanta of the whole market.
        own_margin_ppm: initial margin fraction that the account chose for itself; 0 for none.
    """

    market: str
    quantums: int
    price: int
    open_interest: int = 0
    own_margin_ppm: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """Quote quanta and positions. Other coins are no collateral here."""

    quote: int
    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class Risk:
    """Net collateral, initial and maintenance margin requirement, quote quanta."""

    nc: int
    imr: int
    mmr: int

    def __add__(self, other: Risk) -> Risk:
        return Risk(self.nc + other.nc, self.imr + other.imr, self.mmr + other.mmr)

    @property
    def is_initial_collateralised(self) -> bool:
        """Covers the initial requirement; equality does."""
        return self.nc >= self.imr

    @property
    def is_maintenance_collateralised(self) -> bool:
        """Covers the maintenance requirement; equality does."""
        return self.nc >= self.mmr

    @property
    def is_liquidatable(self) -> bool:
        """Has a requirement and does not cover it: an account without positions never is."""
        return self.mmr > 0 and self.nc < self.mmr


def riskier(first: Risk, second: Risk) -> int:
    """1 when the first is riskier, -1 when the second is, 0 when neither.

    By the ratio of net collateral to maintenance requirement, cross-multiplied; ties by the larger requirement, and
    where there is none by the smaller collateral. Source: formulas.md D1; dydxprotocol/v4-chain lib/margin/risk.go.
    """
    left, right = first.nc * second.mmr, second.nc * first.mmr
    if left != right:
        return 1 if left < right else -1
    if first.mmr == second.mmr == 0:
        return (first.nc < second.nc) - (first.nc > second.nc)
    return (first.mmr > second.mmr) - (first.mmr < second.mmr)


def may_change(old: Risk, new: Risk) -> bool:
    """Whether an account below its requirement may go from one state to the other: only if it gets no riskier.

    Source: formulas.md D1, last paragraph.
    """
    if new.mmr > old.mmr:
        return False
    if new.mmr == old.mmr == 0:
        return new.nc > old.nc
    return riskier(new, old) <= 0


def notional(market: Market, quantums: int, price: int) -> int:
    """Signed notional, quote quanta, truncated toward zero."""
    return times_power_of_ten(quantums * price, market.price_exponent + market.base_resolution + QUOTE_RESOLUTION)


def initial_fraction_ppm(market: Market, open_interest: int, price: int, own_margin_ppm: int = 0) -> int:
    """Initial margin fraction at this open interest, rounded down; the account's own one when that is higher."""
    base, low, high = market.initial_margin_ppm, market.oi_lower_cap, market.oi_upper_cap
    size = notional(market, open_interest, price)
    if high == 0 or size <= low:
        fraction = base
    elif size >= high:
        fraction = PPM
    else:
        fraction = base + mul_div_down(PPM - base, size - low, high - low)
    return max(fraction, own_margin_ppm)


def position_risk(market: Market, position: Position) -> Risk:
    """Notional as collateral, and the requirements, both rounded up; maintenance from the unscaled initial one."""
    worth = notional(market, position.quantums, position.price)
    fraction = initial_fraction_ppm(market, position.open_interest, position.price, position.own_margin_ppm)
    unscaled = mul_div_up(abs(worth), market.initial_margin_ppm, PPM)
    return Risk(
        nc=worth,
        imr=mul_div_up(abs(worth), fraction, PPM),
        mmr=mul_div_up(unscaled, market.maintenance_fraction_ppm, PPM),
    )


def account_risk(parameters: Parameters, account: Account) -> Risk:
    """Sum over positions. Raises ConfigurationError for a market without rules."""
    markets = by_name(parameters.markets, "markets")
    total = Risk(nc=account.quote, imr=0, mmr=0)
    for at, one in enumerate(account.positions):
        total = total + position_risk(pick(markets, one.market, f"positions[{at}].market"), one)
    return total


def demand(parameters: Parameters, account: Account) -> Demand:
    """What dYdX asks of this account."""
    risk = account_risk(parameters, account)
    has = risk.nc / PPM
    return Demand(
        initial=Check(has=has, needs=risk.imr / PPM),
        maintenance=Check(has=has, needs=risk.mmr / PPM),
        parts={"quote": account.quote / PPM, "notional": (risk.nc - account.quote) / PPM},
    )
