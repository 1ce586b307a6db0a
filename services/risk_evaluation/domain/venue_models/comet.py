"""Compound Comet: one base asset lent or borrowed, several collaterals, two factors each."""

from __future__ import annotations

from dataclasses import dataclass

from libs.common.units import mul_div_zero
from services.risk_evaluation.domain.venue_models.arithmetic import WAD
from services.risk_evaluation.domain.venue_models.parameters import bounded, by_name, children, named, pick
from services.risk_evaluation.domain.venue_models.requirement import Check, Demand

PRICE_ONE = 10**8


@dataclass(frozen=True, slots=True)
class Collateral:
    """Rules of one collateral: factors in 10^-18; a factor of 0 leaves it out, its price is not even asked for."""

    name: str = named()
    decimals: int = bounded(0, 36)
    borrow_factor: int = bounded(0, WAD)
    liquidation_factor: int = bounded(0, WAD)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The market."""

    base_decimals: int = bounded(0, 36)
    collaterals: tuple[Collateral, ...] = children(Collateral, at_most=64)


@dataclass(frozen=True, slots=True)
class Holding:
    """Units of a collateral and its price, 10^-8 USD."""

    name: str
    amount: int
    price: int


@dataclass(frozen=True, slots=True)
class Account:
    """Base balance at the present index, negative when borrowed, its price in 10^-8 USD, and collateral."""

    base: int
    base_price: int
    holdings: tuple[Holding, ...] = ()


def liquidity(parameters: Parameters, account: Account, *, for_borrowing: bool) -> int:
    """Base balance plus weighted collateral, 10^-8 USD; negative when it does not suffice. Products truncate.

    Source: formulas.md D4; compound-finance/comet isBorrowCollateralized and isLiquidatable.
    """
    rules = by_name(parameters.collaterals, "collaterals")
    total = mul_div_zero(account.base, account.base_price, 10**parameters.base_decimals)
    for at, one in enumerate(account.holdings):
        rule = pick(rules, one.name, f"holdings[{at}].name")
        factor = rule.borrow_factor if for_borrowing else rule.liquidation_factor
        if factor:
            worth = mul_div_zero(one.amount, one.price, 10**rule.decimals)
            total += mul_div_zero(worth, factor, WAD)
    return total


def is_liquidatable(parameters: Parameters, account: Account) -> bool:
    """Owes base that collateral at its liquidation factors does not cover."""
    return account.base < 0 and liquidity(parameters, account, for_borrowing=False) < 0


def is_borrow_collateralised(parameters: Parameters, account: Account) -> bool:
    """Owes no base, or collateral at its borrow factors covers it."""
    return account.base >= 0 or liquidity(parameters, account, for_borrowing=True) >= 0


def demand(parameters: Parameters, account: Account) -> Demand:
    """What Comet asks of this account; one that owes no base is asked nothing."""
    owed = mul_div_zero(min(account.base, 0), account.base_price, 10**parameters.base_decimals)
    lent = mul_div_zero(max(account.base, 0), account.base_price, 10**parameters.base_decimals)

    def check(for_borrowing: bool) -> Check:
        total = liquidity(parameters, account, for_borrowing=for_borrowing)
        return Check(has=(total - owed) / PRICE_ONE, needs=-owed / PRICE_ONE)

    return Demand(initial=check(True), maintenance=check(False), parts={"lent": lent / PRICE_ONE})
