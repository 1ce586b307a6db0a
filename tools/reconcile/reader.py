"""Reads every topic to its end; the only part that touches the network."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from google.protobuf.message import Message

from ballast.events.v1 import (
    commands_pb2,
    control_pb2,
    dead_letter_pb2,
    interest_pb2,
    journal_pb2,
    market_pb2,
    risk_pb2,
)
from libs.common.chain import AcceptedClaim, AcceptedFrame, ChainBroken, ChainFollower
from libs.common.codec import Undecodable, decode, header_map, stamp
from libs.common.config import LoadedParameters
from libs.common.topics import (
    COMMANDS,
    CONTROL,
    DEAD_TOPICS,
    FRAME_BYTES_MAX,
    JOURNAL,
    MARGIN,
    MARKS,
    RATES,
    Topic,
)
from tools.reconcile.engine import Result, Walk
from tools.reconcile.records import Chain, CommandRecord, DeadRecord, JournalFrame, MarginRecord, MarkFrame
from tools.reconcile.world import World

CLIENT_ID = "ballast-reconcile"
_POLL_SECONDS = 0.2
_STALL_SECONDS_MAX = 60.0
_M = TypeVar("_M", bound=Message)
_STAMPS = ("mark_received_wall_ns", "order_received_wall_ns", "wall_ns")


class Unreadable(RuntimeError):
    """The topics do not hold what a reconciliation needs; says what was expected."""


async def read_and_reconcile(bootstrap: str) -> Result:
    """The result over everything the topics of a cluster hold now.

    Raises: Unreadable without an active parameter set, or when a topic cannot be read to its end.
    """
    loaded = await _parameters(bootstrap)
    world = World(loaded.parameters, parameters_hash=loaded.hash)
    homes = loaded.parameters.partitions
    async with AsyncExitStack() as stack:
        # Where the journals end is seen first: what they cite up to there is on the other topics already.
        journals = [await following(stack, bootstrap, JOURNAL, partition) for partition in range(homes)]
        chains = [await _chain(bootstrap, MARKS, lambda frame: world.marks.take(mark_frame(frame)))]
        await _gather(bootstrap, world, homes)
        walk = Walk(world)
        for partition, follower in enumerate(journals):
            chains.append(await _read_chain(follower, _taking(walk, partition)))
    chains.append(await _chain(bootstrap, CONTROL, lambda frame: None))
    return walk.finish(chains=chains, dead=[one async for one in _dead(bootstrap)])


async def _gather(bootstrap: str, world: World, homes: int) -> None:
    async for record in records(bootstrap, COMMANDS, home_partitions=homes):
        batch = decoded(commands_pb2.CommandBatch, record)
        if batch is not None:
            world.take_commands(CommandRecord(record.partition, batch, _stamps(record)))
    async for record in records(bootstrap, MARGIN, home_partitions=homes):
        frame = decoded(risk_pb2.MarginFrame, record)
        if frame is not None:
            stamps = _stamps(record)
            world.take_margin(MarginRecord(frame, stamps["mark_received_wall_ns"], stamps["wall_ns"]))
    async for record in records(bootstrap, RATES, home_partitions=homes):
        decision = decoded(interest_pb2.RateDecision, record)
        if decision is not None:
            world.rates[decision.asset, decision.tick].append(decision)


@dataclass(slots=True)
class ControlHistory:
    """The control log: every parameter set by hash, and from which sequence each was in force."""

    sets: dict[bytes, str] = field(default_factory=dict)
    active: list[tuple[int, bytes]] = field(default_factory=list)

    def take(self, accepted: AcceptedFrame) -> None:
        """The next frame."""
        body = control_pb2.ControlBody.FromString(accepted.frame.body)
        if body.HasField("parameter_set"):
            self.sets[body.parameter_set.hash] = body.parameter_set.canonical_json
        elif body.HasField("activate_parameters"):
            self.active.append((accepted.frame.sequence, body.activate_parameters.hash))

    def in_force(self, sequence: int) -> bytes:
        """Hash of the set in force at a sequence, empty before the first."""
        return next((one for began, one in reversed(self.active) if began <= sequence), b"")

    def loaded(self, wanted: bytes) -> LoadedParameters:
        """The set of a hash. Raises Unreadable when the log does not hold it as it was."""
        if wanted not in self.sets:
            named = f"the parameter set {wanted.hex()}" if wanted else "an active parameter set"
            raise Unreadable(f"expected {named} on {CONTROL.name}, found {len(self.sets)} sets")
        loaded = LoadedParameters(self.sets[wanted])
        if loaded.hash != wanted:
            raise Unreadable(f"expected parameters of hash {wanted.hex()}, was {loaded.hash.hex()}")
        return loaded


async def read_control(bootstrap: str) -> ControlHistory:
    """The control log up to its end."""
    history = ControlHistory()
    await _chain(bootstrap, CONTROL, history.take)
    return history


async def _parameters(bootstrap: str) -> LoadedParameters:
    history = await read_control(bootstrap)
    return history.loaded(history.active[-1][1] if history.active else b"")


def _taking(walk: Walk, partition: int) -> Callable[[AcceptedFrame], None]:
    def take(accepted: AcceptedFrame) -> None:
        frame = accepted.frame
        walk.take(
            JournalFrame(
                partition=partition,
                sequence=frame.sequence,
                run_time_ns=frame.run_time_ns,
                control_sequence=frame.control_sequence,
                body=journal_pb2.JournalBody.FromString(frame.body),
                wall_ns=stamp(dict(accepted.headers), "wall_ns"),
            )
        )

    return take


def mark_frame(accepted: AcceptedFrame) -> MarkFrame:
    """A frame of the marks as the history takes it."""
    frame = accepted.frame
    return MarkFrame(frame.sequence, frame.run_time_ns, market_pb2.MarksBody.FromString(frame.body))


async def following(stack: AsyncExitStack, bootstrap: str, topic: Topic, partition: int) -> ChainFollower:
    """A started follower from the first record of a partition; the stack stops it."""
    follower = ChainFollower(bootstrap=bootstrap, topic=topic, partition=partition, client_id=CLIENT_ID)
    await follower.start()
    stack.push_async_callback(follower.stop)
    return follower


async def _chain(bootstrap: str, topic: Topic, fold: Callable[[AcceptedFrame], None]) -> Chain:
    """Reads partition 0 of a chained topic."""
    async with AsyncExitStack() as stack:
        return await _read_chain(await following(stack, bootstrap, topic, 0), fold)


async def _read_chain(follower: ChainFollower, fold: Callable[[AcceptedFrame], None]) -> Chain:
    """Reads up to the end that the follower saw when it started."""
    frames = claims = 0
    broken = ""
    try:
        while not follower.caught_up:
            for one in await follower.read(timeout_s=_POLL_SECONDS):
                if isinstance(one, AcceptedFrame):
                    fold(one)
                    frames += 1
                claims += isinstance(one, AcceptedClaim)
    except ChainBroken as error:
        broken = str(error)
    rejected = {reason.value: count for reason, count in follower.rule.rejected.items()}
    return Chain(follower.name, frames, claims, rejected, broken)


async def records(
    bootstrap: str, *topics: Topic, home_partitions: int, only: int | None = None
) -> AsyncIterator[ConsumerRecord]:
    """Every record of all partitions, or of one, up to the ends seen first, in order within a partition."""
    partitions = [
        TopicPartition(topic.name, number)
        for topic in topics
        for number in range(topic.partitions or home_partitions)
        if only in (None, number)
    ]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id=CLIENT_ID,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_uncommitted",
        max_partition_fetch_bytes=FRAME_BYTES_MAX,
        fetch_max_bytes=2 * FRAME_BYTES_MAX,
        request_timeout_ms=10_000,
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        for one in partitions:  # a position at once, or the fetcher reports that it has none
            consumer.seek(one, 0)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        for one in partitions:
            consumer.seek(one, begins[one])
        left = {one for one in partitions if begins[one] < ends[one]}
        heard = time.monotonic()
        while left:
            found = await consumer.getmany(*left, timeout_ms=int(_POLL_SECONDS * 1000), max_records=2_000)
            if time.monotonic() - heard > _STALL_SECONDS_MAX:
                raise Unreadable(f"nothing came from {sorted(left)[0].topic} for {_STALL_SECONDS_MAX:.0f} s")
            for one, records in found.items():
                heard = time.monotonic()
                for record in records:
                    if record.offset < ends[one]:
                        yield record
                if records[-1].offset + 1 >= ends[one]:
                    left.discard(one)
    finally:
        await consumer.stop()


async def _dead(bootstrap: str) -> AsyncIterator[DeadRecord]:
    async for record in records(bootstrap, *DEAD_TOPICS, home_partitions=1):
        letter = decoded(dead_letter_pb2.DeadLetter, record) or dead_letter_pb2.DeadLetter(
            topic=record.topic, offset=record.offset, reason="unreadable dead letter"
        )
        yield DeadRecord(record.topic, letter)


def _stamps(record: ConsumerRecord) -> dict[str, int]:
    named = header_map(record)
    return {name: stamp(named, name) for name in _STAMPS}


def decoded(message_type: type[_M], record: ConsumerRecord) -> _M | None:
    """The message of a record, None when it is none."""
    try:
        return decode(message_type, record)
    except Undecodable:  # its reader has put it on the dead-letter topic, which fails the run by itself
        return None
