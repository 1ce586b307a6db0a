"""Judges risk: published margins again from the journal and the marks alone, and what its verdicts let out (I3, I8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from services.risk_evaluation.app.ports import Output
from services.risk_evaluation.domain import margin, prices
from tools.reconcile.margins import Recomputation, book_columns, priced_at
from tools.reconcile.world import World

_EVERY = 8  # margin frames of which one is computed again


class Judgement:
    """Computes on a book of its own, wherever that stands at the sequence that risk cites.

    Attributes:
        orders: every state of every order, as journalled.
    """

    def __init__(self, world: World, *, found: Callable[[str, str], None]) -> None:
        self.orders: defaultdict[int, list[journal_pb2.Order]] = defaultdict(list)
        self.margins_checked = self.verdicts_checked = 0
        self._world, self._found = world, found
        self._again = Recomputation(world)
        self._seen = 0

    def frame(self, partition: int, body: journal_pb2.JournalBody) -> None:
        """Takes an accepted frame."""
        for outcome in body.outcomes:
            for effect in outcome.effects:
                if effect.HasField("order"):
                    self.orders[effect.order.order].append(effect.order)

    def output(self, output: Output, book: PartitionBook) -> None:
        """Looks at what risk lets out, as far as the book still stands where risk stood."""
        frame = output.frame
        if frame is None or frame.journal_sequence != book.sequence:
            return
        self._seen += 1
        if self._seen % _EVERY == 0 and frame.account:
            self.margins_checked += 1
            _, differences = self._again.compare(frame, book)
            for each in differences:
                self._found("I8", f"margin at partition {book.partition} frame {book.sequence}: {each}")
        for command in output.commands:
            if command.HasField("verdict") and command.verdict.settle:
                self._verdict(command.verdict, book)

    def _verdict(self, verdict: commands_pb2.Verdict, book: PartitionBook) -> None:
        """After what is let out, the account is at or above its requirement on the cited state and marks."""
        order = book.orders.get(verdict.order)
        if order is not None and order.reduce_only:
            return
        number = self._world.marks.number_of(verdict.citation.mark_sequence)
        if number < 0:
            return
        self.verdicts_checked += 1
        columns = book_columns(self._again.model, book)
        for one in book.orders.values():  # others that wait may all be refused
            if one.state == ledger_pb2.ORDER_STATE_RESERVED and one.order != verdict.order:
                columns.remove_order(one.account, one.order)
        priced = prices.funded(priced_at(self._again.model, self._world.marks, number), columns.funding)
        row = columns.row_of[verdict.account]
        rows = columns.entity_rows([row])
        margins = margin.evaluate(self._again.model, priced, columns.some_rows(rows, paid_out=True))
        at = rows.index(row)
        fits = margins.may_add_risk[at] if verdict.order else margins.may_withdraw[at]
        if not fits:
            what = f"order {verdict.order}" if verdict.order else f"reservation {verdict.reservation}"
            self._found("I3", f"{what} of account {verdict.account} is let out at partition {book.partition} "
                              f"frame {book.sequence}: equity {int(margins.equity[at])}, initial margin "
                              f"{int(margins.initial_margin[at])}")  # fmt: skip
