"""I2: idle + debt = lenders' claims + reserve + roundings − losses, so what is left over is never negative.

Amounts stand in 10^-15 units (shares × index), hence exact. A posting may only add to what is left over: by rounding. A
tick moves interest: what borrowers paid, less what lenders got, is the reserve.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_account, system_index, system_kind
from libs.common.units import INDEX_ONE, mul_div_down
from tools.reconcile.checks.check import Watch, where
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import World

CASH = ledger_pb2.LINE_KIND_CASH
DEBT = ledger_pb2.LINE_KIND_DEBT_SHARES
SUPPLY = ledger_pb2.LINE_KIND_SUPPLY_SHARES
OVERDRAFT = ledger_pb2.LINE_KIND_OVERDRAFT_SHARES
LOSS = ledger_pb2.LINE_KIND_LOSS
QUOTA = ledger_pb2.LINE_KIND_QUOTA
_LINES = (CASH, DEBT, SUPPLY, LOSS, QUOTA)


@dataclass(slots=True)
class Shard:
    """One partition's part of a pool; lines as the pool's own account has them."""

    lines: dict[int, int] = field(default_factory=lambda: dict.fromkeys(_LINES, 0))
    borrow_index: int = INDEX_ONE
    supply_index: int = INDEX_ONE
    tick: int = 0

    @property
    def left_over_15(self) -> int:
        """What the shard holds beyond its lenders' claims, 10^-15 units."""
        units = self.lines[CASH] + self.lines[LOSS] + self.lines[QUOTA]
        held = units * INDEX_ONE - self.lines[DEBT] * self.borrow_index
        return held + self.lines[SUPPLY] * self.supply_index


@dataclass(slots=True)
class PoolTotals:
    """A pool over the whole run, 10^-15 units."""

    paid_15: int = 0  # interest of borrowers
    earned_15: int = 0  # interest of lenders, write-offs taken out
    rounding_15: int = 0
    written_off: int = 0  # units


