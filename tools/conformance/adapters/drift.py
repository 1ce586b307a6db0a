"""margin_weights_drift: weights and ratios by size, and whole accounts with open orders."""

from __future__ import annotations

from decimal import Decimal

from services.risk_evaluation.domain.venue_models.drift_v2 import (
    Account,
    Parameters,
    PerpMarket,
    PerpPosition,
    Price,
    SpotMarket,
    SpotPosition,
    account_margin,
)
from services.risk_evaluation.domain.venue_models.drift_weights import (
    ONE,
    MarginType,
    by_type,
    high_leverage_initial_ratio,
    margin_ratio,
    scaled_initial_weight,
    size_premium,
    size_weight,
    spot_asset_weight,
    spot_liability_weight,
)
from tools.conformance.comparison import EXACT, Figure, Json, Unsupported, compared, exponent

_TYPES = {"initial": MarginType.INITIAL, "fill": MarginType.FILL, "maintenance": MarginType.MAINTENANCE}
_QUOTE_DECIMALS = 6
_COIN_DECIMALS = 9


def weights(case: Json, file: Json) -> list[Figure]:
    """One function of one case."""
    function = FUNCTIONS.get(case["function"])
    if function is None:
        raise Unsupported(f"function {case['function']!r}")
    return function(case["inputs"], case["expected"])


def _figure(name: str, got: int, expected: object) -> list[Figure]:
    return [Figure(name, got, expected)]


def _by_type(raw: Json, name: str) -> tuple[int, int, MarginType]:
    """Initial and maintenance figure and the test; one figure alone stands for every test."""
    if f"{name}_1e4" in raw:
        return int(raw[f"{name}_1e4"]), int(raw[f"{name}_1e4"]), MarginType.INITIAL
    return int(raw["initial_1e4"]), int(raw["maintenance_1e4"]), _TYPES[raw["type"]]


def _asset_weight(raw: Json, expected: object) -> list[Figure]:
    initial, maintenance, kind = _by_type(raw, "base_weight")
    got = spot_asset_weight(
        size=int(raw["token_amount"]),
        decimals=exponent(raw["decimals"]),
        imf_factor=int(raw["imf_factor_1e6"]),
        initial=initial,
        maintenance=maintenance,
        kind=kind,
    )
    return _figure("asset_weight", got, expected)


def _liability_weight(raw: Json, expected: object) -> list[Figure]:
    got = spot_liability_weight(
        size=int(raw["token_amount"]),
        decimals=exponent(raw["decimals"]),
        imf_factor=int(raw["imf_factor_1e6"]),
        weight=by_type(*_by_type(raw, "base_weight")),
    )
    return _figure("liability_weight", got, expected)


def _scaled(raw: Json, expected: object) -> list[Figure]:
    decimals = exponent(raw.get("decimals", _COIN_DECIMALS))
    got = scaled_initial_weight(
        weight=int(raw["initial_weight_1e4"]),
        all_deposits_value=int(raw["deposits"]) * int(raw["price_1e6"]) // 10**decimals,
        scale_start=int(raw["scale_start_value_1e6"]),
    )
    return _figure("scaled_initial_asset_weight", got, expected)


def _ratio(raw: Json, expected: object) -> list[Figure]:
    kind = _TYPES[raw["type"]]
    size = int(raw.get("size", raw.get("base_amount", 10**_COIN_DECIMALS)))
    imf = int(raw.get("imf_factor", raw.get("imf_factor_1e6", 0)))
    high = "high_leverage_initial_1e4" in raw
    prefix = "high_leverage_" if high else ""
    initial = int(raw.get(f"{prefix}initial_1e4", 0))
    maintenance = int(raw.get(f"{prefix}maintenance_1e4", 0))
    if high and imf and kind is MarginType.INITIAL:
        got = high_leverage_initial_ratio(size=size, imf_factor=imf, high=initial, normal=int(raw["initial_1e4"]))
    else:
        got = margin_ratio(size=size, imf_factor=imf, ratio=by_type(initial, maintenance, kind))
    return _figure("margin_ratio", got, expected)


def _pnl_weight(raw: Json, expected: object) -> list[Figure]:
    pnl = int(raw.get("unrealized_pnl", raw.get("pnl", 0)))
    got = size_weight(
        size=max(pnl, 0) * 1000, imf_factor=int(raw["imf_factor_1e6"]), weight=int(raw["base_weight_1e4"])
    )
    return _figure("unrealized_asset_weight", got, expected)


