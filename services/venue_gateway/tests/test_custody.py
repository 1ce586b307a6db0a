"""Client money at the edge: who may ask what, and where a client sees its assets."""

from __future__ import annotations

from typing import Any

import pytest

from ballast.api.v1 import custody_pb2 as api
from ballast.events.v1 import custody_pb2, journal_pb2
from ballast.types.v1 import custody_pb2 as custody_words
from ballast.types.v1 import ledger_pb2
from libs.common.ids import SystemAccount, account_id, system_account
from services.venue_gateway.adapters.custody_service import CustodyService
from services.venue_gateway.app.custody_requests import CUSTODY_REQUESTS
from services.venue_gateway.app.custody_view import custody_response
from services.venue_gateway.app.requests import Planned, plan
from services.venue_gateway.domain.refusals import Refused
from services.venue_gateway.tests.house import ACCOUNT, DIRECTORY, NOW_NS, PARTITION, House

FOREIGN = account_id(partition=PARTITION, entity=2, sub=0)
TREASURY = system_account(SystemAccount.TREASURY, partition=1)
NOT_AUTHORISED = ledger_pb2.REFUSAL_NOT_AUTHORISED
UNKNOWN_ACCOUNT, UNKNOWN_ASSET = ledger_pb2.REFUSAL_UNKNOWN_ACCOUNT, ledger_pb2.REFUSAL_UNKNOWN_ASSET
UNKNOWN_VENUE, UNKNOWN_PARTITION = ledger_pb2.REFUSAL_UNKNOWN_VENUE, ledger_pb2.REFUSAL_UNKNOWN_PARTITION
OUT_OF_RANGE = ledger_pb2.REFUSAL_QUANTITY_OUT_OF_RANGE
LENDABLE = custody_words.CUSTODY_MODE_LENDABLE


@pytest.fixture
def house() -> House:
    return House().with_account().with_account("bob", FOREIGN)


@pytest.mark.parametrize(
    ("name", "principal", "request_message", "reason"),
    [
        ("set_custody_terms", "bob", api.SetCustodyTermsRequest(account=ACCOUNT, asset="USD"), NOT_AUTHORISED),
        ("set_custody_terms", "operator", api.SetCustodyTermsRequest(account=ACCOUNT, asset="USD"), NOT_AUTHORISED),
        ("set_custody_terms", "alice", api.SetCustodyTermsRequest(account=9, asset="USD"), UNKNOWN_ACCOUNT),
        ("set_custody_terms", "alice", api.SetCustodyTermsRequest(account=ACCOUNT, asset="EUR"), UNKNOWN_ASSET),
        ("set_custody_terms", "alice", api.SetCustodyTermsRequest(account=ACCOUNT, asset="USD", cap="1.2345678"),
         OUT_OF_RANGE),
        ("recall_lent", "bob", api.RecallLentRequest(account=ACCOUNT, asset="USD"), NOT_AUTHORISED),
        ("recall_lent", "operator", api.RecallLentRequest(account=9, asset="USD"), UNKNOWN_ACCOUNT),
        ("recall_lent", "alice", api.RecallLentRequest(account=ACCOUNT, asset="EUR"), UNKNOWN_ASSET),
        ("sweep_lendable", "alice", api.SweepLendableRequest(account=ACCOUNT, asset="USD"), NOT_AUTHORISED),
        ("sweep_lendable", "operator", api.SweepLendableRequest(account=9, asset="USD"), UNKNOWN_ACCOUNT),
        ("sweep_lendable", "operator", api.SweepLendableRequest(account=ACCOUNT), UNKNOWN_ASSET),
        ("move_location", "operator", api.MoveLocationRequest(account=ACCOUNT), NOT_AUTHORISED),
        ("move_location", "custodian", api.MoveLocationRequest(account=9), UNKNOWN_ACCOUNT),
        ("move_location", "custodian", api.MoveLocationRequest(account=ACCOUNT, venue="moon"), UNKNOWN_VENUE),
        ("move_location", "custodian",
         api.MoveLocationRequest(account=ACCOUNT, venue="north", asset="USD", amount="-1"), OUT_OF_RANGE),
        ("impair_venue", "custodian", api.ImpairVenueRequest(venue="north"), NOT_AUTHORISED),
        ("impair_venue", "operator", api.ImpairVenueRequest(venue="north", partition=4), UNKNOWN_PARTITION),
        ("impair_venue", "operator", api.ImpairVenueRequest(venue="moon"), UNKNOWN_VENUE),
        ("set_gate", "alice", api.SetGateRequest(closed=True), NOT_AUTHORISED),
        ("set_gate", "operator", api.SetGateRequest(partition=4), UNKNOWN_PARTITION),
        ("set_gate", "risk_evaluation", api.SetGateRequest(closed=True), NOT_AUTHORISED),
    ],
)  # fmt: skip
def test_a_request_that_may_not_be_is_refused(
    house: House, name: str, principal: str, request_message: Any, reason: int
) -> None:
    refused = plan(name, request_message, house.clients.asker(principal), CUSTODY_REQUESTS)
    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert refused.detail


