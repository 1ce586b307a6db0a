"""Accounts that owe more than they have, and what paid for them."""

from __future__ import annotations

from services.collateral_management.tests.story import BUY, DOLLAR, SELL, Story


def indebted(story: Story, owed: int) -> tuple[int, int]:
    """An account that owes whole dollars and has nothing, and its episode."""
    account = story.account()
    bought, sold = story.order(account, BUY, 1, 100), story.order(account, SELL, 1, 100)
    story.fill(bought, 1, 100)
    story.fill(sold, 1, 100, fee=owed * DOLLAR)
    return account, story.episode(account)


def paid(story: Story) -> list[tuple[int, int]]:
    """(step, whole dollars) of the waterfalls that ran."""
    effects = [effect for outcome in story.outcomes for effect in outcome.effects if effect.HasField("waterfall")]
    return [(one.waterfall.step, one.waterfall.units // DOLLAR) for one in effects]
