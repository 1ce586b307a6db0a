"""Looks at every accepted frame once more, from its effects alone, and names the invariants that it breaks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ballast.events.v1 import journal_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.book import PartitionBook
from libs.common.ids import (
    CLIENT_BITS,
    SYSTEM_INDEX_COUNT,
    SystemAccount,
    home_partition,
    system_account,
    system_index,
    system_kind,
)
from libs.common.units import INDEX_ONE
from services.collateral_management.app.money_audit import EFFECTS, MoneyAudit

CHECKED = ("I1", "I2", "I3", "I6", "I7", "I10", "I11", "I13", "I15", "I16", "I20", "I21", "I22")
_STEPS = frozenset(
    (
        ledger_pb2.WATERFALL_STEP_FIRST_LOSS,
        ledger_pb2.WATERFALL_STEP_INSURANCE_FUND,
        ledger_pb2.WATERFALL_STEP_SECOND_CAPITAL,
        ledger_pb2.WATERFALL_STEP_WRITE_OFF,
    )
)

_DELEVERAGES = frozenset(("deleverage", "arrive"))  # over partitions it ends with what arrives from the last one
_CASH, _DEBT = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_DEBT_SHARES
_SUPPLY, _LOSS = ledger_pb2.LINE_KIND_SUPPLY_SHARES, ledger_pb2.LINE_KIND_LOSS
_QUOTA, _LOTS = ledger_pb2.LINE_KIND_QUOTA, ledger_pb2.LINE_KIND_LOTS
_OF_POOLS = (_CASH, _DEBT, _SUPPLY, _LOSS, _QUOTA)

Found = Callable[[str, str], None]


@dataclass(slots=True)
class _Shard:
    """This partition's part of a pool, as the pool's own account has it."""

    lines: dict[int, int] = field(default_factory=lambda: dict.fromkeys(_OF_POOLS, 0))
    index: journal_pb2.PoolIndex = field(
        default_factory=lambda: journal_pb2.PoolIndex(
            borrow_index=INDEX_ONE, supply_index=INDEX_ONE, overdraft_index=INDEX_ONE
        )
    )

    @property
    def left_over_15(self) -> int:
        """What it holds beyond its lenders' claims, 10^-15 units: reserve and roundings, which only grow."""
        units = self.lines[_CASH] + self.lines[_LOSS] + self.lines[_QUOTA]
        held = units * INDEX_ONE - self.lines[_DEBT] * self.index.borrow_index
        return held + self.lines[_SUPPLY] * self.index.supply_index


