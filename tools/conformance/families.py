"""Which adapter reads which family of cases; families whose model comes later are named, and skipped."""

from __future__ import annotations

from collections.abc import Callable

from tools.conformance.adapters import derive, drift, dydx, lending, options
from tools.conformance.comparison import Figure, Json

Adapter = Callable[[Json, Json], list[Figure]]

FAMILIES: dict[str, Adapter] = {
    "health_close_factor_comet_aave": lending.health,
    "margin_dydx": dydx.margin,
    "margin_weights_drift": drift.weights,
    "options_black76_derive": options.black76_derive,
    "options_quantlib_haug": options.quantlib_haug,
    "portfolio_margin_derive_pm2": derive.portfolio_margin,
    "risk_compare_dydx": dydx.risk_compare,
}

# Known, and not owned by a model yet: skipped, and a failure under STRICT.
LATER: dict[str, str] = {
    "accrual_ray_math_aave_v3": "interest indices in Aave's rounding",
    "funding": "funding of dYdX and Drift",
    "funding_derive_perp": "funding of Derive",
    "funding_dydx_drift": "funding of dYdX and Drift",
    "funding_velocity_synthetix": "funding of Synthetix",
    "greeks_margin_simm_ore": "ISDA SIMM",
    "interest_withdraw_limits_drift": "rates and withdrawal limits of Drift",
    "liquidation_auction_derive": "liquidation auctions",
    "liquidation_drift": "liquidation arithmetic of Drift",
    "liquidation_insurance_deleveraging_dydx": "insurance fund and deleveraging of dYdX",
    "oracle_median_redstone": "oracle guards",
    "oracle_pyth_aggregate": "oracle guards",
    "oracle_pyth_ema": "oracle guards",
    "oracle_validity_drift": "oracle guards",
    "rates_adaptive_curve_morpho": "rate curves of other protocols",
    "rates_kinked_aave_v3": "rate curves of other protocols",
    "rates_kinked_derive_comet": "rate curves of other protocols",
}
