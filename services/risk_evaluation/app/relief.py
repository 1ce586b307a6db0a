"""Whether an order that closes lots also makes its account safer: only then may it go out whatever the margin.

Closing one leg of a hedge opens the other, and closing at a price far from the mark pays somebody else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from libs.common.parameters import Instrument, InstrumentKind
from services.risk_evaluation.domain.columns import Columns, OpenOrder
from services.risk_evaluation.domain.margin import Margins
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.packages import lot_value
from services.risk_evaluation.domain.prices import Prices
from services.risk_evaluation.domain.whatif import Candidate, OutOfRange, Trade, evaluate_candidates

_FAR = 2.0  # a limit so many times worse than the mark relieves nobody


def relieves(
    model: Model, prices: Prices, columns: Columns, *, account: int, order: OpenOrder, before: Sequence[OpenOrder]
) -> bool:
    """True when the order, alone and after those before it, lowers no ratio of equity to maintenance margin.

    Each counts as filled at its limit, or at the mark where that is worse, at the venue's fee (I5, docs/margin.md).
    """
    trades = [_filled(model, prices, one) for one in (order, *before)]
    found = [one for one in trades if one is not None]
    if len(found) < len(trades):
        return False
    candidates = [Candidate(), Candidate(trades=(found[0],)), Candidate(trades=tuple(found))]
    try:
        now, alone, together = evaluate_candidates(model, prices, columns, account=account, candidates=candidates)
    except OutOfRange:
        return False
    return _is_safer(now, alone) and _is_safer(now, together)


def _is_safer(before: Margins, after: Margins) -> bool:
    equity, margin = int(before.equity[0]), int(before.maintenance_margin[0])
    equity_after, margin_after = int(after.equity[0]), int(after.maintenance_margin[0])
    pays_for_itself = equity_after >= min(0, equity)
    return pays_for_itself and margin_after <= margin and equity_after * margin >= equity * margin_after


def _filled(model: Model, prices: Prices, order: OpenOrder) -> Trade | None:
    one = model.instruments[model.instrument_column[order.instrument]]
    mark = mark_of(model, prices, one)
    worst, best = (order.limit, mark) if order.lots > 0 else (mark, float(order.limit))
    if mark <= 0.0 or worst > _FAR * best:
        return None
    price = max(order.limit, math.ceil(mark)) if order.lots > 0 else min(order.limit, max(1, math.floor(mark)))
    ratio = one.c_num / one.c_den
    paid = ratio / price if one.kind is InstrumentKind.INVERSE_PERP else ratio * price
    return Trade(one.id, order.lots, price, math.ceil(abs(order.lots) * paid * order.fee))


def mark_of(model: Model, prices: Prices, one: Instrument) -> float:
    """The mark of an instrument in its integer steps, as the prices have it; 0 when there is none."""
    if one.is_option:
        return float(prices.options.units[model.option_column[one.id]]) * one.c_den / one.c_num
    if one.is_package:
        value = lot_value(model, prices.unit, prices.options.units, prices.options.settle, one)
        return value / float(prices.unit[model.asset_column[one.settlement]]) * one.c_den / one.c_num
    notional = float(prices.order_notional[model.instrument_column[one.id]])
    settled = float(prices.unit[model.asset_column[one.settlement]]) * one.c_num / one.c_den
    if notional <= 0.0 or settled <= 0.0:
        return 0.0
    return settled / notional if one.kind is InstrumentKind.INVERSE_PERP else notional / settled
