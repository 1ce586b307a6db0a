"""Client money over the wire: where it sits, a closed gate, a venue that fails and pays, a proof of what is owed."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any

from ballast.api.v1 import client_pb2, custody_pb2_grpc, ledger_pb2_grpc
from ballast.api.v1 import custody_pb2 as api
from ballast.api.v1 import ledger_pb2 as ledger_api
from ballast.types.v1 import custody_pb2 as words
from ballast.types.v1 import ledger_pb2
from libs.common import rpc
from libs.common.ids import partition_of
from tests.integration.edge_town import START_NS, Town, town
from tools.cli.__main__ import main
from tools.proof.written import proven

USD, NORTH = 1, 1


class Edge:
    """Questions and commands of client money."""

    def __init__(self, it: Town, stub: Any) -> None:
        self._it, self._stub = it, stub

    async def say(self, method: str, request: Any, *, principal: str) -> Any:
        """The outcome of a command."""
        request.key.key = secrets.token_hex(8)
        called = getattr(self._stub, method)(request, metadata=((rpc.PRINCIPAL_KEY, principal),), timeout=15)
        return (await called).outcome

    async def custody(self) -> api.CustodyOfAsset:
        """The client's dollars."""
        request = api.GetCustodyRequest(account=self._it.client.account)
        called = self._stub.GetCustody(request, metadata=((rpc.PRINCIPAL_KEY, self._it.client.name),), timeout=15)
        (found,) = (await called).assets
        assert isinstance(found, api.CustodyOfAsset)
        return found

    async def places(self) -> dict[str, str]:
        """Where the client's dollars sit."""
        return {one.place: one.amount for one in (await self.custody()).places}

    async def withdraw(self, amount: str) -> ledger_pb2.Refusal:
        """Why dollars do not leave."""
        request = client_pb2.WithdrawRequest(account=self._it.client.account, asset="USD", amount=amount)
        outcome = await self._it.client.call("Withdraw", request)
        refusal: ledger_pb2.Refusal = outcome.refusal
        return refusal

    async def house(self, *arguments: str) -> int:
        """Exit status of `ballast house ...` at this edge."""
        target = self._it.fleet.ports["venue_gateway"].target
        return await asyncio.to_thread(main, ["house", *arguments, "--target", target])


async def _a_client_sees_where_its_dollars_sit(it: Town, edge: Edge) -> None:
    account, name = it.client.account, it.client.name
    moved = api.MoveLocationRequest(account=account, asset="USD", venue="north", amount="600")
    assert (await edge.say("MoveLocation", moved, principal="custodian")).refusal == 0
    assert await edge.places() == {"vault": "400", "north": "600"}
    moved.amount = "400.000001"
    refused = await edge.say("MoveLocation", moved, principal="custodian")
    assert refused.refusal == ledger_pb2.REFUSAL_INSUFFICIENT_BALANCE
    consent = api.SetCustodyTermsRequest(
        account=account, asset="USD", mode=words.CUSTODY_MODE_LENDABLE, cap="250", document_hash=b"d" * 32,
        consented_at_ns=START_NS - 1,
    )  # fmt: skip
    assert (await edge.say("SetCustodyTerms", consent, principal=name)).refusal == 0
    found = await edge.custody()
    assert (found.mode, found.cap, found.document_hash) == (words.CUSTODY_MODE_LENDABLE, "250", b"d" * 32)


async def _nothing_leaves_by_a_closed_gate(it: Town, edge: Edge) -> None:
    assert await edge.house("gate", "close", "--reason", "a drill") == 0
    assert await edge.withdraw("1") == ledger_pb2.REFUSAL_GATE_CLOSED
    assert await edge.house("gate", "open", "--reason", "the drill is over") == 0
    assert await edge.house("gate", "open", "--reason", "x", "--principal", it.client.name) == 2
    assert await edge.withdraw("100") == 0
    assert await edge.places() == {"vault": "300", "north": "600"}


async def _a_venue_fails_and_pays(edge: Edge) -> None:
    failed = ("impair", "--venue", "north", "--loss", "0.25", "--haircut", "0.5", "--reason", "payouts halted")
    assert await edge.house(*failed) == 0
    found = await edge.custody()
    assert {one.place: (one.amount, one.lost) for one in found.places} == {
        "vault": ("300", ""),
        "north": ("450", "150"),
    }
    assert (found.held, found.must_stay) == ("750", "225")
    assert await edge.withdraw("525.000001") == ledger_pb2.REFUSAL_LOCATION_IMPAIRED
    assert await edge.house("impair", "--venue", "north", "--reason", "paid in full") == 0
    assert await edge.places() == {"vault": "300", "north": "600"}


async def _the_ledger_says_where_everybody_s_assets_sit(it: Town) -> None:
    account = it.client.account
    async with rpc.channel(it.fleet.ports["collateral_management"].target) as channel:
        stub: Any = ledger_pb2_grpc.LedgerServiceStub(channel)
        house = await stub.GetLocations(ledger_api.GetLocationsRequest(), timeout=10)
        own = await stub.GetLocations(ledger_api.GetLocationsRequest(account=account), timeout=10)
    here = partition_of(account)
    dollars = {one.venue: one.units for one in house.units if (one.partition, one.asset) == (here, USD)}
    assert (dollars[0], dollars[NORTH]) == (300_000_000, 600_000_000)
    assert {one.venue: one.units for one in own.units} == {0: 300_000_000, NORTH: 600_000_000}
    assert own.terms[0].cap_units == 250_000_000


async def _a_client_proves_alone_that_it_counts(it: Town, directory: Path) -> None:
    built = ["ledger", "proof", "--bootstrap", it.journal.bootstrap, "--output", str(directory)]
    assert await asyncio.to_thread(main, built) == 0
    file, root = (
        directory / f"proof-{it.client.account}.json",
        json.loads((directory / "published.json").read_text())["root"],
    )
    assert main(["ledger", "proof", "verify", str(file), "--root", root]) == 0
    found = proven(file.read_bytes(), root=bytes.fromhex(root))
    assert (found.owner, found.units[0]) == (it.client.name, 900_000_000)


async def _more_than_a_base_leaves_by_a_grant_and_not_more_than_the_limit(it: Town, edge: Edge) -> None:
    """A partition may let out 125,000 dollars an hour without asking, the house 1,000,000."""
    arrived = client_pb2.ConfirmDepositRequest(account=it.client.account, asset="USD", amount="1200000")
    assert (await it.client.call("ConfirmDeposit", arrived, principal="custodian")).refusal == 0
    assert await edge.withdraw("300000") == 0
    assert await edge.withdraw("400000") == ledger_pb2.REFUSAL_OUTFLOW_LIMIT
    assert await edge.withdraw("200000") == 0


async def test_client_money_at_a_real_edge(fresh_kafka: str, tmp_path: Path) -> None:
    async with town(fresh_kafka, tmp_path / "town") as it:
        await it.client.open("1000")
        async with rpc.channel(it.fleet.ports["venue_gateway"].target) as channel:
            edge = Edge(it, custody_pb2_grpc.CustodyServiceStub(channel))
            await _a_client_sees_where_its_dollars_sit(it, edge)
            await _nothing_leaves_by_a_closed_gate(it, edge)
            await _a_venue_fails_and_pays(edge)
            await _the_ledger_says_where_everybody_s_assets_sit(it)
            await _a_client_proves_alone_that_it_counts(it, tmp_path / "proof")
            await _more_than_a_base_leaves_by_a_grant_and_not_more_than_the_limit(it, edge)
