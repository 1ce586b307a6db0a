"""Moving an entity: restrict, cancel, drain; one frame out, one frame in, and the old ids name the new ones."""

from __future__ import annotations

from ballast.events.v1 import commands_pb2, custody_pb2, journal_pb2, movement_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.ids import SUBACCOUNTS_MAX, account_id, entity_of, partition_of
from services.collateral_management.domain import cuts, movements, moving_places
from services.collateral_management.domain.accounts import gone
from services.collateral_management.domain.conversions import credit_before_leaving
from services.collateral_management.domain.custody import copied
from services.collateral_management.domain.draft import Draft, Refused
from services.collateral_management.domain.orders import cancel
from services.collateral_management.domain.places import must_stay
from services.collateral_management.domain.reservations import end_reservation
from services.collateral_management.domain.state import LIVE, LOTS, OVERDRAFT, VARIATION

LINES_MAX = 10_000  # of an entity that moves: its movement is one command and one outcome on either side


def move_entity(draft: Draft, body: movement_pb2.MoveEntity, sender: commands_pb2.Principal) -> int | Refused:
    """Entity id of what goes: at once when no order of it is out, else as soon as the last one has ended."""
    first = draft.account(body.account)
    if first is None or entity_of(body.account) != body.account:
        return Refused(words.REFUSAL_UNKNOWN_ACCOUNT, f"no entity {body.account}")
    refused = _not_the_owners(first, sender)
    if refused is None and _calls_off(draft, body, first):
        call_off(draft, body.account)
        return body.account
    refused = refused or gone(first) or _unreachable(draft, body, first)
    if refused:
        return refused
    accounts = _accounts(draft, body.account)
    for one in accounts:
        if one.episode:
            return Refused(words.REFUSAL_EPISODE_OPEN, f"account {one.account} is liquidated in episode {one.episode}")
        if one.held:  # what an operator has said of it stands in this partition only
            return Refused(words.REFUSAL_ACCOUNT_RESTRICTED, f"account {one.account} is restricted by an operator")
        refused = _must_stay(draft, one.account)
        if refused:
            return refused
    refused = _counted_here(draft, accounts, to=body.to_partition)
    if refused:
        return refused
    lines = sum(len(draft.lines_of(one.account)) + len(draft.custody.places(one.account)) for one in accounts)
    if lines > LINES_MAX:
        return Refused(words.REFUSAL_TOO_LARGE, f"expected at most {LINES_MAX} lines, was {lines}")
    for one in accounts:
        going = _changed(one, moving_to=body.to_partition + 1, restricted=True)
        draft.put_account(going)
        for order in draft.state.orders_of(one.account):
            cancel(draft, order, reason=words.REFUSAL_VOIDED_BY_MOVE)
        for reservation in draft.state.reservations_of(one.account):
            end_reservation(draft, reservation, reason=words.REFUSAL_VOIDED_BY_MOVE)
    draft.put_entity_move(
        movement_pb2.EntityMove(entity=body.account, to_partition=body.to_partition, into_entity=body.into_entity)
    )
    return body.account


def _not_the_owners(first: journal_pb2.Account, sender: commands_pb2.Principal) -> Refused | None:
    if sender.role == words.ROLE_CLIENT and first.owner != sender.id:
        return Refused(words.REFUSAL_NOT_AUTHORISED, f"entity {first.account} is not owned by {sender.id}")
    return None


def _calls_off(draft: Draft, body: movement_pb2.MoveEntity, first: journal_pb2.Account) -> bool:
    """A move to where it is ends one that waits for orders: a silent venue must not hold an entity for ever."""
    is_waiting = bool(first.moving_to) and not first.moved_out
    return is_waiting and body.to_partition == draft.state.partition and not body.into_entity


