"""Who takes part in the demo: lenders, house capital and clients with their books and habits; pure, from a seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

LENDERS = 10
DESKS = 40  # principals; each runs several entities, as a fund or a broker would
DESK_NAME = "desk-{:02d}"
LENDER_NAME = "lender-{:02d}"
OPENING_SECONDS = 5_400  # run time within which books are built up
ROLL_SECONDS = 900  # after an instrument of a book has ended
_COINS = ("BTC", "ETH", "LTC")
_COIN_WEIGHTS = (6, 3, 1)
_ROUGH_PRICE = {"BTC": 16_000.0, "ETH": 780.0, "LTC": 300.0}  # to size a book; orders use the price of their moment
_LOT_DIGITS = {"BTC": 3, "ETH": 2, "LTC": 2}
_CALLS = {
    "BTC": (
        "BTC-USD-20180117-18000-C",
        "BTC-USD-20180223-20000-C",
        "BTC-USD-20180330-20000-C",
        "BTC-COIN-20180330-20000-C",
    ),
    "ETH": ("ETH-USD-20180330-1200-C",),
}
_PUTS = {
    "BTC": (
        "BTC-USD-20180117-14000-P",
        "BTC-COIN-20180117-14000-P",
        "BTC-USD-20180223-12000-P",
        "BTC-USD-20180330-8000-P",
        "BTC-COIN-20180330-10000-P",
    ),
    "ETH": ("ETH-USD-20180330-600-P",),
}
_FUTURES = ("BTC-USD-20171222", "BTC-USD-20180206")
_PACKAGES = ("BTC-STRANGLE-20180117", "BTC-NOTE-20180330-12000")
_PACKAGE_EVERY = 40  # one client in so many holds a structured product, and nothing else
_OPTION_REACH = 0.15  # an option moves several times as far as its underlying


@dataclass(frozen=True, slots=True)
class Trade:
    """An order a client means to place.

    Args:
        at_s: run seconds after the start of the replay.
        usd: notional, of an option that of its coins; the quantity is taken at the price of the moment.
        limit: worst price over the reference price, such as 1.01 to pay up to 1 %; below 1 a resting bid.
    """

    at_s: int
    instrument: str
    venue: str
    buy: bool
    usd: float
    limit: float
    rests: bool


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """USD a client means to take out."""

    at_s: int
    usd: float


@dataclass(frozen=True, slots=True)
class Client:
    """One entity with one account.

    Args:
        desk: principal that owns it.
        style: name of its book, for the screen.
        deposits: amount by asset, decimal strings.
        top_up_usd: what it adds when called, 0 if it never does.
        gives_up: closes what is left once it has been liquidated.
    """

    number: int
    desk: str
    style: str
    deposits: tuple[tuple[str, str], ...]
    trades: tuple[Trade, ...]
    withdrawals: tuple[Withdrawal, ...]
    top_up_usd: float
    gives_up: bool


@dataclass(frozen=True, slots=True)
class Lender:
    """One lender and what it supplies to the pools, decimal strings."""

    name: str
    supplies: tuple[tuple[str, str], ...]


def lenders(clients: int) -> list[Lender]:
    """Lenders with pools deep enough for so many clients."""
    scale = max(1.0, clients / 1_000)
    each = (("USD", 6_000_000 * scale), ("BTC", 60 * scale), ("ETH", 1_500 * scale), ("LTC", 3_000 * scale))
    supplies = tuple((asset, f"{amount:.2f}") for asset, amount in each)
    return [Lender(LENDER_NAME.format(n), supplies) for n in range(LENDERS)]


def house_capital(clients: int) -> tuple[tuple[str, str], ...]:
    """(kind, USD) of each partition's shard of house capital."""
    scale = max(0.1, clients / 1_000)
    return (
        ("FIRST_LOSS", f"{50_000 * scale:.2f}"),
        ("INSURANCE", f"{250_000 * scale:.2f}"),
        ("SECOND_CAPITAL", f"{500_000 * scale:.2f}"),
    )


