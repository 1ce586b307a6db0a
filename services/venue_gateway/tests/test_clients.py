"""Client commands: who may ask what, and answers that come from the journal alone."""

import asyncio
from typing import Any

import pytest

from ballast.api.v1 import client_pb2, standing_pb2
from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import market_pb2 as words
from libs.common.ids import SystemAccount, account_id, partition_for_owner, serial_id, system_account
from services.venue_gateway.app.accounts import account_response
from services.venue_gateway.app.clients import session_of
from services.venue_gateway.app.requests import REQUESTS, Planned, plan, principal_named
from services.venue_gateway.domain.refusals import Refused
from services.venue_gateway.tests.house import (
    ACCOUNT,
    DIRECTORY,
    NOW_NS,
    ORDER,
    PARTITION,
    House,
    order,
    order_outcome,
    outcome_of,
)

SECOND = account_id(partition=PARTITION, entity=1, sub=1)
FOREIGN = account_id(partition=PARTITION, entity=2, sub=0)
KEY = client_pb2.RequestKey(key="k")
FUND = system_account(SystemAccount.INSURANCE, partition=1)

NOT_AUTHORISED = ledger_pb2.REFUSAL_NOT_AUTHORISED
UNKNOWN_ACCOUNT = ledger_pb2.REFUSAL_UNKNOWN_ACCOUNT


@pytest.fixture
def house() -> House:
    return House().with_account().with_account(account=SECOND).with_account("bob", FOREIGN)


ORDER_WORDS: dict[str, Any] = {
    "instrument": "BTC-USD-PERP",
    "venue": "north",
    "side": words.SIDE_BUY,
    "quantity": "0.001",
    "limit_price": "60000",
    "time_in_force": words.TIME_IN_FORCE_IOC,
}
USD: dict[str, Any] = {"asset": "USD", "amount": "1"}


@pytest.mark.parametrize(
    ("name", "principal", "request_message", "reason"),
    [
        ("open_account", "alice", client_pb2.OpenAccountRequest(entity=FOREIGN), NOT_AUTHORISED),
        ("open_account", "alice", client_pb2.OpenAccountRequest(entity=9), UNKNOWN_ACCOUNT),
        ("open_account", "alice", client_pb2.OpenAccountRequest(entity=SECOND), UNKNOWN_ACCOUNT),
        ("open_account", "risk_evaluation", client_pb2.OpenAccountRequest(), NOT_AUTHORISED),
        ("confirm_deposit", "alice", client_pb2.ConfirmDepositRequest(account=ACCOUNT, **USD), NOT_AUTHORISED),
        ("confirm_deposit", "custodian", client_pb2.ConfirmDepositRequest(account=9, **USD), UNKNOWN_ACCOUNT),
        ("withdraw", "alice", client_pb2.WithdrawRequest(account=FOREIGN, **USD), NOT_AUTHORISED),
        ("withdraw", "alice", client_pb2.WithdrawRequest(account=2**63, **USD), UNKNOWN_ACCOUNT),
        ("withdraw", "custodian", client_pb2.WithdrawRequest(account=ACCOUNT, **USD), NOT_AUTHORISED),
        (
            "withdraw",
            "alice",
            client_pb2.WithdrawRequest(account=ACCOUNT, destination="x" * 201, **USD),
            ledger_pb2.REFUSAL_TOO_LARGE,
        ),
        ("transfer", "alice", client_pb2.TransferRequest(account=ACCOUNT, to_account=FOREIGN, **USD), NOT_AUTHORISED),
        (
            "transfer",
            "alice",
            client_pb2.TransferRequest(account=ACCOUNT, to_account=ACCOUNT, **USD),
            ledger_pb2.REFUSAL_OTHER_ENTITY,
        ),
        ("move_entity", "bob", client_pb2.MoveEntityRequest(entity=ACCOUNT, to_partition=1), NOT_AUTHORISED),
        ("move_capital", "alice", client_pb2.MoveCapitalRequest(account=1, **USD), NOT_AUTHORISED),
        (
            "move_capital",
            "custodian",
            client_pb2.MoveCapitalRequest(account=ACCOUNT, **USD),
            ledger_pb2.REFUSAL_UNKNOWN_ACCOUNT,
        ),
        ("close_account", "bob", client_pb2.CloseAccountRequest(account=ACCOUNT), NOT_AUTHORISED),
        ("reopen_account", "bob", client_pb2.ReopenAccountRequest(account=ACCOUNT), NOT_AUTHORISED),
        ("restrict_account", "alice", client_pb2.RestrictAccountRequest(account=ACCOUNT), NOT_AUTHORISED),
        ("redenominate_asset", "alice", client_pb2.RedenominateAssetRequest(), NOT_AUTHORISED),
        (
            "redenominate_asset",
            "operator",
            client_pb2.RedenominateAssetRequest(partition=4),
            ledger_pb2.REFUSAL_UNKNOWN_PARTITION,
        ),
        ("distribute", "operator", client_pb2.DistributeRequest(held="BTC"), ledger_pb2.REFUSAL_UNKNOWN_ASSET),
        ("amend_order", "bob", client_pb2.AmendOrderRequest(account=ACCOUNT, order=ORDER), NOT_AUTHORISED),
        (
            "amend_order",
            "alice",
            client_pb2.AmendOrderRequest(account=ACCOUNT, order=ORDER + 1),
            ledger_pb2.REFUSAL_UNKNOWN_ORDER,
        ),
        ("place_order", "bob", client_pb2.PlaceOrderRequest(account=ACCOUNT, **ORDER_WORDS), NOT_AUTHORISED),
        ("cancel_order", "bob", client_pb2.CancelOrderRequest(account=ACCOUNT, order=ORDER), NOT_AUTHORISED),
        (
            "cancel_order",
            "alice",
            client_pb2.CancelOrderRequest(account=ACCOUNT, order=serial_id(partition=1, serial=7)),
            ledger_pb2.REFUSAL_UNKNOWN_ORDER,
        ),
        ("supply", "bob", client_pb2.SupplyRequest(account=ACCOUNT, **USD), NOT_AUTHORISED),
        ("redeem", "bob", client_pb2.RedeemRequest(account=ACCOUNT, **USD), NOT_AUTHORISED),
        ("redeem", "alice", client_pb2.RedeemRequest(account=ACCOUNT, asset="X"), ledger_pb2.REFUSAL_UNKNOWN_ASSET),
        ("", "alice", None, ledger_pb2.REFUSAL_UNKNOWN_COMMAND),
    ],
)
def test_a_request_that_may_not_be_is_refused(
    house: House, name: str, principal: str, request_message: Any, reason: int
) -> None:
    refused = plan(name, request_message, house.clients.asker(principal))
    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert refused.detail


