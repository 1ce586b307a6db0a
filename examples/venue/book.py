"""A limit order book in pure price-time priority, in whole ticks and whole lots."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Side(Enum):
    """Who gives the order: one that receives the base asset, or one that delivers it."""

    BUY = "buy"
    SELL = "sell"

    @property
    def other(self) -> Side:
        """The side it trades with."""
        return Side.SELL if self is Side.BUY else Side.BUY


@dataclass(frozen=True, slots=True)
class Limit:
    """An order as it arrives: up to so many lots at this price or a better one."""

    order: int
    side: Side
    price: int
    lots: int


@dataclass(frozen=True, slots=True)
class Trade:
    """Lots that changed hands at the resting order's price."""

    taker: int
    maker: int
    price: int
    lots: int


@dataclass(frozen=True, slots=True)
class Level:
    """All lots resting at one price."""

    price: int
    lots: int


@dataclass(slots=True)
class _Resting:
    order: int
    side: Side
    price: int
    lots: int


@dataclass(slots=True)
class _Half:
    """One side: queues by rank, where the lowest rank is the best price (a bid's rank is its negated price)."""

    sign: int
    ranks: list[int]
    queues: dict[int, deque[_Resting]]

    def add(self, resting: _Resting) -> None:
        rank = self.sign * resting.price
        queue = self.queues.get(rank)
        if queue is None:
            queue = self.queues[rank] = deque()
            insort(self.ranks, rank)
        queue.append(resting)

    def remove(self, resting: _Resting) -> None:
        rank = self.sign * resting.price
        queue = self.queues[rank]
        queue.remove(resting)
        if not queue:
            del self.queues[rank]
            del self.ranks[bisect_left(self.ranks, rank)]

    def crossed_by(self, price: int) -> Iterator[_Resting]:
        """First of the queue at the best price, again and again, while that price satisfies `price`."""
        while self.ranks and self.ranks[0] <= self.sign * price:
            yield self.queues[self.ranks[0]][0]


class OrderBook:
    """The orders of one instrument; an order id is at most once in it."""

    def __init__(self) -> None:
        self._halves = {Side.BUY: _Half(-1, [], {}), Side.SELL: _Half(1, [], {})}
        self._resting: dict[int, _Resting] = {}

    def place(self, limit: Limit, *, rests: bool) -> tuple[Trade, ...]:
        """The trades of an arriving order, best price first and, at one price, oldest first.

        Args:
            rests: what does not trade stays on the book; otherwise it is dropped.
        Raises:
            ValueError: price or lots are not positive, or the id rests already.
        """
        if limit.lots <= 0 or limit.price <= 0 or limit.order in self._resting:
            raise ValueError(f"expected a new order with price and lots above 0, was {limit}")
        trades: list[Trade] = []
        remaining = limit.lots
        opposite = self._halves[limit.side.other]
        for maker in opposite.crossed_by(limit.price):
            lots = min(remaining, maker.lots)
            maker.lots -= lots
            remaining -= lots
            trades.append(Trade(taker=limit.order, maker=maker.order, price=maker.price, lots=lots))
            if maker.lots == 0:
                opposite.remove(maker)
                del self._resting[maker.order]
            if remaining == 0:
                break
        if rests and remaining:
            resting = _Resting(limit.order, limit.side, limit.price, remaining)
            self._halves[limit.side].add(resting)
            self._resting[limit.order] = resting
        return tuple(trades)

    def cancel(self, order: int) -> int:
        """Lots taken off the book: what remained of the order, 0 when it does not rest."""
        resting = self._resting.pop(order, None)
        if resting is None:
            return 0
        self._halves[resting.side].remove(resting)
        return resting.lots

    def resting_lots(self, order: int) -> int:
        """Lots of the order on the book."""
        resting = self._resting.get(order)
        return resting.lots if resting else 0

    def levels(self, side: Side, *, depth: int) -> tuple[Level, ...]:
        """The best `depth` prices of a side with their lots, best first."""
        half = self._halves[side]
        return tuple(
            Level(price=rank * half.sign, lots=sum(each.lots for each in half.queues[rank]))
            for rank in half.ranks[:depth]
        )

    def best(self, side: Side) -> int | None:
        """The best price of a side, None when nothing rests there."""
        half = self._halves[side]
        return half.ranks[0] * half.sign if half.ranks else None
