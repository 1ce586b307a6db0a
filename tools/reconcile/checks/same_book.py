"""I13: every follower's book is the ledger's; at the end no order is forgotten and every episode had one opening."""

from __future__ import annotations

from collections.abc import Mapping

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from tools.reconcile.checks.check import Watch, where
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import World

_OPEN = ledger_pb2.EPISODE_STATE_OPEN


class SameBook(Watch):
    """Compares fingerprints: of this fold, of the ledger, of risk."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.frames_verified = 0
        self.risk_verified = 0
        self._episodes: dict[int, journal_pb2.Episode] = {}
        self._open_of: dict[int, int] = {}  # account -> episode

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """The ledger's fingerprint and risk's are that of this fold; episodes do not overlap."""
        ours = book.fingerprint
        if frame.body.fingerprint == ours:
            self.frames_verified += 1
        else:
            self.findings.add(f"{where(frame)}: the ledger's fingerprint is not that of its journal")
        theirs = self.world.fingerprints.get((frame.partition, frame.sequence))
        if theirs == ours:
            self.risk_verified += 1
        elif theirs is not None:
            self.findings.add(f"{where(frame)}: risk's book differs from the ledger's")
        for outcome in frame.body.outcomes:
            for effect in outcome.effects:
                if effect.HasField("episode"):
                    self._episode(frame, effect.episode)

    def _episode(self, frame: JournalFrame, one: journal_pb2.Episode) -> None:
        before = self._episodes.get(one.episode)
        if before is None:
            other = self._open_of.get(one.account)
            if one.state != _OPEN or other:
                self.findings.add(f"{where(frame)}: episode {one.episode} begins in state {one.state} "
                                  f"while episode {other} is open")  # fmt: skip
        elif before.state != _OPEN or before.opened_sequence != one.opened_sequence:
            self.findings.add(f"{where(frame)}: episode {one.episode} opens again or moves after its close")
        self._episodes[one.episode] = one
        if one.state == _OPEN:
            self._open_of[one.account] = one.episode
        else:
            self._open_of.pop(one.account, None)

    def finish(self, books: Mapping[int, PartitionBook]) -> None:
        """Nothing waits for an answer that nobody will give."""
        for each in self.world.two_books.shown:
            self.findings.add(each)
        for book in books.values():
            for order in book.orders.values():
                if reason := _forgotten(order, book):
                    self.findings.add(f"order {order.order} of account {order.account} is forgotten: {reason}")
            for one in book.reservations.values():
                self.findings.add(f"reservation {one.reservation} of account {one.account} has no verdict")
        for sequence in [key for key in self.world.fingerprints if key[1] > _last(books, key[0])][:1]:
            self.findings.add(f"risk stands on frame {sequence[1]} of partition {sequence[0]}, which does not exist")


def _last(books: Mapping[int, PartitionBook], partition: int) -> int:
    return books[partition].sequence if partition in books else 0


def _forgotten(order: journal_pb2.Order, book: PartitionBook) -> str:
    if order.state == ledger_pb2.ORDER_STATE_RESERVED:
        return "it has no verdict"
    if order.state == ledger_pb2.ORDER_STATE_CANCELLING:
        return "its cancel was never answered"
    if order.state == ledger_pb2.ORDER_STATE_RELEASED and order.send_by_ns < book.run_time_ns:
        return "it was released, its send-by time is over, and the venue never said a word"
    if order.episode and order.episode not in book.episodes:
        return "its episode is closed"
    return ""
