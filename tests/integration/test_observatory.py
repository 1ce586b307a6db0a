"""The demo's observatory on a real broker: what the topics say arrives, whoever waits goes on, a broken log is told."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ballast.api.v1 import replay_pb2, replay_pb2_grpc
from ballast.events.v1 import chain_pb2, journal_pb2, market_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common import rpc
from libs.common.chain import ChainBroken, ChainWriter
from libs.common.codec import Publisher, headers
from libs.common.config import load_parameters
from libs.common.ids import account_id
from libs.common.topics import JOURNAL, LIQUIDITY, MARGIN, MARKS, Topic
from tools.demo.observe import Observatory
from tools.demo.spans import moment_ns

WINDOW = "2017-12-21T12:00/2017-12-23T00:00"
NOW_NS = moment_ns("2017-12-22T00:00")
ACCOUNT = account_id(partition=1, entity=1, sub=0)
EPISODE = 1 << 48 | 7
WAIT_SECONDS = 20.0


class Replay(replay_pb2_grpc.ReplayServiceServicer):
    """A replay that stands."""

    async def Watch(self, request: replay_pb2.WatchRequest, context: object) -> AsyncIterator[replay_pb2.WatchResponse]:
        yield replay_pb2.WatchResponse(run_time_ns=NOW_NS, held_reason="risk_behind: partition 1", ended=True)


@asynccontextmanager
async def replay() -> AsyncIterator[str]:
    server = rpc.server()
    replay_pb2_grpc.add_ReplayServiceServicer_to_server(Replay(), server)
    port = rpc.bind(server, host="127.0.0.1", port=0)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@asynccontextmanager
async def owner(bootstrap: str, topic: Topic, partition: int) -> AsyncIterator[ChainWriter]:
    writer = ChainWriter(
        bootstrap=bootstrap, topic=topic, partition=partition, owner=secrets.token_bytes(16), input_topic_id=b"",
        client_id="town", on_accepted=None,
    )  # fmt: skip
    await writer.take_over(lambda frame: None)
    try:
        yield writer
    finally:
        await writer.close()


async def append(writer: ChainWriter, body: bytes, *, input_offset: int = 0) -> None:
    done = await writer.append(
        body, input_offset=input_offset, input_index=0, run_time_ns=NOW_NS, control_sequence=1, headers={}
    )
    await done


def journal() -> bytes:
    episode = journal_pb2.Episode(episode=EPISODE, account=ACCOUNT, state=words.EPISODE_STATE_OPEN, opened_at_ns=NOW_NS)
    account = journal_pb2.Account(account=ACCOUNT, entity=ACCOUNT, owner="desk-00", restricted=True, episode=EPISODE)
    order = journal_pb2.Order(order=EPISODE, account=ACCOUNT, episode=EPISODE, state=words.ORDER_STATE_RELEASED)
    effects = [
        journal_pb2.Effect(account=account), journal_pb2.Effect(episode=episode), journal_pb2.Effect(order=order)
    ]  # fmt: skip
    return journal_pb2.JournalBody(outcomes=[journal_pb2.Outcome(effects=effects)]).SerializeToString()


async def publish_views(bootstrap: str) -> None:
    margin = risk_pb2.MarginFrame(
        partition=1, journal_sequence=1, mark_sequence=1, full=True, account=[ACCOUNT], equity=[5], initial_margin=[9],
        maintenance_margin=[8], state=bytes([risk_pb2.MARGIN_STATE_LIQUIDATION]),
    )  # fmt: skip
    depth = market_pb2.Liquidity(venue=1, instrument=1, bid_price=[1_000_000], bid_lots=[5])
    async with Publisher(bootstrap=bootstrap, client_id="views") as publisher:
        stamps = headers(wall_ns=9_000_000, mark_received_wall_ns=4_000_000)
        await (await publisher.enqueue(MARGIN.name, margin.SerializeToString(), partition=1, named=stamps))
        await (await publisher.enqueue(LIQUIDITY.name, depth.SerializeToString(), key=b"1/1", partition=0))
        await (await publisher.enqueue(MARGIN.name, b"\xff not a frame", partition=1))


async def test_what_the_topics_say_is_seen_and_a_broken_log_is_told(fresh_kafka: str, repository: Path) -> None:
    called: list[tuple[int, int]] = []
    async with replay() as target, owner(fresh_kafka, MARKS, 0) as marks, owner(fresh_kafka, JOURNAL, 1) as ledger:
        seen = Observatory(
            bootstrap=fresh_kafka, parameters=load_parameters(repository / "config").parameters, windows=WINDOW,
            service_urls={"north": "http://127.0.0.1:1"}, replay_target=target,
        )  # fmt: skip
        seen.on_margin_call = lambda account, state: called.append((account, state))
        await seen.start()
        try:
            body = market_pb2.MarksBody(instrument=[1], mark_price=[1_500_000], validity=b"\x01", snapshot=True)
            await append(marks, body.SerializeToString())
            await append(ledger, journal())
            await publish_views(fresh_kafka)
            await seen.wait(lambda: bool(called and seen.picture.liquidity and seen.ended), timeout_s=WAIT_SECONDS)
            await seen.wait(lambda: seen.mark_price("BTC-USD") == 1_500_000, timeout_s=WAIT_SECONDS)
            await seen.wait(lambda: bool(seen.open_episodes()), timeout_s=WAIT_SECONDS)
            view = seen.snapshot()
            assert called == [(ACCOUNT, risk_pb2.MARGIN_STATE_LIQUIDATION)]
            assert [(row.owner, row.orders) for row in view.episodes] == [("desk-00 1/1", 1)]
            assert [one.order for one in seen.episode_orders()] == [EPISODE]
            assert seen.run_time_ns == NOW_NS
            assert view.clock.progress == pytest.approx(1 / 3)
            assert seen.picture.mark_to_margin_ms[0] == 5.0

            await _forge(fresh_kafka, ledger)
            with pytest.raises(ChainBroken):
                await seen.wait(lambda: False, timeout_s=WAIT_SECONDS)
            with pytest.raises(ChainBroken):
                seen.snapshot()
        finally:
            await seen.stop()


async def _forge(bootstrap: str, ledger: ChainWriter) -> None:
    """A frame of the present owner that follows another head: no reader may go on."""
    rule = ledger.rule
    frame = chain_pb2.Frame(
        epoch=rule.epoch, owner=rule.owner, sequence=rule.sequence + 1, previous_hash=b"another", claim_offset=0
    )  # fmt: skip
    async with Publisher(bootstrap=bootstrap, client_id="forger") as publisher:
        record = chain_pb2.ChainRecord(frame=frame)
        await (await publisher.enqueue(JOURNAL.name, record.SerializeToString(), partition=1))
