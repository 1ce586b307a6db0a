"""Opening accounts, money arriving, lending."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SUBACCOUNTS_MAX, SystemAccount, account_id, entity_of
from libs.common.units import mul_div_down
from services.collateral_management.domain import money, movements
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.places import impaired
from services.collateral_management.domain.state import CASH, SUPPLY

# House accounts that are funded from outside. Each has one shard a partition: another index would be read by nobody.
FUNDED = (
    SystemAccount.INSURANCE,
    SystemAccount.FIRST_LOSS,
    SystemAccount.SECOND_CAPITAL,
    SystemAccount.ROUNDING,
    SystemAccount.TREASURY,
)


def open_account(draft: Draft, body: commands_pb2.OpenAccount, sender: commands_pb2.Principal) -> int | Refused:
    """Id of a new account: the first of a new entity, or a further one of an existing entity."""
    state, rules = draft.state, draft.context.parameters.ledger
    if not body.owner or len(body.owner) > 64:
        return Refused(words.REFUSAL_NOT_AUTHORISED, "expected an owner's name of 1 to 64 characters")
    if sender.role == words.ROLE_CLIENT and sender.id != body.owner:
        return Refused(words.REFUSAL_NOT_AUTHORISED, f"{sender.id} may not open accounts of {body.owner}")
    if not body.entity:
        account = account_id(partition=state.partition, entity=state.entity_serial + 1, sub=0)
    else:
        first = state.accounts.get(body.entity)
        if first is None or entity_of(body.entity) != body.entity:
            return Refused(words.REFUSAL_UNKNOWN_ACCOUNT, f"no entity {body.entity}")
        if first.owner != body.owner:
            return Refused(words.REFUSAL_NOT_AUTHORISED, f"entity {body.entity} is not owned by {body.owner}")
        refused = gone(first)
        if refused:
            return refused
        count = state.entity_accounts.get(body.entity, 0)
        if count >= min(rules.accounts_per_entity_max, SUBACCOUNTS_MAX):
            return Refused(words.REFUSAL_TOO_MANY_ACCOUNTS, f"entity {body.entity} has {count} accounts")
        account = account_id(partition=state.partition, entity=body.entity >> 16 & 0xFFFFFFFF, sub=count)
    draft.put_account(journal_pb2.Account(account=account, entity=entity_of(account), owner=body.owner))
    return account


def confirm_deposit(draft: Draft, body: commands_pb2.ConfirmDeposit, _: commands_pb2.Principal) -> int | Refused:
    """Credits what arrived from outside; the custody account carries the other side."""
    is_house = any(body.account == money.house(draft, kind) for kind in FUNDED)
    attributes = draft.account(body.account)
    if not is_house and attributes is None:
        return Refused(words.REFUSAL_UNKNOWN_ACCOUNT, f"no account {body.account}")
    refused = closed(attributes) if attributes is not None else None
    refused = refused or known_asset(draft, body.asset) or positive(body.units)
    if refused:
        return refused
    custody = money.house(draft, SystemAccount.CUSTODY)
    movements.credit_cash(draft, body.account, source=custody, asset=body.asset, units=body.units)
    return body.account


def deposit_to_suspense(draft: Draft, body: commands_pb2.ConfirmDeposit) -> None:
    """Keeps what arrived for an account that cannot take it, as far as it is an amount of a known asset."""
    if not (known_asset(draft, body.asset) or positive(body.units)):
        custody, suspense = money.house(draft, SystemAccount.CUSTODY), money.house(draft, SystemAccount.SUSPENSE)
        draft.move(debit=custody, credit=suspense, asset=body.asset, kind=CASH, units=body.units)


def supply(draft: Draft, body: commands_pb2.Supply, sender: commands_pb2.Principal) -> int | Refused:
    """Lends cash to the asset's pool."""
    refused = owned(draft, body.account, sender) or known_pool(draft, body.asset) or positive(body.units)
    refused = refused or spendable(draft, body.account, asset=body.asset, units=body.units)
    if refused:
        return refused
    refused = index_behind(draft, body.asset)
    if refused:
        return refused
    if not money.supply(draft, body.account, body.asset, body.units):
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"{body.units} units are less than one share")
    money.put_to_work(draft, body.asset)
    return body.account


