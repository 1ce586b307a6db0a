"""What a worker publishes of an account depends on the account's entity alone, to the last bit (I8).

Not on how its rows came to be, on how many partitions the book is spread over, on restarts, nor on which of the three
ways a mark is taken: by the oracle, by a sweep of all, or by intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from ballast.events.v1 import chain_pb2, journal_pb2, market_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import Fingerprint
from libs.common.chain import AcceptedFrame
from services.risk_evaluation.app.market import Control, Market
from services.risk_evaluation.app.partition import PartitionRisk
from services.risk_evaluation.domain.prices import Mark
from services.risk_evaluation.tests.hand import HASH, SESSION, Effect, accepted, attributes, order, posting
from services.risk_evaluation.tests.test_live_ticks import MODEL, PRICES, at, walk
from services.risk_evaluation.tests.world import BTC, BTC_INVERSE, BTC_PERP, ETH_PERP, USD, account

CASH, LOTS, VARIATION = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_VARIATION
ENTITIES, MARKS = 60, 14
COLUMNS = (
    "equity", "initial_margin", "maintenance_margin", "equity_for_new_risk", "state", "worst_scenario", "validity",
    "add_on", "open_orders", "gross_notional",
)  # fmt: skip

Step = Mapping[int, Sequence[Effect]]  # effects by entity
Row = tuple[int, ...]
Seen = list[dict[int, Row]]  # of each mark, every account's row


@dataclass(frozen=True, slots=True)
class Way:
    """How a book is kept: shards, which kernel, whether rows come in another order, marks before which it restarts."""

    shards: int = 1
    kernel_from: int | None = 0
    ticks_from: int = 0
    shuffled: bool = False
    restarts: tuple[int, ...] = ()


def story(seed: int) -> list[Step]:
    """What happens before each mark."""
    random = np.random.default_rng(seed)
    steps: list[Step] = []
    for number in range(MARKS):
        found: dict[int, list[Effect]] = {}
        for _ in range(ENTITIES * 2 if not number else 8):
            entity = int(random.integers(1, ENTITIES))
            of = account(entity=entity, sub=int(random.integers(0, 2)) if entity % 7 == 0 else 0)
            kind, key = ((LOTS, BTC_PERP), (LOTS, ETH_PERP), (LOTS, BTC_INVERSE), (CASH, USD), (CASH, BTC))[
                int(random.integers(0, 5))
            ]
            effects = found.setdefault(entity, [])
            effects.append(attributes(of))
            amount = int(random.integers(-40, 60)) * {LOTS: 1, CASH: 10**8}[kind] * (50 if key == BTC_INVERSE else 1)
            effects.append(posting(of, key, kind, amount))
            if kind == LOTS:
                price = PRICES[key]
                paid = amount * 10**10 // price if key == BTC_INVERSE else -amount * price * 10**6
                effects.append(posting(of, key, VARIATION, paid + int(random.integers(0, 10**9))))
            if random.random() < 0.15:
                effects.append(order(1_000 * number + entity, int(random.integers(1, 9)), of=of))
        steps.append(found)
    return steps


class Shard:
    """One partition's worker and journal."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._frames: list[AcceptedFrame] = []
        self._fingerprint = Fingerprint()
        self.restart()

    def restart(self) -> None:
        """Another process: the journal is folded from its first frame."""
        self.risk = PartitionRisk(
            partition=0, model=MODEL, session=SESSION, parameters_hash=HASH, kernel_from=self._way.kernel_from,
            ticks_from=self._way.ticks_from,
        )  # fmt: skip
        for frame in self._frames:
            self.risk.apply(frame)
        self.risk.begin()

    def append(self, effects: Sequence[Effect]) -> None:
        """The next journal frame."""
        for effect in effects:
            self._fingerprint.apply(effect)
        outcome = journal_pb2.Outcome(command="by_hand", effects=effects)
        body = journal_pb2.JournalBody(outcomes=[outcome], fingerprint=self._fingerprint.digest)
        sequence = len(self._frames) + 1
        frame = chain_pb2.Frame(sequence=sequence, body=body.SerializeToString())
        self._frames.append(AcceptedFrame(sequence, frame, b""))
        self.risk.apply(self._frames[-1])


def told(market: Market, number: int, found: Mapping[int, Mark]) -> None:
    body = market_pb2.MarksBody(
        instrument=found.keys(),
        mark_price=[one.price for one in found.values()],
        confidence=[one.confidence for one in found.values()],
        slow_price=[one.slow for one in found.values()],
        validity=bytes(one.validity for one in found.values()),
    )
    market.apply(accepted(number, body.SerializeToString(), run_time_ns=number), received_wall_ns=1)


def lived(way: Way, steps: Sequence[Step], seed: int) -> Seen:
    """What is published of everyone at every mark."""
    random, market, control = np.random.default_rng(seed), Market(MODEL), Control()
    shards, seen = [Shard(way) for _ in range(way.shards)], Seen()
    prices = walk(np.random.default_rng(99), 0.0004, MARKS)
    for number, (step, found) in enumerate(zip(steps, prices, strict=True)):
        entities = list(step)
        if way.shuffled:  # entities in another order; what one entity does stays in its own
            entities = [entities[int(each)] for each in random.permutation(len(entities))]
        for entity in entities:
            shards[entity % way.shards].append(step[entity])
        rows: dict[int, Row] = {}
        told(market, number + 1, at(found))
        for shard in shards:
            if number in way.restarts:
                shard.restart()
            shard.risk.touch(shard.risk.fold.columns.accounts)
            for output in shard.risk.on_marks(market, control, now_ns=0):
                rows.update(rows_of(output.frame))
            shard.risk.settle(market)
        seen.append(rows)
    return seen


def rows_of(frame: object) -> dict[int, Row]:
    accounts: Sequence[int] = frame.account  # type: ignore[attr-defined]
    width = len(frame.underlying)  # type: ignore[attr-defined]
    columns = [getattr(frame, name) for name in COLUMNS]
    losses: Sequence[int] = frame.scan_loss  # type: ignore[attr-defined]
    return {
        one: tuple(column[row] for column in columns) + tuple(losses[row * width : (row + 1) * width])
        for row, one in enumerate(accounts)
    }


WAYS: dict[str, Way] = {
    "swept": Way(ticks_from=10**9),
    "by intervals": Way(),
    "two shards": Way(shards=2),
    "five shards, swept": Way(shards=5, ticks_from=10**9),
    "rows in another order": Way(shuffled=True),
    "restarted twice": Way(restarts=(5, 9)),
    "all at once": Way(shards=3, shuffled=True, restarts=(2, 3, 11)),
}


@pytest.fixture(name="truth", scope="module")
def _truth() -> Callable[[int], tuple[list[Step], Seen]]:
    kept: dict[int, tuple[list[Step], Seen]] = {}

    def of(seed: int) -> tuple[list[Step], Seen]:
        if seed not in kept:
            steps = story(seed)
            kept[seed] = steps, lived(Way(kernel_from=None), steps, seed)
        return kept[seed]

    return of


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("seed", range(4))
def test_neither_history_nor_shards_nor_restarts_move_a_bit(
    way: Way, seed: int, truth: Callable[[int], tuple[list[Step], Seen]]
) -> None:
    steps, expected = truth(seed)
    assert len({row for rows in expected for row in rows.values()}) > ENTITIES
    assert lived(way, steps, seed) == expected
