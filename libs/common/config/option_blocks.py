"""What a parameter file may say about options: surfaces and margin."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from libs.common import option_parameters as p
from libs.common.config.fields import (
    Block,
    InnerShare,
    Number,
    PositiveNumber,
    PositiveShare,
    Seconds,
    Share,
    SignedNumber,
    SignedRate,
    SignedShare,
    Symbol,
)
from libs.common.ids import AssetId
from libs.common.units import SECOND_NS, Ppm, Rate12, to_scaled

SAMPLES_MAX = 1_000  # of prices that a surface is made from


class SurfaceBlock(Block):
    """How the volatility surface of one underlying follows its prices, and how it is guarded."""

    asset: Symbol
    half_life_s: Seconds
    window_s: Seconds
    sample_every_s: Seconds
    floor: PositiveNumber
    ceiling: PositiveNumber
    long_run: PositiveNumber
    reversion_s: Seconds
    rho: SignedShare
    eta: PositiveNumber
    carry: SignedRate
    rate: SignedRate
    band: PositiveShare
    repair_max: InnerShare

    @model_validator(mode="after")
    def _sane(self) -> SurfaceBlock:
        if not Decimal(self.floor) <= Decimal(self.long_run) <= Decimal(self.ceiling):
            raise ValueError(f"expected long_run of {self.asset} from floor to ceiling, was {self.long_run}")
        if Decimal(self.eta) * (1 + abs(Decimal(self.rho))) > 2:  # Gatheral and Jacquier (2014), remark 4.4
            raise ValueError(f"expected eta x (1 + |rho|) of {self.asset} up to 2, was eta {self.eta}")
        if not self.sample_every_s <= self.window_s <= SAMPLES_MAX * self.sample_every_s:
            raise ValueError(f"expected 1 to {SAMPLES_MAX} samples in window_s, was {self.window_s}")
        return self

    def built(self, asset: AssetId) -> p.SurfaceRule:
        """The plain values."""
        return p.SurfaceRule(
            asset=asset,
            half_life_ns=self.half_life_s * SECOND_NS,
            window_ns=self.window_s * SECOND_NS,
            sample_every_ns=self.sample_every_s * SECOND_NS,
            floor=_ppm(self.floor),
            ceiling=_ppm(self.ceiling),
            long_run=_ppm(self.long_run),
            reversion_ns=self.reversion_s * SECOND_NS,
            rho=_ppm(self.rho),
            eta=_ppm(self.eta),
            carry=Rate12(to_scaled(self.carry, -12)),
            rate=Rate12(to_scaled(self.rate, -12)),
            band=_ppm(self.band),
            repair_max=_ppm(self.repair_max),
        )


class TailBlock(Block):
    """A move beyond the grid."""

    spot: SignedNumber
    share: PositiveShare


class DiscountBlock(Block):
    """A scenario of static discounting."""

    side: Annotated[str, StringConstraints(pattern="^(long|short)$")]
    base: PositiveNumber
    rate_times: Number
    rate_add: Number

    @model_validator(mode="after")
    def _sane(self) -> DiscountBlock:
        low, high = ("0.5", "1") if self.side == "long" else ("1", "2")
        if not Decimal(low) <= Decimal(self.base) <= Decimal(high):
            raise ValueError(f"expected base of {self.side} from {low} to {high}, was {self.base}")
        if Decimal(self.rate_times) > 10 or Decimal(self.rate_add) > 1:
            raise ValueError(f"expected rate_times to 10, rate_add to 1, was {self.rate_times} and {self.rate_add}")
        return self


class OptionRiskBlock(Block):
    """What margin asks of options."""

    vol_grid: Annotated[list[SignedShare], Field(min_length=1, max_length=9)]
    vol_up: Number
    vol_down: Share
    short_power: Share
    long_power: Share
    floor_days: Annotated[int, Field(ge=1, le=30)]
    skew_cap: Share
    skew_width: PositiveNumber
    tails: Annotated[list[TailBlock], Field(max_length=8)]
    naked_short: Share
    basis: Share
    confidence_from: Share
    confidence: Number
    discounts: Annotated[list[DiscountBlock], Field(max_length=4)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _sane(self) -> OptionRiskBlock:
        points = [Decimal(point) for point in self.vol_grid]
        if points != sorted(set(points)) or 0 not in points:
            raise ValueError(f"expected vol_grid sorted with 0, was {self.vol_grid}")
        return self

    def built(self) -> p.OptionRisk:
        """The plain values."""
        return p.OptionRisk(
            vol_grid=tuple(_ppm(point) for point in self.vol_grid),
            vol_up=_ppm(self.vol_up),
            vol_down=_ppm(self.vol_down),
            short_power=_ppm(self.short_power),
            long_power=_ppm(self.long_power),
            floor_days=self.floor_days,
            skew_cap=_ppm(self.skew_cap),
            skew_width=_ppm(self.skew_width),
            tails=tuple(p.Tail(_ppm(one.spot), _ppm(one.share)) for one in self.tails),
            naked_short=_ppm(self.naked_short),
            basis=_ppm(self.basis),
            confidence_from=_ppm(self.confidence_from),
            confidence=_ppm(self.confidence),
            discounts=tuple(
                p.StaticDiscount(one.side == "long", _ppm(one.base), _ppm(one.rate_times), _ppm(one.rate_add))
                for one in self.discounts
            ),
        )


def _ppm(text: str) -> Ppm:
    return Ppm(to_scaled(text, -6))
