"""Between liquidation's values and the wire."""

from __future__ import annotations

from collections.abc import Sequence

from ballast.api.v1 import risk_pb2 as risk_api_pb2
from ballast.events.v1 import commands_pb2, deleveraging_pb2, lifecycle_pb2, liquidation_pb2, market_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import market_pb2 as market_words
from libs.common.codec import Undecodable
from libs.common.errors import Fault
from libs.common.ids import InstrumentId, VenueId
from libs.common.units import Lots, Price, Usd6
from libs.common.validity import ValidityClass
from services.liquidation_execution.app.depth import Depth
from services.liquidation_execution.app.ports import Answer, Citation, CloseIt, Decision, ResolveIt, Step
from services.liquidation_execution.domain.episodes import Outcome
from services.liquidation_execution.domain.last_resort import Deleveraging, TakeOver
from services.liquidation_execution.domain.planner import Alternative, Evaluation, Plan
from services.liquidation_execution.domain.router import BUY, VenueOrder
from services.liquidation_execution.domain.slices import Candidate, Margin

_OUTCOMES = {
    Outcome.HEALTHY: ledger_pb2.EPISODE_STATE_HEALTHY,
    Outcome.EMPTIED: ledger_pb2.EPISODE_STATE_EMPTIED,
}
_NO_GUESS_PPM = 0
_CLASSES = {int(one) for one in ValidityClass}


def depth_of(message: market_pb2.Liquidity) -> Depth:
    """A venue's book as received; levels without lots are left out. Raises Undecodable for columns that do not fit."""
    if len(message.bid_price) != len(message.bid_lots) or len(message.ask_price) != len(message.ask_lots):
        raise Undecodable(f"expected a number of lots for every price of {message.venue}/{message.instrument}")
    return Depth(
        VenueId(message.venue),
        InstrumentId(message.instrument),
        message.run_time_ns,
        _levels(message.bid_price, message.bid_lots),
        _levels(message.ask_price, message.ask_lots),
    )


def _levels(prices: Sequence[int], lots: Sequence[int]) -> tuple[tuple[Price, Lots], ...]:
    return tuple((Price(p), Lots(n)) for p, n in zip(prices, lots, strict=True) if p > 0 and n > 0)


def checked(frame: risk_pb2.MarginFrame) -> risk_pb2.MarginFrame:
    """The margin frame itself. Raises Undecodable when its columns do not fit together."""
    rows = len(frame.account)
    columns = (frame.equity, frame.initial_margin, frame.maintenance_margin, frame.validity)
    if any(len(column) != rows for column in columns):
        raise Undecodable(f"expected columns of {rows} rows")
    if unknown := set(frame.validity) - _CLASSES:
        raise Undecodable(f"expected a validity class, was {min(unknown)}")
    return frame


def evaluate_request(
    account: int, at_least: int, candidates: Sequence[Candidate], *, without_orders: bool
) -> risk_api_pb2.EvaluateRequest:
    """The question to risk. Without orders a last candidate changes nothing else: it is the account as it will be."""
    request = risk_api_pb2.EvaluateRequest(account=account, at_least=at_least)
    for candidate in (*candidates, *([()] if without_orders else [])):
        added = request.candidates.add(without_orders=without_orders)
        for trade in candidate:
            added.trades.add(instrument=trade.instrument, lots=trade.lots, price=trade.price, fee_units=trade.fee_units)
    return request


def answer_of(response: risk_api_pb2.EvaluateResponse, *, count: int) -> Answer:
    """Risk's answer to so many candidates. Raises Fault when it has another number of margins."""
    margins = [_margin(one) for one in response.results]
    if len(margins) not in (count, count + 1):
        raise Fault(f"expected {count} margins, was {len(margins)}")
    now = _margin(response.now) if len(margins) == count else margins.pop()
    cited = Citation(response.journal_sequence, response.mark_sequence, response.control_sequence, response.run_time_ns)
    if response.validity not in (0, *_CLASSES):
        raise Fault(f"expected a validity class, was {response.validity}")
    return Answer(Evaluation(now, tuple(margins)), cited, ValidityClass(response.validity or ValidityClass.VALID))


def _margin(one: risk_api_pb2.EvaluatedMargin) -> Margin:
    return Margin(Usd6(one.equity), Usd6(one.initial_margin), Usd6(one.maintenance_margin))


def _citation(cited: Citation) -> commands_pb2.Citation:
    return commands_pb2.Citation(
        journal_sequence=cited.journal_sequence,
        mark_sequence=cited.mark_sequence,
        control_sequence=cited.control_sequence,
        mark_run_time_ns=cited.mark_run_time_ns,
    )


