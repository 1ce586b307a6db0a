"""What an account holds and is owed, less what it owes, exact: in 10^-15 units of each asset.

Cash and shares at the indices in force; a position counts with its variation and the funding it has accrued, not with a
mark: W = n + s·I_s − b·I_b − o·I_o + Σ (V − q·F/10⁹) (docs/margin.md names the letters). So settling, borrowing and
lending move it by roundings only, a trade by what it cost, a tick by interest or funding.
"""

from __future__ import annotations

from collections import defaultdict

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.parameters import Parameters
from libs.common.units import FUNDING_ONE, INDEX_ONE, mul_div_down, mul_div_up
from services.collateral_management.domain.state import FUNDING_HISTORY_MAX

PLAIN = frozenset(
    (
        ledger_pb2.LINE_KIND_CASH,
        ledger_pb2.LINE_KIND_RESERVED,
        ledger_pb2.LINE_KIND_LOSS,
        ledger_pb2.LINE_KIND_QUOTA,
    )
)  # counted as they are
_SUPPLY = ledger_pb2.LINE_KIND_SUPPLY_SHARES
_DEBT = ledger_pb2.LINE_KIND_DEBT_SHARES
_OVERDRAFT = ledger_pb2.LINE_KIND_OVERDRAFT_SHARES
_LOTS = ledger_pb2.LINE_KIND_LOTS
_VARIATION = ledger_pb2.LINE_KIND_VARIATION
_FUNDING_SCALE = mul_div_down(INDEX_ONE, 1, FUNDING_ONE)

Line = tuple[int, int]  # asset or instrument, LineKind


def nearest(value_15: int) -> int:
    """Units nearest to an amount in 10^-15 units, halves up."""
    return mul_div_down(2 * value_15 + INDEX_ONE, 1, 2 * INDEX_ONE)


class Indices:
    """Pool indices and cumulative funding of a partition as folded so far."""

    def __init__(self, parameters: Parameters) -> None:
        self._settlement = {int(one.id): int(one.settlement) for one in parameters.instruments if one.is_margined}
        self._pools: dict[int, journal_pb2.PoolIndex] = {}
        self._funding: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)  # (run time, F), oldest first

    def settles_in(self, instrument: int) -> int | None:
        """Asset in which a margined instrument settles."""
        return self._settlement.get(instrument)

    def share_15(self, asset: int, kind: int) -> int:
        """What one share of a kind is worth to its holder, 10^-15 units; negative when it is owed."""
        pool = self._pools.get(asset)
        if kind == _SUPPLY:
            return pool.supply_index if pool else INDEX_ONE
        if kind == _DEBT:
            return -(pool.borrow_index if pool else INDEX_ONE)
        return -(pool.overdraft_index if pool else INDEX_ONE)

    def funding(self, instrument: int) -> int:
        """Cumulative funding paid by one long lot, 10^-9 settlement units."""
        history = self._funding.get(instrument)
        return history[-1][1] if history else 0

    def funding_at(self, instrument: int, run_time_ns: int) -> int:
        """The same at a run time, as the ledger remembers it."""
        history = self._funding.get(instrument, [])
        latest = history[0][1] if len(history) == FUNDING_HISTORY_MAX else 0
        return next((value for at_ns, value in reversed(history) if at_ns <= run_time_ns), latest)

    def apply(self, effect: journal_pb2.Effect) -> None:
        """Folds a tick."""
        if effect.HasField("pool_index"):
            self._pools[effect.pool_index.asset] = effect.pool_index
        elif effect.HasField("funding_index"):
            one = effect.funding_index
            history = self._funding[one.instrument]
            history.append((one.run_time_ns, int.from_bytes(one.cumulative_funding, "big", signed=True)))
            del history[:-FUNDING_HISTORY_MAX]


def line_15(indices: Indices, line: Line, balance: int) -> tuple[int, int] | None:
    """(asset, worth in 10^-15 of its units) of a line; None for a line that counts nothing of an asset."""
    asset, kind = line
    if kind in PLAIN:
        return asset, balance * INDEX_ONE
    if kind in (_SUPPLY, _DEBT, _OVERDRAFT):
        return asset, balance * indices.share_15(asset, kind)
    settles_in = indices.settles_in(asset)
    if settles_in is None:
        return None
    if kind == _VARIATION:
        return settles_in, balance * INDEX_ONE
    if kind == _LOTS:
        return settles_in, -balance * indices.funding(asset) * _FUNDING_SCALE
    return None


def worth_15(indices: Indices, lines: dict[Line, int]) -> dict[int, int]:
    """Worth of an account by asset, 10^-15 units."""
    found: defaultdict[int, int] = defaultdict(int)
    for line, balance in lines.items():
        if (counted := line_15(indices, line, balance)) is not None:
            found[counted[0]] += counted[1]
    return dict(found)


def worth(indices: Indices, lines: dict[Line, int]) -> dict[int, int]:
    """Worth of an account by asset in whole units: what it is owed rounded down, what it owes rounded up."""
    found: defaultdict[int, int] = defaultdict(int)
    for line, balance in lines.items():
        if (counted := line_15(indices, line, balance)) is not None:
            found[counted[0]] += mul_div_down(counted[1], 1, INDEX_ONE)
    return dict(found)


def owed(indices: Indices, line: Line, balance: int) -> int:
    """Units that a line of shares is worth (rounded down) or owes (rounded up); other lines as they are."""
    asset, kind = line
    if kind == _SUPPLY:
        return mul_div_down(balance, indices.share_15(asset, kind), INDEX_ONE)
    if kind in (_DEBT, _OVERDRAFT):
        return mul_div_up(balance, -indices.share_15(asset, kind), INDEX_ONE)
    return balance
