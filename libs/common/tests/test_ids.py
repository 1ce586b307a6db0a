"""Identities: an id tells its home partition, and a house account its kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.ids import (
    PARTITIONS_MAX,
    SUBACCOUNTS_MAX,
    SystemAccount,
    account_id,
    entity_of,
    home_partition,
    partition_for_owner,
    partition_of,
    serial_id,
    system_account,
    system_index,
    system_kind,
)

partitions = st.integers(0, PARTITIONS_MAX - 1)
entities = st.integers(1, 2**32 - 1)
subs = st.integers(0, SUBACCOUNTS_MAX - 1)
INDEX_MAX = 2_047


@given(partitions, entities, subs)
def test_an_account_tells_partition_and_entity_and_is_no_house_account(partition: int, entity: int, sub: int) -> None:
    account = account_id(partition=partition, entity=entity, sub=sub)
    assert 0 < account < 2**64
    assert partition_of(account) == partition
    assert int(entity_of(account)) == account_id(partition=partition, entity=entity, sub=0)
    assert entity_of(entity_of(account)) == entity_of(account)
    assert system_kind(account) is None


@given(st.tuples(partitions, entities, subs), st.tuples(partitions, entities, subs))
def test_different_parts_make_different_accounts(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    ids = [account_id(partition=each[0], entity=each[1], sub=each[2]) for each in (one, other)]
    assert (ids[0] == ids[1]) is (one == other)


@pytest.mark.parametrize(
    ("partition", "entity", "sub"),
    [(-1, 1, 0), (PARTITIONS_MAX, 1, 0), (0, 0, 0), (0, 2**32, 0), (0, 1, -1), (0, 1, SUBACCOUNTS_MAX)],
)
def test_parts_that_do_not_fit_are_refused(partition: int, entity: int, sub: int) -> None:
    with pytest.raises(ValueError, match="expected parts"):
        account_id(partition=partition, entity=entity, sub=sub)


@given(st.sampled_from(SystemAccount), partitions, st.integers(0, INDEX_MAX))
def test_a_house_account_tells_kind_partition_and_index(kind: SystemAccount, partition: int, index: int) -> None:
    account = system_account(kind, partition=partition, index=index)
    assert (system_kind(account), system_index(account), partition_of(account)) == (kind, index, partition)
    assert 0 < account < 2**64


def test_no_two_house_accounts_are_one() -> None:
    found = {system_account(kind, partition=3, index=index) for kind in SystemAccount for index in range(INDEX_MAX + 1)}
    assert len(found) == len(SystemAccount) * (INDEX_MAX + 1)


@pytest.mark.parametrize("index", [-1, INDEX_MAX + 1])
def test_an_index_that_does_not_fit_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="expected an index"):
        system_account(SystemAccount.POOL, partition=0, index=index)


@pytest.mark.parametrize("account", [0, 1, INDEX_MAX, 19 << 11, 31 << 11])
def test_an_impossible_house_account_has_no_kind(account: int) -> None:
    assert system_kind(account) is None


@given(partitions, st.integers(1, 2**48 - 1))
def test_an_order_tells_its_partition(partition: int, serial: int) -> None:
    order = serial_id(partition=partition, serial=serial)
    assert partition_of(order) == partition
    assert order & 2**48 - 1 == serial


@given(st.text(max_size=64), st.integers(1, 1_024))
def test_an_owner_s_home_is_always_the_same_and_exists(owner: str, count: int) -> None:
    assert 0 <= partition_for_owner(owner, partitions=count) < count
    assert partition_for_owner(owner, partitions=count) == partition_for_owner(owner, partitions=count)


def test_owners_are_spread_over_the_partitions() -> None:
    counts = [0] * 4
    for number in range(4_000):
        counts[partition_for_owner(f"client-{number}", partitions=4)] += 1
    assert min(counts) > 900


def test_the_spread_of_owners_never_changes() -> None:
    # A change would send a client's next entity away from its first; the figures are those of blake2b.
    assert [partition_for_owner(name, partitions=64) for name in ("alice", "bob", "ö")] == [9, 18, 26]
    assert [home_partition(key, partitions=4) for key in (1, 4, 11)] == [1, 0, 3]
