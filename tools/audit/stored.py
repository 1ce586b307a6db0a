"""Records of a topic as they are stored: on a broker, or in files that were exported from one."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from libs.common.chain import AcceptedFrame, ChainRule
from libs.common.config import LoadedParameters
from libs.common.topics import ACCOUNTS, CONTROL, FRAME_BYTES_MAX, JOURNAL, NOTARY, Topic
from tools.reconcile.reader import ControlHistory, Unreadable, read_control, records

_MAGIC = b"ballast records 1\n"
_HEAD = struct.Struct(">qqi")  # offset, ms at which the broker took it, bytes of the value that follows


class Torn(RuntimeError):
    """A file ends in the middle of a record; says after which offset."""

    def __init__(self, path: Path, *, after_offset: int) -> None:
        super().__init__(f"{path.name} ends in the middle of the record after offset {after_offset}")
        self.after_offset = after_offset


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it is stored.

    Args:
        appended_ms: wall time at which the broker took it.
    """

    partition: int
    offset: int
    appended_ms: int
    value: bytes


class Source(Protocol):
    """Where the records of a ledger are read from."""

    async def control(self) -> ControlHistory:
        """The control log."""

    def records(self, topic: Topic, partition: int) -> AsyncIterator[Stored]:
        """All records of a partition up to its end at the call, in order."""


class Broker:
    """Records on a broker."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    async def control(self) -> ControlHistory:
        """The control log."""
        return await read_control(self._bootstrap)

    async def records(self, topic: Topic, partition: int) -> AsyncIterator[Stored]:
        """All records of a partition up to its end at the call, in order."""
        partitions = partition + 1  # any number that has this one
        async for one in records(self._bootstrap, topic, home_partitions=partitions, only=partition):
            yield Stored(one.partition, one.offset, one.timestamp, one.value or b"")


class Files:
    """Records in files of a directory, as `export` wrote them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def control(self) -> ControlHistory:
        """The control log."""
        history, rule = ControlHistory(), ChainRule()
        async for one in self.records(CONTROL, 0):
            outcome = rule.take(offset=one.offset, value=one.value)
            if isinstance(outcome, AcceptedFrame):
                history.take(outcome)
        return history

    async def records(self, topic: Topic, partition: int) -> AsyncIterator[Stored]:
        """All records of a partition, in order. Raises Unreadable without its file, Torn at the end of a torn one."""
        path = file_of(self._directory, topic, partition)
        try:
            with path.open("rb") as file:
                for one in _read(path, file, partition):
                    yield one
        except OSError as error:
            raise Unreadable(f"expected {path.name} in {path.parent}: {error}") from error


def file_of(directory: Path, topic: Topic, partition: int) -> Path:
    """File of a partition's records."""
    return directory / f"{topic.name}-{partition}.records"


def _read(path: Path, file: BinaryIO, partition: int) -> Iterator[Stored]:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise Unreadable(f"expected {path.name} to begin with {_MAGIC!r}")
    last = -1
    while head := file.read(_HEAD.size):
        if len(head) < _HEAD.size:
            raise Torn(path, after_offset=last)
        offset, appended_ms, size = _HEAD.unpack(head)
        if not 0 <= size <= 2 * FRAME_BYTES_MAX:
            raise Unreadable(f"{path.name}: expected a record of at most {2 * FRAME_BYTES_MAX} bytes, was {size}")
        value = file.read(size)
        if len(value) < size:
            raise Torn(path, after_offset=last)
        yield Stored(partition, offset, appended_ms, value)
        last = offset


def begin(file: BinaryIO) -> None:
    """Begins a file of records."""
    file.write(_MAGIC)


def put(file: BinaryIO, one: Stored) -> None:
    """Adds a record."""
    file.write(_HEAD.pack(one.offset, one.appended_ms, len(one.value)) + one.value)


async def export(source: Source, directory: Path) -> dict[str, int]:
    """Number of records by file, once everything that an audit reads is in the directory, which exists."""
    partitions = (await parameters_in_force(source)).parameters.partitions
    homes = range(partitions)
    # What vouches comes before what it vouches for.
    wanted = [(NOTARY, 0), *((ACCOUNTS, one) for one in homes), *((JOURNAL, one) for one in homes), (CONTROL, 0)]
    written: dict[str, int] = {}
    for topic, partition in wanted:
        path, draft = file_of(directory, topic, partition), directory / f"{topic.name}-{partition}.new"
        written[path.name] = 0
        with draft.open("wb") as file:
            begin(file)
            async for one in source.records(topic, partition):
                put(file, one)
                written[path.name] += 1
        draft.replace(path)
    return written


async def parameters_in_force(source: Source) -> LoadedParameters:
    """The parameter set in force at the end of the control log. Raises Unreadable when there is none."""
    history = await source.control()
    return history.loaded(history.active[-1][1] if history.active else b"")
