"""Lines and attributes of very many accounts: packed while they rest, open while they are used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import ItemsView, Iterator, Mapping, MutableMapping
from struct import Struct
from typing import TypeVar, overload

from ballast.events.v1 import journal_pb2

Key = tuple[int, int]  # asset or instrument, LineKind
Value = tuple[int, int]  # balance, version
Line = tuple[int, int, int]  # account, asset or instrument, LineKind

_D = TypeVar("_D")
OPEN_MAX = 16_384  # accounts; about 1 kB each
_PACKED = Struct("<IBqQ")  # asset, kind, balance, version: the layout of AccountItem.lines in checkpoint.proto


def pack_lines(lines: Mapping[Key, Value]) -> bytes:
    """The lines as bytes, in their order."""
    pack = _PACKED.pack
    return b"".join([pack(*key, *value) for key, value in lines.items()])


def unpack_lines(packed: bytes) -> dict[Key, Value]:
    """The lines by key. Raises struct.error when the bytes are no whole number of lines."""
    return {(asset, kind): (balance, version) for asset, kind, balance, version in _PACKED.iter_unpack(packed)}


class Lines:
    """Balance and version of every line that was ever posted to; a version never restarts.

    Reading and writing open an account; beyond `OPEN_MAX` the one opened first is packed again. `peek`, `count` and the
    iterators change nothing: another thread may use them.

    Args:
        peer: another table of nearly the same lines: equal bytes are kept once.
    """

    def __init__(self, *, peer: Lines | None = None) -> None:
        self.count = 0  # lines that are not zero
        self._open: OrderedDict[int, dict[Key, Value]] = OrderedDict()
        self._resting: dict[int, bytes] = {}
        self._peer = peer

    def of(self, account: int) -> Mapping[Key, Value]:
        """The account's lines, those at zero too."""
        found = self._open.get(account)
        if found is None:
            packed = self._resting.get(account)
            if packed is None:
                return {}
            found = self._opened(account, unpack_lines(packed))
        return found

    def get(self, account: int, asset: int, kind: int) -> Value | None:
        """Balance and version; None when the line was never posted to."""
        found = self._open.get(account)
        if found is None:
            packed = self._resting.get(account)
            if packed is None:
                return None
            found = self._opened(account, unpack_lines(packed))
        return found.get((asset, kind))

    def peek(self, account: int) -> Mapping[Key, Value]:
        """The account's lines, without opening it."""
        found = self._open.get(account)
        if found is None:
            packed = self._resting.get(account)
            found = self._open.get(account) if packed is None else unpack_lines(packed)  # it may just have been opened
        return found or {}

    def packed(self, account: int) -> bytes:
        """The account's lines as bytes."""
        found = self._open.get(account)
        return self._resting.get(account, b"") if found is None else pack_lines(found)

    def set(self, account: int, asset: int, kind: int, value: Value) -> Value | None:
        """Replaces a line; returns what it was."""
        found = self._open.get(account)
        if found is None:
            packed = self._resting.get(account)
            found = self._opened(account, {} if packed is None else unpack_lines(packed))
        key = (asset, kind)
        old = found.get(key)
        found[key] = value
        if not value[0]:
            self.count -= old is not None and old[0] != 0
        elif old is None or not old[0]:
            self.count += 1
        return old

    def load(self, account: int, packed: bytes) -> list[tuple[int, int, int, int]]:
        """Replaces all lines of an account; returns them: asset, kind, balance, version. Raises struct.error."""
        lines = list(_PACKED.iter_unpack(packed))
        self.count += len([1 for line in lines if line[2]])
        self.count -= len([1 for balance, _ in self.peek(account).values() if balance])
        self._resting[account] = packed
        self._open.pop(account, None)
        return lines

    def fork(self) -> Lines:
        """A table of the same lines that goes its own way, each the other's peer."""
        other = Lines(peer=self)
        other.count = self.count
        other._resting = self._resting.copy()
        other._resting.update((account, pack_lines(lines)) for account, lines in self._open.items())
        self._peer = other
        return other

    def accounts(self) -> Iterator[int]:
        """Every account that has or had a line."""
        yield from self._open
        yield from (account for account in self._resting if account not in self._open)

    def items(self) -> Iterator[tuple[Line, Value]]:
        """Every line, those at zero too."""
        for account in list(self.accounts()):
            for (asset, kind), value in self.peek(account).items():
                yield (account, asset, kind), value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lines) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]

    def _opened(self, account: int, lines: dict[Key, Value]) -> dict[Key, Value]:
        if len(self._open) >= OPEN_MAX:
            oldest, moved = next(iter(self._open.items()))
            self._resting[oldest] = self._shared(oldest, pack_lines(moved))
            del self._open[oldest]
        self._open[account] = lines
        self._resting.pop(account, None)
        return lines

    def _shared(self, account: int, packed: bytes) -> bytes:
        theirs = self._peer._resting.get(account) if self._peer is not None else None
        return theirs if theirs is not None and theirs == packed else packed


