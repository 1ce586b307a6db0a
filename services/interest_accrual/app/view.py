"""What the journals and the marks say, as far as interest, funding and settlement need it."""

from __future__ import annotations

from dataclasses import dataclass

from ballast.events.v1 import commands_pb2, journal_pb2, lifecycle_pb2, market_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.ids import AssetId, SystemAccount, home_partition, system_index, system_kind
from libs.common.parameters import Parameters
from libs.common.units import INDEX_ONE, Index15, Price, Units, UnixNs, mul_div_up
from libs.common.validity import ValidityClass
from services.interest_accrual.domain.accrual import PoolState
from services.interest_accrual.domain.funding import FundingState
from services.interest_accrual.domain.quotas import Shard

_OURS = frozenset(
    ("set_index", "set_funding", "settle_variation", "move_quota", "close_instrument", "set_outflow_limit")
)
_OUTSIDE = frozenset((SystemAccount.CUSTODY, SystemAccount.VENUE))
_HELD = frozenset((ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_RESERVED))
_EXPECTED = frozenset(
    (
        ledger_pb2.REFUSAL_TICK_OUT_OF_ORDER,
        ledger_pb2.REFUSAL_INSUFFICIENT_LIQUIDITY,
        ledger_pb2.REFUSAL_INSTRUMENT_CLOSED,
    )
)


@dataclass(frozen=True, slots=True)
class Mark:
    """The mark in force of an instrument."""

    price: Price
    index_price: Price
    validity: ValidityClass


class PartitionView:
    """What one partition's journal says of its pools' shards and of the ticks it has."""

    def __init__(self) -> None:
        self.sequence = 0
        self.shard: dict[tuple[int, int], int] = {}  # (asset, LineKind) of the pool's own account -> balance
        self.pools: dict[int, journal_pb2.PoolIndex] = {}
        self.funding: dict[int, journal_pb2.FundingIndex] = {}
        self.settled: dict[int, int] = {}
        self.listings: dict[int, tuple[lifecycle_pb2.Listing, int]] = {}  # instrument that has ended, and the sequence
        self.sweeps: dict[tuple[int, int], lifecycle_pb2.Sweep] = {}  # under way, by kind and subject
        self.treasury: dict[tuple[int, int], int] = {}  # (asset, LineKind) of the house's lender -> balance
        self.quota_moves: dict[int, int] = {}  # asset -> number of the last move out of the shard
        self.on_their_way: dict[tuple[int, int], tuple[int, int]] = {}  # (to, sequence) -> asset, units of quotas sent
        self.held: dict[int, int] = {}  # asset -> units in the vault and at venues
        self.outflow_pots: dict[int, tuple[int, int]] = {}  # asset -> part and holding its limit was last reckoned with
        self.asked_until_ns = UnixNs(0)  # somebody was refused for want of idle units

    def pool_tick(self, asset: int) -> int:
        """Last tick of a pool, 0 before the first."""
        return self.pools[asset].tick if asset in self.pools else 0

    def funding_tick(self, instrument: int) -> int:
        """Last funding tick of an instrument, 0 before the first."""
        return self.funding[instrument].tick if instrument in self.funding else 0

    def settlement_tick(self, instrument: int) -> int:
        """Last settlement of an instrument, 0 before the first."""
        return self.settled.get(instrument, 0)


