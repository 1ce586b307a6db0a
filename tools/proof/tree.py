"""A Merkle-sum tree: each node commits to the sums below it, so a house cannot owe less than its clients can prove.

Source: the scheme of G. Maxwell and Z. Wilcox (2014), with both known holes closed. Sums are of fixed width and never
negative, so no invented account can lower the total; and a node hashes the sums of both children, not their sum alone:
otherwise a house could show each child a sibling of its own (Hu, Zhang and Guo 2019, "Broken Proofs of Solvency in
Blockchain Custodial Wallets and Exchanges"). Needs nothing but the standard library: a client verifies alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

UNITS_BYTES = 16
UNITS_MAX = 2**126  # of a sum: room for 2^63 of the largest balances
LEAVES_MAX = 2**40
SALT_BYTES = 32
OWNER_BYTES_MAX = 256
ASSETS_MAX = 2048
_LEAF, _NODE, _EMPTY, _ROOT = b"\x00", b"\x01", b"\x02", b"\x03"  # what is hashed, told apart by its first byte

Units = tuple[int, ...]  # by asset, in the order of the tree


class Unprovable(Exception):
    """What cannot be part of a tree, or does not prove what it says; says why."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """What is owed to one account.

    Args:
        salt: 32 bytes that only the client and the house know: nobody else can try out balances against the hash.
        units: by asset.
    """

    account: int
    owner: str
    salt: bytes
    units: Units


@dataclass(frozen=True, slots=True)
class Node:
    """Hash and sums of everything below."""

    hash: bytes
    units: Units


@dataclass(frozen=True, slots=True)
class Step:
    """The sibling on one level of the way up.

    Args:
        is_left: it stands to the left.
    """

    is_left: bool
    node: Node


@dataclass(frozen=True, slots=True)
class Inclusion:
    """A leaf and its way to the top.

    Args:
        context: bytes that the root commits to besides: the cut of the journal, assets, number of leaves.
    """

    leaf: Leaf
    context: bytes
    path: tuple[Step, ...]


def checked(units: Iterable[int]) -> Units:
    """The units. Raises Unprovable when one is negative or beyond the bound: no sum may hide a debt."""
    found = tuple(units)
    if len(found) > ASSETS_MAX:
        raise Unprovable(f"expected at most {ASSETS_MAX} assets, was {len(found)}")
    for each in found:
        if not 0 <= each < UNITS_MAX:
            raise Unprovable(f"expected units from 0 to 2^126, was {each}")
    return found


def _packed(units: Units) -> bytes:
    return len(units).to_bytes(4, "big") + b"".join(each.to_bytes(UNITS_BYTES, "big") for each in units)


def leaf_node(leaf: Leaf) -> Node:
    """The bottom of the tree for one account. Raises Unprovable."""
    owner = leaf.owner.encode()
    if len(leaf.salt) != SALT_BYTES or len(owner) > OWNER_BYTES_MAX or not 0 <= leaf.account < 2**64:
        raise Unprovable(f"expected an id of 64 bits, an owner's name and a salt of {SALT_BYTES} bytes")
    units = checked(leaf.units)
    named = leaf.account.to_bytes(8, "big") + len(owner).to_bytes(4, "big") + owner
    return Node(hashlib.sha256(_LEAF + leaf.salt + named + _packed(units)).digest(), units)


def empty_node(salt: bytes, *, assets: int) -> Node:
    """A place that nobody has, owed nothing."""
    return Node(hashlib.sha256(_EMPTY + salt).digest(), (0,) * assets)


def parent(left: Node, right: Node) -> Node:
    """The node above two. Raises Unprovable when they are of different assets or sum beyond the bound."""
    if len(left.units) != len(right.units):
        raise Unprovable(f"expected sums of {len(left.units)} assets, was {len(right.units)}")
    parts = left.hash + _packed(checked(left.units)) + right.hash + _packed(checked(right.units))
    sums = checked(a + b for a, b in zip(left.units, right.units, strict=True))
    return Node(hashlib.sha256(_NODE + parts).digest(), sums)


def root_hash(top: Node, context: bytes) -> bytes:
    """What the house publishes."""
    body = len(context).to_bytes(8, "big") + context + top.hash + _packed(top.units)
    return hashlib.sha256(_ROOT + body).digest()


class Tree:
    """The tree over leaves in a given order.

    Args:
        salts: one for each place that is left over, in order.
    """

    def __init__(self, leaves: Sequence[Leaf], *, assets: int, context: bytes, salts: Iterable[bytes]) -> None:
        if not 0 < len(leaves) <= LEAVES_MAX:
            raise Unprovable(f"expected 1 to {LEAVES_MAX} accounts, was {len(leaves)}")
        if len({leaf.account for leaf in leaves}) != len(leaves):
            raise Unprovable("expected each account once")
        bottom = [leaf_node(leaf) for leaf in leaves]
        empty = iter(salts)
        bottom += [empty_node(next(empty), assets=assets) for _ in range(_width(len(leaves)) - len(leaves))]
        self.leaves = leaves
        self.context = context
        self._levels = [bottom]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            self._levels.append([parent(below[at], below[at + 1]) for at in range(0, len(below), 2)])

    @property
    def top(self) -> Node:
        """The node above all."""
        return self._levels[-1][0]

    @property
    def root(self) -> bytes:
        """What the house publishes."""
        return root_hash(self.top, self.context)

    def inclusion(self, at: int) -> Inclusion:
        """What the client of a leaf needs."""
        path = []
        place = at
        for level in self._levels[:-1]:
            path.append(Step(is_left=bool(place & 1), node=level[place ^ 1]))
            place >>= 1
        return Inclusion(self.leaves[at], self.context, tuple(path))


def places_left(leaves: int) -> int:
    """Places of the tree that no leaf takes."""
    return _width(leaves) - leaves


def _width(leaves: int) -> int:
    return 1 << (leaves - 1).bit_length()


def verified(inclusion: Inclusion, *, root: bytes, totals: Units) -> Node:
    """The top of the tree, when the leaf is part of it and the totals are its sums. Raises Unprovable."""
    node = leaf_node(inclusion.leaf)
    if len(inclusion.path) > LEAVES_MAX.bit_length():
        raise Unprovable(f"expected at most {LEAVES_MAX.bit_length()} steps, was {len(inclusion.path)}")
    for step in inclusion.path:
        if len(step.node.hash) != hashlib.sha256().digest_size:
            raise Unprovable("expected hashes of 32 bytes")
        node = parent(step.node, node) if step.is_left else parent(node, step.node)
    if node.units != checked(totals):
        raise Unprovable(f"expected totals {node.units}, was {tuple(totals)}")
    if root_hash(node, inclusion.context) != root:
        raise Unprovable("the way up does not lead to the published root")
    return node
