"""Positions that no order can close: a liquidity provider takes them over, or holders of the opposite give theirs up.

Both are steps of an episode. Who is chosen is worked out by liquidation_execution and checked here.
"""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, deleveraging_pb2, journal_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.deleveraging import Candidate, candidate, chosen
from libs.common.ids import partition_of
from libs.common.parameters import Clearing, Instrument
from services.collateral_management.domain import episodes, guards, money, positions
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import CASH, LOTS, RESERVED, VARIATION
from services.collateral_management.domain.trades import trade

PROVIDER = "liquidity_provider"
COUNTERPARTIES_MAX = 2_000


def take_over_position(draft: Draft, body: lifecycle_pb2.TakeOverPosition, _: commands_pb2.Principal) -> int | Refused:
    """Id of the episode whose account hands lots to a liquidity provider at a price; a step of it.

    The provider's account must carry them: its whole position in the instrument may be worth `taker_leverage_max` times
    what it has of the settlement asset.
    """
    found = _closing(draft, body)
    if isinstance(found, Refused):
        return found
    one, instrument = found
    held = draft.balance(body.account, instrument.id, LOTS)
    if not 0 < body.lots <= abs(held):
        return Refused(words.REFUSAL_NOT_REDUCING, f"expected 1 to {abs(held)} lots, was {body.lots}")
    refused = _may_take(draft, body, instrument, lots=body.lots if held > 0 else -body.lots)
    if refused:
        return refused
    _hand_over(draft, body, instrument, account=body.account, taker=body.taker, lots=body.lots)
    stepped(draft, one, body.step)
    return one.episode


def deleverage(draft: Draft, body: lifecycle_pb2.Deleverage, _: commands_pb2.Principal) -> int | Refused:
    """Id of the episode whose account closes lots against holders of the opposite, in the order of their rank (I11).

    What they give up at that price against the mark must not exceed the deficit by more than one lot.
    """
    found = deleveraged(draft, body)
    if isinstance(found, Refused):
        return found
    one, instrument = found
    held = draft.balance(body.account, instrument.id, LOTS)
    wanted = [(each.account, each.lots) for each in body.counterparties]
    lots = sum(part for _, part in wanted)
    if not 0 < len(wanted) <= COUNTERPARTIES_MAX or not 0 < lots <= abs(held) or min(part for _, part in wanted) <= 0:
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected 1 to {abs(held)} lots in all, was {lots}")
    candidates = opposite(draft, instrument, is_long=held > 0, mark_price=body.mark_price)
    holders = {each.account for each in candidates}
    stranger = next((account for account, _ in wanted if account not in holders), 0)
    if stranger:
        return Refused(words.REFUSAL_NO_OPPOSITE_POSITION, f"account {stranger} holds no opposite position")
    ranking = chosen(candidates, lots=lots)
    if ranking != wanted:
        return Refused(words.REFUSAL_NOT_RANKED, f"expected {ranking[0]} to {ranking[-1]}, {len(ranking)} accounts")
    refused = beyond_deficit(instrument, body, signed=lots if held > 0 else -lots)
    if refused:
        return refused
    for account, part in wanted:
        _hand_over(draft, body, instrument, account=body.account, taker=account, lots=part)
    units = given_up(instrument, signed=lots if held > 0 else -lots, price=body.price, mark_price=body.mark_price)
    note_given_up(draft, one.episode, body.account, asset=instrument.settlement, units=units)
    stepped(draft, one, body.step)
    return one.episode


_Body = lifecycle_pb2.TakeOverPosition | lifecycle_pb2.Deleverage | deleveraging_pb2.DeleverageAcross


def _closing(draft: Draft, body: _Body) -> tuple[journal_pb2.Episode, Instrument] | Refused:
    """The episode whose next step this may be, and the instrument of the position that it closes."""
    one = _next_step(draft, body)
    if isinstance(one, Refused):
        return one
    instrument = _position_of(draft, body)
    return instrument if isinstance(instrument, Refused) else (one, instrument)


def deleveraged(
    draft: Draft, body: lifecycle_pb2.Deleverage | deleveraging_pb2.DeleverageAcross
) -> tuple[journal_pb2.Episode, Instrument] | Refused:
    """The same for a position that others may have to close."""
    found = _closing(draft, body)
    if isinstance(found, Refused):
        return found
    _, instrument = found
    if instrument.clearing is not Clearing.INTERNAL:
        return Refused(words.REFUSAL_NOT_INTERNAL, f"{instrument.symbol} is not cleared between clients")
    if not 0 < body.mark_price <= instrument.max_price:
        return Refused(words.REFUSAL_PRICE_OUT_OF_RANGE, f"expected a mark of 1 to {instrument.max_price}")
    return found


def _next_step(draft: Draft, body: _Body) -> journal_pb2.Episode | Refused:
    """The episode whose next step this may be."""
    one = episodes.open_one(draft, body.account, body.episode)
    if isinstance(one, Refused):
        return one
    if body.step != one.step + 1:
        return Refused(words.REFUSAL_STEP_OUT_OF_ORDER, f"expected step {one.step + 1}, was {body.step}")
    basis = commands_pb2.Citation(
        journal_sequence=body.basis.journal_sequence, control_sequence=body.basis.control_sequence
    )
    return episodes.orders_alive(draft, one) or episodes.cites_enough(draft, one, basis) or one


