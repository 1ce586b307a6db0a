"""The house's own people: an operator at the gate, and at venues that fail; a custodian who moves assets about."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ballast.events.v1 import commands_pb2, custody_pb2, lifecycle_pb2
from ballast.types.v1 import custody_pb2 as custody_words
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_account
from libs.common.units import SECOND_NS
from tools.simulate.clients import COIN, DOLLAR, Client, Clients
from tools.simulate.house import BTC, ETH, USD, House

_LENDABLE, _SEGREGATED = custody_words.CUSTODY_MODE_LENDABLE, custody_words.CUSTODY_MODE_SEGREGATED
_OURS = (kinds.SWEEP_KIND_DISTRIBUTION, kinds.SWEEP_KIND_REDENOMINATION)
_OPERATOR = custody_words.GATE_CAUSE_OPERATOR


@dataclass(slots=True)
class Employee(Client):
    """Somebody with a role of their own."""

    role: ledger_pb2.Role = ledger_pb2.ROLE_OPERATOR

    @property
    def principal(self) -> commands_pb2.Principal:
        """Who it is."""
        return commands_pb2.Principal(id=self.name, role=self.role)


class Staff:
    """What they do now and then."""

    def __init__(self, clients: Clients, rng: random.Random, house: House) -> None:
        self._clients, self._rng, self._house = clients, rng, house
        # One stream a partition: a key counts in each by itself.
        self._operators = [Employee("operator", rng.randbytes(16), one) for one in house.partitions]
        self._custodians = [
            Employee("custodian", rng.randbytes(16), one, role=ledger_pb2.ROLE_CUSTODIAN) for one in house.partitions
        ]

    def act(self, books: list[PartitionBook]) -> str:
        """One of them does something; says what."""
        rng = self._rng
        partition = rng.choice(self._house.partitions)
        accounts = list(books[partition].accounts)
        if not accounts:
            return "the staff waits"
        account, asset = rng.choice(accounts), rng.choice((USD, BTC))
        command = commands_pb2.Command()
        who = self._operators[partition]
        waits = any(not one.to_account for one in books[partition].reservations.values())
        agreed = [(one, each) for one, terms in books[partition].custody.terms.items() for each in terms]
        # A gate closes on what waits behind it, and what may be lent is lent.
        match rng.choice([0] * (1 + 4 * waits) + [1] * (1 + 4 * bool(agreed)) + [2, 2, 3, 4]):
            case 0:
                closed = waits or rng.random() < 0.5
                command.set_gate.CopyFrom(
                    custody_pb2.SetGate(
                        closed=closed, for_ns=rng.randint(1, 5) * SECOND_NS * closed, cause=_OPERATOR, reason="a drill"
                    )
                )
            case 1:
                account, asset = rng.choice([*agreed, (account, asset)])
                command.sweep_lendable.CopyFrom(custody_pb2.SweepLendable(account=account, asset=asset))
            case 2:
                who = self._custodians[partition]
                if rng.random() < 0.3:
                    account = int(system_account(SystemAccount.TREASURY, partition=partition))
                units = rng.randint(-4_000, 8_000) * (DOLLAR if asset == USD else COIN // 10_000)
                command.move_location.CopyFrom(
                    custody_pb2.MoveLocation(account=account, asset=asset, venue=rng.choice((1, 2)), units=units)
                )
            case 4:
                held = [one.account for one in books[partition].accounts.values() if one.held]
                account, restricted = (rng.choice(held), False) if held else (account, rng.random() < 0.5)
                command.restrict_account.CopyFrom(
                    lifecycle_pb2.RestrictAccount(account=account, restricted=restricted, reason="a drill")
                )
            case _:
                loss, haircut = rng.choice((0, 0, 50_000, 300_000)), rng.choice((0, 500_000, 1_000_000))
                self._impair(command, venue=rng.choice((1, 2)), loss=loss, haircut=haircut)
        self._clients.begin(who, command)
        return f"{who.name} {' '.join(str(command).split())}"

    def wish(self, account: int, asset: int, units: int) -> commands_pb2.Command:
        """What a client may want of its terms."""
        rng = self._rng
        if rng.random() < 0.2:
            return commands_pb2.Command(recall_lent=custody_pb2.RecallLent(account=account, asset=asset))
        terms = custody_pb2.SetCustodyTerms(account=account, asset=asset, mode=_SEGREGATED)
        if rng.random() < 0.7:
            terms.mode, terms.cap_units, terms.document_hash = _LENDABLE, units, rng.randbytes(32)
            terms.consented_at_ns = int(self._house.parameters.genesis_ns)
        return commands_pb2.Command(set_custody_terms=terms)

    def turn(self, books: list[PartitionBook]) -> str:
        """An asset is distributed to who holds another one, or turned into it; goes on until all have it."""
        rng = self._rng
        book = books[rng.choice(self._house.partitions)]
        if any(kind in _OURS for kind, _ in book.lifecycle.sweeps):
            return "the staff is at it"
        number = len(book.lifecycle.distributions) + 1
        elsewhere = self._begun_elsewhere(book, books)
        is_turned = any(one.lifecycle.redenominations for one in books)
        is_even = len({len(one.lifecycle.distributions) for one in books}) == 1
        if elsewhere is not None:
            command = elsewhere
        elif not is_turned and (number == 1 or not is_even or rng.random() < 0.6):
            ratio = rng.randint(1, 400)
            fork = lifecycle_pb2.Distribution(
                number=number, held=rng.choice((BTC, BTC, USD)), credited=ETH, numerator=ratio, denominator=10_000
            )
            command = _again(fork)
        else:
            fresh = lifecycle_pb2.Redenomination(
                asset=ETH, into=rng.choice((BTC, USD)), numerator=rng.randint(1, 9), denominator=7
            )
            known = (one.lifecycle.redenominations.get(ETH) for one in books)
            command = _merging(next((one for one in known if one is not None), fresh))
        self._clients.carry_on(self._operators[book.partition], self._rest(book, command))
        return f"operator {' '.join(str(command).split())}"

    def _rest(self, book: PartitionBook, first: commands_pb2.Command | None) -> Iterator[commands_pb2.Command]:
        """The first command, then what is under way, batch by batch."""
        if first is not None:
            yield first
        while sweep := next((one for one in book.lifecycle.sweeps.values() if one.kind in _OURS), None):
            if sweep.kind == kinds.SWEEP_KIND_DISTRIBUTION:
                yield _again(book.lifecycle.distributions[sweep.subject])
            else:
                yield _merging(book.lifecycle.redenominations[sweep.subject])

    @staticmethod
    def _begun_elsewhere(book: PartitionBook, books: list[PartitionBook]) -> commands_pb2.Command | None:
        """The next distribution here, when another partition has begun it."""
        number = len(book.lifecycle.distributions) + 1
        known = (one.lifecycle.distributions.get(number) for one in books)
        return next((_again(one) for one in known if one is not None), None)

    def _catch_up(self, book: PartitionBook, books: list[PartitionBook]) -> Iterator[commands_pb2.Command]:
        """Finishes what goes over many accounts, then what other partitions have begun."""
        yield from self._rest(book, None)
        while (command := self._begun_elsewhere(book, books)) is not None:
            yield from self._rest(book, command)

    def at_peace(self, books: list[PartitionBook]) -> None:
        """Venues recover, gates open, and what goes over many accounts is finished."""
        for book in books:
            self._clients.carry_on(self._operators[book.partition], self._catch_up(book, books))
        for operator in self._operators:
            for venue in (1, 2):
                command = commands_pb2.Command()
                self._impair(command, venue=venue, loss=0, haircut=0)
                self._clients.begin(operator, command)
            opened = custody_pb2.SetGate(cause=_OPERATOR, reason="all clear")
            self._clients.begin(operator, commands_pb2.Command(set_gate=opened))

    def _impair(self, command: commands_pb2.Command, *, venue: int, loss: int, haircut: int) -> None:
        body = custody_pb2.ImpairVenue(venue=venue, loss_ppm=loss, haircut_ppm=haircut, reason="it halted payouts")
        command.impair_venue.CopyFrom(body)


def _again(one: lifecycle_pb2.Distribution) -> commands_pb2.Command:
    """The command of a distribution, on the same terms everywhere and each time."""
    body = lifecycle_pb2.Distribute(
        number=one.number, held=one.held, credited=one.credited, numerator=one.numerator, denominator=one.denominator,
        reason="a fork",
    )  # fmt: skip
    return commands_pb2.Command(distribute=body)


def _merging(one: lifecycle_pb2.Redenomination) -> commands_pb2.Command:
    """The command of a redenomination, on the same terms everywhere and each time."""
    body = lifecycle_pb2.RedenominateAsset(
        asset=one.asset, into=one.into, numerator=one.numerator, denominator=one.denominator, reason="it merges"
    )
    return commands_pb2.Command(redenominate_asset=body)
