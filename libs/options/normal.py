"""Exponential, logarithm and normal distribution out of + - * / and sqrt alone.

A C library chooses its exp and log by processor, so two machines may differ in the last bit; these do not (I8).
They are plain Python here; risk runs the same source as machine code (services/risk_evaluation/domain/options).
"""

from __future__ import annotations

import math

import numpy as np

LN2_HIGH = 6.93147180369123816490e-01  # 32 bits, so that k·high is exact
LN2_LOW = 1.90821492927058770002e-10
INVERSE_LN2 = 1.44269504088896338700
SQRT_HALF = 0.70710678118654752440
INVERSE_SQRT_PI = 0.56418958354775628695
INVERSE_SQRT_2PI = 0.39894228040143267794
# fdlibm e_exp.c, P1 .. P5, the lowest power first.
EXP_REST = (1.66666666666666019037e-01, -2.77777777770155933842e-03, 6.61375632143793436117e-05,
            -1.65339022054652515390e-06, 4.13813679705723846039e-08)  # fmt: skip
# Cody (1969), erf near 0, erfc to 4, erfc beyond: numerators and denominators, the highest power first; a denominator
# begins with 1.
TAIL_NEAR, TAIL_NEAR_MAX = (1.85777706184603153e-1, 3.16112374387056560e00, 1.13864154151050156e02,
                            3.77485237685302021e02, 3.20937758913846947e03), 0.46875  # fmt: skip
TAIL_NEAR_BELOW = (2.36012909523441209e01, 2.44024637934444173e02, 1.28261652607737228e03, 2.84423683343917062e03)
TAIL, TAIL_MAX = (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e00, 6.61191906371416295e01,
                  2.98635138197400131e02, 8.81952221241769090e02, 1.71204761263407058e03, 2.05107837782607147e03,
                  1.23033935479799725e03), 4.0  # fmt: skip
TAIL_BELOW = (1.57449261107098347e01, 1.17693950891312499e02, 5.37181101862009858e02, 1.62138957456669019e03,
              3.29079923573345963e03, 4.36261909014324716e03, 3.43936767414372164e03,
              1.23033935480374942e03)  # fmt: skip
TAIL_FAR = (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
            1.60837851487422766e-2, 6.58749161529837803e-4)  # fmt: skip
TAIL_FAR_BELOW = (2.56852019228982242e00, 1.87295284992346725e00, 5.27905102951428412e-1, 6.05183413124413191e-2,
                  2.33520497626869185e-3)  # fmt: skip
_EXP_MIN = -708.0  # below it the result is called 0: subnormals are slow and mean nothing here
_EXP_MAX = 709.0
_POWERS = np.array([math.ldexp(1.0, k) for k in range(-1022, 1024)])  # 2^-1022 .. 2^1023


def exp(x: float) -> float:
    """e^x within one unit in the last place; 0 below -708, infinite above 709.

    Source: fdlibm e_exp.c (Sun 1993): x = k·ln 2 + r, then the rational form of the remainder.
    """
    if x < _EXP_MIN:
        return 0.0
    if x > _EXP_MAX:
        return math.inf
    k = math.floor(x * INVERSE_LN2 + 0.5)
    high = x - k * LN2_HIGH
    low = k * LN2_LOW
    r = high - low
    t = r * r
    p = EXP_REST
    c = r - t * (p[0] + t * (p[1] + t * (p[2] + t * (p[3] + t * p[4]))))
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    return float(y * _POWERS[int(k) + 1022])


def log(x: float) -> float:
    """Natural logarithm of a positive x within one unit in the last place; x = 0 gives -infinity.

    Source: fdlibm e_log.c (Sun 1993).
    """
    if x <= 0.0:
        return -math.inf if x == 0.0 else math.nan
    mantissa, exponent = math.frexp(x)
    if mantissa < SQRT_HALF:
        mantissa = mantissa * 2.0
        exponent = exponent - 1
    f = mantissa - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    even = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    half = 0.5 * f * f
    k = float(exponent)
    return k * LN2_HIGH - ((half - (s * (half + odd + even) + k * LN2_LOW)) - f)


def upper_tail(x: float, density: float) -> float:
    """Probability that a standard normal exceeds x ≥ 0.

    Args:
        density: e^(-x²/2), which the caller has.
    Source: Cody (1969), "Rational Chebyshev approximations for the error function", Math. Comp. 23, as erfc(x/√2)/2.
    """
    y = x * SQRT_HALF
    if y <= TAIL_NEAR_MAX:
        z, n, d = y * y, TAIL_NEAR, TAIL_NEAR_BELOW
        top = (((n[0] * z + n[1]) * z + n[2]) * z + n[3]) * z + n[4]
        below = (((z + d[0]) * z + d[1]) * z + d[2]) * z + d[3]
        return 0.5 - 0.5 * y * (top / below)
    if y <= TAIL_MAX:
        m, d8 = TAIL, TAIL_BELOW
        top = (((m[0] * y + m[1]) * y + m[2]) * y + m[3]) * y + m[4]
        top = (((top * y + m[5]) * y + m[6]) * y + m[7]) * y + m[8]
        below = (((y + d8[0]) * y + d8[1]) * y + d8[2]) * y + d8[3]
        below = (((below * y + d8[4]) * y + d8[5]) * y + d8[6]) * y + d8[7]
        return 0.5 * density * (top / below)
    z, f, d5 = 1.0 / (y * y), TAIL_FAR, TAIL_FAR_BELOW
    top = (((((f[0] * z + f[1]) * z + f[2]) * z + f[3]) * z + f[4]) * z + f[5]) * z
    below = ((((z + d5[0]) * z + d5[1]) * z + d5[2]) * z + d5[3]) * z + d5[4]
    return 0.5 * density * ((INVERSE_SQRT_PI - top / below) / y)


def normal_cdf(x: float) -> float:
    """Probability that a standard normal stays at or below x."""
    tail = upper_tail(abs(x), exp(-0.5 * x * x))
    return 1.0 - tail if x > 0.0 else tail


def normal_density(x: float) -> float:
    """Density of a standard normal at x."""
    return INVERSE_SQRT_2PI * exp(-0.5 * x * x)
