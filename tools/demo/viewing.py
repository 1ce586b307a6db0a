"""Makes the screen's view from the picture of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ballast.events.v1 import journal_pb2, market_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.ids import SystemAccount, partition_of, system_account, system_kind
from libs.common.parameters import Instrument
from libs.common.units import INDEX_ONE, SECOND_NS
from libs.common.validity import ValidityClass
from tools.demo.picture import Picture, SlippageSum
from tools.demo.valuation import at_the_money, digits_of
from tools.demo.view import (
    AccountRow,
    Clock,
    DepthRow,
    EpisodeRow,
    MarkRow,
    OptionsRow,
    PoolRow,
    ServiceRow,
    SlippageFigures,
    View,
)

WORST_ROWS = 10
DEPTH_BAND = 0.01
_RISK, _LEDGER = "risk_evaluation", "collateral_management"
_CASH, _DEBT = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_DEBT_SHARES


def view_of(picture: Picture, *, command_ends: dict[int, int]) -> View:
    """The view of this moment.

    Args:
        command_ends: end offset of each partition of the commands, empty when unknown.
    """
    insurance = sum(
        picture.valuation.usd(asset, balance)
        for number, book in picture.books.items()
        for (asset, kind), balance in book.lines_of(system_account(SystemAccount.INSURANCE, partition=number)).items()
        if kind == _CASH
    )
    return View(
        clock=_clock(picture),
        provenance=provenance_line(picture),
        marks=tuple(_marks(picture)),
        options=tuple(_options(picture)),
        accounts_by_state=_accounts_by_state(picture),
        worst=tuple(_worst(picture)),
        episodes=tuple(sorted(_episodes(picture), key=lambda row: -row.age_s)),
        opened=picture.opened,
        closed_healthy=picture.closed_healthy,
        closed_emptied=picture.closed_emptied,
        calls=sum(table.calls for table in picture.margins.values()),
        live_orders=sum(len(book.orders) for book in picture.books.values()),
        slippage=_figures(picture.client_slippage),
        episode_slippage=_figures(picture.episode_slippage),
        fills=tuple(picture.fills),
        depth=tuple(_depth(picture)),
        pools=tuple(_pools(picture)),
        insurance_fund_usd=insurance,
        bad_debt_usd=tuple(picture.bad_debt.items()),
        services=tuple(_services(picture, command_ends)),
        happenings=tuple(picture.happenings),
    )


def provenance_line(picture: Picture) -> str:
    """Which reference prices are recorded at this very moment, which are bridged, and from which rows."""
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for price in picture.watch.prices:
        asset = price.instrument.partition("-")[0]
        assets = grouped[price.provenance, price.venue]
        if asset not in assets:
            assets.append(asset)
    parts = [f"{venue} {' '.join(assets)} {text}" for (text, venue), assets in grouped.items()]
    return " · ".join(parts)


def _clock(picture: Picture) -> Clock:
    at = picture.run_time_ns
    number = picture.windows.number(at)
    return Clock(
        run_time_ns=at,
        window=number,
        windows=len(picture.windows.bounds),
        window_name=picture.windows.name(number),
        progress=picture.windows.progress(at),
        held_reason="" if picture.watch.ended else picture.watch.held_reason,
        held_seconds=tuple(sorted(picture.held_seconds.items(), key=lambda item: -item[1])),
        has_ended=picture.watch.ended,
    )


def _marks(picture: Picture) -> Iterator[MarkRow]:
    for instrument in picture.parameters.instruments:
        mark = picture.mark(instrument.id)
        if mark is None or instrument.is_paid_up:
            continue
        start = picture.baseline.get(instrument.id)
        price = picture.valuation.price(instrument, mark)
        validity = picture.validity[instrument.id]
        yield MarkRow(
            symbol=instrument.symbol,
            price=price,
            change=mark / start - 1 if start else None,
            validity=ValidityClass(validity) if validity in ValidityClass._value2member_map_ else ValidityClass.STALE,
            digits=min(digits_of(price), max(0, -instrument.price_exponent)),
        )


def _options(picture: Picture) -> Iterator[OptionsRow]:
    holders: defaultdict[int, set[int]] = defaultdict(set)
    long: defaultdict[int, float] = defaultdict(float)
    short: defaultdict[int, float] = defaultdict(float)
    for book in picture.books.values():
        for (account, subject, kind), lots in book.lines.items():
            if kind != ledger_pb2.LINE_KIND_LOTS or system_kind(account) is not None:
                continue
            for option, count in picture.options_in(subject, lots):
                holders[option.underlying].add(account)
                coins = picture.valuation.amount(option.underlying, count * option.base_units_per_lot)
                (long if count > 0 else short)[option.underlying] += abs(coins)
    for underlying, surface in picture.surfaces.items():
        asset = picture.parameters.asset(underlying)
        if asset is not None and surface.smiles:
            yield OptionsRow(
                underlying=asset.symbol,
                vol=at_the_money(surface),
                validity=ValidityClass(surface.validity),
                holders=len(holders[underlying]),
                long=long[underlying],
                short=short[underlying],
            )


def _accounts_by_state(picture: Picture) -> tuple[int, ...]:
    return tuple(int(one) for one in np.sum([table.counts() for table in picture.margins.values()], axis=0))


def _worst(picture: Picture) -> Iterator[AccountRow]:
    found = [one for table in picture.margins.values() for one in table.worst(WORST_ROWS)]
    for _, account in sorted(found)[:WORST_ROWS]:
        row = picture.margins[partition_of(account)].of(account)
        if row is not None:
            equity, initial, maintenance, state = row
            yield AccountRow(
                account=account,
                owner=picture.label(account),
                equity=equity / 1e6,
                initial_margin=initial / 1e6,
                maintenance_margin=maintenance / 1e6,
                state=state,
            )


def _episodes(picture: Picture) -> Iterator[EpisodeRow]:
    orders: dict[int, int] = defaultdict(int)
    for order in picture.episode_orders.values():
        orders[order.episode] += 1
    for number, book in picture.books.items():
        for episode in book.episodes.values():
            lots, left = _left(picture, episode)
            margin = picture.margins[number].of(episode.account)
            yield EpisodeRow(
                episode=episode.episode,
                account=episode.account,
                owner=picture.label(episode.account),
                step=episode.step,
                age_s=max(0, picture.run_time_ns - episode.opened_at_ns) / SECOND_NS,
                lots=lots,
                left=left,
                orders=orders[episode.episode],
                ratio=margin[0] / margin[2] if margin is not None and margin[2] else None,
            )


def _left(picture: Picture, episode: journal_pb2.Episode) -> tuple[int, str]:
    lines = picture.books[partition_of(episode.account)].lines_of(episode.account)
    lots, words = 0, []
    for (subject, kind), balance in lines.items():
        if kind == ledger_pb2.LINE_KIND_LOTS and subject in picture.instruments:
            lots += abs(balance)
            words.append(f"{picture.instruments[subject].symbol} {balance:+,}")
        elif kind == _CASH and (asset := picture.parameters.asset(subject)) and asset.price_instrument is not None:
            words.append(f"{asset.symbol} {picture.valuation.amount(subject, balance):,.2f}")
    return lots, ", ".join(words)


def _figures(total: SlippageSum) -> SlippageFigures:
    average = total.weighted / total.notional if total.notional else None
    return SlippageFigures(fills=total.fills, average_bp=average, worst_bp=total.worst)


def _depth(picture: Picture) -> Iterator[DepthRow]:
    for instrument in picture.parameters.instruments:
        for venue in picture.parameters.venues:
            book = picture.liquidity.get((venue.id, instrument.id))
            if book is None or instrument.is_paid_up:
                continue
            bid = picture.valuation.price(instrument, book.bid_price[0]) if book.bid_price else None
            ask = picture.valuation.price(instrument, book.ask_price[0]) if book.ask_price else None
            bid_usd, ask_usd = _within(picture, instrument, book)
            price = bid or ask or 0.0
            digits = min(digits_of(price), max(0, -instrument.price_exponent))
            yield DepthRow(venue.name, instrument.symbol, bid, ask, bid_usd, ask_usd, digits)


def _within(picture: Picture, instrument: Instrument, book: market_pb2.Liquidity) -> tuple[float, float]:
    best = [side[0] for side in (book.bid_price, book.ask_price) if side]
    middle = sum(best) / len(best) if best else 0.0
    low, high = middle * (1 - DEPTH_BAND), middle * (1 + DEPTH_BAND)
    bids = zip(book.bid_price, book.bid_lots, strict=True)
    asks = zip(book.ask_price, book.ask_lots, strict=True)
    value = picture.valuation.notional
    return (
        sum(value(instrument, lots=lots, price=price) for price, lots in bids if price >= low),
        sum(value(instrument, lots=lots, price=price) for price, lots in asks if price <= high),
    )


def _pools(picture: Picture) -> Iterator[PoolRow]:
    for pool in picture.parameters.pools:
        asset = picture.parameters.asset(pool.asset)
        if asset is None:
            continue
        idle = debt = rate = 0.0
        for number, book in picture.books.items():
            account = system_account(SystemAccount.POOL, partition=number, index=pool.asset)
            lines = book.lines_of(account)
            index = book.pools.get(pool.asset)
            borrow_index = index.borrow_index if index is not None else INDEX_ONE
            idle += picture.valuation.amount(pool.asset, lines.get((pool.asset, _CASH), 0))
            shares = abs(lines.get((pool.asset, _DEBT), 0))
            debt += picture.valuation.amount(pool.asset, shares * borrow_index // INDEX_ONE)
            rate = max(rate, index.borrow_rate / 1e12 if index is not None else 0.0)
        yield PoolRow(asset=asset.symbol, idle=idle, debt=debt, borrow_rate=rate)


def _services(picture: Picture, command_ends: dict[int, int]) -> Iterator[ServiceRow]:
    for row in picture.services.values():
        if row.name == _RISK:
            yield _risk_row(picture, row)
        elif row.name == _LEDGER and command_ends:
            yield replace(row, lag=sum(max(0, end - 1 - picture.input_offsets[n]) for n, end in command_ends.items()))
        else:
            yield row


def _risk_row(picture: Picture, row: ServiceRow) -> ServiceRow:
    """Marks frames not yet margined by the slowest partition; latency from mark received to margin published."""
    seen = min(table.mark_sequence for table in picture.margins.values())
    lag = sum(sequence > seen for sequence in picture.mark_frames)
    if not picture.mark_to_margin_ms:
        return replace(row, lag=lag)
    p50, p99 = np.percentile(np.array(picture.mark_to_margin_ms), (50, 99))
    return replace(row, lag=lag, p50_ms=float(p50), p99_ms=float(p99), measure="mark to margin")
