"""A venue's session, told by hand what the venue and the journal say."""

import asyncio
from typing import Any

import pytest

from ballast.api.v1 import venue_pb2
from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.ids import serial_id
from services.venue_gateway.app.books import DisplayedBooks
from services.venue_gateway.app.venue_metrics import GatewayMetrics, VenueMetrics
from services.venue_gateway.app.venue_session import VenueSession
from services.venue_gateway.domain.dispatch import SILENCE_SECONDS
from services.venue_gateway.errors import EndReason, SessionEnded
from services.venue_gateway.tests.house import (
    ACCOUNT,
    DIRECTORY,
    NORTH,
    ORDER,
    PARTITION,
    SEND_BY_NS,
    House,
    KeptBooks,
    order,
    order_outcome,
    outcome_of,
)

WORKING = ledger_pb2.ORDER_STATE_WORKING
CANCELLING = ledger_pb2.ORDER_STATE_CANCELLING
FILL = ledger_pb2.REPORT_KIND_FILL
OTHER = serial_id(partition=PARTITION, serial=8)
AGAIN_AFTER_NS = 300 * 10**9


class Story:
    """A house and one session in it."""

    def __init__(self) -> None:
        self.house = House().with_account()
        self.now_s = 100.0
        self.books = DisplayedBooks(lambda venue: None, again_after_ns=AGAIN_AFTER_NS)
        self.house.view.listen(lambda moved: self.session.journal_moved(moved))
        self.metrics = GatewayMetrics(self.house.metrics)
        self.session = self.new_session(received=0)

    def new_session(self, *, received: int, epoch: int = 1) -> VenueSession:
        self.session = VenueSession(
            venue=NORTH,
            epoch=epoch,
            received=received,
            directory=DIRECTORY,
            view=self.house.view,
            books=self.books,
            metrics=VenueMetrics(self.metrics, NORTH.name),
            clock=lambda: self.now_s,
        )
        return self.session

    def said(self) -> list[tuple[str, Any]]:
        """What the venue is sent since the last call."""
        said = []
        while self.session.outgoing:
            message = self.session.outgoing.popleft()
            which = message.WhichOneof("message") or ""
            said.append((which, getattr(message, which)))
        return said

    def names(self) -> list[str]:
        return [name for name, _ in self.said()]

    def report(self, sequence: int, kind: ledger_pb2.ReportKind = FILL, **changes: Any) -> None:
        values: dict[str, Any] = {"order": ORDER, "lots": 2, "price": "60000", "fee": "0.01", **changes}
        if kind != FILL:
            values.update(lots=0, price="", fee="")
        report = venue_pb2.ExecutionReport(sequence=sequence, kind=kind, order_received_wall_ns=77, **values)
        self.session.hear(venue_pb2.ConnectRequest(report=report))

    async def posted(self) -> list[commands_pb2.Command]:
        """What the session posts now."""
        posting = asyncio.create_task(self.session.post(self.house.commands))
        for _ in range(5):
            await asyncio.sleep(0)
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)
        return self.house.commands.take()

    def status(self, *, known: bool, terminal: bool = False) -> None:
        status = venue_pb2.OrderStatus(order=ORDER, known=known, terminal=terminal)
        self.session.hear(venue_pb2.ConnectRequest(status=status))


@pytest.fixture
def story() -> Story:
    return Story()


def _keys(commands: list[commands_pb2.Command]) -> list[tuple[str, int, int]]:
    return [(one.fact.stream, one.fact.sequence, one.fact.previous) for one in commands]


async def test_a_released_order_goes_out_once_and_in_each_session_again(story: Story) -> None:
    story.session.begin()
    story.house.journal(order_outcome(order(ledger_pb2.ORDER_STATE_RESERVED)))
    story.house.journal(order_outcome(order()))
    story.house.journal(order_outcome(order()))
    hello, sent = story.said()
    assert hello[0] == "hello"
    assert sent[0] == "order"
    assert (sent[1].symbol, sent[1].lots, sent[1].limit_price) == ("BTC-USD-PERP", 5, "60000")
    story.new_session(received=0, epoch=2).begin()
    assert story.names() == ["hello", "order"]
    story.house.journal(order_outcome(order(WORKING)))
    story.new_session(received=0, epoch=3).begin()
    assert story.names() == ["hello"]


async def test_orders_of_another_venue_stay_away(story: Story) -> None:
    story.house.journal(order_outcome(order(venue=2)))
    story.session.begin()
    assert story.names() == ["hello"]


