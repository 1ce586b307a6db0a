"""Dry run: what another parameter set would do to the accounts of the live book."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from ballast.api.v1 import risk_pb2 as api
from ballast.events.v1 import risk_pb2
from libs.common.config import LoadedParameters
from libs.common.errors import ConfigurationError, InvariantBroken
from libs.common.parameters import Parameters
from services.risk_evaluation.app.partition import PartitionRisk
from services.risk_evaluation.app.risk import Risk
from services.risk_evaluation.domain.margin import Margins, State
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.side_by_side import (
    STATES,
    Compared,
    Cut,
    Side,
    compare,
    cut,
    lacking,
    misfit,
    sums_by_states,
    to_close,
    worst_first,
)
from services.risk_evaluation.domain.volatility import Sigmas, levels_under, model_under

SET_BYTES_MAX = 1024 * 1024
WORST_MAX = 1_000


class DryRuns:
    """Answers one dry run after the other, beside the worker's own turn.

    Args:
        parameters: the loaded set, which `risk` judges by.
    """

    def __init__(self, risk: Risk, parameters: Parameters) -> None:
        self._risk = risk
        self._parameters = parameters
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, request: api.DryRunRequest) -> api.DryRunResponse:
        """The book of every partition served here, under the set in force and under the other.

        Raises:
            ConfigurationError: the set is none, or the book cannot be read under it; names path and bound.
            Behind: no partition is served here, or none may be judged yet.
        """
        other = _loaded(request.canonical_json)
        risk = self._risk
        model = fitting_model(other, live=risk.model, parameters=self._parameters, levels=risk.market.levels)
        worst = min(request.worst, WORST_MAX)
        async with self._one_at_a_time:
            answer, cuts = await self._begin(other, model)
            try:
                found = [await asyncio.to_thread(compare, one) for one in cuts]
            except InvariantBroken as error:
                raise ConfigurationError(f"parameter set: margins of the live book do not fit: {error}") from error
        target_ppm = other.parameters.liquidation.target
        await asyncio.to_thread(partial(_report, answer, found, worst=worst, target_ppm=target_ppm))
        return answer

    async def _begin(self, other: LoadedParameters, model: Model) -> tuple[api.DryRunResponse, list[Cut]]:
        """All partitions at one moment: nothing is awaited between the cuts."""
        risk = self._risk
        partitions = await risk.judged_now()
        answer = api.DryRunResponse(
            mark_sequence=risk.market.sequence,
            control_sequence=risk.control.sequence,
            run_time_ns=risk.market.run_time_ns,
            parameters_hash=risk.control.active_hash,
            other_hash=other.hash,
        )
        live, there = Side(risk.model, risk.market.prices), Side(model, risk.market.prices_under(model))
        for one in partitions:
            answer.partitions.add(partition=one.partition, journal_sequence=one.fold.sequence)
        return answer, [cut_of(one, live, there) for one in partitions]


def cut_of(partition: PartitionRisk, live: Side, other: Side) -> Cut:
    """The accounts of a partition now."""
    fold = partition.fold
    venues = {key: one.venue for key, one in fold.book.orders.items()} if fold.columns.orders else {}
    return cut(live, other, fold.columns, venues=venues)


def fitting_model(
    other: LoadedParameters, *, live: Model, parameters: Parameters, levels: Mapping[int, Sigmas]
) -> Model:
    """The model of another set at the volatilities in force, within the bounds of its own profiles.

    Raises: ConfigurationError where a book kept under the live one cannot be read by it.
    """
    if other.parameters.partitions != parameters.partitions:
        wanted, was = parameters.partitions, other.parameters.partitions
        raise ConfigurationError(f"parameter set: partitions: expected {wanted} as in force, was {was}")
    model = model_under(other.parameters, levels_under(other.parameters, levels))
    if why := misfit(live, model):
        raise ConfigurationError(f"parameter set: {why}")
    return model


def _loaded(canonical_json: str) -> LoadedParameters:
    if len(canonical_json.encode()) > SET_BYTES_MAX:
        raise ConfigurationError(f"parameter set: expected at most {SET_BYTES_MAX} bytes, was more")
    try:
        return LoadedParameters(canonical_json)
    except (ValueError, RecursionError) as error:  # no JSON at all
        raise ConfigurationError(f"parameter set: expected JSON: {error}") from error


def _report(answer: api.DryRunResponse, found: Sequence[Compared], *, worst: int, target_ppm: int) -> None:
    for one in found:
        answer.accounts += len(one.accounts)
        answer.initial_margin += int(one.now.initial_margin.sum())
        answer.maintenance_margin += int(one.now.maintenance_margin.sum())
        answer.other_initial_margin += int(one.then.initial_margin.sum())
        answer.other_maintenance_margin += int(one.then.maintenance_margin.sum())
    lack = [lacking(one.then) for one in found]
    close = [to_close(one.then, target_ppm=target_ppm) for one in found]
    count, short, closed = (np.zeros((STATES, STATES), dtype=np.int64) for _ in range(3))
    for number, one in enumerate(found):
        count += one.counts
        short += sums_by_states(one.now.state, one.then.state, lack[number])
        closed += sums_by_states(one.now.state, one.then.state, close[number])
    for now, then in np.argwhere(count > 0).tolist():
        answer.transitions.add(
            now=now, then=then, accounts=count[now, then], lacking=short[now, then], to_close=closed[now, then]
        )
    rows = [
        api.DryRunAccount(
            account=int(one.accounts[row]),
            now=_margin(one.now, row),
            then=_margin(one.then, row),
            lacking=int(lack[number][row]),
            to_close=int(close[number][row]),
        )
        for number, one in enumerate(found)
        for row in worst_first(one, worst).tolist()
    ]
    rows.sort(key=lambda one: (-one.then.state, -one.lacking, one.account))
    answer.worst.extend(rows[:worst])


def _margin(margins: Margins, row: int) -> api.EvaluatedMargin:
    return api.EvaluatedMargin(
        equity=int(margins.equity[row]),
        initial_margin=int(margins.initial_margin[row]),
        maintenance_margin=int(margins.maintenance_margin[row]),
        equity_for_new_risk=int(margins.equity_for_new_risk[row]),
        state=risk_pb2.MarginState.Name(State(int(margins.state[row]))),
    )
