"""Parameters of options: how volatility surfaces are made and guarded, and what margin asks beyond spot moves."""

from __future__ import annotations

from dataclasses import dataclass

from libs.common.ids import AssetId
from libs.common.units import Ppm, Rate12


@dataclass(frozen=True, slots=True)
class SurfaceRule:
    """The volatility surface of one underlying; volatilities a year.

    The level at the money comes from prices: the larger of an exponentially weighted and an evenly weighted measure,
    within floor and ceiling, reverting to the long run with tenor. Skew and curvature are those of an SSVI smile.

    Args:
        half_life_ns, window_ns: of the two measures. sample_every_ns: time between two prices that make a return.
        long_run, reversion_ns: where variance goes with tenor, and how fast.
        rho: correlation of price and variance: the skew. eta: curvature; eta·(1 + |rho|) ≤ 2 is free of arbitrage.
        carry: of the forward over spot, a year. rate: that discounts, a year.
        band: widest gap between two sources' volatilities at the money, on the larger one.
        repair_max: how far a repair may move a volatility, as a share of it.
    """

    asset: AssetId
    half_life_ns: int
    window_ns: int
    sample_every_ns: int
    floor: Ppm
    ceiling: Ppm
    long_run: Ppm
    reversion_ns: int
    rho: Ppm
    eta: Ppm
    carry: Rate12
    rate: Rate12
    band: Ppm
    repair_max: Ppm


@dataclass(frozen=True, slots=True)
class Tail:
    """A move beyond the grid, of which a share of the loss counts: `spot` in multiples of the range in logarithms."""

    spot: Ppm
    share: Ppm


@dataclass(frozen=True, slots=True)
class StaticDiscount:
    """A scenario in which only discounting moves: values times base·e^(∓T·(rate·rate_times + rate_add)), T in years.

    Args:
        is_long: what is owned is marked down, sign minus, base up to 1; else what is owed is marked up, sign plus, base
            from 1, by no more than what undoes the discount that is in the value.
        rate_times: multiple of the surface's rate. rate_add: a year.
    """

    is_long: bool
    base: Ppm
    rate_times: Ppm
    rate_add: Ppm


@dataclass(frozen=True, slots=True)
class OptionRisk:
    """What the house margin asks of options (docs/margin.md, Options).

    Args:
        vol_grid: moves of volatility as shares of their range, -1 .. 1, with 0; each with each move of the grid.
        vol_up, vol_down: range of volatility at a tenor of 30 days, as a share of it.
        short_power, long_power: how the range shrinks with tenor below and above 30 days. floor_days: least tenor.
        skew_cap, skew_width: smile that tilts while spot stands: volatilities move by up to the cap, in proportion to
            log-moneyness up to so many times the square root of the tenor in years; a cap of 0: none tilts.
        tails: moves beyond the grid.
        naked_short: add-on of an option sold and not bought at the same strike, share of the index.
        basis: add-on of what is hedged over two expiries, share of notional.
        confidence_from, confidence: add-on of a mark whose half-width of confidence exceeds that share of it: what
            exceeds it, times this.
        discounts: static discounting, a scenario each.
    """

    vol_grid: tuple[Ppm, ...]
    vol_up: Ppm
    vol_down: Ppm
    short_power: Ppm
    long_power: Ppm
    floor_days: int
    skew_cap: Ppm
    skew_width: Ppm
    tails: tuple[Tail, ...]
    naked_short: Ppm
    basis: Ppm
    confidence_from: Ppm
    confidence: Ppm
    discounts: tuple[StaticDiscount, ...] = ()


NO_OPTION_RISK = OptionRisk(
    vol_grid=(Ppm(0),),
    vol_up=Ppm(0),
    vol_down=Ppm(0),
    short_power=Ppm(0),
    long_power=Ppm(0),
    floor_days=1,
    skew_cap=Ppm(0),
    skew_width=Ppm(1),
    tails=(),
    naked_short=Ppm(0),
    basis=Ppm(0),
    confidence_from=Ppm(1_000_000),
    confidence=Ppm(0),
)
