"""The live books of several partitions, with marks, as the columns that contagion is computed on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_account, system_index, system_kind
from libs.common.parameters import Instrument, InstrumentKind, Parameters
from libs.common.units import FUNDING_ONE, INDEX_ONE, PPM
from services.risk_evaluation.domain.arrays import F8
from services.risk_evaluation.domain.contagion_view import Failure, Options, Positions, Terms
from services.risk_evaluation.domain.grid import maintenance_range
from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.packages import legs_of, options_in
from services.risk_evaluation.domain.prices import USD6, Mark, price_book
from services.risk_evaluation.domain.sensitivity import moved_marks, moved_surfaces
from services.risk_evaluation.domain.settlement import counted, faded
from services.risk_evaluation.domain.surfaces import VolatilitySurface

_CASH = (ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_RESERVED)


@dataclass(frozen=True, slots=True)
class House:
    """Columns with the names of their rows."""

    accounts: tuple[int, ...]
    labels: tuple[str, ...]
    positions: Positions
    terms: Terms
    options: Options
    unpriced: tuple[str, ...]  # assets that someone holds and nobody has marked


def gather(
    model: Model,
    books: Iterable[PartitionBook],
    marks: Mapping[int, Mark],
    surfaces: Mapping[int, VolatilitySurface],
    failure: Failure,
) -> House:
    """The house as these books and marks have it; its options as the failure leaves them too."""
    parts, parameters = list(books), model.parameters

    def mark_of(instrument: int) -> float:
        mark, one = marks.get(instrument), parameters.instrument(instrument)
        if mark is None or one is None:
            return 0
        settling = counted(one, mark.settling) if one.is_margined else None
        return faded(settling, price=mark.price, slow=mark.slow).price

    margined = [one for one in parameters.instruments if one.is_margined]
    owners = {account: attributes.owner for book in parts for account, attributes in book.accounts.items()}
    accounts = sorted(
        {
            account
            for book in parts
            for account, _, _ in book.lines
            if system_kind(account) is None and account in owners
        }
    )
    row = {account: at for at, account in enumerate(accounts)}
    assets = {int(one.id): at for at, one in enumerate(parameters.assets)}
    instruments = {int(one.id): at for at, one in enumerate(margined)}
    positions = _empty(len(accounts), len(assets), len(instruments))
    options = np.zeros((len(accounts), len(model.options)))
    idle = np.zeros(len(assets))
    for book in parts:
        for (account, key, kind), balance in book.lines.items():
            paid_up = kind == ledger_pb2.LINE_KIND_LOTS and model.instruments[model.instrument_column[key]].is_paid_up
            if account in row and paid_up:
                one = model.instruments[model.instrument_column[key]]
                for option, each in options_in(model, one):
                    options[row[account], option] += balance * each
                for asset, units in legs_of(model, one).units:
                    positions.cash[row[account], asset] += balance * units
            elif account in row:
                _put(positions, row[account], assets, instruments, book, (key, kind), balance)
            elif kind == ledger_pb2.LINE_KIND_CASH and system_kind(account) is SystemAccount.POOL:
                pool = system_account(SystemAccount.POOL, partition=book.partition, index=key)
                idle[assets[key]] += balance if pool == account and system_index(account) == key else 0
    terms = _terms(parameters, margined, parts, mark_of, idle)
    held = np.any((positions.cash != 0.0) | (positions.supply != 0.0) | (positions.debt != 0.0), axis=0)
    unpriced = [one.symbol for at, one in enumerate(parameters.assets) if held[at] and terms.unit[at] == 0.0]
    labels = tuple(f"{owners[account]} {account}" for account in accounts)
    priced = _options(model, options, marks, surfaces, failure)
    return House(tuple(accounts), labels, positions, terms, priced, tuple(unpriced))


def _options(
    model: Model,
    held: F8,
    marks: Mapping[int, Mark],
    surfaces: Mapping[int, VolatilitySurface],
    failure: Failure,
) -> Options:
    """Options at the marks, and at those of the failure: forwards go along, volatilities stay."""
    moved, smiles = dict(marks), dict(surfaces)
    for column in np.flatnonzero(failure.price != 1.0).tolist():
        asset, factor = model.assets[column].id, float(failure.price[column])
        moved = moved_marks(model, moved, asset=asset, factor=factor)
        smiles = moved_surfaces(model, smiles, asset=asset, factor=factor)
    calm, failed = (price_book(model, *at).options for at in ((marks, surfaces), (moved, smiles)))
    venue_of = _venues(model.parameters)
    coin_units = np.array([10.0 ** model.assets[model.asset_column[one.underlying]].decimals for one in model.options])
    return Options(
        held=held,
        venue=np.array([venue_of.get(int(one.id), 0) for one in model.options], dtype=np.intp),
        calm=calm.units * calm.settle / USD6,
        failed=failed.units * failed.settle / USD6,
        underlying=np.array([model.asset_column[one.underlying] for one in model.options], dtype=np.intp),
        delta=calm.greeks[0] * calm.forward_over_spot * calm.coins * coin_units,
    )


def _venues(parameters: Parameters) -> dict[int, int]:
    return {int(each): at for at, one in reversed(list(enumerate(parameters.venues))) for each in one.instruments}


def _empty(accounts: int, assets: int, instruments: int) -> Positions:
    return Positions(
        cash=np.zeros((accounts, assets)),
        supply=np.zeros((accounts, assets)),
        debt=np.zeros((accounts, assets)),
        lots=np.zeros((accounts, instruments)),
        variation=np.zeros((accounts, instruments)),
    )


def _put(
    positions: Positions,
    row: int,
    assets: dict[int, int],
    instruments: dict[int, int],
    book: PartitionBook,
    line: tuple[int, int],
    balance: int,
) -> None:
    key, kind = line
    if kind == ledger_pb2.LINE_KIND_LOTS:
        positions.lots[row, instruments[key]] += balance
    elif kind == ledger_pb2.LINE_KIND_VARIATION:
        positions.variation[row, instruments[key]] += balance
    elif kind in _CASH:
        positions.cash[row, assets[key]] += balance
    else:
        pool = book.pools.get(key)
        supply, borrow, overdraft = (
            (pool.supply_index, pool.borrow_index, pool.overdraft_index) if pool else (INDEX_ONE,) * 3
        )
        if kind == ledger_pb2.LINE_KIND_SUPPLY_SHARES:
            positions.supply[row, assets[key]] += balance * (supply / INDEX_ONE)
        elif kind == ledger_pb2.LINE_KIND_DEBT_SHARES:
            positions.debt[row, assets[key]] += balance * (borrow / INDEX_ONE)
        elif kind == ledger_pb2.LINE_KIND_OVERDRAFT_SHARES:
            positions.debt[row, assets[key]] += balance * (overdraft / INDEX_ONE)


def _terms(
    parameters: Parameters,
    margined: Sequence[Instrument],
    books: Sequence[PartitionBook],
    mark_of: Callable[[int], float],
    idle: F8,
) -> Terms:
    assets = {int(one.id): at for at, one in enumerate(parameters.assets)}
    venue_of = _venues(parameters)
    known = {int(one.asset): one for one in parameters.margin.assets}
    risks = [known.get(int(one.id)) for one in parameters.assets]
    funding = {
        int(instrument): int.from_bytes(index.cumulative_funding, "big", signed=True)
        for book in books
        for instrument, index in book.funding.items()
    }
    return Terms(
        unit=np.array([_unit(parameters, int(one.id), mark_of) for one in parameters.assets]),
        idle=idle,
        lot=np.array([_lot(one, mark_of(one.id), funding.get(int(one.id), 0)) for one in margined]),
        underlying=np.array([assets[one.underlying] for one in margined], dtype=np.intp),
        quote=np.array([assets[one.quote] for one in margined], dtype=np.intp),
        settlement=np.array([assets[one.settlement] for one in margined], dtype=np.intp),
        inverse=np.array([one.kind is InstrumentKind.INVERSE_PERP for one in margined], dtype=np.bool_),
        venue=np.array([venue_of.get(int(one.id), 0) for one in margined], dtype=np.intp),
        venues=max(1, len(parameters.venues)),
        margin=np.array([min(1.0, maintenance_range(one).down) if one else 0.0 for one in risks]),
        impact=np.array([one.impact / PPM if one else 0.0 for one in risks]),
        depth_usd=np.array([float(one.daily_volume_usd) if one else 1.0 for one in risks]),
    )


def _lot(one: Instrument, mark: float, funding: int) -> float:
    if mark <= 0:
        return 0.0
    if one.kind is InstrumentKind.INVERSE_PERP:
        return -one.c_num / (one.c_den * mark) - funding / FUNDING_ONE
    return one.c_num * mark / one.c_den - funding / FUNDING_ONE


def _unit(parameters: Parameters, asset: int, mark_of: Callable[[int], float]) -> float:
    known = parameters.asset(asset)
    if known is None:
        return 0.0
    if known.price_instrument is None:
        return float(10.0**-known.decimals)
    spot = parameters.instrument(known.price_instrument)
    mark = mark_of(known.price_instrument)
    if spot is None or mark <= 0:
        return 0.0
    units = spot.c_num * mark / (spot.c_den * spot.base_units_per_lot)
    return float(units * _unit(parameters, spot.quote, mark_of))
