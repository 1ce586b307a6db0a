"""The interim guard: from the sources' quotes of one instrument to one mark and its validity class.

Every quote is either used or dropped with a named fault; none can stop the service. One usable source gives DEGRADED,
two or more within the band give their median and VALID, wider apart they give HOLD, none gives STALE; HOLD and STALE
keep the last good mark. Quarantine of a single bad source among many belongs to the price-integrity work.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from libs.common.parameters import PriceGuard
from libs.common.units import PPM, MalformedNumber, UnixNs, mul_div_down, mul_div_up, to_scaled
from libs.common.validity import ValidityClass

UNIT_JUMP = 10  # a quote ten times off the last mark is in another unit, or another asset
TEN_MINUTES_NS = 600 * 10**9


class QuoteFault(StrEnum):
    """Why a quote is not used."""

    MALFORMED = "not a decimal number with at most the instrument's digits"
    NOT_POSITIVE = "zero or negative"
    OUT_OF_RANGE = "above the instrument's largest price"
    WRONG_UNIT = "ten times or more away from the last mark"
    TOO_OLD = "source time older than the guard's limit"
    FROM_THE_FUTURE = "source time ahead of the run clock"
    SUPERSEDED = "the same source sent a newer one"


@dataclass(frozen=True, slots=True)
class Quote:
    """A price as a source gave it: a decimal string, untrusted."""

    source: str
    price: str
    source_time_ns: UnixNs


@dataclass(frozen=True, slots=True)
class UsableQuote:
    """A quote that passed; price is an integer with the instrument's exponent."""

    source: str
    price: int
    source_time_ns: UnixNs


@dataclass(frozen=True, slots=True)
class DroppedQuote:
    """A quote that did not pass, and why."""

    source: str
    fault: QuoteFault


@dataclass(frozen=True, slots=True)
class Mark:
    """What an instrument is worth for every decision; prices share the instrument's exponent."""

    mark_price: int
    index_price: int
    confidence: int
    validity: ValidityClass


@dataclass(frozen=True, slots=True)
class Guarded:
    """The mark, None while no source has ever given a usable price, and what became of each quote."""

    mark: Mark | None
    used: tuple[UsableQuote, ...]
    dropped: tuple[DroppedQuote, ...]


@dataclass(frozen=True, slots=True)
class SlowMark:
    """The rate-limited mark; `carry` is the part of a price step it may still move, so that no step is too short."""

    price: int
    carry: int = 0


def guard(
    quotes: Iterable[Quote],
    *,
    last: Mark | None,
    now_ns: UnixNs,
    rules: PriceGuard,
    price_exponent: int,
    max_price: int,
) -> Guarded:
    """The mark these quotes support now, and the fate of each quote."""
    newest: dict[str, Quote] = {}
    dropped: list[DroppedQuote] = []
    for quote in quotes:
        other = newest.get(quote.source)
        if other is not None:
            older, quote = sorted((other, quote), key=lambda each: each.source_time_ns)
            dropped.append(DroppedQuote(older.source, QuoteFault.SUPERSEDED))
        newest[quote.source] = quote
    used: list[UsableQuote] = []
    for quote in newest.values():
        price = _read(quote, price_exponent=price_exponent)
        fault = price if isinstance(price, QuoteFault) else _fault(quote, price, last, now_ns, rules, max_price)
        if fault is not None:
            dropped.append(DroppedQuote(quote.source, fault))
        elif isinstance(price, int):
            used.append(UsableQuote(quote.source, price, quote.source_time_ns))
    mark = _mark(sorted(quote.price for quote in used), last, rules)
    return Guarded(mark, tuple(used), tuple(dropped))


def slow_mark(previous: SlowMark, *, mark_price: int, elapsed_ns: int, ppm_per_10min: int) -> SlowMark:
    """The slow mark after `elapsed_ns`: it follows the mark, up or down, by no more than that share in ten minutes."""
    scale = PPM * TEN_MINUTES_NS
    allowance = previous.price * ppm_per_10min * max(0, elapsed_ns) + previous.carry
    steps = mul_div_down(allowance, 1, scale)
    gap = mark_price - previous.price
    if abs(gap) <= steps:
        return SlowMark(mark_price)
    return SlowMark(previous.price + (steps if gap > 0 else -steps), allowance - steps * scale)


def _read(quote: Quote, *, price_exponent: int) -> int | QuoteFault:
    try:
        return to_scaled(quote.price, price_exponent)
    except MalformedNumber:
        return QuoteFault.MALFORMED


def _fault(
    quote: Quote, price: int, last: Mark | None, now_ns: UnixNs, rules: PriceGuard, max_price: int
) -> QuoteFault | None:
    if price <= 0:
        return QuoteFault.NOT_POSITIVE
    if price > max_price:
        return QuoteFault.OUT_OF_RANGE
    if now_ns - quote.source_time_ns > rules.max_age_ns:
        return QuoteFault.TOO_OLD
    if quote.source_time_ns - now_ns > rules.max_age_ns:
        return QuoteFault.FROM_THE_FUTURE
    if last is not None and not last.mark_price < price * UNIT_JUMP < last.mark_price * UNIT_JUMP**2:
        return QuoteFault.WRONG_UNIT
    return None


def _mark(prices: list[int], last: Mark | None, rules: PriceGuard) -> Mark | None:
    if not prices:
        return last and Mark(last.mark_price, last.index_price, last.confidence, ValidityClass.STALE)
    if len(prices) == 1:
        # One source gives no gap to measure: the last measured one stands, and the class says how little it means.
        return Mark(prices[0], prices[0], last.confidence if last else 0, ValidityClass.DEGRADED)
    middle = mul_div_down(prices[(len(prices) - 1) >> 1] + prices[len(prices) >> 1], 1, 2)
    gap = prices[-1] - prices[0]
    confidence = mul_div_up(gap, 1, 2)
    if gap * PPM <= rules.band * middle:
        return Mark(middle, middle, confidence, ValidityClass.VALID)
    return last and Mark(last.mark_price, last.index_price, confidence, ValidityClass.HOLD)
