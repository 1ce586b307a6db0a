"""The house's outflow limit over its partitions: who needs more asks the bank, no window lets out more (I22)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.parameters import OutflowRule
from libs.common.units import SECOND_NS, Ppm, Units
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import BTC, DOLLAR, PARAMETERS, USD, Story, alerts
from services.collateral_management.tests.town import Town

HOUR, DAY, PART = 3_600, 86_400, 300
BANK = 1  # home partition of the dollar among three
PENDING, SETTLED, VOIDED = (
    words.RESERVATION_STATE_PENDING,
    words.RESERVATION_STATE_SETTLED,
    words.RESERVATION_STATE_VOIDED,
)
RULE = OutflowRule(
    PARAMETERS.assets[0].id, Ppm(10_000), Units(600 * DOLLAR), Ppm(100_000), Units(1_200 * DOLLAR)
)  # bases of 100 an hour and 200 a day; the pot has 300 and 600
COINS = replace(RULE, asset=PARAMETERS.assets[1].id)


def limited() -> Town:
    """Three partitions, an account with a thousand dollars in each, at the beginning of a day of run time."""
    town = Town(parameters=replace(PARAMETERS, guards=replace(PARAMETERS.guards, outflows=(RULE, COINS))))
    for story in town.stories:
        story.now_ns = 1_600_000_000 * SECOND_NS - 1_600_000_000 * SECOND_NS % (DAY * SECOND_NS)
        story.account(usd=1_000)
    return town


@pytest.fixture
def town() -> Iterator[Town]:
    """The limited house, judged at the end."""
    told = limited()
    yield told
    told.verify()


def client(story: Story) -> int:
    """The account of a partition."""
    return next(iter(story.state.accounts))


def reserve(story: Story, dollars: int) -> int:
    """Id of a withdrawal."""
    made = story.do("withdraw", account=client(story), asset=USD, units=dollars * DOLLAR, destination="bank")
    assert not made.refusal, made.detail
    return made.subject


def judge(story: Story, reservation: int) -> journal_pb2.Outcome:
    """Outcome of risk's letting it go."""
    return story.do("verdict", account=client(story), reservation=reservation, settle=True, citation=story.cite())


def state_of(story: Story, reservation: int) -> words.ReservationState:
    """Where a withdrawal is in its life."""
    states = [
        effect.reservation.state
        for outcome in story.outcomes
        for effect in outcome.effects
        if effect.HasField("reservation") and effect.reservation.reservation == reservation
    ]
    return states[-1]


def pay_out(town: Town, partition: int, dollars: int) -> words.ReservationState:
    """Where a withdrawal ends when movements arrive at once."""
    one = reserve(town[partition], dollars)
    judge(town[partition], one)
    town.relay()
    if state_of(town[partition], one) == PENDING:
        judge(town[partition], one)
    return state_of(town[partition], one)


def pass_time(town: Town, seconds: float) -> None:
    """Moves all clocks."""
    for story in town.stories:
        story.pass_time(seconds)


def granted(town: Town) -> int:
    """Whole dollars that the bank has granted and not got back."""
    return sum(part.units for part in town[BANK].state.custody.pots[USD].hour) // DOLLAR


def test_what_fits_the_base_asks_nobody(town: Town) -> None:
    one = reserve(town[0], 100)
    judge(town[0], one)
    assert (state_of(town[0], one), town.pending()) == (SETTLED, [])


def test_a_partition_with_much_demand_gets_the_pot(town: Town) -> None:
    assert [pay_out(town, 0, dollars) for dollars in (150, 250, 1)] == [SETTLED, SETTLED, VOIDED]
    assert [pay_out(town, 2, dollars) for dollars in (100, 1)] == [SETTLED, VOIDED]  # its base is left to it
    assert pay_out(town, BANK, 100) == SETTLED
    assert town[BANK].do("withdraw", account=client(town[BANK]), asset=USD, units=1).refusal == (
        words.REFUSAL_OUTFLOW_LIMIT
    )  # the bank knows at once


def test_the_bank_grants_itself_without_asking(town: Town) -> None:
    one = reserve(town[BANK], 400)
    judge(town[BANK], one)
    assert (state_of(town[BANK], one), granted(town)) == (SETTLED, 300)


def test_a_withdrawal_waits_for_its_share_and_risk_asks_in_vain_meanwhile(town: Town) -> None:
    one = reserve(town[0], 101)
    assert not judge(town[0], one).refusal
    assert state_of(town[0], one) == PENDING
    assert judge(town[0], one).refusal == words.REFUSAL_OUTFLOW_ASKED
    assert len(town.pending()) == 1
    town.relay()
    assert not judge(town[0], one).refusal
    assert (state_of(town[0], one), granted(town)) == (SETTLED, 1)


def test_a_bank_that_is_silent_lets_it_come_back(town: Town) -> None:
    one = reserve(town[0], 101)
    judge(town[0], one)
    pass_time(town, 60)
    assert alerts(judge(town[0], one)) == ["outflow_limit"]
    assert state_of(town[0], one) == VOIDED
    town.relay()  # the grant comes late, and goes back
    assert (granted(town), town[0].state.custody.shares) == (0, {})


def test_what_was_granted_and_is_not_let_go_comes_back(town: Town) -> None:
    one = reserve(town[0], 300)
    judge(town[0], one)
    town.relay()
    assert granted(town) == 200
    town[0].do("verdict", account=client(town[0]), reservation=one, settle=False, citation=town[0].cite(),
               reason=words.REFUSAL_INSUFFICIENT_MARGIN)  # fmt: skip
    town.relay()
    assert (state_of(town[0], one), granted(town), town[0].state.custody.shares) == (VOIDED, 0, {})