def _unreachable(draft: Draft, body: movement_pb2.MoveEntity, first: journal_pb2.Account) -> Refused | None:
    here, into = draft.state.partition, body.into_entity
    refused = movements.reachable(draft, body.to_partition)
    if body.to_partition == here and into and into != body.account:
        refused = None  # linked with another entity of this partition
    if refused or not into:
        return refused
    if partition_of(into) != body.to_partition or entity_of(into) != into:
        return Refused(words.REFUSAL_UNKNOWN_PARTITION, f"{into} is no entity of partition {body.to_partition}")
    if body.to_partition == here:
        joined = draft.account(into)
        if joined is None:
            return Refused(words.REFUSAL_UNKNOWN_ACCOUNT, f"no entity {into}")
        if joined.owner != first.owner:
            return Refused(words.REFUSAL_OTHER_ENTITY, f"entities {into} and {first.account} have different owners")
        return gone(joined)
    return None


def _must_stay(draft: Draft, account: int) -> Refused | None:
    """Nobody moves away from the loss of a venue."""
    for place in draft.custody.places(account):
        stay = must_stay(draft, account, place.asset)
        if stay:
            return Refused(words.REFUSAL_LOCATION_IMPAIRED, f"{stay} units of asset {place.asset} sit at such a venue")
    return None


def _counted_here(draft: Draft, accounts: list[journal_pb2.Account], *, to: int) -> Refused | None:
    """Nobody takes along what a distribution has counted here to where it has not counted yet."""
    lines = (line for one in accounts for line in draft.lines_of(one.account))
    return cuts.must_wait(draft, (asset for asset, kind in lines if kind not in (LOTS, VARIATION)), to=to)


def _accounts(draft: Draft, entity: int) -> list[journal_pb2.Account]:
    found = (draft.account(entity | sub) for sub in range(draft.state.entity_accounts.get(entity, 0)))
    return [one for one in found if one is not None]


def _changed(
    one: journal_pb2.Account, *, moving_to: int, restricted: bool, moved_out: bool = False, moved_to: int = 0
) -> journal_pb2.Account:
    changed = journal_pb2.Account()
    changed.CopyFrom(one)
    changed.moving_to, changed.restricted = moving_to, restricted
    changed.moved_out, changed.moved_to = moved_out, moved_to
    return changed


def call_off(draft: Draft, entity: int) -> None:
    """Ends a move that has not left: an account of the entity is liquidated where it is."""
    for move in draft.entity_moves:
        if move.entity == entity:
            for one in _accounts(draft, entity):
                restricted = bool(one.episode) or one.held or _overdrawn(draft, one)
                draft.put_account(_changed(one, moving_to=0, restricted=restricted))
            draft.put_entity_move(movement_pb2.EntityMove(entity=entity, is_out=True))


def _overdrawn(draft: Draft, one: journal_pb2.Account) -> bool:
    return any(kind == OVERDRAFT for _, kind in draft.lines_of(one.account))


def leave(draft: Draft) -> None:
    """Lets out every entity whose last order has ended; called when a command has done everything else."""
    for move in draft.entity_moves:
        accounts = _accounts(draft, move.entity)
        if any(_is_alive(draft, order) for one in accounts for order in draft.state.orders_of(one.account)):
            continue
        if _counted_here(draft, accounts, to=move.to_partition):
            continue  # it leaves when the last partition has begun
        credit_before_leaving(draft, [one.account for one in accounts])
        lines = [
            movements.line(one.account, asset, kind, draft.balance(one.account, asset, kind))
            for one in accounts
            for asset, kind in draft.lines_of(one.account)
        ]
        terms = [each for one in accounts for each in _take_terms(draft, one.account)]
        for one in accounts:
            draft.put_account(_changed(one, moving_to=move.to_partition + 1, restricted=True, moved_out=True))
        draft.put_entity_move(movement_pb2.EntityMove(entity=move.entity, is_out=True))
        out = movement_pb2.Movement(
            to_partition=move.to_partition, kind=words.MOVEMENT_KIND_ENTITY, account=move.entity,
            to_account=move.into_entity, owner=accounts[0].owner, lines=lines, indices=_indices(draft),
            accounts=[
                movement_pb2.MovedAccount(account=one.account, owner=one.owner, closed=one.closed, held=one.held)
                for one in accounts
            ],
            terms=terms,
        )  # fmt: skip
        movements.send(draft, out)
        moving_places.follow(draft, accounts, entity=move.entity, to=move.to_partition)


