"""If a venue or an asset fails: who cannot pay, what pools and venues lose, and what the selling does to prices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from libs.common.errors import ConfigurationError
from services.risk_evaluation.domain.arrays import F8, Mask
from services.risk_evaluation.domain.contagion import NODES_MAX, Distress, Network, linear_debt_rank
from services.risk_evaluation.domain.fire_sale import Holdings, Spill, spill_over

ROUNDS_MAX = 10_000
_TOLERANCE = 1e-9

Columns = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Positions:
    """What clients hold, units as floats: (accounts, assets) cash, lent and owed; (accounts, instruments) the rest."""

    cash: F8
    supply: F8
    debt: F8
    lots: F8
    variation: F8


@dataclass(frozen=True, slots=True)
class Terms:
    """What things are worth and where they stand.

    Args:
        unit: (assets,) USD of one unit.
        idle: (assets,) units that a pool has not lent.
        lot: (instruments,) value of a lot in units of its settlement asset, without variation; negative for inverse.
        underlying, quote, settlement: (instruments,) columns of assets. inverse: (instruments,) value goes as 1/price.
        venue: (instruments,) column of the venue that owes or is owed the gains.
        venues: how many.
        margin, impact, depth_usd: (assets,) maintenance share, relative price fall when `depth_usd` is sold.
    """

    unit: F8
    idle: F8
    lot: F8
    underlying: Columns
    quote: Columns
    settlement: Columns
    inverse: Mask
    venue: Columns
    venues: int
    margin: F8
    impact: F8
    depth_usd: F8


@dataclass(frozen=True, slots=True)
class Options:
    """Options that accounts hold, whose value goes with no power of a price.

    Args:
        held: (accounts, options) signed lots. venue: (options,) column of the venue that owes or is owed the value.
        calm, failed: (options,) USD of a lot before anything, and at the failing prices.
        underlying: (options,) columns of assets. delta: (options,) units of the underlying that a lot stands for.
    """

    held: F8
    venue: Columns
    calm: F8
    failed: F8
    underlying: Columns
    delta: F8


@dataclass(frozen=True, slots=True)
class Failure:
    """What fails: (assets,) factor on prices, 1 for no move; (venues,) share of its debts that a venue still pays."""

    price: F8
    recovery: F8


@dataclass(frozen=True, slots=True)
class AtVenues:
    """Values of options, (accounts, options) USD, with the column of each one's venue."""

    value: F8
    venue: Columns


@dataclass(frozen=True, slots=True)
class Ring:
    """Accounts around hubs (pools first, then venues): who owes whom, USD.

    Args:
        owes, owed: (accounts, hubs) of the accounts. assets, hub_assets: what each has outside.
    """

    owes: F8
    owed: F8
    assets: F8
    hub_assets: F8


@dataclass(frozen=True, slots=True)
class View:
    """The answer, USD.

    Args:
        equity_before, equity_after: (accounts,) before anything, and at the failing prices with claims in full.
        shortfall: (accounts,) owed and not paid; hub_shortfall: (hubs,) the same of pools and venues.
        distress: linear DebtRank of the first losses, accounts then hubs; None with more nodes than it takes.
        spill: the selling that follows.
    """

    equity_before: F8
    equity_after: F8
    shortfall: F8
    hub_shortfall: F8
    distress: Distress | None
    spill: Spill

    @property
    def cannot_pay(self) -> Mask:
        """(accounts,) who defaults on a pool or venue."""
        return np.asarray(self.shortfall > _TOLERANCE)


def if_fails(positions: Positions, terms: Terms, failure: Failure, options: Options | None = None) -> View:
    """What follows from a failure.

    Raises: ConfigurationError when a factor or share is out of its bound.
    """
    if not np.all((failure.recovery >= 0.0) & (failure.recovery <= 1.0)):
        raise ConfigurationError("recovery: expected shares in 0 .. 1")
    if not np.all((failure.price > 0.0) & np.isfinite(failure.price)):
        raise ConfigurationError("price: expected factors > 0")
    calm = Failure(np.ones_like(failure.price), np.ones_like(failure.recovery))
    before = ring_of(positions, terms, calm, _at_venues(options, failed=False))
    after = ring_of(positions, terms, failure, _at_venues(options, failed=True))
    paid, hub_paid = clear_ring(after)
    equity_before = before.assets + np.sum(before.owed - before.owes, axis=1)
    equity_after = after.assets + np.sum(after.owed - after.owes, axis=1)
    claims = after.owed @ np.divide(
        hub_paid, np.sum(after.owed, axis=0), out=np.zeros_like(hub_paid), where=np.sum(after.owed, axis=0) > 0.0
    )
    lost = np.sum(after.owed, axis=1) - claims
    return View(
        equity_before=equity_before,
        equity_after=equity_after,
        shortfall=np.sum(after.owes, axis=1) - paid,
        hub_shortfall=np.sum(after.owed, axis=0) - hub_paid,
        distress=_distress(before, equity_before, equity_after - lost),
        spill=spill_over(_holdings(positions, terms, equity_before, options), failure.price - 1.0),
    )


