"""Names of the array types, and the rounding of floats to published integers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from libs.common.errors import invariant

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int64]
U1 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

EXACT_USD6_MAX = 2**53  # beyond it a float64 no longer holds every 10^-6 USD: stop rather than drift


def floor_usd6(value: F8) -> I8:
    """What an account has, in whole 10^-6 USD, rounded down. Raises InvariantBroken (I8) where floats would drift."""
    return _whole(np.floor(value))


def ceil_usd6(value: F8) -> I8:
    """What an account needs, in whole 10^-6 USD, rounded up. Raises InvariantBroken (I8) where floats would drift."""
    return _whole(np.ceil(value))


def nearest_usd6(value: F8) -> I8:
    """An explanation, in whole 10^-6 USD; nothing is decided on it. Raises InvariantBroken (I8) as above."""
    return _whole(np.rint(value))


def _whole(value: F8) -> I8:
    invariant(bool(np.all(np.abs(value) < EXACT_USD6_MAX)), "I8", "expected |value| below 2^53 in 10^-6 USD")
    return value.astype(np.int64)
