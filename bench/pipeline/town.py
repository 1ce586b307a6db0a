"""The accounts of the bench, seeded: what each opens with, as effects of a journal that adds up.

Prices begin where `START` says. Accounts trade perps and hold coins; some, the fragile ones, are long one perp with so
little that they fall below maintenance margin one after the other while the price falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.ids import SystemAccount, account_id, entity_of, system_account, system_kind
from libs.common.parameters import Instrument, InstrumentKind, Parameters
from libs.common.validity import ValidityClass
from services.risk_evaluation.domain.arrays import I8
from services.risk_evaluation.domain.columns import Column, Columns
from services.risk_evaluation.domain.margin import evaluate
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Mark, price_book

SEED = 7
USD = 1
DOLLAR = 1_000_000
START_USD = {"BTC": 14_000, "ETH": 750, "LTC": 300}
HELD_SHARE, PERP_SHARE, SUB_SHARE = 0.3, 0.45, 0.05
FALL = 0.10  # of the price, over the whole run
CASH, LOTS, VARIATION = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_VARIATION

Effect = journal_pb2.Effect
Lines = dict[tuple[int, int, int], int]


def start_marks(parameters: Parameters) -> dict[int, int]:
    """Price of each instrument in its steps when the bench begins."""
    symbol = {asset.id: asset.symbol for asset in parameters.assets}
    return {
        one.id: round(START_USD[symbol[one.underlying]] * 10**-one.price_exponent)
        for one in parameters.instruments
        if symbol[one.underlying] in START_USD and (one.kind is InstrumentKind.SPOT or one.is_perpetual)
    }


def entry_variation(one: Instrument, lots: int, price: int) -> int:
    """Variation of lots bought at a price: minus what they are worth there."""
    if one.kind is InstrumentKind.INVERSE_PERP:
        return lots * one.c_num // (one.c_den * price)
    return -lots * price * one.c_num // one.c_den


def maintenance_share(model: Model, parameters: Parameters, instrument: int) -> float:
    """Maintenance margin of a small long position, as a share of its notional."""
    marks = start_marks(parameters)
    one = model.instruments[model.instrument_column[instrument]]
    columns = Columns(model)
    account = account_id(partition=0, entity=1, sub=0)
    columns.set_line(account, Column.LOTS, instrument, 100)
    columns.set_line(account, Column.VARIATION, instrument, entry_variation(one, 100, marks[instrument]))
    book = price_book(model, {key: Mark(price, price, ValidityClass.VALID) for key, price in marks.items()})
    margins = evaluate(model, book, columns.all_rows())
    return float(margins.maintenance_margin[0]) / float(margins.gross_notional[0])


@dataclass(slots=True)
class Shard:
    """One partition's accounts and the balances of the lines that moved, the house's own among them."""

    partition: int
    accounts: Sequence[int]
    fragile: int
    cash: I8
    coins: I8
    lots: I8
    parameters: Parameters
    marks: Mapping[int, int]
    attributes: dict[int, bytes] = field(default_factory=dict)
    balances: Lines = field(default_factory=dict)
    versions: Lines = field(default_factory=dict)

    def post(self, account: int, asset: int, kind: ledger_pb2.LineKind, delta: int) -> Effect:
        """Moves a line."""
        line = account, asset, kind
        self.balances[line] = self.balances.get(line, 0) + delta
        self.versions[line] = self.versions.get(line, 0) + 1
        one = journal_pb2.Posting(
            account=account, asset=asset, kind=kind, delta=delta, balance=self.balances[line],
            version=self.versions[line],
        )  # fmt: skip
        return Effect(posting=one)

    def moved(
        self, account: int, house: SystemAccount, index: int, asset: int, kind: ledger_pb2.LineKind, delta: int
    ) -> list[Effect]:
        """A line of a client moves, and the house's line against it."""
        against = system_account(house, partition=self.partition, index=index)
        return [self.post(account, asset, kind, delta), self.post(against, asset, kind, -delta)]

    def traded(self, account: int, one: Instrument, lots: int, price: int) -> list[Effect]:
        """A fill: lots against variation."""
        paid = entry_variation(one, lots, price)
        moved = self.moved(account, SystemAccount.CONTRA, one.id, one.id, LOTS, lots)
        return moved + self.moved(account, SystemAccount.CONTRA, one.id, one.id, VARIATION, paid)

    def opening(self, number: int) -> list[Effect]:
        """Everything that an account opens with."""
        account = self.accounts[number]
        attributes = journal_pb2.Account(account=account, entity=entity_of(account), owner=f"client-{number % 1000}")
        self.attributes[account] = attributes.SerializeToString(deterministic=True)
        effects = [Effect(account=attributes)]
        effects += self.moved(account, SystemAccount.CUSTODY, 0, USD, CASH, int(self.cash[number]))
        for asset, units in zip(self.parameters.assets[1:], self.coins[number], strict=False):
            if units:
                effects += self.moved(account, SystemAccount.CUSTODY, 0, asset.id, CASH, int(units))
        for one, lots in zip(perps(self.parameters), self.lots[number], strict=True):
            if lots:
                effects += self.traded(account, one, int(lots), self.marks[one.id])
        return effects

    def lines_of(self, account: int) -> list[tuple[int, ledger_pb2.LineKind]]:
        """(asset or instrument, kind) of the account's lines."""
        assets = [(one.id, CASH) for one in self.parameters.assets]
        margined = [(one.id, kind) for one in perps(self.parameters) for kind in (LOTS, VARIATION)]
        return [each for each in (*assets, *margined) if (account, *each) in self.balances]

    def forget(self) -> None:
        """Keeps the house's own lines only."""
        self.attributes.clear()
        for kept in (self.balances, self.versions):
            for line in [line for line in kept if system_kind(line[0]) is None]:
                del kept[line]

    def openings(self, at_once: int) -> Iterator[list[Effect]]:
        """Openings of so many accounts at a time."""
        for begin in range(0, len(self.accounts), at_once):
            effects: list[Effect] = []
            for number in range(begin, min(begin + at_once, len(self.accounts))):
                effects += self.opening(number)
            yield effects


