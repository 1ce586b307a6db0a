"""What a venue trades, how it charges and how deep it quotes, read from its own TOML file."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

from examples.venue.ladder import Ladder
from examples.venue.options import Option, Package, digital

SECOND_NS = 1_000_000_000

_DECIMAL = re.compile(r"\d{1,15}(\.\d{1,10})?\Z")


class MalformedListing(ValueError):
    """The venue's own file cannot be taken; the message says what was expected."""


class MalformedPrice(ValueError):
    """A price from outside that cannot be taken; the message says what was expected."""


def decimal(text: object) -> Decimal:
    """The number in a plain decimal string. Raises MalformedPrice for anything else, signs and NaN included."""
    if not isinstance(text, str) or not _DECIMAL.match(text):
        raise MalformedPrice(f"expected a decimal such as '12.5', was {str(text)[:40]!r}")
    return Decimal(text)


@dataclass(frozen=True, slots=True)
class Instrument:
    """One listed instrument; its prices are integers in ticks.

    Args:
        reference: the symbol whose reference price it follows when its own has none (a perpetual: its spot).
        is_inverse: a lot is face in the quote asset, and fees are in the base asset.
        fee_decimals: digits after the point of the asset that fees are paid in.
        option: the option or package that it is; its reference price is what that is worth.
        expiry_ns: run time from which it is not traded any more, 0 for never.
    """

    symbol: str
    reference: str
    tick: Decimal
    lot: Decimal
    is_inverse: bool
    fee_decimals: int
    ladder: Ladder
    option: Option | Package | None = None
    expiry_ns: int = 0

    def has_ended(self, run_time_ns: int) -> bool:
        """Whether it is not traded any more."""
        return 0 < self.expiry_ns <= run_time_ns

    def ticks(self, text: str) -> int:
        """A client's price in ticks. Raises MalformedPrice unless it is a positive multiple of the tick."""
        price = decimal(text)
        ticks = int(price / self.tick)
        if ticks <= 0 or ticks * self.tick != price:
            raise MalformedPrice(f"expected a positive multiple of {self.tick}, was {text}")
        return ticks

    def nearest_ticks(self, text: str) -> int:
        """A reference price in ticks, rounded to the nearest. Raises MalformedPrice unless that is positive."""
        ticks = round(decimal(text) / self.tick)
        if ticks <= 0:
            raise MalformedPrice(f"expected a price of at least {self.tick}, was {text}")
        return ticks

    def price_text(self, ticks: int) -> str:
        """The decimal string of a price."""
        return f"{ticks * self.tick:f}"

    def fee_text(self, *, lots: int, ticks: int, rate: Fraction) -> str:
        """The fee of a fill as a decimal string, rounded up to the asset's last digit."""
        face = lots * Fraction(self.lot)
        price = ticks * Fraction(self.tick)
        notional = face / price if self.is_inverse else face * price
        units = ceil(notional * rate * 10**self.fee_decimals)
        return f"{Decimal(units).scaleb(-self.fee_decimals):f}"


@dataclass(frozen=True, slots=True)
class Listing:
    """A venue: its fees as fractions of the notional, and what it trades by symbol."""

    taker_fee: Fraction
    maker_fee: Fraction
    instruments: dict[str, Instrument]


def load_listing(path: Path) -> Listing:
    """The listing in a TOML file. Raises MalformedListing naming the file and what was expected."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        depths = document.get("depth", {})
        blocks = [depths[each["depth"]] | each if "depth" in each else each for each in document["instruments"]]
        instruments = [_instrument(each) for each in blocks]
        listing = Listing(
            taker_fee=Fraction(decimal(document["taker_fee"])),
            maker_fee=Fraction(decimal(document["maker_fee"])),
            instruments={each.symbol: each for each in instruments},
        )
        if len(listing.instruments) != len(instruments):
            raise MalformedListing("expected each symbol once")
    except OSError as error:
        raise MalformedListing(f"{path}: {error.strerror}") from error
    except KeyError as error:
        raise MalformedListing(f"{path}: expected a value for {error}, was none") from error
    except (TypeError, ValueError) as error:
        raise MalformedListing(f"{path}: {error}") from error
    return listing


def _instrument(block: dict[str, Any]) -> Instrument:
    tick, lot = decimal(block["tick"]), decimal(block["lot"])
    fee_decimals = int(block["fee_decimals"])
    if not (tick > 0 and lot > 0 and 0 <= fee_decimals <= 18):
        raise MalformedListing(f"{block['symbol']}: expected tick and lot above 0 and fee_decimals of 0 to 18")
    return Instrument(
        symbol=str(block["symbol"]),
        reference=str(block.get("reference", block["symbol"])),
        tick=tick,
        lot=lot,
        is_inverse=bool(block.get("inverse", False)),
        fee_decimals=fee_decimals,
        ladder=Ladder(
            levels=int(block["levels"]),
            half_spread_ppm=int(block["half_spread_ppm"]),
            step_ppm=int(block["step_ppm"]),
            first_lots=int(block["first_lots"]),
            last_lots=int(block["last_lots"]),
            jitter_ppm=int(block["jitter_ppm"]),
            refill_ns=int(block["refill_seconds"]) * SECOND_NS,
        ),
        option=_option(block) if "option" in block else _package(block) if "legs" in block else None,
        expiry_ns=int(block.get("expiry_s", 0)) * SECOND_NS,
    )


def _package(block: dict[str, Any]) -> Package:
    legs: list[tuple[float, Option]] = []
    for leg in block["legs"]:
        option = _option({**block, **leg})
        sold = -1.0 if leg.get("sold", False) else 1.0
        quantity = sold * float(decimal(leg["quantity"]))
        legs += digital(quantity, option) if leg.get("digital", False) else ((quantity, option),)
    return Package(
        underlying=int(block["underlying"]),
        coins=float(decimal(block.get("coins", "0"))),
        money=float(decimal(block.get("money", "0"))),
        legs=tuple(legs),
    )


def _option(block: dict[str, Any]) -> Option:
    if block["option"] not in ("call", "put"):
        raise MalformedListing(f"{block['symbol']}: expected option call or put, was {block['option']!r}")
    strike = decimal(block["strike"])
    if strike <= 0:
        raise MalformedListing(f"{block['symbol']}: expected strike above 0")
    return Option(
        underlying=int(block["underlying"]),
        is_call=block["option"] == "call",
        strike=float(strike),
        expiry_ns=int(block["expiry_s"]) * SECOND_NS,
        in_coins=bool(block.get("in_coins", False)),
        vol_bias_ppm=int(block.get("vol_bias_ppm", 0)),
    )
