"""Records on the wire: their headers, decoding that names what is wrong, and the dead-letter topics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from google.protobuf.message import DecodeError, Message

from ballast.events.v1 import dead_letter_pb2
from libs.common.chain.kafka import new_producer
from libs.common.errors import BallastError, Fault
from libs.common.topics import FRAME_BYTES_MAX, Topic

GENERATION = 1

_LOG = logging.getLogger("ballast.codec")
_M = TypeVar("_M", bound=Message)


class Undecodable(BallastError):
    """A record that cannot be taken; `reason` goes to the dead-letter topic."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Record(Protocol):
    """What is used of a Kafka record."""

    @property
    def partition(self) -> int:
        """Partition it was read from."""

    @property
    def offset(self) -> int:
        """Offset it was read at."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its value; None is a tombstone."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Its headers."""


def headers(
    *,
    wall_ns: int,
    event_id: bytes | None = None,
    cause: bytes | None = None,
    trace: bytes | None = None,
    stamps: Mapping[str, int] | None = None,
    **named_stamps: int,
) -> list[tuple[str, bytes]]:
    """Headers of a record: ids in hex, generation and stamps (wall times in ns) in decimal."""
    pairs = [("generation", b"%d" % GENERATION), ("wall_ns", b"%d" % wall_ns)]
    ids = (("event_id", event_id), ("cause", cause), ("trace", trace))
    pairs += [(name, value.hex().encode()) for name, value in ids if value is not None]
    pairs += [(name, b"%d" % value) for name, value in {**(stamps or {}), **named_stamps}.items()]
    return pairs


def header_map(record: Record) -> dict[str, bytes]:
    """The headers of a record by name; of a repeated name the last one."""
    return dict(record.headers or ())


def stamp(found: dict[str, bytes], name: str) -> int:
    """A decimal header, 0 when it is absent or no number: stamps are for measuring, never for deciding."""
    text = found.get(name, b"")
    return int(text) if text.isdigit() and len(text) < 20 else 0


def decode(message_type: type[_M], record: Record, *, bytes_max: int = FRAME_BYTES_MAX) -> _M:
    """The message of a record.

    Raises:
        Undecodable: newer generation, no value, too large, or no such message.
    """
    generation = header_map(record).get("generation", b"%d" % GENERATION)
    if not generation.isdigit() or len(generation) > 9 or int(generation) > GENERATION:
        text = generation[:20].decode("ascii", "replace")
        raise Undecodable(f"expected generation at most {GENERATION}, was {text}; this release is too old for it")
    if record.value is None:
        raise Undecodable(f"expected a {message_type.DESCRIPTOR.full_name}, was a record without value")
    if len(record.value) > bytes_max:
        raise Undecodable(f"expected at most {bytes_max} bytes, was {len(record.value)}")
    try:
        return message_type.FromString(record.value)
    except DecodeError as error:
        raise Undecodable(f"expected a {message_type.DESCRIPTOR.full_name}, was other bytes: {error}") from error


class Publisher:
    """One idempotent producer with every option of ours stated. What the broker does not take is a Fault.

    Args:
        linger_ms: how long a record may wait for company.
    """

    def __init__(self, *, bootstrap: str, client_id: str, linger_ms: int = 0) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._linger_ms = linger_ms
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Returns when the broker is reached. Raises Fault when it is not."""
        producer = new_producer(bootstrap=self._bootstrap, client_id=self._client_id, linger_ms=self._linger_ms)
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            await producer.stop()
            raise Fault(f"{self._client_id}: broker {self._bootstrap} not reached: {error}") from error
        self._producer = producer

    async def stop(self) -> None:
        """Returns when everything is sent and closed."""
        if self._producer is not None:
            await self._producer.stop()

    async def __aenter__(self) -> Publisher:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def enqueue(
        self,
        topic: str,
        value: bytes | None,
        *,
        partition: int = 0,
        key: bytes | None = None,
        named: list[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[Any]:
        """Hands a record to the producer, after those before it; the future resolves when the broker has it.

        Args:
            named: its headers; without them generation and wall time.

        Raises:
            Fault: not started, or the producer does not take it. The future raises KafkaError.
        """
        if self._producer is None:
            raise Fault(f"{self._client_id}: not started")
        try:
            future: asyncio.Future[Any] = await self._producer.send(
                topic, value, key=key, partition=partition, headers=named or headers(wall_ns=time.time_ns())
            )
        except KafkaError as error:
            raise Fault(f"{self._client_id}: {topic} {partition} takes nothing: {error!r}") from error
        return future

    async def arrived(self, sent: Iterable[asyncio.Future[Any]]) -> None:
        """Returns when the broker has all of them. Raises Fault when it has not; it may have some."""
        try:
            await asyncio.gather(*sent)
        except KafkaError as error:
            raise Fault(f"{self._client_id}: not sent: {error!r}") from error


class DeadLetters:
    """Puts records that could not be taken on `<topic>.dead`, where they page someone.

    Args:
        service: name of the service that gives up on them.
        on_put: told the name of the topic of each.
    """

    def __init__(
        self, *, bootstrap: str, client_id: str, service: str, on_put: Callable[[str], None] | None = None
    ) -> None:
        self._on_put = on_put
        self._service = service
        self._publisher = Publisher(bootstrap=bootstrap, client_id=client_id)

    async def start(self) -> None:
        """Returns when the broker is reached. Raises Fault when it is not."""
        await self._publisher.start()

    async def stop(self) -> None:
        """Returns when everything is sent and closed."""
        await self._publisher.stop()

    async def put(self, record: Record, *, topic: Topic, reason: str) -> None:
        """Returns when the record is on the dead-letter topic with its reason. Raises Fault when it cannot be."""
        letter = _letter(record, topic=topic.name, reason=reason, service=self._service)
        await self._publisher.arrived([await self._publisher.enqueue(topic.dead, letter.SerializeToString())])
        if self._on_put is not None:
            self._on_put(topic.name)
        _LOG.error(
            "record put aside",
            extra={"topic": topic.name, "partition": record.partition, "offset": record.offset, "reason": reason},
        )


def _letter(record: Record, *, topic: str, reason: str, service: str) -> dead_letter_pb2.DeadLetter:
    room = FRAME_BYTES_MAX - 64 * 1024  # a record at the limit still fits with what is put around it
    return dead_letter_pb2.DeadLetter(
        topic=topic,
        partition=record.partition,
        offset=record.offset,
        reason=reason[:2_000],
        service=service,
        key=(record.key or b"")[: 16 * 1024],
        value=(record.value or b"")[:room],
    )


def split(sizes: Iterable[int], *, bytes_max: int) -> list[int]:
    """How many consecutive messages of these encoded sizes go into each record of at most `bytes_max` bytes."""
    counts: list[int] = []
    room = 0
    for size in sizes:
        need = size + 8  # the tag and length in front of a repeated message
        if counts and need <= room:
            counts[-1] += 1
        else:
            counts.append(1)
            room = bytes_max
        room -= need
    return counts
