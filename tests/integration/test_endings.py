"""A future and an option expire over four partitions: proposed, relayed and settled without a person, once."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ballast.events.v1 import market_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.config import load_parameters
from libs.common.ids import SystemAccount, system_account
from tests.integration.played_house import START_NS, USD, House, config_with, services

UNDER_TEST = ("collateral_management", "interest_accrual")
FUTURE, CALL = 31, 32
DOLLAR = 10**6
EXPIRY_S = START_NS // 10**9 + 3_600


def with_endings(content: dict[str, Any]) -> None:
    """A future and a call on BTC, struck at 15,000, that end an hour after the start."""
    one = {
        "id": FUTURE, "symbol": "BTC-FUTURE", "kind": "linear_future", "underlying": "BTC", "quote": "USD",
        "lot": "0.01", "tick": "0.01", "lowest_price": "100", "highest_price": "1000000", "max_order_lots": 100_000,
        "expiry_s": EXPIRY_S,
    }  # fmt: skip
    call = {
        **one, "id": CALL, "symbol": "BTC-CALL", "kind": "linear_option", "option": "call", "strike": "15000",
        "lowest_price": "0.01",
    }  # fmt: skip
    content["instruments"] += [one, call]
    content["venues"][0]["instruments"] += ["BTC-FUTURE", "BTC-CALL"]


@pytest.mark.timeout(90)
async def test_what_ends_is_settled_everywhere_at_the_published_price(fresh_kafka: str, tmp_path: Path) -> None:
    config = config_with(tmp_path, with_endings)
    async with AsyncExitStack() as stack:
        parameters = load_parameters(config).parameters
        house = await stack.enter_async_context(
            House(fresh_kafka, parameters, judges=True, shows_depth=False).running()
        )
        house.fixed = {CALL: 60_000}
        await house.price(15_000)
        fleet = await stack.enter_async_context(services(fresh_kafka, tmp_path, UNDER_TEST, config=config))
        await fleet.wait_ready(UNDER_TEST)
        positions = [(FUTURE, 100, 1), (FUTURE, -60, 2), (FUTURE, -40, 0), (CALL, 100, 3), (CALL, -100, 2)]
        accounts = [
            await house.open_position(
                f"owner{number}", dollars=20_000, lots=lots, partition=partition, instrument=instrument, fund=0
            )
            for number, (instrument, lots, partition) in enumerate(positions)
        ]
        averages = [
            market_pb2.SettlementAverage(instrument=one, price=1_600_000, known_ppm=10**6, is_final=True)
            for one in (FUTURE, CALL)
        ]
        await house.price(16_500, seconds=3_600, averages=averages)
        await house.until(
            lambda: all({FUTURE, CALL} <= set(book.lifecycle.listings) for book in house.books.values()), seconds=30
        )
        await house.until(lambda: not any(book.lifecycle.sweeps for book in house.books.values()))
        # the future moved by 1,000 dollars a coin; the call cost 600 and is worth 1,000
        gained = [house.line(one, USD) - 20_000 * DOLLAR for one in accounts]
        assert gained == [1_000 * DOLLAR, -600 * DOLLAR, -400 * DOLLAR, 400 * DOLLAR, -400 * DOLLAR]
        held = {
            account
            for book in house.books.values()
            for (account, _, kind), units in book.lines.items()
            if kind == ledger_pb2.LINE_KIND_LOTS and units
        }
        assert held <= contras(parameters.partitions)
        listed = {one.listing.price for one in house.effects("listing")}
        assert (listed, len(house.effects("listing"))) == ({1_600_000}, 2 * parameters.partitions)


def contras(partitions: int) -> set[int]:
    """The house accounts that take the other side of lots."""
    return {
        system_account(SystemAccount.CONTRA, partition=partition, index=instrument)
        for partition in range(partitions)
        for instrument in (FUTURE, CALL)
    }
