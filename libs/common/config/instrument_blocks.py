"""What a parameter file may say about an instrument, and about the legs of a structured product."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from libs.common.config.fields import Amount, Block, Id, Strike, Symbol, Text, within

LEGS_MAX = 16
_DELISTED = ("linear_perp", "inverse_perp", "linear_future", "inverse_future")


class LegBlock(Block):
    """A leg of one lot of a package: a signed amount of an asset in whole coins, or signed lots of an option."""

    asset: Symbol | None = None
    amount: Annotated[Text, within("-1000000000000", "1000000000000", digits=18)] | None = None
    instrument: Symbol | None = None
    lots: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> LegBlock:
        pairs = ((self.asset, self.amount), (self.instrument, self.lots))
        given = [of is not None for of, much in pairs if (of is None) == (much is None)]
        if sorted(given) != [False, True]:
            raise ValueError("expected an asset with its amount, or an instrument with its lots")
        if not (self.lots or Decimal(self.amount or "0")):
            raise ValueError("expected a leg that is not zero")
        return self


class InstrumentBlock(Block):
    """An instrument; `lot` in base assets, or face in quote for inverse perps and futures.

    A coin option's tick and prices are in coins a coin; its strike, like any option's, in the quote. A digital's lot is
    what it pays, in the quote, its price a share of that; a call struck at 0 pays whatever happens. A package's lot
    says for how many coins its price is.
    """

    id: Id
    symbol: Symbol
    kind: Annotated[
        str,
        StringConstraints(
            pattern="^(spot|linear_perp|inverse_perp|linear_future|inverse_future|linear_option|coin_option"
            "|digital_option|package)$"
        ),
    ]
    underlying: Symbol
    quote: Symbol
    lot: Amount
    tick: Amount
    lowest_price: Amount
    highest_price: Amount
    max_order_lots: Annotated[int, Field(ge=1, le=2**40)]
    clearing: Annotated[str, StringConstraints(pattern="^(external|internal)$")] = "external"
    delivery: Annotated[str, StringConstraints(pattern="^(cash|physical)$")] = "cash"
    expiry_s: Annotated[int, Field(ge=1, le=4_102_444_800)] | None = None
    delisted_s: Annotated[int, Field(ge=1, le=4_102_444_800)] | None = None
    option: Annotated[str, StringConstraints(pattern="^(call|put)$")] | None = None
    strike: Strike | None = None
    legs: Annotated[list[LegBlock], Field(max_length=LEGS_MAX)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _ordered(self) -> InstrumentBlock:
        if Decimal(self.lowest_price) > Decimal(self.highest_price):
            raise ValueError(f"expected lowest_price up to {self.highest_price}, was {self.lowest_price}")
        return self

    @model_validator(mode="after")
    def _has_its_terms(self) -> InstrumentBlock:
        is_option, is_package = self.kind.endswith("_option"), self.kind == "package"
        is_dated = is_option or is_package or self.kind.endswith("_future")
        if is_dated != (self.expiry_s is not None):
            raise ValueError(f"expected expiry_s of what ends, and only of that, was {self.expiry_s} of a {self.kind}")
        if is_package != bool(self.legs):
            raise ValueError(f"expected legs of packages, and only of them, was {len(self.legs)} of a {self.kind}")
        if is_option != (self.option is not None) or is_option != (self.strike is not None):
            raise ValueError(f"expected option and strike of options only, was a {self.kind}")
        if self.delivery == "physical" and self.kind not in ("linear_future", "linear_option"):
            raise ValueError(f"expected delivery of linear futures and options only, was a {self.kind}")
        if self.delisted_s is not None and self.kind not in _DELISTED:
            raise ValueError(f"expected delisted_s of perps and futures only, was of a {self.kind}")
        if self.clearing == "internal" and self.kind == "spot":
            raise ValueError("expected an external spot instrument, was internal")
        if is_option and Decimal(self.strike or "0") == 0 and (self.kind, self.option) != ("digital_option", "call"):
            raise ValueError("expected a strike above 0, but of a digital call, was 0")
        if self.kind == "digital_option" and Decimal(self.highest_price) != 1:
            raise ValueError(f"expected highest_price 1 of a digital option, was {self.highest_price}")
        return self
