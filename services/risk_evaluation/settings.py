"""Settings of risk_evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from libs.common.service import ServiceSettings


class Settings(ServiceSettings):
    """Read once from the environment.

    Attributes: shadow_config_directory (a second parameter set, evaluated beside the one in force; none: off),
    shadow_every_frames (how many marks frames it looks at one of), kernel_from_accounts (accounts of a partition from
    which they are swept by machine code, which is made at the start; fewer are cheaper without).
    """

    shadow_config_directory: Path | None = None
    shadow_every_frames: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    kernel_from_accounts: Annotated[int, Field(ge=0, le=100_000_000)] = 64
