"""The topics as the design's table has them."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool

from ballast.events.v1 import (  # noqa: F401  imported so that the pool knows their messages
    chain_pb2,
    checkpoint_pb2,
    commands_pb2,
    control_pb2,
    dead_letter_pb2,
    interest_pb2,
    journal_pb2,
    liquidation_pb2,
    market_pb2,
    notary_pb2,
    risk_pb2,
)
from libs.common.topics import (
    BATCH_BYTES_MAX,
    DAY_MS,
    DEAD_TOPICS,
    FRAME_BYTES_MAX,
    TOPICS,
    Retention,
    Topic,
)

# name, chained, partitions (None: one a home partition), how it forgets, days
TABLE = [
    ("market.quotes.v1",      False, 1,    Retention.DELETE,  1),
    ("market.marks.v1",       True,  1,    Retention.DELETE,  90),
    ("market.liquidity.v1",   False, 1,    Retention.COMPACT, None),
    ("ledger.commands.v1",    False, None, Retention.DELETE,  14),
    ("ledger.journal.v1",     True,  None, Retention.KEEP,    None),
    ("ledger.accounts.v1",    False, None, Retention.COMPACT, None),
    ("ledger.notary.v1",      False, 1,    Retention.KEEP,    None),
    ("risk.margin.v1",        False, None, Retention.DELETE,  90),
    ("risk.shadow.v1",        False, None, Retention.DELETE,  90),
    ("liquidation.plans.v1",  False, 1,    Retention.KEEP,    None),
    ("interest.rates.v1",     False, 1,    Retention.KEEP,    None),
    ("control.v1",            True,  1,    Retention.KEEP,    None),
]  # fmt: skip


def test_the_topics_are_those_of_the_table() -> None:
    told = [
        (
            one.name,
            one.chained,
            one.partitions,
            one.retention,
            one.retention_ms // DAY_MS if one.retention is Retention.DELETE else None,
        )
        for one in TOPICS
    ]
    assert told == TABLE


def test_every_topic_has_one_for_its_dead_letters() -> None:
    assert [one.name for one in DEAD_TOPICS] == [f"{one.name}.dead" for one in TOPICS]
    assert {(one.retention, one.chained, one.message) for one in DEAD_TOPICS} == {
        (Retention.KEEP, False, "ballast.events.v1.DeadLetter")
    }


@pytest.mark.parametrize("topic", [*TOPICS, *DEAD_TOPICS], ids=lambda topic: topic.name)
def test_what_a_topic_carries_is_a_message_of_the_wire_contract(topic: Topic) -> None:
    assert descriptor_pool.Default().FindMessageTypeByName(topic.message).full_name == topic.message


@pytest.mark.parametrize("topic", [*TOPICS, *DEAD_TOPICS], ids=lambda topic: topic.name)
def test_what_the_broker_is_told(topic: Topic) -> None:
    config = topic.config()
    assert config["max.message.bytes"] == str(FRAME_BYTES_MAX) == str(8 * 1024 * 1024)
    assert config["unclean.leader.election.enable"] == "false"
    if topic.retention is Retention.COMPACT:
        assert config["cleanup.policy"] == "compact"
        assert "retention.ms" not in config
        assert int(config["segment.ms"]) <= 3_600_000  # only closed segments are compacted
    else:
        assert config["cleanup.policy"] == "delete"
        assert config["retention.bytes"] == "-1"
        kept = topic.retention is Retention.KEEP
        assert config["retention.ms"] == ("-1" if kept else str(topic.retention_ms))
        assert kept or topic.retention_ms >= DAY_MS


def test_a_batch_fits_a_record() -> None:
    assert BATCH_BYTES_MAX == 1024 * 1024 < FRAME_BYTES_MAX
