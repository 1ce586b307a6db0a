"""Defects planted in an honest run, each with the name under which the reconciliation must report it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_account
from libs.common.validity import ValidityClass
from tools.reconcile.tests.lifecycle_defects import LIFECYCLE_DEFECTS
from tools.reconcile.tests.money_defects import MONEY_DEFECTS
from tools.reconcile.tests.story import BTC, BUY, PARAMETERS, PERP, USD, Story, honest

CASH, DEBT = words.LINE_KIND_CASH, words.LINE_KIND_DEBT_SHARES


def _house(kind: SystemAccount, index: int = 0) -> int:
    return system_account(kind, partition=0, index=index)


def _client(story: Story, owner: str) -> int:
    return next(one.account for one in story.books[0].accounts.values() if one.owner == owner)


def refold(story: Story) -> Story:
    """Fingerprints as a ledger with that journal would write them: a defect shall not hide behind a wrong one."""
    books = [PartitionBook(number) for number in range(PARAMETERS.partitions)]
    renewed: dict[bytes, bytes] = {}
    for frame in story.frames:
        book = books[frame.partition]
        book.apply(sequence=frame.sequence, run_time_ns=frame.run_time_ns, body=frame.body)
        renewed[frame.body.fingerprint] = book.fingerprint
        frame.body.fingerprint = book.fingerprint
    for margin in story.margins:
        margin.frame.fingerprint = renewed.get(margin.frame.fingerprint, margin.frame.fingerprint)
    return story


def ran(story: Story) -> journal_pb2.Outcome:
    """The outcome in which the last waterfall ran."""
    outcomes = [one for frame in story.frames for one in frame.body.outcomes]
    return [one for one in outcomes if any(effect.HasField("waterfall") for effect in one.effects)][-1]


def _all(story: Story, command: str, *, partition: int) -> list[journal_pb2.Outcome]:
    frames = [frame for frame in story.frames if frame.partition == partition]
    return [one for frame in frames for one in frame.body.outcomes if one.command == command]


def _last(story: Story, command: str, *, partition: int = 0) -> journal_pb2.Outcome:
    found = [
        outcome
        for frame in story.frames
        if frame.partition == partition
        for outcome in frame.body.outcomes
        if outcome.command == command
    ]
    return found[-1]


def _post(story: Story, outcome: journal_pb2.Outcome, *lines: tuple[int, int, int, int]) -> None:
    """Adds postings (account, asset, kind, delta) that continue the lines as they stand at the end."""
    versions: dict[tuple[int, int, int], int] = {}
    for frame in story.frames:
        for each in frame.body.outcomes:
            for effect in each.effects:
                if effect.HasField("posting"):
                    one = effect.posting
                    versions[one.account, one.asset, one.kind] = one.version
    for account, asset, kind, delta in lines:
        balance = story.books[0].lines.get((account, asset, kind), 0) + delta
        outcome.effects.add().posting.CopyFrom(
            journal_pb2.Posting(
                account=account,
                asset=asset,
                kind=words.LineKind.Name(kind) if kind else "LINE_KIND_UNSPECIFIED",
                delta=delta,
                balance=balance,
                version=versions.get((account, asset, kind), 0) + 1,
            )
        )


def money_from_nowhere() -> Story:
    story = honest()
    _post(story, _last(story, "set_index"), (_house(SystemAccount.SUSPENSE), USD, CASH, 5))
    return story


def pool_pays_the_house() -> Story:
    story = honest()
    pool, treasury = _house(SystemAccount.POOL, USD), _house(SystemAccount.TREASURY)
    _post(story, _last(story, "set_index"), (pool, USD, CASH, -1_000), (treasury, USD, CASH, 1_000))
    return story


def pool_counts_other_shares_than_its_lenders() -> Story:
    story = honest()
    pool, suspense = _house(SystemAccount.POOL, USD), _house(SystemAccount.SUSPENSE)
    supply = words.LINE_KIND_SUPPLY_SHARES
    _post(story, _last(story, "set_index"), (pool, USD, supply, 7), (suspense, USD, supply, -7))
    return story


def house_counts_other_overdrafts_than_its_clients() -> Story:
    story = honest()
    treasury, suspense = _house(SystemAccount.TREASURY), _house(SystemAccount.SUSPENSE)
    overdraft = words.LINE_KIND_OVERDRAFT_SHARES
    _post(story, _last(story, "set_index"), (treasury, USD, overdraft, -7), (suspense, USD, overdraft, 7))
    return story


def emptied_account_owes() -> Story:
    story = honest()
    bob, pool = _client(story, "bob"), _house(SystemAccount.POOL, USD)
    _post(story, _last(story, "close_episode"), (bob, USD, DEBT, 10), (pool, USD, DEBT, -10))
    return story


def waterfall_says_more_than_it_posted() -> Story:
    story = honest()
    for effect in ran(story).effects:
        if effect.HasField("waterfall"):
            effect.waterfall.units += 1
    return story


def lenders_bear_a_loss_before_others_were_asked() -> Story:
    story = honest()
    for effect in ran(story).effects:
        effect.capital_ask.is_over = effect.HasField("capital_ask") and not effect.capital_ask.is_over
    return story


def movement_arrives_smaller_than_it_left() -> Story:
    story = honest()
    outcome = next(one for one in _all(story, "arrive", partition=2) if any(e.posting.account for e in one.effects))
    for effect in outcome.effects:
        if effect.HasField("posting"):
            effect.posting.delta -= 7 if effect.posting.delta > 0 else -7
            effect.posting.balance -= 7 if effect.posting.balance > 0 else -7
    return story


def movement_arrives_that_was_never_sent() -> Story:
    story = honest()
    _all(story, "arrive", partition=1)[-1].fact.sequence += 1
    return story


def movement_is_forgotten() -> Story:
    story = honest()
    story.frames.remove(next(frame for frame in story.frames if frame.body.outcomes[0].command == "arrive"))
    for number, frame in enumerate([one for one in story.frames if one.partition == 1]):
        story.frames[story.frames.index(frame)] = replace(frame, sequence=number + 1)
    return story


def _index(story: Story, change: Callable[[journal_pb2.PoolIndex], None]) -> Story:
    for partition in range(PARAMETERS.partitions):
        found = [
            effect.pool_index
            for frame in story.frames
            if frame.partition == partition
            for outcome in frame.body.outcomes
            for effect in outcome.effects
            if effect.HasField("pool_index") and effect.pool_index.asset == USD
        ]
        change(found[-1])
    return story


def lenders_are_credited_more_than_borrowers_paid() -> Story:
    def raise_claims(one: journal_pb2.PoolIndex) -> None:
        one.supply_index += 10**10

    return _index(honest(), raise_claims)


def borrow_index_falls() -> Story:
    def lower(one: journal_pb2.PoolIndex) -> None:
        one.borrow_index = 10**15 - 1

    return _index(honest(), lower)


def supply_index_falls_without_a_loss() -> Story:
    def lower(one: journal_pb2.PoolIndex) -> None:
        one.supply_index -= 10**6

    return _index(honest(), lower)


def partitions_disagree_on_a_tick() -> Story:
    story = honest()
    for effect in _last(story, "set_index", partition=2).effects:
        if effect.HasField("pool_index"):
            effect.pool_index.overdraft_index += 1
    return story


def version_is_skipped() -> Story:
    story = honest()
    _post(story, _last(story, "set_index"), (_house(SystemAccount.ROUNDING), BTC, CASH, 1))
    _post(story, _last(story, "set_index"), (_house(SystemAccount.SUSPENSE), BTC, CASH, -1))
    _last(story, "set_index").effects[-1].posting.version += 1
    return story


def published_margin_is_not_that_of_the_book() -> Story:
    story = honest()
    story.margins[-1].frame.maintenance_margin[2] += 1
    return story


def margin_is_published_twice_with_other_figures() -> Story:
    story = honest()
    cited = next(one for one in story.margins if 3 in one.frame.state)
    copy = type(cited.frame)()
    copy.CopyFrom(cited.frame)
    copy.equity[0] += 1
    story.margins.append(type(cited)(copy))
    return story


def episode_opens_on_a_held_mark() -> Story:
    return honest(crash=ValidityClass.HOLD)


def withdrawal_is_let_out_on_one_source() -> Story:
    story = honest()
    story.marks[0].body.validity = bytes([ValidityClass.DEGRADED] * len(story.marks[0].body.validity))
    return story


def variation_settles_off_the_mark() -> Story:
    story = honest()
    for effect in _last(story, "settle_variation").effects:
        if effect.HasField("settlement"):
            effect.settlement.price += 1
    return story


def healthy_account_is_liquidated() -> Story:
    story = honest()
    for effect in _last(story, "open_episode").effects:
        if effect.HasField("episode"):
            effect.episode.equity = effect.episode.maintenance_margin
    return story


def house_takes_from_a_client() -> Story:
    story = honest()
    lines = ((_client(story, "carol"), BTC, CASH, -500), (_house(SystemAccount.TREASURY), BTC, CASH, 500))
    _post(story, _last(story, "set_index"), *lines)
    return story


def client_moves_anothers_money() -> Story:
    story = honest()
    _last(story, "withdraw").principal.id = "mallory"
    return story


def fill_hits_another_account() -> Story:
    story = honest()
    for effect in _last(story, "order_report").effects:
        if effect.HasField("fill"):
            effect.fill.account = _client(story, "carol")
    return story


def risk_has_another_book() -> Story:
    story = honest()
    story.margins[-1].frame.fingerprint = bytes(16)
    return story


def ledger_writes_another_fingerprint() -> Story:
    story = honest()
    story.frames[-1].body.fingerprint = bytes(16)
    return story


def risk_publishes_two_books() -> Story:
    story = honest()
    last = story.margins[-1]
    copy = type(last.frame)()
    copy.CopyFrom(last.frame)
    copy.fingerprint = bytes(16)
    story.margins.append(type(last)(copy))
    return story


def order_is_forgotten() -> Story:
    story = honest()
    story.send(
        "place_order", sender="alice", account=_client(story, "alice"), instrument=PERP, venue=1, side=BUY, lots=1,
        limit_price=700_000, time_in_force=1,
    )  # fmt: skip
    return story


def episode_opens_twice() -> Story:
    story = honest()
    reopened = _last(story, "set_index").effects.add().episode
    for effect in _last(story, "close_episode").effects:
        if effect.HasField("episode"):
            reopened.CopyFrom(effect.episode)
    reopened.state = words.EPISODE_STATE_OPEN
    return story


def episode_never_ends() -> Story:
    return honest(closed=False)


DEFECTS = [
    *LIFECYCLE_DEFECTS,
    ("I1", money_from_nowhere),
    ("I2", pool_pays_the_house),
    ("I2", pool_counts_other_shares_than_its_lenders),
    ("I2", house_counts_other_overdrafts_than_its_clients),
    ("I2", lenders_are_credited_more_than_borrowers_paid),
    ("I6", emptied_account_owes),
    ("I6", waterfall_says_more_than_it_posted),
    ("I6", lenders_bear_a_loss_before_others_were_asked),
    ("I7", borrow_index_falls),
    ("I7", supply_index_falls_without_a_loss),
    ("I7", partitions_disagree_on_a_tick),
    ("I8", version_is_skipped),
    ("I8", published_margin_is_not_that_of_the_book),
    ("I8", margin_is_published_twice_with_other_figures),
    ("I9", episode_opens_on_a_held_mark),
    ("I9", withdrawal_is_let_out_on_one_source),
    ("I9", variation_settles_off_the_mark),
    ("I10", healthy_account_is_liquidated),
    ("I10", house_takes_from_a_client),
    ("I10", client_moves_anothers_money),
    ("I10", fill_hits_another_account),
    ("I13", risk_has_another_book),
    ("I13", risk_publishes_two_books),
    ("I13", order_is_forgotten),
    ("I13", episode_opens_twice),
    ("I15", movement_arrives_smaller_than_it_left),
    ("I15", movement_arrives_that_was_never_sent),
    ("I15", movement_is_forgotten),
    *MONEY_DEFECTS,
    ("episodes", episode_never_ends),
]
# Defects that no other check can see: the invariant is named, and it alone.
ALONE = {
    money_from_nowhere,
    pool_pays_the_house,
    partitions_disagree_on_a_tick,
    version_is_skipped,
    published_margin_is_not_that_of_the_book,
    episode_opens_on_a_held_mark,
    variation_settles_off_the_mark,
    client_moves_anothers_money,
    risk_has_another_book,
    order_is_forgotten,
    episode_never_ends,
}
