"""The worker: when it publishes, when it decides, when it keeps still."""

from __future__ import annotations

from typing import Any

import pytest

from ballast.events.v1 import commands_pb2, journal_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.errors import InvariantBroken
from libs.common.ids import SystemAccount, serial_id, system_account
from libs.common.validity import ValidityClass
from services.risk_evaluation.app.questions import explain
from services.risk_evaluation.domain.margin import State
from services.risk_evaluation.tests.hand import SECOND, Desk, attributes, order, posting, withdrawal
from services.risk_evaluation.tests.world import BTC, BTC_INVERSE, BTC_PERP, BTC_SPOT, COIN, DOLLAR, USD, account

CASH, LOTS, VARIATION = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_VARIATION
DEBT = ledger_pb2.LINE_KIND_DEBT_SHARES
ME, OTHER = account(), account(entity=2)
MAINTENANCE_10 = 600_000 * 0.0591  # of 10 lots at 60,000 with z 2.33, sigma 1, six hours, about


async def desk_with(cash: int, lots: int = 0, **options: Any) -> Desk:
    desk = Desk(**options)
    await desk.journal(
        attributes(ME),
        posting(ME, USD, CASH, cash * DOLLAR),
        posting(ME, BTC_PERP, LOTS, lots),
        posting(ME, BTC_PERP, VARIATION, -lots * 60_000 * DOLLAR),
    )
    return desk


def test_states_have_the_numbers_of_the_wire() -> None:
    for state in State:
        assert risk_pb2.MarginState.Value(f"MARGIN_STATE_{state.name}") == state


async def test_every_marks_frame_with_rows_is_answered_even_without_accounts() -> None:
    desk = Desk()
    desk.risk.begin(1)
    await desk.marks()
    desk.screen.clear()
    await desk.marks()
    await desk.heartbeat()
    assert [(one.partition, one.mark_sequence, len(one.account)) for one in desk.screen.frames] == [
        (0, 2, 0),
        (1, 2, 0),
    ]
    assert all(one.on_marks for one in desk.screen.outputs)


async def test_the_first_frame_is_full_and_then_every_twentieth() -> None:
    desk = await desk_with(100_000)
    for _ in range(41):
        await desk.marks()
    frames = [one.full for one in desk.screen.frames]
    assert [position for position, full in enumerate(frames) if full] == [0, 20, 40]
    assert [len(one.account) for one in desk.screen.frames] == [1 if one else 0 for one in frames]


async def test_accounts_that_matter_are_in_every_frame() -> None:
    desk = await desk_with(40_000, 10)
    await desk.journal(attributes(OTHER), posting(OTHER, USD, CASH, DOLLAR))
    house = system_account(SystemAccount.POOL, partition=0, index=USD)
    await desk.journal(posting(house, USD, CASH, -DOLLAR))
    await desk.marks()
    assert list(desk.screen.frames[-1].account) == [ME, OTHER]
    assert list(desk.screen.frames[-1].accounts_by_state) == [0, 1, 1, 0, 0]  # 40,000 is below the initial margin
    await desk.marks()
    assert list(desk.screen.frames[-1].account) == [ME]
    await desk.journal(posting(OTHER, USD, CASH, 2 * DOLLAR))
    partial = desk.screen.frames[-1]
    assert (list(partial.account), list(partial.equity), partial.journal_sequence) == ([OTHER], [2 * DOLLAR], 4)
    assert partial.fingerprint == desk.fingerprint.digest


async def test_what_is_touched_is_answered_at_once_though_the_next_frame_is_a_full_one() -> None:
    desk = await desk_with(100_000)
    for turn in range(45):
        await desk.marks()
        desk.screen.clear()
        await desk.journal(posting(ME, USD, CASH, turn * DOLLAR))
        assert [(list(one.account), one.full) for one in desk.screen.frames] == [([ME], False)], turn


@pytest.mark.parametrize("missing", ["live", "caught_up", "in_force"])
async def test_nothing_is_published_before_all_is_there(missing: str) -> None:
    desk = await desk_with(1_000, 10, **{missing: False})
    await desk.marks(50_000)
    assert not desk.screen.outputs
    {"live": lambda: desk.risk.begin(0), "caught_up": desk.risk.marks_caught_up, "in_force": desk.activate}[missing]()
    await desk.risk.turn()
    assert desk.screen.frames[0].full
    assert desk.screen.decisions == ["open_episode"]


