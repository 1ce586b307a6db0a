"""margin_dydx and risk_compare_dydx: requirements, notional, whole accounts, who is riskier, what may change."""

from __future__ import annotations

from collections.abc import Mapping

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
from tools.conformance.comparison import EXACT, Figure, Json, Unsupported, compared, exponent

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
    return compared(expected, {**got, "net_collateral": one.nc + _quote(raw)}, EXACT)


def _quote(raw: Json) -> int:
    return int(raw.get("usdc", raw.get("quote", raw.get("quote_balance", 0))))


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
        base_resolution=exponent(field("base_resolution", _COIN_RESOLUTION)),
        price_exponent=exponent(field("exponent", 0)),
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
                int(one.get("open_interest", raw.get("open_interest", 0))),
                _own(one) or _own(raw),
            )
        )
    got = account_risk(Parameters(tuple(markets)), Account(_quote(raw), tuple(positions)))
    return {"net_collateral": got.nc, "initial": got.imr, "maintenance": got.mmr}


def _risk(raw: Json | None, prefix: str = "") -> Risk:
    # A figure that is not given, or given as nothing, is one that the tests leave at its zero value.
    nc, imr, mmr = (int((raw or {}).get(f"{prefix}{name}") or 0) for name in ("NC", "IMR", "MMR"))
    return Risk(nc, imr, mmr)


_PAIRS = (("first", "second"), ("a", "b"))


def _two(raw: Json) -> tuple[Risk, Risk] | None:
    """The accounts of a case about two, however it names them."""
    for left, right in _PAIRS:
        if left in raw and right in raw:
            return _risk(raw[left]), _risk(raw[right])
        if any(name.startswith(left) for name in raw) and any(name.startswith(right) for name in raw):
            return _risk(raw, left), _risk(raw, right)
    return None


def risk_compare(case: Json, file: Json) -> list[Figure]:
    """A claim about one account, or the order or sum of two."""
    raw, expected = case["inputs"], case["expected"]
    pair = _two(raw)
    if pair is not None and isinstance(expected, Mapping):
        total = pair[0] + pair[1]
        return compared(expected, {"NC": total.nc, "IMR": total.imr, "MMR": total.mmr}, EXACT)
    if pair is not None:
        return [Figure("cmp", riskier(*pair), expected)]
    one = _risk(raw.get("risk", raw))
    claims = {
        "IsInitialCollateralized": one.is_initial_collateralised,
        "IsMaintenanceCollateralized": one.is_maintenance_collateralised,
        "IsLiquidatable": one.is_liquidatable,
    }
    for name, claim in claims.items():
        if name in str(case.get("test", case.get("function", ""))):
            return [Figure(name, claim, expected)]
    raise Unsupported(f"a claim that is none of {sorted(claims)}")
