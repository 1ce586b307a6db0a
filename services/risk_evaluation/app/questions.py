"""Answers about one account from the live book: its margin explained, and what-if through the same kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ballast.api.v1 import risk_pb2 as api
from ballast.events.v1 import risk_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.errors import BallastError
from libs.common.units import PPM
from libs.common.validity import Action, ValidityClass, permits
from services.risk_evaluation.app.fold import COLUMNS
from services.risk_evaluation.app.frames import margin_frame
from services.risk_evaluation.app.market import Control, Market
from services.risk_evaluation.app.partition import PartitionRisk
from services.risk_evaluation.domain.columns import Column
from services.risk_evaluation.domain.explanation import contributions
from services.risk_evaluation.domain.haircuts import haircut_table
from services.risk_evaluation.domain.margin import Margins, evaluate, line_values
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.packages import lot_value
from services.risk_evaluation.domain.prices import Prices
from services.risk_evaluation.domain.sensitivity import DAYS, VOL_POINT
from services.risk_evaluation.domain.whatif import Candidate, Trade, evaluate_candidates, free_units, one_row

CANDIDATES_MAX = 1_000
TRADES_MAX = 64
LOTS_MAX = 2**40
HAIRCUT_VALUES = tuple(PPM * 10**power for power in (4, 5, 6, 7, 8))  # 10^-6 USD


class Refused(BallastError):
    """A question that cannot be answered; `refusal` says why."""

    def __init__(self, refusal: ledger_pb2.Refusal, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal


def explain(model: Model, risk: PartitionRisk, market: Market, control: Control, account: int) -> api.ExplainResponse:
    """The margin of an account with its lines, what its requirements consist of, and what may leave.

    Nothing may leave a restricted account, or one that holds lines whose marks forbid it. Raises: Refused.
    """
    row = _row(risk, account)
    columns, prices = risk.fold.columns, risk.prices(market)
    rows = columns.entity_rows([row])
    position = rows.index(row)
    book = columns.some_rows(rows)
    margins = evaluate(model, prices, book)
    frame = margin_frame(model, margins, [account], [position])
    risk.stamp(frame, market, control)
    answer = api.ExplainResponse(margin=frame, worst_scenario=model.scenario_name(frame.worst_scenario[0]))
    answer.lines.extend(_lines(model, prices, risk, account))
    for part in contributions(model, prices, book, margins, row=position):
        contingency = api.Contingency.Name(part.contingency)
        answer.contributions.add(
            contingency=contingency,
            underlying=part.underlying,
            maintenance=part.maintenance,
            initial=part.initial,
            symbol=model.assets[model.asset_column[part.underlying]].symbol if part.underlying else "",
        )
    held: dict[int, int] = {one.id: int(book.net_units[column, position]) for column, one in enumerate(model.assets)}
    answer.haircuts.extend(_haircuts(model, prices, held))
    attributes = risk.fold.book.accounts.get(account)
    may_leave = permits(ValidityClass(frame.validity[0]), Action.WITHDRAWAL) and not (
        attributes and attributes.restricted
    )
    for asset in model.assets:
        if may_leave and columns.line(account, Column.CASH, asset.id) > 0:
            units = free_units(model, prices, columns, account=account, asset=asset.id)
            answer.free.append(api.FreeUnits(asset=asset.id, units=units, symbol=asset.symbol))
    return answer


def what_if(
    model: Model, risk: PartitionRisk, market: Market, control: Control, request: api.EvaluateRequest
) -> api.EvaluateResponse:
    """The account as it is and under each candidate. Raises Refused, OutOfRange."""
    row = _row(risk, request.account)
    if len(request.candidates) > CANDIDATES_MAX:
        raise Refused(
            ledger_pb2.REFUSAL_TOO_LARGE, f"expected at most {CANDIDATES_MAX} candidates, was {len(request.candidates)}"
        )
    candidates = [_candidate(model, one) for one in request.candidates]
    columns, prices = risk.fold.columns, risk.prices(market)
    rows = columns.entity_rows([row])
    now = one_row(evaluate(model, prices, columns.some_rows(rows)), rows.index(row))
    found = evaluate_candidates(model, prices, columns, account=request.account, candidates=candidates)
    return api.EvaluateResponse(
        partition=risk.partition,
        journal_sequence=risk.fold.sequence,
        mark_sequence=market.sequence,
        control_sequence=control.sequence,
        run_time_ns=market.run_time_ns,
        now=_margin(now),
        results=[_margin(one) for one in found],
        validity=ValidityClass.STALE if market.silent else int(now.validity[0]),
    )


def _row(risk: PartitionRisk, account: int) -> int:
    row = risk.fold.columns.row_of.get(account)
    if row is None:
        raise Refused(ledger_pb2.REFUSAL_UNKNOWN_ACCOUNT, f"no account {account} in partition {risk.partition}")
    return row


def _margin(one: Margins) -> api.EvaluatedMargin:
    return api.EvaluatedMargin(
        equity=int(one.equity[0]),
        initial_margin=int(one.initial_margin[0]),
        maintenance_margin=int(one.maintenance_margin[0]),
        equity_for_new_risk=int(one.equity_for_new_risk[0]),
        state=risk_pb2.MarginState.Name(int(one.state[0])),
    )


def _candidate(model: Model, one: api.Candidate) -> Candidate:
    if len(one.trades) > TRADES_MAX or len(one.cash) > TRADES_MAX:
        raise Refused(ledger_pb2.REFUSAL_TOO_LARGE, f"expected at most {TRADES_MAX} trades and cash changes each")
    for trade in one.trades:
        if trade.instrument not in model.instrument_column:
            raise Refused(ledger_pb2.REFUSAL_UNKNOWN_INSTRUMENT, f"no instrument {trade.instrument}")
        highest = model.instruments[model.instrument_column[trade.instrument]].max_price
        if not 0 < trade.price <= highest:
            raise Refused(ledger_pb2.REFUSAL_PRICE_OUT_OF_RANGE, f"expected 1 to {highest}, was {trade.price}")
        if not 0 < abs(trade.lots) < LOTS_MAX:
            raise Refused(ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected lots below 2^40, was {trade.lots}")
    for cash in one.cash:
        if cash.asset not in model.asset_column:
            raise Refused(ledger_pb2.REFUSAL_UNKNOWN_ASSET, f"no asset {cash.asset}")
    return Candidate(
        trades=tuple(Trade(one.instrument, one.lots, one.price, one.fee_units) for one in one.trades),
        cash=tuple((cash.asset, cash.units) for cash in one.cash),
        without_orders=one.without_orders,
    )


def _lines(model: Model, prices: Prices, risk: PartitionRisk, account: int) -> Sequence[api.LineValue]:
    """Each line with its value: what it would be worth were it the only one; a margined line's with its lots."""
    book, columns = risk.fold.book, risk.fold.columns
    out: list[api.LineValue] = []
    values = line_values(model, prices, columns.some_rows([columns.row_of[account]]))
    for (key, kind), balance in sorted(book.lines_of(account).items()):
        column = COLUMNS.get(kind)
        if columns.paid_up.is_kept(key) and column is Column.LOTS:
            line = _option_line if key in model.option_column else _package_line
            out.append(line(model, prices, key, kind, balance))
            continue
        if column in (Column.LOTS, Column.VARIATION):
            at = model.margined_column[key]
            symbol = model.margined[at].symbol
            value = int(values[1][at, 0]) if column is Column.VARIATION or not _has_variation(risk, account, key) else 0
        else:
            at = model.asset_column[key]
            symbol = model.assets[at].symbol
            units = balance if column in (None, Column.CASH) else columns.claim_units(account, column, key)
            value = int(units * float(prices.unit[at]) // 1)
        out.append(api.LineValue(symbol=symbol, kind=kind, balance=balance, value=value))
    return out


def _option_line(model: Model, prices: Prices, key: int, kind: ledger_pb2.LineKind, lots: int) -> api.LineValue:
    at, options = model.option_column[key], prices.options
    coins, carry = lots * float(options.coins[at]), float(options.forward_over_spot[at])
    delta, gamma, vega, theta = options.greeks[:, at].tolist()
    greeks = api.OptionGreeks(
        delta=coins * delta * carry,
        gamma=coins * gamma * carry * carry,
        vega=coins * vega * VOL_POINT,
        theta=coins * theta / DAYS,
        volatility=float(options.vols[at]),
    )
    value = math.floor(lots * float(options.units[at] * options.settle[at]))
    return api.LineValue(symbol=model.options[at].symbol, kind=kind, balance=lots, value=value, greeks=greeks)


def _package_line(model: Model, prices: Prices, key: int, kind: ledger_pb2.LineKind, lots: int) -> api.LineValue:
    """A package with each of its legs as it would be were it held alone."""
    package = model.packages[model.package_column[key]]
    out = api.LineValue(symbol=package.symbol, kind=kind, balance=lots, greeks=api.OptionGreeks())
    for leg in package.legs:
        amount = lots * leg.amount
        if leg.instrument:
            line = _option_line(model, prices, leg.instrument, kind, amount)
            out.legs.add(symbol=line.symbol, kind=kind, balance=amount, value=line.value, greeks=line.greeks)
            continue
        at = model.asset_column[leg.asset]
        asset, value = model.assets[at], math.floor(amount * float(prices.unit[at]))
        coins = amount / 10.0**asset.decimals if leg.asset == package.underlying else 0.0
        greeks = api.OptionGreeks(delta=coins)
        cash = ledger_pb2.LINE_KIND_CASH
        out.legs.add(symbol=asset.symbol, kind=cash, balance=amount, value=value, greeks=greeks)
    out.value = math.floor(lots * lot_value(model, prices.unit, prices.options.units, prices.options.settle, package))
    for name in ("delta", "gamma", "vega", "theta"):
        setattr(out.greeks, name, sum(getattr(one.greeks, name) for one in out.legs))
    return out


def _haircuts(model: Model, prices: Prices, held: Mapping[int, int]) -> Iterator[api.Haircut]:
    """Of each asset held that can move: at the size held, then at round sizes."""
    for asset, units in held.items():
        column = model.asset_column[asset]
        unit = float(prices.unit[column])
        if units <= 0 or unit <= 0.0 or column not in model.risky:
            continue
        sizes = [units, *(max(1, int(value / unit)) for value in HAIRCUT_VALUES)]
        for one in haircut_table(model, prices, asset=asset, sizes=sizes):
            yield api.Haircut(
                asset=asset,
                value=round(one.value),
                haircut_ppm=min(PPM, math.ceil(one.haircut * PPM)),
                scan_ppm=math.ceil(one.scan * PPM),
                add_on_ppm=math.ceil(one.add_on * PPM),
                scenario=one.scenario,
                symbol=model.assets[column].symbol,
            )


def _has_variation(risk: PartitionRisk, account: int, instrument: int) -> bool:
    return risk.fold.columns.line(account, Column.VARIATION, instrument) != 0