def clients(count: int, *, seed: int, seconds: int, ends_at_s: Mapping[str, int]) -> list[Client]:
    """Clients numbered from 0.

    Args:
        seconds: length of the replay in run time; habits spread over it.
        ends_at_s: run seconds into the replay at which an instrument ends, of those that do.
    """
    random = Random(f"ballast-demo-{seed}")
    found = [_client(number, random, seconds, ends_at_s) for number in range(count)]
    return [_with_package(one, seed) if one.number % _PACKAGE_EVERY == 17 else one for one in found]


def _client(number: int, random: Random, seconds: int, ends_at_s: Mapping[str, int]) -> Client:
    desk = DESK_NAME.format(number % DESKS)
    whale = number % 200 == 7
    equity = 600_000.0 if whale else math.exp(random.uniform(math.log(2_000), math.log(50_000)))
    style = random.choices(tuple(_STYLES), weights=[weight for weight, _ in _STYLES.values()])[0]
    deposits, trades = _STYLES[style][1](random, equity, leverage=2.0 if whale else _leverage(random))
    trades = tuple(one for one in trades if ends_at_s.get(one.instrument, one.at_s + 1) > one.at_s)  # not ended by then
    trades = (*trades, *_rolled(random, trades, ends_at_s))
    if random.random() < 0.25:
        trades = (*trades, _resting(random, equity, seconds))
    if random.random() < 0.30:
        trades = (*trades, _later(random, equity, seconds))
    withdrawals: tuple[Withdrawal, ...] = ()
    if random.random() < 0.25:
        at_s = random.randrange(OPENING_SECONDS, max(OPENING_SECONDS + 1, seconds))
        withdrawals = (Withdrawal(at_s, round(equity * random.uniform(0.01, 0.4), 2)),)
    top_up = round(equity * random.uniform(0.1, 0.4), 2) if random.random() < 0.3 else 0.0
    gives_up = random.random() < 0.8
    return Client(number, desk, style, deposits, trades, withdrawals, top_up, gives_up)


