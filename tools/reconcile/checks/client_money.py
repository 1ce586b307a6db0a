"""I20 and I21: assets sit where they are said to, and client cash is lent by consent only."""

from __future__ import annotations

from collections import defaultdict

from ballast.events.v1 import custody_pb2, journal_pb2
from ballast.types.v1 import custody_pb2 as words
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import SystemAccount, system_account, system_kind
from libs.common.units import INDEX_ONE, mul_div_down
from tools.reconcile.checks.check import Watch, where
from tools.reconcile.records import JournalFrame
from tools.reconcile.world import World

_CASH, _RESERVED = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_RESERVED
_SUPPLY = ledger_pb2.LINE_KIND_SUPPLY_SHARES


class AssetsSitWhereTheyAreSaid(Watch):
    """I20: what a venue holds is the sum of placements there; a client's lie between nothing and what it has."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._placed: dict[tuple[int, int, int], int] = {}  # account, asset, venue
        self._sums: defaultdict[tuple[int, int, int], int] = defaultdict(int)  # partition, asset, venue

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Every place and every account that the frame touched is right after it."""
        touched, accounts = set(), set()
        for outcome in frame.body.outcomes:
            for effect in outcome.effects:
                if effect.HasField("placement"):
                    one = effect.placement
                    place, total = (one.account, one.asset, one.venue), (frame.partition, one.asset, one.venue)
                    self._sums[total] += one.units - self._placed.get(place, 0)
                    self._placed[place] = one.units
                    touched.add(total)
                    accounts.add(one.account)
                elif effect.HasField("posting"):
                    accounts.add(effect.posting.account)
                    if system_kind(effect.posting.account) is SystemAccount.VENUE and effect.posting.kind == _CASH:
                        venue = effect.posting.account - system_account(SystemAccount.VENUE, partition=frame.partition)
                        touched.add((frame.partition, effect.posting.asset, venue))
        for _, asset, venue in sorted(touched):
            omnibus = system_account(SystemAccount.VENUE, partition=frame.partition, index=venue)
            there, placed = -book.lines.get((omnibus, asset, _CASH), 0), self._sums[frame.partition, asset, venue]
            if there != placed:
                self.findings.add(
                    f"{where(frame)}: venue {venue} holds {there} units of asset {asset}, {placed} are placed there"
                )
        for account in sorted(accounts):
            if system_kind(account) is None and account in book.custody.places:
                self._client(frame, account, book)

    def _client(self, frame: JournalFrame, account: int, book: PartitionBook) -> None:
        placed: defaultdict[int, int] = defaultdict(int)
        for (asset, _), one in book.custody.places[account].items():
            placed[asset] += one.units
            if one.units < 0:
                self.findings.add(f"{where(frame)}: account {account} has {one.units} units at venue {one.venue}")
        lines = book.lines_of(account)
        for asset, units in placed.items():
            has = lines.get((asset, _CASH), 0) + lines.get((asset, _RESERVED), 0)
            if units > max(0, has):
                self.findings.add(f"{where(frame)}: account {account} has {units} units at venues, {has} in all")


class LentByConsent(Watch):
    """I21: a client's claim on a pool grows by its own command, or by a sweep that its dated consent covers."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._index: dict[tuple[int, int], int] = {}  # partition, asset -> supply index as at this outcome

    def frame(self, frame: JournalFrame, book: PartitionBook) -> None:
        """Every growth has its cause."""
        for outcome in frame.body.outcomes:
            terms = {}
            for effect in outcome.effects:
                if effect.HasField("pool_index"):
                    self._index[frame.partition, effect.pool_index.asset] = effect.pool_index.supply_index
                elif effect.HasField("custody_terms"):
                    terms[effect.custody_terms.account, effect.custody_terms.asset] = effect.custody_terms
            for effect in outcome.effects:
                one = effect.posting
                is_growth = effect.HasField("posting") and one.kind == _SUPPLY and one.delta > 0
                if is_growth and system_kind(one.account) is None:
                    self._grows(frame, outcome, one, terms.get((one.account, one.asset)))

    def _grows(
        self,
        frame: JournalFrame,
        outcome: journal_pb2.Outcome,
        one: journal_pb2.Posting,
        terms: custody_pb2.CustodyTerms | None,
    ) -> None:
        if outcome.command in ("supply", "arrive"):  # I10 says that it is the owner's; I15 that it came with it
            return
        said = f"{where(frame)}: {outcome.command} lends {one.delta} shares of account {one.account}"
        if outcome.command != "sweep_lendable" or terms is None:
            self.findings.add(f"{said} without a consent")
            return
        is_consent = terms.mode == words.CUSTODY_MODE_LENDABLE and len(terms.document_hash) == 32
        if not is_consent or not 0 < terms.consented_at_ns <= frame.run_time_ns:
            self.findings.add(f"{said} by no dated consent")
        index = self._index.get((frame.partition, one.asset), INDEX_ONE)
        lent = mul_div_down(terms.lent_shares, index, INDEX_ONE)
        if lent > terms.cap_units:
            self.findings.add(f"{said}: {lent} units are lent, consented are {terms.cap_units}")
