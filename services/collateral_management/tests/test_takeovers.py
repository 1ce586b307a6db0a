"""Takeover of positions, deleveraging of internal instruments: who, how much, and for what (I11)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import lifecycle_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.deleveraging import Candidate, candidate, chosen, ranked
from libs.common.ids import account_id
from libs.common.parameters import Instrument, PrincipalRule
from services.collateral_management.domain import positions
from services.collateral_management.domain.state import LOTS
from services.collateral_management.tests.dated import CALL, INTERNAL, with_dated
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import BTC_PERP, BTC_SPOT, BUY, DOLLAR, SELL, USD, Story, step_order

DATED = with_dated()
PARAMETERS = replace(
    DATED, partitions=1, principals=(*DATED.principals, PrincipalRule("backstop", "liquidity_provider"))
)
PRICE, MARK = 1_500_000, 1_400_000
NOBODY = account_id(partition=0, entity=9_999, sub=0)


@pytest.fixture
def story() -> Iterator[Story]:
    """A ledger with a liquidity provider and an internal instrument; checked when the test is over."""
    told = Story(PARAMETERS)
    yield told
    told.verify()


def basis(story: Story) -> lifecycle_pb2.Basis:
    """What the next step is judged on."""
    return lifecycle_pb2.Basis(journal_sequence=story.sequence, mark_sequence=1, control_sequence=1)


def position(story: Story, owner: str, side: Any, lots: int, *, usd: int, instrument: int = INTERNAL) -> int:
    """An account with a position made at `PRICE`."""
    account = story.account(owner, usd=usd)
    story.trade(account, side, lots, PRICE, instrument=instrument, sender=owner)
    return account


def test_take_over_position(story: Story) -> None:
    story.lend(usd=10_000)
    account = position(story, "alice", BUY, 100, usd=100, instrument=BTC_PERP)  # 0.1 coins
    taker, small = story.account("backstop", usd=300), story.account("backstop", usd=10)
    stranger = story.account("bob", usd=1_000)
    order: list[int] = []

    def begin() -> dict[str, object]:
        return {"episode": story.episode(account)}

    def sell() -> dict[str, object]:
        order.extend(story.step(account, story.state.accounts[account].episode, step_order(SELL, 1, MARK)))
        return {"step": 2}

    def end() -> None:
        story.report(order[0], words.REPORT_KIND_CANCELLED)

    def restrict() -> dict[str, object]:
        story.do("restrict_account", account=taker, restricted=True, reason="check")
        return {"taker": taker}

    def lift() -> dict[str, object]:
        story.do("restrict_account", account=taker, restricted=False, reason="checked")
        return {"taker": small}

    climb(
        story,
        "take_over_position",
        {"account": account, "episode": 5, "step": 7, "taker": NOBODY, "basis": lifecycle_pb2.Basis()},
        [
            (words.REFUSAL_UNKNOWN_EPISODE, begin),
            (words.REFUSAL_STEP_OUT_OF_ORDER, sell),
            (words.REFUSAL_ORDERS_ALIVE, end),
            (words.REFUSAL_CITES_EARLIER_STATE, {"basis": lambda: basis(story)}),
            (words.REFUSAL_UNKNOWN_INSTRUMENT, {"instrument": BTC_SPOT}),
            (words.REFUSAL_UNKNOWN_INSTRUMENT, {"instrument": BTC_PERP}),
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"price": MARK}),
            (words.REFUSAL_NOT_REDUCING, {"lots": 101}),
            (words.REFUSAL_NOT_REDUCING, {"lots": 100}),
            (words.REFUSAL_UNKNOWN_TAKER, {"taker": stranger}),
            (words.REFUSAL_UNKNOWN_TAKER, restrict),
            (words.REFUSAL_ACCOUNT_RESTRICTED, lift),
            (words.REFUSAL_BEYOND_BUDGET, {"taker": taker}),
        ],
    )
    assert story.balance(account, BTC_PERP, LOTS) == 0
    assert story.balance(taker, BTC_PERP, LOTS) == 100
    assert story.balance(account, USD) == 0  # 100 dollars of margin paid for the fall of 1,000 on a tenth of a coin
    assert story.state.lines_of(account) == []
    one = story.state.episodes[story.state.accounts[account].episode]
    assert (one.step, one.last_fill_sequence) == (2, story.sequence)


def test_an_option_is_taken_over_for_its_premium(story: Story) -> None:
    account = story.account(usd=100)
    story.trade(account, SELL, 10, 50_000, instrument=CALL)
    taker = story.account("backstop", usd=1_000)
    episode = story.episode(account)
    done = story.do(
        "take_over_position", account=account, episode=episode, step=1, instrument=CALL, lots=10, price=80_000,
        taker=taker, basis=basis(story),
    )  # fmt: skip
    assert not done.refusal, done.detail
    assert (story.balance(account, CALL, LOTS), story.balance(taker, CALL, LOTS)) == (0, -10)
    assert (story.balance(account, USD), story.balance(taker, USD)) == (70 * DOLLAR, 1_080 * DOLLAR)


def adl(story: Story, account: int, *parties: tuple[int, int], **fields: Any) -> dict[str, Any]:
    """Fields of a deleveraging."""
    counterparties = [lifecycle_pb2.DeleveragedPosition(account=one, lots=lots) for one, lots in parties]
    return {
        "account": account, "episode": story.state.accounts[account].episode, "step": 1, "instrument": INTERNAL,
        "price": MARK, "mark_price": MARK, "counterparties": counterparties, "basis": basis(story), **fields,
    }  # fmt: skip


def test_deleverage(story: Story) -> None:
    story.lend(usd=100_000)
    account = position(story, "alice", BUY, 100, usd=500)  # a whole coin
    thin = position(story, "thin", SELL, 60, usd=600)
    rich = position(story, "rich", SELL, 60, usd=60_000)
    friend = position(story, "friend", BUY, 20, usd=1_000)
    outside = position(story, "alice", BUY, 10, usd=1_000, instrument=BTC_PERP)
    story.episode(outside)
    unlike = story.do("deleverage", **adl(story, outside, (thin, 1), instrument=BTC_PERP))
    assert unlike.refusal == words.REFUSAL_NOT_INTERNAL
    story.episode(account)
    price = 1_450_000  # 500 dollars of margin are gone there; at the mark 500 more are lacking
    good = adl(story, account, (thin, 60), (rich, 40), price=price, deficit_units=500 * DOLLAR)
    climb(
        story,
        "deleverage",
        {**good, "mark_price": 0, "counterparties": [], "deficit_units": 0},
        [
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"mark_price": MARK}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, adl_parties((thin, 60), (rich, 41))),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, adl_parties((thin, 60), (friend, 20))),
            (words.REFUSAL_NO_OPPOSITE_POSITION, adl_parties((thin, 60), (NOBODY, 20))),
            (words.REFUSAL_NO_OPPOSITE_POSITION, adl_parties((rich, 60), (thin, 40))),
            (words.REFUSAL_NOT_RANKED, adl_parties((thin, 59), (rich, 41))),
            (words.REFUSAL_NOT_RANKED, adl_parties((thin, 60), (rich, 40))),
            (words.REFUSAL_NOT_RANKED, {"deficit_units": 500 * DOLLAR}),
        ],
    )
    assert [story.balance(one, INTERNAL, LOTS) for one in (account, thin, rich, friend)] == [0, 0, -20, 20]
    assert story.balance(thin, USD) == 900 * DOLLAR  # its profit to the price at which the account was empty
    assert story.state.lines_of(account) == []
    (taken,) = (one.waterfall for one in story.outcomes[-1].effects if one.HasField("waterfall"))
    assert (taken.step, taken.units) == (words.WATERFALL_STEP_ADL, 500 * DOLLAR)


def adl_parties(*parties: tuple[int, int]) -> dict[str, object]:
    """The counterparties of a deleveraging."""
    return {"counterparties": [lifecycle_pb2.DeleveragedPosition(account=one, lots=lots) for one, lots in parties]}


def test_an_account_that_is_liquidated_itself_is_not_deleveraged(story: Story) -> None:
    story.lend(usd=100_000)
    account = position(story, "alice", BUY, 100, usd=500)
    other = position(story, "bob", SELL, 100, usd=500)
    story.episode(account)
    story.episode(other)
    refused = story.do("deleverage", **adl(story, account, (other, 100)))
    assert refused.refusal == words.REFUSAL_NO_OPPOSITE_POSITION


candidates = st.builds(
    Candidate,
    account=st.integers(1, 50),
    lots=st.integers(1, 1_000),
    profit=st.integers(-(10**9), 10**9),
    notional=st.integers(1, 10**12),
    cash=st.integers(-(10**9), 10**12),
)


@given(st.lists(candidates, max_size=12, unique_by=lambda one: one.account), st.integers(1, 5_000))
@settings(max_examples=200, deadline=None)
def test_i11_the_chosen_close_no_more_than_is_asked_and_no_more_than_they_have(
    found: list[Candidate], lots: int
) -> None:
    picked = chosen(found, lots=lots)
    held = {one.account: one.lots for one in found}
    assert sum(part for _, part in picked) == min(lots, sum(held.values()))
    assert all(0 < part <= held[account] for account, part in picked)
    assert [account for account, _ in picked] == [one.account for one in ranked(found)][: len(picked)]
    assert ranked(found) == ranked(list(reversed(found)))


def test_profit_and_leverage_rank_first_and_losers_last() -> None:
    def one(account: int, *, profit: int, cash: int) -> Candidate:
        return Candidate(account=account, lots=1, profit=profit, notional=10_000, cash=cash)

    order = ranked(
        [
            one(1, profit=-100, cash=200),
            one(2, profit=100, cash=10_000),
            one(3, profit=100, cash=50),
            one(4, profit=0, cash=1),
            one(5, profit=-100, cash=10_000),
            one(6, profit=100, cash=50),
        ]
    )
    assert [each.account for each in order] == [3, 6, 2, 4, 1, 5]


instruments = st.sampled_from([one for one in PARAMETERS.instruments if one.is_margined])


@given(instruments, st.integers(-1_000, 1_000), st.integers(-(10**12), 10**12), st.integers(1, 10**8), st.integers())
@settings(max_examples=200, deadline=None)
def test_a_rank_reckons_the_profit_that_a_settlement_would_pay(
    instrument: Instrument, lots: int, variation: int, price: int, funding: int
) -> None:
    found = candidate(
        instrument, account=1, lots=lots, variation=variation, cash=0, price=price, funding=funding
    )  # fmt: skip
    paid = positions.settlement(instrument, lots=lots, variation=variation, price=price, funding=funding)
    assert found.profit == paid
    assert not lots or found.notional == positions.notional_down(instrument, lots=abs(lots), price=price)
