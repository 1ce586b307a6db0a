"""A plain second ledger: what each acknowledged command must do to what clients are worth, from the command alone.

It knows nothing of shares being burned, of reserved cash or of what is realised when. An account is worth, by asset,
what its lines come to, exactly, in 10^-15 units, variation counted. A command moves that by a figure that can be told
from the command; roundings may take a little more from the account, and nothing may give it more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from math import floor

from ballast.events.v1 import commands_pb2, journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from libs.common.ids import entity_of
from libs.common.parameters import Parameters
from tools.simulate.plain_lines import CASH, DEBT, LOTS, ONE, OVERDRAFT, Line, Lines, Moves, is_client, notional
from tools.simulate.worth_events import Events

_NEVER_OUT = (ledger_pb2.ORDER_STATE_RESERVED, ledger_pb2.ORDER_STATE_VOIDED)
_ROUNDINGS = 4  # borrowing, repaying twice, and lending round once each in a command


class Worth:
    """The second ledger of one partition.

    Args:
        found: told the invariant and what contradicts it.
    """

    def __init__(self, partition: int, parameters: Parameters, found: Callable[[str, str], None]) -> None:
        self._partition, self._parameters, self._found = partition, parameters, found
        self._lines = Lines(parameters)
        self._events = Events(self._lines, found)
        self._lost: dict[Line, int] = {}  # account, asset, venue

    def take(self, where: str, command: commands_pb2.Command, outcome: journal_pb2.Outcome, *, now_ns: int) -> None:
        """Compares what an outcome did with what its command says; the command is applied and no repetition."""
        lines = self._lines
        touched = {
            effect.posting.account
            for effect in outcome.effects
            if effect.HasField("posting") and is_client(effect.posting.account)
        }
        if outcome.command == "step_episode":
            self._reduces(where, outcome)
        expected, may_gain = self._expected(command, outcome)
        self._events.expect(where, command, outcome, expected, now_ns=now_ns)
        before = {account: lines.worth(account) for account in touched | expected.keys()}
        leaving = {each.entity_move.entity for each in outcome.effects if each.entity_move.is_out}
        for effect in outcome.effects:
            lines.fold(effect)
        if outcome.command == "set_index":
            if touched:
                self._say("I10", where, f"a tick moves lines of accounts {sorted(touched)}")
            return
        for account in sorted(touched | expected.keys()):
            now, was = lines.worth(account), before.get(account, {})
            if entity_of(account) in leaving and lines.accounts[account].moved_out:
                self._leaves(where, account)
                continue
            for asset in sorted(now.keys() | was.keys() | expected.get(account, {}).keys()):
                due = expected.get(account, {}).get(asset, 0)
                moved = now.get(asset, 0) - was.get(asset, 0) - due
                left = now.get(asset, 0) - max(0, due) * (account in may_gain)  # a fork may be due to who has lost all
                self._judge(where, outcome, account, asset, moved, left, may_gain=account in may_gain)
        self._compare_lots(where, touched)

    def finish(self) -> None:
        """The end: nobody waits for what he is due."""
        self._events.finish(f"partition {self._partition}")

    def _reduces(self, where: str, outcome: journal_pb2.Outcome) -> None:
        """Orders of an episode together bring each line toward zero, and not beyond."""
        lines = self._lines
        wanted: defaultdict[tuple[int, int, bool], int] = defaultdict(int)
        for effect in outcome.effects:
            if effect.HasField("order"):
                one = effect.order
                wanted[one.account, one.instrument, one.side == market_pb2.SIDE_BUY] += one.lots
        for (account, key, is_buy), lots in wanted.items():
            instrument = self._parameters.instrument(key)
            if instrument is None:
                continue
            coins = instrument.underlying
            if instrument.is_margined or instrument.is_option:
                room = lines.line(account, key, LOTS) * (-1 if is_buy else 1)
            elif is_buy:  # a debt that is no whole number of lots is covered by one more
                _, borrow, overdraft = lines.index(coins)
                owed = lines.line(account, coins, DEBT) * borrow + lines.line(account, coins, OVERDRAFT) * overdraft
                room = -floor(Fraction(-owed, instrument.base_units_per_lot * ONE)) + (owed > 0)
            else:
                room = floor(Fraction(lines.line(account, coins, CASH), instrument.base_units_per_lot))
            if lots > room:
                self._say("I4", where, f"a step of account {account} wants {lots} lots of {key}, {room} reduce")

    def _judge(
        self,
        where: str,
        outcome: journal_pb2.Outcome,
        account: int,
        asset: int,
        moved: int,
        now: int,
        *,
        may_gain: bool,
    ) -> None:
        least = -_ROUNDINGS * (sum(self._lines.index(asset)) + ONE)
        if may_gain:  # the waterfall: what was owed is gone, and what no order could sell
            if now > 0 or (now < 0 and moved < least):
                self._say("I6", where, f"{outcome.command} leaves account {account} worth {now} of asset {asset}")
            return
        pool = self._parameters.pool(asset)
        dust = pool.dust * ONE if pool is not None and now == 0 else 0
        if not least <= moved <= dust:
            self._say(
                "I10",
                where,
                f"{outcome.command} moves account {account} by {moved} of 10^-15 of asset {asset} more than it says",
            )

    def _leaves(self, where: str, account: int) -> None:
        for key, kind in self._lines.of(account):
            if self._lines.held[account, key, kind]:
                left = self._lines.held[account, key, kind]
                self._say("I15", where, f"account {account} moves and leaves {left} of {key}")
            if kind == LOTS:
                self._lines.lots[account, key] = 0

    def _compare_lots(self, where: str, touched: set[int]) -> None:
        lines = self._lines
        for account in touched:
            for key, kind in lines.of(account):
                has = lines.held[account, key, kind]
                if kind == LOTS and has != lines.lots[account, key]:
                    self._say("I8", where, f"account {account} has {has} lots, trades make {lines.lots[account, key]}")

    def _say(self, number: str, where: str, detail: str) -> None:
        self._found(number, f"{where}: {detail}")

    # what a command says

    def _expected(self, command: commands_pb2.Command, outcome: journal_pb2.Outcome) -> tuple[Moves, set[int]]:
        moves: Moves = defaultdict(lambda: defaultdict(int))
        match command.WhichOneof("body"):
            case "confirm_deposit":
                one = command.confirm_deposit
                if self._is_here(one.account) and outcome.subject == one.account:
                    moves[one.account][one.asset] += one.units * ONE
            case "verdict":
                reservation = self._lines.reservations.get(command.verdict.reservation)
                leaves = any(
                    effect.reservation.state == ledger_pb2.RESERVATION_STATE_SETTLED for effect in outcome.effects
                )
                if reservation is not None and command.verdict.settle and leaves:
                    moves[reservation.account][reservation.asset] -= reservation.units * ONE
                    if self._is_here(reservation.to_account):
                        moves[reservation.to_account][reservation.asset] += reservation.units * ONE
            case "order_report":
                self._expect_report(command.order_report, moves)
            case "arrive":
                self._expect_arrival(command.arrive.movement, outcome, moves)
                for each in command.arrive.movement.placements:
                    place = (self._lines.aliases.get(each.account, each.account), each.asset, each.venue)
                    self._lost[place] = self._lost.get(place, 0) + each.lost_units
                self._expect_impairment(outcome, moves)
            case "impair_venue":
                self._expect_impairment(outcome, moves)
        resolved = {
            effect.waterfall.account
            for effect in outcome.effects
            if effect.HasField("waterfall") and effect.waterfall.step != ledger_pb2.WATERFALL_STEP_ADL
        }
        return moves, resolved

    def _is_here(self, account: int) -> bool:
        known = self._lines.accounts.get(account)
        return known is not None and not known.moved_out

    def _expect_impairment(self, outcome: journal_pb2.Outcome, moves: Moves) -> None:
        """Each place bears what it is said to have lost; what comes back for an account that moved follows it."""
        for effect in outcome.effects:
            one = effect.placement
            if not effect.HasField("placement"):
                continue
            place = (one.account, one.asset, one.venue)
            more, self._lost[place] = one.lost_units - self._lost.get(place, 0), one.lost_units
            if more and self._is_here(one.account):
                moves[one.account][one.asset] -= more * ONE

    def _expect_arrival(self, one: movement_pb2.Movement, outcome: journal_pb2.Outcome, moves: Moves) -> None:
        to = {effect.account.moved_from: effect.account.account for effect in outcome.effects}
        if one.kind in (ledger_pb2.MOVEMENT_KIND_TRANSFER, ledger_pb2.MOVEMENT_KIND_RETURN):
            known = self._lines.accounts.get(self._lines.aliases.get(one.to_account, one.to_account))
            if known is None or known.moved_out or known.owner != one.owner:
                return
            to = dict.fromkeys((line.account for line in one.lines), known.account)
        elif one.kind != ledger_pb2.MOVEMENT_KIND_ENTITY:
            return
        for account in set(to.values()):
            mine = [line for line in one.lines if to[line.account] == account]
            self._events.arrives(account, mine, one.distributions, moves)
        for line in one.lines:
            account = to[line.account]
            asset, worth = self._lines.worth_of(line.asset, line.kind, line.units)
            moves[account][asset] += worth
            if line.kind == LOTS:
                self._lines.lots[account, line.asset] += line.units

    def _expect_report(self, one: commands_pb2.OrderReport, moves: Moves) -> None:
        order = self._lines.orders.get(one.order)
        if order is None or order.venue != one.venue or order.state in _NEVER_OUT:
            return  # not the client's
        instrument = self._parameters.instrument(order.instrument)
        if one.kind != ledger_pb2.REPORT_KIND_FILL or instrument is None or one.lots <= 0 or one.price <= 0:
            return
        if not self._is_here(order.account) and order.account in self._lines.accounts:  # it follows the account
            return
        account, lots = moves[order.account], one.lots if order.side == market_pb2.SIDE_BUY else -one.lots
        worth = notional(instrument, one.lots, one.price)
        if instrument.is_margined or instrument.is_option:
            self._lines.trade(moves, order.account, instrument, lots=lots, price=one.price, at_ns=one.executed_at_ns)
        else:
            account[instrument.underlying] += lots * instrument.base_units_per_lot * ONE
            account[instrument.quote] += floor(-worth if lots > 0 else worth) * ONE
        account[instrument.settlement] -= one.fee_units * ONE
        if order.episode:
            fee = Fraction(-floor(-worth)) * self._parameters.ledger.liquidation_fee / 10**6
            account[instrument.settlement] += floor(-fee) * ONE
