"""What options and packages pay and deliver when they end, leg by leg."""

from __future__ import annotations

from libs.common.errors import invariant
from libs.common.parameters import Delivery, Instrument, Parameters
from services.collateral_management.domain import positions


def paid_up_worth(parameters: Parameters, instrument: Instrument, *, lots: int, price: int) -> dict[int, int]:
    """Units by asset that signed lots of an option or a package become; each leg is rounded against the account.

    Args:
        price: of the underlying, integer with the settlement exponent, which legs share with their package.
    """
    if not instrument.is_package:
        return _option_worth(instrument, lots=lots, price=price)
    total: dict[int, int] = {}
    for leg in instrument.legs:
        if leg.instrument:
            option = parameters.instrument(leg.instrument)
            invariant(option is not None, "I16", f"{instrument.symbol}: expected leg {leg.instrument}, found none")
            worth = _option_worth(option, lots=lots * leg.amount, price=price) if option is not None else {}
        else:
            worth = {leg.asset: lots * leg.amount}
        for asset, units in worth.items():
            total[asset] = total.get(asset, 0) + units
    return total


def _option_worth(option: Instrument, *, lots: int, price: int) -> dict[int, int]:
    payoff = positions.option_payoff(option, lots=lots, price=price)
    if option.delivery is not Delivery.PHYSICAL:
        return {option.settlement: payoff}
    if not positions.option_payoff(option, lots=abs(lots), price=price):
        return {}
    bought = lots if option.is_call else -lots  # one that is worth something is exercised by itself
    return {
        option.settlement: positions.strike_value(option, lots=-bought),
        option.underlying: bought * option.base_units_per_lot,
    }
