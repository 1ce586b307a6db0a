"""The simulated house: the repository's parameters made small, and the services' views of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

from libs.common.config import load_parameters
from libs.common.parameters import Clearing, Parameters
from libs.common.units import PPM, RATE_ONE, SECOND_NS, Ppm, Rate12, Units
from services.liquidation_execution.domain.catalogue import Catalogue, catalogue_of
from services.risk_evaluation.domain.model import Model, build_model
from services.venue_gateway.domain.directory import Directory

PARTITIONS = 2
USD, BTC = 1, 2
BTC_USD, BTC_PERP, BTC_INVERSE = 1, 11, 21
_ASSETS, _INSTRUMENTS = (USD, BTC), (BTC_USD, BTC_PERP, BTC_INVERSE)
PARAMETERS_HASH = hashlib.sha256(b"the simulated house").digest()
COMMANDS_TOPIC_ID = b"simulated-topic."


@cache
def parameters() -> Parameters:
    """The repository's set, made small: two partitions, one coin, and schedules, horizons and windows of seconds."""
    whole = load_parameters(Path(__file__).resolve().parents[2] / "config").parameters
    return replace(
        whole,
        partitions=PARTITIONS,
        assets=tuple(one for one in whole.assets if one.id in _ASSETS),
        instruments=tuple(
            replace(one, clearing=Clearing.INTERNAL) if one.id == BTC_PERP else one  # so it can be deleveraged
            for one in whole.instruments
            if one.id in _INSTRUMENTS
        ),
        venues=tuple(
            replace(one, instruments=tuple(each for each in one.instruments if each in _INSTRUMENTS))
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
            if one.asset in _ASSETS
        ),
        margin=replace(
            whole.margin, assets=tuple(one for one in whole.margin.assets if one.asset in _ASSETS), stresses=()
        ),
        prices=replace(whole.prices, max_age_ns=20 * SECOND_NS, slow_per_10min=Ppm(PPM)),
        ledger=replace(
            whole.ledger,
            send_by_ns=5 * SECOND_NS,
            open_orders_max=6,
            key_horizon_ns=20 * SECOND_NS,
            client_keys_max=12,
            session_outcomes=16,
        ),
        guards=replace(
            whole.guards,
            gate_after_negative_ns=2 * SECOND_NS,
            outflows=tuple(
                replace(one, hour_floor=Units(4 * 10**each), day_floor=Units(8 * 10**each), hour_share=Ppm(50_000))
                for one, each in zip(whole.guards.outflows, (10, 8), strict=False)
            ),
        ),
        schedule=replace(
            whole.schedule,
            interest_every_ns=3 * SECOND_NS,
            funding_every_ns=5 * SECOND_NS,
            settle_every_ns=7 * SECOND_NS,
        ),
    )


@cache
def model() -> Model:
    """Risk's model of the small set."""
    return build_model(parameters())


@cache
def catalogue() -> Catalogue:
    """Liquidation's view of the small set."""
    return catalogue_of(parameters())


@cache
def directory() -> Directory:
    """The gateway's view of the small set."""
    return Directory(parameters())
