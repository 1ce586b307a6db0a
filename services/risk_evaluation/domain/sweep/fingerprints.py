"""Fingerprints of very many lines at once: what `libs.common.fingerprint` sums, a hash a third of a microsecond.

The hash of an item is BLAKE2b of 16 bytes (RFC 7693) over the item as text, which fits one block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from services.risk_evaluation.domain.arrays import I8, U1
from services.risk_evaluation.domain.sweep.compiled import compiled

U8 = npt.NDArray[np.uint64]
LINE = np.dtype([("asset", "<u4"), ("kind", "u1"), ("balance", "<i8"), ("version", "<u8")])  # AccountItem.lines
_BLOCK_BYTES = 128
_INITIAL = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    dtype=np.uint64,
)  # fmt: skip
_ORDER = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4], [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13], [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11], [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5], [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ],
    dtype=np.int64,
).reshape(-1)  # fmt: skip


@compiled
def _rotated(value: Any, bits: Any) -> Any:
    return (value >> np.uint64(bits)) | (value << np.uint64(64 - bits))


@compiled
def _mixed(a: Any, b: Any, c: Any, d: Any, x: Any, y: Any) -> Any:
    a = a + b + x
    d = _rotated(d ^ a, 32)
    c = c + d
    b = _rotated(b ^ c, 24)
    a = a + b + y
    d = _rotated(d ^ a, 16)
    c = c + d
    b = _rotated(b ^ c, 63)
    return a, b, c, d


@compiled
def _hashed(m: U8, length: int, initial: U8, order: I8) -> Any:
    # One final block, 16 bytes out: the first two words of the state.
    h0, h1 = initial[0] ^ np.uint64(0x01010010), initial[1]
    v0, v1, v2, v3, v4, v5, v6, v7 = h0, h1, initial[2], initial[3], initial[4], initial[5], initial[6], initial[7]
    v8, v9, v10, v11 = initial[0], initial[1], initial[2], initial[3]
    v12, v13 = initial[4] ^ np.uint64(length), initial[5]
    v14, v15 = initial[6] ^ np.uint64(0xFFFFFFFFFFFFFFFF), initial[7]
    for at in range(0, 192, 16):
        v0, v4, v8, v12 = _mixed(v0, v4, v8, v12, m[order[at]], m[order[at + 1]])
        v1, v5, v9, v13 = _mixed(v1, v5, v9, v13, m[order[at + 2]], m[order[at + 3]])
        v2, v6, v10, v14 = _mixed(v2, v6, v10, v14, m[order[at + 4]], m[order[at + 5]])
        v3, v7, v11, v15 = _mixed(v3, v7, v11, v15, m[order[at + 6]], m[order[at + 7]])
        v0, v5, v10, v15 = _mixed(v0, v5, v10, v15, m[order[at + 8]], m[order[at + 9]])
        v1, v6, v11, v12 = _mixed(v1, v6, v11, v12, m[order[at + 10]], m[order[at + 11]])
        v2, v7, v8, v13 = _mixed(v2, v7, v8, v13, m[order[at + 12]], m[order[at + 13]])
        v3, v4, v9, v14 = _mixed(v3, v4, v9, v14, m[order[at + 14]], m[order[at + 15]])
    return h0 ^ v0 ^ v8, h1 ^ v1 ^ v9


@compiled
def _written(text: U1, at: int, value: Any, is_negative: bool, after: int) -> int:
    # A decimal number, then a character where one is to follow.
    if is_negative:
        text[at] = 45
        at += 1
    digits, rest = 1, value // np.uint64(10)
    while rest > np.uint64(0):
        digits, rest = digits + 1, rest // np.uint64(10)
    end, rest = at + digits, value
    for place in range(end - 1, at - 1, -1):
        text[place] = 48 + rest % np.uint64(10)
        rest = rest // np.uint64(10)
    if after:
        text[end] = after
        end += 1
    return end


@compiled
def _swapped(value: Any) -> Any:
    # The digest is read as a big-endian number.
    out = np.uint64(0)
    for _ in range(8):
        out = (out << np.uint64(8)) | (value & np.uint64(255))
        value = value >> np.uint64(8)
    return out


@compiled
def _sum_of(
    account: U8, asset: Any, kind: Any, balance: I8, version: U8, text: U1, words: U8, initial: U8, order: I8, out: U8
) -> None:
    high, low = np.uint64(0), np.uint64(0)
    text[0], text[1] = 49, 124
    for each in range(account.shape[0]):
        end = _written(text, 2, account[each], False, 124)
        end = _written(text, end, np.uint64(asset[each]), False, 124)
        end = _written(text, end, np.uint64(kind[each]), False, 124)
        below = balance[each] < 0
        end = _written(text, end, np.uint64(-balance[each] if below else balance[each]), below, 124)
        end = _written(text, end, version[each], False, 0)
        for spare in range(end, 128):
            text[spare] = 0
        first, second = _hashed(words, end, initial, order)
        more = _swapped(second)
        low = low + more
        high = high + _swapped(first) + np.uint64(low < more)
    out[0], out[1] = high, low


def sum_of_lines(account: U8, lines: npt.NDArray[np.void]) -> int:
    """The sum modulo 2^128 of the hashes of lines, as `ItemSum` counts them.

    Args:
        account: (lines) whose each is. lines: (lines) of `LINE`.
    """
    words, out = np.zeros(_BLOCK_BYTES // 8, dtype=np.uint64), np.zeros(2, dtype=np.uint64)
    asset, kind, balance, version = (
        np.ascontiguousarray(lines[name]) for name in ("asset", "kind", "balance", "version")
    )
    _sum_of(account, asset, kind, balance, version, words.view(np.uint8), words, _INITIAL, _ORDER, out)
    return int(out[0]) << 64 | int(out[1])
