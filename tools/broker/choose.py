"""Decides which Kafka a program uses, and says so in one line."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.broker.process import running_broker

BOOTSTRAP_VARIABLE = "BALLAST_KAFKA_BOOTSTRAP"


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def kafka_for(directory: Path, *, say: Callable[[str], None] = _to_stderr) -> Iterator[str]:
    """Bootstrap address of the cluster in BALLAST_KAFKA_BOOTSTRAP when set, else of a private broker.

    Args:
        directory: where the private broker, which lives as long as the block, keeps its data and logs.
        say: takes the one line that tells which was chosen.

    Raises: ToolMissing, BrokerFault.
    """
    given = os.environ.get(BOOTSTRAP_VARIABLE, "").strip()
    if given:
        say(f"kafka: using the cluster of {BOOTSTRAP_VARIABLE}, {given}")
        yield given
        return
    with running_broker(directory) as bootstrap:
        say(f"kafka: started a private broker on {bootstrap}, data in {directory}")
        yield bootstrap
