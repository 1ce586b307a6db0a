"""The panels of the board: each a pure function from the view to something `rich` can draw."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from libs.common.validity import ValidityClass
from tools.demo.view import STATE_WORDS, STATES, Clock, EpisodeRow, Happening, Kind, ServiceRow, SlippageFigures, View

STATE_STYLES: dict[int, str] = dict(zip(STATES, ("green", "yellow", "red", "bold magenta"), strict=True))
VALIDITY_STYLES = {
    ValidityClass.VALID: "green",
    ValidityClass.DEGRADED: "yellow",
    ValidityClass.HOLD: "bold red",
    ValidityClass.STALE: "red",
}
KIND_STYLES = {
    Kind.WINDOW: "bold cyan",
    Kind.OPENED: "red",
    Kind.CLOSED: "green",
    Kind.EMPTIED: "magenta",
    Kind.LOSS: "bold magenta",
    Kind.SETTLED: "bold cyan",
    Kind.ALERT: "bold yellow",
    Kind.SERVICE: "bold cyan",
    Kind.NOTE: "cyan",
}
_FULL, _EMPTY = "━", "─"


def framed(content: RenderableType, title: str, *, note: str = "") -> Panel:
    """A panel in the board's one style."""
    return Panel(
        content,
        title=f"[bold]{title}[/]",
        title_align="left",
        subtitle=f"[dim]{note}[/]" if note else None,
        subtitle_align="right",
        box=box.ROUNDED,
        border_style="bright_black",
        padding=(0, 1),
    )


