"""Bugs as patches: a line of a service as it is, and as a tired engineer might have written it."""

from __future__ import annotations
import __future__

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from tools.simulate.tests.planted_lifecycle import LIFECYCLE_BUGS
from tools.simulate.tests.planted_money import MONEY_BUGS

_LEDGER = "services.collateral_management.domain"
_RISK = "services.risk_evaluation.app.decisions:Decisions"
_RULE = "libs.common.chain.rule:ChainRule"


@dataclass(frozen=True, slots=True)
class Planted:
    """One bug.

    Args:
        name: what goes wrong.
        function: module and qualified name.
        was, reads: the text that is replaced, and what it reads now.
        shown_by: names under which the simulation may report it.
    """

    name: str
    function: str
    was: str
    reads: str
    shown_by: frozenset[str]


def _bug(name: str, function: str, was: str, reads: str, *shown_by: str) -> Planted:
    return Planted(name, function, was, reads, frozenset(shown_by))


BUGS = (
    _bug(
        "the ledger forgets what it has answered",
        f"{_LEDGER}.ledger:handle",
        "early = _seen_on_session(state, command.session, sender, digest)",
        "early = None",
        "once",
    ),
    _bug(
        "a report that is told again is posted again",
        f"{_LEDGER}.ledger:_seen_fact",
        'return (words.REFUSAL_UNSPECIFIED, "", 0, True)',
        "return None",
        "once",
    ),
    _bug(
        "a fill is posted again after a restart",
        f"{_LEDGER}.ledger:fold",
        "outcome.refusal not in FORGOTTEN:",
        'outcome.refusal not in FORGOTTEN and not outcome.HasField("fact"):',
        "once",
        "ends",
    ),
    _bug(
        "the last command is taken again after a restart",
        "services.collateral_management.app.owner:PartitionOwner._turn",
        "if (received.offset, index) <= (skip_offset, skip_index):",
        "if (received.offset, index) < (skip_offset, skip_index):",
        "once",
    ),
    _bug(
        "the chain accepts a wrong previous hash",
        f"{_RULE}._reason_against",
        "if frame.previous_hash == self.head and (",
        "if (",
        "I8",
    ),
    _bug(
        "a zombie's frame is accepted",
        f"{_RULE}._reason_against",
        "if frame.epoch != self.epoch:",
        "if frame.epoch < self.epoch and frame.sequence == self.sequence + 1:\n"
        "        return None\n"
        "    if frame.epoch != self.epoch:",
        "I8",
    ),
    _bug(
        "repaying rounds toward the account",
        f"{_LEDGER}.money:_repay",
        "mul_div_up(burned, index, INDEX_ONE)",
        "mul_div_down(burned, index, INDEX_ONE)",
        "I2",
        "I10",
    ),
    _bug(
        "a withdrawal settles without a verdict",
        f"{_LEDGER}.reservations:_reserve",
        "    return reservation\n",
        "    end_reservation(draft, one, reason=None)\n    return reservation\n",
        "I3",
        "I10",
    ),
    _bug(
        "a verdict on other parameters is accepted",
        f"{_LEDGER}.reservations:_may_decide",
        "if cited.control_sequence != context.control_sequence:",
        "if cited.control_sequence < 0:",
        "I12",
    ),
    _bug(
        "a step of an episode may add to a position",
        f"{_LEDGER}.episodes:_all_reduce",
        "if lots > room:",
        "if lots > room + 1_000_000:",
        "I4",
    ),
    _bug(
        "a write-off is not posted",
        f"{_LEDGER}.waterfall:_write_off",
        "draft.move(debit=treasury, credit=pool, asset=asset, kind=LOSS, units=units)",
        "pass",
        "I2",
    ),
    _bug(
        "an index may fall",
        f"{_LEDGER}.indices:set_index",
        "least, bound = 1 if may_fall else before,",
        "least, bound = 1,",
        "I7",
    ),
    _bug(
        "lenders get more than borrowers pay",
        "services.interest_accrual.domain.accrual:_earned",
        "return max(0, min(mul_div_down(paid, PPM - pool.reserve_factor, PPM), room))",
        "return mul_div_down(paid, 11, 10)",
        "I2",
    ),
    _bug(
        "orders go out beyond the margin",
        f"{_RISK}._judge_orders",
        "if (reason is None and margins.may_add_risk[position]) or (",
        "if (reason is None and (margins.may_add_risk[position] or order.lots % 2)) or (",
        "I3",
    ),
    _bug(
        "collateral leaves that margin needs",
        f"{_RISK}._judge_reservation",
        "fits = bool(margins.may_withdraw[position])",
        "fits = True",
        "I3",
    ),
    _bug(
        "new risk is taken on a mark that forbids it",
        f"{_RISK}._reason_before_margin",
        "return None if permits(validity, Action.NEW_RISK) else ledger_pb2.REFUSAL_MARK_NOT_USABLE",
        "return None if validity else ledger_pb2.REFUSAL_MARK_NOT_USABLE",
        "I9",
    ),
    _bug(
        "an entity leaves its debt behind",
        f"{_LEDGER}.moving:leave",
        "for asset, kind in draft.lines_of(one.account)",
        "for asset, kind in draft.lines_of(one.account) if kind != 4",
        "I15",
        "I10",
    ),
    _bug(
        "money stays with an account that has moved",
        f"{_LEDGER}.movements:credit",
        "if attributes is None or not attributes.moved_out:",
        "if attributes is None or attributes is not None:",
        "I10",
        "I15",
    ),
    _bug(
        "what is pending at a restart is never told",
        "services.collateral_management.app.relay:Relay._tell",
        "            self._told[to] = arrived\n"
        "            self._progress[to] = (mark.arrived, now_s)\n"
        "        last = max(self._told.get(to, 0), mark.arrived)",
        "            self._progress[to] = (mark.arrived, now_s)\n"
        "        last = max(self._told.get(to, mark.sent), mark.arrived)",
        "ends",
    ),
    _bug(
        "a confirmation clears what has not arrived",
        f"{_LEDGER}.movements:confirm_movements",
        "for sequence in range(mark.arrived + 1, body.sequence + 1):",
        "for sequence in range(mark.arrived + 1, mark.sent + 1):",
        "I15",
        "ends",
    ),
    _bug(
        "idle units leave without a claim on them",
        f"{_LEDGER}.quotas:move_quota",
        "movements.line(pool, body.asset, QUOTA, -body.units),",
        "movements.line(pool, body.asset, QUOTA, 0),",
        "I2",
    ),
    _bug(
        "lenders lose before other shards are asked",
        f"{_LEDGER}.episodes:resolve_shortfall",
        "if waterfall.shortfall(draft, body.account) and draft.context.parameters.partitions > 1:",
        "if waterfall.shortfall(draft, body.account) and draft.context.parameters.partitions > 99:",
        "I6",
    ),
    _bug(
        "lenders may leave while a tick is on its way",
        f"{_LEDGER}.accounts:index_behind",
        "if have < need:",
        "if have < need - 99:",
        "I2",
    ),
    _bug(
        "a report is acknowledged before it is on record",
        "services.venue_gateway.domain.cursors:ReportCursor.acknowledged",
        "return min(waiting) - 1 if waiting else self._received",
        "return self._received if waiting is not None else 0",
        "once",
        "ends",
    ),
    *(_bug(*each) for each in MONEY_BUGS),
    *(_bug(*each) for each in LIFECYCLE_BUGS),
)


@contextmanager
def planted(bug: Planted) -> Iterator[None]:
    """The service with the bug in it, wherever the function is referred to."""
    function = _function(bug.function)
    whole, before = textwrap.dedent(inspect.getsource(function)), function.__code__
    if whole.count(bug.was) != 1:
        raise ValueError(f"{bug.function}: expected the text once, was {whole.count(bug.was)} times: {bug.was!r}")
    flags = __future__.annotations.compiler_flag
    module = compile(whole.replace(bug.was, bug.reads), f"<{bug.name}>", "exec", flags=flags)
    function.__code__ = next(one for one in module.co_consts if isinstance(one, CodeType))
    try:
        yield
    finally:
        function.__code__ = before


def _function(path: str) -> FunctionType:
    module, _, names = path.partition(":")
    found: Any = importlib.import_module(module)
    for name in names.split("."):
        found = inspect.getattr_static(found, name)
    function = found.fget if isinstance(found, property) else found
    if not isinstance(function, FunctionType):
        raise TypeError(f"expected a function at {path}, was {type(function).__name__}")
    return function
