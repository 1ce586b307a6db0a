"""Venues' own margin: integer models against figures of their own test suites, and what must always hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.errors import ConfigurationError
from services.risk_evaluation.domain.venue_models import MODELS, aave_v3, comet, drift_v2, dydx_v4, load_model
from services.risk_evaluation.domain.venue_models.arithmetic import WAD
from services.risk_evaluation.domain.venue_models.drift_weights import (
    MarginType,
    high_leverage_initial_ratio,
    margin_ratio,
    scaled_initial_weight,
    spot_asset_weight,
    spot_liability_weight,
)
from services.risk_evaluation.domain.venue_models.dydx_v4 import Risk, may_change, riskier

K = 1_000_000


# dydxprotocol/v4-chain x/perpetuals/lib/lib_test.go: TestGetMarginRequirementsInQuoteQuantums and its second table.
@pytest.mark.parametrize(
    ("price", "exponent", "resolution", "size", "imf", "mmf", "oi", "low", "high", "initial", "maintenance"),
    [
        (5_555, 2, -8, 7_000, 200, 500_000, 0, 0, 0, 7_777, 3_889),
        (42, 5, 0, 88, 10_000, 500_000, 0, 0, 0, 3_696_000_000_000, 1_848_000_000_000),
        (42_000_000, -2, -6, -5_000, 10_000, 500_000, 0, 0, 0, 21_000_000, 10_500_000),
        (367_500, -1, -6, 12_000, 200_000, 500_000, 408_163_265, 10 * K * K, 20 * K * K, 264_599_559, 44_100_000),
        (367_500, -1, -6, 12_000, 200_000, 500_000, K * 1000, 10 * K * K, 20 * K * K, 441_000_000, 44_100_000),
        (123_456_789_123, -5, 4, -1, 200_000, 500_000, K * K, K * K, 2 * K * K, 12345678912300000, 1234567891230000),
    ],
)
def test_requirements_of_dydx(
    price: int, exponent: int, resolution: int, size: int, imf: int, mmf: int, oi: int, low: int, high: int,
    initial: int, maintenance: int,
) -> None:  # fmt: skip
    market = dydx_v4.Market("BTC-USD", resolution, exponent, imf, mmf, low, high)
    got = dydx_v4.position_risk(market, dydx_v4.Position("BTC-USD", size, price, oi))
    assert (got.imr, got.mmr) == (initial, maintenance)


def test_own_leverage_raises_the_initial_requirement_alone() -> None:
    market = dydx_v4.Market("ETH-USD", -6, 0, 100_000, 500_000)
    plain = dydx_v4.position_risk(market, dydx_v4.Position("ETH-USD", 100, 100))
    own = dydx_v4.position_risk(market, dydx_v4.Position("ETH-USD", 100, 100, own_margin_ppm=250_000))
    assert (plain.imr, plain.mmr) == (1_000, 500)
    assert (own.imr, own.mmr) == (2_500, 500)


# dydxprotocol/v4-chain lib/margin/risk_test.go: TestRisk_Cmp; (net collateral, maintenance requirement) of each.
@pytest.mark.parametrize(
    ("first", "second", "order"),
    [
        ((100, 100), (100, 100), 0),
        ((100, 50), (100, 100), -1),
        ((100, 50), (-100, 100), -1),
        ((-100, 150), (-100, 100), -1),
        ((0, 150), (100, 100), 1),
        ((-100, 50), (-100, 100), 1),
        ((100, 50), (0, 0), 1),
        ((100, 0), (200, 0), 1),
    ],
)
def test_who_is_riskier_at_dydx(first: tuple[int, int], second: tuple[int, int], order: int) -> None:
    one, other = Risk(first[0], 0, first[1]), Risk(second[0], 0, second[1])
    assert riskier(one, other) == order
    assert riskier(other, one) == -order


# x/subaccounts/lib/updates_test.go: from (net collateral, requirement) to (net collateral, requirement).
@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        ((-1, 0), (100, 1), False),
        ((-1, 0), (-1, 0), False),
        ((-2, 0), (-1, 0), True),
        ((-2, 1), (-1, 0), False),
        ((50, 100), (50, 90), True),
        ((50, 100), (40, 80), True),
        ((50, 100), (39, 80), False),
    ],
)
def test_what_an_account_short_of_margin_may_do(old: tuple[int, int], new: tuple[int, int], allowed: bool) -> None:
    assert may_change(Risk(old[0], 0, old[1]), Risk(new[0], 0, new[1])) is allowed


@settings(max_examples=200, deadline=None)
@given(*[st.integers(-1000, 1000), st.integers(0, 1000)] * 3)
def test_being_riskier_is_transitive_where_there_is_a_requirement(
    a: int, b: int, c: int, d: int, e: int, f: int
) -> None:
    x, y, z = Risk(a, 0, b + 1), Risk(c, 0, d + 1), Risk(e, 0, f + 1)
    if riskier(x, y) >= 0 and riskier(y, z) >= 0:
        assert riskier(x, z) >= 0


# drift-labs/protocol-v2 math/margin/tests.rs: spot_market_asset_weight and spot_market_scale_initial_asset_weight.
@pytest.mark.parametrize(
    ("size", "imf", "asset", "liability"),
    [
        (1000 * K, 0, 9_000, 11_000),
        (1000 * K, 10, 9_000, 11_000),
        (1000 * K, 10_000, 8_357, 11_962),
        (1000 * K, 100_000, 2_642, 40_422),
    ],
)
def test_weights_of_drift_by_size(size: int, imf: int, asset: int, liability: int) -> None:
    got = spot_asset_weight(
        size=size, decimals=6, imf_factor=imf, initial=9_000, maintenance=9_000, kind=MarginType.INITIAL
    )
    assert got == asset
    assert spot_liability_weight(size=size, decimals=6, imf_factor=imf, weight=11_000) == liability


@pytest.mark.parametrize(
    ("kind", "imf", "weight"),
    [
        (MarginType.INITIAL, 0, 1_500),
        (MarginType.FILL, 0, 4_500),
        (MarginType.MAINTENANCE, 0, 7_500),
        (MarginType.MAINTENANCE, 100_000, 337),
    ],
)
def test_weights_of_drift_by_test(kind: MarginType, imf: int, weight: int) -> None:
    got = spot_asset_weight(size=100_000 * K, decimals=6, imf_factor=imf, initial=1_500, maintenance=7_500, kind=kind)
    assert got == weight


def test_initial_weight_shrinks_with_all_deposits() -> None:
    got = [
        scaled_initial_weight(weight=9_000, all_deposits_value=each * K, scale_start=500_000 * K)
        for each in (25, 500_000, 1_000_000, 1_500_000)
    ]
    assert got == [9_000, 9_000, 4_500, 3_000]


def test_ratios_of_drift_by_size() -> None:
    # state/perp_market/tests.rs: smart_hlm_size.
    assert margin_ratio(size=K * 10**9, imf_factor=50, ratio=1_000) == 1_300
    assert margin_ratio(size=3_000 * 10**9, imf_factor=50, ratio=50) == 67
    high = [
        high_leverage_initial_ratio(size=each, imf_factor=50, high=100, normal=1_000)
        for each in (10**8, 10**9, 10**10, 3_000 * 10**9)
    ]
    assert high == [100, 100, 104, 221]


_USDC = drift_v2.SpotMarket("USDC", 6, 10_000, 10_000, 10_000, 10_000)
_SOL = drift_v2.SpotMarket("SOL", 9, 8_000, 9_000, 12_000, 11_000)
_DRIFT = drift_v2.Parameters("USDC", (_USDC, _SOL), (drift_v2.PerpMarket("SOL-PERP", 1_000, 500),))
_ONE_USD, _SOL_PRICE = drift_v2.Price(K), drift_v2.Price(100 * K)


# math/margin/tests.rs: usdc_deposit_and_5x_sol_bid, usdc_deposit_and_5x_sol_ask, sol_deposit_and_5x_sol_ask.
@pytest.mark.parametrize(
    ("usdc", "sol", "bids", "asks", "requirement", "collateral"),
    [
        (10_000, 0, 500, 0, 50_000_010_000, 50_000_000_000),
        (10_000, 0, 0, 500, 60_000_010_000, 60_000_000_000),
        (0, 500, 0, 3_000, 300_000_010_000, 300_000_000_000),
    ],
)
def test_accounts_of_drift_with_open_orders(
    usdc: int, sol: int, bids: int, asks: int, requirement: int, collateral: int
) -> None:
    account = drift_v2.Account(
        (
            drift_v2.SpotPosition("USDC", usdc * K, _ONE_USD),
            drift_v2.SpotPosition("SOL", sol * 10**9, _SOL_PRICE, bids * 10**9, asks * 10**9, open_orders=1),
        )
    )
    got = drift_v2.account_margin(_DRIFT, account, MarginType.INITIAL)
    assert (got.requirement, got.collateral) == (requirement, collateral)


def test_own_ratio_of_a_drift_account() -> None:
    # math/margin/tests.rs: user_custom_margin_ratio.
    def requirement(own: int, kind: MarginType) -> int:
        account = drift_v2.Account(
            (drift_v2.SpotPosition("USDC", 100 * K, _ONE_USD), drift_v2.SpotPosition("SOL", -100 * 10**9, _SOL_PRICE)),
            (drift_v2.PerpPosition("SOL-PERP", 100 * 10**9, 0, 100 * K),),
            own_ratio=own,
        )
        return drift_v2.account_margin(_DRIFT, account, kind).requirement

    assert requirement(20_000, MarginType.INITIAL) == 50_000_000_000
    assert requirement(10_000, MarginType.INITIAL) == 30_000_000_000
    assert requirement(5_000, MarginType.INITIAL) == 20_000_000_000
    assert requirement(100_000, MarginType.MAINTENANCE) == 11_500_000_000


def test_strict_pricing_takes_the_worse_of_price_and_average() -> None:
    def collateral(average: int | None, *, strict: bool) -> int:
        position = drift_v2.SpotPosition("USDC", K, drift_v2.Price(990_000, average))
        return drift_v2.account_margin(
            _DRIFT, drift_v2.Account((position,)), MarginType.INITIAL, strict=strict
        ).collateral

    assert collateral(None, strict=True) == 990_000
    assert collateral(950_000, strict=True) == 950_000
    assert collateral(950_000, strict=False) == 990_000


_COMP = comet.Collateral("COMP", 18, WAD * 3 // 4, WAD * 8 // 10)
_COMET = comet.Parameters(base_decimals=6, collaterals=(_COMP,))


# compound-finance/comet test/is-liquidatable-test.ts, factor .8.
@pytest.mark.parametrize(
    ("base", "coins", "liquidatable", "may_borrow"),
    [
        (1, 0, False, True),
        (0, 0, False, True),
        (-100_000, 125_000, False, False),
        (-100_000, 124_999, True, False),
        (-75_000, 100_000, False, True),
        (-75_001, 100_000, False, False),
    ],
)
def test_comet(base: int, coins: int, liquidatable: bool, may_borrow: bool) -> None:
    account = comet.Account(base * K, comet.PRICE_ONE, (comet.Holding("COMP", coins * WAD, comet.PRICE_ONE),))
    assert comet.is_liquidatable(_COMET, account) is liquidatable
    assert comet.is_borrow_collateralised(_COMET, account) is may_borrow


def test_a_factor_of_zero_leaves_the_collateral_out() -> None:
    dead = comet.Parameters(base_decimals=6, collaterals=(comet.Collateral("COMP", 18, 0, 0),))
    account = comet.Account(-K, comet.PRICE_ONE, (comet.Holding("COMP", 10**30, comet.PRICE_ONE),))
    assert comet.is_liquidatable(dead, account)


_WETH = aave_v3.Reserve("WETH", 18, 8_250, 8_600, 500)
_USDX = aave_v3.Reserve("USDX", 6, 8_250, 8_600, 500)
_AAVE = aave_v3.Parameters(reserves=(_WETH, _USDX))
_USD = aave_v3.BASE_ONE


def test_health_factor_of_aave() -> None:
    account = aave_v3.Account(
        (aave_v3.Holding("WETH", WAD, 0, 1_800 * _USD), aave_v3.Holding("USDX", 0, 1_000 * K, _USD))
    )
    total = aave_v3.sums(_AAVE, account)
    assert aave_v3.health_factor(total) == 1_548 * WAD // 1_000
    assert aave_v3.health_factor(aave_v3.sums(_AAVE, aave_v3.Account(()))) == aave_v3.NO_DEBT
    asked = aave_v3.demand(_AAVE, account)
    assert (asked.initial.free, asked.maintenance.free) == pytest.approx((485.0, 548.0))


# aave-dao/aave-v3-origin tests/protocol/pool/Pool.Liquidations.CloseFactor.t.sol.
@pytest.mark.parametrize(
    ("health", "collateral", "debt", "share"),
    [
        (94, 180_000, 160_000, 10_000),
        (95, 180_000, 160_000, 10_000),
        (96, 180_000, 160_000, 5_000),
        (97, 900, 800, 10_000),
        (97, 1_999, 3_500, 10_000),
        (97, 2_000, 1_999, 10_000),
        (97, 2_000, 2_000, 5_000),
    ],
)
def test_close_factor_of_aave(health: int, collateral: int, debt: int, share: int) -> None:
    got = aave_v3.close_factor_bps(_AAVE, health=health * WAD // 100, collateral=collateral * _USD, debt=debt * _USD)
    assert got == share


def test_a_liquidation_may_leave_no_dust() -> None:
    # test_shouldRevertIfCloseFactorIs100ButCollateralIsBelowThreshold: 2000 of collateral, 956 repaid, bonus 5 %.
    pair = aave_v3.Pair(93 * WAD // 100, 2_000 * _USD, 8_000 * _USD, 8_000 * _USD, 500)
    assert aave_v3.liquidate(_AAVE, pair, 956 * _USD) is aave_v3.LiquidationRefusal.LEAVES_DUST
    enough = aave_v3.liquidate(_AAVE, pair, 952 * _USD)
    assert isinstance(enough, aave_v3.Liquidation)
    assert enough.collateral_left >= 1_000 * _USD
    whole = aave_v3.liquidate(_AAVE, pair, 8_000 * _USD)
    assert isinstance(whole, aave_v3.Liquidation)
    assert (whole.collateral_left, whole.seized) == (0, 2_000 * _USD)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10**14), st.integers(1, 10**14), st.integers(0, 10**14), st.integers(0, 2_000))
def test_a_liquidation_takes_no_more_than_there_is(collateral: int, debt: int, repay: int, bonus: int) -> None:
    pair = aave_v3.Pair(9 * WAD // 10, collateral, debt, debt, bonus)
    got = aave_v3.liquidate(_AAVE, pair, repay)
    if isinstance(got, aave_v3.Liquidation):
        assert 0 <= got.seized <= collateral
        assert 0 < got.repaid <= min(debt, repay)
        assert got.seized * 10_000 <= got.repaid * (10_000 + bonus)


def test_every_model_is_loaded_by_its_name_alone() -> None:
    assert sorted(MODELS) == ["aave_v3", "comet", "deribit_pm", "derive_pm2", "drift_v2", "dydx_v4"]
    loaded = load_model("comet", {"base_decimals": 6, "collaterals": []}, path="venues[0]")
    assert loaded.demand(comet.Account(-5 * K, comet.PRICE_ONE)).maintenance.free == -5.0


_COMET_RAW = {"name": "COMP", "decimals": 18, "borrow_factor": 0, "liquidation_factor": 0}


@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("span2", {}, r"venues\[2\].model: expected one of \['aave_v3', .*\], was 'span2'"),
        ("comet", [], r"venues\[2\].comet: expected a mapping, was list"),
        ("comet", {"base_decimals": 6}, r"venues\[2\].comet.collaterals: expected a value, was missing"),
        ("comet", {"base_decimals": 6, "collaterals": [], "cap": 1}, r"venues\[2\].comet.cap: expected one of"),
        ("comet", {"base_decimals": 99, "collaterals": []}, r"base_decimals: expected 0 .. 36, was 99"),
        ("comet", {"base_decimals": 6.0, "collaterals": []}, r"base_decimals: expected an integer, was 6.0"),
        ("comet", {"base_decimals": True, "collaterals": []}, r"base_decimals: expected an integer, was True"),
        ("comet", {"base_decimals": 6, "collaterals": "COMP"}, r"collaterals: expected a list, was str"),
        ("comet", {"base_decimals": 6, "collaterals": [{}] * 65}, r"collaterals: expected at most 64, was 65"),
        (
            "comet",
            {"base_decimals": 6, "collaterals": [_COMET_RAW, {**_COMET_RAW, "borrow_factor": -1}]},
            r"venues\[2\].comet.collaterals\[1\].borrow_factor: expected 0 .. 1000000000000000000, was -1",
        ),
        (
            "comet",
            {"base_decimals": 6, "collaterals": [{**_COMET_RAW, "name": "a b"}]},
            r"collaterals\[0\].name: expected a name of 1 to 32",
        ),
    ],
)
def test_unknown_models_and_parameters_are_refused_with_path_and_bound(name: str, raw: object, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        load_model(name, raw, path="venues[2]")


def test_a_market_without_rules_is_refused() -> None:
    parameters = dydx_v4.Parameters((dydx_v4.Market("BTC-USD", -8, -5, 100_000, 500_000),))
    account = dydx_v4.Account(0, (dydx_v4.Position("DOGE-USD", 1, 1),))
    with pytest.raises(ConfigurationError, match=r"positions\[0\].market: expected one of \['BTC-USD'\]"):
        dydx_v4.demand(parameters, account)
