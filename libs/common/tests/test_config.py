"""Parameter sets: what is committed loads, and each bad value is refused with its path and its bound."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from libs.common.config import LoadedParameters, load_parameters
from libs.common.errors import ConfigurationError
from libs.common.parameters import InstrumentKind

CONFIG = Path(__file__).resolve().parents[3] / "config"
COMMITTED = load_parameters(CONFIG)
CONTENT: dict[str, Any] = json.loads(COMMITTED.canonical_json)
Change = Callable[[dict[str, Any]], object]


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """The committed set with one value replaced."""
    content = copy.deepcopy(CONTENT)
    place: Any = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return content


def load(directory: Path, content: object, *, text: str | None = None) -> LoadedParameters:
    """Loads a set from one file."""
    (directory / "all.yaml").write_text(yaml.safe_dump(content) if text is None else text, encoding="utf-8")
    return load_parameters(directory)


def test_one_file_or_many_are_the_same_set(tmp_path: Path) -> None:
    assert load(tmp_path, CONTENT).hash == COMMITTED.hash
    assert LoadedParameters(COMMITTED.canonical_json).parameters == COMMITTED.parameters


def test_any_other_value_is_another_set(tmp_path: Path) -> None:
    assert load(tmp_path, changed("ledger", "send_by_s", to=601)).hash != COMMITTED.hash


@pytest.mark.parametrize(
    ("symbol", "kind", "base_units", "exponent", "c", "max_price"),
    [
        ("BTC-USD", InstrumentKind.SPOT, 100_000, -2, (10, 1), 10**9),  # a lot of 0.001 BTC moves 10 µUSD a cent
        ("LTC-USD", InstrumentKind.SPOT, 1_000_000, -4, (1, 1), 10**9),
        ("BTC-USD-PERP", InstrumentKind.LINEAR_PERP, 100_000, -2, (10, 1), 10**9),
        ("BTC-USD-INV", InstrumentKind.INVERSE_PERP, 0, -2, (10**10, 1), 10**9),  # 1 USD is 10^10 / cents satoshi
    ],
)
def test_human_units_become_exact_integers(
    symbol: str, kind: InstrumentKind, base_units: int, exponent: int, c: tuple[int, int], max_price: int
) -> None:
    one = next(each for each in COMMITTED.parameters.instruments if each.symbol == symbol)
    assert (one.kind, one.base_units_per_lot, one.price_exponent) == (kind, base_units, exponent)
    assert ((one.c_num, one.c_den), one.max_price) == (c, max_price)
    usd, btc = (next(a.id for a in COMMITTED.parameters.assets if a.symbol == name) for name in ("USD", "BTC"))
    assert one.settlement == (btc if kind is InstrumentKind.INVERSE_PERP else usd)


def test_a_set_without_profiles_keeps_its_static_volatilities(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    del content["margin"]["profiles"]
    margin = load(tmp_path, content).parameters.margin
    assert margin.profiles == ()
    assert margin.assets == COMMITTED.parameters.margin.assets


BAD: list[tuple[tuple[str | int, ...], Any, str, str]] = [
    (("partitions",), 0, "partitions", "greater than or equal to 1"),
    (("partitions",), "4", "partitions", "valid integer"),
    (("partitions",), True, "partitions", "valid integer"),
    (("genesis_s",), -1, "genesis_s", "greater than or equal to 0"),
    (("assets",), [], "assets", "at least 1 item"),
    (("assets", 1, "id"), 2048, "assets.1.id", "less than or equal to 2047"),
    (("assets", 1, "id"), 1, "", "each asset once"),
    (("assets", 1, "symbol"), "btc", "assets.1.symbol", "pattern"),
    (("assets", 1, "decimals"), 13, "assets.1.decimals", "less than or equal to 12"),
    (("assets", 1, "largest_supply"), "0", "assets.1.largest_supply", "above 0"),
    (("assets", 1, "largest_supply"), "46116860184.27387904", "assets.1", "below 2^62"),
    (("assets", 1, "price_instrument"), "BTC-EUR", "", "a declared symbol, was BTC-EUR"),
    (("assets", 1, "price_instrument"), "ETH-USD", "", "spot instrument as price of BTC"),
    (("assets", 1, "price_instrument"), "BTC-USD-PERP", "", "spot instrument as price of BTC"),
    (("assets", 1, "price_instrument"), None, "", "spot instrument as price of BTC"),
    (("assets", 1, "unknown"), 1, "assets.1.unknown", "not permitted"),
    (("instruments", 0, "kind"), "future", "instruments.0.kind", "pattern"),
    (("instruments", 0, "quote"), "EUR", "", "a declared symbol, was EUR"),
    (("instruments", 0, "lot"), "-1", "instruments.0.lot", "above 0"),
    (("instruments", 0, "lot"), 0.001, "instruments.0.lot", "valid string"),
    (("instruments", 0, "lot"), "1e-3", "instruments.0.lot", "pattern"),
    (("instruments", 0, "lot"), "nan", "instruments.0.lot", "pattern"),
    (("instruments", 0, "lot"), "0.000000001", "BTC-USD: lot", "at most 8 digits"),
    (("instruments", 0, "tick"), "0.02", "BTC-USD: tick", "a power of ten"),
    (("instruments", 0, "tick"), "0.1", "BTC-USD", "at most 1 bp of lowest_price"),
    (("instruments", 0, "lowest_price"), "100.001", "BTC-USD: lowest_price", "at most 2 digits"),
    (("instruments", 0, "highest_price"), "99", "instruments.0", "up to 99"),
    (("instruments", 0, "max_order_lots"), 0, "instruments.0.max_order_lots", "greater than or equal to 1"),
    (("instruments", 0, "max_order_lots"), 2**40, "BTC-USD: max_order_lots", "below 2^62"),
    (("instruments", 6, "max_order_lots"), 2**40, "BTC-USD-INV: max_order_lots", "below 2^62"),
    (("instruments", 1, "symbol"), "BTC-USD", "", "each instrument once"),
    (("venues", 0, "name"), "North", "venues.0.name", "pattern"),
    (("venues", 0, "instruments"), ["DOGE-USD"], "", "a declared symbol, was DOGE-USD"),
    (("venues", 0, "taker_fee"), "1.1", "venues.0.taker_fee", "from 0 to 1"),
    (("venues", 0, "taker_fee"), "0.0000001", "venues.0.taker_fee", "at most 6 digits"),
    (("venues", 1, "name"), "north", "", "each venue once"),
    (("pools", 0, "optimal_utilisation"), "1", "pools.0.optimal_utilisation", "above 0 to below 1"),
    (("pools", 0, "optimal_utilisation"), "0", "pools.0.optimal_utilisation", "above 0 to below 1"),
    (("pools", 0, "base_rate"), "-0.01", "pools.0.base_rate", "from 0 to 1000"),
    (("pools", 0, "reserve_factor"), "1.01", "pools.0.reserve_factor", "from 0 to 1"),
    (("pools", 0, "dust"), "0.0000001", "USD pool: dust", "at most 6 digits"),
    (("pools", 1, "asset"), "USD", "", "each pool once"),
    (("margin", "blend"), "1.5", "margin.blend", "from 0 to 1"),
    (("margin", "initial_over_maintenance"), "1.09", "margin.initial_over_maintenance", "from 1.1 to 10"),
    (("margin", "grid"), [], "margin.grid", "at least 3 items"),
    (("margin", "grid"), ["-1", "0.5", "1"], "margin", "sorted from -1 to 1 with 0"),
    (("margin", "grid"), ["-1", "0", "0", "1"], "margin", "sorted from -1 to 1 with 0"),
    (("margin", "grid"), ["-1", "0", "1.1"], "margin.grid.2", "from -1 to 1"),
    (("margin", "withdrawal_notional"), "-0.1", "margin.withdrawal_notional", "from 0 to 1"),
    (("margin", "assets", 0, "sigma"), "0", "margin.assets.0.sigma", "above 0"),
    (("margin", "assets", 0, "maintenance_z"), "9", "margin.assets.0", "not above its initial range"),
    (("margin", "assets", 0, "daily_volume_usd"), 0, "margin.assets.0.daily_volume_usd", "greater than or equal to 1"),
    (("margin", "assets", 0, "participation"), "1.1", "margin.assets.0.participation", "from 0 to 1"),
    (("margin", "assets", 0, "house_notional_usd"), -1, "margin.assets.0.house_notional_usd", "equal to 0"),
    (("margin", "assets", 1, "asset"), "BTC", "", "each margin asset once"),
    (("margin", "assets", 2, "asset"), "USD", "", "a margin block of LTC"),
    (("margin", "stresses", 0, "moves"), {"BTC": "-1.01"}, "margin.stresses.0.moves.BTC", "from -1"),
    (("margin", "stresses", 0, "moves"), {"EUR": "-0.5"}, "", "a declared symbol, was EUR"),
    (("prices", "band"), "0", "prices.band", "above 0 to 1"),
    (("prices", "max_age_s"), 0, "prices.max_age_s", "greater than or equal to 1"),
    (("ledger", "session_outcomes"), 1, "ledger.session_outcomes", "greater than or equal to 16"),
    (("ledger", "step_orders_max"), 33, "ledger.step_orders_max", "less than or equal to 32"),
    (("ledger", "index_step_max"), "0", "ledger.index_step_max", "above 0 to 1"),
    (("ledger", "liquidation_fee"), "two", "ledger.liquidation_fee", "pattern"),
    (("liquidation", "target"), "0.99", "liquidation.target", "from 1 to 10"),
    (("liquidation", "participation"), "0", "liquidation.participation", "above 0 to 1"),
    (("liquidation", "collar"), "1", "liquidation.collar", "above 0 to below 1"),
    (("schedule", "funding_rate"), "1.1", "schedule.funding_rate", "from -1 to 1"),
    (("schedule", "interest_every_s"), 367 * 86_400, "schedule.interest_every_s", "less than or equal to"),
    (("principals", 0, "role"), "root", "principals.0.role", "pattern"),
    (("principals", 1, "id"), "custodian", "", "each principal once"),
    (("margin", "profiles", 0, "floor"), "0", "margin.profiles.0.floor", "above 0"),
    (("margin", "profiles", 0, "stressed_weight"), "0.24", "margin.profiles.0.stressed_weight", "from 0.25 to 1"),
    (("margin", "profiles", 0, "ceiling"), "2.49", "margin.profiles.0", "ceiling of at least 2.5"),
    (("margin", "profiles", 0, "slow_half_life_s"), 259_199, "margin.profiles.0", "slow_half_life_s from 259200"),
    (("margin", "profiles", 0, "sample_every_s"), 604_801, "margin.profiles.0", "1 to 1000 samples"),
    (("margin", "profiles", 0, "notice_s"), 14_400_001, "margin.profiles.0", "1 to 1000 samples"),
    (("margin", "profiles", 0, "maintenance_rise_per_hour"), "1.01", "margin.profiles.0.maintenance", "above 0 to 1"),
    (("margin", "profiles", 1, "asset"), "BTC", "", "each volatility profile once"),
    (("margin", "profiles", 1, "asset"), "USD", "", "a margin block of USD"),
    (("margin",), None, "margin", "dictionary"),
]


@pytest.mark.parametrize(("path", "value", "named", "bound"), BAD, ids=lambda each: str(each)[:40])
def test_a_bad_value_is_refused_by_path_and_bound(
    tmp_path: Path, path: tuple[str | int, ...], value: object, named: str, bound: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, changed(*path, to=value))
    assert named in str(refused.value)
    assert bound in str(refused.value), str(refused.value)


@pytest.mark.parametrize("block", sorted(CONTENT))
def test_a_missing_block_is_named(tmp_path: Path, block: str) -> None:
    content = copy.deepcopy(CONTENT)
    del content[block]
    with pytest.raises(ConfigurationError, match=f"{block}: Field required"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "all.yaml: expected blocks by name"),
        ("- 1\n- 2\n", "all.yaml: expected blocks by name"),
        ("7: {}\n", "all.yaml: expected blocks by name"),
        ("assets: [", "all.yaml: "),
        ("assets: !!python/object/apply:os.system ['true']\n", "all.yaml: could not determine a constructor"),
        ("partitions: 4\npartitions: 8\n", "all.yaml: expected partitions once"),
        ("ledger:\n  send_by_s: 1\n  send_by_s: 2\n", "all.yaml: expected send_by_s once"),
        ("surprise: 1\n", "surprise: Extra inputs|Field required"),
    ],
)
def test_a_file_that_is_no_parameter_file_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load(tmp_path, None, text=text)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigurationError, match=r"all\.yaml"):
        load_parameters(tmp_path)


def test_a_block_stands_in_one_file_only(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("partitions: 4\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"more\.yaml: expected partitions in one file only"):
        load(tmp_path, CONTENT)


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="found none"):
        load_parameters(tmp_path)
