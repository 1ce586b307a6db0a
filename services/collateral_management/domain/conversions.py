"""Assets that become other assets: a redenomination, a fork, an airdrop; each over all holders, in batches."""

from __future__ import annotations

from collections.abc import Sequence

from ballast.events.v1 import commands_pb2, journal_pb2, lifecycle_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.ids import SystemAccount, system_kind
from libs.common.units import INDEX_ONE, mul_div_down, mul_div_up
from services.collateral_management.domain import cuts, money, sweeps
from services.collateral_management.domain.accounts import known_asset
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.guards import reason_missing
from services.collateral_management.domain.state import CASH, DEBT, OVERDRAFT, RESERVED, SUPPLY, State

RATIO_MAX = 10**15
EARLY_MAX = 20_000  # accounts that may move the asset while a distribution is under way
HOUSES = (
    SystemAccount.INSURANCE,
    SystemAccount.FIRST_LOSS,
    SystemAccount.SECOND_CAPITAL,
    SystemAccount.ROUNDING,
    SystemAccount.TREASURY,
    SystemAccount.SUSPENSE,
)


def redenominate_asset(draft: Draft, body: lifecycle_pb2.RedenominateAsset, _: commands_pb2.Principal) -> int | Refused:
    """Id of the asset that goes: every holding of it becomes `numerator/denominator` of the new one, rounded down.

    Only cash is converted: what is lent, owed, ordered, reserved, at a venue or in a position must have come home.
    """
    refused = reason_missing(body.reason) or _known(draft, body.asset) or known_asset(draft, body.into)
    refused = refused or _ratio(body.numerator, body.denominator)
    if refused:
        return refused
    if body.asset == body.into:
        return Refused(words.REFUSAL_UNKNOWN_ASSET, f"asset {body.asset} cannot become itself")
    sweep = sweeps.under_way(draft, kinds.SWEEP_KIND_REDENOMINATION, body.asset)
    wanted = lifecycle_pb2.Redenomination(
        asset=body.asset, into=body.into, numerator=body.numerator, denominator=body.denominator
    )
    decided = draft.state.lifecycle.redenominations.get(body.asset)
    if decided is not None and sweep is None:
        return Refused(words.REFUSAL_ASSET_CLOSED, f"asset {body.asset} became {decided.into}")
    if decided is not None and decided != wanted:
        return Refused(words.REFUSAL_SWEEP_OPEN, f"asset {body.asset} is becoming {decided.into} at another ratio")
    refused = _in_use(draft, body.asset) if decided is None else None
    if refused:
        return refused
    if decided is None:
        draft.note(journal_pb2.Effect(redenomination=wanted))
    going = sweeps.begun(sweep, kind=kinds.SWEEP_KIND_REDENOMINATION, subject=body.asset)

    def holds(account: int) -> bool:
        return draft.balance(account, body.asset, CASH) != 0

    def deed(account: int) -> None:
        _convert(draft, account, wanted)

    accounts, last = sweeps.next_accounts(draft, cursor=going.cursor, holds=holds)
    if sweeps.advance(draft, going, accounts, deed, last=last):
        for kind in HOUSES:
            deed(money.house(draft, kind))
        deed(money.pool_account(draft, body.asset))
    return body.asset


def _convert(draft: Draft, account: int, how: lifecycle_pb2.Redenomination) -> None:
    """Custody takes the old units and gives the new: rounding stays there, which holds what came from outside."""
    units = draft.balance(account, how.asset, CASH)
    custody = money.house(draft, SystemAccount.CUSTODY)
    draft.move(debit=account, credit=custody, asset=how.asset, kind=CASH, units=units)
    taker = account
    if system_kind(account) is SystemAccount.POOL:  # nobody's claim is on it: its reserve is the house's
        taker = money.house(draft, SystemAccount.TREASURY)
    fresh = mul_div_down(units, how.numerator, how.denominator)
    draft.move(debit=custody, credit=taker, asset=how.into, kind=CASH, units=fresh)


def _known(draft: Draft, asset: int) -> Refused | None:
    one = draft.context.parameters.asset(asset)
    if one is None or one.price_instrument is None:  # the one everything is counted in stays
        return Refused(words.REFUSAL_UNKNOWN_ASSET, f"no asset {asset} that can become another one")
    return None


def _ratio(numerator: int, denominator: int) -> Refused | None:
    if not (0 < numerator <= RATIO_MAX and 0 < denominator <= RATIO_MAX):
        return Refused(
            words.REFUSAL_QUANTITY_OUT_OF_RANGE,
            f"expected a ratio of numbers from 1 to {RATIO_MAX}, was {numerator}/{denominator}",
        )
    return None


