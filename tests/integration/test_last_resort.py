"""When no venue shows depth: deleveraged over partitions through a kill of the ledger; taken over by a provider."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.config import load_parameters
from libs.common.ids import SystemAccount, system_kind
from tests.integration.played_house import BTC_PERP, USD, House, config_with, services
from tools.demo.processes import Fleet

UNDER_TEST = ("collateral_management", "risk_evaluation", "liquidation_execution")
PROVIDER = "backstop"
DOLLAR = 10**6


def between_clients(content: dict[str, Any]) -> None:
    """The BTC perp is cleared between clients, and one of them has agreed to take positions over."""
    for one in content["instruments"]:
        if one["id"] == BTC_PERP:
            one["clearing"] = "internal"
    content["principals"].append({"id": PROVIDER, "role": "liquidity_provider"})


@pytest.mark.timeout(120)
async def test_positions_that_no_order_closes(fresh_kafka: str, tmp_path: Path) -> None:
    config = config_with(tmp_path, between_clients)
    async with AsyncExitStack() as stack:
        parameters = load_parameters(config).parameters
        house = await stack.enter_async_context(House(fresh_kafka, parameters, shows_depth=False).running())
        await house.price(15_000)
        fleet = await stack.enter_async_context(services(fresh_kafka, tmp_path, UNDER_TEST, config=config))
        await fleet.wait_ready(UNDER_TEST)
        await story_of_a_deleveraging(house, fleet)
        await story_of_a_takeover(house)
        assert in_transit(house) == {}


async def story_of_a_deleveraging(house: House, fleet: Fleet) -> None:
    """Those who hold the opposite in two partitions give up what is lacking; the ledger dies while they are asked."""
    account = await house.open_position("long", dollars=18_000, lots=6_000, fund=1_000)
    near = await house.open_position("near", dollars=90_000, lots=-2_500, fund=0)
    far = await house.open_position("far", dollars=10_000, lots=-4_000, partition=2, fund=0)
    await house.price(11_500)  # 3,000 dollars below nothing, of which the fund has 1,000
    await house.until(lambda: bool(house.effects("deleveraging")))
    fleet.restart("collateral_management")
    await house.until(lambda: account in house.books[1].last_closed, seconds=40)
    assert house.books[1].last_closed[account].state == ledger_pb2.EPISODE_STATE_EMPTIED
    assert [house.lots(one) for one in (account, near, far)] == [0, -500, 0]
    closed = [one.position_closed for one in house.effects("position_closed")]
    assert {one.cause for one in closed} == {kinds.CLOSING_CAUSE_DELEVERAGED}
    assert sum(one.lots for one in closed) == 0
    steps = {one.waterfall.step: one.waterfall.units for one in house.effects("waterfall")}
    lot = 11_500 * DOLLAR // 1_000
    given_up = steps.pop(ledger_pb2.WATERFALL_STEP_ADL)
    assert 2_000 * DOLLAR - lot <= given_up <= 2_000 * DOLLAR + lot
    assert steps.pop(ledger_pb2.WATERFALL_STEP_INSURANCE_FUND) == 1_000 * DOLLAR
    assert sum(steps.values()) < lot  # what the step of the price leaves, and interest
    assert house.books[1].lifecycle.deleveragings == {}


async def story_of_a_takeover(house: House) -> None:
    """A provider gets the position of an account that has waited a minute for depth."""
    await house.price(15_000)
    provider = await house.open_account(PROVIDER, dollars=500_000)
    account = await house.open_position("waiting", dollars=20_000, lots=7_500)
    await house.price(13_200)
    await house.until(lambda: any(one.account == account for one in house.books[1].episodes.values()))
    assert house.lots(account) == 7_500
    await house.price(13_200)  # a minute later
    await house.until(lambda: account in house.books[1].last_closed, seconds=30)
    assert house.lots(account) + house.lots(provider) == 7_500
    assert house.lots(provider) > 0
    taken = [one.position_closed for one in house.effects("position_closed")]
    assert {one.account for one in taken if one.cause == kinds.CLOSING_CAUSE_TAKEN_OVER} == {account, provider}
    assert house.line(account, USD) >= 0


def in_transit(house: House) -> dict[tuple[int, int], int]:
    """What the in-transit accounts add up to, zero left out."""
    sums: dict[tuple[int, int], int] = {}
    for book in house.books.values():
        for (account, asset, kind), balance in book.lines.items():
            if system_kind(account) is SystemAccount.IN_TRANSIT:
                sums[asset, kind] = sums.get((asset, kind), 0) + balance
    return {key: total for key, total in sums.items() if total}
