"""A follower's book: the fold by overwriting, and the fingerprint that tells equal books."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast.events.v1 import commands_pb2, journal_pb2
from ballast.types.v1 import ledger_pb2 as words
from libs.common.book import Fingerprint, PartitionBook
from libs.common.errors import InvariantBroken

Effect = journal_pb2.Effect
ACCOUNT, OTHER = 1 << 16, 2 << 16
items = st.dictionaries(
    st.tuples(st.integers(1, 7), st.integers(0, 5)), st.tuples(st.integers(-9, 9), st.integers(0, 9)), max_size=12
)


def posting(balance: int, *, account: int = ACCOUNT, asset: int = 1, version: int = 1) -> journal_pb2.Effect:
    """A posting to a cash line."""
    one = journal_pb2.Posting(account=account, asset=asset, kind=words.LINE_KIND_CASH, balance=balance, version=version)
    return Effect(posting=one)


def order(state: words.OrderState, *, number: int = 5) -> journal_pb2.Effect:
    """An order in a state."""
    return Effect(order=journal_pb2.Order(order=number, account=ACCOUNT, state=state))


def body(*effects: journal_pb2.Effect, **outcome: object) -> journal_pb2.JournalBody:
    """A frame of one outcome."""
    one = journal_pb2.Outcome(effects=effects)
    for name, value in outcome.items():
        if name == "fact":
            assert isinstance(value, commands_pb2.FactKey)
            one.fact.CopyFrom(value)
        else:
            setattr(one, name, value)
    return journal_pb2.JournalBody(outcomes=[one])


class Book(PartitionBook):
    """A book that counts its frames."""

    def take(self, frame: journal_pb2.JournalBody) -> set[int]:
        return self.apply(sequence=self.sequence + 1, run_time_ns=self.sequence, body=frame)


def test_lines_hold_what_was_posted_last_and_no_zeros() -> None:
    book = Book(0)
    assert book.take(body(posting(5), posting(7, account=OTHER))) == {ACCOUNT, OTHER}
    assert book.lines_of(ACCOUNT) == {(1, words.LINE_KIND_CASH): 5}
    book.take(body(posting(0, version=2)))
    assert book.lines == {(OTHER, 1, words.LINE_KIND_CASH): 7}
    assert (book.lines_of(ACCOUNT), book.lines_of(99)) == ({}, {})


@pytest.mark.parametrize("wrong", [0, 1, 3])
def test_a_frame_out_of_turn_is_refused(wrong: int) -> None:
    book = Book(0)
    book.take(body())
    with pytest.raises(InvariantBroken, match="expected sequence 2"):
        book.apply(sequence=wrong, run_time_ns=0, body=body())


@pytest.mark.parametrize(
    ("state", "live"),
    [
        (words.ORDER_STATE_RESERVED, True),
        (words.ORDER_STATE_RELEASED, True),
        (words.ORDER_STATE_WORKING, True),
        (words.ORDER_STATE_CANCELLING, True),
        (words.ORDER_STATE_FILLED, False),
        (words.ORDER_STATE_CANCELLED, False),
        (words.ORDER_STATE_REJECTED, False),
        (words.ORDER_STATE_VOIDED, False),
    ],
)
def test_only_live_orders_are_kept(state: words.OrderState, live: bool) -> None:
    book = Book(0)
    empty = book.fingerprint
    book.take(body(order(words.ORDER_STATE_RESERVED)))
    book.take(body(order(state)))
    assert (5 in book.orders) is live
    assert (book.fingerprint != empty) is live


def test_pending_reservations_and_open_episodes_are_kept_and_the_last_closed_one() -> None:
    book = Book(0)
    waiting = journal_pb2.Reservation(reservation=3, account=ACCOUNT, state=words.RESERVATION_STATE_PENDING)
    opened = journal_pb2.Episode(episode=4, account=ACCOUNT, state=words.EPISODE_STATE_OPEN)
    held = journal_pb2.Account(account=ACCOUNT, entity=ACCOUNT, owner="alice", episode=4, restricted=True)
    book.take(body(Effect(reservation=waiting), Effect(episode=opened), Effect(account=held)))
    assert (book.reservations[3], book.open_episode(ACCOUNT)) == (waiting, opened)
    waiting.state, opened.state, held.episode = words.RESERVATION_STATE_SETTLED, words.EPISODE_STATE_HEALTHY, 0
    opened.closed_sequence = 2
    book.take(body(Effect(reservation=waiting), Effect(episode=opened), Effect(account=held)))
    assert (book.reservations, book.episodes, book.open_episode(ACCOUNT)) == ({}, {}, None)
    assert book.last_closed[ACCOUNT].closed_sequence == 2


@pytest.mark.parametrize(
    "effect",
    [
        posting(5),
        Effect(account=journal_pb2.Account(account=ACCOUNT, owner="alice")),
        order(words.ORDER_STATE_WORKING),
        Effect(reservation=journal_pb2.Reservation(reservation=3, state=words.RESERVATION_STATE_PENDING)),
        Effect(episode=journal_pb2.Episode(episode=4, state=words.EPISODE_STATE_OPEN)),
        Effect(pool_index=journal_pb2.PoolIndex(asset=1, tick=1, borrow_index=9)),
        Effect(funding_index=journal_pb2.FundingIndex(instrument=11, tick=1, cumulative_funding=b"\xff" * 16)),
        Effect(settlement=journal_pb2.Settlement(instrument=11, tick=1, price=5)),
        Effect(venue_session=journal_pb2.VenueSession(venue=1, epoch=1)),
    ],
    ids=lambda effect: effect.WhichOneof("effect"),
)
def test_whatever_is_held_counts_in_the_fingerprint(effect: journal_pb2.Effect) -> None:
    book = Book(0)
    before = book.fingerprint
    book.take(body(effect))
    assert book.fingerprint != before
    again = book.fingerprint
    book.take(body(effect))
    assert book.fingerprint == again


@pytest.mark.parametrize(
    "effect",
    [
        Effect(fill=journal_pb2.Fill(order=1)),
        Effect(waterfall=journal_pb2.Waterfall(episode=1)),
        Effect(alert=journal_pb2.Alert(name="overfill")),
        Effect(),
    ],
    ids=["fill", "waterfall", "alert", "none"],
)
def test_what_only_tells_why_counts_nowhere(effect: journal_pb2.Effect) -> None:
    book = Book(0)
    before = book.fingerprint
    assert book.take(body(effect)) == set()
    assert book.fingerprint == before


def test_the_mark_of_a_stream_moves_with_its_applied_facts_only() -> None:
    book = Book(0)
    key = commands_pb2.FactKey(stream="venue/north", sequence=7)
    book.take(body(fact=key))
    key.sequence = 9
    book.take(body(fact=key, refusal=words.REFUSAL_GAP))
    book.take(body(fact=key, repeated=True))
    assert book.streams == {"venue/north": 7}


@given(items, st.randoms())
def test_the_fingerprint_does_not_depend_on_the_way_there(
    found: dict[tuple[int, ...], tuple[int, ...]], random: Random
) -> None:
    straight, winding = Fingerprint(), Fingerprint()
    for key, value in found.items():
        straight.set(key, value)
    keys = list(found)
    random.shuffle(keys)
    for key in keys:
        winding.set(key, (1, 2, 3))
        winding.set((*key, 0), (4,))
        assert len(winding.digest) == 16
        winding.set((*key, 0), None)
    for key in keys:
        winding.set(key, found[key])
    assert winding.digest == straight.digest
    assert (straight.digest == bytes(16)) is (not found)


@pytest.mark.parametrize("kind", ["account", "order", "reservation", "episode", "pool_index", "settlement"])
def test_what_is_kept_does_not_keep_its_frame_in_memory(kind: str) -> None:
    effects = {
        "account": Effect(account=journal_pb2.Account(account=ACCOUNT)),
        "order": order(words.ORDER_STATE_WORKING),
        "reservation": Effect(
            reservation=journal_pb2.Reservation(reservation=3, state=words.RESERVATION_STATE_PENDING)
        ),
        "episode": Effect(episode=journal_pb2.Episode(episode=4, state=words.EPISODE_STATE_OPEN)),
        "pool_index": Effect(pool_index=journal_pb2.PoolIndex(asset=1)),
        "settlement": Effect(settlement=journal_pb2.Settlement(instrument=1)),
    }
    tables = {"pool_index": "pools"}
    book = Book(0)
    frame = body(effects[kind])
    book.take(frame)
    part = getattr(frame.outcomes[0].effects[0], kind)
    [kept] = getattr(book, tables.get(kind, f"{kind}s")).values()
    assert kept == part
    part.Clear()  # a shared part would be cleared with it
    assert kept != part
