"""What operators watch of the ledger's money: pools, house capital, losses; read from accepted books at each scrape."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric

from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_account
from libs.common.metrics import Metrics
from libs.common.parameters import Parameters
from libs.common.units import INDEX_ONE, PPM
from libs.common.watch import Watch, gauges
from services.collateral_management.adapters.outflows import outflow_used

_LOG = logging.getLogger("ballast.ledger")
_CASH = ledger_pb2.LINE_KIND_CASH
_LABELS = ("partition", "asset")
# noun: help, whose line, kind of line, index that turns its shares into units
_LINES: dict[str, tuple[str, SystemAccount, ledger_pb2.LineKind, str]] = {
    "pool_idle": ("Pool's quota in the partition that is not lent", SystemAccount.POOL, _CASH, ""),
    "pool_debt": (
        "Owed to the pool", SystemAccount.POOL, ledger_pb2.LINE_KIND_DEBT_SHARES, "borrow_index"
    ),
    "pool_supply": (
        "Owed by the pool to its lenders", SystemAccount.POOL, ledger_pb2.LINE_KIND_SUPPLY_SHARES, "supply_index"
    ),
    "overdraft": (
        "Owed to the house beyond the pool's quota", SystemAccount.TREASURY,
        ledger_pb2.LINE_KIND_OVERDRAFT_SHARES, "overdraft_index",
    ),
    "bad_debt": (
        "Lost by the pool and not yet carried by its supply index", SystemAccount.POOL, ledger_pb2.LINE_KIND_LOSS, ""
    ),
    "insurance_fund": ("Insurance fund", SystemAccount.INSURANCE, _CASH, ""),
    "first_loss": ("House capital that loses first", SystemAccount.FIRST_LOSS, _CASH, ""),
    "second_capital": ("House capital that loses second", SystemAccount.SECOND_CAPITAL, _CASH, ""),
    "suspense": ("Facts nobody could be found for", SystemAccount.SUSPENSE, _CASH, ""),
}  # fmt: skip

_OWN_CAPITAL = (
    SystemAccount.TREASURY, SystemAccount.INSURANCE, SystemAccount.FIRST_LOSS, SystemAccount.SECOND_CAPITAL,
    SystemAccount.ROUNDING,
)  # fmt: skip


class MoneyMeters:
    """Shows the house's lines; implements what the audit tells.

    Args:
        books: accepted books by partition.
    """

    def __init__(
        self, metrics: Metrics, watch: Watch, *, parameters: Parameters, books: Mapping[int, PartitionBook]
    ) -> None:
        self._watch = watch
        self._parameters = parameters
        self._books = books
        self._paid = metrics.counter(
            "ballast_ledger_waterfall_paid_total", "Paid by each step of the loss waterfall, whole units of the asset",
            ("asset", "step"),
        )  # fmt: skip
        for asset in parameters.assets:
            for step in ledger_pb2.WaterfallStep.values()[1:]:
                self._paid.labels(asset.symbol, _step(step))
        watch.show(self._collect)
        watch.show(self._collect_guards)

    def broke(self, number: str, detail: str) -> None:
        """The audit found an invariant broken."""
        self._watch.broke(number)
        _LOG.critical("invariant broken", extra={"invariant": number, "detail": detail})

    def paid(self, asset: int, step: int, units: int) -> None:
        """A step of the waterfall paid."""
        found = self._parameters.asset(asset)
        if found is not None:
            self._paid.labels(found.symbol, _step(step)).inc(units / 10**found.decimals)

    def _collect(self) -> Iterator[Metric]:
        books = list(self._books.values())
        for noun, (description, kind, line, index) in _LINES.items():
            yield gauges(
                f"ballast_ledger_{noun}_amount",
                f"{description}, whole units of the asset",
                _LABELS,
                [
                    (
                        (str(book.partition), asset.symbol),
                        _amount(book, asset.id, kind, line, index) / 10**asset.decimals,
                    )
                    for book in books
                    for asset in self._parameters.assets
                ],
            )

    def _collect_guards(self) -> Iterator[Metric]:
        books = list(self._books.values())
        yield gauges(
            "ballast_ledger_gate_closed_state", "1 while nothing leaves the partition", ("partition",),
            [((str(book.partition),), float(_is_closed(book))) for book in books],
        )  # fmt: skip
        used = [
            ((str(book.partition), asset.symbol, window), share)
            for book in books
            for asset in self._parameters.assets
            for window, share in outflow_used(book, self._parameters, asset.id)
        ]
        yield gauges(
            "ballast_ledger_outflow_used_ratio", "Granted in the hour or the day, of what may leave beyond bases",
            ("partition", "asset", "window"), used,
        )  # fmt: skip
        impaired = [
            ((str(book.partition), venue.name), float(one.haircut_ppm or one.loss_ppm) / PPM if one else 0.0)
            for book in books
            for venue in self._parameters.venues
            for one in (book.custody.impairments.get(venue.id),)
        ]
        yield gauges(
            "ballast_ledger_venue_impaired_ratio", "What must stay or is lost of assets at an impaired venue",
            ("partition", "venue"), impaired,
        )  # fmt: skip
        yield gauges(
            "ballast_ledger_client_money_short_amount",
            "House accounts below zero in all: what the house has lent and did not have, whole units of the asset",
            _LABELS,
            [
                ((str(book.partition), asset.symbol), _short(book, asset.id) / 10**asset.decimals)
                for book in books
                for asset in self._parameters.assets
            ],
        )


def _is_closed(book: PartitionBook) -> bool:
    return book.custody.gate.closed or book.run_time_ns < book.custody.gate.until_ns


def _short(book: PartitionBook, asset: int) -> int:
    """What the house's own cash lacks: the rest would come out of client money (I21)."""
    own = sum(
        book.lines.get((system_account(kind, partition=book.partition), asset, _CASH), 0) for kind in _OWN_CAPITAL
    )
    return max(0, -own)


def _amount(book: PartitionBook, asset: int, kind: SystemAccount, line: int, index: str) -> float:
    account = system_account(kind, partition=book.partition, index=asset if kind is SystemAccount.POOL else 0)
    balance = book.lines.get((account, asset, line), 0)
    if not index:
        return balance
    pool = book.pools.get(asset)
    return -balance * (getattr(pool, index) if pool else INDEX_ONE) / INDEX_ONE


def _step(number: int) -> str:
    return (
        ledger_pb2.WaterfallStep.Name(ledger_pb2.WaterfallStep.ValueType(number))
        .removeprefix("WATERFALL_STEP_")
        .lower()
    )
