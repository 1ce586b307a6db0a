"""Statement of an account: opening, every movement, fees, funding and interest day by day, closing; exact sums."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from libs.common.errors import invariant
from libs.common.ids import partition_of
from libs.common.parameters import Parameters
from libs.common.units import INDEX_ONE, from_scaled, from_units
from tools.audit.balances import named
from tools.audit.stored import Source, parameters_in_force
from tools.audit.timeline import day_of, effective_ns, frames
from tools.audit.worth import PLAIN, Indices, Line, line_15, nearest, worth, worth_15
from tools.reconcile.reader import Unreadable
from tools.reconcile.records import JournalFrame

OPENING, MOVEMENT, DAY, ROUNDING, CLOSING = "opening", "movement", "day", "rounding", "closing"
_VARIATION = ledger_pb2.LINE_KIND_VARIATION
_FUNDING_SCALE = 10**6  # 10^-9 units in 10^-15
_INTEREST: dict[int, str] = {
    ledger_pb2.LINE_KIND_SUPPLY_SHARES: "interest_earned",
    ledger_pb2.LINE_KIND_DEBT_SHARES: "interest_paid",
    ledger_pb2.LINE_KIND_OVERDRAFT_SHARES: "overdraft_interest",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a statement.

    Args:
        section: opening, movement, day, rounding or closing.
        day: UTC day on which it was recorded.
        item: command that moved it, or fee, liquidation_fee, funding, interest_earned, interest_paid ...
        amount: units of the asset; of all rows but the closing ones they sum to the closing amount.
        cash: of it, units that moved in free cash.
        shown: the amount as a decimal.
        sequence: of the journal, 0 for what sums up a day.
    """

    section: str
    day: str
    item: str
    asset: str
    amount: int
    cash: int
    shown: str
    recorded_ns: int
    effective_ns: int
    sequence: int
    detail: str


@dataclass(slots=True)
class Statement:
    """A statement over recorded run times from `begin_ns` on, before `end_ns`."""

    account: int
    owner: str
    begin_ns: int
    end_ns: int
    rows: list[Row] = field(default_factory=list)


@dataclass(slots=True)
class _Sheet:
    """What the period holds, exact: opening_15 and all items add up to what the lines are worth at its end."""

    opening: dict[int, int] = field(default_factory=dict)
    opening_15: dict[int, int] = field(default_factory=dict)
    items_15: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    days: defaultdict[tuple[str, str, int], int] = field(default_factory=lambda: defaultdict(int))  # day, item, asset
    movements: list[tuple[int, Row]] = field(default_factory=list)  # asset, row


async def statement(source: Source, *, account: int, begin_ns: int, end_ns: int) -> Statement:
    """The statement of an account.

    Raises: Unreadable when the account is not known; InvariantBroken when the items do not make the difference.
    """
    parameters = (await parameters_in_force(source)).parameters
    partition = partition_of(account)
    if partition >= parameters.partitions:
        raise Unreadable(f"expected an account of partition 0 to {parameters.partitions - 1}, was {partition}")
    ledger = _Account(account, parameters)
    sheet: _Sheet | None = None
    first_ns, last_ns = end_ns, begin_ns
    async for frame in frames(source, partition, recorded_ns=end_ns - 1):
        first_ns, last_ns = min(first_ns, frame.run_time_ns), max(last_ns, frame.run_time_ns)
        if sheet is None and frame.run_time_ns >= begin_ns:
            sheet = ledger.opened()
        for outcome in frame.body.outcomes:
            ledger.take(frame, outcome, sheet)
    if not ledger.owner:
        raise Unreadable(f"expected account {account} in the journal up to the end of the period, found none")
    sheet = sheet or ledger.opened()
    begin_ns, end_ns = max(begin_ns, first_ns), min(end_ns, last_ns + 1)  # as far as anything is recorded
    found = Statement(account, ledger.owner, begin_ns, end_ns)
    found.rows = list(_rows(sheet, ledger, parameters, begin_ns=begin_ns, end_ns=end_ns))
    return found


