"""The tree of liabilities: what it proves, and that nobody's debt, twin or sibling makes the total smaller."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.proof.tree import (
    UNITS_MAX,
    Inclusion,
    Leaf,
    Node,
    Step,
    Tree,
    Unprovable,
    checked,
    parent,
    places_left,
    root_hash,
    verified,
)

CONTEXT = b"a cut"
units = st.tuples(st.integers(0, 2**62), st.integers(0, 2**62))


def salt(number: int) -> bytes:
    """A salt."""
    return hashlib.sha256(b"salt %d" % number).digest()


def tree_of(balances: Sequence[tuple[int, int]]) -> Tree:
    """A tree over accounts 1, 2, ... with two assets."""
    leaves = [Leaf(at, f"client {at}", salt(at), each) for at, each in enumerate(balances, 1)]
    return Tree(leaves, assets=2, context=CONTEXT, salts=[salt(-at) for at in range(1, places_left(len(leaves)) + 1)])


@given(st.lists(units, min_size=1, max_size=40))
def test_each_account_proves_its_place_and_the_totals_are_the_sums(balances: Sequence[tuple[int, int]]) -> None:
    tree = tree_of(balances)
    assert tree.top.units == (sum(each[0] for each in balances), sum(each[1] for each in balances))
    for at, leaf in enumerate(tree.leaves):
        inclusion = tree.inclusion(at)
        assert inclusion.leaf == leaf
        assert verified(inclusion, root=tree.root, totals=tree.top.units) == tree.top


@given(st.lists(units, min_size=1, max_size=20), st.data())
def test_whoever_changes_anything_proves_nothing(balances: Sequence[tuple[int, int]], data: st.DataObject) -> None:
    tree = tree_of(balances)
    good = tree.inclusion(data.draw(st.integers(0, len(balances) - 1)))
    tampered = data.draw(st.sampled_from(_tampered(good)))
    with pytest.raises(Unprovable):
        verified(tampered, root=tree.root, totals=tree.top.units)


def _tampered(good: Inclusion) -> list[Inclusion]:
    leaf = good.leaf
    found = [
        replace(good, leaf=replace(leaf, units=(leaf.units[0] + 1, leaf.units[1]))),
        replace(good, leaf=replace(leaf, units=(max(0, leaf.units[0] - 1), leaf.units[1] + 1))),
        replace(good, leaf=replace(leaf, units=leaf.units[:1])),
        replace(good, leaf=replace(leaf, account=leaf.account + 1)),
        replace(good, leaf=replace(leaf, owner=leaf.owner + "x")),
        replace(good, leaf=replace(leaf, salt=salt(99))),
        replace(good, context=b"another cut"),
        replace(good, path=(*good.path, Step(is_left=True, node=Node(salt(5), (0, 0))))),
    ]
    for at, step in enumerate(good.path):
        node = step.node
        others = [
            replace(step, is_left=not step.is_left),
            replace(step, node=replace(node, hash=salt(7))),
            replace(step, node=replace(node, hash=node.hash[:31])),
            replace(step, node=replace(node, units=(node.units[0] + 1, node.units[1]))),
            replace(step, node=replace(node, units=(-1, node.units[1]))),
        ]
        found += [replace(good, path=(*good.path[:at], each, *good.path[at + 1 :])) for each in others]
        found.append(replace(good, path=good.path[:at] + good.path[at + 1 :]))
    return found


def test_a_negative_balance_can_hide_nothing() -> None:
    # The known attack: an invented account with a debt makes the total small, and true clients still have their place.
    with pytest.raises(Unprovable):
        tree_of([(100, 0), (-90, 0)])
    tree = tree_of([(100, 0), (10, 0)])
    good = tree.inclusion(0)
    lied = Step(is_left=good.path[0].is_left, node=Node(good.path[0].node.hash, (-90, 0)))
    with pytest.raises(Unprovable):
        verified(replace(good, path=(lied,)), root=tree.root, totals=(10, 0))


def test_a_sum_that_wraps_is_refused() -> None:
    with pytest.raises(Unprovable):
        parent(Node(salt(1), (UNITS_MAX - 1, 0)), Node(salt(2), (1, 0)))


def test_a_node_commits_to_both_sums_and_not_to_their_total() -> None:
    # Broken Proofs of Solvency: with H(sum | left | right) a house shows each child its own split of one total.
    left, right = Node(salt(1), (40, 0)), Node(salt(2), (60, 0))
    top = parent(left, right)
    shifted = parent(replace(left, units=(60, 0)), replace(right, units=(40, 0)))
    assert top.units == shifted.units
    assert top.hash != shifted.hash
    greedy = parent(replace(left, units=(0, 0)), replace(right, units=(100, 0)))
    assert top.hash != greedy.hash


def test_leaf_node_and_empty_place_are_never_taken_for_one_another() -> None:
    tree = tree_of([(1, 2), (3, 4)])
    inner = tree.top
    forged = Leaf(0, "", salt(1), inner.units)
    with pytest.raises(Unprovable):
        verified(Inclusion(forged, CONTEXT, ()), root=tree.root, totals=inner.units)


def test_two_accounts_with_one_balance_have_two_places() -> None:
    tree = tree_of([(5, 5), (5, 5)])
    nodes = [tree.inclusion(at).path[0].node for at in (0, 1)]
    assert nodes[0].hash != nodes[1].hash
    with pytest.raises(Unprovable):
        Tree([tree.leaves[0], tree.leaves[0]], assets=2, context=CONTEXT, salts=[])


def test_the_root_commits_to_the_cut_and_the_totals() -> None:
    top = tree_of([(1, 2)]).top
    roots = {
        root_hash(top, CONTEXT),
        root_hash(top, CONTEXT + b"!"),
        root_hash(replace(top, units=(1, 3)), CONTEXT),
        root_hash(replace(top, hash=salt(3)), CONTEXT),
    }
    assert len(roots) == 4


@pytest.mark.parametrize("bad", [(-1,), (UNITS_MAX,), (0,) * 2049])
def test_units_are_within_bounds(bad: tuple[int, ...]) -> None:
    with pytest.raises(Unprovable):
        checked(bad)


def test_a_tree_without_accounts_is_none() -> None:
    with pytest.raises(Unprovable):
        Tree([], assets=1, context=CONTEXT, salts=[])
