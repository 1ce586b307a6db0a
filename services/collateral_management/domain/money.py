"""Borrowing, repaying and lending by shares; every rounding favours the pool."""

from __future__ import annotations

from ballast.types.v1 import ledger_pb2
from libs.common.ids import SystemAccount, system_account
from libs.common.units import INDEX_ONE, mul_div_down, mul_div_up
from services.collateral_management.domain.draft import Draft
from services.collateral_management.domain.state import CASH, DEBT, OVERDRAFT, SUPPLY

REFINANCED_MAX = 64  # accounts that units which come at once can help


def pool_account(draft: Draft, asset: int) -> int:
    """The partition's shard of the asset's pool."""
    return system_account(SystemAccount.POOL, partition=draft.state.partition, index=asset)


def house(draft: Draft, kind: SystemAccount, index: int = 0) -> int:
    """The partition's shard of a house account."""
    return system_account(kind, partition=draft.state.partition, index=index)


def debt_units(draft: Draft, account: int, asset: int) -> int:
    """What the account owes the pool and the house in an asset, rounded up each."""
    pool = mul_div_up(draft.balance(account, asset, DEBT), draft.state.borrow_index(asset), INDEX_ONE)
    overdraft = mul_div_up(draft.balance(account, asset, OVERDRAFT), draft.state.overdraft_index(asset), INDEX_ONE)
    return pool + overdraft


def claim_units(draft: Draft, account: int, asset: int) -> int:
    """What the pool owes the account, rounded down."""
    return mul_div_down(draft.balance(account, asset, SUPPLY), draft.state.supply_index(asset), INDEX_ONE)


def straighten(draft: Draft, account: int, asset: int) -> None:
    """Borrows what cash lacks, repays with what cash has, and keeps the restriction flag true to both."""
    cash = draft.balance(account, asset, CASH)
    if cash >= 0 and not (draft.balance(account, asset, DEBT) or draft.balance(account, asset, OVERDRAFT)):
        attributes = draft.account(account)
        if attributes is None or not attributes.restricted:
            return  # nothing to borrow, repay or lift
    if cash < 0:
        _borrow(draft, account, asset, -cash)
    elif cash > 0:
        _repay(draft, account, asset, kind=OVERDRAFT, index=draft.state.overdraft_index(asset))
        _repay(draft, account, asset, kind=DEBT, index=draft.state.borrow_index(asset))
    _forgive_dust(draft, account, asset)
    refresh_restriction(draft, account)


def _borrow(draft: Draft, account: int, asset: int, units: int) -> None:
    pool = pool_account(draft, asset)
    from_pool = min(units, max(0, draft.balance(pool, asset, CASH)))
    if from_pool:
        lend(draft, account, asset, from_pool)
    beyond = units - from_pool
    if beyond:  # a fact is never refused: the house lends at a penalty, restricts and alerts
        treasury = house(draft, SystemAccount.TREASURY)
        shares = mul_div_up(beyond, INDEX_ONE, draft.state.overdraft_index(asset))
        draft.move(debit=treasury, credit=account, asset=asset, kind=CASH, units=beyond)
        draft.move(debit=treasury, credit=account, asset=asset, kind=OVERDRAFT, units=shares)
        draft.alert("overdraft", account=account, detail=f"asset {asset}: {beyond} units beyond the pool's quota")


def lend(draft: Draft, account: int, asset: int, units: int) -> None:
    """Lends idle units of the pool against debt shares, rounded up."""
    pool = pool_account(draft, asset)
    shares = mul_div_up(units, INDEX_ONE, draft.state.borrow_index(asset))
    draft.move(debit=pool, credit=account, asset=asset, kind=CASH, units=units)
    draft.move(debit=pool, credit=account, asset=asset, kind=DEBT, units=shares)


def _repay(draft: Draft, account: int, asset: int, *, kind: ledger_pb2.LineKind, index: int) -> None:
    shares = draft.balance(account, asset, kind)
    cash = draft.balance(account, asset, CASH)
    if shares <= 0 or cash <= 0:
        return
    lender = house(draft, SystemAccount.TREASURY) if kind == OVERDRAFT else pool_account(draft, asset)
    owed = mul_div_up(shares, index, INDEX_ONE)
    burned = shares if cash >= owed else min(shares, mul_div_down(cash, INDEX_ONE, index))
    paid = owed if burned == shares else mul_div_up(burned, index, INDEX_ONE)
    if burned:
        draft.move(debit=account, credit=lender, asset=asset, kind=CASH, units=paid)
        draft.move(debit=account, credit=lender, asset=asset, kind=kind, units=burned)


def _forgive_dust(draft: Draft, account: int, asset: int) -> None:
    """Debt up to the dust limit on an account with no other line is paid by the rounding account."""
    rules = draft.context.parameters.pool(asset)
    shares = draft.balance(account, asset, DEBT)
    if rules is None or not shares:
        return
    owed = mul_div_up(shares, draft.state.borrow_index(asset), INDEX_ONE)
    cash = draft.balance(account, asset, CASH)
    if owed - cash > rules.dust or not {(asset, CASH), (asset, DEBT)}.issuperset(draft.lines_of(account)):
        return
    pool = pool_account(draft, asset)
    draft.move(debit=account, credit=pool, asset=asset, kind=CASH, units=cash)
    draft.move(debit=house(draft, SystemAccount.ROUNDING), credit=pool, asset=asset, kind=CASH, units=owed - cash)
    draft.move(debit=account, credit=pool, asset=asset, kind=DEBT, units=shares)


