"""Items of checkpoints as records: a key names partition, epoch and item, a value ends with a checksum over both."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from google.protobuf.message import DecodeError

from ballast.events.v1 import checkpoint_pb2
from libs.common.errors import InvariantBroken

_PREFIX = Struct(">IQ")  # partition, epoch
_CHECK_TAG = b"\x7d"  # field 15, fixed32: the last field of the message, so the last five bytes of its value
_CHECK = Struct("<I")
_END = len(_CHECK_TAG) + _CHECK.size


Where = Callable[[], str]  # names a record, when it must be named


class CheckpointBroken(InvariantBroken):
    """A record of a checkpoint is not what a ledger wrote: stop, never guess (I8)."""

    def __init__(self, detail: str) -> None:
        super().__init__("I8", detail)


@dataclass(frozen=True, slots=True)
class Name:
    """What a record's key says."""

    partition: int
    epoch: int
    item: bytes


def seal(item: checkpoint_pb2.CheckpointItem, name: Name, *, version: int) -> tuple[bytes, bytes]:
    """Key and value of an item's record."""
    item.version = version
    key, value = key_of(name), item.SerializeToString()
    return key, value + _CHECK_TAG + _CHECK.pack(zlib.crc32(value, zlib.crc32(key)))


def key_of(name: Name) -> bytes:
    """Key of a record; with no value it says that the item is no longer there."""
    return _PREFIX.pack(name.partition, name.epoch) + name.item


def name_of(key: bytes | None, *, where: Where) -> Name:
    """What the key says. Raises CheckpointBroken."""
    if key is None or len(key) <= _PREFIX.size:
        raise CheckpointBroken(f"{where()}: expected a key of more than {_PREFIX.size} bytes, was {(key or b'').hex()}")
    partition, epoch = _PREFIX.unpack_from(key)
    return Name(partition, epoch, key[_PREFIX.size :])


def unseal(key: bytes, value: bytes, *, where: Where) -> checkpoint_pb2.CheckpointItem:
    """The item of a record. Raises CheckpointBroken."""
    bare = value[:-_END]
    if value[-_END:] != _CHECK_TAG + _CHECK.pack(zlib.crc32(bare, zlib.crc32(key))):
        raise CheckpointBroken(f"{where()}: the checksum of {key.hex()} does not fit its {len(value)} bytes")
    item = checkpoint_pb2.CheckpointItem()
    try:
        item.ParseFromString(bare)
    except DecodeError as error:
        raise CheckpointBroken(f"{where()}: {key.hex()} is no item of a checkpoint: {error}") from error
    if item.WhichOneof("item") is None:
        raise CheckpointBroken(f"{where()}: {key.hex()} holds nothing that this release knows")
    return item
