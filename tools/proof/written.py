"""A proof as a file that a client keeps, and reads again with nothing but this."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tools.proof.tree import SALT_BYTES, Inclusion, Leaf, Node, Step, Unprovable, checked, verified

FORMAT = "ballast proof of liabilities 1"
FILE_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class AssetHead:
    """An asset of the tree."""

    id: int
    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class CutHead:
    """Where a partition's journal was cut.

    Args:
        head: hash of the frame, 32 bytes.
    """

    partition: int
    sequence: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Context:
    """What the root commits to besides balances.

    Args:
        run_time_ns: highest run time of the cut.
    """

    cut: tuple[CutHead, ...]
    run_time_ns: int
    assets: tuple[AssetHead, ...]
    leaves: int

    def as_bytes(self) -> bytes:
        """Its one form: JSON with sorted keys and no blanks."""
        return json.dumps(self.as_object(), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()

    def as_object(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "format": FORMAT,
            "cut": [{"partition": one.partition, "sequence": one.sequence, "head": one.head.hex()} for one in self.cut],
            "run_time_ns": self.run_time_ns,
            "assets": [{"id": one.id, "symbol": one.symbol, "decimals": one.decimals} for one in self.assets],
            "leaves": self.leaves,
        }


def as_file(inclusion: Inclusion, *, context: Context, root: bytes, totals: Sequence[int]) -> bytes:
    """A client's file."""
    leaf = inclusion.leaf
    content = {
        "context": context.as_object(),
        "root": root.hex(),
        "totals": list(map(str, totals)),
        "account": str(leaf.account),
        "owner": leaf.owner,
        "salt": leaf.salt.hex(),
        "units": list(map(str, leaf.units)),
        "path": [
            {
                "side": "left" if step.is_left else "right",
                "hash": step.node.hash.hex(),
                "units": list(map(str, step.node.units)),
            }
            for step in inclusion.path
        ],
    }
    return (json.dumps(content, indent=1, ensure_ascii=True) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Proven:
    """What a file proves: under this root the account is owed these units, and all accounts together the totals."""

    root: bytes
    context: Context
    account: int
    owner: str
    units: tuple[int, ...]
    totals: tuple[int, ...]


def proven(content: bytes, *, root: bytes | None = None) -> Proven:
    """What a file proves. Raises Unprovable when it proves nothing, or is under another root than the one given."""
    if len(content) > FILE_BYTES_MAX:
        raise Unprovable(f"expected a file of at most {FILE_BYTES_MAX} bytes")
    try:
        found = json.loads(content)
        stated = bytes.fromhex(found["root"])
        context = _context(found["context"])
        units, totals = _units(found["units"], context), _units(found["totals"], context)
        leaf = Leaf(_whole(found["account"]), str(found["owner"]), bytes.fromhex(found["salt"]), units)
        path = tuple(_step(each, context) for each in found["path"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unprovable(f"this is no proof: {error!r}"[:200]) from error
    if root is not None and stated != root:
        raise Unprovable(f"expected the root {root.hex()}, was {stated.hex()}")
    if 1 << len(path) < context.leaves or (path and 1 << (len(path) - 1) >= context.leaves):
        raise Unprovable(f"expected a way for {context.leaves} accounts, was one of {len(path)} steps")
    verified(Inclusion(leaf, context.as_bytes(), path), root=stated, totals=totals)
    return Proven(stated, context, leaf.account, leaf.owner, units, totals)


def _context(found: Mapping[str, Any]) -> Context:
    if found["format"] != FORMAT:
        raise Unprovable(f"expected {FORMAT!r}, was {str(found['format'])[:80]!r}")
    return Context(
        cut=tuple(
            CutHead(_number(one["partition"]), _number(one["sequence"]), bytes.fromhex(one["head"]))
            for one in found["cut"]
        ),
        run_time_ns=_number(found["run_time_ns"]),
        assets=tuple(
            AssetHead(_number(one["id"]), str(one["symbol"]), _number(one["decimals"])) for one in found["assets"]
        ),
        leaves=_number(found["leaves"]),
    )


def _number(found: object) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise Unprovable(f"expected a whole number, was {str(found)[:80]!r}")
    return found


def _whole(found: object) -> int:
    """Amounts are strings of digits: a JSON reader may make a float of a number."""
    if not isinstance(found, str) or not found.isascii() or not found.isdigit() or len(found) > 40:
        raise Unprovable(f"expected digits, was {str(found)[:80]!r}")
    return int(found)


def _units(found: Sequence[object], context: Context) -> tuple[int, ...]:
    if len(found) != len(context.assets):
        raise Unprovable(f"expected units of {len(context.assets)} assets, was {len(found)}")
    return checked(_whole(each) for each in found)


def _step(found: Mapping[str, Any], context: Context) -> Step:
    if found["side"] not in ("left", "right"):
        raise Unprovable(f"expected left or right, was {str(found['side'])[:80]!r}")
    node = Node(bytes.fromhex(found["hash"]), _units(cast("Sequence[object]", found["units"]), context))
    return Step(is_left=found["side"] == "left", node=node)


__all__ = ["FORMAT", "SALT_BYTES", "AssetHead", "Context", "CutHead", "Proven", "as_file", "proven"]
