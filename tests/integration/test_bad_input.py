"""Bad input at every edge: a status with a reason a person understands, or a dead letter; the partition goes on."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from ballast.api.v1 import client_pb2, client_pb2_grpc, venue_pb2, venue_pb2_grpc
from ballast.events.v1 import commands_pb2, dead_letter_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from libs.common import rpc
from libs.common.codec import GENERATION, Publisher
from libs.common.ids import account_id, partition_of
from libs.common.topics import COMMANDS, JOURNAL, MARKS
from libs.common.units import SECOND_NS
from tools.demo.gate import Gate
from tools.demo.processes import Fleet
from tools.demo.spans import moment_ns

START = "2017-12-22T08:00"
UNDER_TEST = ("price_ingestion", "collateral_management", "venue_gateway")
HOUR_NS = 3_600 * SECOND_NS

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class House:
    """What is running, and alice's account in it."""

    bootstrap: str
    target: str
    alice: int


def principal(name: str) -> Metadata:
    return ((rpc.PRINCIPAL_KEY, name),)


def fresh_key() -> client_pb2.RequestKey:
    return client_pb2.RequestKey(key=secrets.token_hex(8))


@asynccontextmanager
async def clients(house: House) -> AsyncIterator[Any]:
    async with rpc.channel(house.target) as channel:
        yield client_pb2_grpc.ClientServiceStub(channel)


async def open_account(house: House, name: str) -> int:
    async with clients(house) as edge:
        request = client_pb2.OpenAccountRequest(key=fresh_key())
        answer = await edge.OpenAccount(request, metadata=principal(name), timeout=10)
    assert not answer.outcome.refusal, answer.outcome.detail
    return int(answer.outcome.subject)


async def deposit(house: House, amount: str) -> client_pb2.CommandOutcome:
    async with clients(house) as edge:
        request = client_pb2.ConfirmDepositRequest(key=fresh_key(), account=house.alice, asset="USD", amount=amount)
        answer = await edge.ConfirmDeposit(request, metadata=principal("custodian"), timeout=10)
    outcome: client_pb2.CommandOutcome = answer.outcome
    return outcome


async def cash(house: House) -> str:
    async with clients(house) as edge:
        request = client_pb2.ClientServiceGetAccountRequest(account=house.alice)
        answer = await edge.GetAccount(request, metadata=principal("alice"), timeout=10)
    return next((one.amount for one in answer.balances if one.kind == ledger_pb2.LINE_KIND_CASH), "0")


