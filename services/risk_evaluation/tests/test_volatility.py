"""Ranges at the volatility in force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.config import load_parameters
from libs.common.units import Ppm
from services.risk_evaluation.domain.margin import State
from services.risk_evaluation.domain.prices import price_book
from services.risk_evaluation.domain.volatility import Sigmas, levels_under, model_under, ranges_at
from services.risk_evaluation.tests.world import BTC, BTC_PERP, DOLLAR, USD, Book, marks, parameters, risk


def test_design_example_14() -> None:
    # z 2.33, one day: sigma 60 % -> down 7.056 %, up 7.592 %; 150 % -> 16.718 %, 20.074 %.
    for sigma, down, up in ((600_000, 0.07056, 0.07592), (1_500_000, 0.16718, 0.20074)):
        initial, _ = ranges_at(risk(BTC), Sigmas(Ppm(sigma), Ppm(sigma)))
        assert [initial.down, initial.up] == pytest.approx([down, up], abs=5e-6)


def test_a_raised_volatility_of_new_risk_liquidates_nobody() -> None:
    # sigma 60 -> 150 % for new risk with no price move, maintenance under notice (price_ingestion, test_volatility.py):
    # every account from just above MM up to twice the old IM.
    declared = parameters(risk(BTC, sigma=600_000))
    old = Book(model_under(declared, {})).position(BTC_PERP, 10, -600_000 * DOLLAR).margins(marks())
    least, most = int(old.maintenance_margin[0]), 2 * int(old.initial_margin[0])
    model = model_under(declared, {BTC: Sigmas(Ppm(1_500_000), Ppm(600_000))})
    for cash in range(least, most, (most - least) // 30):
        margins = Book(model).cash(USD, cash).position(BTC_PERP, 10, -600_000 * DOLLAR).margins(marks())
        assert margins.state[0] in (State.HEALTHY, State.CALL), cash
        assert margins.maintenance_margin[0] == least
        assert margins.initial_margin[0] > old.initial_margin[0]


def test_a_static_profile_is_the_model_of_the_parameters() -> None:
    declared = parameters(risk(BTC))
    at = price_book(model_under(declared, {}), marks())
    own = Sigmas(declared.margin.assets[0].sigma, declared.margin.assets[0].sigma)
    assert (at.unit_change == price_book(model_under(declared, {BTC: own}), marks()).unit_change).all()


def test_levels_under_another_set_are_within_its_profiles() -> None:
    declared = load_parameters(Path(__file__).resolve().parents[3] / "config").parameters
    btc, eth, ltc = declared.margin.profiles
    other = replace(declared, margin=replace(declared.margin, profiles=(replace(btc, floor=Ppm(1_500_000)), eth)))
    levels: dict[int, Sigmas] = {
        btc.asset: Sigmas(Ppm(1_200_000), Ppm(1_100_000)),
        eth.asset: Sigmas(Ppm(9_000_000), Ppm(900_000)),
        ltc.asset: Sigmas(Ppm(1_000_000), Ppm(1_000_000)),
    }
    assert levels_under(other, levels) == {
        btc.asset: Sigmas(Ppm(1_500_000), Ppm(1_500_000)),
        eth.asset: Sigmas(eth.ceiling, Ppm(900_000)),
    }
    assert levels_under(other, {}) == {}
