"""Measures the ledger's domain: commands handled, framed, fingerprinted and folded again; one partition, no broker.

`python -m bench.ledger.domain [--accounts N] [--profile]`: each account is opened, funded, places an order that risk
lets out, and is filled. Prints CPU microseconds a command of each part.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections.abc import Iterator
from pathlib import Path

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.book import PartitionBook
from libs.common.config import load_parameters
from libs.common.ids import account_id, serial_id
from libs.common.parameters import Parameters
from services.collateral_management.app.audit import Audit
from services.collateral_management.domain.draft import Context
from services.collateral_management.domain.ledger import fold, handle
from services.collateral_management.domain.state import State

_FRAME = 512
_PERP, _VENUE, _USD = 11, 1, 1
_ROLES = {
    "open_account": ("alice", words.ROLE_CLIENT),
    "confirm_deposit": ("custodian", words.ROLE_CUSTODIAN),
    "place_order": ("alice", words.ROLE_CLIENT),
    "verdict": ("risk_evaluation", words.ROLE_SERVICE),
    "order_report": ("venue_gateway", words.ROLE_SERVICE),
}


def _commands(accounts: int, genesis_ns: int) -> Iterator[list[commands_pb2.Command]]:
    """One list a kind of command, in the order that they can be applied."""
    for kind, name in enumerate(_ROLES):
        found = []
        for n in range(1, accounts + 1):
            account, order = account_id(partition=0, entity=n, sub=0), serial_id(partition=0, serial=n)
            command = commands_pb2.Command()
            command.principal.id, command.principal.role = _ROLES[name]
            if name == "order_report":
                command.fact.stream, command.fact.sequence, command.fact.previous = "venue/north", n, n - 1
            else:
                command.session.session, command.session.n = bytes([kind]) * 16, n
            match name:
                case "open_account":
                    command.open_account.owner = "alice"
                case "confirm_deposit":
                    command.confirm_deposit.CopyFrom(
                        commands_pb2.ConfirmDeposit(account=account, asset=_USD, units=10**9)
                    )
                case "place_order":
                    command.place_order.CopyFrom(
                        commands_pb2.PlaceOrder(
                            account=account,
                            instrument=_PERP,
                            venue=_VENUE,
                            side=market_pb2.SIDE_BUY,
                            lots=10,
                            limit_price=1_500_000,
                            time_in_force=market_pb2.TIME_IN_FORCE_IOC,
                        )
                    )
                case "verdict":
                    cited = commands_pb2.Citation(journal_sequence=10**9, mark_run_time_ns=genesis_ns)
                    command.verdict.CopyFrom(
                        commands_pb2.Verdict(account=account, order=order, settle=True, citation=cited)
                    )
                case "order_report":
                    command.order_report.CopyFrom(
                        commands_pb2.OrderReport(
                            venue=_VENUE,
                            order=order,
                            kind=words.REPORT_KIND_FILL,
                            lots=10,
                            price=1_500_000,
                            fee_units=75_000,
                            executed_at_ns=genesis_ns,
                        )
                    )
            found.append(command)
        yield found


def _run(parameters: Parameters, accounts: int) -> dict[str, float]:
    state, book, folded = State(0), PartitionBook(0), State(0)
    spent: dict[str, float] = {}
    sequence, control = 0, 0
    frames: list[tuple[bytes, Context]] = []
    for commands in _commands(accounts, parameters.genesis_ns):
        started = time.process_time()
        for start in range(0, accounts, _FRAME):
            sequence += 1
            if commands[start].HasField("verdict"):
                for one in commands[start : start + _FRAME]:
                    one.verdict.citation.journal_sequence = sequence - 1
            context = Context(parameters, sequence, parameters.genesis_ns, control, True)
            outcomes = [handle(state, one, context) for one in commands[start : start + _FRAME]]
            for outcome in outcomes:
                if outcome.refusal:
                    raise RuntimeError(outcome.detail)
            body = journal_pb2.JournalBody(outcomes=outcomes, fingerprint=state.fingerprint)
            frames.append((body.SerializeToString(), context))
        name = commands[0].WhichOneof("body") or ""
        spent[name] = (time.process_time() - started) / accounts
    started = time.process_time()
    for content, context in frames:
        fold(folded, journal_pb2.JournalBody.FromString(content), context)
    spent["fold"] = (time.process_time() - started) / accounts / len(_ROLES)
    started = time.process_time()
    for content, context in frames:
        body = journal_pb2.JournalBody.FromString(content)
        book.apply(sequence=context.sequence, run_time_ns=context.now_ns, body=body)
        if book.fingerprint != body.fingerprint:
            raise RuntimeError("I13")
    spent["book"] = (time.process_time() - started) / accounts / len(_ROLES)
    spent["audit"] = _audit(parameters, frames, book) / accounts / len(_ROLES)
    return spent


def _audit(parameters: Parameters, frames: list[tuple[bytes, Context]], book: PartitionBook) -> float:
    """CPU seconds of the second look at all frames, decoding left out."""
    audit = Audit(0, partitions=parameters.partitions, found=_fail, paid=lambda asset, step, units: None)
    spent = 0.0
    for content, context in frames:
        body = journal_pb2.JournalBody.FromString(content)
        started = time.process_time()
        audit.frame(context.sequence, body, book, is_history=False)
        spent += time.process_time() - started
    return spent


def _fail(number: str, detail: str) -> None:
    raise RuntimeError(f"{number}: {detail}")


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    arguments = parser.parse_args()
    parameters = load_parameters(Path(__file__).parents[2] / "config").parameters
    profile = cProfile.Profile()
    if arguments.profile:
        profile.enable()
    spent = _run(parameters, arguments.accounts)
    if arguments.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    for name, seconds in spent.items():
        print(f"{name:16} {seconds * 1e6:8.1f} µs a command")


if __name__ == "__main__":
    main()
