"""The house's own account as a venue sees it: figures by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.domain.venue_models import deribit_pm, dydx_v4
from services.risk_evaluation.domain.venue_models.omnibus import deribit_account, dydx_account, dydx_markets
from services.risk_evaluation.domain.venue_models.parameters import read
from services.risk_evaluation.tests.option_world import CALL, MADE_AT, PUT, market, option_parameters
from services.risk_evaluation.tests.world import BTC, BTC_INVERSE, BTC_PERP, DOLLAR, ETH, ETH_PERP, Book

MODEL = build_model(option_parameters())
AT = market()
RULES = read(deribit_pm.Parameters, deribit_pm.PUBLISHED, "deribit_pm")


def held(perpetuals: dict[int, int], options: dict[int, int], *, asset: int = BTC) -> deribit_pm.Account:
    """The account of these net lots with ten coins."""
    lots, choices = np.zeros(len(MODEL.margined)), np.zeros(len(MODEL.options))
    for instrument, count in perpetuals.items():
        lots[MODEL.margined_column[instrument]] = count
    for instrument, count in options.items():
        choices[MODEL.option_column[instrument]] = count
    prices = AT.prices(Book(MODEL))
    return deribit_account(MODEL, prices, asset=asset, lots=lots, options=choices, coins=10.0, now_ns=MADE_AT)


def test_futures_of_all_kinds_are_their_notional() -> None:
    # Ten coins of linear perpetuals at 60,000 and 60,000 contracts short of an inverse one, a dollar each.
    inverse = MODEL.margined[MODEL.margined_column[BTC_INVERSE]]
    account = held({BTC_PERP: 10, BTC_INVERSE: -600, ETH_PERP: 5}, {})
    face = inverse.c_num / inverse.c_den / 10**8  # USD a lot
    assert sorted(account.futures.tolist()) == pytest.approx([-600 * face, 600_000])
    demand = deribit_pm.demand(RULES, account)
    net = 600_000 - 600 * face
    assert demand.parts["worst"] == pytest.approx(abs(net) * 0.10)
    assert demand.parts["offset_futures"] == pytest.approx(0.01 * min(600_000, 600 * face))
    assert demand.maintenance.has == pytest.approx(600_000)
    assert demand.initial.needs == pytest.approx(1.3 * demand.maintenance.needs)


def test_options_are_priced_as_the_house_prices_them() -> None:
    account = held({}, {CALL: -3, PUT: 2})
    assert account.strikes.tolist() == [60_000, 55_000]
    assert account.amounts.tolist() == [-3, 2]
    assert (account.vols > 0.5).all()
    assert account.years == pytest.approx([1 / 12, 1 / 12])
    demand = deribit_pm.demand(RULES, account)
    assert demand.parts["short_options"] == pytest.approx(3 * 0.01 * 60_000)
    assert demand.maintenance.needs > demand.parts["short_options"]
    assert deribit_pm.demand(RULES, held({}, {}, asset=ETH)).maintenance.needs == 0.0


def test_perpetuals_at_dydx_by_hand() -> None:
    lots = np.zeros(len(MODEL.margined))
    lots[MODEL.margined_column[BTC_PERP]], lots[MODEL.margined_column[ETH_PERP]] = 10, -100
    rules = dydx_markets(MODEL, initial_ppm=50_000, maintenance_ppm=600_000)
    account = dydx_account(MODEL, dict(AT.marks), lots=lots, quote=-500_000 * DOLLAR)
    risk = dydx_v4.account_risk(rules, account)
    assert risk.nc == (600_000 - 300_000 - 500_000) * DOLLAR
    assert risk.imr == 45_000 * DOLLAR
    assert risk.mmr == 27_000 * DOLLAR
    assert dydx_v4.account_risk(rules, replace(account, positions=())).mmr == 0
