"""Aave v3: health factor, how much may be liquidated at once, and what a liquidation leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from libs.common.units import mul_div_down, mul_div_up
from services.risk_evaluation.domain.venue_models.arithmetic import BPS, WAD, mul_div_half_up
from services.risk_evaluation.domain.venue_models.parameters import bounded, by_name, children, named, pick
from services.risk_evaluation.domain.venue_models.requirement import Check, Demand

BASE_ONE = 10**8  # the base currency is USD in 10^-8
NO_DEBT = 2**256 - 1
_BASE_MAX = 1e30


@dataclass(frozen=True, slots=True)
class Reserve:
    """Rules of one asset, in 10^-4; the bonus is on top of what is repaid."""

    name: str = named()
    decimals: int = bounded(0, 36)
    ltv_bps: int = bounded(0, BPS)
    threshold_bps: int = bounded(0, BPS)
    bonus_bps: int = bounded(0, BPS)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Reserves, and the rules of liquidation in 10^-8 USD, 10^-18 and 10^-4."""

    reserves: tuple[Reserve, ...] = children(Reserve, at_most=256)
    half_close_above: int = bounded(0, 2 * WAD, default=95 * WAD // 100)
    half_close_least: int = bounded(0, _BASE_MAX, default=2000 * BASE_ONE)
    leftover_least: int = bounded(0, _BASE_MAX, default=1000 * BASE_ONE)
    half_bps: int = bounded(0, BPS, default=5000)


@dataclass(frozen=True, slots=True)
class Holding:
    """Units supplied as collateral and owed of one asset, and its price in 10^-8 USD."""

    name: str
    collateral: int
    debt: int
    price: int


@dataclass(frozen=True, slots=True)
class Account:
    """What the account has and owes."""

    holdings: tuple[Holding, ...]


@dataclass(frozen=True, slots=True)
class Sums:
    """10^-8 USD; the weighted ones in 10^-12 USD. Collateral is rounded down, debt up."""

    collateral: int
    debt: int
    lent: int
    threshold: int


def sums(parameters: Parameters, account: Account) -> Sums:
    """Collateral, debt, and collateral by loan-to-value and by threshold. Source: formulas.md D3."""
    rules = by_name(parameters.reserves, "reserves")
    collateral = debt = lent = threshold = 0
    for at, one in enumerate(account.holdings):
        rule = pick(rules, one.name, f"holdings[{at}].name")
        worth = mul_div_down(one.collateral, one.price, 10**rule.decimals)
        collateral += worth
        lent += worth * rule.ltv_bps
        threshold += worth * rule.threshold_bps
        debt += mul_div_up(one.debt, one.price, 10**rule.decimals)
    return Sums(collateral, debt, lent, threshold)


def health_factor(total: Sums) -> int:
    """Collateral by threshold over debt, 10^-18: half-up division, then down; without debt the largest integer."""
    if total.debt == 0:
        return NO_DEBT
    return mul_div_down(mul_div_half_up(total.threshold, WAD, total.debt), 1, BPS)


def close_factor_bps(parameters: Parameters, *, health: int, collateral: int, debt: int) -> int:
    """Share of the total debt that may be repaid at once.

    Args:
        collateral, debt: of the pair that is liquidated, 10^-8 USD.
    Source: formulas.md F4.
    """
    least = parameters.half_close_least
    half = health > parameters.half_close_above and collateral >= least and debt >= least
    return parameters.half_bps if half else BPS


class LiquidationRefusal(IntEnum):
    """Why a liquidation is not taken, in the order they are looked at."""

    HEALTHY = 1
    NOTHING_TO_REPAY = 2
    LEAVES_DUST = 3


@dataclass(frozen=True, slots=True)
class Liquidation:
    """What is repaid and seized, 10^-8 USD, and the leftovers of the pair."""

    repaid: int
    seized: int
    collateral_left: int
    debt_left: int


@dataclass(frozen=True, slots=True)
class Pair:
    """The collateral and debt a liquidator names, 10^-8 USD, with the account's health and whole debt."""

    health: int
    collateral: int
    debt: int
    total_debt: int
    bonus_bps: int


def liquidate(parameters: Parameters, pair: Pair, repay: int) -> Liquidation | LiquidationRefusal:
    """Outcome of repaying up to so much; either one side of the pair is emptied or both leave more than dust.

    Source: formulas.md F4. The bonus is rounded down, the debt that a capped seizure needs is rounded up.
    """
    if pair.health >= WAD:
        return LiquidationRefusal.HEALTHY
    share = close_factor_bps(parameters, health=pair.health, collateral=pair.collateral, debt=pair.debt)
    most = pair.debt if share == BPS else min(pair.debt, mul_div_down(pair.total_debt, share, BPS))
    repaid = min(repay, most)
    if repaid <= 0:
        return LiquidationRefusal.NOTHING_TO_REPAY
    seized = mul_div_down(repaid, BPS + pair.bonus_bps, BPS)
    if seized > pair.collateral:
        seized = pair.collateral
        repaid = min(repaid, mul_div_up(pair.collateral, BPS, BPS + pair.bonus_bps))
    left = Liquidation(repaid, seized, pair.collateral - seized, pair.debt - repaid)
    emptied = left.collateral_left == 0 or left.debt_left == 0
    if not emptied and min(left.collateral_left, left.debt_left) < parameters.leftover_least:
        return LiquidationRefusal.LEAVES_DUST
    return left


def demand(parameters: Parameters, account: Account) -> Demand:
    """What Aave asks of this account: debt covered by loan-to-value to borrow, by thresholds to be left alone."""
    total = sums(parameters, account)
    owed = total.debt / BASE_ONE
    return Demand(
        initial=Check(has=total.lent / BPS / BASE_ONE, needs=owed),
        maintenance=Check(has=total.threshold / BPS / BASE_ONE, needs=owed),
        parts={"collateral": total.collateral / BASE_ONE, "debt": owed},
    )
