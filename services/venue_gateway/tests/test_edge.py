"""The edge over real gRPC on loopback, with a journal made by hand."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from ballast.api.v1 import client_pb2, client_pb2_grpc, venue_pb2, venue_pb2_grpc
from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common import rpc
from libs.common.trace import Tracer
from services.venue_gateway.adapters.client_service import ClientService
from services.venue_gateway.adapters.tracing import OrderTraces
from services.venue_gateway.adapters.venue_service import VenueService
from services.venue_gateway.app.books import DisplayedBooks
from services.venue_gateway.app.venue_metrics import GatewayMetrics
from services.venue_gateway.app.venues import Venues
from services.venue_gateway.tests.house import (
    ACCOUNT,
    DIRECTORY,
    NORTH,
    PARTITION,
    House,
    order,
    order_outcome,
    outcome_of,
)

ALICE = (("ballast-principal", "alice"),)
SESSION = b"s" * 16


class NoTail:
    """A journal whose end is always reached."""

    async def reach(self, partition: int) -> None:
        return


@dataclass(slots=True)
class Edge:
    house: House
    client: client_pb2_grpc.ClientServiceStub
    venue: venue_pb2_grpc.VenueServiceStub
    ready: bool = True


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    house = House().with_account()
    server = rpc.server(receive_bytes_max=rpc.STREAM_BYTES_MAX)
    port = rpc.bind(server, host="127.0.0.1", port=0)
    async with rpc.channel(f"127.0.0.1:{port}") as channel:
        made = Edge(house, client_pb2_grpc.ClientServiceStub(channel), venue_pb2_grpc.VenueServiceStub(channel))
        venues = Venues(
            directory=DIRECTORY,
            view=house.view,
            clients=house.clients,
            books=DisplayedBooks(lambda venue: None, again_after_ns=10**9),
            metrics=GatewayMetrics(house.metrics),
            session=b"v" * 16,
            ready=lambda: made.ready,
            principal_id="venue_gateway",
        )
        client_pb2_grpc.add_ClientServiceServicer_to_server(
            ClientService(
                clients=house.clients, directory=DIRECTORY, view=house.view, tail=NoTail(), ready=lambda: made.ready
            ),
            server,
        )
        venue_pb2_grpc.add_VenueServiceServicer_to_server(
            VenueService(venues=venues, commands=house.commands, traces=OrderTraces(Tracer())), server
        )
        await server.start()
        yield made
        await server.stop(0)


def _supply(amount: str = "1", key: str = "k", account: int = ACCOUNT) -> client_pb2.SupplyRequest:
    return client_pb2.SupplyRequest(key=client_pb2.RequestKey(key=key), account=account, asset="USD", amount=amount)


async def _status(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), failed.value.details() or ""


@pytest.mark.parametrize(
    ("request_message", "metadata", "code", "says"),
    [
        (_supply(), (), "UNAUTHENTICATED", "expected metadata ballast-principal"),
        (_supply("-1"), ALICE, "INVALID_ARGUMENT", "REFUSAL_QUANTITY_OUT_OF_RANGE: expected an amount of USD above 0"),
        (_supply("NaN"), ALICE, "INVALID_ARGUMENT", "expected a decimal such as '12.5', was 'NaN'"),
        (_supply(account=ACCOUNT + 1), ALICE, "NOT_FOUND", "expected an existing account"),
        (_supply(), (("ballast-principal", "bob"),), "PERMISSION_DENIED", "does not belong to 'bob'"),
        (_supply(key=""), ALICE, "INVALID_ARGUMENT", "expected a key of 1 to 64 bytes"),
        (_supply(key="k" * 70_000), ALICE, "RESOURCE_EXHAUSTED", "expected a request of at most 65536 bytes"),
        (_supply(key="k" * 1_100_000), ALICE, "RESOURCE_EXHAUSTED", "larger than max"),
    ],
)
async def test_bad_input_is_a_status_with_a_sentence(
    edge: Edge, request_message: Any, metadata: Any, code: str, says: str
) -> None:
    status, detail = await _status(edge.client.Supply(request_message, metadata=metadata))
    assert status.name == code
    assert says in detail
    assert edge.house.commands.sent == []


async def test_nothing_is_answered_before_the_journal_is_read(edge: Edge) -> None:
    edge.ready = False
    status, detail = await _status(edge.client.Supply(_supply(), metadata=ALICE))
    assert (status, "journal" in detail) == (grpc.StatusCode.UNAVAILABLE, True)


async def test_a_call_past_its_deadline_says_that_the_command_may_be_applied(edge: Edge) -> None:
    status, detail = await _status(edge.client.Supply(_supply(), metadata=ALICE, timeout=0.5))
    assert status is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "retry with the same key" in detail
    assert len(edge.house.answers) == 0


async def test_a_refusal_of_the_ledger_is_an_outcome(edge: Edge) -> None:
    calling = asyncio.ensure_future(edge.client.Supply(_supply(), metadata=ALICE))
    command = await edge.house.commands.next()
    edge.house.journal(outcome_of(command, refusal=ledger_pb2.REFUSAL_INSUFFICIENT_BALANCE))
    response = await calling
    assert response.outcome.refusal == ledger_pb2.REFUSAL_INSUFFICIENT_BALANCE
    assert response.outcome.detail == "insufficient balance"


async def test_an_account_is_read_at_the_sequence_that_is_asked_for(edge: Edge) -> None:
    ask = client_pb2.ClientServiceGetAccountRequest(account=ACCOUNT)
    shown = await edge.client.GetAccount(ask, metadata=ALICE)
    ask.at_least = shown.sequence + 1
    status, detail = await _status(edge.client.GetAccount(ask, metadata=ALICE, timeout=0.3))
    assert (status, detail.startswith("Behind")) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)
    waiting = asyncio.ensure_future(edge.client.GetAccount(ask, metadata=ALICE))
    await asyncio.sleep(0.05)
    edge.house.journal()
    assert (await waiting).sequence == ask.at_least
    status, _ = await _status(edge.client.GetAccount(ask, metadata=(("ballast-principal", "bob"),)))
    assert status is grpc.StatusCode.PERMISSION_DENIED
    ask.account = 2**63
    assert (await _status(edge.client.GetAccount(ask, metadata=ALICE)))[0] is grpc.StatusCode.NOT_FOUND


def _submit(*numbers: int, session: bytes = SESSION, amount: str = "1") -> client_pb2.SubmitRequest:
    commands = [client_pb2.SubmitCommand(n=n, supply=_supply(amount)) for n in numbers]
    return client_pb2.SubmitRequest(session=session, commands=commands)


async def test_a_stream_answers_each_number_as_it_is_journalled(edge: Edge) -> None:
    call = edge.client.Submit(metadata=ALICE)
    await call.write(_submit(1, 2))
    await call.write(_submit(5, session=b"", amount="nan"))
    await call.write(client_pb2.SubmitRequest(commands=[client_pb2.SubmitCommand(n=6)]))
    early = await call.read()
    refused = [(one.n, one.outcome.refusal) for one in early.outcomes]
    while len(refused) < 2:
        refused += [(one.n, one.outcome.refusal) for one in (await call.read()).outcomes]
    assert refused == [(5, ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE), (6, ledger_pb2.REFUSAL_UNKNOWN_COMMAND)]
    first, second = await edge.house.commands.next(), await edge.house.commands.next()
    assert (first.session.n, second.session.n) == (1, 2)
    assert first.session.session not in (SESSION, b"")
    await call.done_writing()
    edge.house.journal(outcome_of(second, refusal=ledger_pb2.REFUSAL_INSUFFICIENT_BALANCE))
    assert [(one.n, one.outcome.refusal) for one in (await call.read()).outcomes] == [(2, 17)]
    edge.house.journal(outcome_of(first, subject=3))
    assert [(one.n, one.outcome.subject) for one in (await call.read()).outcomes] == [(1, 3)]
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("requests", "says"),
    [
        ([_submit(1, session=b"short")], "expected a session of 16 bytes first, was 5"),
        ([_submit(2, 2)], "expected a number above 2, was 2"),
        ([_submit(3), _submit(1)], "expected a number above 3, was 1"),
        ([_submit(0)], "expected a number above 0, was 0"),
    ],
)
async def test_a_malformed_stream_ends(edge: Edge, requests: list[client_pb2.SubmitRequest], says: str) -> None:
    call = edge.client.Submit(metadata=ALICE)
    for request in requests:
        await call.write(request)
    status, detail = await _status(call.read())
    assert (status, says in detail) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    assert len(edge.house.answers) == 0


NORTH_HELLO = venue_pb2.VenueHello(
    venue="north", instruments=[venue_pb2.VenueInstrument(symbol="BTC-USD-PERP", tick_size="0.01", lot_size="0.001")]
)
AS_NORTH = (("ballast-principal", "north"),)


async def _grant(edge: Edge, epoch: int) -> None:
    command = await edge.house.commands.next()
    assert command.begin_venue_session.venue == NORTH.id
    effect = journal_pb2.Effect(venue_session=journal_pb2.VenueSession(venue=NORTH.id, epoch=epoch))
    edge.house.journal(outcome_of(command, effect), partition=0)


async def test_a_venue_is_greeted_with_its_journalled_epoch_and_a_newer_session_ends_the_older(edge: Edge) -> None:
    edge.house.journal(order_outcome(order()))
    first = edge.venue.Connect(metadata=AS_NORTH)
    await first.write(venue_pb2.ConnectRequest(hello=NORTH_HELLO))
    await _grant(edge, 1)
    assert (await first.read()).hello.session_epoch == 1
    assert (await first.read()).order.lots == 5
    report = venue_pb2.ExecutionReport(sequence=1, order=order().order, kind=ledger_pb2.REPORT_KIND_ACCEPTED)
    await first.write(venue_pb2.ConnectRequest(report=report))
    posted = await edge.house.commands.next()
    edge.house.journal(outcome_of(posted))
    assert (await first.read()).ack.up_to == 1
    second = edge.venue.Connect(metadata=AS_NORTH)
    hello = venue_pb2.VenueHello(venue="north", session_epoch=1, last_report=1)
    await second.write(venue_pb2.ConnectRequest(hello=hello))
    await _grant(edge, 2)
    greeting = (await second.read()).hello
    assert (greeting.session_epoch, greeting.resume_after) == (2, 1)
    assert (await _status(first.read()))[0] is grpc.StatusCode.ABORTED
    assert edge.house.metrics.registry.get_sample_value("ballast_gateway_venue_session_state", {"venue": "north"}) == 1
    await second.done_writing()
    assert (await second.read()).order.lots == 5
    assert await second.read() is grpc.aio.EOF
    assert edge.house.metrics.registry.get_sample_value("ballast_gateway_venue_session_state", {"venue": "north"}) == 0


@pytest.mark.parametrize(
    ("first", "metadata", "code", "says"),
    [
        (venue_pb2.ConnectRequest(), AS_NORTH, "INVALID_ARGUMENT", "expected the first message to be a hello"),
        (venue_pb2.ConnectRequest(hello=venue_pb2.VenueHello(venue="east")), AS_NORTH, "FAILED_PRECONDITION", "east"),
        (venue_pb2.ConnectRequest(hello=NORTH_HELLO), ALICE, "FAILED_PRECONDITION", "expected principal 'north'"),
        (
            venue_pb2.ConnectRequest(
                hello=venue_pb2.VenueHello(
                    venue="north",
                    instruments=[venue_pb2.VenueInstrument(symbol="BTC-USD", tick_size="0.01", lot_size="1")],
                )
            ),
            AS_NORTH,
            "FAILED_PRECONDITION",
            "expected lots of 0.001",
        ),
    ],
)
async def test_a_venue_that_does_not_fit_is_refused(
    edge: Edge, first: venue_pb2.ConnectRequest, metadata: Any, code: str, says: str
) -> None:
    call = edge.venue.Connect(metadata=metadata)
    await call.write(first)
    status, detail = await _status(call.read())
    assert (status.name, says in detail) == (code, True)


async def test_a_venue_that_lost_its_reports_is_refused(edge: Edge) -> None:
    outcome = journal_pb2.Outcome()
    outcome.fact.stream, outcome.fact.sequence = "venue/north", 9
    edge.house.journal(outcome, partition=PARTITION)
    call = edge.venue.Connect(metadata=AS_NORTH)
    await call.write(venue_pb2.ConnectRequest(hello=NORTH_HELLO))
    await _grant(edge, 1)
    status, detail = await _status(call.read())
    assert (status, "expected a last report of at least 9" in detail) == (grpc.StatusCode.FAILED_PRECONDITION, True)
