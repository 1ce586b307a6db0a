"""The plain second ledger beside trading: endings, last resorts, events of venues, assets that become others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from ballast.events.v1 import commands_pb2, deleveraging_pb2, journal_pb2, lifecycle_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2, market_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.parameters import Instrument
from tools.simulate.plain_lines import CASH, LOTS, ONE, RESERVED, SUPPLY, VARIATION, Lines, Moves, is_client, notional
from tools.simulate.plain_rules import Rival, enough, first, pro_rata

_HANDED = (
    kinds.CLOSING_CAUSE_TAKEN_OVER,
    kinds.CLOSING_CAUSE_DELEVERAGED,
    kinds.CLOSING_CAUSE_GIVEN_BACK,
)
_ASK, _OFFER = ledger_pb2.MOVEMENT_KIND_DELEVERAGING_ASK, ledger_pb2.MOVEMENT_KIND_DELEVERAGING_OFFER
_CLOSINGS = (kinds.VENUE_EVENT_KIND_LIQUIDATION, kinds.VENUE_EVENT_KIND_DELEVERAGING)

_Chosen = lifecycle_pb2.DeleveragedPosition | deleveraging_pb2.RankedPosition


@dataclass(slots=True)
class _Distribution:
    """What each account is due, by what it had at the cut."""

    held: int
    credited: int
    ratio: Fraction
    due: dict[int, int]
    cursor: int = 0
    is_over: bool = False


@dataclass(slots=True)
class _Redenomination:
    into: int
    ratio: Fraction
    cursor: int = 0
    is_over: bool = False


class Events:
    """Adds to what an outcome is expected to do.

    Args:
        found: told the invariant and what contradicts it.
    """

    def __init__(self, lines: Lines, found: Callable[[str, str], None]) -> None:
        self._lines, self._found = lines, found
        self._funding: dict[int, int] = {}  # of deleveragings over partitions, by episode
        self._offers: dict[int, list[Rival]] = {}  # by episode
        self._distributions: dict[int, _Distribution] = {}
        self._redenominations: dict[int, _Redenomination] = {}  # by asset that goes

    def expect(
        self,
        where: str,
        command: commands_pb2.Command,
        outcome: journal_pb2.Outcome,
        moves: Moves,
        *,
        now_ns: int,
    ) -> None:
        """Adds what happens beside trading; the effects are not folded yet."""
        if command.HasField("deleverage"):
            self._ranks(where, command.deleverage)
        self._ranks_across(where, command.arrive.movement, outcome)
        self._hand_over(command, outcome, moves, now_ns)
        if command.HasField("venue_event"):
            self._venue_event(command.venue_event, moves)
        self._settle(command, outcome, moves, now_ns)
        for effect in outcome.effects:
            if effect.HasField("distribution"):
                self._distribute(where, effect.distribution, outcome, moves)
        self._redenominate(command, outcome, moves)

    def finish(self, where: str) -> None:
        """The end: who was due has been paid."""
        for number, one in self._distributions.items():
            left = {account: units for account, units in one.due.items() if units}
            if one.is_over and left:
                self._found("I10", f"{where}: distribution {number} is over, not paid were {left}")

    # positions that somebody else gets, or that end

    def _hand_over(
        self, command: commands_pb2.Command, outcome: journal_pb2.Outcome, moves: Moves, now_ns: int
    ) -> None:
        moved = command.arrive.movement
        across = [effect.deleveraging for effect in outcome.effects if effect.HasField("deleveraging")]
        for one in (*([moved.deleveraging] if moved.HasField("deleveraging") else []), *across):
            if one.cumulative_funding:  # the funding that all its trades are made at, wherever
                self._funding[one.episode] = int.from_bytes(one.cumulative_funding, "big", signed=True)
        for effect in outcome.effects:
            closed, instrument = effect.position_closed, self._instrument(effect.position_closed.instrument)
            if closed.cause in _HANDED and instrument is not None and is_client(closed.account):
                paid = self._funding.get(closed.episode) if moved.HasField("deleveraging") else None
                self._lines.trade(
                    moves, closed.account, instrument, lots=-closed.lots, price=closed.price, at_ns=now_ns, paid=paid
                )

    def _ranks(self, where: str, body: lifecycle_pb2.Deleverage) -> None:
        """Those who give up positions are the first by profit times leverage, each with all but the last (I11)."""
        held = self._lines.line(body.account, body.instrument, LOTS)
        rivals = self._rivals(body.instrument, is_long=held > 0, mark_price=body.mark_price)
        wanted = first(rivals, lots=sum(each.lots for each in body.counterparties))
        self._compare(where, wanted, body.counterparties)

    def _ranks_across(self, where: str, moved: movement_pb2.Movement, outcome: journal_pb2.Outcome) -> None:
        """Each partition names its first, and the first of all are taken (I11)."""
        asked = moved.deleveraging
        if moved.kind == _OFFER:
            self._offers.setdefault(asked.episode, []).extend(
                Rival(each.account, each.lots, each.profit, each.notional, each.cash) for each in asked.ranked
            )
        for effect in outcome.effects:
            if moved.kind == _ASK and effect.movement.kind == _OFFER and asked.instrument not in self._lines.listings:
                rivals = self._rivals(asked.instrument, is_long=asked.is_long, mark_price=asked.mark_price)
                wanted = [(one.account, one.lots) for one in enough(rivals, lots=asked.lots)]
                self._compare(where, wanted, effect.movement.deleveraging.ranked)
            one = effect.deleveraging
            if one.executed_at_ns and one.episode in self._offers:
                rivals = self._rivals(one.instrument, is_long=one.is_long, mark_price=one.mark_price)
                held = self._lines.line(one.account, one.instrument, LOTS)
                wanted = first([*self._offers.pop(one.episode), *rivals], lots=min(one.lots, abs(held)))
                self._compare(where, wanted, one.ranked)
            elif one.is_over:
                self._offers.pop(one.episode, None)

    def _compare(self, where: str, wanted: Sequence[tuple[int, int]], chosen: Iterable[_Chosen]) -> None:
        was = [(each.account, each.lots) for each in chosen]
        if was != list(wanted):
            self._found("I11", f"{where}: expected {wanted} to be deleveraged, were {was}")

    def _rivals(self, number: int, *, is_long: bool, mark_price: int) -> list[Rival]:
        """Those who hold the opposite here, and are not liquidated themselves."""
        lines, instrument, rivals = self._lines, self._instrument(number), []
        for account, one in lines.accounts.items() if instrument is not None else ():
            lots = lines.line(account, number, LOTS)
            if instrument is None or not lots or (lots > 0) == is_long or one.episode:
                continue
            asset = instrument.settlement
            cash = lines.line(account, asset, CASH) + lines.line(account, asset, RESERVED) - lines.owed(account, asset)
            profit = floor(lots * lines.dirty(instrument, mark_price, 2**62)) + lines.line(account, number, VARIATION)
            worth = floor(abs(lots) * notional(instrument, 1, mark_price))
            rivals.append(Rival(account, abs(lots), profit, worth, cash))
        return rivals

    def _settle(self, command: commands_pb2.Command, outcome: journal_pb2.Outcome, moves: Moves, now_ns: int) -> None:
        for effect in outcome.effects:
            closed, instrument = effect.position_closed, self._instrument(effect.position_closed.instrument)
            if closed.cause != kinds.CLOSING_CAUSE_SETTLED or instrument is None or not is_client(closed.account):
                continue
            listing = self._lines.listings.get(instrument.id)
            price = listing.price if listing is not None else command.close_instrument.price
            self._lines.close(moves, closed.account, instrument, price=price, now_ns=now_ns)

    def _instrument(self, number: int) -> Instrument | None:
        return self._lines.parameters.instrument(number)

    # venues

    def _venue_event(self, one: lifecycle_pb2.VenueEvent, moves: Moves) -> None:
        """A venue's closing or loss, shared by the published rule."""
        lines, instrument = self._lines, self._instrument(one.instrument)
        if one.kind == kinds.VENUE_EVENT_KIND_BUST:
            kept = {account: units for (account, asset, venue), units in lines.placed.items()
                    if (asset, venue) == (one.asset, one.venue) and is_client(account)}  # fmt: skip
            self._bear(one, pro_rata(one.units, kept, caps=kept), moves)
        elif instrument is not None and one.kind not in _CLOSINGS:
            held = {one: abs(lots) for one, lots in self._holders(instrument.id).items()}
            caps: Mapping[int, int] = held
            if one.asset == instrument.settlement:
                caps = {each: floor(notional(instrument, lots, one.price)) for each, lots in held.items()}
            self._bear(one, pro_rata(one.units, held, caps=caps), moves)
        elif instrument is not None:
            sign = 1 if one.side == market_pb2.SIDE_BUY else -1
            sides = {each: -sign * lots for each, lots in self._holders(instrument.id).items()}
            parts = pro_rata(one.lots, sides, caps=sides)
            beyond = one.lots - sum(parts.values())
            bearers = {**parts, **({1: beyond} if beyond else {})}  # the house bears a part of the fee too
            fees = pro_rata(one.units, bearers, caps=dict.fromkeys(bearers, one.units))
            for account, lots in parts.items():
                lines.trade(moves, account, instrument, lots=sign * lots, price=one.price, at_ns=one.executed_at_ns)
                moves[account][instrument.settlement] -= fees.get(account, 0) * ONE

    def _holders(self, instrument: int) -> dict[int, int]:
        found = {account: self._lines.line(account, instrument, LOTS) for account in self._lines.clients()}
        return {account: lots for account, lots in found.items() if lots}

    def _bear(self, one: lifecycle_pb2.VenueEvent, parts: Mapping[int, int], moves: Moves) -> None:
        for account, units in parts.items():
            moves[account][one.asset] -= units * ONE

    # assets that become others

    def _distribute(
        self, where: str, effect: lifecycle_pb2.Distribution, outcome: journal_pb2.Outcome, moves: Moves
    ) -> None:
        """Each account is credited once, in its turn or when it moves the asset before, by what it had at the cut."""
        one = self._distributions.get(effect.number)
        if one is None:
            ratio = Fraction(effect.numerator, effect.denominator)
            due = {account: floor(self._had(account, effect.held) * ratio) for account in self._lines.clients()}
            one = self._distributions[effect.number] = _Distribution(effect.held, effect.credited, ratio, due)
        for sweep in _sweeps(outcome, kinds.SWEEP_KIND_DISTRIBUTION, effect.number):
            one.cursor = sweep.cursor
        one.is_over = effect.is_over
        for account in list(one.due):
            if account <= one.cursor or one.is_over or account in effect.early:
                moves[account][one.credited] += one.due.pop(account) * ONE

    def arrives(self, account: int, moved: Sequence[movement_pb2.MovedLine], distributions: int, moves: Moves) -> None:
        """Units that left before a cut where they were, and come behind the one here, are credited now."""
        for number, one in self._distributions.items():
            if 0 < distributions <= number:
                units = [each for each in moved if each.kind != VARIATION]
                worth = [self._lines.worth_of(each.asset, each.kind, each.units) for each in units]
                counted = sum(floor(Fraction(worth_15, ONE)) for asset, worth_15 in worth if asset == one.held)
                moves[account][one.credited] += floor(counted * one.ratio) * ONE

    def _had(self, account: int, asset: int) -> int:
        lines = self._lines
        supply, _, _ = lines.index(asset)
        claim = floor(Fraction(lines.line(account, asset, SUPPLY) * supply, ONE))
        cash = lines.line(account, asset, CASH) + lines.line(account, asset, RESERVED)
        return cash + claim - lines.owed(account, asset)

    def _redenominate(self, command: commands_pb2.Command, outcome: journal_pb2.Outcome, moves: Moves) -> None:
        body = command.redenominate_asset
        for effect in outcome.effects:
            if effect.HasField("redenomination"):
                two = effect.redenomination
                ratio = Fraction(two.numerator, two.denominator)
                self._redenominations[two.asset] = _Redenomination(two.into, ratio)
        for asset, one in self._redenominations.items():
            before, goes_on = one.cursor, command.HasField("redenominate_asset") and body.asset == asset
            if goes_on:
                sweeps = _sweeps(outcome, kinds.SWEEP_KIND_REDENOMINATION, asset)
                one.is_over = all(sweep.is_over for sweep in sweeps)
                one.cursor = max([before, *(sweep.cursor for sweep in sweeps)])
            for account in self._lines.clients() if goes_on else list(moves):
                if account > one.cursor and not one.is_over:
                    continue
                units = self._lines.line(account, asset, CASH) * ONE + moves[account].get(asset, 0)
                if units:
                    moves[account][asset] -= units
                    moves[account][one.into] += floor(Fraction(units, ONE) * one.ratio) * ONE


def _sweeps(outcome: journal_pb2.Outcome, kind: kinds.SweepKind, subject: int) -> list[lifecycle_pb2.Sweep]:
    found = [effect.sweep for effect in outcome.effects if effect.HasField("sweep")]
    return [one for one in found if (one.kind, one.subject) == (kind, subject)]
