"""Machine code and plain Python of one formula give the same bits: what the source of marks says, risk finds again."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from libs.options import black, normal
from services.risk_evaluation.domain.options import cell as compiled
from services.risk_evaluation.domain.options import normal as machine

positive = st.floats(min_value=1e-6, max_value=1e9)


def bits(*values: float) -> bytes:
    return struct.pack(f"{len(values)}d", *values)


@given(x=st.floats(min_value=-800.0, max_value=800.0))
def test_exponentials_and_normals_have_the_same_bits(x: float) -> None:
    assert bits(normal.exp(x), normal.normal_cdf(x)) == bits(machine.exp(x), machine.normal_cdf(x))


@given(x=st.floats(min_value=1e-300, max_value=1e300))
def test_logarithms_have_the_same_bits(x: float) -> None:
    assert bits(normal.log(x)) == bits(machine.log(x))


@given(
    kind=st.integers(0, 5), forward=positive, strike=positive,
    years=st.floats(min_value=0.0, max_value=5.0), vol=st.floats(min_value=0.0, max_value=6.0),
    rate=st.floats(min_value=-0.2, max_value=0.2),
)  # fmt: skip
def test_values_and_greeks_have_the_same_bits(
    kind: int, forward: float, strike: float, years: float, vol: float, rate: float
) -> None:
    given_ = (kind, forward, strike, normal.log(forward / strike), years, vol, normal.exp(-rate * years), rate)
    assert bits(*black.cell(*given_)) == bits(*compiled.cell(*given_))
