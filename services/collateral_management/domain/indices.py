"""Indices, funding and settlement of variation; venue sessions."""

from __future__ import annotations

from collections.abc import Callable

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.ids import SystemAccount, home_partition
from libs.common.parameters import Instrument
from libs.common.units import INDEX_ONE, PPM, mul_div_down
from services.collateral_management.domain import money, positions, sweeps
from services.collateral_management.domain.accounts import known_pool
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.state import CASH, LOSS, LOTS, VARIATION


def set_index(draft: Draft, body: commands_pb2.SetIndex, _: commands_pb2.Principal) -> int | Refused:
    """Asset id of the pool whose indices move: decided in the home partition, repeated elsewhere."""
    refused = known_pool(draft, body.asset) or is_relayed(draft, body.asset, body.home_sequence)
    if refused:
        return refused
    current = draft.state.pools.get(body.asset) or journal_pb2.PoolIndex(
        asset=body.asset, borrow_index=INDEX_ONE, supply_index=INDEX_ONE, overdraft_index=INDEX_ONE
    )
    if body.tick != current.tick + 1:
        return Refused(words.REFUSAL_TICK_OUT_OF_ORDER, f"expected tick {current.tick + 1}, was {body.tick}")
    if body.top_up_units < 0:
        return Refused(words.REFUSAL_QUANTITY_OUT_OF_RANGE, f"expected a top-up >= 0, was {body.top_up_units}")
    written_off = body.write_off_units > 0
    pairs = (
        ("borrow index", current.borrow_index, body.borrow_index, False),
        ("supply index", current.supply_index, body.supply_index, written_off or body.home_sequence != 0),
        ("overdraft index", current.overdraft_index, body.overdraft_index, False),
    )
    most = draft.context.parameters.ledger.index_step_max
    for name, before, after, may_fall in pairs:
        least, bound = 1 if may_fall else before, mul_div_down(before, PPM + most, PPM)
        if not least <= after <= bound:
            return Refused(words.REFUSAL_INDEX_OUT_OF_BOUNDS, f"{name}: expected {least} to {bound}, was {after}")
    if written_off and not body.home_sequence:
        # The home partition takes it out for all of them: its own line may fall below zero, their sum never does.
        pool, treasury = money.pool_account(draft, body.asset), money.house(draft, SystemAccount.TREASURY)
        draft.move(debit=pool, credit=treasury, asset=body.asset, kind=LOSS, units=body.write_off_units)
    if body.top_up_units and not body.home_sequence:  # what shares that moved while a tick travelled cost the pool
        pool, treasury = money.pool_account(draft, body.asset), money.house(draft, SystemAccount.TREASURY)
        draft.move(debit=treasury, credit=pool, asset=body.asset, kind=CASH, units=body.top_up_units)
    moved = journal_pb2.PoolIndex(
        asset=body.asset, tick=body.tick, run_time_ns=body.run_time_ns, borrow_index=body.borrow_index,
        supply_index=body.supply_index, overdraft_index=body.overdraft_index, borrow_rate=body.borrow_rate,
    )  # fmt: skip
    draft.note(journal_pb2.Effect(pool_index=moved))
    return body.asset


def is_relayed(draft: Draft, key: int, home_sequence: int) -> Refused | None:
    """Refuses a decision that does not come from the key's home partition, and one of its own that claims to."""
    home = home_partition(key, partitions=draft.context.parameters.partitions)
    if (home != draft.state.partition) != bool(home_sequence):
        return Refused(words.REFUSAL_WRONG_PARTITION, f"partition {home} decides for {key}, the others repeat it")
    return None


