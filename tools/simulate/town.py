"""Who runs where: processes of every service, which die, are replaced, stand still, and for a while run twice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ballast.events.v1 import control_pb2
from libs.common.chain import ChainRule, Draft
from tools.simulate.clients import Clients
from tools.simulate.decider_nodes import InterestNode, LiquidationNode
from tools.simulate.gateway_node import GatewayNode
from tools.simulate.house import PARAMETERS_HASH
from tools.simulate.ledger_node import LedgerNode
from tools.simulate.market import Market
from tools.simulate.network import Network, Node
from tools.simulate.prices_node import PricesNode
from tools.simulate.risk_node import RiskNode
from tools.simulate.rogue import Rogue
from tools.simulate.setting import Setting
from tools.simulate.staff import Staff
from tools.simulate.venue import VenueModel

_RESTART_SECONDS = (0.2, 1.5)
N = TypeVar("N", bound=Node)


class Post(Generic[N]):
    """A place that one process fills at a time; one that stands still is replaced, and may wake up beside it."""

    def __init__(self, name: str, network: Network, make: Callable[[str], N]) -> None:
        self.name = name
        self.node: N | None = None
        self.zombies: list[N] = []
        self.all_there = True
        self.crashes = 0
        self._network, self._make = network, make
        self._numbers = itertools.count(1)
        self.fill()

    def fill(self) -> None:
        """A new process takes the place."""
        if self.node is None and self.all_there:
            self.node = self._make(f"{self.name}.{next(self._numbers)}")

    def crash(self) -> None:
        """The process dies; another comes a while later."""
        if self.node is not None:
            self._network.trace(f"{self.node.name} dies")
            self.crashes += 1
            self.node.crash()
            self.node = None
            asyncio.get_running_loop().call_later(self._network.rng.uniform(*_RESTART_SECONDS), self.fill)

    def freeze(self, seconds: float, *, replaced: bool) -> None:
        """The process stands still for a while; when it is replaced, it wakes up as a zombie, and dies in the end."""
        node, loop = self.node, asyncio.get_running_loop()
        if node is None or node.is_frozen:
            return
        self._network.trace(f"{node.name} stands still for {seconds:.1f} s{', replaced' if replaced else ''}")
        node.freeze()
        loop.call_later(seconds, node.thaw)
        if replaced:
            self.zombies.append(node)
            self.node = None
            self.fill()
            loop.call_later(seconds + self._network.rng.uniform(0.5, 3.0), self._bury, node)

    def _bury(self, node: N) -> None:
        if node in self.zombies:
            self.zombies.remove(node)
            node.crash()

    def end(self) -> None:
        """Nobody comes any more."""
        self.all_there = False
        for node in (*self.zombies, self.node):
            if node is not None:
                node.crash()


class Town:
    """Everything that runs, and everybody who deals with it."""

    def __init__(self, setting: Setting) -> None:
        network, rng = setting.network, setting.network.rng
        self.setting = setting
        self.market = Market(rng, setting.house)
        self.run_jump_ns = 0
        skew_ns = round(network.doses.skew_s * 1e9)
        self.venues = [
            VenueModel(
                one, setting.house, self.market, rng, run_clock_ns=self.run_clock_ns,
                skew_ns=rng.randint(-skew_ns, skew_ns), order_out=setting.checker.order_out,
            )
            for one in setting.house.directory.venue_by_id.values()
        ]  # fmt: skip
        self.prices = Post("prices", network, lambda n: PricesNode(n, setting, self.market, self.run_clock_ns))
        self.ledgers = [Post(f"ledger-{i}", network, lambda n: LedgerNode(n, setting)) for i in range(2)]
        self.risks = [Post(f"risk-{i}", network, lambda n: RiskNode(n, setting)) for i in range(2)]
        self.liquidation = Post("liquidation", network, lambda n: LiquidationNode(n, setting, self.risk_of))
        self.interest = Post("interest", network, lambda n: InterestNode(n, setting))
        self.gateway = Post("gateway", network, lambda n: GatewayNode(n, setting, self.venues))
        self.posts: list[Post[Any]] = [
            self.prices, *self.ledgers, *self.risks, self.liquidation, self.interest, self.gateway,
        ]  # fmt: skip
        self.clients = Clients(setting, self.market, rng, self._reached)
        self.staff = Staff(self.clients, rng, setting.house)
        self.clients.terms = self.staff.wish
        self.rogue = Rogue(setting, rng)
        self.ledger_of = [one % 2 for one in setting.house.partitions]
        self.risk_of_partition = [one % 2 for one in setting.house.partitions]
        self._control = (ChainRule(), Draft(owner=rng.randbytes(16), input_topic_id=b""))

    def run_clock_ns(self) -> int:
        """The run clock: it goes with virtual time, and jumps now and then."""
        return (
            int(self.setting.house.parameters.genesis_ns) + self.run_jump_ns + int(self.setting.network.now_s() * 1e9)
        )

    def _reached(self) -> GatewayNode | None:
        node = self.gateway.node
        return None if node is None or node.is_frozen else node

    def risk_of(self, partition: int) -> RiskNode | None:
        """Whom liquidation asks."""
        post = self.risks[self.risk_of_partition[partition]]
        return post.node

    async def keep_assigned(self) -> None:
        """What the groups do: a moment after anything changed, every process has its partitions."""
        seen: dict[str, tuple[Node | None, set[int]]] = {}
        while True:
            for number, ledger in enumerate(self.ledgers):
                wanted = {one for one in self.setting.house.partitions if self.ledger_of[one] == number}
                if seen.get(ledger.name) != (ledger.node, wanted):
                    seen[ledger.name] = (ledger.node, wanted)
                    if ledger.node is not None and not ledger.node.is_dead:
                        ledger.node.spawn(ledger.node.assign(wanted), "assigned")
            for number, risk in enumerate(self.risks):
                wanted = {one for one in self.setting.house.partitions if self.risk_of_partition[one] == number}
                if seen.get(risk.name) != (risk.node, wanted):
                    seen[risk.name] = (risk.node, wanted)
                    if risk.node is not None:
                        risk.node.assign(wanted)
            await asyncio.sleep(0.1)

    def reassign(self) -> str:
        """A partition goes to another process; the one before is told a moment later, or while the other begins."""
        rng = self.setting.network.rng
        of = rng.choice((self.ledger_of, self.risk_of_partition))
        partition = rng.choice(self.setting.house.partitions)
        of[partition] = 1 - of[partition]
        what = "ledger" if of is self.ledger_of else "risk"
        return f"{what} of partition {partition} goes to {what}-{of[partition]}"

    def activate(self) -> str:
        """The parameters are put in force, once more: the control log moves."""
        log, chain = self.setting.control, self.setting.control_chain
        rule, draft = self._control
        bodies = [control_pb2.ControlBody(activate_parameters=control_pb2.ActivateParameters(hash=PARAMETERS_HASH))]
        if not log.records:
            claim = draft.claim(rule)
            rule.take(offset=log.append(claim.value), value=claim.value)
            draft.begin(rule)
            whole = control_pb2.ParameterSet(hash=PARAMETERS_HASH, canonical_json="{}")
            bodies.insert(0, control_pb2.ControlBody(parameter_set=whole))
        for body in bodies:
            drafted = draft.frame(
                body.SerializeToString(), input_position=(-1, 0), run_time_ns=0, control_sequence=draft.sequence + 1
            )
            draft.commit(drafted)
            rule.take(offset=log.append(drafted.value), value=drafted.value)
        return f"control is at {chain.frames}"

    def end(self) -> None:
        """Every process ends."""
        for post in self.posts:
            post.end()