def refresh_restriction(draft: Draft, account: int) -> None:
    """Keeps the restriction flag true to what restricts an account."""
    attributes = draft.account(account)
    if attributes is None:
        return
    overdrawn = any(kind == OVERDRAFT for _, kind in draft.lines_of(account))
    restricted = overdrawn or attributes.held or attributes.episode != 0 or attributes.moving_to != 0
    if restricted != attributes.restricted:
        changed = type(attributes)()
        changed.CopyFrom(attributes)
        changed.restricted = restricted
        draft.put_account(changed)


def redeem(draft: Draft, account: int, asset: int, units: int) -> int:
    """Turns claims on the pool into at most `units` of cash; returns the units paid.

    The pool pays what is idle, and what comes straight back to it for the account's own debt when the command ends.
    """
    shares = draft.balance(account, asset, SUPPLY)
    claim = claim_units(draft, account, asset)
    pool = pool_account(draft, asset)
    idle = max(0, draft.balance(pool, asset, CASH))
    wanted = min(units, claim, idle + _returning(draft, account, asset, min(units, claim) - idle))
    if wanted < min(claim, 1) or not shares:
        return 0
    index = draft.state.supply_index(asset)
    # The whole claim takes every share: one that is worth less than a unit would keep the account from being emptied.
    burned = shares if wanted == claim else min(shares, mul_div_up(wanted, INDEX_ONE, index))
    draft.move(debit=account, credit=pool, asset=asset, kind=SUPPLY, units=burned)
    draft.move(debit=pool, credit=account, asset=asset, kind=CASH, units=wanted)
    return wanted


def _returning(draft: Draft, account: int, asset: int, units: int) -> int:
    """Most of `units` that repaying would bring back to the pool, were it paid to the account."""
    if units <= 0 or draft.balance(account, asset, OVERDRAFT):  # an overdraft is repaid first, and not to the pool
        return 0
    index, shares = draft.state.borrow_index(asset), draft.balance(account, asset, DEBT)
    burned = min(shares, mul_div_down(units, INDEX_ONE, index))
    return min(units, mul_div_up(burned, index, INDEX_ONE))


def set_off(draft: Draft, account: int, asset: int) -> int:
    """Meets what the account owes the pool with what the pool owes the account; returns the units.

    Paid out as cash, the claim would repay an overdraft first: a pool that has lent everything could not pay it, and
    claim and debt would stand against each other for ever.
    """
    claim, index = claim_units(draft, account, asset), draft.state.borrow_index(asset)
    shares = min(draft.balance(account, asset, DEBT), mul_div_down(claim, INDEX_ONE, index))
    if shares <= 0:
        return 0
    pool, held = pool_account(draft, asset), draft.balance(account, asset, SUPPLY)
    units = mul_div_up(shares, index, INDEX_ONE)
    burned = held if units == claim else min(held, mul_div_up(units, INDEX_ONE, draft.state.supply_index(asset)))
    draft.move(debit=account, credit=pool, asset=asset, kind=SUPPLY, units=burned)
    draft.move(debit=account, credit=pool, asset=asset, kind=DEBT, units=shares)
    return units


def sell_claim(draft: Draft, account: int, asset: int) -> None:
    """Gives the house's treasury all the account lends to a pool, for what it is worth at the index, rounded down."""
    treasury, units = house(draft, SystemAccount.TREASURY), claim_units(draft, account, asset)
    shares = draft.balance(account, asset, SUPPLY)
    draft.move(debit=account, credit=treasury, asset=asset, kind=SUPPLY, units=shares)
    draft.move(debit=treasury, credit=account, asset=asset, kind=CASH, units=units)


def put_to_work(draft: Draft, asset: int) -> None:
    """Uses units that have come to the pool for what the house had to do in its stead: the penalty ends.

    The treasury is paid what it has bought of bankrupt lenders, then the pool lends what accounts owe the house.
    """
    treasury, pool = house(draft, SystemAccount.TREASURY), pool_account(draft, asset)
    if draft.balance(treasury, asset, SUPPLY):
        redeem(draft, treasury, asset, claim_units(draft, treasury, asset))
    for account in draft.state.overdrawn(asset)[:REFINANCED_MAX]:
        owed = mul_div_up(draft.balance(account, asset, OVERDRAFT), draft.state.overdraft_index(asset), INDEX_ONE)
        units = min(owed, draft.balance(pool, asset, CASH))
        if units > 0:  # the cash repays the overdraft when the command ends
            lend(draft, account, asset, units)


def supply(draft: Draft, account: int, asset: int, units: int) -> int:
    """Lends units of cash to the pool; returns the shares received, rounded down."""
    pool = pool_account(draft, asset)
    shares = mul_div_down(units, INDEX_ONE, draft.state.supply_index(asset))
    draft.move(debit=account, credit=pool, asset=asset, kind=CASH, units=units)
    draft.move(debit=pool, credit=account, asset=asset, kind=SUPPLY, units=shares)
    return shares
