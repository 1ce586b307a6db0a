"""Verification: an honest journal holds; each way of changing it is named with the first record that shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import chain_pb2, checkpoint_pb2, journal_pb2, notary_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_account
from libs.common.signing import Standing, key_id, unsigned
from libs.common.topics import JOURNAL, NOTARY
from tools.audit.stored import Files, Stored, export, file_of
from tools.audit.tests.journal import (
    OTHER,
    SIGNER,
    Memory,
    accepted,
    chained,
    heads,
    journals,
    renumbered,
    rewritten,
)
from tools.audit.verify import Verified, verify
from tools.cli.__main__ import main
from tools.reconcile.tests.story import USD, honest

KEYS = [SIGNER.public_key]
CASH = ledger_pb2.LINE_KIND_CASH


@cache
def _honest() -> dict[int, list[Stored]]:
    return journals(honest().frames)


def whole() -> Memory:
    """An honest house with signed heads of partition 0, where the story plays."""
    records = {partition: list(each) for partition, each in _honest().items()}
    return Memory(records, heads(records[0]))


def verified(memory: Memory, *, trusted: list[bytes] | None = KEYS) -> Verified:
    return asyncio.run(verify(memory, trusted=trusted))


def frame_at(records: list[Stored], sequence: int) -> int:
    """Place of the record of a frame."""
    return next(one.offset for one in accepted(records) if one.sequence == sequence)


def test_an_honest_journal_holds_and_is_vouched_for() -> None:
    found = verified(whole())
    assert found.differences == []
    last = len(accepted(_honest()[0]))
    assert found.partitions[0].sequence == last >= 40
    assert (found.partitions[0].signed_up_to, found.partitions[1].signed_up_to) == (last, 0)
    assert found.heads == {Standing.SIGNED: len(heads(_honest()[0]))}
    assert sum(sum(one.noise.values()) for one in found.partitions) == 0


def flipped_byte(memory: Memory) -> int:
    """A byte inside the body of frame 20: hidden from the chain until the frame after it."""
    at = frame_at(memory.journals[0], 20)
    value = bytearray(memory.journals[0][at].value)
    value[-3] ^= 1
    memory.journals[0][at] = replace(memory.journals[0][at], value=bytes(value))
    return at


def missing_frame(memory: Memory) -> int:
    at = frame_at(memory.journals[0], 20)
    del memory.journals[0][at]
    return at + 1


def missing_frame_renumbered(memory: Memory) -> int:
    at = frame_at(memory.journals[0], 20)
    del memory.journals[0][at]
    memory.journals[0] = renumbered(memory.journals[0])
    return at


def missing_claim(memory: Memory) -> int:
    at = next(one.offset for one in memory.journals[0][1:] if _record(one).HasField("claim"))
    del memory.journals[0][at]
    memory.journals[0] = renumbered(memory.journals[0])
    return at


def swapped_frames(memory: Memory) -> int:
    at, records = frame_at(memory.journals[0], 20), memory.journals[0]
    records[at], records[at + 1] = replace(records[at + 1], offset=at), replace(records[at], offset=at + 1)
    return at


def truncated(memory: Memory) -> int:
    del memory.journals[0][-3:]
    return memory.journals[0][-1].offset + 1


def garbage_instead(memory: Memory) -> int:
    at = frame_at(memory.journals[0], 20)
    memory.journals[0][at] = replace(memory.journals[0][at], value=b"\xff\xff")
    return at


def wrong_balance(memory: Memory) -> int:
    return _rewrite(memory, lambda posting: setattr(posting, "balance", posting.balance + 1))


def wrong_delta(memory: Memory) -> int:
    def change(posting: journal_pb2.Posting) -> None:
        posting.delta += 1
        posting.balance += 1

    return _rewrite(memory, change)


def wrong_version(memory: Memory) -> int:
    return _rewrite(memory, lambda posting: setattr(posting, "version", posting.version + 1))


def wrong_fingerprint(memory: Memory) -> int:
    memory.heads.clear()
    memory.journals[0] = rewritten(memory.journals[0], 20, lambda body: setattr(body, "fingerprint", b"0" * 16))
    return frame_at(memory.journals[0], 20)


def another_history(memory: Memory) -> int:
    """A history that holds by itself, but is not the one that was signed."""
    frames = [one.frame for one in accepted(memory.journals[0])]
    frames[9].control_sequence += 1
    memory.journals[0] = chained(frames)
    return frame_at(memory.journals[0], 10)


def from_the_middle(memory: Memory) -> int:
    del memory.journals[0][:5]
    return 5


@pytest.mark.parametrize(
    ("change", "invariant", "said"),
    [
        (flipped_byte,             "I8", ""),
        (missing_frame,            "I8", "records before this one are gone"),
        (missing_frame_renumbered, "I8", "what stood between is gone"),
        (missing_claim,            "I8", "whose claim is not there"),
        (swapped_frames,           "I8", "expected frame 20, was frame 21"),
        (truncated,                "I8", "a head, signed"),
        (garbage_instead,          "I8", "no record of a chained log"),
        (wrong_balance,            "I1", "make"),
        (wrong_delta,              "I1", "in all"),
        (wrong_version,            "I8", "expected version"),
        (wrong_fingerprint,        "I8", "the fold has fingerprint"),
        (another_history,          "I8", "the journal has"),
        (from_the_middle,          "I8", "expected offset 0"),
    ],
)  # fmt: skip
def test_a_changed_journal_is_named_at_its_first_record(
    change: Callable[[Memory], int], invariant: str, said: str
) -> None:
    memory = whole()
    at = change(memory)
    found = verified(memory)
    first = found.differences[0]
    assert not found.ok
    assert (first.topic, first.partition, first.invariant) == (JOURNAL.name, 0, invariant), first
    assert said in first.detail, first
    late = change is flipped_byte and first.offset == at + 1  # when the bytes still parse the next frame shows it
    assert first.offset == at or late, first


@given(place=st.integers(0, 10**6), byte=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_no_bit_of_a_vouched_journal_can_be_changed(place: int, byte: int, bit: int) -> None:
    memory = whole()
    records = memory.journals[0]
    place %= len(records)
    value = bytearray(records[place].value)
    value[byte % len(value)] ^= 1 << bit
    records[place] = replace(records[place], value=bytes(value))
    first = verified(memory).differences[0]
    assert (first.partition, first.topic) == (0, JOURNAL.name)
    assert first.offset >= place


def test_a_ledger_that_takes_from_a_pool_and_keeps_all_else_right_is_caught() -> None:
    memory = whole()
    memory.heads = []
    frames = accepted(memory.journals[0])
    book, versions = PartitionBook(0), dict[tuple[int, int, int], int]()
    for one in frames[:-1]:
        body = journal_pb2.JournalBody.FromString(one.body)
        book.apply(sequence=one.sequence, run_time_ns=one.run_time_ns, body=body)
        postings = (e.posting for o in body.outcomes for e in o.effects if e.HasField("posting"))
        versions.update({(p.account, p.asset, p.kind): p.version for p in postings})
    pool, thief = system_account(SystemAccount.POOL, partition=0, index=USD), max(book.accounts)

    def steal(body: journal_pb2.JournalBody) -> None:
        for account, delta in ((pool, -5), (thief, 5)):
            line = (account, USD, CASH)
            body.outcomes[-1].effects.add().posting.CopyFrom(
                journal_pb2.Posting(
                    account=account, asset=USD, kind=CASH, delta=delta,
                    balance=book.lines.get(line, 0) + delta, version=versions.get(line, 0) + 1,
                )
            )  # fmt: skip
        book.apply(sequence=frames[-1].sequence, run_time_ns=frames[-1].run_time_ns, body=body)
        body.fingerprint = book.fingerprint

    memory.journals[0] = rewritten(memory.journals[0], frames[-1].sequence, steal)
    first = verified(memory).differences[0]
    assert (first.sequence, first.invariant) == (frames[-1].sequence, "I2"), first


@pytest.mark.parametrize(
    ("change", "worth"),
    [
        (lambda signed: setattr(signed, "signature", signed.signature[:-1] + b"\0"), Standing.FORGED),
        (lambda signed: setattr(signed, "key_id", key_id(OTHER.public_key)), Standing.UNKNOWN_KEY),
        (lambda signed: setattr(signed, "head", signed.head[:-1] + b"\1"), Standing.FORGED),
    ],
)
def test_a_forged_head_is_named_with_its_record(
    change: Callable[[notary_pb2.SignedHead], None], worth: Standing
) -> None:
    memory = whole()
    signed = notary_pb2.SignedHead.FromString(memory.heads[2].value)
    change(signed)
    memory.heads[2] = replace(memory.heads[2], value=signed.SerializeToString())
    first = verified(memory).differences[0]
    assert (first.topic, first.offset) == (NOTARY.name, 2)
    assert worth.value in first.detail


def test_a_head_signed_by_another_is_not_believed() -> None:
    memory = whole()
    memory.heads = heads(memory.journals[0], signer=OTHER)
    assert not verified(memory).ok
    assert verified(memory, trusted=[OTHER.public_key]).ok


def test_unsigned_heads_tell_how_far_a_journal_had_come_but_vouch_for_nothing() -> None:
    memory = whole()
    plain = [
        notary_pb2.JournalHead.FromString(notary_pb2.SignedHead.FromString(one.value).head) for one in memory.heads
    ]
    memory.heads = [Stored(0, n, 0, unsigned(one).SerializeToString()) for n, one in enumerate(plain)]
    found = verified(memory)
    assert found.ok
    assert found.heads == {Standing.UNSIGNED: len(plain)}
    assert found.partitions[0].signed_up_to == 0
    assert found.partitions[0].known_up_to == plain[-1].sequence
    truncated(memory)
    assert "not signed" in verified(memory).differences[0].detail


def checkpoint_of(records: list[Stored], sequence: int, *, fingerprint: bytes = b"") -> Stored:
    """A checkpoint's head at a frame."""
    one = next(each for each in accepted(records) if each.sequence == sequence)
    body = journal_pb2.JournalBody.FromString(one.body)
    head = checkpoint_pb2.CheckpointHead(
        offset=one.offset, epoch=one.frame.epoch, sequence=sequence, hash=one.head, run_time_ns=one.run_time_ns,
        fingerprint=fingerprint or body.fingerprint,
    )  # fmt: skip
    return Stored(0, 7, 0, checkpoint_pb2.CheckpointItem(head=head).SerializeToString())


