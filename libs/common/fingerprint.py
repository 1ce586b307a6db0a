"""An order-free sum of the hashes of items: equal states have equal sums, whatever the way there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

Key = tuple[int, ...]
Value = tuple[int, ...]

_MASK = (1 << 128) - 1
_ORDER = "|".join(["%d"] * 10 + ["%s"] + ["%d"] * 5)  # with its one truth value as a word
_HASHES_MAX = 1 << 15  # what one frame hashes as new, a later one takes away, and the book of accepted frames does both


def _hashed(item: tuple[int, ...]) -> int:
    # Nearly all are postings and orders: this is three times as fast. Other items may hold truth values, as words.
    if item[0] == 1 and len(item) == 6:
        text = b"%d|%d|%d|%d|%d|%d" % item
    elif item[0] == 3 and len(item) == 16:
        text = (_ORDER % item).encode()
    else:
        text = "|".join(map(str, item)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")


_hash = lru_cache(maxsize=_HASHES_MAX)(_hashed)


class ItemSum:
    """Sum modulo 2^128.

    Items are hashed when the digest is asked for: a frame may change one, such as a pool's line, hundreds of times.
    """

    __slots__ = ("_changed", "_hashes", "_replaced", "_sum")

    def __init__(self) -> None:
        self._hashes: dict[Key, int] = {}
        self._changed: dict[Key, Value | None] = {}
        self._replaced: dict[Key, tuple[Value | None, Value]] = {}
        self._sum = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ItemSum) and self.digest == other.digest

    __hash__ = None  # type: ignore[assignment]

    def become(self, other: ItemSum) -> None:
        """The same sum as the other's, to go its own way."""
        self._hashes, self._sum = other._hashes.copy(), other._sum
        self._changed, self._replaced = other._changed.copy(), other._replaced.copy()

    def add(self, hashes: int) -> None:
        """Counts the summed hashes of new items that whoever keeps them will replace."""
        self._sum = (self._sum + hashes) & _MASK

    def add_items(self, items: Iterable[tuple[int, ...]]) -> None:
        """Adds new items, key and value in one, that whoever keeps them will replace by `replace`."""
        self._sum += sum(map(_hashed, items))

    def replace(self, key: Key, old: Value | None, new: Value) -> None:
        """Replaces an item whose old value is known by whoever keeps it; it is not remembered here."""
        before = self._replaced.get(key)
        self._replaced[key] = (old if before is None else before[0], new)

    def set(self, key: Key, value: Value | None) -> None:
        """Replaces an item; None removes it."""
        self._changed[key] = value

    @property
    def digest(self) -> bytes:
        """16 bytes."""
        for key, value in self._changed.items():
            self._sum -= self._hashes.pop(key, 0)
            if value is not None:
                self._hashes[key] = item = _hash(key + value)
                self._sum += item
        self._changed.clear()
        for key, (old, new) in self._replaced.items():
            self._sum += _hash(key + new) - (0 if old is None else _hash(key + old))
        self._replaced.clear()
        self._sum &= _MASK
        return self._sum.to_bytes(16, "big")
