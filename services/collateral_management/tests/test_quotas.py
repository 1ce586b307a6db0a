"""Pools over partitions: idle units that move, house capital of all shards, loss that nobody can run from (I2)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from libs.common.units import INDEX_ONE
from services.collateral_management.domain.state import CASH, DEBT, LOSS, OVERDRAFT, QUOTA
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.shortfalls import indebted
from services.collateral_management.tests.story import BTC, BUY, DOLLAR, USD, Story, pool_left_over
from services.collateral_management.tests.town import Town, house

BANK = 1  # home partition of the USD pool among three
FIRST, FUND, SECOND, LENDERS = (
    words.WATERFALL_STEP_FIRST_LOSS,
    words.WATERFALL_STEP_INSURANCE_FUND,
    words.WATERFALL_STEP_SECOND_CAPITAL,
    words.WATERFALL_STEP_WRITE_OFF,
)


@pytest.fixture
def town() -> Iterator[Town]:
    """Three partitions, judged at the end."""
    told = Town()
    yield told
    told.verify()


def shard(story: Story, kind: int = CASH) -> int:
    """A line of the USD pool's shard."""
    return story.balance(house(SystemAccount.POOL, story.partition, USD), USD, kind)


def test_idle_units_go_to_a_shard_and_back(town: Town) -> None:
    town[BANK].lend(usd=100)
    assert not town[BANK].do("move_quota", asset=USD, number=1, to_partition=2, units=40 * DOLLAR).refusal
    assert (shard(town[BANK]), shard(town[BANK], QUOTA), shard(town[2])) == (60 * DOLLAR, 40 * DOLLAR, 0)
    town.relay()
    assert (shard(town[2]), shard(town[2], QUOTA)) == (40 * DOLLAR, -40 * DOLLAR)
    assert pool_left_over(town[2].state, USD) == 0
    assert not town[2].do("move_quota", asset=USD, number=1, to_partition=BANK, units=15 * DOLLAR).refusal
    town.relay()
    assert [shard(one, QUOTA) for one in town.stories] == [0, 25 * DOLLAR, -25 * DOLLAR]


def test_move_quota(town: Town) -> None:
    town[BANK].lend(usd=1)
    climb(
        town[BANK],
        "move_quota",
        {"asset": 99, "number": 2, "to_partition": BANK, "units": 0},
        [
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": BTC}),
            (words.REFUSAL_QUANTITY_OUT_OF_RANGE, {"units": DOLLAR + 1}),
            (words.REFUSAL_UNKNOWN_PARTITION, {"to_partition": 0}),
            (words.REFUSAL_UNKNOWN_PARTITION, {"asset": USD}),  # partition 2 is the bank of the other pool
            (words.REFUSAL_TICK_OUT_OF_ORDER, {"number": 1}),
            (words.REFUSAL_INSUFFICIENT_LIQUIDITY, {"units": DOLLAR}),
        ],
    )
    town.relay()


def test_units_that_arrive_end_overdrafts_and_pay_the_house_back(town: Town) -> None:
    town[BANK].lend(usd=1_000)
    story = town[0]
    account = story.account(btc=1)
    story.trade(account, BUY, 1, 100, fee=70 * DOLLAR)
    assert (story.balance(account, USD, OVERDRAFT), story.state.accounts[account].restricted) == (70 * DOLLAR, True)
    town[BANK].do("move_quota", asset=USD, number=1, to_partition=0, units=100 * DOLLAR)
    town.relay()
    assert (story.balance(account, USD, OVERDRAFT), story.balance(account, USD, DEBT)) == (0, 70 * DOLLAR)
    assert not story.state.accounts[account].restricted
    assert shard(story) == 30 * DOLLAR
    assert story.balance(house(SystemAccount.TREASURY, 0), USD) == 0


def test_nobody_lends_or_redeems_while_a_tick_is_due(town: Town) -> None:
    lender = town[0].lend(usd=100)
    town[0].pass_time(3_600)
    refused = town[0].do("redeem", sender="lender", account=lender, asset=USD, units=1)
    assert refused.refusal == words.REFUSAL_INDEX_BEHIND
    town[0].tick(USD)
    assert not town[0].do("redeem", sender="lender", account=lender, asset=USD, units=1).refusal


def test_a_loss_is_known_everywhere_before_anybody_redeems(town: Town) -> None:
    town[0].lend(usd=1_000)
    far = town[2].lend(usd=100)
    account, episode = indebted(town[0], 100)
    town.do("resolve_shortfall", account=account, episode=episode)
    town.relay()
    assert shard(town[0], LOSS) == 100 * DOLLAR
    refused = town[2].do("redeem", sender="lender", account=far, asset=USD, units=1)
    assert refused.refusal == words.REFUSAL_INDEX_BEHIND
    fallen = INDEX_ONE * 10 // 11
    town[BANK].lend(usd=1)
    home = town[BANK].tick(USD, supply_index=INDEX_ONE, write_off_units=0)
    assert not home.refusal  # a tick that was decided before it knew
    assert not town[2].tick(USD, supply_index=fallen).refusal
    assert not town[2].do("redeem", sender="lender", account=far, asset=USD, units=0).refusal


def test_the_house_tops_up_what_a_tick_cost_the_pool(town: Town) -> None:
    treasury = house(SystemAccount.TREASURY, BANK)
    town[BANK].lend(usd=1)
    assert town[BANK].tick(USD, top_up_units=-1).refusal == words.REFUSAL_QUANTITY_OUT_OF_RANGE
    assert not town[BANK].tick(USD, top_up_units=3).refusal
    assert (shard(town[BANK]), town[BANK].balance(treasury, USD)) == (DOLLAR + 3, -3)
    assert not town[0].tick(USD, top_up_units=3).refusal  # a relay posts nothing
    assert shard(town[0]) == 0
