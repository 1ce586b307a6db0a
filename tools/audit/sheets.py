"""Statements as CSV, JSON and Parquet: the same rows, amounts in whole units beside their decimals."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from tools.audit.statement import Row, Statement

COLUMNS = tuple(one.name for one in fields(Row))
_NUMBERS = frozenset(("amount", "cash", "recorded_ns", "effective_ns", "sequence"))


class FormatMissing(RuntimeError):
    """What a format needs is not installed; says what to install."""


def as_csv(found: Statement) -> bytes:
    """One line a row under a line of names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in found.rows:
        writer.writerow(asdict(row))
    return text.getvalue().encode()


def as_json(found: Statement) -> bytes:
    """The statement as one object; whole numbers stay whole."""
    head = {name: getattr(found, name) for name in ("account", "owner", "begin_ns", "end_ns")}
    content = {**head, "rows": [asdict(row) for row in found.rows]}
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def as_parquet(found: Statement) -> bytes:
    """A table of the rows. Raises FormatMissing without pyarrow."""
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise FormatMissing("Parquet needs pyarrow: pip install 'ballast[parquet]'") from error
    schema = arrow.schema([(name, arrow.int64() if name in _NUMBERS else arrow.string()) for name in COLUMNS])
    about = {"account": str(found.account), "owner": found.owner}
    table = arrow.Table.from_pylist([asdict(row) for row in found.rows], schema=schema.with_metadata(about))
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[Statement], bytes]] = {"csv": as_csv, "json": as_json, "parquet": as_parquet}
