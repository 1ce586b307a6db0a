"""Liquidation episodes: opening, steps, closing, and the loss waterfall."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.ids import entity_of
from services.collateral_management.domain import capital, guards, money, moving, waterfall
from services.collateral_management.domain.accounts import gone
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.orders import cancel, reducing_room, tradable
from services.collateral_management.domain.reservations import end_reservation
from services.collateral_management.domain.state import OVERDRAFT, SUPPLY


def open_episode(draft: Draft, body: commands_pb2.OpenEpisode, _: commands_pb2.Principal) -> int | Refused:
    """Id of a new episode: restricts the account, cancels its orders, brings back what it lends. Reduces nothing."""
    attributes = draft.account(body.account)
    if attributes is None:
        return Refused(words.REFUSAL_UNKNOWN_ACCOUNT, f"no account {body.account}")
    refused = gone(attributes) if attributes.moved_out else None
    if refused:
        return refused
    if body.equity >= body.maintenance_margin:  # I10: nothing else may open one
        return Refused(
            words.REFUSAL_QUANTITY_OUT_OF_RANGE,
            f"expected equity below the maintenance margin, was {body.equity} and {body.maintenance_margin}",
        )
    closed = draft.state.closed_sequence.get(body.account, 0)
    if not closed <= body.citation.journal_sequence < draft.context.sequence:
        return Refused(
            words.REFUSAL_CITES_EARLIER_STATE,
            f"expected a state from {closed} to {draft.context.sequence - 1}, was {body.citation.journal_sequence}",
        )
    if body.citation.control_sequence != draft.context.control_sequence:
        return Refused(
            words.REFUSAL_CITES_OTHER_PARAMETERS, f"control {body.citation.control_sequence} is not in force"
        )
    if attributes.episode:
        return Refused(words.REFUSAL_EPISODE_OPEN, f"episode {attributes.episode} is open")
    episode = journal_pb2.Episode(
        episode=draft.new_id(), account=body.account, state=words.EPISODE_STATE_OPEN,
        opened_sequence=draft.context.sequence, opened_at_ns=draft.context.now_ns, equity=body.equity,
        maintenance_margin=body.maintenance_margin,
    )  # fmt: skip
    draft.put_episode(episode)
    if body.equity < 0:
        guards.close_after_loss(draft, body.account)
    if attributes.moving_to:
        moving.call_off(draft, entity_of(body.account))
    _flag(draft, body.account, episode=episode.episode, restricted=True)
    for order in draft.state.orders_of(body.account):  # reducing ones too: beside the episode's own they add risk
        cancel(draft, order, reason=words.REFUSAL_VOIDED_BY_EPISODE)
    for reservation in draft.state.reservations_of(body.account):
        end_reservation(draft, reservation, reason=words.REFUSAL_VOIDED_BY_EPISODE)
    _bring_back(draft, body.account)
    return episode.episode


def _bring_back(draft: Draft, account: int) -> bool:
    """Takes what is lent back from its pools, as far as it meets debt to them or they are idle; true when any came."""
    came = 0
    for asset, kind in draft.lines_of(account):
        if kind == SUPPLY:
            came += money.set_off(draft, account, asset)
            came += money.redeem(draft, account, asset, money.claim_units(draft, account, asset))
    return came > 0


def _flag(draft: Draft, account: int, *, episode: int, restricted: bool) -> None:
    changed = journal_pb2.Account()
    current = draft.account(account)
    if current is not None:
        changed.CopyFrom(current)
    changed.episode, changed.restricted = episode, restricted
    draft.put_account(changed)


def open_one(draft: Draft, account: int, episode: int) -> journal_pb2.Episode | Refused:
    """The account's open episode of this id."""
    one = draft.episode(episode)
    if one is None or one.account != account or one.state != words.EPISODE_STATE_OPEN:
        return Refused(words.REFUSAL_UNKNOWN_EPISODE, f"no open episode {episode} of account {account}")
    waits = draft.state.lifecycle.deleveragings.get(episode)
    if waits is not None:
        return Refused(words.REFUSAL_DELEVERAGING, f"{len(waits.waiting)} partitions have not answered")
    return one


def orders_alive(draft: Draft, one: journal_pb2.Episode) -> Refused | None:
    """Refuses while orders of the episode are alive."""
    alive = [order.order for order in draft.state.orders_of(one.account) if order.episode == one.episode]
    if alive:
        return Refused(words.REFUSAL_ORDERS_ALIVE, f"{len(alive)} orders are alive, first {alive[0]}")
    return None


def cites_enough(draft: Draft, one: journal_pb2.Episode, cited: commands_pb2.Citation) -> Refused | None:
    """Refuses what was judged before the episode opened, before its last own fill, or under other parameters."""
    least = max(one.opened_sequence, one.last_fill_sequence)
    if not least <= cited.journal_sequence < draft.context.sequence:
        return Refused(
            words.REFUSAL_CITES_EARLIER_STATE,
            f"expected a state from {least} to {draft.context.sequence - 1}, was {cited.journal_sequence}",
        )
    if cited.control_sequence != draft.context.control_sequence:
        return Refused(words.REFUSAL_CITES_OTHER_PARAMETERS, f"control {cited.control_sequence} is not in force")
    return None