def _premium(raw: Json, expected: object) -> list[Figure]:
    got = size_premium(size=int(raw["size"]), imf_factor=int(raw["imf_factor_1e6"]), weight=int(raw["base_weight_1e4"]))
    return _figure("size_premium", got, expected)


def _account(raw: Json, expected: object) -> list[Figure]:
    if not isinstance(expected, dict):
        raise Unsupported("an account without named figures")
    unknown = sorted(set(raw) - _ACCOUNT_FIELDS)
    if unknown:
        raise Unsupported(f"account fields {unknown}")
    usdc = Price(int(raw.get("usdc_price_1e6", 10**6)), raw.get("usdc_twap5m_1e6"))
    spot = [SpotPosition("USDC", _units(raw.get("usdc_deposit", 0), _QUOTE_DECIMALS), usdc)]
    markets = [SpotMarket("USDC", _QUOTE_DECIMALS, ONE, ONE, ONE, ONE)]
    coin = raw.get("sol")
    if coin is not None:
        market, position = _coin(raw, coin)
        markets.append(market)
        spot.append(position)
    perp_markets, perps = _perps(raw)
    got = account_margin(
        Parameters("USDC", tuple(markets), perp_markets, open_order=int(raw.get("open_order_requirement_1e6", 10_000))),
        Account(tuple(spot), perps, own_ratio=int(raw.get("max_margin_ratio_1e4", 0))),
        _TYPES[raw.get("type", "initial")],
        strict=bool(raw.get("strict", False)),
    )
    return compared(
        expected, {"margin_requirement_1e6": got.requirement, "total_collateral_1e6": got.collateral}, EXACT
    )


_ACCOUNT_FIELDS = {
    "type", "strict", "usdc_deposit", "usdc_price_1e6", "usdc_twap5m_1e6", "sol", "sol_deposit", "sol_borrow",
    "sol_open_bids", "sol_open_asks", "open_orders", "open_order_requirement_1e6", "max_margin_ratio_1e4", "sol_perp",
    "perp_base", "note",
}  # fmt: skip


def _units(amount: int | float, decimals: int) -> int:
    return int(Decimal(str(amount)).scaleb(decimals))


def _coin(raw: Json, coin: Json) -> tuple[SpotMarket, SpotPosition]:
    decimals = exponent(coin.get("decimals", _COIN_DECIMALS))
    asset = int(coin["asset_weight_initial"])
    liability = int(coin["liability_weight_initial"])
    held = raw.get("sol_deposit", coin.get("deposit", 0)) - raw.get("sol_borrow", coin.get("borrow", 0))
    market = SpotMarket(
        "SOL",
        decimals,
        asset,
        int(coin.get("asset_weight_maintenance", asset)),
        liability,
        int(coin.get("liability_weight_maintenance", liability)),
    )
    position = SpotPosition(
        "SOL",
        _units(held, decimals),
        Price(int(coin["price_1e6"]), coin.get("twap5m_1e6")),
        bids=_units(abs(raw.get("sol_open_bids", 0)), decimals),
        asks=_units(abs(raw.get("sol_open_asks", 0)), decimals),
        open_orders=int(raw.get("open_orders", 0)),
    )
    return market, position


def _perps(raw: Json) -> tuple[tuple[PerpMarket, ...], tuple[PerpPosition, ...]]:
    rules = raw.get("sol_perp")
    if rules is None:
        return (), ()
    market = PerpMarket("SOL-PERP", int(rules["margin_ratio_initial"]), int(rules["margin_ratio_maintenance"]))
    base = _units(raw.get("perp_base", rules.get("base", 0)), _COIN_DECIMALS)
    return (market,), (PerpPosition("SOL-PERP", base, int(rules.get("pnl_1e6", 0)), int(rules["price_1e6"])),)


FUNCTIONS = {
    "asset_weight": _asset_weight,
    "liability_weight": _liability_weight,
    "scaled_initial_asset_weight": _scaled,
    "margin_ratio": _ratio,
    "unrealized_asset_weight": _pnl_weight,
    "size_premium": _premium,
    "account_margin": _account,
}