@pytest.fixture(scope="module")
def house(fresh_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    gate = Gate()
    windows = {"BALLAST_REPLAY_WINDOWS": f"{START}/2017-12-22T09:00"}
    fleet = Fleet(
        bootstrap=fresh_kafka,
        directory=tmp_path_factory.mktemp("bad_input"),
        gate_url=gate.url,
        extra={"price_ingestion": windows},
    )
    try:
        for name in UNDER_TEST:
            fleet.processes[name].start()
        asyncio.run(fleet.wait_ready(UNDER_TEST))
        running = House(fresh_kafka, fleet.ports["venue_gateway"].target, 0)
        yield replace(running, alice=asyncio.run(open_account(running, "alice")))
        for name in UNDER_TEST:
            fleet.processes[name].check_alive()
    finally:
        fleet.stop()
        gate.stop()


def order(**changed: Any) -> client_pb2.PlaceOrderRequest:
    good: dict[str, Any] = {
        "instrument": "BTC-USD-PERP",
        "venue": "north",
        "side": market_pb2.SIDE_BUY,
        "quantity": "0.5",
        "limit_price": "14000.5",
        "time_in_force": market_pb2.TIME_IN_FORCE_IOC,
    }
    return client_pb2.PlaceOrderRequest(**{**good, **changed})


def deposited(asset: str, amount: str) -> client_pb2.ConfirmDepositRequest:
    return client_pb2.ConfirmDepositRequest(asset=asset, amount=amount)


STRANGER = account_id(partition=0, entity=999_999, sub=0)
PRICE, QUANTITY = "REFUSAL_PRICE_OUT_OF_RANGE", "REFUSAL_QUANTITY_OUT_OF_RANGE"
INVALID, ABSENT, DENIED = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
)
# Who asks, what (account 0: alice's), and the status, refusal and words that come back.
BAD_REQUESTS: list[tuple[str, str, Any, grpc.StatusCode, str, str]] = [
    ("custodian", "ConfirmDeposit", deposited("DOGE", "1"), ABSENT, "REFUSAL_UNKNOWN_ASSET", "'DOGE'"),
    ("custodian", "ConfirmDeposit", deposited("USD", "12,5"), INVALID, QUANTITY, "expected a decimal such as '12.5'"),
    ("custodian", "ConfirmDeposit", deposited("USD", ""), INVALID, QUANTITY, "expected a decimal"),
    ("custodian", "ConfirmDeposit", deposited("USD", "1e6"), INVALID, QUANTITY, "'1e6'"),
    ("custodian", "ConfirmDeposit", deposited("USD", "Infinity"), INVALID, QUANTITY, "'Infinity'"),
    ("custodian", "ConfirmDeposit", deposited("USD", "٣"), INVALID, QUANTITY, "expected a decimal"),
    ("custodian", "ConfirmDeposit", deposited("USD", "1.0000001"), INVALID, QUANTITY, "at most 6 digits"),
    ("custodian", "ConfirmDeposit", deposited("BTC", "0.000000001"), INVALID, QUANTITY, "at most 8 digits"),
    ("custodian", "ConfirmDeposit", deposited("USD", "9" * 30), INVALID, QUANTITY, "below 2^63"),
    ("custodian", "ConfirmDeposit", deposited("USD", "9" * 500), INVALID, QUANTITY, "expected a decimal"),
    ("custodian", "ConfirmDeposit", deposited("USD", "-5"), INVALID, QUANTITY, "above 0"),
    ("alice", "ConfirmDeposit", deposited("USD", "5"), DENIED, "REFUSAL_NOT_AUTHORISED", "custodian"),
    ("alice", "PlaceOrder", order(instrument="XRP-USD"), ABSENT, "REFUSAL_UNKNOWN_INSTRUMENT", "'XRP-USD'"),
    ("alice", "PlaceOrder", order(venue="west"), ABSENT, "REFUSAL_UNKNOWN_VENUE", "north, south"),
    ("alice", "PlaceOrder", order(quantity="0.0005"), INVALID, QUANTITY, "whole lots of 0.001"),
    ("alice", "PlaceOrder", order(quantity="one"), INVALID, QUANTITY, "'one'"),
    ("alice", "PlaceOrder", order(limit_price="-14000"), INVALID, PRICE, "above 0"),
    ("alice", "PlaceOrder", order(limit_price="0"), INVALID, PRICE, "above 0"),
    ("alice", "PlaceOrder", order(limit_price="NaN"), INVALID, PRICE, "'NaN'"),
    ("alice", "PlaceOrder", order(limit_price="14000.001"), INVALID, PRICE, "at most 2 digits"),
    ("alice", "PlaceOrder", order(limit_price="10000001"), INVALID, PRICE, "at most 10000000"),
    ("alice", "PlaceOrder", order(side=7), INVALID, "REFUSAL_UNKNOWN_COMMAND", "SIDE_BUY or SIDE_SELL"),
    ("alice", "PlaceOrder", order(account=STRANGER), ABSENT, "REFUSAL_UNKNOWN_ACCOUNT", str(STRANGER)),
    ("alice", "PlaceOrder", order(account=2**63 + 1), ABSENT, "REFUSAL_UNKNOWN_ACCOUNT", str(2**63 + 1)),
    ("mallory", "PlaceOrder", order(), DENIED, "REFUSAL_NOT_AUTHORISED", "mallory"),
    ("risk_evaluation", "PlaceOrder", order(), DENIED, "REFUSAL_NOT_AUTHORISED", "no service uses the edge"),
    ("alice", "CancelOrder", client_pb2.CancelOrderRequest(order=17), ABSENT, "REFUSAL_UNKNOWN_ORDER", "17"),
]


