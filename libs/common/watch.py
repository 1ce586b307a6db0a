"""What every process shows alike: logs it reads, books it folds, invariants it checks, records it put aside."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from libs.common.chain import LogReading, Rejection
from libs.common.metrics import unit_of

_PLACE = ("topic", "partition")


class Book(Protocol):
    """What is shown of a partition's book. Only sizes: it is read while its owner folds."""

    partition: int
    sequence: int

    @property
    def accounts(self) -> Sized:
        """Accounts."""

    @property
    def orders(self) -> Sized:
        """Live orders."""

    @property
    def reservations(self) -> Sized:
        """Pending reservations."""

    @property
    def episodes(self) -> Sized:
        """Open episodes."""


def gauges(
    name: str, description: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    """A family of gauges for a collector. Raises ValueError when the name breaks the rule."""
    if unit_of(name, labels) == "total":
        raise ValueError(f"expected only counters to end in _total, was {name}")
    family = GaugeMetricFamily(name, description, labels=list(labels))
    for values, value in samples:
        family.add_metric(list(values), value)
    return family


def counters(
    name: str, description: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]
) -> CounterMetricFamily:
    """A family of counters for a collector. Raises ValueError when the name breaks the rule."""
    if unit_of(name, labels) != "total":
        raise ValueError(f"expected a counter's name to end in _total, was {name}")
    family = CounterMetricFamily(name, description, labels=list(labels))
    for values, value in samples:
        family.add_metric(list(values), value)
    return family


class Watch(Collector):
    """Shows at each scrape what was handed to it; scrapes come from another thread and change nothing.

    Args:
        registry: where it registers itself.
        is_ready: whether the process is ready.
        info: labels of one constant metric: the hash of the parameters.
    """

    def __init__(self, registry: CollectorRegistry, *, is_ready: Callable[[], bool], info: Mapping[str, str]) -> None:
        self._is_ready = is_ready
        self._info = info
        self._logs: dict[tuple[str, int], LogReading] = {}
        self._books: dict[int, Book] = {}
        self._invariants: dict[str, bool] = {}
        self._put_aside: Counter[str] = Counter()
        self._more: list[Callable[[], Iterable[Metric]]] = []
        registry.register(self)

    def log(self, *readings: LogReading) -> None:
        """Shows where these readers stand; a newer reader of a partition takes the place of an older one."""
        for one in readings:
            self._logs[one.topic, one.partition] = one

    def book(self, *books: Book) -> None:
        """Shows these books; a newer one of a partition takes the place of an older one."""
        for one in books:
            self._books[one.partition] = one

    def closed(self, partition: int) -> None:
        """Shows that partition's book no more."""
        self._books.pop(partition, None)

    def checks(self, *numbers: str) -> None:
        """This process checks these invariants: they hold until `broke`."""
        for number in numbers:
            self._invariants.setdefault(number, True)

    def broke(self, number: str) -> None:
        """An invariant was found broken: shown until the process ends, for a break does not heal."""
        self._invariants[number] = False

    def put_aside(self, topic: str) -> None:
        """A record of the topic went to its dead letters."""
        self._put_aside[topic] += 1

    def expects(self, *topics: str) -> None:
        """Shows 0 dead letters of these topics, so that the first one is seen as a rise."""
        for topic in topics:
            self._put_aside.setdefault(topic, 0)

    def show(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Shows what `collect` returns at each scrape."""
        self._more.append(collect)

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: a registry would collect to find out."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield gauges("ballast_service_ready_state", "1 while the process is ready", (), [((), float(self._is_ready()))])
        labels = tuple(self._info)
        yield gauges(
            "ballast_service_parameters_info",
            "Parameters loaded, by the start of their hash",
            labels,
            [(tuple(self._info.values()), 1)],
        )
        yield from self._of_logs()
        yield from self._of_books()
        yield gauges(
            "ballast_invariant_holds_state",
            "1 while an invariant that this process checks was never found broken",
            ("invariant",),
            [((number,), float(holds)) for number, holds in list(self._invariants.items())],
        )
        yield counters(
            "ballast_dead_letters_total",
            "Records put on a dead-letter topic by this process",
            ("topic",),
            [((topic,), count) for topic, count in list(self._put_aside.items())],
        )
        for more in self._more:
            yield from more()

    def _of_logs(self) -> Iterator[Metric]:
        logs = list(self._logs.values())
        now_ms = int(time.time() * 1e3)
        chained = [(_place(one), one, one.rule) for one in logs if one.rule is not None]
        yield gauges(
            "ballast_log_lag_records",
            "Records the broker has and this process has not taken",
            _PLACE,
            [(_place(one), lag) for one in logs if (lag := one.lag_records) is not None],
        )
        yield gauges(
            "ballast_log_lag_seconds",
            "Age of the record read last while others wait behind it, else 0",
            _PLACE,
            [(_place(one), one.lag_seconds(now_ms)) for one in logs],
        )
        yield gauges(
            "ballast_log_head_sequence",
            "Sequence of the last accepted frame",
            _PLACE,
            [(place, rule.sequence) for place, _, rule in chained],
        )
        yield gauges(
            "ballast_log_head_age_seconds",
            "Wall time since the broker took the last accepted frame",
            _PLACE,
            [(place, max(0, now_ms - one.accepted_ms) / 1e3) for place, one, _ in chained if one.accepted_ms],
        )
        yield counters(
            "ballast_log_claims_total",
            "Claims accepted since this reader reached the end",
            _PLACE,
            [(place, one.claims) for place, one, _ in chained],
        )
        yield counters(
            "ballast_log_rejected_total",
            "Records that were noise to the chain's rule, since this reader reached the end",
            (*_PLACE, "reason"),
            [((*place, reason), one.rejected[reason]) for place, one, _ in chained for reason in Rejection],
        )

    def _of_books(self) -> Iterator[Metric]:
        books = list(self._books.values())
        shown: tuple[tuple[str, str, Callable[[Any], float]], ...] = (
            ("journal_sequence", "Journal sequence folded into the book", lambda book: book.sequence),
            ("accounts_count", "Accounts in the book", lambda book: len(book.accounts)),
            ("orders_count", "Live orders in the book", lambda book: len(book.orders)),
            (
                "reservations_count",
                "Pending withdrawals and transfers in the book",
                lambda book: len(book.reservations),
            ),
            ("episodes_count", "Open liquidation episodes in the book", lambda book: len(book.episodes)),
        )
        for noun, description, measure in shown:
            samples = [((str(book.partition),), measure(book)) for book in books]
            yield gauges(f"ballast_book_{noun}", description, ("partition",), samples)


def _place(one: LogReading) -> tuple[str, str]:
    return one.topic, str(one.partition)
