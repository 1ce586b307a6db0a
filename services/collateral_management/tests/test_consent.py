"""Client money is kept apart, or lent by dated consent and up to a cap; taken back, it comes home."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.types.v1 import custody_pb2 as custody
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, account_id
from libs.common.units import INDEX_ONE
from services.collateral_management.domain.state import CASH, RESERVED, SUPPLY
from services.collateral_management.tests.ladders import climb
from services.collateral_management.tests.story import BTC_PERP, BUY, DOLLAR, SELL, USD, Story

NOBODY = account_id(partition=0, entity=9_999, sub=0)
DOCUMENT = b"\x07" * 32
LENDABLE, SEGREGATED = custody.CUSTODY_MODE_LENDABLE, custody.CUSTODY_MODE_SEGREGATED


def consent(story: Story, account: int, dollars: int, **changed: Any) -> words.Refusal:
    """Refusal of a consent to lend so many dollars."""
    fields = {
        "account": account, "asset": USD, "mode": LENDABLE, "cap_units": dollars * DOLLAR, "document_hash": DOCUMENT,
        "consented_at_ns": story.now_ns,
    }  # fmt: skip
    return story.do("set_custody_terms", **{**fields, **changed}).refusal


def take_back(story: Story, account: int) -> words.Refusal:
    """Refusal of taking a consent back."""
    return story.do("set_custody_terms", account=account, asset=USD, mode=SEGREGATED).refusal


def sweep(story: Story, account: int) -> words.Refusal:
    """Refusal of lending what the terms allow."""
    return story.do("sweep_lendable", account=account, asset=USD).refusal


def borrow(story: Story, dollars: int) -> int:
    """Id of an account that owes so many dollars to the pool."""
    account = story.account("bob")
    bought, sold = (story.order(account, side, 1, 100, sender="bob") for side in (BUY, SELL))
    story.fill(bought, 1, 100)
    story.fill(sold, 1, 100, fee=dollars * DOLLAR)
    return account


def test_set_custody_terms(story: Story) -> None:
    account = story.account(usd=100)
    story.pass_time(10)
    now_ns = story.now_ns
    assert not consent(story, account, 1, consented_at_ns=now_ns - 5)
    outcome = climb(
        story,
        "set_custody_terms",
        {"account": NOBODY, "asset": 99, "sender": "mallory", "cap_units": -1, "document_hash": b"short"},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": account}),
            (words.REFUSAL_NOT_AUTHORISED, {"sender": "alice"}),
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": USD}),
            (words.REFUSAL_CONSENT_INVALID, {"mode": LENDABLE}),
            (words.REFUSAL_CONSENT_INVALID, {"document_hash": DOCUMENT}),
            (words.REFUSAL_CONSENT_INVALID, {"cap_units": 0}),
            (words.REFUSAL_CONSENT_INVALID, {"cap_units": 50 * DOLLAR}),
            (words.REFUSAL_CONSENT_INVALID, {"consented_at_ns": now_ns + 1}),
            (words.REFUSAL_CONSENT_INVALID, {"consented_at_ns": now_ns - 6}),  # before the one in force
            (words.REFUSAL_CONSENT_INVALID, {"consented_at_ns": now_ns}),
        ],
    )
    terms = story.state.custody.terms[account][USD]
    assert outcome.subject == account
    assert (terms.mode, terms.cap_units, terms.document_hash) == (LENDABLE, 50 * DOLLAR, DOCUMENT)
    assert (terms.consented_at_ns, terms.recorded_at_ns) == (now_ns, now_ns)


@pytest.mark.parametrize(
    "faulty", [{"cap_units": 1}, {"document_hash": b"short"}, {"consented_at_ns": 2**62}, {"mode": 0}]
)
def test_taking_a_consent_back_names_no_cap_and_needs_no_document(story: Story, faulty: dict[str, Any]) -> None:
    account = story.account(usd=100)
    fields: dict[str, Any] = {"account": account, "asset": USD, "mode": SEGREGATED}
    assert story.do("set_custody_terms", **{**fields, **faulty}).refusal == words.REFUSAL_CONSENT_INVALID
    assert not story.do("set_custody_terms", **fields).refusal


def test_sweep_lendable(story: Story) -> None:
    account = story.account(usd=100)
    restricted = story.account("bob", usd=100)

    def catch_up() -> None:
        story.tick(USD)

    def agree() -> None:
        consent(story, account, 60)

    story.do("set_custody_terms", sender="bob", account=restricted, asset=USD, mode=LENDABLE, cap_units=DOLLAR,
             document_hash=DOCUMENT, consented_at_ns=story.now_ns)  # fmt: skip
    story.episode(restricted)
    story.now_ns += story.parameters.schedule.interest_every_ns  # a tick is due
    climb(
        story,
        "sweep_lendable",
        {"account": NOBODY, "asset": 99},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": restricted}),
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": USD}),
            (words.REFUSAL_ACCOUNT_RESTRICTED, {"account": account}),
            (words.REFUSAL_NO_CONSENT, agree),
            (words.REFUSAL_INDEX_BEHIND, catch_up),
        ],
    )
    assert (story.balance(account, USD), story.balance(account, USD, SUPPLY)) == (40 * DOLLAR, 60 * DOLLAR)
    assert sweep(story, account) == words.REFUSAL_NO_CONSENT  # the cap is reached
    consent(story, account, 1_000)
    assert not sweep(story, account)
    assert sweep(story, account) == words.REFUSAL_INSUFFICIENT_BALANCE


def test_recall_lent(story: Story) -> None:
    account = story.account(usd=100)
    consent(story, account, 60)
    sweep(story, account)
    borrow(story, 60)

    def withdraw_consent() -> None:
        take_back(story, account)

    climb(
        story,
        "recall_lent",
        {"account": NOBODY, "asset": 99, "sender": "mallory"},
        [
            (words.REFUSAL_UNKNOWN_ACCOUNT, {"account": account}),
            (words.REFUSAL_NOT_AUTHORISED, {"sender": "alice"}),
            (words.REFUSAL_UNKNOWN_ASSET, {"asset": USD}),
            (words.REFUSAL_INSUFFICIENT_BALANCE, withdraw_consent),  # nothing is beyond the terms
        ],
    )
    assert story.state.custody.terms[account][USD].recall_units == 60 * DOLLAR


def test_cash_without_consent_is_never_swept(story: Story) -> None:
    account = story.account(usd=100)
    assert sweep(story, account) == words.REFUSAL_NO_CONSENT
    take_back(story, account)
    assert sweep(story, account) == words.REFUSAL_NO_CONSENT
    assert story.balance(account, USD) == 100 * DOLLAR


def test_a_consent_taken_back_brings_units_home_at_once_when_they_are_idle(story: Story) -> None:
    account = story.account(usd=100)
    consent(story, account, 100)
    sweep(story, account)
    assert story.balance(account, USD) == 0
    take_back(story, account)
    terms = story.state.custody.terms[account][USD]
    assert (story.balance(account, USD), story.balance(account, USD, SUPPLY)) == (100 * DOLLAR, 0)
    assert (terms.lent_shares, terms.recall_units, terms.mode) == (0, 0, SEGREGATED)


def test_lent_units_come_home_as_borrowers_repay_and_nobody_borrows_them_again(story: Story) -> None:
    account = story.account(usd=100)
    consent(story, account, 100)
    sweep(story, account)
    borrower = borrow(story, 100)
    take_back(story, account)
    assert story.state.custody.terms[account][USD].recall_units == 100 * DOLLAR
    assert sweep(story, account) == words.REFUSAL_NO_CONSENT
    story.do("confirm_deposit", account=borrower, asset=USD, units=30 * DOLLAR)
    assert story.balance(account, USD) == 30 * DOLLAR
    assert story.balance(story.house(SystemAccount.POOL, USD), USD) == 0
    story.do("confirm_deposit", account=borrower, asset=USD, units=1_000 * DOLLAR)
    assert story.balance(account, USD) == 100 * DOLLAR
    assert not story.state.custody.recalls[USD]


def test_a_lower_cap_brings_back_the_difference(story: Story) -> None:
    account = story.account(usd=100)
    consent(story, account, 80)
    sweep(story, account)
    consent(story, account, 30)
    assert (story.balance(account, USD), story.balance(account, USD, SUPPLY)) == (70 * DOLLAR, 30 * DOLLAR)


def test_what_the_owner_supplies_itself_is_not_recalled(story: Story) -> None:
    account = story.account(usd=100)
    story.do("supply", account=account, asset=USD, units=20 * DOLLAR)
    consent(story, account, 50)
    sweep(story, account)
    assert story.balance(account, USD, SUPPLY) == 70 * DOLLAR
    take_back(story, account)
    assert story.balance(account, USD, SUPPLY) == 20 * DOLLAR


def test_redeeming_what_was_lent_frees_the_cap(story: Story) -> None:
    account = story.account(usd=100)
    consent(story, account, 50)
    sweep(story, account)
    story.do("redeem", account=account, asset=USD)
    assert story.state.custody.terms[account][USD].lent_shares == 0
    assert not sweep(story, account)
    assert story.balance(account, USD, SUPPLY) == 50 * DOLLAR


def test_interest_beyond_the_cap_stays_lent_until_it_is_recalled(story: Story) -> None:
    account = story.account(usd=100)
    consent(story, account, 50)
    sweep(story, account)
    borrow(story, 50)
    story.tick(USD, supply_index=INDEX_ONE * 104 // 100, borrow_index=INDEX_ONE * 104 // 100)
    assert sweep(story, account) == words.REFUSAL_NO_CONSENT
    take_back(story, account)
    assert story.state.custody.terms[account][USD].recall_units == 52 * DOLLAR


def lent_beyond_consent(story: Story) -> list[int]:
    """Accounts that lend by sweeps more than their consent, and are not on their way back."""
    found = []
    for account, by_asset in story.state.custody.terms.items():
        terms = by_asset[USD]
        allowed = terms.cap_units if terms.mode == LENDABLE else 0
        claim = min(terms.lent_shares, story.balance(account, USD, SUPPLY))
        if claim * story.state.supply_index(USD) // INDEX_ONE > allowed + terms.recall_units:
            found.append(account)
    return found


steps = st.lists(
    st.tuples(
        st.sampled_from(["consent", "sweep", "back", "recall", "borrow", "repay", "withdraw", "redeem", "supply"]),
        st.integers(0, 2),
        st.integers(1, 120),
    ),
    max_size=40,
)


@given(steps)
@settings(max_examples=150)
def test_i21_only_consented_cash_is_ever_lent_and_never_beyond_its_cap(moves: Sequence[tuple[str, int, int]]) -> None:
    story = Story()
    clients = [story.account("alice", usd=100) for _ in range(3)]
    borrower = borrow(story, 1)
    for what, which, dollars in moves:
        account = clients[which]
        cash = {each: story.balance(each, USD) + story.balance(each, USD, RESERVED) for each in clients}
        match what:
            case "consent":
                consent(story, account, dollars)
            case "sweep":
                sweep(story, account)
            case "back":
                take_back(story, account)
            case "recall":
                story.do("recall_lent", account=account, asset=USD)
            case "borrow":
                borrow(story, dollars)
            case "repay":
                story.do("confirm_deposit", account=borrower, asset=USD, units=dollars * DOLLAR)
            case "withdraw":
                story.do("withdraw", account=account, asset=USD, units=dollars * DOLLAR, destination="bank")
            case _:
                story.do(what, account=account, asset=USD, units=dollars * DOLLAR)
        for each in clients:
            now = story.balance(each, USD) + story.balance(each, USD, RESERVED)
            own = each == account and what in ("sweep", "supply")
            assert now >= cash[each] or own, f"{what} takes {cash[each] - now} of account {each}"
        assert lent_beyond_consent(story) == []
        assert story.balance(story.house(SystemAccount.POOL, USD), USD, CASH) >= 0
    story.verify()


def test_a_position_moves_no_cash_of_others(story: Story) -> None:
    holder = story.account(usd=100)
    borrow(story, 1_000)  # no pool: the house lends it, at its own risk
    story.trade(story.account("carol", usd=10), BUY, 1, 100, instrument=BTC_PERP, sender="carol")
    assert story.balance(holder, USD) == 100 * DOLLAR