def test_a_checkpoint_is_the_fold_up_to_its_head() -> None:
    memory = whole()
    memory.checkpoints[0] = [checkpoint_of(memory.journals[0], 17)]
    assert (verified(memory).differences, verified(memory).checkpoints) == ([], 1)
    memory.checkpoints[0] = [checkpoint_of(memory.journals[0], 17, fingerprint=b"x" * 16)]
    first = verified(memory).differences[0]
    assert (first.sequence, "the checkpoint at offset 7" in first.detail) == (17, True)


def test_zombies_and_races_are_noise_and_no_difference() -> None:
    memory = whole()
    records = memory.journals[0]
    claims = [one for one in records if _record(one).HasField("claim")]
    stale = _record(records[frame_at(records, 3)])
    noise = [stale.SerializeToString(), claims[1].value]
    memory.journals[0] = [*records, *(Stored(0, len(records) + n, 0, one) for n, one in enumerate(noise))]
    found = verified(memory)
    assert found.differences == []
    assert sum(found.partitions[0].noise.values()) == len(noise)


def exported(memory: Memory, directory: Path) -> Path:
    """The records in files."""
    asyncio.run(export(memory, directory))
    return directory


def test_files_say_the_same_and_a_torn_one_is_named(tmp_path: Path) -> None:
    memory = whole()
    exported(memory, tmp_path)
    assert asyncio.run(verify(Files(tmp_path), trusted=KEYS)).differences == []
    path = file_of(tmp_path, JOURNAL, 0)
    path.write_bytes(path.read_bytes()[:-7])
    first = asyncio.run(verify(Files(tmp_path), trusted=KEYS)).differences[0]
    assert (first.partition, first.offset) == (0, memory.journals[0][-1].offset)
    assert "in the middle of the record" in first.detail


