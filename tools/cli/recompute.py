"""`ballast risk recompute`: a published margin computed again from the topics alone, bit for bit."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np
from aiokafka.errors import KafkaError
from rich.console import Console

from ballast.events.v1 import journal_pb2, risk_pb2
from libs.common.book import PartitionBook
from libs.common.chain import ChainBroken
from libs.common.errors import BallastError, InvariantBroken
from libs.common.ids import partition_of
from libs.common.topics import JOURNAL, MARGIN, MARKS
from tools.cli.screen import EXIT_CANNOT, EXIT_DIFFERS, EXIT_OK, console, fail, moment
from tools.cli.screen import table as new_table
from tools.reconcile.margins import Recomputation, compared
from tools.reconcile.reader import ControlHistory, Unreadable, decoded, following, mark_frame, read_control, records
from tools.reconcile.world import World

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Figure:
    """One published number of an account beside what came out again."""

    name: str
    published: int
    again: int
    differs: bool


@dataclass(frozen=True, slots=True)
class Recomputed:
    """A record computed again.

    Args:
        record: as published. figures: of the account asked about.
        differences: everything that is not as the record says, in words; empty when it reproduces.
    """

    record: risk_pb2.MarginFrame
    figures: Sequence[Figure]
    differences: Sequence[str]


def run(options: argparse.Namespace) -> int:
    """Exit status: 0 reproduced, 1 naming what differs, 2 when the topics do not hold what is needed."""
    try:
        found = asyncio.run(
            recompute(options.bootstrap, account=options.account, journal=options.journal, mark=options.mark)
        )
    except (ChainBroken, InvariantBroken) as error:
        return fail("recompute", f"differs: the log itself does not hold: {error}", EXIT_DIFFERS)
    except (Unreadable, BallastError, KafkaError, OSError) as error:
        return fail("recompute", error, EXIT_CANNOT)
    draw(found, options.account, console())
    for each in found.differences:
        fail("recompute", f"differs: {each}", EXIT_DIFFERS)
    return EXIT_DIFFERS if found.differences else EXIT_OK


async def recompute(bootstrap: str, *, account: int, journal: int | None, mark: int | None) -> Recomputed:
    """The published record of an account, computed again.

    Args:
        journal, mark: sequences the record stands on; without them the last record that has the account.

    Raises: Unreadable naming what the topics lack; ChainBroken, InvariantBroken where a log was changed.
    """
    control = await read_control(bootstrap)
    if not control.active:
        raise Unreadable("expected a parameter set in force on the control log, found none")
    record = await _record(bootstrap, control, account=account, journal=journal, mark=mark)
    differences = list(_of_control(record, control))
    loaded = control.loaded(record.parameters_hash)
    world = World(loaded.parameters, parameters_hash=loaded.hash)
    run_time_ns = await _read_marks(bootstrap, world, sequence=record.mark_sequence)
    if run_time_ns != record.run_time_ns:
        differences.append(f"run time of mark {record.mark_sequence}: expected {run_time_ns}, was {record.run_time_ns}")
    book = await _read_book(bootstrap, record.partition, sequence=record.journal_sequence)
    if book.fingerprint != record.fingerprint:
        expected, was = book.fingerprint.hex(), record.fingerprint.hex()
        differences.append(f"book at journal sequence {book.sequence}: expected fingerprint {expected}, was {was}")
    recomputation = Recomputation(world)
    _, wrong = recomputation.compare(record, book)
    figures = list(_figures(recomputation, record, book, account))
    return Recomputed(record, figures, [*differences, *wrong])


def draw(found: Recomputed, account: int, screen: Console) -> None:
    """Prints what the record stands on and each figure twice."""
    one = found.record
    screen.print(
        f"account {account}, partition {one.partition}: journal {one.journal_sequence}, mark {one.mark_sequence} "
        f"({moment(one.run_time_ns)}), control {one.control_sequence}, parameters {one.parameters_hash.hex()[:16]}"
    )
    table = new_table("10^-6 USD; states, scenarios and classes by number", "figure", "published", "again", "<")
    for figure in found.figures:
        verdict = "[red]differs[/]" if figure.differs else "same"
        table.add_row(figure.name, f"{figure.published:,}", f"{figure.again:,}", verdict)
    screen.print(table)
    rows = len(one.account)
    verdict = "differs" if found.differences else f"reproduced bit for bit, with all {rows} accounts of the record"
    screen.print(verdict, style="bold red" if found.differences else "bold green")


async def _record(
    bootstrap: str, control: ControlHistory, *, account: int, journal: int | None, mark: int | None
) -> risk_pb2.MarginFrame:
    partitions = control.loaded(control.active[-1][1]).parameters.partitions
    home = partition_of(account)
    if home >= partitions:
        raise Unreadable(f"expected an account of partition 0 to {partitions - 1}, was {home}")
    found: risk_pb2.MarginFrame | None = None
    async for record in records(bootstrap, MARGIN, home_partitions=partitions, only=home):
        frame = decoded(risk_pb2.MarginFrame, record)
        if (
            frame is not None
            and journal in (None, frame.journal_sequence)
            and mark in (None, frame.mark_sequence)
            and account in frame.account
        ):
            found = frame
    if found is None:
        at = "".join(f", {name} {one}" for name, one in (("journal", journal), ("mark", mark)) if one is not None)
        raise Unreadable(f"expected a margin of account {account} on {MARGIN.name}{at}, found none")
    return found


def _of_control(record: risk_pb2.MarginFrame, control: ControlHistory) -> Iterator[str]:
    wanted = control.in_force(record.control_sequence)
    if wanted != record.parameters_hash:
        expected, was = wanted.hex() or "none", record.parameters_hash.hex() or "none"
        yield f"parameters in force at control sequence {record.control_sequence}: expected {expected}, was {was}"


async def _read_marks(bootstrap: str, world: World, *, sequence: int) -> int:
    """Run time of the marks frame of that sequence, once all marks up to it are taken."""
    whole, run_time_ns = False, -1
    async with AsyncExitStack() as stack:
        follower = await following(stack, bootstrap, MARKS, 0)
        begins_late = follower.position > 0
        while not follower.caught_up and run_time_ns < 0:
            for accepted in await follower.poll(timeout_s=_POLL_SECONDS):
                frame = mark_frame(accepted)
                if run_time_ns >= 0 or frame.sequence > sequence:
                    break
                whole |= frame.body.snapshot or not begins_late
                world.marks.take(frame)
                if frame.sequence == sequence:
                    run_time_ns = frame.run_time_ns
    if run_time_ns < 0:
        raise Unreadable(f"expected mark {sequence} on {MARKS.name}, found none")
    if not whole:
        raise Unreadable(f"expected a snapshot at or before mark {sequence} on {MARKS.name}; what stood there is gone")
    return run_time_ns


async def _read_book(bootstrap: str, partition: int, *, sequence: int) -> PartitionBook:
    """The partition's book at a journal sequence."""
    book = PartitionBook(partition)
    async with AsyncExitStack() as stack:
        follower = await following(stack, bootstrap, JOURNAL, partition)
        while not follower.caught_up and book.sequence < sequence:
            for accepted in await follower.poll(timeout_s=_POLL_SECONDS):
                if book.sequence < sequence:
                    body = journal_pb2.JournalBody.FromString(accepted.frame.body)
                    book.apply(sequence=accepted.sequence, run_time_ns=accepted.run_time_ns, body=body)
    if book.sequence != sequence:
        raise Unreadable(f"expected journal sequence {sequence} of partition {partition}, found {book.sequence}")
    return book


def _figures(
    recomputation: Recomputation, record: risk_pb2.MarginFrame, book: PartitionBook, account: int
) -> Iterator[Figure]:
    number = recomputation.marks_number(record)
    columns, again = recomputation.margins(book, mark_number=number)
    if any(one not in columns.row_of for one in record.account):
        return
    row, rows = list(record.account).index(account), len(record.account)
    symbols = [one.symbol for one in recomputation.model.assets]
    for column in compared(record, columns, again):
        width = column.again.shape[0] // rows
        if column.published.shape != column.again.shape:
            continue
        for at in range(row * width, (row + 1) * width):
            name = column.name.replace("_", " ")
            if column.name == "scan_loss":
                name += f" of {symbols[recomputation.model.risky[at - row * width]]}"
            published, ours = int(column.published[at]), int(column.again[at])
            yield Figure(name, published, ours, bool(np.asarray(column.wrong)[at]))
