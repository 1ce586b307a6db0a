"""A position closed against those who hold the opposite in any partition, best ranked first (I11).

Every partition is asked and answers with those who hold the opposite, ranked by the one rule; nothing is set aside.
When all have answered, the home partition ranks the answers and its own holders together and chooses. Lots for others
leave the account at the price, through the in-transit account, and who was chosen there closes what he still has of
them. What nobody can take any more comes back, and the account has it again at the same price. So lots are never in two
places, nobody gives up more than he holds, and the ranking follows from answers that stand in the journals.
"""

from __future__ import annotations

from collections.abc import Iterable

from ballast.events.v1 import commands_pb2, deleveraging_pb2, journal_pb2, lifecycle_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.deleveraging import Candidate, chosen, ranked
from libs.common.ids import SystemAccount, partition_of
from libs.common.parameters import Instrument
from services.collateral_management.domain import money, movements, takeovers
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import LOTS
from services.collateral_management.domain.trades import package, trade

Deleveraging = deleveraging_pb2.Deleveraging
Ranked = deleveraging_pb2.RankedPosition


def deleverage_across(
    draft: Draft, body: deleveraging_pb2.DeleverageAcross, _: commands_pb2.Principal
) -> int | Refused:
    """Id of the episode whose account closes lots against holders of the opposite in any partition; a step of it."""
    found = takeovers.deleveraged(draft, body)
    if isinstance(found, Refused):
        return found
    one, instrument = found
    held = draft.balance(body.account, instrument.id, LOTS)
    if not 0 < body.lots <= abs(held):
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected 1 to {abs(held)} lots, was {body.lots}")
    refused = takeovers.beyond_deficit(instrument, body, signed=body.lots if held > 0 else -body.lots)
    if refused:
        return refused
    others = [each for each in range(draft.context.parameters.partitions) if each != draft.state.partition]
    if not others:
        return Refused(words.REFUSAL_UNKNOWN_PARTITION, "expected other partitions, there is one")
    asked = Deleveraging(
        episode=one.episode, account=body.account, instrument=body.instrument, lots=body.lots, is_long=held > 0,
        price=body.price, mark_price=body.mark_price, deficit_units=body.deficit_units, waiting=others,
    )  # fmt: skip
    _put(draft, asked)
    question = _copy(asked)
    question.ClearField("waiting")
    for other in others:
        _send(draft, other, words.MOVEMENT_KIND_DELEVERAGING_ASK, question)
    takeovers.stepped(draft, one, body.step)
    return one.episode


def answer(draft: Draft, one: movement_pb2.Movement) -> None:
    """Tells who here holds the opposite; nobody is an answer too, and nothing is set aside."""
    asked = one.deleveraging
    offer = Deleveraging(episode=asked.episode, account=asked.account)
    instrument = draft.context.parameters.instrument(asked.instrument)
    if instrument is not None and instrument.id not in draft.state.lifecycle.listings:
        found = takeovers.opposite(draft, instrument, is_long=asked.is_long, mark_price=asked.mark_price)
        offer.ranked.extend(_first(found, lots=asked.lots))
    _send(draft, one.from_partition, words.MOVEMENT_KIND_DELEVERAGING_OFFER, offer)


def take_offer(draft: Draft, one: movement_pb2.Movement) -> None:
    """Keeps those who rank first so far; with the last answer lots are closed here and leave for the others."""
    known = _waits_for(draft, one)
    if known is None or known.executed_at_ns:
        return
    heard = _copy(known)
    heard.waiting.remove(one.from_partition)
    del heard.ranked[:]
    heard.ranked.extend(_first([*_candidates(known.ranked), *_candidates(one.deleveraging.ranked)], lots=known.lots))
    if heard.waiting:
        _put(draft, heard)
    else:
        _take(draft, heard)


