"""What a partition holds about client money: gate, outflows, terms, places; the fold of its effects by overwriting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from ballast.events.v1 import custody_pb2, journal_pb2

Place = tuple[int, int]  # asset, venue

EFFECTS = frozenset(
    ("outflow_window", "gate", "custody_terms", "placement", "impairment", "outflow_share", "outflow_pot")
)
_Kept = TypeVar(
    "_Kept",
    custody_pb2.OutflowWindow,
    custody_pb2.Gate,
    custody_pb2.CustodyTerms,
    custody_pb2.Placement,
    custody_pb2.Impairment,
    custody_pb2.OutflowShare,
    custody_pb2.OutflowPot,
    custody_pb2.OutflowPart,
)


def copied(part: _Kept) -> _Kept:
    """A copy of a message, to be kept or changed."""
    copy = type(part)()
    copy.CopyFrom(part)
    return copy


def is_empty(one: custody_pb2.Placement) -> bool:
    """Whether nothing is to be kept of a place."""
    return not (one.units or one.impaired_units or one.lost_units)


@dataclass(slots=True)
class Custody:
    """Client money of one partition. Changed by `apply` only.

    Args:
        recalls: accounts that wait for units to come back, by asset.
    """

    gate: custody_pb2.Gate = field(default_factory=custody_pb2.Gate)
    outflows: dict[int, custody_pb2.OutflowWindow] = field(default_factory=dict)
    terms: dict[int, dict[int, custody_pb2.CustodyTerms]] = field(default_factory=dict)  # account -> asset
    places: dict[int, dict[Place, custody_pb2.Placement]] = field(default_factory=dict)  # account
    impairments: dict[int, custody_pb2.Impairment] = field(default_factory=dict)  # venue
    recalls: dict[int, set[int]] = field(default_factory=dict)
    shares: dict[int, custody_pb2.OutflowShare] = field(default_factory=dict)  # asset
    pots: dict[int, custody_pb2.OutflowPot] = field(default_factory=dict)  # asset whose bank is here

    def apply(self, effect: journal_pb2.Effect) -> None:
        """Folds one effect of client money."""
        match effect.WhichOneof("effect"):
            case "outflow_window":
                self.outflows[effect.outflow_window.asset] = copied(effect.outflow_window)
            case "gate":
                self.gate = copied(effect.gate)
            case "custody_terms":
                self._apply_terms(copied(effect.custody_terms))
            case "placement":
                self._apply_placement(copied(effect.placement))
            case "impairment":
                self.impairments[effect.impairment.venue] = copied(effect.impairment)
            case "outflow_share":
                self.shares.pop(effect.outflow_share.asset, None)
                if effect.outflow_share.granted:
                    self.shares[effect.outflow_share.asset] = copied(effect.outflow_share)
            case "outflow_pot":
                self.pots[effect.outflow_pot.asset] = copied(effect.outflow_pot)

    def _apply_terms(self, one: custody_pb2.CustodyTerms) -> None:
        self.terms.setdefault(one.account, {})[one.asset] = one
        waiting = self.recalls.setdefault(one.asset, set())
        (waiting.add if one.recall_units else waiting.discard)(one.account)

    def _apply_placement(self, one: custody_pb2.Placement) -> None:
        places = self.places.setdefault(one.account, {})
        if not is_empty(one):
            places[one.asset, one.venue] = one
            return
        places.pop((one.asset, one.venue), None)
        if not places:
            del self.places[one.account]


class DraftedCustody:
    """Client money as a command has left it: reads through to the state, collects effects."""

    __slots__ = ("_effects", "_gate", "_impairments", "_outflows", "_places", "_pots", "_shares", "_state", "_terms")

    def __init__(self, state: Custody, outcome: journal_pb2.Outcome) -> None:
        self._state = state
        self._effects = outcome.effects
        self._gate: custody_pb2.Gate | None = None
        self._outflows: dict[int, custody_pb2.OutflowWindow] = {}
        self._terms: dict[tuple[int, int], custody_pb2.CustodyTerms] = {}
        self._places: dict[int, dict[Place, custody_pb2.Placement]] = {}
        self._impairments: dict[int, custody_pb2.Impairment] = {}
        self._shares: dict[int, custody_pb2.OutflowShare] = {}
        self._pots: dict[int, custody_pb2.OutflowPot] = {}

    @property
    def gate(self) -> custody_pb2.Gate:
        """The gate."""
        return self._gate or self._state.gate

    def outflow(self, asset: int) -> custody_pb2.OutflowWindow:
        """What has left in an asset."""
        known = self._outflows.get(asset) or self._state.outflows.get(asset)
        return known or custody_pb2.OutflowWindow(asset=asset)

    def share(self, asset: int) -> custody_pb2.OutflowShare:
        """What may leave here by grants."""
        known = self._shares.get(asset) or self._state.shares.get(asset)
        return known or custody_pb2.OutflowShare(asset=asset)

    def pot(self, asset: int) -> custody_pb2.OutflowPot:
        """What the bank of an asset's outflow limit has granted."""
        known = self._pots.get(asset) or self._state.pots.get(asset)
        return known or custody_pb2.OutflowPot(asset=asset)

    def terms(self, account: int, asset: int) -> custody_pb2.CustodyTerms | None:
        """The terms of an account's units of an asset, None where none were ever set."""
        return self._terms.get((account, asset)) or self._state.terms.get(account, {}).get(asset)

    def assets_with_terms(self, account: int) -> list[int]:
        """Assets of an account with terms of their own, sorted."""
        drafted = [asset for holder, asset in self._terms if holder == account]
        return sorted({*self._state.terms.get(account, ()), *drafted})

    def placement(self, account: int, asset: int, venue: int) -> custody_pb2.Placement:
        """Where units of an account sit."""
        place = (asset, venue)
        drafted = self._places.get(account)
        known = drafted.get(place) if drafted else None
        if known is None:
            kept = self._state.places.get(account)
            known = kept.get(place) if kept else None
        return known or custody_pb2.Placement(account=account, asset=asset, venue=venue)

    def places(self, account: int) -> list[custody_pb2.Placement]:
        """Everything of an account that sits at venues, sorted by asset and venue."""
        known = self._state.places.get(account, {})
        drafted = self._places.get(account)
        if not drafted:
            return [known[place] for place in sorted(known)] if known else []
        both = {**known, **drafted}
        return [both[place] for place in sorted(both) if not is_empty(both[place])]

    @property
    def placed(self) -> list[int]:
        """Accounts whose places this command has moved, in order."""
        return list(self._places)

    @property
    def is_empty(self) -> bool:
        """Whether no account has terms of its own or anything at a venue."""
        return not (self._state.places or self._state.terms or self._places or self._terms)

    def has_terms(self, account: int) -> bool:
        """Whether an account has terms of its own."""
        return account in self._state.terms or (bool(self._terms) and any(one == account for one, _ in self._terms))

    def has_places(self, account: int) -> bool:
        """Whether anything of an account sits, or sat before this command, at a venue."""
        return account in self._state.places or account in self._places

    def accounts_at(self, venue: int) -> list[int]:
        """Accounts with something at a venue before this command, sorted."""
        return sorted(account for account, places in self._state.places.items() if any(at == venue for _, at in places))

    def impairment(self, venue: int) -> custody_pb2.Impairment | None:
        """A venue's impairment, None where there never was one."""
        return self._impairments.get(venue) or self._state.impairments.get(venue)

    def recalling(self, asset: int) -> list[int]:
        """Accounts that wait for units of an asset to come back, sorted."""
        waiting = self._state.recalls.get(asset)
        return sorted(waiting) if waiting else []

    def put_gate(self, one: custody_pb2.Gate) -> None:
        """Replaces the gate."""
        self._gate = one
        self._effects.append(journal_pb2.Effect(gate=one))

    def put_outflow(self, one: custody_pb2.OutflowWindow) -> None:
        """Replaces what has left in an asset."""
        self._outflows[one.asset] = one
        self._effects.append(journal_pb2.Effect(outflow_window=one))

    def put_share(self, one: custody_pb2.OutflowShare) -> None:
        """Replaces what may leave by grants."""
        self._shares[one.asset] = one
        self._effects.append(journal_pb2.Effect(outflow_share=one))

    def put_pot(self, one: custody_pb2.OutflowPot) -> None:
        """Replaces what a bank has granted."""
        self._pots[one.asset] = one
        self._effects.append(journal_pb2.Effect(outflow_pot=one))

    def put_terms(self, one: custody_pb2.CustodyTerms) -> None:
        """Replaces terms."""
        self._terms[one.account, one.asset] = one
        self._effects.append(journal_pb2.Effect(custody_terms=one))

    def put_placement(self, one: custody_pb2.Placement) -> None:
        """Replaces where units of an account sit."""
        self._places.setdefault(one.account, {})[one.asset, one.venue] = one
        self._effects.append(journal_pb2.Effect(placement=one))

    def put_impairment(self, one: custody_pb2.Impairment) -> None:
        """Replaces a venue's impairment."""
        self._impairments[one.venue] = one
        self._effects.append(journal_pb2.Effect(impairment=one))