async def refusal_of(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """Status, refusal's name and words of a call that must not succeed."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailing = dict(tuple(pair) for pair in caught.value.trailing_metadata() or ())
    return caught.value.code(), str(trailing.get(rpc.REFUSAL_KEY, "")), caught.value.details() or ""


@pytest.mark.parametrize(("who", "method", "request_", "status", "refusal", "words"), BAD_REQUESTS)
async def test_a_bad_request_gets_a_status_and_a_reason(
    house: House, who: str, method: str, request_: Any, status: grpc.StatusCode, refusal: str, words: str
) -> None:
    request = type(request_)()
    request.CopyFrom(request_)
    request.key.CopyFrom(fresh_key())
    request.account = request.account or house.alice
    async with clients(house) as edge:
        found = await refusal_of(getattr(edge, method)(request, metadata=principal(who), timeout=10))
    assert found[:2] == (status, refusal)
    assert words in found[2]


async def test_a_call_without_principal_is_unauthenticated(house: House) -> None:
    async with clients(house) as edge:
        status, _, words = await refusal_of(
            edge.OpenAccount(client_pb2.OpenAccountRequest(key=fresh_key()), timeout=10)
        )
    assert (status, rpc.PRINCIPAL_KEY in words) == (grpc.StatusCode.UNAUTHENTICATED, True)


async def test_a_key_repeats_its_outcome_and_carries_no_other_request(house: House) -> None:
    before, key = float(await cash(house)), fresh_key()
    first = client_pb2.ConfirmDepositRequest(key=key, account=house.alice, asset="USD", amount="100")
    other = client_pb2.ConfirmDepositRequest(key=key, account=house.alice, asset="USD", amount="101")
    async with clients(house) as edge:
        answers = [await edge.ConfirmDeposit(first, metadata=principal("custodian"), timeout=10) for _ in range(2)]
        reused = await edge.ConfirmDeposit(other, metadata=principal("custodian"), timeout=10)
    assert [answer.outcome.repeated for answer in answers] == [False, True]
    assert {(answer.outcome.refusal, answer.outcome.subject) for answer in answers} == {(0, house.alice)}
    assert reused.outcome.refusal == ledger_pb2.REFUSAL_KEY_REUSED
    assert reused.outcome.detail == "the key was used with another request"
    assert float(await cash(house)) == before + 100


async def test_a_key_from_before_the_horizon_is_expired(house: House) -> None:
    start_ns = moment_ns(START)
    outcomes = []
    async with clients(house) as edge:
        for age_ns in (25 * HOUR_NS, 23 * HOUR_NS):
            key = client_pb2.RequestKey(key=secrets.token_hex(8), issued_at_ns=start_ns - age_ns)
            request = client_pb2.OpenAccountRequest(key=key)
            answer = await edge.OpenAccount(request, metadata=principal("alice"), timeout=10)
            outcomes.append((answer.outcome.refusal, answer.outcome.detail.startswith("issued before")))
        for text, issued_at_ns in (("", 0), ("k" * 65, 0), ("k", -1)):
            key = client_pb2.RequestKey(key=text, issued_at_ns=issued_at_ns)
            request = client_pb2.OpenAccountRequest(key=key)
            found = await refusal_of(edge.OpenAccount(request, metadata=principal("alice"), timeout=10))
            assert found[0] is INVALID, found
    assert outcomes == [(ledger_pb2.REFUSAL_KEY_EXPIRED, True), (ledger_pb2.REFUSAL_UNSPECIFIED, False)]


@pytest.mark.parametrize("size", [rpc.COMMAND_BYTES_MAX + 1, rpc.STREAM_BYTES_MAX + 1])
async def test_an_oversized_request_is_refused(house: House, size: int) -> None:
    request = client_pb2.WithdrawRequest(account=house.alice, asset="USD", amount="1", destination="d" * size)
    async with clients(house) as edge:
        found = await refusal_of(edge.Withdraw(request, metadata=principal("alice"), timeout=10))
    assert found[0] is grpc.StatusCode.RESOURCE_EXHAUSTED, found
    assert "expected" in found[2] or "larger than max" in found[2]


async def _stream(
    house: House, session: bytes, commands: Sequence[client_pb2.SubmitCommand]
) -> list[tuple[int, str, bool]]:
    async with clients(house) as edge:
        asked = [client_pb2.SubmitRequest(session=session, commands=commands)]
        call = edge.Submit(iter(asked), metadata=principal("alice"), timeout=10)
        outcomes = [one async for answer in call for one in answer.outcomes]
    named = ((one.n, ledger_pb2.Refusal.Name(one.outcome.refusal), one.outcome.repeated) for one in outcomes)
    return sorted(named)


async def test_a_stream_goes_on_after_bad_commands(house: House) -> None:
    session = secrets.token_bytes(16)
    opening = client_pb2.OpenAccountRequest()
    good = client_pb2.SubmitCommand(n=1, open_account=opening)
    bad = client_pb2.SubmitCommand(n=2, place_order=order(account=house.alice, limit_price="NaN"))
    empty, last = client_pb2.SubmitCommand(n=3), client_pb2.SubmitCommand(n=7, open_account=opening)
    assert await _stream(house, session, [good, bad, empty, last]) == [
        (1, "REFUSAL_UNSPECIFIED", False),
        (2, "REFUSAL_PRICE_OUT_OF_RANGE", False),
        (3, "REFUSAL_UNKNOWN_COMMAND", False),
        (7, "REFUSAL_UNSPECIFIED", False),
    ]
    changed = client_pb2.SubmitCommand(n=7, place_order=order(account=house.alice))
    assert await _stream(house, session, [good, changed]) == [
        (1, "REFUSAL_UNSPECIFIED", True),
        (7, "REFUSAL_KEY_REUSED", False),
    ]


@pytest.mark.parametrize(
    ("session", "numbers", "words"),
    [(b"short", [1], "expected a session of 16 bytes"), (b"s" * 16, [2, 2], "expected a number above 2, was 2")],
)
async def test_a_malformed_stream_ends_with_a_reason(
    house: House, session: bytes, numbers: list[int], words: str
) -> None:
    commands = [client_pb2.SubmitCommand(n=n, open_account=client_pb2.OpenAccountRequest()) for n in numbers]
    status, _, found = await refusal_of(_stream(house, session, commands))
    assert (status, words in found) == (INVALID, True)


HELLO = venue_pb2.VenueHello(venue="north")
LEVEL = venue_pb2.BookLevel(price="14000.5", lots=1)
BAD_VENUES: list[tuple[str, venue_pb2.VenueHello, list[venue_pb2.BookLevel], grpc.StatusCode, str]] = [
    ("west", venue_pb2.VenueHello(venue="west"), [LEVEL], grpc.StatusCode.FAILED_PRECONDITION, "'west'"),
    ("south", HELLO, [LEVEL], grpc.StatusCode.FAILED_PRECONDITION, "expected principal 'north'"),
    ("north", HELLO, [venue_pb2.BookLevel(price="NaN", lots=1)], INVALID, "'NaN'"),
    ("north", HELLO, [venue_pb2.BookLevel(price="-1", lots=1)], INVALID, "above 0"),
    ("north", HELLO, [venue_pb2.BookLevel(price="14000.5", lots=-1)], INVALID, "above 0"),
    ("north", HELLO, [LEVEL, venue_pb2.BookLevel(price="14001", lots=1)], INVALID, "best price"),
]


@pytest.mark.parametrize(("who", "hello", "bids", "status", "words"), BAD_VENUES)
async def test_a_venue_that_talks_nonsense_is_sent_away_with_a_reason(
    house: House,
    who: str,
    hello: venue_pb2.VenueHello,
    bids: list[venue_pb2.BookLevel],
    status: grpc.StatusCode,
    words: str,
) -> None:
    welcome = asyncio.Event()

    async def said() -> AsyncIterator[venue_pb2.ConnectRequest]:
        yield venue_pb2.ConnectRequest(hello=hello)
        await welcome.wait()  # who is sent away must not be writing: its own library would hide the status
        book = venue_pb2.BookUpdate(symbol="BTC-USD-PERP", sequence=1, bids=bids)
        yield venue_pb2.ConnectRequest(book=book)

    async def connect() -> None:
        async with rpc.channel(house.target) as channel:
            call = venue_pb2_grpc.VenueServiceStub(channel).Connect(said(), metadata=principal(who), timeout=10)
            async for _ in call:
                welcome.set()

    found, _, detail = await refusal_of(connect())
    assert (found, words in detail) == (status, True), detail


BATCH = commands_pb2.CommandBatch().SerializeToString()
# A record's value and generation, the words of the reason it is put aside for.
POISON: list[tuple[bytes | None, str, str]] = [
    (b"\xff\xff\xff not a protobuf", str(GENERATION), "expected a ballast.events.v1.CommandBatch, was other bytes"),
    (BATCH, str(GENERATION + 1), f"expected generation at most {GENERATION}, was {GENERATION + 1}"),
    (BATCH, "newest", "was newest"),
    (None, str(GENERATION), "a record without value"),
]


async def _dead_letters(bootstrap: str, count: int) -> list[dead_letter_pb2.DeadLetter]:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="none") as consumer:
        where = TopicPartition(COMMANDS.dead, 0)
        consumer.assign([where])
        consumer.seek(where, 0)
        records: list[Any] = []
        async with asyncio.timeout(10):
            while len(records) < count:
                records += (await consumer.getmany(where, timeout_ms=500)).get(where, [])
    return [dead_letter_pb2.DeadLetter.FromString(record.value) for record in records]


async def test_poison_goes_to_the_dead_letters_and_the_partition_goes_on(house: House) -> None:
    partition, before = partition_of(house.alice), float(await cash(house))
    offsets = []
    async with Publisher(bootstrap=house.bootstrap, client_id="poison") as publisher:
        for value, generation, _ in POISON:
            named = [("generation", generation.encode())]
            sent = await publisher.enqueue(COMMANDS.name, value, key=b"its key", partition=partition, named=named)
            offsets.append((await sent).offset)
            assert not (await deposit(house, "1")).refusal
    letters = await _dead_letters(house.bootstrap, len(POISON))
    assert len(letters) == len(POISON)
    for letter, offset, (value, _, words) in zip(letters, offsets, POISON, strict=True):
        assert (letter.topic, letter.partition, letter.offset) == (COMMANDS.name, partition, offset)
        assert (letter.key, letter.value, letter.service) == (b"its key", value or b"", "collateral_management")
        assert words in letter.reason
    assert float(await cash(house)) == before + len(POISON)


@pytest.mark.parametrize("topic", [JOURNAL, MARKS], ids=lambda topic: str(topic.name))
async def test_garbage_on_a_chained_log_is_noise_to_its_readers(house: House, topic: Any) -> None:
    partition = partition_of(house.alice) if topic is JOURNAL else 0
    before = float(await cash(house))
    async with Publisher(bootstrap=house.bootstrap, client_id="noise") as publisher:
        for value in (b"\xff garbage", b"", BATCH):
            await (await publisher.enqueue(topic.name, value, partition=partition))
    outcome = await deposit(house, "2")
    assert (outcome.refusal, outcome.partition) == (0, partition_of(house.alice))
    assert float(await cash(house)) == before + 2
