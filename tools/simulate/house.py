"""Simulated houses: the repository's parameters made small, and the services' views of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from libs.common.config import load_parameters
from libs.common.ids import InstrumentId
from libs.common.parameters import (
    Clearing,
    Delivery,
    GuardRules,
    Instrument,
    MarginModel,
    OptionType,
    Parameters,
    PrincipalRule,
)
from libs.common.units import PPM, RATE_ONE, SECOND_NS, Ppm, Rate12, Units, UnixNs
from services.liquidation_execution.domain.catalogue import Catalogue, catalogue_of
from services.risk_evaluation.domain.model import Model, build_model
from services.venue_gateway.domain.directory import Directory

USD, BTC, ETH = 1, 2, 3
BTC_USD, ETH_USD, BTC_PERP, BTC_INVERSE = 1, 2, 11, 21
FUTURE, DELIVERED = 12, 13  # a linear perpetual with an expiry is a dated future
PUT, CALL, COIN_CALL = 106, 107, 110
BACKSTOP = "backstop"  # takes positions over
PARAMETERS_HASH = hashlib.sha256(b"the simulated house").digest()
COMMANDS_TOPIC_ID = b"simulated-topic."

_NARROW_ASSETS, _NARROW = (USD, BTC), (BTC_USD, BTC_PERP, BTC_INVERSE)
_WIDE_ASSETS, _WIDE = (*_NARROW_ASSETS, ETH), (*_NARROW, ETH_USD, FUTURE, DELIVERED, PUT, CALL, COIN_CALL)
# Seconds of run time after the beginning at which each ends; the inverse perpetual is delisted.
_ENDS_S = {FUTURE: 13, PUT: 13, COIN_CALL: 13, DELIVERED: 17, CALL: 17, BTC_INVERSE: 22}


@dataclass(frozen=True, slots=True)
class House:
    """One house: how many partitions, what it trades, and the services' views of that."""

    parameters: Parameters
    model: Model
    catalogue: Catalogue
    directory: Directory

    @property
    def partitions(self) -> range:
        """Numbers of its partitions."""
        return range(self.parameters.partitions)

    @property
    def is_wide(self) -> bool:
        """Trades options and futures, and has more than one coin."""
        return len(self.parameters.assets) > len(_NARROW_ASSETS)

    @property
    def endings_ns(self) -> tuple[UnixNs, ...]:
        """Run times at which instruments end, sorted."""
        return tuple(sorted({one.closes_ns for one in self.parameters.instruments if one.closes_ns}))

    def instrument(self, number: int) -> Instrument:
        """One that it trades."""
        return self.directory.instrument_by_id[number]


@cache
def house_of(partitions: int, *, is_wide: bool) -> House:
    """A house; a wide one trades dated futures and options too, and has a second coin."""
    parameters = _parameters(partitions, is_wide=is_wide)
    return House(parameters, build_model(parameters), catalogue_of(parameters), Directory(parameters))


@cache
def _whole() -> Parameters:
    return load_parameters(Path(__file__).resolve().parents[2] / "config").parameters


def _parameters(partitions: int, *, is_wide: bool) -> Parameters:
    """The repository's set, made small: few partitions and coins; schedules, horizons and windows of seconds."""
    whole = _whole()
    assets, numbers = (_WIDE_ASSETS, _WIDE) if is_wide else (_NARROW_ASSETS, _NARROW)
    return replace(
        whole,
        partitions=partitions,
        assets=tuple(one for one in whole.assets if one.id in assets),
        instruments=tuple(_instruments(whole, is_wide=is_wide)),
        venues=tuple(
            replace(one, instruments=tuple(InstrumentId(each) for each in numbers if each != COIN_CALL or one.id == 1))
            for one in whole.venues
        ),
        # Rates so high that a tick of seconds moves whole units.
        pools=tuple(
            replace(
                one,
                base_rate=Rate12(RATE_ONE),
                slope_below=Rate12(one.slope_below * 1000),
                slope_above=Rate12(one.slope_above * 1000),
                overdraft_penalty=Rate12(one.overdraft_penalty * 1000),
            )
            for one in whole.pools
            if one.asset in _NARROW_ASSETS
        ),
        margin=_margin(whole.margin, assets),
        surfaces=tuple(one for one in whole.surfaces if one.asset == BTC) if is_wide else (),
        prices=replace(whole.prices, max_age_ns=20 * SECOND_NS, slow_per_10min=Ppm(PPM)),
        ledger=replace(
            whole.ledger,
            send_by_ns=5 * SECOND_NS,
            open_orders_max=6,
            key_horizon_ns=20 * SECOND_NS,
            client_keys_max=12,
            session_outcomes=16,
        ),
        guards=_guards(whole.guards),
        schedule=replace(
            whole.schedule,
            interest_every_ns=3 * SECOND_NS,
            funding_every_ns=5 * SECOND_NS,
            settle_every_ns=7 * SECOND_NS,
        ),
        principals=(*whole.principals, PrincipalRule(BACKSTOP, "liquidity_provider")) if is_wide else whole.principals,
    )


def _margin(margin: MarginModel, assets: tuple[int, ...]) -> MarginModel:
    return replace(margin, assets=tuple(one for one in margin.assets if one.asset in assets), stresses=())


def _guards(guards: GuardRules) -> GuardRules:
    outflows = zip(guards.outflows, (10, 8), strict=False)
    return replace(
        guards,
        gate_after_negative_ns=2 * SECOND_NS,
        outflows=tuple(
            replace(one, hour_floor=Units(4 * 10**each), day_floor=Units(8 * 10**each), hour_share=Ppm(50_000))
            for one, each in outflows
        ),
    )


def _instruments(whole: Parameters, *, is_wide: bool) -> Iterator[Instrument]:
    perp = next(one for one in whole.instruments if one.id == BTC_PERP)
    for one in whole.instruments:
        if not is_wide:
            if one.id in _NARROW:
                yield one
        elif one.id == BTC_PERP:
            yield replace(one, clearing=Clearing.INTERNAL)
        elif one.id == BTC_INVERSE:
            yield replace(one, delisted_ns=_ends(whole, one.id))
        elif one.id in (BTC_USD, ETH_USD):
            yield one
        elif one.id in (FUTURE, DELIVERED):
            delivery = Delivery.PHYSICAL if one.id == DELIVERED else Delivery.CASH
            at_ns = _ends(whole, one.id)
            yield replace(perp, id=one.id, symbol=f"BTC-USD-FUT-{one.id}", expiry_ns=at_ns, delivery=delivery)
        elif one.id in (PUT, CALL, COIN_CALL):
            yield _option(whole, one)


def _option(whole: Parameters, one: Instrument) -> Instrument:
    is_call = one.id != PUT
    return replace(
        one,
        option=OptionType.CALL if is_call else OptionType.PUT,
        strike=1_450_000 if is_call else 1_550_000,
        expiry_ns=_ends(whole, one.id),
        delivery=Delivery.PHYSICAL if one.id == CALL else Delivery.CASH,
    )


def _ends(whole: Parameters, number: int) -> UnixNs:
    return UnixNs(whole.genesis_ns + _ENDS_S[number] * SECOND_NS)
