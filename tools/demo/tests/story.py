"""A run in memory: messages as the topics carry them, folded into a picture."""

from __future__ import annotations

from pathlib import Path

from ballast.api.v1 import replay_pb2
from ballast.events.v1 import journal_pb2, market_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import market_pb2 as market_words
from libs.common.config import load_parameters
from libs.common.ids import SystemAccount, account_id, serial_id, system_account
from libs.common.parameters import Parameters
from libs.common.units import INDEX_ONE, SECOND_NS
from tools.demo.picture import Picture
from tools.demo.spans import moment_ns
from tools.demo.windows import Windows

WINDOWS = "2017-12-21T12:00/2017-12-23T00:00,2018-01-16T00:00/2018-01-17T18:00"
START_NS = moment_ns("2017-12-21T12:00")
MINUTE_NS = 60 * SECOND_NS
USD, BTC = 1, 2
BTC_USD, BTC_PERP = 1, 11
NORTH, SOUTH = 1, 2
PARAMETERS = load_parameters(Path(__file__).resolve().parents[3] / "config").parameters


def client(number: int) -> int:
    """Account of the client of that number, spread over the partitions."""
    return account_id(partition=number % PARAMETERS.partitions, entity=number + 1, sub=0)


class Story:
    """Tells a picture what the topics of a run would."""

    def __init__(self, parameters: Parameters = PARAMETERS) -> None:
        self.picture = Picture(parameters, Windows.parse(WINDOWS))
        self.now_ns = START_NS
        self.mark_sequence = 0
        self._sequences = dict.fromkeys(range(parameters.partitions), 0)

    def marks(self, prices: dict[int, int], *, at_ns: int, validity: int = 1) -> None:
        """A frame of marks."""
        self.now_ns = at_ns
        self.mark_sequence += 1
        body = market_pb2.MarksBody(
            instrument=prices, mark_price=prices.values(), validity=bytes([validity]) * len(prices)
        )
        self.picture.take_marks(body, sequence=self.mark_sequence, run_time_ns=at_ns)

    def journal(self, partition: int, *effects: journal_pb2.Effect) -> None:
        """A frame of a journal with one outcome."""
        self._sequences[partition] += 1
        self.picture.take_journal(
            partition,
            journal_pb2.JournalBody(outcomes=[journal_pb2.Outcome(effects=effects)]),
            sequence=self._sequences[partition],
            run_time_ns=self.now_ns,
            input_offset=self._sequences[partition] - 1,
        )

    def margin(
        self, rows: dict[int, tuple[int, int, int, int]], *, full: bool = True, journal_sequence: int = 1
    ) -> None:
        """Margin frames of (equity, IM, MM, state) by account, whole USD, one for each partition that has any."""
        for partition in self._sequences:
            own = {account: row for account, row in rows.items() if account >> 48 == partition}
            if own:
                self.picture.take_margin(_margin(partition, own, full, journal_sequence, self.mark_sequence))

    def open_account(self, number: int, owner: str) -> None:
        """A client's account in the journal."""
        account = client(number)
        self.journal(account >> 48, _effect(account=journal_pb2.Account(account=account, entity=account, owner=owner)))

    def episode(
        self, number: int, *, state: words.EpisodeState, step: int = 0, opened_ns: int = 0, closed_ns: int = 0
    ) -> None:
        """The client's only episode."""
        account = client(number)
        episode = journal_pb2.Episode(
            episode=episode_of(number),
            account=account,
            state=state,
            step=step,
            opened_at_ns=opened_ns or self.now_ns,
            closed_at_ns=closed_ns,
            equity=9_000_000_000,
            maintenance_margin=10_000_000_000,
        )
        owner = self.picture.books[account >> 48].accounts[account].owner
        is_open = state == words.EPISODE_STATE_OPEN
        attributes = journal_pb2.Account(
            account=account, entity=account, owner=owner, restricted=is_open, episode=episode.episode if is_open else 0
        )
        self.journal(account >> 48, _effect(episode=episode), _effect(account=attributes))

    def order(self, number: int, *, state: words.OrderState, is_episodes: bool = True, serial: int = 1) -> None:
        """An order of the client, for BTC perps."""
        account = client(number)
        order = journal_pb2.Order(
            order=serial_id(partition=account >> 48, serial=number * 100 + serial),
            account=account,
            instrument=BTC_PERP,
            venue=NORTH,
            lots=50,
            remaining=50,
            state=state,
            episode=episode_of(number) if is_episodes else 0,
            step=1 if is_episodes else 0,
        )
        self.journal(account >> 48, _effect(order=order))

    def fill(self, number: int, *, price: int, lots: int = 10, is_buy: bool = False, is_episodes: bool = True) -> None:
        """A fill of the client, in BTC perps."""
        account = client(number)
        fill = journal_pb2.Fill(
            account=account,
            instrument=BTC_PERP,
            venue=NORTH,
            side=market_words.SIDE_BUY if is_buy else market_words.SIDE_SELL,
            lots=lots,
            price=price,
            executed_at_ns=self.now_ns,
            episode=episode_of(number) if is_episodes else 0,
        )
        self.journal(account >> 48, _effect(fill=fill))

    def line(self, account: int, asset: int, kind: words.LineKind, balance: int) -> None:
        """A line's balance."""
        posting = journal_pb2.Posting(account=account, asset=asset, kind=kind, balance=balance)
        self.journal(account >> 48, _effect(posting=posting))

    def loss(self, number: int, *, usd: int, step: words.WaterfallStep) -> None:
        """A step of the waterfall, whole USD."""
        account = client(number)
        waterfall = journal_pb2.Waterfall(account=account, asset=USD, units=usd * 10**6, step=step)
        self.journal(account >> 48, _effect(waterfall=waterfall))

    def pool(self, partition: int, *, asset: int, idle: int, debt_shares: int, borrow_index: int = INDEX_ONE) -> None:
        """A pool's shard."""
        account = system_account(SystemAccount.POOL, partition=partition, index=asset)
        self.line(account, asset, words.LINE_KIND_CASH, idle)
        self.line(account, asset, words.LINE_KIND_DEBT_SHARES, -debt_shares)
        index = journal_pb2.PoolIndex(asset=asset, borrow_index=borrow_index, borrow_rate=10**11)
        self.journal(partition, _effect(pool_index=index))

    def depth(
        self, venue: int, instrument: int, *, bids: tuple[tuple[int, int], ...], asks: tuple[tuple[int, int], ...]
    ) -> market_pb2.Liquidity:
        """An instrument's book at a venue; sides as (price, lots), best first."""
        book = market_pb2.Liquidity(
            venue=venue,
            instrument=instrument,
            bid_price=[price for price, _ in bids],
            bid_lots=[lots for _, lots in bids],
            ask_price=[price for price, _ in asks],
            ask_lots=[lots for _, lots in asks],
        )
        self.picture.take_liquidity(book)
        return book

    def watch(
        self, *, at_ns: int, held: str = "", ended: bool = False, prices: tuple[tuple[str, str, str], ...] = ()
    ) -> None:
        """A move of the replay; prices as (venue, instrument, provenance)."""
        shown = [replay_pb2.ReferencePrice(venue=one[0], instrument=one[1], provenance=one[2]) for one in prices]
        self.picture.take_watch(
            replay_pb2.WatchResponse(run_time_ns=at_ns, held_reason=held, ended=ended, prices=shown)
        )


def episode_of(number: int) -> int:
    """Id of the client's only episode."""
    return serial_id(partition=client(number) >> 48, serial=10_000 + number)


def _effect(**fields: object) -> journal_pb2.Effect:
    return journal_pb2.Effect(**fields)  # type: ignore[arg-type]


def _margin(
    partition: int, rows: dict[int, tuple[int, int, int, int]], full: bool, journal_sequence: int, mark_sequence: int
) -> risk_pb2.MarginFrame:
    return risk_pb2.MarginFrame(
        partition=partition,
        journal_sequence=journal_sequence,
        mark_sequence=mark_sequence,
        full=full,
        account=rows,
        equity=[row[0] * 10**6 for row in rows.values()],
        initial_margin=[row[1] * 10**6 for row in rows.values()],
        maintenance_margin=[row[2] * 10**6 for row in rows.values()],
        state=bytes(row[3] for row in rows.values()),
    )
