"""A pool's idle units in other partitions: moved by command against a claim of one shard on the others.

The pool's home partition is its bank: units go from a shard to the bank, or from the bank to a shard. A shard's claim
on the others is its QUOTA line; over all partitions these lines sum to zero, so idle and quotas together are what the
pool has, whatever is on its way.
"""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import home_partition
from services.collateral_management.domain import money, movements
from services.collateral_management.domain.accounts import known_pool, positive
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import CASH, QUOTA


def move_quota(draft: Draft, body: movement_pb2.MoveQuota, _: commands_pb2.Principal) -> int | Refused:
    """Transfer sequence of idle units on their way to another shard."""
    refused = known_pool(draft, body.asset) or positive(body.units) or movements.reachable(draft, body.to_partition)
    if refused:
        return refused
    bank = home_partition(body.asset, partitions=draft.context.parameters.partitions)
    if bank not in (draft.state.partition, body.to_partition):
        return Refused(words.REFUSAL_UNKNOWN_PARTITION, f"the bank of pool {body.asset} is partition {bank}")
    due = draft.state.quota_moves.get(body.asset, 0) + 1
    if body.number != due:
        return Refused(words.REFUSAL_TICK_OUT_OF_ORDER, f"expected move {due}, was {body.number}")
    pool = money.pool_account(draft, body.asset)
    idle = draft.balance(pool, body.asset, CASH)
    if idle < body.units:
        return Refused(words.REFUSAL_INSUFFICIENT_LIQUIDITY, f"the shard has {idle} units idle, not {body.units}")
    moved = movement_pb2.QuotaMoved(
        asset=body.asset, number=body.number, to_partition=body.to_partition, units=body.units
    )
    draft.note(journal_pb2.Effect(quota_moved=moved))
    lines = [
        movements.line(pool, body.asset, CASH, body.units),
        movements.line(pool, body.asset, QUOTA, -body.units),
    ]
    one = movement_pb2.Movement(
        to_partition=body.to_partition, kind=words.MOVEMENT_KIND_QUOTA, account=pool, lines=lines
    )
    return movements.send(draft, one)


def take(draft: Draft, one: movement_pb2.Movement) -> None:
    """Takes idle units in, and puts them to work: what the house had to lend in the pool's stead comes back first."""
    assets = sorted({each.asset for each in one.lines})
    for each in one.lines:
        away, pool = movements.in_transit(draft, one.from_partition), money.pool_account(draft, each.asset)
        draft.move(debit=away, credit=pool, asset=each.asset, kind=each.kind, units=each.units)
    for asset in assets:
        money.put_to_work(draft, asset)
