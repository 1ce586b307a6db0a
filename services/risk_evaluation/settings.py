"""Settings of risk_evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from libs.common.service import ServiceSettings


class Settings(ServiceSettings):
    """Read once from the environment.

    Attributes: shadow_config_directory (a second parameter set, evaluated beside the one in force; none: off),
    shadow_every_frames (how many marks frames it looks at one of).
    """

    shadow_config_directory: Path | None = None
    shadow_every_frames: Annotated[int, Field(ge=1, le=1_000_000)] = 20
