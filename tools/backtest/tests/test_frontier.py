"""Every choice of the frontier changes what its name says, and held-out prices are not looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from libs.common.config import load_parameters
from tools.backtest import frontier as module
from tools.backtest.frontier import CHOICES, frontier, frontier_table
from tools.backtest.history import Hourly, recorded

ROOT = Path(__file__).resolve().parents[3]
PARAMETERS = load_parameters(ROOT / "config").parameters


def test_choices_differ_from_what_is_declared_and_from_each_other() -> None:
    changed = [change(PARAMETERS).margin for change in CHOICES.values()]
    assert changed[0] == PARAMETERS.margin
    assert len(set(changed)) == len(CHOICES)


def test_held_out_prices_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHOICES", {"as declared": CHOICES["as declared"]})
    monkeypatch.setattr(module, "PATHS", 1)
    monkeypatch.setattr(module, "PATH_DAYS", 3)
    history = recorded(ROOT / "data", PARAMETERS)
    other = Hourly(history.first_ns, np.where(np.arange(len(history.prices))[:, None] > 480, 1.0, history.prices))
    found = [frontier(PARAMETERS, one, seed=7) for one in (history, other)]
    assert frontier_table(found[0]) == frontier_table(found[1])
    assert [one.name for one in found[0]] == ["as declared", "static sigma"]
