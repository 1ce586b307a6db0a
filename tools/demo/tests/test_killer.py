"""The killer strikes while an order of an episode is in flight, and only then."""

import asyncio
import sys
from pathlib import Path

import pytest

from ballast.types.v1 import ledger_pb2 as words
from libs.common.parameters import Parameters
from tools.demo import killer
from tools.demo.killer import kill_while_in_flight
from tools.demo.observe import Observatory
from tools.demo.processes import Ports, Process
from tools.demo.tests.story import PARAMETERS, START_NS, WINDOWS, Story


class OneProcess:
    """A fleet of one real process that does nothing; ready as soon as it runs."""

    def __init__(self, log: Path) -> None:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        self.processes = {"ledger": Process("ledger", command, {}, Ports(1, 2), log)}

    async def wait_ready(self, names: tuple[str, ...]) -> None:
        for name in names:
            self.processes[name].check_alive()


def observatory(story: Story, parameters: Parameters = PARAMETERS) -> Observatory:
    made = Observatory(
        bootstrap="", parameters=parameters, service_urls={}, replay_target="", windows=WINDOWS
    )  # fmt: skip
    made.picture = story.picture
    return made


async def test_it_waits_for_an_order_in_flight_and_starts_the_process_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(killer, "DOWN_SECONDS", 0.01)
    story, fleet = Story(), OneProcess(tmp_path / "log")
    seen = observatory(story)
    process = fleet.processes["ledger"]
    process.start()
    assert process.child is not None
    first = process.child.pid
    try:
        killing = asyncio.create_task(kill_while_in_flight(fleet, seen, "ledger"))
        story.open_account(0, "desk-00")
        story.marks({}, at_ns=START_NS)
        story.episode(0, state=words.EPISODE_STATE_OPEN)
        story.order(1, state=words.ORDER_STATE_WORKING, is_episodes=False)
        story.order(0, state=words.ORDER_STATE_CANCELLING, serial=7)
        seen.changed()
        await asyncio.sleep(0.05)
        assert not killing.done()
        assert process.child.poll() is None
        story.order(0, state=words.ORDER_STATE_RELEASED)
        seen.changed()
        killed = await killing
        assert process.child.pid != first
        assert [one.order for one in killed.orders] == [1]
        assert (killed.open_episodes, killed.run_time_ns) == (1, START_NS)
        assert killed.describe().startswith("killed ledger with SIGKILL at 2017-12-21 12:00:00 UTC of the replay, 1 ")
        assert "0/1 (step 1, 50 lots, RELEASED)" in killed.describe()
    finally:
        process.ask_to_stop()
        process.wait_stopped(5)


async def test_waiting_ends_in_time() -> None:
    with pytest.raises(TimeoutError):
        await observatory(Story()).wait(lambda: False, timeout_s=0.01)