def _in_use(draft: Draft, asset: int) -> Refused | None:
    """Refuses an asset with anything but cash at home."""
    state, parameters = draft.state, draft.context.parameters
    pool, treasury = money.pool_account(draft, asset), money.house(draft, SystemAccount.TREASURY)
    lines = {f"pool line {kind}": (pool, kind) for kind in (SUPPLY, DEBT, words.LINE_KIND_LOSS, words.LINE_KIND_QUOTA)}
    lines |= {
        "overdrafts": (treasury, OVERDRAFT),
        "reservations": (money.house(draft, SystemAccount.CUSTODY), RESERVED),
    }
    for venue in parameters.venues:
        lines[f"units at {venue.name}"] = (money.house(draft, SystemAccount.VENUE, venue.id), CASH)
    for other in range(parameters.partitions):
        lines[f"units on their way, {other}"] = (money.house(draft, SystemAccount.IN_TRANSIT, other), CASH)
    for what, (account, kind) in lines.items():
        if draft.balance(account, asset, kind):
            return Refused(words.REFUSAL_ASSET_IN_USE, f"{what}: {draft.balance(account, asset, kind)}")
    used = [one for one in parameters.instruments if asset in (one.underlying, one.quote, one.settlement)]
    for instrument in used:
        contra = money.house(draft, SystemAccount.CONTRA, instrument.id)
        if draft.balance(contra, asset, CASH) or state.holders(instrument.id):
            return Refused(words.REFUSAL_ASSET_IN_USE, f"positions of {instrument.symbol}")
    ids = {one.id for one in used}
    alive = next((one for one in state.orders.values() if one.instrument in ids), None)
    if alive is not None:
        return Refused(words.REFUSAL_ASSET_IN_USE, f"order {alive.order} is alive")
    return None


def distribute(draft: Draft, body: lifecycle_pb2.Distribute, _: commands_pb2.Principal) -> int | Refused:
    """Number of a distribution: each account is credited by what it held when the first batch was taken.

    Whoever moves the asset before his turn is credited before that command; a borrower of the asset owes what he would
    have been credited. Units come from custody, which has received them.
    """
    refused = reason_missing(body.reason) or known_asset(draft, body.held) or known_asset(draft, body.credited)
    refused = refused or _ratio(body.numerator, body.denominator)
    if refused:
        return refused
    if body.held == body.credited:
        return Refused(words.REFUSAL_UNKNOWN_ASSET, f"asset {body.held} is what counts and what is credited")
    known = draft.state.lifecycle.distributions
    state = draft.state
    wanted = lifecycle_pb2.Distribution(
        number=body.number, held=body.held, credited=body.credited, numerator=body.numerator,
        denominator=body.denominator, supply_index=state.supply_index(body.held),
        borrow_index=state.borrow_index(body.held), overdraft_index=state.overdraft_index(body.held),
    )  # fmt: skip
    going = sweeps.under_way(draft, kinds.SWEEP_KIND_DISTRIBUTION, body.number)
    if going is None:
        if body.number != len(known) + 1:
            return Refused(words.REFUSAL_TICK_OUT_OF_ORDER, f"expected number {len(known) + 1}, was {body.number}")
        if any(not one.is_over for one in known.values()):
            return Refused(words.REFUSAL_SWEEP_OPEN, f"distribution {len(known)} is under way")
        cuts.tell(draft, body.number)
    else:
        before = known[body.number]
        wanted.early.extend(before.early)
        wanted.supply_index, wanted.borrow_index = before.supply_index, before.borrow_index
        wanted.overdraft_index = before.overdraft_index
        if before != wanted:
            return Refused(words.REFUSAL_SWEEP_OPEN, f"distribution {body.number} has begun on other terms")
    _credit_batch(draft, sweeps.begun(going, kind=kinds.SWEEP_KIND_DISTRIBUTION, subject=body.number), wanted)
    return body.number


def _credit_batch(draft: Draft, going: lifecycle_pb2.Sweep, one: lifecycle_pb2.Distribution) -> None:
    early = set(one.early)

    def holds(account: int) -> bool:
        return account not in early and _entitled(draft.state, account, one) != 0

    accounts, last = sweeps.next_accounts(draft, cursor=going.cursor, holds=holds)
    if sweeps.advance(draft, going, accounts, lambda account: _credit(draft, account, one), last=last):
        one.is_over = True
        del one.early[:]
    kept = [account for account in one.early if account > going.cursor]
    del one.early[:]
    one.early.extend(kept)
    draft.note(journal_pb2.Effect(distribution=one))


