"""What a trade posts to a position: lots and variation, or lots and a premium, against the instrument's contra."""

from __future__ import annotations

from ballast.events.v1 import movement_pb2
from libs.common.ids import SystemAccount
from libs.common.parameters import Instrument
from services.collateral_management.domain import money, positions
from services.collateral_management.domain.draft import Draft
from services.collateral_management.domain.movements import line
from services.collateral_management.domain.state import CASH, LOTS, VARIATION


def trade(
    draft: Draft,
    account: int,
    instrument: Instrument,
    *,
    traded: int,
    price: int,
    at_ns: int,
    funding: int | None = None,
) -> None:
    """Posts signed lots of a margined or a paid-up instrument, executed at a price and a run time.

    Args:
        funding: cumulative funding at that time, when another partition says what it was.
    """
    contra = money.house(draft, SystemAccount.CONTRA, instrument.id)
    if instrument.is_paid_up:
        premium = positions.premium(instrument, traded=traded, price=price)
        draft.move(debit=contra, credit=account, asset=instrument.id, kind=LOTS, units=traded)
        draft.move(debit=contra, credit=account, asset=instrument.settlement, kind=CASH, units=premium)
        return
    parts = positions.fill(
        instrument,
        lots=draft.balance(account, instrument.id, LOTS),
        variation=draft.balance(account, instrument.id, VARIATION),
        traded=traded,
        price=price,
        funding=draft.state.funding_at(instrument.id, at_ns) if funding is None else funding,
    )
    for part in parts:
        draft.move(debit=contra, credit=account, asset=instrument.id, kind=LOTS, units=part.lots)
        draft.move(debit=contra, credit=account, asset=instrument.id, kind=VARIATION, units=part.variation)
        draft.move(debit=contra, credit=account, asset=instrument.settlement, kind=CASH, units=part.realised)


def package(
    draft: Draft, instrument: Instrument, *, sold: int, price: int, funding: int
) -> list[movement_pb2.MovedLine]:
    """Lines that carry signed lots, sold here at a price, to where they are bought at the same price.

    They leave the contra that has bought them, with what it has paid or been paid: nothing is made or lost on the way,
    and roundings stay with the contras.
    """
    contra = money.house(draft, SystemAccount.CONTRA, instrument.id)
    if instrument.is_paid_up:
        paid = positions.premium(instrument, traded=-sold, price=price)
        return [line(contra, instrument.id, LOTS, sold), line(contra, instrument.settlement, CASH, -paid)]
    (part,) = positions.fill(instrument, lots=0, variation=0, traded=-sold, price=price, funding=funding)
    return [line(contra, instrument.id, LOTS, sold), line(contra, instrument.id, VARIATION, -part.variation)]