@pytest.mark.parametrize(
    ("name", "principal", "request_message", "partition"),
    [
        ("open_account", "carol", client_pb2.OpenAccountRequest(), partition_for_owner("carol", partitions=4)),
        ("open_account", "alice", client_pb2.OpenAccountRequest(entity=ACCOUNT), PARTITION),
        ("confirm_deposit", "custodian", client_pb2.ConfirmDepositRequest(account=ACCOUNT, **USD), PARTITION),
        ("confirm_deposit", "custodian", client_pb2.ConfirmDepositRequest(account=FUND, **USD), 1),
        ("withdraw", "alice", client_pb2.WithdrawRequest(account=ACCOUNT, **USD), PARTITION),
        ("transfer", "alice", client_pb2.TransferRequest(account=ACCOUNT, to_account=SECOND, **USD), PARTITION),
        ("place_order", "alice", client_pb2.PlaceOrderRequest(account=ACCOUNT, **ORDER_WORDS), PARTITION),
        ("cancel_order", "alice", client_pb2.CancelOrderRequest(account=ACCOUNT, order=ORDER), PARTITION),
        ("close_account", "alice", client_pb2.CloseAccountRequest(account=ACCOUNT), PARTITION),
        ("reopen_account", "alice", client_pb2.ReopenAccountRequest(account=ACCOUNT), PARTITION),
        ("restrict_account", "operator", client_pb2.RestrictAccountRequest(account=ACCOUNT), PARTITION),
        ("redenominate_asset", "operator", client_pb2.RedenominateAssetRequest(asset="LTC", into="ETH"), 0),
        ("distribute", "operator", client_pb2.DistributeRequest(partition=3, held="BTC", credited="LTC"), 3),
        ("supply", "alice", client_pb2.SupplyRequest(account=ACCOUNT, **USD), PARTITION),
        ("redeem", "alice", client_pb2.RedeemRequest(account=ACCOUNT, asset="USD"), PARTITION),
    ],
)
def test_a_good_request_becomes_a_command_of_its_home_partition(
    house: House, name: str, principal: str, request_message: Any, partition: int
) -> None:
    planned = plan(name, request_message, house.clients.asker(principal))
    assert isinstance(planned, Planned)
    assert planned.partition == partition
    assert planned.command.WhichOneof("body") == name
    assert planned.command.principal.id == principal


