"""The risk figures of one account from the live book: sensitivities, tails, default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ballast.api.v1 import outlook_pb2 as api
from ballast.types.v1 import ledger_pb2
from libs.common.units import PPM, SECOND_NS
from libs.common.validity import ValidityClass
from services.risk_evaluation.app.market import Control, Market
from services.risk_evaluation.app.partition import PartitionRisk
from services.risk_evaluation.app.questions import Refused
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.columns import BookRows
from services.risk_evaluation.domain.default_probability import DefaultRisk, Position, default_risk, normals_shape
from services.risk_evaluation.domain.exposure import exposure_at_default
from services.risk_evaluation.domain.margin import evaluate
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.outlook import (
    HOUR_NS,
    History,
    common_history,
    dynamics,
    liquidation_years,
    moves_over,
    whole_hours,
)
from services.risk_evaluation.domain.prices import USD6, Mark, Prices
from services.risk_evaluation.domain.sensitivity import Sensitivities, option_lines, sensitivities, shapes
from services.risk_evaluation.domain.surfaces import VolatilitySurface
from services.risk_evaluation.domain.tail_risk import Tail, filtered_paths, simulated_profit, tail
from services.risk_evaluation.domain.volatility import Sigmas

HORIZONS_MAX = 8
HORIZON_NS_MAX = 30 * 24 * HOUR_NS
SCENARIOS_MIN = 100  # moves that a tail is judged from at least
PATHS = 2_000  # of filtered historical simulation
DECAY, WARM_UP = 0.97, 24  # of hourly variance; hours that only start it
STEP = 0.01  # of price: wide enough to see the book's curvature
BILLION = 10**9
YEAR_SECONDS = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with everything its answer stands on: the book and the market go on meanwhile.

    Args:
        rows, row: of the account's entity, and its position there. alone: its own row.
        funding: cumulative, by margined column. exposure: at default, USD.
    """

    answer: api.OutlookResponse
    account: int
    horizons: tuple[int, ...]
    confidence: float
    model: Model
    prices: Prices
    marks: Mapping[int, Mark]
    surfaces: Mapping[int, VolatilitySurface]
    levels: Mapping[int, Sigmas]
    history: History
    rows: BookRows
    row: int
    alone: BookRows
    funding: tuple[int, ...]
    exposure: float


def ask(model: Model, risk: PartitionRisk, market: Market, control: Control, request: api.OutlookRequest) -> Asked:
    """The question as the book stands now. Raises Refused."""
    horizons = tuple(request.horizon_ns) or (24 * HOUR_NS,)
    if len(horizons) > HORIZONS_MAX or not all(HOUR_NS <= one <= HORIZON_NS_MAX for one in horizons):
        detail = f"expected at most {HORIZONS_MAX} horizons from an hour to 30 days"
        raise Refused(ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE, detail)
    confidence = request.confidence_ppm or 990_000
    if not 500_000 <= confidence < PPM:
        raise Refused(ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE, "expected a confidence from 500,000 to 999,999 ppm")
    columns, prices = risk.fold.columns, risk.prices(market)
    row = columns.row_of.get(request.account)
    if row is None:
        detail = f"no account {request.account} in partition {risk.partition}"
        raise Refused(ledger_pb2.REFUSAL_UNKNOWN_ACCOUNT, detail)
    rows, alone = columns.entity_rows([row]), columns.some_rows([row])
    short = option_lines(model, prices, alone)
    sold = float(np.sum(np.maximum(-short.held[:, 0], 0.0) * short.coins * short.value))
    exposure = exposure_at_default(model, prices, columns, account=request.account, short_options=sold)
    answer = api.OutlookResponse(
        partition=risk.partition,
        journal_sequence=risk.fold.sequence,
        mark_sequence=market.sequence,
        control_sequence=control.sequence,
        run_time_ns=market.run_time_ns,
        exposure_at_default=round(exposure * USD6),
    )
    validity = int(evaluate(model, prices, alone).validity[0])
    answer.validity = ValidityClass.STALE if market.silent else validity
    return Asked(
        answer=answer,
        account=request.account,
        horizons=horizons,
        confidence=confidence / PPM,
        model=model,
        prices=prices,
        marks=dict(market.marks),
        surfaces=dict(market.surfaces),
        levels=dict(market.levels),
        history=common_history(model, {asset: tuple(closes) for asset, closes in market.closes.items()}),
        rows=columns.some_rows(rows),
        row=rows.index(row),
        alone=alone,
        funding=tuple(columns.funding),
        exposure=exposure,
    )


