"""Liquidation episodes: opening, steps, closing, and the loss waterfall."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2
from libs.common.ids import SystemAccount
from libs.common.parameters import InstrumentKind
from libs.common.units import INDEX_ONE, mul_div_up
from services.collateral_management.domain import money
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.orders import cancel, reducing_room, tradable
from services.collateral_management.domain.reservations import end_reservation
from services.collateral_management.domain.state import CASH, DEBT, LOSS, OVERDRAFT, SUPPLY

WATERFALL = (
    (SystemAccount.FIRST_LOSS, words.WATERFALL_STEP_FIRST_LOSS),
    (SystemAccount.INSURANCE, words.WATERFALL_STEP_INSURANCE_FUND),
    (SystemAccount.SECOND_CAPITAL, words.WATERFALL_STEP_SECOND_CAPITAL),
)


def open_episode(draft: Draft, body: commands_pb2.OpenEpisode, _: commands_pb2.Principal) -> int | Refused:
    """Id of a new episode: restricts the account, cancels its orders, brings back what it lends. Reduces nothing."""
    attributes = draft.account(body.account)
    if attributes is None:
        return Refused(words.REFUSAL_UNKNOWN_ACCOUNT, f"no account {body.account}")
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


def _open(draft: Draft, account: int, episode: int) -> journal_pb2.Episode | Refused:
    one = draft.episode(episode)
    if one is None or one.account != account or one.state != words.EPISODE_STATE_OPEN:
        return Refused(words.REFUSAL_UNKNOWN_EPISODE, f"no open episode {episode} of account {account}")
    return one


def _orders_alive(draft: Draft, one: journal_pb2.Episode) -> Refused | None:
    alive = [order.order for order in draft.state.orders_of(one.account) if order.episode == one.episode]
    if alive:
        return Refused(words.REFUSAL_ORDERS_ALIVE, f"{len(alive)} orders are alive, first {alive[0]}")
    return None


def _cites_enough(draft: Draft, one: journal_pb2.Episode, cited: commands_pb2.Citation) -> Refused | None:
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
    one = _open(draft, body.account, body.episode)
    if isinstance(one, Refused):
        return one
    if body.step != one.step + 1:
        return Refused(words.REFUSAL_STEP_OUT_OF_ORDER, f"expected step {one.step + 1}, was {body.step}")
    refused = _orders_alive(draft, one) or _cites_enough(draft, one, body.citation)
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
    one = _open(draft, body.account, body.episode)
    if isinstance(one, Refused):
        return one
    refused = _orders_alive(draft, one) or _cites_enough(draft, one, body.citation)
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
    overdrawn = any(kind == OVERDRAFT for _, kind in draft.lines_of(body.account))
    _flag(draft, body.account, episode=0, restricted=overdrawn)
    return one.episode


def resolve_shortfall(draft: Draft, body: commands_pb2.ResolveShortfall, _: commands_pb2.Principal) -> int | Refused:
    """Id of the episode whose debt the waterfall takes; the account ends with no line at all (I6).

    What the account still lends comes back first; when any does, that is all, for it may heal the account.
    """
    one = _open(draft, body.account, body.episode)
    if isinstance(one, Refused):
        return one
    alive = draft.state.orders_of(body.account)
    if alive:
        return Refused(words.REFUSAL_ORDERS_ALIVE, f"{len(alive)} orders are alive, first {alive[0].order}")
    if _bring_back(draft, body.account):
        return one.episode
    lines = draft.lines_of(body.account)
    if lines and not any(kind in (DEBT, OVERDRAFT) for _, kind in lines):
        return Refused(words.REFUSAL_ASSETS_LEFT, f"account {body.account} owes nothing")
    for asset, kind in lines:
        if not _is_no_obstacle(draft, body.account, asset, kind):
            return Refused(words.REFUSAL_ASSETS_LEFT, f"asset or instrument {asset} is left, kind {kind}")
    for asset in sorted({asset for asset, _ in lines}):
        _cover(draft, one, asset)
    return one.episode


def _is_no_obstacle(draft: Draft, account: int, asset: int, kind: int) -> bool:
    """Debt, and cash below one lot that no order could sell, do not keep the waterfall from running."""
    if kind in (DEBT, OVERDRAFT):
        return True
    if kind != CASH:
        return False
    cash = draft.balance(account, asset, CASH)
    spots = [i for i in draft.context.parameters.instruments if i.kind is InstrumentKind.SPOT and i.underlying == asset]
    return any(cash < spot.base_units_per_lot for spot in spots) or bool(money.debt_units(draft, account, asset))


def _cover(draft: Draft, one: journal_pb2.Episode, asset: int) -> None:
    account = one.account
    for kind, step in WATERFALL:
        owed = money.debt_units(draft, account, asset) - draft.balance(account, asset, CASH)
        capital = money.house(draft, kind)
        paid = min(owed, draft.balance(capital, asset, CASH))
        if paid > 0:
            draft.move(debit=capital, credit=account, asset=asset, kind=CASH, units=paid)
            _note_step(draft, one, asset, step, paid)
    money.straighten(draft, account, asset)
    _write_off(draft, one, asset)
    left = draft.balance(account, asset, CASH)
    draft.move(debit=account, credit=money.house(draft, SystemAccount.ROUNDING), asset=asset, kind=CASH, units=left)


def _write_off(draft: Draft, one: journal_pb2.Episode, asset: int) -> None:
    """What no capital covers: the pool's part is a loss its supply index takes at the next tick."""
    pool, treasury = money.pool_account(draft, asset), money.house(draft, SystemAccount.TREASURY)
    shares = draft.balance(one.account, asset, DEBT)
    if shares:
        units = mul_div_up(shares, draft.state.borrow_index(asset), INDEX_ONE)
        draft.move(debit=one.account, credit=pool, asset=asset, kind=DEBT, units=shares)
        draft.move(debit=treasury, credit=pool, asset=asset, kind=LOSS, units=units)
        _note_step(draft, one, asset, words.WATERFALL_STEP_WRITE_OFF, units)
    shares = draft.balance(one.account, asset, OVERDRAFT)
    if shares:  # the house lent it: its second capital bears it
        units = mul_div_up(shares, draft.state.overdraft_index(asset), INDEX_ONE)
        draft.move(debit=one.account, credit=treasury, asset=asset, kind=OVERDRAFT, units=shares)
        _note_step(draft, one, asset, words.WATERFALL_STEP_SECOND_CAPITAL, units)


def _note_step(draft: Draft, one: journal_pb2.Episode, asset: int, step: words.WaterfallStep, units: int) -> None:
    taken = journal_pb2.Waterfall(episode=one.episode, account=one.account, asset=asset, step=step, units=units)
    draft.note(journal_pb2.Effect(waterfall=taken))
