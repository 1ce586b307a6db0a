"""Sends the ledger the ticks that are due and that its journal does not have: the journal is the only memory.

A tick is proposed to its home partition, and what that partition journalled is relayed to the others word for word.
A pool's next tick is proposed when every partition has the last one. After a long gap the missing ticks follow one
another on the inputs as they are. What several instances send twice, the ledger refuses by the number of the tick.
The remainder of funding is carried in memory only: a restart loses less than 10^-9 of a settlement unit a lot.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from ballast.events.v1 import commands_pb2, custody_pb2, interest_pb2, movement_pb2
from libs.common.parameters import Instrument, OutflowRule, Pool
from libs.common.units import SECOND_NS, mul_div_down
from libs.common.validity import Action, permits
from services.interest_accrual.app.endings import Endings
from services.interest_accrual.app.ports import CommandPort, RatesPort
from services.interest_accrual.app.view import Mark, View
from services.interest_accrual.domain import funding, quotas, schedule
from services.interest_accrual.domain.accrual import PoolTick, decide

BATCH_TICKS_MAX = 256
RESEND_SECONDS = 5.0
OUTFLOW_PART_NS = 300 * SECOND_NS  # an outflow limit follows what the house holds once in this time

_Subject = tuple[str, int, int]  # command, asset or instrument, partition
_Outbox = dict[int, list[commands_pb2.Command]]  # by partition


@dataclass(frozen=True, slots=True)
class _Asked:
    tick: int
    at_s: float


class Accrual:
    """Process manager of ticks; all of it can be lost at any time."""

    def __init__(self, view: View, *, commands: CommandPort, rates: RatesPort) -> None:
        self._view = view
        self._commands = commands
        self._rates = rates
        self._endings = Endings(view)
        self._asked: dict[_Subject, _Asked] = {}
        self._returned: dict[int, int] = {}  # asset -> tick at which surplus was last sent back
        self._carried: dict[tuple[int, int], int] = {}  # (instrument, tick) -> remainder of our own proposals

    async def step(self, *, now_s: float) -> int:
        """Sends what is due and not on its way; returns the number of commands.

        Args:
            now_s: monotonic seconds, for sending again what got lost.
        """
        outbox: _Outbox = defaultdict(list)
        decisions: list[interest_pb2.RateDecision] = []
        parameters = self._view.parameters
        for pool in parameters.pools:
            self._relay_index(pool, outbox, now_s)
            decisions += self._propose_index(pool, outbox, now_s)
            self._move_quotas(pool, outbox, now_s)
        for rule in parameters.guards.outflows:
            self._limit_outflow(rule, outbox, now_s)
        for instrument in parameters.instruments:
            if instrument.is_perpetual:
                self._relay_funding(instrument, outbox, now_s)
                if not self._has_ended(instrument):
                    self._propose_funding(instrument, outbox, now_s)
            if instrument.is_margined and not self._has_ended(instrument):
                self._settle(instrument, outbox, now_s)
            for partition, command in self._endings.due(instrument, now_s=now_s):
                outbox[partition].append(command)
        self._view.forget_relayed()
        if decisions:  # the reason first: no tick in the journal is without one
            await self._rates.publish(decisions)
        for partition, commands in outbox.items():
            await self._commands.send(partition, commands)
        return sum(map(len, outbox.values()))

    def _has_ended(self, instrument: Instrument) -> bool:
        return 0 < instrument.closes_ns <= self._view.run_time_ns

    def _due(self, period_ns: int) -> int:
        genesis = self._view.parameters.genesis_ns
        return schedule.last_due(genesis_ns=genesis, period_ns=period_ns, now_ns=self._view.run_time_ns)

    def _on_its_way(self, subject: _Subject, *, have: int, now_s: float) -> bool:
        asked = self._asked.get(subject)
        return asked is not None and asked.tick > have and now_s - asked.at_s < RESEND_SECONDS

    def _missing(self, subject: _Subject, *, have: int, want: int, now_s: float) -> range:
        """Ticks to send now: after what the journal has and what is on its way."""
        first = self._asked[subject].tick + 1 if self._on_its_way(subject, have=have, now_s=now_s) else have + 1
        last = min(want, first + BATCH_TICKS_MAX - 1)
        if first <= last:
            self._asked[subject] = _Asked(last, now_s)
        return range(first, last + 1)

    def _propose_index(self, pool: Pool, outbox: _Outbox, now_s: float) -> list[interest_pb2.RateDecision]:
        parameters = self._view.parameters
        period, genesis = parameters.schedule.interest_every_ns, parameters.genesis_ns
        home = self._view.home(pool.asset)
        subject = ("set_index", pool.asset, home)
        state = self._view.pool_state(pool.asset)
        if state is None or self._on_its_way(subject, have=state.tick, now_s=now_s):
            return []
        reasons = []
        for number in self._missing(subject, have=state.tick, want=self._due(period), now_s=now_s):
            tick = decide(
                pool,
                state,
                run_time_ns=schedule.tick_time(number, genesis_ns=genesis, period_ns=period),
                elapsed_ns=period,
                index_step_max=parameters.ledger.index_step_max,
            )
            outbox[home].append(commands_pb2.Command(set_index=_set_index(tick)))
            reasons.append(self._reason(tick))
            state = tick.after()
        return reasons

    def _relay_index(self, pool: Pool, outbox: _Outbox, now_s: float) -> None:
        home = self._view.home(pool.asset)
        decided = self._view.partitions[home].pool_tick(pool.asset)
        for number, partition in enumerate(self._view.partitions):
            if number != home:
                subject = ("set_index", pool.asset, number)
                have = partition.pool_tick(pool.asset)
                for tick in self._missing(subject, have=have, want=decided, now_s=now_s):
                    one = self._view.index_decisions[pool.asset, tick]
                    outbox[number].append(commands_pb2.Command(set_index=one))

    def _move_quotas(self, pool: Pool, outbox: _Outbox, now_s: float) -> None:
        view, bank = self._view, self._view.home(pool.asset)
        tick = view.partitions[bank].pool_tick(pool.asset)
        is_tick = tick > self._returned.get(pool.asset, tick)
        self._returned[pool.asset] = tick
        for move in quotas.plan(view.shards(pool.asset), bank=bank, is_tick=is_tick):
            have = view.partitions[move.origin].quota_moves.get(pool.asset, 0)
            subject = ("move_quota", pool.asset, move.origin)
            for number in self._missing(subject, have=have, want=have + 1, now_s=now_s):
                one = movement_pb2.MoveQuota(asset=pool.asset, number=number, to_partition=move.to, units=move.units)
                outbox[move.origin].append(commands_pb2.Command(move_quota=one))

    def _limit_outflow(self, rule: OutflowRule, outbox: _Outbox, now_s: float) -> None:
        bank, held = self._view.home(rule.asset), self._view.held(rule.asset)
        number, known = self._view.partitions[bank].outflow_pots.get(rule.asset, (0, 0))
        part = mul_div_down(self._view.run_time_ns, 1, OUTFLOW_PART_NS)
        subject = ("set_outflow_limit", rule.asset, bank)
        is_due = part > number and rule.limits(held) != rule.limits(known)
        if self._view.parameters.partitions > 1 and is_due and not self._on_its_way(subject, have=number, now_s=now_s):
            self._asked[subject] = _Asked(part, now_s)
            one = custody_pb2.SetOutflowLimit(asset=rule.asset, number=part, held_units=held)
            outbox[bank].append(commands_pb2.Command(set_outflow_limit=one))

    def _propose_funding(self, instrument: Instrument, outbox: _Outbox, now_s: float) -> None:
        rules = self._view.parameters.schedule
        home = self._view.home(instrument.id)
        subject = ("set_funding", instrument.id, home)
        state = self._view.funding_state(instrument.id)
        mark = self._usable_mark(instrument)
        if mark is None or self._on_its_way(subject, have=state.tick, now_s=now_s):
            return
        state = replace(state, carried=self._carried.get((instrument.id, state.tick), 0))
        for tick in self._missing(subject, have=state.tick, want=self._due(rules.funding_every_ns), now_s=now_s):
            state = funding.accrue(instrument, state, rate=rules.funding_rate, index_price=mark.index_price)
            self._carried[instrument.id, tick] = state.carried
            self._carried.pop((instrument.id, tick - 2 * BATCH_TICKS_MAX), None)  # bounded
            outbox[home].append(commands_pb2.Command(set_funding=self._set_funding(instrument, state)))

    def _set_funding(self, instrument: Instrument, state: funding.FundingState) -> commands_pb2.SetFunding:
        parameters = self._view.parameters
        at_ns = schedule.tick_time(
            state.tick, genesis_ns=parameters.genesis_ns, period_ns=parameters.schedule.funding_every_ns
        )
        return commands_pb2.SetFunding(
            instrument=instrument.id,
            tick=state.tick,
            run_time_ns=at_ns,
            cumulative_funding=state.cumulative.to_bytes(16, "big", signed=True),
        )

    def _relay_funding(self, instrument: Instrument, outbox: _Outbox, now_s: float) -> None:
        home = self._view.home(instrument.id)
        decided = self._view.partitions[home].funding_tick(instrument.id)
        for number, partition in enumerate(self._view.partitions):
            if number != home:
                subject = ("set_funding", instrument.id, number)
                have = partition.funding_tick(instrument.id)
                for tick in self._missing(subject, have=have, want=decided, now_s=now_s):
                    one = self._view.funding_decisions[instrument.id, tick]
                    outbox[number].append(commands_pb2.Command(set_funding=one))

    def _settle(self, instrument: Instrument, outbox: _Outbox, now_s: float) -> None:
        mark = self._usable_mark(instrument)
        if mark is None:
            return
        due = self._due(self._view.parameters.schedule.settle_every_ns)
        for number, partition in enumerate(self._view.partitions):
            subject = ("settle_variation", instrument.id, number)
            have = partition.settlement_tick(instrument.id)
            for tick in self._missing(subject, have=have, want=due, now_s=now_s):
                one = commands_pb2.SettleVariation(
                    instrument=instrument.id, tick=tick, price=mark.price, mark_sequence=self._view.mark_sequence
                )
                outbox[number].append(commands_pb2.Command(settle_variation=one))

    def _usable_mark(self, instrument: Instrument) -> Mark | None:
        # What waits for a mark that may carry margin is caught up when it comes.
        mark = self._view.marks.get(instrument.id)
        return mark if mark and mark.index_price > 0 and permits(mark.validity, Action.MARGIN) else None

    def _reason(self, tick: PoolTick) -> interest_pb2.RateDecision:
        before = tick.before
        return interest_pb2.RateDecision(
            asset=before.asset,
            tick=tick.tick,
            run_time_ns=tick.run_time_ns,
            journal_sequence=[one.sequence for one in self._view.partitions],
            idle_units=before.idle,
            debt_shares=before.debt_shares,
            supply_shares=before.supply_shares,
            loss_units=before.loss,
            utilisation_ppm=tick.utilisation,
            borrow_rate=tick.borrow_rate,
            supply_rate=tick.supply_rate,
            borrow_index=tick.borrow_index,
            supply_index=tick.supply_index,
            top_up_units=tick.top_up,
        )


def _set_index(tick: PoolTick) -> commands_pb2.SetIndex:
    return commands_pb2.SetIndex(
        asset=tick.before.asset,
        tick=tick.tick,
        run_time_ns=tick.run_time_ns,
        borrow_index=tick.borrow_index,
        supply_index=tick.supply_index,
        overdraft_index=tick.overdraft_index,
        borrow_rate=tick.borrow_rate,
        write_off_units=tick.write_off,
        top_up_units=tick.top_up,
    )
