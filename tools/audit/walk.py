"""One partition's journal, record by record: the first thing that is not as it must be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from ballast.events.v1 import chain_pb2, journal_pb2, notary_pb2
from libs.common.book import PartitionBook
from libs.common.chain import AcceptedClaim, AcceptedFrame, ChainBroken, ChainRule, Rejected, Rejection
from libs.common.errors import InvariantBroken
from libs.common.signing import Standing
from libs.common.topics import JOURNAL
from tools.audit.stored import Stored
from tools.reconcile.records import JournalFrame

# Told a frame that holds so far; returns (invariant, words) of what does not hold, empty when all does.
Conservation = Callable[[JournalFrame, PartitionBook], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where an audit found something that is not as it must be.

    Args:
        topic, partition, offset: of the record; partition and offset -1 for what no single record shows.
        sequence: of the frame, 0 where there is none.
        invariant: of docs/invariants.md.
    """

    topic: str
    partition: int
    offset: int
    sequence: int
    invariant: str
    detail: str

    def __str__(self) -> str:
        if self.offset < 0 and self.partition < 0:
            return f"{self.topic}: {self.invariant}: {self.detail}"
        at = f"{self.topic} partition {self.partition}, offset {self.offset}"
        return f"{at}, sequence {self.sequence}: {self.invariant}: {self.detail}"


class Differs(Exception):
    """The walk of a partition ends here."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A head that was published.

    Args:
        offset: of its record on the notary's topic, or on that of checkpoints.
    """

    head: notary_pb2.JournalHead
    standing: Standing
    offset: int
    of_checkpoint: bool = False

    @property
    def words(self) -> str:
        """What it is."""
        return f"the checkpoint at offset {self.offset}" if self.of_checkpoint else f"a head, {self.standing.value},"


