"""The loss waterfall: own margin is gone; first-loss capital, insurance fund, second capital, then lenders."""

from __future__ import annotations

from ballast.events.v1 import journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SystemAccount
from libs.common.parameters import InstrumentKind
from libs.common.units import INDEX_ONE, mul_div_up
from services.collateral_management.domain import accounts, guards, money, movements
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import CASH, DEBT, LOSS, OVERDRAFT

WATERFALL = (
    (SystemAccount.FIRST_LOSS, words.WATERFALL_STEP_FIRST_LOSS),
    (SystemAccount.INSURANCE, words.WATERFALL_STEP_INSURANCE_FUND),
    (SystemAccount.SECOND_CAPITAL, words.WATERFALL_STEP_SECOND_CAPITAL),
)


def obstacle(draft: Draft, account: int) -> Refused | None:
    """Refuses to run while assets are left that could pay, and when nothing is owed."""
    lines = draft.lines_of(account)
    if lines and not any(kind in (DEBT, OVERDRAFT) for _, kind in lines):
        return Refused(words.REFUSAL_ASSETS_LEFT, f"account {account} owes nothing")
    for asset, kind in lines:
        if not _is_no_obstacle(draft, account, asset, kind):
            return Refused(words.REFUSAL_ASSETS_LEFT, f"asset or instrument {asset} is left, kind {kind}")
    return None


def is_due(draft: Draft, one: journal_pb2.Episode) -> bool:
    """Nothing keeps the waterfall of an open episode from running."""
    is_open = one.state == words.EPISODE_STATE_OPEN and not draft.state.orders_of(one.account)
    return is_open and bool(draft.lines_of(one.account)) and obstacle(draft, one.account) is None


def _is_no_obstacle(draft: Draft, account: int, asset: int, kind: int) -> bool:
    """Debt, and cash below one lot that no order could sell, do not keep the waterfall from running."""
    if kind in (DEBT, OVERDRAFT):
        return True
    if kind != CASH:
        return False
    cash = draft.balance(account, asset, CASH)
    spots = [i for i in draft.context.parameters.instruments if i.kind is InstrumentKind.SPOT and i.underlying == asset]
    return any(cash < spot.base_units_per_lot for spot in spots) or bool(money.debt_units(draft, account, asset))


def shortfall(draft: Draft, account: int) -> dict[int, int]:
    """Units by asset that the house capital of this partition does not cover."""
    short = {}
    for asset in sorted({asset for asset, _ in draft.lines_of(account)}):
        capital = sum(max(0, draft.balance(money.house(draft, kind), asset, CASH)) for kind, _ in WATERFALL)
        left = lacking(draft, account, asset) - capital
        if left > 0:
            short[asset] = left
    return short


def lacking(draft: Draft, account: int, asset: int) -> int:
    """Units that an account owes beyond its cash; negative when it has more."""
    return money.debt_units(draft, account, asset) - draft.balance(account, asset, CASH)


def run(draft: Draft, one: journal_pb2.Episode) -> None:
    """Takes the debt of an account without assets; the account ends with no line at all (I6)."""
    for asset in sorted({asset for asset, _ in draft.lines_of(one.account)}):
        _cover(draft, one, asset)


def _cover(draft: Draft, one: journal_pb2.Episode, asset: int) -> None:
    account = one.account
    for kind, step in WATERFALL:
        owed = lacking(draft, account, asset)
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
        _tell_of_loss(draft, asset, units)
    shares = draft.balance(one.account, asset, OVERDRAFT)
    if shares:  # the house lent it: its second capital bears it
        units = mul_div_up(shares, draft.state.overdraft_index(asset), INDEX_ONE)
        draft.move(debit=one.account, credit=treasury, asset=asset, kind=OVERDRAFT, units=shares)
        _note_step(draft, one, asset, words.WATERFALL_STEP_SECOND_CAPITAL, units)


def tick_of_loss(draft: Draft, asset: int) -> int:
    """Number of the tick that takes a loss written off now."""
    # A tick that is due already may have been decided before the loss: then the one after it carries the loss.
    return max(accounts.tick_in_force(draft, asset), accounts.tick_due(draft)) + 1


def hold_pool(draft: Draft, asset: int, until: int) -> None:
    """Lets nobody lend to a pool or redeem before a tick."""
    if until > draft.state.pool_holds.get(asset, 0):
        draft.note(journal_pb2.Effect(pool_hold=movement_pb2.PoolHold(asset=asset, until_tick=until)))


def _tell_of_loss(draft: Draft, asset: int, units: int) -> None:
    """Nobody redeems at an index that does not carry the loss: not here, and nowhere by what was asked before it."""
    until = tick_of_loss(draft, asset)
    hold_pool(draft, asset, until)
    for other in range(draft.context.parameters.partitions):
        if other != draft.state.partition:
            lost = movements.line(money.pool_account(draft, asset), asset, LOSS, units)
            notice = movement_pb2.Movement(
                to_partition=other, kind=words.MOVEMENT_KIND_LOSS_NOTICE, wanted=[lost], tick=until
            )
            movements.send(draft, notice)


def _note_step(draft: Draft, one: journal_pb2.Episode, asset: int, step: words.WaterfallStep, units: int) -> None:
    taken = journal_pb2.Waterfall(episode=one.episode, account=one.account, asset=asset, step=step, units=units)
    draft.note(journal_pb2.Effect(waterfall=taken))
    guards.close_after_loss(draft, one.account)
