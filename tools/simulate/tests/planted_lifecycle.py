"""Bugs of what happens beside trading: function, what it says, what it reads with the bug, and what may show it."""

from __future__ import annotations

_LEDGER = "services.collateral_management.domain"

LIFECYCLE_BUGS = (
    (
        "an instrument settles at the mark instead of the average",
        "services.price_ingestion.domain.averages:Averages._moved",
        "average = mul_div_down(known.weighted, one.numerator, known.covered_ns * one.denominator)",
        "average = mul_div_down(fresh.get(one.index, price or 1), one.numerator, one.denominator)",
        "I16",
    ),
    (
        "who has gained least is deleveraged first",
        "libs.common.deleveraging:ranked",
        "key=lambda one: (-_score(one), one.account)",
        "key=lambda one: (_score(one), one.account)",
        "I11",
    ),
    (
        "each partition bears the whole of a venue's loss",
        "services.venue_gateway.app.notices:Notices._part",
        "lots, units = before.left_lots, before.left_units",
        "lots, units = event.lots, event.units",
        "once",
    ),
    (
        "the last of a batch is paid again with the next one",
        f"{_LEDGER}.sweeps:_accounts_after",
        "if account > cursor:",
        "if account >= cursor:",
        "I10",
    ),
    (
        "who moves what counts before his turn is paid twice",
        f"{_LEDGER}.conversions:_credit_batch",
        "return account not in early and ",
        "return ",
        "I10",
    ),
    (
        "who exercises a call is paid its strike",
        f"{_LEDGER}.payoffs:_option_worth",
        "lots=-bought",
        "lots=bought",
        "I10",
    ),
    (
        "what comes late is held for ever",
        f"{_LEDGER}.closing:close_what_came_late",
        "    if not listings:\n",
        "    if listings is not None:\n",
        "I16",
    ),
    (
        "who takes a position over is paid three collars",
        "services.liquidation_execution.domain.last_resort:take_over",
        "share(position.mark, rules.collar, up=False)",
        "share(position.mark, rules.collar * 3, up=False)",
        "I11",
    ),
    (
        "a redenomination rounds toward the account",
        f"{_LEDGER}.conversions:_convert",
        "fresh = mul_div_down(",
        "fresh = mul_div_up(",
        "I10",
    ),
    (
        "the smallest remainder of a venue's loss bears the rest",
        f"{_LEDGER}.sharing:shares",
        "key=lambda account: (-exact[account][1], account)",
        "key=lambda account: (exact[account][1], account)",
        "I10",
    ),
)
