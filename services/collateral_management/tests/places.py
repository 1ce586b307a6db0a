"""Where a story's assets sit: asking, moving, impairing, and the invariant of places."""

from __future__ import annotations

from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from services.collateral_management.domain.state import CASH, RESERVED, State
from services.collateral_management.tests.story import BTC, NORTH, SOUTH, USD, Story


def at(story: Story, account: int, asset: int, venue: int = NORTH) -> int:
    """Units of an account at a venue."""
    found = story.state.custody.places.get(account, {}).get((asset, venue))
    return found.units if found else 0


def move(story: Story, account: int, units: int, *, asset: int = USD, venue: int = NORTH) -> words.Refusal:
    """Refusal of moving units from the vault to a venue, or back."""
    return story.do("move_location", account=account, asset=asset, venue=venue, units=units).refusal


def impair(story: Story, *, loss: int = 0, haircut: int = 0, venue: int = NORTH) -> words.Refusal:
    """Refusal of an impairment, shares in percent."""
    return story.do(
        "impair_venue", venue=venue, loss_ppm=loss * 10_000, haircut_ppm=haircut * 10_000, reason="it halted payouts"
    ).refusal


def venue_units(state: State, story: Story, asset: int, venue: int) -> int:
    """Units that a venue holds for the house, by its own account."""
    return -story.balance(story.house(SystemAccount.VENUE, venue), asset)


def judge_places(story: Story) -> None:
    """I20: what venues hold is the sum of placements; a client's lie between nothing and what it has."""
    placed: dict[tuple[int, int], int] = {}
    for account, places in story.state.custody.places.items():
        for (asset, venue), one in places.items():
            placed[asset, venue] = placed.get((asset, venue), 0) + one.units
            if account in story.state.accounts:
                assert one.units >= 0, one
    for asset in (USD, BTC):
        for venue in (NORTH, SOUTH):
            assert placed.get((asset, venue), 0) == venue_units(story.state, story, asset, venue), (asset, venue)
        for account in story.state.accounts:
            has = story.balance(account, asset, CASH) + story.balance(account, asset, RESERVED)
            assert sum(at(story, account, asset, venue) for venue in (NORTH, SOUTH)) <= max(0, has)
