"""One check an invariant: each watches the journal frame by frame and names what contradicts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tools.reconcile.checks.check import Check
from tools.reconcile.checks.client_money import AssetsSitWhereTheyAreSaid, LentByConsent
from tools.reconcile.checks.collateral import HealthyKeepsCollateral
from tools.reconcile.checks.emptied import NoAssetsNoDebt
from tools.reconcile.checks.in_transit import InTransit
from tools.reconcile.checks.indices import IndicesNeverFall
from tools.reconcile.checks.lifecycle import DeleveragedByRule, SettledAsPublished
from tools.reconcile.checks.outflows import NoMoreLeavesThanMay
from tools.reconcile.checks.pools import PoolsBalance
from tools.reconcile.checks.repeatable import SameAgain
from tools.reconcile.checks.same_book import SameBook
from tools.reconcile.checks.sums import SumsToZero
from tools.reconcile.checks.validity import UsableMarks
from tools.reconcile.world import World

CHECKS: Mapping[str, Callable[[World], Check]] = {
    "I1": SumsToZero,
    "I2": PoolsBalance,
    "I6": NoAssetsNoDebt,
    "I7": IndicesNeverFall,
    "I8": SameAgain,
    "I9": UsableMarks,
    "I10": HealthyKeepsCollateral,
    "I11": DeleveragedByRule,
    "I13": SameBook,
    "I15": InTransit,
    "I16": SettledAsPublished,
    "I20": AssetsSitWhereTheyAreSaid,
    "I21": LentByConsent,
    "I22": NoMoreLeavesThanMay,
}

__all__ = ["CHECKS", "Check"]
