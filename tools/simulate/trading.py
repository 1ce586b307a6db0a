"""Orders that clients send: mostly what risk may let through, at prices around the true one."""

from __future__ import annotations

import random

from ballast.events.v1 import commands_pb2
from ballast.types.v1 import market_pb2
from libs.common.parameters import Instrument
from tools.simulate.house import BTC_INVERSE, BTC_PERP, BTC_USD, CALL, COIN_CALL, DELIVERED, ETH_USD, FUTURE, PUT, House
from tools.simulate.market import Market

_BUY, _SELL = market_pb2.SIDE_BUY, market_pb2.SIDE_SELL
_IOC, _GTC = market_pb2.TIME_IN_FORCE_IOC, market_pb2.TIME_IN_FORCE_GTC
_NARROW = (BTC_USD, BTC_PERP, BTC_PERP, BTC_INVERSE)
_WIDE = (*_NARROW, BTC_PERP, BTC_PERP, FUTURE, DELIVERED, PUT, CALL, COIN_CALL)
_LATER = (BTC_PERP, BTC_PERP)  # traded more once things have begun
_LEAST_STEPS = 3


class Trading:
    """Makes orders; what they are depends on the generator and the market alone."""

    def __init__(self, house: House, market: Market, rng: random.Random) -> None:
        self._house, self._market, self._rng = house, market, rng
        self._traded = _WIDE if house.is_wide else _NARROW

    def first(self, account: int, lots: int, *, now_ns: int) -> commands_pb2.PlaceOrder:
        """A position as large as risk lets them have, or nearly."""
        side = self._rng.choice((_BUY, _BUY, _BUY, _SELL))
        instrument = self._house.instrument(self._rng.choice(self._traded))
        return self._order(account, instrument, side, lots, off=0.02, now_ns=now_ns)

    def any(self, account: int, *, now_ns: int) -> commands_pb2.PlaceOrder:
        """An order now and then; some will never fill."""
        rng = self._rng
        side = rng.choice((_BUY, _BUY, _SELL))
        number = rng.choice((*self._traded, *_LATER, *(ETH_USD,) * self._house.is_wide))
        off = rng.uniform(-0.01, 0.03)
        order = self._order(
            account, self._house.instrument(number), side, rng.randint(1, 4_000), off=off, now_ns=now_ns
        )
        order.time_in_force, order.reduce_only = rng.choice((_IOC, _IOC, _GTC)), rng.random() < 0.15
        return order

    def _order(
        self, account: int, instrument: Instrument, side: market_pb2.Side, lots: int, *, off: float, now_ns: int
    ) -> commands_pb2.PlaceOrder:
        middle = self._market.price_of(instrument, now_ns)
        steps = round(middle * off)
        if instrument.is_option:  # what is worth little moves by many of its steps
            steps = max(_LEAST_STEPS, 3 * steps) if off > 0.0 else steps
        sizes = {BTC_INVERSE: lots * 10, ETH_USD: lots // 4 + 1}
        return commands_pb2.PlaceOrder(
            account=account,
            instrument=instrument.id,
            venue=self._rng.choice((1, 2)),
            side=side,
            lots=sizes.get(instrument.id, lots // 10 + 1 if instrument.is_option else lots),
            limit_price=max(1, middle + (steps if side == _BUY else -steps)),
            time_in_force=_IOC,
        )
