"""Balances of an account, or of the house, as of any moment in both times."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ballast.types.v1 import ledger_pb2
from libs.common.ids import partition_of, system_index, system_kind
from libs.common.parameters import Parameters
from libs.common.units import from_units
from tools.audit.stored import Source, parameters_in_force
from tools.audit.timeline import effective_ns, frames
from tools.audit.worth import Indices, owed
from tools.reconcile.reader import Unreadable

Key = tuple[str, int, int]  # owner of the line in words, asset or instrument, LineKind

_LOTS = ledger_pb2.LINE_KIND_LOTS
_VARIATION = ledger_pb2.LINE_KIND_VARIATION


@dataclass(frozen=True, slots=True)
class Balance:
    """A line that is not zero.

    Args:
        owner: the account, or a house account over all partitions.
        balance: units, shares or lots.
        amount: units of the asset that it is, is worth or owes; lots of an instrument.
        shown: the amount as a decimal of the asset, or lots.
    """

    owner: str
    symbol: str
    kind: str
    balance: int
    amount: int
    shown: str


@dataclass(frozen=True, slots=True)
class AsOf:
    """Balances at a moment.

    Args:
        sequences: by partition, the last frame that counts.
    """

    balances: list[Balance]
    sequences: dict[int, int]


async def balances(source: Source, *, account: int | None, effective: int, recorded: int) -> AsOf:
    """Lines as of a moment in both times: what took place up to `effective`, as known at `recorded` (run time ns).

    Args:
        account: None for the house, all its accounts over all partitions.

    Raises: Unreadable.
    """
    parameters = (await parameters_in_force(source)).parameters
    partitions = range(parameters.partitions) if account is None else [partition_of(account)]
    if partitions[-1] >= parameters.partitions:
        raise Unreadable(f"expected an account of partition 0 to {parameters.partitions - 1}, was {partitions[-1]}")
    lines: defaultdict[Key, int] = defaultdict(int)
    amounts: defaultdict[Key, int] = defaultdict(int)
    sequences: dict[int, int] = {}
    for partition in partitions:
        here, indices = _Lines(account), Indices(parameters)
        sequences[partition] = 0
        async for frame in frames(source, partition, recorded_ns=recorded):
            sequences[partition] = frame.sequence
            for outcome in frame.body.outcomes:
                if effective_ns(outcome, recorded_ns=frame.run_time_ns) <= effective:
                    for effect in outcome.effects:
                        indices.apply(effect)
                        if effect.HasField("posting"):
                            one = effect.posting
                            here.post(one.account, (one.asset, one.kind), one.delta)
        for (owner, asset, kind), balance in here.lines.items():
            lines[owner, asset, kind] += balance
            amounts[owner, asset, kind] += owed(indices, (asset, kind), balance)
    found = [_shown(parameters, key, lines[key], amounts[key]) for key in sorted(lines) if lines[key]]
    return AsOf(found, sequences)


class _Lines:
    def __init__(self, account: int | None) -> None:
        self._account = account
        self.lines: defaultdict[Key, int] = defaultdict(int)

    def post(self, account: int, line: tuple[int, int], delta: int) -> None:
        if self._account is None:
            house = system_kind(account)
            if house is not None:
                index = system_index(account)
                self.lines[f"{house.name.lower()}/{index}" if index else house.name.lower(), *line] += delta
        elif account == self._account:
            self.lines[str(account), *line] += delta


def _shown(parameters: Parameters, key: Key, balance: int, amount: int) -> Balance:
    owner, asset, kind = key
    name = ledger_pb2.LineKind.Name(ledger_pb2.LineKind.ValueType(kind)).removeprefix("LINE_KIND_").lower()
    symbol, decimals = named(parameters, asset, kind)
    return Balance(owner, symbol, name, balance, amount, from_units(amount, decimals))


def named(parameters: Parameters, asset: int, kind: int) -> tuple[str, int]:
    """(symbol, decimals of the amounts) of a line; one that the parameters do not know is named by its number."""
    if kind in (_LOTS, _VARIATION):
        instrument = parameters.instrument(asset)
        if instrument is None:
            return f"instrument {asset}", 0
        settlement = parameters.asset(instrument.settlement)
        return instrument.symbol, settlement.decimals if settlement is not None and kind == _VARIATION else 0
    found = parameters.asset(asset)
    return (found.symbol, found.decimals) if found is not None else (f"asset {asset}", 0)
