"""`python -m tools.broker run` keeps a private broker until Ctrl-C; `... jars` only fetches Kafka."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from tools.broker.errors import BrokerFault
from tools.broker.jars import REPOSITORY, classpath, java
from tools.broker.process import running_broker


def _run(directory: Path) -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    with running_broker(directory) as bootstrap:
        print(bootstrap, flush=True)
        stop.wait()


def main() -> int:
    """Exit status: 0 when stopped, 2 when a tool is missing or the broker cannot start."""
    parser = argparse.ArgumentParser(prog="python -m tools.broker", description=__doc__)
    parser.add_argument("command", choices=["run", "jars"])
    parser.add_argument(
        "--directory", type=Path, default=REPOSITORY / ".run" / "broker", help="data and logs (default .run/broker)"
    )
    arguments = parser.parse_args()
    try:
        if arguments.command == "run":
            _run(arguments.directory)
        else:
            java()
            classpath()
    except BrokerFault as fault:
        print(f"kafka: {fault}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
