"""The reconciliation reads a real broker: an honest run ends with status 0, each planted defect with 1 and its name."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ballast.events.v1 import control_pb2, dead_letter_pb2
from libs.common.chain import ChainWriter
from libs.common.codec import Publisher, headers
from libs.common.topics import COMMANDS, CONTROL, JOURNAL, MARGIN, MARKS, RATES, Topic
from tools.reconcile.__main__ import main
from tools.reconcile.checks import CHECKS
from tools.reconcile.tests import defects
from tools.reconcile.tests.story import LOADED, PARAMETERS, Story, honest
from tools.topics import create_topics, delete_topics

CLIENT_ID = "test-reconcile"
WALL_NS = 1_700_000_000_000_000_000
Frames = Sequence[tuple[bytes, int, int]]  # body, run time, wall time


async def _write_chain(bootstrap: str, topic: Topic, partition: int, frames: Frames) -> None:
    writer = ChainWriter(
        bootstrap=bootstrap,
        topic=topic,
        partition=partition,
        owner=secrets.token_bytes(16),
        input_topic_id=b"",
        client_id=CLIENT_ID,
        on_accepted=None,
    )
    await writer.take_over(lambda frame: None)
    for number, (body, run_time_ns, wall_ns) in enumerate(frames):
        await writer.append(
            body,
            input_offset=number,
            input_index=0,
            run_time_ns=run_time_ns,
            control_sequence=1,
            headers=dict(headers(wall_ns=wall_ns)),
        )
    await writer.drain()
    await writer.close()


async def _write_flat(bootstrap: str, story: Story, *, is_poisoned: bool) -> None:
    async with Publisher(bootstrap=bootstrap, client_id=CLIENT_ID) as publisher:
        for command in story.commands:
            body = command.batch.SerializeToString()
            stamped = headers(wall_ns=WALL_NS, stamps=dict(command.stamps))
            await publisher.enqueue(COMMANDS.name, body, partition=command.partition, named=stamped)
        for margin in story.margins:
            stamped = headers(wall_ns=margin.wall_ns, mark_received_wall_ns=margin.mark_received_wall_ns)
            body = margin.frame.SerializeToString()
            await publisher.enqueue(MARGIN.name, body, partition=margin.frame.partition, named=stamped)
        for rate in story.rates:
            await publisher.enqueue(RATES.name, rate.SerializeToString(), partition=0, named=headers(wall_ns=WALL_NS))
        if is_poisoned:
            letter = dead_letter_pb2.DeadLetter(topic=COMMANDS.name, offset=3, reason="other bytes", service="test")
            await (await publisher.enqueue(COMMANDS.dead, letter.SerializeToString(), partition=0))


async def _write(bootstrap: str, story: Story, *, is_poisoned: bool = False) -> None:
    declared = control_pb2.ParameterSet(hash=LOADED.hash, canonical_json=LOADED.canonical_json)
    active = control_pb2.ActivateParameters(hash=LOADED.hash)
    control = [control_pb2.ControlBody(parameter_set=declared), control_pb2.ControlBody(activate_parameters=active)]
    await _write_chain(bootstrap, CONTROL, 0, [(one.SerializeToString(), 0, WALL_NS) for one in control])
    marks = [(one.body.SerializeToString(), one.run_time_ns, WALL_NS) for one in story.marks]
    await _write_chain(bootstrap, MARKS, 0, marks)
    for partition in range(PARAMETERS.partitions):
        own = [one for one in story.frames if one.partition == partition]
        frames = [(one.body.SerializeToString(), one.run_time_ns, one.wall_ns) for one in own]
        await _write_chain(bootstrap, JOURNAL, partition, frames)
    await _write_flat(bootstrap, story, is_poisoned=is_poisoned)


async def _renewed(bootstrap: str) -> None:
    await delete_topics(bootstrap)
    await create_topics(bootstrap, home_partitions=PARAMETERS.partitions)


def _named(seen: str) -> set[str]:
    line = next(one for one in seen.splitlines() if one.startswith("reconcile: broken: "))
    return set(line.removeprefix("reconcile: broken: ").split(", "))


def _one_for_each() -> list[tuple[str, Callable[[], Story]]]:
    found: dict[str, Callable[[], Story]] = {}
    for number, defect in defects.DEFECTS:
        found.setdefault(number, defect)
    return list(found.items())


async def test_an_honest_run_ends_with_status_0_and_a_report(
    fresh_kafka: str, tmp_path: Path, repository: Path
) -> None:
    await _write(fresh_kafka, honest())
    command = [sys.executable, "-m", "tools.reconcile", "--bootstrap", fresh_kafka, "--target", "demo", "--seed", "7"]
    command += ["--crashes", "2017-12-19T00:00/2017-12-20T00:00", "--command", "make demo"]
    environment = {**os.environ, "PYTHONPATH": f"{repository}{os.pathsep}{repository / 'build/gen'}"}
    answer = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "The books balance." in answer.stdout
    report = json.loads((tmp_path / ".run/demo/report.json").read_text())
    values = {one["name"]: one["value"] for one in report["measures"]}
    assert report["ok"] is True
    assert (values["accounts"], values["episodes"], values["2017-12-19_bankrupt"]) == (4, 2, 1)
    assert values["chains_verified"] == PARAMETERS.partitions + 2
    assert values["ledger_fingerprints_verified"] == values["journal_frames"]
    assert values["margin_frames_recomputed"] == values["margin_frames"]
    assert values["mark_to_first_order_at_venue_p50"] > 0
    command = [sys.executable, "-m", "tools.contagion", "--bootstrap", fresh_kafka, "--asset", "BTC", "--fall", "0.9"]
    answer = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "accounts cannot pay" in answer.stdout
    assert json.loads((tmp_path / ".run/contagion/report.json").read_text())["ok"] is True


@pytest.mark.parametrize(("number", "defect"), _one_for_each(), ids=[number for number, _ in _one_for_each()])
async def test_a_planted_defect_ends_with_status_1_and_its_name(
    fresh_kafka: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: str,
    defect: Callable[[], Story],
) -> None:
    await _renewed(fresh_kafka)
    await _write(fresh_kafka, defects.refold(defect()))
    monkeypatch.chdir(tmp_path)
    status = await asyncio.to_thread(main, ["--bootstrap", fresh_kafka])
    assert status == 1
    assert number in _named(capsys.readouterr().err)
    report = json.loads((tmp_path / ".run/reconcile/report.json").read_text())
    assert report["ok"] is False
    assert not report["details"]["invariants"][number]["ok"]


def test_each_invariant_has_its_defect() -> None:
    assert {number for number, _ in _one_for_each()} == {*CHECKS, "episodes"}


async def test_a_dead_letter_ends_with_status_1(
    fresh_kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await _renewed(fresh_kafka)
    await _write(fresh_kafka, honest(), is_poisoned=True)
    monkeypatch.chdir(tmp_path)
    assert await asyncio.to_thread(main, ["--bootstrap", fresh_kafka]) == 1
    assert _named(capsys.readouterr().err) == {"dead letters"}


async def test_topics_without_parameters_end_with_status_2(
    fresh_kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await _renewed(fresh_kafka)
    monkeypatch.chdir(tmp_path)
    assert await asyncio.to_thread(main, ["--bootstrap", fresh_kafka]) == 2
    assert "expected an active parameter set" in capsys.readouterr().err
