"""What the picture makes of the topics' messages."""

import pytest

from ballast.events.v1 import journal_pb2, lifecycle_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2 as words
from ballast.types.v1 import lifecycle_pb2 as kinds
from libs.common.ids import SystemAccount, system_account
from tools.demo.tests.story import BTC, BTC_PERP, BTC_USD, MINUTE_NS, NORTH, START_NS, USD, Story, client
from tools.demo.valuation import account_label, digits_of, slippage_bp
from tools.demo.view import Kind, ServiceRow, View
from tools.demo.viewing import view_of
from tools.demo.windows import Windows

HEALTHY, CALL = risk_pb2.MARGIN_STATE_HEALTHY, risk_pb2.MARGIN_STATE_CALL
LIQUIDATION = risk_pb2.MARGIN_STATE_LIQUIDATION


def view(story: Story) -> View:
    return view_of(story.picture, command_ends={})


def test_change_counts_from_the_start_of_the_window() -> None:
    story = Story()
    story.marks({BTC_USD: 1_600_000}, at_ns=START_NS)
    story.marks({BTC_USD: 1_200_000}, at_ns=START_NS + 60 * MINUTE_NS)
    assert view(story).marks[0].change == pytest.approx(-0.25)
    second = story.picture.windows.bounds[1][0]
    story.marks({BTC_USD: 1_100_000}, at_ns=second)
    assert view(story).marks[0].change == 0.0
    assert [one.text for one in story.picture.happenings if one.kind is Kind.WINDOW] == [
        "window 1 of 2 begins: 21-22 Dec 2017",
        "window 2 of 2 begins: 16-17 Jan 2018",
    ]


def test_a_heartbeat_moves_the_clock_and_no_mark() -> None:
    story = Story()
    story.marks({BTC_USD: 1_600_000}, at_ns=START_NS)
    story.marks({}, at_ns=START_NS + MINUTE_NS)
    assert story.picture.mark(BTC_USD) == 1_600_000
    assert story.picture.run_time_ns == START_NS + MINUTE_NS
    assert list(story.picture.mark_frames) == [1]


def test_calls_are_told_once_and_again_when_worse() -> None:
    story, told = Story(), []
    story.picture.on_margin_call = lambda account, state: told.append((account, state))
    one, two = client(0), client(4)
    story.margin({one: (100, 50, 40, HEALTHY), two: (45, 50, 40, CALL)})
    story.margin({one: (45, 50, 40, CALL)}, full=False, journal_sequence=2)
    story.margin({one: (44, 50, 40, CALL)}, full=False, journal_sequence=3)
    story.margin({one: (30, 50, 40, LIQUIDATION)}, full=False, journal_sequence=4)
    assert told == [(two, CALL), (one, CALL), (one, LIQUIDATION)]
    assert view(story).calls == 2
    assert view(story).accounts_by_state == (0, 0, 1, 1, 0)


def test_an_older_margin_frame_is_noise() -> None:
    story = Story()
    story.margin({client(0): (100, 50, 40, HEALTHY)}, journal_sequence=5)
    story.margin({client(0): (30, 50, 40, LIQUIDATION)}, journal_sequence=4)
    assert view(story).accounts_by_state == (0, 1, 0, 0, 0)


def test_the_worst_account_of_all_partitions_comes_first() -> None:
    story = Story()
    story.open_account(1, "desk-01")
    story.margin(
        {
            client(0): (100, 60, 50, HEALTHY),
            client(1): (10, 30, 20, LIQUIDATION),
            client(2): (19, 30, 20, LIQUIDATION),
            client(3): (500, 0, 0, HEALTHY),
        }
    )
    worst = view(story).worst
    assert [row.account for row in worst] == [client(1), client(2), client(0)]
    assert (worst[0].owner, worst[0].ratio) == ("desk-01 1/2", 0.5)


