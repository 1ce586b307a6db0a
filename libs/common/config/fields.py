"""The kinds of numbers and names that a parameter file may hold, each with its bound."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


def within(low: str, high: str, *, digits: int, above: bool = False, below: bool = False) -> AfterValidator:
    """Takes decimals from low to high; `above` and `below` leave the ends out."""
    least, most = Decimal(low), Decimal(high)
    words = f"expected a decimal {'above' if above else 'from'} {low} {'to below' if below else 'to'} {high}"

    def check(text: str) -> str:
        number = Decimal(text)
        if not least <= number <= most or (above and number == least) or (below and number == most):
            raise ValueError(f"{words}, was {text}")
        if len(text.partition(".")[2].rstrip("0")) > digits:
            raise ValueError(f"expected at most {digits} digits after the point, was {text}")
        return text

    return AfterValidator(check)


Text = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,18}(\.[0-9]{1,18})?$")]
Amount = Annotated[Text, within("0", "1000000000000000", digits=18, above=True)]  # its scale is its asset's
Strike = Annotated[Text, within("0", "1000000000000000", digits=18)]
Dust = Annotated[Text, within("0", "1000000", digits=18)]
Number = Annotated[Text, within("0", "1000", digits=6)]
SignedNumber = Annotated[Text, within("-1000", "1000", digits=6)]
PositiveNumber = Annotated[Text, within("0", "1000", digits=6, above=True)]
Ratio = Annotated[Text, within("1", "10", digits=6)]
Share = Annotated[Text, within("0", "1", digits=6)]
PositiveShare = Annotated[Text, within("0", "1", digits=6, above=True)]
InnerShare = Annotated[Text, within("0", "1", digits=6, above=True, below=True)]
SignedShare = Annotated[Text, within("-1", "1", digits=6)]
Move = Annotated[Text, within("-1", "100", digits=6)]
Rate = Annotated[Text, within("0", "1000", digits=12)]
SignedRate = Annotated[Text, within("-1", "1", digits=12)]
Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]+(-[A-Z0-9]+)*$", max_length=32)]
Id = Annotated[int, Field(ge=1, le=2047)]
Seconds = Annotated[int, Field(ge=1, le=366 * 86_400)]
PublicKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]  # Ed25519, hex


class Block(BaseModel):
    """A block of a parameter file: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
