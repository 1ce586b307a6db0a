"""A book made of a checkpoint is the book that the journal makes, to the last bit, and goes on from there."""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from struct import Struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import checkpoint_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.accounts import Key, Value, pack_lines
from libs.common.checkpoints import HEAD
from libs.common.errors import InvariantBroken
from services.risk_evaluation.adapters.checkpoints import NotKept, kept_of
from services.risk_evaluation.app.fold import PartitionFold
from services.risk_evaluation.domain.margin import evaluate
from services.risk_evaluation.domain.prices import funded, price_book
from services.risk_evaluation.domain.sweep.fingerprints import LINE, sum_of_lines
from services.risk_evaluation.domain.sweep.live import LiveBook
from services.risk_evaluation.tests.hand import SESSION, Desk, Effect, attributes, order, posting
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_INVERSE,
    BTC_PERP,
    ETH,
    ETH_PERP,
    USD,
    account,
    marks,
)

CASH, LOTS, VARIATION = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_VARIATION
SUPPLY, DEBT = ledger_pb2.LINE_KIND_SUPPLY_SHARES, ledger_pb2.LINE_KIND_DEBT_SHARES
EPOCH, PREFIX = 3, Struct(">IQ")
KINDS = [(kind, asset) for kind in (CASH, SUPPLY, DEBT) for asset in (USD, BTC, ETH)]
KINDS += [(kind, one) for kind in (LOTS, VARIATION) for one in (BTC_PERP, ETH_PERP, BTC_INVERSE)]

lines = st.tuples(st.integers(1, 6), st.sampled_from(KINDS), st.integers(0, 10**12))
Given = list[tuple[int, tuple[ledger_pb2.LineKind, int], int]]


class Ledger:
    """Writes journal frames, and a checkpoint of what they add up to."""

    def __init__(self) -> None:
        self.desk = Desk(live=False)
        self.fold = PartitionFold(partition=0, model=self.desk.model, session=SESSION)
        self._items: dict[bytes, checkpoint_pb2.CheckpointItem] = {}
        self._attributes: dict[int, bytes] = {}
        self._lines: defaultdict[int, dict[Key, Value]] = defaultdict(dict)

    def frame(self, *effects: Effect) -> None:
        """A frame, folded here as every follower does."""
        frame = self.desk.frame(*effects)
        self.fold.apply(frame)
        for effect in effects:
            if effect.HasField("account"):
                self._attributes[effect.account.account] = effect.account.SerializeToString(deterministic=True)
            elif effect.HasField("posting"):
                one = effect.posting
                self._lines[one.account][one.asset, one.kind] = one.balance, one.version
            else:
                name = b"E%d" % effect.order.order
                self._items[name] = checkpoint_pb2.CheckpointItem(effect=checkpoint_pb2.EffectItem(effect=effect))

    def records(self) -> dict[bytes, tuple[bytes, bytes]]:
        """Key and value of each item, and of the head."""
        items = dict(self._items)
        for one in self._attributes.keys() | self._lines.keys():
            item = checkpoint_pb2.AccountItem(
                account=one, attributes=self._attributes.get(one, b""), lines=pack_lines(self._lines[one])
            )
            items[b"A%d" % one] = checkpoint_pb2.CheckpointItem(account=item)
        head = checkpoint_pb2.CheckpointHead(sequence=self.fold.sequence, fingerprint=self.fold.book.fingerprint)
        items[HEAD] = checkpoint_pb2.CheckpointItem(head=head)
        return {name: sealed(name, item, self.fold.sequence) for name, item in items.items()}


def sealed(name: bytes, item: checkpoint_pb2.CheckpointItem, version: int) -> tuple[bytes, bytes]:
    item.version = version
    key, value = PREFIX.pack(0, EPOCH) + name, item.SerializeToString()
    return key, value + b"\x7d" + zlib.crc32(value, zlib.crc32(key)).to_bytes(4, "little")


def begun(ledger: Ledger) -> PartitionFold:
    fold = PartitionFold(partition=0, model=ledger.desk.model, session=SESSION)
    fold.begin(kept_of(ledger.records()))
    return fold


def post_all(ledger: Ledger, given_: Given) -> None:
    for number, (kind, key), balance in given_:
        ledger.frame(attributes(account(entity=number)), posting(account(entity=number), key, kind, balance))