def test_an_episode_is_counted_once_however_often_it_changes() -> None:
    story = Story()
    story.open_account(0, "desk-00")
    story.marks({BTC_PERP: 1_600_000}, at_ns=START_NS)
    story.line(client(0), BTC_PERP, words.LINE_KIND_LOTS, -120)
    story.line(client(0), BTC, words.LINE_KIND_CASH, 150_000_000)
    story.episode(0, state=words.EPISODE_STATE_OPEN)
    story.order(0, state=words.ORDER_STATE_RELEASED)
    story.episode(0, state=words.EPISODE_STATE_OPEN, step=1)
    story.marks({}, at_ns=START_NS + MINUTE_NS)
    shown = view(story)
    (row,) = shown.episodes
    assert (shown.opened, row.step, row.orders, row.lots) == (1, 1, 1, 120)
    assert row.left == "BTC-USD-PERP -120, BTC 1.50"
    story.order(0, state=words.ORDER_STATE_FILLED)
    story.episode(0, state=words.EPISODE_STATE_HEALTHY, step=1, opened_ns=START_NS, closed_ns=START_NS + MINUTE_NS)
    shown = view(story)
    assert (shown.opened, shown.closed_healthy, shown.closed_emptied, shown.episodes) == (1, 1, 0, ())
    assert story.picture.episode_orders == {}
    assert story.picture.happenings[-1].text == "episode closed: desk-00 0/1 healthy, 1 step, 60 s"


@pytest.mark.parametrize(
    ("is_buy", "price", "expected"),
    [(True, 1_010_000, 100.0), (False, 990_000, 100.0), (True, 990_000, -100.0), (False, 1_000_000, 0.0)],
)
def test_slippage_is_positive_when_it_costs(is_buy: bool, price: int, expected: float) -> None:
    assert slippage_bp(is_buy=is_buy, price=price, mark=1_000_000) == pytest.approx(expected)


def test_slippage_is_against_the_mark_of_the_fills_moment() -> None:
    story = Story()
    story.marks({BTC_PERP: 1_000_000}, at_ns=START_NS)
    story.fill(0, price=990_000, lots=30)
    story.marks({BTC_PERP: 500_000}, at_ns=START_NS + MINUTE_NS)
    story.fill(0, price=500_000, lots=20, is_episodes=False)
    shown = view(story)
    assert shown.episode_slippage.average_bp == pytest.approx(100)
    assert (shown.slippage.fills, shown.slippage.worst_bp) == (1, 0.0)
    assert shown.fills[0].venue == "north"


def test_losses_are_added_by_who_bore_them() -> None:
    story = Story()
    story.open_account(0, "desk-00")
    story.loss(0, usd=100, step=words.WATERFALL_STEP_FIRST_LOSS)
    story.loss(0, usd=40, step=words.WATERFALL_STEP_INSURANCE_FUND)
    story.loss(0, usd=2, step=words.WATERFALL_STEP_INSURANCE_FUND)
    shown = view(story)
    assert shown.bad_debt_usd == (("first-loss capital", 100.0), ("insurance fund", 42.0))
    assert shown.bad_debt_in_all == 142.0


def test_pools_and_insurance_are_added_over_partitions() -> None:
    story = Story()
    story.pool(0, asset=USD, idle=3_000_000, debt_shares=500_000, borrow_index=2 * 10**15)
    story.pool(1, asset=USD, idle=1_000_000, debt_shares=0)
    for partition in (0, 2):
        fund = system_account(SystemAccount.INSURANCE, partition=partition)
        story.line(fund, USD, words.LINE_KIND_CASH, 5_000_000)
    shown = view(story)
    pool = shown.pools[0]
    assert (pool.asset, pool.idle, pool.debt, pool.utilisation) == ("USD", 4.0, 1.0, 0.2)
    assert shown.insurance_fund_usd == 10.0


def test_depth_counts_what_lies_within_one_percent_of_the_middle() -> None:
    story = Story()
    book = story.depth(
        NORTH, BTC_USD, bids=((999_900, 1_000), (989_000, 5_000)), asks=((1_000_100, 2_000), (1_009_000, 1_000))
    )
    assert book.venue == NORTH
    (row,) = view(story).depth
    # A lot is 0.001 BTC.
    assert row.bid_depth_usd == pytest.approx(9_999)
    assert row.ask_depth_usd == pytest.approx(20_002 + 10_090)