def test_the_command_says_what_holds_and_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verb = ["ledger", "verify", "--files", str(exported(whole(), tmp_path))]
    assert main([*verb, "--public-key", SIGNER.public_key.hex()]) == 0
    assert "holds" in capsys.readouterr().out
    assert main([*verb, "--public-key", OTHER.public_key.hex()]) == 1
    assert "not trusted" in capsys.readouterr().err
    changed = whole()
    at = flipped_byte(changed)
    assert main(["ledger", "verify", "--files", str(exported(changed, tmp_path))]) == 1
    said = capsys.readouterr().err
    assert any(f"partition 0, offset {one}," in said for one in (at, at + 1)), said
    assert main(["ledger", "verify", "--files", str(tmp_path / "none")]) == 2


def test_balances_and_statements_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--files", str(exported(whole(), tmp_path))]
    account = str(1 << 16)
    assert main(["ledger", "balance", "house", *files]) == 0
    assert "custody" in capsys.readouterr().out
    assert main(["ledger", "balance", account, *files, "--format", "json", "--recorded", "2017-12-20"]) == 0
    assert '"supply_shares"' in capsys.readouterr().out
    assert main(["ledger", "statement", account, *files, "--from", "2017-12-19", "--format", "csv"]) == 0
    assert "interest_earned" in capsys.readouterr().out
    target = tmp_path / "statement.parquet"
    assert main(["ledger", "statement", account, *files, "--format", "parquet", "--output", str(target)]) == 0
    assert target.read_bytes()[:4] == b"PAR1"
    assert main(["ledger", "statement", "0/99/0", *files]) == 2


def test_a_key_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "key", str(tmp_path / "key.pem")]) == 0
    assert len(capsys.readouterr().out.split()[-1]) == 64
    assert main(["ledger", "key", str(tmp_path / "key.pem")]) == 2


def _record(stored: Stored) -> chain_pb2.ChainRecord:
    return chain_pb2.ChainRecord.FromString(stored.value)


def _rewrite(memory: Memory, change: Callable[[journal_pb2.Posting], None]) -> int:
    """Changes the first posting at or after frame 20 and chains all anew; nobody signed the old history."""
    memory.heads.clear()
    for one in accepted(memory.journals[0])[19:]:
        body = journal_pb2.JournalBody.FromString(one.body)
        if any(effect.HasField("posting") for outcome in body.outcomes for effect in outcome.effects):
            break
    else:
        raise AssertionError("no posting")

    def first(body: journal_pb2.JournalBody) -> None:
        change(next(e.posting for o in body.outcomes for e in o.effects if e.HasField("posting")))

    memory.journals[0] = rewritten(memory.journals[0], one.sequence, first)
    return frame_at(memory.journals[0], one.sequence)