@settings(max_examples=60, deadline=None)
@given(before=st.lists(lines, min_size=1, max_size=20), after=st.lists(lines, max_size=6))
def test_a_checkpoint_makes_the_book_that_the_journal_makes(before: Given, after: Given) -> None:
    ledger = Ledger()
    post_all(ledger, before)
    ledger.frame(order(1, 5, of=account(entity=before[0][0])))
    fold = begun(ledger)
    other = ledger.fold
    ledger.fold = fold  # the journal goes on, folded by the book of the checkpoint and then by the other one
    sent: list[tuple[Effect, ...]] = []
    for number, (kind, key), balance in after:
        sent.append((posting(account(entity=number), key, kind, balance),))
        ledger.frame(*sent[-1])
    assert fold.book.fingerprint == ledger.desk.fingerprint.digest
    assert fold.pending.keys() == other.pending.keys()
    for effect in (each for effects in sent for each in effects):
        other._apply(effect)
    for one in {number for number, _, _ in before}:
        mine = fold.columns.row_of[account(entity=one)]
        theirs = other.columns.row_of[account(entity=one)]
        for name in ("net_units", "lots", "variation"):
            found = getattr(fold.columns.some_rows([mine]), name)
            assert np.array_equal(found, getattr(other.columns.some_rows([theirs]), name)), name


def test_the_kernel_sweeps_a_book_of_a_checkpoint() -> None:
    ledger = Ledger()
    for number in range(1, 40):
        of = account(entity=number)
        ledger.frame(attributes(of), posting(of, USD, CASH, number * 10**9), posting(of, BTC, SUPPLY, number))
        ledger.frame(posting(of, BTC_PERP, LOTS, number - 20), posting(of, BTC_PERP, VARIATION, number * 7))
    fold = begun(ledger)
    prices = funded(price_book(ledger.desk.model, marks(btc=61_000)), fold.columns.funding)
    swept = LiveBook(ledger.desk.model, fold.columns).standings(prices)
    margins = evaluate(ledger.desk.model, prices, fold.columns.all_rows())
    assert np.array_equal(swept.equity, margins.equity)
    assert np.array_equal(swept.initial_margin, margins.initial_margin)


def test_a_checkpoint_that_differs_is_not_taken() -> None:
    ledger = Ledger()
    ledger.frame(attributes(account()), posting(account(), USD, CASH, 5))
    records = ledger.records()
    head = checkpoint_pb2.CheckpointHead(sequence=1, fingerprint=bytes(16))
    records[HEAD] = sealed(HEAD, checkpoint_pb2.CheckpointItem(head=head), 1)
    fold = PartitionFold(partition=0, model=ledger.desk.model, session=SESSION)
    with pytest.raises(InvariantBroken, match="I13"):
        fold.begin(kept_of(records))


def test_a_damaged_record_is_no_checkpoint() -> None:
    ledger = Ledger()
    ledger.frame(attributes(account()), posting(account(), USD, CASH, 5))
    records = ledger.records()
    name = next(name for name in records if name.startswith(b"A"))
    key, value = records[name]
    records[name] = key, value[:10] + bytes([value[10] ^ 1]) + value[11:]
    with pytest.raises(NotKept, match="checksum"):
        kept_of(records)


def test_items_newer_than_the_head_are_exact_only_once_the_journal_is_there() -> None:
    ledger = Ledger()
    ledger.frame(attributes(account()), posting(account(), USD, CASH, 5))
    old = ledger.records()[HEAD]
    ledger.frame(posting(account(), USD, CASH, 6))
    records = ledger.records() | {HEAD: old}
    kept = kept_of(records)
    assert (kept.head.sequence, kept.exact_from) == (1, 2)


WORD = st.integers(0, 2**64 - 1)
RAW = st.tuples(WORD, st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(-(2**63) + 1, 2**63 - 1), WORD)


@given(st.lists(RAW, min_size=1, max_size=30))
def test_lines_are_hashed_as_the_ledger_hashes_them(found: list[tuple[int, int, int, int, int]]) -> None:
    every = np.array([each[1:] for each in found], dtype=LINE)
    text = [b"1|" + b"|".join(b"%d" % part for part in each) for each in found]
    total = sum(int.from_bytes(hashlib.blake2b(each, digest_size=16).digest(), "big") for each in text)
    assert sum_of_lines(np.array([each[0] for each in found], dtype=np.uint64), every) == total % 2**128


def test_effects_are_what_the_book_holds() -> None:
    ledger = Ledger()
    ledger.frame(attributes(account()), order(3, 2))
    fold = begun(ledger)
    assert list(fold.book.orders) == list(ledger.fold.book.orders)
    assert isinstance(fold.pending[next(iter(fold.pending))], journal_pb2.Order)
