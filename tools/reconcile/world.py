"""What the checks know beside the journal: parameters, marks, citations of decisions, published margins, rates."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass

from ballast.events.v1 import commands_pb2, interest_pb2, risk_pb2
from libs.common.ids import partition_of
from libs.common.parameters import Parameters
from tools.reconcile.marks import MarkHistory
from tools.reconcile.records import CommandRecord, Key, MarginRecord, key_of

FINDINGS_SHOWN = 20
SAMPLES_MAX = 240  # margin frames recomputed, at most

_HEALTHY = bytes([risk_pb2.MARGIN_STATE_HEALTHY])
_STEPS = ("step_episode", "close_episode", "take_over_position", "deleverage", "deleverage_across")
_BASED = ("take_over_position", "deleverage", "deleverage_across")
_DECISIONS = frozenset(("verdict", "open_episode", *_STEPS))


class Findings:
    """What is wrong: the first few in words, all of them counted."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.count = 0

    def add(self, text: str) -> None:
        """One more."""
        self.count += 1
        if len(self.shown) < FINDINGS_SHOWN:
            self.shown.append(text)


@dataclass(frozen=True, slots=True)
class Decision:
    """A command that decides on a mark, with what it cites.

    Args:
        subject: order or reservation of a verdict, episode of a step or close.
        settle: verdicts only.
    """

    command: str
    account: int
    subject: int
    settle: bool
    journal_sequence: int
    mark_sequence: int
    mark_received_wall_ns: int


@dataclass(frozen=True, slots=True)
class MarginRow:
    """One account of a published margin frame, 10^-6 USD."""

    equity: int
    initial_margin: int
    maintenance_margin: int
    state: int


Cut = tuple[int, int, int]  # partition, journal sequence, mark sequence


class World:
    """Gathered before the journal is walked; commands before margins."""

    def __init__(self, parameters: Parameters, *, parameters_hash: bytes) -> None:
        self.parameters = parameters
        self.parameters_hash = parameters_hash
        self.marks = MarkHistory()
        self.decisions: dict[Key, Decision] = {}
        self.order_received_wall_ns: dict[int, int] = {}
        self.rows: dict[Cut, dict[int, MarginRow]] = {}  # of the frames that openings and closes cite
        self.fingerprints: dict[tuple[int, int], bytes] = {}  # of risk's book, by partition and journal sequence
        self.two_books = Findings()
        self.samples: dict[tuple[int, int], list[risk_pb2.MarginFrame]] = defaultdict(list)
        self.margin_frames = 0
        self.margin_latency_ns = array("q")
        self.other_parameters = 0
        self.contradictions = Findings()
        self.rates: dict[tuple[int, int], list[interest_pb2.RateDecision]] = defaultdict(list)
        self.call_times_ns = array("q")  # run times at which an account fell below its initial margin
        self._called: set[int] = set()
        self._timed: dict[int, int] = {}  # by partition, when the mark was received that was answered last
        self._cited: set[Cut] = set()
        self._every = 1

    def take_commands(self, record: CommandRecord) -> None:
        """Remembers what decisions cite and when venues received orders."""
        received = record.stamps.get("order_received_wall_ns", 0)
        for command in record.batch.commands:
            which = command.WhichOneof("body")
            if which == "order_report" and received:
                order = command.order_report.order
                self.order_received_wall_ns[order] = min(received, self.order_received_wall_ns.get(order, received))
            elif which in _DECISIONS:
                decision = _decision(command, record.stamps.get("mark_received_wall_ns", 0))
                self.decisions.setdefault(key_of(record.partition, command), decision)
                if which in ("open_episode", "close_episode"):
                    cut = (partition_of(decision.account), decision.journal_sequence, decision.mark_sequence)
                    self._cited.add(cut)

    def take_margin(self, record: MarginRecord) -> None:
        """Counts a margin frame, and keeps its rows when a decision cites it."""
        frame = record.frame
        self.margin_frames += 1
        # Later frames on the same mark answer the journal, however long the mark has stood.
        is_first = self._timed.get(frame.partition) != record.mark_received_wall_ns
        if is_first and record.mark_received_wall_ns and record.wall_ns:
            self._timed[frame.partition] = record.mark_received_wall_ns
            self.margin_latency_ns.append(record.wall_ns - record.mark_received_wall_ns)
        if frame.parameters_hash != self.parameters_hash:
            self.other_parameters += 1
        at = (frame.partition, frame.journal_sequence)
        if self.fingerprints.setdefault(at, frame.fingerprint) != frame.fingerprint:
            self.two_books.add(f"partition {at[0]} frame {at[1]}: risk has published two different books")
        cut = (frame.partition, frame.journal_sequence, frame.mark_sequence)
        if cut in self._cited:
            self._keep_rows(cut, frame)
        if self._called or frame.state.strip(_HEALTHY):
            self._count_calls(frame)
        self._sample(frame)

    def _count_calls(self, frame: risk_pb2.MarginFrame) -> None:
        for account, state in zip(frame.account, frame.state, strict=True):
            if state == risk_pb2.MARGIN_STATE_HEALTHY:
                self._called.discard(account)
            elif account not in self._called:
                self._called.add(account)
                self.call_times_ns.append(frame.run_time_ns)

    def cited_row(self, key: Key) -> MarginRow | None:
        """The published margin of its account that an opening or a close cites."""
        decision = self.decisions.get(key)
        if decision is None:
            return None
        cut = (partition_of(decision.account), decision.journal_sequence, decision.mark_sequence)
        return self.rows.get(cut, {}).get(decision.account)

    def _keep_rows(self, cut: Cut, frame: risk_pb2.MarginFrame) -> None:
        known = self.rows.setdefault(cut, {})
        columns = zip(
            frame.account,
            frame.equity,
            frame.initial_margin,
            frame.maintenance_margin,
            frame.state,
            strict=True,
        )
        for account, *values in columns:
            row = MarginRow(*values)
            if known.setdefault(account, row) != row:
                self.contradictions.add(f"account {account} has two margins at {cut}: {known[account]} and {row}")

    def _sample(self, frame: risk_pb2.MarginFrame) -> None:
        """Keeps frames evenly over the run: each time too many are kept, every second one goes."""
        if not frame.account or self.margin_frames % self._every or frame.parameters_hash != self.parameters_hash:
            return
        self.samples[frame.partition, frame.journal_sequence].append(frame)
        if sum(map(len, self.samples.values())) > SAMPLES_MAX:
            self._every *= 2
            kept = sorted(self.samples)[::2]
            self.samples = defaultdict(list, {key: self.samples[key][:2] for key in kept})


def _decision(command: commands_pb2.Command, mark_received_wall_ns: int) -> Decision:
    which = command.WhichOneof("body") or ""
    body = getattr(command, which)
    subject, settle = 0, False
    if which == "verdict":
        subject, settle = getattr(body, body.WhichOneof("target") or "order"), body.settle
    elif which in _STEPS:
        subject = body.episode
    cited = body.basis if which in _BASED else body.citation
    return Decision(
        command=which,
        account=body.account,
        subject=subject,
        settle=settle,
        journal_sequence=cited.journal_sequence,
        mark_sequence=cited.mark_sequence,
        mark_received_wall_ns=mark_received_wall_ns,
    )
