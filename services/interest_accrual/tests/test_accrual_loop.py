"""The loop against a ledger of a few lines: ticks in order, relayed word for word, nothing lost in a restart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from ballast.events.v1 import commands_pb2, interest_pb2, journal_pb2, market_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.config import load_parameters
from libs.common.ids import SystemAccount, system_account
from libs.common.units import INDEX_ONE
from libs.common.validity import ValidityClass
from services.interest_accrual.app.accrual import RESEND_SECONDS, Accrual
from services.interest_accrual.app.view import View

PARAMETERS = load_parameters(Path(__file__).resolve().parents[3] / "config").parameters
HOUR_NS = 3_600_000_000_000
USD, BTC_PERP = 1, 11
HOME = USD % PARAMETERS.partitions


class Journal:
    """Accepts the next tick of each subject and refuses any other, as the ledger does."""

    def __init__(self) -> None:
        self.frames: dict[int, list[journal_pb2.JournalBody]] = defaultdict(list)
        self.ticks: Counter[tuple[str, int, int]] = Counter()
        self.received: list[tuple[int, commands_pb2.Command]] = []
        self.reasons: list[interest_pb2.RateDecision] = []
        self.loses = False

    async def send(self, partition: int, commands: Sequence[commands_pb2.Command]) -> None:
        if not self.loses:
            self.received += [(partition, one) for one in commands]
            self.append(partition, [self._outcome(partition, one) for one in commands])

    async def publish(self, decisions: Sequence[interest_pb2.RateDecision]) -> None:
        self.reasons += decisions

    def append(self, partition: int, outcomes: list[journal_pb2.Outcome]) -> None:
        self.frames[partition].append(journal_pb2.JournalBody(outcomes=outcomes))

    def post(self, partition: int, kind: ledger_pb2.LineKind, balance: int) -> None:
        pool = system_account(SystemAccount.POOL, partition=partition, index=USD)
        posting = journal_pb2.Posting(account=pool, asset=USD, kind=kind, balance=balance)
        self.append(partition, [journal_pb2.Outcome(effects=[journal_pb2.Effect(posting=posting)])])

    def _outcome(self, partition: int, command: commands_pb2.Command) -> journal_pb2.Outcome:
        which = command.WhichOneof("body")
        assert which in ("set_index", "set_funding", "settle_variation")
        body = getattr(command, which)
        subject = (which, body.asset if which == "set_index" else body.instrument, partition)
        if body.tick != self.ticks[subject] + 1:
            return journal_pb2.Outcome(command=which, refusal=ledger_pb2.REFUSAL_TICK_OUT_OF_ORDER)
        self.ticks[subject] += 1
        return journal_pb2.Outcome(command=which, effects=[_effect(command)])


def _effect(command: commands_pb2.Command) -> journal_pb2.Effect:
    one = command.set_index
    if command.HasField("set_index"):
        return journal_pb2.Effect(
            pool_index=journal_pb2.PoolIndex(
                asset=one.asset,
                tick=one.tick,
                run_time_ns=one.run_time_ns,
                borrow_index=one.borrow_index,
                supply_index=one.supply_index,
                overdraft_index=one.overdraft_index,
                borrow_rate=one.borrow_rate,
            )
        )
    if command.HasField("set_funding"):
        two = command.set_funding
        return journal_pb2.Effect(
            funding_index=journal_pb2.FundingIndex(
                instrument=two.instrument,
                tick=two.tick,
                run_time_ns=two.run_time_ns,
                cumulative_funding=two.cumulative_funding,
            )
        )
    three = command.settle_variation
    return journal_pb2.Effect(
        settlement=journal_pb2.Settlement(
            instrument=three.instrument, tick=three.tick, price=three.price, mark_sequence=three.mark_sequence
        )
    )


class Loop:
    """One instance of the service."""

    def __init__(self, journal: Journal) -> None:
        self.view = View(PARAMETERS)
        self.accrual = Accrual(self.view, commands=journal, rates=journal)
        self._journal = journal
        self._folded: Counter[int] = Counter()

    def marks(self, *, hours: float, validity: ValidityClass = ValidityClass.VALID, price: int = 1_500_000) -> None:
        ids = [one.id for one in PARAMETERS.instruments]
        body = market_pb2.MarksBody(
            instrument=ids,
            mark_price=[price] * len(ids),
            index_price=[price] * len(ids),
            validity=bytes([validity] * len(ids)),
        )
        run_time = PARAMETERS.genesis_ns + round(hours * HOUR_NS)
        self.view.fold_marks(sequence=self.view.mark_sequence + 1, run_time_ns=run_time, body=body)

    def fold(self) -> None:
        for partition, frames in self._journal.frames.items():
            while self._folded[partition] < len(frames):
                body = frames[self._folded[partition]]
                self._folded[partition] += 1
                assert not self.view.fold_journal(partition, sequence=self._folded[partition], body=body)

    async def rest(self, now_s: float = 0) -> int:
        """Steps until nothing more is sent; returns the number of commands."""
        total = 0
        for _ in range(20):
            self.fold()
            sent = await self.accrual.step(now_s=now_s)
            total += sent
            if not sent:
                return total
        raise AssertionError("expected the loop to come to rest")


def _indices(journal: Journal, partition: int) -> list[tuple[int, int, int]]:
    return [
        (effect.pool_index.tick, effect.pool_index.borrow_index, effect.pool_index.supply_index)
        for body in journal.frames[partition]
        for outcome in body.outcomes
        for effect in outcome.effects
        if effect.HasField("pool_index") and effect.pool_index.asset == USD
    ]


def _lent(journal: Journal) -> None:
    for partition in range(PARAMETERS.partitions):
        journal.post(partition, ledger_pb2.LINE_KIND_CASH, 500_000_000)
        journal.post(partition, ledger_pb2.LINE_KIND_DEBT_SHARES, -500_000_000 * (partition + 1))
        journal.post(partition, ledger_pb2.LINE_KIND_SUPPLY_SHARES, -500_000_000 * (partition + 2))


async def test_every_partition_gets_the_values_its_home_decided() -> None:
    journal = Journal()
    _lent(journal)
    loop = Loop(journal)
    loop.marks(hours=3.5)
    await loop.rest()
    decided = _indices(journal, HOME)
    assert [tick for tick, *_ in decided] == [1, 2, 3]
    assert decided[-1][1] > decided[0][1] > INDEX_ONE
    assert all(_indices(journal, partition) == decided for partition in range(PARAMETERS.partitions))
    cited = {one.set_index.home_sequence for to, one in journal.received if to != HOME and one.set_index.asset == USD}
    assert len(cited) == 1
    assert 0 not in cited


async def test_at_rest_nothing_is_sent_and_an_hour_later_one_tick_more() -> None:
    journal = Journal()
    loop = Loop(journal)
    loop.marks(hours=1)
    await loop.rest()
    assert await loop.rest() == 0
    loop.marks(hours=2)
    assert await loop.rest() == len(PARAMETERS.pools) * PARAMETERS.partitions


async def test_a_restart_anywhere_continues_the_same_ticks() -> None:
    journal = Journal()
    _lent(journal)
    for hours in range(1, 40):
        loop = Loop(journal)  # every hour a new process: its memory is the journal
        loop.marks(hours=hours)
        loop.fold()
        await loop.accrual.step(now_s=0)  # and it dies after one step
    last = Loop(journal)
    last.marks(hours=40)
    await last.rest()
    for partition in range(PARAMETERS.partitions):
        assert _indices(journal, partition) == _indices(journal, HOME)
        assert [tick for tick, *_ in _indices(journal, partition)] == list(range(1, 41))


async def test_a_long_gap_is_caught_up_tick_by_tick() -> None:
    journal = Journal()
    _lent(journal)
    loop = Loop(journal)
    loop.marks(hours=24 * 40)
    await loop.rest()
    assert [tick for tick, *_ in _indices(journal, 3)] == list(range(1, 961))
    assert journal.ticks["settle_variation", BTC_PERP, 2] == 40
    assert journal.ticks["set_funding", BTC_PERP, 2] == 120


async def test_two_instances_do_no_harm() -> None:
    journal = Journal()
    _lent(journal)
    one, two = Loop(journal), Loop(journal)
    for hours in range(1, 30):
        for loop in (one, two):
            loop.marks(hours=hours)
        for _ in range(4):
            for loop in (one, two):
                await loop.accrual.step(now_s=hours * 10.0)
                loop.fold()
    for partition in range(PARAMETERS.partitions):
        assert _indices(journal, partition) == _indices(journal, HOME)
        assert [tick for tick, *_ in _indices(journal, partition)] == list(range(1, 30))


async def test_what_got_lost_is_sent_again_after_a_while() -> None:
    journal = Journal()
    loop = Loop(journal)
    loop.marks(hours=1)
    journal.loses = True
    assert await loop.accrual.step(now_s=0) > 0
    journal.loses = False
    assert await loop.accrual.step(now_s=RESEND_SECONDS / 2) == 0
    assert await loop.rest(now_s=RESEND_SECONDS) > 0
    assert _indices(journal, HOME)


@pytest.mark.parametrize(
    ("validity", "settles"),
    [
        (ValidityClass.VALID, True),
        (ValidityClass.DEGRADED, True),
        (ValidityClass.HOLD, False),
        (ValidityClass.STALE, False),
    ],
)
async def test_settlement_and_funding_wait_for_a_mark_that_may_carry_margin(
    validity: ValidityClass, settles: bool
) -> None:
    journal = Journal()
    loop = Loop(journal)
    loop.marks(hours=25, validity=validity)
    await loop.rest()
    assert (journal.ticks["settle_variation", BTC_PERP, 0] == 1) is settles
    assert (journal.ticks["set_funding", BTC_PERP, 0] == 3) is settles
    assert len(_indices(journal, HOME)) == 25  # interest needs no mark
    loop.marks(hours=25.1, price=1_600_000)
    await loop.rest()
    assert journal.ticks["settle_variation", BTC_PERP, 0] == 1
    cited = [one.settle_variation for _, one in journal.received if one.HasField("settle_variation")]
    assert {one.price for one in cited} == {1_500_000 if settles else 1_600_000}
    assert {one.mark_sequence for one in cited} == {1 if settles else 2}


async def test_every_journalled_tick_has_its_reason_published() -> None:
    journal = Journal()
    _lent(journal)
    loop = Loop(journal)
    loop.marks(hours=2)
    await loop.rest()
    reasons = {(one.tick, one.borrow_index, one.supply_index) for one in journal.reasons if one.asset == USD}
    assert reasons == set(_indices(journal, HOME))
    first = next(one for one in journal.reasons if one.asset == USD)
    assert (first.idle_units, first.debt_shares, first.supply_shares) == (2_000_000_000, 5_000_000_000, 7_000_000_000)
    assert first.utilisation_ppm == 714_285


async def test_a_loss_is_written_off_once_by_the_home_partition() -> None:
    journal = Journal()
    _lent(journal)
    journal.post(2, ledger_pb2.LINE_KIND_LOSS, 1_000_000)
    loop = Loop(journal)
    loop.marks(hours=1)
    await loop.rest()
    sent = {to: one.set_index for to, one in journal.received if one.set_index.asset == USD}
    assert {to: one.write_off_units for to, one in sent.items()} == {0: 0, 1: 1_000_000, 2: 0, 3: 0}
    assert {one.supply_index for one in sent.values()} == {sent[HOME].supply_index}
    assert sent[HOME].supply_index < INDEX_ONE
    journal.post(HOME, ledger_pb2.LINE_KIND_LOSS, -1_000_000)  # as the home partition posts it
    loop.marks(hours=2)
    await loop.rest()
    assert not [one for to, one in journal.received if one.set_index.tick == 2 and one.set_index.write_off_units]
