"""The second look at accepted frames names each planted break, and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ballast.events.v1 import custody_pb2, journal_pb2, lifecycle_pb2, movement_pb2
from ballast.types.v1 import custody_pb2 as custody_words
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, account_id, system_account
from libs.common.units import INDEX_ONE
from services.collateral_management.app.audit import CHECKED, Audit
from services.collateral_management.app.owner import ALERTS

USD = 1
CLIENT = account_id(partition=0, entity=1, sub=0)
OTHER = account_id(partition=0, entity=2, sub=0)
POOL = system_account(SystemAccount.POOL, partition=0, index=USD)
EPISODE = 77


def posting(account: int, kind: words.LineKind, delta: int, balance: int) -> journal_pb2.Effect:
    one = journal_pb2.Posting(account=account, asset=USD, kind=kind, delta=delta, balance=balance, version=1)
    return journal_pb2.Effect(posting=one)


def episode(**fields: Any) -> journal_pb2.Effect:
    state = fields.pop("state", words.EPISODE_STATE_OPEN)
    return journal_pb2.Effect(episode=journal_pb2.Episode(episode=EPISODE, account=CLIENT, state=state, **fields))


def index(*, borrow: int = INDEX_ONE, supply: int = INDEX_ONE) -> journal_pb2.Effect:
    one = journal_pb2.PoolIndex(asset=USD, borrow_index=borrow, supply_index=supply, overdraft_index=INDEX_ONE)
    return journal_pb2.Effect(pool_index=one)


class House:
    """An audit and what it found; partition 0 of one is home of every pool."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.paid: list[int] = []
        self.book = PartitionBook(0)
        self.audit = Audit(
            0,
            partitions=1,
            found=lambda number, detail: self.found.append(number),
            paid=lambda asset, step, units: self.paid.append(units),
        )

    def frame(self, command: str, *effects: journal_pb2.Effect, is_history: bool = False) -> None:
        body = journal_pb2.JournalBody(outcomes=[journal_pb2.Outcome(command=command, effects=effects)])
        self.book.apply(sequence=self.book.sequence + 1, run_time_ns=1, body=body)
        self.audit.frame(self.book.sequence, body, self.book, is_history=is_history)


CASH, LOSS, DEBT = words.LINE_KIND_CASH, words.LINE_KIND_LOSS, words.LINE_KIND_DEBT_SHARES
SUPPLY = words.LINE_KIND_SUPPLY_SHARES


def lines_do_not_sum(house: House) -> None:
    house.frame("withdraw", posting(CLIENT, CASH, -5, 5))


def pool_below_zero(house: House) -> None:
    house.frame("withdraw", posting(POOL, CASH, -5, -5), posting(CLIENT, CASH, 5, 5))


def pool_pays_for_nothing(house: House) -> None:
    house.frame("supply", posting(POOL, CASH, 9, 9), posting(POOL, SUPPLY, -9, -9), posting(CLIENT, SUPPLY, 9, 9),
                posting(CLIENT, CASH, -9, 0))  # fmt: skip
    assert house.found == []
    house.frame("redeem", posting(POOL, CASH, -4, 5), posting(CLIENT, CASH, 4, 4))


def released_without_verdict(house: House) -> None:
    order = journal_pb2.Order(order=3, account=CLIENT, lots=5, remaining=5, state=words.ORDER_STATE_RELEASED)
    house.frame("place_order", journal_pb2.Effect(order=order))


def settled_without_verdict(house: House) -> None:
    one = journal_pb2.Reservation(reservation=3, account=CLIENT, state=words.RESERVATION_STATE_SETTLED)
    house.frame("withdraw", journal_pb2.Effect(reservation=one))


def emptied_with_a_line(house: House) -> None:
    house.frame("confirm_deposit", posting(CLIENT, CASH, 5, 5), posting(POOL, CASH, -5, 0))
    house.found.clear()
    house.frame("close_episode", episode(state=words.EPISODE_STATE_EMPTIED, closed_sequence=2))


def borrow_index_falls(house: House) -> None:
    house.frame("set_index", index(borrow=INDEX_ONE - 1))


def supply_index_falls(house: House) -> None:
    house.frame("set_index", index(supply=INDEX_ONE - 1))


def opened_while_healthy(house: House) -> None:
    house.frame("open_episode", episode(opened_sequence=1, equity=10, maintenance_margin=10))


def unknown_step(house: House) -> None:
    house.frame("resolve_shortfall", journal_pb2.Effect(waterfall=journal_pb2.Waterfall(asset=USD, step=9, units=1)))  # type: ignore[arg-type]