class _Account:
    """The account's lines and the indices of its partition, folded outcome by outcome."""

    def __init__(self, account: int, parameters: Parameters) -> None:
        self.account = account
        self.owner = ""
        self.lines: dict[Line, int] = {}
        self.indices = Indices(parameters)
        self._parameters = parameters

    def opened(self) -> _Sheet:
        """A sheet that opens with the account as it is."""
        return _Sheet(opening=worth(self.indices, self.lines), opening_15=worth_15(self.indices, self.lines))

    def take(self, frame: JournalFrame, outcome: journal_pb2.Outcome, sheet: _Sheet | None) -> None:
        """Folds an outcome, and puts what it did on the sheet."""
        moved: defaultdict[Line, int] = defaultdict(int)
        fill: journal_pb2.Fill | None = None
        for effect in outcome.effects:
            match effect.WhichOneof("effect"):
                case "posting":
                    if effect.posting.account == self.account:
                        moved[effect.posting.asset, effect.posting.kind] += effect.posting.delta
                case "pool_index" | "funding_index":
                    self._tick(frame, effect, sheet)
                case "fill":
                    fill = effect.fill if effect.fill.account == self.account else fill
                case "account":
                    self.owner = effect.account.owner if effect.account.account == self.account else self.owner
        if not moved:
            return
        amounts, amounts_15 = self._apply(moved)
        if sheet is None:
            return
        for asset, value_15 in amounts_15.items():
            sheet.items_15[asset] += value_15
        detail = ""
        if fill is not None:
            detail = self._fill(frame, fill, amounts, sheet)
        for asset, amount in sorted(amounts.items()):
            cash = moved.get((asset, ledger_pb2.LINE_KIND_CASH), 0)
            self._move(sheet, frame, outcome, asset, amount=amount, cash=cash, detail=detail)

    def _apply(self, moved: dict[Line, int]) -> tuple[dict[int, int], dict[int, int]]:
        """Moves lines; returns by asset whole units, the plain ones exact, and 10^-15 units."""
        amounts: defaultdict[int, int] = defaultdict(int)
        amounts_15: defaultdict[int, int] = defaultdict(int)
        for line, delta in moved.items():
            self.lines[line] = self.lines.get(line, 0) + delta
            counted = line_15(self.indices, line, delta)
            if counted is None:
                continue
            asset, value_15 = counted
            is_plain = line[1] in PLAIN or line[1] == _VARIATION
            amounts[asset] += delta if is_plain else nearest(value_15)
            amounts_15[asset] += value_15
        return amounts, amounts_15

    def _tick(self, frame: JournalFrame, effect: journal_pb2.Effect, sheet: _Sheet | None) -> None:
        """What a tick makes of shares and positions is interest and funding."""
        concerned = [line for line, balance in self.lines.items() if balance and _is_moved(line, effect)]
        before = {line: line_15(self.indices, line, self.lines[line]) for line in concerned}
        self.indices.apply(effect)
        if sheet is None:
            return
        day = day_of(frame.run_time_ns)
        for line in concerned:
            was, now = before[line], line_15(self.indices, line, self.lines[line])
            if was is not None and now is not None:
                asset, gained = now[0], now[1] - was[1]
                sheet.items_15[asset] += gained
                sheet.days[day, _INTEREST.get(line[1], "funding"), asset] += gained

    def _fill(self, frame: JournalFrame, fill: journal_pb2.Fill, amounts: dict[int, int], sheet: _Sheet) -> str:
        """Takes fees and the funding that a late fill catches up on out of what a trade moved; says what it was."""
        instrument = self._parameters.instrument(fill.instrument)
        if instrument is None:
            return ""
        asset, day = instrument.settlement, day_of(frame.run_time_ns)
        for item, units in (("fee", -fill.fee_units), ("liquidation_fee", -fill.liquidation_fee_units)):
            if units:
                sheet.days[day, item, asset] += units * INDEX_ONE
                amounts[asset] = amounts.get(asset, 0) - units
        is_buy = fill.side == market_pb2.SIDE_BUY
        if instrument.is_margined:
            traded = fill.lots if is_buy else -fill.lots
            behind = self.indices.funding(instrument.id) - self.indices.funding_at(instrument.id, fill.executed_at_ns)
            late_15 = -traded * behind * _FUNDING_SCALE
            # The rest of the lots' worth is the funding index at which they were bought: part of the trade's price.
            if late_15:
                sheet.days[day, "funding", asset] += late_15
                amounts[asset] = amounts.get(asset, 0) - nearest(late_15)
        price = from_scaled(fill.price, instrument.price_exponent)
        return f"{'bought' if is_buy else 'sold'} {fill.lots} lots of {instrument.symbol} at {price}"

    def _move(
        self,
        sheet: _Sheet,
        frame: JournalFrame,
        outcome: journal_pb2.Outcome,
        asset: int,
        *,
        amount: int,
        cash: int,
        detail: str,
    ) -> None:
        symbol, decimals = named(self._parameters, asset, ledger_pb2.LINE_KIND_CASH)
        row = Row(
            section=MOVEMENT,
            day=day_of(frame.run_time_ns),
            item=outcome.command,
            asset=symbol,
            amount=amount,
            cash=cash,
            shown=from_units(amount, decimals),
            recorded_ns=frame.run_time_ns,
            effective_ns=effective_ns(outcome, recorded_ns=frame.run_time_ns),
            sequence=frame.sequence,
            detail=detail,
        )
        sheet.movements.append((asset, row))


