"""Who cannot pay if one fails: clearing payments, distress that spreads by exposures, and by common holdings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libs.common.errors import ConfigurationError
from services.risk_evaluation.domain.arrays import F8, Mask

NODES_MAX = 4_000  # the matrix is dense
ROUNDS_MAX = 10_000
_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes that owe one another, in one currency.

    Args:
        owed: (nodes, nodes) row owes column; nothing to itself, nothing negative.
        external_assets: (nodes,) what each has outside the network.
        external_debt: (nodes,) what each owes outside it, ranking with the rest.
    """

    owed: F8
    external_assets: F8
    external_debt: F8


@dataclass(frozen=True, slots=True)
class Clearing:
    """The greatest payments that are consistent.

    Args:
        payments: (nodes,) paid by each in all, inside and outside the network.
        equity: (nodes,) what is left, 0 for who defaults.
        shortfall: (nodes,) owed and not paid.
        rounds: waves of default: 0 when all pay.
    """

    payments: F8
    equity: F8
    shortfall: F8
    rounds: int

    @property
    def defaulted(self) -> Mask:
        """(nodes,) who cannot pay."""
        return np.asarray(self.shortfall > 0.0)


def check_network(network: Network) -> None:
    """Raises ConfigurationError unless the shapes fit and every amount is finite and at least 0."""
    nodes = network.external_assets.shape[0]
    if nodes > NODES_MAX:
        raise ConfigurationError(f"network: expected at most {NODES_MAX} nodes, was {nodes}")
    if network.owed.shape != (nodes, nodes) or network.external_debt.shape != (nodes,):
        raise ConfigurationError(f"network: expected {nodes} nodes everywhere, was {network.owed.shape}")
    for name, values in (
        ("owed", network.owed),
        ("external_assets", network.external_assets),
        ("external_debt", network.external_debt),
    ):
        if not np.all(np.isfinite(values) & (values >= 0.0)):
            raise ConfigurationError(f"network.{name}: expected finite amounts >= 0")
    if np.any(np.diag(network.owed) != 0.0):
        raise ConfigurationError("network.owed: expected no node to owe itself")


def clear(network: Network, *, asset_recovery: float = 1.0, claim_recovery: float = 1.0) -> Clearing:
    """The greatest clearing vector.

    Args:
        asset_recovery, claim_recovery: α and β, shares of external assets and of claims that survive a default, 0 .. 1.
    Raises: ConfigurationError as `check_network`, or for a share out of its bound.
    Source: Eisenberg and Noe (2001), section 3.2 (fictitious default); Rogers and Veraart (2013), the same from above
        with costs, which gives the greatest vector when there are several.
    """
    check_network(network)
    for name, share in (("asset_recovery", asset_recovery), ("claim_recovery", claim_recovery)):
        if not 0.0 <= share <= 1.0:
            raise ConfigurationError(f"{name}: expected 0 .. 1, was {share!r}")
    due = network.owed.sum(axis=1) + network.external_debt
    shares = np.divide(network.owed, due[:, None], out=np.zeros_like(network.owed), where=due[:, None] > 0.0)
    payments = due.copy()
    defaulted = np.zeros(due.shape[0], dtype=bool)
    rounds = 0
    for _ in range(due.shape[0] + 1):
        worth = network.external_assets + shares.T @ payments
        failing = defaulted | (worth < due - _TOLERANCE * np.maximum(1.0, due))
        if np.array_equal(failing, defaulted):
            break
        defaulted, rounds = failing, rounds + 1
        payments = _paid_by_defaulted(network, shares, due, defaulted, asset_recovery, claim_recovery)
    worth = network.external_assets + shares.T @ payments
    return Clearing(
        payments=payments,
        equity=np.where(defaulted, 0.0, np.maximum(0.0, worth - due)),
        shortfall=np.where(defaulted, due - payments, 0.0),
        rounds=rounds,
    )


