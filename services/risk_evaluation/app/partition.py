"""One home partition: folds its journal, evaluates its accounts, and says what is to be published and decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ballast.events.v1 import commands_pb2, risk_pb2
from libs.common.chain import AcceptedFrame
from libs.common.errors import invariant
from libs.common.validity import ValidityClass
from services.risk_evaluation.app.decisions import Decisions, Judged
from services.risk_evaluation.app.fold import PartitionFold
from services.risk_evaluation.app.frames import margin_frame
from services.risk_evaluation.app.market import Control, Market
from services.risk_evaluation.app.ports import Output
from services.risk_evaluation.domain.margin import Margins, State, evaluate
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Prices, funded
from services.risk_evaluation.domain.sweep.engine import Standings
from services.risk_evaluation.domain.sweep.live import LiveBook

FULL_EVERY_FRAMES = 20


class PartitionRisk:
    """The risk of one partition.

    Args:
        session: of this worker's commands, 16 bytes.
        parameters_hash: of the set that `model` was built from.
        kernel_from: accounts from which they are swept by the kernel; None: never.
    """

    def __init__(
        self, *, partition: int, model: Model, session: bytes, parameters_hash: bytes, kernel_from: int | None = None
    ) -> None:
        self.partition = partition
        self.fold = PartitionFold(partition=partition, model=model, session=session)
        self.decisions = Decisions(model=model, fold=self.fold, session=session)
        self._model = model
        self._live = LiveBook(model, self.fold.columns)
        self._kernel_from = kernel_from
        self._parameters_hash = parameters_hash
        self._touched: set[int] = set()
        self._states = np.zeros(0, dtype=np.uint8)
        self._frame = 0
        self._until_full = 0

    @property
    def is_touched(self) -> bool:
        """Whether accounts changed since they were last evaluated."""
        return bool(self._touched)

    def apply(self, frame: AcceptedFrame) -> None:
        """Folds the next journal frame. Raises InvariantBroken (I8, I13)."""
        folded = self.fold.apply(frame)
        self._touched |= folded.touched
        for answer in folded.answers:
            self.decisions.answer(answer)

    def touch(self, accounts: Iterable[int]) -> None:
        """Has accounts looked at again."""
        self._touched.update(accounts)

    def begin(self) -> None:
        """The first frame to come is a full one: another worker may have published since."""
        self._until_full = 0
        self.decisions.forget()

    @property
    def by_state(self) -> list[int]:
        """Number of accounts by MarginState number."""
        return [int(count) for count in np.bincount(self._states, minlength=len(State) + 1)]

    def prices(self, market: Market) -> Prices:
        """Prices with the partition's cumulative funding."""
        return funded(market.prices, self.fold.columns.funding)

    def on_marks(self, market: Market, control: Control, *, now_ns: int) -> Output:
        """All accounts at new marks. Published: those not healthy, changed or touched; everyone now and then."""
        columns, prices = self.fold.columns, self.prices(market)
        count = len(columns.accounts)
        full = self._until_full == 0
        self._until_full = FULL_EVERY_FRAMES - 1 if full else self._until_full - 1
        before = np.zeros(count, dtype=np.uint8)
        before[: self._states.shape[0]] = self._states
        by_kernel = self._kernel_from is not None and count >= self._kernel_from
        swept = self._live.standings(prices) if by_kernel else evaluate(self._model, prices, columns.all_rows())
        self._states = swept.state.copy()
        chosen = np.full(count, full) | (self._states != before) | (self._states != State.HEALTHY)
        for account in self._touched | {one.account for one in self.fold.book.episodes.values()}:
            row = columns.row_of.get(account)
            if row is not None:
                chosen[row] = True
        rows = np.flatnonzero(chosen).tolist()
        evaluated: Sequence[int] = range(count)
        if isinstance(swept, Margins):
            margins = swept
        else:
            margins, evaluated = self._explained(prices, rows, swept)
        at = {row: position for position, row in enumerate(evaluated)}
        return self._output(margins, prices, at, rows, market, control, now_ns=now_ns, full=full)

    def _explained(self, prices: Prices, rows: list[int], swept: Standings) -> tuple[Margins, Sequence[int]]:
        """Margins in full of these rows and of those that wait for a verdict: what the kernel published, once more."""
        columns = self.fold.columns
        waiting = {columns.row_of[one.account] for one in self.fold.pending.values() if one.account in columns.row_of}
        evaluated = columns.entity_rows(waiting.union(rows))
        margins = evaluate(self._model, prices, columns.some_rows(evaluated))
        same = all(
            np.array_equal(getattr(margins, name), getattr(swept, name)[evaluated])
            for name in ("equity", "initial_margin", "maintenance_margin", "equity_for_new_risk", "state")
        )
        invariant(same, "I8", f"partition {self.partition}: the kernel and its oracle differ")
        return margins, evaluated

    def on_touched(self, market: Market, control: Control, *, now_ns: int) -> Output | None:
        """The accounts touched since the last evaluation, with their entities; None when there is none."""
        columns = self.fold.columns
        touched = [columns.row_of[account] for account in self._touched if account in columns.row_of]
        self._touched.clear()
        if not touched or self._until_full == 0:
            return None
        rows = columns.entity_rows(touched)
        prices = self.prices(market)
        margins = evaluate(self._model, prices, columns.some_rows(rows))
        states = np.zeros(len(columns.accounts), dtype=np.uint8)
        states[: self._states.shape[0]] = self._states
        states[rows] = margins.state
        self._states = states
        at = {row: position for position, row in enumerate(rows)}
        return self._output(margins, prices, at, rows, market, control, now_ns=now_ns, full=False)

    def _output(
        self,
        margins: Margins,
        prices: Prices,
        at: dict[int, int],
        published: list[int],
        market: Market,
        control: Control,
        *,
        now_ns: int,
        full: bool,
    ) -> Output:
        self._touched.clear()
        self._frame += 1
        commands: list[commands_pb2.Command] = []
        if not market.silent:
            commands = self.decisions.decide(Judged(margins, prices, at, self.citation(market, control), now_ns))
        frame = margin_frame(
            self._model, margins, [self.fold.columns.accounts[row] for row in published], [at[row] for row in published]
        )
        self.stamp(frame, market, control)
        frame.frame, frame.full = self._frame, full
        frame.accounts_by_state.extend(self.by_state)
        return Output(self.partition, frame, commands, market.received_wall_ns, on_marks=False)

    def citation(self, market: Market, control: Control) -> commands_pb2.Citation:
        """What a decision made now stands on."""
        return commands_pb2.Citation(
            journal_sequence=self.fold.sequence,
            mark_sequence=market.sequence,
            control_sequence=control.sequence,
            mark_run_time_ns=market.run_time_ns,
        )

    def stamp(self, frame: risk_pb2.MarginFrame, market: Market, control: Control) -> None:
        """Says what a frame stands on; while marks are silent every row is STALE."""
        frame.partition = self.partition
        frame.journal_sequence = self.fold.sequence
        frame.mark_sequence = market.sequence
        frame.control_sequence = control.sequence
        frame.run_time_ns = market.run_time_ns
        frame.parameters_hash = self._parameters_hash
        frame.fingerprint = self.fold.book.fingerprint
        if market.silent:
            frame.validity = bytes([ValidityClass.STALE]) * len(frame.account)
