"""Looks at every record the moment the broker takes it: invariants, and each acknowledged command applied once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from ballast.api.v1 import venue_pb2
from ballast.events.v1 import commands_pb2, interest_pb2, journal_pb2, market_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.commands import request_hash
from libs.common.errors import InvariantBroken
from libs.common.units import INDEX_ONE, PPM
from services.risk_evaluation.app.ports import Output
from tools.reconcile.checks import CHECKS, Check
from tools.reconcile.checks.pools import PoolsBalance
from tools.reconcile.records import CommandRecord, JournalFrame, Key, MarginRecord, MarkFrame, key_of
from tools.reconcile.world import World
from tools.simulate.house import House
from tools.simulate.judgement import Judgement
from tools.simulate.noticed import Noticed
from tools.simulate.plain_average import PlainAverages
from tools.simulate.plain_chain import Place
from tools.simulate.transit import Transit
from tools.simulate.venue import VenueModel
from tools.simulate.worth import Worth

FINDINGS_MAX = 10
# One cannot know from a refusal by key alone whether the command was applied before.
_BY_KEY = frozenset(
    (
        ledger_pb2.REFUSAL_KEY_EXPIRED,
        ledger_pb2.REFUSAL_KEY_REUSED,
        ledger_pb2.REFUSAL_TOO_MANY_KEYS,
        ledger_pb2.REFUSAL_GAP,
    )
)
_AT_REST = (ledger_pb2.ORDER_STATE_WORKING,)
_CITED = frozenset(("verdict", "open_episode", "step_episode", "close_episode"))
_BASED = frozenset(("take_over_position", "deleverage"))


@dataclass(frozen=True, slots=True)
class Finding:
    """What broke."""

    invariant: str
    detail: str


class Checker:
    """The witness of one world; nothing that runs in the world can see it."""

    def __init__(self, house: House, *, parameters_hash: bytes) -> None:
        parameters = house.parameters
        self.findings: list[Finding] = []
        self.counts: Counter[str] = Counter()
        self.books = [PartitionBook(one) for one in range(parameters.partitions)]
        self.run_time_ns = 0
        self._parameters = parameters
        self._world = World(parameters, parameters_hash=parameters_hash)
        self._pools = PoolsBalance(self._world)
        self._transit = Transit(lambda asset, tick: self._world.rates[asset, tick])
        self._checks: dict[str, Check] = {name: make(self._world) for name, make in CHECKS.items()}
        self._checks["I2"] = self._pools
        self._told = dict.fromkeys(self._checks, 0)
        self._averages = PlainAverages(parameters, found=self.found)
        self._noticed = Noticed(house, found=self.found)
        self._judgement = Judgement(self._world, found=self.found)
        self._worth = [Worth(one, parameters, self.found) for one in range(parameters.partitions)]
        self._batches: list[list[commands_pb2.CommandBatch | None]] = [[] for _ in self.books]
        self._taken: list[tuple[int, int]] = [(0, 0) for _ in self.books]  # the next command the journal must have
        self._sent: defaultdict[Key, set[bytes]] = defaultdict(set)
        self._first: dict[Key, journal_pb2.Outcome] = {}
        self._acknowledged: dict[Key, tuple[int, int]] = {}  # by request: refusal, subject
        self._said: defaultdict[Key, set[tuple[int, int]]] = defaultdict(set)
        self._fills: defaultdict[int, list[journal_pb2.Fill]] = defaultdict(list)
        self._streams: defaultdict[tuple[int, str], int] = defaultdict(int)
        self._journal_time_ns = 0
        self._topped_up: defaultdict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))  # by asset: units, ticks
        self._ticks: dict[tuple[int, int], tuple[int, int]] = {
            (pool.asset, 0): (INDEX_ONE, INDEX_ONE) for pool in parameters.pools
        }  # borrow and supply index by asset and tick, as the home partition has them

    def found(self, invariant: str, detail: str) -> None:
        """Something is wrong."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(invariant, detail))

    # what processes send

    def sent(self, partition: int, command: commands_pb2.Command, *, by: str) -> None:
        """A process sends a command, for the first time or again."""
        self._sent[key_of(partition, command)].add(request_hash(command))
        self.counts["sent"] += 1
        batch = commands_pb2.CommandBatch(commands=[command])
        self._world.take_commands(CommandRecord(partition, batch, {}))

    def judged(self, output: Output) -> None:
        """Risk lets something out: what it stands on must be what the journal says."""
        if output.frame is None:
            return
        for command in output.commands:  # cited figures are kept only when the citation is known before them
            batch = commands_pb2.CommandBatch(commands=[command])
            self._world.take_commands(CommandRecord(output.partition, batch, {}))
        self._world.take_margin(MarginRecord(output.frame))
        self._judgement.output(output, self.books[output.partition])

    def rates(self, decisions: Sequence[interest_pb2.RateDecision]) -> None:
        """Interest gives its reasons: lenders get no more than borrowers pay."""
        for one in decisions:
            self._world.rates[one.asset, one.tick].append(one)
            last = self._proposed(one.asset, one.tick - 1, decisions) or self._ticks.get((one.asset, one.tick - 1))
            if last is None:
                continue
            paid = one.debt_shares * (one.borrow_index - last[0])
            earned = one.supply_shares * (one.supply_index - last[1])
            reserve = next(pool.reserve_factor for pool in self._parameters.pools if pool.asset == one.asset)
            if earned * PPM > paid * (PPM - reserve):
                self.found("I2", f"tick {one.tick} of pool {one.asset}: lenders get {earned}, borrowers pay {paid}")

    @staticmethod
    def _proposed(asset: int, tick: int, decisions: Sequence[interest_pb2.RateDecision]) -> tuple[int, int] | None:
        found = (one for one in decisions if (one.asset, one.tick) == (asset, tick))
        return next(((one.borrow_index, one.supply_index) for one in found), None)

    def acknowledged(self, partition: int, command: commands_pb2.Command, outcome: journal_pb2.Outcome) -> None:
        """A client has its answer."""
        self.counts["acknowledged"] += 1
        if outcome.refusal not in _BY_KEY:
            key = _request(partition, command, outcome)
            said = (outcome.refusal, outcome.subject)
            if self._acknowledged.setdefault(key, said) != said:
                self.found("once", f"{key} is answered {self._acknowledged[key]} and then {said}")
            if said not in self._said[key]:
                self.found("once", f"{key} is answered {said}, on record is {self._said[key]}")

    def order_out(self, order: venue_pb2.NewOrder, venue: str) -> None:
        """An order arrives at a venue: it must have been released by the journal."""
        states = {one.state for one in self._orders(order.order)}
        if ledger_pb2.ORDER_STATE_RELEASED not in states:
            self.found("I3", f"order {order.order} is out at {venue}, its states were {sorted(states)}")
        self.counts["orders out"] += 1

    def _orders(self, order: int) -> Sequence[journal_pb2.Order]:
        return self._judgement.orders[order]

    # what the broker takes

    def commands(self, partition: int, offset: int, value: bytes) -> None:
        """A record of the commands."""
        try:
            self._batches[partition].append(commands_pb2.CommandBatch.FromString(value))
        except DecodeError:
            self._batches[partition].append(None)

    def marks(self, place: Place) -> None:
        """A frame of the marks."""
        frame = place.frame
        body = market_pb2.MarksBody.FromString(frame.body)
        self._world.marks.take(MarkFrame(frame.sequence, frame.run_time_ns, body))
        self._averages.take(frame.run_time_ns, body)
        self.run_time_ns = frame.run_time_ns
        self.counts["marks"] += 1

    def control(self, place: Place) -> None:
        """A frame of the control log."""
        self.counts["control"] += 1

    def journal(self, partition: int, place: Place) -> None:
        """A frame of a journal: all that it did is looked at now."""
        frame, book = place.frame, self.books[partition]
        body = journal_pb2.JournalBody.FromString(frame.body)
        where = f"partition {partition} frame {frame.sequence}"
        try:
            book.apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)
        except InvariantBroken as broken:
            self.found(broken.number, f"{where}: {broken}")
            return
        self._journal_time_ns = frame.run_time_ns
        commands = list(self._consumed(partition, (frame.input_offset, frame.input_index)))
        if len(commands) != len(body.outcomes):
            self.found("once", f"{where}: {len(body.outcomes)} outcomes of {len(commands)} commands")
        for command, outcome in zip(commands, body.outcomes, strict=False):
            self._outcome(where, partition, command, outcome, frame.sequence, frame.control_sequence)
        seen = JournalFrame(partition, frame.sequence, frame.run_time_ns, frame.control_sequence, body)
        for check in self._checks.values():
            check.frame(seen, book)
        self._judgement.frame(partition, body)
        self._tell()

    def _consumed(self, partition: int, upto: tuple[int, int]) -> Iterator[commands_pb2.Command]:
        """Commands from after the last frame's position up to this one's, as the broker has them."""
        offset, index = self._taken[partition]
        batches = self._batches[partition]
        while (offset, index) <= upto and offset < len(batches):
            batch = batches[offset]
            if batch is not None and index < len(batch.commands):
                yield batch.commands[index]
                index += 1
            else:
                offset, index = offset + 1, 0
        self._taken[partition] = (upto[0], upto[1] + 1)

    def _outcome(
        self,
        where: str,
        partition: int,
        command: commands_pb2.Command,
        outcome: journal_pb2.Outcome,
        sequence: int,
        control_sequence: int,
    ) -> None:
        key = key_of(partition, command)
        where = f"{where} {outcome.command} {key[1:]}"
        self.counts["outcomes"] += 1
        if key != key_of(partition, outcome) or request_hash(command) != outcome.request_hash:
            self.found("once", f"{where}: the outcome is of another command, {key_of(partition, outcome)}")
        if outcome.request_hash not in self._sent[key]:
            self.found("once", f"{where}: nobody sent that")
        self._said[_request(partition, command, outcome)].add((outcome.refusal, outcome.subject))
        if outcome.repeated or outcome.refusal:
            self._without_effect(where, key, outcome)
            return
        self.counts["applied"] += 1
        self.counts[outcome.command] += 1
        if command.HasField("fact"):
            mark = self._streams[partition, command.fact.stream]
            if command.fact.previous != mark or command.fact.sequence <= mark:
                self.found("once", f"{where}: applied after fact {mark}")
            self._streams[partition, command.fact.stream] = command.fact.sequence
        elif key in self._first and not self._is_free_again(key):
            self.found("once", f"{where}: applied before, subject {self._first[key].subject}")
        self._first[key] = outcome
        for effect in outcome.effects:
            if effect.HasField("pool_index"):
                tick = effect.pool_index
                self._ticks.setdefault((tick.asset, tick.tick), (tick.borrow_index, tick.supply_index))
            elif effect.HasField("fill"):
                self._fills[effect.fill.order].append(effect.fill)
        if command.HasField("venue_event"):
            self._noticed.take(where, partition, command.venue_event)
        self._cites(where, command, sequence, control_sequence)
        if command.set_index.top_up_units and not command.set_index.home_sequence:
            units, times = self._topped_up[command.set_index.asset]
            self._topped_up[command.set_index.asset] = units + command.set_index.top_up_units, times + 1
        self._transit.take(partition, sequence, outcome)
        self._worth[partition].take(where, command, outcome, now_ns=self._journal_time_ns)

    def _is_free_again(self, key: Key) -> bool:
        """A client's key is forgotten beyond the horizon; a refusal by key was never remembered."""
        first = self._first[key]
        horizon_ns = self._parameters.ledger.key_horizon_ns
        return first.HasField("client") and self._journal_time_ns - first.client.issued_at_ns > horizon_ns

    def _without_effect(self, where: str, key: Key, outcome: journal_pb2.Outcome) -> None:
        if outcome.effects:
            self.found("once", f"{where}: a refusal or repetition has effects")
        if not outcome.repeated or outcome.WhichOneof("key") == "fact":
            if outcome.refusal and outcome.refusal not in _BY_KEY:
                first = self._first.get(key)
                if first is not None and not first.refusal and not self._is_free_again(key):
                    self.found("once", f"{where}: applied before, now refused with {outcome.refusal}")
                self._first[key] = outcome
            if outcome.refusal == ledger_pb2.REFUSAL_INTERNAL:
                self.found("internal", f"{where}: {outcome.detail}")
            return
        first = self._first.get(key)
        if first is None or (first.refusal, first.subject) != (outcome.refusal, outcome.subject):
            self.found("once", f"{where}: repeats what it never said: {outcome.refusal} {outcome.subject}")

    def _cites(self, where: str, command: commands_pb2.Command, sequence: int, control_sequence: int) -> None:
        which = command.WhichOneof("body") or ""
        if which not in _CITED | _BASED:
            return
        body = getattr(command, which)
        cited = body.basis if which in _BASED else body.citation
        if cited.control_sequence != control_sequence:
            self.found("I12", f"{where}: cites control {cited.control_sequence}, in force is {control_sequence}")
        if cited.journal_sequence >= sequence:
            self.found("I9", f"{where}: cites a state that is not there yet")

    def _tell(self) -> None:
        for name, check in self._checks.items():
            while self._told[name] < min(check.findings.count, len(check.findings.shown)):
                self.found(name, check.findings.shown[self._told[name]])
                self._told[name] += 1

    def unfinished(self) -> list[str]:
        """What has not come to its end yet."""
        found = []
        for book in self.books:
            found += [f"reservation {one.reservation}" for one in book.reservations.values()]
            found += [f"episode {one.episode} step {one.step}" for one in book.episodes.values()]
            found += [
                f"order {one.order} in state {one.state}" for one in book.orders.values() if one.state not in _AT_REST
            ]
            found += [f"movement {one.sequence} to {one.to_partition}" for one in book.movements.values()]
            found += [f"entity {one.entity} on its way out" for one in book.moves.values()]
            found += [f"capital asked for episode {one.episode}" for one in book.asks.values()]
            found += [f"sweep {kind} of {subject}" for kind, subject in book.lifecycle.sweeps]
        return found + self._owing()

    def _owing(self) -> list[str]:
        """Pools whose last tick is not everywhere, or that owe more than they have: the next tick tops them up."""
        found = []
        for pool in self._parameters.pools:
            shards = [self._pools.shards[book.partition, pool.asset] for book in self.books]
            if len({one.tick for one in shards}) > 1 or self._left_15(pool.asset) < 0:
                found.append(f"pool {pool.asset}")
        return found

    def _left_15(self, asset: int) -> int:
        return sum(self._pools.shards[book.partition, asset].left_over_15 for book in self.books)

    # the end

    def finish(self, venues: Iterable[VenueModel]) -> None:
        """The end: nothing is forgotten, and the venues have the same trades."""
        for check in self._checks.values():
            check.finish(dict(enumerate(self.books)))
        self._tell()
        for worth in self._worth:
            worth.finish()
        for asset, (units, times) in self._topped_up.items():
            self.counts["ticks topped up"] += times
            if (units - times) * INDEX_ONE > self._transit.allowed_15[asset]:
                self.found("I2", f"the house pays {units} into pool {asset}, shares in transit explain less")
        traded: defaultdict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
        for venue in venues:
            self._noticed.finish(venue.venue.id, venue.notices.said)
            for trade in venue.trades:
                traded[trade.order].append((trade.lots, trade.price, trade.fee_units, trade.executed_at_ns))
        for order in sorted(traded.keys() | self._fills.keys()):
            ours = sorted((one.lots, one.price, one.fee_units, one.executed_at_ns) for one in self._fills[order])
            if ours != sorted(traded[order]):
                theirs = sorted(traded[order])
                self.found("once", f"order {order}: the venue has fills {theirs}, the journal {ours}")
        for book in self.books:
            for one in book.episodes.values():
                self.found("ends", f"episode {one.episode} of account {one.account} is open, step {one.step}")
        self.counts["settlement prices"] += self._averages.published
        self.counts["margins checked"] += self._judgement.margins_checked
        self.counts["verdicts checked"] += self._judgement.verdicts_checked


def _request(partition: int, command: commands_pb2.Command, outcome: journal_pb2.Outcome) -> Key:
    """Identity of a request under its key: a key of a client's may be used again, for another time or request."""
    return (*key_of(partition, command), outcome.client.issued_at_ns, outcome.request_hash)
