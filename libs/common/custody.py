"""Client money of a partition as readers of its journal have it: gate, outflows, terms, places; and its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from ballast.events.v1 import custody_pb2, journal_pb2
from libs.common.units import PPM, mul_div_up

Item = tuple[tuple[int, ...], tuple[int, ...] | None]
_Whole = (
    custody_pb2.OutflowWindow
    | custody_pb2.Gate
    | custody_pb2.CustodyTerms
    | custody_pb2.Impairment
    | custody_pb2.OutflowShare
    | custody_pb2.OutflowPot
)


def _whole(one: _Whole) -> tuple[int, ...]:
    digest = hashlib.blake2b(one.SerializeToString(deterministic=True), digest_size=16).digest()
    return (int.from_bytes(digest, "big"),)


def _outflow_window(effect: journal_pb2.Effect) -> Item:
    return (40, effect.outflow_window.asset), _whole(effect.outflow_window)


def _gate(effect: journal_pb2.Effect) -> Item:
    return (41,), _whole(effect.gate)


def _custody_terms(effect: journal_pb2.Effect) -> Item:
    one = effect.custody_terms
    return (42, one.account, one.asset), _whole(one)


def _placement(effect: journal_pb2.Effect) -> Item:
    one = effect.placement
    value = (one.units, one.impaired_units, one.lost_units)
    return (43, one.account, one.asset, one.venue), value if any(value) else None


def _impairment(effect: journal_pb2.Effect) -> Item:
    return (44, effect.impairment.venue), _whole(effect.impairment)


def _outflow_share(effect: journal_pb2.Effect) -> Item:
    one = effect.outflow_share
    return (45, one.asset), _whole(one) if one.granted else None


def _outflow_pot(effect: journal_pb2.Effect) -> Item:
    return (46, effect.outflow_pot.asset), _whole(effect.outflow_pot)


CUSTODY_ITEMS: dict[str, Callable[[journal_pb2.Effect], Item]] = {
    "outflow_window": _outflow_window,
    "gate": _gate,
    "custody_terms": _custody_terms,
    "placement": _placement,
    "impairment": _impairment,
    "outflow_share": _outflow_share,
    "outflow_pot": _outflow_pot,
}


class CustodyBook:
    """Fold of the effects of client money, by overwriting."""

    __slots__ = ("gate", "impairments", "outflows", "places", "pots", "shares", "terms")

    def __init__(self) -> None:
        self.gate = custody_pb2.Gate()
        self.outflows: dict[int, custody_pb2.OutflowWindow] = {}  # by asset
        self.terms: dict[int, dict[int, custody_pb2.CustodyTerms]] = {}  # account -> asset
        self.places: dict[int, dict[tuple[int, int], custody_pb2.Placement]] = {}  # account -> asset, venue
        self.impairments: dict[int, custody_pb2.Impairment] = {}  # by venue
        self.shares: dict[int, custody_pb2.OutflowShare] = {}  # by asset
        self.pots: dict[int, custody_pb2.OutflowPot] = {}  # by asset, where its bank is

    def apply(self, which: str, effect: journal_pb2.Effect) -> None:
        """Folds one effect; what is none of client money is passed over."""
        match which:
            case "outflow_window":
                window = custody_pb2.OutflowWindow()
                window.CopyFrom(effect.outflow_window)
                self.outflows[window.asset] = window
            case "gate":
                self.gate = custody_pb2.Gate()
                self.gate.CopyFrom(effect.gate)
            case "custody_terms":
                terms = custody_pb2.CustodyTerms()
                terms.CopyFrom(effect.custody_terms)
                self.terms.setdefault(terms.account, {})[terms.asset] = terms
            case "placement":
                self._placement(effect.placement)
            case "impairment":
                impairment = custody_pb2.Impairment()
                impairment.CopyFrom(effect.impairment)
                self.impairments[impairment.venue] = impairment
            case "outflow_share":
                self.shares.pop(effect.outflow_share.asset, None)
                if effect.outflow_share.granted:
                    share = self.shares[effect.outflow_share.asset] = custody_pb2.OutflowShare()
                    share.CopyFrom(effect.outflow_share)
            case "outflow_pot":
                pot = self.pots[effect.outflow_pot.asset] = custody_pb2.OutflowPot()
                pot.CopyFrom(effect.outflow_pot)

    def placed(self, account: int, asset: int) -> list[custody_pb2.Placement]:
        """Where an account's units of an asset sit beside the vault, by venue."""
        places = self.places.get(account, {})
        return [one for (each, _), one in sorted(places.items()) if each == asset]

    def _placement(self, one: custody_pb2.Placement) -> None:
        places = self.places.setdefault(one.account, {})
        if one.units or one.impaired_units or one.lost_units:
            kept = places[one.asset, one.venue] = custody_pb2.Placement()
            kept.CopyFrom(one)
            return
        places.pop((one.asset, one.venue), None)
        if not places:
            del self.places[one.account]


def must_stay(custody: CustodyBook, account: int, asset: int) -> int:
    """Units of an account that may not leave while venues they sat at are impaired, rounded up."""
    stay = 0
    for one in custody.placed(account, asset):
        impairment = custody.impairments.get(one.venue)
        if impairment is not None:
            stay += mul_div_up(one.impaired_units - one.lost_units, impairment.haircut_ppm, PPM)
    return stay