def test_an_order_is_amended_in_its_own_lots_and_steps(house: House) -> None:
    house.journal(order_outcome(order()))
    request = client_pb2.AmendOrderRequest(account=ACCOUNT, order=ORDER, quantity="0.007", limit_price="59999.99")
    planned = plan("amend_order", request, house.clients.asker("alice"))
    assert isinstance(planned, Planned)
    amended = planned.command.amend_order
    assert (amended.order, amended.lots, amended.limit_price) == (ORDER, 7, 5_999_999)
    for wrong, reason in (
        (client_pb2.AmendOrderRequest(quantity="0.0001"), ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE),
        (client_pb2.AmendOrderRequest(limit_price="1.001"), ledger_pb2.REFUSAL_PRICE_OUT_OF_RANGE),
    ):
        changed = client_pb2.AmendOrderRequest()
        changed.CopyFrom(request)
        changed.MergeFrom(wrong)
        refused = plan("amend_order", changed, house.clients.asker("alice"))
        assert isinstance(refused, Refused)
        assert refused.reason == reason


def test_every_command_of_a_stream_has_a_handler() -> None:
    assert set(REQUESTS) == {field.name for field in client_pb2.SubmitCommand.DESCRIPTOR.oneofs[0].fields}


def test_roles_come_from_the_parameters_and_all_others_are_clients() -> None:
    assert principal_named("custodian", DIRECTORY).role == ledger_pb2.ROLE_CUSTODIAN
    assert principal_named("risk_evaluation", DIRECTORY).role == ledger_pb2.ROLE_SERVICE
    assert principal_named("anyone", DIRECTORY).role == ledger_pb2.ROLE_CLIENT


def _supply(key: client_pb2.RequestKey = KEY, amount: str = "1") -> client_pb2.SupplyRequest:
    return client_pb2.SupplyRequest(key=key, account=ACCOUNT, asset="USD", amount=amount)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (client_pb2.RequestKey(), "expected a key of 1 to 64 bytes, was 0"),
        (client_pb2.RequestKey(key="k" * 65), "was 65"),
        (client_pb2.RequestKey(key="é" * 33), "was 66"),
        (client_pb2.RequestKey(key="k", issued_at_ns=-1), "expected issued_at_ns"),
    ],
)
async def test_a_call_needs_a_key(house: House, key: client_pb2.RequestKey, says: str) -> None:
    refused = await house.clients.call("supply", _supply(key), principal="alice", timeout_s=1)
    assert isinstance(refused, Refused)
    assert says in refused.detail
    assert not house.commands.sent


async def test_an_answer_is_the_outcome_of_an_accepted_frame(house: House) -> None:
    calling = asyncio.create_task(house.clients.call("supply", _supply(), principal="alice", timeout_s=5))
    command = await house.commands.next()
    assert (command.client.key, command.client.issued_at_ns) == ("k", NOW_NS)
    house.journal()
    await asyncio.sleep(0)
    assert not calling.done()
    house.journal(outcome_of(command, subject=5))
    outcome = await calling
    assert isinstance(outcome, client_pb2.CommandOutcome)
    assert (outcome.subject, outcome.partition, outcome.sequence) == (
        5,
        PARTITION,
        house.view.books[PARTITION].sequence,
    )
    assert len(house.answers) == 0


async def test_the_outcome_of_another_request_under_the_same_key_answers_nobody_else(house: House) -> None:
    first = asyncio.create_task(house.clients.call("supply", _supply(), principal="alice", timeout_s=5))
    one = await house.commands.next()
    second = asyncio.create_task(house.clients.call("supply", _supply(amount="2"), principal="alice", timeout_s=5))
    other = await house.commands.next()
    house.journal(outcome_of(other, refusal=ledger_pb2.REFUSAL_KEY_REUSED))
    refused = await second
    assert isinstance(refused, client_pb2.CommandOutcome)
    assert (refused.refusal, refused.detail) == (ledger_pb2.REFUSAL_KEY_REUSED, "key reused")
    assert not first.done()
    house.journal(outcome_of(one))
    await first


async def test_a_call_without_outcome_times_out_and_waits_no_more(house: House) -> None:
    with pytest.raises(TimeoutError):
        await house.clients.call("supply", _supply(), principal="alice", timeout_s=0.01)
    assert len(house.commands.sent) == 1
    assert len(house.answers) == 0


def _reservation(
    state: ledger_pb2.ReservationState, reason: ledger_pb2.Refusal = ledger_pb2.REFUSAL_UNSPECIFIED
) -> Any:
    one = journal_pb2.Reservation(reservation=ORDER, account=ACCOUNT, state=state, reason=reason)
    return journal_pb2.Effect(reservation=one)


