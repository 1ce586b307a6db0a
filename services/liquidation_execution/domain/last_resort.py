"""What is left when no order helps: somebody takes the position over, or those who hold the opposite give theirs up.

A takeover pays the taker the collar for carrying on, as far as the account's equity goes. A deleveraging closes at the
mark, moved in the account's favour by what is lacking beyond first-loss capital and insurance fund, so that those who
give up their profit bear no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from libs.common.deleveraging import Candidate, chosen
from libs.common.ids import AccountId, partition_of
from libs.common.parameters import Instrument, InstrumentKind, LiquidationRules
from libs.common.units import Lots, Price, Units, mul_div_down
from services.liquidation_execution.domain.catalogue import share


@dataclass(frozen=True, slots=True)
class Position:
    """What has to go.

    Args:
        lots: signed, as held.
        equity: of the account, units of the instrument's settlement asset; None when that cannot be said exactly.
    """

    instrument: Instrument
    lots: Lots
    mark: Price
    equity: Units | None


@dataclass(frozen=True, slots=True)
class Provider:
    """An account that may take over: its lots in the instrument, and what it has of the settlement asset."""

    account: AccountId
    lots: int
    has: Units


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Hand lots to an account at a price."""

    instrument: Instrument
    lots: Lots
    price: Price
    taker: AccountId


@dataclass(frozen=True, slots=True)
class Deleveraging:
    """Close lots against others, best ranked first, at a price; `deficit` is what they may lose by it.

    Args:
        across: some live in other partitions: the ledger asks them all, and chooses by the same rule.
    """

    instrument: Instrument
    price: Price
    mark: Price
    deficit: Units
    parties: tuple[tuple[int, int], ...]
    across: bool = False

    @property
    def lots(self) -> int:
        """Lots that are closed in all."""
        return sum(part for _, part in self.parties)


def take_over(position: Position, providers: Sequence[Provider], rules: LiquidationRules) -> TakeOver | None:
    """The largest part that one provider may carry; equal ones by account id."""
    instrument, sign = position.instrument, 1 if position.lots > 0 else -1
    discount = share(position.mark, rules.collar, up=False)
    if position.equity is not None:
        lot = _steps(instrument, max(0, position.equity), lots=abs(position.lots))
        discount = min(discount, lot) if instrument.kind is not InstrumentKind.INVERSE_PERP else discount
        discount = discount if position.equity > 0 else 0
    price = Price(max(1, position.mark - sign * discount))
    best: TakeOver | None = None
    for one in sorted(providers, key=lambda each: each.account):
        most = _lots_for(instrument, max(0, one.has) * rules.taker_leverage_max, price=price)
        part = min(abs(position.lots), most - sign * one.lots)
        if part > 0 and (best is None or part > best.lots):
            best = TakeOver(instrument, Lots(part), price, one.account)
    return best


def deleveraging(
    position: Position, candidates: Sequence[Candidate], *, capital: int, parties_max: int, home: int
) -> Deleveraging | None:
    """Who gives up what; None when nobody holds the opposite.

    Args:
        capital: units of the settlement asset that pay before them.
        parties_max: accounts of one step.
        home: partition of the account.
    """
    sign = 1 if position.lots > 0 else -1
    parties = chosen(candidates, lots=abs(position.lots))[:parties_max]
    if not parties:
        return None
    lots = sum(part for _, part in parties)
    lacking = 0 if position.equity is None else max(0, -position.equity - capital)
    moved = 0
    if position.instrument.kind is not InstrumentKind.INVERSE_PERP:  # rounded in favour of those who give up
        moved = _steps(position.instrument, lacking, lots=lots)
    price = Price(max(1, position.mark + sign * moved))
    across = any(partition_of(account) != home for account, _ in parties)
    return Deleveraging(position.instrument, price, position.mark, Units(lacking), tuple(parties), across)


def _steps(instrument: Instrument, units: int, *, lots: int) -> int:
    """Price steps that so many lots move by so many units, rounded down."""
    return mul_div_down(units, instrument.c_den, instrument.c_num * max(1, lots))


def _lots_for(instrument: Instrument, units: int, *, price: int) -> int:
    """Most lots that are worth at most so many units at a price."""
    if instrument.kind is InstrumentKind.INVERSE_PERP:
        return mul_div_down(units * instrument.c_den, price, instrument.c_num)
    return mul_div_down(units, instrument.c_den, instrument.c_num * price)
