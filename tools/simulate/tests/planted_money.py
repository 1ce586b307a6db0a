"""Bugs of client money: function, what it says, what it reads with the bug, and the invariants that may show it."""

from __future__ import annotations

_LEDGER = "services.collateral_management.domain"

MONEY_BUGS = (
    (
        "a sweep goes beyond the consent",
        f"{_LEDGER}.consent:sweep_lendable",
        "units = min(room, ",
        "units = min(room * 9, ",
        "I21",
    ),
    (
        "a closed gate lets out what was judged before",
        f"{_LEDGER}.reservations:verdict",
        "if held is not None:",
        "if held is not None and not held.reason:",
        "I22",
    ),
    (
        "what leaves is not counted",
        f"{_LEDGER}.outflows:_count",
        "_add(parts, _part(draft, part_ns), units, granted)",
        "_add(parts, _part(draft, part_ns), 0, 0)",
        "I22",
    ),
    (
        "a bank forgets what it has granted",
        f"{_LEDGER}.outflows:_grant",
        "_add(parts, _part(draft, part_ns), units)",
        "_add(parts, _part(draft, part_ns), 0)",
        "I22",
    ),
    (
        "what is bought is not placed",
        f"{_LEDGER}.places:at_venue",
        "    place(draft, account, venue=venue, asset=asset, units=units)\n",
        "    place(draft, account, venue=venue, asset=asset, units=0)\n",
        "I20",
    ),
    (
        "what has left an account stays placed in its name",
        f"{_LEDGER}.client_money:keep",
        "places.keep_within(draft, account)",
        "pass",
        "I20",
    ),
    (
        "a venue's loss is taken again and again",
        f"{_LEDGER}.locations:bear",
        "draft.custody.put_placement(after)",
        "draft.custody.put_placement(one)",
        "I20",
        "I10",
    ),
    (
        "places stay behind when their entity moves",
        f"{_LEDGER}.moving_places:settle_in",
        "_take(draft, placed, account)",
        "pass",
        "I20",
    ),
)
