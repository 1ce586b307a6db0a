"""`make chaos-ledger`: a real broker, processes, seeded attacks while commands flow; exit 1 when anything broke."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.broker import BrokerFault, ToolMissing
from tools.broker.process import Broker
from tools.chaos.plan import FAILPOINTS, FULL, SHORT, Attack, Doses, scaled
from tools.chaos.run import Ran, play
from tools.report import Measure, Run

TARGET = "chaos-ledger"
_DIRECTORY = Path(".run") / TARGET
_CONFIG = Path("config")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when all is proved, 1 when something broke, 2 when there is no broker to start."""
    options = _parse(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    doses = SHORT if options.short else scaled(FULL, options.share)
    form = " --short" if options.short else f" --share {options.share:g}" if options.share != 1 else ""
    again = f'make {TARGET} ARGS="--seed {seed}{form}"'
    print(f"seed {seed}: {again}", flush=True)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that the broker is away is no news here
    run = Run(TARGET, command=again, seed=seed)
    shutil.rmtree(_DIRECTORY, ignore_errors=True)
    try:
        with Broker(_DIRECTORY / "broker") as broker:
            ran = asyncio.run(play(broker, doses=doses, seed=seed, directory=_DIRECTORY, config=_CONFIG, say=True))
    except (BrokerFault, ToolMissing) as error:
        print(f"{TARGET}: {error}", file=sys.stderr)
        return 2
    wrong = [*ran.proof.wrong, *(f"edge: {case}" for case in ran.edges if "NOT" in case)]
    measures = measured(ran, doses)
    for one in measures:
        goal = "" if one.goal is None else f"  goal {one.goal}{'' if one.met else ', MISSED'}"
        print(f"{one.name:<34} {one.value:>12} {one.unit}{goal}")
    for words in wrong:
        print(f"WRONG {words}", file=sys.stderr)
    details = {"wrong": wrong, "edges": dict(ran.edges), "noise": dict(ran.noise), "restarts": dict(ran.restarts)}
    path = run.finish(ok=not wrong, measures=measures, details=details).write()
    print(f"{'proved' if not wrong else 'BROKEN'}, seed {seed}; report: {path}")
    return 1 if wrong else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="everything that is chosen follows from it (default: a new one)")
    parser.add_argument("--short", action="store_true", help="a few attacks of each kind, for every change")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of commands and attacks of the full form (default: 1)"
    )
    return parser.parse_args(arguments)


def measured(ran: Ran, doses: Doses) -> list[Measure]:
    """What happened, beside what was to happen."""
    counts, commands = ran.proof.counts, max(1, ran.proof.counts["commands"])
    failpoints = sum(ran.done[one.value] for one in FAILPOINTS)
    wanted = doses.attacks
    seconds = sorted(ran.answer_seconds) or [0.0]

    def at_least(name: str, value: float, unit: str, least: float) -> Measure:
        return Measure(name, value, unit, goal=f">= {least:g}", met=value >= least)

    def attack(name: str, value: int, *kinds: Attack) -> Measure:
        return at_least(name, value, "times", sum(wanted.get(one, 0) for one in kinds))

    def quantile(share: float) -> float:
        return round(seconds[min(len(seconds) - 1, int(share * len(seconds)))] * 1e3, 1)

    return [
        at_least("commands acknowledged", counts["acknowledged"], "commands", 0.99 * doses.commands),
        Measure("commands accepted", counts["accepted"], "commands"),
        at_least("sent twice", round(counts["twice"] / commands, 3), "of all", 0.3),
        at_least("sent again after the answer", round(counts["again"] / commands, 3), "of all", 0.1),
        Measure("repetitions journalled", counts["repetitions journalled"], "outcomes"),
        attack("SIGKILL at random instants", ran.done[Attack.KILL.value], Attack.KILL),
        attack("killed at failpoints", failpoints, *FAILPOINTS),
        attack("zombies", ran.done[Attack.FREEZE.value], Attack.FREEZE),
        attack("overlapping owners", ran.done[Attack.OVERLAP.value], Attack.OVERLAP),
        attack("broker restarts", ran.done[Attack.BROKER.value], Attack.BROKER),
        attack("gateway killed", ran.done[Attack.GATEWAY.value], Attack.GATEWAY),
        Measure("streams broken", ran.breaks, "times"),
        Measure("claims", ran.epochs, "epochs"),
        Measure("frames", ran.frames, "frames"),
        Measure("records of noise", sum(ran.noise.values()), "records"),
        Measure("processes that ended by themselves", sum(ran.restarts.values()), "times"),
        Measure("answer p50 under attack", quantile(0.5), "ms"),
        Measure("answer p99 under attack", quantile(0.99), "ms"),
        Measure("longest silence", round(ran.longest_silence_s, 1), "s"),
        Measure("wrong", counts["wrong"], "findings", goal="0", met=not counts["wrong"]),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
