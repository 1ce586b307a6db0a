"""The figures of a result as measures of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from ballast.types.v1 import ledger_pb2
from libs.common.ids import SystemAccount
from libs.common.units import INDEX_ONE, Units, from_scaled, from_units
from tools.reconcile.checks.lifecycle import SettledAsPublished
from tools.reconcile.checks.pools import PoolsBalance
from tools.reconcile.checks.repeatable import SameAgain
from tools.reconcile.checks.same_book import SameBook
from tools.reconcile.checks.validity import UsableMarks
from tools.reconcile.engine import Result
from tools.reconcile.figures import Episode, Figures
from tools.reconcile.windows import Window
from tools.report import Measure

_C = TypeVar("_C")
_CLASSES = ("VALID", "DEGRADED", "HOLD", "STALE", "heartbeat")
_ENDS = {
    ledger_pb2.EPISODE_STATE_HEALTHY: "healthy again",
    ledger_pb2.EPISODE_STATE_EMPTIED: "closed out",
    ledger_pb2.EPISODE_STATE_OPEN: "still open",
}
_STEPS: dict[int, str] = {
    ledger_pb2.WATERFALL_STEP_FIRST_LOSS: "first_loss",
    ledger_pb2.WATERFALL_STEP_INSURANCE_FUND: "insurance_fund",
    ledger_pb2.WATERFALL_STEP_SECOND_CAPITAL: "second_capital",
    ledger_pb2.WATERFALL_STEP_WRITE_OFF: "lenders_write_off",
}


def measures(result: Result, windows: Sequence[Window]) -> list[Measure]:
    """Every figure of the reconciliation."""
    return [
        *_counts(result),
        *(one for window in windows for one in _window(result, window)),
        *_executions(result.figures),
        *_settlements(result),
        *_money(result),
        *_verified(result),
        *_latencies(result),
    ]


def _counts(result: Result) -> Iterator[Measure]:
    figures, world = result.figures, result.world
    yield Measure("accounts", figures.accounts, "accounts")
    yield Measure("lenders", figures.lenders, "accounts")
    yield Measure("commands_accepted", sum(figures.accepted.values()), "commands")
    yield Measure("commands_refused", sum(figures.refused.values()), "commands")
    yield Measure("commands_repeated", figures.repeated, "commands")
    yield Measure("journal_frames", figures.frames, "frames")
    for name in _CLASSES:
        yield Measure(f"mark_frames_{name.lower()}", world.marks.classes[name], "frames")
    for name in _CLASSES[:-1]:
        count = sum(number for (_, one), number in world.marks.by_instrument.items() if one == name)
        yield Measure(f"marks_{name.lower()}", count, "marks")
    yield Measure("margin_frames", world.margin_frames, "frames")
    yield Measure("margin_calls", len(world.call_times_ns), "calls")
    yield Measure("episodes", len(figures.episodes), "episodes")


def _window(result: Result, window: Window) -> Iterator[Measure]:
    episodes = [one for one in result.figures.episodes.values() if window.count((one.opened_at_ns,))]
    ends = Counter(one.state for one in episodes)
    yield Measure(f"{window.name}_margin_calls", window.count(result.world.call_times_ns), "calls")
    yield Measure(f"{window.name}_episodes", len(episodes), "episodes")
    for state, words in _ENDS.items():
        yield Measure(f"{window.name}_{words.replace(' ', '_')}", ends[state], "episodes")
    yield Measure(f"{window.name}_bankrupt", sum(one.shortfall for one in episodes), "episodes")
    yield Measure(f"{window.name}_steps", sum(one.steps for one in episodes), "steps")
    yield Measure(f"{window.name}_liquidation_fills", sum(one.fills for one in episodes), "fills")


def _check(result: Result, kind: type[_C]) -> _C:
    return next(one for one in result.checks.values() if isinstance(one, kind))


def _executions(figures: Figures) -> Iterator[Measure]:
    for name, one in (("client", figures.fills), ("liquidation", figures.liquidation_fills)):
        yield Measure(f"{name}_fills", len(one.values) + one.unpriced, "fills")
        yield Measure(f"{name}_slippage_average", round(one.average, 3), "bp", rounds=len(one.values))
        yield Measure(f"{name}_slippage_worst", round(one.worst, 3), "bp", rounds=len(one.values))


def _settlements(result: Result) -> Iterator[Measure]:
    check = _check(result, SettledAsPublished)
    for one in result.world.parameters.instruments:
        if check.settled[one.id]:
            price = from_scaled(check.prices[one.id], one.settlement_exponent)
            paid_in = next(each for each in result.world.parameters.assets if each.id == one.settlement)
            yield Measure(f"{one.symbol}_settled", check.settled[one.id], "positions")
            yield Measure(f"{one.symbol}_settlement_price", price, "USD")
            yield Measure(f"{one.symbol}_paid", from_units(Units(check.paid[one.id]), paid_in.decimals), paid_in.symbol)


def _money(result: Result) -> Iterator[Measure]:
    figures = result.figures
    pools = _check(result, PoolsBalance)
    for asset in result.world.parameters.assets:
        symbol = asset.symbol

        def text(units: int, decimals: int = asset.decimals) -> str:
            return from_units(Units(units), decimals)

        insured = (figures.insurance_paid_in[asset.id], figures.held(SystemAccount.INSURANCE, asset.id))
        if any(insured):
            yield Measure("insurance_fund_before", text(insured[0]), symbol)
            yield Measure("insurance_fund_after", text(insured[1]), symbol)
        if figures.liquidation_fees[asset.id]:
            yield Measure("liquidation_fees", text(figures.liquidation_fees[asset.id]), symbol)
        taken = {step: units for (one, step), units in figures.waterfall.items() if one == asset.id}
        if taken or asset.price_instrument is None:
            yield Measure("bad_debt", text(sum(taken.values())), symbol)
        for step, units in sorted(taken.items()):
            yield Measure(f"bad_debt_borne_by_{_STEPS[step]}", text(units), symbol)
        totals = pools.totals.get(asset.id)
        if totals and (totals.paid_15 or totals.written_off):
            paid, earned = totals.paid_15 // INDEX_ONE, totals.earned_15 // INDEX_ONE + totals.written_off
            yield Measure("interest_paid_by_borrowers", text(paid), symbol)
            yield Measure("interest_earned_by_lenders", text(earned), symbol)
            yield Measure("interest_kept_as_reserve", text(paid - earned), symbol)
            yield Measure("roundings_kept_by_pool", text(totals.rounding_15 // INDEX_ONE), symbol)
            yield Measure("loss_carried_by_lenders", text(totals.written_off), symbol)


def _verified(result: Result) -> Iterator[Measure]:
    again, book, marks = (_check(result, SameAgain), _check(result, SameBook), _check(result, UsableMarks))
    yield Measure("chains_verified", sum(not one.broken for one in result.chains), "chains")
    yield Measure("chain_frames_verified", sum(one.frames for one in result.chains), "frames")
    yield Measure("chain_records_rejected", sum(sum(one.rejected.values()) for one in result.chains), "records")
    yield Measure("ledger_fingerprints_verified", book.frames_verified, "frames")
    yield Measure("risk_fingerprints_verified", book.risk_verified, "frames")
    yield Measure("margin_frames_recomputed", again.margins_recomputed, "frames")
    yield Measure("margin_rows_recomputed", again.rows_recomputed, "rows")
    yield Measure("decisions_checked_for_mark", marks.decisions, "decisions")
    yield Measure("dead_letters", len(result.dead), "records")


def _latencies(result: Result) -> Iterator[Measure]:
    episodes = result.figures.episodes.values()
    stages = {
        "mark_to_margin": list(result.world.margin_latency_ns),
        "mark_to_episode": [one.opened_wall_ns - one.mark_received_wall_ns for one in episodes if _is_timed(one)],
        "mark_to_first_order_at_venue": [
            one.first_order_wall_ns - one.mark_received_wall_ns
            for one in episodes
            if one.mark_received_wall_ns and one.first_order_wall_ns
        ],
    }
    for name, values in stages.items():
        values.sort()
        for label, share in (("p50", 0.50), ("p99", 0.99), ("max", 1.0)):
            if values:
                at = min(len(values) - 1, int(share * len(values)))
                yield Measure(f"{name}_{label}", round(values[at] / 1e6, 3), "ms", rounds=len(values))


def _is_timed(one: Episode) -> bool:
    return bool(one.mark_received_wall_ns and one.opened_wall_ns)


def details(result: Result) -> dict[str, Any]:
    """What stands beside the measures: findings, refusals, alerts, sums and chains."""
    figures = result.figures
    return {
        "invariants": {name: {"ok": not one.count, "findings": one.count} for name, one in result.findings.items()},
        "findings": {name: one.shown for name, one in result.findings.items() if one.count},
        "refusals": {f"{command} {reason}": count for (command, reason), count in figures.refused.most_common()},
        "alerts": dict(figures.alerts.most_common()),
        "marks": _marks(result),
        "sums": sums(result),
        "chains": [
            {"name": one.name, "frames": one.frames, "claims": one.claims, "rejected": dict(one.rejected)}
            for one in result.chains
        ],
        "dead_letters": [{"topic": one.topic, "reason": one.letter.reason} for one in result.dead],
    }


def _marks(result: Result) -> list[dict[str, str | int]]:
    found = result.world.marks.by_instrument
    return [
        {"instrument": one.symbol, **{name: found[one.id, name] for name in _CLASSES[:-1]}}
        for one in result.world.parameters.instruments
    ]


HOLDERS = ("CLIENTS", *(kind.name for kind in SystemAccount))


def sums(result: Result) -> list[dict[str, str]]:
    """Cash by holder and asset at the end, with the sum over all, as decimal strings."""
    cash = ledger_pb2.LINE_KIND_CASH
    rows = []
    for asset in result.world.parameters.assets:
        held = {holder: result.figures.holdings.get((holder, asset.id, cash), 0) for holder in HOLDERS}
        row = {holder: from_units(Units(units), asset.decimals) for holder, units in held.items() if units}
        rows.append({"asset": asset.symbol, **row, "sum": from_units(Units(sum(held.values())), asset.decimals)})
    return rows