async def test_an_episode_is_asked_for_once_and_again_when_no_answer_comes() -> None:
    desk = await desk_with(10_000, 10)
    for now_ns, asked in ((0, 1), (SECOND, 1), (2 * SECOND, 2), (3 * SECOND, 2)):
        desk.now_ns = now_ns
        await desk.marks()
        assert desk.screen.decisions.count("open_episode") == asked
    first, second = desk.screen.commands
    assert second.session.n > first.session.n
    opening = first.open_episode
    assert (opening.account, opening.equity) == (ME, 10_000 * DOLLAR)
    assert opening.maintenance_margin == pytest.approx(MAINTENANCE_10 * DOLLAR, rel=0.02)
    assert (opening.citation.journal_sequence, opening.citation.mark_sequence) == (1, 1)
    assert (opening.citation.control_sequence, opening.citation.mark_run_time_ns) == (7, SECOND)


async def test_an_open_episode_is_not_opened_again() -> None:
    desk = await desk_with(10_000, 10)
    episode = serial_id(partition=0, serial=9)
    opened = journal_pb2.Episode(episode=episode, account=ME, state=ledger_pb2.EPISODE_STATE_OPEN)
    await desk.journal(attributes(ME, restricted=True, episode=episode), journal_pb2.Effect(episode=opened))
    await desk.marks()
    assert not desk.screen.commands
    await desk.marks(90_000)  # healthy again: still in every frame while the episode is open
    await desk.marks(90_000)
    assert list(desk.screen.frames[-1].account) == [ME]


async def test_a_refused_opening_waits_for_a_newer_mark() -> None:
    desk = await desk_with(10_000, 10)
    await desk.marks()
    await desk.answer(desk.screen.commands[0], ledger_pb2.REFUSAL_CITES_OTHER_PARAMETERS)
    await desk.journal(posting(ME, USD, CASH, 9_000 * DOLLAR))
    assert len(desk.screen.commands) == 1
    await desk.heartbeat()
    assert len(desk.screen.commands) == 2


@pytest.mark.parametrize(
    ("validity", "opens", "order_reason", "withdrawal_reason"),
    [
        (ValidityClass.VALID,    1, "REFUSAL_UNSPECIFIED",     "REFUSAL_UNSPECIFIED"),
        (ValidityClass.DEGRADED, 1, "REFUSAL_UNSPECIFIED",     "REFUSAL_MARK_NOT_USABLE"),
        (ValidityClass.HOLD,     0, "REFUSAL_MARK_NOT_USABLE", "REFUSAL_MARK_NOT_USABLE"),
        (ValidityClass.STALE,    0, "REFUSAL_MARK_NOT_USABLE", "REFUSAL_MARK_NOT_USABLE"),
    ],
)  # fmt: skip
async def test_each_action_needs_its_own_validity(
    validity: ValidityClass, opens: int, order_reason: str, withdrawal_reason: str
) -> None:
    desk = await desk_with(10_000_000, 1)
    await desk.journal(attributes(OTHER), posting(OTHER, BTC_PERP, LOTS, 1), posting(OTHER, USD, CASH, -DOLLAR))
    await desk.journal(order(1, 1), withdrawal(2, DOLLAR))
    await desk.marks(validity=validity)
    assert desk.screen.decisions.count("open_episode") == 0  # a gain only
    found = {one.verdict.WhichOneof("target"): one.verdict for one in desk.screen.commands}
    assert ledger_pb2.Refusal.Name(found["order"].reason) == order_reason
    assert ledger_pb2.Refusal.Name(found["reservation"].reason) == withdrawal_reason
    await desk.journal(posting(OTHER, BTC_PERP, VARIATION, -70_000 * DOLLAR))
    assert desk.screen.decisions.count("open_episode") == opens


async def test_orders_are_let_out_one_by_one_while_they_fit() -> None:
    desk = await desk_with(100_000)
    await desk.marks()
    await desk.journal(order(1, 5), order(2, 50), order(3, 2))
    verdicts = {one.verdict.order & 0xFF: one.verdict for one in desk.screen.commands}
    assert {number: one.settle for number, one in verdicts.items()} == {1: True, 2: False, 3: True}
    assert verdicts[2].reason == ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN


@pytest.mark.parametrize(("lots", "limit"), [(10**9, 10**9), (-(10**9), 1)])
async def test_an_order_beyond_every_equity_is_refused_and_stops_nobody(lots: int, limit: int) -> None:
    desk = Desk()
    await desk.marks()
    await desk.journal(posting(ME, USD, CASH, 1_000 * DOLLAR), order(1, lots, limit=limit))
    (command,) = desk.screen.commands
    assert (command.verdict.settle, command.verdict.reason) == (False, ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN)


@pytest.mark.parametrize(("cash", "settles"), [(1_000, False), (200_000, True)])
async def test_closing_one_leg_of_a_hedge_needs_the_margin_of_the_other(cash: int, settles: bool) -> None:
    desk = await desk_with(cash, -10)
    await desk.journal(posting(ME, BTC, CASH, 10 * COIN), posting(ME, USD, DEBT, 600_000 * DOLLAR))
    await desk.marks()
    await desk.journal(order(1, 10, reduce_only=True))
    assert _reasons(desk.screen.commands) == [0 if settles else ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN]


