"""portfolio_margin_derive_pm2: whole sub-accounts, every scenario and every contingency."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.risk_evaluation.domain.options.cell import LineKind
from services.risk_evaluation.domain.options.grid import TenorShock
from services.risk_evaluation.domain.venue_models import derive_pm2
from services.risk_evaluation.domain.venue_models.derive_book import Book, Expiries
from services.risk_evaluation.domain.venue_models.parameters import read
from tools.conformance.comparison import Figure, Json, Tolerance, Unsupported, tolerance_of

_MOVES = {"None": 0, "Up": 1, "Down": 2, "LINEAR": 3, "ABS": 4}
_DIRECTIONS = {name.upper(): move for name, move in _MOVES.items()}
_KIND_OF_SCENARIO = {"regular": 0, "tail": 1, "skew": 2}
_REGULAR_MOVE_MAX = 0.25  # the widest undamped move of the published sets is 18 %; tails begin at 33 %
_DEFAULT = Tolerance(relative=1e-8, small=1e-10, absolute_small=1e-8)


def portfolio_margin(case: Json, file: Json) -> list[Figure]:
    """The figures of one portfolio."""
    sets = file.get("parameter_sets", {})
    raw = case["params"] if not isinstance(case["params"], str) else sets[case["params"]]
    parameters = read(derive_pm2.Parameters, _parameters(raw), "params")
    book = _book(case["inputs"])
    tolerance = tolerance_of(case.get("tolerance", file.get("tolerance")), _DEFAULT)
    got = _figures(parameters, book, derive_pm2.assess(parameters, book))
    figures = []
    for name, expected in case["expected"].items():
        if name == "worst_all_scenarios":
            figures.append(Figure(name, _names_the_worst(str(expected), got), True))
        elif name in got:
            figures.append(Figure(name, got[name], expected, tolerance))
        else:
            raise Unsupported(f"expected figure {name!r} is not known")
    return figures


def _names_the_worst(kind: str, got: dict[str, Any]) -> bool:
    # Several kinds may share the worst loss; whichever is named must have it.
    worst = {
        "regular": got["worst_reg_loss"],
        "tail": got["worst_tail_loss"],
        "skew": got["worst_skew_loss"],
        "fwd_contingency": got["ForwardContingency"],
    }
    least = min(worst.values())
    return kind in worst and bool(worst[kind] <= least + 1e-8 * abs(least) + 1e-8)


def _figures(parameters: derive_pm2.Parameters, book: Book, parts: Any) -> dict[str, Any]:
    profits = derive_pm2.scenario_profits(parameters, book)
    shock = parameters.vol
    up, down = TenorShock(
        shock.range_up, shock.range_down, shock.short_power, shock.long_power, shock.floor_days
    ).factors(book.option_years())
    marks = book.expiry_marks()
    positive, negative = derive_pm2.static_discounts(parameters, book.expiries)
    kinds = [_kind(one) for one in parameters.scenarios]
    collateral = float(np.sum(book.collateral_values()))

    def worst(kind: str) -> float:
        return min((float(p) for p, k in zip(profits, kinds, strict=True) if k == _KIND_OF_SCENARIO[kind]), default=0.0)

    return {
        "IM": parts["initial"],
        "MM": parts["maintenance"],
        "PortfolioMTM": parts["mark"],
        "OptionMTM": float(np.sum(marks)),
        "CollateralMTM": collateral,
        "PerpMTM": book.perp_pnl,
        "ForwardContingency": parts["basis"],
        "MMPerpCont": -parts["perp_maintenance"],
        "IMPerpCont": -parts["perp_initial"],
        "MMBaseCont": -parts["collateral_maintenance"],
        "IMBaseCont": -parts["collateral_initial"],
        "MMOptionCont": -parts["option_maintenance"],
        "IMOptionCont": -parts["option_initial"],
        "OracleCont": -parts["oracle"],
        "discount_factors": [[float(p), float(n)] for p, n in zip(positive, negative, strict=True)],
        "OptionMTMPerExpiry": [float(one) for one in marks],
        "OptionMTMPerExpiryDiscounted": [
            float(m * (p if m > 0.0 else n)) for m, p, n in zip(marks, positive, negative, strict=True)
        ],
        "worst_reg_loss": worst("regular"),
        "worst_tail_loss": worst("tail"),
        "worst_skew_loss": worst("skew"),
        "VolShockUpMultiplier": [float(one) for one in up],
        "VolShockDownMultiplier": [float(one) for one in down],
        "scenario_pnls": [float(one) for one in profits],
    }


def _kind(one: derive_pm2.Scenario) -> int:
    if one.vol in (derive_pm2.VolMove.LINEAR, derive_pm2.VolMove.ABS):
        return _KIND_OF_SCENARIO["skew"]
    far = one.damping != 1.0 or abs(one.spot - 1.0) > _REGULAR_MOVE_MAX
    return _KIND_OF_SCENARIO["tail" if far else "regular"]


def _parameters(raw: Json) -> Json:
    margin, other, basis = raw["Margin"], raw["OtherContingency"], raw["BasisContingency"]
    skew, vol = raw["SkewShock"], raw["VolShock"]
    return {
        "scenarios": [
            {
                "spot": one["SpotShock"],
                "vol": _DIRECTIONS[one["VolShockDirection"].upper()],
                "damping": one["DampeningFactor"],
            }
            for one in raw["Scenarios"]
        ],
        "vol": {
            "range_up": vol["VOLRANGEUP"],
            "range_down": vol["VOLRANGEDOWN"],
            "short_power": vol["SHORTTERMPOWER"],
            "long_power": vol["LONGTERMPOWER"],
            "floor_days": vol["DTE_FLOOR"],
            "vol_floor": vol["MIN_VOL_EVAL_SHOCKED"],
        },
        "skew": {
            "linear_base_cap": skew["LINEAR_SCALE_CAP"],
            "linear_cap_slope": skew["LINEAR_CBASE"],
            "abs_base_cap": skew["ABS_SCALE_CAP"],
            "abs_cap_slope": skew["ABS_CBASE"],
            "k_star_min": skew["MIN_K_STAR"],
            "width": skew["MIN_WIDTH_SCALE"],
            "vol_base": skew["VOL_PARAM_STATIC"],
            "vol_slope": skew["VOL_PARAM_SCALE"],
        },
        "discount": {
            "base_positive": margin["BASE_STATIC_DISCOUNT"],
            "base_negative": margin["BASE_STATIC_DISCOUNT_NEG"],
            "rate_times_long": margin["LONG_RATE_MULTSCALE"],
            "rate_add_long": margin["LONG_RATE_ADDSCALE"],
            "rate_times_short": margin["SHORT_RATE_MULTSCALE"],
            "rate_add_short": margin["SHORT_RATE_ADDSCALE"],
            "initial_loss": margin["IM_LOSS_FACTOR"],
            "maintenance_loss": margin["MM_LOSS_FACTOR"],
        },
        "contingencies": {
            "basis_spot_up": basis["SCENARIO_SPOT_UP"],
            "basis_spot_down": basis["SCENARIO_SPOT_DOWN"],
            "basis_add": basis["BASIS_CONT_ADD_FACTOR"],
            "basis_times": basis["BASIS_CONT_MULT_FACTOR"],
            "perp_maintenance": other["MM_PERP_PERCENT"],
            "perp_initial": other["IM_PERP_PERCENT"],
            "option_maintenance": other["MM_OPTION_PERCENT"],
            "option_initial": other["IM_OPTION_PERCENT"],
            "confidence_threshold": other["CONF_THRESHOLD"],
            "confidence_margin": other["CONF_MARGIN"],
            "peg_threshold": other["PEG_LOSS_THRESHOLD"],
            "peg_factor": other["PEG_LOSS_FACTOR"],
        },
    }


def _column(rows: list[Json], name: str) -> Any:
    return np.array([float(one[name]) for one in rows])


def _book(raw: Json) -> Book:
    options, feeds, held = list(raw["Options"]), list(raw["OptionFeeds"]), list(raw["Collaterals"])
    row = {int(one["FeedExpiry"]): at for at, one in enumerate(feeds)}
    unknown = sorted({int(one["Expiry"]) for one in options} - set(row))
    if unknown:
        raise Unsupported(f"options expire at {unknown}, which has no feed")
    sure = np.array(
        [min(float(one[f"{name}s" if name == "OptionVolConfidence" else name]) for name in _FEEDS) for one in feeds]
    )
    return Book(
        spot=float(raw["SpotPrice"]),
        spot_confidence=float(raw["SpotConfidence"]),
        stable_price=float(raw["StablePrice"]),
        cash=float(raw["Cash"]),
        perps=float(raw["NumPerps"]),
        perp_price=float(raw["PerpPrice"]),
        perp_confidence=float(raw["PerpConfidence"]),
        perp_pnl=float(raw["UnrealisedPerpPNL"]),
        perp_funding=float(raw["UnrealisedFunding"]),
        expiries=Expiries(
            seconds=np.maximum(_column(feeds, "FeedExpiry"), 0.0),
            forwards=_column(feeds, "Forward"),
            rates=np.maximum(_column(feeds, "Rate"), 0.0),
            confidences=sure,
        ),
        at=np.array([row[int(one["Expiry"])] for one in options], dtype=np.int64),
        kinds=np.array([int(LineKind.CALL if one["IsCall"] else LineKind.PUT) for one in options], dtype=np.int64),
        strikes=_column(options, "Strike"),
        vols=_column(options, "MarkVol"),
        amounts=_column(options, "Amount"),
        collateral_amounts=_column(held, "Amount"),
        collateral_prices=_column(held, "Price"),
        collateral_confidences=_column(held, "Confidence"),
        collateral_thresholds=_column(held, "ConfidenceFactor"),
        cancelling=np.array([1.0 if one["IsRiskCancelling"] else 0.0 for one in held]),
        haircut_maintenance=_column(held, "MMHaircut"),
        haircut_initial=_column(held, "IMHaircut"),
    )


_FEEDS = ("ForwardConfidence", "RateConfidence", "OptionVolConfidence")
