"""Prices a little beside those in force, from which intervals learn what options do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.risk_evaluation.domain.model import Model
from services.risk_evaluation.domain.prices import Mark, Prices, funded, price_book
from services.risk_evaluation.domain.surfaces import VolatilitySurface
from services.risk_evaluation.domain.sweep.option_movers import BUMP, Bumped


def bumped_prices(
    model: Model, marks: Mapping[int, Mark], surfaces: Mapping[int, VolatilitySurface], funding: Sequence[int]
) -> Bumped:
    """All marks with their forwards up, down, and all volatilities up; moneyness keeps its volatility."""

    def at(factor: float, vol: float) -> Prices:
        moved = {
            key: replace(one, price=round(one.price * factor), slow=round(one.slow * factor))
            for key, one in marks.items()
        }
        shifted = {key: _shifted(one, factor=factor, vol=vol) for key, one in surfaces.items()}
        return funded(price_book(model, moved, shifted), funding)

    return Bumped(up=at(1.0 + BUMP, 1.0), down=at(1.0 - BUMP, 1.0), vol=at(1.0, 1.0 + BUMP))


def _shifted(surface: VolatilitySurface, *, factor: float, vol: float) -> VolatilitySurface:
    smiles = tuple(
        replace(
            one,
            forward_price=round(one.forward_price * factor),
            svi=replace(one.svi, a=one.svi.a * vol * vol, b=one.svi.b * vol * vol),
        )
        for one in surface.smiles
    )
    return replace(surface, smiles=smiles)