def set_funding(draft: Draft, body: commands_pb2.SetFunding, _: commands_pb2.Principal) -> int | Refused:
    """Instrument id whose cumulative funding moves."""
    instrument = draft.context.parameters.instrument(body.instrument)
    if instrument is None or not instrument.is_margined:
        return Refused(words.REFUSAL_UNKNOWN_INSTRUMENT, f"no margined instrument {body.instrument}")
    refused = is_relayed(draft, body.instrument, body.home_sequence)
    if refused:
        return refused
    due = draft.state.funding_tick.get(body.instrument, 0) + 1
    if body.tick != due:
        return Refused(words.REFUSAL_TICK_OUT_OF_ORDER, f"expected tick {due}, was {body.tick}")
    if len(body.cumulative_funding) != 16:
        return Refused(words.REFUSAL_INDEX_OUT_OF_BOUNDS, f"expected 16 bytes, was {len(body.cumulative_funding)}")
    history = draft.state.funding.get(body.instrument)
    if history and body.run_time_ns < history[-1][0]:  # a late fill finds its funding by run time
        return Refused(words.REFUSAL_TICK_OUT_OF_ORDER, f"expected {history[-1][0]} or later, was {body.run_time_ns}")
    moved = journal_pb2.FundingIndex(
        instrument=body.instrument, tick=body.tick, run_time_ns=body.run_time_ns,
        cumulative_funding=body.cumulative_funding,
    )  # fmt: skip
    draft.note(journal_pb2.Effect(funding_index=moved))
    return body.instrument


def settle_variation(draft: Draft, body: commands_pb2.SettleVariation, _: commands_pb2.Principal) -> int | Refused:
    """Instrument id whose variation becomes cash: `S = floor(q·P* + V)` for every position of the partition.

    Many holders are settled in batches, each a command of the same tick, at the price of the first.
    """
    instrument = draft.context.parameters.instrument(body.instrument)
    if instrument is None or not instrument.is_margined:
        return Refused(words.REFUSAL_UNKNOWN_INSTRUMENT, f"no margined instrument {body.instrument}")
    if not 0 < body.price <= instrument.max_price:
        return Refused(words.REFUSAL_PRICE_OUT_OF_RANGE, f"expected 1 to {instrument.max_price}, was {body.price}")
    due = draft.state.settlement_tick.get(body.instrument, 0) + 1
    if body.tick != due:
        return Refused(words.REFUSAL_TICK_OUT_OF_ORDER, f"expected tick {due}, was {body.tick}")
    if body.instrument in draft.state.lifecycle.listings:
        return Refused(words.REFUSAL_INSTRUMENT_CLOSED, f"{instrument.symbol} has ended")
    under_way = sweeps.under_way(draft, kinds.SWEEP_KIND_SETTLEMENT, body.instrument)
    sweep = sweeps.begun(
        under_way, kind=kinds.SWEEP_KIND_SETTLEMENT, subject=body.instrument, tick=body.tick, price=body.price,
        mark_sequence=body.mark_sequence,
    )  # fmt: skip
    accounts, last = sweeps.next_holders(draft, body.instrument, cursor=sweep.cursor)
    if sweeps.advance(draft, sweep, accounts, _settlement_of(draft, instrument, price=sweep.price), last=last):
        done = journal_pb2.Settlement(
            instrument=body.instrument, tick=body.tick, price=sweep.price, mark_sequence=sweep.mark_sequence
        )
        draft.note(journal_pb2.Effect(settlement=done))
    return body.instrument


def _settlement_of(draft: Draft, instrument: Instrument, *, price: int) -> Callable[[int], None]:
    contra = money.house(draft, SystemAccount.CONTRA, instrument.id)
    funding = draft.state.funding_at(instrument.id, draft.context.now_ns)

    def settle(account: int) -> None:
        lots = draft.balance(account, instrument.id, LOTS)
        variation = draft.balance(account, instrument.id, VARIATION)
        settled = positions.settlement(instrument, lots=lots, variation=variation, price=price, funding=funding)
        draft.move(debit=contra, credit=account, asset=instrument.settlement, kind=CASH, units=settled)
        draft.move(debit=account, credit=contra, asset=instrument.id, kind=VARIATION, units=settled)

    return settle


def begin_venue_session(draft: Draft, body: commands_pb2.BeginVenueSession, _: commands_pb2.Principal) -> int | Refused:
    """Epoch of a venue's new session."""
    if draft.context.parameters.venue(body.venue) is None:
        return Refused(words.REFUSAL_UNKNOWN_VENUE, f"no venue {body.venue}")
    epoch = draft.state.venue_epochs.get(body.venue, 0) + 1
    draft.note(journal_pb2.Effect(venue_session=journal_pb2.VenueSession(venue=body.venue, epoch=epoch)))
    return epoch
