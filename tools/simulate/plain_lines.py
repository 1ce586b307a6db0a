"""The lines of a partition as its journal has them, and what they are worth: folded by overwriting, with no rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from math import floor

from ballast.events.v1 import journal_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.ids import system_kind
from libs.common.parameters import Instrument, InstrumentKind, Parameters

ONE = 10**15
CASH, RESERVED = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_RESERVED
SUPPLY, DEBT = ledger_pb2.LINE_KIND_SUPPLY_SHARES, ledger_pb2.LINE_KIND_DEBT_SHARES
OVERDRAFT, LOTS = ledger_pb2.LINE_KIND_OVERDRAFT_SHARES, ledger_pb2.LINE_KIND_LOTS
VARIATION = ledger_pb2.LINE_KIND_VARIATION

Moves = dict[int, dict[int, int]]  # by account, by asset, 10^-15 units
Line = tuple[int, int, int]


class Lines:
    """What one partition holds.

    Attributes:
        lots: by account and instrument, as trades add up.
        placed: units at a venue, by account, asset and venue.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.lots: defaultdict[tuple[int, int], int] = defaultdict(int)
        self.placed: dict[Line, int] = {}
        self.held: dict[Line, int] = {}
        self.accounts: dict[int, journal_pb2.Account] = {}
        self.aliases: dict[int, int] = {}  # account before it moved here -> now
        self.orders: dict[int, journal_pb2.Order] = {}
        self.reservations: dict[int, journal_pb2.Reservation] = {}
        self.listings: dict[int, lifecycle_pb2.Listing] = {}
        self._of: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
        self._indices: dict[int, tuple[int, int, int]] = {}  # supply, borrow, overdraft
        self._funding: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)

    def index(self, asset: int) -> tuple[int, int, int]:
        """Supply, borrow and overdraft index."""
        return self._indices.get(asset, (ONE, ONE, ONE))

    def line(self, account: int, key: int, kind: int) -> int:
        """A balance."""
        return self.held.get((account, key, kind), 0)

    def of(self, account: int) -> set[tuple[int, int]]:
        """(asset or instrument, kind) of every line that the account ever had."""
        return self._of[account]

    def worth(self, account: int) -> dict[int, int]:
        """What an account is worth by asset, 10^-15 units."""
        total: defaultdict[int, int] = defaultdict(int)
        for key, kind in self._of[account]:
            asset, worth = self.worth_of(key, kind, self.held[account, key, kind])
            if worth:
                total[asset] += worth
        return total

    def worth_of(self, key: int, kind: int, balance: int) -> tuple[int, int]:
        """Asset that a line is worth something in, and what, 10^-15 units."""
        if kind == VARIATION:
            instrument = self.parameters.instrument(key)
            return (instrument.settlement, balance * ONE) if instrument is not None else (key, 0)
        supply, borrow, overdraft = self.index(key)
        rate: dict[int, int] = {CASH: ONE, RESERVED: ONE, SUPPLY: supply, DEBT: -borrow, OVERDRAFT: -overdraft}
        return key, balance * rate.get(kind, 0)

    def clients(self) -> list[int]:
        """Accounts of clients that live here, sorted."""
        return sorted(account for account, one in self.accounts.items() if not one.moved_out)

    def owed(self, account: int, asset: int) -> int:
        """Units that an account owes, each part rounded up."""
        _, borrow, overdraft = self.index(asset)
        pool = -floor(Fraction(-self.line(account, asset, DEBT) * borrow, ONE))
        return pool - floor(Fraction(-self.line(account, asset, OVERDRAFT) * overdraft, ONE))

    # what trades are worth

    def trade(
        self,
        moves: Moves,
        account: int,
        instrument: Instrument,
        *,
        lots: int,
        price: int,
        at_ns: int,
        paid: int | None = None,
    ) -> None:
        """A position moves by signed lots, and the account by what they cost.

        Args:
            paid: cumulative funding of the trade, where it is not that of its time here.
        """
        of = moves[account]
        if instrument.is_option:
            of[instrument.settlement] += floor(-lots * notional(instrument, 1, price)) * ONE
        else:
            for part in _through_zero(self.lots[account, instrument.id], lots):
                of[instrument.settlement] += floor(-part * self.dirty(instrument, price, at_ns, paid=paid)) * ONE
        self.lots[account, instrument.id] += lots

    def close(self, moves: Moves, account: int, instrument: Instrument, *, price: int, now_ns: int) -> None:
        """A position becomes what it is worth at a settlement price; variation is worth its own units anyway."""
        lots, of = self.lots.pop((account, instrument.id), 0), moves[account]
        coins = lots * instrument.base_units_per_lot
        delivers = instrument.delivery.name == "PHYSICAL"
        if not instrument.is_option:
            paid = floor(lots * self.dirty(instrument, price, now_ns))
            if delivers:
                paid += floor(-lots * notional(instrument, 1, price))
        else:
            beyond = price - instrument.strike if instrument.is_call else instrument.strike - price
            delivers, coins = delivers and beyond > 0, coins if instrument.is_call else -coins
            step = Fraction(instrument.c_num, instrument.c_den) * Fraction(10) ** (
                instrument.settlement_exponent - instrument.price_exponent
            )
            if instrument.kind is InstrumentKind.COIN_OPTION:
                paid = floor(Fraction(lots * instrument.base_units_per_lot * max(0, beyond), price))
            elif delivers:
                paid = floor((-lots if instrument.is_call else lots) * instrument.strike * step)
            else:
                paid = floor(lots * max(0, beyond) * step)
        of[instrument.settlement] += paid * ONE
        of[instrument.underlying] += coins * ONE if delivers else 0

    def dirty(self, instrument: Instrument, price: int, at_ns: int, *, paid: int | None = None) -> Fraction:
        """One lot's worth at a price and a time, funding counted."""
        if paid is None:
            paid = 0
            for funded_ns, cumulative in self._funding[instrument.id]:
                if funded_ns <= at_ns:
                    paid = cumulative
        sign = -1 if instrument.kind is InstrumentKind.INVERSE_PERP else 1
        return sign * notional(instrument, 1, price) - Fraction(paid, 10**9)

    def fold(self, effect: journal_pb2.Effect) -> None:
        """Takes what an effect says."""
        match effect.WhichOneof("effect"):
            case "posting":
                one = effect.posting
                self.held[one.account, one.asset, one.kind] = one.balance
                self._of[one.account].add((one.asset, one.kind))
            case "account":
                self.accounts[effect.account.account] = effect.account
                if effect.account.moved_from:
                    self.aliases[effect.account.moved_from] = effect.account.account
            case "order":
                self.orders[effect.order.order] = effect.order
            case "reservation":
                self.reservations[effect.reservation.reservation] = effect.reservation
            case "pool_index":
                two = effect.pool_index
                self._indices[two.asset] = (two.supply_index, two.borrow_index, two.overdraft_index)
            case "funding_index":
                three = effect.funding_index
                paid = int.from_bytes(three.cumulative_funding, "big", signed=True)
                self._funding[three.instrument].append((three.run_time_ns, paid))
            case "placement":
                four = effect.placement
                self.placed[four.account, four.asset, four.venue] = four.units
            case "listing":
                self.listings[effect.listing.instrument] = effect.listing


def is_client(account: int) -> bool:
    """The account is a client's, not the house's."""
    return system_kind(account) is None


def notional(instrument: Instrument, lots: int, price: int) -> Fraction:
    """What lots are worth at a price, in units of the settlement asset."""
    if instrument.kind is InstrumentKind.INVERSE_PERP:
        return Fraction(lots * instrument.c_num, instrument.c_den * price)
    return Fraction(lots * price * instrument.c_num, instrument.c_den)


def _through_zero(held: int, traded: int) -> Iterator[int]:
    if held * traded < 0 and abs(traded) > abs(held):
        yield -held
        yield traded + held
    else:
        yield traded
