"""Decides on margins: opens episodes, and judges orders, withdrawals and transfers that wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.units import SECOND_NS
from libs.common.validity import Action, ValidityClass, permits
from services.risk_evaluation.app.fold import Answer, PartitionFold
from services.risk_evaluation.app.relief import relieves
from services.risk_evaluation.domain.margin import Margins, State, evaluate
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Prices

ANSWER_WITHIN_NS = 2 * SECOND_NS  # of wall time; then the command is sent again under a new key
_NOT_AGAIN_AT_THIS_MARK = frozenset(
    (
        ledger_pb2.REFUSAL_VERDICT_EXPIRED,
        ledger_pb2.REFUSAL_CITES_EARLIER_STATE,
        ledger_pb2.REFUSAL_CITES_OTHER_PARAMETERS,
        ledger_pb2.REFUSAL_MARKS_SILENT,
        ledger_pb2.REFUSAL_EPISODE_OPEN,
        ledger_pb2.REFUSAL_OUTFLOW_ASKED,
        ledger_pb2.REFUSAL_INTERNAL,
    )
)


@dataclass(frozen=True, slots=True)
class Judged:
    """Margins of some rows, and what they stand on.

    Args:
        at: position in `margins` by row.
        citation: of journal, mark and control.
        now_ns: monotonic wall time.
    """

    margins: Margins
    prices: Prices
    at: Mapping[int, int]
    citation: commands_pb2.Citation
    now_ns: int


class _Subject(NamedTuple):
    """What is decided on: an account's episode, or an order or reservation; their ids may be equal."""

    is_account: bool
    id: int


@dataclass(frozen=True, slots=True)
class _Asked:
    n: int
    mark_sequence: int
    until_ns: int