def _is_moved(line: Line, effect: journal_pb2.Effect) -> bool:
    if effect.HasField("pool_index"):
        return line[0] == effect.pool_index.asset and line[1] in _INTEREST
    return line == (effect.funding_index.instrument, ledger_pb2.LINE_KIND_LOTS)


def _rows(sheet: _Sheet, ledger: _Account, parameters: Parameters, *, begin_ns: int, end_ns: int) -> Iterator[Row]:
    closing, closing_15 = worth(ledger.indices, ledger.lines), worth_15(ledger.indices, ledger.lines)
    assets = sorted({*sheet.opening, *closing, *(asset for asset, _ in sheet.movements)})
    blank = Row("", day_of(begin_ns), "", "", 0, 0, "", begin_ns, begin_ns, 0, "")

    def row(section: str, item: str, asset: int, amount: int, *, day: str, at_ns: int) -> Row:
        symbol, decimals = named(parameters, asset, ledger_pb2.LINE_KIND_CASH)
        return replace(
            blank, section=section, item=item, asset=symbol, amount=amount, shown=from_units(amount, decimals),
            day=day, recorded_ns=at_ns, effective_ns=at_ns,
        )  # fmt: skip

    sums: defaultdict[int, int] = defaultdict(int)
    last_day = day_of(max(begin_ns, end_ns - 1))
    for asset in assets:
        sums[asset] += sheet.opening.get(asset, 0)
        yield row(OPENING, OPENING, asset, sheet.opening.get(asset, 0), day=day_of(begin_ns), at_ns=begin_ns)
    for asset, moved in sheet.movements:
        sums[asset] += moved.amount
        yield moved
    for (day, item, asset), value_15 in sorted(sheet.days.items()):
        sums[asset] += nearest(value_15)
        yield row(DAY, item, asset, nearest(value_15), day=day, at_ns=end_ns)
    for asset in assets:
        exact = sheet.opening_15.get(asset, 0) + sheet.items_15[asset]
        invariant(exact == closing_15.get(asset, 0), "I8", f"items of asset {asset} do not make its closing amount")
        rounding = closing.get(asset, 0) - sums[asset]
        if rounding:
            yield row(ROUNDING, ROUNDING, asset, rounding, day=last_day, at_ns=end_ns)
        yield row(CLOSING, CLOSING, asset, closing.get(asset, 0), day=last_day, at_ns=end_ns)
