"""Parameters of venue models read from plain mappings: every number in its bound, nothing unknown, nothing missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any, Protocol, TypeVar, get_type_hints, runtime_checkable

from libs.common.errors import ConfigurationError

P = TypeVar("P")


class Named(Protocol):
    """What has a name of its own."""

    @property
    def name(self) -> str:
        """The name."""


N = TypeVar("N", bound=Named)


@runtime_checkable
class Judged(Protocol):
    """A parameter class that has rules between its numbers."""

    def fault(self) -> str | None:
        """Which rule does not hold, beginning with a field; None when all do."""


_NAME_LENGTH_MAX = 32
_NAME_SIGNS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-")


def bounded(low: float, high: float, default: float | None = None) -> Any:
    """A number of a parameter class, low and high allowed."""
    metadata = {"low": low, "high": high}
    return field(metadata=metadata) if default is None else field(default=default, metadata=metadata)


def named() -> Any:
    """A name of up to 32 letters, digits and .-_/ of a parameter class."""
    return field(metadata={"name": True})


def children(of: type, *, at_most: int) -> Any:
    """Several of a parameter class."""
    return field(metadata={"of": of, "at_most": at_most})


def read(cls: type[P], raw: object, path: str) -> P:
    """The parameters.

    Raises: ConfigurationError, naming the path, what was expected and what was there.
    """
    if not isinstance(raw, Mapping):
        raise ConfigurationError(f"{path}: expected a mapping, was {type(raw).__name__}")
    known = {one.name: one for one in fields(cls)}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    unknown = sorted(str(name) for name in set(raw) - set(known))
    if unknown:
        raise ConfigurationError(f"{path}.{unknown[0]}: expected one of {sorted(known)}")
    values: dict[str, object] = {}
    for name, one in known.items():
        if name in raw:
            nested = is_dataclass(hints[name])
            inner = f"{path}.{name}"
            values[name] = read(hints[name], raw[name], inner) if nested else _value(one, raw[name], inner)
        elif one.default is MISSING:
            raise ConfigurationError(f"{path}.{name}: expected a value, was missing")
    made = cls(**values)
    fault = made.fault() if isinstance(made, Judged) else None
    if fault is not None:
        raise ConfigurationError(f"{path}.{fault}")
    return made


def _value(one: Field[Any], raw: object, path: str) -> object:
    of = one.metadata.get("of")
    if one.metadata.get("name"):
        if not isinstance(raw, str) or not 0 < len(raw) <= _NAME_LENGTH_MAX or not _NAME_SIGNS.issuperset(raw):
            raise ConfigurationError(f"{path}: expected a name of 1 to 32 letters, digits and .-_/, was {raw!r:.60}")
        return raw
    if of is None:
        return _number(one, raw, path)
    at_most = one.metadata["at_most"]
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise ConfigurationError(f"{path}: expected a list, was {type(raw).__name__}")
    if len(raw) > at_most:
        raise ConfigurationError(f"{path}: expected at most {at_most}, was {len(raw)}")
    return tuple(read(of, each, f"{path}[{at}]") for at, each in enumerate(raw))


def _number(one: Field[Any], raw: object, path: str) -> float | int | bool:
    if one.type in ("bool", bool):
        if not isinstance(raw, bool):
            raise ConfigurationError(f"{path}: expected true or false, was {raw!r}")
        return raw
    whole = one.type in ("int", int)
    if isinstance(raw, bool) or not isinstance(raw, int if whole else (int, float)):
        raise ConfigurationError(f"{path}: expected {'an integer' if whole else 'a number'}, was {raw!r}")
    low, high = one.metadata["low"], one.metadata["high"]
    if not (math.isfinite(raw) and low <= raw <= high):
        raise ConfigurationError(f"{path}: expected {low} .. {high}, was {raw!r}")
    return raw if whole else float(raw)


def by_name(items: Sequence[N], path: str) -> dict[str, N]:
    """Parameter classes by their name. Raises ConfigurationError when two have the same."""
    found: dict[str, N] = {}
    for at, one in enumerate(items):
        name = one.name
        if name in found:
            raise ConfigurationError(f"{path}[{at}].name: expected a name of its own, was {name!r} again")
        found[name] = one
    return found


def pick(known: Mapping[str, P], name: str, path: str) -> P:
    """What has this name. Raises ConfigurationError for a name that is not known."""
    if name not in known:
        raise ConfigurationError(f"{path}: expected one of {sorted(known)}, was {name!r}")
    return known[name]
