"""Whether the ledger's journal is what the ledger wrote, and adds up: chain, signed heads, conservation, state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from ballast.events.v1 import checkpoint_pb2, notary_pb2
from libs.common.book import PartitionBook
from libs.common.signing import Standing, head_of, standing
from libs.common.topics import ACCOUNTS, JOURNAL, NOTARY
from tools.audit.stored import Source, Torn, parameters_in_force
from tools.audit.walk import Difference, Differs, KnownHead, Walk
from tools.reconcile.checks import CHECKS
from tools.reconcile.checks.check import Check
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import World

CONSERVED = ("I1", "I2", "I15")
_ON_ANY_CUT = ("I1", "I2")  # partitions of a living house end at different moments: what is on its way is not judged


@dataclass(frozen=True, slots=True)
class Audited:
    """One partition.

    Args:
        noise: records that are noise to every reader, by reason.
        sequence, epoch, head, run_time_ns: of its last accepted frame.
        fingerprint: of the state there.
        known_up_to, signed_up_to: last sequence that a published head, a signed one, vouches for.
    """

    partition: int
    records: int
    claims: int
    noise: Mapping[str, int]
    sequence: int
    epoch: int
    head: bytes
    fingerprint: bytes
    run_time_ns: int
    known_up_to: int
    signed_up_to: int


@dataclass(slots=True)
class Verified:
    """What a verification found.

    Args:
        differences: the first of each partition, then what only all of them together show; empty when all holds.
        heads: published heads by what they are worth.
        checkpoints: heads of checkpoints, from which a restart would go on.
    """

    partitions: list[Audited] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    heads: dict[Standing, int] = field(default_factory=dict)
    checkpoints: int = 0

    @property
    def ok(self) -> bool:
        """All holds."""
        return not self.differences


async def verify(source: Source, *, trusted: Sequence[bytes] | None) -> Verified:
    """What a walk over everything finds.

    Args:
        trusted: public keys whose signatures count; None takes those of the parameters on the control log, which
            whoever can write the journal may have written too.

    Raises: Unreadable when there is no parameter set, or a topic cannot be read.
    """
    loaded = await parameters_in_force(source)
    trusted = loaded.parameters.ledger.notary_keys if trusted is None else trusted
    found = Verified()
    # Heads are read first: what they vouch for stands in the journals by then.
    heads = await _heads(source, trusted, found, partitions=loaded.parameters.partitions)
    conservation = _Conservation(World(loaded.parameters, parameters_hash=loaded.hash))
    books: dict[int, PartitionBook] = {}
    for partition in range(loaded.parameters.partitions):
        checkpoints = await _checkpoints(source, partition)
        found.checkpoints += len(checkpoints)
        walk = Walk(partition, heads=heads[partition] + checkpoints, conserves=conservation.frame)
        try:
            async for stored in source.records(JOURNAL, partition):
                walk.take(stored)
            walk.end()
        except Differs as differs:
            found.differences.append(differs.difference)
        except Torn as torn:
            found.differences.append(walk.torn(str(torn)))
        books[partition] = walk.book
        found.partitions.append(_audited(walk))
    if found.ok:
        found.differences += conservation.end(books)
    return found


def _audited(walk: Walk) -> Audited:
    rule = walk.rule
    return Audited(
        partition=walk.partition,
        records=walk.records,
        claims=walk.claims,
        noise={reason.value: count for reason, count in sorted(walk.noise.items())},
        sequence=rule.sequence,
        epoch=rule.epoch,
        head=rule.head,
        fingerprint=walk.book.fingerprint,
        run_time_ns=rule.run_time_ns,
        known_up_to=walk.known_up_to,
        signed_up_to=walk.signed_up_to,
    )


async def _heads(
    source: Source, trusted: Sequence[bytes], found: Verified, *, partitions: int
) -> Mapping[int, list[KnownHead]]:
    heads: defaultdict[int, list[KnownHead]] = defaultdict(list)

    def differ(offset: int, sequence: int, detail: str) -> None:
        found.differences.append(Difference(NOTARY.name, 0, offset, sequence, "I8", detail))

    try:
        async for stored in source.records(NOTARY, 0):
            try:
                signed = notary_pb2.SignedHead.FromString(stored.value)
            except DecodeError:
                signed = notary_pb2.SignedHead()
            head = head_of(signed)
            if head is None or not head.sequence or head.partition >= partitions:
                differ(stored.offset, 0, "this is no head of a journal")
                continue
            worth = standing(signed, trusted)
            found.heads[worth] = found.heads.get(worth, 0) + 1
            if worth in (Standing.FORGED, Standing.UNKNOWN_KEY):
                named = f"head of partition {head.partition}, sequence {head.sequence}, key {signed.key_id.hex()}"
                differ(stored.offset, head.sequence, f"{named}: {worth.value}")
                continue
            heads[head.partition].append(KnownHead(head, worth, stored.offset))
    except Torn as torn:
        differ(torn.after_offset + 1, 0, str(torn))
    return heads


async def _checkpoints(source: Source, partition: int) -> list[KnownHead]:
    """Heads of a partition's checkpoints: the state that they hold must be the fold up to there."""
    heads: list[KnownHead] = []
    async for stored in source.records(ACCOUNTS, partition):
        item = checkpoint_pb2.CheckpointItem()
        try:
            item.ParseFromString(stored.value)
        except DecodeError:  # whoever restores refuses it by name
            continue
        if item.HasField("head"):
            one = item.head
            head = notary_pb2.JournalHead(
                partition=partition, epoch=one.epoch, sequence=one.sequence, offset=one.offset, hash=one.hash,
                fingerprint=one.fingerprint, run_time_ns=one.run_time_ns,
            )  # fmt: skip
            heads.append(KnownHead(head, Standing.UNSIGNED, stored.offset, of_checkpoint=True))
    return heads


class _Conservation:
    """The checks of the reconciliation that need nothing but the journal."""

    def __init__(self, world: World) -> None:
        self._checks: dict[str, Check] = {name: CHECKS[name](world) for name in CONSERVED}
        self._told = dict.fromkeys(CONSERVED, 0)  # findings of earlier partitions

    def frame(self, frame: JournalFrame, book: PartitionBook) -> tuple[str, str]:
        """What a frame breaks: its invariant and words; empty when it breaks nothing."""
        for name, check in self._checks.items():
            try:
                check.frame(frame, book)
            except (ArithmeticError, LookupError, ValueError) as error:  # a frame that was changed may say anything
                return name, f"this cannot have been written by the ledger: {type(error).__name__}: {error}"
            if check.findings.count > self._told[name]:
                self._told[name] = check.findings.count
                return name, check.findings.shown[-1]
        return "", ""

    def end(self, books: Mapping[int, PartitionBook]) -> list[Difference]:
        """What does not add up over all partitions."""
        wrong: list[Difference] = []
        for name in _ON_ANY_CUT:
            check = self._checks[name]
            check.finish(books)
            wrong += [Difference(JOURNAL.name, -1, -1, 0, name, text) for text in check.findings.shown]
        return wrong