def _basis(cited: Citation) -> lifecycle_pb2.Basis:
    return lifecycle_pb2.Basis(
        journal_sequence=cited.journal_sequence,
        mark_sequence=cited.mark_sequence,
        control_sequence=cited.control_sequence,
    )


def _orders(orders: Sequence[VenueOrder]) -> list[commands_pb2.StepOrder]:
    return [
        commands_pb2.StepOrder(
            instrument=one.instrument,
            venue=one.venue,
            side=market_words.SIDE_BUY if one.direction == BUY else market_words.SIDE_SELL,
            lots=one.lots,
            limit_price=one.limit_price,
        )
        for one in orders
    ]


def command_of(decision: Decision) -> commands_pb2.Command:
    """The command to the ledger, still without key and principal."""
    account, episode, cited = decision.account, decision.episode, _citation(decision.citation)
    match decision.what:
        case Step(step=step, orders=orders):
            body = commands_pb2.StepEpisode(
                account=account, episode=episode, step=step, orders=_orders(orders), citation=cited
            )
            return commands_pb2.Command(step_episode=body)
        case CloseIt(outcome=outcome):
            closing = commands_pb2.CloseEpisode(
                account=account, episode=episode, outcome=_OUTCOMES[outcome], citation=cited
            )
            return commands_pb2.Command(close_episode=closing)
        case ResolveIt():
            shortfall = commands_pb2.ResolveShortfall(account=account, episode=episode)
            return commands_pb2.Command(resolve_shortfall=shortfall)
        case TakeOver() as over:
            handed = lifecycle_pb2.TakeOverPosition(
                account=account, episode=episode, step=decision.step, instrument=over.instrument.id, lots=over.lots,
                price=over.price, taker=over.taker, basis=_basis(decision.citation),
            )  # fmt: skip
            return commands_pb2.Command(take_over_position=handed)
        case Deleveraging(across=True) as given:
            asked = deleveraging_pb2.DeleverageAcross(
                account=account, episode=episode, step=decision.step, instrument=given.instrument.id, lots=given.lots,
                price=given.price, mark_price=given.mark, deficit_units=given.deficit, basis=_basis(decision.citation),
            )  # fmt: skip
            return commands_pb2.Command(deleverage_across=asked)
        case Deleveraging() as given:
            parties = [lifecycle_pb2.DeleveragedPosition(account=one, lots=lots) for one, lots in given.parties]
            closed = lifecycle_pb2.Deleverage(
                account=account, episode=episode, step=decision.step, instrument=given.instrument.id, price=given.price,
                mark_price=given.mark, deficit_units=given.deficit, counterparties=parties,
                basis=_basis(decision.citation),
            )  # fmt: skip
            return commands_pb2.Command(deleverage=closed)


def plan_of(decision: Decision) -> liquidation_pb2.LiquidationPlan:
    """The reason of a decision."""
    message = liquidation_pb2.LiquidationPlan(
        account=decision.account,
        episode=decision.episode,
        step=decision.step,
        citation=_citation(decision.citation),
        equity=decision.margin.equity,
        initial_margin=decision.margin.initial,
        maintenance_margin=decision.margin.maintenance,
        reason=_reason(decision),
    )
    plan = decision.plan
    if plan is not None:
        message.first_guess_ppm = _NO_GUESS_PPM if plan.first_guess is None else plan.first_guess
        message.orders.extend(_orders(plan.orders))
        message.alternatives.extend(_alternative(one) for one in plan.alternatives)
    return message


def _reason(decision: Decision) -> str:
    match decision.what:
        case CloseIt(outcome=Outcome.HEALTHY):
            return "closed: equity is at or above initial margin"
        case CloseIt():
            return "closed: neither assets nor debt are left"
        case ResolveIt():
            return "waterfall: no asset that orders could reduce is left, debt is"
        case TakeOver() as over:
            return f"taken over: {over.lots} lots of {over.instrument.symbol} at {over.price} by {over.taker}"
        case Deleveraging() as given:
            said = f"{given.lots} lots of {given.instrument.symbol} at {given.price}, mark {given.mark}"
            return f"deleveraged: {said}" + (", over partitions" if given.across else "")
    return _plan_reason(decision.plan) if decision.plan is not None else ""


def _plan_reason(plan: Plan) -> str:
    return f"{plan.kind.value}: {plan.chosen.slice.name}" if plan.chosen else plan.kind.value


def _alternative(one: Alternative) -> liquidation_pb2.PlanAlternative:
    return liquidation_pb2.PlanAlternative(
        name=one.judged.slice.name,
        fraction_ppm=one.fraction,
        equity=one.judged.after.equity,
        initial_margin=one.judged.after.initial,
        maintenance_margin=one.judged.after.maintenance,
        cost=one.judged.cost,
        rejected_because=one.rejected_because,
    )
