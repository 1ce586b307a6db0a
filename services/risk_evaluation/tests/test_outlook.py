"""Risk figures of a live account, and contagion over live books."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ballast.api.v1 import outlook_pb2 as api
from ballast.events.v1 import market_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.default_parameters import DefaultRules
from libs.common.units import PPM, Ppm
from services.risk_evaluation.app.contagion import Contagions
from services.risk_evaluation.app.outlook import answered, ask
from services.risk_evaluation.app.questions import Refused
from services.risk_evaluation.domain.model import Model, build_model
from services.risk_evaluation.domain.outlook import HOUR_NS, common_history, correlations, dynamics, moves_over
from services.risk_evaluation.tests.hand import Desk, attributes, posting
from services.risk_evaluation.tests.world import BTC, BTC_PERP, DOLLAR, ETH, USD, account, parameters, risk

CASH, LOTS, VARIATION = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_VARIATION
DEBT, SUPPLY = ledger_pb2.LINE_KIND_DEBT_SHARES, ledger_pb2.LINE_KIND_SUPPLY_SHARES
ME, LENDER = account(), account(entity=2)
RULES = DefaultRules(Ppm(0), Ppm(0), Ppm(0), Ppm(500_000), Ppm(100_000), 60 * 10**9, 2_048, 16)


def model_with(rules: DefaultRules = RULES) -> Model:
    declared = parameters(risk(BTC), risk(ETH))
    return build_model(replace(declared, margin=replace(declared.margin, default_rules=rules)))


async def desk_with(cash: int, lots: int, *, model: Model | None = None) -> Desk:
    desk = Desk(model=model or model_with())
    await desk.journal(
        attributes(ME),
        posting(ME, USD, CASH, cash * DOLLAR),
        posting(ME, BTC_PERP, LOTS, lots),
        posting(ME, BTC_PERP, VARIATION, -lots * 60_000 * DOLLAR),
    )
    await desk.marks()
    return desk


def outlook(desk: Desk, **options: Any) -> api.OutlookResponse:
    asked = api.OutlookRequest(account=ME, **options)
    return answered(ask(desk.risk.model, desk.risk.partitions[0], desk.risk.market, desk.risk.control, asked))


async def tell_history(desk: Desk, *, hours: int, seed: int = 5) -> np.ndarray[Any, Any]:
    drawn = np.random.default_rng(seed).standard_normal((hours, 2)) * 0.01
    prices = 60_000.0 * np.exp(
        np.cumsum(np.stack([drawn[:, 0], 0.6 * drawn[:, 0] + 0.8 * drawn[:, 1]], axis=1), axis=0)
    )
    ends = [hour * HOUR_NS for hour in range(1, hours + 1)]
    await desk.say_closes(
        market_pb2.PriceHistory(asset=BTC, closed_at_ns=ends, price=prices[:, 0]),
        market_pb2.PriceHistory(asset=ETH, closed_at_ns=ends, price=prices[:, 1]),
    )
    return prices


async def test_a_long_position_has_its_delta_and_more_risk_over_a_longer_horizon() -> None:
    desk = await desk_with(70_000, 10)
    answer = outlook(desk, horizon_ns=[24 * HOUR_NS, 7 * 24 * HOUR_NS])
    (btc,) = answer.sensitivities
    assert (btc.symbol, round(btc.lot_delta, 9), round(btc.delta_usd)) == ("BTC", 10.0, 600_000)
    assert btc.gamma == btc.vega == btc.theta == 0.0
    day, week = answer.horizons
    assert 0 < day.liquidation_probability < week.liquidation_probability < 10**9
    assert week.default_probability <= week.liquidation_probability
    assert answer.exposure_at_default == 0  # variation stands at nothing
    assert not day.HasField("historical_value_at_risk")
    assert outlook(desk, horizon_ns=[24 * HOUR_NS, 7 * 24 * HOUR_NS]) == answer  # the same draws


async def test_the_probability_is_that_of_the_first_passage() -> None:
    # E − MM falls by 10 − 10·m coins with the price: one barrier, and a logarithm without drift but for −σ²/2.
    desk = await desk_with(70_000, 10)
    frame = desk.screen.frames[-1]
    buffer = (frame.equity[0] - frame.maintenance_margin[0]) / 1e6
    share = frame.maintenance_margin[0] / 1e6 / 600_000
    level = math.log(1.0 - buffer / 600_000 / (1.0 - share))
    sigma, years = 1.0, 7 / 365
    drift, spread = -0.5 * sigma**2 * years, sigma * math.sqrt(years)

    def cdf(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2.0))

    expected = cdf((level - drift) / spread) + math.exp(2 * drift / years * level / sigma**2) * cdf(
        (level + drift) / spread
    )
    answer = outlook(desk, horizon_ns=[7 * 24 * HOUR_NS])
    assert answer.horizons[0].liquidation_probability / 1e9 == pytest.approx(expected, abs=0.02)


async def test_jumps_make_default_likely_where_diffusion_gives_time() -> None:
    calm = outlook(await desk_with(70_000, 10), horizon_ns=[24 * HOUR_NS]).horizons[0]
    jumpy = replace(RULES, jumps_a_year=Ppm(50 * PPM), jump_mean=Ppm(-200_000), jump_sigma=Ppm(100_000))
    wild = outlook(await desk_with(70_000, 10, model=model_with(jumpy)), horizon_ns=[24 * HOUR_NS]).horizons[0]
    assert wild.default_probability > calm.default_probability
    assert wild.expected_loss > calm.expected_loss


async def test_tails_are_those_of_the_history() -> None:
    desk = await desk_with(70_000, 10)
    prices = await tell_history(desk, hours=400)
    answer = outlook(desk, horizon_ns=[HOUR_NS, 24 * HOUR_NS], confidence_ppm=950_000)
    assert answer.history_hours == 400
    hour, day = answer.horizons
    moves = np.sort(prices[1:, 0] / prices[:-1, 0] - 1.0)
    worst = -moves[math.ceil(len(moves) * 0.05) - 1] * 600_000
    assert hour.historical_value_at_risk / 1e6 == pytest.approx(worst, rel=1e-4)
    assert hour.historical_expected_shortfall > hour.historical_value_at_risk
    assert day.historical_value_at_risk > hour.historical_value_at_risk
    assert day.filtered_expected_shortfall > day.filtered_value_at_risk > 0


async def test_history_is_the_last_unbroken_run_that_all_have_and_gives_correlations() -> None:
    desk = await desk_with(70_000, 10)
    model = desk.risk.model
    await tell_history(desk, hours=300)
    closes = {
        asset: [one for one in known if one[0] != 40 * HOUR_NS] for asset, known in desk.risk.market.closes.items()
    }
    history = common_history(model, closes)
    assert history.hours == 260
    assert moves_over(history, 24).shape == (236, len(model.assets))
    btc, eth = (model.risky.index(model.asset_column[asset]) for asset in (BTC, ETH))
    found = correlations(model, history, RULES)
    assert found[btc, eth] == pytest.approx(0.6, abs=0.1)
    assert correlations(model, common_history(model, {}), RULES)[btc, eth] == 0.5
    moving = dynamics(model, {}, history, np.full(len(model.risky), 1.0))
    assert np.all(np.linalg.eigvalsh(moving.covariance) > -1e-12)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"horizon_ns": [HOUR_NS - 1]}, "horizons"),
        ({"horizon_ns": [HOUR_NS] * 9}, "horizons"),
        ({"confidence_ppm": 1_000_000}, "confidence"),
    ],
)
async def test_what_cannot_be_answered_is_refused(options: dict[str, Any], says: str) -> None:
    desk = await desk_with(70_000, 10)
    with pytest.raises(Refused, match=says):
        outlook(desk, **options)


async def test_contagion_names_who_cannot_pay_over_the_live_books() -> None:
    desk = await desk_with(70_000, 10)
    await desk.journal(
        attributes(LENDER), posting(LENDER, USD, SUPPLY, 500_000 * DOLLAR), posting(ME, USD, DEBT, 10_000 * DOLLAR)
    )
    contagions = Contagions(desk.risk)
    calm = await contagions.answer(api.ContagionRequest(asset=BTC, fall_ppm=10_000))
    assert (calm.accounts, calm.cannot_pay, calm.shortfall) == (2, 0, 0)
    deep = await contagions.answer(api.ContagionRequest(asset=BTC, fall_ppm=300_000, worst=5))
    assert deep.cannot_pay == 1
    assert deep.worst[0].account == ME
    assert deep.worst[0].equity_after == (70_000 - 10_000 - 180_000) * 10**6
    assert deep.shortfall == deep.worst[0].shortfall > 0
    assert [one.journal_sequence for one in deep.partitions] == [2]
    for request, says in (
        (api.ContagionRequest(), "expected an asset or a venue"),
        (api.ContagionRequest(asset=99), "no asset 99"),
        (api.ContagionRequest(venue=99), "no venue 99"),
        (api.ContagionRequest(asset=BTC, fall_ppm=PPM), "expected a fall"),
    ):
        with pytest.raises(Refused, match=says):
            await contagions.answer(request)
