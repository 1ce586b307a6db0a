"""health_close_factor_comet_aave: liquidatable or not, how much may be closed at once, and dust."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from services.risk_evaluation.domain.venue_models import aave_v3, comet
from services.risk_evaluation.domain.venue_models.arithmetic import BPS, WAD
from tools.conformance.comparison import EXACT, REFUSED, Figure, Json, Tolerance, Unsupported, compared, exponent

_COLLATERAL_DECIMALS = 18
# aave-v3-origin tests/mocks/AaveV3TestListing.sol, which the cases refer to: WETH 1800 USD, threshold 86 %, bonus 5 %.
_WETH_USD = 1800
_THRESHOLD_BPS = 8600
_BONUS_BPS = 500
_COMET_CLAIMS = {"liquidatable", "borrow_collateralized", "collateralized"}


def health(case: Json, file: Json) -> list[Figure]:
    """One account of either protocol."""
    raw, expected = case["inputs"], case["expected"]
    if "principal" in raw or (isinstance(expected, Mapping) and _COMET_CLAIMS & set(expected)):
        return _comet(raw, expected)
    return _aave(raw, expected)


def _scaled(value: Any, scale: int) -> int:
    return int(Decimal(str(value)) * scale)


def _comet(raw: Json, expected: Any) -> list[Figure]:
    unit = 10 ** exponent(raw.get("base_decimals", 6))
    held = raw.get("collaterals")
    if held is None:
        held = [raw] if "collateral" in raw else []
    names = [f"collateral-{at}" for at in range(len(held))]
    rules = tuple(
        comet.Collateral(
            name,
            _COLLATERAL_DECIMALS,
            _scaled(one.get("borrow_factor", one.get("liquidate_factor", 1)), WAD),
            _scaled(one.get("liquidate_factor", 1), WAD),
        )
        for name, one in zip(names, held, strict=True)
    )
    holdings = tuple(
        comet.Holding(
            name,
            _scaled(one.get("collateral", one.get("amount", 0)), 10**_COLLATERAL_DECIMALS),
            _scaled(one.get("price", 1), comet.PRICE_ONE),
        )
        for name, one in zip(names, held, strict=True)
    )
    parameters = comet.Parameters(base_decimals=exponent(raw.get("base_decimals", 6)), collaterals=rules)
    account = comet.Account(
        _scaled(raw.get("principal", 0), unit), _scaled(raw.get("base_price", 1), comet.PRICE_ONE), holdings
    )
    covered = comet.is_borrow_collateralised(parameters, account)
    got = {
        "liquidatable": comet.is_liquidatable(parameters, account),
        "borrow_collateralized": covered,
        "collateralized": covered,
    }
    return compared(expected if isinstance(expected, Mapping) else {"liquidatable": expected}, got, EXACT)


def _aave(raw: Json, expected: Any) -> list[Figure]:
    one = aave_v3.BASE_ONE
    parameters = aave_v3.Parameters(
        reserves=(),
        half_close_above=_scaled(raw.get("hf_full_close", "0.95"), WAD),
        half_close_least=_scaled(raw.get("min_base_for_half", 2000), one),
        leftover_least=_scaled(raw.get("min_leftover_base", 1000), one),
    )
    collateral, total = _collateral(raw)
    threshold = int(raw.get("liquidation_threshold_bps", _THRESHOLD_BPS))
    factor = _scaled(raw.get("desired_health_factor", raw.get("health_factor", "0.93")), WAD)
    if "debt_base" in raw:
        debt = _scaled(raw["debt_base"], one)
    elif factor:
        debt = total * threshold * WAD // (BPS * factor)
    else:
        raise Unsupported("an account without debt or health factor")
    if "liquidation_amount_base" in raw:
        # The case has other collateral beside the pair, so that the debt is far from being used up.
        debt = max(debt, 10 * total)
        pair = aave_v3.Pair(factor, collateral, debt, debt, int(raw.get("bonus_bps", _BONUS_BPS)))
        outcome = aave_v3.liquidate(parameters, pair, _scaled(raw["liquidation_amount_base"], one))
        return _liquidated(outcome, expected)
    share = aave_v3.close_factor_bps(parameters, health=factor, collateral=collateral, debt=debt)
    return compared(expected, {"close_factor": share / BPS, "debt_base": debt / one}, Tolerance(absolute=1e-12))


def _liquidated(outcome: aave_v3.Liquidation | aave_v3.LiquidationRefusal, expected: Any) -> list[Figure]:
    if isinstance(outcome, aave_v3.LiquidationRefusal):
        if isinstance(expected, dict):
            return compared(expected, {"accepted": False, "reverts": True}, EXACT)
        return [Figure(f"refused {outcome.name}", REFUSED, expected)]
    if isinstance(expected, str):
        return [Figure("refused", "accepted", expected)]
    got = {"repaid_base": outcome.repaid / aave_v3.BASE_ONE, "seized_base": outcome.seized / aave_v3.BASE_ONE}
    return compared(expected, {**got, "accepted": True, "reverts": False}, Tolerance(absolute=1e-8))


def _collateral(raw: Json) -> tuple[int, int]:
    """Collateral of the pair and of the whole account, 10^-8 USD."""
    one = aave_v3.BASE_ONE
    if "collateral_weth" in raw:
        worth = _scaled(raw["collateral_weth"], one) * int(raw.get("weth_price", _WETH_USD))
        return worth, worth
    if "collateral_each_base" in raw:
        worth = _scaled(raw["collateral_each_base"], one)
        return worth, worth * int(raw.get("collaterals", 1))
    if "collateral_base" in raw:
        worth = _scaled(raw["collateral_base"], one)
        return worth, worth
    raise Unsupported("an account without collateral")
