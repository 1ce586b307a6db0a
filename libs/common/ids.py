"""Identities: ids embed the home partition, so that every producer finds it without asking."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import NewType

AccountId = NewType("AccountId", int)  # 16 bits partition | 32 bits entity serial | 16 bits sub-account
EntityId = NewType("EntityId", int)  # an account id with sub-account 0
OrderId = NewType("OrderId", int)  # 16 bits partition | 48 bits serial
AssetId = NewType("AssetId", int)
InstrumentId = NewType("InstrumentId", int)
VenueId = NewType("VenueId", int)

PARTITIONS_MAX = 1 << 16
SUBACCOUNTS_MAX = 1 << 16
_SYSTEM_INDEX_BITS = 11
SYSTEM_INDEX_COUNT = 1 << _SYSTEM_INDEX_BITS
CLIENT_BITS = 0xFFFFFFFF << 16  # one of them is set in every client's account id, none in a house account's


class SystemAccount(IntEnum):
    """Accounts of the house, one shard a partition: entity serial 0, told apart by kind and index."""

    CUSTODY = 1  # the outside: deposits came from it, withdrawals go to it
    VENUE = 2  # our omnibus account at a venue, by venue id; the other side of spot fills
    CONTRA = 3  # the other side of lots and variation, by instrument id
    POOL = 4  # idle units and the other side of shares, by asset id
    INSURANCE = 5
    FIRST_LOSS = 6
    SECOND_CAPITAL = 7
    ROUNDING = 8
    TREASURY = 9  # lends overdrafts
    SUSPENSE = 10
    IN_TRANSIT = 11  # what is on its way to or from another partition, by that partition


_SYSTEM_KINDS = {int(kind): kind for kind in SystemAccount}


def account_id(*, partition: int, entity: int, sub: int) -> AccountId:
    """Account id of a client's sub-account. Raises ValueError when a part does not fit."""
    if not (0 <= partition < PARTITIONS_MAX and 0 < entity < 1 << 32 and 0 <= sub < SUBACCOUNTS_MAX):
        raise ValueError(f"expected parts of 16, 32 and 16 bits, was {partition}/{entity}/{sub}")
    return AccountId(partition << 48 | entity << 16 | sub)


def system_account(kind: SystemAccount, *, partition: int, index: int = 0) -> AccountId:
    """Account id of a house account's shard. Raises ValueError when the index does not fit."""
    if not 0 <= index < SYSTEM_INDEX_COUNT:
        raise ValueError(f"expected an index below 2^{_SYSTEM_INDEX_BITS}, was {index}")
    return AccountId(partition << 48 | kind << _SYSTEM_INDEX_BITS | index)


def system_kind(account: int) -> SystemAccount | None:
    """Kind of a house account, None for a client's account or an impossible id."""
    if account >> 16 & 0xFFFFFFFF:
        return None
    return _SYSTEM_KINDS.get(account >> _SYSTEM_INDEX_BITS & 0x1F)


def system_index(account: int) -> int:
    """Index of a house account: venue, instrument or asset id by its kind."""
    return account & (1 << _SYSTEM_INDEX_BITS) - 1


def partition_of(any_id: int) -> int:
    """Home partition of an account, entity, order, reservation or episode."""
    return any_id >> 48


def entity_of(account: int) -> EntityId:
    """Entity of an account."""
    return EntityId(account & ~0xFFFF)


def serial_id(*, partition: int, serial: int) -> int:
    """Id of an order, reservation or episode."""
    return partition << 48 | serial


def home_partition(any_key: int, *, partitions: int) -> int:
    """Partition that decides for a pool (asset id) or a funding index (instrument id)."""
    return any_key % partitions


def partition_for_owner(owner: str, *, partitions: int) -> int:
    """Partition in which a new entity of this owner opens its accounts."""
    digest = hashlib.blake2b(owner.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % partitions
