"""Which instruments' marks an account depended on, at any journal sequence."""

from __future__ import annotations

from bisect import bisect_right

from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.parameters import Parameters

_POSITIONS = (ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_VARIATION)
_NO_VALUE = (ledger_pb2.LINE_KIND_RESERVED, ledger_pb2.LINE_KIND_LOSS)


class Dependence:
    """Instruments whose marks value an asset or an instrument, quotes and settlement assets followed."""

    def __init__(self, parameters: Parameters) -> None:
        self._assets: dict[int, frozenset[int]] = {}
        self._instruments: dict[int, frozenset[int]] = {}
        quotes = {one.id: one.quote for one in parameters.instruments}
        for asset in parameters.assets:
            found: set[int] = set()
            priced = asset
            while priced.price_instrument is not None and priced.price_instrument not in found:
                found.add(priced.price_instrument)
                priced = parameters.asset(quotes[priced.price_instrument]) or priced
            self._assets[asset.id] = frozenset(found)
        for one in parameters.instruments:
            self._instruments[one.id] = self._assets[one.settlement] | {one.id}

    def of_instrument(self, instrument: int) -> frozenset[int]:
        """Of a traded or held instrument."""
        return self._instruments.get(instrument, frozenset((instrument,)))

    def of_account(self, book: PartitionBook, account: int) -> frozenset[int]:
        """Of all lines that an account holds now."""
        found: frozenset[int] = frozenset()
        for key, kind in book.lines_of(account):
            if kind in _POSITIONS:
                found |= self.of_instrument(key)
            elif kind not in _NO_VALUE:
                found |= self._assets.get(key, frozenset())
        return found


class HeldHistory:
    """What each account depended on, remembered when it changed."""

    def __init__(self, dependence: Dependence) -> None:
        self._dependence = dependence
        self._sequences: dict[int, list[int]] = {}
        self._held: dict[int, list[frozenset[int]]] = {}

    def note(self, book: PartitionBook, account: int) -> None:
        """The account's lines moved in the book's last frame."""
        now = self._dependence.of_account(book, account)
        held = self._held.setdefault(account, [])
        if not held or held[-1] != now:
            held.append(now)
            self._sequences.setdefault(account, []).append(book.sequence)

    def at(self, account: int, sequence: int) -> frozenset[int]:
        """What the account depended on at a journal sequence."""
        found = bisect_right(self._sequences.get(account, []), sequence) - 1
        return self._held[account][found] if found >= 0 else frozenset()
