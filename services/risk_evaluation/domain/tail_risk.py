"""Value at risk and expected shortfall of every account, by historical and filtered historical simulation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from libs.common.parameters import Parameters
from services.risk_evaluation.domain.arrays import F8, I8
from services.risk_evaluation.domain.columns import BookRows
from services.risk_evaluation.domain.grid import ScenarioSet
from services.risk_evaluation.domain.margin import all_sums
from services.risk_evaluation.domain.model import assemble
from services.risk_evaluation.domain.prices import Mark, funded, price_book
from services.risk_evaluation.domain.surfaces import VolatilitySurface


@dataclass(frozen=True, slots=True)
class Tail:
    """Losses, positive, one a row.

    Args:
        value_at_risk: exceeded with at most the tail's probability.
        expected_shortfall: mean of the tail, whose last scenario may count in part.
    """

    value_at_risk: F8
    expected_shortfall: F8


def tail(profit: F8, *, confidence: float) -> Tail:
    """Tail of equally likely scenarios.

    Args:
        profit: (scenarios, rows). confidence: 0.99 looks at the worst hundredth.

    Raises:
        ValueError: no scenarios, or a confidence outside (0, 1).
    Source: Acerbi and Tasche (2002), "On the coherence of expected shortfall", definition 2.6.
    """
    count = profit.shape[0]
    if not (count and 0.0 < confidence < 1.0):
        raise ValueError(f"expected scenarios and a confidence inside (0, 1), was {count} and {confidence}")
    losses = -np.sort(profit, axis=0)  # greatest loss first
    mass = count * (1.0 - confidence)
    whole = math.floor(mass + 1e-9)  # 1 − 0.99 is a little above a hundredth in floats
    part = max(0.0, mass - whole) if whole < count else 0.0
    at = min(max(math.ceil(mass - 1e-9), 1), count) - 1
    # Without a whole scenario in the tail, the worst one is all of it.
    shortfall = losses[0] if whole == 0 else (losses[:whole].sum(axis=0) + part * losses[min(whole, count - 1)]) / mass
    return Tail(losses[at], np.maximum(shortfall, losses[at]))


def historical_moves(prices: F8) -> F8:
    """(times − 1, assets) relative moves between successive prices (times, assets)."""
    return prices[1:] / prices[:-1] - 1.0


def filtered_moves(prices: F8, *, decay: float, warm_up: int) -> F8:
    """Relative moves as they would be at the volatility of now: (times − 1 − warm_up, assets).

    Each log move is divided by the volatility forecast before it and multiplied by the forecast now.

    Args:
        decay: weight of the past in the exponentially weighted variance, 0.94 for days.
        warm_up: first moves, that only start the variance.
    Source: Hull and White (1998), "Incorporating volatility updating into the historical simulation method".
    """
    standard, variance = _standardised(prices, decay=decay, warm_up=warm_up)
    return np.expm1(standard * np.sqrt(variance))


def filtered_paths(prices: F8, *, decay: float, warm_up: int, drawn: I8) -> F8:
    """Relative moves over several steps: residuals drawn whole (all assets of one time), variance updated as they come.

    Args:
        drawn: (paths, steps) numbers of residuals, below times − 1 − warm_up; randomness is the caller's.
    Returns: (paths, assets).
    Source: Barone-Adesi, Giannopoulos and Vosper (1999), "VaR without correlations for portfolios of derivatives".
    """
    standard, start = _standardised(prices, decay=decay, warm_up=warm_up)
    variance = np.broadcast_to(start, (drawn.shape[0], start.shape[0]))
    total = np.zeros((drawn.shape[0], start.shape[0]))
    for step in range(drawn.shape[1]):
        move = standard[drawn[:, step]] * np.sqrt(variance)
        total += move
        variance = decay * variance + (1.0 - decay) * move * move
    return np.expm1(total)


def simulated_profit(
    parameters: Parameters,
    marks: Mapping[int, Mark],
    book: BookRows,
    *,
    moves: F8,
    funding: Sequence[int],
    surfaces: Mapping[int, VolatilitySurface] | None = None,
) -> F8:
    """What each row gains under each joint move, by the margin kernel's own revaluation: (scenarios, rows), 10^-6 USD.

    Args:
        moves: (scenarios, assets), relative, in the order of the parameters' assets.
    """
    none = ScenarioSet((), np.zeros((0, moves.shape[1])))
    names = tuple(str(number) for number in range(moves.shape[0]))
    model = assemble(parameters, initial=ScenarioSet(names, moves), maintenance=none, stresses=none)
    prices = funded(price_book(model, marks, surfaces), funding)
    profit: F8 = np.sum(all_sums(model, prices, book).change[:, :-1], axis=0)
    return profit


def _standardised(prices: F8, *, decay: float, warm_up: int) -> tuple[F8, F8]:
    moves = np.diff(np.log(prices), axis=0)
    if not 0 < warm_up < moves.shape[0]:
        raise ValueError(f"expected a warm_up from 1 to below {moves.shape[0]}, was {warm_up}")
    variance = np.mean(moves[:warm_up] ** 2, axis=0)
    out = np.zeros((moves.shape[0] - warm_up, moves.shape[1]))
    for row, move in enumerate(moves[warm_up:]):
        out[row] = np.divide(move, np.sqrt(variance), out=np.zeros_like(move), where=variance > 0.0)
        variance = decay * variance + (1.0 - decay) * move * move
    return out, variance
