"""A dry run says what a parameter set would do to the live book, and refuses what is none."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ballast.api.v1 import risk_pb2 as api
from ballast.events.v1 import journal_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.config import LoadedParameters, load_parameters
from libs.common.errors import ConfigurationError
from services.risk_evaluation.app.dry_run import DryRuns
from services.risk_evaluation.app.questions import CANDIDATES_MAX, Refused, what_if
from services.risk_evaluation.app.risk import Behind
from services.risk_evaluation.app.shadow import ROWS_MAX, Shadow
from services.risk_evaluation.domain.margin import State
from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.tests.hand import Desk, attributes, order, posting
from services.risk_evaluation.tests.world import BTC_PERP, DOLLAR, USD, account

CASH, LOTS, VARIATION = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_VARIATION
MARK = 6_000_000  # 60,000.00; a lot is 0.001 BTC
RICH, POOR, BARE = account(1), account(2), account(3)
BLOCK_SECONDS_MAX = 3.0
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def loaded() -> LoadedParameters:
    return load_parameters(Path(__file__).resolve().parents[3] / "config")


def changed(loaded: LoadedParameters, change: Change) -> str:
    content = json.loads(loaded.canonical_json)
    change(content)
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def sigma(value: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        for one in content["margin"]["assets"]:
            one["sigma"] = value
        content["margin"].pop("profiles", None)

    return change


def holding(of: int, cash: int, lots: int = 0) -> list[journal_pb2.Effect]:
    effects = [attributes(of), posting(of, USD, CASH, cash * DOLLAR)]
    if lots:
        effects += [posting(of, BTC_PERP, LOTS, lots), posting(of, BTC_PERP, VARIATION, -lots * 60 * DOLLAR)]
    return effects


async def desk_of(loaded: LoadedParameters, *effects: journal_pb2.Effect, **options: Any) -> Desk:
    desk = Desk(model=build_model(loaded.parameters), **options)
    await desk.journal(*effects)
    await desk.marks(MARK)
    return desk


async def three(loaded: LoadedParameters, **options: Any) -> Desk:
    effects = holding(RICH, 100_000, 1_000) + holding(POOR, 12_000, 1_000) + holding(BARE, 10)
    return await desk_of(loaded, *effects, **options)


async def test_the_set_in_force_changes_nothing(loaded: LoadedParameters) -> None:
    desk = await three(loaded)
    runs = DryRuns(desk.risk, loaded.parameters)
    answer = await runs.answer(api.DryRunRequest(canonical_json=loaded.canonical_json, worst=10))
    assert (answer.accounts, answer.mark_sequence, answer.other_hash) == (3, 1, loaded.hash)
    assert [(one.partition, one.journal_sequence) for one in answer.partitions] == [(0, 1)]
    assert all(one.now == one.then for one in answer.transitions)
    assert answer.initial_margin == answer.other_initial_margin == sum(desk.screen.frames[-1].initial_margin)
    assert answer.maintenance_margin == answer.other_maintenance_margin


async def test_who_would_be_called_and_liquidated_and_for_how_much(loaded: LoadedParameters) -> None:
    desk = await three(loaded)
    text = changed(loaded, sigma("3.90"))
    answer = await DryRuns(desk.risk, loaded.parameters).answer(api.DryRunRequest(canonical_json=text, worst=10))
    other = Desk(model=build_model(LoadedParameters(text).parameters))
    await other.journal(*holding(RICH, 100_000, 1_000), *holding(POOR, 12_000, 1_000), *holding(BARE, 10))
    await other.marks(MARK)
    real = other.screen.frames[-1]  # what the set would publish were it in force
    assert list(real.state) == [State.HEALTHY, State.LIQUIDATION, State.HEALTHY]
    assert answer.other_initial_margin == sum(real.initial_margin)
    moved = {(one.now, one.then): one for one in answer.transitions}
    healthy, liquidation = risk_pb2.MARGIN_STATE_HEALTHY, risk_pb2.MARGIN_STATE_LIQUIDATION
    assert (moved[healthy, healthy].accounts, moved[healthy, healthy].lacking) == (2, 0)
    gone = moved[healthy, liquidation]
    lack = real.maintenance_margin[1] - real.equity[1]
    aim = real.initial_margin[1] * 1.05
    first_slice = (aim - real.equity[1]) / (aim - real.add_on[1]) * real.gross_notional[1]
    assert (gone.accounts, gone.lacking) == (1, lack)
    assert gone.to_close == pytest.approx(first_slice, abs=2)
    (worst,) = answer.worst
    assert (worst.account, worst.then.state, worst.lacking) == (POOR, liquidation, lack)
    assert worst.then.maintenance_margin == real.maintenance_margin[1]


async def test_other_fees_and_more_assets_are_read_into_the_book(loaded: LoadedParameters) -> None:
    def change(content: dict[str, Any]) -> None:
        for venue in content["venues"]:
            venue["taker_fee"] = "0.02"
        content["assets"].insert(0, {**content["assets"][1], "id": 99, "symbol": "NEW", "price_instrument": "NEW-USD"})
        spot = content["instruments"][0]
        content["instruments"].insert(0, {**spot, "id": 98, "symbol": "NEW-USD", "underlying": "NEW"})
        content["margin"]["assets"].append({**content["margin"]["assets"][0], "asset": "NEW"})

    desk = await three(loaded)
    await desk.journal(order(1, 500, of=RICH, limit=MARK))
    answer = await DryRuns(desk.risk, loaded.parameters).answer(
        api.DryRunRequest(canonical_json=changed(loaded, change), worst=0)
    )
    assert answer.other_maintenance_margin == answer.maintenance_margin
    fee = 500 * 60 * DOLLAR * (0.02 - 0.0005)
    assert answer.other_initial_margin - answer.initial_margin == pytest.approx(fee, rel=0.3)


def _renamed(content: dict[str, Any]) -> None:
    content["assets"][1]["decimals"] = 7


def _fewer(content: dict[str, Any]) -> None:
    content["instruments"] = [one for one in content["instruments"] if one["id"] != 21]
    for venue in content["venues"]:
        venue["instruments"] = [one for one in venue["instruments"] if one != "BTC-USD-INV"]


def _partitions(content: dict[str, Any]) -> None:
    content["partitions"] = 8


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (sigma("-1"),  "margin.assets.0.sigma"),
        (_renamed,     "assets.1.decimals: expected 8 as in force, was 7"),
        (_fewer,       "instruments: expected id 21"),
        (_partitions,  "partitions: expected 4 as in force, was 8"),
    ],
)  # fmt: skip
async def test_a_set_that_does_not_hold_or_fit_is_refused(loaded: LoadedParameters, change: Change, path: str) -> None:
    desk = await three(loaded)
    runs = DryRuns(desk.risk, loaded.parameters)
    with pytest.raises(ConfigurationError) as refused:
        await runs.answer(api.DryRunRequest(canonical_json=changed(loaded, change)))
    assert path in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"partitions": 4}', "[" * 100_000, " " * 2**20 + "{}"])
async def test_what_is_no_set_is_refused(loaded: LoadedParameters, text: str) -> None:
    desk = await three(loaded)
    with pytest.raises(ConfigurationError):
        await DryRuns(desk.risk, loaded.parameters).answer(api.DryRunRequest(canonical_json=text))


async def test_without_a_judged_book_there_is_no_answer(loaded: LoadedParameters) -> None:
    desk = await three(loaded, in_force=False)
    with pytest.raises(Behind):
        await DryRuns(desk.risk, loaded.parameters).answer(api.DryRunRequest(canonical_json=loaded.canonical_json))


async def test_a_shadow_looks_at_every_nth_frame_and_says_what_differs(loaded: LoadedParameters) -> None:
    found, tasks = await _shadowed(loaded, changed(loaded, sigma("3.90")), frames=5, every=2)
    assert [one.mark_sequence for one in found] == [1, 3, 5]
    assert tasks == 3
    frame = found[0]
    assert (frame.accounts, frame.differing, len(frame.account)) == (3, 2, 2)  # BARE holds dollars alone
    assert frame.account[0] == POOR  # its state differs; RICH has the same gap of margin
    assert (list(frame.state), list(frame.shadow_state)) == ([State.HEALTHY] * 2, [State.LIQUIDATION, State.HEALTHY])
    assert frame.shadow_maintenance_margin_sum - frame.maintenance_margin_sum == sum(
        frame.shadow_maintenance_margin
    ) - sum(frame.maintenance_margin)
    by_states = list(frame.accounts_by_states)
    assert (by_states[State.HEALTHY * 5 + State.HEALTHY], by_states[State.HEALTHY * 5 + State.LIQUIDATION]) == (2, 1)
    assert frame.shadow_hash != frame.parameters_hash


async def test_a_shadow_of_the_set_in_force_differs_in_nothing(loaded: LoadedParameters) -> None:
    ((frame), *_), _ = await _shadowed(loaded, loaded.canonical_json, frames=1, every=1)
    assert (frame.accounts, frame.differing, len(frame.account)) == (3, 0, 0)
    assert frame.initial_margin_sum == frame.shadow_initial_margin_sum > 0


async def test_a_shadow_still_at_work_lets_the_next_frame_pass(loaded: LoadedParameters) -> None:
    found: list[risk_pb2.ShadowFrame] = []
    waiting: list[Any] = []
    at_work: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def spawn(coroutine: Any, name: str) -> Any:
        waiting.append(coroutine)
        return at_work

    shadow = _shadow(loaded, loaded.canonical_json, every=1, found=found, spawn=spawn)
    desk = await three(loaded, after_marks=shadow.after_marks)
    await desk.marks(MARK)
    assert len(waiting) == 1
    at_work.set_result(None)
    await desk.marks(MARK)
    assert len(waiting) == 2
    for one in waiting:
        await one
    assert [one.mark_sequence for one in found] == [1, 3]


def test_a_shadow_that_does_not_fit_the_book_is_refused(loaded: LoadedParameters) -> None:
    with pytest.raises(ConfigurationError, match=r"assets\.1\.decimals"):
        _shadow(loaded, changed(loaded, _renamed), every=1, found=[], spawn=lambda coroutine, name: None)


def _shadow(
    loaded: LoadedParameters, text: str, *, every: int, found: list[risk_pb2.ShadowFrame], spawn: Any
) -> Shadow:
    async def publish(frame: risk_pb2.ShadowFrame) -> None:
        found.append(frame)

    return Shadow(
        LoadedParameters(text), live=build_model(loaded.parameters), parameters=loaded.parameters,
        every=every, publish=publish, spawn=spawn,
    )  # fmt: skip


async def _shadowed(
    loaded: LoadedParameters, text: str, *, frames: int, every: int
) -> tuple[list[risk_pb2.ShadowFrame], int]:
    found: list[risk_pb2.ShadowFrame] = []
    waiting: list[Any] = []

    def spawn(coroutine: Any, name: str) -> Any:
        waiting.append(coroutine)

    shadow = _shadow(loaded, text, every=every, found=found, spawn=spawn)
    desk = await three(loaded, after_marks=shadow.after_marks)
    for _ in range(frames - 1):
        await desk.marks(MARK)
    for one in waiting:
        await one
    assert all(len(one.account) <= ROWS_MAX for one in found)
    return found, len(waiting)


async def test_a_thousand_candidates_are_one_call_on_a_thousand_accounts_and_one_more_is_refused(
    loaded: LoadedParameters,
) -> None:
    effects = [one for entity in range(1, 1_001) for one in holding(account(entity), 20_000, 900 + entity % 7)]
    desk = await desk_of(loaded, *effects)
    candidate = api.Candidate(trades=[api.HypotheticalTrade(instrument=BTC_PERP, lots=-1, price=MARK)])
    request = api.EvaluateRequest(account=account(500), candidates=[candidate] * CANDIDATES_MAX)
    for number, one in enumerate(request.candidates):
        one.trades[0].lots = -1 - number % 900
    partition, market, control = desk.risk.partitions[0], desk.risk.market, desk.risk.control
    began = time.perf_counter()
    answer = what_if(desk.model, partition, market, control, request)
    assert time.perf_counter() - began < BLOCK_SECONDS_MAX
    assert len(answer.results) == CANDIDATES_MAX == 1_000
    assert answer.results[0].maintenance_margin > answer.results[899].maintenance_margin
    assert answer.results[0] == answer.results[900]
    request.candidates.append(candidate)
    with pytest.raises(Refused, match="at most 1000 candidates, was 1001"):
        what_if(desk.model, partition, market, control, request)
