"""The committed parameters with dated futures and options on BTC: paid in cash or coins, delivered, internal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ballast.types.v1 import ledger_pb2 as words
from libs.common.config import LoadedParameters, load_parameters
from libs.common.parameters import Parameters
from libs.common.units import SECOND_NS
from services.collateral_management.tests.story import Story

CALL, PUT, COIN_CALL, FUTURE, INVERSE_FUTURE, DELIVERED_CALL, DELIVERED_FUTURE, DELIVERED_PUT, INTERNAL = range(31, 40)
STRIKE = 1_500_000  # 15,000 USD
DAYS = 30

_COMMITTED = load_parameters(Path(__file__).parents[3] / "config")
_GENESIS_S = int(_COMMITTED.parameters.genesis_ns) // SECOND_NS
EXPIRY_S = _GENESIS_S + DAYS * 86_400

_LINEAR = {"underlying": "BTC", "quote": "USD", "lot": "0.01", "tick": "0.01", "highest_price": "1000000"}
_FUTURE: dict[str, Any] = {**_LINEAR, "lowest_price": "100", "max_order_lots": 100_000, "expiry_s": EXPIRY_S}
_OPTION: dict[str, Any] = {**_FUTURE, "kind": "linear_option", "lowest_price": "0.01", "strike": "15000"}
_COIN = {**_OPTION, "kind": "coin_option", "tick": "0.0001", "lowest_price": "0.0001", "highest_price": "10"}
DATED: list[dict[str, Any]] = [
    {**_OPTION, "id": CALL, "symbol": "BTC-CALL", "option": "call"},
    {**_OPTION, "id": PUT, "symbol": "BTC-PUT", "option": "put"},
    {**_COIN, "id": COIN_CALL, "symbol": "BTC-COIN-CALL", "option": "call"},
    {**_FUTURE, "id": FUTURE, "symbol": "BTC-FUTURE", "kind": "linear_future"},
    {**_FUTURE, "id": INVERSE_FUTURE, "symbol": "BTC-INV-FUTURE", "kind": "inverse_future", "lot": "1"},
    {**_OPTION, "id": DELIVERED_CALL, "symbol": "BTC-CALL-D", "option": "call", "delivery": "physical"},
    {**_FUTURE, "id": DELIVERED_FUTURE, "symbol": "BTC-FUTURE-D", "kind": "linear_future", "delivery": "physical"},
    {**_OPTION, "id": DELIVERED_PUT, "symbol": "BTC-PUT-D", "option": "put", "delivery": "physical"},
    {**_FUTURE, "id": INTERNAL, "symbol": "BTC-INTERNAL", "kind": "linear_perp", "clearing": "internal"},
]
del DATED[-1]["expiry_s"]


def with_dated(*more: dict[str, Any]) -> Parameters:
    """The committed parameters and every instrument of `DATED`, all traded at the first venue."""
    content: dict[str, Any] = json.loads(_COMMITTED.canonical_json)
    content["instruments"] += [*DATED, *more]
    content["venues"][0]["instruments"] += [one["symbol"] for one in (*DATED, *more)]
    return LoadedParameters(json.dumps(content)).parameters


def expire(story: Story, instrument: int, price: int, **fields: Any) -> words.Refusal:
    """Refusal of a closing at the expiry."""
    story.now_ns = max(story.now_ns, EXPIRY_S * SECOND_NS)
    return story.do("close_instrument", instrument=instrument, price=price, mark_sequence=9, **fields).refusal