def two_open_episodes(house: House) -> None:
    house.frame("open_episode", episode(opened_sequence=1, maintenance_margin=10))
    other = journal_pb2.Episode(episode=78, account=CLIENT, state=words.EPISODE_STATE_OPEN, maintenance_margin=1)
    house.frame("open_episode", journal_pb2.Effect(episode=other))


AWAY = system_account(SystemAccount.IN_TRANSIT, partition=0, index=3)


def leaves_without_a_movement(house: House) -> None:
    house.frame("verdict", posting(CLIENT, CASH, -5, 0), posting(AWAY, CASH, 5, 5))


def movement_of_less_than_left(house: House) -> None:
    line = movement_pb2.MovedLine(account=CLIENT, asset=USD, kind=CASH, units=4)
    out = journal_pb2.Effect(movement=movement_pb2.Movement(to_partition=3, sequence=1, lines=[line]))
    house.frame("verdict", posting(CLIENT, CASH, -5, 0), posting(AWAY, CASH, 5, 5), out)


VENUE = system_account(SystemAccount.VENUE, partition=0, index=2)


def placed(units: int, *, venue: int = 2) -> journal_pb2.Effect:
    one = custody_pb2.Placement(account=CLIENT, asset=USD, venue=venue, units=units)
    return journal_pb2.Effect(placement=one)


def bought_and_not_placed(house: House) -> None:
    house.frame("order_report", posting(VENUE, CASH, -5, -5), posting(CLIENT, CASH, 5, 5), placed(5))
    assert house.found == []
    house.frame("order_report", posting(VENUE, CASH, -5, -10), posting(CLIENT, CASH, 5, 10), placed(9))


def placed_at_another_venue(house: House) -> None:
    house.frame("order_report", posting(VENUE, CASH, -5, -5), posting(CLIENT, CASH, 5, 5), placed(5, venue=1))


def sweep(house: House, command: str, *effects: journal_pb2.Effect) -> None:
    house.frame(command, posting(POOL, CASH, 9, 9), posting(POOL, SUPPLY, -9, -9), posting(CLIENT, SUPPLY, 9, 9),
                posting(CLIENT, CASH, -9, 0), *effects)  # fmt: skip


def lent_by_nobody(house: House) -> None:
    sweep(house, "settle_variation")


def swept_without_consent(house: House) -> None:
    terms = custody_pb2.CustodyTerms(account=CLIENT, asset=USD, mode=custody_words.CUSTODY_MODE_SEGREGATED)
    sweep(house, "sweep_lendable", journal_pb2.Effect(custody_terms=terms))


def left_by_a_closed_gate(house: House) -> None:
    house.frame("set_gate", journal_pb2.Effect(gate=custody_pb2.Gate(until_ns=2)))
    one = journal_pb2.Reservation(reservation=3, account=CLIENT, state=words.RESERVATION_STATE_SETTLED)
    house.frame("verdict", journal_pb2.Effect(reservation=one))


LOTS = words.LINE_KIND_LOTS


def deleveraged_beyond_its_position(house: House) -> None:
    taken = journal_pb2.Waterfall(episode=EPISODE, account=CLIENT, asset=USD, step=words.WATERFALL_STEP_ADL)
    lots = [posting(CLIENT, LOTS, -5, 0), posting(OTHER, LOTS, 5, 2)]
    house.frame("open_account", posting(CLIENT, LOTS, 5, 5), posting(OTHER, LOTS, -5, -3))
    house.frame("deleverage", *lots, journal_pb2.Effect(waterfall=taken))


def given_back_to_another(house: House) -> None:
    house.frame("open_account", posting(CLIENT, LOTS, 5, 5), posting(OTHER, LOTS, -5, -5))
    back = lifecycle_pb2.PositionClosed(account=CLIENT, cause=kinds.CLOSING_CAUSE_GIVEN_BACK)
    closed = lifecycle_pb2.PositionClosed(account=OTHER, cause=kinds.CLOSING_CAUSE_DELEVERAGED)
    effects = [journal_pb2.Effect(position_closed=one) for one in (back, closed)]
    house.frame("arrive", posting(CLIENT, LOTS, 3, 8), posting(OTHER, LOTS, -3, -8), *effects)


def settled_at_another_price(house: House) -> None:
    listing = lifecycle_pb2.Listing(instrument=7, price=100)
    closed = lifecycle_pb2.PositionClosed(account=CLIENT, instrument=7, price=101, cause=kinds.CLOSING_CAUSE_SETTLED)
    house.frame(
        "close_instrument", journal_pb2.Effect(listing=listing), journal_pb2.Effect(position_closed=closed)
    )  # fmt: skip


