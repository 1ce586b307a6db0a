"""Runs the margin engine against its goals and its peers: CPU time, one thread, medians of interleaved rounds.

`python -m bench.risk [--quick]`: the report goes to .run/bench-risk/report.json. About four minutes; `--quick` leaves
the million accounts out.
"""

import argparse
import os
import sys

from tools.report import Measure, Run

_TARGET = "bench-risk"
_ONE_THREAD = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _bench(*, rounds: int, quick: bool) -> tuple[list[Measure], bool]:
    # The peers start their threads when they are imported, and all are measured on one.
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    import numpy as np

    from bench.risk.grid import option_grid
    from bench.risk.moving import determinism, fuzz, ticks, updates
    from bench.risk.sweeps import against_peers, growth, rows_of
    from bench.risk.workload import UNDERLYINGS, market

    one = market()
    table = one.table(np.zeros(UNDERLYINGS))
    found: list[Measure] = []

    def tell(measures: list[Measure]) -> None:
        found.extend(measures)
        print("\n".join(rows_of(measures)), flush=True)

    measures, right = option_grid(one, rounds)
    tell(measures)
    measures, small, same = against_peers(one, table, rounds)
    tell(measures)
    measures, none_missed = fuzz(one, table, small)
    tell(measures)
    measures, same_bits = determinism(one, table)
    tell(measures)
    if not quick:
        measures, large = growth(one, table, small, rounds)
        tell(measures)
        tell(updates(one, large, rounds))
        tell(ticks(one, table, large, rounds))
    return found, right and same and none_missed and same_bits


def main() -> int:
    """Exit status: 0 when every figure was taken and nothing that must agree differs, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.risk", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the million accounts")
    parser.add_argument("--rounds", type=int, default=9, help="of each measure (default 9)")
    arguments = parser.parse_args()
    run = Run(_TARGET, command="make bench-risk", seed=7)
    measures, ok = _bench(rounds=arguments.rounds, quick=arguments.quick)
    report = run.finish(ok=ok, measures=measures)
    print(f"{report.write()}  {'ok' if ok else 'NOT OK'}  {report.seconds:.0f} s")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
