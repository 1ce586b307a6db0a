"""What operators watch of liquidation: a second look at each step, and the time from an opening to its first order."""

import pytest
from prometheus_client import CollectorRegistry

from ballast.events.v1 import journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.ids import AccountId, InstrumentId, VenueId
from libs.common.metrics import Metrics
from libs.common.units import Lots, Price, Usd6
from services.liquidation_execution.adapters.metrics import EpisodeLatency
from services.liquidation_execution.app.checks import broken_by
from services.liquidation_execution.app.ports import Citation, Decision, Step
from services.liquidation_execution.domain.planner import Plan, PlanKind
from services.liquidation_execution.domain.router import SELL, VenueOrder
from services.liquidation_execution.domain.slices import Judged, Margin, Slice

BEFORE = Margin(Usd6(60), Usd6(100), Usd6(80))
NOW_NS = 1_000 * 10**9
SECONDS = "ballast_liquidation_episode_to_order_seconds"


def decision(kind: PlanKind, after: Margin, *, judged_lots: int, sent_lots: int) -> Decision:
    chosen = Judged(Slice("all", (judged_lots,)), BEFORE, after)
    order = VenueOrder(InstrumentId(11), VenueId(1), SELL, Lots(sent_lots), Price(1))
    return Decision(
        account=AccountId(1), episode=2, step=1, what=Step(1, (order,)), margin=BEFORE, citation=Citation(1, 1, 1, 1),
        plan=Plan(kind, chosen),
    )  # fmt: skip


# E·MM' against E'·MM: 59/73 is better than 60/80, 54/73 is worse, 0.75 is the same.
@pytest.mark.parametrize(
    ("kind", "equity", "maintenance", "sent", "broken"),
    [
        (PlanKind.REDUCE,  59, 73, 5, []),
        (PlanKind.PARTIAL, 54, 72, 5, []),
        (PlanKind.PARTIAL, 54, 73, 5, ["I5"]),
        (PlanKind.CLOSE,   54, 73, 5, []),
        (PlanKind.REDUCE,  59, 73, 6, ["I4"]),
        (PlanKind.PARTIAL, 50, 73, 6, ["I4", "I5"]),
    ],
)  # fmt: skip
def test_a_step_is_looked_at_again(kind: PlanKind, equity: int, maintenance: int, sent: int, broken: list[str]) -> None:
    after = Margin(Usd6(equity), Usd6(90), Usd6(maintenance))
    assert broken_by(decision(kind, after, judged_lots=5, sent_lots=sent)) == broken


def body(*effects: journal_pb2.Effect) -> journal_pb2.JournalBody:
    return journal_pb2.JournalBody(outcomes=[journal_pb2.Outcome(effects=effects)])


def opened(step: int = 0) -> journal_pb2.Effect:
    one = journal_pb2.Episode(episode=7, state=ledger_pb2.EPISODE_STATE_OPEN, step=step)
    return journal_pb2.Effect(episode=one)


ORDER = journal_pb2.Effect(order=journal_pb2.Order(order=9, episode=7, state=ledger_pb2.ORDER_STATE_RELEASED))


def test_the_first_order_of_an_episode_is_timed_and_no_later_one() -> None:
    registry = CollectorRegistry()
    latency = EpisodeLatency(Metrics(registry), wall_ns=lambda: NOW_NS)
    latency.frame(body(opened()), written_ns=NOW_NS - 3 * 10**9)
    latency.frame(body(ORDER), written_ns=NOW_NS - 1 * 10**9)
    latency.frame(body(opened(step=1), ORDER), written_ns=NOW_NS)
    assert registry.get_sample_value(f"{SECONDS}_count") == 1
    assert registry.get_sample_value(f"{SECONDS}_sum") == 2.0


def test_history_is_not_timed_again() -> None:
    registry = CollectorRegistry()
    latency = EpisodeLatency(Metrics(registry), wall_ns=lambda: NOW_NS)
    latency.frame(body(opened()), written_ns=1)
    latency.frame(body(ORDER), written_ns=0)
    assert registry.get_sample_value(f"{SECONDS}_count") == 0
