"""The value of one option line at one point, in machine code: what the grid runs (libs/options/black.py)."""

from __future__ import annotations

from libs.options import black
from libs.options.black import TOTAL_VOL_MAX, LineKind
from services.risk_evaluation.domain.options.normal import exp, machine, upper_tail

__all__ = ["TOTAL_VOL_MAX", "LineKind", "cell"]

cell = machine(black.cell, exp=exp, upper_tail=upper_tail, certain=machine(black.certain))