def _position_of(draft: Draft, body: _Body) -> Instrument | Refused:
    """The instrument of a position that may be closed at the price that is given."""
    instrument = draft.context.parameters.instrument(body.instrument)
    if instrument is None or not (instrument.is_margined or instrument.is_paid_up):
        return Refused(words.REFUSAL_UNKNOWN_INSTRUMENT, f"no position in instrument {body.instrument}")
    if instrument.id in draft.state.lifecycle.listings:
        return Refused(words.REFUSAL_INSTRUMENT_CLOSED, f"{instrument.symbol} has ended")
    if not 0 < body.price <= instrument.max_price:
        return Refused(words.REFUSAL_PRICE_OUT_OF_RANGE, f"expected 1 to {instrument.max_price}, was {body.price}")
    return instrument


def _may_take(
    draft: Draft, body: lifecycle_pb2.TakeOverPosition, instrument: Instrument, *, lots: int
) -> Refused | None:
    """Refuses a taker who is no provider of this partition, is restricted, or would carry too much."""
    parameters, taker = draft.context.parameters, draft.account(body.taker)
    providers = {one.id for one in parameters.principals if one.role == PROVIDER}
    if partition_of(body.taker) != draft.state.partition or taker is None or taker.owner not in providers:
        return Refused(words.REFUSAL_UNKNOWN_TAKER, f"account {body.taker} is no liquidity provider's here")
    if taker.restricted or taker.closed or taker.episode or body.taker == body.account:
        return Refused(words.REFUSAL_ACCOUNT_RESTRICTED, f"account {body.taker} is restricted")
    after = abs(draft.balance(body.taker, instrument.id, LOTS) + lots)
    worth = positions.notional_up(instrument, lots=after, price=body.price)
    has = _has(draft, body.taker, instrument.settlement)
    most = parameters.liquidation.taker_leverage_max * max(0, has)
    if worth > most:
        return Refused(words.REFUSAL_BEYOND_BUDGET, f"expected a position of at most {most} units, was {worth}")
    return None


def _has(draft: Draft, account: int, asset: int) -> int:
    cash = draft.balance(account, asset, CASH) + draft.balance(account, asset, RESERVED)
    return cash - money.debt_units(draft, account, asset)


def opposite(draft: Draft, instrument: Instrument, *, is_long: bool, mark_price: int) -> list[Candidate]:
    """Those here who hold the opposite of a position and are not liquidated themselves."""
    found = []
    funding = draft.state.funding_at(instrument.id, draft.context.now_ns)
    for account in draft.state.holders(instrument.id):
        lots = draft.balance(account, instrument.id, LOTS)
        attributes = draft.account(account)
        if not lots or (lots > 0) == is_long or (attributes is not None and attributes.episode):
            continue
        found.append(
            candidate(
                instrument,
                account=account,
                lots=lots,
                variation=draft.balance(account, instrument.id, VARIATION),
                cash=_has(draft, account, instrument.settlement),
                price=mark_price,
                funding=funding,
            )
        )
    return found


def given_up(instrument: Instrument, *, signed: int, price: int, mark_price: int) -> int:
    """Units that counterparties have less than at the mark: they trade at a price that is better for the account.

    Args:
        signed: lots of the account that go, long > 0.
    """
    at_price = positions.value_up(instrument, lots=signed, price=price)
    return max(0, at_price - positions.value_up(instrument, lots=signed, price=mark_price))


def note_given_up(draft: Draft, episode: int, account: int, *, asset: int, units: int) -> None:
    """Says what holders of the opposite gave up: a step of the waterfall, so the gate closes as after any other."""
    taken = journal_pb2.Waterfall(
        episode=episode, account=account, asset=asset, step=words.WATERFALL_STEP_ADL, units=units
    )
    draft.note(journal_pb2.Effect(waterfall=taken))
    guards.close_after_loss(draft, account)


def beyond_deficit(
    instrument: Instrument, body: lifecycle_pb2.Deleverage | deleveraging_pb2.DeleverageAcross, *, signed: int
) -> Refused | None:
    """Refuses a price at which more is given up than is lacking, and a lot (I11)."""
    units = given_up(instrument, signed=signed, price=body.price, mark_price=body.mark_price)
    lot = positions.notional_up(instrument, lots=1, price=body.mark_price)
    if units > max(0, body.deficit_units) + lot:
        return Refused(words.REFUSAL_NOT_RANKED, f"expected at most {body.deficit_units} units and a lot, was {units}")
    return None


def _hand_over(
    draft: Draft,
    body: lifecycle_pb2.TakeOverPosition | lifecycle_pb2.Deleverage,
    instrument: Instrument,
    *,
    account: int,
    taker: int,
    lots: int,
) -> None:
    """Both sides trade at one price: what one is paid the other pays, to the rounding that the contra keeps."""
    held = draft.balance(account, instrument.id, LOTS)
    sold = lots if held > 0 else -lots
    now_ns = draft.context.now_ns
    is_takeover = isinstance(body, lifecycle_pb2.TakeOverPosition)
    cause = kinds.CLOSING_CAUSE_TAKEN_OVER if is_takeover else kinds.CLOSING_CAUSE_DELEVERAGED
    for who, signed in ((account, -sold), (taker, sold)):
        trade(draft, who, instrument, traded=signed, price=body.price, at_ns=now_ns)
        closed = lifecycle_pb2.PositionClosed(
            account=who, instrument=instrument.id, lots=-signed, price=body.price, cause=cause, episode=body.episode
        )
        draft.note(journal_pb2.Effect(position_closed=closed))


def stepped(draft: Draft, one: journal_pb2.Episode, step: int) -> None:
    """Counts a step of an episode that has moved its account."""
    after = journal_pb2.Episode()
    after.CopyFrom(one)
    after.step, after.last_fill_sequence = step, draft.context.sequence
    draft.put_episode(after)
