"""What a trade posts to a position: lots and variation, or lots and a premium, against the instrument's contra."""

from __future__ import annotations

from libs.common.ids import SystemAccount
from libs.common.parameters import Instrument
from services.collateral_management.domain import money, positions
from services.collateral_management.domain.draft import Draft
from services.collateral_management.domain.state import CASH, LOTS, VARIATION


def trade(draft: Draft, account: int, instrument: Instrument, *, traded: int, price: int, at_ns: int) -> None:
    """Posts signed lots of a margined or a paid-up instrument, executed at a price and a run time."""
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
        funding=draft.state.funding_at(instrument.id, at_ns),
    )
    for part in parts:
        draft.move(debit=contra, credit=account, asset=instrument.id, kind=LOTS, units=part.lots)
        draft.move(debit=contra, credit=account, asset=instrument.id, kind=VARIATION, units=part.variation)
        draft.move(debit=contra, credit=account, asset=instrument.settlement, kind=CASH, units=part.realised)
