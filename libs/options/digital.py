"""Cash-or-nothing options under a smile: what call spreads of vanishing width are worth."""

from __future__ import annotations

import math

from libs.options.black import TOTAL_VOL_MAX, Greeks, LineKind, black76
from libs.options.normal import log


def smile_digital(
    *, forward: float, strike: float, years: float, vol: float, slope: float, discount: float, kind: LineKind
) -> Greeks:
    """Price and Greeks of what pays 1 above the strike (call), or at and below it (put); at strike 0 it is sure.

    A call is −∂C/∂K of calls C with the smile's volatilities: e^(-rT)·N(d2) − vega·∂σ/∂K; the put is what is left of
    the discount. The volatility at the strike and its slope stand still while the rest moves (sticky strike). Within
    0 .. discount, also where a smile has arbitrage.

    Args:
        vol, slope: of the smile at the strike, slope per 1 of strike.
    Source: Gatheral (2006), "The volatility surface", chapter 8, on digital options and skew.
    """
    if kind not in (LineKind.DIGITAL_CALL, LineKind.DIGITAL_PUT):
        raise ValueError(f"expected a digital, was {kind!r}")
    flat = black76(forward=forward, strike=strike, years=years, vol=vol, discount=discount, kind=kind)
    total = min(vol * math.sqrt(max(years, 0.0)), TOTAL_VOL_MAX)
    vega = black76(forward=forward, strike=strike, years=years, vol=vol, discount=discount).vega
    if not vega or not slope:
        return flat
    side = -slope if kind is LineKind.DIGITAL_CALL else slope
    d2 = log(forward / strike) / total - 0.5 * total
    d1 = d2 + total
    rate = -log(discount) / years
    width = forward * total
    return Greeks(
        value=within(flat.value + side * vega, discount),
        delta=flat.delta - side * vega * d2 / width,
        gamma=flat.gamma + side * vega * (d2 * d2 - 1.0 + d2 * total) / (width * width),
        vega=flat.vega + side * vega * d1 * d2 / vol,
        theta=flat.theta + side * vega * (rate - 0.5 * (1.0 + d1 * d2) / years),
        rho=flat.rho - years * side * vega,
    )


def within(value: float, discount: float) -> float:
    """The value of a claim on 0 to 1 at the expiry."""
    return min(max(value, 0.0), discount)
