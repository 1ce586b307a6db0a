"""Settings of price_ingestion, from the environment (prefix BALLAST_)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from libs.common.service import ServiceSettings
from libs.common.units import SECOND_NS, UnixNs
from services.price_ingestion.domain.pacing_words import PacingRules, Window

# The three crashes of the recording with their approaches; the whole of it is 2017-12-20T01:00/2018-02-10T23:00.
CRASHES = "2017-12-21T12:00/2017-12-22T18:00,2018-01-16T00:00/2018-01-17T18:00,2018-02-05T12:00/2018-02-06T12:00"

_URL = re.compile(r"^[a-z][a-z0-9_]*=http://[A-Za-z0-9_.\[\]:-]+(/[A-Za-z0-9_./-]*)?$")


class Settings(ServiceSettings):
    """What the process is told; prices, guard and instruments are parameters, not settings."""

    data_directory: Path = Path("data")
    replay_windows: Annotated[str, StringConstraints(max_length=2_000)] = CRASHES
    replay_speed: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    ready_urls: Annotated[str, StringConstraints(max_length=4_000)] = ""
    calm_step_seconds: Annotated[int, Field(ge=60, le=600)] = 300
    calm_move_ppm_max: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    gap_step_seconds: Annotated[int, Field(ge=0, le=86_400)] = 3_600
    gap_move_ppm_max: Annotated[int, Field(ge=100, le=1_000_000)] = 30_000
    heartbeat_ms: Annotated[int, Field(ge=50, le=1_000)] = 250
    snapshot_every_frames: Annotated[int, Field(ge=1, le=100_000)] = 256

    @field_validator("replay_windows")
    @classmethod
    def _are_windows(cls, value: str) -> str:
        parse_windows(value)
        return value

    @field_validator("ready_urls")
    @classmethod
    def _are_urls(cls, value: str) -> str:
        parse_urls(value)
        return value

    def windows(self) -> tuple[Window, ...]:
        """The stretches of run time to replay."""
        return parse_windows(self.replay_windows)

    def urls(self) -> dict[str, str]:
        """Where each service says whether it is ready, by service."""
        return parse_urls(self.ready_urls)

    def pacing(self) -> PacingRules:
        """The bounds of the replay clock."""
        return PacingRules(
            calm_step_ns=self.calm_step_seconds * SECOND_NS,
            calm_move_ppm_max=self.calm_move_ppm_max,
            gap_step_ns=self.gap_step_seconds * SECOND_NS,
            gap_move_ppm_max=self.gap_move_ppm_max,
            speed=self.replay_speed,
        )


def parse_windows(text: str) -> tuple[Window, ...]:
    """Windows of `start/end,start/end`, in UTC. Raises ValueError."""
    windows: list[Window] = []
    for part in text.split(","):
        start, slash, end = part.strip().partition("/")
        if not slash:
            raise ValueError(f"expected start/end such as 2017-12-21T00:00/2017-12-23T06:00, was {part[:60]!r}")
        windows.append(Window(_moment(start), _moment(end)))
    bounds = [bound for window in windows for bound in (window.start_ns, window.end_ns)]
    if bounds != sorted(set(bounds)):
        raise ValueError("expected windows apart from each other and oldest first")
    return tuple(windows)


def parse_urls(text: str) -> dict[str, str]:
    """Addresses of `name=http://host:port/path,...` by name. Raises ValueError."""
    urls: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        if not _URL.match(part):
            raise ValueError(f"expected name=http://host:port/path, was {part[:80]!r}")
        name, _, url = part.partition("=")
        urls[name] = url
    return urls


def _moment(text: str) -> UnixNs:
    at = datetime.fromisoformat(text)
    return UnixNs(int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * SECOND_NS)
