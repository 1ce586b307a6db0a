"""The processes under attack, and the attacks."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from tools.broker.process import Broker, answers_metadata
from tools.chaos.plan import Attack
from tools.chaos.waiting import holds_within
from tools.demo.processes import Ports, Process, environment, free_ports, readiness

LEDGERS = ("ledger-a", "ledger-b")
GATEWAY = "gateway"
_READY_SECONDS_MAX = 60.0
_DEATH_SECONDS_MAX = 12.0
_TRIES = 4
_TRICKLE = 20  # commands a second that flow while a process is to reach its failpoint
_FAILPOINT = {
    Attack.ACKNOWLEDGED: ("acknowledged", 8),
    Attack.READ_BACK: ("read_back", 8),
    Attack.CHECKPOINT: ("checkpoint", 2),
    Attack.HEAD: ("head", 1),
}  # name, largest count


class Stuck(RuntimeError):
    """The ledger does not come back; says after what."""


class Arena:
    """Two ledgers, the gateway and the broker.

    Args:
        settings: of the ledgers, beyond those of every service.
        more: lets commands flow that wait for something to be under attack, and so many beyond.
        progress: returns when commands that wait now are answered; raises Stuck.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        directory: Path,
        config: Path,
        settings: dict[str, str],
        dice: Random,
        more: Callable[[int], None],
        progress: Callable[[str], Awaitable[None]],
    ) -> None:
        self.done: Counter[str] = Counter()
        self.restarts: Counter[str] = Counter()  # of processes that ended by themselves
        self._broker = broker
        self._directory = directory
        self._config = config
        self._settings = settings
        self._dice = dice
        self._more = more
        self._progress = progress
        self._paused: set[str] = set()  # the keeper leaves them alone
        self.processes = {name: self._ledger(name) for name in LEDGERS}
        self.processes[GATEWAY] = self._process(GATEWAY, "venue_gateway", {})

    def _ledger(self, name: str, *, failpoints: str = "") -> Process:
        settings = {**self._settings, "BALLAST_INSTANCE": name, "BALLAST_FAILPOINTS": failpoints}
        return self._process(name, "collateral_management", settings)

    def _process(self, name: str, module: str, settings: dict[str, str]) -> Process:
        ports = Ports(*free_ports(2))
        every = {
            "BALLAST_KAFKA_BOOTSTRAP": self._broker.bootstrap,
            "BALLAST_CONFIG_DIRECTORY": str(self._config),
            "BALLAST_HTTP_PORT": str(ports.http),
            "BALLAST_GRPC_PORT": str(ports.grpc),
        }
        command = [sys.executable, "-m", f"services.{module}"]
        return Process(name, command, environment({**every, **settings}), ports, self._directory / f"{name}.log")

    async def start(self) -> None:
        """Returns when all of them are ready. Raises Stuck."""
        for process in self.processes.values():
            process.start()
        deadline = time.monotonic() + _READY_SECONDS_MAX
        for name, process in self.processes.items():
            while not (await asyncio.to_thread(readiness, process.ports.url))[0]:
                if time.monotonic() > deadline:
                    raise Stuck(f"{name} is not ready within {_READY_SECONDS_MAX:.0f} s; see {process.log}")
                await asyncio.sleep(0.1)

    async def keep(self) -> None:
        """Starts again what ended by itself, as an orchestrator would."""
        while True:
            for name, process in list(self.processes.items()):
                if name not in self._paused and process.status is not None:
                    self.restarts[name] += 1
                    process.start()
            await asyncio.sleep(1.0)

    def stop(self) -> None:
        """Ends all of them."""
        for process in self.processes.values():
            process.kill()

    async def attack(self, attack: Attack) -> None:
        """Does it, and returns when the house has gone on. Raises Stuck."""
        deeds: dict[Attack, Callable[[], Awaitable[bool]]] = {
            Attack.KILL: self._kill,
            Attack.FREEZE: self._freeze,
            Attack.OVERLAP: self._overlap,
            Attack.BROKER: self._restart_broker,
            Attack.GATEWAY: self._kill_gateway,
        }
        if attack in _FAILPOINT:
            happened = await self._die_at(attack)
        else:
            happened = await deeds[attack]()
        self.done[attack.value] += happened
        await self._progress(attack.value)

    def _victim(self) -> str:
        return self._dice.choice(LEDGERS)

    async def _wait(self, most_s: float) -> None:
        await asyncio.sleep(self._dice.uniform(0.0, most_s))

    async def _kill(self) -> bool:
        await self._wait(0.5)
        return await self._replace(self._victim())

    async def _kill_gateway(self) -> bool:
        await self._wait(0.5)
        return await self._replace(GATEWAY)

    async def _replace(self, name: str, by: Process | None = None) -> bool:
        """Kills a process and starts another in its place; False when it was dead already."""
        self._paused.add(name)
        process = self.processes[name]
        was_alive = process.is_alive
        await asyncio.to_thread(process.kill)
        self._more(0)
        if by is not None:
            self.processes[name] = by
        self.processes[name].start()
        self._paused.discard(name)
        return was_alive

    async def _die_at(self, attack: Attack) -> bool:
        point, most = _FAILPOINT[attack]
        names = [self._victim()]
        names += [name for name in LEDGERS if name not in names]
        for name in names * (_TRIES >> 1):
            armed = self._ledger(name, failpoints=f"{point}:{self._dice.randint(1, most)}:kill")
            await self._replace(name, armed)
            self._paused.add(name)
            for _ in range(int(_DEATH_SECONDS_MAX)):
                self._more(_TRICKLE)
                if await holds_within(1.0, lambda armed=armed: armed.status is not None):  # type: ignore[misc]
                    break
            died = armed.status == -signal.SIGKILL
            await self._replace(name, self._ledger(name))
            if died:
                return True
        return False

    async def _freeze(self) -> bool:
        await self._wait(0.5)
        name = self._victim()
        self._paused.add(name)
        frozen = self.processes[name]
        if frozen.child is None or not frozen.is_alive:
            self._paused.discard(name)
            return False
        frozen.child.send_signal(signal.SIGSTOP)
        self._more(0)
        if self._dice.random() < 0.5:  # a replacement of the same name, at once; else the group finds out by itself
            self.processes[name] = self._ledger(name)
            self.processes[name].start()
            self._paused.discard(name)
        try:
            await self._progress(f"freeze of {name}")  # needs its partitions: they are another's by now
        finally:
            frozen.child.send_signal(signal.SIGCONT)
        await asyncio.sleep(self._dice.uniform(0.3, 1.5))  # the zombie tries
        if self.processes[name] is not frozen:
            await asyncio.to_thread(frozen.kill)
        self._paused.discard(name)
        return True

    async def _overlap(self) -> bool:
        await self._wait(0.5)
        name = self._victim()
        self._paused.add(name)
        first = self.processes[name]
        if not first.is_alive:
            self._paused.discard(name)
            return False
        second = self._ledger(name)
        second.start()
        self._more(0)
        await asyncio.sleep(self._dice.uniform(1.5, 3.5))
        await self._progress(f"overlap of {name}")
        stays, goes = (first, second) if self._dice.random() < 0.3 else (second, first)
        self.processes[name] = stays
        await asyncio.to_thread(goes.kill)
        self._paused.discard(name)
        return True

    async def _restart_broker(self) -> bool:
        await self._wait(0.5)
        number = self._dice.choice((signal.SIGKILL, signal.SIGTERM))
        self._more(0)
        await asyncio.to_thread(self._broker.interrupt, number)
        await self._wait(1.0)
        self._broker.resume()
        deadline = time.monotonic() + _READY_SECONDS_MAX
        while not await asyncio.to_thread(answers_metadata, self._broker.bootstrap):
            if time.monotonic() > deadline:
                raise Stuck(f"the broker is not back within {_READY_SECONDS_MAX:.0f} s")
            await asyncio.sleep(0.1)
        return True
