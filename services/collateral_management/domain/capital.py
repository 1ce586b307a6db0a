"""House capital in other partitions: a waterfall asks all shards before lenders bear anything."""

from __future__ import annotations

from collections.abc import Mapping

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
) -> None:
    movements.send(
        draft,
        movement_pb2.Movement(
            to_partition=to, kind=kind, account=account, episode=episode, lines=lines or [], wanted=wanted or []
        ),
    )


def ask(draft: Draft, one: journal_pb2.Episode, short: Mapping[int, int]) -> None:
    """Asks every other partition for what an episode is short of, units by asset."""
    others = [each for each in range(draft.context.parameters.partitions) if each != draft.state.partition]
    wanted = [movements.line(one.account, asset, CASH, units) for asset, units in sorted(short.items())]
    draft.put_capital_ask(movement_pb2.CapitalAsk(episode=one.episode, account=one.account, waiting=others))
    for other in others:
        kind = words.MOVEMENT_KIND_CAPITAL_ASK
        _send(draft, other, kind, account=one.account, episode=one.episode, wanted=wanted)


def answer(draft: Draft, one: movement_pb2.Movement) -> None:
    """Gives what capital there is, the kind that loses first before the others; nothing is an answer too."""
    lines = []
    for each in one.wanted:
        left = each.units
        for kind in CAPITAL:
            house = money.house(draft, kind)
            given = min(left, draft.balance(house, each.asset, CASH))
            if given > 0:
                lines.append(movements.line(house, each.asset, CASH, given))
                left -= given
    kind_of = words.MOVEMENT_KIND_CAPITAL_GRANT
    _send(draft, one.from_partition, kind_of, account=one.account, episode=one.episode, lines=lines)


def take_grant(draft: Draft, one: movement_pb2.Movement) -> None:
    """Puts what was given to the same kind of capital here; the last answer lets the waterfall run."""
    away = movements.in_transit(draft, one.from_partition)
    for each in one.lines:
        house = money.house(draft, system_kind(each.account) or SystemAccount.INSURANCE)
        draft.move(debit=away, credit=house, asset=each.asset, kind=each.kind, units=each.units)
    asked = draft.capital_ask(one.episode)
    if asked is None or one.from_partition not in asked.waiting:
        _give_back(draft, list(one.lines))
        return
    waiting = [each for each in asked.waiting if each != one.from_partition]
    answered = movement_pb2.CapitalAsk(
        episode=asked.episode, account=asked.account, waiting=waiting, granted=[*asked.granted, *one.lines]
    )
    draft.put_capital_ask(answered)
    if waiting:
        return
    episode = draft.episode(one.episode)
    if episode is not None and waterfall.is_due(draft, episode):
        waterfall.run(draft, episode)
    finish(draft, answered)


def finish(draft: Draft, asked: movement_pb2.CapitalAsk) -> None:
    """The waterfall has run: what other partitions gave beyond what it took goes back to them."""
    draft.put_capital_ask(movement_pb2.CapitalAsk(episode=asked.episode, account=asked.account, is_over=True))
    _give_back(draft, list(asked.granted))


def _give_back(draft: Draft, granted: list[movements.Line]) -> None:
    """Sends home what is left of grants, the last ones first; `account` names the house account that gave."""
    for each in reversed(granted):
        kind = system_kind(each.account) or SystemAccount.INSURANCE
        house = money.house(draft, kind)
        home = each.account >> 48
        left = min(each.units, draft.balance(house, each.asset, CASH))
        if left > 0 and home != draft.state.partition:
            lines = [movements.line(house, each.asset, CASH, left)]
            giver = system_account(kind, partition=home)
            _send(draft, home, words.MOVEMENT_KIND_CAPITAL, account=giver, lines=lines)
