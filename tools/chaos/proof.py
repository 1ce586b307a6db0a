"""What must be true when everything is over: each acknowledged command once, none invented, all sums, one state."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.chain import AcceptedFrame, ChainRule
from libs.common.ids import SystemAccount, system_account, system_kind
from libs.common.parameters import Parameters
from libs.common.topics import JOURNAL
from services.risk_evaluation.app.fold import PartitionFold
from services.risk_evaluation.domain.model import build_model
from tools.audit.stored import Source
from tools.chaos.model import Outcome, PlainHouse, Sent

_SHOWN_MAX = 20
EXPIRED = ledger_pb2.REFUSAL_KEY_EXPIRED
_CASH, _LENT = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_SUPPLY_SHARES
_LIVE = frozenset(
    (
        ledger_pb2.ORDER_STATE_RESERVED,
        ledger_pb2.ORDER_STATE_RELEASED,
        ledger_pb2.ORDER_STATE_WORKING,
        ledger_pb2.ORDER_STATE_CANCELLING,
    )
)

Key = tuple[str, bytes, int, str]  # principal, session, number, unary key
Line = tuple[int, int, int]  # account, asset, LineKind


@dataclass(slots=True)
class Proof:
    """What was found wrong, in words, and what was counted."""

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def check(self, ok: bool, words: str) -> None:
        """Notes words unless ok; only the first few are kept."""
        if not ok:
            self.counts["wrong"] += 1
            if len(self.wrong) < _SHOWN_MAX:
                self.wrong.append(words)


@dataclass(slots=True)
class Journalled:
    """The journal of all partitions as its plain words say.

    Args:
        outcomes: by key, what was journalled: (refusal, subject, repeated, command).
        lines: balances that are not zero.
        orders: live ones, (account, lots).
        decided: reservations, True when settled.
        fingerprints: at the end of each partition, as risk's own fold has it, with the sequence.
        run_time_ns: highest.
    """

    outcomes: defaultdict[Key, list[tuple[int, int, bool, str]]] = field(default_factory=lambda: defaultdict(list))
    lines: dict[Line, int] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)
    orders: dict[int, tuple[int, int]] = field(default_factory=dict)
    decided: dict[int, bool] = field(default_factory=dict)
    pending: set[int] = field(default_factory=set)
    fingerprints: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    noise: Counter[str] = field(default_factory=Counter)
    epochs: dict[int, int] = field(default_factory=dict)

    def take(self, body: journal_pb2.JournalBody) -> None:
        """Adds a frame."""
        for outcome in body.outcomes:
            told = (outcome.refusal, outcome.subject, outcome.repeated, outcome.command)
            self.outcomes[_key(outcome)].append(told)
            for effect in outcome.effects:
                match effect.WhichOneof("effect"):
                    case "posting":
                        one = effect.posting
                        self.lines[one.account, one.asset, one.kind] = one.balance
                    case "account":
                        self.owners[effect.account.account] = effect.account.owner
                    case "order":
                        if effect.order.state in _LIVE:
                            self.orders[effect.order.order] = (effect.order.account, effect.order.lots)
                        else:
                            self.orders.pop(effect.order.order, None)
                    case "reservation":
                        self._reservation(effect.reservation)

    def _reservation(self, one: journal_pb2.Reservation) -> None:
        if one.state == ledger_pb2.RESERVATION_STATE_PENDING:
            self.pending.add(one.reservation)
            return
        self.pending.discard(one.reservation)
        self.decided[one.reservation] = one.state == ledger_pb2.RESERVATION_STATE_SETTLED


def _key(outcome: journal_pb2.Outcome) -> Key:
    return outcome.principal.id, outcome.session.session, outcome.session.n, outcome.client.key


async def journalled(source: Source, parameters: Parameters) -> Journalled:
    """The journal read to its end; risk's own fold raises when its fingerprint is not the ledger's (I13)."""
    found, model = Journalled(), build_model(parameters)
    for partition in range(parameters.partitions):
        rule, fold = ChainRule(), PartitionFold(partition=partition, model=model, session=bytes(16))
        async for stored in source.records(JOURNAL, partition):
            accepted = rule.take(offset=stored.offset, value=stored.value)
            if isinstance(accepted, AcceptedFrame):
                fold.apply(accepted)
                found.take(journal_pb2.JournalBody.FromString(accepted.body))
        found.fingerprints[partition] = (fold.sequence, fold.book.fingerprint)
        found.noise.update({reason.value: count for reason, count in rule.rejected.items()})
        found.epochs[partition] = rule.epoch
    return found


def prove(proof: Proof, sent: Sequence[Sent], journal: Journalled, *, own: Iterable[str]) -> None:
    """Checks what clients were told against the journal, and both against the plain model."""
    house = PlainHouse()
    known: set[Key] = set()
    for one in sent:
        key = (one.principal, one.session, one.n, one.key)
        known.add(key)
        _once(proof, one, journal.outcomes.get(key, []), journal.decided)
        house.take(one)
    principals = set(own)
    for key, told in journal.outcomes.items():
        proof.check(key in known or key[0] not in principals, f"invented: {key} {told[:2]}")
    proof.check(not journal.pending, f"{len(journal.pending)} reservations have no verdict")
    _same_house(proof, house, journal)


def _once(proof: Proof, one: Sent, told: Sequence[tuple[int, int, bool, str]], decided: Mapping[int, bool]) -> None:
    name = f"{one.name} of {one.principal} n {one.n} key {one.key}"
    proof.counts["commands"] += 1
    proof.counts["twice"] += one.twice
    proof.counts["again"] += one.again
    proof.check(bool(one.answers), f"{name}: never answered")
    if not one.answers:
        return
    answers = {answer for answer in one.answers if answer[0] != EXPIRED}
    proof.check(len(answers) <= 1, f"{name}: told {sorted(answers)}")
    first = [each for each in told if not each[2] and each[0] != EXPIRED]
    proof.counts["repetitions journalled"] += len(told) - len(first)
    if not answers:
        proof.counts["expired"] += 1
        proof.check(not first, f"{name}: told that its key had expired, and applied")
        return
    proof.check(len(first) == 1, f"{name}: told {sorted(answers)}, journalled {len(first)} times")
    if len(first) != 1:
        return
    refusal, subject = next(iter(answers))
    proof.counts["acknowledged"] += 1
    proof.counts["accepted"] += refusal == 0
    proof.check(first[0][3] == one.name, f"{name}: journalled as {first[0][3]}")
    if one.name in ("withdraw", "transfer") and not first[0][0]:
        proof.check(decided.get(subject) == (refusal == 0), f"{name}: told {refusal}, decided {decided.get(subject)}")
        proof.check(first[0][1] == subject, f"{name}: told {subject}, journalled {first[0][1]}")
    else:
        proof.check(first[0][:2] == (refusal, subject), f"{name}: told {(refusal, subject)}, journalled {first[0][:2]}")


def _same_house(proof: Proof, house: PlainHouse, journal: Journalled) -> None:
    """Accounts, cash, loans and orders are those of the plain model; everything sums to zero."""
    proof.check(house.owners == journal.owners, f"accounts: {len(house.owners)} told, {len(journal.owners)} journalled")
    proof.check(house.orders == journal.orders, f"orders: {len(house.orders)} told, {len(journal.orders)} journalled")
    wanted: dict[Line, int] = {(account, asset, _CASH): units for (account, asset), units in house.cash.items()}
    wanted |= {(account, asset, _LENT): units for (account, asset), units in house.lent.items()}
    held = {
        line: units
        for line, units in journal.lines.items()
        if units and (system_kind(line[0]) is None or line in wanted)  # of house accounts those that commands name
    }
    for line in sorted(held.keys() | wanted.keys()):
        have, want = held.get(line, 0), wanted.get(line, 0)
        proof.check(have == want, f"line {line}: the model has {want}, the ledger {have}")
    sums: Counter[tuple[int, int]] = Counter()
    for (_, asset, kind), units in journal.lines.items():
        sums[asset, kind] += units
    proof.check(not any(sums.values()), f"sums by asset and kind: {dict(sums)}")
    for asset, units in house.arrived.items():
        outside = -sum(journal.lines.get((one, asset, _CASH), 0) for one in _shards(SystemAccount.CUSTODY, journal))
        proof.check(outside == units, f"asset {asset}: {units} arrived in all, custody says {outside}")
        lent = sum(each for (_, one), each in house.lent.items() if one == asset)
        idle = sum(journal.lines.get((one, asset, _CASH), 0) for one in _shards(SystemAccount.POOL, journal, asset))
        proof.check(idle == lent, f"asset {asset}: {lent} lent in all, pools hold {idle}")


def _shards(kind: SystemAccount, journal: Journalled, index: int = 0) -> list[int]:
    return [system_account(kind, partition=one, index=index) for one in journal.fingerprints]


def window_told(answers: Sequence[Outcome]) -> str:
    """A key that was sent again, in words: "repeated", "expired", or what is neither."""
    if not answers:
        return "not answered"
    return "expired" if answers[-1][0] == EXPIRED else "repeated" if answers[-1] == answers[0] else "another outcome"
