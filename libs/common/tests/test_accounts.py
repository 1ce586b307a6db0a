"""Lines and attributes of many accounts: packing and opening change nothing that can be seen."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast.events.v1 import journal_pb2
from libs.common import accounts as module
from libs.common.accounts import Attributes, Balances, Lines, pack_lines, unpack_lines

FIRST, LAST = -(2**63), 2**63 - 1
moves = st.lists(
    st.tuples(
        st.integers(1, 9), st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(FIRST, LAST), st.integers(0, 99)
    ),
    max_size=60,
)


@pytest.fixture(autouse=True)
def few_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_MAX", 2)


@given(moves)
def test_lines_are_what_was_set_last_however_many_are_open(
    found: list[tuple[int, int, int, int, int]],
) -> None:
    lines = Lines()
    plain: dict[tuple[int, int, int], tuple[int, int]] = {}
    for account, asset, kind, balance, version in found:
        line, value = (account, asset, kind), (balance, version)
        assert lines.get(*line) == plain.get(line)
        assert lines.set(*line, value) == plain.get(line)
        plain[line] = value
    balances = {line: balance for line, (balance, _) in plain.items() if balance}
    assert (dict(lines.items()), lines.count) == (plain, len(balances))
    view = Balances(lines)
    assert (dict(view), dict(view.items()), len(view)) == (balances, balances, len(balances))
    for account in range(11):
        of_one = {(asset, kind): value for (one, asset, kind), value in plain.items() if one == account}
        assert lines.peek(account) == lines.of(account) == of_one
        assert unpack_lines(lines.packed(account)) == of_one
    loaded = Lines()
    for account in lines.accounts():
        loaded.load(account, lines.packed(account))
        loaded.load(account, lines.packed(account))
    assert (loaded, loaded.count) == (lines, lines.count)


def test_a_fork_goes_its_own_way_and_equal_bytes_are_kept_once() -> None:
    lines = Lines()
    for account in range(1, 9):
        lines.set(account, 1, 1, (account, 1))
    other = lines.fork()
    assert other == lines
    other.set(1, 1, 1, (7, 2))
    assert (lines.get(1, 1, 1), other.get(1, 1, 1)) == ((1, 1), (7, 2))
    lines.set(1, 1, 1, (7, 2))
    for account in range(2, 9):  # both come to rest again
        lines.of(account), other.of(account)
    assert lines._resting[1] is other._resting[1]


@pytest.mark.parametrize("size", [1, 20, 22, 41])
def test_bytes_that_are_no_whole_number_of_lines_are_refused(size: int) -> None:
    packed = pack_lines({(1, 1): (5, 1), (2, 1): (5, 1), (3, 1): (5, 1)})
    with pytest.raises(struct.error):
        Lines().load(1, packed[:size])


def test_attributes_are_kept_as_given_and_shared_with_the_fork() -> None:
    table = Attributes()
    for number in range(1, 6):
        table[number] = journal_pb2.Account(account=number, owner=f"client {number}")
    assert [table[number].owner for number in range(1, 6)] == [f"client {number}" for number in range(1, 6)]
    assert (len(table), 3 in table, 9 in table, table.get(9)) == (5, True, False, None)
    given = journal_pb2.Account(account=1, owner="before")
    table[1] = given
    given.owner = "after"
    assert table[1].owner == "before"
    other = table.fork()
    other[2] = journal_pb2.Account(account=2, owner="moved")
    assert (table[2].owner, other[2].owner, other != table) == ("client 2", "moved", True)
    table[2] = journal_pb2.Account(account=2, owner="moved")
    assert table.packed(2) is other.packed(2)
    del table[2]
    assert (2 in table, table.packed(2), list(table)) == (False, b"", [1, 3, 4, 5])
