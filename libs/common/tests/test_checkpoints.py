"""Records of checkpoints: what was written comes back, whatever else is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast.events.v1 import checkpoint_pb2
from libs.common.accounts import pack_lines
from libs.common.checkpoints import (
    CheckpointBroken,
    Name,
    key_of,
    name_of,
    seal,
    unseal,
)

WHERE = "ledger.accounts.v1/2 at offset 7"
NAME = Name(2, 9, b"A5")


def item() -> checkpoint_pb2.CheckpointItem:
    lines = pack_lines({(1, 1): (-5, 3), (11, 6): (2**62, 2**40)})
    return checkpoint_pb2.CheckpointItem(account=checkpoint_pb2.AccountItem(account=5, attributes=b"a", lines=lines))


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=80), st.integers(0, 2**64 - 1)
)
def test_names_and_versions_come_back(partition: int, epoch: int, what: bytes, version: int) -> None:
    name = Name(partition, epoch, what)
    key, value = seal(item(), name, version=version)
    assert (name_of(key, where=lambda: WHERE), key) == (name, key_of(name))
    found = unseal(key, value, where=lambda: WHERE)
    assert (found.account, found.version) == (item().account, version)
    assert checkpoint_pb2.CheckpointItem.FromString(value).check  # the value as a whole is the message


def test_every_bit_counts() -> None:
    key, value = seal(item(), NAME, version=4)
    for place in range(8 * len(value)):
        torn = bytearray(value)
        torn[place // 8] ^= 1 << place % 8
        with pytest.raises(CheckpointBroken, match=WHERE):
            unseal(key, bytes(torn), where=lambda: WHERE)


@pytest.mark.parametrize("size", [0, 1, 5, 30, -1])
def test_a_truncated_value_is_refused(size: int) -> None:
    key, value = seal(item(), NAME, version=4)
    with pytest.raises(CheckpointBroken, match=key.hex()):
        unseal(key, value[:size], where=lambda: WHERE)


def test_a_value_under_another_key_is_refused() -> None:
    _, value = seal(item(), NAME, version=4)
    with pytest.raises(CheckpointBroken, match="checksum"):
        unseal(key_of(Name(2, 10, b"A5")), value, where=lambda: WHERE)


def test_an_item_of_a_later_release_is_refused() -> None:
    key, value = seal(checkpoint_pb2.CheckpointItem(), NAME, version=4)
    with pytest.raises(CheckpointBroken, match="nothing that this release knows"):
        unseal(key, value, where=lambda: WHERE)


@pytest.mark.parametrize("key", [None, b"", b"short", bytes(12)])
def test_a_key_without_an_item_is_refused(key: bytes | None) -> None:
    with pytest.raises(CheckpointBroken, match=WHERE):
        name_of(key, where=lambda: WHERE)
