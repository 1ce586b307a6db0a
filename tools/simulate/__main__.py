"""`python -m tools.simulate`: many seeds, or one with its trace; a report, and exit 1 when an invariant broke."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tools.report import Measure, Run, commit
from tools.simulate.run import STEPS, Result, play

SEEDS = 1_000
_AT_ONCE = 5  # seeds that a process takes at a time
_SHOWN_MAX = 20
_EVERY_SEEDS = 100  # a line of progress
_SECONDS_GOAL = 250.0


@dataclass(slots=True)
class Total:
    """What all seeds came to."""

    counts: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)
    seeds: int = 0
    virtual_s: float = 0.0
    with_episodes: int = 0

    def add(self, result: Result) -> None:
        """One more seed."""
        self.seeds += 1
        self.counts += result.counts
        self.virtual_s += result.virtual_s
        self.with_episodes += bool(result.counts["open_episode"])
        if not result.ok:
            self.failed.append(result)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when every invariant held in every seed, else 1."""
    options = _parse(arguments)
    if options.seed is not None:
        return _one(options.seed, trace=options.trace)
    run = Run("simulate", command=f"make simulate ARGS={' '.join(sys.argv[1:])!r}", seed=options.first)
    total, began_s = Total(), time.monotonic()
    for result in _played(range(options.first, options.first + options.seeds), jobs=options.jobs):
        total.add(result)
        if not result.ok and len(total.failed) <= _SHOWN_MAX:
            _show(result)
        if total.seeds % _EVERY_SEEDS == 0:
            print(f"{total.seeds} seeds, {len(total.failed)} failed, {time.monotonic() - began_s:.0f} s", flush=True)
    measures = _measures(total, seconds=time.monotonic() - began_s, jobs=options.jobs)
    for one in measures:
        print(f"{one.name:<24} {one.value:>14} {one.unit}{'' if one.goal is None else f'  goal {one.goal}'}")
    details = {"failed": [_details(one) for one in total.failed], "steps": STEPS}
    path = run.finish(ok=not total.failed, measures=measures, details=details).write()
    print(f"report: {path}")
    return 1 if total.failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many (default: {SEEDS})")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default: 0)")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: tell everything that happens")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once (default: all cores)")
    return parser.parse_args(arguments)


def _one(seed: int, *, trace: bool) -> int:
    result = play(seed, trace=print if trace else None)
    print(f"commit {commit()}, seed {seed}, {result.steps} steps, {result.virtual_s:.1f} virtual seconds")
    for name, count in sorted(result.counts.items()):
        print(f"  {name:<24} {count:>6}")
    _show(result)
    return 0 if result.ok else 1


def _played(seeds: range, *, jobs: int) -> Iterator[Result]:
    if jobs <= 1:
        yield from map(_played_apart, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(_played_apart, seeds, chunksize=_AT_ONCE)


def _played_apart(seed: int) -> Result:
    # What a seed leaves behind goes at once; what all share is never looked through again.
    gc.disable()
    result = play(seed)
    gc.enable()
    gc.collect()
    gc.freeze()
    return result


def _show(result: Result) -> None:
    for one in result.findings:
        print(f"seed {result.seed} step {result.steps}: {one.invariant}: {one.detail}")
    if not result.ok:
        print(f'again: make simulate ARGS="--seed {result.seed} --trace"', flush=True)


def _details(result: Result) -> dict[str, object]:
    findings = [f"{one.invariant}: {one.detail}" for one in result.findings]
    return {"seed": result.seed, "steps": result.steps, "doses": str(result.doses), "findings": findings}


def _measures(total: Total, *, seconds: float, jobs: int) -> list[Measure]:
    counts, processor_s = total.counts, time.process_time() + _of_children_s()
    named = (
        "sent",
        "acknowledged",
        "applied",
        "orders out",
        "verdicts checked",
        "margins checked",
        "crashes",
        "claims",
    )
    return [
        Measure("seeds", total.seeds, "count"),
        Measure("failed", len(total.failed), "count", goal="0", met=not total.failed),
        Measure("seconds", round(seconds, 1), "s", goal=f"<= {_SECONDS_GOAL:.0f}", met=seconds <= _SECONDS_GOAL),
        Measure("jobs", jobs, "count"),
        Measure("processor_per_seed", round(processor_s / max(1, total.seeds), 3), "s"),
        Measure("virtual_seconds", round(total.virtual_s), "s"),
        Measure("seeds_with_episodes", total.with_episodes, "count"),
        *(Measure(name.replace(" ", "_"), counts[name], "count") for name in named),
        Measure("episodes", counts["open_episode"], "count"),
        Measure("waterfalls", counts["resolve_shortfall"], "count"),
        Measure("arrivals_from_other_partitions", counts["arrive"], "count"),
        Measure("entities_moved", counts["move_entity"], "count"),
        Measure("quotas_moved", counts["move_quota"], "count"),
        Measure("instruments_closed", counts["close_instrument"], "count"),
        Measure("positions_taken_over", counts["take_over_position"], "count"),
        Measure("deleveragings", counts["deleverage"] + counts["deleverage_across"], "count"),
        Measure("venue_events", counts["venue_event"], "count"),
        Measure("assets_turned", counts["distribute"] + counts["redenominate_asset"], "count"),
        Measure("noise_records", counts["noise"], "count"),
        Measure("ticks_topped_up_by_the_house", counts["ticks topped up"], "count"),
    ]


def _of_children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    sys.exit(main())