@pytest.mark.parametrize(("lots", "limit", "settles"), [
    (-10, 60_000, True), (-10, 57_000, True), (-10, 55_000, False), (-10, 1, False), (-10, 10**9, True),
    (10, 60_000, True), (10, 63_000, True), (10, 66_000, False), (10, 10**9, False), (10, 1, True),
])  # fmt: skip
async def test_closing_far_from_the_mark_is_no_relief(lots: int, limit: int, settles: bool) -> None:
    desk = await desk_with(40_000, -lots)  # between maintenance and initial margin
    await desk.marks()
    await desk.journal(order(1, lots, limit=limit, reduce_only=True))
    assert _reasons(desk.screen.commands) == [0 if settles else ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN]


async def test_orders_that_relieve_alone_must_relieve_together() -> None:
    desk = await desk_with(0, 5)  # with 5 coins, less 6 of the inverse: long 4; each order leaves it short 1
    await desk.journal(
        posting(ME, BTC, CASH, 5 * COIN),
        posting(ME, USD, DEBT, 280_000 * DOLLAR),
        posting(ME, BTC_INVERSE, LOTS, -3_600),
        posting(ME, BTC_INVERSE, VARIATION, -6 * COIN),
    )
    await desk.marks()
    await desk.journal(order(1, -5, reduce_only=True), order(2, -5, reduce_only=True, instrument=BTC_SPOT))
    assert _reasons(desk.screen.commands) == [0, ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN]


async def test_a_reducing_order_goes_out_whatever_the_margin_and_the_mark() -> None:
    desk = await desk_with(1_000, 10)
    await desk.journal(attributes(ME, restricted=True))
    await desk.journal(order(1, -6, reduce_only=True), order(2, -5, reduce_only=True), order(3, -1))
    await desk.marks(validity=ValidityClass.HOLD)
    verdicts = {one.verdict.order & 0xFF: one.verdict for one in desk.screen.commands}
    assert {number: one.settle for number, one in verdicts.items()} == {1: True, 2: False, 3: False}
    assert verdicts[3].reason == ledger_pb2.REFUSAL_ACCOUNT_RESTRICTED


async def test_a_refused_verdict_is_made_anew_at_a_newer_mark_only() -> None:
    desk = await desk_with(100_000)
    await desk.journal(order(1, 1))
    await desk.marks()
    assert len(desk.screen.commands) == 1
    await desk.answer(desk.screen.commands[0], ledger_pb2.REFUSAL_VERDICT_EXPIRED)
    assert len(desk.screen.commands) == 1
    await desk.heartbeat()
    assert len(desk.screen.commands) == 2
    assert desk.screen.commands[1].verdict.citation.mark_sequence == 2
    await desk.answer(desk.screen.commands[1], ledger_pb2.REFUSAL_UNSPECIFIED, _released(1))
    await desk.marks()
    assert len(desk.screen.commands) == 2


async def test_an_order_of_an_account_restricted_meanwhile_is_voided() -> None:
    desk = await desk_with(100_000)
    await desk.journal(order(1, 1))
    await desk.marks()
    await desk.journal(attributes(ME, restricted=True))
    await desk.answer(desk.screen.commands[0], ledger_pb2.REFUSAL_ACCOUNT_RESTRICTED)
    await desk.heartbeat()
    assert _reasons(desk.screen.commands) == [0, ledger_pb2.REFUSAL_ACCOUNT_RESTRICTED]


async def test_a_withdrawal_must_leave_initial_margin() -> None:
    desk = await desk_with(130_000, 10)
    await desk.journal(posting(ME, USD, CASH, 121_000 * DOLLAR), withdrawal(1, 9_000 * DOLLAR))
    await desk.marks()
    await desk.journal(posting(ME, USD, CASH, 119_000 * DOLLAR), withdrawal(2, 2_000 * DOLLAR))
    assert [one.verdict.settle for one in desk.screen.commands] == [True, False]  # 20 % of 600,000 must stay


async def test_a_pending_withdrawal_is_refused_and_opens_no_episode_on_an_account_that_can_carry_its_book() -> None:
    desk = await desk_with(130_000, 10)
    await desk.marks()
    desk.screen.clear()
    reserved = posting(ME, USD, ledger_pb2.LINE_KIND_RESERVED, 110_000 * DOLLAR)
    await desk.journal(posting(ME, USD, CASH, 20_000 * DOLLAR), reserved, withdrawal(1, 110_000 * DOLLAR))
    assert [one.WhichOneof("body") for one in desk.screen.commands] == ["verdict"]
    assert not desk.screen.commands[0].verdict.settle
    assert desk.screen.frames[-1].state == bytes([State.HEALTHY])