async def test_reports_are_posted_in_a_chain_and_acknowledged_once_on_record(story: Story) -> None:
    story.house.journal(order_outcome(order()))
    story.session.begin()
    story.said()
    story.report(1, ledger_pb2.REPORT_KIND_ACCEPTED)
    story.report(2)
    posted = await story.posted()
    assert _keys(posted) == [("venue/north", 1, 0), ("venue/north", 2, 1)]
    assert (posted[1].order_report.price, posted[1].order_report.fee_units) == (6_000_000, 10_000)
    assert story.names() == []
    story.house.journal(outcome_of(posted[0]))
    assert [message.up_to for _, message in story.said()] == [1]
    story.house.journal(outcome_of(posted[1]))
    assert [message.up_to for _, message in story.said()] == [2]
    assert await story.posted() == []


async def test_the_stamp_of_the_venue_travels_in_the_header(story: Story) -> None:
    story.house.journal(order_outcome(order()))
    story.report(1)
    posting = asyncio.create_task(story.session.post(story.house.commands))
    await story.house.commands.arrived.wait()
    assert story.house.commands.sent[0][2] == {"order_received_wall_ns": 77}
    posting.cancel()


async def test_reports_on_record_are_skipped_after_a_restart(story: Story) -> None:
    story.house.journal(order_outcome(order()))
    fact = commands_pb2.Command(fact=commands_pb2.FactKey(stream="venue/north", sequence=2, previous=0))
    story.house.journal(outcome_of(fact))
    story.new_session(received=0, epoch=2)
    for sequence in (1, 2, 3):
        story.report(sequence)
    assert _keys(await story.posted()) == [("venue/north", 3, 2)]
    assert [message.up_to for name, message in story.said() if name == "ack"] == [2]


async def test_a_gap_rewinds_to_the_mark(story: Story) -> None:
    story.house.journal(order_outcome(order()))
    for sequence in (1, 2, 3):
        story.report(sequence)
    first = await story.posted()
    story.house.journal(
        outcome_of(first[0]),
        outcome_of(first[1], refusal=ledger_pb2.REFUSAL_GAP),
        outcome_of(first[2], refusal=ledger_pb2.REFUSAL_GAP),
    )
    assert _keys(await story.posted()) == [("venue/north", 2, 1), ("venue/north", 3, 2)]


async def test_a_missing_report_number_ends_the_session(story: Story) -> None:
    story.report(1)
    with pytest.raises(SessionEnded, match="expected report 2, was 3") as ended:
        story.report(3)
    assert ended.value.reason is EndReason.MALFORMED


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"price": "60000.001"}, "at most 2 digits"),
        ({"price": "NaN"}, "expected a decimal"),
        ({"price": "0"}, "within its bounds"),
        ({"fee": "0.0000001"}, "at most 6 digits"),
        ({"lots": 0}, "expected a fill of 1 to"),
        ({"lots": -1}, "expected a fill of 1 to"),
        ({"order": 2**63}, "no such order"),
    ],
)
async def test_a_report_that_cannot_be_taken_is_never_acknowledged(
    story: Story, changes: dict[str, Any], says: str
) -> None:
    story.house.journal(order_outcome(order()))
    with pytest.raises(SessionEnded, match=says):
        story.report(1, **changes)
    assert await story.posted() == []


async def test_a_late_fill_of_a_closed_order_is_scaled_and_one_of_an_unknown_order_is_posted_bare(story: Story) -> None:
    story.house.journal(order_outcome(order()))
    story.house.journal(order_outcome(order(ledger_pb2.ORDER_STATE_CANCELLED)))
    story.report(1)
    story.report(2, order=OTHER)
    late, unknown = await story.posted()
    assert late.order_report.price == 6_000_000
    assert (unknown.order_report.price, unknown.order_report.lots) == (0, 2)
    assert "price 60000" in unknown.order_report.detail


async def test_a_repeated_report_is_acknowledged_again_in_one_message(story: Story) -> None:
    story.house.journal(order_outcome(order()))
    story.report(1)
    story.house.journal(outcome_of((await story.posted())[0]))
    story.said()
    for _ in range(3):
        story.report(1)
    assert [message.up_to for _, message in story.said()] == [1]


async def test_an_order_that_was_never_sent_is_given_up_after_its_send_by_time(story: Story) -> None:
    story.house.journal(order_outcome(order()), run_time_ns=SEND_BY_NS + 1)
    story.new_session(received=0, epoch=2).begin()
    assert story.names() == ["hello", "query"]
    story.status(known=False)
    (posted,) = await story.posted()
    assert _keys([posted]) == [("gateway/north", 1, 0)]
    assert posted.order_report.kind == ledger_pb2.REPORT_KIND_CANCELLED
    story.house.journal(outcome_of(posted), order_outcome(order(ledger_pb2.ORDER_STATE_CANCELLED)))
    story.status(known=False)
    assert await story.posted() == []
    story.house.journal(order_outcome(order(number=OTHER)), run_time_ns=SEND_BY_NS + 2)
    assert story.names() == ["query"]