def _paid_by_defaulted(
    network: Network, shares: F8, due: F8, defaulted: Mask, asset_recovery: float, claim_recovery: float
) -> F8:
    # Who defaults pays what it has; who does not pays in full: a linear system in the payments of the first.
    at = np.flatnonzero(defaulted)
    payments = due.copy()
    payments[at] = 0.0
    fixed = asset_recovery * network.external_assets[at] + claim_recovery * (shares.T @ payments)[at]
    matrix = np.eye(at.size) - claim_recovery * shares[np.ix_(at, at)].T
    try:
        solved = np.linalg.solve(matrix, fixed)
    except np.linalg.LinAlgError:  # a ring that owes only itself: the greatest solution is found from above
        solved = _from_above(claim_recovery * shares[np.ix_(at, at)].T, fixed, due[at])
    payments[at] = np.clip(solved, 0.0, due[at])
    return payments


def _from_above(matrix: F8, fixed: F8, due: F8) -> F8:
    payments = due.copy()
    for _ in range(ROUNDS_MAX):
        following = np.minimum(due, fixed + matrix @ payments)
        if np.max(np.abs(following - payments), initial=0.0) <= _TOLERANCE * max(1.0, float(np.max(due))):
            return following
        payments = following
    return payments


@dataclass(frozen=True, slots=True)
class Distress:
    """How much of its equity each node has lost, 0 .. 1, and the value-weighted loss beyond the first one."""

    level: F8
    impact: float
    rounds: int


def relative_exposures(owed: F8, equity: F8) -> F8:
    """(nodes, nodes) share of row's equity that is lost when column fails whole; 0 where row has none to lose."""
    claims = owed.T
    return np.divide(claims, equity[:, None], out=np.zeros_like(claims), where=equity[:, None] > 0.0)


def debt_rank(owed: F8, equity: F8, shock: F8, weights: F8 | None = None) -> Distress:
    """Classic DebtRank: each node passes its distress on once, then stays out.

    Args:
        shock: (nodes,) share of equity lost at first.
        weights: (nodes,) economic value, summing to 1; what others owe each node without it.
    Source: Battiston et al. (2012), "DebtRank: too central to fail?", Sci. Rep. 2, 541. `impact` is R.
    """
    _check_shock(equity, shock)
    exposure = np.minimum(1.0, relative_exposures(owed, equity))
    level = shock.copy()
    active, spent = shock > 0.0, np.zeros(shock.shape[0], dtype=bool)
    rounds = 0
    while np.any(active) and rounds < ROUNDS_MAX:
        grown = np.minimum(1.0, level + exposure @ np.where(active, level, 0.0))
        spent = spent | active
        active = (grown > level) & ~spent
        # Who has passed its distress on may still get worse; it does not pass on more.
        level = grown
        rounds += 1
    return Distress(level, float((level - shock) @ _weights(owed, weights)), rounds)


def linear_debt_rank(owed: F8, equity: F8, shock: F8, weights: F8 | None = None) -> Distress:
    """DebtRank in which distress goes on spreading until it is gone, capped at all of a node's equity.

    Source: Bardoscia et al. (2015), "DebtRank: a microscopic foundation for shock propagation", PLoS ONE 10, eq. 12.
    Uncapped it is (I - Λ)⁻¹·shock, Λ the relative exposures.
    """
    _check_shock(equity, shock)
    exposure = relative_exposures(owed, equity)
    level, before = shock.copy(), np.zeros_like(shock)
    rounds = 0
    while rounds < ROUNDS_MAX and float(np.max(level - before, initial=0.0)) > _TOLERANCE:
        following = np.minimum(1.0, level + exposure @ (level - before))
        before, level = level, following
        rounds += 1
    return Distress(level, float((level - shock) @ _weights(owed, weights)), rounds)


def _weights(owed: F8, weights: F8 | None) -> F8:
    if weights is not None:
        return weights
    lent = owed.sum(axis=0)
    total = float(lent.sum())
    return np.asarray(lent / total) if total > 0.0 else np.zeros_like(lent)


def _check_shock(equity: F8, shock: F8) -> None:
    if shock.shape != equity.shape or not np.all((shock >= 0.0) & (shock <= 1.0)):
        raise ConfigurationError(f"shock: expected {equity.shape[0]} shares in 0 .. 1")
