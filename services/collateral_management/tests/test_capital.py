"""House capital wherever it stands pays before lenders, however many shortfalls meet, and no lender runs meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ballast.events.v1 import movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from services.collateral_management.domain.state import LOSS
from services.collateral_management.tests.shortfalls import indebted, paid
from services.collateral_management.tests.story import DOLLAR, USD, Story
from services.collateral_management.tests.town import Town, house

FIRST, FUND, SECOND, LENDERS = (
    words.WATERFALL_STEP_FIRST_LOSS,
    words.WATERFALL_STEP_INSURANCE_FUND,
    words.WATERFALL_STEP_SECOND_CAPITAL,
    words.WATERFALL_STEP_WRITE_OFF,
)
ASK, GRANT = words.MOVEMENT_KIND_CAPITAL_ASK, words.MOVEMENT_KIND_CAPITAL_GRANT
HOUR = 3_600


@pytest.fixture
def town() -> Iterator[Town]:
    """Three partitions, judged at the end."""
    told = Town()
    yield told
    told.verify()


def short(story: Story, owed: int) -> int:
    """An account whose shortfall of whole dollars is being resolved."""
    account, episode = indebted(story, owed)
    assert not story.do("resolve_shortfall", account=account, episode=episode).refusal
    return account


def written_off(town: Town) -> int:
    """Whole dollars that lenders of all partitions bear."""
    return sum(units for story in town.stories for step, units in paid(story) if step == LENDERS)


def capital(town: Town) -> int:
    """Whole dollars of house capital in all partitions."""
    kinds = (SystemAccount.FIRST_LOSS, SystemAccount.INSURANCE, SystemAccount.SECOND_CAPITAL)
    return sum(one.balance(house(kind, one.partition), USD) for one in town.stories for kind in kinds) // DOLLAR


def waiting(town: Town, kind: words.MovementKind) -> list[movement_pb2.Movement]:
    """Movements of a kind that have not arrived."""
    return [one for one in town.pending() if one.kind == kind and not town.has(one)]


def asked(town: Town) -> list[tuple[int, int, int]]:
    """(asks, is asked, units) of questions for capital on their way."""
    return [(one.from_partition, one.to_partition, one.wanted[0].units) for one in waiting(town, ASK)]


def deliver(town: Town, kind: words.MovementKind) -> None:
    """All movements of a kind on their way arrive, and what was sent before them."""
    for one in waiting(town, kind):
        for other in list(town.pending()):
            pair = (other.from_partition, other.to_partition)
            is_due = pair == (one.from_partition, one.to_partition) and other.sequence <= one.sequence
            if is_due and not town.has(other):
                assert not town.arrive(other).refusal


class TestCapitalOfAllShards:
    """House capital wherever it stands pays before lenders."""

    def test_what_is_here_is_asked_first(self, town: Town) -> None:
        town[0].lend(usd=1_000)
        town[0].fund(SystemAccount.INSURANCE, usd=100)
        account, episode = indebted(town[0], 100)
        town.do("resolve_shortfall", account=account, episode=episode)
        assert {one.kind for one in town.pending()} == {words.MOVEMENT_KIND_GATE_NOTICE}  # nobody is asked
        assert paid(town[0]) == [(FUND, 100)]

    def test_the_waterfall_waits_for_every_answer(self, town: Town) -> None:
        story = town[0]
        story.lend(usd=1_000)
        story.fund(SystemAccount.INSURANCE, usd=30)
        town[1].fund(SystemAccount.INSURANCE, usd=50)
        town[2].fund(SystemAccount.SECOND_CAPITAL, usd=10)
        account, episode = indebted(story, 100)
        assert not town.do("resolve_shortfall", account=account, episode=episode).refusal
        held = town.do("resolve_shortfall", account=account, episode=episode)
        assert held.refusal == words.REFUSAL_CAPITAL_ASKED
        assert asked(town) == [(0, 1, 70 * DOLLAR)]
        deliver(town, words.MOVEMENT_KIND_CAPITAL_ASK)
        deliver(town, words.MOVEMENT_KIND_CAPITAL_GRANT)
        assert (asked(town), paid(story)) == ([(0, 2, 20 * DOLLAR)], [])
        town.relay()
        assert paid(story) == [(FUND, 80), (SECOND, 10), (LENDERS, 10)]
        assert (story.state.lines_of(account), story.state.asks) == ([], {})

    def test_what_is_not_needed_goes_home(self, town: Town) -> None:
        story = town[0]
        story.lend(usd=1_000)
        for other in (1, 2):
            town[other].fund(SystemAccount.INSURANCE, usd=500)
        account, episode = indebted(story, 100)
        town.do("resolve_shortfall", account=account, episode=episode)
        story.do("confirm_deposit", account=account, asset=USD, units=70 * DOLLAR)
        town.relay()
        assert paid(story) == [(FUND, 30)]
        funds = [one.balance(house(SystemAccount.INSURANCE, one.partition), USD) for one in town.stories]
        assert sorted(funds) == [0, 470 * DOLLAR, 500 * DOLLAR]

    def test_an_account_that_is_healed_meanwhile_takes_nothing(self, town: Town) -> None:
        story = town[0]
        story.lend(usd=1_000)
        town[1].fund(SystemAccount.FIRST_LOSS, usd=500)
        account, episode = indebted(story, 100)
        town.do("resolve_shortfall", account=account, episode=episode)
        story.do("confirm_deposit", account=account, asset=USD, units=150 * DOLLAR)
        town.relay()
        assert (paid(story), story.balance(account, USD)) == ([], 50 * DOLLAR)
        assert town[1].balance(house(SystemAccount.FIRST_LOSS, 1), USD) == 500 * DOLLAR

    def test_what_one_takes_is_what_it_lacks_and_the_rest_is_there_for_another(self, town: Town) -> None:
        for number in (0, 1):
            town[number].lend(usd=1_000)
        town[2].fund(SystemAccount.INSURANCE, usd=150)
        short(town[0], 100)
        short(town[1], 50)
        deliver(town, ASK)  # 0 asks 1 in vain, 1 asks 2
        deliver(town, GRANT)
        town.relay()
        assert (paid(town[0]), paid(town[1]), written_off(town)) == ([(FUND, 100)], [(FUND, 50)], 0)

    def test_two_at_one_moment_leave_each_other_what_they_need_themselves(self, town: Town) -> None:
        for number in (0, 1):
            town[number].lend(usd=1_000)
            town[number].fund(SystemAccount.INSURANCE, usd=60)
            short(town[number], 100)
        deliver(town, ASK)
        deliver(town, GRANT)
        town.relay()
        assert [paid(town[number]) for number in (0, 1)] == [[(FUND, 60), (LENDERS, 40)]] * 2

    def test_a_partition_that_had_enough_is_asked_again_when_more_is_missing(self, town: Town) -> None:
        story = town[0]
        story.lend(usd=1_000)
        story.fund(SystemAccount.INSURANCE, usd=50)
        town[1].fund(SystemAccount.INSURANCE, usd=500)
        short(story, 100)
        short(story, 80)  # both counted on the same fifty
        town.relay()
        assert (written_off(town), capital(town)) == (0, 370)


owed_and_owned = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(("short", "fund", "arrive", "arrive")), st.integers(1, 200)),
    max_size=25,
)


@given(owed_and_owned)
@example([(0, "fund", 79), (1, "fund", 1), (1, "short", 2), (1, "short", 3), (1, "short", 77)])  # one gave the others'
@settings(max_examples=80)
def test_lenders_bear_nothing_while_there_is_capital_anywhere(steps: Sequence[tuple[int, str, int]]) -> None:
    town = Town()
    for story in town.stories:
        story.lend(usd=10_000)
    owed = owned = 0
    for number, what, dollars in steps:
        match what:
            case "short":
                owed += dollars
                short(town[number], dollars)
            case "fund" if not owed:  # what comes in later may find the loss written off
                owned += dollars
                town[number].fund(SystemAccount.INSURANCE, usd=dollars)
            case _:
                for one in town.pending():
                    if not town.has(one):
                        assert not town.arrive(one).refusal
                        break
    town.relay()
    assert (written_off(town), capital(town)) == (max(0, owed - owned), max(0, owned - owed))
    assert not any(story.state.asks for story in town.stories)
    town.verify()


def redeem(story: Story, lender: int) -> words.Refusal:
    """Why a lender may not take a unit back."""
    return story.do("redeem", sender="lender", account=lender, asset=USD, units=1).refusal


def test_nobody_redeems_anywhere_from_before_the_write_off(town: Town) -> None:
    story = town[0]
    lenders = [one.lend(usd=1_000) for one in town.stories]
    town[2].fund(SystemAccount.INSURANCE, usd=20)
    short(story, 100)
    deliver(town, ASK)  # partition 1 has nothing
    assert redeem(town[1], lenders[1]) == words.REFUSAL_INDEX_BEHIND
    assert (redeem(town[2], lenders[2]), redeem(story, lenders[0])) == (words.REFUSAL_UNSPECIFIED,) * 2
    deliver(town, GRANT)
    deliver(town, ASK)  # partition 2 has too little
    assert redeem(town[2], lenders[2]) == words.REFUSAL_INDEX_BEHIND
    assert written_off(town) == 0
    deliver(town, GRANT)  # the write-off: no notice of it has arrived anywhere
    assert (written_off(town), story.balance(house(SystemAccount.POOL, 0, USD), USD, LOSS)) == (80, 80 * DOLLAR)
    assert [redeem(one, lenders[number]) for number, one in enumerate(town.stories)] == [words.REFUSAL_INDEX_BEHIND] * 3


def test_a_tick_that_passes_while_they_are_asked_does_not_let_anybody_out(town: Town) -> None:
    lenders = [one.lend(usd=1_000) for one in town.stories]
    short(town[0], 100)
    deliver(town, ASK)
    for one in town.stories:
        one.pass_time(HOUR)
        one.tick(USD)
    assert not redeem(town[1], lenders[1])  # it was told to hold until this tick
    deliver(town, GRANT)
    assert (asked(town), written_off(town)) == ([(0, 1, 100 * DOLLAR)], 0)  # so it is asked again
    deliver(town, ASK)
    deliver(town, GRANT)
    deliver(town, ASK)
    deliver(town, GRANT)
    assert written_off(town) == 100
    assert [redeem(one, lenders[number]) for number, one in enumerate(town.stories)] == [words.REFUSAL_INDEX_BEHIND] * 3


def test_a_shortfall_that_capital_covers_holds_no_pool_of_who_had_enough(town: Town) -> None:
    lenders = [one.lend(usd=1_000) for one in town.stories]
    town[1].fund(SystemAccount.INSURANCE, usd=100)
    short(town[0], 100)
    town.relay()
    assert written_off(town) == 0
    assert [redeem(one, lenders[number]) for number, one in enumerate(town.stories)] == [words.REFUSAL_UNSPECIFIED] * 3
