"""Every explanation adds up to the number it explains."""

from __future__ import annotations

import pytest
from hypothesis import given

from ballast.api.v1 import risk_pb2 as api
from ballast.types.v1 import ledger_pb2
from services.risk_evaluation.app.questions import HAIRCUT_VALUES, explain
from services.risk_evaluation.domain.explanation import Contingency, Contribution, contributions
from services.risk_evaluation.domain.margin import Margins
from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.tests.hand import Desk, attributes, order, posting
from services.risk_evaluation.tests.test_margin_properties import MODEL, Given, Marks, at_marks, books, fill
from services.risk_evaluation.tests.world import (
    BTC,
    BTC_PERP,
    COIN,
    DOLLAR,
    ETH,
    USD,
    Book,
    account,
    marks,
    parameters,
    risk,
)

EXACT = 2**51  # 10^-6 USD: up to here the parts of a sum lose less than one of them


def explained(book: Book, at: Marks, row: int = 0) -> tuple[list[Contribution], Margins]:
    rows, prices = book.columns.all_rows(), book.prices(at)
    margins = book.margins(at)
    return contributions(book.model, prices, rows, margins, row=row), margins


def of(found: list[Contribution], contingency: Contingency) -> tuple[int, int]:
    own = [one for one in found if one.contingency is contingency]
    return sum(one.maintenance for one in own), sum(one.initial for one in own)


def test_contingencies_have_the_numbers_of_the_wire() -> None:
    for one in Contingency:
        assert api.Contingency.Value(f"CONTINGENCY_{one.name}") == one
    assert len(Contingency) + 1 == len(api.Contingency.values())


@given(given_=books, at=at_marks)
def test_contributions_sum_to_both_requirements(given_: Given, at: Marks) -> None:
    book = Book(MODEL)
    fill(book, given_, of=account())
    fill(book, ({USD: DOLLAR}, {BTC_PERP: (3, -7)}, []), of=account(sub=1))  # another account of the entity
    found, margins = explained(book, at)
    assert sum(one.maintenance for one in found) == margins.maintenance_margin[0]
    assert sum(one.initial for one in found) == margins.initial_margin[0]
    drift = 2 + len(found) // 2 + int(margins.gross_notional[0]) // EXACT
    for rounding in of(found, Contingency.ROUNDING):
        assert abs(rounding) <= drift, found


@given(given_=books, at=at_marks)
def test_published_columns_sum_to_the_requirements(given_: Given, at: Marks) -> None:
    """MM = ⌈Scan + A⌉: scan_loss by underlying and add_on; Open is in the initial margin alone."""
    book = Book(MODEL)
    fill(book, given_, of=account())
    found, margins = explained(book, at)
    published = int(margins.scan_loss[:, 0].sum() + margins.add_on[0])
    drift = 3 + len(MODEL.risky) + int(margins.gross_notional[0]) // EXACT
    assert abs(int(margins.maintenance_margin[0]) - published) <= drift
    scans = {one.underlying: one.maintenance for one in found if one.contingency is Contingency.SCAN}
    assert [scans.get(MODEL.assets[at_].id, 0) for at_ in MODEL.risky] == list(margins.scan_loss[:, 0])
    assert abs(of(found, Contingency.OPEN_ORDERS)[1] - int(margins.open_orders[0])) <= drift
    assert of(found, Contingency.OPEN_ORDERS)[0] == 0
    own = sum(of(found, one)[1] for one in Contingency if one is not Contingency.MAINTENANCE_MULTIPLE)
    assert int(margins.initial_margin[0]) == own + of(found, Contingency.MAINTENANCE_MULTIPLE)[1]
    assert of(found, Contingency.MAINTENANCE_MULTIPLE)[1] >= 0


def test_what_the_multiple_of_maintenance_asks_is_named() -> None:
    model = build_model(parameters(risk(BTC, initial_horizon_s=21_600), rho=1_500_000))
    found, margins = explained(Book(model).cash(BTC, COIN), marks())
    assert of(found, Contingency.MAINTENANCE_MULTIPLE)[1] == pytest.approx(margins.initial_margin[0] / 3, rel=1e-9)


async def test_an_explanation_carries_what_the_number_stands_on_and_sums_to_it() -> None:
    desk = Desk()
    cash = posting(account(), BTC, ledger_pb2.LINE_KIND_CASH, 7 * COIN)
    await desk.journal(attributes(account()), cash, order(1, 2))
    await desk.marks()
    partition, market, control = desk.risk.partitions[0], desk.risk.market, desk.risk.control
    answer = explain(desk.model, partition, market, control, account())
    margin = answer.margin
    assert sum(one.maintenance for one in answer.contributions) == margin.maintenance_margin[0]
    assert sum(one.initial for one in answer.contributions) == margin.initial_margin[0]
    assert (margin.journal_sequence, margin.mark_sequence, margin.control_sequence) == (1, 1, 7)
    assert answer.worst_scenario
    published = desk.screen.frames[-1]
    assert published.initial_margin == margin.initial_margin
    assert published.scan_loss == margin.scan_loss


async def test_the_haircut_at_the_size_held_is_the_initial_margin_of_the_asset_alone() -> None:
    desk = Desk(model=build_model(parameters(risk(BTC, half_spread=1_000, impact=50_000), risk(ETH))))
    held = [posting(account(), BTC, ledger_pb2.LINE_KIND_CASH, 7 * COIN)]
    held.append(posting(account(), USD, ledger_pb2.LINE_KIND_CASH, DOLLAR))
    await desk.journal(attributes(account()), *held)
    await desk.marks()
    answer = explain(desk.model, desk.risk.partitions[0], desk.risk.market, desk.risk.control, account())
    own, *sizes = answer.haircuts  # dollars cannot move
    assert (own.asset, own.value) == (BTC, 420_000 * DOLLAR)
    assert own.haircut_ppm == pytest.approx(answer.margin.initial_margin[0] * 10**6 / own.value, abs=2)
    assert own.haircut_ppm == pytest.approx(own.scan_ppm + own.add_on_ppm, abs=2)
    shares = [one.haircut_ppm for one in sizes]
    assert shares == sorted(shares)
    assert len(set(shares)) == len(HAIRCUT_VALUES)
