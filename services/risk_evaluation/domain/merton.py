"""Merton's structural model of default, and the firm's assets implied by its equity (KMV)."""

from __future__ import annotations

import math
from dataclasses import dataclass

_ROUNDS_MAX = 500
_HALVINGS = 200


@dataclass(frozen=True, slots=True)
class Structural:
    """Default at the horizon when assets end below debt.

    Args:
        distance: standard deviations between assets and debt (d2 under the risk-free drift).
        default: N(−distance). debt_value: today. expected_loss: share of the riskless value of the debt.
        loss_given_default: expected_loss / default; 0 when default is 0.
    """

    distance: float
    default: float
    debt_value: float
    expected_loss: float
    loss_given_default: float


def structural(*, assets: float, asset_sigma: float, debt: float, rate: float, years: float) -> Structural:
    """Default risk of a firm, all risk-neutral.

    Source: Merton (1974), "On the pricing of corporate debt", eq. 13.
    """
    far = distance_to_default(assets=assets, asset_sigma=asset_sigma, debt=debt, drift=rate, years=years)
    spread = asset_sigma * math.sqrt(years)
    riskless = debt * math.exp(-rate * years)
    equity = assets * _normal(far + spread) - riskless * _normal(far)
    value = assets - equity
    default, loss = _normal(-far), 1.0 - value / riskless
    return Structural(far, default, value, loss, loss / default if default > 0.0 else 0.0)


def distance_to_default(*, assets: float, asset_sigma: float, debt: float, drift: float, years: float) -> float:
    """(ln(A/D) + (µ − σ²/2)·T) / (σ·√T)."""
    growth = (drift - 0.5 * asset_sigma**2) * years
    return (math.log(assets / debt) + growth) / (asset_sigma * math.sqrt(years))


def implied_assets(
    *, equity: float, equity_sigma: float, debt: float, rate: float, years: float
) -> tuple[float, float]:
    """Asset value and volatility at which equity is a call on the assets with that value and volatility.

    Source: Crosbie and Bohn (2003), "Modeling default risk": E = A·N(d1) − D·e^(−rT)·N(d2), σ_E·E = N(d1)·σ_A·A.
    """
    sigma = equity_sigma * equity / (equity + debt)
    assets = equity + debt
    for _ in range(_ROUNDS_MAX):
        assets = _assets_at(sigma, equity=equity, debt=debt, rate=rate, years=years)
        far = distance_to_default(assets=assets, asset_sigma=sigma, debt=debt, drift=rate, years=years)
        found = equity_sigma * equity / (assets * _normal(far + sigma * math.sqrt(years)))
        if abs(found - sigma) < 1e-14:
            break
        sigma = 0.5 * (sigma + found)  # half the way: the whole way may swing
    return assets, sigma


def _assets_at(sigma: float, *, equity: float, debt: float, rate: float, years: float) -> float:
    low, high = (
        equity,
        equity + debt * math.exp(-rate * years),
    )  # a call is worth less than its asset, more than its gain
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        far = distance_to_default(assets=middle, asset_sigma=sigma, debt=debt, drift=rate, years=years)
        call = middle * _normal(far + sigma * math.sqrt(years)) - debt * math.exp(-rate * years) * _normal(far)
        low, high = (middle, high) if call < equity else (low, middle)
    return 0.5 * (low + high)


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
