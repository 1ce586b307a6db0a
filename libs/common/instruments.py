"""What is traded: kinds of instruments, their terms, and the legs of structured products."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from libs.common.ids import AssetId, InstrumentId
from libs.common.units import Lots, UnixNs, mul_div_down

_NEVER = UnixNs(0)


class InstrumentKind(IntEnum):
    """What a fill of the instrument does."""

    SPOT = 1  # exchanges base against quote
    LINEAR_PERP = 2  # variation in the quote asset, linear in price; a dated future is one with an expiry
    INVERSE_PERP = 3  # variation in the base asset, linear in 1/price; a dated future is one with an expiry
    LINEAR_OPTION = 4  # lots against a premium in the quote asset
    COIN_OPTION = 5  # lots against a premium in the base asset, price in coins a coin
    DIGITAL_OPTION = 6  # lots that pay a fixed sum of the quote or nothing, price a unit of that sum
    PACKAGE = 7  # lots of a structured product, against a price in the quote; worth, and paid, what its legs are


class OptionType(IntEnum):
    """What the holder of an option may do at the strike."""

    CALL = 1  # buy
    PUT = 2  # sell


class Clearing(IntEnum):
    """Where the other side of a position stands."""

    EXTERNAL = 1  # in our omnibus account at a venue
    INTERNAL = 2  # with other clients of the house


class Delivery(IntEnum):
    """What an expiry pays."""

    CASH = 1  # the difference, in the settlement asset
    PHYSICAL = 2  # the coins against the strike, or against the settlement price


@dataclass(frozen=True, slots=True)
class Leg:
    """Part of one lot of a package: signed units of an asset, or signed lots of an option; the other id is 0."""

    asset: int
    instrument: int
    amount: int


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument.

    Args:
        underlying: the base asset.
        settlement: base asset of inverse perps and coin options, quote asset of all others.
        base_units_per_lot: units of the base asset in one lot, an option's multiplier (inverse perps, digitals: 0).
        price_exponent: a price p means p·10^exponent quote per base (coin options: base per base).
        c_num, c_den: exact ratio c. Spot, linear and options: settlement units per lot per integer price step.
            Inverse: value of a lot is c/p settlement units at integer price p.
        max_order_lots: bound of one order.
        max_price: bound of a price.
        clearing, delivery: see there.
        expiry_ns, delisted_ns: run time from which it is worth its settlement price; 0 for never.
        option: call or put, None for all but options.
        strike: of an option, integer with `settlement_exponent`.
        settlement_exponent: of a price it expires at: an option's is the exponent of its underlying's USD price.
        legs: of a package.
    """

    id: InstrumentId
    symbol: str
    kind: InstrumentKind
    underlying: AssetId
    quote: AssetId
    settlement: AssetId
    base_units_per_lot: int
    price_exponent: int
    c_num: int
    c_den: int
    max_order_lots: Lots
    max_price: int
    clearing: Clearing = Clearing.EXTERNAL
    delivery: Delivery = Delivery.CASH
    expiry_ns: UnixNs = _NEVER
    delisted_ns: UnixNs = _NEVER
    option: OptionType | None = None
    strike: int = 0
    settlement_exponent: int = 0
    legs: tuple[Leg, ...] = ()

    @property
    def is_margined(self) -> bool:
        """Holds lots and variation instead of exchanging assets: perps and dated futures."""
        return self.kind in (InstrumentKind.LINEAR_PERP, InstrumentKind.INVERSE_PERP)

    @property
    def is_option(self) -> bool:
        """Holds lots, paid for in cash."""
        return self.option is not None

    @property
    def is_digital(self) -> bool:
        """An option that pays a fixed sum or nothing."""
        return self.kind is InstrumentKind.DIGITAL_OPTION

    @property
    def is_package(self) -> bool:
        """A structured product: what it is worth, and pays, is that of its legs."""
        return self.kind is InstrumentKind.PACKAGE

    @property
    def is_paid_up(self) -> bool:
        """Holds lots, paid for in cash when they are traded: options and packages."""
        return self.is_option or self.is_package

    @property
    def payout_units(self) -> int:
        """Settlement units that one lot of a digital option pays: its price is a share of them."""
        return mul_div_down(self.c_num, 10 ** max(0, -self.price_exponent), self.c_den)

    @property
    def is_call(self) -> bool:
        """A call option."""
        return self.option is OptionType.CALL

    @property
    def closes_ns(self) -> UnixNs:
        """Run time from which nothing is traded: its delisting or its expiry, whatever comes first; 0 for never."""
        delisted_ns, expiry_ns = self.delisted_ns, self.expiry_ns
        return min(delisted_ns, expiry_ns) if delisted_ns and expiry_ns else delisted_ns or expiry_ns

    @property
    def is_perpetual(self) -> bool:
        """Margined without an expiry: it pays funding."""
        return self.is_margined and not self.expiry_ns
