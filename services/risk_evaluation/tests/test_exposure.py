"""From an account's lines to its default risk, through the kernel's own figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.risk_evaluation.domain.columns import Column
from services.risk_evaluation.domain.default_probability import Position, default_risk, normals_shape
from services.risk_evaluation.domain.exposure import exposure_at_default
from services.risk_evaluation.domain.motion import Dynamics
from services.risk_evaluation.domain.sensitivity import shapes
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_PERP,
    COIN,
    DOLLAR,
    ETH,
    USD,
    Book,
    account,
    marks,
    model_of,
)

MODEL = model_of()


@pytest.mark.parametrize(
    ("what", "book", "exposure"),
    [
        ("coins and cash",     Book(MODEL).cash(BTC, COIN).cash(USD, 5 * DOLLAR), 0.0),
        ("debt in two assets", Book(MODEL).cash(BTC, COIN).line(Column.DEBT, USD, 7 * DOLLAR)
                                          .line(Column.OVERDRAFT, ETH, 2 * COIN), 6_007.0),
        ("variation owed",     Book(MODEL).position(BTC_PERP, 1, -62_000 * DOLLAR), 2_000.0),
        ("variation due",      Book(MODEL).position(BTC_PERP, 1, -58_000 * DOLLAR), 0.0),
    ],
)  # fmt: skip
def test_exposure_is_all_that_is_owed(what: str, book: Book, exposure: float) -> None:
    prices = book.prices(marks())
    assert exposure_at_default(MODEL, prices, book.columns, account=account()) == pytest.approx(exposure), what
    more = exposure_at_default(MODEL, prices, book.columns, account=account(), short_options=10.0)
    assert more == pytest.approx(exposure + 10.0)


def test_a_coin_on_credit_is_liquidated_as_its_first_passage_says() -> None:
    # One coin at 60,000 with 48,000 owed: E = S − 48,000, MM = m·S, so τ is the first time S = 48,000 / (1 − m).
    book = Book(MODEL).cash(BTC, COIN).line(Column.DEBT, USD, 48_000 * DOLLAR)
    found = shapes(MODEL, marks(), book.columns.all_rows(), funding=book.columns.funding, step=0.01)
    sigma, years = 1.2, 7 / 365
    drift = -0.5 * sigma**2
    still = np.zeros((len(MODEL.risky), len(MODEL.risky)))
    at = MODEL.risky.index(MODEL.asset_column[BTC])
    covariance = still.copy()
    covariance[at, at] = sigma**2
    drifts = np.where(np.arange(len(MODEL.risky)) == at, drift, 0.0)
    moves = Dynamics(found.price, covariance, drifts, 0.0, np.zeros(len(MODEL.risky)), still)
    exposure = exposure_at_default(MODEL, book.prices(marks()), book.columns, account=account())
    position = Position(found.equity[0], found.buffer[0], exposure, 1 / 365)
    shape = normals_shape(paths=8_192, steps=8, underlyings=len(MODEL.risky))
    risk = default_risk(position, moves, horizon_years=years, normals=np.random.default_rng(3).standard_normal(shape))

    margin = -math.expm1(-2.33 * math.sqrt(0.25 / 365))
    barrier, spread = math.log(48_000 / (1 - margin) / 60_000), sigma * math.sqrt(years)

    def cdf(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2.0))

    expected = cdf((barrier - drift * years) / spread)
    expected += math.exp(2 * drift * barrier / sigma**2) * cdf((barrier + drift * years) / spread)
    assert risk.liquidation == pytest.approx(expected, abs=0.015)
    # A day after, equity is gone when the price has lost another m: N of one day's deviation below it.
    day = sigma * math.sqrt(1 / 365)
    assert risk.default / risk.liquidation == pytest.approx(cdf((math.log(1 - margin) - drift / 365) / day), abs=0.02)
    assert risk.loss_given_default == pytest.approx(risk.expected_loss / (risk.default * 48_000))
