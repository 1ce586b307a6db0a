"""Contagion over the live books of this worker: if a venue or an asset fails, who cannot pay."""

from __future__ import annotations

import asyncio

import numpy as np

from ballast.api.v1 import outlook_pb2 as api
from ballast.types.v1 import ledger_pb2
from libs.common.units import PPM
from services.risk_evaluation.app.house import House, gather
from services.risk_evaluation.app.questions import Refused
from services.risk_evaluation.app.risk import Risk
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.contagion_view import Failure, View, if_fails
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import USD6

WORST_MAX = 1_000


class Contagions:
    """Answers one question after the other, beside the worker's own turn."""

    def __init__(self, risk: Risk) -> None:
        self._risk = risk
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, request: api.ContagionRequest) -> api.ContagionResponse:
        """What follows, over every partition served here.

        Raises:
            Refused: an asset or venue that is not known, or a share out of its bound.
            Behind: no partition is served here, or none may be judged yet.
        """
        model = self._risk.model
        failure = failure_of(model, request)
        async with self._one_at_a_time:
            partitions = await self._risk.judged_now()
            market = self._risk.market
            house = gather(model, [one.fold.book for one in partitions], market.marks, market.surfaces, failure)
            answer = api.ContagionResponse(mark_sequence=market.sequence)
            for one in partitions:
                answer.partitions.add(partition=one.partition, journal_sequence=one.fold.sequence)
            view = await asyncio.to_thread(if_fails, house.positions, house.terms, failure, house.options)
        _fill(answer, model, house, view, worst=min(request.worst, WORST_MAX))
        return answer


def failure_of(model: Model, request: api.ContagionRequest) -> Failure:
    """The failure in columns. Raises Refused."""
    venues = [int(one.id) for one in model.parameters.venues]
    price, pays = np.ones(len(model.assets)), np.ones(max(1, len(venues)))
    if not (request.asset or request.venue):
        raise Refused(ledger_pb2.REFUSAL_UNKNOWN_ASSET, "expected an asset or a venue that fails, was neither")
    if request.asset:
        if request.asset not in model.asset_column:
            raise Refused(ledger_pb2.REFUSAL_UNKNOWN_ASSET, f"no asset {request.asset}")
        if request.fall_ppm >= PPM:
            detail = f"expected a fall below {PPM} ppm, was {request.fall_ppm}"
            raise Refused(ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE, detail)
        price[model.asset_column[request.asset]] = 1.0 - request.fall_ppm / PPM
    if request.venue:
        if request.venue not in venues:
            raise Refused(ledger_pb2.REFUSAL_UNKNOWN_VENUE, f"no venue {request.venue}")
        if request.recovery_ppm > PPM:
            detail = f"expected a recovery of at most {PPM} ppm, was {request.recovery_ppm}"
            raise Refused(ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE, detail)
        pays[venues.index(request.venue)] = request.recovery_ppm / PPM
    return Failure(price, pays)


def _fill(answer: api.ContagionResponse, model: Model, house: House, view: View, *, worst: int) -> None:
    answer.accounts, answer.cannot_pay = len(house.accounts), int(np.sum(view.cannot_pay))
    answer.shortfall = _usd6(float(np.sum(view.shortfall)))
    for at in np.argsort(-view.shortfall, kind="stable")[:worst].tolist():
        if view.cannot_pay[at]:
            answer.worst.add(
                account=house.accounts[at],
                equity_before=_usd6(view.equity_before[at]),
                equity_after=_usd6(view.equity_after[at]),
                shortfall=_usd6(view.shortfall[at]),
            )
    pools = [api.HubShortfall(pool=one.id) for one in model.assets]
    venues = [api.HubShortfall(venue=one.id) for one in model.parameters.venues]
    for hub, lost in zip([*pools, *venues], view.hub_shortfall.tolist(), strict=False):
        hub.shortfall = _usd6(lost)
        if hub.shortfall > 0:
            answer.hubs.append(hub)
    answer.sellers, answer.waves = int(np.sum(view.spill.in_trouble)), view.spill.rounds
    answer.prices.extend(_spills(model, house.terms.unit, view.spill.prices))
    if view.distress is not None:
        answer.distress_ppm = round(view.distress.impact * PPM)
    answer.unpriced.extend(house.unpriced)


def _spills(model: Model, was: F8, now: F8) -> list[api.PriceSpill]:
    found = []
    for column, one in enumerate(model.assets):
        if was[column] > 0.0 and (change := round((now[column] / was[column] - 1.0) * PPM)):
            found.append(api.PriceSpill(asset=one.id, change_ppm=change))
    return found


def _usd6(usd: float) -> int:
    return round(usd * USD6)
