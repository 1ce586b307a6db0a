"""The loss waterfall: first loss, insurance, second capital, then the lenders; the account ends with no line (I6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from libs.common.units import INDEX_ONE
from services.collateral_management.domain.state import CASH, DEBT, LOSS, OVERDRAFT, SUPPLY
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.shortfalls import indebted
from services.collateral_management.tests.story import (
    BTC,
    BTC_PERP,
    BTC_SPOT,
    BUY,
    COIN,
    DOLLAR,
    PARAMETERS,
    SELL,
    USD,
    Story,
    pool_left_over,
    step_order,
)
from services.collateral_management.tests.town import Town

FIRST, FUND, SECOND, LENDERS = (
    words.WATERFALL_STEP_FIRST_LOSS,
    words.WATERFALL_STEP_INSURANCE_FUND,
    words.WATERFALL_STEP_SECOND_CAPITAL,
    words.WATERFALL_STEP_WRITE_OFF,
)


@pytest.fixture
def story() -> Iterator[Story]:
    """A ledger of one partition: there is no capital elsewhere."""
    told = Story(replace(PARAMETERS, partitions=1))
    yield told
    told.verify()


def resolve(story: Story, account: int, episode: int) -> list[tuple[int, int]]:
    """(step, whole dollars) of the waterfall that ran."""
    outcome = story.do("resolve_shortfall", account=account, episode=episode)
    assert not outcome.refusal, outcome.detail
    assert story.state.lines_of(account) == []
    return [(one.step, one.units // DOLLAR) for one in taken(outcome)]


def taken(outcome: journal_pb2.Outcome) -> list[journal_pb2.Waterfall]:
    """Steps of the waterfall in an outcome."""
    return [effect.waterfall for effect in outcome.effects if effect.HasField("waterfall")]


@pytest.mark.parametrize(
    ("first", "fund", "second", "steps"),
    [
        (500, 500, 500, [(FIRST, 100)]),
        (100, 500, 500, [(FIRST, 100)]),
        (99, 500, 500, [(FIRST, 99), (FUND, 1)]),
        (0, 500, 500, [(FUND, 100)]),
        (30, 30, 500, [(FIRST, 30), (FUND, 30), (SECOND, 40)]),
        (30, 30, 30, [(FIRST, 30), (FUND, 30), (SECOND, 30), (LENDERS, 10)]),
        (0, 0, 0, [(LENDERS, 100)]),
    ],
)
def test_each_capital_pays_before_the_next(
    story: Story, first: int, fund: int, second: int, steps: list[tuple[int, int]]
) -> None:
    story.lend(usd=1_000)
    story.fund(SystemAccount.FIRST_LOSS, usd=first)
    story.fund(SystemAccount.INSURANCE, usd=fund)
    story.fund(SystemAccount.SECOND_CAPITAL, usd=second)
    account, episode = indebted(story, 100)
    pool = story.house(SystemAccount.POOL, USD)
    assert resolve(story, account, episode) == steps
    lenders = dict(steps).get(LENDERS, 0) * DOLLAR
    assert story.balance(pool, USD, LOSS) == lenders
    assert story.balance(pool, USD) == 1_000 * DOLLAR - lenders
    assert story.balance(pool, USD, DEBT) == 0
    left = [story.balance(story.house(kind), USD) for kind in (SystemAccount.FIRST_LOSS, SystemAccount.INSURANCE,
            SystemAccount.SECOND_CAPITAL)]  # fmt: skip
    paid = [dict(steps).get(step, 0) for step in (FIRST, FUND, SECOND)]
    assert left == [(had - gave) * DOLLAR for had, gave in zip((first, fund, second), paid, strict=True)]
    emptied = story.do("close_episode", account=account, episode=episode, outcome=words.EPISODE_STATE_EMPTIED,
                       citation=story.cite())  # fmt: skip
    assert not emptied.refusal


def test_resolve_shortfall(story: Story) -> None:
    story.lend(usd=10_000, btc=1)
    account = story.account(usd=10)
    lots = story.order(account, BUY, 2, 1_500_000)
    coins = story.order(account, BUY, 2, 1_500_000, instrument=BTC_SPOT)
    story.fill(lots, 2, 1_500_000)
    story.fill(coins, 2, 1_500_000)
    out = story.order(account, BUY, 1, 100)
    episode = story.episode(account)
    other = story.episode(story.account("bob", usd=1))

    def finish() -> None:
        story.report(out, words.REPORT_KIND_CANCELLED)

    def sell(instrument: int) -> None:
        [order] = story.step(account, episode, step_order(SELL, 2, 1_200_000, instrument=instrument),
                             number=story.state.episodes[episode].step + 1)  # fmt: skip
        story.fill(order, 2, 1_200_000)

    climb(
        story,
        "resolve_shortfall",
        {"account": account, "episode": other},
        [
            (words.REFUSAL_UNKNOWN_EPISODE, {"episode": episode}),
            (words.REFUSAL_ORDERS_ALIVE, finish),
            (words.REFUSAL_ASSETS_LEFT, lambda: sell(BTC_SPOT)),
            (words.REFUSAL_ASSETS_LEFT, lambda: sell(BTC_PERP)),
        ],
    )
    assert story.state.lines_of(account) == []


def test_an_account_that_owes_nothing_keeps_even_its_dust(story: Story) -> None:
    account = story.account()
    story.do("confirm_deposit", account=account, asset=BTC, units=1)
    episode = story.episode(account)
    refused = story.do("resolve_shortfall", account=account, episode=episode)
    assert refused.refusal == words.REFUSAL_ASSETS_LEFT
    assert story.balance(account, BTC) == 1


@pytest.mark.parametrize(("units", "ok"), [(COIN // 1_000 - 1, True), (COIN // 1_000, False)])
def test_coins_below_one_lot_do_not_hold_it_up(story: Story, units: int, ok: bool) -> None:
    story.lend(usd=1_000)
    account, episode = indebted(story, 100)
    story.do("confirm_deposit", account=account, asset=BTC, units=units)
    outcome = story.do("resolve_shortfall", account=account, episode=episode)
    assert (outcome.refusal == 0) is ok
    if ok:
        assert story.state.lines_of(account) == []
        assert story.balance(story.house(SystemAccount.ROUNDING), BTC) == units


def test_cash_that_buys_no_share_back_does_not_hold_it_up(story: Story) -> None:
    story.lend(usd=1_000)
    assert not story.tick(USD, borrow_index=INDEX_ONE + INDEX_ONE // 20).refusal
    account, episode = indebted(story, 100)
    story.do("confirm_deposit", account=account, asset=USD, units=1)
    assert story.balance(account, USD) == 1
    assert [step for step, _ in resolve(story, account, episode)] == [LENDERS]


def test_each_asset_runs_down_its_own_waterfall(story: Story) -> None:
    story.lend(usd=1_000, btc=1)
    story.fund(SystemAccount.INSURANCE, btc=1)
    account, episode = indebted(story, 100)
    # a coin debt of half a lot, from a fee in coins
    story.do("close_episode", account=account, episode=episode, outcome=words.EPISODE_STATE_HEALTHY,
             citation=story.cite())  # fmt: skip
    inverse = story.order(account, BUY, 1, 1_500_000, instrument=21)
    story.fill(inverse, 1, 1_500_000, fee=50_000)
    story.trade(account, SELL, 1, 1_500_000, instrument=21)
    again = story.episode(account)
    outcome = story.do("resolve_shortfall", account=account, episode=again)
    steps = [(one.step, one.asset) for one in taken(outcome)]
    assert steps == [(LENDERS, USD), (FUND, BTC)]
    assert story.state.lines_of(account) == []


def test_an_overdraft_that_nobody_covers_is_the_house_s_loss(story: Story) -> None:
    story.lend(usd=60)
    story.fund(SystemAccount.SECOND_CAPITAL, usd=10)
    account, episode = indebted(story, 100)
    assert story.balance(account, USD, OVERDRAFT) == 40 * DOLLAR
    treasury, pool = story.house(SystemAccount.TREASURY), story.house(SystemAccount.POOL, USD)
    assert resolve(story, account, episode) == [(SECOND, 10), (LENDERS, 60), (SECOND, 30)]
    assert story.balance(treasury, USD) == -30 * DOLLAR  # what it lent and did not get back
    assert story.balance(treasury, USD, OVERDRAFT) == 0
    assert story.balance(pool, USD, LOSS) == 60 * DOLLAR


def test_a_claim_meets_the_debt_to_its_pool_though_an_overdraft_comes_first(story: Story) -> None:
    story.lend(usd=60)
    account = story.account(usd=40)
    story.do("supply", account=account, asset=USD, units=40 * DOLLAR)
    story.trade(account, BUY, 1, 100, fee=130 * DOLLAR)  # all that is idle, and more
    before = {kind: story.balance(account, USD, kind) for kind in (SUPPLY, DEBT, OVERDRAFT)}
    assert before == {SUPPLY: 40 * DOLLAR, DEBT: 100 * DOLLAR, OVERDRAFT: 30 * DOLLAR}
    story.episode(account)
    after = {kind: story.balance(account, USD, kind) for kind in (SUPPLY, DEBT, OVERDRAFT)}
    assert after == {SUPPLY: 0, DEBT: 60 * DOLLAR, OVERDRAFT: 30 * DOLLAR}
    story.verify()


def test_claims_come_back_before_the_waterfall_runs(story: Story) -> None:
    lender = story.lend(usd=100)
    account = story.account(usd=40)
    story.do("supply", account=account, asset=USD, units=40 * DOLLAR)
    borrower = story.account(btc=1)
    story.trade(borrower, BUY, 1, 100, fee=140 * DOLLAR)
    # the account owes coins, its claim is not idle
    story.trade(account, BUY, 1, 1_500_000, instrument=21)
    episode = story.episode(account)
    [order] = story.step(account, episode, step_order(SELL, 1, 1_500_000, instrument=21))
    story.fill(order, 1, 1_500_000, fee=50_000)
    assert story.balance(account, BTC, OVERDRAFT) > 0
    story.do("confirm_deposit", account=borrower, asset=USD, units=140 * DOLLAR)
    back = story.do("resolve_shortfall", account=account, episode=episode)
    assert (back.refusal, taken(back)) == (0, [])
    assert (story.balance(account, USD), story.balance(account, USD, SUPPLY)) == (40 * DOLLAR, 0)
    assert story.balance(lender, USD, SUPPLY) == 100 * DOLLAR


def test_the_house_buys_a_bankrupt_lender_s_claim_on_a_pool_with_nothing_idle(story: Story) -> None:
    story.lend(usd=100)
    account = story.account(usd=40)
    story.do("supply", account=account, asset=USD, units=40 * DOLLAR)
    story.trade(story.account(btc=1), BUY, 1, 100, fee=140 * DOLLAR)
    story.trade(account, BUY, 1, 1_500_000, instrument=21)
    episode = story.episode(account)
    [order] = story.step(account, episode, step_order(SELL, 1, 1_500_000, instrument=21))
    story.fill(order, 1, 1_500_000, fee=50_000)
    treasury = story.house(SystemAccount.TREASURY)
    sold = story.do("resolve_shortfall", account=account, episode=episode)
    assert (sold.refusal, taken(sold)) == (0, [])
    assert (story.balance(account, USD), story.balance(account, USD, SUPPLY)) == (40 * DOLLAR, 0)
    held = story.balance(treasury, USD, SUPPLY), story.balance(treasury, USD)
    other = story.account("bob", usd=60)
    story.do("supply", sender="bob", account=other, asset=USD, units=60 * DOLLAR)
    assert held == (40 * DOLLAR, -40 * DOLLAR)
    assert (story.balance(treasury, USD, SUPPLY), story.balance(treasury, USD)) == (0, 0)
    assert story.balance(story.house(SystemAccount.POOL, USD), USD) == 20 * DOLLAR


def test_worthless_shares_are_taken_by_the_pool() -> None:
    home = Story(partition=1)
    account = home.account(usd=1)
    home.do("supply", account=account, asset=USD, units=1)
    assert not home.tick(USD, supply_index=INDEX_ONE // 2, write_off_units=1).refusal
    assert home.balance(account, USD, SUPPLY) == 1
    home.do("redeem", account=account, asset=USD, units=0)
    assert (home.balance(account, USD, SUPPLY), home.balance(account, USD)) == (0, DOLLAR - 1)
    home.verify()


def test_lenders_bear_a_write_off_at_the_next_tick_and_never_twice(story: Story) -> None:
    home = story
    lender = home.lend(usd=1_000)
    account, episode = indebted(home, 100)
    pool = home.house(SystemAccount.POOL, USD)
    resolve(home, account, episode)
    assert home.balance(pool, USD, LOSS) == 100 * DOLLAR
    assert pool_left_over(home.state, USD) == 0
    fallen = INDEX_ONE * 9 // 10
    early = home.do("redeem", sender="lender", account=lender, asset=USD, units=0)
    assert early.refusal == words.REFUSAL_INDEX_BEHIND  # nobody leaves the loss to the others
    assert home.tick(USD, supply_index=fallen).refusal == words.REFUSAL_INDEX_OUT_OF_BOUNDS
    assert not home.tick(USD, supply_index=fallen, write_off_units=100 * DOLLAR).refusal
    assert home.balance(pool, USD, LOSS) == 0
    assert pool_left_over(home.state, USD) == 0
    home.do("redeem", sender="lender", account=lender, asset=USD, units=0)
    assert home.balance(lender, USD) == 900 * DOLLAR
    assert home.balance(pool, USD) == 0
    home.verify()


def test_a_relay_of_a_write_off_posts_nothing() -> None:
    town = Town(2)
    story = town[0]
    story.lend(usd=1_000)
    account, episode = indebted(story, 100)
    story.do("resolve_shortfall", account=account, episode=episode)
    town.relay()
    assert story.state.lines_of(account) == []
    assert not story.tick(USD, supply_index=INDEX_ONE * 9 // 10).refusal
    assert story.balance(story.house(SystemAccount.POOL, USD), USD, LOSS) == 100 * DOLLAR


@pytest.mark.parametrize(("owed", "forgiven"), [(10_000, True), (10_001, False)])
def test_debt_up_to_the_dust_limit_on_an_account_with_nothing_else_is_forgiven(
    story: Story, owed: int, forgiven: bool
) -> None:
    story.lend(usd=1_000)
    account = story.account()
    story.trade(account, BUY, 1, 100)
    story.fill(story.order(account, SELL, 1, 100), 1, 100, fee=owed)
    assert (story.state.lines_of(account) == []) is forgiven
    assert story.balance(story.house(SystemAccount.ROUNDING), USD) == (-owed if forgiven else 0)
    assert story.balance(account, USD, CASH) == 0


def test_dust_is_not_forgiven_to_an_account_that_holds_something(story: Story) -> None:
    story.lend(usd=1_000)
    account = story.account(btc=1)
    story.trade(account, BUY, 1, 100)
    story.fill(story.order(account, SELL, 1, 100), 1, 100, fee=5_000)
    assert story.balance(account, USD, DEBT) == 5_000
