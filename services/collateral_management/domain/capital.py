"""House capital in other partitions: a waterfall asks all shards before lenders bear anything."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount, system_account, system_kind
from services.collateral_management.domain import money, movements, waterfall
from services.collateral_management.domain.accounts import known_asset, positive
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import CASH

CAPITAL = (SystemAccount.FIRST_LOSS, SystemAccount.INSURANCE, SystemAccount.SECOND_CAPITAL)


def move_capital(draft: Draft, body: movement_pb2.MoveCapital, _: commands_pb2.Principal) -> int | Refused:
    """House account whose capital goes to its shard in another partition, or out of the house."""
    if not any(body.account == money.house(draft, kind) for kind in CAPITAL):
        return Refused(words.REFUSAL_UNKNOWN_ACCOUNT, f"{body.account} holds no house capital")
    refused = known_asset(draft, body.asset) or positive(body.units)
    if body.to_partition != draft.state.partition:
        refused = refused or movements.reachable(draft, body.to_partition)
    if refused:
        return refused
    cash = draft.balance(body.account, body.asset, CASH)
    if cash < body.units:
        return Refused(words.REFUSAL_INSUFFICIENT_BALANCE, f"expected at most {cash} units, was {body.units}")
    if body.to_partition == draft.state.partition:
        custody = money.house(draft, SystemAccount.CUSTODY)
        draft.move(debit=body.account, credit=custody, asset=body.asset, kind=CASH, units=body.units)
    else:
        lines = [movements.line(body.account, body.asset, CASH, body.units)]
        _send(draft, body.to_partition, words.MOVEMENT_KIND_CAPITAL, account=body.account, lines=lines)
    return body.account


def _send(
    draft: Draft,
    to: int,
    kind: words.MovementKind,
    *,
    account: int,
    episode: int = 0,
    lines: list[movements.Line] | None = None,
    wanted: list[movements.Line] | None = None,
    tick: int = 0,
) -> None:
    movements.send(
        draft,
        movement_pb2.Movement(
            to_partition=to,
            kind=kind,
            account=account,
            episode=episode,
            lines=lines or [],
            wanted=wanted or [],
            tick=tick,
        ),
    )


def ask(draft: Draft, one: journal_pb2.Episode) -> None:
    """Asks the other partitions for what an episode is short of, one after another; the last answer lets it run."""
    _go_on(draft, one, movement_pb2.CapitalAsk(episode=one.episode, account=one.account))


def _go_on(draft: Draft, one: journal_pb2.Episode, asked: movement_pb2.CapitalAsk) -> None:
    """Asks the next partition that may have capital, or runs the waterfall.

    Nobody is asked for more than is missing, so no capital is away from another shortfall that needs it. Lenders bear
    a loss when every partition has said that it has no more, and holds its pools until the tick that takes the loss.
    """
    short = waterfall.shortfall(draft, one.account)
    tick = max((waterfall.tick_of_loss(draft, asset) for asset in short), default=0)
    if tick > asked.tick:  # what was answered holds pools for too short a time
        asked.tick = tick
        del asked.drained[:]
    nobody_left = {(each.partition, each.asset) for each in asked.drained}
    for step in range(1, draft.context.parameters.partitions):
        other = (draft.state.partition + step) % draft.context.parameters.partitions
        wanted = [asset for asset in sorted(short) if (other, asset) not in nobody_left]
        if wanted:
            lines = [movements.line(one.account, asset, CASH, short[asset]) for asset in wanted]
            asked.waiting[:], asked.is_over = [other], False
            del asked.asked[:]
            asked.asked.extend(lines)
            draft.put_capital_ask(asked)
            kind = words.MOVEMENT_KIND_CAPITAL_ASK
            _send(draft, other, kind, account=one.account, episode=one.episode, wanted=lines, tick=tick)
            return
    waterfall.run(draft, one)
    finish(draft, asked)


def answer(draft: Draft, one: movement_pb2.Movement) -> None:
    """Gives what capital there is, the kind that loses first before the others; nothing is an answer too.

    What shortfalls of this partition have asked for in vain stays: given away, it would be asked back for ever.
    """
    lines = []
    for each in one.wanted:
        left = min(each.units, _spare(draft, each.asset))
        lacking = each.units - max(0, left)
        for kind in CAPITAL:
            house = money.house(draft, kind)
            given = min(left, draft.balance(house, each.asset, CASH))
            if given > 0:
                lines.append(movements.line(house, each.asset, CASH, given))
                left -= given
        if lacking:
            waterfall.hold_pool(draft, each.asset, one.tick)
    kind_of = words.MOVEMENT_KIND_CAPITAL_GRANT
    _send(draft, one.from_partition, kind_of, account=one.account, episode=one.episode, lines=lines)


def _spare(draft: Draft, asset: int) -> int:
    """Capital of this partition beyond what its own open asks need of it."""
    has = sum(max(0, draft.balance(money.house(draft, kind), asset, CASH)) for kind in CAPITAL)
    return has - sum(max(0, waterfall.lacking(draft, one.account, asset)) for one in draft.capital_asks)


def take_grant(draft: Draft, one: movement_pb2.Movement) -> None:
    """Puts what was given to the same kind of capital here, and asks on, or lets the waterfall run."""
    away = movements.in_transit(draft, one.from_partition)
    given: dict[int, int] = {}
    for each in one.lines:
        house = money.house(draft, system_kind(each.account) or SystemAccount.INSURANCE)
        draft.move(debit=away, credit=house, asset=each.asset, kind=each.kind, units=each.units)
        given[each.asset] = given.get(each.asset, 0) + each.units
    before = draft.capital_ask(one.episode)
    if before is None or before.is_over or one.from_partition not in before.waiting:
        _give_back(draft, list(one.lines))
        return
    asked = movement_pb2.CapitalAsk()
    asked.CopyFrom(before)
    asked.granted.extend(one.lines)
    for each in before.asked:
        if given.get(each.asset, 0) < each.units:
            asked.drained.add(partition=one.from_partition, asset=each.asset)
    episode = draft.episode(one.episode)
    if episode is not None and waterfall.is_due(draft, episode):
        _go_on(draft, episode, asked)
    else:
        finish(draft, asked)


def finish(draft: Draft, asked: movement_pb2.CapitalAsk) -> None:
    """The waterfall has run: what other partitions gave beyond what it took goes back to them."""
    draft.put_capital_ask(movement_pb2.CapitalAsk(episode=asked.episode, account=asked.account, is_over=True))
    _give_back(draft, list(asked.granted))


def _give_back(draft: Draft, granted: list[movements.Line]) -> None:
    """Sends home what is left of grants, the last ones first; `account` names the house account that gave.

    What other shortfalls here need stays: on its way home it would be missed by one that has been told there is none.
    """
    for each in reversed(granted):
        kind = system_kind(each.account) or SystemAccount.INSURANCE
        house = money.house(draft, kind)
        home = each.account >> 48
        left = min(each.units, draft.balance(house, each.asset, CASH), _spare(draft, each.asset))
        if left > 0 and home != draft.state.partition:
            lines = [movements.line(house, each.asset, CASH, left)]
            giver = system_account(kind, partition=home)
            _send(draft, home, words.MOVEMENT_KIND_CAPITAL, account=giver, lines=lines)