def step_episode(draft: Draft, body: commands_pb2.StepEpisode, _: commands_pb2.Principal) -> int | Refused:
    """Id of the episode whose next step is taken: its orders are released by this very frame."""
    one = open_one(draft, body.account, body.episode)
    if isinstance(one, Refused):
        return one
    if body.step != one.step + 1:
        return Refused(words.REFUSAL_STEP_OUT_OF_ORDER, f"expected step {one.step + 1}, was {body.step}")
    refused = orders_alive(draft, one) or cites_enough(draft, one, body.citation)
    if refused:
        return refused
    most = draft.context.parameters.ledger.step_orders_max
    if not 0 < len(body.orders) <= most:
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected 1 to {most} orders, was {len(body.orders)}")
    refused = _all_reduce(draft, body)
    if refused:
        return refused
    send_by = draft.context.now_ns + draft.context.parameters.ledger.send_by_ns
    for wanted in body.orders:
        draft.put_order(
            journal_pb2.Order(
                order=draft.new_id(),
                account=body.account,
                instrument=wanted.instrument,
                venue=wanted.venue,
                side=wanted.side,
                lots=wanted.lots,
                remaining=wanted.lots,
                limit_price=wanted.limit_price,
                time_in_force=market_pb2.TIME_IN_FORCE_IOC,
                reduce_only=True,
                state=words.ORDER_STATE_RELEASED,
                episode=one.episode,
                step=body.step,
                send_by_ns=send_by,
                reserved_sequence=draft.context.sequence,
            )
        )
    stepped = journal_pb2.Episode()
    stepped.CopyFrom(one)
    stepped.step = body.step
    draft.put_episode(stepped)
    return one.episode


def _all_reduce(draft: Draft, body: commands_pb2.StepEpisode) -> Refused | None:
    wanted: dict[tuple[int, market_pb2.Side], int] = {}
    for order in body.orders:
        refused = tradable(
            draft, instrument=order.instrument, venue=order.venue, lots=order.lots, price=order.limit_price
        )
        if refused:
            return refused
        if order.side not in (market_pb2.SIDE_BUY, market_pb2.SIDE_SELL):
            return Refused(words.REFUSAL_NOT_REDUCING, "expected a side, buy or sell")
        wanted[order.instrument, order.side] = wanted.get((order.instrument, order.side), 0) + order.lots
    for (instrument_id, side), lots in wanted.items():
        instrument = draft.context.parameters.instrument(instrument_id)
        room = reducing_room(draft, body.account, instrument, side=side) if instrument else 0
        if lots > room:
            return Refused(words.REFUSAL_NOT_REDUCING, f"expected at most {room} lots, was {lots}")
    return None


def close_episode(draft: Draft, body: commands_pb2.CloseEpisode, _: commands_pb2.Principal) -> int | Refused:
    """Id of the episode that ends: the account is healthy again, or nothing is left."""
    one = open_one(draft, body.account, body.episode)
    if isinstance(one, Refused):
        return one
    refused = orders_alive(draft, one) or cites_enough(draft, one, body.citation)
    if refused:
        return refused
    if body.outcome == words.EPISODE_STATE_EMPTIED:
        left = draft.lines_of(body.account)
        if left:
            return Refused(words.REFUSAL_ASSETS_LEFT, f"lines are left, first {left[0]}")
    elif body.outcome != words.EPISODE_STATE_HEALTHY:
        return Refused(words.REFUSAL_UNKNOWN_EPISODE, f"expected healthy or emptied, was {body.outcome}")
    ended = journal_pb2.Episode()
    ended.CopyFrom(one)
    ended.state = body.outcome
    ended.closed_sequence, ended.closed_at_ns = draft.context.sequence, draft.context.now_ns
    draft.put_episode(ended)
    attributes = draft.account(body.account)
    overdrawn = any(kind == OVERDRAFT for _, kind in draft.lines_of(body.account))
    _flag(draft, body.account, episode=0, restricted=overdrawn or (attributes is not None and attributes.held))
    return one.episode


def resolve_shortfall(draft: Draft, body: commands_pb2.ResolveShortfall, _: commands_pb2.Principal) -> int | Refused:
    """Id of the episode whose debt the waterfall takes; the account ends with no line at all (I6).

    What the account still lends comes back first; when any does, that is all, for it may heal the account. When house
    capital of this partition does not suffice, the others are asked; the last answer lets the waterfall run.
    """
    one = open_one(draft, body.account, body.episode)
    if isinstance(one, Refused):
        return one
    alive = draft.state.orders_of(body.account)
    if alive:
        return Refused(words.REFUSAL_ORDERS_ALIVE, f"{len(alive)} orders are alive, first {alive[0].order}")
    if _bring_back(draft, body.account) or _sell_claims(draft, body.account):
        return one.episode
    refused = waterfall.obstacle(draft, body.account)
    if refused:
        return refused
    asked = draft.capital_ask(one.episode)
    if asked is not None and not asked.is_over:
        return Refused(words.REFUSAL_CAPITAL_ASKED, f"partition {asked.waiting[0]} has not answered")
    if waterfall.shortfall(draft, body.account) and draft.context.parameters.partitions > 1:
        capital.ask(draft, one)
    else:
        waterfall.run(draft, one)
    return one.episode


def _sell_claims(draft: Draft, account: int) -> bool:
    """Sells the house what a pool with nothing idle cannot pay back: a bankrupt lender does not wait for liquidity."""
    claims = [asset for asset, kind in draft.lines_of(account) if kind == SUPPLY]
    for asset in claims:
        money.sell_claim(draft, account, asset)
    return bool(claims)
