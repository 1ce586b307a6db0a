"""The last half hour of what is settled at an average: value without a jump, risk that fades, nothing left to ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest

from ballast.events.v1 import market_pb2
from libs.common.ids import InstrumentId
from libs.common.parameters import Delivery
from libs.common.units import PPM, SECOND_NS, SETTLEMENT_WINDOW_NS, UnixNs
from libs.common.validity import ValidityClass
from services.risk_evaluation.app.market import Market as Heard
from services.risk_evaluation.app.market import settled
from services.risk_evaluation.domain.margin import Margins
from services.risk_evaluation.domain.model import Model, build_model
from services.risk_evaluation.domain.settlement import Settling, settling_of
from services.risk_evaluation.domain.surfaces import VolatilitySurface
from services.risk_evaluation.tests.hand import accepted
from services.risk_evaluation.tests.option_world import (
    CALL,
    COIN_CALL,
    FUTURE,
    MADE_AT,
    OPTIONS,
    PUT,
    Market,
    option_parameters,
    surface,
)  # fmt: skip
from services.risk_evaluation.tests.test_option_margin import Given, book_of
from services.risk_evaluation.tests.world import BTC, BTC_PERP, COIN, DOLLAR, ETH, USD, Book, marks

ENDS = UnixNs(MADE_AT + SETTLEMENT_WINDOW_NS)
MINUTES = 30
PAYING = 201
BOOKS: dict[str, tuple[Given, Given]] = {  # before, and as the ledger leaves it at a settlement price of 61,000
    "long future": (({USD: 10**12}, {FUTURE: 100}, {}), ({USD: 10**12 + 100 * 61_000 * DOLLAR}, {}, {})),
    "short future": (({USD: 10**13}, {FUTURE: -100}, {}), ({USD: 10**13 - 100 * 61_000 * DOLLAR}, {}, {})),
    "hedged": (
        ({USD: 10**12}, {FUTURE: 100, BTC_PERP: -40}, {}), ({USD: 10**12 + 100 * 61_000 * DOLLAR}, {BTC_PERP: -40}, {}),
    ),
    "calls": (({USD: 10**12}, {}, {CALL: -9}), ({USD: 10**12 - 9_000 * DOLLAR}, {}, {})),
    "puts": (({USD: 10**12}, {}, {PUT: -9}), ({USD: 10**12}, {}, {})),
    "coin calls": (({BTC: 100 * COIN}, {}, {COIN_CALL: -9}), ({BTC: 100 * COIN}, {}, {})),
    "coin calls that pay": (({USD: 10**12}, {}, {PAYING: -61}), ({USD: 10**12, BTC: -COIN}, {}, {})),
}  # fmt: skip


def _model() -> Model:
    base = option_parameters()
    ending = tuple(replace(one, expiry_ns=ENDS) if one.id in (FUTURE, *OPTIONS) else one for one in base.instruments)
    coin_call = next(one for one in ending if one.id == COIN_CALL)
    return build_model(replace(base, instruments=(*ending, replace(coin_call, id=InstrumentId(PAYING), strike=60_000))))


MODEL = _model()


@dataclass(frozen=True, slots=True)
class Moment:
    """A minute of the window: the index from then on, and what is known of the average."""

    minute: int
    index: int
    market: Market


def moments(path: Sequence[int]) -> Iterator[Moment]:
    """The minutes of a path of the index, each price standing for a minute; the last one is the end of the window."""
    for minute, index in enumerate(path):
        spot = marks(btc=index, eth=3_000)
        known: dict[int, Settling] = {}
        if minute:
            settling = settling_of(
                price=sum(path[:minute]) // minute, known_ppm=minute * PPM // MINUTES, is_final=minute == MINUTES,
                covered_ns=minute * 60 * SECOND_NS,
            )  # fmt: skip
            assert settling is not None
            known = {one.id: settling for one in MODEL.instruments if one.closes_ns}
        quoted = {**spot, FUTURE: spot[BTC_PERP]}
        yield Moment(minute, index, Market({**quoted, **settled(quoted, known)}, _surfaces(minute, index)))


def _surfaces(minute: int, index: int) -> dict[int, VolatilitySurface]:
    at = UnixNs(MADE_AT + minute * 60 * SECOND_NS)
    smiles = surface(spot=index, expiries=(ENDS,) if at < ENDS else ())
    return {BTC: replace(smiles, made_at_ns=at), ETH: replace(smiles, made_at_ns=at)}


def path_to(settlement: int, seed: int) -> list[int]:
    """A walk of the index whose average is that price to the dollar."""
    walk = np.cumsum(np.random.default_rng(seed).normal(0.0, 60.0, MINUTES + 1))
    path = [round(settlement + each - float(np.mean(walk[:MINUTES]))) for each in walk]
    path[-2] += settlement * MINUTES - sum(path[:MINUTES])
    return path


@pytest.mark.parametrize("name", BOOKS)
@pytest.mark.parametrize("seed", range(3))
def test_at_the_end_equity_and_requirement_are_those_after_settlement(name: str, seed: int) -> None:
    before, after = (book_of(given, Book(MODEL)) for given in BOOKS[name])
    *_, last = moments(path_to(61_000, seed))
    was, now = last.market.margins(before), last.market.margins(after)
    assert abs(int(was.equity[0]) - int(now.equity[0])) <= 1
    coins_paid = 90 * DOLLAR if "pay" in name else 1  # A counts coins, not yet those that an option is worth
    assert abs(int(was.add_on[0]) - int(now.add_on[0])) <= coins_paid
    assert abs(scanned(was) - scanned(now)) <= 2


@pytest.mark.parametrize("count", [100, -100])
def test_only_what_the_index_does_with_the_unknown_share_moves_equity(count: int) -> None:
    book, path = book_of(({USD: 10**13}, {FUTURE: count}, {}), Book(MODEL)), path_to(61_000, 5)
    seen = [int(each.market.margins(book).equity[0]) for each in moments(path)]
    for minute in range(1, MINUTES + 1):
        rest = 1.0 - minute / MINUTES
        moved = seen[minute] - seen[minute - 1] - count * rest * (path[minute] - path[minute - 1]) * DOLLAR
        assert abs(moved) <= abs(count) * DOLLAR  # the average is published in whole dollars


@pytest.mark.parametrize("name", [name for name in BOOKS if name != "hedged"])
def test_the_requirement_of_what_ends_only_falls_while_the_index_stands_still(name: str) -> None:
    book = book_of(BOOKS[name][0], Book(MODEL))
    seen = [each.market.margins(book) for each in moments([61_000] * (MINUTES + 1))]
    rest = requirement(next(moments([61_000])).market.margins(book_of(BOOKS[name][1], Book(MODEL))))
    needed = [requirement(each) for each in seen]
    assert all(later <= sooner + 1 for sooner, later in pairwise(needed)), needed
    assert needed[-1] == pytest.approx(rest, abs=90 * DOLLAR if "pay" in name else 1)


def requirement(margins: Margins) -> int:
    """Maintenance margin."""
    return int(margins.maintenance_margin[0])


def scanned(margins: Margins) -> int:
    """Maintenance margin without its add-on."""
    return int(margins.maintenance_margin[0] - margins.add_on[0])


def test_the_rest_of_a_hedge_is_asked_for_bit_by_bit() -> None:
    # 40 short against 40 that end: what is left needs margin of its own, a thirtieth more each minute.
    book = book_of(({USD: 10**12}, {FUTURE: 40, BTC_PERP: -40}, {}), Book(MODEL))
    needed = [requirement(each.market.margins(book)) for each in moments([61_000] * (MINUTES + 1))]
    steps = np.diff(needed)
    assert steps.min() >= 0
    assert steps.max() < 1.6 * needed[-1] / MINUTES


def test_what_is_delivered_is_worth_its_coins_to_the_last() -> None:
    base = MODEL.parameters
    delivered = build_model(
        replace(base, instruments=tuple(
            replace(one, delivery=Delivery.PHYSICAL) if one.closes_ns else one for one in base.instruments))
    )  # fmt: skip
    book = book_of(({USD: 10**12}, {FUTURE: 100}, {CALL: 3}), Book(delivered))
    one = list(moments(path_to(61_000, 1)))[MINUTES // 2].market
    without = Market({key: replace(mark, settling=None) for key, mark in one.marks.items()}, one.surfaces)
    for name in ("equity", "maintenance_margin", "initial_margin"):
        assert np.array_equal(getattr(one.margins(book), name), getattr(without.margins(book), name))


@pytest.mark.parametrize(
    ("price", "known_ppm", "covered", "expected"),
    [
        (0, 10, 0, None),
        (50, 10, 0, None),
        (50, 500_000, SETTLEMENT_WINDOW_NS // 2, Settling(50, 0.5)),
        (50, 500_000, SETTLEMENT_WINDOW_NS // 6, Settling(50, 0.25)),
        (50, 1_000_000, 0, Settling(50, 1.0)),
    ],
)
def test_time_that_did_not_count_makes_no_share(
    price: int, known_ppm: int, covered: int, expected: Settling | None
) -> None:
    found = settling_of(price=price, known_ppm=known_ppm, covered_ns=covered, is_final=known_ppm == PPM)
    assert found == expected


def test_the_worker_hears_averages_with_the_marks_and_forgets_them_with_a_snapshot() -> None:
    heard = Heard(MODEL)

    def told(sequence: int, *, snapshot: bool = False, average: int = 0, rows: bool = True) -> None:
        body = market_pb2.MarksBody(snapshot=snapshot)
        for one in (BTC_PERP, FUTURE) if rows else (BTC_PERP,):
            body.instrument.append(one)
            for column in (body.mark_price, body.slow_price, body.index_price):
                column.append(60_000 + sequence)
            body.confidence.append(0)
            body.validity += bytes([ValidityClass.VALID])
        if average:
            body.settlement_average.add(instrument=FUTURE, price=average, known_ppm=PPM, is_final=True)
        heard.apply(accepted(sequence, body.SerializeToString()), received_wall_ns=1)

    told(1)
    assert heard.marks[FUTURE].settling is None
    told(2, average=59_000, rows=False)
    assert heard.marks[FUTURE].settling == Settling(59_000, 1.0)
    assert heard.marks[FUTURE].price == 60_001
    told(3)
    assert heard.marks[FUTURE].settling == Settling(59_000, 1.0)
    told(4, snapshot=True)
    assert heard.marks[FUTURE].settling is None
