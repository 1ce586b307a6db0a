"""What positions become is computed twice, by the ledger and by the reader, and comes out the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.parameters import Delivery, Instrument
from services.collateral_management.domain import payoffs, positions
from services.collateral_management.tests import structured
from tools.reconcile.payoffs import paid_units

PARAMETERS = structured.with_packages()
_ENDING = [one for one in PARAMETERS.instruments if one.closes_ns and one.id < 60]


@pytest.mark.parametrize("instrument", _ENDING, ids=[one.symbol for one in _ENDING])
@given(
    lots=st.integers(-(10**6), 10**6),
    price=st.integers(1, 10**9),
    variation=st.integers(-(10**15), 10**15),
    funding=st.integers(-(10**20), 10**20),
)
def test_both_pay_the_same(instrument: Instrument, lots: int, price: int, variation: int, funding: int) -> None:
    if instrument.is_paid_up:
        ours = paid_units(PARAMETERS, instrument, lots=lots, price=price, variation=0, funding=0)
        if all(_is_cash(one) for one in (instrument, *_legs(instrument))):
            theirs = payoffs.paid_up_worth(PARAMETERS, instrument, lots=lots, price=price)
            assert ours == theirs.get(instrument.settlement, 0)
        return
    ours = paid_units(PARAMETERS, instrument, lots=lots, price=price, variation=variation, funding=funding)
    assert ours == positions.settlement(instrument, lots=lots, variation=variation, price=price, funding=funding)


def _is_cash(instrument: Instrument) -> bool:
    return instrument.delivery is Delivery.CASH


def _legs(instrument: Instrument) -> list[Instrument]:
    found = (PARAMETERS.instrument(leg.instrument) for leg in instrument.legs if leg.instrument)
    return [one for one in found if one is not None]
