"""A venue fails and pays later: its notices come twice, through a kill of the gateway, and each is booked once."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import pytest

from ballast.api.v1 import custody_pb2 as api
from ballast.api.v1 import custody_pb2_grpc
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common import rpc
from libs.common.ids import SystemAccount, partition_of, system_account
from tests.integration.edge_town import PARTITIONS, Town, town, until

USD, NORTH = 1, 1
DOLLAR = 10**6
CASH = ledger_pb2.LINE_KIND_CASH


def treasury(it: Town) -> int:
    """Dollars' units of the house's treasuries."""
    shards = [system_account(SystemAccount.TREASURY, partition=one) for one in range(PARTITIONS)]
    return sum(it.journal.units(one, CASH, USD) for one in shards)


async def put_at_venue(it: Town, amount: str) -> None:
    """The custodian moves dollars of the client to the venue."""
    async with rpc.channel(it.fleet.ports["venue_gateway"].target) as channel:
        stub: Any = custody_pb2_grpc.CustodyServiceStub(channel)
        request = api.MoveLocationRequest(account=it.client.account, asset="USD", venue="north", amount=amount)
        request.key.key = secrets.token_hex(8)
        moved = await stub.MoveLocation(request, metadata=((rpc.PRINCIPAL_KEY, "custodian"),), timeout=15)
    assert moved.outcome.refusal == 0, moved.outcome.detail


@pytest.mark.timeout(90)
async def test_what_a_venue_loses_and_pays_back_is_booked_once(fresh_kafka: str, tmp_path: Path) -> None:
    async with town(fresh_kafka, tmp_path / "town") as it:
        await it.client.open("1000")
        await put_at_venue(it, "600")
        it.connect()
        await until(lambda: it.venue.epoch > 0, "a session")
        account = it.client.account

        it.venue.notice(kind=kinds.VENUE_EVENT_KIND_BUST, asset="USD", amount="700")
        await until(lambda: not it.venue.notices, "the bust on record everywhere")
        assert it.journal.units(account, CASH, USD) == 400 * DOLLAR
        assert treasury(it) == -100 * DOLLAR  # nobody had more than 600 there
        claims = it.journal.books[partition_of(account)].lifecycle.owed_by_venue(NORTH, 1)
        assert claims[account] == 600 * DOLLAR

        it.venue.notice(kind=kinds.VENUE_EVENT_KIND_RECOVERY, asset="USD", amount="210", recovers=1)
        gateway = it.fleet.processes["venue_gateway"]
        gateway.kill()  # wherever it is with it
        gateway.start()
        await until(lambda: not it.venue.notices, "the recovery on record everywhere")
        paid = it.journal.units(account, CASH, USD) - 400 * DOLLAR
        assert paid + treasury(it) + 100 * DOLLAR == 210 * DOLLAR
        assert 0 < paid <= 210 * DOLLAR

        it.venue.notice(
            kind=kinds.VENUE_EVENT_KIND_RECOVERY, asset="USD", amount="490", recovers=1, is_final=True, to_vault=True
        )
        await until(lambda: not it.venue.notices, "the last payment on record everywhere")
        assert it.journal.units(account, CASH, USD) == 1_000 * DOLLAR
        assert treasury(it) == 0
        assert not any(book.lifecycle.venue_claims for book in it.journal.books)
        assert it.venue.sent_notices > 5
        await asyncio.sleep(0.2)
        events = [one for one in it.journal.outcomes if one.command == "venue_event" and not one.repeated]
        assert len([one for one in events if not one.refusal]) == 3 * PARTITIONS