def answered(asked: Asked) -> api.OutlookResponse:
    """The answer; it takes a tenth of a second and touches nothing that lives."""
    answer, model = asked.answer, asked.model
    greeks = sensitivities(model, asked.prices, asked.alone)
    answer.sensitivities.extend(_sensitivities(model, greeks))
    answer.history_hours = asked.history.hours
    found = shapes(model, asked.marks, asked.rows, funding=asked.funding, step=STEP, surfaces=asked.surfaces)
    moving = dynamics(model, asked.levels, asked.history, found.price)
    years = liquidation_years(model, greeks.delta_usd[:, 0])
    position = Position(found.equity[asked.row], found.buffer[asked.row], asked.exposure, years)
    rules = model.parameters.margin.default_rules
    shape = normals_shape(paths=rules.paths, steps=rules.steps, underlyings=len(model.risky))
    for horizon in asked.horizons:
        drawn = seeded(asked, horizon)
        risk = default_risk(
            position,
            moving,
            horizon_years=horizon / SECOND_NS / YEAR_SECONDS,
            normals=drawn.standard_normal(shape),
        )
        one = _horizon(horizon, risk, liquidation_years_=years)
        _add_tails(one, asked, whole_hours(horizon), drawn)
        answer.horizons.append(one)
    return answer


def seeded(asked: Asked, horizon_ns: int) -> np.random.Generator:
    """Draws that anybody makes again for the same account, marks and horizon."""
    return np.random.default_rng((asked.account, asked.answer.mark_sequence, horizon_ns))


def _sensitivities(model: Model, greeks: Sensitivities) -> Iterator[api.Sensitivity]:
    for position, column in enumerate(model.risky):
        figures = (
            greeks.coin_delta, greeks.lot_delta, greeks.option_value_delta, greeks.gamma, greeks.vega, greeks.theta
        )  # fmt: skip
        if any(float(one[position, 0]) for one in figures):
            yield api.Sensitivity(
                underlying=model.assets[column].id,
                symbol=model.assets[column].symbol,
                price=float(greeks.price[position]),
                coin_delta=float(greeks.coin_delta[position, 0]),
                lot_delta=float(greeks.lot_delta[position, 0]),
                option_value_delta=float(greeks.option_value_delta[position, 0]),
                delta_usd=float(greeks.delta_usd[position, 0]),
                gamma=float(greeks.gamma[position, 0]),
                gamma_usd=float(greeks.gamma_usd[position, 0]),
                vega=float(greeks.vega[position, 0]),
                theta=float(greeks.theta[position, 0]),
            )


def _horizon(horizon_ns: int, risk: DefaultRisk, *, liquidation_years_: float) -> api.HorizonRisk:
    return api.HorizonRisk(
        horizon_ns=horizon_ns,
        liquidation_probability=round(risk.liquidation * BILLION),
        default_probability=round(risk.default * BILLION),
        expected_loss=round(risk.expected_loss * USD6),
        loss_given_default=round(min(1.0, risk.loss_given_default) * BILLION),
        liquidation_ns=round(liquidation_years_ * YEAR_SECONDS) * SECOND_NS,
    )


def _add_tails(one: api.HorizonRisk, asked: Asked, hours: int, drawn: np.random.Generator) -> None:
    history = asked.history
    if history.hours - hours < SCENARIOS_MIN or history.hours - 1 - WARM_UP < SCENARIOS_MIN:
        return
    past = _tail(asked, moves_over(history, hours))
    one.historical_value_at_risk = round(float(past.value_at_risk[0]))
    one.historical_expected_shortfall = round(float(past.expected_shortfall[0]))
    numbers = drawn.integers(0, history.hours - 1 - WARM_UP, size=(PATHS, hours))
    paths = _tail(asked, filtered_paths(history.prices, decay=DECAY, warm_up=WARM_UP, drawn=numbers))
    one.filtered_value_at_risk = round(float(paths.value_at_risk[0]))
    one.filtered_expected_shortfall = round(float(paths.expected_shortfall[0]))


def _tail(asked: Asked, moves: F8) -> Tail:
    profit = simulated_profit(
        asked.model.parameters,
        asked.marks,
        asked.alone,
        moves=moves,
        funding=asked.funding,
        surfaces=asked.surfaces,
    )
    return tail(profit, confidence=asked.confidence)
