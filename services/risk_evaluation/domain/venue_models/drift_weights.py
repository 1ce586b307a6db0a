"""Drift's weights and ratios by size: integers in 10^-4, every division rounded down as theirs."""

from __future__ import annotations

from enum import IntEnum

from libs.common.units import mul_div_down
from services.risk_evaluation.domain.venue_models.arithmetic import root

ONE = 10_000
IMF_ONE = 1_000_000
_ROOT_ONE = 100_000  # the root of a size in 10^-10
SIZE_DECIMALS = 9


class MarginType(IntEnum):
    """Which test; a fill is judged half way between the other two."""

    INITIAL = 1
    FILL = 2
    MAINTENANCE = 3


def by_type(initial: int, maintenance: int, kind: MarginType) -> int:
    """The figure of that test."""
    if kind is MarginType.FILL:
        return mul_div_down(initial + maintenance, 1, 2)
    return initial if kind is MarginType.INITIAL else maintenance


def _size(amount: int, decimals: int) -> int:
    shift = SIZE_DECIMALS - decimals
    return amount * 10**shift if shift >= 0 else mul_div_down(amount, 1, 10**-shift)


def size_weight(*, size: int, imf_factor: int, weight: int) -> int:
    """Asset weight at a size in 10^-9: the least of itself and 1.1/(1 + imf·sqrt(size)).

    Source: formulas.md D2; drift-labs/protocol-v2 math/margin.rs.
    """
    if imf_factor == 0:
        return weight
    stretch = mul_div_down(root(size * 10 + 1), imf_factor, _ROOT_ONE)
    return min(weight, mul_div_down(IMF_ONE * 11, ONE, 10 * (IMF_ONE + stretch)))


def size_premium(*, size: int, imf_factor: int, weight: int) -> int:
    """Liability weight or margin ratio at a size in 10^-9: the greater of itself and 0.8·itself + imf·sqrt(size)."""
    if imf_factor == 0:
        return weight
    stretch = mul_div_down(root(size * 10 + 1), imf_factor, _ROOT_ONE)
    return max(weight, weight - mul_div_down(weight, 1, 5) + mul_div_down(stretch, ONE, IMF_ONE))


def scaled_initial_weight(*, weight: int, all_deposits_value: int, scale_start: int) -> int:
    """Initial asset weight once all deposits of the coin are worth more than the start, 10^-6 USD."""
    if scale_start == 0 or all_deposits_value <= scale_start:
        return weight
    return mul_div_down(weight, scale_start, all_deposits_value)


def spot_asset_weight(
    *,
    size: int,
    decimals: int,
    imf_factor: int,
    initial: int,
    maintenance: int,
    kind: MarginType,
    all_deposits_value: int = 0,
    scale_start: int = 0,
) -> int:
    """Asset weight of so many units of a coin."""
    scaled = scaled_initial_weight(weight=initial, all_deposits_value=all_deposits_value, scale_start=scale_start)
    return size_weight(size=_size(size, decimals), imf_factor=imf_factor, weight=by_type(scaled, maintenance, kind))


def spot_liability_weight(*, size: int, decimals: int, imf_factor: int, weight: int) -> int:
    """Liability weight of so many units of a coin."""
    return size_premium(size=_size(size, decimals), imf_factor=imf_factor, weight=weight)


def margin_ratio(*, size: int, imf_factor: int, ratio: int) -> int:
    """Margin ratio of a perp position of that size in 10^-9."""
    return size_premium(size=size, imf_factor=imf_factor, weight=ratio)


def high_leverage_initial_ratio(*, size: int, imf_factor: int, high: int, normal: int) -> int:
    """Initial margin ratio of an account in high leverage mode: from `high` at no size to `normal` and beyond.

    It covers the way to the normal ratio as the normal size premium covers its own first fifth.
    """
    own = size_premium(size=size, imf_factor=imf_factor, weight=high)
    if imf_factor == 0 or normal < 5:
        return own
    stretch = mul_div_down(root(size * 10 + 1), imf_factor, _ROOT_ONE)
    sized = normal - mul_div_down(normal, 1, 5) + mul_div_down(stretch, ONE, IMF_ONE)
    if sized >= normal:
        return max(sized, own)
    missing = min(IMF_ONE, mul_div_down(normal - sized, IMF_ONE, mul_div_down(normal, 1, 5)))
    return max(own, high + mul_div_down(max(1, normal - high), IMF_ONE - missing, IMF_ONE))