@pytest.mark.parametrize(
    ("name", "principal", "request_message", "partition", "body"),
    [
        ("set_custody_terms", "alice",
         api.SetCustodyTermsRequest(account=ACCOUNT, asset="USD", mode=LENDABLE, cap="2.5", consented_at_ns=7),
         PARTITION, custody_pb2.SetCustodyTerms(account=ACCOUNT, asset=1, mode=LENDABLE, cap_units=2_500_000,
                                                consented_at_ns=7)),
        ("recall_lent", "operator", api.RecallLentRequest(account=ACCOUNT, asset="BTC"), PARTITION,
         custody_pb2.RecallLent(account=ACCOUNT, asset=2)),
        ("sweep_lendable", "operator", api.SweepLendableRequest(account=ACCOUNT, asset="BTC"), PARTITION,
         custody_pb2.SweepLendable(account=ACCOUNT, asset=2)),
        ("move_location", "custodian",
         api.MoveLocationRequest(account=ACCOUNT, asset="USD", venue="north", amount="1"), PARTITION,
         custody_pb2.MoveLocation(account=ACCOUNT, asset=1, venue=1, units=1_000_000)),
        ("move_location", "custodian",
         api.MoveLocationRequest(account=TREASURY, asset="USD", venue="south", amount="1", back=True), 1,
         custody_pb2.MoveLocation(account=TREASURY, asset=1, venue=2, units=-1_000_000)),
        ("impair_venue", "operator",
         api.ImpairVenueRequest(partition=3, venue="south", loss_ppm=5, haircut_ppm=6, reason="r"), 3,
         custody_pb2.ImpairVenue(venue=2, loss_ppm=5, haircut_ppm=6, reason="r")),
        ("set_gate", "operator", api.SetGateRequest(partition=1, closed=True, for_ns=9, reason="r"), 1,
         custody_pb2.SetGate(closed=True, for_ns=9, reason="r", cause=custody_words.GATE_CAUSE_OPERATOR)),
    ],
)  # fmt: skip
def test_a_good_request_becomes_a_command_of_its_partition(
    house: House, name: str, principal: str, request_message: Any, partition: int, body: Any
) -> None:
    planned = plan(name, request_message, house.clients.asker(principal), CUSTODY_REQUESTS)
    assert isinstance(planned, Planned)
    assert planned.partition == partition
    assert planned.command.WhichOneof("body") == name
    assert getattr(planned.command, name) == body
    assert planned.command.principal.id == principal


def test_every_request_has_a_response() -> None:
    assert set(CUSTODY_REQUESTS) == set(CustodyService.RESPONSES)


def test_a_client_sees_where_its_assets_sit_and_on_what_terms(house: House) -> None:
    def line(asset: int, kind: ledger_pb2.LineKind, balance: int) -> journal_pb2.Effect:
        return journal_pb2.Effect(posting=journal_pb2.Posting(account=ACCOUNT, asset=asset, kind=kind, balance=balance))

    effects = [
        line(1, ledger_pb2.LINE_KIND_CASH, 90_000_000),
        line(1, ledger_pb2.LINE_KIND_RESERVED, 10_000_000),
        line(2, ledger_pb2.LINE_KIND_SUPPLY_SHARES, 3),
        journal_pb2.Effect(pool_index=journal_pb2.PoolIndex(asset=2, supply_index=15 * 10**14)),
        journal_pb2.Effect(
            placement=custody_pb2.Placement(
                account=ACCOUNT, asset=1, venue=1, units=30_000_000, impaired_units=40_000_000, lost_units=10_000_000
            )
        ),
        journal_pb2.Effect(impairment=custody_pb2.Impairment(venue=1, loss_ppm=250_000, haircut_ppm=500_000)),
        journal_pb2.Effect(
            custody_terms=custody_pb2.CustodyTerms(
                account=ACCOUNT, asset=2, mode=LENDABLE, cap_units=5, recall_units=1, document_hash=b"d" * 32
            )
        ),
        journal_pb2.Effect(gate=custody_pb2.Gate(until_ns=NOW_NS + 5)),
    ]
    house.journal(journal_pb2.Outcome(effects=effects))
    shown = custody_response(house.view, DIRECTORY, ACCOUNT)
    assert (shown.gate_until_ns, shown.gate_closed) == (NOW_NS + 5, False)
    btc, usd = shown.assets
    assert (usd.asset, usd.held, usd.lent, usd.mode) == ("USD", "100", "0", custody_words.CUSTODY_MODE_SEGREGATED)
    assert [(one.place, one.amount, one.lost) for one in usd.places] == [("vault", "70", ""), ("north", "30", "10")]
    assert usd.must_stay == "15"
    assert (btc.asset, btc.held, btc.lent, btc.cap) == ("BTC", "0", "0.00000004", "0.00000005")
    assert (btc.mode, btc.recalled, btc.document_hash) == (LENDABLE, "0.00000001", b"d" * 32)
    house.journal(run_time_ns=NOW_NS + 5)
    assert not custody_response(house.view, DIRECTORY, ACCOUNT).gate_until_ns