def _entitled(state: State, account: int, one: lifecycle_pb2.Distribution) -> int:
    """Units an account is credited by what it held before this command, negative when it owes; rounded down.

    Claims and debts count at the indices of the cut: interest of a later tick belongs to nobody's holding at it.
    """
    pool_debt = mul_div_up(state.line(account, one.held, DEBT)[0], one.borrow_index, INDEX_ONE)
    overdraft = mul_div_up(state.line(account, one.held, OVERDRAFT)[0], one.overdraft_index, INDEX_ONE)
    claim = mul_div_down(state.line(account, one.held, SUPPLY)[0], one.supply_index, INDEX_ONE)
    held = state.line(account, one.held, CASH)[0] + state.line(account, one.held, RESERVED)[0]
    return mul_div_down(held + claim - pool_debt - overdraft, one.numerator, one.denominator)


def _credit(draft: Draft, account: int, one: lifecycle_pb2.Distribution) -> None:
    custody, units = money.house(draft, SystemAccount.CUSTODY), _entitled(draft.state, account, one)
    attributes = draft.account(account)
    if attributes is not None and attributes.moved_out:  # it left with this very command
        draft.alert("credit_in_suspense", account=account, detail=f"{units} units of {one.credited}")
        account = money.house(draft, SystemAccount.SUSPENSE)
    draft.move(debit=custody, credit=account, asset=one.credited, kind=CASH, units=units)


def keep_cuts(draft: Draft) -> None:
    """Credits whoever moves the asset of a distribution before his turn, by what he held at the cut."""
    for one in draft.state.lifecycle.distributions.values():
        if not one.is_over:
            moved = [account for account in draft.accounts_moved if _has_moved(draft, account, one.held)]
            _credit_early(draft, one, moved)


def credit_before_leaving(draft: Draft, accounts: Sequence[int]) -> None:
    """Credits accounts that are about to leave for another partition: their turn will never come here."""
    for known in draft.state.lifecycle.distributions.values():
        if not known.is_over:
            _credit_early(draft, known, accounts)


def _credit_early(draft: Draft, known: lifecycle_pb2.Distribution, accounts: Sequence[int]) -> None:
    one, going = known, sweeps.under_way(draft, kinds.SWEEP_KIND_DISTRIBUTION, known.number)
    for effect in draft.effects:  # as this command has left them
        if effect.HasField("distribution") and effect.distribution.number == known.number:
            one = effect.distribution
        elif effect.HasField("sweep") and (effect.sweep.kind, effect.sweep.subject) == _key(known):
            going = effect.sweep
    if one.is_over or going is None:
        return
    fresh = [account for account in accounts if account > going.cursor and account not in one.early]
    if not fresh:
        return
    if len(one.early) + len(fresh) > EARLY_MAX:
        raise ValueError(f"expected at most {EARLY_MAX} accounts before their turn")
    for account in fresh:
        _credit(draft, account, one)
    after = lifecycle_pb2.Distribution()
    after.CopyFrom(one)
    after.early.extend(fresh)
    draft.note(journal_pb2.Effect(distribution=after))


def _key(one: lifecycle_pb2.Distribution) -> tuple[int, int]:
    return (kinds.SWEEP_KIND_DISTRIBUTION, one.number)


def _has_moved(draft: Draft, account: int, asset: int) -> bool:
    if system_kind(account) is not None:
        return False
    kinds_held = (CASH, RESERVED, SUPPLY, DEBT, OVERDRAFT)
    return any(draft.balance(account, asset, kind) != draft.state.line(account, asset, kind)[0] for kind in kinds_held)


def convert_what_came_late(draft: Draft) -> None:
    """Converts old units that reach an account after its turn, from another partition or a reservation."""
    for how in draft.state.lifecycle.redenominations.values():
        going = sweeps.under_way(draft, kinds.SWEEP_KIND_REDENOMINATION, how.asset)
        for account in draft.accounts_moved:
            is_due = going is None or account <= going.cursor
            if is_due and system_kind(account) is None:
                _convert_late(draft, account, how)


def _convert_late(draft: Draft, account: int, how: lifecycle_pb2.Redenomination) -> None:
    """What is owed comes along: custody gives the old units that repay it, and takes the new ones, rounded up."""
    if draft.balance(account, how.asset, CASH):
        _convert(draft, account, how)
    owed = money.debt_units(draft, account, how.asset)
    if owed:
        custody = money.house(draft, SystemAccount.CUSTODY)
        fresh = mul_div_up(owed, how.numerator, how.denominator)
        draft.move(debit=custody, credit=account, asset=how.asset, kind=CASH, units=owed)
        draft.move(debit=account, credit=custody, asset=how.into, kind=CASH, units=fresh)
