"""Cases written here, by other field names and at the edges of each family, are read as they are meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.conformance.adapters import drift, dydx, lending, options
from tools.conformance.comparison import Unsupported
from tools.conformance.families import Adapter
from tools.conformance.runner import run_folder

_RISK = {"NC": 300, "IMR": 200, "MMR": 100}
_SOL = {"price_1e6": 100_000_000, "decimals": 9, "asset_weight_initial": 8000, "liability_weight_initial": 12000}
_HIGH = {"high_leverage_initial_1e4": 100, "high_leverage_maintenance_1e4": 50, "initial_1e4": 1000, "imf_factor": 50}
_MARKET = {"price": 200, "exponent": 0, "base_resolution": -6, "imf_ppm": 100_000, "mf_of_imf_ppm": 500_000}


def _case(inputs: Any, expected: Any, **more: Any) -> dict[str, Any]:
    return {"test": "here", "inputs": inputs, "expected": expected, **more}


@pytest.mark.parametrize(
    ("adapter", "case"),
    [
        # The two accounts of a comparison or a sum, by any of their names; what is not given is zero.
        (dydx.risk_compare, _case({"a": {}, "b": _RISK}, _RISK)),
        (dydx.risk_compare, _case({"a": None, "b": _RISK}, _RISK)),
        (dydx.risk_compare, _case({"first": _RISK, "second": _RISK}, {"NC": 600, "IMR": 400, "MMR": 200})),
        (dydx.risk_compare, _case({"first": _RISK, "second": _RISK}, 0)),
        (dydx.risk_compare, _case({"firstNC": 1, "firstMMR": 2, "secondNC": 1, "secondMMR": 1}, 1)),
        (dydx.risk_compare, {**_case({"NC": 1, "MMR": 2}, True), "test": "IsLiquidatable"}),
        # Quote beside a single position; an account of nothing; a position with open interest of the file's.
        (
            dydx.margin,
            _case({**_MARKET, "quantums": -25, "quote_balance": 10}, {"net_collateral": -4990, "initial": 500}),
        ),
        (dydx.margin, _case({}, {"net_collateral": 0, "initial": 0, "maintenance": 0})),
        (
            dydx.margin,
            _case({"positions": [{**_MARKET, "quantums": 0}], "usdc": -1}, {"net_collateral": -1, "initial": 0}),
        ),
        (dydx.margin, _case({**_MARKET, "quantums": 10**30}, {"net_notional": 200 * 10**30})),
        # Comet: an account of nothing, debt without collateral, several collaterals, a factor of zero.
        (lending.health, _case({}, {"liquidatable": False})),
        (lending.health, _case({"principal": -1, "collateral": 0, "price": 1}, {"liquidatable": True})),
        (lending.health, _case({"principal": 5, "collateral": 0}, {"borrow_collateralized": True})),
        (
            lending.health,
            _case(
                {"principal": -10, "collaterals": [{"amount": 6}, {"amount": 4, "price": "1"}]}, {"liquidatable": False}
            ),
        ),
        (lending.health, _case({"principal": -1, "collateral": 9, "liquidate_factor": 0}, {"liquidatable": True})),
        # Aave: on the bounds themselves.
        (lending.health, _case({"collateral_base": 2000, "desired_health_factor": "0.95"}, {"close_factor": 1.0})),
        (lending.health, _case({"collateral_base": 2000, "desired_health_factor": "0.97"}, {"close_factor": 1.0})),
        (lending.health, _case({"collateral_base": 2500, "desired_health_factor": "0.97"}, {"close_factor": 0.5})),
        (lending.health, _case({"collateral_base": 0, "desired_health_factor": "0.97"}, {"close_factor": 1.0})),
        # Drift: a custom size, an ask written with its sign, high leverage.
        (drift.weights, _case({**_HIGH, "type": "initial", "size": 10 * 10**9}, 104, function="margin_ratio")),
        (drift.weights, _case({**_HIGH, "type": "maintenance", "size": 3000 * 10**9}, 67, function="margin_ratio")),
        (
            drift.weights,
            _case(
                {"type": "initial", "usdc_deposit": 10_000, "sol": _SOL, "sol_open_asks": -500, "open_orders": 1},
                {"margin_requirement_1e6": 60_000_010_000, "total_collateral_1e6": 60_000_000_000},
                function="account_margin",
            ),
        ),
        (
            drift.weights,
            _case(
                {"usdc_deposit": 0}, {"margin_requirement_1e6": 0, "total_collateral_1e6": 0}, function="account_margin"
            ),
        ),
        # Options: no time, no volatility, no strike, no forward; far in and out of the money; a century.
        (
            options.black76_derive,
            _case({"seconds": 0, "vol": 1, "forward": 100, "strike": 90}, {"call": 10.0, "put": 0.0}),
        ),
        (
            options.black76_derive,
            _case({"seconds": 60, "vol": 0, "forward": 90, "strike": 100}, {"call": 0.0, "put": 10.0}),
        ),
        (
            options.black76_derive,
            _case({"seconds": 60, "vol": 1, "forward": 0, "strike": 0}, {"call": 0.0, "put": 0.0}),
        ),
        (
            options.black76_derive,
            _case(
                {"seconds": 3600, "vol": 0.5, "forward": 1e9, "strike": 1e-9},
                {"call": 1e9, "put": 0.0, "call_delta": 1.0},
            ),
        ),
        (
            options.black76_derive,
            _case({"seconds": 3_153_600_000, "vol": 9.0, "forward": 5.0, "strike": 7.0}, {"call": 5.0, "put": 7.0}),
        ),
    ],
)
def test_cases_agree(adapter: Adapter, case: dict[str, Any]) -> None:
    figures = adapter(case, {})
    assert figures
    assert [one for one in figures if not one.agrees] == []


@pytest.mark.parametrize(
    ("adapter", "case"),
    [
        (drift.weights, _case({}, 1, function="astrology")),
        (drift.weights, _case({"usdc_deposit": 1, "moon": 3}, {}, function="account_margin")),
        (dydx.margin, _case({"quantums": 1, **_MARKET}, {"charm": 3})),
        (dydx.risk_compare, _case({"risk": _RISK}, True)),
        (lending.health, _case({"desired_health_factor": 1}, {"close_factor": 1.0})),
        (options.black76_derive, _case({"seconds": 1}, {"call": 1.0})),
    ],
)
def test_what_is_not_known_is_said_to_be_so(adapter: Adapter, case: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        adapter(case, {})


@pytest.mark.parametrize(
    ("adapter", "case"),
    [
        (dydx.margin, _case({**_MARKET, "quantums": 1, "exponent": 10**40}, {"initial": 1})),
        (lending.health, _case({"principal": -1, "base_decimals": 10**9}, {"liquidatable": True})),
    ],
)
def test_a_power_that_would_not_end_is_refused(adapter: Adapter, case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected a power of ten"):
        adapter(case, {})


def test_figures_beyond_every_float_fail_their_case_and_not_the_run(tmp_path: Path) -> None:
    cases = [_case({**_MARKET, "quantums": 10**400}, {"net_notional": 1}), _case({}, {"initial": 0})]
    (tmp_path / "margin_dydx.json").write_text(json.dumps({"cases": cases}), encoding="utf-8")
    (tally,) = run_folder(tmp_path).tallies
    assert (tally.passed, tally.failed) == (1, 1)
