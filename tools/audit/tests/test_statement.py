"""Balances and statements: they are what the journal says at any moment in both times, and they add up exactly."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from itertools import pairwise
from random import Random

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import system_kind
from tools.audit.balances import AsOf, balances
from tools.audit.sheets import COLUMNS, as_csv, as_json, as_parquet
from tools.audit.statement import CLOSING, DAY, OPENING, ROUNDING, Row, Statement, statement
from tools.audit.tests.journal import Memory, journals
from tools.audit.timeline import instant
from tools.reconcile.reader import Unreadable
from tools.reconcile.tests.story import BUY, DOLLAR, HOUR_NS, PARAMETERS, PERP, SELL, SPOT, USD, Story, honest

FAR = 1 << 62
CASH = ledger_pb2.LINE_KIND_CASH
DAY_NS = 24 * HOUR_NS


def memory(story: Story) -> Memory:
    return Memory(journals(story.frames), [])


@cache
def lived() -> Story:
    """Four days of one house: lending, borrowing, trading on margin, funding, settlements, interest, fees."""
    story = Story()
    story.mark(1_500_000)
    lender, alice = story.account("lender", usd=500_000), story.account("alice", usd=9_000)
    story.send("supply", sender="lender", account=lender, asset=USD, units=400_000 * DOLLAR)
    story.trade("alice", alice, BUY, 2_000, 1_500_100, instrument=PERP)
    story.trade("alice", alice, BUY, 700, 1_500_300, instrument=SPOT)  # part of it borrowed
    for day in range(4):
        story.mark(1_500_000 + 1_000 * day, hours=24)
        catch_up(story)
        fund(story, day + 1, 31_000_001 * (day + 1))
        story.trade("alice", alice, SELL, 137, 1_500_900, instrument=PERP)
        if day % 2:
            price = 1_500_000 + 1_000 * day
            story.send("settle_variation", instrument=PERP, tick=day // 2 + 1, price=price, mark_sequence=1)
    story.send("redeem", sender="lender", account=lender, asset=USD, units=50_000 * DOLLAR)
    return story


def accounts(story: Story) -> dict[str, int]:
    return {one.owner: account for account, one in story.books[0].accounts.items()}


def stated(story: Story, account: int, *, begin_ns: int = 0, end_ns: int = FAR) -> Statement:
    return asyncio.run(statement(memory(story), account=account, begin_ns=begin_ns, end_ns=end_ns))


def as_of(story: Story, account: int | None, *, effective: int = FAR, recorded: int = FAR) -> AsOf:
    return asyncio.run(balances(memory(story), account=account, effective=effective, recorded=recorded))


def by_asset(rows: Iterable[Row], *sections: str) -> dict[str, int]:
    sums: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        if row.section in sections or not sections:
            sums[row.asset] += row.amount
    return dict(sums)


def adds_up(found: Statement) -> None:
    closing = by_asset(found.rows, CLOSING)
    everything = by_asset(found.rows)
    assert {asset: total - closing[asset] for asset, total in everything.items()} == closing
    for row in found.rows:
        if row.section == ROUNDING:
            assert abs(row.amount) <= 4 + sum(one.asset == row.asset for one in found.rows)


@pytest.mark.parametrize("story", [lived, honest], ids=["four days", "a crash"])
def test_every_statement_adds_up_to_the_unit(story: object) -> None:
    told = story() if story is not lived else lived()  # type: ignore[operator]
    for account in accounts(told).values():
        adds_up(stated(told, account))


@given(cuts=st.lists(st.integers(0, 5 * 24 * 60), min_size=1, max_size=6), who=st.sampled_from(["alice", "lender"]))
@settings(max_examples=15, deadline=None)
def test_statements_of_adjoining_periods_join(cuts: list[int], who: str) -> None:
    story = lived()
    begin = story.frames[0].run_time_ns
    bounds = [0, *sorted(begin + minute * 60 * 10**9 for minute in cuts), FAR]
    parts = [
        stated(story, accounts(story)[who], begin_ns=one, end_ns=other)
        for one, other in pairwise(bounds)
        if other > begin and one < other
    ]
    for part in parts:
        adds_up(part)
    for before, after in pairwise(parts):
        closing, opening = by_asset(before.rows, CLOSING), by_asset(after.rows, OPENING)
        assert {asset: opening.get(asset, 0) for asset in closing} == closing


@given(seed=st.integers(0, 10**9))
@settings(max_examples=12, deadline=None)
def test_whatever_an_account_does_its_statement_adds_up_to_the_unit(seed: int) -> None:
    story = wild(Random(seed))
    for account in accounts(story).values():
        adds_up(stated(story, account))
        adds_up(stated(story, account, begin_ns=story.frames[len(story.frames) // 2].run_time_ns))


def wild(dice: Random) -> Story:
    """A house in which anything that the ledger accepts may happen."""
    story = Story()
    story.mark(1_500_000)
    who = {name: story.account(name, usd=dice.randint(5_000, 50_000), btc=dice.randint(1, 2)) for name in ("ann", "bo")}
    settlements = fundings = 0
    for _ in range(40):
        name = dice.choice(sorted(who))
        account, units = who[name], dice.randint(1, 20_000 * DOLLAR)
        side, lots, price = dice.choice((BUY, SELL)), dice.randint(1, 900), dice.randint(1_200_000, 1_900_000)
        story.mark(price, hours=dice.choice((0.01, 0.5, 3)))
        with suppress(AssertionError):  # a refusal changes nothing
            match dice.randrange(8):
                case 0:
                    story.send("supply", sender=name, account=account, asset=USD, units=units)
                case 1:
                    story.send("redeem", sender=name, account=account, asset=USD, units=units)
                case 2:
                    made = story.send("withdraw", sender=name, account=account, asset=USD, units=units).subject
                    settle = dice.random() < 0.7
                    story.send("verdict", account=account, reservation=made, settle=settle, citation=story.cite())
                case 3 | 4:
                    story.trade(name, account, side, lots, price, instrument=dice.choice((PERP, SPOT)))
                case 5:
                    catch_up(story)
                case 6:
                    story.send(
                        "settle_variation",
                        instrument=PERP,
                        tick=settlements,
                        price=price,
                        mark_sequence=len(story.marks),
                    )
                    settlements += 1
                case 7:
                    fund(story, fundings + 1, dice.randint(-(10**12), 10**12))
                    fundings += 1
    return story


def catch_up(story: Story) -> None:
    """Every tick of the pools that run time has passed."""
    due = (story.now_ns - int(PARAMETERS.genesis_ns)) // int(PARAMETERS.schedule.interest_every_ns)
    while story.states[0].pools[USD].tick < due if USD in story.states[0].pools else due > 0:
        story.tick()


def fund(story: Story, tick: int, cumulative: int) -> None:
    """A funding tick of the perp in all partitions."""
    home = PERP % len(story.books)
    for partition in (home, *(one for one in range(len(story.books)) if one != home)):
        story.send(
            "set_funding", partition=partition, instrument=PERP, tick=tick, run_time_ns=story.now_ns,
            cumulative_funding=cumulative.to_bytes(16, "big", signed=True),
            home_sequence=0 if partition == home else story.books[home].sequence,
        )  # fmt: skip


def test_fees_funding_and_interest_stand_on_their_days() -> None:
    story = lived()
    daily: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in stated(story, accounts(story)["alice"]).rows:
        if row.section == DAY and row.asset == "USD":
            daily[row.item][row.day] = row.amount
    assert list(daily["fee"].values()) == [-2_000, -1_000, -1_000, -1_000, -1_000][: len(daily["fee"])]
    assert len(daily["funding"]) == len(daily["interest_paid"]) == 4
    held = [2_000, 2_000 - 137, 2_000 - 2 * 137, 2_000 - 3 * 137]
    assert list(daily["funding"].values()) == [round(-lots * 31_000_001 / 10**9) for lots in held]
    assert all(amount < 0 for amount in daily["interest_paid"].values())
    earned = [row for row in stated(story, accounts(story)["lender"]).rows if row.item == "interest_earned"]
    assert [row.day for row in earned] == list(daily["interest_paid"])
    assert all(row.amount > 0 for row in earned)


def test_settling_variation_moves_cash_but_no_worth() -> None:
    story = lived()
    settled = [row for row in stated(story, accounts(story)["alice"]).rows if row.item == "settle_variation"]
    assert len(settled) == 2
    assert all(abs(row.amount) <= 1 for row in settled)


@pytest.mark.parametrize("account_of", ["alice", "lender", None])
def test_balances_at_the_end_are_those_of_the_book(account_of: str | None) -> None:
    story = lived()
    account = accounts(story)[account_of] if account_of else None
    told = {(one.owner, one.symbol, one.kind): one.balance for one in as_of(story, account).balances}
    if account is not None:
        assert sorted(told.values()) == sorted(story.books[0].lines_of(account).values())
    else:
        house = defaultdict[tuple[int, int], int](int)
        for book in story.books:
            for (owner, asset, kind), balance in book.lines.items():
                if system_kind(owner) is not None:
                    house[owner & 0xFFFF, asset * 100 + kind] += balance
        assert sorted(told.values()) == sorted(one for one in house.values() if one)


@given(frame=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_balances_recorded_by_any_moment_are_those_of_the_fold_up_to_it(frame: int) -> None:
    story = lived()
    here = [one for one in story.frames if one.partition == 0]
    moment = here[frame % len(here)].run_time_ns
    book = PartitionBook(0)
    for one in here:
        if one.run_time_ns <= moment:
            book.apply(sequence=one.sequence, run_time_ns=one.run_time_ns, body=one.body)
    for account in book.accounts:
        told = as_of(story, account, recorded=moment)
        assert sorted(one.balance for one in told.balances) == sorted(book.lines_of(account).values())
        assert told.sequences == {0: book.sequence}


def test_a_trade_reported_late_counts_from_its_execution_once_it_is_known() -> None:
    story = Story()
    story.mark(1_500_000, hours=1)
    alice = story.account("alice", usd=9_000)
    order = story.send(
        "place_order", sender="alice", account=alice, instrument=PERP, venue=1, side=BUY, lots=10,
        limit_price=1_500_000, time_in_force=1,
    ).subject  # fmt: skip
    story.send("verdict", account=alice, order=order, settle=True, citation=story.cite())
    executed = story.now_ns
    story.mark(1_500_000, hours=5)
    story.send(
        "order_report", venue=1, order=order, kind=ledger_pb2.REPORT_KIND_FILL, lots=10, price=1_500_000,
        fee_units=1_000, executed_at_ns=executed,
    )  # fmt: skip
    reported = story.now_ns

    def lots(*, effective: int, recorded: int) -> list[int]:
        found = as_of(story, alice, effective=effective, recorded=recorded).balances
        return [one.balance for one in found if one.kind == "lots"]

    assert lots(effective=executed, recorded=reported) == [10]
    assert lots(effective=executed, recorded=reported - 1) == []
    assert lots(effective=executed - 1, recorded=reported) == []


def test_the_formats_say_the_same() -> None:
    found = stated(lived(), accounts(lived())["alice"])
    from_csv = list(csv.DictReader(io.StringIO(as_csv(found).decode())))
    from_json = json.loads(as_json(found))["rows"]
    from_parquet = pyarrow.parquet.read_table(io.BytesIO(as_parquet(found))).to_pylist()
    assert from_json == from_parquet
    assert [{name: str(row[name]) for name in COLUMNS} for row in from_json] == from_csv
    assert [row["amount"] for row in from_json] == [row.amount for row in found.rows]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1970-01-02",                86_400 * 10**9),
        ("1970-01-02T00:00:00Z",      86_400 * 10**9),
        ("1970-01-02T01:00:00+01:00", 86_400 * 10**9),
        ("1970-01-01T00:00:00.25",    250_000_000),
        ("17",                        17),
    ],
)  # fmt: skip
def test_a_moment_is_a_date_a_time_or_nanoseconds(text: str, wanted: int) -> None:
    assert instant(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "1969-12-31", "2018-13-01", str(1 << 63)])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        instant(text)


def test_an_account_that_never_was_is_said_so() -> None:
    with pytest.raises(Unreadable, match="found none"):
        stated(lived(), (7 << 16) | 99)
    with pytest.raises(Unreadable, match="partition"):
        stated(lived(), 99 << 48 | 1 << 16)
