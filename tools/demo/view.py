"""What the screen shows of a run at one moment: plain frozen values, made by `picture.py`, drawn by `board.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ballast.events.v1 import risk_pb2
from libs.common.units import SECOND_NS
from libs.common.validity import ValidityClass

STATES = (
    risk_pb2.MARGIN_STATE_HEALTHY,
    risk_pb2.MARGIN_STATE_CALL,
    risk_pb2.MARGIN_STATE_LIQUIDATION,
    risk_pb2.MARGIN_STATE_BANKRUPT,
)
STATE_WORDS: dict[int, str] = {
    risk_pb2.MARGIN_STATE_HEALTHY: "healthy",
    risk_pb2.MARGIN_STATE_CALL: "call",
    risk_pb2.MARGIN_STATE_LIQUIDATION: "liquidation",
    risk_pb2.MARGIN_STATE_BANKRUPT: "bankrupt",
}


@dataclass(frozen=True, slots=True)
class MarkRow:
    """A mark in the quote asset.

    Args:
        change: fraction since the window began, None before its first mark.
        digits: after the point, to show.
    """

    symbol: str
    price: float
    change: float | None
    validity: ValidityClass
    digits: int


@dataclass(frozen=True, slots=True)
class OptionsRow:
    """Options on one underlying.

    Args:
        vol: volatility a year at the money of the nearest expiry.
        holders: accounts that hold any. long, short: coins that clients' options are on.
    """

    underlying: str
    vol: float
    validity: ValidityClass
    holders: int
    long: float
    short: float


@dataclass(frozen=True, slots=True)
class AccountRow:
    """Margin of an account, in USD."""

    account: int
    owner: str
    equity: float
    initial_margin: float
    maintenance_margin: float
    state: int

    @property
    def ratio(self) -> float:
        """Equity over maintenance margin; below 1 the account is liquidatable."""
        return self.equity / self.maintenance_margin if self.maintenance_margin else float("inf")


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """An open episode.

    Args:
        age_s: run seconds since it opened.
        lots: absolute lots of margined instruments left.
        left: the same by instrument, in words.
        orders: its live orders.
        ratio: equity over maintenance margin as last published, None if nothing is published yet.
    """

    episode: int
    account: int
    owner: str
    step: int
    age_s: float
    lots: int
    left: str
    orders: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class FillRow:
    """A fill.

    Args:
        slippage_bp: against the mark at its moment, positive is worse for the account, None without a mark.
        episode: of its order, 0 for a client's.
    """

    account: int
    symbol: str
    venue: str
    is_buy: bool
    lots: int
    price: float
    slippage_bp: float | None
    episode: int


@dataclass(frozen=True, slots=True)
class DepthRow:
    """One instrument's book at one venue; depth in USD within 1 % of the middle."""

    venue: str
    symbol: str
    bid: float | None
    ask: float | None
    bid_depth_usd: float
    ask_depth_usd: float
    digits: int


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A lending pool over all partitions, in whole units of its asset."""

    asset: str
    idle: float
    debt: float
    borrow_rate: float  # a year

    @property
    def utilisation(self) -> float:
        """Share that is lent out."""
        return self.debt / (self.idle + self.debt) if self.idle + self.debt > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A process as its own endpoints and topics show it; None is unknown.

    Args:
        lag: records behind what it reads.
        p50_ms, p99_ms: of `measure`.
    """

    name: str
    is_ready: bool | None
    detail: str
    lag: int | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    measure: str = ""
    memory_mb: float | None = None


@dataclass(frozen=True, slots=True)
class SlippageFigures:
    """Slippage of fills against the mark, in bp; averages weighted by notional."""

    fills: int = 0
    average_bp: float | None = None
    worst_bp: float | None = None


class Kind(StrEnum):
    """What happened, for the log of a run."""

    WINDOW = "window"
    CALLED = "called"
    OPENED = "opened"
    CLOSED = "closed"
    EMPTIED = "emptied"
    LOSS = "loss"
    SETTLED = "settled"
    ALERT = "alert"
    SERVICE = "service"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the log of a run; `number` rises by one."""

    number: int
    run_time_ns: int
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Clock:
    """The replay clock.

    Args:
        window: number of the stretch it is in or going to, from 1.
        progress: share of the replayed stretches that is behind it.
        held_reason: why it stands now, empty when it moves.
        held_seconds: wall time it stood, by reason.
    """

    run_time_ns: int = 0
    window: int = 0
    windows: int = 0
    window_name: str = ""
    progress: float = 0.0
    held_reason: str = ""
    held_seconds: tuple[tuple[str, float], ...] = ()
    has_ended: bool = False

    @property
    def run_seconds(self) -> int:
        """Whole seconds since 1970."""
        return self.run_time_ns // SECOND_NS

    @property
    def held_in_all(self) -> float:
        """Wall seconds held."""
        return sum(seconds for _, seconds in self.held_seconds)


@dataclass(frozen=True, slots=True)
class View:
    """Everything at one moment.

    Args:
        provenance: which prices are recorded and which bridged now, and from where.
        accounts_by_state: number of accounts, index as in MarginState.
        bad_debt_usd: loss beyond the accounts' own assets, by who bore it.
        happenings: the last ones, oldest first.
    """

    clock: Clock = field(default_factory=Clock)
    provenance: str = ""
    marks: tuple[MarkRow, ...] = ()
    options: tuple[OptionsRow, ...] = ()
    accounts_by_state: tuple[int, ...] = (0, 0, 0, 0, 0)
    worst: tuple[AccountRow, ...] = ()
    episodes: tuple[EpisodeRow, ...] = ()
    opened: int = 0
    closed_healthy: int = 0
    closed_emptied: int = 0
    calls: int = 0
    live_orders: int = 0
    slippage: SlippageFigures = field(default_factory=SlippageFigures)
    episode_slippage: SlippageFigures = field(default_factory=SlippageFigures)
    fills: tuple[FillRow, ...] = ()
    depth: tuple[DepthRow, ...] = ()
    pools: tuple[PoolRow, ...] = ()
    insurance_fund_usd: float = 0.0
    bad_debt_usd: tuple[tuple[str, float], ...] = ()
    services: tuple[ServiceRow, ...] = ()
    happenings: tuple[Happening, ...] = ()

    @property
    def bad_debt_in_all(self) -> float:
        """USD lost beyond the accounts' own assets."""
        return sum(usd for _, usd in self.bad_debt_usd)
