"""Commands in the name of services that no correct service sends: the ledger must refuse each of them by itself."""

from __future__ import annotations

import random

from ballast.events.v1 import commands_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from libs.common.book import PartitionBook
from libs.common.units import INDEX_ONE
from tools.simulate.house import BTC_PERP, USD
from tools.simulate.network import Node
from tools.simulate.setting import Sender, Setting

_LOTS = ledger_pb2.LINE_KIND_LOTS
_NEVER_IN_FORCE = 1_000


class Rogue:
    """Sends what must be refused, on streams of its own."""

    def __init__(self, setting: Setting, rng: random.Random) -> None:
        self._setting, self._rng = setting, rng
        self._node = Node("rogue", setting.network)
        self._senders = {
            name: Sender(self._node, setting, principal=name, session=rng.randbytes(16))
            for name in ("risk_evaluation", "liquidation_execution", "interest_accrual")
        }
        self._control_sequence = 0

    def act(self) -> str:
        """Tries something; says what."""
        partition = self._rng.choice(self._setting.house.partitions)
        book = self._setting.checker.books[partition]
        principal, command = self._try(book, self._citation(book))
        if command is None:
            return "the rogue finds nothing to do"
        self._node.spawn(self._send(principal, partition, command), "tries")
        return f"rogue {principal} {' '.join(str(command).split())}"

    async def _send(self, principal: str, partition: int, command: commands_pb2.Command) -> None:
        await self._senders[principal].send(partition, [command])

    def _citation(self, book: PartitionBook) -> commands_pb2.Citation:
        return commands_pb2.Citation(
            journal_sequence=book.sequence,
            mark_sequence=self._setting.marks_chain.frames,
            control_sequence=self._setting.control_chain.frames,
            mark_run_time_ns=self._setting.checker.run_time_ns,
        )

    def _try(self, book: PartitionBook, cited: commands_pb2.Citation) -> tuple[str, commands_pb2.Command | None]:
        tries = [self._step, self._verdict, self._index, self._resolve, self._open]
        self._rng.shuffle(tries)
        for attempt in tries:
            principal, command = attempt(book, cited)
            if command is not None:
                return principal, command
        return "", None

    def _step(self, book: PartitionBook, cited: commands_pb2.Citation) -> tuple[str, commands_pb2.Command | None]:
        """A step that would add to a position."""
        for one in book.episodes.values():
            held = book.lines_of(one.account).get((BTC_PERP, _LOTS), 0)
            side = market_pb2.SIDE_BUY if held >= 0 else market_pb2.SIDE_SELL
            order = commands_pb2.StepOrder(instrument=BTC_PERP, venue=1, side=side, lots=7, limit_price=1_000_000)
            body = commands_pb2.StepEpisode(
                account=one.account, episode=one.episode, step=one.step + 1, orders=[order], citation=cited
            )
            return "liquidation_execution", commands_pb2.Command(step_episode=body)
        return "", None

    def _verdict(self, book: PartitionBook, cited: commands_pb2.Citation) -> tuple[str, commands_pb2.Command | None]:
        """A verdict on parameters that are not in force, or on a state before what it judges."""
        for order in book.orders.values():
            if order.state == ledger_pb2.ORDER_STATE_RESERVED:
                body = commands_pb2.Verdict(account=order.account, order=order.order, settle=True)
                return "risk_evaluation", self._misjudged(body, cited, order.reserved_sequence)
        for one in book.reservations.values():
            body = commands_pb2.Verdict(account=one.account, reservation=one.reservation, settle=True)
            return "risk_evaluation", self._misjudged(body, cited, one.reserved_sequence)
        return "", None

    def _misjudged(
        self, body: commands_pb2.Verdict, cited: commands_pb2.Citation, reserved_sequence: int
    ) -> commands_pb2.Command:
        body.citation.CopyFrom(cited)
        if self._rng.random() < 0.5:
            body.citation.control_sequence += _NEVER_IN_FORCE
        else:
            body.citation.journal_sequence = max(0, reserved_sequence - 1)
        return commands_pb2.Command(verdict=body)

    def _index(self, book: PartitionBook, _: commands_pb2.Citation) -> tuple[str, commands_pb2.Command | None]:
        """A tick at which what is owed falls."""
        known = book.pools.get(USD)
        if known is None:
            return "", None
        home = 0 if book.partition == USD % self._setting.house.parameters.partitions else 1
        body = commands_pb2.SetIndex(
            asset=USD, tick=known.tick + 1, run_time_ns=known.run_time_ns + 1,
            borrow_index=known.borrow_index - 1 - self._rng.randrange(INDEX_ONE // 1000),
            supply_index=known.supply_index, overdraft_index=known.overdraft_index, home_sequence=home,
        )  # fmt: skip
        return "interest_accrual", commands_pb2.Command(set_index=body)

    def _resolve(self, book: PartitionBook, _: commands_pb2.Citation) -> tuple[str, commands_pb2.Command | None]:
        """A waterfall for an account that still has positions."""
        for one in book.episodes.values():
            if any(kind == _LOTS for _, kind in book.lines_of(one.account)):
                body = commands_pb2.ResolveShortfall(account=one.account, episode=one.episode)
                return "liquidation_execution", commands_pb2.Command(resolve_shortfall=body)
        return "", None

    def _open(self, book: PartitionBook, cited: commands_pb2.Citation) -> tuple[str, commands_pb2.Command | None]:
        """An episode of an account whose equity is at its maintenance margin."""
        for account in book.accounts:
            body = commands_pb2.OpenEpisode(account=account, equity=10, maintenance_margin=10, citation=cited)
            return "risk_evaluation", commands_pb2.Command(open_episode=body)
        return "", None
