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

EXACT_USD6_MAX = 2**53  # beyond it a float64 no longer holds every 10^-6 USD
# No row may stop the others: what lies beyond is cut against the account, so that the most it can need exceeds the most
# it can have. Nine billion USD of equity still count; more does not.
HAVE_MAX, NEED_MAX = float(EXACT_USD6_MAX - 2), float(EXACT_USD6_MAX - 1)


def floor_usd6(value: F8) -> I8:
    """What an account has, in whole 10^-6 USD, rounded down. Raises InvariantBroken (I8) for what is no number."""
    return _whole(np.clip(np.floor(value), -HAVE_MAX, HAVE_MAX))


def ceil_usd6(value: F8) -> I8:
    """What an account needs, in whole 10^-6 USD, rounded up. Raises InvariantBroken (I8) for what is no number."""
    return _whole(np.clip(np.ceil(value), -NEED_MAX, NEED_MAX))


def nearest_usd6(value: F8) -> I8:
    """An explanation, in whole 10^-6 USD; nothing is decided on it. Raises InvariantBroken (I8) as above."""
    return _whole(np.clip(np.rint(value), -NEED_MAX, NEED_MAX))


def _whole(value: F8) -> I8:
    invariant(not bool(np.any(np.isnan(value))), "I8", "expected a number of 10^-6 USD")
    return value.astype(np.int64)
