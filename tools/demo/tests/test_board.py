"""The board fits its terminal and gives it back; plain lines carry no control codes."""

import io
import re
from contextlib import nullcontext

import pytest
from rich.console import Console

from ballast.events.v1 import risk_pb2
from ballast.types.v1 import ledger_pb2 as words
from tools.demo import panels
from tools.demo.board import REFRESH_SECONDS, Board, layout
from tools.demo.lines import BURST_MAX, PlainLines, status_line
from tools.demo.tests.story import BTC_PERP, BTC_USD, MINUTE_NS, NORTH, START_NS, USD, Story, client
from tools.demo.view import STATES, ServiceRow, View
from tools.demo.viewing import view_of

LEAVE_SCREEN, SHOW_CURSOR = "\x1b[?1049l", "\x1b[?25h"


class Run:
    """A source that counts how often it is asked."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.asked = 0

    def snapshot(self) -> View:
        self.asked += 1
        return self.view


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def crash(accounts: int = 60) -> Story:
    story = Story()
    story.marks({BTC_USD: 1_600_000, BTC_PERP: 1_601_000}, at_ns=START_NS)
    for number in range(accounts):
        story.open_account(number, f"desk-{number:02d}")
    story.marks({BTC_USD: 1_200_000, BTC_PERP: 1_200_500}, at_ns=START_NS + MINUTE_NS, validity=3)
    story.margin({client(n): (1_000 + 40 * n, 3_000, 2_000, STATES[n % 4]) for n in range(accounts)})
    for number in range(0, accounts, 3):
        story.line(client(number), BTC_PERP, words.LINE_KIND_LOTS, 1_000 - number)
        story.episode(number, state=words.EPISODE_STATE_OPEN)
        story.order(number, state=words.ORDER_STATE_WORKING)
    story.fill(0, price=1_190_000)
    story.loss(3, usd=1_000, step=words.WATERFALL_STEP_INSURANCE_FUND)
    story.pool(0, asset=USD, idle=10**12, debt_shares=3 * 10**12)
    story.depth(NORTH, BTC_USD, bids=((1_199_000, 900),), asks=())
    story.watch(at_ns=story.now_ns, held="order_in_flight: 20 orders", prices=(("north", "BTC-USD", "bridged (x)"),))
    story.picture.held_seconds = {"order_in_flight": 61.0}
    story.picture.take_service(ServiceRow("risk_evaluation", False, "journal behind", 3, 4.25, 1_234.5, "sweep", 99.0))
    return story


def drawn(view: View, *, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, force_terminal=False)
    console.print(layout(view, width=width, height=height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(120, 40), (80, 24), (80, 40), (109, 30), (200, 60), (110, 24)])
@pytest.mark.parametrize("is_empty", [True, False])
def test_the_board_fits_its_terminal(width: int, height: int, is_empty: bool) -> None:
    lines = drawn(View() if is_empty else view_of(crash().picture, command_ends={}), width=width, height=height)
    assert len(lines) == height
    assert {len(line) for line in lines} == {width}


def test_the_board_shows_what_a_person_looks_for() -> None:
    text = "\n".join(drawn(view_of(crash().picture, command_ends={}), width=120, height=40))
    for words_shown in (
        "2017-12-21 12:01:00 UTC", "window 1 of 2, 21-22 Dec 2017", "held order in flight: 20 orders", "bridged (x)",
        "12,000", "-25.0%", "HOLD", "60 accounts", "20 open episodes", "desk-00 0/1", "0.500", "1,000 USD",
        "● risk_evaluation", "1,234", "journal", "75%",
    ):  # fmt: skip
        assert words_shown in text, words_shown


@pytest.mark.parametrize("by_state", [(0, 990, 8, 1, 1), (0, 0, 0, 0, 3), (0, 1, 1, 1, 1_000), (0, 5, 0, 0, 0)])
def test_the_state_bar_hides_no_state(by_state: tuple[int, ...]) -> None:
    bar = panels.state_bar(by_state, 36)
    assert len(bar.plain) == 36
    shown = {span.style for span in bar.spans if span.end > span.start}
    assert shown == {panels.STATE_STYLES[state] for state in STATES if by_state[state]}


@pytest.mark.parametrize("failure", [None, KeyboardInterrupt, RuntimeError])
def test_the_terminal_is_given_back_whatever_happens(failure: type[BaseException] | None) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, height=40, _environ={"TERM": "xterm"})
    expected = pytest.raises(failure) if failure is not None else nullcontext()
    with expected, Board(Run(view_of(crash().picture, command_ends={})), console=console) as board:
        board.refresh()
        if failure is not None:
            raise failure
    written = screen.getvalue()
    assert written.index("\x1b[?1049h") < written.index(LEAVE_SCREEN)
    assert SHOW_CURSOR in written[written.index("\x1b[?25l") :]


def test_the_board_rests_between_two_frames() -> None:
    clock, run = Clock(), Run(View())
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=40, _environ={"TERM": "xterm"})
    with Board(run, console=console, clock=clock) as board:
        for _ in range(10):
            board.refresh()
            clock.now += REFRESH_SECONDS / 5
    assert run.asked == 3  # two frames, and the last line


def test_plain_lines_carry_no_control_codes() -> None:
    clock, screen = Clock(), io.StringIO()
    run = Run(view_of(crash().picture, command_ends={}))
    console = Console(file=screen, force_terminal=True, width=80)
    with Board(run, plain=True, console=console, clock=clock) as board:
        for _ in range(9):
            board.refresh()
            clock.now += 0.5
    lines = screen.getvalue().splitlines()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", screen.getvalue())
    assert (
        sum("healthy 15 call 15 liquidation 15 bankrupt 15" in line for line in lines) == 4
    )  # at 0, 2, 4 s and the end
    assert any(line.endswith("window 1 of 2 begins: 21-22 Dec 2017") for line in lines)


def test_what_is_no_terminal_gets_plain_lines() -> None:
    screen = io.StringIO()
    with Board(Run(View()), console=Console(file=screen)) as board:
        board.refresh()
    assert "\x1b" not in screen.getvalue()


def test_a_burst_is_told_shortly_and_nothing_twice() -> None:
    story, lines = crash(), PlainLines()
    told = list(lines.news(view_of(story.picture, command_ends={})))
    assert len(told) == BURST_MAX + 1
    assert told[-1].endswith("and 14 more: 13 opened, 1 loss")
    assert list(lines.news(view_of(story.picture, command_ends={}))) == []
    story.picture.note("one more thing")
    assert [line.rpartition("  ")[2] for line in lines.news(view_of(story.picture, command_ends={}))] == [
        "one more thing"
    ]


def test_plain_lines_say_which_prices_are_bridged_when_it_changes() -> None:
    lines, first, second = PlainLines(), View(provenance="north BTC bridged"), View(provenance="north BTC recorded")
    told = [line for view in (View(), first, first, second) for line in lines.status(view)]
    assert [line for line in told if line.startswith("prices: ")] == [
        "prices: north BTC bridged",
        "prices: north BTC recorded",
    ]
    assert len(told) == 6


def test_the_status_line_of_nothing_yet_is_a_line() -> None:
    assert status_line(View()).startswith("not begun | 0% | healthy 0 ")


def test_states_have_words_and_styles() -> None:
    assert set(panels.STATE_STYLES) == set(STATES) == set(risk_pb2.MarginState.values()) - {0}
