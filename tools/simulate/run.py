"""One seed: a town with its faults, some steps, then peace, in which everything must come to its end."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from libs.common.errors import InvariantBroken
from libs.common.units import SECOND_NS
from services.collateral_management.domain import sweeps
from services.liquidation_execution.app import resort
from tools.simulate.checker import Checker, Finding
from tools.simulate.clock import run_virtual
from tools.simulate.doses import Doses
from tools.simulate.house import PARAMETERS_HASH, house_of
from tools.simulate.network import Log, Network, Node, is_expected
from tools.simulate.setting import Setting, new_setting
from tools.simulate.town import Post, Town

STEPS = 120
_SETTLE_IN_SECONDS_MAX = 30.0
_FIRST_TRADES_SECONDS = 1.0
_PEACE_SECONDS_MAX = 90.0
_LOOK_SECONDS = 0.5
_POISON = b"\xff\xff no message"

Trace = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What a seed came to; `steps` were taken before the first finding."""

    seed: int
    doses: Doses
    findings: tuple[Finding, ...]
    counts: Counter[str]
    steps: int
    virtual_s: float

    @property
    def ok(self) -> bool:
        """Nothing broke."""
        return not self.findings


class _Seed:
    """The scheduler of one seed."""

    def __init__(self, seed: int, *, steps: int, trace: Trace | None) -> None:
        self._rng = random.Random(seed)
        self._steps = steps
        self._write = trace
        self.doses = Doses.draw(self._rng)
        self._house = house_of(self.doses.partitions, is_wide=self.doses.is_wide)
        self.checker = Checker(self._house, parameters_hash=PARAMETERS_HASH)
        self.taken = 0
        self._network = Network(self._rng, Doses.calm(), self._stopped, self._trace)
        self._town: Town | None = None

    def _trace(self, text: str) -> None:
        if self._write is not None:
            self._write(f"{self._network.now_s():9.4f}  {text}")

    def _stopped(self, node: Node, error: BaseException) -> None:
        self._trace(f"{node.name} stops: {type(error).__name__}: {error}")
        if isinstance(error, InvariantBroken):
            self.checker.found(error.number, f"{node.name} stops: {error}")
        elif not is_expected(error):
            self.checker.found("crash", f"{node.name} stops: {type(error).__name__}: {error}")
        post = self._post_of(node)
        if post is not None and post.node is node:
            post.crash()

    def _post_of(self, node: Node) -> Post[Any] | None:
        posts = self._town.posts if self._town is not None else []
        return next((one for one in posts if one.node is node), None)

    async def play(self) -> None:
        """Everything, until something is found."""
        setting = new_setting(self._house, self._network, self.checker)
        self._watch(setting.commands + setting.journals)
        town = self._town = Town(setting)
        town.activate()
        keeping = asyncio.create_task(town.keep_assigned())
        town.clients.open_up()
        await self._until(lambda: ["clients"] * town.clients.waiting, _SETTLE_IN_SECONDS_MAX, "settling in")
        await asyncio.sleep(_FIRST_TRADES_SECONDS)
        self._network.doses = self.doses
        self._trace(str(self.doses))
        while self.taken < self._steps and not self.checker.findings:
            self.taken += 1
            self._trace(f"step {self.taken}: {self._step(town)}")
            await asyncio.sleep(self._rng.random() * self.doses.pace_s)
        await self._peace(town)
        self._count(setting, town)
        town.end()
        keeping.cancel()

    def _count(self, setting: Setting, town: Town) -> None:
        chains = [*setting.journal_chains, setting.marks_chain]
        self.checker.counts["claims"] = sum(one.epoch for one in chains)
        self.checker.counts["noise"] = sum(one.noise for one in chains)
        self.checker.counts["crashes"] = sum(one.crashes for one in town.posts)

    def _watch(self, logs: list[Log]) -> None:
        """Every record that the broker takes is told in the trace."""
        if self._write is None:
            return
        for log in logs:
            log.watchers.append(partial(self._arrived, log.name))

    def _arrived(self, log: str, offset: int, value: bytes) -> None:
        self._trace(f"{log} @{offset}: {len(value)} bytes")

    def _step(self, town: Town) -> str:
        rng, doses = self._rng, self._network.doses
        if rng.random() < doses.crash:
            post = rng.choice(town.posts)
            post.crash()
            return f"{post.name} dies"
        if rng.random() < doses.freeze:
            post = rng.choice(town.posts)
            post.freeze(rng.uniform(0.3, 8.0), replaced=rng.random() < 0.6)
            return f"{post.name} stands still"
        if rng.random() < doses.reassign:
            return town.reassign()
        if rng.random() < doses.seized:
            return rng.choice(town.venues).act()
        if rng.random() < doses.dry:
            for venue in town.venues:
                venue.lots_shown = 0
            town.market.leap()
            return f"venues show nothing, and price is {town.market.price}"
        if rng.random() < doses.turned:
            return town.staff.turn(self.checker.books)
        chance = rng.random()
        if chance < 0.55:
            return town.clients.act() if rng.random() < 0.87 else town.staff.act(self.checker.books)
        if chance < 0.75:
            town.market.walk(crisis=doses.crisis)
            return f"price is {town.market.price}"
        if chance < 0.80:
            return town.market.disturb()
        if chance < 0.89:
            return town.rogue.act()
        return self._odd(town)

    def _odd(self, town: Town) -> str:
        rng = self._rng
        match rng.randrange(7):
            case 0:
                return town.activate()
            case 1:
                gateway, venue = town.gateway.node, rng.choice(town.venues)
                if gateway is not None:
                    gateway.disconnect(venue.venue.name)
                return f"{venue.venue.name} is cut off"
            case 2:
                town.run_jump_ns += rng.randint(1, 12) * SECOND_NS
                return "the run clock jumps"
            case 3:
                for venue in town.venues:
                    venue.lots_shown = rng.choice((0, 50, 500, 5_000))
                return "depth changes"
            case 4:
                rng.choice(town.setting.commands).append(_POISON)
                return "a poisonous record of commands"
            case 5:
                client = rng.choice(town.clients.everyone)
                if client.accounts:
                    asset, units = rng.choice(((1, 5_000 * 10**6), (2, 10**7)))
                    town.clients.deposit(rng.choice(client.accounts), asset, rng.randint(1, units))
                return f"a deposit for {client.name}"
        return "nothing"

    async def _peace(self, town: Town) -> None:
        """No more faults: every order, question and episode comes to its end."""
        self._network.doses = replace(Doses.calm(), drift=self.doses.drift, skew_s=self.doses.skew_s)
        town.market.settle()
        town.staff.at_peace(self.checker.books)
        if self.doses.ends:
            left_ns = max(self._house.endings_ns, default=0) - town.run_clock_ns()
            town.run_jump_ns += max(0, left_ns) + SECOND_NS
        for venue in town.venues:
            venue.lots_shown, venue.is_prompt = 20_000, True
        self._trace("peace")
        await self._until(lambda: self._unfinished(town), _PEACE_SECONDS_MAX, "peace")
        if not self.checker.findings:
            self.checker.finish(town.venues)

    def _unfinished(self, town: Town) -> list[str]:
        found = self.checker.unfinished()
        found += [f"reports of {one.venue.name}" for one in town.venues if not one.is_settled]
        for one in self._house.parameters.instruments if self.doses.ends else ():
            if one.closes_ns and not all(one.id in book.lifecycle.listings for book in self.checker.books):
                found.append(f"{one.symbol} has not ended")
        if found and (liquidation := town.liquidation.node) is not None:
            found.append(f"liquidation waits for {liquidation.meter.waiting}")
        return found + ["questions of clients"] * bool(town.clients.waiting)

    async def _until(self, unfinished: Callable[[], list[str]], seconds: float, what: str) -> None:
        deadline = self._network.now_s() + seconds
        while (left := unfinished()) and not self.checker.findings:
            if self._network.now_s() > deadline:
                self.checker.found("ends", f"{what} takes more than {seconds:.0f} s: {', '.join(left)[:300]}")
                return
            await asyncio.sleep(_LOOK_SECONDS)


@contextmanager
def _quiet() -> Iterator[None]:
    """What services say to operators is not shown: the seed finds it all."""
    logger = logging.getLogger("ballast")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _small(doses: Doses) -> Iterator[None]:
    """Batches of few accounts, and a patience of seconds: a town is too small and short-lived for those of services."""
    before = sweeps.ACCOUNTS_MAX, resort.PATIENCE_NS
    sweeps.ACCOUNTS_MAX, resort.PATIENCE_NS = doses.batch, 2 * SECOND_NS
    try:
        yield
    finally:
        sweeps.ACCOUNTS_MAX, resort.PATIENCE_NS = before


def play(seed: int, *, steps: int = STEPS, trace: Trace | None = None) -> Result:
    """What becomes of a seed."""
    one = _Seed(seed, steps=steps, trace=trace)
    with _quiet(), _small(one.doses):
        virtual_s = run_virtual(one.play())
    return Result(seed, one.doses, tuple(one.checker.findings), one.checker.counts, one.taken, virtual_s)
