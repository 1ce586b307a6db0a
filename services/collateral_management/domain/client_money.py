"""What every command leaves true of client money, whatever it was for."""

from __future__ import annotations

from libs.common.ids import system_kind
from services.collateral_management.domain import consent, guards, places
from services.collateral_management.domain.draft import Draft


def keep(draft: Draft) -> None:
    """Serves recalls from pools that were moved, and keeps places and lent shares within what accounts have."""
    if draft.context.outage_at_ns:
        guards.note_outage(draft)
    if draft.has_moved:
        for asset in draft.pools_moved:
            consent.serve_recalls(draft, asset)
    if draft.custody.is_empty:
        return
    placed = draft.custody.placed
    for account in dict.fromkeys((*draft.clients_moved, *placed)) if placed else draft.clients_moved:
        if system_kind(account) is None:
            if draft.custody.has_places(account):
                places.keep_within(draft, account)
                places.check(draft, account)
            if draft.custody.has_terms(account):
                consent.keep_within(draft, account)