def _with_package(client: Client, seed: int) -> Client:
    """The client with a structured product instead of its book, some of it on credit; its draws are its own."""
    random = Random(f"ballast-demo-{seed}-package-{client.number}")
    equity = math.exp(random.uniform(math.log(2_000), math.log(50_000)))
    usd, symbol = equity * random.uniform(0.5, 1.6), random.choice(_PACKAGES)
    at_s = random.randrange(OPENING_SECONDS // 2, OPENING_SECONDS)
    bought = Trade(at_s, symbol, venue_of(symbol, client.number), True, usd, 1.03, False)
    return replace(client, style="package", deposits=(("USD", f"{equity:.2f}"),), trades=(bought,), withdrawals=())


def _leverage(random: Random) -> float:
    return min(6.0, 0.6 + random.expovariate(1 / 1.1))


Book = tuple[tuple[tuple[str, str], ...], tuple[Trade, ...]]


def _opening(random: Random, instrument: str, *, buy: bool, usd: float) -> tuple[Trade, ...]:
    venue = venue_of(instrument, random.randrange(2))
    pieces = max(1, math.ceil(usd / 250_000))
    return tuple(
        Trade(random.randrange(OPENING_SECONDS), instrument, venue, buy, usd / pieces, 1.02 if buy else 0.98, False)
        for _ in range(pieces)
    )


def _spot_margin(random: Random, equity: float, *, leverage: float) -> Book:
    coin = random.choices(_COINS, _COIN_WEIGHTS)[0]
    return (("USD", f"{equity:.2f}"),), _opening(random, f"{coin}-USD", buy=True, usd=equity * min(leverage, 4.0))


def _perp_long(random: Random, equity: float, *, leverage: float) -> Book:
    coin = random.choices(_COINS, _COIN_WEIGHTS)[0]
    return (("USD", f"{equity:.2f}"),), _opening(random, f"{coin}-USD-PERP", buy=True, usd=equity * leverage)


def _perp_short(random: Random, equity: float, *, leverage: float) -> Book:
    coin = random.choices(_COINS, _COIN_WEIGHTS)[0]
    return (("USD", f"{equity:.2f}"),), _opening(random, f"{coin}-USD-PERP", buy=False, usd=equity * leverage)


def _coin_backed(random: Random, equity: float, *, leverage: float) -> Book:
    coin = random.choices(_COINS, _COIN_WEIGHTS)[0]
    amount = equity / _ROUGH_PRICE[coin]
    deposits = ((coin, f"{amount:.{_LOT_DIGITS[coin]}f}"), ("USD", f"{equity * 0.05:.2f}"))
    other = random.choices(_COINS, _COIN_WEIGHTS)[0]
    return deposits, _opening(random, f"{other}-USD-PERP", buy=True, usd=equity * min(leverage, 3.0) * 0.6)


def _basis(random: Random, equity: float, *, leverage: float) -> Book:
    coin = random.choices(("BTC", "ETH"), (2, 1))[0]
    usd = equity * min(leverage, 3.0)
    long = _opening(random, f"{coin}-USD", buy=True, usd=usd)
    short = _opening(random, f"{coin}-USD-PERP", buy=False, usd=usd)
    return (("USD", f"{equity:.2f}"),), long + short


def _spread(random: Random, equity: float, *, leverage: float) -> Book:
    long = _opening(random, "ETH-USD-PERP", buy=True, usd=equity * leverage * 0.7)
    short = _opening(random, "BTC-USD-PERP", buy=False, usd=equity * leverage * 0.7)
    return (("USD", f"{equity:.2f}"),), long + short


def _carry(random: Random, equity: float, *, leverage: float) -> Book:
    usd = equity * min(leverage, 3.0)
    future = random.choice(_FUTURES)
    long = _opening(random, "BTC-USD", buy=True, usd=usd)
    return (("USD", f"{equity:.2f}"),), long + _opening(random, future, buy=False, usd=usd)


def _future_long(random: Random, equity: float, *, leverage: float) -> Book:
    return (("USD", f"{equity:.2f}"),), _opening(random, random.choice(_FUTURES), buy=True, usd=equity * leverage)


def _hedged_seller(random: Random, equity: float, *, leverage: float) -> Book:
    """Sells puts that end within the replay and half as many coins."""
    usd = equity * min(leverage, 2.0)
    put = _option(random, _PUTS["BTC"][:2], buy=False, usd=usd)
    return (("USD", f"{equity:.2f}"),), (put, *_opening(random, "BTC-USD-PERP", buy=False, usd=usd / 2))


def _rolled(random: Random, trades: tuple[Trade, ...], ends_at_s: Mapping[str, int]) -> tuple[Trade, ...]:
    """What follows the end of what a book holds: futures go on as perpetuals, the hedge of an option is taken off."""
    ended = [one for one in trades if one.instrument in ends_at_s]
    options = [one for one in ended if one.instrument.endswith(("-C", "-P"))]
    futures = [replace(one, at_s=ends_at_s[one.instrument]) for one in ended if one not in options]
    if options:
        at_s = max(ends_at_s[one.instrument] for one in options)
        futures += [replace(one, at_s=at_s, buy=not one.buy) for one in trades if one.instrument.endswith("-PERP")]
    return tuple(
        replace(
            one,
            at_s=one.at_s + ROLL_SECONDS + random.randrange(ROLL_SECONDS),
            instrument="BTC-USD-PERP",
            limit=1.01 if one.buy else 0.99,
        )
        for one in futures
    )


def venue_of(instrument: str, number: int) -> str:
    """A venue that trades the instrument, another one for every other number."""
    if instrument.startswith(("LTC", "BTC-COIN", "ETH-USD-2", "BTC-STRANGLE")):
        return "north"
    return "south" if instrument.startswith("BTC-NOTE") else ("north", "south")[number % 2]


def _option(random: Random, symbols: tuple[str, ...], *, buy: bool, usd: float) -> Trade:
    instrument = random.choice(symbols)
    at_s = random.randrange(OPENING_SECONDS // 2, OPENING_SECONDS)
    limit = 1.0 + _OPTION_REACH if buy else 1.0 - _OPTION_REACH
    return Trade(at_s, instrument, venue_of(instrument, random.randrange(2)), buy, usd, limit, False)


def _covered_call(random: Random, equity: float, *, leverage: float) -> Book:
    coin = random.choices(("BTC", "ETH"), (2, 1))[0]
    deposits = ((coin, f"{equity / _ROUGH_PRICE[coin]:.{_LOT_DIGITS[coin]}f}"), ("USD", f"{equity * 0.05:.2f}"))
    return deposits, (_option(random, _CALLS[coin], buy=False, usd=equity * random.uniform(0.5, 0.95)),)


def _covered_strangle(random: Random, equity: float, *, leverage: float) -> Book:
    coin = random.choices(("BTC", "ETH"), (2, 1))[0]
    deposits = ((coin, f"{equity / _ROUGH_PRICE[coin]:.{_LOT_DIGITS[coin]}f}"), ("USD", f"{equity * 0.2:.2f}"))
    usd = equity * random.uniform(0.3, 0.7)
    call = _option(random, _CALLS[coin], buy=False, usd=usd)
    return deposits, (call, _option(random, _PUTS[coin], buy=False, usd=usd))


def _option_buyer(random: Random, equity: float, *, leverage: float) -> Book:
    coin = random.choices(("BTC", "ETH"), (2, 1))[0]
    symbols = random.choice((_CALLS, _PUTS))[coin]
    return (("USD", f"{equity:.2f}"),), (_option(random, symbols, buy=True, usd=equity * min(leverage, 2.0)),)


def _option_seller(random: Random, equity: float, *, leverage: float) -> Book:
    coin = random.choices(("BTC", "ETH"), (2, 1))[0]
    symbols = random.choices((_PUTS, _CALLS), (2, 1))[0][coin]
    return (("USD", f"{equity:.2f}"),), (_option(random, symbols, buy=False, usd=equity * min(leverage, 2.5)),)


_STYLES = {
    "spot on margin": (30, _spot_margin),
    "perp long": (32, _perp_long),
    "perp short": (12, _perp_short),
    "coin-backed": (12, _coin_backed),
    "basis": (7, _basis),
    "spread": (7, _spread),
    "carry": (5, _carry),
    "future": (3, _future_long),
    "hedged seller": (3, _hedged_seller),
    "covered call": (5, _covered_call),
    "covered strangle": (3, _covered_strangle),
    "option buyer": (6, _option_buyer),
    "option seller": (6, _option_seller),
}


def _resting(random: Random, equity: float, seconds: int) -> Trade:
    coin = random.choices(("BTC", "ETH"), (2, 1))[0]
    at_s = random.randrange(OPENING_SECONDS, max(OPENING_SECONDS + 1, seconds // 2))
    venue = random.choice(("north", "south"))
    return Trade(at_s, f"{coin}-USD-PERP", venue, True, equity * 0.2, random.uniform(0.90, 0.98), True)


def _later(random: Random, equity: float, seconds: int) -> Trade:
    coin = random.choices(("BTC", "ETH"), (2, 1))[0]
    at_s = random.randrange(OPENING_SECONDS, max(OPENING_SECONDS + 1, seconds))
    buy = random.random() < 0.6
    venue = random.choice(("north", "south"))
    return Trade(at_s, f"{coin}-USD-PERP", venue, buy, equity * 0.3, 1.02 if buy else 0.98, False)
