"""A partition as a checkpoint of the ledger holds it, and the book made of it at once instead of frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ballast.events.v1 import journal_pb2
from libs.common.accounts import Attributes, Lines
from libs.common.book import Fingerprint, PartitionBook, fold_account
from libs.common.chain import ChainHead
from libs.common.errors import invariant
from libs.common.ids import system_kind
from services.risk_evaluation.domain.columns import Column, Columns
from services.risk_evaluation.domain.sweep.fingerprints import LINE, U8, sum_of_lines

KINDS = 256


@dataclass(frozen=True, slots=True)
class Kept:
    """What one set of the ledger's checkpoints says of a partition.

    Args:
        head: the frame from which the journal goes on. fingerprint: of the partition after it.
        exact_from: journal sequence from which all this is the journal's: items may be newer than the head.
        accounts: id, serialised attributes (empty for the house's own), packed lines.
        effects: the last effect on everything else.
    """

    head: ChainHead
    fingerprint: bytes
    exact_from: int
    accounts: Sequence[tuple[int, bytes, bytes]]
    effects: Sequence[journal_pb2.Effect]


def begin_book(book: PartitionBook, kept: Kept) -> None:
    """The shared book at the checkpoint's head. Raises InvariantBroken (I13) when it is not what the ledger had."""
    lines, attributes, fingerprint = Lines(), Attributes(), Fingerprint()
    for number, (account, packed_attributes, packed_lines) in enumerate(kept.accounts):
        lines.load(account, packed_lines)
        if packed_attributes:
            fold_account(attributes, fingerprint, journal_pb2.Account.FromString(packed_attributes))
        if number % 4_096 == 0:
            fingerprint.digest  # noqa: B018  hashes what has come, which would be kept until it is asked for
    whose, every = _lines(kept.accounts)
    fingerprint.add(sum_of_lines(whose, every))
    for effect in kept.effects:
        fingerprint.apply(effect)
    book.begin(lines, attributes, fingerprint, others=kept.effects)
    book.sequence, book.run_time_ns = kept.head.sequence, kept.head.run_time_ns
    same = book.fingerprint == kept.fingerprint or kept.exact_from > kept.head.sequence
    invariant(same, "I13", f"partition {book.partition}: the checkpoint at {book.sequence} has another fingerprint")


def fill_columns(columns: Columns, kept: Kept, kinds: dict[int, Column]) -> None:
    """The kernel's columns of the clients' accounts."""
    clients = [each for each in kept.accounts if system_kind(each[0]) is None]
    row = {account: columns.row(account) for account, _, _ in clients}
    whose, every = _lines(clients)
    column_of = np.full(KINDS, -1, dtype=np.int64)
    for kind, column in kinds.items():
        column_of[kind] = column
    column = column_of[every["kind"]]
    known = column >= 0
    numbers = np.array(list(row.values()), dtype=np.int64)
    counts = np.array([len(packed) // LINE.itemsize for _, _, packed in clients], dtype=np.int64)
    rows, keys, balance = np.repeat(numbers, counts)[known], every["asset"][known], every["balance"][known]
    for left in columns.load(rows, column[known], keys.astype(np.int64), balance).tolist():
        account = int(whose[known][left])
        columns.set_line(account, Column(int(column[known][left])), int(keys[left]), int(balance[left]))


def _lines(accounts: Iterable[tuple[int, bytes, bytes]]) -> tuple[U8, npt.NDArray[np.void]]:
    # Whose each line is, and the lines.
    found = list(accounts)
    counts = [len(packed) // LINE.itemsize for _, _, packed in found]
    whose = np.repeat(np.array([account for account, _, _ in found], dtype=np.uint64), counts)
    return whose, np.frombuffer(b"".join(packed for _, _, packed in found), dtype=LINE)
