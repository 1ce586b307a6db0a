"""What the house may do with a client's units: kept apart, or lent to the pool by dated consent and up to a cap."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, custody_pb2
from ballast.types.v1 import custody_pb2 as custody_words
from ballast.types.v1 import ledger_pb2 as words
from libs.common.errors import invariant
from libs.common.units import INDEX_ONE, INT63, mul_div_down
from services.collateral_management.domain import money
from services.collateral_management.domain.accounts import index_behind, known_pool, owned, spendable
from services.collateral_management.domain.custody import copied
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import CASH, SUPPLY

RECALLS_AT_ONCE = 64  # of one command: the next one goes on
DOCUMENT_HASH_BYTES = 32


def set_custody_terms(draft: Draft, body: custody_pb2.SetCustodyTerms, sender: commands_pb2.Principal) -> int | Refused:
    """The account whose terms change; what is lent beyond them comes back at once, as far as the pool has it."""
    refused = owned(draft, body.account, sender) or known_pool(draft, body.asset)
    refused = refused or _is_consent(draft, body)
    if refused:
        return refused
    before = draft.custody.terms(body.account, body.asset)
    draft.custody.put_terms(
        custody_pb2.CustodyTerms(
            account=body.account, asset=body.asset, mode=body.mode, cap_units=body.cap_units,
            document_hash=body.document_hash, consented_at_ns=body.consented_at_ns,
            recorded_at_ns=draft.context.now_ns, lent_shares=before.lent_shares if before else 0,
        )
    )  # fmt: skip
    recall(draft, body.account, body.asset)
    return body.account


def _is_consent(draft: Draft, body: custody_pb2.SetCustodyTerms) -> Refused | None:
    """A consent names its document and its cap; taking it back needs neither, and nothing undoes a later word."""
    before = draft.custody.terms(body.account, body.asset)
    if body.mode == custody_words.CUSTODY_MODE_LENDABLE:
        if len(body.document_hash) != DOCUMENT_HASH_BYTES:
            return Refused(words.REFUSAL_CONSENT_INVALID, "expected the SHA-256 of the signed document, 32 bytes")
        if not 0 < body.cap_units < INT63:
            return Refused(words.REFUSAL_CONSENT_INVALID, f"expected a cap above 0, was {body.cap_units}")
        least_ns = before.consented_at_ns if before else 1
        if not least_ns <= body.consented_at_ns <= draft.context.now_ns:
            return Refused(
                words.REFUSAL_CONSENT_INVALID,
                f"expected a date from {least_ns} to {draft.context.now_ns}, was {body.consented_at_ns}",
            )
        return None
    if body.mode != custody_words.CUSTODY_MODE_SEGREGATED:
        return Refused(words.REFUSAL_CONSENT_INVALID, "expected segregated or lendable")
    if body.cap_units or len(body.document_hash) not in (0, DOCUMENT_HASH_BYTES):
        return Refused(words.REFUSAL_CONSENT_INVALID, "expected no cap, and a document's SHA-256 or none")
    if body.consented_at_ns > draft.context.now_ns:
        return Refused(words.REFUSAL_CONSENT_INVALID, f"expected a date up to {draft.context.now_ns}")
    return None


def sweep_lendable(draft: Draft, body: custody_pb2.SweepLendable, sender: commands_pb2.Principal) -> int | Refused:
    """The account whose idle units go to the pool, as far as its terms allow."""
    refused = owned(draft, body.account, sender) or known_pool(draft, body.asset)
    if refused:
        return refused
    room = lendable_room(draft, body.account, body.asset)
    if room <= 0:
        return Refused(words.REFUSAL_NO_CONSENT, f"account {body.account} lets no more of {body.asset} be lent")
    units = min(room, draft.balance(body.account, body.asset, CASH))
    refused = spendable(draft, body.account, asset=body.asset, units=max(1, units)) or index_behind(draft, body.asset)
    if refused:
        return refused
    shares = money.supply(draft, body.account, body.asset, units)
    if not shares:
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"{units} units are less than one share")
    terms = draft.custody.terms(body.account, body.asset)
    assert terms is not None  # noqa: S101  for the type checker: there is room by them
    changed = copied(terms)
    changed.lent_shares += shares
    draft.custody.put_terms(changed)
    lent = lent_units(draft, changed)
    invariant(lent <= changed.cap_units, "I21", f"account {body.account} has {lent} lent, cap {changed.cap_units}")
    money.put_to_work(draft, body.asset)
    return body.account


def recall_lent(draft: Draft, body: custody_pb2.RecallLent, sender: commands_pb2.Principal) -> int | Refused:
    """The account whose units come back from the pool as far as its terms do not allow them there."""
    refused = owned(draft, body.account, sender) or known_pool(draft, body.asset)
    if refused:
        return refused
    terms = draft.custody.terms(body.account, body.asset)
    if terms is None or not beyond_terms(draft, terms):
        return Refused(words.REFUSAL_INSUFFICIENT_BALANCE, f"nothing of {body.asset} is lent beyond its terms")
    recall(draft, body.account, body.asset)
    return body.account


def lent_units(draft: Draft, terms: custody_pb2.CustodyTerms) -> int:
    """What the pool owes the account for units lent under its terms, rounded down as its claim is."""
    held = draft.balance(terms.account, terms.asset, SUPPLY)
    return mul_div_down(min(terms.lent_shares, held), draft.state.supply_index(terms.asset), INDEX_ONE)


def beyond_terms(draft: Draft, terms: custody_pb2.CustodyTerms) -> int:
    """Units lent that the terms do not cover any more. Interest may grow beyond a cap; it was not taken from cash."""
    if terms.mode != custody_words.CUSTODY_MODE_LENDABLE:
        return lent_units(draft, terms)
    return terms.recall_units and max(0, lent_units(draft, terms) - terms.cap_units)


def lendable_room(draft: Draft, account: int, asset: int) -> int:
    """Units that may still be lent; 0 for one without consent, and while units are on their way back."""
    terms = draft.custody.terms(account, asset)
    if terms is None or terms.mode != custody_words.CUSTODY_MODE_LENDABLE or terms.recall_units:
        return 0
    return max(0, terms.cap_units - lent_units(draft, terms))


def recall(draft: Draft, account: int, asset: int) -> None:
    """Brings back what is lent beyond the terms, as far as the pool is idle, and notes what is still missing."""
    terms = draft.custody.terms(account, asset)
    if terms is None:
        return
    allowed = terms.cap_units if terms.mode == custody_words.CUSTODY_MODE_LENDABLE else 0
    wanted = max(0, lent_units(draft, terms) - allowed)
    changed = copied(terms)
    if wanted or (not allowed and terms.lent_shares):
        before = draft.balance(account, asset, SUPPLY)
        paid = 0 if index_behind(draft, asset) else money.redeem(draft, account, asset, wanted)
        burned = before - draft.balance(account, asset, SUPPLY)
        changed.lent_shares = max(0, min(terms.lent_shares, before) - burned)
        left = max(0, lent_units(draft, changed) - allowed)
        changed.recall_units = left
        if not left and not allowed:
            changed.lent_shares = 0  # less than a unit is left of them
        if paid:
            money.straighten(draft, account, asset)
    else:
        changed.recall_units = 0
    if changed != draft.custody.terms(account, asset):
        draft.custody.put_terms(changed)


def keep_within(draft: Draft, account: int) -> None:
    """Counts as lent no more shares than the account still holds."""
    for asset in draft.custody.assets_with_terms(account):
        terms = draft.custody.terms(account, asset)
        held = draft.balance(account, asset, SUPPLY)
        if terms is not None and terms.lent_shares > held:
            changed = copied(terms)
            changed.lent_shares = held
            allowed = terms.cap_units if terms.mode == custody_words.CUSTODY_MODE_LENDABLE else 0
            changed.recall_units = min(terms.recall_units, max(0, lent_units(draft, changed) - allowed))
            draft.custody.put_terms(changed)


def serve_recalls(draft: Draft, asset: int) -> None:
    """Gives a pool's idle units to those who wait for theirs, by account, before anybody else can borrow them."""
    for account in draft.custody.recalling(asset)[:RECALLS_AT_ONCE]:
        recall(draft, account, asset)