@pytest.mark.parametrize(
    ("state", "reason", "refusal"),
    [
        (ledger_pb2.RESERVATION_STATE_SETTLED, ledger_pb2.REFUSAL_UNSPECIFIED, ledger_pb2.REFUSAL_UNSPECIFIED),
        (
            ledger_pb2.RESERVATION_STATE_VOIDED,
            ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN,
            ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN,
        ),
        (ledger_pb2.RESERVATION_STATE_VOIDED, ledger_pb2.REFUSAL_UNSPECIFIED, ledger_pb2.REFUSAL_INTERNAL),
    ],
)
async def test_a_withdrawal_answers_when_it_is_judged(
    house: House,
    state: ledger_pb2.ReservationState,
    reason: ledger_pb2.Refusal,
    refusal: ledger_pb2.Refusal,
) -> None:
    request = client_pb2.WithdrawRequest(key=KEY, account=ACCOUNT, **USD)
    calling = asyncio.create_task(house.clients.call("withdraw", request, principal="alice", timeout_s=5))
    command = await house.commands.next()
    house.journal(outcome_of(command, _reservation(ledger_pb2.RESERVATION_STATE_PENDING), subject=ORDER))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not calling.done()
    house.journal(journal_pb2.Outcome(effects=[_reservation(state, reason)]))
    outcome = await calling
    assert isinstance(outcome, client_pb2.CommandOutcome)
    assert (outcome.refusal, outcome.subject) == (refusal, ORDER)
    assert outcome.sequence == house.view.books[PARTITION].sequence
    again = asyncio.create_task(house.clients.call("withdraw", request, principal="alice", timeout_s=5))
    house.journal(outcome_of(await house.commands.next(), subject=ORDER, repeated=True))
    repeated = await again
    assert isinstance(repeated, client_pb2.CommandOutcome)
    assert (repeated.refusal, repeated.repeated) == (refusal, True)


async def test_a_refused_withdrawal_answers_at_once(house: House) -> None:
    request = client_pb2.WithdrawRequest(key=KEY, account=ACCOUNT, **USD)
    calling = asyncio.create_task(house.clients.call("withdraw", request, principal="alice", timeout_s=5))
    house.journal(outcome_of(await house.commands.next(), refusal=ledger_pb2.REFUSAL_INSUFFICIENT_BALANCE))
    outcome = await calling
    assert isinstance(outcome, client_pb2.CommandOutcome)
    assert outcome.detail == "insufficient balance"


def test_no_client_can_name_the_session_of_another() -> None:
    assert session_of("alice", b"s" * 16) != session_of("bob", b"s" * 16)
    assert len(session_of("alice", b"s" * 16)) == 16


def _posting(asset: int, kind: ledger_pb2.LineKind, balance: int) -> journal_pb2.Effect:
    return journal_pb2.Effect(posting=journal_pb2.Posting(account=ACCOUNT, asset=asset, kind=kind, balance=balance))


def test_an_account_is_shown_in_symbols_and_decimals_rounded_against_the_account(house: House) -> None:
    index = journal_pb2.PoolIndex(asset=1, borrow_index=15 * 10**14, supply_index=15 * 10**14, overdraft_index=10**15)
    effects = [
        journal_pb2.Effect(pool_index=index),
        _posting(1, ledger_pb2.LINE_KIND_CASH, -2_500_000),
        _posting(1, ledger_pb2.LINE_KIND_DEBT_SHARES, 1),
        _posting(1, ledger_pb2.LINE_KIND_SUPPLY_SHARES, 1),
        _posting(11, ledger_pb2.LINE_KIND_LOTS, -3),
        _posting(11, ledger_pb2.LINE_KIND_VARIATION, 5),
        _posting(21, ledger_pb2.LINE_KIND_LOTS, 250),
        journal_pb2.Effect(order=order()),
    ]
    house.journal(journal_pb2.Outcome(effects=effects))
    shown = account_response(house.view, DIRECTORY, ACCOUNT)
    amounts = {(one.symbol, one.kind): one.amount for one in shown.balances}
    assert amounts == {
        ("USD", ledger_pb2.LINE_KIND_CASH): "-2.5",
        ("USD", ledger_pb2.LINE_KIND_DEBT_SHARES): "0.000002",
        ("USD", ledger_pb2.LINE_KIND_SUPPLY_SHARES): "0.000001",
        ("BTC-USD-PERP", ledger_pb2.LINE_KIND_LOTS): "-0.003",
        ("BTC-USD-PERP", ledger_pb2.LINE_KIND_VARIATION): "0.000005",
        ("BTC-USD-INV", ledger_pb2.LINE_KIND_LOTS): "250",
    }
    assert list(shown.orders) == [ORDER]


def test_an_account_shows_how_it_stands(house: House) -> None:
    entity = ACCOUNT & ~0xFFFF
    one = journal_pb2.Account(
        account=ACCOUNT, entity=entity, owner="alice", restricted=True, closed=True, held=True, moving_to=3
    )
    house.journal(journal_pb2.Outcome(effects=[journal_pb2.Effect(account=one)]))
    shown = account_response(house.view, DIRECTORY, ACCOUNT)
    assert shown.restricted
    assert shown.standing == standing_pb2.AccountStanding(closed=True, held=True, moving_to=3)