def redeem(draft: Draft, body: commands_pb2.Redeem, sender: commands_pb2.Principal) -> int | Refused:
    """Takes cash back from the asset's pool."""
    refused = owned(draft, body.account, sender) or known_pool(draft, body.asset)
    if refused:
        return refused
    if body.units < 0:
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected units >= 0, was {body.units}")
    claim = money.claim_units(draft, body.account, body.asset)
    wanted = body.units or claim
    if not draft.balance(body.account, body.asset, SUPPLY) or wanted > claim:
        return Refused(words.REFUSAL_INSUFFICIENT_BALANCE, f"expected at most {claim} units, was {wanted}")
    refused = index_behind(draft, body.asset)
    if refused:
        return refused
    if money.redeem(draft, body.account, body.asset, wanted) < wanted:
        return Refused(words.REFUSAL_INSUFFICIENT_LIQUIDITY, f"the pool has less than {wanted} units idle")
    return body.account


def owned(draft: Draft, account: int, sender: commands_pb2.Principal) -> Refused | None:
    """Refuses an unknown account, and a client that does not own it."""
    attributes = draft.account(account)
    if attributes is None:
        return Refused(words.REFUSAL_UNKNOWN_ACCOUNT, f"no account {account}")
    if sender.role == words.ROLE_CLIENT and attributes.owner != sender.id:
        return Refused(words.REFUSAL_NOT_AUTHORISED, f"account {account} is not owned by {sender.id}")
    return gone(attributes) or closed(attributes)


def closed(one: journal_pb2.Account) -> Refused | None:
    """Refuses an account that its owner has closed."""
    return Refused(words.REFUSAL_ACCOUNT_CLOSED, f"account {one.account} is closed") if one.closed else None


def gone(one: journal_pb2.Account) -> Refused | None:
    """Refuses an account that has moved, or is about to."""
    if not one.moving_to:
        return None
    if one.moved_to:
        return Refused(words.REFUSAL_MOVED, f"account {one.account} lives as {one.moved_to}")
    return Refused(words.REFUSAL_MOVING, f"account {one.account} moves to partition {one.moving_to - 1}")


def tick_in_force(draft: Draft, asset: int) -> int:
    """Number of the last tick of a pool's indices in this partition."""
    pool = draft.state.pools.get(asset)
    return pool.tick if pool else 0


def tick_due(draft: Draft) -> int:
    """Number of the last tick that run time has passed."""
    parameters = draft.context.parameters
    return mul_div_down(draft.context.now_ns - parameters.genesis_ns, 1, parameters.schedule.interest_every_ns)


def index_behind(draft: Draft, asset: int) -> Refused | None:
    """Refuses to change claims on a pool at an index that is about to move, or does not carry a known loss.

    A tick is decided on the shares as they stood when it was due; who lends or redeems between then and its arrival
    would be paid for what is not his, and after a write-off would leave the loss to the others.
    """
    have = tick_in_force(draft, asset)
    need = max(tick_due(draft), draft.state.pool_holds.get(asset, 0))
    if have < need:
        return Refused(words.REFUSAL_INDEX_BEHIND, f"pool {asset} waits for tick {need}, has {have}")
    return None


def known_asset(draft: Draft, asset: int) -> Refused | None:
    """Refuses an asset that is not declared."""
    if draft.context.parameters.asset(asset) is None:
        return Refused(words.REFUSAL_UNKNOWN_ASSET, f"no asset {asset}")
    gone_into = draft.state.lifecycle.redenominations.get(asset)
    if gone_into is not None:
        return Refused(words.REFUSAL_ASSET_CLOSED, f"asset {asset} became {gone_into.into}")
    return None


def known_pool(draft: Draft, asset: int) -> Refused | None:
    """Refuses an asset without a pool."""
    if draft.context.parameters.pool(asset) is None:
        return Refused(words.REFUSAL_UNKNOWN_ASSET, f"no pool for asset {asset}")
    return None


def positive(units: int) -> Refused | None:
    """Refuses a quantity that is not positive."""
    if units <= 0:
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected units > 0, was {units}")
    return None


def spendable(draft: Draft, account: int, *, asset: int, units: int) -> Refused | None:
    """Refuses a restricted account, and more cash than it has."""
    attributes = draft.account(account)
    if attributes is not None and attributes.restricted:
        return Refused(words.REFUSAL_ACCOUNT_RESTRICTED, f"account {account} is restricted")
    cash = draft.balance(account, asset, CASH)
    if cash < units:
        return Refused(words.REFUSAL_INSUFFICIENT_BALANCE, f"expected at most {cash} units, was {units}")
    return impaired(draft, account, asset=asset, units=units)