def _take(draft: Draft, asked: Deleveraging) -> None:
    """Ranks everybody together and chooses; a position that has become smaller meanwhile needs fewer lots."""
    instrument = draft.context.parameters.instrument(asked.instrument)
    held = draft.balance(asked.account, asked.instrument, LOTS)
    if instrument is None or not held or (held > 0) != asked.is_long:
        _end(draft, asked)
        return
    here = takeovers.opposite(draft, instrument, is_long=asked.is_long, mark_price=asked.mark_price)
    lots = min(asked.lots, abs(held))
    parts = dict(chosen([*_candidates(asked.ranked), *here], lots=lots)[: takeovers.COUNTERPARTIES_MAX])
    by_account = {each.account: each for each in [*_candidates(asked.ranked), *here]}
    taken = _copy(asked)
    taken.executed_at_ns = draft.context.now_ns
    funding = draft.state.funding_at(instrument.id, draft.context.now_ns)
    taken.cumulative_funding = funding.to_bytes(16, "big", signed=True)
    del taken.ranked[:]
    taken.ranked.extend(_position(by_account[account], lots=part) for account, part in parts.items())
    there: dict[int, list[Ranked]] = {}
    for each in taken.ranked:
        home = partition_of(each.account)
        if home == draft.state.partition:
            taken.taken_lots += each.lots
            for who in (taken.account, each.account):
                _trade(draft, taken, instrument, who, lots=each.lots, funding=funding)
        else:
            there.setdefault(home, []).append(each)
    taken.waiting.extend(sorted(there))
    for other, wanted in sorted(there.items()):
        _send_lots(draft, taken, instrument, other, wanted, funding=funding)
    if there:
        _put(draft, taken)
    else:
        _end(draft, taken)


def _send_lots(
    draft: Draft, taken: Deleveraging, instrument: Instrument, other: int, wanted: list[Ranked], *, funding: int
) -> None:
    lots = sum(each.lots for each in wanted)
    _trade(draft, taken, instrument, taken.account, lots=lots, funding=funding)
    part = _copy(taken)
    part.ClearField("waiting")
    part.lots = lots
    del part.ranked[:]
    part.ranked.extend(wanted)
    lines = package(draft, instrument, sold=lots if taken.is_long else -lots, price=taken.price, funding=funding)
    _send(draft, other, words.MOVEMENT_KIND_DELEVERAGING_TAKE, part, lines=lines)


def take_lots(draft: Draft, one: movement_pb2.Movement) -> None:
    """Closes what was chosen here, as far as it is still held; the rest goes back."""
    part = one.deleveraging
    instrument = draft.context.parameters.instrument(part.instrument)
    if instrument is None:
        raise LookupError(f"expected an instrument, was {part.instrument}")
    movements.land(draft, one, money.house(draft, SystemAccount.CONTRA, instrument.id))
    funding = int.from_bytes(part.cumulative_funding, "big", signed=True)
    done = Deleveraging(episode=part.episode, account=part.account)
    for each in part.ranked:
        held = draft.balance(each.account, instrument.id, LOTS)
        attributes = draft.account(each.account)
        if not held or (held > 0) == part.is_long or attributes is None or attributes.episode:
            continue
        lots = min(each.lots, abs(held))
        _trade(draft, part, instrument, each.account, lots=lots, funding=funding)
        done.taken_lots += lots
    left = part.lots - done.taken_lots
    sold = left if part.is_long else -left
    lines = package(draft, instrument, sold=sold, price=part.price, funding=funding) if left else []
    _send(draft, one.from_partition, words.MOVEMENT_KIND_DELEVERAGING_DONE, done, lines=lines)


