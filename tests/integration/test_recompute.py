"""A margin is reproduced bit for bit from the topics, after three parameter changes, rolled segments and compaction."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from ballast.events.v1 import commands_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2 as market_words
from libs.common.chain import ChainFollower
from libs.common.codec import Publisher
from libs.common.config import LoadedParameters, load_parameters
from libs.common.ids import account_id
from libs.common.topics import ACCOUNTS, CONTROL, JOURNAL, LIQUIDITY, MARGIN, MARKS, SHADOW
from tests.integration.explained_house import (
    PARTITIONS,
    Marks,
    Service,
    held,
    house,
    margin_of,
    roll_segments,
    write_views,
)
from tests.integration.ledger_house import Stream
from tools.cli.__main__ import main
from tools.reconcile.reader import decoded, records

USD, BTC, BTC_PERP, BTC_CALL = 1, 2, 11, 103
DOLLAR, COIN = 1_000_000, 100_000_000
HOME = 1
ACCOUNT = account_id(partition=HOME, entity=1, sub=0)
STRESSES = ("-0.15", "-0.20", "-0.25")  # the joint stress of each set; that of config/ comes first
OVERWRITES = 40


@dataclass(frozen=True, slots=True)
class Kept:
    """A published margin under one parameter set."""

    loaded: LoadedParameters
    frame: risk_pb2.MarginFrame

    @property
    def at(self) -> list[str]:
        return ["--journal", str(self.frame.journal_sequence), "--mark", str(self.frame.mark_sequence)]


def _sets(repository: Path, directory: Path) -> list[Path]:
    found = []
    for number, stress in enumerate(STRESSES):
        path = directory / f"set-{number}"
        path.mkdir()
        for file in (repository / "config").glob("*.yaml"):
            text = file.read_text(encoding="utf-8")
            (path / file.name).write_text(text.replace(f'"{STRESSES[0]}"', f'"{stress}"'), encoding="utf-8")
        found.append(path)
    return found


async def _deposits_and_orders(bootstrap: str) -> None:
    async with Stream(bootstrap, owner="alice").open() as stream:
        await stream.batch(HOME, 1)
        for asset, units in ((USD, 40_000 * DOLLAR), (BTC, 2 * COIN)):
            paid = commands_pb2.Command(
                confirm_deposit=commands_pb2.ConfirmDeposit(account=ACCOUNT, asset=asset, units=units)
            )
            paid.principal.id, paid.principal.role = "custodian", words.ROLE_CUSTODIAN
            await stream.one(HOME, paid)
        order = commands_pb2.PlaceOrder(
            account=ACCOUNT, instrument=BTC_PERP, venue=1, side=market_words.SIDE_BUY, lots=100, limit_price=1_500_000,
            time_in_force=market_words.TIME_IN_FORCE_GTC,
        )  # fmt: skip
        written = commands_pb2.PlaceOrder(
            account=ACCOUNT, instrument=BTC_CALL, venue=1, side=market_words.SIDE_SELL, lots=50, limit_price=200_000,
            time_in_force=market_words.TIME_IN_FORCE_GTC,
        )  # fmt: skip
        for each in (order, written):
            placed = commands_pb2.Command(place_order=each)
            placed.principal.id, placed.principal.role = "alice", words.ROLE_CLIENT
            await stream.one(HOME, placed)


async def _run(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["risk", *arguments])


async def test_a_margin_is_reproduced_after_parameter_changes_rolling_and_compaction(
    fresh_kafka: str, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = _sets(repository, tmp_path)
    await roll_segments(fresh_kafka, JOURNAL, MARKS, CONTROL, MARGIN, more={})
    compacting = {"min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "1000", "delete.retention.ms": "0"}
    await roll_segments(fresh_kafka, ACCOUNTS, LIQUIDITY, more=compacting)
    kept: list[Kept] = []
    async with Marks(fresh_kafka).running() as marks:
        await marks.put(14_000, snapshot=True)
        for number, config in enumerate(sets):
            await write_views(fresh_kafka, b"view", times=OVERWRITES)  # more than a second apart
            kept.append(await _one_set(fresh_kafka, marks, config, number, sets[0], tmp_path, capsys))
    assert len({one.loaded.hash for one in kept}) == len({one.frame.maintenance_margin[0] for one in kept}) == 3
    await _views_are_compacted(fresh_kafka)
    for one in kept:
        assert await _run("recompute", "--bootstrap", fresh_kafka, "--account", f"{HOME}/1/0", *one.at) == 0
        said = capsys.readouterr().out
        assert "reproduced bit for bit" in said
        assert one.loaded.hash.hex()[:16] in said
    await _what_differs_is_named(fresh_kafka, kept, capsys)
    await _what_is_gone_is_named(fresh_kafka, kept, capsys)


async def _one_set(
    bootstrap: str,
    marks: Marks,
    config: Path,
    number: int,
    shadow: Path,
    directory: Path,
    capsys: pytest.CaptureFixture[str],
) -> Kept:
    loaded = load_parameters(config)
    is_last = number == len(STRESSES) - 1
    settings = {"BALLAST_SHADOW_CONFIG_DIRECTORY": str(shadow), "BALLAST_SHADOW_EVERY_FRAMES": "1"} if is_last else {}
    async with house(bootstrap, config=config, log=directory, risk_settings=settings) as (_, risk):
        if number == 0:
            await _deposits_and_orders(bootstrap)
        if is_last:  # the marks log that is kept begins here
            await marks.claim_again()
            await marks.put(14_000, snapshot=True)
        frame = await margin_of(bootstrap, ACCOUNT, marks, dollars=14_000)
        assert frame.parameters_hash == loaded.hash
        if is_last:
            await _questions(risk, shadow, capsys)
            await _a_shadow_is_published(bootstrap, loaded, load_parameters(shadow))
        return Kept(loaded, frame)


async def _questions(risk: Service, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = ["--target", f"127.0.0.1:{risk.grpc_port}"]
    capsys.readouterr()
    assert await _run("explain", str(ACCOUNT), *target) == 0
    said = capsys.readouterr().out
    for wanted in ("open orders", "liquidity", "BTC (held)", "VALID", "worst scenario", "required"):
        assert wanted in said, wanted
    assert await _run("dry-run", "--config", str(other), *target) == 0
    assert "accounts would newly be called" in capsys.readouterr().out
    assert await _run("explain", f"{HOME}/99/0", *target) == 2
    assert "NOT_FOUND" in capsys.readouterr().err


async def _a_shadow_is_published(bootstrap: str, live: LoadedParameters, other: LoadedParameters) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        async for record in records(bootstrap, SHADOW, home_partitions=PARTITIONS, only=HOME):
            frame = decoded(risk_pb2.ShadowFrame, record)
            assert frame is not None
            assert (frame.parameters_hash, frame.shadow_hash) == (live.hash, other.hash)
            if list(frame.account) == [ACCOUNT]:
                assert frame.maintenance_margin[0] != frame.shadow_maintenance_margin[0]
                return
        await asyncio.sleep(0.2)
    raise AssertionError("no shadow frame with the account")


async def _views_are_compacted(bootstrap: str) -> None:
    deadline = time.monotonic() + 30  # the cleaner looks every fifteen seconds
    written = OVERWRITES * len(STRESSES)
    while time.monotonic() < deadline:
        if await held(bootstrap, LIQUIDITY) < written:
            return
        await asyncio.sleep(0.5)
    raise AssertionError("the compacted topic still holds every record")


async def _what_differs_is_named(bootstrap: str, kept: list[Kept], capsys: pytest.CaptureFixture[str]) -> None:
    first, second, _ = kept
    wrong_number = risk_pb2.MarginFrame.FromString(first.frame.SerializeToString())
    wrong_number.initial_margin[0] -= 1
    other_set = risk_pb2.MarginFrame.FromString(second.frame.SerializeToString())
    other_set.parameters_hash = first.loaded.hash
    other_set.fingerprint = b"f" * 16
    async with Publisher(bootstrap=bootstrap, client_id="test-tamper") as publisher:
        for frame in (wrong_number, other_set):
            await (await publisher.enqueue(MARGIN.name, frame.SerializeToString(), partition=HOME))
    asked = ["recompute", "--bootstrap", bootstrap, "--account", str(ACCOUNT)]
    assert await _run(*asked, *first.at) == 1
    said = capsys.readouterr()
    was, is_now = wrong_number.initial_margin[0], first.frame.initial_margin[0]
    assert f"differs: initial_margin of account {ACCOUNT}: expected {is_now}, was {was}" in said.err
    assert said.err.count("differs: ") == 1
    assert await _run(*asked, *second.at) == 1
    said = capsys.readouterr()
    for wanted in ("parameters in force at control sequence", "fingerprint", "maintenance_margin of account"):
        assert wanted in said.err, wanted


async def _what_is_gone_is_named(bootstrap: str, kept: list[Kept], capsys: pytest.CaptureFixture[str]) -> None:
    """Marks are kept for the horizon only: what stands before the last claim goes, the last record still comes out."""
    follower = ChainFollower(
        bootstrap=bootstrap, topic=MARKS, partition=0, client_id="test-claim", from_last_claim=True
    )
    async with AsyncExitStack() as stack:
        await follower.start()
        stack.push_async_callback(follower.stop)
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="test-trim")
        await admin.start()
        stack.push_async_callback(admin.close)
        await admin.delete_records({TopicPartition(MARKS.name, 0): RecordsToDelete(before_offset=follower.position)})
    asked = ["recompute", "--bootstrap", bootstrap, "--account", str(ACCOUNT)]
    assert await _run(*asked, *kept[2].at) == 0
    capsys.readouterr()
    assert await _run(*asked, *kept[0].at) == 2
    assert f"expected mark {kept[0].frame.mark_sequence}" in capsys.readouterr().err
    assert await _run(*asked, "--journal", "999999") == 2
    assert "found none" in capsys.readouterr().err
