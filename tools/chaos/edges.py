"""Keys just before and just after they are forgotten: the horizon of unary keys, the window of sessions."""

from __future__ import annotations

import asyncio
from typing import Protocol

from libs.common.units import SECOND_NS
from tools.chaos.house import House
from tools.chaos.lane import Lane
from tools.chaos.model import Sent
from tools.chaos.proof import EXPIRED, window_told
from tools.chaos.trader import CUSTODIAN, USD, Trader

HORIZON_NS = 86_400 * SECOND_NS
_NEAR_NS = 30 * SECOND_NS


class Result(Protocol):
    """Where it is noted what a key was told."""

    @property
    def edges(self) -> dict[str, int]:
        """By case."""


async def horizon(trader: Trader, house: House, result: Result) -> None:
    """Deposits by unary keys around the horizon: what is older is refused and never applied, also on its second way."""
    now_ns = house.now_ns
    young, old = now_ns - HORIZON_NS + 2 * _NEAR_NS, now_ns - HORIZON_NS - _NEAR_NS
    fresh, stale = (_deposit(trader) for _ in range(2))
    fresh.answers.append(await trader.call(fresh, issued_ns=young))
    stale.answers.append(await trader.call(stale, issued_ns=old))
    fresh.answers.append(await trader.call(fresh, issued_ns=young))
    _note(result, "just inside the horizon, sent again", fresh, wanted=fresh.answers[0][0] != EXPIRED)
    _note(result, "beyond the horizon", stale, wanted=stale.answers[-1][0] == EXPIRED)
    house.jump(3 * _NEAR_NS / SECOND_NS)
    await asyncio.sleep(1.0)  # the ledger has read the mark
    fresh.answers.append(await trader.call(fresh, issued_ns=young))
    _note(result, "fallen behind the horizon, sent again", fresh, wanted=fresh.answers[-1][0] == EXPIRED)


def _deposit(trader: Trader) -> Sent:
    key = f"horizon-{trader.name}-{len(trader.calls)}"
    units = 1 + len(trader.calls)
    one = Sent(CUSTODIAN, "confirm_deposit", key=key, account=trader.accounts[0], asset=USD, units=units)
    trader.calls.append(one)
    return one


async def window(lane: Lane, outcomes: int, result: Result) -> None:
    """The last number that a session remembers is repeated, the one before it is expired, when nothing else flows."""
    for back, wanted in ((outcomes, "repeated"), (outcomes + 1, "expired")):
        n = len(lane.sent) - back + 1
        if n < 1:
            continue
        one = lane.sent[n - 1]
        count = len(one.answers)
        for _ in range(5):  # until a stream of its own got its answer
            await lane.resend([n])
            if len(one.answers) > count:
                break
        told = window_told(one.answers)
        _note(result, f"session window, {wanted}", one, wanted=told == wanted)


def _note(result: Result, case: str, one: Sent, *, wanted: bool) -> None:
    result.edges[f"{case}: {'as it must be' if wanted else f'NOT, {one.answers}'}"] += 1
