"""`ballast ledger proof` over an honest journal: every client's file holds, and no other does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.ids import SystemAccount, system_account, system_kind
from libs.common.units import INDEX_ONE
from tools.audit.stored import Files, export
from tools.audit.tests.journal import Memory, journals, rewritten
from tools.cli import proof
from tools.cli.__main__ import main
from tools.proof.liabilities import Cut, Differs, cut
from tools.proof.tree import Unprovable
from tools.proof.written import as_file, proven
from tools.reconcile.reader import Unreadable
from tools.reconcile.tests.story import BTC, COIN, USD, Story, honest

CASH, RESERVED = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_RESERVED
SUPPLY = ledger_pb2.LINE_KIND_SUPPLY_SHARES
SECRET = b"s" * 32


@cache
def story() -> Story:
    """A house with lenders, traders, a withdrawal and a liquidation."""
    return honest()


def found(told: Story | None = None) -> Cut:
    """Its liabilities."""
    return asyncio.run(cut(Memory(journals((told or story()).frames), [])))


def test_what_is_owed_is_cash_waiting_withdrawals_and_claims_of_clients_only() -> None:
    told = story()
    owed = {one.account: one.units for one in found().owed}
    assert not any(system_kind(account) for account in owed)
    for book in told.books:
        for account in book.accounts:
            lines = book.lines_of(account)
            for asset in (USD, BTC):
                index = book.pools[asset].supply_index if asset in book.pools else INDEX_ONE
                claim = lines.get((asset, SUPPLY), 0) * index // INDEX_ONE
                expected = lines.get((asset, CASH), 0) + lines.get((asset, RESERVED), 0) + claim
                assert owed[account].get(asset, 0) == expected


def test_where_assets_sit_adds_up_to_what_all_lines_hold() -> None:
    told, here = story(), found()
    for asset in (USD, BTC):
        outside = {(SystemAccount.CUSTODY, 0), *((SystemAccount.VENUE, one.id) for one in here.parameters.venues)}
        accounts = {
            system_account(kind, partition=book.partition, index=index)
            for book in told.books
            for kind, index in outside
        }
        inside = sum(
            balance
            for book in told.books
            for (account, at, kind), balance in book.lines.items()
            if at == asset and kind in (CASH, RESERVED) and account not in accounts
        )
        assert sum(units for (at, _), units in here.sits.items() if at == asset) == inside


def test_every_account_gets_a_file_that_holds(tmp_path: Path) -> None:
    here = found()
    tree, context = proof.planted(here, secret=SECRET)
    proof.write(tmp_path, tree, context)
    published = json.loads((tmp_path / "published.json").read_text())
    files = sorted(tmp_path.glob("proof-*.json"))
    assert len(files) == len(here.owed)
    sums = [0] * len(here.assets)
    for file in files:
        one = proven(file.read_bytes(), root=bytes.fromhex(published["root"]))
        sums = [a + b for a, b in zip(sums, one.units, strict=True)]
    assert list(map(str, sums)) == published["totals"]
    assert published["context"]["cut"][0]["sequence"] == story().books[0].sequence


def test_another_secret_gives_another_tree_with_the_same_totals() -> None:
    one, other = (proof.planted(found(), secret=each * 32)[0] for each in (b"a", b"b"))
    assert one.top.units == other.top.units
    assert one.root != other.root


def test_no_file_tells_the_salt_of_another() -> None:
    tree, context = proof.planted(found(), secret=SECRET)
    salts = [leaf.salt.hex() for leaf in tree.leaves]
    for at in range(len(tree.leaves)):
        text = as_file(tree.inclusion(at), context=context, root=tree.root, totals=tree.top.units).decode()
        assert [salt for salt in salts if salt in text] == [salts[at]]


def _content() -> dict[str, Any]:
    tree, context = proof.planted(found(), secret=SECRET)
    at = next(at for at, leaf in enumerate(tree.leaves) if any(leaf.units))
    content: dict[str, Any] = json.loads(
        as_file(tree.inclusion(at), context=context, root=tree.root, totals=tree.top.units)
    )
    return content


def _set(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("units", 0, to="7"),
        _set("units", 0, to=7),
        _set("units", 0, to="-7"),
        _set("units", 0, to="7.5"),
        _set("units", to=["1"]),
        _set("totals", 0, to="1"),
        _set("account", to="1"),
        _set("owner", to="mallory"),
        _set("salt", to="00" * 32),
        _set("salt", to="00"),
        _set("root", to="00" * 32),
        _set("root", to="zz"),
        _set("context", "run_time_ns", to=1),
        _set("context", "leaves", to=1),
        _set("context", "leaves", to=2**30),
        _set("context", "format", to="another"),
        _set("context", "cut", 0, "sequence", to=1),
        _set("context", "cut", 0, "head", to="00" * 32),
        _set("context", "assets", 0, "symbol", to="EUR"),
        _set("context", "assets", 0, "decimals", to=2),
        _set("path", 0, "side", to="middle"),
        _set("path", 0, "hash", to="00" * 32),
        _set("path", 0, "units", 0, to="-1"),
        _set("path", to=[]),
        _set("path", to=None),
    ],
)
def test_a_file_that_was_changed_proves_nothing(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    content = _content()
    assert proven(json.dumps(content).encode()).units
    change(content)
    with pytest.raises(Unprovable):
        proven(json.dumps(content).encode())
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(content))
    assert main(["ledger", "proof", "verify", str(file)]) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b"\xff", b"[" * 10_000, b"1" * (2**20 + 1)])
def test_what_is_no_proof_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(Unprovable):
        proven(content)


def test_a_file_under_another_root_is_refused() -> None:
    with pytest.raises(Unprovable, match="expected the root"):
        proven(json.dumps(_content()).encode(), root=b"\x00" * 32)


def test_the_command_builds_from_exported_files_and_each_file_verifies_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = tmp_path / "records"
    records.mkdir()
    asyncio.run(export(Memory(journals(story().frames), []), records))
    assert main(["ledger", "proof", "--files", str(records), "--output", str(tmp_path / "out")]) == 0
    root = json.loads((tmp_path / "out" / "published.json").read_text())["root"]
    assert f"root {root}" in capsys.readouterr().out
    for file in (tmp_path / "out").glob("proof-*.json"):
        assert main(["ledger", "proof", "verify", str(file), "--root", root]) == 0
        assert main(["ledger", "proof", "verify", str(file), "--root", "00" * 32]) == 1
    assert main(["ledger", "proof", "verify", str(tmp_path / "nothing.json")]) == 2
    assert main(["ledger", "proof", "--files", str(tmp_path / "gone"), "--output", str(tmp_path)]) == 2
    assert main(["ledger", "proof"]) == 2
    assert asyncio.run(cut(Files(records))).owed == found().owed


def test_a_journal_that_was_rewritten_gives_no_proof() -> None:
    def smaller(body: journal_pb2.JournalBody) -> None:
        body.outcomes[0].effects[1].posting.balance -= 1

    records = journals(story().frames)
    sequence = next(
        frame.sequence
        for frame in story().frames
        if frame.partition == 0 and frame.body.outcomes[0].command == "confirm_deposit"
    )
    records[0] = rewritten(records[0], sequence, smaller)
    with pytest.raises(Differs):
        asyncio.run(cut(Memory(records, [])))


def test_what_is_on_its_way_between_partitions_is_owed_once() -> None:
    told = Story()
    alice = told.send("open_account", sender="alice", owner="alice").subject
    there = told.send("open_account", partition=1, sender="alice", owner="alice").subject
    told.send("confirm_deposit", account=alice, asset=BTC, units=5 * COIN)
    told.send("confirm_deposit", partition=1, account=there, asset=BTC, units=COIN)
    told.mark(1_900_000)
    sent = told.send("transfer", sender="alice", account=alice, to_account=there, asset=BTC, units=2 * COIN).subject
    told.send("verdict", account=alice, reservation=sent, settle=True, citation=told.cite())

    def owed(*, sent_too: bool = True, arrived: bool = True, confirmed: bool = True) -> list[int]:
        left = {(0, "verdict"): sent_too, (1, "arrive"): arrived, (0, "confirm_movements"): confirmed}
        kept = [one for one in told.frames if left.get((one.partition, one.body.outcomes[0].command), True)]
        return [one.units[BTC] for one in asyncio.run(cut(Memory(journals(kept), []))).owed]

    assert owed() == owed(confirmed=False) == [3 * COIN, 3 * COIN]
    assert owed(arrived=False, confirmed=False) == [3 * COIN, 3 * COIN]  # owed to whom it is for
    for early in ({"sent_too": False, "confirmed": False}, {"arrived": False}):
        with pytest.raises(Unreadable):  # one partition knows what the other, by this cut, has not done yet
            owed(**early)


def test_what_a_venue_keeps_for_an_entity_on_its_way_sits_there_all_the_time() -> None:
    told = Story()
    alice = told.send("open_account", sender="alice", owner="alice").subject
    told.send("confirm_deposit", account=alice, asset=BTC, units=5 * COIN)
    told.send("move_location", account=alice, asset=BTC, venue=1, units=2 * COIN)
    told.mark(1_900_000)
    told.send("move_entity", sender="alice", account=alice, to_partition=1)
    commands = ("arrive", "confirm_movements")
    for kept in (told.frames, [one for one in told.frames if one.body.outcomes[0].command not in commands]):
        here = asyncio.run(cut(Memory(journals(kept), [])))
        assert {place: units for (asset, place), units in here.sits.items() if asset == BTC and units} == {
            "vault": 3 * COIN, here.parameters.venues[0].name: 2 * COIN,
        }  # fmt: skip
        assert sum(one.units.get(BTC, 0) for one in here.owed) == 5 * COIN
