"""What a partition knows about closed instruments, commands under way over many accounts, and assets that changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from ballast.events.v1 import deleveraging_pb2, journal_pb2, lifecycle_pb2

_Item = tuple[tuple[int, ...], tuple[int, ...] | None]


def _listing(effect: journal_pb2.Effect) -> _Item:
    one = effect.listing
    return (30, one.instrument), (one.price, one.mark_sequence, one.closed_at_ns)


def _sweep(effect: journal_pb2.Effect) -> _Item:
    one = effect.sweep
    key = (31, one.kind, one.subject)
    return key, None if one.is_over else (one.tick, one.price, one.mark_sequence, one.cursor, one.accounts, one.batches)


def _redenomination(effect: journal_pb2.Effect) -> _Item:
    one = effect.redenomination
    return (32, one.asset), (one.into, one.numerator, one.denominator)


def _distribution(effect: journal_pb2.Effect) -> _Item:
    one = effect.distribution
    whole = hashlib.blake2b(one.SerializeToString(deterministic=True), digest_size=16)
    return (33, one.number), (int.from_bytes(whole.digest(), "big"),)


def _venue_share(effect: journal_pb2.Effect) -> _Item:
    one = effect.venue_share
    return (36, one.venue), (one.number, one.left_lots, one.left_units)


def _deleveraging(effect: journal_pb2.Effect) -> _Item:
    one = effect.deleveraging
    whole = hashlib.blake2b(one.SerializeToString(deterministic=True), digest_size=16)
    return (55, one.episode), None if one.is_over else (int.from_bytes(whole.digest(), "big"),)


def _venue_claim(effect: journal_pb2.Effect) -> _Item:
    one = effect.venue_claim
    value = (one.asset, one.borne_units, one.recovered_units)
    return (56, one.venue, one.number, one.account), None if one.is_over else value


def _distribution_told(effect: journal_pb2.Effect) -> _Item:
    return (52, effect.distribution_told.partition), (effect.distribution_told.number,)


LIFECYCLE_ITEMS: dict[str, Callable[[journal_pb2.Effect], _Item]] = {
    "listing": _listing,
    "sweep": _sweep,
    "redenomination": _redenomination,
    "distribution": _distribution,
    "distribution_told": _distribution_told,
    "venue_share": _venue_share,
    "deleveraging": _deleveraging,
    "venue_claim": _venue_claim,
}


class Lifecycle:
    """Folded by overwriting; the ledger's state and every follower's book have one.

    Args:
        sweeps: by (kind, subject); those under way only.
        distributions: all there ever were, by number: few, and the next one needs the last number.
    """

    def __init__(self) -> None:
        self.listings: dict[int, lifecycle_pb2.Listing] = {}  # instrument
        self.sweeps: dict[tuple[int, int], lifecycle_pb2.Sweep] = {}
        self.redenominations: dict[int, lifecycle_pb2.Redenomination] = {}  # asset that went
        self.distributions: dict[int, lifecycle_pb2.Distribution] = {}
        self.distributions_told: dict[int, int] = {}  # other partition -> number of the last that has begun there
        self.venue_shares: dict[int, lifecycle_pb2.VenueShare] = {}  # the last by venue
        self.deleveragings: dict[int, deleveraging_pb2.Deleveraging] = {}  # over partitions, by episode; under way only
        self.venue_claims: dict[tuple[int, int], dict[int, lifecycle_pb2.VenueClaim]] = {}  # (venue, number) -> account

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lifecycle) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def apply(self, effect: journal_pb2.Effect) -> None:
        """Folds one of the effects of `LIFECYCLE_ITEMS`."""
        match effect.WhichOneof("effect"):
            case "listing":
                listing = lifecycle_pb2.Listing()
                listing.CopyFrom(effect.listing)
                self.listings[listing.instrument] = listing
            case "sweep":
                sweep = lifecycle_pb2.Sweep()
                sweep.CopyFrom(effect.sweep)
                if sweep.is_over:
                    self.sweeps.pop((sweep.kind, sweep.subject), None)
                else:
                    self.sweeps[sweep.kind, sweep.subject] = sweep
            case "redenomination":
                redenomination = lifecycle_pb2.Redenomination()
                redenomination.CopyFrom(effect.redenomination)
                self.redenominations[redenomination.asset] = redenomination
            case "distribution":
                distribution = lifecycle_pb2.Distribution()
                distribution.CopyFrom(effect.distribution)
                self.distributions[distribution.number] = distribution
            case "distribution_told":
                self.distributions_told[effect.distribution_told.partition] = effect.distribution_told.number
            case "venue_share":
                share = lifecycle_pb2.VenueShare()
                share.CopyFrom(effect.venue_share)
                self.venue_shares[share.venue] = share
            case "deleveraging":
                one = deleveraging_pb2.Deleveraging()
                one.CopyFrom(effect.deleveraging)
                if one.is_over:
                    self.deleveragings.pop(one.episode, None)
                else:
                    self.deleveragings[one.episode] = one
            case "venue_claim":
                self._apply_claim(effect.venue_claim)

    def _apply_claim(self, part: lifecycle_pb2.VenueClaim) -> None:
        notice = (part.venue, part.number)
        if not part.is_over:
            kept = self.venue_claims.setdefault(notice, {})[part.account] = lifecycle_pb2.VenueClaim()
            kept.CopyFrom(part)
        elif notice in self.venue_claims:
            self.venue_claims[notice].pop(part.account, None)
            if not self.venue_claims[notice]:
                del self.venue_claims[notice]

    def owed_by_venue(self, venue: int, number: int) -> dict[int, int]:
        """Units that have not come back of what a notice cost, by account."""
        claims = self.venue_claims.get((venue, number), {})
        return {account: one.borne_units - one.recovered_units for account, one in claims.items()}