class Audit:
    """The second look at one partition.

    Args:
        partitions: of the cluster.
        found: told the number of a broken invariant, and what was seen.
        paid: told (asset, step, units) of each step of the loss waterfall.
    """

    def __init__(self, partition: int, *, partitions: int, found: Found, paid: Callable[[int, int, int], None]) -> None:
        self._partition = partition
        self._partitions = partitions
        self._found = found
        self._paid = paid
        self._open: dict[int, int] = {}  # episode by account
        self._emptied: dict[int, int] = {}  # closed in this frame, nothing moved since
        self._shards: defaultdict[int, _Shard] = defaultdict(_Shard)  # by asset
        self._money = MoneyAudit(self._say)

    def begin(self, book: PartitionBook) -> None:
        """Begins with a book that holds frames already, instead of with the first frame."""
        self._open = {one.account: one.episode for one in book.episodes.values()}
        self._money.begin(book)
        self._shards.clear()
        for asset in range(SYSTEM_INDEX_COUNT):
            lines = book.lines_of(system_account(SystemAccount.POOL, partition=self._partition, index=asset))
            if lines or asset in book.pools:
                shard = self._shards[asset]
                shard.lines.update({kind: lines.get((asset, kind), 0) for kind in _OF_POOLS})
                shard.index = book.pools.get(asset, shard.index)

    def frame(self, sequence: int, body: journal_pb2.JournalBody, book: PartitionBook, *, is_history: bool) -> None:
        """Takes an accepted frame; `book` has it already. What history paid was told when it was paid."""
        sums: defaultdict[tuple[int, int], int] = defaultdict(int)
        for outcome in body.outcomes:
            of_pools: list[journal_pb2.Posting] = []
            ticks: list[journal_pb2.Posting | journal_pb2.PoolIndex] = []  # postings on pools beside moved indices
            is_moving = deleverages = False
            of_money: list[journal_pb2.Effect] = []
            at_venues: list[journal_pb2.Posting] = []
            for effect in outcome.effects:
                which = effect.WhichOneof("effect")
                match which:
                    case "posting":
                        one = effect.posting
                        account, kind = one.account, one.kind
                        sums[one.asset, kind] += one.delta
                        if self._emptied:
                            self._emptied.pop(account, None)
                        if account & CLIENT_BITS:
                            if kind == _SUPPLY and one.delta > 0:
                                self._money.lent(sequence, outcome.command, one, outcome.effects)
                        elif (house := system_kind(account)) is SystemAccount.POOL:
                            of_pools.append(one)
                        elif house is SystemAccount.IN_TRANSIT:
                            is_moving = True
                        elif house is SystemAccount.VENUE and kind == _CASH:
                            at_venues.append(one)
                    case "order":
                        self._order(sequence, outcome.command, effect.order)
                    case "reservation":
                        self._reservation(sequence, outcome.command, effect.reservation)
                        self._money.left(sequence, book.run_time_ns, effect.reservation)
                    case "episode":
                        self._episode(sequence, effect.episode)
                    case "pool_index":
                        ticks += [*of_pools, effect.pool_index]
                        of_pools.clear()
                    case "waterfall":
                        self._waterfall(sequence, outcome, effect.waterfall, is_history)
                        deleverages |= effect.waterfall.step == ledger_pb2.WATERFALL_STEP_ADL
                    case "position_closed":
                        self._settled(sequence, effect.position_closed, book)
                        deleverages |= effect.position_closed.cause == kinds.CLOSING_CAUSE_DELEVERAGED
                    case _ if which in EFFECTS:
                        of_money.append(effect)
            if of_money or at_venues:
                self._money.places(sequence, outcome.command, at_venues, of_money)
                self._money.moved(of_money)
            if is_moving:
                self._in_transit(sequence, outcome)
            if deleverages:
                self._deleveraged(sequence, outcome)
            if ticks:
                self._ticks(sequence, outcome.command, [*ticks, *of_pools])
            elif of_pools:
                self._pools(sequence, outcome.command, of_pools)
        self._end_frame(sequence, sums, book)

    def _end_frame(self, sequence: int, sums: Mapping[tuple[int, int], int], book: PartitionBook) -> None:
        for account, episode in self._emptied.items():
            if left := book.lines_of(account):
                self._say("I6", sequence, f"episode {episode} closed as emptied with {len(left)} lines")
        self._emptied.clear()
        for (asset, kind), total in sums.items():
            if total:
                self._say("I1", sequence, f"lines of kind {kind} of {asset} move by {total} in all")

    def _say(self, number: str, sequence: int, detail: str) -> None:
        self._found(number, f"partition {self._partition}, sequence {sequence}: {detail}")

    def _in_transit(self, sequence: int, outcome: journal_pb2.Outcome) -> None:
        """What an outcome posts to in-transit accounts is what it sends; arrivals are matched by `tools/reconcile`."""
        away: defaultdict[tuple[int, int, int], int] = defaultdict(int)
        for effect in outcome.effects:
            one = effect.posting
            if effect.HasField("posting") and system_kind(one.account) is SystemAccount.IN_TRANSIT:
                away[system_index(one.account), one.asset, one.kind] += one.delta
            for line in effect.movement.lines:
                away[effect.movement.to_partition, line.asset, line.kind] -= line.units
        origin = int(outcome.fact.stream.rpartition("/")[2]) if outcome.command == "arrive" else -1
        for (other, asset, kind), total in away.items():
            if total and other != origin:
                self._say("I15", sequence, f"{outcome.command} leaves {total} of {asset}/{kind} on the way to {other}")

    def _pools(self, sequence: int, command: str, moved: Sequence[journal_pb2.Posting]) -> None:
        gained: dict[int, int] = {}  # 10^-15 units by asset
        for one in moved:
            asset, kind = one.asset, one.kind
            if kind in _OF_POOLS and system_index(one.account) == asset:
                shard = self._shards[asset]
                change = one.balance - shard.lines[kind]
                shard.lines[kind] = one.balance
                if kind == _DEBT:
                    change *= -shard.index.borrow_index
                else:
                    change *= shard.index.supply_index if kind == _SUPPLY else INDEX_ONE
                gained[asset] = gained.get(asset, 0) + change
        for asset, change in gained.items():
            self._judge(sequence, command, asset, change)

    def _judge(self, sequence: int, command: str, asset: int, gained: int) -> None:
        idle = self._shards[asset].lines[_CASH]
        if gained < 0 or idle < 0:
            self._say("I2", sequence, f"{command} takes {-gained} from pool {asset}, {idle} are idle")

    def _ticks(self, sequence: int, command: str, moved: Sequence[journal_pb2.Posting | journal_pb2.PoolIndex]) -> None:
        before: dict[int, tuple[int, int]] = {}  # by asset: left over with the tick's interest, loss
        for one in moved:
            asset = one.asset
            shard = self._shards[asset]
            if isinstance(one, journal_pb2.PoolIndex):
                left, loss = before.get(asset) or (shard.left_over_15, shard.lines[_LOSS])
                before[asset] = (left + self._tick(sequence, shard, one, loss), loss)
            elif one.kind in _OF_POOLS and system_index(one.account) == asset:
                if asset not in before:
                    before[asset] = (shard.left_over_15, shard.lines[_LOSS])
                shard.lines[one.kind] = one.balance
        for asset, (least_15, loss) in before.items():
            shard = self._shards[asset]
            gained = shard.left_over_15 - least_15
            if command == "set_index":  # a loss leaves its line as the supply index takes it
                gained += (loss - shard.lines[_LOSS]) * INDEX_ONE
            self._judge(sequence, command, asset, gained)

    def _tick(self, sequence: int, shard: _Shard, moved: journal_pb2.PoolIndex, loss: int) -> int:
        """What borrowers paid beyond what lenders got."""
        was, shard.index = shard.index, moved
        if moved.borrow_index < was.borrow_index or moved.overdraft_index < was.overdraft_index:
            self._say("I7", sequence, f"an index that borrowers of {moved.asset} owe by fell")
        decides = home_partition(moved.asset, partitions=self._partitions) == self._partition
        if moved.supply_index < was.supply_index and decides and loss == shard.lines[_LOSS]:
            self._say("I7", sequence, f"the supply index of {moved.asset} fell without a write-off")
        paid = -shard.lines[_DEBT] * (moved.borrow_index - was.borrow_index)
        return paid + shard.lines[_SUPPLY] * (moved.supply_index - was.supply_index)

    def _order(self, sequence: int, command: str, one: journal_pb2.Order) -> None:
        is_first = one.state == ledger_pb2.ORDER_STATE_RELEASED and one.remaining == one.lots
        if is_first and command != ("step_episode" if one.episode else "verdict"):
            self._say("I3", sequence, f"order {one.order} released by {command}")

    def _reservation(self, sequence: int, command: str, one: journal_pb2.Reservation) -> None:
        if one.state == ledger_pb2.RESERVATION_STATE_SETTLED and command != "verdict":
            self._say("I3", sequence, f"reservation {one.reservation} settled by {command}")

    def _episode(self, sequence: int, one: journal_pb2.Episode) -> None:
        if one.opened_sequence == sequence and one.equity >= one.maintenance_margin:
            self._say("I10", sequence, f"episode {one.episode} opened on an account at its maintenance margin")
        if one.state == ledger_pb2.EPISODE_STATE_OPEN:
            known = self._open.setdefault(one.account, one.episode)
            if known != one.episode:
                self._say("I13", sequence, f"episodes {known} and {one.episode} of one account are open")
            return
        self._open.pop(one.account, None)
        if one.state == ledger_pb2.EPISODE_STATE_EMPTIED:
            self._emptied[one.account] = one.episode

    def _waterfall(
        self, sequence: int, outcome: journal_pb2.Outcome, one: journal_pb2.Waterfall, is_history: bool
    ) -> None:
        is_adl = one.step == ledger_pb2.WATERFALL_STEP_ADL and outcome.command in _DELEVERAGES
        if not is_adl and one.step not in _STEPS:
            self._say("I11", sequence, f"step {one.step} of the waterfall reaches other clients")
        if not is_history:
            self._paid(one.asset, one.step, one.units)

    def _settled(self, sequence: int, one: lifecycle_pb2.PositionClosed, book: PartitionBook) -> None:
        if one.cause == kinds.CLOSING_CAUSE_SETTLED:
            listing = book.lifecycle.listings.get(one.instrument)
            if listing is None or listing.price != one.price:
                decided = listing.price if listing else None
                self._say("I16", sequence, f"account {one.account} is settled at {one.price}, decided is {decided}")

    def _deleveraged(self, sequence: int, outcome: journal_pb2.Outcome) -> None:
        """Both sides of a deleveraging only shrink, to nothing at most; what comes back, the account had before."""
        first: dict[int, int] = {}
        back = _given_back(outcome)
        for effect in outcome.effects:
            one = effect.posting
            if one.account in back:
                continue
            if effect.HasField("posting") and one.kind == _LOTS and system_kind(one.account) is None:
                before = first.setdefault(one.account, one.balance - one.delta)
                if abs(one.balance) >= abs(before) or one.balance * before < 0:
                    self._say("I11", sequence, f"account {one.account} goes from {before} to {one.balance} lots")


def _given_back(outcome: journal_pb2.Outcome) -> set[int]:
    """Accounts that have lots again which nobody elsewhere could take."""
    closed = (effect.position_closed for effect in outcome.effects)
    return {one.account for one in closed if one.cause == kinds.CLOSING_CAUSE_GIVEN_BACK}
