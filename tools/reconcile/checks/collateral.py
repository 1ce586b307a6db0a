"""I10: a healthy account loses collateral only by its owner's command, fees, funding, interest, or a posted loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from ballast.events.v1 import journal_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import entity_of, system_kind
from libs.common.parameters import InstrumentKind
from libs.common.units import INDEX_ONE, mul_div_up
from tools.reconcile.checks.check import Watch, where
from tools.reconcile.checks.lifecycle import explains
from tools.reconcile.records import JournalFrame, key_of
from tools.reconcile.world import World

_HELD = (ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_RESERVED)
_SUPPLY = ledger_pb2.LINE_KIND_SUPPLY_SHARES
_OWED = (ledger_pb2.LINE_KIND_DEBT_SHARES, ledger_pb2.LINE_KIND_OVERDRAFT_SHARES)
_LOTS = ledger_pb2.LINE_KIND_LOTS
_OWNERS = frozenset(("withdraw", "transfer", "supply", "redeem", "place_order", "cancel_order", "amend_order"))
_WATERFALLS = ("resolve_shortfall", "arrive")  # the last answer of other partitions lets one run
_ROUNDING_UNITS = 4  # borrowing and repaying round once each, and so do both kinds of debt
_LOW = (risk_pb2.MARGIN_STATE_LIQUIDATION, risk_pb2.MARGIN_STATE_BANKRUPT)


class HealthyKeepsCollateral(Watch):
    """Traces every loss of a client's account to what may cause one."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._orders: dict[int, tuple[int, int]] = {}  # order -> account, episode
        self._reservations: dict[int, int] = {}  # reservation -> account
        self._redenominated: dict[int, int] = {}  # asset that went -> asset that came
        self._episodes: dict[int, int] = {}  # episode -> account
        self._lost: dict[tuple[int, int, int], int] = {}  # account, asset, venue
        self._indices: dict[tuple[int, int], tuple[int, int, int]] = {}  # partition, asset -> as at this outcome

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Every outcome that costs an account something has a cause that may."""
        for outcome in frame.body.outcomes:
            if outcome.refusal or outcome.repeated:
                continue
            leaving, entering = _movers(outcome)
            moved: dict[int, dict[tuple[int, int], int]] = defaultdict(lambda: defaultdict(int))
            for effect in outcome.effects:
                if effect.HasField("posting") and system_kind(effect.posting.account) is None:
                    one = effect.posting
                    moved[one.account][one.asset, one.kind] += one.delta
                elif effect.HasField("fill"):
                    self._fill(frame, effect.fill)
                else:
                    self._remember(frame, outcome, effect)
            for account, lines in moved.items():
                if account in entering or entity_of(account) in leaving:
                    continue  # everything it has goes with it (I15)
                self._judge(frame, outcome, account, lines, book)

    def _remember(self, frame: JournalFrame, outcome: journal_pb2.Outcome, effect: journal_pb2.Effect) -> None:
        match effect.WhichOneof("effect"):
            case "order":
                one = effect.order
                known = self._orders.setdefault(one.order, (one.account, one.episode))
                if known != (one.account, one.episode):
                    self.findings.add(f"{where(frame)}: order {one.order} changes its account or episode")
                elif one.episode and one.episode not in self._episodes:
                    self.findings.add(f"{where(frame)}: order {one.order} belongs to an episode that never opened")
            case "redenomination":
                self._redenominated[effect.redenomination.asset] = effect.redenomination.into
            case "reservation":
                self._reservations.setdefault(effect.reservation.reservation, effect.reservation.account)
            case "pool_index":
                two = effect.pool_index
                now = (two.supply_index, two.borrow_index, two.overdraft_index)
                self._indices[frame.partition, two.asset] = now
            case "episode":
                if effect.episode.episode not in self._episodes:
                    self._episodes[effect.episode.episode] = effect.episode.account
                    self._opening(frame, outcome, effect.episode)

    def _opening(self, frame: JournalFrame, outcome: journal_pb2.Outcome, one: journal_pb2.Episode) -> None:
        if one.equity >= one.maintenance_margin:
            self.findings.add(
                f"{where(frame)}: an episode opens on account {one.account} with equity {one.equity} at or above "
                f"maintenance margin {one.maintenance_margin}"
            )
            return
        row = self.world.cited_row(key_of(frame.partition, outcome))
        if row is None:
            self.findings.add(f"{where(frame)}: episode {one.episode} cites a margin that was never published")
        elif row.state not in _LOW or (row.equity, row.maintenance_margin) != (one.equity, one.maintenance_margin):
            self.findings.add(f"{where(frame)}: episode {one.episode} opens on other figures than published: {row}")

    def _fill(self, frame: JournalFrame, one: journal_pb2.Fill) -> None:
        known = self._orders.get(one.order)
        if known != (one.account, one.episode):
            self.findings.add(
                f"{where(frame)}: a fill of order {one.order} moves account {one.account}, the order is of {known}"
            )
        elif one.episode and self._episodes.get(one.episode) != one.account:
            self.findings.add(f"{where(frame)}: episode {one.episode} sells the collateral of another account")

    def _judge(
        self,
        frame: JournalFrame,
        outcome: journal_pb2.Outcome,
        account: int,
        lines: Mapping[tuple[int, int], int],
        book: PartitionBook,
    ) -> None:
        """Fills and settlements are judged by price elsewhere; every other cause keeps value, or is the owner's."""
        if outcome.command in ("order_report", "settle_variation"):
            if outcome.command == "order_report" and not any(
                effect.HasField("fill") and effect.fill.account == account for effect in outcome.effects
            ):
                self.findings.add(f"{where(frame)}: a report without a fill moves account {account}")
            return
        if outcome.command in _OWNERS and not (outcome.command == "supply" and outcome.subject != account):
            self._owner(frame, outcome, account, book)
            return
        if outcome.command == "impair_venue" or (outcome.command == "arrive" and self._arrives_lost(outcome, account)):
            self._bears(frame, outcome, account, lines)
            return
        if outcome.command == "verdict" and outcome.subject in self._reservations:
            return  # the owner's own withdrawal or transfer, paid out or given back
        ones = (INDEX_ONE, INDEX_ONE, INDEX_ONE)
        lost = [
            asset
            for asset in sorted({asset for asset, _ in lines})
            if _change_15(asset, lines, self._indices.get((frame.partition, asset), ones)) < 0
            and not (outcome.command in _WATERFALLS and self._is_dust(account, asset, lines))
            and not explains(outcome, account, asset, redenominated=self._redenominated)
        ]
        is_closed = any(one.position_closed.account == account for one in outcome.effects)
        moves = any(delta for (_, kind), delta in lines.items() if kind == _LOTS)
        if lost or (moves and not is_closed and outcome.command != "arrive"):
            self.findings.add(f"{where(frame)}: {outcome.command} takes assets {lost} from account {account}")

    def _arrives_lost(self, outcome: journal_pb2.Outcome, account: int) -> bool:
        """The account's places have moved here, and bear what the venue has lost."""
        placed = (one.placement for one in outcome.effects if one.placement.account == account)
        return any(one.lost_units != self._lost.get((account, one.asset, one.venue), 0) for one in placed)

    def _bears(
        self, frame: JournalFrame, outcome: journal_pb2.Outcome, account: int, lines: Mapping[tuple[int, int], int]
    ) -> None:
        """A venue's loss takes what is booked as lost at its place, and no more."""
        lost: defaultdict[int, int] = defaultdict(int)
        for effect in outcome.effects:
            one = effect.placement
            if effect.HasField("placement") and one.account == account:
                place = (account, one.asset, one.venue)
                lost[one.asset] += one.lost_units - self._lost.get(place, 0)
                self._lost[place] = one.lost_units
        ones = (INDEX_ONE, INDEX_ONE, INDEX_ONE)
        for asset in sorted({asset for asset, _ in lines}):
            indices = self._indices.get((frame.partition, asset), ones)
            if _change_15(asset, lines, indices) + lost[asset] * INDEX_ONE < 0:
                self.findings.add(
                    f"{where(frame)}: {outcome.command} takes more of {asset} from {account} than is lost"
                )

    def _is_dust(self, account: int, asset: int, lines: Mapping[tuple[int, int], int]) -> bool:
        """Coins below one lot, which no order of the account's episode could sell, go with the debt."""
        lots = [
            one.base_units_per_lot
            for one in self.world.parameters.instruments
            if one.kind is InstrumentKind.SPOT and one.underlying == asset
        ]
        taken = -lines.get((asset, ledger_pb2.LINE_KIND_CASH), 0)
        return account in self._episodes.values() and any(0 < taken < one for one in lots)

    def _owner(self, frame: JournalFrame, outcome: journal_pb2.Outcome, account: int, book: PartitionBook) -> None:
        attributes = book.accounts.get(account)
        is_client = outcome.principal.role == ledger_pb2.ROLE_CLIENT
        if is_client and (attributes is None or attributes.owner != outcome.principal.id):
            self.findings.add(f"{where(frame)}: {outcome.command} by {outcome.principal.id} moves account {account}")
        elif not is_client:
            self.findings.add(f"{where(frame)}: {outcome.command} of account {account} is not its owner's")


def _movers(outcome: journal_pb2.Outcome) -> tuple[set[int], set[int]]:
    """Entities that leave with an outcome, and accounts that enter."""
    leaving, entering = set(), set()
    for effect in outcome.effects:
        if effect.HasField("entity_move") and effect.entity_move.is_out:
            leaving.add(effect.entity_move.entity)
        elif effect.HasField("account") and effect.account.moved_from:
            entering.add(effect.account.account)
    return leaving, entering


def _change_15(asset: int, lines: Mapping[tuple[int, int], int], indices: tuple[int, int, int]) -> int:
    """Change of an account's value in one asset, 10^-15 units, roundings forgiven."""
    supply, borrow, overdraft = indices
    held = sum(lines.get((asset, kind), 0) for kind in _HELD) * INDEX_ONE
    claims = lines.get((asset, _SUPPLY), 0) * supply
    owed = lines.get((asset, _OWED[0]), 0) * borrow + lines.get((asset, _OWED[1]), 0) * overdraft
    shares = 2 * mul_div_up(max(indices), 1, INDEX_ONE)
    return held + claims - owed + (_ROUNDING_UNITS + shares) * INDEX_ONE
