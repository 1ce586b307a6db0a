"""How a whole is shared by weights: pro rata, to the last unit."""

from __future__ import annotations

from collections.abc import Mapping


def shares(whole: int, weights: Mapping[int, int], *, caps: Mapping[int, int]) -> dict[int, int]:
    """Parts of a whole by account: pro rata, largest remainder first, none above its cap.

    What caps keep out is shared again among the others, until it is placed or every cap is reached.
    """
    parts = dict.fromkeys(weights, 0)
    left, free = whole, {account: weight for account, weight in weights.items() if weight > 0 and caps[account] > 0}
    while left > 0 and free:
        total = sum(free.values())
        exact = {account: divmod(left * weight, total) for account, weight in free.items()}
        wanted = {account: floor for account, (floor, _) in exact.items()}
        order = sorted(free, key=lambda account: (-exact[account][1], account))
        for account in order[: left - sum(wanted.values())]:
            wanted[account] += 1
        for account, part in wanted.items():
            taken = min(part, caps[account] - parts[account])
            parts[account] += taken
            left -= taken
        free = {account: weight for account, weight in free.items() if parts[account] < caps[account]}
    return {account: part for account, part in parts.items() if part}
