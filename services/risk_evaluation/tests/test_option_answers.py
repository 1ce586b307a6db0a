"""Options in what a worker publishes and answers: surfaces from the marks log to margin, verdicts and explanation."""

from __future__ import annotations

import pytest

from ballast.api.v1 import outlook_pb2 as api
from ballast.events.v1 import market_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import market_pb2 as words
from libs.common.validity import ValidityClass
from services.risk_evaluation.app.contagion import Contagions
from services.risk_evaluation.app.questions import explain
from services.risk_evaluation.domain.model import build_model
from services.risk_evaluation.domain.surfaces import VolatilitySurface, surface_of
from services.risk_evaluation.tests.hand import Desk, accepted, attributes, order, posting
from services.risk_evaluation.tests.option_world import CALL, PUT, market, option_parameters
from services.risk_evaluation.tests.test_structured import MODEL, STRANGLE
from services.risk_evaluation.tests.world import BTC, COIN, DOLLAR, USD, account

LOTS, CASH, DEBT = ledger_pb2.LINE_KIND_LOTS, ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_DEBT_SHARES


def message_of(underlying: int, one: VolatilitySurface) -> words.VolatilitySurface:
    return words.VolatilitySurface(
        underlying=underlying,
        made_at_ns=one.made_at_ns,
        validity=words.ValidityClass.Name(one.validity),
        smiles=[
            words.Smile(
                expiry_ns=smile.expiry_ns, forward_price=smile.forward_price, discount_rate=smile.discount_rate,
                a=smile.svi.a, b=smile.svi.b, rho=smile.svi.rho, m=smile.svi.m, sigma=smile.svi.sigma,
            )
            for smile in one.smiles
        ],
    )  # fmt: skip


async def show(desk: Desk, *, sequence: int, with_surfaces: bool = True, snapshot: bool = True) -> None:
    at = market()
    body = market_pb2.MarksBody(
        snapshot=snapshot,
        instrument=at.marks.keys(),
        mark_price=[one.price for one in at.marks.values()],
        slow_price=[one.slow for one in at.marks.values()],
        confidence=[one.confidence for one in at.marks.values()],
        validity=bytes(one.validity for one in at.marks.values()),
        surfaces=[message_of(asset, one) for asset, one in at.surfaces.items()] if with_surfaces else [],
    )
    frame = accepted(sequence, body.SerializeToString(), run_time_ns=sequence * 10**9)
    desk.risk.take_marks(frame, received_wall_ns=1, is_history=False)
    await desk.risk.turn()


async def test_a_surface_says_the_same_after_the_wire() -> None:
    for asset, one in market().surfaces.items():
        assert surface_of(message_of(asset, one)) == one


async def test_options_are_published_judged_and_explained() -> None:
    desk = Desk(model=build_model(option_parameters()))
    await desk.journal(
        attributes(account()), posting(account(), USD, CASH, 1_000_000 * DOLLAR), posting(account(), CALL, LOTS, -10)
    )
    await show(desk, sequence=1)
    published = desk.screen.frames[-1]
    assert published.validity[0] == ValidityClass.VALID
    assert published.maintenance_margin[0] > 0
    answer = explain(desk.model, desk.risk.partition(0), desk.risk.market, desk.risk.control, account())
    assert answer.margin.maintenance_margin == published.maintenance_margin
    line = next(one for one in answer.lines if one.symbol == f"OPTION-{CALL}")
    assert line.value < 0
    assert line.greeks.delta == pytest.approx(-5.5, abs=1)
    assert line.greeks.gamma < 0
    assert line.greeks.vega < 0
    assert line.greeks.theta > 0
    assert line.greeks.volatility == pytest.approx(0.8, abs=0.1)
    assert sum(one.value for one in answer.lines) == pytest.approx(published.equity[0], abs=2)


async def test_without_a_surface_an_order_on_options_waits_for_nothing_and_is_refused() -> None:
    desk = Desk(model=build_model(option_parameters()))
    await desk.journal(attributes(account()), posting(account(), USD, CASH, 1_000_000 * DOLLAR))
    await show(desk, sequence=1)
    await desk.journal(order(1, -5, instrument=CALL, limit=500_000))
    assert [one.verdict.settle for one in desk.screen.commands] == [True]
    desk.screen.clear()
    await show(desk, sequence=2, with_surfaces=False)  # a snapshot that names none: they are gone
    await desk.journal(order(2, -5, instrument=CALL, limit=500_000))
    refused = desk.screen.commands[-1].verdict
    assert (refused.settle, refused.reason) == (False, ledger_pb2.REFUSAL_MARK_NOT_USABLE)
    assert BTC not in desk.risk.market.surfaces


async def test_a_package_is_judged_published_and_explained_by_its_legs() -> None:
    desk = Desk(model=MODEL)
    await desk.journal(
        attributes(account()), posting(account(), USD, CASH, 1_000_000 * DOLLAR), posting(account(), STRANGLE, LOTS, 2)
    )
    await show(desk, sequence=1)
    published = desk.screen.frames[-1]
    answer = explain(desk.model, desk.risk.partition(0), desk.risk.market, desk.risk.control, account())
    assert answer.margin.maintenance_margin == published.maintenance_margin
    line = next(one for one in answer.lines if one.symbol == f"PACKAGE-{STRANGLE}")
    assert [(one.symbol, one.balance) for one in line.legs] == [
        ("BTC", 2 * COIN), (f"OPTION-{PUT}", -2), (f"OPTION-{CALL}", -2)
    ]  # fmt: skip
    assert line.value == pytest.approx(sum(one.value for one in line.legs), abs=3)
    for name in ("delta", "gamma", "vega", "theta"):
        assert getattr(line.greeks, name) == pytest.approx(sum(getattr(one.greeks, name) for one in line.legs))
    assert 0 < line.greeks.delta < 2
    assert sum(one.value for one in answer.lines) == pytest.approx(published.equity[0], abs=3)
    await desk.journal(order(1, 1, instrument=STRANGLE, limit=6_000_000))
    assert desk.screen.commands[-1].verdict.settle


async def test_contagion_counts_a_package_as_its_legs() -> None:
    equity = []
    for lines in (((STRANGLE, LOTS, 2),), ((BTC, CASH, 2 * COIN), (PUT, LOTS, -2), (CALL, LOTS, -2))):
        desk = Desk(model=MODEL)
        await desk.journal(
            attributes(account()),
            posting(account(), USD, CASH, 100_000 * DOLLAR),
            posting(account(), USD, DEBT, 150_000 * DOLLAR),
            *(posting(account(), key, kind, balance) for key, kind, balance in lines),
        )
        await show(desk, sequence=1)
        answer = await Contagions(desk.risk).answer(api.ContagionRequest(asset=BTC, fall_ppm=400_000, worst=5))
        assert answer.accounts == 1
        equity.append(answer.worst[0].equity_after)
    assert equity[0] == pytest.approx(equity[1], abs=2)
