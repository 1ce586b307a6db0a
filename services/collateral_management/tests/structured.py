"""The committed parameters with digital options, and packages of legs that end with them."""

from __future__ import annotations

from typing import Any

from libs.common.parameters import Parameters
from services.collateral_management.tests.dated import EXPIRY_S, with_dated

DIGITAL_CALL, DIGITAL_PUT, SURE, STRANGLE, NOTE, COIN_MIX, DELIVERED = range(51, 58)

_DIGITAL: dict[str, Any] = {
    "kind": "digital_option", "underlying": "BTC", "quote": "USD", "lot": "1", "tick": "0.0001",
    "lowest_price": "0.0001", "highest_price": "1", "max_order_lots": 100_000, "expiry_s": EXPIRY_S,
}  # fmt: skip
_PACKAGE: dict[str, Any] = {
    "kind": "package", "underlying": "BTC", "quote": "USD", "lot": "0.01", "tick": "0.01",
    "lowest_price": "0.01", "highest_price": "1000000", "max_order_lots": 10_000, "expiry_s": EXPIRY_S,
}  # fmt: skip


def leg(symbol: str, lots: int) -> dict[str, Any]:
    """A leg of options."""
    return {"instrument": symbol, "lots": lots}


def coins(amount: str, asset: str = "BTC") -> dict[str, Any]:
    """A leg of an asset."""
    return {"asset": asset, "amount": amount}


STRANGLE_BLOCK: dict[str, Any] = {
    **_PACKAGE, "id": STRANGLE, "symbol": "BTC-STRANGLE",
    "legs": [coins("0.01"), leg("BTC-PUT", -1), leg("BTC-CALL", -1)],
}  # fmt: skip
# 150 USD at the expiry, or 0.01 coins at 15,000 when the price ends below; 5 USD on top when it does not.
NOTE_BLOCK: dict[str, Any] = {
    **_PACKAGE, "id": NOTE, "symbol": "BTC-NOTE",
    "legs": [leg("BTC-SURE", 150), leg("BTC-PUT", -1), leg("BTC-DIGITAL-CALL", 5)],
}  # fmt: skip
BLOCKS: list[dict[str, Any]] = [
    {**_DIGITAL, "id": DIGITAL_CALL, "symbol": "BTC-DIGITAL-CALL", "option": "call", "strike": "15000"},
    {**_DIGITAL, "id": DIGITAL_PUT, "symbol": "BTC-DIGITAL-PUT", "option": "put", "strike": "15000"},
    {**_DIGITAL, "id": SURE, "symbol": "BTC-SURE", "option": "call", "strike": "0"},
    STRANGLE_BLOCK,
    NOTE_BLOCK,
    {**_PACKAGE, "id": COIN_MIX, "symbol": "BTC-MIX", "legs": [coins("-20", "USD"), leg("BTC-COIN-CALL", 3)]},
    {**_PACKAGE, "id": DELIVERED, "symbol": "BTC-EXCHANGED", "legs": [coins("150", "USD"), leg("BTC-PUT-D", -1)]},
]


def with_packages(*more: dict[str, Any]) -> Parameters:
    """The committed parameters and all of these."""
    return with_dated(*BLOCKS, *more)
