"""From the live state to a planner's problem, and the planner driven over risk's answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from libs.common.ids import InstrumentId
from libs.common.units import Price
from services.liquidation_execution.app.live import Live
from services.liquidation_execution.app.ports import Answer
from services.liquidation_execution.domain.catalogue import notional
from services.liquidation_execution.domain.holdings import Reducible, reducible
from services.liquidation_execution.domain.planner import Asking, Plan, Problem
from services.liquidation_execution.domain.router import ladder
from services.liquidation_execution.domain.slices import Candidate, Line


def problem_of(live: Live, account: int) -> Problem:
    """Lines of the account that may be traded on a usable mark, with what the venues show for each now.

    The largest lines come first when one step cannot carry an order for each venue of every line.
    """
    catalogue = live.catalogue
    parameters = catalogue.parameters
    found: list[Line] = []
    for one in reducible(live.holdings(account), catalogue):
        mark = live.marks.usable(one.instrument.id)
        has_ended = 0 < one.instrument.closes_ns <= live.marks.run_time_ns  # the ledger closes it, no order does
        if mark is not None and not has_ended:
            found.append(_line(live, one, mark))
    found.sort(key=lambda line: -line.notional)
    room, lines = parameters.ledger.step_orders_max, []
    for line in found:
        room -= len(catalogue.venues_of[line.reducible.instrument.id])
        if room >= 0:
            lines.append(line)
    return Problem(tuple(lines), parameters.liquidation)


def _line(live: Live, one: Reducible, mark: Price) -> Line:
    catalogue, instrument = live.catalogue, one.instrument
    shown = live.depth.shown(
        InstrumentId(instrument.id),
        one.direction,
        catalogue.venues_of[instrument.id],
        mark=mark,
        marks=live.marks,
    )
    offers = ladder(
        instrument,
        one.direction,
        mark=mark,
        shown=shown,
        rules=catalogue.parameters.liquidation,
        liquidation_fee=catalogue.parameters.ledger.liquidation_fee,
    )
    return Line(one, offers, notional(catalogue, instrument, lots=one.lots, marks=live.marks.prices))


async def drive(
    asking: Asking, evaluate: Callable[[tuple[Candidate, ...]], Awaitable[Answer]]
) -> tuple[Plan, Answer | None]:
    """The plan, and the last answer of risk that it rests on."""
    answer: Answer | None = None
    try:
        wanted = next(asking)
        while True:
            answer = await evaluate(wanted)
            wanted = asking.send(answer.evaluation)
    except StopIteration as stop:
        return stop.value, answer