class View:
    """The fold of all partitions and of the marks.

    Attributes:
        run_time_ns: of the last mark frame.
        mark_sequence: of the last mark frame.
        index_decisions, funding_decisions: by (asset or instrument, tick), as the home partition journalled them; kept
            while a partition lacks them.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.partitions = [PartitionView() for _ in range(parameters.partitions)]
        self.marks: dict[int, Mark] = {}
        self.settlements: dict[int, tuple[Price, int]] = {}  # instrument -> final price, sequence of a frame with it
        self.mark_sequence = 0
        self.run_time_ns = UnixNs(0)
        self.index_decisions: dict[tuple[int, int], commands_pb2.SetIndex] = {}
        self.funding_decisions: dict[tuple[int, int], commands_pb2.SetFunding] = {}

    def home(self, any_key: int) -> int:
        """Partition that decides for a pool or an instrument."""
        return home_partition(any_key, partitions=len(self.partitions))

    def fold_marks(self, *, sequence: int, run_time_ns: int, body: market_pb2.MarksBody) -> None:
        """Folds one frame of marks."""
        self.mark_sequence, self.run_time_ns = sequence, UnixNs(run_time_ns)
        rows = zip(body.instrument, body.mark_price, body.index_price, body.validity, strict=True)
        for instrument, price, index_price, validity in rows:
            self.marks[instrument] = Mark(Price(price), Price(index_price), ValidityClass(validity))
        for average in body.settlement_average:
            if average.is_final:
                self.settlements.setdefault(average.instrument, (Price(average.price), sequence))

    def fold_journal(
        self, partition: int, *, sequence: int, body: journal_pb2.JournalBody
    ) -> list[journal_pb2.Outcome]:
        """Folds one frame of a partition's journal; returns refusals of our commands that are no duplicates."""
        into = self.partitions[partition]
        into.sequence = sequence
        refused = []
        for outcome in body.outcomes:
            if outcome.refusal and outcome.command in _OURS:
                if outcome.refusal not in _EXPECTED:
                    refused.append(outcome)
                continue
            if outcome.command == "redeem" and outcome.refusal == ledger_pb2.REFUSAL_INSUFFICIENT_LIQUIDITY:
                into.asked_until_ns = UnixNs(self.run_time_ns + self.parameters.schedule.interest_every_ns)
            for effect in outcome.effects:
                self._apply(partition, into, sequence, effect)
        return refused

    def _apply(self, partition: int, into: PartitionView, sequence: int, effect: journal_pb2.Effect) -> None:
        match effect.WhichOneof("effect"):
            case "posting":
                one = effect.posting
                if system_kind(one.account) is SystemAccount.POOL and system_index(one.account) == one.asset:
                    into.shard[one.asset, one.kind] = one.balance
                elif system_kind(one.account) is SystemAccount.TREASURY:
                    into.treasury[one.asset, one.kind] = one.balance
                elif one.kind in _HELD and system_kind(one.account) in _OUTSIDE:
                    into.held[one.asset] = into.held.get(one.asset, 0) - one.delta
            case "outflow_pot":
                into.outflow_pots[effect.outflow_pot.asset] = (effect.outflow_pot.number, effect.outflow_pot.held_units)
            case "movement" | "quota_moved":
                _apply_quota(into, effect)
            case "pool_index":
                into.pools[effect.pool_index.asset] = effect.pool_index
                if partition == self.home(effect.pool_index.asset):
                    self._decided_index(effect.pool_index, sequence)
            case "funding_index":
                into.funding[effect.funding_index.instrument] = effect.funding_index
                if partition == self.home(effect.funding_index.instrument):
                    self._decided_funding(effect.funding_index, sequence)
            case "settlement":
                into.settled[effect.settlement.instrument] = effect.settlement.tick
            case "listing":
                into.listings[effect.listing.instrument] = (effect.listing, sequence)
            case "sweep":
                key = (effect.sweep.kind, effect.sweep.subject)
                if effect.sweep.is_over:
                    into.sweeps.pop(key, None)
                else:
                    into.sweeps[key] = effect.sweep

    def _decided_index(self, one: journal_pb2.PoolIndex, sequence: int) -> None:
        # A loss that the tick writes off was posted by the home partition for all of them: a relay carries none.
        self.index_decisions[one.asset, one.tick] = commands_pb2.SetIndex(
            asset=one.asset,
            tick=one.tick,
            run_time_ns=one.run_time_ns,
            borrow_index=one.borrow_index,
            supply_index=one.supply_index,
            overdraft_index=one.overdraft_index,
            borrow_rate=one.borrow_rate,
            home_sequence=sequence,
        )

    def _decided_funding(self, one: journal_pb2.FundingIndex, sequence: int) -> None:
        self.funding_decisions[one.instrument, one.tick] = commands_pb2.SetFunding(
            instrument=one.instrument,
            tick=one.tick,
            run_time_ns=one.run_time_ns,
            cumulative_funding=one.cumulative_funding,
            home_sequence=sequence,
        )

    def shards(self, asset: AssetId) -> list[Shard]:
        """The pool by partition, as each one's journal has it."""
        return [self._shard(asset, number) for number in range(len(self.partitions))]

    def _shard(self, asset: AssetId, number: int) -> Shard:
        one = self.partitions[number]
        index = one.pools.get(asset)
        supply, overdraft = (index.supply_index, index.overdraft_index) if index else (INDEX_ONE, INDEX_ONE)
        lent = -one.treasury.get((asset, ledger_pb2.LINE_KIND_OVERDRAFT_SHARES), 0)
        bought = one.treasury.get((asset, ledger_pb2.LINE_KIND_SUPPLY_SHARES), 0)
        sent = [
            units
            for other in self.partitions
            for (to, _), (what, units) in other.on_their_way.items()
            if (to, what) == (number, asset)
        ]
        return Shard(
            idle=Units(one.shard.get((asset, ledger_pb2.LINE_KIND_CASH), 0)),
            claims=Units(mul_div_up(-one.shard.get((asset, ledger_pb2.LINE_KIND_SUPPLY_SHARES), 0), supply, INDEX_ONE)),
            owed=Units(mul_div_up(max(0, lent), overdraft, INDEX_ONE) + mul_div_up(max(0, bought), supply, INDEX_ONE)),
            quota=Units(one.shard.get((asset, ledger_pb2.LINE_KIND_QUOTA), 0)),
            on_its_way=Units(sum(sent)),
            is_asked=self.run_time_ns < one.asked_until_ns,
        )

    def pool_state(self, asset: AssetId) -> PoolState | None:
        """The pool over all partitions, None while one of them lacks the last tick: only then do its parts fit."""
        home = self.partitions[self.home(asset)]
        tick = home.pool_tick(asset)
        if any(one.pool_tick(asset) != tick for one in self.partitions):
            return None

        def total(kind: ledger_pb2.LineKind) -> int:
            return sum(one.shard.get((asset, kind), 0) for one in self.partitions)

        index = home.pools.get(asset)
        return PoolState(
            asset=asset,
            tick=tick,
            # Quotas add up to what is on its way between shards: none of it is counted twice, or missed.
            idle=Units(total(ledger_pb2.LINE_KIND_CASH) + total(ledger_pb2.LINE_KIND_QUOTA)),
            debt_shares=-total(ledger_pb2.LINE_KIND_DEBT_SHARES),
            supply_shares=-total(ledger_pb2.LINE_KIND_SUPPLY_SHARES),
            loss=Units(total(ledger_pb2.LINE_KIND_LOSS)),
            borrow_index=Index15(index.borrow_index) if index else INDEX_ONE,
            supply_index=Index15(index.supply_index) if index else INDEX_ONE,
            overdraft_index=Index15(index.overdraft_index) if index else INDEX_ONE,
        )

    def held(self, asset: AssetId) -> Units:
        """What the house holds of an asset over all partitions."""
        return Units(max(0, sum(one.held.get(asset, 0) for one in self.partitions)))

    def funding_state(self, instrument: int) -> FundingState:
        """Funding as the instrument's home partition has it."""
        one = self.partitions[self.home(instrument)].funding.get(instrument)
        if one is None:
            return FundingState(0, 0)
        return FundingState(one.tick, int.from_bytes(one.cumulative_funding, "big", signed=True))

    def forget_relayed(self) -> None:
        """Drops decisions that every partition has."""
        for key in [k for k in self.index_decisions if all(p.pool_tick(k[0]) >= k[1] for p in self.partitions)]:
            del self.index_decisions[key]
        for key in [k for k in self.funding_decisions if all(p.funding_tick(k[0]) >= k[1] for p in self.partitions)]:
            del self.funding_decisions[key]


def _apply_quota(into: PartitionView, effect: journal_pb2.Effect) -> None:
    if effect.HasField("quota_moved"):
        into.quota_moves[effect.quota_moved.asset] = effect.quota_moved.number
        return
    one = effect.movement
    key = (one.to_partition, one.sequence)
    if one.arrived:
        into.on_their_way.pop(key, None)
    elif one.kind == ledger_pb2.MOVEMENT_KIND_QUOTA:
        units = sum(each.units for each in one.lines if each.kind == ledger_pb2.LINE_KIND_CASH)
        into.on_their_way[key] = (one.lines[0].asset, units)