def _take_terms(draft: Draft, account: int) -> list[custody_pb2.CustodyTerms]:
    """What the account has consented to; nothing is lent or called back under it here any more."""
    found = []
    for asset in draft.custody.assets_with_terms(account):
        terms = draft.custody.terms(account, asset)
        if terms is not None:
            found.append(copied(terms))
            left = copied(terms)
            left.lent_shares = left.recall_units = 0
            draft.custody.put_terms(left)
    return found


def _is_alive(draft: Draft, order: journal_pb2.Order) -> bool:
    now = draft.order(order.order)
    return now is not None and now.state in LIVE


def _indices(draft: Draft) -> list[movement_pb2.IndexInForce]:
    pools = [movement_pb2.IndexInForce(id=one.asset, tick=one.tick) for one in draft.state.pools.values()]
    return pools + [
        movement_pb2.IndexInForce(id=instrument, is_funding=True, tick=tick)
        for instrument, tick in draft.state.funding_tick.items()
    ]


def enter(draft: Draft, one: movement_pb2.Movement) -> None:
    """Takes an entity in under new ids, and says to where it came from what they are."""
    ids = _new_ids(draft, one)
    overdrawn = {each.account for each in one.lines if each.kind == OVERDRAFT}
    for old in one.accounts:
        new = ids[old.account]
        draft.put_account(
            journal_pb2.Account(
                account=new, entity=entity_of(new), owner=one.owner, moved_from=old.account, closed=old.closed,
                held=old.held, restricted=old.held or old.account in overdrawn,
            )
        )  # fmt: skip
    for terms in one.terms:
        here = copied(terms)
        here.account = ids[terms.account]
        draft.custody.put_terms(here)
    away = movements.in_transit(draft, one.from_partition)
    for each in one.lines:
        draft.move(debit=away, credit=ids[each.account], asset=each.asset, kind=each.kind, units=each.units)
    for old in one.accounts:
        mine = (each for each in one.lines if each.account == old.account)
        cuts.credit_arrived(draft, ids[old.account], mine, distributions=one.distributions)
    receipt = movement_pb2.Movement(
        to_partition=one.from_partition, kind=words.MOVEMENT_KIND_RECEIPT, account=one.account,
        to_account=entity_of(ids[one.account]), owner=one.owner,
        accounts=[movement_pb2.MovedAccount(account=new, owner=one.owner) for new in ids.values()],
    )  # fmt: skip
    movements.send(draft, receipt)


def _new_ids(draft: Draft, one: movement_pb2.Movement) -> dict[int, int]:
    """New account ids by old ones, in order."""
    entity, taken = draft.state.entity_serial + 1, 0
    joined = draft.account(one.to_account) if one.to_account else None
    if joined is not None and joined.owner == one.owner and not joined.moving_to:
        count = draft.state.entity_accounts.get(one.to_account, 0)
        most = min(draft.context.parameters.ledger.accounts_per_entity_max, SUBACCOUNTS_MAX)
        if count + len(one.accounts) <= most:
            entity, taken = one.to_account >> 16 & 0xFFFFFFFF, count
    if one.to_account and not taken:
        draft.alert("link_refused", account=0, detail=f"entity {one.account} cannot join {one.to_account}, stays alone")
    return {
        each.account: account_id(partition=draft.state.partition, entity=entity, sub=taken + number)
        for number, each in enumerate(one.accounts)
    }


def take_receipt(draft: Draft, one: movement_pb2.Movement) -> None:
    """Names the new ids on the old ones."""
    for sub, new in enumerate(one.accounts):
        old = draft.account(one.account | sub)
        if old is not None and old.moved_out:
            draft.put_account(
                _changed(old, moving_to=old.moving_to, restricted=True, moved_out=True, moved_to=new.account)
            )
