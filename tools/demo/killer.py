"""Kills a service at the worst moment: an episode is open and one of its orders is in flight."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from ballast.types.v1 import ledger_pb2
from libs.common.ids import partition_of
from libs.common.units import SECOND_NS
from tools.demo.observe import Observatory
from tools.demo.processes import Process

DOWN_SECONDS = 1.0
IN_FLIGHT_SECONDS_MAX = 3_600.0
IN_FLIGHT = frozenset((ledger_pb2.ORDER_STATE_RELEASED, ledger_pb2.ORDER_STATE_WORKING))


class Fleet(Protocol):
    """What is used of the demo's fleet."""

    @property
    def processes(self) -> dict[str, Process]:
        """By name."""

    async def wait_ready(self, names: tuple[str, ...]) -> None:
        """Returns when all of them are ready. Raises NotReady."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """An episode's order that was at, or on its way to, a venue."""

    episode: int
    account: int
    order: int
    step: int
    state: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Killed:
    """A service that was killed and came back.

    Args:
        run_time_ns: of the replay at the kill.
        wall_ns: of the kill.
        ready_wall_ns: when it was ready again.
    """

    service: str
    run_time_ns: int
    wall_ns: int
    ready_wall_ns: int
    open_episodes: int
    orders: tuple[InFlight, ...]

    @property
    def seconds(self) -> float:
        """From the kill until it was ready again."""
        return (self.ready_wall_ns - self.wall_ns) / SECOND_NS

    def describe(self) -> str:
        """One line for the report."""
        at = datetime.fromtimestamp(self.run_time_ns // SECOND_NS, UTC)
        orders = ", ".join(
            f"{partition_of(one.order)}/{one.order & (1 << 48) - 1} (step {one.step}, {one.remaining} lots,"
            f" {ledger_pb2.OrderState.Name(ledger_pb2.OrderState.ValueType(one.state)).removeprefix('ORDER_STATE_')})"
            for one in self.orders
        )
        return (
            f"killed {self.service} with SIGKILL at {at:%Y-%m-%d %H:%M:%S} UTC of the replay, {self.open_episodes}"
            f" episodes open, orders of episodes in flight: {orders}; ready again after {self.seconds:.1f} s"
        )


async def kill_while_in_flight(fleet: Fleet, observatory: Observatory, service: str) -> Killed:
    """What was in flight when the service died; returns when it is ready again.

    Raises: NotReady when it does not come back, TimeoutError when no order of an episode was ever in flight.
    """
    orders = in_flight(observatory)
    while not orders:
        await observatory.wait(lambda: bool(in_flight(observatory)), timeout_s=IN_FLIGHT_SECONDS_MAX)
        orders = in_flight(observatory)  # what was in flight when the wait ended may be filled by now
    process = fleet.processes[service]
    process.stopped = True  # its end is meant
    process.kill()
    wall_ns, run_time_ns, episodes = time.time_ns(), observatory.run_time_ns, len(observatory.open_episodes())
    observatory.picture.note(f"{service} killed with SIGKILL while {len(orders)} orders of episodes were in flight")
    await asyncio.sleep(DOWN_SECONDS)
    process.start()
    process.stopped = False
    await fleet.wait_ready((service,))
    return Killed(
        service=service,
        run_time_ns=run_time_ns,
        wall_ns=wall_ns,
        ready_wall_ns=time.time_ns(),
        open_episodes=episodes,
        orders=orders,
    )


def in_flight(observatory: Observatory) -> tuple[InFlight, ...]:
    """Orders of open episodes that are released or working."""
    return tuple(
        InFlight(one.episode, one.account, one.order, one.step, one.state, one.remaining)
        for one in observatory.episode_orders()
        if one.state in IN_FLIGHT
    )