async def test_own_reports_go_on_above_the_journal_and_are_thought_over_after_a_gap(story: Story) -> None:
    fact = commands_pb2.Command(fact=commands_pb2.FactKey(stream="gateway/north", sequence=4, previous=3))
    story.house.journal(outcome_of(fact))
    story.house.journal(order_outcome(order()), run_time_ns=SEND_BY_NS + 1)
    story.new_session(received=0, epoch=2).begin()
    story.status(known=False)
    (posted,) = await story.posted()
    assert _keys([posted]) == [("gateway/north", 5, 4)]
    story.house.journal(outcome_of(posted, refusal=ledger_pb2.REFUSAL_GAP))
    assert _keys(await story.posted()) == [("gateway/north", 5, 4)]


async def test_a_cancel_goes_out_after_the_order_and_a_query_before_it_otherwise(story: Story) -> None:
    story.session.begin()
    story.house.journal(order_outcome(order()))
    story.house.journal(order_outcome(order(CANCELLING)))
    assert story.names() == ["hello", "order", "cancel"]
    story.new_session(received=0, epoch=2).begin()
    assert story.names() == ["hello", "query"]
    story.status(known=True)
    assert story.names() == ["cancel"]
    story.status(known=True, terminal=True)
    assert story.names() == []


async def test_a_silent_order_is_asked_for_and_sent_again(story: Story) -> None:
    story.session.begin()
    story.house.journal(order_outcome(order()))
    story.session.tick()
    assert story.names() == ["hello", "order", "heartbeat"]
    story.now_s += SILENCE_SECONDS + 1
    story.session.tick()
    assert story.names() == ["heartbeat", "query"]
    story.status(known=False)
    assert story.names() == ["order"]
    story.report(1, ledger_pb2.REPORT_KIND_ACCEPTED)
    story.now_s += SILENCE_SECONDS + 1
    story.session.tick()
    assert story.names() == ["heartbeat"]


async def test_a_newer_session_in_the_journal_ends_this_one(story: Story) -> None:
    effect = journal_pb2.Effect(venue_session=journal_pb2.VenueSession(venue=NORTH.id, epoch=2))
    story.house.journal(journal_pb2.Outcome(effects=[effect]), partition=0)
    assert story.session.ended is not None
    assert story.session.ended.reason is EndReason.SUPERSEDED


def _book(
    sequence: int, price: str = "60000", lots: int = 1, symbol: str = "BTC-USD-PERP", run_time_ns: int = 0
) -> venue_pb2.ConnectRequest:
    level = venue_pb2.BookLevel(price=price, lots=lots)
    book = venue_pb2.BookUpdate(symbol=symbol, sequence=sequence, bids=[level], run_time_ns=run_time_ns)
    return venue_pb2.ConnectRequest(book=book)


async def test_only_changed_books_are_published_the_latest_of_each(story: Story) -> None:
    kept = KeptBooks()
    publishing = asyncio.create_task(story.books.publish(kept))
    for message in (_book(1), _book(2, lots=2), _book(3, lots=2), _book(1, lots=9)):
        story.session.hear(message)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    story.session.hear(_book(4, lots=2))
    story.session.hear(_book(5, lots=3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    publishing.cancel()
    assert [[(one.sequence, list(one.bid_lots)) for one in batch] for batch in kept.batches] == [[(2, [2])], [(5, [3])]]


async def test_a_book_that_stays_the_same_goes_out_again_before_it_is_too_old_to_count(story: Story) -> None:
    kept = KeptBooks()
    publishing = asyncio.create_task(story.books.publish(kept))
    for sequence, run_time_ns in enumerate((0, AGAIN_AFTER_NS - 1, AGAIN_AFTER_NS, AGAIN_AFTER_NS + 1), 1):
        story.session.hear(_book(sequence, run_time_ns=run_time_ns))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    publishing.cancel()
    assert [one.sequence for batch in kept.batches for one in batch] == [1, 3]


@pytest.mark.parametrize(
    "message",
    [
        _book(1, symbol="XRP-USD"),
        _book(1, price="0.001"),
        _book(1, lots=0),
        venue_pb2.ConnectRequest(),
        venue_pb2.ConnectRequest(hello=venue_pb2.VenueHello()),
    ],
)
async def test_what_a_venue_may_not_say_ends_its_session(story: Story, message: venue_pb2.ConnectRequest) -> None:
    with pytest.raises(SessionEnded):
        story.session.hear(message)


async def test_the_account_of_the_story_exists(story: Story) -> None:
    assert story.house.view.account(ACCOUNT) is not None