def perps(parameters: Parameters) -> list[Instrument]:
    """What accounts trade."""
    return [one for one in parameters.instruments if one.is_perpetual and one.quote == USD]


def shard(model: Model, parameters: Parameters, *, partition: int, accounts: int, fragile: int) -> Shard:
    """The accounts of a partition; the first `fragile` of them fall one after the other."""
    random = np.random.default_rng([SEED, partition])
    marks, traded = start_marks(parameters), perps(parameters)
    entity = np.cumsum(random.random(accounts) >= SUB_SHARE) + 1
    sub = np.arange(accounts) - np.searchsorted(entity, entity)
    names = [account_id(partition=partition, entity=int(e), sub=int(s)) for e, s in zip(entity, sub, strict=True)]
    lots = np.zeros((accounts, len(traded)), dtype=np.int64)
    gross = np.zeros(accounts)
    for column, one in enumerate(traded):
        dollars = np.exp(random.normal(8.0, 1.2, accounts)) * np.where(random.random(accounts) < 0.5, 1.0, -1.0)
        held = np.where(random.random(accounts) < PERP_SHARE, dollars, 0.0)
        lots[:, column] = np.rint(held / lot_usd(one, marks[one.id]))
        gross += np.abs(held)
    coins = np.zeros((accounts, 3), dtype=np.int64)
    for column, name in enumerate(START_USD):
        asset = next(each for each in parameters.assets if each.symbol == name)
        held = random.random(accounts) < HELD_SHARE
        worth = random.lognormal(6.0, 1.0, accounts) / START_USD[name] * 10**asset.decimals
        coins[:, column] = np.where(held, worth, 0.0)
    cash = np.rint((gross * random.uniform(0.6, 3.0, accounts) + 1_000.0) * DOLLAR).astype(np.int64)
    share = maintenance_share(model, parameters, traded[0].id)
    lots[:fragile], coins[:fragile], lots[:fragile, 0] = 0, 0, 200
    notional = 200 * lot_usd(traded[0], marks[traded[0].id])
    falls = FALL * (np.arange(fragile) + 0.5) / max(1, fragile)
    cash[:fragile] = np.rint(notional * (falls + share * (1.0 - falls)) * DOLLAR).astype(np.int64)
    return Shard(partition, names, fragile, cash, coins, lots, parameters, marks)


def lot_usd(one: Instrument, price: int) -> float:
    """What one lot is worth at a price, USD."""
    if one.kind is InstrumentKind.INVERSE_PERP:
        return float(one.c_num) / one.c_den / 10.0 ** (8 - one.price_exponent)
    return price * one.c_num / one.c_den / DOLLAR
