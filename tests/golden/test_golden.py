"""What was written on the wire once is read by today's code as it was meant."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from google.protobuf.message import Message

from ballast.events.v1 import journal_pb2
from tests.golden import renew
from tests.golden.samples import Sample, difference, enum_values, kept, protos, samples, subject

_SUBJECTS = ("api", "events", "types")
_GOLDEN = {name: generations for each in _SUBJECTS for name, generations in kept(each).items()}
_RENEW = "make golden"


def _every_field_is_set(message: Message) -> bool:
    set_fields = {field.number for field, _ in message.ListFields()}
    chosen = {choice for choice in message.DESCRIPTOR.oneofs if message.WhichOneof(choice.name)}
    return len(chosen) == len(message.DESCRIPTOR.oneofs) and all(
        field.number in set_fields for field in message.DESCRIPTOR.fields if field.containing_oneof is None
    )


@pytest.mark.parametrize("name", sorted(samples()))
def test_golden_bytes_are_read_as_they_were_meant(name: str) -> None:
    sample = samples()[name]
    assert name in _GOLDEN, f"no golden bytes yet: {_RENEW}"
    assert not [found for wire in _GOLDEN[name] if (found := difference(wire, sample))]
    assert sample.wire in _GOLDEN[name], f"the message gained a field: {_RENEW}"


def test_enum_values_keep_their_numbers() -> None:
    assert {name: [wire] for name, wire in enum_values().items()} == {
        name: generations for name, generations in _GOLDEN.items() if name not in samples()
    }


def test_nothing_golden_left_the_contract() -> None:
    assert not _GOLDEN.keys() - samples().keys() - enum_values().keys()


def test_every_message_of_every_file_has_a_sample(repository: Path) -> None:
    # Read from the text, so that a message which the walk over descriptors forgets is noticed.
    declared = {
        f"{'.'.join(proto.parts[:-1])}.{message}"
        for proto in protos()
        for message in re.findall(r"^\s*message (\w+) \{", (repository / "proto" / proto).read_text(), re.MULTILINE)
    }
    assert len(declared) > 60
    assert {name.partition("[")[0] for name in samples()} == declared
    assert {subject(name) for name in (*samples(), *enum_values())} == set(_SUBJECTS)


@pytest.mark.parametrize("name", sorted(samples()))
def test_a_sample_sets_every_field(name: str) -> None:
    assert _every_field_is_set(samples()[name].message)


def test_every_arm_of_every_oneof_has_a_sample() -> None:
    arms = {
        f"{sample.message.DESCRIPTOR.full_name}[{choice.name}={arm.name}]"
        for sample in samples().values()
        for choice in sample.message.DESCRIPTOR.oneofs
        if not choice.name.startswith("_")  # an `optional` field stands alone in a oneof that nobody wrote
        for arm in choice.fields
    }
    assert len(arms) > 40
    assert arms == {name for name in samples() if "[" in name}


def _posting() -> Sample:
    return samples()["ballast.events.v1.Posting"]


_ACCOUNT_FIELD = b"\x09"  # number 1, eight bytes
_CHANGES = {
    "a field moved to a free number": lambda wire: b"\x79" + wire[1:],
    "a field moved to a number of another type": lambda wire: b"\x11" + wire[1:],
    "a value read otherwise": lambda wire: wire[:1] + bytes([wire[1] ^ 1]) + wire[2:],
}


@pytest.mark.parametrize("change", _CHANGES, ids=str)
def test_a_wire_change_is_seen(change: str) -> None:
    wire = _posting().wire
    assert wire.startswith(_ACCOUNT_FIELD)
    assert difference(wire, _posting()) == ""
    assert difference(_CHANGES[change](wire), _posting()) != ""


def test_bytes_from_before_a_field_was_added_stay_golden() -> None:
    older = journal_pb2.Posting()
    older.ParseFromString(_posting().wire)
    older.ClearField("version")
    assert difference(older.SerializeToString(deterministic=True), _posting()) == ""


def test_renewing_refuses_to_change_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in _SUBJECTS:
        shutil.copy(Path(__file__).parent / f"{name}.txt", tmp_path)
    planted = "ballast.events.v1.Posting 1 " + _CHANGES["a value read otherwise"](_posting().wire).hex()
    events = tmp_path / "events.txt"
    events.write_text(re.sub(r"^ballast\.events\.v1\.Posting 1 .*$", planted, events.read_text(), flags=re.MULTILINE))
    for module in ("renew", "samples"):
        monkeypatch.setattr(f"tests.golden.{module}.HOME", tmp_path)
    assert renew.main([]) == 1
    assert "ballast.events.v1.Posting.account" in capsys.readouterr().err
    assert planted in events.read_text()
    assert renew.main(["--change", "ballast.events.v1.Posting"]) == 0
    assert events.read_text() == (Path(__file__).parent / "events.txt").read_text()


_BREAKS = [
    ("", "", 0),
    ("fixed64 account = 1;", "fixed64 account = 15;", 100),  # a number moved
    ("fixed64 account = 1;", "fixed64 owner = 1;", 100),  # a field renamed
    ("fixed64 account = 1;", "uint64 account = 1;", 100),  # a type changed
    ("  uint64 version = 6;", "  uint64 version = 6;\n  // Since.\n  sint64 since_ns = 7;", 0),  # a field gained
]


@pytest.mark.parametrize(("before", "after", "status"), _BREAKS)
def test_the_breaking_check_refuses_all_but_gained_fields(
    before: str, after: str, status: int, tmp_path: Path, repository: Path
) -> None:
    shutil.copytree(repository / "proto", tmp_path / "proto")
    shutil.copy(repository / "buf.yaml", tmp_path)
    journal = tmp_path / "proto" / "ballast" / "events" / "v1" / "journal.proto"
    head, message, rest = journal.read_text().partition("message Posting {")
    assert before in rest
    journal.write_text(head + message + rest.replace(before, after, 1))
    buf = shutil.which("buf", path=sysconfig.get_path("scripts")) or "buf"
    command = [buf, "breaking", "--against", str(tmp_path / "proto" / "v1.binpb")]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == status, answer.stdout + answer.stderr
    assert ("Posting" in answer.stdout) == (status != 0)
