"""Margins as packed columns for the wire."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ballast.events.v1 import risk_pb2
from services.risk_evaluation.domain.margin import Margins
from services.risk_evaluation.domain.model import Model


def margin_frame(
    model: Model, margins: Margins, accounts: Sequence[int], positions: Sequence[int]
) -> risk_pb2.MarginFrame:
    """A frame of these accounts, whose margins stand at these positions; not yet stamped with what it stands on."""
    at = np.array(positions, dtype=np.int64)
    return risk_pb2.MarginFrame(
        account=accounts,
        equity=margins.equity[at].tolist(),
        initial_margin=margins.initial_margin[at].tolist(),
        maintenance_margin=margins.maintenance_margin[at].tolist(),
        equity_for_new_risk=margins.equity_for_new_risk[at].tolist(),
        state=margins.state[at].tobytes(),
        worst_scenario=margins.worst_scenario[at].astype(np.uint8).tobytes(),
        validity=margins.validity[at].tobytes(),
        underlying=[model.assets[column].id for column in model.risky],
        scan_loss=margins.scan_loss[:, at].T.reshape(-1).tolist(),
        add_on=margins.add_on[at].tolist(),
        open_orders=margins.open_orders[at].tolist(),
        gross_notional=margins.gross_notional[at].tolist(),
    )
