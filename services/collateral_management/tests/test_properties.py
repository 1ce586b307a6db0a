"""Whatever is sent, in whatever order, twice or not: I1, I2, fold equality, and each command applied once.

Story itself judges every command by I1 and I2 and every frame by its fingerprint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.ids import SystemAccount
from services.collateral_management.domain.draft import Draft
from services.collateral_management.domain.ledger import fold, handle
from services.collateral_management.domain.orders import reducing_room
from services.collateral_management.domain.state import CASH, DEBT, LOTS, OVERDRAFT, SUPPLY, State
from services.collateral_management.tests.story import (
    BTC,
    BTC_INVERSE,
    BTC_PERP,
    BTC_SPOT,
    BUY,
    COIN,
    DOLLAR,
    NORTH,
    PARAMETERS,
    SELL,
    USD,
    Story,
    content,
    step_order,
)

INSTRUMENTS = (BTC_SPOT, BTC_PERP, BTC_INVERSE)
MOVES = (
    "deposit", "withdraw", "transfer", "supply", "redeem", "place", "cancel", "settle", "void", "fill", "fill", "fill",
    "report", "index", "fund", "variation", "open", "step", "resolve", "close", "wind up", "wind up",
)  # fmt: skip
moves = st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=60)


class Crowd:
    """Two entities, a lender and all the services, driven by numbers."""

    def __init__(self) -> None:
        self.story = Story(replace(PARAMETERS, partitions=1))
        self.lender = self.story.lend(usd=2_000, btc=1)
        self.story.fund(SystemAccount.INSURANCE, usd=50)
        first = self.story.account(usd=500)
        self.accounts = [first, self.story.account(usd=100, entity=first), self.story.account("bob", usd=300, btc=1)]
        self.sent: list[commands_pb2.Command] = []

    def owner(self, account: int) -> str:
        """Name of an account's owner."""
        return self.story.state.accounts[account].owner

    def do(self, name: str, **fields: Any) -> int:
        """Subject of a command, and a note of it for repeating."""
        command = self.story.command(name, **fields)
        self.sent.append(command)
        return self.story.send(command).subject

    def move(self, what: str, a: int, b: int) -> None:
        """One step, whatever the numbers make of it."""
        account = self.accounts[a % 3]
        asset, units = ((USD, b % (400 * DOLLAR)), (BTC, b % (COIN // 50)))[a % 2]
        if what == "redeem" and b % 2:
            account = self.lender
        own: dict[str, Any] = {"sender": self.owner(account), "account": account}
        match what:
            case "deposit":
                self.do("confirm_deposit", account=account, asset=asset, units=units)
            case "withdraw" | "supply" | "redeem":
                self.do(what, asset=asset, units=units, **own)
            case "transfer":
                self.do(what, to_account=self.accounts[b % 3], asset=asset, units=units, **own)
            case "place":
                self._place(own, a, b)
            case "settle" | "void" | "cancel":
                self._decide(what, a)
            case "fill" | "report":
                self._report(what, a, b)
            case "index" | "fund" | "variation":
                self._move_indices(what, a, b)
            case "wind up":
                self._wind_up(account, 1_000_000 + b)
            case _:
                self._liquidate(what, account, a, b)

    def _place(self, own: dict[str, Any], a: int, b: int) -> None:
        order = self.do(
            "place_order", instrument=INSTRUMENTS[a % 3], venue=NORTH, side=(BUY, SELL)[b % 2], lots=1 + b % 50,
            limit_price=1_000_000 + b, time_in_force=market_pb2.TIME_IN_FORCE_GTC, reduce_only=b % 7 == 0, **own,
        )  # fmt: skip
        if a % 4 and order in self.story.state.orders:
            self.do("verdict", account=own["account"], order=order, settle=True, citation=self.story.cite())

    def _decide(self, what: str, a: int) -> None:
        state = self.story.state
        waiting = [(one.account, {"order": one.order}) for one in state.orders.values()]
        waiting += [(one.account, {"reservation": one.reservation}) for one in state.reservations.values()]
        if not waiting:
            return
        account, target = waiting[a % len(waiting)]
        if what != "cancel":
            fields: dict[str, Any] = {"account": account, "settle": what == "settle", **target}
            self.do("verdict", citation=self.story.cite(), **fields)
        elif "order" in target:
            self.do("cancel_order", sender=self.owner(account), account=account, order=target["order"])

    def _report(self, what: str, a: int, b: int) -> None:
        known = [*self.story.state.orders.values(), *self.story.state.closed_orders.values()]
        order = known[a % len(known)].order if known else 404
        kind = words.REPORT_KIND_FILL if what == "fill" else words.ReportKind.Name(1 + b % 4)
        self.do(
            "order_report", venue=NORTH, order=order, kind=kind, lots=1 + b % 40, price=1_000_000 + a, fee_units=b * 50,
            executed_at_ns=self.story.now_ns,
        )  # fmt: skip

    def _move_indices(self, what: str, a: int, b: int) -> None:
        state = self.story.state
        self.story.pass_time(1 + a % 5)
        instrument = (BTC_PERP, BTC_INVERSE)[a % 2]
        if what == "index":
            asset = (USD, BTC)[a % 2]
            tick = state.pools[asset].tick + 1 if asset in state.pools else 1
            index = state.borrow_index(asset)
            self.do(
                "set_index", asset=asset, tick=tick, borrow_index=index + index * b // 10**8,
                supply_index=state.supply_index(asset), overdraft_index=state.overdraft_index(asset) + b,
            )  # fmt: skip
        elif what == "fund":
            paid = (b - 500_000).to_bytes(16, "big", signed=True)
            self.do("set_funding", instrument=instrument, run_time_ns=self.story.now_ns,
                    tick=state.funding_tick.get(instrument, 0) + 1, cumulative_funding=paid)  # fmt: skip
        else:
            tick = state.settlement_tick.get(instrument, 0) + 1
            self.do("settle_variation", instrument=instrument, tick=tick, price=1_000_000 + b)

    def _liquidate(self, what: str, account: int, a: int, b: int) -> None:
        state = self.story.state
        episode = state.accounts[account].episode
        own: dict[str, Any] = {"account": account, "episode": episode}
        if what == "open":
            self.do("open_episode", account=account, equity=-1, citation=self.story.cite())
        elif what == "step":
            number = state.episodes[episode].step + 1 if episode in state.episodes else 1
            order = step_order((BUY, SELL)[b % 2], 1 + b % 30, 1_000_000 + a, instrument=INSTRUMENTS[a % 3])
            self.do("step_episode", step=number, orders=[order], citation=self.story.cite(), **own)
        elif what == "resolve":
            self.do("resolve_shortfall", **own)
        else:
            outcome = (words.EPISODE_STATE_HEALTHY, words.EPISODE_STATE_EMPTIED)[b % 2]
            self.do("close_episode", outcome=outcome, citation=self.story.cite(), **own)

    def _wind_up(self, account: int, price: int) -> None:
        """A whole liquidation: everything ends, is sold or bought back, and what is owed runs down the waterfall."""
        story = self.story
        self.do("open_episode", account=account, equity=-1, citation=story.cite())
        episode = story.state.accounts[account].episode
        for order in story.state.orders_of(account):
            self.do("order_report", venue=NORTH, order=order.order, kind=words.REPORT_KIND_CANCELLED)
        for number in INSTRUMENTS:
            instrument = story.parameters.instrument(number)
            assert instrument is not None
            draft = Draft(story.state, story.contexts[-1])
            for side in (SELL, BUY):
                lots = reducing_room(draft, account, instrument, side=side)
                if not lots:
                    continue
                taken = story.state.episodes[episode].step + 1
                cut = step_order(side, lots, price, instrument=number)
                self.do("step_episode", account=account, episode=episode, step=taken, orders=[cut],
                        citation=story.cite())  # fmt: skip
                for placed in story.state.orders_of(account):
                    self.do("order_report", venue=NORTH, order=placed.order, kind=words.REPORT_KIND_FILL, lots=lots,
                            price=price, fee_units=price, executed_at_ns=story.now_ns)  # fmt: skip
        self.do("resolve_shortfall", account=account, episode=episode)
        kinds = {kind for _, kind in story.state.lines_of(account)}
        owes = bool(kinds & {DEBT, OVERDRAFT})
        assert not owes or kinds & {CASH, SUPPLY, LOTS}, f"I6: account {account} owes and has nothing: {kinds}"
        self.do("close_episode", account=account, episode=episode, citation=story.cite(),
                outcome=words.EPISODE_STATE_HEALTHY if kinds else words.EPISODE_STATE_EMPTIED)  # fmt: skip


@given(moves)
@settings(max_examples=150)
def test_i1_i2_i8_hold_whatever_is_sent(steps: Sequence[tuple[str, int, int]]) -> None:
    crowd = Crowd()
    for step in steps:
        crowd.move(*step)
    crowd.story.verify()


@given(moves, st.lists(st.integers(0, 10**6), max_size=30))
@settings(max_examples=60)
def test_i8_what_is_sent_twice_is_applied_once(steps: Sequence[tuple[str, int, int]], again: Sequence[int]) -> None:
    crowd = Crowd()
    for step in steps:
        crowd.move(*step)
        for each in again:
            if crowd.sent and each % 3 == 0:
                outcome = crowd.story.send(crowd.sent[each % len(crowd.sent)])
                assert outcome.repeated
                assert not outcome.effects
    before = {name: repr(value) for name, value in content(crowd.story.state).items()}
    for command in crowd.sent:
        assert crowd.story.send(command).repeated
    assert before == {name: repr(value) for name, value in content(crowd.story.state).items()}
    crowd.story.verify()


@given(moves)
@settings(max_examples=40)
def test_i8_the_same_commands_give_the_same_journal_byte_for_byte(steps: Sequence[tuple[str, int, int]]) -> None:
    crowd = Crowd()
    for step in steps:
        crowd.move(*step)
    other = State(0)
    told = [frame.outcomes[0] for frame in crowd.story.frames]
    prologue = len(told) - len(crowd.sent)
    for outcome, context in zip(told[:prologue], crowd.story.contexts[:prologue], strict=True):
        fold(other, journal_pb2.JournalBody(outcomes=[outcome]), context)
    later = zip(crowd.sent, told[prologue:], crowd.story.contexts[prologue:], strict=True)
    for command, outcome, context in later:
        found = handle(other, command, context)
        assert found.SerializeToString(deterministic=True) == outcome.SerializeToString(deterministic=True)
