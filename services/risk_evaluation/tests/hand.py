"""Journal and marks frames written by hand, and fakes of the application's ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ballast.events.v1 import chain_pb2, commands_pb2, control_pb2, journal_pb2, market_pb2, risk_pb2
from ballast.types.v1 import ledger_pb2
from ballast.types.v1 import market_pb2 as market_words
from libs.common.book import Fingerprint
from libs.common.chain import AcceptedFrame
from libs.common.ids import serial_id
from libs.common.validity import ValidityClass
from services.risk_evaluation.app.ports import Output
from services.risk_evaluation.app.risk import Risk
from services.risk_evaluation.domain.model import Model, build_model
from services.risk_evaluation.tests.world import BTC, BTC_PERP, ETH, USD, account, marks, parameters, risk

Effect = journal_pb2.Effect
SESSION = b"session of tests"
HASH = b"h" * 32
SECOND = 1_000_000_000


def accepted(sequence: int, body: bytes, *, run_time_ns: int = 0) -> AcceptedFrame:
    """A frame as a follower hands it on."""
    return AcceptedFrame(sequence, chain_pb2.Frame(sequence=sequence, run_time_ns=run_time_ns, body=body), b"")


def posting(of: int, asset: int, kind: ledger_pb2.LineKind, balance: int) -> Effect:
    """A line's new balance."""
    return Effect(posting=journal_pb2.Posting(account=of, asset=asset, kind=kind, balance=balance, version=1))


def attributes(of: int, *, restricted: bool = False, episode: int = 0) -> Effect:
    """An account's attributes."""
    one = journal_pb2.Account(account=of, entity=of & ~0xFFFF, restricted=restricted, episode=episode)
    return Effect(account=one)


def order(
    number: int,
    lots: int,
    *,
    of: int | None = None,
    limit: int = 60_000,
    reduce_only: bool = False,
    instrument: int = BTC_PERP,
    state: ledger_pb2.OrderState = ledger_pb2.ORDER_STATE_RESERVED,
) -> Effect:
    """An order of signed lots, of the BTC perp unless said."""
    return Effect(
        order=journal_pb2.Order(
            order=serial_id(partition=0, serial=number),
            account=of or account(),
            instrument=instrument,
            venue=1,
            side=market_words.SIDE_BUY if lots > 0 else market_words.SIDE_SELL,
            lots=abs(lots),
            remaining=abs(lots),
            limit_price=limit,
            reduce_only=reduce_only,
            state=state,
        )
    )


def withdrawal(number: int, units: int) -> Effect:
    """A pending withdrawal of USD."""
    return Effect(
        reservation=journal_pb2.Reservation(
            reservation=serial_id(partition=0, serial=number),
            account=account(),
            asset=USD,
            units=units,
            state=ledger_pb2.RESERVATION_STATE_PENDING,
        )
    )


