"""When no order helps: who takes over, who gives up what, and at what price."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballast.events.v1 import deleveraging_pb2, journal_pb2, market_pb2
from ballast.types.v1 import ledger_pb2
from libs.common.deleveraging import Candidate
from libs.common.ids import AccountId, InstrumentId, SystemAccount, account_id, system_account
from libs.common.parameters import Clearing, Instrument, PrincipalRule
from libs.common.units import Lots, Price, Units
from services.liquidation_execution.adapters.wire import command_of, plan_of
from services.liquidation_execution.app.resort import PATIENCE_NS
from services.liquidation_execution.domain.catalogue import Catalogue
from services.liquidation_execution.domain.last_resort import (
    Deleveraging,
    Position,
    Provider,
    TakeOver,
    deleveraging,
    take_over,
)
from services.liquidation_execution.tests import world as world_module
from services.liquidation_execution.tests.kernel import BTC_PERP, CATALOGUE, DOLLAR, MARKS, USD, Account
from services.liquidation_execution.tests.test_process import settle
from services.liquidation_execution.tests.world import PARTITION, World

_CASH, _LOTS = ledger_pb2.LINE_KIND_CASH, ledger_pb2.LINE_KIND_LOTS
PERP = CATALOGUE.instruments[BTC_PERP]
MARK = MARKS[InstrumentId(BTC_PERP)]  # 15,000.00; a lot is a thousandth of a coin, worth 15 dollars
RULES = CATALOGUE.parameters.liquidation  # collar 5 %


def position(lots: int, *, equity: int | None) -> Position:
    """A position of an account with so many dollars of equity."""
    return Position(PERP, Lots(lots), MARK, None if equity is None else Units(equity * DOLLAR))


def provider(number: int, *, dollars: int, lots: int = 0) -> Provider:
    """A liquidity provider."""
    return Provider(AccountId(number), lots, Units(dollars * DOLLAR))


# lots, equity in dollars -> price: the collar, as far as equity goes
PRICES = [
    (1_000, 100_000, 1_425_000),
    (-1_000, 100_000, 1_575_000),
    (1_000, 300, 1_470_000),  # 300 dollars on one coin
    (1_000, 0, 1_500_000),
    (1_000, -50, 1_500_000),
]


@pytest.mark.parametrize(("lots", "equity", "price"), PRICES)
def test_a_taker_is_paid_the_collar_as_far_as_equity_goes(lots: int, equity: int, price: int) -> None:
    found = take_over(position(lots, equity=equity), [provider(9, dollars=10**6)], RULES)
    assert found is not None
    assert (found.lots, found.price, found.taker) == (abs(lots), price, 9)


def test_the_provider_who_can_carry_most_takes_and_no_more_than_it_can() -> None:
    small, large, full = provider(1, dollars=100), provider(2, dollars=1_000), provider(3, dollars=1_000, lots=400)
    found = take_over(position(1_000, equity=0), [full, large, small], RULES)
    assert found is not None
    assert (found.taker, found.lots) == (2, 333)  # 5,000 dollars of 15 each
    other_way = take_over(position(-1_000, equity=0), [full, large, small], RULES)
    assert other_way is not None
    assert (other_way.taker, other_way.lots) == (3, 733)  # it is long: being short first closes that
    assert take_over(position(10, equity=0), [provider(1, dollars=0)], RULES) is None


def party(account: int, lots: int, *, profit: int, cash: int) -> Candidate:
    """Somebody on the other side."""
    return Candidate(account=account, lots=lots, profit=profit, notional=lots * 15 * DOLLAR, cash=cash)


def test_others_give_up_what_is_lacking_beyond_capital_and_no_more() -> None:
    rich, thin = party(1, 600, profit=500 * DOLLAR, cash=10**12), party(2, 600, profit=500 * DOLLAR, cash=DOLLAR)
    found = deleveraging(position(1_000, equity=-500), [rich, thin], capital=200 * DOLLAR, parties_max=10, home=0)
    assert found is not None
    assert found.parties == ((2, 600), (1, 400))
    assert (found.price, found.mark, found.deficit) == (1_530_000, 1_500_000, 300 * DOLLAR)
    short = deleveraging(position(-1_000, equity=-500), [rich, thin], capital=200 * DOLLAR, parties_max=1, home=0)
    assert short is not None
    assert (short.parties, short.price) == (((2, 600),), 1_450_000)
    solvent = deleveraging(position(1_000, equity=10), [rich], capital=0, parties_max=10, home=0)
    assert solvent is not None
    assert (solvent.price, solvent.deficit) == (1_500_000, 0)
    assert deleveraging(position(1_000, equity=-1), [], capital=0, parties_max=10, home=0) is None


@given(st.integers(1, 5_000), st.integers(0, 10**6), st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_i11_what_is_given_up_never_exceeds_the_deficit(lots: int, lacking: int, capital: int) -> None:
    held = Position(PERP, Lots(lots), MARK, Units(-lacking))
    found = deleveraging(held, [party(1, lots, profit=1, cash=1)], capital=capital, parties_max=1, home=0)
    assert found is not None
    given_up = (found.price - found.mark) * lots * PERP.c_num
    assert given_up <= found.deficit * PERP.c_den


# The process over a world in which no venue shows any depth.


def changed(*, internal: bool, owner: str = "") -> Catalogue:
    """The catalogue with an internal perpetual, and with a liquidity provider."""
    perp: Instrument = replace(PERP, clearing=Clearing.INTERNAL) if internal else PERP
    rule = (PrincipalRule(owner, "liquidity_provider"),) if owner else ()
    parameters = replace(
        CATALOGUE.parameters,
        instruments=tuple(perp if one.id == BTC_PERP else one for one in CATALOGUE.parameters.instruments),
        principals=(*CATALOGUE.parameters.principals, *rule),
    )
    return replace(CATALOGUE, parameters=parameters, instruments={**CATALOGUE.instruments, BTC_PERP: perp})


def bystander(world: World, number: int, owner: str, account: Account) -> int:
    """An account without an episode."""
    own = account_id(partition=PARTITION, entity=number, sub=0)
    world.accounts[own] = account
    attributes = journal_pb2.Account(account=own, entity=own, owner=owner)
    world.frame(*world._lines(own), journal_pb2.Effect(account=attributes))
    return own


def dry(monkeypatch: pytest.MonkeyPatch, catalogue: Catalogue, account: Account) -> tuple[World, int]:
    """A world without depth, and an account with an open episode."""
    monkeypatch.setattr(world_module, "CATALOGUE", catalogue)
    world = World()
    world.show(lots=0)
    return world, world.open_account(account)


UNDER_WATER = Account({USD: 200 * DOLLAR}).open(BTC_PERP, 1_000, price=1_530_000)  # 100 dollars short


async def test_a_provider_takes_over_what_no_venue_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    world, account = dry(monkeypatch, changed(internal=False, owner="backstop"), UNDER_WATER)
    taker = bystander(world, 50, "backstop", Account({USD: 100_000 * DOLLAR}))
    bystander(world, 51, "alice", Account({USD: 900_000 * DOLLAR}))
    world.margin()
    await settle(world.process())
    (decision,) = world.decisions
    assert isinstance(decision.what, TakeOver)
    assert (decision.account, decision.step) == (account, 1)
    assert (decision.what.taker, decision.what.lots, decision.what.price) == (taker, 1_000, 1_500_000)
    command = command_of(decision).take_over_position
    assert (command.taker, command.lots, command.basis.control_sequence) == (taker, 1_000, 1)
    assert "taken over" in plan_of(decision).reason


async def test_the_price_is_made_from_the_mark_that_the_decision_cites(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = dry(monkeypatch, changed(internal=False, owner="backstop"), UNDER_WATER)
    bystander(world, 50, "backstop", Account({USD: 100_000 * DOLLAR}))
    world.margin()
    fallen = market_pb2.MarksBody(instrument=[BTC_PERP], mark_price=[1_200_000], validity=b"\1")
    world.live.marks.apply(sequence=world.mark_sequence + 1, run_time_ns=world_module.START_NS, body=fallen)
    await settle(world.process())
    (decision,) = world.decisions
    assert isinstance(decision.what, TakeOver)
    assert (decision.what.price, decision.citation.mark_sequence) == (1_500_000, world.mark_sequence)


async def test_a_provider_that_risk_finds_too_thin_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = dry(monkeypatch, changed(internal=False, owner="backstop"), UNDER_WATER)
    thin = Account({USD: 3_100 * DOLLAR}).open(BTC_PERP, -1_000)
    thin.cash[USD] = 3_100 * DOLLAR
    thin.lots[BTC_PERP] = 0
    thin.variation[BTC_PERP] = -3_000 * DOLLAR
    bystander(world, 50, "backstop", thin)
    world.margin()
    await settle(world.process())
    assert world.decisions == []


async def test_an_internal_position_is_deleveraged_by_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = dry(monkeypatch, changed(internal=True), UNDER_WATER)
    fund = system_account(SystemAccount.INSURANCE, partition=PARTITION)
    posting = journal_pb2.Posting(
        account=fund, asset=USD, balance=40 * DOLLAR, kind=ledger_pb2.LINE_KIND_CASH
    )  # fmt: skip
    world.frame(journal_pb2.Effect(posting=posting))
    rich = bystander(world, 50, "rich", Account({USD: 90_000 * DOLLAR}).open(BTC_PERP, -800, price=1_530_000))
    thin = bystander(world, 51, "thin", Account({USD: 900 * DOLLAR}).open(BTC_PERP, -600, price=1_530_000))
    bystander(world, 52, "friend", Account({USD: 900 * DOLLAR}).open(BTC_PERP, 600))
    world.margin()
    await settle(world.process())
    (decision,) = world.decisions
    assert isinstance(decision.what, Deleveraging)
    assert decision.what.parties == ((thin, 600), (rich, 400))
    assert (decision.what.deficit, decision.what.price) == (60 * DOLLAR, 1_506_000)
    command = command_of(decision).deleverage
    assert [(one.account, one.lots) for one in command.counterparties] == [(thin, 600), (rich, 400)]
    assert (command.mark_price, command.deficit_units) == (Price(1_500_000), 60 * DOLLAR)
    assert "deleveraged" in plan_of(decision).reason


async def test_holders_and_capital_of_other_partitions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    world, account = dry(monkeypatch, changed(internal=True), UNDER_WATER)
    bystander(world, 50, "rich", Account({USD: 90_000 * DOLLAR}).open(BTC_PERP, -800, price=1_530_000))
    far = account_id(partition=0, entity=9, sub=0)
    fund = system_account(SystemAccount.INSURANCE, partition=0)
    lines = ((far, USD, _CASH, 900), (far, BTC_PERP, _LOTS, -300), (fund, USD, _CASH, 70))
    postings = [
        journal_pb2.Posting(account=one, asset=asset, kind=kind, balance=units * (DOLLAR if kind == _CASH else 1))
        for one, asset, kind, units in lines
    ]
    effects = [journal_pb2.Effect(account=journal_pb2.Account(account=far, entity=far, owner="far"))]
    effects += [journal_pb2.Effect(posting=one) for one in postings]
    body = journal_pb2.JournalBody(outcomes=[journal_pb2.Outcome(effects=effects)])
    world.live.fold(0, sequence=1, run_time_ns=world_module.START_NS, body=body)
    world.margin()
    process = world.process()
    await settle(process)
    (decision,) = world.decisions
    assert isinstance(decision.what, Deleveraging)
    assert (decision.what.across, decision.what.lots, decision.what.deficit) == (True, 1_000, 30 * DOLLAR)
    command = command_of(decision).deleverage_across
    assert (command.lots, command.price, command.mark_price, command.deficit_units) == (
        1_000, 1_503_000, 1_500_000, 30 * DOLLAR,
    )  # fmt: skip
    assert "over partitions" in plan_of(decision).reason
    under_way = deleveraging_pb2.Deleveraging(episode=decision.episode, account=account, waiting=[0])
    world.accept(1)
    world.frame(journal_pb2.Effect(deleveraging=under_way))
    world.margin()
    await settle(process)
    assert len(world.decisions) == 1
    assert world.meter.waiting == {"DELEVERAGING": 1}


async def test_a_solvent_account_waits_for_depth_first(monkeypatch: pytest.MonkeyPatch) -> None:
    solvent = Account({USD: 700 * DOLLAR}).open(BTC_PERP, 1_000)
    world, _ = dry(monkeypatch, changed(internal=True), solvent)
    for episode in world.live.episodes():
        episode.opened_at_ns = world_module.START_NS - PATIENCE_NS + 1
    bystander(world, 50, "bob", Account({USD: 90_000 * DOLLAR}).open(BTC_PERP, -1_000))
    world.margin()
    await settle(world.process())
    assert world.decisions == []
    assert world.meter.waiting == {"NO_DEPTH": 1}
