"""I6: no assets means no debt; the waterfall runs at once, in its order, each step a posting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_account, system_kind
from tools.reconcile.checks.check import Watch, where
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import World

_DEBTS = (ledger_pb2.LINE_KIND_DEBT_SHARES, ledger_pb2.LINE_KIND_OVERDRAFT_SHARES)
_CASH = ledger_pb2.LINE_KIND_CASH
_CAPITAL = {
    ledger_pb2.WATERFALL_STEP_FIRST_LOSS: SystemAccount.FIRST_LOSS,
    ledger_pb2.WATERFALL_STEP_INSURANCE_FUND: SystemAccount.INSURANCE,
}


class NoAssetsNoDebt(Watch):
    """Looks at closes, at the waterfall and at the end."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._house: dict[
            tuple[int, int], int
        ] = {}  # account, asset -> cash as at this outcome, not at its frame's end

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """An emptied account owes nothing; a step of the waterfall stands beside its posting."""
        for outcome in frame.body.outcomes:
            posted: dict[tuple[int, int, int], int] = defaultdict(int)
            spent: dict[tuple[int, int], int] = defaultdict(int)  # of capital, what goes to another partition left out
            for effect in outcome.effects:
                for each in effect.movement.lines:
                    spent[each.account, each.asset] -= each.units
                if effect.HasField("posting"):
                    one = effect.posting
                    posted[one.account, one.asset, one.kind] += one.delta
                    spent[one.account, one.asset] += max(0, -one.delta) if one.kind == _CASH else 0
                    if one.kind == _CASH and system_kind(one.account) is not None:
                        self._house[one.account, one.asset] = one.balance
            for effect in outcome.effects:
                if effect.HasField("episode") and effect.episode.state == ledger_pb2.EPISODE_STATE_EMPTIED:
                    self._emptied(frame, effect.episode, book)
                elif effect.HasField("waterfall"):
                    self._step(frame, effect.waterfall, posted, spent)
                    self._asked(frame, outcome, effect.waterfall)

    def _emptied(self, frame: JournalFrame, one: journal_pb2.Episode, book: PartitionBook) -> None:
        left = {kind: balance for (_, kind), balance in book.lines_of(one.account).items() if kind in _DEBTS}
        if left:
            self.findings.add(f"{where(frame)}: account {one.account} is closed as emptied and owes {left} shares")

    def _asked(self, frame: JournalFrame, outcome: journal_pb2.Outcome, one: journal_pb2.Waterfall) -> None:
        """Lenders bear a loss only once every other partition has said what capital it has."""
        if one.step != ledger_pb2.WATERFALL_STEP_WRITE_OFF or self.world.parameters.partitions == 1:
            return
        over = (each.capital_ask for each in outcome.effects if each.HasField("capital_ask"))
        if not any(each.episode == one.episode and each.is_over for each in over):
            self.findings.add(f"{where(frame)}: lenders of asset {one.asset} bear a loss, other shards were not asked")

    def _step(
        self,
        frame: JournalFrame,
        one: journal_pb2.Waterfall,
        posted: Mapping[tuple[int, int, int], int],
        spent: Mapping[tuple[int, int], int],
    ) -> None:
        if one.step in _CAPITAL:
            capital = system_account(_CAPITAL[one.step], partition=frame.partition)
            moved = spent.get((capital, one.asset), 0)
        elif one.step == ledger_pb2.WATERFALL_STEP_WRITE_OFF:
            pool = system_account(SystemAccount.POOL, partition=frame.partition, index=one.asset)
            moved = posted.get((pool, one.asset, ledger_pb2.LINE_KIND_LOSS), 0)
            for kind in _CAPITAL.values():
                spared = self._house.get((system_account(kind, partition=frame.partition), one.asset), 0)
                if spared > 0:
                    self.findings.add(f"{where(frame)}: lenders of asset {one.asset} bear a loss while {kind.name} "
                                      f"has {spared} units")  # fmt: skip
        else:
            return
        if moved != one.units:
            self.findings.add(f"{where(frame)}: waterfall step {one.step} says {one.units} units, posted are {moved}")

    def finish(self, books: Mapping[int, PartitionBook]) -> None:
        """At the end no client's account has debt and nothing else."""
        for book in books.values():
            for account in book.accounts:
                kinds = {kind for _, kind in book.lines_of(account)}
                if kinds and kinds <= set(_DEBTS) and system_kind(account) is None:
                    self.findings.add(f"account {account} has debt and no assets, and no waterfall ran")
