"""The notary: each partition's last accepted frame, once, and again when the broker was away."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter

from ballast.events.v1 import chain_pb2, journal_pb2, notary_pb2
from libs.common.chain import AcceptedFrame
from libs.common.errors import ConfigurationError, Fault
from libs.common.signing import new_key_file
from services.collateral_management.adapters.notary import signer_of
from services.collateral_management.app.notary import Notary


class Topic:
    def __init__(self) -> None:
        self.heads: list[notary_pb2.JournalHead] = []
        self.away = False

    async def publish(self, heads: list[notary_pb2.JournalHead]) -> None:
        if self.away:
            raise Fault("the broker is away")
        self.heads += heads


def accepted(sequence: int) -> AcceptedFrame:
    body = journal_pb2.JournalBody(fingerprint=b"%016d" % sequence).SerializeToString()
    frame = chain_pb2.Frame(epoch=2, sequence=sequence, run_time_ns=7 * sequence, body=body)
    return AcceptedFrame(offset=10 + sequence, frame=frame, head=b"%032d" % sequence)


def notary(topic: Topic) -> tuple[Notary, Counter]:
    published = Counter("heads_total", "", registry=CollectorRegistry())
    return Notary(publish=topic.publish, every_s=10.0, published=published), published


async def test_only_the_last_frame_of_each_partition_is_published_and_once() -> None:
    topic = Topic()
    one, published = notary(topic)
    for partition, sequence in ((1, 4), (0, 8), (1, 5)):
        one.accepted(partition, accepted(sequence))
    await one.publish_latest()
    await one.publish_latest()
    assert [(head.partition, head.sequence) for head in topic.heads] == [(0, 8), (1, 5)]
    assert topic.heads[0] == notary_pb2.JournalHead(
        partition=0, epoch=2, sequence=8, offset=18, hash=b"%032d" % 8, fingerprint=b"%016d" % 8, run_time_ns=56
    )
    assert published._value.get() == 2


async def test_what_the_broker_did_not_take_is_published_later_unless_something_newer_came() -> None:
    topic = Topic()
    one, _ = notary(topic)
    topic.away = True
    one.accepted(0, accepted(1))
    one.accepted(1, accepted(1))
    await one.publish_latest()
    one.accepted(0, accepted(2))
    topic.away = False
    await one.publish_latest()
    assert [(head.partition, head.sequence) for head in topic.heads] == [(0, 2), (1, 1)]


def test_a_key_that_the_parameters_do_not_trust_is_refused(tmp_path: Path) -> None:
    public_key = new_key_file(tmp_path / "key.pem")
    assert signer_of(None, trusted=[]) is None
    signer = signer_of(tmp_path / "key.pem", trusted=[public_key])
    assert signer is not None
    with pytest.raises(ConfigurationError, match=public_key.hex()):
        signer_of(tmp_path / "key.pem", trusted=[b"0" * 32])
