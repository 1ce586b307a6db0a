"""A plain second ledger: what each acknowledged command must do to what clients are worth, from the command alone.

It knows nothing of shares being burned, of reserved cash or of what is realised when. An account is worth, by asset,
what its lines come to, exactly, in 10^-15 units, variation counted. A command moves that by a figure that can be told
from the command; roundings may take a little more from the account, and nothing may give it more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import floor

from ballast.events.v1 import commands_pb2, journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.ids import entity_of, system_kind
from libs.common.parameters import Instrument, InstrumentKind, Parameters

ONE = 10**15
_CASH, _RESERVED = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_RESERVED
_SUPPLY, _DEBT = ledger_pb2.LINE_KIND_SUPPLY_SHARES, ledger_pb2.LINE_KIND_DEBT_SHARES
_OVERDRAFT, _LOTS = ledger_pb2.LINE_KIND_OVERDRAFT_SHARES, ledger_pb2.LINE_KIND_LOTS
_VARIATION = ledger_pb2.LINE_KIND_VARIATION
_HANDED = (
    kinds.CLOSING_CAUSE_TAKEN_OVER,
    kinds.CLOSING_CAUSE_DELEVERAGED,
    kinds.CLOSING_CAUSE_GIVEN_BACK,
)
_NEVER_OUT = (ledger_pb2.ORDER_STATE_RESERVED, ledger_pb2.ORDER_STATE_VOIDED)
_ROUNDINGS = 4  # borrowing, repaying twice, and lending round once each in a command

Moves = dict[int, dict[int, int]]  # by account, by asset, 10^-15 units
Line = tuple[int, int, int]


class Worth:
    """The second ledger of one partition.

    Args:
        found: told the invariant and what contradicts it.
    """

    def __init__(self, partition: int, parameters: Parameters, found: Callable[[str, str], None]) -> None:
        self.lots: defaultdict[tuple[int, int], int] = defaultdict(int)  # account, instrument: as trades add up
        self._partition, self._parameters, self._found = partition, parameters, found
        self._lines: dict[Line, int] = {}
        self._lost: dict[Line, int] = {}  # account, asset, venue
        self._of: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
        self._indices: dict[int, tuple[int, int, int]] = {}  # supply, borrow, overdraft
        self._funding: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        self._accounts: dict[int, journal_pb2.Account] = {}
        self._aliases: dict[int, int] = {}  # account before it moved here -> now
        self._orders: dict[int, journal_pb2.Order] = {}
        self._reservations: dict[int, journal_pb2.Reservation] = {}

    def take(self, where: str, command: commands_pb2.Command, outcome: journal_pb2.Outcome) -> None:
        """Compares what an outcome did with what its command says; the command is applied and no repetition."""
        touched = {
            effect.posting.account
            for effect in outcome.effects
            if effect.HasField("posting") and system_kind(effect.posting.account) is None
        }
        if outcome.command == "step_episode":
            self._reduces(where, outcome)
        before = {account: self._worth(account) for account in touched}
        expected, may_gain = self._expected(command, outcome)
        leaving = {each.entity_move.entity for each in outcome.effects if each.entity_move.is_out}
        for effect in outcome.effects:
            self._fold(effect)
        if outcome.command == "set_index":
            if touched:
                self._say("I10", where, f"a tick moves lines of accounts {sorted(touched)}")
            return
        for account in sorted(touched | expected.keys()):
            now, was = self._worth(account), before.get(account, {})
            if entity_of(account) in leaving and self._accounts[account].moved_out:
                self._leaves(where, account)
                continue
            for asset in sorted(now.keys() | was.keys() | expected.get(account, {}).keys()):
                moved = now.get(asset, 0) - was.get(asset, 0) - expected.get(account, {}).get(asset, 0)
                self._judge(where, outcome, account, asset, moved, now.get(asset, 0), may_gain=account in may_gain)
        self._compare_lots(where, touched)

    def _reduces(self, where: str, outcome: journal_pb2.Outcome) -> None:
        """Orders of an episode together bring each line toward zero, and not beyond."""
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
            if instrument.is_margined:
                room = self._line(account, key, _LOTS) * (-1 if is_buy else 1)
            elif is_buy:  # a debt that is no whole number of lots is covered by one more
                _, borrow, overdraft = self._index(coins)
                owed = self._line(account, coins, _DEBT) * borrow + self._line(account, coins, _OVERDRAFT) * overdraft
                room = -floor(Fraction(-owed, instrument.base_units_per_lot * ONE)) + (owed > 0)
            else:
                room = floor(Fraction(self._line(account, coins, _CASH), instrument.base_units_per_lot))
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
        least = -_ROUNDINGS * (sum(self._index(asset)) + ONE)
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
        for key, kind in self._of[account]:
            if self._lines[account, key, kind]:
                left = self._lines[account, key, kind]
                self._say("I15", where, f"account {account} moves and leaves {left} of {key}")
            if kind == _LOTS:
                self.lots[account, key] = 0

    def _compare_lots(self, where: str, touched: set[int]) -> None:
        for account in touched:
            for key, kind in self._of[account]:
                if kind == _LOTS and self._lines[account, key, kind] != self.lots[account, key]:
                    has = self._lines[account, key, kind]
                    self._say("I8", where, f"account {account} has {has} lots, trades make {self.lots[account, key]}")

    def _say(self, number: str, where: str, detail: str) -> None:
        self._found(number, f"{where}: {detail}")

    # what a command says

    def _expected(self, command: commands_pb2.Command, outcome: journal_pb2.Outcome) -> tuple[Moves, set[int]]:
        moves: Moves = defaultdict(lambda: defaultdict(int))
        match command.WhichOneof("body"):
            case "confirm_deposit":
                one = command.confirm_deposit
                known = self._accounts.get(one.account)
                if known is not None and not known.moved_out and outcome.subject == one.account:
                    moves[one.account][one.asset] += one.units * ONE
            case "verdict":
                reservation = self._reservations.get(command.verdict.reservation)
                leaves = any(
                    effect.reservation.state == ledger_pb2.RESERVATION_STATE_SETTLED for effect in outcome.effects
                )
                if reservation is not None and command.verdict.settle and leaves:
                    moves[reservation.account][reservation.asset] -= reservation.units * ONE
                    to = self._accounts.get(reservation.to_account)
                    if to is not None and not to.moved_out:
                        moves[reservation.to_account][reservation.asset] += reservation.units * ONE
            case "order_report":
                self._expect_report(command.order_report, moves)
            case "arrive":
                self._expect_arrival(command.arrive.movement, outcome, moves)
                for each in command.arrive.movement.placements:
                    place = (self._aliases.get(each.account, each.account), each.asset, each.venue)
                    self._lost[place] = self._lost.get(place, 0) + each.lost_units
                self._expect_impairment(outcome, moves)
                self._expect_handed(outcome, moves, funding=_funding_of(command.arrive.movement, outcome))
            case "impair_venue":
                self._expect_impairment(outcome, moves)
            case "take_over_position" | "deleverage":
                self._expect_handed(outcome, moves, funding=None)
        steps = (effect.waterfall for effect in outcome.effects if effect.HasField("waterfall"))
        return moves, {one.account for one in steps if one.step != ledger_pb2.WATERFALL_STEP_ADL}

    def _expect_handed(self, outcome: journal_pb2.Outcome, moves: Moves, *, funding: int | None) -> None:
        """Both sides of what is handed over trade at its price; over partitions at the funding that it says."""
        for effect in outcome.effects:
            one, instrument = effect.position_closed, self._parameters.instrument(effect.position_closed.instrument)
            if one.cause not in _HANDED or instrument is None:
                continue
            paid = self._funding[instrument.id][-1][1] if funding is None and self._funding[instrument.id] else funding
            price = _price(instrument, one.price, paid or 0)
            for part in _through_zero(self.lots[one.account, instrument.id], -one.lots):
                moves[one.account][instrument.settlement] += floor(-part * price) * ONE
            self.lots[one.account, instrument.id] -= one.lots

    def _expect_impairment(self, outcome: journal_pb2.Outcome, moves: Moves) -> None:
        """Each place bears what it is said to have lost; what comes back for an account that moved follows it."""
        for effect in outcome.effects:
            one = effect.placement
            if not effect.HasField("placement"):
                continue
            place = (one.account, one.asset, one.venue)
            more, self._lost[place] = one.lost_units - self._lost.get(place, 0), one.lost_units
            known = self._accounts.get(one.account)
            if more and known is not None and not known.moved_out:
                moves[one.account][one.asset] -= more * ONE

    def _expect_arrival(self, one: movement_pb2.Movement, outcome: journal_pb2.Outcome, moves: Moves) -> None:
        to = {effect.account.moved_from: effect.account.account for effect in outcome.effects}
        if one.kind in (ledger_pb2.MOVEMENT_KIND_TRANSFER, ledger_pb2.MOVEMENT_KIND_RETURN):
            known = self._accounts.get(self._aliases.get(one.to_account, one.to_account))
            if known is None or known.moved_out or known.owner != one.owner:
                return
            to = dict.fromkeys((line.account for line in one.lines), known.account)
        elif one.kind != ledger_pb2.MOVEMENT_KIND_ENTITY:
            return
        for line in one.lines:
            account = to[line.account]
            asset, worth = self._worth_of(line.asset, line.kind, line.units)
            moves[account][asset] += worth
            if line.kind == _LOTS:
                self.lots[account, line.asset] += line.units

    def _expect_report(self, one: commands_pb2.OrderReport, moves: Moves) -> None:
        order = self._orders.get(one.order)
        if order is None or order.venue != one.venue or order.state in _NEVER_OUT:
            return  # not the client's
        instrument = self._parameters.instrument(order.instrument)
        if one.kind != ledger_pb2.REPORT_KIND_FILL or instrument is None or one.lots <= 0 or one.price <= 0:
            return
        known = self._accounts.get(order.account)
        if known is not None and known.moved_out:  # it follows the account
            return
        account, lots = moves[order.account], one.lots if order.side == market_pb2.SIDE_BUY else -one.lots
        notional = _notional(instrument, one.lots, one.price)
        if instrument.is_margined:
            for part in _through_zero(self.lots[order.account, instrument.id], lots):
                account[instrument.settlement] += floor(-part * self._dirty(instrument, one)) * ONE
            self.lots[order.account, instrument.id] += lots
        else:
            account[instrument.underlying] += lots * instrument.base_units_per_lot * ONE
            account[instrument.quote] += floor(-notional if lots > 0 else notional) * ONE
        account[instrument.settlement] -= one.fee_units * ONE
        if order.episode:
            fee = Fraction(-floor(-notional)) * self._parameters.ledger.liquidation_fee / 10**6
            account[instrument.settlement] += floor(-fee) * ONE

    def _dirty(self, instrument: Instrument, one: commands_pb2.OrderReport) -> Fraction:
        paid = 0
        for at_ns, cumulative in self._funding[instrument.id]:
            if at_ns <= one.executed_at_ns:
                paid = cumulative
        return _price(instrument, one.price, paid)

    # what the lines come to

    def _index(self, asset: int) -> tuple[int, int, int]:
        return self._indices.get(asset, (ONE, ONE, ONE))

    def _line(self, account: int, key: int, kind: int) -> int:
        return self._lines.get((account, key, kind), 0)

    def _worth(self, account: int) -> dict[int, int]:
        total: defaultdict[int, int] = defaultdict(int)
        for key, kind in self._of[account]:
            asset, worth = self._worth_of(key, kind, self._lines[account, key, kind])
            if worth:
                total[asset] += worth
        return total

    def _worth_of(self, key: int, kind: int, balance: int) -> tuple[int, int]:
        """Asset that a line is worth something in, and what, 10^-15 units."""
        if kind == _VARIATION:
            instrument = self._parameters.instrument(key)
            return (instrument.settlement, balance * ONE) if instrument is not None else (key, 0)
        supply, borrow, overdraft = self._index(key)
        rate: dict[int, int] = {_CASH: ONE, _RESERVED: ONE, _SUPPLY: supply, _DEBT: -borrow, _OVERDRAFT: -overdraft}
        return key, balance * rate.get(kind, 0)

    def _fold(self, effect: journal_pb2.Effect) -> None:
        match effect.WhichOneof("effect"):
            case "posting":
                one = effect.posting
                self._lines[one.account, one.asset, one.kind] = one.balance
                self._of[one.account].add((one.asset, one.kind))
            case "account":
                self._accounts[effect.account.account] = effect.account
                if effect.account.moved_from:
                    self._aliases[effect.account.moved_from] = effect.account.account
            case "order":
                self._orders[effect.order.order] = effect.order
            case "reservation":
                self._reservations[effect.reservation.reservation] = effect.reservation
            case "pool_index":
                two = effect.pool_index
                self._indices[two.asset] = (two.supply_index, two.borrow_index, two.overdraft_index)
            case "funding_index":
                three = effect.funding_index
                paid = int.from_bytes(three.cumulative_funding, "big", signed=True)
                self._funding[three.instrument].append((three.run_time_ns, paid))


def _through_zero(held: int, traded: int) -> Iterator[int]:
    if held * traded < 0 and abs(traded) > abs(held):
        yield -held
        yield traded + held
    else:
        yield traded


def _price(instrument: Instrument, price: int, paid: int) -> Fraction:
    """Dirty value of a lot."""
    clean = Fraction(instrument.c_num * price, instrument.c_den)
    if instrument.kind is InstrumentKind.INVERSE_PERP:
        clean = -Fraction(instrument.c_num, instrument.c_den * price)
    return clean - Fraction(paid, 10**9)


def _funding_of(one: movement_pb2.Movement, outcome: journal_pb2.Outcome) -> int | None:
    """Funding that lots of a deleveraging over partitions change hands at, None when none does here."""
    parts = [one.deleveraging, *(effect.deleveraging for effect in outcome.effects)]
    told = [each.cumulative_funding for each in parts if each.executed_at_ns]
    return int.from_bytes(told[-1], "big", signed=True) if told else None


def _notional(instrument: Instrument, lots: int, price: int) -> Fraction:
    if instrument.kind is InstrumentKind.INVERSE_PERP:
        return Fraction(lots * instrument.c_num, instrument.c_den * price)
    return Fraction(lots * price * instrument.c_num, instrument.c_den)