class Balances(Mapping[Line, int]):
    """Balances that are not zero, by line."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __getitem__(self, line: Line) -> int:
        account, asset, kind = line
        found = self._lines.peek(account).get((asset, kind))
        if found is None or not found[0]:
            raise KeyError(line)
        return found[0]

    def __iter__(self) -> Iterator[Line]:
        return (line for line, (balance, _) in self._lines.items() if balance)

    def __len__(self) -> int:
        return self._lines.count

    def items(self) -> ItemsView[Line, int]:
        """(line, balance)."""
        return _Pairs(self)


class _Pairs(ItemsView[Line, int]):
    """Looks at each account once, not at each line."""

    _mapping: Balances

    def __iter__(self) -> Iterator[tuple[Line, int]]:
        return ((line, balance) for line, (balance, _) in self._mapping._lines.items() if balance)


class Attributes(MutableMapping[int, journal_pb2.Account]):
    """Attributes by account. What is given is not changed and not kept; what is got is not to be changed.

    Args:
        peer: another table of nearly the same attributes: equal bytes are kept once.
    """

    def __init__(self, *, peer: Attributes | None = None) -> None:
        self._open: OrderedDict[int, journal_pb2.Account] = OrderedDict()
        self._resting: dict[int, bytes] = {}  # all of them
        self._peer = peer

    def __getitem__(self, account: int) -> journal_pb2.Account:
        found = self._open.get(account)
        return self._opened(account, self._resting[account]) if found is None else found

    def __setitem__(self, account: int, one: journal_pb2.Account) -> None:
        self.load(account, one.SerializeToString(deterministic=True))

    def __delitem__(self, account: int) -> None:
        del self._resting[account]
        self._open.pop(account, None)

    @overload
    def get(self, account: int, default: None = None, /) -> journal_pb2.Account | None: ...

    @overload
    def get(self, account: int, default: journal_pb2.Account | _D, /) -> journal_pb2.Account | _D: ...

    def get(self, account: int, default: object = None, /) -> object:
        """The account's attributes, or the default."""
        found = self._open.get(account)
        if found is None:
            packed = self._resting.get(account)
            return default if packed is None else self._opened(account, packed)
        return found

    def __contains__(self, account: object) -> bool:
        return account in self._resting

    def __iter__(self) -> Iterator[int]:
        return iter(self._resting)

    def __len__(self) -> int:
        return len(self._resting)

    def load(self, account: int, packed: bytes) -> None:
        """Replaces an account's attributes by a serialised message, which is not looked at."""
        theirs = self._peer._resting.get(account) if self._peer is not None else None
        self._resting[account] = theirs if theirs is not None and theirs == packed else packed
        self._open.pop(account, None)

    def packed(self, account: int) -> bytes:
        """The account's attributes as a serialised message, empty when there is no such account."""
        return self._resting.get(account, b"")

    def fork(self) -> Attributes:
        """A table of the same attributes that goes its own way, each the other's peer."""
        other = Attributes(peer=self)
        other._resting = self._resting.copy()
        self._peer = other
        return other

    def _opened(self, account: int, packed: bytes) -> journal_pb2.Account:
        found = journal_pb2.Account.FromString(packed)
        if len(self._open) >= OPEN_MAX:
            self._open.popitem(last=False)
        self._open[account] = found
        return found
