"""`make monitoring`: writes what is generated in deploy/k8s/monitoring; with --check only says what differs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.monitoring.objects import generated

DIRECTORY = Path(__file__).resolve().parents[2] / "deploy" / "k8s" / "monitoring"


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 when --check found a file that differs."""
    parser = argparse.ArgumentParser(prog="make monitoring ARGS=...", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    only_check = parser.parse_args(arguments).check
    status = 0
    for name, text in generated(DIRECTORY / "rules").items():
        path = DIRECTORY / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        print(f"{path.relative_to(DIRECTORY)} {'differs' if only_check else 'written'}")
        if only_check:
            status = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
