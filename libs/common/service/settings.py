"""Settings of a service: read once from the environment, bounded, unknown keys refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from libs.common.errors import ConfigurationError

PREFIX = "BALLAST_"

_HOST_PORT = re.compile(r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+):(\d{1,5})\Z")


def _has_port(target: str) -> str:
    if not 0 < int(target.rpartition(":")[2]) < 65_536:
        raise ValueError("expected a port of 1 to 65535")
    return target


Port = Annotated[int, Field(ge=0, le=65_535)]
Target = Annotated[
    str,
    StringConstraints(pattern=r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+):\d{1,5}$", max_length=300),
    AfterValidator(_has_port),
]


class ServiceSettings(BaseSettings):
    """Settings of every service, read once from the environment; a service's own settings subclass it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    kafka_bootstrap: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
    config_directory: Path = Path("config")
    http_host: Annotated[str, StringConstraints(min_length=1, max_length=255)] = "127.0.0.1"
    http_port: Port = 0
    grpc_host: Annotated[str, StringConstraints(min_length=1, max_length=255)] = "127.0.0.1"
    grpc_port: Port = 0
    instance: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "0"
    trace_target: Annotated[str, StringConstraints(pattern=r"^$|^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+):\d{1,5}$")] = ""
    log_level: Annotated[str, StringConstraints(pattern="^(debug|info|warning|error)$", to_lower=True)] = "info"

    @field_validator("kafka_bootstrap")
    @classmethod
    def _is_bootstrap(cls, value: str) -> str:
        for one in value.split(","):
            match = _HOST_PORT.match(one.strip())
            if match is None or not 0 < int(match[2]) < 65_536:
                raise ValueError("expected host:port, or several divided by commas")
        return ",".join(one.strip() for one in value.split(","))


S = TypeVar("S", bound=ServiceSettings)


def read_settings(settings_class: type[S]) -> S:
    """The settings in the environment.

    Raises:
        ConfigurationError: an unknown key, a missing one or an impossible value; names key, value and bound.
    """
    known = {f"{PREFIX}{name.upper()}" for name in settings_class.model_fields}
    for key, value in sorted(os.environ.items()):
        if key.upper().startswith(PREFIX) and key.upper() not in known:
            raise ConfigurationError(f"{key}={value[:80]}: expected one of {', '.join(sorted(known))}")
    try:
        return settings_class()
    except SettingsError as error:
        raise ConfigurationError(f"{PREFIX}*: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = f"{PREFIX}{'_'.join(str(part) for part in first['loc']).upper()}"
        if first["type"] == "missing":
            raise ConfigurationError(f"{key}: expected a value, was not set") from error
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{key}={str(first['input'])[:80]}: {message}") from error
