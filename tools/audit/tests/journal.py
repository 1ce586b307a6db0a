"""Journals as an honest ledger writes them, and as somebody changed them afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ballast.events.v1 import chain_pb2, control_pb2, journal_pb2, notary_pb2
from libs.common.chain import GENESIS, AcceptedFrame, ChainRule
from libs.common.signing import HeadSigner
from libs.common.topics import ACCOUNTS, CONTROL, JOURNAL, NOTARY, Topic
from tools.audit.stored import Stored
from tools.reconcile.reader import ControlHistory
from tools.reconcile.records import JournalFrame
from tools.reconcile.tests.story import LOADED, PARAMETERS

SIGNER = HeadSigner(Ed25519PrivateKey.from_private_bytes(b"1" * 32))
OTHER = HeadSigner(Ed25519PrivateKey.from_private_bytes(b"2" * 32))
CLAIM_EVERY = 12  # frames of one owner

Change = Callable[[chain_pb2.ChainRecord], None]


class Memory:
    """A source whose records stand in memory."""

    def __init__(self, journals: dict[int, list[Stored]], heads: list[Stored]) -> None:
        self.journals = journals
        self.heads = heads
        self.checkpoints: dict[int, list[Stored]] = {}

    async def control(self) -> ControlHistory:
        """The control log."""
        return ControlHistory({LOADED.hash: LOADED.canonical_json}, [(2, LOADED.hash)])

    async def records(self, topic: Topic, partition: int) -> AsyncIterator[Stored]:
        """All records of a partition."""
        logs = {
            ACCOUNTS.name: self.checkpoints.get(partition, []),
            JOURNAL.name: self.journals.get(partition, []),
            NOTARY.name: self.heads,
            CONTROL.name: control_log(),
        }
        for one in logs[topic.name]:
            yield one


def control_log() -> list[Stored]:
    """The control log with one parameter set in force."""
    declared = control_pb2.ControlBody(
        parameter_set=control_pb2.ParameterSet(hash=LOADED.hash, canonical_json=LOADED.canonical_json)
    )
    active = control_pb2.ControlBody(activate_parameters=control_pb2.ActivateParameters(hash=LOADED.hash))
    frames = [chain_pb2.Frame(sequence=n, body=one.SerializeToString()) for n, one in enumerate((declared, active), 1)]
    return chained(frames)


def journals(frames: Iterable[JournalFrame]) -> dict[int, list[Stored]]:
    """The frames of a story as records of all partitions."""
    by_partition: dict[int, list[chain_pb2.Frame]] = {one: [] for one in range(PARAMETERS.partitions)}
    for one in frames:
        by_partition[one.partition].append(
            chain_pb2.Frame(
                sequence=one.sequence,
                run_time_ns=one.run_time_ns,
                control_sequence=one.control_sequence,
                body=one.body.SerializeToString(),
            )
        )
    return {partition: chained(each, partition=partition) for partition, each in by_partition.items()}


def chained(frames: Iterable[chain_pb2.Frame], *, partition: int = 0, every: int = CLAIM_EVERY) -> list[Stored]:
    """Records of a chained log: a claim in front of every so many frames."""
    found: list[Stored] = []
    head, epoch, claim_offset = GENESIS, 0, -1
    for number, given in enumerate(frames):
        inherited = b""
        if number % every == 0:
            epoch, inherited = epoch + 1, head
            claim = chain_pb2.Claim(epoch=epoch, owner=b"%016d" % epoch, previous_claim_offset=claim_offset)
            claim_offset = len(found)
            head = _add(found, chain_pb2.ChainRecord(claim=claim), partition)
        frame = chain_pb2.Frame()
        frame.CopyFrom(given)
        frame.epoch, frame.owner, frame.previous_hash = epoch, b"%016d" % epoch, head
        frame.inherited, frame.claim_offset, frame.input_offset = inherited, claim_offset, number
        head = _add(found, chain_pb2.ChainRecord(frame=frame), partition)
    return found


def _add(found: list[Stored], record: chain_pb2.ChainRecord, partition: int) -> bytes:
    value = record.SerializeToString(deterministic=True)
    found.append(Stored(partition, len(found), 0, value))
    return hashlib.sha256(value).digest()


def accepted(records: Iterable[Stored]) -> list[AcceptedFrame]:
    """The frames that a reader accepts."""
    rule = ChainRule()
    outcomes = [rule.take(offset=one.offset, value=one.value) for one in records]
    return [one for one in outcomes if isinstance(one, AcceptedFrame)]


def heads(records: Iterable[Stored], *, signer: HeadSigner = SIGNER, every: int = 5) -> list[Stored]:
    """Signed heads of every so many frames of a partition, and of its last one."""
    frames = list(accepted(records))
    found: list[Stored] = []
    partition = next(iter(records)).partition
    for one in frames:
        if one.sequence % every and one is not frames[-1]:
            continue
        head = notary_pb2.JournalHead(
            partition=partition, epoch=one.frame.epoch, sequence=one.sequence, offset=one.offset, hash=one.head,
            fingerprint=journal_pb2.JournalBody.FromString(one.body).fingerprint, run_time_ns=one.run_time_ns,
        )  # fmt: skip
        found.append(Stored(0, len(found), 0, signer.sign(head).SerializeToString()))
    return found


def renumbered(records: Iterable[Stored]) -> list[Stored]:
    """The records as a broker would hold them: offsets without a hole."""
    return [replace(one, offset=offset) for offset, one in enumerate(records)]


def rewritten(
    records: Iterable[Stored], sequence: int, change: Callable[[journal_pb2.JournalBody], None]
) -> list[Stored]:
    """A history with another content of one frame, chained anew by somebody who knows the rule."""
    frames = []
    for one in accepted(records):
        frame = chain_pb2.Frame()
        frame.CopyFrom(one.frame)
        if frame.sequence == sequence:
            body = journal_pb2.JournalBody.FromString(frame.body)
            change(body)
            frame.body = body.SerializeToString()
        frames.append(frame)
    return chained(frames, partition=next(iter(records)).partition)
