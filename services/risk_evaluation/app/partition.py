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
from services.risk_evaluation.domain.arrays import U1
from services.risk_evaluation.domain.bumps import bumped_prices
from services.risk_evaluation.domain.margin import Margins, State, evaluate
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Prices, funded
from services.risk_evaluation.domain.sweep.engine import Standings
from services.risk_evaluation.domain.sweep.live import TICKS_FROM, LiveBook

FULL_EVERY_FRAMES = 20
FULL_ROWS_MAX = 2_048  # accounts of a partition that is published whole; everyone of a larger one goes round in parts
PART_ROWS = 512
FRAME_ROWS_MAX = 65_536  # of a record, which holds eight million bytes

_COMPARED = ("equity", "initial_margin", "maintenance_margin", "equity_for_new_risk")


class PartitionRisk:
    """The risk of one partition.

    Args:
        session: of this worker's commands, 16 bytes.
        model: the parameters at the volatilities in force (`under`).
        parameters_hash: of the set that `model` was built from.
        kernel_from: accounts from which they are swept by the kernel; None: never.
        ticks_from: accounts from which only those are valued whose state may have changed.
    """

    def __init__(
        self,
        *,
        partition: int,
        model: Model,
        session: bytes,
        parameters_hash: bytes,
        kernel_from: int | None = None,
        ticks_from: int = TICKS_FROM,
    ) -> None:
        self.partition = partition
        self.fold = PartitionFold(partition=partition, model=model, session=session)
        self.decisions = Decisions(model=model, fold=self.fold, session=session)
        self._model = model
        self._live = LiveBook(model, self.fold.columns, ticks_from=ticks_from)
        self._kernel_from = kernel_from
        self._parameters_hash = parameters_hash
        self._touched: set[int] = set()
        self._keep(np.zeros(0, dtype=np.uint8))
        self._frame = 0
        self._until_full = 0
        self._is_new = True  # nothing published since the partition was assigned
        self._turn = 0  # row with which the next part of everyone begins
        self._nobody: tuple[Model, Margins] | None = None
        self._swept: Standings | None = None
        self._swept_at = (0, 0)  # sequences of the journal and of the marks it was swept at

    @property
    def is_touched(self) -> bool:
        """Whether accounts changed since they were last evaluated."""
        return bool(self._touched)

    def under(self, model: Model) -> None:
        """Judges by another model of the same columns from now on: volatilities moved."""
        self._model = model
        self.decisions.under(model)
        self._live.under(model)

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
        self._until_full, self._is_new = 0, True
        self.decisions.forget()

    @property
    def by_state(self) -> list[int]:
        """Number of accounts by MarginState number."""
        return self._by_state

    def _keep(self, states: U1) -> None:
        self._states = states
        self._by_state = [int(count) for count in np.bincount(states, minlength=len(State) + 1)]

    def prices(self, market: Market) -> Prices:
        """Prices with the partition's cumulative funding."""
        return funded(market.prices, self.fold.columns.funding)

    def on_marks(self, market: Market, control: Control, *, now_ns: int) -> list[Output]:
        """All accounts at new marks. Published: those not healthy, changed or touched; everyone now and then.

        Everyone of a partition too large for that goes round in parts (`next_part`).
        """
        columns, prices = self.fold.columns, self.prices(market)
        count = len(columns.accounts)
        self._is_new = False
        full = self._until_full == 0 and count <= FULL_ROWS_MAX
        self._until_full = FULL_EVERY_FRAMES - 1 if self._until_full == 0 else self._until_full - 1
        before = np.zeros(count, dtype=np.uint8)
        before[: self._states.shape[0]] = self._states
        by_kernel = self._kernel_from is not None and count >= self._kernel_from
        margins: Margins | None = None
        self._swept, self._swept_at = None, (self.fold.sequence, market.sequence)
        if by_kernel:
            self._swept = self._live.standings(prices)
            self._keep(self._swept.state.copy())
        else:
            margins = evaluate(self._model, prices, columns.all_rows())
            self._keep(margins.state)
        chosen = np.full(count, full) | (self._states != State.HEALTHY)
        if count <= FULL_ROWS_MAX or self._frame > 0:
            chosen |= self._states != before
        for account in self._touched | {one.account for one in self.fold.book.episodes.values()}:
            row = columns.row_of.get(account)
            if row is not None:
                chosen[row] = True
        rows = np.flatnonzero(chosen).tolist()
        evaluated: Sequence[int] = range(count)
        if margins is None:
            waiting = self.decisions.may_judge(mark_sequence=market.sequence, now_ns=now_ns)
            margins, evaluated = self._explained(market, prices, rows, waiting)
        at = {row: position for position, row in enumerate(evaluated)}
        return self._outputs(margins, prices, at, rows, market, control, now_ns=now_ns, full=full)

    def _explained(
        self, market: Market, prices: Prices, rows: list[int], waiting: Iterable[int]
    ) -> tuple[Margins, Sequence[int]]:
        """Margins in full of these rows and of accounts that wait for a verdict: what was swept, once more."""
        columns = self.fold.columns
        judged = {columns.row_of[account] for account in waiting if account in columns.row_of}
        evaluated = columns.entity_rows(judged.union(rows))
        if not evaluated:
            return self._of_nobody(prices), evaluated
        margins = evaluate(self._model, prices, columns.some_rows(evaluated))
        self._check(margins, evaluated, market)
        return margins, evaluated

    def _of_nobody(self, prices: Prices) -> Margins:
        """Margins of no account, kept: half of all frames have nothing to tell but their sequence."""
        if self._nobody is None or self._nobody[0] is not self._model:
            self._nobody = self._model, evaluate(self._model, prices, self.fold.columns.some_rows([]))
        return self._nobody[1]

    def _check(self, margins: Margins, rows: Sequence[int], market: Market) -> None:
        """The kernel's figures of these rows are the oracle's, as long as book and marks are what was swept."""
        if self._swept is None or self._swept_at != (self.fold.sequence, market.sequence):
            return
        fresh = self._live.is_fresh[rows]
        same = np.array_equal(margins.state, self._swept.state[rows]) and all(
            np.array_equal(getattr(margins, name)[fresh], getattr(self._swept, name)[rows][fresh]) for name in _COMPARED
        )
        invariant(same, "I8", f"partition {self.partition}: the kernel and its oracle differ")

    def settle(self, market: Market) -> bool:
        """Prepares for marks to come, while nothing else is due; false when there is nothing to prepare."""
        if self._swept is None or not self._live.is_due:
            return False
        columns, bumped = self.fold.columns, None
        if columns.options.by_row:
            bumped = bumped_prices(self._model, market.marks, market.surfaces, columns.funding)
        self._live.lay(self.prices(market), bumped)
        return True

    def next_part(self, market: Market, control: Control) -> Output | None:
        """The next part of everyone, while the worker has nothing to decide; None where frames hold everyone anyway."""
        columns = self.fold.columns
        count = len(columns.accounts)
        if count <= FULL_ROWS_MAX or self._frame == 0:
            return None
        begin = self._turn if self._turn < count else 0
        self._turn = min(count, begin + PART_ROWS)
        published = list(range(begin, self._turn))
        rows = columns.entity_rows(published)
        margins = evaluate(self._model, self.prices(market), columns.some_rows(rows))
        self._check(margins, rows, market)
        at = {row: position for position, row in enumerate(rows)}
        frame = self._framed(margins, at, published, market, control)
        return Output(self.partition, frame, (), market.received_wall_ns, on_marks=False)

    def on_touched(self, market: Market, control: Control, *, now_ns: int) -> list[Output]:
        """The accounts touched since the last evaluation, with their entities; empty when there is none."""
        columns = self.fold.columns
        touched = [columns.row_of[account] for account in self._touched if account in columns.row_of]
        self._touched.clear()
        if not touched or self._is_new:  # a full frame is under way
            return []
        rows = columns.entity_rows(touched)
        prices = self.prices(market)
        margins = evaluate(self._model, prices, columns.some_rows(rows))
        states = np.zeros(len(columns.accounts), dtype=np.uint8)
        states[: self._states.shape[0]] = self._states
        states[rows] = margins.state
        self._keep(states)
        at = {row: position for position, row in enumerate(rows)}
        return self._outputs(margins, prices, at, rows, market, control, now_ns=now_ns, full=False)

    def _outputs(
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
    ) -> list[Output]:
        """What is decided goes out with the first frame; more than one where a record could not hold all rows."""
        self._touched.clear()
        self._frame += 1
        commands: list[commands_pb2.Command] = []
        if not market.silent:
            commands = self.decisions.decide(Judged(margins, prices, at, self.citation(market, control), now_ns))
        outputs = []
        for begin in range(0, max(1, len(published)), FRAME_ROWS_MAX):
            part = published[begin : begin + FRAME_ROWS_MAX]
            frame = self._framed(margins, at, part, market, control)
            frame.full = full and len(part) == len(published)
            sent = commands if begin == 0 else []
            outputs.append(Output(self.partition, frame, sent, market.received_wall_ns, on_marks=False))
        return outputs

    def _framed(
        self, margins: Margins, at: dict[int, int], published: list[int], market: Market, control: Control
    ) -> risk_pb2.MarginFrame:
        accounts = self.fold.columns.accounts
        frame = margin_frame(self._model, margins, [accounts[row] for row in published], [at[row] for row in published])
        self.stamp(frame, market, control)
        frame.frame = self._frame
        frame.accounts_by_state.extend(self.by_state)
        return frame

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
