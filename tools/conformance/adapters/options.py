"""options_quantlib_haug and options_black76_derive: single prices and Greeks."""

from __future__ import annotations

from libs.options.black import black76, black_scholes_merton, years_of
from services.risk_evaluation.domain.options.cell import LineKind
from tools.conformance.comparison import Figure, Json, Tolerance, Unsupported, compared, tolerance_of

_KINDS = {"call": LineKind.CALL, "put": LineKind.PUT}
_ACTUAL_360 = 360  # QuantLib's rows run on a clock of whole days in a year of 360
_HAUG = Tolerance(absolute=1e-4)
_BLACK = Tolerance(absolute=1e-12)


def quantlib_haug(case: Json, file: Json) -> list[Figure]:
    """One quantity of one option, or several when `expected` is a mapping."""
    raw = case["inputs"]
    spot = float(raw["spot"])
    got = black_scholes_merton(
        spot=spot,
        strike=float(raw["strike"]),
        years=round(float(raw["years"]) * _ACTUAL_360) / _ACTUAL_360,
        vol=float(raw["vol"]),
        rate=float(raw["rate"]),
        dividend_yield=float(raw.get("dividend_yield", 0.0)),
        kind=_KINDS[str(raw["type"]).lower()],
    )
    figures = {
        "value": got.value,
        "delta": got.delta,
        "gamma": got.gamma,
        "vega": got.vega,
        "theta": got.theta,
        "thetaPerDay": got.theta_per_day,
        "rho": got.rho,
        "dividendRho": got.dividend_rho,
        "elasticity": got.elasticity(spot),
    }
    tolerance = tolerance_of(case.get("tolerance"), tolerance_of(file.get("tolerance"), _HAUG))
    expected = case["expected"]
    return compared(
        expected if isinstance(expected, dict) else {case.get("quantity", "value"): expected}, figures, tolerance
    )


def black76_derive(case: Json, file: Json) -> list[Figure]:
    """Prices and deltas of both kinds, or years alone."""
    raw = case["inputs"]
    years = years_of(float(raw["seconds"]))
    got = {"years": years}
    if "forward" in raw:
        for name, kind in _KINDS.items():
            one = black76(
                forward=float(raw["forward"]),
                strike=float(raw["strike"]),
                years=years,
                vol=float(raw["vol"]),
                discount=float(raw.get("discount", 1.0)),
                kind=kind,
            )
            got |= {name: one.value, f"{name}_delta": one.delta}
    elif set(case["expected"]) != {"years"}:
        raise Unsupported("a price without a forward")
    return compared(case["expected"], got, tolerance_of(case.get("tolerance", file.get("tolerance")), _BLACK))
