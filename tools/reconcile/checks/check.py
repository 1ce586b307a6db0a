"""What every check offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from libs.common.book import PartitionBook
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import Findings, World


class Check(Protocol):
    """Watches one invariant."""

    findings: Findings

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Looks at a frame; the book is the partition's state after it."""

    def finish(self, books: Mapping[int, PartitionBook]) -> None:
        """Looks at the end of all partitions."""


class Watch:
    """A check that has seen nothing wrong yet."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.findings = Findings()

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Looks at a frame; the book is the partition's state after it."""

    def finish(self, books: Mapping[int, PartitionBook]) -> None:
        """Looks at the end of all partitions."""


def where(frame: JournalFrame) -> str:
    """A frame in words."""
    return f"partition {frame.partition} frame {frame.sequence}"