class Screen:
    """Keeps what is let out and what is read."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self.decisions: list[str] = []
        self.silences: list[bool] = []

    async def put(self, output: Output) -> None:
        self.outputs.append(output)

    def partition(self, partition: int, *, by_state: Sequence[int], sequence: int) -> None:
        """Not looked at."""

    def journal_lag(self, partition: int, seconds: float) -> None:
        """Not looked at."""

    def silent(self, is_silent: bool) -> None:
        self.silences.append(is_silent)

    def decided(self, kind: str) -> None:
        self.decisions.append(kind)

    @property
    def frames(self) -> list[risk_pb2.MarginFrame]:
        return [one.frame for one in self.outputs if one.frame is not None]

    @property
    def commands(self) -> list[commands_pb2.Command]:
        return [command for one in self.outputs for command in one.commands]

    def clear(self) -> None:
        self.outputs.clear()
        self.decisions.clear()


class Desk:
    """A worker with partition 0 alive, marks and control under the test's hand."""

    def __init__(
        self,
        *,
        live: bool = True,
        caught_up: bool = True,
        in_force: bool = True,
        model: Model | None = None,
        after_marks: Callable[[Risk], None] = lambda risk: None,
    ) -> None:
        self.screen = Screen()
        self.now_ns = 0
        self.fingerprint = Fingerprint()
        self.model: Model = model or build_model(parameters(risk(BTC), risk(ETH)))
        self.risk = Risk(
            model=self.model,
            session=SESSION,
            loaded_hash=HASH,
            outlet=self.screen,
            readings=self.screen,
            now_ns=lambda: self.now_ns,
            after_marks=after_marks,
        )
        self._journal = self._marks = 0
        if live:
            self.risk.begin(0)
        if caught_up:
            self.risk.marks_caught_up()
        if in_force:
            self.activate()

    def activate(self) -> None:
        """Puts the loaded parameters in force."""
        body = control_pb2.ControlBody(activate_parameters=control_pb2.ActivateParameters(hash=HASH))
        self.risk.take_control(accepted(7, body.SerializeToString()))

    def frame(self, *effects: Effect, outcome: journal_pb2.Outcome | None = None) -> AcceptedFrame:
        """The next journal frame."""
        for effect in effects:
            self.fingerprint.apply(effect)
        outcome = outcome or journal_pb2.Outcome(command="by_hand")
        outcome.effects.extend(effects)
        body = journal_pb2.JournalBody(outcomes=[outcome], fingerprint=self.fingerprint.digest)
        self._journal += 1
        return accepted(self._journal, body.SerializeToString())

    async def journal(self, *effects: Effect, outcome: journal_pb2.Outcome | None = None) -> None:
        """Folds the next journal frame and lets the worker turn."""
        self.risk.take_journal(0, self.frame(*effects, outcome=outcome))
        await self.risk.turn()

    async def answer(self, command: commands_pb2.Command, refusal: ledger_pb2.Refusal, *effects: Effect) -> None:
        """The ledger's answer to a command."""
        outcome = journal_pb2.Outcome(session=command.session, command="verdict", refusal=refusal)
        await self.journal(*effects, outcome=outcome)

    async def marks(
        self,
        btc: int = 60_000,
        *,
        validity: ValidityClass = ValidityClass.VALID,
        levels: Mapping[int, tuple[int, int]] | None = None,
        snapshot: bool = False,
    ) -> None:
        """A marks frame with rows; `levels`: volatilities of new risk and maintenance by asset, 10^-6."""
        found = marks(btc=btc, validity=validity)
        body = market_pb2.MarksBody(
            instrument=found.keys(),
            mark_price=[one.price for one in found.values()],
            slow_price=[one.slow for one in found.values()],
            confidence=[one.confidence for one in found.values()],
            validity=bytes(one.validity for one in found.values()),
            snapshot=snapshot,
            volatility_asset=levels or (),
            initial_volatility=[initial for initial, _ in (levels or {}).values()],
            maintenance_volatility=[maintenance for _, maintenance in (levels or {}).values()],
        )
        await self._take_marks(body)

    async def say_closes(self, *history: market_pb2.PriceHistory) -> None:
        """A marks frame at 60,000 that adds hourly closes."""
        found = marks(btc=60_000)
        body = market_pb2.MarksBody(
            instrument=found.keys(),
            mark_price=[one.price for one in found.values()],
            slow_price=[one.slow for one in found.values()],
            confidence=[0] * len(found),
            validity=bytes(one.validity for one in found.values()),
            price_history=history,
        )
        await self._take_marks(body)

    async def heartbeat(self) -> None:
        """A marks frame without rows."""
        await self._take_marks(market_pb2.MarksBody())

    async def _take_marks(self, body: market_pb2.MarksBody) -> None:
        self._marks += 1
        frame = accepted(self._marks, body.SerializeToString(), run_time_ns=self._marks * SECOND)
        self.risk.take_marks(frame, received_wall_ns=1, is_history=False)
        await self.risk.turn()