async def test_pending_withdrawals_do_not_keep_an_episode_from_opening() -> None:
    desk = await desk_with(30_000, 10)
    reserved = posting(ME, USD, ledger_pb2.LINE_KIND_RESERVED, 1 * DOLLAR)
    await desk.journal(posting(ME, USD, CASH, 29_999 * DOLLAR), reserved, withdrawal(1, 1 * DOLLAR))
    await desk.marks()
    assert sorted(one.WhichOneof("body") for one in desk.screen.commands) == ["open_episode", "verdict"]


async def test_new_risk_is_judged_as_if_what_is_reserved_had_left() -> None:
    desk = await desk_with(130_000, 10)
    reserved = posting(ME, USD, ledger_pb2.LINE_KIND_RESERVED, 60_000 * DOLLAR)
    await desk.journal(posting(ME, USD, CASH, 70_000 * DOLLAR), reserved, withdrawal(1, 60_000 * DOLLAR), order(2, 1))
    await desk.marks()
    assert _reasons(desk.screen.commands) == [ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN] * 2


async def test_an_account_beyond_what_floats_hold_exactly_stops_nobody() -> None:
    desk = await desk_with(100_000_000_000, 10)
    await desk.journal(attributes(OTHER), posting(OTHER, USD, CASH, 5 * DOLLAR))
    await desk.marks()
    equity = dict(zip(desk.screen.frames[-1].account, desk.screen.frames[-1].equity, strict=True))
    assert (equity[ME], equity[OTHER]) == (2**53 - 2, 5 * DOLLAR)  # cut against the account, the other one untouched


async def test_nothing_is_decided_while_marks_are_silent() -> None:
    desk = await desk_with(100_000, 10)
    await desk.marks()
    desk.risk.marks_silent()
    await desk.journal(posting(ME, USD, CASH, 1_000 * DOLLAR), order(1, -1, reduce_only=True))
    frame = desk.screen.frames[-1]
    assert (frame.state, frame.validity) == (bytes([State.LIQUIDATION]), bytes([ValidityClass.STALE]))
    assert not desk.screen.commands
    await desk.heartbeat()
    assert desk.screen.decisions == ["open_episode", "settle"]
    assert desk.screen.silences == [False, True, False]


async def test_another_fingerprint_stops_the_partition() -> None:
    desk = await desk_with(1)
    desk.fingerprint.set((9,), (9,))
    with pytest.raises(InvariantBroken, match="I13"):
        await desk.journal(posting(ME, USD, CASH, 2))


async def test_a_frame_folded_before_is_dropped_and_a_book_is_kept_over_a_revocation() -> None:
    desk = await desk_with(100_000)
    await desk.marks()
    frame = desk.frame(posting(ME, USD, CASH, 5 * DOLLAR))
    desk.risk.freeze(0)
    desk.risk.take_journal(0, frame)
    desk.risk.take_journal(0, frame)
    desk.screen.clear()
    await desk.marks()
    assert not desk.screen.outputs
    desk.risk.begin(0)
    await desk.risk.turn()
    assert [(one.full, list(one.equity)) for one in desk.screen.frames] == [(True, [5 * DOLLAR])]


def _released(number: int) -> journal_pb2.Effect:
    return order(number, 1, state=ledger_pb2.ORDER_STATE_RELEASED)


def _reasons(commands: list[commands_pb2.Command]) -> list[int]:
    return [one.verdict.reason for one in commands]


async def test_volatilities_on_the_marks_are_what_margins_are_judged_by() -> None:
    desk = await desk_with(100_000, 10)

    async def judged(**options: Any) -> tuple[int, int]:
        desk.risk.begin(0)
        await desk.marks(**options)
        frame = desk.screen.frames[-1]
        return frame.initial_margin[0], frame.maintenance_margin[0]

    declared = await judged()
    initial, maintenance = await judged(levels={BTC: (1_500_000, 1_000_000)})
    assert initial > declared[0]
    assert maintenance == declared[1]
    assert await judged() == (initial, maintenance)  # they stay in force until another frame moves them
    assert (await judged(levels={BTC: (1_500_000, 1_250_000)}))[1] > maintenance
    answer = explain(desk.risk.model, desk.risk.partitions[0], desk.risk.market, desk.risk.control, ME)
    assert answer.margin.initial_margin[0] == initial
    assert await judged(snapshot=True) == declared  # a snapshot names all


async def test_a_volatility_alone_opens_no_episode_while_maintenance_stands() -> None:
    desk = await desk_with(round(MAINTENANCE_10) + 500, 10)
    await desk.marks()
    await desk.marks(levels={BTC: (3_000_000, 1_000_000)})
    assert not desk.screen.commands
    await desk.marks(levels={BTC: (3_000_000, 1_050_000)})
    assert [one.WhichOneof("body") for one in desk.screen.commands] == ["open_episode"]