class Decisions:
    """Decisions of one partition, each sent once until the ledger has answered or did not for two seconds."""

    def __init__(self, *, model: Model, fold: PartitionFold, session: bytes) -> None:
        self._model = model
        self._fold = fold
        self._session = session
        self._n = 0
        self._asked: dict[_Subject, _Asked] = {}
        self._by_number: dict[int, _Subject] = {}
        self._not_before: dict[_Subject, int] = {}  # mark sequence from which a refused decision is made anew

    def under(self, model: Model) -> None:
        """Judges by another model of the same columns from now on."""
        self._model = model

    def answer(self, answer: Answer) -> None:
        """Takes the ledger's answer to one of these commands."""
        subject = self._by_number.pop(answer.n, None)
        asked = self._asked.pop(subject, None) if subject is not None else None
        if subject is None or asked is None:
            return
        self._not_before.pop(subject, None)
        if answer.refusal in _NOT_AGAIN_AT_THIS_MARK:
            self._not_before[subject] = asked.mark_sequence + 1
        elif answer.refusal:
            self._not_before[subject] = 0  # such as an account restricted since: look again at once

    def due(self, *, mark_sequence: int, now_ns: int) -> set[int]:
        """Accounts with a decision that was refused at an older mark, or not answered in time."""
        late = {subject for subject, asked in self._asked.items() if asked.until_ns <= now_ns}
        again = {subject for subject, least in self._not_before.items() if least <= mark_sequence}
        for subject in again:
            del self._not_before[subject]
        for subject in late:
            self._by_number.pop(self._asked.pop(subject).n, None)
        return {account for account in map(self._account_of, late | again) if account is not None}

    def _account_of(self, subject: _Subject) -> int | None:
        if subject.is_account:
            return subject.id
        pending = self._fold.pending.get(subject.id)
        return None if pending is None else pending.account

    def forget(self) -> None:
        """Drops what was asked, when another worker may have decided since."""
        self._asked.clear()
        self._by_number.clear()
        self._not_before.clear()

    def decide(self, judged: Judged) -> list[commands_pb2.Command]:
        """Commands for everything that these margins decide."""
        return [*self._episodes(judged), *self._verdicts(judged)]

    def _episodes(self, judged: Judged) -> Iterator[commands_pb2.Command]:
        columns, margins = self._fold.columns, judged.margins
        positions = np.flatnonzero(margins.state >= State.LIQUIDATION)
        if not positions.shape[0]:
            return
        row_at = {position: row for row, position in judged.at.items()}
        for position in positions.tolist():
            account = columns.accounts[row_at[position]]
            if self._fold.book.open_episode(account) is not None or self._is_waiting(_Subject(True, account), judged):
                continue
            attributes = self._fold.book.accounts.get(account)
            if attributes is not None and attributes.moved_out:  # liquidated where it arrives
                continue
            if permits(ValidityClass(int(margins.validity[position])), Action.LIQUIDATION):
                opened = commands_pb2.OpenEpisode(
                    account=account,
                    equity=int(margins.equity[position]),
                    maintenance_margin=int(margins.maintenance_margin[position]),
                    citation=judged.citation,
                )
                yield self._command(_Subject(True, account), judged, open_episode=opened)

    def _verdicts(self, judged: Judged) -> Iterator[commands_pb2.Command]:
        waiting = [(key, self._fold.pending[key]) for key in self._unjudged(judged)]
        orders = [one for _, one in waiting if isinstance(one, journal_pb2.Order)]
        released = self._paid_out([one.account for _, one in waiting], judged)
        verdicts = self._judge_orders(orders, judged, released)
        for order, reason in verdicts:
            verdict = commands_pb2.Verdict(
                account=order.account, order=order.order, settle=not reason, reason=reason, citation=judged.citation
            )
            yield self._command(_Subject(False, order.order), judged, verdict=verdict)
        for key, one in waiting:
            if isinstance(one, journal_pb2.Reservation):
                reason = self._judge_reservation(one, judged, released)
                verdict = commands_pb2.Verdict(
                    account=one.account, reservation=key, settle=not reason, reason=reason, citation=judged.citation
                )
                yield self._command(_Subject(False, key), judged, verdict=verdict)

    def _unjudged(self, judged: Judged) -> list[int]:
        """Ids, in order, of what waits for a verdict on one of the rows judged."""
        fold, columns = self._fold, self._fold.columns
        if len(judged.at) < len(fold.pending):
            accounts = (columns.accounts[row] for row in judged.at)
            keys = [key for account in accounts for key in fold.pending_of.get(account, ())]
        else:
            keys = [key for key, one in fold.pending.items() if columns.row_of.get(one.account) in judged.at]
        return sorted(key for key in keys if not self._is_waiting(_Subject(False, key), judged))

    def may_judge(self, *, mark_sequence: int, now_ns: int) -> set[int]:
        """Accounts with something that waits for a verdict which may be made at this mark."""
        found = set()
        for key, one in self._fold.pending.items():
            asked = self._asked.get(_Subject(False, key))
            is_waiting = asked is not None and asked.until_ns > now_ns
            if not is_waiting and self._not_before.get(_Subject(False, key), 0) <= mark_sequence:
                found.add(one.account)
        return found

    def _paid_out(self, accounts: Sequence[int], judged: Judged) -> dict[int, tuple[Margins, int]]:
        """Margins by row of accounts with reserved cash, as if it had left: new risk and outflows are judged on those.

        Whether an account is liquidated is judged with it: opening an episode gives it back.
        """
        columns = self._fold.columns
        reserved = {one.account for one in self._fold.pending.values() if isinstance(one, journal_pb2.Reservation)}
        rows = columns.entity_rows(columns.row_of[account] for account in reserved.intersection(accounts))
        if not rows:
            return {}
        margins = evaluate(self._model, judged.prices, columns.some_rows(rows, paid_out=True))
        return {row: (margins, position) for position, row in enumerate(rows)}

    def _judge_orders(
        self,
        orders: Sequence[journal_pb2.Order],
        judged: Judged,
        released: dict[int, tuple[Margins, int]],
    ) -> list[tuple[journal_pb2.Order, ledger_pb2.Refusal]]:
        """Each order with the reason against it; `released` gets margins by row where orders were found too many.

        All orders of a row are first judged together; only where that fails they are added one by one, oldest first.
        """
        verdicts: list[tuple[journal_pb2.Order, ledger_pb2.Refusal]] = []
        too_many: dict[int, list[journal_pb2.Order]] = {}
        for order in orders:
            row = self._fold.columns.row_of[order.account]
            reason = self._reason_before_margin(order, judged)
            margins, position = released.get(row, (judged.margins, judged.at[row]))
            if (reason is None and margins.may_add_risk[position]) or (
                order.reduce_only and self._relieves(order, judged)
            ):
                verdicts.append((order, ledger_pb2.REFUSAL_UNSPECIFIED))
            elif reason is None:
                too_many.setdefault(row, []).append(order)
            else:
                verdicts.append((order, reason))
        if too_many:
            verdicts += self._one_by_one(too_many, judged, released)
        return verdicts

    def _one_by_one(
        self, waiting: dict[int, list[journal_pb2.Order]], judged: Judged, released: dict[int, tuple[Margins, int]]
    ) -> Iterator[tuple[journal_pb2.Order, ledger_pb2.Refusal]]:
        columns = self._fold.columns
        rows = columns.entity_rows(waiting)
        without = {order.order for orders in waiting.values() for order in orders}
        for turn in range(max(len(orders) for orders in waiting.values()) + 1):
            added = {row: orders[turn] for row, orders in waiting.items() if turn < len(orders)}
            without -= {order.order for order in added.values()}
            margins = evaluate(self._model, judged.prices, columns.some_rows(rows, without=without, paid_out=True))
            for row, order in added.items():
                fits = bool(margins.may_add_risk[rows.index(row)])
                if not fits:
                    without.add(order.order)
                yield order, ledger_pb2.REFUSAL_UNSPECIFIED if fits else ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN
            released.update((row, (margins, rows.index(row))) for row in waiting)

    def _reason_before_margin(self, order: journal_pb2.Order, judged: Judged) -> ledger_pb2.Refusal | None:
        """Why no new risk may be added whatever the margin; None when the margin decides."""
        if self._is_restricted(order.account):
            return ledger_pb2.REFUSAL_ACCOUNT_RESTRICTED
        column = self._model.instrument_column[order.instrument]
        held = int(judged.margins.validity[judged.at[self._fold.columns.row_of[order.account]]])
        validity = ValidityClass(max(held, judged.prices.instrument_validity[column]))
        return None if permits(validity, Action.NEW_RISK) else ledger_pb2.REFUSAL_MARK_NOT_USABLE

    def _relieves(self, order: journal_pb2.Order, judged: Judged) -> bool:
        """Whether the order only closes what is there, counting those before it, and makes the account safer."""
        columns = self._fold.columns
        row = columns.row_of[order.account]
        mine = columns.orders.get(row, {})
        if order.order not in mine:
            return False
        own = mine[order.order]
        before = [one for one in mine.values() if one.reduce_only and one.order < own.order]
        same = own.lots + sum(
            one.lots
            for one in mine.values()
            if one.order < own.order and one.instrument == own.instrument and (one.lots > 0) == (own.lots > 0)
        )
        position = columns.closable_lots(row, own.instrument)
        if position * own.lots >= 0 or abs(same) > abs(position):
            return False
        return relieves(self._model, judged.prices, columns, account=order.account, order=own, before=before)

    def _judge_reservation(
        self, one: journal_pb2.Reservation, judged: Judged, released: dict[int, tuple[Margins, int]]
    ) -> ledger_pb2.Refusal:
        row = self._fold.columns.row_of[one.account]
        margins, position = released.get(row, (judged.margins, judged.at[row]))
        if self._is_restricted(one.account) or (not one.to_account and self._sibling_in_episode(row)):
            return ledger_pb2.REFUSAL_ACCOUNT_RESTRICTED
        if not permits(ValidityClass(int(margins.validity[position])), Action.WITHDRAWAL):
            return ledger_pb2.REFUSAL_MARK_NOT_USABLE
        fits = bool(margins.may_withdraw[position])
        return ledger_pb2.REFUSAL_UNSPECIFIED if fits else ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN

    def _sibling_in_episode(self, row: int) -> bool:
        """The ledger lets nothing out of an entity that has an account in liquidation."""
        columns, book = self._fold.columns, self._fold.book
        return any(book.open_episode(columns.accounts[other]) is not None for other in columns.entity_rows([row]))

    def _is_restricted(self, account: int) -> bool:
        attributes = self._fold.book.accounts.get(account)
        return attributes is not None and attributes.restricted

    def _is_waiting(self, subject: _Subject, judged: Judged) -> bool:
        """Whether the decision is on its way, or waits for a newer mark."""
        if self._not_before.get(subject, 0) > judged.citation.mark_sequence:
            return True
        asked = self._asked.get(subject)
        return asked is not None and asked.until_ns > judged.now_ns

    def _command(
        self,
        subject: _Subject,
        judged: Judged,
        *,
        verdict: commands_pb2.Verdict | None = None,
        open_episode: commands_pb2.OpenEpisode | None = None,
    ) -> commands_pb2.Command:
        self._n += 1
        before = self._asked.get(subject)
        if before is not None:
            self._by_number.pop(before.n, None)
        self._asked[subject] = _Asked(self._n, judged.citation.mark_sequence, judged.now_ns + ANSWER_WITHIN_NS)
        self._by_number[self._n] = subject
        command = commands_pb2.Command(verdict=verdict, open_episode=open_episode)
        command.session.session = self._session
        command.session.n = self._n
        return command
