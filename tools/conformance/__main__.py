"""`make conformance VECTORS=DIR [STRICT=1]`: our models against other systems' own test cases."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from libs.common.errors import ConfigurationError
from tools.conformance.runner import Outcome, run_folder
from tools.report import Measure, Report, Run


def main(arguments: list[str] | None = None) -> int:
    """0 when every case agreed; 1 when one did not, or under --strict was skipped; 2 when there is nothing to run."""
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument("vectors", type=Path, help="folder of *.json vector files")
    parser.add_argument("--strict", action="store_true", help="a skipped case or family fails too")
    options = parser.parse_args(arguments)
    command = f"make conformance VECTORS={options.vectors.name}" + (" STRICT=1" if options.strict else "")
    run = Run("conformance", command=command, seed=0)
    try:
        outcome = run_folder(options.vectors)
    except ConfigurationError as refused:
        print(f"conformance: {refused}", file=sys.stderr)
        return 2
    ok = outcome.is_ok(strict=options.strict)
    report = _report(run, outcome, ok=ok)
    print(_table(outcome))
    print(f"{'ok' if ok else 'FAILED'}: {report.write()}")
    return 0 if ok else 1


def _table(outcome: Outcome) -> str:
    width = max(len(one.family) for one in outcome.tallies)
    lines = [f"{'family':<{width}}  passed  failed  skipped"]
    for one in outcome.tallies:
        lines.append(f"{one.family:<{width}}  {one.passed:>6}  {one.failed:>6}  {one.skipped:>7}  {one.state}")
        lines.extend(f"    {reason}" for reason in one.why)
    total = [sum(getattr(one, name) for one in outcome.tallies) for name in ("passed", "failed", "skipped")]
    lines.append(f"{'all':<{width}}  {total[0]:>6}  {total[1]:>6}  {total[2]:>7}")
    return "\n".join(lines)


def _report(run: Run, outcome: Outcome, *, ok: bool) -> Report:
    measures = [
        Measure(f"{one.family}_{name}", getattr(one, name), "cases")
        for one in outcome.tallies
        for name in ("passed", "failed", "skipped")
    ]
    why = {one.family: one.why for one in outcome.tallies if one.why}
    return run.finish(ok=ok, measures=measures, details={"why": why})


if __name__ == "__main__":
    sys.exit(main())