def take_done(draft: Draft, one: movement_pb2.Movement) -> None:
    """Gives back to the account what nobody there could take; the last partition ends the step."""
    known = _waits_for(draft, one)
    instrument = draft.context.parameters.instrument(known.instrument) if known is not None else None
    if known is None or instrument is None or not known.executed_at_ns:
        movements.land(draft, one, money.house(draft, SystemAccount.SUSPENSE))
        return
    movements.land(draft, one, money.house(draft, SystemAccount.CONTRA, instrument.id))
    funding = int.from_bytes(known.cumulative_funding, "big", signed=True)
    sent = sum(each.lots for each in known.ranked if partition_of(each.account) == one.from_partition)
    left = sent - one.deleveraging.taken_lots
    if left:
        _trade(draft, known, instrument, known.account, lots=left, funding=funding, is_back=True)
    heard = _copy(known)
    heard.waiting.remove(one.from_partition)
    heard.taken_lots += one.deleveraging.taken_lots
    if heard.waiting:
        _put(draft, heard)
    else:
        _end(draft, heard)


def _end(draft: Draft, one: Deleveraging) -> None:
    """The step is over: what was given up is told, and the next decision needs a margin after it."""
    instrument = draft.context.parameters.instrument(one.instrument)
    if instrument is not None and one.taken_lots:
        signed = one.taken_lots if one.is_long else -one.taken_lots
        units = takeovers.given_up(instrument, signed=signed, price=one.price, mark_price=one.mark_price)
        takeovers.note_given_up(draft, one.episode, one.account, asset=instrument.settlement, units=units)
    ended = _copy(one)
    ended.is_over = True
    _put(draft, ended)
    episode = draft.episode(one.episode)
    if episode is not None:
        takeovers.stepped(draft, episode, episode.step)


def _trade(
    draft: Draft,
    one: Deleveraging,
    instrument: Instrument,
    account: int,
    *,
    lots: int,
    funding: int,
    is_back: bool = False,
) -> None:
    """The account sells when it is long, the others buy from it; what comes back it buys again."""
    sells = (one.is_long == (account == one.account)) != is_back
    traded = -lots if sells else lots
    trade(draft, account, instrument, traded=traded, price=one.price, at_ns=draft.context.now_ns, funding=funding)
    cause = kinds.CLOSING_CAUSE_GIVEN_BACK if is_back else kinds.CLOSING_CAUSE_DELEVERAGED
    closed = lifecycle_pb2.PositionClosed(
        account=account, instrument=instrument.id, lots=-traded, price=one.price, cause=cause, episode=one.episode
    )
    draft.note(journal_pb2.Effect(position_closed=closed))


def _waits_for(draft: Draft, one: movement_pb2.Movement) -> Deleveraging | None:
    known = draft.state.lifecycle.deleveragings.get(one.deleveraging.episode)
    return known if known is not None and one.from_partition in known.waiting else None


def _first(candidates: Iterable[Candidate], *, lots: int) -> list[Ranked]:
    """Those who rank first, enough for so many lots: nobody behind them can be chosen."""
    found: list[Ranked] = []
    for one in ranked(candidates)[: takeovers.COUNTERPARTIES_MAX]:
        if lots <= 0:
            break
        found.append(_position(one, lots=one.lots))
        lots -= one.lots
    return found


def _position(one: Candidate, *, lots: int) -> Ranked:
    return Ranked(account=one.account, lots=lots, profit=one.profit, notional=one.notional, cash=one.cash)


def _candidates(positions: Iterable[Ranked]) -> list[Candidate]:
    return [
        Candidate(account=one.account, lots=one.lots, profit=one.profit, notional=one.notional, cash=one.cash)
        for one in positions
    ]


def _copy(one: Deleveraging) -> Deleveraging:
    copy = Deleveraging()
    copy.CopyFrom(one)
    return copy


def _put(draft: Draft, one: Deleveraging) -> None:
    draft.note(journal_pb2.Effect(deleveraging=one))


def _send(
    draft: Draft,
    to: int,
    kind: words.MovementKind,
    part: Deleveraging,
    *,
    lines: list[movements.Line] | None = None,
) -> None:
    one = movement_pb2.Movement(
        to_partition=to, kind=kind, account=part.account, episode=part.episode, lines=lines or [], deleveraging=part
    )
    movements.send(draft, one)
