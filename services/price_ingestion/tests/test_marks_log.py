"""Marks on the wire: rows survive the trip, and a fold gives what a new owner goes on from."""

from __future__ import annotations

import pytest

from ballast.events.v1 import chain_pb2, market_pb2
from libs.common.chain import AcceptedFrame
from libs.common.config import load_parameters
from libs.common.ids import InstrumentId
from libs.common.units import UnixNs
from libs.common.validity import ValidityClass
from services.price_ingestion.adapters.marks_log import MarksFold, body_of, closes_of, profiles_of, rows_of
from services.price_ingestion.app.ports import Volatilities
from services.price_ingestion.domain.guard import Mark
from services.price_ingestion.domain.marks import MarkRow
from services.price_ingestion.domain.volatility import Profiles
from services.price_ingestion.tests import REPOSITORY

PARAMETERS = load_parameters(REPOSITORY / "config").parameters

BTC = MarkRow(InstrumentId(1), Mark(10_400_00, 10_400_01, 379_97, ValidityClass.VALID), 15_000_00)
LTC = MarkRow(InstrumentId(3), Mark(173_6800, 173_6800, 0, ValidityClass.DEGRADED), 300_0000)
LATER = MarkRow(InstrumentId(1), Mark(11_000_00, 11_000_00, 5, ValidityClass.HOLD), 14_900_00)


def frame(
    sequence: int,
    *rows: MarkRow,
    is_snapshot: bool = False,
    run_time_ns: int = 0,
    volatilities: Volatilities = Volatilities(),  # noqa: B008  frozen
) -> AcceptedFrame:
    body = body_of(rows, is_snapshot=is_snapshot, snapshot_offset=-1, volatilities=volatilities).SerializeToString()
    content = chain_pb2.Frame(sequence=sequence, run_time_ns=run_time_ns, body=body)
    return AcceptedFrame(offset=100 + sequence, frame=content, head=b"")


def test_rows_survive_the_trip() -> None:
    body = body_of((BTC, LTC), is_snapshot=True, snapshot_offset=7, volatilities=Volatilities())
    assert rows_of(market_pb2.MarksBody.FromString(body.SerializeToString())) == (BTC, LTC)
    assert (body.snapshot, body.snapshot_offset) == (True, 7)
    assert rows_of(body_of((), is_snapshot=False, snapshot_offset=7, volatilities=Volatilities())) == ()


def test_columns_of_different_length_are_refused() -> None:
    body = body_of((BTC, LTC), is_snapshot=True, snapshot_offset=7, volatilities=Volatilities())
    body.confidence.pop()
    with pytest.raises(ValueError, match="zip"):
        rows_of(body)


def test_new_owner_goes_on_from_the_rows_in_force_and_the_last_frame_that_had_any() -> None:
    fold = MarksFold(Profiles(PARAMETERS))
    assert fold.resumed is None
    for each in (
        frame(1, BTC, LTC, is_snapshot=True, run_time_ns=10),
        frame(2, run_time_ns=10),
        frame(3, LATER, run_time_ns=20),
        frame(4, run_time_ns=20),
    ):
        fold.apply(each)
    assert fold.resumed is not None
    assert set(fold.resumed.rows) == {LATER, LTC}
    assert (fold.resumed.sequence, fold.resumed.run_time_ns, fold.snapshot_offset) == (3, 20, 101)


def test_profiles_survive_the_trip_and_a_fold_goes_on_from_the_last_snapshot() -> None:
    live, fold = Profiles(PARAMETERS), MarksFold(Profiles(PARAMETERS))
    for sequence in range(1, 40):
        price = 10_400_00 + 40_000 * (sequence % 7)
        row = MarkRow(InstrumentId(1), Mark(price, price, 0, ValidityClass.VALID), price)
        now_ns, is_snapshot = UnixNs(sequence * 3_600 * 10**9), sequence % 10 == 1
        said = Volatilities(live.take((row,), now_ns=now_ns), live.closed)
        if is_snapshot:
            said = Volatilities(live.levels(), live.closes, live.states)
        one = frame(sequence, row, is_snapshot=is_snapshot, run_time_ns=now_ns, volatilities=said)
        if is_snapshot:
            body = market_pb2.MarksBody.FromString(one.body)
            assert (profiles_of(body), closes_of(body)) == (live.states, live.closes)
        if sequence > 10:  # a fold that begins at a snapshot
            fold.apply(one)
    assert fold.resumed is not None
    assert fold.resumed.profiles == live.states
    assert fold.resumed.closes == live.closes
