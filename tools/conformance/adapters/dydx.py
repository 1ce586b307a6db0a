"""margin_dydx and risk_compare_dydx: requirements, notional, whole accounts, who is riskier, what may change."""

from __future__ import annotations

from services.risk_evaluation.domain.venue_models.dydx_v4 import (
    Account,
    Market,
    Parameters,
    Position,
    Risk,
    account_risk,
    may_change,
    notional,
    position_risk,
    riskier,
)
from tools.conformance.comparison import EXACT, Figure, Json, Unsupported, compared

_COIN_RESOLUTION = -6  # of test accounts that name none


def margin(case: Json, file: Json) -> list[Figure]:
    """One position, one account, or one change of an account."""
    raw, expected = case["inputs"], case["expected"]
    if "positions" in raw or not ({"quantums", "oldNC"} & set(raw)):
        return compared(expected, _account(raw), EXACT)
    if "oldNC" in raw:
        allowed = may_change(_risk(raw, "old"), _risk(raw, "new"))
        return compared(expected, {"result": "Success" if allowed else "StillUndercollateralized"}, EXACT)
    market = _market(raw, raw)
    size, price = int(raw["quantums"]), int(raw["price"])
    one = position_risk(market, Position(market.name, size, price, int(raw.get("open_interest", 0)), _own(raw)))
    got = {"initial": one.imr, "maintenance": one.mmr, "net_notional": notional(market, size, price)}
    return compared(expected, {**got, "net_collateral": one.nc}, EXACT)


def _own(raw: Json) -> int:
    return int(raw.get("custom_imf_ppm", raw.get("own_imf_ppm", 0)))


def _market(one: Json, shared: Json, name: str = "market") -> Market:
    def field(key: str, otherwise: int | None = None) -> int:
        value = one.get(key, shared.get(key, otherwise))
        if value is None:
            raise Unsupported(f"a position without {key}")
        return int(value)

    return Market(
        name=name,
        base_resolution=field("base_resolution", _COIN_RESOLUTION),
        price_exponent=field("exponent", 0),
        initial_margin_ppm=field("imf_ppm", 0),
        maintenance_fraction_ppm=field("mf_of_imf_ppm", 0),
        oi_lower_cap=field("oi_lower_cap", 0),
        oi_upper_cap=field("oi_upper_cap", 0),
    )


def _account(raw: Json) -> dict[str, int]:
    markets, positions = [], []
    for at, one in enumerate(raw.get("positions", [])):
        markets.append(_market(one, raw, f"market-{at}"))
        positions.append(
            Position(
                f"market-{at}",
                int(one["quantums"]),
                int(one.get("price", raw.get("price", 0))),
                int(one.get("open_interest", 0)),
            )
        )
    got = account_risk(Parameters(tuple(markets)), Account(int(raw.get("usdc", 0)), tuple(positions)))
    return {"net_collateral": got.nc, "initial": got.imr, "maintenance": got.mmr}


def _risk(raw: Json, prefix: str = "") -> Risk:
    return Risk(int(raw.get(f"{prefix}NC", 0)), int(raw.get(f"{prefix}IMR", 0)), int(raw.get(f"{prefix}MMR", 0)))


def risk_compare(case: Json, file: Json) -> list[Figure]:
    """A claim about one account, or the order or sum of two."""
    raw, expected = case["inputs"], case["expected"]
    if "first" in raw:
        return [Figure("cmp", riskier(_risk(raw["first"]), _risk(raw["second"])), expected)]
    if "a" in raw and "b" in raw:
        total = _risk(raw["a"]) + _risk(raw["b"])
        return compared(expected, {"NC": total.nc, "IMR": total.imr, "MMR": total.mmr}, EXACT)
    one = _risk(raw["risk"])
    claims = {
        "IsInitialCollateralized": one.is_initial_collateralised,
        "IsMaintenanceCollateralized": one.is_maintenance_collateralised,
        "IsLiquidatable": one.is_liquidatable,
    }
    for name, claim in claims.items():
        if name in case["test"]:
            return [Figure(name, claim, expected)]
    raise Unsupported(f"a claim that is none of {sorted(claims)}")
