"""Refusals of what clients, custodian and interest send: each ladder from the first rung to the last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ballast.events.v1 import commands_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.ids import SystemAccount, account_id, system_account
from libs.common.units import INDEX_ONE
from services.collateral_management.domain.ledger import HANDLERS, ROLES
from services.collateral_management.domain.state import CASH, RESERVED, SUPPLY
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import (
    BTC,
    BTC_PERP,
    BTC_SPOT,
    BUY,
    DOLLAR,
    ETH,
    LTC,
    NORTH,
    SELL,
    SOUTH,
    USD,
    Story,
)

LTC_SPOT = 3
ELSEWHERE = account_id(partition=1, entity=1, sub=0)
NOBODY = account_id(partition=0, entity=9_999, sub=0)
OVERDRAWN = 1_000_000 * DOLLAR
SENDERS = [
    ("client", words.ROLE_CLIENT),
    ("custodian", words.ROLE_CUSTODIAN),
    ("operator", words.ROLE_OPERATOR),
    *((name, words.ROLE_SERVICE) for name in sorted({one for _, who in HANDLERS.values() for one in who})),
    ("risk_evaluation", words.ROLE_UNSPECIFIED),
    ("risk_evaluation", words.ROLE_CLIENT),
    ("price_ingestion", words.ROLE_SERVICE),
]


def overdraw(story: Story, account: int) -> None:
    """Restricts an account by a fee that no pool can lend."""
    story.trade(account, BUY, 1, 1_000_00, fee=OVERDRAWN)
    assert story.state.accounts[account].restricted


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_only_its_own_sender_may_send_a_command(story: Story, name: str) -> None:
    allowed = HANDLERS[name][1]
    for sender, role in SENDERS:
        command = story.command(name)
        command.principal.id, command.principal.role = sender, role
        command.session.session, command.session.n = b"x" * 16, len(story.frames) + 1
        is_own = ROLES.get(role) in allowed
        is_own |= role == words.ROLE_SERVICE and sender in allowed and sender not in ROLES.values()
        refused = story.send(command).refusal == words.REFUSAL_NOT_AUTHORISED
        # An empty command of the right sender may be refused for the same reason, by its owner's name.
        assert refused is not is_own or (is_own and name == "open_account"), (sender, role)


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_a_command_for_another_partition_is_refused(story: Story, name: str) -> None:
    command = story.command(name)
    body = getattr(command, name)
    if "account" not in body.DESCRIPTOR.fields_by_name:
        return
    body.account = ELSEWHERE
    assert story.send(command).refusal == words.REFUSAL_WRONG_PARTITION


def test_a_command_without_body_is_refused(story: Story) -> None:
    command = commands_pb2.Command()
    command.session.session, command.session.n = b"x" * 16, 1
    assert story.send(command).refusal == words.REFUSAL_UNKNOWN_COMMAND


def test_open_account(story: Story) -> None:
    rules = replace(story.parameters.ledger, accounts_per_entity_max=2)
    story.parameters = replace(story.parameters, ledger=rules)
    other = story.account("bob")
    entity = story.account()
    second = story.account(entity=entity)
    assert second == entity + 1
    climb(
        story,
        "open_account",
        {"owner": "", "entity": NOBODY, "sender": "mallory"},
        [
            (words.REFUSAL_NOT_AUTHORISED, {"owner": "a" * 65}),
            (words.REFUSAL_NOT_AUTHORISED, {"owner": "alice"}),
            (words.REFUSAL_NOT_AUTHORISED, {"sender": "alice"}),
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"entity": second}),  # a sub-account is no entity
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"entity": other}),
            (words.REFUSAL_NOT_AUTHORISED, {"entity": entity}),
            (words.REFUSAL_TOO_MANY_ACCOUNTS, {"entity": 0}),
        ],
    )


def test_confirm_deposit(story: Story) -> None:
    account = story.account()
    climb(
        story,
        "confirm_deposit",
        {"account": NOBODY, "asset": 99, "units": 0},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": story.house(SystemAccount.POOL, USD)}),
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": story.house(SystemAccount.CUSTODY)}),
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": story.house(SystemAccount.INSURANCE, 1)}),  # read by nobody
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": account}),
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": USD}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": -5}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": 5}),
        ],
    )
    assert story.balance(account, USD) == 5


@pytest.mark.parametrize("kind", ["INSURANCE", "FIRST_LOSS", "SECOND_CAPITAL"])
def test_house_capital_is_funded_like_an_account(story: Story, kind: str) -> None:
    house = system_account(SystemAccount[kind], partition=0)
    assert not story.do("confirm_deposit", account=house, asset=USD, units=7).refusal
    assert story.balance(house, USD) == 7


@pytest.mark.parametrize("name", ["withdraw", "transfer"])
def test_withdraw_and_transfer(story: Story, name: str) -> None:
    account = story.account(usd=100)
    entity_mate, stranger = story.account(entity=account), story.account("bob")
    restricted = story.account(usd=1, entity=account)
    overdraw(story, restricted)
    fields = {"account": NOBODY, "asset": 99, "units": -1, "sender": "mallory"}
    rungs: list[tuple[words.Refusal, dict[str, object]]] = [
        (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": restricted}),
        (words.REFUSAL_NOT_AUTHORISED, {"sender": "alice"}),
        (words.REFUSAL_UNKNOWN_ASSET, {"asset": USD}),
        (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": 0}),
        (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": 100 * DOLLAR + 1}),
        (words.REFUSAL_ACCOUNT_RESTRICTED, {"account": account}),
        (words.REFUSAL_INSUFFICIENT_BALANCE, {"units": 1}),
    ]
    if name == "withdraw":
        fields["destination"] = "d" * 257
        rungs.append((words.REFUSAL_TOO_LARGE, {"destination": "d" * 256}))
    else:
        fields["to_account"] = NOBODY
        rungs += [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"to_account": stranger}),
            (words.REFUSAL_NOT_AUTHORISED, {"to_account": account}),
            (words.REFUSAL_OTHER_ENTITY, {"to_account": entity_mate}),
        ]
    outcome = climb(story, name, fields, rungs)
    assert story.balance(account, USD, RESERVED) == 1
    assert story.state.reservations[outcome.subject].units == 1


def test_pending_reservations_of_an_account_are_bounded(story: Story) -> None:
    account = story.account(usd=1)
    most = story.parameters.ledger.open_orders_max
    for _ in range(most):
        assert not story.do("withdraw", account=account, asset=USD, units=1).refusal
    refused = story.do("withdraw", account=account, asset=USD, units=1)
    assert refused.refusal == words.REFUSAL_TOO_MANY_ORDERS
    story.episode(account)
    assert not story.state.reservations
    assert story.balance(account, USD) == DOLLAR


def test_an_owner_of_two_entities_cannot_transfer_between_them(story: Story) -> None:
    account, other = story.account(usd=1), story.account()
    refused = story.do("transfer", account=account, to_account=other, asset=USD, units=1)
    assert refused.refusal == words.REFUSAL_OTHER_ENTITY


def test_place_order(story: Story) -> None:
    account, restricted = story.account(usd=100), story.account(usd=1)
    overdraw(story, restricted)
    instrument = story.parameters.instrument(BTC_PERP)
    assert instrument is not None
    climb(
        story,
        "place_order",
        {
            "account": NOBODY, "instrument": 99, "venue": 99, "side": 0, "lots": 0, "limit_price": 0,
            "time_in_force": 0, "reduce_only": False, "sender": "mallory",
        },
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": restricted}),
            (words.REFUSAL_NOT_AUTHORISED, {"sender": "alice"}),
            (words.REFUSAL_UNKNOWN_INSTRUMENT, {"instrument": LTC_SPOT}),
            (words.REFUSAL_UNKNOWN_VENUE, {"venue": SOUTH}),  # south does not trade it
            (words.REFUSAL_UNKNOWN_VENUE, {"instrument": BTC_PERP}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"lots": instrument.max_order_lots + 1}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"lots": instrument.max_order_lots}),
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"limit_price": instrument.max_price + 1}),
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"limit_price": instrument.max_price}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"side": SELL}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"time_in_force": market_pb2.TIME_IN_FORCE_GTC}),
            (words.REFUSAL_ACCOUNT_RESTRICTED, {"account": account, "reduce_only": True}),
            (words.REFUSAL_NOT_REDUCING, {"reduce_only": False}),
        ],
    )  # fmt: skip


def test_open_orders_of_an_account_are_bounded(story: Story) -> None:
    account = story.account(usd=100)
    order: dict[str, Any] = {
        "account": account, "instrument": BTC_PERP, "venue": NORTH, "side": BUY, "lots": 1, "limit_price": 1,
        "time_in_force": market_pb2.TIME_IN_FORCE_GTC,
    }  # fmt: skip
    placed = [story.do("place_order", **order) for _ in range(story.parameters.ledger.open_orders_max)]
    assert not any(one.refusal for one in placed)
    assert story.do("place_order", **order).refusal == words.REFUSAL_TOO_MANY_ORDERS
    story.do("cancel_order", account=account, order=placed[0].subject)
    assert not story.do("place_order", **order).refusal


def test_cancel_order(story: Story) -> None:
    account, other = story.account(usd=100), story.account("bob", usd=100)
    order, others = story.order(account, BUY, 1, 100), story.order(other, BUY, 1, 100, sender="bob")
    climb(
        story,
        "cancel_order",
        {"account": NOBODY, "order": 999, "sender": "mallory"},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": account}),
            (words.REFUSAL_NOT_AUTHORISED, {"sender": "alice"}),
            (words.REFUSAL_UNKNOWN_ORDER, {"order": others}),
            (words.REFUSAL_UNKNOWN_ORDER, {"order": order}),
        ],
    )
    assert story.state.orders[order].state == words.ORDER_STATE_CANCELLING


def test_supply(story: Story) -> None:
    account, restricted = story.account(usd=100), story.account(usd=1)
    overdraw(story, restricted)
    assert not story.tick(USD, supply_index=INDEX_ONE + INDEX_ONE // 100).refusal
    climb(
        story,
        "supply",
        {"account": NOBODY, "asset": 99, "units": 0, "sender": "mallory"},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": restricted}),
            (words.REFUSAL_NOT_AUTHORISED, {"sender": "alice"}),
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": USD}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": 100 * DOLLAR + 1}),
            (words.REFUSAL_ACCOUNT_RESTRICTED, {"account": account}),
            (words.REFUSAL_INSUFFICIENT_BALANCE, {"units": 1}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": 2}),  # one unit is less than a share of 1.01
        ],
    )
    assert (story.balance(account, USD, SUPPLY), story.balance(account, USD)) == (1, 100 * DOLLAR - 2)


def test_redeem(story: Story) -> None:
    lender = story.lend(usd=100)
    borrower = story.account(btc=1)
    story.trade(borrower, BUY, 1, 1, fee=60 * DOLLAR)
    climb(
        story,
        "redeem",
        {"account": NOBODY, "asset": 99, "units": -1, "sender": "mallory"},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": lender}),
            (words.REFUSAL_NOT_AUTHORISED, {"sender": "lender"}),
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": BTC}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": 0}),
            (words.REFUSAL_INSUFFICIENT_BALANCE, {"asset": USD, "units": 100 * DOLLAR + 1}),
            (words.REFUSAL_INSUFFICIENT_BALANCE, {"units": 0}),  # all: more than is idle
            (words.REFUSAL_INSUFFICIENT_LIQUIDITY, {"units": 39 * DOLLAR}),
        ],
    )
    assert story.balance(lender, USD, CASH) == 39 * DOLLAR


def test_begin_venue_session(story: Story) -> None:
    first = climb(story, "begin_venue_session", {"venue": 99}, [(words.REFUSAL_UNKNOWN_VENUE, {"venue": NORTH})])
    assert (first.subject, story.do("begin_venue_session", venue=NORTH).subject) == (1, 2)
    assert story.do("begin_venue_session", venue=SOUTH).subject == 1


def test_set_index_elsewhere_repeats_what_home_decided(story: Story) -> None:
    step = story.parameters.ledger.index_step_max * INDEX_ONE // 10**6
    top = INDEX_ONE + step
    climb(
        story,
        "set_index",
        {"asset": 99, "home_sequence": 0, "tick": 2, "borrow_index": INDEX_ONE - 1, "supply_index": 0,
         "overdraft_index": INDEX_ONE - 1},
        [
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": USD}),
            (words.REFUSAL_WRONG_PARTITION, {"home_sequence": 7}),
            (words.REFUSAL_TICK_OUT_OF_ORDER, {"tick": 1}),
            (words.REFUSAL_INDEX_OUT_OF_BOUNDS, {"borrow_index": top + 1}),
            (words.REFUSAL_INDEX_OUT_OF_BOUNDS, {"borrow_index": top}),
            (words.REFUSAL_INDEX_OUT_OF_BOUNDS, {"supply_index": top + 1}),
            (words.REFUSAL_INDEX_OUT_OF_BOUNDS, {"supply_index": 1}),
            (words.REFUSAL_INDEX_OUT_OF_BOUNDS, {"overdraft_index": top}),
        ],
    )  # fmt: skip
    assert story.do("set_index", asset=USD, home_sequence=7, tick=1).refusal == words.REFUSAL_TICK_OUT_OF_ORDER


def test_set_index_at_home_lets_the_supply_index_fall_only_by_a_write_off() -> None:
    home = Story(partition=1)
    assert home.tick(USD, home_sequence=5).refusal == words.REFUSAL_WRONG_PARTITION
    assert home.tick(USD, supply_index=INDEX_ONE - 1).refusal == words.REFUSAL_INDEX_OUT_OF_BOUNDS
    assert home.tick(USD, supply_index=INDEX_ONE - 1, write_off_units=-1).refusal == words.REFUSAL_INDEX_OUT_OF_BOUNDS
    assert not home.tick(USD, supply_index=INDEX_ONE - 1, write_off_units=1).refusal
    assert home.tick(USD, borrow_index=INDEX_ONE - 1, write_off_units=1).refusal == words.REFUSAL_INDEX_OUT_OF_BOUNDS
    home.verify()


def test_set_funding(story: Story) -> None:
    sixteen = (5).to_bytes(16, "big", signed=True)
    climb(
        story,
        "set_funding",
        {"instrument": BTC_SPOT, "home_sequence": 0, "tick": 0, "cumulative_funding": b"", "run_time_ns": 100},
        [
            (words.REFUSAL_UNKNOWN_INSTRUMENT, {"instrument": BTC_PERP}),
            (words.REFUSAL_WRONG_PARTITION, {"home_sequence": 7}),
            (words.REFUSAL_TICK_OUT_OF_ORDER, {"tick": 1}),
            (words.REFUSAL_INDEX_OUT_OF_BOUNDS, {"cumulative_funding": sixteen}),
        ],
    )
    climb(
        story,
        "set_funding",
        {"instrument": BTC_PERP, "home_sequence": 7, "tick": 2, "cumulative_funding": sixteen, "run_time_ns": 99},
        [(words.REFUSAL_TICK_OUT_OF_ORDER, {"run_time_ns": 100})],
    )


def test_settle_variation(story: Story) -> None:
    instrument = story.parameters.instrument(BTC_PERP)
    assert instrument is not None
    climb(
        story,
        "settle_variation",
        {"instrument": BTC_SPOT, "price": 0, "tick": 0},
        [
            (words.REFUSAL_UNKNOWN_INSTRUMENT, {"instrument": BTC_PERP}),
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"price": instrument.max_price + 1}),
            (words.REFUSAL_PRICE_OUT_OF_RANGE, {"price": instrument.max_price}),
            (words.REFUSAL_TICK_OUT_OF_ORDER, {"tick": 1}),
        ],
    )


def test_the_assets_of_the_ladders_are_declared(story: Story) -> None:
    assert {one.id for one in story.parameters.assets} == {USD, BTC, ETH, LTC}