class Walk:
    """Takes the records of one partition.

    Args:
        heads: published heads of this partition, of whatever standing.
        conserves: looks at each frame after it is folded.
    """

    def __init__(self, partition: int, *, heads: Sequence[KnownHead], conserves: Conservation) -> None:
        self.partition = partition
        self.rule = ChainRule()
        self.book = PartitionBook(partition)
        self.records = self.claims = 0
        self.signed_up_to = self.known_up_to = 0
        self._conserves = conserves
        self._heads: defaultdict[int, list[KnownHead]] = defaultdict(list)
        for each in heads:
            self._heads[each.head.sequence].append(each)
        self._lines: dict[tuple[int, int, int], tuple[int, int]] = {}  # balance, version
        self._suspect: Difference | None = None  # a record that nothing has explained yet
        self._next_offset = 0
        self._last: tuple[int, int] = (-1, 0)  # offset and sequence of the last accepted frame

    @property
    def noise(self) -> Counter[Rejection]:
        """Records that are noise to every reader, by reason."""
        return self.rule.rejected

    def take(self, stored: Stored) -> AcceptedFrame | None:
        """The frame, when the record is one that is part of the journal. Raises Differs."""
        if stored.offset != self._next_offset:
            detail = f"expected offset {self._next_offset}: records before this one are gone"
            raise Differs(self._difference(stored.offset, 0, "I8", detail))
        self._next_offset = stored.offset + 1
        self.records += 1
        try:
            outcome = self.rule.take(offset=stored.offset, value=stored.value)
        except ChainBroken as broken:
            raise self._broken(stored, str(broken)) from broken
        if isinstance(outcome, Rejected):
            self._reject(stored, outcome.reason)
            return None
        if isinstance(outcome, AcceptedClaim):
            self.claims += 1
            return None
        if self._suspect is not None and self.rule.claim_offset < self._suspect.offset:
            raise Differs(self._suspect)  # within one claim an owner's frames come in order: one was moved or changed
        self._suspect = None
        self._frame(outcome)
        return outcome

    def end(self) -> None:
        """All records are taken. Raises Differs when the journal should have gone on."""
        if self._suspect is not None:
            raise Differs(self._suspect)
        offset, sequence = self._last
        beyond = sorted(one for one in self._heads if one > sequence)
        if beyond:
            known = self._heads[beyond[-1]][0]
            detail = f"no frame follows frame {sequence}, {known.words} stands at sequence {known.head.sequence}"
            raise Differs(self._difference(offset + 1, sequence + 1, "I8", detail))

    def torn(self, words: str) -> Difference:
        """Difference of a file that ends in the middle of a record."""
        return self._difference(self._next_offset, self._last[1] + 1, "I8", words)

    def _difference(self, offset: int, sequence: int, invariant: str, detail: str) -> Difference:
        return Difference(JOURNAL.name, self.partition, offset, sequence, invariant, detail)

    def _broken(self, stored: Stored, words: str) -> Differs:
        if self._suspect is not None:
            return Differs(self._suspect)
        record = _decoded(stored.value)
        sequence = record.frame.sequence if record is not None else 0
        offset, last = self._last
        words = words.removeprefix("I8 broken: ")
        if sequence == last + 1:
            words += f"; this record or the one at offset {offset} is not what was written"
        return Differs(self._difference(stored.offset, sequence, "I8", words))

    def _reject(self, stored: Stored, reason: Rejection) -> None:
        record = _decoded(stored.value)
        kind = record.WhichOneof("record") if record is not None else None
        if kind == "claim" and record is not None and record.claim.epoch > self.rule.epoch:
            detail = f"a claim of epoch {record.claim.epoch} after epoch {self.rule.epoch}: the claim between is gone"
            raise Differs(self._suspect or self._difference(stored.offset, 0, "I8", detail))
        if kind == "frame" and record is not None:
            sequence = record.frame.sequence
            if record.frame.epoch > self.rule.epoch:
                detail = f"a frame of epoch {record.frame.epoch}, whose claim is not there"
                raise Differs(self._suspect or self._difference(stored.offset, sequence, "I8", detail))
            if reason is Rejection.GAP and self._suspect is None:
                detail = f"expected frame {self.rule.sequence + 1}, was frame {sequence}: what stood between is gone"
                self._suspect = self._difference(stored.offset, sequence, "I8", detail)
            if reason is Rejection.OTHER_OWNER and self._suspect is None:  # writers send after their claim is accepted
                detail = f"a frame of epoch {record.frame.epoch} by another owner than its claim names"
                self._suspect = self._difference(stored.offset, sequence, "I8", detail)
        if reason is Rejection.MALFORMED and self._suspect is None:
            self._suspect = self._difference(stored.offset, 0, "I8", "this is no record of a chained log")

    def _frame(self, accepted: AcceptedFrame) -> None:
        def differ(invariant: str, detail: str) -> Differs:
            return Differs(self._difference(accepted.offset, accepted.sequence, invariant, detail))

        try:
            body = journal_pb2.JournalBody.FromString(accepted.body)
        except DecodeError as error:
            raise differ("I8", f"its body is no JournalBody: {error}") from error
        for invariant, detail in map(self._posted, body.outcomes):
            if invariant:
                raise differ(invariant, detail)
        frame = JournalFrame(
            partition=self.partition,
            sequence=accepted.sequence,
            run_time_ns=accepted.run_time_ns,
            control_sequence=accepted.control_sequence,
            body=body,
        )
        try:
            self.book.apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=body)
        except InvariantBroken as broken:
            raise differ(broken.number, str(broken)) from broken
        if self.book.fingerprint != body.fingerprint:
            expected, was = self.book.fingerprint.hex(), body.fingerprint.hex()
            raise differ("I8", f"the fold has fingerprint {expected}, the ledger stated {was}")
        invariant, detail = self._conserves(frame, self.book)
        if invariant:
            raise differ(invariant, detail)
        self._last = (accepted.offset, accepted.sequence)
        self._compare_heads(accepted, body.fingerprint)

    def _posted(self, outcome: journal_pb2.Outcome) -> tuple[str, str]:
        sums: Counter[tuple[int, int]] = Counter()
        for effect in outcome.effects:
            if not effect.HasField("posting"):
                continue
            one = effect.posting
            line = (one.account, one.asset, one.kind)
            balance, version = self._lines.get(line, (0, 0))
            if one.version != version + 1:
                return "I8", f"line {line}: expected version {version + 1}, was {one.version}"
            if one.balance != balance + one.delta:
                return "I1", f"line {line}: {balance} and {one.delta} make {balance + one.delta}, was {one.balance}"
            self._lines[line] = (one.balance, one.version)
            sums[one.asset, one.kind] += one.delta
        for (asset, kind), total in sums.items():
            if total:
                return "I1", f"{outcome.command} moves lines of asset {asset}, kind {kind} by {total} in all"
        return "", ""

    def _compare_heads(self, accepted: AcceptedFrame, fingerprint: bytes) -> None:
        for known in self._heads.pop(accepted.sequence, ()):
            head = known.head
            here = (accepted.frame.epoch, accepted.head, fingerprint, accepted.run_time_ns)
            if (head.epoch, head.hash, head.fingerprint, head.run_time_ns) != here:
                detail = f"{known.words} has hash {head.hash.hex()}, epoch {head.epoch}, {head.fingerprint.hex()}; the "
                detail += f"journal has {accepted.head.hex()}, {accepted.frame.epoch}, {fingerprint.hex()}"
                raise Differs(self._difference(accepted.offset, accepted.sequence, "I8", detail))
            if not known.of_checkpoint:
                self.known_up_to = accepted.sequence
            if known.standing is Standing.SIGNED:
                self.signed_up_to = accepted.sequence


def _decoded(value: bytes) -> chain_pb2.ChainRecord | None:
    record = chain_pb2.ChainRecord()
    try:
        record.ParseFromString(value)
    except DecodeError:
        return None
    return record
