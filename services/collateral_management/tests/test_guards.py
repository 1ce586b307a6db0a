"""What keeps assets in: the gate, outflow limits of the hour and the day, and what closes and opens them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import custody_pb2 as custody
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from libs.common.parameters import GuardRules, OutflowRule
from libs.common.units import SECOND_NS, Ppm, Units
from services.collateral_management.app.outages import Outages
from services.collateral_management.domain.state import RESERVED
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import BTC_SPOT, BUY, DOLLAR, PARAMETERS, SELL, USD, Story, alerts
from services.collateral_management.tests.town import Town

HOUR, DAY = 3_600, 86_400


def guarded(*, hour_floor: int = 100, day_floor: int = 250, hour_share: int = 0, day_share: int = 0) -> Story:
    """A house of one partition with limits on dollars, floors in whole dollars."""
    limits = OutflowRule(
        PARAMETERS.assets[0].id, Ppm(hour_share), Units(hour_floor * DOLLAR), Ppm(day_share), Units(day_floor * DOLLAR)
    )
    story = Story(replace(PARAMETERS, partitions=1, guards=replace(PARAMETERS.guards, outflows=(limits,))))
    story.now_ns = 1_600_000_000 * SECOND_NS - 1_600_000_000 * SECOND_NS % (DAY * SECOND_NS)
    return story


def reserve(story: Story, account: int, dollars: int) -> journal_pb2.Outcome:
    """Outcome of a withdrawal."""
    return story.do("withdraw", account=account, asset=USD, units=dollars * DOLLAR, destination="bank")


def settle(story: Story, account: int, reservation: int) -> journal_pb2.Reservation:
    """The reservation after risk has let it go."""
    judged = story.do("verdict", account=account, reservation=reservation, settle=True, citation=story.cite())
    assert not judged.refusal, judged.detail
    return next(one.reservation for one in judged.effects if one.HasField("reservation"))


def pay_out(story: Story, account: int, dollars: int) -> words.Refusal:
    """Why dollars may not leave; unspecified when they have left."""
    reserved = reserve(story, account, dollars)
    if reserved.refusal:
        return reserved.refusal
    return settle(story, account, reserved.subject).reason


@pytest.mark.parametrize(
    ("steps", "expected"),
    [  # (seconds that pass, dollars) of each withdrawal; floors 100 an hour and 250 a day
        ([(0, 100)],                                             words.REFUSAL_UNSPECIFIED),
        ([(0, 101)],                                             words.REFUSAL_OUTFLOW_LIMIT),
        ([(0, 60), (0, 40)],                                     words.REFUSAL_UNSPECIFIED),
        ([(0, 60), (0, 41)],                                     words.REFUSAL_OUTFLOW_LIMIT),
        ([(0, 100), (HOUR - 1, 1)],                              words.REFUSAL_OUTFLOW_LIMIT),
        ([(299, 100), (HOUR, 1)],                                words.REFUSAL_OUTFLOW_LIMIT),
        ([(299, 100), (HOUR + 1, 100)],                          words.REFUSAL_UNSPECIFIED),
        ([(0, 100), (2 * HOUR, 100), (2 * HOUR, 50)],            words.REFUSAL_UNSPECIFIED),
        ([(0, 100), (2 * HOUR, 100), (2 * HOUR, 51)],            words.REFUSAL_OUTFLOW_LIMIT),
        ([(0, 100), (2 * HOUR, 100), (DAY - 2 * HOUR, 51)],      words.REFUSAL_OUTFLOW_LIMIT),
        ([(0, 100), (2 * HOUR, 100), (DAY - HOUR, 51)],          words.REFUSAL_UNSPECIFIED),
    ],
)  # fmt: skip
def test_the_hour_and_the_day_let_out_their_limit_and_not_a_unit_more(
    steps: Sequence[tuple[int, int]], expected: words.Refusal
) -> None:
    story = guarded()
    account = story.account(usd=10_000)
    outcomes = []
    for seconds, dollars in steps:
        story.pass_time(seconds)
        outcomes.append(pay_out(story, account, dollars))
    assert outcomes == [words.REFUSAL_UNSPECIFIED] * (len(steps) - 1) + [expected]
    story.verify()


def test_the_limit_is_the_larger_of_floor_and_share_of_what_the_house_holds() -> None:
    story = guarded(hour_share=10_000, day_share=100_000)
    small = story.account(usd=9_999)
    assert pay_out(story, small, 100) == words.REFUSAL_UNSPECIFIED  # the floor
    story.pass_time(2 * HOUR)
    story.account("bob", usd=10_101)  # 20,000 are held: one in a hundred is 200
    assert pay_out(story, small, 201) == words.REFUSAL_OUTFLOW_LIMIT
    assert pay_out(story, small, 200) == words.REFUSAL_UNSPECIFIED
    story.verify()


def test_what_was_bought_at_a_venue_counts_as_held() -> None:
    story = guarded(hour_floor=1, hour_share=1_000_000, day_share=1_000_000)
    account = story.account(usd=1_000, btc=1)
    story.trade(account, BUY, 10, 10_000, instrument=BTC_SPOT)
    cash = story.balance(account, USD)
    assert pay_out(story, account, cash // DOLLAR) == words.REFUSAL_UNSPECIFIED
    story.verify()


def test_two_withdrawals_that_fit_alone_do_not_leave_together() -> None:
    story = guarded()
    account = story.account(usd=1_000)
    first, second = reserve(story, account, 60).subject, reserve(story, account, 60).subject
    assert settle(story, account, first).state == words.RESERVATION_STATE_SETTLED
    held = settle(story, account, second)
    assert (held.state, held.reason) == (words.RESERVATION_STATE_VOIDED, words.REFUSAL_OUTFLOW_LIMIT)
    assert (story.balance(account, USD), story.balance(account, USD, RESERVED)) == (940 * DOLLAR, 0)
    assert alerts(story.outcomes[-1]) == ["outflow_limit"]
    assert story.state.custody.outflows[USD].tripped_at_ns == story.now_ns
    story.verify()


def test_an_asset_without_a_rule_has_no_limit() -> None:
    story = Story(replace(PARAMETERS, guards=GuardRules()))
    account = story.account(usd=10**9)
    assert pay_out(story, account, 10**9) == words.REFUSAL_UNSPECIFIED
    assert not story.state.custody.outflows
    story.verify()


def test_transfers_inside_an_entity_are_no_outflow() -> None:
    story = guarded()
    account = story.account(usd=1_000)
    other = story.account(entity=account)
    story.do("set_gate", closed=True, cause=custody.GATE_CAUSE_OPERATOR, reason="drill")
    sent = story.do("transfer", account=account, to_account=other, asset=USD, units=1_000 * DOLLAR)
    assert settle(story, account, sent.subject).state == words.RESERVATION_STATE_SETTLED
    story.verify()


def test_the_last_rungs_of_a_withdrawal_are_the_gate_and_the_limit() -> None:
    story = guarded()
    account = story.account(usd=1_000)
    story.do("set_gate", closed=True, cause=custody.GATE_CAUSE_OPERATOR, reason="drill")

    def open_gate() -> None:
        story.do("set_gate", cause=custody.GATE_CAUSE_OPERATOR, reason="over")

    climb(
        story,
        "withdraw",
        {"account": account, "asset": USD, "units": 101 * DOLLAR, "destination": "d" * 257},
        [
            (words.REFUSAL_TOO_LARGE, {"destination": "bank"}),
            (words.REFUSAL_GATE_CLOSED, open_gate),
            (words.REFUSAL_OUTFLOW_LIMIT, {"units": 100 * DOLLAR}),
        ],
    )
    story.verify()


def test_set_gate(story: Story) -> None:
    climb(
        story,
        "set_gate",
        {"closed": True, "cause": custody.GATE_CAUSE_OUTAGE, "for_ns": 31 * DAY * SECOND_NS, "reason": " "},
        [
            (words.REFUSAL_REASON_MISSING, {"reason": "r" * 257}),
            (words.REFUSAL_REASON_MISSING, {"reason": "a break-in at the custodian"}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"for_ns": -1}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"for_ns": 30 * DAY * SECOND_NS}),
            (words.REFUSAL_NOT_AUTHORISED, {"cause": custody.GATE_CAUSE_OPERATOR}),
        ],
    )
    assert alerts(story.outcomes[-1]) == ["gate_closed"]
    assert story.do("set_gate", cause=custody.GATE_CAUSE_OPERATOR, for_ns=1, reason="x").refusal  # opening has no end
    assert not story.do("set_gate", cause=custody.GATE_CAUSE_OPERATOR, reason="all clear").refusal
    assert not story.state.custody.gate.until_ns


def test_the_gate_stays_closed_to_the_last_nanosecond(story: Story) -> None:
    account = story.account(usd=1_000)
    story.do("set_gate", closed=True, cause=custody.GATE_CAUSE_OPERATOR, for_ns=60 * SECOND_NS, reason="drill")
    story.now_ns += 60 * SECOND_NS - 1
    assert reserve(story, account, 1).refusal == words.REFUSAL_GATE_CLOSED
    story.now_ns += 1
    assert not reserve(story, account, 1).refusal


def test_a_closed_gate_gives_back_what_risk_lets_go(story: Story) -> None:
    account = story.account(usd=1_000)
    waiting = reserve(story, account, 10).subject
    story.do("set_gate", closed=True, cause=custody.GATE_CAUSE_OPERATOR, reason="drill")
    held = settle(story, account, waiting)
    assert (held.state, held.reason) == (words.RESERVATION_STATE_VOIDED, words.REFUSAL_GATE_CLOSED)
    assert story.balance(account, USD) == 1_000 * DOLLAR


def open_below_zero(story: Story, equity: int) -> None:
    """An episode opens on an account of this equity."""
    bankrupt = story.account("bob")
    opened = story.do("open_episode", account=bankrupt, equity=equity, maintenance_margin=1, citation=story.cite())
    assert not opened.refusal


@pytest.mark.parametrize(("equity", "closed"), [(0, False), (-1, True)])
def test_an_account_below_zero_closes_the_gate_for_a_while(story: Story, equity: int, closed: bool) -> None:
    account = story.account(usd=1_000)
    open_below_zero(story, equity)
    assert alerts(story.outcomes[-1]) == (["gate_closed"] if closed else [])
    refusal = words.REFUSAL_GATE_CLOSED if closed else words.REFUSAL_UNSPECIFIED
    assert reserve(story, account, 1).refusal == refusal
    story.now_ns += PARAMETERS.guards.gate_after_negative_ns
    assert not reserve(story, account, 1).refusal


def test_a_crash_with_many_accounts_below_zero_is_told_once_and_moves_the_end(story: Story) -> None:
    open_below_zero(story, -1)
    first = story.state.custody.gate.until_ns
    story.pass_time(5)
    open_below_zero(story, -1)
    assert alerts(story.outcomes[-1]) == []
    assert story.state.custody.gate.until_ns == first + 5 * SECOND_NS


def test_an_account_below_zero_closes_the_gates_of_all_partitions_once() -> None:
    town = Town(3)
    account = town[2].account(usd=1_000)
    open_below_zero(town[0], -1)
    open_below_zero(town[0], -1)
    assert len(town.pending()) == 2  # one for each other partition, not for each account
    town.relay()
    assert reserve(town[2], account, 1).refusal == words.REFUSAL_GATE_CLOSED
    assert not any(story.state.movements for story in town.stories)  # nobody tells it on
    half_ns = PARAMETERS.guards.gate_after_negative_ns // 2
    town[0].now_ns += half_ns
    open_below_zero(town[0], -1)
    assert not town.pending()
    town[0].now_ns += 1
    open_below_zero(town[0], -1)
    assert len(town.pending()) == 2
    for story in town.stories:
        story.verify()


def test_capital_that_pays_for_an_account_closes_the_gate() -> None:
    story = Story(replace(PARAMETERS, partitions=1))
    story.lend(usd=1_000)
    story.fund(SystemAccount.INSURANCE, usd=500)
    account = story.account()
    bought, sold = story.order(account, BUY, 1, 100), story.order(account, SELL, 1, 100)
    story.fill(bought, 1, 100)
    story.fill(sold, 1, 100, fee=100 * DOLLAR)
    episode = story.episode(account)
    assert not story.state.custody.gate.until_ns
    assert not story.do("resolve_shortfall", account=account, episode=episode).refusal
    assert story.state.custody.gate.until_ns == story.now_ns + PARAMETERS.guards.gate_after_negative_ns
    assert story.state.custody.gate.cause == custody.GATE_CAUSE_NEGATIVE_ACCOUNT
    story.verify()


def test_an_outage_closes_the_gate_at_once_and_is_journalled_with_the_first_accepted_command(story: Story) -> None:
    account = story.account(usd=1_000)
    story.pass_time(1)
    story.outage_at_ns = story.now_ns
    assert reserve(story, account, 1).refusal == words.REFUSAL_GATE_CLOSED  # nothing is journalled by a refusal
    assert not story.state.custody.gate.until_ns
    story.do("confirm_deposit", account=account, asset=USD, units=1)
    assert story.state.custody.gate.cause == custody.GATE_CAUSE_OUTAGE
    assert story.state.custody.gate.until_ns == story.now_ns + PARAMETERS.guards.gate_after_outage_ns
    story.outage_at_ns = 0  # the next owner has seen nothing
    story.now_ns += PARAMETERS.guards.gate_after_outage_ns - 1
    assert reserve(story, account, 1).refusal == words.REFUSAL_GATE_CLOSED
    story.now_ns += 1
    assert not reserve(story, account, 1).refusal


def test_an_operator_opens_the_gate_that_an_outage_closed(story: Story) -> None:
    account = story.account(usd=1_000)
    story.pass_time(1)
    story.outage_at_ns = story.now_ns
    story.do("confirm_deposit", account=account, asset=USD, units=1)
    story.do("set_gate", cause=custody.GATE_CAUSE_OPERATOR, reason="marks compared by hand")
    assert not reserve(story, account, 1).refusal


@pytest.mark.parametrize(
    ("seen", "expected"),
    [  # (wall second, marks alive, seconds that the oldest command waited) of each look; outages noticed
        ([(0, True, 0), (299.9, True, 0)],                                  0),
        ([(0, True, 0), (300, True, 0)],                                    1),
        ([(0, True, 0), (200, False, 0), (400, False, 0), (401, True, 0)],  1),
        ([(0, False, 0), (400, True, 0), (401, True, 0)],                   0),  # it cannot tell what was before it
        ([(0, True, 299.9), (1, True, 0)],                                  0),
        ([(0, True, 300.0), (1, True, 0)],                                  1),
        ([(0, False, 300.0)],                                               1),
    ],
)  # fmt: skip
def test_silence_of_marks_or_waiting_commands_of_five_minutes_are_an_outage(
    seen: Sequence[tuple[float, bool, float]], expected: int
) -> None:
    outages = Outages(longest_s=300.0)
    noticed = [outages.notice(now_s=at, now_ns=7, alive=alive, waited_s=float(waited)) for at, alive, waited in seen]
    assert sum(noticed) == expected
    assert outages.at_ns == (7 if expected else 0)


withdrawals = st.lists(st.tuples(st.integers(0, 2 * HOUR), st.integers(1, 130)), max_size=40)


@given(withdrawals)
@settings(max_examples=100)
def test_i22_no_hour_and_no_day_lets_out_more_than_its_limit(steps: Sequence[tuple[int, int]]) -> None:
    story = guarded()
    account = story.account(usd=100_000)
    left: list[tuple[int, int]] = []
    for seconds, dollars in steps:
        story.pass_time(seconds)
        if not pay_out(story, account, dollars):
            left.append((story.now_ns, dollars))
    for at_ns, _ in left:
        for seconds, limit in ((HOUR, 100), (DAY, 250)):
            window = [dollars for each, dollars in left if at_ns <= each < at_ns + seconds * SECOND_NS]
            assert sum(window) <= limit, (at_ns, window)
    assert story.balance(account, USD) == (100_000 - sum(dollars for _, dollars in left)) * DOLLAR
    story.verify()