def test_risk_lags_by_the_marks_that_its_slowest_partition_has_not_seen() -> None:
    story = Story()
    for minute in range(4):
        story.marks({BTC_USD: 1_600_000}, at_ns=START_NS + minute * MINUTE_NS)
        story.margin({client(number): (100, 60, 50, HEALTHY) for number in range(4 if minute < 2 else 3)})
    story.picture.take_service(ServiceRow("risk_evaluation", True, ""))
    story.picture.take_service(ServiceRow("collateral_management", True, ""))
    story.journal(0)
    rows = {row.name: row for row in view_of(story.picture, command_ends={0: 4, 1: 0}).services}
    assert rows["risk_evaluation"].lag == 2
    assert rows["collateral_management"].lag == 3


def test_a_service_that_stops_being_ready_is_news() -> None:
    story = Story()
    story.picture.take_service(ServiceRow("venue_gateway", False, "it has not begun"))
    story.picture.take_service(ServiceRow("venue_gateway", True, ""))
    story.picture.take_service(ServiceRow("venue_gateway", False, "no answer"))
    story.picture.take_service(ServiceRow("venue_gateway", True, ""))
    assert [one.text for one in story.picture.happenings] == [
        "venue_gateway is not ready: no answer",
        "venue_gateway is ready again",
    ]


def test_the_provenance_says_what_is_bridged_and_from_where() -> None:
    story = Story()
    shape = "bridged (Bitstamp daily, on BTC's hourly shape)"
    story.watch(
        at_ns=START_NS,
        prices=(
            ("north", "BTC-USD", shape),
            ("north", "BTC-USD-PERP", shape),
            ("north", "LTC-USD", shape),
            ("south", "BTC-USD", "recorded (Coinbase hourly)"),
        ),
    )
    assert view(story).provenance == f"north BTC LTC {shape} · south BTC recorded (Coinbase hourly)"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("2017-12-22T04:00/2017-12-22T16:00", "22 Dec 2017"),
        ("2017-12-21T12:00/2017-12-23T00:00", "21-22 Dec 2017"),
        ("2017-12-20T01:00/2018-02-10T00:00", "20 Dec 2017-09 Feb 2018"),
        ("2018-01-20T01:00/2018-02-10T00:00", "20 Jan-09 Feb 2018"),
    ],
)
def test_a_window_is_named_by_its_days(text: str, name: str) -> None:
    assert Windows.parse(text).name(1) == name


def test_progress_counts_only_what_is_replayed() -> None:
    windows = Windows([(100, 200), (1_000, 1_300)])
    moments = (0, 150, 200, 999, 1_150, 1_300, 5_000)
    assert [windows.progress(at) for at in moments] == [0.0, 0.125, 0.25, 0.25, 0.625, 1.0, 1.0]
    assert [windows.number(at) for at in moments] == [1, 1, 2, 2, 2, 2, 2]


def test_labels_and_digits_are_short() -> None:
    assert account_label(client(5), "desk-05") == "desk-05 1/6"
    assert [digits_of(price) for price in (15_758.8, 501.5, 9.5, 0.0)] == [0, 2, 4, 2]


def test_positions_settled_at_an_end_are_told_by_partition() -> None:
    story = Story()
    future = next(one for one in story.picture.parameters.instruments if one.is_margined and one.expiry_ns)
    house = system_account(SystemAccount.SUSPENSE, partition=0)
    closed = [
        journal_pb2.Effect(
            position_closed=lifecycle_pb2.PositionClosed(
                account=account, instrument=future.id, lots=3, price=1_332_633, cause=kinds.CLOSING_CAUSE_SETTLED
            )
        )
        for account in (client(0), client(4), house)
    ]
    story.journal(0, *closed)
    told = [one.text for one in story.picture.happenings if one.kind is Kind.SETTLED]
    assert told == [f"{future.symbol} has ended: 2 positions of partition 0 settled at 13,326.33 USD"]