PLANTED: list[tuple[str, Callable[[House], None]]] = [
    ("I1", lines_do_not_sum), ("I2", pool_below_zero), ("I2", pool_pays_for_nothing),
    ("I3", released_without_verdict), ("I3", settled_without_verdict), ("I6", emptied_with_a_line),
    ("I7", borrow_index_falls), ("I7", supply_index_falls), ("I10", opened_while_healthy), ("I11", unknown_step),
    ("I11", deleveraged_beyond_its_position), ("I11", given_back_to_another),
    ("I16", settled_at_another_price),
    ("I13", two_open_episodes), ("I15", leaves_without_a_movement), ("I15", movement_of_less_than_left),
    ("I20", bought_and_not_placed), ("I20", placed_at_another_venue), ("I21", lent_by_nobody),
    ("I21", swept_without_consent), ("I22", left_by_a_closed_gate),
]  # fmt: skip


@pytest.mark.parametrize(("number", "plant"), PLANTED)
def test_a_planted_break_is_named(number: str, plant: Callable[[House], None]) -> None:
    house = House()
    plant(house)
    assert set(house.found) == {number}


def test_every_invariant_it_claims_to_check_has_a_planted_break() -> None:
    assert {number for number, _ in PLANTED} == set(CHECKED)


def test_good_frames_break_nothing() -> None:
    house = House()
    house.frame("confirm_deposit", posting(CLIENT, CASH, 5, 5), posting(POOL, CASH, -5, 5))
    house.frame("open_episode", episode(opened_sequence=2, equity=9, maintenance_margin=10))
    house.frame("step_episode", journal_pb2.Effect(order=journal_pb2.Order(
        order=3, account=CLIENT, lots=5, remaining=5, episode=EPISODE, state=words.ORDER_STATE_RELEASED)))  # fmt: skip
    house.frame("set_index", index(borrow=INDEX_ONE + 5))
    house.frame("close_episode", episode(state=words.EPISODE_STATE_HEALTHY, closed_sequence=5))
    assert house.found == []


def test_a_deleveraging_of_both_sides_is_no_break() -> None:
    house = House()
    taken = journal_pb2.Waterfall(account=CLIENT, asset=USD, step=words.WATERFALL_STEP_ADL, units=7)
    house.frame("open_account", posting(CLIENT, LOTS, 5, 5), posting(OTHER, LOTS, -5, -5))
    lots = [posting(CLIENT, LOTS, -3, 2), posting(OTHER, LOTS, 3, -2)]
    house.frame("deleverage", *lots, journal_pb2.Effect(waterfall=taken))
    assert (house.found, house.paid) == ([], [7])


def test_an_account_that_is_paid_after_it_was_emptied_is_no_break() -> None:
    house = House()
    body = [episode(state=words.EPISODE_STATE_EMPTIED, closed_sequence=1), posting(CLIENT, CASH, 5, 5),
            posting(POOL, CASH, -5, 5)]  # fmt: skip
    house.frame("close_episode", *body)
    assert house.found == []


def test_what_history_paid_is_not_counted_again() -> None:
    house = House()
    step = journal_pb2.Effect(
        waterfall=journal_pb2.Waterfall(asset=USD, step=words.WATERFALL_STEP_INSURANCE_FUND, units=4)
    )
    house.frame("resolve_shortfall", step, is_history=True)
    house.frame("resolve_shortfall", step)
    assert house.paid == [4]


def test_every_alert_of_the_domain_is_shown_from_the_start() -> None:
    domain = Path(__file__).resolve().parents[1] / "domain"
    named = {
        text.split('"')[1]
        for path in domain.glob("*.py")
        for text in path.read_text().split("draft.alert(")[1:]
        if text.startswith('"')
    }
    assert named == set(ALERTS)


def test_a_gate_that_has_opened_and_an_agreed_sweep_break_nothing() -> None:
    house = House()
    house.frame("set_gate", journal_pb2.Effect(gate=custody_pb2.Gate(until_ns=1)))
    one = journal_pb2.Reservation(reservation=3, account=CLIENT, state=words.RESERVATION_STATE_SETTLED)
    house.frame("verdict", journal_pb2.Effect(reservation=one))
    terms = custody_pb2.CustodyTerms(account=CLIENT, asset=USD, mode=custody_words.CUSTODY_MODE_LENDABLE)
    sweep(house, "sweep_lendable", journal_pb2.Effect(custody_terms=terms))
    assert house.found == []
