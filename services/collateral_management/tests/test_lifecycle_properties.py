"""Whatever happens to instruments, positions and accounts, in whatever order and batch: I1, I2, I8.

Story judges every command by I1 and I2; `verify` folds the frames again and restores them from checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import lifecycle_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.ids import SystemAccount
from libs.common.parameters import PrincipalRule
from libs.common.units import SECOND_NS
from services.collateral_management.domain import sweeps
from services.collateral_management.domain.state import LOTS, VARIATION
from services.collateral_management.tests.dated import (
    CALL,
    COIN_CALL,
    DELIVERED_CALL,
    DELIVERED_FUTURE,
    EXPIRY_S,
    FUTURE,
    INTERNAL,
    INVERSE_FUTURE,
    PUT,
    with_dated,
)
from services.collateral_management.tests.story import BTC, BUY, LTC, NORTH, SELL, USD, Story

DATED = with_dated()
PARAMETERS = replace(DATED, partitions=1, principals=(*DATED.principals, PrincipalRule("carol", "liquidity_provider")))
ENDING = (CALL, PUT, COIN_CALL, FUTURE, INVERSE_FUTURE, DELIVERED_CALL, DELIVERED_FUTURE)
TRADED = (*ENDING, INTERNAL, INTERNAL, INTERNAL, INTERNAL)
OWNERS = ("alice", "bob", "carol")
PRICES = (1_300_000, 1_500_000, 1_700_000)
MOVES = (
    "trade", "trade", "trade", "order", "amend", "cancelled", "expire", "late", "liquidation", "loss", "bust",
    "place", "episode", "heal", "heal", "takeover", "takeover", "adl", "adl", "fork", "leave", "close", "reopen",
    "restrict", "settle", "recovery", "settled",
)  # fmt: skip
moves = st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 999), st.integers(0, 999)), max_size=40)


class Crowd:
    """Three clients, a lender and the services, driven by numbers; every command may be refused."""

    def __init__(self) -> None:
        self.story = Story(PARAMETERS)
        self.story.lend(usd=50_000, btc=2)
        self.accounts = [self.story.account(owner, usd=2_000 * n, btc=n) for n, owner in enumerate(OWNERS, 1)]

    def move(self, what: str, a: int, b: int) -> None:
        """One step, whatever the numbers make of it."""
        story, account, owner = self.story, self.accounts[a % 3], OWNERS[a % 3]
        instrument, price = TRADED[b % len(TRADED)], PRICES[b % 3]
        own: dict[str, Any] = {"sender": owner, "account": account}
        event: dict[str, Any] = {
            "venue": NORTH,
            "instrument": instrument,
            "price": price,
            "executed_at_ns": story.now_ns,
        }
        match what:
            case "trade" | "order":
                self._trade(account, owner, a, b, fills=what == "trade")
            case "amend":
                for order in story.state.orders_of(account)[:1]:
                    story.do("amend_order", order=order.order, lots=1 + b, limit_price=price, **own)
            case "cancelled" | "late":
                orders = [*story.state.orders.values(), *story.state.closed_orders.values()]
                for order in orders[a % max(1, len(orders)) :][:1]:
                    kind = 3 if what == "cancelled" else 2
                    story.report(order.order, kind, lots=1 + b % 5, price=price)  # type: ignore[arg-type]
            case "expire":
                story.now_ns = max(story.now_ns, EXPIRY_S * SECOND_NS)
                story.do("close_instrument", instrument=ENDING[b % len(ENDING)], price=price)
            case "liquidation":
                story.do("venue_event", kind=kinds.VENUE_EVENT_KIND_LIQUIDATION, side=BUY if a % 2 else SELL,
                         lots=1 + b, units=a, **event)  # fmt: skip
            case "loss":
                story.do(
                    "venue_event", kind=kinds.VENUE_EVENT_KIND_SOCIALISED_LOSS, asset=USD, units=a * 10**6, **event
                )
            case "bust":
                story.do("venue_event", kind=kinds.VENUE_EVENT_KIND_BUST, asset=BTC, units=1 + a * 10**5,
                         number=1 + b % 3, **event)  # fmt: skip
            case "recovery":
                story.do("venue_event", kind=kinds.VENUE_EVENT_KIND_RECOVERY, asset=BTC, units=a * 10**5,
                         recovers=1 + b % 3, is_final=a % 5 == 0, to_vault=a % 2 == 0, **event)  # fmt: skip
            case "settled":
                story.do("venue_event", kind=kinds.VENUE_EVENT_KIND_SETTLEMENT, asset=USD, units=(a - 5) * 10**6,
                         is_final=b % 3 == 0, to_vault=a % 2 == 0, **event)  # fmt: skip
            case "place":
                story.do("move_location", account=account, asset=BTC, venue=NORTH, units=b * 10**5)
            case "settle":
                tick = story.state.settlement_tick.get(INTERNAL, 0) + 1
                story.do("settle_variation", instrument=INTERNAL, tick=tick, price=price)
            case "fork":
                number = 1 + sum(one.is_over for one in story.state.lifecycle.distributions.values())
                story.do("distribute", number=number, held=BTC, credited=LTC, numerator=2, denominator=7, reason="fork")
            case "close" | "reopen":
                story.do(f"{what}_account", **own)
            case "restrict":
                story.do("restrict_account", account=account, restricted=b % 4 == 0, reason="check")
            case "leave":
                for asset in (USD, BTC):
                    units = story.balance(account, asset)
                    gone = story.do("withdraw", asset=asset, units=units, **own).subject
                    story.do("verdict", account=account, reservation=gone, settle=True, citation=story.cite())
            case _:
                self._episode(what, account, a, b)

    def _trade(self, account: int, owner: str, a: int, b: int, *, fills: bool) -> None:
        story, price = self.story, PRICES[a % 3] if TRADED[b % len(TRADED)] not in (CALL, PUT, COIN_CALL) else 1 + a
        placed = story.do(
            "place_order", sender=owner, account=account, instrument=TRADED[b % len(TRADED)], venue=NORTH,
            side=BUY if a % 2 else SELL, lots=1 + b % 40, limit_price=price, time_in_force=2, reduce_only=b % 5 == 0,
        )  # fmt: skip
        if not placed.refusal:
            story.do("verdict", account=account, order=placed.subject, settle=True, citation=story.cite())
            if fills:
                story.fill(placed.subject, 1 + b % 40, price)

    def _episode(self, what: str, account: int, a: int, b: int) -> None:
        story, attributes = self.story, self.story.state.accounts[account]
        if what == "episode":
            story.do("open_episode", account=account, equity=-1, maintenance_margin=1, citation=story.cite())
            return
        if what == "heal":
            healthy = words.EPISODE_STATE_HEALTHY
            story.do(
                "close_episode", account=account, episode=attributes.episode, outcome=healthy, citation=story.cite()
            )
            return
        one = story.state.episodes.get(attributes.episode)
        basis = lifecycle_pb2.Basis(journal_sequence=story.sequence, mark_sequence=1, control_sequence=1)
        fields: dict[str, Any] = {
            "account": account, "episode": attributes.episode, "step": one.step + 1 if one else 1,
            "instrument": INTERNAL, "price": PRICES[b % 3], "basis": basis,
        }  # fmt: skip
        if what == "takeover":
            story.do("take_over_position", lots=1 + b % 10, taker=self.accounts[2], **fields)
            return
        held = story.balance(account, INTERNAL, LOTS)
        for other in self.accounts:  # the one that ranks first is taken
            lots = max(1, min(abs(held), abs(story.balance(other, INTERNAL, LOTS))))
            party = lifecycle_pb2.DeleveragedPosition(account=other, lots=lots)
            story.do("deleverage", mark_price=PRICES[a % 3], deficit_units=10**10, counterparties=[party], **fields)


@given(moves, st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_i1_i2_i8_hold_whatever_becomes_of_positions_and_accounts(
    steps: Sequence[tuple[str, int, int]], batch: int
) -> None:
    crowd = Crowd()
    before, sweeps.ACCOUNTS_MAX = sweeps.ACCOUNTS_MAX, batch
    try:
        for what, a, b in steps:
            crowd.move(what, a, b)
        _wind_up(crowd.story)
    finally:
        sweeps.ACCOUNTS_MAX = before
    crowd.story.verify()


def _wind_up(story: Story) -> None:
    """Everything that ends has ended: nobody holds it, house accounts neither."""
    story.now_ns = max(story.now_ns, EXPIRY_S * SECOND_NS)
    for instrument in ENDING:
        listing = story.state.lifecycle.listings.get(instrument)
        price = listing.price if listing else PRICES[1]
        for _ in range(40):
            if story.do("close_instrument", instrument=instrument, price=price).refusal:
                break
        assert story.state.holders(instrument) == []
        for kind in (SystemAccount.SUSPENSE, SystemAccount.CONTRA):
            house = story.house(kind, instrument if kind is SystemAccount.CONTRA else 0)
            assert not any(story.balance(house, instrument, line) for line in (LOTS, VARIATION)), (instrument, kind)
