"""The proof finds what it is there to find: a command applied twice, lost, invented, or told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from libs.common.ids import SystemAccount, account_id, system_account
from tools.chaos.model import PlainHouse, Sent
from tools.chaos.plan import FULL, SHORT, Attack, Doses, order_of
from tools.chaos.proof import EXPIRED, Journalled, Proof, prove, window_told

ANN = account_id(partition=0, entity=1, sub=0)
CUSTODY = system_account(SystemAccount.CUSTODY, partition=0)
POOL = system_account(SystemAccount.POOL, partition=0, index=1)
SESSION = b"s" * 16
CASH, SUPPLY = 1, 3


def lived() -> tuple[list[Sent], Journalled]:
    """An account with a deposit of 100, of which 30 are lent and 5 have left."""
    sent = [
        Sent("ann", "open_account", session=SESSION, n=1, answers=[(0, ANN)]),
        Sent("custodian", "confirm_deposit", session=SESSION, n=1, account=ANN, asset=1, units=100, answers=[(0, ANN)]),
        Sent("ann", "supply", session=SESSION, n=2, account=ANN, asset=1, units=30, answers=[(0, ANN), (0, ANN)]),
        Sent("ann", "supply", session=SESSION, n=3, account=ANN, asset=1, units=900, answers=[(17, 0)]),
        Sent("ann", "withdraw", key="k", account=ANN, asset=1, units=5, answers=[(0, 77)]),
    ]
    journal = Journalled()
    for one, told in zip(sent, [(0, ANN), (0, ANN), (0, ANN), (17, 0), (0, 77)], strict=True):
        journal.outcomes[one.principal, one.session, one.n, one.key].append((*told, False, one.name))
    journal.outcomes["ann", SESSION, 2, ""].append((0, ANN, True, "supply"))
    journal.owners[ANN] = "ann"
    journal.decided[77] = True
    journal.fingerprints[0] = (5, b"f" * 16)
    journal.lines = {
        (ANN, 1, CASH): 65, (ANN, 1, SUPPLY): 30, (CUSTODY, 1, CASH): -95, (POOL, 1, CASH): 30, (POOL, 1, SUPPLY): -30,
    }  # fmt: skip
    return sent, journal


def proved(sent: list[Sent], journal: Journalled) -> list[str]:
    proof = Proof()
    prove(proof, sent, journal, own=["ann", "custodian"])
    return proof.wrong


def test_an_honest_run_is_proved() -> None:
    assert proved(*lived()) == []


def applied_twice(_: list[Sent], journal: Journalled) -> None:
    journal.outcomes["ann", SESSION, 2, ""].append((0, ANN, False, "supply"))


def lost(_: list[Sent], journal: Journalled) -> None:
    del journal.outcomes["custodian", SESSION, 1, ""]


def invented(_: list[Sent], journal: Journalled) -> None:
    journal.outcomes["ann", SESSION, 9, ""].append((0, ANN, False, "supply"))


def told_otherwise(sent: list[Sent], _: Journalled) -> None:
    sent[2].answers.append((17, 0))


def told_another_subject(_: list[Sent], journal: Journalled) -> None:
    journal.outcomes["ann", SESSION, 1, ""][0] = (0, ANN + 1, False, "open_account")


def expired_and_applied(sent: list[Sent], _: Journalled) -> None:
    sent[2].answers[:] = [(EXPIRED, 0)]


def never_answered(sent: list[Sent], _: Journalled) -> None:
    sent[4].answers.clear()


def settled_though_told_void(_: list[Sent], journal: Journalled) -> None:
    journal.decided[77] = False


def wrong_balance(_: list[Sent], journal: Journalled) -> None:
    journal.lines[ANN, 1, CASH] += 1


def unbalanced_house(_: list[Sent], journal: Journalled) -> None:
    journal.lines[CUSTODY, 1, CASH] += 1


def forgotten_order(_: list[Sent], journal: Journalled) -> None:
    journal.orders[5] = (ANN, 3)


def undecided(_: list[Sent], journal: Journalled) -> None:
    journal.pending.add(78)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (applied_twice,            "journalled 2 times"),
        (lost,                     "journalled 0 times"),
        (invented,                 "invented"),
        (told_otherwise,           "told [(0"),
        (told_another_subject,     "journalled (0"),
        (expired_and_applied,      "expired, and applied"),
        (never_answered,           "never answered"),
        (settled_though_told_void, "decided False"),
        (wrong_balance,            "the model has 65"),
        (unbalanced_house,         "custody says"),
        (forgotten_order,          "orders: 0 told, 1 journalled"),
        (undecided,                "no verdict"),
    ],
)  # fmt: skip
def test_what_broke_is_found(change: Callable[[list[Sent], Journalled], None], said: str) -> None:
    sent, journal = lived()
    change(sent, journal)
    assert any(said in words for words in proved(sent, journal)), proved(sent, journal)


def test_the_plain_model_does_not_care_for_order() -> None:
    sent, _ = lived()
    houses = []
    for seed in range(5):
        mixed = sent[:]
        Random(seed).shuffle(mixed)
        house = PlainHouse()
        for one in mixed:
            house.take(one)
        houses.append((dict(house.cash), dict(house.lent), house.owners, dict(house.arrived)))
    assert all(house == houses[0] for house in houses)
    assert houses[0][0][ANN, 1] == 65


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ([], "not answered"),
        ([(0, 7), (0, 7)], "repeated"),
        ([(0, 7), (EXPIRED, 0)], "expired"),
        ([(0, 7), (17, 0)], "another outcome"),
    ],
)
def test_a_key_sent_again_is_repeated_expired_or_wrong(answers: list[tuple[int, int]], wanted: str) -> None:
    assert window_told(answers) == wanted


@pytest.mark.parametrize("doses", [FULL, SHORT], ids=["full", "short"])
def test_a_seed_decides_the_order_of_the_attacks(doses: Doses) -> None:
    first, again, other = (order_of(doses, Random(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert {attack: first.count(attack) for attack in doses.attacks} == doses.attacks


def test_the_full_doses_are_those_that_were_asked_for() -> None:
    failpoints = sum(count for attack, count in FULL.attacks.items() if attack.value.startswith("failpoint"))
    assert FULL.commands >= 200_000
    assert (FULL.attacks[Attack.KILL], failpoints) >= (50, 20)
    assert all(FULL.attacks[one] >= 20 for one in (Attack.FREEZE, Attack.OVERLAP, Attack.BROKER))
    assert (FULL.twice, FULL.again) >= (0.3, 0.1)
