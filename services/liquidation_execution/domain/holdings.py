"""What an account under liquidation holds, and which part of it orders can reduce."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.ids import AccountId
from libs.common.parameters import Instrument
from libs.common.units import Lots, mul_div_down, mul_div_up
from services.liquidation_execution.domain.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Holdings:
    """Lines of one account that are not zero.

    Args:
        lots: signed lots by margined instrument.
        cash: units by asset.
        debt: units owed by asset, shares at their index rounded up.
        supply: shares of lending pools by asset.
    """

    account: AccountId
    lots: Mapping[int, int]
    cash: Mapping[int, int]
    debt: Mapping[int, int]
    supply: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Reducible:
    """A line that orders bring toward zero.

    Args:
        direction: +1 buys back, -1 sells.
        lots: lots that bring it to zero; a debt is bought back to the last part of a lot.
        is_residue: a debt below one lot, so that buying it back may leave more than it took away.
    """

    instrument: Instrument
    direction: int
    lots: Lots
    is_residue: bool = False


def reducible(holdings: Holdings, catalogue: Catalogue) -> tuple[Reducible, ...]:
    """Lines that orders can reduce: margined lots, and outside the numeraire balances of a lot or more and any debt.

    Debt is bought back to the end, so that a shortfall is one in the numeraire, where the insurance fund is.
    """
    lines = [
        Reducible(catalogue.instruments[instrument], -1 if lots > 0 else 1, Lots(abs(lots)))
        for instrument, lots in sorted(holdings.lots.items())
    ]
    for asset in sorted({*holdings.cash, *holdings.debt} - {catalogue.numeraire}):
        spot = catalogue.spot_of.get(asset)
        if spot is None:
            continue
        net = holdings.cash.get(asset, 0) - holdings.debt.get(asset, 0)
        if net > 0:
            whole = mul_div_down(net, 1, spot.base_units_per_lot)
        else:
            whole = mul_div_up(-net, 1, spot.base_units_per_lot)
        if whole:
            lines.append(Reducible(spot, -1 if net > 0 else 1, Lots(whole), 0 < -net < spot.base_units_per_lot))
    return tuple(lines)
