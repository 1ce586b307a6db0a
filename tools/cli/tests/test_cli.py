"""The command line: what it takes, what it draws, and that what it draws adds up."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest
from rich.console import Console

from ballast.api.v1 import client_pb2, standing_pb2
from ballast.api.v1 import risk_pb2 as api
from ballast.events.v1 import risk_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.ids import account_id
from tools.cli import dry_run, explain, standing
from tools.cli.__main__ import account, main
from tools.cli.screen import ppm, usd
from tools.reconcile.margins import COMPARED

ACCOUNT = account_id(partition=3, entity=7, sub=2)


def drawn(draw: object, answer: object) -> str:
    text = io.StringIO()
    draw(answer, Console(file=text, width=160, highlight=False))  # type: ignore[operator]
    return text.getvalue()


@pytest.mark.parametrize("text", [str(ACCOUNT), hex(ACCOUNT), "3/7/2"])
def test_an_account_is_named_by_its_id_or_its_parts(text: str) -> None:
    assert account(text) == ACCOUNT


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "1/2", "1/2/x", "1/0/0", "65536/1/0", str(1 << 64), "1" * 5_000])
def test_what_is_no_account_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        account(text)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0.000000"), (-1, "-0.000001"), (1_234_567_890_120, "1,234,567.890120")]
)
def test_money_is_shown_to_the_last_digit(value: int, shown: str) -> None:
    assert usd(value) == shown


def test_a_share_is_shown_to_the_last_digit() -> None:
    assert ppm(123_456) == "12.3456 %"


def explained() -> api.ExplainResponse:
    margin = risk_pb2.MarginFrame(
        partition=3, journal_sequence=41, mark_sequence=1_207, control_sequence=5, parameters_hash=b"\xab" * 32,
        account=[ACCOUNT], equity=[100], initial_margin=[71], maintenance_margin=[52], equity_for_new_risk=[99],
        state=bytes([1]), worst_scenario=bytes([0]), validity=bytes([2]), gross_notional=[500],
    )  # fmt: skip
    answer = api.ExplainResponse(margin=margin, worst_scenario="spot -1.00 of range")
    answer.contributions.add(contingency="CONTINGENCY_SCAN", underlying=2, maintenance=40, initial=60, symbol="BTC")
    answer.contributions.add(
        contingency="CONTINGENCY_LIQUIDITY", underlying=2, maintenance=11, initial=11, symbol="BTC"
    )
    answer.contributions.add(contingency="CONTINGENCY_ROUNDING", maintenance=1)
    answer.lines.add(symbol="BTC", kind="LINE_KIND_CASH", balance=3, value=100)
    answer.haircuts.add(asset=2, value=100, haircut_ppm=123_456, scan_ppm=120_000, add_on_ppm=3_456, symbol="BTC")
    answer.free.add(asset=2, units=1, symbol="BTC")
    return answer


def test_an_explanation_shows_everything_the_number_stands_on() -> None:
    text = drawn(explain.draw, explained())
    assert explain.unexplained(explained()) == ""
    for wanted in (
        f"Account {ACCOUNT} (3/7/2)", "healthy", "spot -1.00 of range", "sequence 1207", "DEGRADED", "sequence 41",
        "partition 3", "sequence 5", "abababab", "scan", "liquidity", "rounding", "0.000052", "0.000071", "12.3456 %",
        "all of it", "may leave", "1 units of BTC",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_parts_that_do_not_add_up_are_named() -> None:
    answer = explained()
    answer.contributions[0].initial += 1
    assert explain.unexplained(answer) == "initial margin is 0.000071, its parts are 0.000072"


def test_a_dry_run_says_how_many_and_how_much() -> None:
    answer = api.DryRunResponse(accounts=10, initial_margin=1, other_initial_margin=3, mark_sequence=9)
    moves = [("HEALTHY", "HEALTHY", 6, 0, 0), ("HEALTHY", "CALL", 2, 7, 0), ("CALL", "CALL", 1, 5, 0)]
    moves.append(("HEALTHY", "LIQUIDATION", 1, 4, 9_000_000))
    for now, then, count, lacking, to_close in moves:
        answer.transitions.add(
            now=f"MARGIN_STATE_{now}", then=f"MARGIN_STATE_{then}", accounts=count, lacking=lacking, to_close=to_close
        )
    answer.worst.add(account=ACCOUNT, lacking=4, now=api.EvaluatedMargin(state="MARGIN_STATE_HEALTHY"))
    assert dry_run.verdicts(answer) == [
        "2 accounts would newly be called, lacking 0.000007 USD",
        "1 accounts would newly be liquidated, lacking 0.000004 USD, first closing 9.000000 USD of notional",
        "0 accounts would newly be bankrupt, lacking 0.000000 USD, first closing 0.000000 USD of notional",
    ]
    text = drawn(dry_run.draw, answer)
    assert str(ACCOUNT) in text
    assert "10 accounts at mark 9" in text


def test_an_invalid_set_is_refused_with_path_and_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (Path(__file__).resolve().parents[3] / "config").glob("*.yaml"):
        text = file.read_text()
        (tmp_path / file.name).write_text(text.replace('blend: "0.5"', 'blend: "1.5"'))
    assert main(["risk", "dry-run", "--config", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "margin.blend" in said
    assert "1.5" in said


def test_a_house_that_is_not_there_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["risk", "explain", "3/7/2", "--target", "127.0.0.1:1", "--timeout", "0.5"]) == 2
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_every_column_of_a_margin_frame_is_compared() -> None:
    """A column that is published and not recomputed would be evidence of nothing."""
    stands_on = {
        "partition", "frame", "journal_sequence", "mark_sequence", "control_sequence", "run_time_ns",
        "parameters_hash", "fingerprint", "full", "account", "underlying", "accounts_by_state",
    }  # fmt: skip
    columns = {field.name for field in risk_pb2.MarginFrame.DESCRIPTOR.fields} - stands_on
    assert columns == {*COMPARED, "scan_loss"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "open"),
        ({"closed": True}, "closed by its owner"),
        ({"restricted": True, "held": True}, "restricted by an operator"),
        ({"restricted": True, "episode": 9}, "liquidated in episode 9"),
        ({"restricted": True, "held": True, "episode": 9}, "restricted by an operator, liquidated in episode 9"),
        ({"restricted": True}, "restricted: it owes the house"),
        ({"restricted": True, "moving_to": 3}, "moves to partition 2"),
        ({"restricted": True, "moving_to": 3, "moved_to": 77}, "lives under 77 now"),
    ],
)
def test_an_account_says_how_it_stands(fields: dict[str, int], said: str) -> None:
    stands = standing_pb2.AccountStanding(
        closed=bool(fields.get("closed")), held=bool(fields.get("held")), moving_to=fields.get("moving_to", 0)
    )
    found = client_pb2.ClientServiceGetAccountResponse(
        partition=3, sequence=8, orders=[5], standing=stands, restricted=bool(fields.get("restricted")),
        episode=fields.get("episode", 0), moved_to=fields.get("moved_to", 0),
    )  # fmt: skip
    found.balances.add(symbol="BTC", kind=ledger_pb2.LINE_KIND_CASH, amount="1.5")
    assert standing.standing(found) == said
    text = drawn(standing.draw, found)
    for wanted in (said, "BTC", "cash", "1.5", "sequence 8", "live orders: 5"):
        assert wanted in text, wanted