@pytest.mark.parametrize(("seconds", "expected"), [(2 * PART - 1, SETTLED), (2 * PART, PENDING)])
def test_a_grant_is_good_to_the_end_of_the_next_part(
    town: Town, seconds: int, expected: words.ReservationState
) -> None:
    one = reserve(town[0], 200)
    judge(town[0], one)
    town.relay()
    pass_time(town, seconds)
    judge(town[0], one)
    assert state_of(town[0], one) == expected  # then it asks again
    assert len(town.pending()) == (0 if expected == SETTLED else 1)


def test_a_grant_from_a_clock_that_is_ahead_waits_for_ones_own(town: Town) -> None:
    one = reserve(town[0], 200)
    judge(town[0], one)
    town[BANK].pass_time(PART)
    town.relay()
    judge(town[0], one)
    assert state_of(town[0], one) == PENDING
    town[0].pass_time(PART)
    town.relay()
    judge(town[0], one)
    assert state_of(town[0], one) == SETTLED


def test_who_dies_with_a_grant_keeps_it_from_others_for_one_window(town: Town) -> None:
    one = reserve(town[0], 400)
    judge(town[0], one)
    town.relay()  # and never uses it
    for seconds, expected in ((HOUR, VOIDED), (2 * PART, SETTLED)):
        pass_time(town, seconds)
        assert pay_out(town, 2, 150) == expected


def test_the_limit_follows_what_the_house_holds(town: Town) -> None:
    def told(dollars: int) -> None:
        number = town[BANK].now_ns // (PART * SECOND_NS)
        story = town[BANK]
        assert not story.do("set_outflow_limit", asset=USD, number=number, held_units=dollars * DOLLAR).refusal

    told(100_000)  # one in a hundred is a thousand an hour; the pot has seven hundred
    assert pay_out(town, 0, 800) == SETTLED
    pass_time(town, PART)
    told(50_000)
    assert pay_out(town, 2, 101) == VOIDED


def test_set_outflow_limit(town: Town) -> None:
    number = town[BANK].now_ns // (PART * SECOND_NS)
    climb(
        town[BANK],
        "set_outflow_limit",
        {"asset": 99, "number": number + 2, "held_units": -1},
        [
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": BTC}),
            (words.REFUSAL_WRONG_PARTITION, {"asset": USD}),  # partition 2 is the bank of the other limit
            (words.REFUSAL_TICK_OUT_OF_ORDER, {"number": 0}),
            (words.REFUSAL_TICK_OUT_OF_ORDER, {"number": number + 1}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"held_units": 0}),
        ],
    )


steps = st.lists(
    st.tuples(
        st.sampled_from(("withdraw", "judge", "arrive", "arrive", "clock", "void")),
        st.integers(0, 2),
        st.integers(1, 2 * HOUR),
    ),
    max_size=60,
)


class Run:
    """Withdrawals in three partitions whose clocks differ; what left, by run time."""

    def __init__(self) -> None:
        self.town = limited()
        self.waiting: list[tuple[int, int]] = []
        self.left: list[tuple[int, int]] = []

    def act(self, what: str, number: int, size: int) -> None:
        """One deed."""
        story = self.town[number]
        match what:
            case "withdraw":
                made = story.do("withdraw", account=client(story), asset=USD, units=(1 + size % 400) * DOLLAR)
                if not made.refusal:
                    self.waiting.append((number, made.subject))
            case "judge" if self.waiting:
                at, one = self.waiting[size % len(self.waiting)]
                self._take(self.town[at], judge(self.town[at], one))
            case "void" if self.waiting:
                at, one = self.waiting[size % len(self.waiting)]
                story = self.town[at]
                story.do("verdict", account=client(story), reservation=one, citation=story.cite())
                self.waiting.remove((at, one))
            case "clock":
                story.pass_time(size)
            case _:
                self._arrive(number)

    def _take(self, story: Story, outcome: journal_pb2.Outcome) -> None:
        for effect in outcome.effects:
            one = effect.reservation
            if effect.HasField("reservation") and one.state != PENDING:
                self.waiting.remove((story.partition, one.reservation))
                if one.state == SETTLED:
                    self.left.append((story.now_ns, one.units))

    def _arrive(self, number: int) -> None:
        ready: list[movement_pb2.Movement] = [
            one for one in self.town.pending() if one.to_partition == number and not self.town.has(one)
        ]
        if ready:
            assert not self.town.arrive(ready[0]).refusal


@given(steps)
@settings(max_examples=150)
def test_i22_no_window_lets_out_more_than_the_house_may_over_all_partitions(
    deeds: Sequence[tuple[str, int, int]],
) -> None:
    run = Run()
    for what, number, size in deeds:
        run.act(what, number, size)
    for at_ns, _ in run.left:
        for seconds, limit in ((HOUR, 600), (DAY, 1_200)):
            units = sum(each for when, each in run.left if at_ns <= when < at_ns + seconds * SECOND_NS)
            assert units <= limit * DOLLAR
    run.town.relay()
    shares = [sum(one.units for one in story.state.custody.shares[USD].granted)
              for story in run.town.stories if USD in story.state.custody.shares]  # fmt: skip
    pot = run.town[BANK].state.custody.pots.get(USD)
    assert sum(shares) <= (sum(one.units for one in pot.day) if pot else 0)
    run.town.verify()
