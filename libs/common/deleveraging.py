"""Who is deleveraged first: one published rule, by which liquidation_execution chooses and the ledger checks.

A position's rank is its profit times its leverage, both in the instrument's settlement asset alone: profit is what it
would settle for at the mark, leverage its notional over what the account has of that asset, this position counted. A
position without profit ranks by its loss over its leverage, after all with profit; equal ranks go by account id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from libs.common.parameters import Instrument, InstrumentKind
from libs.common.units import FUNDING_ONE, mul_div_down


@dataclass(frozen=True, slots=True)
class Candidate:
    """A position opposite to the one that must go; units of the settlement asset.

    Args:
        lots: held, without sign.
        profit: `⌊q·P* + V⌋` at the mark.
        notional: at the mark, positive.
        cash: cash and reserved units of the account, less what it owes.
    """

    account: int
    lots: int
    profit: int
    notional: int
    cash: int


def candidate(
    instrument: Instrument, *, account: int, lots: int, variation: int, cash: int, price: int, funding: int
) -> Candidate:
    """A position as its rank is reckoned.

    Args:
        lots, variation: signed, as held. price: the mark. funding: cumulative funding paid by one long lot.
        cash: cash and reserved units of the settlement asset, less what is owed.
    """
    if instrument.kind is InstrumentKind.INVERSE_PERP:
        numerator, denominator = -instrument.c_num, instrument.c_den * price
    else:
        numerator, denominator = instrument.c_num * price, instrument.c_den
    exact = lots * (numerator * FUNDING_ONE - (0 if instrument.is_paid_up else funding) * denominator)
    profit = mul_div_down(exact + variation * denominator * FUNDING_ONE, 1, denominator * FUNDING_ONE)
    notional = mul_div_down(abs(lots) * abs(numerator), 1, denominator)
    return Candidate(account=account, lots=abs(lots), profit=profit, notional=notional, cash=cash)


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates, first to be deleveraged first."""
    return sorted(candidates, key=lambda one: (-_score(one), one.account))


def _score(one: Candidate) -> Fraction:
    wealth = max(1, one.cash + one.profit)
    leverage = Fraction(max(1, one.notional), wealth)
    return one.profit * leverage if one.profit > 0 else one.profit / leverage


def chosen(candidates: Iterable[Candidate], *, lots: int) -> list[tuple[int, int]]:
    """(account, lots) that close `lots` in all, best ranked first, each with all it has but the last."""
    found: list[tuple[int, int]] = []
    for one in ranked(candidates):
        if lots <= 0:
            break
        part = min(lots, one.lots)
        found.append((one.account, part))
        lots -= part
    return found
