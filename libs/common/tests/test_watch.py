"""What a process shows of logs, books, invariants and dead letters."""

import pytest
from prometheus_client import CollectorRegistry

from libs.common.book import PartitionBook
from libs.common.chain import AcceptedFrame, ChainRule, LogReading, Rejected, Rejection
from libs.common.watch import Watch, counters, gauges

PLACE = {"topic": "ledger.journal", "partition": "2"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def watch(registry: CollectorRegistry) -> Watch:
    return Watch(registry, is_ready=lambda: True, info={"hash": "ab"})


def test_lag_is_what_the_broker_told_less_what_was_taken(registry: CollectorRegistry, watch: Watch) -> None:
    reading = LogReading("ledger.journal", 2, end=lambda: 10)
    watch.log(reading)
    reading.took(offset=5, appended_ms=1_000)
    assert registry.get_sample_value("ballast_log_lag_records", PLACE) == 4
    assert reading.lag_seconds(now_ms=3_500) == 2.5
    reading.took(offset=9, appended_ms=2_000)
    assert registry.get_sample_value("ballast_log_lag_records", PLACE) == 0
    assert reading.lag_seconds(now_ms=900_000) == 0


def test_nothing_is_said_of_a_lag_before_the_broker_answered(registry: CollectorRegistry, watch: Watch) -> None:
    watch.log(LogReading("ledger.journal", 2))
    assert registry.get_sample_value("ballast_log_lag_records", PLACE) is None


def test_what_every_start_reads_again_is_not_counted(registry: CollectorRegistry, watch: Watch) -> None:
    reading = LogReading("ledger.journal", 2, rule=ChainRule())
    watch.log(reading)
    noise = Rejected(offset=1, reason=Rejection.OTHER_EPOCH, head=b"")
    reading.judged(noise, is_history=True)
    reading.judged(noise, is_history=False)
    labels = {**PLACE, "reason": "other_epoch"}
    assert registry.get_sample_value("ballast_log_rejected_total", labels) == 1


def test_an_accepted_frame_makes_the_head_young(registry: CollectorRegistry, watch: Watch) -> None:
    reading = LogReading("ledger.journal", 2, rule=ChainRule())
    reading.took(offset=0, appended_ms=77)
    reading.judged(AcceptedFrame(offset=0, frame=None, head=b""), is_history=True)  # type: ignore[arg-type]
    assert reading.accepted_ms == 77


def test_a_broken_invariant_stays_broken(registry: CollectorRegistry, watch: Watch) -> None:
    watch.checks("I1", "I8")
    watch.broke("I1")
    watch.checks("I1")
    shown = {number: registry.get_sample_value("ballast_invariant_holds_state", {"invariant": number})
             for number in ("I1", "I8", "I13")}  # fmt: skip
    assert shown == {"I1": 0.0, "I8": 1.0, "I13": None}


def test_a_topic_that_may_have_dead_letters_shows_none_first(registry: CollectorRegistry, watch: Watch) -> None:
    watch.expects("ledger.commands")
    assert registry.get_sample_value("ballast_dead_letters_total", {"topic": "ledger.commands"}) == 0
    watch.put_aside("ledger.commands")
    assert registry.get_sample_value("ballast_dead_letters_total", {"topic": "ledger.commands"}) == 1


def test_a_book_is_shown_until_it_is_closed(registry: CollectorRegistry, watch: Watch) -> None:
    watch.book(PartitionBook(3))
    assert registry.get_sample_value("ballast_book_accounts_count", {"partition": "3"}) == 0
    watch.closed(3)
    assert registry.get_sample_value("ballast_book_accounts_count", {"partition": "3"}) is None


def test_names_follow_the_rule() -> None:
    with pytest.raises(ValueError, match="expected ballast_<service>_<noun>_<unit>"):
        gauges("ballast_log_lag_apples", "", (), [])
    with pytest.raises(ValueError, match="only counters"):
        gauges("ballast_log_claims_total", "", (), [])
    with pytest.raises(ValueError, match="to end in _total"):
        counters("ballast_log_lag_records", "", (), [])
    with pytest.raises(ValueError, match="grows with clients"):
        gauges("ballast_log_lag_records", "", ("account",), [])
