"""Settings of collateral_management."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from libs.common.service import ServiceSettings
from services.collateral_management.app.failpoints import PLAN


class Settings(ServiceSettings):
    """Read once from the environment.

    `notary_key_file`: Ed25519 private key in PEM that signs heads of the journal; without one they are not signed.
    `checkpoint_every_seconds`: between two checkpoints; what came since the last one is folded at a restart.
    `checkpoint_items_per_second_max`: bound of what writing them takes from commands, some 10 us of CPU an item.
    `failpoints`: where this process is to die or stand still, for tests only: `read_back:17:kill,checkpoint:2:stop`.
    """

    notary_key_file: Path | None = None
    notary_every_seconds: Annotated[float, Field(ge=0.1, le=3_600)] = 10.0
    failpoints: Annotated[str, StringConstraints(pattern=PLAN, max_length=300)] = ""
    checkpoint_every_seconds: Annotated[float, Field(ge=0.05, le=3_600)] = 5.0
    checkpoint_items_per_second_max: Annotated[int, Field(ge=100, le=1_000_000)] = 20_000