def ring_of(positions: Positions, terms: Terms, failure: Failure, options: AtVenues | None = None) -> Ring:
    """Who owes whom once the failure is in the prices; `options`: USD that each account has in them, by venue."""
    unit = terms.unit * failure.price
    move = failure.price[terms.underlying] / failure.price[terms.quote]
    lot = terms.lot * np.where(terms.inverse, 1.0 / move, move)
    gain = (positions.lots * lot + positions.variation) * unit[terms.settlement]
    venue = terms.venue
    if options is not None:
        gain, venue = np.concatenate([gain, options.value], axis=1), np.concatenate([venue, options.venue])
    at_venue = np.zeros((venue.shape[0], terms.venues))
    at_venue[np.arange(venue.shape[0]), venue] = 1.0
    supply, debt = positions.supply * unit, positions.debt * unit
    owes = np.concatenate([debt, np.maximum(-gain, 0.0) @ at_venue], axis=1)
    owed = np.concatenate([supply, np.maximum(gain, 0.0) @ at_venue], axis=1)
    # A sound venue can pay what it owes; a failing one has so much less. Losers of the same venue pay into it.
    due, receipts = np.sum(owed, axis=0), np.sum(owes, axis=0)
    pools = terms.unit.shape[0]
    reserve = np.maximum(0.0, due[pools:] * failure.recovery - receipts[pools:])
    # What a pool is owed by others than clients (overdrafts, the house) keeps it whole in calm prices.
    covered = np.maximum(terms.idle * unit, due[:pools] - receipts[:pools])
    return Ring(owes, owed, np.sum(positions.cash * unit, axis=1), np.concatenate([covered, reserve]))


def _at_venues(options: Options | None, *, failed: bool) -> AtVenues | None:
    if options is None:
        return None
    return AtVenues(options.held * (options.failed if failed else options.calm), options.venue)


def clear_ring(ring: Ring) -> tuple[F8, F8]:
    """Greatest payments of accounts and of hubs: every round from the top down (Eisenberg and Noe, 2001)."""
    due, hub_due = np.sum(ring.owes, axis=1), np.sum(ring.owed, axis=0)
    share = np.divide(ring.owes, due[:, None], out=np.zeros_like(ring.owes), where=due[:, None] > 0.0)
    hub_share = np.divide(ring.owed, hub_due, out=np.zeros_like(ring.owed), where=hub_due > 0.0)
    paid, hub_paid = due, hub_due
    for _ in range(ROUNDS_MAX):
        following = np.clip(ring.assets + hub_share @ hub_paid, 0.0, due)
        hub_following = np.minimum(hub_due, ring.hub_assets + share.T @ following)
        moved = max(
            float(np.max(np.abs(paid - following), initial=0.0)),
            float(np.max(np.abs(hub_paid - hub_following), initial=0.0)),
        )
        paid, hub_paid = following, hub_following
        if moved <= _TOLERANCE:
            break
    return paid, hub_paid


def dense(ring: Ring) -> Network:
    """The same as a network of accounts, then hubs. Raises ConfigurationError beyond NODES_MAX nodes."""
    accounts, hubs = ring.owes.shape
    nodes = accounts + hubs
    if nodes > NODES_MAX:
        raise ConfigurationError(f"network: expected at most {NODES_MAX} nodes, was {nodes}")
    owed = np.zeros((nodes, nodes))
    owed[:accounts, accounts:] = ring.owes
    owed[accounts:, :accounts] = ring.owed.T
    return Network(owed, np.concatenate([np.maximum(ring.assets, 0.0), ring.hub_assets]), np.zeros(nodes))


def _distress(before: Ring, equity_before: F8, equity_after: F8) -> Distress | None:
    accounts, hubs = before.owes.shape
    if accounts + hubs > NODES_MAX:
        return None
    network = dense(before)
    hub_equity = before.hub_assets + np.sum(before.owes - before.owed, axis=0)
    equity = np.concatenate([np.maximum(equity_before, 0.0), np.maximum(hub_equity, 0.0)])
    lost = np.maximum(0.0, equity_before - equity_after)
    shock = np.zeros(accounts + hubs)
    shock[:accounts] = np.clip(
        np.divide(lost, equity_before, out=np.zeros_like(lost), where=equity_before > 0.0), 0.0, 1.0
    )
    return linear_debt_rank(network.owed, equity, shock)


def _holdings(positions: Positions, terms: Terms, equity: F8, options: Options | None) -> Holdings:
    # Everything in units of the assets whose prices move; what is left of equity is money.
    units = positions.cash + positions.supply - positions.debt
    per_lot = np.abs(terms.lot) * terms.unit[terms.settlement] / np.maximum(terms.unit[terms.underlying], 1e-300)
    for column, asset in enumerate(terms.underlying.tolist()):
        units[:, asset] += positions.lots[:, column] * per_lot[column]
    if options is not None:
        for column, asset in enumerate(options.underlying.tolist()):
            units[:, asset] += options.held[:, column] * options.delta[column]
    return Holdings(
        quantities=units,
        cash=equity - units @ terms.unit,
        prices=terms.unit,
        margin=terms.margin,
        target=np.full(units.shape[0], 1.1),
        impact=terms.impact,
        depth=terms.depth_usd / np.maximum(terms.unit, 1e-300),
    )
