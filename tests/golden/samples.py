"""Samples of every message and enum value of proto/: what they are named, how they are filled, where they are kept.

A sample sets every field of its message to a value made from the field's name, whatever stands around it; each arm of
a oneof has a sample of its own. A message that gains a field gains a generation: earlier bytes are kept, and read, too.
"""

import hashlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

HOME = Path(__file__).resolve().parent
_PROTOS = HOME.parents[1] / "proto"
_DEPTH_MAX = 12
# Width in bits and sign of the whole numbers that the contract uses.
_WHOLE_NUMBERS = {
    FieldDescriptor.TYPE_UINT32: (32, False),
    FieldDescriptor.TYPE_UINT64: (64, False),
    FieldDescriptor.TYPE_FIXED32: (32, False),
    FieldDescriptor.TYPE_FIXED64: (64, False),
    FieldDescriptor.TYPE_SINT32: (32, True),
    FieldDescriptor.TYPE_SINT64: (64, True),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A message filled by today's contract. Name: "package.Message", with its arm as "package.Message[oneof=arm]"."""

    name: str
    message: Message

    @property
    def wire(self) -> bytes:
        """Its bytes."""
        return self.message.SerializeToString(deterministic=True)


def protos() -> list[Path]:
    """Every file of the contract, by its path under proto/."""
    return sorted(path.relative_to(_PROTOS) for path in _PROTOS.rglob("*.proto"))


def file_descriptor(proto: Path) -> FileDescriptor:
    """What the generated code knows of a file."""
    module = ".".join(proto.with_suffix("").parts) + "_pb2"
    descriptor: FileDescriptor = importlib.import_module(module).DESCRIPTOR
    return descriptor


def subject(name: str) -> str:
    """Which file of golden bytes holds a sample: "api", "events" or "types"."""
    return name.split(".")[1]


@cache
def samples() -> dict[str, Sample]:
    """Every sample of every message, by name."""
    files = [file_descriptor(proto) for proto in protos()]
    every = (sample for file in files for top in file.message_types_by_name.values() for sample in _of_message(top))
    return {sample.name: sample for sample in every}


@cache
def enum_values() -> dict[str, bytes]:
    """Every enum value's number as it goes on the wire, by name such as "ballast.types.v1.Side.SIDE_BUY"."""
    enums: list[EnumDescriptor] = []
    for file in (file_descriptor(proto) for proto in protos()):
        enums += file.enum_types_by_name.values()
        enums += (enum for top in file.message_types_by_name.values() for enum in _nested_enums(top))
    return {f"{enum.full_name}.{value.name}": _varint(value.number) for enum in enums for value in enum.values}


def kept(name: str) -> dict[str, list[bytes]]:
    """Golden bytes of one subject: generations of each sample, oldest first."""
    path = HOME / f"{name}.txt"
    generations: dict[str, list[bytes]] = {}
    for line in path.read_text(encoding="ascii").splitlines() if path.is_file() else []:
        sample, generation, wire = (line + " ").split(" ")[:3]
        generations.setdefault(sample, []).append(bytes.fromhex(wire))
        if int(generation) != len(generations[sample]):
            raise ValueError(
                f"{path.name}: expected generation {len(generations[sample])} of {sample}, was {generation}"
            )
    return generations


def difference(golden: bytes, today: Sample) -> str:
    """What today's code reads otherwise in golden bytes; empty when every field is found again as it was written."""
    decoded = type(today.message)()
    decoded.ParseFromString(golden)
    if decoded.SerializeToString(deterministic=True) != golden:
        return f"{today.name}: written again, the bytes differ"
    return _difference(decoded, today.message, today.name)


def _varint(number: int) -> bytes:
    low = number & 0x7F
    return bytes([low | 0x80]) + _varint(number >> 7) if number >> 7 else bytes([low])


def _of_message(descriptor: Descriptor) -> Iterator[Sample]:
    for nested in descriptor.nested_types:
        if not nested.GetOptions().map_entry:
            yield from _of_message(nested)
    choices = [one for one in descriptor.oneofs if not _is_synthetic(one.fields[0])]
    if not choices:
        yield Sample(descriptor.full_name, _filled(descriptor, arms={}, depth=0))
    for choice in choices:
        for arm in choice.fields:
            name = f"{descriptor.full_name}[{choice.name}={arm.name}]"
            yield Sample(name, _filled(descriptor, arms={choice.name: arm.name}, depth=0))


def _nested_enums(descriptor: Descriptor) -> Iterator[EnumDescriptor]:
    yield from descriptor.enum_types
    for nested in descriptor.nested_types:
        yield from _nested_enums(nested)


def _is_synthetic(field: FieldDescriptor) -> bool:
    # A proto3 `optional` field stands alone in a oneof that nobody wrote.
    return field.containing_oneof is not None and field.containing_oneof.name == f"_{field.name}"


def _filled(descriptor: Descriptor, *, arms: dict[str, str], depth: int) -> Message:
    """A message with every field set; of a oneof the arm that was asked for, else the one with the lowest number."""
    if depth > _DEPTH_MAX:
        raise ValueError(f"expected messages at most {_DEPTH_MAX} deep, was {descriptor.full_name} inside itself")
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        choice = field.containing_oneof
        if choice is not None and not _is_synthetic(field):
            lowest = min(choice.fields, key=lambda each: each.number)
            if field.name != arms.get(choice.name, lowest.name):
                continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (_value(field.message_type.fields_by_name[name], 0, depth=depth) for name in ("key", "value"))
            getattr(message, field.name)[key] = value  # one entry: the order of several is not fixed
            continue
        values = [_value(field, index, depth=depth) for index in range(2 if field.is_repeated else 1)]
        if field.is_repeated:
            getattr(message, field.name).extend(values)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(values[0])
            getattr(message, field.name).SetInParent()
        else:
            setattr(message, field.name, values[0])
    return message


def _value(field: FieldDescriptor, index: int, *, depth: int) -> object:
    """A value that no other field has, as far as the type allows; never the default."""
    if field.message_type is not None:
        return _filled(field.message_type, arms={}, depth=depth + 1)
    if field.enum_type is not None:
        # The lowest numbers: a value that is added later changes nothing here.
        numbers = sorted(value.number for value in field.enum_type.values if value.number != 0)
        return numbers[index % len(numbers)]
    digest = hashlib.sha256(f"{field.full_name}/{index}".encode()).digest()
    if field.type == FieldDescriptor.TYPE_STRING:
        return f"{field.name} № {index + 1}"
    if field.type == FieldDescriptor.TYPE_BYTES:
        return digest[:16]
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type == FieldDescriptor.TYPE_DOUBLE:  # what is computed with floats and must come back bit for bit
        return (1.0 + int.from_bytes(digest[:6]) / 2.0**48) * (-1.0 if index % 2 else 1.0)
    if field.type not in _WHOLE_NUMBERS:
        raise ValueError(f"expected a type that the contract uses, was type {field.type} of {field.full_name}")
    bits, signed = _WHOLE_NUMBERS[field.type]
    # Positive in the first element, negative in the second, so that the sign's coding shows too.
    drawn = int.from_bytes(digest[: bits // 8]) >> signed | 1
    return -drawn if signed and index % 2 else drawn


def _difference(golden: Message, today: Message, path: str) -> str:
    if len(UnknownFieldSet(golden)) > 0:
        return f"{path}: field number {UnknownFieldSet(golden)[0].field_number} is not known any more"
    for field, value in golden.ListFields():
        here = f"{path}.{field.name}"
        present = getattr(today, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if dict(value) != dict(present):
                return f"{here}: {dict(value)!r} was read, {dict(present)!r} was written"
            continue
        old, new = (list(value), list(present)) if field.is_repeated else ([value], [present])
        if len(old) != len(new):
            return f"{here}: {len(old)} elements were written, {len(new)} are expected"
        for one, other in zip(old, new, strict=True):
            if field.message_type is None and one != other:
                return f"{here}: {one!r} was read, {other!r} was written"
            if field.message_type is not None and (found := _difference(one, other, here)):
                return found
    return ""
