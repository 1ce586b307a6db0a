"""The gateway between real clients, a real ledger and a venue: one order's life, and one gateway's death."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from ballast.api.v1 import client_pb2, client_pb2_grpc
from ballast.events.v1 import market_pb2
from ballast.types.v1 import ledger_pb2
from libs.common import rpc
from libs.common.ids import partition_of
from libs.common.topics import LIQUIDITY
from tests.integration.edge_town import SECONDS_MAX, START_NS, Town, Venue, town, until

ACCEPTED, FILL = ledger_pb2.REPORT_KIND_ACCEPTED, ledger_pb2.REPORT_KIND_FILL
CANCELLED = ledger_pb2.REPORT_KIND_CANCELLED

Story = Callable[[Town], Awaitable[None]]


async def _an_order_is_filled(it: Town) -> None:
    """Open, deposit, order, fill, cash: every number as the journal has it."""
    client, venue, journal = it.client, it.venue, it.journal
    await client.open("100000")
    order = await client.buy("0.005")
    it.connect()
    await until(lambda: order in venue.orders, "the order at the venue")
    sent = venue.orders[order]
    assert (sent.symbol, sent.lots, sent.limit_price) == ("BTC-USD-PERP", 5, "14000")
    venue.report(order, ACCEPTED)
    venue.report(order, FILL, lots=2, price="13999.5", fee="0.01", executed_at_ns=START_NS, trade="t1")
    venue.report(order, FILL, lots=3, price="14000", fee="0.02", executed_at_ns=START_NS, trade="t2")
    await until(lambda: not venue.reports, "the acknowledgement of all reports")
    assert [(one.lots, one.price, one.fee_units) for one in journal.fills] == [
        (2, 1_399_950, 10_000),
        (3, 1_400_000, 20_000),
    ]
    assert journal.order(order) is None
    assert journal.units(client.account, ledger_pb2.LINE_KIND_LOTS, 11) == 5
    assert await client.cash() == "99999.97"


async def _a_withdrawal_is_judged(it: Town) -> None:
    """Settled, then voided; the same key gives the same answer."""
    client = it.client
    request = client_pb2.WithdrawRequest(account=client.account, asset="USD", amount="100", destination="bank")
    for repeated in (False, True):
        outcome = await client.call("Withdraw", request, key="out")
        assert (outcome.refusal, outcome.repeated) == (0, repeated)
    assert await client.cash() == "99899.97"
    it.journal.settle = False
    outcome = await client.call("Withdraw", request, key="again")
    assert outcome.refusal == ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN
    assert "short of margin" in outcome.detail
    it.journal.settle = True
    assert await client.cash() == "99899.97"


async def _a_killed_gateway_loses_and_doubles_nothing(it: Town) -> None:
    """SIGKILL with reports on their way: the venue sends them again, each is on record once."""
    client, venue, journal = it.client, it.venue, it.journal
    before, lots = len(journal.fills), journal.units(client.account, ledger_pb2.LINE_KIND_LOTS, 11)
    order = await client.buy("0.5", key="before the kill")
    await until(lambda: order in venue.orders, "the order at the venue")
    venue.report(order, ACCEPTED)
    for _ in range(200):
        venue.report(order, FILL, lots=1, price="13999", fee="0.001", executed_at_ns=START_NS)
    await until(lambda: len(journal.fills) > before, "a first fill")
    await asyncio.to_thread(it.fleet.restart, "venue_gateway")
    for _ in range(100):
        venue.report(order, FILL, lots=1, price="13999", fee="0.001", executed_at_ns=START_NS)
    assert await client.buy("0.5", key="before the kill") == order
    venue.report(order, CANCELLED)
    await until(lambda: not venue.reports, "the acknowledgement of all reports")
    assert len(journal.fills) - before == 300
    assert journal.units(client.account, ledger_pb2.LINE_KIND_LOTS, 11) - lots == 300
    assert journal.order(order) is None
    assert len(venue.resumed_after) >= 2
    assert journal.alerts == []


async def _orders_wait_for_an_absent_venue(it: Town) -> None:
    """Released while nobody is connected: sent on return; cancelled or out of time: asked for and given up."""
    client, venue, journal = it.client, it.venue, it.journal
    await it.disconnect()
    kept, cancelled = await client.buy("0.001"), await client.buy("0.002")

    def state(order: int) -> int:
        found = journal.order(order)
        return found.state if found is not None else 0

    await until(lambda: state(cancelled) == state(kept) == ledger_pb2.ORDER_STATE_RELEASED, "both released")
    request = client_pb2.CancelOrderRequest(account=client.account, order=cancelled)
    assert (await client.call("CancelOrder", request)).refusal == 0
    venue.known = False
    it.connect()
    await until(lambda: kept in venue.orders and journal.order(cancelled) is None, "one sent, one given up")
    assert cancelled not in venue.orders
    venue.report(kept, ACCEPTED)
    await until(lambda: state(kept) == ledger_pb2.ORDER_STATE_WORKING, "the first on the venue's book")
    await it.disconnect()
    late = await client.buy("0.003")
    await until(lambda: state(late) == ledger_pb2.ORDER_STATE_RELEASED, "the late order released")
    journal.run_time_ns += 700 * 10**9
    while journal.books[partition_of(client.account)].run_time_ns < journal.run_time_ns:
        loan = client_pb2.SupplyRequest(account=client.account, asset="USD", amount="0.01")
        assert (await client.call("Supply", loan)).refusal == 0
    other = await client.buy("0.004")
    await until(lambda: state(other) == ledger_pb2.ORDER_STATE_RELEASED, "a later order released")
    it.connect()
    await until(lambda: other in venue.orders and journal.order(late) is None, "the late order given up")
    assert late not in venue.orders
    venue.known = True
    request.order = other
    assert (await client.call("CancelOrder", request)).refusal == 0
    await until(lambda: other in venue.cancels, "the cancel at the venue")
    venue.report(other, CANCELLED)
    venue.report(kept, CANCELLED)
    await until(lambda: not venue.reports and journal.order(other) is None, "both ended")
    assert journal.alerts == []


async def _a_stream_places_and_answers(it: Town) -> None:
    """500 commands of one stream, each answered once under its number."""
    client = it.client
    async with rpc.channel(it.fleet.ports["venue_gateway"].target) as channel:
        stub: Any = client_pb2_grpc.ClientServiceStub(channel)
        call = stub.Submit(metadata=((rpc.PRINCIPAL_KEY, client.name),))
        supply = client_pb2.SupplyRequest(account=client.account, asset="USD", amount="1")
        redeem = client_pb2.RedeemRequest(account=client.account, asset="USD", amount="0.5")
        for first in range(1, 501, 50):
            commands = [
                client_pb2.SubmitCommand(n=n, supply=supply) if n % 2 else client_pb2.SubmitCommand(n=n, redeem=redeem)
                for n in range(first, first + 50)
            ]
            await call.write(client_pb2.SubmitRequest(session=b"session of story", commands=commands))
        await call.done_writing()
        answered = [one async for response in call for one in response.outcomes]
    assert sorted(one.n for one in answered) == list(range(1, 501))
    assert {one.outcome.refusal for one in answered} == {0}


async def _depth_is_published_when_it_changes(bootstrap: str, venue: Venue) -> None:
    for sequence, price in ((1, "13990"), (2, "13990"), (3, "13991.5")):
        venue.book(sequence, price)
        await asyncio.sleep(0.3)
    where = TopicPartition(LIQUIDITY.name, 0)
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="none") as consumer:
        consumer.assign([where])
        consumer.seek(where, 0)
        found: list[Any] = []
        async with asyncio.timeout(SECONDS_MAX):
            while len(found) < 2:
                found += (await consumer.getmany(where, timeout_ms=200)).get(where, [])
    books = [market_pb2.Liquidity.FromString(record.value) for record in found]
    assert [(one.sequence, list(one.bid_price), list(one.bid_lots)) for one in books] == [
        (1, [1_399_000], [7]),
        (3, [1_399_150], [7]),
    ]
    assert {record.key for record in found} == {b"1/11"}


@pytest.mark.timeout(180)
async def test_the_edge_from_a_first_account_to_a_killed_gateway(fresh_kafka: str, tmp_path: Path) -> None:
    async with town(fresh_kafka, tmp_path) as it:
        stories: tuple[Story, ...] = (
            _an_order_is_filled,
            _a_withdrawal_is_judged,
            _a_killed_gateway_loses_and_doubles_nothing,
            _orders_wait_for_an_absent_venue,
            _a_stream_places_and_answers,
        )
        for story in stories:
            await story(it)
        await _depth_is_published_when_it_changes(fresh_kafka, it.venue)