def moment(run_time_ns: int, *, short: bool = False) -> str:
    """Run time as a person reads it."""
    at = datetime.fromtimestamp(run_time_ns // 10**9, UTC)
    return f"{at:%m-%d %H:%M}" if short else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """A length of time in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3_600}h {whole % 3_600 // 60:02d}m"


def usd(value: float) -> str:
    """USD in at most eight places."""
    if abs(value) >= 99_999_999:
        return f"{value / 1e6:,.0f}M"
    return f"{value:,.0f}"


def thousands(value: float) -> str:
    """USD depth, short."""
    return f"{value / 1e6:.1f}M" if value >= 999_500 else f"{value / 1e3:.0f}k"


def bar(share: float, width: int, style: str) -> Text:
    """A line filled to its share."""
    filled = min(width, max(0, round(share * width)))
    return Text.assemble((_FULL * filled, style), (_EMPTY * (width - filled), "bright_black"))


def _table(*columns: tuple[str, str]) -> Table:
    """Columns as (heading, justification); of these "fill" takes the room that is left, and its cells are cut."""
    table = Table(box=None, padding=(0, 1, 0, 0), expand=True, header_style="dim", show_edge=False)
    for heading, justify in columns:
        fills = justify == "fill"
        table.add_column(
            heading, justify="right" if justify == "right" else "left", no_wrap=not fills, ratio=1 if fills else None
        )
    return table


def _cut(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def header(view: View, *, width: int) -> Panel:
    """The replay clock, how far it is, why it stands, and what its prices rest on."""
    clock = view.clock
    first = Text.assemble(
        (" ▲ BALLAST ", "bold reverse cyan"),
        "  ",
        (moment(clock.run_time_ns) if clock.run_time_ns else "the replay has not begun", "bold"),
    )
    if clock.windows:
        words = "   window {} of {}, {}   " if width >= 100 else "  {}/{} {}  "
        first.append(words.format(clock.window, clock.windows, clock.window_name), "cyan")
        room = max(4, width - 4 - first.cell_len - 6)
        first.append_text(bar(clock.progress, room, "cyan"))
        first.append(f" {clock.progress:4.0%}")
    prices = Text(f"prices: {view.provenance or 'none yet'}", "dim", overflow="ellipsis")
    return Panel(Group(first, _pace(clock), prices), box=box.ROUNDED, border_style="cyan", padding=(0, 1))


def _pace(clock: Clock) -> Text:
    if clock.has_ended:
        pace = Text.assemble(("■ the replay has ended", "bold green"))
    elif clock.held_reason:
        pace = Text.assemble(("❚❚ held ", "bold yellow"), (clock.held_reason.replace("_", " "), "yellow"))
    else:
        pace = Text.assemble(("▶ moving", "bold green"))
    if clock.held_seconds:
        reasons = ", ".join(
            f"{reason.replace('_', ' ')} {duration(s)}" for reason, s in clock.held_seconds[:4] if s >= 1
        )
        pace.append(f"   held {duration(clock.held_in_all)} in all: {reasons}", "dim")
    pace.no_wrap, pace.overflow = True, "ellipsis"
    return pace


def marks(view: View) -> Panel:
    """Marks with their change since the window began and how far they can be trusted; coins that options are on."""
    table = _table(("instrument", "left"), ("mark", "right"), ("window", "right"), ("trust", "fill"))
    for row in view.marks:
        change = Text("-", "dim")
        if row.change is not None:
            change = Text(f"{row.change:+.1%}", "green" if row.change >= 0 else "red")
        trust = _cut(row.validity.name, VALIDITY_STYLES[row.validity])
        table.add_row(row.symbol, Text(f"{row.price:,.{row.digits}f}", "bold"), change, trust)
    for option in view.options:
        coins = Text(f"{option.long:+,.0f} {-option.short:+,.0f}", "dim")
        trust = _cut(option.validity.name, VALIDITY_STYLES[option.validity])
        table.add_row(f"{option.underlying} options", Text(f"{option.vol:.0%} vol", "bold"), coins, trust)
    return framed(table, "marks")


def state_bar(by_state: Sequence[int], width: int) -> Text:
    """Accounts by margin state as one line; a state that has any shows at least one cell."""
    counts = {state: by_state[state] if state < len(by_state) else 0 for state in STATES}
    total = sum(counts.values())
    if not total:
        return Text(_EMPTY * width, "bright_black")
    cells = {state: max(1, count * width // total) if count else 0 for state, count in counts.items()}
    largest = max(counts, key=lambda state: counts[state])
    cells[largest] += width - sum(cells.values())
    return Text.assemble(*(("█" * cells[state], STATE_STYLES[state]) for state in STATES))


def accounts(view: View, *, width: int) -> Panel:
    """Accounts by margin state, and what became of those that fell short."""
    legend = Table.grid(expand=True, padding=(0, 1, 0, 0))
    cells = []
    for state in STATES:
        count = view.accounts_by_state[state] if state < len(view.accounts_by_state) else 0
        strength = "bold" if count else "dim"
        cells.append(Text.assemble(("■ ", STATE_STYLES[state]), f"{STATE_WORDS[state]} ", (f"{count:,}", strength)))
    legend.add_row(cells[0], cells[1])
    legend.add_row(cells[2], cells[3])
    figures = Table.grid(expand=True, padding=(0, 1, 0, 0))
    figures.add_column(min_width=11, no_wrap=True)
    figures.add_column(ratio=1)
    ended = f"{view.closed_healthy:,} healthy, {view.closed_emptied:,} emptied"
    figures.add_row("calls", Text(f"{view.calls:,}", "bold"))
    figures.add_row("episodes", Text.assemble((f"{len(view.episodes):,} open", "bold red" if view.episodes else "dim")))
    figures.add_row("  closed", Text(ended, "green" if view.closed_healthy else "dim"))
    figures.add_row("fills", _slippage(view.slippage))
    figures.add_row("  episodes'", _slippage(view.episode_slippage))
    total = sum(view.accounts_by_state)
    return framed(Group(state_bar(view.accounts_by_state, width), legend, figures), f"{total:,} accounts")


def _slippage(figures: SlippageFigures) -> Text:
    text = _cut("")
    text.append(f"{figures.fills:,}", "bold" if figures.fills else "dim")
    if figures.average_bp is not None and figures.worst_bp is not None:
        text.append(f"  {figures.average_bp:.1f} bp, worst {figures.worst_bp:.0f}", "dim")
    return text


def money(view: View, *, width: int) -> Panel:
    """House capital, losses and the lending pools."""
    figures = Table.grid(expand=True, padding=(0, 1, 0, 0))
    figures.add_column(no_wrap=True)
    figures.add_column(justify="right", no_wrap=True)
    figures.add_row("insurance fund", Text(f"{usd(view.insurance_fund_usd)} USD", "bold"))
    lost = view.bad_debt_in_all
    figures.add_row("bad debt so far", Text(f"{usd(lost)} USD", "bold magenta" if lost else "green"))
    pools = _table(("pool", "left"), ("lent", "left"), ("", "right"), ("rate", "right"))
    for row in view.pools:
        used = row.utilisation
        style = "red" if used > 0.9 else "yellow" if used > 0.75 else "green"
        pools.add_row(row.asset, bar(used, max(6, width - 20), style), f"{used:.0%}", f"{row.borrow_rate:.1%}")
    return framed(Group(figures, pools, _last_fill(view)), "money")


def _last_fill(view: View) -> Text:
    if not view.fills:
        return Text("no fill yet", "dim")
    fill = view.fills[-1]
    side = "bought" if fill.is_buy else "sold"
    cost = "" if fill.slippage_bp is None else f" {fill.slippage_bp:+.0f} bp"
    return _cut(f"last fill: {side} {fill.symbol}{cost} ({fill.venue})", "dim")


def worst(view: View, *, rows: int) -> Panel:
    """The accounts nearest to, or beyond, liquidation; money in USD."""
    table = _table(
        ("account", "left"), ("equity", "right"), ("MM", "right"), ("IM", "right"), ("E/MM", "right"), ("", "fill")
    )
    for row in view.worst[:rows]:
        style = STATE_STYLES.get(row.state, "dim")
        ratio = Text(f"{row.ratio:.3f}" if abs(row.ratio) < 1_000 else "-", style)
        state = _cut(STATE_WORDS.get(row.state, "-"), style)
        money_of = (usd(row.equity), usd(row.maintenance_margin), usd(row.initial_margin))
        table.add_row(row.owner, *money_of, ratio, state)
    return framed(table, "worst ten")


def episodes(view: View, *, rows: int, log_rows: int = 0) -> Panel:
    """Open episodes, oldest first; below them what happened last."""
    table = _table(
        ("account", "left"), ("step", "right"), ("age", "right"), ("E/MM", "right"), ("ord", "right"), ("left", "fill")
    )
    log_rows = max(log_rows, rows - 1 - len(view.episodes) - 1)
    shown = max(0, rows - 1 - log_rows)
    for row in view.episodes[:shown]:
        table.add_row(*_episode_cells(row))
    hidden = len(view.episodes) - shown
    parts: list[RenderableType] = [table] if view.episodes else []
    parts.append(log_lines(view.happenings[-log_rows:] if log_rows > 0 else ()))
    title = f"{len(view.episodes):,} open episodes" if view.episodes else "episodes"
    return framed(Group(*parts), title, note=f"{hidden} more" if hidden > 0 else "")


def _episode_cells(row: EpisodeRow) -> tuple[str | Text, ...]:
    ratio = Text(
        "-" if row.ratio is None else f"{row.ratio:.3f}", "red" if row.ratio is None or row.ratio < 1 else "green"
    )
    return (
        row.owner,
        str(row.step),
        duration(row.age_s),
        ratio,
        str(row.orders or "-"),
        _cut(row.left or "nothing", "dim"),
    )


def log_lines(happenings: Sequence[Happening]) -> Text:
    """One line each, oldest first."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for number, one in enumerate(happenings):
        text.append("\n" if number else "")
        text.append(f"{moment(one.run_time_ns, short=True)} ", "bright_black")
        text.append(one.text.removeprefix("episode "), KIND_STYLES[one.kind])
    return text


def depth(view: View) -> Panel:
    """Best prices and USD within 1 % of the middle, by venue and instrument."""
    venues = list(dict.fromkeys(row.venue for row in view.depth))
    columns = [("", "left")]
    for venue in venues:
        columns += [(venue, "right"), ("ask", "right"), ("1% depth", "right")]
    table = _table(*columns)
    books = {(row.symbol, row.venue): row for row in view.depth}
    for symbol in dict.fromkeys(row.symbol for row in view.depth):
        cells: list[str | Text] = [symbol.replace("-USD", "") if len(venues) > 1 else symbol]
        for venue in venues:
            row = books.get((symbol, venue))
            if row is None:
                cells += ["", "", ""]
                continue
            cells.append(Text("none" if row.bid is None else f"{row.bid:,.{row.digits}f}", "green"))
            cells.append(Text("none" if row.ask is None else f"{row.ask:,.{row.digits}f}", "red"))
            cells.append(Text(f"{thousands(row.bid_depth_usd)}/{thousands(row.ask_depth_usd)}", "dim"))
        table.add_row(*cells)
    return framed(table, "venue depth")


def services(view: View, *, with_memory: bool) -> Panel:
    """Each process: ready or why not, records behind, latency."""
    table = _table(("process", "left"), ("lag", "right"), ("p50", "right"), ("p99", "right"), ("ms, of", "fill"))
    if with_memory:
        table.add_column("MB", justify="right", no_wrap=True)
    for row in view.services:
        memory = ["-" if row.memory_mb is None else f"{row.memory_mb:.0f}"] if with_memory else []
        lag = Text("-" if row.lag is None else f"{row.lag:,}", "yellow" if row.lag and row.lag > 10 else "")
        what = _cut(row.measure, "dim") if row.is_ready else _cut(row.detail, "red")
        table.add_row(_ready(row), lag, _ms(row.p50_ms), _ms(row.p99_ms), what, *memory)
    memory_mb = sum(row.memory_mb or 0 for row in view.services)
    return framed(table, "processes", note=f"{memory_mb:,.0f} MB in all" if memory_mb else "")


def _ready(row: ServiceRow) -> Text:
    return Text.assemble(("● ", "green" if row.is_ready else "bold red"), (row.name, "" if row.is_ready else "red"))


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 1_000 else f"{value:,.0f}"


def log(view: View, *, rows: int) -> Panel:
    """What happened last."""
    return framed(log_lines(view.happenings[-rows:]), "log")