class PoolsBalance(Watch):
    """Follows every shard of every pool."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.shards: dict[tuple[int, int], Shard] = defaultdict(Shard)  # partition, asset
        self.totals: dict[int, PoolTotals] = defaultdict(PoolTotals)  # asset
        self._holds: dict[tuple[int, int], int] = defaultdict(int)  # partition, asset -> tick that takes a loss

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """No outcome takes from what a pool has left over."""
        for outcome in frame.body.outcomes:
            self._too_early(frame, outcome)
            before: dict[int, int] = {}
            losses: dict[int, int] = {}
            for effect in outcome.effects:
                asset = _pool_of(effect)
                if asset is None:
                    continue
                shard = self.shards[frame.partition, asset]
                before.setdefault(asset, shard.left_over_15)
                losses.setdefault(asset, shard.lines[LOSS])
                if effect.HasField("posting"):
                    shard.lines[effect.posting.kind] = effect.posting.balance
                else:
                    before[asset] += self._tick(shard, effect.pool_index)
            for asset, least in before.items():
                self._judge(frame, outcome, asset, before_15=least, loss_before=losses[asset])

    def _too_early(self, frame: JournalFrame, outcome: journal_pb2.Outcome) -> None:
        """Claims change hands at an index that is in force: no tick is due, and no known loss is left out."""
        for effect in outcome.effects:
            if effect.HasField("pool_hold"):
                self._holds[frame.partition, effect.pool_hold.asset] = effect.pool_hold.until_tick
        if outcome.command not in ("supply", "redeem") or outcome.refusal or outcome.repeated:
            return
        rules = self.world.parameters
        due = mul_div_down(frame.run_time_ns - rules.genesis_ns, 1, rules.schedule.interest_every_ns)
        for asset in {effect.posting.asset for effect in outcome.effects if effect.posting.kind == SUPPLY}:
            tick, hold = self.shards[frame.partition, asset].tick, self._holds[frame.partition, asset]
            if tick < max(due, hold):
                self.findings.add(f"{where(frame)}: {outcome.command} on pool {asset} at tick {tick}, due is {due}, "
                                  f"a loss waits for {hold}")  # fmt: skip

    def _tick(self, shard: Shard, moved: journal_pb2.PoolIndex) -> int:
        paid = -shard.lines[DEBT] * (moved.borrow_index - shard.borrow_index)
        earned = -shard.lines[SUPPLY] * (moved.supply_index - shard.supply_index)
        shard.borrow_index, shard.supply_index, shard.tick = moved.borrow_index, moved.supply_index, moved.tick
        totals = self.totals[moved.asset]
        totals.paid_15 += paid
        totals.earned_15 += earned
        return paid - earned

    def _judge(
        self, frame: JournalFrame, outcome: journal_pb2.Outcome, asset: int, *, before_15: int, loss_before: int
    ) -> None:
        shard, totals = self.shards[frame.partition, asset], self.totals[asset]
        gained = shard.left_over_15 - before_15
        if outcome.command == "set_index":  # a loss leaves its line as the supply index takes it
            written_off = loss_before - shard.lines[LOSS]
            totals.written_off += written_off
            gained += written_off * INDEX_ONE
        totals.rounding_15 += gained
        if gained < 0:
            self.findings.add(
                f"{where(frame)}: {outcome.command} takes {-gained / INDEX_ONE:.3f} units from pool {asset}"
            )
        if shard.lines[CASH] < 0:
            self.findings.add(f"{where(frame)}: {outcome.command} leaves pool {asset} with {shard.lines[CASH]} idle")

    def finish(self, books: Mapping[int, PartitionBook]) -> None:
        """What is left over at the end is not negative, and is what interest and roundings add up to."""
        for asset in sorted({asset for _, asset in self.shards}):
            left = sum(shard.left_over_15 for (_, one), shard in self.shards.items() if one == asset)
            totals = self.totals[asset]
            told = totals.paid_15 - totals.earned_15 + totals.rounding_15 - totals.written_off * INDEX_ONE
            if left != told:
                self.findings.add(f"pool {asset}: {left} is left over, interest and roundings make {told}")
            if left < 0:
                self.findings.add(f"pool {asset} owes {-left / INDEX_ONE:.3f} units more than it has")
        for (partition, asset), shard in self.shards.items():
            lenders: dict[int, int] = {DEBT: -shard.lines[DEBT], SUPPLY: -shard.lines[SUPPLY]}
            treasury = system_account(SystemAccount.TREASURY, partition=partition)
            lenders[OVERDRAFT] = -books[partition].lines.get((treasury, asset, OVERDRAFT), 0)
            self._compare(books[partition], asset, lenders)

    def _compare(self, book: PartitionBook, asset: int, counted: Mapping[int, int]) -> None:
        """The shares that pool and house count are the very ones that clients hold, here or after a move elsewhere.

        The house holds claims that it has bought of bankrupt lenders.
        """
        held = dict.fromkeys(counted, 0)
        for (account, one, kind), balance in book.lines.items():
            if one == asset and kind in held and _holds(account, kind):
                held[kind] += balance
        if held != counted:
            self.findings.add(
                f"partition {book.partition}: pool {asset} counts shares {dict(counted)} by kind, clients hold {held}"
            )


def _holds(account: int, kind: int) -> bool:
    house = system_kind(account)
    return house in (None, SystemAccount.IN_TRANSIT) or (house is SystemAccount.TREASURY and kind == SUPPLY)


def _pool_of(effect: journal_pb2.Effect) -> int | None:
    if effect.HasField("pool_index"):
        return effect.pool_index.asset
    if not effect.HasField("posting"):
        return None
    one = effect.posting
    is_pool = system_kind(one.account) is SystemAccount.POOL and system_index(one.account) == one.asset
    return one.asset if is_pool and one.kind in _LINES else None
