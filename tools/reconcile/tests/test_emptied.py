"""The waterfall is judged by what the house had at that outcome, whatever the rest of its frame brought."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.config import load_parameters
from libs.common.ids import SystemAccount, system_account
from tools.reconcile.checks.emptied import NoAssetsNoDebt
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import World

_USD, _UNITS = 1, 70
_POOL = system_account(SystemAccount.POOL, partition=0, index=_USD)
_FUND = system_account(SystemAccount.INSURANCE, partition=0)


def _posted(account: int, kind: ledger_pb2.LineKind) -> journal_pb2.Effect:
    posting = journal_pb2.Posting(account=account, asset=_USD, kind=kind, delta=_UNITS, balance=_UNITS, version=1)
    return journal_pb2.Effect(posting=posting)


_WRITTEN_OFF = journal_pb2.Outcome(
    command="resolve_shortfall",
    effects=[
        _posted(_POOL, ledger_pb2.LINE_KIND_LOSS),
        journal_pb2.Effect(
            waterfall=journal_pb2.Waterfall(asset=_USD, step=ledger_pb2.WATERFALL_STEP_WRITE_OFF, units=_UNITS)
        ),
    ],
)
_FUNDED = journal_pb2.Outcome(command="order_report", effects=[_posted(_FUND, ledger_pb2.LINE_KIND_CASH)])


@pytest.mark.parametrize(
    ("outcomes", "findings"), [([_WRITTEN_OFF, _FUNDED], 0), ([_FUNDED, _WRITTEN_OFF], 1)], ids=["after", "before"]
)
def test_lenders_bear_a_loss_only_when_the_fund_is_empty(outcomes: list[journal_pb2.Outcome], findings: int) -> None:
    whole = load_parameters(Path(__file__).resolve().parents[3] / "config").parameters
    parameters = replace(whole, partitions=1)  # there are no others to ask
    check, book = NoAssetsNoDebt(World(parameters, parameters_hash=b"")), PartitionBook(0)
    body = journal_pb2.JournalBody(outcomes=outcomes)
    book.apply(sequence=1, run_time_ns=1, body=body)
    check.frame(JournalFrame(0, 1, 1, 1, body), book)
    assert check.findings.count == findings
