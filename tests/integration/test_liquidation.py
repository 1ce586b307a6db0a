"""Liquidation over the real ledger and the real risk: a killed process manager, an account made healthy, a shortfall.

The test plays the rest of the house: marks and depth, the custodian, the clients' orders, and the venues.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ballast.events.v1 import dead_letter_pb2, liquidation_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.config import load_parameters
from libs.common.topics import LIQUIDITY, MARGIN, PLANS
from libs.common.units import PPM
from tests.integration.played_house import House, services
from tools.demo.processes import Fleet

UNDER_TEST = ("collateral_management", "risk_evaluation", "liquidation_execution")


@pytest.mark.timeout(150)
async def test_accounts_are_made_healthy_or_resolved_through_a_kill(
    fresh_kafka: str, repository: Path, tmp_path: Path
) -> None:
    parameters = load_parameters(repository / "config").parameters
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(House(fresh_kafka, parameters).running())
        await house.price(15_000)
        fleet = await stack.enter_async_context(services(fresh_kafka, tmp_path, UNDER_TEST))
        await fleet.wait_ready(UNDER_TEST)
        await house.poison()
        account = await house.open_position("first", dollars=20_000, lots=7_500)
        await story_of_a_killed_process_manager(house, fleet, account)
        await story_of_a_shortfall(house, await house.open_position("second", dollars=18_000, lots=6_000))
        await check_what_was_journalled(house)
        for topic in (LIQUIDITY, MARGIN):  # read again by the second process, and put aside again
            letters = [dead_letter_pb2.DeadLetter.FromString(one) for one in await house.values(topic.dead)]
            reasons = {one.offset: one.reason for one in letters if one.service == "liquidation_execution"}
            assert ["expected" in one for one in reasons.values()] == [True, True]


async def story_of_a_killed_process_manager(house: House, fleet: Fleet, account: int) -> None:
    """SIGKILL with orders in flight; the next one goes on from the journal, step by step, to a healthy account."""
    book, house.part = house.books[1], 0
    await house.price(13_200)
    await house.until(lambda: any(one.episode for one in book.orders.values()))
    fleet.processes["liquidation_execution"].kill()
    fleet.processes["liquidation_execution"].wait_stopped(1)
    first = {one.order for one in book.orders.values()}
    house.part = 3  # venues fill a third of each order
    await house.until(lambda: not book.orders)
    fleet.processes["liquidation_execution"].start()
    await house.until(lambda: bool(set(book.orders) - first) or not book.episodes)
    house.part = 1
    await house.until(lambda: not book.episodes)
    assert book.last_closed[account].state == ledger_pb2.EPISODE_STATE_HEALTHY
    assert 0 < house.lots(account) < 7_500
    await house.price(15_000)


async def story_of_a_shortfall(house: House, account: int) -> None:
    """A fall beyond all equity: everything is sold, the insurance fund pays, nothing is left."""
    book = house.books[1]
    await house.price(11_500)
    await house.until(lambda: account in book.last_closed, seconds=30)
    assert book.last_closed[account].state == ledger_pb2.EPISODE_STATE_EMPTIED
    assert not book.lines_of(account)
    paid = [one.waterfall for one in house.effects("waterfall") if one.waterfall.account == account]
    assert [one.step for one in paid] == [ledger_pb2.WATERFALL_STEP_INSURANCE_FUND]
    await house.until(lambda: not book.episodes, seconds=30)


async def check_what_was_journalled(house: House) -> None:
    written = [liquidation_pb2.LiquidationPlan.FromString(one) for one in await house.values(PLANS.name)]
    plans = {(one.episode, one.step): one for one in written if one.orders}
    steps = [one.order for one in house.effects("order") if one.order.state == ledger_pb2.ORDER_STATE_RELEASED]
    steps = [one for one in steps if one.episode]
    assert steps
    for order in steps:  # every order has its plan, and the plan had it
        plan = plans[order.episode, order.step]
        assert (order.instrument, order.venue, order.lots) in [(o.instrument, o.venue, o.lots) for o in plan.orders]
        chosen = plan.alternatives[0]
        assert not chosen.rejected_because
        if not plan.reason.startswith("full closing"):  # I5
            assert chosen.equity * plan.maintenance_margin >= plan.equity * chosen.maintenance_margin
    refused = {one.refusal for one in house.outcomes if one.principal.id == "liquidation_execution"}
    assert refused <= {ledger_pb2.REFUSAL_UNSPECIFIED, ledger_pb2.REFUSAL_STEP_OUT_OF_ORDER}
    healthy = [one for one in plans.values() if one.reason.startswith("least reduction")]
    target = house.parameters.liquidation.target
    for plan in healthy:  # I4: at the target, and beyond it by no more than what one lot relieves
        chosen, lots = plan.alternatives[0], sum(order.lots for order in plan.orders)
        before = plan.equity * PPM - target * plan.initial_margin
        after = chosen.equity * PPM - target * chosen.initial_margin
        assert 0 <= after * lots < 2 * (after - before)
