"""Logs, metrics, gRPC statuses and the command encoder's keys."""

import hashlib
import io
import json
import logging

import grpc
import pytest

from ballast.events.v1 import commands_pb2
from ballast.types.v1 import ledger_pb2
from libs.common import rpc
from libs.common.commands import CommandEncoder, request_hash
from libs.common.metrics import Metrics
from libs.common.service import JsonFormatter, configure_logs


def test_a_log_line_is_one_json_object_with_its_fields() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(service="thing", instance="2"))
    logger = logging.Logger("ballast.thing")
    logger.addHandler(handler)
    logger.info("order sent", extra={"order": 7, "hash": b"\x01", "set": {2, 1}, "text": "a\nb"})
    line = stream.getvalue()
    assert line.count("\n") == 1
    content = json.loads(line)
    wanted = {"event": "order sent", "service": "thing", "instance": "2", "order": 7, "hash": "01", "set": [1, 2]}
    assert wanted.items() <= content.items()
    assert content["text"] == "a\nb"


def test_what_the_kafka_client_tries_again_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    root, stream = logging.getLogger(), io.StringIO()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    configure_logs(service="thing", instance="2", level="info", stream=stream)
    for name in ("aiokafka.consumer.fetcher", "ballast.thing"):
        logging.getLogger(name).error("failed")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == ["warning", "error"]


@pytest.mark.parametrize(
    ("kind", "name", "labels"),
    [
        ("counter", "orders_total", ()),
        ("counter", "ballast_orders_total", ()),
        ("counter", "ballast_thing_orders_seconds", ()),
        ("gauge", "ballast_thing_orders_total", ()),
        ("gauge", "ballast_thing_orders_furlongs", ()),
        ("gauge", "ballast_Thing_orders_count", ()),
        ("histogram", "ballast_thing_orders_count", ()),
        ("gauge", "ballast_thing_orders_count", ("account",)),
    ],
)
def test_a_metric_outside_the_naming_rule_is_refused(kind: str, name: str, labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        getattr(Metrics(), kind)(name, "What it counts.", labels)


def test_metrics_of_two_processes_do_not_meet() -> None:
    for _ in range(2):
        metrics = Metrics()
        metrics.histogram("ballast_thing_round_trip_seconds", "Round trip.", ("venue",)).labels("north").observe(0.2)
        assert metrics.registry.get_sample_value("ballast_thing_round_trip_seconds_count", {"venue": "north"}) == 1


def test_every_refusal_has_a_status_that_is_not_ok() -> None:
    for number in ledger_pb2.Refusal.values():
        assert rpc.status_of(number) not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)


def _encoder() -> CommandEncoder:
    return CommandEncoder(principal_id="thing", session=b"s" * 16)


def test_keys_increase_in_each_partition_and_given_ones_stay() -> None:
    encoder = _encoder()
    given = commands_pb2.Command(client=commands_pb2.ClientKey(key="k"))
    given.principal.id = "someone"
    first, second, other = (commands_pb2.Command() for _ in range(3))
    encoder.records(0, [first, given, second])
    encoder.records(1, [other])
    assert [one.session.n for one in (first, second, other)] == [1, 2, 1]
    assert (first.principal.id, first.principal.role) == ("thing", ledger_pb2.ROLE_SERVICE)
    assert (given.WhichOneof("key"), given.principal.id) == ("client", "someone")
    encoder.records(0, [first])
    assert first.session.n == 1


def test_a_batch_is_split_below_the_record_limit_and_one_too_large_command_is_refused() -> None:
    encoder = _encoder()
    large = [commands_pb2.Command(withdraw=commands_pb2.Withdraw(destination="d" * 300_000)) for _ in range(7)]
    records = encoder.records(0, large)
    assert [len(commands_pb2.CommandBatch.FromString(one).commands) for one in records] == [3, 3, 1]
    assert max(map(len, records)) < 1024 * 1024
    with pytest.raises(ValueError, match="expected a command of at most"):
        encoder.records(0, [commands_pb2.Command(withdraw=commands_pb2.Withdraw(destination="d" * 1_100_000))])


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_383, 16_384, 70_000])
@pytest.mark.parametrize("unknown", [b"", b"\x28\x07", b"\xc0\x0c\x01"])
def test_a_request_hash_is_that_of_the_command_with_its_key_cleared(size: int, unknown: bytes) -> None:
    session = commands_pb2.Command(session=commands_pb2.SessionKey(session=b"s" * size, n=size))
    client = commands_pb2.Command(client=commands_pb2.ClientKey(key="k" * size, issued_at_ns=-size))
    for keyed in (session, client, commands_pb2.Command()):
        keyed.principal.id = "alice"
        keyed.supply.units = size
        command = commands_pb2.Command.FromString(unknown + keyed.SerializeToString() + unknown)
        bare = commands_pb2.Command()
        bare.CopyFrom(command)
        bare.ClearField("key")
        expected = hashlib.sha256(bare.SerializeToString(deterministic=True)).digest()[:16]
        assert request_hash(command) == expected


def test_a_request_hash_leaves_the_key_out_and_nothing_else() -> None:
    def command(*, key: str, at: int, account: int, principal: str) -> commands_pb2.Command:
        made = commands_pb2.Command(client=commands_pb2.ClientKey(key=key, issued_at_ns=at))
        made.principal.id = principal
        made.withdraw.account = account
        return made

    first = request_hash(command(key="a", at=1, account=7, principal="x"))
    assert first == request_hash(command(key="b", at=2, account=7, principal="x"))
    assert first != request_hash(command(key="a", at=1, account=8, principal="x"))
    assert first != request_hash(command(key="a", at=1, account=7, principal="y"))


@pytest.mark.parametrize(
    ("metadata", "principal"),
    [
        ((("ballast-principal", "alice"),), "alice"),
        ((("other", "alice"),), ""),
        ((("ballast-principal", ""),), ""),
        ((("ballast-principal", "x" * 65),), ""),
        ((("ballast-principal", b"\xff\x00"),), ""),
        ((("ballast-principal", "mallory"), ("ballast-principal", "alice")), ""),
        (None, ""),
    ],
)
def test_the_principal_comes_from_metadata_or_is_empty(
    metadata: tuple[tuple[str, str | bytes], ...] | None, principal: str
) -> None:
    class Context:
        def invocation_metadata(self) -> object:
            return metadata

    assert rpc.principal_of(Context()) == principal  # type: ignore[arg-type]
